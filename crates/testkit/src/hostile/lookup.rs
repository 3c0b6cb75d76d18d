//! A pinned table: CSV or Parquet.

use ::pipeline::{Variables, load};

use super::{assert_error, lake, records};

const PIPELINE: &str = r#"version: 1
name: look
vars: {TABLE: {}}
sources:
  s:
    journal: {path: log}
    schema: {id: string!, t: timestamp!}
    event_time: {column: t, out_of_orderness: 1s}
steps:
  w: {from: s, lookup: {file: "${TABLE}", on: [id], take: [n], missing: null}}
sinks:
  o: {from: w, stdout: {}}
"#;

/// The first byte's last bit says whether the rest is CSV or Parquet.
pub(super) fn run(bytes: &[u8]) {
    let Some((kind, table)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join(if kind & 1 == 0 { "table.csv" } else { "table.parquet" });
    std::fs::write(&path, table).expect("a file can be written");
    let variables = Variables::default().set("TABLE", path.to_str().expect("names are UTF-8"));
    if let Err(errors) = load("look.yaml", PIPELINE, &variables) {
        assert!(!errors.is_empty());
        errors.iter().for_each(assert_error);
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let csv = "id,n,more\na,1,\"x,\"\"y\"\"\"\nb,,\n\"c\nd\",3,\u{e9}\n";
    let mut seeds = vec![[b"\0", csv.as_bytes()].concat()];
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut only = records();
    // One row of each key.
    only.truncate(9);
    let log = lake::written(folder.path(), connectors::lake::LakeOptions::default(), &only);
    seeds.extend([lake::foreign_table(), log].map(|file| [&b"\x01"[..], &file].concat()));
    seeds
}
