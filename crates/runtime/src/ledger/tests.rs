//! The ledger against one that looks at every moment by itself.

use super::sight::{Sight, judge};
use super::*;

/// Numbers that look drawn, from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> i64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as i64
    }
}

fn made(run: u64) -> Made {
    Made {
        run,
        mode: Mode::Batch,
        definition: "d".into(),
        start: Cut::new(),
        end: Cut::new(),
        complete: BTreeMap::new(),
        has_open: true,
        longest: Some(BTreeMap::new()),
        files: BTreeMap::new(),
    }
}

/// What a moment is worth, by itself: what made it last, then what there is to say of that, the worst last.
fn naive(at: i64, history: &[(i64, i64, usize)], covered: &[(i64, i64)], sights: &[Sight]) -> Option<RangeState> {
    let has = |(from, to): (i64, i64)| from <= at && at < to;
    let is_there = covered.iter().any(|range| has(*range));
    let Some((_, _, last)) = history.iter().rev().find(|(from, to, _)| has((*from, *to))) else {
        return is_there.then_some(RangeState::Missing);
    };
    let sight = &sights[*last];
    let is_new = sight.records.iter().any(|(range, _)| has(*range));
    let is_other = sight.files.iter().any(|(range, _)| has(*range));
    if sight.broken.is_some() || is_new || is_other {
        return Some(RangeState::Stale);
    }
    let state = match (at < sight.open_then, at < sight.open_now) {
        (true, true) => RangeState::Final,
        (true, false) | (false, true) => RangeState::Stale,
        (false, false) if sight.has_open => RangeState::Provisional,
        (false, false) => RangeState::Missing,
    };
    is_there.then_some(state)
}

#[test]
fn a_moment_is_worth_what_the_last_run_over_it_left_there() {
    for seed in 0..500 {
        let mut next = numbers(seed);
        let range = |next: &mut dyn FnMut(u64) -> i64| {
            let (a, b) = (next(40), next(40));
            (a.min(b), a.max(b))
        };
        let (mut held, mut history, mut all) = (Held::default(), Vec::new(), Vec::new());
        for run in 0..next(6) as usize {
            let (from, to) = match next(4) {
                0 => (i64::MIN, i64::MAX),
                _ => range(&mut next),
            };
            held = held.with(from, to, made(run as u64), false);
            history.push((from, to, run));
            let mut some = |most: u64| -> Vec<(i64, i64)> { (0..next(most)).map(|_| range(&mut next)).collect() };
            let (files, records) = (some(2), some(4));
            all.push(Sight {
                run: run as u64,
                broken: (next(8) == 0).then(|| "broken".into()),
                open_then: next(50) - 5,
                open_now: next(50) - 5,
                has_open: next(3) > 0,
                files: files.into_iter().map(|range| (range, "files".into())).collect(),
                records: records.into_iter().map(|range| (range, 1)).collect(),
                counts_once: true,
                read_to: String::new(),
            });
        }
        let covered = union((0..next(4)).map(|_| range(&mut next)).filter(|(from, to)| from < to));
        let sights: Vec<Sight> = held.made.iter().map(|made| all[made.run as usize].clone()).collect();
        let found = judge(&held.stretches, &covered, &sights);
        assert!(found.windows(2).all(|pair| pair[0].to <= pair[1].from), "seed {seed}: in order, apart: {found:?}");
        for at in -2..45 {
            let state = found.iter().find(|range| range.from <= at && at < range.to).map(|range| range.state);
            assert_eq!(
                state,
                naive(at, &history, &covered, &all),
                "seed {seed} at {at}: {history:?} {covered:?} {all:#?}"
            );
        }
    }
}

#[test]
fn new_records_are_counted_once_for_each_window_that_they_enter() {
    let sight = Sight {
        run: 7,
        open_then: 100,
        open_now: 100,
        records: vec![((10, 20), 1), ((0, 10), 2), ((30, 40), 1), ((90, 95), 5)],
        counts_once: true,
        read_to: "a:0=3".into(),
        ..Sight::default()
    };
    let found = judge(&[(i64::MIN, 50, 0)], &[(0, 50)], std::slice::from_ref(&sight));
    let counts: Vec<_> = found.iter().map(|range| (range.from, range.to, range.records)).collect();
    assert_eq!(counts, [(0, 20, Some(3)), (20, 30, None), (30, 40, Some(1)), (40, 50, None)]);
    assert_eq!(found[0].reason.as_deref(), Some("3 new records (run 7 had read to a:0=3)"));
    assert_eq!(found[2].reason.as_deref(), Some("1 new record (run 7 had read to a:0=3)"));
    // A record that is in several windows cannot be counted by them.
    let found = judge(&[(i64::MIN, 50, 0)], &[(0, 50)], &[Sight { counts_once: false, ..sight }]);
    assert_eq!((found[0].records, found[0].reason.as_deref()), (None, Some("new records (run 7 had read to a:0=3)")));
}

#[test]
fn what_made_nothing_that_is_still_there_is_forgotten() {
    let held =
        Held::default().with(0, 10, made(1), false).with(5, 20, made(2), false).with(i64::MIN, 7, made(3), false);
    let of =
        |held: &Held| held.stretches.iter().map(|(from, to, by)| (*from, *to, held.made[*by].run)).collect::<Vec<_>>();
    assert_eq!(of(&held), [(i64::MIN, 7, 3), (7, 20, 2)]);
    assert_eq!(held.made.len(), 2);
    let text = serde_json::to_string(&held).unwrap();
    assert_eq!(serde_json::from_str::<Held>(&text).unwrap(), held);
}

#[test]
fn a_run_that_goes_on_has_the_sessions_of_those_before_it() {
    let with = |run: u64, longest: i64| Made { longest: Some([("visits".to_string(), longest)].into()), ..made(run) };
    let all = |held: Held, made: Made| held.with(i64::MIN, i64::MAX, made, true).made.remove(0).longest;
    let before = Held::default().with(i64::MIN, i64::MAX, with(1, 50), false);
    assert_eq!(all(before.clone(), with(2, 20)), with(2, 50).longest);
    assert_eq!(all(before.clone(), with(2, 70)), with(2, 70).longest);
    // Of another definition, or of none that is known, nobody knows.
    assert_eq!(all(before, Made { definition: "e".into(), ..with(2, 70) }), None);
    assert_eq!(all(Held::default(), with(2, 70)), None);
}

#[test]
fn files_are_told_apart_by_their_days_and_by_what_comes_before_them() {
    let file = |start: i64, stamp: u64, times: Option<(i64, i64)>| LogFile { start, stamp, times };
    let day = |day: i64| Some((day * DAY, day * DAY + 5));
    let of = |list: &[LogFile], end: i64| Files::of(&[(0, end, list.to_vec())]);
    let list = [file(0, 1, day(3)), file(10, 2, day(4)), file(20, 3, Some((4 * DAY + 9, 6 * DAY)))];
    let before = of(&list, 25);
    assert_eq!(before.days.keys().copied().collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(before.other_days(&of(&list, 1000)), [0_i64; 0], "a lake that grew holds the same files");
    // A file after the end is none of them.
    assert_eq!(of(&list, 20).other_days(&of(&list[..2], 20)), [0_i64; 0]);
    let mut other = list;
    other[1].stamp = 9;
    assert_eq!(before.other_days(&of(&other, 25)), [4]);
    assert_eq!(before.other_days(&of(&list[..2], 25)), [4, 5, 6]);
    // One that moves the running maximum changes what is late in those after it.
    let mut ahead = list;
    ahead[1] = file(10, 2, day(5));
    assert_eq!(before.other_days(&of(&ahead, 25)), [4, 5, 6]);
    let mut undated = list;
    undated[1].times = None;
    assert_ne!(before.undated, of(&undated, 25).undated);
    assert_eq!(before.other_days(&of(&undated, 25)), [4, 5, 6]);
}

#[test]
fn what_was_left_to_a_stream_is_not_written_by_the_run() {
    for (left_from, expected) in
        [(None, Some((10, 50))), (Some(30), Some((10, 30))), (Some(60), Some((10, 50))), (Some(10), None)]
    {
        let sinks = vec![("rows".into(), "a folder".into(), made(0))];
        let left = left_from.map(|left| ("rows".to_string(), left)).into_iter().collect();
        let wrote = Wrote { from: 10, to: 50, goes_on: false, sinks, left_from: BTreeMap::new() }.leaving(left);
        let mut found = None;
        wrote
            .overlay(1, |_, _, change| {
                found = change(Held::default()).stretches.first().map(|(from, to, _)| (*from, *to));
                Ok(())
            })
            .unwrap();
        assert_eq!(found, expected, "{left_from:?}");
    }
}
