//! Rows as `COPY … (FORMAT binary)` takes them: every value in PostgreSQL's own bytes, so that nothing is ever part of a
//! statement, and floats, decimals and times arrive exactly as they left.

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType as ArrowType;
use engine::{Code, DataType, Error, Result};

use crate::format::json;

/// What the stream of rows begins with: a signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins, and days.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;
/// The times and days that PostgreSQL can hold: from 4714 BC to 294276, and to 5874897.
const TIMES: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// Returns what PostgreSQL calls the type of a column.
pub(super) fn type_name(data_type: DataType) -> String {
    match data_type {
        DataType::Bool => "boolean".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::String | DataType::Null => "text".into(),
        DataType::Timestamp => "timestamp with time zone".into(),
        DataType::Date => "date".into(),
        DataType::Binary => "bytea".into(),
        DataType::List(_) | DataType::Struct(_) | DataType::Json => "jsonb".into(),
    }
}

/// Rows of one batch, each column with its type.
pub(super) struct Rows<'a> {
    columns: Vec<(&'a str, Cells<'a>)>,
}

enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, usize),
    Text(&'a StringArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
    Binary(&'a BinaryArray),
    Json(&'a ArrayRef),
    Null,
}

impl<'a> Rows<'a> {
    /// Looks at a batch of the sink's written schema.
    pub(super) fn new(rows: &'a RecordBatch, names: &'a [String]) -> Self {
        fn of<T: 'static>(array: &ArrayRef) -> &T {
            array.as_any().downcast_ref().expect("the array has the type that it says")
        }
        let cells = |array: &'a ArrayRef| match array.data_type() {
            ArrowType::Boolean => Cells::Bool(of(array)),
            ArrowType::Int32 => Cells::Int32(of(array)),
            ArrowType::Int64 => Cells::Int64(of(array)),
            ArrowType::Float64 => Cells::Float64(of(array)),
            ArrowType::Decimal128(_, scale) => Cells::Decimal(of(array), *scale as usize),
            ArrowType::Utf8 => Cells::Text(of(array)),
            ArrowType::Timestamp(..) => Cells::Timestamp(of(array)),
            ArrowType::Date32 => Cells::Date(of(array)),
            ArrowType::Binary => Cells::Binary(of(array)),
            ArrowType::List(_) | ArrowType::Struct(_) | ArrowType::LargeUtf8 => Cells::Json(array),
            ArrowType::Null => Cells::Null,
            other => unreachable!("no column of a sink is {other}"),
        };
        Self { columns: names.iter().map(String::as_str).zip(rows.columns().iter().map(cells)).collect() }
    }

    /// Adds one row.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&(self.columns.len() as i16).to_be_bytes());
        for (name, cells) in &self.columns {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            let is_there = cells.write(row, out).map_err(|what| refused(name, what))?;
            let size = if is_there { i32::try_from(out.len() - start - 4).ok() } else { Some(-1) };
            let size = size.ok_or_else(|| refused(name, "a value of more than 2 GiB"))?;
            out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        }
        Ok(())
    }
}

fn refused(column: &str, what: &str) -> Error {
    Error::new(Code::Overflow, format!("column `{column}` holds {what}, which PostgreSQL cannot store"))
        .help("change such values in a `select` of the sink or leave the rows out by its `where`")
}

impl Cells<'_> {
    /// Adds the bytes of a value; false for a null, and what it is if PostgreSQL does not know such values.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, &'static str> {
        let array: &dyn Array = match self {
            Cells::Bool(array) => *array,
            Cells::Int32(array) => *array,
            Cells::Int64(array) => *array,
            Cells::Float64(array) => *array,
            Cells::Decimal(array, _) => *array,
            Cells::Text(array) => *array,
            Cells::Timestamp(array) => *array,
            Cells::Date(array) => *array,
            Cells::Binary(array) => *array,
            Cells::Json(array) => *array,
            Cells::Null => return Ok(false),
        };
        if array.is_null(row) {
            return Ok(false);
        }
        match self {
            Cells::Bool(array) => out.push(u8::from(array.value(row))),
            Cells::Int32(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Cells::Int64(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Cells::Float64(array) => out.extend_from_slice(&array.value(row).to_be_bytes()),
            Cells::Decimal(array, scale) => write_numeric(array.value(row), *scale, out),
            Cells::Text(array) if array.value(row).contains('\0') => return Err("a text with a NUL character"),
            Cells::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Cells::Timestamp(array) => {
                let time = array.value(row).checked_sub(EPOCH_MICROS).filter(|time| TIMES.contains(time));
                out.extend_from_slice(&time.ok_or("a time before 4714 BC or after 294276")?.to_be_bytes());
            }
            Cells::Date(array) => {
                let day = array.value(row).checked_sub(EPOCH_DAYS).filter(|day| DAYS.contains(day));
                out.extend_from_slice(&day.ok_or("a date before 4714 BC or after 5874897")?.to_be_bytes());
            }
            Cells::Binary(array) => out.extend_from_slice(array.value(row)),
            Cells::Json(array) => {
                // The version of the binary form of jsonb.
                out.push(1);
                let start = out.len();
                json::write_value(array, row, out);
                if has_escaped_nul(&out[start..]) {
                    return Err("a text with a NUL character");
                }
            }
            Cells::Null => unreachable!("a null was returned above"),
        }
        Ok(true)
    }
}

/// Returns true when a JSON text has `\u0000` in it, which is not the text `\\u0000`.
fn has_escaped_nul(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let after = &rest[at + 1..];
        if after.starts_with(b"u0000") {
            return true;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    false
}

/// Adds a decimal: groups of four digits, how many of them stand before the point, sign, digits after the point.
fn write_numeric(value: i128, scale: usize, out: &mut Vec<u8>) {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let whole = format!("{:0>width$}", whole, width = whole.len().next_multiple_of(4));
    let fraction = format!("{:0<width$}", fraction, width = fraction.len().next_multiple_of(4));
    let text = format!("{whole}{fraction}");
    let group = |digits: &[u8]| digits.iter().fold(0_i16, |sum, digit| sum * 10 + i16::from(digit - b'0'));
    let mut groups: Vec<i16> = text.as_bytes().chunks(4).map(group).collect();
    let mut weight = (whole.len() / 4) as i16 - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let sign: u16 = if value < 0 { 0x4000 } else { 0 };
    for part in [groups.len() as i16, weight, sign as i16, scale as i16].into_iter().chain(groups) {
        out.extend_from_slice(&part.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the binary form back by its description in PostgreSQL's `numeric_send`.
    fn numeric(bytes: &[u8]) -> String {
        let part = |at: usize| i16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
        let (count, weight, sign, scale) = (part(0), part(1), part(2), part(3));
        let group = |place: i16| match (0..count).contains(&place) {
            true => part(4 + place as usize),
            false => 0,
        };
        let whole: String =
            (0..=weight.max(0)).map(|place| format!("{:04}", if weight < 0 { 0 } else { group(place) })).collect();
        let fraction: String = (0..10).map(|place| format!("{:04}", group(weight + 1 + place))).collect();
        let whole = whole.trim_start_matches('0');
        let point = if scale > 0 { "." } else { "" };
        let minus = if sign == 0x4000 { "-" } else { "" };
        format!("{minus}{}{point}{}", if whole.is_empty() { "0" } else { whole }, &fraction[..scale as usize])
    }

    #[test]
    fn decimals_keep_every_digit() {
        let ten = 10_i128;
        for (value, scale, text) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (1, 2, "0.01"),
            (-12_345, 2, "-123.45"),
            (100_000_000, 0, "100000000"),
            (10_000, 4, "1.0000"),
            (5, 8, "0.00000005"),
            (ten.pow(38) - 1, 0, "99999999999999999999999999999999999999"),
            (1 - ten.pow(38), 38, "-0.99999999999999999999999999999999999999"),
            (ten.pow(37), 5, "100000000000000000000000000000000.00000"),
        ] {
            let mut bytes = Vec::new();
            write_numeric(value, scale, &mut bytes);
            assert_eq!(numeric(&bytes), text, "{value} at {scale}");
        }
    }

    #[test]
    fn a_nul_is_seen_and_a_text_that_speaks_of_one_is_not() {
        assert!(has_escaped_nul(br#""a\u0000b""#) && has_escaped_nul(br#""\\\u0000""#));
        assert!(!has_escaped_nul(br#""\\u0000""#) && !has_escaped_nul(br#""\n\u0001""#) && !has_escaped_nul(b""));
    }
}
