//! The calendar: days and civil dates, and the texts of timestamps and dates. All in UTC, proleptic Gregorian.

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub(crate) const DAY: i64 = 24 * HOUR;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    /// The year; 0 is the year before 1.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// Returns the date of a day counted from 1970-01-01.
///
/// Years are taken to begin in March, so that the leap day is the last day of a year and the lengths of months follow
/// one rule; an era is 400 years, 146,097 days.
#[inline]
pub(crate) fn civil_from_days(days: i64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    Civil { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// Returns the day counted from 1970-01-01 of a date.
#[inline]
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns how many days a month has.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Returns the time so many months later, at the last day of the month where it has no such day; None beyond timestamp.
pub(crate) fn add_months(timestamp: i64, months: i64) -> Option<i64> {
    let (days, rest) = (timestamp.div_euclid(DAY), timestamp.rem_euclid(DAY));
    let Civil { year, month, day } = civil_from_days(days);
    // Beyond so many months there is no timestamp, and days could not be counted.
    let total = year * 12 + i64::from(month) - 1 + Some(months).filter(|months| months.unsigned_abs() < 12_000_000)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    let days = days_from_civil(year, month, day.min(days_in_month(year, month)));
    i64::try_from(i128::from(days) * i128::from(DAY) + i128::from(rest)).ok()
}

/// Returns a timestamp as RFC 3339 text in UTC with microseconds. Years beyond 9999 and before 0 have a sign.
pub(crate) fn timestamp_text(timestamp: i64) -> String {
    let (days, rest) = (timestamp.div_euclid(DAY), timestamp.rem_euclid(DAY));
    let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE / SECOND);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:06}Z", date_text_of(days), rest % SECOND)
}

/// Returns a date as text.
pub(crate) fn date_text(days: i32) -> String {
    date_text_of(i64::from(days))
}

fn date_text_of(days: i64) -> String {
    let Civil { year, month, day } = civil_from_days(days);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

/// Reads `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let mut reader = Reader { bytes: text.as_bytes() };
    let days = reader.date()?;
    reader.bytes.is_empty().then_some(days as i32)
}

/// Reads RFC 3339, with `T` or a space; without an offset it is UTC, and without a time it is midnight. Fractions finer
/// than a microsecond are floored. A leap second (`:60`) is not a time.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let mut reader = Reader { bytes: text.as_bytes() };
    let midnight = reader.date()? * DAY;
    if reader.bytes.is_empty() {
        return Some(midnight);
    }
    reader.one_of(b"Tt ")?;
    let hour = reader.number(2, 23)?;
    reader.one_of(b":")?;
    let minute = reader.number(2, 59)?;
    reader.one_of(b":")?;
    let second = reader.number(2, 59)?;
    let fraction = if reader.one_of(b".").is_some() { reader.microseconds()? } else { 0 };
    let offset = reader.offset()?;
    Some(midnight + hour * HOUR + minute * MINUTE + second * SECOND + fraction - offset)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn one_of(&mut self, choices: &[u8]) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        choices.contains(first).then(|| {
            self.bytes = rest;
            *first
        })
    }

    fn number(&mut self, digits: usize, most: i64) -> Option<i64> {
        let (head, rest) = self.bytes.split_at_checked(digits)?;
        let mut value = 0;
        for byte in head {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(byte - b'0');
        }
        self.bytes = rest;
        (value <= most).then_some(value)
    }

    fn date(&mut self) -> Option<i64> {
        let year = self.number(4, 9999)?;
        self.one_of(b"-")?;
        let month = self.number(2, 12)? as u32;
        self.one_of(b"-")?;
        let day = self.number(2, 31)? as u32;
        (month >= 1 && day >= 1 && day <= days_in_month(year, month)).then(|| days_from_civil(year, month, day))
    }

    fn microseconds(&mut self) -> Option<i64> {
        let digits = self.bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let mut value = 0;
        for i in 0..6 {
            value = value * 10 + if i < digits { i64::from(self.bytes[i] - b'0') } else { 0 };
        }
        self.bytes = &self.bytes[digits..];
        Some(value)
    }

    /// Reads `Z`, `±hh:mm` or nothing, to the end: microseconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.bytes.is_empty() {
            return Some(0);
        }
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return self.bytes.is_empty().then_some(0),
        };
        let hours = self.number(2, 23)?;
        self.one_of(b":")?;
        let minutes = self.number(2, 59)?;
        self.bytes.is_empty().then_some(sign * (hours * HOUR + minutes * MINUTE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Datelike;

    #[test]
    fn dates_agree_with_chrono() {
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in (-800_000..800_000).step_by(97).chain(-800..800) {
            let date = epoch + chrono::Duration::days(days);
            let civil = civil_from_days(days);
            assert_eq!(civil, Civil { year: i64::from(date.year()), month: date.month(), day: date.day() });
            assert_eq!(days_from_civil(civil.year, civil.month, civil.day), days);
        }
    }

    #[test]
    fn timestamps_are_read_as_chrono_reads_them() {
        for text in [
            "2026-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-02-29T12:34:56.5+05:30",
            "0000-03-01T00:00:00-23:59",
            "9999-12-31t23:59:59.123456789z",
        ] {
            let expected = chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
            assert_eq!(parse_timestamp(text), Some(expected), "{text}");
        }
        assert_eq!(parse_timestamp("2026-01-01 00:00:01"), Some(1_767_225_601 * SECOND));
        assert_eq!(parse_timestamp("2026-01-01"), Some(1_767_225_600 * SECOND));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-01-01T",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:59:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+0100",
            "2026-1-1",
            "+2026-01-01",
            "2026-01-01T00:00Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn months_are_added_as_chrono_adds_them() {
        for days in (-30_000..30_000).step_by(13) {
            let timestamp = days * DAY + 12_345;
            let time = chrono::DateTime::from_timestamp_micros(timestamp).unwrap();
            for months in [0u32, 1, 2, 11, 12, 13, 49] {
                let later = time.checked_add_months(chrono::Months::new(months)).unwrap();
                assert_eq!(add_months(timestamp, i64::from(months)), Some(later.timestamp_micros()));
                let earlier = time.checked_sub_months(chrono::Months::new(months)).unwrap();
                assert_eq!(add_months(timestamp, -i64::from(months)), Some(earlier.timestamp_micros()));
            }
        }
        for months in [i64::MIN, i64::MAX, 12_000_000, 4_000_000] {
            assert_eq!(add_months(0, months), None);
        }
        assert_eq!(add_months(i64::MAX, 0), Some(i64::MAX));
        assert_eq!(add_months(i64::MAX, 1), None);
    }

    #[test]
    fn texts_read_back() {
        for timestamp in [0, -1, 1_767_225_600_123_456, -62_167_219_200_000_000] {
            assert_eq!(parse_timestamp(&timestamp_text(timestamp)), Some(timestamp));
        }
        assert_eq!(timestamp_text(i64::MAX), "+294247-01-10T04:00:54.775807Z");
        assert_eq!(timestamp_text(-62_167_219_200_000_001), "-0001-12-31T23:59:59.999999Z");
    }
}
