//! Trials: a plan over small logs in memory, run in both modes and in every awkward way, all of which must agree.
//!
//! A trial runs the stream and the batch driver with records one by one and all at once, with partitions interleaved by
//! several seeds. Then it stops in the middle and starts again, in the two ways there are without checkpoints: a stream
//! that ends at a cut in the middle must have written only rows that the whole run writes as final, and kept aside only
//! what the whole run keeps aside; and state folded up to the middle, joined with state folded from there on by itself,
//! must give the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{concat, take};
use connectors::format::codec;
use connectors::records::{RawBuilder, clip};
use engine::edge::{LogScan, LogStream};
use engine::group::{KeyCodec, canonical, plain};
use engine::log::{KeyAndValue, Offset, Partition, RawRecords};
use engine::plan::{Input, Plan, SourcePlan};
use engine::watermark::NEVER;
use engine::{Aside, Emission, Engine, Error, Result, Schema, State};

use crate::checkpoint::Checkpoint;
use crate::cut::Cut;
use crate::driver::{Outlet, PartitionState, Settings, frontiers, is_kept};
use crate::memory::{MemoryLog, Pieces};
use crate::outlet::aside_table;
use crate::stream::{Begin, Until};
use crate::{batch, stream};

/// What a trial found.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The rows of each input that has any, in a fixed order; of steps with a last column `final`. None at all where a way
    /// of running failed.
    pub rows: BTreeMap<String, RecordBatch>,
    /// The ways of running that failed, and how. Which record a run fails for first may depend on the way.
    pub failures: Vec<Failure>,
    /// Ways of running whose rows differ from those of the first, each with what differs.
    pub disagreements: Vec<Disagreement>,
    /// How many ways were tried.
    pub ways: usize,
}

/// A way of running that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The way, such as `batch, all records at once`.
    pub way: String,
    /// What the run ended with.
    pub error: Error,
}

/// A way of running that gave other rows.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The first way, such as `batch, all records at once`.
    pub first: String,
    /// The other way.
    pub other: String,
    /// The input, as in [`Trial::rows`].
    pub input: String,
    /// Rows of the first way only.
    pub only_first: Vec<String>,
    /// Rows of the other way only.
    pub only_other: Vec<String>,
}

/// Returns the name by which [`Trial::rows`] knows an input.
pub fn key_of(plan: &Plan, input: Input) -> String {
    let name = plan.name_of(input);
    match input {
        Input::Source(_) | Input::Step(_) => name.to_string(),
        Input::StepLate(_) => format!("{name}.late"),
        Input::StepBad(_) | Input::SourceBad(_) => format!("{name}.bad"),
    }
}

/// A record of a trial's log: key and value as bytes, or a row that is written as the source's format.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: Partition,
    /// Its offset; None: the one after the record before it.
    pub offset: Option<Offset>,
    /// The log's own time in milliseconds; None: its event time, rounded up.
    pub timestamp: Option<i64>,
    /// Key and value as bytes; None: the row of the same number.
    pub raw: Option<KeyAndValue>,
}

/// Makes the log of a source. `columns` holds a row for each record. A source whose partitions are named has them all.
pub fn log_of(source: &SourcePlan, records: &[Record], columns: &RecordBatch) -> Result<MemoryLog> {
    let codec = codec(source)?;
    let mut builders: BTreeMap<Partition, (RawBuilder, Offset)> = BTreeMap::new();
    for partition in source.partitions.iter().flatten().copied().chain(records.iter().map(|record| record.partition)) {
        builders.entry(partition).or_insert_with(|| (RawBuilder::new(partition), 0));
    }
    if builders.is_empty() {
        builders.insert(0, (RawBuilder::new(0), 0));
    }
    for (row, record) in records.iter().enumerate() {
        let mut encoded = connectors::format::Encoded::default();
        codec.encode(columns, row, &mut encoded)?;
        let encoded = match &record.raw {
            // Columns beside the value may be given with it.
            Some((key, value)) => (key.clone().or(encoded.key), value.clone(), encoded.headers),
            None => (encoded.key, encoded.value, encoded.headers),
        };
        let timestamp = record.timestamp.or_else(|| event_millis(source, columns, row)).unwrap_or(0);
        let (builder, next) = builders.get_mut(&record.partition).expect("every partition has a builder");
        let offset = record.offset.unwrap_or(*next);
        *next = offset + 1;
        builder.push(offset, timestamp, encoded.0.as_deref(), encoded.1.as_deref(), encoded.2);
    }
    Ok(MemoryLog::new(builders.into_values().map(|(builder, _)| builder.finish()).collect()))
}

fn event_millis(source: &SourcePlan, columns: &RecordBatch, row: usize) -> Option<i64> {
    use arrow::array::AsArray;
    let times = columns.column_by_name(&source.event_time)?;
    let times = times.as_primitive_opt::<arrow::datatypes::TimestampMicrosecondType>()?;
    times.is_valid(row).then(|| -(-times.value(row)).div_euclid(1000))
}

/// Runs a plan over its sources' logs in every way.
pub fn run(plan: &Arc<Plan>, logs: &[MemoryLog]) -> Trial {
    let engine = Engine::new(plan.clone());
    let trial = Ways { engine: &engine, logs };
    let mut runs: Vec<(String, Result<Found>)> = Vec::new();
    for (size, said) in [(usize::MAX, "all records at once"), (1, "records one by one")] {
        runs.push((format!("batch, {said}"), trial.batch(size)));
        for seed in 0..SEEDS {
            runs.push((format!("stream, {said}, interleaving {seed}"), trial.stream(seed, size, None)));
        }
    }
    runs.push(("folded in two halves that are joined".into(), trial.halves()));
    let ways = runs.len() + SEEDS as usize;
    let (mut done, mut failures): (Vec<(String, Found)>, Vec<Failure>) = (Vec::new(), Vec::new());
    for (way, run) in runs {
        match run {
            Ok(found) => done.push((way, found)),
            Err(error) => failures.push(Failure { way, error }),
        }
    }
    let mut disagreements = Vec::new();
    if failures.is_empty() {
        let (first, whole) = &done[0];
        for (other, found) in &done[1..] {
            disagreements.extend(differences(first, whole, other, found, false));
        }
        for seed in 0..SEEDS {
            let way = format!("stream, stopped in the middle, interleaving {seed}");
            match trial.stream(seed, 1, Some(trial.middle())) {
                Ok(stopped) => disagreements.extend(differences(first, whole, &way, &stopped, true)),
                Err(error) => failures.push(Failure { way, error }),
            }
        }
    }
    let rows = if failures.is_empty() { done.swap_remove(0).1.tables() } else { BTreeMap::new() };
    Trial { rows, failures, disagreements, ways }
}

impl Trial {
    /// Returns how many ways ran the whole log: all but those that were stopped in its middle.
    pub fn whole_ways(&self) -> usize {
        self.ways - SEEDS as usize
    }
}

/// How many interleavings are tried.
const SEEDS: u64 = 3;

struct Ways<'a> {
    engine: &'a Engine,
    logs: &'a [MemoryLog],
}

impl Ways<'_> {
    fn batch(&self, size: usize) -> Result<Found> {
        let plan = self.engine.plan();
        let mut scans: Vec<Option<Arc<dyn LogScan>>> = Vec::new();
        for (source, log) in plan.sources.iter().zip(self.logs) {
            scans.push(Some(Arc::new(log.scan(source, Pieces { seed: 0, size })?)));
        }
        let settings = Settings { allow_empty: true, threads: 2, ..Settings::default() };
        let mut found = Found::new(plan);
        batch::run(self.engine, &scans, (None, None), &mut found, &settings, &())?;
        Ok(found)
    }

    fn stream(&self, seed: u64, size: usize, end: Option<Cut>) -> Result<Found> {
        let streams = self
            .logs
            .iter()
            .map(|log| -> Option<Box<dyn LogStream>> { Some(Box::new(log.stream(Pieces { seed, size }))) });
        let settings = Settings {
            allow_empty: true,
            // One of them closes after every poll and lets no partition run ahead, the others do not.
            close_every: Duration::from_millis(if seed == 0 { 0 } else { 20 }),
            max_drift: if seed == 0 { 0 } else { i64::MAX },
            ..Settings::default()
        };
        let until = end.map_or(Until::CaughtUp, Until::Cut);
        let mut found = Found::new(self.engine.plan());
        stream::run(self.engine, streams.collect(), Begin::First, &until, &mut found, &settings, &())?;
        Ok(found)
    }

    fn middle(&self) -> Cut {
        let sources = self.engine.plan().sources.iter().zip(self.logs);
        sources.map(|(source, log)| (source.name.clone(), log.middle().into_iter().collect())).collect()
    }

    /// Folds the records before the middle and those after it into states of their own, joins them, and closes once.
    fn halves(&self) -> Result<Found> {
        let plan = self.engine.plan();
        let mut found = Found::new(plan);
        let (mut before, mut after) = (self.engine.empty(), self.engine.empty());
        let mut partitions: Vec<Vec<PartitionState>> = Vec::new();
        for (source, log) in self.logs.iter().enumerate() {
            let mut states = Vec::new();
            for ((partition, middle), range) in log.middle().into_iter().zip(log.ranges()) {
                let records = log.records(partition);
                let maximum = self.fold(source, &clip(records, range.start, middle), NEVER, &mut before, &mut found)?;
                // What a partition remembers of its earlier records goes with it.
                after.put_memory(source, partition, before.take_memory(source, partition));
                let maximum = self.fold(source, &clip(records, middle, range.end), maximum, &mut after, &mut found)?;
                let (start, next) = (range.start, range.end);
                states.push(PartitionState { partition, start, end: Some(next), next, maximum, last: None });
            }
            partitions.push(states);
        }
        self.engine.merge(&mut after, before);
        let closed = self.engine.close(&frontiers(plan, &partitions), &mut after)?;
        closed.emissions.iter().for_each(|emission| found.add(emission));
        closed.asides.iter().try_for_each(|aside| found.judge(aside))?;
        let closed = self.engine.finish(after)?;
        closed.emissions.iter().for_each(|emission| found.add(emission));
        Ok(found)
    }

    fn fold(
        &self,
        source: usize,
        records: &RawRecords,
        maximum: i64,
        state: &mut State,
        found: &mut Found,
    ) -> Result<i64> {
        if records.offsets.is_empty() {
            return Ok(maximum);
        }
        let chunk = codec(&self.engine.plan().sources[source])?.decode(records);
        let folded = self.engine.fold(source, &chunk, maximum, state);
        folded.emissions.iter().for_each(|emission| found.add(emission));
        folded.asides.iter().try_for_each(|aside| found.judge(aside))?;
        Ok(folded.maximum)
    }
}

impl MemoryLog {
    fn records(&self, partition: Partition) -> &RawRecords {
        self.partition(partition).expect("a partition of this log")
    }
}

/// The rows of a run, by input.
struct Found {
    plan: Arc<Plan>,
    pieces: BTreeMap<String, Vec<RecordBatch>>,
}

impl Found {
    fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: plan.clone(), pieces: BTreeMap::new() }
    }

    fn add(&mut self, emission: &Emission) {
        let rows = emission.rows.num_rows();
        let finals: ArrayRef = Arc::new(BooleanArray::from(vec![emission.is_final; rows]));
        self.push(emission.input, &emission.rows, Some(("final", finals)));
    }

    /// Takes late or bad rows as a driver does.
    fn judge(&mut self, aside: &Aside) -> Result<()> {
        if is_kept(&self.plan, aside)? {
            self.keep(aside);
        }
        Ok(())
    }

    fn keep(&mut self, aside: &Aside) {
        let mut table = aside_table(aside);
        if let Input::SourceBad(source) = aside.input {
            // What a record that cannot be decoded left in its columns says nothing.
            let names = self.plan.sources[source].bad_schema().fields.into_iter().map(|field| field.name);
            let kept: Vec<usize> = names.filter_map(|name| table.schema().index_of(&name).ok()).collect();
            table = table.project(&kept).expect("the columns are there");
        }
        self.push(aside.input, &table, None);
    }

    fn push(&mut self, input: Input, rows: &RecordBatch, more: Option<(&str, ArrayRef)>) {
        let schema = rows.schema();
        let columns = schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned());
        let columns = columns.chain(more).map(|(name, column)| (name, canonical(&plain(&column)), true));
        let table = RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of one length");
        self.pieces.entry(key_of(&self.plan, input)).or_default().push(table);
    }

    /// Returns the rows of each input in one table, sorted by their values, the columns in order.
    fn tables(self) -> BTreeMap<String, RecordBatch> {
        self.pieces.into_iter().map(|(input, pieces)| (input, sorted(&joined(&pieces)))).collect()
    }

    /// Returns each row as text, by input, with how often it is there. Only final rows and what is kept aside, if asked.
    fn texts(&self, only_final: bool) -> BTreeMap<&str, BTreeMap<Vec<u8>, (usize, String)>> {
        let mut texts = BTreeMap::new();
        for (input, pieces) in &self.pieces {
            let table = joined(pieces);
            let keys = encoded(&table);
            let finals = table.column_by_name("final");
            let counts: &mut BTreeMap<Vec<u8>, (usize, String)> = texts.entry(input.as_str()).or_default();
            for row in 0..table.num_rows() {
                let is_final = finals.is_none_or(|finals| {
                    use arrow::array::AsArray;
                    finals.as_boolean().value(row)
                });
                if is_final || !only_final {
                    let text = || row_text(&table, row);
                    counts.entry(keys.value(row).to_vec()).or_insert_with(|| (0, text())).0 += 1;
                }
            }
        }
        texts
    }
}

impl Outlet for Found {
    fn rows(&mut self, emission: &Emission) -> Result<()> {
        self.add(emission);
        Ok(())
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        self.keep(aside);
        Ok(())
    }

    fn commit(&mut self, _: Option<Checkpoint>) -> Result<()> {
        Ok(())
    }
}

/// Compares two runs; of one that is only a part, what it has must be in the whole.
fn differences(first: &str, whole: &Found, other: &str, found: &Found, is_part: bool) -> Vec<Disagreement> {
    let (left, right) = (whole.texts(false), found.texts(is_part));
    let none = BTreeMap::new();
    let mut inputs: Vec<&str> = left.keys().chain(right.keys()).copied().collect();
    inputs.sort_unstable();
    inputs.dedup();
    let mut different = Vec::new();
    for input in inputs {
        let (mine, theirs) = (left.get(input).unwrap_or(&none), right.get(input).unwrap_or(&none));
        let only = |some: &BTreeMap<Vec<u8>, (usize, String)>, others: &BTreeMap<Vec<u8>, (usize, String)>| {
            let count = |key: &Vec<u8>| others.get(key).map_or(0, |(count, _)| *count);
            let more = some.iter().filter(|(key, (rows, _))| *rows > count(key));
            more.map(|(_, (_, text))| text.clone()).collect::<Vec<String>>()
        };
        let only_first = if is_part { Vec::new() } else { only(mine, theirs) };
        let only_other = only(theirs, mine);
        if !only_first.is_empty() || !only_other.is_empty() {
            let (first, other, input) = (first.to_string(), other.to_string(), input.to_string());
            different.push(Disagreement { first, other, input, only_first, only_other });
        }
    }
    different
}

/// Joins tables of one input; a column that a table lacks is null there.
fn joined(pieces: &[RecordBatch]) -> RecordBatch {
    let mut names: Vec<(String, arrow::datatypes::DataType)> = Vec::new();
    for field in pieces.iter().flat_map(|piece| piece.schema_ref().fields().iter()) {
        if !names.iter().any(|(name, _)| name == field.name()) {
            names.push((field.name().clone(), field.data_type().clone()));
        }
    }
    let columns = names.iter().map(|(name, data_type)| {
        let parts = pieces.iter().map(|piece| {
            piece.column_by_name(name).cloned().unwrap_or_else(|| new_null_array(data_type, piece.num_rows()))
        });
        let parts: Vec<ArrayRef> = parts.collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
        (name, concat(&parts).expect("pieces of a column have one type"), true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of one length")
}

fn encoded(table: &RecordBatch) -> arrow::array::BinaryArray {
    let codec = KeyCodec::of_arrow(table.columns().iter().map(|column| column.data_type().clone()).collect());
    codec.encode(table.columns(), table.num_rows())
}

fn sorted(table: &RecordBatch) -> RecordBatch {
    let keys = encoded(table);
    let mut order: Vec<u32> = (0..table.num_rows() as u32).collect();
    order.sort_by(|a, b| keys.value(*a as usize).cmp(keys.value(*b as usize)));
    let order = arrow::array::UInt32Array::from(order);
    let columns = table.columns().iter().map(|column| take(column, &order, None).expect("rows are in range"));
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    RecordBatch::try_new_with_options(table.schema(), columns.collect(), &options).expect("columns fit their schema")
}

fn row_text(table: &RecordBatch, row: usize) -> String {
    let schema = table.schema();
    let cells = schema.fields().iter().zip(table.columns());
    let cells = cells.map(|(field, column)| format!("{}: {}", field.name(), engine::value::display(column, row)));
    format!("{{{}}}", cells.collect::<Vec<_>>().join(", "))
}

/// Returns a table without rows that has the columns of a schema.
pub fn empty(schema: &Schema) -> RecordBatch {
    RecordBatch::new_empty(schema.arrow())
}
