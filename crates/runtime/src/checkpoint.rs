//! Checkpoints: how a stream that ends in any way goes on as if it had not.
//!
//! A job's checkpoints are a line of numbered manifests. Number `n` holds the offsets and running maxima, the state as
//! tables, what was counted and digested, and the *outbox*: the rows that the sinks are to publish as epoch `n`. The
//! order is what makes it exact:
//!
//! 1. what was emitted since checkpoint `n − 1`, and the parts of the state that changed, are written to a data file;
//! 2. manifest `n` is created, unless somebody else has made one of that number: from here on checkpoint `n` counts;
//! 3. each sink publishes epoch `n`, and keeps that number where its rows are.
//!
//! A later start reads the newest manifest, asks each sink for the last epoch that it has published, and gives it the outboxes
//! after that one. So a row is published once, wherever a process ends between these steps (`faults.md` 5.1).
//!
//! A part that did not change stays in the data file of an earlier checkpoint. A data file is removed when no manifest that is
//! kept speaks of it; so that this comes to pass, tables are carried on out of files of which little is needed (`carry`).

pub(crate) mod blob;
mod definition;
mod manifest;
mod place;
pub mod remote;
pub mod saved;
pub mod store;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use connectors::point;
use connectors::sink::token;
use engine::plan::{Plan, SourcePlan};
use engine::{Code, Engine, Error, Part, Result, State, hostile};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::blob::Blob;
pub use self::manifest::{Forked, Manifest, OutboxEntry, PartitionMark, RowsKind, SinkMark};
use self::manifest::{PartEntry, TallyRecord};
pub use self::place::Place;
use self::store::{Store, Upload};
use crate::driver::PartitionState;
use crate::identity;
use crate::spill::{Budget, Piece, Spill};
use crate::tally::Tally;

/// How many checkpoints are kept: the newest, and some in case a sink lost what it had acknowledged.
const KEPT: usize = 3;

/// How many tables of a state are packed, and held so, at once.
const AT_ONCE: usize = 32;

/// So many bytes a checkpoint may carry on however little it writes: what takes a moment.
const CARRIED: u64 = 16 << 20;

/// The object that holds what sinks have published which do not keep that themselves.
const TOLD: &str = "told.json";

#[derive(Serialize, Deserialize)]
struct Told {
    job: String,
    sinks: BTreeMap<String, u64>,
}

/// What a stream is at a moment.
pub struct Checkpoint {
    /// By source, how far each partition was read.
    pub partitions: Vec<Vec<PartitionState>>,
    /// What was counted and digested since the start offsets, without the rows of an end of input.
    pub tally: Tally,
    /// The state.
    pub parts: Vec<Part>,
    /// Parts of it that lie elsewhere, to stay within a budget of memory.
    pub pieces: Vec<Piece>,
    /// All of it that does not lie elsewhere, where [`crate::Settings::compares`] asks for it.
    pub whole: Option<Vec<Part>>,
}

/// What a stream goes on from.
pub struct Resumed {
    /// By source, how far each partition was read.
    pub partitions: Vec<Vec<PartitionState>>,
    /// What was counted and digested since the start offsets.
    pub tally: Tally,
    /// The state.
    pub state: State,
    /// Parts of it that lie elsewhere, to stay within a budget of memory.
    pub spill: Spill,
}

/// The checkpoints of a job, one after the other.
pub struct Line {
    store: Box<dyn Store>,
    job: String,
    definition: String,
    pipeline: String,
    /// The checkpoints of this job that are there, oldest first.
    kept: Vec<Manifest>,
    /// How many bytes each object had when the last checkpoint was made, or the line was opened.
    sizes: BTreeMap<String, u64>,
    /// How many bytes a checkpoint may carry on however little it writes.
    carried: u64,
    /// The number of the next checkpoint.
    next: u64,
    /// What tells this process from others that may write to the same place.
    owner: String,
    /// The data file of the next checkpoint, once something is in it.
    upload: Option<Box<dyn Upload>>,
    written: u64,
    outbox: Vec<OutboxEntry>,
    /// By source, the id of its log, for those that have one.
    ids: BTreeMap<String, String>,
    places: BTreeMap<String, String>,
    forked: Option<Forked>,
}

impl Line {
    /// Opens the line of a pipeline. What it finds is what a start goes on from, unless it is to be a fresh one.
    pub fn open(store: Box<dyn Store>, plan: &Plan, fresh: bool) -> Result<Self> {
        store.tidy()?;
        let sizes = store.sizes()?;
        let names: Vec<String> = sizes.keys().filter(|name| manifest::number_of(name).is_some()).cloned().collect();
        let newest = names.last().and_then(|name| manifest::number_of(name)).unwrap_or(0);
        let mut kept = Vec::new();
        if !fresh {
            for name in names.iter().rev() {
                let found = match Manifest::read(&*store, name) {
                    // It was just listed: another run goes on here, and needs it no more.
                    Err(error) if error.code == Code::NotFound => match kept.is_empty() {
                        true => return Err(at_work(plan, &*store)),
                        false => break,
                    },
                    found => found?,
                };
                let is_of_line = kept.first().is_none_or(|next: &Manifest| next.job == found.job);
                if !is_of_line || kept.len() == KEPT {
                    break;
                }
                kept.insert(0, found);
            }
        }
        if let Some(last) = kept.last() {
            must_be_of(last, plan, &*store)?;
        }
        let job = kept.last().map_or_else(token, |last| last.job.clone());
        let forked = kept.last().and_then(|last| last.forked.clone());
        Ok(Self {
            store,
            job,
            definition: plan.definition.clone(),
            pipeline: plan.name.clone(),
            kept,
            sizes,
            carried: CARRIED,
            next: newest + 1,
            owner: token(),
            upload: None,
            written: 0,
            outbox: Vec::new(),
            ids: BTreeMap::new(),
            places: BTreeMap::new(),
            forked,
        })
    }

    /// Sets how many bytes a checkpoint may carry on however little it writes. It changes where things lie, and nothing else.
    pub fn carrying(self, bytes: u64) -> Self {
        Self { carried: bytes, ..self }
    }

    /// Notes the ids of the logs that are read. Logs of the same names that were made anew are refused.
    pub fn reads(&mut self, ids: BTreeMap<String, String>) -> Result<()> {
        let before = self.kept.last().into_iter().flat_map(|last| &last.ids);
        for (source, then) in before {
            let now = ids.get(source);
            if now != Some(then) {
                return Err(identity::made_anew(source, then, now.map(String::as_str)));
            }
        }
        self.ids = ids;
        Ok(())
    }

    /// Returns what tells this job from others that wrote to the same sinks.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Notes where the rows of the pipeline's own sinks are. A fork must not write where the job does that it was forked from.
    pub fn goes_to(&mut self, places: BTreeMap<String, String>) -> Result<()> {
        let theirs = self.forked.iter().flat_map(|forked| &forked.places);
        let taken = theirs.filter(|(_, place)| *place != "standard output");
        let taken =
            taken.filter_map(|(sink, place)| places.iter().find(|(_, mine)| *mine == place).map(|_| (sink, place)));
        if let Some((sink, place)) = taken.min() {
            let message = format!("{place} holds what sink `{sink}` of the job wrote that this one was forked from");
            return Err(Error::new(Code::Target, message).help("give the fork places of its own: `--out DIR`"));
        }
        self.places = places;
        Ok(())
    }

    /// Returns the number of the next checkpoint.
    pub fn number(&self) -> u64 {
        self.next
    }

    /// Returns the epochs up to which sinks that keep none themselves have published.
    pub fn told(&self) -> Result<BTreeMap<String, u64>> {
        match self.store.read(TOLD, None) {
            Err(error) if error.code == Code::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
            Ok(bytes) => match serde_json::from_slice::<Told>(&bytes) {
                Ok(told) if told.job == self.job => Ok(told.sinks),
                Ok(_) => Ok(BTreeMap::new()),
                Err(error) => Err(Error::new(Code::Corrupt, format!("{TOLD} in {}: {error}", self.store.describe()))),
            },
        }
    }

    /// Notes the epochs up to which sinks that keep none themselves have published.
    pub fn tell(&self, sinks: BTreeMap<String, u64>) -> Result<()> {
        let told = Told { job: self.job.clone(), sinks };
        self.store.replace(TOLD, &serde_json::to_vec(&told).expect("names and numbers are JSON"))
    }

    /// Returns the newest checkpoint.
    pub fn last(&self) -> Option<&Manifest> {
        self.kept.last()
    }

    /// Returns what a stream goes on from; None: there is no checkpoint.
    pub fn resume(&self, engine: &Engine, budget: Option<&Budget>) -> Result<Option<Resumed>> {
        let Some(last) = self.kept.last() else { return Ok(None) };
        // Whoever can write a checkpoint can write its sums, too: what cannot be taken in is damage all the same.
        let resumed = hostile::guarded(|| Ok(self.resumed(last, engine, budget)));
        let resumed = resumed.unwrap_or_else(|why| Err(last.damaged(&*self.store, &why)));
        // Another run may have gone on meanwhile, and have removed what it needs no more: nothing is damaged then.
        resumed.map_err(|error| self.or_left_behind(error))
    }

    fn resumed(&self, last: &Manifest, engine: &Engine, budget: Option<&Budget>) -> Result<Option<Resumed>> {
        let (mut state, mut spill) = (engine.empty(), Spill::new(budget));
        for entry in last.parts.iter().rev() {
            let tables = entry.tables.iter().map(|blob| blob.read(&*self.store));
            spill.restore(engine, &mut state, entry.name.clone().into(), tables, |error| {
                last.damaged(&*self.store, &error.message)
            })?;
        }
        let plan = engine.plan();
        let partitions = plan.sources.iter().map(|source| {
            let marks = last.sources.get(&source.name).into_iter().flatten();
            marks.map(PartitionMark::state).collect()
        });
        let damaged = |what: &str| last.damaged(&*self.store, what);
        Ok(Some(Resumed {
            partitions: partitions.collect(),
            tally: last.tally.tally(plan).ok_or_else(|| damaged("its counts do not fit the pipeline"))?,
            state,
            spill,
        }))
    }

    /// Returns the outboxes that a sink lacks which has published up to `published`, by epoch; None: they are no longer kept.
    /// A sink does not note epochs in which there was nothing for it, so these are not missed.
    pub fn outboxes_after(&self, sink: &str, published: u64) -> Option<Vec<(u64, &[OutboxEntry])>> {
        let first = self.kept.first()?;
        let had_before = |mark: &SinkMark| if mark.epoch == first.number { mark.before } else { Some(mark.epoch) };
        let is_whole = first.number <= published + 1
            || first.is_first
            || first.sinks.get(sink).and_then(had_before).is_some_and(|before| before <= published);
        let missing = self.kept.iter().filter(|manifest| manifest.number > published);
        is_whole.then(|| missing.map(|manifest| (manifest.number, manifest.outbox.as_slice())).collect())
    }

    /// Returns the rows of an outbox's entry.
    pub fn rows(&self, entry: &OutboxEntry) -> Result<RecordBatch> {
        entry.rows.read(&*self.store).map_err(|error| self.or_left_behind(error))
    }

    /// Puts rows into the outbox of the next checkpoint. `input` is what a pipeline file calls where they come from.
    pub fn put(&mut self, kind: RowsKind, input: &str, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            let rows = self.write_blob(rows)?;
            self.outbox.push(OutboxEntry { input: input.to_string(), kind, rows });
        }
        Ok(())
    }

    /// Makes a checkpoint, and returns its number.
    pub fn keep(&mut self, plan: &Plan, checkpoint: Checkpoint, sinks: BTreeMap<String, SinkMark>) -> Result<u64> {
        let before: BTreeMap<_, PartEntry> = match self.kept.last() {
            Some(last) => last.parts.iter().map(|part| (part.name.clone(), part.clone())).collect(),
            None => BTreeMap::new(),
        };
        let mut parts = Vec::new();
        let (mut names, mut tables) = (Vec::new(), Vec::new());
        for part in checkpoint.parts {
            names.push((part.name.into(), part.tables.as_ref().map(Vec::len)));
            tables.extend(part.tables.into_iter().flatten());
        }
        let mut blobs = self.write_blobs(tables)?.into_iter();
        for (name, count) in names {
            let tables = match count {
                Some(count) => blobs.by_ref().take(count).collect(),
                None => {
                    let kept = before.get(&name).expect("what did not change since a checkpoint is in it");
                    kept.tables.clone()
                }
            };
            parts.push(PartEntry { name, tables });
        }
        for piece in checkpoint.pieces {
            let name = piece.name.clone().into();
            let tables = match piece.is_kept {
                false => {
                    let packed = piece.packed();
                    packed
                        .map(|packed| packed.and_then(|(bytes, rows)| self.append(&bytes, rows)))
                        .collect::<Result<_>>()?
                }
                true => before.get(&name).expect("what was kept by a checkpoint is in it").tables.clone(),
            };
            parts.push(PartEntry { name, tables });
        }
        self.carry(&mut parts)?;
        let sources = plan.sources.iter().zip(&checkpoint.partitions);
        let sources = sources
            .map(|(source, states)| (source.name.clone(), states.iter().map(PartitionMark::new).collect()))
            .collect();
        self.put_down(plan, sources, TallyRecord::new(&checkpoint.tally), parts, sinks)
    }

    /// Looks whether another run has made a checkpoint since the last one of this.
    pub fn must_be_newest(&self) -> Result<()> {
        match newest_of(&self.store.list()?).filter(|newest| *newest >= self.next) {
            Some(newest) => {
                let message = format!("another run of `{}` has made checkpoint {newest}", self.pipeline);
                Err(Error::new(Code::StateBusy, message).help("only one of them may write: this one stops"))
            }
            None => Ok(()),
        }
    }

    /// Makes the manifest of the next checkpoint, whose tables are written.
    fn put_down(
        &mut self,
        plan: &Plan,
        sources: BTreeMap<String, Vec<PartitionMark>>,
        tally: TallyRecord,
        parts: Vec<PartEntry>,
        sinks: BTreeMap<String, SinkMark>,
    ) -> Result<u64> {
        if let Some(upload) = self.upload.take() {
            upload.finish()?;
        }
        let manifest = Manifest {
            number: self.next,
            pipeline: self.pipeline.clone(),
            definition: self.definition.clone(),
            canonical: Some(plan.canonical.clone()),
            made_at: Some(now()),
            job: self.job.clone(),
            is_first: self.kept.is_empty(),
            program: env!("CARGO_PKG_VERSION").to_string(),
            logs: logs(plan),
            ids: self.ids.clone(),
            sources,
            tally,
            parts,
            outbox: std::mem::take(&mut self.outbox),
            sinks,
            places: self.places.clone(),
            forked: self.forked.clone(),
        };
        point!("checkpoint.data");
        if let Err(error) = self.store.sizes().and_then(|sizes| self.must_be_at_work(&sizes)) {
            let _ = self.store.remove(&manifest::data_name(self.next, &self.owner));
            return Err(error);
        }
        if !manifest.create(&*self.store)? {
            let message = format!("another run of `{}` has made checkpoint {}", self.pipeline, manifest.number);
            return Err(Error::new(Code::StateBusy, message)
                .help("only one of them may write: this one stops, and has published nothing of that checkpoint"));
        }
        self.next += 1;
        self.written = 0;
        self.kept.push(manifest);
        self.forget()?;
        Ok(self.next - 1)
    }

    fn write_blob(&mut self, rows: &RecordBatch) -> Result<Blob> {
        self.write(Packed::of(rows))
    }

    /// Writes tables one after the other, packed on all cores: reading waits for it.
    fn write_blobs(&mut self, tables: Vec<RecordBatch>) -> Result<Vec<Blob>> {
        let mut blobs = Vec::with_capacity(tables.len());
        let mut tables = tables.into_iter();
        loop {
            let some: Vec<RecordBatch> = tables.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(blobs);
            }
            let packed: Vec<Packed<'_>> = some.into_par_iter().map(|rows| Packed::of(&rows)).collect();
            for packed in packed {
                blobs.push(self.write(packed)?);
            }
        }
    }

    fn append(&mut self, bytes: &[u8], rows: u64) -> Result<Blob> {
        self.write(Packed { sha256: blob::sha256(bytes), bytes: bytes.into(), rows })
    }

    fn write(&mut self, Packed { bytes, rows, sha256 }: Packed<'_>) -> Result<Blob> {
        let file = manifest::data_name(self.next, &self.owner);
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.begin(&file)?),
        };
        upload.write(&bytes)?;
        let (offset, size) = (self.written, bytes.len() as u64);
        self.written += size;
        Ok(Blob { file, offset, size, rows, sha256 })
    }

    /// Where the data files of a state have more than twice the bytes of its tables, writes some of these anew, so that files
    /// can go: no more bytes than the checkpoint has written besides, or than [`CARRIED`], and at most one table beyond.
    ///
    /// It begins with the file of which least is needed. A byte that is carried out of that one frees at least as many, once
    /// the file goes, as there are in all for each that is needed: two or more. A checkpoint adds at most two for each that it
    /// had to write. So what files have beyond twice the state becomes less with each checkpoint, and what is carried
    /// follows what is written. Of a file that is left half carried on less is needed than before: the next checkpoint goes on with it.
    fn carry(&mut self, parts: &mut [PartEntry]) -> Result<()> {
        let mut needed = 0;
        let mut files: BTreeMap<String, Vec<&mut Blob>> = BTreeMap::new();
        for blob in parts.iter_mut().flat_map(|part| &mut part.tables) {
            needed += blob.size;
            files.entry(blob.file.clone()).or_default().push(blob);
        }
        files.remove(&manifest::data_name(self.next, &self.owner));
        let with_size = |(file, blobs): (String, Vec<_>)| (self.sizes.get(&file).copied().unwrap_or(0), blobs);
        let mut files: Vec<(u64, Vec<&mut Blob>)> = files.into_iter().map(with_size).collect();
        let share = |(size, blobs): &(u64, Vec<&mut Blob>)| {
            blobs.iter().map(|blob| blob.size as f64).sum::<f64>() / *size as f64
        };
        files.sort_by(|one, other| share(one).total_cmp(&share(other)));
        let mut stored = self.written + files.iter().map(|(size, _)| size).sum::<u64>();
        let end = self.written + self.written.max(self.carried);
        for (size, blobs) in files {
            let of_file: u64 = blobs.iter().map(|blob| blob.size).sum();
            // Beside the state files hold rows on their way out: those are not carried on, and neither is what lies with them.
            if stored <= 2 * needed || 2 * of_file >= size {
                break;
            }
            for blob in blobs {
                if self.written >= end {
                    return Ok(());
                }
                let bytes = blob.bytes(&*self.store).map_err(|error| self.or_left_behind(error))?;
                *blob = self.write(Packed { bytes: bytes.into(), rows: blob.rows, sha256: blob.sha256.clone() })?;
                stored += blob.size;
            }
            stored -= size;
        }
        Ok(())
    }

    /// Removes what nothing will ask for again.
    ///
    /// What is younger than the checkpoint just made is another run's that has gone on from it, so that one is left alone.
    fn forget(&mut self) -> Result<()> {
        let mut sizes = self.store.sizes()?;
        self.must_be_at_work(&sizes)?;
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
        let (oldest, newest) = (self.kept[0].number, self.kept[self.kept.len() - 1].number);
        let needed: BTreeSet<&str> =
            self.kept.iter().flat_map(Manifest::blobs).map(|blob| blob.file.as_str()).collect();
        // Manifests first: one that is there must not name data that is gone.
        let is_over = |name: &str| manifest::number_of(name).is_some_and(|number| number < oldest);
        let is_unused = |name: &str| {
            manifest::number_of_data(name).is_some_and(|number| number <= newest) && !needed.contains(name)
        };
        let names = || sizes.keys().map(String::as_str);
        let gone: Vec<String> = names()
            .filter(|name| is_over(name))
            .chain(names().filter(|name| is_unused(name)))
            .map(String::from)
            .collect();
        for name in gone {
            gone_or(self.store.remove(&name))?;
            sizes.remove(&name);
        }
        self.sizes = sizes;
        Ok(())
    }

    /// Looks, before a checkpoint is made, and once it is before anything of it is published, whether it is the newest and
    /// whether those before it are still there.
    ///
    /// The number of a checkpoint says whose turn it is, but one that was given long ago is free again: a run that slept can
    /// give it a second time. Where there is a newer one this run is not at work any more. It removes nothing then: the other
    /// one may have gone on from this very checkpoint, and if not, it removes it.
    fn must_be_at_work(&mut self, sizes: &BTreeMap<String, u64>) -> Result<()> {
        let newest = newest_of(sizes.keys()).filter(|newest| *newest >= self.next);
        if newest.is_some() {
            return Err(self.is_left_behind(newest));
        }
        if self.kept.iter().all(|kept| sizes.contains_key(&manifest::name(kept.number))) {
            return Ok(());
        }
        // Somebody has cleared the line: what is left of it may name data that is gone, so it goes, too, if it is not
        // another job's that has begun since. What cannot be removed now is named by a start that needs it.
        for kept in std::mem::take(&mut self.kept).iter().rev() {
            let name = manifest::name(kept.number);
            if Manifest::read(&*self.store, &name).is_ok_and(|found| found.job == self.job) {
                let _ = self.store.remove(&name);
            }
            let _ = self.store.remove(&manifest::data_name(kept.number, &self.owner));
        }
        Err(self.is_left_behind(None))
    }

    /// Returns that error where data cannot be read because another run goes on with the line or it is gone, else what reading
    /// failed with.
    fn or_left_behind(&self, failed: Error) -> Error {
        let Ok(names) = self.store.list() else { return failed };
        let newest = newest_of(&names).filter(|newest| *newest >= self.next);
        match newest.is_none() && self.kept.iter().all(|kept| names.contains(&manifest::name(kept.number))) {
            true => failed,
            false => self.is_left_behind(newest),
        }
    }

    fn is_left_behind(&self, newest: Option<u64>) -> Error {
        let place = self.store.describe();
        let (message, help) = match newest {
            Some(newest) => (
                format!("another run of `{}` has made checkpoint {newest} in {place}", self.pipeline),
                "only one of them may write: this one stops, and has published nothing since its last checkpoint",
            ),
            None => (
                format!("the checkpoints in {place} were removed while this run went on"),
                "this run stops, and has published nothing since its last checkpoint; the next one starts at the log's beginning and replaces the results",
            ),
        };
        Error::new(Code::StateBusy, message).help(help)
    }
}

/// A table as it is stored.
struct Packed<'a> {
    bytes: Cow<'a, [u8]>,
    rows: u64,
    sha256: String,
}

impl Packed<'_> {
    fn of(rows: &RecordBatch) -> Self {
        let bytes = blob::encode(rows);
        Self { sha256: blob::sha256(&bytes), bytes: bytes.into(), rows: rows.num_rows() as u64 }
    }
}

/// Returns the error of a start that meets another run.
fn at_work(plan: &Plan, store: &dyn Store) -> Error {
    let message = format!("another run of `{}` is making checkpoints in {}", plan.name, store.describe());
    Error::new(Code::StateBusy, message).help("only one of them may write: this one stops, and has read nothing")
}

/// Returns the number of the newest checkpoint among names of objects.
fn newest_of<'a>(names: impl IntoIterator<Item = &'a String>) -> Option<u64> {
    names.into_iter().filter_map(|name| manifest::number_of(name)).max()
}

/// Takes what is not there any more for removed.
fn gone_or(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.code == Code::NotFound => Ok(()),
        other => other,
    }
}

/// Returns by source which log a stream reads: its topic, else its journal, as the pipeline file names them. Brokers are not in
/// it: a cluster has many addresses.
fn logs(plan: &Plan) -> BTreeMap<String, String> {
    let log = |source: &SourcePlan| match (&source.bindings.kafka, &source.bindings.journal) {
        (Some(kafka), _) => format!("topic {}", kafka.topic),
        (None, Some(path)) => format!("journal {path}"),
        (None, None) => String::new(),
    };
    plan.sources.iter().map(|source| (source.name.clone(), log(source))).collect()
}

/// Refuses to go on from the checkpoint of another definition, or of another log.
fn must_be_of(last: &Manifest, plan: &Plan, store: &dyn Store) -> Result<()> {
    if last.definition == plan.definition {
        let now = logs(plan);
        let Some((source, log)) = now.iter().find(|(source, log)| last.logs.get(*source) != Some(*log)) else {
            return Ok(());
        };
        let before = last.logs.get(source).map_or("another log", String::as_str);
        let message = format!("source `{source}` reads {log} now; the checkpoint was made of {before}");
        return Err(Error::new(Code::LogReplaced, message).help(
            "`--fresh` reads the log from its start and replaces the results; another `--state-dir` keeps both",
        ));
    }
    Err(foreign(last, plan, store))
}

/// How many changed fields an error names.
const CHANGES: usize = 20;

/// Returns the error of a state that another definition made, with what changed.
fn foreign(last: &Manifest, plan: &Plan, store: &dyn Store) -> Error {
    let message = format!(
        "the state in {} was made by another definition of `{}` ({}, now {})",
        store.describe(),
        plan.name,
        last.definition,
        plan.definition
    );
    let changes = last.canonical.as_ref().map(|before| definition::changes(before, &plan.canonical));
    let mut changes = changes.unwrap_or_default();
    if changes.len() > CHANGES {
        let more = changes.split_off(CHANGES).len();
        changes.push(format!("and {more} more"));
    }
    Error::new(Code::StateForeign, message).details(changes).help(
        "`--fresh` starts the log again and replaces the results, quicker with `--bootstrap lake`; another `--state-dir` and `--out` run the new definition beside the old one; `samestream state fork` keeps the state where only sinks changed",
    )
}

/// Returns the time, in microseconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_micros() as i64)
}
