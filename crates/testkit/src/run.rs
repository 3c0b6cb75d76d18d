//! Runs a case through the real thing, in either mode, and gathers what comes out as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::plan::{Input, Plan, SinkPlan, StepPlan};
use engine::{Aside, Emission, Engine, Error, Identity, Result};
use runtime::checkpoint::Checkpoint;
use runtime::checkpoint::store::{Memory, Store};
use runtime::spill::{Budget, SpillCounts};
use runtime::stream::{Begin, Until};
use runtime::{Outcome, Outlet, Settings};

use crate::case::expr::Column;
use crate::case::{Case, Pipeline, Source};
use crate::crash;
use crate::memory::{MemoryScan, MemoryStream};
use crate::oracle::{Cut, Digests, Place, Position};
use crate::random::Random;
use crate::rows;
use crate::value::Value;

/// How a run goes about it. Nothing of this may change a result.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Which driver.
    pub mode: Mode,
    /// Decides interleaving, sizes, and what the log says about itself.
    pub seed: u64,
    /// Records at once; None: another number each time.
    pub size: Option<usize>,
    /// How many bytes the state may take before windows leave it.
    pub spill_above: Option<usize>,
}

/// Which driver, and its own settings.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Records as they come.
    Stream {
        /// How often it closes, in milliseconds.
        close_every_ms: u64,
        /// How far partitions may run apart, in microseconds.
        max_drift: i64,
    },
    /// Records as they come, by a process that crashes and goes on from its checkpoints.
    Crashing {
        /// How often.
        crashes: usize,
        /// How far partitions may run apart, in microseconds.
        max_drift: i64,
        /// Whether checkpoints forget what lies outside of the state: a planted fault.
        forgets: bool,
    },
    /// The beginning of the log read as a lake, then records as they come, by a process that crashes as above.
    Handover {
        /// How often.
        crashes: usize,
        /// How many threads read the lake.
        threads: usize,
        /// How far partitions may run apart, in microseconds.
        max_drift: i64,
    },
    /// The log read to its end.
    Batch {
        /// How many threads.
        threads: usize,
    },
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Found {
    /// One for each step.
    pub steps: Vec<FoundStep>,
    /// Bad records.
    pub bad: Vec<Position>,
    /// `rows_read`, `rows_bad`, `rows_failed`, `rows_late`.
    pub counts: [u64; 4],
    /// The running maximum of each partition; None is −∞.
    pub maxima: BTreeMap<Place, Option<i64>>,
    /// The digests as printed.
    pub digests: Digests,
    /// The offsets `[start, end)` that were read, where the run may leave some unread.
    pub read: Option<Vec<(Place, i64, i64)>>,
    /// How much left the state and came back.
    pub spilled: SpillCounts,
    /// Whether a run went on from a checkpoint that had pieces of windows.
    pub had_pieces: bool,
}

/// What came out of a step.
#[derive(Clone, Debug, Default)]
pub struct FoundStep {
    /// The step's name.
    pub name: String,
    /// The columns of its rows; None when no rows came.
    pub columns: Option<Vec<Column>>,
    /// Final rows in the order in which they came.
    pub finals: Vec<Vec<Value>>,
    /// Open rows in the order in which they came.
    pub open: Vec<Vec<Value>>,
    /// Late records.
    pub late: Vec<Position>,
    /// Records that failed.
    pub failed: Vec<Position>,
    /// How many window rows failed.
    pub failed_window_rows: u64,
    /// For each rule, how many rows were held against it, and how many broke it.
    pub checks: Vec<(String, u64, u64)>,
    /// How many rows came to its `dedup`, and how many were let through.
    pub dedup: Option<(u64, u64)>,
    /// What its second sink holds, final rows and open ones.
    pub part: [Vec<Vec<Value>>; 2],
    /// What was wrong with the way in which rows came.
    pub oddities: Vec<String>,
    /// When the last of the final windows begins that brought a row.
    last_start: Option<i64>,
}

/// Reads a pipeline by way of its file, beside the tables that it looks values up in.
pub fn load(pipeline: &Pipeline) -> std::result::Result<pipeline::Loaded, Vec<Error>> {
    let failed = |error| vec![Error::io("cannot write a table", error)];
    let tables = tempfile::tempdir().map_err(failed)?;
    for step in &pipeline.steps {
        if let Some(lookup) = &step.lookup {
            let path = tables.path().join(format!("{}.csv", step.name));
            std::fs::write(path, lookup.csv()).map_err(failed)?;
        }
    }
    let variables = pipeline::Variables::default().set("TABLES", tables.path().display().to_string());
    pipeline::load("random.yaml", &pipeline.yaml(), &variables)
}

/// Returns the plan of a pipeline, by way of its file.
pub fn plan(pipeline: &Pipeline) -> std::result::Result<Arc<Plan>, String> {
    match load(pipeline) {
        Ok(loaded) => Ok(Arc::new(loaded.plan)),
        Err(errors) => Err(errors.iter().map(Error::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// Runs a case over a part of its log; rows outside of the range `[from, to)` are left away.
pub fn run(
    case: &Case,
    engine: &Engine,
    cut: &Cut,
    range: (Option<i64>, Option<i64>),
    schedule: &Schedule,
) -> Result<Found> {
    let store = Memory::default();
    run_on(case, engine, cut, range, schedule, &|| Box::new(store.clone()))
}

/// The same with checkpoints in a store of the caller's, which is opened anew by each process that crashes.
pub fn run_on(
    case: &Case,
    engine: &Engine,
    cut: &Cut,
    range: (Option<i64>, Option<i64>),
    schedule: &Schedule,
    stores: &dyn Fn() -> Box<dyn Store>,
) -> Result<Found> {
    let mut settings =
        Settings { range, allow_empty: true, poll_records: schedule.size.unwrap_or(4096), ..Settings::default() };
    settings.memory = schedule.spill_above.map(|spill_above| Budget {
        bytes: u64::MAX,
        spill_above,
        stop_above: usize::MAX,
        scratch: None,
    });
    let sources = &case.pipeline.sources;
    let mut had_pieces = false;
    let start = named(sources, &cut.start);
    let end = named(sources, &cut.end);
    let mut gathered = Gathered::new(engine.plan());
    let mut scans: Vec<Arc<MemoryScan>> = Vec::new();
    let streams = || -> Vec<Option<Box<dyn engine::edge::LogStream>>> {
        let seed = |source: usize| schedule.seed.wrapping_add(source as u64);
        let stream = |source| MemoryStream::new(case, source, seed(source), schedule.size);
        (0..sources.len()).map(|source| Some(Box::new(stream(source)) as _)).collect()
    };
    let outcome = match schedule.mode {
        Mode::Crashing { crashes, max_drift, forgets } => {
            (settings.close_every, settings.checkpoint_every) = (Duration::ZERO, Duration::from_nanos(1));
            (settings.max_drift, settings.compares) = (max_drift, true);
            let until = end.map_or(Until::CaughtUp, Until::Cut);
            let mut random = Random::new(schedule.seed);
            let cuts = (start.as_ref(), &until);
            let often = (crashes, forgets);
            let crashed = crash::run(engine, streams, (None, stores), cuts, often, &mut random, &settings)?;
            (gathered, had_pieces) = (crashed.published, crashed.had_pieces);
            crashed.outcome
        }
        Mode::Handover { crashes, threads, max_drift } => {
            (settings.close_every, settings.checkpoint_every) = (Duration::ZERO, Duration::from_nanos(1));
            (settings.max_drift, settings.threads) = (max_drift, threads);
            let until = end.map_or(Until::CaughtUp, Until::Cut);
            let mut random = Random::new(schedule.seed);
            let lake = named(sources, &lake_end(case, cut, &mut random));
            let mut lakes = Vec::new();
            for (source, plan) in engine.plan().sources.iter().enumerate() {
                let scan = MemoryScan::new(case, source, plan, random.bits(), schedule.size)?;
                lakes.push(Some(Arc::new(scan) as Arc<dyn engine::edge::LogScan>));
            }
            let (cuts, often, lake) = ((start.as_ref(), &until), (crashes, false), Some((lakes.as_slice(), lake)));
            let crashed = crash::run(engine, streams, (lake, stores), cuts, often, &mut random, &settings)?;
            (gathered, had_pieces) = (crashed.published, crashed.had_pieces);
            crashed.outcome
        }
        Mode::Stream { close_every_ms, max_drift } => {
            settings.close_every = Duration::from_millis(close_every_ms);
            settings.checkpoint_every = Duration::from_millis(close_every_ms);
            settings.max_drift = max_drift;
            let until = end.map_or(Until::CaughtUp, Until::Cut);
            let begin = start.as_ref().map_or(Begin::First, Begin::Cut);
            runtime::stream::run(engine, streams(), begin, &until, &mut gathered, &settings, &())?
        }
        Mode::Batch { threads } => {
            settings.threads = threads;
            for (source, plan) in engine.plan().sources.iter().enumerate() {
                let seed = schedule.seed.wrapping_add(source as u64);
                scans.push(Arc::new(MemoryScan::new(case, source, plan, seed, schedule.size)?));
            }
            let scan = |scan: &Arc<MemoryScan>| Some(scan.clone() as Arc<dyn engine::edge::LogScan>);
            let scans: Vec<_> = scans.iter().map(scan).collect();
            runtime::batch::run(engine, &scans, (start.as_ref(), end.as_ref()), &mut gathered, &settings, &())?
        }
    };
    let partitions: usize = scans.iter().map(|scan| scan.partition_count()).sum();
    scans.iter().for_each(|scan| scan.check_announced(partitions == 1));
    let mut found = gathered.found(&outcome);
    found.had_pieces = had_pieces;
    if !scans.is_empty() {
        let loaded = scans.iter().enumerate().flat_map(|(source, scan)| {
            scan.loaded().into_iter().map(move |(partition, start, end)| ((source, partition), start, end))
        });
        found.read = Some(loaded.collect());
    }
    Ok(found)
}

/// Returns where a lake ends that holds the beginning of what is read: sometimes nothing of a partition, sometimes all.
fn lake_end(case: &Case, cut: &Cut, random: &mut Random) -> BTreeMap<Place, i64> {
    let mut ends = BTreeMap::new();
    for partition in &case.log.partitions {
        let place = (partition.source, partition.partition);
        if case.pipeline.sources[partition.source].reads(partition.partition) {
            let low = cut.start.get(&place).copied().unwrap_or(partition.start);
            let high = cut.end.get(&place).copied().unwrap_or(partition.end);
            let end = match random.below(6) {
                0 => low,
                1 => high,
                _ => random.between(low, high),
            };
            ends.insert(place, end);
        }
    }
    ends
}

fn named(sources: &[Source], offsets: &BTreeMap<Place, i64>) -> Option<runtime::Cut> {
    let mut cut = runtime::Cut::new();
    for ((source, partition), offset) in offsets {
        cut.entry(sources[*source].name.clone()).or_default().insert(*partition, *offset);
    }
    (!cut.is_empty()).then_some(cut)
}

/// What came out so far.
pub(crate) struct Gathered {
    steps: Vec<FoundStep>,
    bad: Vec<Position>,
    /// The sinks that take a part of a step's rows.
    parts: Vec<SinkPlan>,
    /// By step, until which window start all rows were said to be there.
    settled: Vec<i64>,
}

impl Gathered {
    /// Makes it for a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let of_step = |step: &StepPlan| FoundStep { name: step.name.clone(), ..FoundStep::default() };
        let parts = plan.sinks.iter().filter(|sink| sink.name.starts_with("part_")).cloned().collect();
        Self { steps: plan.steps.iter().map(of_step).collect(), bad: Vec::new(), parts, settled: Vec::new() }
    }

    /// Takes in what came out after it; its open rows take the place of those before.
    pub(crate) fn follow(&mut self, next: Self) {
        for (mine, next) in self.steps.iter_mut().zip(next.steps) {
            match (&mine.columns, &next.columns) {
                (Some(before), Some(after)) if before != after => {
                    mine.oddities.push(format!("columns {before:?}, then {after:?}"));
                }
                (None, Some(_)) => mine.columns = next.columns,
                _ => {}
            }
            mine.finals.extend(next.finals);
            mine.open = next.open;
            let [finals, open] = next.part;
            mine.part[0].extend(finals);
            mine.part[1] = open;
            mine.late.extend(next.late);
            mine.failed.extend(next.failed);
            mine.failed_window_rows += next.failed_window_rows;
            mine.oddities.extend(next.oddities);
        }
        self.bad.extend(next.bad);
    }

    fn found(mut self, outcome: &Outcome) -> Found {
        let tally = &outcome.tally;
        for step in &mut self.steps {
            step.dedup = tally.dedups.get(&step.name).copied();
            step.checks = tally.checks.get(&step.name).cloned().unwrap_or_default();
        }
        let (finals, all) = tally.total();
        let name = |(name, (finals, all)): (&String, &(_, _))| (name.clone(), format!("{finals}"), format!("{all}"));
        let steps = tally.rows.iter().map(name).collect();
        let mut maxima = BTreeMap::new();
        for (source, states) in outcome.partitions.iter().enumerate() {
            for state in states {
                let maximum = (state.maximum != engine::watermark::NEVER).then_some(state.maximum);
                maxima.insert((source, state.partition), maximum);
            }
        }
        Found {
            steps: self.steps,
            bad: self.bad,
            counts: [tally.read, tally.bad, tally.failed, tally.late],
            maxima,
            read: None,
            spilled: outcome.spilled,
            had_pieces: false,
            digests: Digests {
                steps,
                finals: finals.to_string(),
                all: all.to_string(),
                late: tally.digest_late.to_string(),
                bad: Some(tally.digest_bad.to_string()),
            },
        }
    }
}

impl Outlet for Gathered {
    fn rows(&mut self, emission: &Emission) -> Result<()> {
        let Input::Step(step) = emission.input else { panic!("no sink reads {:?}", emission.input) };
        let settled = self.settled.get(step).copied().unwrap_or(i64::MIN);
        let step = &mut self.steps[step];
        if let Some(time) = emission.times.iter().find(|time| **time < settled) {
            step.oddities
                .push(format!("a window that begins at {time} brings rows after it was settled until {settled}"));
        }
        if emission.is_final {
            step.last_start = emission.times.iter().copied().max().max(step.last_start);
        }
        let columns = rows::columns(&emission.rows);
        match &step.columns {
            Some(before) if *before != columns => step.oddities.push(format!("columns {before:?}, then {columns:?}")),
            _ => step.columns = Some(columns),
        }
        if emission.times.len() != emission.rows.num_rows() {
            step.oddities.push(format!("{} times for {} rows", emission.times.len(), emission.rows.num_rows()));
        }
        if emission.is_final && !step.open.is_empty() {
            step.oddities.push("final rows after open ones".into());
        }
        if let Some(part) = self.parts.iter().find(|part| part.input == emission.input) {
            let mut rows = rows::values(&runtime::outlet::shaped(part, &emission.rows, emission.is_final)?);
            // The last column is `final`.
            rows.iter_mut().for_each(|row| _ = row.pop());
            step.part[usize::from(!emission.is_final)].extend(rows);
        }
        let rows = rows::values(&emission.rows);
        if emission.is_final {
            step.finals.extend(rows)
        } else {
            step.open.extend(rows)
        }
        Ok(())
    }

    fn settle(&mut self, settled: &[i64]) {
        for (number, (step, now)) in self.steps.iter_mut().zip(settled).enumerate() {
            if self.settled.get(number).is_some_and(|before| before > now) {
                step.oddities.push(format!("what was settled is so no longer, only until {now}"));
            }
            if *now != i64::MIN && step.last_start.is_some_and(|start| start >= *now) {
                step.oddities
                    .push(format!("a final window begins at {:?}, and until {now} all are settled", step.last_start));
            }
        }
        self.settled = settled.to_vec();
    }

    fn early(&mut self, emission: &Emission) -> Result<()> {
        let Input::Step(step) = emission.input else { panic!("no sink reads {:?}", emission.input) };
        let step = &mut self.steps[step];
        if emission.is_final {
            step.oddities.push("an early row is final".into());
        }
        if step.columns.as_ref().is_some_and(|columns| *columns != rows::columns(&emission.rows)) {
            step.oddities.push("early rows have other columns".into());
        }
        Ok(())
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        let positions: Option<Vec<Position>> = match &aside.identity {
            Identity::Records { partition, offsets, indices } => {
                let index = |row: usize| indices.as_ref().map(|indices| indices[row]);
                let rows = offsets.iter().enumerate();
                Some(rows.map(|(row, offset)| (aside.source, *partition, *offset, index(row))).collect())
            }
            Identity::Windows { .. } | Identity::Pairs { .. } => None,
        };
        match (aside.input, positions) {
            (Input::SourceBad(_), Some(positions)) => self.bad.extend(positions),
            (Input::StepLate(step), Some(positions)) => self.steps[step].late.extend(positions),
            (Input::StepBad(step), Some(positions)) => self.steps[step].failed.extend(positions),
            (Input::StepBad(step), None) => self.steps[step].failed_window_rows += aside.identity.len() as u64,
            (input, _) => panic!("rows kept aside as {input:?}"),
        }
        Ok(())
    }

    fn commit(&mut self, _: Option<Checkpoint>) -> Result<()> {
        Ok(())
    }
}
