//! Appending to a journal.

use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use engine::error::{Code, Error, Result};
use engine::log::{Offset, Partition};

use super::frame::{self, BODY_SIZE, SEGMENT_HEADER};
use super::segment::{self, Frames};
use super::{Journal, Segment};
use crate::disk::{self, File};
use crate::records::Header;
use crate::store;

/// A partition's records are handed to the operating system when they fill this.
const BUFFER_SIZE: usize = 1 << 20;
/// A new segment is begun when one has grown to this.
const SEGMENT_SIZE: u64 = 256 << 20;

/// The one writer of a journal. Without `commit`, what was appended since the last one may be lost.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    partitions: Vec<Tail>,
    segment_size: u64,
    /// Held as long as the writer lives.
    _lock: std::fs::File,
}

/// The end of a partition.
#[derive(Debug)]
struct Tail {
    partition: Partition,
    folder: PathBuf,
    file: Option<(PathBuf, File)>,
    /// How much of the file holds whole frames.
    written: u64,
    buffer: Vec<u8>,
    first: Option<Offset>,
    next: Offset,
    is_forced: bool,
}

impl JournalWriter {
    pub(super) fn open(journal: &Journal) -> Result<Self> {
        let path = journal.path.join("lock");
        let fail = |error| Error::io(format!("cannot write `{}`", path.display()), error);
        let lock = disk::lock(&path).map_err(fail)?.ok_or_else(|| {
            let message = format!("another process writes to the journal `{}`", journal.path.display());
            Error::new(Code::StateBusy, message).help("A journal has one writer at a time")
        })?;
        let tails = (0..journal.partition_count as Partition).map(|partition| Tail::open(journal, partition));
        Ok(Self {
            path: journal.path.clone(),
            partitions: tails.collect::<Result<_>>()?,
            segment_size: SEGMENT_SIZE,
            _lock: lock,
        })
    }

    /// Sets how large a segment may grow.
    pub fn with_segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Returns the first offset of a partition and the next one to be given: the range it holds.
    pub fn range(&self, partition: Partition) -> Result<(Offset, Offset)> {
        let tail = &self.partitions[self.number(partition)?];
        Ok((tail.first.unwrap_or(tail.next), tail.next))
    }

    /// Appends a record and returns its offset.
    pub fn append(
        &mut self,
        partition: Partition,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<Offset> {
        let offset = self.partitions[self.number(partition)?].next;
        self.append_at(offset, partition, timestamp_ms, key, value, headers)?;
        Ok(offset)
    }

    /// Appends a record at an offset, which must not be less than the next one; a gap may be left.
    pub fn append_at(
        &mut self,
        offset: Offset,
        partition: Partition,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<()> {
        let number = self.number(partition)?;
        self.check(number, offset)?;
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let header_size: usize =
            headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(8, Vec::len) + 8).sum();
        if size + header_size + 64 > BODY_SIZE {
            let message = format!("a record of {} bytes does not fit a journal", size + header_size);
            return Err(Error::new(Code::BadRecord, message));
        }
        let tail = &mut self.partitions[number];
        tail.begin(offset, self.segment_size)?;
        frame::write_record(offset, timestamp_ms, key, value, headers, &mut tail.buffer);
        tail.next = offset + 1;
        if tail.buffer.len() >= BUFFER_SIZE { tail.write() } else { Ok(()) }
    }

    /// Moves a partition's next offset without a record: to where an empty partition starts, or past control markers.
    pub fn advance(&mut self, partition: Partition, offset: Offset) -> Result<()> {
        let number = self.number(partition)?;
        self.check(number, offset)?;
        let tail = &mut self.partitions[number];
        if tail.next == offset && tail.first.is_some() {
            return Ok(());
        }
        tail.begin(offset, self.segment_size)?;
        frame::write_position(offset, &mut tail.buffer);
        tail.next = offset;
        Ok(())
    }

    /// Makes what was appended visible to readers.
    pub fn flush(&mut self) -> Result<()> {
        self.partitions.iter_mut().try_for_each(Tail::write)
    }

    /// Makes what was appended visible and forces it to disk.
    pub fn commit(&mut self) -> Result<()> {
        self.flush()?;
        self.partitions.iter_mut().try_for_each(Tail::force)
    }

    fn number(&self, partition: Partition) -> Result<usize> {
        usize::try_from(partition).ok().filter(|number| *number < self.partitions.len()).ok_or_else(|| {
            Error::new(Code::NotFound, format!("the journal `{}` has no partition {partition}", self.path.display()))
        })
    }

    fn check(&self, number: usize, offset: Offset) -> Result<()> {
        let tail = &self.partitions[number];
        if offset < tail.next || offset == Offset::MAX {
            let message = format!(
                "offset {offset} cannot be appended to partition {} of the journal `{}`, whose next one is {}",
                tail.partition,
                self.path.display(),
                tail.next
            );
            return Err(Error::new(Code::Target, message));
        }
        Ok(())
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        // Best effort, for who forgets to commit; who needs to know calls `commit`.
        let _ = self.flush();
    }
}

impl Tail {
    fn open(journal: &Journal, partition: Partition) -> Result<Self> {
        let folder = journal.folder(partition);
        store::create_folder(&folder)?;
        let mut segments = segment::segments(&folder)?;
        let mut tail = Self {
            partition,
            folder,
            file: None,
            written: 0,
            buffer: Vec::new(),
            first: segments.first().map(|segment| segment.first),
            next: 0,
            is_forced: true,
        };
        if let Some(last) = segments.pop() {
            tail.reopen(&last)?;
        }
        Ok(tail)
    }

    /// Finds the end of the last segment and cuts off what a crash left behind it.
    fn reopen(&mut self, last: &Segment) -> Result<()> {
        let fail = |error| Error::io(format!("cannot write `{}`", last.path.display()), error);
        let mut frames = Frames::open(self.partition, last)?;
        while frames.next()?.is_some() {}
        if frames.has_tail()? {
            frames.refuse_damage_in_the_middle()?;
        }
        let file = File::open(&last.path).map_err(fail)?;
        self.next = frames.next_offset();
        self.written = frames.place();
        let size = file.size().map_err(fail)?;
        if size < SEGMENT_HEADER as u64 {
            // The crash came while the segment was begun.
            self.written = 0;
            self.buffer.extend_from_slice(&frame::segment_header(self.partition, last.first));
        }
        if size != self.written {
            file.set_len(self.written).and_then(|()| file.sync()).map_err(fail)?;
        }
        self.file = Some((last.path.clone(), file));
        Ok(())
    }

    /// Makes sure that there is a segment with room whose name is at most `offset`.
    fn begin(&mut self, offset: Offset, segment_size: u64) -> Result<()> {
        let size = self.written + self.buffer.len() as u64;
        if self.file.is_some() && (size < segment_size || size <= SEGMENT_HEADER as u64) {
            return Ok(());
        }
        self.write()?;
        self.force()?;
        // The first segment's name is where the partition starts; a later one begins where the one before ended.
        let first = if self.first.is_some() { self.next } else { offset };
        let path = self.folder.join(format!("{first:020}.log"));
        let file =
            File::create_new(&path).map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))?;
        store::sync_folder(&self.folder)?;
        self.first.get_or_insert(first);
        self.file = Some((path, file));
        self.written = 0;
        self.buffer.extend_from_slice(&frame::segment_header(self.partition, first));
        self.is_forced = false;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (path, file) = self.file.as_mut().expect("what is buffered has a segment");
        // Always at the end of what is whole, so that a failed write can be tried again.
        file.seek(SeekFrom::Start(self.written))
            .and_then(|_| file.write_all(&self.buffer))
            .map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.is_forced = false;
        Ok(())
    }

    fn force(&mut self) -> Result<()> {
        if let (Some((path, file)), false) = (&self.file, self.is_forced) {
            file.sync().map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))?;
        }
        self.is_forced = true;
        Ok(())
    }
}
