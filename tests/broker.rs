//! Reading and writing a real Kafka broker.
//!
//! These tests need one and are ignored without: `eval "$(tests/services/kafka.sh start)"`, then
//! `cargo test broker -- --include-ignored`. Each makes topics of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::Array;
use connectors::kafka::{KafkaStream, KafkaWriter, Written, create_topic, topic_info};
use connectors::sink;
use engine::edge::{LogStream, Polled, Replace};
use engine::plan::KafkaBinding;
use engine::{Code, Error};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// A record as read: partition, offset, time, key, value.
type Record = (i32, i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see tests/services/kafka.sh"))
}

/// Names a topic that no other test has, and does not make it.
pub(crate) fn binding(name: &str) -> KafkaBinding {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    KafkaBinding { brokers: env("SAMESTREAM_TEST_KAFKA"), topic: format!("{name}-{nanos}"), options: BTreeMap::new() }
}

/// Makes a topic that no other test has.
pub(crate) fn topic(name: &str, partitions: i32) -> KafkaBinding {
    let binding = binding(name);
    create_topic(&binding, Some(partitions), &[]).unwrap();
    // A broker that is busy answers before everybody sees the topic.
    let until = Instant::now() + Duration::from_secs(20);
    while KafkaStream::open(&binding, None, false).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    binding
}

fn with_options(binding: &KafkaBinding, brokers: &str, options: &[(&str, &str)]) -> KafkaBinding {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    KafkaBinding { brokers: brokers.to_string(), topic: binding.topic.clone(), options }
}

/// Writes values to a partition, the n-th with time 1000 + n.
pub(crate) fn write(binding: &KafkaBinding, partition: i32, values: &[&str]) -> Written {
    let mut writer = KafkaWriter::open(binding).unwrap();
    for (n, value) in values.iter().enumerate() {
        writer.send(Some(partition), Some(1000 + n as i64), None, Some(value.as_bytes()), &[]).unwrap();
    }
    writer.flush().unwrap()
}

/// What was read, and the last offset that each partition was said to be delivered to.
#[derive(Default)]
struct Seen {
    records: Vec<Record>,
    reached: BTreeMap<i32, i64>,
    headers: Vec<Vec<(String, Option<Vec<u8>>)>>,
}

impl Seen {
    fn take(&mut self, polled: Vec<Polled>) {
        for polled in polled {
            match polled {
                Polled::Reached(partition, offset) => _ = self.reached.insert(partition, offset),
                Polled::Records(raw) => {
                    let bytes = |array: &arrow::array::BinaryArray, row| {
                        (!array.is_null(row)).then(|| array.value(row).to_vec())
                    };
                    for (row, &offset) in raw.offsets.iter().enumerate() {
                        let (key, value) = (bytes(&raw.keys, row), bytes(&raw.values, row));
                        self.records.push((raw.partition, offset, raw.timestamps[row], key, value));
                    }
                    self.headers.extend(raw.headers);
                }
            }
        }
    }

    fn values(&self) -> Vec<String> {
        self.records.iter().map(|record| String::from_utf8(record.4.clone().unwrap()).unwrap()).collect()
    }

    fn offsets(&self) -> Vec<i64> {
        self.records.iter().map(|record| record.1).collect()
    }
}

/// Reads until every partition was said to be delivered up to its end, which must happen without another record coming.
fn read_to_ends(stream: &mut KafkaStream, starts: &[i64]) -> Seen {
    let ends = stream.ends().unwrap();
    stream.seek(starts).unwrap();
    let mut seen = Seen::default();
    let deadline = Instant::now() + Duration::from_secs(30);
    let partitions = stream.partitions().to_vec();
    while !partitions.iter().zip(&ends).all(|(p, end)| seen.reached.get(p).is_some_and(|reached| reached >= end)) {
        assert!(Instant::now() < deadline, "ends {ends:?} were not reached, only {:?}", seen.reached);
        seen.take(stream.poll(Duration::from_millis(200), 1000).unwrap());
    }
    seen
}

fn read(binding: &KafkaBinding) -> Seen {
    let mut stream = KafkaStream::open(binding, None, false).unwrap();
    let starts = stream.starts().unwrap();
    read_to_ends(&mut stream, &starts)
}

/// Opens a stream and reads until it fails.
fn failure(binding: &KafkaBinding, starts: &[i64]) -> Error {
    let mut stream = match KafkaStream::open(binding, None, false) {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    if let Err(error) = stream.seek(starts) {
        return error;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match stream.poll(Duration::from_millis(200), 1000) {
            Err(error) => return error,
            Ok(_) => assert!(Instant::now() < deadline, "it reads on"),
        }
    }
}

/// A producer in transactions.
pub(crate) struct Transactions {
    producer: BaseProducer,
    topic: String,
}

impl Transactions {
    pub(crate) fn new(binding: &KafkaBinding) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &binding.brokers)
            .set("transactional.id", format!("tx-{}", binding.topic))
            .create()
            .unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        Self { producer, topic: binding.topic.clone() }
    }

    fn begin(&self, partition: i32, values: &[&str]) {
        self.producer.begin_transaction().unwrap();
        for value in values {
            let record = BaseRecord::<str, str>::to(&self.topic).partition(partition).payload(value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    pub(crate) fn commit(&self, partition: i32, values: &[&str]) {
        self.begin(partition, values);
        self.producer.commit_transaction(Duration::from_secs(30)).unwrap();
    }

    pub(crate) fn abort(&self, partition: i32, values: &[&str]) {
        self.begin(partition, values);
        self.producer.abort_transaction(Duration::from_secs(30)).unwrap();
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn what_is_written_is_read_with_keys_times_nulls_and_headers() {
    let binding = topic("round-trip", 3);
    let mut writer = KafkaWriter::open(&binding).unwrap();
    let header = |name: &str, value: Option<&[u8]>| (name.to_string(), value.map(<[u8]>::to_vec));
    let headers = [header("a", Some(b"1")), header("a", None), header("b", Some(b""))];
    writer.send(Some(0), Some(5), Some(b"k"), Some(b"v"), &headers).unwrap();
    writer.send(Some(0), Some(3), Some(b""), None, &[]).unwrap();
    writer.send(Some(2), Some(1_700_000_000_123), None, Some(b""), &[]).unwrap();
    let written = writer.flush().unwrap();
    assert_eq!(written, Written { records: 3, ends: BTreeMap::from([(0, 2), (2, 1)]) });

    let mut stream = KafkaStream::open(&binding, None, true).unwrap();
    assert_eq!(stream.partitions(), [0, 1, 2]);
    assert_eq!(stream.starts().unwrap(), [0, 0, 0]);
    assert_eq!(stream.ends().unwrap(), [2, 0, 1]);
    let mut seen = read_to_ends(&mut stream, &[0, 0, 0]);
    seen.records.sort();
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(
        seen.records,
        [(0, 0, 5, bytes("k"), bytes("v")), (0, 1, 3, bytes(""), None), (2, 0, 1_700_000_000_123, None, bytes("")),]
    );
    assert_eq!(seen.reached, BTreeMap::from([(0, 2), (1, 0), (2, 1)]), "the empty partition is reached too");
    assert!(seen.headers.contains(&headers.to_vec()), "{:?}", seen.headers);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn many_records_of_several_partitions_come_in_order_whatever_the_poll_size() {
    let binding = topic("many", 4);
    let mut writer = KafkaWriter::open(&binding).unwrap();
    for n in 0..40_000_u32 {
        writer.send(Some((n % 4) as i32), Some(0), None, Some(n.to_string().as_bytes()), &[]).unwrap();
    }
    assert_eq!(writer.flush().unwrap().ends, (0..4).map(|p| (p, 10_000)).collect());
    for max in [1000, 7] {
        let mut stream = KafkaStream::open(&binding, None, false).unwrap();
        stream.seek(&[0, 0, 0, 0]).unwrap();
        let mut seen = Seen::default();
        while seen.reached.len() < 4 {
            let polled = stream.poll(Duration::from_secs(10), max).unwrap();
            let count: usize =
                polled.iter().map(|one| if let Polled::Records(raw) = one { raw.offsets.len() } else { 0 }).sum();
            assert!(count <= max);
            seen.take(polled);
        }
        for partition in 0..4 {
            let own: Vec<(i64, u32)> = seen
                .records
                .iter()
                .filter(|record| record.0 == partition)
                .map(|record| (record.1, String::from_utf8_lossy(record.4.as_ref().unwrap()).parse().unwrap()))
                .collect();
            let expected: Vec<(i64, u32)> = (0..10_000).map(|i| (i64::from(i), i * 4 + partition as u32)).collect();
            assert!(own == expected, "partition {partition}");
        }
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_paused_partition_loses_and_repeats_nothing() {
    let binding = topic("pause", 2);
    let values: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    write(&binding, 0, &values);
    write(&binding, 1, &values);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    stream.seek(&[0, 0]).unwrap();
    let mut seen = Seen::default();
    let mut round = 0;
    while seen.reached.len() < 2 {
        round += 1;
        stream.pause(round % 2, true).unwrap();
        stream.pause((round + 1) % 2, false).unwrap();
        if seen.reached.len() == 1 {
            stream.pause(0, false).unwrap();
            stream.pause(1, false).unwrap();
        }
        seen.take(stream.poll(Duration::from_millis(500), 100).unwrap());
        assert!(round < 2000, "{:?}", seen.reached);
    }
    for partition in 0..2 {
        let own: Vec<i64> = seen.records.iter().filter(|record| record.0 == partition).map(|record| record.1).collect();
        assert!(own == (0..5000).collect::<Vec<_>>(), "partition {partition}: {} records", own.len());
    }
}

/// librdkafka's own pause would resume behind the first record that came meanwhile.
#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_partition_paused_at_its_end_misses_nothing_that_comes_later() {
    let binding = topic("pause-end", 1);
    write(&binding, 0, &["a", "b"]);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    let mut seen = read_to_ends(&mut stream, &[0]);
    stream.pause(0, true).unwrap();
    write(&binding, 0, &["c", "d"]);
    seen.take(stream.poll(Duration::from_millis(300), 1000).unwrap());
    assert_eq!(seen.records.len(), 2, "a paused partition is not read");
    stream.pause(0, false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.reached[&0] < 4 {
        assert!(Instant::now() < deadline, "{:?}", seen.reached);
        seen.take(stream.poll(Duration::from_millis(200), 1000).unwrap());
    }
    assert_eq!(seen.values(), ["a", "b", "c", "d"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn aborted_transactions_are_invisible_and_leave_gaps() {
    let binding = topic("aborted", 1);
    let transactions = Transactions::new(&binding);
    transactions.commit(0, &["a", "b"]);
    transactions.abort(0, &["x", "y"]);
    transactions.commit(0, &["c"]);
    transactions.abort(0, &["z"]);
    write(&binding, 0, &["d"]);
    let seen = read(&binding);
    assert_eq!(seen.values(), ["a", "b", "c", "d"]);
    // Records and one marker after each transaction: a0 b1 m2 x3 y4 m5 c6 m7 z8 m9 d10.
    assert_eq!(seen.offsets(), [0, 1, 6, 10]);
    assert_eq!(seen.reached[&0], 11);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn the_end_is_reached_behind_a_commit_marker() {
    let binding = topic("commit-marker", 1);
    Transactions::new(&binding).commit(0, &["a", "b"]);
    let seen = read(&binding);
    assert_eq!((seen.offsets(), seen.reached[&0]), (vec![0, 1], 3));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn the_end_is_reached_behind_an_aborted_batch() {
    let binding = topic("aborted-end", 1);
    let transactions = Transactions::new(&binding);
    transactions.commit(0, &["a"]);
    transactions.abort(0, &["x", "y", "z"]);
    let seen = read(&binding);
    assert_eq!((seen.values(), seen.reached[&0]), (vec!["a".to_string()], 6));
    let only_aborted = topic("only-aborted", 1);
    Transactions::new(&only_aborted).abort(0, &["x"]);
    let seen = read(&only_aborted);
    assert_eq!((seen.values().len(), seen.reached[&0]), (0, 2));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn an_open_transaction_holds_the_end_back() {
    let binding = topic("open-transaction", 1);
    write(&binding, 0, &["a"]);
    let transactions = Transactions::new(&binding);
    transactions.begin(0, &["b"]);
    write(&binding, 0, &["c"]);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    assert_eq!(stream.ends().unwrap(), [1], "the last stable offset, not the high watermark");
    let info = topic_info(&binding).unwrap();
    assert_eq!((info.partitions[0].start, info.partitions[0].end, info.partitions[0].high), (0, 1, 3));
    let mut seen = read_to_ends(&mut stream, &[0]);
    assert_eq!(seen.values(), ["a"]);
    transactions.producer.commit_transaction(Duration::from_secs(30)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while seen.reached[&0] < 4 {
        assert!(Instant::now() < deadline, "{:?}", seen.reached);
        seen.take(stream.poll(Duration::from_millis(200), 1000).unwrap());
    }
    assert_eq!(seen.values(), ["a", "b", "c"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn reading_starts_in_the_middle_and_in_chosen_partitions() {
    let binding = topic("middle", 3);
    for partition in 0..3 {
        write(&binding, partition, &["a", "b", "c"]);
    }
    let mut stream = KafkaStream::open(&binding, Some(&[0, 2]), false).unwrap();
    assert_eq!(stream.partitions(), [0, 2]);
    let mut seen = read_to_ends(&mut stream, &[1, 3]);
    seen.records.sort();
    let places: Vec<(i32, i64)> = seen.records.iter().map(|record| (record.0, record.1)).collect();
    assert_eq!(places, [(0, 1), (0, 2)], "partition 2 is at its end, partition 1 is not read");
    let error = KafkaStream::open(&binding, Some(&[0, 7]), false).err().unwrap();
    assert_eq!(error.code, Code::NotFound, "{error}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_message_arrives_soon_after_it_was_written() {
    let binding = topic("soon", 1);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    let mut seen = read_to_ends(&mut stream, &[0]);
    write(&binding, 0, &["late"]);
    let written = Instant::now();
    while seen.records.is_empty() {
        seen.take(stream.poll(Duration::from_secs(10), 1000).unwrap());
    }
    assert!(
        written.elapsed() < Duration::from_secs(5),
        "a poll returns with the first record: {:?}",
        written.elapsed()
    );
}

fn admin(binding: &KafkaBinding) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &binding.brokers).create().unwrap()
}

fn wait<T>(asked: impl Future<Output = T>) -> T {
    let mut asked = std::pin::pin!(asked);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(answer) = asked.as_mut().poll(&mut context) {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Deletes a topic, and waits until it is gone.
pub(crate) fn drop_topic(binding: &KafkaBinding) {
    wait(admin(binding).delete_topics(&[&binding.topic], &AdminOptions::new())).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while KafkaStream::open(binding, None, false).is_ok() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes the broker forget a group.
pub(crate) fn drop_group(binding: &KafkaBinding, group: &str) {
    let gone = wait(admin(binding).delete_groups(&[group], &AdminOptions::new())).unwrap();
    assert!(gone.into_iter().all(|one| one.is_ok()));
}

pub(crate) fn delete_before(binding: &KafkaBinding, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&binding.topic, 0, Offset::Offset(offset)).unwrap();
    wait(admin(binding).delete_records(&list, &AdminOptions::new())).unwrap();
}

/// Gives a topic so many partitions in all.
pub(crate) fn grow(binding: &KafkaBinding, partitions: usize) {
    let more = NewPartitions::new(&binding.topic, partitions);
    let done = wait(admin(binding).create_partitions([&more], &AdminOptions::new())).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_partition_that_is_added_is_noticed_unless_the_source_names_its_own() {
    let binding = topic("grow", 1);
    let mut whole = KafkaStream::open(&binding, None, false).unwrap();
    let mut named = KafkaStream::open(&binding, Some(&[0]), false).unwrap();
    assert_eq!(whole.ends().unwrap(), [0]);
    grow(&binding, 3);
    let since = Instant::now();
    let error = loop {
        match whole.ends() {
            Ok(_) if since.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(100)),
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.code, Code::PartitionsChanged);
    assert!(error.message.contains("has 3 partitions now; this run started with 1"), "{}", error.message);
    assert_eq!(named.ends().unwrap(), [0]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn an_offset_that_is_gone_or_not_there_yet_is_a_gap_never_a_jump() {
    let binding = topic("gap", 1);
    write(&binding, 0, &["a", "b", "c", "d"]);
    delete_before(&binding, 2);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    assert_eq!(stream.starts().unwrap(), [2]);
    let gone = failure(&binding, &[1]);
    assert_eq!(gone.code, Code::Gap, "{gone}");
    assert!(gone.message.contains("offset 1") && gone.message.contains("2 to 4"), "{gone}");
    let beyond = failure(&binding, &[5]);
    assert_eq!(beyond.code, Code::Gap, "{beyond}");
    assert_eq!(read_to_ends(&mut stream, &[2]).values(), ["c", "d"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn records_deleted_under_a_reader_are_a_gap() {
    let binding = topic("deleted-under", 1);
    write(&binding, 0, &["a"; 10]);
    let mut stream = KafkaStream::open(&binding, None, false).unwrap();
    read_to_ends(&mut stream, &[0]);
    stream.pause(0, true).unwrap();
    write(&binding, 0, &["b"; 10]);
    delete_before(&binding, 15);
    stream.pause(0, false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let error = loop {
        match stream.poll(Duration::from_millis(200), 1000) {
            Err(error) => break error,
            Ok(polled) => {
                assert!(
                    !polled.iter().any(|one| matches!(one, Polled::Records(_))),
                    "it jumped over the gap: {polled:?}"
                );
                assert!(Instant::now() < deadline, "no error");
            }
        }
    };
    assert_eq!(error.code, Code::Gap, "{error}");
    assert!(error.message.contains("offset 10"), "{error}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn an_unknown_topic_is_named_with_the_nearest() {
    let there = topic("nearly", 1);
    let mut wrong = there.clone();
    wrong.topic = there.topic.replacen("nearly", "neatly", 1);
    for error in [
        KafkaStream::open(&wrong, None, false).err().unwrap(),
        KafkaWriter::open(&wrong).err().unwrap(),
        topic_info(&wrong).unwrap_err(),
    ] {
        assert_eq!(error.code, Code::NotFound, "{error}");
        assert!(error.message.contains(&wrong.topic), "{error}");
        assert!(error.help.as_ref().is_some_and(|help| help.contains(&there.topic)), "{error}");
    }
    assert!(topic_info(&wrong).is_err(), "asking does not make it");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_broker_that_is_not_there_is_said_to_be_unreachable_in_good_time() {
    // Port 1 of the loopback: nothing listens there.
    let nobody = with_options(&binding("nobody"), "127.0.0.1:1", &[]);
    for open in [
        (|binding: &KafkaBinding| KafkaStream::open(binding, None, false).err().unwrap()) as fn(&KafkaBinding) -> Error,
        |binding| KafkaWriter::open(binding).err().unwrap(),
    ] {
        let started = Instant::now();
        let error = open(&nobody);
        assert_eq!(error.code, Code::Broker, "{error}");
        assert!(error.message.contains("127.0.0.1:1") && error.message.contains("refused"), "{error}");
        assert!(error.help.is_some());
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn tls_is_spoken_and_a_wrong_authority_is_refused() {
    let plain = topic("tls", 2);
    let (brokers, ca) = (env("SAMESTREAM_TEST_KAFKA_SSL"), env("SAMESTREAM_TEST_KAFKA_CA"));
    let tls = with_options(&plain, &brokers, &[("security.protocol", "ssl"), ("ssl.ca.location", &ca)]);
    write(&tls, 1, &["sealed"]);
    assert_eq!(read(&tls).values(), ["sealed"]);
    assert_eq!(topic_info(&tls).unwrap().partitions.len(), 2);
    let error = failure(&with_options(&plain, &brokers, &[("security.protocol", "ssl")]), &[0, 0]);
    assert_eq!(error.code, Code::Broker, "{error}");
    assert!(error.message.contains("certificate"), "{error}");
    let error = failure(&with_options(&plain, &brokers, &[]), &[0, 0]);
    assert_eq!(error.code, Code::Broker, "plaintext to a TLS port: {error}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn sasl_is_spoken_and_a_wrong_password_is_refused_and_not_shown() {
    let plain = topic("sasl", 1);
    let (brokers, sealed) = (env("SAMESTREAM_TEST_KAFKA_SASL"), env("SAMESTREAM_TEST_KAFKA_SASL_SSL"));
    let (ca, user) = (env("SAMESTREAM_TEST_KAFKA_CA"), env("SAMESTREAM_TEST_KAFKA_USER"));
    let password = env("SAMESTREAM_TEST_KAFKA_PASSWORD");
    let options = |protocol: &'static str, mechanism: &'static str, password: &str| {
        with_options(
            &plain,
            if protocol == "sasl_ssl" { &sealed } else { &brokers },
            &[
                ("security.protocol", protocol),
                ("sasl.mechanism", mechanism),
                ("sasl.username", &user),
                ("sasl.password", password),
                ("ssl.ca.location", &ca),
            ],
        )
    };
    let ways = [("sasl_plaintext", "PLAIN"), ("sasl_plaintext", "SCRAM-SHA-256"), ("sasl_ssl", "SCRAM-SHA-256")];
    for (count, (protocol, mechanism)) in ways.into_iter().enumerate() {
        let good = options(protocol, mechanism, &password);
        write(&good, 0, &[mechanism]);
        assert_eq!(read(&good).values().len(), count + 1, "{protocol} {mechanism}");
        let error = failure(&options(protocol, mechanism, "wrong-secret"), &[0]);
        assert_eq!(error.code, Code::Broker, "{error}");
        assert!(error.message.to_lowercase().contains("authentication"), "{error}");
        assert!(!error.to_string().contains("wrong-secret"), "{error}");
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_says_how_long_it_keeps_records() {
    let binding = binding("settings");
    create_topic(&binding, Some(2), &[("retention.ms", "3600000"), ("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    let info = topic_info(&binding).unwrap();
    assert_eq!((info.retention_ms, info.retention_bytes, info.is_compacted), (Some(3_600_000), None, false));
    assert!(info.has_broker_time && info.is_empty() && info.partitions.len() == 2);
    write(&binding, 0, &["a"]);
    assert!(!topic_info(&binding).unwrap().is_empty());
    let again = create_topic(&binding, Some(2), &[]).unwrap_err();
    assert_eq!(again.code, Code::Target, "{again}");
    let other = topic("for-ever", 1);
    let info = topic_info(&other).unwrap();
    assert_eq!((info.retention_ms, info.has_broker_time), (None, false), "this broker keeps records for ever");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_record_too_large_for_the_topic_is_an_error_of_the_writer() {
    let binding = binding("small");
    create_topic(&binding, Some(1), &[("max.message.bytes", "1000")]).unwrap();
    let mut writer = KafkaWriter::open(&binding).unwrap();
    // Of no pattern, so that it stays large when packed.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(5000)
    .collect();
    let error =
        writer.send(Some(0), None, None, Some(&noise), &[]).and_then(|()| writer.flush().map(|_| ())).unwrap_err();
    assert_eq!(error.code, Code::Target, "{error}");
}

pub(crate) mod sinks {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
    use engine::plan::{Input, SinkPlan, SinkTarget};
    use engine::{DataType, Field, Schema};

    use super::*;

    fn plan(binding: &KafkaBinding, settings: &[(&str, &str)]) -> SinkPlan {
        let mut all = BTreeMap::from([
            ("brokers".to_string(), binding.brokers.clone()),
            ("topic".to_string(), binding.topic.clone()),
        ]);
        all.extend(settings.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        SinkPlan {
            name: "views".to_string(),
            input: Input::Step(0),
            filter: None,
            select: None,
            schema: Schema::new(vec![Field::new("page", DataType::String), Field::new("views", DataType::Int64)]),
            identity: vec!["page".to_string()],
            early: false,
            target: SinkTarget { kind: "kafka".to_string(), settings: all },
        }
    }

    fn rows(rows: &[(&str, i64)], is_final: bool) -> RecordBatch {
        let columns: [(&str, ArrayRef); 3] = [
            ("page", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
            ("views", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
            ("final", Arc::new(BooleanArray::from(vec![is_final; rows.len()]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    pub(crate) fn messages(binding: &KafkaBinding) -> Vec<String> {
        let text = |bytes: Option<Vec<u8>>| bytes.map_or("-".to_string(), |bytes| String::from_utf8(bytes).unwrap());
        read(binding).records.into_iter().map(|record| format!("{} {}", text(record.3), text(record.4))).collect()
    }

    #[test]
    #[ignore = "needs SAMESTREAM_TEST_KAFKA"]
    fn final_rows_are_messages_keyed_by_identity() {
        let binding = topic("sink", 1);
        let mut sink = sink::open(&plan(&binding, &[]), &sink::Context::default()).unwrap();
        sink.begin(Replace::All).unwrap();
        sink.stage(&rows(&[("a", 1), ("b", 2)], true)).unwrap();
        sink.stage_open(&rows(&[("c", 3)], false)).unwrap();
        assert_eq!(messages(&binding).len(), 0, "nothing before the commit");
        sink.commit(1).unwrap();
        sink.stage(&rows(&[("b", 2)], true)).unwrap();
        sink.commit(1).unwrap();
        assert_eq!(
            messages(&binding),
            [
                r#"{"page":"a"} {"page":"a","views":1,"final":true}"#,
                r#"{"page":"b"} {"page":"b","views":2,"final":true}"#
            ]
        );
    }

    #[test]
    #[ignore = "needs SAMESTREAM_TEST_KAFKA"]
    fn a_missing_topic_is_made_and_key_columns_are_the_users() {
        let binding = binding("sink-made");
        let mut sink = sink::open(&plan(&binding, &[("key", "views, page")]), &sink::Context::default()).unwrap();
        sink.begin(Replace::All).unwrap();
        sink.stage(&rows(&[("a", 1)], true)).unwrap();
        sink.commit(1).unwrap();
        assert_eq!(messages(&binding), [r#"{"views":1,"page":"a"} {"page":"a","views":1,"final":true}"#]);
        let error = sink::open(&plan(&binding, &[("key", "colour")]), &sink::Context::default()).err().unwrap();
        assert_eq!(error.code, Code::Name, "{error}");
    }

    #[test]
    #[ignore = "needs SAMESTREAM_TEST_KAFKA"]
    fn open_rows_are_taken_back_by_tombstones_also_by_the_next_run() {
        let binding = topic("sink-open", 1);
        let state = tempfile::tempdir().unwrap();
        let context = sink::Context { state: Some(state.path().to_path_buf()), ..sink::Context::default() };
        let plan = plan(&binding, &[("open_rows", "true")]);
        let mut first = sink::open(&plan, &context).unwrap();
        first.begin(Replace::All).unwrap();
        first.stage_open(&rows(&[("a", 1), ("b", 1), ("c", 1)], false)).unwrap();
        first.commit(1).unwrap();
        drop(first);
        let mut second = sink::open(&plan, &context).unwrap();
        second.begin(Replace::Nothing).unwrap();
        second.stage(&rows(&[("a", 5)], true)).unwrap();
        second.stage_open(&rows(&[("c", 2)], false)).unwrap();
        second.commit(2).unwrap();
        assert_eq!(
            messages(&binding)[3..],
            [
                r#"{"page":"a"} {"page":"a","views":5,"final":true}"#,
                r#"{"page":"b"} -"#,
                r#"{"page":"c"} {"page":"c","views":2,"final":false}"#
            ]
        );
    }
}
