//! `samestream status` and what it goes by, the interval ledger: against a computation by the law alone, and against what runs
//! over everything give.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{ok, run};
use crate::runs_verb::json as answer;
use crate::state_verb::refused;

const PIPELINE: &str = r#"version: 1
name: shop
sources:
  events:
    journal: {path: log}
    lake: {path: lake}
    schema: {id: int64!, user: string!, at: timestamp!}
    event_time: {column: at, out_of_orderness: 90m}
steps:
  per_hour:
    from: events
    where: "user <> 'nobody'"
    window: {tumbling: {size: 1h}}
    allowed_lateness: 30m
    group_by: [user]
    aggregate: {events: "count(*)", ids: "array_agg(id)"}
  per_day: {from: per_hour, window: {tumbling: {size: 1d}}, aggregate: {users: "count(*)", events: "sum(events)"}}
sinks:
  hours: {from: per_hour, jsonl: {path: out/hours}}
  days: {from: per_day, jsonl: {path: out/days}}
"#;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2026-11-02T00:00:00Z.
const FIRST: i64 = 1_793_577_600_000_000;

/// A project with its records, so that what is expected can be computed.
struct Shop {
    folder: tempfile::TempDir,
    /// Event time and user of every record, in the order of the log, by turn of the archive.
    turns: Vec<Vec<(i64, &'static str)>>,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shop.yaml"), PIPELINE).unwrap();
        Self { folder, turns: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Appends records to the log, not to the lake.
    fn append(&mut self, records: &[(i64, &'static str)]) {
        let before: usize = self.turns.iter().map(Vec::len).sum();
        let line = |(number, (at, user)): (usize, &(i64, &str))| {
            format!("{}\n", json!({"id": before + number, "user": user, "at": engine::rfc3339(*at)}))
        };
        fs::write(self.path().join("more.jsonl"), records.iter().enumerate().map(line).collect::<String>()).unwrap();
        ok(self.path(), "append log more.jsonl");
        self.turns.push(records.to_vec());
    }

    /// Appends records to the log, and to the lake as a file of its own.
    fn add(&mut self, records: &[(i64, &'static str)]) {
        self.append(records);
        ok(self.path(), "archive shop.yaml --until-caught-up");
    }

    /// Returns a shop with a record every 20 minutes of the first three days.
    fn of_three_days() -> Self {
        let mut shop = Self::new();
        let records: Vec<_> = (0..3 * 72).map(|number| (FIRST + number * 20 * MINUTE, "ann")).collect();
        for day in records.chunks(72) {
            shop.add(day);
        }
        shop
    }

    fn status(&self) -> Value {
        answer(self.path(), "status shop.yaml")[0].clone()
    }

    /// Returns the ranges of a sink that are not final, with state and reason.
    fn exceptions(&self, sink: &str) -> Vec<(String, String)> {
        let ranges = ranges(&self.status(), sink).into_iter().filter(|range| range["state"] != "final");
        let text = |value: &Value| value.as_str().unwrap_or("…").replace("2026-11-", "").replace(":00:00Z", "");
        ranges
            .map(|range| (text(&range["state"]), format!("{}..{}", text(&range["from"]), text(&range["to"]))))
            .collect()
    }

    /// Returns where the running maximum of the log stands after so many turns.
    fn maximum(&self, turns: usize) -> i64 {
        self.turns[..turns].iter().flatten().map(|(at, _)| *at).max().unwrap_or(i64::MIN)
    }

    /// Returns the windows of `per_hour` that records of the turns from `since` on enter, by the law alone.
    fn entered(&self, since: usize) -> BTreeMap<i64, u64> {
        let (mut maximum, mut entered) = (i64::MIN, BTreeMap::new());
        for (turn, records) in self.turns.iter().enumerate() {
            for (at, user) in records {
                let start = at - at.rem_euclid(HOUR);
                let is_late = maximum != i64::MIN && start + HOUR + 30 * MINUTE <= maximum - 90 * MINUTE;
                maximum = maximum.max(*at);
                if turn >= since && !is_late && *user != "nobody" {
                    *entered.entry(start).or_insert(0) += 1;
                }
            }
        }
        entered
    }
}

fn ranges(status: &Value, sink: &str) -> Vec<Value> {
    let sinks = status["sinks"].as_array().unwrap();
    let found = sinks.iter().find(|of| of["sink"] == sink).unwrap_or_else(|| panic!("no sink {sink}: {status}"));
    found["ranges"].as_array().unwrap().clone()
}

fn moment(value: &Value) -> i64 {
    runtime::time::parse(value.as_str().unwrap()).unwrap()
}

/// The state of every hour for which there is one.
fn hours(status: &Value, sink: &str) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    for range in ranges(status, sink) {
        let (from, to) = (moment(&range["from"]), moment(&range["to"]));
        assert_eq!((from % HOUR, to % HOUR), (0, 0), "{range}");
        for hour in (from..to).step_by(HOUR as usize) {
            assert!(found.insert(hour, range["state"].as_str().unwrap().to_string()).is_none(), "twice: {range}");
        }
    }
    found
}

/// Every row below a folder.
fn rows(folder: &Path) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.file_name().unwrap().to_str().unwrap().starts_with(['_', '.']) => {}
                false => rows.extend(fs::read_to_string(&path).unwrap().lines().map(String::from)),
            }
        }
    }
    rows
}

/// Runs what `status` says would heal it.
fn heal(at: &Path) -> usize {
    let status = answer(at, "status shop.yaml")[0].clone();
    let ranges = status["to_heal"].as_array().unwrap().clone();
    for range in &ranges {
        let side = |name: &str| range[name].as_str().map_or(String::new(), |time| format!(" --{name} {time}"));
        ok(at, &format!("run shop.yaml --mode batch --allow-empty{}{}", side("from"), side("to")));
    }
    ranges.len()
}

/// Numbers that look drawn, from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> i64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as i64
    }
}

#[test]
fn a_full_run_leaves_all_final_but_the_windows_that_are_open() {
    let shop = Shop::of_three_days();
    assert_eq!(shop.exceptions("hours"), [("missing".into(), "02T00..05T00".into())]);
    ok(shop.path(), "run shop.yaml --mode batch");
    // The last record is of 23:40; with 90 minutes for disorder and 30 for lateness, windows up to 21:40 are final.
    assert_eq!(shop.exceptions("hours"), [("provisional".into(), "04T21..05T00".into())]);
    assert_eq!(shop.exceptions("days"), [("provisional".into(), "04T00..05T00".into())]);
    assert_eq!(run(shop.path(), "status shop.yaml --check").status.code(), Some(0));
    let text = stdout(&run(shop.path(), "status shop.yaml --format table"));
    assert!(text.contains("    2026-11  ·✓✓~··"), "{text}");
    assert!(text.contains("~ 2026-11-04T21:00Z .. 2026-11-05T00:00Z  provisional"), "{text}");
}

#[test]
fn new_records_make_exactly_their_windows_stale_and_what_is_healed_is_what_a_full_run_gives() {
    for seed in 1..4 {
        let mut next = numbers(seed);
        let mut shop = Shop::new();
        let at = shop.path().to_path_buf();
        for turn in 0..4 {
            // Some are late, some for windows long past, and some enter none.
            let base = FIRST + turn * 10 * HOUR;
            let records: Vec<_> = (0..12 + next(20))
                .map(|number| {
                    (
                        base + number * 17 * MINUTE - next(7 * 60) * MINUTE * next(2),
                        ["ann", "bob", "nobody"][next(3) as usize],
                    )
                })
                .collect();
            shop.add(&records);
            if turn > 0 {
                let status = shop.status();
                let entered = shop.entered(turn as usize);
                let [open_then, open_now] =
                    [turn as usize, turn as usize + 1].map(|turns| shop.maximum(turns) - 120 * MINUTE);
                for (hour, state) in hours(&status, "hours") {
                    let end = hour + HOUR;
                    let expected = match entered.contains_key(&hour) {
                        true => "stale",
                        false if end > open_then && end <= open_now => "stale",
                        false if end > open_now => "provisional",
                        false => "final",
                    };
                    assert_eq!(state, expected, "seed {seed}, turn {turn}: {} of {status:#}", engine::rfc3339(hour));
                }
                for range in ranges(&status, "hours").iter().filter(|range| !range["records"].is_null()) {
                    let inside = entered.range(moment(&range["from"])..moment(&range["to"]));
                    let count: u64 = inside.map(|(_, count)| count).sum();
                    assert_eq!(range["records"], count, "{range} {entered:?}");
                }
                heal(&at);
            } else {
                ok(&at, "run shop.yaml --mode batch");
            }
            assert_eq!(shop.status()["is_current"], true, "seed {seed}, turn {turn}: {:#}", shop.status());
            ok(&at, "run shop.yaml --mode batch --out whole --state-dir elsewhere");
            assert_eq!(rows(&at.join("out/hours")), rows(&at.join("whole/hours")), "seed {seed}, turn {turn}");
            assert_eq!(rows(&at.join("out/days")), rows(&at.join("whole/days")), "seed {seed}, turn {turn}");
        }
    }
}

#[test]
fn a_record_that_is_late_for_all_its_windows_makes_nothing_stale() {
    let mut shop = Shop::of_three_days();
    ok(shop.path(), "run shop.yaml --mode batch");
    let before = shop.exceptions("hours");
    shop.add(&[(FIRST + 5 * HOUR, "ann"), (FIRST + 2 * DAY, "bob")]);
    assert_eq!(shop.exceptions("hours"), before);
    assert_eq!(shop.status()["is_current"], true);
    // One that the step does not want neither.
    shop.add(&[(FIRST + 3 * DAY - MINUTE, "nobody")]);
    assert_eq!(shop.exceptions("hours"), before);
    shop.add(&[(FIRST + 3 * DAY - HOUR, "ann")]);
    assert_eq!(shop.exceptions("hours")[1], ("stale".into(), "04T23..05T00".into()));
}

#[test]
fn a_changed_definition_makes_all_stale_and_is_healed_by_a_run_over_everything() {
    let shop = Shop::of_three_days();
    ok(shop.path(), "run shop.yaml --mode batch");
    let changed = PIPELINE.replace("ids: \"array_agg(id)\"", "ids: \"min(id)\"");
    fs::write(shop.path().join("shop.yaml"), &changed).unwrap();
    assert_eq!(shop.exceptions("hours"), [("stale".into(), "…..…".into())]);
    assert_eq!(shop.status()["to_heal"], json!([{"from": null, "to": null}]));
    let check = run(shop.path(), "status shop.yaml --check --format table");
    assert_eq!(check.status.code(), Some(1));
    assert!(stdout(&check).contains("! everything  stale: run 1 was of another definition"), "{}", stdout(&check));
    assert!(stdout(&check).contains("    2026-11  ·!!!··"), "{}", stdout(&check));
    assert_eq!(heal(shop.path()), 1);
    assert_eq!(shop.status()["is_current"], true);
    // What changes no result is no other definition.
    fs::write(shop.path().join("shop.yaml"), changed.replace("name: shop\n", "name: shop\ndescription: of ours\n"))
        .unwrap();
    assert_eq!(shop.status()["is_current"], true);
}

#[test]
fn a_file_of_the_lake_that_is_written_anew_makes_its_days_stale_and_one_that_is_gone_is_not_healed() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    ok(at, "run shop.yaml --mode batch");
    let file = at.join("lake/partition=0/00000000000000000072.parquet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    assert_eq!(shop.exceptions("hours")[0], ("stale".into(), "03T00..04T00".into()));
    assert_eq!(shop.exceptions("days")[0], ("stale".into(), "03T00..04T00".into()));
    let text = stdout(&run(at, "status shop.yaml --format table"));
    assert!(text.contains("files of `events` were changed or are gone since run 1"), "{text}");
    heal(at);
    assert_eq!(shop.status()["is_current"], true);
    fs::remove_file(at.join("lake/partition=0/00000000000000000144.parquet")).unwrap();
    assert_eq!(shop.exceptions("hours")[0].0, "stale");
    let text = stdout(&run(at, "status shop.yaml --format table"));
    assert!(text.contains("had read to events:0=216; the log now ends before that"), "{text}");
}

#[test]
fn what_no_run_has_written_is_missing() {
    let shop = Shop::of_three_days();
    ok(shop.path(), "run shop.yaml --mode batch --from 2026-11-03 --to 2026-11-04");
    let missing: Vec<_> =
        [("missing", "02T00..03T00"), ("missing", "04T00..05T00")].map(|(a, b)| (a.into(), b.into())).into();
    assert_eq!(shop.exceptions("hours"), missing);
    // A run elsewhere writes nothing here, nor does one that fails.
    ok(shop.path(), "run shop.yaml --mode batch --out elsewhere");
    refused(
        shop.path(),
        "run shop.yaml --mode batch --fail-on-late 0 --max-decode-errors 0 --from 1999-01-01 --to 1999-01-02",
        "E_EMPTY",
        2,
    );
    assert_eq!(shop.exceptions("hours"), missing);
    ok(shop.path(), "backfill shop.yaml --stale --chunk 6h");
    assert_eq!(shop.status()["is_current"], true, "{:#}", shop.status());
    ok(shop.path(), "run shop.yaml --mode batch --out whole");
    assert_eq!(rows(&shop.path().join("out/hours")), rows(&shop.path().join("whole/hours")));
    ok(shop.path(), "backfill shop.yaml --stale");
    let changed = PIPELINE.replace("ids: \"array_agg(id)\"", "ids: \"min(id)\"");
    fs::write(shop.path().join("shop.yaml"), changed).unwrap();
    refused(shop.path(), "backfill shop.yaml --stale", "E_USAGE", 2);
    assert_eq!(heal(shop.path()), 1);
    assert_eq!(shop.status()["is_current"], true);
}

#[test]
fn a_stream_counts_up_to_where_it_came_and_a_batch_run_after_it_takes_its_place() {
    let mut shop = Shop::of_three_days();
    ok(shop.path(), "run shop.yaml --mode stream --until-caught-up");
    assert_eq!(shop.exceptions("hours"), [("provisional".into(), "04T21..05T00".into())]);
    // The log goes on and the lake does not know of it yet.
    shop.append(&[(FIRST + 3 * DAY + 5 * MINUTE, "bob"), (FIRST + 3 * DAY + 2 * HOUR, "bob")]);
    ok(shop.path(), "run shop.yaml --mode stream --until-caught-up");
    let status = shop.status();
    assert_eq!(status["is_current"], true, "{status:#}");
    ok(shop.path(), "archive shop.yaml --until-caught-up");
    assert_eq!(shop.exceptions("hours"), [("provisional".into(), "05T00..05T03".into())]);
    shop.add(&[(FIRST + 3 * DAY + 4 * MINUTE, "ann")]);
    let stale = &ranges(&shop.status(), "hours")[1];
    assert_eq!((&stale["state"], &stale["run"], &stale["records"]), (&json!("stale"), &json!(2), &json!(1)), "{stale}");
    assert_eq!(stale["reason"], "1 new record (run 2 had read to events:0=218)");
    ok(shop.path(), "run shop.yaml --mode batch --out whole");
    // The definition has no window of its own for batch, so these are the bytes of both.
    assert_ne!(rows(&shop.path().join("out/hours")), rows(&shop.path().join("whole/hours")));
}

#[test]
fn without_a_catalogue_all_is_missing_and_a_damaged_one_is_refused_by_name() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    ok(at, "run shop.yaml --mode batch");
    let file = at.join(".samestream/runs.redb");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "this is no catalogue, and it is not short either").unwrap();
    refused(at, "status shop.yaml", "E_CORRUPT", 3);
    fs::remove_file(&file).unwrap();
    assert_eq!(shop.exceptions("hours"), [("missing".into(), "02T00..05T00".into())]);
    fs::write(&file, &whole).unwrap();
    assert_eq!(shop.status()["is_current"], true);
    // Runs are forgotten, what sinks hold is not.
    ok(at, "runs prune --older-than 0s");
    assert_eq!(answer(at, "runs list"), json!([]));
    assert_eq!(shop.status()["is_current"], true);
}

#[test]
fn a_project_without_pipelines_or_runs_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "status --format table");
    assert!(output.status.success() && stdout(&output).contains("samestream init"), "{}", stdout(&output));
    let made = samestream(folder.path()).args(["init", "."]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let text = stdout(&run(folder.path(), "status --format table"));
    assert!(text.contains("none: `samestream run page_views --mode batch` makes one"), "{text}");
    ok(folder.path(), "run page_views --mode batch");
    let text = stdout(&run(folder.path(), "status --format table"));
    assert!(
        text.contains("page_views  from per_page, in jsonl data/out/page_views.jsonl") && !text.contains(" missing:"),
        "{text}"
    );
    assert!(!folder.path().join(".samestream/nothing").exists());
}

#[test]
fn a_schedule_that_reprocesses_what_is_stale_heals_that_and_nothing_else() {
    let mut shop = Shop::of_three_days();
    let at = shop.path().to_path_buf();
    let schedules = "schedules: {heal: {cron: \"0 * * * *\", timezone: UTC, reprocess: stale}}\nsinks:\n";
    fs::write(at.join("shop.yaml"), PIPELINE.replace("sinks:\n", schedules)).unwrap();
    let once = |clock: &str| {
        fs::write(at.join("clock"), clock).unwrap();
        let mut command = samestream(&at);
        command.env("SAMESTREAM_TEST_CLOCK", at.join("clock"));
        let output = command.args(["schedule", "start", "shop.yaml", "--once-due"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "at {clock}\n{}", stderr(&output));
        stderr(&output)
    };
    let runs = || answer(&at, "runs list --limit 0").as_array().unwrap().clone();
    ok(&at, "run shop.yaml --mode batch --from 2026-11-02 --to 2026-11-04");
    once("2026-11-05T00:30:00Z");
    assert_eq!(runs().len(), 1);
    // Two ranges: a window that a record came to, and the day that nothing has written.
    shop.add(&[(FIRST + 3 * DAY - 130 * MINUTE, "bob")]);
    assert!(once("2026-11-05T01:00:05Z").contains("heals what is stale or missing"), "it says so");
    let healed = runs();
    let of =
        |name: &str| healed[1..].iter().map(|run| run[name].as_str().unwrap_or("…").to_string()).collect::<Vec<_>>();
    assert_eq!(
        (of("from"), of("to")),
        (vec!["2026-11-04T00:00:00Z".to_string()], vec!["2026-11-05T00:00:00Z".to_string()])
    );
    assert!(
        healed[1..].iter().all(|run| run["firing"]["schedule"] == "heal" && run["outcome"] == "done"),
        "{healed:#?}"
    );
    assert_eq!(shop.status()["is_current"], true);
    shop.add(&[(FIRST + 3 * DAY - 20 * MINUTE, "bob"), (FIRST + 3 * DAY - 100 * MINUTE, "bob")]);
    once("2026-11-05T02:00:05Z");
    let healed = runs();
    assert_eq!(healed.len(), 3, "{:#}", shop.status());
    ok(&at, "run shop.yaml --mode batch --out whole");
    assert_eq!(rows(&at.join("out/hours")), rows(&at.join("whole/hours")));
    // Nothing to do is a firing that went well.
    assert!(once("2026-11-05T03:00:05Z").contains("✓ shop: nothing is stale or missing"), "it says so");
    let history = answer(&at, "schedule history shop.yaml --limit 1");
    assert_eq!((&history[0]["outcome"], &history[0]["exit"]), (&json!("done"), &json!(0)), "{history}");
    let next = stdout(&run(&at, "schedule next shop.yaml -n 1 --format table"));
    assert!(next.contains("what is stale or missing"), "{next}");
    // A lake that lost its end is healed by nobody unasked.
    fs::remove_file(at.join("lake/partition=0/00000000000000000217.parquet")).unwrap();
    let text = refused(&at, "run shop.yaml --mode batch --stale", "E_LAKE_GAP", 3);
    assert!(text.contains("put back what is missing"), "{text}");
}

#[test]
fn while_a_stream_goes_on_its_newest_checkpoint_says_what_it_has_written() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    let line = ["run", "shop.yaml", "--mode", "stream", "--checkpoint-every", "20ms"];
    let mut stream = samestream(at).args(line).stderr(std::process::Stdio::null()).spawn().unwrap();
    crate::servers::wait_for("the stream to catch up", || {
        let hours = ranges(&shop.status(), "hours");
        hours.iter().any(|range| range["state"] == "final" && range["to"] == "2026-11-04T21:00:00Z")
    });
    let status = shop.status();
    assert_eq!(
        (&status["last_run"]["outcome"], &status["is_current"]),
        (&json!("running"), &json!(true)),
        "{status:#}"
    );
    stream.kill().unwrap();
    stream.wait().unwrap();
    // Nobody goes on with it now, so what was open is missing.
    assert_eq!(shop.exceptions("hours"), [("missing".into(), "04T21..05T00".into())]);
    assert_eq!(shop.status()["last_run"]["outcome"], "lost");
    ok(at, "run shop.yaml --mode stream --until-caught-up");
    assert_eq!(shop.exceptions("hours"), [("provisional".into(), "04T21..05T00".into())]);
}

const RANGE: &str = "run shop.yaml --mode batch --from 2026-11-02 --to 2026-11-04";

/// The stream rests here; `meeting.rs` has one that goes on.
#[test]
fn a_range_beside_a_stream_is_of_its_log_and_of_its_definition() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    ok(at, "run shop.yaml --mode stream --until-caught-up");
    let before = rows(&at.join("out"));
    assert!(refused(at, &format!("{RANGE} --state-dir other"), "E_ORIGIN", 2).contains("`--state-dir` of the stream"));
    // A lake that was begun late, and nothing but the stream's checkpoints to tell.
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![at.join("lake")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let list = if path.is_dir() { &mut folders } else { &mut files };
            list.push(path);
        }
    }
    let first = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet")).min().unwrap();
    fs::rename(&first, at.join("aside")).unwrap();
    fs::remove_file(at.join(".samestream/shop/start.json")).unwrap();
    let error = refused(at, RANGE, "E_ORIGIN", 2);
    assert!(error.contains("partition 0 begins at offset 72 in what this run reads"), "{error}");
    let error = refused(at, "backfill shop.yaml --from 2026-11-02 --to 2026-11-04", "E_ORIGIN", 2);
    assert!(error.contains("the stream that writes these sinks has read it from offset 0 on"), "{error}");
    fs::rename(at.join("aside"), &first).unwrap();
    fs::write(at.join("shop.yaml"), PIPELINE.replace("'nobody'\"", "'nobody' and id > 100\"")).unwrap();
    refused(at, RANGE, "E_STATE_FOREIGN", 5);
    assert_eq!(rows(&at.join("out")), before);
    fs::write(at.join("shop.yaml"), PIPELINE).unwrap();
    ok(at, RANGE);
    ok(at, "backfill shop.yaml --from 2026-11-02 --to 2026-11-06 --chunk 12h");
    assert_eq!(rows(&at.join("out")), before);
}

#[test]
fn what_a_run_leaves_to_a_stream_is_final_when_the_stream_has_written_it() {
    let mut shop = Shop::of_three_days();
    ok(shop.path(), "run shop.yaml --mode stream --until-caught-up");
    let day: Vec<_> = (0..72).map(|number| (FIRST + 3 * DAY + number * 20 * MINUTE, "ann")).collect();
    shop.add(&day);
    ok(shop.path(), "run shop.yaml --mode batch --stale");
    let since = FIRST + 3 * DAY;
    let found = hours(&shop.status(), "hours");
    assert!(found.range(since..).all(|(_, state)| state == "missing" || state == "stale"), "{found:?}");
    assert!(found.range(..since - 4 * HOUR).all(|(_, state)| state == "final"), "{found:?}");
    ok(shop.path(), "run shop.yaml --mode stream --until-caught-up");
    let found = hours(&shop.status(), "hours");
    assert!(found.range(..since + 20 * HOUR).all(|(_, state)| state == "final"), "{found:?}");
    ok(shop.path(), "run shop.yaml --mode batch --out expected --state-dir other");
    assert_eq!(rows(&shop.path().join("out")), rows(&shop.path().join("expected")));
}

#[test]
fn a_range_that_was_replaced_beside_a_stream_takes_nothing_from_what_the_stream_has_written() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    let mut stream = samestream(at);
    stream
        .args(["run", "shop.yaml", "--mode", "stream", "--checkpoint-every", "20ms"])
        .stderr(std::process::Stdio::null());
    let mut stream = stream.spawn().unwrap();
    // Before its first commit no sink says that it is a stream's, so all that is final is awaited: the hours that end 140 minutes
    // before the last record or earlier, and two days.
    let has = |sink: &str, count: u64| {
        let folder = at.join("out").join(sink);
        let manifest = fs::read(folder.join("_manifest.json")).map(|bytes| serde_json::from_slice(&bytes).unwrap());
        let manifest: Value = manifest.unwrap_or_default();
        let files = manifest["files"].as_array().map_or(&[][..], Vec::as_slice);
        files.iter().all(|file| folder.join(file["name"].as_str().unwrap()).exists())
            && files.iter().map(|file| file["rows"].as_u64().unwrap()).sum::<u64>() == count
    };
    crate::servers::wait_for("the stream", || has("hours", 69) && has("days", 2));
    stream.kill().unwrap();
    stream.wait().unwrap();
    let before = (hours(&shop.status(), "hours"), rows(&at.join("out")));
    ok(at, "run shop.yaml --mode batch --from 2026-11-03 --to 2026-11-04");
    assert_eq!((hours(&shop.status(), "hours"), rows(&at.join("out"))), before);
}

/// Killed between its first checkpoint and its first commit, a stream leaves sinks that are nobody's.
#[test]
fn a_range_written_before_the_first_commit_of_a_killed_stream_is_replaced_by_it() {
    let shop = Shop::of_three_days();
    let at = shop.path();
    let mut stream = samestream(at);
    stream.env("FAILPOINTS", "checkpoint.made=return");
    let ended = stream.args(["run", "shop.yaml", "--mode", "stream", "--checkpoint-every", "20ms"]).output().unwrap();
    assert!(!ended.status.success() && !at.join("out/hours/_manifest.json").exists(), "{}", stderr(&ended));
    ok(at, "run shop.yaml --mode batch --from 2026-11-03 --to 2026-11-04");
    assert_eq!(rows(&at.join("out/hours")).len(), 24);
    ok(at, "run shop.yaml --mode stream --until-caught-up");
    ok(at, "run shop.yaml --mode batch --out expected --state-dir other");
    // Counts rows that are there twice, as a set of them does not.
    ["hours", "days"].iter().for_each(|sink| ok(at, &format!("diff out/{sink} expected/{sink}")));
}
