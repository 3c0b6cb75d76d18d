//! Until when the rows of steps are settled. Times are minutes; the windows are found by hand.

use engine::Engine;
use engine::plan::Input;

use super::{SMALL, good};

const MINUTE: i64 = 60_000_000;

/// Returns for a step on top of some others before which minute its windows are settled when the source is complete until a
/// minute; None: it is not known.
fn settled(minute: i64, steps: &str, sink: &str) -> Option<i64> {
    let (head, _) = SMALL.split_once("steps:\n").unwrap();
    let plan = good(&format!("{head}steps:\n{steps}sinks:\n  s: {{from: {sink}, jsonl: {{path: out}}}}\n")).plan;
    let input = plan.sinks[0].input;
    let settles = plan.settles(input);
    let Input::Step(step) = input else { panic!("{input:?}") };
    let found = Engine::new(std::sync::Arc::new(plan)).settled(&[minute * MINUTE])[step];
    assert_eq!(settles, found != i64::MIN, "{sink}");
    settles.then(|| found.div_euclid(MINUTE))
}

fn window(name: &str, from: &str, window: &str) -> String {
    format!("  {name}: {{from: {from}, window: {window}, group_by: [page], aggregate: {{n: count(*)}}}}\n")
}

#[test]
fn windows_are_settled_until_the_first_that_may_still_bring_a_row() {
    let ten = window("ten", "clicks", "{tumbling: {size: 10m}}");
    assert_eq!(settled(109, &ten, "ten"), Some(100));
    assert_eq!(settled(110, &ten, "ten"), Some(110), "a window that has just ended is over");
    assert_eq!(settled(-1, &ten, "ten"), Some(-10));
    let hops = window("hops", "clicks", "{hopping: {size: 10m, every: 4m}}");
    assert_eq!(settled(109, &hops, "hops"), Some(100), "100 to 110, 104 to 114 and 108 to 118 hold it");
    let days = window("days", "clicks", "{calendar: {unit: day, timezone: Europe/Berlin}}");
    assert_eq!(settled(24 * 60, &days, "days"), Some(23 * 60), "it is one o'clock in Berlin");
    let patient = ten.replace("window:", "allowed_lateness: 5m, window:");
    assert_eq!(settled(110, &patient, "ten"), Some(100));
    assert_eq!(settled(115, &patient, "ten"), Some(110));
}

#[test]
fn steps_over_windows_are_settled_as_these_are() {
    let ten = window("ten", "clicks", "{tumbling: {size: 10m}}");
    let hour = format!("{ten}{}", window("hour", "ten", "{tumbling: {size: 1h}}").replace("count(*)", "sum(n)"));
    assert_eq!(settled(119, &hour, "hour"), Some(60));
    assert_eq!(settled(120, &hour, "hour"), Some(120));
    let big = format!(
        "{ten}  big: {{from: ten, where: n > 5}}\n{}",
        window("again", "big", "same").replace("count(*)", "sum(n)")
    );
    assert_eq!(settled(119, &big, "big"), Some(110));
    assert_eq!(settled(119, &big, "again"), Some(110));
}

#[test]
fn of_records_sessions_and_windows_of_several_kinds_nothing_is_settled() {
    let ten = window("ten", "clicks", "{tumbling: {size: 10m}}");
    let visits = window("visits", "clicks", "{session: {gap: 5m}}");
    assert_eq!(settled(109, &visits, "visits"), None);
    assert_eq!(settled(109, &window("w", "clicks", "{cumulative: {size: 1h, step: 10m}}"), "w"), None);
    assert_eq!(settled(109, "  rows: {from: clicks}\n", "rows"), None);
    let both = format!("{ten}{}  both: {{from: [ten, hour]}}\n", window("hour", "clicks", "{tumbling: {size: 1h}}"));
    assert_eq!(settled(109, &both, "both"), None, "windows of ten minutes are final within an hour that is not");
    let same = format!("{ten}{}  both: {{from: [ten, two]}}\n", window("two", "clicks", "{tumbling: {size: 10m}}"));
    assert_eq!(settled(109, &same, "both"), Some(100));
}
