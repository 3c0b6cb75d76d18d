//! Folding: records of one partition, in offset order, into the state of the steps that read them.
//!
//! What a record does depends on the plan, the record, the largest event time before it in its partition and, where a
//! step takes repetitions away, the earlier records of its partition. So a partition may be cut into chunks anywhere and
//! the chunks folded anywhere, as long as each is told the running maximum at its start. A plan with `dedup` is folded in
//! stages: between two of them the chunks of a partition meet its [`Memory`] one after the other, in offset order; within
//! a stage each chunk is on its own again.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BinaryArray};

use crate::bucket::Bucket;
use crate::dedup::Seen;
use crate::group::canonical;
use crate::join::JoinState;
use crate::log::{Chunk, Partition};
use crate::plan::{DedupPlan, Input, Plan, StepPlan, Work};
use crate::rows::{Batch, Failures, evaluate_plain, exploded, row_work};
use crate::state::WindowState;
use crate::task::{Deduped, Engine, Folded};
use crate::trace::Trace;

/// State of all steps.
pub struct State {
    /// Of window steps, by step.
    pub(crate) windows: Vec<Option<WindowState>>,
    /// Of joins, by step.
    pub(crate) joins: Vec<Option<JoinState>>,
    /// What partitions remember, by source and partition.
    pub(crate) memories: BTreeMap<(usize, Partition), Memory>,
}

/// What a step keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    /// The step.
    pub step: usize,
    /// How many groups its open windows have, how many sessions are open, or, of a join, how many rows wait for others.
    pub keys: usize,
    /// About how many bytes it occupies.
    pub bytes: usize,
}

impl State {
    /// Returns how many windows and sessions are open.
    pub fn open_windows(&self) -> usize {
        let joins: usize = self.joins.iter().flatten().map(JoinState::open).sum();
        joins + self.windows.iter().flatten().map(WindowState::open).sum::<usize>()
    }

    /// Returns about how many bytes it occupies.
    pub fn size_bytes(&self) -> usize {
        let windows: usize = self.windows.iter().flatten().map(WindowState::size_bytes).sum();
        let joins: usize = self.joins.iter().flatten().map(JoinState::size_bytes).sum();
        windows
            + joins
            + self.memories.values().flat_map(|memory| memory.0.values()).map(Seen::size_bytes).sum::<usize>()
    }

    /// Returns what each step keeps, of those that keep anything.
    pub fn sizes(&self) -> Vec<StepSize> {
        let windows = self.windows.iter().enumerate().filter_map(|(step, state)| {
            let state = state.as_ref()?;
            Some(StepSize { step, keys: state.keys(), bytes: state.size_bytes() })
        });
        let joins = self
            .joins
            .iter()
            .enumerate()
            .filter_map(|(step, state)| state.as_ref().map(|state| (step, state)))
            .map(|(step, state)| StepSize { step, keys: state.row_count(), bytes: state.size_bytes() });
        let mut sizes: Vec<StepSize> = windows.chain(joins).collect();
        sizes.sort_unstable_by_key(|size| size.step);
        sizes
    }

    /// Returns by step how long the longest session that is open lasts so far, from its first moment to its end.
    pub fn longest_sessions(&self) -> BTreeMap<usize, i64> {
        let longest = self.windows.iter().enumerate().map(|(step, state)| match state {
            Some(WindowState::Session(state)) => (step, state.longest()),
            Some(WindowState::Fixed(_) | WindowState::Unique(_)) | None => (step, None),
        });
        longest.filter_map(|(step, longest)| Some((step, longest?))).collect()
    }

    /// Takes out what a partition remembers, to be given back by [`State::put_memory`].
    pub fn take_memory(&mut self, source: usize, partition: Partition) -> Memory {
        self.memories.remove(&(source, partition)).unwrap_or_default()
    }

    /// Takes in what a partition remembers.
    pub fn put_memory(&mut self, source: usize, partition: Partition, memory: Memory) {
        if !memory.0.is_empty() {
            self.memories.insert((source, partition), memory);
        }
    }
}

/// What a partition remembers of its earlier records, by step.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<usize, Seen>);

impl Memory {
    /// Returns what each `dedup` step has seen.
    pub(crate) fn steps(&mut self) -> impl Iterator<Item = (usize, &mut Seen)> {
        self.0.iter_mut().map(|(step, seen)| (*step, seen))
    }

    /// Returns what a `dedup` step has seen.
    pub(crate) fn seen(&self, step: usize) -> Option<&Seen> {
        self.0.get(&step)
    }

    /// Takes in ids of a step that are not there yet.
    pub(crate) fn restore(&mut self, step: usize, bucket: Option<Bucket>, ids: &BinaryArray, lasts: &[i64]) {
        self.0.entry(step).or_default().restore(bucket, ids, lasts);
    }
}

/// A chunk on its way through the steps.
pub struct Folding {
    source: usize,
    /// The records, until the first stage is done.
    records: Option<Batch>,
    stage: usize,
    /// By step, what it made of the chunk: a union makes one batch of each input's.
    batches: Vec<Vec<Batch>>,
    waiting: Vec<Waiting>,
    folded: Folded,
}

impl Folding {
    /// Returns what folding brought.
    pub fn done(self) -> Folded {
        self.folded
    }

    /// Returns the running maximum of event time after the chunk.
    pub fn maximum(&self) -> i64 {
        self.folded.maximum
    }

    /// Makes the steps note what they do from now on.
    pub(crate) fn trace(&mut self, trace: Trace) {
        self.folded.trace = Some(trace);
    }

    /// Returns the valid records, before the first stage is done.
    pub(crate) fn records(&self) -> Option<&Batch> {
        self.records.as_ref()
    }
}

/// Rows that wait at a `dedup` step for their partition's memory.
struct Waiting {
    step: usize,
    /// Rows and their ids, by input.
    inputs: Vec<(Batch, BinaryArray)>,
    /// By input, the rows that are let through; empty until they are known.
    kept: Vec<Vec<u32>>,
}

/// How many rows were held against a rule of a step, and how many broke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The step.
    pub step: usize,
    /// Which of the step's rules.
    pub rule: usize,
    /// How many rows.
    pub rows: u64,
    /// How many of them broke it.
    pub broken: u64,
}

/// Returns the stage of each step.
pub(crate) fn stages(plan: &Plan) -> Vec<usize> {
    let mut stages: Vec<usize> = Vec::new();
    for step in &plan.steps {
        let after = |input: &Input| match input {
            Input::Step(before) => stages[*before] + usize::from(matches!(plan.steps[*before].work, Work::Dedup(_))),
            _ => 0,
        };
        stages.push(step.inputs.iter().map(after).max().unwrap_or(0));
    }
    stages
}

impl Engine {
    /// Returns the empty state.
    pub fn empty(&self) -> State {
        let window = |step: &StepPlan| match &step.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => None,
            Work::Window(window) => Some(WindowState::new(window)),
        };
        let join = |step: &StepPlan| match &step.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => None,
            Work::Join(join) => Some(JoinState::new(join)),
        };
        let steps = &self.plan.steps;
        State {
            windows: steps.iter().map(window).collect(),
            joins: steps.iter().map(join).collect(),
            memories: BTreeMap::new(),
        }
    }

    /// Returns an empty state that only gathers rows of fixed windows and of sessions: when it was merged into another one, that is to be
    /// [settled](Engine::settle).
    pub fn gathering(&self) -> State {
        let mut state = self.empty();
        for state in state.windows.iter_mut().flatten() {
            match state {
                WindowState::Fixed(state) => state.gathered.begin(),
                WindowState::Session(state) => state.gather(false),
                WindowState::Unique(_) => {}
            }
        }
        state
    }

    /// Lets rows of records for fixed windows and sessions be gathered in a state from now on, until it is [settled](Engine::settle): before
    /// anything is closed or copied, and before there are too many.
    pub fn gather(&self, state: &mut State) {
        for (step, state) in self.plan.steps.iter().zip(&mut state.windows) {
            match state {
                Some(WindowState::Fixed(state)) if !step.over_windows => {
                    // All of a snapshot has been taken in.
                    state.restored();
                    state.gathered.begin();
                }
                Some(WindowState::Session(state)) if !step.over_windows => state.gather(true),
                _ => {}
            }
        }
    }

    /// Returns about how many bytes of rows wait in a state to be settled.
    pub fn gathered_bytes(&self, state: &State) -> usize {
        let bytes = state.windows.iter().flatten().map(|state| match state {
            WindowState::Fixed(state) => state.gathered.bytes,
            WindowState::Session(state) => state.gathered_bytes,
            WindowState::Unique(_) => 0,
        });
        bytes.sum()
    }

    /// Joins two states, of which no partition is remembered in both. Commutative and exact.
    pub fn merge(&self, state: &mut State, other: State) {
        for (index, other) in other.windows.into_iter().enumerate() {
            if let (Some(mine), Some(other), Work::Window(window)) =
                (&mut state.windows[index], other, &self.plan.steps[index].work)
            {
                mine.merge(other, &window.calls, &self.hasher);
            }
        }
        for (mine, other) in state.joins.iter_mut().zip(other.joins) {
            if let (Some(mine), Some(other)) = (mine, other) {
                mine.merge(other);
            }
        }
        state.memories.extend(other.memories);
    }

    /// Folds the next chunk of a partition into the state. `maximum` is the running maximum before it
    /// ([`crate::watermark::NEVER`] at first).
    pub fn fold(&self, source: usize, chunk: &Chunk, maximum: i64, state: &mut State) -> Folded {
        let folding = self.begin(source, chunk, maximum);
        self.go_on(folding, source, chunk.partition, state)
    }

    /// Takes a chunk through all stages.
    pub(crate) fn go_on(&self, mut folding: Folding, source: usize, partition: Partition, state: &mut State) -> Folded {
        self.advance(&mut folding, state);
        if self.stages(source) > 1 {
            let mut memory = state.take_memory(source, partition);
            for _ in 1..self.stages(source) {
                self.remember(&mut folding, &mut memory);
                self.advance(&mut folding, state);
            }
            state.put_memory(source, partition, memory);
        }
        folding.done()
    }

    /// Returns in how many stages chunks of a source are folded: one more than the last stage of the steps that its
    /// records reach, which may wait for `dedup` steps of other sources.
    pub fn stages(&self, source: usize) -> usize {
        let steps = self.plan.steps.iter().enumerate().filter(|(_, step)| step.sources.contains(&source));
        steps.map(|(index, _)| self.stage_of(Input::Step(index)) + 1).max().unwrap_or(1)
    }

    /// Returns the stage in which the rows of an input are at hand.
    fn stage_of(&self, input: Input) -> usize {
        let Input::Step(step) = input else { return 0 };
        self.stages[step] + usize::from(matches!(self.plan.steps[step].work, Work::Dedup(_)))
    }

    /// Begins folding a chunk: judges which records are valid, and what the watermark was before each.
    pub fn begin(&self, source: usize, chunk: &Chunk, maximum: i64) -> Folding {
        let mut folded = Folded { maximum, ..Folded::default() };
        let records = self.records(source, chunk, &mut folded);
        if let Some(records) = &records {
            self.emit_rows(Input::Source(source), records, &mut folded);
        }
        let batches = vec![Vec::new(); self.plan.steps.len()];
        Folding { source, records, stage: 0, batches, waiting: Vec::new(), folded }
    }

    /// Does the steps of the next stage.
    pub fn advance(&self, folding: &mut Folding, state: &mut State) {
        for waiting in std::mem::take(&mut folding.waiting) {
            for ((rows, _), kept) in waiting.inputs.iter().zip(&waiting.kept) {
                let rows = if kept.len() == rows.len() { rows.clone() } else { rows.take(kept) };
                self.emit_rows(Input::Step(waiting.step), &rows, &mut folding.folded);
                folding.batches[waiting.step].push(rows);
            }
        }
        let Some(records) = &folding.records else { return };
        for (index, step) in self.plan.steps.iter().enumerate() {
            if let Work::Join(join) = &step.work {
                for (side, of) in join.sides.iter().enumerate().filter(|(_, side)| side.are_records) {
                    if self.stage_of(of.input) != folding.stage {
                        continue;
                    }
                    let rows = match of.input {
                        Input::Source(of) if of == folding.source => std::slice::from_ref(records),
                        Input::Step(before) => folding.batches[before].as_slice(),
                        _ => continue,
                    };
                    let state = state.joins[index].as_mut().expect("a join has state");
                    let Folded { asides, trace, .. } = &mut folding.folded;
                    for rows in rows {
                        self.fold_join((index, side), join, rows, state, asides, trace.as_mut());
                    }
                }
                continue;
            }
            if step.over_windows || self.stages[index] != folding.stage || !step.sources.contains(&folding.source) {
                continue;
            }
            let mut inputs = Vec::new();
            for input in &step.inputs {
                match input {
                    Input::Step(before) => {
                        inputs.extend(folding.batches[*before].iter().map(|batch| self.read(step, *input, batch)));
                    }
                    Input::Source(of) if *of == folding.source => inputs.push(self.read(step, *input, records)),
                    _ => {}
                }
            }
            let mut waiting = Waiting { step: index, inputs: Vec::new(), kept: Vec::new() };
            for input in inputs.into_iter().filter(|input| input.len() > 0) {
                let input = exploded(&step.rows, input);
                let (rows, failed) = row_work(&step.rows, &input);
                if let Some(trace) = &mut folding.folded.trace {
                    trace.note(index, &input, &rows, &failed);
                }
                let Folded { asides, checked, .. } = &mut folding.folded;
                self.keep_failed(index, &input, failed, asides);
                let mut rows = self.check_rules(index, step, rows, asides, checked);
                match &step.work {
                    Work::Rows | Work::Lookup(_) => {
                        if let Work::Lookup(lookup) = &step.work {
                            rows = self.look_up(index, lookup, &rows, asides);
                        }
                        self.emit_rows(Input::Step(index), &rows, &mut folding.folded);
                        folding.batches[index].push(rows);
                    }
                    Work::Dedup(dedup) => waiting.inputs.push(self.ids(index, dedup, rows, &mut folding.folded)),
                    Work::Window(window) => {
                        let state = state.windows[index].as_mut().expect("a window step has state");
                        self.fold_window(index, window, &rows, state, &mut folding.folded.asides);
                    }
                    Work::Join(_) => unreachable!("joins have gone on above"),
                }
            }
            if !waiting.inputs.is_empty() {
                folding.waiting.push(waiting);
            }
        }
        folding.stage += 1;
        if folding.stage == self.stages(folding.source) {
            // A chunk may have to wait for others before what it brought is taken out; its rows need not.
            folding.records = None;
            folding.batches.clear();
        }
    }

    /// Returns the rows with their ids; rows whose id cannot be computed are kept aside.
    fn ids(&self, step: usize, dedup: &DedupPlan, mut rows: Batch, folded: &mut Folded) -> (Batch, BinaryArray) {
        let keys = |rows: &Batch, failures: &mut Failures| -> Vec<ArrayRef> {
            let value = |(_, expr)| canonical(&evaluate_plain(expr, &rows.columns, failures));
            dedup.keys.iter().map(|(name, expr)| (name, expr)).map(value).collect()
        };
        let mut failures = Failures::new();
        let mut columns = keys(&rows, &mut failures);
        if !failures.is_empty() {
            let good: Vec<u32> = (0..rows.len() as u32).filter(|row| !failures.contains_key(row)).collect();
            self.keep_failed(step, &rows, failures.into_iter().collect(), &mut folded.asides);
            rows = rows.take(&good);
            columns = keys(&rows, &mut Failures::new());
        }
        let codec = self.codecs[step].as_ref().expect("a dedup step has a key codec");
        let ids = codec.encode(&columns, rows.len());
        (rows, ids)
    }

    /// Lets the rows of a chunk that wait for it meet what their partition remembers. Chunks of a partition must come here
    /// in offset order, each once between two stages.
    pub fn remember(&self, folding: &mut Folding, memory: &mut Memory) {
        for waiting in &mut folding.waiting {
            let Work::Dedup(dedup) = &self.plan.steps[waiting.step].work else {
                unreachable!("rows wait at dedup steps only")
            };
            waiting.kept = memory.0.entry(waiting.step).or_default().walk(&waiting.inputs, dedup.within);
            if let Some(trace) = &mut folding.folded.trace {
                trace.note_deduped(waiting.step, &waiting.inputs, &waiting.kept);
            }
            folding.folded.dedups.push(Deduped {
                step: waiting.step,
                before: waiting.inputs.iter().map(|(rows, _)| rows.len() as u64).sum(),
                after: waiting.kept.iter().map(|kept| kept.len() as u64).sum(),
            });
        }
    }
}
