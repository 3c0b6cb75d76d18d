//! What both drivers share: options, progress, where rows go, and what a run came to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::log::{Offset, Partition};
use engine::plan::Plan;
use engine::watermark::{NEVER, watermark};
use engine::{Aside, Closed, Code, Emission, Engine, Error, Result};

use crate::batch::Threads;
use crate::checkpoint::Checkpoint;
use crate::cut::Cut;
use crate::numbers::{Counters, Numbers, SinkNumbers};
use crate::spill::{Budget, SpillCounts};
use crate::summary::{HeldBy, Mode};
use crate::tally::{Digested, Tally};

/// Where a run's rows go.
pub trait Outlet {
    /// Takes rows of a step or source, already restricted to the range.
    fn rows(&mut self, emission: &Emission) -> Result<()>;
    /// Takes late, failed or bad rows.
    fn aside(&mut self, aside: &Aside) -> Result<()>;
    /// Takes rows of windows that are still open, for sinks that want them early. They replace the early rows before them.
    fn early(&mut self, _: &Emission) -> Result<()> {
        Ok(())
    }
    /// Returns whether a sink lets rows go before their commit.
    fn releases(&self) -> bool {
        false
    }
    /// Lets such sinks publish the final rows that were taken so far.
    fn release(&mut self) -> Result<()> {
        Ok(())
    }
    /// Returns true when commits of a stream come with checkpoints.
    fn keeps_checkpoints(&self) -> bool {
        false
    }
    /// Returns the numbers of the pipeline's sinks.
    fn sinks(&self) -> Vec<SinkNumbers> {
        Vec::new()
    }
    /// Returns how much of the last commit the sinks took.
    fn published_in(&self) -> Duration {
        Duration::ZERO
    }
    /// Says how far the rows are settled that were taken so far, by step: every final row is among them of windows that begin
    /// before the time, and none of these is still to come.
    fn settle(&mut self, _: &[i64]) {}
    /// Makes visible what was taken since the last commit; what the stream goes on from is kept first.
    fn commit(&mut self, checkpoint: Option<Checkpoint>) -> Result<()>;
}

/// Settings of a driver. None of them changes a result.
#[derive(Clone)]
pub struct Settings {
    /// Restricts the rows that are written to `[from, to)`, in microseconds.
    pub range: (Option<i64>, Option<i64>),
    /// Threads of a batch run; 0: one per core.
    pub threads: usize,
    /// Threads that batch runs share which go on at once; None: a run has its own.
    pub shared: Option<Threads>,
    /// Records per poll of a stream, at most about.
    pub poll_records: usize,
    /// How often a stream closes what is final.
    pub close_every: Duration,
    /// How often a stream keeps a checkpoint and its sinks publish; zero: whenever it has closed something or read more,
    /// however long that takes, so that it does the same each time.
    pub checkpoint_every: Duration,
    /// How far in event time a partition may run ahead of the slowest that still has records, in microseconds.
    pub max_drift: i64,
    /// A log or a range without records is no error.
    pub allow_empty: bool,
    /// Ends the run when more records than this are late.
    pub late_limit: Option<Limit>,
    /// Ends the run when more records than this are bad.
    pub bad_limit: Option<Limit>,
    /// What the run may hold in memory; None: what there is.
    pub memory: Option<Budget>,
    /// Whether checkpoints come with the whole state too, so that a test can compare it with what they keep.
    pub compares: bool,
    /// Set by someone else to stop a run.
    pub stop: Arc<AtomicBool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            range: (None, None),
            threads: 0,
            shared: None,
            poll_records: 16_384,
            close_every: Duration::from_millis(200),
            checkpoint_every: Duration::from_secs(2),
            max_drift: 10 * 60 * 1_000_000,
            allow_empty: false,
            late_limit: None,
            bad_limit: None,
            memory: None,
            compares: false,
            stop: Arc::default(),
        }
    }
}

impl Settings {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A limit on a count, absolute or as a share of the records read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many records.
    Count(u64),
    /// So many of a hundred records read.
    Percent(f64),
}

impl Limit {
    /// Returns true when `count` of `read` is over the limit. A share is judged at the end of a run only.
    pub fn is_passed(self, count: u64, read: u64, at_end: bool) -> bool {
        match self {
            Limit::Count(limit) => count > limit,
            Limit::Percent(limit) => at_end && read > 0 && count as f64 * 100.0 > limit * read as f64,
        }
    }
}

/// How a run is getting on, for people.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which driver runs.
    pub mode: Mode,
    /// Records read so far.
    pub read: u64,
    /// Records between start and end as far as known (offsets, so an upper bound).
    pub total: Option<u64>,
    /// Records that are there and not read yet, if known.
    pub lag: Option<u64>,
    /// `G` of the source that is furthest behind, in microseconds.
    pub frontier: Option<i64>,
    /// The partition that holds it.
    pub held_by: Option<(String, Partition)>,
    /// Windows closed so far.
    pub windows: u64,
    /// Late records so far.
    pub late: u64,
    /// Bad records so far.
    pub bad: u64,
}

/// Hears of progress; called from the driver's thread several times a second at most.
pub trait Observer {
    /// Tells how far the run is.
    fn progress(&self, progress: &Progress);
    /// Returns true when it wants the numbers of a stream.
    fn watches(&self) -> bool {
        false
    }
    /// Gives the numbers of a stream, about once a second.
    fn numbers(&self, _: Numbers) {}
    /// Returns what takes numbers while the driver's thread waits for sinks, from another thread.
    fn meanwhile(&self) -> Option<Meanwhile> {
        None
    }
}

/// Takes numbers of a stream whose driver has not come round since the last ones.
pub type Meanwhile = Box<dyn Fn(Numbers) + Send>;

/// An observer that does not care.
impl Observer for () {
    fn progress(&self, _: &Progress) {}
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The partition.
    pub partition: Partition,
    /// Where reading began.
    pub start: Offset,
    /// Where reading ends, if it does.
    pub end: Option<Offset>,
    /// Everything below was read.
    pub next: Offset,
    /// The running maximum of event time.
    pub maximum: i64,
    /// The offset of the last record that a stream read, and what tells that record from others.
    pub last: Option<(Offset, u128)>,
}

/// What a run came to.
#[derive(Clone)]
pub struct Outcome {
    /// Counts and digests.
    pub tally: Tally,
    /// By source, in plan order: how far each partition was read. Empty for a source that no step or sink reads.
    pub partitions: Vec<Vec<PartitionState>>,
    /// Whether the end offsets were reached.
    pub ended: bool,
    /// What must be known to compare the run.
    pub caveats: Vec<String>,
    /// How much left the state for a while, to stay within the budget.
    pub spilled: SpillCounts,
}

impl Outcome {
    /// Returns start and end offsets.
    pub fn cuts(&self, plan: &Plan) -> (Cut, Cut) {
        let of = |offset: fn(&PartitionState) -> Offset| {
            let sources = plan.sources.iter().zip(&self.partitions);
            sources
                .map(|(source, partitions)| {
                    (source.name.clone(), partitions.iter().map(|state| (state.partition, offset(state))).collect())
                })
                .collect()
        };
        (of(|state| state.start), of(|state| state.next))
    }

    /// Returns the partition whose watermark is least.
    pub fn held_by(&self, plan: &Plan) -> Option<HeldBy> {
        let (source, state, mark) = slowest(plan, &self.partitions)?;
        let others = watermarks(plan, &self.partitions).filter(|(_, _, other)| *other == mark).count() as u64 - 1;
        Some(HeldBy {
            others,
            source: plan.sources[source].name.clone(),
            partition: state.partition,
            watermark: (mark != NEVER).then(|| crate::time::rfc3339(mark)),
        })
    }
}

/// Returns the partition with the least watermark, the first of several.
pub(crate) fn slowest<'a>(
    plan: &'a Plan,
    partitions: &'a [Vec<PartitionState>],
) -> Option<(usize, &'a PartitionState, i64)> {
    watermarks(plan, partitions).min_by_key(|(source, state, mark)| (*mark, *source, state.partition))
}

/// Returns every partition with its source and its watermark.
pub(crate) fn watermarks<'a>(
    plan: &'a Plan,
    partitions: &'a [Vec<PartitionState>],
) -> impl Iterator<Item = (usize, &'a PartitionState, i64)> {
    partitions.iter().enumerate().flat_map(|(source, states)| {
        let bound = plan.sources[source].out_of_orderness;
        states.iter().map(move |state| (source, state, watermark(state.maximum, bound)))
    })
}

/// Returns `G` of each source.
pub(crate) fn frontiers(plan: &Plan, partitions: &[Vec<PartitionState>]) -> Vec<i64> {
    let of_source = |(source, states): (usize, &Vec<PartitionState>)| {
        let bound = plan.sources[source].out_of_orderness;
        states.iter().map(|state| watermark(state.maximum, bound)).min().unwrap_or(NEVER)
    };
    partitions.iter().enumerate().map(of_source).collect()
}

/// What a driver hands on: counts and limits in one place, then the outlet; digests, too, where they were not made before.
pub(crate) struct Output<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) tally: Tally,
    pub(crate) counters: Counters,
    pub(crate) outlet: &'a mut dyn Outlet,
    pub(crate) settings: &'a Settings,
}

impl<'a> Output<'a> {
    pub(crate) fn new(engine: &'a Engine, outlet: &'a mut dyn Outlet, settings: &'a Settings) -> Self {
        let (tally, counters) = (Tally::new(engine.plan(), settings.range), Counters::default());
        Self { engine, tally, counters, outlet, settings }
    }

    pub(crate) fn emissions(&mut self, emissions: Vec<Emission>) -> Result<()> {
        let (plan, digesters) = (self.engine.plan(), self.tally.digesters.clone());
        emissions.into_iter().try_for_each(|emission| self.rows(digesters.digest(plan, emission)))
    }

    /// Takes rows that are digested already.
    pub(crate) fn rows(&mut self, rows: Digested) -> Result<()> {
        self.tally.rows(self.engine.plan(), &rows);
        if rows.emission.rows.num_rows() > 0 {
            self.outlet.rows(&rows.emission)?;
        }
        Ok(())
    }

    pub(crate) fn asides(&mut self, asides: Vec<Aside>) -> Result<()> {
        let plan = self.engine.plan().clone();
        for aside in asides {
            self.tally.aside(&plan, &aside);
            self.counters.aside(&plan, &aside);
            if is_kept(&plan, &aside)? {
                self.outlet.aside(&aside)?;
            }
        }
        self.limits(false)
    }

    /// Takes what a closing brought. Rows of the end of input count nowhere but among all rows.
    pub(crate) fn closed(&mut self, mut closed: Closed, is_end: bool) -> Result<()> {
        let emissions = std::mem::take(&mut closed.emissions);
        self.closing(closed, is_end)?;
        self.emissions(emissions)
    }

    /// Takes what a closing brought beside its rows.
    pub(crate) fn closing(&mut self, closed: Closed, is_end: bool) -> Result<()> {
        self.tally.lasted(&closed.longest);
        if !is_end {
            self.tally.windows += closed.windows;
            self.tally.checked(self.engine.plan(), &closed.checked);
            self.asides(closed.asides)?;
        }
        Ok(())
    }

    /// Judges a run that reached its end, before anything of it is published: a result that is empty by mistake must not
    /// take the place of one that is not.
    pub(crate) fn check_end(&self) -> Result<()> {
        self.limits(true)?;
        if self.settings.allow_empty {
            return Ok(());
        }
        let allow = "say `--allow-empty` if that is right";
        // Over a range, nothing may have been read because nothing there is in it.
        if self.tally.read == 0 && self.settings.range == (None, None) {
            return Err(
                Error::new(Code::Empty, "the log holds no record between the start and end offsets").help(allow)
            );
        }
        if self.settings.range != (None, None) && self.tally.total().1.rows() == 0 && !self.tally.rows.is_empty() {
            return Err(Error::new(Code::Empty, "no row lies between `--from` and `--to`").help(allow));
        }
        Ok(())
    }

    pub(crate) fn limits(&self, at_end: bool) -> Result<()> {
        let tally = &self.tally;
        let bad = tally.bad + tally.failed;
        if self.settings.bad_limit.is_some_and(|limit| limit.is_passed(bad, tally.read, at_end)) {
            return Err(Error::new(
                Code::BadRecord,
                format!("{bad} of {} records are bad, more than `--max-decode-errors` allows", tally.read),
            )
            .help("`samestream query` reads the bad records that were kept in the state folder, with their reasons"));
        }
        if self.settings.late_limit.is_some_and(|limit| limit.is_passed(tally.late, tally.read, at_end)) {
            return Err(Error::new(
                Code::Late,
                format!("{} of {} records were late, more than `--fail-on-late` allows", tally.late, tally.read),
            )
            .help("a larger `out_of_orderness` or `allowed_lateness` lets them in, at the price of later results"));
        }
        Ok(())
    }
}

/// Returns whether late, failed or bad rows are kept aside; the error of those that end the run.
pub(crate) fn is_kept(plan: &Plan, aside: &Aside) -> Result<bool> {
    use engine::plan::{Input, OnBad, OnLate};
    let source = &plan.sources[aside.source];
    if aside.ends_run {
        return Err(first_aside(plan, aside, Code::Check, "else: fail"));
    }
    match aside.input {
        Input::StepLate(_) if source.on_late == OnLate::Fail => {
            Err(first_aside(plan, aside, Code::Late, "on_late: fail"))
        }
        Input::StepLate(_) => Ok(source.on_late != OnLate::Drop),
        Input::SourceBad(_) if source.on_bad == OnBad::Fail => {
            Err(first_aside(plan, aside, Code::BadRecord, "on_bad_record: fail"))
        }
        _ => Ok(true),
    }
}

fn first_aside(plan: &Plan, aside: &Aside, code: Code, rule: &str) -> Error {
    let source = &plan.sources[aside.source].name;
    let place = match &aside.identity {
        engine::Identity::Records { partition, offsets, .. } => {
            format!("source `{source}` partition {partition} offset {}", offsets.first().copied().unwrap_or_default())
        }
        engine::Identity::Windows { .. } | engine::Identity::Pairs { .. } => format!("source `{source}`"),
    };
    let reason = aside.reasons.first().map_or("", String::as_str);
    Error::new(code, format!("{place}: {reason}; the pipeline says `{rule}`"))
        .help("`quarantine` keeps such records aside with their reason and goes on")
}
