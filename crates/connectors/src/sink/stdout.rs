//! Standard output: an aligned table for people, JSON lines for programs. Nothing is printed before its commit.
//!
//! Open rows are printed only with `open_rows: true`. One that a later commit of the same run takes back is printed
//! again by its identity with `"withdrawn": true`.
//!
//! Rows wait for their commit as text: a batch run has one commit, and may have more rows than fit in memory.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::{Replace, Sink};
use engine::plan::SinkPlan;
use engine::{Error, Result};

use super::rows::{conform, written_schema};
use super::spool::Spool;
use super::{Console, Context, Setting, SinkKind, flag};
use crate::format::json;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "stdout",
    help: "a table on a terminal, JSON lines in a pipe",
    file_kind: "jsonl",
    settings: &[Setting { name: "open_rows", help: "print open rows too", is_required: false, is_built: true }],
    check: super::nothing,
    probe: super::nothing,
    open,
    folder: super::no_folder,
};

fn open(plan: &SinkPlan, context: &Context) -> Result<Box<dyn Sink>> {
    let schema = written_schema(plan);
    Ok(Box::new(StdoutSink {
        identity: plan.identity.iter().filter_map(|name| schema.index_of(name).ok()).collect(),
        has_open_rows: flag(plan, "open_rows")?,
        title: plan.name.clone(),
        console: context.console.clone(),
        out: None,
        staged: Spool::default(),
        staged_open: Spool::default(),
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
    /// Identity and text of each row; the identity only where open rows are printed.
    staged: Spool,
    staged_open: Spool,
    /// Identities of the open rows that were printed and are not final yet.
    shown_open: BTreeSet<Vec<u8>>,
    table: Table,
    published: Option<u64>,
}

impl StdoutSink {
    fn spool(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let identities = rows.project(&self.identity).expect("indexes come from the schema");
        let spool = if is_open { &mut self.staged_open } else { &mut self.staged };
        let (mut identity, mut text) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            identity.clear();
            text.clear();
            if self.has_open_rows && !self.identity.is_empty() {
                json::write_row(&identities, row, &mut identity);
            }
            match self.console.is_terminal {
                true => self.table.measure(&rows, row, &mut text),
                false => json::write_row(&rows, row, &mut text),
            }
            spool.push(&identity, &text)?;
        }
        Ok(())
    }

    /// Returns the identities of open rows that were printed and are neither final nor open any more.
    fn withdrawn(&mut self, staged: &mut Spool, open: &mut Spool) -> Result<Vec<Vec<u8>>> {
        if !self.has_open_rows || self.identity.is_empty() {
            return Ok(Vec::new());
        }
        let mut gone = std::mem::take(&mut self.shown_open);
        if !gone.is_empty() {
            staged.each(|identity, _| Ok(_ = gone.remove(identity)))?;
        }
        let mut shown = BTreeSet::new();
        open.each(|identity, _| Ok(_ = shown.insert(identity.to_vec())))?;
        let withdrawn = gone.difference(&shown).cloned().collect();
        self.shown_open = shown;
        Ok(withdrawn)
    }
}

impl Sink for StdoutSink {
    fn begin(&mut self, _replace: Replace) -> Result<()> {
        self.out = Some((self.console.open)());
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch) -> Result<()> {
        self.spool(rows, false)
    }

    fn stage_open(&mut self, rows: &RecordBatch) -> Result<()> {
        match self.has_open_rows {
            true => self.spool(rows, true),
            false => Ok(()),
        }
    }

    fn commit(&mut self, epoch: u64) -> Result<()> {
        let (mut staged, mut open) = (std::mem::take(&mut self.staged), std::mem::take(&mut self.staged_open));
        if self.published.is_some_and(|published| epoch <= published) {
            return Ok(());
        }
        let failed = |error| Error::io("standard output", error);
        let withdrawn = self.withdrawn(&mut staged, &mut open)?;
        let mut out = BufWriter::new(self.out.as_mut().expect("begin comes before commit"));
        for identity in withdrawn {
            out.write_all(&identity[..identity.len() - 1]).map_err(failed)?;
            out.write_all(b",\"withdrawn\":true}\n").map_err(failed)?;
        }
        for spool in [&mut staged, &mut open] {
            spool.each(|_, text| {
                match self.console.is_terminal {
                    true => self.table.print(&self.title, text, &mut out),
                    false => out.write_all(text).and_then(|()| out.write_all(b"\n")),
                }
                .map_err(failed)
            })?;
        }
        out.flush().map_err(failed)?;
        self.published = Some(epoch);
        Ok(())
    }

    fn describe(&self) -> String {
        "standard output".to_string()
    }
}

/// A table that grows downward: its header comes once, its columns widen when a value of a commit needs it.
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

    /// Adds a row's cells, one per line, and widens the columns for them.
    fn measure(&mut self, rows: &RecordBatch, row: usize, text: &mut Vec<u8>) {
        for (index, (cell, width)) in cells(rows, row).iter().zip(&mut self.widths).enumerate() {
            *width = (*width).max(cell.chars().count());
            if index > 0 {
                text.push(b'\n');
            }
            text.extend_from_slice(cell.as_bytes());
        }
    }

    /// Prints a row that was measured; before the first the header.
    fn print(&mut self, title: &str, text: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if !self.has_header {
            self.has_header = true;
            writeln!(out, "{title}")?;
            self.line(&self.names, out)?;
            let rules: Vec<String> = self.widths.iter().map(|width| "─".repeat(*width)).collect();
            self.line(&rules, out)?;
        }
        let text = String::from_utf8_lossy(text);
        self.line(&text.split('\n').collect::<Vec<_>>(), out)
    }

    fn line<T: AsRef<str>>(&self, cells: &[T], out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), is_number) in cells.iter().zip(&self.widths).zip(&self.is_number) {
            let cell = cell.as_ref();
            line.push_str(if line.is_empty() { " " } else { "  " });
            match is_number {
                true => line.push_str(&format!("{cell:>width$}")),
                false => line.push_str(&format!("{cell:<width$}")),
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

/// Returns a row's values as JSON without quotes, so that no value can send control codes to a terminal or end a line.
fn cells(rows: &RecordBatch, row: usize) -> Vec<String> {
    let cell = |column: &arrow::array::ArrayRef| {
        let mut text = Vec::new();
        json::write_value(column, row, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::to_string).unwrap_or(text)
    };
    rows.columns().iter().map(cell).collect()
}
