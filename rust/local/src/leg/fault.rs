//! What a fault does beyond its own stream.

use crate::faults::Action;
use crate::handle::{Command, Connection};
use crate::settings::duration;
use crate::shared::Shared;
use crate::stats::{LegRecord, count};

/// Counts a fault and writes it into the leg's record.
pub(super) fn note(shared: &Shared, record: &LegRecord, action: &Action) {
    count(&shared.counters.faults);
    record.facts().faults.push(action.name());
}

/// Passes on an action on the connection or on the whole endpoint; ignores every other.
pub(super) fn order(shared: &Shared, connection: &Connection, action: &Action, stream_id: u32) {
    if let Some(command) = command(action, stream_id) {
        connection.command(command);
    } else if let Action::Outage { seconds } = *action {
        shared.outage(duration(seconds));
    }
}

/// Returns the command that an action means to the connection of the stream `stream_id`.
fn command(action: &Action, stream_id: u32) -> Option<Command> {
    match *action {
        Action::Drop { rst } => Some(Command::Close { rst }),
        Action::GoAway { code, covers } => Some(Command::GoAway {
            last_stream: if covers { stream_id } else { 0 },
            code,
            linger: covers,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goaway_that_covers_the_stream_lets_it_go_on() {
        let go_away = |covers| Action::GoAway { code: 7, covers };
        let covering = Command::GoAway {
            last_stream: 5,
            code: 7,
            linger: true,
        };
        assert_eq!(command(&go_away(true), 5), Some(covering));
        let other = Command::GoAway {
            last_stream: 0,
            code: 7,
            linger: false,
        };
        assert_eq!(command(&go_away(false), 5), Some(other));
    }

    #[test]
    fn only_what_is_about_the_connection_is_passed_on() {
        let close = Command::Close { rst: false };
        assert_eq!(command(&Action::Drop { rst: false }, 5), Some(close));
        for action in [Action::GoSilent, Action::Outage { seconds: 1.0 }] {
            assert_eq!(command(&action, 5), None);
        }
    }
}
