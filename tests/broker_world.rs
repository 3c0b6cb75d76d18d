//! What can happen to a topic and to those who may use it, under a stream or before one: hand-over from the lake, records that
//! are deleted, permissions that are taken away, and a process that sleeps in the middle of a transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use connectors::kafka::KafkaWriter;
use engine::plan::KafkaBinding;

use crate::broker::{delete_before, topic};
use crate::broker_exact::{Kind, assert_same, counted, lines, read, signal};
use crate::broker_proxy::{Plan, Proxy};
use crate::cli::{samestream, stderr, stdout};
use crate::servers::Service;

/// A topic in three partitions, a step whose rows name the records that they are made of, and a topic for these rows.
struct World {
    folder: tempfile::TempDir,
    input: KafkaBinding,
    output: KafkaBinding,
}

/// How a pipeline comes to its brokers.
#[derive(Clone, Default)]
struct Way {
    brokers: Option<String>,
    /// Settings of the source's client and of the sink's.
    options: String,
    /// Settings of the sink.
    sink: String,
}

impl Way {
    /// As the user whom ACLs are about.
    fn of_user() -> Self {
        let env = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let (user, password) = (env("SAMESTREAM_TEST_KAFKA_USER"), env("SAMESTREAM_TEST_KAFKA_PASSWORD"));
        let options = format!(
            ", options: {{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: {user}, sasl.password: {password}}}"
        );
        Self { brokers: Some(env("SAMESTREAM_TEST_KAFKA_SASL")), options, sink: String::new() }
    }
}

impl World {
    fn new(name: &str) -> Self {
        let (input, output) = (topic(&format!("{name}-in"), 3), topic(&format!("{name}-out"), 1));
        let world = Self { folder: tempfile::tempdir().unwrap(), input, output };
        world.write_pipeline(&Way::default());
        world
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    fn write_pipeline(&self, way: &Way) {
        let text = format!(
            r#"version: 1
name: world
sources:
  events:
    kafka: {{brokers: "{brokers}", topic: {input}{options}}}
    lake: {{path: lake}}
    schema: {{id: int64!, page: string!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 2s}}
steps:
  shadow:
    from: events
    window: {{tumbling: {{size: 5s}}}}
    group_by: [page]
    aggregate: {{ids: "array_agg(id)", seen: "count(*)"}}
sinks:
  file: {{from: shadow, jsonl: {{path: out/file}}}}
  topic: {{from: shadow, kafka: {{brokers: "{brokers}", topic: {output}{options}{sink}}}}}
"#,
            brokers = way.brokers.as_ref().unwrap_or(&self.input.brokers),
            input = self.input.topic,
            output = self.output.topic,
            options = way.options,
            sink = way.sink,
        );
        std::fs::write(self.at().join("world.yaml"), text).unwrap();
    }

    /// Writes records with those ids, one each 100 ms of event time; some are out of order, some late.
    fn produce(&self, ids: std::ops::Range<i64>) {
        self.produce_to(ids, |id| (id % 3) as i32);
    }

    fn produce_to(&self, ids: std::ops::Range<i64>, partition: fn(i64) -> i32) {
        let mut writer = KafkaWriter::open(&self.input).unwrap();
        for id in ids.clone() {
            let back = if id % 67 == 66 { 30_000 } else { id * 7919 % 1_500 };
            let at = 1_767_225_600_000 + id * 100 - back;
            let value = format!(r#"{{"id":{id},"page":"/{}","at":{at}}}"#, id % 5);
            writer
                .send(Some(partition(id)), Some(at), Some(id.to_string().as_bytes()), Some(value.as_bytes()), &[])
                .unwrap();
        }
        // Every record was confirmed by the broker: what is missed later is not the test's own loss.
        assert_eq!(writer.flush().unwrap().records, ids.count() as u64);
    }

    fn run(&self, line: &str) -> Output {
        samestream(self.at()).args(line.split_whitespace()).output().unwrap()
    }

    fn ok(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    }

    fn spawn(&self, line: &str) -> Child {
        let mut command = samestream(self.at());
        command.args(line.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Checks an exit code, the word of the error, and that all of these are said.
    fn refused(output: &Output, exit: i32, code: &str, says: &[&str]) {
        let text = stderr(output);
        assert_eq!(output.status.code(), Some(exit), "{text}");
        assert!(text.contains(&format!("error[{code}]")), "{text}");
        says.iter().for_each(|says| assert!(text.contains(says), "`{says}` is not said: {text}"));
    }

    fn summary(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(self.at().join(name)).unwrap()).unwrap()
    }

    fn same(&self, one: &str, other: &str) {
        let keys = ["start", "end", "definition", "digest_final", "digest_all", "digests", "digest_late", "rows_read"];
        let (one, other) = (self.summary(one), self.summary(other));
        keys.iter().for_each(|key| assert_eq!(one[key], other[key], "{key}"));
        assert!(one["rows_late"].as_u64() > Some(0), "no record is late, so lateness is not compared");
    }

    /// Compares the stream that has written that summary with a batch run over the lake, and each row of the topic with the
    /// rows of that.
    fn must_equal_batch(&self, summary: &str) {
        self.ok("archive world.yaml --until-caught-up");
        let end = format!("--end {summary} --out batch --state-dir .batch --summary batch.json");
        self.ok(&format!("run world.yaml --mode batch {end}"));
        let batch = self.summary("batch.json");
        for key in ["digest_final", "digest_all", "digest_late", "rows_read", "end"] {
            assert_eq!(self.summary(summary)[key], batch[key], "{key}");
        }
        self.topic_must_hold("batch");
    }

    /// Checks that the final rows of a folder are in the topic, each once.
    fn topic_must_hold(&self, folder: &str) {
        let values = read(&self.output).into_iter().filter_map(|(_, value)| value);
        let finals = counted(values.filter(|value| value.contains("\"final\":true")));
        assert_same(&finals, &lines(&self.at().join(folder).join("topic"), Kind::Final));
    }

    fn rows(&self) -> BTreeMap<String, u32> {
        match self.at().join("out/file").exists() {
            true => lines(&self.at().join("out/file"), Kind::All),
            false => BTreeMap::new(),
        }
    }

    /// Waits until the stream has written rows.
    fn wait_for_rows(&self, child: &mut Child) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.rows().is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "the stream has ended");
            assert!(Instant::now() < until, "no rows came");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs one of Kafka's own programs.
fn tool(class: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kafka.sh");
    let brokers = std::env::var("SAMESTREAM_TEST_KAFKA").unwrap();
    let done =
        Command::new(script).args(["tool", class, "--bootstrap-server", &brokers]).args(arguments).output().unwrap();
    assert!(done.status.success(), "{class} {arguments:?}: {}{}", stdout(&done), stderr(&done));
}

/// Forbids something to the user until it is dropped.
struct Denied(Vec<String>);

impl Denied {
    fn new(resource: &str, name: &str, operation: &str) -> Self {
        let user = format!("User:{}", std::env::var("SAMESTREAM_TEST_KAFKA_USER").unwrap());
        let acl = [resource, name, "--deny-principal", &user, "--operation", operation].map(String::from).to_vec();
        Self::change("--add", &acl);
        // Without another one, what has an ACL is closed to all.
        Self::change("--add", &[resource, name, "--allow-principal", &user, "--operation", "All"].map(String::from));
        Self(acl)
    }

    fn change(verb: &str, acl: &[String]) {
        let mut arguments = vec![verb];
        arguments.extend(acl.iter().map(String::as_str));
        tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    fn allow(self) {
        let mut acl = self.0;
        acl.push("--force".into());
        Self::change("--remove", &acl);
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn lake_then_the_brokers_topic_is_the_topic_from_the_beginning() {
    let world = World::new("handover");
    world.produce(0..3_000);
    world.ok("archive world.yaml --until-caught-up");
    let copied = Command::new("cp").args(["-r", "lake", "lake-then"]).current_dir(world.at()).status().unwrap();
    assert!(copied.success());
    world.produce(3_000..5_000);
    world.ok("run world.yaml --mode stream --bootstrap lake --until-caught-up --summary handover.json");
    world.produce(5_000..6_000);
    world.ok("run world.yaml --mode stream --until-caught-up --summary handover.json");
    world.ok("run world.yaml --mode stream --until-caught-up --state-dir .whole --out whole --summary whole.json");
    world.same("handover.json", "whole.json");
    world.topic_must_hold("whole");

    // The topic forgets what the lake has: up to where the lake ends there is no hole, past it there is.
    let use_lake = |name: &str| {
        std::fs::remove_dir_all(world.at().join("lake")).unwrap();
        std::fs::rename(world.at().join(name), world.at().join("lake")).unwrap();
    };
    use_lake("lake-then");
    delete_before(&world.input, 1_000);
    let again = "run world.yaml --mode stream --bootstrap lake --until-caught-up --state-dir .again --out again";
    world.ok(&format!("{again} --summary again.json"));
    world.same("again.json", "whole.json");
    delete_before(&world.input, 1_010);
    let output = world.run(&format!("{again} --fresh"));
    World::refused(&output, 3, "E_GAP", &["partition 0", "offsets 1000 .. 1010 are in neither", "--mode batch"]);
    // Without the lake the stream would replace its results by those of a shorter log.
    let output = world.run("run world.yaml --mode stream --until-caught-up --fresh");
    World::refused(&output, 2, "E_ORIGIN", &["--bootstrap lake", "--start"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn records_that_the_broker_deletes_under_a_stream_that_is_behind_end_it() {
    let world = World::new("behind");
    world.produce(0..600);
    let mut running = world.spawn("run world.yaml --mode stream --checkpoint-every 50ms");
    world.wait_for_rows(&mut running);
    // It sleeps, and an answer to what it asked before comes at once.
    signal(&running, "-STOP");
    std::thread::sleep(Duration::from_secs(1));
    world.produce(600..6_000);
    world.ok("archive world.yaml --until-caught-up");
    delete_before(&world.input, 1_500);
    signal(&running, "-CONT");
    let output = running.wait_with_output().unwrap();
    World::refused(&output, 3, "E_GAP", &["partition 0", "1500"]);
    // So says a start; the way that it names gives all.
    let output = world.run("run world.yaml --mode stream --until-caught-up");
    World::refused(&output, 3, "E_GAP", &["to 1499 are gone", "--fresh --bootstrap lake"]);
    world.ok("run world.yaml --mode stream --until-caught-up --fresh --bootstrap lake --out anew --summary anew.json");
    world.ok("run world.yaml --mode batch --end anew.json --out batch --state-dir .batch --summary batch.json");
    world.same("anew.json", "batch.json");
    assert_eq!(world.summary("anew.json")["rows_read"], 6_000);
}

/// The transaction is open when the process falls asleep: its last request waits in the network.
#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_process_that_sleeps_longer_than_its_transaction_may_take_goes_on_by_another_one() {
    let proxy = Proxy::start();
    let world = World::new("asleep");
    let way = Way { brokers: Some(proxy.address.clone()), sink: ", transaction_timeout: 2s".into(), ..Way::default() };
    world.write_pipeline(&way);
    world.produce(0..2_000);
    let before = proxy.ends();
    let mut running =
        world.spawn("run world.yaml --mode stream --checkpoint-every 50ms --until-caught-up --summary stream.json");
    // The claim, then the first epoch.
    let until = Instant::now() + Duration::from_secs(60);
    while proxy.ends() < before + 1 {
        assert!(running.try_wait().unwrap().is_none() && Instant::now() < until, "no transaction ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.plan(Plan::Delay);
    while !proxy.has_happened() {
        assert!(running.try_wait().unwrap().is_none() && Instant::now() < until, "no request was delayed");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&running, "-STOP");
    // Brokers look every ten seconds for transactions that have taken too long.
    std::thread::sleep(Duration::from_secs(14));
    proxy.let_go();
    signal(&running, "-CONT");
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    world.write_pipeline(&Way::default());
    world.must_equal_batch("stream.json");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn what_the_broker_does_not_allow_is_said_at_once_with_what_to_allow() {
    let world = World::new("denied");
    world.write_pipeline(&Way::of_user());
    world.produce(0..600);
    let id = format!("samestream-world-topic-{}", world.output.topic);
    let stream = "run world.yaml --mode stream --until-caught-up --checkpoint-every 50ms";
    for (resource, name, operation, says) in [
        ("--topic", world.input.topic.as_str(), "Read", [world.input.topic.as_str(), "ACL"]),
        ("--topic", &world.input.topic, "Describe", [&world.input.topic, "ACL"]),
        ("--topic", &world.output.topic, "Write", [&world.output.topic, "ACL"]),
        ("--transactional-id", &id, "Write", [&id, "ACL"]),
        ("--group", &id, "Read", [&id, "ACL"]),
    ] {
        let denied = Denied::new(resource, name, operation);
        let begun = Instant::now();
        let output = world.run(stream);
        println!("{operation} of {name} denied, after {:?}: {}", begun.elapsed(), stderr(&output));
        World::refused(&output, 4, "E_BROKER", &says);
        assert!(begun.elapsed() < Duration::from_secs(30), "{operation} of {name}: {:?}", begun.elapsed());
        denied.allow();
    }
    // Allowed, and then taken away under a stream that runs.
    let mut running = world.spawn("run world.yaml --mode stream --checkpoint-every 50ms");
    world.wait_for_rows(&mut running);
    let denied = Denied::new("--topic", &world.output.topic, "Write");
    world.produce(600..1_200);
    let begun = Instant::now();
    let output = running.wait_with_output().unwrap();
    World::refused(&output, 4, "E_BROKER", &[&world.output.topic, "ACL"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    denied.allow();
    let denied = Denied::new("--topic", &world.input.topic, "Read");
    let output = world.run(stream);
    World::refused(&output, 4, "E_BROKER", &[&world.input.topic, "ACL"]);
    denied.allow();
    world.ok(&format!("{stream} --summary stream.json"));
    world.must_equal_batch("stream.json");
}

/// As a batch run over a lake that has it, a stream waits for a partition that has no records: it may hold the oldest one.
#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_silent_partition_of_the_broker_holds_back_what_is_final_and_loses_nothing() {
    let world = World::new("silent");
    // All but one partition.
    world.produce_to(0..6_000, |id| (id % 2) as i32);
    let mut running = world.spawn("run world.yaml --mode stream --checkpoint-every 50ms --metrics 0");
    let mut address = String::new();
    let mut said = std::io::BufReader::new(running.stderr.take().unwrap());
    while !address.contains("http://") {
        address.clear();
        assert!(
            std::io::BufRead::read_line(&mut said, &mut address).unwrap() > 0,
            "it has not said where its numbers are"
        );
    }
    let url = address.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_string();
    let until = Instant::now() + Duration::from_secs(60);
    let read = loop {
        let text = page(&url);
        let records: f64 =
            text.lines().filter(|line| line.starts_with("samestream_source_records_total")).map(number).sum();
        if records == 6_000.0 {
            break text;
        }
        assert!(Instant::now() < until, "only {records} records were read");
        std::thread::sleep(Duration::from_millis(200));
    };
    let held = read.lines().find(|line| line.starts_with("samestream_watermark_held")).unwrap_or_default();
    assert!(held.contains("partition=\"2\"") && held.contains("no_records"), "{held}");
    assert!(world.rows().is_empty(), "nothing is final while a partition may hold anything");
    world.produce_to(6_000..6_600, |_| 2);
    world.wait_for_rows(&mut running);
    signal(&running, "-INT");
    assert!(running.wait().unwrap().success());
    world.ok("run world.yaml --mode stream --until-caught-up --summary stream.json");
    world.must_equal_batch("stream.json");
}

fn number(line: &str) -> f64 {
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Asks for a page.
fn page(url: &str) -> String {
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    text
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_stream_whose_broker_is_away_for_long_ends_and_goes_on_when_it_is_back() {
    // One of its own: the other tests go on.
    let broker = Service::broker(40);
    let brokers = broker.variable("SAMESTREAM_TEST_KAFKA");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = format!(
        "version: 1\nname: away\nsources:\n  clicks:\n    kafka: {{brokers: \"{brokers}\", topic: clicks}}\n    schema: {{page: string!, event_time: timestamp!}}\n    event_time: {{column: event_time, out_of_orderness: 30s}}\nsteps:\n  views: {{from: clicks, window: {{tumbling: {{size: 1s}}}}, group_by: [page], aggregate: {{views: \"count(*)\"}}}}\nsinks:\n  views: {{from: views, jsonl: {{path: views.jsonl}}}}\n"
    );
    std::fs::write(at.join("away.yaml"), text).unwrap();
    let run = |line: &str| samestream(at).args(line.split_whitespace()).output().unwrap();
    let made = run(&format!("gen --to kafka:{brokers}/clicks --events 20000 --rate 100"));
    assert!(made.status.success(), "{}", stderr(&made));
    let whole =
        run("run away.yaml --mode stream --until-caught-up --state-dir .whole --out whole --summary whole.json");
    assert!(whole.status.success(), "{}", stderr(&whole));

    let line = ["run", "away.yaml", "--mode", "stream", "--checkpoint-every", "200ms"];
    let stream = samestream(at).args(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(at.join("views.jsonl")).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < until, "no row");
        std::thread::sleep(Duration::from_millis(50));
    }
    broker.call("stop");
    let ended = stream.wait_with_output().unwrap();
    let text = stderr(&ended);
    assert_eq!(ended.status.code(), Some(4), "{text}");
    assert!(text.contains("error[E_BROKER]") && text.contains("check that the brokers run"), "{text}");
    broker.call("start");
    let back = run("run away.yaml --mode stream --until-caught-up --summary back.json");
    assert!(back.status.success(), "{}", stderr(&back));
    let digest = |name: &str| {
        let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(at.join(name)).unwrap()).unwrap();
        (summary["digest_all"].clone(), summary["rows_read"].clone())
    };
    assert_eq!(digest("back.json"), digest("whole.json"));
}
