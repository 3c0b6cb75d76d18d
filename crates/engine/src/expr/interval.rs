//! Lengths of time as SQL writes them: `5 minutes`, `1 month -2 days`.

use std::fmt;

use super::time::{DAY, HOUR, MINUTE, SECOND};

/// A length of time: months, whose days differ, and microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months; a year has twelve.
    pub months: i64,
    /// Microseconds; a day has 24 hours.
    pub microseconds: i64,
}

impl Interval {
    /// Reads whole numbers, each with its unit behind it, or says why it cannot.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut interval = Interval::default();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("the interval is empty".into());
        }
        while !rest.is_empty() {
            let is_sign = rest.starts_with(['-', '+']);
            let digits = rest[usize::from(is_sign)..].bytes().take_while(u8::is_ascii_digit).count();
            let (count, after) = rest.split_at(usize::from(is_sign) + digits);
            let after = after.trim_start();
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let count: i64 = match count.parse() {
                Ok(count) => count,
                Err(_) => return Err(format!("`{text}` cannot be read; the count is an integer")),
            };
            interval = interval.plus(count, &unit.to_ascii_lowercase(), text)?;
            rest = after.trim_start();
        }
        Ok(interval)
    }

    fn plus(mut self, count: i64, unit: &str, text: &str) -> Result<Self, String> {
        let (months, microseconds) = match (unit.strip_suffix('s').unwrap_or(unit), unit) {
            (_, "us") | ("u" | "microsecond", _) => (0, 1),
            (_, "ms") | ("millisecond", _) => (0, 1_000),
            (_, "s") | ("sec" | "second", _) => (0, SECOND),
            ("m" | "min" | "minute", _) => (0, MINUTE),
            ("h" | "hour", _) => (0, HOUR),
            ("d" | "day", _) => (0, DAY),
            ("w" | "week", _) => (0, 7 * DAY),
            ("mon" | "month", _) => (1, 0),
            ("quarter", _) => (3, 0),
            ("y" | "year", _) => (12, 0),
            ("decade", _) => (120, 0),
            ("century" | "centurie", _) => (1_200, 0),
            ("millennium" | "millennia", _) => (12_000, 0),
            _ => return Err(format!("`{text}` has no unit that is known")),
        };
        let grown = |sum: i64, unit: i64| count.checked_mul(unit).and_then(|more| sum.checked_add(more));
        let too_long = || "the interval is too long".to_string();
        self.months = grown(self.months, months).ok_or_else(too_long)?;
        self.microseconds = grown(self.microseconds, microseconds).ok_or_else(too_long)?;
        Ok(self)
    }

    /// Returns the interval in the other direction, if it has one.
    pub fn negated(self) -> Option<Self> {
        Some(Self { months: self.months.checked_neg()?, microseconds: self.microseconds.checked_neg()? })
    }
}

/// The canonical text, which reads back as the same interval.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interval { months: 0, microseconds } => write!(f, "{microseconds} microseconds"),
            Interval { months, microseconds: 0 } => write!(f, "{months} months"),
            Interval { months, microseconds } => write!(f, "{months} months {microseconds} microseconds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_part_by_part() {
        for (text, months, microseconds) in [
            ("5 minutes", 0, 300_000_000),
            ("90s", 0, 90_000_000),
            ("1 month -2 days", 1, -172_800_000_000),
            ("1 year 2 quarters 3months", 21, 0),
            (" 2 weeks 10us 5ms ", 0, 1_209_600_005_010),
            ("-1 h 1 m", 0, -3_540_000_000),
            ("3 m", 0, 180_000_000),
        ] {
            let interval = Interval::parse(text).unwrap();
            assert_eq!(interval, Interval { months, microseconds }, "{text}");
            assert_eq!(Interval::parse(&interval.to_string()), Ok(interval));
        }
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "minutes",
            "1.5 hours",
            "1 fortnight",
            "5 minutes ago",
            "- 1 day",
            "9223372036854775807 days",
        ] {
            assert!(Interval::parse(text).is_err(), "{text}");
        }
    }
}
