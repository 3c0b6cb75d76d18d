//! Pinned tables: CSV and Parquet files that a pipeline looks values up in. Their contents are part of the definition.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType as ArrowType, Field, Int64Type, Schema, TimeUnit};
use bytes::Bytes;
use engine::hostile::{self, parquet as claims};
use engine::{Code, DataType, Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaDataReader;

/// The columns of a file, and what its contents are.
pub(crate) struct Table {
    /// Plain arrays of our types.
    pub(crate) columns: Vec<(String, DataType, ArrayRef)>,
    /// XXH3-128 of the file's bytes.
    pub(crate) digest: String,
}

/// Reads a CSV file with a header (its columns are text, an empty field is null) or a Parquet file.
pub(crate) fn read(path: &str) -> Result<Table> {
    if path.contains("://") {
        return Err(Error::new(Code::Unsupported, format!("a lookup reads local files, not {path}"))
            .help("copy the file here; its contents are part of the definition"));
    }
    let bytes = std::fs::read(path).map_err(|error| Error::io(format!("cannot read {path}"), error))?;
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    let kind = Path::new(path).extension().and_then(|kind| kind.to_str()).unwrap_or_default().to_lowercase();
    let columns = match kind.as_str() {
        "csv" => csv_columns(path, &bytes)?,
        "parquet" => parquet_columns(path, bytes)?,
        _ => {
            return Err(Error::new(Code::Unsupported, format!("{path} is neither CSV nor Parquet by its name"))
                .help("give it the ending `.csv` or `.parquet`"));
        }
    };
    Ok(Table { columns, digest })
}

type Columns = Vec<(String, DataType, ArrayRef)>;

fn csv_columns(path: &str, bytes: &[u8]) -> Result<Columns> {
    let corrupt = |error: csv::Error| Error::new(Code::Corrupt, format!("{path}: {error}"));
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let names: Vec<String> = reader.headers().map_err(corrupt)?.iter().map(str::to_owned).collect();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        for (column, text) in columns.iter_mut().zip(record.map_err(corrupt)?.iter()) {
            column.push((!text.is_empty()).then(|| text.to_owned()));
        }
    }
    let array = |column: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(column)) };
    Ok(names.into_iter().zip(columns).map(|(name, column)| (name, DataType::String, array(column))).collect())
}

fn parquet_columns(path: &str, bytes: Vec<u8>) -> Result<Columns> {
    let (schema, batch) = hostile::guarded(|| parquet_rows(bytes)).map_err(|why| {
        Error::new(Code::Corrupt, format!("{path} cannot be read as Parquet: {why}"))
            .help("the file is damaged or was not written completely")
    })?;
    let mut columns = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        // A column of a type that we do not have is no harm until it is asked for.
        if let Some((data_type, array)) = of_ours(array) {
            columns.push((field.name().clone(), data_type, array));
        }
    }
    Ok(columns)
}

/// Reads the bytes of a Parquet file, which may be anybody's.
fn parquet_rows(bytes: Vec<u8>) -> Result<(Arc<Schema>, RecordBatch), String> {
    let footer = claims::footer(&bytes[..], bytes.len() as u64)?;
    let metadata = ParquetMetaDataReader::decode_metadata(&footer).map_err(|error| error.to_string())?;
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        claims::check_pages(&bytes[..], start, chunk.compressed_size(), chunk.num_values())
            .map_err(|what| format!("column `{}` of a row group: {what}", chunk.column_path()))?;
    }
    let stored = bytes.len() as i64;
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(|error| error.to_string())?;
    let schema = builder.schema().clone();
    let reader = builder.build().map_err(|error| error.to_string())?;
    let (mut batches, mut size) = (Vec::new(), 0_i64);
    for batch in reader {
        let batch: RecordBatch = batch.map_err(|error| error.to_string())?;
        // A few bytes can stand for many rows, and a long text for each of them.
        size = size.saturating_add(batch.get_array_memory_size() as i64);
        if claims::is_bomb(stored, size) {
            return Err(format!("its {stored} bytes grow to more than {size}"));
        }
        batches.push(batch);
    }
    let plain = Arc::new(Schema::new(schema.fields().iter().map(|field| Field::clone(field)).collect::<Vec<_>>()));
    let batch = concat_batches(&plain, &batches).map_err(|error| error.to_string())?;
    Ok((schema, batch))
}

/// Returns a column as one of our types: wider, never narrower; times that are finer than microseconds are floored.
fn of_ours(array: &ArrayRef) -> Option<(DataType, ArrayRef)> {
    let data_type = match array.data_type() {
        ArrowType::Boolean => DataType::Bool,
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32 | ArrowType::UInt8 | ArrowType::UInt16 => DataType::Int32,
        ArrowType::Int64 | ArrowType::UInt32 => DataType::Int64,
        ArrowType::Float32 | ArrowType::Float64 => DataType::Float64,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View | ArrowType::Dictionary(..) => DataType::String,
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => DataType::Binary,
        ArrowType::Date32 => DataType::Date,
        ArrowType::Decimal128(precision, scale) if *scale >= 0 => DataType::Decimal(*precision, *scale as u8),
        ArrowType::Timestamp(TimeUnit::Nanosecond, _) => return Some((DataType::Timestamp, floored(array)?)),
        ArrowType::Timestamp(..) => DataType::Timestamp,
        _ => return None,
    };
    Some((data_type, cast(array, &data_type.arrow()).ok()?))
}

fn floored(array: &ArrayRef) -> Option<ArrayRef> {
    let nanos = cast(array, &ArrowType::Int64).ok()?;
    let micros: Int64Array = nanos.as_primitive::<Int64Type>().unary(|nanos| nanos.div_euclid(1000));
    let (_, values, nulls) = micros.into_parts();
    Some(Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone("UTC")))
}
