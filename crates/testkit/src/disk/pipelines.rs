//! Whole random pipelines on a disk that goes wrong: their checkpoints, the folders of late and bad rows and all their sinks
//! lie on it, their log does not. After each fault the run is started again, as a user would; in the end digests, counts and
//! rows must be those that the oracle says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connectors::journal::Journal;
use connectors::lake::LakeOptions;
use engine::Result;
use engine::plan::{Input, LakeBinding, Layout, Plan};
use runtime::archive::{ArchiveOptions, archive};
use runtime::job::{self, RunOptions};
use runtime::outlet::{aside_folder, aside_schema};
use runtime::spill::Budget;
use runtime::summary::{Mode, Summary};

use super::held::{Held, held, line};
use super::sinks::judge;
use super::{Disk, Fault, Lie, folder, run_on, seed_of};
use crate::case::{Case, Source};
use crate::oracle::{Answer, Cut, answer};
use crate::random::Random;
use crate::run::plan;
use crate::value::Value;

/// The most records of a case: a run should make some hundred changes, not many thousands.
const MOST_RECORDS: usize = 60;

/// Where sinks write: kind, and the end of the path.
const PLACES: [(&str, &str); 5] = [("parquet", ""), ("jsonl", ""), ("csv", ""), ("jsonl", ".jsonl"), ("csv", ".csv")];

/// A random pipeline over a log, and what must come of it.
pub struct Job {
    seed: u64,
    mode: Mode,
    poll_records: usize,
    spills: bool,
    plan: Arc<Plan>,
    /// The kind of each sink, in plan order, and the end of its path.
    places: Vec<(&'static str, &'static str)>,
    case: Case,
    answer: Answer,
    _logs: tempfile::TempDir,
}

/// What came of a job under some faults.
pub struct Outcome {
    /// How many changes the first run made.
    pub changes: usize,
    /// How many faults it met.
    pub struck: usize,
    /// What all the places hold in the end.
    pub held: BTreeMap<String, Held>,
}

impl Job {
    /// Makes the job of a seed; None: its results overflow, so that nothing is to be seen, or a journal cannot be its log.
    pub fn new(seed: u64) -> Option<Self> {
        let mut case = Case::generate(seed);
        let mut random = Random::new(seed ^ 0xd15c);
        // The first records of each partition, so that offsets still begin where they did.
        let share = MOST_RECORDS / case.log.partitions.len().max(1);
        case.log.partitions.iter_mut().filter(|log| log.records.len() > share).for_each(|log| {
            log.records.truncate(share);
            log.end = log.records.last().map_or(log.start, |last| last.offset + 1);
        });
        // A journal has all partitions up to the last, and one more than the case would hold everything open.
        let is_gapless = |(index, source): (usize, &Source)| {
            let numbers = case.log.partitions.iter().filter(|log| log.source == index).map(|log| log.partition);
            source.partitions.is_some() || numbers.enumerate().all(|(at, number)| at as i32 == number)
        };
        if !case.pipeline.sources.iter().enumerate().all(is_gapless) {
            return None;
        }
        let answer = answer(&case.pipeline, &case.log, &Cut::default()).ok()?;
        let logs = folder();
        let mut plan = plan(&case.pipeline).ok().map(Arc::unwrap_or_clone)?;
        for (index, source) in plan.sources.iter_mut().enumerate() {
            let path = logs.path().join(&source.name);
            write_journal(&case, index, &path);
            source.bindings.journal = Some(path.display().to_string());
        }
        let places = plan.sinks.iter().map(|_| *random.pick(&PLACES)).collect();
        let mode = if random.chance(80) { Mode::Stream } else { Mode::Batch };
        let (poll_records, spills) = (1 + case.log.len() / (1 + random.below(6)), random.chance(25));
        Some(Self { seed, mode, poll_records, spills, plan: Arc::new(plan), places, case, answer, _logs: logs })
    }

    /// Returns what tells it from others.
    pub fn describe(&self) -> String {
        let spills = if self.spills { ", windows in files" } else { "" };
        format!("seed {}, {} mode, {} records at once{spills}", self.seed, self.mode, self.poll_records)
    }

    fn path(&self, root: &Path, sink: usize) -> PathBuf {
        root.join("out").join(format!("{}{}", self.plan.sinks[sink].name, self.places[sink].1))
    }

    /// Starts it.
    fn start(&self, root: &Path) -> Result<Summary> {
        let mut plan = Plan::clone(&self.plan);
        for (number, sink) in plan.sinks.iter_mut().enumerate() {
            sink.target.kind = self.places[number].0.to_string();
            sink.target.settings = [("path".to_string(), self.path(root, number).display().to_string())].into();
        }
        let mut options = RunOptions::new(self.mode);
        (options.until_caught_up, options.state_dir) = (self.mode == Mode::Stream, root.join("state"));
        options.settings.allow_empty = true;
        // Windows leave the state for files as soon as they can.
        let scratch = Some(root.join("scratch"));
        let budget = Budget { bytes: 1 << 40, spill_above: 1, stop_above: usize::MAX, scratch };
        options.settings.memory = self.spills.then_some(budget);
        options.settings.threads = 1;
        options.settings.poll_records = self.poll_records;
        options.settings.max_drift = i64::MAX;
        (options.settings.close_every, options.settings.checkpoint_every) = (Duration::ZERO, Duration::ZERO);
        job::run(&Arc::new(plan), &options, &()).map(|report| report.summary)
    }

    /// Runs it once for each fault, and once more; returns what came of it, or what went wrong.
    pub fn run(&self, faults: &[(Fault, usize)], lie: Option<Lie>) -> std::result::Result<Outcome, String> {
        let folder = folder();
        let disk = Disk::new(folder.path(), seed_of(self.seed, faults));
        disk.borrow_mut().plant(lie);
        let (mut changes, mut struck) = (None, 0);
        for fault in faults.iter().copied().map(Some).chain([None]) {
            let ended = run_on(&disk, fault, || self.start(folder.path()));
            judge(fault, &ended)?;
            changes.get_or_insert(ended.changes);
            struck += usize::from(ended.has_struck);
            if let (Ok(summary), None) = (&ended.returned, fault) {
                self.check_digests(summary)?;
            }
        }
        let held = self.held(folder.path())?;
        self.check_rows(&held)?;
        Ok(Outcome { changes: changes.unwrap_or(0), struck, held })
    }

    /// Archives its logs into lakes once for each fault, and once more; returns what came of it. A batch run over the lakes must
    /// then say what the oracle says.
    pub fn archive(&self, faults: &[(Fault, usize)], lie: Option<Lie>) -> std::result::Result<Outcome, String> {
        let folder = folder();
        let disk = Disk::new(folder.path(), seed_of(self.seed, faults));
        disk.borrow_mut().plant(lie);
        let mut plan = Plan::clone(&self.plan);
        for source in &mut plan.sources {
            let path = folder.path().join("lakes").join(&source.name).display().to_string();
            source.bindings.lake = Some(LakeBinding { path, layout: Layout::Log });
        }
        let lake = LakeOptions { roll_rows: 7, group_rows: 3, ..LakeOptions::default() };
        let options = ArchiveOptions { until_caught_up: true, lake, stop: Arc::default() };
        let archive = || plan.sources.iter().try_for_each(|source| archive(source, &options, &|| 0, &|_| ()).map(drop));
        let (mut changes, mut struck) = (None, 0);
        for fault in faults.iter().copied().map(Some).chain([None]) {
            let ended = run_on(&disk, fault, archive);
            judge(fault, &ended)?;
            changes.get_or_insert(ended.changes);
            struck += usize::from(ended.has_struck);
        }
        let elsewhere = self::folder();
        let mut options = RunOptions::new(Mode::Batch);
        (options.out, options.state_dir) = (Some(elsewhere.path().join("out")), elsewhere.path().join("state"));
        (options.settings.allow_empty, options.settings.threads) = (true, 1);
        let summary = job::run(&Arc::new(plan), &options, &()).map_err(|error| error.to_string())?.summary;
        self.check_digests(&summary)?;
        Ok(Outcome { changes: changes.unwrap_or(0), struck, held: BTreeMap::new() })
    }

    fn check_digests(&self, summary: &Summary) -> std::result::Result<(), String> {
        let must = self.answer.digests(&self.case.pipeline.sources);
        let found = [&summary.digest_final, &summary.digest_all, &summary.digest_late];
        if found != [&must.finals, &must.all, &must.late]
            || must.bad.as_ref().is_some_and(|bad| *bad != summary.digest_bad)
        {
            return Err(format!("digests must be {must:#?}, are {summary:#?}"));
        }
        let counts = [summary.rows_read, summary.rows_failed, summary.rows_late];
        let must = [self.answer.rows_read, self.answer.rows_failed, self.answer.rows_late];
        if counts != must { Err(format!("rows read, failed, late: must be {must:?}, are {counts:?}")) } else { Ok(()) }
    }

    /// Reads what is in all the places that it writes to.
    fn held(&self, root: &Path) -> std::result::Result<BTreeMap<String, Held>, String> {
        let mut all = BTreeMap::new();
        for (number, sink) in self.plan.sinks.iter().enumerate() {
            all.insert(sink.name.clone(), held(self.places[number].0, &self.path(root, number))?);
        }
        let aside = root.join("state").join(&self.plan.name).join(self.mode.to_string());
        let steps = self.plan.steps.iter().enumerate();
        let late = steps.clone().filter(|(_, step)| step.keeps_late(&self.plan.sources));
        let inputs = late.map(|(index, _)| Input::StepLate(index)).chain(steps.map(|(index, _)| Input::StepBad(index)));
        for input in inputs.chain((0..self.plan.sources.len()).map(Input::SourceBad)) {
            let folder = aside_folder(&self.plan, input, &aside);
            // A set without columns of its own is nothing to compare.
            assert!(!aside_schema(&self.plan, input).fields.is_empty());
            all.insert(folder.strip_prefix(&aside).unwrap_or(&folder).display().to_string(), held("parquet", &folder)?);
        }
        Ok(all)
    }

    /// Compares rows with those that the oracle says, as far as these can be read back with their types.
    fn check_rows(&self, all: &BTreeMap<String, Held>) -> std::result::Result<(), String> {
        for (sink, (kind, _)) in self.plan.sinks.iter().zip(&self.places) {
            let (is_part, step) = match (sink.name.strip_prefix("out_"), sink.name.strip_prefix("part_")) {
                (Some(step), _) => (false, step),
                (None, Some(step)) => (true, step),
                (None, None) => unreachable!("there are two kinds of names"),
            };
            let answer = self.answer.steps.iter().find(|answer| answer.name == step).expect("each step has an answer");
            let extract = self.case.pipeline.step(step).and_then(|step| step.part.as_ref()).filter(|_| is_part);
            for (is_final, found) in [true, false].into_iter().zip(&all[&sink.name]) {
                let must: Vec<Vec<Value>> = match extract {
                    Some(extract) => answer.part(extract, is_final),
                    None => {
                        let rows = answer.rows.iter().filter(|row| row.is_final == is_final);
                        rows.map(|row| answer.written_cells(row)).collect()
                    }
                };
                let with_final = |mut row: Vec<Value>| {
                    row.push(Value::Bool(is_final));
                    line(&row)
                };
                let count = must.len();
                let mut must: Vec<String> = must.into_iter().map(with_final).collect();
                must.sort();
                if found.len() != count || *kind == "parquet" && must != *found {
                    return Err(format!("{}, final: {is_final}: must be {must:#?}\nare {found:#?}", sink.name));
                }
            }
        }
        Ok(())
    }
}

fn write_journal(case: &Case, source: usize, path: &Path) {
    let logs = || case.log.partitions.iter().filter(|log| log.source == source);
    let count = logs().map(|log| log.partition + 1).max().unwrap_or(1);
    let mut writer = Journal::create(path, count as u32).and_then(|journal| journal.writer()).expect("a new journal");
    for log in logs() {
        writer.advance(log.partition, log.start).expect("it is empty");
        for record in &log.records {
            let (key, value) = (record.key.as_ref().map(String::as_bytes), record.value_bytes());
            let headers = record.header_bytes();
            let added =
                writer.append_at(record.offset, log.partition, record.timestamp, key, value.as_deref(), &headers);
            added.expect("offsets grow");
        }
        writer.advance(log.partition, log.end).expect("offsets grow");
    }
    writer.commit().expect("a folder of the test's own");
}
