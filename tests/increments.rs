//! What a checkpoint writes: of a state that is there already only what changed, whatever kind of state it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cli::{samestream, stderr};
use crate::restart::{newest_checkpoint, ok, summary};

/// Six hours of records, of which nothing is final: each user comes for five minutes, so old ones are left alone.
const PIPELINE: &str = r#"version: 1
name: clicks
sources:
  clicks:
    journal: {path: log}
    schema: {id: int64!, user: int64!, at: timestamp!}
    event_time: {column: at, out_of_orderness: 12h}
steps:
  once: {from: clicks, dedup: {key: [id], within: 12h}}
  visits: {from: clicks, window: {session: {gap: 30m}}, group_by: [user], aggregate: {ids: "array_agg(id)"}}
  per_id: {from: clicks, window: {tumbling: {size: 1d}}, group_by: [id], aggregate: {n: "count(*)", first: "min(at)"}}
  near:
    join: {left: clicks, right: once, on: [user], type: full, within: {before: 10m, after: 10m}}
    select: [{one: left.id}, {other: right.id}]
  last:
    join: {left: clicks, right: once, on: [user], type: left, as_of: {max_age: 1h}}
    select: [{one: left.id}, {other: right.id}]
sinks:
  visits: {from: visits, jsonl: {path: out/visits}}
  per_id: {from: per_id, jsonl: {path: out/per_id}}
  near: {from: near, jsonl: {path: out/near}}
  last: {from: last, jsonl: {path: out/last}}
"#;

const STREAM: &str = "run clicks.yaml --mode stream --until-caught-up --summary stream.json -q";

fn add(folder: &Path, minutes: std::ops::Range<u32>, records: u32) {
    let record = |minute: u32, record: u32| {
        let (id, user, hour, minute) =
            (minute * 1000 + record, minute / 5 * 100 + record % 10, minute / 60, minute % 60);
        format!(r#"{{"id":{id},"user":{user},"at":"2026-01-01T{hour:02}:{minute:02}:00Z"}}"#)
    };
    let lines = minutes.flat_map(|minute| (0..records).map(move |number| record(minute, number)));
    fs::write(folder.join("more.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let output = samestream(folder).args(["append", "log", "more.jsonl", "-q"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Returns by step, or side of a join: the bytes of its state in the newest checkpoint, and those of them in its own file.
fn bytes(folder: &Path) -> BTreeMap<String, (u64, u64)> {
    let name = newest_checkpoint(folder).unwrap();
    let text = fs::read_to_string(folder.join(".samestream/clicks/stream/checkpoints").join(&name)).unwrap();
    let manifest: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for part in manifest["parts"].as_array().unwrap() {
        let side = part["name"]["side"].as_u64().map(|side| format!(".{side}")).unwrap_or_default();
        let step = format!("{}{side}", part["name"]["step"].as_str().unwrap());
        for table in part["tables"].as_array().unwrap() {
            let size = table["size"].as_u64().unwrap();
            let is_new = table["file"].as_str().unwrap()[..20] == name[..20];
            let (all, new) = found.entry(step.clone()).or_default();
            *all += size;
            *new += if is_new { size } else { 0 };
        }
    }
    found
}

#[test]
fn what_nothing_touched_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("clicks.yaml"), PIPELINE).unwrap();
    add(at, 0..360, 15);
    ok(at, STREAM);
    let first = bytes(at);
    let steps = ["last.0", "last.1", "near.0", "near.1", "once", "per_id", "visits"];
    assert_eq!(first.keys().collect::<Vec<_>>(), steps);
    assert!(first.values().all(|(all, new)| *all == *new && *all > 10_000), "{first:?}");
    // A few records more, of the last minutes.
    add(at, 360..362, 2);
    ok(at, STREAM);
    let second = bytes(at);
    assert_eq!(second.keys().collect::<Vec<_>>(), steps);
    for (step, (all, new)) in &second {
        assert!(*new > 0 && new * 4 < *all, "{step}: {new} of {all} bytes were written");
    }
    // One that comes late in the day touches what is old. It has come before, at the same time: nothing moves
    // in `once`, and what reads it never sees the record.
    add(at, 100..101, 1);
    ok(at, STREAM);
    for (step, (all, new)) in &bytes(at) {
        let is_touched = step != "once" && !step.ends_with(".1");
        assert!(is_touched == (*new > 0) && new * 4 < *all, "{step}: {new} of {all} bytes were written");
    }
    ok(at, "run clicks.yaml --mode batch --out whole --summary batch.json -q");
    let (stream, batch) = (summary(at, "stream.json"), summary(at, "batch.json"));
    for digest in ["digest_all", "digest_final", "rows_read"] {
        assert_eq!(stream[digest], batch[digest]);
    }
}
