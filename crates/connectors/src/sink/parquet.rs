//! Parquet: a folder of files, zstd, with the sink's columns and `final`.

use std::path::{Path, PathBuf};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType as ArrowType, SchemaRef, TimestampMicrosecondType};
use engine::digest::RowDigester;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding as PageEncoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::folder::{self, FolderSink, Roll, no_window_start};
use super::once::Once;
use super::rows::{Encoding, RowWriter, Span, WINDOW_START, WindowRange};
use super::{Setting, SinkKind, refuse_file_path, required};
use crate::disk::File;

/// Rows in a row group at most.
const ROW_GROUP_ROWS: usize = 64 * 1024;
/// A row group is written out when it takes about this much memory: a run may have a dozen of these writers, and what
/// they hold must not depend on how wide a row is.
const ROW_GROUP_MEMORY: usize = 2 << 20;
/// Rows, and about how many bytes of them, between two looks at the memory.
const ROWS_AT_ONCE: usize = 4 * 1024;
const BYTES_AT_ONCE: usize = 256 << 10;
/// A column with more bytes of different values than this is written without a dictionary.
const DICTIONARY_BYTES: usize = 256 << 10;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "parquet",
    help: "a folder of Parquet files",
    file_kind: "parquet",
    settings: &[
        Setting { name: "path", help: "the folder", is_required: true, is_built: true },
        folder::ROLL_ROWS,
        folder::ROLL_BYTES,
        Setting { name: "partition_by", help: "columns that name sub-folders", is_required: false, is_built: false },
    ],
    check: |plan| Roll::of(plan).map(|_| ()),
    probe: super::nothing,
    open: |plan, context| Ok(Box::new(Once::new(folder_sink(plan)?, context))),
    folder: |plan| folder_sink(plan).map(Some),
};

fn folder_sink(plan: &SinkPlan) -> Result<FolderSink> {
    let path = required(plan, "path")?;
    refuse_file_path(plan, path)?;
    FolderSink::new(plan, path.into(), &ParquetEncoding)
}

struct ParquetEncoding;

impl Encoding for ParquetEncoding {
    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn append(&self, file: File, schema: &SchemaRef) -> Result<Box<dyn RowWriter>> {
        Ok(Box::new(ParquetRows(writer(file, schema)?)))
    }

    fn join(&self, from: &[PathBuf], to: File, schema: &SchemaRef, most: u64) -> Result<(File, usize)> {
        let mut rows = ParquetRows(writer(to, schema)?);
        let mut joined = 0;
        for path in from {
            let length = path.metadata().map_err(|error| Error::io(path.display(), error))?.len();
            if joined > 1 && rows.bytes() + length > most {
                break;
            }
            for_batches(path, schema, |batch| rows.write(&batch))?;
            joined += 1;
        }
        Ok((Box::new(rows).finish()?, joined))
    }

    fn feed(&self, from: &Path, schema: &SchemaRef, into: &mut Sha256) -> Result<()> {
        let mut digester = RowDigester::new("", &Schema::new(Vec::new()));
        for_batches(from, schema, |batch| {
            digester.rows(batch.columns(), batch.num_rows(), |_, row| into.update(row.to_le_bytes()));
            Ok(())
        })
    }

    fn copy_outside(&self, from: &Path, to: File, schema: &SchemaRef, range: &WindowRange) -> Result<Span> {
        let mut rows = ParquetRows(writer(to, schema)?);
        let mut span = Span::default();
        for_batches(from, schema, |batch| {
            let starts = batch
                .column_by_name(WINDOW_START)
                .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
                .ok_or_else(|| no_window_start(from))?;
            let keep: BooleanArray =
                starts.iter().map(|start| Some(!start.is_some_and(|start| range.contains(start)))).collect();
            let kept = filter_record_batch(&batch, &keep).map_err(|error| damaged(from, &error))?;
            span.add_rows(&kept);
            rows.write(&kept)
        })?;
        Box::new(rows).finish()?;
        Ok(span)
    }
}

/// Hands over the rows of a file in the sink's schema.
fn for_batches(path: &Path, schema: &SchemaRef, mut take: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let file = std::fs::File::open(path).map_err(|error| Error::io(path.display(), error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|error| damaged(path, &error))?;
    for batch in reader {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        take(RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|error| damaged(path, &error))?)?;
    }
    Ok(())
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Corrupt, format!("{}: {error}", path.display()))
}

struct ParquetRows(ArrowWriter<File>);

impl RowWriter for ParquetRows {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let path = self.0.inner().path().to_path_buf();
        let failed = |error| failed(&path, error);
        let row_bytes = rows.get_array_memory_size() / rows.num_rows().max(1);
        let at_once = (BYTES_AT_ONCE / row_bytes.max(1)).clamp(1, ROWS_AT_ONCE);
        for start in (0..rows.num_rows()).step_by(at_once) {
            let length = at_once.min(rows.num_rows() - start);
            self.0.write(&rows.slice(start, length)).map_err(failed)?;
            if self.0.memory_size() > ROW_GROUP_MEMORY {
                self.0.flush().map_err(failed)?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.0.bytes_written() + self.0.in_progress_size()) as u64
    }

    fn finish(mut self: Box<Self>) -> Result<File> {
        // Not `into_inner`: of a full disk it says only that something went wrong.
        let path = self.0.inner().path().to_path_buf();
        self.0.finish().map_err(|error| failed(&path, error))?;
        self.0.inner().try_clone().map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))
    }
}

fn writer(file: File, schema: &SchemaRef) -> Result<ArrowWriter<File>> {
    let level = ZstdLevel::try_new(1).expect("1 is a zstd level");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // A column keeps the compressor of its first page, up to a megabyte, until the row group is written out: pages that
        // end with the group need one at a time, not one for every column of every open file.
        .set_data_page_row_count_limit(ROW_GROUP_ROWS);
    for field in schema.fields() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        properties = match field.data_type() {
            // Hardly any two floats are equal: a dictionary of them would be memory for nothing.
            ArrowType::Float64 => properties.set_column_dictionary_enabled(column, false),
            // Rows are sorted by window and key, and counts are small: differences are smaller than numbers in a dictionary,
            // and cost no search.
            ArrowType::Int32 | ArrowType::Int64 | ArrowType::Date32 | ArrowType::Timestamp(..) => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, PageEncoding::DELTA_BINARY_PACKED),
            _ => properties,
        };
    }
    let path = file.path().to_path_buf();
    ArrowWriter::try_new(file, schema.clone(), Some(properties.build())).map_err(|error| failed(&path, error))
}

/// Turns a writer's error into ours; the cause is the disk unless the writer says otherwise.
fn failed(path: &Path, error: ParquetError) -> Error {
    let what = format!("cannot write `{}`", path.display());
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(io) => Error::io(what, *io),
            Err(other) => Error::new(Code::Io, format!("{what}: {other}")),
        },
        other => Error::new(Code::Io, format!("{what}: {other}")),
    }
}
