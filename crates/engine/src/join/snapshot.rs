//! The rows that a join holds as tables, and back: see [`crate::snapshot`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_empty_array};
use arrow::buffer::BooleanBuffer;
use hashbrown::DefaultHashBuilder;

use super::held::{Held, gather};
use super::{JoinState, Piece, RowRef, add_text_sizes};
use crate::bucket::{Bucket, BucketRows};
use crate::group::KeyCodec;
use crate::plan::{JoinPlan, JoinTime, JoinValue};
use crate::rows::named;
use crate::snapshot::{Grain, PartName, fits_bucket, fitting, ranges, times, timestamps};
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

/// A bucket, and its rows if they are wanted.
pub(super) type HeldBucket<'a> = (Bucket, Option<HeldRows<'a>>);

impl<'a> HeldRows<'a> {
    /// Makes rows of buckets of one side, given with what the flag of that name says of each.
    pub(super) fn of(
        held: &'a Held,
        flag: Option<&'static str>,
        buckets: Vec<BucketRows<(RowRef, bool)>>,
    ) -> Vec<HeldBucket<'a>> {
        let rows = |rows: Vec<(RowRef, bool)>| HeldRows {
            pieces: held.pieces(),
            places: rows.iter().map(|(row, _)| (row.0 as usize, row.1 as usize)).collect(),
            flag: flag.map(|name| (name, rows.iter().map(|(_, holds)| *holds).collect())),
        };
        buckets.into_iter().map(|(bucket, of)| (bucket, of.map(rows))).collect()
    }

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

/// A part of a join's state.
pub(crate) struct SidePart {
    pub(crate) window: Option<Window>,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) side: usize,
    /// Its rows, unless they are as at the last snapshot.
    pub(crate) tables: Option<Vec<RecordBatch>>,
}

impl JoinState {
    /// Returns the rows that it holds, by window and side; those that have not changed since the last snapshot only if the
    /// whole is asked for.
    pub(crate) fn snapshot(&mut self, join: &JoinPlan, codec: &KeyCodec, whole: bool, grain: &Grain) -> Vec<SidePart> {
        match self {
            JoinState::Window(state) => {
                let sides = state.sides(whole).into_iter();
                let part = |(window, side, rows): WindowSide| {
                    let tables = rows.map(|(pieces, places)| {
                        HeldRows { pieces: &pieces, places, flag: None }.tables(join, side, codec)
                    });
                    SidePart { window: Some(window), bucket: None, side, tables }
                };
                sides.map(part).collect()
            }
            JoinState::Interval(_) | JoinState::AsOf(_) => {
                let mut parts = Vec::new();
                for side in 0..2 {
                    let found = match self {
                        JoinState::Interval(state) => state.cut(side, whole, grain),
                        JoinState::AsOf(state) => state.cut(side, whole, grain),
                        JoinState::Window(_) => unreachable!("a window's rows are not cut by time"),
                    };
                    parts.extend(found.into_iter().map(|(bucket, rows)| {
                        let tables = rows.map(|rows| rows.tables(join, side, codec));
                        SidePart { window: None, bucket: Some(bucket), side, tables }
                    }));
                }
                parts
            }
        }
    }

    /// Takes in the rows of a part; None: they do not fit.
    pub(crate) fn restore(
        &mut self,
        join: &JoinPlan,
        codec: &KeyCodec,
        name: &PartName,
        tables: &[RecordBatch],
        hasher: &DefaultHashBuilder,
    ) -> Option<()> {
        let side = name.side.filter(|side| *side < 2)?;
        for rows in tables {
            match (&mut *self, name.window) {
                (JoinState::Window(state), Some(window)) => {
                    let (piece, _) = piece(join, side, codec, rows, None)?;
                    state.restore(window, side, piece);
                }
                (JoinState::Interval(state), None) => {
                    let (piece, met) = piece(join, side, codec, rows, Some(MET))?;
                    fits_bucket(name.bucket, &piece.times)?;
                    state.restore(side, name.bucket, piece, &met, hasher);
                }
                (JoinState::AsOf(state), None) => {
                    let flag = (side == 1).then_some(TOMBSTONE);
                    let (mut piece, holds) = piece(join, side, codec, rows, flag)?;
                    piece.tombstones = holds.contains(&true).then(|| holds.into());
                    fits_bucket(name.bucket, &piece.times)?;
                    state.restore(side, name.bucket, piece);
                }
                _ => return None,
            }
        }
        Some(())
    }
}
