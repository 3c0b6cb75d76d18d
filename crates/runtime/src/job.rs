//! A run of a pipeline: from a plan and options to opened sources and sinks, a driver, and a summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use connectors::journal::{Journal, JournalScan};
use connectors::kafka::{KafkaStream, must_keep_all};
use connectors::lake::LakeScan;
use connectors::{disk, sink, store};
use engine::edge::{LogScan, LogStream};
use engine::log::Partition;
use engine::plan::{Input, Layout, Plan, SinkPlan, SourcePlan, ValueFrom};
use engine::{Aside, Code, Emission, Engine, Error, Result};

use crate::bootstrap::{check_source, end_of_lakes};
use crate::checkpoint::saved::{self, Saved};
use crate::checkpoint::{Checkpoint, Line, Place, Resumed};
use crate::cut::Cut;
use crate::driver::{Observer, Outcome, Outlet, Settings, frontiers};
use crate::ledger::{Came, Wrote};
use crate::outlet::SinkOutlet;
use crate::spill::{Budget, ScratchFolder, SpillCounts};
use crate::stream::{Begin, Until};
use crate::summary::{CheckCounts, DedupCounts, Mode, SpilledParts, StepDigests, Summary};
use crate::{batch, identity, stream, time};

/// What a run is asked for, besides its plan.
#[derive(Clone)]
pub struct RunOptions {
    /// Which driver.
    pub mode: Mode,
    /// Where it starts; None: at the log's first offsets.
    pub start: Option<Cut>,
    /// Where it ends; None: at the end of a lake, never for a stream.
    pub end: Option<Cut>,
    /// Ends a stream at the end offsets seen at start.
    pub until_caught_up: bool,
    /// Writes each sink as `DIR/<sink name>` instead.
    pub out: Option<PathBuf>,
    /// Only these sinks.
    pub sinks: Option<Vec<String>>,
    /// Writes rows of the results to standard output too.
    pub print: bool,
    /// Where late and bad rows are kept, and checkpoints unless they have a place of their own.
    pub state_dir: PathBuf,
    /// Where checkpoints are kept, if not in the state folder.
    pub checkpoints: Option<Place>,
    /// Reads the beginning of a stream from the lakes of its sources, at batch speed.
    pub bootstrap: bool,
    /// Forgets the checkpoints of a stream: it starts at the log's first offsets and replaces its results.
    pub fresh: bool,
    /// How the driver works; nothing of it changes a result.
    pub settings: Settings,
    /// Where `stdout` sinks write.
    pub context: sink::Context,
}

impl RunOptions {
    /// Returns the options of a plain run.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            start: None,
            end: None,
            until_caught_up: false,
            out: None,
            sinks: None,
            print: false,
            state_dir: PathBuf::from(".samestream"),
            checkpoints: None,
            bootstrap: false,
            fresh: false,
            settings: Settings::default(),
            context: sink::Context::default(),
        }
    }

    /// Bounds the memory that the run may use, in bytes; None: it uses what there is.
    pub fn set_memory(&mut self, bytes: Option<u64>, pipeline: &str) {
        let scratch = || self.state_dir.join(pipeline).join(self.mode.to_string()).join(SCRATCH);
        self.settings.memory = bytes.map(|bytes| Budget::of(bytes, scratch()));
    }

    /// Returns true for a run that goes on from checkpoints and makes them: a stream over all that its log holds.
    fn has_checkpoints(&self) -> bool {
        self.mode == Mode::Stream && self.start.is_none() && self.settings.range == (None, None)
    }

    fn place(&self) -> Place {
        self.checkpoints.clone().unwrap_or_else(|| Place::Folder(self.state_dir.clone()))
    }

    /// Returns the file that says from which offsets on the results in the sinks were made.
    pub(crate) fn origin(&self, plan: &Plan) -> PathBuf {
        self.state_dir.join(&plan.name).join("start.json")
    }

    /// Returns the folder of the rows that this pipeline and mode keeps aside.
    pub fn aside_dir(&self, plan: &Plan) -> PathBuf {
        self.state_dir.join(&plan.name).join(self.mode.to_string())
    }
}

/// The folder of what left the state for a while, on this machine also when checkpoints are kept elsewhere. The name begins
/// with a dot, so that nobody takes it for rows.
pub(crate) const SCRATCH: &str = ".spill";

/// A finished run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it came to.
    pub summary: Summary,
    /// Each sink's name and where its rows are.
    pub places: Vec<(String, String)>,
    /// Folder of the late and bad rows.
    pub aside: PathBuf,
    /// What its sinks hold now, for the ledger.
    pub wrote: Wrote,
}

/// Runs a pipeline.
pub fn run(plan: &Arc<Plan>, options: &RunOptions, observer: &dyn Observer) -> Result<Report> {
    let began = Instant::now();
    let (plan, options) = &within_budget(plan, options);
    let aside = options.aside_dir(plan);
    let sinks = chosen_sinks(plan, options)?;
    let engine = Engine::new(plan.clone());
    let mut sources = Sources::open(plan, options.mode)?;
    let _lock = lock(&aside)?;
    let budget = options.settings.memory.as_ref();
    // Of a run without a budget too: an earlier one may have had one, and have left something there.
    let scratch = budget.and_then(|budget| budget.scratch.clone());
    let _scratch = ScratchFolder::new(scratch.unwrap_or_else(|| aside.join(SCRATCH)))?;
    let mut line = match options.has_checkpoints() {
        true => Some(Line::open(options.place().store(&plan.name)?, plan, options.fresh)?),
        false => None,
    };
    let mut lake = options.bootstrap.then(|| lakes(plan, line.as_ref())).transpose()?;
    let resumed = line.as_ref().map(|line| line.resume(&engine, budget)).transpose()?.flatten();
    if let Some(line) = &mut line {
        line.reads(sources.ids(plan)?)?;
    }
    if let Some(resumed) = &resumed {
        identity::check_records(plan, &resumed.partitions, open_stream)?;
    }
    let origin = options.origin(plan);
    if options.start.is_none() && resumed.is_none() {
        check_origin(&origin, &lake.as_mut().unwrap_or(&mut sources).first_offsets(plan)?)?;
    }
    // Before a sink is touched.
    let lake = match (lake, &mut sources) {
        (Some(Sources::Batch(scans)), Sources::Stream(streams)) => {
            check_cut(plan, options.end.as_ref())?;
            let end = end_of_lakes(plan, streams, &scans, options.end.as_ref())?;
            let lasts = identity::check_lakes(plan, &scans, &end, open_stream)?;
            Some(Lakes { scans, end, lasts })
        }
        _ => None,
    };
    let mut context = options.context.clone();
    // Both modes write the same sinks, so what a sink remembers is not kept by mode.
    context.state.get_or_insert_with(|| options.state_dir.join(&plan.name));
    context.pipeline = plan.name.clone();
    context.stop = options.settings.stop.clone();
    context.job = line.as_ref().map(|line| line.job().to_string());
    let range = options.settings.range;
    if range != (None, None) {
        check_topics(plan, &sinks, &options.state_dir)?;
    }
    let mut outlet = SinkOutlet::open(plan, &sinks, &context, Some(&aside), (range, options.mode), line)?;
    if !outlet.jobs_beside().is_empty() {
        let starts = match &options.start {
            Some(start) => start.clone(),
            None => sources.first_offsets(plan)?,
        };
        must_be_of_streams(plan, options, &starts, outlet.jobs_beside())?;
    }
    let scans = match &sources {
        Sources::Batch(scans) => scans.clone(),
        Sources::Stream(_) => Vec::new(),
    };
    let goes_on = resumed.is_some();
    let outcome = drive(&engine, sources, options, (resumed, lake), &mut outlet, observer)?;
    let mut summary = summarise(plan, options, &outcome, began);
    let wrote = Wrote::of(&Came {
        plan,
        options,
        sinks: &sinks,
        scans: &scans,
        goes_on,
        ended: outcome.ended,
        complete: &engine.complete(&frontiers(plan, &outcome.partitions)),
        tally: &outcome.tally,
        cuts: (&summary.start, &summary.end),
    });
    summary.rows_written = outlet.rows_written();
    summary.caveats.extend(outlet.left());
    let text = serde_json::to_vec_pretty(&summary.start).expect("a cut is JSON");
    store::write_atomic(&origin, &text)?;
    let wrote = wrote.leaving(outlet.left_from());
    Ok(Report { summary, places: outlet.places(), aside, wrote })
}

/// Returns plan and options of a run that reads no more at once than its budget of memory allows. What the pipeline file says
/// of librdkafka's queue goes before that.
fn within_budget(plan: &Arc<Plan>, options: &RunOptions) -> (Arc<Plan>, RunOptions) {
    let (mut plan, mut options) = (plan.clone(), options.clone());
    if let Some(budget) = &options.settings.memory {
        // A queue and what is fetched for it, for each topic, beside the records that are being folded.
        let share = budget.in_flight() / 4 / plan.sources.len().max(1) as u64;
        let plan = Arc::make_mut(&mut plan);
        for binding in plan.sources.iter_mut().filter_map(|source| source.bindings.kafka.as_mut()) {
            let kbytes = (share >> 10).clamp(64, 16 << 10).to_string();
            let fetch = share.clamp(1 << 20, 16 << 20).to_string();
            binding.options.entry("queued.max.messages.kbytes".into()).or_insert(kbytes);
            binding.options.entry("fetch.max.bytes".into()).or_insert(fetch);
        }
        let records = usize::try_from(budget.in_flight() >> 10).unwrap_or(usize::MAX);
        options.settings.poll_records = options.settings.poll_records.min(records).max(256);
    }
    (plan, options)
}

/// Runs a pipeline without writing anywhere; digests and counts are those of a run that writes all its sinks.
pub(crate) fn run_into(
    plan: &Arc<Plan>,
    options: &RunOptions,
    outlet: &mut dyn Outlet,
    observer: &dyn Observer,
) -> Result<Summary> {
    let began = Instant::now();
    let engine = Engine::new(plan.clone());
    let sources = Sources::open(plan, options.mode)?;
    let outcome = drive(&engine, sources, options, (None, None), outlet, observer)?;
    Ok(summarise(plan, options, &outcome, began))
}

fn drive(
    engine: &Engine,
    sources: Sources,
    options: &RunOptions,
    (resumed, lake): (Option<Resumed>, Option<Lakes>),
    outlet: &mut dyn Outlet,
    observer: &dyn Observer,
) -> Result<Outcome> {
    check_cut(engine.plan(), options.start.as_ref())?;
    check_cut(engine.plan(), options.end.as_ref())?;
    match sources {
        Sources::Batch(scans) => {
            let cuts = (options.start.as_ref(), options.end.as_ref());
            batch::run(engine, &scans, cuts, outlet, &options.settings, observer)
        }
        Sources::Stream(streams) => {
            let until = match &options.end {
                Some(cut) if options.until_caught_up => Until::CaughtUpWith(cut.clone()),
                Some(cut) => Until::Cut(cut.clone()),
                None if options.until_caught_up => Until::CaughtUp,
                None => Until::Stopped,
            };
            let begin = match (resumed, lake, &options.start) {
                (Some(resumed), ..) => Begin::Checkpoint(Box::new(resumed)),
                (None, Some(Lakes { scans, end, lasts }), _) => {
                    let settings = &options.settings;
                    let mut read = batch::bootstrap(engine, &scans, (None, Some(&end)), outlet, settings, observer)?;
                    for (states, lasts) in read.partitions.iter_mut().zip(lasts) {
                        states.iter_mut().for_each(|state| state.last = lasts.get(&state.partition).copied());
                    }
                    Begin::Lake(Box::new(read))
                }
                (None, None, Some(cut)) => Begin::Cut(cut),
                (None, None, None) => Begin::First,
            };
            stream::run(engine, streams, begin, &until, outlet, &options.settings, observer)
        }
    }
}

/// Opens the lakes that a stream's beginning is read from.
fn lakes(plan: &Plan, line: Option<&Line>) -> Result<Sources> {
    let Some(line) = line else {
        return Err(Error::new(Code::Usage, "`--bootstrap` is for a stream over all that its log and its lake hold")
            .help("it goes without `--mode batch`, `--start`, `--from` and `--to`"));
    };
    if let Some(last) = line.last() {
        let message =
            format!("the stream goes on from checkpoint {}: there is nothing to build from the lake", last.number);
        return Err(Error::new(Code::Target, message)
            .help("leave `--bootstrap` out to go on; `--fresh` builds the state anew and replaces the results"));
    }
    let read = |index: &usize| Sources::is_read(plan, *index);
    (0..plan.sources.len()).filter(read).try_for_each(|index| check_source(&plan.sources[index]))?;
    Sources::open(plan, Mode::Batch)
}

/// The lakes that a stream's beginning is read from.
struct Lakes {
    scans: Scans,
    /// Where reading of them ends.
    end: Cut,
    /// What tells their last records from others.
    lasts: identity::Lasts,
}

/// Logs with an end, in plan order; None for one that nothing reads.
pub(crate) type Scans = Vec<Option<Arc<dyn LogScan>>>;

/// Opened sources, in plan order; None for one that nothing reads.
pub(crate) enum Sources {
    Stream(Vec<Option<Box<dyn LogStream>>>),
    Batch(Vec<Option<Arc<dyn LogScan>>>),
}

impl Sources {
    pub(crate) fn open(plan: &Plan, mode: Mode) -> Result<Self> {
        let is_read = |index: usize| Self::is_read(plan, index);
        let sources = plan.sources.iter().enumerate();
        Ok(match mode {
            Mode::Stream => Sources::Stream(
                sources
                    .map(|(index, source)| is_read(index).then(|| open_log(source)).transpose())
                    .collect::<Result<_>>()?,
            ),
            Mode::Batch => Sources::Batch(
                sources
                    .map(|(index, source)| is_read(index).then(|| open_scan(source)).transpose())
                    .collect::<Result<_>>()?,
            ),
        })
    }
}

impl Sources {
    /// Returns by source the id of its log, for those that have one.
    fn ids(&mut self, plan: &Plan) -> Result<BTreeMap<String, String>> {
        let Sources::Stream(streams) = self else { return Ok(BTreeMap::new()) };
        let mut ids = BTreeMap::new();
        for (source, stream) in plan.sources.iter().zip(streams) {
            let id = stream.as_mut().map(|stream| stream.id()).transpose()?.flatten();
            ids.extend(id.map(|id| (source.name.clone(), id)));
        }
        Ok(ids)
    }

    /// Returns true for a source that a step or sink reads.
    fn is_read(plan: &Plan, index: usize) -> bool {
        let is_it = |sink: &SinkPlan| matches!(sink.input, Input::Source(of) | Input::SourceBad(of) if of == index);
        plan.steps.iter().any(|step| step.sources.contains(&index)) || plan.sinks.iter().any(is_it)
    }

    /// Returns the first offset that each log still holds.
    pub(crate) fn first_offsets(&mut self, plan: &Plan) -> Result<Cut> {
        let mut cut = Cut::new();
        for (index, source) in plan.sources.iter().enumerate() {
            let offsets = match self {
                Sources::Stream(streams) => match &mut streams[index] {
                    Some(stream) => {
                        let starts = stream.starts()?;
                        stream.partitions().iter().copied().zip(starts).collect()
                    }
                    None => continue,
                },
                Sources::Batch(scans) => match &scans[index] {
                    Some(scan) => scan.partitions().iter().map(|range| (range.partition, range.start)).collect(),
                    None => continue,
                },
            };
            cut.insert(source.name.clone(), offsets);
        }
        Ok(cut)
    }
}

/// Refuses to replace results by those of a log that begins later than the log they were made of: retention has taken
/// records away, and with them the running maxima and the rows that only they can give.
pub(crate) fn check_origin(file: &Path, first: &Cut) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(file) else { return Ok(()) };
    let Ok(before) = serde_json::from_str::<Cut>(&text) else {
        return Err(Error::new(Code::Corrupt, format!("{} does not hold offsets", file.display()))
            .help("remove it if the sinks may be replaced"));
    };
    for (source, offsets) in first {
        for (partition, now) in offsets {
            let then = before.get(source).and_then(|offsets| offsets.get(partition)).copied().unwrap_or(*now);
            if then < *now {
                let message = format!(
                    "source `{source}` partition {partition} begins at offset {now} now; the results in the sinks were made from offset {then} on, and this run would replace them"
                );
                return Err(Error::new(Code::Origin, message).help(
                    "`--bootstrap lake` begins with a lake that holds these records, and `--mode batch` reads nothing else; `--start` begins here on purpose",
                ));
            }
        }
    }
    Ok(())
}

/// Refuses to replace rows of streams by those of another definition, or of a log that begins elsewhere or has other partitions: the
/// streams would not give again what these lack. What the streams are is in their checkpoints.
pub(crate) fn must_be_of_streams(
    plan: &Plan,
    options: &RunOptions,
    starts: &Cut,
    jobs: &BTreeSet<String>,
) -> Result<()> {
    let entries = Saved::new(options.place().store(&plan.name)?, &plan.name).entries()?;
    for job in jobs {
        let of_job = |entry: &&saved::Entry| entry.pin.is_none() && entry.manifest.job == *job;
        let Some(found) = entries.iter().rfind(of_job).map(|entry| &entry.manifest) else {
            let message = "a stream writes these sinks whose checkpoints are not in the state folder, so nobody knows from where on it has read its log";
            return Err(Error::new(Code::Origin, message)
                .help("run it with the `--state-dir` of the stream, or write the range elsewhere with `--out DIR`"));
        };
        if found.definition != plan.definition {
            let message = "the stream that writes these sinks is of another definition than this run, and its rows would be of both";
            return Err(Error::new(Code::StateForeign, message).help(
                "run the range with the stream's definition, write it elsewhere with `--out DIR`, or give all rows anew by `--mode stream --fresh`",
            ));
        }
        for (source, marks) in &found.sources {
            let now = starts.get(source);
            let read = marks.iter().filter(|mark| mark.next > mark.start);
            let start = |partition: &Partition| now.and_then(|offsets| offsets.get(partition)).copied();
            let other = read.map(|mark| (mark, start(&mark.partition))).find(|(mark, now)| *now != Some(mark.start));
            if let Some((mark, now)) = other {
                let (partition, then) = (mark.partition, mark.start);
                let here = now.map_or("is not there".into(), |now| format!("begins at offset {now}"));
                let message = format!(
                    "source `{source}` partition {partition} {here} in what this run reads; the stream that writes these sinks has read it from offset {then} on, and does not give again what this run would take away"
                );
                return Err(Error::new(Code::Origin, message).help(
                    "archive the log from there on, `--start` at the stream's offsets, or write the range elsewhere with `--out DIR`",
                ));
            }
            let known = |partition: &Partition| marks.iter().any(|mark| mark.partition == *partition);
            if let Some(partition) = now.into_iter().flat_map(|offsets| offsets.keys()).find(|one| !known(one)) {
                let message = format!(
                    "source `{source}` has a partition {partition} that the stream that writes these sinks does not know yet"
                );
                return Err(Error::new(Code::Origin, message).help("start the stream again, which reads it then"));
            }
        }
    }
    Ok(())
}

/// Opens a source as a growing log: its topic, else its journal.
pub fn open_stream(source: &SourcePlan) -> Result<Box<dyn LogStream>> {
    let bindings = &source.bindings;
    match (&bindings.kafka, &bindings.journal) {
        (Some(kafka), _) => {
            let keeps_headers = source.columns.iter().any(|column| matches!(column.from, ValueFrom::Header(_)));
            Ok(Box::new(KafkaStream::open(kafka, source.partitions.as_deref(), keeps_headers)?))
        }
        (None, Some(path)) => Ok(Box::new(Journal::open(path)?.stream(source.partitions.as_deref())?)),
        (None, None) => Err(Error::new(Code::Binding, format!("source `{}` has no log to stream from", source.name))
            .help("give it `kafka: {brokers, topic}` or `journal: {path}`; `--mode batch` reads its lake")),
    }
}

/// Opens a source as a log that gives the same records whenever it is read.
fn open_log(source: &SourcePlan) -> Result<Box<dyn LogStream>> {
    let stream = open_stream(source)?;
    source.bindings.kafka.as_ref().map(must_keep_all).transpose()?;
    Ok(stream)
}

/// Opens a source as a log with an end: its lake, else its journal.
pub fn open_scan(source: &SourcePlan) -> Result<Arc<dyn LogScan>> {
    let bindings = &source.bindings;
    match (&bindings.lake, &bindings.journal) {
        (Some(_), _) => Ok(Arc::new(LakeScan::open(source)?)),
        (None, Some(path)) => Ok(Arc::new(JournalScan::open(path, source)?)),
        (None, None) => Err(Error::new(Code::Binding, format!("source `{}` has no lake to read", source.name))
            .help("give it `lake: {path}` and fill it with `samestream archive`, or `journal: {path}`")),
    }
}

/// Returns true when a source's batch side names records as its stream side does, so that results may be compared.
pub(crate) fn claims_equality(source: &SourcePlan) -> bool {
    !matches!(&source.bindings.lake, Some(lake) if lake.layout == Layout::Files)
}

pub(crate) fn chosen_sinks(plan: &Plan, options: &RunOptions) -> Result<Vec<SinkPlan>> {
    let mut sinks: Vec<SinkPlan> = plan.sinks.clone();
    if let Some(names) = &options.sinks {
        if let Some(unknown) = names.iter().find(|name| !plan.sinks.iter().any(|sink| sink.name == **name)) {
            let known: Vec<&str> = plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
            return Err(Error::new(Code::Empty, format!("the pipeline has no sink `{unknown}`"))
                .help(format!("its sinks are: {}", known.join(", "))));
        }
        sinks.retain(|sink| names.contains(&sink.name));
    }
    if let Some(folder) = &options.out {
        sinks = sinks.iter().map(|sink| sink::redirect(sink, folder)).collect::<Result<_>>()?;
    }
    if options.print {
        let printed = sinks.iter().filter(|sink| sink.target.kind != "stdout").map(|sink| SinkPlan {
            target: engine::plan::SinkTarget {
                kind: "stdout".into(),
                settings: [("open_rows".to_string(), "true".to_string())].into(),
            },
            ..sink.clone()
        });
        let printed: Vec<SinkPlan> = printed.collect();
        sinks.extend(printed);
    }
    Ok(sinks)
}

pub(crate) fn check_cut(plan: &Plan, cut: Option<&Cut>) -> Result<()> {
    for name in cut.into_iter().flat_map(|cut| cut.keys()) {
        if !plan.sources.iter().any(|source| source.name == *name) {
            let known: Vec<&str> = plan.sources.iter().map(|source| source.name.as_str()).collect();
            return Err(Error::new(
                Code::Cut,
                format!("the cut names a source `{name}` that the pipeline does not have"),
            )
            .help(format!("its sources are: {}", known.join(", "))));
        }
    }
    Ok(())
}

pub(crate) fn summarise(plan: &Plan, options: &RunOptions, outcome: &Outcome, began: Instant) -> Summary {
    let tally = &outcome.tally;
    let (finals, all) = tally.total();
    let (start, end) = outcome.cuts(plan);
    let (from, to) = options.settings.range;
    let of_step = |(name, (finals, all)): (&String, &(engine::digest::Digest, engine::digest::Digest))| {
        (name.clone(), StepDigests { r#final: finals.to_string(), all: all.to_string() })
    };
    let counts =
        |(name, rows, broken): &(String, u64, u64)| CheckCounts { name: name.clone(), rows: *rows, broken: *broken };
    Summary {
        pipeline: plan.name.clone(),
        mode: options.mode,
        definition: plan.definition.clone(),
        digest_final: finals.to_string(),
        digest_all: all.to_string(),
        digests: tally.rows.iter().map(of_step).collect(),
        digest_late: tally.digest_late.to_string(),
        digest_bad: tally.digest_bad.to_string(),
        rows_read: tally.read,
        rows_late: tally.late,
        rows_bad: tally.bad,
        rows_failed: tally.failed,
        dedup: tally
            .dedups
            .iter()
            .map(|(step, (before, after))| (step.clone(), DedupCounts { before: *before, after: *after }))
            .collect(),
        checks: tally.checks.iter().map(|(step, rules)| (step.clone(), rules.iter().map(counts).collect())).collect(),
        rows_written: all.rows(),
        windows: tally.windows,
        ended: outcome.ended,
        range: (from, to) != (None, None),
        from: from.map(time::rfc3339),
        to: to.map(time::rfc3339),
        seconds: began.elapsed().as_secs_f64(),
        start,
        end,
        held_by: outcome.held_by(plan),
        caveats: outcome.caveats.clone(),
        spilled: spilled(outcome),
    }
}

fn spilled(outcome: &Outcome) -> Option<SpilledParts> {
    let SpillCounts { pieces, merged, bytes } = outcome.spilled;
    (pieces > 0).then_some(SpilledParts { pieces, merged, bytes })
}

/// Takes the streams of a pipeline for this process, until the returned file is dropped.
pub fn hold(state_dir: &Path, pipeline: &str) -> Result<File> {
    lock(&state_dir.join(pipeline).join(Mode::Stream.to_string()))
}

/// Refuses a range of a topic that a stream is writing: it cannot be replaced there, and would take the topic from the stream.
fn check_topics(plan: &Plan, sinks: &[SinkPlan], state_dir: &Path) -> Result<()> {
    let is_topic = |sink: &&SinkPlan| {
        sink.target.kind == "kafka" && sink.target.settings.get("delivery").is_none_or(|it| it != "at_least_once")
    };
    let Some(sink) = sinks.iter().find(is_topic) else { return Ok(()) };
    let lock = state_dir.join(&plan.name).join(Mode::Stream.to_string()).join("lock");
    if !disk::is_locked(&lock).map_err(|error| Error::io(lock.display(), error))? {
        return Ok(());
    }
    let message =
        format!("sink `{}` is a topic that a running stream writes, and no range of it can be replaced", sink.name);
    Err(Error::new(Code::Unsupported, message)
        .help("leave it out with `--sinks`, or write the range elsewhere with `--out DIR`"))
}

/// Takes the folder for this process, until the returned file is dropped.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let what = |path: &Path| format!("cannot use the state folder {}", path.display());
    store::create_folder(folder)?;
    let path = folder.join("lock");
    disk::lock(&path).map_err(|error| Error::io(what(folder), error))?.ok_or_else(|| {
        Error::new(Code::StateBusy, format!("another run holds the state folder {}", folder.display()))
            .help("wait for it, or give this run a `--state-dir` of its own")
    })
}

/// An outlet that writes nothing.
pub struct Nowhere;

impl Outlet for Nowhere {
    fn rows(&mut self, _: &Emission) -> Result<()> {
        Ok(())
    }

    fn aside(&mut self, _: &Aside) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: Option<Checkpoint>) -> Result<()> {
        Ok(())
    }
}
