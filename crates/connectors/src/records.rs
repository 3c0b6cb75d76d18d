//! A builder of [`RawRecords`]: every source that gathers records one by one uses it.

use arrow::array::{BinaryBuilder, RecordBatch};
use engine::log::{Offset, Partition, RawRecords};

/// A header of a record: its name and its value, if it has one.
pub type Header = (String, Option<Vec<u8>>);

/// Gathers records of one partition.
#[derive(Debug)]
pub struct RawBuilder {
    partition: Partition,
    offsets: Vec<Offset>,
    timestamps: Vec<i64>,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    headers: Vec<Vec<Header>>,
    bytes: usize,
}

impl RawBuilder {
    /// Makes an empty builder.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            headers: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds the next record; its offset must be greater than the one before.
    pub fn push(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Vec<Header>,
    ) {
        debug_assert!(self.offsets.last().is_none_or(|last| *last < offset), "offsets grow");
        if !headers.is_empty() {
            // The list stays empty until a record has headers; then every record before has none.
            self.headers.resize(self.offsets.len(), Vec::new());
            self.headers.push(headers);
        } else if !self.headers.is_empty() {
            self.headers.push(headers);
        }
        self.offsets.push(offset);
        self.timestamps.push(timestamp_ms);
        self.bytes += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        self.keys.append_option(key);
        self.values.append_option(value);
    }

    /// Returns how many records it holds.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns true when it holds none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns the size of the keys and values it holds.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the records.
    pub fn finish(mut self) -> RawRecords {
        RawRecords {
            partition: self.partition,
            offsets: self.offsets,
            timestamps: self.timestamps,
            keys: self.keys.finish(),
            values: self.values.finish(),
            headers: self.headers,
        }
    }
}

/// Returns the records of `raw` with `start <= offset < end`.
pub fn clip(raw: &RawRecords, start: Offset, end: Offset) -> RawRecords {
    let from = raw.offsets.partition_point(|offset| *offset < start);
    let to = raw.offsets.partition_point(|offset| *offset < end).max(from);
    RawRecords {
        partition: raw.partition,
        offsets: raw.offsets[from..to].to_vec(),
        timestamps: raw.timestamps[from..to].to_vec(),
        keys: raw.keys.slice(from, to - from),
        values: raw.values.slice(from, to - from),
        headers: if raw.headers.is_empty() { Vec::new() } else { raw.headers[from..to].to_vec() },
    }
}

/// Returns a batch with no columns or some, of that many rows.
pub(crate) fn batch(
    fields: Vec<arrow::datatypes::Field>,
    columns: Vec<arrow::array::ArrayRef>,
    rows: usize,
) -> RecordBatch {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(std::sync::Arc::new(arrow::datatypes::Schema::new(fields)), columns, &options)
        .expect("columns fit their fields and have one length")
}
