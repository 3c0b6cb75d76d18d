//! A stored column as its declared type: lawful widening, and the values that make a record bad.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes as ty;
use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use engine::plan::ColumnPlan;
use engine::value::{DataType, canonical_f64};

use super::nested;
use crate::format::reason::{Fault, Reason};
use crate::format::{scalar, text};

/// Returns true when a stored column can be read as `declared`: the same type, or one that widens without loss.
///
/// A float32 is not read as float64: its widened value is not what parsing its text gives.
pub(super) fn fits(stored: &ArrowType, declared: DataType) -> bool {
    use ArrowType::*;
    match declared {
        DataType::Bool => matches!(stored, Boolean),
        DataType::Int32 => matches!(stored, Int8 | Int16 | Int32 | UInt8 | UInt16),
        DataType::Int64 => matches!(stored, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32),
        DataType::Float64 => matches!(stored, Float64),
        DataType::Decimal(precision, scale) => match stored {
            Decimal128(p, s) => {
                *s >= 0 && *s as u8 <= scale && i16::from(*p) - i16::from(*s) <= i16::from(precision - scale)
            }
            _ => false,
        },
        DataType::String => match stored {
            Utf8 | LargeUtf8 | Utf8View => true,
            Dictionary(_, values) => matches!(**values, Utf8 | LargeUtf8 | Utf8View),
            _ => false,
        },
        DataType::Timestamp => matches!(stored, Timestamp(..)),
        DataType::Date => matches!(stored, Date32),
        DataType::Binary => matches!(stored, Binary | LargeBinary | BinaryView | FixedSizeBinary(_)),
        DataType::List(_) | DataType::Struct(_) | DataType::Json => nested::fits(stored, declared),
        DataType::Null => true,
    }
}

/// Returns a stored array as its declared type, with the rows that break the column's rules.
///
/// A text column stays a Dictionary(Int32, Utf8) if it is one. The error says what the types are.
pub(super) fn convert(
    array: &ArrayRef,
    column: &ColumnPlan,
    is_foreign: bool,
) -> Result<(ArrayRef, Vec<(u32, Fault)>), String> {
    let declared = column.field.data_type;
    let mut array = array.clone();
    if is_foreign && !column.null_as.is_empty() {
        array = null_texts(&array, &column.null_as)?;
    }
    let mut faults = Vec::new();
    let converted: ArrayRef = match (array.data_type(), declared) {
        (ArrowType::Timestamp(unit, _), DataType::Timestamp) => {
            let micros = micros(&array, *unit);
            let range = scalar::TIMESTAMP_MIN..=scalar::TIMESTAMP_MAX;
            if micros.values().iter().any(|us| !range.contains(us)) {
                let is_outside = |i: &usize| !micros.is_null(*i) && !range.contains(&micros.value(*i));
                faults.extend(
                    (0..micros.len()).filter(is_outside).map(|i| fault(i, Reason::TimestampOutOfRange, column)),
                );
            }
            Arc::new(micros)
        }
        (ArrowType::Date32, DataType::Date) => {
            let days = array.as_primitive::<ty::Date32Type>();
            let is_outside =
                |i: &usize| !days.is_null(*i) && !(scalar::DATE_MIN..=scalar::DATE_MAX).contains(&days.value(*i));
            faults.extend((0..days.len()).filter(is_outside).map(|i| fault(i, Reason::InvalidDate, column)));
            array
        }
        (ArrowType::Float64, DataType::Float64) => canonical(array),
        (ArrowType::Dictionary(keys, values), DataType::String)
            if **keys == ArrowType::Int32 && **values == ArrowType::Utf8 =>
        {
            array
        }
        // What another wrote may hold floats, times and texts that no decoder gives.
        (stored, DataType::List(_) | DataType::Struct(_) | DataType::Json)
            if (is_foreign || *stored != declared.arrow()) && fits(stored, declared) =>
        {
            let (converted, found) = nested::convert(&array, column)?;
            faults.extend(found);
            converted
        }
        (stored, _) if *stored == declared.arrow() => array,
        (stored, _) if fits(stored, declared) => {
            arrow::compute::cast(&array, &declared.arrow()).map_err(|error| error.to_string())?
        }
        (stored, _) => return Err(mismatch(column, stored)),
    };
    if column.field.nullable || converted.logical_null_count() == 0 {
        return Ok((converted, faults));
    }
    let nulls = converted.logical_nulls().into_iter().flat_map(|nulls| {
        (0..nulls.len())
            .filter(|i| nulls.is_null(*i))
            .map(|i| fault(i, Reason::NullInRequired, column))
            .collect::<Vec<_>>()
    });
    faults.extend(nulls);
    faults.sort_by_key(|(row, _)| *row);
    Ok((converted, faults))
}

/// Returns the text of a type mismatch.
pub(super) fn mismatch(column: &ColumnPlan, stored: &ArrowType) -> String {
    let field = &column.field;
    let hint = match (stored, field.data_type) {
        (ArrowType::Float32, DataType::Float64) => {
            " (a float32 is not widened: that is not what reading its text would give)"
        }
        _ => "",
    };
    format!("column `{}` is {stored} there and `{}` in the schema{hint}", field.name, field.data_type)
}

fn fault(row: usize, reason: Reason, column: &ColumnPlan) -> (u32, Fault) {
    (row as u32, Fault::new(reason, format!("column `{}`", column.field.name)))
}

/// Returns times in microseconds: coarser ones widen, finer ones are floored. What does not fit is out of range.
pub(super) fn micros(array: &dyn Array, unit: TimeUnit) -> TimestampMicrosecondArray {
    let scaled = |values: &[i64], scale: i64| -> Vec<i64> { values.iter().map(|v| v.saturating_mul(scale)).collect() };
    let values: Vec<i64> = match unit {
        TimeUnit::Second => scaled(array.as_primitive::<ty::TimestampSecondType>().values(), 1_000_000),
        TimeUnit::Millisecond => scaled(array.as_primitive::<ty::TimestampMillisecondType>().values(), 1_000),
        TimeUnit::Microsecond => {
            return array.as_primitive::<ty::TimestampMicrosecondType>().clone().with_timezone("UTC");
        }
        TimeUnit::Nanosecond => {
            let values = array.as_primitive::<ty::TimestampNanosecondType>().values();
            values.iter().map(|value| value.div_euclid(1_000)).collect()
        }
    };
    TimestampMicrosecondArray::new(values.into(), array.nulls().cloned()).with_timezone("UTC")
}

/// Returns a text dictionary as plain text; everything else unchanged.
pub(super) fn plain(array: ArrayRef) -> Result<ArrayRef, String> {
    match array.data_type() {
        ArrowType::Dictionary(_, values) => arrow::compute::cast(&array, values).map_err(|error| error.to_string()),
        _ => Ok(array),
    }
}

/// Returns floats with one NaN and no −0.0; the array itself where it has neither.
fn canonical(array: ArrayRef) -> ArrayRef {
    let floats = array.as_primitive::<ty::Float64Type>();
    if floats.values().iter().all(|x| canonical_f64(*x).to_bits() == x.to_bits()) {
        return array;
    }
    let values: Vec<f64> = floats.values().iter().map(|x| canonical_f64(*x)).collect();
    Arc::new(Float64Array::new(values.into(), floats.nulls().cloned()))
}

/// Makes null what `null_as` reads as null in a log that is filled from this file.
fn null_texts(array: &ArrayRef, null_as: &[String]) -> Result<ArrayRef, String> {
    let mut written = Vec::new();
    let is_null: Vec<bool> = (0..array.len())
        .map(|row| {
            written.clear();
            text::write_plain(array.as_ref(), row, &mut written);
            null_as.iter().any(|null| null.as_bytes() == written)
        })
        .collect();
    let mask = arrow::array::BooleanArray::from(is_null);
    arrow::compute::nullif(array.as_ref(), &mask).map_err(|error| error.to_string())
}
