//! Where whole logs are written to: a journal, a topic, a lake. Used by what makes and moves logs, never by a run.

use std::path::Path;

use connectors::journal::{Journal, JournalWriter};
use connectors::kafka::{KafkaWriter, TopicInfo, create_topic, topic_info};
use connectors::lake::{LakeOptions, LakeWriter};
use engine::log::{Offset, Partition, RawRecords};
use engine::plan::{KafkaBinding, SourcePlan};
use engine::{Code, Error, Result};

use arrow::array::Array;

/// A log that is being written.
pub enum Target {
    /// An embedded journal: offsets are kept.
    Journal(Box<JournalWriter>),
    /// A topic: offsets are the broker's.
    Topic(Box<KafkaWriter>),
    /// A lake of layout `log`: offsets are kept.
    Lake(Box<LakeWriter>),
}

impl Target {
    /// Makes a journal with these partitions, or opens one that holds no record.
    pub fn journal(path: &Path, partitions: &[Partition]) -> Result<Self> {
        if !partitions.iter().copied().eq(0..partitions.len() as Partition) {
            let message = format!("a journal has partitions 0, 1, …, but these are {}", list(partitions));
            return Err(Error::new(Code::Target, message));
        }
        if !Journal::exists(path) {
            return Ok(Self::Journal(Box::new(Journal::create(path, partitions.len() as u32)?.writer()?)));
        }
        let journal = Journal::open(path)?;
        if journal.partition_count() as usize != partitions.len() {
            let message = format!(
                "journal `{}` has {} partitions, {} are needed",
                path.display(),
                journal.partition_count(),
                partitions.len()
            );
            return Err(Error::new(Code::Target, message).help("choose another path; a new journal is made there"));
        }
        let writer = journal.writer()?;
        for partition in partitions {
            let (first, next) = writer.range(*partition)?;
            if first != next {
                let message = format!("journal `{}` holds records already", path.display());
                return Err(Error::new(Code::Target, message).help("choose another path, or remove that folder"));
            }
        }
        Ok(Self::Journal(Box::new(writer)))
    }

    /// Opens a topic that can take a log with these partitions whose oldest record is of `oldest_ms`. `is_made`: one
    /// that is missing is made, to keep its records for ever.
    pub fn topic(
        binding: &KafkaBinding,
        partitions: &[Partition],
        oldest_ms: Option<i64>,
        now_ms: i64,
        is_made: bool,
    ) -> Result<Self> {
        let info = match topic_info(binding) {
            Err(error) if error.code == Code::NotFound && is_made => {
                let settings = [("retention.ms", "-1"), ("message.timestamp.type", "CreateTime")];
                create_topic(binding, Some(partitions.len() as i32), &settings)?;
                topic_info(binding)?
            }
            other => other?,
        };
        check_topic(binding, &info, partitions, oldest_ms, now_ms)?;
        Ok(Self::Topic(Box::new(KafkaWriter::open(binding)?)))
    }

    /// Makes a lake of layout `log`.
    pub fn lake(path: &Path, source: &SourcePlan, partitions: &[Partition]) -> Result<Self> {
        let starts: Vec<(Partition, Offset)> = partitions.iter().map(|partition| (*partition, 0)).collect();
        let writer = LakeWriter::open(path.to_string_lossy(), source, LakeOptions::default(), &starts)?;
        if writer.positions().iter().any(|(_, next)| *next > 0) {
            return Err(Error::new(Code::Target, format!("lake `{}` holds records already", path.display()))
                .help("choose another path, or remove that folder"));
        }
        Ok(Self::Lake(Box::new(writer)))
    }

    /// Writes records of one partition, the next in its order.
    pub fn write(&mut self, records: &RawRecords, now_ms: i64) -> Result<()> {
        match self {
            Self::Lake(writer) => return writer.append(records, now_ms),
            Self::Journal(_) | Self::Topic(_) => {}
        }
        for row in 0..records.offsets.len() {
            let key = records.keys.is_valid(row).then(|| records.keys.value(row));
            let value = records.values.is_valid(row).then(|| records.values.value(row));
            let headers = records.headers.get(row).map_or(&[][..], Vec::as_slice);
            let timestamp = records.timestamps[row];
            match self {
                Self::Journal(writer) => {
                    let offset = records.offsets[row];
                    writer.append_at(offset, records.partition, timestamp, key, value, headers)?;
                }
                Self::Topic(writer) => writer.send(Some(records.partition), Some(timestamp), key, value, headers)?,
                Self::Lake(_) => unreachable!("a lake takes whole batches"),
            }
        }
        Ok(())
    }

    /// Says that the log goes on at `offset`: past control markers, or to where an empty partition begins.
    pub fn advance(&mut self, partition: Partition, offset: Offset) -> Result<()> {
        match self {
            Self::Journal(writer) if writer.range(partition)?.1 < offset => writer.advance(partition, offset),
            Self::Lake(writer) => writer.advance(partition, offset),
            Self::Journal(_) | Self::Topic(_) => Ok(()),
        }
    }

    /// Lets readers see what was written so far.
    pub fn flush(&mut self) -> Result<()> {
        match self {
            Self::Journal(writer) => writer.flush(),
            // A topic's records are on their way within milliseconds; a lake's are seen when a file is finished.
            Self::Topic(_) | Self::Lake(_) => Ok(()),
        }
    }

    /// Waits until everything is where it should be.
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Journal(writer) => writer.commit(),
            Self::Topic(writer) => writer.flush().map(|_| ()),
            Self::Lake(writer) => writer.finish(),
        }
    }
}

/// Refuses a topic that holds records, or would not keep what is written to it as it is.
fn check_topic(
    binding: &KafkaBinding,
    info: &TopicInfo,
    partitions: &[Partition],
    oldest_ms: Option<i64>,
    now_ms: i64,
) -> Result<()> {
    let refuse =
        |why: String, help: &str| Err(Error::new(Code::Target, format!("topic `{}` {why}", binding.topic)).help(help));
    let has: Vec<Partition> = info.partitions.iter().map(|partition| partition.partition).collect();
    if has != partitions {
        let why = format!("has partitions {}, the log has {}", list(&has), list(partitions));
        return refuse(why, "make a topic with as many partitions");
    }
    if !info.is_empty() {
        return refuse("holds records already".into(), "write to a new topic");
    }
    if info.is_compacted {
        return refuse("deletes old values of a key".into(), "set its `cleanup.policy` to `delete`");
    }
    if info.has_broker_time {
        let why = "replaces timestamps by the broker's time".into();
        return refuse(why, "set its `message.timestamp.type` to `CreateTime`");
    }
    match (info.retention_ms, oldest_ms) {
        (Some(retention), Some(oldest)) if oldest < now_ms.saturating_sub(retention) => refuse(
            format!("keeps records for {retention} ms and would delete the oldest of these"),
            "set its `retention.ms` to -1",
        ),
        _ => Ok(()),
    }
}

fn list(partitions: &[Partition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
