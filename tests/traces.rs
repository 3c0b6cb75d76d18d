//! Traces and trials of random pipelines: what the steps tell is what the oracle computes by the law alone, and all ways
//! in which a test runs agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use connectors::records::RawBuilder;
use engine::Engine;
use engine::edge::LogScan;
use engine::plan::{Plan, Work};
use engine::trace::{Event, Fate, Name};
use runtime::Settings;
use runtime::memory::{MemoryLog, Pieces};
use runtime::walk::{Visitor, walk_over};
use testkit::case::Case;
use testkit::oracle::{Answer, Cut, answer};

type Position = (usize, i32, i64);

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
                builder.push(record.offset, record.timestamp, key, record.value_bytes().as_deref(), Vec::new());
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
    /// The record whose windows are being told: step, record, whether any took it.
    open: Option<(usize, Position, i64, bool)>,
}

impl Told {
    fn settle(&mut self) {
        if let Some((step, position, _, false)) = self.open.take() {
            self.late.entry(step).or_default().push(position);
        }
    }
}

impl Visitor for Told {
    fn follows(&self) -> bool {
        true
    }

    fn event(&mut self, event: &Event<'_>) {
        if event.left_out.is_some() {
            return;
        }
        let Name::Record { source, partition, offset } = event.name else { return };
        let position = (source, partition, offset);
        let (late_by, end) = match &event.fate {
            Fate::InWindow { late_by, window, .. } => (late_by, window.end),
            Fate::InSession { late_by, .. } => (late_by, i64::MIN),
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
            Some((step, known, last, taken)) if (*step, *known) == (event.step, position) && *last < end => {
                *last = end;
                *taken |= late_by.is_none();
            }
            _ => {
                self.settle();
                self.open = Some((event.step, position, end, late_by.is_none()));
            }
        }
    }
}

/// Positions without the index of an element: a trace names records.
fn records(positions: &[testkit::oracle::Position]) -> Vec<Position> {
    positions.iter().map(|(source, partition, offset, _)| (*source, *partition, *offset)).collect()
}

fn sorted(positions: Option<&Vec<Position>>) -> Vec<Position> {
    let mut positions = positions.cloned().unwrap_or_default();
    positions.sort_unstable();
    positions
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn what_the_steps_tell_is_what_the_oracle_computes() {
    let (mut late, mut repeated) = (0, 0);
    for seed in 0..300 {
        let Some((case, plan, logs, answer)) = prepared(seed) else { continue };
        if case.pipeline.steps.iter().any(|step| step.explode.is_some()) {
            // A trace does not tell the elements of a record apart.
            continue;
        }
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
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| !step.over_windows) {
            let expected = answer.steps.iter().find(|expected| expected.name == step.name).unwrap();
            let place = format!("seed {seed}, step {}", step.name);
            assert_eq!(sorted(told.late.get(&index)), sorted(Some(&records(&expected.late))), "{place}: late");
            if step.rules.is_empty() {
                assert_eq!(
                    sorted(told.failed.get(&index)),
                    sorted(Some(&records(&expected.failed))),
                    "{place}: failed"
                );
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
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn all_ways_in_which_a_test_runs_agree_on_random_pipelines() {
    for seed in 1000..1040 {
        let Some((case, plan, logs, _)) = prepared(seed) else { continue };
        let trial = runtime::trial::run(&plan, &logs).unwrap();
        assert!(trial.disagreements.is_empty(), "seed {seed}: {:?}\n{}", trial.disagreements, case.pipeline.yaml());
    }
}
