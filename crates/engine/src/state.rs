//! State of window steps: tables of groups, by window or by session, with one algebra.
//!
//! `fold` writes into a state, `merge` joins two of them – commutative and exact, whatever was folded where – and closing
//! takes windows out. A state that a thread made on its own and one that grew for a year are the same kind of value.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use hashbrown::DefaultHashBuilder;

use crate::aggregate::{Accumulator, GroupId, Rows};
use crate::bucket::{Bucket, BucketRows, Buckets};
use crate::group::{Groups, Interned};
use crate::layers::{Layer, Layers};
use crate::plan::{AggregateCall, WindowPlan};
use crate::snapshot::Grain;
use crate::unique::UniqueState;
use crate::window::{Window, Windowing};

/// The evaluated arguments of a step's aggregate calls for one batch.
pub(crate) struct Arguments {
    /// Per call, its argument columns.
    pub(crate) calls: Vec<Vec<ArrayRef>>,
    /// Per call, the rows that it takes in; None: all.
    pub(crate) filters: Vec<Option<BooleanBuffer>>,
    /// Bytes whose order is the record order, when a call needs it.
    pub(crate) order: Option<BinaryArray>,
}

/// Accumulators of all calls of a step over the same groups.
pub(crate) struct Accumulators(Vec<Box<dyn Accumulator>>);

impl Accumulators {
    /// Makes empty accumulators for the calls.
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        Self(calls.iter().map(AggregateCall::accumulator).collect())
    }

    pub(crate) fn resize(&mut self, groups: usize) {
        self.0.iter_mut().for_each(|accumulator| accumulator.resize(groups));
    }

    fn update(&mut self, groups: &[GroupId], rows: &[u32], arguments: &Arguments) {
        let order = arguments.order.as_ref();
        let (mut chosen_groups, mut chosen_rows) = (Vec::new(), Vec::new());
        let calls = arguments.calls.iter().zip(&arguments.filters);
        for (accumulator, (columns, filter)) in self.0.iter_mut().zip(calls) {
            let (groups, rows) = match filter {
                None => (groups, rows),
                Some(filter) => {
                    chosen_groups.clear();
                    chosen_rows.clear();
                    for (group, row) in groups.iter().zip(rows).filter(|(_, row)| filter.value(**row as usize)) {
                        chosen_groups.push(*group);
                        chosen_rows.push(*row);
                    }
                    (&chosen_groups[..], &chosen_rows[..])
                }
            };
            accumulator.update(&Rows { groups, rows, arguments: columns, order });
        }
    }

    /// Row `i` of `from`'s groups joins group `into[i]`.
    fn merge(&mut self, into: &[GroupId], other: &Self, from: &[GroupId]) {
        for (accumulator, other) in self.0.iter_mut().zip(&other.0) {
            accumulator.merge(into, &other.state(from));
        }
    }

    /// Groups `from` of these accumulators join groups `into` of the same; no group is both.
    fn merge_within(&mut self, into: &[GroupId], from: &[GroupId]) {
        for accumulator in &mut self.0 {
            let state = accumulator.state(from);
            accumulator.merge(into, &state);
        }
    }

    /// Takes in the states of all calls, side by side: row `i` joins group `into[i]`.
    pub(crate) fn restore(&mut self, into: &[GroupId], mut states: &[ArrayRef]) {
        for accumulator in &mut self.0 {
            let (state, rest) = states.split_at(accumulator.state(&[]).len());
            accumulator.merge(into, state);
            states = rest;
        }
    }

    /// Returns each call's accumulator.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &dyn Accumulator> {
        self.0.iter().map(|accumulator| &**accumulator)
    }

    fn size_bytes(&self) -> usize {
        self.0.iter().map(|accumulator| accumulator.size_bytes()).sum()
    }
}

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
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.groups.size_bytes() + self.accumulators.size_bytes() + self.layers.size_bytes()
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

    fn merge(&mut self, other: &Table, hasher: &DefaultHashBuilder) {
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
            (WindowState::Session(state), WindowState::Session(other)) => state.merge(&other, calls, hasher),
            _ => unreachable!("two states of one step are of one kind"),
        }
    }

    /// Returns a state of the same windows and values.
    pub(crate) fn copy(&self, plan: &WindowPlan, hasher: &DefaultHashBuilder) -> Self {
        let mut copy = Self::new(plan);
        match (&mut copy, self) {
            (WindowState::Fixed(copy), WindowState::Fixed(state)) => {
                for (window, table) in &state.tables {
                    copy.tables.entry(*window).or_insert_with(|| Table::new(&plan.calls)).merge(table, hasher);
                }
            }
            (WindowState::Unique(copy), WindowState::Unique(state)) => copy.clone_from(state),
            (WindowState::Session(copy), WindowState::Session(state)) => copy.merge(state, &plan.calls, hasher),
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
            WindowState::Session(state) => state.slots,
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            WindowState::Fixed(state) => state.tables.values().map(Table::size_bytes).sum(),
            WindowState::Unique(state) => state.size_bytes(),
            WindowState::Session(state) => {
                state.keys.size_bytes() + state.accumulators.size_bytes() + state.sessions.len() * 48
            }
        }
    }
}

/// Tables of the open windows.
#[derive(Default)]
pub(crate) struct FixedState {
    tables: BTreeMap<Window, Table>,
    // Counts updates and merges, so that it is known which table was touched last.
    touches: u64,
    // Number of a batch's distinct key → group of the table at hand; valid where the stamp is the table's turn.
    scratch: Vec<(u32, GroupId)>,
    // The window of which layers are being taken in.
    taking: Option<Taking>,
    turn: u32,
    groups: Vec<GroupId>,
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
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.scratch.clear();
            self.turn = 1;
        }
        if self.scratch.len() < keys.hashes.len() {
            self.scratch.resize(keys.hashes.len(), (0, 0));
        }
        self.groups.clear();
        for row in rows {
            let id = keys.ids[*row as usize] as usize;
            let (turn, group) = &mut self.scratch[id];
            if *turn != self.turn {
                *turn = self.turn;
                *group = table.groups.group(keys.hashes[id], keys.keys.value(id));
            }
            self.groups.push(*group);
        }
        table.accumulators.resize(table.groups.len());
        table.accumulators.update(&self.groups, rows, arguments);
        table.saved = false;
        table.layers.note(&self.groups, table.groups.len());
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
        self.touches += 1;
        let touches = self.touches;
        for (window, mut table) in other.tables {
            table.touched = touches;
            match self.tables.entry(window) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(table);
                }
                // The larger table stays, so that fewer groups are looked up.
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let mine = entry.get_mut();
                    mine.touched = touches;
                    if mine.groups.len() >= table.groups.len() {
                        mine.merge(&table, hasher);
                    } else {
                        let smaller = std::mem::replace(mine, table);
                        mine.merge(&smaller, hasher);
                    }
                }
            }
        }
    }

    /// Takes out the windows for which `is_final` holds, in canonical order. It must hold for all ends up to some end.
    pub(crate) fn close(&mut self, is_final: impl Fn(i64) -> bool) -> Vec<(Window, Table)> {
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

/// Records of one key, each less than `gap` from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Event time of the first record.
    pub(crate) first: i64,
    /// Event time of the last record.
    pub(crate) last: i64,
    /// Group in the accumulators.
    pub(crate) slot: GroupId,
}

/// How many slots of ended sessions are never worth the work of giving them back.
const SPARE_SLOTS: usize = if cfg!(test) { 2 } else { 1024 };

/// Open sessions of every key.
pub(crate) struct SessionState {
    gap: i64,
    keys: Groups,
    // By key; each list is ordered and its sessions are at least `gap` apart.
    sessions: Vec<Vec<Session>>,
    accumulators: Accumulators,
    slots: usize,
    live: usize,
    // By the time of their last record.
    buckets: Buckets,
}

impl SessionState {
    fn new(gap: i64, calls: &[AggregateCall]) -> Self {
        Self {
            gap,
            keys: Groups::default(),
            sessions: Vec::new(),
            accumulators: Accumulators::new(calls),
            slots: 0,
            live: 0,
            buckets: Buckets::default(),
        }
    }

    /// Returns the sessions that the given rows of a batch form by themselves.
    pub(crate) fn of_batch(
        gap: i64,
        rows: &[u32],
        times: impl Fn(u32) -> i64,
        keys: &Interned,
        arguments: &Arguments,
        calls: &[AggregateCall],
    ) -> Self {
        let mut state = Self::new(gap, calls);
        let mut order: Vec<(u32, i64, u32)> =
            rows.iter().map(|row| (keys.ids[*row as usize], times(*row), *row)).collect();
        order.sort_unstable();
        let (mut groups, mut sorted) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        let mut last: Option<(u32, i64)> = None;
        for (id, time, row) in order {
            let key = match last {
                Some((last_id, _)) if last_id == id => state.sessions.len() - 1,
                _ => {
                    let key = keys.keys.value(id as usize);
                    state.keys.group(keys.hashes[id as usize], key);
                    state.sessions.push(Vec::new());
                    state.sessions.len() - 1
                }
            };
            let list = &mut state.sessions[key];
            match list.last_mut() {
                Some(session) if time.saturating_sub(session.last) < gap => session.last = time,
                _ => {
                    list.push(Session { first: time, last: time, slot: state.slots as GroupId });
                    state.slots += 1;
                }
            }
            groups.push(state.slots as GroupId - 1);
            sorted.push(row);
            last = Some((id, time));
        }
        state.live = state.slots;
        state.accumulators.resize(state.slots);
        state.accumulators.update(&groups, &sorted, arguments);
        state
    }

    /// Returns how many sessions are open.
    pub(crate) fn open(&self) -> usize {
        self.live
    }

    /// Takes in the sessions of another state; those that come within the gap of each other become one.
    pub(crate) fn merge(&mut self, other: &SessionState, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        let mut from = Vec::new();
        let mut joins = Joins::default();
        for (other_key, list) in other.sessions.iter().enumerate() {
            if list.is_empty() {
                continue;
            }
            let bytes = other.keys.key(other_key as GroupId);
            let key = self.keys.group(hasher.hash_one(bytes), bytes) as usize;
            if key == self.sessions.len() {
                self.sessions.push(Vec::new());
            }
            from.extend(list.iter().map(|session| session.slot));
            self.join(key, list, &mut joins);
        }
        self.accumulators.resize(self.slots);
        self.accumulators.merge(&joins.into, &other.accumulators, &from);
        if !joins.gone.is_empty() {
            self.accumulators.merge_within(&joins.kept, &joins.gone);
        }
        self.compact(calls, hasher);
    }

    /// Returns the open sessions by bucket, there by key and time; those of buckets that have not changed since the last snapshot
    /// only if the whole is asked for.
    pub(crate) fn cut(&mut self, whole: bool, grain: &Grain) -> Vec<BucketRows<(GroupId, Session)>> {
        let Self { keys, sessions, buckets, .. } = self;
        let sessions = &*sessions;
        let all = move || {
            let lists = sessions.iter().enumerate();
            lists.flat_map(|(key, list)| list.iter().map(move |session| (session.last, (key as GroupId, *session))))
        };
        let mut found = buckets.cut(all, whole, grain);
        for rows in found.iter_mut().filter_map(|(_, rows)| rows.as_mut()) {
            rows.sort_unstable_by(|a, b| keys.key(a.0).cmp(keys.key(b.0)).then_with(|| a.1.first.cmp(&b.1.first)));
        }
        found
    }

    /// Takes in sessions of a bucket that are not there yet, with first and last record and the states of the calls.
    pub(crate) fn restore(
        &mut self,
        bucket: Option<Bucket>,
        keys: &BinaryArray,
        bounds: impl Iterator<Item = (i64, i64)>,
        calls: &[ArrayRef],
        hasher: &DefaultHashBuilder,
    ) {
        let before = self.slots;
        for (row, (first, last)) in bounds.enumerate() {
            let bytes = keys.value(row);
            let key = self.keys.group(hasher.hash_one(bytes), bytes) as usize;
            if key == self.sessions.len() {
                self.sessions.push(Vec::new());
            }
            let list = &mut self.sessions[key];
            let place = list.partition_point(|session| session.first < first);
            list.insert(place, Session { first, last, slot: self.slots as GroupId });
            self.slots += 1;
        }
        self.live += self.slots - before;
        self.accumulators.resize(self.slots);
        self.accumulators.restore(&(before as GroupId..self.slots as GroupId).collect::<Vec<_>>(), calls);
        self.buckets.restored(bucket);
    }

    /// Joins a key's sessions with others of that key. Only the part of mine that the others span is walked.
    fn join(&mut self, key: usize, others: &[Session], joins: &mut Joins) {
        let (Some(first), Some(last)) = (others.first(), others.last()) else { return };
        let list = &mut self.sessions[key];
        let begin = list.partition_point(|mine| !is_near(first.first, mine.last, self.gap));
        let end = begin + list[begin..].partition_point(|mine| is_near(mine.first, last.last, self.gap));
        joins.join(self.gap, &list[begin..end], others, &mut self.slots);
        let touched = list[begin..end].iter().chain(&joins.joined);
        touched.for_each(|session| self.buckets.touch(session.last));
        self.live = self.live + joins.joined.len() - (end - begin);
        list.splice(begin..end, joins.joined.drain(..));
    }

    /// Takes out the sessions for which `is_final` holds of their end, in canonical order, as (window, key, slot).
    pub(crate) fn close(&mut self, is_final: impl Fn(i64) -> bool) -> Vec<(Window, GroupId, GroupId)> {
        let mut closed = Vec::new();
        let gap = self.gap;
        for (key, list) in self.sessions.iter_mut().enumerate() {
            let count = list.partition_point(|session| is_final(session.last.saturating_add(gap)));
            for session in list.drain(..count) {
                self.buckets.touch(session.last);
                let window = Window { start: session.first, end: session.last.saturating_add(gap) };
                closed.push((window, key as GroupId, session.slot));
            }
        }
        self.live -= closed.len();
        let keys = &self.keys;
        closed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| keys.key(a.1).cmp(keys.key(b.1))));
        closed
    }

    /// Returns the bytes of a key that `close` named. Valid until the next merge.
    pub(crate) fn key(&self, key: GroupId) -> &[u8] {
        self.keys.key(key)
    }

    /// Returns the accumulators, whose groups are the slots.
    pub(crate) fn accumulators(&self) -> &Accumulators {
        &self.accumulators
    }

    /// Gives back the memory of sessions that ended, when it is more than that of the open ones.
    fn compact(&mut self, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        if self.slots <= 2 * self.live + SPARE_SLOTS {
            return;
        }
        let mut fresh = Self::new(self.gap, calls);
        let mut from = Vec::with_capacity(self.live);
        for (key, list) in self.sessions.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let bytes = self.keys.key(key as GroupId);
            fresh.keys.group(hasher.hash_one(bytes), bytes);
            fresh.sessions.push(
                list.iter()
                    .map(|session| {
                        from.push(session.slot);
                        Session { slot: from.len() as GroupId - 1, ..*session }
                    })
                    .collect(),
            );
        }
        fresh.slots = from.len();
        fresh.live = from.len();
        let into: Vec<GroupId> = (0..from.len() as GroupId).collect();
        fresh.accumulators.resize(fresh.slots);
        fresh.accumulators.merge(&into, &self.accumulators, &from);
        fresh.buckets = std::mem::take(&mut self.buckets);
        *self = fresh;
    }
}

/// Returns whether a session that starts at `first` goes on from one that ended at `last`.
fn is_near(first: i64, last: i64, gap: i64) -> bool {
    first.saturating_sub(last) < gap
}

/// What a merge of sessions does to the slots.
#[derive(Default)]
struct Joins {
    /// For each session of the other state, in order, the slot that takes it in.
    into: Vec<GroupId>,
    /// Slots of mine that ended because their session became part of another.
    gone: Vec<GroupId>,
    /// For each of them, the slot that goes on; it is never among the ended ones.
    kept: Vec<GroupId>,
    /// The sessions that the key at hand gets.
    joined: Vec<Session>,
}

impl Joins {
    /// Puts into `joined` the sessions that come of two ordered lists, in one walk over both. A session goes on in the slot of the
    /// first of mine in it; one that is wholly theirs gets a new slot, counted in `slots`.
    fn join(&mut self, gap: i64, mine: &[Session], theirs: &[Session], slots: &mut usize) {
        let mut all = in_order(mine, theirs).peekable();
        while let Some((mut is_mine, mut next)) = all.next() {
            let mut session = next;
            let mut slot = None;
            let unnamed = self.into.len();
            loop {
                session.last = session.last.max(next.last);
                match slot {
                    _ if !is_mine => self.into.push(GroupId::MAX),
                    None => slot = Some(next.slot),
                    Some(kept) => {
                        self.gone.push(next.slot);
                        self.kept.push(kept);
                    }
                }
                let Some(more) = all.next_if(|(_, more)| is_near(more.first, session.last, gap)) else { break };
                (is_mine, next) = more;
            }
            session.slot = slot.unwrap_or_else(|| {
                *slots += 1;
                *slots as GroupId - 1
            });
            self.into[unnamed..].fill(session.slot);
            self.joined.push(session);
        }
    }
}

/// Walks two ordered lists as one, each session with whether it is mine.
fn in_order<'a>(mut mine: &'a [Session], mut theirs: &'a [Session]) -> impl Iterator<Item = (bool, Session)> + 'a {
    std::iter::from_fn(move || {
        let is_mine = match (mine, theirs) {
            ([], []) => return None,
            ([a, ..], [b, ..]) => a.first <= b.first,
            (mine, _) => !mine.is_empty(),
        };
        let list = if is_mine { &mut mine } else { &mut theirs };
        list.split_off_first().map(|session| (is_mine, *session))
    })
}
