//! Evaluation of a tree over a batch.
//!
//! Every node gives a [`Value`]; failures go into one list as they happen, first operands first, so that the first
//! failure of a row is its reason. [`Scope::open`] names the rows whose value still matters: a failure elsewhere is not
//! one. Nothing here depends on where a batch begins or ends: a row's value is a function of the row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Int32Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType as ArrowType, Int32Type};

use super::function::{Function, Kernel};
use super::operand::{Call, Reason, Value};
use super::{Evaluated, Expr, Kind};
use crate::value::DataType;

/// The rows under evaluation.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    pub(crate) batch: &'a RecordBatch,
    /// The rows whose value matters; None: all.
    pub(crate) open: Option<BooleanBuffer>,
}

impl<'a> Scope<'a> {
    /// Returns the scope of the same rows where only those of `open` matter.
    pub(crate) fn narrowed(&self, open: BooleanBuffer) -> Scope<'a> {
        Scope { batch: self.batch, open: Some(open) }
    }

    /// Returns the rows whose value matters.
    pub(crate) fn open(&self) -> BooleanBuffer {
        self.open.clone().unwrap_or_else(|| BooleanBuffer::new_set(self.batch.num_rows()))
    }
}

/// What went wrong so far, in order of happening.
pub(crate) type Failures = Vec<(u32, Reason)>;

pub(super) fn evaluate(expr: &Expr, batch: &RecordBatch) -> Evaluated {
    let mut failures = Failures::new();
    let value = evaluate_in(expr, &Scope { batch, open: None }, &mut failures);
    let values = rows_of(&plain(value), batch.num_rows());
    let failures = first_of_each_row(failures);
    Evaluated {
        values: nulled(values, &failures),
        failures: failures.into_iter().map(|(row, reason)| (row, reason.into_owned())).collect(),
    }
}

pub(super) fn evaluate_filter(expr: &Expr, batch: &RecordBatch) -> (BooleanArray, Vec<(u32, String)>) {
    let Evaluated { values, failures } = evaluate(expr, batch);
    (BooleanArray::new(trues(values.as_boolean()), None), failures)
}

/// Evaluates a node. Where a row fails the value is null.
pub(crate) fn evaluate_in(expr: &Expr, scope: &Scope<'_>, failures: &mut Failures) -> Value {
    match &expr.kind {
        Kind::Column(name) => column(name, expr.data_type, scope.batch),
        Kind::Literal(literal) => Value::One(literal.array(expr.data_type)),
        Kind::Call(function, arguments) => match function.kernel {
            Kernel::Lazy(kernel) => kernel(arguments, scope, failures),
            Kernel::Rows(kernel) => {
                let arguments: Vec<Value> =
                    arguments.iter().map(|argument| evaluate_in(argument, scope, failures)).collect();
                call(function, kernel, arguments, expr.data_type, scope, failures)
            }
        },
    }
}

fn column(name: &str, data_type: DataType, batch: &RecordBatch) -> Value {
    let array = batch.column_by_name(name).unwrap_or_else(|| panic!("the batch has no column `{name}`"));
    let found = match array.data_type() {
        ArrowType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    assert_eq!(*found, data_type.arrow(), "column `{name}`");
    Value::Rows(array.clone())
}

fn call(
    function: &Function,
    kernel: fn(&mut Call<'_>) -> ArrayRef,
    arguments: Vec<Value>,
    result: DataType,
    scope: &Scope<'_>,
    failures: &mut Failures,
) -> Value {
    let run = |arguments: &[Value], rows: usize, open: Option<&BooleanBuffer>, failures: &mut Failures| {
        let array = kernel(&mut Call { arguments, rows, result, open, failures });
        debug_assert_eq!(array.len(), rows, "`{}` gives one value per row", function.name);
        debug_assert_eq!(*array.data_type(), result.arrow(), "`{}` gives its type", function.name);
        array
    };
    if arguments.iter().all(|argument| matches!(argument, Value::One(_))) {
        let mut failed = Failures::new();
        let array = run(&arguments, 1, None, &mut failed);
        if let Some((_, reason)) = failed.into_iter().next() {
            failures.extend(scope.open().set_indices_u32().map(|row| (row, reason.clone())));
        }
        return Value::One(array);
    }
    if let Some((index, keys, texts)) = single_dictionary(function, &arguments) {
        // A text column with few texts: the kernel sees each text once.
        let mut failed = Failures::new();
        let mut arguments = arguments.clone();
        let rows = texts.len();
        arguments[index] = Value::Rows(texts);
        let array = run(&arguments, rows, None, &mut failed);
        if !failed.is_empty() {
            spread(&keys, rows, failed, scope, failures);
        }
        return Value::Rows(take(&array, &keys, None).expect("dictionary keys are in range"));
    }
    let arguments: Vec<Value> = arguments.into_iter().map(plain).collect();
    Value::Rows(run(&arguments, scope.batch.num_rows(), scope.open.as_ref(), failures))
}

type Dictionary = (usize, Int32Array, ArrayRef);

/// Returns the one operand that has rows, when it is a dictionary of fewer texts than rows and null gives null.
fn single_dictionary(function: &Function, arguments: &[Value]) -> Option<Dictionary> {
    if !function.null_gives_null {
        return None;
    }
    let mut with_rows = arguments.iter().enumerate().filter(|(_, argument)| matches!(argument, Value::Rows(_)));
    let (index, argument) = with_rows.next()?;
    if with_rows.next().is_some() {
        return None;
    }
    let dictionary = argument.array().as_dictionary_opt::<Int32Type>()?;
    if dictionary.values().len() > dictionary.len() {
        return None;
    }
    Some((index, dictionary.keys().clone(), dictionary.values().clone()))
}

/// Gives the failures of a dictionary's texts to the open rows that have them.
fn spread(keys: &Int32Array, texts: usize, failed: Failures, scope: &Scope<'_>, failures: &mut Failures) {
    let mut reasons: Vec<Option<Reason>> = vec![None; texts];
    for (text, reason) in failed {
        reasons[text as usize].get_or_insert(reason);
    }
    for (row, key) in keys.iter().enumerate() {
        let reason = key.and_then(|key| reasons[key as usize].as_ref());
        if let Some(reason) = reason
            && scope.open.as_ref().is_none_or(|open| open.value(row))
        {
            failures.push((row as u32, reason.clone()));
        }
    }
}

/// Turns a dictionary into plain text.
pub(crate) fn plain(value: Value) -> Value {
    let unpacked = |array: ArrayRef| match array.data_type() {
        ArrowType::Dictionary(_, values) => cast(&array, values).expect("a dictionary unpacks to its values"),
        _ => array,
    };
    match value {
        Value::Rows(array) => Value::Rows(unpacked(array)),
        Value::One(array) => Value::One(unpacked(array)),
    }
}

/// Returns an array of one value per row.
pub(crate) fn rows_of(value: &Value, rows: usize) -> ArrayRef {
    match value {
        Value::Rows(array) => array.clone(),
        Value::One(array) if array.data_type() == &ArrowType::Null || array.is_null(0) => {
            new_null_array(array.data_type(), rows)
        }
        Value::One(array) => take(array, &UInt32Array::from_value(0, rows), None).expect("index 0 is in range"),
    }
}

/// Returns the rows that are true, neither false nor null.
pub(crate) fn trues(values: &BooleanArray) -> BooleanBuffer {
    match values.nulls() {
        Some(nulls) => values.values() & nulls.inner(),
        None => values.values().clone(),
    }
}

/// Returns the set of rows that failed, out of so many.
pub(crate) fn failed_rows(failures: &[(u32, Reason)], rows: usize) -> BooleanBuffer {
    let mut builder = BooleanBufferBuilder::new(rows);
    builder.append_n(rows, false);
    for (row, _) in failures {
        builder.set_bit(*row as usize, true);
    }
    builder.finish()
}

fn first_of_each_row(mut failures: Failures) -> Failures {
    failures.sort_by_key(|(row, _)| *row);
    failures.dedup_by_key(|(row, _)| *row);
    failures
}

fn nulled(values: ArrayRef, failures: &Failures) -> ArrayRef {
    if failures.is_empty() || values.data_type() == &ArrowType::Null {
        return values;
    }
    let failed = BooleanArray::new(failed_rows(failures, values.len()), None);
    nullif(&values, &failed).expect("one flag per row")
}

/// Returns the type's array of nulls.
pub(crate) fn nulls(data_type: DataType, rows: usize) -> ArrayRef {
    new_null_array(&data_type.arrow(), rows)
}

/// Wraps booleans.
pub(crate) fn bools(values: BooleanArray) -> Value {
    Value::Rows(Arc::new(values))
}
