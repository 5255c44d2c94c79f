//! One of Deepgram's products: its path and its query.

use super::parameter::Parameter;
use crate::query::Query;

/// The most characters of a value that are repeated in an answer.
const QUOTED: usize = 80;

/// The requests that one path of a container takes.
pub(super) struct Product {
    pub(super) path: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// Parameters that must be given.
    pub(super) required: &'static [&'static str],
    /// Checks parameters that depend on each other.
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

/// Returns a value for the log: printable and short.
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
