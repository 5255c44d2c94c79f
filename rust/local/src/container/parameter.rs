//! One parameter of a query, and what it may be.

/// A parameter by its name.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// What a value may be.
pub(super) enum Value {
    /// Anything.
    Text,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// What the function says; the rule otherwise.
    That(fn(&str) -> bool, &'static str),
    /// The function says what is wrong.
    Checked(fn(&str) -> Result<(), String>),
    /// The parameter is known, and never taken. Says why.
    Refused(&'static str),
}

/// `name`, with what its value may be.
pub(super) const fn parameter(name: &'static str, value: Value) -> Parameter {
    Parameter { name, value }
}

impl Parameter {
    /// # Errors
    /// The rule that `value` breaks.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let (fits, rule) = match self.value {
            Value::Text => return Ok(()),
            Value::Flag => (is_flag(value), "must be true or false".to_owned()),
            Value::OneOf(words) => (
                words.contains(&value),
                format!("must be one of {}", words.join(", ")),
            ),
            Value::Whole(least, most) => (
                whole(value).is_some_and(|number| (least..=most).contains(&number)),
                format!("must be a whole number from {least} to {most}"),
            ),
            Value::Number(least, most) => (
                number(value).is_some_and(|number| (least..=most).contains(&number)),
                format!("must be a number from {least:?} to {most:?}"),
            ),
            Value::That(fits, rule) => (fits(value), rule.to_owned()),
            Value::Checked(check) => return check(value),
            Value::Refused(why) => (false, why.to_owned()),
        };
        if fits { Ok(()) } else { Err(rule) }
    }
}

/// In any case of letters: Python's `True` is written so.
pub(super) fn is_flag(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

pub(super) fn whole(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| value.parse().ok())?
}

/// A decimal number; neither an infinite one nor none.
pub(super) fn number(value: &str) -> Option<f64> {
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
    plain.then(|| value.parse().ok())?
}
