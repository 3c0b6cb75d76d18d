//! Repetitions: which rows of a partition are let through by `dedup`.
//!
//! Rows are walked in the order of their partition. A row is a repetition iff `m + within > max(event time, W)`, where `m`
//! is the largest event time among the earlier rows with the same id, let through or not (law 2.4). So an id that comes
//! again and again without a pause of `within` stays suppressed. Once `m + within <= W` an id can be forgotten: `W` never
//! falls, so no later row can be a repetition of it.

use arrow::array::{Array, BinaryArray};

use crate::bucket::{Bucket, BucketRows, Buckets};
use crate::rows::{Batch, Identity};
use crate::snapshot::Grain;

/// What a partition remembers of the ids that one step has seen: the largest event time of each.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: hashbrown::HashMap<Box<[u8]>, i64>,
    /// How many ids there may be before those that can be forgotten are looked for.
    limit: usize,
    /// Bytes of the ids.
    bytes: usize,
    /// By the largest event time.
    buckets: Buckets,
}

/// Where a row stands among those of a chunk: offset, place in its list, names on its way; then its input and number.
type Place<'a> = (i64, Option<i64>, &'a [u16], usize, u32);

/// So few ids are not worth looking through.
const FEW: usize = if cfg!(test) { 2 } else { 1 << 12 };

impl Seen {
    /// Returns whether a row with this id is a repetition, and remembers it.
    fn is_repeated(&mut self, id: &[u8], time: i64, watermark: i64, within: i64) -> bool {
        match self.ids.get_mut(id) {
            Some(last) => {
                let repeated = last.saturating_add(within) > time.max(watermark);
                if time > *last {
                    self.buckets.touch(*last);
                    self.buckets.touch(time);
                    *last = time;
                }
                repeated
            }
            None => {
                self.ids.insert(id.into(), time);
                self.buckets.touch(time);
                self.bytes += id.len();
                if self.ids.len() > self.limit.max(FEW) {
                    let (bytes, buckets) = (&mut self.bytes, &mut self.buckets);
                    self.ids.retain(|id, last| {
                        let stays = last.saturating_add(within) > watermark;
                        if !stays {
                            *bytes -= id.len();
                            buckets.touch(*last);
                        }
                        stays
                    });
                    self.limit = self.ids.len() * 2;
                }
                false
            }
        }
    }

    /// Walks over rows and their ids, which are those of one chunk, by input. Returns the rows of each that are let through.
    pub(crate) fn walk(&mut self, inputs: &[(Batch, BinaryArray)], within: i64) -> Vec<Vec<u32>> {
        let mut kept: Vec<Vec<u32>> = vec![Vec::new(); inputs.len()];
        let mut walk = |input: usize, row: u32| {
            let (batch, ids) = &inputs[input];
            let (time, watermark) = (batch.event_time(row), batch.watermark(row));
            if !self.is_repeated(ids.value(row as usize), time, watermark, within) {
                kept[input].push(row);
            }
        };
        match inputs {
            [(batch, _)] => (0..batch.len() as u32).for_each(|row| walk(0, row)),
            _ => {
                // A record that came in by two ways is there twice: by offset and index, then by the names on its way.
                let mut rows: Vec<Place<'_>> = Vec::new();
                for (input, (batch, _)) in inputs.iter().enumerate() {
                    let Identity::Records { offsets, indices, .. } = &batch.origin.identity else {
                        unreachable!("only records are looked at for repetitions")
                    };
                    let offset = |row: u32| offsets[batch.origin_of(row) as usize];
                    let index = |row: u32| Some(indices.as_ref()?[batch.origin_of(row) as usize]);
                    let all = 0..batch.len() as u32;
                    rows.extend(all.map(|row| (offset(row), index(row), batch.path.as_slice(), input, row)));
                }
                rows.sort_unstable();
                rows.into_iter().for_each(|(.., input, row)| walk(input, row));
            }
        }
        kept
    }

    /// Returns the ids by bucket, there in bytewise order, each with the largest event time of its rows; those of buckets that have
    /// not changed since the last snapshot only if the whole is asked for.
    pub(crate) fn cut(&mut self, whole: bool, grain: &Grain) -> Vec<BucketRows<(&[u8], i64)>> {
        let Self { ids, buckets, .. } = self;
        let ids = &*ids;
        let mut found = buckets.cut(move || ids.iter().map(|(id, last)| (*last, (&**id, *last))), whole, grain);
        found.iter_mut().filter_map(|(_, ids)| ids.as_mut()).for_each(|ids| ids.sort_unstable());
        found
    }

    /// Takes in ids of a bucket that are not there yet.
    pub(crate) fn restore(&mut self, bucket: Option<Bucket>, ids: &BinaryArray, lasts: &[i64]) {
        self.bytes += (0..ids.len()).map(|row| ids.value(row).len()).sum::<usize>();
        self.ids.extend(lasts.iter().enumerate().map(|(row, last)| (ids.value(row).into(), *last)));
        self.buckets.restored(bucket);
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        // An id is a box of its own, of sixteen bytes more than it has.
        self.ids.capacity() * 25 + self.ids.len() * 16 + self.bytes
    }

    /// Returns how many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::watermark::NEVER;

    #[test]
    fn an_id_is_repeated_until_it_pauses() {
        let mut seen = Seen::default();
        assert!(!seen.is_repeated(b"a", 100, NEVER, 10));
        assert!(seen.is_repeated(b"a", 109, 100, 10));
        assert!(seen.is_repeated(b"a", 118, 109, 10), "the repetition before counts too");
        assert!(!seen.is_repeated(b"a", 128, 118, 10));
        assert!(!seen.is_repeated(b"b", 128, 128, 10));
    }

    #[test]
    fn an_old_row_is_judged_by_the_watermark() {
        let mut seen = Seen::default();
        assert!(!seen.is_repeated(b"a", 100, NEVER, 10));
        assert!(!seen.is_repeated(b"a", 95, 110, 10), "its first row may be forgotten by now");
        assert!(seen.is_repeated(b"a", 95, 109, 10));
    }

    #[test]
    fn ids_that_cannot_come_again_are_forgotten() {
        let mut seen = Seen::default();
        for time in 0..1000 {
            seen.is_repeated(&i64::to_be_bytes(time), time, time - 1, 5);
        }
        assert!(seen.ids.len() < 20, "{} ids", seen.ids.len());
    }

    #[test]
    fn a_snapshot_brings_what_came_moved_or_was_forgotten() {
        let (mut seen, mut kept) = (Seen::default(), BTreeMap::<Bucket, Vec<(Vec<u8>, i64)>>::new());
        let owned = |ids: Vec<(&[u8], i64)>| ids.into_iter().map(|(id, last)| (id.to_vec(), last)).collect::<Vec<_>>();
        for time in 0..500 {
            for id in [time, time / 2] {
                seen.is_repeated(&i64::to_be_bytes(id), time, time - 1, 40);
            }
            if time % 7 == 0 {
                let cut = seen.cut(false, &Grain::default()).into_iter();
                let now = cut.map(|(bucket, ids)| (bucket, ids.map_or_else(|| kept[&bucket].clone(), owned)));
                kept = now.collect();
                let whole = seen.cut(true, &Grain::default()).into_iter();
                let whole = whole.map(|(bucket, ids)| (bucket, owned(ids.expect("the whole was asked for"))));
                assert_eq!(kept, whole.collect(), "at {time}");
            }
        }
    }
}
