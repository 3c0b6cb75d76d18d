//! Verify: is the stream's result the batch's result? Both sides run to the same cut, and their digests are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::sink;
use engine::log::{Offset, Partition};
use engine::plan::{Input, Plan, SinkPlan, SinkTarget};
use engine::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cut::Cut;
use crate::driver::{Observer, Outlet};
use crate::job::{Nowhere, RunOptions, Sources, claims_equality, run_into};
use crate::outlet::SinkOutlet;
use crate::summary::{Mode, Summary};

/// What a comparison found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether everything is equal: final rows, all rows, late and bad records.
    pub equal: bool,
    /// What differs: of `digest_final`, `digest_all`, `digest_late`, `digest_bad`, `rows_read` those that do.
    pub different: Vec<String>,
    /// True when a side was stopped before an end, so that only its final rows, late and bad records were compared.
    pub only_final: bool,
    /// The stream's side.
    pub stream: Summary,
    /// The batch's side.
    pub batch: Summary,
    /// How far the stream's log goes beyond the common end, per source and partition.
    pub stream_beyond: Cut,
    /// How far the batch's log goes beyond the common end.
    pub batch_beyond: Cut,
}

/// Where the rows of a step were written by [`write_sides`].
#[derive(Clone, Debug)]
pub struct Sides {
    /// The step (or source).
    pub step: String,
    /// The columns that name a row.
    pub keys: Vec<String>,
    /// Its rows from the stream.
    pub stream: PathBuf,
    /// Its rows from the batch.
    pub batch: PathBuf,
}

/// Runs both sides over one cut and compares them. Writes to no sink.
pub fn verify(plan: &Arc<Plan>, options: &RunOptions, observer: &dyn Observer) -> Result<Verdict> {
    let common = Common::of(plan, options)?;
    let stream = run_into(plan, &common.options(options, Mode::Stream), &mut Nowhere, observer)?;
    if !stream.ended {
        return Err(Error::new(Code::Stopped, "verify was stopped before it had an answer"));
    }
    let batch = run_into(plan, &common.options(options, Mode::Batch), &mut Nowhere, observer)?;
    Ok(compare(stream, batch, common))
}

/// Runs both sides again and writes the rows of every sinked step to a folder, so that they can be compared row by row.
pub fn write_sides(
    plan: &Arc<Plan>,
    options: &RunOptions,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Vec<Sides>> {
    let common = Common::of(plan, options)?;
    let mut inputs: Vec<Input> = Vec::new();
    for sink in &plan.sinks {
        if matches!(sink.input, Input::Step(_) | Input::Source(_)) && !inputs.contains(&sink.input) {
            inputs.push(sink.input);
        }
    }
    let path = |mode: Mode, input: Input| folder.join(mode.to_string()).join(plan.name_of(input));
    for mode in [Mode::Stream, Mode::Batch] {
        let sinks: Vec<SinkPlan> = inputs.iter().map(|input| plain_sink(plan, *input, &path(mode, *input))).collect();
        let options = common.options(options, mode);
        let mut outlet =
            SinkOutlet::open(plan, &sinks, &sink::Context::default(), None, ((None, None), Mode::Batch), None)?;
        run_into(plan, &options, &mut outlet as &mut dyn Outlet, observer)?;
    }
    Ok(inputs
        .into_iter()
        .map(|input| Sides {
            step: plan.name_of(input).to_string(),
            keys: plain_sink(plan, input, folder).identity,
            stream: path(Mode::Stream, input),
            batch: path(Mode::Batch, input),
        })
        .collect())
}

/// Runs one side over the cut in the options. Writes to no sink.
pub fn run_side(plan: &Arc<Plan>, options: &RunOptions, observer: &dyn Observer) -> Result<Summary> {
    run_into(plan, options, &mut Nowhere, observer)
}

/// Compares what two runs said of themselves, if they may be compared.
pub fn compare_summaries(stream: Summary, batch: Summary) -> Result<Verdict> {
    let different = [
        ("definitions", stream.definition != batch.definition),
        ("start offsets", stream.start != batch.start),
        ("end offsets", stream.end != batch.end),
        ("ranges", (&stream.from, &stream.to) != (&batch.from, &batch.to)),
    ];
    if let Some((what, _)) = different.iter().find(|(_, is_different)| *is_different) {
        return Err(Error::new(Code::NotComparable, format!("the two runs have different {what}"))
            .help("give one run the other's summary as `--end` (and `--start`), or let `verify` run both"));
    }
    let common = Common { start: Cut::new(), end: Cut::new(), stream_beyond: Cut::new(), batch_beyond: Cut::new() };
    Ok(compare(stream, batch, common))
}

/// Compares what two runs came to.
fn compare(stream: Summary, batch: Summary, common: Common) -> Verdict {
    let mut different = Vec::new();
    let mut check = |name: &str, equal: bool| {
        if !equal {
            different.push(name.to_string());
        }
    };
    check("digest_final", stream.digest_final == batch.digest_final);
    // A run that was stopped wrote no open rows, so there are none to compare.
    let only_final = !(stream.ended && batch.ended);
    check("digest_all", only_final || stream.digest_all == batch.digest_all);
    // Over a range these cover what a side read, and batch reads what the rows of the range are made of.
    let has_read_all = !(stream.range || batch.range);
    check("digest_late", !has_read_all || stream.digest_late == batch.digest_late);
    check("digest_bad", !has_read_all || stream.digest_bad == batch.digest_bad);
    check("rows_read", !has_read_all || stream.rows_read == batch.rows_read);
    Verdict {
        equal: different.is_empty(),
        different,
        only_final,
        stream,
        batch,
        stream_beyond: common.stream_beyond,
        batch_beyond: common.batch_beyond,
    }
}

/// A sink with all columns of a step as Parquet.
pub(crate) fn plain_sink(plan: &Plan, input: Input, path: &Path) -> SinkPlan {
    let (schema, identity) = match input {
        Input::Step(step) if crate::tally::is_windowed(plan, step) => {
            let step = &plan.steps[step];
            let mut identity = vec!["window_start".to_string(), "window_end".to_string()];
            if let engine::plan::Work::Window(window) = &step.work {
                identity.extend(window.keys.iter().map(|(name, _)| name.clone()));
            }
            identity.retain(|name| step.schema.field(name).is_some());
            (step.schema.clone(), identity)
        }
        Input::Step(step) => {
            let is_indexed = plan.steps[step].rows.is_indexed;
            let schema = crate::tally::record_schema(&plan.steps[step].schema, is_indexed);
            let index = is_indexed.then(|| engine::plan::INDEX.to_string());
            (schema, ["_partition".into(), "_offset".into()].into_iter().chain(index).collect())
        }
        Input::Source(source) => {
            let schema = crate::tally::record_schema(&plan.sources[source].row_schema(), false);
            (schema, vec!["_partition".into(), "_offset".into()])
        }
        _ => unreachable!("late and bad rows are compared by their digests"),
    };
    SinkPlan {
        name: plan.name_of(input).to_string(),
        input,
        filter: None,
        select: None,
        schema,
        identity,
        early: false,
        target: SinkTarget {
            kind: "parquet".into(),
            settings: BTreeMap::from([("path".to_string(), path.display().to_string())]),
        },
    }
}

/// What both sides can read: from the greater of both starts to the lesser of both ends.
struct Common {
    start: Cut,
    end: Cut,
    stream_beyond: Cut,
    batch_beyond: Cut,
}

impl Common {
    fn of(plan: &Plan, options: &RunOptions) -> Result<Self> {
        let (Sources::Stream(streams), Sources::Batch(scans)) =
            (Sources::open(plan, Mode::Stream)?, Sources::open(plan, Mode::Batch)?)
        else {
            unreachable!("each mode opens its own kind of source")
        };
        let mut common =
            Self { start: Cut::new(), end: Cut::new(), stream_beyond: Cut::new(), batch_beyond: Cut::new() };
        for ((source, stream), scan) in plan.sources.iter().zip(streams).zip(scans) {
            let (Some(mut stream), Some(scan)) = (stream, scan) else { continue };
            if !claims_equality(source) {
                return Err(Error::new(Code::NotComparable, format!("source `{}` reads a lake of layout `files`", source.name))
                    .help("such a lake has no offsets of its own, so equality with a topic or journal is not claimed; `archive` writes layout `log`"));
            }
            let partitions = stream.partitions().to_vec();
            let (starts, ends) = (stream.starts()?, stream.ends()?);
            let of_stream: BTreeMap<Partition, (Offset, Offset)> =
                partitions.iter().copied().zip(starts.into_iter().zip(ends)).collect();
            let of_batch: BTreeMap<Partition, (Offset, Offset)> =
                scan.partitions().iter().map(|range| (range.partition, (range.start, range.end))).collect();
            common.add(&source.name, &of_stream, &of_batch, options)?;
        }
        Ok(common)
    }

    fn add(
        &mut self,
        source: &str,
        stream: &BTreeMap<Partition, (Offset, Offset)>,
        batch: &BTreeMap<Partition, (Offset, Offset)>,
        options: &RunOptions,
    ) -> Result<()> {
        if !stream.keys().eq(batch.keys()) {
            let list = |side: &BTreeMap<Partition, (Offset, Offset)>| {
                side.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            let message =
                format!("source `{source}`: the stream has partitions {}, the batch {}", list(stream), list(batch));
            return Err(Error::new(Code::NotComparable, message)
                .help("archive the missing partitions, or name the ones to read: `partitions: [0, 1]`"));
        }
        let named = |cut: &Option<Cut>, partition| {
            cut.as_ref().and_then(|cut| cut.get(source)).and_then(|cut| cut.get(partition)).copied()
        };
        for (partition, (stream_start, stream_end)) in stream {
            let (batch_start, batch_end) = batch[partition];
            let start = named(&options.start, partition).unwrap_or(0).max(*stream_start).max(batch_start);
            let end = named(&options.end, partition).unwrap_or(Offset::MAX).min(*stream_end).min(batch_end);
            if end < start {
                let message = format!(
                    "source `{source}` partition {partition}: the stream holds offsets {stream_start} .. {stream_end}, the batch {batch_start} .. {batch_end}; they do not meet"
                );
                return Err(Error::new(Code::NotComparable, message).help("archive further, or choose other offsets"));
            }
            let put = |cut: &mut Cut, offset| cut.entry(source.to_string()).or_default().insert(*partition, offset);
            put(&mut self.start, start);
            put(&mut self.end, end);
            put(&mut self.stream_beyond, stream_end - end);
            put(&mut self.batch_beyond, batch_end - end);
        }
        Ok(())
    }

    fn options(&self, options: &RunOptions, mode: Mode) -> RunOptions {
        RunOptions { mode, start: Some(self.start.clone()), end: Some(self.end.clone()), ..options.clone() }
    }
}
