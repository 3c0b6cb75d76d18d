//! The columns of a source, ready to take values: what every format shares.
//!
//! A format finds the text of each column; this module says what value that text is, checks the whole record, and gathers
//! the values of good records into Arrow arrays. All columns are checked, only the needed ones are gathered.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    LargeStringBuilder, NullBufferBuilder, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::Field as ArrowField;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::error::{Code, Error, Result};
use engine::log::RawRecords;
use engine::plan::{SourcePlan, TimeFormat, ValueFrom};
use engine::value::DataType;

use super::nested::{Lists, Shape, Structs};
use super::reason::{Fault, Reason};
use super::scalar::{self, Number};

/// A column of a source.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) is_required: bool,
    pub(crate) from: ValueFrom,
    time: TimeFormat,
    null_as: Vec<String>,
    is_needed: bool,
    /// What its values look like, when it is no scalar.
    pub(crate) shape: Option<Shape>,
}

/// One value of a record on its way to its column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    /// Of `int32`, `int64`, `timestamp` (microseconds) and `date` (days).
    Integer(i64),
    Float(f64),
    Decimal(i128),
    /// Of `string` and `binary`: bytes of the record's value, or of the scratch space.
    Bytes {
        start: usize,
        end: usize,
        is_scratch: bool,
    },
}

impl Column {
    /// Returns the columns of a source, in its order.
    pub(crate) fn all(source: &SourcePlan) -> Result<Vec<Column>> {
        let column = |plan: &engine::plan::ColumnPlan| {
            if let TimeFormat::Pattern(pattern) = &plan.format
                && !scalar::is_pattern(pattern)
            {
                let name = &plan.field.name;
                return Err(Error::new(
                    Code::Field,
                    format!("`{pattern}` of column `{name}` is not a pattern for times"),
                )
                .help("Patterns are those of chrono, such as `%Y-%m-%d %H:%M:%S`"));
            }
            Ok(Column {
                name: plan.field.name.clone(),
                data_type: plan.field.data_type,
                is_required: !plan.field.nullable,
                from: plan.from.clone(),
                time: plan.format.clone(),
                null_as: plan.null_as.clone(),
                is_needed: source.needed.contains(&plan.field.name),
                shape: Shape::of(plan.field.data_type),
            })
        };
        source.columns.iter().map(column).collect()
    }

    /// Returns a column of a scalar type without a name, for the values inside a nested one.
    pub(crate) fn bare(data_type: DataType) -> Column {
        Column {
            name: String::new(),
            data_type,
            is_required: false,
            from: ValueFrom::Value,
            time: TimeFormat::Default,
            null_as: Vec::new(),
            is_needed: true,
            shape: None,
        }
    }

    /// Returns the value of a valid JSON text for a list, struct or json column.
    pub(crate) fn json(&self, text: &str, scratch: &mut Vec<u8>) -> Result<Cell, Fault> {
        let shape = self.shape.as_ref().expect("only columns that have a shape take whole JSON texts");
        if self.has_null_texts() {
            let plain = engine::json::characters(text);
            if self.is_null_text(plain.as_deref().unwrap_or(text)) {
                return Ok(Cell::Null);
            }
        }
        shape.cell(text, scratch).map_err(|(reason, seen)| self.fault(reason, &seen))
    }

    /// Returns true when it stands in the key or a header.
    pub(crate) fn is_beside_value(&self) -> bool {
        matches!(self.from, ValueFrom::Key | ValueFrom::Header(_))
    }

    /// Returns true when a text means null here.
    pub(crate) fn is_null_text(&self, text: &str) -> bool {
        self.null_as.iter().any(|null| null == text)
    }

    /// Returns true when some text means null here.
    pub(crate) fn has_null_texts(&self) -> bool {
        !self.null_as.is_empty()
    }

    /// Returns how the column's timestamps are written.
    pub(crate) fn time(&self) -> &TimeFormat {
        &self.time
    }

    /// Makes the fault of this column.
    pub(crate) fn fault(&self, reason: Reason, seen: &str) -> Fault {
        let shown: String = seen.chars().take(40).collect();
        let dots = if shown.len() < seen.len() { "…" } else { "" };
        Fault::new(reason, format!("column `{}` ({}) has `{shown}{dots}`", self.name, self.data_type))
    }

    /// Returns the value of a JSON number, or of a key's or header's number.
    #[inline(always)]
    pub(crate) fn number(&self, text: &str, number: &Number) -> Result<Cell, Reason> {
        if self.has_null_texts() && self.is_null_text(text) {
            return Ok(Cell::Null);
        }
        match self.data_type {
            DataType::Int64 => scalar::integer(number).map(Cell::Integer),
            DataType::Int32 => {
                let value = scalar::integer(number)?;
                i32::try_from(value).map(|value| Cell::Integer(value.into())).map_err(|_| Reason::OutOfRange)
            }
            DataType::Float64 => scalar::float(text, number).map(Cell::Float),
            DataType::Decimal(precision, scale) => scalar::decimal(text, precision, scale).map(Cell::Decimal),
            DataType::Timestamp => self.epoch(number).map(Cell::Integer),
            DataType::Bool | DataType::String | DataType::Date | DataType::Binary | DataType::Null => {
                Err(Reason::WrongType)
            }
            DataType::List(_) | DataType::Struct(_) | DataType::Json => Err(Reason::WrongType),
        }
    }

    /// Returns the microseconds of an integer that stands for a time.
    fn epoch(&self, number: &Number) -> Result<i64, Reason> {
        let unit = match self.time {
            TimeFormat::Default | TimeFormat::EpochMillis => 1_000,
            TimeFormat::EpochSeconds => 1_000_000,
            TimeFormat::EpochMicros => 1,
            TimeFormat::Rfc3339 | TimeFormat::Pattern(_) => return Err(Reason::WrongType),
        };
        let value = match scalar::integer(number) {
            Err(Reason::OutOfRange) => return Err(Reason::TimestampOutOfRange),
            other => other?,
        };
        scalar::in_range(value.checked_mul(unit))
    }

    /// Returns the value of the contents of a JSON string. `place` is where `text` stands, for texts that are kept as
    /// they are; decoded bytes go to the scratch space.
    #[inline]
    pub(crate) fn string(&self, text: &str, place: Cell, scratch: &mut Vec<u8>) -> Result<Cell, Reason> {
        if self.has_null_texts() && self.is_null_text(text) {
            return Ok(Cell::Null);
        }
        match self.data_type {
            DataType::String => Ok(place),
            DataType::Timestamp => self.time_text(text).map(Cell::Integer),
            DataType::Float64 => match text {
                "NaN" => Ok(Cell::Float(f64::NAN)),
                "Infinity" => Ok(Cell::Float(f64::INFINITY)),
                "-Infinity" => Ok(Cell::Float(f64::NEG_INFINITY)),
                _ => Err(Reason::WrongType),
            },
            DataType::Decimal(precision, scale) => {
                if text.len() > scalar::NUMBER_SIZE {
                    return Err(Reason::NumberTooLong);
                }
                scalar::decimal(text, precision, scale).map(Cell::Decimal)
            }
            DataType::Date => scalar::date(text.as_bytes()).map(|days| Cell::Integer(days.into())),
            DataType::Binary => {
                let start = scratch.len();
                BASE64.decode_vec(text, scratch).map_err(|_| Reason::InvalidBase64)?;
                Ok(Cell::Bytes { start, end: scratch.len(), is_scratch: true })
            }
            DataType::Bool | DataType::Int32 | DataType::Int64 | DataType::Null => Err(Reason::WrongType),
            DataType::List(_) | DataType::Struct(_) | DataType::Json => Err(Reason::WrongType),
        }
    }

    #[inline]
    fn time_text(&self, text: &str) -> Result<i64, Reason> {
        match &self.time {
            TimeFormat::Default | TimeFormat::Rfc3339 => scalar::rfc3339(text.as_bytes()),
            TimeFormat::Pattern(pattern) => scalar::by_pattern(text, pattern),
            TimeFormat::EpochSeconds | TimeFormat::EpochMillis | TimeFormat::EpochMicros => Err(Reason::WrongType),
        }
    }

    /// Returns the value of `true` or `false`.
    pub(crate) fn boolean(&self, value: bool) -> Result<Cell, Reason> {
        if self.has_null_texts() && self.is_null_text(if value { "true" } else { "false" }) {
            return Ok(Cell::Null);
        }
        if self.data_type == DataType::Bool { Ok(Cell::Bool(value)) } else { Err(Reason::WrongType) }
    }

    /// Returns the value of a key or a header: plain text without quotes; binary as it is.
    fn plain(&self, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<Cell, Fault> {
        let start = scratch.len();
        scratch.extend_from_slice(bytes);
        let place = Cell::Bytes { start, end: scratch.len(), is_scratch: true };
        if self.data_type == DataType::Binary {
            return Ok(place);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(self.fault(Reason::InvalidUtf8, &String::from_utf8_lossy(bytes)));
        };
        let fault = |reason| self.fault(reason, text);
        if self.has_null_texts() && self.is_null_text(text) {
            return Ok(Cell::Null);
        }
        if self.shape.is_some() {
            let canonical = engine::json::canonical(text).map_err(|_| fault(Reason::InvalidJson))?;
            return canonical.map_or(Ok(Cell::Null), |text| self.json(&text, scratch));
        }
        match (self.data_type, text) {
            (DataType::Bool, "true") => return Ok(Cell::Bool(true)),
            (DataType::Bool, "false") => return Ok(Cell::Bool(false)),
            (DataType::Bool, _) => return Err(fault(Reason::WrongType)),
            _ => {}
        }
        if matches!(self.data_type, DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Timestamp)
            && let Ok(number) = scalar::scan_number(bytes, 0)
            && number.end == bytes.len()
        {
            if bytes.len() > scalar::NUMBER_SIZE {
                return Err(fault(Reason::NumberTooLong));
            }
            // A time's text may be an integer too, such as `20260131` of a pattern.
            if self.data_type != DataType::Timestamp || !matches!(self.time, TimeFormat::Pattern(_)) {
                return self.number(text, &number).map_err(fault);
            }
        }
        match self.string(text, place, scratch) {
            Err(Reason::WrongType) if self.data_type.is_numeric() => Err(fault(Reason::InvalidNumber)),
            other => other.map_err(fault),
        }
    }
}

/// Puts the columns that stand in a record's key or headers into `cells`.
pub(crate) fn beside_value(
    columns: &[Column],
    raw: &RawRecords,
    row: usize,
    cells: &mut [Cell],
    scratch: &mut Vec<u8>,
) -> Result<(), Fault> {
    for (column, cell) in columns.iter().zip(cells) {
        let bytes = match &column.from {
            ValueFrom::Path(_) | ValueFrom::Value => continue,
            ValueFrom::Key => {
                use arrow::array::Array;
                (!raw.keys.is_null(row)).then(|| raw.keys.value(row))
            }
            // Of several headers with one name the last counts, as Kafka's own `lastHeader` has it.
            ValueFrom::Header(name) => raw
                .headers
                .get(row)
                .and_then(|headers| headers.iter().rev().find(|(found, _)| found == name))
                .and_then(|(_, value)| value.as_deref()),
        };
        *cell = match bytes {
            Some(bytes) => column.plain(bytes, scratch)?,
            None => Cell::Null,
        };
    }
    Ok(())
}

/// Returns the fault of the first column that must not be null and is.
pub(crate) fn missing<'a>(cells: impl IntoIterator<Item = (&'a Column, &'a Cell)>) -> Option<Fault> {
    let missing = cells.into_iter().find(|(column, cell)| column.is_required && **cell == Cell::Null);
    missing.map(|(column, _)| Fault::new(Reason::NullInRequired, format!("column `{}`", column.name)))
}

/// Gathers the needed columns of records.
pub(crate) struct Gather<'a> {
    columns: &'a [Column],
    builders: Vec<(usize, Builder)>,
    rows: usize,
}

pub(crate) enum Builder {
    Bool(BooleanBuilder),
    Integer(Vec<i64>, NullBufferBuilder),
    Narrow(Vec<i32>, NullBufferBuilder),
    Float(Vec<f64>, NullBufferBuilder),
    Decimal(Vec<i128>, NullBufferBuilder),
    String(StringBuilder),
    Binary(BinaryBuilder),
    Json(LargeStringBuilder),
    List(Lists),
    Struct(Structs),
}

impl<'a> Gather<'a> {
    pub(crate) fn new(columns: &'a [Column], rows: usize, value_bytes: usize) -> Self {
        let needed: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].is_needed).collect();
        let builders =
            needed.into_iter().map(|i| (i, Builder::new(columns[i].data_type, rows, value_bytes / 8))).collect();
        Self { columns, builders, rows: 0 }
    }

    /// Adds a record: its cells in the order of the columns, or None for a bad one, which gets nulls.
    #[inline]
    pub(crate) fn push(&mut self, cells: Option<&[Cell]>, value: &str, scratch: &[u8]) {
        self.rows += 1;
        for (i, builder) in &mut self.builders {
            let cell = cells.map_or(&Cell::Null, |cells| &cells[*i]);
            builder.push(cell, value, scratch);
        }
    }

    /// Returns the columns.
    pub(crate) fn finish(self) -> RecordBatch {
        let columns = self.columns;
        let (fields, arrays) = self
            .builders
            .into_iter()
            .map(|(i, builder)| {
                let column = &columns[i];
                let field = ArrowField::new(&column.name, column.data_type.arrow(), true);
                (field, builder.finish(column.data_type))
            })
            .unzip();
        crate::records::batch(fields, arrays, self.rows)
    }
}

impl Builder {
    /// Makes a builder for about so many values.
    pub(crate) fn new(data_type: DataType, rows: usize, text_bytes: usize) -> Self {
        let nulls = || NullBufferBuilder::new(rows);
        match data_type {
            DataType::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 | DataType::Date => Builder::Narrow(Vec::with_capacity(rows), nulls()),
            DataType::Int64 | DataType::Timestamp => Builder::Integer(Vec::with_capacity(rows), nulls()),
            DataType::Float64 => Builder::Float(Vec::with_capacity(rows), nulls()),
            DataType::Decimal(..) => Builder::Decimal(Vec::with_capacity(rows), nulls()),
            DataType::Binary => Builder::Binary(BinaryBuilder::with_capacity(rows, text_bytes)),
            DataType::String | DataType::Null => Builder::String(StringBuilder::with_capacity(rows, text_bytes)),
            DataType::Json => Builder::Json(LargeStringBuilder::with_capacity(rows, text_bytes)),
            DataType::List(element) => Builder::List(Lists::new(*element, rows)),
            DataType::Struct(_) => Builder::Struct(Structs::new(data_type, rows)),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, cell: &Cell, value: &str, scratch: &[u8]) {
        let is_null = matches!(cell, Cell::Null);
        match self {
            Builder::Bool(builder) => builder.append_option(match *cell {
                Cell::Bool(value) => Some(value),
                _ => None,
            }),
            Builder::Integer(values, nulls) => {
                nulls.append(!is_null);
                values.push(if let Cell::Integer(value) = *cell { value } else { 0 });
            }
            Builder::Narrow(values, nulls) => {
                nulls.append(!is_null);
                values.push(if let Cell::Integer(value) = *cell { value as i32 } else { 0 });
            }
            Builder::Float(values, nulls) => {
                nulls.append(!is_null);
                values.push(if let Cell::Float(value) = *cell { value } else { 0.0 });
            }
            Builder::Decimal(values, nulls) => {
                nulls.append(!is_null);
                values.push(if let Cell::Decimal(value) = *cell { value } else { 0 });
            }
            Builder::String(builder) => match *cell {
                Cell::Bytes { start, end, is_scratch: false } => builder.append_value(&value[start..end]),
                Cell::Bytes { start, end, is_scratch: true } => builder.append_value(
                    std::str::from_utf8(&scratch[start..end]).expect("text in the scratch space was checked"),
                ),
                _ => builder.append_null(),
            },
            Builder::Binary(builder) => match *cell {
                Cell::Bytes { start, end, is_scratch } => {
                    builder.append_value(if is_scratch { &scratch[start..end] } else { &value.as_bytes()[start..end] })
                }
                _ => builder.append_null(),
            },
            _ => self.push_whole(cell, scratch),
        }
    }

    /// Takes a value of a type that is no scalar.
    #[inline(never)]
    fn push_whole(&mut self, cell: &Cell, scratch: &[u8]) {
        let mut bytes = match *cell {
            Cell::Bytes { start, end, .. } => Some(&scratch[start..end]),
            _ => None,
        };
        match (self, &mut bytes) {
            (Builder::Json(builder), bytes) => builder.append_option(
                bytes.map(|bytes| std::str::from_utf8(bytes).expect("text in the scratch space was checked")),
            ),
            (builder, Some(bytes)) => builder.push_bytes(bytes),
            (Builder::List(lists), None) => lists.push_null(),
            (Builder::Struct(structs), None) => structs.push_null(),
            (_, None) => unreachable!("scalars are pushed by `push`"),
        }
    }

    pub(crate) fn finish(self, data_type: DataType) -> ArrayRef {
        match self {
            Builder::Bool(mut builder) => Arc::new(builder.finish()),
            Builder::Integer(values, mut nulls) if data_type == DataType::Timestamp => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls.finish()).with_timezone("UTC"))
            }
            Builder::Integer(values, mut nulls) => Arc::new(Int64Array::new(values.into(), nulls.finish())),
            Builder::Narrow(values, mut nulls) if data_type == DataType::Date => {
                Arc::new(Date32Array::new(values.into(), nulls.finish()))
            }
            Builder::Narrow(values, mut nulls) => Arc::new(Int32Array::new(values.into(), nulls.finish())),
            Builder::Float(values, mut nulls) => Arc::new(Float64Array::new(values.into(), nulls.finish())),
            Builder::Decimal(values, mut nulls) => {
                Arc::new(Decimal128Array::new(values.into(), nulls.finish()).with_data_type(data_type.arrow()))
            }
            Builder::Json(mut builder) => Arc::new(builder.finish()),
            Builder::List(lists) => lists.finish(data_type),
            Builder::Struct(structs) => structs.finish(data_type),
            Builder::String(mut builder) => Arc::new(builder.finish()),
            Builder::Binary(mut builder) => Arc::new(builder.finish()),
        }
    }
}
