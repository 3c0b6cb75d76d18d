//! Window joins: all pairs of rows with equal keys in the same window.
//!
//! A window is closed once neither side can add to it. Then each side's rows are sorted by key and place in the record
//! order, and both are walked together, so that the pairs come out in canonical order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::WindowSide;
use super::{Joined, MISSING, Piece, RowRef};
use crate::snapshot::is_wanted;
use crate::watermark::is_final;
use crate::window::Window;

/// Rows of the open windows, by side.
#[derive(Clone, Default)]
pub(crate) struct WindowJoin {
    windows: BTreeMap<Window, Sides>,
}

/// The rows of both sides of a window.
#[derive(Clone, Default)]
struct Sides {
    rows: [Vec<Chosen>; 2],
    /// By side, whether the last snapshot has it as it is.
    saved: [bool; 2],
}

/// The rows of a piece that are in a window.
#[derive(Clone)]
struct Chosen {
    piece: Arc<Piece>,
    rows: Vec<u32>,
}

impl WindowJoin {
    /// Takes rows of a side into a window.
    pub(super) fn add(&mut self, window: Window, side: usize, piece: &Arc<Piece>, rows: Vec<u32>) {
        let sides = self.windows.entry(window).or_default();
        sides.rows[side].push(Chosen { piece: piece.clone(), rows });
        sides.saved[side] = false;
    }

    pub(super) fn merge(&mut self, other: WindowJoin) {
        for (window, other) in other.windows {
            let mine = self.windows.entry(window).or_default();
            for (side, rows) in other.rows.into_iter().enumerate() {
                mine.saved[side] &= rows.is_empty();
                mine.rows[side].extend(rows);
            }
        }
    }

    /// Returns the open windows, by side, with their rows if they are wanted in a snapshot.
    pub(super) fn sides(&mut self, whole: bool) -> Vec<WindowSide> {
        let mut found = Vec::new();
        for (window, sides) in &mut self.windows {
            for (side, chosen) in sides.rows.iter().enumerate() {
                let is_wanted = is_wanted(&mut sides.saved[side], whole);
                let rows = is_wanted.then(|| {
                    let pieces = chosen.iter().map(|chosen| chosen.piece.clone()).collect();
                    let numbered = chosen.iter().enumerate();
                    let places =
                        numbered.flat_map(|(piece, chosen)| chosen.rows.iter().map(move |row| (piece, *row as usize)));
                    (pieces, places.collect())
                });
                found.push((*window, side, rows));
            }
        }
        found
    }

    /// Takes in rows of a side that a snapshot gave.
    pub(super) fn restore(&mut self, window: Window, side: usize, piece: Piece) {
        let rows = (0..piece.len() as u32).collect();
        let sides = self.windows.entry(window).or_default();
        sides.rows[side].push(Chosen { piece: Arc::new(piece), rows });
        sides.saved[side] = true;
    }

    pub(super) fn open(&self) -> usize {
        self.windows.len()
    }

    pub(super) fn row_count(&self) -> usize {
        self.windows.values().flat_map(|sides| &sides.rows).flatten().map(|chosen| chosen.rows.len()).sum()
    }

    pub(super) fn size_bytes(&self) -> usize {
        // A piece is in several windows, mostly in successive ones.
        let mut last = [std::ptr::null(), std::ptr::null()];
        let mut size = 0;
        for sides in self.windows.values() {
            for (side, chosen) in sides.rows.iter().enumerate() {
                for Chosen { piece, rows } in chosen {
                    size += rows.capacity() * 4;
                    if Arc::as_ptr(piece) != last[side] {
                        size += piece.size_bytes();
                        last[side] = Arc::as_ptr(piece);
                    }
                }
            }
        }
        size
    }

    /// Lets the rows of the windows that end at or before `bound` meet (None: of all), and returns how many these were.
    pub(super) fn close(&mut self, bound: Option<i64>, joined: &mut Joined<'_>) -> u64 {
        let mut closed = 0;
        let mut pieces: [Vec<Arc<Piece>>; 2] = Default::default();
        while let Some(entry) = self.windows.first_entry() {
            let end = entry.key().end;
            if bound.is_some_and(|bound| !is_final(end, 0, bound)) {
                break;
            }
            let (window, sides) = entry.remove_entry();
            if joined.is_empty() {
                pieces = Default::default();
            }
            join(window, sides.rows, &mut pieces, joined);
            closed += 1;
        }
        joined.flush([&pieces[0], &pieces[1]]);
        closed
    }
}

/// Joins the rows of one window. Their pieces join `pieces`.
fn join(window: Window, sides: [Vec<Chosen>; 2], pieces: &mut [Vec<Arc<Piece>>; 2], joined: &mut Joined<'_>) {
    let mut side = 0;
    let [left, right] = sides.map(|chosen| {
        let rows = sorted(chosen, &mut pieces[side]);
        side += 1;
        rows
    });
    let pieces = [pieces[0].as_slice(), pieces[1].as_slice()];
    let mut push = |rows: [RowRef; 2]| joined.push_in_window(window, pieces, rows);
    let (mut left, mut right) = (left.as_slice(), right.as_slice());
    loop {
        let order = match (left.first(), right.first()) {
            (Some(a), Some(b)) => key(pieces[0], *a).cmp(key(pieces[1], *b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let mine = if order.is_le() { take_run(pieces[0], &mut left) } else { &[] };
        let theirs = if order.is_ge() { take_run(pieces[1], &mut right) } else { &[] };
        let meet = mine.first().is_some_and(|row| pieces[0][row.0 as usize].joins(row.1)) && !theirs.is_empty();
        if meet {
            for row in mine {
                theirs.iter().for_each(|other| push([*row, *other]));
            }
        } else {
            // Keys with a null may be equal bytes on both sides. No row comes before any row.
            theirs.iter().for_each(|other| push([MISSING, *other]));
            mine.iter().for_each(|row| push([*row, MISSING]));
        }
    }
}

/// Returns a side's rows of a window by key and place in the record order. Their pieces join `pieces`.
fn sorted(chosen: Vec<Chosen>, pieces: &mut Vec<Arc<Piece>>) -> Vec<RowRef> {
    let mut all = Vec::with_capacity(chosen.iter().map(|chosen| chosen.rows.len()).sum());
    for Chosen { piece, rows } in chosen {
        let number = pieces.len() as u32;
        all.extend(rows.into_iter().map(|row| (number, row)));
        pieces.push(piece);
    }
    let place = |row: RowRef| {
        let piece = &pieces[row.0 as usize];
        (piece.keys.value(row.1 as usize), piece.orders.value(row.1 as usize))
    };
    all.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)));
    all
}

fn key(pieces: &[Arc<Piece>], row: RowRef) -> &[u8] {
    pieces[row.0 as usize].keys.value(row.1 as usize)
}

/// Takes the first rows that have one key.
fn take_run<'r>(pieces: &[Arc<Piece>], rows: &mut &'r [RowRef]) -> &'r [RowRef] {
    let first = key(pieces, rows[0]);
    let (run, rest) = rows.split_at(rows.partition_point(|row| key(pieces, *row) == first));
    *rows = rest;
    run
}
