//! Which records the rows of a range are made of. Times are minutes; the ranges are worked out by hand.

use engine::reach::{Reach, Span};

use super::{SMALL, good};

const MINUTE: i64 = 60_000_000;
const ALL: Span = Span { from: i64::MIN, to: i64::MAX };

/// Returns the span of the source's records that the rows from minute 100 to minute 200 need.
fn reach(steps: &str, sinks: &[&str]) -> Span {
    reach_of((Some(100), Some(200)), steps, sinks)
}

fn reach_of((from, to): (Option<i64>, Option<i64>), steps: &str, sinks: &[&str]) -> Span {
    let (head, _) = SMALL.split_once("steps:\n").unwrap();
    let sinks: Vec<String> = (sinks.iter().enumerate())
        .map(|(i, from)| format!("  sink{i}: {{from: {from}, jsonl: {{path: out/{i}.jsonl}}}}\n"))
        .collect();
    let plan = good(&format!("{head}steps:\n{steps}sinks:\n{}", sinks.concat())).plan;
    Reach::new(&plan, (from.map(|from| from * MINUTE), to.map(|to| to * MINUTE))).source(0)
}

fn span(from: i64, to: i64) -> Span {
    Span { from: from * MINUTE, to: to * MINUTE }
}

const TEN: &str =
    "  ten: {from: clicks, window: {tumbling: {size: 10m}}, group_by: [page], aggregate: {n: count(*)}}\n";

#[test]
fn a_fixed_window_is_made_of_what_lies_in_it() {
    assert_eq!(reach(TEN, &["ten"]), span(100, 210));
    assert_eq!(
        reach(&TEN.replace("tumbling: {size: 10m}", "hopping: {size: 1h, every: 5m}"), &["ten"]),
        span(100, 260)
    );
    assert_eq!(reach_of((Some(100), None), TEN, &["ten"]), Span { from: 100 * MINUTE, to: i64::MAX });
    assert_eq!(reach_of((None, Some(200)), TEN, &["ten"]), Span { from: i64::MIN, to: 210 * MINUTE });
    assert_eq!(reach_of((None, None), TEN, &["ten"]), ALL);
}

#[test]
fn a_row_is_made_of_its_record() {
    let rows = "  big: {from: clicks, where: amount > 5}\n";
    assert_eq!(reach(rows, &["big"]), span(100, 200));
    assert_eq!(reach(&format!("{rows}{TEN}"), &["big", "ten"]), span(100, 210));
}

#[test]
fn a_session_is_made_of_what_may_join_it() {
    let visits =
        "  visits: {from: clicks, window: {session: {gap: 30m}}, group_by: [user_id], aggregate: {n: count(*)}}\n";
    assert_eq!(reach(visits, &["visits"]), Span { from: 70 * MINUTE, to: i64::MAX });
    let after = "  hours: {from: visits, window: {tumbling: {size: 1h}}, aggregate: {n: sum(n)}}\n";
    assert_eq!(
        reach(&format!("{visits}{after}"), &["hours"]),
        ALL,
        "a session that ends in the hour began at any time"
    );
}

#[test]
fn a_window_over_windows_reaches_as_far_as_both() {
    let hour = "  hour: {from: ten, window: {tumbling: {size: 1h}}, aggregate: {n: sum(n)}}\n";
    assert_eq!(reach(&format!("{TEN}{hour}"), &["hour"]), span(90, 270));
    assert_eq!(reach(&format!("{TEN}{hour}"), &["hour", "ten"]), span(90, 270));
    let same = "  best: {from: ten, window: same, aggregate: {n: max(n)}}\n";
    assert_eq!(reach(&format!("{TEN}{same}"), &["best"]), span(100, 210));
    let hour = hour.replace("from: ten", "from: best");
    assert_eq!(reach(&format!("{TEN}{same}{hour}"), &["hour"]), span(90, 270));
}

#[test]
fn what_is_kept_aside_has_no_range() {
    assert_eq!(reach(TEN, &["ten", "ten.late"]), ALL);
    assert_eq!(reach(TEN, &["ten", "clicks.bad"]), ALL);
}

#[test]
fn whether_a_record_repeats_another_is_seen_from_those_before_it() {
    let once = "  once: {from: clicks, dedup: {key: [user_id], within: 5m}}\n";
    let ten = TEN.replace("from: clicks", "from: once");
    assert_eq!(reach(&format!("{once}{ten}"), &["ten"]), Span { from: 95 * MINUTE, to: i64::MAX });
}
