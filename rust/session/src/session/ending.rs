//! What follows a leg's end.

use super::step::{FailureCause, Seen, SessionFailure};
use dgsm_leg::deepgram;
use dgsm_leg::diagnosis::{Diagnosis, named};
use dgsm_leg::end::LegEnd;
use dgsm_leg::quote;
use dgsm_leg::reason::{Reason, Verdict, verdict};

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
    let reason = why(
        end,
        Seen {
            silent: seen.silent,
            closing: false,
        },
    );
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

/// Why a leg ended.
#[must_use]
pub fn why(end: &LegEnd, seen: Seen) -> Reason {
    match end {
        LegEnd::Clean if seen.closing => Reason::Unanswered,
        LegEnd::Clean => Reason::EarlyEnd,
        LegEnd::Closed { code, .. } if code == "1000" => Reason::ContainerDone,
        LegEnd::Closed { code, text } => deepgram::of_close(code, text, seen.silent),
        LegEnd::Failed { .. } => Reason::StreamFailed,
        LegEnd::Refused { reason, .. } => *reason,
        LegEnd::Reset { code } => Reason::of_h2(*code, Reason::Reset),
        LegEnd::GoAway { code } => Reason::of_h2(*code, Reason::GoAway),
        LegEnd::Dropped { .. } => Reason::Dropped,
        LegEnd::Protocol { .. } => Reason::Protocol,
        LegEnd::Stalled => Reason::Stalled,
    }
}

/// The end of a leg, for whoever explains it to people.
#[must_use]
pub fn diagnose(end: &LegEnd, seen: Seen) -> Diagnosis {
    let reason = why(end, seen);
    match end {
        LegEnd::Closed { code, text } => {
            let said = quote::text(text);
            Diagnosis {
                // A close code is a code of the container's, and so is Deepgram's own.
                model_code: deepgram::code(&said)
                    .map(str::to_owned)
                    .or_else(|| named(code)),
                model_message: Some(said.clone()).filter(|said| !said.is_empty()),
                code: named(code),
                is_quote: true,
                ..Diagnosis::new(reason, &said, None)
            }
        }
        LegEnd::Failed { text } => Diagnosis {
            is_quote: true,
            ..Diagnosis::new(reason, text, None)
        },
        LegEnd::Refused { name, text, .. } => Diagnosis {
            code: named(name),
            is_quote: true,
            ..Diagnosis::new(reason, text, None)
        },
        LegEnd::Reset { code } | LegEnd::GoAway { code } => {
            Diagnosis::new(reason, &end.to_string(), *code)
        }
        LegEnd::Dropped { detail } | LegEnd::Protocol { detail } => {
            Diagnosis::new(reason, detail, None)
        }
        LegEnd::Clean | LegEnd::Stalled => Diagnosis::new(reason, "", None),
    }
}

impl SessionFailure {
    /// The failure, for whoever explains it to people. `None`: no leg could be opened, and the driver
    /// has that error.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        let seen = Seen {
            silent: self.silent,
            closing: self.closing,
        };
        Some(match &self.cause {
            FailureCause::Open(_) => return None,
            // What the container would have said, had there been a leg to say it on.
            FailureCause::Silent => diagnose(
                &LegEnd::Closed {
                    code: "1011".to_owned(),
                    text: "NET-0001".to_owned(),
                },
                seen,
            ),
            FailureCause::CloseTimedOut => {
                Diagnosis::new(Reason::CloseTimedOut, &self.to_string(), None)
            }
            FailureCause::Leg(end) | FailureCause::NotResumable(end) => {
                let diagnosis = diagnose(end, seen);
                match end {
                    // No words of the service: the session's own say more.
                    LegEnd::Reset { .. }
                    | LegEnd::GoAway { .. }
                    | LegEnd::Dropped { .. }
                    | LegEnd::Protocol { .. }
                    | LegEnd::Stalled => Diagnosis {
                        said: quote::text(&self.to_string()),
                        ..diagnosis
                    },
                    LegEnd::Clean
                    | LegEnd::Closed { .. }
                    | LegEnd::Failed { .. }
                    | LegEnd::Refused { .. } => diagnosis,
                }
            }
        })
    }

    /// Whether another leg would have what it needs.
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        match self.cause {
            FailureCause::Open(_) | FailureCause::Leg(_) | FailureCause::Silent => true,
            FailureCause::NotResumable(_) | FailureCause::CloseTimedOut => false,
        }
    }
}

/// Whether the service meant to end: its stream did, or the container closed as one does.
pub(super) fn in_order(end: &LegEnd) -> bool {
    match end {
        LegEnd::Clean => true,
        LegEnd::Closed { code, .. } => code == "1000",
        LegEnd::Failed { .. }
        | LegEnd::Refused { .. }
        | LegEnd::Reset { .. }
        | LegEnd::GoAway { .. }
        | LegEnd::Dropped { .. }
        | LegEnd::Protocol { .. }
        | LegEnd::Stalled => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        LegEnd::Closed {
            code: code.into(),
            text: message.into(),
        }
    }

    fn refused(reason: Reason) -> LegEnd {
        LegEnd::Refused {
            reason,
            name: "n".into(),
            text: "m".into(),
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
        let failure = LegEnd::Failed { text: "m".into() };
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
            (refused(Reason::InvalidEvent), END, END, END),
            (refused(Reason::AccessDenied), END, END, END),
            (refused(Reason::UnknownKey), END, END, END),
            (refused(Reason::EncryptionKey), END, END, END),
            (refused(Reason::KeysExpired), END, END, END),
            (refused(Reason::Throttled), RESET, RESET, RESET),
            (refused(Reason::NotReady), RESET, RESET, RESET),
            (refused(Reason::UnknownException), LIMITED, LIMITED, LIMITED),
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
        for reason in [Reason::KeysExpired, Reason::RequestExpired] {
            let end = refused(reason);
            let first = Circumstances {
                renewable: true,
                ..LIVE
            };
            assert_eq!(classify(&end, first), Ending::Renewal, "{reason}");
            assert_eq!(classify(&end, LIVE), Ending::Terminal, "{reason}");
        }
    }

    fn failure(cause: FailureCause) -> SessionFailure {
        SessionFailure {
            cause,
            silent: false,
            closing: false,
            attempts: 3,
            elapsed: Duration::from_secs(2),
            unacked_bytes: 320,
            unacked_seconds: 0.01,
        }
    }

    #[test]
    fn a_session_that_failed_is_diagnosed() {
        let diagnosed = |cause| failure(cause).diagnosis().unwrap();
        let more = " (3 failures in a row within 2.0 s); 0.010 s of audio were not acknowledged";
        assert_eq!(failure(FailureCause::Open(Reason::Dns)).diagnosis(), None);

        let reset = diagnosed(FailureCause::Leg(LegEnd::Reset { code: Some(8) }));
        assert_eq!((reset.reason, reset.h2_code), (Reason::Reset, Some(8)));
        assert_eq!(reset.code.as_deref(), Some("CANCEL"));
        let said = format!("the stream was reset (HTTP/2 error 8){more}");
        assert_eq!((reset.said, reset.is_quote), (said, false));

        let lost = FailureCause::NotResumable(LegEnd::Stalled);
        assert!(!failure(lost.clone()).is_resumable());
        let said = format!("the service stopped answering; this stream cannot be resumed{more}");
        assert_eq!(diagnosed(lost).said, said);

        let closed = diagnosed(FailureCause::Leg(model("1008", "policy")));
        assert_eq!(closed.reason, Reason::ContainerPolicy);
        assert_eq!((closed.said.as_str(), closed.is_quote), ("policy", true));

        let silent = SessionFailure {
            silent: true,
            ..failure(FailureCause::Silent)
        };
        let diagnosis = silent.diagnosis().unwrap();
        assert_eq!(diagnosis.reason, Reason::SilentApplication);
        assert_eq!(diagnosis.model_code.as_deref(), Some("NET-0001"));
        assert!(silent.is_resumable());

        let late = diagnosed(FailureCause::CloseTimedOut);
        assert_eq!(late.reason, Reason::CloseTimedOut);
        assert!(!late.is_quote);
    }
}
