//! Rows written as text: JSON lines and CSV, with the types that all values of a column agree on.
//!
//! Floats are read correctly rounded, by `str::parse`, so that what a sink wrote reads back to the same bits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate};
use polars::prelude::*;
use serde_json::Value;

use crate::error::{Error, Result};

/// What a text says, before its column's type is known.
#[derive(Clone, Debug)]
enum Raw {
    Null,
    Bool(bool),
    /// A number, a word or a time: exactly as written.
    Token(String),
    /// Text in quotes.
    Text(String),
}

/// Reads objects, one a line. Columns come in the order of their first appearance.
pub(crate) fn read_json_lines(files: &[PathBuf]) -> Result<DataFrame> {
    let mut columns: Vec<(String, Vec<Raw>)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut height = 0;
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|e| read_error(file, e))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value: Value =
                serde_json::from_str(line).map_err(|e| read_error(file, format!("line {}: {e}", number + 1)))?;
            let Value::Object(object) = value else {
                return Err(read_error(file, format!("line {} is not an object", number + 1)));
            };
            for (name, value) in object {
                let at = *index.entry(name.clone()).or_insert_with(|| {
                    columns.push((name, vec![Raw::Null; height]));
                    columns.len() - 1
                });
                columns[at].1.push(raw_json(value));
            }
            height += 1;
            for (_, values) in &mut columns {
                values.resize(height, Raw::Null);
            }
        }
    }
    frame(height, columns)
}

fn raw_json(value: Value) -> Raw {
    match value {
        Value::Null => Raw::Null,
        Value::Bool(b) => Raw::Bool(b),
        Value::Number(number) => Raw::Token(number.to_string()),
        Value::String(text) => Raw::Text(text),
        nested => Raw::Text(nested.to_string()),
    }
}

/// Reads comma-separated files with a header each; an empty field without quotes is null.
pub(crate) fn read_csv(files: &[PathBuf]) -> Result<DataFrame> {
    let mut all: Option<DataFrame> = None;
    for file in files {
        let options = CsvReadOptions::default().with_infer_schema_length(Some(0)).with_has_header(true);
        let mut frame = options
            .try_into_reader_with_file_path(Some(file.clone()))
            .and_then(|reader| reader.finish())
            .map_err(|e| read_error(file, e))?;
        frame.rechunk_mut();
        all = Some(match all {
            None => frame,
            Some(before) => before.vstack(&frame).map_err(|e| read_error(file, e))?,
        });
    }
    let all = all.unwrap_or_default();
    let columns = all.columns().iter().map(|column| {
        let texts = column.str().expect("every column was read as text");
        let raw = texts.iter().map(|text| text.map_or(Raw::Null, |text| Raw::Token(text.to_string())));
        (column.name().to_string(), raw.collect())
    });
    frame(all.height(), columns.collect())
}

fn read_error(file: &Path, reason: impl ToString) -> Error {
    Error::Read { path: file.to_path_buf(), reason: reason.to_string() }
}

fn frame(height: usize, columns: Vec<(String, Vec<Raw>)>) -> Result<DataFrame> {
    let columns = columns.into_iter().map(|(name, values)| column(&name, values).into_column()).collect();
    DataFrame::new(height, columns).map_err(|e| Error::Sql(e.to_string()))
}

/// Makes a column of the narrowest type that all of its values have.
fn column(name: &str, values: Vec<Raw>) -> Series {
    bools(name, &values)
        .or_else(|| integers(name, &values))
        .or_else(|| floats(name, &values))
        .or_else(|| times(name, &values))
        .unwrap_or_else(|| texts(name, &values))
}

/// Collects what `read` makes of every value; None when it cannot read one, or there is none to read.
fn all<T>(values: &[Raw], read: impl Fn(&Raw) -> Option<T>) -> Option<Vec<Option<T>>> {
    let mut any = false;
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        out.push(match value {
            Raw::Null => None,
            value => {
                any = true;
                Some(read(value)?)
            }
        });
    }
    any.then_some(out)
}

fn bools(name: &str, values: &[Raw]) -> Option<Series> {
    let read = |raw: &Raw| match raw {
        Raw::Bool(b) => Some(*b),
        Raw::Token(token) => token.parse().ok(),
        _ => None,
    };
    Some(BooleanChunked::from_iter_options(name.into(), all(values, read)?.into_iter()).into_series())
}

fn integers(name: &str, values: &[Raw]) -> Option<Series> {
    let read = |raw: &Raw| match raw {
        // `007` and `+1` are words that look like numbers: they must come out as they went in.
        Raw::Token(token) => token.parse::<i64>().ok().filter(|n| n.to_string() == *token),
        _ => None,
    };
    Some(Int64Chunked::from_iter_options(name.into(), all(values, read)?.into_iter()).into_series())
}

fn floats(name: &str, values: &[Raw]) -> Option<Series> {
    let read = |raw: &Raw| match raw {
        Raw::Token(word) | Raw::Text(word) if matches!(word.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            word.parse().ok()
        }
        Raw::Token(token) if is_number(token) => token.parse::<f64>().ok(),
        _ => None,
    };
    let numbers = values.iter().any(|value| matches!(value, Raw::Token(token) if is_number(token)));
    let read = all(values, read).filter(|_| numbers)?;
    Some(Float64Chunked::from_iter_options(name.into(), read.into_iter()).into_series())
}

fn is_number(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") && !digits.starts_with("0e");
    digits.starts_with(|c: char| c.is_ascii_digit())
        && !padded
        && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))
}

fn times(name: &str, values: &[Raw]) -> Option<Series> {
    let read = |raw: &Raw| match raw {
        Raw::Token(text) | Raw::Text(text) => parse_time(text),
        _ => None,
    };
    let micros = Int64Chunked::from_iter_options(name.into(), all(values, read)?.into_iter());
    Some(micros.into_datetime(TimeUnit::Microseconds, None).into_series())
}

fn texts(name: &str, values: &[Raw]) -> Series {
    let text = values.iter().map(|value| match value {
        Raw::Null => None,
        Raw::Bool(b) => Some(b.to_string()),
        Raw::Token(text) | Raw::Text(text) => Some(text.clone()),
    });
    StringChunked::from_iter_options(name.into(), text).into_series()
}

/// Reads RFC 3339 text with an offset, to the microsecond.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    (text.len() >= 20).then(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())).flatten()
}

/// Reads a date such as `2026-01-31` as days since 1970.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    date.signed_duration_since(NaiveDate::default()).num_days().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(frame: &DataFrame) -> Vec<String> {
        frame.columns().iter().map(|column| format!("{} {}", column.name(), column.dtype())).collect()
    }

    fn read(text: &str, reader: fn(&[PathBuf]) -> Result<DataFrame>) -> DataFrame {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        reader(&[file.path().to_path_buf()]).unwrap()
    }

    #[test]
    fn json_lines_get_the_types_all_values_agree_on() {
        let frame = read(
            "{\"t\":\"2026-01-01T00:00:00.000001Z\",\"n\":1,\"x\":1,\"b\":true,\"s\":\"1\"}\n{\"t\":null,\"n\":-2,\"x\":\"NaN\",\"b\":null,\"s\":\"a\",\"late\":0.1}\n",
            read_json_lines,
        );
        let names = ["t datetime[μs]", "n i64", "x f64", "b bool", "s str", "late f64"];
        assert_eq!(types(&frame), names);
        assert_eq!(frame.height(), 2);
        assert!(frame.column("late").unwrap().get(0).unwrap().is_null());
    }

    #[test]
    fn csv_keeps_words_that_look_like_numbers() {
        let frame = read("id,n,x,t\n007,7,0.5,2026-01-01T00:00:00Z\n008,,1,2026-01-01T00:00:01Z\n", read_csv);
        assert_eq!(types(&frame), ["id str", "n i64", "x f64", "t datetime[μs]"]);
    }

    #[test]
    fn floats_are_read_correctly_rounded() {
        let frame = read("x\n8.41e21\n9007199254740993.0\n2.2250738585072011e-308\n", read_csv);
        let read: Vec<f64> = frame.column("x").unwrap().f64().unwrap().iter().flatten().collect();
        assert_eq!(read, [8.41e21, 9007199254740992.0, f64::from_bits(0x000f_ffff_ffff_ffff)]);
    }
}
