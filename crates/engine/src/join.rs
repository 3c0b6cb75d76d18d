//! Joins: rows of two inputs, side by side where their keys are equal and their times near enough.
//!
//! Folding only keeps the accepted rows of each side, with their keys and their places in the record order; rows meet
//! when a join is closed, because only there all partitions are at hand. What is found does not depend on when it is
//! closed: each kind says which rows meet, and when a row can meet nothing any more.

mod as_of;
mod held;
mod interval;
mod keyed;
mod snapshot;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, interleave};
use arrow::datatypes::DataType as ArrowType;

use self::as_of::AsOfJoin;
use self::interval::IntervalJoin;
pub(crate) use self::interval::complete as interval_complete;
pub(crate) use self::snapshot::{SidePart, empty_rows};
use self::window::WindowJoin;
use crate::close::{Closed, EMISSION_KEY_BYTES, EMISSION_ROWS};
use crate::error::Result;
use crate::fold::State;
use crate::group::plain;
use crate::place::{Placed, slices};
use crate::plan::{Input, JoinKind, JoinPlan, JoinTime, JoinValue, SIDES};
use crate::rows::{Batch, Failures, Identity, Maker, Origin, named, row_work, take_rows};
use crate::spill::sides;
use crate::task::{Aside, Engine, late_reason};
use crate::trace::{Name, Pair, Trace};
use crate::window::{Finder, Window};

/// Rows of one side, as a join keeps them.
pub(crate) struct Piece {
    /// By column of the joined rows: its values, where this side has them.
    columns: Vec<Option<ArrayRef>>,
    /// The key of each row, as ordered bytes.
    keys: BinaryArray,
    /// The rows whose key has a null, which meet nothing; None when there is no such row.
    nulls: Option<BooleanBuffer>,
    /// The place of each row in the record order.
    orders: BinaryArray,
    /// The event time of each row.
    times: Vec<i64>,
    /// The rows that are records without a value; None when there is no such row.
    tombstones: Option<BooleanBuffer>,
    /// The most bytes of text that a row has.
    widest: usize,
    /// What names each row, in a traced run; else empty.
    names: Vec<Name>,
}

impl Piece {
    /// Returns the piece that stands where one is gone.
    fn empty() -> Self {
        let orders = BinaryBuilder::new().finish();
        let (columns, keys, times, names) = (Vec::new(), orders.clone(), Vec::new(), Vec::new());
        Self { columns, keys, nulls: None, orders, times, tombstones: None, widest: 0, names }
    }

    fn len(&self) -> usize {
        self.times.len()
    }

    fn size_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().flatten().map(|column| column.get_array_memory_size()).sum();
        columns + self.keys.get_array_memory_size() + self.orders.get_array_memory_size()
    }

    fn is_tombstone(&self, row: u32) -> bool {
        self.tombstones.as_ref().is_some_and(|tombstones| tombstones.value(row as usize))
    }

    fn joins(&self, row: u32) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| !nulls.value(row as usize))
    }
}

/// State of one join.
#[derive(Clone)]
pub(crate) enum JoinState {
    /// The rows of the open windows.
    Window(WindowJoin),
    /// The rows that may still meet others.
    Interval(IntervalJoin),
    /// Left rows that wait, and the versions of each key.
    AsOf(AsOfJoin),
}

impl JoinState {
    /// Makes an empty state for a join.
    pub(crate) fn new(plan: &JoinPlan) -> Self {
        match plan.time {
            JoinTime::Window(_) => JoinState::Window(WindowJoin::default()),
            JoinTime::Within { .. } => JoinState::Interval(IntervalJoin::default()),
            JoinTime::AsOf { .. } => JoinState::AsOf(AsOfJoin::default()),
        }
    }

    /// Takes in another state of the same join.
    pub(crate) fn merge(&mut self, other: JoinState) {
        match (self, other) {
            (JoinState::Window(state), JoinState::Window(other)) => state.merge(other),
            (JoinState::Interval(state), JoinState::Interval(other)) => state.merge(other),
            (JoinState::AsOf(state), JoinState::AsOf(other)) => state.merge(other),
            _ => unreachable!("two states of one join are of one kind"),
        }
    }

    /// Returns how many windows are open.
    pub(crate) fn open(&self) -> usize {
        match self {
            JoinState::Window(state) => state.open(),
            JoinState::Interval(_) | JoinState::AsOf(_) => 0,
        }
    }

    /// Returns how many rows it keeps; one that is in several windows counts in each.
    pub(crate) fn row_count(&self) -> usize {
        match self {
            JoinState::Window(state) => state.row_count(),
            JoinState::Interval(state) => state.row_count(),
            JoinState::AsOf(state) => state.row_count(),
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            JoinState::Window(state) => state.size_bytes(),
            JoinState::Interval(state) => state.size_bytes(),
            JoinState::AsOf(state) => state.size_bytes(),
        }
    }
}

impl Engine {
    /// Takes rows of a side into a join's state.
    pub(crate) fn fold_join(
        &self,
        (step, side): (usize, usize),
        join: &JoinPlan,
        rows: &Batch,
        state: &mut JoinState,
        asides: &mut Vec<Aside>,
        trace: Option<&mut Trace>,
    ) {
        if rows.len() == 0 {
            return;
        }
        let is_traced = trace.is_some();
        if let Some(trace) = trace {
            trace.note_side(step, side, rows);
        }
        let none = Failures::new();
        let mut placed = Placed::default();
        let points = |placed: &mut Placed| {
            placed.points(rows, 0, &none);
            let is_whole = placed.accepted.len() == rows.len();
            let accepted = if is_whole { rows.clone() } else { rows.take(&placed.accepted) };
            self.piece(step, join, side, &accepted, is_traced)
        };
        match (state, join.time) {
            (JoinState::Window(state), JoinTime::Window(windowing)) => {
                let piece = Arc::new(self.piece(step, join, side, rows, is_traced));
                let mut finder = Finder::new(windowing);
                for slice in slices(rows, &finder) {
                    placed.place(rows, slice, 0, &mut finder, &none);
                    for (window, chosen) in placed.by_window(windowing) {
                        state.add(window, side, &piece, chosen);
                    }
                }
            }
            (JoinState::Interval(state), JoinTime::Within { .. }) => state.add(side, points(&mut placed)),
            (JoinState::AsOf(state), JoinTime::AsOf { .. }) => state.add(side, points(&mut placed)),
            _ => unreachable!("a join's state is of its kind"),
        }
        self.keep_late_of_side(step, join, side, rows, &placed, asides);
    }

    /// Makes a side's rows what a join keeps of them.
    fn piece(&self, step: usize, join: &JoinPlan, side: usize, rows: &Batch, is_traced: bool) -> Piece {
        let of =
            |name: &str| plain(rows.columns.column_by_name(name).expect("the plan was checked against these columns"));
        let mut widest = vec![0; rows.len()];
        let keys: Vec<ArrayRef> = join
            .on
            .iter()
            .map(|key| {
                let values = of(&key.names[side]);
                cast(&values, &key.data_type.arrow()).expect("an integer widens")
            })
            .collect();
        let columns = join.columns.iter().map(|column| {
            let values = match &column.value {
                JoinValue::Key(key) => keys[*key].clone(),
                JoinValue::Side(of_side, name) if *of_side == side => of(name),
                JoinValue::Side(..) | JoinValue::WindowStart | JoinValue::WindowEnd => return None,
            };
            add_text_sizes(&values, &mut widest);
            Some(values)
        });
        let columns = columns.collect();
        let codec = self.codecs[step].as_ref().expect("a join has a key codec");
        let has_null = |row: usize| keys.iter().any(|key| key.is_null(row));
        let nulls =
            keys.iter().any(|key| key.null_count() > 0).then(|| BooleanBuffer::collect_bool(rows.len(), has_null));
        Piece {
            columns,
            keys: codec.encode(&keys, rows.len()),
            nulls,
            orders: self.record_order(rows),
            times: (0..rows.len() as u32).map(|row| rows.event_time(row)).collect(),
            tombstones: rows.origin.tombstones.as_ref().map(|tombstones| {
                BooleanBuffer::collect_bool(rows.len(), |row| tombstones.value(rows.origin_of(row as u32) as usize))
            }),
            widest: widest.into_iter().max().unwrap_or(0),
            names: if is_traced {
                (0..rows.len() as u32).map(|row| self.name(rows, row)).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Returns rows of a side as they come without partners, in these windows.
    pub(crate) fn join_alone(
        &self,
        step: usize,
        join: &JoinPlan,
        side: usize,
        rows: &Batch,
        places: &[(u32, Option<Window>)],
    ) -> Vec<Batch> {
        let full = JoinPlan { kind: JoinKind::Full, ..join.clone() };
        let mut joined = Joined::new(step, &full, rows.origin.source);
        let pieces = [Arc::new(self.piece(step, join, side, rows, true))];
        let pieces: [&[Arc<Piece>]; 2] = [0, 1].map(|of: usize| if of == side { &pieces[..] } else { &[] });
        for (row, window) in places {
            let mut pair = [MISSING, MISSING];
            pair[side] = (0, *row);
            match window {
                Some(window) => joined.push_in_window(*window, pieces, pair),
                None => joined.push(pieces, pair, rows.event_time(*row)),
            }
        }
        joined.flush(pieces);
        joined.finish()
    }

    fn keep_late_of_side(
        &self,
        step: usize,
        join: &JoinPlan,
        side: usize,
        rows: &Batch,
        placed: &Placed,
        asides: &mut Vec<Aside>,
    ) {
        if placed.late.is_empty() {
            return;
        }
        let chosen: Vec<u32> = placed.late.iter().map(|(row, _)| *row).collect();
        let late = take_rows(&rows.columns, &chosen);
        let name: ArrayRef = Arc::new(StringArray::from(vec![SIDES[side]; chosen.len()]));
        let mut columns = vec![("_side".to_owned(), name)];
        for name in join.sides[side].read.iter().filter(|name| join.sides[side].schema.field(name).is_some()) {
            let values = late.column_by_name(name).expect("the plan was checked against these columns");
            columns.push((join.late_name(side, name), values.clone()));
        }
        asides.push(Aside {
            input: Input::StepLate(step),
            source: rows.origin.source,
            identity: rows.identity(&chosen),
            event_times: chosen.iter().map(|row| Some(rows.event_time(*row))).collect(),
            reasons: placed.late.iter().map(|(row, by)| late_reason(*by, rows, *row)).collect(),
            raw: vec![(None, None); chosen.len()],
            rows: named(columns, chosen.len()),
            ends_run: false,
        });
    }

    /// Closes a join: takes in what its sides gave just now, lets rows meet, and does the row work of what comes of it.
    #[expect(clippy::too_many_arguments, reason = "they are the loop's own variables in `close`")]
    pub(crate) fn close_join(
        &self,
        index: usize,
        join: &JoinPlan,
        state: &mut State,
        frontiers: Option<&[i64]>,
        complete: &[i64],
        outputs: &mut [Vec<Batch>],
        closed: &mut Closed,
    ) -> Result<()> {
        let step = &self.plan.steps[index];
        let state = state.joins[index].as_mut().expect("a join has state");
        for (side, of) in join.sides.iter().enumerate() {
            if let (Input::Step(before), false) = (of.input, of.are_records) {
                for batch in &outputs[before] {
                    let (asides, trace) = (&mut closed.asides, closed.trace.as_mut());
                    self.fold_join((index, side), join, batch, state, asides, trace);
                }
            }
        }
        let bounds = frontiers.map(|frontiers| sides(join, frontiers, complete));
        // A traced run tells of rows without a partner too where the join does not give them.
        let with_unmet = closed.trace.is_some().then(|| JoinPlan { kind: JoinKind::Full, ..join.clone() });
        let mut joined = Joined::new(index, with_unmet.as_ref().unwrap_or(join), step.sources[0]);
        let least = bounds.map(|[left, right]| left.min(right));
        match (state, join.time) {
            // A window is final when neither side can add to it.
            (JoinState::Window(state), JoinTime::Window(_)) => closed.windows += state.close(least, &mut joined),
            (JoinState::Interval(state), JoinTime::Within { before, after }) => {
                let reach = [after, before];
                state.close(reach, bounds, &self.hasher, &mut joined);
            }
            // A left row that waits is not before the right side's `G`, one that is yet to come not before the left one's.
            (JoinState::AsOf(state), JoinTime::AsOf { max_age }) => {
                state.close(max_age, bounds, &self.hasher, &mut joined);
            }
            _ => unreachable!("a join's state is of its kind"),
        }
        for mut batch in joined.finish() {
            if let Some(trace) = &mut closed.trace {
                batch = keep_met(join.kind, index, batch, trace);
            }
            let (rows, failed) = row_work(&step.rows, &batch);
            if let Some(trace) = &mut closed.trace {
                trace.note(index, &batch, &rows, &failed);
            }
            self.keep_failed(index, &batch, failed, &mut closed.asides);
            let rows = self.check_rules(index, step, rows, &mut closed.asides, &mut closed.checked);
            outputs[index].push(rows);
        }
        Ok(())
    }
}

/// Notes and takes away the rows that a join of that kind does not give.
fn keep_met(kind: JoinKind, step: usize, batch: Batch, trace: &mut Trace) -> Batch {
    let maker = batch.origin.made_by.as_ref().expect("joined rows have been made");
    let comes = |row: &u32| {
        maker.pairs[*row as usize].iter().enumerate().all(|(side, name)| name.is_some() || kind.keeps(1 - side))
    };
    let (met, unmet): (Vec<u32>, Vec<u32>) = (0..batch.len() as u32).partition(comes);
    if unmet.is_empty() {
        return batch;
    }
    trace.note_unmet(step, batch.take(&unmet));
    batch.take(&met)
}

/// Adds the bytes of text that each row of a column has.
fn add_text_sizes(column: &ArrayRef, sizes: &mut [usize]) {
    match column.data_type() {
        ArrowType::Utf8 => {
            let lengths = column.as_string::<i32>().offsets().lengths();
            sizes.iter_mut().zip(lengths).for_each(|(size, length)| *size += length);
        }
        ArrowType::Binary => {
            let lengths = column.as_binary::<i32>().offsets().lengths();
            sizes.iter_mut().zip(lengths).for_each(|(size, length)| *size += length);
        }
        _ => {}
    }
}

/// A row of a side: the number of its piece and its place there. [`MISSING`] stands for no row.
type RowRef = (u32, u32);

const MISSING: RowRef = (u32::MAX, u32::MAX);

/// Joined rows on their way into batches that are bounded in rows and bytes.
pub(crate) struct Joined<'a> {
    step: usize,
    join: &'a JoinPlan,
    source: usize,
    batches: Vec<Batch>,
    rows: [Vec<RowRef>; 2],
    /// Bounds of each row's window (window joins).
    starts: Vec<i64>,
    ends: Vec<i64>,
    /// Event time of each row.
    times: Vec<i64>,
    /// About how many bytes the rows have.
    bytes: usize,
}

impl<'a> Joined<'a> {
    fn new(step: usize, join: &'a JoinPlan, source: usize) -> Self {
        Self {
            step,
            join,
            source,
            batches: Vec::new(),
            rows: Default::default(),
            starts: Vec::new(),
            ends: Vec::new(),
            times: Vec::new(),
            bytes: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Adds a row of a window, unless it has no partner and rows without one do not come.
    fn push_in_window(&mut self, window: Window, pieces: [&[Arc<Piece>]; 2], rows: [RowRef; 2]) {
        if (0..2).any(|side| rows[1 - side] == MISSING && !self.join.kind.keeps(side)) {
            return;
        }
        self.starts.push(window.start);
        self.ends.push(window.end);
        self.push(pieces, rows, window.end - 1);
    }

    /// Adds a row; `pieces` are those that its numbers speak of, which stay the same until a batch is made.
    fn push(&mut self, pieces: [&[Arc<Piece>]; 2], rows: [RowRef; 2], time: i64) {
        for side in 0..2 {
            self.rows[side].push(rows[side]);
            if let Some(piece) = pieces[side].get(rows[side].0 as usize) {
                let row = rows[side].1 as usize;
                self.bytes += piece.widest + piece.keys.value(row).len() + piece.orders.value(row).len();
            }
        }
        self.times.push(time);
        if self.times.len() >= EMISSION_ROWS || self.bytes >= EMISSION_KEY_BYTES {
            self.flush(pieces);
        }
    }

    /// Makes a batch of the rows added since the last one.
    fn flush(&mut self, pieces: [&[Arc<Piece>]; 2]) {
        let mut rows = std::mem::take(&mut self.rows);
        let mut times = std::mem::take(&mut self.times);
        self.bytes = 0;
        if times.is_empty() {
            return;
        }
        if !matches!(self.join.time, JoinTime::Window(_)) {
            sort_pairs(pieces, &mut rows, &mut times);
        }
        let sides = [0, 1].map(|side| Side::new(pieces[side], &rows[side]));
        let (starts, ends) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.ends));
        let columns = self.join.columns.iter().enumerate().map(|(number, column)| {
            let values = match &column.value {
                JoinValue::WindowStart => timestamps(&starts),
                JoinValue::WindowEnd => timestamps(&ends),
                JoinValue::Key(_) => either(&sides, number),
                JoinValue::Side(side, _) => {
                    sides[*side].values(number, &new_null_array(&column.field.data_type.arrow(), 1))
                }
            };
            (column.field.name.clone(), values)
        });
        let columns = named(columns.collect(), times.len());
        let is_traced = sides.iter().flat_map(|side| &side.pieces).any(|piece| !piece.names.is_empty());
        let pairs = if is_traced { pairs_of(&sides) } else { Vec::new() };
        let identity = match self.join.time {
            JoinTime::Window(_) => {
                let keys = identities(&sides, true);
                Identity::Windows { starts, ends, keys }
            }
            JoinTime::Within { .. } => Identity::Pairs { orders: identities(&sides, false) },
            // A left row comes once, whatever is beside it.
            JoinTime::AsOf { .. } => {
                let none = Side { pieces: Vec::new(), rows: vec![(0, 0); times.len()] };
                let [left, _] = sides;
                Identity::Pairs { orders: identities(&[left, none], false) }
            }
        };
        let made_by = Some(Maker { pairs, ..Maker::of(self.step) });
        let origin = Origin {
            event_times: times,
            watermarks: Vec::new(),
            source: self.source,
            identity,
            of_join: true,
            made_by,
            tombstones: None,
        };
        self.batches.push(Batch { columns, origin: Arc::new(origin), selection: None, path: Vec::new() });
    }

    fn finish(self) -> Vec<Batch> {
        self.batches
    }
}

/// Sorts pairs by event time, then by the places of both rows in the record order.
fn sort_pairs(pieces: [&[Arc<Piece>]; 2], rows: &mut [Vec<RowRef>; 2], times: &mut Vec<i64>) {
    let order = |side: usize, at: u32| {
        let row = rows[side][at as usize];
        pieces[side].get(row.0 as usize).map(|piece| piece.orders.value(row.1 as usize))
    };
    let mut sorted: Vec<u32> = (0..times.len() as u32).collect();
    sorted.sort_unstable_by(|a, b| {
        let by_time = times[*a as usize].cmp(&times[*b as usize]);
        by_time.then_with(|| order(0, *a).cmp(&order(0, *b))).then_with(|| order(1, *a).cmp(&order(1, *b)))
    });
    *rows = [0, 1].map(|side: usize| sorted.iter().map(|at| rows[side][*at as usize]).collect());
    *times = sorted.iter().map(|at| times[*at as usize]).collect();
}

fn timestamps(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

/// One side of the rows of a batch.
struct Side<'a> {
    /// The pieces that its rows are in.
    pieces: Vec<&'a Piece>,
    /// Per row: its piece, counted from 1, and its place there; (0, 0) where there is none.
    rows: Vec<(usize, usize)>,
}

impl<'a> Side<'a> {
    fn new(pieces: &'a [Arc<Piece>], rows: &[RowRef]) -> Self {
        let mut numbers = vec![0; pieces.len()];
        let mut used: Vec<&Piece> = Vec::new();
        let rows = rows.iter().map(|row| {
            if *row == MISSING {
                return (0, 0);
            }
            let number = &mut numbers[row.0 as usize];
            if *number == 0 {
                used.push(&pieces[row.0 as usize]);
                *number = used.len();
            }
            (*number, row.1 as usize)
        });
        let rows = rows.collect();
        Self { pieces: used, rows }
    }

    /// Returns a column's values; null where there is no row.
    fn values(&self, column: usize, null: &ArrayRef) -> ArrayRef {
        let mut arrays: Vec<&dyn Array> = vec![null];
        arrays.extend(self.pieces.iter().map(|piece| &**piece.column(column)));
        interleave(&arrays, &self.rows).expect("values of one column have one type")
    }

    fn piece(&self, row: usize) -> Option<(&'a Piece, usize)> {
        let (piece, place) = self.rows[row];
        piece.checked_sub(1).map(|piece| (self.pieces[piece], place))
    }
}

impl Piece {
    fn column(&self, number: usize) -> &ArrayRef {
        self.columns[number].as_ref().expect("the side has this column")
    }
}

/// Returns the values of a key column: the left ones, and the right ones where there is no left row.
fn either(sides: &[Side<'_>; 2], column: usize) -> ArrayRef {
    let arrays: Vec<&dyn Array> =
        sides.iter().flat_map(|side| &side.pieces).map(|piece| &**piece.column(column)).collect();
    let [left, right] = sides;
    let places = left.rows.iter().zip(&right.rows).map(|(left_row, right_row)| match left_row.0 {
        0 => (left.pieces.len() + right_row.0 - 1, right_row.1),
        piece => (piece - 1, left_row.1),
    });
    interleave(&arrays, &places.collect::<Vec<_>>()).expect("values of one key have one type")
}

/// Returns the two rows that each row is made of, as far as their names are known.
fn pairs_of(sides: &[Side<'_>; 2]) -> Vec<Pair> {
    let name = |side: &Side<'_>, row: usize| side.piece(row).and_then(|(piece, place)| piece.names.get(place).cloned());
    (0..sides[0].rows.len()).map(|row| Arc::new([0, 1].map(|side: usize| name(&sides[side], row)))).collect()
}

/// Returns what names each joined row: the key (of window joins), then the left row's place in the record order, then the
/// right one's; a missing row comes before all others.
fn identities(sides: &[Side<'_>; 2], with_key: bool) -> BinaryArray {
    let rows = sides[0].rows.len();
    let mut builder = BinaryBuilder::with_capacity(rows, rows * 64);
    let mut bytes = Vec::new();
    for row in 0..rows {
        bytes.clear();
        let found = [0, 1].map(|side: usize| sides[side].piece(row));
        if let (true, Some((piece, place))) = (with_key, found[0].or(found[1])) {
            bytes.extend_from_slice(piece.keys.value(place));
        }
        for found in found {
            match found {
                Some((piece, place)) => {
                    bytes.push(1);
                    bytes.extend_from_slice(piece.orders.value(place));
                }
                None => bytes.push(0),
            }
        }
        builder.append_value(&bytes);
    }
    builder.finish()
}
