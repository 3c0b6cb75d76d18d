//! Values along a line of time: disjoint half-open stretches, each with a value, and gaps between them.

use std::collections::BTreeMap;

/// Stretches of time with values. What is put over others takes their place there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<T> {
    /// What begins where; None: a gap. Before the first there is a gap, and so is after the last.
    turns: BTreeMap<i64, Option<T>>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { turns: BTreeMap::new() }
    }
}

impl<T: Clone + PartialEq> Line<T> {
    /// Makes one of stretches that are put one over the other.
    pub fn of(stretches: impl IntoIterator<Item = (i64, i64, T)>) -> Self {
        let mut line = Self::default();
        stretches.into_iter().for_each(|(from, to, value)| line.put(from, to, value));
        line
    }

    /// Puts a value over `[from, to)`.
    pub fn put(&mut self, from: i64, to: i64, value: T) {
        self.set(from, to, Some(value));
    }

    fn set(&mut self, from: i64, to: i64, value: Option<T>) {
        if from >= to {
            return;
        }
        let after = self.turns.range(..=to).next_back().and_then(|(_, value)| value.clone());
        let covered: Vec<i64> = self.turns.range(from..to).map(|(at, _)| *at).collect();
        covered.into_iter().for_each(|at| drop(self.turns.remove(&at)));
        self.turns.insert(from, value);
        self.turns.insert(to, after);
    }

    /// Returns the stretches in order; neighbours of one value are one.
    pub fn stretches(&self) -> Vec<(i64, i64, T)> {
        let mut found: Vec<(i64, i64, T)> = Vec::new();
        let ends = self.turns.keys().skip(1).copied();
        for ((from, value), to) in self.turns.iter().zip(ends) {
            let Some(value) = value else { continue };
            match found.last_mut().filter(|(_, end, last)| *end == *from && last == value) {
                Some((_, end, _)) => *end = to,
                None => found.push((*from, to, value.clone())),
            }
        }
        found
    }

    /// Returns the parts of its stretches that lie in `[from, to)`.
    pub fn within(&self, from: i64, to: i64) -> Vec<(i64, i64, T)> {
        let clipped = self.stretches().into_iter().map(|(start, end, value)| (start.max(from), end.min(to), value));
        clipped.filter(|(start, end, _)| start < end).collect()
    }

    /// Returns the gaps in `[from, to)`.
    pub fn gaps(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut gaps = Vec::new();
        let mut next = from;
        for (start, end, _) in self.within(from, to) {
            if next < start {
                gaps.push((next, start));
            }
            next = end;
        }
        if next < to {
            gaps.push((next, to));
        }
        gaps
    }
}

/// Returns the union of ranges, in order; those that touch are one.
pub fn union(ranges: impl IntoIterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let line = Line::of(ranges.into_iter().map(|(from, to)| (from, to, ())));
    line.stretches().into_iter().map(|(from, to, ())| (from, to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look drawn, from a seed.
    fn numbers(seed: u64) -> impl FnMut(u64) -> i64 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as i64
        }
    }

    #[test]
    fn the_last_value_that_was_put_over_a_moment_stands_there() {
        for seed in 0..300 {
            let mut next = numbers(seed);
            let mut line = Line::default();
            // The same, moment by moment.
            let mut slots: [Option<i64>; 40] = [None; 40];
            for _ in 0..next(12) {
                let (a, b, value) = (next(40), next(40), next(3));
                line.put(a, b, value);
                slots
                    .iter_mut()
                    .enumerate()
                    .filter(|(at, _)| (a..b).contains(&(*at as i64)))
                    .for_each(|(_, slot)| *slot = Some(value));
            }
            let stretches = line.stretches();
            let at =
                |time: i64| stretches.iter().find(|(from, to, _)| (*from..*to).contains(&time)).map(|found| found.2);
            let found: Vec<_> = (0..40).map(at).collect();
            assert_eq!(found, slots, "seed {seed}");
            let touching = |pair: &[(i64, i64, i64)]| pair[0].1 == pair[1].0 && pair[0].2 == pair[1].2;
            assert!(!stretches.windows(2).any(touching), "seed {seed}: {stretches:?}");
            let gaps = line.gaps(3, 37);
            let is_gap = |time: i64| gaps.iter().any(|(from, to)| (*from..*to).contains(&time));
            assert!((3..37).all(|time| is_gap(time) == slots[time as usize].is_none()), "seed {seed}: {gaps:?}");
        }
    }

    #[test]
    fn open_sides_are_the_ends_of_time() {
        let mut line = Line::of([(i64::MIN, i64::MAX, 'a')]);
        line.put(5, i64::MAX, 'b');
        line.put(i64::MIN, 2, 'c');
        assert_eq!(line.stretches(), [(i64::MIN, 2, 'c'), (2, 5, 'a'), (5, i64::MAX, 'b')]);
        assert_eq!(union([(5, 7), (1, 3), (3, 4), (6, 9)]), [(1, 4), (5, 9)]);
    }
}
