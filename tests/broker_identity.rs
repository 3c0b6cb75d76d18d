//! A stream goes on with the log that it has read, and with no other one of that name.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use connectors::kafka::create_topic;
use engine::plan::KafkaBinding;

use crate::broker::{binding, delete_before, drop_topic, topic, write};
use crate::cli::{samestream, stderr};

const RUN: [&str; 6] = ["run", "log.yaml", "--mode", "stream", "--checkpoint-every", "50ms"];

fn project(binding: &KafkaBinding) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"version: 1
name: log
sources:
  events:
    kafka: {{brokers: "{}", topic: {}}}
    schema: {{id: int64!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 0s}}
steps:
  counted: {{from: events, window: {{tumbling: {{size: 10s}}}}, aggregate: {{n: "count(*)"}}}}
sinks:
  counted: {{from: counted, jsonl: {{path: out.jsonl}}}}
"#,
        binding.brokers, binding.topic
    );
    std::fs::write(folder.path().join("log.yaml"), text).unwrap();
    folder
}

/// Writes records with those ids, one a second.
fn records(binding: &KafkaBinding, ids: std::ops::Range<i64>) {
    let values: Vec<String> =
        ids.map(|id| format!(r#"{{"id":{id},"at":{}}}"#, 1_767_225_600_000 + id * 1000)).collect();
    write(binding, 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
}

fn caught_up(folder: &Path) -> Output {
    samestream(folder).args(RUN).arg("--until-caught-up").output().unwrap()
}

fn refused(output: &Output, code: &str, exit: i32, says: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(text.contains(&format!("error[{code}]")) && text.contains(says), "{text}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_that_the_broker_made_anew_is_refused_by_its_id() {
    let binding = topic("identity", 1);
    let folder = project(&binding);
    records(&binding, 0..40);
    assert!(caught_up(folder.path()).status.success());
    records(&binding, 40..50);
    assert!(caught_up(folder.path()).status.success(), "the same topic with more records");
    drop_topic(&binding);
    create_topic(&binding, Some(1), &[]).unwrap();
    // The same records, and more: only the id tells.
    records(&binding, 0..60);
    refused(&caught_up(folder.path()), "E_TOPIC_ID", 5, "deleted and made anew");
    let fresh = samestream(folder.path()).args(RUN).args(["--until-caught-up", "--fresh"]).output().unwrap();
    assert!(fresh.status.success(), "{}", stderr(&fresh));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn records_that_the_broker_deleted_before_they_were_read_are_named() {
    let binding = topic("identity-gap", 1);
    let folder = project(&binding);
    records(&binding, 0..40);
    assert!(caught_up(folder.path()).status.success());
    records(&binding, 40..60);
    // Up to what was read nothing is missing.
    delete_before(&binding, 40);
    assert!(caught_up(folder.path()).status.success());
    records(&binding, 60..80);
    delete_before(&binding, 70);
    refused(&caught_up(folder.path()), "E_GAP", 3, "the records from 60 to 69 are gone");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_that_the_broker_compacts_is_refused_before_anything_is_written() {
    for policy in ["compact", "compact,delete"] {
        let binding = binding("identity-compacted");
        create_topic(&binding, Some(1), &[("cleanup.policy", policy)]).unwrap();
        let folder = project(&binding);
        refused(&caught_up(folder.path()), "E_COMPACTED", 3, "deletes old values of a key");
        assert!(!folder.path().join("out.jsonl").exists());
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_that_the_broker_makes_anew_under_a_stream_ends_it() {
    let binding = topic("identity-live", 1);
    let folder = project(&binding);
    records(&binding, 0..40);
    let running = samestream(folder.path()).args(RUN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let rows = || std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap_or_default().lines().count();
    let until = Instant::now() + Duration::from_secs(60);
    while rows() < 3 {
        assert!(Instant::now() < until, "no rows came");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop_topic(&binding);
    create_topic(&binding, Some(1), &[]).unwrap();
    records(&binding, 100..200);
    let output = running.wait_with_output().unwrap();
    let text = stderr(&output);
    // Which of the signs is seen first depends on the moment; it must be one of a log that is not there any more.
    let known = [("E_TOPIC_ID", 5), ("E_NOT_FOUND", 2), ("E_GAP", 3)];
    let is_known =
        |(code, exit): &(&str, i32)| text.contains(&format!("error[{code}]")) && output.status.code() == Some(*exit);
    assert!(known.iter().any(is_known), "{text}");
    assert_eq!(rows(), 3, "nothing of the other topic is among the rows");
}
