//! Conversions between types, one rule per pair.
//!
//! | from → to | rule |
//! | --- | --- |
//! | integer, decimal, float → narrower number | fails when it does not fit |
//! | float or decimal → integer | the fraction is cut off, towards zero; NaN and infinities fail |
//! | any number → decimal | digits beyond the scale are rounded half to even, of a float's exact value |
//! | text → integer, float | as Rust's `str::parse`; a finite text beyond float64 fails |
//! | text → decimal | exact; more digits after the point than the scale fail |
//! | text → timestamp | RFC 3339; without an offset UTC, without a time midnight; finer than microseconds is floored |
//! | number → text | floats in the shortest form that reads back; decimals with all digits of their scale |
//! | timestamp → text | RFC 3339 in UTC with microseconds |
//! | timestamp ↔ date | the day it lies in; midnight |
//! | text ↔ binary | its UTF-8 bytes; bytes that are not UTF-8 fail |
//! | bool ↔ integer, text | false is 0, any other integer true; `true` and `false` in any case |
//!
//! Lists, structs and JSON: see `nested`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int32Array, Int64Array, PrimitiveArray, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};

use super::evaluate::{nulls, rows_of};
use super::operand::{Call, Reason, each_row, unary_checked};
use super::{decimal, nested, time};
use crate::value::{DataType, canonical_f64};

/// Says whether a type can be converted to another at all, and if not what to do instead.
pub(crate) fn check(from: DataType, to: DataType) -> Result<(), String> {
    use DataType as T;
    let possible = match (from, to) {
        (T::Null, _) => true,
        _ if nested::concerns(from, to) => nested::is_possible(from, to),
        (T::String, T::Null) | (_, T::Null) => false,
        (_, T::String) | (T::String, _) => true,
        (T::Bool, other) | (other, T::Bool) => other.is_integer() || other == T::Bool,
        (T::Timestamp, T::Date) | (T::Date, T::Timestamp) => true,
        _ => from == to || (from.is_numeric() && to.is_numeric()),
    };
    if possible {
        return Ok(());
    }
    let hint = match (from, to) {
        (T::Timestamp, number) if number.is_numeric() => "; write `extract(epoch from x)` or `epoch_us(x)`",
        (number, T::Timestamp) if number.is_numeric() => "; write `make_timestamp(microseconds)`",
        (T::Float64 | T::Decimal(..), T::Bool) => "; write `x <> 0`",
        _ => "",
    };
    Err(format!("{from} cannot be converted to {to}{hint}"))
}

/// The kernel of `cast` and `try_cast`.
pub(crate) fn convert(call: &mut Call<'_>, or_null: bool) -> ArrayRef {
    if !or_null {
        return convert_checked(call);
    }
    // The failures of a `try_cast` are nulls; those of its operand are in the list already.
    let mut ignored = Vec::new();
    let Call { arguments, rows, result, open, .. } = *call;
    convert_checked(&mut Call { arguments, rows, result, open, failures: &mut ignored })
}

fn convert_checked(call: &mut Call<'_>) -> ArrayRef {
    use arrow::datatypes::DataType as A;
    let operand = call.arguments[0].array();
    match operand.data_type() {
        A::Null => nulls(call.result, call.rows),
        A::List(_) | A::Struct(_) | A::LargeUtf8 => nested::convert_nested(call),
        _ if call.result.is_nested() || call.result == DataType::Json => nested::convert_nested(call),
        same if *same == call.result.arrow() => rows_of(&call.arguments[0], call.rows),
        A::Boolean => from_bool(call),
        A::Int32 => from_integer::<Int32Type>(call),
        A::Int64 => from_integer::<Int64Type>(call),
        A::Float64 => from_float(call),
        A::Decimal128(_, scale) => from_decimal(call, *scale as u8),
        A::Utf8 => from_text(call),
        A::Timestamp(..) => from_timestamp(call),
        A::Date32 => from_date(call),
        A::Binary => {
            let bytes = call.bytes(0);
            let text = each_row::<_, StringArray>(call, bytes.nulls(call.rows), |row| {
                std::str::from_utf8(bytes.array().value(bytes.at(row)))
                    .map_err(|_| "cast: the bytes are not UTF-8".into())
            });
            Arc::new(text)
        }
        other => unreachable!("{other} cannot be converted"),
    }
}

fn cannot(value: impl std::fmt::Display, to: DataType) -> Reason {
    format!("cast: {value} is not a value of {to}").into()
}

fn texts<'a>(
    call: &mut Call<'a>,
    nulls: Option<arrow::buffer::NullBuffer>,
    text: impl Fn(usize) -> String,
) -> ArrayRef {
    Arc::new(each_row::<_, StringArray>(call, nulls, |row| Ok(text(row))))
}

fn from_bool(call: &mut Call<'_>) -> ArrayRef {
    let operand = call.bools(0);
    let values = operand.array();
    let bit = |row: usize| values.value(operand.at(row));
    let nulls = operand.nulls(call.rows);
    match call.result {
        DataType::String => {
            Arc::new(each_row::<_, StringArray>(call, nulls, |row| Ok(if bit(row) { "true" } else { "false" })))
        }
        DataType::Int32 => Arc::new(each_row::<_, Int32Array>(call, nulls, |row| Ok(i32::from(bit(row))))),
        DataType::Int64 => Arc::new(each_row::<_, Int64Array>(call, nulls, |row| Ok(i64::from(bit(row))))),
        other => unreachable!("bool is not converted to {other}"),
    }
}

fn from_integer<T: ArrowPrimitiveType>(call: &mut Call<'_>) -> ArrayRef
where
    T::Native: Into<i64>,
{
    let to = call.result;
    match to {
        DataType::Int32 => {
            unary_checked::<T, Int32Type>(call, |x| narrow(i32::try_from(x.into()).ok()), |x| cannot(x.into(), to))
        }
        DataType::Int64 => super::operand::unary::<T, Int64Type>(call, |x| x.into()),
        DataType::Float64 => super::operand::unary::<T, Float64Type>(call, |x| x.into() as f64),
        DataType::Decimal(precision, scale) => unary_checked::<T, Decimal128Type>(
            call,
            |x| {
                narrow(
                    decimal::rescale(i128::from(x.into()), 0, scale).filter(|digits| decimal::fits(*digits, precision)),
                )
            },
            |x| cannot(x.into(), to),
        ),
        DataType::Bool => {
            let operand = call.numbers::<T>(0);
            Arc::new(BooleanArray::from_unary(operand.array(), |x| x.into() != 0))
        }
        DataType::String => {
            let operand = call.numbers::<T>(0);
            texts(call, operand.nulls(call.rows), |row| operand.value(row).into().to_string())
        }
        other => unreachable!("integers are not converted to {other}"),
    }
}

fn narrow<V: Default>(value: Option<V>) -> (V, bool) {
    match value {
        Some(value) => (value, false),
        None => (V::default(), true),
    }
}

fn from_float(call: &mut Call<'_>) -> ArrayRef {
    let to = call.result;
    match to {
        DataType::Int32 => unary_checked::<Float64Type, Int32Type>(
            call,
            |x| narrow(whole(x).and_then(|x| i32::try_from(x).ok())),
            |x| cannot(float_text(x), to),
        ),
        DataType::Int64 => {
            unary_checked::<Float64Type, Int64Type>(call, |x| narrow(whole(x)), |x| cannot(float_text(x), to))
        }
        DataType::Decimal(precision, scale) => unary_checked::<Float64Type, Decimal128Type>(
            call,
            |x| narrow(decimal::from_f64(x, scale).filter(|digits| decimal::fits(*digits, precision))),
            |x| cannot(float_text(x), to),
        ),
        DataType::String => {
            let operand = call.numbers::<Float64Type>(0);
            texts(call, operand.nulls(call.rows), |row| float_text(operand.value(row)))
        }
        other => unreachable!("floats are not converted to {other}"),
    }
}

/// Cuts off the fraction; None beyond int64.
fn whole(value: f64) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    (-END..END).contains(&value).then_some(value as i64)
}

/// Returns the shortest text that reads back to the same bits.
pub(crate) fn float_text(value: f64) -> String {
    if value.is_finite() {
        format!("{:?}", canonical_f64(value))
    } else if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "Infinity".into()
    } else {
        "-Infinity".into()
    }
}

fn from_decimal(call: &mut Call<'_>, from: u8) -> ArrayRef {
    let to = call.result;
    type D = Decimal128Type;
    let reason = |digits: i128| cannot(decimal::text(digits, from), to);
    match to {
        DataType::Int32 => {
            unary_checked::<D, Int32Type>(call, |x| narrow(i32::try_from(decimal::truncate(x, from)).ok()), reason)
        }
        DataType::Int64 => {
            unary_checked::<D, Int64Type>(call, |x| narrow(i64::try_from(decimal::truncate(x, from)).ok()), reason)
        }
        DataType::Float64 => super::operand::unary::<D, Float64Type>(call, |x| canonical_f64(decimal::to_f64(x, from))),
        DataType::Decimal(precision, scale) => unary_checked::<D, D>(
            call,
            |x| narrow(decimal::rescale(x, from, scale).filter(|digits| decimal::fits(*digits, precision))),
            reason,
        ),
        DataType::String => {
            let operand = call.numbers::<D>(0);
            texts(call, operand.nulls(call.rows), |row| decimal::text(operand.value(row), from))
        }
        other => unreachable!("decimals are not converted to {other}"),
    }
}

fn from_text(call: &mut Call<'_>) -> ArrayRef {
    let to = call.result;
    match to {
        DataType::Bool => {
            let operand = call.texts(0);
            Arc::new(each_row::<_, BooleanArray>(call, operand.nulls(call.rows), |row| {
                let text = operand.value(row);
                if text.eq_ignore_ascii_case("true") {
                    Ok(true)
                } else if text.eq_ignore_ascii_case("false") {
                    Ok(false)
                } else {
                    Err(cannot_text(text, to))
                }
            }))
        }
        DataType::Int32 => parsed::<Int32Array, Int32Type>(call, |text| text.parse().ok()),
        DataType::Int64 => parsed::<Int64Array, Int64Type>(call, |text| text.parse().ok()),
        DataType::Float64 => parsed::<Float64Array, Float64Type>(call, parse_float),
        DataType::Decimal(precision, scale) => parsed::<Decimal128Array, Decimal128Type>(call, |text| {
            let (digits, written) = decimal::parse_digits(text)?;
            let digits = if written <= scale { decimal::rescale(digits, written, scale)? } else { return None };
            decimal::fits(digits, precision).then_some(digits)
        }),
        DataType::Timestamp => {
            parsed::<TimestampMicrosecondArray, TimestampMicrosecondType>(call, time::parse_timestamp)
        }
        DataType::Date => parsed::<Date32Array, Date32Type>(call, time::parse_date),
        DataType::Binary => {
            let operand = call.texts(0);
            Arc::new(each_row::<_, BinaryArray>(call, operand.nulls(call.rows), |row| {
                Ok(operand.value(row).as_bytes())
            }))
        }
        other => unreachable!("text is not converted to {other}"),
    }
}

fn parsed<R, T>(call: &mut Call<'_>, parse: impl Fn(&str) -> Option<T::Native>) -> ArrayRef
where
    T: ArrowPrimitiveType,
    R: FromIterator<Option<T::Native>> + Into<PrimitiveArray<T>>,
{
    let (to, operand) = (call.result, call.texts(0));
    let result: R = each_row(call, operand.nulls(call.rows), |row| {
        let text = operand.value(row);
        parse(text).ok_or_else(|| cannot_text(text, to))
    });
    Arc::new(result.into().with_data_type(to.arrow()))
}

fn cannot_text(text: &str, to: DataType) -> Reason {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => cannot(format_args!("'{}…'", &text[..end]), to),
        None => cannot(format_args!("'{text}'"), to),
    }
}

/// Reads a float correctly rounded. A finite number beyond float64 is None, the words for infinity and NaN are read.
fn parse_float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let is_word = text.bytes().any(|byte| matches!(byte, b'i' | b'I'));
    (!value.is_infinite() || is_word).then(|| canonical_f64(value))
}

fn from_timestamp(call: &mut Call<'_>) -> ArrayRef {
    type T = TimestampMicrosecondType;
    match call.result {
        // The days of all int64 microseconds fit 32 bits.
        DataType::Date => super::operand::unary::<T, Date32Type>(call, |x| x.div_euclid(time::DAY) as i32),
        DataType::String => {
            let operand = call.numbers::<T>(0);
            texts(call, operand.nulls(call.rows), |row| time::timestamp_text(operand.value(row)))
        }
        other => unreachable!("timestamps are not converted to {other}"),
    }
}

fn from_date(call: &mut Call<'_>) -> ArrayRef {
    let to = call.result;
    match to {
        DataType::Timestamp => unary_checked::<Date32Type, TimestampMicrosecondType>(
            call,
            |x| narrow(i64::from(x).checked_mul(time::DAY)),
            |x| cannot(time::date_text(x), to),
        ),
        DataType::String => {
            let operand = call.numbers::<Date32Type>(0);
            texts(call, operand.nulls(call.rows), |row| time::date_text(operand.value(row)))
        }
        other => unreachable!("dates are not converted to {other}"),
    }
}
