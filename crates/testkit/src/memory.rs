//! Logs in memory: what a topic and a lake are to the drivers, in the most awkward pieces that a seed can think of.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use connectors::format::{Codec, codec};
use connectors::records::RawBuilder;
use engine::edge::{LogScan, LogStream, PartitionRange, Polled, Unit};
use engine::error::Result;
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::SourcePlan;

use crate::case::Case;
use crate::case::log::{Log, PartitionLog, Record};
use crate::random::Random;

/// How many records come at once.
pub const SIZES: [usize; 5] = [1, 2, 7, 64, 4096];

/// Returns the partitions that the pipeline reads of a source.
fn chosen(case: &Case, source: usize) -> Vec<PartitionLog> {
    let plan = &case.pipeline.sources[source];
    let read = |partition: &&PartitionLog| partition.source == source && plan.reads(partition.partition);
    case.log.partitions.iter().filter(read).cloned().collect()
}

fn raw<'a>(partition: Partition, records: impl IntoIterator<Item = &'a Record>) -> RawRecords {
    let mut builder = RawBuilder::new(partition);
    for record in records {
        let value = record.value_bytes();
        let key = record.key.as_ref().map(String::as_bytes);
        builder.push(record.offset, record.timestamp, key, value.as_deref(), record.header_bytes());
    }
    builder.finish()
}

/// A log that grows: a seeded schedule decides which partition comes next, and with how many records.
pub struct MemoryStream {
    random: Random,
    /// Records at once; None: another number each time.
    size: Option<usize>,
    numbers: Vec<Partition>,
    partitions: Vec<Tail>,
    /// Polls in a row that brought nothing new, and since when.
    silence: usize,
    silent_since: Instant,
}

struct Tail {
    log: PartitionLog,
    next: usize,
    paused: bool,
    /// Whether the last record was followed by the news that nothing comes after it.
    told: bool,
}

impl MemoryStream {
    /// Makes a stream of the case's log of a source.
    pub fn new(case: &Case, source: usize, seed: u64, size: Option<usize>) -> Self {
        let logs = chosen(case, source);
        Self {
            random: Random::new(seed),
            size,
            numbers: logs.iter().map(|log| log.partition).collect(),
            partitions: logs.into_iter().map(|log| Tail { log, next: 0, paused: false, told: false }).collect(),
            silence: 0,
            silent_since: Instant::now(),
        }
    }

    /// Takes what comes next of a partition.
    fn take(&mut self, place: usize, max_records: usize) -> Option<Polled> {
        let size = self.size.unwrap_or_else(|| *self.random.pick(&SIZES)).min(max_records.max(1));
        let tail = &mut self.partitions[place];
        let (partition, records) = (tail.log.partition, &tail.log.records);
        if tail.next == records.len() {
            return Some(Polled::Reached(partition, tail.log.end));
        }
        // What is under way when a partition is paused may still come; then no more.
        if tail.paused && !self.random.chance(10) {
            return None;
        }
        // Now and then the reader hears how far it is before there is more.
        if self.random.chance(5) {
            return Some(Polled::Reached(partition, records[tail.next].offset));
        }
        let end = (tail.next + size).min(records.len());
        let polled = Polled::Records(raw(partition, &records[tail.next..end]));
        tail.next = end;
        Some(polled)
    }
}

impl LogStream for MemoryStream {
    fn partitions(&self) -> &[Partition] {
        &self.numbers
    }

    fn starts(&mut self) -> Result<Vec<Offset>> {
        Ok(self.partitions.iter().map(|tail| tail.log.start).collect())
    }

    fn ends(&mut self) -> Result<Vec<Offset>> {
        Ok(self.partitions.iter().map(|tail| tail.log.end).collect())
    }

    fn seek(&mut self, offsets: &[Offset]) -> Result<()> {
        for (tail, offset) in self.partitions.iter_mut().zip(offsets) {
            tail.next = tail.log.records.partition_point(|record| record.offset < *offset);
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, max_records: usize) -> Result<Vec<Polled>> {
        let mut polled = Vec::new();
        let mut fresh = false;
        for _ in 0..self.random.below(3) {
            let place = self.random.below(self.partitions.len());
            let taken = self.take(place, max_records);
            let told = &mut self.partitions[place].told;
            fresh |= match &taken {
                None => false,
                Some(Polled::Records(_)) => true,
                Some(Polled::Reached(..)) => !std::mem::replace(told, true),
            };
            polled.extend(taken);
        }
        if fresh {
            (self.silence, self.silent_since) = (0, Instant::now());
            return Ok(polled);
        }
        self.silence += 1;
        if self.silence > 50 {
            std::thread::sleep(timeout.min(Duration::from_millis(1)));
        }
        // Without this a driver that pauses everything, or does not see the end, would hang the test.
        let stuck = self.silence > 500 && self.silent_since.elapsed() > Duration::from_secs(20);
        assert!(!stuck, "the driver asks for more and does not take what is there");
        Ok(polled)
    }

    fn pause(&mut self, partition: Partition, paused: bool) -> Result<()> {
        let tail = self.partitions.iter_mut().find(|tail| tail.log.partition == partition);
        tail.expect("a partition of this log").paused = paused;
        Ok(())
    }
}

/// A log read to its end, in units cut at random places.
pub struct MemoryScan {
    log: Log,
    codec: Box<dyn Codec>,
    ranges: Vec<PartitionRange>,
    /// By partition.
    units: Vec<Units>,
    /// Text columns come as dictionaries and without bytes, as from a lake.
    typed: bool,
    /// What was loaded: partition, first offset, offset past the last.
    loaded: Mutex<Vec<(Partition, Offset, Offset)>>,
    /// Units that were announced, and whether they were loaded since.
    announced: Mutex<BTreeMap<(Partition, usize), bool>>,
    /// How many units were loaded that nobody had announced.
    surprises: AtomicUsize,
}

/// The units of a partition, and where each begins and ends among the records.
#[derive(Default)]
struct Units {
    list: Vec<Unit>,
    places: Vec<(usize, usize)>,
}

impl MemoryScan {
    /// Makes a scan of the case's log of a source.
    pub fn new(case: &Case, source: usize, plan: &SourcePlan, seed: u64, size: Option<usize>) -> Result<Self> {
        let mut random = Random::new(seed);
        let log = Log { partitions: chosen(case, source) };
        let range = |log: &PartitionLog| PartitionRange { partition: log.partition, start: log.start, end: log.end };
        let ranges = log.partitions.iter().map(range).collect();
        let units = log.partitions.iter().map(|partition| cut(case, partition, &mut random, size)).collect();
        Ok(Self {
            log,
            codec: codec(plan)?,
            ranges,
            units,
            typed: random.chance(50),
            loaded: Mutex::default(),
            announced: Mutex::default(),
            surprises: AtomicUsize::new(0),
        })
    }

    /// Checks, at the end of a run, that what was announced was loaded; and where only one order is possible, that what was
    /// loaded had been announced.
    pub fn check_announced(&self, has_one_order: bool) {
        let announced = self.announced.lock().expect("no loader panics");
        assert!(announced.values().all(|is_loaded| *is_loaded), "a unit was announced and not loaded: {announced:?}");
        let surprises = self.surprises.load(Ordering::Relaxed);
        assert!(!has_one_order || surprises == 0, "{surprises} units were not announced before they were loaded");
    }

    /// Returns how many partitions it has.
    pub fn partition_count(&self) -> usize {
        self.ranges.len()
    }

    /// Returns what was loaded so far: partition, first offset, offset past the last.
    pub fn loaded(&self) -> Vec<(Partition, Offset, Offset)> {
        self.loaded.lock().expect("no loader panics").clone()
    }

    fn place(&self, partition: Partition) -> usize {
        self.ranges.iter().position(|range| range.partition == partition).expect("a partition of this log")
    }
}

fn cut(case: &Case, partition: &PartitionLog, random: &mut Random, size: Option<usize>) -> Units {
    let records = &partition.records;
    let mut units = Units::default();
    let mut from = 0;
    while from < records.len() {
        let to = (from + size.unwrap_or_else(|| *random.pick(&SIZES))).min(records.len());
        let times: Vec<i64> =
            records[from..to].iter().filter_map(|record| record.event_time(&case.pipeline, partition.source)).collect();
        let (least, largest) = (times.iter().min().copied(), times.iter().max().copied());
        units.list.push(Unit {
            partition: partition.partition,
            id: units.list.len(),
            start: records[from].offset,
            end: records[to - 1].offset + 1,
            rows: to - from,
            max_event_time: random.chance(60).then(|| largest.unwrap_or(i64::MIN)),
            min_event_time: random.chance(60).then(|| least.unwrap_or(i64::MAX)),
        });
        units.places.push((from, to));
        from = to;
    }
    units
}

impl LogScan for MemoryScan {
    fn partitions(&self) -> &[PartitionRange] {
        &self.ranges
    }

    fn units(&self, partition: Partition) -> &[Unit] {
        &self.units[self.place(partition)].list
    }

    fn announce(&self, unit: &Unit) {
        self.announced.lock().expect("no loader panics").entry((unit.partition, unit.id)).or_insert(false);
    }

    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Chunk> {
        match self.announced.lock().expect("no loader panics").get_mut(&(unit.partition, unit.id)) {
            Some(is_loaded) => *is_loaded = true,
            None => _ = self.surprises.fetch_add(1, Ordering::Relaxed),
        }
        self.loaded.lock().expect("no loader panics").push((unit.partition, unit.start.max(start), unit.end.min(end)));
        let place = self.place(unit.partition);
        let (from, to) = self.units[place].places[unit.id];
        let records = &self.log.partitions[place].records[from..to];
        let inside = |record: &&Record| start <= record.offset && record.offset < end;
        let mut chunk = self.codec.decode(&raw(unit.partition, records.iter().filter(inside)));
        if self.typed {
            chunk.columns = with_dictionaries(&chunk.columns);
            chunk.raw = None;
        }
        Ok(chunk)
    }
}

fn with_dictionaries(batch: &RecordBatch) -> RecordBatch {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| match column.data_type() {
            DataType::Utf8 => {
                let column = cast(column, &dictionary).expect("text becomes a dictionary");
                (Field::new(field.name(), dictionary.clone(), true), column)
            }
            _ => (field.as_ref().clone(), column.clone()),
        })
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(std::sync::Arc::new(Schema::new(fields)), columns, &options)
        .expect("the columns are as long as before")
}
