//! Hand-over: a stream whose beginning comes from the lake gives what a stream gives that ran from the beginning.

use std::fmt::Write as _;
use std::path::Path;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{PIPELINE, SINKS, ok, project, run, start, summary};

const EQUAL: [&str; 15] = [
    "definition",
    "start",
    "end",
    "digest_final",
    "digest_all",
    "digests",
    "digest_late",
    "digest_bad",
    "rows_read",
    "rows_late",
    "rows_bad",
    "rows_failed",
    "rows_written",
    "windows",
    "dedup",
];

/// The pipeline with a lake, whose folder is filled from what the journal holds now.
fn with_lake(at: &Path) {
    std::fs::write(at.join("clicks.yaml"), lake_pipeline()).unwrap();
    ok(at, "archive clicks.yaml --until-caught-up --roll-rows 700");
}

fn lake_pipeline() -> String {
    PIPELINE.replace("journal: {path: log}", "journal: {path: log}\n    lake: {path: lake}")
}

/// Appends records that go on after the ones that are there: some late, some twice, some bad, some far ahead.
fn grow(at: &Path, round: u64) {
    let mut lines = String::new();
    // Event times of `gen` begin here and have 50 a second: the first round goes on before all is closed.
    let last = 1_767_225_600_000u64 + 4_000 * 20 + round * 120_000;
    for i in 0..1_500u64 {
        if i % 97 == 0 {
            lines.push_str("{\"event_id\": \"broken\", \"user_id\": 5, \"page\": 7}\n");
            continue;
        }
        let time = if i % 41 == 0 { last - 400_000 } else { last + i * 80 - (i % 7) * 900 };
        let time = chrono_text(time);
        let (id, user, page) = (i / 2 + round * 10_000, i % 83, i % 11);
        let amount = i as f64 * 0.1;
        writeln!(
            lines,
            "{{\"event_id\": \"more-{id}\", \"user_id\": {user}, \"page\": \"/p{page}\", \"action\": \"view\", \"amount\": {amount}, \"event_time\": \"{time}\"}}"
        )
        .unwrap();
    }
    std::fs::write(at.join("more.jsonl"), lines).unwrap();
    ok(at, "append log more.jsonl --partition-by user_id");
}

fn chrono_text(millis: u64) -> String {
    chrono::DateTime::from_timestamp_millis(millis as i64).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn same(at: &Path, left: &str, right: &str) {
    let (left, right) = (summary(at, left), summary(at, right));
    EQUAL.iter().for_each(|key| assert_eq!(left[key], right[key], "{key}"));
}

#[test]
fn lake_then_journal_is_the_journal_from_the_beginning() {
    let folder = project(4_000);
    let at = folder.path();
    with_lake(at);
    grow(at, 0);
    ok(at, "run clicks.yaml --mode stream --bootstrap lake --until-caught-up --summary handover.json");
    // From then on it is a stream like any other.
    grow(at, 1);
    ok(at, "run clicks.yaml --mode stream --until-caught-up --summary handover.json");
    ok(at, "run clicks.yaml --mode stream --until-caught-up --state-dir .whole --out whole --summary whole.json");
    same(at, "handover.json", "whole.json");
    let whole = summary(at, "whole.json");
    for count in ["rows_late", "rows_bad"] {
        assert!(whole[count].as_u64() > summary_of_lake(at)[count].as_u64(), "the journal brings {count} of its own");
    }
    for sink in SINKS {
        let of_whole = sink.split('.').next().unwrap();
        let of_whole = std::fs::read_dir(at.join("whole"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_stem().is_some_and(|stem| stem == of_whole));
        let line = format!("diff out/{sink} {}", of_whole.unwrap().display());
        let differences = run(at, &line);
        assert_eq!(differences.status.code(), Some(0), "{line}: {}{}", stdout(&differences), stderr(&differences));
    }
    for aside in ["late/per_page", "bad/clicks"] {
        let line =
            format!("diff .samestream/clicks/stream/{aside} .whole/clicks/stream/{aside} --key _partition,_offset");
        let differences = run(at, &line);
        assert_eq!(differences.status.code(), Some(0), "{line}: {}{}", stdout(&differences), stderr(&differences));
    }
    ok(at, "archive clicks.yaml --until-caught-up");
    ok(at, "run clicks.yaml --mode batch --state-dir .batch --out batch --end handover.json --summary batch.json");
    same(at, "handover.json", "batch.json");
}

fn summary_of_lake(at: &Path) -> serde_json::Value {
    ok(at, "run clicks.yaml --mode batch --state-dir .lake --out of_lake --summary lake.json");
    summary(at, "lake.json")
}

#[test]
fn the_first_checkpoint_is_at_the_end_of_the_lake() {
    let folder = project(3_000);
    let at = folder.path();
    with_lake(at);
    let lake = summary_of_lake(at);
    // Nothing is after the lake: the first checkpoint is all there is, and its rows are published.
    ok(at, "run clicks.yaml --mode stream --bootstrap lake --until-caught-up --summary handover.json");
    let handover = summary(at, "handover.json");
    ["end", "digest_all", "digest_late", "digest_bad", "rows_read"]
        .iter()
        .for_each(|key| assert_eq!(handover[key], lake[key], "{key}"));
    let shown = run(at, "state show clicks --at 1 --format json");
    let shown: serde_json::Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!(shown["offsets"], lake["end"]);
    assert!(shown["outbox"].as_array().unwrap().iter().any(|rows| rows["of"] == "per_page"));
    // An end before that of the lake is the end of both.
    let cut = "--end clicks:0=300,1=200,2=250,3=100";
    ok(
        at,
        &format!("run clicks.yaml --mode stream --bootstrap lake --until-caught-up --fresh {cut} --summary short.json"),
    );
    ok(at, &format!("run clicks.yaml --mode batch --state-dir .lake --out of_lake {cut} --summary lake.json"));
    ["end", "digest_all", "rows_read"]
        .iter()
        .for_each(|key| assert_eq!(summary(at, "short.json")[key], summary(at, "lake.json")[key], "{key}"));
}

#[test]
fn a_process_that_is_killed_while_it_reads_the_lake_leaves_nothing_half_done() {
    let folder = project(60_000);
    let at = folder.path();
    with_lake(at);
    grow(at, 0);
    for delay in [5u64, 60, 200, 400, 800] {
        let line = ["run", "clicks.yaml", "--mode", "stream", "--bootstrap", "lake", "--checkpoint-every", "20ms"];
        let mut child = samestream(at).args(line).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = run(at, "state list clicks --format json");
        if !stdout(&listed).trim().ends_with("[]") {
            break;
        }
        assert!(!at.join("out/shadow.jsonl").exists(), "nothing is published before the first checkpoint");
    }
    // The same line once more where there is no checkpoint yet, else without the lake.
    let listed = stdout(&run(at, "state list clicks --format json"));
    let bootstrap = if listed.trim() == "[]" { "--bootstrap lake" } else { "" };
    ok(at, &format!("run clicks.yaml --mode stream --until-caught-up {bootstrap} --summary handover.json"));
    ok(at, "run clicks.yaml --mode stream --until-caught-up --state-dir .whole --out whole --summary whole.json");
    same(at, "handover.json", "whole.json");
    let line = "diff out/shadow.jsonl whole/shadow";
    let found = std::fs::read_dir(at.join("whole")).unwrap().map(|entry| entry.unwrap().path());
    let other = found.filter(|path| path.file_stem().is_some_and(|stem| stem == "shadow")).max().unwrap();
    let differences = run(at, &format!("diff out/shadow.jsonl {}", other.display()));
    assert_eq!(differences.status.code(), Some(0), "{line}: {}", stdout(&differences));
}

#[test]
fn a_log_that_holds_other_records_than_the_lake_is_refused() {
    let folder = project(3_000);
    let at = folder.path();
    with_lake(at);
    let bootstrap = "run clicks.yaml --mode stream --bootstrap lake --until-caught-up";
    // The first checkpoint is all that there is, and no record was read from the log itself.
    ok(at, bootstrap);
    std::fs::rename(at.join("log"), at.join("whole-log")).unwrap();
    ok(at, "gen --to journal:log --events 6000 --seed 99");
    let refused = |line: &str, says: &str| {
        let output = run(at, line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("error[E_LOG_REWRITTEN]") && text.contains(says), "{text}");
    };
    refused("run clicks.yaml --mode stream --until-caught-up", "than the one that was read there");
    refused(&format!("{bootstrap} --fresh"), "than the lake");
    refused(&format!("{bootstrap} --state-dir .other --out other"), "than the lake");
    assert!(!at.join("other").exists(), "nothing is written");
    std::fs::remove_dir_all(at.join("log")).unwrap();
    std::fs::rename(at.join("whole-log"), at.join("log")).unwrap();
    grow(at, 0);
    ok(at, "run clicks.yaml --mode stream --until-caught-up");
}

#[test]
fn what_would_leave_a_hole_or_an_overlap_is_refused() {
    let folder = project(3_000);
    let at = folder.path();
    with_lake(at);
    let bootstrap = "run clicks.yaml --mode stream --bootstrap lake --until-caught-up";
    let refused = |line: &str, code: &str, exit: i32| {
        let output = run(at, line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "{text}");
        assert!(text.contains(&format!("error[{code}]")), "{text}");
        assert!(!at.join("out").exists(), "nothing is written");
        text
    };
    for line in [
        "--mode batch --bootstrap lake",
        "--mode stream --bootstrap lake --start clicks:0=3",
        "--mode stream --bootstrap lake --from 2026-01-01",
    ] {
        refused(&format!("run clicks.yaml {line}"), "E_USAGE", 2);
    }
    // No lake, one without offsets.
    std::fs::write(at.join("clicks.yaml"), PIPELINE).unwrap();
    refused(bootstrap, "E_BINDING", 2);
    std::fs::write(at.join("clicks.yaml"), lake_pipeline().replace("{path: lake}", "{path: lake, layout: files}"))
        .unwrap();
    refused(bootstrap, "E_NO_OFFSETS", 3);
    std::fs::write(at.join("clicks.yaml"), lake_pipeline()).unwrap();
    // A log that is shorter than its lake.
    std::fs::rename(at.join("log"), at.join("whole-log")).unwrap();
    ok(at, "gen --to journal:log --events 500");
    assert!(refused(bootstrap, "E_TOPIC_ID", 5).contains("the lake holds offsets up to"));
    std::fs::remove_dir_all(at.join("log")).unwrap();
    // One with other partitions.
    ok(at, "gen --to journal:log --events 5000 --partitions 3");
    assert!(refused(bootstrap, "E_PARTITIONS_CHANGED", 5).contains("[0, 1, 2]"));
    std::fs::remove_dir_all(at.join("log")).unwrap();
    std::fs::rename(at.join("whole-log"), at.join("log")).unwrap();
    // A stream that has begun.
    ok(at, bootstrap);
    let output = run(at, bootstrap);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("E_TARGET") && stderr(&output).contains("--fresh"), "{}", stderr(&output));
    ok(at, &format!("{bootstrap} --fresh"));
    let mut child = start(at);
    child.kill().unwrap();
    child.wait().unwrap();
}
