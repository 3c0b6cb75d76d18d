//! A traced run: the batch side of a pipeline, one unit after the other, telling what became of every row.
//!
//! It takes next the unit of the partition that is furthest behind in event time and closes what is final after each, so
//! that memory follows the open windows as it does in a run. Its rows are those of a run, because what folds and closes
//! them is the same; it is slower, because one thread does all and every row is told of.

use std::sync::Arc;

use engine::edge::{LogScan, Unit};
use engine::plan::Plan;
use engine::trace::{Event, Trace};
use engine::watermark::NEVER;
use engine::{Aside, Code, Emission, Engine, Error, Result};

use crate::cut::{Cut, check_partitions};
use crate::driver::{PartitionState, Settings, frontiers};
use crate::job::{RunOptions, Sources};
use crate::summary::Mode;

/// Hears what became of rows.
pub trait Visitor {
    /// True when rows that were left out are to be followed as if they had not been.
    fn follows(&self) -> bool {
        false
    }
    /// Hears of a row at a step, or of a valid record.
    fn event(&mut self, event: &Event<'_>);
    /// Hears of late, failed and bad rows; those of the end of input do not come.
    fn aside(&mut self, _: &Aside) {}
    /// Hears that the log has ended: rows that are told of from now on are not final.
    fn ends(&mut self) {}
    /// Hears of rows that came out of a step.
    fn rows(&mut self, _: &Emission) {}
}

/// Where a walk began and ended.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Where it began.
    pub start: Cut,
    /// Where it ended.
    pub end: Cut,
    /// Records read.
    pub records: u64,
}

/// Walks over the lakes or journals of a plan. Rows of steps over records come only where a sink reads them.
pub fn walk(plan: &Arc<Plan>, options: &RunOptions, visitor: &mut dyn Visitor) -> Result<Walked> {
    let Sources::Batch(scans) = Sources::open(plan, Mode::Batch)? else {
        unreachable!("batch mode opens logs with an end")
    };
    let cuts = (options.start.as_ref(), options.end.as_ref());
    walk_over(&Engine::new(plan.clone()), scans, cuts, &options.settings, visitor)
}

/// Walks over bounded logs, one per source in plan order (None: no step or sink reads that source).
pub fn walk_over(
    engine: &Engine,
    scans: Vec<Option<Arc<dyn LogScan>>>,
    (start, end): (Option<&Cut>, Option<&Cut>),
    settings: &Settings,
    visitor: &mut dyn Visitor,
) -> Result<Walked> {
    let plan = engine.plan().clone();
    let mut logs = Logs::new(&plan, scans, start, end)?;
    let mut state = engine.empty();
    let mut records = 0;
    while let Some((source, place, unit)) = logs.next() {
        if settings.stopped() {
            return Err(Error::new(Code::Stopped, "it was stopped before it had an answer"));
        }
        let partition = logs.partitions[source][place];
        let (start, end) = (unit.start.max(partition.start), unit.end.min(partition.end.unwrap_or(unit.end)));
        let scan = logs.scans[source].as_ref().expect("a source with units has a scan");
        let chunk = scan.load(&unit, start, end)?;
        records += chunk.len() as u64;
        let (folded, trace) = engine.fold_traced(source, &chunk, partition.maximum, &mut state);
        tell(engine, &trace, visitor);
        folded.asides.iter().for_each(|aside| visitor.aside(aside));
        folded.emissions.iter().for_each(|emission| visitor.rows(emission));
        let known = &mut logs.partitions[source][place];
        (known.maximum, known.next) = (folded.maximum, end);
        let (closed, trace) = engine.close_traced(&frontiers(&plan, &logs.partitions), &mut state)?;
        tell(engine, &trace, visitor);
        closed.asides.iter().for_each(|aside| visitor.aside(aside));
        closed.emissions.iter().for_each(|emission| visitor.rows(emission));
    }
    let (closed, trace) = engine.finish_traced(state)?;
    visitor.ends();
    tell(engine, &trace, visitor);
    closed.emissions.iter().for_each(|emission| visitor.rows(emission));
    Ok(logs.walked(&plan, records))
}

fn tell(engine: &Engine, trace: &Trace, visitor: &mut dyn Visitor) {
    let follows = visitor.follows();
    engine.events(trace, follows, &mut |event| visitor.event(event));
}

/// The logs of a plan, and how far each is read.
struct Logs {
    scans: Vec<Option<Arc<dyn LogScan>>>,
    partitions: Vec<Vec<PartitionState>>,
    /// Per source and partition: the units that remain, the next one last.
    remaining: Vec<Vec<Vec<Unit>>>,
}

impl Logs {
    fn new(plan: &Plan, scans: Vec<Option<Arc<dyn LogScan>>>, start: Option<&Cut>, end: Option<&Cut>) -> Result<Self> {
        let (mut partitions, mut remaining) = (Vec::new(), Vec::new());
        for (source, scan) in plan.sources.iter().zip(&scans) {
            let (mut states, mut units) = (Vec::new(), Vec::new());
            let ranges = scan.as_ref().map_or(&[][..], |scan| scan.partitions());
            let numbers: Vec<_> = ranges.iter().map(|range| range.partition).collect();
            check_partitions(&source.name, &numbers, start)?;
            check_partitions(&source.name, &numbers, end)?;
            for range in ranges {
                let (begin, stop) = crate::batch::clip(&source.name, *range, start, end)?;
                let inside = |unit: &&Unit| unit.end > begin && unit.start < stop;
                let scan = scan.as_ref().expect("a source with partitions has a scan");
                let mut list: Vec<Unit> = scan.units(range.partition).iter().filter(inside).cloned().collect();
                list.reverse();
                let (partition, end) = (range.partition, Some(stop));
                states.push(PartitionState { partition, start: begin, end, next: begin, maximum: NEVER, last: None });
                units.push(list);
            }
            partitions.push(states);
            remaining.push(units);
        }
        Ok(Self { scans, partitions, remaining })
    }

    /// Returns the next unit of the partition that is furthest behind.
    fn next(&mut self) -> Option<(usize, usize, Unit)> {
        let open = self.remaining.iter().enumerate().flat_map(|(source, lists)| {
            lists.iter().enumerate().filter(|(_, list)| !list.is_empty()).map(move |(place, _)| (source, place))
        });
        let (source, place) = open.min_by_key(|(source, place)| self.partitions[*source][*place].maximum)?;
        let unit = self.remaining[source][place].pop().expect("it has units");
        Some((source, place, unit))
    }

    fn walked(&self, plan: &Plan, records: u64) -> Walked {
        let cut = |offset: fn(&PartitionState) -> i64| {
            let sources = plan.sources.iter().zip(&self.partitions);
            sources
                .map(|(source, states)| {
                    (source.name.clone(), states.iter().map(|state| (state.partition, offset(state))).collect())
                })
                .collect()
        };
        Walked { start: cut(|state| state.start), end: cut(|state| state.end.unwrap_or(state.next)), records }
    }
}
