//! Runs within a budget of memory: the same results, from windows that wait in files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use connectors::records::RawBuilder;
use engine::Engine;
use engine::edge::{LogStream, Polled};
use runtime::Settings;
use runtime::spill::Budget;
use runtime::stream::{Begin, Until};
use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};

const PIPELINE: &str = r#"version: 1
name: pages
sources:
  clicks:
    journal: {path: log}
    format: json
    schema: {page: string!, n: int64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 1h}
steps:
  per_page:
    from: clicks
    window: WINDOW
    group_by: [page]
    aggregate: {views: "count(*)", total: "sum(n)", numbers: "array_agg(n)"}
  per_hour:
    from: per_page
    window: {tumbling: {size: 1h}}
    aggregate: {pages: "count(*)", views: "sum(views)"}
sinks:
  pages: {from: per_page, jsonl: {path: pages.jsonl}}
  hours: {from: per_hour, jsonl: {path: hours.jsonl}}
"#;

const TUMBLING: &str = "{tumbling: {size: 10m}}";
const SESSION: &str = "{session: {gap: 30m}}";

/// Makes a project whose journal has records of so many minutes, each with so many pages of its own.
fn project(window: &str, minutes: i32, pages: i32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pages.yaml"), PIPELINE.replace("WINDOW", window)).unwrap();
    add(folder.path(), 0..minutes, pages);
    folder
}

fn add(folder: &Path, minutes: std::ops::Range<i32>, pages: i32) {
    let record = |minute: i32, page: i32| {
        let (hour, rest) = (minute / 60, minute % 60);
        format!(r#"{{"page":"/a/page/with/a/number/{page}","n":{minute},"at":"2026-01-01T{hour:02}:{rest:02}:00Z"}}"#)
    };
    let lines = minutes.flat_map(|minute| (0..pages).map(move |page| record(minute, page)));
    fs::write(folder.join("more.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let output = samestream(folder).args(["append", "log", "more.jsonl", "-q"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn run(folder: &Path, mode: &str, more: &[&str]) -> Output {
    let command = ["--format", "json", "-q", "run", "pages.yaml", "--summary", "summary.json", "--mode", mode];
    samestream(folder).args(command).args(more).output().unwrap()
}

/// Runs, and returns the summary.
fn summary(folder: &Path, mode: &str, more: &[&str]) -> Value {
    let output = run(folder, mode, more);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&fs::read(folder.join("summary.json")).unwrap()).unwrap()
}

fn digests(summary: &Value) -> [&Value; 4] {
    ["digest_all", "digest_final", "rows_read", "windows"].map(|name| &summary[name])
}

#[test]
fn windows_that_wait_in_files_give_the_same_rows() {
    let project = project(TUMBLING, 100, 300);
    let folder = project.path();
    let whole = summary(folder, "batch", &["--out", "whole"]);
    let (batch, stream) =
        (["--memory", "1MiB"], ["--memory", "1MiB", "--until-caught-up", "--checkpoint-every", "10ms"]);
    let batch = summary(folder, "batch", &batch);
    assert!(batch["spilled"]["pieces"].as_u64() > Some(0), "{batch}");
    assert_eq!(digests(&batch), digests(&whole));
    let stream = summary(folder, "stream", &stream);
    assert!(stream["spilled"]["pieces"].as_u64() > Some(0), "{stream}");
    assert_eq!(digests(&stream), digests(&whole));
    for mode in ["batch", "stream"] {
        let left = folder.join(".samestream/pages").join(mode).join(".spill");
        assert!(!left.exists(), "scratch files stay in {}", left.display());
    }
    assert_eq!(whole.get("spilled"), None, "a run without a budget spills nothing");
}

#[test]
fn a_stream_goes_on_from_pieces_with_another_budget() {
    let project = project(TUMBLING, 50, 300);
    let folder = project.path();
    summary(folder, "stream", &["--until-caught-up", "--memory", "1MiB"]);
    add(folder, 50..100, 300);
    // What a crash left behind is not read.
    fs::create_dir_all(folder.join(".samestream/pages/stream/.spill")).unwrap();
    fs::write(folder.join(".samestream/pages/stream/.spill/0.pieces"), "of another process").unwrap();
    let narrow = summary(folder, "stream", &["--until-caught-up", "--memory", "1MiB"]);
    add(folder, 100..150, 300);
    // Neither is it by a run without a budget, which removes it too.
    fs::create_dir_all(folder.join(".samestream/pages/stream/.spill")).unwrap();
    let wide = summary(folder, "stream", &["--until-caught-up"]);
    assert!(!folder.join(".samestream/pages/stream/.spill").exists());
    let again = summary(folder, "batch", &["--out", "again"]);
    assert!(narrow["spilled"]["merged"].as_u64() > Some(0), "{narrow}");
    assert_eq!(digests(&wide), digests(&again));
}

#[test]
fn what_does_not_fit_stops_and_goes_on_with_more() {
    let project = project(SESSION, 2, 100);
    let folder = project.path();
    summary(folder, "stream", &["--until-caught-up", "--memory", "1MiB"]);
    add(folder, 2..5, 6000);
    let output = run(folder, "stream", &["--until-caught-up", "--memory", "1MiB"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let text = stderr(&output);
    for part in ["E_MEMORY", "step `per_page`", "open sessions", "--memory"] {
        assert!(text.contains(part), "{text}");
    }
    let more = summary(folder, "stream", &["--until-caught-up", "--memory", "64MiB"]);
    let whole = summary(folder, "batch", &["--out", "whole"]);
    assert_eq!(digests(&more), digests(&whole));
}

/// Runs a verb that must do what it is told; returns what it answers.
fn answer(folder: &Path, line: &[&str]) -> String {
    let output = samestream(folder).args(line).output().unwrap();
    assert!(output.status.success(), "{line:?}: {}", stderr(&output));
    stdout(&output)
}

/// Returns the answer to a question about a table, its rows in order.
fn query(folder: &Path, sql: &str, table: &str) -> Vec<String> {
    let answer = answer(folder, &["query", sql, table, "--format", "csv"]);
    let mut rows: Vec<String> = answer.lines().skip(1).map(String::from).collect();
    rows.sort();
    rows
}

/// Returns how many parts `per_page` has in a checkpoint, how many of them are pieces, and their rows.
fn parts(folder: &Path, more: &[&str]) -> [u64; 3] {
    let line = [&["state", "show", "pages", "--format", "json"][..], more].concat();
    let shown: Value = serde_json::from_str(&answer(folder, &line)).unwrap();
    let step = shown["state"].as_array().unwrap().iter().find(|step| step["step"] == "per_page").unwrap().clone();
    ["parts", "pieces", "rows"].map(|name| step[name].as_u64().unwrap())
}

/// Makes a project of which each page comes once more, when its windows wait in files already. Nothing is final.
fn twice(text: &str, pages: i32) -> tempfile::TempDir {
    let project = project(TUMBLING, 50, pages);
    add(project.path(), 0..50, pages);
    fs::write(project.path().join("pages.yaml"), text.replace("WINDOW", TUMBLING)).unwrap();
    project
}

const OF_TABLE: &str = "select window_start, window_end, page, views, total from t";

#[test]
fn an_export_merges_the_pieces_of_a_window() {
    let project = twice(&PIPELINE.replace("jsonl: {path: pages.jsonl}", "parquet: {path: pages}"), 200);
    let folder = project.path();
    summary(folder, "stream", &["--until-caught-up", "--memory", "1MiB", "--out", "streamed"]);
    let [_, pieces, rows] = parts(folder, &[]);
    assert!(pieces > 0 && rows > 1_000, "no group of 1,000 is in two of {pieces} pieces");
    answer(folder, &["state", "export", "pages.yaml", "--to", "tables"]);
    summary(folder, "batch", &[]);
    let expected = query(folder, &format!("{OF_TABLE} where not final"), "t=pages");
    assert_eq!(expected.len(), 1_000);
    assert_eq!(query(folder, OF_TABLE, "t=tables/per_page.parquet"), expected);
}

#[test]
fn an_export_has_an_id_once_that_is_in_several_pieces() {
    let once = PIPELINE.replacen("group_by: [page]", "group_by: [page]\n    unique_by: [page, n]", 1);
    let project = twice(&once, 100);
    let folder = project.path();
    summary(folder, "stream", &["--until-caught-up", "--memory", "1MiB"]);
    let [_, pieces, rows] = parts(folder, &[]);
    // A hundred pages in each of fifty minutes.
    assert!(pieces > 0 && rows > 5_000, "no id of 5,000 is in two of {pieces} pieces");
    answer(folder, &["state", "export", "pages.yaml", "--to", "tables"]);
    assert_eq!(query(folder, "select count(*) as n from t", "t=tables/per_page.parquet"), ["5000"]);
}

#[test]
fn pins_and_forks_have_the_pieces() {
    let project = twice(PIPELINE, 200);
    let folder = project.path();
    let narrow = ["--until-caught-up", "--memory", "1MiB"];
    summary(folder, "stream", &narrow);
    answer(folder, &["state", "pin", "pages", "early"]);
    let pinned = parts(folder, &["--at", "early"]);
    assert_eq!(pinned, parts(folder, &[]));
    assert!(pinned[1] > 0, "{pinned:?}");
    // The job goes on, so that what the pin was copied from is gone.
    for minutes in [50..60, 60..130, 130..140, 140..150] {
        add(folder, minutes, 200);
        summary(folder, "stream", &narrow);
    }
    assert_eq!(parts(folder, &["--at", "early"]), pinned);
    answer(folder, &["state", "export", "pages.yaml", "--at", "early", "--to", "tables"]);
    let views = query(folder, "select min(views) as least, max(views) as most from t", "t=tables/per_page.parquet");
    assert_eq!(views, ["20,20"], "each page comes twice in each of ten minutes");
    answer(folder, &["state", "fork", "pages.yaml", "--at", "early", "--to", ".fork"]);
    assert_eq!(parts(folder, &["--state-dir", ".fork"]), pinned);
    answer(folder, &["state", "clear", "pages", "--force"]);
    let fork = summary(folder, "stream", &[&narrow[..], &["--state-dir", ".fork", "--out", "forked"]].concat());
    assert!(fork["spilled"]["merged"].as_u64() > Some(0), "{fork}");
    let whole = summary(folder, "batch", &["--out", "whole"]);
    assert_eq!(digests(&fork), digests(&whole));
}

#[test]
fn the_first_checkpoint_of_a_stream_that_begins_in_its_lake_has_pieces() {
    let with_lake = PIPELINE.replace("journal: {path: log}", "journal: {path: log}\n    lake: {path: lake}");
    let project = twice(&with_lake, 200);
    let folder = project.path();
    answer(folder, &["archive", "pages.yaml", "--until-caught-up", "--roll-rows", "700"]);
    add(folder, 50..150, 200);
    let narrow = ["--until-caught-up", "--memory", "1MiB"];
    let handover =
        summary(folder, "stream", &[&narrow[..], &["--bootstrap", "lake", "--checkpoint-every", "1h"]].concat());
    let [_, pieces, _] = parts(folder, &["--at", "1"]);
    assert!(pieces > 0, "the lake was read without a budget");
    let whole = summary(folder, "stream", &["--until-caught-up", "--state-dir", ".whole", "--out", "whole"]);
    assert_eq!(digests(&handover), digests(&whole));
    let left = folder.join(".samestream/pages/stream/.spill");
    assert!(!left.exists(), "scratch files stay in {}", left.display());
}

/// Rows of every record go to standard output, whose reader does not read.
#[test]
fn a_stuck_sink_stops_reading_and_nothing_else() {
    let text = PIPELINE.split("steps:").next().unwrap().to_string()
        + "steps:\n  rows: {from: clicks, select: [page, n]}\nsinks:\n  rows: {from: rows, stdout: {}}\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pages.yaml"), text).unwrap();
    add(folder.path(), 0..50, 1000);
    let arguments = ["run", "pages.yaml", "--mode", "stream", "--checkpoint-every", "50ms", "--memory", "64MiB", "-q"];
    let mut child = samestream(folder.path()).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let resident = |child: &Child| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    // Until it is stuck: it neither reads nor computes any more.
    let used = |child: &Child| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<i64> = stat.rsplit(')').next().unwrap().split(' ').filter_map(|f| f.parse().ok()).collect();
        // The twelfth and thirteenth after the state, which is no number: `ppid` is the first here.
        fields[10] + fields[11]
    };
    let begun = Instant::now();
    let (mut before, mut still) = (0, 0);
    while still < 5 {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never gets stuck");
        std::thread::sleep(Duration::from_millis(400));
        let now = used(&child);
        still = if now == before && now > 0 { still + 1 } else { 0 };
        before = now;
    }
    let (bytes, work) = (resident(&child), used(&child));
    (1..4).for_each(|turn| add(folder.path(), turn * 50..turn * 50 + 50, 1000));
    std::thread::sleep(Duration::from_millis(500));
    let (bytes_after, work_after) = (resident(&child), used(&child));
    assert!(bytes_after < bytes + 4096, "{bytes} KiB, then {bytes_after} KiB");
    assert!(work_after <= work + 2, "it worked {} hundredths of a second while it was stuck", work_after - work);
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    // Then the reader reads: each row comes, once.
    let rows = BufReader::new(child.stdout.take().unwrap()).lines().take(200_000).map(Result::unwrap);
    let mut rows: Vec<String> = rows.collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 200_000);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Two partitions with a record each second; one gives few records at once, the other many.
struct Uneven {
    partitions: [i32; 2],
    /// How many records each has, how many were given, whether it is paused.
    ends: [i64; 2],
    next: [i64; 2],
    paused: [bool; 2],
    /// By how many seconds the second was ahead of the first at most, while the first had records.
    ahead: Arc<AtomicI64>,
}

impl LogStream for Uneven {
    fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    fn starts(&mut self) -> engine::Result<Vec<i64>> {
        Ok(vec![0, 0])
    }

    fn ends(&mut self) -> engine::Result<Vec<i64>> {
        Ok(self.ends.to_vec())
    }

    fn seek(&mut self, offsets: &[i64]) -> engine::Result<()> {
        self.next.copy_from_slice(offsets);
        Ok(())
    }

    fn poll(&mut self, _: Duration, _: usize) -> engine::Result<Vec<Polled>> {
        let mut polled = Vec::new();
        for (place, many) in [(0, 10), (1, 200)] {
            if self.paused[place] {
                continue;
            }
            let end = (self.next[place] + many).min(self.ends[place]);
            let mut records = RawBuilder::new(place as i32);
            for second in self.next[place]..end {
                let time = time(1_767_225_600 + second);
                let value = format!(r#"{{"page":"/{}","n":1,"at":"{time}"}}"#, second % 50);
                records.push(second, 0, None, Some(value.as_bytes()), Vec::new());
            }
            polled.push(match end == self.next[place] {
                true => Polled::Reached(place as i32, end),
                false => Polled::Records(records.finish()),
            });
            self.next[place] = end;
        }
        if self.next[0] < self.ends[0] {
            self.ahead.fetch_max(self.next[1] - self.next[0], Ordering::Relaxed);
        }
        Ok(polled)
    }

    fn pause(&mut self, partition: i32, paused: bool) -> engine::Result<()> {
        self.paused[partition as usize] = paused;
        Ok(())
    }
}

/// Returns a time of the first days of 2026, given in seconds, as text.
fn time(seconds: i64) -> String {
    engine::rfc3339(seconds * 1_000_000)
}

/// Runs a stream over two such partitions within a budget; returns by how much the second was ahead, and the outcome.
fn uneven(ends: [i64; 2], budget: Option<Budget>) -> (i64, engine::Result<runtime::Outcome>) {
    let text =
        PIPELINE.replace("WINDOW", "{tumbling: {size: 1m}}").replace("out_of_orderness: 1h", "out_of_orderness: 1m");
    let loaded = pipeline::load("pages.yaml", &text, &pipeline::Variables::default());
    let engine = Engine::new(Arc::new(loaded.map_err(|errors| format!("{errors:?}")).unwrap().plan));
    let ahead = Arc::new(AtomicI64::new(0));
    let stream = Uneven { partitions: [0, 1], ends, next: [0; 2], paused: [false; 2], ahead: ahead.clone() };
    let settings = Settings { close_every: Duration::ZERO, memory: budget, ..Settings::default() };
    let streams: Vec<Option<Box<dyn LogStream>>> = vec![Some(Box::new(stream))];
    let outlet = &mut runtime::job::Nowhere;
    let outcome = runtime::stream::run(&engine, streams, Begin::First, &Until::CaughtUp, outlet, &settings, &());
    (ahead.load(Ordering::Relaxed), outcome)
}

#[test]
fn a_partition_that_is_ahead_waits_for_the_others() {
    let (ahead, outcome) = uneven([20_000, 20_000], None);
    outcome.unwrap();
    // `max_drift` is ten minutes; what one poll brings may come on top of it.
    assert!((600..=600 + 200).contains(&ahead), "{ahead} seconds");
}

#[test]
fn a_partition_that_is_silent_for_a_day_holds_up_rows_and_no_memory() {
    // Nothing is final after the first minute, so every window of the day is open: 1,440 with 50 groups.
    let day = [60, 86_400];
    let (_, whole) = uneven(day, None);
    let budget = |stop_above| {
        let scratch = tempfile::tempdir().unwrap();
        let budget =
            Budget { bytes: 1 << 20, spill_above: stop_above / 2, stop_above, scratch: Some(scratch.path().into()) };
        let (_, outcome) = uneven(day, Some(budget));
        let left = fs::read_dir(scratch.path()).map_or(0, Iterator::count);
        assert_eq!(left, 0, "files that nobody needs are removed");
        outcome
    };
    // Were more held than what may leave and a little for what is at hand, the run would stop.
    let bounded = budget(256 << 10).unwrap();
    assert!(bounded.spilled.pieces > 1000, "{:?}", bounded.spilled);
    let whole = whole.unwrap();
    assert_eq!(whole.tally.total().1.to_string(), bounded.tally.total().1.to_string());
    assert_eq!(whole.tally.windows, bounded.tally.windows);
    // The check of the check: less than a window needs is found.
    assert_eq!(budget(1 << 10).err().map(|error| error.code), Some(engine::Code::Memory));
}
