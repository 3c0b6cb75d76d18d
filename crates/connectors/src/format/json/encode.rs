//! Rows back to JSON values: every column is written where its `from` and `format` read it.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use engine::error::{Code, Error, Result};
use engine::plan::{TimeFormat, ValueFrom};
use engine::value::DataType;

use super::{Column, Encoded, JsonCodec, Object, Slot, scalar, write_plain, write_string, write_value};

/// Writes row `row` to `record`.
pub(super) fn encode(codec: &JsonCodec, rows: &RecordBatch, row: usize, record: &mut Encoded) -> Result<()> {
    let arrays = codec.columns.iter().map(|column| array_of(rows, column)).collect::<Result<Vec<_>>>()?;
    let encoder = Encoder { codec, arrays, row };
    record.headers.clear();
    record.key = None;
    for (i, column) in codec.columns.iter().enumerate() {
        match &column.from {
            ValueFrom::Key if record.key.is_none() => record.key = encoder.plain(i)?,
            ValueFrom::Header(name) => {
                if let Some(value) = encoder.plain(i)? {
                    record.headers.push((name.clone(), Some(value)));
                }
            }
            ValueFrom::Key | ValueFrom::Path(_) | ValueFrom::Value => {}
        }
    }
    let mut value = record.value.take().unwrap_or_default();
    value.clear();
    if let Some(&first) = codec.whole.first() {
        // The value as it was; what other columns read from it is in it.
        let whole = codec.whole.iter().find(|i| !encoder.is_null(**i)).unwrap_or(&first);
        record.value = encoder.plain(*whole)?;
        return Ok(());
    }
    match codec.root.object {
        Some(object) if codec.root.nested.is_empty() => encoder.object(&codec.objects[object], &mut value)?,
        _ => encoder.first_of(&codec.root, &mut value)?,
    }
    record.value = Some(value);
    Ok(())
}

fn array_of<'a>(rows: &'a RecordBatch, column: &Column) -> Result<&'a ArrayRef> {
    let missing = || Error::new(Code::Schema, format!("column `{}` is missing in what is to be written", column.name));
    rows.column_by_name(&column.name).ok_or_else(missing)
}

struct Encoder<'a> {
    codec: &'a JsonCodec,
    arrays: Vec<&'a ArrayRef>,
    row: usize,
}

impl Encoder<'_> {
    fn is_null(&self, column: usize) -> bool {
        self.arrays[column].is_null(self.row)
    }

    fn object(&self, object: &Object, out: &mut Vec<u8>) -> Result<()> {
        out.push(b'{');
        for (i, slot) in object.slots.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_string(&slot.key, out);
            out.push(b':');
            match slot.object {
                Some(inner) if slot.nested.is_empty() && slot.columns.iter().all(|column| self.is_null(*column)) => {
                    self.object(&self.codec.objects[inner], out)?
                }
                _ => self.first_of(slot, out)?,
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes the value of columns that read the same place.
    fn first_of(&self, slot: &Slot, out: &mut Vec<u8>) -> Result<()> {
        match slot.nested.iter().chain(&slot.columns).find(|column| !self.is_null(**column)) {
            Some(column) => self.value(*column, out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }

    fn value(&self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        let column = &self.codec.columns[i];
        if column.has_null_texts() {
            self.plain(i)?;
        }
        if column.data_type != DataType::Timestamp {
            write_value(self.arrays[i].as_ref(), self.row, out);
            return Ok(());
        }
        let text = self.time(i)?;
        match column.time() {
            TimeFormat::EpochSeconds | TimeFormat::EpochMillis | TimeFormat::EpochMicros => {
                out.extend_from_slice(text.as_bytes())
            }
            TimeFormat::Default | TimeFormat::Rfc3339 | TimeFormat::Pattern(_) => write_string(&text, out),
        }
        Ok(())
    }

    /// Returns the text of a key or header, and refuses one that would be read back as null.
    fn plain(&self, i: usize) -> Result<Option<Vec<u8>>> {
        if self.is_null(i) {
            return Ok(None);
        }
        let column = &self.codec.columns[i];
        let mut text = Vec::new();
        if column.data_type == DataType::Timestamp {
            text = self.time(i)?.into_bytes();
        } else {
            write_plain(self.arrays[i].as_ref(), self.row, &mut text);
        }
        if column.has_null_texts() && column.is_null_text(&String::from_utf8_lossy(&text)) {
            return Err(self.refuse(i, "a text that `null_as` reads as null"));
        }
        Ok(Some(text))
    }

    /// Returns the text of a timestamp, and refuses one that its format cannot hold.
    fn time(&self, i: usize) -> Result<String> {
        let Some(array) = self.arrays[i].as_primitive_opt::<TimestampMicrosecondType>() else {
            return Err(self.refuse(i, "no timestamp in microseconds"));
        };
        let micros = array.value(self.row);
        let whole = |unit: i64| {
            if micros.rem_euclid(unit) == 0 {
                Ok((micros / unit).to_string())
            } else {
                Err(self.refuse(i, "a time that is finer than its format"))
            }
        };
        if scalar::in_range(Some(micros)).is_err() {
            return Err(self.refuse(i, "a time outside the years 0000 to 9999"));
        }
        match self.codec.columns[i].time() {
            TimeFormat::Default | TimeFormat::Rfc3339 => {
                let mut text = Vec::new();
                scalar::write_timestamp(micros, &mut text);
                Ok(String::from_utf8(text).expect("digits"))
            }
            TimeFormat::EpochSeconds => whole(1_000_000),
            TimeFormat::EpochMillis => whole(1_000),
            TimeFormat::EpochMicros => whole(1),
            TimeFormat::Pattern(pattern) => {
                use std::fmt::Write;
                let mut text = String::new();
                let time = chrono::DateTime::from_timestamp_micros(micros);
                let is_written = time.is_some_and(|time| write!(text, "{}", time.format(pattern)).is_ok());
                if is_written && scalar::by_pattern(&text, pattern) == Ok(micros) {
                    Ok(text)
                } else {
                    Err(self.refuse(i, "a time that its pattern does not hold"))
                }
            }
        }
    }

    fn refuse(&self, i: usize, what: &str) -> Error {
        let mut seen = Vec::new();
        write_plain(self.arrays[i].as_ref(), self.row, &mut seen);
        let (name, seen) = (&self.codec.columns[i].name, String::from_utf8_lossy(&seen));
        Error::new(Code::Schema, format!("column `{name}` holds {what}: `{seen}`"))
            .help("Reading the record back would not give this row")
    }
}
