//! The main job over a real Kafka broker: topic to stream, topic to lake to batch, journal – one result.
//!
//! Ignored without a broker, like the tests of `broker`.

use std::path::Path;
use std::process::Output;

use engine::plan::KafkaBinding;
use serde_json::Value;

use crate::broker::{Transactions, binding, grow, topic};
use crate::cli::{samestream, stderr};

/// The pipeline of these tests over some bindings, and `partitions:` if given.
fn pipeline(folder: &Path, name: &str, bindings: &str) -> String {
    let text = format!(
        r#"
version: 1
name: job
sources:
  clicks:
{bindings}
    format: json
    schema:
      event_id: string!
      user_id: int64!
      page: string!
      action: string
      amount: float64
      event_time: timestamp!
    event_time: {{column: event_time, out_of_orderness: 30s}}
steps:
  per_page:
    from: clicks
    where: "page <> ''"
    window: {{hopping: {{size: 2m, every: 1m}}}}
    group_by: [page]
    aggregate: {{views: "count(*)", visitors: "count_distinct(user_id)", revenue: "sum(amount)", entry: "first(event_id)", exit: "last(event_id)"}}
  visits:
    from: clicks
    window: {{session: {{gap: 30s}}}}
    group_by: [user_id]
    aggregate: {{clicks: "count(*)", spent: "sum(amount)", where_from: "first(page)"}}
  top:
    from: per_page
    window: same
    aggregate: {{views: "sum(views)", best: "max(revenue)"}}
sinks:
  pages: {{from: per_page, jsonl: {{path: "{out}/pages"}}}}
  visits: {{from: visits, parquet: {{path: "{out}/visits"}}}}
  top: {{from: top, csv: {{path: "{out}/top.csv"}}}}
"#,
        out = folder.join("out").display()
    );
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    samestream(folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}\n{}", stderr(&output));
}

fn summary(folder: &Path, pipeline: &str, mode: &str) -> Value {
    let file = folder.join("summary.json").display().to_string();
    let mut arguments = vec!["run", pipeline, "--mode", mode, "--summary", &file];
    if mode == "stream" {
        // The pipelines of a test have one name, and none goes on where another one ended.
        arguments.extend(["--until-caught-up", "--fresh"]);
    }
    ok(folder, &arguments);
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// What must be equal of two runs.
fn results(summary: &Value) -> Vec<&Value> {
    let names = [
        "definition",
        "digest_final",
        "digest_all",
        "digests",
        "digest_late",
        "digest_bad",
        "rows_read",
        "start",
        "end",
        "windows",
    ];
    names.iter().map(|name| &summary[name]).collect()
}

fn kafka(binding: &KafkaBinding) -> String {
    format!("    kafka: {{brokers: \"{}\", topic: \"{}\"}}", binding.brokers, binding.topic)
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn topic_lake_and_journal_give_one_result() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let binding = binding("job");
    let size = ["--events", "40000", "--partitions", "3", "--seed", "7", "--late", "3%", "--bad", "1%"];
    let to_topic = format!("kafka:{}/{}", binding.brokers, binding.topic);
    let to_journal = format!("journal:{}/log", folder.display());
    ok(folder, &[&["gen", "--to", &to_topic], &size[..]].concat());
    ok(folder, &[&["gen", "--to", &to_journal], &size[..]].concat());

    let lake = format!("    lake: {{path: \"{}/lake\"}}", folder.display());
    let topic = pipeline(folder, "topic", &format!("{}\n{lake}", kafka(&binding)));
    let journal = pipeline(folder, "journal", &format!("    journal: {{path: \"{}/log\"}}", folder.display()));

    let streamed = summary(folder, &topic, "stream");
    ok(folder, &["archive", &topic, "--until-caught-up", "--roll-rows", "5000"]);
    let batched = summary(folder, &topic, "batch");
    assert_eq!(results(&streamed), results(&batched));
    for mode in ["stream", "batch"] {
        assert_eq!(results(&streamed), results(&summary(folder, &journal, mode)), "the journal as {mode}");
    }
    assert_eq!(streamed["rows_read"], 40000);
    for count in ["rows_late", "rows_bad", "windows"] {
        assert!(streamed[count].as_u64().unwrap() > 0, "{count} says nothing");
    }
    ok(folder, &["verify", &topic]);

    // More comes: archive goes on where the lake ends, and both sides agree again.
    let more = ["--events", "9000", "--partitions", "3", "--seed", "8"];
    ok(folder, &[&["gen", "--to", &format!("journal:{}/more", folder.display())], &more[..]].concat());
    let source = pipeline(
        folder,
        "more",
        &format!("    journal: {{path: \"{0}/more\"}}\n    lake: {{path: \"{0}/more-lake\"}}", folder.display()),
    );
    ok(folder, &["archive", &source, "--until-caught-up"]);
    ok(folder, &["archive", &source, "--until-caught-up"]);
    ok(folder, &["verify", &source]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn markers_gaps_and_an_empty_partition_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let binding = topic("markers", 3);
    let events = |partition: i64, from: i64, count: i64| -> Vec<String> {
        (from..from + count)
            .map(|n| {
                let second = n * 5 - (n % 7) * 11;
                format!(
                    r#"{{"event_id":"{partition}-{n}","user_id":{},"page":"/p{}","amount":{}.1,"event_time":{}}}"#,
                    n % 5,
                    n % 3,
                    n % 17,
                    second * 1000
                )
            })
            .collect()
    };
    let values = |events: &[String]| -> Vec<String> { events.to_vec() };
    let transactions = Transactions::new(&binding);
    let send = |partition: i32, from: i64, count: i64, is_kept: bool| {
        let events = values(&events(partition as i64, from, count));
        let values: Vec<&str> = events.iter().map(String::as_str).collect();
        if is_kept { transactions.commit(partition, &values) } else { transactions.abort(partition, &values) }
    };
    // Partition 0 has a gap and ends in a commit marker, partition 1 ends in an aborted batch, partition 2 stays empty.
    // The aborted records lie far in the future: were they seen, everything after them would be late.
    send(0, 0, 100, true);
    send(0, 100_000, 50, false);
    send(0, 100, 100, true);
    send(1, 0, 150, true);
    send(1, 200_000, 20, false);

    let lake = format!("    lake: {{path: \"{}/lake\"}}", folder.display());
    for (name, only) in [("all", ""), ("some", "\n    partitions: [0, 1]")] {
        let pipeline = pipeline(folder, name, &format!("{}\n{lake}{only}", kafka(&binding)));
        let streamed = summary(folder, &pipeline, "stream");
        ok(folder, &["archive", &pipeline, "--until-caught-up"]);
        let batched = summary(folder, &pipeline, "batch");
        assert_eq!(results(&streamed), results(&batched), "{name}");
        assert_eq!(streamed["rows_read"], 350);
        assert_eq!(streamed["end"]["clicks"]["1"], 172, "the end lies past the aborted batch and both markers");
        let is_held = name == "all";
        assert_eq!(streamed["windows"] == 0, is_held, "an empty partition holds finality, unless it is not read");
        if is_held {
            assert_eq!(streamed["held_by"]["partition"], 2);
        }
        ok(folder, &["verify", &pipeline]);
    }

    // The lake's offsets have gaps; a journal keeps them, a topic does not and says so.
    let replayed =
        pipeline(folder, "replayed", &format!("{lake}\n    journal: {{path: \"{}/log\"}}", folder.display()));
    ok(folder, &["replay", &replayed]);
    ok(folder, &["verify", &replayed]);
    let target = topic("replayed", 3);
    let to_topic = pipeline(folder, "to-topic", &format!("{lake}\n{}", kafka(&target)));
    let output = run(folder, &["replay", &to_topic]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("_offset"), "offsets are new there, and replay says so: {}", stderr(&output));
    let again = run(folder, &["replay", &to_topic]);
    assert_eq!(again.status.code(), Some(2), "a target that holds records is refused");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_stream_stops_when_its_topic_gets_a_partition() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let binding = topic("growing", 2);
    let job = pipeline(folder, "growing", &kafka(&binding));
    let mut command = samestream(folder);
    command.args(["run", &job, "--mode", "stream"]).stderr(std::process::Stdio::piped());
    let mut running = command.spawn().unwrap();
    // The state folder is locked when the topic's partitions are known.
    let lock = folder.join(".samestream/job/stream/lock");
    let since = std::time::Instant::now();
    let is_over = |since: std::time::Instant| since.elapsed() > std::time::Duration::from_secs(60);
    while !lock.exists() && !is_over(since) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(lock.exists());
    grow(&binding, 3);
    while running.try_wait().unwrap().is_none() && !is_over(since) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // Nothing happens to a run that has ended by itself.
    let _ = running.kill();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).contains("error[E_PARTITIONS_CHANGED]"), "{}", stderr(&output));
    assert!(stderr(&output).contains("partitions: [...]"), "{}", stderr(&output));
}
