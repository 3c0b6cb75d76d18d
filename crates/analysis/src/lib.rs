//! The analyst's side: questions about results, through Polars.
//!
//! [`query`] runs SQL over result sets and lakes, [`diff`] compares two result sets row by row, [`render`] writes what
//! came out. Nothing on the way to a result passes through this crate, and no Polars type leaves it.
//!
//! A *table* here is a path: a file of Parquet, JSON lines or CSV, or a folder of such files. Names that begin with `_`
//! or `.` are not part of a folder's table, so that a sink's folder holds exactly its committed rows.

mod cell;
mod diff;
mod error;
mod files;
mod frame;
mod load;
mod query;
mod render;
mod text;

pub use cell::Cell;
pub use diff::{DIFF_SCHEMA, DiffOptions, Difference, DifferentRow, Side, Values, diff};
pub use error::{Error, Result};
pub use frame::{Frame, Kind};
pub use query::{Table, query};
pub use render::{csv, json, jsonl, markdown};
