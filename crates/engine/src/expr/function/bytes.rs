//! Bytes, and how they are written as text.

use arrow::datatypes::Int64Type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::each::{binaries, integers, texts};
use super::{Family, Function, Kernel, Signature, Slot, expect_count, takes};
use crate::value::DataType;

const BASE: Function = super::base(Family::Bytes);

pub(super) static OCTET_LENGTH: Function = Function {
    name: "octet_length",
    aliases: &["strlen"],
    help: "How many bytes the text has in UTF-8, or the binary value has",
    signature: "(string or binary) → int64",
    types: |arguments| takes(arguments, &OCTET_LENGTH, &[Slot::Bytes], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        integers(call, |row| Ok(bytes.value(row).len() as i64))
    }),
    sql: "octet_length({0})",
    flink: "OCTET_LENGTH({0})",
    duckdb: "strlen({0})",
    differs: "DuckDB's `octet_length` takes binary values only",
    example: ("octet_length('ñ')", "2"),
    ..BASE
};

pub(super) static BIT_LENGTH: Function = Function {
    name: "bit_length",
    help: "How many bits the text has in UTF-8, or the binary value has",
    signature: "(string or binary) → int64",
    types: |arguments| takes(arguments, &BIT_LENGTH, &[Slot::Bytes], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        integers(call, |row| Ok(bytes.value(row).len() as i64 * 8))
    }),
    sql: "bit_length({0})",
    duckdb: "bit_length({0})",
    example: ("bit_length('ab')", "16"),
    ..BASE
};

pub(super) static HEX: Function = Function {
    name: "hex",
    aliases: &["to_hex"],
    help: "Bytes as two hexadecimal digits each, capitals; an integer in as few digits as it needs, a negative one as its two's complement",
    signature: "(string, binary or int64) → string",
    types: |arguments| {
        expect_count(arguments, 1..=1, &HEX)?;
        if arguments[0].data_type.is_integer() {
            return Ok(Signature { arguments: vec![DataType::Int64], result: DataType::String });
        }
        takes(arguments, &HEX, &[Slot::Bytes], 1, DataType::String)
    },
    kernel: Kernel::Rows(|call| {
        if matches!(call.arguments[0].array().data_type(), arrow::datatypes::DataType::Int64) {
            let number = call.numbers::<Int64Type>(0);
            return texts(call, |row| Ok(format!("{:X}", number.value(row))));
        }
        let bytes = call.bytes(0);
        texts(call, |row| Ok(hexadecimal(bytes.value(row), b"0123456789ABCDEF")))
    }),
    sql: "hex({0})",
    flink: "HEX({0})",
    duckdb: "hex({0})",
    example: ("hex('ñ') || hex(255)", "C3B1FF"),
    ..BASE
};

pub(super) static UNHEX: Function = Function {
    name: "unhex",
    aliases: &["from_hex"],
    help: "The bytes of hexadecimal digits, a 0 before an odd number of them; another character fails the row",
    signature: "(string) → binary",
    types: |arguments| takes(arguments, &UNHEX, &[Slot::Text], 1, DataType::Binary),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        binaries(call, |row| unhex(text.value(row)).ok_or_else(|| "unhex: a character is no hexadecimal digit".into()))
    }),
    sql: "unhex({0})",
    flink: "UNHEX({0})",
    duckdb: "unhex({0})",
    differs: "Flink gives null for what is no hexadecimal number",
    example: ("cast(unhex('c3b1') as string)", "ñ"),
    ..BASE
};

pub(super) static BIN: Function = Function {
    name: "bin",
    help: "The binary digits of an integer, as few as it needs; of a negative one its two's complement",
    signature: "(int64) → string",
    types: |arguments| takes(arguments, &BIN, &[Slot::Integer], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let number = call.numbers::<Int64Type>(0);
        texts(call, |row| Ok(format!("{:b}", number.value(row))))
    }),
    sql: "bin({0})",
    flink: "BIN({0})",
    duckdb: "bin({0})",
    example: ("bin(5)", "101"),
    ..BASE
};

pub(super) static TO_BASE64: Function = Function {
    name: "to_base64",
    aliases: &["base64"],
    help: "The bytes in base64, with `+`, `/` and padding",
    signature: "(string or binary) → string",
    types: |arguments| takes(arguments, &TO_BASE64, &[Slot::Bytes], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        texts(call, |row| Ok(STANDARD.encode(bytes.value(row))))
    }),
    sql: "to_base64({0})",
    flink: "TO_BASE64({0})",
    duckdb: "to_base64(encode({0}))",
    differs: "DuckDB takes a binary value, which `encode` makes of a text",
    example: ("to_base64('día')", "ZMOtYQ=="),
    ..BASE
};

pub(super) static FROM_BASE64: Function = Function {
    name: "from_base64",
    help: "The bytes of a base64 text with `+`, `/` and padding; another text fails the row",
    signature: "(string) → binary",
    types: |arguments| takes(arguments, &FROM_BASE64, &[Slot::Text], 1, DataType::Binary),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        binaries(call, |row| STANDARD.decode(text.value(row)).map_err(|why| format!("from_base64: {why}").into()))
    }),
    sql: "from_base64({0})",
    flink: "FROM_BASE64({0})",
    duckdb: "from_base64({0})",
    differs: "Flink gives a string",
    example: ("decode(from_base64('ZMOtYQ=='))", "día"),
    ..BASE
};

pub(super) static ENCODE: Function = Function {
    name: "encode",
    help: "The bytes of the text in UTF-8; as `cast(x as binary)`",
    signature: "(string) → binary",
    types: |arguments| takes(arguments, &ENCODE, &[Slot::Text], 1, DataType::Binary),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        binaries(call, |row| Ok(text.value(row).as_bytes()))
    }),
    sql: "encode({0})",
    flink: "ENCODE({0}, 'UTF-8')",
    duckdb: "encode({0})",
    example: ("octet_length(encode('ñ'))", "2"),
    ..BASE
};

pub(super) static DECODE: Function = Function {
    name: "decode",
    help: "The text whose UTF-8 bytes these are; other bytes fail the row",
    signature: "(binary) → string",
    types: |arguments| takes(arguments, &DECODE, &[Slot::Bytes], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        texts(call, |row| std::str::from_utf8(bytes.value(row)).map_err(|_| "decode: the bytes are not UTF-8".into()))
    }),
    sql: "decode({0})",
    flink: "DECODE({0}, 'UTF-8')",
    duckdb: "decode({0})",
    example: ("decode(encode('ñ'))", "ñ"),
    ..BASE
};

/// Writes two digits a byte.
pub(super) fn hexadecimal(bytes: &[u8], digits: &[u8; 16]) -> String {
    let digit = |value: u8| char::from(digits[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let mut digits = digits?;
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
