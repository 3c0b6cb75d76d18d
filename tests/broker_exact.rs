//! Each row once into a topic, whatever ends a run: read by a client of its own, which sees committed records only.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::plan::KafkaBinding;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{binding, topic};
use crate::broker_proxy::{Plan, Proxy};
use crate::cli::{samestream, stderr, stdout};
use crate::servers::{Service, survives_points};

/// Two sinks: rows that are final only, with the records that each is made of, and rows that are shown before and taken back.
fn pipeline(brokers: &str, shadow: &str, visits: &str, settings: &str) -> String {
    format!(
        r#"version: 1
name: exact
sources:
  clicks:
    journal: {{path: log}}
    schema: {{event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 30s}}
steps:
  records:
    from: clicks
    select: [page, {{record: "cast(_partition as string) || '@' || cast(_offset as string)"}}, event_time]
  shadow:
    from: records
    window: {{tumbling: {{size: 10s}}}}
    group_by: [page]
    aggregate: {{records: "array_agg(record)"}}
  visits:
    from: clicks
    window: {{session: {{gap: 2m}}}}
    group_by: [user_id]
    aggregate: {{clicks: "count(*)", entry: "first(page)"}}
sinks:
  shadow: {{from: shadow, kafka: {{brokers: "{brokers}", topic: {shadow}{settings}}}}}
  visits: {{from: visits, emit: early, kafka: {{brokers: "{brokers}", topic: {visits}, open_rows: true{settings}}}}}
"#
    )
}

struct Job {
    folder: tempfile::TempDir,
    shadow: KafkaBinding,
    visits: KafkaBinding,
}

impl Job {
    fn new(events: u32, brokers: Option<&str>, settings: &str) -> Self {
        let (shadow, visits) = (topic("exact-shadow", 3), topic("exact-visits", 1));
        let job = Self { folder: tempfile::tempdir().unwrap(), shadow, visits };
        job.write_pipeline(brokers.unwrap_or(&job.shadow.brokers), settings);
        let events = events.to_string();
        let line = ["gen", "--to", "journal:log", "--events", &events, "--late", "3%", "--bad", "0.5%"];
        let made = samestream(job.at()).args(line).args(["--rate", "50", "--keys", "300"]).output().unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        job
    }

    fn write_pipeline(&self, brokers: &str, settings: &str) {
        let text = pipeline(brokers, &self.shadow.topic, &self.visits.topic, settings);
        std::fs::write(self.at().join("exact.yaml"), text).unwrap();
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, line: &str) -> std::process::Output {
        samestream(self.at()).args(line.split_whitespace()).output().unwrap()
    }

    fn ok(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    }

    /// Starts a stream that keeps a checkpoint often.
    fn start(&self) -> Child {
        let line = ["run", "exact.yaml", "--mode", "stream", "--until-caught-up", "--checkpoint-every", "50ms"];
        samestream(self.at()).args(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn newest_checkpoint(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.at().join(".samestream/exact/stream/checkpoints")).ok()?;
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".json") && name != "told.json").max()
    }

    /// Waits for a checkpoint after the last one.
    fn wait_for_checkpoint(&self, last: &Option<String>) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.newest_checkpoint() == *last {
            assert!(Instant::now() < until, "no checkpoint after {last:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Compares what stands in the topics with what a batch run writes into files.
    fn must_equal_batch(&self) {
        self.ok("run exact.yaml --mode batch --out batch --state-dir batch-state");
        let batch =
            |sink: &str, kind: Kind| -> BTreeMap<String, u32> { lines(&self.at().join("batch").join(sink), kind) };
        let shadow = counted(read(&self.shadow).into_iter().map(|(_, value)| value.unwrap()));
        assert_same(&shadow, &batch("shadow", Kind::Final));
        let visits = read(&self.visits);
        let finals =
            visits.iter().filter_map(|(_, value)| value.clone()).filter(|value| value.contains("\"final\":true"));
        assert_same(&counted(finals), &batch("visits", Kind::Final));
        // The last value of each key, as compaction leaves it: the final rows, and the open ones of the end.
        let mut last: BTreeMap<String, Option<String>> = BTreeMap::new();
        last.extend(visits.into_iter().map(|(key, value)| (key.unwrap(), value)));
        assert_same(&counted(last.into_values().flatten()), &batch("visits", Kind::All));
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Final,
    All,
}

pub(crate) fn counted(values: impl Iterator<Item = String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

/// The rows in the JSON lines of a folder.
pub(crate) fn lines(folder: &Path, kind: Kind) -> BTreeMap<String, u32> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = files.filter(|file| file.file_name().to_string_lossy().ends_with(".jsonl"));
    let texts: Vec<String> = names.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
    let all = texts.iter().flat_map(|text| text.lines()).map(String::from);
    counted(all.filter(|line| kind == Kind::All || line.contains("\"final\":true")))
}

/// Names every row that is lost, extra or there more than once.
pub(crate) fn assert_same(found: &BTreeMap<String, u32>, expected: &BTreeMap<String, u32>) {
    assert!(!expected.is_empty(), "a comparison with nothing says nothing");
    let differs = |(row, count): &(&String, &u32), other: &BTreeMap<String, u32>| other.get(*row) != Some(*count);
    let lost: Vec<_> = expected.iter().filter(|one| differs(one, found)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|one| differs(one, expected)).take(5).collect();
    assert!(
        lost.is_empty() && extra.is_empty(),
        "of {} rows {} were found; expected and not found so often: {lost:#?}; found and not expected so often: {extra:#?}",
        expected.values().sum::<u32>(),
        found.values().sum::<u32>()
    );
}

/// Reads the committed records of a topic, partition by partition.
pub(crate) fn read(binding: &KafkaBinding) -> Vec<(Option<String>, Option<String>)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &binding.brokers)
        .set("group.id", "reader-of-tests")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(&binding.topic), Duration::from_secs(20)).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(&binding.topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut ended, mut records) = (0, Vec::new());
    let until = Instant::now() + Duration::from_secs(60);
    while ended < list.count() {
        assert!(Instant::now() < until, "the topic's end is not reached");
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                records.push((text(message.key()), text(message.payload())));
            }
        }
    }
    records
}

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_stream_that_dies_at_every_point_gives_the_topics_every_row_once() {
    let job = Job::new(60_000, None, "");
    let stream = |points: &str| {
        let line = ["run", "exact.yaml", "--mode", "stream", "--until-caught-up", "--checkpoint-every", "20ms"];
        samestream(job.at()).env("FAILPOINTS", points).args(line).output().unwrap()
    };
    survives_points("kafka", stream, || job.must_equal_batch());
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn killed_again_and_again_each_row_is_in_the_broker_once() {
    let job = Job::new(150_000, None, "");
    let (mut fresh, mut last) = (0, None);
    for cycle in 0..6u64 {
        let child = job.start();
        job.wait_for_checkpoint(&last);
        std::thread::sleep(Duration::from_millis(cycle * 37 % 200));
        kill(child);
        let now = job.newest_checkpoint();
        fresh += u32::from(now != last);
        last = now;
    }
    assert_eq!(fresh, 6, "each start found a newer checkpoint");
    job.ok("run exact.yaml --mode stream --until-caught-up");
    job.must_equal_batch();
    // Another run has nothing to add; a batch run adds its rows in one transaction.
    let before = read(&job.shadow).len();
    job.ok("run exact.yaml --mode stream --until-caught-up");
    assert_eq!(read(&job.shadow).len(), before);
    job.ok("run exact.yaml --mode batch");
    assert!(read(&job.shadow).len() > before);
    // After which the job cannot know what is its own.
    let output = job.run("run exact.yaml --mode stream --until-caught-up");
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("E_SINK_DIVERGED"), "{}", stderr(&output));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn killed_again_and_again_no_row_is_missing_in_the_broker() {
    let job = Job::new(100_000, None, ", delivery: at_least_once");
    let mut last = None;
    for cycle in 0..4u64 {
        let child = job.start();
        job.wait_for_checkpoint(&last);
        std::thread::sleep(Duration::from_millis(cycle * 37 % 100));
        kill(child);
        last = job.newest_checkpoint();
    }
    job.ok("run exact.yaml --mode stream --until-caught-up");
    job.ok("run exact.yaml --mode batch --out batch --state-dir batch-state");
    let rows = |binding: &KafkaBinding| counted(read(binding).into_iter().map(|(_, value)| value.unwrap()));
    let once =
        |rows: BTreeMap<String, u32>| -> BTreeMap<String, u32> { rows.into_keys().map(|row| (row, 1)).collect() };
    assert_same(&once(rows(&job.shadow)), &once(lines(&job.at().join("batch/shadow"), Kind::Final)));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_row_that_is_final_waits_for_no_checkpoint_on_its_way_to_the_broker() {
    let job = Job::new(20_000, None, ", delivery: at_least_once");
    let line = ["run", "exact.yaml", "--mode", "stream", "--checkpoint-every", "1h"];
    let mut child = samestream(job.at()).args(line).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while read(&job.shadow).is_empty() {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "no row came");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(child);
    assert_eq!(job.newest_checkpoint(), None);
    assert!(read(&job.visits).is_empty(), "a final row that may take the place of an open one waits");
    // None of it was kept, so all of it is made again, and is the same.
    job.ok("run exact.yaml --mode stream --until-caught-up");
    job.ok("run exact.yaml --mode batch --out batch --state-dir batch-state");
    let counts = counted(read(&job.shadow).into_iter().map(|(_, value)| value.unwrap()));
    assert!(counts.values().any(|count| *count > 1), "the run that was killed had published");
    let rows: BTreeMap<String, u32> = counts.into_keys().map(|row| (row, 1)).collect();
    assert_same(&rows, &lines(&job.at().join("batch/shadow"), Kind::Final));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_run_that_slept_while_another_went_on_adds_nothing_to_the_broker() {
    let job = Job::new(150_000, None, "");
    let sleeper = job.start();
    job.wait_for_checkpoint(&None);
    signal(&sleeper, "-STOP");
    // The other one has a copy of the state, as after a move to another machine.
    let copied = Command::new("cp").args(["-r", ".samestream", "moved"]).current_dir(job.at()).status().unwrap();
    assert!(copied.success());
    job.ok("run exact.yaml --mode stream --until-caught-up --state-dir moved");
    let before = (read(&job.shadow), read(&job.visits));
    signal(&sleeper, "-CONT");
    let output = sleeper.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("E_STATE_BUSY") && stderr(&output).contains("another run"), "{}", stderr(&output));
    let sorted = |mut records: Vec<(Option<String>, Option<String>)>| {
        records.sort();
        records
    };
    assert_eq!(sorted(read(&job.shadow)), sorted(before.0));
    assert_eq!(sorted(read(&job.visits)), sorted(before.1));
    job.must_equal_batch();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_commit_whose_answer_is_lost_by_the_broker_is_not_repeated() {
    let proxy = Proxy::start();
    let job = Job::new(200_000, Some(&proxy.address), "");
    let child = job.start();
    let until = Instant::now() + Duration::from_secs(60);
    // Two claims, then epochs of both sinks.
    while proxy.ends() < 4 {
        assert!(Instant::now() < until, "only {} transactions ended", proxy.ends());
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.plan(Plan::LoseAnswer);
    while !proxy.has_happened() {
        assert!(Instant::now() < until, "no answer was lost");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(child);
    job.ok("run exact.yaml --mode stream --until-caught-up");
    job.must_equal_batch();
}

/// The case that Jepsen found: the request to commit arrives when the next transaction has begun. Once, or as often as
/// SAMESTREAM_TEST_TRIALS says.
#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_commit_that_reaches_the_broker_late_changes_nothing() {
    let trials = std::env::var("SAMESTREAM_TEST_TRIALS").map_or(1, |trials| trials.parse().unwrap());
    for trial in 1..=trials {
        a_commit_is_late(trial % 4);
        println!("{trial} of {trials} trials");
    }
}

/// Delays the end of a transaction after some others.
fn a_commit_is_late(others: u32) {
    let proxy = Proxy::start();
    let job = Job::new(200_000, Some(&proxy.address), ", transaction_timeout: 6s");
    let child = job.start();
    let until = Instant::now() + Duration::from_secs(60);
    while proxy.ends() < 3 + others {
        assert!(Instant::now() < until, "only {} transactions ended", proxy.ends());
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.plan(Plan::Delay);
    while !proxy.has_happened() {
        assert!(Instant::now() < until, "no request was delayed");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The run goes on by a new producer; the old request is let go in the middle of that one's transactions.
    let ends = proxy.ends();
    let until = Instant::now() + Duration::from_secs(60);
    while proxy.ends() < ends + 1 {
        assert!(Instant::now() < until, "the run does not go on");
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.let_go();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    job.must_equal_batch();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_bad_network_to_the_broker_costs_time_only() {
    let proxy = Proxy::start();
    let job = Job::new(200_000, Some(&proxy.address), "");
    let child = job.start();
    let until = Instant::now() + Duration::from_secs(120);
    // The two claims: a start that meets such a network says so and ends.
    while proxy.ends() < 2 {
        assert!(Instant::now() < until, "{} transactions", proxy.ends());
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.rough(true);
    while proxy.breaks() < 3 {
        assert!(Instant::now() < until, "{} transactions, {} breaks", proxy.ends(), proxy.breaks());
        std::thread::sleep(Duration::from_millis(10));
    }
    proxy.rough(false);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    job.must_equal_batch();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_broker_that_goes_away_and_comes_back_costs_time_only() {
    // One of its own: the other tests go on.
    let broker = Service::broker(20);
    let at = broker.variable("SAMESTREAM_TEST_KAFKA");
    let here = |name: &str| KafkaBinding { brokers: at.clone(), ..binding(name) };
    let (shadow, visits) = (here("restart-shadow"), here("restart-visits"));
    let job = Job { folder: tempfile::tempdir().unwrap(), shadow, visits };
    job.write_pipeline(&at, "");
    let line = ["gen", "--to", "journal:log", "--events", "150000", "--rate", "50", "--keys", "300"];
    assert!(samestream(job.at()).args(line).output().unwrap().status.success());
    let mut child = job.start();
    job.wait_for_checkpoint(&None);
    job.wait_for_checkpoint(&job.newest_checkpoint());
    broker.call("stop");
    broker.call("start");
    assert!(child.try_wait().unwrap().is_none(), "the run had work left");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    job.must_equal_batch();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_of_the_sink_that_the_broker_made_anew_is_named() {
    let job = Job::new(3_000, None, "");
    job.ok("run exact.yaml --mode stream --until-caught-up");
    crate::broker::drop_topic(&job.shadow);
    connectors::kafka::create_topic(&job.shadow, Some(3), &[]).unwrap();
    let output = job.run("run exact.yaml --mode stream --until-caught-up");
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("E_SINK_DIVERGED") && stderr(&output).contains("made anew"),
        "{}",
        stderr(&output)
    );
    job.ok("run exact.yaml --mode stream --until-caught-up --fresh");
    let shadow = counted(read(&job.shadow).into_iter().map(|(_, value)| value.unwrap()));
    job.ok("run exact.yaml --mode batch --out batch --state-dir batch-state");
    assert_same(&shadow, &lines(&job.at().join("batch/shadow"), Kind::Final));
}

/// As after a rest of more than `offsets.retention.minutes`.
#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_job_goes_on_when_the_broker_has_forgotten_what_it_published() {
    let job = Job::new(20_000, None, "");
    job.ok("run exact.yaml --mode stream --until-caught-up --end clicks:0=2000,1=2000,2=2000,3=1000");
    for (sink, binding) in [("shadow", &job.shadow), ("visits", &job.visits)] {
        crate::broker::drop_group(binding, &format!("samestream-exact-{sink}-{}", binding.topic));
    }
    job.ok("run exact.yaml --mode stream --until-caught-up");
    job.must_equal_batch();
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_broker_that_refuses_the_transactions_is_explained() {
    let job = Job::new(20_000, None, ", transaction_timeout: 20m");
    let output = job.run("run exact.yaml --mode stream --until-caught-up");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("transaction.max.timeout.ms"), "{}", stderr(&output));
    // Without transactions nothing of that is asked.
    job.write_pipeline(&job.shadow.brokers, ", delivery: at_least_once");
    job.ok("run exact.yaml --mode stream --until-caught-up --fresh");
    job.must_equal_batch();
}
