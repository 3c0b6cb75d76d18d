//! Where the state of pipelines is kept: a folder, or checkpoints in an object store and the rest in a folder.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use engine::{Error, Result};

use super::remote::{self, Remote};
use super::store::{Folder, Store};

/// The folder of what stays on this machine when checkpoints are kept elsewhere: late and bad rows, locks, what sinks remember.
const LOCAL: &str = ".samestream";

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
            Self::Url(_) => LOCAL.into(),
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

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(out),
            Self::Url(url) => url.fmt(out),
        }
    }
}
