//! Writing a lake of layout `log`.
//!
//! Every partition has one file open at a time, under a hidden name; it appears when it is whole. What a crash leaves is
//! removed at the next start, and writing goes on at the offset past the last file that appeared: no gap, no duplicate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int32Array, RecordBatch, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use engine::error::{Code, Error, Result};
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::SourcePlan;
use engine::value::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::file::LakeFile;
use super::footer::Footer;
use super::{listing, name};
use crate::disk::{self, File};
use crate::format::{Codec, codec};
use crate::records::clip;
use crate::store::{self, Unfinished};

/// How a lake is cut into files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LakeOptions {
    /// Keep the bytes of every value, not of bad records only.
    pub raw: bool,
    /// A file is finished when it has this many rows …
    pub roll_rows: usize,
    /// … or about this many bytes …
    pub roll_bytes: usize,
    /// … or when this time has passed since its first record.
    pub roll_ms: i64,
    /// Rows of a row group, the piece that batch mode works on.
    pub group_rows: usize,
    /// Open row groups of all partitions together may take this much memory; the largest is written out then.
    pub memory_bytes: usize,
}

impl Default for LakeOptions {
    fn default() -> Self {
        Self {
            raw: false,
            roll_rows: 4 << 20,
            roll_bytes: 256 << 20,
            roll_ms: 15 * 60 * 1_000,
            group_rows: 256 << 10,
            memory_bytes: 192 << 20,
        }
    }
}

/// Writes records of a log into a lake. There is one writer of a lake at a time.
pub struct LakeWriter {
    codec: Box<dyn Codec>,
    source: SourcePlan,
    options: LakeOptions,
    schema: SchemaRef,
    properties: WriterProperties,
    partitions: Vec<Part>,
    _lock: std::fs::File,
}

/// A partition's end.
struct Part {
    partition: Partition,
    folder: PathBuf,
    /// Where the next file's range begins.
    first: Offset,
    /// The next record's least offset.
    next: Offset,
    /// What the last published file says the end is; None: no file yet.
    published: Option<Offset>,
    maximum: Option<i64>,
    open: Option<Open>,
}

/// A file that is being written.
struct Open {
    unfinished: Unfinished,
    writer: ArrowWriter<File>,
    rows: usize,
    since_ms: i64,
}

impl std::fmt::Debug for LakeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeWriter").field("positions", &self.positions()).finish()
    }
}

/// Refuses to go on with a lake that has lost a file: what comes after a hole could never be read.
fn check_contiguous(files: &[(Offset, PathBuf)]) -> Result<()> {
    for pair in files.windows(2) {
        let file = LakeFile::open(pair[0].1.clone())?;
        let end = file.footer.as_ref().map(|footer| footer.next_offset);
        if let Some(end) = end.filter(|end| *end != pair[1].0) {
            let message =
                format!("`{}` ends at offset {end} and the next file begins at {}", file.path.display(), pair[1].0);
            return Err(Error::new(Code::LakeGap, message)
                .help("a file between them is missing; put it back, or archive into an empty folder"));
        }
    }
    Ok(())
}

impl LakeWriter {
    /// Opens or makes a lake at `path`. `starts` are the log's partitions and first offsets; a partition that has files
    /// goes on where they end. Every partition gets a folder and, if it has no file, one without rows.
    pub fn open(
        path: impl AsRef<str>,
        source: &SourcePlan,
        options: LakeOptions,
        starts: &[(Partition, Offset)],
    ) -> Result<Self> {
        let path = Path::new(listing::local(path.as_ref())?);
        store::create_folder(path)?;
        let mut source = source.clone();
        source.needed = source.columns.iter().map(|column| column.field.name.clone()).collect();
        let mut writer = Self {
            codec: codec(&source)?,
            options,
            schema: schema(&source),
            properties: properties(&source, options.group_rows)?,
            partitions: Vec::new(),
            _lock: lock(path)?,
            source,
        };
        for (partition, start) in starts {
            let part = writer.resume(path.join(format!("partition={partition}")), *partition, *start)?;
            writer.partitions.push(part);
        }
        writer.partitions.sort_by_key(|part| part.partition);
        for i in 0..writer.partitions.len() {
            if writer.partitions[i].published.is_none() {
                writer.publish_empty(i)?;
            }
        }
        Ok(writer)
    }

    /// Finds where a partition's files end.
    fn resume(&self, folder: PathBuf, partition: Partition, start: Offset) -> Result<Part> {
        store::create_folder(&folder)?;
        store::remove_unfinished(&folder)?;
        let mut part =
            Part { partition, folder, first: start, next: start, published: None, maximum: None, open: None };
        let mut files = listing::log_files(&part.folder)?;
        check_contiguous(&files)?;
        let Some((first, path)) = files.pop() else { return Ok(part) };
        let file = LakeFile::open(path)?;
        let refuse = |what: &str| {
            Err(Error::new(Code::Schema, format!("`{}` {what}", file.path.display()))
                .help("Archive into an empty folder, or with the pipeline that wrote this lake"))
        };
        let Some(footer) = &file.footer else { return refuse("was not written by `samestream archive`") };
        if !footer.has_maximum_for(&self.source) {
            return refuse("was written for another schema, event time, future guard or decoder");
        }
        if footer.first_offset != first {
            return refuse("does not begin at the offset in its name");
        }
        part.next = footer.next_offset;
        part.published = Some(footer.next_offset);
        part.maximum = footer.max_event_time;
        // A file without rows is replaced by the first real one of the same name.
        part.first = if file.rows() == 0 { first } else { footer.next_offset };
        Ok(part)
    }

    /// Returns where the next record of each partition is expected, ascending by partition.
    pub fn positions(&self) -> Vec<(Partition, Offset)> {
        self.partitions.iter().map(|part| (part.partition, part.next)).collect()
    }

    /// Writes records of one partition. Those below the position, which are written already, are passed over.
    pub fn append(&mut self, raw: &RawRecords, now_ms: i64) -> Result<()> {
        let i = self.number(raw.partition)?;
        let from = self.partitions[i].next;
        if raw.offsets.first().is_some_and(|first| *first < from) {
            return self.append(&clip(raw, from, Offset::MAX), now_ms);
        }
        // A file ends at its row, not at the end of the piece that happens to reach it.
        let room = self.options.roll_rows.saturating_sub(self.partitions[i].open.as_ref().map_or(0, |open| open.rows));
        if let Some(cut) = raw.offsets.get(room.max(1)).copied() {
            self.append(&clip(raw, Offset::MIN, cut), now_ms)?;
            return self.append(&clip(raw, cut, Offset::MAX), now_ms);
        }
        let Some(last) = raw.offsets.last() else { return Ok(()) };
        let chunk = self.codec.decode(raw);
        let batch = self.batch(raw, &chunk)?;
        let maximum = maximum(&chunk, &self.source);
        if self.partitions[i].open.is_none() {
            self.partitions[i].open = Some(self.create(&self.partitions[i], now_ms)?);
        }
        let part = &mut self.partitions[i];
        let open = part.open.as_mut().expect("just opened");
        open.writer.write(&batch).map_err(|error| failed(&part.folder, error))?;
        open.rows += batch.num_rows();
        part.maximum = part.maximum.max(maximum);
        part.next = last + 1;
        self.spare_memory()?;
        self.roll(i, now_ms)
    }

    /// Notes that the log of a partition holds no record below `next` that was not written: control markers are passed.
    pub fn advance(&mut self, partition: Partition, next: Offset) -> Result<()> {
        let i = self.number(partition)?;
        self.partitions[i].next = self.partitions[i].next.max(next);
        Ok(())
    }

    /// Finishes files whose time has come.
    pub fn tick(&mut self, now_ms: i64) -> Result<()> {
        (0..self.partitions.len()).try_for_each(|i| self.roll(i, now_ms))
    }

    /// Finishes all files. What was appended is then in the lake; writing can go on.
    pub fn finish(&mut self) -> Result<()> {
        for i in 0..self.partitions.len() {
            self.publish(i)?;
            if self.partitions[i].published.is_none_or(|end| end < self.partitions[i].next) {
                self.publish_empty(i)?;
            }
        }
        Ok(())
    }

    fn number(&self, partition: Partition) -> Result<usize> {
        let found = self.partitions.binary_search_by_key(&partition, |part| part.partition);
        found.map_err(|_| {
            Error::new(Code::PartitionsChanged, format!("partition {partition} was not there at the start"))
        })
    }

    fn roll(&mut self, i: usize, now_ms: i64) -> Result<()> {
        let Some(open) = &self.partitions[i].open else { return Ok(()) };
        let size = open.writer.bytes_written() + open.writer.in_progress_size();
        let is_full = open.rows >= self.options.roll_rows || size >= self.options.roll_bytes;
        if is_full || now_ms.saturating_sub(open.since_ms) >= self.options.roll_ms { self.publish(i) } else { Ok(()) }
    }

    /// Writes out the largest open row group while all of them together take too much memory.
    fn spare_memory(&mut self) -> Result<()> {
        loop {
            let sizes =
                self.partitions.iter().map(|part| part.open.as_ref().map_or(0, |open| open.writer.memory_size()));
            let sizes: Vec<usize> = sizes.collect();
            let Some((largest, size)) = sizes.iter().enumerate().max_by_key(|(_, size)| **size) else { return Ok(()) };
            if sizes.iter().sum::<usize>() <= self.options.memory_bytes || *size == 0 {
                return Ok(());
            }
            let part = &mut self.partitions[largest];
            let open = part.open.as_mut().expect("it has a size");
            if open.writer.in_progress_rows() == 0 {
                return Ok(());
            }
            open.writer.flush().map_err(|error| failed(&part.folder, error))?;
        }
    }

    fn create(&self, part: &Part, now_ms: i64) -> Result<Open> {
        let unfinished = Unfinished::create(part.folder.join(format!("{:020}.parquet", part.first)))?;
        let file = unfinished.file().try_clone().map_err(|error| Error::io(part.folder.display(), error))?;
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(self.properties.clone()))
            .map_err(|error| failed(&part.folder, error))?;
        Ok(Open { unfinished, writer, rows: 0, since_ms: now_ms })
    }

    /// Finishes a partition's open file.
    fn publish(&mut self, i: usize) -> Result<()> {
        let Some(mut open) = self.partitions[i].open.take() else { return Ok(()) };
        let part = &mut self.partitions[i];
        let footer = Footer {
            first_offset: part.first,
            next_offset: part.next,
            max_event_time: part.maximum,
            ..Footer::new(&self.source, self.options.raw)
        };
        footer.pairs().into_iter().for_each(|pair| open.writer.append_key_value_metadata(pair));
        open.writer.close().map_err(|error| failed(&part.folder, error))?;
        open.unfinished.publish()?;
        part.published = Some(part.next);
        if open.rows > 0 {
            part.first = part.next;
        }
        Ok(())
    }

    /// Writes a file without rows, so that the partition and how far it was read are known.
    fn publish_empty(&mut self, i: usize) -> Result<()> {
        self.partitions[i].open = Some(self.create(&self.partitions[i], 0)?);
        self.publish(i)
    }

    /// Makes the rows of a file.
    fn batch(&self, raw: &RawRecords, chunk: &Chunk) -> Result<RecordBatch> {
        let rows = raw.offsets.len();
        let mut reasons = StringBuilder::new();
        let mut bad = chunk.bad.iter().peekable();
        for row in 0..rows {
            reasons.append_option(bad.next_if(|bad| bad.row as usize == row).map(|bad| bad.reason.as_str()));
        }
        let reasons = reasons.finish();
        let kept: BinaryArray = if self.options.raw {
            raw.values.clone()
        } else {
            let mut kept = BinaryBuilder::new();
            for row in 0..rows {
                let is_kept = reasons.is_valid(row) && raw.values.is_valid(row);
                kept.append_option(is_kept.then(|| raw.values.value(row)));
            }
            kept.finish()
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![raw.partition; rows])),
            Arc::new(chunk.offsets.clone()),
            Arc::new(TimestampMillisecondArray::from(raw.timestamps.clone()).with_timezone("UTC")),
            Arc::new(raw.keys.clone()),
        ];
        columns.extend(chunk.columns.columns().iter().cloned());
        columns.push(Arc::new(reasons));
        columns.push(Arc::new(kept));
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::new(Code::Io, format!("cannot write the lake: {error}")))
    }
}

/// Returns the largest event time of the valid records of a chunk.
fn maximum(chunk: &Chunk, source: &SourcePlan) -> Option<i64> {
    let log_times = chunk.timestamps.as_ref().expect("the decoder keeps the log's times").values();
    let column = chunk.columns.column_by_name(&source.event_time);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let bad = chunk.bad.iter().filter(|bad| !(source.tombstones && bad.is_without_value()));
    let mut bad = bad.map(|bad| bad.row as usize).peekable();
    let mut maximum = None;
    for row in 0..chunk.len() {
        if bad.next_if_eq(&row).is_some() {
            continue;
        }
        let log_time = log_times[row].saturating_mul(1_000);
        let time = match times {
            Some(times) if times.is_valid(row) => times.value(row),
            Some(_) => continue,
            None => log_time,
        };
        if source.max_future.is_none_or(|guard| time <= log_time.saturating_add(guard)) {
            maximum = maximum.max(Some(time));
        }
    }
    maximum
}

fn schema(source: &SourcePlan) -> SchemaRef {
    let mut fields = vec![
        Field::new(name::PARTITION, ArrowType::Int32, false),
        Field::new(name::OFFSET, ArrowType::Int64, false),
        Field::new(name::TIMESTAMP, ArrowType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new(name::KEY, ArrowType::Binary, true),
    ];
    // Nullable even where the schema says `!`: bad records have nulls there.
    let columns = source.columns.iter().map(|column| &column.field);
    fields.extend(columns.map(|field| Field::new(&field.name, field.data_type.arrow(), true)));
    fields.push(Field::new(name::BAD, ArrowType::Utf8, true));
    fields.push(Field::new(name::RAW, ArrowType::Binary, true));
    Arc::new(Schema::new(fields))
}

fn properties(source: &SourcePlan, group_rows: usize) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|error| Error::new(Code::Io, error.to_string()))?;
    let path = |name: &str| ColumnPath::new(vec![name.to_string()]);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(group_rows.max(1)))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Growing numbers: their differences take a few bits.
    for name in [name::OFFSET, name::TIMESTAMP] {
        builder = builder
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    builder = builder.set_column_dictionary_enabled(path(name::RAW), false);
    for column in &source.columns {
        if matches!(column.field.data_type, DataType::Timestamp | DataType::Float64) {
            builder = builder.set_column_dictionary_enabled(path(&column.field.name), false);
        }
    }
    Ok(builder.build())
}

fn lock(path: &Path) -> Result<std::fs::File> {
    let path = path.join(".lock");
    let fail = |error| Error::io(format!("cannot write `{}`", path.display()), error);
    disk::lock(&path).map_err(fail)?.ok_or_else(|| {
        let message = format!("another process writes to the lake `{}`", path.with_file_name("").display());
        Error::new(Code::StateBusy, message).help("A lake has one writer at a time")
    })
}

/// Returns the error of a failed write; a full disk is told from others.
fn failed(folder: &Path, error: ParquetError) -> Error {
    let what = format!("cannot write to `{}`", folder.display());
    let full = match &error {
        ParquetError::External(inner) => inner.downcast_ref::<std::io::Error>().map(std::io::Error::kind),
        _ => None,
    };
    match full {
        Some(kind) => Error::io(what, std::io::Error::new(kind, error.to_string())),
        None => Error::new(Code::Io, format!("{what}: {error}")),
    }
}
