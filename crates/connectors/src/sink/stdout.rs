//! Standard output: an aligned table for people, JSON lines for programs. Nothing is printed before its commit.
//!
//! Open rows are printed only with `open_rows: true`. One that a later commit of the same run takes back is printed
//! again by its identity with `"withdrawn": true`.

use std::collections::BTreeSet;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::{Replace, Sink};
use engine::plan::SinkPlan;
use engine::{Error, Result};

use super::rows::{conform, written_schema};
use super::{Console, Context, Setting, SinkKind, flag};
use crate::format::json;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "stdout",
    help: "a table on a terminal, JSON lines in a pipe",
    file_kind: "jsonl",
    settings: &[Setting { name: "open_rows", help: "print open rows too", is_required: false, is_built: true }],
    open,
};

fn open(plan: &SinkPlan, context: &Context) -> Result<Box<dyn Sink>> {
    let schema = written_schema(plan);
    Ok(Box::new(StdoutSink {
        identity: plan.identity.iter().filter_map(|name| schema.index_of(name).ok()).collect(),
        has_open_rows: flag(plan, "open_rows")?,
        title: plan.name.clone(),
        console: context.console.clone(),
        out: None,
        staged: Vec::new(),
        open: Vec::new(),
        shown_open: BTreeSet::new(),
        table: Table::new(&schema),
        schema,
        published: None,
    }))
}

struct StdoutSink {
    title: String,
    schema: SchemaRef,
    /// Indexes of the identity's columns.
    identity: Vec<usize>,
    has_open_rows: bool,
    console: Console,
    out: Option<Box<dyn Write + Send>>,
    staged: Vec<RecordBatch>,
    open: Vec<RecordBatch>,
    /// Identities of the open rows that were printed and are not final yet.
    shown_open: BTreeSet<Vec<u8>>,
    table: Table,
    published: Option<u64>,
}

impl StdoutSink {
    fn identity_of(&self, rows: &RecordBatch, row: usize) -> Vec<u8> {
        let identity = rows.project(&self.identity).expect("indexes come from the schema");
        let mut text = Vec::new();
        json::write_row(&identity, row, &mut text);
        text
    }

    /// Returns what to print about open rows that are neither final nor open any more.
    fn withdraw(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.has_open_rows || self.identity.is_empty() {
            return text;
        }
        let mut gone = std::mem::take(&mut self.shown_open);
        if !gone.is_empty() {
            for rows in &self.staged {
                (0..rows.num_rows()).for_each(|row| _ = gone.remove(&self.identity_of(rows, row)));
            }
        }
        let mut shown = BTreeSet::new();
        for rows in &self.open {
            shown.extend((0..rows.num_rows()).map(|row| self.identity_of(rows, row)));
        }
        for identity in gone.difference(&shown) {
            text.extend_from_slice(&identity[..identity.len() - 1]);
            text.extend_from_slice(b",\"withdrawn\":true}\n");
        }
        self.shown_open = shown;
        text
    }
}

impl Sink for StdoutSink {
    fn begin(&mut self, _replace: Replace) -> Result<()> {
        self.out = Some((self.console.open)());
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch) -> Result<()> {
        self.staged.push(conform(rows, &self.schema)?);
        Ok(())
    }

    fn stage_open(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.has_open_rows {
            self.open.push(conform(rows, &self.schema)?);
        }
        Ok(())
    }

    fn commit(&mut self, epoch: u64) -> Result<()> {
        if self.published.is_some_and(|published| epoch <= published) {
            self.staged.clear();
            self.open.clear();
            return Ok(());
        }
        let mut text = self.withdraw();
        for rows in self.staged.drain(..).chain(self.open.drain(..)) {
            match self.console.is_terminal {
                true => self.table.print(&self.title, &rows, &mut text),
                false => print_lines(&rows, &mut text),
            }
        }
        let out = self.out.as_mut().expect("begin comes before commit");
        out.write_all(&text).and_then(|()| out.flush()).map_err(|error| Error::io("standard output", error))?;
        self.published = Some(epoch);
        Ok(())
    }

    fn describe(&self) -> String {
        "standard output".to_string()
    }
}

fn print_lines(rows: &RecordBatch, out: &mut Vec<u8>) {
    for row in 0..rows.num_rows() {
        json::write_row(rows, row, out);
        out.push(b'\n');
    }
}

/// A table that grows downward: its header comes once, its columns widen when a value needs it.
struct Table {
    names: Vec<String>,
    is_number: Vec<bool>,
    widths: Vec<usize>,
    has_header: bool,
}

impl Table {
    fn new(schema: &SchemaRef) -> Self {
        let fields = schema.fields();
        Self {
            names: fields.iter().map(|field| field.name().clone()).collect(),
            is_number: fields.iter().map(|field| field.data_type().is_numeric()).collect(),
            widths: fields.iter().map(|field| field.name().chars().count()).collect(),
            has_header: false,
        }
    }

    fn print(&mut self, title: &str, rows: &RecordBatch, out: &mut Vec<u8>) {
        let cells: Vec<Vec<String>> = (0..rows.num_rows()).map(|row| cells(rows, row)).collect();
        for row in &cells {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.has_header {
            self.has_header = true;
            out.extend_from_slice(format!("{title}\n").as_bytes());
            self.line(&self.names, out);
            let rules: Vec<String> = self.widths.iter().map(|width| "─".repeat(*width)).collect();
            self.line(&rules, out);
        }
        cells.iter().for_each(|row| self.line(row, out));
    }

    fn line(&self, cells: &[String], out: &mut Vec<u8>) {
        let mut line = String::new();
        for ((cell, width), is_number) in cells.iter().zip(&self.widths).zip(&self.is_number) {
            line.push_str(if line.is_empty() { " " } else { "  " });
            match is_number {
                true => line.push_str(&format!("{cell:>width$}")),
                false => line.push_str(&format!("{cell:<width$}")),
            }
        }
        out.extend_from_slice(line.trim_end().as_bytes());
        out.push(b'\n');
    }
}

/// Returns a row's values as JSON without quotes, so that no value can send control codes to a terminal.
fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow::array::ArrayRef| {
        let mut text = Vec::new();
        json::write_value(column, row, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::to_string).unwrap_or(text)
    };
    rows.columns().iter().map(cell).collect()
}
