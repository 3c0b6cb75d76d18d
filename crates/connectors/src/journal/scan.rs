//! Reading a journal to its end, in pieces that can be loaded in parallel.

use std::path::{Path, PathBuf};

use engine::edge::{LogScan, PartitionRange, Stored, Unit};
use engine::error::Result;
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::SourcePlan;

use super::Journal;
use super::frame::{self, Frame};
use super::segment::{self, Frames, Segment, damaged};
use crate::format::{Codec, codec};
use crate::records::{RawBuilder, clip};

/// A unit holds at most this many records …
const UNIT_ROWS: usize = 64 << 10;
/// … and about this many bytes.
const UNIT_SIZE: u64 = 8 << 20;

/// A journal as it stood when it was opened.
pub struct JournalScan {
    path: PathBuf,
    codec: Box<dyn Codec>,
    ranges: Vec<PartitionRange>,
    units: Vec<Vec<Unit>>,
    places: Vec<Place>,
}

/// Where the frames of a unit are.
#[derive(Debug)]
struct Place {
    segment: Segment,
    start: u64,
    end: u64,
    /// The least offset that the first frame may have.
    from: Offset,
}

impl std::fmt::Debug for JournalScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalScan").field("path", &self.path).field("ranges", &self.ranges).finish()
    }
}

impl JournalScan {
    /// Reads through the journal once to find its units. Records that come later are not seen.
    pub fn open(path: impl AsRef<Path>, source: &SourcePlan) -> Result<Self> {
        let journal = Journal::open(path.as_ref())?;
        let mut scan = Self {
            path: journal.path.clone(),
            codec: codec(source)?,
            ranges: Vec::new(),
            units: Vec::new(),
            places: Vec::new(),
        };
        for partition in journal.partitions(source.partitions.as_deref())? {
            scan.index(&journal, partition)?;
        }
        Ok(scan)
    }

    fn index(&mut self, journal: &Journal, partition: Partition) -> Result<()> {
        let segments = segment::segments(&journal.folder(partition))?;
        let first = segments.first().map_or(0, |segment| segment.first);
        let mut end = first;
        self.units.push(Vec::new());
        for (i, segment) in segments.iter().enumerate() {
            if segment.first != end {
                return Err(damaged(&segment.path, 0));
            }
            let mut frames = Frames::open(partition, segment)?;
            while self.index_unit(partition, segment, &mut frames)? {}
            if frames.has_tail()? {
                frames.refuse_damage_in_the_middle()?;
                if i + 1 < segments.len() {
                    return Err(damaged(&segment.path, frames.place()));
                }
            }
            end = frames.next_offset();
        }
        self.ranges.push(PartitionRange { partition, start: first, end });
        Ok(())
    }

    /// Notes the next unit of a segment; false at its end.
    fn index_unit(&mut self, partition: Partition, segment: &Segment, frames: &mut Frames) -> Result<bool> {
        let (start, from) = (frames.place(), frames.next_offset());
        let mut unit = Unit {
            partition,
            id: self.places.len(),
            start: from,
            end: from,
            rows: 0,
            max_event_time: None,
            min_event_time: None,
        };
        while unit.rows < UNIT_ROWS && frames.place() - start < UNIT_SIZE {
            match frames.next()? {
                Some(Frame::Record { offset, .. }) => {
                    if unit.rows == 0 {
                        unit.start = offset;
                    }
                    unit.end = offset + 1;
                    unit.rows += 1;
                }
                Some(Frame::Position(_)) => {}
                None => break,
            }
        }
        let is_end = frames.place() == start;
        if unit.rows > 0 {
            self.units.last_mut().expect("the partition has a list").push(unit);
            self.places.push(Place { segment: segment.clone(), start, end: frames.place(), from });
        }
        Ok(!is_end)
    }

    /// Returns the records of a unit with `start <= offset < end`, as they are.
    pub fn raw(&self, unit: &Unit, start: Offset, end: Offset) -> Result<RawRecords> {
        let place = &self.places[unit.id];
        let mut frames = Frames::open_at(unit.partition, &place.segment, place.start, place.from)?;
        let mut builder = RawBuilder::new(unit.partition);
        while frames.place() < place.end {
            match frames.next()? {
                Some(Frame::Record { offset, timestamp_ms, key, value, headers }) => {
                    builder.push(offset, timestamp_ms, key, value, frame::headers(headers));
                }
                Some(Frame::Position(_)) => {}
                None => return Err(damaged(&place.segment.path, frames.place())),
            }
        }
        let raw = builder.finish();
        let is_whole = start <= unit.start && unit.end <= end;
        Ok(if is_whole { raw } else { clip(&raw, start, end) })
    }
}

impl LogScan for JournalScan {
    fn partitions(&self) -> &[PartitionRange] {
        &self.ranges
    }

    fn units(&self, partition: Partition) -> &[Unit] {
        let i = self.ranges.iter().position(|range| range.partition == partition);
        i.map_or(&[], |i| &self.units[i])
    }

    fn stored(&self, unit: &Unit) -> Option<Stored<'_>> {
        let place = self.places.get(unit.id)?;
        Some(Stored { file: &place.segment.path, part: place.start, bytes: place.end - place.start })
    }

    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Chunk> {
        Ok(self.codec.decode(&self.raw(unit, start, end)?))
    }
}
