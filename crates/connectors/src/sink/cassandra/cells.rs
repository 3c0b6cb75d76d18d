//! Rows as Cassandra's protocol takes them: every value in its own bytes, so that nothing is ever part of a statement, and
//! floats, decimals and times arrive exactly as they left.
//!
//! A row is its cells one after the other: four bytes with the length of a value, less than 0 for a null, then the value.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use engine::{Code, Error, Result};

use super::table::{Table, Times};
use crate::format::json;

/// Bytes of a key at most: its columns, and three more for each where there are several.
const KEY_BYTES: usize = 65_535;

/// Bytes of a row at most: a server takes half of its `commitlog_segment_size`, which is 32 MiB unless it says otherwise.
const ROW_BYTES: usize = 16 << 20;

/// Writes the cells of a row's columns, and those of its key.
pub(super) fn write_row(
    table: &Table,
    rows: &RecordBatch,
    row: usize,
    key: &mut Vec<u8>,
    all: &mut Vec<u8>,
) -> Result<()> {
    let mut starts = Vec::with_capacity(table.columns.len() + 1);
    for (index, (name, _)) in table.columns.iter().enumerate() {
        starts.push(all.len());
        write_cell(rows.column(index), row, table.times, all).map_err(|(what, help)| {
            Error::new(Code::Overflow, format!("column `{name}` holds {what}, which Cassandra cannot store")).help(help)
        })?;
    }
    starts.push(all.len());
    if all.len() > ROW_BYTES {
        let message = "a row has more than 16 MiB, which Cassandra cannot store";
        return Err(Error::new(Code::Overflow, message)
            .help("leave such rows out by the sink's `where`, or long columns by `select`"));
    }
    let is_alone = table.identity.len() == 1;
    let mut size = 0;
    for index in &table.identity {
        let cell = &all[starts[*index]..starts[index + 1]];
        size += cell.len() - 4 + if is_alone { 0 } else { 3 };
        let what = match size {
            _ if cell[0] & 0x80 != 0 => "a null",
            0 => "an empty text",
            _ if size > KEY_BYTES => "what makes a key of more than 64 KiB",
            _ => {
                key.extend_from_slice(cell);
                continue;
            }
        };
        let message =
            format!("column `{}` holds {what}, which Cassandra cannot have in a key", table.columns[*index].0);
        return Err(Error::new(Code::Overflow, message)
            .help("leave such rows out by the sink's `where`, or change the value before it is grouped by"));
    }
    Ok(())
}

/// Returns whether a row has a null.
pub(super) fn has_null(row: &[u8]) -> bool {
    cells(row).any(|cell| cell.is_none())
}

/// Returns the cells one after the other; None is a null.
pub(super) fn cells(mut bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let (cell, rest) = rest.split_at(usize::try_from(length).unwrap_or(0));
        bytes = rest;
        Some((length >= 0).then_some(cell))
    })
}

/// Adds one cell.
pub(super) fn push_cell(value: Option<&[u8]>, out: &mut Vec<u8>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).expect("a cell is smaller than 2 GiB"));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

/// Reads a time that was written as part of a key, in microseconds.
pub(super) fn time(cell: &[u8], times: Times) -> Option<i64> {
    let number = i64::from_be_bytes(cell.try_into().ok()?);
    match times {
        Times::Millis => number.checked_mul(1000),
        Times::Micros => Some(number),
    }
}

fn write_cell(
    array: &ArrayRef,
    row: usize,
    times: Times,
    out: &mut Vec<u8>,
) -> Result<(), (&'static str, &'static str)> {
    let start = out.len();
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    if array.is_null(row) {
        return Ok(());
    }
    match array.data_type() {
        ArrowType::Null => return Ok(()),
        ArrowType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        ArrowType::Int32 => out.extend_from_slice(&array.as_primitive::<Int32Type>().value(row).to_be_bytes()),
        ArrowType::Int64 => out.extend_from_slice(&array.as_primitive::<Int64Type>().value(row).to_be_bytes()),
        ArrowType::Float64 => out.extend_from_slice(&array.as_primitive::<Float64Type>().value(row).to_be_bytes()),
        ArrowType::Decimal128(_, scale) => {
            out.extend_from_slice(&i32::from(*scale).to_be_bytes());
            write_integer(array.as_primitive::<Decimal128Type>().value(row), out);
        }
        ArrowType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        ArrowType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let number = match times {
                Times::Micros => micros,
                Times::Millis if micros % 1000 == 0 => micros / 1000,
                Times::Millis => {
                    let help = "`times: micros` of the sink stores times as numbers; or cut them in `select`";
                    return Err(("a time that is no whole millisecond", help));
                }
            };
            out.extend_from_slice(&number.to_be_bytes());
        }
        // Days are counted from the middle of the range.
        ArrowType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value(row);
            out.extend_from_slice(&(day as u32).wrapping_add(1 << 31).to_be_bytes());
        }
        ArrowType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        ArrowType::List(_) | ArrowType::Struct(_) | ArrowType::LargeUtf8 => {
            json::write_value(array, row, out);
        }
        other => unreachable!("no column of a sink is {other}"),
    }
    let size = i32::try_from(out.len() - start - 4);
    let size = size.map_err(|_| ("a value of more than 2 GiB", "leave such rows out by the sink's `where`"))?;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

/// Adds an integer in as few bytes as hold it, the highest first, in two's complement.
fn write_integer(value: i128, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let is_needed = |at: &usize| bytes[*at] != fill || (bytes[at + 1] ^ fill) & 0x80 != 0;
    let from = (0..15).find(is_needed).unwrap_or(15);
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::sink::tests::plan;

    #[test]
    fn integers_take_as_few_bytes_as_java_takes() {
        // By the documentation of `BigInteger.toByteArray`: the least number of bytes that has room for a sign.
        let cases: [(i128, &[u8]); 9] = [
            (0, &[0]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (255, &[0, 0xff]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (65_536, &[1, 0, 0]),
        ];
        for (value, expected) in cases {
            let mut bytes = Vec::new();
            write_integer(value, &mut bytes);
            assert_eq!(bytes, expected, "{value}");
        }
        let mut bytes = Vec::new();
        write_integer(i128::MIN, &mut bytes);
        assert_eq!(bytes.len(), 16);
    }

    #[test]
    fn cells_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        for cell in [Some(&b"ab"[..]), None, Some(b"")] {
            push_cell(cell, &mut bytes);
        }
        assert_eq!(cells(&bytes).collect::<Vec<_>>(), [Some(&b"ab"[..]), None, Some(b"")]);
        assert!(has_null(&bytes) && !has_null(&bytes[..6]));
    }

    #[test]
    fn what_has_no_place_is_refused_and_days_begin_in_the_middle() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-1_000, 1]));
        let mut out = Vec::new();
        write_cell(&times, 0, Times::Millis, &mut out).unwrap();
        assert_eq!(cells(&out).next().unwrap().and_then(|cell| time(cell, Times::Millis)), Some(-1_000));
        assert!(write_cell(&times, 1, Times::Millis, &mut Vec::new()).unwrap_err().1.contains("times: micros"));
        write_cell(&times, 1, Times::Micros, &mut Vec::new()).unwrap();
        let mut out = Vec::new();
        write_cell(&(Arc::new(Date32Array::from(vec![0])) as ArrayRef), 0, Times::Millis, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 4, 0x80, 0, 0, 0], "1970-01-01 is 2^31");
        let mut plan = plan("cassandra", &[]);
        plan.schema.fields.retain(|field| field.name == "page");
        plan.schema.fields[0].nullable = false;
        plan.identity = vec!["page".into()];
        let table = Table::new(&plan, "k.t", Times::Millis).unwrap();
        let rows = |page: &str| {
            let pages: ArrayRef = Arc::new(StringArray::from(vec![page]));
            let finals: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
            RecordBatch::try_from_iter([("page", pages), ("final", finals)]).unwrap()
        };
        let write = |page: &str| write_row(&table, &rows(page), 0, &mut Vec::new(), &mut Vec::new());
        write("a\0b").unwrap();
        write(&"x".repeat(65_535)).unwrap();
        assert!(write("").unwrap_err().to_string().contains("an empty text"));
        assert!(write(&"x".repeat(65_536)).unwrap_err().to_string().contains("more than 64 KiB"));
        assert!(write(&"x".repeat(17 << 20)).unwrap_err().to_string().contains("more than 16 MiB"));
        // With another column in the key, both count.
        plan.schema.fields.push(plan.schema.fields[0].clone());
        plan.schema.fields[1].name = "other".into();
        plan.identity.push("other".into());
        let table = Table::new(&plan, "k.t", Times::Millis).unwrap();
        let write = |page: &str| {
            let pages: ArrayRef = Arc::new(StringArray::from(vec![page]));
            let finals: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
            let columns = [("page", pages.clone()), ("other", pages), ("final", finals)];
            let rows = RecordBatch::try_from_iter(columns).unwrap();
            write_row(&table, &rows, 0, &mut Vec::new(), &mut Vec::new())
        };
        write("").unwrap();
        write(&"x".repeat(32_764)).unwrap();
        assert!(write(&"x".repeat(32_765)).unwrap_err().to_string().contains("`other` holds what makes a key"));
    }
}
