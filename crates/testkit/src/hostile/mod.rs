//! Hostile bytes: what must happen to any of them wherever bytes come in, and seeds to make such bytes of.
//!
//! Each [`Target`] takes bytes and panics when something happens that must not: a panic of the program, a result that
//! depends on its neighbours, an error without a code. `tests/hostile.rs` gives it thousands of mutated seeds, within
//! bounds of memory and time, and everything that was ever found; `tests/fuzz` lets libFuzzer search.

mod accumulator;
mod checkpoint;
mod journal;
mod json;
mod lake;
mod lookup;
mod modes;
mod pipeline;

use std::sync::Arc;

use engine::plan::Plan;
use engine::{Error, Result};

use crate::random::Random;

/// A door through which bytes come in.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes bytes as somebody else might have made them.
    pub run: fn(&[u8]),
    /// Returns bytes that are as they should be.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every door.
pub const TARGETS: &[Target] = &[
    Target { name: "json", run: json::run, seeds: json::seeds },
    Target { name: "modes", run: modes::run, seeds: modes::seeds },
    Target { name: "parquet", run: lake::run, seeds: lake::seeds },
    Target { name: "journal", run: journal::run, seeds: journal::seeds },
    Target { name: "pipeline", run: pipeline::run, seeds: pipeline::seeds },
    Target { name: "lookup", run: lookup::run, seeds: lookup::seeds },
    Target { name: "checkpoint", run: checkpoint::run, seeds: checkpoint::seeds },
    Target { name: "accumulator", run: accumulator::run, seeds: accumulator::seeds },
];

/// Returns the target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Every type of column, and state of every kind.
pub const PIPELINE: &str = r#"version: 1
name: hostile
vars: {LAKE: {default: lake}}
sources:
  s:
    journal: {path: log}
    lake: {path: "${LAKE}"}
    format: json
    schema:
      id: string!
      n: int64
      small: int32
      x: float64
      d: "decimal(18,2)"
      ok: bool
      day: date
      at: timestamp!
      bytes: binary
      tags: "list<string>"
      place: "struct<a: int64, b: list<string>>"
      floats: "list<float64>"
      doc: json
      deep: {type: int64, from: value.a.b}
      then: {type: timestamp, format: "%d/%b/%Y:%H:%M:%S", null_as: ["-"]}
      k: {type: string, from: key}
    event_time: {column: at, out_of_orderness: 10s, max_future: 1d}
steps:
  unique: {from: s, dedup: {key: [id], within: 10m}}
  per:
    from: unique
    window: {tumbling: {size: 1m}}
    group_by: [id]
    aggregate:
      many: "count(*)"
      ns: "sum(n)"
      xs: "sum(x)"
      ds: "avg(d)"
      spread: "var_pop(x)"
      together: "covar_pop(x, n)"
      least: "min(id)"
      first: "first(x)"
      greatest: "arg_max(id, n)"
      distinct: "count_distinct(id)"
      about: "approx_count_distinct(id)"
      half: "quantile(x, 0.5)"
      nearly: "approx_quantile(x, 0.5)"
      ids: "array_agg(id)"
      places: "array_agg(place)"
      all: "bool_and(ok)"
      bits: "bit_xor(n)"
  visits: {from: s, window: {session: {gap: 30s}}, group_by: [id], aggregate: {n: "count(*)", x: "sum(x)"}}
  once: {from: s, window: {hopping: {size: 2m, every: 1m}}, unique_by: [id], aggregate: {n: "sum(n)"}}
  met:
    join: {left: s, right: unique, on: [id], type: left, within: {before: 10s, after: 10s}}
    select: [{id: left.id}, {x: right.x}]
  asof:
    join: {left: s, right: unique, on: [id], type: left, as_of: {}}
    select: [{id: left.id}, {x: right.x}]
  both:
    join: {left: s, right: unique, on: [id], type: full, window: {tumbling: {size: 1m}}}
    select: [window_start, {mine: left.id}, {x: right.x}]
  over: {from: per, window: {tumbling: {size: 10m}}, aggregate: {many: "sum(many)"}, top: {n: 3, by: [{many: desc}]}}
sinks:
  over: {from: over, jsonl: {path: out/over}}
  visits: {from: visits, jsonl: {path: out/visits}}
  once: {from: once, jsonl: {path: out/once}}
  met: {from: met, jsonl: {path: out/met}}
  asof: {from: asof, jsonl: {path: out/asof}}
  both: {from: both, jsonl: {path: out/both}}
"#;

/// Returns the plan of [`PIPELINE`] over a lake.
pub fn plan(lake: &str) -> Arc<Plan> {
    let variables = ::pipeline::Variables::default().set("LAKE", lake);
    let loaded = ::pipeline::load("hostile.yaml", PIPELINE, &variables);
    Arc::new(loaded.unwrap_or_else(|errors| panic!("{errors:?}")).plan)
}

/// Records of the pipeline's source as text, most of them good.
pub fn records() -> Vec<String> {
    let mut records = Vec::new();
    for i in 0..40_i64 {
        let (second, id) = (i * 7 % 300, i % 9);
        let (sign, bit) = (if i % 3 == 0 { "-" } else { "" }, i % 2 == 0);
        records.push(format!(
            r#"{{"id":"id {id}","n":{sign}{},"small":{i},"x":{sign}{i}.25e{},"d":"{i}.5","ok":{bit},"day":"2026-01-{:02}","at":"2026-01-01T00:{:02}:{:02}.5Z","bytes":"aGk=","tags":["a",null,"\u00e9\n"],"place":{{"a":{i},"b":["x","",null]}},"floats":[{i}.5,"NaN",null],"doc":{{"z":[1.0,{{}}],"y":"\ud83d\ude00"}},"a":{{"b":{i}}},"then":"01/Jan/2026:00:00:{:02}","more":[{{"x":[]}}]}}"#,
            i * 1_000_003,
            i % 30 - 10,
            1 + i % 28,
            second / 60,
            second % 60,
            i % 60,
        ));
    }
    records.push(r#"{"id":"b","at":1767225600000}"#.into());
    records.push(r#"{"id":"c","at":"nonsense"}"#.into());
    records.push(r#"{"id":null,"at":"2026-01-01T00:00:00Z"}"#.into());
    records
}

/// Says that an error is one: it has a code and says something.
fn assert_error(error: &Error) {
    assert!(error.code.name().starts_with("E_") && !error.message.is_empty(), "{error:?}");
}

/// Returns what came of it, having looked at the error.
fn checked<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| assert_error(&error)).ok()
}

/// Returns bytes that were changed in a few places, as a bad disk, a bad program or a bad person might.
pub fn mutate(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const NUMBERS: &[&[u8]] = &[
        &[0],
        &[0xff],
        &[0x7f],
        &[0x80],
        &[0xff; 4],
        &[0xff, 0xff, 0xff, 0x7f],
        &[0xff; 8],
        &[0, 0, 0, 0x80],
        &[0; 8],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0, 0, 0, 0, 0, 0, 0, 0x80],
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1e999999999",
        b"0.0000000000000000000000001",
        b"null",
        b"[[[[",
        b"{\"a\":",
        b"\"",
        b"\\",
        b"\\ud800",
        b"\xf0\x9f\x98\x80",
        b"..",
        b"18446744073709551616",
        b"\xef\xbb\xbf",
        b"\n",
        b"*",
        b"&a ",
        b": ",
        b"${A}",
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        // The ends of files are what readers look at first.
        let at = match random.below(3) {
            0 => bytes.len() - random.below(bytes.len() / 4 + 1),
            _ => random.below(bytes.len() + 1),
        };
        let most = *random.pick(&[2, 8, 64, 1024]);
        let length = random.below(most).min(bytes.len() - at);
        match random.below(9) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.bits() as u8,
            3 => drop(bytes.drain(at..at + length)),
            4 => bytes.truncate(at),
            5 => {
                let piece = random.pick(NUMBERS);
                let end = if random.chance(50) { (at + piece.len()).min(bytes.len()) } else { at };
                drop(bytes.splice(at..end, piece.iter().copied()).collect::<Vec<_>>());
            }
            6 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, piece).collect::<Vec<_>>());
            }
            7 if !other.is_empty() => {
                let from = random.below(other.len());
                let piece = other[from..].iter().take(length.max(1)).copied();
                drop(bytes.splice(at..at + length, piece).collect::<Vec<_>>());
            }
            _ => bytes.insert(at, random.bits() as u8),
        }
    }
    bytes
}
