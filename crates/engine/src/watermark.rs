//! How far a partition has got, and the one place that decides what is late and what is final.
//!
//! `M` is the largest event time among the valid records of a partition before a record, `W = M − out_of_orderness`,
//! −∞ at first. `G` is the least `W` over every partition of a source. Times are microseconds since 1970.

/// −∞: the running maximum of a partition without valid records, and what follows from it.
pub const NEVER: i64 = i64::MIN;

/// Returns `W` for a running maximum `M`: saturating, and −∞ stays −∞.
#[inline]
pub fn watermark(maximum: i64, out_of_orderness: i64) -> i64 {
    if maximum == NEVER { NEVER } else { maximum.saturating_sub(out_of_orderness).max(NEVER + 1) }
}

/// Returns true when a record comes too late for a fixed window that ends at `end` (exclusive): `end + allowed <= W`.
#[inline]
pub fn is_late_for_window(end: i64, allowed_lateness: i64, watermark: i64) -> bool {
    watermark != NEVER && end.saturating_add(allowed_lateness) <= watermark
}

/// Returns true when a record comes too late for work at a point in time (sessions, joins): `event_time + allowed < W`.
#[inline]
pub fn is_late_for_point(event_time: i64, allowed_lateness: i64, watermark: i64) -> bool {
    watermark != NEVER && event_time.saturating_add(allowed_lateness) < watermark
}

/// Returns true when nothing the log may still bring can enter a window that ends at `end`: `G >= end + allowed`.
#[inline]
pub fn is_final(end: i64, allowed_lateness: i64, frontier: i64) -> bool {
    frontier != NEVER && frontier >= end.saturating_add(allowed_lateness)
}

/// Returns `C`, how far a step's output is complete, for its input's `G` and its allowed lateness.
#[inline]
pub fn completeness(frontier: i64, allowed_lateness: i64) -> i64 {
    if frontier == NEVER { NEVER } else { frontier.saturating_sub(allowed_lateness).max(NEVER + 1) }
}
