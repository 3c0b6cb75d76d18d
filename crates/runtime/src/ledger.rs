//! The interval ledger: of every sink, which ranges of window starts which run has made, and of what.
//!
//! ```text
//! run ──► Wrote ──overlay──► Held, one for each sink and place     log as it is now ──► Seen
//!                              │                                                          │
//!                              └────────────────────► sight ◄─────────────────────────────┘
//!                                                        │
//!                              final · provisional · stale · missing ──► ranges to heal
//! ```
//!
//! `line` are ranges with values, `seen` is what is to be known of a log, `sight` judges. All of it but `seen` is a function of
//! values. Nothing that a run results in depends on the ledger: it says which runs are worth while, and no more.

mod line;
mod seen;
mod sight;

use std::collections::BTreeMap;
use std::sync::Arc;

use connectors::sink;
use engine::edge::{LogFile, LogScan};
use engine::plan::{Input, Plan, SinkPlan, SourcePlan, StepPlan, Work};
use engine::touch::{Touch, Touches};
use engine::watermark::{NEVER, watermark};
use engine::window::Windowing;
use engine::{Engine, Result};
use serde::{Deserialize, Serialize};

pub use line::{Line, union};
use seen::Seen;
pub use sight::{Healing, Range, RangeState, SinkStatus, Status, schema, status, to_heal};

use crate::catalogue::{Catalogue, Outcome, Run};
use crate::checkpoint::saved::Saved;
use crate::checkpoint::{Manifest, PartitionMark, Place};
use crate::cut::Cut;
use crate::job::RunOptions;
use crate::outlet::takes_open;
use crate::summary::Mode;
use crate::tally::Tally;
use crate::time;

const DAY: i64 = 86_400_000_000;

/// What a sink holds at a place, as far as runs have told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Ranges of window starts, disjoint and in order, with the index of what made them.
    stretches: Vec<(i64, i64, usize)>,
    /// What made them.
    made: Vec<Made>,
}

/// How the rows of a stretch were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The run.
    pub run: u64,
    /// By which driver.
    pub mode: Mode,
    /// By which definition.
    pub definition: String,
    /// From which offsets on.
    pub start: Cut,
    /// Up to which offsets.
    pub end: Cut,
    /// By step, how far its output was complete at that end.
    pub complete: BTreeMap<String, i64>,
    /// Whether the sink got the rows of windows that were open.
    pub has_open: bool,
    /// By step, how long the longest session lasted; None: nobody knows.
    pub longest: Option<BTreeMap<String, i64>>,
    /// By source that is read from files, which these were.
    pub files: BTreeMap<String, Files>,
}

/// Which files records were read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// By day of UTC, as days since 1970, what tells the files with records of that day from others.
    pub days: BTreeMap<i64, u64>,
    /// What tells those from others of which nobody knows the event times.
    pub undated: u64,
}

impl Files {
    /// Sums up the files of partitions up to an end.
    ///
    /// Each counts with the running maximum before it, because that decides which of its records are late; where it is not
    /// known, with all files before it.
    fn of(partitions: &[(i32, i64, Vec<LogFile>)]) -> Self {
        let mut files = Self::default();
        for (partition, end, list) in partitions {
            let (mut maximum, mut unknown) = (NEVER, 0_u64);
            for file in list.iter().filter(|file| file.start < *end) {
                let numbers = [i64::from(*partition) as u64, file.stamp, maximum as u64, unknown];
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
                let mut add = |day: i64| {
                    let of_day = files.days.entry(day).or_default();
                    *of_day = of_day.wrapping_add(sum);
                };
                match file.times {
                    Some((least, largest)) if least <= largest => {
                        (least.div_euclid(DAY)..=largest.div_euclid(DAY)).for_each(&mut add);
                        maximum = maximum.max(largest);
                    }
                    // No record of it is valid, or nobody knows.
                    Some(_) => {}
                    None => {
                        files.undated = files.undated.wrapping_add(sum);
                        unknown = sum;
                    }
                }
            }
        }
        files
    }

    /// Returns the days of which the files are others.
    fn other_days(&self, other: &Self) -> Vec<i64> {
        let days = self.days.keys().chain(other.days.keys().filter(|day| !self.days.contains_key(day)));
        let mut days: Vec<i64> = days.filter(|day| self.days.get(day) != other.days.get(day)).copied().collect();
        days.sort_unstable();
        days
    }
}

/// What a run has written.
#[derive(Clone, Debug)]
pub struct Wrote {
    /// Rows from this window start on; `i64::MIN`: from the first.
    from: i64,
    /// Rows before this one; `i64::MAX`: to the last.
    to: i64,
    /// Whether it went on from a checkpoint, so that it has not seen all that it has results of.
    goes_on: bool,
    /// Each sink with its place, and how.
    sinks: Vec<(String, String, Made)>,
    /// By sink that a stream writes: rows from this window start on were left to that one.
    left_from: BTreeMap<String, i64>,
}

/// How far a run came, for the ledger.
pub(crate) struct Came<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a RunOptions,
    /// The sinks that it wrote, where it wrote them.
    pub(crate) sinks: &'a [SinkPlan],
    /// The logs that it read, if they have an end.
    pub(crate) scans: &'a [Option<Arc<dyn LogScan>>],
    pub(crate) goes_on: bool,
    pub(crate) ended: bool,
    /// By step, how far its output was complete.
    pub(crate) complete: &'a [i64],
    pub(crate) tally: &'a Tally,
    pub(crate) cuts: (&'a Cut, &'a Cut),
}

impl Wrote {
    pub(crate) fn of(came: &Came<'_>) -> Self {
        let Came { plan, options, .. } = *came;
        let (from, to) = options.settings.range;
        let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        let name = |step: usize| plan.steps[step].name.clone();
        let longest: BTreeMap<usize, i64> = came.tally.longest.clone();
        let all: Vec<Files> = plan
            .sources
            .iter()
            .zip(came.scans)
            .map(|(source, scan)| files(scan, came.cuts.1.get(&source.name)))
            .collect();
        let lasted: Vec<Option<i64>> =
            (0..plan.steps.len()).map(|step| Some(longest.get(&step).copied().unwrap_or(0))).collect();
        let touches = Touches { plan, longest: &lasted, is_rewritten: true };
        let sinks = came.sinks.iter().filter(|sink| is_result(sink)).map(|sink| {
            let of_range = |(source, all): (usize, &Files)| {
                let days =
                    all.days.iter().filter(|(day, _)| meets(of_day(&touches, source, **day, sink.input), (from, to)));
                Files { days: days.map(|(day, sum)| (*day, *sum)).collect(), undated: all.undated }
            };
            let files = plan.sources.iter().zip(all.iter().enumerate().map(of_range));
            let made = Made {
                run: 0,
                mode: options.mode,
                definition: plan.definition.clone(),
                start: came.cuts.0.clone(),
                end: came.cuts.1.clone(),
                complete: came.complete.iter().enumerate().map(|(step, complete)| (name(step), *complete)).collect(),
                has_open: came.ended && takes_open(sink),
                longest: Some(longest.iter().map(|(step, longest)| (name(*step), *longest)).collect()),
                files: files
                    .filter(|(_, files)| *files != Files::default())
                    .map(|(source, files)| (source.name.clone(), files))
                    .collect(),
            };
            (sink.name.clone(), sink::place(sink), made)
        });
        Self { from, to, goes_on: came.goes_on, sinks: sinks.collect(), left_from: BTreeMap::new() }
    }

    /// The same where rows of some sinks were left to the streams that write them, each from a window start on.
    pub(crate) fn leaving(mut self, left_from: BTreeMap<String, i64>) -> Self {
        // Beside a stream none of the windows that are open is written.
        let beside = self.sinks.iter_mut().filter(|(sink, ..)| left_from.contains_key(sink));
        beside.for_each(|(.., made)| made.has_open = false);
        Self { left_from, ..self }
    }

    /// Puts what a run has written over what its sinks held. `held` gives that of a sink at a place, and is given it back.
    pub(crate) fn overlay(
        self,
        run: u64,
        mut change: impl FnMut(&str, &str, &dyn Fn(Held) -> Held) -> Result<()>,
    ) -> Result<()> {
        let Self { from, to, goes_on, sinks, left_from } = self;
        sinks.into_iter().try_for_each(|(sink, place, made)| {
            let to = left_from.get(&sink).map_or(to, |left| to.min(*left));
            if from >= to {
                return Ok(());
            }
            change(&sink, &place, &|held| held.with(from, to, Made { run, ..made.clone() }, goes_on))
        })
    }
}

/// Returns the files of a source up to an end.
fn files(scan: &Option<Arc<dyn LogScan>>, end: Option<&BTreeMap<i32, i64>>) -> Files {
    let Some(scan) = scan else { return Files::default() };
    let of = |partition: i32| {
        (partition, end.and_then(|end| end.get(&partition)).copied().unwrap_or(i64::MAX), scan.files(partition))
    };
    Files::of(&scan.partitions().iter().map(|range| of(range.partition)).collect::<Vec<_>>())
}

/// Returns what a change of the records of a day may change among the rows of an input.
fn of_day(touches: &Touches<'_>, source: usize, day: i64, input: Input) -> Option<Touch> {
    let records = Touch::of_records(day * DAY, (day + 1) * DAY - 1);
    at_input(touches, source, records, input)
}

fn at_input(touches: &Touches<'_>, source: usize, records: Touch, input: Input) -> Option<Touch> {
    match input {
        Input::Source(of) => Some(records).filter(|_| of == source),
        Input::Step(step) => touches.of_source(source, records)[step],
        Input::SourceBad(_) | Input::StepBad(_) | Input::StepLate(_) => None,
    }
}

fn meets(touch: Option<Touch>, (from, to): (i64, i64)) -> bool {
    touch.is_some_and(|touch| touch.starts.0 < to && from < touch.starts.1)
}

/// Returns true for a sink that holds results. What was kept aside is of no range, and what was printed is gone.
fn is_result(sink: &SinkPlan) -> bool {
    matches!(sink.input, Input::Source(_) | Input::Step(_)) && sink.target.kind != "stdout"
}

/// How many places of a sink are kept: every `--out` is one.
pub(crate) const MOST_PLACES: usize = 64;

impl Held {
    /// Returns the last run that has made some of it.
    pub(crate) fn last_run(&self) -> Option<u64> {
        self.made.iter().map(|made| made.run).max()
    }

    /// Returns it with what a stream has made so far. Runs over ranges that began after it have replaced rows of its.
    fn under_way(self, made: Made, goes_on: bool) -> Self {
        let of = |(from, to, index): &(i64, i64, usize)| (*from, *to, self.made[*index].clone());
        let (later, before): (Vec<_>, Vec<_>) = self.stretches.iter().map(of).partition(|(.., by)| by.run > made.run);
        let put = |held: Self, (from, to, made): (i64, i64, Made)| held.with(from, to, made, false);
        let whole = before.into_iter().fold(Self::default(), put).with(i64::MIN, i64::MAX, made, goes_on);
        later.into_iter().fold(whole, put)
    }

    /// Returns it with what a run has made over `[from, to)`.
    fn with(self, from: i64, to: i64, mut made: Made, goes_on: bool) -> Self {
        if goes_on {
            // The sessions that it did not see are those of the runs before it.
            let before = self.made.iter().filter(|before| before.definition == made.definition);
            made.longest = before
                .map(|before| before.longest.clone())
                .reduce(longer)
                .flatten()
                .and_then(|before| longer(Some(before), made.longest));
        }
        let mut line = Line::of(self.stretches);
        let mut all = self.made;
        line.put(from, to, all.len());
        all.push(made);
        // What made nothing that is still there is forgotten.
        let mut kept: Vec<Made> = Vec::new();
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        let stretches = line.stretches().into_iter().map(|(from, to, index)| {
            let place = *places.entry(index).or_insert_with(|| {
                kept.push(all[index].clone());
                kept.len() - 1
            });
            (from, to, place)
        });
        Self { stretches: stretches.collect(), made: kept }
    }
}

fn longer(a: Option<BTreeMap<String, i64>>, b: Option<BTreeMap<String, i64>>) -> Option<BTreeMap<String, i64>> {
    let (mut a, b) = a.zip(b)?;
    for (step, longest) in b {
        let known = a.entry(step).or_insert(0);
        *known = (*known).max(longest);
    }
    Some(a)
}

/// Returns by sink of a plan that has rows of results what the ledger says it holds, and what the checkpoints of a stream say
/// that goes on, or was killed.
pub(crate) fn held(
    catalogue: &Catalogue,
    checkpoints: &Place,
    plan: &Arc<Plan>,
    sinks: &[SinkPlan],
) -> Result<Vec<(SinkPlan, Held)>> {
    let results = sinks.iter().filter(|sink| is_result(sink));
    let held = results.map(|sink| Ok((sink.clone(), catalogue.held(&plan.name, &sink.name, &sink::place(sink))?)));
    let mut held: Vec<(SinkPlan, Held)> = held.collect::<Result<_>>()?;
    let streams = |run: &Run| run.pipeline == plan.name && run.mode == Mode::Stream;
    let Some(run) = catalogue.runs()?.into_iter().rev().find(streams) else { return Ok(held) };
    let has_said = matches!(run.outcome, Outcome::Done | Outcome::Stopped);
    let Some(told) = (!has_said).then(|| newest(checkpoints, plan, &run)).transpose()?.flatten() else {
        return Ok(held);
    };
    for (sink, held) in &mut held {
        let goes_there =
            |place: &String| sink.target.settings.get("path").is_none_or(|path| place.contains(path.as_str()));
        if told.places.get(&sink.name).is_some_and(goes_there) {
            let made = by_checkpoint(plan, sink, &run, &told);
            *held = std::mem::take(held).under_way(made, !told.is_first);
        }
    }
    Ok(held)
}

/// Returns the newest checkpoint that a run has made.
fn newest(checkpoints: &Place, plan: &Plan, run: &Run) -> Result<Option<Manifest>> {
    let entries = Saved::new(checkpoints.store(&plan.name)?, &plan.name).entries()?;
    let newest = entries.into_iter().rfind(|entry| entry.pin.is_none()).map(|entry| entry.manifest);
    let began = time::parse(&run.started)?;
    Ok(newest.filter(|newest| newest.made_at.is_some_and(|at| at >= began)))
}

/// Returns what a stream has made up to a checkpoint.
fn by_checkpoint(plan: &Arc<Plan>, sink: &SinkPlan, run: &Run, told: &Manifest) -> Made {
    let marks = |source: &SourcePlan| told.sources.get(&source.name).map_or(&[][..], Vec::as_slice);
    let cut = |offset: fn(&PartitionMark) -> i64| -> Cut {
        let of = |source: &SourcePlan| marks(source).iter().map(|mark| (mark.partition, offset(mark))).collect();
        plan.sources.iter().map(|source| (source.name.clone(), of(source))).collect()
    };
    let frontier = |source: &SourcePlan| {
        let marks = marks(source).iter().map(|mark| watermark(mark.maximum.unwrap_or(NEVER), source.out_of_orderness));
        marks.min().unwrap_or(NEVER)
    };
    let complete = Engine::new(plan.clone()).complete(&plan.sources.iter().map(frontier).collect::<Vec<_>>());
    let is_session = |step: &StepPlan| match &step.work {
        Work::Window(window) => matches!(window.windowing, Windowing::Session { .. }),
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => false,
    };
    Made {
        run: run.id,
        mode: Mode::Stream,
        definition: told.definition.clone(),
        start: cut(|mark| mark.start),
        end: cut(|mark| mark.next),
        complete: plan.steps.iter().zip(complete).map(|(step, complete)| (step.name.clone(), complete)).collect(),
        // What is open comes by itself while it goes on.
        has_open: run.outcome == Outcome::Running || !takes_open(sink),
        longest: (!plan.steps.iter().any(is_session)).then(BTreeMap::new),
        files: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;
