//! Errors of Deepgram's containers.

use serde_json::Value;

use crate::reason::Reason;

/// Returns what a container's close means. Deepgram's own code may be in the close code or in the
/// text.
#[must_use]
pub fn of_close(code: &str, message: &str, silent: bool) -> Reason {
    let mentions = |word: &str| mentions(code, word) || mentions(message, word);
    if mentions("NET-0001") {
        if silent {
            Reason::SilentApplication
        } else {
            Reason::NothingHeard
        }
    } else if mentions("DATA-") {
        Reason::BadAudio
    } else if code.trim() == "1008" {
        Reason::ContainerPolicy
    } else {
        Reason::ContainerClosed
    }
}

/// Returns whether a text contains a code of Deepgram's that begins with this.
fn mentions(said: &str, word: &str) -> bool {
    said.match_indices(word).any(|(at, _)| {
        let before = said[..at].chars().next_back();
        let after = said[at + word.len()..].chars().next();
        let begins = !before.is_some_and(char::is_alphanumeric);
        let whole = word.ends_with(|each: char| each.is_ascii_digit());
        begins && after.is_some_and(|each| each.is_ascii_digit()) != whole
    })
}

/// Reads code and message from the container's answer: JSON if it is Deepgram's own.
#[must_use]
pub fn error(original: &str) -> (String, String) {
    let Ok(Value::Object(body)) = serde_json::from_str(original) else {
        return (String::new(), original.to_owned());
    };
    let field = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| body.get(*name)?.as_str())
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let code = field(&["err_code", "category"]);
    let message = field(&["err_msg", "message", "details"]);
    let both = [code, message]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>();
    (code.to_owned(), both.join(" "))
}

/// Returns Deepgram's own code at the beginning of a text, such as `DATA-0000`.
#[must_use]
pub fn code(said: &str) -> Option<&str> {
    let end = said
        .find(|each: char| !(each.is_ascii_alphanumeric() || each == '-'))
        .unwrap_or(said.len());
    let (letters, digits) = said[..end].split_once('-')?;
    let fits = !letters.is_empty()
        && letters.bytes().all(|each| each.is_ascii_uppercase())
        && !digits.is_empty()
        && digits.bytes().all(|each| each.is_ascii_digit());
    fits.then_some(&said[..end])
}
