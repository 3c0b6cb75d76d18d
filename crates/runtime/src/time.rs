//! Times as text.

use chrono::{DateTime, NaiveDate, SecondsFormat};
use engine::{Code, Error, Result};

/// Returns microseconds since 1970 as RFC 3339 in UTC, with as many digits as needed.
pub fn rfc3339(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{micros} µs"),
    }
}

/// Reads an RFC 3339 time, or a date (its midnight in UTC), as microseconds since 1970.
pub fn parse(text: &str) -> Result<i64> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_hms_opt(0, 0, 0).expect("midnight exists").and_utc().timestamp_micros());
    }
    let bad = || {
        Error::new(Code::Usage, format!("`{text}` is neither an RFC 3339 time nor a date"))
            .help("write `2026-11-20`, or `2026-11-20T15:00:00Z` with its offset")
    };
    DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros()).map_err(|_| bad())
}
