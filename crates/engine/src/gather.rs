//! Rows on their way to the tables of their windows.
//!
//! Threads that each fold a part of a log into tables of their own make many small tables of each window, and joining these
//! costs as much as making them. So a run without a budget of memory only gathers: which rows of a chunk go to which
//! windows. When a wave of chunks has been gathered, each window's table takes in all of its rows, window by window, each by one
//! thread: nothing is to be joined, and a table stays in the processor's cache while it is written to. Of the CPU time of whole
//! runs that saved, with zstd's first level for the output, 11 % (`users` of `benches/peers.py batch`) and 17 % (`hops`).
//!
//! Rows that are in several windows, and in the same, meet in a table of their own first, and each of their windows takes in that
//! one's groups: where a key comes again within a pane, this is less than all of its rows as often as there are windows.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::accumulators::Arguments;
use crate::dictionary::{Dictionary, Wave};
use crate::edge::Hands;
use crate::fold::State;
use crate::group::Interned;
use crate::place::{PAIRS, Pane};
use crate::plan::{WindowPlan, Work};
use crate::state::{FixedState, Scratch, Table, WindowState};
use crate::task::Engine;
use crate::window::Window;

/// Rows of one table that are fewer than that are not shared out.
const SHARED_ROWS: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// Rows in so many windows at least, and so many of them, meet in a table of their own. In two windows a row costs as much as
/// the pane's table and its two ways on.
const PANE_WINDOWS: u32 = 3;
const PANE_ROWS: usize = if cfg!(test) { 3 } else { 256 };

/// Rows of a step that are not in its tables yet.
#[derive(Default)]
pub(crate) struct Gathered {
    gathers: bool,
    chunks: Vec<Rows>,
    /// About how many bytes these take.
    pub(crate) bytes: usize,
    /// The keys of the chunks before.
    dictionary: Box<Dictionary>,
}

/// Rows of one chunk.
pub(crate) struct Rows {
    pub(crate) panes: Vec<(Pane, Vec<u32>)>,
    pub(crate) keys: Interned,
    pub(crate) arguments: Arguments,
}

impl Gathered {
    /// Lets rows be gathered from now on.
    pub(crate) fn begin(&mut self) {
        self.gathers = true;
    }

    /// Returns whether rows are to be gathered.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers
    }

    pub(crate) fn take(&mut self, panes: Vec<(Pane, Vec<u32>)>, keys: Interned, arguments: Arguments) {
        if !panes.is_empty() {
            let rows: usize = panes.iter().map(|(_, rows)| rows.len() * 4).sum();
            self.bytes += rows + keys.size_bytes() + arguments.size_bytes();
            self.chunks.push(Rows { panes, keys, arguments });
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.chunks.extend(other.chunks);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

/// Rows of a pane in one chunk: which chunk, and its place there.
pub(crate) type Place = (usize, usize);

/// A table, the rows that it takes in, and the panes.
struct Piece {
    window: Window,
    table: Table,
    rows: Vec<Place>,
    panes: Vec<usize>,
}

impl Engine {
    /// Brings the rows that were gathered to the tables of their windows, and to their sessions.
    pub fn settle(&self, state: &mut State, hands: &dyn Hands) {
        for (step, state) in self.plan.steps.iter().zip(&mut state.windows) {
            let Work::Window(window) = &step.work else { continue };
            let state = match state {
                Some(WindowState::Fixed(state)) => state,
                Some(WindowState::Session(state)) => {
                    state.settle(hands, &window.calls, &self.hasher);
                    continue;
                }
                Some(WindowState::Unique(_)) | None => continue,
            };
            let chunks = std::mem::take(&mut state.gathered.chunks);
            state.gathered.bytes = 0;
            let mut panes: BTreeMap<Pane, Vec<Place>> = BTreeMap::new();
            let mut to_windows = 0;
            for (chunk, Rows { panes: of_chunk, .. }) in chunks.iter().enumerate() {
                for (place, (pane, rows)) in of_chunk.iter().enumerate() {
                    panes.entry(*pane).or_default().push((chunk, place));
                    to_windows += rows.len() * pane.count as usize;
                }
            }
            let mut dictionary = std::mem::take(&mut state.gathered.dictionary);
            let keys: Vec<&Interned> = chunks.iter().map(|chunk| &chunk.keys).collect();
            let wave = dictionary.wave(&keys, to_windows, hands);
            // As many at once as there is room for what says which window takes in what.
            let mut panes = panes.into_iter().peekable();
            while panes.peek().is_some() {
                let (mut some, mut pairs) = (Vec::new(), 0);
                while let Some((pane, places)) = panes.next_if(|_| pairs < PAIRS) {
                    pairs += pane.count as usize * places.len();
                    some.push((pane, places));
                }
                self.bring(some, (&chunks, wave.as_ref()), (window, state), hands);
            }
            drop(wave);
            state.gathered.dictionary = dictionary;
        }
    }

    fn bring(
        &self,
        panes: Vec<(Pane, Vec<Place>)>,
        (chunks, wave): (&[Rows], Option<&Wave<'_>>),
        (window, state): (&WindowPlan, &mut FixedState),
        hands: &dyn Hands,
    ) {
        let count = |(chunk, place): &Place| chunks[*chunk].panes[*place].1.len();
        let rows = |places: &[Place]| places.iter().map(count).sum::<usize>();
        let take_in = |table: &mut Table, places: &[Place], panes: &[&Table]| {
            if wave.is_some_and(|wave| wave.take_in(table, chunks, places, panes)) {
                return;
            }
            panes.iter().for_each(|pane| table.take_in(pane, &self.hasher));
            let mut scratch = Scratch::default();
            for (chunk, place) in places {
                let Rows { panes, keys, arguments } = &chunks[*chunk];
                scratch.update(table, &panes[*place].1, keys, arguments);
            }
        };
        let grows = window.calls.iter().any(|call| call.aggregate.grows());
        let pays = |pane: &Pane, places: &[Place]| pane.count >= PANE_WINDOWS && rows(places) >= PANE_ROWS && !grows;
        let (shared, direct): (Vec<_>, Vec<_>) = panes.into_iter().partition(|(pane, places)| pays(pane, places));
        let all = shared.iter().map(|(_, places)| rows(places)).sum();
        let tables = shared.into_iter().flat_map(|(pane, places)| {
            let lists = share_out(places, count, all, hands.count());
            lists.into_iter().map(move |places| (pane, places, Table::new(&window.calls)))
        });
        let mut tables: Vec<(Pane, Vec<Place>, Table)> = tables.collect();
        each_of(hands, &mut tables, |(_, places, table)| take_in(table, places, &[]));

        let mut by_window: BTreeMap<Window, (Vec<Place>, Vec<usize>)> = BTreeMap::new();
        for (pane, places) in &direct {
            for at in pane.windows(window.windowing) {
                by_window.entry(at).or_default().0.extend(places);
            }
        }
        for (number, (pane, ..)) in tables.iter().enumerate() {
            for at in pane.windows(window.windowing) {
                by_window.entry(at).or_default().1.push(number);
            }
        }
        let all = by_window.values().map(|(places, _)| rows(places)).sum();
        let mut pieces = Vec::new();
        for (at, (places, panes)) in by_window {
            let mut table = Some(state.remove(at).unwrap_or_else(|| Table::new(&window.calls)));
            let mut panes = Some(panes);
            // The first has the window's table.
            for rows in share_out(places, count, all, hands.count()) {
                let table = table.take().unwrap_or_else(|| Table::new(&window.calls));
                pieces.push(Piece { window: at, table, rows, panes: panes.take().unwrap_or_default() });
            }
        }
        each_of(hands, &mut pieces, |Piece { table, rows, panes, .. }| {
            let panes: Vec<&Table> = panes.iter().map(|pane| &tables[*pane].2).collect();
            take_in(table, rows, &panes);
        });
        for piece in pieces {
            state.put(piece.window, piece.table, &self.hasher);
        }
    }
}

/// Shares out what one table is to take in: mostly it is one list. More than its part of all rows is several.
fn share_out(places: Vec<Place>, count: impl Fn(&Place) -> usize, all: usize, hands: usize) -> Vec<Vec<Place>> {
    let rows: usize = places.iter().map(&count).sum();
    if rows <= SHARED_ROWS || rows <= all / hands {
        return vec![places];
    }
    let (mut lists, mut taken) = (vec![Vec::new()], 0);
    for place in places {
        if taken >= rows.div_ceil(hands) {
            lists.push(Vec::new());
            taken = 0;
        }
        taken += count(&place);
        lists.last_mut().expect("there is one from the start").push(place);
    }
    lists
}

/// Does the work on each of the items.
pub(crate) fn each_of<T: Send>(hands: &dyn Hands, items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let items: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
    // Nobody else has an item: where a piece of work panicked, so does this.
    hands.each(items.len(), &|at| work(&mut items[at].lock().unwrap_or_else(PoisonError::into_inner)));
}
