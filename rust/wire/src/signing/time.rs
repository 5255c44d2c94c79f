//! Times in signatures: `YYYYMMDDTHHMMSSZ`, UTC.

/// Length of a written time.
pub const TIME_LEN: usize = 16;
/// Length of the date at its front.
pub const DATE_LEN: usize = 8;

const DAY: u64 = 86_400;
/// The first second of the year 10000, which needs a fifth digit.
const END: u64 = 253_402_300_800;

/// Writes `second`, counted from the epoch; `None` before 1970 and after 9999.
#[must_use]
pub fn format(second: i64) -> Option<[u8; TIME_LEN]> {
    let second = u64::try_from(second).ok().filter(|second| *second < END)?;
    let (year, month, day) = civil(second / DAY);
    let of_day = second % DAY;
    let mut out = *b"00000000T000000Z";
    let fields = [
        (0..4, year),
        (4..6, month),
        (6..8, day),
        (9..11, of_day / 3600),
        (11..13, of_day / 60 % 60),
        (13..15, of_day % 60),
    ];
    for (place, mut value) in fields {
        for digit in out[place].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    Some(out)
}

/// Reads what [`format()`] writes; `None` for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let raw: &[u8; TIME_LEN] = text.as_bytes().try_into().ok()?;
    let number = |place: std::ops::Range<usize>| {
        raw[place].iter().try_fold(0_i64, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let days = days(number(0..4)?, number(4..6)?, number(6..8)?);
    let second = days * 86_400 + number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?;
    // A field out of range (a 13th month, a 61st minute) is written differently.
    (format(second)? == *raw).then_some(second)
}

/// Returns year, month and day of the day `days` after 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year and the lengths of
/// the months follow one linear rule (153 days for five months).
fn civil(days: u64) -> (u64, u64, u64) {
    const YEARS_400: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let era = days / YEARS_400;
    let of_era = days % YEARS_400;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (YEARS_400 - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Inverts [`civil`], for years from 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100
        + (153 * month_from_march + 2) / 5
        + day
        - 1
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(second: i64) -> Option<String> {
        format(second).map(|raw| String::from_utf8(raw.to_vec()).unwrap())
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0).unwrap(), "19700101T000000Z");
        assert_eq!(text(123_456_789).unwrap(), "19731129T213309Z");
        assert_eq!(text(951_782_400).unwrap(), "20000229T000000Z");
        assert_eq!(text(1_456_790_399).unwrap(), "20160229T235959Z");
        assert_eq!(text(1_456_790_400).unwrap(), "20160301T000000Z");
        assert_eq!(text(4_107_542_399).unwrap(), "21000228T235959Z");
        assert_eq!(text(4_107_542_400).unwrap(), "21000301T000000Z");
        assert_eq!(text(253_402_300_799).unwrap(), "99991231T235959Z");
    }

    #[test]
    fn times_that_cannot_be_written() {
        assert_eq!(text(-1), None);
        assert_eq!(text(253_402_300_800), None);
        assert_eq!(text(i64::MAX), None);
    }

    #[test]
    fn every_day_is_read_back() {
        for day in 0..END / DAY {
            let second = i64::try_from(day * DAY + day % DAY).unwrap();
            assert_eq!(parse(&text(second).unwrap()), Some(second));
        }
    }

    #[test]
    fn what_is_not_a_time() {
        for wrong in [
            "",
            "20200101",
            "20201301T000000Z",
            "20200230T000000Z",
            "20200101T006000Z",
            "20200101X000000Z",
            "2020010éT00000Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
