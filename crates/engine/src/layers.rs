//! Layers: how a checkpoint of a window with many groups writes those that changed, and not all of them.
//!
//! The groups of a window come in no order that would let them be cut into what is touched and what is not. So each
//! checkpoint writes those that changed since the last one as a *layer*. A group counts as it is in the newest layer that
//! has it, and a layer in which no group counts is gone.
//!
//! So that layers stay few, a new one takes in those before it that are not more than twice as large, up to a size. So
//! that little is kept that does not count, it takes in the layers in which the smallest part counts, as soon as less
//! than half of all rows do. Either way a checkpoint writes a few times what changed, and never all because there is much.
//! A window with few groups is written as a whole.

use crate::aggregate::GroupId;
use crate::snapshot::Grain;

/// The layers of one window.
#[derive(Default)]
pub(crate) struct Layers {
    /// By group, the layer that it counts in; `next` if it has changed since the last snapshot.
    at: Vec<u32>,
    /// Of the layers that the last snapshot has, number and how many groups were written, by number; none: the next snapshot
    /// brings all groups.
    kept: Vec<(u32, usize)>,
    /// The number of the next one.
    next: u32,
}

/// A layer's number, and its groups if they are wanted.
pub(crate) type Layer = (u32, Option<Vec<GroupId>>);

impl Layers {
    /// Notes that groups changed.
    pub(crate) fn note(&mut self, changed: &[GroupId], groups: usize) {
        if self.kept.is_empty() {
            return;
        }
        self.at.resize(groups, self.next);
        for group in changed {
            self.at[*group as usize] = self.next;
        }
    }

    /// Notes that a snapshot has a layer of `size` groups, and that those count in it which have no other one yet.
    pub(crate) fn restored(&mut self, number: u32, size: usize, groups: usize) {
        self.at.resize(groups, number);
        self.next = self.next.max(number + 1);
        match self.kept.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(place) => self.kept[place].1 += size,
            Err(place) => self.kept.insert(place, (number, size)),
        }
    }

    /// Returns the layers of a snapshot: what has changed since the last one comes as new ones, if anything has.
    pub(crate) fn cut(&mut self, groups: usize, is_changed: bool, grain: &Grain) -> Vec<Layer> {
        match (is_changed, self.kept.is_empty()) {
            (false, true) => vec![(0, None)],
            (false, false) => self.as_they_are(),
            (true, _) if groups < grain.groups => {
                *self = Self::default();
                vec![(0, Some((0..groups as GroupId).collect()))]
            }
            (true, _) => {
                let chosen = self.chosen(groups, grain.layer);
                let mut layers = self.as_they_are();
                for chosen in chosen.chunks(grain.layer) {
                    let number = self.next;
                    chosen.iter().for_each(|group| self.at[*group as usize] = number);
                    self.kept.push((number, chosen.len()));
                    self.next += 1;
                    layers.push((number, Some(chosen.to_vec())));
                }
                layers
            }
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.at.capacity() * 4
    }

    fn as_they_are(&self) -> Vec<Layer> {
        self.kept.iter().map(|(number, _)| (*number, None)).collect()
    }

    /// Returns the groups that are to be written; layers that they are taken from are gone.
    fn chosen(&mut self, groups: usize, most: usize) -> Vec<GroupId> {
        if self.kept.is_empty() {
            self.at.clear();
        }
        self.at.resize(groups, self.next);
        let place = |number: u32| self.kept.binary_search_by_key(&number, |(number, _)| *number).ok();
        // By layer, how many groups count in it; then how many have changed. Groups side by side often count in the same.
        let changed = self.kept.len();
        let mut counts = vec![0; changed + 1];
        let mut last = (self.next, changed);
        for number in &self.at {
            if last.0 != *number {
                last = (*number, place(*number).unwrap_or(changed));
            }
            counts[last.1] += 1;
        }
        let mut is_taken: Vec<bool> = counts.iter().map(|count| *count == 0).collect();
        is_taken[changed] = true;
        let mut size = counts[changed];
        for place in (0..changed).rev().filter(|place| counts[*place] > 0) {
            if counts[place] > 2 * size || size + counts[place] > most {
                break;
            }
            is_taken[place] = true;
            size += counts[place];
        }
        let mut rest: Vec<usize> = (0..changed).filter(|place| !is_taken[*place]).collect();
        let mut written: usize = rest.iter().map(|place| self.kept[*place].1).sum();
        // The part of a layer that counts, in 2^32ths.
        rest.sort_by_key(|place| ((counts[*place] as u128) << 32) / self.kept[*place].1.max(1) as u128);
        for place in rest {
            if written + size <= 2 * groups {
                break;
            }
            is_taken[place] = true;
            written -= self.kept[place].1;
            size += counts[place];
        }
        let mut last = (self.next, true);
        let mut chosen = Vec::with_capacity(size);
        for (group, number) in self.at.iter().enumerate() {
            if last.0 != *number {
                last = (*number, is_taken[place(*number).unwrap_or(changed)]);
            }
            if last.1 {
                chosen.push(group as GroupId);
            }
        }
        let mut is_taken = is_taken.into_iter();
        self.kept.retain(|_| !is_taken.next().expect("one for each layer"));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of layers, and the groups of those that are written.
    fn cut(layers: &mut Layers, groups: usize, changed: &[GroupId], most: usize) -> (Vec<u32>, Vec<Vec<GroupId>>) {
        layers.note(changed, groups);
        let grain = Grain { groups: 3, layer: most, ..Grain::default() };
        let found = layers.cut(groups, !changed.is_empty(), &grain);
        (found.iter().map(|(number, _)| *number).collect(), found.into_iter().filter_map(|(_, rows)| rows).collect())
    }

    #[test]
    fn what_changed_is_a_layer_and_takes_in_those_that_are_not_larger() {
        let layers = &mut Layers::default();
        let all: Vec<GroupId> = (0..21).collect();
        assert_eq!(cut(layers, 20, &all[..20], 100), (vec![0], vec![all[..20].to_vec()]));
        assert_eq!(cut(layers, 20, &[], 100), (vec![0], vec![]));
        assert_eq!(cut(layers, 20, &[3, 4, 5], 100), (vec![0, 1], vec![vec![3, 4, 5]]));
        // One is less than half of three.
        assert_eq!(cut(layers, 21, &[20], 100), (vec![0, 1, 2], vec![vec![20]]));
        assert_eq!(cut(layers, 21, &[], 100), (vec![0, 1, 2], vec![]));
        // Two are left of the three, and with the last one that is not more than twice as many.
        assert_eq!(cut(layers, 21, &[4], 100), (vec![0, 3], vec![vec![3, 4, 5, 20]]));
        assert_eq!(cut(layers, 21, &all[7..17], 100), (vec![4], vec![all.clone()]), "half of all");
    }

    #[test]
    fn however_much_there_is_a_layer_is_of_no_more_than_its_size() {
        let layers = &mut Layers::default();
        let all: Vec<GroupId> = (0..10).collect();
        let whole: Vec<Vec<GroupId>> = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]];
        assert_eq!(cut(layers, 10, &all, 4), (vec![0, 1, 2], whole));
        // The last one may be taken in, one of four not.
        assert_eq!(cut(layers, 10, &[0, 9], 4), (vec![0, 1, 3], vec![vec![0, 8, 9]]));
        assert_eq!(cut(layers, 10, &[1, 4], 4), (vec![0, 1, 3, 4], vec![vec![1, 4]]));
        // In none of them a group counts any more.
        assert_eq!(cut(layers, 10, &[2, 3], 4), (vec![1, 3, 5], vec![vec![1, 2, 3, 4]]));
    }

    #[test]
    fn where_most_does_not_count_any_more_what_does_is_written_again() {
        // Twenty groups in layers of four; one of each changes in turn, and one layer's worth at once.
        let layers = &mut Layers::default();
        let all: Vec<GroupId> = (0..20).collect();
        cut(layers, 20, &all, 4);
        let (mut most, mut longest) = (0, 0);
        for turn in 0..1000u32 {
            let changed: Vec<GroupId> = (0..4).map(|n| (turn * 7 + n * 5) % 20).collect();
            let (_, written) = cut(layers, 20, &changed, 4);
            assert!(changed.iter().all(|group| written.iter().flatten().any(|of| of == group)));
            most = most.max(layers.kept.iter().map(|(_, size)| size).sum::<usize>());
            longest = longest.max(written.iter().map(Vec::len).sum::<usize>());
        }
        assert!(most <= 2 * 20, "{most} rows are kept of 20 groups");
        assert!(longest <= 4 * 4, "{longest} of 20 groups are written when four changed");
    }

    #[test]
    fn few_groups_are_written_as_a_whole() {
        let layers = &mut Layers::default();
        assert_eq!(cut(layers, 2, &[0, 1], 4), (vec![0], vec![vec![0, 1]]));
        assert_eq!(cut(layers, 2, &[], 4), (vec![0], vec![]));
        assert_eq!(cut(layers, 2, &[1], 4), (vec![0], vec![vec![0, 1]]));
    }

    #[test]
    fn layers_go_on_where_a_snapshot_ended() {
        let layers = &mut Layers::default();
        // The newest first; of the first layer 17 groups were not in a later one.
        layers.restored(5, 1, 1);
        layers.restored(2, 2, 3);
        layers.restored(0, 20, 20);
        assert_eq!(cut(layers, 20, &[], 100), (vec![0, 2, 5], vec![]));
        assert_eq!(cut(layers, 20, &[7], 100), (vec![0, 6], vec![vec![0, 1, 2, 7]]));
    }
}
