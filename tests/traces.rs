//! Traces and trials of random pipelines: what the steps tell is what the oracle computes by the law alone, and all ways
//! in which a test runs agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use connectors::journal::Journal;
use connectors::records::RawBuilder;
use engine::Engine;
use engine::edge::LogScan;
use engine::plan::{Bindings, JoinTime, Plan, StepPlan, Work};
use engine::trace::{Event, Fate, Name};
use engine::window::Window;
use runtime::memory::{MemoryLog, Pieces};
use runtime::walk::{Visitor, walk_over};
use runtime::why::{PartName, Question, RecordName, Where, why, why_not};
use runtime::{Mode, RunOptions, Settings};
use testkit::case::Case;
use testkit::oracle::{Answer, Cut, Identity, Order, Part, Row, answer};

type Position = testkit::oracle::Position;

/// A random case whose run ends well, as plan, logs and the oracle's answer.
fn prepared(seed: u64) -> Option<(Case, Arc<Plan>, Vec<MemoryLog>, Answer)> {
    let case = Case::generate(seed);
    let answer = answer(&case.pipeline, &case.log, &Cut::default()).ok()?;
    let loaded = testkit::run::load(&case.pipeline);
    let plan = Arc::new(loaded.unwrap_or_else(|errors| panic!("{errors:?}")).observed);
    let log_of = |source: usize| {
        let read = &plan.sources[source].partitions;
        let is_read = |partition: i32| read.as_ref().is_none_or(|read| read.contains(&partition));
        let partitions = case.log.partitions.iter().filter(|log| log.source == source && is_read(log.partition));
        let raw = partitions.map(|log| {
            let mut builder = RawBuilder::new(log.partition);
            for record in &log.records {
                let key = record.key.as_ref().map(String::as_bytes);
                let (value, headers) = (record.value_bytes(), record.header_bytes());
                builder.push(record.offset, record.timestamp, key, value.as_deref(), headers);
            }
            builder.finish()
        });
        MemoryLog::new(raw.collect())
    };
    let logs = (0..plan.sources.len()).map(log_of).collect();
    Some((case, plan, logs, answer))
}

/// What the steps told.
#[derive(Default)]
struct Told {
    /// By step: records that were late for all their windows, as often as they came.
    late: BTreeMap<usize, Vec<Position>>,
    failed: BTreeMap<usize, Vec<Position>>,
    /// By step: rows that came to a `dedup`, and rows that it let through.
    dedup: BTreeMap<usize, (u64, u64)>,
    valid: u64,
    /// The record whose windows are being told: step and side, record, whether any took it.
    open: Option<((usize, usize), Position, i64, bool)>,
    /// By join: its rows, and whether each is final.
    joined: BTreeMap<usize, Vec<(Name, bool)>>,
    has_ended: bool,
}

/// What a row is made of, as far as a trace and the oracle name it alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    Record(Position),
    /// A row of a window step.
    Row(Option<(i64, i64)>),
    Joined(Option<(i64, i64)>, Box<[Option<Made>; 2]>),
}

impl Made {
    fn told(plan: &Plan, name: &Name) -> Self {
        let bounds = |window: &Window| (window.start, window.end);
        match name {
            Name::Record { source, partition, offset, index } => Made::Record((*source, *partition, *offset, *index)),
            Name::Row { window, .. } => Made::Row(Some(bounds(window))),
            Name::Joined { window, pair, .. } => {
                let pair = pair.each_ref().map(|side| side.as_ref().map(|name| Made::part(plan, name)));
                Made::Joined(window.as_ref().map(bounds), Box::new(pair))
            }
        }
    }

    /// A part of a joined row. What an as-of join made is named by its left row alone, whatever version was beside it.
    fn part(plan: &Plan, name: &Name) -> Self {
        let mut made = Made::told(plan, name);
        if let (Name::Joined { step, .. }, Made::Joined(_, pair)) = (name, &mut made)
            && matches!(&plan.steps[*step].work, Work::Join(join) if matches!(join.time, JoinTime::AsOf { .. }))
        {
            pair[1] = None;
        }
        made
    }

    /// Reads a place in the record order as the oracle writes it down.
    fn place(order: &Order) -> Self {
        let pair = |pair: &[Option<Order>; 2]| Box::new(pair.each_ref().map(|side| side.as_ref().map(Made::place)));
        match order.as_slice() {
            [_, Part::Int(source), Part::Int(partition), Part::Int(offset), Part::Int(index), Part::Path(_)] => {
                let index = (*index >= 0).then_some(*index);
                Made::Record((*source as usize, *partition as i32, *offset, index))
            }
            [Part::Int(end), Part::Int(start), Part::Path(_), Part::Key(_), Part::Pair(None)] => {
                Made::Row(Some((*start, *end)))
            }
            [Part::Int(end), Part::Int(start), Part::Path(_), Part::Key(_), Part::Pair(Some(made_of))] => {
                Made::Joined(Some((*start, *end)), pair(made_of))
            }
            [Part::Int(_), Part::Path(_), Part::Pair(Some(made_of))] => Made::Joined(None, pair(made_of)),
            other => panic!("no place in the record order: {other:?}"),
        }
    }

    fn row(row: &Row) -> Self {
        let made_of = row.made_of.as_ref().expect("a joined row is made of two");
        let pair = made_of.each_ref().map(|side| side.as_ref().map(Made::place));
        match row.identity {
            Identity::Window { start, end, .. } => Made::Joined(Some((start, end)), Box::new(pair)),
            _ => Made::Joined(None, Box::new(pair)),
        }
    }
}

impl Told {
    fn settle(&mut self) {
        if let Some(((step, _), position, _, false)) = self.open.take() {
            self.late.entry(step).or_default().push(position);
        }
    }
}

impl Visitor for Told {
    fn follows(&self) -> bool {
        true
    }

    fn ends(&mut self) {
        self.has_ended = true;
    }

    fn event(&mut self, event: &Event<'_>) {
        if event.left_out.is_some() {
            return;
        }
        if let (Name::Joined { step, .. }, Fate::Passed(_)) = (&event.name, &event.fate)
            && *step == event.step
        {
            self.joined.entry(*step).or_default().push((event.name.clone(), !self.has_ended));
        }
        let Name::Record { source, partition, offset, index } = event.name else { return };
        let position = (source, partition, offset, index);
        let (late_by, end, side) = match &event.fate {
            Fate::InWindow { late_by, window, .. } => (late_by, window.end, 0),
            Fate::InSession { late_by, .. } => (late_by, i64::MIN, 0),
            Fate::AtSide { late_by, window, side, .. } => {
                (late_by, window.map_or(i64::MIN, |window| window.end), *side)
            }
            other => {
                self.settle();
                match other {
                    Fate::Read => self.valid += 1,
                    Fate::Failed(_) => self.failed.entry(event.step).or_default().push(position),
                    Fate::Repeated(_) => self.dedup.entry(event.step).or_default().0 += 1,
                    Fate::Passed(Some(_)) => {
                        let (before, after) = self.dedup.entry(event.step).or_default();
                        (*before, *after) = (*before + 1, *after + 1);
                    }
                    _ => {}
                }
                return;
            }
        };
        // The windows of a record come by their ends; the same record may come again by another way of a union.
        match &mut self.open {
            Some((place, known, last, taken)) if (*place, *known) == ((event.step, side), position) && *last < end => {
                *last = end;
                *taken |= late_by.is_none();
            }
            _ => {
                self.settle();
                self.open = Some(((event.step, side), position, end, late_by.is_none()));
            }
        }
    }
}

fn sorted<T: Clone + Ord>(positions: Option<&Vec<T>>) -> Vec<T> {
    let mut positions = positions.cloned().unwrap_or_default();
    positions.sort_unstable();
    positions
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn what_the_steps_tell_is_what_the_oracle_computes() {
    let (mut late, mut repeated, mut late_at_joins, mut elements) = (0, 0, 0, 0);
    let mut joined = [0; 3];
    for seed in 0..300 {
        let Some((_, plan, logs, answer)) = prepared(seed) else { continue };
        let pieces = Pieces { seed, size: [1, 7, 64, usize::MAX][seed as usize % 4] };
        let scan = |(log, source)| -> Option<Arc<dyn LogScan>> {
            Some(Arc::new(MemoryLog::scan(log, source, pieces).unwrap()))
        };
        let scans = logs.iter().zip(&plan.sources).map(scan).collect();
        let mut told = Told::default();
        let walked =
            walk_over(&Engine::new(plan.clone()), scans, (None, None), &Settings::default(), &mut told).unwrap();
        told.settle();
        assert_eq!(walked.records, answer.rows_read, "seed {seed}");
        assert_eq!(told.valid, answer.rows_read - answer.bad.len() as u64, "seed {seed}");
        for (index, step) in plan.steps.iter().enumerate() {
            let expected = answer.steps.iter().find(|expected| expected.name == step.name).unwrap();
            let place = format!("seed {seed}, step {}", step.name);
            if let Work::Join(join) = &step.work {
                let rows: Vec<_> = expected.rows.iter().map(|row| (Made::row(row), row.is_final)).collect();
                let made = |(name, is_final): &(Name, bool)| (Made::told(&plan, name), *is_final);
                let told: Vec<_> = told.joined.get(&index).into_iter().flatten().map(made).collect();
                assert_eq!(sorted(Some(&told)), sorted(Some(&rows)), "{place}: joined");
                late_at_joins += expected.late.len();
                joined[match join.time {
                    JoinTime::Window(_) => 0,
                    JoinTime::Within { .. } => 1,
                    JoinTime::AsOf { .. } => 2,
                }] += rows.len();
            }
            elements += expected.late.iter().filter(|(.., index)| index.is_some()).count();
            assert_eq!(sorted(told.late.get(&index)), sorted(Some(&expected.late)), "{place}: late");
            if step.rules.is_empty() && !step.over_windows {
                assert_eq!(sorted(told.failed.get(&index)), sorted(Some(&expected.failed)), "{place}: failed");
            }
            if matches!(step.work, Work::Dedup(_)) {
                let found = told.dedup.get(&index).copied().unwrap_or_default();
                assert_eq!(found, expected.dedup.unwrap(), "{place}: dedup");
                repeated += found.0 - found.1;
            }
            late += expected.late.len();
        }
    }
    assert!(late > 100 && repeated > 10, "{late} late and {repeated} repeated records show nothing");
    assert!(late_at_joins > 50 && elements > 50, "{late_at_joins} rows late at joins and {elements} elements");
    assert!(joined.iter().all(|rows| *rows > 100), "{joined:?} rows of window, interval and as-of joins");
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn all_ways_in_which_a_test_runs_agree_on_random_pipelines() {
    for seed in 1000..1040 {
        let Some((case, plan, logs, _)) = prepared(seed) else { continue };
        let trial = runtime::trial::run(&plan, &logs);
        assert!(trial.failures.is_empty(), "seed {seed}: {:?}", trial.failures);
        assert!(trial.disagreements.is_empty(), "seed {seed}: {:?}\n{}", trial.disagreements, case.pipeline.yaml());
    }
}

/// Returns the plan with the case's logs as journals.
fn in_journals(case: &Case, plan: &Plan, folder: &Path) -> Arc<Plan> {
    let mut plan = plan.clone();
    for (index, source) in plan.sources.iter_mut().enumerate() {
        let logs: Vec<_> = case.log.partitions.iter().filter(|log| log.source == index).collect();
        let count = logs.iter().map(|log| log.partition + 1).max().unwrap_or(1);
        let path = folder.join(&source.name);
        let mut writer = Journal::create(&path, count as u32).unwrap().writer().unwrap();
        for log in &logs {
            for record in &log.records {
                let (key, value) = (record.key.as_ref().map(String::as_bytes), record.value_bytes());
                let (value, headers) = (value.as_deref(), record.header_bytes());
                writer.append_at(record.offset, log.partition, record.timestamp, key, value, &headers).unwrap();
            }
            writer.advance(log.partition, log.end).unwrap();
        }
        writer.commit().unwrap();
        // The journal has partitions that the case's log does not have.
        let mut partitions: Vec<i32> = logs.iter().map(|log| log.partition).collect();
        partitions.sort_unstable();
        source.partitions.get_or_insert(partitions);
        source.bindings = Bindings { journal: Some(path.display().to_string()), ..Bindings::default() };
    }
    Arc::new(plan)
}

/// A partner of a record: its own index, the partner, the window, whether the row is final.
type Partner = (Option<i64>, Option<Position>, Option<(i64, i64)>, bool);

fn position_of(plan: &Plan, name: &PartName) -> Position {
    let PartName::Record { source, partition, offset, index } = name else { panic!("{name} is no record") };
    let source = plan.sources.iter().position(|known| known.name == *source).unwrap();
    (source, *partition, *offset, *index)
}

/// `why` and `why-not` say of records what the oracle says of them, for every join of records.
#[cfg(not(feature = "planted-fault"))]
#[test]
fn what_is_said_of_a_record_at_joins_is_what_the_oracle_computes() {
    let options = RunOptions::new(Mode::Batch);
    let (mut asked, mut partners, mut late, mut unmet) = (0, 0, 0, 0);
    for seed in 0..200 {
        let Some((case, plan, _, answer)) = prepared(seed) else { continue };
        let is_asked = |step: &StepPlan| match &step.work {
            Work::Join(join) => join.sides.iter().all(|side| side.are_records),
            _ => false,
        };
        if !plan.steps.iter().any(is_asked) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let plan = in_journals(&case, &plan, folder.path());
        for step in plan.steps.iter().filter(|step| is_asked(step)) {
            let Work::Join(join) = &step.work else { unreachable!("it is a join") };
            let expected = answer.steps.iter().find(|expected| expected.name == step.name).unwrap();
            let pairs = expected.rows.iter().map(|row| {
                let Made::Joined(window, pair) = Made::row(row) else { unreachable!("it is a row of a join") };
                let side = |side: &Option<Made>| match side {
                    Some(Made::Record(position)) => Some(*position),
                    None => None,
                    Some(other) => panic!("{other:?} is no record"),
                };
                (pair.each_ref().map(side), window, row.is_final)
            });
            let pairs: Vec<([Option<Position>; 2], _, _)> = pairs.collect();
            let joined = pairs.iter().step_by(pairs.len() / 3 + 1).flat_map(|(pair, ..)| pair.iter().flatten());
            let records: BTreeSet<_> =
                joined.chain(expected.late.iter().take(2)).map(|(s, p, o, _)| (*s, *p, *o)).collect();
            for record in records {
                let place = format!("seed {seed}, step {}, record {record:?}", step.name);
                let is_it = |position: &Position| (position.0, position.1, position.2) == record;
                let (source, partition, offset) = record;
                let course = why_not(&plan, source, (partition, offset), &options).unwrap();
                let stops =
                    course.steps.iter().find(|(name, _)| *name == step.name).map_or(&[][..], |(_, stops)| stops);
                let (mut told, mut late_told): (Vec<Partner>, _) = (Vec::new(), 0);
                for stop in stops {
                    let index = stop.row.as_ref().and_then(|row| position_of(&plan, row).3);
                    match &stop.went {
                        Where::Joined { with, window, is_final } => {
                            let window = window.map(|window| (window.start, window.end));
                            told.push((index, with.as_ref().map(|with| position_of(&plan, with)), window, *is_final));
                        }
                        Where::Late { .. } => late_told += 1,
                        Where::Out(_) => unmet += 1,
                        other => panic!("{place}: {other:?}"),
                    }
                }
                let of_pair = |(pair, window, is_final): &([Option<Position>; 2], _, bool)| -> Vec<Partner> {
                    let sides = (0..2).filter(|side| pair[*side].as_ref().is_some_and(is_it));
                    sides.map(|side| (pair[side].unwrap().3, pair[1 - side], *window, *is_final)).collect()
                };
                let wanted: Vec<Partner> = pairs.iter().flat_map(of_pair).collect();
                assert_eq!(sorted(Some(&told)), sorted(Some(&wanted)), "{place}: joined");
                (asked, partners) = (asked + 1, partners + wanted.len());
                if matches!(join.time, JoinTime::Window(_)) {
                    continue;
                }
                let late_wanted = expected.late.iter().filter(|position| is_it(position)).count();
                assert_eq!(late_told, late_wanted, "{place}: late");
                late += late_wanted;
                let source = Some(plan.sources[source].name.clone());
                let question = Question {
                    step: step.name.clone(),
                    record: Some(RecordName { source, partition, offset }),
                    ..Question::default()
                };
                let found = why(&plan, &question, &options).unwrap();
                let rows = found.rows.iter().filter(|row| row.dropped.is_none()).map(|row| {
                    let sides = row.sides.as_ref().unwrap().each_ref();
                    (sides.map(|side| side.as_ref().map(|side| position_of(&plan, side))), row.is_final)
                });
                let holds = |(pair, ..): &&([Option<Position>; 2], _, bool)| pair.iter().flatten().any(is_it);
                let wanted = pairs.iter().filter(holds).map(|(pair, _, is_final)| (*pair, *is_final));
                assert_eq!(sorted(Some(&rows.collect())), sorted(Some(&wanted.collect())), "{place}: rows");
                // Whatever came of the record and is in no row has its reason.
                let told: usize = [&found.taken, &found.left]
                    .iter()
                    .flat_map(|parts| parts.iter())
                    .filter(|part| is_it(&position_of(&plan, &part.name)))
                    .count();
                assert!(told > 0, "{place}: not told");
                assert!(found.left.iter().all(|part| part.reason.is_some()), "{place}: no reason");
            }
        }
    }
    assert!(asked > 100 && partners > 300 && late > 20 && unmet > 10, "{asked} {partners} {late} {unmet} show nothing");
}
