//! The same job over a topic of a real broker and over a journal of it: the same digests, the same file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::Array;
use connectors::journal::Journal;
use connectors::kafka::KafkaStream;
use engine::edge::{LogStream, Polled};
use engine::plan::KafkaBinding;
use pipeline::Variables;
use runtime::{Mode, RunOptions, Summary};

use crate::broker::{Transactions, topic, write};

const PIPELINE: &str = r#"
version: 1
name: over_kafka
sources:
  clicks:
    kafka: {brokers: "BROKERS", topic: TOPIC}
    journal: {path: "LOG"}
    format: json
    schema: {page: string!, amount: float64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 5s}
    partitions: PARTITIONS
steps:
  per_page:
    from: clicks
    window: {hopping: {size: 1m, every: 20s}}
    group_by: [page]
    aggregate: {views: "count(*)", revenue: "sum(amount)", last: "last(amount)"}
  visits:
    from: clicks
    window: {session: {gap: 10s}}
    aggregate: {clicks: "count(*)"}
sinks:
  pages: {from: per_page, jsonl: {path: "OUT/pages.jsonl"}}
  visits: {from: visits, csv: {path: "OUT/visits"}}
"#;

/// Fills a topic with three partitions: 0 and 1 by transactions, every third of them aborted, with bad records among
/// them, 0 ending in a commit marker and 1 in an aborted batch; 2 stays empty.
fn fill(binding: &KafkaBinding) {
    let transactions = Transactions::new(binding);
    let mut number = 0_i64;
    for round in 0..30 {
        let partition = round % 2;
        let values: Vec<String> = (0..40)
            .map(|_| {
                number += 1;
                let at = number * 150 + (number * 7919) % 23_000;
                match number % 97 {
                    0 => "{not json".to_string(),
                    _ => format!(r#"{{"page":"/{}","amount":{}e-1,"at":{at}}}"#, number % 5, number % 31),
                }
            })
            .collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        match round % 3 {
            2 => transactions.abort(partition, &values),
            _ => transactions.commit(partition, &values),
        }
    }
    write(binding, 0, &["null"]);
    transactions.commit(0, &[r#"{"page":"/end","amount":1,"at":200000}"#]);
    transactions.commit(1, &[r#"{"page":"/end","amount":1,"at":200000}"#]);
    transactions.abort(1, &[r#"{"page":"/never","amount":1,"at":900000}"#]);
}

/// Copies a topic into a journal, offset for offset, and returns the topic's ends.
fn copy(binding: &KafkaBinding, journal: &Journal) -> Vec<i64> {
    let mut stream = KafkaStream::open(binding, None, true).unwrap();
    let ends = stream.ends().unwrap();
    stream.seek(&vec![0; ends.len()]).unwrap();
    let mut writer = journal.writer().unwrap();
    let mut missing = ends.len();
    let deadline = Instant::now() + Duration::from_secs(30);
    while missing > 0 {
        assert!(Instant::now() < deadline, "the ends are not reached");
        for polled in stream.poll(Duration::from_millis(200), 500).unwrap() {
            match polled {
                Polled::Reached(partition, offset) => {
                    writer.advance(partition, offset).unwrap();
                    missing -= usize::from(offset == ends[partition as usize]);
                }
                Polled::Records(raw) => {
                    for (row, &offset) in raw.offsets.iter().enumerate() {
                        let bytes = |array: &arrow::array::BinaryArray| {
                            (!array.is_null(row)).then(|| array.value(row).to_vec())
                        };
                        let (key, value) = (bytes(&raw.keys), bytes(&raw.values));
                        let time = raw.timestamps[row];
                        writer.append_at(offset, raw.partition, time, key.as_deref(), value.as_deref(), &[]).unwrap();
                    }
                }
            }
        }
    }
    writer.commit().unwrap();
    ends
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_topic_and_a_journal_of_it_give_the_same_digests_and_files() {
    let binding = topic("job", 3);
    fill(&binding);
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path().join("log"), 3).unwrap();
    let ends = copy(&binding, &journal);
    assert_eq!(ends[2], 0);

    let run = |partitions: &str, has_topic: bool, mode: Mode| -> (Summary, Vec<String>) {
        let out = folder.path().join(format!("out-{has_topic}-{mode:?}"));
        let mut text = PIPELINE
            .replace("BROKERS", &binding.brokers)
            .replace("TOPIC", &binding.topic)
            .replace("PARTITIONS", partitions)
            .replace("LOG", journal.path().to_str().unwrap())
            .replace("OUT", out.to_str().unwrap());
        if !has_topic {
            text = text.lines().filter(|line| !line.trim().starts_with("kafka:")).collect::<Vec<_>>().join("\n");
        }
        let loaded = pipeline::load("job.yaml", &text, &Variables::default());
        let plan = Arc::new(loaded.unwrap_or_else(|errors| panic!("{errors:?}")).plan);
        let mut options = RunOptions::new(mode);
        options.until_caught_up = true;
        options.state_dir = folder.path().join("state");
        // The runs are of different logs, so none goes on where another one ended.
        options.fresh = mode == Mode::Stream;
        let summary = runtime::run(&plan, &options, &()).unwrap().summary;
        let pages = std::fs::read_to_string(out.join("pages.jsonl")).unwrap();
        let mut rows: Vec<String> = pages.lines().map(String::from).collect();
        rows.sort();
        (summary, rows)
    };

    for partitions in ["[0, 1]", "[0, 1, 2]"] {
        let (topic, topic_rows) = run(partitions, true, Mode::Stream);
        assert!(topic.ended, "the ends behind a commit marker and an aborted batch are reached");
        // 20 transactions of 40 records were committed, and three records at the end.
        assert_eq!(topic.rows_read, 803);
        assert!(topic.rows_bad > 1 && topic.rows_late > 0, "{} bad, {} late", topic.rows_bad, topic.rows_late);
        assert_eq!(topic.windows > 0, partitions == "[0, 1]", "an empty partition holds everything");
        let end = serde_json::to_value(&topic.end).unwrap().to_string();
        assert!(end.contains(&ends[0].to_string()) && end.contains(&ends[1].to_string()), "{end}");
        for (has_topic, mode) in [(false, Mode::Stream), (false, Mode::Batch)] {
            let (other, other_rows) = run(partitions, has_topic, mode);
            let digests = |summary: &Summary| {
                [&summary.digest_final, &summary.digest_all, &summary.digest_late, &summary.digest_bad]
                    .map(String::clone)
            };
            assert_eq!(digests(&other), digests(&topic), "{partitions} {mode:?}");
            assert_eq!((&other.start, &other.end, &other.definition), (&topic.start, &topic.end, &topic.definition));
            assert!(other_rows == topic_rows, "{partitions} {mode:?}");
        }
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA"]
fn a_run_writes_open_rows_to_a_topic_and_the_next_run_takes_them_back() {
    let binding = topic("open-rows", 1);
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path().join("log"), 1).unwrap();
    let text = format!(
        r#"
version: 1
name: open_rows
sources:
  clicks:
    journal: {{path: "{}"}}
    format: json
    schema: {{page: string!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 0s}}
steps:
  visits: {{from: clicks, window: {{session: {{gap: 10s}}}}, group_by: [page], aggregate: {{views: "count(*)"}}}}
sinks:
  out: {{from: visits, kafka: {{brokers: "{}", topic: "{}", open_rows: true}}}}
"#,
        journal.path().display(),
        binding.brokers,
        binding.topic
    );
    let plan = Arc::new(pipeline::load("open.yaml", &text, &Variables::default()).unwrap().plan);
    // The first session is open at the end of the first run; the second run finds that it was longer.
    for (seconds, mode) in [(&[1, 5][..], Mode::Stream), (&[12, 60], Mode::Batch)] {
        let mut writer = journal.writer().unwrap();
        for second in seconds {
            let value = format!(r#"{{"page":"/a","at":{}}}"#, second * 1000);
            writer.append(0, 0, None, Some(value.as_bytes()), &[]).unwrap();
        }
        writer.commit().unwrap();
        drop(writer);
        let mut options = RunOptions::new(mode);
        options.until_caught_up = true;
        options.state_dir = folder.path().join("state");
        runtime::run(&plan, &options, &()).unwrap();
    }
    let key = |start: &str, end: &str| {
        let time = |text: &str| format!("1970-01-01T00:{text}.000000Z");
        format!(r#""window_start":"{}","window_end":"{}","page":"/a""#, time(start), time(end))
    };
    let (short, whole, last) = (key("00:01", "00:15"), key("00:01", "00:22"), key("01:00", "01:10"));
    assert_eq!(
        crate::broker::sinks::messages(&binding),
        [
            format!(r#"{{{short}}} {{{short},"views":2,"final":false}}"#),
            format!(r#"{{{whole}}} {{{whole},"views":3,"final":true}}"#),
            format!(r#"{{{short}}} -"#),
            format!(r#"{{{last}}} {{{last},"views":1,"final":false}}"#),
        ]
    );
}
