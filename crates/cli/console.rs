//! Standard output as rows of a running pipeline see it.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connectors::sink::Console;

use crate::global::{Format, Global};

/// Returns standard output: a table on a terminal, JSON lines in a pipe. A reader that goes away stops the run.
pub(crate) fn console(global: &Global, stop: Arc<AtomicBool>) -> Console {
    let is_terminal = match global.format {
        Format::Table => true,
        Format::Json | Format::Jsonl => false,
        _ => io::stdout().is_terminal(),
    };
    Console { is_terminal, open: Arc::new(move || Box::new(Stdout { stop: stop.clone(), is_closed: false })) }
}

struct Stdout {
    stop: Arc<AtomicBool>,
    is_closed: bool,
}

impl Stdout {
    /// Takes a closed pipe as the wish to stop; what is written after that goes nowhere.
    fn unless_closed<T>(&mut self, result: io::Result<T>, nothing: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                self.stop.store(true, Ordering::Relaxed);
                Ok(nothing)
            }
            other => other,
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let written = io::stdout().write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = io::stdout().flush();
        self.unless_closed(flushed, ())
    }
}
