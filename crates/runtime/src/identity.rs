//! Whether a log is still the one that a checkpoint was made of.
//!
//! A name is not enough: a topic may be deleted and made anew, and a broker that takes over without having had all records
//! writes others at their offsets. Topics have ids; and of each partition the checkpoint knows the last record that was
//! read, which a start reads again, where it is still there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::Array;
use engine::edge::{LogStream, Polled};
use engine::log::{Offset, Partition, RawRecords};
use engine::plan::{Plan, SourcePlan};
use engine::{Code, Error, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::driver::PartitionState;

/// How long a log may take to give one record of each partition.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do about a log that is another one.
pub(crate) const HELP: &str =
    "the log was made anew or has lost records; `--fresh` reads it from its start and replaces the results";

/// Returns what tells a record from others at its offset: its time, key and value.
pub(crate) fn fingerprint(records: &RawRecords, row: usize) -> u128 {
    let mut bytes = records.timestamps[row].to_le_bytes().to_vec();
    for column in [&records.keys, &records.values] {
        let part = (!column.is_null(row)).then(|| column.value(row));
        bytes.extend(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        bytes.extend(part.unwrap_or_default());
    }
    xxh3_128(&bytes)
}

/// Returns the error of a source whose log has another id now.
pub(crate) fn made_anew(source: &str, then: &str, now: Option<&str>) -> Error {
    let now = now.map_or("none".to_string(), |now| format!("`{now}`"));
    let message =
        format!("source `{source}`: the topic was deleted and made anew: its id was `{then}`, now it is {now}");
    Error::new(Code::LogReplaced, message).help(HELP)
}

/// Refuses logs that hold another record where the last one was read. `open` opens some partitions of a source.
pub(crate) fn check_records(
    plan: &Plan,
    partitions: &[Vec<PartitionState>],
    open: impl Fn(&SourcePlan) -> Result<Box<dyn LogStream>>,
) -> Result<()> {
    for (source, states) in plan.sources.iter().zip(partitions) {
        let read: BTreeMap<Partition, (Offset, u128)> =
            states.iter().filter_map(|state| Some((state.partition, state.last?))).collect();
        if read.is_empty() {
            continue;
        }
        let mut stream = open(source)?;
        let (starts, ends) = (stream.starts()?, stream.ends()?);
        let ranges = stream.partitions().iter().copied().zip(starts.into_iter().zip(ends));
        let is_there = |partition: &Partition, start, end| {
            read.get(partition).is_some_and(|(offset, _)| (start..end).contains(offset))
        };
        // What is not there any more is for the start offsets to judge.
        let wanted: Vec<Partition> =
            ranges.filter(|(partition, (start, end))| is_there(partition, *start, *end)).map(|(it, _)| it).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut stream = open(&SourcePlan { partitions: Some(wanted), ..source.clone() })?;
        for (partition, found) in read_at(&mut *stream, &source.name, &read)? {
            let (offset, then) = read[&partition];
            if found.is_some_and(|found| found != then) {
                let message = format!(
                    "source `{}` partition {partition} holds another record at offset {offset} than the one that was read there",
                    source.name
                );
                return Err(Error::new(Code::LogRewritten, message).help(HELP));
            }
        }
    }
    Ok(())
}

/// Returns what tells the record at an offset of each partition from others; None: there is no record at that offset.
fn read_at(
    stream: &mut dyn LogStream,
    source: &str,
    wanted: &BTreeMap<Partition, (Offset, u128)>,
) -> Result<BTreeMap<Partition, Option<u128>>> {
    let partitions = stream.partitions().to_vec();
    stream.seek(&partitions.iter().map(|partition| wanted[partition].0).collect::<Vec<_>>())?;
    let mut found = BTreeMap::new();
    let until = Instant::now() + PATIENCE;
    while found.len() < partitions.len() {
        if Instant::now() > until {
            let message = format!("source `{source}` does not give the records that were read last");
            return Err(Error::new(Code::Broker, message).help("check that its brokers run and answer"));
        }
        for polled in stream.poll(Duration::from_millis(100), 16)? {
            let (partition, fingerprint) = match polled {
                Polled::Records(records) => {
                    let offset = wanted[&records.partition].0;
                    let Some(row) = records.offsets.iter().position(|at| *at >= offset) else { continue };
                    (records.partition, (records.offsets[row] == offset).then(|| fingerprint(&records, row)))
                }
                Polled::Reached(partition, end) if end > wanted[&partition].0 => (partition, None),
                Polled::Reached(..) => continue,
            };
            if let std::collections::btree_map::Entry::Vacant(place) = found.entry(partition) {
                place.insert(fingerprint);
                stream.pause(partition, true)?;
            }
        }
    }
    Ok(found)
}
