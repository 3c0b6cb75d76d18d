//! Times as text.

use chrono::{DateTime, NaiveDate};
use engine::{Code, Error, Result};

pub use engine::rfc3339;

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
