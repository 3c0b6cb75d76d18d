//! What a Parquet file claims of itself, looked at before memory is taken for it.
//!
//! The reader of the library checks much, but not how deep a schema nests (it descends, and a stack that overflows takes
//! the process with it), nor what a page says of its size once it is unpacked. So footers and the heads of pages are
//! walked here first. Both are Thrift's compact protocol: fields of `(kind, number)` until a stop, numbers as varints.

use std::io;

/// A footer larger than this is refused.
const FOOTER_SIZE: u64 = 64 << 20;
/// A schema that nests deeper than this is refused; types of a pipeline nest less deep.
const SCHEMA_DEPTH: usize = 32;
/// A schema of more parts than this is refused.
const SCHEMA_PARTS: usize = 20_000;
/// Structures may nest this deep where they are passed over.
const SKIP_DEPTH: usize = 32;
/// The head of a page is usually shorter than this …
const HEAD_SIZE: usize = 256;
/// … and one that is longer than this is refused. Its statistics may hold two long texts.
const LONGEST_HEAD: usize = 16 << 20;

/// A column of one row group larger than this is refused …
const CHUNK_SIZE: i64 = 1 << 30;
/// … and one larger than this that claims to have shrunk by more than a factor of a thousand: it is a bomb.
const BOMB_SIZE: i64 = 256 << 20;
const BOMB_RATIO: i64 = 1_000;

/// Bytes of a file at a place; fewer than asked for where it ends.
pub trait ReadAt {
    /// Reads some bytes at a place; 0: it ends there.
    fn read_at(&self, bytes: &mut [u8], place: u64) -> io::Result<usize>;

    /// Reads so many bytes.
    fn read_exact_at(&self, mut bytes: &mut [u8], mut place: u64) -> Result<(), String> {
        while !bytes.is_empty() {
            match self.read_at(bytes, place) {
                Ok(0) => return Err("it ends too early".into()),
                Ok(read) => {
                    bytes = &mut bytes[read..];
                    place += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, bytes: &mut [u8], place: u64) -> io::Result<usize> {
        let rest = usize::try_from(place).ok().and_then(|place| self.get(place..)).unwrap_or_default();
        let size = rest.len().min(bytes.len());
        bytes[..size].copy_from_slice(&rest[..size]);
        Ok(size)
    }
}

/// Refuses a column of a row group that would grow too much when it is unpacked.
pub fn grows(stored: i64, size: i64) -> Result<(), String> {
    if size > CHUNK_SIZE || is_bomb(stored, size) {
        return Err(format!("it would grow from {stored} to {size} bytes"));
    }
    Ok(())
}

/// Returns true when so many bytes came of so few that somebody must have meant it.
pub fn is_bomb(stored: i64, size: i64) -> bool {
    size > BOMB_SIZE && size / stored.max(1) > BOMB_RATIO
}

/// Returns the bytes of a file's footer, which the library may decode.
pub fn footer(file: &(impl ReadAt + ?Sized), file_size: u64) -> Result<Vec<u8>, String> {
    let mut tail = [0; 8];
    let place = file_size.checked_sub(12).ok_or_else(|| format!("it has {file_size} bytes"))? + 4;
    file.read_exact_at(&mut tail, place)?;
    let [a, b, c, d, magic @ ..] = tail;
    if &magic != b"PAR1" {
        let what = if &magic == b"PARE" { "its footer is encrypted" } else { "it does not end as a Parquet file does" };
        return Err(what.into());
    }
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    if size > FOOTER_SIZE {
        return Err(format!("a footer of {size} bytes"));
    }
    let start = place.checked_sub(size).filter(|start| *start >= 4);
    let start = start.ok_or_else(|| format!("a footer of {size} bytes in a file of {file_size}"))?;
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, start)?;
    check_footer(&bytes).map_err(|what| format!("its footer: {what}"))?;
    Ok(bytes)
}

/// Checks how deep the schema in a footer nests.
fn check_footer(bytes: &[u8]) -> Result<(), String> {
    let mut thrift = Thrift { bytes, at: 0 };
    thrift.fields(|thrift, number, kind| match (number, kind) {
        (2, Kind::List) => check_schema(thrift),
        _ => thrift.skip(kind, SKIP_DEPTH),
    })
}

/// Checks a list of the parts of a schema, each followed by its children.
fn check_schema(thrift: &mut Thrift<'_>) -> Result<(), String> {
    let (kind, count) = thrift.list()?;
    if count > SCHEMA_PARTS {
        return Err(format!("a schema of {count} parts"));
    }
    // How many children are still to come of each part that has some.
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..count {
        let mut children = 0;
        if kind != Kind::Struct {
            return Err("a schema that is no list of parts".into());
        }
        thrift.fields(|thrift, number, kind| match (number, kind) {
            (5, Kind::Integer) => thrift.integer().map(|count| children = count),
            _ => thrift.skip(kind, SKIP_DEPTH),
        })?;
        while let Some(left) = open.last_mut() {
            if *left > 0 {
                *left -= 1;
                break;
            }
            open.pop();
        }
        if children > 0 {
            open.push(children);
        }
        if open.len() > SCHEMA_DEPTH {
            return Err(format!("a schema that nests more than {SCHEMA_DEPTH} deep"));
        }
    }
    Ok(())
}

/// Refuses a column of a row group whose pages would grow too much, by what they say themselves: `stored` bytes from `start`
/// on, which hold so many values.
pub fn check_pages(file: &(impl ReadAt + ?Sized), start: i64, stored: i64, values: i64) -> Result<(), String> {
    grows(stored, pages(file, start, stored, values)?)
}

/// Returns how many bytes the pages of a column have once they are unpacked, as they say themselves.
fn pages(file: &(impl ReadAt + ?Sized), start: i64, stored: i64, values: i64) -> Result<i64, String> {
    let end = start.checked_add(stored).filter(|_| start >= 0 && stored >= 0).ok_or("it lies nowhere")?;
    let (mut place, mut size, mut found) = (start, 0_i64, 0_i64);
    while place < end {
        let head = match head(file, place, end) {
            // What follows the last value need not be pages.
            Err(_) if found >= values && place > start => break,
            head => head?,
        };
        let (unpacked, packed) = (i64::from(head.unpacked), i64::from(head.packed));
        if unpacked < 0 || packed < 0 || head.values < 0 {
            return Err("a page of a negative size".into());
        }
        place = place
            .checked_add(head.size as i64 + packed)
            .filter(|place| *place <= end)
            .ok_or_else(|| format!("a page of {packed} bytes in a column of {stored}"))?;
        size += unpacked;
        found += if head.is_data { i64::from(head.values) } else { 0 };
    }
    Ok(size)
}

/// What the head of a page says.
#[derive(Debug, Default, PartialEq)]
struct Head {
    /// Its own size.
    size: usize,
    unpacked: i32,
    packed: i32,
    values: i32,
    is_data: bool,
}

/// Reads the head of a page, which ends before `end`.
fn head(file: &(impl ReadAt + ?Sized), place: i64, end: i64) -> Result<Head, String> {
    let left = usize::try_from(end - place).unwrap_or(usize::MAX);
    let mut wanted = HEAD_SIZE.min(left);
    loop {
        let mut bytes = vec![0; wanted];
        file.read_exact_at(&mut bytes, place as u64)?;
        match parse_head(&bytes) {
            Err(why) if why == SHORT && wanted < left.min(LONGEST_HEAD) => {
                wanted = (wanted * 16).min(left).min(LONGEST_HEAD);
            }
            parsed => return parsed.map_err(|why| format!("the head of a page: {why}")),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, String> {
    let mut head = Head::default();
    let mut thrift = Thrift { bytes, at: 0 };
    let number =
        |thrift: &mut Thrift<'_>| i32::try_from(thrift.integer()?).map_err(|_| "a size that is too large".to_string());
    thrift.fields(|thrift, field, kind| match (field, kind) {
        (2, Kind::Integer) => number(thrift).map(|size| head.unpacked = size),
        (3, Kind::Integer) => number(thrift).map(|size| head.packed = size),
        // A page of values, of either version.
        (5 | 8, Kind::Struct) => {
            head.is_data = true;
            thrift.fields(|thrift, field, kind| match (field, kind) {
                (1, Kind::Integer) => number(thrift).map(|values| head.values = values),
                _ => thrift.skip(kind, SKIP_DEPTH),
            })
        }
        _ => thrift.skip(kind, SKIP_DEPTH),
    })?;
    head.size = thrift.at;
    Ok(head)
}

/// What is said when the bytes end too early: more of them may help.
const SHORT: &str = "it ends too early";

/// A reader of Thrift's compact protocol that takes no memory.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its value is in the kind, where it is a field.
    Bool,
    Byte,
    Integer,
    Double,
    Bytes,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Self, String> {
        Ok(match code {
            1 | 2 => Kind::Bool,
            3 => Kind::Byte,
            4..=6 => Kind::Integer,
            7 => Kind::Double,
            8 => Kind::Bytes,
            9 | 10 => Kind::List,
            11 => Kind::Map,
            12 => Kind::Struct,
            _ => return Err(format!("a value of kind {code}")),
        })
    }
}

impl Thrift<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, count: u64) -> Result<(), String> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(SHORT.into());
        }
        self.at += count as usize;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than ten bytes".into())
    }

    fn integer(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Returns the kind of a list's elements, and how many there are: no more than there are bytes left.
    fn list(&mut self) -> Result<(Kind, usize), String> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        if count == 0 {
            // Some writers give an empty list no kind.
            return Ok((Kind::Struct, 0));
        }
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(SHORT.into());
        }
        Ok((Kind::of(head & 15)?, count as usize))
    }

    /// Calls `each` with the number and kind of every field of a structure; it reads or passes over the value.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, Kind) -> Result<(), String>) -> Result<(), String> {
        let mut number = 0;
        loop {
            let head = self.byte()?;
            if head & 15 == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.integer()?,
                step => number + i64::from(step),
            };
            if !(0..=i64::from(i16::MAX)).contains(&number) {
                return Err(format!("a field of number {number}"));
            }
            each(self, number, Kind::of(head & 15)?)?;
        }
    }

    /// Passes over the value of a field.
    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), String> {
        match kind {
            Kind::Bool => Ok(()),
            Kind::Byte => self.pass(1),
            Kind::Integer => self.varint().map(drop),
            Kind::Double => self.pass(8),
            Kind::Bytes => self.varint().and_then(|size| self.pass(size)),
            _ if depth == 0 => Err(format!("it nests more than {SKIP_DEPTH} deep")),
            Kind::Struct => self.fields(|thrift, _, kind| thrift.skip(kind, depth - 1)),
            Kind::List => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth - 1))
            }
            Kind::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 15)?);
                for _ in 0..count {
                    self.skip_element(key, depth - 1)?;
                    self.skip_element(value, depth - 1)?;
                }
                Ok(())
            }
        }
    }

    /// Passes over an element; unlike a field's, its truth value is a byte.
    fn skip_element(&mut self, kind: Kind, depth: usize) -> Result<(), String> {
        if kind == Kind::Bool { self.pass(1) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer whose schema is a chain of groups, each the only child of the one before.
    fn chain(depth: usize) -> Vec<u8> {
        // Field 2: a list of structures.
        let mut bytes = vec![0x29, 0xfc];
        let mut count = depth;
        while count >= 0x80 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        // Field 3: required; field 4: a name; field 5: one child.
        (0..depth).for_each(|_| bytes.extend([0x35, 0x00, 0x18, 0x01, b'g', 0x15, 0x02, 0x00]));
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_that_nests_too_deep_is_refused() {
        assert_eq!(check_footer(&chain(SCHEMA_DEPTH)), Ok(()));
        let refused = check_footer(&chain(SCHEMA_DEPTH + 1)).unwrap_err();
        assert!(refused.contains("nests"), "{refused}");
        assert!(check_footer(&chain(SCHEMA_PARTS + 1)).unwrap_err().contains("parts"));
    }

    #[test]
    fn pages_are_added_up_before_memory_is_taken_for_them() {
        // Pages of four bytes that say they become so many, and hold seven values.
        let page = |unpacked: u64| {
            let mut bytes = vec![0x15, 0x00, 0x15];
            let mut number = unpacked << 1;
            while number >= 0x80 {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
            bytes.extend([0x15, 0x08, 0x2c, 0x15, 0x0e, 0x00, 0x00, 1, 2, 3, 4]);
            bytes
        };
        let check = |bytes: &[u8], values| check_pages(bytes, 0, bytes.len() as i64, values);
        assert_eq!(check(&page(100).repeat(3), 21), Ok(()));
        assert!(check(&page(i32::MAX as u64), 7).unwrap_err().contains("would grow"));
        assert!(check(&page(200 << 20).repeat(2), 14).unwrap_err().contains("would grow"), "both together");
        let cut = page(100);
        assert!(check(&cut[..cut.len() - 1], 7).is_err(), "a page that is not all there");
        assert_eq!(
            check(&[&page(100)[..], b"not a page"].concat(), 7),
            Ok(()),
            "what follows the last value is not read"
        );
        assert!(check(&[&page(100)[..], b"not a page"].concat(), 8).is_err());
        assert!(check_pages(&cut[..], -1, 4, 7).is_err() && check_pages(&cut[..], i64::MAX, 4, 7).is_err());
    }

    #[test]
    fn no_bytes_make_it_go_round_for_ever() {
        // Lists of truth values take no byte as fields, so that only a count that is checked ends them.
        for bytes in
            [&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x1b, 0xff, 0xff, 0xff, 0x7f, 0x11], &[0x1c; 500]]
        {
            assert!(check_footer(bytes).is_err(), "{bytes:?}");
            assert!(parse_head(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_head_of_a_page_is_read() {
        // Type 0, unpacked 100, packed 40, a page of 7 values.
        let bytes = [0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x50, 0x2c, 0x15, 0x0e, 0x00, 0x00, 9, 9];
        assert_eq!(parse_head(&bytes), Ok(Head { size: 12, unpacked: 100, packed: 40, values: 7, is_data: true }));
        (0..12).for_each(|cut| assert_eq!(parse_head(&bytes[..cut]), Err(SHORT.to_string())));
    }
}
