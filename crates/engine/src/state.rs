//! State of window steps: tables of groups, by window or by session, with one algebra.
//!
//! `fold` writes into a state, `merge` joins two of them – commutative and exact, whatever was folded where – and closing
//! takes windows out. A state that a thread made on its own and one that grew for a year are the same kind of value.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, UInt32Array};
use arrow::compute::take;
use hashbrown::DefaultHashBuilder;

use crate::accumulators::{Accumulators, Arguments};
use crate::aggregate::GroupId;
use crate::dictionary::Numbers;
use crate::gather::Gathered;
use crate::group::{Groups, Interned};
use crate::layers::{Layer, Layers};
use crate::plan::{AggregateCall, WindowPlan};
use crate::sessions::SessionState;
use crate::snapshot::Grain;
use crate::unique::UniqueState;
use crate::window::{Window, Windowing};

/// The groups of one window.
pub(crate) struct Table {
    /// Its keys.
    pub(crate) groups: Groups,
    /// Their running values.
    pub(crate) accumulators: Accumulators,
    /// Whether the last snapshot has it as it is.
    pub(crate) saved: bool,
    /// What snapshots wrote of it.
    layers: Layers,
    /// When rows last came to it, as its state counts.
    pub(crate) touched: u64,
    /// What the dictionary of its step says of its groups, if it has one.
    pub(crate) numbers: Numbers,
}

impl Table {
    /// Makes an empty table for the calls.
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        Self {
            groups: Groups::default(),
            accumulators: Accumulators::new(calls),
            saved: false,
            layers: Layers::default(),
            touched: 0,
            numbers: Numbers::default(),
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.groups.size_bytes() + self.accumulators.size_bytes() + self.layers.size_bytes() + self.numbers.size_bytes()
    }

    /// Returns the layers of a snapshot, with the groups that are to be written in canonical order; of the whole one only.
    pub(crate) fn cut(&mut self, whole: bool, grain: &Grain) -> Vec<Layer> {
        let mut layers = match whole {
            true => vec![(0, Some((0..self.groups.len() as GroupId).collect::<Vec<_>>()))],
            false => self.layers.cut(self.groups.len(), !std::mem::replace(&mut self.saved, true), grain),
        };
        for groups in layers.iter_mut().filter_map(|(_, groups)| groups.as_mut()) {
            self.groups.sort(groups);
        }
        layers
    }

    /// Forgets what the last snapshot has of it.
    pub(crate) fn forget_saved(&mut self) {
        self.saved = false;
        self.layers = Layers::default();
    }

    /// Takes in groups with the states of the calls.
    pub(crate) fn restore(&mut self, keys: &BinaryArray, calls: &[ArrayRef], hasher: &DefaultHashBuilder) {
        let keys = (0..keys.len()).map(|row| keys.value(row));
        let into: Vec<GroupId> = keys.map(|key| self.groups.group(hasher.hash_one(key), key)).collect();
        self.accumulators.resize(self.groups.len());
        self.accumulators.restore(&into, calls);
    }

    /// Notes that groups changed since the last snapshot.
    pub(crate) fn note(&mut self, groups: &[GroupId]) {
        self.saved = false;
        self.layers.note(groups, self.groups.len());
    }

    /// Takes in the groups of a table that has not been in a snapshot.
    pub(crate) fn take_in(&mut self, other: &Table, hasher: &DefaultHashBuilder) {
        let from: Vec<GroupId> = (0..other.groups.len() as GroupId).collect();
        let into: Vec<GroupId> = from
            .iter()
            .map(|group| {
                let key = other.groups.key(*group);
                self.groups.group(hasher.hash_one(key), key)
            })
            .collect();
        self.accumulators.resize(self.groups.len());
        self.accumulators.merge(&into, &other.accumulators, &from);
        self.note(&into);
    }

    /// Takes in the groups of another table, which may be of another state.
    pub(crate) fn merge(&mut self, other: &Table, hasher: &DefaultHashBuilder) {
        self.take_in(other, hasher);
        self.forget_saved();
    }
}

/// State of one window step.
pub(crate) enum WindowState {
    /// A table for each open window.
    Fixed(FixedState),
    /// The ids of each open window, where each counts once.
    Unique(UniqueState),
    /// Open sessions of each key.
    Session(SessionState),
}

impl WindowState {
    /// Makes an empty state for a step.
    pub(crate) fn new(plan: &WindowPlan) -> Self {
        if !plan.unique_by.is_empty() {
            return WindowState::Unique(UniqueState::default());
        }
        match plan.windowing {
            Windowing::Fixed { .. } | Windowing::Cumulative { .. } | Windowing::Calendar { .. } | Windowing::Same => {
                WindowState::Fixed(FixedState::default())
            }
            Windowing::Session { gap } => WindowState::Session(SessionState::new(gap, &plan.calls)),
        }
    }

    /// Takes in another state of the same step.
    pub(crate) fn merge(&mut self, other: WindowState, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        match (self, other) {
            (WindowState::Fixed(state), WindowState::Fixed(other)) => state.merge(other, hasher),
            (WindowState::Unique(state), WindowState::Unique(other)) => state.merge(other, hasher),
            (WindowState::Session(state), WindowState::Session(other)) => state.merge(other, calls, hasher),
            _ => unreachable!("two states of one step are of one kind"),
        }
    }

    /// Returns a state of the same windows and values.
    pub(crate) fn copy(&self, plan: &WindowPlan, hasher: &DefaultHashBuilder) -> Self {
        let mut copy = Self::new(plan);
        match (&mut copy, self) {
            (WindowState::Fixed(copy), WindowState::Fixed(state)) => {
                debug_assert!(state.gathered.is_empty(), "what is gathered comes to its tables first");
                for (window, table) in &state.tables {
                    copy.tables.entry(*window).or_insert_with(|| Table::new(&plan.calls)).merge(table, hasher);
                }
            }
            (WindowState::Unique(copy), WindowState::Unique(state)) => copy.clone_from(state),
            (WindowState::Session(copy), WindowState::Session(state)) => copy.take_in(state, &plan.calls, hasher),
            _ => unreachable!("two states of one step are of one kind"),
        }
        copy
    }

    /// Returns how many windows or sessions are open.
    pub(crate) fn open(&self) -> usize {
        match self {
            WindowState::Fixed(state) => state.tables.len(),
            WindowState::Unique(state) => state.open(),
            WindowState::Session(state) => state.open(),
        }
    }

    /// Returns how many groups the open windows have, ids where these count once, or how many sessions are open.
    pub(crate) fn keys(&self) -> usize {
        match self {
            WindowState::Fixed(state) => state.tables.values().map(|table| table.groups.len()).sum(),
            WindowState::Unique(state) => state.ids(),
            WindowState::Session(state) => state.open(),
        }
    }

    /// Returns how many groups the accumulators of sessions have, those of ended sessions too.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        match self {
            WindowState::Fixed(_) | WindowState::Unique(_) => 0,
            WindowState::Session(state) => state.slots(),
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            WindowState::Fixed(state) => state.tables.values().map(Table::size_bytes).sum(),
            WindowState::Unique(state) => state.size_bytes(),
            WindowState::Session(state) => state.size_bytes(),
        }
    }
}

/// Tables of the open windows.
#[derive(Default)]
pub(crate) struct FixedState {
    tables: BTreeMap<Window, Table>,
    // Counts updates and merges, so that it is known which table was touched last.
    touches: u64,
    scratch: Scratch,
    // The window of which layers are being taken in.
    taking: Option<Taking>,
    /// Rows that are not in the tables yet.
    pub(crate) gathered: Gathered,
}

/// What an update needs for a while.
#[derive(Default)]
pub(crate) struct Scratch {
    // Number of a batch's distinct key → group of the table at hand; valid where the stamp is the turn.
    known: Vec<(u32, GroupId)>,
    turn: u32,
    groups: Vec<GroupId>,
}

impl Scratch {
    /// Takes rows of a batch into a table.
    pub(crate) fn update(&mut self, table: &mut Table, rows: &[u32], keys: &Interned, arguments: &Arguments) {
        self.groups.clear();
        let groups = &mut table.groups;
        let mut find = |id: usize| groups.group(keys.hashes[id], keys.keys.value(id));
        // Few rows do not pay for a place for every key of the batch.
        if rows.len() < keys.hashes.len() / 4 {
            self.groups.extend(rows.iter().map(|row| find(keys.ids[*row as usize] as usize)));
        } else {
            self.turn = self.turn.wrapping_add(1);
            if self.turn == 0 {
                self.known.clear();
                self.turn = 1;
            }
            if self.known.len() < keys.hashes.len() {
                self.known.resize(keys.hashes.len(), (0, 0));
            }
            for row in rows {
                let id = keys.ids[*row as usize] as usize;
                let (turn, group) = &mut self.known[id];
                if *turn != self.turn {
                    *turn = self.turn;
                    *group = find(id);
                }
                self.groups.push(*group);
            }
        }
        table.accumulators.resize(table.groups.len());
        table.accumulators.update(&self.groups, rows, arguments);
        table.note(&self.groups);
    }
}

/// A window of which layers are being taken in, the newest first.
struct Taking {
    window: Window,
    /// The keys that layers had so far; None: those that the table has.
    newer: Option<hashbrown::HashSet<Box<[u8]>>>,
}

impl Taking {
    /// Notes that the table is about to have other keys than those of the layers.
    fn part_from(&mut self, table: &Table) {
        let keys = || (0..table.groups.len() as GroupId).map(|group| Box::from(table.groups.key(group))).collect();
        self.newer.get_or_insert_with(keys);
    }
}

impl FixedState {
    /// Takes rows of a batch into a window.
    pub(crate) fn update(
        &mut self,
        window: Window,
        rows: &[u32],
        keys: &Interned,
        arguments: &Arguments,
        calls: &[AggregateCall],
    ) {
        let table = self.tables.entry(window).or_insert_with(|| Table::new(calls));
        self.touches += 1;
        table.touched = self.touches;
        self.scratch.update(table, rows, keys, arguments);
    }

    /// Takes in the groups of a part of a window, of its layers the newest first.
    pub(crate) fn restore(
        &mut self,
        (window, layer, is_piece): (Window, u32, bool),
        keys: BinaryArray,
        calls: &[ArrayRef],
        plan: &WindowPlan,
        hasher: &DefaultHashBuilder,
    ) {
        let table = self.tables.entry(window).or_insert_with(|| Table::new(&plan.calls));
        let of_window = self.taking.as_mut().filter(|taking| taking.window == window);
        if is_piece {
            of_window.into_iter().for_each(|taking| taking.part_from(table));
            table.restore(&keys, calls, hasher);
            table.forget_saved();
            return;
        }
        let is_first = of_window.is_none();
        if is_first {
            let newer = (!table.groups.is_empty()).then(Default::default);
            self.taking = Some(Taking { window, newer });
        }
        // What comes from several parts is none of them, unless these are its layers; nor if some of these have left already.
        let is_saved = table.saved || is_first && table.groups.is_empty();
        let size = keys.len();
        let newer = &mut self.taking.as_mut().expect("it was made at the first one").newer;
        let is_new = |row: &u32| {
            let key = keys.value(*row as usize);
            match newer {
                None => !table.groups.has(hasher.hash_one(key), key),
                Some(newer) => !newer.contains(key) && newer.insert(key.into()),
            }
        };
        let chosen: Vec<u32> = (0..size as u32).filter(is_new).collect();
        if chosen.len() == size {
            table.restore(&keys, calls, hasher);
        } else {
            let chosen = UInt32Array::from(chosen);
            let take = |column: &ArrayRef| take(column, &chosen, None).expect("the rows are there");
            let keys = take(&(Arc::new(keys) as ArrayRef)).as_binary().clone();
            table.restore(&keys, &calls.iter().map(take).collect::<Vec<_>>(), hasher);
        }
        match is_saved {
            true => table.layers.restored(layer, size, table.groups.len()),
            false => table.layers = Layers::default(),
        }
        table.saved = is_saved;
    }

    /// Returns the open windows and their tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&Window, &Table)> {
        self.tables.iter()
    }

    /// Returns whether there is a table of a window.
    pub(crate) fn has(&self, window: Window) -> bool {
        self.tables.contains_key(&window)
    }

    /// Returns how long ago a table was touched.
    pub(crate) fn age(&self, touched: u64) -> u64 {
        self.touches - touched
    }

    /// Takes out the table of a window.
    pub(crate) fn remove(&mut self, window: Window) -> Option<Table> {
        let table = self.tables.remove(&window)?;
        if let Some(taking) = self.taking.as_mut().filter(|taking| taking.window == window) {
            taking.part_from(&table);
        }
        Some(table)
    }

    /// Notes that all parts of a snapshot were taken in.
    pub(crate) fn restored(&mut self) {
        self.taking = None;
    }

    /// Returns the open windows and their tables.
    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = (&Window, &mut Table)> {
        self.tables.iter_mut()
    }

    fn merge(&mut self, other: FixedState, hasher: &DefaultHashBuilder) {
        self.gathered.merge(other.gathered);
        for (window, mut table) in other.tables {
            // They are of the other state's dictionary.
            table.numbers = Numbers::default();
            self.put(window, table, hasher);
        }
    }

    /// Takes in a table of a window.
    pub(crate) fn put(&mut self, window: Window, mut table: Table, hasher: &DefaultHashBuilder) {
        self.touches += 1;
        table.touched = self.touches;
        match self.tables.entry(window) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(table);
            }
            // The larger table stays, so that fewer groups are looked up.
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let mine = entry.get_mut();
                mine.touched = self.touches;
                if mine.groups.len() >= table.groups.len() {
                    mine.merge(&table, hasher);
                } else {
                    let smaller = std::mem::replace(mine, table);
                    mine.merge(&smaller, hasher);
                }
            }
        }
    }

    /// Takes out the windows for which `is_final` holds, in canonical order. It must hold for all ends up to some end.
    pub(crate) fn close(&mut self, is_final: impl Fn(i64) -> bool) -> Vec<(Window, Table)> {
        debug_assert!(self.gathered.is_empty(), "what is gathered comes to its tables first");
        let mut closed = Vec::new();
        while let Some(entry) = self.tables.first_entry() {
            if !is_final(entry.key().end) {
                break;
            }
            closed.push(entry.remove_entry());
        }
        closed
    }
}
