//! The wall clock: for when things are written, begun and due, never for what they say.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    if cfg!(debug_assertions)
        && let Some(told) = told_by_test()
    {
        return told;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as i64)
}

/// Returns the time that a test has put into a file, to which it can set this clock.
fn told_by_test() -> Option<i64> {
    let text = std::fs::read_to_string(std::env::var_os("SAMESTREAM_TEST_CLOCK")?).ok()?;
    runtime::time::parse(text.trim()).ok().map(|micros| micros / 1000)
}
