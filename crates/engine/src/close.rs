//! Closing: the only place where partitions meet and results are born.
//!
//! `close` takes out of the state what the frontier has passed, `finish` what is still open at the end of input. Both
//! go through all steps in order, so that a step over window rows reads what the step before gave. Rows come out
//! sorted by window end, window start, key; frontiers only grow, so successive closings laid end to end are sorted too.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat;

use crate::aggregate::Overflow;
use crate::edge::{Alone, Hands};
use crate::error::{Code, Error, Result};
use crate::fold::{Checked, State};
use crate::gather::each_of;
use crate::group::{KeyCodec, plain};
use crate::plan::{Input, StepPlan, Top, WindowPlan, Work};
use crate::reach::Reach;
use crate::rows::{
    Batch, Failures, Identity, Maker, Origin, evaluate_filter, evaluate_plain, exploded, named, row_work,
};
use crate::sessions::{ClosedSession, SessionState, by_end};
use crate::state::{Table, WindowState};
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
    /// By step, how long the longest session that was closed lasted, from its first moment to its end.
    pub longest: BTreeMap<usize, i64>,
    /// What the steps note, if they are asked to.
    pub(crate) trace: Option<Trace>,
}

/// How a closing is gone about. It changes no row that is wanted.
#[derive(Clone, Copy)]
pub struct Closing<'a> {
    /// Records out of reach were left unread, so windows out of reach are closed without a row; None: every row is wanted.
    pub reach: Option<&'a Reach>,
    /// Who makes the rows.
    pub hands: &'a dyn Hands,
}

impl Default for Closing<'_> {
    fn default() -> Self {
        Self { reach: None, hands: &Alone }
    }
}

/// How many rows one emission holds at most, and about how many bytes of keys. Only `top` makes it hold more, because a
/// window's rows are compared with each other there. An Arrow array takes no more than 2 GiB.
pub(crate) const EMISSION_ROWS: usize = if cfg!(test) { 5 } else { 1 << 18 };
pub(crate) const EMISSION_KEY_BYTES: usize = if cfg!(test) { 48 } else { 1 << 28 };
/// Windows with so many rows together, or a larger one, are a piece of work.
pub(crate) const PIECE_ROWS: usize = if cfg!(test) { 8 } else { 1 << 15 };
/// Bytes of keys that one window may have when its rows are compared with each other.
const WINDOW_KEY_BYTES: usize = if cfg!(test) { 1 << 16 } else { i32::MAX as usize };

impl Engine {
    /// Closes what is final. `frontiers` holds `G` of each source: the least `W` over its partitions.
    pub fn close(&self, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_by(Closing::default(), frontiers, state)
    }

    /// Closes everything as if the log ended here; the rows are open ones. The state is used up.
    pub fn finish(&self, state: State) -> Result<Closed> {
        self.finish_by(Closing::default(), state)
    }

    /// Closes what is final in that way.
    pub fn close_by(&self, closing: Closing<'_>, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_steps(state, Some(frontiers), true, closing, None)
    }

    /// Closes everything in that way. The state is used up.
    pub fn finish_by(&self, closing: Closing<'_>, mut state: State) -> Result<Closed> {
        self.close_steps(&mut state, None, false, closing, None)
    }

    /// Begins to close everything as if the log ended here: gives the open rows of what would be final if the frontiers
    /// stood there. To be gone on with by greater frontiers, or by [`Engine::finish_by`].
    pub fn finish_until(&self, closing: Closing<'_>, frontiers: &[i64], state: &mut State) -> Result<Closed> {
        self.close_steps(state, Some(frontiers), false, closing, None)
    }

    pub(crate) fn close_steps(
        &self,
        state: &mut State,
        frontiers: Option<&[i64]>,
        is_final_now: bool,
        closing: Closing<'_>,
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
                    let (batches, windows, longest) = self.take_closed(index, window, state, ends, closing)?;
                    closed.windows += windows;
                    closed.longest.extend(longest.map(|longest| (index, longest)));
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
        window: &WindowPlan,
        state: &mut WindowState,
        ends: impl Fn(i64) -> bool + Sync,
        closing: Closing<'_>,
    ) -> Result<(Vec<Batch>, u64, Option<i64>)> {
        let is_needed = |at: Window| closing.reach.is_none_or(|reach| reach.step(index).contains(at.start));
        match state {
            WindowState::Fixed(_) | WindowState::Unique(_) => {
                let mut closed = self.closed_tables(index, window, state, ends);
                let windows = closed.len() as u64;
                closed.retain(|(at, _)| is_needed(*at));
                // Where the pieces begin and end does not depend on who does them.
                let mut pieces: Vec<Piece> = Vec::new();
                let mut rows = PIECE_ROWS;
                for (at, table) in closed {
                    if rows >= PIECE_ROWS {
                        pieces.push(Piece { tables: Vec::new(), batches: Ok(Vec::new()) });
                        rows = 0;
                    }
                    rows += table.groups.len();
                    pieces.last_mut().expect("one was just made").tables.push((at, table));
                }
                each_of(closing.hands, &mut pieces, |piece| {
                    piece.batches = self.rows_of(index, window, std::mem::take(&mut piece.tables));
                });
                let batches = pieces.into_iter().map(|piece| piece.batches).collect::<Result<Vec<_>>>()?;
                Ok((batches.into_iter().flatten().collect(), windows, None))
            }
            WindowState::Session(state) => {
                let mut closed = state.close(ends, closing.hands);
                let windows = closed.iter().map(Vec::len).sum::<usize>() as u64;
                let lengths =
                    closed.iter().flatten().map(|session| session.window.end.saturating_sub(session.window.start));
                let longest = lengths.max();
                closed.iter_mut().for_each(|closed| closed.retain(|session| is_needed(session.window)));
                let pieces = by_end(closed).into_iter();
                let mut pieces: Vec<_> = pieces.map(|sessions| (sessions, Ok(Vec::new()))).collect();
                let state = &*state;
                each_of(closing.hands, &mut pieces, |(sessions, batches)| {
                    *batches = self.rows_of_sessions(index, window, state, sessions);
                });
                let batches = pieces.into_iter().map(|(_, batches)| batches).collect::<Result<Vec<_>>>()?;
                Ok((batches.into_iter().flatten().collect(), windows, longest))
            }
        }
    }

    /// Makes the rows of closed sessions, and puts these into canonical order.
    fn rows_of_sessions(
        &self,
        index: usize,
        window: &WindowPlan,
        state: &SessionState,
        closed: &mut [ClosedSession],
    ) -> Result<Vec<Batch>> {
        let (step, codec) = self.closing_step(index);
        let whole_windows = window.top.is_some();
        state.sort(closed);
        let (mut batches, mut rest) = (Vec::new(), &*closed);
        while !rest.is_empty() {
            let mut rows = ClosedRows::new(window);
            let named = rest.iter().map(|session| (session.window, state.key(session)));
            let (part, after) = rest.split_at(rows.fill(step, named, whole_windows)?);
            rest = after;
            rows.finish(step, codec, state.finish(part))?;
            batches.push(rows.into_batch(index, step, window, codec)?);
        }
        Ok(batches)
    }

    /// Makes the rows of closed windows, which are in canonical order.
    fn rows_of(&self, index: usize, window: &WindowPlan, closed: Vec<(Window, Table)>) -> Result<Vec<Batch>> {
        let (step, codec) = self.closing_step(index);
        let whole_windows = window.top.is_some();
        let (mut batches, mut rows) = (Vec::new(), ClosedRows::new(window));
        for (at, table) in closed {
            let order = table.groups.sorted();
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let named = rest.iter().map(|group| (at, table.groups.key(*group)));
                let (part, after) = rest.split_at(rows.fill(step, named, whole_windows)?);
                rows.finish(step, codec, table.accumulators.calls().map(|call| call.finish(part)))?;
                rest = after;
                if rows.is_full() {
                    batches.push(rows.into_batch(index, step, window, codec)?);
                    rows = ClosedRows::new(window);
                }
            }
        }
        if rows.len() > 0 {
            batches.push(rows.into_batch(index, step, window, codec)?);
        }
        Ok(batches)
    }

    fn closing_step(&self, index: usize) -> (&StepPlan, &KeyCodec) {
        (&self.plan.steps[index], self.codecs[index].as_ref().expect("a window step has a key codec"))
    }
}

/// Closed windows, and the rows that are made of them.
struct Piece {
    tables: Vec<(Window, Table)>,
    batches: Result<Vec<Batch>>,
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

    /// Takes in the value of each call for the rows pushed since the last time.
    fn finish(
        &mut self,
        step: &StepPlan,
        codec: &KeyCodec,
        values: impl Iterator<Item = std::result::Result<ArrayRef, Overflow>>,
    ) -> Result<()> {
        for (pieces, values) in self.calls.iter_mut().zip(values) {
            match values {
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
