//! What there is to know of a log for the ledger: how far it goes, which windows its records are in, and which windows the
//! records enter that came after runs had read it.
//!
//! Of what was read before, footers tell where windows are and how far event time had come; records are loaded where they do
//! not, and from the least end of any run on. Those go through the engine's own steps, so that what is late is late here too and
//! what is filtered enters nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::edge::{LogFile, LogScan, PartitionRange};
use engine::log::{Offset, Partition};
use engine::plan::{Input, JoinTime, Plan, Work};
use engine::touch::{Touch, Touches};
use engine::trace::{Event, Fate, Name};
use engine::watermark::{NEVER, watermark};
use engine::{Code, Engine, Result};

use super::{Files, Made, at_input, meets};
use crate::job::open_scan;

/// What is known of the logs of a plan.
pub(super) struct Seen {
    /// By source; None: it cannot be read, or nothing reads it.
    pub(super) sources: Vec<Option<Source>>,
    /// By input of a sink: where it has windows, as ranges of their starts.
    pub(super) covered: BTreeMap<usize, Vec<(i64, i64)>>,
    /// What new records enter.
    entered: BTreeMap<(Place, Touch), Counts>,
    /// By source and partition: where runs had ended, ascending.
    ends: BTreeMap<(usize, Partition), Vec<Offset>>,
    /// By step, how long the longest session lasted in any run.
    longest: Vec<Option<i64>>,
    /// By step, how far its output is complete; None: a log cannot be read.
    pub(super) complete: Option<Vec<i64>>,
    /// What people should know of it.
    pub(super) notes: Vec<String>,
}

/// Records by source, partition, and how many ends of runs were before them.
type Counts = BTreeMap<(usize, Partition, usize), Count>;

/// Records, of which the last one is known, so that one with many elements counts once.
#[derive(Clone, Copy, Debug)]
struct Count {
    records: u64,
    last: Offset,
}

/// An input of steps, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Source(usize),
    Step(usize),
}

impl Place {
    fn plain(self) -> Input {
        match self {
            Self::Source(source) => Input::Source(source),
            Self::Step(step) => Input::Step(step),
        }
    }
}

/// What a run has made that is still there.
pub(super) struct Asked<'a> {
    pub(super) made: &'a Made,
    /// Ranges of windows of inputs of sinks.
    pub(super) ranges: Vec<(Input, (i64, i64))>,
}

impl Asked<'_> {
    /// Returns where the run had ended in a partition.
    fn end(&self, source: &str, range: &PartitionRange) -> Offset {
        let end = self.made.end.get(source).and_then(|end| end.get(&range.partition));
        end.copied().unwrap_or(range.start)
    }
}

/// A log.
pub(super) struct Source {
    pub(super) ranges: Vec<PartitionRange>,
    files: Vec<(Partition, Vec<LogFile>)>,
    frontier: i64,
}

impl Source {
    /// Returns its files up to an end.
    pub(super) fn files(&self, end: Option<&BTreeMap<Partition, Offset>>) -> Files {
        let end = |partition: &Partition| end.and_then(|end| end.get(partition)).copied().unwrap_or(0);
        let list: Vec<_> =
            self.files.iter().map(|(partition, files)| (*partition, end(partition), files.clone())).collect();
        Files::of(&list)
    }
}

impl Seen {
    /// Looks at the logs of a plan. `made` is how what its sinks hold was made, as far as by this definition.
    pub(super) fn look(plan: &Arc<Plan>, asked: &[Asked<'_>]) -> Result<Self> {
        let engine = Engine::new(plan.clone());
        let made: Vec<&Made> = asked.iter().map(|asked| asked.made).collect();
        let mut seen = Self {
            sources: Vec::new(),
            covered: BTreeMap::new(),
            entered: BTreeMap::new(),
            ends: BTreeMap::new(),
            longest: longest(plan, &made),
            complete: None,
            notes: Vec::new(),
        };
        for index in 0..plan.sources.len() {
            let found = seen.source(&engine, index, asked)?;
            seen.sources.push(found);
        }
        let frontier = |index: usize| match &seen.sources[index] {
            Some(source) => Some(source.frontier),
            None => Some(NEVER).filter(|_| !is_read(plan, index)),
        };
        let frontiers: Option<Vec<i64>> = (0..plan.sources.len()).map(frontier).collect();
        seen.complete = frontiers.map(|frontiers| engine.complete(&frontiers));
        for covered in seen.covered.values_mut() {
            *covered = super::union(std::mem::take(covered));
        }
        Ok(seen)
    }

    fn source(&mut self, engine: &Engine, index: usize, asked: &[Asked<'_>]) -> Result<Option<Source>> {
        let plan = engine.plan();
        if !is_read(plan, index) {
            return Ok(None);
        }
        let name = &plan.sources[index].name;
        let scan = match open_scan(&plan.sources[index]) {
            Ok(scan) => scan,
            Err(error) if matches!(error.code, Code::Binding | Code::NotFound) => {
                self.notes.push(format!("{}: what is missing or came later is not known", error.message));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut frontier = i64::MAX;
        for range in scan.partitions() {
            let mut ends: Vec<Offset> = asked.iter().map(|asked| asked.end(name, range)).collect();
            ends.sort_unstable();
            ends.dedup();
            self.ends.insert((index, range.partition), ends);
            let maximum = self.partition(engine, index, scan.as_ref(), *range, asked)?;
            frontier = frontier.min(watermark(maximum, plan.sources[index].out_of_orderness));
        }
        let files = scan.partitions().iter().map(|range| (range.partition, scan.files(range.partition)));
        let frontier = if scan.partitions().is_empty() { NEVER } else { frontier };
        Ok(Some(Source { ranges: scan.partitions().to_vec(), files: files.collect(), frontier }))
    }

    /// Goes through a partition, and returns its running maximum.
    fn partition(
        &mut self,
        engine: &Engine,
        source: usize,
        scan: &dyn LogScan,
        range: PartitionRange,
        asked: &[Asked<'_>],
    ) -> Result<i64> {
        let plan = engine.plan();
        let mut maximum = NEVER;
        for unit in scan.units(range.partition) {
            let after = asked.iter().filter(|asked| asked.end(&plan.sources[source].name, &range) < unit.end);
            let is_new = match unit.min_event_time.zip(unit.max_event_time) {
                // What old windows cannot be entered by need not be read for them.
                Some(span) => after.into_iter().any(|asked| self.may_enter(plan, source, span, asked)),
                None => after.count() > 0,
            };
            let known = unit.min_event_time.zip(unit.max_event_time);
            let span = match known.filter(|_| !is_new) {
                Some(span) => Some(span).filter(|(least, largest)| least <= largest),
                None => {
                    let chunk = scan.load(unit, unit.start, unit.end)?;
                    if is_new {
                        let (_, trace) = engine.fold_traced(source, &chunk, maximum, &mut engine.empty());
                        engine.events(&trace, false, &mut |event| self.event(engine.plan(), source, event));
                    }
                    engine.event_time_span(source, &chunk)
                }
            };
            let Some((least, largest)) = span else { continue };
            maximum = maximum.max(largest);
            self.cover(engine.plan(), source, (least, largest));
        }
        Ok(maximum)
    }

    /// Returns whether records with event times of a span may enter what a run has made.
    fn may_enter(&self, plan: &Plan, source: usize, (least, largest): (i64, i64), asked: &Asked<'_>) -> bool {
        if least > largest {
            return false;
        }
        let touches = Touches { plan, longest: &self.longest, is_rewritten: false };
        let records = Touch::of_records(least, largest);
        asked.ranges.iter().any(|(input, range)| meets(at_input(&touches, source, records, *input), *range))
    }

    /// Notes where records with event times of a span have windows.
    fn cover(&mut self, plan: &Plan, source: usize, (least, largest): (i64, i64)) {
        let longest = vec![Some(0); plan.steps.len()];
        let touches = Touches { plan, longest: &longest, is_rewritten: false };
        for (number, sink) in plan.sinks.iter().enumerate() {
            if let Some(touch) = at_input(&touches, source, Touch::of_records(least, largest), sink.input) {
                self.covered.entry(number).or_default().push(touch.starts);
            }
        }
    }

    /// Notes what a record of the end of the log enters.
    fn event(&mut self, plan: &Plan, source: usize, event: &Event<'_>) {
        let Name::Record { partition, offset, .. } = event.name else { return };
        let rank = self.ends[&(source, partition)].partition_point(|end| *end <= offset);
        if rank == 0 {
            return;
        }
        let touches = Touches { plan, longest: &self.longest, is_rewritten: false };
        let step = Place::Step(event.step);
        let is_sunk = |input: Input| plan.sinks.iter().any(|sink| sink.input == input);
        let entered = match &event.fate {
            Fate::Read => Some((Place::Source(source), coarse(event.event_time, HOUR))),
            Fate::Passed(_) => Some((step, coarse(event.event_time, HOUR))),
            Fate::InWindow { window, late_by: None, .. } => match &plan.steps[event.step].work {
                Work::Window(of) => Some((step, Touch::of_window(of.windowing, *window))),
                Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => None,
            },
            Fate::InSession { late_by: None, .. } => {
                let records = match &plan.steps[event.step].work {
                    Work::Window(of) => coarse(event.event_time, grain(of.windowing)),
                    Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => coarse(event.event_time, 1),
                };
                Some((step, touches.at(event.step, records)))
            }
            Fate::AtSide { window, late_by: None, .. } => match (&plan.steps[event.step].work, window) {
                (Work::Join(join), Some(window)) => match join.time {
                    JoinTime::Window(windowing) => {
                        let Touch { starts, ends } = Touch::of_window(windowing, *window);
                        Some((step, Touch { starts: (starts.0, starts.1.max(window.end)), ends }))
                    }
                    JoinTime::Within { .. } | JoinTime::AsOf { .. } => Some((step, Touch::EVERYTHING)),
                },
                _ => Some((step, Touch::EVERYTHING)),
            },
            Fate::InWindow { .. } | Fate::InSession { .. } | Fate::AtSide { .. } => None,
            Fate::Filtered | Fate::Failed(_) | Fate::Repeated(_) => None,
        };
        let entered = entered.filter(|(input, _)| match event.fate {
            Fate::Read | Fate::Passed(_) => is_sunk(input.plain()),
            _ => true,
        });
        if let Some(entered) = entered {
            let counts = self.entered.entry(entered).or_default();
            let count = counts.entry((source, partition, rank)).or_insert(Count { records: 0, last: -1 });
            count.records += u64::from(count.last != offset);
            count.last = offset;
        }
    }

    /// Returns which windows of a sink records enter that a run has not seen, and how many these are.
    pub(super) fn entered(&self, plan: &Plan, input: Input, made: &Made) -> Vec<((i64, i64), u64)> {
        let touches = Touches { plan, longest: &self.longest, is_rewritten: false };
        let is_new = |(source, partition, rank): &(usize, Partition, usize)| {
            let end = made.end.get(&plan.sources[*source].name).and_then(|end| end.get(partition));
            let ends = &self.ends[&(*source, *partition)];
            // Of a partition that the run did not know all is new.
            end.is_none_or(|end| ends.partition_point(|other| other < end) < *rank)
        };
        let mut found = Vec::new();
        for ((at, touch), counts) in &self.entered {
            let count: u64 = counts.iter().filter(|(key, _)| is_new(key)).map(|(_, count)| count.records).sum();
            if count == 0 {
                continue;
            }
            let touched = match (at.plain(), input) {
                (at, input) if at == input => Some(*touch),
                (at, Input::Step(step)) => touches.onward(at, *touch)[step].filter(|_| is_windowed(plan, at)),
                _ => None,
            };
            found.extend(touched.map(|touch| (touch.starts, count)));
        }
        found
    }
}

const HOUR: i64 = 3_600_000_000;

/// Returns the touch of all records of a stretch of time around one.
fn coarse(time: i64, grain: i64) -> Touch {
    let first = time.saturating_sub(time.rem_euclid(grain));
    Touch::of_records(first, first.saturating_add(grain - 1))
}

/// Returns how finely records are told apart that enter sessions.
fn grain(windowing: engine::window::Windowing) -> i64 {
    match windowing {
        engine::window::Windowing::Session { gap } => (gap / 8).max(1),
        _ => 1,
    }
}

/// Returns true for a step whose rows are of windows: what its readers get is not told record by record.
fn is_windowed(plan: &Plan, input: Input) -> bool {
    let Input::Step(step) = input else { return false };
    matches!(plan.steps[step].work, Work::Window(_) | Work::Join(_))
}

fn is_read(plan: &Plan, source: usize) -> bool {
    let is_it = |input: Input| input == Input::Source(source) || input == Input::SourceBad(source);
    plan.steps.iter().any(|step| step.sources.contains(&source)) || plan.sinks.iter().any(|sink| is_it(sink.input))
}

/// Returns by step how long the longest session lasted in any of these runs.
pub(super) fn longest(plan: &Plan, made: &[&Made]) -> Vec<Option<i64>> {
    let of_step = |name: &str| {
        let of = |made: &&Made| made.longest.as_ref().map(|longest| longest.get(name).copied().unwrap_or(0));
        made.iter().map(of).try_fold(0, |most, longest| Some(longest?.max(most)))
    };
    plan.steps.iter().map(|step| of_step(&step.name)).collect()
}
