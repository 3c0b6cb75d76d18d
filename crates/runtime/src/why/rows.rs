//! Rows of window steps: what came to their windows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use engine::expr::Expr;
use engine::plan::{Input, Plan, Top, Work};
use engine::trace::{Event, Fate, Name};
use engine::window::{Window, Windowing};
use engine::{Aside, Code, Emission, Engine, Error, Result, rfc3339};

use super::{
    Answer, Part, PartName, Question, Repetitions, Row, asked_window, columns_text, key_of, key_text, late_text,
};
use crate::job::RunOptions;
use crate::walk::{Visitor, Walked, walk};

/// Says what the row of a window is made of.
pub(super) fn answer(engine: &Engine, step: usize, question: &Question, options: &RunOptions) -> Result<Answer> {
    let (mut answers, seen_keys) = answers(engine, vec![Target::of(engine, step, question)?], options)?;
    let mut answer = answers.remove(0);
    if answer.taken.is_empty() && answer.left.is_empty() {
        return Err(nothing(&answer, &seen_keys));
    }
    if answer.rows.is_empty() && !answer.taken.is_empty() {
        answer.dropped = dropped(engine, step, &answer, question, options)?;
    }
    Ok(answer)
}

/// Returns the error of a question about a window to which nothing came.
pub(super) fn nothing(answer: &Answer, seen_keys: &BTreeSet<String>) -> Error {
    let place = match answer.window {
        Some(window) => format!("the window {} .. {} of `{}`", rfc3339(window.start), rfc3339(window.end), answer.step),
        None => format!("`{}` at that time", answer.step),
    };
    let key = if answer.key.is_empty() { String::new() } else { format!(" with {}", answer.key) };
    let error = Error::new(Code::Empty, format!("nothing came to {place}{key}"));
    match (seen_keys.is_empty(), answer.window) {
        (true, Some(_)) => error.help("no record lies in that window at all: is the time right, and in UTC?"),
        (true, None) => error.help("no row of either side has that event time: is it right, and in UTC?"),
        (false, at) => {
            let keys: Vec<&str> = seen_keys.iter().map(String::as_str).collect();
            let place = if at.is_some() { "in that window" } else { "at that time" };
            error.help(format!("keys {place} are: {}", keys.join("; ")))
        }
    }
}

/// A row that is looked for.
#[derive(Clone, Debug)]
struct Target {
    step: usize,
    at: i64,
    /// None: a session, whose bounds follow from what is found, or `same`, which has those of its input.
    window: Option<Window>,
    key: Vec<u8>,
}

impl Target {
    fn of(engine: &Engine, step: usize, question: &Question) -> Result<Self> {
        let Work::Window(window) = &engine.plan().steps[step].work else { unreachable!("it is a window step") };
        let key = key_of(engine, step, question)?;
        let at = question.window.expect("a question about windows names one");
        Ok(Self { step, at, window: asked_window(window.windowing, question)?, key })
    }

    fn takes(&self, window: Window) -> bool {
        self.window.map_or(window.start == self.at, |wanted| wanted == window)
    }
}

/// What came to a target.
struct Found {
    name: Name,
    event_time: i64,
    late: Option<String>,
    left_out: Option<String>,
    /// The id of which one copy counts.
    id: Option<Vec<u8>>,
    columns: Vec<(String, String)>,
}

struct Search<'a> {
    engine: &'a Engine,
    targets: Vec<Target>,
    /// By step and key.
    index: HashMap<(usize, Vec<u8>), Vec<usize>>,
    found: Vec<Vec<Found>>,
    /// Rows of the targets' steps and keys.
    rows: Vec<Vec<(Window, Row)>>,
    /// Of steps where an id counts once, by target and id: the first copy that the window took, whatever its key.
    firsts: HashMap<(usize, Vec<u8>), (i64, Name)>,
    /// Keys in the first target's window.
    keys: BTreeSet<String>,
    repetitions: Repetitions,
    bad: HashMap<usize, u64>,
}

/// Looks for all targets in one walk. Also returns keys that the first target's window has.
fn answers(engine: &Engine, targets: Vec<Target>, options: &RunOptions) -> Result<(Vec<Answer>, BTreeSet<String>)> {
    let mut index: HashMap<(usize, Vec<u8>), Vec<usize>> = HashMap::new();
    for (number, target) in targets.iter().enumerate() {
        index.entry((target.step, target.key.clone())).or_default().push(number);
    }
    let mut search = Search {
        engine,
        index,
        found: targets.iter().map(|_| Vec::new()).collect(),
        rows: targets.iter().map(|_| Vec::new()).collect(),
        firsts: HashMap::new(),
        targets,
        keys: BTreeSet::new(),
        repetitions: Repetitions::default(),
        bad: HashMap::new(),
    };
    let walked = walk(engine.plan(), options, &mut search)?;
    let found = std::mem::take(&mut search.found);
    let answers = found.into_iter().enumerate().map(|(number, found)| search.answer(number, found, &walked)).collect();
    Ok((answers, search.keys))
}

impl Visitor for Search<'_> {
    fn follows(&self) -> bool {
        true
    }

    fn event(&mut self, event: &Event<'_>) {
        self.repetitions.see(event);
        let (window, key, late_by, id) = match &event.fate {
            Fate::InWindow { window, key, late_by, id } => (Some(*window), key, late_by, id.clone()),
            Fate::InSession { key, late_by } => (None, key, late_by, None),
            _ => return,
        };
        if let (Some(id), Some(window), None, None) = (&id, window, late_by, event.left_out) {
            self.remember_first(event, window, id);
        }
        let first = &self.targets[0];
        let is_there = window.is_some_and(|window| first.takes(window));
        if event.step == first.step && is_there && self.keys.len() < 8 {
            self.keys.insert(key_text(self.engine, event.step, key));
        }
        let Some(numbers) = self.index.get(&(event.step, key.clone())) else { return };
        for number in numbers.clone() {
            if window.is_some_and(|window| !self.targets[number].takes(window)) {
                continue;
            }
            let late = late_by.map(|by| late_text(by, event.watermark));
            let left_out = event.left_out.map(|left_out| self.repetitions.left_out_text(self.engine, event, left_out));
            self.found[number].push(Found {
                name: event.name.clone(),
                event_time: event.event_time,
                late,
                left_out,
                id: id.clone(),
                columns: columns_text(event.columns.0, event.columns.1),
            });
        }
    }

    fn aside(&mut self, aside: &Aside) {
        if let Input::SourceBad(source) = aside.input {
            *self.bad.entry(source).or_default() += aside.identity.len() as u64;
        }
    }

    fn rows(&mut self, emission: &Emission) {
        let Input::Step(step) = emission.input else { return };
        if !self.targets.iter().any(|target| target.step == step) {
            return;
        }
        for (row, window, key) in windows_of(self.engine, step, &emission.rows) {
            for number in self.index.get(&(step, key)).into_iter().flatten() {
                self.rows[*number].push((
                    window,
                    Row {
                        columns: columns_text(&emission.rows, row),
                        event_time: window.end - 1,
                        is_final: emission.is_final,
                        dropped: None,
                        sides: None,
                        id: Name::Row { step, window, key: self.targets[*number].key.clone(), indices: Vec::new() },
                    },
                ));
            }
        }
    }
}

impl Search<'_> {
    /// Remembers which copy of an id counts in the windows that are asked about: the first in record order.
    fn remember_first(&mut self, event: &Event<'_>, window: Window, id: &[u8]) {
        let copy = (event.event_time, event.name.clone());
        for (number, target) in self.targets.iter().enumerate() {
            if target.step == event.step && target.takes(window) {
                let first = self.firsts.entry((number, id.to_vec())).or_insert_with(|| copy.clone());
                if copy < *first {
                    *first = copy.clone();
                }
            }
        }
    }

    /// Returns the row that counts in the place of one that a target's window took, if it is another.
    fn counted_instead(&self, number: usize, found: &Found) -> Option<String> {
        let (_, first) = self.firsts.get(&(number, found.id.clone()?))?;
        (*first != found.name).then(|| format!("counts once, as {}", PartName::of(self.engine, first)))
    }

    fn answer(&self, number: usize, mut found: Vec<Found>, walked: &Walked) -> Answer {
        let target = &self.targets[number];
        let step = &self.engine.plan().steps[target.step];
        let Work::Window(window) = &step.work else { unreachable!("targets are rows of window steps") };
        let at = match (window.windowing, target.window) {
            (Windowing::Session { gap }, _) => session_of(&mut found, target.at, gap),
            (_, Some(window)) => window,
            // `same`: the window of whatever was found.
            (_, None) => {
                let of_row = found.iter().find_map(|found| match &found.name {
                    Name::Row { window, .. } | Name::Joined { window: Some(window), .. } => Some(*window),
                    Name::Record { .. } | Name::Joined { window: None, .. } => None,
                });
                of_row.unwrap_or(Window { start: target.at, end: target.at })
            }
        };
        found.sort_by(|a, b| (a.event_time, &a.name).cmp(&(b.event_time, &b.name)));
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for found in found {
            let reason = match (&found.left_out, &found.late) {
                (Some(why), _) => Some(why.clone()),
                (None, Some(late)) => Some(late.clone()),
                (None, None) => self.counted_instead(number, &found),
            };
            let list = if reason.is_some() { &mut left } else { &mut taken };
            list.push(Part {
                name: PartName::of(self.engine, &found.name),
                side: None,
                event_time: found.event_time,
                columns: found.columns,
                reason,
                parts: Vec::new(),
                id: found.name,
            });
        }
        let row = self.rows[number].iter().find(|(window, _)| *window == at);
        Answer {
            step: step.name.clone(),
            is_join: false,
            window: Some(at),
            key: key_text(self.engine, target.step, &target.key),
            rows: row.map(|(_, row)| row.clone()).into_iter().collect(),
            dropped: None,
            taken,
            left,
            bad: step.sources.iter().filter_map(|source| self.bad.get(source)).sum(),
            walked: walked.clone(),
        }
    }
}

/// Returns the session that holds a time, or starts there, and leaves only what belongs to it or touches it.
fn session_of(found: &mut Vec<Found>, at: i64, gap: i64) -> Window {
    let mut times: Vec<i64> = found
        .iter()
        .filter(|found| found.late.is_none() && found.left_out.is_none())
        .map(|found| found.event_time)
        .collect();
    times.sort_unstable();
    let mut session = Window { start: at, end: at };
    let mut current: Option<Window> = None;
    for time in times {
        match &mut current {
            Some(open) if time < open.end => open.end = time.saturating_add(gap),
            _ => current = Some(Window { start: time, end: time.saturating_add(gap) }),
        }
        if let Some(open) = current.filter(|open| open.start <= at && at < open.end) {
            session = open;
        }
    }
    // The session may have grown past the time asked for.
    found.retain(|found| {
        let is_taken = found.late.is_none() && found.left_out.is_none();
        match is_taken {
            true => session.start <= found.event_time && found.event_time < session.end,
            // What would have joined it, or made it longer.
            false => found.event_time > session.start.saturating_sub(gap) && found.event_time < session.end,
        }
    });
    session
}

/// Returns number, window and key of the rows of a window step.
pub(super) fn windows_of(engine: &Engine, step: usize, rows: &RecordBatch) -> Vec<(usize, Window, Vec<u8>)> {
    let Work::Window(window) = &engine.plan().steps[step].work else { return Vec::new() };
    let column = |name: &str| rows.column_by_name(name).expect("a window row has its bounds and keys").clone();
    let keys: Vec<ArrayRef> = window.keys.iter().map(|(name, _)| column(name)).collect();
    let keys = engine.keys(step, &keys, rows.num_rows());
    let bounds = ["window_start", "window_end"].map(&column);
    let [starts, ends] = bounds.each_ref().map(|bound| bound.as_primitive::<TimestampMicrosecondType>());
    (0..rows.num_rows())
        .map(|row| (row, Window { start: starts.value(row), end: ends.value(row) }, keys.value(row).to_vec()))
        .collect()
}

/// Returns why a row that records were taken into is not there: `having` or `top`.
fn dropped(
    engine: &Engine,
    step: usize,
    answer: &Answer,
    question: &Question,
    options: &RunOptions,
) -> Result<Option<String>> {
    let (without_top, having, top) = without_top(engine, step);
    let ask = |engine: &Engine| -> Result<Answer> {
        let (mut answers, _) = answers(engine, vec![Target::of(engine, step, question)?], options)?;
        Ok(answers.remove(0))
    };
    let mut whole = without_top.clone();
    let Work::Window(window) = &mut whole.steps[step].work else { unreachable!("it is a window step") };
    window.having = None;
    let found = ask(&Engine::new(Arc::new(whole)))?;
    let Some(row) = found.rows.first() else { return Ok(None) };
    let row: Vec<String> = row.columns.iter().map(|(name, value)| format!("{name} = {}", visible(value))).collect();
    let is_by_top = match (&having, &top) {
        (None, None) => return Ok(None),
        (Some(_), None) => false,
        (None, Some(_)) => true,
        // Where `having` alone lets it be, `top` does not.
        (Some(_), Some(_)) => !ask(&Engine::new(Arc::new(without_top)))?.rows.is_empty(),
    };
    debug_assert_eq!(found.window, answer.window);
    Ok(Some(format!("{}: {}", left_out_by(having.as_ref(), top.as_ref(), is_by_top), row.join(", "))))
}

/// Returns a value as people see it: an empty text in quotes.
fn visible(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

/// Returns the plan in which a window step has no `top` that leaves rows out, and its `having` and its `top`. The column
/// of the rank stays, because others may read it.
pub(super) fn without_top(engine: &Engine, step: usize) -> (Plan, Option<Expr>, Option<Top>) {
    let mut plan = engine.plan().as_ref().clone();
    let Work::Window(window) = &mut plan.steps[step].work else { unreachable!("it is a window step") };
    let (having, top) = (window.having.clone(), window.top.clone());
    if let Some(top) = &mut window.top {
        top.n = usize::MAX;
    }
    (plan, having, top)
}

/// Says what left a row out: `top`, or else `having`.
pub(super) fn left_out_by(having: Option<&Expr>, top: Option<&Top>, is_by_top: bool) -> String {
    match (having, top) {
        (_, Some(top)) if is_by_top => format!("it is not among the first {} of its window (`top`)", top.n),
        (Some(having), _) => format!("`having: {having}` is not true of it"),
        (None, _) => "nothing left it out".into(),
    }
}

/// Takes the window rows that answers are made of apart, down to records: all of one depth in one walk.
pub(super) fn deepen(engine: &Engine, mut level: Vec<&mut Answer>, options: &RunOptions) -> Result<()> {
    while !level.is_empty() {
        let parts = || level.iter().flat_map(|answer| &answer.taken);
        let names: BTreeSet<&Name> = parts().flat_map(|part| window_rows(&part.id)).collect();
        let target = |name: &&Name| match name {
            Name::Row { step, window, key, .. } => {
                Target { step: *step, at: window.start, window: Some(*window), key: key.clone() }
            }
            Name::Record { .. } | Name::Joined { .. } => unreachable!("only window rows are taken apart"),
        };
        let targets: Vec<Target> = names.iter().map(target).collect();
        if targets.is_empty() {
            return Ok(());
        }
        let names: Vec<Name> = names.into_iter().cloned().collect();
        let (found, _) = answers(engine, targets, options)?;
        let mut next = Vec::new();
        for part in level.into_iter().flat_map(|answer| &mut answer.taken) {
            let of_row = |name: &Name| names.iter().zip(&found).find(|(known, _)| *known == name);
            let found = window_rows(&part.id).into_iter().filter_map(of_row);
            part.parts = found.map(|(_, answer)| answer.clone()).collect();
            next.extend(&mut part.parts);
        }
        level = next;
    }
    Ok(())
}

/// Returns the window rows in a row.
fn window_rows(name: &Name) -> Vec<&Name> {
    match name {
        Name::Record { .. } => Vec::new(),
        Name::Row { .. } => vec![name],
        Name::Joined { pair, .. } => pair.iter().flatten().flat_map(window_rows).collect(),
    }
}
