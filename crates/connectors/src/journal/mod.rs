//! The journal: an append-only local log with partitions and offsets, the embedded default.
//!
//! ```text
//! JOURNAL/
//!   journal                              text: "samestream journal", "version 1", "partitions N", each on a line
//!   lock                                 held by the one writer
//!   partition=P/
//!     00000000000000000000.log           a segment, named by the first offset it may hold
//!     00000000000000200000.log
//! ```
//!
//! The bytes of a segment are described in `frame.rs`. Segments of a partition follow one another; only the last one may
//! end in bytes that are no frame: what a crash left of a write. A reader ignores them, the next writer cuts them off.
//! Damage with whole frames after it is no such tail, but an error that names file and byte.
//!
//! Readers see what was written, forced to disk or not: a crash of the writing process takes nothing back, a loss of
//! power may take what was not committed.

mod frame;
mod scan;
mod segment;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

use engine::error::{Code, Error, Result};
use engine::log::Partition;

use crate::store;
use segment::Segment;

pub use scan::JournalScan;
pub use stream::JournalStream;
pub use writer::JournalWriter;

const HEADER: &str = "journal";
const TITLE: &str = "samestream journal";
const VERSION: u32 = 1;

/// A journal's folder and how many partitions it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    path: PathBuf,
    partition_count: u32,
}

impl Journal {
    /// Makes a new, empty journal. Refuses a folder that is one already.
    pub fn create(path: impl Into<PathBuf>, partition_count: u32) -> Result<Self> {
        let path = path.into();
        if partition_count == 0 || partition_count > 100_000 {
            return Err(Error::new(Code::Usage, format!("a journal cannot have {partition_count} partitions")));
        }
        if Self::exists(&path) {
            return Err(Error::new(Code::Target, format!("`{}` is a journal already", path.display())));
        }
        for partition in 0..partition_count {
            store::create_folder(&path.join(format!("partition={partition}")))?;
        }
        let header = format!("{TITLE}\nversion {VERSION}\npartitions {partition_count}\n");
        store::write_atomic(path.join(HEADER), header.as_bytes())?;
        Ok(Self { path, partition_count })
    }

    /// Returns true when there is a journal at `path`.
    pub fn exists(path: impl AsRef<Path>) -> bool {
        path.as_ref().join(HEADER).is_file()
    }

    /// Opens an existing journal.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let header = path.join(HEADER);
        if !header.is_file() {
            return Err(Error::new(Code::NotFound, format!("there is no journal at `{}`", path.display()))
                .help("`samestream gen`, `append` and `replay` make one"));
        }
        let text = std::fs::read_to_string(&header)
            .map_err(|error| Error::io(format!("cannot read `{}`", header.display()), error))?;
        let corrupt = || Error::new(Code::Corrupt, format!("`{}` is not the header of a journal", header.display()));
        let lines: Vec<&str> = text.lines().collect();
        let number = |i: usize, word: &str| -> Option<u32> { lines.get(i)?.strip_prefix(word)?.parse().ok() };
        if lines.first() != Some(&TITLE) {
            return Err(corrupt());
        }
        let version = number(1, "version ").ok_or_else(corrupt)?;
        if version != VERSION {
            let message = format!("`{}` is of version {version}; this program reads {VERSION}", header.display());
            return Err(Error::new(Code::StateVersion, message));
        }
        let partition_count = number(2, "partitions ").filter(|count| *count > 0).ok_or_else(corrupt)?;
        Ok(Self { path, partition_count })
    }

    /// Returns its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many partitions it has: 0, 1, ….
    pub fn partition_count(&self) -> u32 {
        self.partition_count
    }

    /// Becomes its writer: there is one at a time. Cuts off what a crash left unfinished.
    pub fn writer(&self) -> Result<JournalWriter> {
        JournalWriter::open(self)
    }

    /// Opens it to be followed. `only` restricts the partitions.
    pub fn stream(&self, only: Option<&[Partition]>) -> Result<JournalStream> {
        JournalStream::open(self, only)
    }

    fn folder(&self, partition: Partition) -> PathBuf {
        self.path.join(format!("partition={partition}"))
    }

    /// Returns the partitions to read, ascending.
    fn partitions(&self, only: Option<&[Partition]>) -> Result<Vec<Partition>> {
        let all = 0..self.partition_count as Partition;
        let Some(only) = only else { return Ok(all.collect()) };
        match only.iter().find(|partition| !all.contains(partition)) {
            Some(partition) => {
                let message = format!("the journal `{}` has no partition {partition}", self.path.display());
                Err(Error::new(Code::NotFound, message).help(format!(
                    "It has {} of them, 0 to {}",
                    self.partition_count,
                    self.partition_count - 1
                )))
            }
            None => Ok(only.to_vec()),
        }
    }
}
