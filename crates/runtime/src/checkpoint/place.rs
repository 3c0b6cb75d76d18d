//! Where the state of pipelines is kept: a folder, or checkpoints in an object store and the rest in a folder.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use engine::{Error, Result};

use super::remote::{self, Remote};
use super::store::{Folder, Store};

/// The folder of what stays on this machine when checkpoints are kept elsewhere: late and bad rows, locks, what sinks remember.
/// Each place elsewhere has a folder of its own in it, so that two jobs of one pipeline are not in each other's way.
const LOCAL: &str = ".samestream/elsewhere";

/// A state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Folder(PathBuf),
    /// In an object store: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`.
    Url(String),
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once("://") {
            None => Ok(Self::Folder(text.into())),
            Some(_) => remote::check(text).map(|()| Self::Url(text.to_string())),
        }
    }
}

impl Place {
    /// Opens the place of a pipeline's checkpoints.
    pub fn store(&self, pipeline: &str) -> Result<Box<dyn Store>> {
        match self {
            Self::Folder(folder) => Ok(Box::new(Folder::new(folder.join(pipeline).join("stream").join("checkpoints")))),
            Self::Url(url) => Ok(Box::new(Remote::open(url, &format!("{pipeline}/stream/checkpoints"))?)),
        }
    }

    /// Returns the folder of what is kept on this machine in any case: late and bad rows, locks.
    pub fn local(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Url(url) => PathBuf::from(LOCAL).join(folder_of(url)),
        }
    }

    /// Returns true when something of that pipeline is known to be kept here.
    pub fn is_kept(&self, pipeline: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(pipeline).join("stream").is_dir(),
            Self::Url(_) => self.store(pipeline).and_then(|store| store.list()).is_ok_and(|names| !names.is_empty()),
        }
    }
}

/// Returns the name of a folder that belongs to a URL: as much of it as may stand in a name, and what tells it from others
/// that look the same then.
fn folder_of(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let shown: String = url.chars().map(|letter| if is_plain(letter) { letter } else { '-' }).take(100).collect();
    format!("{shown}-{:08x}", xxhash_rust::xxh3::xxh3_64(url.as_bytes()) as u32)
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(out),
            Self::Url(url) => url.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_elsewhere_has_a_folder_of_its_own_here() {
        let local = |url: &str| Place::Url(url.into()).local();
        assert_eq!(local("s3://bucket/a"), local("s3://bucket/a/"));
        let urls = ["s3://bucket/a", "s3://bucket/b", "s3://bucket-a", "gs://bucket/a", "s3://bucket/a/../b"];
        let folders: std::collections::BTreeSet<PathBuf> = urls.iter().map(|url| local(url)).collect();
        assert_eq!(folders.len(), urls.len());
        for folder in folders {
            assert_eq!(folder.components().count(), 3, "{}", folder.display());
            assert!(folder.starts_with(LOCAL));
        }
    }
}
