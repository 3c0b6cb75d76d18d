//! A table in a data file: an Arrow IPC stream, zstd, with its SHA-256 in the manifest.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use engine::{Code, Error, Result, hostile};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::Store;

/// How a frame begins that zstd skips: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.2>.
const SKIPPED: u32 = 0x184D_2A50;

/// How hard zstd tries: the least, because a checkpoint waits for it.
const LEVEL: i32 = 1;

/// The most bytes that one table may have when it is unpacked; a part cuts its tables far smaller.
const MAX_BYTES: usize = 1 << 32;

/// So many bytes any table may have …
const MAX_UNASKED: usize = if cfg!(test) { 1 << 16 } else { 1 << 28 };
/// … and beyond that, so many times as many as it has packed.
const MAX_RATIO: usize = 1_000;

/// Where a table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The data file.
    pub file: String,
    /// Its first byte there.
    pub offset: u64,
    /// How many bytes it has there.
    pub size: u64,
    /// How many rows it holds.
    pub rows: u64,
    /// SHA-256 of these bytes.
    pub sha256: String,
}

impl Blob {
    pub(super) fn new(file: String, offset: u64, bytes: &[u8], rows: u64) -> Self {
        Self { file, offset, size: bytes.len() as u64, rows, sha256: sha256(bytes) }
    }

    /// Returns its bytes as they are stored, which are those that were written.
    pub(super) fn bytes(&self, store: &dyn Store) -> Result<Vec<u8>> {
        let bytes = store
            .read(&self.file, Some(self.offset..self.offset.saturating_add(self.size)))
            .map_err(|error| if error.code == Code::NotFound { self.damaged(store, "it is gone") } else { error })?;
        match sha256(&bytes) == self.sha256 {
            true => Ok(bytes),
            false => Err(self.damaged(store, "its bytes are not those that were written")),
        }
    }

    /// Reads the table.
    pub(super) fn read(&self, store: &dyn Store) -> Result<RecordBatch> {
        let bytes = self.bytes(store)?;
        decode(&bytes).ok_or_else(|| self.damaged(store, "it holds no table"))
    }

    fn damaged(&self, store: &dyn Store, why: &str) -> Error {
        let message = format!("checkpoint data {} in {}, at byte {}: {why}", self.file, store.describe(), self.offset);
        Error::new(Code::Corrupt, message)
            .help("put the file back from a copy, or start again with `--fresh`; nothing was changed")
    }
}

/// Packs a table.
pub(crate) fn encode(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).expect("memory takes a schema");
    writer.write(rows).expect("memory takes rows");
    let stream = writer.into_inner().expect("memory takes the end");
    let mut packed = zstd::bulk::compress(&stream, LEVEL).expect("memory takes what is packed");
    if stream.len() > most(packed.len()) {
        // States of many keys may be all alike. What packs so well is made longer, since a start would not believe it.
        let padding = stream.len().div_ceil(MAX_RATIO).saturating_sub(packed.len());
        packed.extend(SKIPPED.to_le_bytes());
        packed.extend(u32::try_from(padding).expect("a thousandth of a table").to_le_bytes());
        packed.resize(packed.len() + padding, 0);
    }
    packed
}

/// Unpacks a table; None: it is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<RecordBatch> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten()?;
    let size = usize::try_from(size).ok().filter(|size| *size <= most(bytes.len()))?;
    let read = || {
        let stream = zstd::bulk::decompress(bytes, size).map_err(|error| error.to_string())?;
        // All bytes are at hand, and the columns stay in them. One that reads from a stream would make room for as many as a
        // message claims to have.
        let (mut stream, mut decoder) = (Buffer::from_vec(stream), StreamDecoder::new());
        let rows = decoder.decode(&mut stream).map_err(|error| error.to_string())?.ok_or("it is empty")?;
        let more = decoder.decode(&mut stream).map_err(|error| error.to_string())?;
        decoder.finish().map_err(|error| error.to_string())?;
        if more.is_some() { Err("it holds several".to_string()) } else { Ok(rows) }
    };
    hostile::guarded(read).ok()
}

/// Returns how large a table may become that has this size packed: of little no more than a little is made.
fn most(packed: usize) -> usize {
    packed.saturating_mul(MAX_RATIO).clamp(MAX_UNASKED, MAX_BYTES)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    fn alike(length: usize) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(length)]));
        RecordBatch::try_from_iter([("state", column)]).unwrap()
    }

    #[test]
    fn a_table_is_read_back_however_well_it_packs() {
        for rows in [alike(10), alike(MAX_UNASKED), alike(100 * MAX_UNASKED)] {
            assert_eq!(decode(&encode(&rows)), Some(rows));
        }
    }

    #[test]
    fn little_that_claims_to_become_much_is_no_table() {
        let bomb = zstd::bulk::compress(&vec![0; 100 * MAX_UNASKED], LEVEL).unwrap();
        assert!(most(bomb.len()) < 100 * MAX_UNASKED);
        assert_eq!(decode(&bomb), None);
    }
}
