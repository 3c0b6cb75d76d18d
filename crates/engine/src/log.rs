//! Records as the log holds them: partitions, offsets, and chunks of decoded columns.

use std::ops::Range;

use arrow::array::{BinaryArray, Int64Array, RecordBatch};

use crate::value::DataType;

/// Number of a partition in its topic, journal or lake.
pub type Partition = i32;

/// Position of a record in its partition. Offsets grow, but may have gaps (aborted records, control markers).
pub type Offset = i64;

/// Columns that every source has besides its schema.
pub const IMPLIED: &[(&str, DataType)] =
    &[("_partition", DataType::Int32), ("_offset", DataType::Int64), ("_timestamp", DataType::Timestamp)];

/// A record's key and value as bytes; None for one that is null or not at hand.
pub type KeyAndValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Records of one partition as the log holds them: bytes with positions. What a stream source gives and a format decodes.
#[derive(Clone, Debug)]
pub struct RawRecords {
    /// The partition that all of them are in.
    pub partition: Partition,
    /// Their offsets, growing.
    pub offsets: Vec<Offset>,
    /// The log's own time of each, in milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// Their keys; null where a record has none.
    pub keys: BinaryArray,
    /// Their values; null for a tombstone.
    pub values: BinaryArray,
    /// Their headers, where the source keeps them: as long as `offsets`, or empty when no record has any.
    pub headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
}

/// A run of successive records of one partition, decoded. Its borders carry no meaning.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The partition that all rows are in.
    pub partition: Partition,
    /// Offset of each row, growing, without nulls.
    pub offsets: Int64Array,
    /// The log's own time of each row in milliseconds, if the layout has it and the plan needs it.
    pub timestamps: Option<Int64Array>,
    /// The source's schema columns that the plan needs ([`crate::plan::SourcePlan::needed`]), by name. A text column may
    /// be a Dictionary(Int32, Utf8). Bad rows are in it too, with any values.
    pub columns: RecordBatch,
    /// The rows that could not be decoded or break the schema, by growing row number.
    pub bad: Vec<BadRow>,
    /// Keys and values as bytes for what is kept aside: of all rows in stream mode; elsewhere at most of the rows that are
    /// not valid records, as far as they are stored, and null for the others.
    pub raw: Option<(BinaryArray, BinaryArray)>,
}

/// The whole reason of a row whose record has no value, and whose columns beside the value are as they must be; these are
/// in the chunk's columns. Where a source keeps tombstones ([`crate::plan::SourcePlan::tombstones`]) it is a valid record.
pub const NULL_VALUE: &str = "null_value";

/// A row that is not a valid record of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Row number in the chunk.
    pub row: u32,
    /// Why: a reason code, and after `: ` a detail for people.
    pub reason: String,
    /// The record's value as bytes, if at hand.
    pub raw: Option<Vec<u8>>,
}

impl BadRow {
    /// Returns whether its record is bad only because it has no value.
    pub fn is_without_value(&self) -> bool {
        self.reason == NULL_VALUE
    }
}

impl Chunk {
    /// Returns how many records it holds, bad ones included.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns true when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns the rows `rows` as a chunk of their own, without copying columns.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let of = |row: usize| self.bad.partition_point(|bad| (bad.row as usize) < row);
        let bad = &self.bad[of(rows.start)..of(rows.end)];
        let (start, count) = (rows.start, rows.len());
        Self {
            partition: self.partition,
            offsets: self.offsets.slice(start, count),
            timestamps: self.timestamps.as_ref().map(|timestamps| timestamps.slice(start, count)),
            columns: self.columns.slice(start, count),
            bad: bad.iter().map(|bad| BadRow { row: bad.row - start as u32, ..bad.clone() }).collect(),
            raw: self.raw.as_ref().map(|(keys, values)| (keys.slice(start, count), values.slice(start, count))),
        }
    }
}
