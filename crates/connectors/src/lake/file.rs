//! One Parquet file: its footer, checked before anything is made of it, and stretches of its columns.
//!
//! Text that is stored with a dictionary stays one, so that a key is looked up once for all of its rows. Three columns take 37 to 43 ns a
//! record (`benches/kernels.rs`), half of it decompression.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use engine::error::{Code, Error, Result};
use engine::hostile::guarded as caught;
use engine::hostile::parquet::{self as claims, ReadAt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::footer::Footer;

/// Row groups times columns: what is known of each takes a few hundred bytes.
const MOST_CHUNKS: usize = 1 << 19;
/// Rows of a file: the units that they are read in are listed.
const MOST_ROWS: i64 = 1 << 34;

/// A file, read by place.
struct Places<'a>(&'a File);

impl ReadAt for Places<'_> {
    fn read_at(&self, bytes: &mut [u8], place: u64) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self.0, bytes, place)
    }
}

/// An open Parquet file.
#[derive(Debug)]
pub(super) struct LakeFile {
    pub(super) path: PathBuf,
    pub(super) footer: Option<Footer>,
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
    /// What tells the file from another one that takes its place.
    stamp: Stamp,
    /// XXH3-64 of the bytes of its footer.
    footer_sum: u64,
}

/// Device, number, size and time of change of a file.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(file: &File) -> std::io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// What the statistics of a row group say about a column; None: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) nulls: Option<u64>,
    /// Least and largest value of an integer, date or timestamp column, in the column's own unit.
    pub(super) range: Option<(i64, i64)>,
}

/// A stretch of rows of a row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) group: usize,
    pub(super) skip: usize,
    pub(super) rows: usize,
}

impl LakeFile {
    /// Reads and checks a file's footer.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
        let stamp = stamp(&file).map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
        guarded(&path, || {
            let size = file.metadata().map_err(|error| error.to_string())?.len();
            let bytes = claims::footer(&Places(&file), size)?;
            let metadata = ParquetMetaDataReader::decode_metadata(&bytes).map_err(|error| error.to_string())?;
            check(&metadata, size)?;
            let options = ArrowReaderOptions::new();
            let first = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(|error| error.to_string())?;
            let metadata = first.metadata().clone();
            let pairs = metadata.file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
            let footer = Footer::read(pairs)?;
            let schema = readable(first.schema(), &metadata);
            let footer_sum = xxhash_rust::xxh3::xxh3_64(&bytes);
            Ok(Self { path: path.clone(), footer, metadata, schema, stamp, footer_sum })
        })
    }

    /// Returns what tells it from a file that was written anew in its place: name, size, time of change and footer. Not where
    /// it is, so that a lake that is moved stays the same.
    pub(super) fn fingerprint(&self) -> u64 {
        let (_, _, size, seconds, nanos) = self.stamp;
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        let numbers = [self.footer_sum, size, seconds as u64, nanos as u64];
        let bytes: Vec<u8> =
            numbers.iter().flat_map(|number| number.to_le_bytes()).chain(name.iter().copied()).collect();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    /// Returns how many rows each row group has.
    pub(super) fn groups(&self) -> impl Iterator<Item = usize> {
        self.metadata.row_groups().iter().map(|group| group.num_rows() as usize)
    }

    /// Returns how many rows a row group has.
    pub(super) fn group_rows(&self, group: usize) -> usize {
        self.metadata.row_group(group).num_rows() as usize
    }

    /// Returns how many rows it has.
    pub(super) fn rows(&self) -> usize {
        self.groups().sum()
    }

    /// Returns its columns.
    pub(super) fn fields(&self) -> &arrow::datatypes::Fields {
        self.schema.fields()
    }

    /// Returns the type a column is stored in, if it is there.
    pub(super) fn stored(&self, name: &str) -> Option<&ArrowType> {
        self.schema.field_with_name(name).ok().map(Field::data_type)
    }

    /// Returns what is known of a column in a row group without reading it. A column that is not there is all null.
    pub(super) fn known(&self, group: usize, name: &str) -> Known {
        let group = self.metadata.row_group(group);
        match leaf(group, name) {
            Some(chunk) => known(chunk, group.num_rows()),
            // Statistics of a nested column are those of its parts.
            None if self.stored(name).is_some() => Known::default(),
            None => Known { nulls: Some(group.num_rows() as u64), range: None },
        }
    }

    /// Returns how many bytes columns of a stretch take, compressed; of a part of a row group its share of them, so that the
    /// parts of one have its size together.
    pub(super) fn stored_bytes(&self, stretch: Stretch, names: &[&str]) -> u64 {
        let group = self.metadata.row_group(stretch.group);
        let bytes: u64 = read_of(group, names).map(|chunk| chunk.compressed_size().max(0) as u64).sum();
        let until = |row: usize| (u128::from(bytes) * row as u128 / (group.num_rows().max(1) as u128)) as u64;
        until(stretch.skip + stretch.rows) - until(stretch.skip)
    }

    /// Has the system fetch columns of a row group into its cache while something else is done. It is a hint: where it fails,
    /// reading does.
    pub(super) fn fetch(&self, group: usize, names: &[&str]) {
        let Ok(file) = File::open(&self.path) else { return };
        for chunk in read_of(self.metadata.row_group(group), names) {
            let (start, size) = (start(chunk).try_into(), u64::try_from(chunk.compressed_size()));
            if let (Ok(start), Ok(size)) = (start, size) {
                will_need(&file, start, size);
            }
        }
    }

    /// Reads columns of a stretch. Text that is stored with a dictionary throughout comes as one.
    pub(super) fn read(&self, stretch: Stretch, names: &[&str]) -> Result<RecordBatch> {
        let selection = RowSelection::from(vec![RowSelector::skip(stretch.skip), RowSelector::select(stretch.rows)]);
        let is_all = stretch.skip == 0 && stretch.rows == self.metadata.row_group(stretch.group).num_rows() as usize;
        self.read_rows(stretch.group, stretch.rows, (!is_all).then_some(selection), names)
    }

    /// Reads columns of single rows of a row group, given by growing number.
    pub(super) fn read_single(&self, group: usize, rows: &[usize], names: &[&str]) -> Result<RecordBatch> {
        let mut selectors = Vec::with_capacity(rows.len() * 2);
        let mut next = 0;
        for &row in rows {
            selectors.push(RowSelector::skip(row - next));
            selectors.push(RowSelector::select(1));
            next = row + 1;
        }
        self.read_rows(group, rows.len(), Some(RowSelection::from(selectors)), names)
    }

    fn read_rows(
        &self,
        group: usize,
        rows: usize,
        selection: Option<RowSelection>,
        names: &[&str],
    ) -> Result<RecordBatch> {
        let failed = |error| Error::io(format!("cannot read `{}`", self.path.display()), error);
        let file = File::open(&self.path).map_err(failed)?;
        // Its footer would tell where other rows are than those that are there now.
        if stamp(&file).map_err(failed)? != self.stamp {
            let message = format!("`{}` was changed while it was read", self.path.display());
            return Err(Error::new(Code::LakeDiverges, message)
                .help("files of a lake are never changed; put it back as it was, and run again"));
        }
        guarded(&self.path, || {
            let metadata = self.reader_metadata(group, names)?;
            let descriptor = self.metadata.file_metadata().schema_descr();
            let leaves: Vec<usize> = (0..descriptor.num_columns())
                .filter(|i| names.iter().any(|name| descriptor.column(*i).path().parts()[0] == *name))
                .collect();
            leaves.iter().try_for_each(|leaf| pages(&file, self.metadata.row_group(group).column(*leaf)))?;
            let mask = ProjectionMask::leaves(descriptor, leaves);
            let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(rows.max(1));
            if let Some(selection) = selection {
                builder = builder.with_row_selection(selection);
            }
            let reader = builder.build().map_err(|error| error.to_string())?;
            let schema = arrow::array::RecordBatchReader::schema(&reader);
            let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            let batch = match <[RecordBatch; 1]>::try_from(batches) {
                Ok([batch]) => batch,
                Err(batches) => arrow::compute::concat_batches(&schema, &batches).map_err(|error| error.to_string())?,
            };
            if batch.num_rows() != rows {
                return Err(format!("a row group has {} rows where its footer says {rows}", batch.num_rows()));
            }
            Ok(batch)
        })
    }

    /// Returns the reader's view of the file in which text columns of `group` that are dictionaries stay so.
    fn reader_metadata(&self, group: usize, names: &[&str]) -> Result<ArrowReaderMetadata, String> {
        let group = self.metadata.row_group(group);
        let fields: Vec<Field> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let is_dictionary = *field.data_type() == ArrowType::Utf8
                    && names.contains(&field.name().as_str())
                    && leaf(group, field.name()).is_some_and(is_dictionary);
                if !is_dictionary {
                    return field.as_ref().clone();
                }
                let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
                field.as_ref().clone().with_data_type(dictionary)
            })
            .collect();
        let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
        ArrowReaderMetadata::try_new(self.metadata.clone(), options).map_err(|error| error.to_string())
    }
}

/// Runs something over a hostile file: its errors and panics name the file.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T> {
    let corrupt = |what: String| {
        Error::new(Code::Corrupt, format!("`{}` cannot be read as Parquet: {what}", path.display()))
            .help("The file is damaged or was not written completely; restore it or archive it again")
    };
    caught(work).map_err(corrupt)
}

/// Refuses a footer whose numbers cannot be true, before anything is allocated for them.
fn check(metadata: &ParquetMetaData, file_size: u64) -> Result<(), String> {
    let mut rows: i64 = 0;
    let columns = metadata.file_metadata().schema_descr().num_columns();
    if metadata.num_row_groups().saturating_mul(columns.max(1)) > MOST_CHUNKS {
        return Err(format!("{} row groups of {columns} columns", metadata.num_row_groups()));
    }
    for group in metadata.row_groups() {
        let count = group.num_rows();
        if !(0..=i64::from(i32::MAX)).contains(&count) {
            return Err(format!("a row group of {count} rows"));
        }
        rows += count;
        if rows > MOST_ROWS {
            return Err(format!("more than {MOST_ROWS} rows"));
        }
        for chunk in group.columns() {
            let (stored, size) = (chunk.compressed_size(), chunk.uncompressed_size());
            if stored < 0 || size < 0 || stored as u64 > file_size {
                return Err(format!("column `{}` has a size of {stored} bytes", chunk.column_path()));
            }
            claims::grows(stored, size).map_err(|what| of(chunk, what))?;
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return Err(format!("its row groups have {rows} rows, its footer {}", metadata.file_metadata().num_rows()));
    }
    Ok(())
}

/// What Linux reads ahead when it is not told otherwise. It takes an advice for about as much, whatever the advice says.
#[cfg(target_os = "linux")]
const ADVISED: u64 = 128 << 10;

/// Tells the system that so many bytes of a file will be read soon. Where one in the middle is at hand, all are taken to be: to
/// look after each page would cost a fiftieth of a run.
#[cfg(target_os = "linux")]
fn will_need(file: &File, start: u64, size: u64) {
    use rustix::fs::{Advice, fadvise};
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut byte = [0];
    let slot = &mut [std::io::IoSliceMut::new(&mut byte)];
    if preadv2(file, slot, start.saturating_add(size / 2), ReadWriteFlags::NOWAIT) == Ok(1) {
        return;
    }
    for place in (start..start.saturating_add(size)).step_by(ADVISED as usize) {
        _ = fadvise(file, place, std::num::NonZeroU64::new(ADVISED), Advice::WillNeed);
    }
}

/// Other systems read ahead by themselves or not at all.
#[cfg(not(target_os = "linux"))]
fn will_need(_: &File, _: u64, _: u64) {}

/// Returns what is read of a row group.
fn read_of<'a>(group: &'a RowGroupMetaData, names: &'a [&str]) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
    let is_read = |chunk: &&ColumnChunkMetaData| {
        chunk.column_path().parts().first().is_some_and(|root| names.contains(&root.as_str()))
    };
    group.columns().iter().filter(is_read)
}

/// Returns where the pages of a column begin, by what the footer says.
fn start(chunk: &ColumnChunkMetaData) -> i64 {
    chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset())
}

/// Refuses the pages of a column of which memory would be taken that the footer does not speak of.
fn pages(file: &File, chunk: &ColumnChunkMetaData) -> Result<(), String> {
    let checked = claims::check_pages(&Places(file), start(chunk), chunk.compressed_size(), chunk.num_values());
    checked.map_err(|what| of(chunk, what))
}

fn of(chunk: &ColumnChunkMetaData, what: String) -> String {
    format!("column `{}` of a row group: {what}", chunk.column_path())
}

/// Returns the schema to read with: dictionaries are decided by row group, and the old 96-bit times as microseconds,
/// because as nanoseconds they would wrap outside the years 1677 to 2262.
fn readable(schema: &Schema, metadata: &ParquetMetaData) -> SchemaRef {
    let descriptor = metadata.file_metadata().schema_descr();
    let is_int96 = |name: &str| {
        descriptor
            .columns()
            .iter()
            .any(|column| column.path().parts() == [name.to_string()] && column.physical_type() == PhysicalType::INT96)
    };
    let fields = schema.fields().iter().map(|field| {
        let plain = match field.data_type() {
            ArrowType::Dictionary(_, values) if **values == ArrowType::Utf8 => ArrowType::Utf8,
            ArrowType::Timestamp(TimeUnit::Nanosecond, _) if is_int96(field.name()) => {
                ArrowType::Timestamp(TimeUnit::Microsecond, None)
            }
            other => other.clone(),
        };
        field.as_ref().clone().with_data_type(plain)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Returns the chunk of a top-level column that is a plain value.
fn leaf<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<&'a ColumnChunkMetaData> {
    group.columns().iter().find(|chunk| chunk.column_path().parts() == [name.to_string()])
}

/// Returns true when every data page of a chunk points into a dictionary. Where the file does not say, it is false:
/// reading plain pages as a dictionary would cost more than it gains.
fn is_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let is_dictionary = |encoding| matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
    match chunk.page_encoding_stats_mask() {
        Some(mask) => mask.encodings().next().is_some() && mask.encodings().all(is_dictionary),
        None => false,
    }
}

fn known(chunk: &ColumnChunkMetaData, rows: i64) -> Known {
    let Some(statistics) = chunk.statistics() else { return Known::default() };
    let nulls = statistics.null_count_opt().filter(|nulls| *nulls <= rows as u64);
    // Bounds of these types are never truncated, so they are exact where they are given.
    let range = match statistics {
        Statistics::Int32(values) => {
            values.min_opt().zip(values.max_opt()).map(|(a, b)| (i64::from(*a), i64::from(*b)))
        }
        Statistics::Int64(values) => values.min_opt().zip(values.max_opt()).map(|(a, b)| (*a, *b)),
        _ => None,
    };
    Known { nulls, range: range.filter(|(least, largest)| least <= largest) }
}
