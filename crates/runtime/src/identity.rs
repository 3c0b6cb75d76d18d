//! Whether a log is still the one that a checkpoint was made of.
//!
//! A name is not enough: a topic may be deleted and made anew, and a broker that takes over without having had all records
//! writes others at their offsets. Topics have ids; and of each partition the checkpoint knows the last record that was
//! read, which a start reads again, where it is still there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::FieldRef;
use connectors::format::codec;
use connectors::records::clip;
use engine::digest::RowDigester;
use engine::edge::{LogScan, LogStream, Polled};
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::{Plan, SourcePlan};
use engine::{Code, Error, Result, Schema};
use xxhash_rust::xxh3::xxh3_128;

use crate::cut::Cut;
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
        let wanted = read.iter().map(|(partition, (offset, _))| (*partition, *offset)).collect();
        // What is not there any more is for the start offsets to judge.
        for (partition, found) in held_at(source, &wanted, &open)? {
            let (offset, then) = read[&partition];
            if fingerprint(&found, 0) != then {
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

/// What tells the last record of each partition from others, by source in plan order.
pub(crate) type Lasts = Vec<BTreeMap<Partition, (Offset, u128)>>;

/// Compares the last record of each partition of the lakes, which are read up to `end`, with the one that the log holds at its
/// offset, and returns what tells that one from others. A lake keeps what records were decoded to and not their bytes, so only
/// the log can say; a partition whose log no longer holds that record is left out.
pub(crate) fn check_lakes(
    plan: &Plan,
    scans: &[Option<Arc<dyn LogScan>>],
    end: &Cut,
    open: impl Fn(&SourcePlan) -> Result<Box<dyn LogStream>>,
) -> Result<Lasts> {
    let mut lasts = Lasts::new();
    for (source, scan) in plan.sources.iter().zip(scans) {
        let mut rows: BTreeMap<Partition, Chunk> = BTreeMap::new();
        for (partition, stop) in scan.iter().flat_map(|_| end.get(&source.name)).flatten() {
            let scan = scan.as_ref().expect("it has a partition");
            rows.extend(last_of(&**scan, *partition, *stop)?.map(|row| (*partition, row)));
        }
        let wanted = rows.iter().map(|(partition, row)| (*partition, row.offsets.value(0))).collect();
        let codec = codec(source)?;
        let mut of_source = BTreeMap::new();
        for (partition, found) in held_at(source, &wanted, &open)? {
            let offset = wanted[&partition];
            if !are_same(&rows[&partition], &codec.decode(&found)) {
                let message = format!(
                    "source `{}` partition {partition}: the log holds another record at offset {offset} than the lake",
                    source.name
                );
                return Err(Error::new(Code::LogRewritten, message).help(
                    "the lake is another log's, or the log was made anew or has lost records: archive it anew, or leave `--bootstrap` out",
                ));
            }
            of_source.insert(partition, (offset, fingerprint(&found, 0)));
        }
        lasts.push(of_source);
    }
    Ok(lasts)
}

/// Returns the last record of a partition below an offset.
fn last_of(scan: &dyn LogScan, partition: Partition, stop: Offset) -> Result<Option<Chunk>> {
    for unit in scan.units(partition).iter().rev().filter(|unit| unit.start < stop) {
        let chunk = scan.load(unit, unit.start, unit.end.min(stop))?;
        if !chunk.is_empty() {
            return Ok(Some(chunk.slice(chunk.len() - 1..chunk.len())));
        }
    }
    Ok(None)
}

/// Returns whether two chunks of one row hold the same record, as far as both know it.
fn are_same(one: &Chunk, other: &Chunk) -> bool {
    let times = one.timestamps.as_ref().zip(other.timestamps.as_ref());
    if one.bad.is_empty() != other.bad.is_empty() || times.is_some_and(|(one, other)| one != other) {
        return false;
    }
    // By digest: a text may be in a dictionary in one of them, and NaN is NaN.
    let mut digester = RowDigester::new("", &Schema::default());
    let mut digest = |column: &ArrayRef| {
        let mut found = None;
        digester.rows(std::slice::from_ref(column), 1, |_, digest| found = Some(digest));
        found
    };
    let mut is_same = |(field, column): (&FieldRef, &ArrayRef)| {
        other.columns.column_by_name(field.name()).is_none_or(|found| digest(column) == digest(found))
    };
    let schema = one.columns.schema();
    !one.bad.is_empty() || schema.fields().iter().zip(one.columns.columns()).all(&mut is_same)
}

/// Reads the record at an offset of each partition, one row each; without those that the log does not hold.
fn held_at(
    source: &SourcePlan,
    wanted: &BTreeMap<Partition, Offset>,
    open: impl Fn(&SourcePlan) -> Result<Box<dyn LogStream>>,
) -> Result<BTreeMap<Partition, RawRecords>> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut stream = open(source)?;
    let (starts, ends) = (stream.starts()?, stream.ends()?);
    let ranges = stream.partitions().iter().copied().zip(starts.into_iter().zip(ends));
    let is_there =
        |partition: &Partition, start, end| wanted.get(partition).is_some_and(|offset| (start..end).contains(offset));
    let there: Vec<Partition> =
        ranges.filter(|(partition, (start, end))| is_there(partition, *start, *end)).map(|(it, _)| it).collect();
    if there.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut stream = open(&SourcePlan { partitions: Some(there), ..source.clone() })?;
    read_at(&mut *stream, &source.name, wanted)
}

fn read_at(
    stream: &mut dyn LogStream,
    source: &str,
    wanted: &BTreeMap<Partition, Offset>,
) -> Result<BTreeMap<Partition, RawRecords>> {
    let partitions = stream.partitions().to_vec();
    stream.seek(&partitions.iter().map(|partition| wanted[partition]).collect::<Vec<_>>())?;
    // None: there is no record at that offset.
    let mut found: BTreeMap<Partition, Option<RawRecords>> = BTreeMap::new();
    let until = Instant::now() + PATIENCE;
    while found.len() < partitions.len() {
        if Instant::now() > until {
            let message = format!("source `{source}` does not give the records that were read last");
            return Err(Error::new(Code::Broker, message).help("check that its brokers run and answer"));
        }
        for polled in stream.poll(Duration::from_millis(100), 16)? {
            let (partition, record) = match polled {
                Polled::Records(records) => {
                    let offset = wanted[&records.partition];
                    if records.offsets.last().is_none_or(|last| *last < offset) {
                        continue;
                    }
                    let record = clip(&records, offset, offset + 1);
                    (records.partition, (!record.offsets.is_empty()).then_some(record))
                }
                Polled::Reached(partition, end) if end > wanted[&partition] => (partition, None),
                Polled::Reached(..) => continue,
            };
            if let std::collections::btree_map::Entry::Vacant(place) = found.entry(partition) {
                place.insert(record);
                stream.pause(partition, true)?;
            }
        }
    }
    Ok(found.into_iter().filter_map(|(partition, record)| Some((partition, record?))).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn record(text: ArrayRef, number: f64) -> Chunk {
        let number: ArrayRef = Arc::new(Float64Array::from(vec![number]));
        let columns = RecordBatch::try_from_iter_with_nullable([("text", text, true), ("number", number, true)]);
        Chunk {
            partition: 0,
            offsets: Int64Array::from(vec![7]),
            timestamps: None,
            columns: columns.unwrap(),
            bad: Vec::new(),
            raw: None,
        }
    }

    #[test]
    fn records_are_compared_by_their_values() {
        let plain = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let coded = |text: &str| -> ArrayRef { Arc::new(DictionaryArray::<Int32Type>::from_iter([text])) };
        assert!(are_same(&record(plain("a"), 1.0), &record(coded("a"), 1.0)));
        assert!(are_same(&record(coded("a"), f64::NAN), &record(plain("a"), f64::NAN)), "NaN is NaN");
        assert!(!are_same(&record(plain("a"), 1.0), &record(coded("b"), 1.0)));
        assert!(!are_same(&record(plain("a"), 1.0), &record(plain("a"), f64::NAN)));
    }
}
