//! Rows that a join holds until they can meet nothing any more: pieces with their living rows counted, so that memory is
//! given back when a piece has none left, or when the dead ones are the most.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::interleave;

use super::{Piece, RowRef};
use crate::close::EMISSION_KEY_BYTES;

/// How many dead rows are never worth the work of giving them back.
const SPARE_ROWS: usize = if cfg!(test) { 4 } else { 1 << 14 };

/// The most rows of a piece that is made of living rows.
const GATHERED_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// The pieces of one side.
#[derive(Clone, Default)]
pub(super) struct Held {
    pieces: Vec<Arc<Piece>>,
    /// By piece: how many of its rows live.
    living: Vec<usize>,
    /// Numbers of pieces that are gone.
    free: Vec<u32>,
    /// Rows of all pieces, dead ones too.
    rows: usize,
}

impl Held {
    /// Takes in a piece of which so many rows live, and returns its number.
    pub(super) fn add(&mut self, piece: Arc<Piece>, living: usize) -> u32 {
        self.rows += piece.len();
        match self.free.pop() {
            Some(number) => {
                self.pieces[number as usize] = piece;
                self.living[number as usize] = living;
                number
            }
            None => {
                self.pieces.push(piece);
                self.living.push(living);
                self.pieces.len() as u32 - 1
            }
        }
    }

    /// Returns how many rows the pieces have, dead ones too.
    #[cfg(test)]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the pieces, by number.
    pub(super) fn pieces(&self) -> &[Arc<Piece>] {
        &self.pieces
    }

    /// Returns a row's place in the record order.
    pub(super) fn order(&self, row: RowRef) -> &[u8] {
        self.pieces[row.0 as usize].orders.value(row.1 as usize)
    }

    /// Notes that a row is dead.
    pub(super) fn release(&mut self, row: RowRef) {
        let number = row.0 as usize;
        self.living[number] -= 1;
        if self.living[number] == 0 {
            self.rows -= self.pieces[number].len();
            self.pieces[number] = Arc::new(Piece::empty());
            self.free.push(row.0);
        }
    }

    /// Returns whether more rows are dead than alive.
    pub(super) fn is_wasteful(&self) -> bool {
        self.rows > 2 * self.living.iter().sum::<usize>() + SPARE_ROWS
    }

    /// Leaves only these rows, and writes where each is now.
    pub(super) fn keep(&mut self, rows: &mut [&mut RowRef]) {
        let old = std::mem::take(self);
        let widest = old.pieces.iter().map(|piece| piece.widest).max().unwrap_or(0).max(1);
        let at_once = (EMISSION_KEY_BYTES / widest).clamp(1, GATHERED_ROWS);
        for part in rows.chunks_mut(at_once) {
            let places: Vec<(usize, usize)> = part.iter().map(|row| (row.0 as usize, row.1 as usize)).collect();
            let number = self.add(Arc::new(gather(&old.pieces, &places)), part.len());
            part.iter_mut().enumerate().for_each(|(place, row)| **row = (number, place as u32));
        }
    }

    /// Returns about how many bytes it occupies.
    pub(super) fn size_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.size_bytes()).sum()
    }
}

/// Makes one piece of rows of several.
pub(super) fn gather(pieces: &[Arc<Piece>], places: &[(usize, usize)]) -> Piece {
    // A piece that is gone has no columns.
    let mut numbers = vec![usize::MAX; pieces.len()];
    let mut used: Vec<&Piece> = Vec::new();
    let places: Vec<(usize, usize)> = places
        .iter()
        .map(|(piece, row)| {
            if numbers[*piece] == usize::MAX {
                numbers[*piece] = used.len();
                used.push(&pieces[*piece]);
            }
            (numbers[*piece], *row)
        })
        .collect();
    let together = |arrays: Vec<&dyn Array>| interleave(&arrays, &places).expect("values of one column have one type");
    let count = used.first().map_or(0, |piece| piece.columns.len());
    let columns = (0..count).map(|number| {
        used[0].columns[number].as_ref()?;
        Some(together(used.iter().map(|piece| &**piece.column(number)).collect()))
    });
    let nulls = used
        .iter()
        .any(|piece| piece.nulls.is_some())
        .then(|| BooleanBuffer::collect_bool(places.len(), |i| !used[places[i].0].joins(places[i].1 as u32)));
    Piece {
        columns: columns.collect(),
        keys: together(used.iter().map(|piece| &piece.keys as &dyn Array).collect()).as_binary().clone(),
        nulls,
        orders: together(used.iter().map(|piece| &piece.orders as &dyn Array).collect()).as_binary().clone(),
        times: places.iter().map(|(piece, row)| used[*piece].times[*row]).collect(),
        // Read when rows are taken in; from then on the versions know it.
        tombstones: None,
        widest: used.iter().map(|piece| piece.widest).max().unwrap_or(0),
        names: places.iter().filter_map(|(piece, row)| used[*piece].names.get(*row).cloned()).collect(),
    }
}
