//! Why a row is what it is: the records that made it and those that did not, and what became of one record.
//!
//! Both are questions to a [`crate::walk`]: nothing is computed a second time, the steps only tell what they do.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use engine::expr::{Expr, Literal};
use engine::log::{Offset, Partition};
use engine::plan::{Input, Plan, Work};
use engine::trace::{Event, Fate, Name};
use engine::watermark::NEVER;
use engine::window::{Window, Windowing, last_start};
use engine::{Aside, Code, DataType, Emission, Engine, Error, Identity, Result, duration, rfc3339};

use crate::job::RunOptions;
use crate::lateness::key_text;
use crate::walk::{Visitor, Walked, walk};

/// Which row is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The step.
    pub step: String,
    /// The start of its window; of tumbling windows and sessions any time inside will do. In microseconds.
    pub at: i64,
    /// The end of its window, where several begin at the same time.
    pub end: Option<i64>,
    /// Names and values of its key, as texts.
    pub key: Vec<(String, String)>,
    /// Whether rows of earlier steps are taken apart in turn.
    pub is_deep: bool,
}

/// What a row is made of.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The step.
    pub step: String,
    /// The window.
    pub window: Window,
    /// The key, such as `page = /home`.
    pub key: String,
    /// The row's columns as text, and whether it is final; None: there is no such row.
    pub row: Option<(Vec<(String, String)>, bool)>,
    /// Why there is no row, although records were taken.
    pub dropped: Option<String>,
    /// What was taken into it, in record order.
    pub taken: Vec<Part>,
    /// What belongs to its window and key and was not taken, with the reason.
    pub left: Vec<Part>,
    /// Bad records of its sources, which belong to no window.
    pub bad: u64,
    /// Where reading began and ended.
    pub walked: Walked,
}

/// A record, or a row of an earlier step.
#[derive(Clone, Debug)]
pub struct Part {
    /// What names it.
    pub name: PartName,
    /// Its event time, in microseconds.
    pub event_time: i64,
    /// The columns that the step saw, as text.
    pub columns: Vec<(String, String)>,
    /// Why it was not taken.
    pub reason: Option<String>,
    /// What it is made of, if that was asked for.
    pub parts: Option<Box<Answer>>,
}

/// What names a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartName {
    /// A record: source, partition, offset.
    Record(String, Partition, Offset),
    /// A row of a step: window and key.
    Row(Window, String),
}

/// Says what a row is made of. The plan must give the rows of all its steps to sinks.
pub fn why(plan: &Arc<Plan>, question: &Question, options: &RunOptions) -> Result<Answer> {
    let engine = Engine::new(plan.clone());
    let target = Target::of(&engine, question)?;
    let (mut answers, seen_keys) = answers(&engine, vec![target], options)?;
    let mut answer = answers.remove(0);
    if answer.taken.is_empty() && answer.left.is_empty() {
        return Err(nothing(&answer, &seen_keys));
    }
    if answer.row.is_none() && !answer.taken.is_empty() {
        answer.dropped = dropped(plan, &answer, question, options)?;
    }
    if question.is_deep {
        deepen(&engine, &mut answer, options)?;
    }
    Ok(answer)
}

fn nothing(answer: &Answer, seen_keys: &BTreeSet<String>) -> Error {
    let window = format!("{} .. {}", rfc3339(answer.window.start), rfc3339(answer.window.end));
    let key = if answer.key.is_empty() { String::new() } else { format!(" with {}", answer.key) };
    let error = Error::new(Code::Empty, format!("nothing came to the window {window} of `{}`{key}", answer.step));
    match seen_keys.is_empty() {
        true => error.help("no record lies in that window at all: is the time right, and in UTC?"),
        false => {
            let keys: Vec<&str> = seen_keys.iter().map(String::as_str).collect();
            error.help(format!("keys in that window are: {}", keys.join("; ")))
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
    fn of(engine: &Engine, question: &Question) -> Result<Self> {
        let plan = engine.plan();
        let step = window_step(plan, &question.step)?;
        if reads_join(plan, step) {
            return Err(Error::new(
                Code::Unsupported,
                format!("`{}` reads rows of a join, and `why` does not follow rows through joins", question.step),
            )
            .help("`samestream query` finds the joined rows by their columns"));
        }
        let Work::Window(window) = &plan.steps[step].work else { unreachable!("it was found to be one") };
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (name, expr) in &window.keys {
            let Some((_, text)) = question.key.iter().find(|(known, _)| known == name) else {
                let names: Vec<&str> = window.keys.iter().map(|(name, _)| name.as_str()).collect();
                return Err(Error::new(Code::Usage, format!("the rows of `{}` have a key `{name}`", question.step))
                    .help(format!(
                        "say all of them: {}",
                        names.iter().map(|name| format!("--key {name}=…")).collect::<Vec<_>>().join(" ")
                    )));
            };
            columns.push(
                value(text, expr.data_type())
                    .map_err(|why| Error::new(Code::Usage, format!("`--key {name}={text}`: {why}")))?,
            );
        }
        if let Some((name, _)) = question.key.iter().find(|(name, _)| !window.keys.iter().any(|(key, _)| key == name)) {
            let names: Vec<&str> = window.keys.iter().map(|(name, _)| name.as_str()).collect();
            let keys = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Error::new(Code::Usage, format!("`{name}` is no key of `{}`", question.step))
                .help(format!("its keys are: {keys}")));
        }
        let key = engine.keys(step, &columns, 1).value(0).to_vec();
        Ok(Self { step, at: question.at, window: fixed_window(window.windowing, question)?, key })
    }

    fn takes(&self, window: Window) -> bool {
        self.window.map_or(window.start == self.at, |wanted| wanted == window)
    }
}

/// Returns the fixed window that is meant.
fn fixed_window(windowing: Windowing, question: &Question) -> Result<Option<Window>> {
    let Windowing::Fixed { size, every, offset } = windowing else {
        let windows = windowing.windows(question.at);
        let Some(end) = question.end else {
            // Of cumulative windows the longest: it holds the records of all that begin with it.
            return Ok(windows.first().copied());
        };
        return match windows.iter().find(|window| window.end == end) {
            Some(window) => Ok(Some(*window)),
            None => {
                let ends: Vec<String> = windows.iter().map(|window| rfc3339(window.end)).collect();
                Err(Error::new(Code::Usage, format!("no window at {} ends at {}", rfc3339(question.at), rfc3339(end)))
                    .help(format!("they end at {}", ends.join(", "))))
            }
        };
    };
    let start = last_start(question.at, every, offset);
    if start != question.at && every != size {
        let before = [start - every, start, start + every].map(rfc3339);
        return Err(Error::new(
            Code::Usage,
            format!("no window of `{}` starts at {}", question.step, rfc3339(question.at)),
        )
        .help(format!("its windows overlap, so `--window` is a start, such as {}", before.join(", "))));
    }
    Ok(Some(Window { start, end: start + size }))
}

/// Returns whether a step reads a join, directly or through others.
fn reads_join(plan: &Plan, step: usize) -> bool {
    let mut before = plan.steps[step].inputs.iter().filter_map(|input| input.step());
    before.any(|before| matches!(plan.steps[before].work, Work::Join(_)) || reads_join(plan, before))
}

fn window_step(plan: &Plan, name: &str) -> Result<usize> {
    let windows = || {
        let steps = plan.steps.iter().filter(|step| matches!(step.work, Work::Window(_)));
        steps.map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match plan.steps.iter().position(|step| step.name == name) {
        None => Err(Error::new(Code::Empty, format!("the pipeline has no step `{name}`"))
            .help(format!("its steps with windows are: {}", windows()))),
        Some(step) if matches!(plan.steps[step].work, Work::Window(_)) => Ok(step),
        Some(_) => Err(Error::new(Code::Usage, format!("`{name}` has no windows of its own")).help(format!(
            "`samestream why-not` tells what became of a record; steps with windows are: {}",
            windows()
        ))),
    }
}

/// Reads a text as a value of a type.
fn value(text: &str, data_type: DataType) -> std::result::Result<ArrayRef, String> {
    let literal = match text {
        "null" => Literal::Null,
        text => Literal::String(text.into()),
    };
    let expr = Expr::cast(Expr::literal(literal), data_type, false)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .expect("a batch without columns has rows");
    let evaluated = expr.evaluate(&row);
    match evaluated.failures.into_iter().next() {
        Some((_, why)) => Err(why),
        None => Ok(evaluated.values),
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

/// A row that came out.
struct FoundRow {
    window: Window,
    columns: Vec<(String, String)>,
    is_final: bool,
}

struct Search<'a> {
    engine: &'a Engine,
    targets: Vec<Target>,
    /// By step and key.
    index: HashMap<(usize, Vec<u8>), Vec<usize>>,
    found: Vec<Vec<Found>>,
    /// Rows of the targets' steps and keys.
    rows: Vec<Vec<FoundRow>>,
    /// Of steps where an id counts once, by target and id: the first copy that the window took, whatever its key.
    firsts: HashMap<(usize, Vec<u8>), (i64, Name)>,
    /// Keys in the first target's window.
    keys: BTreeSet<String>,
    /// By step, source, partition and id: the record that had it last.
    ids: HashMap<(usize, usize, Partition, Vec<u8>), Offset>,
    /// By step and record: what it repeats.
    repeats: HashMap<(usize, Name), Offset>,
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
        ids: HashMap::new(),
        repeats: HashMap::new(),
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
        self.remember_ids(event);
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
            let left_out = event.left_out.map(|left_out| self.left_out_text(event, left_out));
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
                let columns = columns_text(&emission.rows, row);
                self.rows[*number].push(FoundRow { window, columns, is_final: emission.is_final });
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

    /// Returns the record that counts in the place of one that a target's window took, if it is another.
    fn counted_instead(&self, number: usize, found: &Found) -> Option<String> {
        let (_, first) = self.firsts.get(&(number, found.id.clone()?))?;
        let Name::Record { source, partition, offset } = first else { return None };
        let source = &self.engine.plan().sources[*source].name;
        (*first != found.name).then(|| format!("counts once, as {source} {partition}@{offset}"))
    }

    fn remember_ids(&mut self, event: &Event<'_>) {
        let (Fate::Passed(Some(id)) | Fate::Repeated(id)) = &event.fate else { return };
        let Name::Record { source, partition, offset } = event.name else { return };
        let before = self.ids.insert((event.step, source, partition, id.clone()), offset);
        if let (Fate::Repeated(_), Some(before)) = (&event.fate, before) {
            self.repeats.insert((event.step, event.name.clone()), before);
        }
    }

    fn left_out_text(&self, event: &Event<'_>, (step, why): (usize, &str)) -> String {
        let plan = self.engine.plan();
        let name = &plan.steps[step].name;
        match (&plan.steps[step].work, self.repeats.get(&(step, event.name.clone())), &event.name) {
            (Work::Dedup(_), Some(before), Name::Record { source, partition, .. }) if why == "repeated" => {
                format!("repeats {} {partition}@{before} at `{name}`", plan.sources[*source].name)
            }
            _ => format!("filtered at `{name}`: {why}"),
        }
    }

    fn answer(&self, number: usize, mut found: Vec<Found>, walked: &Walked) -> Answer {
        let target = &self.targets[number];
        let plan = self.engine.plan();
        let step = &plan.steps[target.step];
        let Work::Window(window) = &step.work else { unreachable!("targets are rows of window steps") };
        let at = match (window.windowing, target.window) {
            (Windowing::Session { gap }, _) => session_of(&mut found, target.at, gap),
            (_, Some(window)) => window,
            // `same`: the window of whatever was found.
            (_, None) => {
                let of_row = found.iter().find_map(|found| match found.name {
                    Name::Row { start, end, .. } => Some(Window { start, end }),
                    Name::Record { .. } => None,
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
                name: self.part_name(target.step, &found.name),
                event_time: found.event_time,
                columns: found.columns,
                reason,
                parts: None,
            });
        }
        let row = self.rows[number].iter().find(|row| row.window == at);
        Answer {
            step: step.name.clone(),
            window: at,
            key: key_text(self.engine, target.step, &target.key),
            row: row.map(|row| (row.columns.clone(), row.is_final)),
            dropped: None,
            taken,
            left,
            bad: step.sources.iter().filter_map(|source| self.bad.get(source)).sum(),
            walked: walked.clone(),
        }
    }

    fn part_name(&self, step: usize, name: &Name) -> PartName {
        match name {
            Name::Record { source, partition, offset } => {
                PartName::Record(self.engine.plan().sources[*source].name.clone(), *partition, *offset)
            }
            Name::Row { start, end, key } => {
                let steps = makers(self.engine.plan(), step);
                let text = steps.first().map_or_else(String::new, |maker| key_text(self.engine, *maker, key));
                PartName::Row(Window { start: *start, end: *end }, text)
            }
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

/// Returns the window steps whose rows a step reads, through row work.
fn makers(plan: &Plan, step: usize) -> Vec<usize> {
    let mut makers = Vec::new();
    for before in plan.steps[step].inputs.iter().filter_map(|input| input.step()) {
        match &plan.steps[before].work {
            Work::Window(_) => makers.push(before),
            Work::Join(_) => unreachable!("steps over joins are refused"),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => makers.extend(self::makers(plan, before)),
        }
    }
    makers.sort_unstable();
    makers.dedup();
    makers
}

/// Returns number, window and key of the rows of a window step.
fn windows_of(engine: &Engine, step: usize, rows: &RecordBatch) -> Vec<(usize, Window, Vec<u8>)> {
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

fn columns_text(columns: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let schema = columns.schema();
    let cells = schema.fields().iter().zip(columns.columns());
    cells.map(|(field, column)| (field.name().clone(), engine::value::display(&**column, row))).collect()
}

fn late_text(by: i64, watermark: i64) -> String {
    format!("late by {}: the watermark of its partition was {}", duration(by), rfc3339(watermark))
}

/// Returns why a row that records were taken into is not there: `having` or `top`.
fn dropped(plan: &Arc<Plan>, answer: &Answer, question: &Question, options: &RunOptions) -> Result<Option<String>> {
    let mut whole = plan.as_ref().clone();
    let step = window_step(plan, &question.step)?;
    let Work::Window(window) = &mut whole.steps[step].work else { unreachable!("it is a window step") };
    let (having, top) = (window.having.take(), window.top.take());
    let engine = Engine::new(Arc::new(whole));
    let target = Target::of(&engine, question)?;
    let (answers, _) = answers(&engine, vec![target], options)?;
    if answers[0].row.is_none() {
        return Ok(None);
    }
    let row: Vec<String> = answers[0]
        .row
        .iter()
        .flat_map(|(columns, _)| columns)
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    let rule = match (having, top) {
        (Some(having), None) => format!("`having: {having}` is not true of it"),
        (None, Some(top)) => format!("it is not among the first {} of its window (`top`)", top.n),
        (Some(having), Some(top)) => {
            format!("`having: {having}` is not true of it, or it is not among the first {} of its window", top.n)
        }
        (None, None) => return Ok(None),
    };
    debug_assert_eq!(answers[0].window, answer.window);
    Ok(Some(format!("{rule}: {}", row.join(", "))))
}

/// Takes the rows that an answer is made of apart, down to records.
fn deepen(engine: &Engine, answer: &mut Answer, options: &RunOptions) -> Result<()> {
    let plan = engine.plan().clone();
    let step = window_step(&plan, &answer.step)?;
    let makers = makers(&plan, step);
    let Some(maker) = makers.first() else { return Ok(()) };
    if !answer.taken.iter().any(|part| matches!(part.name, PartName::Row(..))) {
        return Ok(());
    }
    let mut finder = Names { step, window: answer.window, names: Vec::new() };
    walk(&plan, options, &mut finder)?;
    let wanted: Vec<Target> = finder
        .names
        .iter()
        .map(|(window, key)| Target { step: *maker, at: window.start, window: Some(*window), key: key.clone() })
        .collect();
    let (found, _) = answers(engine, wanted, options)?;
    for part in &mut answer.taken {
        let PartName::Row(window, key) = &part.name else { continue };
        let parts = found.iter().find(|found| found.window == *window && found.key == *key && !found.taken.is_empty());
        if let Some(parts) = parts {
            let mut parts = parts.clone();
            deepen(engine, &mut parts, options)?;
            part.parts = Some(Box::new(parts));
        }
    }
    Ok(())
}

/// Gathers the names of the rows that come to a window.
struct Names {
    step: usize,
    window: Window,
    names: Vec<(Window, Vec<u8>)>,
}

impl Visitor for Names {
    fn event(&mut self, event: &Event<'_>) {
        let is_in = match &event.fate {
            Fate::InWindow { window, late_by: None, .. } => *window == self.window,
            Fate::InSession { late_by: None, .. } => {
                self.window.start <= event.event_time && event.event_time < self.window.end
            }
            _ => false,
        };
        if event.step == self.step
            && is_in
            && let Name::Row { start, end, key } = &event.name
        {
            self.names.push((Window { start: *start, end: *end }, key.clone()));
        }
    }
}

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

/// What became of a record at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It went no further, for this reason.
    Out(String),
    /// It went on.
    On,
    /// It was late for a window.
    Late {
        /// The window; None: a point in time.
        window: Option<Window>,
        /// The key.
        key: String,
        /// How late it was.
        reason: String,
    },
    /// It is in a row.
    In {
        /// The row's window.
        window: Window,
        /// The key.
        key: String,
        /// Whether the row came out, and then whether it is final.
        row: Option<bool>,
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
    let name = Name::Record { source, partition, offset };
    let mut follower = Follower {
        engine: &engine,
        name,
        bad: None,
        times: None,
        stops: vec![Vec::new(); plan.steps.len()],
        places: Vec::new(),
        firsts: HashMap::new(),
        ids: HashMap::new(),
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
    let steps = follower.steps(plan);
    Ok(Course { source: plan.sources[source].name.clone(), partition, offset, bad, times, steps, walked })
}

struct Follower<'a> {
    engine: &'a Engine,
    name: Name,
    bad: Option<String>,
    times: Option<(i64, Option<i64>, Option<i64>)>,
    stops: Vec<Vec<Stop>>,
    places: Vec<FoundPlace>,
    /// Of steps where an id counts once, by step, window and id: the first copy that the window took.
    firsts: HashMap<(usize, Window, Vec<u8>), (i64, Name)>,
    ids: HashMap<(usize, usize, Partition, Vec<u8>), Offset>,
}

/// A row that the record should be in.
struct FoundPlace {
    step: usize,
    key: Vec<u8>,
    /// None: a session.
    window: Option<Window>,
    /// The id of which one copy counts.
    id: Option<Vec<u8>>,
    /// The row's window and whether it is final, if it came.
    row: Option<(Window, bool)>,
}

impl Visitor for Follower<'_> {
    fn event(&mut self, event: &Event<'_>) {
        let plan = self.engine.plan();
        let mut before = None;
        if let (Fate::Passed(Some(id)) | Fate::Repeated(id), Name::Record { source, partition, offset }) =
            (&event.fate, &event.name)
        {
            before = self.ids.insert((event.step, *source, *partition, id.clone()), *offset);
        }
        let Name::Record { source, partition, .. } = event.name else { return };
        if let Fate::InWindow { window, late_by: None, id: Some(id), .. } = &event.fate {
            let copy = (event.event_time, event.name.clone());
            let first = self.firsts.entry((event.step, *window, id.clone())).or_insert_with(|| copy.clone());
            if copy < *first {
                *first = copy;
            }
        }
        if event.name != self.name {
            return;
        }
        let stop = match &event.fate {
            Fate::Read => {
                let mark = (event.watermark != NEVER).then_some(event.watermark);
                let bound = plan.sources[source].out_of_orderness;
                self.times = Some((event.event_time, mark.map(|mark| mark.saturating_add(bound)), mark));
                return;
            }
            Fate::Filtered => {
                let filter = plan.steps[event.step].rows.filter.as_ref();
                Stop::Out(format!("filtered: where {}", filter.map_or_else(String::new, ToString::to_string)))
            }
            Fate::Failed(why) => Stop::Out(format!("failed: {why}")),
            Fate::Repeated(_) => Stop::Out(match before {
                Some(before) => format!("repeats {} {partition}@{before}", plan.sources[source].name),
                None => "repeats an earlier record".into(),
            }),
            Fate::Passed(_) => Stop::On,
            Fate::InWindow { window, key, late_by: Some(by), .. } => Stop::Late {
                window: Some(*window),
                key: key_text(self.engine, event.step, key),
                reason: late_text(*by, event.watermark),
            },
            Fate::InSession { key, late_by: Some(by) } => Stop::Late {
                window: None,
                key: key_text(self.engine, event.step, key),
                reason: late_text(*by, event.watermark),
            },
            Fate::InWindow { window, key, late_by: None, id } => {
                let (step, window, id) = (event.step, Some(*window), id.clone());
                self.places.push(FoundPlace { step, key: key.clone(), window, id, row: None });
                return;
            }
            Fate::InSession { key, late_by: None } => {
                let place = FoundPlace { step: event.step, key: key.clone(), window: None, id: None, row: None };
                self.places.push(place);
                return;
            }
        };
        self.stops[event.step].push(stop);
    }

    fn aside(&mut self, aside: &Aside) {
        let (Input::SourceBad(source), Identity::Records { partition, offsets, .. }) = (aside.input, &aside.identity)
        else {
            return;
        };
        let name = |offset: &Offset| Name::Record { source, partition: *partition, offset: *offset };
        if let Some(at) = offsets.iter().position(|offset| name(offset) == self.name) {
            self.bad = Some(aside.reasons[at].clone());
        }
    }

    fn rows(&mut self, emission: &Emission) {
        let Input::Step(step) = emission.input else { return };
        let time = self.times.map_or(0, |(time, ..)| time);
        if !self.places.iter().any(|place| place.step == step) {
            return;
        }
        for (_, window, key) in windows_of(self.engine, step, &emission.rows) {
            for place in &mut self.places {
                let is_it = place.window.map_or(window.start <= time && time < window.end, |wanted| wanted == window);
                if place.step == step && place.key == key && is_it {
                    place.row = Some((window, emission.is_final));
                }
            }
        }
    }
}

impl Follower<'_> {
    fn steps(mut self, plan: &Plan) -> Vec<(String, Vec<Stop>)> {
        let time = self.times.map_or(0, |(time, ..)| time);
        for place in &self.places {
            let at = place.row.map(|(window, _)| window).or(place.window);
            let window = at.unwrap_or(Window { start: time, end: time });
            let key = key_text(self.engine, place.step, &place.key);
            let first = place.id.as_ref().and_then(|id| self.firsts.get(&(place.step, window, id.clone())));
            self.stops[place.step].push(match first {
                Some((_, first @ Name::Record { source, partition, offset })) if *first != self.name => {
                    let source = &plan.sources[*source].name;
                    Stop::Out(format!("counts once in its window, as {source} {partition}@{offset}"))
                }
                _ => Stop::In { window, key, row: place.row.map(|(_, is_final)| is_final) },
            });
        }
        let steps = plan.steps.iter().zip(self.stops);
        steps.filter(|(_, stops)| !stops.is_empty()).map(|(step, stops)| (step.name.clone(), stops)).collect()
    }
}
