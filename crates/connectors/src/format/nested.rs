//! Lists, structs and JSON out of JSON text: how the values of a nested column are checked, carried and gathered.
//!
//! A record's columns are gathered only when the whole record is known to be good, so a nested value waits in the scratch
//! space as bytes: one byte, 0 for null or 1; then of `bool` a byte, of integers, times and dates eight, of decimals
//! sixteen, of floats their bits; of texts, bytes and JSON a length (u32) and the bytes; of a list its length (u32) and
//! its elements; of a struct its fields in order. All little-endian. The bytes never leave the process.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, NullBufferBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType as ArrowType, Fields};
use engine::json;
use engine::value::DataType;

use super::columns::{Builder, Cell, Column};
use super::reason::Reason;
use super::scalar;

/// What a value of a nested column looks like.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A scalar, read as a column of it would be.
    Scalar(Box<Column>),
    /// Anything but null.
    Json,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
}

/// Why a value does not have its shape: the code, and the text that stands there.
pub(crate) type Misfit = (Reason, String);

impl Shape {
    /// Returns the shape of a type's values; None for a scalar type.
    pub(crate) fn of(data_type: DataType) -> Option<Shape> {
        match data_type {
            DataType::Json => Some(Shape::Json),
            DataType::List(_) | DataType::Struct(_) => Some(Shape::within(data_type)),
            _ => None,
        }
    }

    fn within(data_type: DataType) -> Shape {
        match data_type {
            DataType::Json => Shape::Json,
            DataType::List(element) => Shape::List(Box::new(Shape::within(*element))),
            DataType::Struct(fields) => {
                Shape::Struct(fields.iter().map(|field| (field.name.clone(), Shape::within(field.data_type))).collect())
            }
            scalar => Shape::Scalar(Box::new(Column::bare(scalar))),
        }
    }

    /// Puts the value of a valid JSON text into the scratch space. Any list or struct may also stand in a string.
    pub(crate) fn cell(&self, text: &str, scratch: &mut Vec<u8>) -> Result<Cell, Misfit> {
        if text == "null" {
            return Ok(Cell::Null);
        }
        let start = scratch.len();
        if let Shape::Json = self {
            let canonical = json::canonical(text).map_err(|_| (Reason::InvalidJson, text.to_string()))?;
            let Some(canonical) = canonical else { return Ok(Cell::Null) };
            scratch.extend_from_slice(canonical.as_bytes());
        } else {
            self.read(&mut Reader { text, at: 0 }, scratch)?;
            if scratch[start] == 0 {
                return Ok(Cell::Null);
            }
        }
        Ok(Cell::Bytes { start, end: scratch.len(), is_scratch: true })
    }

    /// Reads the value that comes next and writes its bytes.
    fn read(&self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        if reader.next() == b'n' {
            reader.skip();
            out.push(0);
            return Ok(());
        }
        if reader.next() == b'"' && matches!(self, Shape::List(_) | Shape::Struct(_)) {
            let inner = reader.string().into_owned();
            let canonical = json::canonical(&inner).map_err(|_| (Reason::InvalidJson, inner))?;
            return self.read(&mut Reader { text: canonical.as_deref().unwrap_or("null"), at: 0 }, out);
        }
        match self {
            Shape::Scalar(column) => scalar_value(column, reader, out),
            Shape::Json => {
                let text = reader.skip();
                let canonical = json::canonical(text).ok().flatten();
                let canonical = canonical.ok_or_else(|| (Reason::InvalidJson, text.to_string()))?;
                put_bytes(canonical.as_bytes(), out);
                Ok(())
            }
            Shape::List(element) => {
                if reader.next() != b'[' {
                    return Err((Reason::WrongType, reader.skip().to_string()));
                }
                out.push(1);
                let place = out.len();
                out.extend_from_slice(&[0; 4]);
                let mut count = 0u32;
                while reader.has_more(b']') {
                    element.read(reader, out)?;
                    count += 1;
                }
                out[place..place + 4].copy_from_slice(&count.to_le_bytes());
                Ok(())
            }
            Shape::Struct(fields) => {
                if reader.next() != b'{' {
                    return Err((Reason::WrongType, reader.skip().to_string()));
                }
                let mut values: Vec<Vec<u8>> = vec![vec![0]; fields.len()];
                while reader.has_more(b'}') {
                    let key = reader.string();
                    reader.colon();
                    match fields.iter().position(|(name, _)| *name == key) {
                        Some(field) => {
                            values[field].clear();
                            fields[field].1.read(reader, &mut values[field])?;
                        }
                        None => _ = reader.skip(),
                    }
                }
                out.push(1);
                values.iter().for_each(|value| out.extend_from_slice(value));
                Ok(())
            }
        }
    }
}

fn scalar_value(column: &Column, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let mut decoded = Vec::new();
    let (read, text) = match reader.next() {
        b'"' => {
            let text = reader.string();
            let place = Cell::Bytes { start: 0, end: text.len(), is_scratch: false };
            (column.string(&text, place, &mut decoded), text)
        }
        b'{' | b'[' => (Err(Reason::WrongType), Cow::Borrowed(reader.skip())),
        first => {
            let text = reader.skip();
            let read = match first {
                b't' | b'f' => column.boolean(first == b't'),
                _ => match scalar::scan_number(text.as_bytes(), 0) {
                    Ok(number) => column.number(text, &number),
                    Err(_) => Err(Reason::InvalidNumber),
                },
            };
            (read, Cow::Borrowed(text))
        }
    };
    let cell = match read {
        Ok(cell) => cell,
        Err(reason) => return Err((reason, text.into_owned())),
    };
    match cell {
        Cell::Null => out.push(0),
        Cell::Bool(value) => out.extend_from_slice(&[1, u8::from(value)]),
        Cell::Integer(value) => put(&value.to_le_bytes(), out),
        Cell::Float(value) => put(&value.to_le_bytes(), out),
        Cell::Decimal(value) => put(&value.to_le_bytes(), out),
        Cell::Bytes { start, end, is_scratch } => {
            put_bytes(&(if is_scratch { &decoded[..] } else { text.as_bytes() })[start..end], out);
        }
    }
    Ok(())
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(bytes);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes a valid JSON text apart.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// Returns the byte that the next token begins with; 0 at the end.
    fn next(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    /// Passes a bracket or a comma and returns true when a value follows; else passes the closing bracket.
    fn has_more(&mut self, close: u8) -> bool {
        let is_first = matches!(self.next(), b'[' | b'{');
        let is_more = is_first || self.next() == b',';
        self.at += 1;
        if is_first && self.next() == close {
            self.at += 1;
            return false;
        }
        is_more
    }

    fn colon(&mut self) {
        self.next();
        self.at += 1;
    }

    /// Passes a string and returns its characters.
    fn string(&mut self) -> Cow<'t, str> {
        let quoted = self.skip();
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        match inner.contains('\\') {
            true => Cow::Owned(json::characters(quoted).unwrap_or_default()),
            false => Cow::Borrowed(inner),
        }
    }

    /// Passes a value and returns its text.
    fn skip(&mut self) -> &'t str {
        self.next();
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut open = 0usize;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    while !matches!(bytes.get(self.at), Some(b'"') | None) {
                        self.at += 1 + usize::from(bytes[self.at] == b'\\');
                    }
                    self.at += 1;
                }
                Some(b'{' | b'[') => (self.at, open) = (self.at + 1, open + 1),
                Some(b'}' | b']') if open > 0 => (self.at, open) = (self.at + 1, open - 1),
                Some(b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') if open > 0 => self.at += 1,
                Some(b',' | b':' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') | None => break,
                Some(_) => {
                    self.at += 1;
                    continue;
                }
            }
            if open == 0 {
                break;
            }
        }
        self.at = self.at.min(bytes.len());
        &self.text[start..self.at]
    }
}

/// Gathers the values of a list column.
pub(crate) struct Lists {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    elements: Box<Builder>,
}

/// Gathers the values of a struct column.
pub(crate) struct Structs {
    nulls: NullBufferBuilder,
    fields: Vec<Builder>,
}

impl Lists {
    pub(crate) fn new(element: DataType, rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, nulls: NullBufferBuilder::new(rows), elements: Box::new(Builder::new(element, rows, 0)) }
    }

    pub(crate) fn push_null(&mut self) {
        self.offsets.push(*self.offsets.last().expect("it begins with 0"));
        self.nulls.append(false);
    }

    /// Takes a list, past its first byte.
    pub(crate) fn push(&mut self, bytes: &mut &[u8]) {
        let count = u32::from_le_bytes(take(bytes));
        (0..count).for_each(|_| self.elements.push_bytes(bytes));
        // A batch's values are below 2 GiB together, and an element is written with a byte at least.
        self.offsets.push(self.offsets.last().expect("it begins with 0") + count as i32);
        self.nulls.append(true);
    }

    pub(crate) fn finish(mut self, data_type: DataType) -> ArrayRef {
        let ArrowType::List(field) = data_type.arrow() else { unreachable!("lists are gathered for a list type") };
        let element = data_type.element().expect("a list has elements");
        let (offsets, elements) = (OffsetBuffer::new(self.offsets.into()), self.elements.finish(element));
        Arc::new(ListArray::new(field, offsets, elements, self.nulls.finish()))
    }
}

impl Structs {
    pub(crate) fn new(data_type: DataType, rows: usize) -> Self {
        let DataType::Struct(fields) = data_type else { unreachable!("structs are gathered for a struct type") };
        let fields = fields.iter().map(|field| Builder::new(field.data_type, rows, 0)).collect();
        Self { nulls: NullBufferBuilder::new(rows), fields }
    }

    pub(crate) fn push_null(&mut self) {
        self.fields.iter_mut().for_each(|field| field.push(&Cell::Null, "", &[]));
        self.nulls.append(false);
    }

    /// Takes a struct, past its first byte.
    pub(crate) fn push(&mut self, bytes: &mut &[u8]) {
        self.fields.iter_mut().for_each(|field| field.push_bytes(bytes));
        self.nulls.append(true);
    }

    pub(crate) fn finish(mut self, data_type: DataType) -> ArrayRef {
        let (DataType::Struct(types), ArrowType::Struct(fields)) = (data_type, data_type.arrow()) else {
            unreachable!("structs are gathered for a struct type")
        };
        let columns = self.fields.into_iter().zip(types).map(|(builder, field)| builder.finish(field.data_type));
        Arc::new(StructArray::new(Fields::clone(&fields), columns.collect(), self.nulls.finish()))
    }
}

impl Builder {
    /// Takes a value from the front of bytes that [`Shape::cell`] wrote.
    pub(crate) fn push_bytes(&mut self, bytes: &mut &[u8]) {
        let is_null = take::<1>(bytes) == [0];
        let text;
        let cell = match self {
            _ if is_null => return self.push(&Cell::Null, "", &[]),
            Builder::List(lists) => return lists.push(bytes),
            Builder::Struct(structs) => return structs.push(bytes),
            Builder::Bool(_) => Cell::Bool(take::<1>(bytes) == [1]),
            Builder::Integer(..) | Builder::Narrow(..) => Cell::Integer(i64::from_le_bytes(take(bytes))),
            Builder::Float(..) => Cell::Float(f64::from_le_bytes(take(bytes))),
            Builder::Decimal(..) => Cell::Decimal(i128::from_le_bytes(take(bytes))),
            Builder::String(_) | Builder::Binary(_) | Builder::Json(_) => {
                let length = u32::from_le_bytes(take(bytes)) as usize;
                (text, *bytes) = bytes.split_at(length);
                return self.push(&Cell::Bytes { start: 0, end: length, is_scratch: true }, "", text);
            }
        };
        self.push(&cell, "", &[]);
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (value, rest) = bytes.split_first_chunk().expect("the scratch space holds whole values");
    *bytes = rest;
    *value
}
