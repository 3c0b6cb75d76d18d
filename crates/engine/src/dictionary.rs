//! Keys of gathered rows, by their place in canonical order.
//!
//! A table finds the group of a key by its hash, and sorts its keys when its window closes. Where many windows meet the same
//! keys again and again, most of that is done over and over. So each key of a chunk is looked up once, in a dictionary that
//! knows the place of each key among all, its *rank*. A table then finds a group where an array has that rank, and gives
//! numbers to its new groups by rank, so that it is in canonical order from the start. An index by hash is made when somebody
//! searches it (`group.rs`). Of the CPU time of whole runs, two builds in turn, medians of 7, that saved 12 and 22 % (`hops` of
//! `benches/peers.py batch`, asked twice) and 1 and 11 % (`users`).
//!
//! It pays where rows come to windows a few times as often as chunks have keys. Keys that do not come again are forgotten with
//! all the others as soon as there are more of them than waves have.

use std::sync::{Mutex, PoisonError};

use crate::aggregate::GroupId;
use crate::edge::Hands;
use crate::gather::{Place, Rows, each_of};
use crate::group::{Groups, Interned, Order, half};
use crate::state::Table;

/// So many times as often as chunks have keys rows must come to windows. With 10 M users (`benches/peers.py batch users --keys
/// 10000000`) that is 2.1, most keys are in one window of a wave only, and a dictionary took a sixth of all CPU time; with 100,000
/// it is 4.3, and one saves 4 %.
const TIMES: usize = 3;
/// Keys of so many waves are remembered.
const WAVES: usize = 2;
/// Fewer rows are not worth a look at all keys.
const FEW_ROWS: usize = if cfg!(test) { 3 } else { 1 << 12 };
/// Fewer keys than that are never forgotten.
const FEW_KEYS: usize = if cfg!(test) { 4 } else { 1 << 14 };
/// A table of so many times as many groups as rows come to it searches by hash: it would be gone through twice for few.
const GROUPS_OF_ROW: usize = 16;
/// A part of all ranks that is worth looking at each of them.
const DENSE: usize = 16;

/// Keys of a step that were met, by number.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// Tells it from those that a step had before.
    name: u64,
    keys: Groups,
    /// How many keys the chunks of a wave had at most.
    most: usize,
    /// By number, the half of each key's hash by which tables know it.
    halves: Vec<u32>,
    /// By number, the rank of each key.
    ranks: Vec<u32>,
    /// By rank, the number of each key.
    order: Vec<GroupId>,
}

/// Of which dictionary the groups of a table are, and the number of each key there. Groups that came to the table in another
/// way have none.
#[derive(Default)]
pub(crate) struct Numbers {
    dictionary: u64,
    of_groups: Vec<GroupId>,
}

/// The ranks of what a wave of chunks has.
pub(crate) struct Wave<'a> {
    dictionary: &'a Dictionary,
    /// By chunk, the rank of each of its keys.
    ranks: Vec<Vec<u32>>,
    /// Arrays that nobody uses just now.
    spare: Mutex<Vec<Slots>>,
}

/// By rank, the group of the table at hand.
struct Slots(Vec<GroupId>);

const NONE: GroupId = GroupId::MAX;

impl Dictionary {
    /// Returns the ranks of the keys of some chunks, from whose rows windows will take `rows`; None: it does not pay.
    pub(crate) fn wave<'a>(&'a mut self, chunks: &[&Interned], rows: usize, hands: &dyn Hands) -> Option<Wave<'a>> {
        let keys: usize = chunks.iter().map(|chunk| chunk.hashes.len()).sum();
        if rows < (TIMES * keys).max(FEW_ROWS) {
            return None;
        }
        let mut found: Vec<(&Interned, Vec<u32>)> = chunks.iter().map(|chunk| (*chunk, Vec::new())).collect();
        each_of(hands, &mut found, |(chunk, numbers)| {
            let find = |(id, hash): (usize, &u64)| self.keys.find(*hash, chunk.keys.value(id)).unwrap_or(NONE);
            *numbers = chunk.hashes.iter().enumerate().map(find).collect();
        });
        let missing: usize =
            found.iter().map(|(_, numbers)| numbers.iter().filter(|number| **number == NONE).count()).sum();
        self.most = self.most.max(keys);
        if self.ranks.len() + missing > WAVES * self.most + FEW_KEYS {
            *self = Self { name: self.name + 1, most: keys, ..Self::default() };
            found.iter_mut().for_each(|(_, numbers)| numbers.fill(NONE));
        }
        if missing > 0 || self.ranks.is_empty() {
            for (chunk, numbers) in &mut found {
                for (id, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number == NONE) {
                    *number = self.keys.group(chunk.hashes[id], chunk.keys.value(id));
                    if *number as usize == self.halves.len() {
                        self.halves.push(half(chunk.hashes[id]));
                    }
                }
            }
            self.rank();
        }
        let this = &*self;
        each_of(hands, &mut found, |(_, numbers)| {
            numbers.iter_mut().for_each(|number| *number = this.ranks[*number as usize]);
        });
        let ranks = found.into_iter().map(|(_, ranks)| ranks).collect();
        Some(Wave { dictionary: this, ranks, spare: Mutex::default() })
    }

    /// Finds the ranks anew after keys have come.
    fn rank(&mut self) {
        let (before, all) = (self.ranks.len(), self.keys.len());
        let mut new: Vec<GroupId> = (before as GroupId..all as GroupId).collect();
        self.keys.sort(&mut new);
        let known = std::mem::take(&mut self.order);
        self.order.reserve(all);
        let mut rest = known.as_slice();
        for number in new {
            let key = self.keys.key(number);
            let (less, more) = rest.split_at(galloped(rest, |other| self.keys.key(*other) < key));
            self.order.extend_from_slice(less);
            self.order.push(number);
            rest = more;
        }
        self.order.extend_from_slice(rest);
        self.ranks.resize(all, 0);
        self.order.iter().zip(0..).for_each(|(number, rank)| self.ranks[*number as usize] = rank);
    }
}

/// Returns how many items at the begin are less; where it is few, few are looked at.
fn galloped<T>(items: &[T], is_less: impl Fn(&T) -> bool) -> usize {
    let mut step = 1;
    while step <= items.len() && is_less(&items[step - 1]) {
        step *= 2;
    }
    let begin = step / 2;
    let end = step.min(items.len());
    begin + items[begin..end].partition_point(is_less)
}

impl Numbers {
    /// Returns about how many bytes they occupy.
    pub(crate) fn size_bytes(&self) -> usize {
        self.of_groups.capacity() * 4
    }
}

impl Wave<'_> {
    /// Takes rows of chunks into a table, and the groups of tables of panes that this wave made. Returns false, and does
    /// nothing, where the table has groups that are not of this dictionary, or very many.
    pub(crate) fn take_in(&self, table: &mut Table, chunks: &[Rows], places: &[Place], panes: &[&Table]) -> bool {
        let Dictionary { name, keys, halves, ranks, order, .. } = self.dictionary;
        let known = table.groups.len();
        if known == 0 {
            table.numbers = Numbers { dictionary: *name, of_groups: Vec::new() };
        }
        if table.numbers.dictionary != *name || table.numbers.of_groups.len() != known {
            return false;
        }
        let of_chunks = places.iter().map(|(chunk, place)| chunks[*chunk].panes[*place].1.len());
        let rows: usize = of_chunks.chain(panes.iter().map(|pane| pane.groups.len())).sum();
        if known > GROUPS_OF_ROW * rows {
            return false;
        }
        let mut slots = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or(Slots(Vec::new()));
        slots.0.resize(ranks.len(), NONE);
        let rank_of = |number: &GroupId| ranks[*number as usize];
        for (number, group) in table.numbers.of_groups.iter().zip(0..) {
            slots.0[rank_of(number) as usize] = group;
        }
        // The ranks of all that comes, and those of them that are new here.
        let (mut came, mut new) = (Vec::new(), Vec::new());
        let mut note = |rank: u32| {
            let slot = &mut slots.0[rank as usize];
            if *slot == NONE {
                *slot = 0;
                new.push(rank);
            }
            came.push(rank);
        };
        for (chunk, place) in places {
            let ids = &chunks[*chunk].keys.ids;
            let of_chunk = &self.ranks[*chunk];
            chunks[*chunk].panes[*place].1.iter().for_each(|row| note(of_chunk[ids[*row as usize] as usize]));
        }
        panes.iter().flat_map(|pane| &pane.numbers.of_groups).for_each(|number| note(rank_of(number)));
        if known == 0 && new.len() > ranks.len() / DENSE {
            let has = |rank: &u32| slots.0[*rank as usize] != NONE;
            new.clear();
            new.extend((0..ranks.len() as u32).filter(has));
        } else {
            new.sort_unstable();
        }
        table.groups.reserve(new.len());
        table.numbers.of_groups.reserve(new.len());
        for rank in &new {
            let number = order[*rank as usize];
            slots.0[*rank as usize] = table.groups.len() as GroupId;
            table.groups.append(halves[number as usize], keys.key(number));
            table.numbers.of_groups.push(number);
        }
        table.accumulators.resize(table.groups.len());
        let mut groups = Vec::new();
        let mut came = came.as_slice();
        let mut next = |count: usize, groups: &mut Vec<GroupId>| {
            let ranks = came.split_off(..count).expect("each was noted");
            groups.clear();
            groups.extend(ranks.iter().map(|rank| slots.0[*rank as usize]));
        };
        for (chunk, place) in places {
            let Rows { panes, arguments, .. } = &chunks[*chunk];
            let rows = &panes[*place].1;
            next(rows.len(), &mut groups);
            table.accumulators.update(&groups, rows, arguments);
            table.note(&groups);
        }
        for pane in panes {
            next(pane.groups.len(), &mut groups);
            let from: Vec<GroupId> = (0..pane.groups.len() as GroupId).collect();
            table.accumulators.merge(&groups, &pane.accumulators, &from);
            table.note(&groups);
        }
        if known == 0 {
            table.groups.put_order(Order::OfNumbers);
        } else if !new.is_empty() {
            table.groups.put_order(Order::Listed(slots.in_order(&table.numbers.of_groups, rank_of)));
        }
        for number in &table.numbers.of_groups {
            slots.0[rank_of(number) as usize] = NONE;
        }
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(slots);
        true
    }
}

impl Slots {
    /// Returns the groups that have a place, by rank.
    fn in_order(&self, numbers: &[GroupId], rank_of: impl Fn(&GroupId) -> u32) -> Vec<GroupId> {
        if numbers.len() > self.0.len() / DENSE {
            return self.0.iter().copied().filter(|group| *group != NONE).collect();
        }
        let mut ranked: Vec<(u32, GroupId)> =
            numbers.iter().zip(0..).map(|(number, group)| (rank_of(number), group)).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, group)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use hashbrown::DefaultHashBuilder;

    use super::*;
    use crate::DataType;
    use crate::accumulators::Arguments;
    use crate::edge::Alone;
    use crate::group::{KeyCodec, intern};
    use crate::law_tests::Chance;
    use crate::place::Pane;
    use crate::window::Window;

    fn chunk(keys: &[i64], hasher: &DefaultHashBuilder) -> Rows {
        let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        let interned = intern(&KeyCodec::new(&[DataType::Int64]), &[column], keys.len(), hasher);
        let pane = Pane { last: Window { start: 0, end: 1 }, count: 1 };
        let arguments = Arguments { calls: Vec::new(), filters: Vec::new(), order: None };
        Rows { panes: vec![(pane, (0..keys.len() as u32).collect())], keys: interned, arguments }
    }

    fn bytes(key: i64) -> Vec<u8> {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![key]));
        KeyCodec::new(&[DataType::Int64]).encode(&[column], 1).value(0).to_vec()
    }

    /// Keys of a wave, chunk by chunk: some of those of all times, or of those of its own time.
    fn keys(chance: &mut Chance, time: i64) -> Vec<Vec<i64>> {
        let mut some = || {
            let (begin, range) = [(0, 12), (time * 9, 9)][chance.below(2) as usize];
            (0..chance.below(14)).map(|_| begin - 6 + chance.below(range) as i64).collect()
        };
        (0..3).map(|_| some()).collect()
    }

    #[test]
    fn a_table_is_in_canonical_order_and_has_every_key_once_whatever_came_before() {
        let hasher = DefaultHashBuilder::default();
        let (mut begun_anew, mut went_on, mut refused, mut with_panes) = (0, 0, 0, 0);
        for seed in 1..=120 {
            let mut chance = Chance(seed);
            let mut dictionary = Dictionary::default();
            let mut table = Table::new(&[]);
            let mut expected: BTreeSet<Vec<u8>> = BTreeSet::new();
            for time in 0..6 {
                let keys = keys(&mut chance, time);
                let chunks: Vec<Rows> = keys.iter().map(|keys| chunk(keys, &hasher)).collect();
                let name = dictionary.name;
                let interned: Vec<&Interned> = chunks.iter().map(|chunk| &chunk.keys).collect();
                let wave = dictionary.wave(&interned, usize::MAX, &Alone).expect("it pays");
                begun_anew += usize::from(wave.dictionary.name != name);
                for (chunk, ranks) in chunks.iter().zip(&wave.ranks) {
                    for (id, rank) in ranks.iter().enumerate() {
                        let number = wave.dictionary.order[*rank as usize];
                        assert_eq!(wave.dictionary.keys.key(number), chunk.keys.keys.value(id));
                    }
                }
                // The last chunk comes by way of a pane, in some waves.
                let by_pane = chance.below(2) == 0;
                let mut pane = Table::new(&[]);
                let (mut places, mut panes) = (vec![(0, 0), (1, 0), (2, 0)], Vec::new());
                if by_pane {
                    assert!(wave.take_in(&mut pane, &chunks, &places.split_off(2), &[]));
                    panes.push(&pane);
                }
                let before = table.groups.len();
                if !wave.take_in(&mut table, &chunks, &places, &panes) {
                    assert!(before > 0 && table.groups.len() == before);
                    refused += 1;
                    for key in keys.iter().flatten().map(|key| bytes(*key)) {
                        table.groups.group(hasher.hash_one(&key[..]), &key);
                    }
                } else {
                    went_on += usize::from(before > 0);
                    with_panes += usize::from(by_pane && before > 0);
                }
                expected.extend(keys.iter().flatten().map(|key| bytes(*key)));
                let sorted: Vec<&[u8]> =
                    table.groups.sorted().into_iter().map(|group| table.groups.key(group)).collect();
                assert_eq!(sorted, expected.iter().collect::<Vec<_>>(), "seed {seed}");
                // Whoever searches finds each of them where it is.
                if chance.below(3) == 0 {
                    let found = |key: &Vec<u8>| table.groups.group(hasher.hash_one(&key[..]), key);
                    let found: BTreeSet<GroupId> = expected.iter().map(found).collect();
                    assert_eq!((found.len(), table.groups.len()), (expected.len(), expected.len()));
                }
            }
        }
        assert!(
            [begun_anew, went_on, refused, with_panes].iter().all(|count| *count > 20),
            "{begun_anew} {went_on} {refused} {with_panes}"
        );
    }

    #[test]
    fn it_pays_where_rows_come_to_windows_more_often_than_chunks_have_keys() {
        let hasher = DefaultHashBuilder::default();
        let chunk = chunk(&[1, 2, 3, 3], &hasher);
        let wave = |rows| Dictionary::default().wave(&[&chunk.keys], rows, &Alone).is_some();
        assert_eq!((wave(8), wave(9)), (false, true));
    }

    #[test]
    fn what_is_galloped_is_what_is_less() {
        for length in 0..20 {
            let items: Vec<usize> = (0..length).collect();
            (0..=length).for_each(|less| assert_eq!(galloped(&items, |item| *item < less), less));
        }
    }
}
