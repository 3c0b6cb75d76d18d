//! The table of metrics, how they are written for Prometheus, and their page in the documents.
//!
//! Names follow Prometheus: one prefix, base units, `_total` on counters, few labels, whose values are names of the
//! pipeline, partition numbers and words of ours, never a text of a record.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use runtime::Numbers;
use runtime::numbers::{Commits, PartitionNumbers};

use crate::board::{About, Board};
use crate::process;

/// What can be asked of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows while the run goes on, and its name gets `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric.
pub struct Metric {
    /// Its name, of counters without `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it tells, in a sentence.
    pub help: &'static str,
    /// The labels of its samples.
    pub labels: &'static [&'static str],
    samples: fn(&About, &Numbers) -> Vec<Sample>,
}

impl Metric {
    /// Returns the name as samples have it.
    pub fn full_name(&self) -> String {
        format!("{}{}", self.name, if self.kind == Kind::Counter { "_total" } else { "" })
    }
}

/// A value with the values of its metric's labels.
struct Sample(Vec<String>, Value);

enum Value {
    Whole(u64),
    Seconds(f64),
    Durations(Commits),
}

/// Every metric, in the order in which they are written.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "samestream_build_info",
        kind: Kind::Gauge,
        help: "1, with the version of the program",
        labels: &["version"],
        samples: |about, _| vec![Sample(vec![about.version.clone()], Value::Whole(1))],
    },
    Metric {
        name: "samestream_pipeline_info",
        kind: Kind::Gauge,
        help: "1, with the pipeline, the mode and the definition digest of the run",
        labels: &["pipeline", "mode", "definition"],
        samples: |about, _| {
            let labels = [about.pipeline.as_str(), "stream", about.definition.as_str()];
            vec![Sample(labels.map(String::from).to_vec(), Value::Whole(1))]
        },
    },
    Metric {
        name: "samestream_source_records",
        kind: Kind::Counter,
        help: "Records read since the run was started",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| Some(Value::Whole(partition.records))),
    },
    Metric {
        name: "samestream_source_bytes",
        kind: Kind::Counter,
        help: "Bytes of the keys and values of these records",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| Some(Value::Whole(partition.bytes))),
    },
    Metric {
        name: "samestream_source_offset",
        kind: Kind::Gauge,
        help: "Every record below this offset was read",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| whole(partition.next)),
    },
    Metric {
        name: "samestream_source_end_offset",
        kind: Kind::Gauge,
        help: "The offset at which the log ends, or the run; asked for every two seconds",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| whole(partition.end)),
    },
    Metric {
        name: "samestream_source_lag_records",
        kind: Kind::Gauge,
        help: "Offsets between the two: what is there and not read yet",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| whole(partition.end - partition.next)),
    },
    Metric {
        name: "samestream_event_time_max_timestamp_seconds",
        kind: Kind::Gauge,
        help: "The largest event time of the partition's valid records; absent where there is none",
        labels: PARTITION,
        samples: |about, numbers| of_partitions(about, numbers, |partition| partition.maximum.map(seconds)),
    },
    Metric {
        name: "samestream_watermark_timestamp_seconds",
        kind: Kind::Gauge,
        help: "Windows that end at or before this time are final; absent while a partition has no valid record",
        labels: PIPELINE,
        samples: |about, numbers| {
            let marks: Option<Vec<i64>> = numbers.partitions.iter().map(|partition| partition.watermark).collect();
            let least = marks.and_then(|marks| marks.into_iter().min()).map(seconds);
            least.into_iter().map(|value| Sample(vec![about.pipeline.clone()], value)).collect()
        },
    },
    Metric {
        name: "samestream_watermark_held",
        kind: Kind::Gauge,
        help: "1 for the partitions whose watermark is least, so that windows wait for them; the reason is `no_records` or `slowest`",
        labels: &["pipeline", "source", "partition", "reason"],
        samples: |about, numbers| {
            let held = numbers.partitions.iter().filter(|partition| partition.holds);
            held.map(|partition| {
                let reason = if partition.watermark.is_none() { "no_records" } else { "slowest" };
                let mut labels = labels_of(about, partition);
                labels.push(reason.into());
                Sample(labels, Value::Whole(1))
            })
            .collect()
        },
    },
    Metric {
        name: "samestream_late_records",
        kind: Kind::Counter,
        help: "Rows that came too late for every window of theirs at a step, and what became of them: `quarantine` or `drop`",
        labels: &["pipeline", "step", "source", "partition", "action"],
        samples: |about, numbers| {
            let late = numbers.late.iter();
            late.map(|((step, source, partition, action), count)| {
                let labels = [about.pipeline.as_str(), step, source, &partition.to_string(), action];
                Sample(labels.map(String::from).to_vec(), Value::Whole(*count))
            })
            .collect()
        },
    },
    Metric {
        name: "samestream_decode_errors",
        kind: Kind::Counter,
        help: "Records that could not be decoded, or broke the schema or the future guard, by the word of the reason",
        labels: &["pipeline", "source", "error_type"],
        samples: |about, numbers| {
            let bad = numbers.bad.iter();
            bad.map(|((source, word), count)| {
                Sample(vec![about.pipeline.clone(), source.clone(), word.clone()], Value::Whole(*count))
            })
            .collect()
        },
    },
    Metric {
        name: "samestream_failed_rows",
        kind: Kind::Counter,
        help: "Rows of which an expression failed at a step, or which a rule or a lookup kept aside there",
        labels: STEP,
        samples: |about, numbers| {
            let failed = numbers.failed.iter();
            failed
                .map(|(step, count)| Sample(vec![about.pipeline.clone(), step.clone()], Value::Whole(*count)))
                .collect()
        },
    },
    Metric {
        name: "samestream_windows_open",
        kind: Kind::Gauge,
        help: "Windows and sessions that are open",
        labels: PIPELINE,
        samples: |about, numbers| vec![Sample(vec![about.pipeline.clone()], Value::Whole(numbers.windows_open))],
    },
    Metric {
        name: "samestream_windows_final",
        kind: Kind::Counter,
        help: "Windows that became final since the run was started",
        labels: PIPELINE,
        samples: |about, numbers| vec![Sample(vec![about.pipeline.clone()], Value::Whole(numbers.windows_final))],
    },
    Metric {
        name: "samestream_state_keys",
        kind: Kind::Gauge,
        help: "Groups that the open windows of a step have (where `--memory` makes parts of a window wait, those of each part), its open sessions, or the rows that a join keeps",
        labels: STEP,
        samples: |about, numbers| {
            let state = numbers.state.iter();
            state
                .map(|state| Sample(vec![about.pipeline.clone(), state.step.clone()], Value::Whole(state.keys)))
                .collect()
        },
    },
    Metric {
        name: "samestream_state_bytes",
        kind: Kind::Gauge,
        help: "About how many bytes of memory the windows, sessions or rows take that a step keeps",
        labels: STEP,
        samples: |about, numbers| {
            let state = numbers.state.iter();
            state
                .map(|state| Sample(vec![about.pipeline.clone(), state.step.clone()], Value::Whole(state.bytes)))
                .collect()
        },
    },
    Metric {
        name: "samestream_checkpoint_duration_seconds",
        kind: Kind::Histogram,
        help: "How long it took to keep a checkpoint and to let the sinks publish",
        labels: PIPELINE,
        samples: |about, numbers| vec![Sample(vec![about.pipeline.clone()], Value::Durations(numbers.commits.clone()))],
    },
    Metric {
        name: "samestream_checkpoint_last_success_timestamp_seconds",
        kind: Kind::Gauge,
        help: "When the last of these was done; absent before the first. One that fails ends the run",
        labels: PIPELINE,
        samples: |about, numbers| {
            let last = numbers.commits.last.into_iter();
            last.map(|time| Sample(vec![about.pipeline.clone()], Value::Seconds(time))).collect()
        },
    },
    Metric {
        name: "samestream_sink_rows",
        kind: Kind::Counter,
        help: "Rows given to a sink that stay, those of earlier runs of the same job too",
        labels: &["pipeline", "sink"],
        samples: |about, numbers| {
            let sinks = numbers.sinks.iter();
            sinks.map(|sink| Sample(vec![about.pipeline.clone(), sink.sink.clone()], Value::Whole(sink.rows))).collect()
        },
    },
    Metric {
        name: "samestream_sink_epoch",
        kind: Kind::Gauge,
        help: "The number of the last checkpoint in which there was something for the sink. A sink that fails ends the run",
        labels: &["pipeline", "sink"],
        samples: |about, numbers| {
            let sinks = numbers.sinks.iter();
            sinks
                .map(|sink| Sample(vec![about.pipeline.clone(), sink.sink.clone()], Value::Whole(sink.epoch)))
                .collect()
        },
    },
    Metric {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        help: "Seconds of processor time that the process has taken; these six are there on Linux only",
        labels: &[],
        samples: |_, _| of_process(process::cpu_seconds().map(Value::Seconds)),
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        help: "Bytes of memory that the process occupies",
        labels: &[],
        samples: |_, _| of_process(process::resident_bytes().map(Value::Whole)),
    },
    Metric {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        help: "Bytes of address space that the process has",
        labels: &[],
        samples: |_, _| of_process(process::virtual_bytes().map(Value::Whole)),
    },
    Metric {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        help: "The time at which the process was started",
        labels: &[],
        samples: |_, _| of_process(process::start_seconds().map(Value::Seconds)),
    },
    Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        help: "Files and sockets that the process has open",
        labels: &[],
        samples: |_, _| of_process(process::open_files().map(Value::Whole)),
    },
    Metric {
        name: "process_max_fds",
        kind: Kind::Gauge,
        help: "How many it may have open; absent where there is no limit",
        labels: &[],
        samples: |_, _| of_process(process::open_files_limit().map(Value::Whole)),
    },
];

/// Returns the sample of a metric without labels.
fn of_process(value: Option<Value>) -> Vec<Sample> {
    value.into_iter().map(|value| Sample(Vec::new(), value)).collect()
}

const PIPELINE: &[&str] = &["pipeline"];
const STEP: &[&str] = &["pipeline", "step"];
const PARTITION: &[&str] = &["pipeline", "source", "partition"];

fn labels_of(about: &About, partition: &PartitionNumbers) -> Vec<String> {
    vec![about.pipeline.clone(), partition.source.clone(), partition.partition.to_string()]
}

fn of_partitions(about: &About, numbers: &Numbers, value: fn(&PartitionNumbers) -> Option<Value>) -> Vec<Sample> {
    let partitions = numbers.partitions.iter();
    partitions.filter_map(|partition| Some(Sample(labels_of(about, partition), value(partition)?))).collect()
}

fn whole(offset: i64) -> Option<Value> {
    u64::try_from(offset).ok().map(Value::Whole)
}

fn seconds(micros: i64) -> Value {
    Value::Seconds(micros as f64 / 1e6)
}

/// Returns the metrics as OpenMetrics text; those of the program only, while the driver has not begun.
pub(crate) fn text(board: &Arc<Board>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(board.clone())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a text takes whatever is written");
    text
}

#[derive(Debug)]
struct Scrape(Arc<Board>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let numbers = self.0.seen().map(|(numbers, _)| numbers).unwrap_or_default();
        for metric in METRICS {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for Sample(values, value) in (metric.samples)(self.0.about(), &numbers) {
                let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(values).collect();
                match labels.is_empty() {
                    true => write(&mut family, metric.kind, value)?,
                    false => write(&mut family.encode_family(&labels)?, metric.kind, value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(one: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Whole(count)) => one.encode_counter::<NoLabelSet, u64, f64>(&count, None),
        (Kind::Counter, Value::Seconds(sum)) => one.encode_counter::<NoLabelSet, f64, f64>(&sum, None),
        (_, Value::Whole(number)) => one.encode_gauge(&number),
        (_, Value::Seconds(number)) => one.encode_gauge(&number),
        (_, Value::Durations(commits)) => {
            one.encode_histogram::<NoLabelSet>(commits.seconds, commits.count, &buckets(&commits), None)
        }
    }
}

/// Returns how many took longer than the bound before and at most as long as this one; the last bound is none.
fn buckets(commits: &Commits) -> Vec<(f64, u64)> {
    let (mut before, mut buckets) = (0, Vec::new());
    let all = Commits::BOUNDS.into_iter().zip(commits.within).chain([(f64::INFINITY, commits.count)]);
    for (bound, within) in all {
        buckets.push((bound, within - before));
        before = within;
    }
    buckets
}

/// Returns the page of the documents.
pub fn page() -> String {
    let mut page = include_str!("metrics.md").to_string();
    page.push_str("\n| Metric | Kind | Labels | What it tells |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let line =
            [format!("`{}`", metric.full_name()), metric.kind.name().into(), labels.join(", "), metric.help.into()];
        page.push_str(&format!("| {} |\n", line.join(" | ")));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set `BLESS` to write the page.
    #[test]
    fn the_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page(), "set BLESS to write it");
    }

    #[test]
    fn names_follow_prometheus() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        for metric in METRICS {
            let is_of_process = metric.name.starts_with("process_") && metric.labels.is_empty();
            assert!(is_of_process || metric.name.starts_with("samestream_"), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", metric.name);
            let is_time = metric.help.starts_with("When ") || metric.name.contains("timestamp");
            assert_eq!(is_time, metric.name.ends_with("_timestamp_seconds"), "{}", metric.name);
            assert!(
                is_of_process || metric.name == "samestream_build_info" || metric.labels[0] == "pipeline",
                "{}",
                metric.name
            );
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn buckets_add_up_to_all_of_them() {
        let mut within = [0; Commits::BOUNDS.len()];
        within[3..].fill(2);
        let commits = Commits { within, count: 3, ..Commits::default() };
        let buckets = buckets(&commits);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!((buckets[3], buckets[4], buckets[12]), ((0.01, 2), (0.025, 0), (f64::INFINITY, 1)));
    }
}
