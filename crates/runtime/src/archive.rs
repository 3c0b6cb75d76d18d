//! Archive: a topic or journal into a lake of layout `log`, going on where the lake ends, without gap or repetition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connectors::lake::{LakeOptions, LakeWriter};
use connectors::records::clip;
use engine::edge::{LogStream, Polled};
use engine::log::{Offset, Partition};
use engine::plan::{Layout, SourcePlan};
use engine::{Code, Error, Result};

use crate::job::open_stream;

const POLL: Duration = Duration::from_millis(100);
const POLL_RECORDS: usize = 32_768;

/// How to archive.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// Stop at the end offsets seen at the start.
    pub until_caught_up: bool,
    /// How the lake is cut into files.
    pub lake: LakeOptions,
    /// Set by someone else to stop.
    pub stop: Arc<AtomicBool>,
}

/// What was archived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Records written now.
    pub records: u64,
    /// Offsets left to the known end, if there is one.
    pub left: Option<u64>,
    /// The offset range of each partition that was written now.
    pub ranges: BTreeMap<Partition, (Offset, Offset)>,
    /// Whether the end was reached; false: it was stopped before.
    pub ended: bool,
}

/// Copies a source's topic or journal into its lake. `now` is the time in milliseconds since 1970, which only decides
/// when files are cut; `progress` hears of every step.
pub fn archive(
    source: &SourcePlan,
    options: &ArchiveOptions,
    now: &dyn Fn() -> i64,
    progress: &dyn Fn(&Archived),
) -> Result<Archived> {
    let lake = source.bindings.lake.as_ref().ok_or_else(|| {
        Error::new(Code::Binding, format!("source `{}` has no lake to archive into", source.name))
            .help("give it `lake: {path: …}`")
    })?;
    if lake.layout != Layout::Log {
        return Err(Error::new(Code::Binding, format!("the lake of source `{}` has another layout", source.name))
            .help("archive writes `layout: log`"));
    }
    // The lake holds the whole log; a pipeline that reads some partitions only reads them from it.
    let whole = SourcePlan { partitions: None, ..source.clone() };
    let mut stream = open_stream(&whole)?;
    let mut log = Log::open(stream.as_mut(), source)?;
    let mut writer = LakeWriter::open(&lake.path, &whole, options.lake, &log.starts())?;
    log.seek(stream.as_mut(), &writer)?;
    while !options.stop.load(Ordering::Relaxed) {
        if options.until_caught_up && log.is_caught_up() {
            log.done.ended = true;
            break;
        }
        for polled in stream.poll(POLL, POLL_RECORDS)? {
            log.take(polled, &mut writer, options.until_caught_up, now())?;
        }
        writer.tick(now())?;
        log.done.left = options.until_caught_up.then(|| log.left());
        progress(&log.done);
    }
    writer.finish()?;
    Ok(log.done)
}

/// The partitions of the log, and how far each is.
struct Log {
    parts: Vec<Part>,
    done: Archived,
    source: String,
}

struct Part {
    partition: Partition,
    start: Offset,
    /// The end seen at the start.
    end: Offset,
    /// Where this run began.
    from: Offset,
    next: Offset,
}

impl Log {
    fn open(stream: &mut dyn LogStream, source: &SourcePlan) -> Result<Self> {
        let partitions = stream.partitions().to_vec();
        let (starts, ends) = (stream.starts()?, stream.ends()?);
        let parts = partitions.into_iter().zip(starts.into_iter().zip(ends));
        let parts =
            parts.map(|(partition, (start, end))| Part { partition, start, end, from: start, next: start }).collect();
        Ok(Self { parts, done: Archived::default(), source: source.name.clone() })
    }

    fn starts(&self) -> Vec<(Partition, Offset)> {
        self.parts.iter().map(|part| (part.partition, part.start)).collect()
    }

    /// Goes to where the lake ends, if the log still holds what comes there.
    fn seek(&mut self, stream: &mut dyn LogStream, writer: &LakeWriter) -> Result<()> {
        let positions: BTreeMap<Partition, Offset> = writer.positions().into_iter().collect();
        for part in &mut self.parts {
            let position = positions[&part.partition];
            let place = format!("source `{}` partition {}", self.source, part.partition);
            if position < part.start {
                let message = format!("{place}: the lake ends at {position}, the log begins at {}", part.start);
                return Err(Error::new(Code::Gap, message)
                    .help("the records between are lost; archive into an empty folder, and more often"));
            }
            if position > part.end {
                let message = format!("{place}: the lake ends at {position}, the log already at {}", part.end);
                return Err(Error::new(Code::LakeDiverges, message)
                    .help("the lake is of another log, or the topic was made anew; archive into an empty folder"));
            }
            (part.from, part.next) = (position, position);
        }
        let offsets: Vec<Offset> = self.parts.iter().map(|part| part.next).collect();
        stream.seek(&offsets)
    }

    fn take(&mut self, polled: Polled, writer: &mut LakeWriter, is_bounded: bool, now: i64) -> Result<()> {
        let part = |parts: &mut Vec<Part>, partition| {
            parts.iter().position(|part| part.partition == partition).expect("only these partitions were asked for")
        };
        match polled {
            Polled::Records(records) => {
                let i = part(&mut self.parts, records.partition);
                let limit = if is_bounded { self.parts[i].end } else { Offset::MAX };
                let is_past = records.offsets.last().is_some_and(|last| *last >= limit);
                let records = if is_past { clip(&records, 0, limit) } else { records };
                writer.append(&records, now)?;
                self.done.records += records.offsets.len() as u64;
                let next = records.offsets.last().map_or(self.parts[i].next, |last| last + 1);
                // A record at or past the end says that everything below it was seen.
                self.moved(i, if is_past { limit } else { next }, writer)
            }
            Polled::Reached(partition, offset) => {
                let i = part(&mut self.parts, partition);
                let limit = if is_bounded { self.parts[i].end } else { Offset::MAX };
                self.moved(i, offset.min(limit), writer)
            }
        }
    }

    fn moved(&mut self, i: usize, next: Offset, writer: &mut LakeWriter) -> Result<()> {
        let part = &mut self.parts[i];
        if next > part.next {
            part.next = next;
            writer.advance(part.partition, next)?;
            self.done.ranges.insert(part.partition, (part.from, next));
        }
        Ok(())
    }

    fn is_caught_up(&self) -> bool {
        self.parts.iter().all(|part| part.next >= part.end)
    }

    fn left(&self) -> u64 {
        self.parts.iter().map(|part| (part.end - part.next).max(0) as u64).sum()
    }
}
