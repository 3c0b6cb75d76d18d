//! Numbers of a running stream, for those who watch it from outside. They are taken once a second at most, from what the
//! driver has at hand; nothing of them can change a result.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::log::{Offset, Partition, RawRecords};
use engine::plan::{Input, OnLate, Plan};
use engine::watermark::NEVER;
use engine::{Aside, Identity, State};

use crate::driver::{PartitionState, watermarks};
use crate::spill::Spill;

/// What a stream has done since it was started, and where it is.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// By source and partition.
    pub partitions: Vec<PartitionNumbers>,
    /// Late rows by step, source, partition, and what became of them.
    pub late: BTreeMap<(String, String, Partition, &'static str), u64>,
    /// Bad records by source and the word of the reason.
    pub bad: BTreeMap<(String, String), u64>,
    /// Rows that failed at a step, by step.
    pub failed: BTreeMap<String, u64>,
    /// Windows and sessions that are open.
    pub windows_open: u64,
    /// Windows that were closed as final.
    pub windows_final: u64,
    /// What steps keep.
    pub state: Vec<StateNumbers>,
    /// What commits took.
    pub commits: Commits,
    /// The pipeline's sinks.
    pub sinks: Vec<SinkNumbers>,
    /// Whether every partition has been read up to where its log ended when the stream was started.
    pub has_caught_up: bool,
}

/// Numbers of a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionNumbers {
    /// Its source.
    pub source: String,
    /// The partition.
    pub partition: Partition,
    /// Records read.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Everything below was read.
    pub next: Offset,
    /// Where its log ends, as far as known.
    pub end: Offset,
    /// The largest event time, in microseconds.
    pub maximum: Option<i64>,
    /// Its watermark, in microseconds.
    pub watermark: Option<i64>,
    /// Whether no other partition's watermark is less.
    pub holds: bool,
}

/// What a step keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateNumbers {
    /// The step.
    pub step: String,
    /// Groups of open windows, open sessions, or the rows that a join keeps. A group whose window lies in several pieces counts
    /// in each.
    pub keys: u64,
    /// About how many bytes.
    pub bytes: u64,
}

/// A sink of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkNumbers {
    /// Its name.
    pub sink: String,
    /// Rows given to it that stay, those of earlier runs of the same job too.
    pub rows: u64,
    /// The last epoch in which there was something for it.
    pub epoch: u64,
}

/// How long commits took: each keeps a checkpoint, and lets the sinks publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commits {
    /// How many took at most as long as the bound of the same place in [`Commits::BOUNDS`].
    pub within: [u64; Commits::BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// How long all of them took, in seconds.
    pub seconds: f64,
    /// When the last one was done, in seconds since 1970.
    pub last: Option<f64>,
}

impl Commits {
    /// Bounds in seconds.
    pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

    pub(crate) fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (count, bound) in self.within.iter_mut().zip(Self::BOUNDS) {
            *count += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.seconds += seconds;
        self.last = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
    }
}

/// What must be counted on the way, because nothing else keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// By source and place: records, and bytes of keys and values.
    pub(crate) read: Vec<Vec<(u64, u64)>>,
    pub(crate) commits: Commits,
    late: BTreeMap<(String, String, Partition, &'static str), u64>,
    bad: BTreeMap<(String, String), u64>,
    failed: BTreeMap<String, u64>,
}

impl Counters {
    pub(crate) fn new(partitions: &[Vec<PartitionState>]) -> Self {
        Self { read: partitions.iter().map(|states| vec![(0, 0); states.len()]).collect(), ..Self::default() }
    }

    /// Counts records of a partition.
    pub(crate) fn records(&mut self, source: usize, place: usize, records: &RawRecords) {
        let (count, bytes) = &mut self.read[source][place];
        *count += records.offsets.len() as u64;
        *bytes += [&records.keys, &records.values].map(size_of).into_iter().sum::<u64>();
    }

    /// Counts what is late, bad or failed.
    pub(crate) fn aside(&mut self, plan: &Plan, aside: &Aside) {
        let source = || plan.sources[aside.source].name.clone();
        let rows = aside.identity.len() as u64;
        match (aside.input, &aside.identity) {
            (Input::StepLate(_), Identity::Records { partition, .. }) => {
                let action = match plan.sources[aside.source].on_late {
                    OnLate::Quarantine => "quarantine",
                    OnLate::Drop => "drop",
                    OnLate::Fail => "fail",
                };
                let step = plan.name_of(aside.input).to_string();
                *self.late.entry((step, source(), *partition, action)).or_default() += rows;
            }
            (Input::SourceBad(_), _) => {
                for reason in &aside.reasons {
                    *self.bad.entry((source(), word(reason).to_string())).or_default() += 1;
                }
            }
            (Input::StepBad(_), _) => *self.failed.entry(plan.name_of(aside.input).to_string()).or_default() += rows,
            _ => {}
        }
    }

    /// Puts the numbers together.
    pub(crate) fn numbers(&self, plan: &Plan, partitions: &[Vec<PartitionState>], ends: &[Vec<Offset>]) -> Numbers {
        let least = watermarks(plan, partitions).map(|(.., mark)| mark).min();
        let known = |time: i64| (time != NEVER).then_some(time);
        let numbers = watermarks(plan, partitions).map(|(source, state, mark)| {
            let place = partitions[source].iter().position(|other| other.partition == state.partition);
            let place = place.expect("it is one of them");
            let (records, bytes) = self.read[source][place];
            PartitionNumbers {
                source: plan.sources[source].name.clone(),
                partition: state.partition,
                records,
                bytes,
                next: state.next,
                end: state.end.unwrap_or(ends[source][place]).max(state.next),
                maximum: known(state.maximum),
                watermark: known(mark),
                holds: Some(mark) == least,
            }
        });
        Numbers {
            partitions: numbers.collect(),
            late: self.late.clone(),
            bad: self.bad.clone(),
            failed: self.failed.clone(),
            commits: self.commits.clone(),
            ..Numbers::default()
        }
    }
}

/// Returns what steps keep: keys with those that wait outside of the state, bytes of memory only.
pub(crate) fn of_state(plan: &Plan, state: &State, spill: &Spill) -> Vec<StateNumbers> {
    let sizes = state.sizes().into_iter().map(|size| {
        let step = plan.steps[size.step].name.clone();
        let keys = (size.keys + spill.keys_of(&step)) as u64;
        StateNumbers { step, keys, bytes: size.bytes as u64 }
    });
    sizes.collect()
}

/// Returns the word that a reason begins with: there are few of these, and never a text of the record.
fn word(reason: &str) -> &str {
    let word = reason.split(':').next().unwrap_or_default();
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { word } else { "other" }
}

fn size_of(values: &arrow::array::BinaryArray) -> u64 {
    let offsets = values.value_offsets();
    offsets.first().zip(offsets.last()).map_or(0, |(first, last)| (last - first) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_words_of_which_there_are_few() {
        assert_eq!(word("not_json: `x` at 3"), "not_json");
        assert_eq!(word("null_value"), "null_value");
        assert_eq!(word("`hunter2` is no number"), "other");
        assert_eq!(word(""), "other");
    }

    #[test]
    fn commits_are_counted_within_every_bound_that_holds_them() {
        let mut commits = Commits::default();
        commits.add(Duration::from_millis(3));
        commits.add(Duration::from_secs(40));
        assert_eq!(commits.within, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(commits.count, 2);
        assert!((commits.seconds - 40.003).abs() < 1e-9 && commits.last.is_some());
    }
}
