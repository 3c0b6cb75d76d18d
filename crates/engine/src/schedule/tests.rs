//! Firings against those that an oracle finds, and what is refused.

use super::*;

/// Firings that `tests/oracle/firings.py` found by walking through the minutes of a zone's clocks.
const FIRINGS: &str = include_str!("firings.txt");

fn time(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn cron(line: &str, zone: &str) -> Cron {
    Cron::parse(line, self::zone(zone).unwrap()).unwrap()
}

fn shown(times: impl Iterator<Item = i64>) -> Vec<String> {
    times.map(crate::rfc3339).collect()
}

#[test]
fn firings_are_those_that_the_oracle_finds() {
    let (mut cases, mut zones) = (0, std::collections::BTreeSet::new());
    for case in FIRINGS.split("\n\n").filter(|case| !case.trim().is_empty() && !case.starts_with('#')) {
        let mut lines = case.trim().lines();
        let head: Vec<&str> = lines.next().unwrap().split(" | ").collect();
        let [zone, line, from, to] = head[..] else { panic!("{case}") };
        let expected: Vec<&str> = lines.collect();
        let cron = cron(line, zone);
        let (from, to) = (time(from), time(to));
        assert_eq!(shown(cron.between(from, to)), expected, "{zone}: {line}");
        // Looking back finds the same ones.
        let back = std::iter::successors(cron.before(to + 1), |time| cron.before(*time));
        let mut back: Vec<i64> = back.take_while(|time| *time > from).collect();
        back.reverse();
        assert_eq!(shown(back.into_iter()), expected, "{zone}: {line}, backwards");
        cases += 1;
        zones.insert(zone);
    }
    assert!(cases >= 40 && zones.len() >= 6, "{cases} cases, {zones:?}");
}

#[test]
fn an_interval_goes_from_tick_to_tick_whatever_the_clocks_did_between() {
    let schedule = |reprocess| Schedule {
        name: "nightly".into(),
        cron: cron("30 2 * * *", "Europe/Berlin"),
        reprocess,
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        retry: None,
        jitter: 0,
        verify: false,
        on_success: None,
        on_failure: None,
    };
    // Clocks are put forward at 01:00 UTC on 30 March 2025, so 02:30 is not shown and 03:00 stands for it.
    let due = time("2025-03-30T01:00:00Z");
    let interval = schedule(Reprocess::PreviousInterval).interval(due).unwrap();
    assert_eq!(interval, (time("2025-03-29T01:30:00Z"), due));
    let next = schedule(Reprocess::PreviousInterval).interval(time("2025-03-31T00:30:00Z")).unwrap();
    assert_eq!(next, (due, time("2025-03-31T00:30:00Z")), "they touch");
    let last = schedule(Reprocess::Last(86_400_000_000)).interval(due).unwrap();
    assert_eq!(last, (time("2025-03-29T01:00:00Z"), due));
    assert_eq!(schedule(Reprocess::PreviousInterval).cron.local(due), "2025-03-30 03:00 +02:00");
}

#[test]
fn jitter_is_always_the_same_and_stays_within_its_bound() {
    let mut schedule = Schedule {
        name: "nightly".into(),
        cron: cron("@daily", "UTC"),
        reprocess: Reprocess::PreviousInterval,
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        retry: None,
        jitter: 30_000_000,
        verify: false,
        on_success: None,
        on_failure: None,
    };
    let begins: Vec<i64> = (0..50).map(|due| schedule.begins("a", due * 1000) - due * 1000).collect();
    assert!(begins.iter().all(|late| (0..30_000_000).contains(late)), "{begins:?}");
    assert!(begins.iter().any(|late| *late > 15_000_000) && begins.iter().any(|late| *late < 15_000_000));
    assert_eq!(schedule.begins("a", 7), schedule.begins("a", 7));
    assert_ne!(schedule.begins("a", 7), schedule.begins("b", 7));
    let weekly = Schedule { name: "weekly".into(), ..schedule.clone() };
    assert_ne!(schedule.begins("a", 7), weekly.begins("a", 7), "two schedules of a pipeline do not begin together");
    schedule.jitter = 0;
    assert_eq!(schedule.begins("a", 7), 7);
}

#[test]
fn waits_double_up_to_an_hour() {
    let minute = 60_000_000;
    let waits = |backoff| (1..9).map(|n| Retry { times: 9, backoff }.wait(n) / minute).collect::<Vec<_>>();
    assert_eq!(waits(minute), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(waits(120 * minute), [120; 8]);
    assert_eq!(Retry { times: 100, backoff: minute }.wait(100), 60 * minute);
}

#[test]
fn what_never_fires_has_no_next() {
    assert_eq!(cron("0 0 30 2 *", "UTC").after(0), None);
    assert_eq!(cron("0 0 29 2 *", "UTC").after(0).map(crate::rfc3339).as_deref(), Some("1972-02-29T00:00:00Z"));
    assert_eq!(
        cron("0 0 29 2 *", "UTC").before(time("2104-02-29T00:00:00Z")).map(crate::rfc3339).as_deref(),
        Some("2096-02-29T00:00:00Z")
    );
}

#[test]
fn a_line_that_cannot_be_read_is_told_why() {
    let wrong = |line| Cron::parse(line, Tz::UTC).unwrap_err();
    assert_eq!(wrong("* * * *"), "it has 4 fields, not five");
    assert_eq!(wrong("0 * * * * *"), "it has 6 fields, not five");
    assert_eq!(wrong(""), "it has 0 fields, not five");
    assert!(wrong("60 * * * *").contains("out of bounds"), "{}", wrong("60 * * * *"));
    for line in ["a b c d e", "5-1 * * * *", "*/0 * * * *", "@noon"] {
        assert!(Cron::parse(line, Tz::UTC).is_err(), "{line}");
    }
}

#[test]
fn a_zone_is_that_of_a_place() {
    assert!(zone("Europe/Berlin").is_ok() && zone("UTC").is_ok());
    for name in ["EST", "CET", "Japan", "GMT", "EST5EDT"] {
        assert!(zone(name).unwrap_err().0.contains("whose clocks"), "{name}");
    }
    assert_eq!(zone("europe/berlin").unwrap_err().1, "did you mean `Europe/Berlin`?");
    assert_eq!(zone("berlin").unwrap_err().1, "did you mean `Europe/Berlin`?");
    assert!(zone("local").unwrap_err().1.contains("`UTC`"));
}
