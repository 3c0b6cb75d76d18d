//! Tests of the journal.

use std::time::Duration;

use engine::edge::{LogScan, LogStream, Polled};
use engine::error::Code;

use super::*;
use crate::format::json::tests::{column, source};
use crate::records::Header;

type Record = (i32, i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

fn record(partition: i32, offset: i64, text: &str) -> Record {
    let headers =
        if offset % 3 == 1 { vec![("h".to_string(), None), ("h".to_string(), Some(vec![0]))] } else { vec![] };
    let key = (offset % 2 == 0).then(|| text.as_bytes().to_vec());
    let value = (offset % 5 != 4).then(|| format!("{{\"a\":{offset}}}").into_bytes());
    (partition, offset, offset * 10, key, value, headers)
}

fn append(writer: &mut JournalWriter, record: &Record) {
    let (partition, offset, timestamp, key, value, headers) = record;
    writer.append_at(*offset, *partition, *timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
}

fn take(records: &RawRecords, into: &mut Vec<Record>) {
    use arrow::array::Array;
    for i in 0..records.offsets.len() {
        let bytes = |array: &arrow::array::BinaryArray| (!array.is_null(i)).then(|| array.value(i).to_vec());
        into.push((
            records.partition,
            records.offsets[i],
            records.timestamps[i],
            bytes(&records.keys),
            bytes(&records.values),
            records.headers.get(i).cloned().unwrap_or_default(),
        ));
    }
}

use engine::log::RawRecords;

/// Reads everything there is, in polls of `max` records.
fn drain(stream: &mut JournalStream, max: usize) -> (Vec<Record>, Vec<(i32, i64)>) {
    let (mut records, mut reached): (Vec<Record>, Vec<(i32, i64)>) = (Vec::new(), Vec::new());
    loop {
        let polled = stream.poll(Duration::ZERO, max).unwrap();
        if polled.is_empty() {
            records.sort_by_key(|record| (record.0, record.1));
            return (records, reached);
        }
        for polled in polled {
            match polled {
                Polled::Records(raw) => take(&raw, &mut records),
                Polled::Reached(partition, offset) => reached.push((partition, offset)),
            }
        }
    }
}

#[test]
fn what_was_appended_is_read_back_by_stream_and_scan() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path().join("j"), 3).unwrap();
    let mut writer = journal.writer().unwrap().with_segment_size(2_000);
    // Partition 0 starts at 7 and has gaps; 1 is empty; 2 ends past its last record.
    let mut expected: Vec<Record> = (7..400).filter(|o| o % 7 != 3).map(|o| record(0, o, "x")).collect();
    expected.extend((0..50).map(|o| record(2, o, "")));
    writer.advance(0, 7).unwrap();
    expected.iter().for_each(|r| append(&mut writer, r));
    writer.advance(2, 60).unwrap();
    writer.commit().unwrap();
    for max in [1, 7, 10_000] {
        let mut stream = Journal::open(journal.path()).unwrap().stream(None).unwrap();
        assert_eq!(stream.starts().unwrap(), [7, 0, 0]);
        assert_eq!(stream.ends().unwrap(), [400, 0, 60]);
        stream.seek(&[7, 0, 0]).unwrap();
        let (records, mut reached) = drain(&mut stream, max);
        reached.sort();
        assert_eq!(records, expected);
        assert_eq!(reached, [(0, 400), (1, 0), (2, 60)]);
    }
    let scan = JournalScan::open(journal.path(), &source(vec![column("a: int64")])).unwrap();
    let ranges: Vec<_> = scan.partitions().iter().map(|r| (r.partition, r.start, r.end)).collect();
    assert_eq!(ranges, [(0, 7, 400), (1, 0, 0), (2, 0, 60)]);
    let mut records = Vec::new();
    for partition in 0..3 {
        for unit in scan.units(partition) {
            take(&scan.raw(unit, 0, i64::MAX).unwrap(), &mut records);
        }
    }
    assert_eq!(records, expected);
    let unit = &scan.units(0)[0];
    let chunk = scan.load(unit, unit.start + 2, unit.start + 6).unwrap();
    assert_eq!(chunk.offsets.values(), &[9, 11, 12]);
    assert_eq!(chunk.bad.len(), 1, "offset 9 has no value");
}

#[test]
fn only_the_named_partitions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), 3).unwrap();
    let mut writer = journal.writer().unwrap();
    (0..3).for_each(|partition| append(&mut writer, &record(partition, 0, "x")));
    writer.commit().unwrap();
    let mut stream = journal.stream(Some(&[1])).unwrap();
    assert_eq!(stream.partitions(), [1]);
    stream.seek(&[0]).unwrap();
    assert_eq!(drain(&mut stream, 10), (vec![record(1, 0, "x")], vec![(1, 1)]));
    let mut plan = source(vec![column("a: int64")]);
    plan.partitions = Some(vec![0, 2]);
    let scan = JournalScan::open(folder.path(), &plan).unwrap();
    assert_eq!(scan.partitions().iter().map(|r| r.partition).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(journal.stream(Some(&[3])).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_stream_follows_growth_across_segments_and_reopened_writers() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), 1).unwrap();
    let mut stream = journal.stream(None).unwrap();
    stream.seek(&[0]).unwrap();
    assert_eq!(drain(&mut stream, 10), (vec![], vec![(0, 0)]));
    for round in 0..30 {
        let mut writer = journal.writer().unwrap().with_segment_size(300);
        let records: Vec<_> = (round * 3..round * 3 + 3).map(|o| record(0, o, "abc")).collect();
        records.iter().for_each(|r| append(&mut writer, r));
        writer.flush().unwrap();
        assert_eq!(drain(&mut stream, 2), (records, vec![(0, round * 3 + 3)]));
    }
    assert!(segment::segments(&journal.folder(0)).unwrap().len() > 5);
    let mut late = journal.stream(None).unwrap();
    late.seek(&[44]).unwrap();
    assert_eq!(drain(&mut late, 100).0, (44..90).map(|o| record(0, o, "abc")).collect::<Vec<_>>());
    assert_eq!(late.seek(&[91]).unwrap_err().code, Code::Gap);
}

#[test]
fn a_paused_partition_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), 2).unwrap();
    let mut writer = journal.writer().unwrap();
    (0..2).for_each(|partition| append(&mut writer, &record(partition, 0, "x")));
    writer.flush().unwrap();
    let mut stream = journal.stream(None).unwrap();
    stream.seek(&[0, 0]).unwrap();
    stream.pause(1, true).unwrap();
    assert_eq!(drain(&mut stream, 10).0, [record(0, 0, "x")]);
    stream.pause(1, false).unwrap();
    assert_eq!(drain(&mut stream, 10).0, [record(1, 0, "x")]);
}

#[test]
fn there_is_one_writer_and_offsets_only_grow() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), 1).unwrap();
    let mut writer = journal.writer().unwrap();
    assert_eq!(journal.writer().unwrap_err().code, Code::StateBusy);
    assert_eq!(writer.append(0, 0, None, Some(b"x"), &[]).unwrap(), 0);
    writer.append_at(5, 0, 0, None, Some(b"x"), &[]).unwrap();
    assert_eq!(writer.append_at(5, 0, 0, None, Some(b"x"), &[]).unwrap_err().code, Code::Target);
    assert_eq!(writer.append(1, 0, None, Some(b"x"), &[]).unwrap_err().code, Code::NotFound);
    assert_eq!(writer.range(0).unwrap(), (0, 6));
    drop(writer);
    let mut writer = journal.writer().unwrap();
    assert_eq!(writer.append(0, 0, None, None, &[]).unwrap(), 6);
    assert_eq!(Journal::create(folder.path(), 1).unwrap_err().code, Code::Target);
    assert_eq!(Journal::open(folder.path().join("none")).unwrap_err().code, Code::NotFound);
}

/// A journal of one segment with ten records, and the places where its frames begin (and the last one ends).
fn ten_records(folder: &std::path::Path) -> (Journal, std::path::PathBuf, Vec<usize>) {
    let journal = Journal::create(folder, 1).unwrap();
    let mut writer = journal.writer().unwrap();
    let path = folder.join("partition=0/00000000000000000000.log");
    let mut places = vec![frame::SEGMENT_HEADER];
    for offset in 0..10 {
        append(&mut writer, &record(0, offset, "key"));
        writer.flush().unwrap();
        places.push(std::fs::metadata(&path).unwrap().len() as usize);
    }
    (journal, path, places)
}

#[test]
fn a_torn_tail_is_ignored_by_readers_and_cut_by_the_writer_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, path, places) = ten_records(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        for garbage in [&[][..], &[0; 9], &[0xff; 40]] {
            let torn = [&bytes[..cut], garbage].concat();
            std::fs::write(&path, &torn).unwrap();
            if cut < frame::SEGMENT_HEADER && !garbage.is_empty() {
                continue;
            }
            // Garbage may happen to be what was cut off.
            let whole = places[1..].iter().filter(|place| torn.get(..**place) == Some(&bytes[..**place])).count();
            let expected: Vec<_> = (0..whole as i64).map(|o| record(0, o, "key")).collect();
            let mut stream = journal.stream(None).unwrap();
            assert_eq!(stream.ends().unwrap(), [whole as i64]);
            stream.seek(&[0]).unwrap();
            assert_eq!(drain(&mut stream, 100).0, expected);
            let scan = JournalScan::open(folder.path(), &source(vec![column("a: int64")])).unwrap();
            assert_eq!(scan.partitions()[0].end, whole as i64);
            // The next writer goes on after the last whole record, and the reader that saw the tail goes on too.
            let mut writer = journal.writer().unwrap();
            let next = record(0, whole as i64, "another");
            append(&mut writer, &next);
            writer.flush().unwrap();
            assert_eq!(drain(&mut stream, 100).0, [next]);
        }
    }
}

#[test]
fn damage_in_the_middle_is_an_error_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, path, places) = ten_records(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    // A flip in the last frame cannot be told from a torn tail.
    for i in 0..places[9] {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        let place = places.iter().rfind(|place| **place <= i).copied().unwrap_or(0);
        let error = JournalScan::open(folder.path(), &source(vec![column("a: int64")])).unwrap_err();
        assert_eq!(error.code, Code::Corrupt, "byte {i}");
        assert!(error.message.contains(&format!("at byte {place}")), "byte {i}: {error}");
        assert!(error.message.contains("00000000000000000000.log"));
        assert_eq!(journal.writer().unwrap_err().code, Code::Corrupt, "byte {i}");
        assert_eq!(journal.stream(None).unwrap().ends().unwrap_err().code, Code::Corrupt, "byte {i}");
    }
}
