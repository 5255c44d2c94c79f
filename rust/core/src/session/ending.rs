//! What follows a leg's end.

use super::reason::{Verdict, verdict};
use super::step::{LegEnd, Seen};

/// What is known when the leg that speaks for the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a table's columns")]
pub(super) struct Circumstances {
    /// The closing message went out on this leg and was answered (`Metadata`, or everything
    /// finalised), or there is nothing to answer.
    pub(super) answered: bool,
    /// Something is missing: audio that is not finalised, or the closing message's turn.
    pub(super) unacked: bool,
    /// The leg was worth opening: something was finalised over it, or it stayed.
    pub(super) progressed: bool,
    /// The application had sent nothing for so long that the service may have closed over it.
    pub(super) silent: bool,
    /// Fresh keys were not looked up since the last progress.
    pub(super) renewable: bool,
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
    /// The keys ran out: another leg goes on with fresh ones.
    Renewal,
    /// The session has failed: another leg would fail the same way.
    Terminal,
}

/// ```text
///                                   closing message
///                                   answered          otherwise
///   in order: clean, or code 1000   Finished          see `clean`
///   the keys ran out                Finished          Renewal, then Terminal
///   anything else                   Finished          as the table of reasons says: Terminal,
///                                                     Reset a few times, Reset
/// ```
pub(super) fn classify(end: &LegEnd, seen: Circumstances) -> Ending {
    if seen.answered {
        return Ending::Finished;
    }
    if in_order(end) {
        return clean(seen);
    }
    // What an end in order is called is no matter here.
    let reason = end.why(Seen {
        silent: seen.silent,
        closing: false,
    });
    if reason.is_expiry() && seen.renewable {
        return Ending::Renewal;
    }
    match verdict(reason) {
        Verdict::Never => Ending::Terminal,
        often @ (Verdict::Few | Verdict::Often) => Ending::Reset {
            limit: often.limit(),
        },
    }
}

fn clean(seen: Circumstances) -> Ending {
    if seen.progressed && !seen.unacked {
        Ending::Dormant
    } else {
        // In order or not, a leg that brought nothing is a failure.
        Ending::Reset { limit: None }
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
        | LegEnd::GoAway { .. }
        | LegEnd::Dropped { .. }
        | LegEnd::Protocol { .. }
        | LegEnd::Stalled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Circumstances = Circumstances {
        answered: false,
        unacked: true,
        progressed: true,
        silent: false,
        renewable: false,
    };
    const IDLE: Circumstances = Circumstances {
        unacked: false,
        silent: true,
        ..LIVE
    };
    const BARREN: Circumstances = Circumstances {
        progressed: false,
        ..IDLE
    };
    const ANSWERED: Circumstances = Circumstances {
        answered: true,
        ..LIVE
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
        const END: Ending = Ending::Terminal;
        let dropped = LegEnd::Dropped {
            detail: "broken pipe".into(),
        };
        let failure = LegEnd::InternalStreamFailure {
            message: "m".into(),
        };
        let garbage = LegEnd::Protocol {
            detail: "a wrong CRC".into(),
        };
        let silence = model("1011", "NET-0001 Deepgram did not receive audio");
        let bad_data = model("1011", "DATA-0000: cannot decode");
        for (end, live, idle, barren) in [
            (LegEnd::Clean, RESET, Ending::Dormant, RESET),
            (model("1000", ""), RESET, Ending::Dormant, RESET),
            (model("1008", "policy"), END, END, END),
            (bad_data, END, END, END),
            (silence, LIMITED, Ending::Terminal, Ending::Terminal),
            (model("1011", "internal"), LIMITED, LIMITED, LIMITED),
            (exception("ValidationException"), END, END, END),
            (exception("AccessDeniedException"), END, END, END),
            (exception("InvalidAccessKeyId"), END, END, END),
            (exception("KMSAccessDeniedException"), END, END, END),
            (exception("aws#ExpiredToken:http://x"), END, END, END),
            (exception("ThrottlingException"), RESET, RESET, RESET),
            (exception("ModelNotReadyException"), RESET, RESET, RESET),
            (exception("NovelException"), LIMITED, LIMITED, LIMITED),
            (failure, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(2) }, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(1) }, LIMITED, LIMITED, LIMITED),
            (LegEnd::Reset { code: Some(11) }, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(12) }, END, END, END),
            (LegEnd::Reset { code: Some(13) }, END, END, END),
            (LegEnd::GoAway { code: None }, RESET, RESET, RESET),
            (LegEnd::GoAway { code: Some(0) }, RESET, RESET, RESET),
            (LegEnd::GoAway { code: Some(1) }, LIMITED, LIMITED, LIMITED),
            (LegEnd::GoAway { code: Some(12) }, END, END, END),
            (garbage, LIMITED, LIMITED, LIMITED),
            (dropped, RESET, RESET, RESET),
            (LegEnd::Stalled, RESET, RESET, RESET),
        ] {
            assert_eq!(classify(&end, LIVE), live, "live: {end}");
            assert_eq!(classify(&end, IDLE), idle, "idle: {end}");
            assert_eq!(classify(&end, BARREN), barren, "barren: {end}");
            assert_eq!(
                classify(&end, ANSWERED),
                Ending::Finished,
                "answered: {end}"
            );
        }
    }

    #[test]
    fn keys_that_ran_out_are_renewed_once() {
        for kind in ["ExpiredTokenException", "ExpiredToken", "RequestExpired"] {
            let end = exception(kind);
            let first = Circumstances {
                renewable: true,
                ..LIVE
            };
            assert_eq!(classify(&end, first), Ending::Renewal, "{kind}");
            assert_eq!(classify(&end, LIVE), Ending::Terminal, "{kind}");
        }
    }
}
