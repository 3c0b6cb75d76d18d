//! Buckets of time: how what a step holds is cut into parts, so that a snapshot brings only those that something touched.
//!
//! Open sessions, the rows of a join and the ids of `dedup` are not of a window, but what touches them comes in the order of
//! time, more or less. So they are kept by the time of their last row: new rows change the newest buckets, what ends was in
//! the oldest. How long a bucket is follows from how many there would be: a second at first, then twice as long as often
//! as it takes, so that a few rows are in a few buckets and many in 128 at most.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::Grain;

/// The rows whose time, in microseconds, is this number once its lowest bits are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    /// How many bits.
    pub bits: u32,
    /// What is left of the time.
    pub number: i64,
}

impl Bucket {
    /// Returns the bucket of a time.
    pub(crate) fn of(bits: u32, time: i64) -> Self {
        Self { bits, number: time >> bits }
    }

    /// Returns the first time that is in it.
    pub(crate) fn first(self) -> i64 {
        self.number << self.bits
    }

    /// Returns whether a row of that time is in it.
    pub(crate) fn has(self, time: i64) -> bool {
        time.checked_shr(self.bits) == Some(self.number)
    }
}

/// How many rows a bucket should have at least.
const ROWS: usize = 64;

/// More buckets than this are not noted one by one.
const NOTED: usize = 512;

/// Which buckets are as they were at the last snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    bits: u32,
    changed: Changed,
    /// How many there were at the last snapshot.
    count: usize,
}

#[derive(Clone, Debug)]
enum Changed {
    /// There has been none.
    New,
    /// All of them; what is touched need not be noted.
    All,
    /// These, the one that was touched last among them.
    Some(BTreeSet<i64>, Option<i64>),
}

/// A bucket, and its rows if they are wanted.
pub(crate) type BucketRows<T> = (Bucket, Option<Vec<T>>);

impl Default for Buckets {
    fn default() -> Self {
        Self { bits: 0, changed: Changed::New, count: usize::MAX }
    }
}

impl Buckets {
    /// Notes that a row of that time came, changed or went.
    pub(crate) fn touch(&mut self, time: i64) {
        match &mut self.changed {
            Changed::All => {}
            Changed::New => self.changed = Changed::All,
            Changed::Some(numbers, last) => {
                let number = time >> self.bits;
                if *last != Some(number) {
                    numbers.insert(number);
                    *last = Some(number);
                    if numbers.len() > NOTED {
                        self.changed = Changed::All;
                    }
                }
            }
        }
    }

    /// Returns how many bits the buckets have that are noted one by one; None: none is, and something else has changed besides.
    pub(crate) fn noted(&self) -> Option<u32> {
        matches!(self.changed, Changed::Some(..)).then_some(self.bits)
    }

    /// Notes that rows of any times came, changed or went.
    pub(crate) fn touch_all(&mut self) {
        self.changed = Changed::All;
    }

    /// Notes that the rows of a bucket were taken in from a snapshot; None: of one that knew no buckets.
    pub(crate) fn restored(&mut self, bucket: Option<Bucket>) {
        match (&self.changed, bucket) {
            (Changed::New, Some(bucket)) => {
                *self = Self { bits: bucket.bits, changed: Changed::Some(BTreeSet::new(), None), count: usize::MAX };
            }
            // What has changed since still has.
            (_, Some(bucket)) if bucket.bits == self.bits => {}
            _ => self.changed = Changed::All,
        }
    }

    /// Cuts rows, given with their times, into buckets. Those that have not changed since the last snapshot come without rows, and
    /// from now on none has changed; unless the whole is asked for, which is no such snapshot.
    pub(crate) fn cut<T, I: Iterator<Item = (i64, T)>>(
        &mut self,
        rows: impl Fn() -> I,
        whole: bool,
        grain: &Grain,
    ) -> Vec<BucketRows<T>> {
        let [few, many] = grain.buckets;
        let most = (rows().count() / ROWS).clamp(few, many);
        let bits = match self.count <= most / 8 && !whole {
            true => self.bits.saturating_sub(2),
            false => self.bits,
        };
        let bits = bits.clamp(grain.bucket_bits, 63);
        if bits != self.bits {
            self.bits = bits;
            self.changed = Changed::All;
        }
        let found = loop {
            match self.find(rows(), most, whole) {
                Some(found) => break found,
                None => {
                    self.bits += 1;
                    self.changed = Changed::All;
                }
            }
        };
        if !whole {
            self.changed = Changed::Some(BTreeSet::new(), None);
            self.count = found.len();
        }
        let bits = self.bits;
        found.into_iter().map(|(number, rows)| (Bucket { bits, number }, rows)).collect()
    }

    /// Returns the rows by bucket; None: there are more than `most`.
    fn find<T>(
        &self,
        rows: impl Iterator<Item = (i64, T)>,
        most: usize,
        whole: bool,
    ) -> Option<BTreeMap<i64, Option<Vec<T>>>> {
        let mut found: BTreeMap<i64, Option<Vec<T>>> = BTreeMap::new();
        for (time, row) in rows {
            let number = time >> self.bits;
            let is_wanted = || match &self.changed {
                Changed::New | Changed::All => true,
                Changed::Some(numbers, _) => whole || numbers.contains(&number),
            };
            let rows = found.entry(number).or_insert_with(|| is_wanted().then(Vec::new));
            if let Some(rows) = rows {
                rows.push(row);
            }
            if found.len() > most {
                return None;
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of the buckets, and of those that are wanted.
    fn cut(buckets: &mut Buckets, times: &[i64]) -> (u32, Vec<i64>, Vec<i64>) {
        let found = buckets.cut(|| times.iter().map(|time| (*time, ())), false, &Grain::default());
        let wanted = found.iter().filter(|(_, rows)| rows.is_some()).map(|(bucket, _)| bucket.number).collect();
        (buckets.bits, found.iter().map(|(bucket, _)| bucket.number).collect(), wanted)
    }

    #[test]
    fn what_is_touched_is_wanted() {
        let buckets = &mut Buckets::default();
        let times: Vec<i64> = (-4..4).collect();
        assert_eq!(cut(buckets, &times), (0, times.clone(), times.clone()));
        assert_eq!(cut(buckets, &times), (0, times.clone(), vec![]));
        // What is gone was touched, and is not there.
        [-3, 5, -3, 2].into_iter().for_each(|time| buckets.touch(time));
        assert_eq!(cut(buckets, &times[2..]), (0, times[2..].to_vec(), vec![2]));
    }

    #[test]
    fn buckets_grow_with_what_is_held_and_shrink_again() {
        let buckets = &mut Buckets::default();
        let times: Vec<i64> = (0..32).collect();
        assert_eq!(cut(buckets, &times), (2, (0..8).collect(), (0..8).collect()));
        buckets.touch(13);
        assert_eq!(cut(buckets, &times), (2, (0..8).collect(), vec![3]));
        // One that is far away takes no more than a bucket of its own.
        buckets.touch(i64::MAX);
        let far = [&times[4..], &[i64::MAX]].concat();
        assert_eq!(cut(buckets, &far), (2, [(1..8).collect(), vec![i64::MAX >> 2]].concat(), vec![i64::MAX >> 2]));
        assert_eq!(cut(buckets, &[9]), (2, vec![2], vec![]));
        assert_eq!(cut(buckets, &[9]), (0, vec![9], vec![9]));
    }

    #[test]
    fn a_snapshot_is_gone_on_from() {
        let mut buckets = Buckets::default();
        [1, 2].into_iter().for_each(|number| buckets.restored(Some(Bucket { bits: 3, number })));
        buckets.touch(17);
        assert_eq!(cut(&mut buckets, &[8, 16, 17]), (3, vec![1, 2], vec![2]));
        // One that knew none, or others, is written anew.
        for bucket in [None, Some(Bucket { bits: 2, number: 1 })] {
            let mut buckets = Buckets::default();
            buckets.restored(Some(Bucket { bits: 3, number: 1 }));
            buckets.restored(bucket);
            assert_eq!(cut(&mut buckets, &[8, 9, 16, 17]).2, [1, 2]);
        }
    }
}
