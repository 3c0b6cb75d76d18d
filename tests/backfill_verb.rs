//! `samestream backfill`: chunks that together are what one run over the range gives, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::codes::Project;
use crate::restart::{ok, run, summary};
use crate::runs_verb::{json, runs};
use crate::servers::{canonical, signal, wait_for};
use crate::state_verb::refused;

const HEAD: &str = r#"version: 1
name: coins
sources:
  clicks:
    journal: {path: log}
    lake: {path: lake}
    schema: {user: string!, page: string!, n: int64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 30s}
steps:
  per_page: {from: clicks, window: {tumbling: {size: 10m}}, group_by: [page], aggregate: {views: "count(*)", total: "sum(n)"}}
"#;

const MORE: &str = r#"  sliding: {from: clicks, window: {hopping: {size: 30m, every: 10m}}, group_by: [page], aggregate: {users: "count_distinct(user)"}, top: {n: 2, by: [{users: desc}]}}
  visits: {from: clicks, window: {session: {gap: 4m}}, group_by: [user], aggregate: {clicks: "count(*)"}}
  some: {from: clicks, where: "n % 5 = 0"}
  pairs: {join: {left: clicks, right: some, on: [user], within: {before: 5m, after: 5m}}, select: [{a: "left.page"}, {b: "right.n"}]}
  paired: {from: pairs, window: {tumbling: {size: 10m}}, group_by: [a], aggregate: {pairs: "count(*)", total: "sum(b)"}}
  hours: {from: per_page, window: {tumbling: {size: 1h}}, aggregate: {pages: "count(*)", views: "sum(views)"}}
"#;

const SINKS: [&str; 5] = ["per_page", "sliding", "visits", "paired", "hours"];

/// All of the log but for its first half hour and its last records' windows.
const RANGE: &str = "--from 2026-01-01T00:35:00Z --to 2026-01-01T05:10:00Z";

/// The records of some minutes, some of them behind, some late.
fn records(minutes: std::ops::Range<i64>) -> String {
    let line = |id: i64| {
        let behind = if id % 53 == 52 { 1500 } else { id * 37 % 40 };
        let at = engine::rfc3339((1_767_225_600 + (id * 15 - behind).max(0)) * 1_000_000);
        let (user, page, n) = (id * 7 % 23, id * id % 11, id % 9);
        format!("{{\"user\":\"u{user}\",\"page\":\"/{page}\",\"n\":{n},\"at\":\"{at}\"}}\n")
    };
    (minutes.start * 4..minutes.end * 4).map(line).collect()
}

fn add(at: &Path, lines: &str) {
    fs::write(at.join("records.jsonl"), lines).unwrap();
    ok(at, "append log records.jsonl --partition-by user --partitions 2 -q");
    ok(at, "archive coins.yaml --until-caught-up --roll-rows 100 -q");
}

/// A log of six hours in a lake of small files, and sinks of these steps.
fn project(steps: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sinks = steps.iter().map(|name| format!("  {name}: {{from: {name}, jsonl: {{path: out/{name}.jsonl}}}}\n"));
    let more = if steps.len() > 1 { MORE } else { "" };
    fs::write(folder.path().join("coins.yaml"), format!("{HEAD}{more}sinks:\n{}", sinks.collect::<String>())).unwrap();
    add(folder.path(), &records(0..360));
    folder
}

/// The rows of a sink, in one order, whether it is a file or a folder.
fn rows(path: &Path) -> Vec<String> {
    if !path.is_dir() {
        return canonical(&fs::read_to_string(path).unwrap());
    }
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_rows = |path: &std::path::PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with(['.', '_']);
    canonical(&files.filter(is_rows).map(|path| fs::read_to_string(path).unwrap()).collect::<String>())
}

/// The rows of a step, in the file that the pipeline says or in the folder that `--out` makes.
fn sink(at: &Path, folder: &str, name: &str) -> Vec<String> {
    let single = at.join(folder).join(format!("{name}.jsonl"));
    rows(&if single.exists() { single } else { at.join(folder).join(name) })
}

fn start_of(row: &str) -> String {
    let row: Value = serde_json::from_str(row).unwrap();
    row["window_start"].as_str().unwrap().to_string()
}

/// Runs a line with FAILPOINTS set.
fn with_points(at: &Path, line: &str, points: &str) -> Output {
    samestream(at).env("FAILPOINTS", points).args(line.split_whitespace()).output().unwrap()
}

fn must_have_died(output: &Output) {
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "it came by the point and died: {}", stderr(output));
}

#[test]
fn whatever_the_chunks_and_however_many_at_once_a_backfill_gives_what_one_run_gives() {
    let project = project(&SINKS);
    let at = project.path();
    ok(at, &format!("run coins.yaml --mode batch {RANGE} --out one --summary one.json"));
    let one = summary(at, "one.json");
    for (turn, how) in [
        "--chunk 10m",
        "--chunk 1d",
        "--chunk 47m --parallel 3",
        "--chunk 13m --parallel 5 --threads 1",
        "--chunk 1h --memory 16MiB",
    ]
    .iter()
    .enumerate()
    {
        ok(at, &format!("backfill coins.yaml {RANGE} {how} --out bf{turn} --summary bf.json"));
        let bf = summary(at, "bf.json");
        for name in SINKS {
            let (found, expected) = (sink(at, &format!("bf{turn}"), name), sink(at, "one", name));
            assert!(expected.len() > 4, "{name}");
            assert_eq!(found, expected, "{name} with {how}");
        }
        for name in ["digest_final", "digest_all", "rows_written", "start", "end", "definition"] {
            assert_eq!(bf[name], one[name], "{name} with {how}");
        }
        let parts = bf["parts"].as_array().unwrap();
        assert_eq!((&bf["done"], &bf["outcome"]), (&bf["chunks"], &"done".into()));
        assert_eq!(parts.len() as u64, bf["chunks"].as_u64().unwrap());
        assert_eq!((&parts[0]["from"], &parts[parts.len() - 1]["to"]), (&bf["from"], &bf["to"]), "{how}");
        assert!(parts.windows(2).all(|two| two[0]["to"] == two[1]["from"]), "chunks touch");
    }
}

#[test]
fn only_the_windows_of_the_range_are_replaced_and_runs_of_chunks_can_be_retried() {
    let project = project(&SINKS);
    let at = project.path();
    ok(at, "run coins.yaml --mode batch --end clicks:0=300,1=300");
    let before = SINKS.map(|name| sink(at, "out", name));
    ok(at, "run coins.yaml --mode batch --out whole --state-dir .other");
    let line = format!("backfill coins.yaml {RANGE} --chunk 30m");
    let output = run(at, &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let check = || {
        for (name, before) in SINKS.iter().zip(&before) {
            let is_in = |row: &&String| ("2026-01-01T00:35".."2026-01-01T05:10").contains(&&start_of(row)[..16]);
            let whole = sink(at, "whole", name);
            let mut expected: Vec<String> =
                before.iter().filter(|row| !is_in(row)).chain(whole.iter().filter(is_in)).cloned().collect();
            expected.sort();
            assert_ne!(&expected, before, "{name}");
            // Of hours the range holds all that differ.
            assert!(*name == "hours" || expected != whole, "{name}");
            assert_eq!(sink(at, "out", name), expected, "{name}");
        }
    };
    check();
    let runs = runs(at);
    let chunks: Vec<&Value> = runs.iter().filter(|run| run["by"] == "backfill 1").collect();
    assert_eq!(chunks.len(), 10);
    assert!(chunks.iter().all(|run| run["outcome"] == "done" && run["summary"]["range"] == true), "{chunks:#?}");
    assert_eq!(
        (&chunks[9]["from"], &chunks[9]["to"]),
        (&"2026-01-01T05:05:00Z".into(), &"2026-01-01T05:10:00Z".into())
    );
    let log = stdout(&run(at, &format!("runs logs {} --format table", chunks[3]["id"])));
    assert!(log.contains("✓ coins  batch   2026-01-01T02:05:00Z .. 2026-01-01T02:35:00Z"), "{log}");
    // What was wrong with a chunk is put right by its run alone, and nothing else changes.
    let retried = run(at, &format!("runs retry {}", chunks[3]["id"]));
    assert_eq!(retried.status.code(), Some(0), "{}", stderr(&retried));
    check();
    let all = json(at, "runs list --limit 1");
    for name in ["digest_all", "from", "to", "start", "end"] {
        assert_eq!(all[0]["summary"][name], chunks[3]["summary"][name], "{name}");
    }
}

/// Reads a file again and again; each time each chunk must be as it was before or as it is in the end.
fn watched<T>(
    at: &Path,
    name: &str,
    expected: &[String],
    chunk: impl Fn(&str) -> String + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let by_chunk = |rows: &[String]| {
        let mut chunks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        rows.iter().for_each(|row| chunks.entry(chunk(&start_of(row))).or_default().push(row.clone()));
        chunks
    };
    let path = at.join(format!("out/{name}.jsonl"));
    let (before, after) = (by_chunk(&rows(&path)), by_chunk(expected));
    assert_ne!(before, after);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                let now = by_chunk(&rows(&path));
                let mut replaced = 0;
                for key in before.keys().chain(after.keys()).chain(now.keys()) {
                    let [was, will, is] = [&before, &after, &now].map(|chunks| chunks.get(key));
                    assert!(is == was || is == will, "half a chunk {key}");
                    replaced += usize::from(is == will && was != will);
                }
                seen.insert(replaced);
            }
            seen
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        let seen = reader.join().unwrap();
        assert!(seen.len() > 3, "the reader saw it between chunks: {seen:?}");
        done
    })
}

#[test]
fn a_backfill_that_is_killed_again_and_again_leaves_whole_chunks_and_goes_on_to_the_same_bytes() {
    let project = project(&SINKS);
    let at = project.path();
    ok(at, "run coins.yaml --mode batch --end clicks:0=200,1=200");
    let range = "--from 2025-12-31T23:00:00Z --to 2026-01-01T07:00:00Z";
    ok(at, &format!("run coins.yaml --mode batch {range} --out one --summary one.json --state-dir .other"));
    let line = format!("backfill coins.yaml {range} --chunk 20m --parallel 2 --summary bf.json");
    let expected = sink(at, "one", "per_page");
    let of_chunk = |start: &str| {
        let minute: i64 = start[11..13].parse::<i64>().unwrap() * 60 + start[14..16].parse::<i64>().unwrap();
        format!("{}", minute / 20)
    };
    watched(at, "per_page", &expected, of_chunk, || {
        for points in
            ["backfill.committed=1*off->return", "sink.published=2*off->return", "sink.published=9*off->return"]
        {
            must_have_died(&with_points(at, &line, points));
        }
        for turn in 0..8u64 {
            let mut child = samestream(at)
                .args(line.split_whitespace())
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(150 + turn * 137 % 500));
            let is_over = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            if is_over {
                break;
            }
        }
        let output = run(at, &line);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    });
    for name in SINKS {
        assert_eq!(sink(at, "out", name), sink(at, "one", name), "{name}");
    }
    let (bf, one) = (summary(at, "bf.json"), summary(at, "one.json"));
    assert_eq!((&bf["digest_all"], &bf["digest_final"]), (&one["digest_all"], &one["digest_final"]));
    assert_eq!(bf["done"], 24);
}

#[test]
fn a_backfill_goes_on_in_the_log_as_it_was_when_it_began_though_the_lake_has_grown() {
    let project = project(&["per_page"]);
    let at = project.path();
    let range = "--from 2026-01-01T03:00:00Z --to 2026-01-01T08:00:00Z";
    let one = |out: &str| ok(at, &format!("run coins.yaml --mode batch {range} --out {out} --state-dir .other"));
    one("then");
    let line = format!("backfill coins.yaml {range} --chunk 1h --out bf");
    must_have_died(&with_points(at, &line, "backfill.committed=2*off->return"));
    // A partition that has come since has its part in what is final.
    fs::create_dir(at.join("lake/partition=2")).unwrap();
    for name in ["00000000000000000000.parquet", "00000000000000000100.parquet"] {
        fs::copy(at.join("lake/partition=1").join(name), at.join("lake/partition=2").join(name)).unwrap();
    }
    let text = refused(at, &line, "E_PARTITIONS_CHANGED", 5);
    assert!(text.contains("when backfill 1 began") && text.contains("--again"), "{text}");
    fs::remove_dir_all(at.join("lake/partition=2")).unwrap();
    add(at, &records(360..420));
    one("now");
    let output = run(at, &line);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    // The third chunk was in the sinks, and nobody had noted it.
    assert!(text.contains("goes on  with backfill 1: 2 of 5 chunks are done"), "{text}");
    assert_eq!(sink(at, "bf", "per_page"), sink(at, "then", "per_page"));
    assert_ne!(sink(at, "now", "per_page"), sink(at, "then", "per_page"));
    let of_it = runs(at).iter().filter(|run| run["by"] == "backfill 1").count();
    assert_eq!(of_it, 3 + 3, "what was done and noted is not done again");
    // It is done, so the same line begins another one, in the log of now.
    let text = stderr(&run(at, &line));
    assert!(text.contains("backfill 2") && !text.contains("goes on"), "{text}");
    assert_eq!(sink(at, "bf", "per_page"), sink(at, "now", "per_page"));
}

#[test]
fn a_chunk_that_fails_ends_the_backfill_and_the_next_call_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let check = "per_page: {from: clicks, check: [{name: small, rule: \"n < 1000\", else: fail}], window";
    let text = HEAD.replace("per_page: {from: clicks, window", check);
    fs::write(
        at.join("coins.yaml"),
        text + "sinks:\n  per_page: {from: per_page, jsonl: {path: out/per_page.jsonl}}\n",
    )
    .unwrap();
    let good = records(0..360);
    let place = good.find("T03:50").unwrap();
    let (begin, end) = (good[..place].rfind("\"n\":").unwrap(), good[..place].rfind(",\"at\"").unwrap());
    let wrong = format!("{}\"n\":5000{}", &good[..begin], &good[end..]);
    add(at, &wrong);
    let line = "backfill coins.yaml --from 2026-01-01 --to 2026-01-01T06:00:00Z --chunk 1h --parallel 3";
    for goes_on in [false, true] {
        let text = refused(at, line, "E_CHECK", 3);
        assert!(text.contains("the chunk 2026-01-01T03:00:00Z .. 2026-01-01T04:00:00Z"), "{text}");
        assert!(text.contains("3 of 6 are done; the same command goes on"), "{text}");
        assert_eq!(text.contains("goes on  with backfill 1: 3 of 6 chunks are done"), goes_on, "{text}");
    }
    let outcomes = |outcome: &str| runs(at).iter().filter(|run| run["outcome"] == outcome).count();
    assert_eq!((outcomes("done"), outcomes("running")), (3, 0));
    for name in ["log", "lake"] {
        fs::remove_dir_all(at.join(name)).unwrap();
    }
    add(at, &good);
    ok(at, line);
    assert_eq!(outcomes("done"), 6);
    ok(at, "run coins.yaml --mode batch --from 2026-01-01 --to 2026-01-01T06:00:00Z --out one --state-dir .other");
    assert_eq!(sink(at, "out", "per_page"), sink(at, "one", "per_page"));
}

#[test]
fn a_backfill_that_is_asked_to_stop_does_so_between_chunks_and_goes_on_later() {
    let project = project(&["per_page"]);
    let at = project.path();
    let line = "backfill coins.yaml --from 2026-01-01 --to 2026-01-01T06:00:00Z --chunk 20m";
    let mut child = samestream(at)
        .env("FAILPOINTS", "backfill.committed=sleep(300)")
        .args(line.split(' '))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a chunk", || runs(at).iter().any(|run| run["outcome"] == "done"));
    signal(&child, "-TERM");
    wait_for("its end", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("are done; the same command goes on"), "{}", stderr(&output));
    let done = runs(at).iter().filter(|run| run["outcome"] == "done").count();
    assert!((1..18).contains(&done), "{done}");
    let text = stderr(&run(at, line));
    assert!(text.contains(&format!("with backfill 1: {done} of 18 chunks are done")), "{text}");
    ok(at, "run coins.yaml --mode batch --from 2026-01-01 --to 2026-01-01T06:00:00Z --out one --state-dir .other");
    assert_eq!(sink(at, "out", "per_page"), sink(at, "one", "per_page"));
}

#[test]
fn a_backfill_of_another_definition_is_not_gone_on_with() {
    let project = project(&["per_page"]);
    let at = project.path();
    let line = "backfill coins.yaml --from 2026-01-01 --to 2026-01-01T06:00:00Z --chunk 1h";
    must_have_died(&with_points(at, line, "backfill.committed=2*off->return"));
    let text = refused(at, &format!("{line} --end clicks:0=300"), "E_STATE_FOREIGN", 5);
    assert!(text.contains("backfill 1 over this range is not done") && text.contains("other offsets"), "{text}");
    let file = at.join("coins.yaml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("sum(n)", "max(n)")).unwrap();
    let before = sink(at, "out", "per_page");
    let text = refused(at, line, "E_STATE_FOREIGN", 5);
    for words in ["backfill 1 over this range", "another definition", "2 of its 6 chunks are done", "--again"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    assert_eq!(sink(at, "out", "per_page"), before, "nothing was touched");
    ok(at, &format!("{line} --again"));
    ok(at, "run coins.yaml --mode batch --from 2026-01-01 --to 2026-01-01T06:00:00Z --out one --state-dir .other");
    assert_eq!(sink(at, "out", "per_page"), sink(at, "one", "per_page"));
    // The one that was given up is not gone on with, though it is the only one of its definition that is not done.
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("max(n)", "sum(n)")).unwrap();
    let text = stderr(&run(at, line));
    assert!(text.contains("backfill 3") && !text.contains("goes on"), "{text}");
}

#[test]
fn what_cannot_be_backfilled_is_refused_before_anything_is_touched() {
    let project = Project::archived();
    let at = project.path();
    let all = "--from 2026-01-01 --to 2026-01-02";
    let untouched = || assert!(!at.join("out.jsonl").exists() && json(at, "runs list").as_array().unwrap().is_empty());
    refused(at, "backfill coins.yaml --from 2026-01-02 --to 2026-01-01", "E_EMPTY", 2);
    refused(at, "backfill coins.yaml --from 2030-01-01 --to 2030-01-02", "E_EMPTY", 2);
    refused(at, "backfill coins.yaml --from 1970-01-01 --to 2030-01-02 --chunk 1m", "E_USAGE", 2);
    refused(at, &format!("backfill coins.yaml {all} --chunk 0s"), "E_USAGE", 2);
    refused(at, &format!("backfill coins.yaml {all} --memory 1GiB --parallel 2"), "E_USAGE", 2);
    refused(at, &format!("backfill coins.yaml {all} --sinks nowhere"), "E_EMPTY", 2);
    refused(at, &format!("backfill coins.yaml {all} --end clicks:0=7"), "E_CUT", 2);
    untouched();
    {
        let _lock = project.lock();
        refused(at, &format!("backfill coins.yaml {all}"), "E_STATE_BUSY", 5);
    }
    project.changed(&[(
        "sinks:\n",
        "  some: {from: clicks, where: \"n > 1\"}\nsinks:\n  some: {from: some, jsonl: {path: some.jsonl}}\n",
    )]);
    let text = refused(at, &format!("backfill coins.yaml {all}"), "E_UNSUPPORTED", 2);
    assert!(text.contains("sink `some` holds rows without `window_start`") && text.contains("--sinks"), "{text}");
    untouched();
    ok(at, &format!("backfill coins.yaml {all} --sinks out"));
    assert!(at.join("out.jsonl").exists() && !at.join("some.jsonl").exists());
    ok(at, "backfill coins.yaml --from 2030-01-01 --to 2030-01-02 --sinks out --allow-empty");
}

#[test]
fn a_range_without_rows_replaces_nothing_and_a_chunk_without_rows_is_no_error() {
    let project = project(&["per_page"]);
    let at = project.path();
    ok(at, "run coins.yaml --mode batch");
    let before = sink(at, "out", "per_page");
    let file = at.join("coins.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let only = |what: &str| {
        let with = format!("per_page: {{from: clicks, where: \"{what}\", window");
        fs::write(&file, text.replace("per_page: {from: clicks, window", &with)).unwrap();
    };
    only("n > 1000");
    let line = "backfill coins.yaml --from 2026-01-01 --to 2026-01-01T06:00:00Z --chunk 1h --parallel 2";
    let output = refused(at, line, "E_EMPTY", 2);
    assert!(output.contains("--allow-empty"), "{output}");
    assert_eq!(sink(at, "out", "per_page"), before, "a mistake replaces nothing");
    // Some chunks have no rows, the first two among them.
    only("at >= timestamp '2026-01-01 02:10:00' and at < timestamp '2026-01-01 03:50:00'");
    ok(at, &format!("{line} --summary bf.json"));
    ok(at, "run coins.yaml --mode batch --from 2026-01-01 --to 2026-01-01T06:00:00Z --out one --state-dir .other");
    assert_eq!(sink(at, "out", "per_page"), sink(at, "one", "per_page"));
    assert_eq!(summary(at, "bf.json")["done"], 6);
    only("n > 1000");
    ok(at, &format!("{line} --allow-empty"));
    assert_eq!(sink(at, "out", "per_page"), Vec::<String>::new());
}

/// Counts, by the footers alone, records and bytes of the row groups with records in `[from, to)`, and these groups.
fn by_footers(at: &Path, (from, to): (i64, i64), columns: &[&str]) -> (u64, u64, u64) {
    let (mut rows, mut bytes, mut groups) = (0, 0, 0);
    for partition in [0, 1] {
        for entry in fs::read_dir(at.join(format!("lake/partition={partition}"))).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "parquet") {
                continue;
            }
            let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
            for group in reader.metadata().row_groups() {
                let column =
                    |name: &str| group.columns().iter().find(|chunk| chunk.column_path().string() == name).unwrap();
                let Some(Statistics::Int64(times)) = column("at").statistics() else { panic!("no statistics") };
                if *times.max_opt().unwrap() < from || *times.min_opt().unwrap() >= to {
                    continue;
                }
                rows += group.num_rows() as u64;
                bytes += columns.iter().map(|name| column(name).compressed_size() as u64).sum::<u64>();
                groups += 1;
            }
        }
    }
    (rows, bytes, groups)
}

#[test]
fn the_estimate_is_what_the_footers_say_and_what_is_read() {
    let project = project(&["per_page"]);
    let at = project.path();
    let range = "--from 2026-01-01T00:30:00Z --to 2026-01-01T04:00:00Z --chunk 1h";
    let dry = json(at, &format!("backfill coins.yaml {range} --dry-run"));
    assert!(!at.join(".samestream").exists(), "nothing is touched");
    let micros = |text: &Value| runtime::time::parse(text.as_str().unwrap()).unwrap();
    // Records of windows of ten minutes that begin before `to` come up to ten minutes after it.
    let of = |from: i64, to: i64| by_footers(at, (from, to + 600_000_000), &["page", "n", "at", "_offset"]);
    let (mut rows, mut bytes) = (0, 0);
    let chunks = dry["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), 4);
    for chunk in chunks {
        let (expected, stored, _) = of(micros(&chunk["from"]), micros(&chunk["to"]));
        assert_eq!(chunk["predicted"]["rows_read"], expected, "{chunk}");
        assert_eq!(chunk["predicted"]["bytes"], stored, "{chunk}");
        assert!(expected < 1440, "row groups are left out");
        (rows, bytes) = (rows + expected, bytes + stored);
    }
    assert_eq!(dry["predicted"], serde_json::json!({"rows_read": rows, "bytes": bytes}));
    assert_eq!(dry["row_groups"], of(micros(&dry["from"]), micros(&dry["to"])).2);
    let text = stderr(&run(at, &format!("backfill coins.yaml {range} --summary bf.json")));
    assert!(text.contains("the first chunk will tell"), "{text}");
    let bf = summary(at, "bf.json");
    for amount in ["predicted", "actual"] {
        assert_eq!((&bf[amount]["rows_read"], &bf[amount]["bytes"]), (&rows.into(), &bytes.into()), "{amount}");
        assert!(bf[amount]["seconds"].as_f64().unwrap() > 0.0, "{amount}");
    }
    let read: u64 = runs(at).iter().map(|run| run["summary"]["rows_read"].as_u64().unwrap()).sum();
    assert_eq!(read, rows, "the runs say the same");
    // From now on it is known how fast it is.
    let dry = json(at, &format!("backfill coins.yaml {range} --dry-run"));
    let took = bf["actual"]["seconds"].as_f64().unwrap();
    let predicted = dry["predicted"]["seconds"].as_f64().unwrap();
    assert!((predicted - took).abs() < took * 1e-6, "{predicted} is what it took the last time, {took}");
    // A journal says nothing of times: each chunk reads all of it, and that is told.
    let file = at.join("coins.yaml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("    lake: {path: lake}\n", "")).unwrap();
    let dry = json(at, &format!("backfill coins.yaml {range} --dry-run"));
    assert_eq!(dry["predicted"]["rows_read"], 4 * 1440);
    let text = stdout(&run(at, &format!("backfill coins.yaml {range} --dry-run --format table")));
    assert!(
        text.contains("4.0 times what one chunk over all would read: most of the log does not say which times"),
        "{text}"
    );
}

#[test]
fn a_reader_in_a_pipe_gets_a_line_for_each_chunk_and_programs_get_json() {
    let project = project(&["per_page"]);
    let at = project.path();
    let range = "--from 2026-01-01T00:30:00Z --to 2026-01-01T04:00:00Z --chunk 1h";
    let text = stderr(&run(at, &format!("backfill coins.yaml {range}")));
    for words in
        ["  1/4  2026-01-01T00:30Z .. 2026-01-01T01:30Z   read ", "  4/4  ", "✓ coins  backfill 1", "(predicted "]
    {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    let text = stderr(&run(at, &format!("backfill coins.yaml {range} --format json")));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.iter().map(|line| line["done"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(lines[3]["chunk"]["to"], "2026-01-01T04:00:00Z");
    assert_eq!(stderr(&run(at, &format!("backfill coins.yaml {range} -q"))), "");
    let schema = json(at, "schema backfill");
    ok(at, &format!("backfill coins.yaml {range} --summary bf.json"));
    for name in summary(at, "bf.json").as_object().unwrap().keys() {
        assert!(schema["properties"][name].is_object(), "{name}");
    }
}
