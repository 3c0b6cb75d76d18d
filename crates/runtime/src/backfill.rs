//! A backfill: a range that is written anew chunk by chunk, each chunk a batch run of its own that replaces its rows at once.
//!
//! All chunks are computed from one log, `[start, end)` as it is fixed when the backfill begins, so that together they are what
//! one run over the whole range gives, however they are cut, in which order they are computed, and when.
//!
//! ```text
//! chunk 0  read ── compute ── commit │
//! chunk 1     read ── compute ── wait └► commit │
//! chunk 2        read ── compute ── wait ──────► └► commit
//! ```
//!
//! Several chunks are computed at once on the same threads, but a sink has one writer: chunks commit one after the other, in
//! the order of time. Until its turn comes the rows of a chunk wait in memory; where they are many, their chunk stands still.

mod estimate;
mod turns;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use connectors::{point, store};
use engine::edge::{LogScan, PartitionRange, Stored, Unit};
use engine::log::{Chunk as Records, Offset, Partition};
use engine::plan::{Input, Plan, SinkPlan};
use engine::{Code, Engine, Error, Result};

use crate::batch::{self, Threads};
use crate::cut::Cut;
use crate::driver::{Observer, frontiers};
use crate::job::{self, Report, RunOptions, SCRATCH, Scans, Sources};
use crate::ledger::{Came, Wrote};
use crate::outlet::SinkOutlet;
use crate::spill::ScratchFolder;
use crate::summary::Mode;

pub use estimate::Estimate;
use turns::{Turns, Waiting};

/// More chunks than this are refused: each is a run with a commit of its own.
const MOST_CHUNKS: i64 = 10_000;

/// How often it is looked whether all is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A stretch of the range, half-open, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its place among the chunks of the backfill, from 0.
    pub number: usize,
    /// Its first moment.
    pub from: i64,
    /// The first moment past it.
    pub to: i64,
}

/// Cuts a range into chunks: at multiples of a length from its start, so that the last one may be shorter.
pub fn chunks(from: i64, to: i64, length: i64) -> Result<Vec<Chunk>> {
    if length <= 0 {
        return Err(Error::new(Code::Usage, "`--chunk` must be longer than nothing").help("such as 1d, 6h or 30m"));
    }
    let count = (i128::from(to) - i128::from(from) + i128::from(length) - 1) / i128::from(length);
    if count > i128::from(MOST_CHUNKS) {
        let message = format!("the range has {count} chunks, more than {MOST_CHUNKS}");
        return Err(
            Error::new(Code::Usage, message).help("each is a run with a commit of its own: choose a longer `--chunk`")
        );
    }
    let of = |number: i64| {
        let from = from + number * length;
        Chunk { number: number as usize, from, to: from.saturating_add(length).min(to) }
    };
    Ok((0..count as i64).map(of).collect())
}

/// Takes the batch runs of a pipeline for this process, until the returned file is dropped.
pub fn hold(state_dir: &Path, pipeline: &str) -> Result<File> {
    job::lock(&state_dir.join(pipeline).join(Mode::Batch.to_string()))
}

/// What a chunk came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// The same as of a run.
    pub report: Report,
    /// Bytes of the log that were read, as they are stored, where that is known.
    pub bytes: Option<u64>,
}

/// Does a chunk: told who looks on, it computes and commits it.
pub type Doing<'a> = &'a dyn Fn(&dyn Observer) -> Result<Done>;

/// A backfill with its log opened and its sinks chosen.
pub struct Backfill {
    plan: Arc<Plan>,
    options: RunOptions,
    sinks: Vec<SinkPlan>,
    scans: Scans,
    start: Cut,
    end: Cut,
    aside: PathBuf,
    threads: Threads,
    /// The state folder is this process's, if anything is to be run.
    _lock: Option<File>,
}

impl Backfill {
    /// Opens the log and looks at the sinks; nothing is written. The log is that between the cuts of the options, else all
    /// that it holds now. `lock` is what [`hold`] gave; without it nothing may be run.
    pub fn open(plan: &Arc<Plan>, options: &RunOptions, lock: Option<File>) -> Result<Self> {
        let aside = options.aside_dir(plan);
        let sinks = job::chosen_sinks(plan, options)?;
        sinks.iter().try_for_each(must_have_windows)?;
        job::check_cut(plan, options.start.as_ref())?;
        job::check_cut(plan, options.end.as_ref())?;
        let mut sources = Sources::open(plan, Mode::Batch)?;
        if options.start.is_none() {
            job::check_origin(&options.origin(plan), &sources.first_offsets(plan)?)?;
        }
        let Sources::Batch(scans) = sources else { unreachable!("it was opened for batch") };
        let (mut start, mut end) = (Cut::new(), Cut::new());
        for (source, scan) in plan.sources.iter().zip(&scans) {
            for range in scan.iter().flat_map(|scan| scan.partitions()) {
                let (begin, stop) = batch::clip(&source.name, *range, options.start.as_ref(), options.end.as_ref())?;
                start.entry(source.name.clone()).or_default().insert(range.partition, begin);
                end.entry(source.name.clone()).or_default().insert(range.partition, stop);
            }
        }
        let threads = Threads::new(options.settings.threads)?;
        let (plan, options) = (plan.clone(), options.clone());
        Ok(Self { plan, options, sinks, scans, start, end, aside, threads, _lock: lock })
    }

    /// Returns the offsets that the log is read from and up to, in all chunks.
    pub fn cuts(&self) -> (&Cut, &Cut) {
        (&self.start, &self.end)
    }

    /// Returns what a run over `[from, to)` will read, by footers alone.
    pub fn estimate(&self, range: Range<i64>) -> Estimate {
        Estimate::of(&self.plan, &self.scans, (&self.start, &self.end), range)
    }

    /// Does chunks, so many at once; `is_begun` says that others of the same backfill have had rows. `each` is called for
    /// every one, from several threads, in the order of time, and is to call what it is given. What it says of a chunk ends the
    /// backfill if it is an error: earlier chunks come to their end, later ones are dropped.
    ///
    /// A range without rows must not replace one that has some by mistake. So chunks without rows at its begin are left as
    /// `E_EMPTY` and done last, if any other has rows.
    pub fn run(
        &self,
        chunks: &[Chunk],
        parallel: usize,
        is_begun: bool,
        each: &(dyn Fn(&Chunk, Doing<'_>) -> Result<()> + Sync),
    ) -> Result<()> {
        let is_result = |sink: &SinkPlan| matches!(sink.input, Input::Step(_) | Input::Source(_));
        let may_be_empty = is_begun || self.options.settings.allow_empty || !self.plan.sinks.iter().any(is_result);
        let (left, has_rows) = self.run_all(chunks, parallel, may_be_empty, each)?;
        if left.is_empty() {
            return Ok(());
        }
        if !has_rows {
            return Err(empty());
        }
        self.run_all(&left, parallel, true, each).map(|_| ())
    }

    /// Does chunks, and returns those that were left because they had no rows, and whether any had some.
    fn run_all(
        &self,
        chunks: &[Chunk],
        parallel: usize,
        may_be_empty: bool,
        each: &(dyn Fn(&Chunk, Doing<'_>) -> Result<()> + Sync),
    ) -> Result<(Vec<Chunk>, bool)> {
        let scratch = self.options.settings.memory.as_ref().and_then(|budget| budget.scratch.clone());
        let _scratch = ScratchFolder::new(scratch.unwrap_or_else(|| self.aside.join(SCRATCH)))?;
        let stops: Vec<Arc<AtomicBool>> = chunks.iter().map(|_| Arc::default()).collect();
        let turns = Turns::new(parallel, may_be_empty);
        let left = Mutex::new(Vec::new());
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, Error)>));
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= chunks.len() || turns.is_given_up(place) || stops[place].load(Ordering::Relaxed) {
                    return;
                }
                // Whatever becomes of it, those that wait for it are told.
                let turn = turns.take(place);
                let doing = |observer: &dyn Observer| self.one(&chunks[place], place, &turns, &stops[place], observer);
                match each(&chunks[place], &doing) {
                    Ok(()) => turn.end(),
                    // Only one that has its turn has found that it has no rows.
                    Err(error) if error.code == Code::Empty && turns.is_now(place) && !turns.may_be_empty() => {
                        left.lock().unwrap_or_else(PoisonError::into_inner).push(chunks[place]);
                        turn.end();
                    }
                    Err(error) => {
                        stops[place..].iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(before, _)| place < *before) {
                            *failed = Some((place, error));
                        }
                    }
                }
            }
        };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if self.options.settings.stopped() {
                        stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
                    }
                    std::thread::sleep(LOOK);
                }
            });
            let workers: Vec<_> = (0..parallel.clamp(1, chunks.len().max(1))).map(|_| scope.spawn(work)).collect();
            // All are waited for, whatever becomes of one.
            let panics: Vec<_> = workers.into_iter().filter_map(|worker| worker.join().err()).collect();
            is_over.store(true, Ordering::Relaxed);
            if let Some(panic) = panics.into_iter().next() {
                std::panic::resume_unwind(panic);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None if self.options.settings.stopped() => Err(stopped()),
            None => {
                let mut left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
                left.sort_by_key(|chunk| chunk.number);
                Ok((left, turns.may_be_empty()))
            }
        }
    }

    /// Computes a chunk, and commits it when its turn has come.
    fn one(
        &self,
        chunk: &Chunk,
        place: usize,
        turns: &Turns,
        stop: &Arc<AtomicBool>,
        observer: &dyn Observer,
    ) -> Result<Done> {
        let began = Instant::now();
        let mut options = self.options.clone();
        options.mode = Mode::Batch;
        options.settings.range = (Some(chunk.from), Some(chunk.to));
        // Whether a result is empty by mistake is judged by the range, not by a part of it.
        options.settings.allow_empty = true;
        options.settings.stop = stop.clone();
        options.settings.shared = Some(self.threads.clone());
        let mut context = options.context.clone();
        context.state.get_or_insert_with(|| options.state_dir.join(&self.plan.name));
        context.pipeline = self.plan.name.clone();
        context.stop = stop.clone();
        let open = || {
            let over = (options.settings.range, options.mode);
            let outlet = SinkOutlet::open(&self.plan, &self.sinks, &context, Some(&self.aside), over, None)?;
            if !outlet.jobs_beside().is_empty() {
                job::must_be_of_streams(&self.plan, &options, &self.start, outlet.jobs_beside())?;
            }
            // Of some chunks a stream may give all rows by itself, later.
            Ok(outlet.may_idle())
        };
        let mut outlet = Waiting::new(turns, place, stop, &open)?;
        let metered: Vec<Option<Arc<Metered>>> = self.scans.iter().map(|scan| scan.clone().map(Metered::new)).collect();
        let scans: Scans = metered.iter().map(|scan| scan.clone().map(|scan| scan as Arc<dyn LogScan>)).collect();
        let engine = Engine::new(self.plan.clone());
        let cuts = (Some(&self.start), Some(&self.end));
        let outcome = batch::run(&engine, &scans, cuts, &mut outlet, &options.settings, observer)?;
        let mut summary = job::summarise(&self.plan, &options, &outcome, began);
        let wrote = Wrote::of(&Came {
            plan: &self.plan,
            options: &options,
            sinks: &self.sinks,
            scans: &self.scans,
            goes_on: false,
            ended: outcome.ended,
            complete: &engine.complete(&frontiers(&self.plan, &outcome.partitions)),
            tally: &outcome.tally,
            cuts: (&summary.start, &summary.end),
        });
        let outlet = outlet.into_sinks()?;
        summary.rows_written = outlet.rows_written();
        summary.caveats.extend(outlet.left());
        let wrote = wrote.leaving(outlet.left_from());
        let text = serde_json::to_vec_pretty(&summary.start).expect("a cut is JSON");
        store::write_atomic(options.origin(&self.plan), &text)?;
        point!("backfill.committed");
        let bytes = metered.iter().flatten().map(|scan| scan.bytes()).sum();
        Ok(Done { report: Report { summary, places: outlet.places(), aside: self.aside.clone(), wrote }, bytes })
    }
}

impl std::fmt::Debug for Backfill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backfill").field("pipeline", &self.plan.name).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Refuses a sink of rows that do not say in which window they are: of such rows no range can be replaced, so the second
/// chunk would fail. What is kept aside is replaced as a whole by each chunk, and by the same rows.
fn must_have_windows(sink: &SinkPlan) -> Result<()> {
    let is_result = matches!(sink.input, Input::Step(_) | Input::Source(_));
    // These only add rows, as a run over a range does.
    let only_adds = matches!(sink.target.kind.as_str(), "kafka" | "stdout");
    if !is_result || only_adds || sink.schema.field("window_start").is_some() {
        return Ok(());
    }
    let message =
        format!("sink `{}` holds rows without `window_start`, so a chunk of them cannot be replaced", sink.name);
    Err(Error::new(Code::Unsupported, message).help(
        "leave it out: `--sinks NAMES` names those to be written; `run` without `--from` and `--to` writes all rows",
    ))
}

/// The error of a backfill that was asked to stop.
fn stopped() -> Error {
    Error::new(Code::Stopped, "the backfill was stopped; chunks that were not done hold what they held")
}

/// The error of a range without rows.
fn empty() -> Error {
    Error::new(Code::Empty, "no row lies between `--from` and `--to`")
        .help("say `--allow-empty` if that is right: the rows that sinks hold of the range then go")
}

/// A log that knows how much of it was read.
struct Metered {
    scan: Arc<dyn LogScan>,
    bytes: AtomicU64,
    is_known: AtomicBool,
}

impl Metered {
    fn new(scan: Arc<dyn LogScan>) -> Arc<Self> {
        Arc::new(Self { scan, bytes: AtomicU64::new(0), is_known: AtomicBool::new(true) })
    }

    fn bytes(&self) -> Option<u64> {
        self.is_known.load(Ordering::Relaxed).then(|| self.bytes.load(Ordering::Relaxed))
    }
}

impl LogScan for Metered {
    fn partitions(&self) -> &[PartitionRange] {
        self.scan.partitions()
    }

    fn units(&self, partition: Partition) -> &[Unit] {
        self.scan.units(partition)
    }

    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Records> {
        match self.scan.stored(unit) {
            Some(stored) => _ = self.bytes.fetch_add(stored.bytes, Ordering::Relaxed),
            None => self.is_known.store(false, Ordering::Relaxed),
        }
        self.scan.load(unit, start, end)
    }

    fn announce(&self, unit: &Unit) {
        self.scan.announce(unit);
    }

    fn stored(&self, unit: &Unit) -> Option<Stored<'_>> {
        self.scan.stored(unit)
    }

    fn caveat(&self) -> Option<String> {
        self.scan.caveat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_multiples_of_the_length_from_its_start() {
        let cut = |from, to, length| -> Vec<(i64, i64)> {
            chunks(from, to, length).unwrap().iter().map(|chunk| (chunk.from, chunk.to)).collect()
        };
        assert_eq!(cut(5, 25, 10), [(5, 15), (15, 25)]);
        assert_eq!(cut(5, 26, 10), [(5, 15), (15, 25), (25, 26)]);
        assert_eq!(cut(-5, 1, 10), [(-5, 1)]);
        assert_eq!(chunks(0, i64::MAX, 10).unwrap_err().code, Code::Usage, "too many");
        assert_eq!(chunks(0, 10, 0).unwrap_err().code, Code::Usage);
    }
}
