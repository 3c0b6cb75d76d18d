//! Open sessions of every key.
//!
//! The rows of a batch are put in order first (`sessions/runs.rs`); then each key of it is looked up once, its runs are joined with the key's
//! open sessions in one walk over both, and the values of the rows go straight into the accumulators of the sessions.
//!
//! A state is one shard, or several, by the hash of the key. Runs without a budget of memory only put rows in
//! order; when a wave of chunks has been gathered, each shard takes in its rows, several shards at once, as each table of a window
//! does (`gather.rs`). Nothing is to be joined then, and a shard stays in the processor's cache. How many shards there
//! are cannot be seen: a key is in one of them, and what closes or is kept is put in order across all. Taking rows in together saved
//! 25 % of the CPU time of `sessions` (`benches/peers.py batch`, two builds in turn), shards and more another 21.

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
use crate::aggregate::{Accumulator, GroupId, Overflow};
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

/// A session that a snapshot has: its shard, its key there, and what it is.
pub(crate) type Kept = (u32, GroupId, Session);

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
    /// Whether closings and snapshots are many, so that each is to look at little.
    often: bool,
    gathered: Vec<Rows>,
    /// About how many bytes these take.
    pub(crate) gathered_bytes: usize,
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
        let shards = Shard::some(1, gap, calls, true);
        Self {
            gap,
            shards,
            buckets: Buckets::default(),
            gathers: false,
            often: false,
            gathered: Vec::new(),
            gathered_bytes: 0,
        }
    }

    /// Lets rows be gathered from now on; `often`: between many closings and snapshots.
    pub(crate) fn gather(&mut self, often: bool) {
        self.gathers = true;
        self.often = often;
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
            self.gathered_bytes += runs.size_bytes() + keys.size_bytes() + arguments.size_bytes();
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
        let Self { gap, shards, buckets, gathered, .. } = self;
        let noted = buckets.noted();
        let pieces = shards.iter_mut().enumerate().map(|(number, shard)| (number, shard, Vec::new()));
        let mut pieces: Vec<(usize, &mut Shard, Vec<Bucket>)> = pieces.collect();
        each_of(hands, &mut pieces, |(number, shard, touched)| {
            let mut touch = |time| {
                let bucket = noted.map(|bits| Bucket::of(bits, time)).filter(|bucket| touched.last() != Some(bucket));
                touched.extend(bucket);
            };
            for Rows { runs, keys, arguments } in &*gathered {
                shard.compact(calls, hasher);
                shard.update(runs.of_shard(*number), keys, arguments, *gap, &mut touch);
            }
        });
        pieces.into_iter().flat_map(|(.., touched)| touched).for_each(|bucket| buckets.touch(bucket.first()));
        if noted.is_none() {
            buckets.touch_all();
        }
        gathered.clear();
        self.gathered_bytes = 0;
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

    /// Makes it a state of one shard, which takes in snapshots.
    pub(crate) fn unite(&mut self, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        self.divide(1, calls, hasher);
    }

    fn divide(&mut self, count: usize, calls: &[AggregateCall], hasher: &DefaultHashBuilder) {
        // Those of a batch run do not know what is due.
        if self.shards.len() == count && (self.shards[0].due.is_some() || !self.often) {
            return;
        }
        let shards = Shard::some(count, self.gap, calls, count == 1 || self.often);
        for shard in std::mem::replace(&mut self.shards, shards) {
            put(&mut self.shards, &shard, self.gap, &mut |_| (), hasher);
        }
    }

    /// Returns the open sessions by bucket, there by key and time; those of buckets that have not changed since the last snapshot
    /// only if the whole is asked for.
    pub(crate) fn cut(&mut self, whole: bool, grain: &Grain) -> Vec<BucketRows<Kept>> {
        debug_assert!(self.gathered.is_empty(), "what is gathered comes to its sessions first");
        let shards = &self.shards;
        let all = move || {
            let lists = shards.iter().zip(0..).flat_map(|(shard, number)| {
                shard.sessions.iter().map(Open::as_slice).zip(0..).map(move |(list, key)| (number, key, list))
            });
            lists.flat_map(|(shard, key, list)| list.iter().map(move |session| (session.last, (shard, key, *session))))
        };
        let mut found = self.buckets.cut(all, whole, grain);
        for rows in found.iter_mut().filter_map(|(_, rows)| rows.as_mut()) {
            let key = |kept: &Kept| shards[kept.0 as usize].keys.key(kept.1);
            rows.sort_unstable_by(|a, b| key(a).cmp(key(b)).then_with(|| a.2.first.cmp(&b.2.first)));
        }
        found
    }

    /// Returns the key of a session that `cut` gave.
    pub(crate) fn key_of_kept(&self, (shard, key, _): &Kept) -> &[u8] {
        self.shards[*shard as usize].keys.key(*key)
    }

    /// Returns the state of each call for sessions that `cut` gave.
    pub(crate) fn states(&self, kept: &[Kept]) -> Vec<Vec<ArrayRef>> {
        let places = Places::of(&self.shards, kept.iter().map(|(shard, _, session)| (*shard, session.slot)));
        let calls = self.shards[0].accumulators.calls().count();
        let state = |call| {
            let of_parts = places.parts.iter().map(|part| part.call(call).state(&part.slots));
            let of_parts: Vec<Vec<ArrayRef>> = of_parts.collect();
            let column = |column: usize| places.lay(of_parts.iter().map(|part| part[column].clone()).collect());
            (0..of_parts[0].len()).map(column).collect()
        };
        (0..calls).map(state).collect()
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
        let closed: Vec<Vec<ClosedSession>> = pieces.into_iter().map(|(.., closed)| closed).collect();
        // An end that no time is after does not say what the last record's was.
        match closed.iter().flatten().any(|session| session.window.end == i64::MAX) {
            true => buckets.touch_all(),
            false => closed.iter().flatten().for_each(|session| buckets.touch(session.window.end - *gap)),
        }
        closed
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
        let places = Places::of(&self.shards, closed.iter().map(|session| (session.shard, session.slot)));
        let calls = self.shards[0].accumulators.calls().count();
        (0..calls).map(move |call| finish_call(call, &places))
    }
}

/// Where the values of some sessions are.
struct Places<'a> {
    parts: Vec<Part<'a>>,
    /// The place of each session when part comes after part.
    places: UInt32Array,
}

/// Sessions of one shard among them.
struct Part<'a> {
    accumulators: &'a Accumulators,
    rows: Vec<u32>,
    slots: Vec<GroupId>,
}

impl<'a> Places<'a> {
    /// Finds them, given the shard and the slot of each.
    fn of(shards: &'a [Shard], sessions: impl ExactSizeIterator<Item = (u32, GroupId)>) -> Self {
        let mut places = vec![0; sessions.len()];
        let part = |shard: &'a Shard| Part { accumulators: &shard.accumulators, rows: vec![], slots: vec![] };
        let mut parts: Vec<Part<'a>> = shards.iter().map(part).collect();
        for (row, (shard, slot)) in sessions.enumerate() {
            let part = &mut parts[shard as usize];
            part.rows.push(row as u32);
            part.slots.push(slot);
        }
        // Of no sessions there are columns, too.
        let mut is_first = places.is_empty();
        parts.retain(|part| !part.rows.is_empty() || std::mem::take(&mut is_first));
        let rows = parts.iter().flat_map(|part| &part.rows);
        rows.zip(0..).for_each(|(row, place)| places[*row as usize] = place);
        Self { parts, places: UInt32Array::from(places) }
    }

    /// Returns what the parts have in the order of the sessions.
    fn lay(&self, mut of_parts: Vec<ArrayRef>) -> ArrayRef {
        if let [_] = of_parts.as_slice() {
            return of_parts.remove(0);
        }
        let of_parts: Vec<&dyn Array> = of_parts.iter().map(|values| &**values).collect();
        let all = concat(&of_parts).expect("values of one call have one type");
        take(&all, &self.places, None).expect("the places are those of the values")
    }
}

impl Part<'_> {
    fn call(&self, call: usize) -> &dyn Accumulator {
        self.accumulators.calls().nth(call).expect("all shards have the same calls")
    }
}

fn finish_call(call: usize, places: &Places<'_>) -> Result<ArrayRef, Overflow> {
    let (mut values, mut first) = (Vec::new(), None::<Overflow>);
    for part in &places.parts {
        match part.call(call).finish(&part.slots) {
            Ok(of_part) => values.push(of_part),
            Err(Overflow { index, message }) => {
                let index = part.rows[index] as usize;
                if first.as_ref().is_none_or(|first| index < first.index) {
                    first = Some(Overflow { index, message });
                }
            }
        }
    }
    first.map_or_else(|| Ok(places.lay(values)), Err)
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
    fn a_stream_that_goes_on_from_a_batch_run_knows_what_is_due() {
        let hasher = DefaultHashBuilder::default();
        let mut state = SessionState::new(GAP, &[]);
        state.gather(false);
        fold(&mut state, &(0..1000).map(|key| (key, 1000)).collect::<Vec<_>>(), &hasher);
        state.settle(&Alone, &[], &hasher);
        state.gather(true);
        fold(&mut state, &[(7, 2000)], &hasher);
        state.settle(&Alone, &[], &hasher);
        let asked = AtomicUsize::new(0);
        let is_final = |end: i64| {
            asked.fetch_add(1, Ordering::Relaxed);
            end <= 500
        };
        assert_eq!((state.close(is_final, &Alone).concat().len(), state.open()), (0, 1001));
        assert!(asked.into_inner() < 20, "of 1,001 sessions");
        assert_eq!(state.close(|end| end <= 1000 + GAP, &Alone).concat().len(), 1000);
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
