//! What a run over a range will read, known before it begins: by the footers, and left out as the run will leave it out.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use engine::plan::Plan;
use engine::reach::Reach;

use crate::batch;
use crate::cut::Cut;
use crate::job::Scans;

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Records.
    pub rows: u64,
    /// Bytes as they are stored, of the columns that are read; None: the log does not say.
    pub bytes: Option<u64>,
    /// Files.
    pub files: u64,
    /// Row groups of these files, or what else their parts are.
    pub groups: u64,
    /// Records of parts that do not say which times they hold, and are read for that reason alone.
    pub unknown: u64,
}

impl Estimate {
    pub(super) fn of(plan: &Plan, scans: &Scans, (start, end): (&Cut, &Cut), range: Range<i64>) -> Self {
        let reach = Reach::new(plan, (Some(range.start), Some(range.end)));
        let mut estimate = Self { bytes: Some(0), ..Self::default() };
        let (mut files, mut groups) = (BTreeSet::new(), BTreeSet::<(PathBuf, u64)>::new());
        for (index, scan) in scans.iter().enumerate() {
            let Some(scan) = scan else { continue };
            let source = &plan.sources[index].name;
            for partition in scan.partitions().iter().map(|range| range.partition) {
                let (begin, stop) = (start[source][&partition], end[source][&partition]);
                for unit in scan.units(partition).iter().filter(|unit| unit.end > begin && unit.start < stop) {
                    let (first, last) = (unit.start.max(begin), unit.end.min(stop));
                    let largest = batch::largest(unit, first, last);
                    if batch::is_skipped(Some(&reach), index, unit, largest) {
                        continue;
                    }
                    let rows = (unit.rows as u64).min((last - first).unsigned_abs());
                    estimate.rows += rows;
                    estimate.unknown += if largest.is_none() { rows } else { 0 };
                    let stored = scan.stored(unit);
                    estimate.bytes = estimate.bytes.zip(stored).map(|(bytes, stored)| bytes + stored.bytes);
                    if let Some(stored) = stored {
                        files.insert(stored.file.to_path_buf());
                        groups.insert((stored.file.to_path_buf(), stored.part));
                    }
                }
            }
        }
        (estimate.files, estimate.groups) = (files.len() as u64, groups.len() as u64);
        estimate
    }

    /// Adds what another run reads. What both read counts twice, for it is read twice.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes = self.bytes.zip(other.bytes).map(|(bytes, more)| bytes + more);
        self.files += other.files;
        self.groups += other.groups;
        self.unknown += other.unknown;
    }
}
