//! `v1/listen` and `v2/listen`.

use super::parameter::{Parameter, Value, is_flag, number, parameter, whole};
use super::product::Product;
use crate::query::Query;

pub(super) const NOVA: Product = Product {
    path: "v1/listen",
    parameters: NOVA_PARAMETERS,
    required: &[],
    together: nova_together,
};

pub(super) const FLUX: Product = Product {
    path: "v2/listen",
    parameters: FLUX_PARAMETERS,
    required: &["model"],
    together: flux_together,
};

const NOVA_PARAMETERS: &[Parameter] = &[
    parameter("callback", Value::Text),
    parameter(
        "callback_method",
        Value::OneOf(&["POST", "GET", "PUT", "DELETE"]),
    ),
    parameter("channels", Value::Whole(1, 20)),
    parameter("detect_entities", Value::Flag),
    parameter("diarize", Value::Flag),
    parameter("diarize_model", Value::Text),
    parameter("dictation", Value::Flag),
    parameter(
        "encoding",
        Value::OneOf(&[
            "linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus",
            "ogg-opus", "speex", "g729",
        ]),
    ),
    parameter(
        "endpointing",
        Value::That(
            is_endpointing,
            "must be true, false or a number of milliseconds",
        ),
    ),
    parameter("extra", Value::Text),
    parameter("filler_words", Value::Flag),
    parameter("interim_results", Value::Flag),
    parameter("keyterm", Value::Text),
    parameter("keywords", Value::Text),
    parameter("language", Value::That(is_language, NO_LANGUAGE)),
    parameter("language_hint", Value::That(is_language, NO_LANGUAGE)),
    // On the page of the feature, not in the reference of streams.
    parameter("measurements", Value::Flag),
    parameter("mip_opt_out", Value::Flag),
    parameter(
        "model",
        Value::That(is_nova, "no such model is served on v1/listen"),
    ),
    parameter("multichannel", Value::Flag),
    parameter("no_delay", Value::Flag),
    parameter("numerals", Value::Flag),
    parameter("profanity_filter", Value::Flag),
    parameter("punctuate", Value::Flag),
    parameter(
        "redact",
        Value::That(
            is_redaction,
            "must be true, false or the name of a kind of entity",
        ),
    ),
    parameter("replace", Value::Text),
    parameter("sample_rate", SAMPLE_RATE),
    parameter("search", Value::Text),
    parameter("smart_format", Value::Flag),
    parameter("tag", Value::Text),
    parameter("utterance_end_ms", Value::Whole(1_000, i64::MAX)),
    parameter("vad_events", Value::Flag),
    parameter("version", Value::Text),
];

const FLUX_PARAMETERS: &[Parameter] = &[
    // Not in the reference, but never seen refused; likewise `multichannel`.
    parameter("channels", Value::Whole(1, 20)),
    parameter("eager_eot_threshold", Value::Number(0.3, 0.9)),
    parameter(
        "encoding",
        Value::OneOf(&["linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus"]),
    ),
    parameter("eot_threshold", Value::Number(0.5, 1.0)),
    parameter("eot_timeout_ms", Value::Whole(500, 60_000)),
    parameter("keyterm", Value::Text),
    parameter(
        "language_hint",
        Value::OneOf(&["de", "en", "es", "fr", "hi", "it", "ja", "nl", "pt", "ru"]),
    ),
    parameter("mip_opt_out", Value::Flag),
    parameter("model", Value::OneOf(&[ENGLISH, "flux-general-multi"])),
    parameter("multichannel", Value::Flag),
    // Newer builds have it; the one on SageMaker does not.
    parameter(
        "numerals",
        Value::Refused("Flux on SageMaker has no numerals"),
    ),
    parameter("profanity_filter", Value::Flag),
    parameter(
        "redact",
        Value::OneOf(&["true", "false", "numbers", "aggressive_numbers"]),
    ),
    parameter("sample_rate", SAMPLE_RATE),
    parameter("tag", Value::Text),
];

const SAMPLE_RATE: Value = Value::Whole(8_000, 192_000);
const NO_LANGUAGE: &str = "no such language is served";
const ENGLISH: &str = "flux-general-en";
const DEFAULT_EOT_THRESHOLD: f64 = 0.7;

/// Encodings of bare samples or packets, which do not carry their rate.
const RATED: &[&str] = &[
    "linear16", "linear32", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "speex",
];
/// Encodings that have one rate.
const FIXED: &[(&str, &str)] = &[("amr-nb", "8000"), ("amr-wb", "16000")];

/// The families of models of `v1/listen`, with their uses besides `general`.
const MODELS: &[(&str, &[&str])] = &[
    ("nova-3", &["medical"]),
    (
        "nova-2",
        &[
            "meeting",
            "phonecall",
            "finance",
            "conversationalai",
            "voicemail",
            "video",
            "medical",
            "drivethru",
            "automotive",
            "atc",
        ],
    ),
    ("nova", &["phonecall", "medical"]),
    ("enhanced", &["meeting", "phonecall", "finance"]),
    (
        "base",
        &[
            "meeting",
            "phonecall",
            "finance",
            "conversationalai",
            "voicemail",
            "video",
        ],
    ),
];
/// Names without a family: those of `base`, and custom models.
const BARE_MODELS: &[&str] = &[
    "general",
    "meeting",
    "phonecall",
    "finance",
    "conversationalai",
    "voicemail",
    "video",
    "custom",
];

/// Every language of any model of `v1/listen`. Which model has which is not checked.
const LANGUAGES: &[&str] = &[
    "multi", "ar", "ar-AE", "ar-DZ", "ar-EG", "ar-IQ", "ar-IR", "ar-JO", "ar-KW", "ar-LB", "ar-MA",
    "ar-PS", "ar-QA", "ar-SA", "ar-SD", "ar-SY", "ar-TD", "ar-TN", "be", "bg", "bn", "bs", "ca",
    "cs", "da", "da-DK", "de", "de-CH", "el", "en", "en-AU", "en-GB", "en-IN", "en-NZ", "en-US",
    "es", "es-419", "es-LATAM", "et", "fa", "fi", "fr", "fr-CA", "gu", "he", "hi", "hi-Latn", "hr",
    "hu", "id", "it", "ja", "kn", "ko", "ko-KR", "lt", "lv", "mk", "mr", "ms", "nl", "nl-BE", "no",
    "pl", "pt", "pt-BR", "pt-PT", "ro", "ru", "sk", "sl", "sr", "sv", "sv-SE", "ta", "taq", "te",
    "th", "th-TH", "tl", "tr", "uk", "ur", "vi", "zh", "zh-CN", "zh-HK", "zh-Hans", "zh-Hant",
    "zh-TW",
];

fn is_nova(model: &str) -> bool {
    let of_family = |(family, uses): &(&str, &[&str])| {
        model.strip_prefix(family).is_some_and(|rest| {
            let used = rest.strip_prefix('-');
            rest.is_empty() || used.is_some_and(|used| used == "general" || uses.contains(&used))
        })
    };
    MODELS.iter().any(of_family) || BARE_MODELS.contains(&model) || is_uuid(model)
}

/// Returns whether the name is the id of a custom model.
fn is_uuid(model: &str) -> bool {
    let lengths = model.split('-').map(str::len);
    let hex = |byte: u8| byte == b'-' || byte.is_ascii_hexdigit();
    lengths.eq([8, 4, 4, 4, 12]) && model.bytes().all(hex)
}

fn is_language(language: &str) -> bool {
    let known = |known: &&str| known.eq_ignore_ascii_case(language);
    LANGUAGES.iter().any(known)
}

fn is_endpointing(value: &str) -> bool {
    is_flag(value) || whole(value).is_some_and(|milliseconds| milliseconds >= 0)
}

fn is_redaction(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    value.bytes().all(plain)
}

fn nova_together(query: &Query) -> Result<(), String> {
    rate_fits(query)?;
    let model = query.get("model").unwrap_or("nova-3");
    if query.get("keyterm").is_some() && !(model.starts_with("nova-3") || is_uuid(model)) {
        return Err(format!("keyterm: {model} has none"));
    }
    Ok(())
}

fn flux_together(query: &Query) -> Result<(), String> {
    rate_fits(query)?;
    if query.get("language_hint").is_some() && query.get("model") == Some(ENGLISH) {
        return Err(format!("language_hint: {ENGLISH} has one language"));
    }
    let threshold = |name| query.get(name).and_then(number);
    let last = threshold("eot_threshold").unwrap_or(DEFAULT_EOT_THRESHOLD);
    match threshold("eager_eot_threshold") {
        Some(eager) if eager > last => Err(format!(
            "eager_eot_threshold={eager}: must not be above eot_threshold={last}"
        )),
        _ => Ok(()),
    }
}

fn rate_fits(query: &Query) -> Result<(), String> {
    let (encoding, rate) = (
        query.get("encoding").unwrap_or(""),
        query.get("sample_rate"),
    );
    if RATED.contains(&encoding) && rate.is_none() {
        return Err(format!(
            "sample_rate: must be given with encoding={encoding}"
        ));
    }
    let fixed = FIXED.iter().find(|(known, _)| *known == encoding);
    match (fixed, rate) {
        (Some((_, only)), Some(rate)) if rate != *only => Err(format!(
            "sample_rate={rate}: must be {only} with encoding={encoding}"
        )),
        _ => Ok(()),
    }
}
