//! What a run says, in a file that its process has locked while the run goes on.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use connectors::{disk, store};
use engine::{Error, Result};

/// How much of the end is kept.
const TAIL: usize = 64 << 10;
/// The file begins anew when it is longer.
const LONGEST: usize = 4 * TAIL;

/// The log of a run.
#[derive(Debug)]
pub struct Log {
    inner: Mutex<Inner>,
    /// Holds the lock.
    _lock: fs::File,
}

#[derive(Debug)]
struct Inner {
    /// None when it could not be written: then only the end in memory is kept.
    file: Option<disk::File>,
    written: usize,
    tail: String,
}

impl Log {
    /// Makes the file and locks it; None: another process has it.
    pub(super) fn create(path: &Path) -> Result<Option<Self>> {
        let what = |error| Error::io(format!("cannot write `{}`", path.display()), error);
        store::create_folder(path.parent().expect("it is in a folder"))?;
        if disk::is_locked(path).map_err(what)? {
            return Ok(None);
        }
        let Some(lock) = disk::lock(path).map_err(what)? else { return Ok(None) };
        let file = disk::File::open(path).and_then(|file| file.set_len(0).map(|()| file)).map_err(what)?;
        let inner = Inner { file: Some(file), written: 0, tail: String::new() };
        Ok(Some(Self { inner: Mutex::new(inner), _lock: lock }))
    }

    /// Adds what was said. That it cannot be written is no reason to stop.
    pub fn say(&self, text: &str) {
        // What only moves a line on a terminal is not said.
        let text = text.trim_start_matches("\r\x1b[2K");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.tail.push_str(text);
        if inner.tail.len() > 2 * TAIL {
            inner.tail = last(&inner.tail, TAIL).to_string();
        }
        if inner.add(text).is_err() {
            inner.file = None;
        }
    }

    /// Returns the last of what was said.
    pub(super) fn tail(&self) -> String {
        last(&self.inner.lock().unwrap_or_else(PoisonError::into_inner).tail, TAIL).to_string()
    }

    /// Returns the last of what the run of a file has said.
    pub(super) fn read(path: &Path) -> Result<String> {
        let bytes = fs::read(path).map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
        Ok(last(&String::from_utf8_lossy(&bytes), TAIL).to_string())
    }
}

impl Inner {
    fn add(&mut self, text: &str) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.written + text.len() <= LONGEST {
            self.written += text.len();
            return file.write_all(text.as_bytes());
        }
        let tail = last(&self.tail, TAIL);
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        self.written = tail.len();
        file.write_all(tail.as_bytes())
    }
}

/// Returns the end of a text, from the beginning of a line where that can be.
fn last(text: &str, size: usize) -> &str {
    if text.len() <= size {
        return text;
    }
    let mut start = text.len() - size;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let rest = &text[start..];
    rest.find('\n').map_or(rest, |line| &rest[line + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_log_is_kept_in_memory_and_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/1.log");
        let log = Log::create(&path).unwrap().unwrap();
        for number in 0..60_000 {
            log.say(&format!("line {number}\n"));
        }
        let tail = log.tail();
        assert!(tail.len() <= TAIL && tail.len() > TAIL - 20, "{}", tail.len());
        assert!(tail.starts_with("line ") && tail.ends_with("line 59999\n"));
        assert_eq!(Log::read(&path).unwrap(), tail);
        assert!(fs::metadata(&path).unwrap().len() <= LONGEST as u64);
        assert!(disk::is_locked(&path).unwrap() && Log::create(&path).unwrap().is_none());
        drop(log);
        assert!(!disk::is_locked(&path).unwrap());
    }

    #[test]
    fn a_text_is_cut_at_lines_and_between_letters() {
        assert_eq!(last("ab\ncd\n", 4), "cd\n");
        assert_eq!(last("ééé", 3), "é");
        assert_eq!(last("abc", 3), "abc");
    }
}
