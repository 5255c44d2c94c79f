//! What a leg's end means.

use super::step::LegEnd;

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
    /// The session has failed: another leg would fail the same way.
    Terminal,
}

/// What is probably not going to pass is retried so often without progress.
const RETRY_FEW: Option<u32> = Some(3);

/// ```text
///                               closing message   application   otherwise
///                               answered          silent
///   clean, code 1000            Finished          —             Dormant with nothing unacked,
///                                                               after progress; else Reset
///   code 1008, DATA-…           Finished          Terminal      Terminal
///   NET-0001                    Finished          Terminal      Reset, 3×
///   other ModelStreamError      Finished          Reset, 3×     Reset, 3×
///   exception about the request Finished          Terminal      Terminal
///   exception about the load    Finished          Reset         Reset
///   other exception             Finished          Reset, 3×     Reset, 3×
///   HTTP/2: this peer will not  Finished          Terminal      Terminal
///   HTTP/2: makes no sense      Finished          Reset, 3×     Reset, 3×
///   broken protocol             Finished          Reset, 3×     Reset, 3×
///   anything else               Finished          Reset         Reset
/// ```
///
/// The driver's own table says the same of streams that never opened, and explains both.
pub(super) fn classify(end: &LegEnd, seen: Circumstances) -> Ending {
    const RESET: Ending = Ending::Reset { limit: None };
    const FEW: Ending = Ending::Reset { limit: RETRY_FEW };
    if seen.answered {
        return Ending::Finished;
    }
    match end {
        LegEnd::Clean => clean(seen),
        LegEnd::ModelStreamError { code, message } => {
            let mentions = |word: &str| code.contains(word) || message.contains(word);
            let out_of_silence = seen.silent && mentions("NET-0001");
            if in_order(end) {
                clean(seen)
            } else if code == "1008" || mentions("DATA-") || out_of_silence {
                Ending::Terminal
            } else {
                FEW
            }
        }
        LegEnd::Exception { kind, .. } => {
            let is_about = |words: &[&str]| words.iter().any(|word| kind.contains(word));
            if is_about(&REQUEST) {
                Ending::Terminal
            } else if is_about(&LOAD) {
                RESET
            } else {
                FEW
            }
        }
        LegEnd::Reset { code } => match code {
            Some(HTTP_1_1_REQUIRED) => Ending::Terminal,
            Some(code) if NONSENSE.contains(code) => FEW,
            Some(_) | None => RESET,
        },
        LegEnd::GoAway { code } => match code {
            Some(HTTP_1_1_REQUIRED | INADEQUATE_SECURITY) => Ending::Terminal,
            Some(code) if NONSENSE.contains(code) => FEW,
            Some(_) | None => RESET,
        },
        LegEnd::Protocol { .. } => FEW,
        LegEnd::InternalStreamFailure { .. } | LegEnd::Dropped { .. } | LegEnd::Stalled => RESET,
    }
}

/// Parts of the names of exceptions that are about what was asked, or by whom.
const REQUEST: [&str; 8] = [
    "Validation",
    "AccessDenied",
    "NotAuthorized",
    "Unrecognized",
    "InvalidClientToken",
    "Expired",
    "Signature",
    "MissingAuthentication",
];

/// Parts of the names of exceptions that are about how much is asked of the service just now.
const LOAD: [&str; 7] = [
    "Thrott",
    "TooManyRequests",
    "LimitExceeded",
    "SlowDown",
    "Unavailable",
    "Internal",
    "NotReady",
];

/// HTTP/2: the other side could not make sense of what it got: protocol, flow control, frame size,
/// compression.
const NONSENSE: [u32; 4] = [1, 3, 6, 9];
/// HTTP/2: the other side does not accept this TLS.
const INADEQUATE_SECURITY: u32 = 12;
/// HTTP/2: the other side wants something else.
const HTTP_1_1_REQUIRED: u32 = 13;

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
            (exception("ThrottlingException"), RESET, RESET, RESET),
            (exception("ModelNotReadyException"), RESET, RESET, RESET),
            (exception("NovelException"), LIMITED, LIMITED, LIMITED),
            (failure, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(2) }, RESET, RESET, RESET),
            (LegEnd::Reset { code: Some(1) }, LIMITED, LIMITED, LIMITED),
            (LegEnd::Reset { code: Some(11) }, RESET, RESET, RESET),
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
}
