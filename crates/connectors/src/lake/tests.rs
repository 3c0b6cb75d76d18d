//! Tests of the lake: what is written is read, what others wrote is read by the rules, what cannot be trusted is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes as ty;
use arrow::datatypes::DataType as ArrowType;
use engine::edge::LogScan;
use engine::error::Code;
use engine::log::{Chunk, RawRecords};
use engine::plan::{ColumnPlan, LakeBinding, Layout, SourcePlan};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::footer::Footer;
use super::*;
use crate::format::decode;
use crate::format::json::tests::{column, source};
use crate::format::json::write_row;
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
                r#"{{"t":{},"name":"page {}","n":{offset},"x":{}.5,"d":"{offset}.25","tags":{},"j":{{"b":{offset}.0,"a":[null]}},"s":{{"b":["2026-01-31",null],"a":-0.0}}}}"#,
                1_000_000 + offset * 100 - (offset % 7) * 350,
                offset % 5,
                offset * 3,
                ["[]", "null", "[\"a\",null,\"é\"]", "[\"\"]"][(offset % 4) as usize],
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
        let nested = ["tags: list<string>", "j: json", "s: struct<a: float64, b: list<date>>!"];
        let source = lake(folder.path(), Layout::Log, &[COLUMNS, &nested].concat());
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

/// Writes a file as another writer would.
fn foreign(path: &Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    written(path, columns, WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build());
}

fn written(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn int64(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn micros(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

fn file(folder: &Path, partition: i32, first: i64) -> PathBuf {
    folder.join(format!("partition={partition}/{first:020}.parquet"))
}

/// A partition file with those offsets, event times equal to them.
fn offsets(path: &Path, offsets: &[i64]) {
    foreign(path, vec![("_offset", int64(offsets)), ("t", micros(offsets))], 2);
}

#[test]
fn ranges_of_files_without_footers_end_where_the_next_begins() {
    let folder = tempfile::tempdir().unwrap();
    let source = lake(folder.path(), Layout::Log, &["t: timestamp!"]);
    offsets(&file(folder.path(), 0, 5), &[6, 7, 9]);
    offsets(&file(folder.path(), 0, 12), &[12, 20]);
    offsets(&file(folder.path(), 3, 4), &[]);
    // What a crash, a query engine or a person left beside them.
    std::fs::write(folder.path().join("partition=0/.x.parquet.tmp"), "x").unwrap();
    std::fs::write(folder.path().join("partition=0/_SUCCESS"), "x").unwrap();
    std::fs::write(folder.path().join("_metadata.parquet"), "x").unwrap();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let scan = LakeScan::open(&source).unwrap();
    assert_eq!(ranges(&scan), [(0, 5, 21), (3, 4, 4)]);
    let units: Vec<_> =
        scan.units(0).iter().map(|unit| (unit.start, unit.end, unit.rows, unit.max_event_time)).collect();
    assert_eq!(units, [(6, 8, 2, Some(7)), (9, 10, 1, Some(9)), (12, 21, 2, Some(20))]);
    let clipped = scan.load(&scan.units(0)[0], 7, 8).unwrap();
    assert_eq!(clipped.offsets.values(), &[7]);
    assert_eq!(scan.load(&scan.units(0)[0], 8, 8).unwrap().len(), 0);
}

#[test]
fn partitions_that_are_named_are_read_and_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = lake(folder.path(), Layout::Log, &["t: timestamp!"]);
    (0..3).for_each(|partition| offsets(&file(folder.path(), partition, 0), &[0]));
    source.partitions = Some(vec![0, 2]);
    assert_eq!(ranges(&LakeScan::open(&source).unwrap()), [(0, 0, 1), (2, 0, 1)]);
    source.partitions = Some(vec![7]);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::NotFound);
}

/// Opens and reads all of a lake of one partition with those files, and returns what goes wrong.
fn trouble(files: &[(i64, &[i64])]) -> Code {
    let folder = tempfile::tempdir().unwrap();
    let source = lake(folder.path(), Layout::Log, &["t: timestamp!"]);
    files.iter().for_each(|(first, values)| offsets(&file(folder.path(), 0, *first), values));
    let read = LakeScan::open(&source)
        .and_then(|scan| scan.units(0).iter().try_for_each(|unit| scan.load(unit, 0, i64::MAX).map(|_| ())));
    read.unwrap_err().code
}

#[test]
fn offsets_that_repeat_or_go_back_are_refused() {
    assert_eq!(trouble(&[(0, &[0, 1]), (1, &[1])]), Code::LakeDiverges);
    assert_eq!(trouble(&[(0, &[1, 0])]), Code::LakeDiverges);
    assert_eq!(trouble(&[(0, &[1, 1])]), Code::LakeDiverges);
    assert_eq!(trouble(&[(0, &[3, 4, 2])]), Code::LakeDiverges);
    assert_eq!(trouble(&[(5, &[4, 5])]), Code::LakeDiverges);
}

#[test]
fn a_missing_file_of_ours_is_a_gap_and_a_foreign_one_between_them_an_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let source = lake(folder.path(), Layout::Log, COLUMNS);
    archive(folder.path(), &source, small(LakeOptions::default()), 1);
    let mut files: Vec<_> = crate::store::list(&folder.path().join("partition=2")).unwrap();
    files.retain(|path| path.extension().is_some());
    assert!(files.len() > 3);
    let kept = std::fs::read(&files[1]).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::LakeGap);
    let again = LakeWriter::open(folder.path().to_str().unwrap(), &source, LakeOptions::default(), &[(2, 0)]);
    assert_eq!(again.unwrap_err().code, Code::LakeGap, "a writer does not go on behind a hole");
    // The same file under the name of the one that is missing, and a renamed one.
    std::fs::write(&files[1], std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::LakeDiverges);
    std::fs::write(&files[1], kept).unwrap();
    assert!(LakeScan::open(&source).is_ok());
    std::fs::copy(&files[1], file(folder.path(), 2, 41)).unwrap();
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::LakeDiverges);
}

#[test]
fn a_partition_that_lost_all_its_files_is_a_gap_in_a_lake_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let source = lake(folder.path(), Layout::Log, COLUMNS);
    archive(folder.path(), &source, small(LakeOptions::default()), 33);
    assert_eq!(ranges(&LakeScan::open(&source).unwrap())[1], (1, 5, 5), "nothing was written to partition 1");
    std::fs::remove_file(file(folder.path(), 1, 5)).unwrap();
    let error = LakeScan::open(&source).unwrap_err();
    assert_eq!(error.code, Code::LakeGap);
    assert!(error.message.contains("no file of partition 1"), "{}", error.message);
    // Who names the partitions to read does not miss this one.
    let others = SourcePlan { partitions: Some(vec![0, 2]), ..source };
    assert_eq!(LakeScan::open(&others).unwrap().partitions().len(), 2);

    // Other writers leave no file for a partition without records.
    let folder = tempfile::tempdir().unwrap();
    offsets(&file(folder.path(), 0, 0), &[0, 1]);
    std::fs::create_dir(folder.path().join("partition=1")).unwrap();
    let scan = LakeScan::open(&lake(folder.path(), Layout::Log, &["t: timestamp!"])).unwrap();
    assert_eq!(ranges(&scan), [(0, 0, 2), (1, 0, 0)]);
}

#[test]
fn a_partition_goes_on_where_it_ended_and_keeps_its_running_maximum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_string();
    let mut source = lake(folder.path(), Layout::Log, COLUMNS);
    source.max_future = Some(0);
    let options = small(LakeOptions::default());
    let mut writer = LakeWriter::open(&path, &source, options, &[(0, 3), (1, 0)]).unwrap();
    assert_eq!(LakeWriter::open(&path, &source, options, &[(0, 3)]).unwrap_err().code, Code::StateBusy);
    writer.append(&log(0, 3, 20), 0).unwrap();
    drop(writer);
    // Nothing was finished: the hidden file goes, the empty one stays, the position is the start.
    let mut writer = LakeWriter::open(&path, &source, options, &[(0, 3), (1, 0)]).unwrap();
    assert_eq!(writer.positions(), [(0, 3), (1, 0)]);
    writer.append(&log(0, 3, 20), 0).unwrap();
    writer.advance(1, 8).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut writer = LakeWriter::open(&path, &source, options, &[(0, 3), (1, 0)]).unwrap();
    assert_eq!(writer.positions(), [(0, 20), (1, 8)]);
    // Records that are there already are passed over; rolled by time.
    writer.append(&log(0, 10, 30), 1_000).unwrap();
    writer.append(&log(1, 8, 9), 1_000).unwrap();
    writer.tick(1_000 + options.roll_ms).unwrap();
    assert!(file(folder.path(), 0, 20).exists());
    writer.advance(0, 33).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let scan = LakeScan::open(&source).unwrap();
    assert_eq!(ranges(&scan), [(0, 3, 33), (1, 0, 9)]);
    // The maximum over valid records within the guard, from the definition.
    let chunk = decode(&source, &log(0, 3, 30)).unwrap();
    let times = chunk.columns["t"].as_primitive::<ty::TimestampMicrosecondType>();
    let is_bad = |row: usize| chunk.bad.iter().any(|bad| bad.row as usize == row);
    let inside = |row: &usize| times.value(*row) <= (2_000_000 + chunk.offsets.value(*row)) * 1_000;
    let expected = (0..chunk.len()).filter(|row| !is_bad(*row)).filter(inside).map(|row| times.value(row)).max();
    assert!(expected.is_some());
    assert_eq!(scan.max_event_time(0), expected);
    source.max_future = None;
    assert_eq!(LakeScan::open(&source).unwrap().max_event_time(0), None, "made for another guard");
    assert_eq!(LakeWriter::open(&path, &source, options, &[(0, 3)]).unwrap_err().code, Code::Schema);
}

#[test]
fn another_schema_is_decoded_again_from_kept_values_or_refused() {
    for raw in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut source = lake(folder.path(), Layout::Log, COLUMNS);
        archive(folder.path(), &source, small(LakeOptions { raw, ..LakeOptions::default() }), 10);
        source.columns[2] = column("n: int32");
        source.columns[4] = column("d: decimal(9,3)!");
        if !raw {
            assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::Schema);
            continue;
        }
        let scan = LakeScan::open(&source).unwrap();
        let mut expected = lines(&decode(&source, &log(0, 20, 200)).unwrap());
        expected.extend(lines(&decode(&source, &log(2, 0, 200)).unwrap()));
        assert_eq!(all(&scan), expected);
        assert!(scan.units(0).iter().all(|unit| unit.max_event_time.is_none()));
    }
}

#[test]
fn columns_widen_lawfully_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 0, 0);
    let ns = TimestampNanosecondArray::from(vec![-1, 1_999, 2_000]);
    let dictionary: DictionaryArray<ty::Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    let decimal = Decimal128Array::from(vec![Some(150), None, Some(-1)]).with_precision_and_scale(5, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", int64(&[0, 1, 2])),
        ("t", Arc::new(ns)),
        ("ms", Arc::new(TimestampMillisecondArray::from(vec![-1, 0, 1]))),
        ("s", Arc::new(TimestampSecondArray::from(vec![-1, 0, 253_402_300_800]))),
        ("i", Arc::new(Int32Array::from(vec![Some(-1), None, Some(i32::MAX)]))),
        ("u", Arc::new(UInt32Array::from(vec![u32::MAX, 0, 1]))),
        ("f", Arc::new(Float64Array::from(vec![-0.0, -f64::NAN, f64::INFINITY]))),
        ("d", Arc::new(decimal)),
        ("text", Arc::new(dictionary)),
        ("large", Arc::new(LargeStringArray::from(vec!["x", "", "y"]))),
        ("day", Arc::new(Date32Array::from(vec![-719_528, 2_932_896, 2_932_897]))),
        ("small", Arc::new(Float32Array::from(vec![0.1, 0.2, 0.3]))),
    ];
    foreign(&path, columns, 10);
    let names =
        ["t: timestamp!", "ms: timestamp", "s: timestamp", "i: int64", "u: int64", "f: float64", "d: decimal(9,4)"];
    let mut names = names.to_vec();
    names.extend(["text: string", "large: string", "day: date"]);
    let source = lake(folder.path(), Layout::Log, &names);
    let scan = LakeScan::open(&source).unwrap();
    let found = all(&scan);
    let first = concat!(
        r#"0 None {"t":"1969-12-31T23:59:59.999999Z","ms":"1969-12-31T23:59:59.999000Z","s":"1969-12-31T23:59:59.000000Z","#,
        r#""i":-1,"u":4294967295,"f":0.0,"d":"1.5000","text":"a","large":"x","day":"0000-01-01"}"#
    );
    let second = concat!(
        r#"1 None {"t":"1970-01-01T00:00:00.000001Z","ms":"1970-01-01T00:00:00.000000Z","s":"1970-01-01T00:00:00.000000Z","#,
        r#""i":null,"u":0,"f":"NaN","d":null,"text":null,"large":"","day":"9999-12-31"}"#
    );
    assert_eq!(found[..2], [first, second]);
    // Beyond the year 9999 no stream could hold it.
    assert!(found[2].starts_with("2 None bad timestamp_out_of_range: column `s`"), "{}", found[2]);
    assert_eq!(scan.units(0)[0].max_event_time, None, "a record may be bad");
    for wrong in
        ["i: int32!", "small: float64", "t: int64", "u: int32", "d: decimal(4,2)", "text: int64", "day: timestamp"]
    {
        let result = LakeScan::open(&lake(folder.path(), Layout::Log, &["t: timestamp!", wrong]));
        let is_refused = result.as_ref().err().map(|error| error.code);
        // `i` is stored as int32, and its null makes a record bad, not the file.
        assert_eq!(is_refused, (wrong != "i: int32!").then_some(Code::Schema), "{wrong}");
    }
    let missing = LakeScan::open(&lake(folder.path(), Layout::Log, &["t: timestamp!", "absent: string"]));
    assert_eq!(missing.unwrap_err().code, Code::Schema);
}

/// Lists as another program writes them: wide, with other names inside, finer times, texts that are not canonical.
#[test]
fn nested_columns_of_others_are_read_part_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 0, 0);
    let times = TimestampNanosecondArray::from(vec![1_500, -1, i64::MAX, 7]);
    let element = ty::Field::new("element", times.data_type().clone(), true);
    let offsets = arrow::buffer::OffsetBuffer::<i32>::from_lengths([2, 0, 1, 1]);
    let nulls = Some(vec![true, false, true, true].into());
    let lists = LargeListArray::new(
        Arc::new(element),
        arrow::buffer::OffsetBuffer::new(offsets.iter().map(|at| i64::from(*at)).collect::<Vec<_>>().into()),
        Arc::new(times),
        nulls,
    );
    let json = StringArray::from(vec![Some(r#"{"b": 1, "a": 2}"#), Some("null"), None, Some("{")]);
    let extra = ty::Field::new("extra", ArrowType::Int64, true);
    let small = ty::Field::new("a", ArrowType::Int16, true);
    let pairs = StructArray::new(
        vec![extra, small].into(),
        vec![int64(&[1, 2, 3, 4]), Arc::new(Int16Array::from(vec![Some(5), None, Some(6), Some(7)]))],
        Some(vec![true, true, false, true].into()),
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        (name::OFFSET, int64(&[0, 1, 2, 3])),
        ("t", micros(&[0, 1, 2, 3])),
        ("times", Arc::new(lists)),
        ("j", Arc::new(json)),
        ("s", Arc::new(pairs)),
    ];
    foreign(&path, columns, 10);
    let columns = ["t: timestamp!", "times: list<timestamp>", "j: json", "s: struct<a: int32>"];
    let scan = LakeScan::open(&lake(folder.path(), Layout::Log, &columns)).unwrap();
    let of =
        |row: usize| all(&scan)[row].split_once("\"times\":").map_or(all(&scan)[row].clone(), |(_, rest)| rest.into());
    assert_eq!(
        of(0),
        r#"["1970-01-01T00:00:00.000001Z","1969-12-31T23:59:59.999999Z"],"j":{"a":2,"b":1},"s":{"a":5}}"#
    );
    assert_eq!(of(1), r#"null,"j":null,"s":{"a":null}}"#);
    assert_eq!(of(2), r#"["2262-04-11T23:47:16.854775Z"],"j":null,"s":null}"#);
    assert!(of(3).contains("bad invalid_json: column `j`"), "{}", of(3));
    for wrong in ["s: struct<b: int32>", "times: list<string>", "j: list<string>", "s: list<int32>"] {
        let source = lake(folder.path(), Layout::Log, &["t: timestamp!", wrong]);
        let refused = LakeScan::open(&source).and_then(|scan| scan.load(&scan.units(0)[0], 0, i64::MAX));
        assert_eq!(refused.err().unwrap().code, Code::Schema, "{wrong}");
    }
}

#[test]
fn records_that_are_not_valid_come_with_the_bytes_that_a_stream_has() {
    for has_all_raw in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut source = lake(folder.path(), Layout::Log, COLUMNS);
        // Logged at about 2,000 s; event times are from about 1,000 s on, so that the guard refuses those past offset 50.
        source.max_future = Some(-995_000_000);
        let options = small(LakeOptions { raw: has_all_raw, ..LakeOptions::default() });
        archive(folder.path(), &source, options, 33);
        let scan = LakeScan::open(&source).unwrap();
        let log = log(2, 0, 200);
        let stream = decode(&source, &log).unwrap();
        let (mut undecoded, mut future) = (0, 0);
        for unit in scan.units(2) {
            // A part of the unit too: bytes stay with their rows.
            for start in [unit.start, unit.start + 3] {
                let chunk = scan.load(unit, start, i64::MAX).unwrap();
                let (keys, values) = chunk.raw.as_ref().expect("every unit holds a bad record");
                for row in 0..chunk.len() {
                    let at = log.offsets.iter().position(|offset| *offset == chunk.offsets.value(row)).unwrap();
                    let is_bad = chunk.bad.iter().any(|bad| bad.row as usize == row);
                    let time = stream.columns["t"].as_primitive::<ty::TimestampMicrosecondType>();
                    let is_future = !is_bad && time.value(at) > log.timestamps[at] * 1_000 - 995_000_000;
                    let bytes = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
                    let (mut key, mut value) = (bytes(&log.keys, at), bytes(&log.values, at));
                    let is_valued = is_bad || (is_future && has_all_raw);
                    if !is_bad && !is_future {
                        key = None;
                    }
                    if !is_valued {
                        value = None;
                    }
                    assert_eq!((bytes(keys, row), bytes(values, row)), (key, value), "offset {}", log.offsets[at]);
                    undecoded += usize::from(is_bad);
                    future += usize::from(is_future);
                }
            }
        }
        assert!(undecoded > 50 && future > 50, "{undecoded} {future}");
    }
}

#[test]
fn badness_does_not_depend_on_what_is_needed_and_spoils_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", int64(&[0, 1, 2, 3])),
        ("t", micros(&[10, 20, 99, 40])),
        ("n", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]))),
        ("_bad", Arc::new(StringArray::from(vec![None, Some("invalid_json: expected a value at byte 0"), None, None]))),
        ("_raw", Arc::new(BinaryArray::from(vec![None, Some(b"x".as_ref()), None, None]))),
    ];
    foreign(&file(folder.path(), 0, 0), columns, 2);
    let mut source = lake(folder.path(), Layout::Log, &["t: timestamp!", "n: int64!"]);
    let all_needed = all(&LakeScan::open(&source).unwrap());
    source.needed = vec!["t".into()];
    let scan = LakeScan::open(&source).unwrap();
    let found = all(&scan);
    assert_eq!(found[0], r#"0 None {"t":"1970-01-01T00:00:00.000010Z"}"#);
    assert_eq!(found[1..3], all_needed[1..3]);
    assert_eq!(found[1], r#"1 None bad invalid_json: expected a value at byte 0 Some("x")"#);
    assert_eq!(found[2], "2 None bad null_in_required: column `n` None");
    assert!(scan.units(0).iter().all(|unit| unit.max_event_time.is_none()));
    // Replay gives them back: the kept bytes, and the null as null.
    let raw = scan.raw(&scan.units(0)[1], 0, i64::MAX).unwrap();
    assert_eq!(raw.values.value(0), br#"{"t":"1970-01-01T00:00:00.000099Z","n":null}"#);
    assert_eq!(raw.timestamps, [0, 0], "the event time stands in for the log's own");
    assert_eq!(scan.raw(&scan.units(0)[0], 1, 2).unwrap().values.value(0), b"x");
}

/// Returns the largest event time of a chunk's valid records.
fn largest(chunk: &Chunk) -> Option<i64> {
    let times = chunk.columns.column_by_name("t").unwrap().as_primitive::<ty::TimestampMicrosecondType>();
    let is_bad = |row: usize| chunk.bad.iter().any(|bad| bad.row as usize == row);
    (0..chunk.len()).filter(|row| !is_bad(*row)).map(|row| times.value(row)).max()
}

#[test]
fn records_that_our_writer_marked_as_bad_hide_no_maximum_and_cost_no_column() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = lake(folder.path(), Layout::Log, COLUMNS);
    archive(folder.path(), &source, small(LakeOptions::default()), 33);
    source.needed = vec!["t".into()];
    let scan = LakeScan::open(&source).unwrap();
    let mut with_bad = 0;
    for unit in [0, 2].iter().flat_map(|partition| scan.units(*partition)) {
        let chunk = scan.load(unit, 0, i64::MAX).unwrap();
        assert_eq!(unit.max_event_time, largest(&chunk), "offsets {} .. {}", unit.start, unit.end);
        assert!(unit.max_event_time.is_some());
        with_bad += usize::from(!chunk.bad.is_empty());
        let entry = &scan.files[scan.places[unit.id].file];
        let group = scan.places[unit.id].stretch.group;
        assert!(source.columns.iter().all(|column| !scan.may_add_bad(entry, group, column)));
    }
    assert!(with_bad > 5);
}

#[test]
fn a_file_of_ours_with_nulls_that_are_not_marked_proves_no_maximum() {
    let source = |folder: &Path| lake(folder, Layout::Log, &["t: timestamp!", "n: int64!"]);
    let with_nulls = |n: [Option<i64>; 3]| {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path());
        let footer = Footer { next_offset: 3, ..Footer::new(&source, false) };
        let log_times = TimestampMillisecondArray::from(vec![1; 3]).with_timezone("UTC");
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("_offset", int64(&[0, 1, 2])),
            ("_timestamp", Arc::new(log_times)),
            ("_key", Arc::new(BinaryArray::from(vec![None::<&[u8]>; 3]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![Some(10), None, Some(30)]).with_timezone("UTC"))),
            ("n", Arc::new(Int64Array::from(n.to_vec()))),
            ("_bad", Arc::new(StringArray::from(vec![None, Some("invalid_json: x"), None]))),
            ("_raw", Arc::new(BinaryArray::from(vec![None, Some(b"x".as_ref()), None]))),
        ];
        let properties = WriterProperties::builder().set_key_value_metadata(Some(footer.pairs())).build();
        written(&file(folder.path(), 0, 0), columns, properties);
        LakeScan::open(&source).unwrap().units(0)[0].max_event_time
    };
    assert_eq!(with_nulls([Some(1), None, Some(3)]), Some(30));
    assert_eq!(with_nulls([Some(1), None, None]), None, "the last record is bad, marked or not");
}

/// A source with a key, an event time in a header and a value; every third record has no value.
fn table(folder: &Path) -> (SourcePlan, RawRecords) {
    let mut source = lake(folder, Layout::Log, &["id: int64!", "t: timestamp!", "n: int64!"]);
    source.columns[0].from = ValueFrom::Key;
    source.columns[1].from = ValueFrom::Header("at".into());
    let mut builder = RawBuilder::new(0);
    for offset in 0..30 {
        let (key, at) = (format!("{}", offset % 4), format!("1970-01-01T00:00:{offset:02}.000000Z"));
        let value = (offset % 3 > 0).then(|| format!("{{\"n\":{offset}}}"));
        let headers = vec![("at".to_string(), Some(at.into_bytes()))];
        builder.push(offset, offset, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), headers);
    }
    (source, builder.finish())
}

#[test]
fn a_record_without_a_value_keeps_its_key_and_headers_and_is_written_back() {
    for (raw, tombstones) in [(false, false), (false, true), (true, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut source, records) = table(folder.path());
        source.tombstones = tombstones;
        let options = small(LakeOptions { raw, ..LakeOptions::default() });
        let mut writer = LakeWriter::open(folder.path().to_str().unwrap(), &source, options, &[(0, 0)]).unwrap();
        writer.append(&records, 0).unwrap();
        writer.finish().unwrap();

        let scan = LakeScan::open(&source).unwrap();
        let decoded = decode(&source, &records).unwrap();
        let mut from = 0;
        for unit in scan.units(0) {
            let chunk = scan.load(unit, 0, i64::MAX).unwrap();
            let same = decoded.slice(from..from + chunk.len());
            let reasons = |chunk: &Chunk| chunk.bad.iter().map(|bad| (bad.row, bad.reason.clone())).collect::<Vec<_>>();
            assert_eq!(reasons(&chunk), reasons(&same));
            for name in ["id", "t", "n"] {
                assert_eq!(chunk.columns.column_by_name(name), same.columns.column_by_name(name), "{name}");
            }
            let back = scan.raw(unit, 0, i64::MAX).unwrap();
            let of = |records: &RawRecords, from: usize| -> Vec<_> {
                let rows = from..from + chunk.len();
                let bytes = |array: &BinaryArray, row: usize| array.is_valid(row).then(|| array.value(row).to_vec());
                rows.map(|row| (bytes(&records.keys, row), bytes(&records.values, row), records.headers[row].clone()))
                    .collect()
            };
            assert_eq!(of(&back, 0), of(&records, from), "raw {raw}");
            from += chunk.len();
        }
        assert_eq!(from, 30);
        // The records at 27 and 28 seconds: the last one has a value, so both know it; who counts otherwise looks again.
        assert_eq!(scan.max_event_time(0), Some(29_000_000));
        source.tombstones = !tombstones;
        assert_eq!(LakeScan::open(&source).unwrap().max_event_time(0), None, "made for other records");
    }
}

#[test]
fn records_without_a_value_in_a_file_that_lost_their_keys_are_refused_where_they_matter() {
    let folder = tempfile::tempdir().unwrap();
    let (mut source, _) = table(folder.path());
    let footer = Footer { next_offset: 2, null_values: None, ..Footer::new(&source, false) };
    let log_times = TimestampMillisecondArray::from(vec![1; 2]).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", int64(&[0, 1])),
        ("_timestamp", Arc::new(log_times)),
        ("_key", Arc::new(BinaryArray::from(vec![Some(b"1".as_ref()), Some(b"2")]))),
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![Some(10), None]).with_timezone("UTC"))),
        ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("_bad", Arc::new(StringArray::from(vec![None, Some("null_value")]))),
        ("_raw", Arc::new(BinaryArray::from(vec![None::<&[u8]>; 2]))),
    ];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(footer.pairs())).build();
    written(&file(folder.path(), 0, 0), columns, properties);
    let load = |source: &SourcePlan| {
        let scan = LakeScan::open(source).unwrap();
        scan.load(&scan.units(0)[0].clone(), 0, i64::MAX).map(|chunk| chunk.bad.len())
    };
    assert_eq!(load(&source).unwrap(), 1);
    source.tombstones = true;
    assert_eq!(load(&source).unwrap_err().code, Code::Schema);
}

#[test]
fn a_maximum_counts_only_within_the_future_guard() {
    let folder = tempfile::tempdir().unwrap();
    let times = TimestampMillisecondArray::from(vec![1, 2, 3, 4]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", int64(&[0, 1, 2, 3])),
        ("t", micros(&[1_000, 1_500, 4_500, 1])),
        ("_timestamp", Arc::new(times)),
    ];
    foreign(&file(folder.path(), 0, 0), columns, 2);
    let mut source = lake(folder.path(), Layout::Log, &["t: timestamp!"]);
    let maxima = |source: &SourcePlan| -> Vec<Option<i64>> {
        LakeScan::open(source).unwrap().units(0).iter().map(|unit| unit.max_event_time).collect()
    };
    assert_eq!(maxima(&source), [Some(1_500), Some(4_500)]);
    source.max_future = Some(1_000);
    assert_eq!(maxima(&source), [Some(1_500), None]);
    source.max_future = None;
    source.event_time = "_timestamp".into();
    assert_eq!(maxima(&source), [Some(2_000), Some(4_000)]);
    assert_eq!(all(&LakeScan::open(&source).unwrap()).len(), 4);
}

#[test]
fn connect_files_have_offsets_by_row_and_must_touch() {
    let folder = tempfile::tempdir().unwrap();
    let path = |partition: i32, offset: i64| {
        folder.path().join(format!("topics/a+b/partition={partition}/a+b+{partition}+{offset:010}.snappy.parquet"))
    };
    foreign(&path(0, 10), vec![("t", micros(&[1, 2, 3]))], 2);
    foreign(&path(0, 13), vec![("t", micros(&[4]))], 2);
    foreign(&path(2, 0), vec![("t", micros(&[5]))], 2);
    let mut source = lake(folder.path(), Layout::Connect, &["t: timestamp!"]);
    let scan = LakeScan::open(&source).unwrap();
    assert_eq!(ranges(&scan), [(0, 10, 14), (2, 0, 1)]);
    let offsets: Vec<i64> =
        scan.units(0).iter().flat_map(|unit| scan.load(unit, 11, 14).unwrap().offsets.values().to_vec()).collect();
    assert_eq!(offsets, [11, 12, 13]);
    assert!(!scan.has_timestamps());
    foreign(&path(0, 16), vec![("t", micros(&[4]))], 2);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::LakeGap);
    std::fs::remove_file(path(0, 16)).unwrap();
    foreign(&path(0, 12), vec![("t", micros(&[4]))], 2);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::LakeDiverges);
    std::fs::remove_file(path(0, 12)).unwrap();
    source.max_future = Some(0);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::GuardNeedsTimestamp);
    source.max_future = None;
    foreign(&folder.path().join("x.parquet"), vec![("t", micros(&[4]))], 2);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::NoOffsets);
}

#[test]
fn a_file_that_is_replaced_under_a_scan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    foreign(&path("a.parquet"), vec![("t", micros(&[1, 2]))], 2);
    let scan = LakeScan::open(&lake(folder.path(), Layout::Files, &["t: timestamp!"])).unwrap();
    let load = || scan.load(&scan.units(0)[0], 0, i64::MAX);
    assert_eq!(load().unwrap().len(), 2);
    // Another file of the same size and columns, so that its rows could be read.
    foreign(&path("_other"), vec![("t", micros(&[3, 4]))], 2);
    std::fs::rename(path("_other"), path("a.parquet")).unwrap();
    let error = load().unwrap_err();
    assert_eq!(error.code, Code::LakeDiverges);
    assert!(error.message.contains("a.parquet` was changed while it was read"), "{error}");
}

#[test]
fn plain_files_are_partitions_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, times: &[i64]| {
        foreign(&folder.path().join(name), vec![("t", micros(times)), ("_offset", int64(&vec![7; times.len()]))], 2)
    };
    write("b/1.parquet", &[1, 2, 3]);
    write("a.parquet", &[4]);
    write("b/_skipped.parquet", &[5]);
    write(".c/d.parquet", &[6]);
    std::fs::write(folder.path().join("note.txt"), "x").unwrap();
    let source = lake(folder.path(), Layout::Files, &["t: timestamp!"]);
    let scan = LakeScan::open(&source).unwrap();
    assert_eq!(ranges(&scan), [(0, 0, 1), (1, 0, 3)]);
    assert!(scan.caveat().unwrap().contains("equality with a topic is not claimed"));
    assert_eq!(all(&scan)[1], r#"0 None {"t":"1970-01-01T00:00:00.000001Z"}"#);
    let glob = lake(&folder.path().join("**/[0-9].parquet"), Layout::Files, &["t: timestamp!"]);
    assert_eq!(ranges(&LakeScan::open(&glob).unwrap()), [(0, 0, 3)]);
    let mut timed = source.clone();
    timed.needed.push("_timestamp".into());
    assert_eq!(LakeScan::open(&timed).unwrap_err().code, Code::GuardNeedsTimestamp);
}

#[test]
fn a_lake_that_is_none_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for (path, layout) in [(folder.path().to_path_buf(), Layout::Log), (folder.path().join("none"), Layout::Files)] {
        assert_eq!(LakeScan::open(&lake(&path, layout, &["t: timestamp!"])).unwrap_err().code, Code::NotFound);
    }
    foreign(&file(folder.path(), 0, 0), vec![("t", micros(&[1]))], 2);
    let source = lake(folder.path(), Layout::Log, &["t: timestamp!"]);
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::NoOffsets);
    std::fs::rename(file(folder.path(), 0, 0), folder.path().join("partition=0/part-0.parquet")).unwrap();
    assert_eq!(LakeScan::open(&source).unwrap_err().code, Code::NoOffsets);
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let source = lake(folder.path(), Layout::Log, COLUMNS);
    let mut writer =
        LakeWriter::open(folder.path().to_str().unwrap(), &source, LakeOptions::default(), &[(0, 0)]).unwrap();
    writer.append(&log(0, 0, 60), 0).unwrap();
    writer.finish().unwrap();
    let path = file(folder.path(), 0, 0);
    let bytes = std::fs::read(&path).unwrap();
    let expected = all(&LakeScan::open(&source).unwrap());
    let read = || {
        LakeScan::open(&source).and_then(|scan| {
            let chunks: Result<Vec<_>, _> = scan.units(0).iter().map(|unit| scan.load(unit, 0, i64::MAX)).collect();
            Ok(chunks?.iter().flat_map(lines).collect::<Vec<_>>())
        })
    };
    let (mut refused, mut changed) = (0, 0);
    let damaged = (0..bytes.len()).step_by(3).flat_map(|i| {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1 << (i % 8);
        [flipped, bytes[..i].to_vec()]
    });
    for (i, damaged) in damaged.enumerate() {
        std::fs::write(&path, damaged).unwrap();
        match read() {
            Ok(found) => changed += usize::from(found != expected),
            Err(error) => {
                let is_known = matches!(
                    error.code,
                    Code::Corrupt | Code::Schema | Code::Stats | Code::LakeDiverges | Code::NoOffsets
                );
                assert!(is_known, "case {i}: {error}");
                assert!(error.message.contains("00000000000000000000.parquet"), "case {i}: {error}");
                refused += 1;
            }
        }
    }
    // Values are not checksummed by Parquet's writer here, so some flips are another value.
    assert!(refused > bytes.len() / 4, "{refused} refused, {changed} changed of {}", bytes.len());
}

#[test]
fn text_that_is_stored_as_a_dictionary_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let few = StringArray::from_iter_values((0..5_000).map(|i| format!("page {}", i % 10)));
    let many = StringArray::from_iter_values((0..5_000).map(|i| format!("{i:0300}")));
    let offsets: Vec<i64> = (0..5_000).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_offset", int64(&offsets)),
        ("t", micros(&offsets)),
        ("few", Arc::new(few.clone())),
        ("many", Arc::new(many.clone())),
    ];
    foreign(&file(folder.path(), 0, 0), columns, 10_000);
    let scan =
        LakeScan::open(&lake(folder.path(), Layout::Log, &["t: timestamp!", "few: string!", "many: string"])).unwrap();
    let chunk = scan.load(&scan.units(0)[0], 0, i64::MAX).unwrap();
    let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
    assert_eq!(*chunk.columns["few"].data_type(), dictionary);
    assert_eq!(chunk.columns["few"].as_any_dictionary().values().len(), 10);
    assert_eq!(*chunk.columns["many"].data_type(), ArrowType::Utf8, "it outgrew its dictionary page");
    let plain = arrow::compute::cast(&chunk.columns["few"], &ArrowType::Utf8).unwrap();
    assert_eq!(plain.as_string::<i32>(), &few);
    assert_eq!(chunk.columns["many"].as_string::<i32>(), &many);
}
