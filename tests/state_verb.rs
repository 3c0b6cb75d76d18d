//! `samestream state`: what it tells of checkpoints, and that pins, forks and exports are what they say.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::cli::{stderr, stdout};
use crate::restart::{PIPELINE, SINKS, newest_checkpoint, ok, project, run, start, summary};

const CUT: &str = "--end clicks:0=500,1=450,2=480,3=300";
const STREAM: &str = "run clicks.yaml --mode stream --until-caught-up";

/// Runs a verb that answers JSON.
fn json(at: &Path, line: &str) -> Value {
    let output = run(at, line);
    assert!(output.status.success(), "`samestream {line}`\n{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{line}: {error}\n{}", stdout(&output)))
}

pub(crate) fn refused(at: &Path, line: &str, code: &str, exit: i32) -> String {
    let output = run(at, line);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "`samestream {line}`\n{text}");
    assert!(text.contains(&format!("error[{code}]")), "`samestream {line}`\n{text}");
    text
}

/// The lines of a file, or of the rows in a folder.
fn lines(path: &Path) -> BTreeSet<String> {
    if !path.is_dir() {
        return std::fs::read_to_string(path).unwrap().lines().map(String::from).collect();
    }
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_rows = |path: &std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with(['.', '_']);
    files.filter(is_rows).flat_map(|path| lines(&path)).collect()
}

#[test]
fn list_and_show_tell_what_is_there() {
    let folder = project(4_000);
    let at = folder.path();
    assert_eq!(json(at, "state list clicks.yaml --format json"), Value::Array(Vec::new()));
    assert!(refused(at, "state show clicks.yaml", "E_NOT_FOUND", 2).contains("makes checkpoints"));
    ok(at, &format!("{STREAM} {CUT} --summary cut.json"));
    ok(at, &format!("{STREAM} --summary end.json"));
    let list = json(at, "state list clicks --format json");
    let list = list.as_array().unwrap();
    for (entry, run) in [(list.len() - 2, "cut.json"), (list.len() - 1, "end.json")] {
        let (entry, run) = (&list[entry], summary(at, run));
        assert_eq!(entry["offsets"], run["end"]);
        assert_eq!(entry["rows_read"], run["rows_read"]);
        assert_eq!(entry["definition"], run["definition"]);
        assert!(entry["state_bytes"].as_u64() > Some(0) && entry["parts"].as_u64() > Some(0));
    }
    let number = &list[list.len() - 2]["number"];
    let shown = json(at, &format!("state show clicks --at {number} --format json"));
    let cut = summary(at, "cut.json");
    for partition in shown["partitions"].as_array().unwrap() {
        let of = partition["partition"].to_string();
        assert_eq!(partition["next_offset"], cut["end"]["clicks"][&of]);
        assert_eq!(partition["start_offset"], cut["start"]["clicks"][&of]);
    }
    assert_eq!(shown["counts"]["rows_late"], cut["rows_late"]);
    assert!(shown["state"].as_array().unwrap().iter().any(|step| step["step"] == "bought.left"));
    assert!(shown["sinks"].as_array().unwrap().iter().any(|sink| sink["place"] == "out/shadow.jsonl"));
    // For people: each of its lines is about something that is there.
    let text = stdout(&run(at, "state show clicks --format table"));
    assert!(text.contains("partition 3: offsets 0 .. ") && text.contains("state of visits"), "{text}");
    let text = stdout(&run(at, "state list clicks --format table"));
    assert!(text.starts_with("number") && text.contains("clicks:0="), "{text}");
    assert!(refused(at, "state show clicks --at 99", "E_NOT_FOUND", 2).contains("there are: "));
    refused(at, "state list no_such_file.yaml", "E_NOT_FOUND", 2);
}

#[test]
fn a_pin_stays_as_it_was() {
    let folder = project(4_000);
    let at = folder.path();
    ok(at, &format!("{STREAM} {CUT}"));
    refused(at, "state pin clicks no/name", "E_USAGE", 2);
    refused(at, "state pin clicks 17", "E_USAGE", 2);
    ok(at, "state pin clicks early");
    refused(at, "state pin clicks early", "E_TARGET", 2);
    let pinned = json(at, "state show clicks --at early --format json");
    // So many checkpoints that the one which was pinned is gone, and all that a run would remove.
    for offset in [520, 540, 560, 580] {
        ok(at, &format!("{STREAM} --end clicks:0={offset},1=500,2=500,3=320"));
    }
    ok(at, STREAM);
    assert_eq!(json(at, "state show clicks --at early --format json"), pinned);
    refused(at, &format!("state show clicks --at {}", pinned["number"]), "E_NOT_FOUND", 2);
    ok(at, "state export clicks.yaml --at early --to tables");
    assert!(refused(at, "state unpin clicks late", "E_NOT_FOUND", 2).contains("early"));
    ok(at, "state unpin clicks early");
    refused(at, "state show clicks --at early", "E_NOT_FOUND", 2);
    let left = std::fs::read_dir(at.join(".samestream/clicks/stream/checkpoints")).unwrap();
    assert!(!left.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("early")));
}

#[test]
fn a_fork_goes_on_beside_the_first_job_to_the_same_results() {
    let folder = project(12_000);
    let at = folder.path();
    ok(at, &format!("{STREAM} --end clicks:0=2000,1=2000,2=2000,3=1200"));
    // What is final stays; what was open at the cut does not.
    let finals = |path: &str| -> BTreeSet<String> {
        lines(&at.join(path)).into_iter().filter(|line| line.contains("\"final\":true")).collect()
    };
    let before = finals("out/shadow.jsonl");
    ok(at, "state fork clicks.yaml --to .fork");
    refused(at, "state fork clicks.yaml --to .fork", "E_TARGET", 2);
    ok(at, &format!("{STREAM} --summary first.json"));
    let whole = lines(&at.join("out/shadow.jsonl"));
    // It must not write where the first job does, which loses nothing by its trying.
    assert!(refused(at, &format!("{STREAM} --state-dir .fork"), "E_TARGET", 2).contains("--out"));
    assert_eq!(lines(&at.join("out/shadow.jsonl")), whole);
    ok(at, &format!("{STREAM} --state-dir .fork --out forked --end clicks:0=2300,1=2300,2=2300,3=1400"));
    ok(at, &format!("{STREAM} --state-dir .fork --out forked --summary fork.json"));
    let (first, fork) = (summary(at, "first.json"), summary(at, "fork.json"));
    for key in
        ["digest_all", "digest_final", "digests", "digest_late", "digest_bad", "rows_read", "dedup", "start", "end"]
    {
        assert_eq!(first[key], fork[key], "{key}");
    }
    let after: BTreeSet<String> = whole.difference(&before).cloned().collect();
    assert!(!before.is_empty() && !after.is_empty());
    assert_eq!(lines(&at.join("forked/shadow")), after);
    // The first job goes on as if there were no fork.
    ok(at, &format!("{STREAM} --summary again.json"));
    assert_eq!(summary(at, "again.json")["digest_all"], first["digest_all"]);
}

#[test]
fn a_fork_keeps_the_state_of_a_definition_whose_sinks_changed_and_of_no_other() {
    let folder = project(3_000);
    let at = folder.path();
    ok(at, &format!("{STREAM} {CUT}"));
    let fork = |name: &str, replacements: &[(&str, &str)]| {
        let mut changed = PIPELINE.to_string();
        for (old, new) in replacements {
            assert!(changed.contains(old), "{old}");
            changed = changed.replacen(old, new, 1);
        }
        std::fs::write(at.join("changed.yaml"), changed).unwrap();
        format!("state fork clicks.yaml --as changed.yaml --to {name}")
    };
    let refusals: &[(&[(&str, &str)], &str)] = &[
        (&[("gap: 5m", "gap: 6m")], "steps.visits.window.gap: 5m -> 6m"),
        (&[("out_of_orderness: 30s", "out_of_orderness: 40s")], "out_of_orderness: 30s -> 40s"),
        (
            &[(
                "group_by: [page], aggregate: {views: \"sum(views)\"}",
                "group_by: [page], aggregate: {views: \"sum(views)\"}, having: \"views > 1\"",
            )],
            "steps.hot.having",
        ),
        (
            &[(
                "late: {from: per_page.late",
                "new: {from: unique, jsonl: {path: out/new.jsonl}}\n  late: {from: per_page.late",
            )],
            "`unique`",
        ),
    ];
    for (replacements, reason) in refusals {
        let text = refused(at, &fork(".none", replacements), "E_STATE_FOREIGN", 5);
        assert!(text.contains(reason) && text.contains("--fresh"), "{reason}\n{text}");
        assert!(!at.join(".none/clicks/stream/checkpoints").exists());
    }
    // Sinks only: another filter, one more of results that had a sink, one less.
    let sinks = [
        ("shadow: {from: shadow, ", "shadow: {from: shadow, where: \"page <> 'x'\", "),
        (
            "visits: {from: visits, csv: {path: out/visits}}",
            "pages: {from: per_page, select: [page, views], jsonl: {path: out/pages.jsonl}}",
        ),
    ];
    ok(at, &fork(".other", &sinks));
    ok(at, "run changed.yaml --mode stream --until-caught-up --state-dir .other --out forked --summary fork.json");
    ok(at, "run changed.yaml --mode batch --out batch --state-dir .batch --summary batch.json");
    let (fork, batch) = (summary(at, "fork.json"), summary(at, "batch.json"));
    for key in ["definition", "digest_all", "digest_final", "digests", "digest_late", "digest_bad", "rows_read"] {
        assert_eq!(fork[key], batch[key], "{key}");
    }
    let (fork, batch) = (lines(&at.join("forked/pages")), lines(&at.join("batch/pages")));
    assert!(!fork.is_empty() && fork.is_subset(&batch));
}

#[test]
fn an_export_holds_what_batch_calls_open() {
    let folder = project(4_000);
    let at = folder.path();
    ok(at, &format!("{STREAM} {CUT} --out streamed"));
    ok(at, "state export clicks.yaml --to tables");
    ok(at, &format!("run clicks.yaml --mode batch {CUT} --summary cut.json"));
    let query = |sql: &str, table: &str| {
        let output = crate::cli::samestream(at).args(["query", sql, table, "--format", "csv"]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", stderr(&output));
        let mut rows: Vec<String> = stdout(&output).lines().map(String::from).collect();
        rows[1..].sort();
        rows
    };
    // Values of every kind of accumulator: counts, distinct counts, exact sums, lists, first values.
    for (columns, step, sink) in [
        ("window_start, window_end, page, views, visitors, revenue", "per_page", "out/per_page"),
        ("window_start, window_end, page, records", "shadow", "out/shadow.jsonl"),
    ] {
        let expected = query(&format!("select {columns} from t where not final"), &format!("t={sink}"));
        let found = query(&format!("select {columns} from t"), &format!("t=tables/{step}.parquet"));
        assert!(expected.len() > 5);
        if step == "per_page" {
            assert_eq!(found, expected, "{step}");
        } else {
            assert_eq!(found.len(), expected.len(), "{step}");
        }
    }
    let sessions = query("select user_id, clicks, entry from t", "t=tables/visits.parquet");
    let expected = query("select user_id, clicks, entry from t where not final", "t=out/visits");
    assert_eq!(sessions, expected);
    let partitions = query("select partition, next_offset from t", "t=tables/partitions.parquet");
    assert_eq!(partitions, ["partition,next_offset", "0,500", "1,450", "2,480", "3,300"]);
    for table in ["unique", "bought.left", "bought.right", "hot"] {
        assert!(at.join(format!("tables/{table}.parquet")).is_file(), "{table}");
    }
    assert!(query("select count(*) as n from t", "t=tables/unique.parquet")[1].parse::<u64>().unwrap() > 10);
    // With another definition it cannot be read.
    std::fs::write(at.join("clicks.yaml"), PIPELINE.replace("gap: 5m", "gap: 6m")).unwrap();
    assert!(refused(at, "state export clicks.yaml --to tables", "E_STATE_FOREIGN", 5).contains("gap: 5m -> 6m"));
}

#[test]
fn clearing_by_force_ends_the_stream_that_runs() {
    let folder = project(40_000);
    let at = folder.path();
    let line = ["run", "clicks.yaml", "--mode", "stream", "--checkpoint-every", "50ms"];
    let mut command = crate::cli::samestream(at);
    let running = command.args(line).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn();
    let running = running.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(240);
    while newest_checkpoint(at).is_none() {
        assert!(std::time::Instant::now() < until, "no checkpoint");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    ok(at, "state clear clicks --force");
    // It may have read all: then it needs something to make another checkpoint for.
    std::fs::write(at.join("one.jsonl"), "{\"event_id\": \"z\"}\n").unwrap();
    ok(at, "append log one.jsonl");
    let output = running.wait_with_output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("error[E_STATE_BUSY]") && text.contains("were removed while this run went on"), "{text}");
    let left = std::fs::read_dir(at.join(".samestream/clicks/stream/checkpoints")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?} is left, and a start could stumble over it");
    ok(at, &format!("{STREAM} --summary again.json"));
    ok(at, "run clicks.yaml --mode batch --state-dir .batch --out batch --summary batch.json");
    assert_eq!(summary(at, "again.json")["digest_all"], summary(at, "batch.json")["digest_all"]);
}

#[test]
fn clear_removes_checkpoints_and_nothing_that_is_held() {
    let folder = project(40_000);
    let at = folder.path();
    ok(at, &format!("{STREAM} --summary first.json"));
    ok(at, "state pin clicks kept");
    assert!(refused(at, "state clear clicks", "E_STATE_BUSY", 5).contains("--force"));
    let mut child = start(at);
    let pinned = newest_checkpoint(at);
    assert!(refused(at, "state clear clicks", "E_STATE_BUSY", 5).contains("--force"));
    assert_eq!(newest_checkpoint(at), pinned);
    child.kill().unwrap();
    child.wait().unwrap();
    let cleared = json(at, "state clear clicks --force --format json");
    assert_eq!(cleared["pins"], 1);
    assert_eq!(json(at, "state list clicks --format json"), Value::Array(Vec::new()));
    let left = std::fs::read_dir(at.join(".samestream/clicks/stream/checkpoints")).unwrap().count();
    assert_eq!(left, 0);
    // What follows is a first run.
    ok(at, &format!("{STREAM} --summary second.json"));
    assert_eq!(summary(at, "second.json")["digest_all"], summary(at, "first.json")["digest_all"]);
    for sink in SINKS {
        assert!(at.join("out").join(sink).exists());
    }
}
