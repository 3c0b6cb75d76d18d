//! Why a row is what it is: the records that made it and those that did not, and what became of one record.
//!
//! All are questions to a [`crate::walk`]: nothing is computed a second time, the steps only tell what they do. Rows of
//! windows are in `rows`, rows of joins in `join`, the way of one record in `record`.

mod join;
mod record;
mod rows;
mod through;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use engine::expr::{Expr, Literal};
use engine::log::{Offset, Partition};
use engine::plan::{JoinTime, OnMissing, Plan, Work};
use engine::trace::{Event, Fate, LeftOut, Name, Why};
use engine::window::{Window, Windowing, last_start};
use engine::{Code, DataType, Engine, Error, Result, duration, rfc3339};

pub use self::record::{Course, Stop, Where, why_not};
use crate::job::RunOptions;
use crate::lateness::key_text;
use crate::walk::Walked;

/// Which row is asked about.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The step.
    pub step: String,
    /// Of a step with windows: the start of the row's window; of tumbling windows and sessions any time inside will do. In
    /// microseconds.
    pub window: Option<i64>,
    /// The end of its window, where several begin at the same time.
    pub window_end: Option<i64>,
    /// Of a join without windows: the event time of a row of a side, in microseconds.
    pub at: Option<i64>,
    /// Of a join without windows: the record that is a row of a side.
    pub record: Option<RecordName>,
    /// Names and values of its key, as texts.
    pub key: Vec<(String, String)>,
    /// Whether rows of earlier steps are taken apart in turn.
    pub is_deep: bool,
}

/// A record as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName {
    /// Its source; None: the only one that it can be of.
    pub source: Option<String>,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
}

/// What rows are made of.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The step.
    pub step: String,
    /// Whether it is a join.
    pub is_join: bool,
    /// The window; None: rows of the join are in none.
    pub window: Option<Window>,
    /// The key, such as `page = /home`.
    pub key: String,
    /// The rows that were asked about: of a window one or none, of a join every pair.
    pub rows: Vec<Row>,
    /// Why there is no row, although records were taken.
    pub dropped: Option<String>,
    /// What was taken into them, in record order.
    pub taken: Vec<Part>,
    /// What might have been taken into them and was not, with the reason.
    pub left: Vec<Part>,
    /// Bad records of its sources, which belong to no window.
    pub bad: u64,
    /// Where reading began and ended.
    pub walked: Walked,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its columns as text.
    pub columns: Vec<(String, String)>,
    /// Its event time, in microseconds.
    pub event_time: i64,
    /// Whether it is final.
    pub is_final: bool,
    /// Why the step did not give it after all.
    pub dropped: Option<String>,
    /// Of a join: the left and the right row.
    pub sides: Option<[Option<PartName>; 2]>,
    /// What names it, as the engine gives it.
    id: Name,
}

/// A record, or a row of an earlier step.
#[derive(Clone, Debug)]
pub struct Part {
    /// What names it.
    pub name: PartName,
    /// Of a join: which side it is on, the left one being 0.
    pub side: Option<usize>,
    /// Its event time, in microseconds.
    pub event_time: i64,
    /// The columns that the step saw, as text.
    pub columns: Vec<(String, String)>,
    /// Why it was not taken.
    pub reason: Option<String>,
    /// What the window rows in it are made of, if that was asked for.
    pub parts: Vec<Answer>,
    /// The same name, as the engine gives it.
    id: Name,
}

/// What names a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartName {
    /// A record.
    Record {
        /// Its source.
        source: String,
        /// Its partition.
        partition: Partition,
        /// Its offset.
        offset: Offset,
        /// Which element of its record it is, if it was exploded.
        index: Option<i64>,
    },
    /// A row of a window step.
    Row {
        /// The step.
        step: String,
        /// Its window.
        window: Window,
        /// Its key.
        key: String,
        /// Which element it is, for each time that it was exploded.
        indices: Vec<i64>,
    },
    /// A row of a join.
    Joined {
        /// The join.
        step: String,
        /// Its window, if it has one.
        window: Option<Window>,
        /// The left and the right row.
        sides: Box<[Option<PartName>; 2]>,
        /// Which element it is, for each time that it was exploded.
        indices: Vec<i64>,
    },
}

impl PartName {
    fn of(engine: &Engine, name: &Name) -> Self {
        let plan = engine.plan();
        match name {
            Name::Record { source, partition, offset, index } => PartName::Record {
                source: plan.sources[*source].name.clone(),
                partition: *partition,
                offset: *offset,
                index: *index,
            },
            Name::Row { step, window, key, indices } => PartName::Row {
                step: plan.steps[*step].name.clone(),
                window: *window,
                key: key_text(engine, *step, key),
                indices: indices.clone(),
            },
            Name::Joined { step, window, pair, indices } => PartName::Joined {
                step: plan.steps[*step].name.clone(),
                window: *window,
                sides: Box::new(sides_of(engine, pair)),
                indices: indices.clone(),
            },
        }
    }
}

/// Written as people write it: `clicks 0@4711`, `clicks 0@4711[2]`, `orders 0@1 with payments 0@7`.
impl std::fmt::Display for PartName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let indices = match self {
            PartName::Record { source, partition, offset, index } => {
                write!(f, "{source} {partition}@{offset}")?;
                index.as_slice()
            }
            PartName::Row { window, key, indices, .. } => {
                write!(f, "{} .. {}", rfc3339(window.start), rfc3339(window.end))?;
                if !key.is_empty() {
                    write!(f, "  {key}")?;
                }
                indices.as_slice()
            }
            PartName::Joined { sides, indices, .. } => {
                match &**sides {
                    [Some(left), Some(right)] => write!(f, "{left} with {right}")?,
                    [Some(alone), None] | [None, Some(alone)] => write!(f, "{alone} with nothing")?,
                    [None, None] => write!(f, "nothing")?,
                }
                indices.as_slice()
            }
        };
        indices.iter().try_for_each(|index| write!(f, "[{index}]"))
    }
}

fn sides_of(engine: &Engine, pair: &[Option<Name>; 2]) -> [Option<PartName>; 2] {
    pair.each_ref().map(|side| side.as_ref().map(|name| PartName::of(engine, name)))
}

/// Says what a row is made of. The plan must give the rows of all its steps to sinks.
pub fn why(plan: &Arc<Plan>, question: &Question, options: &RunOptions) -> Result<Answer> {
    let engine = Engine::new(plan.clone());
    let (step, through) = asked_step(plan, &question.step)?;
    let question = &Question { step: plan.steps[step].name.clone(), ..question.clone() };
    fitting(plan, step, question)?;
    let mut answer = match &plan.steps[step].work {
        Work::Join(_) => join::answer(&engine, step, question, options)?,
        Work::Window(_) | Work::Rows | Work::Dedup(_) | Work::Lookup(_) => {
            rows::answer(&engine, step, question, options)?
        }
    };
    if !through.is_empty() {
        through::follow(&engine, &mut answer, &through, options)?;
    }
    if question.is_deep {
        rows::deepen(&engine, vec![&mut answer], options)?;
    }
    Ok(answer)
}

/// Returns the step with windows, or the join, whose rows are asked about, and the row steps that they go through to the
/// step that was named.
fn asked_step(plan: &Plan, name: &str) -> Result<(usize, Vec<usize>)> {
    let has_rows = |step: usize| matches!(plan.steps[step].work, Work::Window(_) | Work::Join(_));
    let all = || {
        let steps = (0..plan.steps.len()).filter(|step| has_rows(*step));
        steps.map(|step| plan.steps[step].name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match plan.steps.iter().position(|step| step.name == name) {
        None => Err(Error::new(Code::Empty, format!("the pipeline has no step `{name}`"))
            .help(format!("its steps with windows and joins are: {}", all()))),
        Some(step) if has_rows(step) => Ok((step, Vec::new())),
        Some(step) if plan.steps[step].over_windows => through::makers(plan, step),
        Some(_) => Err(Error::new(Code::Usage, format!("`{name}` has no windows of its own")).help(format!(
            "`samestream why-not` tells what became of a record; steps with windows and joins are: {}",
            all()
        ))),
    }
}

/// Checks that a question names rows as the step's rows are named.
fn fitting(plan: &Plan, step: usize, question: &Question) -> Result<()> {
    let name = &plan.steps[step].name;
    let has_windows = match &plan.steps[step].work {
        Work::Join(join) => matches!(join.time, JoinTime::Window(_)),
        Work::Window(_) | Work::Rows | Work::Dedup(_) | Work::Lookup(_) => true,
    };
    let by_point = [("--at", question.at.is_some()), ("--record", question.record.is_some())];
    let usage = |what: String, help: &str| Err(Error::new(Code::Usage, what).help(help));
    if has_windows {
        if let Some((option, _)) = by_point.iter().find(|(_, is_there)| *is_there) {
            let help = "`--at` and `--record` name the rows of `within` and `as_of` joins";
            return usage(format!("the rows of `{name}` are in windows, which `{option}` does not name"), help);
        }
        if question.window.is_none() {
            return usage(format!("the rows of `{name}` are in windows: say which"), "add `--window START`");
        }
        return Ok(());
    }
    if question.window.is_some() || question.window_end.is_some() {
        let help = "say `--record [SOURCE:]P@O` for a record that it joins, or `--key C=V --at TIME`";
        return usage(format!("the rows of `{name}` are in no windows"), help);
    }
    match (&question.record, question.at) {
        (Some(_), None) if !question.key.is_empty() => {
            usage("a record has its key with it".into(), "leave `--key` away, or say `--at TIME` instead of `--record`")
        }
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) => usage("`--record` and `--at` exclude each other".into(), "leave one of them away"),
        (None, None) => {
            let help = "say `--record [SOURCE:]P@O` for a record that it joins, or `--key C=V --at TIME`, the event time \
                        of a row of either side";
            usage(format!("which row of `{name}`?"), help)
        }
    }
}

/// Returns the key of a question as ordered bytes.
fn key_of(engine: &Engine, step: usize, question: &Question) -> Result<Vec<u8>> {
    let fields = engine.key_fields(step).expect("windows and joins have keys");
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (name, data_type) in &fields {
        let Some((_, text)) = question.key.iter().find(|(known, _)| known == name) else {
            return Err(Error::new(Code::Usage, format!("the rows of `{}` have a key `{name}`", question.step)).help(
                format!(
                    "say all of them: {}",
                    fields.iter().map(|(name, _)| format!("--key {name}=…")).collect::<Vec<_>>().join(" ")
                ),
            ));
        };
        columns.push(
            value(text, *data_type).map_err(|why| Error::new(Code::Usage, format!("`--key {name}={text}`: {why}")))?,
        );
    }
    if let Some((name, _)) = question.key.iter().find(|(name, _)| !fields.iter().any(|(key, _)| key == name)) {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        let keys = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(Error::new(Code::Usage, format!("`{name}` is no key of `{}`", question.step))
            .help(format!("its keys are: {keys}")));
    }
    Ok(engine.keys(step, &columns, 1).value(0).to_vec())
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

/// Returns the window that is meant; None: one whose bounds follow from what is found.
fn asked_window(windowing: Windowing, question: &Question) -> Result<Option<Window>> {
    let at = question.window.expect("a question about windows names one");
    let Windowing::Fixed { size, every, offset } = windowing else {
        let windows = windowing.windows(at);
        let Some(end) = question.window_end else {
            // Of cumulative windows the longest: it holds the records of all that begin with it.
            return Ok(windows.first().copied());
        };
        return match windows.iter().find(|window| window.end == end) {
            Some(window) => Ok(Some(*window)),
            None if windowing == Windowing::Same => Ok(Some(Window { start: at, end })),
            None => {
                let ends: Vec<String> = windows.iter().map(|window| rfc3339(window.end)).collect();
                Err(Error::new(Code::Usage, format!("no window at {} ends at {}", rfc3339(at), rfc3339(end)))
                    .help(format!("they end at {}", ends.join(", "))))
            }
        };
    };
    let start = last_start(at, every, offset);
    if start != at && every != size {
        let before = [start - every, start, start + every].map(rfc3339);
        return Err(Error::new(Code::Usage, format!("no window of `{}` starts at {}", question.step, rfc3339(at)))
            .help(format!("its windows overlap, so `--window` is a start, such as {}", before.join(", "))));
    }
    Ok(Some(Window { start, end: start + size }))
}

/// Remembers which record every id of a `dedup` came with last, and so what each repetition repeats.
#[derive(Default)]
struct Repetitions {
    /// By step, source, partition and id.
    ids: HashMap<(usize, usize, Partition, Vec<u8>), Name>,
    /// By step and row: what it repeats.
    repeats: HashMap<(usize, Name), Name>,
}

impl Repetitions {
    fn see(&mut self, event: &Event<'_>) {
        let (Fate::Passed(Some(id)) | Fate::Repeated(id)) = &event.fate else { return };
        let Name::Record { source, partition, .. } = event.name else { return };
        let before = self.ids.insert((event.step, source, partition, id.clone()), event.name.clone());
        if let (Fate::Repeated(_), Some(before)) = (&event.fate, before) {
            self.repeats.insert((event.step, event.name.clone()), before);
        }
    }

    /// Returns what a repetition repeats.
    fn before(&self, step: usize, name: &Name) -> Option<&Name> {
        self.repeats.get(&(step, name.clone()))
    }

    /// Returns why a row was left out on its way.
    fn left_out_text(&self, engine: &Engine, event: &Event<'_>, (step, why): LeftOut<'_>) -> String {
        let at = &engine.plan().steps[step].name;
        match why {
            Why::Filtered(why) => format!("filtered at `{at}`: {why}"),
            Why::KeptAside(why) => format!("kept aside in `{at}.bad`: {why}"),
            Why::Late(by, watermark) => format!("at `{at}` {}", late_text(*by, *watermark)),
            Why::MetNothing => format!("met nothing at `{at}`"),
            // A row of a join may have come of a repetition on one side.
            Why::Repeated => match parts(&event.name).into_iter().find_map(|part| self.before(step, part)) {
                Some(before) => format!("repeats {} at `{at}`", PartName::of(engine, before)),
                None => format!("repeats an earlier record at `{at}`"),
            },
        }
    }
}

/// Returns what a step lets rows through by, as far as it drops others.
fn filter_text(plan: &Plan, step: usize) -> String {
    let step = &plan.steps[step];
    let filter = step.rows.filter.as_ref().map(|filter| format!("where {filter}"));
    let lookup = match &step.work {
        Work::Lookup(lookup) if lookup.missing == OnMissing::Drop => {
            Some(format!("lookup: {} has no row of this key", lookup.file))
        }
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) | Work::Join(_) => None,
    };
    filter.into_iter().chain(lookup).collect::<Vec<_>>().join(", or ")
}

/// Returns the rows that are in a row, itself if it is no joined one.
fn parts(name: &Name) -> Vec<&Name> {
    match name {
        Name::Record { .. } | Name::Row { .. } => vec![name],
        Name::Joined { pair, .. } => pair.iter().flatten().flat_map(parts).collect(),
    }
}

fn columns_text(columns: &RecordBatch, row: usize) -> Vec<(String, String)> {
    let schema = columns.schema();
    let cells = schema.fields().iter().zip(columns.columns());
    cells.map(|(field, column)| (field.name().clone(), engine::value::display(&**column, row))).collect()
}

fn late_text(by: i64, watermark: i64) -> String {
    format!("late by {}: the watermark of its partition was {}", duration(by), rfc3339(watermark))
}
