//! As-of joins: each left row beside the version of its key that was valid at its time.
//!
//! A version is a right row; of the versions that are not later than the left row the last one in the record order counts.
//! `G` of the right side says that no version that is yet to come is earlier, so a left row knows its version when that
//! `G` is greater than its own time. Versions that no left row can ask for any more are given back: those behind the one
//! that is valid at the lesser `G` of both sides, because left rows that wait are not before `G` of the right side, and
//! those that are yet to come not before `G` of the left one.
//!
//! A record without a value is a version too: it ends the one before it, and whoever finds it finds nothing. As the first
//! version of its key it says what no version says, so it is given back as soon as no earlier one can come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::held::Held;
use super::keyed::{Keys, merge_by};
use super::snapshot::{HeldBucket, HeldRows, TOMBSTONE};
use super::{Joined, MISSING, Piece, RowRef};
use crate::bucket::{Bucket, Buckets};
use crate::snapshot::Grain;
use crate::watermark::NEVER;

/// Left rows that wait, and the versions of each key.
#[derive(Clone, Default)]
pub(crate) struct AsOfJoin {
    /// Rows that came since the last closing, and whether a snapshot gave them.
    pending: [Vec<(Arc<Piece>, bool)>; 2],
    held: [Held; 2],
    keys: Keys,
    /// By event time and place in the record order.
    waiting: Vec<Waiting>,
    /// By key, in the record order.
    versions: Vec<Vec<Version>>,
    /// For each key of which something can be given back once the frontier gets there: where; and outdated ones.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    /// By side, its rows by their event time.
    buckets: [Buckets; 2],
}

/// A left row.
#[derive(Clone, Copy)]
struct Waiting {
    time: i64,
    /// None: it has a null in its key, so there is no version for it.
    key: Option<u32>,
    row: RowRef,
}

/// A right row.
#[derive(Clone, Copy)]
struct Version {
    time: i64,
    row: RowRef,
    is_tombstone: bool,
}

impl AsOfJoin {
    /// Takes in rows of a side.
    pub(super) fn add(&mut self, side: usize, piece: Piece) {
        self.pending[side].push((Arc::new(piece), false));
    }

    /// Returns the rows of a side that are held, by bucket; those of buckets that have not changed since the last snapshot only if
    /// the whole is asked for. None are pending: it was closed.
    pub(super) fn cut(&mut self, side: usize, whole: bool, grain: &Grain) -> Vec<HeldBucket<'_>> {
        let Self { waiting, versions, held, buckets, .. } = self;
        let (waiting, versions) = (&*waiting, &*versions);
        let lefts = move || waiting.iter().map(|left| (left.time, (left.row, false)));
        let rights =
            move || versions.iter().flatten().map(|version| (version.time, (version.row, version.is_tombstone)));
        let (flag, found) = match side {
            0 => (None, buckets[0].cut(lefts, whole, grain)),
            _ => (Some(TOMBSTONE), buckets[1].cut(rights, whole, grain)),
        };
        HeldRows::of(&held[side], flag, found)
    }

    /// Takes in rows of a side that a snapshot gave. They are taken up by the next closing, as if they had come just now.
    pub(super) fn restore(&mut self, side: usize, bucket: Option<Bucket>, piece: Piece) {
        self.pending[side].push((Arc::new(piece), true));
        self.buckets[side].restored(bucket);
    }

    pub(super) fn merge(&mut self, mut other: AsOfJoin) {
        if !(other.versions.is_empty() && other.waiting.is_empty()) {
            std::mem::swap(self, &mut other);
        }
        let is_fresh = other.versions.is_empty() && other.waiting.is_empty();
        assert!(is_fresh, "of two states of a join one was never closed");
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
        let pending: usize = self.pending.iter().flatten().map(|(piece, _)| piece.len()).sum();
        pending + self.waiting.len() + self.versions.iter().map(Vec::len).sum::<usize>()
    }

    pub(super) fn size_bytes(&self) -> usize {
        let pending: usize = self.pending.iter().flatten().map(|(piece, _)| piece.size_bytes()).sum();
        let versions: usize = self.versions.iter().map(|versions| versions.capacity() * size_of::<Version>()).sum();
        let waiting = self.waiting.capacity() * size_of::<Waiting>();
        pending + versions + waiting + self.keys.size_bytes() + self.held.iter().map(Held::size_bytes).sum::<usize>()
    }

    /// Gives the left rows whose version is known. `bounds` is `G` of each side; None: the log has ended, so every left row
    /// that still waits comes out.
    pub(super) fn close(
        &mut self,
        max_age: Option<i64>,
        bounds: Option<[i64; 2]>,
        hasher: &DefaultHashBuilder,
        joined: &mut Joined<'_>,
    ) {
        self.take_versions(max_age, hasher);
        self.take_lefts(joined.join.kind.keeps(0), hasher);
        let count = match bounds {
            None => self.waiting.len(),
            Some([_, NEVER]) => 0,
            Some([_, right]) => self.waiting.partition_point(|left| left.time < right),
        };
        let pieces = [self.held[0].pieces(), self.held[1].pieces()];
        let keeps = joined.join.kind.keeps(0);
        for left in &self.waiting[..count] {
            let version = left.key.and_then(|key| version_at(&self.versions[key as usize], left.time, max_age));
            if version.is_some() || keeps {
                joined.push(pieces, [left.row, version.map_or(MISSING, |version| version.row)], left.time);
            }
        }
        joined.flush(pieces);
        for left in self.waiting.drain(..count) {
            self.buckets[0].touch(left.time);
            self.held[0].release(left.row);
        }
        if let Some([left, right]) = bounds
            && left.min(right) != NEVER
        {
            self.give_back(left.min(right), max_age);
        }
        self.compact(hasher);
    }

    fn take_versions(&mut self, max_age: Option<i64>, hasher: &DefaultHashBuilder) {
        let mut fresh: Vec<(u32, Version)> = Vec::new();
        for (piece, is_kept) in std::mem::take(&mut self.pending[1]) {
            let before = fresh.len();
            for row in (0..piece.len() as u32).filter(|row| piece.joins(*row)) {
                let key = self.keys.number(piece.keys.value(row as usize), hasher);
                let (time, is_tombstone) = (piece.times[row as usize], piece.is_tombstone(row));
                fresh.push((key, Version { time, row: (0, row), is_tombstone }));
                if !is_kept {
                    self.buckets[1].touch(time);
                }
            }
            if fresh.len() > before {
                let number = self.held[1].add(piece, fresh.len() - before);
                fresh[before..].iter_mut().for_each(|(_, version)| version.row.0 = number);
            }
        }
        self.versions.resize_with(self.keys.len(), Vec::new);
        let held = &self.held[1];
        fresh.sort_unstable_by(|(a, one), (b, other)| {
            a.cmp(b).then_with(|| held.order(one.row).cmp(held.order(other.row)))
        });
        for fresh in fresh.chunk_by(|(a, _), (b, _)| a == b) {
            let key = fresh[0].0;
            let versions = &mut self.versions[key as usize];
            let before = due_at(versions, max_age);
            merge_by(versions, fresh.iter().map(|(_, version)| *version), |version| held.order(version.row));
            let due = due_at(versions, max_age);
            if let Some(due) = due.filter(|due| before != Some(*due)) {
                self.due.push(Reverse((due, key)));
            }
        }
    }

    fn take_lefts(&mut self, keeps: bool, hasher: &DefaultHashBuilder) {
        let mut fresh: Vec<Waiting> = Vec::new();
        for (piece, is_kept) in std::mem::take(&mut self.pending[0]) {
            let before = fresh.len();
            for row in (0..piece.len() as u32).filter(|row| keeps || piece.joins(*row)) {
                let key = piece.joins(row).then(|| self.keys.number(piece.keys.value(row as usize), hasher));
                let time = piece.times[row as usize];
                fresh.push(Waiting { time, key, row: (0, row) });
                if !is_kept {
                    self.buckets[0].touch(time);
                }
            }
            if fresh.len() > before {
                let number = self.held[0].add(piece, fresh.len() - before);
                fresh[before..].iter_mut().for_each(|left| left.row.0 = number);
            }
        }
        self.versions.resize_with(self.keys.len(), Vec::new);
        fresh.sort_unstable_by_key(|left| left.time);
        merge_by(&mut self.waiting, fresh, |left| left.time);
    }

    /// Gives back the versions that no left row from `frontier` on asks for.
    fn give_back(&mut self, frontier: i64, max_age: Option<i64>) {
        while let Some(Reverse((_, key))) = self.due.peek().copied().filter(|next| next.0.0 <= frontier) {
            self.due.pop();
            let versions = &mut self.versions[key as usize];
            let mut gone = 0;
            while due_at(&versions[gone..], max_age).is_some_and(|due| due <= frontier) {
                gone += 1;
            }
            for version in versions.drain(..gone) {
                self.buckets[1].touch(version.time);
                self.held[1].release(version.row);
            }
            // Otherwise it was outdated, and another one stands for this key.
            if let (true, Some(due)) = (gone > 0, due_at(versions, max_age)) {
                self.due.push(Reverse((due, key)));
            }
        }
    }

    /// Gives back the memory of rows and keys that are gone, when it is more than that of the others.
    fn compact(&mut self, hasher: &DefaultHashBuilder) {
        if self.keys.is_wasteful() {
            let mut is_needed: Vec<bool> = self.versions.iter().map(|versions| !versions.is_empty()).collect();
            self.waiting.iter().filter_map(|left| left.key).for_each(|key| is_needed[key as usize] = true);
            let kept = self.keys.keep(|key| is_needed[key as usize], hasher);
            let mut numbers = vec![u32::MAX; is_needed.len()];
            kept.iter().zip(0..).for_each(|(old, new)| numbers[*old as usize] = new);
            self.versions = kept.iter().map(|key| std::mem::take(&mut self.versions[*key as usize])).collect();
            for left in &mut self.waiting {
                left.key = left.key.map(|key| numbers[key as usize]);
            }
            let due = std::mem::take(&mut self.due).into_iter();
            let renumbered = due.map(|Reverse((time, key))| Reverse((time, numbers[key as usize])));
            self.due = renumbered.filter(|Reverse((_, key))| *key != u32::MAX).collect();
        }
        let [lefts, rights] = &mut self.held;
        if lefts.is_wasteful() {
            lefts.keep(&mut self.waiting.iter_mut().map(|left| &mut left.row).collect::<Vec<_>>());
        }
        if rights.is_wasteful() {
            rights.keep(&mut self.versions.iter_mut().flatten().map(|version| &mut version.row).collect::<Vec<_>>());
        }
    }
}

/// Returns the version that is valid at a time.
fn version_at(versions: &[Version], time: i64, max_age: Option<i64>) -> Option<Version> {
    let count = versions.partition_point(|version| version.time <= time);
    let version = versions[..count].last().copied()?;
    let is_young = max_age.is_none_or(|age| time.saturating_sub(version.time) <= age);
    (is_young && !version.is_tombstone).then_some(version)
}

/// Returns the least frontier at which the first version is asked for no more: when the second one is valid, or when it is
/// too old, or, of a tombstone, when none before it can come any more.
fn due_at(versions: &[Version], max_age: Option<i64>) -> Option<i64> {
    let first = versions.first()?;
    let next = versions.get(1).map(|next| next.time);
    let too_old = max_age.map(|age| first.time.saturating_add(age).saturating_add(1));
    let alone = first.is_tombstone.then(|| first.time.saturating_add(1));
    [next, too_old, alone].into_iter().flatten().min()
}
