//! CSV as RFC 4180 has it, with a header; lines end with a line feed. A null is an empty field, an empty text is `""`.
//!
//! Values are those of JSON without its quotes: timestamps RFC 3339, floats in their shortest form, bytes base64; lists, structs and JSON as JSON text.

use std::io::{self, BufRead};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType as ArrowType, SchemaRef};

use super::SinkKind;
use super::text::{self, TextFiles, TextFormat};
use crate::format::json;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "csv",
    help: "CSV with a header, as one file or a folder of files",
    file_kind: "csv",
    settings: text::SETTINGS,
    check: text::check,
    probe: super::nothing,
    open: |plan, context| text::open(plan, context, &Csv, &TextFiles(&Csv)),
    folder: |plan| text::folder_sink(plan, &TextFiles(&Csv)),
};

/// Comma-separated values.
struct Csv;

impl TextFormat for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn header(&self, schema: &SchemaRef) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            separate(index, &mut out);
            write_text(field.name(), &mut out);
        }
        out.push(b'\n');
        out
    }

    fn encode(&self, rows: &RecordBatch, out: &mut Vec<u8>) {
        for row in 0..rows.num_rows() {
            for (index, column) in rows.columns().iter().enumerate() {
                separate(index, out);
                write_field(column, row, out);
            }
            out.push(b'\n');
        }
    }

    /// A line feed inside quotes does not end a record: then the count of quotes so far is odd.
    fn next(&self, from: &mut dyn BufRead, record: &mut Vec<u8>) -> io::Result<bool> {
        record.clear();
        let mut quote_count = 0;
        loop {
            let start = record.len();
            if from.read_until(b'\n', record)? == 0 {
                return Ok(!record.is_empty());
            }
            quote_count += record[start..].iter().filter(|&&byte| byte == b'"').count();
            if quote_count % 2 == 0 {
                return Ok(true);
            }
        }
    }

    fn field(&self, record: &[u8], schema: &SchemaRef, column: &str) -> Option<String> {
        let index = schema.index_of(column).ok()?;
        let text = std::str::from_utf8(record).ok()?;
        split(text.strip_suffix('\n').unwrap_or(text)).into_iter().nth(index)?
    }
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn write_field(column: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if column.is_null(row) {
        return;
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return write_text(texts.value(row), out);
    }
    let start = out.len();
    json::write_value(column, row, out);
    if matches!(column.data_type(), ArrowType::List(_) | ArrowType::Struct(_) | ArrowType::LargeUtf8) {
        let text = String::from_utf8(out.split_off(start)).expect("JSON text is UTF-8");
        return write_text(&text, out);
    }
    // Of the other types only those without anything to escape are JSON texts: take the quotes away.
    if out[start] == b'"' {
        out.pop();
        out.remove(start);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r'));
    if is_plain {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Splits a record into its fields; an empty field without quotes is a null.
fn split(record: &str) -> Vec<Option<String>> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, after) = unquote(quoted);
                (Some(text), after)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (Some(rest[..end].to_string()).filter(|text| !text.is_empty()), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return fields,
        }
    }
}

/// Reads a text up to its closing quote; returns it and what comes after.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = quoted;
    while let Some(quote) = rest.find('"') {
        text.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                text.push('"');
                rest = after;
            }
            None => return (text, rest),
        }
    }
    text.push_str(rest);
    (text, "")
}
