//! The JSON text of Arrow values: what sinks write and what the decoder reads back.
//!
//! Timestamps are RFC 3339 in UTC with microseconds, floats the shortest text that reads back to the same bits, NaN and
//! the infinities texts, decimals texts, integers numbers, binary base64, null `null`. Lists are arrays, structs objects with
//! their fields in the type's order, and JSON, which is what the wide text type holds, stands as it is.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes as ty;
use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use engine::json::write_string;

use super::scalar;

/// Writes row `row` of a batch as one JSON object, keys in the order of its columns, without a line end.
pub fn write_row(batch: &RecordBatch, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (field, column)) in batch.schema_ref().fields().iter().zip(batch.columns()).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(field.name(), out);
        out.push(b':');
        write_value(column.as_ref(), row, out);
    }
    out.push(b'}');
}

/// Writes value `row` of an array as JSON. Types that no column of a pipeline has are written as `null`.
pub fn write_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if array.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    match array.data_type() {
        ArrowType::Utf8 => write_string(array.as_string::<i32>().value(row), out),
        ArrowType::LargeUtf8 | ArrowType::List(_) | ArrowType::Struct(_) => engine::json::write_value(array, row, out),
        ArrowType::Utf8View => write_string(array.as_string_view().value(row), out),
        ArrowType::Binary => write_base64(array.as_binary::<i32>().value(row), out),
        ArrowType::LargeBinary => write_base64(array.as_binary::<i64>().value(row), out),
        ArrowType::BinaryView => write_base64(array.as_binary_view().value(row), out),
        ArrowType::FixedSizeBinary(_) => write_base64(array.as_fixed_size_binary().value(row), out),
        ArrowType::Timestamp(..) | ArrowType::Date32 | ArrowType::Decimal128(..) => {
            out.push(b'"');
            write_plain(array, row, out);
            out.push(b'"');
        }
        ArrowType::Float64 | ArrowType::Float32 => {
            let value = float_of(array, row);
            if value.is_finite() {
                scalar::write_float(value, out);
            } else {
                out.push(b'"');
                out.extend_from_slice(word(value));
                out.push(b'"');
            }
        }
        ArrowType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            write_value(dictionary.values().as_ref(), index_of(dictionary.keys(), row), out)
        }
        _ => write_plain(array, row, out),
    }
}

/// Writes value `row` of an array as the text a key or a header holds: no quotes, binary as its bytes, nothing for null.
pub fn write_plain(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if array.is_null(row) {
        return;
    }
    macro_rules! integer {
        ($type:ty) => {
            write_integer(array.as_primitive::<$type>().value(row) as i128, out)
        };
    }
    match array.data_type() {
        ArrowType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        ArrowType::Int8 => integer!(ty::Int8Type),
        ArrowType::Int16 => integer!(ty::Int16Type),
        ArrowType::Int32 => integer!(ty::Int32Type),
        ArrowType::Int64 => integer!(ty::Int64Type),
        ArrowType::UInt8 => integer!(ty::UInt8Type),
        ArrowType::UInt16 => integer!(ty::UInt16Type),
        ArrowType::UInt32 => integer!(ty::UInt32Type),
        ArrowType::UInt64 => integer!(ty::UInt64Type),
        ArrowType::Float64 | ArrowType::Float32 => {
            let value = float_of(array, row);
            if value.is_finite() { scalar::write_float(value, out) } else { out.extend_from_slice(word(value)) }
        }
        ArrowType::Decimal128(_, scale) => {
            scalar::write_decimal(array.as_primitive::<ty::Decimal128Type>().value(row), *scale, out)
        }
        ArrowType::Date32 => scalar::write_date(i64::from(array.as_primitive::<ty::Date32Type>().value(row)), out),
        ArrowType::Timestamp(unit, _) => scalar::write_timestamp(micros(array, row, *unit), out),
        ArrowType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        ArrowType::LargeUtf8 => out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes()),
        ArrowType::List(_) | ArrowType::Struct(_) => engine::json::write_value(array, row, out),
        ArrowType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        ArrowType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        ArrowType::LargeBinary => out.extend_from_slice(array.as_binary::<i64>().value(row)),
        ArrowType::BinaryView => out.extend_from_slice(array.as_binary_view().value(row)),
        ArrowType::FixedSizeBinary(_) => out.extend_from_slice(array.as_fixed_size_binary().value(row)),
        ArrowType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            write_plain(dictionary.values().as_ref(), index_of(dictionary.keys(), row), out)
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// Returns the dictionary position that row `row` names.
fn index_of(keys: &dyn Array, row: usize) -> usize {
    macro_rules! index {
        ($($arrow:ident => $type:ty),*) => {
            match keys.data_type() {
                $(ArrowType::$arrow => keys.as_primitive::<$type>().value(row) as usize,)*
                other => unreachable!("a dictionary's keys are integers, not {other}"),
            }
        };
    }
    index!(Int8 => ty::Int8Type, Int16 => ty::Int16Type, Int32 => ty::Int32Type, Int64 => ty::Int64Type,
        UInt8 => ty::UInt8Type, UInt16 => ty::UInt16Type, UInt32 => ty::UInt32Type, UInt64 => ty::UInt64Type)
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(BASE64.encode(bytes).as_bytes());
    out.push(b'"');
}

fn write_integer(value: i128, out: &mut Vec<u8>) {
    use std::io::Write;
    let _ = write!(out, "{value}");
}

fn float_of(array: &dyn Array, row: usize) -> f64 {
    let value = match array.data_type() {
        ArrowType::Float32 => f64::from(array.as_primitive::<ty::Float32Type>().value(row)),
        _ => array.as_primitive::<ty::Float64Type>().value(row),
    };
    engine::value::canonical_f64(value)
}

fn word(value: f64) -> &'static [u8] {
    if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    }
}

fn micros(array: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<ty::TimestampSecondType>().value(row).saturating_mul(1_000_000),
        TimeUnit::Millisecond => array.as_primitive::<ty::TimestampMillisecondType>().value(row).saturating_mul(1_000),
        TimeUnit::Microsecond => array.as_primitive::<ty::TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<ty::TimestampNanosecondType>().value(row).div_euclid(1_000),
    }
}
