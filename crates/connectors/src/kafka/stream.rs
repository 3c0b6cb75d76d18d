//! A topic as a log that is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use engine::edge::{LogStream, Polled};
use engine::log::{Offset, Partition};
use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::client::{self, PATIENCE, broker_error};
use super::native::{BatchQueue, Incoming};
use super::topic::{Edge, offsets, topic_id_by};
use crate::records::RawBuilder;

/// Keys and values of one piece at most: an Arrow array of bytes addresses with 31 bits.
const PIECE_BYTES: usize = 256 * 1024 * 1024;

/// A topic read from offsets of the caller's, committed records only.
pub struct KafkaStream {
    binding: KafkaBinding,
    partitions: Vec<Partition>,
    queue: BatchQueue,
    keep_headers: bool,
    /// All partitions of the topic are read, so one that is added is missed.
    is_whole: bool,
    /// What each partition delivers next.
    positions: BTreeMap<Partition, Offset>,
    paused: BTreeSet<Partition>,
    /// Since when no broker has been reachable.
    silent_since: Option<Instant>,
}

impl KafkaStream {
    /// Connects, and finds the topic's partitions: all, or the ones asked for.
    pub fn open(binding: &KafkaBinding, only: Option<&[Partition]>, keep_headers: bool) -> Result<Self> {
        let consumer = client::consumer(binding, &client::consumer_config(binding)?)?;
        let all = client::partitions(binding, &consumer)?;
        let partitions = match only {
            None => all,
            Some(only) => {
                if let Some(missing) = only.iter().find(|partition| !all.contains(partition)) {
                    let message = format!("topic {} has no partition {missing}", binding.topic);
                    return Err(Error::new(Code::NotFound, message).help(format!("it has {all:?}")));
                }
                only.to_vec()
            }
        };
        let queue = BatchQueue::new(consumer, &binding.topic);
        Ok(Self {
            binding: binding.clone(),
            partitions,
            queue,
            keep_headers,
            is_whole: only.is_none(),
            positions: BTreeMap::new(),
            paused: BTreeSet::new(),
            silent_since: None,
        })
    }

    /// Refuses to go on when the topic has other partitions than at the start: their records would be missed, and what was
    /// final without them would not be.
    fn check_partitions(&self) -> Result<()> {
        let now = client::partition_ids(&self.binding, self.queue.consumer())?;
        if now.is_empty() || now == self.partitions {
            return Ok(());
        }
        let message = format!(
            "topic {} has {} partitions now; this run started with {}",
            self.binding.topic,
            now.len(),
            self.partitions.len()
        );
        Err(Error::new(Code::PartitionsChanged, message).help(
            "a new partition changes what is final: run again from the start to take it in, or name the old ones with `partitions: [...]` in the source",
        ))
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> Result<()> {
        let started = self.queue.start(partition, offset);
        started.map_err(|code| broker_error(&self.binding, "reading", code, self.queue.consumer().context()))
    }

    fn edge(&self, edge: Edge) -> Result<Vec<Offset>> {
        offsets(&self.binding, self.queue.consumer(), &self.partitions, edge)
    }

    /// Returns whether the next offset of a partition lies between its ends.
    fn holds(&self, partition: Partition, start: Offset, end: Offset) -> bool {
        self.positions.get(&partition).is_some_and(|offset| (start..=end).contains(offset))
    }

    /// Returns the error of an offset that the topic does not hold.
    fn gap(&self, partition: Partition, start: Offset, end: Offset) -> Error {
        let offset = self.positions.get(&partition).copied().unwrap_or_default();
        let message = format!(
            "topic {} partition {partition} does not hold offset {offset}: it holds {start} to {end}",
            self.binding.topic
        );
        let help = match offset < start {
            true => {
                "the topic's retention deleted records that this run needs; start later with --start, or read the lake"
            }
            false => "the topic was truncated or made anew since this offset was noted; start again from the beginning",
        };
        Error::new(Code::Gap, message).help(help)
    }

    /// Returns the error of a partition that failed, unless it will cure itself.
    fn failure(&self, partition: Partition, code: RDKafkaErrorCode, text: &str) -> Option<Error> {
        use RDKafkaErrorCode as E;
        let what = format!("partition {partition} of");
        match code {
            E::AutoOffsetReset | E::OffsetOutOfRange => {
                let index = self.partitions.iter().position(|own| *own == partition).unwrap_or_default();
                Some(match (self.edge(Edge::Start), self.edge(Edge::End)) {
                    (Ok(starts), Ok(ends)) if self.holds(partition, starts[index], ends[index]) => {
                        Error::new(Code::Broker, format!("{what} topic {}: {text}", self.binding.topic))
                    }
                    (Ok(starts), Ok(ends)) => self.gap(partition, starts[index], ends[index]),
                    (Err(error), _) | (_, Err(error)) => error,
                })
            }
            E::BadMessage | E::InvalidMessage | E::InvalidMessageSize | E::BadCompression | E::InvalidRecord => Some(
                Error::new(Code::Corrupt, format!("{what} topic {}: {text}", self.binding.topic))
                    .help("the broker sent a batch that does not match its checksum; check its disk"),
            ),
            E::UnknownTopic
            | E::UnknownTopicOrPartition
            | E::UnknownPartition
            | E::UnknownTopicId
            | E::TopicAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::SaslAuthenticationFailed
            | E::Authentication
            | E::Fatal => Some(broker_error(&self.binding, &what, code, self.queue.consumer().context())),
            // Brokers come back, leaders move: librdkafka tries again.
            _ => None,
        }
    }

    /// Looks at what librdkafka said about brokers; gives up when none was reachable for long. It says when all went
    /// away, never when one came back, so before giving up it asks.
    fn check_brokers(&mut self, got_something: bool) -> Result<()> {
        let consumer = self.queue.consumer();
        client::drain(consumer);
        let notes = consumer.context();
        if got_something {
            notes.clear();
            self.silent_since = None;
            return Ok(());
        }
        if let Some((code, _)) = notes.refusal() {
            return Err(broker_error(&self.binding, "reading", code, notes));
        }
        if !notes.all_down() {
            self.silent_since = None;
        } else if self.silent_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            self.edge(Edge::End)?;
            self.queue.consumer().context().clear();
            self.silent_since = None;
        }
        Ok(())
    }
}

impl LogStream for KafkaStream {
    fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    fn id(&mut self) -> Result<Option<String>> {
        topic_id_by(&self.binding, self.queue.consumer())
    }

    fn starts(&mut self) -> Result<Vec<Offset>> {
        self.edge(Edge::Start)
    }

    fn ends(&mut self) -> Result<Vec<Offset>> {
        let ends = self.edge(Edge::End)?;
        if self.is_whole {
            self.check_partitions()?;
        }
        Ok(ends)
    }

    fn seek(&mut self, offsets: &[Offset]) -> Result<()> {
        assert_eq!(offsets.len(), self.partitions.len(), "an offset for each partition");
        self.positions = self.partitions.iter().copied().zip(offsets.iter().copied()).collect();
        let (starts, ends) = (self.edge(Edge::Start)?, self.edge(Edge::End)?);
        for (index, &partition) in self.partitions.iter().enumerate() {
            if !(starts[index]..=ends[index]).contains(&offsets[index]) {
                return Err(self.gap(partition, starts[index], ends[index]));
            }
        }
        self.partitions
            .clone()
            .into_iter()
            .zip(offsets)
            .try_for_each(|(partition, &offset)| self.start(partition, offset))
    }

    fn poll(&mut self, timeout: Duration, max_records: usize) -> Result<Vec<Polled>> {
        let mut gathered = Gathered::new(self.keep_headers);
        let count = self.queue.read(timeout, max_records, |incoming| gathered.take(incoming));
        gathered.finish();
        self.positions.extend(gathered.next);
        for (partition, code, text) in &gathered.failures {
            if let Some(error) = self.failure(*partition, *code, text) {
                return Err(error);
            }
        }
        self.check_brokers(count > gathered.failures.len())?;
        Ok(gathered.done)
    }

    fn pause(&mut self, partition: Partition, paused: bool) -> Result<()> {
        let offset = *self.positions.get(&partition).expect("seek comes before pause");
        match (paused, self.paused.contains(&partition)) {
            (true, false) => {
                self.queue.stop(partition);
                self.paused.insert(partition);
            }
            (false, true) => {
                self.start(partition, offset)?;
                self.paused.remove(&partition);
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }
}

/// What one poll brought, records by partition.
struct Gathered {
    keep_headers: bool,
    open: BTreeMap<Partition, RawBuilder>,
    /// The partition that the last record was in comes first: records come in runs of one partition.
    current: Option<(Partition, RawBuilder)>,
    done: Vec<Polled>,
    next: BTreeMap<Partition, Offset>,
    failures: Vec<(Partition, RDKafkaErrorCode, String)>,
}

impl Gathered {
    fn new(keep_headers: bool) -> Self {
        Self {
            keep_headers,
            open: BTreeMap::new(),
            current: None,
            done: Vec::new(),
            next: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    #[inline]
    fn take(&mut self, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Record { partition, offset, timestamp, key, value, headers } => {
                let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                let headers = if self.keep_headers { headers.to_vec() } else { Vec::new() };
                self.builder(partition, size).push(offset, timestamp, key, value, headers);
            }
            Incoming::End(partition, offset) => {
                self.close(partition);
                self.next.insert(partition, offset);
                self.done.push(Polled::Reached(partition, offset));
            }
            Incoming::Failed(partition, code, text) => self.failures.push((partition, code, text)),
        }
    }

    /// Returns the builder of a partition with room for so many bytes more.
    #[inline]
    fn builder(&mut self, partition: Partition, size: usize) -> &mut RawBuilder {
        let fits = |(current, builder): &(Partition, RawBuilder)| {
            *current == partition && builder.size_bytes() + size <= PIECE_BYTES
        };
        if !self.current.as_ref().is_some_and(fits) {
            self.switch(partition, size);
        }
        &mut self.current.as_mut().expect("switch sets it").1
    }

    #[cold]
    fn switch(&mut self, partition: Partition, size: usize) {
        if let Some((current, builder)) = self.current.take() {
            self.open.insert(current, builder);
        }
        let is_full = |builder: &RawBuilder| builder.size_bytes() + size > PIECE_BYTES;
        if self.open.get(&partition).is_some_and(is_full) {
            self.close(partition);
        }
        let builder = self.open.remove(&partition).unwrap_or_else(|| RawBuilder::new(partition));
        self.current = Some((partition, builder));
    }

    /// Ends the piece of a partition.
    fn close(&mut self, partition: Partition) {
        if self.current.as_ref().is_some_and(|(current, _)| *current == partition) {
            let (current, builder) = self.current.take().expect("it was just seen");
            self.open.insert(current, builder);
        }
        let Some(builder) = self.open.remove(&partition).filter(|builder| !builder.is_empty()) else { return };
        let records = builder.finish();
        self.next.insert(partition, records.offsets.last().map_or(0, |last| last + 1));
        self.done.push(Polled::Records(records));
    }

    /// Ends all pieces.
    fn finish(&mut self) {
        if let Some((current, builder)) = self.current.take() {
            self.open.insert(current, builder);
        }
        for partition in self.open.keys().copied().collect::<Vec<_>>() {
            self.close(partition);
        }
    }
}
