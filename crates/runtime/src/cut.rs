//! Cuts: an offset for each partition of each source, where a run starts or ends.

use std::collections::BTreeMap;
use std::path::Path;

use engine::log::{Offset, Partition};
use engine::{Code, Error, Result};

/// An offset per source and partition.
pub type Cut = BTreeMap<String, BTreeMap<Partition, Offset>>;

/// Which end of a summary a cut file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its start offsets.
    Start,
    /// Its end offsets.
    End,
}

/// Reads a cut as given on the command line: `source:0=100,1=250`, several sources separated by commas, spaces or `;`, or
/// the path of a file that holds a run's summary.
pub fn parse(text: &str, side: Side) -> Result<Cut> {
    if Path::new(text).is_file() || !text.contains('=') {
        return read(Path::new(text), side);
    }
    let bad = |part: &str| {
        Error::new(Code::Usage, format!("`{part}` is not `source:partition=offset`"))
            .help("write `--end clicks:0=1000,1=950`, with several sources `--end clicks:0=1000,views:0=20`, or the path of a summary that another run wrote with `--summary`")
    };
    let mut cut = Cut::new();
    for group in text.split([' ', ';']).filter(|group| !group.is_empty()) {
        let mut source = None;
        for pair in group.split(',') {
            let offset = match pair.split_once(':') {
                Some((name, offset)) => {
                    source = Some(name.trim());
                    offset
                }
                None => pair,
            };
            let partitions = cut.entry(source.ok_or_else(|| bad(group))?.to_string()).or_default();
            let (partition, offset) = offset.split_once('=').ok_or_else(|| bad(pair))?;
            let partition = partition.trim().parse().map_err(|_| bad(pair))?;
            let offset: Offset = offset.trim().parse().map_err(|_| bad(pair))?;
            if offset < 0 || partitions.insert(partition, offset).is_some() {
                return Err(bad(pair));
            }
        }
    }
    Ok(cut)
}

/// Writes a cut as [`parse`] reads it.
pub fn text(cut: &Cut) -> String {
    let of_source = |(source, partitions): (&String, &BTreeMap<Partition, Offset>)| {
        partitions.iter().map(|(partition, offset)| format!("{source}:{partition}={offset}")).collect::<Vec<_>>()
    };
    cut.iter().flat_map(of_source).collect::<Vec<_>>().join(",")
}

fn read(path: &Path, side: Side) -> Result<Cut> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let field = match side {
        Side::Start => "start",
        Side::End => "end",
    };
    let bad = |why: String| {
        Error::new(Code::Usage, format!("{} is not a run's summary: {why}", path.display()))
            .help("a summary is what `samestream run … --summary FILE` writes")
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let cut = value.get(field).ok_or_else(|| bad(format!("it has no `{field}`")))?;
    serde_json::from_value(cut.clone()).map_err(|error| bad(error.to_string()))
}

/// Refuses a cut that names partitions which a source does not have or does not read.
pub(crate) fn check_partitions(source: &str, partitions: &[Partition], cut: Option<&Cut>) -> Result<()> {
    let named = cut.and_then(|cut| cut.get(source)).into_iter().flat_map(|named| named.keys());
    match named.into_iter().find(|partition| !partitions.contains(partition)) {
        None => Ok(()),
        Some(partition) => {
            let list: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            let message =
                format!("the cut names partition {partition} of source `{source}`, which the run does not read");
            Err(Error::new(Code::Cut, message).help(format!("its partitions are {}", list.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_by_source_and_partition() {
        let cut = parse("clicks:0=10,1=20 orders:3=0", Side::End).expect("a good cut");
        assert_eq!(cut["clicks"], BTreeMap::from([(0, 10), (1, 20)]));
        assert_eq!(cut["orders"], BTreeMap::from([(3, 0)]));
        assert_eq!(parse("clicks:0=10,clicks:1=20,orders:3=0", Side::End).expect("a good cut"), cut);
        assert_eq!(parse("clicks:0=10,1=20; orders:3=0", Side::End).expect("a good cut"), cut);
        assert_eq!(text(&cut), "clicks:0=10,clicks:1=20,orders:3=0");
    }

    #[test]
    fn what_is_no_cut_is_refused() {
        for text in ["clicks:0=x", "0=1", "clicks:0=1,0=2", "clicks:0=-1", "clicks:=1"] {
            assert_eq!(parse(text, Side::End).expect_err(text).code, Code::Usage, "{text}");
        }
    }
}
