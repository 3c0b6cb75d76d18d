//! `samestream why`, `why-not` and `lateness`, each against the law computed naively, or against running otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::cli::{samestream, stderr, stdout};

pub(crate) fn run(folder: &Path, line: &str) -> Output {
    samestream(folder).args(line.split_whitespace()).output().expect("the program starts")
}

#[track_caller]
pub(crate) fn ok(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(0), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[track_caller]
pub(crate) fn answer(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&ok(folder, &format!("{line} --format json"))).unwrap()
}

fn copy_pipelines(folder: &Path) {
    std::fs::create_dir(folder.join("pipelines")).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.join("pipelines").join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A folder with the project's pipelines and a clickstream in journal and lake.
pub(crate) fn with_clickstream() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_pipelines(folder.path());
    ok(
        folder.path(),
        "gen --to journal:data/journal/clicks --events 4000 --rate 10 --partitions 3 --late 3% --bad 0.5%",
    );
    ok(folder.path(), "archive page_views --until-caught-up");
    folder
}

/// A folder with the project's pipelines and these events in one partition; no lake, so that the journal is read.
fn with_events(lines: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_pipelines(folder.path());
    for entry in std::fs::read_dir(folder.path().join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text =
            text.replace("    lake: {path: \"${LAKES}/clicks\"}\n", "").replace("  LAKES: {default: data/lake}\n", "");
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(folder.path().join("events.jsonl"), lines).unwrap();
    ok(folder.path(), "append data/journal/clicks events.jsonl --partitions 1");
    folder
}

/// Seconds since the first of January 2026.
fn seconds(time: &str) -> f64 {
    let text = time.trim_end_matches('Z');
    let (date, clock) = text.split_once('T').unwrap();
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    let day: f64 = date.rsplit('-').next().unwrap().parse().unwrap();
    // The stream begins a little before midnight.
    let day = if day == 31.0 { 0.0 } else { day };
    (day - 1.0) * 86_400.0 + parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// What the law says of every minute and page: the records that are in it, and those that are too late for it.
type Naive = BTreeMap<(i64, String), [BTreeSet<(i64, i64)>; 2]>;

fn naive(folder: &Path, bound: f64) -> Naive {
    let sql =
        "select _partition, _offset, event_time, page from clicks where _bad is null order by _partition, _offset";
    let output =
        samestream(folder).args(["query", sql, "clicks=data/lake/clicks", "--format", "jsonl"]).output().unwrap();
    let (mut minutes, mut largest): (Naive, BTreeMap<i64, f64>) = Default::default();
    for line in stdout(&output).lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let (partition, offset) = (record["_partition"].as_i64().unwrap(), record["_offset"].as_i64().unwrap());
        let time = seconds(record["event_time"].as_str().unwrap());
        let page = record["page"].as_str().unwrap();
        let minute = (time / 60.0).floor() as i64;
        let before = largest.get(&partition).copied().unwrap_or(f64::NEG_INFINITY);
        largest.insert(partition, before.max(time));
        if page.is_empty() {
            continue;
        }
        let is_late = (minute + 1) as f64 * 60.0 <= before - bound;
        minutes.entry((minute, page.to_string())).or_default()[usize::from(is_late)].insert((partition, offset));
    }
    minutes
}

fn positions(parts: &Value) -> BTreeSet<(i64, i64)> {
    let of = |part: &Value| (part["partition"].as_i64().unwrap(), part["offset"].as_i64().unwrap());
    parts.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn why_names_the_records_that_the_law_names() {
    let folder = with_clickstream();
    let naive = naive(folder.path(), 30.0);
    // The stream begins a little before midnight.
    let today = || naive.iter().filter(|((minute, _), _)| *minute >= 0);
    let with_late = today().filter(|(_, [taken, late])| !taken.is_empty() && !late.is_empty()).take(4);
    let without = today().filter(|(_, [taken, late])| taken.len() > 1 && late.is_empty()).take(2);
    let asked: Vec<_> = with_late.chain(without).collect();
    assert_eq!(asked.len(), 6, "the stream has late records");
    for ((minute, page), [taken, late]) in asked {
        assert!((0..60).contains(minute), "the stream is short");
        let line = format!("why page_views --step per_page --window 2026-01-01T00:{minute:02}:30Z --key page={page}");
        let found = answer(folder.path(), &line);
        assert_eq!(positions(&found["taken"]), *taken, "{line}");
        assert_eq!(positions(&found["left"]), *late, "{line}");
        assert!(
            found["left"]
                .as_array()
                .unwrap()
                .iter()
                .all(|part| part["reason"].as_str().unwrap().starts_with("late by "))
        );
        assert_eq!(found["row"]["views"], taken.len().to_string());
        assert_eq!(found["window_start"], format!("2026-01-01T00:{minute:02}:00Z"));
    }
}

/// Each bound of the ladder does what running with that bound does.
#[test]
fn lateness_tells_what_running_with_another_bound_gives() {
    let folder = with_clickstream();
    let at = folder.path();
    let text = std::fs::read_to_string(at.join("pipelines/page_views.yaml")).unwrap();
    let found = answer(at, "lateness page_views --bounds 10s,2m");
    let step = &found["sources"][0]["steps"][0];
    let bounds: Vec<&str> =
        step["bounds"].as_array().unwrap().iter().map(|rung| rung["bound"].as_str().unwrap()).collect();
    assert_eq!(bounds, ["0s", "10s", "30s", "2m"]);
    let views = |bound: &str| -> (BTreeMap<(String, String), u64>, Value) {
        let other = text.replace("out_of_orderness: 30s", &format!("out_of_orderness: {bound}"));
        std::fs::write(at.join("other.yaml"), other).unwrap();
        ok(at, "run other.yaml --mode batch --summary summary.json");
        let rows = ok(at, "query data/out/page_views --format jsonl");
        let row = |line: &str| -> ((String, String), u64) {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_string();
            ((text("window_start"), text("page")), row["views"].as_u64().unwrap())
        };
        let summary = std::fs::read_to_string(at.join("summary.json")).unwrap();
        (rows.lines().map(row).collect(), serde_json::from_str(&summary).unwrap())
    };
    let (present, _) = views("30s");
    let mut all = Vec::new();
    for rung in step["bounds"].as_array().unwrap() {
        let bound = rung["bound"].as_str().unwrap();
        let (rows, summary) = views(bound);
        assert_eq!(rung["late"], summary["rows_late"], "{bound}");
        let keys: BTreeSet<_> = rows.keys().chain(present.keys()).collect();
        let changed = keys.iter().filter(|key| rows.get(**key) != present.get(**key)).count();
        assert_eq!(rung["changed"], changed, "{bound}");
        let by_partition: u64 =
            rung["late_by_partition"].as_object().unwrap().values().map(|late| late.as_u64().unwrap()).sum();
        assert_eq!(rung["late"], by_partition);
        all.push((rung["late"].as_u64().unwrap(), changed));
    }
    assert!(all[0].0 > all[2].0 && all[2].0 > all[3].0, "{all:?}");
    assert_eq!(all[2].1, 0);
    assert!(all[0].1 > 0 && all[3].1 > 0, "{all:?}");
    let text = ok(at, "lateness page_views");
    assert!(text.contains("30s *") && text.contains("such as 2026-01-01T00:"), "{text}");
}

const EVENTS: &str = r#"{"event_id":"a","user_id":1,"page":"/home","event_time":"2026-01-01T00:00:10Z"}
{"event_id":"b","user_id":2,"page":"","event_time":"2026-01-01T00:00:20Z"}
{"event_id":"c","user_id":1,"page":"/home","amount":"much","event_time":"2026-01-01T00:00:21Z"}
{"event_id":"d","user_id":1,"page":"/cart","event_time":"2026-01-01T00:01:10Z"}
{"event_id":"e","user_id":1,"page":"/home","event_time":"2026-01-01T00:02:00Z"}
{"event_id":"f","user_id":1,"page":"/home","event_time":"2026-01-01T00:00:59Z"}
{"event_id":"g","user_id":1,"page":"/home","event_time":"2026-01-01T00:20:00Z"}
"#;

#[test]
fn why_not_follows_a_record_through_every_step() {
    let folder = with_events(EVENTS);
    let at = folder.path();
    let steps = |offset: i64| answer(at, &format!("why-not page_views --record 0@{offset}"));
    let in_window = |start: &str, end: &str| json!([{"step": "per_page", "fates": [{"fate": "in", "window_start": start, "window_end": end, "key": "page = /home", "final": true}]}]);
    assert_eq!(steps(0)["steps"], in_window("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"));
    assert_eq!(steps(0)["watermark"], Value::Null);
    let filtered = steps(1);
    assert_eq!(filtered["steps"][0]["fates"][0]["fate"], "out");
    assert!(filtered["steps"][0]["fates"][0]["reason"].as_str().unwrap().starts_with("filtered: where "), "{filtered}");
    let bad = steps(2);
    assert!(bad["bad"].as_str().unwrap().contains("amount"), "{bad}");
    assert_eq!((&bad["event_time"], &bad["steps"]), (&Value::Null, &json!([])));
    let late = steps(5);
    assert_eq!(late["largest_before"], "2026-01-01T00:02:00Z");
    assert_eq!(late["watermark"], "2026-01-01T00:01:30Z");
    let reason = "late by 30s: the watermark of its partition was 2026-01-01T00:01:30Z";
    assert_eq!(late["steps"][0]["fates"][0]["reason"], reason);
    let gone = run(at, "why-not page_views --record 0@99");
    assert_eq!(gone.status.code(), Some(2), "{}", stderr(&gone));
    let text = ok(at, "why-not page_views --record 0@5");
    assert!(
        text.contains(
            "per_page  not in window 2026-01-01T00:00:00Z .. 2026-01-01T00:01:00Z  page = /home: late by 30s"
        ),
        "{text}"
    );
}

#[test]
fn why_tells_what_is_missing_and_why() {
    let folder = with_events(EVENTS);
    let at = folder.path();
    let text = std::fs::read_to_string(at.join("pipelines/page_views.yaml")).unwrap();
    let text = text.split("\ntests:\n").next().unwrap();
    // The filter stands in a step of its own, and repetitions of a user go too.
    let text = text.replace("  per_page:\n    from: clicks\n    where: \"page <> ''\"\n", "  good: {from: clicks, where: \"user_id < 9 and page <> '/cart'\"}\n  once: {from: good, dedup: {key: [user_id, page], within: 30s}}\n  per_page:\n    from: once\n    having: \"views > 0\"\n");
    std::fs::write(at.join("p.yaml"), text).unwrap();
    let cart = answer(at, "why p.yaml --step per_page --window 2026-01-01T00:01:00Z --key page=/cart");
    assert_eq!((&cart["taken"], &cart["row"]), (&json!([]), &Value::Null));
    assert_eq!(positions(&cart["left"]), [(0, 3)].into());
    assert!(cart["left"][0]["reason"].as_str().unwrap().starts_with("filtered at `good`: where "), "{cart}");
    // Record 5 is behind: its id was seen at 00:02:00, so it repeats record 4 (and would have been late).
    let home = answer(at, "why p.yaml --step per_page --window 2026-01-01T00:00:00Z --key page=/home");
    assert_eq!(positions(&home["taken"]), [(0, 0)].into());
    assert_eq!(home["left"][0]["reason"], "repeats clicks 0@4 at `once`");
    assert_eq!(home["bad"], 1);
    // Without the row: `having` took it away.
    let text = std::fs::read_to_string(at.join("p.yaml")).unwrap().replace("views > 0", "views > 5");
    std::fs::write(at.join("q.yaml"), text).unwrap();
    let none = answer(at, "why q.yaml --step per_page --window 2026-01-01T00:00:00Z --key page=/home");
    assert_eq!((&none["row"], positions(&none["taken"])), (&Value::Null, [(0, 0)].into()));
    assert!(none["dropped"].as_str().unwrap().contains("having"), "{none}");
    for (line, words) in [
        ("why p.yaml --step per_page --window 2026-01-01T00:00:00Z", "--key page=…"),
        ("why p.yaml --step per_page --window 2026-01-01T00:00:00Z --key page=/no", "keys in that window are: page = "),
        ("why p.yaml --step good --window 2026-01-01T00:00:00Z", "why-not"),
        ("why p.yaml --step per_pag --window 2026-01-01", "steps with windows and joins are: per_page"),
    ] {
        let output = run(at, line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(words), "`{words}` is not in\n{}", stderr(&output));
    }
}

#[test]
fn sessions_and_steps_over_steps_are_taken_apart() {
    let folder = with_events(EVENTS);
    let at = folder.path();
    // Half an hour of silence ends a visit: all good records of user 1, but the late one, are one.
    let visit = answer(at, "why sessions --step visits --window 2026-01-01T00:01:00Z --key user_id=1");
    assert_eq!(positions(&visit["taken"]), [(0, 0), (0, 3), (0, 4), (0, 6)].into());
    assert_eq!(positions(&visit["left"]), [(0, 5)].into());
    assert_eq!(
        (&visit["window_start"], &visit["window_end"]),
        (&json!("2026-01-01T00:00:10Z"), &json!("2026-01-01T00:50:00Z"))
    );
    assert_eq!(visit["row"]["clicks"], "4");
    let top = answer(at, "why top_pages --step top_pages --window 2026-01-01T00:00:00Z --key page=/home --deep");
    assert_eq!(top["row"]["views"], "2");
    let minutes = top["taken"].as_array().unwrap();
    let records: Vec<_> = minutes.iter().map(|minute| positions(&minute["parts"]["taken"])).collect();
    assert_eq!(records, [[(0, 0)].into(), [(0, 4)].into()]);
    assert_eq!(minutes[0]["key"], "page = /home");
    assert_eq!(positions(&minutes[0]["parts"]["left"]), [(0, 5)].into());
    let overlapping = run(at, "why top_pages --step top_pages --window 2026-01-01T00:00:30Z --key page=/home");
    assert!(
        stderr(&overlapping).contains("such as 2025-12-31T23:59:00Z, 2026-01-01T00:00:00Z"),
        "{}",
        stderr(&overlapping)
    );
}

#[test]
fn of_copies_of_an_id_the_first_one_counts() {
    let folder =
        with_events(&EVENTS.replace("\"event_id\":\"f\"", "\"event_id\":\"a\"").replace("00:02:00Z", "00:00:30Z"));
    let at = folder.path();
    let text = std::fs::read_to_string(at.join("pipelines/page_views.yaml")).unwrap();
    let text = text
        .split("\ntests:\n")
        .next()
        .unwrap()
        .replace("    group_by: [page]\n", "    group_by: [page]\n    unique_by: [event_id]\n");
    std::fs::write(at.join("p.yaml"), text).unwrap();
    let home = answer(at, "why p.yaml --step per_page --window 2026-01-01T00:00:00Z --key page=/home");
    assert_eq!(positions(&home["taken"]), [(0, 0), (0, 4)].into());
    assert_eq!(positions(&home["left"]), [(0, 5)].into());
    assert_eq!(home["left"][0]["reason"], "counts once, as clicks 0@0");
    assert_eq!(home["row"]["views"], "2");
    let copy = answer(at, "why-not p.yaml --record 0@5");
    assert_eq!(copy["steps"][0]["fates"][0]["reason"], "counts once in its window, as clicks 0@0");
}

const LATENESS: &str = r#"
version: 1
name: lateness
sources:
  clicks:
    lake: {path: data/lake/clicks}
    format: json
    schema: {event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 30s}
steps:
  views: {from: clicks, where: "page <> ''", derive: {p: _partition, o: _offset}, select: [user_id, page, p, o]}
  carts: {from: views, where: "page = '/search'"}
  visits:
    from: views
    window: {session: {gap: 15s}}
    group_by: [user_id]
    aggregate: {n: "count(*)", what: "sum(o * 7 + p)"}
  near:
    join: {left: views, right: carts, on: [user_id], type: full, within: {before: 20s, after: 10s}}
    select: [{lp: left.p}, {lo: left.o}, {rp: right.p}, {ro: right.o}]
  latest:
    join: {left: views, right: carts, on: [user_id], type: inner, as_of: {max_age: 1m}}
    select: [{lp: left.p}, {lo: left.o}, {rp: right.p}, {ro: right.o}]
  minutes:
    join: {left: views, right: carts, on: [user_id], type: left, window: {hopping: {size: 1m, every: 20s}}}
    select: [window_start, {lp: left.p}, {lo: left.o}, {rp: right.p}, {ro: right.o}]
sinks:
  visits: {from: visits, jsonl: {path: out/visits}}
  near: {from: near, jsonl: {path: out/near}}
  latest: {from: latest, jsonl: {path: out/latest}}
  minutes: {from: minutes, jsonl: {path: out/minutes}}
"#;

/// The rows of a step by what names them.
type Rows = BTreeMap<String, String>;

/// Each bound of the ladder does to sessions and joins what running with that bound does.
#[test]
fn lateness_tells_what_another_bound_makes_of_sessions_and_joins() {
    let folder = with_clickstream();
    let at = folder.path();
    std::fs::write(at.join("p.yaml"), LATENESS).unwrap();
    let found = answer(at, "lateness p.yaml --bounds 5s,1m,4m");
    let names: [(&str, &[&str], &str); 4] = [
        ("latest", &["lp", "lo"], "rows"),
        ("minutes", &["window_start", "lp", "lo", "rp", "ro"], "rows"),
        ("near", &["lp", "lo", "rp", "ro"], "rows"),
        ("visits", &["window_start", "window_end", "user_id"], "sessions"),
    ];
    let run_with = |bound: &str| -> (Vec<Rows>, u64) {
        let text = LATENESS.replace("out_of_orderness: 30s", &format!("out_of_orderness: {bound}"));
        std::fs::write(at.join("other.yaml"), text).unwrap();
        ok(at, "run other.yaml --mode batch --summary summary.json");
        let summary = std::fs::read_to_string(at.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let rows = names.map(|(step, key, _)| -> Rows {
            let all = ok(at, &format!("query out/{step} --format jsonl"));
            let row = |line: &str| {
                let mut row: Value = serde_json::from_str(line).unwrap();
                row.as_object_mut().unwrap().remove("final");
                (key.iter().map(|name| format!("{} ", row[*name])).collect(), row.to_string())
            };
            all.lines().map(row).collect()
        });
        (rows.into(), summary["rows_late"].as_u64().unwrap())
    };
    let (present, _) = run_with("30s");
    let steps = found["sources"][0]["steps"].as_array().unwrap();
    let bounds: Vec<&str> =
        steps[0]["bounds"].as_array().unwrap().iter().map(|rung| rung["bound"].as_str().unwrap()).collect();
    assert_eq!(bounds, ["0s", "5s", "30s", "1m", "4m"]);
    let mut changes = Vec::new();
    for (rung, bound) in bounds.into_iter().enumerate() {
        let (rows, late) = run_with(bound);
        let told: u64 = steps.iter().map(|step| step["bounds"][rung]["late"].as_u64().unwrap()).sum();
        assert_eq!(told, late, "{bound}");
        for (((name, _, what), rows), present) in names.iter().zip(&rows).zip(&present) {
            let step = steps.iter().find(|step| step["step"] == *name).unwrap();
            assert_eq!(step["changed_are"], *what);
            let keys: BTreeSet<_> = rows.keys().chain(present.keys()).collect();
            let changed = keys.iter().filter(|key| rows.get(**key) != present.get(**key)).count();
            assert_eq!(step["bounds"][rung]["changed"], changed, "{name} with {bound}");
            changes.push(changed);
        }
    }
    // Nothing changes with the bound in the file, something with most others.
    assert_eq!(changes[8..12], [0; 4]);
    assert!(changes.iter().filter(|changed| **changed > 0).count() >= 15, "{changes:?}");
    let text = ok(at, "lateness p.yaml --bounds 5s");
    assert!(
        text.contains("sessions changed") && text.contains("rows changed") && text.contains("row(s), by "),
        "{text}"
    );
}

/// A rule that cannot be computed is not one that is broken; a list without elements gives no row; windows may be many.
#[test]
fn why_not_says_what_failed_what_was_empty_and_is_quick_with_many_windows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let pipeline = r#"version: 1
name: lists
sources:
  c:
    journal: {path: log}
    schema: {id: string!, l: list<int64>, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10s}
steps:
  elements:
    from: c
    explode: {l: e}
    check: [{name: positive, rule: "e > 0", else: drop}, {name: small, rule: "100 // (e - 7) < 1000"}]
  many: {from: c, window: {hopping: {size: 20000s, every: 1s}}, aggregate: {n: "count(*)"}}
sinks:
  elements: {from: elements, jsonl: {path: elements.jsonl}}
  many: {from: many, jsonl: {path: many.jsonl}}
"#;
    std::fs::write(at.join("lists.yaml"), pipeline).unwrap();
    let lines = ["[7, -1, 3]", "[]", "null"].iter().enumerate();
    let lines = lines.map(|(i, list)| format!(r#"{{"id":"{i}","l":{list},"at":"2026-01-01T00:00:0{i}Z"}}"#));
    std::fs::write(at.join("c.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    ok(at, "append log c.jsonl");
    let course = |record: &str| {
        let began = std::time::Instant::now();
        let text = ok(at, &format!("why-not lists.yaml --record {record}"));
        // Counting through the record's windows for each of its windows took minutes.
        assert!(began.elapsed().as_secs() < 120, "{:?}", began.elapsed());
        text
    };
    let first = course("0@0");
    assert!(first.contains("division_by_zero: 100 // 0"), "{}", &first[..first.len().min(2000)]);
    assert!(first.contains("check positive: (e > 0) is not true"), "{}", &first[..first.len().min(2000)]);
    for empty in ["0@1", "0@2"] {
        assert!(course(empty).contains("`l` is null or has no elements"), "{empty}");
    }
}

/// Of a step with both, it is told which of `having` and `top` left a row out; and how what breaks a rule is named.
#[test]
fn having_and_top_are_told_apart_and_so_are_rules_and_filters() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(
        at.join("p.yaml"),
        r#"version: 1
name: p
sources:
  s: {journal: {path: log}, schema: {page: string!, x: float64, at: timestamp!}, event_time: {column: at, out_of_orderness: 1h}}
steps:
  held:
    from: s
    check: [{name: small, rule: "x < 100 or x is null"}, {name: named, rule: "page <> 'drop'", else: drop}]
  w:
    from: held
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {n: "count(*)", x: "max(x)"}
    having: "n > 1"
    top: {n: 1, by: [{n: desc}], rank: place}
sinks: {out: {from: w, jsonl: {path: out.jsonl}}}
"#,
    )
    .unwrap();
    let line = |page: &str, x: &str, second: u32| {
        format!("{{\"page\":\"{page}\",\"x\":{x},\"at\":\"2026-01-01T00:00:{second:02}Z\"}}\n")
    };
    // Offsets: `a` 0-2, the empty one 3-4, `once` 5, what breaks rules 6 and 7.
    let records = [
        ("a", "1", 0),
        ("a", "\"Infinity\"", 1),
        ("a", "2", 2),
        ("", "1", 3),
        ("", "\"NaN\"", 4),
        ("once", "1", 5),
        ("a", "500", 6),
        ("drop", "1", 7),
    ];
    let text: String = records.iter().map(|(page, x, second)| line(page, x, *second)).collect();
    std::fs::write(at.join("e.jsonl"), text).unwrap();
    ok(at, "append log e.jsonl --partitions 1");
    let why = |page: &str| ok(at, &format!("why p.yaml --step w --window 2026-01-01T00:00:00Z --key page={page}"));
    let first = why("a");
    // `Infinity < 100` is not true.
    assert!(first.contains("page: a, n: 2, x: 2.0, place: 1}"), "{first}");
    assert!(first.contains("kept aside in `held.bad`: check small: "), "{first}");
    assert!(first.contains("x: Infinity"), "{first}");
    let empty = why("");
    assert!(empty.contains("page = \"\""), "{empty}");
    assert!(empty.contains("row      none: `having: (n > 1)` is not true of it"), "NaN is not below 100: {empty}");
    let once = why("once");
    assert!(once.contains("row      none: `having: (n > 1)` is not true of it"), "{once}");
    let dropped = why("drop");
    assert!(dropped.contains("filtered at `held`: check named"), "{dropped}");
    // With one more, `top` leaves it out.
    std::fs::write(at.join("more.jsonl"), line("once", "3", 8) + &line("once", "1", 9)).unwrap();
    std::fs::write(at.join("a.jsonl"), line("a", "3", 10) + &line("a", "1", 11)).unwrap();
    ok(at, "append log more.jsonl");
    ok(at, "append log a.jsonl");
    let once = why("once");
    assert!(once.contains("row      none: it is not among the first 1 of its window (`top`): "), "{once}");
    assert!(once.contains("place = 2"), "{once}");
    let reason = |record: &str| ok(at, &format!("why-not p.yaml --record {record}"));
    assert!(reason("0@5").contains("no row: it is not among the first 1 of its window (`top`)"), "{}", reason("0@5"));
    assert!(reason("0@3").contains("no row: `having: (n > 1)` is not true of it"), "{}", reason("0@3"));
    assert!(reason("0@0").contains("a row that is not final"), "{}", reason("0@0"));
}
