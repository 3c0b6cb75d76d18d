//! Rows of joins: what met, and what did not.
//!
//! Asked about are rows of a side – those of a key in a window, those of a key at an event time, or a record – and with
//! them every joined row that one of them is part of. What else came to the join with the same key is told with the reason
//! why it is in none of these.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use engine::log::{Offset, Partition};
use engine::plan::{Input, JoinPlan, JoinTime, Plan, SIDES, Work};
use engine::trace::{Event, Fate, Name, Pair};
use engine::window::Window;
use engine::{Aside, Code, Engine, Error, Result, duration, rfc3339};

use super::{
    Answer, Part, PartName, Question, RecordName, Repetitions, Row, asked_window, columns_text, key_of, key_text,
    late_text, rows, sides_of,
};
use crate::job::RunOptions;
use crate::walk::{Visitor, Walked, walk};

/// Says what the joined rows that a question means are made of.
pub(super) fn answer(engine: &Engine, step: usize, question: &Question, options: &RunOptions) -> Result<Answer> {
    if let Some(record) = &question.record {
        let record = record_of(engine.plan(), step, record)?;
        let Some(answer) = of_record(engine, step, record, options)? else {
            let name = format!("{} {}@{}", engine.plan().sources[record.0].name, record.1, record.2);
            return Err(Error::new(Code::Empty, format!("{name} did not come to a side of `{}`", question.step)).help(
                format!(
                    "`samestream why-not --record {}:{}@{}` tells where it went",
                    engine.plan().sources[record.0].name,
                    record.1,
                    record.2
                ),
            ));
        };
        return Ok(answer);
    }
    let join = plan_of(engine, step);
    let key = key_of(engine, step, question)?;
    let asked = match (join.time, question.at) {
        (JoinTime::Window(windowing), _) => {
            let at = question.window.expect("a question about windows names one");
            Asked::Window { at, window: asked_window(windowing, question)? }
        }
        (_, at) => Asked::At(at.expect("a question about points in time names one")),
    };
    let (found, walked) = search(engine, step, asked, [key.clone()].into(), options)?;
    let answer = found.answer(key_text(engine, step, &key), walked);
    if answer.rows.is_empty() && answer.taken.is_empty() && answer.left.is_empty() {
        return Err(rows::nothing(&answer, &found.keys));
    }
    Ok(answer)
}

/// Says what the joined rows of a record are made of; None: it did not come to a side of the join.
pub(super) fn of_record(
    engine: &Engine,
    step: usize,
    record: (usize, Partition, Offset),
    options: &RunOptions,
) -> Result<Option<Answer>> {
    let mut keys = Keys { step, record, keys: BTreeSet::new() };
    walk(engine.plan(), options, &mut keys)?;
    if keys.keys.is_empty() {
        return Ok(None);
    }
    let text = keys.keys.iter().map(|key| key_text(engine, step, key)).collect::<Vec<_>>().join("; ");
    let (found, walked) = search(engine, step, Asked::Record(record), keys.keys, options)?;
    Ok(Some(found.answer(text, walked)))
}

fn plan_of(engine: &Engine, step: usize) -> &JoinPlan {
    match &engine.plan().steps[step].work {
        Work::Join(join) => join,
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => unreachable!("it is a join"),
    }
}

/// Returns the record that is meant: of the only source that rows of a side come from, unless it is said.
fn record_of(plan: &Plan, step: usize, record: &RecordName) -> Result<(usize, Partition, Offset)> {
    let sources = &plan.steps[step].sources;
    let names = || sources.iter().map(|source| plan.sources[*source].name.as_str()).collect::<Vec<_>>().join(", ");
    let source = match (&record.source, sources.as_slice()) {
        (None, [source]) => *source,
        (None, _) => {
            return Err(Error::new(
                Code::Usage,
                format!("`{}` joins records of several sources", plan.steps[step].name),
            )
            .help(format!(
                "say `--record SOURCE:{}@{}`, the source being one of: {}",
                record.partition,
                record.offset,
                names()
            )));
        }
        (Some(name), _) => match sources.iter().find(|source| plan.sources[**source].name == *name) {
            Some(source) => *source,
            None => {
                let what = format!("no records of a source `{name}` come to `{}`", plan.steps[step].name);
                return Err(Error::new(Code::Empty, what).help(format!("its sources are: {}", names())));
            }
        },
    };
    Ok((source, record.partition, record.offset))
}

/// Finds the keys with which a record came to the sides of a join.
struct Keys {
    step: usize,
    record: (usize, Partition, Offset),
    keys: BTreeSet<Vec<u8>>,
}

impl Visitor for Keys {
    fn follows(&self) -> bool {
        true
    }

    fn event(&mut self, event: &Event<'_>) {
        if let Fate::AtSide { key, .. } = &event.fate
            && event.step == self.step
            && event.name.holds(self.record)
        {
            self.keys.insert(key.clone());
        }
    }
}

/// Which rows of a side are asked about, besides their key.
#[derive(Clone, Copy)]
enum Asked {
    /// Those in a window; None: in those that begin at that time.
    Window { at: i64, window: Option<Window> },
    /// Those of an event time.
    At(i64),
    /// A record, or what it became part of.
    Record((usize, Partition, Offset)),
}

/// A row that came to a side with a key that is asked about.
struct Candidate {
    side: usize,
    name: Name,
    window: Option<Window>,
    event_time: i64,
    has_null: bool,
    key: Vec<u8>,
    /// Whether it is among the rows that are asked about.
    is_asked: bool,
    /// Why it was not taken.
    reason: Option<String>,
    columns: Vec<(String, String)>,
}

/// A row that the join made.
struct Met {
    pair: Pair,
    window: Option<Window>,
    row: Row,
}

struct Search<'a> {
    engine: &'a Engine,
    step: usize,
    asked: Asked,
    /// The keys that are asked about.
    wanted: BTreeSet<Vec<u8>>,
    candidates: Vec<Candidate>,
    /// By side and window: the names of the rows that are asked about and were taken.
    names: HashSet<(usize, Option<Window>, Name)>,
    met: Vec<Met>,
    /// Other keys at the place that is asked about.
    keys: BTreeSet<String>,
    repetitions: Repetitions,
    bad: HashMap<usize, u64>,
    has_ended: bool,
}

fn search<'a>(
    engine: &'a Engine,
    step: usize,
    asked: Asked,
    wanted: BTreeSet<Vec<u8>>,
    options: &RunOptions,
) -> Result<(Search<'a>, Walked)> {
    let mut search = Search {
        engine,
        step,
        asked,
        wanted,
        candidates: Vec::new(),
        names: HashSet::new(),
        met: Vec::new(),
        keys: BTreeSet::new(),
        repetitions: Repetitions::default(),
        bad: HashMap::new(),
        has_ended: false,
    };
    let walked = walk(engine.plan(), options, &mut search)?;
    Ok((search, walked))
}

impl Visitor for Search<'_> {
    fn follows(&self) -> bool {
        true
    }

    fn event(&mut self, event: &Event<'_>) {
        self.repetitions.see(event);
        if event.step != self.step {
            return;
        }
        match &event.fate {
            Fate::AtSide { .. } => self.came(event),
            Fate::Passed(_) => self.met(event, None),
            Fate::Filtered if event.left_out.is_none() => {
                let filter = self.engine.plan().steps[self.step].rows.filter.as_ref();
                self.met(
                    event,
                    Some(format!("where {} is not true of it", filter.map_or_else(String::new, ToString::to_string))),
                );
            }
            Fate::Failed(why) if event.left_out.is_none() => self.met(event, Some(why.clone())),
            Fate::Filtered
            | Fate::Failed(_)
            | Fate::Read
            | Fate::Repeated(_)
            | Fate::InWindow { .. }
            | Fate::InSession { .. } => {}
        }
    }

    fn aside(&mut self, aside: &Aside) {
        if let Input::SourceBad(source) = aside.input {
            *self.bad.entry(source).or_default() += aside.identity.len() as u64;
        }
    }

    fn ends(&mut self) {
        self.has_ended = true;
    }
}

impl Search<'_> {
    /// Takes in a row of a side.
    fn came(&mut self, event: &Event<'_>) {
        let Fate::AtSide { side, key, has_null, window, late_by } = &event.fate else { return };
        let is_there = match (self.asked, window) {
            (Asked::Window { window: Some(asked), .. }, window) => *window == Some(asked),
            (Asked::Window { at, window: None }, Some(window)) => window.start == at,
            (Asked::Window { window: None, .. }, None) => false,
            (Asked::At(at), _) => event.event_time == at,
            (Asked::Record(record), _) => event.name.holds(record),
        };
        let is_wanted = self.wanted.contains(key);
        if is_there && !is_wanted && self.keys.len() < 8 {
            self.keys.insert(key_text(self.engine, self.step, key));
        }
        if !is_wanted || (matches!(self.asked, Asked::Window { .. }) && !is_there) {
            return;
        }
        let late = late_by.map(|by| late_text(by, event.watermark));
        let left_out = event.left_out.map(|left_out| self.repetitions.left_out_text(self.engine, event, left_out));
        let reason = left_out.or(late);
        if is_there && reason.is_none() {
            self.names.insert((*side, *window, event.name.clone()));
        }
        self.candidates.push(Candidate {
            side: *side,
            name: event.name.clone(),
            window: *window,
            event_time: event.event_time,
            has_null: *has_null,
            key: key.clone(),
            is_asked: is_there,
            reason,
            columns: columns_text(event.columns.0, event.columns.1),
        });
    }

    /// Takes in a row that the join made, if a row that is asked about is in it.
    fn met(&mut self, event: &Event<'_>, dropped: Option<String>) {
        let Name::Joined { step, window, pair, .. } = &event.name else { return };
        let is_asked =
            |side: usize| pair[side].as_ref().is_some_and(|name| self.names.contains(&(side, *window, name.clone())));
        if *step != self.step || !(is_asked(0) || is_asked(1)) {
            return;
        }
        let own = &self.engine.plan().steps[self.step].schema;
        let mut columns = columns_text(event.columns.0, event.columns.1);
        if dropped.is_none() {
            columns.retain(|(name, _)| own.field(name).is_some());
        }
        self.met.push(Met {
            pair: pair.clone(),
            window: *window,
            row: Row {
                columns,
                event_time: event.event_time,
                is_final: !self.has_ended,
                dropped,
                sides: Some(sides_of(self.engine, pair)),
                id: event.name.clone(),
            },
        });
    }

    fn answer(&self, key: String, walked: Walked) -> Answer {
        let engine = self.engine;
        let join = plan_of(engine, self.step);
        // An as-of join gives a row for a left row. Only where no left row is meant, right rows are.
        let is_of_left = matches!((join.time, self.asked), (JoinTime::AsOf { .. }, Asked::At(_)))
            && self.candidates.iter().any(|one| one.is_asked && one.side == 0);
        let is_asked = |one: &Candidate| one.is_asked && !(is_of_left && one.side == 1);
        let asked: Vec<&Candidate> = self.candidates.iter().filter(|one| is_asked(one)).collect();
        let taken_names: HashSet<(usize, Option<Window>, &Name)> =
            asked.iter().filter(|one| one.reason.is_none()).map(|one| (one.side, one.window, &one.name)).collect();
        let holds_asked = |met: &&Met| {
            (0..2)
                .any(|side| met.pair[side].as_ref().is_some_and(|name| taken_names.contains(&(side, met.window, name))))
        };
        let met: Vec<&Met> = self.met.iter().filter(holds_asked).collect();
        let partners = Partners::of(&met, self.versions());
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for one in &self.candidates {
            if one.reason.is_none() && partners.is_in(one.side, one.window, &one.name) {
                taken.push((one, None));
            } else if let Some(reason) = self.reason(join, one, is_asked(one), &asked, &partners) {
                left.push((one, Some(reason)));
            }
        }
        if let JoinTime::Within { .. } = join.time {
            leave_nearest(&mut left, &asked);
        }
        let part = |(one, reason): (&Candidate, Option<String>)| Part {
            name: PartName::of(engine, &one.name),
            side: Some(one.side),
            event_time: one.event_time,
            columns: one.columns.clone(),
            reason,
            parts: Vec::new(),
            id: one.name.clone(),
        };
        taken.sort_by(|(a, _), (b, _)| place(a).cmp(&place(b)));
        // In a window all are equally near.
        let is_near = matches!(self.asked, Asked::Window { .. });
        left.sort_by_cached_key(|(one, _)| (if is_near { 0 } else { distance(one, &asked) }, place(one)));
        let window = match self.asked {
            Asked::Window { at, window } => {
                let of_row = asked.iter().find_map(|one| one.window);
                window.or(of_row).or(Some(Window { start: at, end: at }))
            }
            Asked::At(_) | Asked::Record(_) => None,
        };
        let step = &engine.plan().steps[self.step];
        Answer {
            step: step.name.clone(),
            is_join: true,
            window,
            key,
            rows: met.iter().map(|met| met.row.clone()).collect(),
            dropped: None,
            taken: taken.into_iter().map(part).collect(),
            left: left.into_iter().map(part).collect(),
            bad: step.sources.iter().filter_map(|source| self.bad.get(source)).sum(),
            walked,
        }
    }

    /// Returns why a row is in none of the joined rows; None: it has nothing to do with those that are asked about.
    fn reason(
        &self,
        join: &JoinPlan,
        one: &Candidate,
        is_asked: bool,
        asked: &[&Candidate],
        partners: &Partners<'_>,
    ) -> Option<String> {
        let other = 1 - one.side;
        // Rows of the same side have nothing to do with each other.
        if !is_asked && !asked.iter().any(|asked| asked.side == other) {
            return None;
        }
        if let Some(why) = &one.reason {
            return (is_asked || self.might_meet(join, one, asked)).then(|| why.clone());
        }
        if one.has_null {
            return Some("its key has a null, which is equal to nothing".into());
        }
        match (join.time, is_asked) {
            // Whatever has the key and is in the window has met it.
            (JoinTime::Window(_), false) => None,
            (JoinTime::Window(_), true) => {
                Some(format!("no row of the {} side has its key in the window", SIDES[other]))
            }
            (JoinTime::Within { before, after }, true) => {
                let (from, to) = match one.side {
                    0 => (one.event_time.saturating_sub(before), one.event_time.saturating_add(after)),
                    _ => (one.event_time.saturating_sub(after), one.event_time.saturating_add(before)),
                };
                let bounds = format!("from {} to {}", rfc3339(from), rfc3339(to));
                Some(format!("no row of the {} side has its key {bounds}", SIDES[other]))
            }
            (JoinTime::Within { before, after }, false) => {
                let near =
                    asked.iter().filter(|asked| asked.side == other && asked.key == one.key && asked.reason.is_none());
                let near = near.min_by_key(|asked| (one.event_time - asked.event_time).abs())?;
                Some(out_of_bounds(self.engine, one, near, [before, after]))
            }
            (JoinTime::AsOf { max_age }, true) if one.side == 0 => Some(match partners.version_before(one) {
                None => "no row of the right side has its key at its time or before".into(),
                Some(version) => {
                    let age = one.event_time - version.event_time;
                    let name = PartName::of(self.engine, &version.name);
                    match max_age.filter(|most| age > *most) {
                        Some(most) => {
                            format!(
                                "{name} is {} old then, {} older than `max_age`",
                                duration(age),
                                duration(age - most)
                            )
                        }
                        // A version that is not too old and no partner has no value.
                        None => format!("{name} has no value and ended what was before it"),
                    }
                }
            }),
            (JoinTime::AsOf { max_age }, true) => {
                if let Some(left) = self.ended_for(one, max_age, partners) {
                    return Some(format!(
                        "it has no value, so {} found nothing",
                        PartName::of(self.engine, &left.name)
                    ));
                }
                let next = partners.version_after(one);
                Some(match next {
                    Some(next) => {
                        let (name, time) = (PartName::of(self.engine, &next.name), rfc3339(next.event_time));
                        format!("{name} supersedes it at {time}, and no left row of its key needed it before that")
                    }
                    None => "no left row of its key needed it".into(),
                })
            }
            (JoinTime::AsOf { max_age }, false) => {
                let lefts =
                    asked.iter().filter(|asked| asked.side == 0 && asked.key == one.key && asked.reason.is_none());
                let left = lefts.min_by_key(|left| (left.event_time - one.event_time).abs())?;
                Some(self.outdated(one, left, max_age, partners))
            }
        }
    }

    /// Returns the first left row that found nothing because this version has no value, if there is one.
    fn ended_for(&self, one: &Candidate, max_age: Option<i64>, partners: &Partners<'_>) -> Option<&Candidate> {
        let is_it = |left: &&Candidate| {
            left.side == 0
                && left.key == one.key
                && left.reason.is_none()
                && partners.right_of(&left.name).is_none()
                && partners.version_before(left).is_some_and(|version| version.name == one.name)
                && max_age.is_none_or(|most| left.event_time - one.event_time <= most)
        };
        self.candidates.iter().filter(is_it).min_by(|a, b| place(a).cmp(&place(b)))
    }

    /// Returns why a version is not the one of a left row.
    fn outdated(&self, one: &Candidate, left: &Candidate, max_age: Option<i64>, partners: &Partners<'_>) -> String {
        let name = |name: &Name| PartName::of(self.engine, name);
        if one.event_time > left.event_time {
            return format!("it is {} later than {}", duration(one.event_time - left.event_time), name(&left.name));
        }
        let valid = partners.right_of(&left.name).or_else(|| {
            let version = partners.version_before(left)?;
            (version.name != one.name).then_some(&version.name)
        });
        let age = left.event_time - one.event_time;
        let is_version = || partners.version_before(left).is_some_and(|version| version.name == one.name);
        match (valid, max_age) {
            (Some(valid), _) => format!("{} superseded it", name(valid)),
            (None, _) if max_age.is_none_or(|most| age <= most) && is_version() => {
                format!("it has no value, so {} found nothing", name(&left.name))
            }
            (None, Some(most)) => {
                format!("it is {} old then, {} older than `max_age`", duration(age), duration(age - most))
            }
            (None, None) => format!("{} did not need it", name(&left.name)),
        }
    }

    /// The versions that were taken, in the record order; none but in as-of joins.
    fn versions(&self) -> Vec<&Candidate> {
        if !matches!(plan_of(self.engine, self.step).time, JoinTime::AsOf { .. }) {
            return Vec::new();
        }
        let mut versions: Vec<&Candidate> =
            self.candidates.iter().filter(|one| one.side == 1 && one.reason.is_none() && !one.has_null).collect();
        versions.sort_by(|a, b| place(a).cmp(&place(b)));
        versions
    }

    /// Returns whether a row that was not taken would have been near enough to one that is asked about.
    fn might_meet(&self, join: &JoinPlan, one: &Candidate, asked: &[&Candidate]) -> bool {
        if one.has_null {
            return false;
        }
        let is_near = |asked: &&&Candidate| {
            let (left, right) = if one.side == 0 { (one, **asked) } else { (**asked, one) };
            let between = right.event_time.saturating_sub(left.event_time);
            asked.side != one.side
                && asked.key == one.key
                && match join.time {
                    JoinTime::Window(_) => one.window == asked.window,
                    JoinTime::Within { before, after } => -before <= between && between <= after,
                    JoinTime::AsOf { max_age } => between <= 0 && max_age.is_none_or(|most| -between <= most),
                }
        };
        asked.iter().find(is_near).is_some()
    }
}

/// What met what.
struct Partners<'a> {
    names: HashSet<(usize, Option<Window>, &'a Name)>,
    rights: HashMap<&'a Name, &'a Name>,
    /// Of as-of joins, in the record order.
    versions: Vec<&'a Candidate>,
}

impl<'a> Partners<'a> {
    fn of(met: &[&'a Met], versions: Vec<&'a Candidate>) -> Self {
        let mut partners = Self { names: HashSet::new(), rights: HashMap::new(), versions };
        for met in met {
            for (side, name) in met.pair.iter().enumerate() {
                partners.names.extend(name.as_ref().map(|name| (side, met.window, name)));
            }
            if let [Some(left), Some(right)] = &*met.pair {
                partners.rights.insert(left, right);
            }
        }
        partners
    }

    fn is_in(&self, side: usize, window: Option<Window>, name: &Name) -> bool {
        self.names.contains(&(side, window, name))
    }

    /// Returns the last version that is not later than a left row.
    fn version_before(&self, left: &Candidate) -> Option<&'a Candidate> {
        let count = self.versions.partition_point(|version| version.event_time <= left.event_time);
        self.versions[..count].iter().rev().find(|version| version.key == left.key).copied()
    }

    /// Returns the version that comes after another.
    fn version_after(&self, one: &Candidate) -> Option<&'a Candidate> {
        let count = self.versions.partition_point(|version| place(version) <= place(one));
        self.versions[count..].iter().find(|version| version.key == one.key).copied()
    }

    fn right_of(&self, left: &Name) -> Option<&'a Name> {
        self.rights.get(left).copied()
    }
}

/// Returns a row's place in the record order.
fn place(one: &Candidate) -> (i64, &Name, usize) {
    (one.event_time, &one.name, one.side)
}

/// Returns how far a row is from those that are asked about.
fn distance(one: &Candidate, asked: &[&Candidate]) -> i64 {
    asked.iter().map(|asked| (one.event_time - asked.event_time).abs()).min().unwrap_or(0)
}

/// Says by how much a row of the other side is out of the bounds of a row.
fn out_of_bounds(engine: &Engine, one: &Candidate, near: &Candidate, [before, after]: [i64; 2]) -> String {
    let name = PartName::of(engine, &near.name);
    // From the left row's point of view.
    let (later, limits) = match one.side {
        1 => (one.event_time - near.event_time, (before, after)),
        _ => (one.event_time - near.event_time, (after, before)),
    };
    match later {
        later if later > limits.1 => {
            format!("{} after {name}, {} too late", duration(later), duration(later - limits.1))
        }
        later => format!("{} before {name}, {} too early", duration(-later), duration(-later - limits.0)),
    }
}

/// Leaves, of the rows that were taken and are out of bounds, only the nearest one before and the nearest one after.
fn leave_nearest(left: &mut Vec<(&Candidate, Option<String>)>, asked: &[&Candidate]) {
    let is_far =
        |one: &Candidate| one.reason.is_none() && !one.has_null && !asked.iter().any(|asked| std::ptr::eq(*asked, one));
    let mut nearest: BTreeMap<(usize, bool), (i64, usize)> = BTreeMap::new();
    for (number, (one, _)) in left.iter().enumerate().filter(|(_, (one, _))| is_far(one)) {
        let near = asked.iter().filter(|asked| asked.side != one.side);
        let Some(near) = near.min_by_key(|asked| (asked.event_time - one.event_time).abs()) else { continue };
        let away = (near.event_time - one.event_time).abs();
        let known = nearest.entry((one.side, one.event_time > near.event_time)).or_insert((away, number));
        if away < known.0 {
            *known = (away, number);
        }
    }
    let kept: BTreeSet<usize> = nearest.values().map(|(_, number)| *number).collect();
    let mut number = 0;
    left.retain(|(one, _)| {
        number += 1;
        !is_far(one) || kept.contains(&(number - 1))
    });
}
