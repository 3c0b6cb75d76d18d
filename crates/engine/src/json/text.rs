//! Values written as JSON text.
//!
//! Numbers are numbers, but decimals, NaN and the infinities texts; times RFC 3339 in UTC with microseconds; bytes base64;
//! structs objects with their fields in the type's order; JSON as it is.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use crate::expr::text::{date_text, decimal_text, float_text, timestamp_text};

/// Returns a value as JSON text.
pub fn text_of(array: &dyn Array, row: usize) -> String {
    let mut out = Vec::new();
    write_value(array, row, &mut out);
    String::from_utf8(out).expect("JSON text is UTF-8")
}

/// Writes a value of one of the engine's types as JSON text.
pub fn write_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if array.data_type() == &ArrowType::Null || array.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    let quoted = |text: String, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    };
    match array.data_type() {
        ArrowType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        ArrowType::Int32 => out.extend_from_slice(array.as_primitive::<Int32Type>().value(row).to_string().as_bytes()),
        ArrowType::Int64 => out.extend_from_slice(array.as_primitive::<Int64Type>().value(row).to_string().as_bytes()),
        ArrowType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            match value.is_finite() {
                true => out.extend_from_slice(float_text(value).as_bytes()),
                false => quoted(float_text(value), out),
            }
        }
        ArrowType::Decimal128(_, scale) => {
            quoted(decimal_text(array.as_primitive::<Decimal128Type>().value(row), *scale as u8), out)
        }
        ArrowType::Utf8 => write_string(array.as_string::<i32>().value(row), out),
        ArrowType::LargeUtf8 => out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes()),
        ArrowType::Timestamp(..) => {
            quoted(timestamp_text(array.as_primitive::<TimestampMicrosecondType>().value(row)), out)
        }
        ArrowType::Date32 => quoted(date_text(array.as_primitive::<Date32Type>().value(row)), out),
        ArrowType::Binary => quoted(base64(array.as_binary::<i32>().value(row)), out),
        ArrowType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            out.push(b'[');
            for i in 0..elements.len() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(elements.as_ref(), i, out);
            }
            out.push(b']');
        }
        ArrowType::Struct(fields) => {
            out.push(b'{');
            for (i, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(field.name(), out);
                out.push(b':');
                write_value(column.as_ref(), row, out);
            }
            out.push(b'}');
        }
        other => unreachable!("no value has the type {other}"),
    }
}

/// Writes a text as a JSON string: only what must be escaped is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut written = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[written..i]);
        written = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
    out.push(b'"');
}

/// Returns bytes as base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648, section 10.
    #[test]
    fn base64_is_as_its_standard_has_it() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (bytes, text) in examples {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }
}
