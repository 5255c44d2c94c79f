//! The requests that Deepgram's containers refuse before a stream opens: by path, parameter or
//! value.
//!
//! Each product has a table, made from Deepgram's public reference and from observations of live
//! endpoints. Where both are silent, a query passes.

mod listen;
mod parameter;
mod product;
mod speak;

use product::{Product, quoted};

use crate::query::Query;

const PRODUCTS: [&Product; 5] = [
    &listen::NOVA,
    &listen::FLUX,
    &speak::AURA,
    &speak::FLUX,
    &AGENT,
];

/// The agent's settings are a message, so it has no parameters.
const AGENT: Product = Product {
    path: "v1/agent/converse",
    parameters: &[],
    required: &[],
    together: |_| Ok(()),
};

/// Returns whether `path` is one of Deepgram's.
pub(crate) fn is_known(path: &str) -> bool {
    PRODUCTS.iter().any(|product| product.path == path)
}

/// Returns the words in which a container that serves `paths` refuses a request; `None`: it takes
/// the stream.
pub(crate) fn refusal(paths: &[String], path: &str, query: &Query) -> Option<String> {
    let product = PRODUCTS.iter().find(|product| product.path == path);
    let served = paths.iter().any(|served| served == path);
    let (Some(product), true) = (product, served) else {
        return Some(format!(
            "NOT_FOUND: no such path: {}: this container serves {}",
            quoted(path),
            paths.join(", ")
        ));
    };
    product
        .check(query)
        .err()
        .map(|error| format!("INVALID_QUERY_PARAMETER: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, query: &str) -> Option<String> {
        let paths = PRODUCTS.map(|product| product.path.to_owned());
        refusal(&paths, path, &Query::parse(query))
    }

    #[track_caller]
    fn taken(path: &str, queries: &[&str]) {
        for query in queries {
            assert_eq!(refused(path, query), None, "{path}?{query}");
        }
    }

    /// Each query is refused, in words that begin with what is named.
    #[track_caller]
    fn refuses(path: &str, cases: &[(&str, &str)]) {
        for (query, named) in cases {
            let words = refused(path, query).unwrap_or_else(|| panic!("{path}?{query} is taken"));
            let words = words.strip_prefix("INVALID_QUERY_PARAMETER: ").unwrap();
            assert!(words.starts_with(named), "{path}?{query}: {words}");
        }
    }

    #[test]
    fn nova() {
        taken(
            "v1/listen",
            &[
                "",
                "model=nova-3",
                "encoding=linear16&sample_rate=16000",
                "model=nova-3-medical&language=multi&keyterm=a&keyterm=b",
                "model=nova-2&language=pt-BR&keywords=one:2",
                "model=3f1c8a52-6a5b-4b6e-9d2e-2a54a2b1c0de",
                "encoding=amr-nb&sample_rate=8000",
                "encoding=ogg-opus",
                "encoding=opus&sample_rate=48000&channels=2&multichannel=True",
                "endpointing=false&interim_results=true&utterance_end_ms=1000&vad_events=true",
                "endpointing=300&punctuate=true&smart_format=true&diarize=true&numerals=true",
                "redact=pci&redact=ssn&search=a&replace=a:b&tag=x&extra=a:b&mip_opt_out=true",
                "callback=https%3A%2F%2Fexample.org&callback_method=PUT&version=latest",
                "filler_words=true&no_delay=true&dictation=true&profanity_filter=false",
                "detect_entities=true&language_hint=es&diarize_model=latest&measurements=true",
            ],
        );
        refuses(
            "v1/listen",
            &[
                ("model=nova-3&modle=x", "modle: "),
                ("sample_rates=8000", "sample_rates: "),
                ("Model=nova-3", "Model: "),
                ("model=nova-9", "model=nova-9: "),
                ("model=flux-general-en", "model=flux-general-en: "),
                ("model=aura-2-thalia-en", "model=aura-2-thalia-en: "),
                ("model=whisper-large", "model=whisper-large: "),
                ("language=xx", "language=xx: "),
                ("language=english", "language=english: "),
                ("language_hint=xx", "language_hint=xx: "),
                ("encoding=linear17&sample_rate=16000", "encoding=linear17: "),
                ("encoding=mp3", "encoding=mp3: "),
                ("encoding=linear16", "sample_rate: "),
                ("encoding=mulaw", "sample_rate: "),
                ("encoding=opus", "sample_rate: "),
                ("encoding=amr-nb&sample_rate=16000", "sample_rate=16000: "),
                ("encoding=amr-wb&sample_rate=8000", "sample_rate=8000: "),
                ("encoding=linear16&sample_rate=fast", "sample_rate=fast: "),
                ("encoding=linear16&sample_rate=0", "sample_rate=0: "),
                (
                    "encoding=linear16&sample_rate=-16000",
                    "sample_rate=-16000: ",
                ),
                (
                    "encoding=linear16&sample_rate=16000.5",
                    "sample_rate=16000.5: ",
                ),
                (
                    "encoding=linear16&sample_rate=16000&channels=0",
                    "channels=0: ",
                ),
                ("channels=two", "channels=two: "),
                ("interim_results=yes", "interim_results=yes: "),
                ("punctuate=1", "punctuate=1: "),
                ("endpointing=soon", "endpointing=soon: "),
                ("endpointing=-1", "endpointing=-1: "),
                ("utterance_end_ms=999", "utterance_end_ms=999: "),
                ("utterance_end_ms=long", "utterance_end_ms=long: "),
                ("callback_method=PATCH", "callback_method=PATCH: "),
                ("model=nova-2&keyterm=a", "keyterm: "),
                ("eot_threshold=0.7", "eot_threshold: "),
                ("redact=PCI%20numbers", "redact=PCI numbers: "),
            ],
        );
    }

    #[test]
    fn flux() {
        taken(
            "v2/listen",
            &[
                "model=flux-general-en",
                "model=flux-general-en&encoding=linear16&sample_rate=16000",
                "model=flux-general-multi&language_hint=es&language_hint=en",
                "model=flux-general-en&eager_eot_threshold=0.3&eot_threshold=0.5",
                "model=flux-general-en&eager_eot_threshold=0.9&eot_threshold=1.0",
                "model=flux-general-en&eot_timeout_ms=500&keyterm=a%20b&tag=x&mip_opt_out=true",
                "model=flux-general-en&eot_timeout_ms=60000&profanity_filter=true&redact=numbers",
                "model=flux-general-en&encoding=ogg-opus",
                "model=flux-general-en&encoding=linear16&sample_rate=8000&channels=2&multichannel=true",
            ],
        );
        refuses(
            "v2/listen",
            &[
                ("", "model: "),
                ("encoding=linear16&sample_rate=16000", "model: "),
                ("model=nova-3", "model=nova-3: "),
                ("model=flux", "model=flux: "),
                ("model=flux-general-en&language=en", "language: "),
                ("model=flux-general-en&language_hint=en", "language_hint: "),
                (
                    "model=flux-general-multi&language_hint=xx",
                    "language_hint=xx: ",
                ),
                ("model=flux-general-en&numerals=true", "numerals=true: "),
                ("model=flux-general-en&numerals=false", "numerals=false: "),
                (
                    "model=flux-general-en&eot_threshold=0.2",
                    "eot_threshold=0.2: ",
                ),
                (
                    "model=flux-general-en&eot_threshold=1.1",
                    "eot_threshold=1.1: ",
                ),
                (
                    "model=flux-general-en&eot_threshold=nan",
                    "eot_threshold=nan: ",
                ),
                (
                    "model=flux-general-en&eot_threshold=inf",
                    "eot_threshold=inf: ",
                ),
                (
                    "model=flux-general-en&eot_threshold=high",
                    "eot_threshold=high: ",
                ),
                (
                    "model=flux-general-en&eager_eot_threshold=0.29",
                    "eager_eot_threshold=0.29: ",
                ),
                (
                    "model=flux-general-en&eager_eot_threshold=0.95",
                    "eager_eot_threshold=0.95: ",
                ),
                (
                    "model=flux-general-en&eager_eot_threshold=0.8",
                    "eager_eot_threshold=0.8: ",
                ),
                (
                    "model=flux-general-en&eot_timeout_ms=499",
                    "eot_timeout_ms=499: ",
                ),
                (
                    "model=flux-general-en&eot_timeout_ms=60001",
                    "eot_timeout_ms=60001: ",
                ),
                (
                    "model=flux-general-en&encoding=flac&sample_rate=16000",
                    "encoding=flac: ",
                ),
                ("model=flux-general-en&encoding=linear16", "sample_rate: "),
                (
                    "model=flux-general-en&interim_results=true",
                    "interim_results: ",
                ),
                ("model=flux-general-en&redact=pci", "redact=pci: "),
            ],
        );
    }

    #[test]
    fn aura() {
        taken(
            "v1/speak",
            &[
                "",
                "model=aura-2-thalia-en",
                "model=aura-asteria-en&encoding=mulaw&sample_rate=8000",
                "encoding=alaw&sample_rate=16000&container=none",
                "encoding=linear16&sample_rate=48000&speed=0.7&mip_opt_out=false",
                "encoding=mulaw",
                "sample_rate=32000",
            ],
        );
        refuses(
            "v1/speak",
            &[
                ("model=aura-2-nobody-en", "model=aura-2-nobody-en: "),
                ("model=flux-haley-en", "model=flux-haley-en: "),
                ("model=nova-3", "model=nova-3: "),
                ("voice=thalia", "voice: "),
                ("encoding=mp3", "encoding=mp3: "),
                ("encoding=opus", "encoding=opus: "),
                ("encoding=linear32", "encoding=linear32: "),
                ("encoding=linear16&sample_rate=44100", "sample_rate=44100: "),
                ("encoding=linear16&sample_rate=22050", "sample_rate=22050: "),
                ("encoding=mulaw&sample_rate=24000", "sample_rate=24000: "),
                ("encoding=alaw&sample_rate=48000", "sample_rate=48000: "),
                ("sample_rate=11025", "sample_rate=11025: "),
                ("sample_rate=loud", "sample_rate=loud: "),
                ("container=ogg", "container=ogg: "),
                ("bit_rate=48000", "bit_rate=48000: "),
                ("encoding=linear16&bit_rate=48000", "bit_rate=48000: "),
                ("speed=2", "speed=2: "),
                ("speed=fast", "speed=fast: "),
                ("callback=https%3A%2F%2Fexample.org", "callback: "),
            ],
        );
    }

    #[test]
    fn flux_tts() {
        taken(
            "v2/speak",
            &[
                "model=flux-haley-en",
                "model=flux-haley-en&encoding=linear16&sample_rate=44100&speed=0.5",
                "model=flux-haley-en&encoding=mulaw&sample_rate=16000&expressivity=-2&tag=x",
            ],
        );
        refuses(
            "v2/speak",
            &[
                ("", "model: "),
                ("model=aura-2-thalia-en", "model=aura-2-thalia-en: "),
                ("model=flux-haley", "model=flux-haley: "),
                ("model=flux-general-en", "model=flux-general-en: "),
                ("model=haley", "model=haley: "),
                ("model=flux-haley-en&encoding=opus", "encoding=opus: "),
                ("model=flux-haley-en&encoding=flac", "encoding=flac: "),
                (
                    "model=flux-haley-en&sample_rate=22050",
                    "sample_rate=22050: ",
                ),
                (
                    "model=flux-haley-en&encoding=alaw&sample_rate=44100",
                    "sample_rate=44100: ",
                ),
                ("model=flux-haley-en&container=wav", "container=wav: "),
                ("model=flux-haley-en&container=none", "container=none: "),
                ("model=flux-haley-en&bit_rate=32000", "bit_rate=32000: "),
                (
                    "model=flux-haley-en&speed=0.45",
                    "speed=0.45: SPEED_OUT_OF_RANGE",
                ),
                (
                    "model=flux-haley-en&speed=1.55",
                    "speed=1.55: SPEED_OUT_OF_RANGE",
                ),
                (
                    "model=flux-haley-en&speed=1.01",
                    "speed=1.01: SPEED_INCREMENT_INVALID",
                ),
                ("model=flux-haley-en&speed=nan", "speed=nan: "),
                (
                    "model=flux-haley-en&expressivity=3",
                    "expressivity=3: EXPRESSIVITY_OUT_OF_RANGE",
                ),
                (
                    "model=flux-haley-en&expressivity=0.5",
                    "expressivity=0.5: EXPRESSIVITY_INCREMENT_INVALID",
                ),
                ("model=flux-haley-en&language=en", "language: "),
            ],
        );
    }

    #[test]
    fn the_agent_has_no_parameters() {
        taken("v1/agent/converse", &[""]);
        refuses("v1/agent/converse", &[("model=nova-3", "model: ")]);
    }

    #[test]
    fn paths_that_a_container_does_not_serve() {
        for path in ["v9/nothing", "v1/listen/", "v1", "", "V1/listen", "v1/read"] {
            let words = refused(path, "model=nova-3").unwrap();
            assert!(words.starts_with("NOT_FOUND: no such path: "), "{words}");
        }
        let flux = ["v2/listen".to_owned()];
        let words = refusal(&flux, "v1/listen", &Query::default()).unwrap();
        assert!(
            words.ends_with("this container serves v2/listen"),
            "{words}"
        );
    }

    #[test]
    fn values_are_repeated_short_and_printable() {
        let query = format!("language=a%0a%1b{}", "x".repeat(500));
        let words = refused("v1/listen", &query).unwrap();
        assert!(words.contains("language=a\\n\\u{1b}xxx"), "{words}");
        assert!(words.contains("x…: "), "{words}");
        assert!(words.chars().count() < 250, "{words}");
    }
}
