//! Types within types: how they are kept, read and taken apart, and the one form of nested arrays.
//!
//! The parts of a nested type are kept for as long as the program runs, each once; there are only as many as the
//! definitions at hand write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType as ArrowType, Float64Type};

use super::{DataType, canonical_f64};

/// How deep types may nest; a scalar is one deep.
pub const MAX_TYPE_DEPTH: usize = 16;

/// A named value of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StructField {
    /// The name, unlike every other in its struct.
    pub name: String,
    /// The type of its values, any of which may be null.
    pub data_type: DataType,
}

static ELEMENTS: Mutex<Vec<&'static DataType>> = Mutex::new(Vec::new());
static STRUCTS: Mutex<Vec<&'static [StructField]>> = Mutex::new(Vec::new());

/// Whoever panicked while holding it left the list whole.
fn locked<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DataType {
    /// Returns the type of lists of these elements.
    pub fn list(element: DataType) -> DataType {
        let mut known = locked(&ELEMENTS);
        let found = known.iter().copied().find(|known| **known == element);
        DataType::List(found.unwrap_or_else(|| {
            let kept: &'static DataType = Box::leak(Box::new(element));
            known.push(kept);
            kept
        }))
    }

    /// Returns the type of structs of these fields, whose names differ.
    pub fn structure(fields: Vec<StructField>) -> DataType {
        let mut known = locked(&STRUCTS);
        let found = known.iter().copied().find(|known| **known == *fields);
        DataType::Struct(found.unwrap_or_else(|| {
            let kept: &'static [StructField] = Box::leak(fields.into_boxed_slice());
            known.push(kept);
            kept
        }))
    }

    /// Returns the type of a list's elements.
    pub fn element(self) -> Option<DataType> {
        match self {
            DataType::List(element) => Some(*element),
            _ => None,
        }
    }

    /// Returns true for lists and structs, whose values hold values.
    pub fn is_nested(self) -> bool {
        matches!(self, DataType::List(_) | DataType::Struct(_))
    }

    /// Returns true when a bare null stands anywhere in it, so that no column can have it.
    pub fn has_null(self) -> bool {
        match self {
            DataType::Null => true,
            DataType::List(element) => element.has_null(),
            DataType::Struct(fields) => fields.iter().any(|field| field.data_type.has_null()),
            _ => false,
        }
    }

    /// Returns how deep it nests; a scalar is one deep.
    pub fn depth(self) -> usize {
        match self {
            DataType::List(element) => 1 + element.depth(),
            DataType::Struct(fields) => 1 + fields.iter().map(|field| field.data_type.depth()).max().unwrap_or(0),
            _ => 1,
        }
    }
}

/// Reads a type that is at most so deep.
pub(super) fn parse(text: &str, depth: usize) -> Option<DataType> {
    let text = text.trim();
    if depth == 0 {
        return None;
    }
    if let Some(rest) = text.strip_prefix("list<") {
        return Some(DataType::list(parse(rest.strip_suffix('>')?, depth - 1)?));
    }
    let Some(rest) = text.strip_prefix("struct<") else { return DataType::parse_scalar(text) };
    let mut fields: Vec<StructField> = Vec::new();
    for field in split(rest.strip_suffix('>')?) {
        let (name, data_type) = field.split_once(':')?;
        let name = name.trim();
        if !is_name(name) || fields.iter().any(|field| field.name == name) {
            return None;
        }
        fields.push(StructField { name: name.into(), data_type: parse(data_type, depth - 1)? });
    }
    Some(DataType::structure(fields))
}

/// Splits what is written between a type's brackets at the commas that stand in no further ones.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, 0usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' | b'(' => open += 1,
            b'>' | b')' => open = open.saturating_sub(1),
            b',' if open == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// How many bytes a name has at most.
pub const MAX_NAME_SIZE: usize = 63;

/// Returns true for what may be a name: of a field here, of anything in a pipeline file.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= MAX_NAME_SIZE
}

/// Returns the values with one NaN and no −0.0, however deep floats stand in them.
pub(crate) fn canonical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        ArrowType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical_f64)),
        ArrowType::List(field) if holds_floats(field.data_type()) => {
            let lists = array.as_list::<i32>();
            let (values, nulls) = (canonical(lists.values()), lists.nulls().cloned());
            Arc::new(ListArray::new(field.clone(), lists.offsets().clone(), values, nulls))
        }
        ArrowType::Struct(fields) if holds_floats(array.data_type()) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().map(canonical).collect();
            Arc::new(StructArray::new(fields.clone(), columns, structs.nulls().cloned()))
        }
        _ => array.clone(),
    }
}

fn holds_floats(data_type: &ArrowType) -> bool {
    match data_type {
        ArrowType::Float64 => true,
        ArrowType::List(field) => holds_floats(field.data_type()),
        ArrowType::Struct(fields) => fields.iter().any(|field| holds_floats(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types_read_back_from_their_text() {
        for text in [
            "list<int64>",
            "list<list<decimal(18,2)>>",
            "struct<a: int64, b: list<string>>",
            "list<struct<_x: decimal(5,0), y2: struct<z: json>>>",
        ] {
            assert_eq!(DataType::parse(text).expect(text).to_string(), text);
        }
        let loose = DataType::parse(" struct< a :int64,b: list< decimal( 4 , 1 ) > > ").unwrap();
        assert_eq!(loose.to_string(), "struct<a: int64, b: list<decimal(4,1)>>");
    }

    #[test]
    fn what_is_no_type_is_none() {
        let deep = |depth: usize| format!("{}int64{}", "list<".repeat(depth - 1), ">".repeat(depth - 1));
        assert_eq!(DataType::parse(&deep(MAX_TYPE_DEPTH)).unwrap().depth(), MAX_TYPE_DEPTH);
        for text in [
            "list",
            "list<>",
            "list<int64",
            "list<int64>>",
            "list<int64!>",
            "list<null>",
            "struct<>",
            "struct<a>",
            "struct<a: int64,>",
            "struct<a: int64, a: string>",
            "struct<1a: int64>",
            "list<int64> >",
            "list<int64>, list<int64>",
            &deep(MAX_TYPE_DEPTH + 1),
        ] {
            assert_eq!(DataType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn equal_types_are_kept_once() {
        let DataType::List(a) = DataType::parse("list<struct<a: json>>").unwrap() else { panic!() };
        let DataType::List(b) = DataType::parse("list<struct<a:json>>").unwrap() else { panic!() };
        assert!(std::ptr::eq(a, b));
        assert_ne!(DataType::list(DataType::Int32), DataType::list(DataType::Int64));
    }
}
