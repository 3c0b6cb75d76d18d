//! What must be known of a topic before it is read or written, and making one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use engine::log::{Offset, Partition};
use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset as TopicOffset, TopicPartitionList};

use super::client::{self, ANSWER, Notes, broker_error};
use super::native;

/// How long the first broker that is asked for a topic's id may take.
const QUICK_ANSWER: Duration = Duration::from_secs(3);

/// A topic as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its partitions, ascending.
    pub partitions: Vec<PartitionInfo>,
    /// How long records are kept, in milliseconds; None: for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes of a partition are kept; None: all.
    pub retention_bytes: Option<i64>,
    /// Whether old values of a key are deleted.
    pub is_compacted: bool,
    /// Whether the broker replaces the writer's timestamps by its own.
    pub has_broker_time: bool,
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: Partition,
    /// The first offset it still holds.
    pub start: Offset,
    /// The last stable offset: where a reader of committed records ends.
    pub end: Offset,
    /// The offset past the last record, one of an open transaction included.
    pub high: Offset,
}

impl TopicInfo {
    /// Returns true when no partition holds anything, not even a record of an open transaction.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(|partition| partition.start == partition.high)
    }
}

/// Asks the brokers about a topic.
pub fn topic_info(binding: &KafkaBinding) -> Result<TopicInfo> {
    let config = client::consumer_config(binding)?;
    let committed = client::consumer(binding, &config)?;
    let ids = client::partitions(binding, &committed)?;
    let mut config = config.clone();
    config.set("isolation.level", "read_uncommitted");
    let all = client::consumer(binding, &config)?;
    let starts = offsets(binding, &committed, &ids, Edge::Start)?;
    let ends = offsets(binding, &committed, &ids, Edge::End)?;
    let highs = offsets(binding, &all, &ids, Edge::End)?;
    let partitions = ids
        .iter()
        .enumerate()
        .map(|(i, &partition)| PartitionInfo { partition, start: starts[i], end: ends[i], high: highs[i] })
        .collect();

    let answer = settings(binding).map_err(|(_, error)| error)?;
    let text = |name: &str| answer.get(name).and_then(|entry| entry.value.as_deref());
    let limit = |name: &str| text(name).and_then(|value| value.parse().ok()).filter(|limit| *limit >= 0);
    Ok(TopicInfo {
        partitions,
        retention_ms: limit("retention.ms"),
        retention_bytes: limit("retention.bytes"),
        is_compacted: text("cleanup.policy").is_some_and(is_compacted),
        has_broker_time: text("message.timestamp.type") == Some("LogAppendTime"),
    })
}

/// Refuses a topic whose records go when later ones have their keys: what a run reads would depend on when it reads. Brokers that
/// do not let this user ask are believed.
pub fn must_keep_all(binding: &KafkaBinding) -> Result<()> {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, TopicAuthorizationFailed};
    match settings(binding) {
        Ok(answer) => {
            let policy = answer.get("cleanup.policy").and_then(|entry| entry.value.as_deref());
            policy.map_or(Ok(()), |policy| must_not_compact(binding, policy))
        }
        Err((ClusterAuthorizationFailed | TopicAuthorizationFailed, _)) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

/// Asks for the settings of a topic.
fn settings(binding: &KafkaBinding) -> std::result::Result<ConfigResource, (RDKafkaErrorCode, Error)> {
    let admin = admin(binding).map_err(|error| (RDKafkaErrorCode::Fail, error))?;
    let (resource, options) = (ResourceSpecifier::Topic(&binding.topic), admin_options());
    let failed = |code: RDKafkaErrorCode| {
        (code, broker_error(binding, "reading the settings of", code, admin.inner().context()))
    };
    let mut answers = wait(admin.describe_configs([&resource], &options))
        .map_err(|error| failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)))?;
    answers.pop().unwrap_or(Err(RDKafkaErrorCode::Fail)).map_err(failed)
}

/// Returns whether a `cleanup.policy` has old values of a key deleted.
fn is_compacted(policy: &str) -> bool {
    policy.split(',').any(|word| word.trim() == "compact")
}

/// Refuses a `cleanup.policy` that has old values of a key deleted.
pub fn must_not_compact(binding: &KafkaBinding, policy: &str) -> Result<()> {
    if !is_compacted(policy) {
        return Ok(());
    }
    let message =
        format!("topic {} at {} is compacted: it deletes old values of a key", binding.topic, binding.brokers);
    Err(Error::new(Code::Compacted, message).help(
        "a stream needs a topic whose `cleanup.policy` is `delete`; what this one holds now can be kept by `samestream archive` and read by `--mode batch`",
    ))
}

/// Returns what tells a topic from one of the same name before or after it; None: the brokers are too old to say.
pub fn topic_id(binding: &KafkaBinding) -> Result<Option<String>> {
    topic_id_by(binding, &client::consumer(binding, &client::consumer_config(binding)?)?)
}

/// Asks a client for the topic's id.
pub(super) fn topic_id_by(binding: &KafkaBinding, consumer: &BaseConsumer<Notes>) -> Result<Option<String>> {
    let mut found = native::topic_id(consumer, &binding.topic, QUICK_ANSWER);
    if found.as_ref().is_err_and(|code| client::is_silence(*code)) {
        // It asks the one broker that it takes for the controller, which may be gone; metadata come from any, and say who is.
        _ = consumer.fetch_metadata(Some(&binding.topic), ANSWER);
        found = native::topic_id(consumer, &binding.topic, ANSWER);
    }
    found.map_err(|code| {
        client::drain(consumer);
        broker_error(binding, "asking for the id of", code, consumer.context())
    })
}

/// Makes a topic with that many partitions (None: the broker's default) and settings. One that is there is an error.
pub fn create_topic(binding: &KafkaBinding, partitions: Option<i32>, settings: &[(&str, &str)]) -> Result<()> {
    let admin = admin(binding)?;
    let mut topic = NewTopic::new(&binding.topic, partitions.unwrap_or(-1), TopicReplication::Fixed(-1));
    topic.config = settings.to_vec();
    let made = wait(admin.create_topics([&topic], &admin_options()));
    let result = made.map(|mut results| results.pop().unwrap_or(Err((binding.topic.clone(), RDKafkaErrorCode::Fail))));
    let code = match result {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err((_, code))) => code,
        Err(error) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    };
    Err(match code {
        RDKafkaErrorCode::TopicAlreadyExists => {
            Error::new(Code::Target, format!("topic {} is there already at {}", binding.topic, binding.brokers))
        }
        RDKafkaErrorCode::InvalidTopic | RDKafkaErrorCode::InvalidConfig | RDKafkaErrorCode::InvalidPartitions => {
            Error::new(Code::Field, format!("topic {} cannot be made: {code}", binding.topic))
        }
        code => broker_error(binding, "making", code, admin.inner().context()),
    })
}

/// One end of a partition.
#[derive(Clone, Copy)]
pub(super) enum Edge {
    /// The first offset that it still holds.
    Start,
    /// Where a reader of the client's isolation level ends.
    End,
}

/// Asks for one end of every partition, in one request a broker.
///
/// `ListOffsets` with the times −2 and −1 means the two ends; librdkafka sends the client's isolation level with it, so
/// that −1 is the last stable offset for `read_committed`.
pub(super) fn offsets(
    binding: &KafkaBinding,
    consumer: &BaseConsumer<Notes>,
    partitions: &[Partition],
    edge: Edge,
) -> Result<Vec<Offset>> {
    let failed = |code: RDKafkaErrorCode| broker_error(binding, "asking for the offsets of", code, consumer.context());
    let time = match edge {
        Edge::Start => TopicOffset::Beginning,
        Edge::End => TopicOffset::End,
    };
    let ask = || {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition_offset(&binding.topic, partition, time)
                .expect("both ends are offsets that librdkafka knows");
        }
        consumer.offsets_for_times(list, ANSWER).map_err(|error| {
            client::drain(consumer);
            error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
        })
    };
    // A broker that has just taken a partition over does not know at once how far the others have come, nor one that is about to
    // that it leads; and one of which another has just told may not know the partition yet, nor that this user may see it.
    let is_new = |answer: &std::result::Result<TopicPartitionList, RDKafkaErrorCode>| {
        use RDKafkaErrorCode as E;
        let passes = |code: E| matches!(code, E::OffsetNotAvailable | E::NotLeaderForPartition | E::LeaderNotAvailable);
        match answer {
            Ok(list) => list
                .elements()
                .iter()
                .any(|element| element.error().err().and_then(|error| error.rdkafka_error_code()).is_some_and(passes)),
            Err(code) => *code == E::UnknownPartition || passes(*code),
        }
    };
    let until = Instant::now() + ANSWER;
    let mut answer = ask();
    while is_new(&answer) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        answer = ask();
    }
    let answer = answer.map_err(failed)?;
    let one = |partition: &Partition| {
        let element =
            answer.find_partition(&binding.topic, *partition).ok_or_else(|| failed(RDKafkaErrorCode::Fail))?;
        if let Err(error) = element.error() {
            return Err(failed(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)));
        }
        match element.offset() {
            TopicOffset::Offset(offset) => Ok(offset),
            _ => Err(failed(RDKafkaErrorCode::Fail)),
        }
    };
    partitions.iter().map(one).collect()
}

fn admin(binding: &KafkaBinding) -> Result<AdminClient<Notes>> {
    AdminClient::from_config_and_context(&client::config(binding)?, Notes::default())
        .map_err(|error| client::creation_error(binding, error))
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

/// Waits for an answer. librdkafka's own threads bring it, so this one may sleep.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
