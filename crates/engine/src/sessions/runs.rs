//! Runs: what the rows of a batch are by themselves before they meet the sessions of a state.
//!
//! Rows are put in the order of their keys and times once, where the batch is at hand. What is left to do for a state is one look-up
//! for each key of the batch and one join for each run of its rows. Keys have dense numbers in a batch, so their rows are
//! counted and laid side by side, and only the few rows of one key, which mostly come in the order of time, are sorted.

use std::ops::Range;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::take;

use super::shard::{Session, is_near};
use crate::aggregate::GroupId;
use crate::group::Interned;

/// Rows of a batch by shard, key and time, cut where no session can go on.
pub(super) struct Runs {
    rows: Vec<u32>,
    /// What the rows of each run are by themselves, in no slot yet.
    runs: Vec<Session>,
    /// Where the rows of each run end.
    ends: Vec<u32>,
    /// The number of each key in the batch, and where its runs end.
    keys: Vec<(u32, u32)>,
    /// Where the keys of each shard end.
    shards: Vec<u32>,
}

impl Runs {
    /// Finds the runs of some rows of a batch.
    pub(super) fn new(rows: &[u32], time: impl Fn(u32) -> i64, keys: &Interned, gap: i64, shards: usize) -> Self {
        let mut counts = vec![0; keys.hashes.len()];
        rows.iter().for_each(|row| counts[keys.ids[*row as usize] as usize] += 1);
        let (order, shards) = by_shard(&keys.hashes, &counts, shards);
        let (mut places, mut place) = (vec![0; counts.len()], 0);
        for id in &order {
            places[*id as usize] = place;
            place += counts[*id as usize];
        }
        let mut placed = vec![(0, 0); rows.len()];
        for row in rows {
            let place = &mut places[keys.ids[*row as usize] as usize];
            placed[*place as usize] = (time(*row), *row);
            *place += 1;
        }
        let mut runs = Runs {
            rows: Vec::with_capacity(rows.len()),
            runs: Vec::new(),
            ends: Vec::new(),
            keys: Vec::with_capacity(order.len()),
            shards,
        };
        let mut rest = placed.as_mut_slice();
        for id in order {
            let of_key = rest.split_off_mut(..counts[id as usize] as usize).expect("rows were counted");
            of_key.sort_unstable_by_key(|(time, _)| *time);
            for run in of_key.chunk_by(|(last, _), (first, _)| is_near(*first, *last, gap)) {
                runs.runs.push(Session { first: run[0].0, last: run[run.len() - 1].0, slot: 0 });
                runs.rows.extend(run.iter().map(|(_, row)| *row));
                runs.ends.push(runs.rows.len() as u32);
            }
            runs.keys.push((id, runs.runs.len() as u32));
        }
        runs
    }

    /// Takes the rows for laid side by side as they come here, and the keys too. Returns which row of the batch is where, and the keys.
    pub(super) fn lay_out(&mut self, keys: &Interned) -> (UInt32Array, Interned) {
        let count = self.rows.len() as u32;
        let order = UInt32Array::from(std::mem::replace(&mut self.rows, (0..count).collect()));
        let ids: Vec<u32> = self.keys.iter().map(|(id, _)| *id).collect();
        self.keys.iter_mut().zip(0..).for_each(|((id, _), place)| *id = place);
        let hashes = ids.iter().map(|id| keys.hashes[*id as usize]).collect();
        let taken = take(&keys.keys, &UInt32Array::from(ids), None).expect("keys of a batch are below 2 GiB");
        (order, Interned { ids: Vec::new(), keys: taken.as_binary().clone(), hashes })
    }

    /// Returns about how many bytes they occupy.
    pub(super) fn size_bytes(&self) -> usize {
        self.rows.len() * 4 + self.runs.len() * (size_of::<Session>() + 4) + self.keys.len() * 8
    }

    /// Returns how many rows and how many runs there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.runs.len())
    }

    /// Returns those of all shards.
    pub(super) fn all(&self) -> RunsOf<'_> {
        self.of_keys(0..self.keys.len())
    }

    /// Returns those of the keys of one shard.
    pub(super) fn of_shard(&self, shard: usize) -> RunsOf<'_> {
        let begin = if shard == 0 { 0 } else { self.shards[shard - 1] };
        self.of_keys(begin as usize..self.shards[shard] as usize)
    }

    fn of_keys(&self, keys: Range<usize>) -> RunsOf<'_> {
        let end_of = |keys: usize| if keys == 0 { 0 } else { self.keys[keys - 1].1 as usize };
        let runs = end_of(keys.start)..end_of(keys.end);
        let end_of = |runs: usize| if runs == 0 { 0 } else { self.ends[runs - 1] };
        let rows = end_of(runs.start)..end_of(runs.end);
        RunsOf { all: self, keys, runs, rows }
    }
}

/// Runs of some keys.
pub(super) struct RunsOf<'a> {
    all: &'a Runs,
    keys: Range<usize>,
    runs: Range<usize>,
    rows: Range<u32>,
}

impl<'a> RunsOf<'a> {
    /// Returns the number of each key in the batch, with its runs.
    pub(super) fn by_key(&self) -> impl Iterator<Item = (usize, &'a [Session])> {
        let (all, mut begin) = (self.all, self.runs.start);
        all.keys[self.keys.clone()].iter().map(move |(id, end)| {
            let runs = &all.runs[begin..*end as usize];
            begin = *end as usize;
            (*id as usize, runs)
        })
    }

    /// Returns the rows, run by run.
    pub(super) fn rows(&self) -> &'a [u32] {
        &self.all.rows[self.rows.start as usize..self.rows.end as usize]
    }

    /// Returns the slot of each row, given that of each run.
    pub(super) fn slots(&self, of_runs: &[GroupId]) -> Vec<GroupId> {
        let mut slots = Vec::with_capacity(self.rows.len());
        for (slot, end) in of_runs.iter().zip(&self.all.ends[self.runs.clone()]) {
            slots.resize((end - self.rows.start) as usize, *slot);
        }
        slots
    }
}

/// Returns the shard of a key.
pub(super) fn shard_of(hash: u64, shards: usize) -> usize {
    // The lower half is what tells keys apart within a shard.
    (((hash >> 32) * shards as u64) >> 32) as usize
}

/// Returns the keys that have rows, by shard, and where those of each shard end.
fn by_shard(hashes: &[u64], counts: &[u32], shards: usize) -> (Vec<u32>, Vec<u32>) {
    let ids = || (0..hashes.len() as u32).filter(|id| counts[*id as usize] > 0);
    if shards == 1 {
        let order: Vec<u32> = ids().collect();
        let ends = vec![order.len() as u32];
        return (order, ends);
    }
    let shard = |id: u32| shard_of(hashes[id as usize], shards);
    let mut ends = vec![0; shards];
    ids().for_each(|id| ends[shard(id)] += 1);
    let mut sum = 0;
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    // What was where a shard begins becomes where it ends.
    let mut order = vec![0; sum as usize];
    for id in ids() {
        let place = &mut ends[shard(id)];
        order[*place as usize] = id;
        *place += 1;
    }
    (order, ends)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use hashbrown::DefaultHashBuilder;

    use super::*;
    use crate::DataType;
    use crate::group::{KeyCodec, intern};
    use crate::law_tests::Chance;

    #[test]
    fn the_shards_have_every_row_once_in_the_runs_of_its_key() {
        let (gap, hasher) = (4, DefaultHashBuilder::default());
        for seed in 1..=60 {
            let mut chance = Chance(seed);
            let all: Vec<(i64, i64)> =
                (0..chance.below(80)).map(|_| (chance.below(9) as i64, chance.below(60) as i64)).collect();
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(all.iter().map(|(key, _)| *key)));
            let keys = intern(&KeyCodec::new(&[DataType::Int64]), &[column], all.len(), &hasher);
            let rows: Vec<u32> = (0..all.len() as u32).filter(|_| chance.below(4) > 0).collect();
            let mut expected: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
            for row in &rows {
                let (key, time) = all[*row as usize];
                expected.entry(key).or_default().insert(time);
            }
            let shards = 1 + chance.below(5) as usize;
            let runs = Runs::new(&rows, |row| all[row as usize].1, &keys, gap, shards);
            let mut seen = Vec::new();
            for shard in 0..shards {
                let of_shard = runs.of_shard(shard);
                let mut next = 0;
                for (id, of_key) in of_shard.by_key() {
                    assert_eq!(shard_of(keys.hashes[id], shards), shard);
                    let numbers: Vec<GroupId> = (0..(next + of_key.len()) as GroupId).collect();
                    let slots = of_shard.slots(&numbers);
                    let mut found = BTreeSet::new();
                    for run in of_key {
                        let places = (0..slots.len()).filter(|place| slots[*place] as usize == next);
                        let members: Vec<u32> = places.map(|place| of_shard.rows()[place]).collect();
                        let times: BTreeSet<i64> = members.iter().map(|row| all[*row as usize].1).collect();
                        assert!(members.iter().all(|row| keys.ids[*row as usize] as usize == id));
                        assert_eq!((times.first(), times.last()), (Some(&run.first), Some(&run.last)));
                        assert!(times.iter().zip(times.iter().skip(1)).all(|(a, b)| b - a < gap), "no gap in a run");
                        assert!(found.last().is_none_or(|last| run.first - last >= gap), "a gap before a run");
                        found.extend(times);
                        seen.extend(members);
                        next += 1;
                    }
                    let key = all[keys.ids.iter().position(|of| *of as usize == id).unwrap()].0;
                    assert_eq!(expected.remove(&key), Some(found));
                }
            }
            assert!(expected.is_empty());
            seen.sort_unstable();
            assert_eq!(seen, rows);
        }
    }
}
