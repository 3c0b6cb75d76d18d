//! The rows that a join holds as tables, and back: see [`crate::snapshot`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_empty_array};
use arrow::buffer::BooleanBuffer;
use hashbrown::DefaultHashBuilder;

use super::held::gather;
use super::{JoinState, Piece, add_text_sizes};
use crate::group::KeyCodec;
use crate::plan::{JoinPlan, JoinTime, JoinValue};
use crate::rows::named;
use crate::snapshot::{fitting, is_wanted, ranges, times, timestamps};
use crate::window::Window;

/// Rows of some pieces: which are held, and what must be known of each besides.
pub(super) struct HeldRows<'a> {
    pub(super) pieces: &'a [Arc<Piece>],
    /// Number of the piece and place in it.
    pub(super) places: Vec<(usize, usize)>,
    /// A name, and whether it holds of each row.
    pub(super) flag: Flag,
}

/// A name, and of which rows it holds.
type Flag = Option<(&'static str, Vec<bool>)>;

/// What interval joins know of a row: whether it has met another one.
pub(super) const MET: &str = "_met";
/// What as-of joins know of a right row: whether it is a record without a value.
pub(super) const TOMBSTONE: &str = "_tombstone";

impl HeldRows<'_> {
    /// Returns the rows as tables, by place in the record order.
    fn tables(&self, join: &JoinPlan, side: usize, codec: &KeyCodec) -> Vec<RecordBatch> {
        let place = |row: usize| {
            let (piece, row) = self.places[row];
            (&self.pieces[piece], row)
        };
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_unstable_by_key(|row| {
            let (piece, row) = place(*row);
            piece.orders.value(row)
        });
        let sizes = order.iter().map(|row| {
            let (piece, row) = place(*row);
            piece.widest + piece.keys.value(row).len() + piece.orders.value(row).len()
        });
        let tables = ranges(sizes).map(|range| {
            let rows = &order[range];
            let places: Vec<(usize, usize)> = rows.iter().map(|row| self.places[*row]).collect();
            let of_rows = |of: &[bool]| rows.iter().map(|row| of[*row]).collect();
            let flag = self.flag.as_ref().map(|(name, of)| (*name, of_rows(of)));
            table(join, side, codec, &gather(self.pieces, &places), flag)
        });
        tables.collect()
    }
}

/// Makes a table of a piece: keys, place in the record order, event time, what else is known of each row, columns.
fn table(join: &JoinPlan, side: usize, codec: &KeyCodec, piece: &Piece, flag: Flag) -> RecordBatch {
    let keys = codec.decode((0..piece.len()).map(|row| piece.keys.value(row)));
    let mut columns: Vec<(String, ArrayRef)> =
        join.on.iter().zip(keys).map(|(key, values)| (format!("on.{}", key.names[side]), values)).collect();
    columns.push(("_order".into(), Arc::new(piece.orders.clone())));
    columns.push(("_time".into(), timestamps(piece.times.iter().copied())));
    columns.extend(flag.map(|(name, of)| (name.into(), Arc::new(BooleanArray::from(of)) as ArrayRef)));
    for (number, column) in join.columns.iter().enumerate() {
        let has_it = match &column.value {
            JoinValue::Key(_) => true,
            JoinValue::Side(of, _) => *of == side,
            JoinValue::WindowStart | JoinValue::WindowEnd => false,
        };
        if has_it {
            let values = piece.columns.get(number).cloned().flatten();
            let values = values.unwrap_or_else(|| new_empty_array(&column.field.data_type.arrow()));
            columns.push((format!("#{number}"), values));
        }
    }
    named(columns, piece.len())
}

/// Returns the table of a side that holds no row.
pub(crate) fn empty_rows(join: &JoinPlan, codec: &KeyCodec, side: usize) -> RecordBatch {
    let flag = match join.time {
        JoinTime::Window(_) => None,
        JoinTime::Within { .. } => Some(MET),
        JoinTime::AsOf { .. } => (side == 1).then_some(TOMBSTONE),
    };
    table(join, side, codec, &Piece::empty(), flag.map(|name| (name, Vec::new())))
}

/// Makes the piece that a table was made of, and of which rows the flag of that name holds; None: it does not fit.
fn piece(
    join: &JoinPlan,
    side: usize,
    codec: &KeyCodec,
    rows: &RecordBatch,
    flag: Option<&'static str>,
) -> Option<(Piece, Vec<bool>)> {
    let none = flag.map(|name| (name, Vec::new()));
    let columns = fitting(rows, &table(join, side, codec, &Piece::empty(), none))?;
    let (keys, rest) = columns.split_at(join.on.len());
    let has_null = |row: usize| keys.iter().any(|key| key.is_null(row));
    let nulls = keys.iter().any(|key| key.null_count() > 0);
    let values = |at: usize| rest[at].as_boolean().values().iter().collect();
    let holds = if flag.is_some() { values(2) } else { Vec::new() };
    let mut held = rest[2 + usize::from(flag.is_some())..].iter();
    let mut widest = vec![0; rows.num_rows()];
    let names = rows.schema();
    let columns = (0..join.columns.len()).map(|number| {
        names.index_of(&format!("#{number}")).ok()?;
        let values = held.next()?;
        add_text_sizes(values, &mut widest);
        Some(values.clone())
    });
    let columns = columns.collect();
    let piece = Piece {
        columns,
        keys: codec.encode(keys, rows.num_rows()),
        nulls: nulls.then(|| BooleanBuffer::collect_bool(rows.num_rows(), has_null)),
        orders: rest[0].as_binary().clone(),
        times: times(&rest[1]).to_vec(),
        widest: widest.into_iter().max().unwrap_or(0),
        tombstones: None,
        names: Vec::new(),
    };
    Some((piece, holds))
}

/// A side of an open window: the pieces that its rows are in, and where in them.
pub(super) type WindowSide = (Window, usize, Option<(Vec<Arc<Piece>>, Vec<(usize, usize)>)>);

/// A part of a join's state: its window, its side, and its rows unless they are as at the last snapshot.
type SidePart = (Option<Window>, usize, Option<Vec<RecordBatch>>);

impl JoinState {
    /// Returns the rows that it holds, by window and side; those that have not changed since the last snapshot only if the
    /// whole is asked for.
    pub(crate) fn snapshot(&mut self, join: &JoinPlan, codec: &KeyCodec, whole: bool) -> Vec<SidePart> {
        match self {
            JoinState::Window(state) => {
                let sides = state.sides(whole).into_iter();
                let part = |(window, side, rows): WindowSide| {
                    let tables = rows.map(|(pieces, places)| {
                        HeldRows { pieces: &pieces, places, flag: None }.tables(join, side, codec)
                    });
                    (Some(window), side, tables)
                };
                sides.map(part).collect()
            }
            JoinState::Interval(state) => {
                let is_wanted = is_wanted(&mut state.saved, whole);
                let rows = |side| is_wanted.then(|| state.rows(side).tables(join, side, codec));
                vec![(None, 0, rows(0)), (None, 1, rows(1))]
            }
            JoinState::AsOf(state) => {
                let is_wanted = is_wanted(&mut state.saved, whole);
                let rows = |side| is_wanted.then(|| state.rows(side).tables(join, side, codec));
                vec![(None, 0, rows(0)), (None, 1, rows(1))]
            }
        }
    }

    /// Takes in the rows of a part; None: they do not fit.
    pub(crate) fn restore(
        &mut self,
        join: &JoinPlan,
        codec: &KeyCodec,
        (window, side): (Option<Window>, usize),
        tables: &[RecordBatch],
        hasher: &DefaultHashBuilder,
    ) -> Option<()> {
        if side > 1 {
            return None;
        }
        for rows in tables {
            match (&mut *self, window) {
                (JoinState::Window(state), Some(window)) => {
                    let (piece, _) = piece(join, side, codec, rows, None)?;
                    state.restore(window, side, piece);
                }
                (JoinState::Interval(state), None) => {
                    let (piece, met) = piece(join, side, codec, rows, Some(MET))?;
                    state.restore(side, piece, &met, hasher);
                }
                (JoinState::AsOf(state), None) => {
                    let flag = (side == 1).then_some(TOMBSTONE);
                    let (mut piece, holds) = piece(join, side, codec, rows, flag)?;
                    piece.tombstones = holds.contains(&true).then(|| holds.into());
                    state.restore(side, piece);
                }
                _ => return None,
            }
        }
        Some(())
    }
}
