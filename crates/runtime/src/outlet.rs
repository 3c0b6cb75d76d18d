//! The outlet of a real run: the pipeline's sinks, and the sets of late, failed and bad rows kept with the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use connectors::{point, sink};
use engine::edge::{Beside, Published, Replace, Sink};
use engine::expr::Expr;
use engine::group::plain;
use engine::log::KeyAndValue;
use engine::plan::{INDEX, Input, JoinPlan, Plan, SinkPlan, SinkTarget, Work};
use engine::watermark::NEVER;
use engine::{Aside, Code, DataType, Emission, Error, Field, Identity, Result, Schema};

use crate::checkpoint::{Checkpoint, Line, Manifest, RowsKind, SinkMark};
use crate::driver::Outlet;
use crate::numbers::SinkNumbers;
use crate::summary::Mode;

/// Sinks and kept-aside sets of a run.
pub struct SinkOutlet {
    targets: Vec<Target>,
    /// Where a stream's checkpoints go; None: the run has none.
    line: Option<Line>,
    plan: Arc<Plan>,
    epoch: u64,
    range: (Option<i64>, Option<i64>),
    /// By step, before which window starts all rows were taken.
    settled: Vec<i64>,
    /// What a run over a range leaves to the streams that write its sinks.
    left: Vec<String>,
    /// The jobs of those streams.
    jobs: BTreeSet<String>,
    /// Whether it may leave them all of its range.
    may_idle: bool,
    /// How long the sinks took in the last commit.
    published_in: Duration,
    /// When it was last looked whether another run has taken over.
    looked: Option<Instant>,
}

/// The column that says which window a row is of.
const WINDOW_START: &str = "window_start";

/// How often a run that publishes between its checkpoints looks whether another one has taken over. In a bucket that is a request.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Target {
    plan: SinkPlan,
    sink: Box<dyn Sink>,
    takes_open: bool,
    /// True for the pipeline's own sinks, false for the sets kept with the run.
    is_own: bool,
    /// What tells it from the others.
    key: String,
    /// Rows that stay, with those of checkpoints before.
    rows: u64,
    /// Rows of the end of input.
    open_rows: u64,
    /// The last epoch in which there was something for it, and the one before.
    epoch: u64,
    before: Option<u64>,
    /// Whether there is something for it since.
    is_due: bool,
    /// Whether what it has published must be kept for it.
    is_told: bool,
    /// Whether its windows settle one after the other, and its rows say which they are of.
    settles: bool,
    /// Of a sink that a stream writes: where the range ends that this run replaces in it.
    beside: Option<i64>,
}

impl Target {
    /// Takes rows of its input.
    fn take(&mut self, kind: RowsKind, input: Input, rows: &RecordBatch) -> Result<()> {
        let is_wanted = match kind {
            RowsKind::Final => true,
            RowsKind::Open => self.takes_open,
            RowsKind::Early => self.takes_open && self.plan.early,
        };
        if self.plan.input != input || !is_wanted {
            return Ok(());
        }
        let mut rows = shaped(&self.plan, rows, kind == RowsKind::Final)?;
        if let Some(end) = self.beside {
            if kind != RowsKind::Final {
                return Ok(());
            }
            rows = begun_before(&rows, end);
        }
        let count = rows.num_rows() as u64;
        let staged = match kind {
            RowsKind::Final => self.sink.stage(&rows),
            RowsKind::Open | RowsKind::Early => self.sink.stage_open(&rows),
        };
        match kind {
            RowsKind::Final => self.rows += count,
            RowsKind::Open => self.open_rows += count,
            RowsKind::Early => {}
        }
        self.is_due |= count > 0;
        staged.map_err(|error| self.named(error))
    }

    fn commit(&mut self, epoch: u64, settled: &[i64]) -> Result<()> {
        if let Some(settled) = self.settled(settled) {
            self.sink.settle(settled);
        }
        self.sink.commit(epoch).map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        error.context(format!("sink `{}`", self.plan.name))
    }

    /// Returns before which window starts its rows are all there, of what is said of the steps.
    fn settled(&self, by_step: &[i64]) -> Option<i64> {
        let settled = by_step.get(self.plan.input.step().filter(|_| self.settles)?).copied();
        settled.filter(|settled| *settled != NEVER).map(|settled| self.beside.map_or(settled, |end| end.min(settled)))
    }
}

/// What a run over a range replaces.
type Range = (Option<i64>, Option<i64>);

/// Returns the job of the stream that writes a sink, if one does, and where the range ends that a run may replace there.
fn beside(
    plan: &Plan,
    sink: &SinkPlan,
    opened: &mut dyn Sink,
    (range, mode): (Range, Mode),
) -> Result<Option<(String, i64)>> {
    let Beside::Stream { job, settled } = opened.beside()? else { return Ok(None) };
    let refused = |why: &str, help: &str| {
        let message = format!("{} holds rows of a stream, and {why}", opened.describe());
        Err(Error::new(Code::Unsupported, message).help(help))
    };
    let is_result = matches!(sink.input, Input::Step(_) | Input::Source(_));
    if is_result && mode == Mode::Stream {
        return refused("a range of them is replaced at once", "run the range with `--mode batch`");
    }
    if is_result && !settles(plan, sink) {
        return refused(
            "a range of them cannot be told while it goes on: they are no rows of windows that end in the order in which they begin, with their `window_start`",
            "leave this sink out with `--sinks`, write the range elsewhere with `--out DIR`, or replace all rows by a run without `--from` and `--to`",
        );
    }
    // What a stream has written that says nothing of windows, such as that of an older version, is not touched.
    let settled = match settled {
        Some(settled) => settled,
        None if is_result => {
            let message =
                format!("the stream that writes {} has not said yet which windows are final", opened.describe());
            return Err(Error::new(Code::Empty, message).help(HELP_SETTLED));
        }
        None => NEVER,
    };
    Ok(Some((job, range.1.map_or(settled, |to| to.min(settled)))))
}

const HELP_SETTLED: &str = "the stream writes them by itself when they are: let it go on; a run without `--from` and `--to` replaces all rows, if no stream runs";

/// Returns whether the windows of a sink's rows settle one after the other, and the rows say which they are of.
fn settles(plan: &Plan, sink: &SinkPlan) -> bool {
    let has_start = |field: &Field| field.name == WINDOW_START && field.data_type == DataType::Timestamp;
    plan.settles(sink.input) && sink.schema.fields.iter().any(has_start)
}

/// Returns the rows of windows that begin before a time.
fn begun_before(rows: &RecordBatch, end: i64) -> RecordBatch {
    let starts = rows.column_by_name(WINDOW_START).expect("rows beside a stream's say in which window they are");
    let starts = starts.as_primitive::<TimestampMicrosecondType>();
    let keep: BooleanArray = starts.iter().map(|start| Some(start.is_some_and(|start| start < end))).collect();
    filter_record_batch(rows, &keep).expect("the mask is as long as the batch")
}

impl SinkOutlet {
    /// Opens and begins all sinks. `aside` is the folder of the kept-aside sets; None: they are not kept. Where `line` has
    /// checkpoints, the sinks go on after the newest, and get first what they lack of it.
    pub fn open(
        whole: &Arc<Plan>,
        sinks: &[SinkPlan],
        context: &sink::Context,
        aside: Option<&Path>,
        (range, mode): (Range, Mode),
        mut line: Option<Line>,
    ) -> Result<Self> {
        let kept: Vec<SinkPlan> = aside.map(|folder| kept_aside(whole, folder)).unwrap_or_default();
        let all: Vec<SinkPlan> = sinks.iter().chain(&kept).cloned().collect();
        let mut opened = sink::open_all(&all, context)?;
        if let Some(line) = &mut line {
            // A copy on standard output comes after the sink that it has its name from.
            let own = sinks.iter().zip(&opened).rev();
            line.goes_to(own.map(|(plan, sink)| (plan.name.clone(), sink.describe())).collect())?;
        }
        // Before a sink is taken.
        let besides = match (range, mode) {
            ((None, None), _) => Vec::new(),
            (range, mode) => sinks
                .iter()
                .zip(&mut opened)
                .map(|(plan, sink)| {
                    let found = beside(whole, plan, sink.as_mut(), (range, mode));
                    found.map_err(|error| error.context(format!("sink `{}`", plan.name)))
                })
                .collect::<Result<Vec<_>>>()?,
        };
        let (mut left, mut jobs) = (Vec::new(), BTreeSet::new());
        let replace = if range == (None, None) { Replace::All } else { Replace::Range(range.0, range.1) };
        let mut targets = Vec::new();
        let told = line.as_ref().map(Line::told).transpose()?.unwrap_or_default();
        let mut lacking = Vec::new();
        for (number, (plan, mut sink)) in all.into_iter().zip(opened).enumerate() {
            // A copy on standard output (`--print`) is not a sink of the pipeline's own.
            let is_copy = sinks[..number.min(sinks.len())].iter().any(|before| before.name == plan.name);
            let is_own = number < sinks.len() && !is_copy;
            // Late and bad rows cover what was read, whatever the range.
            let is_result = matches!(plan.input, Input::Step(_) | Input::Source(_));
            let settles = settles(whole, &plan);
            let key = if is_copy { format!("{} (printed)", plan.name) } else { plan.name.clone() };
            let named = |error: Error| error.context(format!("sink `{}`", plan.name));
            let beside = besides.get(number).cloned().flatten().map(|(job, end)| {
                jobs.insert(job);
                end
            });
            if beside.is_some() && !is_result {
                left.push(format!(
                    "sink `{}` is left to the stream that writes it: its rows are of no range",
                    plan.name
                ));
                continue;
            }
            let published = match beside {
                Some(_) => Published::Nothing,
                None => {
                    // From here on a run that goes on would be fenced by this one, which has not what that one has done since.
                    line.as_ref().map_or(Ok(()), Line::must_be_newest)?;
                    sink.published().map_err(named)?
                }
            };
            let mut mark = SinkMark::default();
            let replace = match line.as_ref().and_then(|line| Some((line, line.last()?))) {
                None => {
                    if is_result {
                        replace
                    } else {
                        Replace::All
                    }
                }
                Some((line, last)) => {
                    mark = last.sinks.get(&key).copied().unwrap_or_default();
                    let (replace, since) =
                        going_on(published, told.get(&key), mark, &key, line, last).map_err(named)?;
                    lacking.extend(since.map(|since| (number, since)));
                    replace
                }
            };
            sink.begin(replace).map_err(named)?;
            let takes_open = takes_open(&plan);
            targets.push(Target {
                plan,
                sink,
                takes_open,
                is_own,
                key,
                rows: mark.rows,
                open_rows: 0,
                epoch: mark.epoch,
                before: mark.before,
                is_due: false,
                is_told: published == Published::Unknown,
                settles,
                beside,
            });
        }
        let epoch = line.as_ref().and_then(Line::last).map_or(0, |last| last.number);
        let published_in = Duration::ZERO;
        let (plan, settled) = (whole.clone(), Vec::new());
        let mut outlet = Self {
            targets,
            line,
            plan,
            epoch,
            range,
            settled,
            left,
            jobs,
            may_idle: false,
            published_in,
            looked: None,
        };
        for (target, since) in lacking {
            outlet.publish_again(target, since)?;
        }
        outlet.tell()?;
        Ok(outlet)
    }

    /// Gives a sink the outboxes of the epochs after `since`.
    fn publish_again(&mut self, target: usize, since: u64) -> Result<()> {
        let (line, target) = (self.line.as_ref().expect("checkpoints have a line"), &mut self.targets[target]);
        let (rows, open_rows) = (target.rows, target.open_rows);
        let input = target.plan.input;
        let name = input_name(&self.plan, input);
        for (epoch, outbox) in line.outboxes_after(&target.key, since).expect("it was asked whether they are kept") {
            for entry in outbox.iter().filter(|entry| entry.input == name) {
                target.take(entry.kind, input, &line.rows(entry)?)?;
            }
            target.commit(epoch, &[])?;
        }
        // They were counted when they were put into the outbox.
        (target.rows, target.open_rows, target.is_due) = (rows, open_rows, false);
        Ok(())
    }

    /// Keeps what those sinks have published that do not.
    fn tell(&self) -> Result<()> {
        let Some(line) = &self.line else { return Ok(()) };
        let told: BTreeMap<String, u64> = self
            .targets
            .iter()
            .filter(|target| target.is_told)
            .map(|target| (target.key.clone(), self.epoch))
            .collect();
        if told.is_empty() || self.epoch == 0 { Ok(()) } else { line.tell(told) }
    }

    /// Takes rows of an input into the outbox and to the sinks.
    fn take(&mut self, kind: RowsKind, input: Input, rows: &RecordBatch) -> Result<()> {
        if let Some(line) = &mut self.line
            && self.targets.iter().any(|target| target.plan.input == input)
        {
            line.put(kind, &input_name(&self.plan, input), rows)?;
        }
        self.targets.iter_mut().try_for_each(|target| target.take(kind, input, rows))
    }

    /// Refuses a run of which every sink would stay as it is, because streams write them all that have not come so far.
    fn must_replace_some(&self) -> Result<()> {
        let own = || self.targets.iter().filter(|target| target.is_own && target.plan.input.step().is_some());
        let end = |target: &Target| target.beside.map(|_| target.settled(&self.settled).unwrap_or(NEVER));
        let is_idle =
            |target: &Target| end(target).is_some_and(|end| self.range.0.map_or(end == NEVER, |from| end <= from));
        let Some(first) = own().next().filter(|_| !self.may_idle && own().all(is_idle)) else { return Ok(()) };
        let since = match end(first) {
            Some(end) if end != NEVER => format!("only windows that begin before {} are", crate::time::rfc3339(end)),
            _ => "no window is".to_string(),
        };
        let message = format!(
            "nothing of the range can be replaced beside the stream that writes sink `{}`: {since} final in both",
            first.plan.name
        );
        Err(Error::new(Code::Empty, message).help(HELP_SETTLED))
    }

    /// Lets a run go well that leaves all of its range to streams, because it is a part of a larger one.
    pub fn may_idle(self) -> Self {
        Self { may_idle: true, ..self }
    }

    /// Returns the jobs of the streams that write its sinks.
    pub fn jobs_beside(&self) -> &BTreeSet<String> {
        &self.jobs
    }

    /// Returns, of each sink that a stream writes, from which window start on its rows were left to that one.
    pub fn left_from(&self) -> BTreeMap<String, i64> {
        let beside = self.targets.iter().filter(|target| target.is_own && target.beside.is_some());
        beside.map(|target| (target.plan.name.clone(), target.settled(&self.settled).unwrap_or(NEVER))).collect()
    }

    /// Returns what this run has left to the streams that write its sinks, in sentences.
    pub fn left(&self) -> Vec<String> {
        let later = self.targets.iter().filter(|target| target.beside.is_some()).filter_map(|target| {
            let end = target.settled(&self.settled).unwrap_or(NEVER);
            (self.range.1.is_none_or(|to| end < to)).then(|| match end {
                NEVER => format!("sink `{}` is left to the stream that writes it", target.plan.name),
                end => format!(
                    "sink `{}`: rows of windows from {} on are left to the stream that writes it",
                    target.plan.name,
                    crate::time::rfc3339(end)
                ),
            })
        });
        self.left.iter().cloned().chain(later).collect()
    }

    /// Returns how many rows were given to the pipeline's sinks.
    pub fn rows_written(&self) -> u64 {
        self.targets.iter().filter(|target| target.is_own).map(|target| target.rows + target.open_rows).sum()
    }

    /// Returns where the rows of each of the pipeline's sinks are.
    pub fn places(&self) -> Vec<(String, String)> {
        let own = self.targets.iter().filter(|target| target.is_own);
        own.map(|target| (target.plan.name.clone(), target.sink.describe())).collect()
    }
}

/// Says how a sink goes on from a checkpoint: what it replaces, and after which epoch it lacks rows, if it does.
fn going_on(
    published: Published,
    told: Option<&u64>,
    mark: SinkMark,
    sink: &str,
    line: &Line,
    last: &Manifest,
) -> Result<(Replace, Option<u64>)> {
    let diverged = |what: String| {
        Error::new(Code::SinkDiverged, what).help("`--fresh` starts the log again and replaces what the sink holds")
    };
    let (replace, has) = match published {
        Published::Epoch(epoch) if epoch > last.number => {
            line.must_be_newest()?;
            let what = format!("it holds epoch {epoch}, and the newest checkpoint is {}", last.number);
            return Err(diverged(what));
        }
        Published::Epoch(epoch) => (Replace::Nothing, epoch),
        // It was to be replaced by the first epoch, which may not have come so far.
        Published::Nothing => (Replace::All, 0),
        Published::Taken => {
            return Err(diverged(
                "another run has written it since; what this job has published is among its rows".into(),
            ));
        }
        Published::Unknown => (Replace::Nothing, told.copied().unwrap_or(0)),
    };
    if replace == Replace::Nothing && mark.epoch <= has {
        return Ok((replace, None));
    }
    match line.outboxes_after(sink, has) {
        Some(_) => Ok((replace, Some(has))),
        None => Err(diverged(match has {
            0 => "it holds nothing of what this job has published: it was removed, or another run has written it since"
                .into(),
            epoch => format!("it holds epochs up to {epoch} only, and the rows after that are kept no longer"),
        })),
    }
}

/// Returns whether a sink gets the rows of windows that are open at the end of input.
pub(crate) fn takes_open(plan: &SinkPlan) -> bool {
    !matches!(plan.target.kind.as_str(), "kafka" | "stdout")
        || plan.target.settings.get("open_rows").is_some_and(|value| value == "true")
}

/// Returns what a pipeline file calls an input: `per_page`, `per_page.late`, `clicks.bad`.
fn input_name(plan: &Plan, input: Input) -> String {
    match input {
        Input::Source(_) | Input::Step(_) => plan.name_of(input).to_string(),
        Input::SourceBad(_) | Input::StepBad(_) | Input::StepLate(_) => aside_name(plan, input),
    }
}

impl Outlet for SinkOutlet {
    fn rows(&mut self, emission: &Emission) -> Result<()> {
        let kind = if emission.is_final { RowsKind::Final } else { RowsKind::Open };
        self.take(kind, emission.input, &emission.rows)
    }

    fn early(&mut self, emission: &Emission) -> Result<()> {
        self.take(RowsKind::Early, emission.input, &emission.rows)
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        if !self.targets.iter().any(|target| target.plan.input == aside.input) {
            return Ok(());
        }
        self.take(RowsKind::Final, aside.input, &aside_table(aside))
    }

    fn releases(&self) -> bool {
        self.targets.iter().any(|target| target.sink.releases())
    }

    fn release(&mut self) -> Result<()> {
        // A run that slept may have been overtaken meanwhile, which its next checkpoint would tell too late.
        if let Some(line) = self.line.as_ref().filter(|_| self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)) {
            line.must_be_newest()?;
            self.looked = Some(Instant::now());
        }
        let mut releasing = self.targets.iter_mut().filter(|target| target.sink.releases());
        releasing.try_for_each(|target| target.sink.release().map_err(|error| target.named(error)))
    }

    fn keeps_checkpoints(&self) -> bool {
        self.line.is_some()
    }

    fn sinks(&self) -> Vec<SinkNumbers> {
        let own = self.targets.iter().filter(|target| target.is_own);
        let numbers = |target: &Target| SinkNumbers {
            sink: target.plan.name.clone(),
            rows: target.rows + target.open_rows,
            epoch: target.epoch,
        };
        own.map(numbers).collect()
    }

    fn published_in(&self) -> Duration {
        self.published_in
    }

    fn settle(&mut self, settled: &[i64]) {
        self.settled = settled.to_vec();
    }

    fn commit(&mut self, checkpoint: Option<Checkpoint>) -> Result<()> {
        self.must_replace_some()?;
        self.epoch += 1;
        if let (Some(line), Some(checkpoint)) = (&mut self.line, checkpoint) {
            self.epoch = line.number();
            for target in self.targets.iter_mut().filter(|target| target.is_due) {
                target.before = Some(target.epoch);
                target.epoch = self.epoch;
            }
            let mark = |target: &Target| {
                let (epoch, before, rows) = (target.epoch, target.before, target.rows);
                (target.key.clone(), SinkMark { epoch, before, rows })
            };
            line.keep(&self.plan, checkpoint, self.targets.iter().map(mark).collect())?;
            point!("checkpoint.made");
        }
        let begun = Instant::now();
        for target in &mut self.targets {
            target.commit(self.epoch, &self.settled)?;
            target.is_due = false;
            point!("sink.published");
        }
        self.published_in = begun.elapsed();
        self.tell()
    }
}

impl std::fmt::Debug for SinkOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkOutlet").field("epoch", &self.epoch).field("range", &self.range).finish_non_exhaustive()
    }
}

/// Gives rows the shape of a sink: its `where`, its `select`, its columns in order, and `final`.
pub fn shaped(plan: &SinkPlan, rows: &RecordBatch, is_final: bool) -> Result<RecordBatch> {
    let evaluate = |expr: &Expr, rows: &RecordBatch| -> Result<ArrayRef> {
        let evaluated = expr.evaluate(rows);
        match evaluated.failures.first() {
            None => Ok(evaluated.values),
            Some((row, reason)) => {
                let row: Vec<String> = rows
                    .schema()
                    .fields()
                    .iter()
                    .zip(rows.columns())
                    .take(4)
                    .map(|(field, column)| {
                        format!("{} = {}", field.name(), engine::value::display(column, *row as usize))
                    })
                    .collect();
                Err(Error::new(Code::Overflow, format!("sink `{}`, row {}: {reason}", plan.name, row.join(", "))))
            }
        }
    };
    let mut rows = rows.clone();
    if let Some(filter) = &plan.filter {
        let keep = evaluate(filter, &rows)?;
        let keep = keep.as_any().downcast_ref::<BooleanArray>().expect("a filter is boolean");
        rows = filter_record_batch(&rows, keep).expect("the mask is as long as the batch");
    }
    let is_aside = !matches!(plan.input, Input::Source(_) | Input::Step(_));
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut fields = plan.schema.clone();
    for field in &plan.schema.fields {
        let selected = plan.select.iter().flatten().find(|(name, _)| *name == field.name);
        arrays.push(match (selected, rows.column_by_name(&field.name)) {
            (Some((_, expr)), _) => evaluate(expr, &rows)?,
            // A row that failed after `derive` or `select` had put another type in a column's place no longer has that column.
            (None, Some(array)) if is_aside && *array.data_type() != field.data_type.arrow() => {
                new_null_array(&field.data_type.arrow(), rows.num_rows())
            }
            (None, Some(array)) => array.clone(),
            (None, None) => new_null_array(&field.data_type.arrow(), rows.num_rows()),
        });
    }
    fields.fields.push(Field::new("final", DataType::Bool));
    arrays.push(Arc::new(BooleanArray::from(vec![is_final; rows.num_rows()])));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(fields.arrow(), arrays, &options).expect("rows have the sink's schema"))
}

/// Returns the implied sinks of a run: one Parquet folder for each set of late, failed or bad rows.
fn kept_aside(plan: &Plan, folder: &Path) -> Vec<SinkPlan> {
    let mut inputs = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        if step.keeps_late(&plan.sources) {
            inputs.push(Input::StepLate(index));
        }
        inputs.push(Input::StepBad(index));
    }
    inputs.extend((0..plan.sources.len()).map(Input::SourceBad));
    inputs
        .into_iter()
        .map(|input| (input, aside_name(plan, input)))
        .map(|(input, name)| SinkPlan {
            input,
            filter: None,
            select: None,
            schema: aside_schema(plan, input),
            identity: Vec::new(),
            early: false,
            target: SinkTarget {
                kind: "parquet".into(),
                settings: [("path".to_string(), aside_folder(plan, input, folder).display().to_string())].into(),
            },
            name,
        })
        .collect()
}

/// Returns the columns of a kept-aside set: what a sink that reads it sees, less the columns that nothing reads.
pub fn aside_schema(plan: &Plan, input: Input) -> Schema {
    match input {
        Input::SourceBad(source) => plan.sources[source].bad_schema(),
        Input::StepBad(step) => plan.steps[step].bad_schema(&before_row_work(plan, step)),
        Input::StepLate(step) => match &plan.steps[step].work {
            Work::Join(join) => plan.steps[step].late_schema(&carried_late(join)),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => {
                plan.steps[step].late_schema(&after_row_work(plan, step))
            }
        },
        Input::Source(_) | Input::Step(_) => unreachable!("results are not kept aside"),
    }
}

/// Returns the columns that rows of a source or step really carry: those that something needs.
fn available(plan: &Plan, input: Input) -> Schema {
    match input {
        Input::Source(source) => {
            let source = &plan.sources[source];
            let mut fields: Vec<Field> = source.needed_columns().map(|column| column.field.clone()).collect();
            if source.needed.iter().any(|name| name == "_timestamp") {
                fields.push(Field::new("_timestamp", DataType::Timestamp));
            }
            Schema::new(fields)
        }
        Input::Step(step) => match &plan.steps[step].work {
            Work::Rows | Work::Dedup(_) => after_row_work(plan, step),
            Work::Lookup(lookup) => {
                let mut schema = after_row_work(plan, step);
                schema.fields.extend(lookup.take.iter().cloned());
                schema
            }
            Work::Window(_) | Work::Join(_) => plan.steps[step].schema.clone(),
        },
        _ => Schema::default(),
    }
}

/// Returns the columns that rows of a step's inputs really carry, and the tag.
fn before_row_work(plan: &Plan, step: usize) -> Schema {
    let step = &plan.steps[step];
    if let Work::Join(join) = &step.work {
        return Schema::new(join.columns.iter().map(|column| column.field.clone()).collect());
    }
    let mut before = Schema::default();
    for field in step.inputs.iter().flat_map(|input| available(plan, *input).fields) {
        if before.field(&field.name).is_none() {
            before.fields.push(field);
        }
    }
    let explode = step.rows.explode.as_ref();
    before.fields.extend(step.tag.iter().map(|tag| Field::new(tag, DataType::String)));
    explode.map_or(before.clone(), |explode| explode.schema(&before))
}

/// Returns the columns that late rows of a join really carry.
fn carried_late(join: &JoinPlan) -> Schema {
    let mut columns = join.late_columns();
    let is_read = |name: &str| {
        name == "_side"
            || join.sides.iter().enumerate().any(|(number, side)| {
                side.are_records && side.read.iter().any(|read| join.late_name(number, read) == name)
            })
    };
    columns.fields.retain(|field| is_read(&field.name));
    columns
}

fn after_row_work(plan: &Plan, step: usize) -> Schema {
    let before = before_row_work(plan, step);
    let step = &plan.steps[step];
    let kept = |field: &&Field| {
        let rows = &step.rows;
        rows.select.is_some()
            || before.field(&field.name).is_some()
            || rows.derive.iter().any(|(name, _)| *name == field.name)
    };
    Schema::new(step.row_schema.fields.iter().filter(kept).cloned().collect())
}

/// Makes the table of a kept-aside set: where each record is, what it held, why it is here, and of bad records the bytes.
pub(crate) fn aside_table(aside: &Aside) -> RecordBatch {
    let rows = aside.identity.len();
    let mut arrays: Vec<(String, ArrayRef)> = Vec::new();
    if let Identity::Records { partition, offsets, indices } = &aside.identity {
        arrays.push(("_partition".into(), Arc::new(Int32Array::from_value(*partition, rows))));
        arrays.push(("_offset".into(), Arc::new(Int64Array::from(offsets.clone()))));
        arrays.extend(
            indices.clone().map(|indices| (INDEX.to_string(), Arc::new(Int64Array::from(indices)) as ArrayRef)),
        );
    }
    for (field, column) in aside.rows.schema().fields().iter().zip(aside.rows.columns()) {
        if !arrays.iter().any(|(name, _)| name == field.name()) {
            arrays.push((field.name().clone(), plain(column)));
        }
    }
    let reason = if matches!(aside.input, Input::StepLate(_)) { "_late" } else { "_bad" };
    arrays.retain(|(name, _)| name != reason);
    arrays.push((reason.into(), Arc::new(StringArray::from(aside.reasons.clone()))));
    if let Input::SourceBad(_) = aside.input {
        let bytes = |pick: fn(&KeyAndValue) -> Option<&[u8]>| -> ArrayRef {
            Arc::new(aside.raw.iter().map(pick).collect::<BinaryArray>())
        };
        arrays.push(("_key".into(), bytes(|(key, _)| key.as_deref())));
        arrays.push(("_raw".into(), bytes(|(_, value)| value.as_deref())));
    }
    RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(name, array)| (name, array, true)))
        .expect("columns are of one length")
}

/// Returns the name a run gives to a kept-aside set, such as `clicks.bad`.
pub fn aside_name(plan: &Plan, input: Input) -> String {
    let suffix = if matches!(input, Input::StepLate(_)) { "late" } else { "bad" };
    format!("{}.{suffix}", plan.name_of(input))
}

/// Returns where a run keeps a set aside, below its folder: `late/per_page`, `bad/clicks`.
pub fn aside_folder(plan: &Plan, input: Input, folder: &Path) -> PathBuf {
    let kind = if matches!(input, Input::StepLate(_)) { "late" } else { "bad" };
    folder.join(kind).join(plan.name_of(input))
}
