//! The vocabulary of the edges: what the outside world must provide. No implementation lives here.

use std::path::Path;
use std::time::Duration;

use arrow::array::RecordBatch;

use crate::error::Result;
use crate::log::{Chunk, Offset, Partition, RawRecords};

/// Who does pieces of work that have nothing to do with each other. The engine starts no thread: it says what may be done at
/// once, and whoever drives it does that with the threads it has, or one piece after the other.
pub trait Hands: Sync {
    /// Returns how many pieces are done at once.
    fn count(&self) -> usize;
    /// Calls `work` once with each number below `pieces`, in any order.
    fn each(&self, pieces: usize, work: &(dyn Fn(usize) + Sync));
}

/// One piece after the other.
pub struct Alone;

impl Hands for Alone {
    fn count(&self) -> usize {
        1
    }

    fn each(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..pieces).for_each(work);
    }
}

/// A log read as it grows: a topic, or a journal that is followed.
pub trait LogStream: Send {
    /// Returns the partitions of the log, ascending.
    fn partitions(&self) -> &[Partition];
    /// Returns what tells the log from another one of its name, before it or after it; None: nothing does but its records.
    fn id(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
    /// Returns the first offset that the log still holds, per partition in the order of `partitions`.
    fn starts(&mut self) -> Result<Vec<Offset>>;
    /// Returns the end offsets at this moment (a topic: the last stable ones), per partition in the order of `partitions`.
    fn ends(&mut self) -> Result<Vec<Offset>>;
    /// Sets where reading begins, per partition in the order of `partitions`. Called once, before `poll`.
    fn seek(&mut self, offsets: &[Offset]) -> Result<()>;
    /// Waits up to `timeout` for something to happen and returns all of it, at most about `max_records` records.
    fn poll(&mut self, timeout: Duration, max_records: usize) -> Result<Vec<Polled>>;
    /// Stops or resumes reading a partition; what is already under way may still come.
    fn pause(&mut self, partition: Partition, paused: bool) -> Result<()>;
}

/// What a poll brought.
// A poll brings few of these, and each is taken apart at once: a box would cost more than the space it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Polled {
    /// Records of one partition, next in order.
    Records(RawRecords),
    /// Every record of the partition below the offset was delivered (end of partition, or control markers passed).
    Reached(Partition, Offset),
}

/// A log read to an end, in pieces that can be loaded in parallel: a lake, or a journal in batch mode.
pub trait LogScan: Send + Sync {
    /// Returns the partitions of the log, ascending, empty ones included, with the range of offsets each holds.
    fn partitions(&self) -> &[PartitionRange];
    /// Returns the units of a partition in offset order.
    fn units(&self, partition: Partition) -> &[Unit];
    /// Reads and decodes the records of a unit with `start <= offset < end`.
    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Chunk>;
    /// Hears that a unit is among the next to be loaded, so that it can be fetched from where it is meanwhile.
    fn announce(&self, _: &Unit) {}
    /// Returns what loading a unit whole reads, if that is known beforehand.
    fn stored(&self, _: &Unit) -> Option<Stored<'_>> {
        None
    }
    /// Returns the files that hold the records of a partition, in offset order; none where a log is in no files that could be
    /// told from others in their place.
    fn files(&self, _: Partition) -> Vec<LogFile> {
        Vec::new()
    }
    /// Returns a sentence to print when equality with a topic is not claimed for this layout.
    fn caveat(&self) -> Option<String> {
        None
    }
}

/// What is read to load a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The file that it is in.
    pub file: &'a Path,
    /// The row group of the file, or what else its parts are; several units may share one.
    pub part: u64,
    /// Bytes as they are stored, compressed if they are, of what is read of it.
    pub bytes: u64,
}

/// The offsets that a partition of a bounded log holds: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRange {
    /// The partition.
    pub partition: Partition,
    /// First offset.
    pub start: Offset,
    /// Offset past the last record (and past control markers after it).
    pub end: Offset,
}

/// A piece of a partition that is loaded at once, such as a row group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The partition.
    pub partition: Partition,
    /// What the scan knows it by.
    pub id: usize,
    /// First offset.
    pub start: Offset,
    /// Offset past the last record.
    pub end: Offset,
    /// How many records it holds, or about as many.
    pub rows: usize,
    /// Largest event time of its valid records when it is known without loading and may be relied on when the unit is
    /// read whole; `i64::MIN` when none is valid.
    pub max_event_time: Option<i64>,
    /// Least event time of its valid records, on the same conditions; `i64::MAX` when none is valid.
    pub min_event_time: Option<i64>,
}

/// Which of a sink's rows a run replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// All of them: the run starts at the log's start offsets.
    All,
    /// Those whose `window_start` lies in `[from, to)`; None is unbounded.
    Range(Option<i64>, Option<i64>),
    /// None of the final ones: the run goes on from a checkpoint. Its first commit replaces the open ones.
    Nothing,
}

/// What a sink holds of a job: a line of checkpoints whose epochs it publishes one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Rows up to this epoch.
    Epoch(u64),
    /// Nothing: it is empty, or another run has written it since, whose rows the first epoch replaces.
    Nothing,
    /// Another run has written it since, and its rows cannot be replaced: only a job that has published nothing may begin.
    Taken,
    /// It keeps no epochs where its rows are.
    Unknown,
}

/// A file that holds records of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where its range begins.
    pub start: Offset,
    /// What tells it from another file in its place, as far as that can be told without reading it whole.
    pub stamp: u64,
    /// The least and the largest event time of its valid records, where they are known without loading them.
    pub times: Option<(i64, i64)>,
}

/// Whose rows a run over a range finds in a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nobody's who goes on with them: the sink is the run's.
    Nobody,
    /// Those of a stream, which may be going on at this moment. Every row of its windows that begin before `settled` is there;
    /// None: no window is known to be complete.
    Stream {
        /// What tells the stream's job from others.
        job: String,
        /// The time.
        settled: Option<i64>,
    },
}

/// Where rows go. Everything staged between two commits becomes visible at once, or not at all, unless the sink
/// [releases](Sink::releases) rows.
///
/// A driver calls `begin`, then `stage` and `stage_open` any number of times, then `commit` with growing epochs. A sink
/// may be told the same epoch twice (after a crash whose outcome is unknown) and must then publish it once.
pub trait Sink: Send {
    /// Checks that it can write and prepares to replace what it holds. What it holds stays readable until the first commit.
    fn begin(&mut self, replace: Replace) -> Result<()>;
    /// Returns what it holds of the job that runs; asked once, before `begin`. A sink that several processes can reach takes
    /// its place here, so that an older run of the job publishes nothing from then on, and what is returned stays true.
    /// Rows are not touched.
    fn published(&mut self) -> Result<Published> {
        Ok(Published::Unknown)
    }
    /// Returns whose rows a run over a range finds there; asked in place of [`published`](Sink::published), and before `begin`. Of a
    /// stream's rows the run then replaces those of settled windows, at its one commit, and the stream goes on as if nothing
    /// had been; it stays the sink's writer.
    fn beside(&mut self) -> Result<Beside> {
        Ok(Beside::Nobody)
    }
    /// Says, before a commit, that with it every row of windows that begin before the time is there, and final.
    fn settle(&mut self, _: i64) {}
    /// Takes final rows, in canonical order, with a last column `final` (bool).
    fn stage(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Takes open rows (`final` is false). At the commit they replace the open rows of the commit before as a set.
    fn stage_open(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Returns whether it promises each final row at least once only, so that none need wait for a commit: what was published
    /// before a crash and is in no checkpoint is made again by the next run, with the same bytes.
    fn releases(&self) -> bool {
        false
    }
    /// Lets readers have the final rows that were staged so far, without waiting until they do. Their commit follows.
    fn release(&mut self) -> Result<()> {
        Ok(())
    }
    /// Publishes what was staged.
    fn commit(&mut self, epoch: u64) -> Result<()>;
    /// Returns where the rows are, for people.
    fn describe(&self) -> String;
}
