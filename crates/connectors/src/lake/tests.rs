//! Tests of the lake: what is written is read, what others wrote is read by the rules, what cannot be trusted is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes as ty;
use arrow::datatypes::{DataType as ArrowType, Field, Schema, TimeUnit};
use engine::edge::{LogScan, Unit};
use engine::error::Code;
use engine::log::{Chunk, RawRecords};
use engine::plan::{ColumnPlan, LakeBinding, Layout, SourcePlan, ValueFrom};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::format::json::tests::{column, source};
use crate::format::json::write_row;
use crate::format::{codec, decode};
use crate::records::RawBuilder;

/// A source that reads a lake at `path`; event time is the column `t`.
fn lake(path: &Path, layout: Layout, columns: &[&str]) -> SourcePlan {
    let mut source = source(columns.iter().map(|text| column(text)).collect::<Vec<ColumnPlan>>());
    source.event_time = "t".into();
    source.bindings.lake = Some(LakeBinding { path: path.to_str().unwrap().into(), layout });
    source
}

/// Everything about a chunk as text, one line per record.
fn lines(chunk: &Chunk) -> Vec<String> {
    let mut lines = Vec::new();
    for row in 0..chunk.len() {
        let offset = chunk.offsets.value(row);
        let time = chunk.timestamps.as_ref().map(|times| times.value(row));
        let mut text = Vec::new();
        match chunk.bad.iter().find(|bad| bad.row as usize == row) {
            Some(bad) => {
                let raw = bad.raw.as_deref().map(String::from_utf8_lossy);
                lines.push(format!("{offset} {time:?} bad {} {raw:?}", bad.reason));
            }
            None => {
                write_row(&chunk.columns, row, &mut text);
                lines.push(format!("{offset} {time:?} {}", String::from_utf8(text).unwrap()));
            }
        }
    }
    lines
}

fn all(scan: &LakeScan) -> Vec<String> {
    let units = scan.partitions().iter().flat_map(|range| scan.units(range.partition));
    units.flat_map(|unit| lines(&scan.load(unit, 0, i64::MAX).unwrap())).collect()
}

fn ranges(scan: &LakeScan) -> Vec<(i32, i64, i64)> {
    scan.partitions().iter().map(|range| (range.partition, range.start, range.end)).collect()
}

const COLUMNS: &[&str] = &["t: timestamp!", "name: string", "n: int64!", "x: float64", "d: decimal(9,2)"];

/// Records of a log: good ones, bad ones of several kinds, a tombstone, keys, gaps between offsets.
fn log(partition: i32, from: i64, to: i64) -> RawRecords {
    let mut builder = RawBuilder::new(partition);
    for offset in (from..to).filter(|offset| offset % 10 != 7) {
        let value = match offset % 11 {
            3 => r#"{"t":"nonsense","n":1}"#.to_string(),
            5 => r#"{"t":17,"n":null}"#.to_string(),
            8 => "{".to_string(),
            _ => format!(
                r#"{{"t":{},"name":"page {}","n":{offset},"x":{}.5,"d":"{offset}.25"}}"#,
                1_000_000 + offset * 100 - (offset % 7) * 350,
                offset % 5,
                offset * 3
            ),
        };
        let key = (offset % 3 == 0).then(|| format!("key {offset}"));
        let value = (offset % 13 != 4).then_some(value);
        builder.push(
            offset,
            2_000_000 + offset,
            key.as_deref().map(str::as_bytes),
            value.as_deref().map(str::as_bytes),
            vec![],
        );
    }
    builder.finish()
}

fn small(options: LakeOptions) -> LakeOptions {
    LakeOptions { roll_rows: 40, group_rows: 16, ..options }
}

/// Archives three partitions (the second empty) in pieces of `size` records, with a stop and a new start at offset 90.
fn archive(path: &Path, source: &SourcePlan, options: LakeOptions, size: i64) {
    let starts = [(0, 20), (1, 5), (2, 0)];
    for end in [90, 200] {
        let mut writer = LakeWriter::open(path.to_str().unwrap(), source, options, &starts).unwrap();
        for partition in [0, 2] {
            let from = writer.positions().iter().find(|position| position.0 == partition).unwrap().1;
            let mut at = from;
            while at < end {
                writer.append(&log(partition, at, (at + size).min(end)), 0).unwrap();
                at = (at + size).min(end);
            }
        }
        writer.finish().unwrap();
    }
}

#[test]
fn what_is_archived_is_what_a_stream_decodes() {
    for (raw, size) in [(false, 1), (false, 33), (true, 1_000)] {
        let folder = tempfile::tempdir().unwrap();
        let source = lake(folder.path(), Layout::Log, COLUMNS);
        archive(folder.path(), &source, small(LakeOptions { raw, ..LakeOptions::default() }), size);
        let scan = LakeScan::open(&source).unwrap();
        // The last offset of both is 199; 20 is the first of partition 0.
        assert_eq!(ranges(&scan), [(0, 20, 200), (1, 5, 5), (2, 0, 200)]);
        let expected: Vec<String> = [log(0, 20, 200), log(2, 0, 200)]
            .iter()
            .flat_map(|raw| lines(&decode(&source, raw).unwrap()))
            .map(|line| {
                line.split_once(") ").map(|(head, rest)| format!("{} {rest}", head.split(' ').next().unwrap())).unwrap()
            })
            .collect();
        let found: Vec<String> = all(&scan).into_iter().map(|line| line.replacen(" None", "", 1)).collect();
        assert_eq!(found, expected);
        // And the bytes come back for a replay, timestamps and keys too.
        for partition in [0, 2] {
            let from = if partition == 0 { 20 } else { 0 };
            let raw = log(partition, from, 200);
            let mut at = 0;
            for unit in scan.units(partition) {
                let found = scan.raw(unit, 0, i64::MAX).unwrap();
                let count = found.offsets.len();
                assert_eq!(found.offsets, raw.offsets[at..at + count]);
                assert_eq!(found.timestamps, raw.timestamps[at..at + count]);
                assert_eq!(found.keys, raw.keys.slice(at, count));
                let again = decode(&source, &found).unwrap();
                let first =
                    decode(&source, &crate::records::clip(&raw, found.offsets[0], found.offsets[count - 1] + 1));
                assert_eq!(lines(&again), lines(&first.unwrap()));
                at += count;
            }
            assert_eq!(at, raw.offsets.len());
        }
    }
}

#[test]
fn the_flights_are_read_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/flights");
    let mut source = lake(&path, Layout::Log, &["event_time: timestamp!", "carrier: string!", "arr_delay: float64"]);
    source.event_time = "event_time".into();
    let scan = LakeScan::open(&source).unwrap();
    let rows: usize =
        scan.partitions().iter().flat_map(|range| scan.units(range.partition)).map(|unit| unit.rows).sum();
    assert_eq!(rows, 336_776);
    assert_eq!(scan.partitions().iter().map(|range| range.partition).collect::<Vec<_>>(), [0, 1, 2]);
    // The README of the data says how many records are so far behind the newest before them in their partition.
    let mut behind = [0; 4];
    for range in scan.partitions() {
        let mut newest = i64::MIN;
        for unit in scan.units(range.partition) {
            let chunk = scan.load(unit, 0, i64::MAX).unwrap();
            assert!(chunk.bad.is_empty());
            let times = chunk.columns["event_time"].as_primitive::<ty::TimestampMicrosecondType>();
            assert_eq!(unit.max_event_time, times.values().iter().max().copied());
            for time in times.values() {
                for (count, minutes) in behind.iter_mut().zip([5, 30, 60, 180]) {
                    *count += usize::from(newest != i64::MIN && newest - time > minutes * 60_000_000);
                }
                newest = newest.max(*time);
            }
        }
    }
    assert_eq!(behind, [93_039, 42_309, 22_406, 2_713]);
}
