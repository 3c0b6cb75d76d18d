//! The run catalogue: what ran, who started it, over which offsets, with which digests, for how long, and how it ended.
//!
//! It is one file of the state folder, `runs.redb`, for all pipelines (`catalogue/store.rs` says what is in it). Several
//! processes use it: each opens it for a moment, under a lock, and waits a bounded time for another one to be done.
//!
//! While a run goes on, what it says is in `runs/ID.log`, a file that its process has locked; at its end the last of that
//! goes into the catalogue and the file away. So a run that was killed is known by a lock that nobody has, whatever its
//! process's number stands for by now, and what it said last is kept all the same.
//!
//! Nothing that a run results in depends on the catalogue: where it cannot be written, a run goes on without.

mod backfills;
mod log;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::{disk, store as files};
use engine::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::{Held, Wrote};
use crate::schedule::{Decided, State};
use crate::summary::{Mode, Summary};
use crate::time;

pub use backfills::{Amount, Backfill, Part, schema as backfill_schema};
pub use log::Log;
use store::{Store, Tables};

/// How many runs are kept; of more the oldest are forgotten.
const MOST_RUNS: usize = 10_000;
/// How many firings of a schedule are kept.
const MOST_FIRINGS: usize = 2_000;

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Its number; none has it again.
    pub id: u64,
    /// The pipeline, by the name in its file; one that could not be read, as it was called.
    pub pipeline: String,
    /// Which driver.
    pub mode: Mode,
    /// What started it: `manual`, `schedule NAME`, or what `--started-by` said.
    pub by: String,
    /// The firing of a schedule that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<Firing>,
    /// How it ended, or that it goes on.
    pub outcome: Outcome,
    /// When it began (RFC 3339).
    pub started: String,
    /// When it ended (RFC 3339); of a lost one: when it last said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What its process ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// The definition digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Rows from this time on were to be written (RFC 3339), if restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Rows before this time were to be written (RFC 3339), if restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The words after the program's name, without secrets.
    pub command: Vec<String>,
    /// The number of its process.
    pub pid: u32,
    /// The user and the machine, as far as the environment tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The version of the program.
    pub version: String,
    /// What it told when it was over: offsets, digests, counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The firing of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Firing {
    /// The name of the schedule.
    pub schedule: String,
    /// When it was due (RFC 3339).
    pub due: String,
    /// Which try, from 1.
    pub attempt: u32,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// All went well.
    Done,
    /// It was asked to stop and did.
    Stopped,
    /// It said why it failed.
    Failed,
    /// It was killed, or its machine went down.
    Lost,
}

impl Outcome {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Done => "done",
            Outcome::Stopped => "stopped",
            Outcome::Failed => "failed",
            Outcome::Lost => "lost",
        }
    }
}

/// What a run failed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// The code of the error.
    pub code: String,
    /// Its message.
    pub message: String,
}

/// How a run ended, for its record.
#[derive(Clone, Debug)]
pub struct End {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// How.
    pub outcome: Outcome,
    /// What its process ends with.
    pub exit: u8,
    /// What it failed with.
    pub error: Option<Failed>,
    /// What it told.
    pub summary: Option<Summary>,
    /// What it has written, for the ledger.
    pub wrote: Option<Wrote>,
}

/// The catalogue of a state folder.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    store: Store,
}

impl Catalogue {
    /// Returns that of a state folder. Nothing is touched yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("runs"), store: Store::new(state_dir.join("runs.redb")) }
    }

    /// Returns true when something was written to it.
    pub fn is_there(&self) -> bool {
        self.store.file().exists()
    }

    /// Returns its file.
    pub fn file(&self) -> &Path {
        self.store.file()
    }

    /// Notes that a run begins; its number is given here. What it says goes to the record's log from now on.
    pub fn begin(&self, mut run: Run) -> Result<Recording> {
        self.mark_lost()?;
        let (id, log) = self.store.write(|tables| {
            let mut id = tables.next_id()?;
            // The catalogue may have been taken away under a run that goes on.
            let log = loop {
                match Log::create(&self.log_file(id))? {
                    Some(log) => break log,
                    None => id += 1,
                }
            };
            tables.set_next_id(id + 1)?;
            run.id = id;
            tables.put_run(&run)?;
            tables.forget_runs(MOST_RUNS)?;
            Ok((id, log))
        })?;
        Ok(Recording { catalogue: self.clone(), id, log: Arc::new(log) })
    }

    /// Notes a run that ended before it could note itself.
    pub fn add(&self, mut run: Run, log: &str) -> Result<u64> {
        self.store.write(|tables| {
            run.id = tables.next_id()?;
            tables.set_next_id(run.id + 1)?;
            tables.put_run(&run)?;
            tables.put_log(run.id, log)?;
            Ok(run.id)
        })
    }

    /// Returns all runs in the order in which they began. Those that were killed are marked as lost.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.mark_lost()?;
        Ok(self.store.read(|tables| tables.runs())?.unwrap_or_default())
    }

    /// Returns a run.
    pub fn run(&self, id: u64) -> Result<Run> {
        self.mark_lost()?;
        let found = self.store.read(|tables| tables.run(id))?.flatten();
        found.ok_or_else(|| {
            Error::new(Code::Empty, format!("there is no run {id} in `{}`", self.file().display()))
                .help("`samestream runs list` shows those that are kept")
        })
    }

    /// Returns the last of what a run said.
    pub fn log(&self, id: u64) -> Result<String> {
        let run = self.run(id)?;
        match run.outcome {
            Outcome::Running => Log::read(&self.log_file(id)),
            _ => Ok(self.store.read(|tables| tables.log(id))?.flatten().unwrap_or_default()),
        }
    }

    /// Forgets the runs that are over and that a question is answered with yes for; returns how many there were.
    pub fn prune(&self, forget: impl Fn(&Run) -> bool) -> Result<usize> {
        if !self.is_there() {
            return Ok(0);
        }
        self.mark_lost()?;
        self.store.write(|tables| {
            let all = tables.runs()?;
            let gone = all.iter().filter(|run| run.outcome != Outcome::Running && forget(run));
            let ids: Vec<u64> = gone.map(|run| run.id).collect();
            ids.iter().try_for_each(|id| tables.remove_run(*id))?;
            Ok(ids.len())
        })
    }

    /// Returns what is kept of a schedule.
    pub fn schedule(&self, pipeline: &str, schedule: &str) -> Result<Option<State>> {
        Ok(self.store.read(|tables| tables.schedule(pipeline, schedule))?.flatten())
    }

    /// Changes what is kept of a schedule.
    pub fn put_schedule(&self, pipeline: &str, schedule: &str, state: &State) -> Result<()> {
        self.store.write(|tables| tables.put_schedule(pipeline, schedule, state))
    }

    /// Returns what was decided about the firings of a schedule, in the order in which they were due.
    pub fn firings(&self, pipeline: &str, schedule: &str) -> Result<Vec<Decided>> {
        Ok(self.store.read(|tables| tables.firings(pipeline, schedule))?.unwrap_or_default())
    }

    /// Notes what was decided about firings.
    pub fn put_firings(&self, pipeline: &str, schedule: &str, firings: &[Decided]) -> Result<()> {
        if firings.is_empty() {
            return Ok(());
        }
        self.store.write(|tables| {
            firings.iter().try_for_each(|firing| tables.put_firing(pipeline, schedule, firing))?;
            let now = firings.iter().map(|firing| firing.at).max().unwrap_or(i64::MAX);
            tables.forget_firings(pipeline, schedule, MOST_FIRINGS, now)
        })
    }

    /// Returns what the ledger says that a sink holds at a place.
    pub fn held(&self, pipeline: &str, sink: &str, place: &str) -> Result<Held> {
        Ok(self.store.read(|tables| tables.held(pipeline, sink, place))?.unwrap_or_default())
    }

    /// Marks the runs whose process is gone, and keeps what they said last.
    fn mark_lost(&self) -> Result<()> {
        let is_lost = |run: &Run| -> Result<bool> {
            let path = self.log_file(run.id);
            let locked = disk::is_locked(&path);
            let locked = locked.map_err(|error| Error::io(format!("cannot look at `{}`", path.display()), error))?;
            Ok(run.outcome == Outcome::Running && !locked)
        };
        let running = |tables: &Tables<'_>| tables.running();
        let found = self.store.read(running)?.unwrap_or_default();
        let mut any = false;
        for run in &found {
            any |= is_lost(run)?;
        }
        if !any {
            return Ok(());
        }
        self.store.write(|tables| {
            // Looked at again under the lock: it may have come to its end between.
            for mut run in tables.running()? {
                if !is_lost(&run)? {
                    continue;
                }
                let path = self.log_file(run.id);
                run.outcome = Outcome::Lost;
                run.ended = Some(last_change(&path).unwrap_or_else(|| run.started.clone()));
                tables.put_run(&run)?;
                tables.put_log(run.id, &Log::read(&path).unwrap_or_default())?;
            }
            Ok(())
        })?;
        for run in found {
            let path = self.log_file(run.id);
            if path.exists() && !disk::is_locked(&path).unwrap_or(true) {
                // What is left of it is in the catalogue; the file is nobody's.
                let _ = disk::remove(&path);
            }
        }
        Ok(())
    }

    fn log_file(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }
}

/// Returns when a file was changed last.
fn last_change(path: &Path) -> Option<String> {
    let changed = std::fs::metadata(path).and_then(|data| data.modified()).ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(time::rfc3339(since.as_micros() as i64))
}

/// The record of a run that goes on. Dropped without an end, the run is taken for lost.
#[derive(Debug)]
pub struct Recording {
    catalogue: Catalogue,
    id: u64,
    log: Arc<Log>,
}

impl Recording {
    /// Returns the run's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns where what it says goes.
    pub fn log(&self) -> Arc<Log> {
        self.log.clone()
    }

    /// Notes how it ended.
    pub fn end(&self, end: &End) -> Result<()> {
        self.catalogue.store.write(|tables| {
            let Some(mut run) = tables.run(self.id)? else {
                return Err(Error::new(Code::Empty, format!("run {} was taken out of the catalogue", self.id)));
            };
            run.outcome = end.outcome;
            run.ended = Some(time::rfc3339(end.at));
            run.exit = Some(end.exit);
            run.error = end.error.clone();
            run.summary = end.summary.clone();
            if let Some(wrote) = end.wrote.clone() {
                let pipeline = run.pipeline.clone();
                wrote.overlay(self.id, |sink, place, change| {
                    let held = tables.held(&pipeline, sink, place)?;
                    tables.put_held(&pipeline, sink, place, &change(held))
                })?;
            }
            tables.put_run(&run)?;
            tables.put_log(self.id, &self.log.tail())
        })?;
        // The lock is held until the record is dropped, so nobody took the run for lost.
        let path = self.catalogue.log_file(self.id);
        let _ = files::remove(&path);
        Ok(())
    }
}

/// Returns the JSON Schema of a run.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Run)).expect("a schema is JSON")
}

#[cfg(test)]
mod tests;
