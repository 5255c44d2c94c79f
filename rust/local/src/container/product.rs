//! One product of Deepgram's: its path, and what its query may be.

use super::parameter::Parameter;
use crate::query::Query;

/// Characters of a value that are repeated in an answer.
const QUOTED: usize = 80;

/// What one path of a container takes.
pub(super) struct Product {
    pub(super) path: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Parameters that have to be given.
    pub(super) required: &'static [&'static str],
    /// What parameters have to do with each other.
    pub(super) together: fn(&Query) -> Result<(), String>,
}

impl Product {
    pub(super) fn check(&self, query: &Query) -> Result<(), String> {
        for (name, value) in query.pairs() {
            let Some(parameter) = self.parameters.iter().find(|known| known.name == name) else {
                let name = quoted(name);
                return Err(format!("{name}: {} has no such parameter", self.path));
            };
            parameter
                .check(value)
                .map_err(|rule| format!("{name}={}: {rule}", quoted(value)))?;
        }
        for name in self.required {
            if query.get(name).is_none() {
                return Err(format!("{name}: must be given"));
            }
        }
        (self.together)(query)
    }
}

/// A value as it may stand in a log: printable, and short.
pub(super) fn quoted(value: &str) -> String {
    let mut text: String = value
        .chars()
        .take(QUOTED)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(QUOTED).is_some() {
        text.push('…');
    }
    text
}
