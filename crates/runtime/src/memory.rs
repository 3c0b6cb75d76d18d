//! A log in memory, read by either driver: records of a test case, in an order and in pieces that a seed decides.
//!
//! Its records are bytes and go through the same decoder as those of a topic. Nothing that a seed or a size changes may
//! change a result; that is what such a log is for.

use std::time::Duration;

use connectors::format::{Codec, codec};
use connectors::records::clip;
use engine::Result;
use engine::edge::{LogScan, LogStream, PartitionRange, Polled, Unit};
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::SourcePlan;

/// The records of a log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    partitions: Vec<RawRecords>,
}

/// How a log in memory is read. None of it may change a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Decides which partition comes next.
    pub seed: u64,
    /// How many records come at once, at most.
    pub size: usize,
}

impl MemoryLog {
    /// Makes a log of the records of each partition; a partition may have none. Partitions come in ascending order.
    pub fn new(mut partitions: Vec<RawRecords>) -> Self {
        partitions.sort_by_key(|records| records.partition);
        Self { partitions }
    }

    /// Returns how many records it holds.
    pub fn len(&self) -> usize {
        self.partitions.iter().map(|records| records.offsets.len()).sum()
    }

    /// Returns true when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the range of each partition.
    pub fn ranges(&self) -> Vec<PartitionRange> {
        let range = |records: &RawRecords| PartitionRange {
            partition: records.partition,
            start: records.offsets.first().copied().unwrap_or(0),
            end: records.offsets.last().map_or(0, |last| last + 1),
        };
        self.partitions.iter().map(range).collect()
    }

    /// Returns the records of a partition.
    pub fn partition(&self, partition: Partition) -> Option<&RawRecords> {
        self.partitions.iter().find(|records| records.partition == partition)
    }

    /// Returns the offset before the record in the middle of each partition.
    pub fn middle(&self) -> Vec<(Partition, Offset)> {
        let middle = |records: &RawRecords| {
            let at = records.offsets.get(records.offsets.len() / 2).copied();
            (records.partition, at.unwrap_or(0))
        };
        self.partitions.iter().map(middle).collect()
    }

    /// Returns it as a log that grows.
    pub fn stream(&self, pieces: Pieces) -> MemoryStream {
        MemoryStream {
            numbers: self.partitions.iter().map(|records| records.partition).collect(),
            ranges: self.ranges(),
            tails: self
                .partitions
                .iter()
                .map(|records| Tail { records: records.clone(), next: 0, paused: false })
                .collect(),
            size: pieces.size.max(1),
            state: pieces.seed,
        }
    }

    /// Returns it as a log with an end.
    pub fn scan(&self, source: &SourcePlan, pieces: Pieces) -> Result<MemoryScan> {
        let units = |records: &RawRecords| {
            let pieces = records.offsets.chunks(pieces.size.max(1)).enumerate();
            let unit = |(id, offsets): (usize, &[Offset])| Unit {
                partition: records.partition,
                id,
                start: offsets[0],
                end: offsets[offsets.len() - 1] + 1,
                rows: offsets.len(),
                max_event_time: None,
                min_event_time: None,
            };
            pieces.map(unit).collect()
        };
        Ok(MemoryScan {
            ranges: self.ranges(),
            units: self.partitions.iter().map(units).collect(),
            log: self.clone(),
            codec: codec(source)?,
        })
    }
}

/// A log in memory that grows.
#[derive(Debug)]
pub struct MemoryStream {
    numbers: Vec<Partition>,
    ranges: Vec<PartitionRange>,
    tails: Vec<Tail>,
    size: usize,
    state: u64,
}

#[derive(Debug)]
struct Tail {
    records: RawRecords,
    next: usize,
    paused: bool,
}

impl MemoryStream {
    /// Returns the next number below `end`, by the generator splitmix64.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

impl LogStream for MemoryStream {
    fn partitions(&self) -> &[Partition] {
        &self.numbers
    }

    fn starts(&mut self) -> Result<Vec<Offset>> {
        Ok(self.ranges.iter().map(|range| range.start).collect())
    }

    fn ends(&mut self) -> Result<Vec<Offset>> {
        Ok(self.ranges.iter().map(|range| range.end).collect())
    }

    fn seek(&mut self, offsets: &[Offset]) -> Result<()> {
        for (tail, offset) in self.tails.iter_mut().zip(offsets) {
            tail.next = tail.records.offsets.partition_point(|other| other < offset);
        }
        Ok(())
    }

    fn poll(&mut self, _: Duration, max_records: usize) -> Result<Vec<Polled>> {
        let ready: Vec<usize> = (0..self.tails.len())
            .filter(|place| {
                !self.tails[*place].paused && self.tails[*place].next < self.tails[*place].records.offsets.len()
            })
            .collect();
        if ready.is_empty() {
            // What is paused comes later; of the others there is no more.
            let open = self.tails.iter().zip(&self.ranges).filter(|(tail, _)| !tail.paused);
            return Ok(open.map(|(_, range)| Polled::Reached(range.partition, range.end)).collect());
        }
        let place = ready[self.below(ready.len())];
        let size = self.size.min(max_records.max(1));
        let tail = &mut self.tails[place];
        let end = (tail.next + size).min(tail.records.offsets.len());
        let (first, last) = (tail.records.offsets[tail.next], tail.records.offsets[end - 1]);
        tail.next = end;
        Ok(vec![Polled::Records(clip(&tail.records, first, last + 1))])
    }

    fn pause(&mut self, partition: Partition, paused: bool) -> Result<()> {
        let place = self.numbers.iter().position(|number| *number == partition);
        self.tails[place.expect("a driver pauses partitions of the log")].paused = paused;
        Ok(())
    }
}

/// A log in memory with an end.
pub struct MemoryScan {
    log: MemoryLog,
    ranges: Vec<PartitionRange>,
    units: Vec<Vec<Unit>>,
    codec: Box<dyn Codec>,
}

impl LogScan for MemoryScan {
    fn partitions(&self) -> &[PartitionRange] {
        &self.ranges
    }

    fn units(&self, partition: Partition) -> &[Unit] {
        &self.units[self.place(partition)]
    }

    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Chunk> {
        let records = &self.log.partitions[self.place(unit.partition)];
        Ok(self.codec.decode(&clip(records, start.max(unit.start), end.min(unit.end))))
    }
}

impl MemoryScan {
    fn place(&self, partition: Partition) -> usize {
        self.ranges.iter().position(|range| range.partition == partition).expect("a partition of this log")
    }
}

impl std::fmt::Debug for MemoryScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryScan").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}
