//! The verbs that need a pipeline, end to end on small logs: a journal, a lake, both modes, nothing installed.

use std::path::Path;
use std::process::Output;

use crate::cli::{samestream, stderr, stdout};

/// A folder with the project's pipelines in it.
fn project() -> tempfile::TempDir {
    project_with("pipelines")
}

/// A folder with the files of one of the project's folders in it.
fn project_with(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(name)).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn run(folder: &Path, line: &str) -> Output {
    samestream(folder).args(line.split_whitespace()).output().expect("the program starts")
}

/// Runs a line that must end with exit code 0.
#[track_caller]
fn ok(folder: &Path, line: &str) -> Output {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(0), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    output
}

/// Runs a line that must fail with this exit code and error code.
#[track_caller]
fn fails(folder: &Path, line: &str, exit: i32, code: &str) -> String {
    let output = run(folder, line);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "`samestream {line}`\n{}{text}", stdout(&output));
    assert!(text.contains(&format!("error[{code}]")), "`samestream {line}`\n{text}");
    text
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

const GEN: &str = "gen --to journal:data/journal/clicks --events 30000 --rate 6 --late 2% --bad 0.5% --duplicates 1%";

#[test]
fn every_pipeline_gives_the_same_bytes_in_both_modes() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights");
    ok(at, &format!("replay flights --set vars.FLIGHTS={data}"));
    let mut names: Vec<String> = std::fs::read_dir(at.join("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let set = format!("--set vars.FLIGHTS={data}");
        ok(at, &format!("run {name} --mode stream --until-caught-up --summary stream.json {set}"));
        let held = ok(at, &format!("query {name} --format csv {set}"));
        ok(at, &format!("run {name} --mode batch --summary batch.json {set}"));
        let (stream, batch) = summaries(at, &name);
        assert!(stream["rows_late"].as_u64().unwrap() > 0, "{name} has no late record");
        let finals: u64 = stream["digest_final"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert!(finals > 0, "{name} has no final row");
        let sorted = |output: &Output| {
            let mut lines: Vec<String> = stdout(output).lines().map(String::from).collect();
            lines.sort();
            lines
        };
        let rows = ok(at, &format!("query {name} --format csv {set}"));
        assert_eq!(sorted(&held), sorted(&rows), "{name}");
        assert_eq!(sorted(&rows).len() as u64, 1 + batch["rows_written"].as_u64().unwrap(), "{name}");
        let verdict = stdout(&ok(at, &format!("verify {name} {set}")));
        assert!(verdict.ends_with(&format!("✓ {name}: stream and batch gave the same bytes\n")), "{verdict}");
    }
}

/// Returns what a stream and a batch run said of themselves, which must be the same.
#[track_caller]
fn summaries(at: &Path, name: &str) -> (serde_json::Value, serde_json::Value) {
    let (stream, batch) = (json(&at.join("stream.json")), json(&at.join("batch.json")));
    for field in [
        "definition",
        "digest_final",
        "digest_all",
        "digest_late",
        "digest_bad",
        "rows_read",
        "rows_late",
        "rows_written",
        "start",
        "end",
        "windows",
    ] {
        assert_eq!(stream[field], batch[field], "{name}: {field}");
    }
    (stream, batch)
}

/// What the rows must be, `tests/oracle/nexmark.py` says.
#[test]
fn every_nexmark_query_gives_the_same_bytes_in_both_modes() {
    let folder = project_with("pipelines/nexmark");
    let at = folder.path();
    ok(at, "gen nexmark --to journal:data/journal/nexmark --events 20000 --rate 50 --late 3% --bad 0.5%");
    ok(at, "archive nexmark/q0 --until-caught-up --roll-rows 1500");
    let files = std::fs::read_dir(at.join("pipelines/nexmark")).unwrap();
    let paths =
        files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    let mut names: Vec<String> = paths.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() >= 22, "{names:?}");
    // Auctions last up to 3,334 seconds divided by the rate.
    let set = "--set vars.LONGEST=70s --set vars.REGISTERED=5m --set vars.OPEN=1m";
    let mut late = 0;
    for name in names {
        let run = format!("run nexmark/{name} {set}");
        ok(at, &format!("{run} --mode stream --until-caught-up --summary stream.json"));
        ok(at, &format!("{run} --mode batch --summary batch.json"));
        let (stream, _) = summaries(at, &name);
        assert_eq!((&stream["rows_read"], &stream["rows_failed"]), (&20_000.into(), &0.into()), "{name}");
        assert!(stream["rows_written"].as_u64().unwrap() > 0, "{name} has no row");
        assert!(stream["rows_bad"].as_u64().unwrap() > 0, "{name} has no bad record");
        late += u64::from(stream["rows_late"].as_u64().unwrap() > 0);
    }
    // Rows of single records are never late, nor are those by the log's own time, nor is this log as long as a day.
    assert_eq!(late, 11);
    let text = fails(at, "gen nexmark --to journal:data/journal/other --keys 5", 2, "E_USAGE");
    assert!(text.contains("`--keys` is for the clicks"), "{text}");
}

#[test]
fn archive_goes_on_where_the_lake_ends_and_replay_gives_the_log_back() {
    let folder = project();
    let at = folder.path();
    std::fs::create_dir_all(at.join("data")).unwrap();
    let event = |n: i64| {
        format!(
            "{{\"event_id\":\"e{n}\",\"user_id\":{},\"page\":\"/p{}\",\"action\":null,\"amount\":{n}.25,\"event_time\":\"2026-01-01T00:{:02}:{:02}Z\"}}\n",
            n % 7,
            n % 3,
            n / 60 % 60,
            n % 60
        )
    };
    let lines = |from: i64, to: i64| (from..to).map(event).collect::<String>();
    std::fs::write(at.join("first.jsonl"), lines(0, 500) + "not json\n").unwrap();
    std::fs::write(at.join("second.jsonl"), lines(500, 900)).unwrap();
    ok(at, "append data/journal/clicks first.jsonl --partitions 3 --partition-by user_id");
    let archive = "archive page_views --until-caught-up --roll-rows 100";
    ok(at, archive);
    let files = || {
        let list = std::fs::read_dir(at.join("data/lake/clicks/partition=1")).unwrap();
        list.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "parquet")).count()
    };
    let before = files();
    assert!(before > 1);
    // Nothing new: nothing written.
    let again = stderr(&ok(at, archive));
    assert!(again.starts_with("✓ 0 records of clicks"), "{again}");
    ok(at, "append data/journal/clicks second.jsonl --partition-by user_id");
    ok(at, archive);
    assert!(files() > before);
    ok(at, "verify page_views");
    let count = "select count(*) as n, count(distinct _offset) as offsets, max(_offset) as last from clicks.lake where _partition = 1";
    let lake = samestream(at).args(["query", count, "page_views"]).output().unwrap();
    let counted: serde_json::Value = serde_json::from_slice(&lake.stdout).unwrap();
    assert_eq!(counted["n"], counted["offsets"]);
    assert_eq!(counted["n"].as_i64().unwrap(), counted["last"].as_i64().unwrap() + 1);

    // Back into a new journal: the same log, so the same digests.
    ok(at, "run page_views --mode batch --summary lake.json");
    std::fs::rename(at.join("data/journal/clicks"), at.join("data/journal/old")).unwrap();
    ok(at, "replay page_views");
    ok(at, "run page_views --mode stream --until-caught-up --summary back.json");
    let (lake, back) = (json(&at.join("lake.json")), json(&at.join("back.json")));
    for field in ["digest_all", "digest_late", "digest_bad", "start", "end"] {
        assert_eq!(lake[field], back[field], "{field}");
    }
    assert_eq!(lake["rows_bad"], 1);
    fails(at, "replay page_views", 2, "E_TARGET");
}

#[test]
fn replay_keeps_the_log_s_pace() {
    let folder = project();
    let at = folder.path();
    // Two seconds of log time.
    ok(at, "gen --to lake:data/lake/clicks --events 2000 --partitions 3 --rate 1000");
    let began = std::time::Instant::now();
    ok(at, "replay page_views --speed 4x");
    assert!(began.elapsed().as_millis() >= 490, "{:?}", began.elapsed());
    ok(at, "verify page_views");
}

#[test]
fn a_cut_of_one_run_ends_another() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up");
    ok(at, "run page_views --mode stream --end clicks:0=1000,1=2000,2=3000,3=500 --summary stream.json");
    ok(at, "run page_views --mode batch --end stream.json --threads 2 --summary batch.json");
    let (stream, batch) = (json(&at.join("stream.json")), json(&at.join("batch.json")));
    assert_eq!(stream["rows_read"], 6500);
    assert_eq!(stream["digest_all"], batch["digest_all"]);
    fails(at, "run page_views --mode batch --end nobody:0=1", 2, "E_CUT");
    let beyond = fails(at, "run page_views --mode stream --until-caught-up --end clicks:0=99999999", 2, "E_CUT");
    assert!(beyond.contains("without `--until-caught-up` the run waits"), "{beyond}");
    fails(at, "run page_views --mode batch --end clicks:0=x", 2, "E_USAGE");
    fails(at, "run page_views --mode batch --from 2026-01-02 --to 2026-01-01", 2, "E_EMPTY");
    fails(at, "run page_views --mode batch --until-caught-up", 2, "E_USAGE");
}

#[test]
fn validate_says_what_is_wrong_in_the_forms_of_code_hosts_and_asks_outside_only_when_told() {
    let folder = project();
    let at = folder.path();
    ok(at, "validate page_views");
    // Neither journal nor lake is there yet.
    let text = fails(at, "validate page_views --online", 2, "E_NOT_FOUND");
    assert!(text.contains("source `clicks`"), "{text}");
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up");
    ok(at, "validate page_views --online");
    let good = std::fs::read_to_string(at.join("pipelines/page_views.yaml")).unwrap();
    std::fs::write(at.join("pipelines/wrong.yaml"), good.replace("page <> \'\'", "pgae <> \'\'")).unwrap();
    let github = run(at, "validate wrong --format github");
    assert_eq!((github.status.code(), stderr(&github)), (Some(2), String::new()));
    let line = stdout(&github);
    assert!(line.starts_with("::error file=pipelines/wrong.yaml,line="), "{line}");
    for part in ["title=E_EXPRESSION::", "`pgae`", "%0Adid you mean `page`?"] {
        assert!(line.contains(part), "{line}");
    }
    let sarif = run(at, "validate wrong --format sarif");
    assert_eq!(sarif.status.code(), Some(2));
    let log: serde_json::Value = serde_json::from_str(&stdout(&sarif)).unwrap();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "E_EXPRESSION");
    let log = stdout(&ok(at, "validate page_views --format sarif"));
    assert!(log.contains("\"results\": []"), "{log}");
    fails(at, "plan page_views --format sarif", 2, "E_USAGE");
    // Options of a topic are checked without a broker.
    let kafka = good.replace(
        "journal: {path: \"${JOURNALS}/clicks\"}",
        "kafka: {brokers: b, topic: t, options: {fetch.wait.max: 5}}",
    );
    std::fs::write(at.join("pipelines/kafka.yaml"), kafka).unwrap();
    let text = fails(at, "validate kafka", 2, "E_FIELD");
    assert!(text.contains("librdkafka has no setting `fetch.wait.max`"), "{text}");
}

/// Makes the data of a Parquet file unreadable and leaves its footer as it is.
fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    bytes[4..at - footer].fill(0);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_range_is_made_of_a_part_of_the_lake_and_gives_the_rows_of_the_whole() {
    let folder = project();
    let at = folder.path();
    // 83 minutes, about 11 of them in a file.
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up --roll-rows 1000");
    let range = "--from 2026-01-01T00:30:00Z --to 2026-01-01T00:40:00Z";
    ok(at, &format!("run page_views --mode stream --until-caught-up {range} --out streamed --summary stream.json"));
    ok(at, &format!("run page_views --mode batch {range} --out ranged --summary batch.json"));
    let (stream, batch) = (json(&at.join("stream.json")), json(&at.join("batch.json")));
    assert!(batch["rows_written"].as_u64().unwrap() > 100, "{batch}");
    for field in ["digest_final", "digest_all", "rows_written", "start", "end", "held_by"] {
        assert_eq!(stream[field], batch[field], "{field}");
    }
    let read = |summary: &serde_json::Value| summary["rows_read"].as_u64().unwrap();
    assert_eq!(read(&stream), 30_000);
    assert!(read(&batch) < 20_000, "{} of 30,000 records are read", read(&batch));
    ok(at, "verify page_views --stream stream.json --batch batch.json");

    // Files of other times are not even opened for their rows.
    for partition in 0..4 {
        let names = std::fs::read_dir(at.join(format!("data/lake/clicks/partition={partition}"))).unwrap();
        let mut files: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|kind| kind == "parquet"));
        files.sort();
        assert!(files.len() > 4, "{files:?}");
        spoil(&files[0]);
        spoil(&files[files.len() - 1]);
    }
    ok(at, &format!("run page_views --mode batch {range} --out again --summary again.json"));
    assert_eq!(json(&at.join("again.json"))["digest_all"], batch["digest_all"]);
    fails(at, "run page_views --mode batch --out whole", 3, "E_CORRUPT");
    // A range without records is told from a log without any.
    let text = fails(at, "run page_views --mode batch --from 2030-01-01 --out none", 2, "E_EMPTY");
    assert!(text.contains("no row lies between"), "{text}");
}

#[test]
fn verify_reads_what_runs_said_of_themselves() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up");
    ok(at, "run page_views --mode stream --until-caught-up --summary stream.json");
    ok(at, "run page_views --mode batch --summary batch.json");
    ok(at, "verify page_views --stream stream.json --batch batch.json");
    ok(at, "verify page_views --stream stream.json");
    let other = std::fs::read_to_string(at.join("stream.json"))
        .unwrap()
        .replace("\"digest_late\": \"x1:", "\"digest_late\": \"x1:f");
    std::fs::write(at.join("other.json"), other).unwrap();
    let verdict = run(at, "verify page_views --stream other.json --batch batch.json");
    assert_eq!(verdict.status.code(), Some(1));
    assert!(stdout(&verdict).contains("differ in digest_late\n"), "{}", stdout(&verdict));
    ok(at, "run page_views --mode batch --end clicks:0=10 --summary short.json");
    fails(at, "verify page_views --stream stream.json --batch short.json", 2, "E_NOT_COMPARABLE");
    fails(at, "verify sessions --stream stream.json --batch batch.json", 2, "E_NOT_COMPARABLE");
}

#[test]
fn out_writes_each_sink_elsewhere_and_diff_finds_them_the_same() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "run top_pages --mode stream --until-caught-up --out here");
    ok(at, "archive top_pages --until-caught-up");
    ok(at, "run top_pages --mode batch --out there");
    assert!(!at.join("data/out").exists());
    let same = stdout(&ok(at, "diff here/top_pages there/top_pages --key window_start,page"));
    assert!(same.starts_with("same: "), "{same}");
}

#[test]
fn late_and_bad_records_can_be_asked_about() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "run page_views --mode stream --until-caught-up --summary s.json");
    let summary = json(&at.join("s.json"));
    for (table, field) in [("per_page.late", "rows_late"), ("clicks.bad", "rows_bad")] {
        let sql = format!("select count(*) as n from {table}");
        let output = samestream(at).args(["query", &sql, "page_views"]).output().unwrap();
        let counted: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        let counted = counted.unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!(counted["n"], summary[field], "{table}");
        assert!(counted["n"].as_u64().unwrap() > 0, "{table}");
    }
    fails(at, "run page_views --mode stream --until-caught-up --fail-on-late 3", 1, "E_LATE");
    fails(at, "run page_views --mode stream --until-caught-up --max-decode-errors 0.1%", 3, "E_BAD_RECORD");
}

#[test]
fn gen_makes_the_same_log_in_a_journal_and_in_a_lake() {
    let folder = project();
    let at = folder.path();
    ok(at, "gen --to journal:data/journal/clicks --events 5000 --partitions 3 --seed 9");
    ok(at, "gen --to lake:data/lake/clicks --events 5000 --partitions 3 --seed 9");
    ok(at, "verify page_views");
    fails(at, "gen --to journal:data/journal/clicks --events 5 --partitions 3", 2, "E_TARGET");
    fails(at, "gen --to journal:data/journal/clicks --events 5", 2, "E_TARGET");
    fails(at, "gen --to lake:data/lake/clicks --events 5 --partitions 3", 2, "E_TARGET");
    assert_eq!(run(at, "gen --to nowhere --events 5").status.code(), Some(2));
}

#[test]
fn a_project_of_init_runs_at_once() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), "init mine");
    let at = &folder.path().join("mine");
    ok(at, "validate --deny-warnings");
    ok(at, "run page_views --mode batch --summary b.json");
    ok(at, "run page_views --mode stream --until-caught-up --summary s.json");
    let (stream, batch) = (json(&at.join("s.json")), json(&at.join("b.json")));
    assert_eq!(stream["digest_all"], batch["digest_all"]);
    assert!(batch["rows_written"].as_u64().unwrap() > 0 && batch["rows_late"].as_u64().unwrap() > 0);
    assert_eq!(batch["rows_bad"], 1);
    ok(at, "verify page_views");
    fails(folder.path(), "init mine", 2, "E_TARGET");
}

#[test]
fn the_demo_tells_the_whole_story_and_can_be_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for _ in 0..2 {
        let output = ok(at, "demo --events 20000");
        let story = stdout(&output);
        assert_eq!(stderr(&output), "", "no progress in a pipe");
        assert!(story.contains("✓ page_views  stream") && story.contains("✓ page_views  batch"), "{story}");
        assert!(story.contains("✓ page_views: stream and batch gave the same bytes\n"), "{story}");
        let digests: Vec<&str> = story.lines().filter(|line| line.starts_with("  digest ")).collect();
        assert_eq!(digests.len(), 2, "{story}");
        assert_eq!(digests[0], digests[1]);
    }
    std::fs::create_dir(at.join("precious")).unwrap();
    std::fs::write(at.join("precious/file"), "").unwrap();
    fails(at, "demo --events 10 --dir precious", 2, "E_TARGET");
    assert!(at.join("precious/file").exists());
}

#[test]
fn plans_come_as_text_json_and_graph() {
    let folder = project();
    let at = folder.path();
    let text = stdout(&ok(at, "plan top_pages"));
    assert!(text.starts_with("pipeline top_pages\n") && text.contains("step per_minute"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&ok(at, "plan top_pages --format json"))).unwrap();
    assert!(json.is_object());
    assert!(stdout(&ok(at, "plan top_pages --as dot")).starts_with("digraph"));
    assert_eq!(stdout(&ok(at, "run top_pages --mode batch --dry-run")), text);
    for of in ["pipeline", "summary", "diff"] {
        let schema: serde_json::Value = serde_json::from_str(&stdout(&ok(at, &format!("schema {of}")))).unwrap();
        assert!(schema["properties"].is_object(), "{of}");
    }
}

#[test]
fn a_pipeline_that_is_wrong_is_shown_with_its_line() {
    let folder = project();
    let at = folder.path();
    let path = at.join("pipelines/page_views.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("{size: 1m}", "{sise: 1m}");
    std::fs::write(&path, text).unwrap();
    let shown = fails(at, "validate page_views", 2, "E_FIELD");
    assert!(shown.contains("╭─[pipelines/page_views.yaml:") && shown.contains("sise"), "{shown}");
    let output = run(at, "validate page_views --format json");
    let first = stderr(&output).lines().next().unwrap().to_string();
    let error: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&error["code"], &error["file"]), (&"E_FIELD".into(), &"pipelines/page_views.yaml".into()));
    let missing = fails(at, "run page_vews --mode batch", 2, "E_NOT_FOUND");
    assert!(missing.contains("page_views"), "{missing}");
    fails(at, "run sessions --mode batch", 2, "E_NOT_FOUND");
}

#[test]
fn one_signal_ends_a_stream_cleanly() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    let mut child = samestream(at)
        .args(["run", "page_views", "--mode", "stream", "--checkpoint-every", "50ms", "--summary", "s.json"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The first rows in the sink say that it is running.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(240);
    while !at.join("data/out/page_views/_manifest.json").exists() {
        assert!(std::time::Instant::now() < until && child.try_wait().unwrap().is_none(), "the stream never wrote");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = json(&at.join("s.json"));
    assert_eq!(summary["ended"], false);
    assert_eq!(summary["digest_all"], summary["digest_final"], "a stop writes final rows only");
}

#[test]
fn a_reader_that_goes_away_stops_the_run_without_a_word() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    let mut child = samestream(at)
        .args(["run", "page_views", "--mode", "stream", "--until-caught-up", "--print", "--quiet"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_profile_gives_values_to_variables_and_to_options_that_must_be_there() {
    let folder = project();
    let at = folder.path();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights");
    let toml = format!(
        "[profiles.here]\nmode = 'batch'\nsinks = ['no_such_sink']\n[profiles.here.vars]\nFLIGHTS = '{data}'\n"
    );
    std::fs::write(at.join("samestream.toml"), toml).unwrap();
    let plan = stdout(&ok(at, "plan flights --profile here"));
    assert!(plan.contains(data), "{plan}");
    let plan = stdout(&ok(at, "plan flights --profile here --set vars.FLIGHTS=/elsewhere"));
    assert!(plan.contains("/elsewhere") && !plan.contains(data), "{plan}");
    // `--mode` is given, and the sinks are the profile's until a flag names others.
    let refused = run(at, "run flights --profile here");
    assert!(stderr(&refused).contains("no_such_sink"), "{}", stderr(&refused));
    ok(at, "run flights --profile here --sinks delays");
}

#[test]
fn a_run_can_be_compared_with_what_another_said_of_itself() {
    let folder = project();
    let at = folder.path();
    ok(at, GEN);
    ok(at, "archive page_views --until-caught-up");
    ok(at, "run page_views --mode stream --until-caught-up --summary stream.json");
    let batch = "run page_views --mode batch --verify-against";
    let same = stderr(&ok(at, &format!("{batch} stream.json")));
    assert!(same.ends_with("✓ page_views: the same bytes as the run that `stream.json` tells of\n"), "{same}");
    let text = std::fs::read_to_string(at.join("stream.json")).unwrap();
    let altered = text.replace("\"digest_late\": \"x1:", "\"digest_late\": \"x1:f");
    std::fs::write(at.join("altered.json"), altered).unwrap();
    let different = run(at, &format!("{batch} altered.json --quiet"));
    assert_eq!(different.status.code(), Some(1));
    assert!(stderr(&different).ends_with("`altered.json` tells of: digest_late differ\n"), "{}", stderr(&different));
    // Another cut, another definition.
    fails(at, &format!("{batch} stream.json --end clicks:0=10"), 2, "E_NOT_COMPARABLE");
    fails(at, "run sessions --mode batch --verify-against stream.json", 2, "E_NOT_COMPARABLE");
}

#[test]
fn a_batch_can_read_another_lake() {
    let folder = project();
    let at = folder.path();
    ok(at, "gen --to lake:data/lake/clicks --events 3000 --partitions 2");
    ok(at, "run page_views --mode batch --summary here.json");
    std::fs::rename(at.join("data/lake/clicks"), at.join("moved=away")).unwrap();
    for input in ["moved=away", "clicks=moved=away"] {
        ok(at, &format!("run page_views --mode batch --input {input} --verify-against here.json"));
    }
    let plan = stdout(&ok(at, "run page_views --mode batch --input moved=away --dry-run"));
    assert!(plan.contains("moved=away"), "{plan}");
    fails(at, "run page_views --mode batch --input not_there", 2, "E_NOT_FOUND");
    fails(at, "run page_views --mode stream --input moved=away", 2, "E_USAGE");
}

/// A run that waits for a file nobody writes cannot stop at the first signal; the second one ends it.
#[test]
fn a_second_signal_ends_what_cannot_stop() {
    let folder = project();
    let at = folder.path();
    let made = std::process::Command::new("mkfifo").arg(at.join("cut")).status().unwrap();
    assert!(made.success());
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = samestream(at).args(["run", "page_views", "--mode", "batch", "--end", "cut"]).spawn().unwrap();
        // Opens when the run opens it: from then on it waits for what is never written.
        let (sender, opened) = std::sync::mpsc::channel();
        let path = at.join("cut");
        std::thread::spawn(move || sender.send(std::fs::File::options().write(true).open(path).unwrap()));
        let writer = opened.recv_timeout(std::time::Duration::from_secs(240)).expect("the run reads the cut");
        let kill = |child: &std::process::Child| {
            let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        kill(&child);
        assert!(child.try_wait().unwrap().is_none(), "one {signal} ended it");
        // Signals that come before the first was taken count as one, so more may be needed on a busy machine.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(240);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(std::time::Instant::now() < until, "it never ended");
            let _ = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        assert_eq!(status.code(), Some(code));
        drop(writer);
    }
}

/// The last windows of the year 9999 end in the next one; both modes write that alike, and the time itself is refused.
#[test]
fn a_window_may_end_after_the_year_9999() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(
        at.join("p.yaml"),
        "version: 1\nname: far\nsources:\n  s: {journal: {path: log}, schema: {at: timestamp!}, event_time: {column: at}}\n\
         steps:\n  w: {from: s, window: {tumbling: {size: 1h}}, aggregate: {n: \"count(*)\"}}\n\
         sinks:\n  out: {from: w, jsonl: {path: out.jsonl}}\n",
    )
    .unwrap();
    let lines = "{\"at\":\"9999-12-31T23:59:59.999999Z\"}\n{\"at\":\"+10000-01-01T00:00:00Z\"}\n{\"at\":\"10000-01-01T00:00:00Z\"}\n";
    std::fs::write(at.join("e.jsonl"), lines).unwrap();
    ok(at, "append log e.jsonl --partitions 1");
    let mut texts = Vec::new();
    for mode in ["stream --until-caught-up --fresh", "batch"] {
        ok(at, &format!("run p.yaml --mode {mode} --summary s.json"));
        assert_eq!(json(&at.join("s.json"))["rows_bad"], 2);
        texts.push(std::fs::read_to_string(at.join("out.jsonl")).unwrap());
    }
    assert_eq!(texts[0], texts[1]);
    let row: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(row["window_start"], "9999-12-31T23:00:00.000000Z");
    assert_eq!(row["window_end"], "+10000-01-01T00:00:00.000000Z");
}

/// A set that no run has kept is named with the reason, not only as an unknown table.
#[test]
fn query_says_why_there_are_no_late_rows() {
    let folder = project();
    let at = folder.path();
    let path = at.join("pipelines/page_views.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\nsteps:\n", "\nsteps:\n  cleaned: {from: clicks}\n", 1)).unwrap();
    let text = fails_sql(at, "select * from per_page.late");
    assert!(text.contains("there is no `per_page.late`: no run kept any"), "{text}");
    let text = fails_sql(at, "select * from cleaned.late");
    assert!(text.contains("nothing is late at that step") && text.contains("per_page.late"), "{text}");
    let dropping = std::fs::read_to_string(&path).unwrap().replacen(
        "\n    event_time:",
        "\n    on_late: drop\n    event_time:",
        1,
    );
    std::fs::write(&path, dropping.split("\ntests:\n").next().unwrap()).unwrap();
    let text = fails_sql(at, "select * from per_page.late");
    assert!(text.contains("its sources drop late records"), "{text}");
}

fn fails_sql(folder: &Path, sql: &str) -> String {
    let output = samestream(folder).args(["query", sql, "page_views"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}{}", stdout(&output), stderr(&output));
    stderr(&output)
}
