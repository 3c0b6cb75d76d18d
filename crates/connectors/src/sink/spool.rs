//! Messages or lines that wait for a commit: in memory up to a size, then in a file that has no name.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use engine::{Error, Result};

/// Bytes kept in memory at most.
pub(super) const MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// Pairs of bytes, in order.
#[derive(Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
}

impl Spool {
    /// Adds a pair.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        for part in [key, value] {
            self.memory.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.memory.extend_from_slice(part);
        }
        if self.memory.len() >= MEMORY_BYTES {
            self.spill().map_err(failed)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    /// Returns how many bytes of memory it holds.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> usize {
        self.memory.capacity()
    }

    /// Returns true when there is no pair.
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_none() && self.memory.is_empty()
    }

    /// Hands over every pair in order. May be called again.
    pub(super) fn each(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        if let Some(writer) = &mut self.file {
            let file = writer.seek(SeekFrom::Start(0)).and_then(|_| writer.get_ref().try_clone()).map_err(failed)?;
            let mut reader = BufReader::new(file);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            while read_part(&mut reader, &mut key).map_err(failed)? {
                read_part(&mut reader, &mut value).map_err(failed)?;
                take(&key, &value)?;
            }
            writer.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        let mut memory = self.memory.as_slice();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while read_part(&mut memory, &mut key).map_err(failed)? {
            read_part(&mut memory, &mut value).map_err(failed)?;
            take(&key, &value)?;
        }
        Ok(())
    }
}

/// Reads a length and so many bytes; false at the end.
fn read_part(from: &mut impl Read, part: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut length = [0; 8];
    if from.read(&mut length[..1])? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut length[1..])?;
    part.clear();
    part.resize(usize::try_from(u64::from_le_bytes(length)).expect("a length that was a usize"), 0);
    from.read_exact(part)?;
    Ok(true)
}

fn failed(error: std::io::Error) -> Error {
    Error::io("the temporary file of staged rows", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_in_order_from_memory_and_file() {
        let mut spool = Spool::default();
        let long = vec![7; MEMORY_BYTES / 3];
        let values: Vec<&[u8]> = vec![b"a", b"", &long, &long, &long, b"tail"];
        for (i, value) in values.iter().enumerate() {
            spool.push(&[i as u8], value).unwrap();
        }
        assert!(spool.file.is_some() && !spool.memory.is_empty());
        for _ in 0..2 {
            let mut seen = Vec::new();
            spool
                .each(|key, value| {
                    seen.push((key[0], value.to_vec()));
                    Ok(())
                })
                .unwrap();
            let expected: Vec<_> = values.iter().enumerate().map(|(i, value)| (i as u8, value.to_vec())).collect();
            assert!(seen == expected);
        }
    }
}
