//! `v1/speak` and `v2/speak`.

use super::parameter::{Parameter, Value, number, parameter, whole};
use super::product::Product;
use crate::query::Query;

pub(super) const AURA: Product = Product {
    path: "v1/speak",
    parameters: AURA_PARAMETERS,
    required: &[],
    together: |query| rate_fits(query, &[8_000, 16_000, 24_000, 32_000, 48_000]),
};

pub(super) const FLUX: Product = Product {
    path: "v2/speak",
    parameters: FLUX_PARAMETERS,
    required: &["model"],
    together: |query| rate_fits(query, &[8_000, 16_000, 24_000, 32_000, 44_100, 48_000]),
};

const AURA_PARAMETERS: &[Parameter] = &[
    parameter("bit_rate", Value::Refused("streamed audio has no bit rate")),
    // A stream has no container by the reference; a WAV header was not seen to be refused.
    parameter("container", Value::OneOf(&["none", "wav"])),
    parameter("encoding", ENCODING),
    parameter("mip_opt_out", Value::Flag),
    parameter(
        "model",
        Value::That(is_aura, "no such voice is served on v1/speak"),
    ),
    parameter("sample_rate", Value::Whole(1, i64::MAX)),
    parameter("speed", Value::Number(0.7, 1.5)),
    parameter("tag", Value::Text),
];

const FLUX_PARAMETERS: &[Parameter] = &[
    parameter("bit_rate", Value::Refused("streamed audio has no bit rate")),
    parameter(
        "container",
        Value::Refused("streamed audio has no container"),
    ),
    parameter("encoding", ENCODING),
    parameter("expressivity", Value::Checked(check_expressivity)),
    parameter("mip_opt_out", Value::Flag),
    parameter(
        "model",
        Value::That(
            is_flux,
            "must be flux-{voice}-{language}, such as flux-haley-en",
        ),
    ),
    parameter("sample_rate", Value::Whole(1, i64::MAX)),
    parameter("speed", Value::Checked(check_speed)),
    parameter("tag", Value::Text),
];

const ENCODING: Value = Value::OneOf(&["linear16", "mulaw", "alaw"]);
const TELEPHONE_RATES: &[i64] = &[8_000, 16_000];

/// The voices of Aura, all of them English.
const AURA_1: &[&str] = &[
    "angus", "arcas", "asteria", "athena", "helios", "hera", "luna", "orion", "orpheus", "perseus",
    "stella", "zeus",
];
/// The voices of Aura-2, by language.
const AURA_2: &[(&str, &[&str])] = &[
    (
        "en",
        &[
            "amalthea",
            "andromeda",
            "apollo",
            "arcas",
            "aries",
            "asteria",
            "athena",
            "atlas",
            "aurora",
            "callista",
            "cora",
            "cordelia",
            "delia",
            "draco",
            "electra",
            "harmonia",
            "helena",
            "hera",
            "hermes",
            "hyperion",
            "iris",
            "janus",
            "juno",
            "jupiter",
            "luna",
            "mars",
            "minerva",
            "neptune",
            "odysseus",
            "ophelia",
            "orion",
            "orpheus",
            "pandora",
            "phoebe",
            "pluto",
            "saturn",
            "selene",
            "thalia",
            "theia",
            "vesta",
            "zeus",
        ],
    ),
    (
        "es",
        &[
            "agustina", "alvaro", "antonia", "aquila", "carina", "celeste", "diana", "estrella",
            "gloria", "javier", "luciano", "nestor", "olivia", "selena", "silvia", "sirio",
            "valerio",
        ],
    ),
    (
        "de",
        &[
            "aurelia", "elara", "fabian", "julius", "kara", "lara", "viktoria",
        ],
    ),
    (
        "nl",
        &[
            "beatrix", "cornelia", "daphne", "hestia", "lars", "leda", "rhea", "roman", "sander",
        ],
    ),
    ("fr", &["agathe", "hector"]),
    (
        "it",
        &[
            "cesare", "cinzia", "demetra", "dionisio", "elio", "flavio", "livia", "maia", "melia",
        ],
    ),
    ("ja", &["ama", "ebisu", "fujin", "izanami", "uzume"]),
];

fn is_aura(model: &str) -> bool {
    let Some((voice, language)) = model
        .strip_prefix("aura-")
        .and_then(|rest| rest.rsplit_once('-'))
    else {
        return false;
    };
    match voice.strip_prefix("2-") {
        Some(voice) => AURA_2
            .iter()
            .any(|(known, voices)| *known == language && voices.contains(&voice)),
        None => language == "en" && AURA_1.contains(&voice),
    }
}

/// Which voices there are the reference does not say. `general` is the name of a model that
/// listens.
fn is_flux(model: &str) -> bool {
    let Some((voice, language)) = model
        .strip_prefix("flux-")
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let letters =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
    letters(voice) && voice != "general" && letters(language) && language.len() == 2
}

fn check_speed(value: &str) -> Result<(), String> {
    let Some(speed) = number(value) else {
        return Err("must be a number from 0.5 to 1.5 in steps of 0.05".to_owned());
    };
    let steps = speed * 20.0;
    if !(0.5..=1.5).contains(&speed) {
        Err("SPEED_OUT_OF_RANGE: must be from 0.5 to 1.5".to_owned())
    } else if (steps - steps.round()).abs() > 1e-6 {
        Err("SPEED_INCREMENT_INVALID: must be in steps of 0.05".to_owned())
    } else {
        Ok(())
    }
}

fn check_expressivity(value: &str) -> Result<(), String> {
    match (whole(value), number(value)) {
        (Some(-2..=2), _) => Ok(()),
        (None, Some(_)) => Err("EXPRESSIVITY_INCREMENT_INVALID: must be whole".to_owned()),
        (None, None) => Err("must be a whole number from -2 to 2".to_owned()),
        (Some(_), _) => Err("EXPRESSIVITY_OUT_OF_RANGE: must be from -2 to 2".to_owned()),
    }
}

fn rate_fits(query: &Query, linear: &[i64]) -> Result<(), String> {
    let encoding = query.get("encoding").unwrap_or("linear16");
    let rates = if encoding == "linear16" {
        linear
    } else {
        TELEPHONE_RATES
    };
    match query.get("sample_rate") {
        Some(rate) if !whole(rate).is_some_and(|rate| rates.contains(&rate)) => {
            let rates = rates
                .iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            Err(format!(
                "sample_rate={rate}: must be one of {rates} with encoding={encoding}"
            ))
        }
        _ => Ok(()),
    }
}
