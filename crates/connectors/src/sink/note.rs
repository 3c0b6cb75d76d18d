//! What a topic's sink remembers in the state folder, since a topic cannot be asked for it: the keys of the open rows that
//! stand there, and which topic it was.
//!
//! It is written before a transaction with the keys of both epochs, the one that stands and the one that may be next; the
//! receipt in the topic's group tells which of them counts. So keys and rows change together, whatever ends the process.
//!
//! ```text
//! {"version": 1, "job": "…", "topic": "<topic id>", "stands": {"job": "…", "epoch": 7, "keys": ["{\"page\":\"a\"}"]},
//!  "next": {"job": "…", "epoch": 8, "keys": []}}
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use engine::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::store;

/// The version written, and the only one read.
const VERSION: u32 = 1;

/// The note of a sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    version: u32,
    /// The job that wrote last.
    pub(super) job: String,
    /// The id of the topic that it wrote to, if brokers have such.
    pub(super) topic: Option<String>,
    /// What stands in the topic.
    pub(super) stands: Epoch,
    /// What stands there if the last transaction came through.
    pub(super) next: Option<Epoch>,
}

/// The open rows of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Epoch {
    /// Whose epoch it is.
    pub(super) job: String,
    /// Its number.
    pub(super) epoch: u64,
    /// The keys of its open rows.
    pub(super) keys: BTreeSet<String>,
}

impl Note {
    /// Begins a note.
    pub(super) fn new(job: &str, topic: Option<String>) -> Self {
        let stands = Epoch { job: job.to_string(), ..Epoch::default() };
        Self { version: VERSION, job: job.to_string(), topic, stands, next: None }
    }

    /// Returns where a sink's note is.
    pub(super) fn path(folder: &Path, sink: &str) -> PathBuf {
        folder.join(format!("sink-{sink}.topic.json"))
    }

    /// Reads the note, if there is one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("the sink's note {}", path.display()), error)),
        };
        let found: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Code::Corrupt, format!("the sink's note {}: {error}", path.display())))?;
        match found.version {
            VERSION => Ok(Some(found)),
            other => {
                let message = format!("the sink's note {} has version {other}", path.display());
                Err(Error::new(Code::StateVersion, message).help(format!("this program reads version {VERSION}")))
            }
        }
    }

    /// Replaces the note.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        store::write_atomic(path, &serde_json::to_vec(self).expect("texts and numbers are JSON"))
    }

    /// Returns what stands if a job's epoch is the last that came through. An epoch that the note does not know was written
    /// from elsewhere: any of the keys may stand then.
    pub(super) fn at(&self, job: &str, epoch: u64) -> Epoch {
        let is_it = |found: &&Epoch| found.job == job && found.epoch == epoch;
        match [Some(&self.stands), self.next.as_ref()].into_iter().flatten().find(is_it) {
            Some(found) => found.clone(),
            None => Epoch { job: job.to_string(), epoch, keys: self.all().keys },
        }
    }

    /// Returns what stands, with every key that may.
    pub(super) fn all(&self) -> Epoch {
        let next = self.next.iter().flat_map(|next| &next.keys);
        Epoch { keys: self.stands.keys.iter().chain(next).cloned().collect(), ..self.stands.clone() }
    }

    /// Returns whether it may be about the topic of that id. A note of rows written without transactions names none.
    pub(super) fn may_be_of(&self, topic: Option<&String>) -> bool {
        self.topic.is_none() || self.topic.as_ref() == topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(job: &str, epoch: u64, keys: &[&str]) -> Epoch {
        Epoch { job: job.into(), epoch, keys: keys.iter().map(|key| key.to_string()).collect() }
    }

    #[test]
    fn the_epoch_that_came_through_says_which_keys_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = Note::path(folder.path(), "views");
        assert!(Note::read(&path).unwrap().is_none());
        let mut note = Note::new("j", Some("id".into()));
        (note.stands, note.next) = (epoch("j", 7, &["a", "b"]), Some(epoch("j", 8, &["b", "c"])));
        note.write(&path).unwrap();
        let note = Note::read(&path).unwrap().unwrap();
        assert_eq!(note.at("j", 7), epoch("j", 7, &["a", "b"]), "the transaction was aborted");
        assert_eq!(note.at("j", 8), epoch("j", 8, &["b", "c"]), "the transaction was committed");
        assert_eq!(note.at("other", 8), epoch("other", 8, &["a", "b", "c"]), "somebody else wrote since");
        assert!(note.may_be_of(Some(&"id".into())) && !note.may_be_of(Some(&"new".into())));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(Note::read(&path).unwrap_err().code, Code::Corrupt);
    }
}
