//! What can go wrong when results are read and asked about.

use std::path::PathBuf;

/// A question that could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder is not there.
    #[error("`{}` is not there", .0.display())]
    NotFound(PathBuf),
    /// The folder holds nothing that is a table, or several kinds of files.
    #[error("`{}` {reason}", .path.display())]
    NotATable {
        /// The file or folder.
        path: PathBuf,
        /// Why it is not a table.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`: {reason}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The SQL text is wrong or uses something that is not there.
    #[error("{0}")]
    Sql(String),
    /// A key column is not in both result sets, or not given.
    #[error("{0}")]
    Key(String),
}

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
