//! The lexical part of the JSON parser: where reading stands, ends of strings, escapes.

use crate::format::reason::{Fault, Reason};

/// Where reading stands in a record's text.
pub(super) struct Cursor<'t> {
    pub(super) text: &'t str,
    pub(super) bytes: &'t [u8],
    pub(super) i: usize,
}

impl Cursor<'_> {
    /// Returns the next byte that is not white space, without passing it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.i)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.i += 1;
        }
    }

    #[cold]
    pub(super) fn expected(&self, what: &str) -> Fault {
        let at = if self.i >= self.bytes.len() { "the end".to_string() } else { format!("byte {}", self.i) };
        Fault::new(Reason::InvalidJson, format!("expected {what} at {at}"))
    }
}

/// Reads the digits of a `\u` escape, and the second escape of a pair.
pub(super) fn unicode_escape(cursor: &mut Cursor) -> Result<char, Fault> {
    let at = cursor.i - 2;
    let lone = || Fault::new(Reason::LoneSurrogate, format!("at byte {at}"));
    let first = hex(cursor)?;
    if (0xdc00..0xe000).contains(&first) {
        return Err(lone());
    }
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or_else(lone);
    }
    if !cursor.bytes[cursor.i..].starts_with(b"\\u") {
        return Err(lone());
    }
    cursor.i += 2;
    let second = hex(cursor)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(lone());
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(lone)
}

fn hex(cursor: &mut Cursor) -> Result<u32, Fault> {
    let mut value = 0;
    for _ in 0..4 {
        let digit = cursor.bytes.get(cursor.i).and_then(|byte| char::from(*byte).to_digit(16));
        value = value * 16 + digit.ok_or_else(|| cursor.expected("four hex digits"))?;
        cursor.i += 1;
    }
    Ok(value)
}

/// Returns the first byte from `i` on that is a quote, a backslash or a control character, or the length.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut i: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 128;
    // Eight bytes at a time. In each test the lowest marked byte is right (a borrow only spoils the bytes above it), and
    // the lowest is all that is used.
    while let Some(eight) = bytes.get(i..i + 8) {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        let found = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGH;
        if found != 0 {
            return i + found.trailing_zeros() as usize / 8;
        }
        i += 8;
    }
    while i < bytes.len() && bytes[i] >= 0x20 && bytes[i] != b'"' && bytes[i] != b'\\' {
        i += 1;
    }
    i
}
