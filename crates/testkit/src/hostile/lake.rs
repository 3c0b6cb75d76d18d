//! A Parquet file of a lake: opened, read in both layouts, and taken through a batch run.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use connectors::lake::{LakeOptions, LakeScan, LakeWriter, stored_columns};
use connectors::records::RawBuilder;
use engine::Engine;
use engine::edge::LogScan;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use runtime::Settings;

use super::{checked, plan, records};
use crate::run::Gathered;

/// The only file of the lake that the bytes become.
const FILE: &str = "partition=0/00000000000000000000.parquet";

/// Files of others.
const FOREIGN: &str = r#"version: 1
name: foreign
sources:
  s:
    lake: {path: lake, layout: files}
    schema: {id: string!, n: int64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10s}
steps:
  per: {from: s, window: {tumbling: {size: 1m}}, group_by: [id], aggregate: {ns: "sum(n)", ids: "array_agg(id)"}}
sinks:
  per: {from: per, jsonl: {path: out/per}}
"#;

/// Takes the bytes as the only file of a lake.
pub(super) fn run(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join(FILE);
    std::fs::create_dir(path.parent().expect("it has a folder")).expect("a folder can be made");
    std::fs::write(&path, bytes).expect("a file can be written");
    let (engine, foreign) = engines();
    for engine in [engine, foreign] {
        let mut source = engine.plan().sources[0].clone();
        let lake = source.bindings.lake.as_mut().expect("it reads a lake");
        lake.path = folder.path().to_str().expect("names are UTF-8").into();
        checked(stored_columns(lake));
        source.needed = source.columns.iter().map(|column| column.field.name.clone()).collect();
        let Some(scan) = checked(LakeScan::open(&source)) else { continue };
        let units = scan.partitions().iter().flat_map(|range| scan.units(range.partition));
        for unit in units.take(8) {
            if let Some(chunk) = checked(scan.load(unit, 0, i64::MAX)) {
                assert!(
                    chunk.columns.num_rows() == chunk.len()
                        && chunk.bad.iter().all(|bad| (bad.row as usize) < chunk.len())
                );
            }
            if let Some(raw) = checked(scan.raw(unit, 0, i64::MAX)) {
                assert_eq!(raw.offsets.len(), raw.values.len());
            }
        }
        let settings = Settings { threads: 1, allow_empty: true, ..Settings::default() };
        let scans: Vec<Option<Arc<dyn LogScan>>> = vec![Some(Arc::new(scan))];
        let mut gathered = Gathered::new(engine.plan());
        checked(runtime::batch::run(engine, &scans, (None, None), &mut gathered, &settings, &()));
    }
}

/// A pipeline over a lake of ours, and one over files of others, each with a plan of its own.
fn engines() -> (&'static Engine, &'static Engine) {
    static ENGINES: OnceLock<(Engine, Engine)> = OnceLock::new();
    let (ours, foreign) = ENGINES.get_or_init(|| {
        let loaded = ::pipeline::load("foreign.yaml", FOREIGN, &::pipeline::Variables::default());
        let foreign = loaded.unwrap_or_else(|errors| panic!("{errors:?}")).plan;
        (Engine::new(plan("lake")), Engine::new(Arc::new(foreign)))
    });
    (ours, foreign)
}

/// Returns the bytes of the file that a lake's writer makes of the records.
pub(super) fn written(folder: &Path, options: LakeOptions, records: &[String]) -> Vec<u8> {
    let lake = folder.to_str().expect("names are UTF-8");
    let source = plan(lake).sources[0].clone();
    let mut writer = LakeWriter::open(lake, &source, options, &[(0, 0)]).expect("an empty folder takes a lake");
    let mut builder = RawBuilder::new(0);
    for (offset, record) in (0..).zip(records) {
        builder.push(offset, 1_767_225_600_000, Some(b"key"), Some(record.as_bytes()), Vec::new());
    }
    writer.append(&builder.finish(), 0).and_then(|()| writer.finish()).expect("a folder takes files");
    std::fs::read(folder.join(FILE)).expect("the file was written")
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let small = LakeOptions { group_rows: 10, ..LakeOptions::default() };
    let mut seeds = Vec::new();
    for (options, count) in
        [(small, 30), (LakeOptions { raw: true, ..small }, 8), (LakeOptions::default(), 43), (small, 0)]
    {
        let folder = tempfile::tempdir().expect("a folder can be made");
        seeds.push(written(folder.path(), options, &records()[..count]));
    }
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        seeds.push(foreign(compression, 7));
    }
    seeds
}

/// Returns a table with one row of each key.
pub(super) fn foreign_table() -> Vec<u8> {
    foreign(Compression::SNAPPY, 60)
}

/// Returns a file of another writer, without our footer, with so many different keys.
fn foreign(compression: Compression, keys: i32) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..60).map(|i| format!("id {}", i % keys))));
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..60).map(|i| i * 1_000_000)).with_timezone("UTC"));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..60).map(|i| (i % 5 > 0).then_some(i))));
    let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(0..60));
    let columns = [("_offset", offsets), ("id", ids), ("at", times.clone()), ("n", numbers), ("_timestamp", times)];
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(25)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).expect("memory takes a file");
    writer.write(&rows).expect("memory takes rows");
    writer.into_inner().expect("memory takes the end")
}
