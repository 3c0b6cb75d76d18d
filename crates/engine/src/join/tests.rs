//! Joins in many small closings, against every row of one side held against every row of the other; and what they hold.
//!
//! In tests a few rows make a batch and a few dead ones are worth giving back, so all of that is reached here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;

use super::JoinState;
use crate::law_tests::{Chance, Kept};
use crate::log::{BadRow, Chunk, NULL_VALUE};
use crate::plan::*;
use crate::watermark::{NEVER, watermark};
use crate::window::Windowing;
use crate::{DataType, Emission, Engine, Field, Schema};

/// How far the records of each source are out of order.
const BOUNDS: [i64; 2] = [7, 3];

fn source(name: &str, out_of_orderness: i64) -> SourcePlan {
    let column = |name: &str, data_type| ColumnPlan {
        field: Field::new(name, data_type),
        from: ValueFrom::Path(vec![name.into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    };
    SourcePlan {
        name: name.into(),
        columns: vec![column("key", DataType::String), column("x", DataType::Int64), column("at", DataType::Timestamp)],
        format: "json".into(),
        event_time: "at".into(),
        out_of_orderness,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
        needed: vec!["key".into(), "x".into(), "at".into()],
        tombstones: false,
    }
}

fn plan(kind: JoinKind, time: JoinTime) -> Arc<Plan> {
    let sources = vec![source("left", BOUNDS[0]), source("right", BOUNDS[1])];
    let side = |number: usize| JoinSide {
        input: Input::Source(number),
        sources: vec![number],
        are_records: true,
        schema: sources[number].schema(),
        read: vec!["key".into(), "x".into()],
    };
    let column = |name: &str, data_type, value| JoinColumn { field: Field::new(name, data_type), value };
    let columns = vec![
        column("key", DataType::String, JoinValue::Key(0)),
        column("l", DataType::Int64, JoinValue::Side(0, "x".into())),
        column("r", DataType::Int64, JoinValue::Side(1, "x".into())),
    ];
    let schema = Schema::new(columns.iter().map(|column| column.field.clone()).collect());
    let join = JoinPlan {
        sides: [side(0), side(1)],
        kind,
        on: vec![JoinKey { names: ["key".into(), "key".into()], data_type: DataType::String }],
        time,
        columns,
    };
    let step = StepPlan {
        name: "j".into(),
        inputs: vec![Input::Source(0), Input::Source(1)],
        sources: vec![0, 1],
        over_windows: true,
        tag: None,
        rows: RowWork::default(),
        rules: Vec::new(),
        row_schema: schema.clone(),
        schema,
        work: Work::Join(Box::new(join)),
    };
    let (definition, canonical) = Default::default();
    Arc::new(Plan { name: "joins".into(), sources, steps: vec![step], sinks: Vec::new(), definition, canonical })
}

/// A record: key, number, event time.
#[derive(Clone, Debug)]
struct Record(Option<String>, i64, i64);

/// By source and partition.
type Log = [Vec<Vec<Record>>; 2];

fn log(chance: &mut Chance) -> Log {
    let mut number = 0;
    [0, 1].map(|_| {
        let partitions = 0..1 + chance.below(2);
        partitions
            .map(|_| {
                let mut clock = 0;
                let records = 0..150 + chance.below(50);
                records
                    .map(|_| {
                        clock += chance.below(5) as i64;
                        number += 1;
                        // New keys come and old ones go.
                        let key = format!("{} key {}", clock / 60, chance.below(6));
                        Record((chance.below(20) > 0).then_some(key), number, clock - chance.below(12) as i64)
                    })
                    .collect()
            })
            .collect()
    })
}

/// Which records of a right side that keeps tombstones have no value.
fn is_tombstone(record: &Record) -> bool {
    record.1 % 4 == 0
}

fn chunk(partition: usize, first: usize, records: &[Record], tombstones: bool) -> Chunk {
    let bad = records.iter().zip(0..).filter(|(record, _)| tombstones && is_tombstone(record));
    let bad = bad.map(|(_, row)| BadRow { row, reason: NULL_VALUE.into(), raw: None });
    let keys: ArrayRef = Arc::new(records.iter().map(|record| record.0.clone()).collect::<StringArray>());
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.1)));
    let times = TimestampMicrosecondArray::from_iter_values(records.iter().map(|record| record.2));
    let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
    let columns = [("key", keys, true), ("x", numbers, true), ("at", times, true)];
    Chunk {
        partition: partition as i32,
        offsets: Int64Array::from_iter_values((first..first + records.len()).map(|offset| offset as i64)),
        timestamps: None,
        columns: RecordBatch::try_from_iter_with_nullable(columns).unwrap(),
        bad: bad.collect(),
        raw: None,
    }
}

/// A joined row: left number, right number, event time, final.
type Found = (Option<i64>, Option<i64>, i64, bool);

fn rows(emissions: &[Emission]) -> Vec<Found> {
    let mut found = Vec::new();
    for emission in emissions {
        let number = |name: &str, row: usize| {
            let column = emission.rows.column_by_name(name).unwrap().as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        assert!(emission.rows.num_rows() <= crate::close::EMISSION_ROWS, "{}", emission.rows.num_rows());
        let all = (0..emission.rows.num_rows())
            .map(|row| (number("l", row), number("r", row), emission.times[row], emission.is_final));
        found.extend(all);
    }
    found
}

/// Folds chunks of chance sizes, interleaved by chance, and closes now and then. Returns the rows, and the most rows that
/// the join held in the second half.
fn run(plan: &Arc<Plan>, log: &Log, chance: &mut Chance) -> (Vec<Found>, usize) {
    let mut engine = Engine::new(plan.clone());
    let mut state = engine.empty();
    let mut places: Vec<(usize, usize, usize, i64)> = Vec::new();
    for (source, partitions) in log.iter().enumerate() {
        places.extend((0..partitions.len()).map(|partition| (source, partition, 0, NEVER)));
    }
    let mut found = Vec::new();
    let (mut most_held, mut kept) = (0, Kept::default());
    loop {
        let is_open = |at: &(usize, usize, usize, i64)| at.2 < log[at.0][at.1].len();
        let open: Vec<usize> = (0..places.len()).filter(|place| is_open(&places[*place])).collect();
        if open.is_empty() {
            break;
        }
        // The partition that is behind comes first, mostly: else everything is held until the end.
        let least = *open.iter().min_by_key(|place| places[**place].3).unwrap();
        let place = if chance.below(4) > 0 { least } else { open[chance.below(open.len() as u64) as usize] };
        let (source, partition, next, maximum) = places[place];
        let records = &log[source][partition];
        let count = (1 + chance.below(12) as usize).min(records.len() - next);
        let mut partial = engine.empty();
        let chunk = chunk(partition, next, &records[next..next + count], plan.sources[source].tombstones);
        let folded = engine.fold(source, &chunk, maximum, &mut partial);
        // Merging is commutative: now and then the grown state joins the new one.
        if chance.below(2) == 0 {
            std::mem::swap(&mut state, &mut partial);
        }
        engine.merge(&mut state, partial);
        places[place] = (source, partition, next + count, folded.maximum);
        if chance.below(3) == 0 {
            found.extend(rows(&engine.close(&frontiers(&places), &mut state).unwrap().emissions));
            kept.pass(&mut engine, &mut state, chance);
            let held = match state.joins[0].as_ref().unwrap() {
                JoinState::Interval(state) => state.held_rows(),
                JoinState::AsOf(state) => state.held_rows(),
                JoinState::Window(_) => 0,
            };
            if places.iter().all(|at| 2 * at.2 > log[at.0][at.1].len()) {
                most_held = most_held.max(held);
            }
        }
    }
    found.extend(rows(&engine.close(&frontiers(&places), &mut state).unwrap().emissions));
    let copy = engine.finish(engine.copy(&state)).unwrap();
    let end = engine.finish(state).unwrap();
    assert_eq!(rows(&copy.emissions), rows(&end.emissions), "a copy gives what the state itself gives");
    found.extend(rows(&end.emissions));
    (found, most_held)
}

fn frontiers(places: &[(usize, usize, usize, i64)]) -> Vec<i64> {
    let of = |source: usize| {
        let own = places.iter().filter(|at| at.0 == source);
        own.map(|at| watermark(at.3, BOUNDS[source])).min().unwrap()
    };
    vec![of(0), of(1)]
}

/// The accepted records of a source, each with its partition, and `G` after all.
fn accepted(log: &Log, source: usize, by_window: Option<i64>) -> (Vec<(usize, Record)>, i64) {
    let mut accepted = Vec::new();
    let mut least = i64::MAX;
    for (partition, records) in log[source].iter().enumerate() {
        let mut maximum = NEVER;
        for record in records {
            let mark = watermark(maximum, BOUNDS[source]);
            let is_late = match by_window {
                Some(size) => mark != NEVER && record.2.div_euclid(size) * size + size <= mark,
                None => mark != NEVER && record.2 < mark,
            };
            if !is_late {
                accepted.push((partition, record.clone()));
            }
            maximum = maximum.max(record.2);
        }
        least = least.min(watermark(maximum, BOUNDS[source]));
    }
    (accepted, least)
}

/// Every row of one side against every row of the other.
fn by_definition(kind: JoinKind, time: JoinTime, log: &Log, tombstones: bool) -> Vec<Found> {
    let size = match time {
        JoinTime::Window(Windowing::Fixed { size, .. }) => Some(size),
        _ => None,
    };
    let [(left, left_bound), (right, right_bound)] = [0, 1].map(|source| accepted(log, source, size));
    let is_pair = |l: &Record, r: &Record| {
        l.0.is_some()
            && l.0 == r.0
            && match time {
                JoinTime::Window(_) => l.2.div_euclid(size.unwrap()) == r.2.div_euclid(size.unwrap()),
                JoinTime::Within { before, after } => l.2 - before <= r.2 && r.2 <= l.2 + after,
                JoinTime::AsOf { max_age } => r.2 <= l.2 && max_age.is_none_or(|age| l.2 - r.2 <= age),
            }
    };
    let mut found = Vec::new();
    for (_, l) in &left {
        let pairs = right.iter().filter(|(_, r)| is_pair(l, r));
        let pairs: Vec<&(usize, Record)> = match time {
            // The numbers of a source grow with partition and offset.
            JoinTime::AsOf { max_age } => {
                let valid = right.iter().filter(|(_, r)| l.0.is_some() && l.0 == r.0 && r.2 <= l.2);
                let last = valid.max_by_key(|(partition, r)| (r.2, *partition, r.1));
                let last = last.filter(|(_, r)| !(tombstones && is_tombstone(r)));
                last.filter(|(_, r)| max_age.is_none_or(|age| l.2 - r.2 <= age)).into_iter().collect()
            }
            _ => pairs.collect(),
        };
        let end = |at: i64| size.map_or(at, |size| at.div_euclid(size) * size + size - 1);
        let is_final = match time {
            JoinTime::Window(_) => left_bound.min(right_bound) > end(l.2),
            JoinTime::Within { .. } => true,
            JoinTime::AsOf { .. } => right_bound > l.2,
        };
        for (_, r) in &pairs {
            let time = match time {
                JoinTime::Window(_) => end(l.2),
                JoinTime::Within { .. } => l.2.max(r.2),
                JoinTime::AsOf { .. } => l.2,
            };
            found.push((Some(l.1), Some(r.1), time, is_final));
        }
        if pairs.is_empty() && kind.keeps(0) {
            let is_final = match time {
                JoinTime::Within { after, .. } => right_bound > l.2 + after,
                _ => is_final,
            };
            found.push((Some(l.1), None, end(l.2), is_final));
        }
    }
    for (_, r) in right.iter().filter(|(_, r)| kind.keeps(1) && !left.iter().any(|(_, l)| is_pair(l, r))) {
        let end = size.map_or(r.2, |size| r.2.div_euclid(size) * size + size - 1);
        let is_final = match time {
            JoinTime::Within { before, .. } => left_bound > r.2 + before,
            _ => left_bound.min(right_bound) > end,
        };
        found.push((None, Some(r.1), end, is_final));
    }
    found
}

const SHORT: Windowing = Windowing::Fixed { size: 20, every: 20, offset: 0 };

#[test]
fn joins_find_what_the_definition_says_however_they_are_closed() {
    let mut kinds = Vec::new();
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full] {
        kinds.push((kind, JoinTime::Window(SHORT)));
        kinds.push((kind, JoinTime::Within { before: 9, after: 4 }));
        kinds.push((kind, JoinTime::Within { before: 0, after: 2 }));
    }
    for kind in [JoinKind::Inner, JoinKind::Left] {
        kinds.push((kind, JoinTime::AsOf { max_age: None }));
        kinds.push((kind, JoinTime::AsOf { max_age: Some(15) }));
    }
    for seed in 1..9 {
        let mut chance = Chance(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let log = log(&mut chance);
        for (kind, time) in &kinds {
            let (mut found, most_held) = run(&plan(*kind, *time), &log, &mut chance);
            let mut must = by_definition(*kind, *time, &log, false);
            found.sort_unstable();
            must.sort_unstable();
            assert_eq!(found, must, "seed {seed}, {kind:?}, {time:?}");
            assert!(found.iter().any(|row| row.3), "seed {seed}, {kind:?}, {time:?}: no row is final");
            // Without giving back, nearly all rows would be held in the end.
            let all: usize = log.iter().flatten().map(Vec::len).sum();
            assert!(most_held * 4 < all * 3, "seed {seed}, {kind:?}, {time:?}: {most_held} of {all} rows are held");
        }
    }
}

/// The plan where records of the right side may have no value.
fn with_tombstones(kind: JoinKind, max_age: Option<i64>) -> Arc<Plan> {
    let mut plan = Arc::unwrap_or_clone(plan(kind, JoinTime::AsOf { max_age }));
    plan.sources[1].tombstones = true;
    Arc::new(plan)
}

#[test]
fn a_record_without_a_value_ends_the_version_before_it() {
    for seed in 1..9 {
        let mut chance = Chance(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let log = log(&mut chance);
        for (kind, max_age) in [(JoinKind::Inner, None), (JoinKind::Left, None), (JoinKind::Left, Some(15))] {
            let (mut found, _) = run(&with_tombstones(kind, max_age), &log, &mut chance);
            let mut must = by_definition(kind, JoinTime::AsOf { max_age }, &log, true);
            found.sort_unstable();
            must.sort_unstable();
            assert_eq!(found, must, "seed {seed}, {kind:?}, {max_age:?}");
            let mut without = by_definition(kind, JoinTime::AsOf { max_age }, &log, false);
            without.sort_unstable();
            assert_ne!(must, without, "seed {seed}, {kind:?}, {max_age:?}: nothing was ended");
        }
    }
}

#[test]
fn keys_that_are_gone_for_good_are_not_held() {
    let mut chance = Chance(5);
    let mut log = log(&mut chance);
    // Every right record is a tombstone, each of a key of its own.
    for (i, record) in log[1].iter_mut().flatten().enumerate() {
        (record.0, record.1) = (Some(format!("gone {i}")), 4 * i as i64);
    }
    log[0].iter_mut().flatten().for_each(|record| record.0 = None);
    let (_, most_held) = run(&with_tombstones(JoinKind::Inner, None), &log, &mut chance);
    let all = log[1].iter().map(Vec::len).sum::<usize>();
    assert!(most_held * 4 < all, "{most_held} of {all} rows are held");
}

#[test]
fn rows_of_a_window_come_in_canonical_order() {
    let mut chance = Chance(77);
    let log = log(&mut chance);
    let (found, _) = run(&plan(JoinKind::Full, JoinTime::Window(SHORT)), &log, &mut chance);
    let finals: Vec<i64> = found.iter().filter(|row| row.3).map(|row| row.2).collect();
    assert!(finals.is_sorted(), "windows come by their ends");
    // The same rows in the same order, however the log was cut.
    let (again, _) = run(&plan(JoinKind::Full, JoinTime::Window(SHORT)), &log, &mut chance);
    assert_eq!(found, again);
}
