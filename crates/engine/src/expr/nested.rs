//! Conversions from and to lists, structs and JSON, part by part.
//!
//! | from → to | rule |
//! | --- | --- |
//! | list → list, struct → struct | each element; fields by name, and both must have the same names |
//! | list, struct → text | its JSON text |
//! | text → list, struct | its JSON text is read, then as from JSON |
//! | anything → JSON | as sinks write it: decimals, times and bytes become strings |
//! | text → JSON | the text is read; `null` becomes null |
//! | JSON → text | its canonical text, a string with its quotes; inside a list or struct the string's characters |
//! | JSON → list | an array, element by element |
//! | JSON → struct | an object, field by field; a field that is not there is null, other keys are passed over |
//! | JSON → other | the characters of a string, or the text of a number, `true` or `false`, converted as text is |
//!
//! One part that cannot be converted fails the row.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, LargeStringBuilder, ListArray, StringArray, StringBuilder, StructArray,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::nullif;
use arrow::datatypes::DataType as ArrowType;

use super::cast::{check, convert};
use super::operand::{Call, Reason, Value};
use crate::json;
use crate::value::DataType;

/// Returns true when either side is a list, a struct or JSON, so that the rules here apply.
pub(super) fn concerns(from: DataType, to: DataType) -> bool {
    [from, to].iter().any(|side| side.is_nested() || *side == DataType::Json)
}

/// Says whether one can become the other; one of them is nested or JSON.
pub(super) fn is_possible(from: DataType, to: DataType) -> bool {
    use DataType as T;
    match (from, to) {
        _ if from == to || from == T::Null => true,
        (_, T::Null) => false,
        (T::List(a), T::List(b)) => check(*a, *b).is_ok(),
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && b.iter().all(|to| {
                    let from = a.iter().find(|from| from.name == to.name);
                    from.is_some_and(|from| check(from.data_type, to.data_type).is_ok())
                })
        }
        (_, T::Json | T::String) => true,
        (T::Json, to) => of_json(to),
        (T::String, to) => of_json(to),
        _ => false,
    }
}

/// Returns true for types that JSON can become.
fn of_json(to: DataType) -> bool {
    match to {
        DataType::Binary | DataType::Null => false,
        DataType::List(element) => of_json(*element),
        DataType::Struct(fields) => fields.iter().all(|field| of_json(field.data_type)),
        _ => true,
    }
}

/// The kernel of a conversion whose either side is nested or JSON.
pub(super) fn convert_nested(call: &mut Call<'_>) -> ArrayRef {
    let operand = call.arguments[0].array().clone();
    let mut failures = Vec::new();
    let array = converted(&operand, call.result, false, &mut failures);
    failures.sort_by_key(|(row, _)| *row);
    failures.dedup_by_key(|(row, _)| *row);
    if failures.is_empty() {
        return array;
    }
    for (row, reason) in &failures {
        call.fail(*row, || reason.clone());
    }
    without(&array, failures.iter().map(|(row, _)| *row))
}

/// Returns the array where these rows are null.
fn without(array: &ArrayRef, rows: impl Iterator<Item = usize>) -> ArrayRef {
    let mut failed = vec![false; array.len()];
    rows.for_each(|row| failed[row] = true);
    nullif(array, &failed.into()).expect("one flag per row")
}

type Failures = Vec<(usize, Reason)>;

/// Converts an array. Rows that cannot be converted are named; their values mean nothing. Within a list or struct a JSON
/// string becomes text without its quotes.
fn converted(array: &ArrayRef, to: DataType, within: bool, failures: &mut Failures) -> ArrayRef {
    let target = to.arrow();
    match array.data_type() {
        ArrowType::Null => new_null_array(&target, array.len()),
        from if *from == target => array.clone(),
        ArrowType::LargeUtf8 => from_json(array, to, within, failures),
        ArrowType::Utf8 if concerns(DataType::String, to) => {
            let json = parsed(array.as_string::<i32>(), failures);
            if to == DataType::Json { json } else { from_json(&json, to, within, failures) }
        }
        _ if to == DataType::Json => {
            let mut texts = LargeStringBuilder::new();
            for row in 0..array.len() {
                texts.append_option(array.is_valid(row).then(|| json::text_of(array, row)));
            }
            Arc::new(texts.finish())
        }
        ArrowType::List(_) | ArrowType::Struct(_) if to == DataType::String => {
            let mut texts = StringBuilder::new();
            for row in 0..array.len() {
                texts.append_option(array.is_valid(row).then(|| json::text_of(array, row)));
            }
            Arc::new(texts.finish())
        }
        ArrowType::List(_) => {
            let (ArrowType::List(field), Some(element)) = (target, to.element()) else {
                unreachable!("a list becomes a list, text or JSON")
            };
            let lists = array.as_list::<i32>();
            let mut inner = Failures::new();
            let values = converted(lists.values(), element, true, &mut inner);
            spread(lists.offsets(), lists.nulls(), inner, failures);
            Arc::new(ListArray::new(field, lists.offsets().clone(), values, lists.nulls().cloned()))
        }
        ArrowType::Struct(_) => {
            let (ArrowType::Struct(fields), DataType::Struct(types)) = (target, to) else {
                unreachable!("a struct becomes a struct, text or JSON")
            };
            let structs = array.as_struct();
            let columns = types.iter().map(|field| {
                let column = structs.column_by_name(&field.name).expect("both have the same names");
                let mut inner = Failures::new();
                let column = converted(column, field.data_type, true, &mut inner);
                failures.extend(inner.into_iter().filter(|(row, _)| structs.is_valid(*row)));
                column
            });
            Arc::new(StructArray::new(fields, columns.collect(), structs.nulls().cloned()))
        }
        _ => {
            // Scalars of both sides: as a cast of a column of them.
            let mut failed = Vec::new();
            let arguments = [Value::Rows(array.clone())];
            let mut call =
                Call { arguments: &arguments, rows: array.len(), result: to, open: None, failures: &mut failed };
            let values = convert(&mut call, false);
            failures.extend(failed.into_iter().map(|(row, reason)| (row as usize, reason)));
            values
        }
    }
}

/// Gives the failures of elements to the lists that hold them; what a null list hides is nobody's.
fn spread(offsets: &OffsetBuffer<i32>, nulls: Option<&NullBuffer>, inner: Failures, failures: &mut Failures) {
    for (at, reason) in inner {
        let row = offsets.partition_point(|start| *start <= at as i32);
        if row > 0 && row < offsets.len() && nulls.is_none_or(|nulls| nulls.is_valid(row - 1)) {
            failures.push((row - 1, reason));
        }
    }
}

fn parsed(texts: &StringArray, failures: &mut Failures) -> ArrayRef {
    let mut out = LargeStringBuilder::with_capacity(texts.len(), texts.values().len());
    for (row, text) in texts.iter().enumerate() {
        match text.map_or(Ok(None), json::canonical) {
            Ok(json) => out.append_option(json),
            Err(why) => {
                out.append_null();
                failures.push((row, format!("cast: {} is not JSON: {why}", shown(text.unwrap_or_default())).into()));
            }
        }
    }
    Arc::new(out.finish())
}

fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}

fn from_json(array: &ArrayRef, to: DataType, within: bool, failures: &mut Failures) -> ArrayRef {
    let texts = array.as_string::<i64>();
    let mut misfit = |row: usize, text: &str| {
        failures.push((row, format!("cast: {} is not a value of {to}", shown(text)).into()));
    };
    match (to, to.arrow()) {
        (DataType::Json, _) => array.clone(),
        (DataType::String, _) if !within => Arc::new(texts.iter().collect::<StringArray>()),
        (DataType::List(element), ArrowType::List(field)) => {
            let (mut elements, mut offsets) = (LargeStringBuilder::new(), vec![0i32]);
            let mut count = 0i32;
            for (row, text) in texts.iter().enumerate() {
                match text {
                    Some(text) if json::kind(text) == json::Kind::Array => {
                        for element in json::elements(text) {
                            elements.append_option((element != "null").then_some(element));
                            count += 1;
                        }
                    }
                    Some(text) => misfit(row, text),
                    None => {}
                }
                offsets.push(count);
            }
            let offsets = OffsetBuffer::new(offsets.into());
            let elements: ArrayRef = Arc::new(elements.finish());
            let mut inner = Failures::new();
            let values = converted(&elements, *element, true, &mut inner);
            spread(&offsets, texts.nulls(), inner, failures);
            Arc::new(ListArray::new(field, offsets, values, texts.nulls().cloned()))
        }
        (DataType::Struct(types), ArrowType::Struct(fields)) => {
            let is_object = |text: &str| json::kind(text) == json::Kind::Object;
            for (row, text) in texts.iter().enumerate() {
                text.filter(|text| !is_object(text)).into_iter().for_each(|text| misfit(row, text));
            }
            let columns = types.iter().map(|field| {
                let member =
                    |text: &'_ str| json::member(text, &field.name).filter(|value| *value != "null").map(str::to_owned);
                let values: LargeStringArray = texts.iter().map(|text| text.and_then(member)).collect();
                let values: ArrayRef = Arc::new(values);
                converted(&values, field.data_type, true, failures)
            });
            let columns = columns.collect();
            Arc::new(StructArray::new(fields, columns, texts.nulls().cloned()))
        }
        _ => {
            let mut scalars = StringBuilder::with_capacity(texts.len(), texts.values().len());
            for (row, text) in texts.iter().enumerate() {
                let Some(text) = text else {
                    scalars.append_null();
                    continue;
                };
                match (json::kind(text), to) {
                    (json::Kind::String, _) => scalars.append_option(json::characters(text)),
                    (json::Kind::Object | json::Kind::Array, DataType::String) => scalars.append_value(text),
                    (json::Kind::Object | json::Kind::Array, _) => {
                        misfit(row, text);
                        scalars.append_null();
                    }
                    _ => scalars.append_value(text),
                }
            }
            let scalars: ArrayRef = Arc::new(scalars.finish());
            converted(&scalars, to, within, failures)
        }
    }
}
