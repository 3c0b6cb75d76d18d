//! A log as bytes with positions, beside what the bytes mean.

use serde::{Deserialize, Serialize};

use super::Pipeline;
use crate::value::Value;

/// The records of every partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The partitions, ascending.
    pub partitions: Vec<PartitionLog>,
}

/// The records of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    /// The source it belongs to, as index into [`Pipeline::sources`].
    pub source: usize,
    /// Its number.
    pub partition: i32,
    /// First offset that it holds.
    pub start: i64,
    /// Offset past its last record, and past control markers after it.
    pub end: i64,
    /// The records, by growing offset.
    pub records: Vec<Record>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// The log's own time, milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<String>,
    /// The value; None is a tombstone. Latin-1: every char is a byte, so that broken UTF-8 can be written down.
    pub value: Option<String>,
    /// The headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<String>)>,
    /// What the value means.
    pub content: Content,
}

impl Record {
    /// Returns the bytes of the value.
    pub fn value_bytes(&self) -> Option<Vec<u8>> {
        self.value
            .as_ref()
            .map(|value| value.chars().map(|c| u8::try_from(c as u32).expect("a Latin-1 char")).collect())
    }

    /// Returns the headers with their values as bytes.
    pub fn header_bytes(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let bytes = |value: &String| value.clone().into_bytes();
        self.headers.iter().map(|(name, value)| (name.clone(), value.as_ref().map(bytes))).collect()
    }

    /// Returns the event time of a valid record: None when it cannot be decoded or breaks the future guard.
    pub fn event_time(&self, pipeline: &Pipeline, source: usize) -> Option<i64> {
        let cells = match &self.content {
            Content::Row(cells) => cells,
            Content::Tombstone(cells) if pipeline.keeps_tombstones(source) => cells,
            Content::Tombstone(_) | Content::Bad(_) => return None,
        };
        let log_time = self.timestamp * 1000;
        let time = match pipeline.columns.iter().position(|column| column.name == pipeline.event_time) {
            None => log_time,
            Some(index) => match cells[index] {
                Value::Time(time) => time,
                ref other => unreachable!("event time is {other}"),
            },
        };
        match pipeline.sources[source].max_future {
            Some(guard) if time > log_time + guard => None,
            _ => Some(time),
        }
    }
}

/// Returns bytes as text in which every char is a byte.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What a value means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// One value per column of the schema.
    Row(Vec<Value>),
    /// There is no value: of the columns only those beside it have one.
    Tombstone(Vec<Value>),
    /// Cannot be decoded or breaks the schema, for this reason.
    Bad(String),
}

impl Log {
    /// Returns the event times of all valid records.
    pub fn event_times(&self, pipeline: &Pipeline) -> Vec<i64> {
        let of = |log: &PartitionLog| -> Vec<i64> {
            log.records.iter().filter_map(|record| record.event_time(pipeline, log.source)).collect()
        };
        self.partitions.iter().flat_map(of).collect()
    }

    /// Returns how many records it holds.
    pub fn len(&self) -> usize {
        self.partitions.iter().map(|partition| partition.records.len()).sum()
    }

    /// Returns true when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
