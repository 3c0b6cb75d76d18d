//! State of window steps: tables of groups, by window or by session, with one algebra.
//!
//! `fold` writes into a state, `merge` joins two of them – commutative and exact, whatever was folded where – and closing
//! takes windows out. A state that a thread made on its own and one that grew for a year are the same kind of value.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BinaryArray};
use hashbrown::DefaultHashBuilder;

use crate::aggregate::{Accumulator, GroupId, Rows};
use crate::group::{Groups, Interned};
use crate::plan::{AggregateCall, WindowPlan};
use crate::window::{Window, Windowing};

/// The evaluated arguments of a step's aggregate calls for one batch.
pub(crate) struct Arguments {
    /// Per call, its argument columns.
    pub(crate) calls: Vec<Vec<ArrayRef>>,
    /// Bytes whose order is the record order, when a call needs it.
    pub(crate) order: Option<BinaryArray>,
}

/// Accumulators of all calls of a step over the same groups.
pub(crate) struct Accumulators(Vec<Box<dyn Accumulator>>);

impl Accumulators {
    /// Makes empty accumulators for the calls.
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        Self(calls.iter().map(|call| call.aggregate.accumulator(&call.argument_types())).collect())
    }

    fn resize(&mut self, groups: usize) {
        self.0.iter_mut().for_each(|accumulator| accumulator.resize(groups));
    }

    fn update(&mut self, groups: &[GroupId], rows: &[u32], arguments: &Arguments) {
        for (accumulator, columns) in self.0.iter_mut().zip(&arguments.calls) {
            accumulator.update(&Rows { groups, rows, arguments: columns, order: arguments.order.as_ref() });
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
}

impl Table {
    fn new(calls: &[AggregateCall]) -> Self {
        Self { groups: Groups::default(), accumulators: Accumulators::new(calls) }
    }

    fn merge(&mut self, other: &Table, hasher: &DefaultHashBuilder) {
        use std::hash::BuildHasher;
        let from: Vec<GroupId> = (0..other.groups.len() as GroupId).collect();
        let into: Vec<GroupId> = from
            .iter()
            .map(|group| {
                let key = other.groups.key(*group);
                self.groups.group(hasher.hash_one(key), key, hasher)
            })
            .collect();
        self.accumulators.resize(self.groups.len());
        self.accumulators.merge(&into, &other.accumulators, &from);
    }
}

/// State of one window step.
pub(crate) enum WindowState {
    /// A table for each open window.
    Fixed(FixedState),
    /// Open sessions of each key.
    Session(SessionState),
}

impl WindowState {
    /// Makes an empty state for a step.
    pub(crate) fn new(plan: &WindowPlan) -> Self {
        match plan.windowing {
            Windowing::Fixed { .. } | Windowing::Same => WindowState::Fixed(FixedState::default()),
            Windowing::Session { gap } => WindowState::Session(SessionState::new(gap, &plan.calls)),
        }
    }

    /// Takes in another state of the same step.
    pub(crate) fn merge(&mut self, other: WindowState, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        match (self, other) {
            (WindowState::Fixed(state), WindowState::Fixed(other)) => state.merge(other, hasher),
            (WindowState::Session(state), WindowState::Session(other)) => state.merge(&other, calls, hasher),
            _ => unreachable!("two states of one step are of one kind"),
        }
    }

    /// Returns how many windows or sessions are open.
    pub(crate) fn open(&self) -> usize {
        match self {
            WindowState::Fixed(state) => state.tables.len(),
            WindowState::Session(state) => state.open(),
        }
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            WindowState::Fixed(state) => {
                state.tables.values().map(|table| table.groups.size_bytes() + table.accumulators.size_bytes()).sum()
            }
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
    // Number of a batch's distinct key → group of the table at hand; valid where the stamp is the table's turn.
    scratch: Vec<(u32, GroupId)>,
    turn: u32,
    groups: Vec<GroupId>,
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
        hasher: &DefaultHashBuilder,
    ) {
        let table = self.tables.entry(window).or_insert_with(|| Table::new(calls));
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
                *group = table.groups.group(keys.hashes[id], keys.keys.value(id), hasher);
            }
            self.groups.push(*group);
        }
        table.accumulators.resize(table.groups.len());
        table.accumulators.update(&self.groups, rows, arguments);
    }

    fn merge(&mut self, other: FixedState, hasher: &DefaultHashBuilder) {
        for (window, table) in other.tables {
            match self.tables.entry(window) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(table);
                }
                // The larger table stays, so that fewer groups are looked up.
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let mine = entry.get_mut();
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

/// Open sessions of every key.
pub(crate) struct SessionState {
    gap: i64,
    keys: Groups,
    // By key; each list is ordered and its sessions are at least `gap` apart.
    sessions: Vec<Vec<Session>>,
    accumulators: Accumulators,
    slots: usize,
    live: usize,
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
        hasher: &DefaultHashBuilder,
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
                    state.keys.group(keys.hashes[id as usize], key, hasher);
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
        use std::hash::BuildHasher;
        let (mut into, mut from) = (Vec::new(), Vec::new());
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (other_key, list) in other.sessions.iter().enumerate() {
            if list.is_empty() {
                continue;
            }
            let bytes = other.keys.key(other_key as GroupId);
            let key = self.keys.group(hasher.hash_one(bytes), bytes, hasher) as usize;
            if key == self.sessions.len() {
                self.sessions.push(Vec::new());
            }
            let mut moved = Vec::new();
            for session in list {
                let slot = self.insert(key, *session, &mut moved);
                into.push(slot);
                from.push(session.slot);
            }
            // A slot that took others in may itself have been taken in by a later one of the same key: follow it to the end.
            for slot in into.iter_mut().rev().take(list.len()) {
                *slot = resolve(*slot, &moved);
            }
            for (gone_slot, kept_slot) in &moved {
                gone.push(*gone_slot);
                kept.push(resolve(*kept_slot, &moved));
            }
        }
        self.accumulators.resize(self.slots);
        self.accumulators.merge(&into, &other.accumulators, &from);
        if !gone.is_empty() {
            self.accumulators.merge_within(&kept, &gone);
        }
        self.compact(calls, hasher);
    }

    /// Puts a session into a key's list and returns its slot; `moved` gets (slot that ended, slot it joined).
    fn insert(&mut self, key: usize, session: Session, moved: &mut Vec<(GroupId, GroupId)>) -> GroupId {
        let list = &mut self.sessions[key];
        let near = |a: i64, b: i64| a.saturating_sub(b) < self.gap;
        let begin = list.partition_point(|mine| !near(session.first, mine.last));
        let mut end = begin;
        let mut joined = session;
        while end < list.len() && near(list[end].first, session.last) {
            joined.first = joined.first.min(list[end].first);
            joined.last = joined.last.max(list[end].last);
            end += 1;
        }
        if begin == end {
            joined.slot = self.slots as GroupId;
            self.slots += 1;
            self.live += 1;
        } else {
            joined.slot = list[begin].slot;
            moved.extend(list[begin + 1..end].iter().map(|other| (other.slot, joined.slot)));
            self.live -= end - begin - 1;
        }
        list.splice(begin..end, [joined]);
        joined.slot
    }

    /// Takes out the sessions for which `is_final` holds of their end, in canonical order, as (window, key, slot).
    pub(crate) fn close(&mut self, is_final: impl Fn(i64) -> bool) -> Vec<(Window, GroupId, GroupId)> {
        let mut closed = Vec::new();
        let gap = self.gap;
        for (key, list) in self.sessions.iter_mut().enumerate() {
            let count = list.partition_point(|session| is_final(session.last.saturating_add(gap)));
            for session in list.drain(..count) {
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
        use std::hash::BuildHasher;
        if self.slots <= 2 * self.live + 1024 {
            return;
        }
        let mut fresh = Self::new(self.gap, calls);
        let mut from = Vec::with_capacity(self.live);
        for (key, list) in self.sessions.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let bytes = self.keys.key(key as GroupId);
            fresh.keys.group(hasher.hash_one(bytes), bytes, hasher);
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
        *self = fresh;
    }
}

fn resolve(slot: GroupId, moved: &[(GroupId, GroupId)]) -> GroupId {
    let mut slot = slot;
    while let Some((_, joined)) = moved.iter().find(|(gone, _)| *gone == slot) {
        slot = *joined;
    }
    slot
}
