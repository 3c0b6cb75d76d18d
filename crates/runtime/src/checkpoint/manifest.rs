//! The manifest of a checkpoint: `<number, 20 digits>.json`, with data in `<number>-<process>.parts`.
//!
//! ```text
//! samestream checkpoint 1 <SHA-256 of the rest>
//! {"number": 7, "pipeline": "page_views", "definition": "…", "job": "…", "logs": {"clicks": "topic clicks"}, "ids": {"clicks": "…"},
//!  "sources": {"clicks": [
//!   {"partition": 0, "start": 0, "next": 1200, "maximum": 1767225600000000,
//!    "last": {"offset": 1199, "xxh3": "…"}}]}, "tally": {…},
//!  "parts": [{"name": {"step": "per_page", "window": [0, 60000000]}, "tables": [{"file": "….parts", "offset": 0, …}]}],
//!  "outbox": [{"input": "per_page", "kind": "final", "rows": {…}}], "sinks": {"page_views": {"epoch": 7, "before": 5, "rows": 41}}}
//! ```
//!
//! `canonical` (the definition's text), `made_at` (when), `places` (of the sinks) and `forked` came later and may be missing.
//! Parts of one window may be several: `"layer": 5` in a name is of groups that are as they are there and not as in the layers
//! before (the first has no number), `"piece": 2` adds to the rest. `"bucket": [28, 6573]` is of rows whose time, in microseconds, is
//! 6573 without its lowest 28 bits.
//! `NAME.pin` is a manifest with the tables of its state in `NAME.pinned`, which nothing but `unpin` removes.
//!
//! The version in its first line is that of the whole: of this text, of the tables of parts, of the packing of data files.

use std::collections::BTreeMap;

use connectors::store::is_inside;
use engine::digest::Digest;
use engine::log::{Offset, Partition};
use engine::plan::Plan;
use engine::watermark::NEVER;
use engine::window::Window;
use engine::{Bucket, Code, Error, PartName, Result};
use serde::{Deserialize, Serialize};

use super::blob::{Blob, sha256};
use super::store::Store;
use crate::driver::PartitionState;
use crate::tally::Tally;

/// The version written, and the only one read.
const VERSION: u32 = 1;

/// Times lie within this many microseconds of 1970: event times within 2^62, windows around them not much farther.
const FARTHEST: i64 = (1 << 62) + (1 << 61);
/// Sizes are below this, so that they can be added.
const LARGEST: u64 = 1 << 48;

/// What a checkpoint consists of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its number, which is the epoch of its outbox.
    pub number: u64,
    /// The pipeline's name.
    pub pipeline: String,
    /// The definition that made the state.
    pub definition: String,
    /// The canonical text that it is the digest of, so that a change can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<String>,
    /// When it was made, in microseconds since 1970: for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<i64>,
    /// What tells the job from others.
    pub job: String,
    /// True for the first checkpoint of a job.
    pub is_first: bool,
    /// The version of the program.
    pub program: String,
    /// By source, the log that it was read from.
    pub logs: BTreeMap<String, String>,
    /// By source, the id of its topic, if brokers have such.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<String, String>,
    /// By source, how far each partition was read.
    pub sources: BTreeMap<String, Vec<PartitionMark>>,
    /// What was counted and digested.
    pub tally: TallyRecord,
    /// The state.
    pub parts: Vec<PartEntry>,
    /// What the sinks publish as the epoch of this number.
    pub outbox: Vec<OutboxEntry>,
    /// What each sink was given.
    pub sinks: BTreeMap<String, SinkMark>,
    /// Where the rows of the pipeline's own sinks are, by sink.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<String, String>,
    /// What the job was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Forked>,
}

/// What a job was forked from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forked {
    /// The other job.
    pub job: String,
    /// Its checkpoint.
    pub number: u64,
    /// Where its rows are, by sink: the fork must not write there.
    pub places: BTreeMap<String, String>,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionMark {
    /// The partition.
    pub partition: Partition,
    /// Where reading began.
    pub start: Offset,
    /// Everything below was read.
    pub next: Offset,
    /// The running maximum of event time, if some record had one.
    pub maximum: Option<i64>,
    /// The last record that was read, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRecord>,
}

/// What tells a record at an offset from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastRecord {
    /// Its offset.
    pub offset: Offset,
    /// XXH3-128 of its time, key and value, in hexadecimal.
    pub xxh3: String,
}

impl PartitionMark {
    pub(super) fn new(state: &PartitionState) -> Self {
        let maximum = (state.maximum != NEVER).then_some(state.maximum);
        let last = state.last.map(|(offset, hash)| LastRecord { offset, xxh3: format!("{hash:032x}") });
        Self { partition: state.partition, start: state.start, next: state.next, maximum, last }
    }

    pub(super) fn state(&self) -> PartitionState {
        let hash = |last: &LastRecord| Some((last.offset, u128::from_str_radix(&last.xxh3, 16).ok()?));
        PartitionState {
            partition: self.partition,
            start: self.start,
            end: None,
            next: self.next,
            maximum: self.maximum.unwrap_or(NEVER),
            last: self.last.as_ref().and_then(hash),
        }
    }
}

/// A part of the state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartEntry {
    /// What it is of.
    pub name: Name,
    /// Its rows.
    pub tables: Vec<Blob>,
}

/// What a part is of: see [`PartName`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// The step.
    pub step: String,
    /// Start and end of its window, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(i64, i64)>,
    /// The side of a join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// A source and its partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<(String, Partition)>,
    /// The times of its rows, where it is of no window: how many of the lowest bits are cut off, and what is left then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<(u32, i64)>,
    /// Which layer of the window's groups it is, if not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u32>,
    /// Which piece of the window it is, where it lay outside of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<u64>,
}

impl From<PartName> for Name {
    fn from(PartName { step, window, side, partition, bucket, layer, piece }: PartName) -> Self {
        let (window, bucket) =
            (window.map(|window| (window.start, window.end)), bucket.map(|bucket| (bucket.bits, bucket.number)));
        Self { step, window, side, partition, bucket, layer, piece }
    }
}

impl From<Name> for PartName {
    fn from(Name { step, window, side, partition, bucket, layer, piece }: Name) -> Self {
        let (window, bucket) =
            (window.map(|(start, end)| Window { end, start }), bucket.map(|(bits, number)| Bucket { bits, number }));
        Self { step, window, side, partition, bucket, layer, piece }
    }
}

/// Rows that the sinks of an input publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxEntry {
    /// What a pipeline file calls their input: `per_page`, `per_page.late`, `clicks.bad`.
    pub input: String,
    /// What becomes of them.
    pub kind: RowsKind,
    /// The rows.
    pub rows: Blob,
}

/// What becomes of rows at a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsKind {
    /// They are final, and stay. Late and bad rows are such, too.
    Final,
    /// Their windows were open at an end of input; they replace the open rows before them.
    Open,
    /// Their windows are open while a stream goes on, for sinks that want them early.
    Early,
}

/// What a sink was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkMark {
    /// The last epoch in which there was something for it.
    pub epoch: u64,
    /// The one before that, 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many rows that stay it has had so far.
    pub rows: u64,
}

/// What was counted and digested: see [`Tally`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TallyRecord {
    read: u64,
    bad: u64,
    failed: u64,
    late: u64,
    windows: u64,
    rows: BTreeMap<String, (String, String)>,
    digest_late: String,
    digest_bad: String,
    dedups: BTreeMap<String, (u64, u64)>,
    checks: BTreeMap<String, Vec<(String, u64, u64)>>,
}

impl TallyRecord {
    pub(super) fn new(tally: &Tally) -> Self {
        let rows = tally.rows.iter();
        Self {
            read: tally.read,
            bad: tally.bad,
            failed: tally.failed,
            late: tally.late,
            windows: tally.windows,
            rows: rows.map(|(step, (finals, all))| (step.clone(), (finals.to_string(), all.to_string()))).collect(),
            digest_late: tally.digest_late.to_string(),
            digest_bad: tally.digest_bad.to_string(),
            dedups: tally.dedups.clone(),
            checks: tally.checks.clone(),
        }
    }

    /// Returns the name of the results that a plan's sinks read and that were not digested.
    pub(super) fn lacks(&self, plan: &Plan) -> Option<String> {
        let wanted = Tally::new(plan, (None, None));
        wanted.rows.keys().find(|name| !self.rows.contains_key(*name)).cloned()
    }

    /// Leaves out the digests of results that no sink of the plan reads.
    pub(super) fn only_of(mut self, plan: &Plan) -> Self {
        let wanted = Tally::new(plan, (None, None));
        self.rows.retain(|name, _| wanted.rows.contains_key(name));
        self
    }

    /// Returns how many records were read, were bad and were late.
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        [
            ("rows_read", self.read),
            ("rows_bad", self.bad),
            ("rows_failed", self.failed),
            ("rows_late", self.late),
            ("windows", self.windows),
        ]
    }

    /// Returns the tally; None: it does not fit the plan.
    pub(super) fn tally(&self, plan: &Plan) -> Option<Tally> {
        let mut tally = Tally::new(plan, (None, None));
        let digest = |text: &String| text.parse::<Digest>().ok();
        if !tally.rows.keys().eq(self.rows.keys()) || !tally.dedups.keys().eq(self.dedups.keys()) {
            return None;
        }
        if !tally.checks.keys().eq(self.checks.keys()) {
            return None;
        }
        for (mine, (finals, all)) in tally.rows.values_mut().zip(self.rows.values()) {
            *mine = (digest(finals)?, digest(all)?);
        }
        for (mine, found) in tally.checks.values_mut().zip(self.checks.values()) {
            let same = |(one, other): (&(String, u64, u64), &(String, u64, u64))| one.0 == other.0;
            if mine.len() != found.len() || !mine.iter().zip(found).all(same) {
                return None;
            }
            mine.clone_from(found);
        }
        tally.dedups.clone_from(&self.dedups);
        (tally.digest_late, tally.digest_bad) = (digest(&self.digest_late)?, digest(&self.digest_bad)?);
        (tally.read, tally.bad, tally.failed) = (self.read, self.bad, self.failed);
        (tally.late, tally.windows) = (self.late, self.windows);
        Some(tally)
    }
}

impl Manifest {
    /// Returns all tables that it speaks of.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.parts.iter().flat_map(|part| &part.tables).chain(self.outbox.iter().map(|entry| &entry.rows))
    }

    /// Writes it, unless there is one of its number; returns whether it did.
    pub(super) fn create(&self, store: &dyn Store) -> Result<bool> {
        self.create_as(store, &name(self.number))
    }

    /// Writes it under a name, unless there is something of that name; returns whether it did.
    pub(super) fn create_as(&self, store: &dyn Store, name: &str) -> Result<bool> {
        let text = serde_json::to_string(self).expect("a manifest is plain data");
        let whole = format!("samestream checkpoint {VERSION} {}\n{text}", sha256(text.as_bytes()));
        store.create(name, whole.as_bytes())
    }

    /// Reads a manifest.
    pub(super) fn read(store: &dyn Store, name: &str) -> Result<Self> {
        let damaged = |why: &str| damaged(store, name, why);
        let text = String::from_utf8(store.read(name, None)?).map_err(|_| damaged("it is not text"))?;
        let (head, text) = text.split_once('\n').ok_or_else(|| damaged("it has no first line"))?;
        let mut words = head.strip_prefix("samestream checkpoint ").unwrap_or_default().split(' ');
        let version = words.next().and_then(|word| word.parse::<u32>().ok());
        match version {
            None => return Err(damaged("its first line is not that of a checkpoint")),
            Some(VERSION) => {}
            Some(other) => {
                let message = format!("checkpoint {name} in {} has version {other}", store.describe());
                return Err(Error::new(Code::StateVersion, message).help(format!(
                    "this program reads version {VERSION}; use the program that made it, or `--fresh`"
                )));
            }
        }
        if words.next() != Some(&sha256(text.as_bytes())) {
            return Err(damaged("its bytes are not those that were written"));
        }
        let found: Self = serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
        if number_of(name) != Some(found.number) && pin_of(name).is_none() {
            return Err(damaged("it is that of another number"));
        }
        match found.oddity() {
            Some(oddity) => Err(damaged(oddity)),
            None => Ok(found),
        }
    }

    /// Returns what in it no program of ours writes, so that nothing is computed with such numbers.
    fn oddity(&self) -> Option<&'static str> {
        let is_time = |time: i64| (-FARTHEST..=FARTHEST).contains(&time);
        let is_mark = |mark: &PartitionMark| {
            mark.partition >= 0 && 0 <= mark.start && mark.start <= mark.next && mark.maximum.is_none_or(is_time)
        };
        let is_name = |name: &Name| {
            let is_window = |(start, end): (i64, i64)| start < end && is_time(start) && is_time(end);
            name.window.is_none_or(is_window) && name.side.is_none_or(|side| side < 2)
        };
        let is_blob = |blob: &Blob| {
            is_inside(&blob.file) && [blob.offset, blob.size, blob.rows].iter().all(|number| *number < LARGEST)
        };
        if self.number == u64::MAX || !self.made_at.is_none_or(is_time) {
            return Some("its number or time cannot be");
        }
        if !self.sources.values().flatten().all(is_mark) {
            return Some("its offsets or times cannot be");
        }
        if !self.parts.iter().all(|part| is_name(&part.name)) {
            return Some("a part of its state cannot be");
        }
        (!self.blobs().all(is_blob)).then_some("the place of a table cannot be")
    }

    /// Returns the error of a manifest that cannot be gone on from.
    pub(super) fn damaged(&self, store: &dyn Store, why: &str) -> Error {
        damaged(store, &name(self.number), why)
    }
}

fn damaged(store: &dyn Store, name: &str, why: &str) -> Error {
    Error::new(Code::Corrupt, format!("checkpoint {name} in {}: {why}", store.describe()))
        .help("put the file back from a copy, or start again with `--fresh`; nothing was changed")
}

/// Returns the name of a manifest.
pub(super) fn name(number: u64) -> String {
    format!("{number:020}.json")
}

/// Returns the name of the data file of a checkpoint.
pub(super) fn data_name(number: u64, owner: &str) -> String {
    format!("{number:020}-{owner}.parts")
}

/// Returns the number of the manifest of that name; None: it is none.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Returns the name of the manifest and of the data of a pin.
pub(super) fn pin_names(pin: &str) -> (String, String) {
    (format!("{pin}.pin"), format!("{pin}.pinned"))
}

/// Returns the pin whose manifest has that name; None: it is none.
pub(super) fn pin_of(name: &str) -> Option<&str> {
    name.strip_suffix(".pin")
}

/// Returns true for the name of a data file.
pub(super) fn is_data(name: &str) -> bool {
    name.ends_with(".parts")
}

/// Returns the number of the checkpoint that wrote the data file of that name; None: it is none.
pub(super) fn number_of_data(name: &str) -> Option<u64> {
    let (number, _) = name.strip_suffix(".parts")?.split_once('-')?;
    number.parse().ok()
}
