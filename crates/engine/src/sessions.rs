//! Open sessions of every key.
//!
//! The rows of a batch are put in order first (`sessions/runs.rs`); then each key of it is looked up once, its runs are joined with the key's
//! open sessions in one walk over both, and the values of the rows go straight into the accumulators of the sessions.
//!
//! A state is one shard, or several, by the hash of the key. Threads of a batch run without a budget of memory only put rows in
//! order; when a wave of chunks has been gathered, each shard takes in its rows, several shards at once, as each table of a window
//! does (`gather.rs`). Nothing is to be joined then, and a shard stays in the processor's cache. How many shards there
//! are cannot be seen: a key is in one of them, and what closes is put in order across all.

mod runs;
mod shard;

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array};
use arrow::compute::{concat, take};
use hashbrown::DefaultHashBuilder;

use self::runs::Runs;
pub(crate) use self::shard::Session;
use self::shard::{Open, Shard, put};
use crate::accumulators::{Accumulators, Arguments};
use crate::aggregate::{GroupId, Overflow};
use crate::bucket::{Bucket, BucketRows, Buckets};
use crate::close::PIECE_ROWS;
use crate::edge::Hands;
use crate::gather::each_of;
use crate::group::Interned;
use crate::plan::AggregateCall;
use crate::snapshot::Grain;
use crate::window::Window;

/// A session that was taken out.
#[derive(Clone, Copy)]
pub(crate) struct ClosedSession {
    pub(crate) window: Window,
    shard: u32,
    key: GroupId,
    slot: GroupId,
}

impl ClosedSession {
    fn of(shard: u32, key: GroupId, session: &Session, end: i64) -> Self {
        Self { window: Window { start: session.first, end }, shard, key, slot: session.slot }
    }
}

/// How many shards there are when rows are gathered: a few for each of many threads, few enough that each has a thousand rows of
/// a batch.
const SHARDS: usize = if cfg!(test) { 3 } else { 64 };

/// Rows that are so many times as many as their runs are not gathered: to join what they come to costs little, and all
/// of them may have one key, whose rows one thread would have to take in.
const ROWS_OF_RUN: usize = if cfg!(test) { 3 } else { 16 };

/// Open sessions of every key.
pub(crate) struct SessionState {
    gap: i64,
    shards: Vec<Shard>,
    // By the time of their last record.
    buckets: Buckets,
    gathers: bool,
    gathered: Vec<Rows>,
}

/// Rows of one batch that are not in the sessions yet.
struct Rows {
    runs: Runs,
    keys: Interned,
    arguments: Arguments,
}

impl SessionState {
    /// Makes an empty state.
    pub(crate) fn new(gap: i64, calls: &[AggregateCall]) -> Self {
        let shards = Shard::some(1, gap, calls);
        Self { gap, shards, buckets: Buckets::default(), gathers: false, gathered: Vec::new() }
    }

    /// Lets rows be gathered from now on.
    pub(crate) fn gather(&mut self) {
        self.gathers = true;
    }

    /// Takes in the given rows of a batch, or gathers them.
    pub(crate) fn fold(
        &mut self,
        rows: &[u32],
        time: impl Fn(u32) -> i64,
        keys: Interned,
        arguments: Arguments,
        calls: &[AggregateCall],
        hasher: &DefaultHashBuilder,
    ) {
        let shards = if self.gathers { SHARDS } else { self.shards.len() };
        let mut runs = Runs::new(rows, time, &keys, self.gap, shards);
        let (rows, count) = runs.size();
        if self.gathers && rows < count * ROWS_OF_RUN {
            // Each shard reads one piece of each column then. Here they are in the processor's cache, there they are not.
            let (order, keys) = runs.lay_out(&keys);
            let arguments = arguments.take(&order);
            self.gathered.push(Rows { runs, keys, arguments });
            return;
        }
        let Self { gap, shards, buckets, .. } = self;
        let mut touch = |time| buckets.touch(time);
        match shards.as_mut_slice() {
            [shard] => shard.update(runs.all(), &keys, &arguments, *gap, &mut touch),
            shards => {
                for (number, shard) in shards.iter_mut().enumerate() {
                    shard.update(runs.of_shard(number), &keys, &arguments, *gap, &mut touch);
                }
            }
        }
        shards.iter_mut().for_each(|shard| shard.compact(calls, hasher));
    }

    /// Brings the rows that were gathered to their sessions.
    pub(crate) fn settle(&mut self, hands: &dyn Hands, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        if self.gathered.is_empty() {
            return;
        }
        self.divide(SHARDS, calls, hasher);
        self.buckets.touch_all();
        let Self { gap, shards, gathered, .. } = self;
        let mut numbered: Vec<(usize, &mut Shard)> = shards.iter_mut().enumerate().collect();
        each_of(hands, &mut numbered, |(number, shard)| {
            for Rows { runs, keys, arguments } in &*gathered {
                shard.compact(calls, hasher);
                shard.update(runs.of_shard(*number), keys, arguments, *gap, &mut |_| ());
            }
        });
        gathered.clear();
    }

    /// Returns how many sessions are open.
    pub(crate) fn open(&self) -> usize {
        self.shards.iter().map(|shard| shard.live).sum()
    }

    /// Returns how many groups the accumulators have, those of ended sessions too.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots).sum()
    }

    /// Returns about how many bytes it occupies.
    pub(crate) fn size_bytes(&self) -> usize {
        self.shards.iter().map(Shard::size_bytes).sum()
    }

    /// Takes in another state; sessions that come within the gap of each other become one.
    pub(crate) fn merge(&mut self, mut other: SessionState, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        self.gathered.append(&mut other.gathered);
        self.take_in(&other, calls, hasher);
    }

    /// Takes in the sessions of another state.
    pub(crate) fn take_in(&mut self, other: &SessionState, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        debug_assert!(other.gathered.is_empty(), "what is gathered comes to its sessions first");
        let Self { gap, shards, buckets, .. } = self;
        let mut touch = |time| buckets.touch(time);
        other.shards.iter().for_each(|theirs| put(shards, theirs, *gap, &mut touch, hasher));
        shards.iter_mut().for_each(|shard| shard.compact(calls, hasher));
    }

    /// Makes it a state of one shard, as snapshots know it.
    pub(crate) fn unite(&mut self, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        self.divide(1, calls, hasher);
    }

    fn divide(&mut self, count: usize, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        if self.shards.len() == count {
            return;
        }
        let shards = Shard::some(count, self.gap, calls);
        for shard in std::mem::replace(&mut self.shards, shards) {
            put(&mut self.shards, &shard, self.gap, &mut |_| (), hasher);
        }
    }

    /// Returns the open sessions by bucket, there by key and time; those of buckets that have not changed since the last snapshot
    /// only if the whole is asked for. They must be in one shard.
    pub(crate) fn cut(&mut self, whole: bool, grain: &Grain) -> Vec<BucketRows<(GroupId, Session)>> {
        let [Shard { keys, sessions, .. }] = self.shards.as_slice() else { unreachable!("the state was united") };
        let all = move || {
            let lists = sessions.iter().map(Open::as_slice).enumerate();
            lists.flat_map(|(key, list)| list.iter().map(move |session| (session.last, (key as GroupId, *session))))
        };
        let mut found = self.buckets.cut(all, whole, grain);
        for rows in found.iter_mut().filter_map(|(_, rows)| rows.as_mut()) {
            rows.sort_unstable_by(|a, b| keys.key(a.0).cmp(keys.key(b.0)).then_with(|| a.1.first.cmp(&b.1.first)));
        }
        found
    }

    /// Returns the key of a session that `cut` gave.
    pub(crate) fn key_of_cut(&self, key: GroupId) -> &[u8] {
        self.shards[0].keys.key(key)
    }

    /// Returns the accumulators whose groups are the slots of the sessions that `cut` gave.
    pub(crate) fn accumulators_of_cut(&self) -> &Accumulators {
        &self.shards[0].accumulators
    }

    /// Takes in sessions of a bucket that are not there yet, with first and last record and the states of the calls, into a
    /// state of one shard.
    pub(crate) fn restore(
        &mut self,
        bucket: Option<Bucket>,
        keys: &BinaryArray,
        bounds: impl Iterator<Item = (i64, i64)>,
        calls: &[ArrayRef],
        hasher: &DefaultHashBuilder,
    ) {
        let [shard] = self.shards.as_mut_slice() else { unreachable!("the state was united") };
        let (before, mut new) = (shard.slots, Vec::with_capacity(1));
        for (row, (first, last)) in bounds.enumerate() {
            let bytes = keys.value(row);
            let key = shard.key(hasher.hash_one(bytes), bytes);
            let slot = shard.new_slot();
            let place = shard.sessions[key].as_slice().partition_point(|session| session.first < first);
            new.push(Session { first, last, slot });
            shard.replace(key, place..place, &mut new);
        }
        shard.live += shard.slots - before;
        shard.accumulators.resize(shard.slots);
        shard.accumulators.restore(&(before as GroupId..shard.slots as GroupId).collect::<Vec<_>>(), calls);
        self.buckets.restored(bucket);
    }

    /// Returns how long the longest session lasts so far, with the gap that ends it.
    pub(crate) fn longest(&self) -> Option<i64> {
        let sessions = self.shards.iter().flat_map(|shard| &shard.sessions).flat_map(Open::as_slice);
        let lasts = sessions.map(|session| session.last.saturating_add(self.gap).saturating_sub(session.first));
        lasts.max()
    }

    /// Takes out the sessions for which `is_final` holds of their end, shard by shard. It must hold for all ends up to some end.
    pub(crate) fn close(
        &mut self,
        is_final: impl Fn(i64) -> bool + Sync,
        hands: &dyn Hands,
    ) -> Vec<Vec<ClosedSession>> {
        debug_assert!(self.gathered.is_empty(), "what is gathered comes to its sessions first");
        let Self { gap, shards, buckets, .. } = self;
        let end = |last: i64| last.saturating_add(*gap);
        let is_over = |last: i64| is_final(end(last));
        if let [shard] = shards.as_mut_slice() {
            let mut closed = Vec::new();
            shard.close(is_over, |key, session| {
                buckets.touch(session.last);
                closed.push(ClosedSession::of(0, key, session, end(session.last)));
            });
            return vec![closed];
        }
        let numbered = shards.iter_mut().zip(0..);
        let mut pieces: Vec<_> = numbered.map(|(shard, number)| (shard, number, Vec::new())).collect();
        each_of(hands, &mut pieces, |(shard, number, closed)| {
            let take =
                |key, session: &Session| closed.push(ClosedSession::of(*number, key, session, end(session.last)));
            shard.close(is_over, take);
        });
        buckets.touch_all();
        pieces.into_iter().map(|(.., closed)| closed).collect()
    }

    /// Puts sessions that were just closed into canonical order.
    pub(crate) fn sort(&self, closed: &mut [ClosedSession]) {
        closed.sort_unstable_by(|a, b| a.window.cmp(&b.window).then_with(|| self.key(a).cmp(self.key(b))));
    }

    /// Returns the key of a session that was just closed.
    pub(crate) fn key(&self, closed: &ClosedSession) -> &[u8] {
        self.shards[closed.shard as usize].keys.key(closed.key)
    }

    /// Returns the value of each call for sessions that were just closed.
    pub(crate) fn finish(&self, closed: &[ClosedSession]) -> impl Iterator<Item = Result<ArrayRef, Overflow>> {
        let mut parts: Vec<Part<'_>> = self.shards.iter().map(Part::of).collect();
        for (row, session) in closed.iter().enumerate() {
            let part = &mut parts[session.shard as usize];
            part.rows.push(row as u32);
            part.slots.push(session.slot);
        }
        parts.retain(|part| !part.rows.is_empty());
        let mut places = vec![0; closed.len()];
        let rows = parts.iter().flat_map(|part| &part.rows);
        rows.zip(0..).for_each(|(row, place)| places[*row as usize] = place);
        let places = UInt32Array::from(places);
        let calls = self.shards[0].accumulators.calls().count();
        (0..calls).map(move |call| finish_call(call, &parts, &places))
    }
}

/// Sessions of one shard among those that are to be finished.
struct Part<'a> {
    accumulators: &'a Accumulators,
    rows: Vec<u32>,
    slots: Vec<GroupId>,
}

impl<'a> Part<'a> {
    fn of(shard: &'a Shard) -> Self {
        Self { accumulators: &shard.accumulators, rows: Vec::new(), slots: Vec::new() }
    }
}

/// Returns the value of a call for rows that lie in those places when part comes after part.
fn finish_call(call: usize, parts: &[Part<'_>], places: &UInt32Array) -> Result<ArrayRef, Overflow> {
    let (mut values, mut first) = (Vec::new(), None::<Overflow>);
    for part in parts {
        let accumulator = part.accumulators.calls().nth(call).expect("all shards have the same calls");
        match accumulator.finish(&part.slots) {
            Ok(of_part) => values.push(of_part),
            Err(Overflow { index, message }) => {
                let index = part.rows[index] as usize;
                if first.as_ref().is_none_or(|first| index < first.index) {
                    first = Some(Overflow { index, message });
                }
            }
        }
    }
    if let Some(first) = first {
        return Err(first);
    }
    if let [_] = values.as_slice() {
        return Ok(values.remove(0));
    }
    let values: Vec<&dyn Array> = values.iter().map(|values| &**values).collect();
    let values = concat(&values).expect("values of one call have one type");
    Ok(take(&values, places, None).expect("the places are those of the values"))
}

/// Cuts closed sessions into pieces of work, one after the other by the ends of their windows. Where a piece begins is a function of
/// these ends alone; windows of one end are in one piece.
pub(crate) fn by_end(closed: Vec<Vec<ClosedSession>>) -> Vec<Vec<ClosedSession>> {
    const CELL_BITS: u32 = 12;
    let ends = || closed.iter().flatten().map(|session| session.window.end);
    let (Some(least), Some(most)) = (ends().min(), ends().max()) else { return Vec::new() };
    if closed.iter().map(Vec::len).sum::<usize>() <= PIECE_ROWS {
        return vec![closed.concat()];
    }
    let from_least = |end: i64| end.wrapping_sub(least) as u64;
    let shift = (u64::BITS - from_least(most).leading_zeros()).saturating_sub(CELL_BITS);
    let cell = |end: i64| (from_least(end) >> shift) as usize;
    let mut counts = vec![0; cell(most) + 1];
    ends().for_each(|end| counts[cell(end)] += 1);
    let (mut pieces, mut rows) = (vec![Vec::new()], 0);
    let mut piece_of = Vec::with_capacity(counts.len());
    for count in counts {
        if rows >= PIECE_ROWS {
            pieces.push(Vec::new());
            rows = 0;
        }
        rows += count;
        piece_of.push(pieces.len() - 1);
    }
    closed.into_iter().flatten().for_each(|session| pieces[piece_of[cell(session.window.end)]].push(session));
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::Int64Array;

    use super::*;
    use crate::DataType;
    use crate::edge::Alone;
    use crate::group::{KeyCodec, intern};

    const GAP: i64 = 64;

    fn fold(state: &mut SessionState, rows: &[(i64, i64)], hasher: &DefaultHashBuilder) {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key)));
        let keys = intern(&KeyCodec::new(&[DataType::Int64]), &[column], rows.len(), hasher);
        let arguments = Arguments { calls: Vec::new(), filters: Vec::new(), order: None };
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        state.fold(&all, |row| rows[row as usize].1, keys, arguments, &[], hasher);
    }

    #[test]
    fn a_closing_looks_at_keys_that_may_have_a_session_that_is_over_and_at_no_others() {
        let hasher = DefaultHashBuilder::default();
        let mut state = SessionState::new(GAP, &[]);
        fold(&mut state, &(0..1000).map(|key| (key, 1000 + key % 50)).collect::<Vec<_>>(), &hasher);
        fold(&mut state, &[(7, 100), (8, 100)], &hasher);
        let mut close = |bound: i64| {
            let asked = AtomicUsize::new(0);
            let is_final = |end: i64| {
                asked.fetch_add(1, Ordering::Relaxed);
                end <= bound
            };
            (state.close(is_final, &Alone).concat().len(), asked.into_inner())
        };
        let (closed, asked) = close(500);
        assert!(closed == 2 && asked < 20, "{closed} sessions were closed, {asked} times it was asked");
        let (closed, asked) = close(1000 + GAP - 1);
        assert!(closed == 0 && asked < 20, "{closed} sessions were closed, {asked} times it was asked");
        assert_eq!(close(1024 + GAP).0, 500);
        assert_eq!(close(1049 + GAP).0, 500);
    }

    #[test]
    fn a_key_that_never_rests_is_noted_a_few_times() {
        let hasher = DefaultHashBuilder::default();
        let mut state = SessionState::new(GAP, &[]);
        for round in 0..500 {
            let now = 1000 + 10 * round;
            // A session that goes on, and one that is over at once.
            fold(&mut state, &[(0, now), (0, 100)], &hasher);
            let closed = state.close(|end| end <= now - 10, &Alone).concat();
            assert_eq!((closed.len(), state.open()), (1, 1));
            let noted: usize = state.shards[0].due.iter().flat_map(|due| due.keys.values()).map(Vec::len).sum();
            assert!((1..20).contains(&noted), "noted {noted} times");
        }
    }

    #[test]
    fn pieces_of_closed_sessions_follow_from_their_ends() {
        let ends: Vec<i64> =
            (0..100).map(|at| [i64::MIN, -5, 0, at * at, i64::MAX - at, 77][at as usize % 6]).collect();
        let closed = |shards: usize| {
            let mut closed = vec![Vec::new(); shards];
            for (at, end) in ends.iter().enumerate() {
                let session = Session { first: 0, last: 0, slot: at as GroupId };
                closed[at * 7 % shards].push(ClosedSession::of(0, 0, &session, *end));
            }
            let pieces = by_end(closed).into_iter();
            let ends = |piece: Vec<ClosedSession>| piece.iter().map(|session| session.window.end).collect::<Vec<_>>();
            let mut pieces: Vec<Vec<i64>> = pieces.map(ends).collect();
            pieces.iter_mut().for_each(|piece| piece.sort_unstable());
            pieces
        };
        let pieces = closed(1);
        assert!(pieces.len() > 2, "{} pieces", pieces.len());
        let mut sorted = ends.clone();
        sorted.sort_unstable();
        assert_eq!(pieces.concat(), sorted);
        assert!(pieces.windows(2).all(|two| two[0].last() < two[1].first()));
        assert!([2, 5].into_iter().all(|shards| closed(shards) == pieces));
    }
}
