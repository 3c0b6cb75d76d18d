//! What a kernel sees of its operands: columns, or one value for all rows; and the loops over them.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, LargeStringArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::arity;

use crate::value::DataType;

/// Why a row failed: a word, then `: ` and a detail for people.
pub(crate) type Reason = Cow<'static, str>;

/// Values of an operand: one per row, or one for all rows (an array of length 1).
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Rows(ArrayRef),
    One(ArrayRef),
}

impl Value {
    /// Returns the array that holds the values, whatever its length.
    pub(crate) fn array(&self) -> &ArrayRef {
        match self {
            Value::Rows(array) | Value::One(array) => array,
        }
    }
}

/// One call of a kernel: evaluated operands in, an array of `rows` values out.
pub(crate) struct Call<'a> {
    pub(crate) arguments: &'a [Value],
    /// How many rows the result has; operands that are `Value::Rows` have as many.
    pub(crate) rows: usize,
    /// The type of the result.
    pub(crate) result: DataType,
    /// The rows whose value matters; None: all.
    pub(crate) open: Option<&'a BooleanBuffer>,
    pub(crate) failures: &'a mut Vec<(u32, Reason)>,
}

impl<'a> Call<'a> {
    /// Marks a row as failed. Its value must be null.
    pub(crate) fn fail(&mut self, row: usize, reason: impl FnOnce() -> Reason) {
        if self.open.is_none_or(|open| open.value(row)) {
            self.failures.push((row as u32, reason()));
        }
    }

    /// Returns the operand as numbers (or times) of its Arrow type.
    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, index: usize) -> Operand<&'a PrimitiveArray<T>> {
        self.operand(index, |array| array.as_primitive::<T>())
    }

    /// Returns the operand as booleans.
    pub(crate) fn bools(&self, index: usize) -> Operand<&'a BooleanArray> {
        self.operand(index, |array| array.as_boolean())
    }

    /// Returns the operand as text.
    pub(crate) fn texts(&self, index: usize) -> Operand<&'a StringArray> {
        self.operand(index, |array| array.as_string::<i32>())
    }

    /// Returns the operand as bytes.
    pub(crate) fn bytes(&self, index: usize) -> Operand<&'a BinaryArray> {
        self.operand(index, |array| array.as_binary::<i32>())
    }

    /// Returns the operand as JSON.
    pub(crate) fn jsons(&self, index: usize) -> Operand<&'a LargeStringArray> {
        self.operand(index, |array| array.as_string::<i64>())
    }

    fn operand<A>(&self, index: usize, view: impl FnOnce(&'a ArrayRef) -> A) -> Operand<A> {
        let arguments: &'a [Value] = self.arguments;
        match &arguments[index] {
            Value::Rows(array) => Operand { array: view(array), one: false },
            Value::One(array) => Operand { array: view(array), one: true },
        }
    }
}

/// A typed operand.
#[derive(Clone, Copy)]
pub(crate) struct Operand<A> {
    array: A,
    one: bool,
}

impl<'a, A: Array> Operand<&'a A> {
    /// Returns the index into the array of a row's value.
    #[inline]
    pub(crate) fn at(&self, row: usize) -> usize {
        if self.one { 0 } else { row }
    }

    /// Returns the array: of all rows, or of length 1.
    pub(crate) fn array(&self) -> &'a A {
        self.array
    }

    /// Returns true when it is one value for all rows.
    pub(crate) fn is_one(&self) -> bool {
        self.one
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.at(row))
    }

    /// Returns which rows are not null, for so many rows; None: all.
    pub(crate) fn nulls(&self, rows: usize) -> Option<NullBuffer> {
        match self.one {
            false => self.array.nulls().cloned(),
            true if self.array.is_null(0) => Some(NullBuffer::new_null(rows)),
            true => None,
        }
    }
}

impl<T: ArrowPrimitiveType> Operand<&PrimitiveArray<T>> {
    #[inline]
    pub(crate) fn value(&self, row: usize) -> T::Native {
        self.array.value(self.at(row))
    }
}

impl<'a> Operand<&'a StringArray> {
    #[inline]
    pub(crate) fn value(&self, row: usize) -> &'a str {
        self.array.value(self.at(row))
    }
}

impl<'a> Operand<&'a BinaryArray> {
    #[inline]
    pub(crate) fn value(&self, row: usize) -> &'a [u8] {
        self.array.value(self.at(row))
    }
}

/// Computes one number of one number. `f` is called for null rows too, with any value.
pub(crate) fn unary<A, O>(call: &mut Call<'_>, f: impl Fn(A::Native) -> O::Native) -> ArrayRef
where
    A: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let result: PrimitiveArray<O> = call.numbers::<A>(0).array().unary(f);
    Arc::new(result.with_data_type(call.result.arrow()))
}

/// Computes one number of two numbers; null where either is. `f` is called for null rows too, with any values.
pub(crate) fn binary<A, B, O>(call: &mut Call<'_>, f: impl Fn(A::Native, B::Native) -> O::Native) -> ArrayRef
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    Arc::new(binary_array::<A, B, O>(call, f).with_data_type(call.result.arrow()))
}

fn binary_array<A, B, O>(call: &Call<'_>, f: impl Fn(A::Native, B::Native) -> O::Native) -> PrimitiveArray<O>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let (left, right) = (call.numbers::<A>(0), call.numbers::<B>(1));
    if (left.one && left.is_null(0)) || (right.one && right.is_null(0)) {
        return PrimitiveArray::new_null(call.rows);
    }
    match (left.one, right.one) {
        (false, false) => arity::binary(left.array, right.array, f).expect("operands have equal lengths"),
        (false, true) => {
            let right = right.value(0);
            left.array.unary(|left| f(left, right))
        }
        (true, false) => {
            let left = left.value(0);
            right.array.unary(|right| f(left, right))
        }
        (true, true) => PrimitiveArray::from_iter_values([f(left.value(0), right.value(0))]),
    }
}

/// As [`unary`], where `f` also returns whether it failed; a failed row becomes null, for that reason.
pub(crate) fn unary_checked<A, O>(
    call: &mut Call<'_>,
    f: impl Fn(A::Native) -> (O::Native, bool),
    reason: impl Fn(A::Native) -> Reason,
) -> ArrayRef
where
    A: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let operand = call.numbers::<A>(0);
    let any = Cell::new(false);
    let result: PrimitiveArray<O> = operand.array.unary(|x| {
        let (value, failed) = f(x);
        any.set(any.get() | failed);
        value
    });
    let failed = |row: usize| f(operand.value(row)).1;
    finish_checked(call, result, any.get(), failed, |row| reason(operand.value(row)))
}

/// As [`binary`], where `f` also returns whether it failed; a failed row becomes null, for that reason.
pub(crate) fn binary_checked<A, B, O>(
    call: &mut Call<'_>,
    f: impl Fn(A::Native, B::Native) -> (O::Native, bool),
    reason: impl Fn(A::Native, B::Native) -> Reason,
) -> ArrayRef
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let (left, right) = (call.numbers::<A>(0), call.numbers::<B>(1));
    let any = Cell::new(false);
    let result: PrimitiveArray<O> = binary_array::<A, B, O>(call, |x, y| {
        let (value, failed) = f(x, y);
        any.set(any.get() | failed);
        value
    });
    let failed = |row: usize| f(left.value(row), right.value(row)).1;
    finish_checked(call, result, any.get(), failed, |row| reason(left.value(row), right.value(row)))
}

/// Makes failed rows null. The loop before noticed whether any row failed at all, null ones included.
fn finish_checked<O: ArrowPrimitiveType>(
    call: &mut Call<'_>,
    result: PrimitiveArray<O>,
    any: bool,
    failed: impl Fn(usize) -> bool,
    reason: impl Fn(usize) -> Reason,
) -> ArrayRef {
    let result = result.with_data_type(call.result.arrow());
    if !any {
        return Arc::new(result);
    }
    let valid = BooleanBuffer::collect_bool(result.len(), |row| result.is_valid(row) && !failed(row));
    for row in 0..result.len() {
        if result.is_valid(row) && !valid.value(row) {
            call.fail(row, || reason(row));
        }
    }
    let (data_type, values, _) = result.into_parts();
    Arc::new(PrimitiveArray::<O>::new(values, Some(NullBuffer::new(valid))).with_data_type(data_type))
}

/// Computes one value of each row whose operands are all present, by `f`, which is None (with a reason) where it fails.
pub(crate) fn each_row<V, R>(
    call: &mut Call<'_>,
    nulls: Option<NullBuffer>,
    f: impl Fn(usize) -> Result<V, Reason>,
) -> R
where
    R: FromIterator<Option<V>>,
{
    let mut failed = Vec::new();
    let result = (0..call.rows)
        .map(|row| match nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then(|| f(row))? {
            Ok(value) => Some(value),
            Err(reason) => {
                failed.push((row, reason));
                None
            }
        })
        .collect();
    for (row, reason) in failed {
        call.fail(row, || reason);
    }
    result
}
