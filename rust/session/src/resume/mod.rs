//! What a product's messages mean to a session that goes on over another leg.
//!
//! ```text
//! product     what the session asks of a product     leg         one leg, as products see it
//! passthrough a product that is not known            incoming    one message, and what it may change
//! listen_v1   Nova
//!   audio       the audio's own clock          results     one result, shifted and clipped
//!   utterance   what a new leg cannot know     controls    Finalize and Configure
//!   segments    what points at words and times
//! listen_v2   Flux
//!   turns       which event is news, and as what   turn_info   one message in the session's words
//! agent_v1    the voice agent
//!   conversation   what heads a new leg        calls       functions that were called
//! speak_v1, speak_v2   Aura and Flux text to speech
//!   speak       what was asked for             speech      one turn, over several syntheses
//!   voice       what a sample is               join        from one synthesis to another
//! query       what a session asks for          scan        JSON by spans
//! rewrite     changes to a message             inbox       messages on their way
//! recognise   messages that came as bytes
//! ```
//!
//! A new product has a module that implements [`Product`], and a row in the table below.

pub(crate) mod agent_v1;
pub mod audio;
pub(crate) mod calls;
pub(crate) mod controls;
pub(crate) mod conversation;
pub mod inbox;
pub(crate) mod incoming;
pub(crate) mod join;
pub(crate) mod leg;
pub(crate) mod listen_v1;
pub(crate) mod listen_v2;
pub(crate) mod passthrough;
pub(crate) mod product;
pub mod query;
pub(crate) mod recognise;
pub(crate) mod results;
pub(crate) mod rewrite;
pub mod scan;
pub(crate) mod segments;
pub(crate) mod speak;
pub(crate) mod speak_v1;
pub(crate) mod speak_v2;
pub(crate) mod speech;
pub(crate) mod turn_info;
pub(crate) mod turns;
pub(crate) mod utterance;
pub(crate) mod voice;

pub use incoming::Incoming;
pub use leg::LegView;
pub use product::{Handover, Input, Owed, Product, as_seconds};
use query::Target;

type Constructor = fn(&Target<'_>) -> Box<dyn Product>;

/// The products, by the path that they are invoked at.
const PRODUCTS: &[(&str, Constructor)] = &[
    ("v1/listen", |target| {
        Box::new(listen_v1::ListenV1::new(target))
    }),
    ("v2/listen", |target| {
        Box::new(listen_v2::ListenV2::new(target))
    }),
    ("v1/agent/converse", |target| {
        Box::new(agent_v1::AgentV1::new(target))
    }),
    ("v1/speak", |target| {
        Box::new(speak_v1::SpeakV1::new(target))
    }),
    ("v2/speak", |target| {
        Box::new(speak_v2::SpeakV2::new(target))
    }),
];

/// Returns a new session's product. A path that no product has is passed through.
#[must_use]
pub fn product_at(target: &Target<'_>) -> Box<dyn Product> {
    let path = target.path.trim_start_matches('/');
    PRODUCTS.iter().find(|(at, _)| *at == path).map_or_else(
        || Box::new(passthrough::Passthrough) as Box<dyn Product>,
        |(_, new)| new(target),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Box<dyn Product> {
        product_at(&Target { path, query: "" })
    }

    #[test]
    fn a_product_is_found_by_its_path() {
        for &(path, _) in PRODUCTS {
            let product = at(path);
            assert!(!product.vocabulary().is_empty(), "{path}");
            assert_eq!(
                at(&format!("/{path}")).vocabulary(),
                product.vocabulary(),
                "{path}"
            );
            // What the session sends by itself is a message that the product knows.
            for frame in [product.closing(), product.keepalive()]
                .into_iter()
                .flatten()
            {
                let kind = scan::type_of(&frame).unwrap();
                assert!(product.vocabulary().contains(&kind), "{path}: {kind}");
            }
        }
    }

    #[test]
    fn what_has_no_product_is_passed_through() {
        for path in ["", "v3/listen", "v1/listen/x", "invocations"] {
            let product = at(path);
            assert!(
                product.vocabulary().is_empty() && product.is_single(),
                "{path}"
            );
        }
    }

    #[test]
    fn a_farewell_before_the_closing_message_may_be_a_legs_last_word() {
        let metadata = dgsm_leg::frame::Frame::from(r#"{"type":"Metadata"}"#);
        let error = dgsm_leg::frame::Frame::from(r#"{"type":"Error"}"#);
        let mut leg = LegView::new(1);
        assert!(at("v1/listen").may_be_last(&leg, &metadata));
        assert!(
            !at("v1/speak").may_be_last(&leg, &metadata),
            "it greets with that"
        );
        leg.sends_close();
        assert!(!at("v1/listen").may_be_last(&leg, &metadata), "an answer");
        for (path, _) in PRODUCTS {
            assert!(at(path).may_be_last(&leg, &error), "{path}");
        }
    }
}
