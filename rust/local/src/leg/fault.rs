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
    match *action {
        Action::Drop { rst } => connection.command(Command::Close { rst }),
        Action::GoAway { code, covers } => {
            let last_stream = if covers { stream_id } else { 0 };
            connection.command(Command::GoAway {
                last_stream,
                code,
                linger: covers,
            });
        }
        Action::Outage { seconds } => shared.outage(duration(seconds)),
        _ => {}
    }
}
