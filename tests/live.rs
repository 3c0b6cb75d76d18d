//! A stream that runs: rows appear in the sink as windows become final, and a stop ends it cleanly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use connectors::journal::{Journal, JournalWriter};
use pipeline::Variables;
use runtime::{Mode, Report, RunOptions};

const PIPELINE: &str = r#"
version: 1
name: live
sources:
  clicks:
    journal: {path: "${LOG}"}
    format: json
    schema: {page: string!, amount: float64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10s}
steps:
  per_page:
    from: clicks
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: "count(*)", revenue: "sum(amount)"}
sinks:
  out: {from: per_page, jsonl: {path: "${OUT}"}}
vars:
  LOG: {default: ""}
  OUT: {default: ""}
"#;

fn plan(folder: &Path) -> Arc<engine::plan::Plan> {
    plan_of(PIPELINE, folder)
}

fn early_plan(folder: &Path) -> Arc<engine::plan::Plan> {
    plan_of(&PIPELINE.replace("from: per_page,", "from: per_page, emit: early,"), folder)
}

fn plan_of(text: &str, folder: &Path) -> Arc<engine::plan::Plan> {
    let text = text
        .replace("${LOG}", &folder.join("log").display().to_string())
        .replace("${OUT}", &folder.join("out.jsonl").display().to_string());
    match pipeline::load("live.yaml", &text, &Variables::default()) {
        Ok(loaded) => Arc::new(loaded.plan),
        Err(errors) => panic!("{errors:?}"),
    }
}

/// Starts a stream that publishes often and runs until it is told to stop.
fn stream(folder: &Path, plan: Arc<engine::plan::Plan>) -> (JoinHandle<Report>, Arc<AtomicBool>) {
    let mut options = RunOptions::new(Mode::Stream);
    options.state_dir = folder.join("state");
    options.settings.checkpoint_every = Duration::from_millis(50);
    let stop = options.settings.stop.clone();
    (std::thread::spawn(move || runtime::run(&plan, &options, &()).unwrap()), stop)
}

fn append(writer: &mut JournalWriter, partition: i32, page: &str, amount: f64, second: i64) {
    let value = format!(r#"{{"page":"{page}","amount":{amount},"at":{}}}"#, second * 1000);
    writer.append(partition, second * 1000, None, Some(value.as_bytes()), &[]).unwrap();
}

fn lines(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
    text.lines().map(String::from).collect()
}

#[test]
fn rows_appear_as_windows_become_final_and_a_stop_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path().join("log"), 2).unwrap();
    let mut writer = journal.writer().unwrap();
    append(&mut writer, 0, "/a", 0.1, 5);
    append(&mut writer, 1, "/a", 0.2, 6);
    append(&mut writer, 0, "/b", 1.0, 7);
    writer.commit().unwrap();

    let (running, stop) = stream(folder.path(), plan(folder.path()));

    // The minute is over for both partitions: its rows must come while the stream goes on.
    append(&mut writer, 0, "/a", 0.0, 80);
    append(&mut writer, 1, "/a", 0.0, 75);
    writer.commit().unwrap();
    let patience = Instant::now() + Duration::from_secs(240);
    while lines(folder.path()).len() < 2 {
        assert!(Instant::now() < patience, "no rows came: {:?}", lines(folder.path()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!running.is_finished());
    stop.store(true, Ordering::Relaxed);
    let report = running.join().unwrap();

    let expected = [
        r#"{"window_start":"1970-01-01T00:00:00.000000Z","window_end":"1970-01-01T00:01:00.000000Z","page":"/a","views":2,"revenue":0.30000000000000004,"final":true}"#,
        r#"{"window_start":"1970-01-01T00:00:00.000000Z","window_end":"1970-01-01T00:01:00.000000Z","page":"/b","views":1,"revenue":1.0,"final":true}"#,
    ];
    assert_eq!(lines(folder.path()), expected);
    assert!(!report.summary.ended, "a stopped run did not reach an end");
    assert_eq!(report.summary.windows, 1);
    let held = report.summary.held_by.unwrap();
    assert_eq!((held.source.as_str(), held.partition), ("clicks", 1));
    assert_eq!(held.watermark.as_deref(), Some("1970-01-01T00:01:05Z"));
}

#[test]
fn early_rows_are_there_before_their_window_is_final_and_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path().join("log"), 1).unwrap();
    let mut writer = journal.writer().unwrap();
    append(&mut writer, 0, "/a", 0.5, 5);
    writer.commit().unwrap();

    let (running, stop) = stream(folder.path(), early_plan(folder.path()));
    let row = |minute: i64, views: i64, revenue: &str, is_final: bool| {
        format!(
            r#"{{"window_start":"1970-01-01T00:0{minute}:00.000000Z","window_end":"1970-01-01T00:0{}:00.000000Z","page":"/a","views":{views},"revenue":{revenue},"final":{is_final}}}"#,
            minute + 1
        )
    };
    let wait_for = |expected: &[String]| {
        let patience = Instant::now() + Duration::from_secs(240);
        while lines(folder.path()) != expected {
            assert!(Instant::now() < patience, "{:?} do not become {expected:?}", lines(folder.path()));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(&[row(0, 1, "0.5", false)]);
    append(&mut writer, 0, "/a", 1.0, 6);
    writer.commit().unwrap();
    wait_for(&[row(0, 2, "1.5", false)]);
    append(&mut writer, 0, "/a", 2.0, 75);
    writer.commit().unwrap();
    wait_for(&[row(0, 2, "1.5", true), row(1, 1, "2.0", false)]);
    stop.store(true, Ordering::Relaxed);
    let report = running.join().unwrap();
    // What stays when a stream is stopped is final.
    wait_for(&[row(0, 2, "1.5", true)]);
    assert_eq!(report.summary.digest_final, report.summary.digest_all, "early rows are no results");
}

/// Makes a journal of 5,000 disordered records.
fn disordered(folder: &Path) {
    let journal = Journal::create(folder.join("log"), 3).unwrap();
    let mut writer = journal.writer().unwrap();
    for number in 0..5000i64 {
        let second = number / 10 + (number * 7919) % 45 - 30;
        append(
            &mut writer,
            (number % 3) as i32,
            ["/a", "/b", "/c"][number as usize % 7 % 3],
            number as f64 * 0.1,
            second,
        );
    }
    writer.commit().unwrap();
}

/// The feature `planted-fault` makes lateness depend on the chunk: then, and only then, `verify` must find a difference.
#[test]
fn verify_finds_a_planted_fault() {
    let folder = tempfile::tempdir().unwrap();
    disordered(folder.path());
    let plan = plan(folder.path());
    let mut options = RunOptions::new(Mode::Batch);
    options.settings.poll_records = 7;
    let verdict = runtime::verify(&plan, &options, &()).unwrap();
    assert_eq!(verdict.equal, !cfg!(feature = "planted-fault"), "{:?}", verdict.different);
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn stream_and_batch_over_a_journal_give_equal_digests_and_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    disordered(folder.path());
    let plan = plan(folder.path());
    let mut files = Vec::new();
    let mut summaries = Vec::new();
    for mode in [Mode::Stream, Mode::Batch] {
        let mut options = RunOptions::new(mode);
        options.until_caught_up = true;
        options.state_dir = folder.path().join("state");
        let report = runtime::run(&plan, &options, &()).unwrap();
        files.push(lines(folder.path()));
        summaries.push(report.summary);
    }
    let (stream, batch) = (&summaries[0], &summaries[1]);
    assert_eq!(files[0], files[1]);
    assert!(stream.rows_late > 0, "the log has late records");
    assert_eq!(stream.digest_final, batch.digest_final);
    assert_eq!(stream.digest_all, batch.digest_all);
    assert_eq!(stream.digest_late, batch.digest_late);
    assert_eq!((&stream.start, &stream.end), (&batch.start, &batch.end));
    assert_eq!(stream.definition, batch.definition);
    assert!(runtime::verify(&plan, &RunOptions::new(Mode::Batch), &()).unwrap().equal);
}
