//! JSON lines: one object a row, columns in order.

use std::io::{self, BufRead};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::SinkKind;
use super::text::{self, TextFiles, TextFormat};
use crate::format::json;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "jsonl",
    help: "JSON lines, as one file or a folder of files",
    file_kind: "jsonl",
    settings: text::SETTINGS,
    check: text::check,
    probe: super::nothing,
    open: |plan, context| text::open(plan, context, &JsonLines, &TextFiles(&JsonLines)),
    folder: |plan| text::folder_sink(plan, &TextFiles(&JsonLines)),
};

/// One JSON object a line.
struct JsonLines;

impl TextFormat for JsonLines {
    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn header(&self, _schema: &SchemaRef) -> Vec<u8> {
        Vec::new()
    }

    fn encode(&self, rows: &RecordBatch, out: &mut Vec<u8>) {
        for row in 0..rows.num_rows() {
            json::write_row(rows, row, out);
            out.push(b'\n');
        }
    }

    fn next(&self, from: &mut dyn BufRead, record: &mut Vec<u8>) -> io::Result<bool> {
        record.clear();
        Ok(from.read_until(b'\n', record)? > 0)
    }

    fn field(&self, record: &[u8], _schema: &SchemaRef, column: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_slice(record).ok()?;
        Some(value.get(column)?.as_str()?.to_string())
    }
}
