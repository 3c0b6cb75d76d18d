//! The checkpoints of earlier versions: kept in `tests/fixtures/`, and gone on from to what a run gives that was not disturbed.
//!
//! `checkpoint-1` holds a pipeline with every kind of state, the first records of its journals, what two streams had made of
//! them – one with the memory that it wanted, one within 4 MiB –, the rows that their sinks had published *before* their last
//! checkpoint, and records that came later.
//! `BLESS=1 cargo test --test tests makes_the_fixture -- --ignored` makes it anew, which only a new version of the format
//! is a reason for, and then beside the old one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{ok, summary};

const PIPELINE: &str = r#"version: 1
name: shop
sources:
  clicks:
    journal: {path: log}
    schema: {id: int64!, user: string!, amount: float64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 5m}
  rates:
    journal: {path: rates}
    schema: {user: string!, rate: float64!, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10m}
steps:
  once: {from: clicks, dedup: {key: [id], within: 1h}}
  minutes:
    from: once
    window: {tumbling: {size: 20m}}
    group_by: [user]
    aggregate:
      clicks: "count(*)"
      revenue: "sum(amount)"
      mean: "avg(amount)"
      least: "min(amount)"
      spread: "stddev_samp(amount)"
      entry: "first(id)"
      distinct: "approx_count_distinct(id)"
      exact: "count_distinct(id)"
      typical: "approx_quantile(amount, 0.5)"
      ids: "array_agg(id)"
  per_id: {from: clicks, window: {tumbling: {size: 1d}}, group_by: [id], aggregate: {clicks: "count(*)", revenue: "sum(amount)"}}
  all: {from: per_id, window: same, aggregate: {ids: "count(*)", revenue: "sum(revenue)"}}
  hours:
    from: minutes
    window: {tumbling: {size: 1h}}
    aggregate: {users: "count(*)", revenue: "sum(revenue)"}
  unique:
    from: clicks
    window: {tumbling: {size: 30m}}
    unique_by: [id]
    group_by: [user]
    aggregate: {clicks: "count(*)", revenue: "sum(amount)"}
  visits:
    from: clicks
    window: {session: {gap: 10m}}
    group_by: [user]
    aggregate: {clicks: "count(*)", revenue: "sum(amount)", entry: "first(id)"}
  together:
    join: {left: clicks, right: rates, on: [user], type: left, window: {tumbling: {size: 10m}}}
    select: [id, rate]
  near:
    join: {left: clicks, right: rates, on: [user], type: full, within: {before: 2m, after: 4m}}
    select: [id, rate]
  valued:
    join: {left: clicks, right: rates, on: [user], type: left, as_of: {}}
    select: [id, {value: "amount * rate"}]
sinks:
  minutes: {from: minutes, jsonl: {path: minutes}}
  hours: {from: hours, csv: {path: hours.csv}}
  unique: {from: unique, jsonl: {path: unique}}
  visits: {from: visits, csv: {path: visits}}
  together: {from: together, jsonl: {path: together}}
  near: {from: near, jsonl: {path: near}}
  all: {from: all, jsonl: {path: all}}
  valued: {from: valued, parquet: {path: valued}}
  late: {from: minutes.late, jsonl: {path: late}}
"#;

const STREAM: &str = "run shop.yaml --mode stream --until-caught-up -q";

/// The two streams, each with where its state and its rows are, and what it was told when the fixture was made.
const STREAMS: [(&str, &str); 2] = [("wide", ""), ("narrow", "--memory 4MiB")];

const SINKS: [&str; 9] = ["minutes", "all", "hours", "unique", "visits", "together", "near", "valued", "late"];

/// The records of a stretch of minutes, out of order, with repetitions and some that are late.
fn records(minutes: std::ops::Range<i64>, per_minute: i64) -> [String; 2] {
    let time = |second: i64| engine::rfc3339((1_767_225_600 + second) * 1_000_000);
    let (mut clicks, mut rates) = (String::new(), String::new());
    for minute in minutes {
        for number in 0..per_minute {
            let id = minute * 40 + number;
            let (user, amount) = (id * 7 % 23, (id * 37 % 1000) as f64 / 8.0);
            let behind = if id % 41 == 40 { 400 } else { id * 13 % 200 };
            let amount = if id % 10 == 9 { "null".into() } else { amount.to_string() };
            let at = time((minute * 60 + number - behind).max(0));
            let line = format!(r#"{{"id":{id},"user":"u{user}","amount":{amount},"at":"{at}"}}"#) + "\n";
            clicks += &line.repeat(if id % 17 == 16 { 2 } else { 1 });
        }
        let (user, rate, at) = (minute % 23, 1.0 + minute as f64 / 64.0, time(minute * 60));
        rates += &(format!(r#"{{"user":"u{user}","rate":{rate},"at":"{at}"}}"#) + "\n");
    }
    [clicks, rates]
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

fn add(at: &Path, [clicks, rates]: [&Path; 2]) {
    for (log, file) in [("log", clicks), ("rates", rates)] {
        ok(at, &format!("append {log} {} --partition-by user --partitions 2 -q", file.display()));
    }
}

#[test]
#[ignore = "makes the files that the test below reads"]
fn makes_the_fixture() {
    assert!(std::env::var_os("BLESS").is_some(), "only when it is told to");
    let folder = fixtures().join("checkpoint-1");
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "it is there");
    let made = tempfile::tempdir().unwrap();
    let at = made.path();
    fs::write(at.join("shop.yaml"), PIPELINE).unwrap();
    let stretches = [("first", 0..50, 22), ("second", 50..65, 12), ("third", 65..67, 12), ("more", 67..120, 5)];
    for (name, minutes, per_minute) in stretches {
        let [clicks, rates] = records(minutes, per_minute);
        fs::write(at.join(format!("{name}.clicks.jsonl")), clicks).unwrap();
        fs::write(at.join(format!("{name}.rates.jsonl")), rates).unwrap();
    }
    for name in ["first", "second", "third"] {
        add(at, [&at.join(format!("{name}.clicks.jsonl")), &at.join(format!("{name}.rates.jsonl"))]);
        for (stream, memory) in STREAMS {
            if name == "third" {
                copy(&at.join(stream).join("out"), &folder.join(stream).join("out"));
            }
            ok(at, &format!("{STREAM} --state-dir {stream}/state --out {stream}/out {memory}"));
        }
    }
    for name in ["log", "rates", "wide/state", "narrow/state"] {
        copy(&at.join(name), &folder.join(name));
    }
    for name in ["shop.yaml", "more.clicks.jsonl", "more.rates.jsonl"] {
        fs::copy(at.join(name), folder.join(name)).unwrap();
    }
}

/// The rows of a sink, in order.
fn rows(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let is_rows = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with(['.', '_']);
        let mut all: Vec<String> = files.filter(is_rows).flat_map(|path| rows(&path)).collect();
        all.sort();
        return all;
    }
    if path.extension().is_some_and(|end| end == "parquet") {
        let name = path.file_name().unwrap().to_string_lossy();
        let question = ["query", "select * from t", &format!("t={name}"), "--format", "csv"];
        let output = samestream(path.parent().unwrap()).args(question).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        return stdout(&output).lines().skip(1).map(String::from).collect();
    }
    let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(String::from).collect();
    lines.sort();
    lines
}

#[test]
fn a_checkpoint_of_an_earlier_version_is_gone_on_from() {
    let mut count = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let kept = entry.unwrap().path();
        if !kept.file_name().unwrap().to_string_lossy().starts_with("checkpoint-") {
            continue;
        }
        count += 1;
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        copy(&kept, at);
        let manifests = STREAMS.map(|(stream, _)| newest(&at.join(stream)));
        manifests.iter().for_each(has_every_kind);
        assert!(manifests.iter().any(|manifest| has(manifest, "layer")), "no window has layers");
        assert!(manifests.iter().any(|manifest| has(manifest, "piece")), "no window waited in files");
        add(at, [&at.join("more.clicks.jsonl"), &at.join("more.rates.jsonl")]);
        ok(at, &format!("{STREAM} --state-dir whole/state --out whole/out --summary whole.json"));
        let whole = summary(at, "whole.json");
        assert!(whole["rows_late"].as_u64() > Some(0), "{whole}");
        for (stream, _) in STREAMS {
            ok(at, &format!("{STREAM} --state-dir {stream}/state --out {stream}/out --summary stream.json"));
            let found = summary(at, "stream.json");
            for name in ["digest_all", "digest_final", "rows_read", "rows_late", "rows_bad", "windows"] {
                assert_eq!(found[name], whole[name], "{name}: {stream} in {}", kept.display());
            }
            for sink in SINKS {
                let [found, expected] = [stream, "whole"].map(|name| rows(&at.join(name).join("out").join(sink)));
                assert!(!expected.is_empty(), "{sink}");
                assert_eq!(found, expected, "{sink}: {stream} in {}", kept.display());
            }
        }
    }
    assert!(count > 0);
}

/// Returns the manifest of the newest checkpoint.
fn newest(at: &Path) -> Value {
    let folder = at.join("state/shop/stream/checkpoints");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = names
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .filter(|path| !path.ends_with("told.json"))
        .max();
    let text = fs::read_to_string(newest.unwrap()).unwrap();
    serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
}

/// Checks that a fixture is what it is kept for.
fn has_every_kind(manifest: &Value) {
    let parts = manifest["parts"].as_array().unwrap();
    let steps: BTreeSet<&str> = parts.iter().map(|part| part["name"]["step"].as_str().unwrap()).collect();
    let all = ["minutes", "near", "once", "per_id", "together", "unique", "valued", "visits"];
    assert!(all.iter().all(|step| steps.contains(step)), "{steps:?}");
    assert!(has(manifest, "bucket"));
    let outbox = manifest["outbox"].as_array().unwrap();
    assert!(outbox.iter().any(|entry| entry["kind"] == "final"), "nothing was to be published");
}

/// Returns whether a part has that in its name.
fn has(manifest: &Value, field: &str) -> bool {
    manifest["parts"].as_array().unwrap().iter().any(|part| !part["name"][field].is_null())
}
