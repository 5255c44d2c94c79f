//! What a leg's end means.

use super::step::LegEnd;

/// What is known when the leg that speaks for the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a table's columns")]
pub(super) struct Circumstances {
    /// The closing message went out on this leg.
    pub(super) close_sent: bool,
    /// And was answered: `Metadata`, or everything finalised.
    pub(super) answered: bool,
    /// Something is missing: audio that is not finalised, or the closing message's turn.
    pub(super) unacked: bool,
    /// The application had sent nothing for so long that the service may have closed over it.
    pub(super) silent: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The session is over, in order.
    Finished,
    /// Nothing is missing, but the application has not closed: the next send opens a leg.
    Dormant,
    /// Another leg goes on. At most so many times without progress, where there is a number.
    Reset { limit: Option<u32> },
    /// The closing message got no answer: like a reset, once.
    Unanswered,
    /// The session has failed: another leg would fail the same way.
    Terminal,
}

/// A model's own failures are retried so often without progress.
const MODEL_RETRIES: u32 = 3;

/// ```text
///                               closing message   application   otherwise
///                               answered          silent
///   clean, code 1000            Finished          —             Unanswered after the closing
///                                                               message; Reset with audio unacked;
///                                                               Dormant with nothing unacked
///   code 1008, DATA-…           Finished          Terminal      Terminal
///   NET-0001                    Finished          Terminal      Reset
///   other ModelStreamError      Finished          Reset, 3×     Reset, 3×
///   exception about the request Finished          Terminal      Terminal
///   anything else               Finished          Reset         Reset
/// ```
pub(super) fn classify(end: &LegEnd, seen: Circumstances) -> Ending {
    if seen.answered {
        return Ending::Finished;
    }
    match end {
        LegEnd::Clean => clean(seen),
        LegEnd::ModelStreamError { code, message } => {
            let mentions = |word: &str| code.contains(word) || message.contains(word);
            if in_order(end) {
                clean(seen)
            } else if code == "1008" || mentions("DATA-") {
                Ending::Terminal
            } else if mentions("NET-0001") {
                if seen.silent {
                    Ending::Terminal
                } else {
                    Ending::Reset { limit: None }
                }
            } else {
                Ending::Reset {
                    limit: Some(MODEL_RETRIES),
                }
            }
        }
        LegEnd::Exception { kind, .. } => {
            let about_us = ["Validation", "AccessDenied", "Unauthorized", "Unrecognized"];
            if about_us.iter().any(|word| kind.contains(word)) {
                Ending::Terminal
            } else {
                Ending::Reset { limit: None }
            }
        }
        LegEnd::InternalStreamFailure { .. }
        | LegEnd::Reset { .. }
        | LegEnd::GoAway
        | LegEnd::Dropped { .. }
        | LegEnd::Protocol { .. }
        | LegEnd::Stalled => Ending::Reset { limit: None },
    }
}

fn clean(seen: Circumstances) -> Ending {
    if seen.close_sent {
        Ending::Unanswered
    } else if seen.unacked {
        Ending::Reset { limit: None }
    } else {
        Ending::Dormant
    }
}

/// Whether the service meant to end: its stream did, or the container closed as one does.
pub(super) fn in_order(end: &LegEnd) -> bool {
    match end {
        LegEnd::Clean => true,
        LegEnd::ModelStreamError { code, .. } => code == "1000",
        LegEnd::InternalStreamFailure { .. }
        | LegEnd::Exception { .. }
        | LegEnd::Reset { .. }
        | LegEnd::GoAway
        | LegEnd::Dropped { .. }
        | LegEnd::Protocol { .. }
        | LegEnd::Stalled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Circumstances = Circumstances {
        close_sent: false,
        answered: false,
        unacked: true,
        silent: false,
    };
    const IDLE: Circumstances = Circumstances {
        unacked: false,
        silent: true,
        ..LIVE
    };
    const CLOSING: Circumstances = Circumstances {
        close_sent: true,
        ..LIVE
    };
    const ANSWERED: Circumstances = Circumstances {
        answered: true,
        ..CLOSING
    };

    fn model(code: &str, message: &str) -> LegEnd {
        LegEnd::ModelStreamError {
            code: code.into(),
            message: message.into(),
        }
    }

    fn exception(kind: &str) -> LegEnd {
        LegEnd::Exception {
            kind: kind.into(),
            message: "m".into(),
        }
    }

    #[test]
    fn the_table() {
        const RESET: Ending = Ending::Reset { limit: None };
        const LIMITED: Ending = Ending::Reset { limit: Some(3) };
        let dropped = LegEnd::Dropped {
            detail: "broken pipe".into(),
        };
        let failure = LegEnd::InternalStreamFailure {
            message: "m".into(),
        };
        let silence = model("1011", "NET-0001 Deepgram did not receive audio");
        let bad_data = model("1011", "DATA-0000: cannot decode");
        for (end, live, idle, closing) in [
            (LegEnd::Clean, RESET, Ending::Dormant, Ending::Unanswered),
            (
                model("1000", ""),
                RESET,
                Ending::Dormant,
                Ending::Unanswered,
            ),
            (
                model("1008", "policy"),
                Ending::Terminal,
                Ending::Terminal,
                Ending::Terminal,
            ),
            (
                bad_data,
                Ending::Terminal,
                Ending::Terminal,
                Ending::Terminal,
            ),
            (silence, RESET, Ending::Terminal, RESET),
            (model("1011", "internal"), LIMITED, LIMITED, LIMITED),
            (
                exception("ValidationException"),
                Ending::Terminal,
                Ending::Terminal,
                Ending::Terminal,
            ),
            (exception("ThrottlingException"), RESET, RESET, RESET),
            (failure, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(2) }, RESET, RESET, RESET),
            (LegEnd::GoAway, RESET, RESET, RESET),
            (dropped, RESET, RESET, RESET),
            (LegEnd::Stalled, RESET, RESET, RESET),
        ] {
            assert_eq!(classify(&end, LIVE), live, "live: {end}");
            assert_eq!(classify(&end, IDLE), idle, "idle: {end}");
            assert_eq!(classify(&end, CLOSING), closing, "closing: {end}");
            assert_eq!(
                classify(&end, ANSWERED),
                Ending::Finished,
                "answered: {end}"
            );
        }
    }
}
