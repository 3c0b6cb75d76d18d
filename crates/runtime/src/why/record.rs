//! What became of one record, of its elements, and of the rows that joins made of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use engine::log::{Offset, Partition};
use engine::plan::{Input, Plan};
use engine::trace::{Event, Fate, Name};
use engine::watermark::NEVER;
use engine::window::Window;
use engine::{Aside, Code, Emission, Engine, Error, Identity, Result};

use super::{PartName, Repetitions, filter_text, join, key_text, late_text, rows};
use crate::job::RunOptions;
use crate::walk::{Visitor, Walked, walk};

/// What became of a record.
#[derive(Clone, Debug)]
pub struct Course {
    /// Its source.
    pub source: String,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Why it is bad; None: it is a valid record.
    pub bad: Option<String>,
    /// Event time, the largest event time before it in its partition, the watermark before it; None: −∞.
    pub times: Option<(i64, Option<i64>, Option<i64>)>,
    /// What became of it at each step, in the order of steps.
    pub steps: Vec<(String, Vec<Stop>)>,
    /// Where reading began and ended.
    pub walked: Walked,
}

/// What became of a record, or of what was made of it, at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What came to the step: an element of the record, or a joined row; None: the record.
    pub row: Option<PartName>,
    /// Where it went.
    pub went: Where,
}

/// Where a row went at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// No further, for this reason.
    Out(String),
    /// On.
    On,
    /// It was late.
    Late {
        /// For which window; None: for a point in time.
        window: Option<Window>,
        /// The key.
        key: String,
        /// How late it was.
        reason: String,
    },
    /// Into a row of a window.
    In {
        /// The row's window.
        window: Window,
        /// The key.
        key: String,
        /// Whether the row came out, and then whether it is final.
        row: Option<bool>,
        /// Why it did not come out.
        left_out: Option<String>,
    },
    /// Into a row of a join.
    Joined {
        /// The row of the other side; None: it has no partner.
        with: Option<PartName>,
        /// The window, if they are in one.
        window: Option<Window>,
        /// Whether the row is final.
        is_final: bool,
    },
}

/// Says what became of a record at every step. The plan must give the rows of all its steps to sinks.
pub fn why_not(
    plan: &Arc<Plan>,
    source: usize,
    (partition, offset): (Partition, Offset),
    options: &RunOptions,
) -> Result<Course> {
    let engine = Engine::new(plan.clone());
    let mut follower = Follower {
        engine: &engine,
        record: (source, partition, offset),
        bad: None,
        times: None,
        stops: vec![Vec::new(); plan.steps.len()],
        places: Vec::new(),
        by_window: HashMap::new(),
        of_sessions: Vec::new(),
        at_sides: Vec::new(),
        met: HashSet::new(),
        firsts: HashMap::new(),
        repetitions: Repetitions::default(),
        has_ended: false,
    };
    let walked = walk(plan, options, &mut follower)?;
    if follower.times.is_none() && follower.bad.is_none() {
        let end = walked.end.get(&plan.sources[source].name).and_then(|ends| ends.get(&partition)).copied();
        let what = format!("source `{}` has no record {partition}@{offset}", plan.sources[source].name);
        return Err(Error::new(Code::Empty, what).help(match end {
            Some(end) => format!("partition {partition} was read up to offset {end}; offsets may have gaps"),
            None => "the source has no such partition".into(),
        }));
    }
    let (bad, times) = (follower.bad.clone(), follower.times);
    follower.tell_unmet(options)?;
    follower.tell_left_out(options)?;
    let steps = follower.steps(plan);
    Ok(Course { source: plan.sources[source].name.clone(), partition, offset, bad, times, steps, walked })
}

struct Follower<'a> {
    engine: &'a Engine,
    record: (usize, Partition, Offset),
    bad: Option<String>,
    times: Option<(i64, Option<i64>, Option<i64>)>,
    stops: Vec<Vec<Stop>>,
    places: Vec<FoundPlace>,
    /// By step and window, which of the places are there: a record may be in very many windows.
    by_window: HashMap<(usize, Window), Vec<usize>>,
    /// Which of the places are in sessions.
    of_sessions: Vec<usize>,
    /// Where it was taken into a side of a join.
    at_sides: Vec<AtSide>,
    /// Of those, which became part of a joined row.
    met: HashSet<AtSide>,
    /// Of steps where an id counts once, by step, window and id: the first copy that the window took.
    firsts: HashMap<(usize, Window, Vec<u8>), (i64, Name)>,
    repetitions: Repetitions,
    has_ended: bool,
}

/// A row that the record should be in.
struct FoundPlace {
    step: usize,
    name: Name,
    time: i64,
    key: Vec<u8>,
    /// None: a session.
    window: Option<Window>,
    /// The id of which one copy counts.
    id: Option<Vec<u8>>,
    /// The row's window and whether it is final, if it came.
    row: Option<(Window, bool)>,
    /// Why it did not come.
    left_out: Option<String>,
}

/// A row on a side of a join.
#[derive(Clone, PartialEq, Eq, Hash)]
struct AtSide {
    step: usize,
    side: usize,
    window: Option<Window>,
    name: Name,
}

impl Visitor for Follower<'_> {
    fn event(&mut self, event: &Event<'_>) {
        self.repetitions.see(event);
        if let Fate::InWindow { window, late_by: None, id: Some(id), .. } = &event.fate {
            let copy = (event.event_time, event.name.clone());
            let first = self.firsts.entry((event.step, *window, id.clone())).or_insert_with(|| copy.clone());
            if copy < *first {
                *first = copy;
            }
        }
        if !event.name.holds(self.record) {
            return;
        }
        match &event.name {
            Name::Joined { step, .. } if *step == event.step => self.joined(event),
            _ => self.came(event),
        }
    }

    fn aside(&mut self, aside: &Aside) {
        let (Input::SourceBad(source), Identity::Records { partition, offsets, .. }) = (aside.input, &aside.identity)
        else {
            return;
        };
        if let Some(at) = offsets.iter().position(|offset| (source, *partition, *offset) == self.record) {
            self.bad = Some(aside.reasons[at].clone());
        }
    }

    fn ends(&mut self) {
        self.has_ended = true;
    }

    fn rows(&mut self, emission: &Emission) {
        let Input::Step(step) = emission.input else { return };
        if !self.places.iter().any(|place| place.step == step) {
            return;
        }
        for (_, window, key) in rows::windows_of(self.engine, step, &emission.rows) {
            for number in self.by_window.get(&(step, window)).into_iter().flatten().chain(&self.of_sessions) {
                let place = &mut self.places[*number];
                let is_it = place.window.is_some() || window.start <= place.time && place.time < window.end;
                if place.step == step && place.key == key && is_it {
                    place.row = Some((window, emission.is_final));
                }
            }
        }
    }
}

impl Follower<'_> {
    /// Takes in a row that a join made.
    fn joined(&mut self, event: &Event<'_>) {
        let Name::Joined { step, window, pair, .. } = &event.name else { return };
        for (side, name) in pair.iter().enumerate() {
            let Some(name) = name.as_ref().filter(|name| name.holds(self.record)) else { continue };
            self.met.insert(AtSide { step: *step, side, window: *window, name: name.clone() });
            let with = pair[1 - side].as_ref().map(|other| PartName::of(self.engine, other));
            let met = with.as_ref().map_or_else(|| "without a partner".into(), |with| format!("with {with}"));
            let went = match &event.fate {
                Fate::Filtered => Where::Out(format!("{met}: {}", self.filter_text(*step))),
                Fate::Failed(why) => Where::Out(format!("{met}: failed: {why}")),
                _ => Where::Joined { with, window: *window, is_final: !self.has_ended },
            };
            self.stop(*step, name, went);
        }
    }

    fn stop(&mut self, step: usize, name: &Name, went: Where) {
        let row = match name {
            Name::Record { index: None, .. } => None,
            name => Some(PartName::of(self.engine, name)),
        };
        self.stops[step].push(Stop { row, went });
    }

    fn filter_text(&self, step: usize) -> String {
        format!("filtered: {}", filter_text(self.engine.plan(), step))
    }

    /// Takes in what became of a row that came to a step.
    fn came(&mut self, event: &Event<'_>) {
        let (plan, step) = (self.engine.plan(), event.step);
        let late = |by: i64, window: Option<Window>, key: &[u8]| Where::Late {
            window,
            key: key_text(self.engine, step, key),
            reason: late_text(by, event.watermark),
        };
        let went = match &event.fate {
            Fate::Read => {
                let mark = (event.watermark != NEVER).then_some(event.watermark);
                let bound = plan.sources[self.record.0].out_of_orderness;
                self.times = Some((event.event_time, mark.map(|mark| mark.saturating_add(bound)), mark));
                return;
            }
            Fate::Filtered => Where::Out(self.filter_text(step)),
            Fate::Failed(why) => Where::Out(format!("failed: {why}")),
            Fate::Repeated(_) => Where::Out(match self.repetitions.before(step, &event.name) {
                Some(before) => format!("repeats {}", PartName::of(self.engine, before)),
                None => "repeats an earlier record".into(),
            }),
            Fate::Passed(_) => Where::On,
            Fate::InWindow { window, key, late_by: Some(by), .. } => late(*by, Some(*window), key),
            Fate::InSession { key, late_by: Some(by) } => late(*by, None, key),
            Fate::AtSide { key, window, late_by: Some(by), .. } => late(*by, *window, key),
            Fate::InWindow { window, key, late_by: None, id } => {
                self.place(event, key, Some(*window), id.clone());
                return;
            }
            Fate::InSession { key, late_by: None } => {
                self.place(event, key, None, None);
                return;
            }
            Fate::AtSide { side, window, late_by: None, .. } => {
                self.at_sides.push(AtSide { step, side: *side, window: *window, name: event.name.clone() });
                return;
            }
        };
        self.stop(step, &event.name, went);
    }

    fn place(&mut self, event: &Event<'_>, key: &[u8], window: Option<Window>, id: Option<Vec<u8>>) {
        let (step, name, time, key) = (event.step, event.name.clone(), event.event_time, key.to_vec());
        match window {
            Some(window) => self.by_window.entry((step, window)).or_default().push(self.places.len()),
            None => self.of_sessions.push(self.places.len()),
        }
        self.places.push(FoundPlace { step, name, time, key, window, id, row: None, left_out: None });
    }

    /// Tells why rows that a side of a join took are in no joined row. Only then the join is asked what else there was.
    fn tell_unmet(&mut self, options: &RunOptions) -> Result<()> {
        let at_sides = std::mem::take(&mut self.at_sides);
        let unmet: Vec<AtSide> = at_sides.into_iter().filter(|at| !self.met.contains(at)).collect();
        let steps: BTreeSet<usize> = unmet.iter().map(|at| at.step).collect();
        for step in steps {
            let Some(answer) = join::of_record(self.engine, step, self.record, options)? else { continue };
            for at in unmet.iter().filter(|at| at.step == step) {
                let own = answer.left.iter().find(|part| part.side == Some(at.side) && part.id == at.name);
                let mut why = own.and_then(|part| part.reason.clone()).unwrap_or_else(|| "it met no row".into());
                if let Some(window) = at.window {
                    why = format!("{why} {} .. {}", engine::rfc3339(window.start), engine::rfc3339(window.end));
                }
                // Those that come first are the nearest.
                for other in answer.left.iter().filter(|part| part.side == Some(1 - at.side)).take(NEAREST) {
                    why.push_str(&format!("; {}: {}", other.name, other.reason.as_deref().unwrap_or("")));
                }
                self.stop(step, &at.name, Where::Out(format!("met nothing: {why}")));
            }
        }
        Ok(())
    }

    /// Tells whether `having` or `top` left out the rows that did not come. Only where a step has both is the log read again.
    fn tell_left_out(&mut self, options: &RunOptions) -> Result<()> {
        let steps: BTreeSet<usize> =
            self.places.iter().filter(|place| place.row.is_none()).map(|place| place.step).collect();
        for step in steps {
            let (plan, having, top) = rows::without_top(self.engine, step);
            let mut kept = Kept { engine: self.engine, step, rows: HashSet::new() };
            if having.is_some() && top.is_some() {
                walk(&Arc::new(plan), options, &mut kept)?;
            }
            for place in self.places.iter_mut().filter(|place| place.step == step && place.row.is_none()) {
                let is_kept = place.window.is_some_and(|window| kept.rows.contains(&(window, place.key.clone())));
                let is_by_top = having.is_none() || is_kept;
                place.left_out = Some(rows::left_out_by(having.as_ref(), top.as_ref(), is_by_top));
            }
        }
        Ok(())
    }

    fn steps(mut self, plan: &Plan) -> Vec<(String, Vec<Stop>)> {
        for place in std::mem::take(&mut self.places) {
            let at = place.row.map(|(window, _)| window).or(place.window);
            let window = at.unwrap_or(Window { start: place.time, end: place.time });
            let key = key_text(self.engine, place.step, &place.key);
            let first = place.id.as_ref().and_then(|id| self.firsts.get(&(place.step, window, id.clone())));
            let went = match first {
                Some((_, first)) if *first != place.name => {
                    Where::Out(format!("counts once in its window, as {}", PartName::of(self.engine, first)))
                }
                _ => {
                    let row = place.row.map(|(_, is_final)| is_final);
                    Where::In { window, key, row, left_out: place.left_out }
                }
            };
            self.stop(place.step, &place.name, went);
        }
        for (index, step) in plan.steps.iter().enumerate() {
            let Some(explode) = &step.rows.explode else { continue };
            let came = |input: &Input| match input {
                Input::Source(source) => *source == self.record.0 && self.times.is_some(),
                Input::Step(before) => self.stops[*before].iter().any(|stop| stop.went == Where::On),
                _ => false,
            };
            if self.stops[index].is_empty() && step.inputs.iter().any(came) {
                let why = format!("`{}` is null or has no elements, so there is no row", explode.list);
                self.stops[index].push(Stop { row: None, went: Where::Out(why) });
            }
        }
        let steps = plan.steps.iter().zip(self.stops);
        steps.filter(|(_, stops)| !stops.is_empty()).map(|(step, stops)| (step.name.clone(), stops)).collect()
    }
}

/// The rows of a window step.
struct Kept<'a> {
    engine: &'a Engine,
    step: usize,
    rows: HashSet<(Window, Vec<u8>)>,
}

impl Visitor for Kept<'_> {
    fn event(&mut self, _: &Event<'_>) {}

    fn rows(&mut self, emission: &Emission) {
        if emission.input == Input::Step(self.step) {
            let rows = rows::windows_of(self.engine, self.step, &emission.rows);
            self.rows.extend(rows.into_iter().map(|(_, window, key)| (window, key)));
        }
    }
}

/// How many rows of the other side are told of that were not near enough.
const NEAREST: usize = 3;
