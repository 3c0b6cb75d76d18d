//! Lateness: what each bound of disorder would leave out, and which results it would change.
//!
//! One pass finds for each record and each window of it the least `out_of_orderness` with which the window takes it
//! ([`engine::watermark::least_bound_for_window`], the rule of every run turned round). A bound leaves a record out when it
//! is less than the least one over its windows, and it changes a window when it takes other records into it than the
//! bound in the file does. Which sessions and which joined rows there are follows from more records than these, so a second
//! pass gathers all that have the keys in question (`results`).

mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::log::{Offset, Partition};
use engine::plan::{Plan, StepPlan, Work};
use engine::trace::{Event, Fate, Name};
use engine::watermark::{NEVER, least_bound_for_point, least_bound_for_window};
use engine::window::{Window, Windowing};
use engine::{Engine, Result};

use self::results::Members;
use crate::disorder::{Disorder, round_up, rounds_below};
use crate::job::RunOptions;
use crate::walk::{Visitor, Walked, walk};

/// What was found.
#[derive(Clone, Debug)]
pub struct Lateness {
    /// By source that steps with windows read, in plan order.
    pub sources: Vec<SourceLateness>,
    /// Where it began and ended to read.
    pub walked: Walked,
    /// What is not in the numbers.
    pub caveats: Vec<String>,
}

/// What was found of a source.
#[derive(Clone, Debug)]
pub struct SourceLateness {
    /// The source.
    pub source: String,
    /// Its bound in the file, in microseconds.
    pub present: i64,
    /// How out of order each partition is.
    pub partitions: Vec<(Partition, Disorder)>,
    /// The steps whose windows its records come to.
    pub steps: Vec<StepLateness>,
}

/// What was found of a step.
#[derive(Clone, Debug)]
pub struct StepLateness {
    /// The step.
    pub step: String,
    /// Records of the source that reached it.
    pub reached: u64,
    /// What is counted as changed.
    pub results: Results,
    /// What each bound would do, the least first.
    pub rungs: Vec<Rung>,
}

/// What the results of a step are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// Windows with their keys.
    Windows,
    /// Sessions with their keys.
    Sessions,
    /// Rows of a join.
    Rows,
}

impl Results {
    fn of(step: &StepPlan) -> Option<Self> {
        match &step.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => None,
            Work::Window(window) if matches!(window.windowing, Windowing::Session { .. }) => Some(Results::Sessions),
            Work::Window(_) => Some(Results::Windows),
            Work::Join(_) => Some(Results::Rows),
        }
    }

    /// Returns their name in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Results::Windows => "windows",
            Results::Sessions => "sessions",
            Results::Rows => "rows",
        }
    }
}

/// What a bound would do.
#[derive(Clone, Debug)]
pub struct Rung {
    /// The bound, in microseconds.
    pub bound: i64,
    /// Records that would be late for all their windows, by partition; partitions without any are left out.
    pub late: BTreeMap<Partition, u64>,
    /// Windows or sessions that would take other records than with the bound in the file, would come or go; of joins: rows
    /// that would come, go, or have another partner.
    pub changed: u64,
    /// A few of them.
    pub examples: Vec<Changed>,
}

/// A window, or what a join makes of a key, that a bound would change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The window; None: joined rows are in none.
    pub window: Option<Window>,
    /// The key.
    pub key: String,
    /// How many records it would lose; of joins: how many rows.
    pub lost: u64,
    /// How many records it would gain; of joins: how many rows.
    pub gained: u64,
    /// One record that is taken with one of the bounds only.
    pub record: (Partition, Offset),
}

/// Asks what bounds would do; none given: a ladder of round ones up to the one that lets in all records.
pub fn lateness(plan: &Arc<Plan>, bounds: &[i64], options: &RunOptions) -> Result<Lateness> {
    let engine = Engine::new(plan.clone());
    let mut pass =
        Pass { plan: plan.clone(), late: BTreeMap::new(), reached: BTreeMap::new(), disorder: BTreeMap::new() };
    let walked = walk(plan, options, &mut pass)?;
    let mut members = Members::new(plan, pass.keys());
    if !members.is_empty() {
        walk(plan, options, &mut members)?;
    }
    let mut sources = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let steps: Vec<usize> = (0..plan.steps.len()).filter(|step| has_late(&plan.steps[*step], index)).collect();
        if steps.is_empty() {
            continue;
        }
        let ladder = pass.ladder(index, source.out_of_orderness, bounds);
        let steps = steps.into_iter().map(|step| pass.step(&engine, index, step, &ladder, &members)).collect();
        let of_source = pass.disorder.iter().filter(|((of, _), _)| *of == index);
        let partitions = of_source.map(|((_, partition), disorder)| (*partition, disorder.clone())).collect();
        sources.push(SourceLateness {
            source: source.name.clone(),
            present: source.out_of_orderness,
            partitions,
            steps,
        });
    }
    Ok(Lateness { sources, walked, caveats: caveats(plan) })
}

/// Returns whether records of a source may be late at a step.
fn has_late(step: &StepPlan, source: usize) -> bool {
    match &step.work {
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) => false,
        Work::Window(_) => !step.over_windows && step.sources.contains(&source),
        Work::Join(join) => join.sides.iter().any(|side| side.are_records && side.sources.contains(&source)),
    }
}

fn caveats(plan: &Plan) -> Vec<String> {
    let mut caveats = Vec::new();
    if plan.steps.iter().any(|step| matches!(step.work, Work::Dedup(_))) {
        caveats.push(
            "what `dedup` lets through depends on the bound too; it is taken as it is with the bound in the file"
                .into(),
        );
    }
    let leaves_out = |step: &StepPlan| step.rows.filter.is_some() || !step.rules.is_empty();
    if plan.steps.iter().any(|step| matches!(step.work, Work::Join(_)) && leaves_out(step)) {
        caveats.push("joined rows are counted before the join's `where` and `check`".into());
    }
    let is_unique = |work: &Work| matches!(work, Work::Window(window) if !window.unique_by.is_empty());
    if plan.steps.iter().any(|step| is_unique(&step.work)) {
        caveats.push(
            "of a window with `unique_by` a record may be taken and not count, so fewer of its results change".into(),
        );
    }
    let reads_results = |step: &StepPlan| match &step.work {
        Work::Join(join) => join.sides.iter().any(|side| !side.are_records),
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => step.over_windows,
    };
    if plan.steps.iter().any(reads_results) {
        caveats.push(
            "steps over windows and joins read what these give, here as it is with the bound in the file; their own \
             results are not told"
                .into(),
        );
    }
    caveats
}

/// A pair of a record and a window that a bound greater than zero is needed for.
struct Needy {
    partition: Partition,
    offset: Offset,
    /// None: at a point in time.
    window: Option<Window>,
    key: Vec<u8>,
    /// The least bound with which the window takes the record.
    bound: i64,
}

struct Pass {
    plan: Arc<Plan>,
    /// By source and step. The pairs of one record stand side by side.
    late: BTreeMap<(usize, usize), Vec<Needy>>,
    /// By source, step and side of a join.
    reached: BTreeMap<(usize, usize, usize), Reached>,
    disorder: BTreeMap<(usize, Partition), Disorder>,
}

/// The records that came to a step's windows or to a side of a join.
#[derive(Default)]
struct Reached {
    count: u64,
    /// The last of them, and where its last window ends: the windows of one come by their ends, and the same record may
    /// come again by another way of a union.
    last: Option<(Name, i64)>,
    /// Those that some bound would leave out, and the last.
    least: Vec<Least>,
}

/// The least bound with which any window takes a record.
struct Least {
    partition: Partition,
    bound: i64,
}

impl Visitor for Pass {
    fn event(&mut self, event: &Event<'_>) {
        let Name::Record { source, partition, offset, .. } = event.name else { return };
        if event.fate == Fate::Read {
            self.disorder.entry((source, partition)).or_default().add(event.event_time);
            return;
        }
        let Some(Place { side, at, key, bound }) = place(&self.plan, event) else { return };
        let reached = self.reached.entry((source, event.step, side)).or_default();
        let end = at.map_or(NEVER, |window| window.end);
        let goes_on = reached.last.as_ref().is_some_and(|(known, last)| *known == event.name && *last < end);
        reached.last = Some((event.name.clone(), end));
        if goes_on {
            let known = reached.least.last_mut().expect("the pair before it is there");
            known.bound = known.bound.min(bound);
        } else {
            reached.count += 1;
            // What no bound would leave out need not be kept.
            if reached.least.last().is_some_and(|before| before.bound <= 0) {
                reached.least.pop();
            }
            reached.least.push(Least { partition, bound });
        }
        if bound > 0 {
            let needy = Needy { partition, offset, window: at, key: key.to_vec(), bound };
            self.late.entry((source, event.step)).or_default().push(needy);
        }
    }
}

/// Where a row came to: a window, a session, a side of a join.
struct Place<'a> {
    side: usize,
    /// None: at a point in time.
    at: Option<Window>,
    key: &'a [u8],
    /// The least bound with which it is taken there; of rows that are no records [`NEVER`].
    bound: i64,
}

fn place<'a>(plan: &Plan, event: &'a Event<'_>) -> Option<Place<'a>> {
    let allowed = match &plan.steps[event.step].work {
        Work::Window(window) => window.allowed_lateness,
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => 0,
    };
    let (side, at, key) = match &event.fate {
        Fate::InWindow { window, key, .. } => (0, Some(*window), key),
        Fate::InSession { key, .. } => (0, None, key),
        Fate::AtSide { side, window, key, .. } => (*side, *window, key),
        _ => return None,
    };
    let bound = match event.name {
        Name::Record { source, .. } => {
            let present = plan.sources[source].out_of_orderness;
            let maximum = if event.watermark == NEVER { NEVER } else { event.watermark.saturating_add(present) };
            match at {
                Some(window) => least_bound_for_window(window.end, allowed, maximum),
                None => least_bound_for_point(event.event_time, allowed, maximum),
            }
        }
        Name::Row { .. } | Name::Joined { .. } => NEVER,
    };
    Some(Place { side, at, key, bound })
}

impl Pass {
    /// Returns the keys of sessions and joins that some bound takes other records for, by step.
    fn keys(&self) -> BTreeMap<usize, BTreeSet<Vec<u8>>> {
        let mut keys: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for ((_, step), pairs) in &self.late {
            if Results::of(&self.plan.steps[*step]) != Some(Results::Windows) {
                keys.entry(*step).or_default().extend(pairs.iter().map(|pair| pair.key.clone()));
            }
        }
        keys
    }

    /// Returns the bounds to tell of: those asked for, else round ones; 0 and the present one are among them.
    fn ladder(&self, source: usize, present: i64, bounds: &[i64]) -> Vec<i64> {
        let mut ladder: BTreeSet<i64> = bounds.iter().copied().chain([0, present]).collect();
        if bounds.is_empty() {
            let needed = self.late.iter().filter(|((of, _), _)| *of == source).flat_map(|(_, pairs)| pairs);
            let most = round_up(needed.map(|pair| pair.bound).max().unwrap_or(0));
            ladder.extend(rounds_below(most).filter(|bound| *bound >= 1_000_000));
            ladder.insert(most);
        }
        ladder.into_iter().collect()
    }

    fn step(&self, engine: &Engine, source: usize, step: usize, ladder: &[i64], members: &Members) -> StepLateness {
        let present = self.plan.sources[source].out_of_orderness;
        let none = Vec::new();
        let pairs = self.late.get(&(source, step)).unwrap_or(&none);
        let sides = || (0..2).filter_map(|side| self.reached.get(&(source, step, side)));
        let results = Results::of(&self.plan.steps[step]).expect("only steps where records may be late are asked");
        let rungs = ladder.iter().map(|bound| {
            let mut late: BTreeMap<Partition, u64> = BTreeMap::new();
            for record in sides().flat_map(|side| &side.least).filter(|record| record.bound > *bound) {
                *late.entry(record.partition).or_default() += 1;
            }
            let (changed, examples) = match results {
                Results::Windows => changes(engine, step, pairs, *bound, present),
                Results::Sessions | Results::Rows => members.changes(engine, step, source, *bound),
            };
            Rung { bound: *bound, late, changed, examples }
        });
        StepLateness {
            step: self.plan.steps[step].name.clone(),
            reached: sides().map(|side| side.count).sum(),
            results,
            rungs: rungs.collect(),
        }
    }
}

/// How many changed windows are shown.
const EXAMPLES: usize = 3;

/// Returns how many windows a bound changes, and a few of them.
fn changes(engine: &Engine, step: usize, pairs: &[Needy], bound: i64, present: i64) -> (u64, Vec<Changed>) {
    type Count = (u64, u64, (Partition, Offset));
    let mut changed: BTreeMap<(Option<Window>, &[u8]), Count> = BTreeMap::new();
    for pair in pairs {
        let (now, then) = (pair.bound <= present, pair.bound <= bound);
        if now != then {
            let at = (pair.partition, pair.offset);
            let (lost, gained, _) = changed.entry((pair.window, &pair.key)).or_insert((0, 0, at));
            *(if now { lost } else { gained }) += 1;
        }
    }
    let example = |((window, key), (lost, gained, record)): (&(Option<Window>, &[u8]), &Count)| Changed {
        window: *window,
        key: key_text(engine, step, key),
        lost: *lost,
        gained: *gained,
        record: *record,
    };
    (changed.len() as u64, changed.iter().take(EXAMPLES).map(example).collect())
}

/// Returns a key of a window step for people, such as `page = /home`.
pub fn key_text(engine: &Engine, step: usize, key: &[u8]) -> String {
    let columns = engine.key_columns(step, key);
    let columns = columns.iter().map(|(name, _, column)| match engine::value::display(&**column, 0) {
        // A text that cannot be seen.
        text if text.is_empty() => format!("{name} = \"\""),
        text => format!("{name} = {text}"),
    });
    columns.collect::<Vec<_>>().join(", ")
}
