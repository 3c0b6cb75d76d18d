//! Closing: the only place where partitions meet and results are born.
//!
//! `close` takes out of the state what the frontier has passed, `finish` what is still open at the end of input. Both
//! go through all steps in order, so that a step over window rows reads what the step before gave. Rows come out
//! sorted by window end, window start, key; frontiers only grow, so successive closings laid end to end are sorted too.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat;

use crate::aggregate::{GroupId, Overflow};
use crate::error::{Code, Error, Result};
use crate::fold::{Checked, State};
use crate::group::{KeyCodec, plain};
use crate::plan::{Input, StepPlan, Top, WindowPlan, Work};
use crate::reach::Reach;
use crate::rows::{
    Batch, Failures, Identity, Maker, Origin, evaluate_filter, evaluate_plain, exploded, named, row_work,
};
use crate::state::{Accumulators, Table, WindowState};
use crate::task::{Aside, Emission, Engine, rfc3339};
use crate::trace::Trace;
use crate::value::display;
use crate::watermark::{NEVER, is_final};
use crate::window::Window;

/// What a closing brought.
#[derive(Debug, Default)]
pub struct Closed {
    /// Rows of window steps and of row steps over them, step by step in plan order, each in canonical order.
    pub emissions: Vec<Emission>,
    /// Window rows whose expression failed at a step over them.
    pub asides: Vec<Aside>,
    /// How many window rows broke each rule of a step over them.
    pub checked: Vec<Checked>,
    /// How many windows were closed.
    pub windows: u64,
    /// What the steps note, if they are asked to.
    pub(crate) trace: Option<Trace>,
}

/// How many rows one emission holds at most, and about how many bytes of keys. Only `top` makes it hold more, because a
/// window's rows are compared with each other there. An Arrow array takes no more than 2 GiB.
pub(crate) const EMISSION_ROWS: usize = if cfg!(test) { 5 } else { 1 << 18 };
pub(crate) const EMISSION_KEY_BYTES: usize = if cfg!(test) { 48 } else { 1 << 28 };
/// Bytes of keys that one window may have when its rows are compared with each other.
const WINDOW_KEY_BYTES: usize = if cfg!(test) { 1 << 16 } else { i32::MAX as usize };

impl Engine {
    /// Closes what is final. `frontiers` holds `G` of each source: the least `W` over its partitions.
    pub fn close(&self, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_steps(state, Some(frontiers), true, None, None)
    }

    /// Closes everything as if the log ended here; the rows are open ones. The state is used up.
    pub fn finish(&self, mut state: State) -> Result<Closed> {
        self.close_steps(&mut state, None, false, None, None)
    }

    /// Closes what is final when records out of reach were left unread: windows out of reach are closed without a row.
    pub fn close_within(&self, reach: &Reach, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_steps(state, Some(frontiers), true, Some(reach), None)
    }

    /// Closes everything when records out of reach were left unread. The state is used up.
    pub fn finish_within(&self, reach: &Reach, mut state: State) -> Result<Closed> {
        self.close_steps(&mut state, None, false, Some(reach), None)
    }

    /// Begins to close everything as if the log ended here: gives the open rows of what would be final if the frontiers
    /// stood there. To be gone on with by greater frontiers, or by [`Engine::finish`].
    pub fn finish_until(&self, reach: Option<&Reach>, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_steps(state, Some(frontiers), false, reach, None)
    }

    pub(crate) fn close_steps(
        &self,
        state: &mut State,
        frontiers: Option<&[i64]>,
        is_final_now: bool,
        reach: Option<&Reach>,
        trace: Option<Trace>,
    ) -> Result<Closed> {
        let mut closed = Closed { trace, ..Closed::default() };
        let steps = &self.plan.steps;
        // Per step: how far its output is complete, and the rows it gave just now.
        let complete = frontiers.map_or_else(|| vec![NEVER; steps.len()], |frontiers| self.complete(frontiers));
        let mut outputs: Vec<Vec<Batch>> = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            if let Work::Join(join) = &step.work {
                self.close_join(index, join, state, frontiers, &complete, &mut outputs, &mut closed)?;
                for batch in &outputs[index] {
                    self.emit_closed(index, step, batch, is_final_now, &mut closed.emissions);
                }
                continue;
            }
            let mut inputs = Vec::new();
            if step.over_windows {
                let before = || step.inputs.iter().map(|input| input.step().expect("window rows come from steps"));
                for (input, before) in step.inputs.iter().zip(before()) {
                    inputs.extend(outputs[before].iter().map(|batch| self.read(step, *input, batch)));
                }
            }
            match &step.work {
                Work::Rows | Work::Lookup(_) if step.over_windows => {
                    for input in inputs {
                        let input = exploded(&step.rows, input);
                        let (rows, failed) = row_work(&step.rows, &input);
                        if let Some(trace) = &mut closed.trace {
                            trace.note(index, &input, &rows, &failed);
                        }
                        self.keep_failed(index, &input, failed, &mut closed.asides);
                        let mut rows = self.check_rules(index, step, rows, &mut closed.asides, &mut closed.checked);
                        if let Work::Lookup(lookup) = &step.work {
                            rows = self.look_up(index, lookup, &rows, &mut closed.asides);
                        }
                        outputs[index].push(rows);
                    }
                }
                Work::Rows | Work::Dedup(_) | Work::Lookup(_) => continue,
                Work::Join(_) => unreachable!("joins have gone on above"),
                Work::Window(window) => {
                    let state = state.windows[index].as_mut().expect("a window step has state");
                    for input in inputs {
                        let input = exploded(&step.rows, input);
                        let (rows, failed) = row_work(&step.rows, &input);
                        if let Some(trace) = &mut closed.trace {
                            trace.note(index, &input, &rows, &failed);
                        }
                        self.keep_failed(index, &input, failed, &mut closed.asides);
                        let rows = self.check_rules(index, step, rows, &mut closed.asides, &mut closed.checked);
                        self.fold_window(index, window, &rows, state, &mut closed.asides);
                    }
                    let bound = complete[index];
                    // `C >= end` is `G >= end + A`: completeness has taken the allowed lateness off.
                    let ends = |end: i64| frontiers.is_none() || is_final(end, 0, bound);
                    let is_needed = |at: Window| reach.is_none_or(|reach| reach.step(index).contains(at.start));
                    let (batches, windows) = self.take_closed(index, step, window, state, ends, is_needed)?;
                    closed.windows += windows;
                    outputs[index] = batches;
                }
            }
            for batch in &outputs[index] {
                self.emit_closed(index, step, batch, is_final_now, &mut closed.emissions);
            }
        }
        Ok(closed)
    }

    fn emit_closed(&self, index: usize, step: &StepPlan, batch: &Batch, is_final: bool, emissions: &mut Vec<Emission>) {
        if batch.len() == 0 {
            return;
        }
        let rows = 0..batch.len() as u32;
        let times = match &batch.origin.identity {
            Identity::Windows { starts, .. } if !batch.origin.of_join => {
                rows.map(|row| starts[batch.origin_of(row) as usize]).collect()
            }
            Identity::Windows { .. } | Identity::Pairs { .. } => rows.map(|row| batch.event_time(row)).collect(),
            Identity::Records { .. } => unreachable!("closing gives no records"),
        };
        let columns = step.schema.fields.iter().map(|field| {
            let array = batch.columns.column_by_name(&field.name).expect("a step gives the columns of its schema");
            (field.name.clone(), plain(array))
        });
        let rows = named(columns.collect(), batch.len());
        emissions.push(Emission { input: Input::Step(index), rows, times, is_final });
    }

    /// Takes closed windows out of the state of a step with fixed windows.
    fn closed_tables(
        &self,
        index: usize,
        window: &WindowPlan,
        state: &mut WindowState,
        ends: impl Fn(i64) -> bool,
    ) -> Vec<(Window, Table)> {
        match state {
            WindowState::Fixed(state) => state.close(ends),
            WindowState::Unique(state) => {
                let codec = self.codecs[index].as_ref().expect("a window step has a key codec");
                let codecs = self.uniques[index].as_ref().expect("a step where ids count once has codecs for them");
                let tables = state.close(ends).into_iter();
                tables.map(|(at, table)| (at, codecs.table(at, window, codec, table, &self.hasher))).collect()
            }
            WindowState::Session(_) => unreachable!("sessions are no fixed windows"),
        }
    }

    /// Takes closed windows out of a step's state and makes the rows of those that are needed. The others may hold a part
    /// of their records, of which a sum may overflow where that of all does not.
    fn take_closed(
        &self,
        index: usize,
        step: &StepPlan,
        window: &WindowPlan,
        state: &mut WindowState,
        ends: impl Fn(i64) -> bool,
        is_needed: impl Fn(Window) -> bool,
    ) -> Result<(Vec<Batch>, u64)> {
        let codec = self.codecs[index].as_ref().expect("a window step has a key codec");
        let mut rows = ClosedRows::new(window);
        let whole_windows = window.top.is_some();
        let mut batches = Vec::new();
        let windows;
        match state {
            WindowState::Fixed(_) | WindowState::Unique(_) => {
                let closed = self.closed_tables(index, window, state, ends);
                windows = closed.len() as u64;
                for (at, table) in closed.into_iter().filter(|(at, _)| is_needed(*at)) {
                    let order = table.groups.sorted();
                    let mut rest = order.as_slice();
                    while !rest.is_empty() {
                        let named = rest.iter().map(|group| (at, table.groups.key(*group)));
                        let (part, after) = rest.split_at(rows.fill(step, named, whole_windows)?);
                        rows.finish(step, codec, &table.accumulators, part)?;
                        rest = after;
                        if rows.is_full() {
                            batches.push(rows.into_batch(index, step, window, codec)?);
                            rows = ClosedRows::new(window);
                        }
                    }
                }
            }
            WindowState::Session(state) => {
                let mut closed = state.close(ends);
                windows = closed.len() as u64;
                closed.retain(|(at, ..)| is_needed(*at));
                let mut rest = closed.as_slice();
                while !rest.is_empty() {
                    let named = rest.iter().map(|(at, key, _)| (*at, state.key(*key)));
                    let (part, after) = rest.split_at(rows.fill(step, named, whole_windows)?);
                    rest = after;
                    let slots: Vec<GroupId> = part.iter().map(|(.., slot)| *slot).collect();
                    rows.finish(step, codec, state.accumulators(), &slots)?;
                    batches.push(rows.into_batch(index, step, window, codec)?);
                    rows = ClosedRows::new(window);
                }
            }
        }
        if rows.len() > 0 {
            batches.push(rows.into_batch(index, step, window, codec)?);
        }
        Ok((batches, windows))
    }
}

/// Rows of closed windows on their way into one batch.
struct ClosedRows {
    starts: Vec<i64>,
    ends: Vec<i64>,
    keys: arrow::array::BinaryBuilder,
    /// Per call, the finished pieces.
    calls: Vec<Vec<ArrayRef>>,
    /// How many rows have their calls finished.
    finished: usize,
}

impl ClosedRows {
    fn new(window: &WindowPlan) -> Self {
        let calls = vec![Vec::new(); window.calls.len()];
        Self { starts: Vec::new(), ends: Vec::new(), keys: Default::default(), calls, finished: 0 }
    }

    fn len(&self) -> usize {
        self.starts.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= EMISSION_ROWS || self.keys.values_slice().len() >= EMISSION_KEY_BYTES
    }

    /// Takes in rows until there are enough for one batch, or, if a window must stay whole, until the last one begun ends.
    /// Returns how many it took.
    fn fill<'a>(
        &mut self,
        step: &StepPlan,
        closed: impl Iterator<Item = (Window, &'a [u8])>,
        whole_windows: bool,
    ) -> Result<usize> {
        let before = self.len();
        for (window, key) in closed {
            let goes_on = self.starts.last() == Some(&window.start) && self.ends.last() == Some(&window.end);
            if self.is_full() && !(whole_windows && goes_on) {
                break;
            }
            if whole_windows && self.keys.values_slice().len() + key.len() > WINDOW_KEY_BYTES {
                return Err(too_many_keys(step, window));
            }
            self.push(window, key);
        }
        Ok(self.len() - before)
    }

    fn push(&mut self, window: Window, key: &[u8]) {
        self.starts.push(window.start);
        self.ends.push(window.end);
        self.keys.append_value(key);
    }

    /// Finishes the calls of the rows pushed since the last time, which are these groups.
    fn finish(
        &mut self,
        step: &StepPlan,
        codec: &KeyCodec,
        accumulators: &Accumulators,
        groups: &[GroupId],
    ) -> Result<()> {
        for (pieces, accumulator) in self.calls.iter_mut().zip(accumulators.calls()) {
            match accumulator.finish(groups) {
                Ok(piece) => pieces.push(piece),
                Err(Overflow { index, message }) => {
                    let keys = self.keys.finish_cloned();
                    return Err(overflow(
                        step,
                        codec,
                        &self.starts,
                        &self.ends,
                        &keys,
                        self.finished + index,
                        &message,
                    ));
                }
            }
        }
        self.finished = self.len();
        Ok(())
    }

    /// Makes the step's rows: output expressions, then `having`, then `top`.
    fn into_batch(mut self, index: usize, step: &StepPlan, window: &WindowPlan, codec: &KeyCodec) -> Result<Batch> {
        let rows = self.len();
        let keys = self.keys.finish();
        let time = |values: &[i64]| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
        };
        let mut columns: Vec<(String, ArrayRef)> =
            vec![("window_start".into(), time(&self.starts)), ("window_end".into(), time(&self.ends))];
        let decoded = codec.decode((0..rows).map(|row| keys.value(row)));
        columns.extend(window.keys.iter().map(|(name, _)| name.clone()).zip(decoded));
        let own = columns.clone();
        for (number, pieces) in self.calls.iter().enumerate() {
            let pieces: Vec<&dyn Array> = pieces.iter().map(|piece| &**piece).collect();
            let values = match pieces.as_slice() {
                [] => arrow::array::new_empty_array(&window.calls[number].output_type.arrow()),
                pieces => concat(pieces).expect("pieces of one call have one type"),
            };
            columns.push((format!("#{number}"), values));
        }
        let closed = named(columns, rows);
        let mut columns = own;
        let mut failures = Failures::new();
        for (name, expr) in &window.outputs {
            columns.push((name.clone(), evaluate_plain(expr, &closed, &mut failures)));
        }
        let mut outputs = columns.clone();
        let columns = named(columns, rows);
        let keep = window.having.as_ref().map(|having| evaluate_filter(having, &columns, &mut failures));
        if let Some((row, reason)) = failures.first_key_value() {
            return Err(overflow(step, codec, &self.starts, &self.ends, &keys, *row as usize, reason));
        }
        let mut chosen: Vec<u32> = match keep {
            Some(keep) => {
                (0..rows as u32).filter(|row| keep.is_valid(*row as usize) && keep.value(*row as usize)).collect()
            }
            None => (0..rows as u32).collect(),
        };
        let mut columns = columns;
        if let Some(top) = &window.top {
            let kept = first_rows(top, &columns, &self.starts, &self.ends, chosen);
            if let Some(rank) = &top.rank {
                let mut ranks = vec![0; rows];
                kept.iter().for_each(|(row, number)| ranks[*row as usize] = *number);
                outputs.push((rank.clone(), Arc::new(Int64Array::from(ranks))));
                columns = named(outputs, rows);
            }
            chosen = kept.into_iter().map(|(row, _)| row).collect();
        }
        let origin = Origin {
            event_times: self.ends.iter().map(|end| end - 1).collect(),
            watermarks: Vec::new(),
            source: step.sources[0],
            identity: Identity::Windows { starts: self.starts, ends: self.ends, keys },
            of_join: false,
            made_by: Some(Maker::of(index)),
            tombstones: None,
        };
        let batch = Batch { columns, origin: Arc::new(origin), selection: None, path: Vec::new() };
        Ok(if chosen.len() == rows { batch } else { batch.take(&chosen) })
    }
}

/// Returns the error of a window whose rows do not fit into one batch, as `top` needs them.
fn too_many_keys(step: &StepPlan, window: Window) -> Error {
    let message = format!(
        "step `{}`: the keys of the window that begins at {} take more than 2 GiB, more than `top` can compare",
        step.name,
        rfc3339(window.start)
    );
    Error::new(Code::Overflow, message)
        .help("group by shorter keys or fewer values, use smaller windows, or leave out `top`")
}

/// Returns the rows that `top` keeps, in the order they had, each with its number in the total order. `chosen` is sorted
/// by window, then key.
fn first_rows(top: &Top, columns: &RecordBatch, starts: &[i64], ends: &[i64], chosen: Vec<u32>) -> Vec<(u32, i64)> {
    let by = order_keys(columns, &top.by);
    let per = order_keys(columns, &top.per.iter().map(|name| (name.clone(), false)).collect::<Vec<_>>());
    let mut order = chosen;
    let window = |row: u32| (ends[row as usize], starts[row as usize]);
    let part = |a: u32, b: u32| window(a).cmp(&window(b)).then_with(|| per.compare(a, b));
    // Ties go to the lesser key: rows come in key order, and the row number says which is lesser.
    order.sort_unstable_by(|a, b| part(*a, *b).then_with(|| by.compare(*a, *b)).then_with(|| a.cmp(b)));
    let mut kept = Vec::new();
    let mut begin = 0;
    while begin < order.len() {
        let end = begin + order[begin..].iter().take_while(|row| part(order[begin], **row) == Ordering::Equal).count();
        let mut take = top.n.min(end - begin);
        if top.keep_ties && take > 0 {
            let last = order[begin + take - 1];
            take +=
                order[begin + take..end].iter().take_while(|row| by.compare(last, **row) == Ordering::Equal).count();
        }
        kept.extend(order[begin..begin + take].iter().copied().zip(1..));
        begin = end;
    }
    kept.sort_unstable();
    kept
}

/// Rows' sort keys in the value order: null least, text bytewise, NaN greatest; `desc` reverses all of it.
struct OrderKeys(Vec<(BinaryArray, bool)>);

impl OrderKeys {
    fn compare(&self, a: u32, b: u32) -> Ordering {
        for (keys, descending) in &self.0 {
            let order = keys.value(a as usize).cmp(keys.value(b as usize));
            if order != Ordering::Equal {
                return if *descending { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }
}

fn order_keys(columns: &RecordBatch, names: &[(String, bool)]) -> OrderKeys {
    let keys = names.iter().map(|(name, descending)| {
        let column = columns.column_by_name(name).expect("the plan was checked against these columns");
        let codec = KeyCodec::of_arrow(vec![column.data_type().clone()]);
        (codec.encode(std::slice::from_ref(column), columns.num_rows()), *descending)
    });
    OrderKeys(keys.collect())
}

fn overflow(
    step: &StepPlan,
    codec: &KeyCodec,
    starts: &[i64],
    ends: &[i64],
    keys: &BinaryArray,
    row: usize,
    reason: &str,
) -> Error {
    let Work::Window(window) = &step.work else { unreachable!("only window steps close") };
    let values = codec.decode(std::iter::once(keys.value(row)));
    let key: Vec<String> =
        window.keys.iter().zip(&values).map(|((name, _), value)| format!("{name} = {}", display(value, 0))).collect();
    let key = if key.is_empty() { String::new() } else { format!(", {}", key.join(", ")) };
    Error::new(
        Code::Overflow,
        format!("step `{}`, window {} .. {}{key}: {reason}", step.name, rfc3339(starts[row]), rfc3339(ends[row])),
    )
    .help(match reason.contains("38 digits") {
        true => "no decimal is wider; `sum(cast(x as float64))` gives the nearest float",
        false => "cast to a wider type, such as `sum(cast(x as decimal(38,0)))` or `sum(cast(x as float64))`",
    })
}
