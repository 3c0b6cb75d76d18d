//! The plan: a pipeline as it was understood and checked. The engine and the drivers read nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregate::{Accumulator, Aggregate};
use crate::expr::{Expr, Literal};
use crate::log::{IMPLIED, Partition};
use crate::lookup::LookupTable;
use crate::value::{DataType, Field, Schema};
use crate::window::Windowing;

/// A checked pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// Its sources, by name.
    pub sources: Vec<SourcePlan>,
    /// Its steps; every step comes after those it reads.
    pub steps: Vec<StepPlan>,
    /// Its sinks, by name.
    pub sinks: Vec<SinkPlan>,
    /// The definition digest: 32 hex digits over what the results depend on.
    pub definition: String,
    /// The canonical text that it is the digest of.
    pub canonical: String,
}

/// A source: a log, and how its records become rows.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the file.
    pub columns: Vec<ColumnPlan>,
    /// Name of the format that makes columns of values, such as `json`.
    pub format: String,
    /// Name of the event-time column: one of `columns`, not null, or `_timestamp`.
    pub event_time: String,
    /// The bound of disorder, in microseconds.
    pub out_of_orderness: i64,
    /// A record further than this past the log's own time is bad, in microseconds.
    pub max_future: Option<i64>,
    /// The only partitions to read and count, ascending; None: all.
    pub partitions: Option<Vec<Partition>>,
    /// What a bad record does.
    pub on_bad: OnBad,
    /// What a late record does.
    pub on_late: OnLate,
    /// Where the log is, by mode.
    pub bindings: Bindings,
    /// Names of the columns (schema columns and `_timestamp`) that steps, sinks, event time or future guard read.
    pub needed: Vec<String>,
    /// Whether a record without a value is a version "nothing" of its key: from its event time on, as-of joins find
    /// nothing there. Elsewhere it is a bad record ([`crate::log::NULL_VALUE`]).
    pub tombstones: bool,
}

impl Plan {
    /// Returns the name of the source or step that an input speaks of.
    pub fn name_of(&self, input: Input) -> &str {
        match input {
            Input::Source(source) | Input::SourceBad(source) => &self.sources[source].name,
            Input::Step(step) | Input::StepLate(step) | Input::StepBad(step) => &self.steps[step].name,
        }
    }
}

impl SourcePlan {
    /// Returns the schema's columns followed by nothing else.
    pub fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|column| column.field.clone()).collect())
    }

    /// Returns the schema's columns and the implied ones: what a step that reads this source sees.
    pub fn row_schema(&self) -> Schema {
        let mut schema = self.schema();
        schema.fields.extend(IMPLIED.iter().map(|(name, data_type)| Field::new(*name, *data_type)));
        schema
    }

    /// Returns what a sink that reads the bad records sees: position, reason, key and value as bytes.
    ///
    /// A lake gives the bytes that it holds: the keys, where it was archived; the values of records that could not be
    /// decoded. A record that was decoded and is refused for its event time alone (the future guard) has its value in
    /// batch mode only if the lake was archived with `--raw`; else `_raw` is null there, and not in stream mode.
    pub fn bad_schema(&self) -> Schema {
        let mut schema = position();
        schema.fields.push(Field { nullable: false, ..Field::new("_bad", DataType::String) });
        schema.fields.extend(["_key", "_raw"].map(|name| Field::new(name, DataType::Binary)));
        schema
    }

    /// Returns the schema's columns that the plan needs, in schema order.
    pub fn needed_columns(&self) -> impl Iterator<Item = &ColumnPlan> {
        self.columns.iter().filter(|column| self.needed.contains(&column.field.name))
    }

    /// Returns true when the plan needs the log's own time of each record.
    pub fn needs_timestamp(&self) -> bool {
        self.max_future.is_some() || self.needed.iter().any(|name| name == "_timestamp")
    }
}

/// A column of a source: its type, and where in a record its value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnPlan {
    /// Name, type, nullability.
    pub field: Field,
    /// Where the value stands.
    pub from: ValueFrom,
    /// How a timestamp is written.
    pub format: TimeFormat,
    /// Texts that mean null.
    pub null_as: Vec<String>,
}

/// Where in a record a column's value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    /// A field of the value; the path leads through objects. A column without `from` has the one-element path of its name.
    Path(Vec<String>),
    /// The whole value.
    Value,
    /// The record's key.
    Key,
    /// A header of that name.
    Header(String),
}

/// How a timestamp column is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339 text, or an integer of epoch milliseconds.
    Default,
    /// RFC 3339 text only.
    Rfc3339,
    /// Integer seconds since 1970.
    EpochSeconds,
    /// Integer milliseconds since 1970.
    EpochMillis,
    /// Integer microseconds since 1970.
    EpochMicros,
    /// A `%`-pattern of chrono; without an offset in it, the time is UTC.
    Pattern(String),
}

/// What a bad record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// It is kept aside with its reason.
    Quarantine,
    /// It ends the run with exit code 3.
    Fail,
}

/// What a late record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLate {
    /// It is kept aside with its reason.
    Quarantine,
    /// It is counted only.
    Drop,
    /// It ends the run with exit code 1.
    Fail,
}

/// Where a source's log is. At least one is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// A Kafka topic.
    pub kafka: Option<KafkaBinding>,
    /// A Parquet lake.
    pub lake: Option<LakeBinding>,
    /// A journal's folder.
    pub journal: Option<String>,
}

/// A topic and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaBinding {
    /// Bootstrap addresses, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// librdkafka settings, passed through. May hold secrets: never printed.
    pub options: BTreeMap<String, String>,
}

/// A folder of Parquet files and how its files name their records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeBinding {
    /// The folder (or, for `files`, a glob).
    pub path: String,
    /// How files name records.
    pub layout: Layout,
}

/// How a lake's files name their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `partition=P/<first offset>.parquet` with `_partition`, `_offset`, … columns.
    Log,
    /// Kafka Connect's `topic+partition+startOffset.parquet`.
    Connect,
    /// A file is a partition, a row's number its offset.
    Files,
}

/// What a step or a sink reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The source of that index.
    Source(usize),
    /// The step of that index.
    Step(usize),
    /// Bad records of the source of that index (sinks only).
    SourceBad(usize),
    /// Rows of the step of that index that were late for all windows (sinks only).
    StepLate(usize),
    /// Rows whose expression failed at the step of that index (sinks only).
    StepBad(usize),
}

impl Input {
    /// Returns the step whose rows it is.
    pub fn step(self) -> Option<usize> {
        match self {
            Input::Step(step) => Some(step),
            Input::Source(_) | Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => None,
        }
    }
}

/// A step: row work, then at most one kind of stateful work.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Its name.
    pub name: String,
    /// What it reads, sources or earlier steps: one, or by name the several inputs of a union, or left and right of a join.
    pub inputs: Vec<Input>,
    /// The sources that its rows come from in the end, ascending.
    pub sources: Vec<usize>,
    /// True when its row work sees rows that closing makes (window rows, rows of joins; final ones only), false when they
    /// are records.
    pub over_windows: bool,
    /// The column that takes the name of the input that a row came from.
    pub tag: Option<String>,
    /// Row work, done first; after a join.
    pub rows: RowWork,
    /// Rules that the rows must keep after row work, in their order.
    pub rules: Vec<Rule>,
    /// Stateful work.
    pub work: Work,
    /// The columns after row work, which stateful work and `STEP.late` see.
    pub row_schema: Schema,
    /// The columns of its rows, without `final`.
    pub schema: Schema,
}

impl StepPlan {
    /// Returns what a sink that reads the late rows sees: position, the row's columns, and how late it is.
    pub fn late_schema(&self, columns: &Schema) -> Schema {
        aside_schema(self.position(), columns, "_late")
    }

    /// Returns true when some record may be late at it.
    pub fn has_late(&self) -> bool {
        match &self.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => false,
            Work::Window(_) => !self.over_windows,
            Work::Join(join) => join.sides.iter().any(|side| side.are_records),
        }
    }

    /// Returns whether records that are late at it are kept aside, which is for their sources to say.
    pub fn keeps_late(&self, sources: &[SourcePlan]) -> bool {
        let of_records = match &self.work {
            Work::Join(join) => {
                let sides = join.sides.iter().filter(|side| side.are_records);
                sides.flat_map(|side| side.sources.iter().copied()).collect()
            }
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => self.sources.clone(),
        };
        self.has_late() && of_records.iter().any(|source| sources[*source].on_late != OnLate::Drop)
    }

    /// Returns what a sink that reads the failed rows sees: position (of records), the columns of the step's input, and
    /// the reason. A row that failed after `select` or `drop` is null in the columns that were gone by then.
    pub fn bad_schema(&self, input: &Schema) -> Schema {
        aside_schema(if self.over_windows { Schema::default() } else { self.position() }, input, "_bad")
    }

    /// Returns the columns that name its rows, when they are records: partition, offset and, of exploded ones, the index
    /// of the element, which is null for a record that came into a union unexploded.
    pub fn position(&self) -> Schema {
        let mut schema = position();
        if self.rows.is_indexed {
            schema.fields.push(Field::new(INDEX, DataType::Int64));
        }
        schema
    }
}

/// The column that says which element of its record's list a row was.
pub const INDEX: &str = "_index";

/// Returns the columns that name a record.
fn position() -> Schema {
    Schema::new(IMPLIED[..2].iter().map(|(name, kind)| Field { nullable: false, ..Field::new(*name, *kind) }).collect())
}

fn aside_schema(mut schema: Schema, columns: &Schema, reason: &str) -> Schema {
    let rest = columns.fields.iter().filter(|field| schema.field(&field.name).is_none()).cloned().collect::<Vec<_>>();
    schema.fields.extend(rest.into_iter().map(|field| Field { nullable: true, ..field }));
    if schema.field(reason).is_none() {
        schema.fields.push(Field { nullable: false, ..Field::new(reason, DataType::String) });
    }
    schema
}

/// Work on single rows, always in the order of the fields. An expression sees the columns before its own key only.
#[derive(Clone, Debug, Default)]
pub struct RowWork {
    /// Makes a row of every element of a list.
    pub explode: Option<Explode>,
    /// Whether its rows are told apart by an index too, because this step or one before it explodes records.
    pub is_indexed: bool,
    /// Keeps rows for which it is true.
    pub filter: Option<Expr>,
    /// Columns to add or replace.
    pub derive: Vec<(String, Expr)>,
    /// Columns to take away.
    pub drop: Vec<String>,
    /// Exactly these columns.
    pub select: Option<Vec<(String, Expr)>>,
}

impl RowWork {
    /// Returns true when rows pass unchanged.
    pub fn is_empty(&self) -> bool {
        self.explode.is_none()
            && self.filter.is_none()
            && self.derive.is_empty()
            && self.drop.is_empty()
            && self.select.is_none()
    }
}

/// Makes a row of every element of a list; a null or empty list gives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explode {
    /// The column that holds the list.
    pub list: String,
    /// The column that stands in its place and holds the element.
    pub element: String,
}

impl Explode {
    /// Returns the columns as they are after it.
    pub fn schema(&self, before: &Schema) -> Schema {
        let fields = before.fields.iter().map(|field| match field.data_type.element() {
            Some(element) if field.name == self.list => Field::new(&self.element, element),
            _ => field.clone(),
        });
        Schema::new(fields.collect())
    }
}

/// A data-quality rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, for counts and reasons.
    pub name: String,
    /// What must be true of a row; null is not true.
    pub expr: Expr,
    /// What becomes of a row that breaks it.
    pub otherwise: OnBroken,
}

/// What becomes of a row that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBroken {
    /// It is kept aside with the rule as its reason.
    Quarantine,
    /// It is counted only.
    Drop,
    /// It ends the run with exit code 3.
    Fail,
}

/// The stateful work of a step. New kinds are matched without `_`.
#[derive(Clone, Debug)]
pub enum Work {
    /// None: a row step.
    Rows,
    /// Takes repetitions away, by partition.
    Dedup(DedupPlan),
    /// Adds values out of a pinned table.
    Lookup(Box<LookupPlan>),
    /// A window aggregate.
    Window(Box<WindowPlan>),
    /// A join of two inputs.
    Join(Box<JoinPlan>),
}

/// A join of two inputs, its sides: 0 is the left one, 1 the right one.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// What is joined.
    pub sides: [JoinSide; 2],
    /// Which rows come that have no partner.
    pub kind: JoinKind,
    /// The pairs of columns that must be equal; null is equal to nothing.
    pub on: Vec<JoinKey>,
    /// Which rows are near enough in event time.
    pub time: JoinTime,
    /// What row work sees; only columns that something reads.
    pub columns: Vec<JoinColumn>,
}

/// One input of a join.
#[derive(Clone, Debug)]
pub struct JoinSide {
    /// What it is.
    pub input: Input,
    /// The sources that its rows come from in the end.
    pub sources: Vec<usize>,
    /// True when its rows are records, so that they may be late; false when closing makes them.
    pub are_records: bool,
    /// Its columns, without the log's own.
    pub schema: Schema,
    /// The names of the columns that something reads, the log's own among them.
    pub read: Vec<String>,
}

/// Which rows of a join come that have no partner, with nulls in the other side's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// None.
    Inner,
    /// Those of the left side.
    Left,
    /// Those of the right side.
    Right,
    /// Those of both sides.
    Full,
}

impl JoinKind {
    /// Returns whether rows of a side come without a partner.
    pub fn keeps(self, side: usize) -> bool {
        match self {
            JoinKind::Inner => false,
            JoinKind::Left => side == 0,
            JoinKind::Right => side == 1,
            JoinKind::Full => true,
        }
    }

    /// Returns its name in the pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Right => "right",
            JoinKind::Full => "full",
        }
    }
}

/// A pair of columns that must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinKey {
    /// The column of each side.
    pub names: [String; 2],
    /// The type in which they are compared: the wider one.
    pub data_type: DataType,
}

/// Which rows of a join are near enough in event time. All numbers are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinTime {
    /// Those in the same window.
    Window(Windowing),
    /// `left − before <= right <= left + after`.
    Within {
        /// How much earlier than the left row a right row may be.
        before: i64,
        /// How much later.
        after: i64,
    },
    /// For each left row the last right row that is not later.
    AsOf {
        /// How much earlier it may be at most.
        max_age: Option<i64>,
    },
}

/// A column of joined rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinColumn {
    /// Name, type, nullability.
    pub field: Field,
    /// Where its value comes from.
    pub value: JoinValue,
}

/// Where the value of a joined column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinValue {
    /// The start of the window.
    WindowStart,
    /// The end of the window.
    WindowEnd,
    /// The pair of `on` of that index: the left value, or the right one where there is no left row.
    Key(usize),
    /// The column of that name of a side.
    Side(usize, String),
}

/// The names of the sides, which stand before a point in qualified names.
pub const SIDES: [&str; 2] = ["left", "right"];

impl JoinPlan {
    /// Returns the name that a column of a side has among the late rows of both sides: its own, unless the other side has
    /// one of that name and another type.
    pub fn late_name(&self, side: usize, name: &str) -> String {
        let of = |side: usize| self.sides[side].schema.field(name).map(|field| field.data_type);
        match (of(side), of(1 - side)) {
            (Some(mine), Some(other)) if mine != other => format!("{}.{name}", SIDES[side]),
            _ => name.to_owned(),
        }
    }

    /// Returns the columns of late rows: which side each is of, then the columns of both sides that are records.
    pub fn late_columns(&self) -> Schema {
        let mut columns = Schema::new(vec![Field { nullable: false, ..Field::new("_side", DataType::String) }]);
        for (number, side) in self.sides.iter().enumerate().filter(|(_, side)| side.are_records) {
            for field in &side.schema.fields {
                let name = self.late_name(number, &field.name);
                if columns.field(&name).is_none() {
                    columns.fields.push(Field::new(name, field.data_type));
                }
            }
        }
        columns
    }
}

/// Takes repetitions away: see [`crate::Memory`].
#[derive(Clone, Debug)]
pub struct DedupPlan {
    /// What rows are told apart by: name and expression over `row_schema`. Nulls are equal.
    pub keys: Vec<(String, Expr)>,
    /// How long a pause must be after which an id is not a repetition any more, in microseconds.
    pub within: i64,
}

/// Adds values out of a pinned table.
#[derive(Clone, Debug)]
pub struct LookupPlan {
    /// The file as it is written; only for people.
    pub file: String,
    /// XXH3-128 of the file's bytes, which is part of the definition.
    pub digest: String,
    /// Per key column of the file, its name and what it must equal, over `row_schema` and of the same type.
    pub keys: Vec<(String, Expr)>,
    /// The columns that are added, in the order of the table's values.
    pub take: Vec<Field>,
    /// For each of them, what is taken: the name of a column of the file, or an expression over its columns.
    pub taken: Vec<String>,
    /// What becomes of a row whose key the table does not have.
    pub missing: OnMissing,
    /// The keys and their values.
    pub table: Arc<LookupTable>,
}

/// What becomes of a row whose key a lookup table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The values are null.
    Null,
    /// The row goes.
    Drop,
    /// It is kept aside.
    Quarantine,
}

/// A window aggregate.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    /// How rows find windows.
    pub windowing: Windowing,
    /// How long after its end a window stays open, in microseconds; 0 over window rows.
    pub allowed_lateness: i64,
    /// Grouping columns: name and expression over `row_schema`.
    pub keys: Vec<(String, Expr)>,
    /// What a row is told by where it counts once in its window, whatever partitions its copies are in: name and expression
    /// over `row_schema`. Nulls are equal. Empty: every row counts. Not over sessions.
    pub unique_by: Vec<(String, Expr)>,
    /// The aggregate calls that the outputs need, without repetition.
    pub calls: Vec<AggregateCall>,
    /// The aggregate outputs: name and expression over [`WindowPlan::closed_schema`].
    pub outputs: Vec<(String, Expr)>,
    /// Keeps closed rows for which it is true; over the step's schema.
    pub having: Option<Expr>,
    /// Keeps the first rows of each window; over the step's schema.
    pub top: Option<Top>,
}

impl WindowPlan {
    /// Returns what output expressions see: `window_start`, `window_end`, the keys, then the calls as `#0`, `#1`, ….
    pub fn closed_schema(&self) -> Schema {
        let mut fields =
            vec![Field::new("window_start", DataType::Timestamp), Field::new("window_end", DataType::Timestamp)];
        fields.extend(self.keys.iter().map(|(name, expr)| Field::new(name, expr.data_type())));
        fields.extend(self.calls.iter().enumerate().map(|(i, call)| Field::new(format!("#{i}"), call.output_type)));
        Schema::new(fields)
    }
}

/// One aggregate over evaluated arguments.
#[derive(Clone)]
pub struct AggregateCall {
    /// The aggregate.
    pub aggregate: &'static dyn Aggregate,
    /// Its arguments, over `row_schema`; none for `count(*)`.
    pub arguments: Vec<Expr>,
    /// Its parameters: constants, one for each of the aggregate's.
    pub parameters: Vec<Literal>,
    /// Takes in only rows for which it is true; over `row_schema`. The arguments are evaluated for every row all the same.
    pub filter: Option<Expr>,
    /// The type of its result.
    pub output_type: DataType,
}

impl AggregateCall {
    /// Returns the types of its arguments.
    pub fn argument_types(&self) -> Vec<DataType> {
        self.arguments.iter().map(Expr::data_type).collect()
    }

    /// Returns all expressions that are evaluated for every row.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.arguments.iter().chain(&self.filter)
    }

    /// Makes an empty accumulator.
    pub fn accumulator(&self) -> Box<dyn Accumulator> {
        self.aggregate.accumulator(&self.argument_types(), &self.parameters)
    }
}

impl std::fmt::Debug for AggregateCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments = self.arguments.iter().map(Expr::to_string);
        let parameters = self.parameters.iter().map(|parameter| Expr::literal(parameter.clone()).to_string());
        write!(f, "{}({})", self.aggregate.name(), arguments.chain(parameters).collect::<Vec<_>>().join(", "))?;
        match &self.filter {
            Some(filter) => write!(f, " filter (where {filter})"),
            None => Ok(()),
        }
    }
}

/// The first rows of each window by a total order: `by`, then the keys ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// How many rows.
    pub n: usize,
    /// Output columns and whether each is descending. Null is least, NaN greatest, text bytewise; `desc` reverses all of it.
    pub by: Vec<(String, bool)>,
    /// Output columns within which rows are counted apart.
    pub per: Vec<String>,
    /// Keep all rows that equal the n-th on `by`.
    pub keep_ties: bool,
    /// The column that takes each row's number in the total order, from 1.
    pub rank: Option<String>,
}

/// A sink: rows of one input, and where they go.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub input: Input,
    /// Keeps rows for which it is true.
    pub filter: Option<Expr>,
    /// Exactly these columns.
    pub select: Option<Vec<(String, Expr)>>,
    /// The columns that are written, without `final`.
    pub schema: Schema,
    /// The columns whose values name a row (bounds and keys), if it has such.
    pub identity: Vec<String>,
    /// Whether a stream writes rows of open windows too, to be replaced as they change (`emit: early`).
    pub early: bool,
    /// Its kind and settings.
    pub target: SinkTarget,
}

/// Where a sink writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTarget {
    /// Name of the kind in the sinks table, such as `parquet`.
    pub kind: String,
    /// Its settings as written: `path`, `topic`, …; nested `options` as `options.NAME`.
    pub settings: BTreeMap<String, String>,
}
