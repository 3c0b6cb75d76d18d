//! Units and parts of times, as `date_trunc` and `extract` name them. All in UTC, in the proleptic Gregorian calendar.

use crate::expr::time::{Civil, DAY, HOUR, MINUTE, SECOND, add_months, civil_from_days, days_from_civil};

/// The units that times are cut to and counted in.
pub(super) const UNITS: &[&str] = &[
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "isoyear",
    "decade",
    "century",
    "millennium",
];

/// The parts that times have.
pub(super) const PARTS: &[&str] = &[
    "year",
    "isoyear",
    "quarter",
    "month",
    "week",
    "day",
    "dow",
    "isodow",
    "doy",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "epoch",
    "millennium",
    "century",
    "decade",
];

/// Returns a word of one thing, in small letters.
fn singular(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "centuries" => "century".into(),
        "millennia" => "millennium".into(),
        _ => name.strip_suffix('s').unwrap_or(&name).into(),
    }
}

/// A unit of time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Units of one length.
    Fixed(i64),
    Week,
    /// So many months.
    Months(i64),
    IsoYear,
}

impl Unit {
    pub(super) fn find(name: &str) -> Option<Self> {
        Some(match singular(name).as_str() {
            "microsecond" => Unit::Fixed(1),
            "millisecond" => Unit::Fixed(1_000),
            "second" => Unit::Fixed(SECOND),
            "minute" => Unit::Fixed(MINUTE),
            "hour" => Unit::Fixed(HOUR),
            "day" => Unit::Fixed(DAY),
            "week" => Unit::Week,
            "month" => Unit::Months(1),
            "quarter" => Unit::Months(3),
            "year" => Unit::Months(12),
            "isoyear" => Unit::IsoYear,
            "decade" => Unit::Months(120),
            "century" => Unit::Months(1_200),
            "millennium" => Unit::Months(12_000),
            _ => return None,
        })
    }

    /// Returns which of the units since some common beginning a time lies in.
    pub(super) fn index(self, ts: i64) -> i64 {
        let days = ts.div_euclid(DAY);
        match self {
            Unit::Fixed(length) => ts.div_euclid(length),
            // 1970-01-01 was a Thursday, three days after a Monday.
            Unit::Week => (days + 3).div_euclid(7),
            Unit::Months(count) => {
                let Civil { year, month, .. } = civil_from_days(days);
                (year * 12 + i64::from(month) - 1).div_euclid(count)
            }
            Unit::IsoYear => civil_from_days(thursday(days)).year,
        }
    }

    /// Returns the last start not after a time; it may lie before the first timestamp there is.
    pub(super) fn start(self, ts: i64) -> (i64, bool) {
        let start = match self {
            Unit::Fixed(length) => ts.checked_sub(ts.rem_euclid(length)),
            Unit::Week => (self.index(ts) * 7 - 3).checked_mul(DAY),
            Unit::Months(count) => {
                let months = self.index(ts) * count;
                days_from_civil(months.div_euclid(12), months.rem_euclid(12) as u32 + 1, 1).checked_mul(DAY)
            }
            // The fourth of January is always in the first week.
            Unit::IsoYear => {
                let fourth = days_from_civil(self.index(ts), 1, 4);
                (fourth - (fourth + 3).rem_euclid(7)).checked_mul(DAY)
            }
        };
        start.map_or((0, true), |start| (start, false))
    }

    /// Returns how many whole units lie between two times, negative when the second is the earlier one. A month has
    /// passed on the same day of a later month, or on its last day where it has no such day.
    pub(super) fn between(self, from: i64, to: i64) -> i64 {
        if to < from {
            return -self.between(to, from);
        }
        let length = match self {
            Unit::Fixed(length) => length,
            Unit::Week => 7 * DAY,
            Unit::Months(count) => {
                let months = Unit::Months(1).index(to) - Unit::Months(1).index(from);
                let passed = add_months(from, months).is_some_and(|end| end <= to);
                return (months - i64::from(!passed)) / count;
            }
            Unit::IsoYear => return Unit::Months(12).between(from, to),
        };
        ((i128::from(to) - i128::from(from)) / i128::from(length)) as i64
    }
}

/// A part of a time.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Epoch,
    YearWeek,
    Millennium,
    Century,
    Decade,
}

impl Part {
    pub(super) fn find(name: &str) -> Option<Self> {
        Some(match singular(name).as_str() {
            "year" => Part::Year,
            "isoyear" => Part::IsoYear,
            "quarter" => Part::Quarter,
            "month" => Part::Month,
            "week" | "isoweek" | "weekofyear" => Part::Week,
            "day" | "dayofmonth" => Part::Day,
            "dow" | "dayofweek" | "weekday" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "doy" | "dayofyear" => Part::DayOfYear,
            "hour" => Part::Hour,
            "minute" => Part::Minute,
            "second" => Part::Second,
            "millisecond" => Part::Millisecond,
            "microsecond" => Part::Microsecond,
            "epoch" => Part::Epoch,
            "millennium" => Part::Millennium,
            "century" => Part::Century,
            "decade" => Part::Decade,
            _ => return None,
        })
    }

    pub(super) fn of(self, ts: i64) -> i64 {
        let (days, time) = (ts.div_euclid(DAY), ts.rem_euclid(DAY));
        match self {
            Part::Year => civil_from_days(days).year,
            Part::IsoYear => civil_from_days(thursday(days)).year,
            Part::Quarter => i64::from(civil_from_days(days).month.div_ceil(3)),
            Part::Month => i64::from(civil_from_days(days).month),
            // The number of a week is how many Thursdays its year has had.
            Part::Week => (thursday(days) - new_year(thursday(days))) / 7 + 1,
            Part::Day => i64::from(civil_from_days(days).day),
            Part::DayOfWeek => (days + 4).rem_euclid(7),
            Part::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
            Part::DayOfYear => days - new_year(days) + 1,
            Part::Hour => time / HOUR,
            Part::Minute => time % HOUR / MINUTE,
            Part::Second => time % MINUTE / SECOND,
            Part::Millisecond => time % MINUTE / 1_000,
            Part::Microsecond => time % MINUTE,
            Part::YearWeek => {
                let year = Part::IsoYear.of(ts);
                year * 100 + if year < 0 { -Part::Week.of(ts) } else { Part::Week.of(ts) }
            }
            Part::Millennium => count_of(civil_from_days(days).year, 1_000),
            Part::Century => count_of(civil_from_days(days).year, 100),
            Part::Decade => civil_from_days(days).year / 10,
            Part::Epoch => unreachable!("the epoch is a float"),
        }
    }
}

/// Returns which century (or other count of years) a year lies in: the first begins with year 1, the one before it is
/// number -1.
fn count_of(year: i64, years: i64) -> i64 {
    if year > 0 { (year - 1) / years + 1 } else { year / years - 1 }
}

/// Returns the Thursday of a day's ISO week, whose year is the week's year.
fn thursday(days: i64) -> i64 {
    days - (days + 3).rem_euclid(7) + 3
}

fn new_year(days: i64) -> i64 {
    days_from_civil(civil_from_days(days).year, 1, 1)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Timelike};

    use super::*;

    fn times() -> impl Iterator<Item = i64> {
        let years = 4_000 * 365 * DAY;
        (0..4_000).map(move |i| -years + i * (years / 1_999) + i * 7_654_321)
    }

    #[test]
    fn parts_agree_with_chrono() {
        for ts in times() {
            let time = DateTime::from_timestamp_micros(ts).unwrap();
            for (part, expected) in [
                (Part::Year, i64::from(time.year())),
                (Part::IsoYear, i64::from(time.iso_week().year())),
                (Part::Quarter, i64::from(time.month0() / 3 + 1)),
                (Part::Month, i64::from(time.month())),
                (Part::Week, i64::from(time.iso_week().week())),
                (Part::Day, i64::from(time.day())),
                (Part::DayOfWeek, i64::from(time.weekday().num_days_from_sunday())),
                (Part::IsoDayOfWeek, i64::from(time.weekday().number_from_monday())),
                (Part::DayOfYear, i64::from(time.ordinal())),
                (Part::Hour, i64::from(time.hour())),
                (Part::Minute, i64::from(time.minute())),
                (Part::Second, i64::from(time.second())),
                (Part::Microsecond, i64::from(time.second()) * SECOND + i64::from(time.nanosecond() / 1_000)),
            ] {
                assert_eq!(part.of(ts), expected, "{time}");
            }
        }
    }

    #[test]
    fn starts_are_floored_before_1970_too() {
        for ts in times() {
            let time = DateTime::from_timestamp_micros(ts).unwrap().naive_utc();
            let midnight = |date: chrono::NaiveDate| date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros();
            let monday = time.date() - chrono::Duration::days(i64::from(time.weekday().num_days_from_monday()));
            let first = |month: u32| chrono::NaiveDate::from_ymd_opt(time.year(), month, 1).unwrap();
            assert_eq!(Unit::Week.start(ts).0, midnight(monday));
            assert_eq!(Unit::Months(1).start(ts).0, midnight(first(time.month())));
            assert_eq!(Unit::Months(3).start(ts).0, midnight(first(time.month0() / 3 * 3 + 1)));
            assert_eq!(Unit::Months(12).start(ts).0, midnight(first(1)));
            let hour = time.date().and_hms_opt(time.hour(), 0, 0).unwrap().and_utc().timestamp_micros();
            assert_eq!(Unit::Fixed(HOUR).start(ts).0, hour);
        }
        assert_eq!(Unit::Fixed(MINUTE).start(-1), (-MINUTE, false));
        assert_eq!(Unit::Months(12).start(i64::MIN), (0, true));
    }
}
