//! A shard: the open sessions of some of the keys, each with the slot that has its values.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::DefaultHashBuilder;

use super::runs::{RunsOf, shard_of};
use crate::accumulators::{Accumulators, Arguments};
use crate::aggregate::GroupId;
use crate::group::{Groups, Interned};
use crate::plan::AggregateCall;

/// Records of one key, each less than `gap` from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Event time of the first record.
    pub(crate) first: i64,
    /// Event time of the last record.
    pub(crate) last: i64,
    /// Group in the accumulators of its shard.
    pub(crate) slot: GroupId,
}

/// How many slots of ended sessions are never worth the work of giving them back.
const SPARE_SLOTS: usize = if cfg!(test) { 2 } else { 1024 };

/// The open sessions of one key, ordered and at least the gap apart. Most have one or none, which are kept in place.
pub(super) enum Open {
    Few(Option<Session>),
    Many(Vec<Session>),
}

impl Open {
    pub(super) fn as_slice(&self) -> &[Session] {
        match self {
            Open::Few(session) => session.as_slice(),
            Open::Many(list) => list,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Session] {
        match self {
            Open::Few(session) => session.as_mut_slice(),
            Open::Many(list) => list,
        }
    }

    fn first(&self) -> Option<&Session> {
        self.as_slice().first()
    }

    /// Puts all of `with` instead of a part.
    fn replace(&mut self, part: Range<usize>, with: &mut Vec<Session>) {
        match self {
            Open::Many(list) => drop(list.splice(part, with.drain(..))),
            Open::Few(session) => {
                let stays = session.is_some() && part.is_empty();
                match (stays, with.len()) {
                    (true, 0) => {}
                    (false, 0 | 1) => *session = with.pop(),
                    _ => {
                        // It gets as much room as it needs at once.
                        let mut list = Vec::with_capacity(with.len() + 1);
                        list.extend(session.take_if(|_| stays && part.start > 0));
                        list.append(with);
                        list.extend(session.take_if(|_| stays));
                        *self = Open::Many(list);
                    }
                }
            }
        }
    }
}

/// When to look which keys have a session that is over, so that a closing, of which a stream has some in a second, need
/// not look at all of them. Every key that has an open session is noted at the time of the last record of its first one, or before.
pub(super) struct Due {
    bits: u32,
    /// By time, without its lowest bits.
    pub(super) keys: BTreeMap<i64, Vec<GroupId>>,
}

impl Due {
    fn new(gap: i64) -> Self {
        // Of the keys that are looked at, few are too early then, and of one time there are many.
        Self { bits: (gap / 64).max(1).ilog2(), keys: BTreeMap::new() }
    }

    fn emptied(&self) -> Self {
        Self { keys: BTreeMap::new(), ..*self }
    }

    fn note(&mut self, last: i64, key: GroupId) {
        self.keys.entry(last >> self.bits).or_default().push(key);
    }

    /// Takes out keys that may have a session that is over.
    fn take(&mut self, is_over: impl Fn(i64) -> bool) -> Option<Vec<GroupId>> {
        let entry = self.keys.first_entry().filter(|entry| is_over(entry.key() << self.bits))?;
        Some(entry.remove())
    }

    fn size_bytes(&self) -> usize {
        self.keys.values().map(|keys| size_of::<Vec<GroupId>>() + keys.capacity() * size_of::<GroupId>()).sum()
    }
}

/// Open sessions of some of the keys.
pub(super) struct Shard {
    pub(super) keys: Groups,
    // By key.
    pub(super) sessions: Vec<Open>,
    pub(super) accumulators: Accumulators,
    pub(super) slots: usize,
    pub(super) live: usize,
    pub(super) due: Option<Due>,
}

impl Shard {
    fn new(calls: &[AggregateCall], due: Option<Due>) -> Self {
        let accumulators = Accumulators::new(calls);
        Self { keys: Groups::default(), sessions: Vec::new(), accumulators, slots: 0, live: 0, due }
    }

    /// Makes the shards of a state.
    /// Each knows which keys are due unless a closing, as those of a batch run, takes something of nearly every key.
    pub(super) fn some(count: usize, gap: i64, calls: &[AggregateCall], knows_due: bool) -> Vec<Self> {
        (0..count).map(|_| Self::new(calls, knows_due.then(|| Due::new(gap)))).collect()
    }

    pub(super) fn size_bytes(&self) -> usize {
        // Of each list all but one session are counted, as if that one were kept in place.
        let in_lists = self.live.saturating_sub(self.sessions.len()) * size_of::<Session>();
        let sessions = self.sessions.capacity() * size_of::<Open>() + in_lists;
        let due = self.due.as_ref().map_or(0, Due::size_bytes);
        self.keys.size_bytes() + self.accumulators.size_bytes() + sessions + due
    }

    /// Returns the place of a key, made if it is new.
    pub(super) fn key(&mut self, hash: u64, bytes: &[u8]) -> usize {
        let key = self.keys.group(hash, bytes) as usize;
        if key == self.sessions.len() {
            self.sessions.push(Open::Few(None));
        }
        key
    }

    pub(super) fn new_slot(&mut self) -> GroupId {
        self.slots += 1;
        self.slots as GroupId - 1
    }

    /// Takes rows of a batch to their sessions. `touch` hears the last times of the sessions that come, change and go.
    pub(super) fn update(
        &mut self,
        runs: RunsOf<'_>,
        keys: &Interned,
        arguments: &Arguments,
        gap: i64,
        touch: &mut impl FnMut(i64),
    ) {
        let mut joins = Joins::default();
        for (id, runs) in runs.by_key() {
            let key = self.key(keys.hashes[id], keys.keys.value(id));
            self.join(key, runs, gap, &mut joins, touch);
        }
        self.accumulators.resize(self.slots);
        self.accumulators.update(&runs.slots(&joins.into), runs.rows(), arguments);
        self.end(&joins);
    }

    /// Takes in the sessions of some keys of another shard, given with their hashes.
    fn merge(&mut self, other: &Shard, keys: &[(u64, GroupId)], gap: i64, touch: &mut impl FnMut(i64)) {
        let (mut from, mut joins) = (Vec::new(), Joins::default());
        for (hash, key) in keys {
            let sessions = other.sessions[*key as usize].as_slice();
            let key = self.key(*hash, other.keys.key(*key));
            from.extend(sessions.iter().map(|session| session.slot));
            self.join(key, sessions, gap, &mut joins, touch);
        }
        self.accumulators.resize(self.slots);
        self.accumulators.merge(&joins.into, &other.accumulators, &from);
        self.end(&joins);
    }

    /// Joins a key's sessions with others of that key. Only the part of mine that the others span is walked.
    fn join(&mut self, key: usize, others: &[Session], gap: i64, joins: &mut Joins, touch: &mut impl FnMut(i64)) {
        let (Some(first), Some(last)) = (others.first(), others.last()) else { return };
        let list = self.sessions[key].as_mut_slice();
        let begin = list.partition_point(|mine| !is_near(first.first, mine.last, gap));
        let end = begin + list[begin..].partition_point(|mine| is_near(mine.first, last.last, gap));
        if let ([mine], [other]) = (&mut list[begin..end], others) {
            // Each begins before the other one has ended.
            touch(mine.last);
            mine.first = mine.first.min(other.first);
            mine.last = mine.last.max(other.last);
            touch(mine.last);
            joins.into.push(mine.slot);
            return;
        }
        joins.join(gap, &list[begin..end], others, &mut self.slots);
        list[begin..end].iter().chain(&joins.joined).for_each(|session| touch(session.last));
        self.live = self.live + joins.joined.len() - (end - begin);
        self.replace(key, begin..end, &mut joins.joined);
    }

    /// Puts sessions instead of a part of a key's.
    pub(super) fn replace(&mut self, key: usize, part: Range<usize>, with: &mut Vec<Session>) {
        let open = &mut self.sessions[key];
        let before = open.first().map(|session| session.last);
        open.replace(part, with);
        if let (Some(due), Some(Session { last, .. })) = (&mut self.due, open.first())
            && before.is_none_or(|before| *last < before)
        {
            due.note(*last, key as GroupId);
        }
    }

    /// Takes out the sessions for which `is_over` holds of the time of their last record.
    pub(super) fn close(&mut self, is_over: impl Fn(i64) -> bool, mut take: impl FnMut(GroupId, &Session)) {
        let Self { sessions, live, due, .. } = self;
        let mut close = |key: GroupId, open: &mut Open| {
            let list = open.as_slice();
            let count = list.partition_point(|session| is_over(session.last));
            list[..count].iter().for_each(|session| take(key, session));
            *live -= count;
            open.replace(0..count, &mut Vec::new());
        };
        let Some(due) = due else {
            sessions.iter_mut().zip(0..).for_each(|(open, key)| close(key, open));
            return;
        };
        let mut later = Vec::new();
        while let Some(keys) = due.take(&is_over) {
            for key in keys {
                let open = &mut sessions[key as usize];
                close(key, open);
                later.extend(open.first().map(|session| (session.last, key)));
            }
        }
        later.sort_unstable();
        later.dedup();
        later.into_iter().for_each(|(last, key)| due.note(last, key));
    }

    /// Brings the values of sessions that became part of another one there.
    fn end(&mut self, joins: &Joins) {
        if !joins.gone.is_empty() {
            self.accumulators.merge_within(&joins.kept, &joins.gone);
        }
    }

    /// Gives back the memory of sessions that ended, when it is more than that of the open ones.
    pub(super) fn compact(&mut self, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        if self.slots <= 2 * self.live + SPARE_SLOTS {
            return;
        }
        let mut fresh = Self::new(calls, self.due.as_ref().map(Due::emptied));
        let open = self.open(hasher);
        // No session of a fresh shard is near another one.
        fresh.merge(self, &open, 0, &mut |_| ());
        *self = fresh;
    }

    /// Returns the keys that have open sessions, with their hashes.
    fn open(&self, hasher: &DefaultHashBuilder) -> Vec<(u64, GroupId)> {
        let keys =
            (0..self.sessions.len() as GroupId).filter(|key| !self.sessions[*key as usize].as_slice().is_empty());
        keys.map(|key| (hasher.hash_one(self.keys.key(key)), key)).collect()
    }
}

/// Takes the sessions of a shard into shards of another number.
pub(super) fn put(
    shards: &mut [Shard],
    other: &Shard,
    gap: i64,
    touch: &mut impl FnMut(i64),
    hasher: &DefaultHashBuilder,
) {
    let mut by_shard: Vec<Vec<(u64, GroupId)>> = vec![Vec::new(); shards.len()];
    for (hash, key) in other.open(hasher) {
        by_shard[shard_of(hash, shards.len())].push((hash, key));
    }
    for (shard, keys) in shards.iter_mut().zip(by_shard).filter(|(_, keys)| !keys.is_empty()) {
        shard.merge(other, &keys, gap, touch);
    }
}

/// Returns whether a session that starts at `first` goes on from one that ended at `last`.
pub(super) fn is_near(first: i64, last: i64, gap: i64) -> bool {
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
