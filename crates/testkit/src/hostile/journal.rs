//! A segment of a journal, whose frames may have checksums that are right.

use std::time::Duration;

use connectors::journal::{Journal, JournalScan};
use engine::edge::{LogScan, LogStream, Polled};

use super::{checked, plan, records};

/// What stands before the first frame, and before the body of each.
const SEGMENT_HEADER: usize = 16;
const FRAME_HEADER: usize = 8;

/// Takes the first byte's last bit as whether checksums are made right, the rest as a segment.
pub(super) fn run(bytes: &[u8]) {
    let Some((kind, segment)) = bytes.split_first() else { return };
    let mut segment = segment.to_vec();
    if kind & 1 == 1 {
        make_right(&mut segment);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("log");
    Journal::create(&path, 1).expect("a journal can be made");
    std::fs::create_dir_all(path.join("partition=0")).expect("a folder can be made");
    std::fs::write(path.join("partition=0/00000000000000000000.log"), &segment).expect("a file can be written");
    let plan = plan("lake");
    let scanned = checked(JournalScan::open(&path, &plan.sources[0])).and_then(|scan| {
        let units = scan.units(0).iter();
        units.map(|unit| checked(scan.raw(unit, 0, i64::MAX)).map(|raw| raw.offsets.len())).sum::<Option<usize>>()
    });
    let streamed = checked(Journal::open(&path).and_then(|journal| journal.stream(None))).and_then(|mut stream| {
        checked(stream.starts()).and_then(|starts| checked(stream.seek(&starts)))?;
        let mut count = 0;
        loop {
            for polled in checked(stream.poll(Duration::ZERO, 1000))? {
                match polled {
                    Polled::Records(raw) => count += raw.offsets.len(),
                    Polled::Reached(..) => return Some(count),
                }
            }
        }
    });
    assert_eq!(scanned, streamed, "both modes read as much of a journal, or neither does");
}

/// Gives every frame the checksum that its body has.
fn make_right(segment: &mut [u8]) {
    let mut at = SEGMENT_HEADER;
    while let Some(header) = segment.get(at..at + FRAME_HEADER) {
        let size = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = segment.get(at + FRAME_HEADER..(at + FRAME_HEADER).saturating_add(size)) else { break };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..4]), body).to_le_bytes();
        segment[at + 4..at + 8].copy_from_slice(&crc);
        at += FRAME_HEADER + size;
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("log");
    let journal = Journal::create(&path, 1).expect("a journal can be made");
    let mut writer = journal.writer().expect("it has a writer");
    for (number, record) in (0..).zip(&records()[..5]) {
        let headers = vec![("h".to_string(), (number > 1).then(|| b"value".to_vec()))];
        let key = (number % 2 == 0).then_some(&b"k"[..]);
        let value = (number != 3).then_some(&record.as_bytes()[..40]);
        let appended = writer.append_at(number * 3, 0, 1_767_225_600_000, key, value, &headers);
        appended.expect("a journal takes records");
    }
    writer.advance(0, 20).and_then(|()| writer.commit()).expect("a journal can be kept");
    let segment = std::fs::read(path.join("partition=0/00000000000000000000.log")).expect("there is a segment");
    [0, 1, 1].map(|kind| [&[kind][..], &segment].concat()).into()
}
