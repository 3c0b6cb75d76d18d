//! Trying again while a server cannot be reached: a commit waits, nothing is read meanwhile, nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::{Error, Result};

use crate::waiting::Wait;

/// How long a commit is tried again.
const PATIENCE: Duration = Duration::from_secs(300);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tries until it goes well, fails with what does not pass, takes too long, or the run is to stop. An attempt says with its
/// error whether that may pass; `what` is waited for then.
pub(super) fn patiently(
    stop: &AtomicBool,
    what: String,
    mut attempt: impl FnMut() -> Result<(), (Error, bool)>,
) -> Result<()> {
    let wait = Wait::new(what, PATIENCE);
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(50);
    while let Err((error, may_pass)) = attempt() {
        if !may_pass || Instant::now() >= until || stop.load(Ordering::Relaxed) {
            return Err(error);
        }
        wait.failed(&error);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    wait.done(true);
    Ok(())
}
