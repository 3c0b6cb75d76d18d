//! The board: where the driver leaves its numbers, and the server finds them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::Numbers;

/// Which run the numbers are of.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its definition digest.
    pub definition: String,
    /// The version of the program.
    pub version: String,
}

/// Where the driver leaves its numbers.
#[derive(Debug)]
pub struct Board {
    about: About,
    seen: Mutex<Option<(Arc<Numbers>, Instant)>>,
}

/// How long the driver may leave nothing before it is taken for stuck: a sink may take long to publish.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

impl Board {
    /// Makes an empty board.
    pub fn new(about: About) -> Arc<Self> {
        Arc::new(Self { about, seen: Mutex::new(None) })
    }

    /// Leaves numbers. The lock is held for as long as it takes to swap a pointer.
    pub fn put(&self, numbers: Numbers) {
        let now = Some((Arc::new(numbers), Instant::now()));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// Returns the newest numbers and their age; None: the driver has not begun.
    pub(crate) fn seen(&self) -> Option<(Arc<Numbers>, Duration)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|(numbers, at)| (numbers.clone(), at.elapsed()))
    }
}
