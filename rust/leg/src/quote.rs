//! The peer's words, made fit for errors, logs and figures.
//!
//! A server's text may be megabytes long, contain control characters, or repeat the request with
//! its keys. Every text that people read goes through this module, which returns one printable,
//! bounded line without secrets.

/// The length at which a quoted text is cut, in characters.
pub const MAX_TEXT: usize = 300;
/// The length at which a quoted name (an error's code, a request's id) is cut, in characters.
pub const MAX_NAME: usize = 100;
/// The length up to which a text is read or kept, in bytes.
pub const MAX_READ: usize = 4096;

const MASK: &str = "***";

/// Returns the first paragraph of a text as one printable line of at most [`MAX_TEXT`] characters,
/// without secrets.
#[must_use]
pub fn text(said: &str) -> String {
    let said = said.trim_start();
    let read = &said[..floor(said, MAX_READ)];
    let read = if read.len() < said.len() {
        // The part that is cut off could be the rest of a secret.
        read.trim_end_matches(is_token)
    } else {
        read
    };
    shorten(&printable(&masked(paragraph(read))), MAX_TEXT)
}

/// Returns a name, such as an exception's, like [`text`] but with at most [`MAX_NAME`] characters.
#[must_use]
pub fn name(said: &str) -> String {
    shorten(&text(said), MAX_NAME)
}

/// Returns a text cut to [`MAX_READ`] bytes and otherwise unchanged, for code that still has to
/// parse it. The word in which it is cut is left out.
#[must_use]
pub fn bounded(mut said: String) -> String {
    if said.len() > MAX_READ {
        said.truncate(without_last_word(&said[..floor(&said, MAX_READ)]).len());
        said.shrink_to_fit();
    }
    said
}

/// Returns bytes that should be text, cut like [`bounded`].
#[must_use]
pub fn bounded_bytes(said: &[u8]) -> String {
    // One byte more than is kept, so that `bounded` sees that it was cut.
    bounded(String::from_utf8_lossy(&said[..said.len().min(MAX_READ + 1)]).into_owned())
}

/// Returns a text without its last word, whose rest was cut off: some secrets are not known by
/// their beginning alone. A word longer than any such secret only loses its end.
fn without_last_word(said: &str) -> &str {
    let before = said.trim_end_matches(is_token);
    // Every token character is ASCII.
    &said[..before.len().max(said.len().saturating_sub(LONG))]
}

/// Returns the largest length up to `most` at which the text can be cut.
fn floor(said: &str, most: usize) -> usize {
    (0..=most.min(said.len()))
        .rev()
        .find(|at| said.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Returns the text up to the first empty line. The service explains a refused signature in its
/// first paragraph, and repeats the request after it.
fn paragraph(said: &str) -> &str {
    let mut start = 0;
    for line in said.split_inclusive('\n') {
        if start > 0 && line.trim().is_empty() {
            return &said[..start];
        }
        start += line.len();
    }
    said
}

/// Returns one line: runs of white space become a space, and unprintable characters are escaped.
fn printable(said: &str) -> String {
    let mut line = String::with_capacity(said.len());
    for word in said.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for each in word.chars() {
            if each.is_ascii_graphic() {
                line.push(each);
                continue;
            }
            // After a letter, so that a combining accent counts as printable.
            let pair = String::from_iter(['a', each]);
            line.extend(pair.escape_debug().skip(1));
        }
    }
    line
}

fn shorten(line: &str, most: usize) -> String {
    if line.chars().count() <= most {
        return line.to_owned();
    }
    line.chars().take(most - 1).chain(['…']).collect()
}

/// Returns whether keys, tokens and signatures may contain this character.
fn is_token(each: char) -> bool {
    each.is_ascii_alphanumeric() || matches!(each, '+' | '/' | '=' | '_' | '-' | '.' | '~' | '%')
}

/// Names that a secret follows, in lower case. `=` or `:` stands between them; in JSON also a
/// quotation mark.
const SECRET_NAMES: [&str; 14] = [
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-content-sha256",
    "aws_secret_access_key",
    "secret_access_key",
    "secretaccesskey",
    "aws_session_token",
    "session_token",
    "sessiontoken",
    "signature",
    "credential",
    "password",
    "secret",
];

/// Names whose value has several words and goes on to the end of the line.
const HEADERS: [&str; 4] = [
    "proxy-authorization",
    "authorization",
    "set-cookie",
    "cookie",
];

/// Schemes of credentials. The value is the next word.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];

/// The first letters of the ids of access keys, users and roles.
const KEY_PREFIXES: [&str; 8] = [
    "AKIA", "ASIA", "ABIA", "ACCA", "AIDA", "AROA", "ANPA", "AGPA",
];

/// Masks every secret in a text.
fn masked(said: &str) -> String {
    let mut kept = String::with_capacity(said.len());
    let mut rest = said;
    while let Some(first) = rest.chars().next() {
        if !is_token(first) {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = split_token(rest);
        let (shown, left) = mask_word(word, after);
        kept.push_str(&shown);
        rest = left;
    }
    kept
}

/// Splits a text after its first run of token characters.
fn split_token(text: &str) -> (&str, &str) {
    text.split_at(text.find(|each| !is_token(each)).unwrap_or(text.len()))
}

/// Returns what is shown of a word, and the rest of the text.
fn mask_word<'a>(word: &str, after: &'a str) -> (String, &'a str) {
    let lower = word.to_ascii_lowercase();
    if HEADERS.contains(&lower.as_str())
        && let Some(value) = value_after(after)
    {
        let end = value.find(['\n', '\r']).unwrap_or(value.len());
        let before = &after[..after.len() - value.len()];
        return (format!("{word}{before}{MASK}"), &value[end..]);
    }
    if SECRET_NAMES.contains(&lower.as_str())
        && let Some(value) = value_after(after)
    {
        let before = &after[..after.len() - value.len()];
        return (format!("{word}{before}{MASK}"), skip_value(value));
    }
    if SCHEMES.contains(&lower.as_str())
        && let Some(value) = after.strip_prefix(' ')
        // "Basic authentication" is a phrase; "Basic dTpw" is a secret.
        && (lower == "bearer" || !is_plain_word(split_token(value).0))
    {
        return (format!("{word} {MASK}"), skip_value(value));
    }
    if lower == "token"
        && let Some(value) = after.strip_prefix(' ')
        && split_token(value).0.len() >= 20
    {
        return (format!("{word} {MASK}"), skip_value(value));
    }
    // `=` is part of base64, and also separates a name from its value.
    if let Some((name, value)) = word.split_once('=')
        && !value.is_empty()
        && !value.starts_with('=')
    {
        let secret = {
            let lower = name.to_ascii_lowercase();
            SECRET_NAMES.contains(&lower.as_str()) || HEADERS.contains(&lower.as_str())
        };
        if secret {
            return (format!("{name}={MASK}"), skip_value(after));
        }
        if word.len() < LONG {
            return (format!("{}={}", mask_parts(name), mask_parts(value)), after);
        }
    }
    (mask_parts(word), after)
}

/// Returns the text from a name's value on, if a value follows.
fn value_after(after: &str) -> Option<&str> {
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after);
    let after = after.trim_start_matches([' ', '\t']);
    let value = after.strip_prefix([':', '='])?;
    let value = value.trim_start_matches([' ', '\t']);
    let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// Returns the text after a secret value.
fn skip_value(value: &str) -> &str {
    let end = value
        .find(|each: char| each.is_whitespace() || matches!(each, '"' | '\'' | ',' | '&' | ';'))
        .unwrap_or(value.len());
    &value[end..]
}

fn is_plain_word(word: &str) -> bool {
    word.chars().all(|each| each.is_ascii_lowercase()) && !word.is_empty()
}

/// A run of token characters of this length is no word.
const LONG: usize = 100;
/// The length of a signature in hexadecimal.
const SIGNATURE: usize = 64;
/// The shortest id of a key, prefix included.
const KEY_NAME: usize = 16;

/// Masks a word that looks like a secret, or the parts of it that do.
fn mask_parts(word: &str) -> String {
    let lines = word.len() >= LONG
        && word
            .chars()
            .all(|each| is_token(each) && !matches!(each, '.' | '~'));
    if lines {
        return MASK.to_owned();
    }
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let secret = secret_at(rest);
        if secret > 0 {
            shown.push_str(MASK);
            rest = &rest[secret..];
        } else {
            // A token is ASCII.
            shown.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    shown
}

/// Returns the length of the secret at the beginning of a text; 0 if there is none.
fn secret_at(text: &str) -> usize {
    let run = |fits: fn(&u8) -> bool| text.bytes().take_while(fits).count();
    let hex = run(u8::is_ascii_hexdigit);
    if hex >= SIGNATURE {
        return hex;
    }
    if run(u8::is_ascii_alphanumeric) >= LONG {
        return run(u8::is_ascii_alphanumeric);
    }
    let key = run(|each| each.is_ascii_uppercase() || each.is_ascii_digit());
    let named = KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    if named && key >= KEY_NAME { key } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_as_they_are() {
        for said in [
            "",
            "Endpoint ep of account 123456789012 not found.",
            "DATA-0000: cannot decode \"this\" (it's no audio), x=1 & y = 2; 50%",
            "Größe 5, naïve, e\u{301}, 日本",
            "arn:aws:logs:us-east-1:1:log-group:/aws/sagemaker/Endpoints/ep:log-stream:AllTraffic/i-0",
            "basic authentication required; the token is wrong; secret agents",
            "the request has 5 tokens, token ring",
        ] {
            assert_eq!(text(said), said);
        }
    }

    #[test]
    fn one_printable_line() {
        assert_eq!(
            text("  a\r\nb\tc \u{b}d\u{85}\u{2028}e "),
            "a b c d e",
            "white space of any kind"
        );
        assert_eq!(text("x\u{1b}[31mred\u{7}\0"), "x\\u{1b}[31mred\\u{7}\\0");
        assert_eq!(
            text("\u{202e}evil\u{200b}\u{feff}"),
            "\\u{202e}evil\\u{200b}\\u{feff}"
        );
        assert_eq!(text("first\nsecond\n \nthird"), "first second");
        assert_eq!(text("\n\nfirst"), "first");
    }

    #[test]
    fn it_is_short() {
        let quoted = text(&"word ".repeat(1 << 20));
        assert_eq!(quoted.chars().count(), MAX_TEXT);
        assert!(quoted.ends_with('…'));
        assert_eq!(name(&"ü".repeat(1 << 20)).chars().count(), MAX_NAME);
        assert!(text(&"\u{1}".repeat(1 << 20)).chars().count() <= MAX_TEXT);
        assert_eq!(bounded("ü".repeat(1 << 20)).len(), MAX_READ);
        assert_eq!(bounded("as it came\n".into()), "as it came\n");
    }

    #[test]
    fn what_is_kept_ends_before_a_word_that_was_cut() {
        let key = "AKIAIOSFODNN7EXAMPLE";
        for cut in 1..key.len() {
            let said = format!("{} {key} more", "\n".repeat(MAX_READ - cut - 1));
            let kept = bounded(said);
            assert!(!text(&kept).contains("AK"), "{cut}");
        }
        // One endless word is no secret, and its beginning may be a code.
        let endless = format!("DATA-0000{}", "x".repeat(MAX_READ));
        assert!(bounded(endless).starts_with("DATA-0000"));
    }

    #[test]
    fn secrets_are_masked() {
        let hex = "0123456789abcdef".repeat(4);
        let long = "Fw".repeat(60);
        for secret in [
            "AKIAIOSFODNN7EXAMPLE",
            "ASIAIOSFODNN7EXAMPLE",
            &hex,
            &hex.to_uppercase(),
            &long,
            &format!("{long}=="),
            &format!("{}+/x", "ab/".repeat(40)),
        ] {
            for (before, after) in [
                ("refused ", " indeed"),
                ("(", ")"),
                ("\u{1b}[2J", "\u{1b}[0m"),
                ("key=", "&x=1"),
                ("\"", "\""),
                ("a/", "/20260101/us-east-1"),
                (
                    "Credential=",
                    "/20260101/us-east-1/sagemaker/aws4_request, x",
                ),
            ] {
                let quoted = text(&format!("said: {before}{secret}{after}"));
                assert!(!quoted.contains(secret), "{quoted}");
                assert!(quoted.contains("***"), "{quoted}");
            }
        }
    }

    #[test]
    fn what_follows_its_name_is_masked() {
        for (said, shown) in [
            ("Bearer abcdef x", "Bearer *** x"),
            ("Basic dTpw, x", "Basic ***, x"),
            ("token eyJhbGciOiJIUzI1NiIsInR5cCI6 x", "token *** x"),
            (
                "Authorization: AWS4-HMAC-SHA256 Credential=me/x, Signature=1\nnext",
                "Authorization: *** next",
            ),
            (
                "proxy-authorization: Basic dTpw",
                "proxy-authorization: ***",
            ),
            (
                "{\"Authorization\": \"Basic dTpw\"}",
                "{\"Authorization\": \"***",
            ),
            (
                "X-Amz-Security-Token: Fwo%2Bx/y== z",
                "X-Amz-Security-Token: *** z",
            ),
            (
                "?X-Amz-Security-Token=Fwo%2Bx&X-Amz-Signature=ab12&p=1",
                "?X-Amz-Security-Token=***&X-Amz-Signature=***&p=1",
            ),
            ("Signature=ab12, x", "Signature=***, x"),
            (
                "\"SecretAccessKey\": \"wJalr/K7\", x",
                "\"SecretAccessKey\": \"***\", x",
            ),
            ("aws_session_token = Fwo x", "aws_session_token = *** x"),
        ] {
            assert_eq!(text(said), shown);
        }
    }

    #[test]
    fn a_secret_at_the_edge_of_what_is_read_is_not_shown_in_part() {
        for before in (MAX_READ - 30)..MAX_READ {
            let said = format!("x{}AKIAIOSFODNN7EXAMPLE", " ".repeat(before));
            assert!(!text(&said).contains("AKIA"), "{before}");
        }
    }

    #[test]
    fn quoting_twice_changes_nothing() {
        for said in ["x\u{1b}y", "Bearer abcdef1 x", &"word ".repeat(200), "a\nb"] {
            let once = text(said);
            assert_eq!(text(&once), once);
        }
    }
}
