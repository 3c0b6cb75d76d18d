//! What a run tells about itself when it is over: the same shape in both modes.

use std::collections::BTreeMap;

use engine::log::Partition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cut::Cut;

/// Which driver ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Records as the log grows.
    Stream,
    /// The log read to an end, in parallel.
    Batch,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Stream => "stream",
            Mode::Batch => "batch",
        })
    }
}

/// The summary of a run. Two runs have the same results exactly when `definition`, `start`, `end` (and `from`, `to`)
/// are equal; then every digest is equal too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Which driver ran.
    pub mode: Mode,
    /// The definition digest: 32 hex digits over everything that results depend on.
    pub definition: String,
    /// Digest of the final rows of all sinked steps.
    pub digest_final: String,
    /// Digest of all rows of all sinked steps, open ones included.
    pub digest_all: String,
    /// Digests of each sinked step.
    pub digests: BTreeMap<String, StepDigests>,
    /// Digest of the records that were late for every window of theirs at a step.
    pub digest_late: String,
    /// Digest of the bad records of sources and the failed rows of steps.
    pub digest_bad: String,
    /// Records of the log between start and end offsets. Over a range, batch leaves unread what no selected row can be made
    /// of; this, the counts of late, bad and failed rows and their digests cover what was read.
    pub rows_read: u64,
    /// Records late for every window of theirs, summed over steps.
    pub rows_late: u64,
    /// Records that could not be decoded, or broke the schema or the future guard.
    pub rows_bad: u64,
    /// Rows whose expression failed at a step.
    pub rows_failed: u64,
    /// For each `dedup` step, how many rows came to it and how many it let through.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dedup: BTreeMap<String, DedupCounts>,
    /// For each step with `check`, its rules in their order: how many rows were held against each, how many broke it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Vec<CheckCounts>>,
    /// Rows in the sinks after the run.
    pub rows_written: u64,
    /// Windows that were closed as final.
    pub windows: u64,
    /// True when the run read to its end offsets; false when it was stopped before.
    pub ended: bool,
    /// True when `from` or `to` restricted the rows that were written.
    pub range: bool,
    /// Rows from this time on were written (RFC 3339), if restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Rows before this time were written (RFC 3339), if restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Seconds the run took.
    pub seconds: f64,
    /// The first offset read, per source and partition.
    pub start: Cut,
    /// The offset after the last one read, per source and partition.
    pub end: Cut,
    /// The partition that held finality back at the end.
    pub held_by: Option<HeldBy>,
    /// What a reader must know to compare this run, such as a layout for which equality with a topic is not claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
    /// What waited in files to keep the run within `--memory`. Absent when nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spilled: Option<SpilledParts>,
}

/// Digests of one step's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepDigests {
    /// Of its final rows.
    pub r#final: String,
    /// Of all its rows.
    pub all: String,
}

/// Parts of windows that waited in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpilledParts {
    /// How many were written.
    pub pieces: u64,
    /// How many were merged back.
    pub merged: u64,
    /// Bytes that were written for them.
    pub bytes: u64,
}

/// What a `dedup` step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DedupCounts {
    /// Rows that came to it.
    pub before: u64,
    /// Rows that it let through.
    pub after: u64,
}

/// What a rule of a step found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckCounts {
    /// The rule's name.
    pub name: String,
    /// Rows that were held against it.
    pub rows: u64,
    /// Rows that broke it, whatever became of them.
    pub broken: u64,
}

/// A partition that finality waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBy {
    /// Its source.
    pub source: String,
    /// Its number.
    pub partition: Partition,
    /// Its watermark (RFC 3339): windows that end after it are open. Absent when it has no valid record.
    pub watermark: Option<String>,
    /// How many other partitions hold it back just as far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Returns the JSON Schema of a summary.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Summary)).expect("a schema is JSON")
}
