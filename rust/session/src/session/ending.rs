//! What follows a leg's end.

use super::step::{EndContext, FailureCause, SessionFailure};
use dgsm_leg::deepgram;
use dgsm_leg::diagnosis::{Diagnosis, named};
use dgsm_leg::end::LegEnd;
use dgsm_leg::quote;
use dgsm_leg::reason::{Reason, Verdict, verdict};

/// What the session knows when its current leg ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a table's columns")]
pub(super) struct Circumstances {
    /// The closing message was sent on this leg and answered (`Metadata`, or everything finalised),
    /// or there is nothing to answer.
    pub(super) answered: bool,
    /// Audio is not finalised, or the closing message was not answered.
    pub(super) unacked: bool,
    /// The leg made progress: it finalised something, or it stayed open with nothing unacked.
    pub(super) progressed: bool,
    /// The application was silent for long enough that the service may have closed for that.
    pub(super) silent: bool,
    /// No fresh keys were looked up since the last progress.
    pub(super) renewable: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The session is over, in order.
    Finished,
    /// Nothing is missing, and the application has not closed. The next send opens a leg.
    Dormant,
    /// Another leg goes on, at most `limit` times without progress.
    Reset { limit: Option<u32> },
    /// The keys ran out. Another leg goes on with fresh ones.
    Renewal,
    /// The session fails, because another leg would fail the same way.
    Terminal,
}

/// Decides what follows.
///
/// ```text
///                                   closing message
///                                   answered          otherwise
///   in order: clean, or code 1000   Finished          see `clean`
///   the keys ran out                Finished          Renewal, then Terminal
///   anything else                   Finished          as the table of reasons says: Terminal,
///                                                     Reset a few times, Reset
/// ```
pub(super) fn classify(end: &LegEnd, at: Circumstances) -> Ending {
    if at.answered {
        return Ending::Finished;
    }
    if in_order(end) {
        return clean(at);
    }
    // `closing` matters only for an end in order.
    let reason = reason_of(
        end,
        EndContext {
            silent: at.silent,
            closing: false,
        },
    );
    if reason.is_expiry() && at.renewable {
        return Ending::Renewal;
    }
    match verdict(reason) {
        Verdict::Never => Ending::Terminal,
        often @ (Verdict::Few | Verdict::Often) => Ending::Reset {
            limit: often.limit(),
        },
    }
}

fn clean(at: Circumstances) -> Ending {
    if at.progressed && !at.unacked {
        Ending::Dormant
    } else {
        // A leg without progress is a failure, even if it ended in order.
        Ending::Reset { limit: None }
    }
}

/// Returns why a leg ended.
pub(super) fn reason_of(end: &LegEnd, context: EndContext) -> Reason {
    match end {
        LegEnd::Clean if context.closing => Reason::Unanswered,
        LegEnd::Clean => Reason::EarlyEnd,
        LegEnd::Closed { code, .. } if code == "1000" => Reason::ContainerDone,
        LegEnd::Closed { code, text } => deepgram::of_close(code, text, context.silent),
        LegEnd::Failed { .. } => Reason::StreamFailed,
        LegEnd::Refused { reason, .. } => *reason,
        LegEnd::Reset { code } => Reason::of_h2(*code, Reason::Reset),
        LegEnd::GoAway { code } => Reason::of_h2(*code, Reason::GoAway),
        LegEnd::Dropped { .. } => Reason::Dropped,
        LegEnd::Protocol { .. } => Reason::Protocol,
        LegEnd::Stalled => Reason::Stalled,
    }
}

/// Describes a leg's end for error messages.
#[must_use]
pub fn diagnose(end: &LegEnd, context: EndContext) -> Diagnosis {
    let reason = reason_of(end, context);
    match end {
        LegEnd::Closed { code, text } => {
            let said = quote::text(text);
            Diagnosis {
                // Deepgram's own code says more than the close code.
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
    /// Returns the failure as it is explained to people. `None`: no leg could be opened, and the
    /// driver has that error.
    #[must_use]
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        let context = EndContext {
            silent: self.silent,
            closing: self.closing,
        };
        Some(match &self.cause {
            FailureCause::Open(_) => return None,
            // The container would have said this if there had been a leg.
            FailureCause::Silent => diagnose(
                &LegEnd::Closed {
                    code: "1011".to_owned(),
                    text: "NET-0001".to_owned(),
                },
                context,
            ),
            FailureCause::Internal(_) => Diagnosis::new(Reason::Unknown, &self.to_string(), None),
            FailureCause::CloseTimedOut => {
                Diagnosis::new(Reason::CloseTimedOut, &self.to_string(), None)
            }
            FailureCause::Leg(end) | FailureCause::NotResumable(end) => {
                let diagnosis = diagnose(end, context);
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

    /// Returns whether another leg could be sent everything that it needs.
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        match self.cause {
            FailureCause::Open(_)
            | FailureCause::Leg(_)
            | FailureCause::Silent
            | FailureCause::Internal(_) => true,
            FailureCause::NotResumable(_) | FailureCause::CloseTimedOut => false,
        }
    }
}

/// Returns whether the service ended the leg on purpose: its stream ended, or the container closed
/// with code 1000.
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
            endpoint: 0,
            endpoints: Vec::new(),
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
