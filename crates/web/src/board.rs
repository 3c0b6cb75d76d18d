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

    /// Leaves numbers that were found while the driver does not come round: it stays as silent as it was.
    pub fn amend(&self, numbers: Numbers) {
        if let Some((seen, _)) = &mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            *seen = Arc::new(numbers);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_found_beside_the_driver_do_not_hide_that_it_is_silent() {
        let about = About { pipeline: "p".into(), definition: "d".into(), version: "1".into() };
        let board = Board::new(about);
        let open = |windows_open| Numbers { windows_open, ..Numbers::default() };
        board.amend(open(1));
        assert!(board.seen().is_none(), "it has not begun");
        board.put(open(2));
        board.seen.lock().unwrap().as_mut().unwrap().1 -= SILENCE;
        board.amend(open(3));
        let (numbers, age) = board.seen().unwrap();
        assert_eq!(numbers.windows_open, 3);
        assert!(age >= SILENCE);
        board.put(open(4));
        assert!(board.seen().unwrap().1 < SILENCE, "it has come round");
    }
}
