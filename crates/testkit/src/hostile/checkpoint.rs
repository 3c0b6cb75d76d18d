//! A checkpoint whose checksums are right, because whoever makes it up can compute them.
//!
//! The bytes are a manifest's JSON, a line with a zero byte, and its tables one after the other, not packed. Where the
//! JSON speaks of a table, its place and size are those in what follows the zero.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use engine::{Code, Engine, Error};
use runtime::checkpoint::Line;
use runtime::checkpoint::saved::Saved;
use runtime::checkpoint::store::{Memory, Store};
use runtime::memory::{MemoryLog, Pieces};
use runtime::stream::Until;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{assert_error, checked, json, plan, records};
use crate::crash;
use crate::random::Random;

const BORDER: &[u8] = b"\n\0\n";

/// Opens the checkpoint, looks at it as `samestream state` does, and takes in its state as a start does.
pub(super) fn run(bytes: &[u8]) {
    let engine = engine();
    let store = Memory::default();
    put(bytes, &store);
    let saved = Saved::new(Box::new(store.clone()), "hostile");
    for entry in checked(saved.entries()).unwrap_or_default() {
        assert!(entry.json().is_object() && entry.details().is_object());
    }
    let resumed = Line::open(Box::new(store), engine.plan(), false).and_then(|line| {
        let outbox = line.last().map(|last| last.outbox.clone()).unwrap_or_default();
        outbox.iter().for_each(|entry| _ = checked(line.rows(entry)));
        line.resume(engine, None)
    });
    match resumed {
        Ok(resumed) => {
            let mut resumed = resumed.expect("a checkpoint that is there is gone on from or refused");
            engine.snapshot(&mut resumed.state, true);
        }
        Err(error) => must_name_the_file(&error),
    }
}

/// Damage is told with the file that has it. A checkpoint that is whole, but of another definition, log or program, is
/// refused as that.
fn must_name_the_file(error: &Error) {
    assert_error(error);
    match error.code {
        Code::Corrupt => {
            let is_named = ["checkpoint ", "memory"].iter().all(|part| error.message.contains(part));
            assert!(is_named, "it says which file, and where: {error}");
        }
        Code::StateForeign | Code::LogReplaced | Code::StateVersion => {}
        _ => panic!("a checkpoint is damaged or that of another job, nothing else: {error:?}"),
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(plan("lake")))
}

/// Puts the checkpoint into a store, with tables packed and checksums made right as far as it speaks of tables.
fn put(bytes: &[u8], store: &Memory) {
    let border = bytes.windows(BORDER.len()).position(|window| window == BORDER).unwrap_or(bytes.len());
    let (text, tables) = (&bytes[..border], bytes.get(border + BORDER.len()..).unwrap_or_default());
    let mut text = String::from_utf8_lossy(text).into_owned();
    let mut number = 1;
    if let Ok(mut manifest) = serde_json::from_str::<Value>(&text) {
        number = manifest.get("number").and_then(Value::as_u64).unwrap_or(1);
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        each_blob(&mut manifest, &mut |blob| {
            let place = |name: &str| blob.get(name).and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
            let (Some(offset), Some(size)) = (place("offset"), place("size")) else { return };
            let Some(table) = tables.get(offset..offset.saturating_add(size)) else { return };
            let packed = zstd::bulk::compress(table, 1).expect("memory takes what is packed");
            let file =
                files.entry(blob.get("file").and_then(Value::as_str).unwrap_or_default().to_string()).or_default();
            blob.insert("offset".into(), file.len().into());
            blob.insert("size".into(), packed.len().into());
            blob.insert("sha256".into(), sha256(&packed).into());
            file.extend(packed);
        });
        text = manifest.to_string();
        for (name, bytes) in files {
            store.replace(&name, &bytes).expect("memory takes objects");
        }
    }
    let whole = format!("samestream checkpoint 1 {}\n{text}", sha256(text.as_bytes()));
    store.replace(&format!("{number:020}.json"), whole.as_bytes()).expect("memory takes objects");
}

/// Calls `each` with everything in a manifest that names a table.
fn each_blob(value: &mut Value, each: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(map) if map.contains_key("sha256") => each(map),
        Value::Object(map) => map.values_mut().for_each(|value| each_blob(value, each)),
        Value::Array(list) => list.iter_mut().for_each(|value| each_blob(value, each)),
        _ => {}
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last checkpoint of streams that read a part of the log.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let lines = records();
    [12, 43, 0].map(|count| seed(&lines[..count])).into()
}

fn seed(lines: &[String]) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let log = MemoryLog::new(vec![json::raw(&lines)]);
    let store = Memory::default();
    let stores = || Box::new(store.clone()) as Box<dyn Store>;
    let streams = || vec![Some(Box::new(log.stream(Pieces { size: 100, seed: 1 })) as _)];
    let settings = runtime::Settings { allow_empty: true, ..runtime::Settings::default() };
    let cuts = (None, &Until::CaughtUp);
    crash::run(engine(), streams, (None, &stores), cuts, (0, false), &mut Random::new(1), &settings)
        .expect("a stream over memory");
    let names = store.list().expect("memory has names");
    let name = names.iter().filter(|name| name.ends_with(".json")).max().expect("a checkpoint was made");
    let text = String::from_utf8(store.read(name, None).expect("it is there")).expect("it is text");
    let (_, text) = text.split_once('\n').expect("it has a first line");
    let mut manifest: Value = serde_json::from_str(text).expect("it is JSON");
    let mut tables = Vec::new();
    each_blob(&mut manifest, &mut |blob| {
        let (file, offset) = (blob["file"].as_str().expect("a name"), blob["offset"].as_u64().expect("a number"));
        let end = offset + blob["size"].as_u64().expect("a number");
        let packed = store.read(file, Some(offset..end)).expect("the data are there");
        let table = zstd::bulk::decompress(&packed, 1 << 24).expect("it is packed");
        blob.insert("offset".into(), tables.len().into());
        blob.insert("size".into(), table.len().into());
        tables.extend(table);
    });
    [manifest.to_string().as_bytes(), BORDER, &tables].concat()
}
