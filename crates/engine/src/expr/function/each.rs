//! Loops of kernels that compute one value of each row: null where an operand is null, or where the function says so.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;

use crate::expr::operand::{Call, Reason, Value};
use crate::value::{DataType, canonical_f64};

/// A value, null, or why the row fails.
pub(super) type Maybe<V> = Result<Option<V>, Reason>;

/// Returns the rows where no operand is null.
pub(super) fn nulls(call: &Call<'_>) -> Option<NullBuffer> {
    call.arguments.iter().fold(None, |union, argument| {
        let nulls = match argument {
            Value::Rows(array) => array.nulls().cloned(),
            Value::One(array) if array.is_null(0) => Some(NullBuffer::new_null(call.rows)),
            Value::One(_) => None,
        };
        NullBuffer::union(union.as_ref(), nulls.as_ref())
    })
}

fn collect<V, R: FromIterator<Option<V>>>(call: &mut Call<'_>, mut f: impl FnMut(usize) -> Maybe<V>) -> R {
    let nulls = nulls(call);
    let mut failed = Vec::new();
    let result = (0..call.rows)
        .map(|row| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return None;
            }
            f(row).unwrap_or_else(|reason| {
                failed.push((row, reason));
                None
            })
        })
        .collect();
    for (row, reason) in failed {
        call.fail(row, || reason);
    }
    result
}

/// Computes texts, any of which may be null.
pub(super) fn maybe_texts<S: AsRef<str>>(call: &mut Call<'_>, f: impl FnMut(usize) -> Maybe<S>) -> ArrayRef {
    Arc::new(collect::<S, StringArray>(call, f))
}

/// Computes texts.
pub(super) fn texts<S: AsRef<str>>(call: &mut Call<'_>, f: impl Fn(usize) -> Result<S, Reason>) -> ArrayRef {
    maybe_texts(call, |row| f(row).map(Some))
}

/// Computes bytes.
pub(super) fn binaries<B: AsRef<[u8]>>(call: &mut Call<'_>, f: impl Fn(usize) -> Result<B, Reason>) -> ArrayRef {
    Arc::new(collect::<B, BinaryArray>(call, |row| f(row).map(Some)))
}

/// Computes booleans.
pub(super) fn bools(call: &mut Call<'_>, f: impl FnMut(usize) -> Maybe<bool>) -> ArrayRef {
    Arc::new(collect::<bool, BooleanArray>(call, f))
}

/// Computes integers, any of which may be null.
pub(super) fn maybe_integers(call: &mut Call<'_>, f: impl FnMut(usize) -> Maybe<i64>) -> ArrayRef {
    Arc::new(collect::<i64, Int64Array>(call, f))
}

/// Computes integers.
pub(super) fn integers(call: &mut Call<'_>, f: impl Fn(usize) -> Result<i64, Reason>) -> ArrayRef {
    maybe_integers(call, |row| f(row).map(Some))
}

/// Computes floats.
pub(super) fn floats(call: &mut Call<'_>, f: impl Fn(usize) -> Result<f64, Reason>) -> ArrayRef {
    Arc::new(collect::<f64, Float64Array>(call, |row| f(row).map(|x| Some(canonical_f64(x)))))
}

/// Computes times, any of which may be null.
pub(super) fn maybe_times(call: &mut Call<'_>, f: impl FnMut(usize) -> Maybe<i64>) -> ArrayRef {
    let times: TimestampMicrosecondArray = collect(call, f);
    Arc::new(times.with_data_type(DataType::Timestamp.arrow()))
}

/// Computes times.
pub(super) fn times(call: &mut Call<'_>, f: impl Fn(usize) -> Result<i64, Reason>) -> ArrayRef {
    maybe_times(call, |row| f(row).map(Some))
}

/// Computes dates.
pub(super) fn dates(call: &mut Call<'_>, f: impl Fn(usize) -> Result<i32, Reason>) -> ArrayRef {
    Arc::new(collect::<i32, Date32Array>(call, |row| f(row).map(Some)))
}
