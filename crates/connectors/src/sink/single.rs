//! One text file with rows: final ones first, open ones as its tail.
//!
//! ```text
//! views.jsonl                              the rows
//! _views.jsonl.manifest.json               how many of its bytes are committed
//! _views.jsonl.lock                        held by the run that writes it
//! _views.jsonl.staged, ….staged-open       rows on the way
//! _views.jsonl.00002-0000000001.new        the whole file anew, on the way
//! ```
//!
//! A commit that only adds rows copies them behind the committed bytes and then replaces the manifest; after a crash in
//! between the next start cuts them off. A commit that takes rows away (all, a range, an open tail) makes the file anew,
//! replaces the manifest, which names the new file, and renames it; the next start finishes that if it has to.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::Replace;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};

use super::files;
use super::folder::no_window_start;
use super::manifest::{Entry, Manifest};
use super::once::{Commit, Held, Place};
use super::rows::{RowWriter, Span, WindowRange, column_names, conform, written_schema};
use super::text::{TextFormat, TextRows, copy_records_outside};
use crate::{disk, store};

/// One file of text rows.
pub(crate) struct SingleSink {
    path: PathBuf,
    /// Held from `begin` on.
    lock: Option<File>,
    format: &'static dyn TextFormat,
    schema: SchemaRef,
    columns: Vec<String>,
    manifest: Manifest,
    generation: u32,
    /// Open rows of other runs, outside the range that this one replaces.
    kept_open: Vec<u8>,
    kept_open_span: Span,
    staged: Option<Staged>,
    staged_open: Option<Staged>,
}

/// Rows since the last commit.
struct Staged {
    rows: Box<TextRows>,
    span: Span,
}

impl SingleSink {
    /// Makes the sink; touches nothing yet.
    pub(crate) fn new(plan: &SinkPlan, path: PathBuf, format: &'static dyn TextFormat) -> Self {
        let columns = column_names(plan);
        Self {
            path,
            lock: None,
            format,
            schema: written_schema(plan),
            manifest: Manifest::empty(format.extension(), columns.clone()),
            columns,
            generation: 0,
            kept_open: Vec::new(),
            kept_open_span: Span::default(),
            staged: None,
            staged_open: None,
        }
    }

    fn side(&self, suffix: &str) -> PathBuf {
        files::beside(&self.path, suffix)
    }

    fn manifest_path(&self) -> PathBuf {
        self.side(".manifest.json")
    }

    fn committed(&self) -> (u64, u64) {
        let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.bytes).sum();
        (bytes(&self.manifest.files), bytes(&self.manifest.open))
    }

    /// Finishes or removes what a crash left.
    fn recover(&self) -> Result<()> {
        let folder = files::folder_of(&self.path);
        let own = files::name_of(&self.side("."));
        for name in files::names(folder)? {
            let Some(rest) = name.strip_prefix(&own) else { continue };
            if self.manifest.files.iter().any(|file| file.name == name) {
                files::rename(&folder.join(&name), &self.path)?;
            } else if matches!(rest, "staged" | "staged-open") || rest.ends_with(".new") {
                files::remove(&folder.join(&name))?;
            }
        }
        store::sync_folder(folder)
    }

    /// Checks that the committed bytes are there, and cuts off what comes after them.
    fn check_held(&self) -> Result<()> {
        self.manifest.must_fit(self.format.extension(), &self.columns, &self.path)?;
        let (length, open) = self.committed();
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size < length + open {
            let message =
                format!("{} has {size} bytes, of which {} were committed", self.path.display(), length + open);
            return Err(Error::new(Code::Corrupt, message)
                .help("run from the start without --from and --to, which replaces all rows"));
        }
        if size > length + open {
            let failed = |error| Error::io(self.path.display(), error);
            disk::File::open(&self.path).and_then(|file| file.set_len(length + open)).map_err(failed)?;
        }
        Ok(())
    }

    /// Returns the staged rows as text, ready to be copied.
    fn unstage(staged: Option<Staged>, path: &Path) -> Result<(Option<File>, Span)> {
        let Some(staged) = staged else { return Ok((None, Span::default())) };
        staged.rows.finish()?;
        let file = File::open(path).map_err(|error| Error::io(path.display(), error))?;
        Ok((Some(file), staged.span))
    }

    /// Writes what stays of the old file for a file made anew; returns what that is.
    fn write_base(&mut self, to: &mut dyn Write, first: Option<Replace>) -> Result<Span> {
        let path = self.path.clone();
        let failed = |error| Error::io(path.display(), error);
        let header = self.format.header(&self.schema);
        let (length, open) = self.committed();
        match first {
            Some(Replace::Range(from, to_window)) if !self.manifest.files.is_empty() => {
                let range = WindowRange { from, to: to_window };
                let mut file = File::open(&path).map_err(failed)?;
                let mut body = BufReader::new((&mut file).take(length));
                io::copy(&mut (&mut body).take(header.len() as u64), to).map_err(failed)?;
                let span = copy_records_outside(self.format, &mut body, to, &self.schema, &range, &path)?;
                file.seek(SeekFrom::Start(length)).map_err(failed)?;
                let mut tail = BufReader::new(file.take(open));
                self.kept_open.clear();
                self.kept_open_span =
                    copy_records_outside(self.format, &mut tail, &mut self.kept_open, &self.schema, &range, &path)?;
                Ok(span)
            }
            None | Some(Replace::Nothing) if !self.manifest.files.is_empty() => {
                let file = File::open(&path).map_err(failed)?;
                io::copy(&mut file.take(length), to).map_err(failed)?;
                Ok(self.manifest.files.first().map(Entry::span).unwrap_or_default())
            }
            _ => to.write_all(&header).map(|()| Span::default()).map_err(failed),
        }
    }

    /// Makes the file anew under the name that the manifest will give; returns final and open entry.
    fn rewrite(
        &mut self,
        name: &str,
        first: Option<Replace>,
        staged: Option<File>,
        open: Option<File>,
    ) -> Result<(Entry, Entry)> {
        let path = self.path.with_file_name(name);
        let failed = |error| Error::io(path.display(), error);
        let mut to = BufWriter::new(files::create(&path)?);
        let span = self.write_base(&mut to, first)?;
        copy(staged, &mut to).map_err(failed)?;
        let length = to.stream_position().map_err(failed)?;
        to.write_all(&self.kept_open).map_err(failed)?;
        copy(open, &mut to).map_err(failed)?;
        let file = to.into_inner().map_err(|error| failed(error.into_error()))?;
        let size = files::sync(&file, &path)?;
        Ok((
            Entry::new(name.to_string(), length, span),
            Entry::new(name.to_string(), size - length, self.kept_open_span),
        ))
    }

    /// Adds rows behind the committed bytes; returns the final entry before its new rows are counted.
    fn append(&mut self, name: &str, staged: Option<File>) -> Result<Entry> {
        let (length, _) = self.committed();
        let failed = |error| Error::io(self.path.display(), error);
        let mut file = disk::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let added = copy(staged, &mut file).map_err(failed)?;
        files::sync(&file, &self.path)?;
        let span = self.manifest.files.first().map(Entry::span).unwrap_or_default();
        Ok(Entry::new(name.to_string(), length + added, span))
    }
}

impl Place for SingleSink {
    fn held(&mut self) -> Result<Held> {
        Manifest::held_at(&self.manifest_path())
    }

    fn seen(&mut self) -> Result<Held> {
        self.held()
    }

    /// Only while the stream does not run: it appends to the file, which no other run may replace under it.
    fn is_shared(&self) -> bool {
        true
    }

    fn begin_beside(&mut self) -> Result<()> {
        self.begin(Replace::Range(None, None)).map(|_| ())
    }

    fn begin(&mut self, replace: Replace) -> Result<Held> {
        store::create_folder(files::folder_of(&self.path))?;
        if self.lock.is_none() {
            self.lock = Some(files::lock(&self.side(".lock"), &self.path)?);
        }
        match Manifest::read(&self.manifest_path())? {
            Some(manifest) => self.manifest = manifest,
            None if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > 0) => {
                return Err(Error::new(Code::Target, format!("{} was not written by a sink", self.path.display()))
                    .help("remove it, or write to another path"));
            }
            None => {}
        }
        self.recover()?;
        match replace {
            Replace::All => {}
            Replace::Nothing => self.check_held()?,
            Replace::Range(..) => {
                self.check_held()?;
                if self.schema.index_of(super::rows::WINDOW_START).is_err()
                    && self.manifest.files.iter().chain(&self.manifest.open).any(|entry| entry.rows > 0)
                {
                    return Err(no_window_start(&self.path));
                }
            }
        }
        files::create(&self.side(".staged"))?;
        self.generation = self.manifest.generation + 1;
        Ok(self.manifest.held())
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = conform(rows, &self.schema)?;
        let path = self.side(if is_open { ".staged-open" } else { ".staged" });
        let staged = if is_open { &mut self.staged_open } else { &mut self.staged };
        let staged = match staged {
            Some(staged) => staged,
            None => staged.insert(Staged {
                rows: Box::new(TextRows::new(files::create(&path)?, self.format)),
                span: Span::default(),
            }),
        };
        staged.span.add_rows(&rows);
        staged.rows.write(&rows)
    }

    fn is_empty(&self) -> bool {
        let has_open = self.kept_open_span.rows > 0 || !self.manifest.open.is_empty();
        self.staged.is_none() && self.staged_open.is_none() && !has_open
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let (staged, staged_open) = (self.staged.take(), self.staged_open.take());
        let (staged, span) = Self::unstage(staged, &self.side(".staged"))?;
        let (staged_open, open_span) = Self::unstage(staged_open, &self.side(".staged-open"))?;
        let only_adds = matches!(commit.first, None | Some(Replace::Nothing))
            && !self.manifest.files.is_empty()
            && self.manifest.open.is_empty()
            && staged_open.is_none();
        let (mut file, mut open) = if only_adds {
            let name = files::name_of(&self.path);
            (self.append(&name, staged)?, None)
        } else {
            let new = self.side(&format!(".{:05}-{:010}.new", self.generation, commit.epoch));
            let name = files::name_of(&new);
            let (file, open) = self.rewrite(&name, commit.first, staged, staged_open)?;
            (file, Some(open))
        };
        file.add(span);
        if let Some(open) = &mut open {
            open.add(open_span);
        }
        store::sync_folder(files::folder_of(&self.path))?;
        self.manifest = Manifest {
            generation: self.generation,
            files: vec![file],
            open: open.into_iter().filter(|open| open.rows > 0).collect(),
            ..Manifest::empty(self.format.extension(), self.columns.clone())
        }
        .marked(commit, &self.manifest);
        self.manifest.write(&self.manifest_path())?;
        self.recover()
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = (None, None);
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

fn copy(from: Option<File>, to: &mut dyn Write) -> io::Result<u64> {
    from.map_or(Ok(0), |mut from| io::copy(&mut from, to))
}
