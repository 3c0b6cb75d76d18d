//! The lake: Parquet files that hold a log, so that batch mode reads the records a stream would.
//!
//! Layout `log`, which [`LakeWriter`] makes:
//!
//! ```text
//! LAKE/partition=P/<first offset, 20 digits>.parquet
//!   _partition int32, _offset int64, _timestamp timestamp(ms, UTC), _key binary,
//!   the schema's columns,
//!   _bad string      why the record is bad (a reason of `format::reason`), else null
//!   _raw binary      the value's bytes, of bad records or of all
//! ```
//!
//! Every partition has a folder and at least one file, perhaps without rows. The ranges of successive files touch. A
//! file's footer says what it holds: see [`footer::Footer`]. Files of other writers need only `_offset` (and
//! `_timestamp` where the pipeline needs it) besides the columns.
//!
//! Layouts `connect` and `files` are read only; there a record's offset follows from file name and row number.
//!
//! What a file says about itself is believed only as far as it can be checked or does no harm: a damaged or hostile file
//! is an error that names it, never a panic.

mod column;
mod file;
pub mod footer;
mod listing;
mod load;
mod nested;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

pub use scan::LakeScan;
pub use writer::{LakeOptions, LakeWriter};

/// Names of the columns that a lake of layout `log` has beside the schema's.
pub(crate) mod name {
    pub(crate) const PARTITION: &str = "_partition";
    pub(crate) const OFFSET: &str = "_offset";
    pub(crate) const TIMESTAMP: &str = "_timestamp";
    pub(crate) const KEY: &str = "_key";
    pub(crate) const BAD: &str = "_bad";
    pub(crate) const RAW: &str = "_raw";
}
