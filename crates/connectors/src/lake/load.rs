//! Loading units of a lake: columns to the schema's types, and the records that are bad; or records as bytes again.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int64Array, RecordBatch};
use arrow::datatypes as ty;
use arrow::datatypes::{DataType as ArrowType, Field, TimeUnit};
use arrow::error::ArrowError;
use engine::edge::Unit;
use engine::error::{Code, Error, Result};
use engine::log::{BadRow, Chunk, Offset, RawRecords};
use engine::plan::{ColumnPlan, Layout, SourcePlan, ValueFrom};

use super::scan::{Entry, LakeScan, Mode, Place, TIMESTAMP_COLUMN, offsets_in};
use super::{column, name};
use crate::format::Encoded;
use crate::records::{self, RawBuilder, clip};

/// The columns that records are made of again as bytes.
const RAW_COLUMNS: [&str; 4] = [name::OFFSET, name::TIMESTAMP, name::KEY, name::RAW];

impl LakeScan {
    /// Loads a unit whole.
    pub(super) fn load_whole(&self, unit: &Unit) -> Result<Chunk> {
        let place = self.places[unit.id];
        let entry = &self.files[place.file];
        if entry.mode == Mode::Again {
            return Ok(self.codec.decode(&self.stored(unit)?));
        }
        let group = place.stretch.group;
        let has_bad = self.marked_bad(entry, group) != Some(0);
        let has_timestamp = self.needs_timestamp();
        let batch = entry.file.read(place.stretch, &self.columns_read(entry, group))?;
        let offsets = self.offsets(entry, unit, &batch)?;
        let mut bad: Vec<BadRow> = if has_bad { marked(&batch)? } else { Vec::new() };
        self.require_tombstones(entry, &bad)?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut fields = Vec::new();
        for column in &self.source.columns {
            let is_needed = self.source.needed.contains(&column.field.name);
            let array = match batch.column_by_name(&column.field.name) {
                Some(stored) => self.converted(entry, column, stored, &mut bad)?,
                None if is_needed => arrow::array::new_null_array(&column.field.data_type.arrow(), batch.num_rows()),
                None => continue,
            };
            if is_needed {
                fields.push(Field::new(&column.field.name, array.data_type().clone(), true));
                columns.push(array);
            }
        }
        // Of several reasons the first in the order of `_bad`, then of the columns, stays.
        bad.sort_by_key(|bad| bad.row);
        bad.dedup_by_key(|bad| bad.row);
        let columns = records::batch(fields, columns, batch.num_rows());
        let timestamps = if has_timestamp { Some(milliseconds(entry, &batch)?) } else { None };
        let mut chunk = Chunk { partition: unit.partition, offsets, timestamps, columns, bad, raw: None };
        self.fill_raw(place, &mut chunk)?;
        self.check_maximum(entry, unit, &chunk)?;
        Ok(chunk)
    }

    /// Returns the columns that loading a row group reads, but for the bytes of single records that are bad.
    pub(super) fn columns_read(&self, entry: &Entry, group: usize) -> Vec<&str> {
        if entry.mode == Mode::Again {
            return RAW_COLUMNS.to_vec();
        }
        let is_read = |column: &&ColumnPlan| {
            let name = &column.field.name;
            let is_wanted = self.source.needed.contains(name) || self.may_add_bad(entry, group, column);
            is_wanted && entry.file.stored(name).is_some()
        };
        let mut names: Vec<&str> =
            self.source.columns.iter().filter(is_read).map(|column| column.field.name.as_str()).collect();
        if self.layout == Layout::Log {
            names.push(name::OFFSET);
        }
        if self.marked_bad(entry, group) != Some(0) {
            names.push(name::BAD);
        }
        if self.needs_timestamp() {
            names.push(name::TIMESTAMP);
        }
        names
    }

    /// Refuses records without a value of which the file does not have the columns beside it.
    fn require_tombstones(&self, entry: &Entry, bad: &[BadRow]) -> Result<()> {
        let is_old = entry.file.footer.as_ref().is_some_and(|footer| footer.null_values.is_none());
        if !(self.source.tombstones && is_old && bad.iter().any(BadRow::is_without_value)) {
            return Ok(());
        }
        let path = entry.file.path.display();
        let message = format!("`{path}` has records without a value, but not their keys as columns");
        Err(Error::new(Code::Schema, message).help(
            "An earlier version wrote it, for which these were bad records; archive the log into an empty folder",
        ))
    }

    /// Returns a column as its declared type and adds the rows it makes bad.
    fn converted(
        &self,
        entry: &Entry,
        column: &ColumnPlan,
        stored: &ArrayRef,
        bad: &mut Vec<BadRow>,
    ) -> Result<ArrayRef> {
        let (array, faults) = column::convert(stored, column, entry.mode == Mode::Foreign)
            .map_err(|what| Error::new(Code::Schema, format!("`{}`: {what}", entry.file.path.display())))?;
        bad.extend(faults.into_iter().map(|(row, fault)| BadRow { row, reason: fault.to_string(), raw: None }));
        Ok(array)
    }

    /// Reads the keys and values of the records that are not valid, where they are kept; those of others stay null.
    fn fill_raw(&self, place: Place, chunk: &mut Chunk) -> Result<()> {
        let entry = &self.files[place.file];
        let rows: BTreeSet<u32> = chunk.bad.iter().map(|bad| bad.row).chain(self.refused(chunk)).collect();
        let is_bytes = |stored: &ArrowType| {
            use ArrowType::{Binary, LargeBinary, LargeUtf8, Utf8};
            matches!(stored, Binary | LargeBinary | Utf8 | LargeUtf8)
        };
        let mut names = vec![name::KEY, name::RAW];
        names.retain(|name| entry.file.stored(name).is_some_and(is_bytes));
        if self.layout != Layout::Log || rows.is_empty() || names.is_empty() {
            return Ok(());
        }
        let in_group: Vec<usize> = rows.iter().map(|row| place.stretch.skip + *row as usize).collect();
        let batch = entry.file.read_single(place.stretch.group, &in_group, &names)?;
        let spread = |name: &str| -> Result<BinaryArray> {
            let read = bytes(entry, &batch, name)?;
            let mut spread = BinaryBuilder::new();
            for (i, row) in rows.iter().enumerate() {
                spread.append_nulls(*row as usize - spread.len());
                spread.append_option(read.as_ref().filter(|read| read.is_valid(i)).map(|read| read.value(i)));
            }
            spread.append_nulls(chunk.len() - spread.len());
            Ok(spread.finish())
        };
        let (keys, values) = (spread(name::KEY)?, spread(name::RAW)?);
        for bad in &mut chunk.bad {
            let row = bad.row as usize;
            bad.raw = values.is_valid(row).then(|| values.value(row).to_vec());
        }
        chunk.raw = Some((keys, values));
        Ok(())
    }

    /// Returns the rows that the engine refuses, or may refuse, for their event time: it judges, we have the bytes.
    fn refused(&self, chunk: &Chunk) -> Vec<u32> {
        let times = chunk.columns.column_by_name(&self.source.event_time);
        let Some(times) = times.and_then(|times| times.as_primitive_opt::<ty::TimestampMicrosecondType>()) else {
            return Vec::new();
        };
        let is_far = |time: i64| time.unsigned_abs() >= 1 << 61;
        let guard = self.source.max_future.zip(chunk.timestamps.as_ref());
        let is_future = |row: usize, time: i64| {
            guard.is_some_and(|(guard, log)| time > log.value(row).saturating_mul(1_000).saturating_add(guard))
        };
        let is_refused =
            |row: &usize| times.is_valid(*row) && (is_far(times.value(*row)) || is_future(*row, times.value(*row)));
        (0..chunk.len()).filter(is_refused).map(|row| row as u32).collect()
    }

    /// Returns the offsets of a unit's rows, checked.
    fn offsets(&self, entry: &Entry, unit: &Unit, batch: &RecordBatch) -> Result<Int64Array> {
        if self.layout != Layout::Log {
            return Ok((unit.start..unit.end).collect::<Vec<_>>().into());
        }
        let offsets = offsets_in(entry, batch)?;
        let values = offsets.values();
        if values.windows(2).any(|pair| pair[0] >= pair[1]) {
            let message = format!("`{}` holds an offset twice or out of order", entry.file.path.display());
            return Err(Error::new(Code::LakeDiverges, message).help("Offsets grow from row to row"));
        }
        if values.first() != Some(&unit.start) || values.last().and_then(|last| last.checked_add(1)) != Some(unit.end) {
            let message = format!("the statistics of `_offset` in `{}` are not true", entry.file.path.display());
            return Err(Error::new(Code::Stats, message).help("Write the file again with a sound Parquet writer"));
        }
        Ok(offsets)
    }

    /// Fails when a maximum that was taken from statistics is not the one of the records.
    fn check_maximum(&self, entry: &Entry, unit: &Unit, chunk: &Chunk) -> Result<()> {
        let Some(claimed) = unit.max_event_time else { return Ok(()) };
        let found = if self.source.event_time == TIMESTAMP_COLUMN {
            chunk.timestamps.as_ref().and_then(|times| times.values().iter().max().map(|ms| ms.saturating_mul(1_000)))
        } else {
            let times = chunk.columns.column_by_name(&self.source.event_time);
            times.and_then(|times| {
                let times = times.as_primitive_opt::<ty::TimestampMicrosecondType>()?;
                match times.null_count() {
                    0 => times.values().iter().max().copied(),
                    _ => times.iter().flatten().max(),
                }
            })
        };
        // That the bad records are those without a time is for the driver to see, who knows what the engine made of them.
        if found.is_none_or(|found| found == claimed) {
            return Ok(());
        }
        let (column, path) = (&self.source.event_time, entry.file.path.display());
        Err(Error::new(Code::Stats, format!("the statistics of `{column}` in `{path}` are not true"))
            .help("Write the file again with a sound Parquet writer"))
    }

    /// Returns a unit's records as they are kept in `_key` and `_raw`.
    fn stored(&self, unit: &Unit) -> Result<RawRecords> {
        let place = self.places[unit.id];
        let entry = &self.files[place.file];
        let batch = entry.file.read(place.stretch, &RAW_COLUMNS)?;
        let bytes = |name: &str| batch.column_by_name(name).and_then(|array| array.as_binary_opt::<i32>()).cloned();
        let (Some(keys), Some(values)) = (bytes(name::KEY), bytes(name::RAW)) else {
            return Err(Error::new(Code::Corrupt, format!("`{}` has no `_key` and `_raw`", entry.file.path.display())));
        };
        Ok(RawRecords {
            partition: unit.partition,
            offsets: self.offsets(entry, unit, &batch)?.values().to_vec(),
            timestamps: milliseconds(entry, &batch)?.values().to_vec(),
            keys,
            values,
            headers: Vec::new(),
        })
    }

    /// Returns the records of a unit with `start <= offset < end` as bytes: as they are kept, else written from the columns
    /// so that decoding gives the same rows. Who reads only units does best to do so in order, one at a time.
    ///
    /// Where the layout has no timestamps, a record's event time stands in, or 0 where that is null.
    pub fn raw(&self, unit: &Unit, start: Offset, end: Offset) -> Result<RawRecords> {
        let raw = self.raw_whole(unit)?;
        Ok(if start <= unit.start && unit.end <= end { raw } else { clip(&raw, start, end) })
    }

    fn raw_whole(&self, unit: &Unit) -> Result<RawRecords> {
        let place = self.places[unit.id];
        let entry = &self.files[place.file];
        // Headers are kept as columns alone.
        let is_header = |column: &ColumnPlan| matches!(column.from, ValueFrom::Header(_));
        let has_headers = self.source.columns.iter().any(is_header);
        let has_all_raw = entry.file.footer.as_ref().is_some_and(|footer| footer.has_all_raw);
        if has_all_raw && self.layout == Layout::Log && !has_headers {
            return self.stored(unit);
        }
        let path = &entry.file.path;
        let stored = |name: &str| entry.file.stored(name).is_some();
        let is_log = self.layout == Layout::Log;
        let mut names: Vec<&str> = self.source.columns.iter().map(|column| column.field.name.as_str()).collect();
        names.extend([name::OFFSET, name::TIMESTAMP]);
        if is_log {
            names.extend([name::KEY, name::BAD, name::RAW]);
        }
        names.retain(|name| stored(name));
        let batch = entry.file.read(place.stretch, &names)?;
        let offsets = self.offsets(entry, unit, &batch)?;
        let rows = self.rows(entry, &batch)?;
        let binary = |name: &str| if is_log { bytes(entry, &batch, name) } else { Ok(None) };
        let (keys, kept) = (binary(name::KEY)?, binary(name::RAW)?);
        let bad = if is_log { batch.column_by_name(name::BAD) } else { None };
        let timestamps = if self.is_timed(entry) { Some(milliseconds(entry, &batch)?) } else { None };
        let mut builder = RawBuilder::new(unit.partition);
        let mut record = Encoded::default();
        for row in 0..batch.num_rows() {
            let is_bad = bad.is_some_and(|bad| bad.is_valid(row));
            let bytes = kept.as_ref().filter(|kept| kept.is_valid(row)).map(|kept| kept.value(row));
            let key = keys.as_ref().filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row));
            let timestamp =
                timestamps.as_ref().map_or_else(|| event_time_ms(&self.source, &rows, row), |ms| ms.value(row));
            let is_kept = is_bad || bytes.is_some();
            if is_kept && !has_headers {
                builder.push(offsets.value(row), timestamp, key, bytes, Vec::new());
                continue;
            }
            self.codec.encode(&rows, row, &mut record).map_err(|error| error.context(path.display()))?;
            // Key and value as they were, where they are kept; else as far as columns say.
            let key = if keys.is_some() { key } else { record.key.as_deref() };
            let value = if is_kept { bytes } else { record.value.as_deref() };
            builder.push(offsets.value(row), timestamp, key, value, std::mem::take(&mut record.headers));
        }
        Ok(builder.finish())
    }

    /// Returns all columns of the schema in their types, missing ones as nulls.
    fn rows(&self, entry: &Entry, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for column in &self.source.columns {
            let array = match batch.column_by_name(&column.field.name) {
                Some(stored) => self.converted(entry, column, stored, &mut Vec::new())?,
                None => arrow::array::new_null_array(&column.field.data_type.arrow(), batch.num_rows()),
            };
            fields.push(Field::new(&column.field.name, array.data_type().clone(), true));
            columns.push(array);
        }
        Ok(records::batch(fields, columns, batch.num_rows()))
    }
}

/// Returns a column of bytes, whatever kind of bytes or text it is stored as.
fn bytes(entry: &Entry, batch: &RecordBatch, name: &str) -> Result<Option<BinaryArray>> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    // Text is read as a dictionary where it is stored so; bytes are cast from text only.
    let refuse = |error: ArrowError| {
        Error::new(Code::Schema, format!("`{}`: column `{name}`: {error}", entry.file.path.display()))
    };
    let array = match array.data_type() {
        ArrowType::Dictionary(..) => arrow::compute::cast(array, &ArrowType::Utf8).map_err(refuse)?,
        _ => array.clone(),
    };
    let array = arrow::compute::cast(&array, &ArrowType::Binary).map_err(refuse)?;
    Ok(Some(array.as_binary::<i32>().clone()))
}

/// Returns the log's own times in milliseconds.
fn milliseconds(entry: &Entry, batch: &RecordBatch) -> Result<Int64Array> {
    let refuse = || {
        Error::new(Code::Schema, format!("`{}` has a record without `_timestamp`", entry.file.path.display()))
            .help("`max_future` and `_timestamp` need the log's own time of every record")
    };
    let array = batch.column_by_name(name::TIMESTAMP).filter(|array| array.null_count() == 0).ok_or_else(refuse)?;
    let ArrowType::Timestamp(unit, _) = array.data_type() else { return Err(refuse()) };
    if *unit == TimeUnit::Millisecond {
        return Ok(Int64Array::new(array.as_primitive::<ty::TimestampMillisecondType>().values().clone(), None));
    }
    let micros = column::micros(array.as_ref(), *unit);
    Ok(micros.values().iter().map(|us| us.div_euclid(1_000)).collect::<Vec<_>>().into())
}

/// Returns the records that were bad when the file was written.
fn marked(batch: &RecordBatch) -> Result<Vec<BadRow>> {
    let Some(reasons) = batch.column_by_name(name::BAD) else { return Ok(Vec::new()) };
    let reasons = arrow::compute::cast(reasons, &ArrowType::Utf8)
        .map_err(|error| Error::new(Code::Corrupt, format!("column `_bad`: {error}")))?;
    let reasons = reasons.as_string::<i32>();
    let bad = reasons.iter().zip(0..).filter_map(|(reason, row)| Some((reason?, row)));
    Ok(bad.map(|(reason, row)| BadRow { row, reason: reason.to_string(), raw: None }).collect())
}

fn event_time_ms(source: &SourcePlan, rows: &RecordBatch, row: usize) -> i64 {
    let times = rows.column_by_name(&source.event_time);
    let times = times.and_then(|times| times.as_primitive_opt::<ty::TimestampMicrosecondType>());
    times.filter(|times| times.is_valid(row)).map_or(0, |times| times.value(row).div_euclid(1_000))
}

/// Returns the records of a chunk with `start <= offset < end`.
pub(super) fn clip_chunk(chunk: Chunk, start: Offset, end: Offset) -> Chunk {
    let offsets = chunk.offsets.values();
    let from = offsets.partition_point(|offset| *offset < start);
    let to = offsets.partition_point(|offset| *offset < end).max(from);
    chunk.slice(from..to)
}
