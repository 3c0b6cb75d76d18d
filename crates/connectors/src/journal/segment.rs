//! Reading segments: which there are, and the frames of one in order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use engine::error::{Code, Error, Result};
use engine::log::{Offset, Partition};

use super::frame::{self, FRAME_HEADER, Frame, Parsed, SEGMENT_HEADER};
use crate::store;

/// How much is read from a file at once.
const READ_SIZE: usize = 1 << 20;

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: Offset,
    pub(super) path: PathBuf,
}

/// Returns the segments in a partition's folder, in order.
pub(super) fn segments(folder: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for path in store::list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        let first =
            name.strip_suffix(".log").filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok());
        match first {
            Some(first) => found.push(Segment { first, path }),
            None => {
                let message = format!("`{}` is not a segment of a journal", path.display());
                return Err(Error::new(Code::Corrupt, message).help("Nothing else may be in a journal's folder"));
            }
        }
    }
    Ok(found)
}

/// The frames of one segment, read in order and as far as the file has grown.
#[derive(Debug)]
pub(super) struct Frames {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    start: usize,
    /// Where in the file the buffer begins.
    base: u64,
    /// The least offset that the next frame may have.
    next_offset: Offset,
    /// The size of the file when it was last searched for frames after damage.
    searched: u64,
}

impl Frames {
    /// Opens a segment at its first frame. A header that is not all there yet is like an empty segment.
    pub(super) fn open(partition: Partition, segment: &Segment) -> Result<Self> {
        Self::open_at(partition, segment, SEGMENT_HEADER as u64, segment.first)
    }

    /// Opens a segment at a frame's place.
    pub(super) fn open_at(partition: Partition, segment: &Segment, place: u64, next_offset: Offset) -> Result<Self> {
        let path = segment.path.clone();
        let fail = |error| Error::io(format!("cannot read `{}`", path.display()), error);
        let mut file = File::open(&path).map_err(fail)?;
        let mut header = [0; SEGMENT_HEADER];
        let size = read_up_to(&mut file, &mut header).map_err(fail)?;
        let expected = frame::segment_header(partition, segment.first);
        if header[..size] != expected[..size] {
            return Err(damaged(&path, 0));
        }
        file.seek(SeekFrom::Start(place)).map_err(fail)?;
        Ok(Self { path, file, buffer: Vec::new(), start: 0, base: place, next_offset, searched: 0 })
    }

    /// Returns the place of the next frame in the file.
    pub(super) fn place(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Returns the least offset that the next frame may have.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Returns the next frame, or None where the file ends or what is left is no whole frame.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>> {
        loop {
            match frame::parse(&self.buffer[self.start..]) {
                Parsed::Frame(found, size) => {
                    if found.next_offset() < self.next_offset || self.is_backwards(&found) {
                        return Err(damaged(&self.path, self.place()));
                    }
                    self.next_offset = found.next_offset();
                    let start = self.start;
                    self.start += size;
                    // Parsed again because the borrow checker cannot see that nothing is read in between.
                    match frame::parse(&self.buffer[start..start + size]) {
                        Parsed::Frame(found, _) => return Ok(Some(found)),
                        _ => unreachable!("the same bytes were a frame"),
                    }
                }
                Parsed::Incomplete(needed) => {
                    if !self.fill(needed)? {
                        self.forget();
                        return Ok(None);
                    }
                }
                Parsed::Damaged => {
                    self.forget();
                    self.refuse_damage_in_the_middle()?;
                    return Ok(None);
                }
            }
        }
    }

    /// Forgets bytes that are no frame yet: a writer may cut them off and write others there.
    fn forget(&mut self) {
        self.buffer.truncate(self.start);
    }

    fn is_backwards(&self, found: &Frame) -> bool {
        matches!(found, Frame::Record { offset, .. } if *offset < self.next_offset)
    }

    /// Reads on until `needed` bytes are there; false when the file ends before.
    fn fill(&mut self, needed: usize) -> Result<bool> {
        self.buffer.drain(..self.start);
        self.base += self.start as u64;
        self.start = 0;
        let fail = |error| Error::io(format!("cannot read `{}`", self.path.display()), error);
        let before = self.buffer.len();
        if before >= needed {
            return Ok(true);
        }
        // A size that is damage must not make us allocate what the file does not have.
        let size = self.file.metadata().map_err(fail)?.len();
        let left = size.saturating_sub(self.base + before as u64) as usize;
        let wanted = READ_SIZE.max(needed - before).min(left);
        self.buffer.resize(before + wanted, 0);
        self.file.seek(SeekFrom::Start(self.base + before as u64)).map_err(fail)?;
        let read = read_up_to(&mut self.file, &mut self.buffer[before..]).map_err(fail)?;
        self.buffer.truncate(before + read);
        Ok(self.buffer.len() >= needed)
    }

    /// Returns true when bytes are left that are no whole frame.
    pub(super) fn has_tail(&self) -> Result<bool> {
        let size = self.file.metadata().map_err(|error| Error::io(self.path.display(), error))?.len();
        Ok(size > self.place())
    }

    /// Fails when a whole frame stands anywhere after the place that `next` stopped at: then it is no torn tail.
    pub(super) fn refuse_damage_in_the_middle(&mut self) -> Result<()> {
        let fail = |error| Error::io(format!("cannot read `{}`", self.path.display()), error);
        let size = self.file.metadata().map_err(fail)?.len();
        if size == self.searched {
            return Ok(());
        }
        self.searched = size;
        let mut rest = Vec::new();
        self.file.seek(SeekFrom::Start(self.place())).map_err(fail)?;
        self.file.read_to_end(&mut rest).map_err(fail)?;
        for i in 1..rest.len().saturating_sub(FRAME_HEADER) {
            if let Parsed::Frame(found, _) = frame::parse(&rest[i..])
                && found.next_offset() > self.next_offset
            {
                return Err(damaged(&self.path, self.place()));
            }
        }
        Ok(())
    }
}

/// Returns the error of a damaged segment.
pub(super) fn damaged(path: &Path, place: u64) -> Error {
    Error::new(Code::Corrupt, format!("`{}` is damaged at byte {place}", path.display()))
        .help("Records after that byte cannot be trusted; restore the file, or replay the journal from a lake")
}

fn read_up_to(file: &mut File, mut bytes: &mut [u8]) -> std::io::Result<usize> {
    let whole = bytes.len();
    while !bytes.is_empty() {
        match file.read(bytes) {
            Ok(0) => break,
            Ok(size) => bytes = &mut bytes[size..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(whole - bytes.len())
}
