//! Rows on their way into the files of the next commit: a file that is full is finished and another one begun.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};

use crate::disk::File;
use crate::sink::rows::{Encoding, RowWriter, Span};
use crate::sink::{Setting, files};

/// After how many rows a file is full.
pub(crate) const ROLL_ROWS: Setting =
    Setting { name: "roll_rows", help: "rows after which a new file begins", is_required: false, is_built: true };

/// After how many bytes a file is full.
pub(crate) const ROLL_BYTES: Setting = Setting {
    name: "roll_bytes",
    help: "bytes after which a new file begins, about",
    is_required: false,
    is_built: true,
};

/// When a file is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roll {
    /// It has so many rows, exactly …
    pub(super) rows: u64,
    /// … or about so many bytes.
    pub(super) bytes: u64,
}

impl Default for Roll {
    /// As [`crate::lake::LakeOptions`] has it: files that an engine reads in parallel and that a store takes in one piece.
    fn default() -> Self {
        Self { rows: u64::MAX, bytes: 256 << 20 }
    }
}

impl Roll {
    /// Returns what a sink's settings say.
    pub(crate) fn of(plan: &SinkPlan) -> Result<Self> {
        let number = |setting: &Setting| {
            let Some(text) = plan.target.settings.get(setting.name) else { return Ok(None) };
            match text.parse() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => {
                    let message =
                        format!("sink `{}`: `{}` is `{text}`, not a number from 1 on", plan.name, setting.name);
                    Err(Error::new(Code::Field, message))
                }
            }
        };
        let plain = Self::default();
        Ok(Self { rows: number(&ROLL_ROWS)?.unwrap_or(plain.rows), bytes: number(&ROLL_BYTES)?.unwrap_or(plain.bytes) })
    }
}

/// Files of one kind of rows, final or open, that the next commit names.
pub(super) struct Stage {
    prefix: &'static str,
    full: Vec<Full>,
    current: Option<Staged>,
}

/// A file that takes rows.
struct Staged {
    writer: Box<dyn RowWriter>,
    path: PathBuf,
    span: Span,
}

/// A file that has all its rows, not yet synced.
pub(super) struct Full {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) span: Span,
}

impl Stage {
    /// Makes a stage whose files are `_staged.PREFIX`, `_staged-00001.PREFIX` and so on.
    pub(super) fn new(prefix: &'static str) -> Self {
        Self { prefix, full: Vec::new(), current: None }
    }

    /// Returns true for the name of a file of some stage.
    pub(super) fn is_name(name: &str) -> bool {
        let Some(rest) = name.strip_prefix("_staged") else { return false };
        let Some((number, prefix)) = rest.rsplit_once('.') else { return false };
        let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        matches!(prefix, "part" | "open" | "joined")
            && (number.is_empty() || number.strip_prefix('-').is_some_and(is_number))
    }

    /// Returns true for the name of a file of a run beside a stream.
    pub(super) fn is_beside(name: &str) -> bool {
        name.starts_with("_staged") && name.ends_with(".range")
    }

    /// Returns true when nothing was staged.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.current.is_none()
    }

    /// Takes rows.
    pub(super) fn add(
        &mut self,
        rows: &RecordBatch,
        folder: &Path,
        encoding: &dyn Encoding,
        schema: &SchemaRef,
        roll: Roll,
    ) -> Result<()> {
        let mut start = 0;
        while start < rows.num_rows() {
            let mut staged = match self.current.take() {
                Some(staged) => staged,
                None => {
                    let number = match self.full.len() {
                        0 => String::new(),
                        number => format!("-{number:05}"),
                    };
                    let path = folder.join(format!("_staged{number}.{}", self.prefix));
                    Staged { writer: encoding.append(files::create(&path)?, schema)?, path, span: Span::default() }
                }
            };
            let room = usize::try_from(roll.rows - staged.span.rows).unwrap_or(usize::MAX);
            let rows = rows.slice(start, room.min(rows.num_rows() - start));
            staged.span.add_rows(&rows);
            staged.writer.write(&rows)?;
            start += rows.num_rows();
            match staged.span.rows >= roll.rows || staged.writer.bytes() >= roll.bytes {
                true => self.full.push(staged.finish()?),
                false => self.current = Some(staged),
            }
        }
        Ok(())
    }

    /// Returns the files, each with all its rows.
    pub(super) fn finish(self) -> Result<Vec<Full>> {
        let mut full = self.full;
        full.extend(self.current.map(Staged::finish).transpose()?);
        Ok(full)
    }
}

impl Staged {
    fn finish(self) -> Result<Full> {
        Ok(Full { file: self.writer.finish()?, path: self.path, span: self.span })
    }
}
