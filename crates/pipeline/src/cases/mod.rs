//! Test cases: what `tests:` of a file means, whether found rows are the expected ones, and how expectations are
//! written back into the file.
//!
//! A case gives rows of sources and expects rows of steps. Values are read by the type of their column from the text as
//! written. An expected row names the columns that matter; the rows of a list are matched as a set in which each found
//! row stands for one expected row, in whatever order they come.

mod bless;
mod compare;
mod value;

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat;
use engine::error::CODES;
use engine::log::{KeyAndValue, Offset, Partition};
use engine::plan::{Input, Plan, SourcePlan, ValueFrom, Work};
use engine::{Code, DataType, Field, Schema};

use crate::check::input_schema;
use crate::problems::{Problems, Span};
use crate::spec::{CaseSpec, RowSpec, RowsSpec};
use crate::suggest::did_you_mean;
use crate::yaml::Entry;

pub use bless::{Edits, blessed};
pub use compare::{Judgement, judge};
pub use value::display;

/// A test case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The line of the file, from 1, in which its name stands.
    pub line: usize,
    /// The records of each source that it gives any of.
    pub given: Vec<Given>,
    /// What it expects, in the order of the file.
    pub expect: Vec<Expectation>,
    /// The code that the run is to end with; None: it is to succeed.
    pub fails: Option<Code>,
    place: CasePlace,
}

/// Where a case stands in its file.
#[derive(Clone, Debug)]
struct CasePlace {
    whole: Range<usize>,
    /// `expect` and what follows it.
    expect: Option<(Range<usize>, Range<usize>)>,
}

/// Records that a case gives to a source.
#[derive(Clone, Debug)]
pub struct Given {
    /// Index of the source.
    pub source: usize,
    /// What the log says of each record.
    pub records: Vec<GivenRecord>,
    /// The columns of each record, all of the source's, as long as `records`; of records given as bytes only those that
    /// stand in keys or headers, null for the others.
    pub columns: RecordBatch,
}

/// A record that a case gives, its columns apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenRecord {
    /// Its partition.
    pub partition: Partition,
    /// Its offset; None: the one after the record before it.
    pub offset: Option<Offset>,
    /// The log's own time in milliseconds; None: its event time, rounded up.
    pub timestamp: Option<i64>,
    /// Key and value as bytes, of a record that is given so.
    pub raw: Option<KeyAndValue>,
    /// The line in which it stands.
    pub line: usize,
}

/// Rows that a case expects of one step, or of late or bad rows.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its name in the file, such as `per_page.late`.
    pub name: String,
    /// What it speaks of.
    pub input: Input,
    /// The rows.
    pub rows: Vec<ExpectedRow>,
    key: Range<usize>,
    span: Range<usize>,
}

/// A row that is expected.
#[derive(Clone, Debug)]
pub struct ExpectedRow {
    /// The line in which it stands.
    pub line: usize,
    /// The columns that are given.
    pub cells: Vec<ExpectedCell>,
    span: Range<usize>,
}

/// A value that is expected.
#[derive(Clone, Debug)]
pub struct ExpectedCell {
    /// The column.
    pub column: String,
    /// One value.
    pub value: ArrayRef,
    /// True for the text of a reason, of which the beginning is enough.
    is_prefix: bool,
    span: Range<usize>,
}

/// Returns the columns of what a case may expect: those of a step with `final`, or of late or bad rows.
pub fn columns_of(plan: &Plan, input: Input) -> Schema {
    let mut schema = match input {
        Input::Source(source) => plan.sources[source].row_schema(),
        Input::Step(step) if is_windowed(plan, step) => plan.steps[step].schema.clone(),
        Input::Step(step) => {
            let rest = plan.steps[step].schema.fields.iter();
            let rest = rest.filter(|field| field.name != "_partition" && field.name != "_offset").cloned();
            let position = plan.steps[step].position().fields.into_iter();
            let position = position.map(|field| Field::new(field.name, field.data_type));
            Schema::new(position.chain(rest).collect())
        }
        Input::StepLate(step) => {
            let columns = match &plan.steps[step].work {
                Work::Join(join) => join.late_columns(),
                Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => plan.steps[step].row_schema.clone(),
            };
            return plan.steps[step].late_schema(&columns);
        }
        Input::StepBad(step) => return plan.steps[step].bad_schema(&input_schema(plan, step)),
        Input::SourceBad(source) => return plan.sources[source].bad_schema(),
    };
    schema.fields.push(Field { nullable: false, ..Field::new("final", DataType::Bool) });
    schema
}

fn is_windowed(plan: &Plan, step: usize) -> bool {
    plan.steps[step].over_windows || matches!(plan.steps[step].work, Work::Window(_) | Work::Join(_))
}

/// Returns what a case may name under `expect`, in the order of sources and steps.
pub fn expectable(plan: &Plan) -> Vec<(String, Input)> {
    let mut all = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        all.push((format!("{}.bad", source.name), Input::SourceBad(index)));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        all.push((step.name.clone(), Input::Step(index)));
        if step.has_late() {
            all.push((format!("{}.late", step.name), Input::StepLate(index)));
        }
        all.push((format!("{}.bad", step.name), Input::StepBad(index)));
    }
    all
}

/// Checks the cases of a file against its plan, the tested one.
pub(crate) fn check(specs: &[CaseSpec], plan: &Plan, problems: &mut Problems) -> Vec<Case> {
    specs.iter().map(|spec| check_case(spec, plan, problems)).collect()
}

fn check_case(spec: &CaseSpec, plan: &Plan, problems: &mut Problems) -> Case {
    let given = spec.given.iter().filter_map(|rows| check_given(rows, plan, problems)).collect();
    let expect = spec.expect.iter().filter_map(|rows| check_expectation(rows, plan, problems)).collect();
    Case {
        name: spec.name.text.clone(),
        line: problems.line(spec.name.span.start),
        given,
        expect,
        fails: spec.fails.and_then(|name| CODES.iter().copied().find(|code| code.name() == name)),
        place: CasePlace {
            whole: range(spec.span),
            expect: spec.expect_key.map(|(key, value)| (range(key), range(value))),
        },
    }
}

fn range(span: Span) -> Range<usize> {
    span.start..span.end
}

fn check_given(spec: &RowsSpec, plan: &Plan, problems: &mut Problems) -> Option<Given> {
    let Some(source) = plan.sources.iter().position(|source| source.name == spec.name.text) else {
        let names = plan.sources.iter().map(|source| source.name.as_str());
        let help = did_you_mean(spec.name.shown(), "records are given to sources", names);
        problems
            .error(Code::Name, spec.name.span, format!("there is no source `{}`", spec.name.shown()), "not a source")
            .help = Some(help);
        return None;
    };
    let of = &plan.sources[source];
    let mut arrays: Vec<Vec<ArrayRef>> = vec![Vec::new(); of.columns.len()];
    let mut records: Vec<GivenRecord> = Vec::new();
    for row in &spec.rows {
        let (record, values) = check_record(row, of, problems);
        let before = records.iter().rev().find(|other| other.partition == record.partition && other.offset.is_some());
        if let (Some(offset), Some(before)) = (record.offset, before.and_then(|before| before.offset))
            && offset <= before
        {
            let message = format!("offset {offset} does not come after {before}, which is given before it");
            problems.error(Code::Field, row.span, message, "offsets of a partition grow");
        }
        records.push(record);
        arrays.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let schema = of.schema();
    let columns = arrays.iter().zip(&schema.fields).map(|(values, field)| match values.is_empty() {
        true => new_null_array(&field.data_type.arrow(), 0),
        false => {
            let values: Vec<&dyn arrow::array::Array> = values.iter().map(|value| &**value).collect();
            concat(&values).expect("values of a column have its type")
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    let columns = RecordBatch::try_new_with_options(schema.arrow(), columns.collect(), &options);
    Some(Given { source, records, columns: columns.expect("values have the types of the schema") })
}

/// What the log itself says of a record: the names that a row may use, the second where the source has a column of the
/// first name.
const POSITION: [(&str, &str); 3] = [("partition", "_partition"), ("offset", "_offset"), ("timestamp", "_timestamp")];

fn check_record(spec: &RowSpec, source: &SourcePlan, problems: &mut Problems) -> (GivenRecord, Vec<ArrayRef>) {
    let mut record =
        GivenRecord { partition: 0, offset: None, timestamp: None, raw: None, line: problems.line(spec.span.start) };
    let schema = source.schema();
    let mut values: Vec<ArrayRef> =
        schema.fields.iter().map(|field| new_null_array(&field.data_type.arrow(), 1)).collect();
    let is_raw = spec.cells.iter().any(|cell| cell.key.text == "_raw");
    let is_beside = |column: usize| matches!(source.columns[column].from, ValueFrom::Key | ValueFrom::Header(_));
    for cell in &spec.cells {
        let name = cell.key.text.as_str();
        let column = schema.fields.iter().position(|field| field.name == name);
        let position = POSITION.iter().position(|(short, long)| name == *long || (name == *short && column.is_none()));
        match (position, column) {
            (Some(0), _) => read_partition(cell, source, &mut record, problems),
            (Some(1), _) => {
                if let Some(offset) = number(cell, "an offset", problems).filter(|offset| *offset >= 0) {
                    record.offset = Some(offset);
                }
            }
            (Some(_), _) => record.timestamp = log_time(cell, problems),
            (None, None) if name == "_raw" || name == "_key" => {
                let bytes = cell.value.scalar().map(|scalar| scalar.text.clone().into_bytes());
                let (key, value) = record.raw.get_or_insert_default();
                *(if name == "_raw" { value } else { key }) = bytes;
            }
            (None, Some(column)) if !is_raw || is_beside(column) => {
                if let Some(value) = typed(cell, schema.fields[column].data_type, problems) {
                    values[column] = value;
                }
            }
            (None, Some(_)) => {
                let message = format!("`{name}` is given beside `_raw`, which is the whole value");
                problems.error(Code::Field, cell.key.span, message, "the value is given already").help = Some(
                    "give the columns, or `_raw`; only `partition`, `offset`, `timestamp` and `_key` go with it".into(),
                );
            }
            (None, None) => {
                let names = schema.fields.iter().map(|field| field.name.as_str());
                let names = names.chain(POSITION.map(|(short, _)| short)).chain(["_raw", "_key"]);
                unknown_column(cell, &source.name, names, problems);
            }
        }
    }
    if record.raw.is_some() && !is_raw {
        let message = "`_key` is given without `_raw`";
        problems.error(Code::Field, spec.span, message, "no value").help =
            Some("a record given as bytes has both; `_raw: null` is a value that is null".into());
    }
    if record.timestamp.is_none() && source.event_time == "_timestamp" {
        let message = format!("the event time of `{}` is `_timestamp`, which this record lacks", source.name);
        problems.error(Code::Field, spec.span, message, "no timestamp").help =
            Some("give `timestamp: \"2026-01-01T00:00:00Z\"` or milliseconds since 1970".into());
    }
    (record, values)
}

fn read_partition(cell: &Entry, source: &SourcePlan, record: &mut GivenRecord, problems: &mut Problems) {
    let Some(partition) = number(cell, "a partition", problems) else { return };
    match Partition::try_from(partition) {
        Ok(partition) if partition >= 0 => {
            if source.partitions.as_ref().is_some_and(|read| !read.contains(&partition)) {
                let message = format!("source `{}` does not read partition {partition}", source.name);
                problems.error(Code::Field, cell.value.span, message, "not read").help =
                    Some("`partitions:` of the source names those that are read".into());
            }
            record.partition = partition;
        }
        _ => {
            let message = format!("`{partition}` is not a partition number");
            problems.error(Code::Field, cell.value.span, message, "partitions are numbered 0, 1, 2, …");
        }
    }
}

fn number(cell: &Entry, what: &str, problems: &mut Problems) -> Option<i64> {
    let number = cell.value.scalar().and_then(|scalar| scalar.text.parse().ok());
    if number.is_none() {
        let message = format!("`{}` is not {what}", cell.value.scalar().map_or("this", |scalar| scalar.shown()));
        problems.error(Code::Type, cell.value.span, message, "not a whole number");
    }
    number
}

/// Reads the log's own time: milliseconds since 1970, or RFC 3339.
fn log_time(cell: &Entry, problems: &mut Problems) -> Option<i64> {
    if let Some(millis) = cell.value.scalar().and_then(|scalar| scalar.text.parse().ok()) {
        return Some(millis);
    }
    use arrow::array::AsArray;
    use arrow::datatypes::TimestampMicrosecondType;
    let micros = typed(cell, DataType::Timestamp, problems)?;
    Some(micros.as_primitive::<TimestampMicrosecondType>().value(0).div_euclid(1000))
}

/// Reads a value of a type, or reports why it is none.
fn typed(cell: &Entry, data_type: DataType, problems: &mut Problems) -> Option<ArrayRef> {
    match value::read(&cell.value, data_type) {
        Ok(value) => Some(value),
        Err((span, why)) => {
            let message = format!("the value of `{}` is not {data_type}: {why}", cell.key.text);
            problems.error(Code::Type, span, message, format!("not {data_type}")).help =
                Some("a record that cannot be decoded is given as bytes: `{_raw: '…'}`".into());
            None
        }
    }
}

fn unknown_column<'a>(
    cell: &Entry,
    owner: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    problems: &mut Problems,
) {
    let help = did_you_mean(&cell.key.text, "it has", names);
    problems
        .error(Code::Name, cell.key.span, format!("`{owner}` has no column `{}`", cell.key.text), "not a column")
        .help = Some(help);
}

fn check_expectation(spec: &RowsSpec, plan: &Plan, problems: &mut Problems) -> Option<Expectation> {
    let all = expectable(plan);
    let Some((name, input)) = all.iter().find(|(name, _)| *name == spec.name.text) else {
        let names = all.iter().map(|(name, _)| name.as_str());
        let help = did_you_mean(spec.name.shown(), "rows are expected of", names);
        let message = format!("there is no `{}` to expect rows of", spec.name.shown());
        problems.error(Code::Name, spec.name.span, message, "not a step").help = Some(help);
        return None;
    };
    if let (Input::StepLate(step), false) = (*input, spec.rows.is_empty())
        && !plan.steps[step].keeps_late(&plan.sources)
    {
        let message = format!("`{name}` stays empty: the sources of `{}` drop late records", plan.steps[step].name);
        problems.error(Code::Name, spec.name.span, message, "nothing is kept here").help =
            Some("`on_late: quarantine` on the source keeps them; with `drop` they are only counted".into());
        return None;
    }
    let schema = columns_of(plan, *input);
    let rows = spec.rows.iter().map(|row| {
        let cells = row.cells.iter().filter_map(|cell| expected_cell(cell, name, &schema, problems)).collect();
        ExpectedRow { line: problems.line(row.span.start), cells, span: range(row.span) }
    });
    let rows = rows.collect();
    Some(Expectation { name: name.clone(), input: *input, rows, key: range(spec.name.span), span: range(spec.span) })
}

fn expected_cell(cell: &Entry, of: &str, schema: &Schema, problems: &mut Problems) -> Option<ExpectedCell> {
    let name = &cell.key.text;
    let Some(field) = schema.field(name) else {
        unknown_column(cell, of, schema.fields.iter().map(|field| field.name.as_str()), problems);
        return None;
    };
    let value = match value::read(&cell.value, field.data_type) {
        Ok(value) => value,
        Err((span, why)) => {
            let data_type = field.data_type;
            let message = format!("the value of `{name}` is not {data_type}: {why}");
            problems.error(Code::Type, span, message, format!("not {data_type}"));
            return None;
        }
    };
    let is_prefix = matches!(name.as_str(), "_late" | "_bad");
    Some(ExpectedCell { column: name.clone(), value, is_prefix, span: range(cell.value.span) })
}
