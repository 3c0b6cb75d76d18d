//! Small files become few, without a change of their rows or of their order.
//!
//! A commit like every other: files beside each other in the manifest are written as one, behind a `_`; what is in it is
//! read back and compared with what was in them; the manifest is replaced; the old files go. Killed at any moment, it
//! leaves the rows as they were, and what it left behind goes with the next start.

use std::path::{Path, PathBuf};

use engine::plan::SinkPlan;
use engine::{Code, Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::super::kind;
use super::stage::Full;
use super::{FolderSink, LOCK, RANGE_LOCK, files};
use crate::sink::manifest::{Entry, Manifest};
use crate::sink::rows::Span;
use crate::store;

/// What compaction of one sink did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The sink's folder.
    pub path: PathBuf,
    /// Files with final rows before.
    pub files_before: usize,
    /// Their bytes.
    pub bytes_before: u64,
    /// Files with final rows after; None: it was only asked what would be done.
    pub files_after: Option<usize>,
    /// Their bytes.
    pub bytes_after: Option<u64>,
    /// Files that were written as parts of others, or would be.
    pub files_joined: usize,
    /// Their rows.
    pub rows_joined: u64,
}

/// Writes the small files of a sink as few of about `most` bytes; None for a sink that is no folder of files.
///
/// # Errors
/// [`Code::Target`] when the folder holds no committed rows, or rows of another definition; [`Code::StateBusy`] while a run
/// writes to it; [`Code::Corrupt`] when what was written does not read back as what was there, which is then left alone.
pub fn compact(plan: &SinkPlan, most: u64, only_tell: bool) -> Result<Option<Compacted>> {
    super::super::check(plan)?;
    let folder = (kind(&plan.target.kind)?.folder)(plan)?;
    folder.map(|mut folder| folder.compact(most, only_tell)).transpose()
}

impl FolderSink {
    pub(super) fn compact(&mut self, most: u64, only_tell: bool) -> Result<Compacted> {
        let Some(manifest) = Manifest::read(&self.manifest_path())? else {
            let message = format!("{} holds no rows that a run has committed", self.folder.display());
            return Err(
                Error::new(Code::Target, message).help("has the pipeline been run yet, and with the same --out?")
            );
        };
        self.manifest = manifest;
        self.check_held(None)?;
        let mut done = Compacted {
            path: self.folder.clone(),
            files_before: self.manifest.files.len(),
            bytes_before: bytes(&self.manifest.files),
            files_after: None,
            bytes_after: None,
            files_joined: 0,
            rows_joined: 0,
        };
        if only_tell {
            for (from, to) in Group::all(&self.manifest.files, most) {
                done.count(&self.manifest.files[from..to]);
            }
            return Ok(done);
        }
        self.take(LOCK)?;
        let _range = files::lock(&self.folder.join(RANGE_LOCK), &self.folder)?;
        // A run may have come and gone since.
        self.manifest = Manifest::read(&self.manifest_path())?.unwrap_or_else(|| self.manifest.clone());
        self.tidy(false)?;
        self.generation = self.manifest.generation + 1;
        let mut at = 0;
        while let Some((from, to)) = Group::next(&self.manifest.files, at, most) {
            let joined = self.replace(from, to, most)?;
            done.count(&joined);
            at = from + 1;
        }
        (done.files_after, done.bytes_after) = (Some(self.manifest.files.len()), Some(bytes(&self.manifest.files)));
        Ok(done)
    }

    /// Writes files beside each other as one, from the first of them on as many as fit, and returns those.
    fn replace(&mut self, from: usize, to: usize, most: u64) -> Result<Vec<Entry>> {
        let paths: Vec<PathBuf> =
            self.manifest.files[from..to].iter().map(|entry| self.folder.join(&entry.name)).collect();
        let path = self.folder.join("_staged.joined");
        let (file, count) = self.encoding.join(&paths, files::create(&path)?, &self.schema, most)?;
        let mut manifest = self.manifest.clone();
        manifest.generation = self.generation;
        let old: Vec<Entry> = manifest.files.splice(from..from + count, []).collect();
        let mut span = Span::default();
        old.iter().for_each(|entry| span.merge(entry.span()));
        let (was, is) = (self.content(&paths[..count])?, self.content(std::slice::from_ref(&path))?);
        if was != is {
            let message = format!("{} does not hold the rows of the {count} files it was made of", path.display());
            return Err(Error::new(Code::Corrupt, message).help("the files were left as they are; please report this"));
        }
        let last = old.last().map_or("", |entry| entry.name.as_str());
        let name = joined_name(last, self.generation);
        manifest.files.insert(from, self.seal(Full { file, path, span }, name)?);
        store::sync_folder(&self.folder)?;
        manifest.write(&self.manifest_path())?;
        let before = std::mem::replace(&mut self.manifest, manifest);
        self.settle(&before)?;
        Ok(old)
    }

    fn content(&self, paths: &[PathBuf]) -> Result<Vec<u8>> {
        let mut hash = Sha256::new();
        paths.iter().try_for_each(|path| self.encoding.feed(path, &self.schema, &mut hash))?;
        Ok(hash.finalize().to_vec())
    }
}

impl Compacted {
    fn count(&mut self, joined: &[Entry]) {
        self.files_joined += joined.len();
        self.rows_joined += joined.iter().map(|entry| entry.rows).sum::<u64>();
    }
}

/// Small files beside each other.
struct Group;

impl Group {
    /// Finds the next two or more small files beside each other that together are no longer than `most`, or longer by the last.
    fn next(files: &[Entry], at: usize, most: u64) -> Option<(usize, usize)> {
        // What is nearly as long as it should be stays as it is.
        let is_small = |entry: &Entry| entry.bytes < most / 4 * 3;
        let fits = |one: &Entry, other: &Entry| is_small(one) && is_small(other) && one.bytes + other.bytes <= most;
        let from = (at..files.len().saturating_sub(1)).find(|index| fits(&files[*index], &files[index + 1]))?;
        let length = files[from..].iter().take_while(|entry| is_small(entry)).count();
        Some((from, from + length))
    }

    /// Finds all of them, by the sizes that the files have now.
    fn all(files: &[Entry], most: u64) -> Vec<(usize, usize)> {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some((from, end)) = Self::next(files, at, most) {
            let mut bytes = 0;
            let fitting = files[from..end].iter().take_while(|entry| {
                bytes += entry.bytes;
                bytes <= most
            });
            at = from + fitting.count();
            found.push((from, at));
        }
        found
    }
}

fn bytes(files: &[Entry]) -> u64 {
    files.iter().map(|entry| entry.bytes).sum()
}

/// Returns the name of a file that takes the place of others, of which `last` is the last: no run has used it, and it is
/// sorted where they were.
fn joined_name(last: &str, generation: u32) -> String {
    let stem = Path::new(last).file_stem().unwrap_or_default().to_string_lossy();
    let extension = Path::new(last).extension().unwrap_or_default().to_string_lossy();
    let stem = stem.split_once("-j").map_or(&*stem, |(before, _)| before);
    format!("{stem}-j{generation:05}.{extension}")
}
