//! Writing to a topic: in order, each record once, and nothing counts before the brokers have said so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::log::{Offset, Partition};
use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::client::{self, Notes, PATIENCE, broker_error};

/// How long records are gathered into batches.
const LINGER_MS: &str = "20";

/// Writes records to one topic. Retries never reorder or repeat them while the writer lives.
pub struct KafkaWriter {
    binding: KafkaBinding,
    producer: Arc<BaseProducer<Deliveries>>,
    sent: u64,
}

/// What a writer has delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many records.
    pub records: u64,
    /// The offset past the last record of each partition that was written to.
    pub ends: BTreeMap<Partition, Offset>,
}

impl KafkaWriter {
    /// Connects; the topic must be there.
    pub fn open(binding: &KafkaBinding) -> Result<Self> {
        Self::open_with(binding, None, LINGER_MS)
    }

    /// The same for records that come in bursts and are waited for: they are sent almost at once.
    pub fn open_prompt(binding: &KafkaBinding) -> Result<Self> {
        Self::open_with(binding, None, "1")
    }

    /// Connects, with the id and the timeout of its transactions.
    pub(super) fn open_exact(binding: &KafkaBinding, id: &str, timeout: Duration) -> Result<Self> {
        Self::open_with(binding, Some((id, timeout)), LINGER_MS)
    }

    fn open_with(binding: &KafkaBinding, transactions: Option<(&str, Duration)>, linger_ms: &str) -> Result<Self> {
        client::partitions(binding, &client::consumer(binding, &client::consumer_config(binding)?)?)?;
        let user = client::config(binding)?;
        let mut config = user.clone();
        config.set("enable.idempotence", "true");
        let mut patience = PATIENCE;
        if let Some((id, timeout)) = transactions {
            config.set("transactional.id", id).set("transaction.timeout.ms", timeout.as_millis().to_string());
            patience = patience.min(timeout);
        }
        let patience = patience.as_millis().to_string();
        for (name, value) in [
            ("linger.ms", linger_ms),
            ("compression.type", "lz4"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "100000"),
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", "65536"),
            ("message.timeout.ms", patience.as_str()),
            // Java's: so that a key is where other producers would put it.
            ("partitioner", "murmur2_random"),
        ] {
            if user.get(name).is_none() {
                config.set(name, value);
            }
        }
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .map_err(|error| client::creation_error(binding, error))?;
        Ok(Self { binding: binding.clone(), producer: Arc::new(producer), sent: 0 })
    }

    /// Hands a record over. Without a partition the key chooses it; without a timestamp the time is now. Waits while the
    /// buffer is full; an error may be about a record handed over before.
    pub fn send(
        &mut self,
        partition: Option<Partition>,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Vec<u8>>)],
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.binding.topic);
        record.partition = partition;
        record.timestamp = timestamp_ms;
        record.key = key;
        record.payload = value;
        if !headers.is_empty() {
            let add = |list: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
                list.insert(Header { key: name, value: value.as_deref() })
            };
            record.headers = Some(headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), add));
        }
        let mut full_since: Option<Instant> = None;
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.send_error(error));
            }
            let before = self.delivered();
            self.producer.poll(Duration::from_millis(20));
            self.check()?;
            if self.delivered() != before {
                full_since = None;
            } else if full_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(self.lost(RDKafkaErrorCode::OperationTimedOut));
            }
            record = back;
        }
        self.sent += 1;
        if self.sent.is_multiple_of(1024) {
            self.producer.poll(Duration::ZERO);
            self.check()?;
        }
        Ok(())
    }

    /// Looks whether deliveries have failed so far, without waiting for those under way.
    pub fn check_deliveries(&self) -> Result<()> {
        // A poll takes one report, and a batch of each partition has one.
        loop {
            let under_way = self.producer.in_flight_count();
            self.producer.poll(Duration::ZERO);
            if self.producer.in_flight_count() >= under_way {
                return self.check();
            }
        }
    }

    /// Waits until the brokers have every record that was handed over, and returns what they have in all.
    pub fn flush(&mut self) -> Result<Written> {
        // Every record is delivered or given up within `message.timeout.ms`, so this ends.
        loop {
            let flushed = self.producer.flush(Duration::from_millis(500));
            self.check()?;
            match flushed {
                Ok(()) => break,
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) => {}
                Err(error) => return Err(self.send_error(error)),
            }
        }
        let written = self.producer.context().state().written.clone();
        assert_eq!(written.records, self.sent, "every record is delivered or has failed after a flush");
        Ok(written)
    }

    /// Returns the client, which lives as long as somebody holds it.
    pub(super) fn producer(&self) -> &Arc<BaseProducer<Deliveries>> {
        &self.producer
    }

    /// Returns what its client said about errors lately.
    pub(super) fn notes(&self) -> &Notes {
        &self.producer.context().notes
    }

    fn delivered(&self) -> u64 {
        self.producer.context().state().written.records
    }

    /// Returns the first delivery that failed.
    fn check(&self) -> Result<()> {
        let context = self.producer.context();
        let failed = context.state().failed;
        if let Some(code) = failed {
            return Err(self.lost(code));
        }
        match context.notes.refusal() {
            Some((code, _)) => Err(self.lost(code)),
            None => Ok(()),
        }
    }

    fn send_error(&self, error: KafkaError) -> Error {
        self.lost(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
    }

    fn lost(&self, code: RDKafkaErrorCode) -> Error {
        match code {
            RDKafkaErrorCode::MessageSizeTooLarge => {
                let message = format!("writing topic {}: a record is larger than allowed", self.binding.topic);
                Error::new(Code::Target, message)
                    .help("raise `max.message.bytes` of the topic and `message.max.bytes` under `options`")
            }
            code => broker_error(&self.binding, "writing", code, &self.producer.context().notes),
        }
    }
}

/// Counts what the brokers confirm.
#[derive(Default)]
pub(super) struct Deliveries {
    notes: Notes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    written: Written,
    failed: Option<RDKafkaErrorCode>,
}

impl Deliveries {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the lock")
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.notes.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: Self::DeliveryOpaque) {
        let mut state = self.state();
        match result {
            Ok(message) => {
                state.written.records += 1;
                let end = state.written.ends.entry(message.partition()).or_default();
                *end = (*end).max(message.offset() + 1);
            }
            Err((error, _)) => {
                state.failed.get_or_insert(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
            }
        }
    }
}
