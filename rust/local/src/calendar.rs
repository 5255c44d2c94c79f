//! Dates from seconds since the epoch, in the proleptic Gregorian calendar, UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One day and a time of that day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i32,
    pub(crate) month: u8,
    pub(crate) day: u8,
    second_of_day: u32,
    millis: u32,
}

impl Moment {
    /// The moment `time` is; times before 1970 count as 1970.
    pub(crate) fn of(time: SystemTime) -> Self {
        Self::since_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn since_epoch(elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs();
        let mut days = seconds / 86_400;
        let mut year = 1970;
        loop {
            let length = if is_leap(year) { 366 } else { 365 };
            if days < length {
                break;
            }
            days -= length;
            year += 1;
        }
        let mut month = 1;
        loop {
            let length = days_in(year, month);
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        Self {
            year,
            month,
            // Below 31 after the loop above.
            day: u8::try_from(days + 1).unwrap_or(31),
            second_of_day: (seconds % 86_400) as u32,
            millis: elapsed.subsec_millis(),
        }
    }

    /// `2026-11-22T08:05:46.123Z`
    pub(crate) fn iso(self) -> String {
        let (year, month, day) = (self.year, self.month, self.day);
        let (hour, minute, second) = (
            self.second_of_day / 3600,
            self.second_of_day / 60 % 60,
            self.second_of_day % 60,
        );
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            self.millis
        )
    }
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i32, month: u8) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let iso = |seconds| Moment::since_epoch(Duration::from_secs(seconds)).iso();
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(iso(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }
}
