//! Functions of text. Positions and lengths count characters (Unicode scalar values); comparison is bytewise.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, StringBuilder};
use arrow::buffer::Buffer;
use arrow::datatypes::Int64Type;

use super::each::nulls;
use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::operand::{Call, each_row};
use crate::value::DataType;

const BASE: Function = super::base(Family::Text);

pub(super) static LOWER: Function = Function {
    name: "lower",
    aliases: &["lcase"],
    help: "The text in lower case, by Unicode, without regard to language",
    signature: "(string) → string",
    types: |arguments| texts(arguments, &LOWER, 1..=1, DataType::String),
    kernel: Kernel::Rows(|call| change_case(call, str::to_lowercase, <[u8]>::to_ascii_lowercase)),
    sql: "lower({0})",
    flink: "LOWER({0})",
    duckdb: "lower({0})",
    example: ("lower('ÀB')", "àb"),
    ..BASE
};

pub(super) static UPPER: Function = Function {
    name: "upper",
    aliases: &["ucase"],
    help: "The text in upper case, by Unicode, without regard to language",
    signature: "(string) → string",
    types: |arguments| texts(arguments, &UPPER, 1..=1, DataType::String),
    kernel: Kernel::Rows(|call| change_case(call, str::to_uppercase, <[u8]>::to_ascii_uppercase)),
    sql: "upper({0})",
    flink: "UPPER({0})",
    duckdb: "upper({0})",
    differs: "DuckDB maps letter to letter: ß becomes ẞ",
    example: ("upper('aß')", "ASS"),
    ..BASE
};

pub(super) static LENGTH: Function = Function {
    name: "length",
    aliases: &["char_length", "character_length", "len"],
    help: "How many characters the text has",
    signature: "(string) → int64",
    types: |arguments| texts(arguments, &LENGTH, 1..=1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        let count = |row: usize| Ok(text.value(row).chars().count() as i64);
        Arc::new(each_row::<_, Int64Array>(call, text.nulls(call.rows), count))
    }),
    sql: "length({0})",
    flink: "CHAR_LENGTH({0})",
    duckdb: "length({0})",
    example: ("length('día')", "3"),
    ..BASE
};

pub(super) static SUBSTR: Function = Function {
    name: "substr",
    aliases: &["substring"],
    help: "Characters from a position on (from 1; a negative one counts from the end), all or so many",
    signature: "(string, start int64[, length int64]) → string",
    types: |arguments| {
        expect_count(arguments, 2..=3, &SUBSTR)?;
        let fits =
            is_text(arguments[0].data_type) && arguments[1..].iter().all(|argument| is_integer(argument.data_type));
        if !fits {
            return Err(refuse(arguments, &SUBSTR));
        }
        let mut types = vec![DataType::String];
        types.resize(arguments.len(), DataType::Int64);
        Ok(Signature { arguments: types, result: DataType::String })
    },
    kernel: Kernel::Rows(substr),
    sql: "substr({0*, })",
    flink: "SUBSTR({0*, })",
    duckdb: "substr({0*, })",
    differs: "in DuckDB a length counts from where a start before the text would lie",
    example: ("substr('página', 2, 3)", "ági"),
    ..BASE
};

pub(super) static CONCAT: Function = Function {
    name: "concat",
    aliases: &["||"],
    help: "The texts one after the other, null if one is null; other values are written as `cast` writes them. Also `a || b`",
    signature: "(any, any, …) → string",
    types: |arguments| {
        expect_count(arguments, 1..=usize::MAX, &CONCAT)?;
        if arguments.iter().any(|argument| argument.data_type == DataType::Binary) {
            return Err(refuse(arguments, &CONCAT));
        }
        Ok(Signature { arguments: vec![DataType::String; arguments.len()], result: DataType::String })
    },
    kernel: Kernel::Rows(concat),
    sql: "concat({0*, })",
    flink: "CONCAT({0*, })",
    duckdb: "({0* || })",
    example: ("'a' || 1 || 'b'", "a1b"),
    ..BASE
};

pub(super) static TRIM: Function = Function {
    name: "trim",
    aliases: &["btrim"],
    help: "The text without spaces, or without any of the given characters, at both ends",
    signature: "(string[, characters string]) → string",
    types: |arguments| texts(arguments, &TRIM, 1..=2, DataType::String),
    kernel: Kernel::Rows(|call| trim(call, |text, set| text.trim_matches(set))),
    sql: "trim({0*, })",
    flink: "BTRIM({0*, })",
    duckdb: "trim({0*, })",
    example: ("trim('  a b ')", "a b"),
    ..BASE
};

pub(super) static LTRIM: Function = Function {
    name: "ltrim",
    help: "The text without spaces, or without any of the given characters, at the start",
    signature: "(string[, characters string]) → string",
    types: |arguments| texts(arguments, &LTRIM, 1..=2, DataType::String),
    kernel: Kernel::Rows(|call| trim(call, |text, set| text.trim_start_matches(set))),
    sql: "ltrim({0*, })",
    flink: "LTRIM({0*, })",
    duckdb: "ltrim({0*, })",
    example: ("ltrim('0070', '0')", "70"),
    ..BASE
};

pub(super) static RTRIM: Function = Function {
    name: "rtrim",
    help: "The text without spaces, or without any of the given characters, at the end",
    signature: "(string[, characters string]) → string",
    types: |arguments| texts(arguments, &RTRIM, 1..=2, DataType::String),
    kernel: Kernel::Rows(|call| trim(call, |text, set| text.trim_end_matches(set))),
    sql: "rtrim({0*, })",
    flink: "RTRIM({0*, })",
    duckdb: "rtrim({0*, })",
    example: ("rtrim('/a//', '/')", "/a"),
    ..BASE
};

pub(super) static REPLACE: Function = Function {
    name: "replace",
    help: "The text with every occurrence of the second one replaced by the third",
    signature: "(string, string, string) → string",
    types: |arguments| texts(arguments, &REPLACE, 3..=3, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, from, to) = (call.texts(0), call.texts(1), call.texts(2));
        let replaced = |row: usize| match from.value(row) {
            "" => Ok(text.value(row).to_string()),
            from => Ok(text.value(row).replace(from, to.value(row))),
        };
        Arc::new(each_row::<_, StringArray>(call, nulls(call), replaced))
    }),
    sql: "replace({0*, })",
    flink: "REPLACE({0*, })",
    duckdb: "replace({0*, })",
    example: ("replace('a-b-c', '-', '+')", "a+b+c"),
    ..BASE
};

pub(super) static STARTS_WITH: Function = Function {
    name: "starts_with",
    aliases: &["startswith", "prefix"],
    help: "Whether the text begins with the other",
    signature: "(string, string) → bool",
    types: |arguments| texts(arguments, &STARTS_WITH, 2..=2, DataType::Bool),
    kernel: Kernel::Rows(|call| test(call, |text, other| text.starts_with(other))),
    sql: "starts_with({0}, {1})",
    flink: "STARTSWITH({0}, {1})",
    duckdb: "starts_with({0}, {1})",
    example: ("starts_with('/cart/1', '/cart')", "true"),
    ..BASE
};

pub(super) static ENDS_WITH: Function = Function {
    name: "ends_with",
    aliases: &["endswith", "suffix"],
    help: "Whether the text ends with the other",
    signature: "(string, string) → bool",
    types: |arguments| texts(arguments, &ENDS_WITH, 2..=2, DataType::Bool),
    kernel: Kernel::Rows(|call| test(call, |text, other| text.ends_with(other))),
    sql: "ends_with({0}, {1})",
    flink: "ENDSWITH({0}, {1})",
    duckdb: "ends_with({0}, {1})",
    example: ("ends_with('a.png', '.jpg')", "false"),
    ..BASE
};

pub(super) static CONTAINS: Function = Function {
    name: "contains",
    help: "Whether the other occurs in the text",
    signature: "(string, string) → bool",
    types: |arguments| texts(arguments, &CONTAINS, 2..=2, DataType::Bool),
    kernel: Kernel::Rows(|call| test(call, |text, other| text.contains(other))),
    sql: "contains({0}, {1})",
    flink: "(POSITION({1} IN {0}) > 0)",
    duckdb: "contains({0}, {1})",
    example: ("contains('abc', 'bc')", "true"),
    ..BASE
};

fn is_text(data_type: DataType) -> bool {
    matches!(data_type, DataType::String | DataType::Null)
}

fn is_integer(data_type: DataType) -> bool {
    data_type.is_integer() || data_type == DataType::Null
}

/// Types of a function that takes text only.
pub(super) fn texts(
    arguments: &[Argument<'_>],
    function: &Function,
    counts: std::ops::RangeInclusive<usize>,
    result: DataType,
) -> Result<Signature, String> {
    expect_count(arguments, counts, function)?;
    if !arguments.iter().all(|argument| is_text(argument.data_type)) {
        return Err(refuse(arguments, function));
    }
    Ok(Signature { arguments: vec![DataType::String; arguments.len()], result })
}

fn change_case(call: &mut Call<'_>, change: fn(&str) -> String, ascii: fn(&[u8]) -> Vec<u8>) -> ArrayRef {
    let operand = call.texts(0);
    let array = operand.array();
    let bytes = array.value_data();
    let starts_at_zero = array.value_offsets().first() == Some(&0);
    if starts_at_zero
        && array.value_offsets().last().is_some_and(|end| *end as usize == bytes.len())
        && bytes.is_ascii()
    {
        // The lengths stay, so that the texts are changed all at once.
        let changed = String::from_utf8(ascii(bytes)).expect("ASCII stays ASCII");
        let values = Buffer::from_vec(changed.into_bytes());
        return Arc::new(StringArray::new(array.offsets().clone(), values, array.nulls().cloned()));
    }
    Arc::new(each_row::<_, StringArray>(call, operand.nulls(call.rows), |row| Ok(change(operand.value(row)))))
}

fn substr(call: &mut Call<'_>) -> ArrayRef {
    let (text, start) = (call.texts(0), call.numbers::<Int64Type>(1));
    let length = (call.arguments.len() == 3).then(|| call.numbers::<Int64Type>(2));
    let cut = |row: usize| {
        let length = length.as_ref().map(|length| length.value(row));
        if length.is_some_and(|length| length < 0) {
            return Err("substr: the length is negative".into());
        }
        Ok(slice(text.value(row), start.value(row), length))
    };
    Arc::new(each_row::<_, StringArray>(call, nulls(call), cut))
}

/// Returns the characters at positions `start ≤ position < start + length`, where the first is 1. A negative start
/// counts from the end, −1 being the last, and stops at the first.
fn slice(text: &str, start: i64, length: Option<i64>) -> &str {
    let first = if start < 0 { (text.chars().count() as i64).saturating_add(start).max(0) } else { start - 1 };
    let end = length.map_or(i64::MAX, |length| first.saturating_add(length)).max(0);
    let (first, end) = (first.max(0), end);
    if end <= first {
        return "";
    }
    let from = byte_of(text, first);
    let rest = &text[from..];
    &rest[..byte_of(rest, end - first)]
}

fn byte_of(text: &str, character: i64) -> usize {
    let character = usize::try_from(character).unwrap_or(usize::MAX);
    text.char_indices().nth(character).map_or(text.len(), |(i, _)| i)
}

fn concat(call: &mut Call<'_>) -> ArrayRef {
    let operands: Vec<_> = (0..call.arguments.len()).map(|index| call.texts(index)).collect();
    let nulls = nulls(call);
    let size =
        operands.iter().map(|text| text.array().value_data().len() * if text.is_one() { call.rows } else { 1 }).sum();
    let mut result = StringBuilder::with_capacity(call.rows, size);
    let mut joined = String::new();
    for row in 0..call.rows {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            result.append_null();
            continue;
        }
        joined.clear();
        operands.iter().for_each(|text| joined.push_str(text.value(row)));
        result.append_value(&joined);
    }
    Arc::new(result.finish())
}

fn trim(call: &mut Call<'_>, trim: for<'t> fn(&'t str, &dyn Fn(char) -> bool) -> &'t str) -> ArrayRef {
    let text = call.texts(0);
    let set = (call.arguments.len() == 2).then(|| call.texts(1));
    let trimmed = |row: usize| {
        let set = set.as_ref().map_or(" ", |set| set.value(row));
        Ok(trim(text.value(row), &|c| set.contains(c)))
    };
    Arc::new(each_row::<_, StringArray>(call, nulls(call), trimmed))
}

fn test(call: &mut Call<'_>, test: fn(&str, &str) -> bool) -> ArrayRef {
    let (text, other) = (call.texts(0), call.texts(1));
    Arc::new(each_row::<_, BooleanArray>(call, nulls(call), |row| Ok(test(text.value(row), other.value(row)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_characters_from_one_or_from_the_end() {
        for (start, length, expected) in [
            (1, None, "añb"),
            (2, Some(1), "ñ"),
            (0, Some(2), "a"),
            (0, None, "añb"),
            (-1, None, "b"),
            (-2, Some(1), "ñ"),
            (-9, Some(2), "añ"),
            (4, None, ""),
            (i64::MAX, Some(i64::MAX), ""),
            (i64::MIN, Some(i64::MAX), "añb"),
            (2, Some(0), ""),
        ] {
            assert_eq!(slice("añb", start, length), expected, "{start} {length:?}");
        }
    }
}
