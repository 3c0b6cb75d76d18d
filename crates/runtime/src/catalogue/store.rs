//! The file of the catalogue: a redb database with these tables.
//!
//! | Table | Key | Value |
//! | --- | --- | --- |
//! | `meta` | `version`, `next` | the version of what is in here (1); the number of the next run |
//! | `runs` | the number of a run | a [`Run`] |
//! | `logs` | the number of a run | the last of what it said |
//! | `schedules` | `PIPELINE/SCHEDULE` | a [`State`] |
//! | `backfills` | the number of a backfill | a [`Backfill`] without its parts |
//! | `parts` | `BACKFILL/CHUNK`, both as 20 digits | a [`Part`] that is done |
//! | `ledger` | `PIPELINE/SINK/PLACE` | a [`Held`]: what a sink holds; kept when runs are forgotten |
//! | `firings` | `PIPELINE/SCHEDULE/DUE`, the time as 20 digits of microseconds since 1970 | a [`Decided`] |
//!
//! A value, but for those of `meta`, is XXH3-64 of what follows, 8 bytes, least first, and then text: JSON, but for `logs`.
//!
//! redb holds a file for one process, so it is opened for each piece of work, under a lock of our own that is waited for, and
//! closed at once. A process that dies in the middle of one leaves what was there before it. What it changes goes by `disk`,
//! as all that a run changes.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use connectors::{disk, store as files};
use engine::{Code, Error, Result, hostile};
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Backfill, Outcome, Part, Run};
use crate::ledger::{Held, MOST_PLACES};
use crate::schedule::{Decided, State};

/// The version of what is in the file.
const VERSION: u64 = 1;
/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Enough for a catalogue; redb would take a gigabyte.
const CACHE: usize = 8 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RUNS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("runs");
const LOGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("logs");
const SCHEDULES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("schedules");
const FIRINGS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("firings");
// A file of an earlier program gets these when they are first asked for.
const BACKFILLS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("backfills");
const PARTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("parts");
const LEDGER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("ledger");

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Store {
    file: PathBuf,
}

/// Its tables, in the middle of a change. Reading, too, is done in one: it is not committed then.
pub(super) struct Tables<'a> {
    file: &'a Path,
    transaction: &'a redb::WriteTransaction,
}

impl Store {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads; None: there is no file.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Tables<'_>) -> Result<T>) -> Result<Option<T>> {
        if !self.file.exists() {
            return Ok(None);
        }
        self.work(false, work).map(Some)
    }

    /// Changes all that the work changes, or nothing.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Tables<'_>) -> Result<T>) -> Result<T> {
        self.work(true, work)
    }

    fn work<T>(&self, commits: bool, work: impl FnOnce(&Tables<'_>) -> Result<T>) -> Result<T> {
        files::create_folder(self.file.parent().expect("it is in a folder"))?;
        let _lock = self.lock()?;
        let mut outcome = None;
        // The bytes may be anybody's; what a library makes of a damaged file must not end a run.
        let done = hostile::guarded(|| {
            outcome = Some(self.transact(commits, work));
            Ok(())
        });
        match (done, outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(why), _) => Err(self.corrupt(why)),
            (Ok(()), None) => unreachable!("work that is done has an outcome"),
        }
    }

    fn transact<T>(&self, commits: bool, work: impl FnOnce(&Tables<'_>) -> Result<T>) -> Result<T> {
        let database = self.open()?;
        self.check_version(&database)?;
        let transaction = database.begin_write().map_err(|error| self.failed(error))?;
        let tables = Tables { file: &self.file, transaction: &transaction };
        let outcome = work(&tables);
        if commits && outcome.is_ok() {
            transaction.commit().map_err(|error| self.failed(error))?;
        } else {
            transaction.abort().map_err(|error| self.failed(error))?;
        }
        outcome
    }

    fn open(&self) -> Result<Database> {
        let backend = Backend::open(&self.file)
            .map_err(|error| Error::io(format!("cannot open the run catalogue `{}`", self.file.display()), error))?;
        Builder::new().set_cache_size(CACHE).create_with_backend(backend).map_err(|error| self.failed(error))
    }

    fn check_version(&self, database: &Database) -> Result<()> {
        let reading = database.begin_read().map_err(|error| self.failed(error))?;
        let version = match reading.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return self.begin(database),
            Err(error) => return Err(self.failed(error)),
            Ok(table) => table.get("version").map_err(|error| self.failed(error))?.map(|version| version.value()),
        };
        match version {
            Some(VERSION) => Ok(()),
            version => {
                let version = version.map_or_else(|| "none".to_string(), |version| version.to_string());
                let message = format!("the run catalogue `{}` has version {version}", self.file.display());
                Err(Error::new(Code::StateVersion, message)
                    .help("a newer program wrote it; with another `--state-dir` this one has a catalogue of its own"))
            }
        }
    }

    /// Makes the tables of a new file.
    fn begin(&self, database: &Database) -> Result<()> {
        let transaction = database.begin_write().map_err(|error| self.failed(error))?;
        {
            let mut meta = transaction.open_table(META).map_err(|error| self.failed(error))?;
            meta.insert("version", VERSION).map_err(|error| self.failed(error))?;
            meta.insert("next", 1).map_err(|error| self.failed(error))?;
        }
        for table in [RUNS, LOGS] {
            transaction.open_table(table).map_err(|error| self.failed(error))?;
        }
        for table in [SCHEDULES, FIRINGS] {
            transaction.open_table(table).map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))
    }

    /// Takes the file for this process. The lock is another file, since redb may make this one anew.
    fn lock(&self) -> Result<fs::File> {
        let path = self.file.with_extension("lock");
        let began = Instant::now();
        loop {
            let lock = disk::lock(&path)
                .map_err(|error| Error::io(format!("cannot use the run catalogue `{}`", self.file.display()), error))?;
            match lock {
                Some(lock) => return Ok(lock),
                None if began.elapsed() < PATIENCE => {}
                None => {
                    let seconds = PATIENCE.as_secs();
                    let message =
                        format!("another process has held the run catalogue `{}` for {seconds} s", self.file.display());
                    return Err(Error::new(Code::StateBusy, message).help("see whether one hangs, and try again"));
                }
            }
        }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> Error {
        failed(&self.file, error)
    }

    fn corrupt(&self, why: impl std::fmt::Display) -> Error {
        corrupt(&self.file, why)
    }
}

fn failed(file: &Path, error: impl Into<redb::Error>) -> Error {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error.into() {
        redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
            Error::io(format!("cannot use the run catalogue `{}`", file.display()), error)
        }
        redb::Error::UpgradeRequired(version) => {
            let message = format!("the run catalogue `{}` is a file of version {version} of redb", file.display());
            Error::new(Code::StateVersion, message).help("move it away; the next run begins a new one")
        }
        error => corrupt(file, error),
    }
}

fn corrupt(file: &Path, why: impl std::fmt::Display) -> Error {
    Error::new(Code::Corrupt, format!("the run catalogue `{}` is damaged: {why}", file.display()))
        .help("move it away; the next run begins a new one. Results do not depend on it")
}

impl Tables<'_> {
    pub(super) fn next_id(&self) -> Result<u64> {
        let meta = self.transaction.open_table(META).map_err(|error| failed(self.file, error))?;
        let next = meta.get("next").map_err(|error| failed(self.file, error))?;
        next.map(|next| next.value()).ok_or_else(|| corrupt(self.file, "it does not know the next run's number"))
    }

    pub(super) fn set_next_id(&self, id: u64) -> Result<()> {
        let mut meta = self.transaction.open_table(META).map_err(|error| failed(self.file, error))?;
        meta.insert("next", id).map_err(|error| failed(self.file, error))?;
        Ok(())
    }

    pub(super) fn put_run(&self, run: &Run) -> Result<()> {
        self.put(RUNS, run.id, &json(run))
    }

    pub(super) fn run(&self, id: u64) -> Result<Option<Run>> {
        self.get(RUNS, id)?.map(|text| self.parse(&text)).transpose()
    }

    pub(super) fn runs(&self) -> Result<Vec<Run>> {
        let table = self.transaction.open_table(RUNS).map_err(|error| failed(self.file, error))?;
        let mut runs = Vec::new();
        for entry in table.iter().map_err(|error| failed(self.file, error))? {
            let (_, value) = entry.map_err(|error| failed(self.file, error))?;
            runs.push(self.parse(&unsealed(self.file, value.value())?)?);
        }
        Ok(runs)
    }

    pub(super) fn running(&self) -> Result<Vec<Run>> {
        Ok(self.runs()?.into_iter().filter(|run: &Run| run.outcome == Outcome::Running).collect())
    }

    pub(super) fn remove_run(&self, id: u64) -> Result<()> {
        for table in [RUNS, LOGS] {
            let mut table = self.transaction.open_table(table).map_err(|error| failed(self.file, error))?;
            table.remove(id).map_err(|error| failed(self.file, error))?;
        }
        Ok(())
    }

    /// Forgets the oldest runs that are over, until there are no more than so many.
    pub(super) fn forget_runs(&self, most: usize) -> Result<()> {
        let count = {
            let table = self.transaction.open_table(RUNS).map_err(|error| failed(self.file, error))?;
            table.len().map_err(|error| failed(self.file, error))? as usize
        };
        if count <= most {
            return Ok(());
        }
        let over = self.runs()?.into_iter().filter(|run| run.outcome != Outcome::Running);
        let ids: Vec<u64> = over.take(count - most).map(|run| run.id).collect();
        ids.into_iter().try_for_each(|id| self.remove_run(id))
    }

    pub(super) fn put_log(&self, id: u64, text: &str) -> Result<()> {
        self.put(LOGS, id, text)
    }

    pub(super) fn log(&self, id: u64) -> Result<Option<String>> {
        self.get(LOGS, id)
    }

    pub(super) fn schedule(&self, pipeline: &str, schedule: &str) -> Result<Option<State>> {
        let found = self.get(SCHEDULES, format!("{pipeline}/{schedule}").as_str())?;
        found.map(|text| self.parse(&text)).transpose()
    }

    pub(super) fn put_schedule(&self, pipeline: &str, schedule: &str, state: &State) -> Result<()> {
        self.put(SCHEDULES, format!("{pipeline}/{schedule}").as_str(), &json(state))
    }

    pub(super) fn put_firing(&self, pipeline: &str, schedule: &str, firing: &Decided) -> Result<()> {
        self.put(FIRINGS, firing_key(pipeline, schedule, firing.due).as_str(), &json(firing))
    }

    pub(super) fn firings(&self, pipeline: &str, schedule: &str) -> Result<Vec<Decided>> {
        let table = self.transaction.open_table(FIRINGS).map_err(|error| failed(self.file, error))?;
        let [first, last] = [0, i64::MAX].map(|due| firing_key(pipeline, schedule, due));
        let mut firings = Vec::new();
        for entry in table.range(first.as_str()..=last.as_str()).map_err(|error| failed(self.file, error))? {
            let (_, value) = entry.map_err(|error| failed(self.file, error))?;
            firings.push(self.parse(&unsealed(self.file, value.value())?)?);
        }
        Ok(firings)
    }

    /// Forgets firings of a schedule until there are no more than so many: first those that a clock has decided that was
    /// ahead, then the oldest. Otherwise a new one could be the oldest, be forgotten, and be due again for ever.
    pub(super) fn forget_firings(&self, pipeline: &str, schedule: &str, most: usize, now: i64) -> Result<()> {
        let firings = self.firings(pipeline, schedule)?;
        let excess = firings.len().saturating_sub(most);
        let ahead = firings.iter().rev().filter(|firing| firing.due > now);
        let oldest = firings.iter().filter(|firing| firing.due <= now);
        let mut table = self.transaction.open_table(FIRINGS).map_err(|error| failed(self.file, error))?;
        for firing in ahead.chain(oldest).take(excess) {
            let key = firing_key(pipeline, schedule, firing.due);
            table.remove(key.as_str()).map_err(|error| failed(self.file, error))?;
        }
        Ok(())
    }

    pub(super) fn put_backfill(&self, backfill: &Backfill) -> Result<()> {
        self.put(BACKFILLS, backfill.id, &json(&Backfill { parts: Vec::new(), ..backfill.clone() }))
    }

    pub(super) fn backfills(&self) -> Result<Vec<Backfill>> {
        let table = self.transaction.open_table(BACKFILLS).map_err(|error| failed(self.file, error))?;
        let mut backfills = Vec::new();
        for entry in table.iter().map_err(|error| failed(self.file, error))? {
            let (_, value) = entry.map_err(|error| failed(self.file, error))?;
            backfills.push(self.parse(&unsealed(self.file, value.value())?)?);
        }
        Ok(backfills)
    }

    pub(super) fn put_part(&self, backfill: u64, part: &Part) -> Result<()> {
        self.put(PARTS, part_key(backfill, part.number).as_str(), &json(part))
    }

    pub(super) fn parts(&self, backfill: u64) -> Result<Vec<Part>> {
        let table = self.transaction.open_table(PARTS).map_err(|error| failed(self.file, error))?;
        let [first, last] = [0, u64::MAX].map(|number| part_key(backfill, number));
        let mut parts = Vec::new();
        for entry in table.range(first.as_str()..=last.as_str()).map_err(|error| failed(self.file, error))? {
            let (_, value) = entry.map_err(|error| failed(self.file, error))?;
            parts.push(self.parse(&unsealed(self.file, value.value())?)?);
        }
        Ok(parts)
    }

    pub(super) fn remove_backfill(&self, id: u64) -> Result<()> {
        let parts = self.parts(id)?;
        let mut table = self.transaction.open_table(PARTS).map_err(|error| failed(self.file, error))?;
        for part in parts {
            table.remove(part_key(id, part.number).as_str()).map_err(|error| failed(self.file, error))?;
        }
        let mut table = self.transaction.open_table(BACKFILLS).map_err(|error| failed(self.file, error))?;
        table.remove(id).map_err(|error| failed(self.file, error))?;
        Ok(())
    }

    pub(super) fn held(&self, pipeline: &str, sink: &str, place: &str) -> Result<Held> {
        let found = self.get(LEDGER, format!("{pipeline}/{sink}/{place}").as_str())?;
        found.map_or_else(|| Ok(Held::default()), |text| self.parse(&text))
    }

    pub(super) fn put_held(&self, pipeline: &str, sink: &str, place: &str, held: &Held) -> Result<()> {
        self.put(LEDGER, format!("{pipeline}/{sink}/{place}").as_str(), &json(held))?;
        self.forget_places(&format!("{pipeline}/{sink}/"))
    }

    /// Forgets the place that was written longest ago, where there are too many of a sink.
    fn forget_places(&self, prefix: &str) -> Result<()> {
        let mut table = self.transaction.open_table(LEDGER).map_err(|error| failed(self.file, error))?;
        let mut places: Vec<(Option<u64>, String)> = Vec::new();
        for entry in table.range(prefix..).map_err(|error| failed(self.file, error))? {
            let (key, value) = entry.map_err(|error| failed(self.file, error))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let held: Held = self.parse(&unsealed(self.file, value.value())?)?;
            places.push((held.last_run(), key.value().to_string()));
        }
        places.sort_unstable();
        for (_, place) in places.iter().take(places.len().saturating_sub(MOST_PLACES)) {
            table.remove(place.as_str()).map_err(|error| failed(self.file, error))?;
        }
        Ok(())
    }

    fn put<'k, K: redb::Key + 'static>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'k>,
        text: &str,
    ) -> Result<()> {
        let mut table = self.transaction.open_table(table).map_err(|error| failed(self.file, error))?;
        table.insert(key, sealed(text).as_slice()).map_err(|error| failed(self.file, error))?;
        Ok(())
    }

    fn get<'k, K: redb::Key + 'static>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'k>,
    ) -> Result<Option<String>> {
        let table = self.transaction.open_table(table).map_err(|error| failed(self.file, error))?;
        let value = table.get(key).map_err(|error| failed(self.file, error))?;
        value.map(|value| unsealed(self.file, value.value())).transpose()
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| corrupt(self.file, error))
    }
}

fn firing_key(pipeline: &str, schedule: &str, due: i64) -> String {
    format!("{pipeline}/{schedule}/{:020}", due.max(0))
}

fn part_key(backfill: u64, number: u64) -> String {
    format!("{backfill:020}/{number:020}")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a record is JSON")
}

fn sealed(text: &str) -> Vec<u8> {
    let sum = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
    [&sum.to_le_bytes(), text.as_bytes()].concat()
}

fn unsealed(file: &Path, bytes: &[u8]) -> Result<String> {
    let parts = bytes.split_at_checked(8);
    let whole = parts.filter(|(sum, text)| xxhash_rust::xxh3::xxh3_64(text).to_le_bytes() == **sum);
    let text = whole.and_then(|(_, text)| String::from_utf8(text.to_vec()).ok());
    text.ok_or_else(|| corrupt(file, "a record is not what was written"))
}

/// The file as redb reads and changes it.
#[derive(Debug)]
struct Backend(Mutex<disk::File>);

impl Backend {
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let file = disk::File::edit(path)?;
        if is_new {
            disk::sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        Ok(Self(Mutex::new(file)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut disk::File) -> io::Result<T>) -> io::Result<T> {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.size())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file| file.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|file| file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(data)
        })
    }
}
