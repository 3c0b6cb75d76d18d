//! Texts made of other texts.

use arrow::datatypes::Int64Type;

use super::each::{maybe_texts, texts};
use super::{Family, Function, Kernel, Signature, Slot, expect_count, refuse, takes};
use crate::expr::operand::{Call, Reason};
use crate::value::DataType;

const BASE: Function = super::base(Family::Text);

/// The longest text in bytes that a function makes longer than its operands; beyond it the row fails.
const MOST_BYTES: usize = 1 << 24;

pub(super) static LPAD: Function = Function {
    name: "lpad",
    help: "The text with so many characters, cut at its end or filled at its start with spaces or the characters of a text",
    signature: "(string, length int64[, fill string]) → string",
    types: |arguments| takes(arguments, &LPAD, &[Slot::Text, Slot::Integer, Slot::Text], 2, DataType::String),
    kernel: Kernel::Rows(|call| pad(call, true)),
    sql: "lpad({0*, })",
    flink: "LPAD({0}, {1}, {2})",
    duckdb: "lpad({0}, {1}::INTEGER, {2})",
    differs: "elsewhere the fill has to be given; Flink gives null for a negative length",
    example: ("lpad('7', 3, '0')", "007"),
    ..BASE
};

pub(super) static RPAD: Function = Function {
    name: "rpad",
    help: "The text with so many characters, cut or filled at its end with spaces or the characters of a text",
    signature: "(string, length int64[, fill string]) → string",
    types: |arguments| takes(arguments, &RPAD, &[Slot::Text, Slot::Integer, Slot::Text], 2, DataType::String),
    kernel: Kernel::Rows(|call| pad(call, false)),
    sql: "rpad({0*, })",
    flink: "RPAD({0}, {1}, {2})",
    duckdb: "rpad({0}, {1}::INTEGER, {2})",
    differs: "elsewhere the fill has to be given; Flink gives null for a negative length",
    example: ("rpad('ab', 4, '.')", "ab.."),
    ..BASE
};

pub(super) static REPEAT: Function = Function {
    name: "repeat",
    help: "The text so many times over; a result of more than 16 MiB fails the row",
    signature: "(string, count int64) → string",
    types: |arguments| takes(arguments, &REPEAT, &[Slot::Text, Slot::Integer], 2, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, count) = (call.texts(0), call.numbers::<Int64Type>(1));
        texts(call, |row| {
            let (text, count) = (text.value(row), usize::try_from(count.value(row)).unwrap_or(0));
            let size = text.len().checked_mul(count).filter(|size| *size <= MOST_BYTES);
            size.map(|_| text.repeat(count)).ok_or_else(|| too_long("repeat"))
        })
    }),
    sql: "repeat({0}, {1})",
    flink: "REPEAT({0}, {1})",
    duckdb: "repeat({0}, {1})",
    example: ("repeat('ab', 3)", "ababab"),
    ..BASE
};

pub(super) static REVERSE: Function = Function {
    name: "reverse",
    help: "The characters in reverse order",
    signature: "(string) → string",
    types: |arguments| takes(arguments, &REVERSE, &[Slot::Text], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        texts(call, |row| Ok(text.value(row).chars().rev().collect::<String>()))
    }),
    sql: "reverse({0})",
    flink: "REVERSE({0})",
    duckdb: "reverse({0})",
    differs: "DuckDB keeps an accent that is a character of its own behind its letter",
    example: ("reverse('día')", "aíd"),
    ..BASE
};

pub(super) static INITCAP: Function = Function {
    name: "initcap",
    help: "Every word with a capital first letter and small others; a word is a run of letters and digits",
    signature: "(string) → string",
    types: |arguments| takes(arguments, &INITCAP, &[Slot::Text], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        texts(call, |row| Ok(capitalised(text.value(row))))
    }),
    sql: "initcap({0})",
    flink: "INITCAP({0})",
    example: ("initcap('new YORK-city')", "New York-City"),
    ..BASE
};

pub(super) static OVERLAY: Function = Function {
    name: "overlay",
    help: "The text with another one in the place of so many characters (by default as many as it has) from a position on; also `overlay(a placing b from 2 for 3)`",
    signature: "(string, new string, start int64[, length int64]) → string",
    types: |arguments| {
        takes(arguments, &OVERLAY, &[Slot::Text, Slot::Text, Slot::Integer, Slot::Integer], 3, DataType::String)
    },
    kernel: Kernel::Rows(overlay),
    sql: "overlay({0} placing {1} from {2}{3? for })",
    flink: "OVERLAY({0} PLACING {1} FROM {2}{3? FOR })",
    duckdb: "overlay({0} PLACING {1} FROM {2}{3? FOR })",
    differs: "a position below 1 or a negative length fails the row",
    example: ("overlay('2026-01-01' placing '12' from 6)", "2026-12-01"),
    ..BASE
};

pub(super) static TRANSLATE: Function = Function {
    name: "translate",
    help: "The text with every character of the second text replaced by the one at its place in the third, or left out where that is shorter",
    signature: "(string, from string, to string) → string",
    types: |arguments| takes(arguments, &TRANSLATE, &[Slot::Text, Slot::Text, Slot::Text], 3, DataType::String),
    kernel: Kernel::Rows(|call| {
        let (text, from, to) = (call.texts(0), call.texts(1), call.texts(2));
        texts(call, |row| {
            let replacement = |c: char| match from.value(row).chars().position(|other| other == c) {
                None => Some(c),
                Some(place) => to.value(row).chars().nth(place),
            };
            Ok(text.value(row).chars().filter_map(replacement).collect::<String>())
        })
    }),
    sql: "translate({0}, {1}, {2})",
    flink: "TRANSLATE({0}, {1}, {2})",
    duckdb: "translate({0}, {1}, {2})",
    example: ("translate('1.234,5', ',.', '.')", "1234.5"),
    ..BASE
};

pub(super) static CHR: Function = Function {
    name: "chr",
    help: "The character of that Unicode number; a number that is none fails the row",
    signature: "(int64) → string",
    types: |arguments| takes(arguments, &CHR, &[Slot::Integer], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let number = call.numbers::<Int64Type>(0);
        texts(call, |row| {
            let number = number.value(row);
            let character = u32::try_from(number).ok().and_then(char::from_u32);
            character.map(String::from).ok_or_else(|| format!("chr: {number} is no character").into())
        })
    }),
    sql: "chr({0})",
    duckdb: "chr({0}::INTEGER)",
    example: ("chr(241)", "ñ"),
    ..BASE
};

pub(super) static CONCAT_WS: Function = Function {
    name: "concat_ws",
    help: "The texts that are not null with a separator between them; other values are written as `cast` writes them; null if the separator is",
    signature: "(separator string, any, …) → string",
    types: |arguments| {
        expect_count(arguments, 2..=usize::MAX, &CONCAT_WS)?;
        let is_text = matches!(arguments[0].data_type, DataType::String | DataType::Null);
        if !is_text || arguments.iter().any(|argument| argument.data_type == DataType::Binary) {
            return Err(refuse(arguments, &CONCAT_WS));
        }
        Ok(Signature { arguments: vec![DataType::String; arguments.len()], result: DataType::String })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(concat_ws),
    sql: "concat_ws({0*, })",
    flink: "CONCAT_WS({0*, })",
    duckdb: "concat_ws({0*, })",
    example: ("concat_ws('-', 'a', null, 1)", "a-1"),
    ..BASE
};

fn too_long(name: &str) -> Reason {
    format!("overflow: the text of `{name}` would have more than {MOST_BYTES} bytes").into()
}

fn pad(call: &mut Call<'_>, at_start: bool) -> arrow::array::ArrayRef {
    let (text, length) = (call.texts(0), call.numbers::<Int64Type>(1));
    let fill = (call.arguments.len() == 3).then(|| call.texts(2));
    let name = if at_start { "lpad" } else { "rpad" };
    texts(call, |row| {
        let (text, fill) = (text.value(row), fill.as_ref().map_or(" ", |fill| fill.value(row)));
        let length = usize::try_from(length.value(row).max(0)).unwrap_or(usize::MAX);
        let (kept, has) = match text.char_indices().nth(length) {
            Some((end, _)) => (&text[..end], length),
            None => (text, text.chars().count()),
        };
        if has == length {
            return Ok(kept.to_string());
        }
        if fill.is_empty() {
            return Err(format!("{name}: there is nothing to fill with").into());
        }
        let missing = length - has;
        if missing > MOST_BYTES || missing * fill.len() > 4 * MOST_BYTES {
            return Err(too_long(name));
        }
        let filling: String = fill.chars().cycle().take(missing).collect();
        if filling.len() + kept.len() > MOST_BYTES {
            return Err(too_long(name));
        }
        Ok(if at_start { filling + kept } else { kept.to_string() + &filling })
    })
}

fn capitalised(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            result.extend(c.to_lowercase())
        } else {
            result.extend(c.to_uppercase())
        }
        inside = c.is_alphanumeric();
    }
    result
}

fn overlay(call: &mut Call<'_>) -> arrow::array::ArrayRef {
    let (text, new, start) = (call.texts(0), call.texts(1), call.numbers::<Int64Type>(2));
    let length = (call.arguments.len() == 4).then(|| call.numbers::<Int64Type>(3));
    texts(call, |row| {
        let (text, new, start) = (text.value(row), new.value(row), start.value(row));
        let length = length.as_ref().map_or(new.chars().count() as i64, |length| length.value(row));
        if start < 1 || length < 0 {
            return Err(format!("overlay: from {start} for {length} is no part of a text").into());
        }
        let byte = |characters: i64| {
            let characters = usize::try_from(characters).unwrap_or(usize::MAX);
            text.char_indices().nth(characters).map_or(text.len(), |(i, _)| i)
        };
        let (head, tail) = (byte(start - 1), byte((start - 1).saturating_add(length)));
        Ok(format!("{}{new}{}", &text[..head], &text[tail..]))
    })
}

fn concat_ws(call: &mut Call<'_>) -> arrow::array::ArrayRef {
    let operands: Vec<_> = (0..call.arguments.len()).map(|index| call.texts(index)).collect();
    let (separator, parts) = operands.split_first().expect("there is a separator");
    // Nulls are looked at here, so the loop must not see them.
    let mut joined = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let text = (!separator.is_null(row)).then(|| {
            let present = parts.iter().filter(|part| !part.is_null(row)).map(|part| part.value(row));
            present.collect::<Vec<&str>>().join(separator.value(row))
        });
        joined.push(text);
    }
    let mut call =
        Call { arguments: &[], rows: call.rows, result: call.result, open: call.open, failures: call.failures };
    maybe_texts(&mut call, |row| Ok(joined[row].take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(capitalised("hELLO wORLD-x y_z 3AB ñu"), "Hello World-X Y_Z 3ab Ñu");
        assert_eq!(capitalised(""), "");
    }
}
