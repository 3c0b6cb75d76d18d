//! A stream that ends in any way goes on as if it had not: processes that are killed, and what a start refuses.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{samestream, stderr, stdout};
use crate::servers::{canonical, file, to_file, with_sinks};

/// Every kind of state and of file sink, and a shadow of the first step that names the records of each row.
pub(crate) const PIPELINE: &str = r#"version: 1
name: clicks
sources:
  clicks:
    journal: {path: log}
    schema: {event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 30s}
steps:
  unique: {from: clicks, dedup: {key: [event_id], within: 10m}}
  per_page:
    from: unique
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: "count(*)", visitors: "count_distinct(user_id)", revenue: "sum(amount)"}
  records:
    from: unique
    select: [page, {record: "cast(_partition as string) || '@' || cast(_offset as string)"}, event_time]
  shadow:
    from: records
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {records: "array_agg(record)"}
  visits:
    from: unique
    window: {session: {gap: 5m}}
    group_by: [user_id]
    aggregate: {clicks: "count(*)", entry: "first(page)"}
  bought:
    join: {left: unique, right: clicks, on: [user_id], type: left, within: {before: 1s, after: 1s}}
    select: [{user: "user_id"}, {first: "left.page"}, {second: "right.page"}]
  hot: {from: per_page, window: {hopping: {size: 10m, every: 1m}}, group_by: [page], aggregate: {views: "sum(views)"}, top: {n: 3, by: [{views: desc}]}}
sinks:
  per_page: {from: per_page, parquet: {path: out/per_page}}
  shadow: {from: shadow, jsonl: {path: out/shadow.jsonl}}
  visits: {from: visits, csv: {path: out/visits}}
  bought: {from: bought, jsonl: {path: out/bought}}
  hot: {from: hot, emit: early, csv: {path: out/hot.csv}}
  late: {from: per_page.late, jsonl: {path: out/late.jsonl}}
"#;

pub(crate) const SINKS: [&str; 6] = ["per_page", "shadow.jsonl", "visits", "bought", "hot.csv", "late.jsonl"];

pub(crate) fn project(events: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clicks.yaml"), PIPELINE).unwrap();
    let events = events.to_string();
    let line =
        ["gen", "--to", "journal:log", "--events", &events, "--late", "3%", "--bad", "0.5%", "--duplicates", "2%"];
    let made = samestream(folder.path()).args(line).args(["--rate", "50", "--keys", "2000"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    folder
}

pub(crate) fn run(folder: &Path, line: &str) -> std::process::Output {
    samestream(folder).args(line.split_whitespace()).output().unwrap()
}

pub(crate) fn ok(folder: &Path, line: &str) {
    let output = run(folder, line);
    assert!(output.status.success(), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
}

pub(crate) fn start(folder: &Path) -> Child {
    let line = ["run", "clicks.yaml", "--mode", "stream", "--checkpoint-every", "20ms"];
    samestream(folder).args(line).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

pub(crate) fn newest_checkpoint(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder.join(".samestream/clicks/stream/checkpoints")).ok()?;
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".json") && name != "told.json").max()
}

pub(crate) fn summary(folder: &Path, name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn a_stream_that_is_killed_again_and_again_gives_what_batch_gives() {
    let folder = project(250_000);
    let at = folder.path();
    let (mut fresh, mut kills, mut last) = (0, 0, None);
    for cycle in 0..8u64 {
        let mut child = start(at);
        // Not before it has kept something, so that each start has something to go on from; then at some moment.
        let until = Instant::now() + Duration::from_secs(240);
        while newest_checkpoint(at) == last && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(cycle * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let now = newest_checkpoint(at);
        fresh += u32::from(now != last);
        last = now;
    }
    assert!(fresh * 5 >= kills * 4, "only {fresh} of {kills} starts found a newer checkpoint than the last");
    ok(at, "run clicks.yaml --mode stream --until-caught-up --summary stream.json");
    std::fs::rename(at.join("out"), at.join("out-stream")).unwrap();
    ok(at, "run clicks.yaml --mode batch --end stream.json --summary batch.json");
    let (stream, batch) = (summary(at, "stream.json"), summary(at, "batch.json"));
    for key in
        ["digest_all", "digest_final", "digests", "digest_late", "digest_bad", "rows_read", "rows_written", "dedup"]
    {
        assert_eq!(stream[key], batch[key], "{key}");
    }
    assert!(stream["rows_late"].as_u64() > Some(0) && stream["rows_bad"].as_u64() > Some(0));
    for sink in SINKS {
        let differences = run(at, &format!("diff out-stream/{sink} out/{sink}"));
        assert_eq!(differences.status.code(), Some(0), "{sink}: {}{}", stdout(&differences), stderr(&differences));
    }
}

#[test]
fn a_stream_that_dies_prints_every_row_at_least_once() {
    let folder = project(60_000);
    let at = folder.path();
    let alone = |to: &str| with_sinks(|name| if name == "shadow" { to.to_string() } else { String::new() });
    std::fs::write(at.join("clicks.yaml"), alone("stdout: {}")).unwrap();
    let mut printed = String::new();
    let mut print = |points: &str| {
        let line = ["run", "clicks.yaml", "--mode", "stream", "--until-caught-up", "--checkpoint-every", "20ms"];
        let output = samestream(at).env("FAILPOINTS", points).args(line).output().unwrap();
        printed += &stdout(&output);
        output.status
    };
    // It dies when rows are printed and before it knows that they are.
    for times in 1..5 {
        let status = print(&format!("sink.published={times}*off->return"));
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6));
    }
    assert!(print("").success());
    std::fs::write(at.join("files.yaml"), alone(&to_file("shadow"))).unwrap();
    ok(at, "run files.yaml --mode batch --state-dir .other");
    let mut rows = canonical(&printed);
    let times = rows.len();
    rows.dedup();
    let expected: Vec<String> =
        file(at.join("expected/shadow.jsonl")).into_iter().filter(|row| row.contains("\"final\":true")).collect();
    assert!(rows == expected, "{} rows were printed, and {} expected", rows.len(), expected.len());
    assert!(times > rows.len(), "some were printed twice");
}

#[test]
fn a_run_that_ended_goes_on_and_its_open_rows_are_replaced() {
    let folder = project(4_000);
    let at = folder.path();
    ok(at, "run clicks.yaml --mode stream --until-caught-up --end clicks:0=300,1=200,2=250,3=100 --summary first.json");
    ok(at, "run clicks.yaml --mode stream --until-caught-up --summary stream.json");
    // A third run finds nothing new, and changes nothing.
    ok(at, "run clicks.yaml --mode stream --until-caught-up --summary again.json");
    assert_eq!(summary(at, "again.json")["digest_all"], summary(at, "stream.json")["digest_all"]);
    assert_eq!(summary(at, "again.json")["rows_written"], summary(at, "stream.json")["rows_written"]);
    std::fs::rename(at.join("out"), at.join("out-stream")).unwrap();
    ok(at, "run clicks.yaml --mode batch --summary batch.json");
    assert_eq!(summary(at, "stream.json")["digest_all"], summary(at, "batch.json")["digest_all"]);
    for sink in SINKS {
        let differences = run(at, &format!("diff out-stream/{sink} out/{sink}"));
        assert_eq!(differences.status.code(), Some(0), "{sink}: {}{}", stdout(&differences), stderr(&differences));
    }
}

#[test]
fn what_does_not_fit_a_checkpoint_is_refused_with_a_way_on() {
    let folder = project(2_000);
    let at = folder.path();
    let stream = "run clicks.yaml --mode stream --until-caught-up";
    // So many checkpoints that the first rows are in no outbox any more: a sink could get them again from there.
    let several = |first: &str| {
        ok(at, first);
        (0..3).for_each(|_| ok(at, stream));
    };
    several(stream);
    let refused = |code: &str, exit: i32| {
        let output = run(at, stream);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "{text}");
        assert!(text.contains(&format!("error[{code}]")) && text.contains("--fresh"), "{text}");
        text
    };
    // Another definition.
    let changed = PIPELINE.replace("gap: 5m", "gap: 6m");
    std::fs::write(at.join("clicks.yaml"), changed).unwrap();
    assert!(refused("E_STATE_FOREIGN", 5).contains("\n    steps.visits.window.gap: 5m -> 6m\n"));
    std::fs::write(at.join("clicks.yaml"), PIPELINE).unwrap();
    // A sink that somebody else has written, and one that is gone.
    ok(at, "run clicks.yaml --mode batch --sinks visits");
    assert!(refused("E_SINK_DIVERGED", 5).contains("`visits`"));
    several(&format!("{stream} --fresh"));
    std::fs::remove_dir_all(at.join("out/bought")).unwrap();
    assert!(refused("E_SINK_DIVERGED", 5).contains("`bought`"));
    ok(at, &format!("{stream} --fresh"));
    // A damaged manifest and damaged data: named, never passed over.
    let checkpoints = at.join(".samestream/clicks/stream/checkpoints");
    let newest = checkpoints.join(newest_checkpoint(at).unwrap());
    let text = std::fs::read_to_string(&newest).unwrap();
    std::fs::write(&newest, text.replacen("\"number\":", "\"numbre\":", 1)).unwrap();
    assert!(refused("E_CORRUPT", 3).contains(newest.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&newest, &text).unwrap();
    let data = std::fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path());
    let data = data.filter(|path| path.extension().is_some_and(|end| end == "parts")).max().unwrap();
    let bytes = std::fs::read(&data).unwrap();
    let mut damaged = bytes.clone();
    // The state comes after the outbox, which no sink lacks.
    damaged[bytes.len() - 1] ^= 1;
    std::fs::write(&data, damaged).unwrap();
    assert!(refused("E_CORRUPT", 3).contains(data.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&data, bytes).unwrap();
    ok(at, stream);
    // Another log, and another one in the place of the one that was read.
    std::fs::write(at.join("clicks.yaml"), PIPELINE.replace("path: log}", "path: ./log}")).unwrap();
    assert!(refused("E_TOPIC_ID", 5).contains("journal ./log"));
    std::fs::write(at.join("clicks.yaml"), PIPELINE).unwrap();
    std::fs::remove_dir_all(at.join("log")).unwrap();
    let line = ["gen", "--to", "journal:log", "--events", "100"];
    assert!(samestream(at).args(line).output().unwrap().status.success());
    refused("E_TOPIC_ID", 5);
}

/// What a change of the pipeline file is called, which is where it stands in the file.
#[test]
fn a_changed_definition_is_told_field_by_field() {
    let folder = project(300);
    let at = folder.path();
    ok(at, "run clicks.yaml --mode stream --until-caught-up");
    /// Replacements in the file, and lines of the error.
    type Change<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Change<'_>] = &[
        (&[("page: string!,", "page: string,")], &["sources.clicks.schema.page: string! -> string"]),
        (
            &[("out_of_orderness: 30s", "out_of_orderness: 90s")],
            &["sources.clicks.event_time.out_of_orderness: 30s -> 90s"],
        ),
        (&[("within: 10m", "within: 1h")], &["steps.unique.dedup.within: 10m -> 1h"]),
        (
            &[(
                "tumbling: {size: 1m}}\n    group_by: [page]\n    aggregate: {views",
                "hopping: {size: 10m, every: 1m}}\n    group_by: [page, user_id]\n    aggregate: {views",
            )],
            &[
                "steps.per_page.window.kind: tumbling -> hopping",
                "steps.per_page.window.size: 1m -> 10m",
                "steps.per_page.window.every: (none) -> 1m",
                "steps.per_page.group_by.user_id: (none) -> ",
            ],
        ),
        (&[("sum(amount)", "max(amount)")], &["steps.per_page.aggregate.revenue: sum("]),
        (
            &[("type: left", "type: inner"), ("after: 1s", "after: 2s")],
            &["steps.bought.join.type: left -> inner", "steps.bought.join.within.after: 1s -> 2s"],
        ),
        (&[("n: 3", "n: 4")], &["steps.hot.top.n: 3 -> 4"]),
        (
            &[("  hot: {from: per_page", "  warm: {from: per_page"), ("hot: {from: hot", "hot: {from: warm")],
            &["steps.hot is gone", "steps.warm is new"],
        ),
        (
            &[("late: {from: per_page.late", "late: {from: per_page.late, where: \"page = 'x'\"")],
            &["sinks of per_page.late.where: (none) -> "],
        ),
    ];
    for (replacements, expected) in cases {
        let mut changed = PIPELINE.to_string();
        for (old, new) in *replacements {
            assert!(changed.contains(old), "{old}");
            changed = changed.replacen(old, new, 1);
        }
        std::fs::write(at.join("clicks.yaml"), changed).unwrap();
        let output = run(at, "run clicks.yaml --mode stream --until-caught-up");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        expected.iter().for_each(|line| assert!(text.contains(&format!("\n    {line}")), "{line}\n{text}"));
        let told = text.lines().filter(|line| line.starts_with("    ") && !line.contains("help")).count();
        assert!(told >= expected.len() && told <= expected.len() + 3, "{text}");
    }
}

#[test]
fn a_row_that_fails_after_its_column_got_another_type_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let pipeline = r#"version: 1
name: days
sources:
  events:
    journal: {path: log}
    schema: {at: timestamp!, day: date, n: int64}
    event_time: {column: at, out_of_orderness: 1s}
steps:
  per_minute:
    from: events
    where: "day is not null"
    derive: {day: "cast(n as decimal(20, 4))"}
    window: {tumbling: {size: 1m}}
    group_by: [{g: "n + 9223372036854775807"}]
    aggregate: {days: "sum(day)"}
sinks:
  per_minute: {from: per_minute, jsonl: {path: out}}
"#;
    std::fs::write(at.join("days.yaml"), pipeline).unwrap();
    // The second sum does not fit.
    let records = [0, 5].map(|n| format!("{{\"at\":\"2026-01-01T00:00:00Z\",\"day\":\"2026-01-01\",\"n\":{n}}}\n"));
    std::fs::write(at.join("in.jsonl"), records.concat()).unwrap();
    ok(at, "append log in.jsonl --partitions 1");
    ok(at, "run days.yaml --mode batch --summary run.json");
    assert_eq!(summary(at, "run.json")["rows_failed"], 1);
    let manifest = std::fs::read_to_string(at.join(".samestream/days/batch/bad/per_minute/_manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["files"][0]["rows"], 1);
}
