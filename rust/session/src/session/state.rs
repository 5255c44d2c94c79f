//! Where a session and its legs stand. Every transition is here.
//!
//! ```text
//!   phase
//!
//!           Asked           Opened
//!     Idle ───────▶ Opening ──────▶ Live ◀──┐ TookOver; Lost or Completed
//!                    ▲ │ ▲           │ │ │  │ with a standby Ready
//!                    │ │ └───────────┘ │ └──┘
//!                    │ │   Lost or     │
//!              Asked │ │   Completed   │ otherwise
//!                    │ │   with a      │
//!         OpenFailed │ │   standby     ├──────────┐
//!          Postponed │ │   Opening     │          │
//!                    │ ▼               │ Lost     │ Completed
//!                   Waiting ◀──────────┘          ▼
//!                      ▲                       Dormant
//!                      └──────────────────────────┘
//!                                  Woken
//!
//!     from any of these: Finished, Failed
//!
//!   standby, part of Live: the leg that is to take over from one that grows old
//!
//!           Asked           Opened          TookOver, Dismissed
//!     None ───────▶ Opening ──────▶ Ready ─────────────────────▶ None
//!                    ▲ │ │            │
//!              Asked │ │ │ Dismissed  │ StandbyEnded
//!                    │ │ └──▶ None    │
//!                    │ ▼ OpenFailed,  │
//!                    │   Postponed    │
//!                   Waiting ◀─────────┘
//!
//!   intake, beside them: the application's input
//!
//!           close_input           finish_input
//!     Open ─────────────▶ Closed ──────────────▶ Finishing
//!      │                                             ▲
//!      └─────────────────────────────────────────────┘
//!                         finish_input
//!
//!   role, of each leg
//!
//!                Began             Retired
//!     Standby ──────────▶ Current ─────────▶ Retiring
//!         │                  │                   │
//!         └──────────────────┴───────────────────┴──▶ Ended: Ended, Stopped
//! ```
//!
//! A move that is not in the picture is an [`IllegalMove`], and changes nothing. The driver may
//! report a leg that the session no longer wants: [`State::apply`] says so, and the leg is stopped.
//! A leg may end twice. Any other illegal move is a fault of the session's own, and fails the
//! session.

use std::time::Duration;

use super::step::{IllegalMove, SessionFailure};

/// Where a session stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// The driver has not asked yet.
    Idle,
    /// The driver opens a leg.
    Opening,
    /// A leg speaks for the session. Only then is there a standby.
    Live(Standby),
    /// The next leg is due at this time.
    Waiting { until: Duration },
    /// The service ended in order with nothing missing: there is no leg until one is needed.
    Dormant { since: Duration },
    /// The session ended in order.
    Finished,
    /// The session failed.
    Failed(Box<SessionFailure>),
}

/// The leg that is to take over from one that grows old. `failures` counts standbys in a row that
/// did not open or did not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standby {
    /// There is none.
    None,
    /// The driver opens it.
    Opening { failures: u32 },
    /// The next one is due at this time.
    Waiting { until: Duration, failures: u32 },
    /// It is up.
    Ready { failures: u32 },
}

/// What the application may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// Anything.
    Open,
    /// Nothing: it has sent the closing message.
    Closed,
    /// Nothing: it has closed the session, which waits for the service until this time.
    Finishing { by: Duration },
}

/// What a leg is to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Waits to take over from the current leg. It may replay everything from the first byte
    /// meanwhile.
    Standby { replays: bool },
    /// Speaks for the session.
    Current,
    /// Another leg has taken over. It answers what it was sent, its messages are discarded, and it
    /// is stopped at this time.
    Retiring { by: Duration },
    /// Its pump has this left to do.
    Ended(LastStep),
}

/// What the pump of a leg that has ended does last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastStep {
    /// Ends the input with the signed empty event, because the service ended in order.
    End,
    /// Stops.
    Stop,
}

/// What changes a leg's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoleEvent {
    /// The standby replays everything from the first byte.
    Replays,
    /// The leg is the current one now.
    Began,
    /// Another leg took over. This one is stopped at this time.
    Retired { by: Duration },
    /// The leg ended, or is not wanted any more.
    Ended(LastStep),
    /// The session is aborted.
    Stopped,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Standby { replays: false } => "Standby",
            Self::Standby { replays: true } => "Standby that replays",
            Self::Current => "Current",
            Self::Retiring { .. } => "Retiring",
            Self::Ended(_) => "Ended",
        }
    }

    /// The table. Returns the role that follows.
    pub(super) const fn after(self, event: RoleEvent) -> Result<Self, IllegalMove> {
        let name = match event {
            RoleEvent::Replays => match self {
                Self::Standby { .. } => return Ok(Self::Standby { replays: true }),
                Self::Current | Self::Retiring { .. } | Self::Ended(_) => "Replays",
            },
            RoleEvent::Began => match self {
                // A leg that was no standby is current from its start.
                Self::Standby { .. } | Self::Current => return Ok(Self::Current),
                Self::Retiring { .. } | Self::Ended(_) => "Began",
            },
            RoleEvent::Retired { by } => match self {
                Self::Current => return Ok(Self::Retiring { by }),
                Self::Standby { .. } | Self::Retiring { .. } | Self::Ended(_) => "Retired",
            },
            RoleEvent::Ended(last) => match self {
                Self::Standby { .. } | Self::Current | Self::Retiring { .. } => {
                    return Ok(Self::Ended(last));
                }
                Self::Ended(_) => "Ended",
            },
            RoleEvent::Stopped => return Ok(Self::Ended(LastStep::Stop)),
        };
        Err(IllegalMove {
            from: self.name(),
            event: name,
        })
    }
}

/// What moves a session.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// The driver is asked for a leg, or for a standby while a leg is live.
    Asked,
    /// The leg that the driver was asked for is up.
    Opened,
    /// That leg could not be opened. The next is due at this time.
    OpenFailed { again: Duration },
    /// That leg was not tried. The next is due at this time.
    Postponed { again: Duration },
    /// The current leg is gone or was left, and the session goes on. Without a standby the next
    /// leg is due at this time.
    Lost { again: Duration },
    /// The current leg is gone, and nothing is missing.
    Completed { since: Duration },
    /// A dormant session needs a leg.
    Woken { at: Duration },
    /// The standby ended before it took over. The next is due at this time.
    StandbyEnded { again: Duration, failures: u32 },
    /// The standby is not wanted any more.
    Dismissed,
    /// The standby speaks for the session.
    TookOver,
    /// The session ends in order.
    Finished,
    /// The session fails.
    Failed(Box<SessionFailure>),
}

impl Event {
    const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "Asked",
            Self::Opened => "Opened",
            Self::OpenFailed { .. } => "OpenFailed",
            Self::Postponed { .. } => "Postponed",
            Self::Lost { .. } => "Lost",
            Self::Completed { .. } => "Completed",
            Self::Woken { .. } => "Woken",
            Self::StandbyEnded { .. } => "StandbyEnded",
            Self::Dismissed => "Dismissed",
            Self::TookOver => "TookOver",
            Self::Finished => "Finished",
            Self::Failed(_) => "Failed",
        }
    }
}

impl Phase {
    const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Opening => "Opening",
            Self::Live(Standby::None) => "Live",
            Self::Live(Standby::Opening { .. }) => "Live with a standby Opening",
            Self::Live(Standby::Waiting { .. }) => "Live with a standby Waiting",
            Self::Live(Standby::Ready { .. }) => "Live with a standby Ready",
            Self::Waiting { .. } => "Waiting",
            Self::Dormant { .. } => "Dormant",
            Self::Finished => "Finished",
            Self::Failed(_) => "Failed",
        }
    }

    /// The table. Returns the phase that follows; `None` where the move is illegal.
    fn after(&self, event: &Event) -> Option<Self> {
        match event {
            Event::Asked => match *self {
                Self::Idle | Self::Waiting { .. } => Some(Self::Opening),
                Self::Live(Standby::None) => Some(Self::Live(Standby::Opening { failures: 0 })),
                Self::Live(Standby::Waiting { failures, .. }) => {
                    Some(Self::Live(Standby::Opening { failures }))
                }
                Self::Opening
                | Self::Live(Standby::Opening { .. } | Standby::Ready { .. })
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::Opened => match *self {
                Self::Opening => Some(Self::Live(Standby::None)),
                Self::Live(Standby::Opening { failures }) => {
                    Some(Self::Live(Standby::Ready { failures }))
                }
                Self::Idle
                | Self::Live(Standby::None | Standby::Waiting { .. } | Standby::Ready { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::OpenFailed { again: until } => match *self {
                Self::Opening => Some(Self::Waiting { until: *until }),
                Self::Live(Standby::Opening { failures }) => Some(Self::Live(Standby::Waiting {
                    until: *until,
                    failures: failures.saturating_add(1),
                })),
                Self::Idle
                | Self::Live(Standby::None | Standby::Waiting { .. } | Standby::Ready { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::Postponed { again: until } => match *self {
                Self::Opening => Some(Self::Waiting { until: *until }),
                Self::Live(Standby::Opening { failures }) => Some(Self::Live(Standby::Waiting {
                    until: *until,
                    failures,
                })),
                Self::Idle
                | Self::Live(Standby::None | Standby::Waiting { .. } | Standby::Ready { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::Lost { again: until } => self.without_leg(Self::Waiting { until: *until }),
            Event::Completed { since } => self.without_leg(Self::Dormant { since: *since }),
            Event::Woken { at } => match self {
                Self::Dormant { .. } => Some(Self::Waiting { until: *at }),
                Self::Idle
                | Self::Opening
                | Self::Live(_)
                | Self::Waiting { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::StandbyEnded { again, failures } => match self {
                Self::Live(Standby::Ready { .. }) => Some(Self::Live(Standby::Waiting {
                    until: *again,
                    failures: failures.saturating_add(1),
                })),
                Self::Idle
                | Self::Opening
                | Self::Live(Standby::None | Standby::Opening { .. } | Standby::Waiting { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::Dismissed => match self {
                Self::Live(Standby::Opening { .. } | Standby::Ready { .. }) => {
                    Some(Self::Live(Standby::None))
                }
                Self::Idle
                | Self::Opening
                | Self::Live(Standby::None | Standby::Waiting { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::TookOver => match self {
                Self::Live(Standby::Ready { .. }) => Some(Self::Live(Standby::None)),
                Self::Idle
                | Self::Opening
                | Self::Live(Standby::None | Standby::Opening { .. } | Standby::Waiting { .. })
                | Self::Waiting { .. }
                | Self::Dormant { .. }
                | Self::Finished
                | Self::Failed(_) => None,
            },
            Event::Finished => (!self.is_over()).then_some(Self::Finished),
            Event::Failed(failure) => (!self.is_over()).then(|| Self::Failed(failure.clone())),
        }
    }

    /// Returns the phase after the current leg's end: the standby's, or `otherwise`.
    fn without_leg(&self, otherwise: Self) -> Option<Self> {
        match self {
            Self::Live(Standby::Ready { .. }) => Some(Self::Live(Standby::None)),
            Self::Live(Standby::Opening { .. }) => Some(Self::Opening),
            Self::Live(Standby::None | Standby::Waiting { .. }) => Some(otherwise),
            Self::Idle
            | Self::Opening
            | Self::Waiting { .. }
            | Self::Dormant { .. }
            | Self::Finished
            | Self::Failed(_) => None,
        }
    }

    const fn is_over(&self) -> bool {
        match self {
            Self::Finished | Self::Failed(_) => true,
            Self::Idle
            | Self::Opening
            | Self::Live(_)
            | Self::Waiting { .. }
            | Self::Dormant { .. } => false,
        }
    }
}

/// Where a session stands. See the [module](self).
#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    intake: Intake,
}

impl State {
    /// Creates the state of a new session.
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::Idle,
            intake: Intake::Open,
        }
    }

    /// Returns where the session stands.
    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Returns the standby; none where no leg is live.
    pub(super) const fn standby(&self) -> Standby {
        match self.phase {
            Phase::Live(standby) => standby,
            Phase::Idle
            | Phase::Opening
            | Phase::Waiting { .. }
            | Phase::Dormant { .. }
            | Phase::Finished
            | Phase::Failed(_) => Standby::None,
        }
    }

    /// Returns whether the standby is up.
    pub(super) const fn has_standby(&self) -> bool {
        matches!(self.standby(), Standby::Ready { .. })
    }

    /// Returns whether the session has ended, either way.
    pub(super) const fn is_over(&self) -> bool {
        self.phase.is_over()
    }

    /// Moves the session. Returns where it stands then.
    ///
    /// # Errors
    /// [`IllegalMove`] where the tables have no such move. The session stands where it stood.
    pub(super) fn apply(&mut self, event: &Event) -> Result<&Phase, IllegalMove> {
        match self.phase.after(event) {
            Some(next) => {
                self.phase = next;
                Ok(&self.phase)
            }
            None => Err(IllegalMove {
                from: self.phase.name(),
                event: event.name(),
            }),
        }
    }

    /// Returns whether the application may send no more.
    pub(super) const fn is_closing(&self) -> bool {
        match self.intake {
            Intake::Open => false,
            Intake::Closed | Intake::Finishing { .. } => true,
        }
    }

    /// Returns when a session that the application has closed stops waiting for the service.
    pub(super) const fn finish_by(&self) -> Option<Duration> {
        match self.intake {
            Intake::Finishing { by } => Some(by),
            Intake::Open | Intake::Closed => None,
        }
    }

    /// The application has sent the closing message. Later ones change nothing.
    pub(super) const fn close_input(&mut self) {
        match self.intake {
            Intake::Open => self.intake = Intake::Closed,
            Intake::Closed | Intake::Finishing { .. } => {}
        }
    }

    /// The application has closed the session. The first call sets the time; later ones change
    /// nothing.
    pub(super) const fn finish_input(&mut self, by: Duration) {
        match self.intake {
            Intake::Open | Intake::Closed => self.intake = Intake::Finishing { by },
            Intake::Finishing { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::FailureCause;
    use super::*;

    const AT: Duration = Duration::from_secs(1);
    const BEFORE: Duration = Duration::ZERO;

    fn failed(attempts: u32) -> SessionFailure {
        SessionFailure {
            cause: FailureCause::Silent,
            silent: true,
            closing: false,
            attempts,
            elapsed: Duration::ZERO,
            unacked_bytes: 0,
            unacked_seconds: 0.0,
            endpoint: 0,
            endpoints: Vec::new(),
        }
    }

    fn phases() -> [Phase; 10] {
        [
            Phase::Idle,
            Phase::Opening,
            Phase::Live(Standby::None),
            Phase::Live(Standby::Opening { failures: 2 }),
            Phase::Live(Standby::Waiting {
                until: BEFORE,
                failures: 2,
            }),
            Phase::Live(Standby::Ready { failures: 2 }),
            Phase::Waiting { until: BEFORE },
            Phase::Dormant { since: BEFORE },
            Phase::Finished,
            Phase::Failed(Box::new(failed(1))),
        ]
    }

    /// Every event once.
    fn events() -> [Event; 12] {
        [
            Event::Asked,
            Event::Opened,
            Event::OpenFailed { again: AT },
            Event::Postponed { again: AT },
            Event::Lost { again: AT },
            Event::Completed { since: AT },
            Event::Woken { at: AT },
            Event::StandbyEnded {
                again: AT,
                failures: 0,
            },
            Event::Dismissed,
            Event::TookOver,
            Event::Finished,
            Event::Failed(Box::new(failed(7))),
        ]
    }

    /// Every phase with every event, legal and illegal.
    #[test]
    fn the_whole_table() {
        let opening = || Some(Phase::Opening);
        let live = |standby| Some(Phase::Live(standby));
        let alone = || live(Standby::None);
        let waiting = || Some(Phase::Waiting { until: AT });
        let asleep = || Some(Phase::Dormant { since: AT });
        let asked = |failures| live(Standby::Opening { failures });
        let again = |failures| {
            live(Standby::Waiting {
                until: AT,
                failures,
            })
        };
        let ready = || live(Standby::Ready { failures: 2 });
        let ended = || Some(Phase::Finished);
        let fails = || Some(Phase::Failed(Box::new(failed(7))));
        let no = || None;
        #[rustfmt::skip]
        let table = [
            // Idle, Opening, Live: alone, standby Opening, Waiting, Ready; Waiting, Dormant,
            // Finished, Failed.
            (Event::Asked,
             [opening(), no(), asked(0), no(), asked(2), no(), opening(), no(), no(), no()]),
            (Event::Opened,
             [no(), alone(), no(), ready(), no(), no(), no(), no(), no(), no()]),
            (Event::OpenFailed { again: AT },
             [no(), waiting(), no(), again(3), no(), no(), no(), no(), no(), no()]),
            (Event::Postponed { again: AT },
             [no(), waiting(), no(), again(2), no(), no(), no(), no(), no(), no()]),
            (Event::Lost { again: AT },
             [no(), no(), waiting(), opening(), waiting(), alone(), no(), no(), no(), no()]),
            (Event::Completed { since: AT },
             [no(), no(), asleep(), opening(), asleep(), alone(), no(), no(), no(), no()]),
            (Event::Woken { at: AT },
             [no(), no(), no(), no(), no(), no(), no(), waiting(), no(), no()]),
            (Event::StandbyEnded { again: AT, failures: 0 },
             [no(), no(), no(), no(), no(), again(1), no(), no(), no(), no()]),
            (Event::Dismissed,
             [no(), no(), no(), alone(), no(), alone(), no(), no(), no(), no()]),
            (Event::TookOver,
             [no(), no(), no(), no(), no(), alone(), no(), no(), no(), no()]),
            (Event::Finished,
             [ended(), ended(), ended(), ended(), ended(), ended(), ended(), ended(), no(), no()]),
            (Event::Failed(Box::new(failed(7))),
             [fails(), fails(), fails(), fails(), fails(), fails(), fails(), fails(), no(), no()]),
        ];
        assert!(table.iter().map(|(event, _)| event).eq(&events()));
        for (event, row) in table {
            for (phase, expected) in phases().into_iter().zip(row) {
                let mut state = State {
                    phase: phase.clone(),
                    ..State::new()
                };
                let moved = state.apply(&event).cloned();
                let (name, from) = (event.name(), phase.name());
                if let Some(next) = expected {
                    assert_eq!(moved.as_ref(), Ok(&next), "{name} in {from}");
                    assert_eq!(state.phase, next);
                } else {
                    let illegal = IllegalMove { from, event: name };
                    assert_eq!(moved, Err(illegal));
                    assert_eq!(state.phase, phase, "an illegal move changes nothing");
                }
            }
        }
    }

    /// Every role with every event, legal and illegal.
    #[test]
    fn the_whole_table_of_roles() {
        const WAITS: Role = Role::Standby { replays: false };
        const REPLAYS: Role = Role::Standby { replays: true };
        const RETIRES: Role = Role::Retiring { by: AT };
        const ENDS: Role = Role::Ended(LastStep::End);
        const STOPS: Role = Role::Ended(LastStep::Stop);
        let roles = [WAITS, REPLAYS, Role::Current, RETIRES, ENDS, STOPS];
        let all = |role| [Some(role); 6];
        let table = [
            (
                RoleEvent::Replays,
                [Some(REPLAYS), Some(REPLAYS), None, None, None, None],
            ),
            (
                RoleEvent::Began,
                [
                    Some(Role::Current),
                    Some(Role::Current),
                    Some(Role::Current),
                    None,
                    None,
                    None,
                ],
            ),
            (
                RoleEvent::Retired { by: AT },
                [None, None, Some(RETIRES), None, None, None],
            ),
            (
                RoleEvent::Ended(LastStep::End),
                [Some(ENDS), Some(ENDS), Some(ENDS), Some(ENDS), None, None],
            ),
            (
                RoleEvent::Ended(LastStep::Stop),
                [
                    Some(STOPS),
                    Some(STOPS),
                    Some(STOPS),
                    Some(STOPS),
                    None,
                    None,
                ],
            ),
            (RoleEvent::Stopped, all(STOPS)),
        ];
        for (event, row) in table {
            for (role, expected) in roles.into_iter().zip(row) {
                assert_eq!(role.after(event).ok(), expected, "{event:?} of {role:?}");
            }
        }
    }

    /// The documentation's diagram is drawn from this file, by `tools/draw_states.py`.
    #[test]
    fn the_drawn_moves_are_the_table() {
        let mut moves = Vec::new();
        for phase in phases() {
            for event in &events() {
                if let Some(next) = phase.after(event) {
                    let (from, event, to) = (phase.name(), event.name(), next.name());
                    moves.push(format!("phase: {from} -- {event} -> {to}\n"));
                }
            }
        }
        let roles = [
            Role::Standby { replays: false },
            Role::Standby { replays: true },
            Role::Current,
            Role::Retiring { by: AT },
            Role::Ended(LastStep::End),
        ];
        let events = [
            ("Replays", RoleEvent::Replays),
            ("Began", RoleEvent::Began),
            ("Retired", RoleEvent::Retired { by: AT }),
            ("Ended", RoleEvent::Ended(LastStep::End)),
            ("Stopped", RoleEvent::Stopped),
        ];
        for role in roles {
            for (event, moved) in events {
                if let Ok(next) = role.after(moved) {
                    let (from, to) = (role.name(), next.name());
                    moves.push(format!("role: {from} -- {event} -> {to}\n"));
                }
            }
        }
        let moves = moves.concat();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/states.txt");
        if std::env::var_os("WRITE_STATES").is_some() {
            std::fs::write(file, &moves).unwrap();
        }
        assert_eq!(moves, std::fs::read_to_string(file).unwrap());
    }

    #[test]
    fn what_is_asked_of_every_phase() {
        for phase in phases() {
            let state = State {
                phase: phase.clone(),
                ..State::new()
            };
            let over = matches!(phase, Phase::Finished | Phase::Failed(_));
            assert_eq!(state.is_over(), over, "{phase:?}");
            let standby = match phase {
                Phase::Live(standby) => standby,
                _ => Standby::None,
            };
            assert_eq!(state.standby(), standby);
            let ready = standby == Standby::Ready { failures: 2 };
            assert_eq!(state.has_standby(), ready);
        }
    }

    #[test]
    fn input_ends_once() {
        let by = |state: &State| (state.is_closing(), state.finish_by());
        let mut state = State::new();
        assert_eq!(by(&state), (false, None));
        state.close_input();
        assert_eq!(by(&state), (true, None));
        state.close_input();
        assert_eq!(by(&state), (true, None));
        state.finish_input(AT);
        assert_eq!(by(&state), (true, Some(AT)));
        state.finish_input(AT * 2);
        assert_eq!(by(&state), (true, Some(AT)), "the first call counts");
        state.close_input();
        assert_eq!(by(&state), (true, Some(AT)));

        let mut state = State::new();
        state.finish_input(AT);
        assert_eq!(by(&state), (true, Some(AT)), "without a closing message");
    }

    #[test]
    fn an_illegal_move_names_both() {
        let illegal = State::new().apply(&Event::TookOver).unwrap_err();
        assert_eq!(illegal.to_string(), "TookOver does not follow Idle");
    }
}
