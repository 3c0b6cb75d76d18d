//! Whose turn it is to commit, and the rows of a chunk that wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Aside, Emission, Result};

use super::stopped;
use crate::checkpoint::Checkpoint;
use crate::driver::Outlet;
use crate::outlet::SinkOutlet;

/// Bytes of rows that wait for their turn, of all chunks together.
const WAITING_BYTES: usize = 256 << 20;

/// How often one that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// The order in which chunks commit, by their places in it.
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
    /// How many bytes a chunk may let wait.
    most: usize,
    /// Whether a chunk without rows may replace others: an earlier one has had some.
    may_be_empty: AtomicBool,
}

struct State {
    /// Whose turn it is.
    next: usize,
    /// The first that will not have one: it or one before it was not done.
    end: usize,
}

impl Turns {
    /// Begins with the first; so many chunks are under way at once.
    pub(super) fn new(parallel: usize, may_be_empty: bool) -> Self {
        let state = Mutex::new(State { next: 0, end: usize::MAX });
        let most = WAITING_BYTES / parallel.max(1);
        Self { state, changed: Condvar::new(), most, may_be_empty: may_be_empty.into() }
    }

    /// Returns whether a chunk without rows may replace others by now.
    pub(super) fn may_be_empty(&self) -> bool {
        self.may_be_empty.load(Ordering::Relaxed)
    }

    /// Returns true when a chunk will not have its turn.
    pub(super) fn is_given_up(&self, place: usize) -> bool {
        place >= self.state().end
    }

    /// Takes the turn of a chunk, which comes when those before it are done.
    pub(super) fn take(&self, place: usize) -> Turn<'_> {
        Turn { turns: self, place, is_done: false }
    }

    /// Returns true when it is the turn of a chunk.
    pub(super) fn is_now(&self, place: usize) -> bool {
        self.state().next == place
    }

    /// Waits until it is the turn of a chunk; an error when that will not come.
    fn wait(&self, place: usize, stop: &AtomicBool) -> Result<()> {
        let mut state = self.state();
        while state.next != place {
            if place >= state.end || stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of a chunk. Dropped without being done, those after it have none.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    place: usize,
    is_done: bool,
}

impl Turn<'_> {
    /// Lets the next chunk have its turn.
    pub(super) fn end(mut self) {
        self.is_done = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        match self.is_done {
            true => state.next = state.next.max(self.place + 1),
            false => state.end = state.end.min(self.place),
        }
        drop(state);
        self.turns.changed.notify_all();
    }
}

/// The outlet of a chunk: its sinks once its turn has come, and until then memory.
pub(super) struct Waiting<'a> {
    turns: &'a Turns,
    place: usize,
    stop: &'a Arc<AtomicBool>,
    open: &'a dyn Fn() -> Result<SinkOutlet>,
    sinks: Option<SinkOutlet>,
    rows: Vec<Taken>,
    bytes: usize,
    /// How many rows came, kept aside ones apart.
    count: u64,
    /// Until which window start they are all there, by step.
    settled: Vec<i64>,
}

enum Taken {
    Rows(Emission),
    Aside(Box<Aside>),
}

impl<'a> Waiting<'a> {
    /// Opens the sinks at once if it is the chunk's turn, so that what is wrong with them is told before anything is read.
    pub(super) fn new(
        turns: &'a Turns,
        place: usize,
        stop: &'a Arc<AtomicBool>,
        open: &'a dyn Fn() -> Result<SinkOutlet>,
    ) -> Result<Self> {
        let sinks = if turns.is_now(place) { Some(open()?) } else { None };
        Ok(Self { turns, place, stop, open, sinks, rows: Vec::new(), bytes: 0, count: 0, settled: Vec::new() })
    }

    /// Returns the sinks, which have the rows.
    pub(super) fn into_sinks(mut self) -> Result<SinkOutlet> {
        self.settle()?;
        Ok(self.sinks.expect("they were opened"))
    }

    /// Waits for the turn and gives the sinks what has waited for it.
    fn settle(&mut self) -> Result<&mut SinkOutlet> {
        if self.sinks.is_none() {
            self.turns.wait(self.place, self.stop)?;
            let mut sinks = (self.open)()?;
            for taken in self.rows.drain(..) {
                match taken {
                    Taken::Rows(emission) => sinks.rows(&emission)?,
                    Taken::Aside(aside) => sinks.aside(&aside)?,
                }
            }
            self.sinks = Some(sinks);
        }
        Ok(self.sinks.as_mut().expect("they were just opened"))
    }

    fn take(&mut self, taken: Taken) -> Result<()> {
        self.bytes += match &taken {
            Taken::Rows(emission) => emission.rows.get_array_memory_size(),
            Taken::Aside(aside) => aside.rows.get_array_memory_size(),
        };
        self.rows.push(taken);
        // Too much of it: the chunk stands still until its turn comes, and goes on into its sinks.
        if self.bytes > self.turns.most || self.turns.is_now(self.place) { self.settle().map(|_| ()) } else { Ok(()) }
    }
}

impl Outlet for Waiting<'_> {
    fn rows(&mut self, emission: &Emission) -> Result<()> {
        self.count += emission.rows.num_rows() as u64;
        match &mut self.sinks {
            Some(sinks) => sinks.rows(emission),
            None => self.take(Taken::Rows(emission.clone())),
        }
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        match &mut self.sinks {
            Some(sinks) => sinks.aside(aside),
            None => self.take(Taken::Aside(Box::new(aside.clone()))),
        }
    }

    fn settle(&mut self, settled: &[i64]) {
        self.settled = settled.to_vec();
    }

    fn commit(&mut self, checkpoint: Option<Checkpoint>) -> Result<()> {
        self.settle()?;
        // It has its turn, so those before it have told.
        match self.count {
            0 if !self.turns.may_be_empty() => return Err(super::empty()),
            0 => {}
            _ => self.turns.may_be_empty.store(true, Ordering::Relaxed),
        }
        let settled = std::mem::take(&mut self.settled);
        let sinks = self.settle()?;
        Outlet::settle(sinks, &settled);
        sinks.commit(checkpoint)
    }
}
