//! Lateness: what each bound of disorder would leave out, and which results it would change.
//!
//! One pass finds for each record and each window of it the least `out_of_orderness` with which the window takes it
//! ([`engine::watermark::least_bound_for_window`], the rule of every run turned round). A bound leaves a record out when it
//! is less than the least one over its windows, and it changes a window when it takes other records into it than the
//! bound in the file does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::log::{Offset, Partition};
use engine::plan::{Plan, Work};
use engine::trace::{Event, Fate, Name};
use engine::watermark::{NEVER, least_bound_for_point, least_bound_for_window};
use engine::window::{Window, Windowing};
use engine::{Engine, Result};

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
    /// True when its windows are sessions: then keys are told, because which sessions there are changes too.
    pub is_session: bool,
    /// What each bound would do, the least first.
    pub rungs: Vec<Rung>,
}

/// What a bound would do.
#[derive(Clone, Debug)]
pub struct Rung {
    /// The bound, in microseconds.
    pub bound: i64,
    /// Records that would be late for all their windows, by partition; partitions without any are left out.
    pub late: BTreeMap<Partition, u64>,
    /// Windows (of sessions: keys) that would take other records than with the bound in the file.
    pub changed: u64,
    /// A few of them.
    pub examples: Vec<Changed>,
}

/// A window that a bound would change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The window; None: a key of sessions.
    pub window: Option<Window>,
    /// The key.
    pub key: String,
    /// How many records it would lose.
    pub lost: u64,
    /// How many records it would gain.
    pub gained: u64,
    /// One of them.
    pub record: (Partition, Offset),
}

/// Asks what bounds would do; none given: a ladder of round ones up to the one that lets in all records.
pub fn lateness(plan: &Arc<Plan>, bounds: &[i64], options: &RunOptions) -> Result<Lateness> {
    let engine = Engine::new(plan.clone());
    let mut pass =
        Pass { plan: plan.clone(), late: BTreeMap::new(), reached: BTreeMap::new(), disorder: BTreeMap::new() };
    let walked = walk(plan, options, &mut pass)?;
    let mut sources = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let steps: Vec<usize> = (0..plan.steps.len())
            .filter(|step| {
                let step = &plan.steps[*step];
                matches!(step.work, Work::Window(_)) && !step.over_windows && step.sources.contains(&index)
            })
            .collect();
        if steps.is_empty() {
            continue;
        }
        let ladder = pass.ladder(index, source.out_of_orderness, bounds);
        let steps = steps.into_iter().map(|step| pass.step(&engine, index, step, &ladder)).collect();
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

fn caveats(plan: &Plan) -> Vec<String> {
    let mut caveats = Vec::new();
    if plan.steps.iter().any(|step| matches!(step.work, Work::Dedup(_))) {
        caveats.push(
            "what `dedup` lets through depends on the bound too; it is taken as it is with the bound in the file"
                .into(),
        );
    }
    if plan.steps.iter().any(|step| matches!(step.work, Work::Join(_))) {
        caveats.push("records that come too late for a join are not counted".into());
    }
    let is_unique = |work: &Work| matches!(work, Work::Window(window) if !window.unique_by.is_empty());
    if plan.steps.iter().any(|step| is_unique(&step.work)) {
        caveats.push(
            "of a window with `unique_by` a record may be taken and not count, so fewer of its results change".into(),
        );
    }
    if plan.steps.iter().any(|step| step.over_windows) {
        caveats.push("steps over windows read what these steps give; they are not told apart here".into());
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
    /// By source and step.
    reached: BTreeMap<(usize, usize), Reached>,
    disorder: BTreeMap<(usize, Partition), Disorder>,
}

/// The records that came to a step's windows.
#[derive(Default)]
struct Reached {
    count: u64,
    /// The last of them, and where its last window ends: the windows of one come by their ends, and the same record may
    /// come again by another way of a union.
    last: Option<(Partition, Offset, i64)>,
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
        let Work::Window(window) = &self.plan.steps[event.step].work else { return };
        let allowed = window.allowed_lateness;
        let present = self.plan.sources[source].out_of_orderness;
        let maximum = if event.watermark == NEVER { NEVER } else { event.watermark.saturating_add(present) };
        let (at, key, bound) = match &event.fate {
            Fate::InWindow { window, key, .. } => {
                (Some(*window), key, least_bound_for_window(window.end, allowed, maximum))
            }
            Fate::InSession { key, .. } => (None, key, least_bound_for_point(event.event_time, allowed, maximum)),
            _ => return,
        };
        let reached = self.reached.entry((source, event.step)).or_default();
        let end = at.map_or(NEVER, |window| window.end);
        let is_next = |(known, at, last)| (known, at) == (partition, offset) && last < end;
        let goes_on = reached.last.is_some_and(is_next);
        reached.last = Some((partition, offset, end));
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
            let needy = Needy { partition, offset, window: at, key: key.clone(), bound };
            self.late.entry((source, event.step)).or_default().push(needy);
        }
    }
}

impl Pass {
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

    fn step(&self, engine: &Engine, source: usize, step: usize, ladder: &[i64]) -> StepLateness {
        let present = self.plan.sources[source].out_of_orderness;
        let none = Vec::new();
        let pairs = self.late.get(&(source, step)).unwrap_or(&none);
        let (reached, least) = match self.reached.get(&(source, step)) {
            Some(reached) => (reached.count, reached.least.as_slice()),
            None => (0, &[][..]),
        };
        let Work::Window(window) = &self.plan.steps[step].work else {
            unreachable!("only steps with windows are asked")
        };
        let rungs = ladder.iter().map(|bound| {
            let mut late: BTreeMap<Partition, u64> = BTreeMap::new();
            for record in least.iter().filter(|record| record.bound > *bound) {
                *late.entry(record.partition).or_default() += 1;
            }
            let (changed, examples) = changes(engine, step, pairs, *bound, present);
            Rung { bound: *bound, late, changed, examples }
        });
        StepLateness {
            step: self.plan.steps[step].name.clone(),
            reached,
            is_session: matches!(window.windowing, Windowing::Session { .. }),
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
    let columns = columns.iter().map(|(name, _, column)| format!("{name} = {}", engine::value::display(&**column, 0)));
    columns.collect::<Vec<_>>().join(", ")
}
