//! A case: a pipeline described so simply that the oracle can follow it, and a log. Everything follows from a seed.

mod drawn;
pub mod expr;
pub mod log;
mod pipelines;
mod records;
pub mod scalar;
mod yaml;

use serde::{Deserialize, Serialize};

use self::expr::{Call, Column, Expr};
use self::log::Log;
use crate::random::Random;
use crate::value::{Type, Value};

/// A pipeline with a log to run it on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// The seed it came from.
    pub seed: u64,
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What its source holds.
    #[serde(skip)]
    pub log: Log,
}

impl Case {
    /// Makes the case of a seed.
    pub fn generate(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (mut pipeline, shape) = pipelines::pipeline(&mut random.fork());
        let log = records::log(&mut random.fork(), &mut pipeline, &shape);
        Self { seed, pipeline, log }
    }
}

/// What all times of a case are multiples of, so that boundaries are hit exactly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Microseconds in a tick.
    pub(crate) tick: i64,
    /// The longest window or gap, in ticks.
    pub(crate) window_ticks: i64,
    /// A zone for windows of the calendar, and a time at which its clocks are put forward or back, around which the log lies.
    pub(crate) zone: Option<(Zone, i64)>,
}

/// A pipeline of one or two sources, each of whose steps has a sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pipeline {
    /// The schema of every source.
    pub columns: Vec<SourceColumn>,
    /// The event-time column of every source: one of `columns`, or `_timestamp`.
    pub event_time: String,
    /// The sources, by name. Each is read by a step.
    pub sources: Vec<Source>,
    /// The steps, each after the one it reads.
    pub steps: Vec<Step>,
}

/// A source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// `out_of_orderness`, microseconds.
    pub bound: i64,
    /// `max_future`, microseconds.
    pub max_future: Option<i64>,
    /// `partitions:`.
    pub partitions: Option<Vec<i32>>,
}

impl Source {
    /// Returns whether records of that partition are read.
    pub fn reads(&self, partition: i32) -> bool {
        self.partitions.as_ref().is_none_or(|chosen| chosen.contains(&partition))
    }
}

/// A column of the schema.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it is `!`.
    pub required: bool,
    /// `from: key`, `from: header.NAME`; None: it stands in the value.
    #[serde(default)]
    pub beside: Option<Beside>,
}

/// Where a column stands that does not stand in a record's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// The record's key.
    Key,
    /// The last header of that name.
    Header(String),
}

/// A step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it reads, sources or earlier steps: one, or the several of a union.
    pub from: Vec<String>,
    /// `tag`: a column with the name of the input.
    #[serde(default)]
    pub tag: Option<String>,
    /// `explode`: the list column, and what an element is called.
    #[serde(default)]
    pub explode: Option<(String, String)>,
    /// `where`.
    pub filter: Option<Expr>,
    /// `derive`.
    pub derive: Vec<(String, Expr)>,
    /// `drop`.
    pub drop: Vec<String>,
    /// `select`.
    pub select: Option<Vec<(String, Expr)>>,
    /// `check`.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// `lookup`, if any.
    #[serde(default)]
    pub lookup: Option<Lookup>,
    /// `dedup`, if any.
    #[serde(default)]
    pub dedup: Option<Dedup>,
    /// Window work, if any.
    pub window: Option<Window>,
    /// A join of the two inputs, left and right, if any. Row work is done after it.
    #[serde(default)]
    pub join: Option<Join>,
    /// What a second sink takes of its rows, if there is one.
    #[serde(default)]
    pub part: Option<Extract>,
}

/// What a sink takes of a step's rows. Nothing in it can fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extract {
    /// `where`.
    pub filter: Option<Expr>,
    /// `select`.
    pub select: Vec<(String, Expr)>,
}

/// A join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join {
    /// `type`: whether left rows and right rows come without a partner.
    pub keeps: [bool; 2],
    /// `on`: pairs of columns, left and right.
    pub on: Vec<(String, String)>,
    /// The bound in event time.
    pub near: Near,
}

/// The bound in event time of a join; all numbers are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Near {
    Window(Kind),
    Within { before: i64, after: i64 },
    AsOf { max_age: Option<i64> },
}

impl Join {
    /// Returns the word for `type`.
    pub fn word(&self) -> &'static str {
        match self.keeps {
            [false, false] => "inner",
            [true, false] => "left",
            [false, true] => "right",
            [true, true] => "full",
        }
    }

    /// Returns the columns of joined rows, those that come only when they are named as `left.NAME`, `right.NAME` last,
    /// and whether the others are all there is to be had without naming them.
    pub fn columns(&self, sides: [&[Column]; 2]) -> Option<(Vec<Column>, bool)> {
        let type_of =
            |side: usize, name: &str| sides[side].iter().find(|(column, _)| column == name).map(|(_, ty)| *ty);
        let mut columns = Vec::new();
        let windowed = matches!(self.near, Near::Window(_));
        if windowed {
            columns.extend(["window_start", "window_end"].map(|name| (name.to_string(), Type::Time)));
        }
        for (left, right) in &self.on {
            let (a, b) = (type_of(0, left)?, type_of(1, right)?);
            (a == b || (a.is_integer() && b.is_integer())).then_some(())?;
            (!left.starts_with('_') && !right.starts_with('_')).then_some(())?;
            columns.push((left.clone(), if a == b { a } else { Type::Int64 }));
        }
        (windowed || !self.on.is_empty()).then_some(())?;
        let mut whole = true;
        for side in 0..2 {
            for (name, ty) in sides[side] {
                let is_key = self.on.iter().any(|(left, right)| name == [left, right][side]);
                let is_bound = windowed && (name == "window_start" || name == "window_end");
                if is_key || is_bound || name.starts_with('_') {
                    continue;
                }
                let other_key = |name: &str| self.on.iter().any(|(left, right)| name == [left, right][1 - side]);
                let is_key_name = self.on.iter().any(|(left, _)| left == name);
                if is_key_name || (type_of(1 - side, name).is_some() && !other_key(name)) {
                    whole = false;
                } else {
                    columns.push((name.clone(), *ty));
                }
            }
        }
        for (side, word) in ["left", "right"].iter().enumerate() {
            columns.extend(sides[side].iter().map(|(name, ty)| (format!("{word}.{name}"), *ty)));
        }
        Some((columns, whole))
    }
}

/// What rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Records.
    Records,
    /// Rows of windows or sessions.
    Windows,
    /// Rows of joins that have no window.
    Pairs,
}

/// A rule of `check`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What must be true.
    pub rule: Expr,
    /// `else: drop`; else `quarantine`. What ends a run has a test of its own.
    pub drops: bool,
}

/// `lookup` in a CSV file that the case brings along.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lookup {
    /// The columns that must be equal; the file has them as `k0`, `k1`, ….
    pub on: Vec<String>,
    /// The columns that are added; the file has them as `v0`, `v1`, …. Those that are no texts are made by a cast.
    pub take: Vec<Column>,
    /// The rows of the file: keys, then values.
    pub rows: Vec<(Vec<Value>, Vec<Value>)>,
    /// What becomes of a row without a key: `null`, `drop` or `quarantine`.
    pub missing: String,
}

/// `dedup`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dedup {
    /// `key`.
    pub keys: Vec<(String, Expr)>,
    /// `within`, microseconds.
    pub within: i64,
}

/// JSON as records spell it, its canonical text, and its member `a` as text.
pub const JSONS: [(&str, &str, Option<&str>); 8] = [
    (r#"{ "b" : [1, 1.0 , 1e0], "a" : null }"#, r#"{"a":null,"b":[1,1.0,1e0]}"#, None),
    (r#"{"a":"x\u0079","Z":{}}"#, r#"{"Z":{},"a":"xy"}"#, Some("xy")),
    (r#"{"\u0061":{"c":true,"b":"\/"}}"#, r#"{"a":{"b":"/","c":true}}"#, Some(r#"{"b":"/","c":true}"#)),
    (r#"{"a":-0}"#, r#"{"a":-0}"#, Some("-0")),
    ("[ ]", "[]", None),
    ("\"a\"", "\"a\"", None),
    ("1.50", "1.50", None),
    ("true", "true", None),
];

/// Columns that a source has besides its schema.
pub const IMPLIED: [(&str, Type); 3] =
    [("_partition", Type::Int32), ("_offset", Type::Int64), ("_timestamp", Type::Time)];

/// Window work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Window {
    /// The kind of window.
    pub kind: Kind,
    /// `allowed_lateness`, microseconds.
    pub allowed: i64,
    /// `group_by`.
    pub keys: Vec<(String, Expr)>,
    /// `unique_by`.
    #[serde(default)]
    pub unique_by: Vec<(String, Expr)>,
    /// `aggregate`.
    pub aggregates: Vec<(String, Expr)>,
    /// `having`.
    pub having: Option<Expr>,
    /// `top`.
    pub top: Option<Top>,
}

/// A kind of window; all numbers are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Kind {
    Tumbling { size: i64, offset: i64 },
    Hopping { size: i64, every: i64, offset: i64 },
    Cumulative { size: i64, step: i64, offset: i64 },
    Calendar { unit: CalendarUnit, zone: Zone },
    Session { gap: i64 },
    Same,
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum CalendarUnit {
    Day,
    Week,
    Month,
}

/// A time zone: its place in the oracle's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone(pub usize);

impl Zone {
    /// Returns how many zones there are.
    pub fn count() -> usize {
        crate::oracle::zones::names().len()
    }

    /// Returns its name in the IANA database.
    pub fn name(self) -> &'static str {
        crate::oracle::zones::names()[self.0]
    }
}

/// `top`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Top {
    /// How many rows.
    pub n: usize,
    /// Columns, and whether each is descending.
    pub by: Vec<(String, bool)>,
    /// Columns within which rows are counted apart.
    pub per: Vec<String>,
    /// `ties: keep`.
    pub keep: bool,
    /// `rank`: the column that takes the row's number.
    #[serde(default)]
    pub rank: Option<String>,
}

impl Pipeline {
    /// Returns the columns that a step reading the source sees.
    pub fn source_columns(&self) -> Vec<Column> {
        let own = self.columns.iter().map(|column| (column.name.clone(), column.ty));
        own.chain(IMPLIED.iter().map(|(name, ty)| (name.to_string(), *ty))).collect()
    }

    /// Returns true when values that are null are no bad records of that source: it is read as nothing but the right of
    /// as-of joins, and their keys and its event time do not stand in the value.
    pub fn keeps_tombstones(&self, source: usize) -> bool {
        let name = &self.sources[source].name;
        let is_beside = |column: &str| {
            let own = self.columns.iter().find(|own| own.name == column);
            own.is_none_or(|own| own.beside.is_some())
        };
        let is_right = |step: &Step| {
            let Some(Join { near: Near::AsOf { .. }, on, .. }) = &step.join else { return false };
            step.from[0] != *name && on.iter().all(|(_, right)| is_beside(right))
        };
        let mut readers = self.steps.iter().filter(|step| step.from.contains(name));
        is_beside(&self.event_time) && readers.all(is_right)
    }

    /// Returns the output columns of a step, or None when something in it or before it does not fit.
    pub fn step_columns(&self, name: &str) -> Option<Vec<Column>> {
        if self.is_source(name) {
            return Some(self.source_columns());
        }
        let step = self.step(name)?;
        if let Some(join) = &step.join {
            let [left, right] = step.from.as_slice() else { return None };
            let (left, right) = (self.step_columns(left)?, self.step_columns(right)?);
            let (columns, whole) = join.columns([&left, &right])?;
            (whole || step.select.is_some()).then_some(())?;
            if let Near::Window(Kind::Same) = join.near {
                let fits = |from: &String| self.class(from) == Class::Windows && !self.name_has_sessions(from);
                step.from.iter().all(fits).then_some(())?;
            }
            let own = own_columns(step, step.row_columns(&columns)?);
            for rule in &step.rules {
                rule.rule.type_over(&own).filter(|ty| *ty == Type::Bool)?;
            }
            return Some(own);
        }
        let mut columns = step.row_columns(&self.columns_before(step)?)?;
        (step.explode.is_none() || !step.from.iter().any(|from| self.is_indexed(from))).then_some(())?;
        for rule in &step.rules {
            rule.rule.type_over(&columns).filter(|ty| *ty == Type::Bool)?;
        }
        if let Some(dedup) = &step.dedup {
            listed(&dedup.keys, &columns)?;
        }
        if let Some(lookup) = &step.lookup {
            lookup.on.iter().all(|on| columns.iter().any(|(name, _)| name == on)).then_some(())?;
            lookup.take.iter().all(|(take, _)| columns.iter().all(|(name, _)| name != take)).then_some(())?;
            columns.extend(lookup.take.iter().cloned());
        }
        match &step.window {
            None => Some(columns),
            Some(window) => window.columns(&columns),
        }
    }

    /// Returns the columns that a step sees before its row work: those of its inputs, the list exploded.
    pub fn columns_before(&self, step: &Step) -> Option<Vec<Column>> {
        step.exploded(&self.input_columns(&step.from, step.tag.as_deref())?)
    }

    /// Returns true when the rows of a source or step come out of a join, however far before.
    pub fn has_join(&self, name: &str) -> bool {
        self.step(name).is_some_and(|step| step.join.is_some() || step.from.iter().any(|from| self.has_join(from)))
    }

    /// Returns true when the rows of a source or step are elements of exploded records.
    pub fn is_indexed(&self, name: &str) -> bool {
        !self.is_windowed(name)
            && self.step(name).is_some_and(|step| {
                step.join.is_none() && (step.explode.is_some() || step.from.iter().any(|from| self.is_indexed(from)))
            })
    }

    /// Returns the columns of a step's inputs and its tag, or None when they do not fit together.
    pub fn input_columns(&self, from: &[String], tag: Option<&str>) -> Option<Vec<Column>> {
        let mut columns = self.step_columns(from.first()?)?;
        let sorted = |mut columns: Vec<Column>| {
            columns.sort_by(|a, b| a.0.cmp(&b.0));
            columns
        };
        for (i, other) in from.iter().enumerate().skip(1) {
            let fits = sorted(self.step_columns(other)?) == sorted(columns.clone())
                && self.class(other) == self.class(&from[0])
                && !from[..i].contains(other);
            fits.then_some(())?;
        }
        if let Some(tag) = tag {
            columns.iter().all(|(name, _)| name != tag).then_some(())?;
            columns.push((tag.to_string(), Type::Text));
        }
        Some(columns)
    }

    /// Returns true when the rows of a source or step are no records.
    pub fn is_windowed(&self, name: &str) -> bool {
        self.class(name) != Class::Records
    }

    /// Returns what the rows of a source or step are.
    pub fn class(&self, name: &str) -> Class {
        match self.step(name) {
            None => Class::Records,
            Some(Step { join: Some(Join { near: Near::Window(_), .. }), .. } | Step { window: Some(_), .. }) => {
                Class::Windows
            }
            Some(Step { join: Some(_), .. }) => Class::Pairs,
            Some(step) => self.class(&step.from[0]),
        }
    }

    fn name_has_sessions(&self, name: &str) -> bool {
        self.step(name).is_some_and(|step| self.has_sessions(step))
    }

    /// Returns true when a source has that name.
    pub fn is_source(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source.name == name)
    }

    /// Returns the step of that name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Returns true when the step's input (or the input's input …) is windowed: its rows are window rows.
    pub fn is_over_windows(&self, step: &Step) -> bool {
        self.is_windowed(&step.from[0])
    }

    /// Returns whether some of the step's rows are rows of sessions: through row steps, unions, and `same`.
    pub fn has_sessions(&self, step: &Step) -> bool {
        match &step.window {
            Some(window) if window.kind != Kind::Same => matches!(window.kind, Kind::Session { .. }),
            None if step.join.is_some() => false,
            _ => step.from.iter().filter_map(|from| self.step(from)).any(|before| self.has_sessions(before)),
        }
    }

    /// Returns true when every name and type fits, so that a smaller pipeline can be told from a broken one.
    pub fn is_valid(&self) -> bool {
        let has_part = |step: &Step| match (&step.part, self.step_columns(&step.name)) {
            (Some(part), Some(columns)) => {
                let filter = part.filter.as_ref().map(|filter| filter.type_over(&columns));
                filter.is_none_or(|ty| ty == Some(Type::Bool)) && listed(&part.select, &columns).is_some()
            }
            (None, columns) => columns.is_some(),
            (Some(_), None) => false,
        };
        let is_read = |source: &Source| self.steps.iter().any(|step| step.from.contains(&source.name));
        !self.steps.is_empty() && self.sources.iter().all(is_read) && self.steps.iter().all(has_part)
    }
}

/// Returns the columns that readers of a join see: all but those that only row work sees.
pub fn own_columns(step: &Step, mut columns: Vec<Column>) -> Vec<Column> {
    if step.join.is_some() && step.select.is_none() {
        columns.retain(|(name, _)| !name.contains('.'));
    }
    columns
}

fn listed(list: &[(String, Expr)], columns: &[Column]) -> Option<Vec<Column>> {
    list.iter().map(|(name, expr)| Some((name.clone(), expr.type_over(columns)?))).collect()
}

impl Step {
    /// Returns the columns where the element stands in the place of the list.
    pub fn exploded(&self, columns: &[Column]) -> Option<Vec<Column>> {
        let Some((list, element)) = &self.explode else { return Some(columns.to_vec()) };
        let mut columns = columns.to_vec();
        let is_free = element == list || columns.iter().all(|(name, _)| name != element);
        let column = columns.iter_mut().find(|(name, _)| name == list).filter(|_| is_free)?;
        *column = (element.clone(), column.1.element()?);
        Some(columns)
    }

    /// Returns every expression of it.
    pub fn expressions(&self) -> Vec<&Expr> {
        let mut all: Vec<&Expr> = self.filter.iter().collect();
        all.extend(self.rules.iter().map(|rule| &rule.rule));
        let mut lists: Vec<&[(String, Expr)]> = vec![&self.derive, self.select.as_deref().unwrap_or_default()];
        lists.extend(self.dedup.iter().map(|dedup| dedup.keys.as_slice()));
        if let Some(window) = &self.window {
            lists.extend([&window.keys[..], &window.unique_by, &window.aggregates]);
            all.extend(&window.having);
        }
        all.extend(lists.into_iter().flatten().map(|(_, expr)| expr));
        all
    }

    /// Returns the columns after row work.
    pub fn row_columns(&self, columns: &[Column]) -> Option<Vec<Column>> {
        if let Some(filter) = &self.filter {
            filter.type_over(columns).filter(|ty| *ty == Type::Bool)?;
        }
        let mut result = columns.to_vec();
        for (name, ty) in listed(&self.derive, columns)? {
            match result.iter_mut().find(|(column, _)| *column == name) {
                Some(column) => column.1 = ty,
                None => result.push((name, ty)),
            }
        }
        for name in &self.drop {
            result.remove(result.iter().position(|(column, _)| column == name)?);
        }
        match &self.select {
            Some(select) => listed(select, &result),
            None => Some(result),
        }
    }
}

impl Window {
    /// Returns the columns of its rows.
    pub fn columns(&self, rows: &[Column]) -> Option<Vec<Column>> {
        let mut result = vec![("window_start".to_string(), Type::Time), ("window_end".to_string(), Type::Time)];
        result.extend(listed(&self.keys, rows)?);
        listed(&self.unique_by, rows)?;
        let inside = result.clone();
        for (name, expr) in &self.aggregates {
            result.push((name.clone(), output_type(expr, &inside, rows)?));
        }
        if let Some(having) = &self.having {
            having.type_over(&result).filter(|ty| *ty == Type::Bool)?;
        }
        for name in self.top.iter().flat_map(|top| top.by.iter().map(|(name, _)| name).chain(&top.per)) {
            result.iter().find(|(column, _)| column == name)?;
        }
        result.extend(self.top.iter().filter_map(|top| top.rank.clone()).map(|rank| (rank, Type::Int64)));
        Some(result)
    }
}

/// Returns the type of an aggregate output: calls see the rows, all else the bounds and keys.
fn output_type(expr: &Expr, inside: &[Column], rows: &[Column]) -> Option<Type> {
    let mut calls = Vec::new();
    let outer = without_calls(expr, &mut calls);
    let mut columns = inside.to_vec();
    for (i, call) in calls.iter().enumerate() {
        columns.push((call_name(i), Expr::Call(call.clone()).type_over(rows)?));
    }
    outer.type_over(&columns)
}

/// Returns the name that stands for the result of a call.
pub fn call_name(index: usize) -> String {
    format!("#{index}")
}

/// Returns the expression with columns `#0`, `#1`, … in the place of aggregate calls, which go to `calls`.
pub fn without_calls(expr: &Expr, calls: &mut Vec<Call>) -> Expr {
    match expr {
        Expr::Call(call) => {
            calls.push(call.clone());
            Expr::Column(call_name(calls.len() - 1))
        }
        Expr::Column(_) | Expr::Literal(_) => expr.clone(),
        Expr::Binary(operator, left, right) => {
            expr::binary(*operator, without_calls(left, calls), without_calls(right, calls))
        }
        Expr::Function(function, arguments) => {
            Expr::Function(*function, arguments.iter().map(|argument| without_calls(argument, calls)).collect())
        }
        Expr::Case(condition, then, otherwise) => Expr::Case(
            Box::new(without_calls(condition, calls)),
            Box::new(without_calls(then, calls)),
            Box::new(without_calls(otherwise, calls)),
        ),
    }
}
