//! Rows on their way through steps: their columns, what rides along with them, and row work.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};

use crate::expr::Expr;
use crate::group::plain;
use crate::log::{Offset, Partition};
use crate::plan::RowWork;
use crate::trace::Pair;

/// What rides along with the rows of a batch and cannot be selected away.
pub(crate) struct Origin {
    /// Event time of each row.
    pub(crate) event_times: Vec<i64>,
    /// `W` before each record; empty over window rows, where nothing is late.
    pub(crate) watermarks: Vec<i64>,
    /// The source of records; of window rows one of their sources.
    pub(crate) source: usize,
    /// What names each row.
    pub(crate) identity: Identity,
    /// Whether they are rows of a join, or of row work over these: `--from/--to` judge them by event time.
    pub(crate) of_join: bool,
    /// What made them; None: they are records.
    pub(crate) made_by: Option<Maker>,
    /// Which records have no value, where a source keeps such and there are any. Only as-of joins read it.
    pub(crate) tombstones: Option<BooleanBuffer>,
}

/// What made rows that are no records.
#[derive(Clone)]
pub(crate) struct Maker {
    /// The step.
    pub(crate) step: usize,
    /// How often they were exploded since: as many indices stand behind what names each row.
    pub(crate) explosions: usize,
    /// Of joined rows in a traced run: what each is made of.
    pub(crate) pairs: Vec<Pair>,
}

impl Maker {
    /// Returns the maker of rows as a step gives them.
    pub(crate) fn of(step: usize) -> Self {
        Self { step, explosions: 0, pairs: Vec::new() }
    }
}

/// What names rows.
#[derive(Clone, Debug)]
pub enum Identity {
    /// They are records of a partition.
    Records {
        /// The partition.
        partition: Partition,
        /// The offset of each.
        offsets: Vec<Offset>,
        /// Of exploded records: which element of its list each row was, from 0.
        indices: Option<Vec<i64>>,
    },
    /// They are rows of windows.
    Windows {
        /// The start of each row's window.
        starts: Vec<i64>,
        /// The end of each row's window.
        ends: Vec<i64>,
        /// The key of each row, as ordered bytes; of exploded rows followed by the index of the element.
        keys: BinaryArray,
    },
    /// They are pairs of rows that are near in event time, which are in no window.
    Pairs {
        /// Each pair's place among those of its event time, as ordered bytes.
        orders: BinaryArray,
    },
}

impl Identity {
    /// Returns the identities of the chosen rows.
    pub(crate) fn take(&self, rows: &[u32]) -> Identity {
        let pick = |values: &[i64]| rows.iter().map(|row| values[*row as usize]).collect();
        match self {
            Identity::Records { partition, offsets, indices } => Identity::Records {
                partition: *partition,
                offsets: pick(offsets),
                indices: indices.as_deref().map(pick),
            },
            Identity::Windows { starts, ends, keys } => Identity::Windows {
                starts: pick(starts),
                ends: pick(ends),
                keys: rows.iter().map(|row| Some(keys.value(*row as usize))).collect(),
            },
            Identity::Pairs { orders } => {
                Identity::Pairs { orders: rows.iter().map(|row| Some(orders.value(*row as usize))).collect() }
            }
        }
    }

    /// Returns how many rows are named.
    pub fn len(&self) -> usize {
        match self {
            Identity::Records { offsets, .. } => offsets.len(),
            Identity::Windows { starts, .. } => starts.len(),
            Identity::Pairs { orders } => orders.len(),
        }
    }

    /// Returns true when no row is named.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows of a step, with where each comes from.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) columns: RecordBatch,
    pub(crate) origin: Arc<Origin>,
    /// Index into the origin of each row; None: row `i` is origin `i`.
    pub(crate) selection: Option<Arc<Vec<u32>>>,
    /// The inputs of unions that the rows came through, the first one first, each by its place among all names.
    pub(crate) path: Vec<u16>,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.columns.num_rows()
    }

    /// Returns the origin's index of a row.
    pub(crate) fn origin_of(&self, row: u32) -> u32 {
        self.selection.as_ref().map_or(row, |selection| selection[row as usize])
    }

    pub(crate) fn event_time(&self, row: u32) -> i64 {
        self.origin.event_times[self.origin_of(row) as usize]
    }

    pub(crate) fn watermark(&self, row: u32) -> i64 {
        self.origin.watermarks[self.origin_of(row) as usize]
    }

    /// Returns what names the given rows.
    pub(crate) fn identity(&self, rows: &[u32]) -> Identity {
        let rows: Vec<u32> = rows.iter().map(|row| self.origin_of(*row)).collect();
        self.origin.identity.take(&rows)
    }

    /// Returns the given rows.
    pub(crate) fn take(&self, rows: &[u32]) -> Batch {
        let selection = rows.iter().map(|row| self.origin_of(*row)).collect();
        Batch {
            columns: take_rows(&self.columns, rows),
            origin: self.origin.clone(),
            selection: Some(Arc::new(selection)),
            path: self.path.clone(),
        }
    }

    fn filter(&self, keep: &BooleanArray) -> Batch {
        let rows = (0..self.len() as u32).filter(|row| keep.is_valid(*row as usize) && keep.value(*row as usize));
        let selection: Vec<u32> = rows.map(|row| self.origin_of(row)).collect();
        if selection.len() == self.len() {
            return self.clone();
        }
        let columns = filter_record_batch(&self.columns, keep).expect("the mask is as long as the batch");
        Batch { columns, origin: self.origin.clone(), selection: Some(Arc::new(selection)), path: self.path.clone() }
    }
}

/// Returns the chosen rows of all columns.
pub(crate) fn take_rows(columns: &RecordBatch, rows: &[u32]) -> RecordBatch {
    let indices = UInt32Array::from(rows.to_vec());
    let arrays =
        columns.columns().iter().map(|array| take(array, &indices, None).expect("rows are in range")).collect();
    batch_of(columns.schema(), arrays, rows.len())
}

/// Makes a batch that may have no column but has rows.
pub(crate) fn batch_of(schema: Arc<ArrowSchema>, arrays: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .expect("arrays fit the schema")
}

/// Makes a batch of named columns.
pub(crate) fn named(columns: Vec<(String, ArrayRef)>, rows: usize) -> RecordBatch {
    let fields: Vec<ArrowField> =
        columns.iter().map(|(name, array)| ArrowField::new(name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    batch_of(Arc::new(ArrowSchema::new(fields)), arrays, rows)
}

/// Returns the columns and another one.
pub(crate) fn with_column(columns: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let schema = columns.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let mut all: Vec<(String, ArrayRef)> = names.zip(columns.columns().iter().cloned()).collect();
    all.push((name.to_owned(), values));
    named(all, columns.num_rows())
}

/// Rows of a batch that failed, each with its first reason.
pub(crate) type Failures = BTreeMap<u32, String>;

/// Evaluates an expression; a bare column stays what it is, a dictionary too. Failures join `failures`.
pub(crate) fn evaluate(expr: &Expr, columns: &RecordBatch, failures: &mut Failures) -> ArrayRef {
    if let Some(name) = expr.as_column() {
        return columns.column_by_name(name).expect("the plan was checked against these columns").clone();
    }
    let evaluated = expr.evaluate(columns);
    for (row, reason) in evaluated.failures {
        failures.entry(row).or_insert(reason);
    }
    evaluated.values
}

/// Evaluates an expression to a plain array.
pub(crate) fn evaluate_plain(expr: &Expr, columns: &RecordBatch, failures: &mut Failures) -> ArrayRef {
    plain(&evaluate(expr, columns, failures))
}

/// Returns the mask of rows for which a filter holds; rows that fail or give null do not pass.
pub(crate) fn evaluate_filter(expr: &Expr, columns: &RecordBatch, failures: &mut Failures) -> BooleanArray {
    let values = evaluate_plain(expr, columns, failures);
    match values.as_boolean_opt() {
        Some(mask) => mask.clone(),
        None => BooleanArray::from(vec![None; columns.num_rows()]),
    }
}

/// Makes a row of every element of the step's list, if it explodes one. Event time, watermark and path are the row's.
pub(crate) fn exploded(work: &RowWork, input: Batch) -> Batch {
    let Some(explode) = &work.explode else { return input };
    let lists = input.columns.column_by_name(&explode.list).expect("the plan was checked against these columns");
    let lists = lists.as_list::<i32>();
    let (mut rows, mut places, mut indices) = (Vec::new(), Vec::new(), Vec::new());
    for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
        let offsets = lists.value_offsets();
        let elements = offsets[row] as u32..offsets[row + 1] as u32;
        rows.extend(elements.clone().map(|_| row as u32));
        indices.extend((0..elements.len()).map(|index| index as i64));
        places.extend(elements);
    }
    let (columns, count) = (&input.columns, rows.len());
    let others = UInt32Array::from(rows.clone());
    let schema = columns.schema();
    let all =
        schema.fields().iter().zip(columns.columns()).map(|(field, column)| match *field.name() == explode.list {
            true => {
                let places = UInt32Array::from(places.clone());
                (explode.element.clone(), take(lists.values(), &places, None).expect("elements are in range"))
            }
            false => (field.name().clone(), take(column, &others, None).expect("rows are in range")),
        });
    let columns = named(all.collect(), count);
    let identity = match input.identity(&rows) {
        Identity::Records { partition, offsets, .. } => {
            Identity::Records { partition, offsets, indices: Some(indices) }
        }
        Identity::Windows { starts, ends, keys } => {
            let keys = keys.iter().flatten().zip(&indices).map(|(key, index)| [key, &index.to_be_bytes()[..]].concat());
            Identity::Windows { starts, ends, keys: BinaryArray::from_iter_values(keys) }
        }
        Identity::Pairs { orders } => {
            let orders = orders.iter().flatten().zip(&indices);
            let orders = orders.map(|(order, index)| [order, &index.to_be_bytes()[..]].concat());
            Identity::Pairs { orders: BinaryArray::from_iter_values(orders) }
        }
    };
    let watermarks = if input.origin.watermarks.is_empty() {
        Vec::new()
    } else {
        rows.iter().map(|row| input.watermark(*row)).collect()
    };
    let event_times = rows.iter().map(|row| input.event_time(*row)).collect();
    let made_by = input.origin.made_by.as_ref().map(|maker| {
        let pair = |row: &u32| maker.pairs[input.origin_of(*row) as usize].clone();
        let pairs = if maker.pairs.is_empty() { Vec::new() } else { rows.iter().map(pair).collect() };
        Maker { step: maker.step, explosions: maker.explosions + 1, pairs }
    });
    let (source, of_join) = (input.origin.source, input.origin.of_join);
    let origin = Origin { event_times, watermarks, source, identity, of_join, made_by, tombstones: None };
    Batch { columns, origin: Arc::new(origin), selection: None, path: input.path }
}

/// Does a step's row work on what [`exploded`] gave. Rows that failed are left out of the result and given with their reasons, as rows of `input`.
pub(crate) fn row_work(work: &RowWork, input: &Batch) -> (Batch, Vec<(u32, String)>) {
    if work.is_empty() {
        return (input.clone(), Vec::new());
    }
    let mut failed = Vec::new();
    let mut batch = input.clone();
    // Row numbers of `batch` as row numbers of `input`.
    let mut numbers: Option<Vec<u32>> = None;
    if let Some(filter) = &work.filter {
        let mut failures = Failures::new();
        let keep = evaluate_filter(filter, &input.columns, &mut failures);
        failed.extend(failures);
        numbers = Some(
            (0..input.len() as u32).filter(|row| keep.is_valid(*row as usize) && keep.value(*row as usize)).collect(),
        );
        batch = input.filter(&keep);
    }
    let mut failures = Failures::new();
    let columns = project(work, &batch.columns, &mut failures);
    batch = Batch { columns, ..batch };
    if !failures.is_empty() {
        let rows: Vec<u32> = (0..batch.len() as u32).filter(|row| !failures.contains_key(row)).collect();
        batch = batch.take(&rows);
        failed.extend(
            failures
                .into_iter()
                .map(|(row, reason)| (numbers.as_ref().map_or(row, |numbers| numbers[row as usize]), reason)),
        );
        failed.sort_unstable_by_key(|(row, _)| *row);
    }
    (batch, failed)
}

/// Does `derive`, `drop` and `select`.
fn project(work: &RowWork, columns: &RecordBatch, failures: &mut Failures) -> RecordBatch {
    let rows = columns.num_rows();
    let schema = columns.schema();
    let mut named_columns: Vec<(String, ArrayRef)> =
        schema.fields().iter().map(|field| field.name().clone()).zip(columns.columns().iter().cloned()).collect();
    for (name, expr) in &work.derive {
        let values = evaluate(expr, columns, failures);
        match named_columns.iter_mut().find(|(existing, _)| existing == name) {
            Some((_, array)) => *array = values,
            None => named_columns.push((name.clone(), values)),
        }
    }
    named_columns.retain(|(name, _)| !work.drop.contains(name));
    if let Some(select) = &work.select {
        let before = named(named_columns, rows);
        named_columns = select.iter().map(|(name, expr)| (name.clone(), evaluate(expr, &before, failures))).collect();
    }
    named(named_columns, rows)
}
