//! Layers: how a checkpoint of a window with many groups writes those that changed, and not all of them.
//!
//! The groups of a window come in no order that would let them be cut into what is touched and what is not. So over all
//! groups, as they once were, lie layers of those that have changed since, each group as it is in the newest layer that has
//! it. A new layer takes the place of those before it that are not more than twice as large. So there are few, and a group is
//! written again a few times only, however often checkpoints are made. A window with few groups is written as a whole.

use crate::aggregate::GroupId;
use crate::snapshot::Grain;

/// The layers of one window. The first of all is number 0.
#[derive(Default)]
pub(crate) struct Layers {
    /// By group, when it changed last: in the layer of that number, or a later one that was made of it.
    changed_in: Vec<u32>,
    /// Number and size of each that the last snapshot has; none: the next snapshot brings all groups.
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
        self.changed_in.resize(groups, self.next);
        for group in changed {
            self.changed_in[*group as usize] = self.next;
        }
    }

    /// Notes groups that came from a layer of a snapshot of which `size` rows are taken in, those from `first` on.
    pub(crate) fn restored(&mut self, number: u32, size: usize, groups: usize) {
        self.changed_in.resize(groups, number);
        self.next = self.next.max(number + 1);
        match self.kept.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(place) => self.kept[place].1 += size,
            Err(place) => self.kept.insert(place, (number, size)),
        }
    }

    /// Returns the layers of a snapshot: what has changed since the last one comes as a new one, if anything has.
    pub(crate) fn cut(&mut self, groups: usize, is_changed: bool, grain: &Grain) -> Vec<Layer> {
        let are_few = groups < grain.groups;
        if is_changed {
            let fresh = self.fresh(groups, are_few);
            let mut layers = self.as_they_are();
            layers.push(fresh);
            let (number, rows) = layers.last().expect("it was pushed");
            if *number > 0 || !are_few {
                self.kept.push((*number, rows.as_ref().map_or(0, Vec::len)));
                self.changed_in.resize(groups, 0);
            }
            self.next += 1;
            return layers;
        }
        match self.kept.is_empty() {
            true => vec![(0, None)],
            false => self.as_they_are(),
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.changed_in.capacity() * 4
    }

    fn as_they_are(&self) -> Vec<Layer> {
        self.kept.iter().map(|(number, _)| (*number, None)).collect()
    }

    /// Makes the next layer; those that it takes the place of are gone.
    fn fresh(&mut self, groups: usize, are_few: bool) -> Layer {
        let mut number = self.next;
        let mut size = self.since(number).count();
        while let Some((before, _)) = self.kept.pop_if(|(_, theirs)| are_few || *theirs <= 2 * size) {
            number = before;
            size = self.since(number).count();
        }
        match self.kept.is_empty() {
            true => (0, Some((0..groups as GroupId).collect())),
            false => (number, Some(self.since(number).collect())),
        }
    }

    /// Returns the groups that changed in that layer or later.
    fn since(&self, number: u32) -> impl Iterator<Item = GroupId> {
        self.changed_in.iter().zip(0..).filter(move |(changed, _)| **changed >= number).map(|(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of layers, and of the last one the groups.
    fn cut(layers: &mut Layers, groups: usize, changed: &[GroupId]) -> (Vec<u32>, Vec<GroupId>) {
        layers.note(changed, groups);
        let mut found = layers.cut(groups, true, &Grain::default());
        let (_, last) = found.last_mut().unwrap();
        let last = last.take().unwrap();
        assert!(found.iter().all(|(_, rows)| rows.is_none()), "only one is written");
        (found.into_iter().map(|(number, _)| number).collect(), last)
    }

    #[test]
    fn what_changed_is_a_layer_and_swallows_those_that_are_not_larger() {
        let layers = &mut Layers::default();
        assert_eq!(cut(layers, 20, &[]), (vec![0], (0..20).collect()));
        assert_eq!(cut(layers, 20, &[3, 4, 5]), (vec![0, 1], vec![3, 4, 5]));
        // One is less than half of three.
        assert_eq!(cut(layers, 21, &[20]), (vec![0, 1, 2], vec![20]));
        assert_eq!(layers.cut(21, false, &Grain::default()), [(0, None), (1, None), (2, None)]);
        // Together with the last one it is more than half of the one before.
        assert_eq!(cut(layers, 21, &[4]), (vec![0, 1], vec![3, 4, 5, 20]));
        let half: Vec<GroupId> = (7..17).collect();
        assert_eq!(cut(layers, 21, &half), (vec![0], (0..21).collect()), "more than half of all");
    }

    #[test]
    fn few_groups_are_written_as_a_whole() {
        let layers = &mut Layers::default();
        assert_eq!(cut(layers, 2, &[]), (vec![0], vec![0, 1]));
        assert_eq!(layers.cut(2, false, &Grain::default()), [(0, None)]);
        assert_eq!(cut(layers, 2, &[1]), (vec![0], vec![0, 1]));
    }

    #[test]
    fn layers_go_on_where_a_snapshot_ended() {
        let layers = &mut Layers::default();
        // The newest first; of the first layer 18 groups were not in a later one.
        layers.restored(5, 1, 1);
        layers.restored(2, 2, 2);
        layers.restored(0, 20, 20);
        assert_eq!(layers.cut(20, false, &Grain::default()), [(0, None), (2, None), (5, None)]);
        assert_eq!(cut(layers, 20, &[7]), (vec![0, 2], vec![0, 1, 7]));
    }
}
