//! Values of test rows: from the text as written to one value of a column's type, and back to text that YAML reads so.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType as ArrowType, Date32Type, Float64Type, Schema, TimestampMicrosecondType};
use engine::DataType;
use engine::expr::{Expr, Literal};

use crate::problems::Span;
use crate::yaml::Node;

/// Reads a node as one value of a type, or says where and why it is none. The text never becomes a float on its way to
/// another type.
pub(super) fn read(node: &Node, data_type: DataType) -> Result<ArrayRef, (Span, String)> {
    if node.is_null() {
        return Ok(new_null_array(&data_type.arrow(), 1));
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
