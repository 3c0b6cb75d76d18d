//! What every file sink needs of rows: one shape, one order of columns, the windows they span, and a way to bytes and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef, TimestampMicrosecondType};
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};
use sha2::Sha256;

use crate::disk::File;

/// The column that says which window a row belongs to.
pub(crate) const WINDOW_START: &str = "window_start";

/// The last column of every sink.
pub(crate) const FINAL: &str = "final";

/// How rows become a file, and how rows are taken out of one. One per file kind.
pub(crate) trait Encoding: Send + Sync {
    /// Returns the file extension, which is the sink kind's name too.
    fn extension(&self) -> &'static str;
    /// Returns a writer that puts rows at the end of an open file.
    fn append(&self, file: File, schema: &SchemaRef) -> Result<Box<dyn RowWriter>>;
    /// Writes the rows of files as one, in order, until the next one would make it longer than `most` bytes; at least
    /// two. Returns the file, not yet synced, and how many went into it.
    fn join(&self, from: &[PathBuf], to: File, schema: &SchemaRef, most: u64) -> Result<(File, usize)>;
    /// Feeds the values of a file's rows, in order: the same for any files that hold the same rows one after the other.
    fn feed(&self, from: &Path, schema: &SchemaRef, into: &mut Sha256) -> Result<()>;
    /// Copies a file without the rows whose window starts in the range, and says what is left.
    fn copy_outside(&self, from: &Path, to: File, schema: &SchemaRef, range: &WindowRange) -> Result<Span>;
}

/// Rows on their way into one file.
pub(crate) trait RowWriter: Send {
    /// Takes rows of the sink's schema.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Returns about how long the file is with what was written.
    fn bytes(&self) -> u64;
    /// Writes what is left and returns the file, not yet synced.
    fn finish(self: Box<Self>) -> Result<File>;
}

/// A half-open range of window starts in microseconds; None is unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowRange {
    /// The least window start in it.
    pub(crate) from: Option<i64>,
    /// The least window start past it.
    pub(crate) to: Option<i64>,
}

impl WindowRange {
    /// Returns true when a window that starts then is in the range.
    pub(crate) fn contains(&self, window_start: i64) -> bool {
        self.from.is_none_or(|from| window_start >= from) && self.to.is_none_or(|to| window_start < to)
    }
}

/// How many rows there are, and between which window starts they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// How many rows.
    pub(crate) rows: u64,
    /// Least and greatest window start, where rows have one.
    pub(crate) windows: Option<(i64, i64)>,
}

impl Span {
    /// Counts one row.
    pub(crate) fn add(&mut self, window_start: Option<i64>) {
        self.merge(Span { rows: 1, windows: window_start.map(|start| (start, start)) });
    }

    /// Counts rows of a batch.
    pub(crate) fn add_rows(&mut self, rows: &RecordBatch) {
        let windows = rows.column_by_name(WINDOW_START).and_then(|column| {
            let starts = column.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some((min(starts)?, max(starts)?))
        });
        self.merge(Span { rows: rows.num_rows() as u64, windows });
    }

    /// Counts rows that were counted elsewhere.
    pub(crate) fn merge(&mut self, other: Span) {
        self.rows += other.rows;
        self.windows = match (self.windows, other.windows) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) => one,
            (None, one) => one,
        };
    }

    /// Returns true when some row may be in the range.
    pub(crate) fn meets(&self, range: &WindowRange) -> bool {
        self.windows.is_some_and(|(first, last)| {
            range.from.is_none_or(|from| last >= from) && range.to.is_none_or(|to| first < to)
        })
    }

    /// Returns true when every row is in the range.
    pub(crate) fn is_inside(&self, range: &WindowRange) -> bool {
        self.windows.is_some_and(|(first, last)| range.contains(first) && range.contains(last))
    }
}

/// Returns the Arrow schema of what a sink writes: its columns, then `final`.
pub(crate) fn written_schema(plan: &SinkPlan) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = plan.schema.arrow().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(FINAL, ArrowType::Boolean, true)));
    Arc::new(ArrowSchema::new(fields))
}

/// Returns the columns of a sink as `name type`, for the manifest.
pub(crate) fn column_names(plan: &SinkPlan) -> Vec<String> {
    let mut names: Vec<String> =
        plan.schema.fields.iter().map(|field| format!("{} {}", field.name, field.data_type)).collect();
    names.push(format!("{FINAL} bool"));
    names
}

/// Returns the rows in the sink's schema; dictionary columns become plain ones.
///
/// # Panics
/// When the columns are not the sink's: the driver has mixed sinks up.
pub(crate) fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let names = || rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert!(
        rows.num_columns() == schema.fields().len()
            && rows.schema().fields().iter().zip(schema.fields()).all(|(a, b)| a.name() == b.name()),
        "staged rows have the columns {:?} and not the sink's {:?}",
        names(),
        schema
    );
    let columns: Result<Vec<_>> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type())
                .map_err(|error| Error::new(Code::Schema, format!("column `{}` of a sink: {error}", field.name()))),
        })
        .collect();
    Ok(RecordBatch::try_new(schema.clone(), columns?).expect("columns were cast to the schema's types"))
}
