//! Rows as lines of text: what jsonl and csv share, as files in a folder or as one file.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::Sink;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::folder::{self, FolderSink, Roll, no_window_start};
use super::once::Once;
use super::rows::{Encoding, RowWriter, Span, WINDOW_START, WindowRange};
use super::single::SingleSink;
use super::{Context, Setting, required};
use crate::disk::File;

/// A text form of rows that can be cut into records again.
pub(crate) trait TextFormat: Send + Sync {
    /// Returns the file extension, which is the sink kind's name too.
    fn extension(&self) -> &'static str;
    /// Returns what a file begins with.
    fn header(&self, schema: &SchemaRef) -> Vec<u8>;
    /// Adds the text of rows.
    fn encode(&self, rows: &RecordBatch, out: &mut Vec<u8>);
    /// Reads the next record with its line end; false at the end of the text.
    fn next(&self, from: &mut dyn BufRead, record: &mut Vec<u8>) -> io::Result<bool>;
    /// Returns the text of a column in a record; None when it is null or absent.
    fn field(&self, record: &[u8], schema: &SchemaRef, column: &str) -> Option<String>;
}

/// The settings of a text sink.
pub(super) const SETTINGS: &[Setting] = &[
    Setting { name: "path", help: "one file if it has an extension, else a folder", is_required: true, is_built: true },
    folder::ROLL_ROWS,
    folder::ROLL_BYTES,
];

/// Opens a text sink: one file when the path has an extension, else a folder.
pub(super) fn open(
    plan: &SinkPlan,
    context: &Context,
    format: &'static dyn TextFormat,
    encoding: &'static dyn Encoding,
) -> Result<Box<dyn Sink>> {
    let path = required(plan, "path")?;
    match folder_sink(plan, encoding)? {
        Some(folder) => Ok(Box::new(Once::new(folder, context))),
        None => Ok(Box::new(Once::new(SingleSink::new(plan, path.into(), format), context))),
    }
}

/// Returns the sink if it writes a folder.
pub(super) fn folder_sink(plan: &SinkPlan, encoding: &'static dyn Encoding) -> Result<Option<FolderSink>> {
    let path = required(plan, "path")?;
    match Path::new(path).extension() {
        Some(_) => Ok(None),
        None => FolderSink::new(plan, path.into(), encoding).map(Some),
    }
}

/// Checks the settings: one file is one file.
pub(super) fn check(plan: &SinkPlan) -> Result<()> {
    let path = required(plan, "path")?;
    let rolls = [folder::ROLL_ROWS, folder::ROLL_BYTES].map(|setting| setting.name);
    match rolls.iter().find(|name| plan.target.settings.contains_key(**name)) {
        Some(name) if Path::new(path).extension().is_some() => {
            let message = format!("sink `{}`: `{name}` is for a folder of files, and {path} is one file", plan.name);
            Err(Error::new(Code::Field, message).help("name a folder, that is a path without an extension"))
        }
        _ => Roll::of(plan).map(|_| ()),
    }
}

/// A text format as the files of a folder, each with its header.
pub(crate) struct TextFiles(pub(crate) &'static dyn TextFormat);

impl Encoding for TextFiles {
    fn extension(&self) -> &'static str {
        self.0.extension()
    }

    fn append(&self, file: File, schema: &SchemaRef) -> Result<Box<dyn RowWriter>> {
        let mut rows = TextRows::new(file, self.0);
        rows.put(&self.0.header(schema))?;
        Ok(Box::new(rows))
    }

    fn join(&self, from: &[PathBuf], mut to: File, schema: &SchemaRef, most: u64) -> Result<(File, usize)> {
        let header = self.0.header(schema);
        let (mut bytes, mut joined) = (header.len() as u64, 0);
        to.write_all(&header).map_err(|error| cannot_write(&to, error))?;
        for path in from {
            let failed = |error| Error::io(path.display(), error);
            let mut file = std::fs::File::open(path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len().saturating_sub(header.len() as u64);
            if joined > 1 && bytes + length > most {
                break;
            }
            file.seek(SeekFrom::Start(header.len() as u64)).map_err(failed)?;
            bytes += io::copy(&mut file, &mut to).map_err(|error| cannot_write(&to, error))?;
            joined += 1;
        }
        Ok((to, joined))
    }

    fn feed(&self, from: &Path, schema: &SchemaRef, into: &mut Sha256) -> Result<()> {
        let failed = |error| Error::io(from.display(), error);
        let mut file = std::fs::File::open(from).map_err(failed)?;
        file.seek(SeekFrom::Start(self.0.header(schema).len() as u64)).map_err(failed)?;
        let mut piece = vec![0; TextRows::PIECE];
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => return Ok(()),
                length => into.update(&piece[..length]),
            }
        }
    }

    fn copy_outside(&self, from: &Path, to: File, schema: &SchemaRef, range: &WindowRange) -> Result<Span> {
        let failed = |error| Error::io(from.display(), error);
        let mut reader = BufReader::new(std::fs::File::open(from).map_err(failed)?);
        let mut to = BufWriter::new(to);
        let header = self.0.header(schema);
        if !header.is_empty() {
            self.0.next(&mut reader, &mut Vec::new()).map_err(failed)?;
            to.write_all(&header).map_err(failed)?;
        }
        let span = copy_records_outside(self.0, &mut reader, &mut to, schema, range, from)?;
        to.flush().map_err(failed)?;
        Ok(span)
    }
}

fn cannot_write(file: &File, error: io::Error) -> Error {
    Error::io(format!("cannot write `{}`", file.path().display()), error)
}

/// Copies the records whose window does not start in the range; `place` is for messages.
pub(super) fn copy_records_outside(
    format: &dyn TextFormat,
    from: &mut dyn BufRead,
    to: &mut dyn Write,
    schema: &SchemaRef,
    range: &WindowRange,
    place: &Path,
) -> Result<Span> {
    let failed = |error| Error::io(place.display(), error);
    let (mut span, mut record) = (Span::default(), Vec::new());
    while format.next(from, &mut record).map_err(failed)? {
        let text = format.field(&record, schema, WINDOW_START).ok_or_else(|| no_window_start(place))?;
        let start = chrono::DateTime::parse_from_rfc3339(&text)
            .map_err(|error| Error::new(Code::Corrupt, format!("{}: window_start `{text}`: {error}", place.display())))?
            .timestamp_micros();
        if !range.contains(start) {
            to.write_all(&record).map_err(failed)?;
            span.add(Some(start));
        }
    }
    Ok(span)
}

/// Rows on their way into a text file.
pub(super) struct TextRows {
    file: File,
    format: &'static dyn TextFormat,
    buffer: Vec<u8>,
    /// What was handed to the file.
    bytes: u64,
}

impl TextRows {
    /// Text is handed to the file in pieces of about this size.
    const PIECE: usize = 256 * 1024;

    /// Makes a writer at the place where the file stands.
    pub(super) fn new(file: File, format: &'static dyn TextFormat) -> Self {
        Self { file, format, buffer: Vec::new(), bytes: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.file, error))
    }

    fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }
}

impl RowWriter for TextRows {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.format.encode(rows, &mut self.buffer);
        if self.buffer.len() >= Self::PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.bytes + self.buffer.len() as u64
    }

    fn finish(mut self: Box<Self>) -> Result<File> {
        self.flush()?;
        Ok(self.file)
    }
}
