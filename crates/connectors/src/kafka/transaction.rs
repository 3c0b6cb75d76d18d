//! Writing to a topic in transactions: all records of one or none, and with them a receipt.
//!
//! A receipt is a short text that becomes the metadata of an offset which a group commits on the topic's first partition, in
//! the same transaction as the records; it is nothing that a reader of the topic sees. The group has the transactional
//! id's name and no members.
//!
//! Who opens takes the id: the brokers end what an older producer of that id had begun, and refuse it from then on. So a
//! receipt that is read after opening stays the last one until this producer writes or another takes the id. A producer
//! that had an error must be renewed: the brokers may still hold a request of its own that nobody knows the outcome of.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{self, ANSWER, Notes, broker_error};
use super::topic::topic_id_by;
use super::writer::KafkaWriter;
use crate::point;

/// How long one request about a transaction may take at first, and at most after others took too long. At first not long:
/// librdkafka goes on waiting for a group coordinator that it knows and that has died, though another has taken over, and
/// only a new producer asks again. Longer then: a network may be slow.
const REQUEST: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];

/// How much longer than librdkafka is given its answer is waited for.
const LISTEN: Duration = Duration::from_secs(1);

/// Writes transactions to one topic.
pub struct Transactions {
    binding: KafkaBinding,
    id: String,
    timeout: Duration,
    /// How long one request may take now.
    request: Duration,
    /// Reads receipts, and names the group.
    group: BaseConsumer<Notes>,
    writer: Option<KafkaWriter>,
}

/// Why something about a transaction was not done.
#[derive(Debug)]
pub struct Failure {
    /// What to say if it stays so.
    pub error: Error,
    /// Whether a new producer may have more luck.
    pub may_pass: bool,
}

impl Transactions {
    /// Prepares to write under that id; takes nothing yet. The topic must be there.
    pub fn new(binding: &KafkaBinding, id: &str, timeout: Duration) -> Result<Self> {
        let mut config = client::consumer_config(binding)?;
        // The last stable offset of a group is one whose transaction has ended.
        config.set("group.id", id);
        let group = client::consumer(binding, &config)?;
        client::partitions(binding, &group)?;
        Ok(Self { binding: binding.clone(), id: id.to_string(), timeout, request: REQUEST[0], group, writer: None })
    }

    /// Returns the transactional id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Takes the id with a new producer: what an older one of that id has begun and not committed is undone.
    pub fn take(&mut self) -> Result<(), Failure> {
        self.writer = None;
        let writer = KafkaWriter::open_exact(&self.binding, &self.id, self.timeout).map_err(Failure::of)?;
        if let Err(error) = writer.producer().init_transactions(self.patience()) {
            self.request = REQUEST[1].min(self.request * 2);
            return Err(self.failure("beginning transactions on", &writer, error));
        }
        self.writer = Some(writer);
        Ok(())
    }

    /// Returns the receipt of the last transaction. It stays the last one only if the id was taken before.
    pub fn receipt(&self) -> Result<Option<String>, Failure> {
        let failed = |code: RDKafkaErrorCode| {
            client::drain(&self.group);
            self.known(code).unwrap_or_else(|| {
                Failure::of(broker_error(&self.binding, "reading the group's offset on", code, self.group.context()))
            })
        };
        let of = |error: KafkaError| failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.binding.topic, 0);
        let found = self.group.committed_offsets(list, ANSWER).map_err(of)?;
        let Some(element) = found.find_partition(&self.binding.topic, 0) else {
            return Err(failed(RDKafkaErrorCode::Fail));
        };
        element.error().map_err(of)?;
        Ok(match element.offset() {
            Offset::Offset(_) => Some(element.metadata().to_string()),
            _ => None,
        })
    }

    /// Writes a transaction: the records that `records` sends, and the receipt that it returns. `number` is what tools show
    /// as the group's offset.
    pub fn write(
        &mut self,
        number: u64,
        records: &mut dyn FnMut(&mut KafkaWriter) -> Result<String>,
    ) -> Result<(), Failure> {
        let mut writer = self.writer.take().expect("the id is taken before something is written");
        let begun = Instant::now();
        let written = self.write_by(&mut writer, number, records);
        // After an error the brokers may hold requests of this producer: it is given up, and a new one is taken.
        let failed = match written {
            Ok(()) => {
                (self.writer, self.request) = (Some(writer), REQUEST[0]);
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.request = REQUEST[1].min(self.request * 2);
        match failed {
            failure if failure.may_pass && begun.elapsed() >= self.timeout => {
                let message = format!(
                    "writing topic {}: one transaction took longer than `transaction_timeout`, {} s: {}",
                    self.binding.topic,
                    self.timeout.as_secs_f64(),
                    failure.error.message
                );
                let help = "nothing of it can be seen; raise `transaction_timeout` (brokers allow 15m unless their `transaction.max.timeout.ms` says otherwise) or make checkpoints more often";
                Err(Failure { error: Error::new(Code::Broker, message).help(help), may_pass: true })
            }
            failure => Err(failure),
        }
    }

    fn write_by(
        &self,
        writer: &mut KafkaWriter,
        number: u64,
        records: &mut dyn FnMut(&mut KafkaWriter) -> Result<String>,
    ) -> Result<(), Failure> {
        let failed = |what: &str, writer: &KafkaWriter, error| self.failure(what, writer, error);
        writer.producer().begin_transaction().map_err(|error| failed("beginning a transaction on", writer, error))?;
        point!("kafka.begun");
        let sent = records(writer).and_then(|receipt| writer.flush().map(|_| receipt));
        let receipt = sent.map_err(|error| match writer.producer().client().fatal_error() {
            Some((code, _)) => self.known(code).unwrap_or_else(|| Failure::of(error)),
            None if error.code != Code::Broker => Failure { error, may_pass: false },
            None => self
                .refusal(writer, number)
                .unwrap_or_else(|| Failure { may_pass: writer.notes().refusal().is_none(), error }),
        })?;
        point!("kafka.rows");
        self.add_offset(writer, number, &receipt, "keeping the receipt of", self.patience())?;
        point!("kafka.receipt");
        let committed = writer.producer().commit_transaction(self.patience());
        committed.map_err(|error| failed("committing a transaction on", writer, error))?;
        point!(
            "kafka.committed",
            self.failure_of("committing a transaction on", writer, RDKafkaErrorCode::OperationTimedOut)
        );
        Ok(())
    }

    /// Makes the receipt the metadata of the group's offset, once the transaction is committed.
    ///
    /// librdkafka may wait without end for a group coordinator that it knows and that has died, whatever time it is given: it looks
    /// for another one only when some connection changes. So another thread waits; if it does so for too long it is left
    /// alone with the producer, which is given up anyway.
    fn add_offset(
        &self,
        writer: &KafkaWriter,
        number: u64,
        receipt: &str,
        what: &str,
        patience: Duration,
    ) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(number).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.binding.topic, 0, offset).expect("a number is an offset");
        list.find_partition(&self.binding.topic, 0).expect("it was just added").set_metadata(receipt);
        let group = self.group.group_metadata().expect("the consumer has a group");
        let (tell, told) = mpsc::channel();
        let producer = writer.producer().clone();
        std::thread::spawn(move || {
            let added = producer.send_offsets_to_transaction(&list, &group, patience);
            // Before anybody hears of it, so that the writer is the last to hold the producer.
            drop(producer);
            // Nobody listens any more if it took too long.
            _ = tell.send(added);
        });
        match told.recv_timeout(patience + LISTEN) {
            Ok(added) => added.map_err(|error| self.failure(what, writer, error)),
            Err(_) => Err(self.failure_of(what, writer, RDKafkaErrorCode::OperationTimedOut)),
        }
    }

    /// Returns why records were not taken, if the brokers do not allow it. Of the records librdkafka then says only that it
    /// has thrown them away; the transaction knows the reason, and whoever adds an offset to it is told. Nothing can come of
    /// that: an offset commits no transaction, and this one is given up.
    fn refusal(&self, writer: &KafkaWriter, number: u64) -> Option<Failure> {
        let failure = self.add_offset(writer, number, "", "writing", LISTEN).err()?;
        (!failure.may_pass).then_some(failure)
    }

    /// Returns how long one request about a transaction may take.
    fn patience(&self) -> Duration {
        self.request.min(self.timeout)
    }

    /// Returns the topic's id; None: the brokers do not know ids.
    pub fn topic_id(&self) -> Result<Option<String>> {
        topic_id_by(&self.binding, &self.group)
    }

    fn failure(&self, what: &str, writer: &KafkaWriter, error: KafkaError) -> Failure {
        let code = match &error {
            KafkaError::Transaction(error) => error.code(),
            other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        };
        self.failure_of(what, writer, code)
    }

    fn failure_of(&self, what: &str, writer: &KafkaWriter, code: RDKafkaErrorCode) -> Failure {
        // `Fatal` stands for the error that came first.
        let code = match (code, writer.producer().client().fatal_error()) {
            (RDKafkaErrorCode::Fatal, Some((first, _))) => first,
            (code, _) => code,
        };
        let may_pass = writer.notes().refusal().is_none() && !client::is_refusal(code);
        self.known(code)
            .unwrap_or_else(|| Failure { error: broker_error(&self.binding, what, code, writer.notes()), may_pass })
    }

    /// Returns what is known of an error that has to do with transactions.
    fn known(&self, code: RDKafkaErrorCode) -> Option<Failure> {
        use RDKafkaErrorCode as E;
        let topic = format!("topic {} at {}", self.binding.topic, self.binding.brokers);
        let without = "or write without transactions: `delivery: at_least_once`";
        let (code, message, help, may_pass) = match code {
            E::TransactionalIdAuthorizationFailed => {
                let help =
                    format!("give the user an ACL to describe and write the transactional id `{}`, {without}", self.id);
                (Code::Broker, format!("{topic}: the user may not use the transactional id `{}`", self.id), help, false)
            }
            E::GroupAuthorizationFailed => {
                let help = format!("give the user an ACL to read the group `{}`, {without}", self.id);
                (Code::Broker, format!("{topic}: the user may not use the group `{}`", self.id), help, false)
            }
            E::InvalidTransactionTimeout => {
                let help = "lower `transaction_timeout`, or raise `transaction.max.timeout.ms` of the brokers".into();
                let message =
                    format!("{topic}: the brokers do not allow a `transaction_timeout` of {:?}", self.timeout);
                (Code::Field, message, help, false)
            }
            E::UnsupportedFeature | E::UnsupportedVersion => {
                let message = format!("{topic}: the brokers have no transactions");
                (Code::Unsupported, message, format!("use brokers of Kafka 2.5 or later, {without}"), false)
            }
            E::Fenced
            | E::ProducerFenced
            | E::InvalidProducerEpoch
            | E::InvalidTransactionalState
            | E::InvalidProducerIdMapping => {
                let message = format!("{topic}: the brokers have ended the transaction of `{}` ({code})", self.id);
                (Code::Broker, message, "another run has taken the transactional id, or it took too long".into(), true)
            }
            _ => return None,
        };
        Some(Failure { error: Error::new(code, message).help(help), may_pass })
    }
}

impl Failure {
    /// Makes the failure of an error that is one of the brokers or not.
    fn of(error: Error) -> Self {
        Self { may_pass: error.code == Code::Broker, error }
    }
}
