//! Parts of texts, and where they are. Positions count characters from 1.

use super::each::{integers, texts};
use super::{Family, Function, Kernel, Slot, takes};
use crate::value::DataType;
use arrow::datatypes::Int64Type;

const BASE: Function = super::base(Family::Text);

pub(super) static LEFT: Function = Function {
    name: "left",
    help: "So many characters from the start; with a negative number, all but so many at the end",
    signature: "(string, count int64) → string",
    types: |arguments| takes(arguments, &LEFT, &[Slot::Text, Slot::Integer], 2, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, count) = (call.texts(0), call.numbers::<Int64Type>(1));
        texts(call, |row| Ok(split_after(text.value(row), count.value(row)).0))
    }),
    sql: "left({0}, {1})",
    flink: "LEFT({0}, {1})",
    duckdb: "left({0}, {1})",
    differs: "Flink gives an empty text for a negative number",
    example: ("left('página', 3) || left('/a/', -1)", "pág/a"),
    ..BASE
};

pub(super) static RIGHT: Function = Function {
    name: "right",
    help: "So many characters from the end; with a negative number, all but so many at the start",
    signature: "(string, count int64) → string",
    types: |arguments| takes(arguments, &RIGHT, &[Slot::Text, Slot::Integer], 2, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, count) = (call.texts(0), call.numbers::<Int64Type>(1));
        texts(call, |row| {
            let (text, count) = (text.value(row), count.value(row));
            Ok(if count == 0 { "" } else { split_after(text, count.saturating_neg()).1 })
        })
    }),
    sql: "right({0}, {1})",
    flink: "RIGHT({0}, {1})",
    duckdb: "right({0}, {1})",
    differs: "Flink gives an empty text for a negative number",
    example: ("right('página', 3)", "ina"),
    ..BASE
};

pub(super) static STRPOS: Function = Function {
    name: "strpos",
    aliases: &["instr"],
    help: "Where the second text first begins in the first, or 0; also `position(part in text)`",
    signature: "(string, part string) → int64",
    types: |arguments| takes(arguments, &STRPOS, &[Slot::Text, Slot::Text], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let (text, part) = (call.texts(0), call.texts(1));
        integers(call, |row| {
            let text = text.value(row);
            Ok(text.find(part.value(row)).map_or(0, |start| text[..start].chars().count() as i64 + 1))
        })
    }),
    sql: "strpos({0}, {1})",
    flink: "POSITION({1} IN {0})",
    duckdb: "strpos({0}, {1})",
    example: ("strpos('día', 'a')", "3"),
    ..BASE
};

pub(super) static SPLIT_PART: Function = Function {
    name: "split_part",
    help: "The n-th of the parts between separators, a negative n counting from the end; empty when there is none. An empty separator splits into characters",
    signature: "(string, separator string, n int64) → string",
    types: |arguments| takes(arguments, &SPLIT_PART, &[Slot::Text, Slot::Text, Slot::Integer], 3, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, separator, n) = (call.texts(0), call.texts(1), call.numbers::<Int64Type>(2));
        texts(call, |row| Ok(part(text.value(row), separator.value(row), n.value(row))))
    }),
    sql: "split_part({0}, {1}, {2})",
    flink: "SPLIT_INDEX({0}, {1}, {2} - 1)",
    duckdb: "split_part({0}, {1}, {2})",
    differs: "Flink gives null when there is no such part, and for a negative n",
    example: ("split_part('/shop/cart', '/', 3)", "cart"),
    ..BASE
};

pub(super) static ASCII: Function = Function {
    name: "ascii",
    help: "The Unicode number of the first character; 0 of an empty text",
    signature: "(string) → int64",
    types: |arguments| takes(arguments, &ASCII, &[Slot::Text], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        integers(call, |row| Ok(text.value(row).chars().next().map_or(0, |first| i64::from(u32::from(first)))))
    }),
    sql: "ascii({0})",
    flink: "ASCII({0})",
    duckdb: "ascii({0})",
    differs: "Flink gives the first byte",
    example: ("ascii('ñ')", "241"),
    ..BASE
};

/// Cuts a text behind so many characters, or before so many from the end.
fn split_after(text: &str, count: i64) -> (&str, &str) {
    let magnitude = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let at = match magnitude {
        0 => 0,
        _ if count < 0 => text.char_indices().rev().nth(magnitude - 1).map_or(0, |(i, _)| i),
        _ => text.char_indices().nth(magnitude).map_or(text.len(), |(i, _)| i),
    };
    text.split_at(at)
}

fn part<'t>(text: &'t str, separator: &str, n: i64) -> &'t str {
    let index = |count: usize| match n {
        0 => None,
        1.. => usize::try_from(n - 1).ok(),
        _ => usize::try_from(n.unsigned_abs()).ok().and_then(|back| count.checked_sub(back)),
    };
    if separator.is_empty() {
        let characters = text.chars().count();
        let Some(index) = index(characters).filter(|index| *index < characters) else { return "" };
        let rest = split_after(text, index as i64).1;
        return split_after(rest, 1).0;
    }
    let count = if n < 0 { text.split(separator).count() } else { 0 };
    index(count).and_then(|index| text.split(separator).nth(index)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_cut_at_characters() {
        for (count, left, right) in [
            (0, "", "añb"),
            (1, "a", "ñb"),
            (3, "añb", ""),
            (9, "añb", ""),
            (-1, "añ", "b"),
            (-3, "", "añb"),
            (-9, "", "añb"),
            (i64::MAX, "añb", ""),
            (i64::MIN, "", "añb"),
        ] {
            assert_eq!(split_after("añb", count), (left, right), "{count}");
        }
    }

    #[test]
    fn parts_count_from_either_end() {
        for (text, separator, n, expected) in [
            ("a,b,c", ",", 2, "b"),
            ("a,b,c", ",", -1, "c"),
            ("a,b,c", ",", -3, "a"),
            ("a,b,c", ",", -4, ""),
            ("a,b,c", ",", 4, ""),
            ("a,b,c", ",", 0, ""),
            ("aaa", "aa", -1, "a"),
            ("añb", "", 2, "ñ"),
            ("añb", "", -1, "b"),
            ("añb", "", 4, ""),
            ("", "", 1, ""),
            ("", ",", 1, ""),
            (",", ",", i64::MIN, ""),
            (",", ",", i64::MAX, ""),
        ] {
            assert_eq!(part(text, separator, n), expected, "{text} {separator} {n}");
        }
    }
}
