//! Values of test rows: from the text as written to one value of a column's type, and back to text that YAML reads so.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
    new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat;
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Field as ArrowField, Float64Type, Schema, TimestampMicrosecondType,
};
use engine::DataType;
use engine::expr::{Expr, Literal};
use engine::value::StructField;

use crate::problems::Span;
use crate::suggest::list;
use crate::yaml::{Kind, Node};

/// Reads a node as one value of a type, or says where and why it is none. The text never becomes a float on its way to
/// another type.
pub(super) fn read(node: &Node, data_type: DataType) -> Result<ArrayRef, (Span, String)> {
    if node.is_null() {
        return Ok(new_null_array(&data_type.arrow(), 1));
    }
    match data_type {
        DataType::List(element) => return read_list(node, *element),
        DataType::Struct(fields) => return read_struct(node, fields),
        DataType::Json => return read_json(node),
        _ => {}
    }
    let wrong = |why: String| (node.span, why);
    let Some(scalar) = node.scalar() else { return Err(wrong(format!("it is {}", node.what()))) };
    let text = Expr::literal(Literal::String(scalar.text.clone()));
    let typed = Expr::cast(text, data_type, false).map_err(wrong)?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options)
        .expect("a batch without columns has rows");
    let evaluated = typed.evaluate(&row);
    match evaluated.failures.into_iter().next() {
        Some((_, why)) => Err(wrong(why.trim_start_matches("cast: ").into())),
        None => Ok(evaluated.values),
    }
}

fn read_list(node: &Node, element: DataType) -> Result<ArrayRef, (Span, String)> {
    let Kind::Sequence(items) = &node.kind else { return Err((node.span, format!("it is {}", node.what()))) };
    let items = items.iter().map(|item| read(item, element)).collect::<Result<Vec<_>, _>>()?;
    let values = match items.is_empty() {
        true => new_empty_array(&element.arrow()),
        false => {
            let items: Vec<&dyn Array> = items.iter().map(|item| &**item).collect();
            concat(&items).expect("elements have one type")
        }
    };
    let ArrowType::List(field) = DataType::list(element).arrow() else { unreachable!("a list is held in a list") };
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Ok(Arc::new(ListArray::new(field, offsets, values, None)))
}

fn read_struct(node: &Node, fields: &'static [StructField]) -> Result<ArrayRef, (Span, String)> {
    let Kind::Mapping(entries) = &node.kind else { return Err((node.span, format!("it is {}", node.what()))) };
    if let Some(unknown) = entries.iter().find(|entry| !fields.iter().any(|field| *field.name == *entry.key.text)) {
        let names = list(fields.iter().map(|field| &*field.name));
        return Err((unknown.key.span, format!("it has no field `{}`; its fields: {names}", unknown.key.text)));
    }
    let value = |field: &StructField| match entries.iter().find(|entry| *entry.key.text == *field.name) {
        Some(entry) => read(&entry.value, field.data_type),
        None => Ok(new_null_array(&field.data_type.arrow(), 1)),
    };
    let values = fields.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let fields = fields.iter().map(|field| ArrowField::new(&*field.name, field.data_type.arrow(), true));
    Ok(Arc::new(StructArray::new(fields.collect(), values, None)))
}

fn read_json(node: &Node) -> Result<ArrayRef, (Span, String)> {
    let canonical = engine::json::canonical(&json_text(node)).map_err(|why| (node.span, why))?;
    Ok(Arc::new(LargeStringArray::from(vec![canonical])))
}

/// Returns a node as JSON: plain numbers and truth values as they are, every other scalar as a text.
fn json_text(node: &Node) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match &node.kind {
        _ if node.is_null() => "null".into(),
        Kind::Scalar(scalar) => {
            let is_bare = scalar.plain
                && (matches!(scalar.text.as_str(), "true" | "false")
                    || (scalar.text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                        && serde_json::from_str::<serde_json::Number>(&scalar.text).is_ok()));
            if is_bare { scalar.text.clone() } else { quoted(&scalar.text) }
        }
        Kind::Sequence(items) => format!("[{}]", items.iter().map(json_text).collect::<Vec<_>>().join(",")),
        Kind::Mapping(entries) => {
            let entries =
                entries.iter().map(|entry| format!("{}:{}", quoted(&entry.key.text), json_text(&entry.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

/// Returns a value as YAML that [`read`] reads as the same value, to stand inside `{}`.
pub(super) fn write(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        ArrowType::Boolean | ArrowType::Int32 | ArrowType::Int64 | ArrowType::Decimal128(..) => display(array, row),
        ArrowType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            if value.is_finite() { format!("{value:?}") } else { quoted(&display(array, row)) }
        }
        ArrowType::Timestamp(..) | ArrowType::Date32 => format!("\"{}\"", display(array, row)),
        ArrowType::Binary => match std::str::from_utf8(array.as_binary::<i32>().value(row)) {
            Ok(text) => quoted(text),
            // Bytes that are no text cannot be expected; this says so and matches nothing.
            Err(_) => "\"(bytes that are not UTF-8)\"".into(),
        },
        ArrowType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|item| write(&*items, item)).collect();
            format!("[{}]", items.join(", "))
        }
        ArrowType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let cells =
                fields.iter().zip(columns).map(|(field, column)| format!("{}: {}", field.name(), write(column, row)));
            format!("{{{}}}", cells.collect::<Vec<_>>().join(", "))
        }
        // JSON is YAML: after a quoted key the colon needs no blank.
        ArrowType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        _ => quoted(&display(array, row)),
    }
}

/// Returns a value for people.
pub fn display(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        ArrowType::Timestamp(..) => engine::rfc3339(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        ArrowType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            let time = engine::rfc3339(days.saturating_mul(86_400_000_000));
            time.split('T').next().unwrap_or_default().into()
        }
        ArrowType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            match value {
                value if value.is_nan() => "NaN".into(),
                value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
                value => format!("{value:?}"),
            }
        }
        ArrowType::Binary => String::from_utf8_lossy(array.as_binary::<i32>().value(row)).into_owned(),
        _ => engine::value::display(array, row),
    }
}

/// Returns a text bare where YAML reads it as itself in every place, else in double quotes.
fn quoted(text: &str) -> String {
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_/.-".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
        && !matches!(text, "NaN" | "Infinity");
    if is_bare {
        return text.into();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && (c as u32) < 256 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_would_be_read_as_something_else_is_quoted() {
        for (text, written) in [
            ("/home", "/home"),
            ("a-b", "a-b"),
            ("no", "\"no\""),
            ("", "\"\""),
            ("1", "\"1\""),
            ("a, b", "\"a, b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(quoted(text), written);
        }
    }
}
