//! Following a journal as it grows.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::edge::{LogStream, Polled};
use engine::error::{Code, Error, Result};
use engine::log::{Offset, Partition, RawRecords};

use super::Journal;
use super::frame::{self, Frame};
use super::segment::{self, Frames, Segment, damaged};
use crate::records::RawBuilder;

/// How long a reader that has caught up waits before it looks at the files again.
const PAUSE: Duration = Duration::from_millis(5);
/// Records of one partition are handed over in pieces of about this.
const PIECE_SIZE: usize = 4 << 20;

/// A journal read as a stream.
#[derive(Debug)]
pub struct JournalStream {
    partitions: Vec<Partition>,
    readers: Vec<Reader>,
    /// Which partition is read first in the next poll, so that all get their turn.
    turn: usize,
}

impl JournalStream {
    pub(super) fn open(journal: &Journal, only: Option<&[Partition]>) -> Result<Self> {
        let partitions = journal.partitions(only)?;
        let reader = |partition: &Partition| Reader::new(*partition, journal.folder(*partition));
        Ok(Self { readers: partitions.iter().map(reader).collect(), partitions, turn: 0 })
    }
}

impl LogStream for JournalStream {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn starts(&mut self) -> Result<Vec<Offset>> {
        self.readers.iter().map(Reader::first).collect()
    }

    fn ends(&mut self) -> Result<Vec<Offset>> {
        self.readers.iter_mut().map(Reader::end).collect()
    }

    fn seek(&mut self, offsets: &[Offset]) -> Result<()> {
        assert_eq!(offsets.len(), self.readers.len(), "one offset per partition");
        self.readers.iter_mut().zip(offsets).try_for_each(|(reader, offset)| reader.seek(*offset))
    }

    fn poll(&mut self, timeout: Duration, max_records: usize) -> Result<Vec<Polled>> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut polled = Vec::new();
            let mut left = max_records.max(1);
            let count = self.readers.len();
            for i in 0..count {
                let share = left.div_ceil(count - i);
                let reader = &mut self.readers[(self.turn + i) % count];
                if share > 0 && !reader.is_paused {
                    left -= reader.read(share, &mut polled)?;
                }
            }
            self.turn = (self.turn + 1) % count.max(1);
            let now = Instant::now();
            if !polled.is_empty() || now >= deadline {
                return Ok(polled);
            }
            std::thread::sleep(PAUSE.min(deadline - now));
        }
    }

    fn pause(&mut self, partition: Partition, paused: bool) -> Result<()> {
        match self.readers.iter_mut().find(|reader| reader.partition == partition) {
            Some(reader) => {
                reader.is_paused = paused;
                Ok(())
            }
            None => Err(Error::new(Code::NotFound, format!("partition {partition} is not read from this journal"))),
        }
    }
}

/// The reader of one partition.
#[derive(Debug)]
struct Reader {
    partition: Partition,
    folder: PathBuf,
    /// The segments from the one being read on.
    segments: VecDeque<Segment>,
    frames: Option<Frames>,
    /// Records below this are passed over.
    from: Offset,
    /// What was last reported as reached.
    reached: Option<Offset>,
    /// A reader of its own that finds the end: the segment and its frames.
    end: Option<(Segment, Frames)>,
    is_paused: bool,
}

impl Reader {
    fn new(partition: Partition, folder: PathBuf) -> Self {
        let segments = VecDeque::new();
        Self { partition, folder, segments, frames: None, from: 0, reached: None, end: None, is_paused: false }
    }

    fn first(&self) -> Result<Offset> {
        Ok(segment::segments(&self.folder)?.first().map_or(0, |segment| segment.first))
    }

    /// Returns the offset past the last whole frame.
    fn end(&mut self) -> Result<Offset> {
        let Some(last) = segment::segments(&self.folder)?.pop() else { return Ok(0) };
        if self.end.as_ref().is_none_or(|(segment, _)| *segment != last) {
            let frames = Frames::open(self.partition, &last)?;
            self.end = Some((last, frames));
        }
        let (_, frames) = self.end.as_mut().expect("just set");
        while frames.next()?.is_some() {}
        if frames.has_tail()? {
            frames.refuse_damage_in_the_middle()?;
        }
        Ok(frames.next_offset())
    }

    fn seek(&mut self, offset: Offset) -> Result<()> {
        let (first, end) = (self.first()?, self.end()?);
        if offset < first || offset > end {
            let message =
                format!("partition {} of the journal holds the offsets {first} to {end}, not {offset}", self.partition);
            return Err(Error::new(Code::Gap, message));
        }
        let segments = segment::segments(&self.folder)?;
        let skip = segments.partition_point(|segment| segment.first <= offset).saturating_sub(1);
        self.segments = segments.into_iter().skip(skip).collect();
        self.frames = None;
        self.from = offset;
        self.reached = None;
        Ok(())
    }

    /// Reads up to `max` records and returns how many there were.
    fn read(&mut self, max: usize, polled: &mut Vec<Polled>) -> Result<usize> {
        let mut builder = RawBuilder::new(self.partition);
        let mut is_at_end = false;
        while builder.len() < max && builder.size_bytes() < PIECE_SIZE && !is_at_end {
            if self.frames.is_none() && !self.open()? {
                is_at_end = true;
                break;
            }
            let frames = self.frames.as_mut().expect("just opened");
            match frames.next()? {
                Some(Frame::Record { offset, timestamp_ms, key, value, headers }) => {
                    if offset >= self.from {
                        builder.push(offset, timestamp_ms, key, value, frame::headers(headers));
                    }
                }
                Some(Frame::Position(_)) => {}
                None => is_at_end = !self.advance()?,
            }
        }
        let count = builder.len();
        if count > 0 {
            let records: RawRecords = builder.finish();
            polled.push(Polled::Records(records));
        }
        if is_at_end {
            let next = self.frames.as_ref().map_or(0, Frames::next_offset).max(self.from);
            if self.reached != Some(next) {
                self.reached = Some(next);
                polled.push(Polled::Reached(self.partition, next));
            }
        }
        Ok(count)
    }

    /// Opens the segment to be read; false when there is none yet.
    fn open(&mut self) -> Result<bool> {
        if self.segments.is_empty() {
            self.segments = segment::segments(&self.folder)?.into();
        }
        let Some(segment) = self.segments.front() else { return Ok(false) };
        self.frames = Some(Frames::open(self.partition, segment)?);
        Ok(true)
    }

    /// Goes on to the next segment, if there is one and all of this one was read.
    fn advance(&mut self) -> Result<bool> {
        let current = self.segments.front().expect("a segment is open").clone();
        if self.segments.len() == 1 {
            let later = segment::segments(&self.folder)?.into_iter().filter(|segment| segment.first > current.first);
            self.segments.extend(later);
        }
        let Some(next) = self.segments.get(1) else { return Ok(false) };
        // The writer finished this segment before it began the next one, perhaps after we looked.
        let frames = self.frames.as_mut().expect("a segment is open");
        let place = frames.place();
        if frames.next_offset() == next.first && !frames.has_tail()? {
            self.segments.pop_front();
            self.frames = None;
            return Ok(true);
        }
        let mut again = Frames::open_at(self.partition, &current, place, frames.next_offset())?;
        match again.next()? {
            Some(_) => Ok(true),
            None => Err(damaged(&current.path, place)),
        }
    }
}
