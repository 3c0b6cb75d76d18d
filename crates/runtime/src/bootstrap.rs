//! Hand-over: a stream whose beginning is read from the lake, at batch speed.
//!
//! The lake is read to the offsets where it ends; what is final by then is published as the stream's first epoch, with its
//! first checkpoint, and the stream goes on from the next offset of the log. Before anything is read it is made sure that
//! no record lies between the two.

use std::sync::Arc;

use engine::edge::{LogScan, LogStream};
use engine::log::{Offset, Partition};
use engine::plan::{Layout, Plan, SourcePlan};
use engine::{Code, Error, Result};

use crate::cut::Cut;

/// Refuses a pipeline whose beginning cannot be read from lakes.
pub(crate) fn check_source(source: &SourcePlan) -> Result<()> {
    match &source.bindings.lake {
        None => Err(Error::new(Code::Binding, format!("source `{}` has no lake to build the state from", source.name))
            .help("give it `lake: {path}` and fill it with `samestream archive`; without `--bootstrap` the stream reads its log from the start")),
        Some(lake) if lake.layout == Layout::Files => {
            let message = format!("the lake of source `{}` names no offsets, so nothing tells where its log goes on", source.name);
            Err(Error::new(Code::NoOffsets, message).help("a lake that `samestream archive` writes has them"))
        }
        Some(_) => Ok(()),
    }
}

/// Returns where reading of the lakes ends: where they do, or before, where the run ends. Refuses lakes and logs that do not
/// fit each other: other partitions, records that are in neither, a log that ends before its lake.
pub(crate) fn end_of_lakes(
    plan: &Plan,
    streams: &mut [Option<Box<dyn LogStream>>],
    scans: &[Option<Arc<dyn LogScan>>],
    end: Option<&Cut>,
) -> Result<Cut> {
    let mut cut = Cut::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let (Some(stream), Some(scan)) = (&mut streams[index], &scans[index]) else { continue };
        let of_log = stream.partitions().to_vec();
        let ranges = scan.partitions();
        let of_lake: Vec<Partition> = ranges.iter().map(|range| range.partition).collect();
        if of_log != of_lake {
            let message =
                format!("source `{}`: its log has the partitions {of_log:?}, its lake {of_lake:?}", source.name);
            return Err(Error::new(Code::PartitionsChanged, message).help(
                "what is final depends on the set of partitions: `samestream archive` makes a folder for each; `partitions:` on the source names those to read",
            ));
        }
        let (starts, ends) = (stream.starts()?, stream.ends()?);
        for (place, range) in ranges.iter().enumerate() {
            let named = end.and_then(|cut| cut.get(&source.name)).and_then(|cut| cut.get(&range.partition));
            let stop = named.map_or(range.end, |named| range.end.min(*named));
            fits(&source.name, range.partition, stop, starts[place], ends[place])?;
            cut.entry(source.name.clone()).or_default().insert(range.partition, stop);
        }
    }
    Ok(cut)
}

/// Checks that a log, which holds offsets from `first` to `end`, goes on where its lake stops.
fn fits(source: &str, partition: Partition, stop: Offset, first: Offset, end: Offset) -> Result<()> {
    let place = format!("source `{source}` partition {partition}");
    if stop < first {
        let message = format!(
            "{place}: the lake ends at offset {stop} and the log begins at {first}: offsets {stop} .. {first} are in neither"
        );
        return Err(Error::new(Code::Gap, message)
            .help("the log no longer holds these records; a lake that was archived in time does, and `--mode batch` reads the lake alone"));
    }
    if stop > end {
        let message = format!("{place}: the lake holds offsets up to {stop}, but the log ends at {end}");
        return Err(Error::new(Code::LogReplaced, message)
            .help("the log was made anew or has lost records, or the lake is another log's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_named_by_its_offsets() {
        // The lake ends within what the log holds, at either side of it, one before it, one after it.
        for stop in [100, 101, 199, 200] {
            fits("s", 3, stop, 100, 200).unwrap();
        }
        let hole = fits("s", 3, 99, 100, 200).unwrap_err();
        assert_eq!(hole.code, Code::Gap);
        assert!(hole.message.contains("partition 3") && hole.message.contains("offsets 99 .. 100 are in neither"));
        assert_eq!(fits("s", 3, 201, 100, 200).unwrap_err().code, Code::LogReplaced);
    }
}
