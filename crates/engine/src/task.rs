//! What single records and rows do at a step: which are valid, which are late, which windows they go to, what is kept
//! aside. The way of a whole chunk through the steps is in [`crate::fold`].

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType as ArrowType, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat};
use hashbrown::DefaultHashBuilder;

use crate::accumulators::Arguments;
use crate::expr::Expr;
use crate::fold::Checked;
use crate::group::{KeyCodec, canonical, intern, plain};
use crate::log::{Chunk, KeyAndValue};
use crate::place::{Placed, slices};
use crate::plan::{AggregateCall, INDEX, Input, Plan, SourcePlan, StepPlan, WindowPlan, Work};
use crate::rows::{
    Batch, Failures, Identity, Origin, evaluate, evaluate_filter, evaluate_plain, named, take_rows, with_column,
};
use crate::snapshot::Grain;
use crate::state::WindowState;
use crate::unique::UniqueCodecs;
use crate::watermark::{NEVER, watermarks};
use crate::window::Finder;

/// A plan made ready to run. Shared by all threads.
pub struct Engine {
    pub(crate) plan: Arc<Plan>,
    pub(crate) hasher: DefaultHashBuilder,
    /// By step, of its keys; None for row steps.
    pub(crate) codecs: Vec<Option<KeyCodec>>,
    /// By step, where ids count once in a window.
    pub(crate) uniques: Vec<Option<UniqueCodecs>>,
    /// Which implied columns the steps of each source may read.
    implied: Vec<[bool; 3]>,
    sunk: Vec<Input>,
    /// The place of each source and step among all names in bytewise order.
    ranks: hashbrown::HashMap<Input, u16>,
    /// By step: in which stage of folding it is done, which is how many `dedup` its rows have passed.
    pub(crate) stages: Vec<usize>,
    pub(crate) grain: Grain,
}

/// Rows that came out of a step or a source, to be written.
#[derive(Clone, Debug)]
pub struct Emission {
    /// Where they came out: `Input::Step`, or `Input::Source` for a sink that reads a source.
    pub input: Input,
    /// The columns of the step's schema; record-level rows have `_partition`, `_offset` first.
    pub rows: RecordBatch,
    /// What `--from`/`--to` judge: each row's window start, or its event time.
    pub times: Vec<i64>,
    /// False for rows of windows that were open at the end of input.
    pub is_final: bool,
}

/// Rows kept aside.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Which set they belong to: `StepLate`, `StepBad` or `SourceBad`.
    pub input: Input,
    /// The source they come from.
    pub source: usize,
    /// What names each row.
    pub identity: Identity,
    /// Event time of each row, where it has one.
    pub event_times: Vec<Option<i64>>,
    /// Why each row is here.
    pub reasons: Vec<String>,
    /// The columns of each row: after row work for late rows, before it for failed ones, as decoded for bad ones.
    pub rows: RecordBatch,
    /// Key and value of each record as bytes, if at hand.
    pub raw: Vec<KeyAndValue>,
    /// True when a rule that they break says that the run ends.
    pub ends_run: bool,
}

/// What folding a chunk brought besides state.
#[derive(Debug, Default)]
pub struct Folded {
    /// The running maximum of event time after the chunk.
    pub maximum: i64,
    /// Rows of record-level steps and sources that a sink reads.
    pub emissions: Vec<Emission>,
    /// Late, failed and bad rows.
    pub asides: Vec<Aside>,
    /// What each `dedup` let through.
    pub dedups: Vec<Deduped>,
    /// How many rows broke each rule.
    pub checked: Vec<Checked>,
    /// What the steps note, if they are asked to.
    pub(crate) trace: Option<crate::trace::Trace>,
}

/// How many rows came to a `dedup` step, and how many of them it let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deduped {
    /// The step.
    pub step: usize,
    /// How many rows came.
    pub before: u64,
    /// How many were let through.
    pub after: u64,
}

impl Engine {
    /// Makes a plan ready.
    pub fn new(plan: Arc<Plan>) -> Self {
        let codecs = plan
            .steps
            .iter()
            .map(|step| match &step.work {
                Work::Rows | Work::Lookup(_) => None,
                Work::Dedup(dedup) => Some(codec_of(&dedup.keys)),
                Work::Window(window) => Some(codec_of(&window.keys)),
                Work::Join(join) => Some(KeyCodec::new(&join.on.iter().map(|key| key.data_type).collect::<Vec<_>>())),
            })
            .collect();
        let implied = (0..plan.sources.len()).map(|source| implied_columns(&plan, source)).collect();
        let sunk = plan.sinks.iter().map(|sink| sink.input).collect();
        let sources = (0..plan.sources.len()).map(Input::Source);
        let mut names: Vec<Input> = sources.chain((0..plan.steps.len()).map(Input::Step)).collect();
        names.sort_by_key(|input| plan.name_of(*input).as_bytes());
        let ranks = names.into_iter().zip(0..).collect();
        let stages = crate::fold::stages(&plan);
        let uniques = plan.steps.iter().map(|step| match &step.work {
            Work::Window(window) => UniqueCodecs::new(window),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => None,
        });
        let uniques = uniques.collect();
        Self {
            plan,
            hasher: DefaultHashBuilder::default(),
            codecs,
            uniques,
            implied,
            sunk,
            ranks,
            stages,
            grain: Grain::default(),
        }
    }

    /// Lets snapshots be cut as finely as that.
    pub fn with_grain(self, grain: Grain) -> Self {
        Self { grain, ..self }
    }

    /// Returns the plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Returns rows of an input as a step sees them before its row work: with the input's name where it is asked for.
    pub(crate) fn read(&self, step: &StepPlan, input: Input, batch: &Batch) -> Batch {
        let mut batch = batch.clone();
        if step.inputs.len() > 1 {
            batch.path.push(self.ranks[&input]);
        }
        if let Some(tag) = &step.tag {
            let rows = batch.len();
            let name: ArrayRef = Arc::new(StringArray::from(vec![self.plan.name_of(input)]));
            let names = DictionaryArray::new(Int32Array::from_value(0, rows), name);
            batch.columns = with_column(&batch.columns, tag, Arc::new(names));
        }
        batch
    }

    /// Returns the largest event time among the valid records of a chunk, [`NEVER`] when there is none.
    pub fn largest_event_time(&self, source: usize, chunk: &Chunk) -> i64 {
        self.event_time_span(source, chunk).map_or(NEVER, |(_, largest)| largest)
    }

    /// Returns the least and the largest event time among the valid records of a chunk; None: there is none.
    pub fn event_time_span(&self, source: usize, chunk: &Chunk) -> Option<(i64, i64)> {
        let plan = &self.plan.sources[source];
        let times = event_times(plan, chunk);
        let bad = bad_rows(plan, chunk, &times);
        let mut bad = bad.iter().map(|(row, ..)| *row as usize).peekable();
        let mut span: Option<(i64, i64)> = None;
        for row in 0..times.len() {
            if bad.next_if_eq(&row).is_none() {
                let time = times.value(row);
                span = Some(span.map_or((time, time), |(least, largest)| (least.min(time), largest.max(time))));
            }
        }
        span
    }

    /// Judges which records are valid, and returns those with what rides along.
    pub(crate) fn records(&self, source: usize, chunk: &Chunk, folded: &mut Folded) -> Option<Batch> {
        let plan = &self.plan.sources[source];
        let times = event_times(plan, chunk);
        let bad = bad_rows(plan, chunk, &times);
        let columns = self.with_implied(source, chunk);
        let offsets = chunk.offsets.values();
        let tombstones = tombstones(plan, chunk);
        if bad.is_empty() {
            let event_times: Vec<i64> = times.values().to_vec();
            let (marks, maximum) = watermarks(&event_times, folded.maximum, plan.out_of_orderness);
            folded.maximum = maximum;
            let identity = Identity::Records { partition: chunk.partition, offsets: offsets.to_vec(), indices: None };
            let origin =
                Origin { event_times, watermarks: marks, source, identity, of_join: false, made_by: None, tombstones };
            let origin = Arc::new(origin);
            return Some(Batch { columns, origin, selection: None, path: Vec::new() });
        }
        self.keep_bad(source, chunk, &columns, &times, &bad, folded);
        let mut next_bad = bad.iter().map(|(row, ..)| *row).peekable();
        let good: Vec<u32> = (0..chunk.len() as u32).filter(|row| next_bad.next_if_eq(row).is_none()).collect();
        if good.is_empty() {
            return None;
        }
        let event_times: Vec<i64> = good.iter().map(|row| times.value(*row as usize)).collect();
        let (marks, maximum) = watermarks(&event_times, folded.maximum, plan.out_of_orderness);
        folded.maximum = maximum;
        let offsets = good.iter().map(|row| offsets[*row as usize]).collect();
        let identity = Identity::Records { partition: chunk.partition, offsets, indices: None };
        let tombstones = tombstones.map(|all| BooleanBuffer::collect_bool(good.len(), |i| all.value(good[i] as usize)));
        let origin =
            Origin { event_times, watermarks: marks, source, identity, of_join: false, made_by: None, tombstones };
        let origin = Arc::new(origin);
        Some(Batch { columns: take_rows(&columns, &good), origin, selection: None, path: Vec::new() })
    }

    /// Adds the implied columns that are read, and makes floats canonical.
    fn with_implied(&self, source: usize, chunk: &Chunk) -> RecordBatch {
        let schema = chunk.columns.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let mut columns: Vec<(String, ArrayRef)> = names.zip(chunk.columns.columns().iter().map(canonical)).collect();
        let [partition, offset, timestamp] = self.implied[source];
        if partition {
            let values = Int32Array::from_value(chunk.partition, chunk.len());
            columns.push(("_partition".into(), Arc::new(values)));
        }
        if offset {
            columns.push(("_offset".into(), Arc::new(chunk.offsets.clone())));
        }
        if timestamp {
            columns.push(("_timestamp".into(), Arc::new(log_times(chunk))));
        }
        named(columns, chunk.len())
    }

    fn keep_bad(
        &self,
        source: usize,
        chunk: &Chunk,
        columns: &RecordBatch,
        times: &Int64Array,
        bad: &[(u32, String, Option<Vec<u8>>)],
        folded: &mut Folded,
    ) {
        let plan = &self.plan.sources[source];
        let rows: Vec<u32> = bad.iter().map(|(row, ..)| *row).collect();
        let offsets = rows.iter().map(|row| chunk.offsets.value(*row as usize)).collect();
        let bytes =
            |array: &BinaryArray, row: u32| array.is_valid(row as usize).then(|| array.value(row as usize).to_vec());
        let raw = bad.iter().map(|(row, _, value)| match &chunk.raw {
            Some((keys, values)) => (bytes(keys, *row), bytes(values, *row)),
            None => (None, value.clone()),
        });
        let undecoded = chunk.bad.iter().filter(|bad| !(plan.tombstones && bad.is_without_value()));
        let undecoded = undecoded.map(|bad| bad.row).collect::<std::collections::BTreeSet<_>>();
        folded.asides.push(Aside {
            input: Input::SourceBad(source),
            source,
            identity: Identity::Records { partition: chunk.partition, offsets, indices: None },
            // Only a record that was decoded and is bad for another reason has an event time.
            event_times: rows
                .iter()
                .map(|row| {
                    (!undecoded.contains(row) && times.is_valid(*row as usize)).then(|| times.value(*row as usize))
                })
                .collect(),
            reasons: bad.iter().map(|(_, reason, _)| reason.clone()).collect(),
            rows: take_rows(columns, &rows),
            raw: raw.collect(),
            ends_run: false,
        });
    }

    pub(crate) fn keep_failed(&self, step: usize, input: &Batch, failed: Vec<(u32, String)>, asides: &mut Vec<Aside>) {
        if failed.is_empty() {
            return;
        }
        let rows: Vec<u32> = failed.iter().map(|(row, _)| *row).collect();
        asides.push(Aside {
            input: Input::StepBad(step),
            source: input.origin.source,
            identity: input.identity(&rows),
            event_times: rows.iter().map(|row| Some(input.event_time(*row))).collect(),
            reasons: failed.into_iter().map(|(_, reason)| reason).collect(),
            raw: vec![(None, None); rows.len()],
            ends_run: false,
            rows: take_rows(&input.columns, &rows),
        });
    }

    /// Gives record-level rows to the sinks that read them there.
    pub(crate) fn emit_rows(&self, input: Input, rows: &Batch, folded: &mut Folded) {
        if rows.len() == 0 || !self.sunk.contains(&input) {
            return;
        }
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        let Identity::Records { partition, offsets, indices } = rows.identity(&all) else {
            unreachable!("rows of a chunk are records")
        };
        let schema = match input {
            Input::Step(step) => &self.plan.steps[step].schema,
            Input::Source(source) => &self.plan.sources[source].row_schema(),
            _ => unreachable!("asides are not emitted"),
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("_partition".into(), Arc::new(Int32Array::from_value(partition, rows.len()))),
            ("_offset".into(), Arc::new(Int64Array::from(offsets))),
        ];
        if matches!(input, Input::Step(step) if self.plan.steps[step].rows.is_indexed) {
            let indices = indices.map_or_else(|| Int64Array::new_null(rows.len()), Int64Array::from);
            columns.push((INDEX.into(), Arc::new(indices)));
        }
        for field in &schema.fields {
            if field.name != "_partition" && field.name != "_offset" {
                let array = rows.columns.column_by_name(&field.name).expect("a sunk step's columns are needed ones");
                columns.push((field.name.clone(), plain(array)));
            }
        }
        folded.emissions.push(Emission {
            input,
            rows: named(columns, rows.len()),
            times: all.iter().map(|row| rows.event_time(*row)).collect(),
            is_final: true,
        });
    }

    /// Folds rows into a window step: late test, grouping, aggregation.
    pub(crate) fn fold_window(
        &self,
        step: usize,
        window: &WindowPlan,
        rows: &Batch,
        state: &mut WindowState,
        asides: &mut Vec<Aside>,
    ) {
        if rows.len() == 0 {
            return;
        }
        let mut failures = Failures::new();
        let keys: Vec<ArrayRef> =
            window.keys.iter().map(|(_, expr)| canonical(&evaluate(expr, &rows.columns, &mut failures))).collect();
        let calls = window
            .calls
            .iter()
            .map(|call| call.arguments.iter().map(|expr| evaluate_plain(expr, &rows.columns, &mut failures)).collect())
            .collect();
        let filters = window.calls.iter().map(|call| {
            let filter = call.filter.as_ref()?;
            let mask = evaluate_filter(filter, &rows.columns, &mut failures);
            Some(mask.nulls().map_or_else(|| mask.values().clone(), |nulls| mask.values() & nulls.inner()))
        });
        let filters = filters.collect();
        let ids: Vec<ArrayRef> =
            window.unique_by.iter().map(|(_, expr)| canonical(&evaluate(expr, &rows.columns, &mut failures))).collect();
        let needs_order = !ids.is_empty() || window.calls.iter().any(|call| call.aggregate.needs_order());
        let order = needs_order.then(|| self.record_order(rows));
        let arguments = Arguments { calls, filters, order };
        let (mut placed, mut finder) = (Placed::default(), Finder::new(window.windowing));
        let codec = self.codecs[step].as_ref().expect("a window step has a key codec");
        match state {
            WindowState::Fixed(state) => {
                let interned = intern(codec, &keys, rows.len(), &self.hasher);
                if state.gathered.gathers() {
                    placed.place(rows, 0..rows.len() as u32, window.allowed_lateness, &mut finder, &failures);
                    state.gathered.take(std::mem::take(&mut placed.panes), interned, arguments);
                } else {
                    for slice in slices(rows, &finder) {
                        placed.place(rows, slice, window.allowed_lateness, &mut finder, &failures);
                        for (at, chosen) in placed.by_window(window.windowing) {
                            state.update(at, &chosen, &interned, &arguments, &window.calls);
                        }
                    }
                }
            }
            WindowState::Unique(state) => {
                let codecs = self.uniques[step].as_ref().expect("a step where ids count once has codecs for them");
                let ids = intern(&codecs.ids, &ids, rows.len(), &self.hasher);
                let bytes = codecs.encode(&keys, &arguments, rows.len());
                let order = arguments.order.as_ref().expect("it was asked for");
                for slice in slices(rows, &finder) {
                    placed.place(rows, slice, window.allowed_lateness, &mut finder, &failures);
                    for (at, chosen) in placed.by_window(window.windowing) {
                        state.update(at, &chosen, &ids, order, &bytes);
                    }
                }
            }
            WindowState::Session(state) => {
                let interned = intern(codec, &keys, rows.len(), &self.hasher);
                placed.points(rows, window.allowed_lateness, &failures);
                let time = |row| rows.event_time(row);
                state.fold(&placed.accepted, time, interned, arguments, &window.calls, &self.hasher);
            }
        }
        if !failures.is_empty() {
            self.keep_failed(step, rows, failures.into_iter().collect(), asides);
        }
        self.keep_late(step, rows, &placed, asides);
    }

    /// Returns each row's place in the record order as bytes: event time, source by name, partition, offset, path; over
    /// window rows: window end, window start, path, key; over pairs: event time, path, pair. Of two such places of one
    /// step's input none begins with the other.
    pub(crate) fn record_order(&self, rows: &Batch) -> BinaryArray {
        let mut builder = BinaryBuilder::with_capacity(rows.len(), rows.len() * 24);
        let ordered = |value: i64| ((value as u64) ^ (1 << 63)).to_be_bytes();
        // Of two paths the one that ends first is less, so it ends in what is less than any place.
        let path: Vec<u8> = rows.path.iter().map(|rank| rank + 1).chain([0]).flat_map(u16::to_be_bytes).collect();
        let source = self.ranks[&Input::Source(rows.origin.source)].to_be_bytes();
        let mut bytes = Vec::with_capacity(32);
        for row in 0..rows.len() as u32 {
            bytes.clear();
            let origin = rows.origin_of(row) as usize;
            match &rows.origin.identity {
                Identity::Records { partition, offsets, indices } => {
                    bytes.extend_from_slice(&ordered(rows.origin.event_times[origin]));
                    bytes.extend_from_slice(&source);
                    bytes.extend_from_slice(&((*partition as u32) ^ (1 << 31)).to_be_bytes());
                    bytes.extend_from_slice(&ordered(offsets[origin]));
                    if let Some(indices) = indices {
                        bytes.extend_from_slice(&ordered(indices[origin]));
                    }
                    bytes.extend_from_slice(&path);
                }
                Identity::Windows { starts, ends, keys } => {
                    bytes.extend_from_slice(&ordered(ends[origin]));
                    bytes.extend_from_slice(&ordered(starts[origin]));
                    bytes.extend_from_slice(&path);
                    bytes.extend_from_slice(keys.value(origin));
                }
                Identity::Pairs { orders } => {
                    bytes.extend_from_slice(&ordered(rows.origin.event_times[origin]));
                    bytes.extend_from_slice(&path);
                    bytes.extend_from_slice(orders.value(origin));
                }
            }
            builder.append_value(&bytes);
        }
        builder.finish()
    }

    fn keep_late(&self, step: usize, rows: &Batch, placed: &Placed, asides: &mut Vec<Aside>) {
        if placed.late.is_empty() {
            return;
        }
        let chosen: Vec<u32> = placed.late.iter().map(|(row, _)| *row).collect();
        asides.push(Aside {
            input: Input::StepLate(step),
            source: rows.origin.source,
            identity: rows.identity(&chosen),
            event_times: chosen.iter().map(|row| Some(rows.event_time(*row))).collect(),
            reasons: placed.late.iter().map(|(row, by)| late_reason(*by, rows, *row)).collect(),
            raw: vec![(None, None); chosen.len()],
            ends_run: false,
            rows: take_rows(&rows.columns, &chosen),
        });
    }
}

pub(crate) fn late_reason(by: i64, rows: &Batch, row: u32) -> String {
    let (time, mark) = (rows.event_time(row), rows.watermark(row));
    format!("late by {}: event time {}, watermark {}", duration(by), rfc3339(time), rfc3339(mark))
}

/// Returns the event time of each row of a chunk in microseconds; null where a bad row has none.
fn event_times(plan: &SourcePlan, chunk: &Chunk) -> Int64Array {
    if plan.event_time == "_timestamp" {
        return log_times(chunk).reinterpret_cast::<Int64Type>();
    }
    let column = chunk.columns.column_by_name(&plan.event_time).expect("the event-time column is a needed one");
    match column.data_type() {
        ArrowType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>(),
        other => unreachable!("event time is a timestamp, not {other}"),
    }
}

/// Event times that leave room for the arithmetic of windows.
const EVENT_TIMES: std::ops::Range<i64> = -(1 << 62)..1 << 62;

fn log_times(chunk: &Chunk) -> TimestampMicrosecondArray {
    let millis = chunk.timestamps.as_ref().expect("a plan that needs `_timestamp` gets it");
    millis.unary::<_, TimestampMicrosecondType>(|millis| millis.saturating_mul(1000)).with_timezone("UTC")
}

/// Returns which rows of a chunk are records without a value that the source keeps; None when there are none.
fn tombstones(plan: &SourcePlan, chunk: &Chunk) -> Option<BooleanBuffer> {
    if !plan.tombstones || chunk.bad.is_empty() {
        return None;
    }
    let mut marks = vec![false; chunk.len()];
    chunk.bad.iter().filter(|bad| bad.is_without_value()).for_each(|bad| marks[bad.row as usize] = true);
    marks.contains(&true).then(|| BooleanBuffer::from(marks))
}

/// Returns the rows that are not valid records, with reason and bytes: undecodable ones, and those past the future guard.
fn bad_rows(plan: &SourcePlan, chunk: &Chunk, times: &Int64Array) -> Vec<(u32, String, Option<Vec<u8>>)> {
    let bad = chunk.bad.iter().filter(|bad| !(plan.tombstones && bad.is_without_value()));
    let mut bad: Vec<_> = bad.map(|bad| (bad.row, bad.reason.clone(), bad.raw.clone())).collect();
    if times.values().iter().any(|time| !EVENT_TIMES.contains(time)) {
        for row in (0..chunk.len()).filter(|row| times.is_valid(*row) && !EVENT_TIMES.contains(&times.value(*row))) {
            bad.push((row as u32, "event_time_range: more than 146,000 years from 1970".into(), None));
        }
    }
    if let Some(max_future) = plan.max_future {
        let millis = chunk.timestamps.as_ref().expect("a plan with a future guard gets `_timestamp`");
        for row in 0..chunk.len() {
            let limit = millis.value(row).saturating_mul(1000).saturating_add(max_future);
            if times.is_valid(row) && times.value(row) > limit {
                let by = duration(times.value(row).saturating_sub(limit));
                bad.push((row as u32, format!("future: event time is {by} past the future guard"), None));
            }
        }
    }
    // A row may be bad for two reasons; the decoder's comes first and stays.
    bad.sort_by_key(|(row, ..)| *row);
    bad.dedup_by_key(|(row, ..)| *row);
    bad
}

fn codec_of(keys: &[(String, Expr)]) -> KeyCodec {
    KeyCodec::new(&keys.iter().map(|(_, expr)| expr.data_type()).collect::<Vec<_>>())
}

fn implied_columns(plan: &Plan, source: usize) -> [bool; 3] {
    let mut used = [false; 3];
    let mut see = |name: &str| match name {
        "_partition" => used[0] = true,
        "_offset" => used[1] = true,
        "_timestamp" => used[2] = true,
        _ => {}
    };
    for join in plan.steps.iter().filter_map(|step| match &step.work {
        Work::Join(join) => Some(join),
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => None,
    }) {
        let sides = join.sides.iter().filter(|side| side.are_records && side.sources.contains(&source));
        sides.flat_map(|side| &side.read).for_each(|name| see(name));
    }
    for step in plan.steps.iter().filter(|step| step.sources.contains(&source) && !step.over_windows) {
        let rows = &step.rows;
        rows.filter.iter().for_each(|expr| expr.visit_columns(&mut see));
        rows.derive.iter().for_each(|(_, expr)| expr.visit_columns(&mut see));
        rows.select.iter().flatten().for_each(|(_, expr)| expr.visit_columns(&mut see));
        step.rules.iter().for_each(|rule| rule.expr.visit_columns(&mut see));
        if let Work::Lookup(lookup) = &step.work {
            lookup.keys.iter().for_each(|(_, expr)| expr.visit_columns(&mut see));
        }
        if let Work::Dedup(dedup) = &step.work {
            dedup.keys.iter().for_each(|(_, expr)| expr.visit_columns(&mut see));
        }
        if let Work::Window(window) = &step.work {
            window.keys.iter().chain(&window.unique_by).for_each(|(_, expr)| expr.visit_columns(&mut see));
            window.calls.iter().flat_map(AggregateCall::expressions).for_each(|expr| expr.visit_columns(&mut see));
        }
    }
    // A sink writes every column of what it reads.
    used[2] |= plan.sources[source].needed.iter().any(|name| name == "_timestamp");
    used
}

/// Returns microseconds since 1970 as RFC 3339 in UTC, with as many digits as needed.
pub fn rfc3339(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{micros} µs"),
    }
}

/// Returns a time span for people, such as `1h 2m 3.5s`.
pub fn duration(micros: i64) -> String {
    let (sign, micros) = if micros < 0 { ("-", micros.unsigned_abs()) } else { ("", micros as u64) };
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let mut text = String::from(sign);
    for (value, unit) in [(days, "d "), (hours, "h "), (minutes, "m ")] {
        if value > 0 {
            _ = write!(text, "{value}{unit}");
        }
    }
    _ = write!(text, "{}", seconds % 60);
    if rest > 0 {
        _ = write!(text, ".{rest:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_and_states_may_be_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Engine>();
        shared::<crate::State>();
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(90_000_000), "1m 30s");
        assert_eq!(duration(-1_500_000), "-1.5s");
        assert_eq!(duration(90_061_000_001), "1d 1h 1m 1.000001s");
    }
}
