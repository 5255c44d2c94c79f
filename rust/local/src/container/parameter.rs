//! The parameters of a query and the values that they may have.

/// A parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// The values that a parameter may have.
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
    /// Values that the function accepts; the text is the rule.
    That(fn(&str) -> bool, &'static str),
    /// Values that the function accepts; it returns the rule that is broken.
    Checked(fn(&str) -> Result<(), String>),
    /// None: the parameter is known and always refused, for this reason.
    Refused(&'static str),
}

/// Makes a row of a product's table.
pub(super) const fn parameter(name: &'static str, value: Value) -> Parameter {
    Parameter { name, value }
}

impl Parameter {
    /// Checks a value.
    ///
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

/// Returns whether `value` is `true` or `false`, in upper or lower case: Python writes `True`.
pub(super) fn is_flag(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

pub(super) fn whole(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| value.parse().ok())?
}

/// Reads a finite decimal number.
pub(super) fn number(value: &str) -> Option<f64> {
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
    plain.then(|| value.parse().ok())?
}
