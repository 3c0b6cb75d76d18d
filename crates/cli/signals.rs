//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process at once.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Code, Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Returns a flag that the first signal sets. Only for verbs that look at it: others die by the signal as usual.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown looks at the flag before the same signal sets it.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|error| Error::new(Code::Io, format!("cannot listen for signals: {error}")))?;
    }
    Ok(stop)
}

/// Sets the flag when standard input ends: whoever holds its other end lets go of it, or is gone.
pub(crate) fn stop_when_input_ends(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut rest = [0; 256];
        loop {
            match std::io::stdin().read(&mut rest) {
                Ok(0) | Err(_) => break stop.store(true, Ordering::Relaxed),
                Ok(_) => {}
            }
        }
    });
}
