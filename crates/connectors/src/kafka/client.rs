//! Clients of librdkafka: their settings, what they say about errors, and which of our errors that is.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaConfRes;

/// How long a broker may take to answer a request at start.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a request at start waits before it looks whether a broker has refused it.
const SLICE: Duration = Duration::from_millis(500);

/// How long a running client waits for brokers that went away.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings that are ours: with another value a run would give another result, use a group, or lose records.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "`brokers` says it"),
    ("metadata.broker.list", "`brokers` says it"),
    ("isolation.level", "records of open or aborted transactions are never read"),
    ("auto.offset.reset", "a missing offset is an error, never a jump"),
    ("enable.auto.commit", "positions are kept by samestream, not by a group"),
    ("auto.commit.enable", "positions are kept by samestream, not by a group"),
    ("auto.commit.interval.ms", "positions are kept by samestream, not by a group"),
    ("enable.auto.offset.store", "positions are kept by samestream, not by a group"),
    ("offset.store.method", "positions are kept by samestream, not by a group"),
    ("group.id", "no consumer group is used"),
    ("group.instance.id", "no consumer group is used"),
    ("group.protocol", "no consumer group is used"),
    ("group.protocol.type", "no consumer group is used"),
    ("group.remote.assignor", "no consumer group is used"),
    ("partition.assignment.strategy", "no consumer group is used"),
    ("enable.partition.eof", "it is needed to know that the end was reached"),
    ("topic.blacklist", "it would hide records"),
    ("consume.callback.max.messages", "records are not read by callbacks"),
    ("enable.idempotence", "every record is written once and in order"),
    ("enable.gapless.guarantee", "every record is written once and in order"),
    ("transactional.id", "`transactional_id` of a sink says it"),
    ("transaction.timeout.ms", "`transaction_timeout` of a sink says it"),
    ("acks", "a record counts as written when all replicas have it"),
    ("request.required.acks", "a record counts as written when all replicas have it"),
    ("delivery.report.only.error", "every delivery is counted"),
    ("log.queue", "samestream reads librdkafka's messages itself"),
];

/// Returns the settings of any client of the binding's brokers, the user's options among them.
pub(super) fn config(binding: &KafkaBinding) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    // Errors come as events, with their reasons; what librdkafka would log besides is noise on stderr.
    config.set_log_level(RDKafkaLogLevel::Emerg).set("log_level", "0");
    config.set("bootstrap.servers", &binding.brokers);
    config.set("client.id", "samestream");
    for (name, value) in &binding.options {
        refuse_ours(binding, name)?;
        // OpenSSL would only say "BIO lib".
        if name.starts_with("ssl.") && name.ends_with(".location") && value != "probe" && !Path::new(value).exists() {
            let message = format!("topic {}: {value}, which `options` name as `{name}`, is not there", binding.topic);
            return Err(Error::new(Code::NotFound, message));
        }
        config.set(name, value);
    }
    Ok(config)
}

/// Checks the `options` of a binding without asking for anything outside: neither brokers nor files.
pub fn check_options(binding: &KafkaBinding) -> Result<()> {
    let mut config = ClientConfig::new();
    for (name, value) in &binding.options {
        refuse_ours(binding, name)?;
        config.set(name, value);
    }
    config.create_native_config().map(|_| ()).map_err(|error| creation_error(binding, error))
}

fn refuse_ours(binding: &KafkaBinding, name: &str) -> Result<()> {
    let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == name) else { return Ok(()) };
    let message = format!("`options` of topic {} may not set `{name}`: {why}", binding.topic);
    Err(Error::new(Code::Field, message).help("remove it"))
}

/// Settings of a client that reads.
pub(super) fn consumer_config(binding: &KafkaBinding) -> Result<ClientConfig> {
    let user = config(binding)?;
    let mut config = user.clone();
    config
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error");
    // Defaults of ours that a user may change: none changes what is read. A full queue makes librdkafka pause for
    // `fetch.queue.backoff.ms`, by default a whole second; the queue is kept small because memory is bounded.
    for (name, value) in [
        ("check.crcs", "true"),
        ("fetch.queue.backoff.ms", "2"),
        ("queued.min.messages", "50000"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.max.bytes", "16777216"),
        ("fetch.wait.max.ms", "100"),
    ] {
        if user.get(name).is_none() {
            config.set(name, value);
        }
    }
    Ok(config)
}

/// Makes a client that reads.
pub(super) fn consumer(binding: &KafkaBinding, config: &ClientConfig) -> Result<BaseConsumer<Notes>> {
    config.create_with_context(Notes::default()).map_err(|error| creation_error(binding, error))
}

/// Returns our error for a client that librdkafka did not make. Values are left out: they may be secrets.
pub(super) fn creation_error(binding: &KafkaBinding, error: KafkaError) -> Error {
    let place = format!("topic {} at {}", binding.topic, binding.brokers);
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            Error::new(Code::Field, format!("{place}: librdkafka has no setting `{name}`"))
                .help("the settings are listed in librdkafka's CONFIGURATION.md")
        }
        KafkaError::ClientConfig(_, _, name, _) => {
            Error::new(Code::Field, format!("{place}: librdkafka does not take that value of `{name}`"))
                .help("the values are listed in librdkafka's CONFIGURATION.md")
        }
        KafkaError::ClientCreation(why) => {
            Error::new(Code::Field, format!("{place}: {why}")).help("check the `options` of this binding")
        }
        other => Error::new(Code::Broker, format!("{place}: {other}")),
    }
}

/// What librdkafka said about errors lately. One belongs to each client.
#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<(RDKafkaErrorCode, String)>>);

impl Notes {
    /// How many are kept.
    const KEPT: usize = 8;

    /// Returns the last reason that says more than "all brokers are down", if there is one.
    pub(super) fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        let notes = self.0.lock().expect("no code panics while it holds the lock");
        notes.iter().rev().find(|(code, _)| *code != RDKafkaErrorCode::AllBrokersDown).or(notes.last()).cloned()
    }

    /// Returns whether no broker can be reached.
    pub(super) fn all_down(&self) -> bool {
        let notes = self.0.lock().expect("no code panics while it holds the lock");
        notes.iter().any(|(code, _)| *code == RDKafkaErrorCode::AllBrokersDown)
    }

    /// Returns a note that waiting cannot cure.
    pub(super) fn refusal(&self) -> Option<(RDKafkaErrorCode, String)> {
        let notes = self.0.lock().expect("no code panics while it holds the lock");
        notes.iter().find(|(code, _)| is_refusal(*code)).cloned()
    }

    /// Forgets all notes: the brokers answer again.
    pub(super) fn clear(&self) {
        self.0.lock().expect("no code panics while it holds the lock").clear();
    }
}

impl ClientContext for Notes {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut notes = self.0.lock().expect("no code panics while it holds the lock");
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        notes.retain(|(_, known)| known != reason);
        if notes.len() == Self::KEPT {
            notes.remove(0);
        }
        notes.push((code, reason.to_string()));
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Notes {}

/// Returns true for answers that waiting cannot cure.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        code,
        E::Authentication
            | E::SaslAuthenticationFailed
            | E::TopicAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::UnsupportedSASLMechanism
    )
}

/// Returns our error for an answer of a broker, or for none.
pub(super) fn broker_error(binding: &KafkaBinding, what: &str, code: RDKafkaErrorCode, notes: &Notes) -> Error {
    use RDKafkaErrorCode as E;
    // Of a topic that no broker has told it of for long, librdkafka says that there are no such partitions.
    let is_silent = is_silence(code) || code == E::UnknownPartition && notes.all_down();
    let (code, reason) = match notes.last() {
        Some((noted, reason)) if is_silent => (noted, reason),
        _ => (code, code.to_string()),
    };
    let message = format!("{what} topic {} at {}: {reason}", binding.topic, binding.brokers);
    let help = match code {
        E::UnknownTopic | E::UnknownTopicOrPartition | E::UnknownPartition | E::UnknownTopicId if !is_silent => {
            return Error::new(Code::NotFound, message).help("the topic was deleted, or never there");
        }
        E::Authentication | E::SaslAuthenticationFailed | E::UnsupportedSASLMechanism => {
            "check `security.protocol`, `sasl.mechanism`, `sasl.username` and `sasl.password` under `options`"
        }
        E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed | E::GroupAuthorizationFailed => {
            "the broker knows the user and does not allow this; it needs an ACL to describe and to read or write the topic"
        }
        E::SSL => "check `security.protocol`, `ssl.ca.location` and the names in the broker's certificate",
        _ => "check that the brokers run, that `brokers` names them, and that `security.protocol` is theirs",
    };
    Error::new(Code::Broker, message).help(help)
}

/// Returns true for codes that only say that no answer came: the notes know why.
pub(super) fn is_silence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(
        code,
        E::BrokerTransportFailure
            | E::AllBrokersDown
            | E::OperationTimedOut
            | E::RequestTimedOut
            | E::MessageTimedOut
            | E::NodeUpdate
            | E::WaitingForCoordinator
            | E::UnknownBroker
            | E::PurgeQueue
            | E::PurgeInflight
    )
}

/// Asks for a topic's partitions. A topic that is not there is `E_NOT_FOUND` and names the nearest that are.
pub(super) fn partitions(binding: &KafkaBinding, consumer: &BaseConsumer<Notes>) -> Result<Vec<i32>> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let metadata = metadata(binding, consumer, Some(&binding.topic))?;
        let topic = metadata.topics().first().ok_or_else(|| {
            Error::new(Code::Broker, format!("{} did not answer about topic {}", binding.brokers, binding.topic))
        })?;
        let code = topic.error().map(RDKafkaErrorCode::from);
        match code {
            None => {
                let mut partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
                partitions.sort_unstable();
                let has_leaders = topic.partitions().iter().all(|partition| partition.leader() >= 0);
                if has_leaders && !partitions.is_empty() {
                    return Ok(partitions);
                }
            }
            // A topic that was just made may have no leader yet.
            Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(no_such_topic(binding, consumer));
            }
            Some(RDKafkaErrorCode::InvalidTopic) => {
                return Err(Error::new(Code::Field, format!("`{}` cannot be the name of a topic", binding.topic)));
            }
            Some(code) => return Err(broker_error(binding, "reading about", code, consumer.context())),
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                Code::Broker,
                format!("a partition of topic {} at {} has no leader", binding.topic, binding.brokers),
            )
            .help("the brokers that hold it are down"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks for the numbers of a topic's partitions, with or without a leader, once. Empty: the brokers do not say now.
pub(super) fn partition_ids(binding: &KafkaBinding, consumer: &BaseConsumer<Notes>) -> Result<Vec<i32>> {
    let metadata = metadata(binding, consumer, Some(&binding.topic))?;
    let topic = metadata.topics().first().filter(|topic| topic.error().is_none());
    let mut ids: Vec<i32> = topic.map_or(&[][..], |topic| topic.partitions()).iter().map(|part| part.id()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Takes note of the events that wait. A poll returns nothing for an event that it has dealt with itself, too, so
/// nothing does not mean that none is left.
pub(super) fn drain(consumer: &BaseConsumer<Notes>) {
    for _ in 0..16 {
        consumer.poll(Duration::ZERO);
    }
}

/// Asks for metadata, in slices of time, so that a refusal is told at once and not when the time is over.
fn metadata(binding: &KafkaBinding, consumer: &BaseConsumer<Notes>, topic: Option<&str>) -> Result<Metadata> {
    let deadline = Instant::now() + ANSWER;
    loop {
        let slice = SLICE.min(deadline.saturating_duration_since(Instant::now()));
        let error = match consumer.fetch_metadata(topic, slice) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        drain(consumer);
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if !is_silence(code) || consumer.context().refusal().is_some() || Instant::now() >= deadline {
            return Err(broker_error(binding, "reading about", code, consumer.context()));
        }
    }
}

fn no_such_topic(binding: &KafkaBinding, consumer: &BaseConsumer<Notes>) -> Error {
    let error = Error::new(Code::NotFound, format!("there is no topic `{}` at {}", binding.topic, binding.brokers));
    let Ok(metadata) = metadata(binding, consumer, None) else { return error };
    let mut names: Vec<(usize, &str)> = metadata
        .topics()
        .iter()
        .map(|topic| topic.name())
        .filter(|name| !name.starts_with("__"))
        .map(|name| (strsim::damerau_levenshtein(name, &binding.topic), name))
        .collect();
    names.sort_unstable();
    let near: Vec<&str> = names.iter().filter(|(distance, _)| *distance <= 3).map(|(_, name)| *name).take(3).collect();
    match (near.is_empty(), names.len()) {
        (false, _) => error.help(format!("did you mean {}?", near.join(", "))),
        (true, 0) => error.help("there are no topics there"),
        (true, _) => {
            let some: Vec<&str> = names.iter().map(|(_, name)| *name).take(8).collect();
            error.help(format!("topics there: {}{}", some.join(", "), if names.len() > 8 { ", …" } else { "" }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(options: &[(&str, &str)]) -> KafkaBinding {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        KafkaBinding { brokers: "127.0.0.1:1".to_string(), topic: "clicks".to_string(), options }
    }

    fn refused(options: &[(&str, &str)]) -> Error {
        let binding = binding(options);
        consumer_config(&binding).and_then(|config| consumer(&binding, &config)).err().expect("it is refused")
    }

    #[test]
    fn options_that_are_ours_are_refused_with_the_reason() {
        for (name, why) in OURS {
            let error = refused(&[(name, "1")]);
            assert_eq!(error.code, Code::Field);
            assert!(error.message.contains(name) && error.message.contains(why), "{error}");
        }
    }

    #[test]
    fn options_that_librdkafka_does_not_take_are_named_and_their_values_are_not_shown() {
        let unknown = refused(&[("sasl.pasword", "hunter2")]);
        assert_eq!(unknown.code, Code::Field);
        assert!(unknown.message.contains("no setting `sasl.pasword`"), "{unknown}");
        let wrong = refused(&[("security.protocol", "hunter2")]);
        assert_eq!(wrong.code, Code::Field);
        assert!(wrong.message.contains("`security.protocol`"), "{wrong}");
        let missing = refused(&[("ssl.ca.location", "/no/such/file.pem"), ("security.protocol", "ssl")]);
        assert_eq!(missing.code, Code::NotFound, "{missing}");
        assert!(missing.message.contains("/no/such/file.pem"), "{missing}");
        for error in [unknown, wrong, missing] {
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_pass_through_and_win_over_our_defaults_but_not_over_the_law() {
        let config = consumer_config(&binding(&[("fetch.wait.max.ms", "7"), ("client.rack", "r1")])).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("client.rack"), Some("r1"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.get("group.id"), None);
    }

    #[test]
    fn a_reason_is_kept_in_place_of_silence() {
        let notes = Notes::default();
        notes.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
        notes.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let error = broker_error(&binding(&[]), "reading", RDKafkaErrorCode::OperationTimedOut, &notes);
        assert!(error.message.ends_with("connection refused") && error.code == Code::Broker, "{error}");
        assert!(notes.all_down());
        notes.clear();
        assert!(!notes.all_down() && notes.last().is_none());
    }
}
