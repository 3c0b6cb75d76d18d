//! Interval joins: all pairs of rows with equal keys and `left − before <= right <= left + after`.
//!
//! Each side's rows are held by key and event time. New rows meet what the other side holds, so each pair is found once,
//! whichever of its rows comes last. `G` of a side says that no row of it that is yet to come is earlier; so a left row
//! can meet nothing more when `G` of the right side is greater than `left + after`, a right row when `G` of the left side
//! is greater than `right + before`. It is given back then, and comes without a partner if it met none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::held::Held;
use super::keyed::{Keys, merge_by};
use super::snapshot::{HeldBucket, HeldRows, MET};
use super::{Joined, MISSING, Piece, RowRef};
use crate::bucket::{Bucket, Buckets};
use crate::plan::JoinKind;
use crate::snapshot::Grain;
use crate::watermark::{NEVER, completeness};

/// Rows of both sides that may still meet others.
#[derive(Clone, Default)]
pub(crate) struct IntervalJoin {
    /// Rows that came since the last closing.
    pending: [Vec<Arc<Piece>>; 2],
    held: [Held; 2],
    keys: Keys,
    /// By key: the rows of each side, by event time.
    rows: Vec<[Vec<Entry>; 2]>,
    /// By side: for each key that holds rows, the time of the earliest; and outdated ones, which do no harm.
    due: [BinaryHeap<Reverse<(i64, u32)>>; 2],
    /// By side, its rows by their event time.
    buckets: [Buckets; 2],
}

/// A row that is held.
#[derive(Clone, Copy)]
struct Entry {
    time: i64,
    row: RowRef,
    has_met: bool,
}

/// How far rows reach: a left row `after`, a right row `before`.
type Reach = [i64; 2];

/// Returns how far the output is complete when the sides are as far as that.
///
/// A pair with a row that is yet to come is not earlier than that row, so pairs alone are complete as far as the lesser
/// side. A left row that waits for a partner comes with its own event time; it waits as long as `G` of the right side is
/// not greater than `left + after`, so it may be as early as that `G − after`. Likewise for right rows. With these taken
/// off nothing comes late to whoever reads the output.
pub(crate) fn complete(kind: JoinKind, reach: Reach, bounds: [i64; 2]) -> i64 {
    let of = |side: usize| {
        // The other side's rows wait for this one.
        let waiting = if kind.keeps(1 - side) { reach[1 - side] } else { 0 };
        completeness(bounds[side], waiting)
    };
    of(0).min(of(1))
}

impl IntervalJoin {
    /// Takes in rows of a side.
    pub(super) fn add(&mut self, side: usize, piece: Piece) {
        self.pending[side].push(Arc::new(piece));
    }

    /// Returns the rows of a side that are held, by bucket; those of buckets that have not changed since the last snapshot only if
    /// the whole is asked for. None are pending: it was closed.
    pub(super) fn cut(&mut self, side: usize, whole: bool, grain: &Grain) -> Vec<HeldBucket<'_>> {
        let Self { rows, held, buckets, .. } = self;
        let rows = &*rows;
        let entries = move || rows.iter().flat_map(move |rows| &rows[side]);
        let all = move || entries().map(|entry| (entry.time, (entry.row, entry.has_met)));
        HeldRows::of(&held[side], Some(MET), buckets[side].cut(all, whole, grain))
    }

    /// Takes in rows of a side that a snapshot gave, and which of them have met others.
    pub(super) fn restore(
        &mut self,
        side: usize,
        bucket: Option<Bucket>,
        piece: Piece,
        met: &[bool],
        hasher: &DefaultHashBuilder,
    ) {
        let mut fresh: Vec<(u32, Entry)> = Vec::with_capacity(piece.len());
        for (row, has_met) in met.iter().enumerate() {
            let key: &[u8] = if piece.joins(row as u32) { piece.keys.value(row) } else { &NO_KEY[side] };
            let entry = Entry { time: piece.times[row], row: (0, row as u32), has_met: *has_met };
            fresh.push((self.keys.number(key, hasher), entry));
        }
        self.rows.resize_with(self.keys.len(), Default::default);
        let number = self.held[side].add(Arc::new(piece), fresh.len());
        fresh.sort_unstable_by_key(|(key, entry)| (*key, entry.time, entry.row));
        for fresh in fresh.chunk_by(|(a, _), (b, _)| a == b) {
            let key = fresh[0].0;
            let rows = &mut self.rows[key as usize][side];
            let placed = fresh.iter().map(|(_, entry)| Entry { row: (number, entry.row.1), ..*entry });
            merge_by(rows, placed, |entry| entry.time);
            self.due[side].push(Reverse((rows[0].time, key)));
        }
        self.buckets[side].restored(bucket);
    }

    pub(super) fn merge(&mut self, mut other: IntervalJoin) {
        if !other.rows.is_empty() {
            std::mem::swap(self, &mut other);
        }
        assert!(other.rows.is_empty(), "of two states of a join one was never closed");
        for (mine, theirs) in self.pending.iter_mut().zip(other.pending) {
            mine.extend(theirs);
        }
    }

    /// Returns how many rows its pieces have, dead ones too.
    #[cfg(test)]
    pub(super) fn held_rows(&self) -> usize {
        self.held.iter().map(Held::rows).sum()
    }

    pub(super) fn row_count(&self) -> usize {
        let pending: usize = self.pending.iter().flatten().map(|piece| piece.len()).sum();
        pending + self.rows.iter().flatten().map(Vec::len).sum::<usize>()
    }

    pub(super) fn size_bytes(&self) -> usize {
        let pending: usize = self.pending.iter().flatten().map(|piece| piece.size_bytes()).sum();
        let entries: usize = self.rows.iter().flatten().map(|rows| rows.capacity() * size_of::<Entry>()).sum();
        pending + entries + self.keys.size_bytes() + self.held.iter().map(Held::size_bytes).sum::<usize>()
    }

    /// Lets new rows meet, and gives back those that can meet nothing more. `bounds` is `G` of each side; None: the log has
    /// ended, so every row that still waits comes out.
    pub(super) fn close(
        &mut self,
        reach: Reach,
        bounds: Option<[i64; 2]>,
        hasher: &DefaultHashBuilder,
        joined: &mut Joined<'_>,
    ) {
        let mut fresh = [0, 1].map(|side| self.arrivals(side, joined.join.kind, hasher));
        let [left, right] = &mut fresh;
        let (mut left, mut right) = (left.as_mut_slice(), right.as_mut_slice());
        loop {
            let key = match (left.first(), right.first()) {
                (Some((a, _)), Some((b, _))) => *a.min(b),
                (Some((key, _)), None) | (None, Some((key, _))) => *key,
                (None, None) => break,
            };
            let count = |rows: &[(u32, Entry)]| rows.partition_point(|(other, _)| *other == key);
            let (lefts, rights) = (count(left), count(right));
            let (mine, rest) = left.split_at_mut(lefts);
            left = rest;
            let (theirs, rest) = right.split_at_mut(rights);
            right = rest;
            self.meet(key, [mine, theirs], reach, joined);
        }
        let mut released = [Vec::new(), Vec::new()];
        for side in 0..2 {
            let limit = match bounds {
                None => i64::MAX,
                Some(bounds) if bounds[1 - side] == NEVER => continue,
                Some(bounds) => bounds[1 - side].saturating_sub(reach[side]),
            };
            self.give_back(side, limit, joined, &mut released[side]);
        }
        joined.flush([self.held[0].pieces(), self.held[1].pieces()]);
        for (held, released) in self.held.iter_mut().zip(released) {
            released.into_iter().for_each(|row| held.release(row));
        }
        self.compact(hasher);
    }

    /// Takes in the pending rows of a side, and returns them by key and event time.
    fn arrivals(&mut self, side: usize, kind: JoinKind, hasher: &DefaultHashBuilder) -> Vec<(u32, Entry)> {
        let mut fresh = Vec::new();
        for piece in std::mem::take(&mut self.pending[side]) {
            let before = fresh.len();
            for row in 0..piece.len() as u32 {
                let key = match piece.joins(row) {
                    true => self.keys.number(piece.keys.value(row as usize), hasher),
                    // It meets nothing, but may come without a partner.
                    false if kind.keeps(side) => self.keys.number(&NO_KEY[side], hasher),
                    false => continue,
                };
                let entry = Entry { time: piece.times[row as usize], row: (0, row), has_met: false };
                fresh.push((key, entry));
            }
            if fresh.len() > before {
                let number = self.held[side].add(piece, fresh.len() - before);
                fresh[before..].iter_mut().for_each(|(_, entry)| entry.row.0 = number);
            }
        }
        self.rows.resize_with(self.keys.len(), Default::default);
        fresh.iter().for_each(|(_, entry)| self.buckets[side].touch(entry.time));
        fresh.sort_unstable_by_key(|(key, entry)| (*key, entry.time, entry.row));
        fresh
    }

    /// Lets the new rows of a key meet those that are held and each other, and holds them.
    fn meet(&mut self, key: u32, fresh: [&mut [(u32, Entry)]; 2], [after, before]: Reach, joined: &mut Joined<'_>) {
        let pieces = [self.held[0].pieces(), self.held[1].pieces()];
        let [lefts, rights] = &mut self.rows[key as usize];
        let [new_lefts, new_rights] = fresh;
        let buckets = &mut self.buckets;
        let mut pair = |left: &mut Entry, right: &mut Entry| {
            for (side, entry) in [&mut *left, &mut *right].into_iter().enumerate().filter(|(_, entry)| !entry.has_met) {
                entry.has_met = true;
                buckets[side].touch(entry.time);
            }
            joined.push(pieces, [left.row, right.row], left.time.max(right.time));
        };
        for (_, right) in new_rights.iter_mut() {
            for left in between(lefts, right.time.saturating_sub(after), right.time.saturating_add(before)) {
                pair(left, right);
            }
        }
        let first = [lefts.first(), rights.first()].map(|entry| entry.map(|entry| entry.time));
        merge_by(rights, new_rights.iter().map(|(_, entry)| *entry), |entry| entry.time);
        for (_, left) in new_lefts.iter_mut() {
            for right in between(rights, left.time.saturating_sub(before), left.time.saturating_add(after)) {
                pair(left, right);
            }
        }
        merge_by(lefts, new_lefts.iter().map(|(_, entry)| *entry), |entry| entry.time);
        for (side, rows) in [lefts, rights].into_iter().enumerate() {
            let now = rows.first().map(|entry| entry.time);
            if let Some(time) = now.filter(|_| now != first[side]) {
                self.due[side].push(Reverse((time, key)));
            }
        }
    }

    /// Takes out a side's rows before `limit`.
    fn give_back(&mut self, side: usize, limit: i64, joined: &mut Joined<'_>, released: &mut Vec<RowRef>) {
        let keeps = joined.join.kind.keeps(side);
        while let Some(Reverse((time, key))) = self.due[side].peek().copied().filter(|next| next.0.0 < limit) {
            self.due[side].pop();
            let rows = &mut self.rows[key as usize][side];
            let count = rows.partition_point(|entry| entry.time < limit);
            if rows.first().is_none_or(|first| first.time != time) {
                continue; // outdated: another one stands for this key
            }
            for entry in rows.drain(..count) {
                if keeps && !entry.has_met {
                    let mut pair = [MISSING, MISSING];
                    pair[side] = entry.row;
                    joined.push([self.held[0].pieces(), self.held[1].pieces()], pair, entry.time);
                }
                self.buckets[side].touch(entry.time);
                released.push(entry.row);
            }
            if let Some(first) = rows.first() {
                self.due[side].push(Reverse((first.time, key)));
            }
        }
    }

    /// Gives back the memory of rows and keys that are gone, when it is more than that of the others.
    fn compact(&mut self, hasher: &DefaultHashBuilder) {
        if self.keys.is_wasteful() {
            let kept = self.keys.keep(|key| self.rows[key as usize].iter().any(|rows| !rows.is_empty()), hasher);
            self.rows = kept.iter().map(|key| std::mem::take(&mut self.rows[*key as usize])).collect();
            for (side, due) in self.due.iter_mut().enumerate() {
                let first = |(key, rows): (usize, &[Vec<Entry>; 2])| {
                    rows[side].first().map(|entry| Reverse((entry.time, key as u32)))
                };
                *due = self.rows.iter().enumerate().filter_map(first).collect();
            }
        }
        for (side, held) in self.held.iter_mut().enumerate().filter(|(_, held)| held.is_wasteful()) {
            let all = self.rows.iter_mut().flat_map(|rows| &mut rows[side]).map(|entry| &mut entry.row);
            held.keep(&mut all.collect::<Vec<_>>());
        }
    }
}

/// By side: what stands for every key with a null, so that they never meet. No real key begins so.
const NO_KEY: [[u8; 2]; 2] = [[255, 0], [255, 1]];

/// Returns the rows from one time to another, both included; `rows` are by event time.
fn between(rows: &mut [Entry], from: i64, to: i64) -> &mut [Entry] {
    let begin = rows.partition_point(|entry| entry.time < from);
    let count = rows[begin..].partition_point(|entry| entry.time <= to);
    &mut rows[begin..begin + count]
}
