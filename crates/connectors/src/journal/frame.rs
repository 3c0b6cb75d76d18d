//! The bytes of a segment, version 1. Integers are little-endian.
//!
//! ```text
//! segment = "SSJ1" partition:i32 first_offset:i64 frame*
//! frame   = size:u32 crc:u32 body                 size: of the body; crc: CRC-32C of the four bytes of size, then the body
//! body    = 0:u8 offset:i64 timestamp_ms:i64 key:bytes value:bytes count:u32 (name:bytes value:bytes)*
//!         | 1:u8 offset:i64                       no record: the next record's offset is at least this
//! bytes   = size:u32 byte*                        size 0xffffffff: null, and no byte
//! ```

use engine::log::Offset;

use crate::records::Header;

/// The size of what stands before the first frame.
pub(super) const SEGMENT_HEADER: usize = 16;
/// The size of what stands before a body.
pub(super) const FRAME_HEADER: usize = 8;
/// A body longer than this is damage, not a record.
pub(super) const BODY_SIZE: usize = 256 << 20;

const MAGIC: &[u8; 4] = b"SSJ1";
const NULL: u32 = u32::MAX;

/// What a frame says.
#[derive(Debug, PartialEq)]
pub(super) enum Frame<'a> {
    Record { offset: Offset, timestamp_ms: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: &'a [u8] },
    Position(Offset),
}

impl Frame<'_> {
    /// Returns the offset that follows.
    pub(super) fn next_offset(&self) -> Offset {
        match self {
            Frame::Record { offset, .. } => offset + 1,
            Frame::Position(offset) => *offset,
        }
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed<'a> {
    /// A frame and its size.
    Frame(Frame<'a>, usize),
    /// Perhaps the beginning of one: so many bytes are needed to tell.
    Incomplete(usize),
    /// No frame.
    Damaged,
}

pub(super) fn segment_header(partition: i32, first: Offset) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..8].copy_from_slice(&partition.to_le_bytes());
    bytes[8..].copy_from_slice(&first.to_le_bytes());
    bytes
}

/// Adds a record's frame to `out`.
pub(super) fn write_record(
    offset: Offset,
    timestamp_ms: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
    out: &mut Vec<u8>,
) {
    framed(out, |out| {
        out.push(0);
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&timestamp_ms.to_le_bytes());
        write_bytes(key, out);
        write_bytes(value, out);
        out.extend_from_slice(&(headers.len() as u32).to_le_bytes());
        for (name, value) in headers {
            write_bytes(Some(name.as_bytes()), out);
            write_bytes(value.as_deref(), out);
        }
    });
}

/// Adds the frame that says the next offset is at least `offset`.
pub(super) fn write_position(offset: Offset, out: &mut Vec<u8>) {
    framed(out, |out| {
        out.push(1);
        out.extend_from_slice(&offset.to_le_bytes());
    });
}

fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    body(out);
    let size = ((out.len() - start - FRAME_HEADER) as u32).to_le_bytes();
    out[start..start + 4].copy_from_slice(&size);
    let crc = checksum(&size, &out[start + FRAME_HEADER..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(size: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(size), body)
}

fn write_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(&NULL.to_le_bytes()),
    }
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    if bytes.len() < FRAME_HEADER {
        return Parsed::Incomplete(FRAME_HEADER);
    }
    let (header, rest) = bytes.split_at(FRAME_HEADER);
    let (size_bytes, crc) = header.split_at(4);
    let size = u32::from_le_bytes(size_bytes.try_into().expect("four bytes")) as usize;
    let crc = u32::from_le_bytes(crc.try_into().expect("four bytes"));
    if size > BODY_SIZE {
        return Parsed::Damaged;
    }
    let Some(body) = rest.get(..size) else { return Parsed::Incomplete(FRAME_HEADER + size) };
    // The fields are looked at first: when a file is searched for frames at every byte, few checksums are computed.
    match parse_body(body) {
        Some(frame) if checksum(size_bytes, body) == crc => Parsed::Frame(frame, FRAME_HEADER + size),
        _ => Parsed::Damaged,
    }
}

fn parse_body(body: &[u8]) -> Option<Frame<'_>> {
    let (kind, mut rest) = body.split_first()?;
    let offset = take_i64(&mut rest).filter(|offset| (0..i64::MAX).contains(offset))?;
    let frame = match kind {
        0 => {
            let timestamp_ms = take_i64(&mut rest)?;
            let (key, value) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
            let headers = std::mem::take(&mut rest);
            parse_headers(headers, |_, _| {})?;
            Frame::Record { offset, timestamp_ms, key, value, headers }
        }
        1 => Frame::Position(offset),
        _ => return None,
    };
    rest.is_empty().then_some(frame)
}

/// Calls `each` with the name and value of every header.
fn parse_headers<'a>(mut rest: &'a [u8], mut each: impl FnMut(&'a str, Option<&'a [u8]>)) -> Option<()> {
    let count = u32::from_le_bytes(rest.split_off(..4)?.try_into().expect("four bytes"));
    for _ in 0..count {
        let name = std::str::from_utf8(take_bytes(&mut rest)??).ok()?;
        each(name, take_bytes(&mut rest)?);
    }
    rest.is_empty().then_some(())
}

/// Returns the headers of a record's frame.
pub(super) fn headers(bytes: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    parse_headers(bytes, |name, value| headers.push((name.to_string(), value.map(<[u8]>::to_vec))))
        .expect("a parsed frame has whole headers");
    headers
}

fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(rest.split_off(..8)?.try_into().expect("eight bytes")))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match u32::from_le_bytes(rest.split_off(..4)?.try_into().expect("four bytes")) {
        NULL => Some(None),
        size => rest.split_off(..size as usize).map(Some),
    }
}
