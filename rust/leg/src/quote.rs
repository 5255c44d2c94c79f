//! Somebody else's words, fit for an error, a log line or a figure.
//!
//! What a server says may be megabytes long, full of control characters, and may repeat the
//! request with its keys. Everything that people read of it goes through here: one line, printable,
//! bounded, and without secrets.

/// Characters of a text that are quoted.
pub const MAX_TEXT: usize = 300;
/// Characters of a name (an error's code, a request's id) that are quoted.
pub const MAX_NAME: usize = 100;
/// Bytes of a text that are looked at, or kept: the rest could only cost time and memory.
pub const MAX_READ: usize = 4096;

const MASK: &str = "***";

/// The first paragraph of a text as one printable line of at most [`MAX_TEXT`] characters, without
/// secrets.
#[must_use]
pub fn text(said: &str) -> String {
    let said = said.trim_start();
    let read = &said[..floor(said, MAX_READ)];
    let read = if read.len() < said.len() {
        // What is cut off could be the rest of a secret.
        read.trim_end_matches(is_token)
    } else {
        read
    };
    shorten(&printable(&masked(paragraph(read))), MAX_TEXT)
}

/// A name as the other side gives it, such as an exception's, on the same terms as [`text`] but
/// shorter.
#[must_use]
pub fn name(said: &str) -> String {
    shorten(&text(said), MAX_NAME)
}

/// A text cut to [`MAX_READ`] bytes, otherwise as it came: for whoever still has to understand it.
/// The word in which it is cut is left out.
#[must_use]
pub fn bounded(mut said: String) -> String {
    if said.len() > MAX_READ {
        said.truncate(without_last_word(&said[..floor(&said, MAX_READ)]).len());
        said.shrink_to_fit();
    }
    said
}

/// The same of bytes that should be text.
#[must_use]
pub fn bounded_bytes(said: &[u8]) -> String {
    // One more than is kept, so that it is seen that it was cut.
    bounded(String::from_utf8_lossy(&said[..said.len().min(MAX_READ + 1)]).into_owned())
}

/// A text without the word at its end, whose rest was cut off: it could be part of a secret that is
/// not known by its beginning alone. A word that is longer than any such secret only loses its end.
fn without_last_word(said: &str) -> &str {
    let before = said.trim_end_matches(is_token);
    // What is trimmed is ASCII.
    &said[..before.len().max(said.len().saturating_sub(LONG))]
}

/// The largest length up to `most` at which the text can be cut.
fn floor(said: &str, most: usize) -> usize {
    (0..=most.min(said.len()))
        .rev()
        .find(|at| said.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Up to the first line that is empty. The service explains a refused signature in its first
/// paragraph, and repeats the request after it.
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

/// One line: runs of white space are a space, and what does not print is escaped.
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
            // After a letter, so that an accent of its own counts as printable.
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

/// What keys, tokens and signatures are written with.
fn is_token(each: char) -> bool {
    each.is_ascii_alphanumeric() || matches!(each, '+' | '/' | '=' | '_' | '-' | '.' | '~' | '%')
}

/// Names after which a secret follows, in lower case. All but the first few are followed by `=` or
/// `:`, in JSON with a quotation mark before it.
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

/// Names whose value goes on to the end of the line: it consists of several words.
const HEADERS: [&str; 4] = [
    "proxy-authorization",
    "authorization",
    "set-cookie",
    "cookie",
];

/// Schemes of credentials; their value is the next word.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];

/// How the names of access keys, users and roles begin.
const KEY_PREFIXES: [&str; 8] = [
    "AKIA", "ASIA", "ABIA", "ACCA", "AIDA", "AROA", "ANPA", "AGPA",
];

/// The text with every secret in it masked.
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

/// A run of token characters, and what follows it.
fn split_token(text: &str) -> (&str, &str) {
    text.split_at(text.find(|each| !is_token(each)).unwrap_or(text.len()))
}

/// What is shown of a word, and where to go on.
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
        // "Basic authentication" is a phrase, "Basic dTpw" is not.
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
    // `=` stands inside of what base64 gives, and also between a name and its value.
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

/// The value that a name is followed by, if one follows.
fn value_after(after: &str) -> Option<&str> {
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after);
    let after = after.trim_start_matches([' ', '\t']);
    let value = after.strip_prefix([':', '='])?;
    let value = value.trim_start_matches([' ', '\t']);
    let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// What follows a secret value.
fn skip_value(value: &str) -> &str {
    let end = value
        .find(|each: char| each.is_whitespace() || matches!(each, '"' | '\'' | ',' | '&' | ';'))
        .unwrap_or(value.len());
    &value[end..]
}

fn is_plain_word(word: &str) -> bool {
    word.chars().all(|each| each.is_ascii_lowercase()) && !word.is_empty()
}

/// A run of token characters so long is no word of any language.
const LONG: usize = 100;
/// A signature's, in hexadecimal.
const SIGNATURE: usize = 64;
/// The name of a key has at least so many characters, the prefix included.
const KEY_NAME: usize = 16;

/// Masks a word that is a secret by its looks, or the parts of it that are.
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

/// How long the secret is that a text begins with; 0: it begins with none.
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
        // One word without an end is no secret, and its beginning may be a code.
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
