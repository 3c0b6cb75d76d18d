//! A folder of files with rows: parquet, jsonl and csv alike.
//!
//! ```text
//! _manifest.json                    what is committed
//! part-00001-0000000007.parquet     final rows of generation 1, epoch 7; of several files of it the first is
//! part-00001-0000000007-00000.parquet
//! part-00001-0000000007-j00002.parquet     files up to that one, written as one by `compact`
//! open-00001-0000000007.parquet     open rows, replaced as a set by the next commit
//! .lock                             held by the run that writes here
//! .range                            held by a run over a range that replaces rows beside a stream
//! .turn                             held by either while it commits
//! _staged.range, _staged-00001.range       rows of such a run on the way
//! _staged.part, _staged-00001.part, _staged.joined, _part-….parquet     on the way: readers of `*.parquet` do not see them
//! ```
//!
//! A commit: staged files are synced and get their name behind a `_`; the manifest is replaced (from here on the rows
//! count); the `_` goes; files that the manifest no longer names are removed. After a crash the next start finishes what
//! the manifest names and removes what it does not. Only a start and a commit that replaces look at the whole folder:
//! a stream that commits every two seconds for a day touches its own files alone.
//!
//! A run over a range beside a stream commits between two commits of the stream. Each begins with the manifest as it is
//! on disk, so what the other one has done meanwhile stays; what it was about to do when it was killed is finished or removed.
//!
//! So that such a day does not end in tens of thousands of files, a commit that finds many small ones of final rows before
//! it writes their rows and its own as one, in the same order. The old files go once the manifest names the new one; who
//! reads the folder without its manifest at that very moment may see both, or miss a file that it has listed.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::Replace;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};

use super::files;
use super::manifest::{Entry, Manifest};
use super::once::{Commit, Held, Place, begun_anew};
use super::rows::{Encoding, Span, WindowRange, column_names, conform, written_schema};
use crate::store;

mod compact;
mod stage;
#[cfg(test)]
mod tests;

pub use compact::{Compacted, compact};
use stage::{Full, Stage};
pub(crate) use stage::{ROLL_BYTES, ROLL_ROWS, Roll};

const MANIFEST: &str = "_manifest.json";
const LOCK: &str = ".lock";
const RANGE_LOCK: &str = ".range";
const TURN: &str = ".turn";

/// What the names of staged files end with: of final rows, of open ones, and of a run beside a stream.
const PART: &str = "part";
const OPEN: &str = "open";
const RANGE: &str = "range";

/// A file is small with fewer bytes and fewer rows than these.
const SMALL_BYTES: u64 = 8 * 1024 * 1024;
const SMALL_ROWS: u64 = 64 * 1024;

/// So many small files at the end of the manifest stay as they are.
const SMALL_FILES: usize = 64;

/// Bytes that one commit writes anew at most, so that it does not keep a stream waiting.
const JOINED_BYTES: u64 = 64 * 1024 * 1024;

/// A folder of files of one kind.
pub(crate) struct FolderSink {
    folder: PathBuf,
    /// Held from `begin` on.
    lock: Option<File>,
    /// Whether it is a stream's folder in which this run replaces a range.
    is_beside: bool,
    encoding: &'static dyn Encoding,
    schema: SchemaRef,
    columns: Vec<String>,
    /// What is committed, and from the first commit on by this run.
    manifest: Manifest,
    generation: u32,
    /// Open rows of other runs, outside the range that this one replaces.
    kept_open: Vec<Entry>,
    roll: Roll,
    staged: Stage,
    staged_open: Stage,
}

impl FolderSink {
    /// Makes the sink; touches nothing yet.
    pub(crate) fn new(plan: &SinkPlan, folder: PathBuf, encoding: &'static dyn Encoding) -> Result<Self> {
        let columns = column_names(plan);
        Ok(Self {
            folder,
            lock: None,
            is_beside: false,
            encoding,
            schema: written_schema(plan),
            manifest: Manifest::empty(encoding.extension(), columns.clone()),
            columns,
            generation: 0,
            kept_open: Vec::new(),
            roll: Roll::of(plan)?,
            staged: Stage::new(PART),
            staged_open: Stage::new(OPEN),
        })
    }

    /// Takes a lock of the folder for this run.
    fn take(&mut self, lock: &str) -> Result<()> {
        if self.lock.is_none() {
            self.lock = Some(files::lock(&self.folder.join(lock), &self.folder)?);
        }
        Ok(())
    }

    /// Waits until no other run is in the middle of a commit, and lets none begin until the returned file is dropped.
    fn turn(&self) -> Result<File> {
        files::turn(&self.folder.join(TURN), &self.folder)
    }

    /// Begins a commit with what is there: another run may have committed since this one did.
    fn refresh(&mut self) -> Result<()> {
        let found = Manifest::read(&self.manifest_path())?;
        if let Some(found) = found.filter(|found| *found != self.manifest) {
            self.generation = self.generation.max(found.generation + 1);
            self.manifest = found;
            self.tidy(true)?;
        }
        Ok(())
    }

    /// The same, of a run beside the stream whose job that is: its rows must be there up to the end of the range.
    fn refresh_beside(&mut self, job: &str, range: &WindowRange) -> Result<()> {
        match Manifest::read(&self.manifest_path())? {
            Some(found) if found.job.as_deref() == Some(job) && found.settled >= range.to => self.manifest = found,
            _ => return Err(begun_anew(&self.folder.display().to_string())),
        }
        self.generation = self.manifest.generation + 1;
        self.tidy(true)?;
        self.check_held(Some(range))
    }

    fn new_stages(&self) -> (Stage, Stage) {
        (Stage::new(if self.is_beside { RANGE } else { PART }), Stage::new(OPEN))
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    /// Gives the files that the manifest names their names, removes those that only a sink makes and that it does not
    /// name, and returns other files that a reader would take for rows. Staged files are left where a run is making them.
    fn tidy(&self, is_staging: bool) -> Result<Vec<String>> {
        let named: BTreeSet<&str> =
            self.manifest.files.iter().chain(&self.manifest.open).map(|entry| entry.name.as_str()).collect();
        let mut foreign = Vec::new();
        for entry in files::names(&self.folder)? {
            if let Some(name) = entry.strip_prefix('_').filter(|name| named.contains(name)) {
                files::rename(&self.folder.join(&entry), &self.folder.join(name))?;
            } else if is_ours(&entry) && !named.contains(entry.as_str()) && !(is_staging && Stage::is_name(&entry)) {
                files::remove(&self.folder.join(&entry))?;
            } else if is_data(&entry, self.encoding.extension()) && !named.contains(entry.as_str()) {
                foreign.push(entry);
            }
        }
        store::sync_folder(&self.folder)?;
        Ok(foreign)
    }

    /// Gives the files of a commit, which only adds, their names and removes those that they stand for.
    fn settle(&self, before: &Manifest) -> Result<()> {
        fn entries(manifest: &Manifest) -> impl Iterator<Item = &Entry> {
            manifest.files.iter().chain(&manifest.open)
        }
        // Manifests are short: small files are joined, and of large ones there are not many.
        let old: BTreeSet<&str> = entries(before).map(|entry| entry.name.as_str()).collect();
        let new: BTreeSet<&str> = entries(&self.manifest).map(|entry| entry.name.as_str()).collect();
        for name in new.difference(&old) {
            files::rename(&self.folder.join(format!("_{name}")), &self.folder.join(name))?;
        }
        for name in old.difference(&new) {
            files::remove(&self.folder.join(name))?;
        }
        store::sync_folder(&self.folder)
    }

    /// Returns how many of the last files are to be joined with the rows of this commit.
    fn to_join(&self) -> usize {
        let most = JOINED_BYTES.min(self.roll.bytes);
        let is_small = |entry: &&Entry| entry.bytes < SMALL_BYTES.min(most) && entry.rows < SMALL_ROWS;
        let newest_first = || self.manifest.files.iter().rev().take_while(is_small);
        if newest_first().count() <= SMALL_FILES {
            return 0;
        }
        let (mut bytes, mut rows) = (0, 0);
        newest_first()
            .take_while(|entry| {
                (bytes, rows) = (bytes + entry.bytes, rows + entry.rows);
                bytes <= most && rows <= self.roll.rows
            })
            .count()
    }

    /// Writes the rows of the last `count` files and a staged one as one file, and takes the old ones off the list.
    fn join(&self, count: usize, staged: Full, files: &mut Vec<Entry>) -> Result<Full> {
        let Full { path: last, mut span, .. } = staged;
        let old = files.split_off(files.len() - count);
        let mut paths: Vec<PathBuf> = old.iter().map(|entry| self.folder.join(&entry.name)).collect();
        paths.push(last.clone());
        let path = self.folder.join("_staged.joined");
        let (file, _) = self.encoding.join(&paths, files::create(&path)?, &self.schema, u64::MAX)?;
        files::remove(&last)?;
        old.iter().for_each(|entry| span.merge(entry.span()));
        Ok(Full { file, path, span })
    }

    /// Refuses to write among files that a reader of the folder would take for results.
    fn must_be_ours(&self, foreign: &[String]) -> Result<()> {
        let Some(name) = foreign.first() else { return Ok(()) };
        let message = format!("{} holds {name}, which no sink wrote", self.folder.display());
        Err(Error::new(Code::Target, message)
            .help("a reader of the folder would take it for results; move it away or write to another path"))
    }

    /// Checks that rows can be added to those that are there.
    fn check_held(&self, range: Option<&WindowRange>) -> Result<()> {
        self.manifest.must_fit(self.encoding.extension(), &self.columns, &self.folder)?;
        for entry in self.manifest.files.iter().chain(&self.manifest.open) {
            if !self.folder.join(&entry.name).exists() {
                let message = format!("{} names {}, which is gone", self.manifest_path().display(), entry.name);
                return Err(Error::new(Code::Corrupt, message)
                    .help("run from the start without --from and --to, which replaces all rows"));
            }
            if range.is_some() && entry.rows > 0 && entry.windows.is_none() {
                return Err(no_window_start(&self.folder));
            }
        }
        Ok(())
    }

    /// Puts a staged file, synced, under its name behind a `_`.
    fn seal(&self, staged: Full, name: String) -> Result<Entry> {
        let bytes = files::sync(&staged.file, &staged.path)?;
        files::rename(&staged.path, &self.folder.join(format!("_{name}")))?;
        Ok(Entry::new(name, bytes, staged.span))
    }

    /// Puts the staged files of an epoch under their names behind a `_`: with a number each if there are several.
    fn seal_all(&self, staged: Vec<Full>, prefix: &str, epoch: u64) -> Result<Vec<Entry>> {
        let is_one = staged.len() == 1;
        let number = |index: usize| if is_one { String::new() } else { format!("-{index:05}") };
        let seal = |(index, full)| self.seal(full, self.name(prefix, epoch, &number(index)));
        staged.into_iter().enumerate().map(seal).collect()
    }

    fn name(&self, prefix: &str, epoch: u64, number: &str) -> String {
        format!("{prefix}-{:05}-{epoch:010}{number}.{}", self.generation, self.encoding.extension())
    }

    /// Returns what the manifest keeps of the entries when a range is replaced: files that meet the range are rewritten.
    fn keep_outside(&self, entries: &[Entry], range: &WindowRange, prefix: &str) -> Result<Vec<Entry>> {
        let mut kept = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if !entry.span().meets(range) {
                kept.push(entry.clone());
            } else if !entry.span().is_inside(range) {
                let name = format!("{prefix}-{:05}-kept-{index:05}.{}", self.generation, self.encoding.extension());
                let path = self.folder.join(format!("_{name}"));
                let file = files::create(&path)?;
                let handle = file.try_clone().map_err(|error| Error::io(path.display(), error))?;
                let span = self.encoding.copy_outside(&self.folder.join(&entry.name), file, &self.schema, range)?;
                let bytes = files::sync(&handle, &path)?;
                match span.rows {
                    0 => files::remove(&path)?,
                    _ => kept.push(Entry::new(name, bytes, span)),
                }
            }
        }
        Ok(kept)
    }

    /// Returns the entries that stay when this run commits, before its own are added.
    fn base(&mut self, first: Option<Replace>) -> Result<Vec<Entry>> {
        match first {
            None => Ok(self.manifest.files.clone()),
            Some(Replace::All) => Ok(Vec::new()),
            Some(Replace::Nothing) => Ok(self.manifest.files.clone()),
            Some(Replace::Range(from, to)) => {
                let range = WindowRange { from, to };
                self.kept_open = self.keep_outside(&self.manifest.open, &range, "open")?;
                self.keep_outside(&self.manifest.files, &range, "part")
            }
        }
    }

    /// Returns the path of the first staged file, which is there as soon as a run has begun.
    fn probe(&self) -> PathBuf {
        self.folder.join(format!("_staged.{}", if self.is_beside { RANGE } else { PART }))
    }

    /// Makes a file without rows, so that a reader of the folder finds the columns.
    fn empty_file(&self, name: String) -> Result<Entry> {
        let path = self.probe();
        let file = self.encoding.append(files::create(&path)?, &self.schema)?.finish()?;
        self.seal(Full { file, path, span: Span::default() }, name)
    }
}

impl Place for FolderSink {
    fn held(&mut self) -> Result<Held> {
        Manifest::held_at(&self.manifest_path())
    }

    fn begin(&mut self, replace: Replace) -> Result<Held> {
        store::create_folder(&self.folder)?;
        self.take(LOCK)?;
        let _turn = self.turn()?;
        if let Some(manifest) = Manifest::read(&self.manifest_path())? {
            self.manifest = manifest;
        }
        let foreign = self.tidy(false)?;
        self.must_be_ours(&foreign)?;
        match replace {
            Replace::All => {}
            Replace::Nothing => self.check_held(None)?,
            Replace::Range(from, to) => self.check_held(Some(&WindowRange { from, to }))?,
        }
        files::create(&self.probe())?;
        self.generation = self.manifest.generation + 1;
        Ok(self.manifest.held())
    }

    fn seen(&mut self) -> Result<Held> {
        self.held()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn begin_beside(&mut self) -> Result<()> {
        self.is_beside = true;
        self.take(RANGE_LOCK)?;
        (self.staged, self.staged_open) = self.new_stages();
        // Nobody else has the lock: what is there is of a run that is no more.
        for name in files::names(&self.folder)?.iter().filter(|name| Stage::is_beside(name)) {
            files::remove(&self.folder.join(name))?;
        }
        let _turn = self.turn()?;
        if let Some(manifest) = Manifest::read(&self.manifest_path())? {
            self.manifest = manifest;
        }
        // The stream may have been killed in the middle of a commit.
        self.tidy(true)?;
        self.check_held(Some(&WindowRange { from: None, to: None }))?;
        files::create(&self.probe())?;
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = conform(rows, &self.schema)?;
        let staged = if is_open { &mut self.staged_open } else { &mut self.staged };
        staged.add(&rows, &self.folder, self.encoding, &self.schema, self.roll)
    }

    fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.staged_open.is_empty() && self.manifest.open == self.kept_open
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let epoch = commit.epoch;
        let _turn = self.turn()?;
        match (&commit.beside, &commit.range) {
            (Some(job), Some(range)) => self.refresh_beside(job, range)?,
            _ => self.refresh()?,
        }
        let (part, open) = self.new_stages();
        let staged = std::mem::replace(&mut self.staged, part);
        let staged_open = std::mem::replace(&mut self.staged_open, open);
        let mut manifest = Manifest {
            generation: self.generation,
            files: self.base(commit.first)?,
            open: self.kept_open.clone(),
            ..Manifest::empty(self.encoding.extension(), self.columns.clone())
        }
        .marked(commit, &self.manifest);
        // What a run replaces with its first commit is not joined too.
        let to_join = if commit.first.is_none() { self.to_join() } else { 0 };
        let mut staged = staged.finish()?;
        if to_join > 0 && staged.len() == 1 {
            let last = staged.remove(0);
            staged.push(self.join(to_join, last, &mut manifest.files)?);
        }
        manifest.files.extend(self.seal_all(staged, "part", epoch)?);
        manifest.open.extend(self.seal_all(staged_open.finish()?, "open", epoch)?);
        if manifest.files.is_empty() && manifest.open.is_empty() {
            manifest.files.push(self.empty_file(self.name("part", epoch, ""))?);
        }
        store::sync_folder(&self.folder)?;
        manifest.write(&self.manifest_path())?;
        let before = std::mem::replace(&mut self.manifest, manifest);
        match commit.first {
            None => self.settle(&before),
            Some(_) => self.tidy(self.is_beside).map(|_| ()),
        }
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = self.new_stages();
    }

    fn describe(&self) -> String {
        format!("{} files in {}", self.encoding.extension(), self.folder.display())
    }
}

/// Returns true for names that only a sink gives: its files on the way, and those of runs that the manifest forgot.
fn is_ours(name: &str) -> bool {
    if Stage::is_name(name) || name == "._manifest.json.tmp" {
        return true;
    }
    let name = name.strip_prefix('_').unwrap_or(name);
    let Some((rest, extension)) = name.rsplit_once('.') else { return false };
    let digits = |text: &str, count: usize| text.len() >= count && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut words: Vec<&str> = rest.split('-').collect();
    if words.last().and_then(|word| word.strip_prefix('j')).is_some_and(|generation| digits(generation, 5)) {
        words.pop();
    }
    super::is_file_kind(extension)
        && match words[..] {
            ["part" | "open", generation, epoch] => digits(generation, 5) && digits(epoch, 10),
            ["part" | "open", generation, epoch, number] => {
                digits(generation, 5) && (epoch == "kept" || digits(epoch, 10)) && digits(number, 5)
            }
            _ => false,
        }
}

/// Returns true for names that a reader of `*.<extension>` takes.
fn is_data(name: &str, extension: &str) -> bool {
    !name.starts_with(['.', '_']) && name.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// The error of a range asked of rows that have no `window_start`.
pub(super) fn no_window_start(place: &Path) -> Error {
    Error::new(
        Code::Unsupported,
        format!("{} holds rows without `window_start`, so a range of them cannot be replaced", place.display()),
    )
    .help("write the range elsewhere with --out DIR, or run without --from and --to")
}
