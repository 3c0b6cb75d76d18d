//! Comparison: `= <> < <= > >=`, with and without null as a value, `between`, `in`, `is null`.
//!
//! NaN equals NaN and is greater than all numbers, −0.0 equals 0.0, false is less than true, text and bytes compare
//! bytewise, lists lexicographically, structs field by field and JSON by its canonical text; inside lists and structs null
//! is a value, equal to itself and less than others. An integer beside a float is compared as the float; decimals and integers are compared exactly.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{and_kleene, is_not_null, is_null, or_kleene};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::arithmetic::scale_of;
use super::{Argument, Family, Function, Kernel, Signature, expect_count};
use crate::expr::coerce::{common_type, effective_types};
use crate::expr::decimal;
use crate::expr::operand::{Call, Value};
use crate::group::KeyCodec;
use crate::value::{DataType, canonical_f64};

const BASE: Function = super::base(Family::Comparison);

macro_rules! comparison {
    ($name:ident, $symbol:literal, $aliases:expr, $help:literal, $test:ident, $sql:literal, $other:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $symbol,
            aliases: $aliases,
            help: $help,
            signature: "(any, any) → bool",
            types: |arguments| {
                expect_count(arguments, 2..=2, &$name)?;
                compared(arguments)
            },
            kernel: Kernel::Rows(|call| Arc::new(compare::<$test>(call, 0, 1))),
            sql: $sql,
            flink: $other,
            duckdb: $other,
            example: $example,
            ..BASE
        };
    };
}

comparison!(
    EQUAL,
    "=",
    &["=="],
    "Equal; null if either is null",
    Equal,
    "({0} = {1})",
    "({0} = {1})",
    ("1 = 1.0", "true")
);
comparison!(NOT_EQUAL, "<>", &["!="], "Not equal", NotEqual, "({0} <> {1})", "({0} <> {1})", ("'a' <> 'A'", "true"));
comparison!(LESS, "<", &[], "Less", Less, "({0} < {1})", "({0} < {1})", ("'Z' < 'a'", "true"));
comparison!(
    LESS_OR_EQUAL,
    "<=",
    &[],
    "Less or equal",
    LessOrEqual,
    "({0} <= {1})",
    "({0} <= {1})",
    ("2 <= 1", "false")
);
comparison!(
    GREATER,
    ">",
    &[],
    "Greater; NaN is the greatest number",
    Greater,
    "({0} > {1})",
    "({0} > {1})",
    ("cast('NaN' as float64) > 1e300", "true")
);
comparison!(
    GREATER_OR_EQUAL,
    ">=",
    &[],
    "Greater or equal",
    GreaterOrEqual,
    "({0} >= {1})",
    "({0} >= {1})",
    ("true >= false", "true")
);

macro_rules! distinctness {
    ($name:ident, $sql_name:literal, $help:literal, $template:literal, $distinct:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(any, any) → bool",
            types: |arguments| {
                expect_count(arguments, 2..=2, &$name)?;
                compared(arguments)
            },
            null_gives_null: false,
            kernel: Kernel::Rows(|call| distinct(call, $distinct)),
            sql: $template,
            flink: $template,
            duckdb: $template,
            example: $example,
            ..BASE
        };
    };
}

distinctness!(
    IS_DISTINCT_FROM,
    "is distinct from",
    "Not equal, where null is a value like any other",
    "({0} is distinct from {1})",
    true,
    ("null is distinct from 1", "true")
);
distinctness!(
    IS_NOT_DISTINCT_FROM,
    "is not distinct from",
    "Equal, where null is a value like any other",
    "({0} is not distinct from {1})",
    false,
    ("null is not distinct from 1", "false")
);

pub(super) static IS_NULL: Function = Function {
    name: "is null",
    help: "Whether there is no value",
    signature: "(any) → bool",
    types: |arguments| {
        expect_count(arguments, 1..=1, &IS_NULL)?;
        Ok(Signature { arguments: vec![arguments[0].data_type], result: DataType::Bool })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(|call| {
        let array = call.arguments[0].array();
        match array.data_type() {
            arrow::datatypes::DataType::Null => Arc::new(BooleanArray::from(vec![true; array.len()])),
            _ => Arc::new(is_null(array).expect("every array can be asked for nulls")),
        }
    }),
    sql: "({0} is null)",
    flink: "({0} IS NULL)",
    duckdb: "({0} IS NULL)",
    example: ("nullif(1, 1) is null", "true"),
    ..BASE
};

pub(super) static IS_NOT_NULL: Function = Function {
    name: "is not null",
    help: "Whether there is a value",
    signature: "(any) → bool",
    types: |arguments| {
        expect_count(arguments, 1..=1, &IS_NOT_NULL)?;
        Ok(Signature { arguments: vec![arguments[0].data_type], result: DataType::Bool })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(|call| {
        let array = call.arguments[0].array();
        match array.data_type() {
            arrow::datatypes::DataType::Null => Arc::new(BooleanArray::from(vec![false; array.len()])),
            _ => Arc::new(is_not_null(array).expect("every array can be asked for nulls")),
        }
    }),
    sql: "({0} is not null)",
    flink: "({0} IS NOT NULL)",
    duckdb: "({0} IS NOT NULL)",
    example: ("1 is not null", "true"),
    ..BASE
};

pub(super) static BETWEEN: Function = Function {
    name: "between",
    help: "Whether a value lies in a range, both ends included",
    signature: "(any, any, any) → bool",
    types: |arguments| {
        expect_count(arguments, 3..=3, &BETWEEN)?;
        compared(arguments)
    },
    null_gives_null: false,
    kernel: Kernel::Rows(|call| {
        let (low, high) = (compare::<GreaterOrEqual>(call, 0, 1), compare::<LessOrEqual>(call, 0, 2));
        Arc::new(and_kleene(&low, &high).expect("equal lengths"))
    }),
    sql: "({0} between {1} and {2})",
    flink: "({0} BETWEEN {1} AND {2})",
    duckdb: "({0} BETWEEN {1} AND {2})",
    example: ("2 between 1 and 2", "true"),
    ..BASE
};

pub(super) static IN: Function = Function {
    name: "in",
    help: "Whether a value equals one of a list; null if none is equal and one of them is null",
    signature: "(any, any, …) → bool",
    types: |arguments| {
        expect_count(arguments, 2..=usize::MAX, &IN)?;
        compared(arguments)
    },
    null_gives_null: false,
    kernel: Kernel::Rows(|call| {
        let mut found = compare::<Equal>(call, 0, 1);
        for index in 2..call.arguments.len() {
            found = or_kleene(&found, &compare::<Equal>(call, 0, index)).expect("equal lengths");
        }
        Arc::new(found)
    }),
    sql: "({0} in ({1*, }))",
    flink: "({0} IN ({1*, }))",
    duckdb: "({0} IN ({1*, }))",
    example: ("'b' in ('a', 'b')", "true"),
    ..BASE
};

/// Returns the types of a comparison: operands become their common type, decimals and integers decimals of their own
/// scales.
fn compared(arguments: &[Argument<'_>]) -> Result<Signature, String> {
    let common = common_type(arguments)?;
    let arguments = match common {
        DataType::Decimal(..) => effective_types(arguments)
            .into_iter()
            .map(|data_type| match data_type {
                DataType::Null => common,
                other => crate::expr::coerce::as_decimal(other).expect("only exact numbers meet in a decimal"),
            })
            .collect(),
        _ => vec![common; arguments.len()],
    };
    Ok(Signature { arguments, result: DataType::Bool })
}

/// One of the six comparisons, over any ordered type.
pub(super) trait Comparison {
    fn test<T: Ord + ?Sized>(left: &T, right: &T) -> bool;
}

macro_rules! test {
    ($($name:ident $operator:tt;)*) => {
        $(pub(super) struct $name;
        impl Comparison for $name {
            #[inline]
            fn test<T: Ord + ?Sized>(left: &T, right: &T) -> bool { left $operator right }
        })*
    };
}

test! {
    Equal ==;
    NotEqual !=;
    Less <;
    LessOrEqual <=;
    Greater >;
    GreaterOrEqual >=;
}

/// Compares two operands of one type (decimals: of any scales); null where either is null.
pub(super) fn compare<C: Comparison>(call: &Call<'_>, left: usize, right: usize) -> BooleanArray {
    use arrow::datatypes::DataType as A;
    let nulls = union_of_nulls(call, left, right);
    let values = match call.arguments[left].array().data_type() {
        A::Null => BooleanBuffer::new_unset(call.rows),
        A::Boolean => {
            let (x, y) = (call.bools(left), call.bools(right));
            collect(call.rows, |row| C::test(&x.array().value(x.at(row)), &y.array().value(y.at(row))))
        }
        A::Int32 => numbers::<C, Int32Type, _>(call, left, right, |x| x),
        A::Int64 => numbers::<C, Int64Type, _>(call, left, right, |x| x),
        A::Date32 => numbers::<C, Date32Type, _>(call, left, right, |x| x),
        A::Timestamp(..) => numbers::<C, TimestampMicrosecondType, _>(call, left, right, |x| x),
        A::Float64 => numbers::<C, Float64Type, _>(call, left, right, float_order),
        A::Decimal128(..) => {
            let (x, y) = (call.numbers::<Decimal128Type>(left), call.numbers::<Decimal128Type>(right));
            let (s, t) = (scale_of(&call.arguments[left]), scale_of(&call.arguments[right]));
            collect(call.rows, |row| {
                C::test(&decimal::compare(x.value(row), s, y.value(row), t), &std::cmp::Ordering::Equal)
            })
        }
        A::Utf8 => {
            let (x, y) = (call.texts(left), call.texts(right));
            collect(call.rows, |row| C::test(x.value(row), y.value(row)))
        }
        A::Binary => {
            let (x, y) = (call.bytes(left), call.bytes(right));
            collect(call.rows, |row| C::test(x.array().value(x.at(row)), y.array().value(y.at(row))))
        }
        A::LargeUtf8 => {
            let (x, y) = (call.jsons(left), call.jsons(right));
            collect(call.rows, |row| C::test(x.array().value(x.at(row)), y.array().value(y.at(row))))
        }
        A::List(_) | A::Struct(_) => nested::<C>(call, left, right),
        other => unreachable!("{other} cannot be compared"),
    };
    BooleanArray::new(values, nulls)
}

fn numbers<C: Comparison, T: ArrowPrimitiveType, K: Ord>(
    call: &Call<'_>,
    left: usize,
    right: usize,
    key: impl Fn(T::Native) -> K,
) -> BooleanBuffer {
    let (x, y) = (call.numbers::<T>(left), call.numbers::<T>(right));
    let (xs, ys) = (x.array().values(), y.array().values());
    match (x.is_one(), y.is_one()) {
        (false, false) => collect(call.rows, |row| C::test(&key(xs[row]), &key(ys[row]))),
        (false, true) => {
            let y = key(ys[0]);
            collect(call.rows, |row| C::test(&key(xs[row]), &y))
        }
        (true, false) => {
            let x = key(xs[0]);
            collect(call.rows, |row| C::test(&x, &key(ys[row])))
        }
        (true, true) => {
            let (x, y) = (key(xs[0]), key(ys[0]));
            collect(call.rows, |_| C::test(&x, &y))
        }
    }
}

/// Compares lists or structs by the bytes of the value order.
fn nested<C: Comparison>(call: &Call<'_>, left: usize, right: usize) -> BooleanBuffer {
    let [x, y] = [left, right].map(|index| {
        let array = call.arguments[index].array();
        let codec = KeyCodec::of_arrow(vec![array.data_type().clone()]);
        (codec.encode(std::slice::from_ref(array), array.len()), matches!(call.arguments[index], Value::One(_)))
    });
    let at = |one: bool, row: usize| if one { 0 } else { row };
    collect(call.rows, |row| C::test(x.0.value(at(x.1, row)), y.0.value(at(y.1, row))))
}

fn collect(rows: usize, f: impl FnMut(usize) -> bool) -> BooleanBuffer {
    BooleanBuffer::collect_bool(rows, f)
}

/// Returns an integer that orders as the float does: NaN is one value above all, −0.0 is 0.0.
#[inline]
pub(super) fn float_order(value: f64) -> i64 {
    let bits = canonical_f64(value).to_bits() as i64;
    // Negative floats order the other way round: flip their magnitude bits.
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn union_of_nulls(call: &Call<'_>, left: usize, right: usize) -> Option<NullBuffer> {
    let nulls = |index: usize| match &call.arguments[index] {
        _ if call.arguments[index].array().data_type() == &arrow::datatypes::DataType::Null => {
            Some(NullBuffer::new_null(call.rows))
        }
        Value::Rows(array) => array.nulls().cloned(),
        Value::One(array) => array.is_null(0).then(|| NullBuffer::new_null(call.rows)),
    };
    NullBuffer::union(nulls(left).as_ref(), nulls(right).as_ref())
}

fn distinct(call: &mut Call<'_>, distinct: bool) -> ArrayRef {
    let equal = compare::<Equal>(call, 0, 1);
    let is_null = |index: usize, row: usize| match &call.arguments[index] {
        value if value.array().data_type() == &arrow::datatypes::DataType::Null => true,
        Value::Rows(array) => array.is_null(row),
        Value::One(array) => array.is_null(0),
    };
    let values = collect(call.rows, |row| {
        let same = match equal.is_null(row) {
            false => equal.value(row),
            true => is_null(0, row) && is_null(1, row),
        };
        same != distinct
    });
    Arc::new(BooleanArray::new(values, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_order_with_one_zero_and_nan_last() {
        let ordered = [f64::NEG_INFINITY, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, f64::INFINITY, f64::NAN];
        for pair in ordered.windows(2) {
            assert!(float_order(pair[0]) < float_order(pair[1]), "{pair:?}");
        }
        assert_eq!(float_order(-0.0), float_order(0.0));
        assert_eq!(float_order(-f64::NAN), float_order(f64::NAN));
    }
}
