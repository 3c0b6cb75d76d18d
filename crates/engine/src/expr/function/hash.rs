//! Digests and checksums of bytes; of a text, of its UTF-8 bytes.

use sha2::Digest;

use super::bytes::hexadecimal;
use super::each::{integers, texts};
use super::{Family, Function, Kernel, Slot, takes};
use crate::value::DataType;

const BASE: Function = super::base(Family::Hashes);

macro_rules! hash_function {
    ($name:ident, $sql_name:literal, $help:literal, $digest:ty, $template:literal, $flink:literal, $duckdb:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(string or binary) → string",
            types: |arguments| takes(arguments, &$name, &[Slot::Bytes], 1, DataType::String),
            kernel: Kernel::Rows(|call| {
                let bytes = call.bytes(0);
                texts(call, |row| Ok(hexadecimal(&<$digest>::digest(bytes.value(row)), b"0123456789abcdef")))
            }),
            sql: $template,
            flink: $flink,
            duckdb: $duckdb,
            example: $example,
            ..BASE
        };
    };
}

hash_function!(
    MD5,
    "md5",
    "The MD5 digest in hexadecimal digits; not fit for secrets",
    md5::Md5,
    "md5({0})",
    "MD5({0})",
    "md5({0})",
    ("md5('abc')", "900150983cd24fb0d6963f7d28e17f72")
);
hash_function!(
    SHA1,
    "sha1",
    "The SHA-1 digest in hexadecimal digits; not fit for secrets",
    sha1::Sha1,
    "sha1({0})",
    "SHA1({0})",
    "sha1({0})",
    ("sha1('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d")
);
hash_function!(
    SHA224,
    "sha224",
    "The SHA-224 digest in hexadecimal digits",
    sha2::Sha224,
    "sha224({0})",
    "SHA224({0})",
    "",
    ("sha224('abc')", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")
);
hash_function!(
    SHA256,
    "sha256",
    "The SHA-256 digest in hexadecimal digits",
    sha2::Sha256,
    "sha256({0})",
    "SHA256({0})",
    "sha256({0})",
    ("sha256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
);
hash_function!(
    SHA384,
    "sha384",
    "The SHA-384 digest in hexadecimal digits",
    sha2::Sha384,
    "sha384({0})",
    "SHA384({0})",
    "",
    (
        "sha384('abc')",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
    )
);
hash_function!(
    SHA512,
    "sha512",
    "The SHA-512 digest in hexadecimal digits",
    sha2::Sha512,
    "sha512({0})",
    "SHA512({0})",
    "",
    (
        "sha512('abc')",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    )
);

pub(super) static XXH3: Function = Function {
    name: "xxh3_64",
    help: "The XXH3 hash of 64 bits (seed 0), as a signed integer: the same in every run, on every machine",
    signature: "(string or binary) → int64",
    types: |arguments| takes(arguments, &XXH3, &[Slot::Bytes], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        integers(call, |row| Ok(xxhash_rust::xxh3::xxh3_64(bytes.value(row)) as i64))
    }),
    sql: "xxh3_64({0})",
    differs: "DuckDB's `hash` is another function, which may change with its version",
    example: ("xxh3_64('')", "3244421341483603138"),
    ..BASE
};

pub(super) static CRC32: Function = Function {
    name: "crc32",
    help: "The checksum CRC-32 of zip and gzip",
    signature: "(string or binary) → int64",
    types: |arguments| takes(arguments, &CRC32, &[Slot::Bytes], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let bytes = call.bytes(0);
        integers(call, |row| Ok(i64::from(crc32fast::hash(bytes.value(row)))))
    }),
    sql: "crc32({0})",
    example: ("crc32('123456789')", "3421780262"),
    ..BASE
};
