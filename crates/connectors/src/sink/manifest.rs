//! The list of what a file sink has committed. It is the commit point: rows count from the moment it names them.
//!
//! `_manifest.json` in a folder, `_NAME.manifest.json` beside a single file:
//!
//! ```json
//! { "version": 1, "kind": "parquet", "columns": ["window_start timestamp", "final bool"],
//!   "generation": 3, "epoch": 17,
//!   "files": [{"name": "part-00003-0000000001.parquet", "rows": 10, "bytes": 812, "windows": [0, 60000000]}],
//!   "open":  [{"name": "open-00003-0000000017.parquet", "rows": 2, "bytes": 640, "windows": [120000000, 120000000]}] }
//! ```
//!
//! `windows` are the least and greatest `window_start` in microseconds. In a folder a named file may still have the name
//! `_` + name: the process ended between the two renames of a commit, and the next start finishes it. For a single file
//! `files` and `open` have one entry at most, and `bytes` say where the final rows end and the open ones begin.

use std::fs;
use std::path::Path;

use engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::once::{Commit, Held, Mark};
use super::rows::Span;
use crate::store;

/// The version written, and the only one read.
pub const MANIFEST_VERSION: u32 = 1;

/// What a sink has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// The sink kind that wrote the files.
    pub kind: String,
    /// `name type` of every column.
    pub columns: Vec<String>,
    /// How many runs have committed here: part of every file's name, so that no name is used twice.
    pub generation: u32,
    /// The last epoch of the run that appends; runs that replace a range leave it.
    pub epoch: Option<u64>,
    /// The job whose epoch that is, if it goes on from checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// In microseconds: every row of that job's windows that begin before is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<i64>,
    /// Files with final rows, oldest first.
    pub files: Vec<Entry>,
    /// Files with open rows.
    pub open: Vec<Entry>,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the sink's folder.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Least and greatest `window_start` in microseconds, where rows have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<(i64, i64)>,
}

impl Entry {
    /// Makes the entry of a file.
    pub(crate) fn new(name: String, bytes: u64, span: Span) -> Self {
        Self { name, rows: span.rows, bytes, windows: span.windows }
    }

    /// Counts rows that were added.
    pub(crate) fn add(&mut self, added: Span) {
        let mut span = self.span();
        span.merge(added);
        (self.rows, self.windows) = (span.rows, span.windows);
    }

    /// Returns how many rows it holds between which window starts.
    pub(crate) fn span(&self) -> Span {
        Span { rows: self.rows, windows: self.windows }
    }
}

impl Manifest {
    /// Makes the manifest of a sink that holds nothing.
    pub(crate) fn empty(kind: &str, columns: Vec<String>) -> Self {
        Self {
            version: MANIFEST_VERSION,
            kind: kind.to_string(),
            columns,
            generation: 0,
            epoch: None,
            job: None,
            settled: None,
            files: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Reads a manifest; None when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("manifest {}", path.display()), error)),
        };
        let damaged = |why: String| {
            Error::new(Code::Corrupt, format!("manifest {}: {why}", path.display())).help(
                "the sink cannot tell which rows are committed; move the output away and run again from the start",
            )
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let version = value["version"].as_u64().ok_or_else(|| damaged("it has no version".into()))?;
        if version != u64::from(MANIFEST_VERSION) {
            let what = format!("manifest {} has version {version}", path.display());
            return Err(Error::new(Code::StateVersion, what).help(format!(
                "this program reads version {MANIFEST_VERSION}; write to another path or use a newer program"
            )));
        }
        let found: Self = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        // Files are cut and removed by these names.
        match found.files.iter().chain(&found.open).find(|entry| !store::is_inside(&entry.name)) {
            Some(entry) => Err(damaged(format!("it names {:?}, which is no file of the sink's folder", entry.name))),
            None => Ok(Some(found)),
        }
    }

    /// Returns what a sink with the manifest at a path holds.
    pub(super) fn held_at(path: &Path) -> Result<Held> {
        Ok(Self::read(path)?.map_or(Held::Nothing, |found| found.held()))
    }

    /// Returns what a sink with this manifest holds.
    pub(super) fn held(&self) -> Held {
        self.epoch
            .map_or(Held::Nothing, |epoch| Held::Rows(Mark { job: self.job.clone(), epoch, settled: self.settled }))
    }

    /// Says whose rows are there from a commit on.
    pub(super) fn marked(self, commit: &Commit, before: &Self) -> Self {
        let (job, epoch, settled) = match &commit.mark {
            Some(mark) => (mark.job.clone(), Some(mark.epoch), mark.settled),
            None => (before.job.clone(), before.epoch, before.settled),
        };
        Self { job, epoch, settled, ..self }
    }

    /// Replaces the manifest on disk: the commit.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        store::write_atomic(path, text.as_bytes())
    }

    /// Refuses to add rows to others of different columns or kind.
    pub(crate) fn must_fit(&self, kind: &str, columns: &[String], place: &Path) -> Result<()> {
        if self.kind == kind && self.columns == columns {
            return Ok(());
        }
        let message = format!(
            "{} holds {} rows with the columns {}, and this run would add {kind} rows with {}",
            place.display(),
            self.kind,
            self.columns.join(", "),
            columns.join(", ")
        );
        Err(Error::new(Code::Target, message)
            .help("run from the start without --from and --to, which replaces all rows, or write to another path"))
    }
}
