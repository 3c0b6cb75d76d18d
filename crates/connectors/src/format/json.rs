//! The format `json`: a value is one JSON object, its fields are columns.
//!
//! The parser is written for one purpose: a known schema, a stream of records that look alike. It checks the whole text
//! (RFC 8259, and the limits of [`Reason`]), looks first for the key that followed the last one in the record before, and
//! reads numbers and times straight from the bytes. What a record decodes to never depends on the records before it:
//! they only tell which key to try first.
//!
//! | Column | JSON it takes |
//! | --- | --- |
//! | `bool` | `true`, `false` |
//! | `int32`, `int64` | a number without point and exponent (`1.0` is bad: whoever writes it has computed in floats); `-0` is 0 |
//! | `float64` | a number, rounded correctly; `"NaN"`, `"Infinity"`, `"-Infinity"`; −0 becomes 0 |
//! | `decimal(p,s)` | a number or a text holding one; at most `s` digits after the point once an exponent is applied |
//! | `string` | a string |
//! | `timestamp` | as its `format` says; without one RFC 3339 text or an integer of epoch milliseconds; finer than microseconds is floored |
//! | `date` | `"YYYY-MM-DD"` |
//! | `binary` | a string in base64 |
//! | `list<T>` | an array of what `T` takes, `null` among it; or a string that holds one |
//! | `struct<…>` | an object; a field that is absent or `null` is null, other keys are passed over; or a string that holds one |
//! | `json` | anything; kept as its canonical text (`engine::json`) |
//!
//! `null` and an absent field are null everywhere. `from: value` gives a `string` or `binary` column the value's bytes as
//! they are, and any other column a value that is a bare scalar.

mod cursor;
mod encode;
mod template;

use std::collections::HashSet;

use arrow::array::{Array, BinaryArray, Int64Array, RecordBatch};
use engine::error::{Code, Error, Result};
use engine::log::{BadRow, Chunk, RawRecords};
use engine::plan::{SourcePlan, ValueFrom};
use engine::value::DataType;

use self::cursor::{Cursor, plain_end, unicode_escape};
use self::template::Template;
use super::columns::{Cell, Column, Gather, beside_value, missing};
use super::reason::{Fault, Reason};
use super::scalar::{self, NUMBER_SIZE};
use super::{Codec, Encoded, Format};

pub use super::text::{write_plain, write_row, write_string, write_value};

/// A value longer than this is bad.
pub const RECORD_SIZE: usize = 1 << 20;
/// A value with objects and arrays nested deeper than this is bad.
pub const DEPTH: usize = 64;
/// A value with more keys than this, in all its objects together, is bad.
pub const KEY_COUNT: usize = 10_000;
/// A record that looks otherwise than those before takes as much patience as so many that look alike give.
const MISS: u32 = 8;
/// The most patience there is. Where records vary much, looking for a likeness only takes time.
const PATIENCE: u32 = 8 * MISS;
/// Up to here the keys of an object are compared one by one; a set is slower for so few.
const FEW_KEYS: usize = 32;

/// The format `json`.
#[derive(Debug)]
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn help(&self) -> &'static str {
        "one JSON object per record; its fields are the columns"
    }

    fn codec(&self, source: &SourcePlan) -> Result<Box<dyn Codec>> {
        Ok(Box::new(JsonCodec::new(source)?))
    }
}

/// The columns of a source and where in an object they stand.
struct JsonCodec {
    columns: Vec<Column>,
    /// Columns that take the value's bytes as they are.
    whole: Vec<usize>,
    /// What the value itself is expected to be.
    root: Slot,
    /// Objects that columns stand in; the first is the value itself.
    objects: Vec<Object>,
    /// Whether columns stand beside the value.
    has_beside: bool,
}

/// A key of an object, or the value itself.
#[derive(Debug, Default)]
struct Slot {
    key: String,
    /// The key as it usually stands in the text, with the closing quote.
    quoted: Vec<u8>,
    /// Scalar columns whose value stands here.
    columns: Vec<usize>,
    /// Columns that take whatever stands here whole: lists, structs, json.
    nested: Vec<usize>,
    /// The object that further columns stand in.
    object: Option<usize>,
}

#[derive(Debug, Default)]
struct Object {
    slots: Vec<Slot>,
    /// Number of its first slot among the slots of all objects.
    first: usize,
}

impl JsonCodec {
    fn new(source: &SourcePlan) -> Result<Self> {
        let columns = Column::all(source)?;
        let has_beside = columns.iter().any(Column::is_beside_value);
        let mut codec = Self { columns, whole: Vec::new(), root: Slot::default(), objects: Vec::new(), has_beside };
        for i in 0..codec.columns.len() {
            match codec.columns[i].from.clone() {
                ValueFrom::Path(path) => codec.place(&path, i)?,
                ValueFrom::Value if matches!(codec.columns[i].data_type, DataType::String | DataType::Binary) => {
                    codec.whole.push(i)
                }
                ValueFrom::Value => codec.root.take_column(i, &codec.columns[i]),
                ValueFrom::Key | ValueFrom::Header(_) => {}
            }
        }
        let mut first = 0;
        for object in &mut codec.objects {
            object.first = first;
            first += object.slots.len();
        }
        Ok(codec)
    }

    /// Puts a column at the end of a path, making the objects on the way.
    fn place(&mut self, path: &[String], column: usize) -> Result<()> {
        let Some((last, above)) = path.split_last() else {
            let name = &self.columns[column].name;
            return Err(Error::new(Code::Field, format!("column `{name}` has an empty path in `from`")));
        };
        if above.len() >= DEPTH {
            let name = &self.columns[column].name;
            return Err(Error::new(Code::Field, format!("column `{name}` stands more than {DEPTH} objects deep")));
        }
        let mut object = *self.root.object.get_or_insert(0);
        if self.objects.is_empty() {
            self.objects.push(Object::default());
        }
        for key in above {
            let next = self.objects.len();
            let slot = self.objects[object].slot(key);
            object = *slot.object.get_or_insert(next);
            if object == next {
                self.objects.push(Object::default());
            }
        }
        self.objects[object].slot(last).take_column(column, &self.columns[column]);
        Ok(())
    }

    /// Returns the reason why a value is bad before it is looked into.
    fn outside(value: &[u8]) -> Option<Fault> {
        if value.len() > RECORD_SIZE {
            return Some(Fault::new(Reason::TooLarge, format!("{} bytes", value.len())));
        }
        match value {
            [0, a, b, c, d, ..] => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                Some(Fault::new(Reason::SchemaRegistry, format!("schema {id}; the format here is plain json")))
            }
            [0xef, 0xbb, 0xbf, ..] => Some(Fault::new(Reason::ByteOrderMark, "")),
            _ => None,
        }
    }
}

impl Slot {
    fn take_column(&mut self, number: usize, column: &Column) {
        match column.data_type {
            // First, because its text is all that stands here, and what other columns read is in it.
            DataType::Json => self.nested.insert(0, number),
            _ if column.shape.is_some() => self.nested.push(number),
            _ => self.columns.push(number),
        }
    }
}

impl Object {
    fn slot(&mut self, key: &str) -> &mut Slot {
        let i = match self.slots.iter().position(|slot| slot.key == key) {
            Some(i) => i,
            None => {
                // A key that cannot stand in a text as it is gets bytes that no text has.
                let is_plain = plain_end(key.as_bytes(), 0) == key.len();
                let quoted = if is_plain { [key.as_bytes(), b"\""].concat() } else { vec![0xff] };
                self.slots.push(Slot { key: key.to_string(), quoted, ..Slot::default() });
                self.slots.len() - 1
            }
        };
        &mut self.slots[i]
    }
}

impl Codec for JsonCodec {
    fn decode(&self, raw: &RawRecords) -> Chunk {
        let rows = raw.offsets.len();
        let mut gather = Gather::new(&self.columns, rows, raw.values.value_data().len());
        let mut reader = Reader::new(self);
        let mut bad = Vec::new();
        let texts = Texts::new(&raw.values);
        for row in 0..rows {
            let value = (!raw.values.is_null(row)).then(|| raw.values.value(row));
            match reader.record(raw, row, value, texts.get(row)) {
                Ok(text) => gather.push(Some(&reader.cells), text, &reader.scratch),
                Err(fault) => {
                    match value {
                        // What stands beside it is kept: it may end a version of its key.
                        None if fault.reason == Reason::NullValue => {
                            gather.push(Some(&reader.cells), "", &reader.scratch)
                        }
                        _ => gather.push(None, "", &[]),
                    }
                    let raw = value.map(<[u8]>::to_vec);
                    bad.push(BadRow { row: row as u32, reason: fault.to_string(), raw });
                }
            }
        }
        Chunk {
            partition: raw.partition,
            offsets: Int64Array::from(raw.offsets.clone()),
            timestamps: Some(Int64Array::from(raw.timestamps.clone())),
            columns: gather.finish(),
            bad,
            raw: Some((raw.keys.clone(), raw.values.clone())),
        }
    }

    fn encode(&self, rows: &RecordBatch, row: usize, record: &mut Encoded) -> Result<()> {
        encode::encode(self, rows, row, record)
    }
}

/// The values of records as text: looked at together whether they are UTF-8, which one by one takes longer.
struct Texts<'t> {
    all: Option<&'t str>,
    offsets: &'t [i32],
}

impl<'t> Texts<'t> {
    fn new(values: &'t BinaryArray) -> Self {
        let offsets = values.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[values.len()] as usize);
        Self { all: std::str::from_utf8(&values.value_data()[first..last]).ok(), offsets }
    }

    /// Returns the text of a value, if all together are text and it begins and ends between characters.
    #[inline(always)]
    fn get(&self, row: usize) -> Option<&'t str> {
        let at = |row: usize| (self.offsets[row] - self.offsets[0]) as usize;
        self.all?.get(at(row)..at(row + 1))
    }
}

/// Reads one record after the other. What it keeps between them is space, and guesses at what the next one looks like.
struct Reader<'a> {
    codec: &'a JsonCodec,
    /// What records look like.
    template: Option<Template<'a>>,
    /// Whether the last record looked otherwise.
    is_unlike: bool,
    /// How many records may look otherwise before no likeness is looked for any more, times [`MISS`].
    patience: u32,
    cells: Vec<Cell>,
    /// Decoded texts and bytes of this record.
    scratch: Vec<u8>,
    /// The first fault of a column, kept until the text is known to be JSON.
    fault: Option<Fault>,
    /// For each slot, the number of the last record in which its key was seen.
    seen: Vec<u32>,
    record: u32,
    /// For each slot and, last, for the beginning of each object: the slot that came next in its object last time.
    next: Vec<usize>,
    key_count: usize,
    /// Keys of the objects being read that are no slots: `(is_scratch, start, end)`.
    others: Vec<(bool, usize, usize)>,
}

/// The text of a string: a stretch of the record or, where it had escapes, of the scratch space.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
    is_scratch: bool,
}

impl<'a> Reader<'a> {
    fn new(codec: &'a JsonCodec) -> Self {
        let slots = codec.objects.iter().map(|object| object.slots.len()).sum::<usize>();
        Self {
            codec,
            template: None,
            is_unlike: false,
            patience: PATIENCE,
            cells: vec![Cell::Null; codec.columns.len()],
            scratch: Vec::new(),
            fault: None,
            seen: vec![0; slots],
            record: 0,
            next: vec![0; slots + codec.objects.len()],
            key_count: 0,
            others: Vec::new(),
        }
    }

    /// Reads a record into `cells` and returns its text, which is `text` if that is known.
    fn record<'t>(
        &mut self,
        raw: &RawRecords,
        row: usize,
        value: Option<&'t [u8]>,
        text: Option<&'t str>,
    ) -> Result<&'t str, Fault> {
        let Some(value) = value else { return Err(self.without_value(raw, row)) };
        if let Some(fault) = JsonCodec::outside(value) {
            return Err(fault);
        }
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(value)
                .map_err(|error| Fault::new(Reason::InvalidUtf8, format!("at byte {}", error.valid_up_to())))?,
        };
        let codec = self.codec;
        self.cells.fill(Cell::Null);
        self.scratch.clear();
        let template = self.template.as_mut();
        match template.and_then(|template| template.read(text, &mut self.cells, &mut self.scratch)) {
            Some(()) => {
                self.is_unlike = false;
                self.patience = PATIENCE.min(self.patience + 1);
            }
            None => {
                self.carefully(text)?;
                self.learn(text);
            }
        }
        for &i in &codec.whole {
            let column = &codec.columns[i];
            if !column.is_null_text(text) {
                self.cells[i] = Cell::Bytes { start: 0, end: text.len(), is_scratch: false };
            }
        }
        if codec.has_beside {
            beside_value(&codec.columns, raw, row, &mut self.cells, &mut self.scratch)?;
        }
        match missing(codec.columns.iter().zip(&self.cells)) {
            Some(fault) => Err(fault),
            None => Ok(text),
        }
    }

    /// Reads a record into `cells` whatever it looks like.
    #[inline(never)]
    fn carefully(&mut self, text: &str) -> Result<(), Fault> {
        self.cells.fill(Cell::Null);
        self.scratch.clear();
        self.others.clear();
        self.fault = None;
        self.key_count = 0;
        self.record += 1;
        let mut cursor = Cursor { text, bytes: text.as_bytes(), i: 0 };
        let codec = self.codec;
        self.value(&mut cursor, Some(&codec.root), 0)?;
        if cursor.peek().is_some() {
            return Err(Fault::new(Reason::TrailingBytes, format!("at byte {}", cursor.i)));
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Takes a record that was read carefully and has no fault for the template of the next ones. A single one that looks
    /// otherwise among many that look alike changes nothing.
    fn learn(&mut self, text: &str) {
        match self.patience.checked_sub(MISS) {
            None => self.template = None,
            Some(left) => {
                self.patience = left;
                if self.template.is_none() || self.is_unlike {
                    self.template = Template::of(self.codec, text);
                }
                self.is_unlike = true;
            }
        }
    }

    /// Reads the columns beside a value that is null into `cells`. Returns why the record is bad: because it has no value,
    /// unless something is wrong there.
    #[cold]
    fn without_value(&mut self, raw: &RawRecords, row: usize) -> Fault {
        self.cells.fill(Cell::Null);
        self.scratch.clear();
        let columns = &self.codec.columns;
        if let Err(fault) = beside_value(columns, raw, row, &mut self.cells, &mut self.scratch) {
            return fault;
        }
        let beside = columns.iter().zip(&self.cells).filter(|(column, _)| column.is_beside_value());
        missing(beside).unwrap_or_else(|| Fault::new(Reason::NullValue, ""))
    }

    /// Reads any value. Without a slot it is only checked.
    #[inline(always)]
    fn value(&mut self, cursor: &mut Cursor, slot: Option<&'a Slot>, depth: usize) -> Result<(), Fault> {
        match slot {
            Some(slot) if !slot.nested.is_empty() => self.whole_value(cursor, slot, depth),
            _ => self.single_value(cursor, slot, depth),
        }
    }

    /// Reads a value that columns take whole.
    #[inline(never)]
    fn whole_value(&mut self, cursor: &mut Cursor, slot: &'a Slot, depth: usize) -> Result<(), Fault> {
        cursor.peek();
        let start = cursor.i;
        self.single_value(cursor, Some(slot), depth)?;
        let text = &cursor.text[start..cursor.i];
        for &i in &slot.nested {
            match self.codec.columns[i].json(text, &mut self.scratch) {
                Ok(cell) => self.cells[i] = cell,
                Err(fault) => _ = self.fault.get_or_insert(fault),
            }
        }
        Ok(())
    }

    /// Reads any value, for scalar columns.
    ///
    /// Inlined into the loops over fields, which are not inlined into it: so a field costs no call of a large function.
    #[inline(always)]
    fn single_value(&mut self, cursor: &mut Cursor, slot: Option<&'a Slot>, depth: usize) -> Result<(), Fault> {
        match cursor.peek() {
            Some(b'"') => {
                let mark = self.scratch.len();
                let text = self.string(cursor)?;
                match slot {
                    Some(slot) => self.take_string(cursor, slot, text),
                    None => self.scratch.truncate(mark),
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                let start = cursor.i;
                let number = match scalar::scan_number(cursor.bytes, start) {
                    Ok(number) => number,
                    Err(i) => {
                        cursor.i = i;
                        return Err(cursor.expected("a digit"));
                    }
                };
                cursor.i = number.end;
                if number.end - start > NUMBER_SIZE {
                    return Err(Fault::new(Reason::NumberTooLong, format!("at byte {start}")));
                }
                if let Some(slot) = slot {
                    let text = &cursor.text[start..number.end];
                    self.take(slot, text, "a number", |column| column.number(text, &number));
                }
                Ok(())
            }
            Some(b'{') => {
                let object = slot.and_then(|slot| slot.object);
                if let Some(slot) = slot {
                    self.refuse(slot, "an object");
                }
                self.enter(cursor, depth)?;
                match object {
                    Some(object) => self.object(cursor, object, depth + 1),
                    None => self.skip_object(cursor, depth + 1),
                }
            }
            Some(b'[') => {
                if let Some(slot) = slot {
                    self.refuse(slot, "an array");
                    self.expect_object(slot, "an array");
                }
                self.enter(cursor, depth)?;
                self.skip_array(cursor, depth + 1)
            }
            Some(b't') => self.word(cursor, "true", slot),
            Some(b'f') => self.word(cursor, "false", slot),
            Some(b'n') => {
                if let (Some(slot), 0) = (slot, depth) {
                    self.expect_object(slot, "null");
                }
                self.word(cursor, "null", None)
            }
            _ => Err(cursor.expected("a value")),
        }
    }

    fn enter(&mut self, cursor: &mut Cursor, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH {
            return Err(Fault::new(Reason::TooDeep, format!("at byte {}", cursor.i)));
        }
        cursor.i += 1;
        Ok(())
    }

    fn word(&mut self, cursor: &mut Cursor, word: &str, slot: Option<&'a Slot>) -> Result<(), Fault> {
        if !cursor.bytes[cursor.i..].starts_with(word.as_bytes()) {
            return Err(cursor.expected("a value"));
        }
        cursor.i += word.len();
        if let Some(slot) = slot {
            self.take(slot, word, "true or false", |column| column.boolean(word == "true"));
        }
        Ok(())
    }

    /// Gives a slot's columns their value.
    #[inline(always)]
    fn take(&mut self, slot: &'a Slot, text: &str, what: &str, value: impl Fn(&Column) -> Result<Cell, Reason>) {
        for &i in &slot.columns {
            let column = &self.codec.columns[i];
            match value(column) {
                Ok(cell) => self.cells[i] = cell,
                Err(reason) => self.keep(column, reason, text),
            }
        }
        self.expect_object(slot, what);
    }

    #[inline(always)]
    fn take_string(&mut self, cursor: &Cursor, slot: &'a Slot, text: Text) {
        let place = Cell::Bytes { start: text.start, end: text.end, is_scratch: text.is_scratch };
        for &i in &slot.columns {
            let column = &self.codec.columns[i];
            if column.data_type == DataType::String && !column.has_null_texts() {
                self.cells[i] = place;
                continue;
            }
            let value = if text.is_scratch {
                // Rare: what is decoded from it goes to the same space, so it is copied.
                let copy = self.scratch_text(text).to_string();
                column.string(&copy, place, &mut self.scratch).map_err(|reason| (reason, copy))
            } else {
                let text = &cursor.text[text.start..text.end];
                column.string(text, place, &mut self.scratch).map_err(|reason| (reason, text.to_string()))
            };
            match value {
                Ok(cell) => self.cells[i] = cell,
                Err((reason, text)) => self.keep(column, reason, &text),
            }
        }
        self.expect_object(slot, "a string");
    }

    fn scratch_text(&self, text: Text) -> &str {
        std::str::from_utf8(&self.scratch[text.start..text.end]).expect("unescaped text is UTF-8")
    }

    #[cold]
    fn keep(&mut self, column: &Column, reason: Reason, seen: &str) {
        if self.fault.is_none() {
            self.fault = Some(column.fault(reason, seen));
        }
    }

    /// Notes that an object or array stands where columns expect a scalar.
    fn refuse(&mut self, slot: &'a Slot, what: &str) {
        for &i in &slot.columns {
            self.keep(&self.codec.columns[i], Reason::WrongType, what);
        }
    }

    /// Notes that something else stands where columns expect an object.
    #[inline]
    fn expect_object(&mut self, slot: &Slot, what: &str) {
        if slot.object.is_some() && self.fault.is_none() {
            let place = if slot.key.is_empty() { "the value".to_string() } else { format!("`{}`", slot.key) };
            self.fault = Some(Fault::new(Reason::NotAnObject, format!("{place} is {what}")));
        }
    }

    /// Reads an object that columns stand in, after its brace.
    #[inline(never)]
    fn object(&mut self, cursor: &mut Cursor, number: usize, depth: usize) -> Result<(), Fault> {
        let codec = self.codec;
        let object = &codec.objects[number];
        let base = self.others.len();
        let mut before = self.seen.len() + number;
        if cursor.peek() == Some(b'}') {
            cursor.i += 1;
            return Ok(());
        }
        loop {
            self.open_key(cursor)?;
            let guess = self.next[before];
            let found = match object.slots.get(guess) {
                Some(slot) if cursor.bytes[cursor.i..].starts_with(&slot.quoted) => {
                    cursor.i += slot.quoted.len();
                    Some(guess)
                }
                _ => self.find(cursor, object, base)?,
            };
            let slot = match found {
                Some(i) => {
                    let seen = &mut self.seen[object.first + i];
                    if *seen == self.record {
                        return Err(Fault::new(Reason::DuplicateKey, format!("`{}`", object.slots[i].key)));
                    }
                    *seen = self.record;
                    self.next[before] = i;
                    before = object.first + i;
                    Some(&object.slots[i])
                }
                None => None,
            };
            self.colon(cursor)?;
            self.value(cursor, slot, depth)?;
            if !self.comma(cursor, b'}', "',' or '}'")? {
                return self.leave(cursor, base);
            }
        }
    }

    /// Passes the quote that opens a key.
    #[inline]
    fn open_key(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        if cursor.peek() != Some(b'"') {
            return Err(cursor.expected("a key"));
        }
        cursor.i += 1;
        self.key_count += 1;
        if self.key_count > KEY_COUNT {
            return Err(Fault::new(Reason::TooManyKeys, format!("at byte {}", cursor.i - 1)));
        }
        Ok(())
    }

    /// Reads a key that was not guessed and returns its slot; one without a slot is checked against the others.
    fn find(&mut self, cursor: &mut Cursor, object: &Object, base: usize) -> Result<Option<usize>, Fault> {
        cursor.i -= 1;
        let text = self.string(cursor)?;
        let key = if text.is_scratch { self.scratch_text(text) } else { &cursor.text[text.start..text.end] };
        match object.slots.iter().position(|slot| slot.key == key) {
            Some(i) => Ok(Some(i)),
            None => self.other(cursor, text, base).map(|()| None),
        }
    }

    /// Notes a key without a slot. While they are few they are compared at once; see [`Reader::leave`].
    fn other(&mut self, cursor: &Cursor, key: Text, base: usize) -> Result<(), Fault> {
        let bytes = |(is_scratch, start, end): (bool, usize, usize)| {
            if is_scratch { &self.scratch[start..end] } else { &cursor.bytes[start..end] }
        };
        let key = (key.is_scratch, key.start, key.end);
        let others = &self.others[base..];
        if others.len() < FEW_KEYS && others.iter().any(|other| bytes(*other) == bytes(key)) {
            return Err(Fault::new(Reason::DuplicateKey, format!("before byte {}", cursor.i)));
        }
        self.others.push(key);
        Ok(())
    }

    /// Compares the keys of an object that has many, at its end, and forgets them.
    #[inline]
    fn leave(&mut self, cursor: &Cursor, base: usize) -> Result<(), Fault> {
        if self.others.len() - base > FEW_KEYS {
            let mut set = HashSet::with_capacity(self.others.len() - base);
            let is_new = |&(is_scratch, start, end): &(bool, usize, usize)| {
                set.insert(if is_scratch { &self.scratch[start..end] } else { &cursor.bytes[start..end] })
            };
            if !self.others[base..].iter().all(is_new) {
                return Err(Fault::new(Reason::DuplicateKey, format!("before byte {}", cursor.i)));
            }
        }
        self.others.truncate(base);
        Ok(())
    }

    #[inline]
    fn colon(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        if cursor.peek() != Some(b':') {
            return Err(cursor.expected("':'"));
        }
        cursor.i += 1;
        Ok(())
    }

    /// Passes a comma (true) or the closing byte (false).
    #[inline]
    fn comma(&mut self, cursor: &mut Cursor, close: u8, what: &str) -> Result<bool, Fault> {
        let byte = cursor.peek();
        if byte != Some(b',') && byte != Some(close) {
            return Err(cursor.expected(what));
        }
        cursor.i += 1;
        Ok(byte == Some(b','))
    }

    /// Checks an object that no column stands in, after its brace.
    #[inline(never)]
    fn skip_object(&mut self, cursor: &mut Cursor, depth: usize) -> Result<(), Fault> {
        let (base, mark) = (self.others.len(), self.scratch.len());
        if cursor.peek() == Some(b'}') {
            cursor.i += 1;
            return Ok(());
        }
        loop {
            self.open_key(cursor)?;
            cursor.i -= 1;
            let key = self.string(cursor)?;
            self.other(cursor, key, base)?;
            self.colon(cursor)?;
            self.value(cursor, None, depth)?;
            if !self.comma(cursor, b'}', "',' or '}'")? {
                break;
            }
        }
        self.leave(cursor, base)?;
        self.scratch.truncate(mark);
        Ok(())
    }

    /// Checks an array, after its bracket.
    #[inline(never)]
    fn skip_array(&mut self, cursor: &mut Cursor, depth: usize) -> Result<(), Fault> {
        if cursor.peek() == Some(b']') {
            cursor.i += 1;
            return Ok(());
        }
        loop {
            self.value(cursor, None, depth)?;
            if !self.comma(cursor, b']', "',' or ']'")? {
                return Ok(());
            }
        }
    }

    /// Reads a string, from its opening quote.
    ///
    /// Inlined, as numbers are: handing the parts of the result over in memory and reading them back as one stalled for
    /// longer than reading the string.
    #[inline(always)]
    fn string(&mut self, cursor: &mut Cursor) -> Result<Text, Fault> {
        let start = cursor.i + 1;
        let end = plain_end(cursor.bytes, start);
        cursor.i = end;
        match cursor.bytes.get(end) {
            Some(b'"') => {
                cursor.i += 1;
                Ok(Text { start, end, is_scratch: false })
            }
            Some(b'\\') => self.escaped(cursor, start),
            Some(_) => Err(cursor.expected("no control character in a string")),
            None => Err(cursor.expected("a closing quote")),
        }
    }

    /// Reads the rest of a string from its first escape on.
    #[inline(never)]
    fn escaped(&mut self, cursor: &mut Cursor, start: usize) -> Result<Text, Fault> {
        let first = self.scratch.len();
        let mut from = start;
        loop {
            self.scratch.extend_from_slice(&cursor.bytes[from..cursor.i]);
            match cursor.bytes.get(cursor.i) {
                Some(b'"') => break,
                Some(b'\\') => {}
                Some(_) => return Err(cursor.expected("no control character in a string")),
                None => return Err(cursor.expected("a closing quote")),
            }
            cursor.i += 1;
            let simple = match cursor.bytes.get(cursor.i) {
                Some(byte @ (b'"' | b'\\' | b'/')) => Some(*byte),
                Some(b'b') => Some(8),
                Some(b'f') => Some(12),
                Some(b'n') => Some(b'\n'),
                Some(b'r') => Some(b'\r'),
                Some(b't') => Some(b'\t'),
                Some(b'u') => None,
                _ => return Err(cursor.expected("an escape")),
            };
            cursor.i += 1;
            match simple {
                Some(byte) => self.scratch.push(byte),
                None => {
                    let mut utf8 = [0; 4];
                    let character = unicode_escape(cursor)?;
                    self.scratch.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                }
            }
            from = cursor.i;
            cursor.i = plain_end(cursor.bytes, from);
        }
        cursor.i += 1;
        Ok(Text { start: first, end: self.scratch.len(), is_scratch: true })
    }
}

#[cfg(test)]
pub(crate) mod tests;
