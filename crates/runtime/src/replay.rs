//! Replay: a lake back into a topic or journal, with the same partitions, order, keys, values and timestamps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::lake::LakeScan;
use connectors::records::clip;
use engine::edge::LogScan;
use engine::log::{Offset, Partition, RawRecords};
use engine::plan::{Layout, SourcePlan};
use engine::{Code, Error, Result};

use crate::target::Target;

/// The longest sleep, so that a stop is soon heard.
const NAP: Duration = Duration::from_millis(100);

/// How to replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// How many times faster than the log's own time; None: as fast as possible.
    pub speed: Option<f64>,
    /// Set by someone else to stop.
    pub stop: Arc<AtomicBool>,
}

/// What was replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records written.
    pub records: u64,
    /// Records of the lake, or about as many.
    pub total: u64,
    /// Whether all were written; false: it was stopped before.
    pub ended: bool,
    /// Where the records went, for people.
    pub target: String,
    /// True when the target gave them other offsets than the lake has: equality is then claimed only of results without
    /// `_offset`.
    pub has_new_offsets: bool,
}

/// Copies a source's lake into its topic, or if it has none into its journal.
pub fn replay(
    source: &SourcePlan,
    options: &ReplayOptions,
    now: &dyn Fn() -> i64,
    progress: &dyn Fn(&Replayed),
) -> Result<Replayed> {
    let scan = open_lake(source)?;
    let mut feeds = Feeds::new(&scan);
    let partitions: Vec<Partition> = scan.partitions().iter().map(|range| range.partition).collect();
    let (kafka, journal) = (&source.bindings.kafka, &source.bindings.journal);
    let mut target = match (kafka, journal) {
        (Some(kafka), _) => Target::topic(kafka, &partitions, feeds.oldest()?, now(), false)?,
        (None, Some(path)) => Target::journal(Path::new(path), &partitions)?,
        (None, None) => {
            return Err(Error::new(Code::Binding, format!("source `{}` has nothing to replay into", source.name))
                .help("give it `kafka: {brokers, topic}` or `journal: {path}`"));
        }
    };
    let is_topic = matches!(target, Target::Topic(_));
    let mut done = Replayed { total: feeds.total(), target: describe(source), ..Replayed::default() };
    if !is_topic {
        for range in scan.partitions() {
            target.advance(range.partition, range.start)?;
        }
    }
    let mut written: Vec<Offset> = vec![0; partitions.len()];
    let clock = Clock::new(options);
    while !options.stop.load(Ordering::Relaxed) {
        let Some((number, records)) = feeds.next(options.speed.is_some())? else {
            done.ended = true;
            break;
        };
        if let Some(due) = clock.due(&records) {
            // Who follows the log sees what is due before we rest.
            target.flush()?;
            if !clock.wait(due) {
                break;
            }
        }
        target.write(&records, now())?;
        done.has_new_offsets |= is_topic && records.offsets.iter().zip(written[number]..).any(|(had, has)| *had != has);
        written[number] += records.offsets.len() as Offset;
        done.records += records.offsets.len() as u64;
        progress(&done);
    }
    if !is_topic && done.ended {
        for range in scan.partitions() {
            target.advance(range.partition, range.end)?;
        }
    }
    target.finish()?;
    Ok(done)
}

fn open_lake(source: &SourcePlan) -> Result<LakeScan> {
    match &source.bindings.lake {
        Some(lake) if lake.layout != Layout::Files => {}
        Some(_) => {
            return Err(Error::new(Code::NoOffsets, format!("the lake of source `{}` has no offsets", source.name))
                .help("a lake of layout `files` cannot be replayed; `samestream append` writes rows to a journal"));
        }
        None => {
            return Err(Error::new(Code::Binding, format!("source `{}` has no lake to replay", source.name))
                .help("give it `lake: {path: …}`"));
        }
    }
    let mut whole = SourcePlan { partitions: None, ..source.clone() };
    whole.needed = whole.columns.iter().map(|column| column.field.name.clone()).collect();
    whole.needed.push("_timestamp".into());
    LakeScan::open(&whole)
}

fn describe(source: &SourcePlan) -> String {
    match (&source.bindings.kafka, &source.bindings.journal) {
        (Some(kafka), _) => format!("topic {} at {}", kafka.topic, kafka.brokers),
        (None, journal) => format!("journal {}", journal.as_deref().unwrap_or_default()),
    }
}

/// The partitions of the lake, each read in order, together about in the order of the log's time.
struct Feeds<'a> {
    scan: &'a LakeScan,
    feeds: Vec<Feed>,
}

struct Feed {
    partition: Partition,
    end: Offset,
    /// The next unit to load.
    unit: usize,
    /// Loaded and not given yet.
    loaded: Option<RawRecords>,
    /// No record to come is of an earlier time, if the log's time never goes back.
    time: i64,
}

impl<'a> Feeds<'a> {
    fn new(scan: &'a LakeScan) -> Self {
        let feeds = scan.partitions().iter().map(|range| Feed {
            partition: range.partition,
            end: range.end,
            unit: 0,
            loaded: None,
            time: i64::MIN,
        });
        Self { scan, feeds: feeds.collect() }
    }

    fn total(&self) -> u64 {
        let units = self.feeds.iter().flat_map(|feed| self.scan.units(feed.partition));
        units.map(|unit| unit.rows as u64).sum()
    }

    /// Returns the time of the first record of all partitions.
    fn oldest(&mut self) -> Result<Option<i64>> {
        let mut oldest: Option<i64> = None;
        for i in 0..self.feeds.len() {
            self.load(i)?;
            let first = self.feeds[i].loaded.as_ref().and_then(|records| records.timestamps.iter().min().copied());
            oldest = oldest.into_iter().chain(first).min();
        }
        Ok(oldest)
    }

    /// Returns the next records and the number of their partition. `is_timed`: no further than the next time of another
    /// partition, so that partitions keep step.
    fn next(&mut self, is_timed: bool) -> Result<Option<(usize, RawRecords)>> {
        loop {
            let open = (0..self.feeds.len()).filter(|i| self.is_open(*i));
            let Some(least) = open.min_by_key(|i| self.feeds[*i].time) else { return Ok(None) };
            self.load(least)?;
            let Some(records) = self.feeds[least].loaded.take() else { continue };
            if !is_timed {
                self.feeds[least].time = records.timestamps.last().copied().unwrap_or(i64::MAX);
                return Ok(Some((least, records)));
            }
            let others = (0..self.feeds.len()).filter(|i| *i != least && self.is_open(*i));
            let until = others.map(|i| self.feeds[i].time).min().unwrap_or(i64::MAX);
            let count = records.timestamps.iter().take_while(|time| **time <= until).count();
            if count == 0 {
                // Its time was a guess until it was loaded: another partition may come first.
                self.feeds[least].time = records.timestamps[0];
                self.feeds[least].loaded = Some(records);
                if until == i64::MIN {
                    self.load_guesses()?;
                }
                continue;
            }
            return Ok(Some((least, self.split(least, records))));
        }
    }

    /// Gives the records of one moment and keeps the rest.
    fn split(&mut self, number: usize, records: RawRecords) -> RawRecords {
        let moment = records.timestamps[0];
        let count = records.timestamps.iter().take_while(|time| **time <= moment).count();
        if count < records.offsets.len() {
            let from = records.offsets[count];
            let rest = clip(&records, from, Offset::MAX);
            self.feeds[number].time = rest.timestamps[0];
            self.feeds[number].loaded = Some(rest);
            return clip(&records, 0, from);
        }
        self.feeds[number].time = moment;
        records
    }

    fn load_guesses(&mut self) -> Result<()> {
        for i in 0..self.feeds.len() {
            if self.feeds[i].time == i64::MIN && self.is_open(i) {
                self.load(i)?;
                if let Some(first) = self.feeds[i].loaded.as_ref().and_then(|records| records.timestamps.first()) {
                    self.feeds[i].time = *first;
                }
            }
        }
        Ok(())
    }

    fn is_open(&self, number: usize) -> bool {
        let feed = &self.feeds[number];
        feed.loaded.is_some() || feed.unit < self.scan.units(feed.partition).len()
    }

    fn load(&mut self, number: usize) -> Result<()> {
        let feed = &mut self.feeds[number];
        let units = self.scan.units(feed.partition);
        while feed.loaded.is_none() && feed.unit < units.len() {
            let records = self.scan.raw(&units[feed.unit], 0, feed.end)?;
            feed.unit += 1;
            if !records.offsets.is_empty() {
                feed.loaded = Some(records);
            }
        }
        Ok(())
    }
}

/// When a record is due.
struct Clock<'a> {
    options: &'a ReplayOptions,
    began: Instant,
    first: std::cell::Cell<Option<i64>>,
}

impl<'a> Clock<'a> {
    fn new(options: &'a ReplayOptions) -> Self {
        Self { options, began: Instant::now(), first: std::cell::Cell::new(None) }
    }

    /// Returns when the records are due, from the beginning on; None: now.
    fn due(&self, records: &RawRecords) -> Option<Duration> {
        let (speed, time) = (self.options.speed?, *records.timestamps.first()?);
        let first = self.first.get().unwrap_or(time);
        self.first.set(Some(first));
        let due = Duration::from_secs_f64((time - first).max(0) as f64 / 1000.0 / speed);
        (due > self.began.elapsed()).then_some(due)
    }

    /// Waits until then; false when it was told to stop meanwhile.
    fn wait(&self, due: Duration) -> bool {
        loop {
            let passed = self.began.elapsed();
            if passed >= due {
                return true;
            }
            if self.options.stop.load(Ordering::Relaxed) {
                return false;
            }
            std::thread::sleep((due - passed).min(NAP));
        }
    }
}
