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

/// Returns the least `out_of_orderness` with which a record is in time for a fixed
/// window: [`is_late_for_window`] turned round. 0 or less: any bound will do. `maximum` is the running maximum `M` before
/// the record.
#[inline]
pub fn least_bound_for_window(end: i64, allowed_lateness: i64, maximum: i64) -> i64 {
    if maximum == NEVER { 0 } else { maximum.saturating_sub(end.saturating_add(allowed_lateness)).saturating_add(1) }
}

/// Returns the least `out_of_orderness` with which a record is in time for work at a point in time:
/// [`is_late_for_point`] turned round. 0 or less: any bound will do.
#[inline]
pub fn least_bound_for_point(event_time: i64, allowed_lateness: i64, maximum: i64) -> i64 {
    if maximum == NEVER { 0 } else { maximum.saturating_sub(event_time.saturating_add(allowed_lateness)) }
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

/// Returns `W` before each record of a run, and the running maximum after all of them. Only valid records count.
///
/// A run's borders change nothing: that is the law. The feature `planted-fault` breaks it on purpose (all records of a
/// run see the maximum from before the run, as engines that advance per micro-batch do), so that tests can show they
/// would notice.
pub fn watermarks(event_times: &[i64], maximum: i64, out_of_orderness: i64) -> (Vec<i64>, i64) {
    let mut running = maximum;
    let marks = event_times
        .iter()
        .map(|time| {
            let seen = if cfg!(feature = "planted-fault") { maximum } else { running };
            running = running.max(*time);
            watermark(seen, out_of_orderness)
        })
        .collect();
    (marks, running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_late_or_final_before_the_first_record() {
        assert!(!is_late_for_window(i64::MIN + 5, 0, watermark(NEVER, 0)));
        assert!(!is_late_for_point(i64::MIN + 5, 0, watermark(NEVER, 0)));
        assert!(!is_final(i64::MIN + 5, 0, NEVER));
    }

    #[test]
    fn a_window_takes_records_until_the_watermark_reaches_its_end() {
        assert!(!is_late_for_window(60, 0, 59));
        assert!(is_late_for_window(60, 0, 60));
        assert!(!is_late_for_window(60, 1, 60));
        assert!(!is_late_for_point(60, 0, 60));
        assert!(is_late_for_point(60, 0, 61));
    }

    #[test]
    fn the_least_bound_is_the_first_with_which_a_record_is_in_time() {
        for maximum in [NEVER, -3, 0, 5, 9] {
            for (time, allowed) in [(0, 0), (4, 0), (4, 2), (-6, 1)] {
                for bound in 0..20 {
                    let mark = watermark(maximum, bound);
                    let window = least_bound_for_window(time, allowed, maximum) <= bound;
                    assert_eq!(window, !is_late_for_window(time, allowed, mark), "{maximum} {time} {allowed} {bound}");
                    let point = least_bound_for_point(time, allowed, maximum) <= bound;
                    assert_eq!(point, !is_late_for_point(time, allowed, mark), "{maximum} {time} {allowed} {bound}");
                }
            }
        }
    }

    #[cfg(not(feature = "planted-fault"))]
    #[test]
    fn the_running_maximum_does_not_see_where_runs_are_cut() {
        let times = [5, 3, 9, 9, 1, 12];
        let (whole, end) = watermarks(&times, NEVER, 2);
        for cut in 0..=times.len() {
            let (mut left, middle) = watermarks(&times[..cut], NEVER, 2);
            let (right, last) = watermarks(&times[cut..], middle, 2);
            left.extend(right);
            assert_eq!((left, last), (whole.clone(), end));
        }
    }
}
