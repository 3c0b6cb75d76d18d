//! The pure middle of samestream: what a result is, as a function of a plan and a log's contents.
//!
//! It opens no file or socket, reads no clock, starts no thread, draws no random number, and never iterates a hash map
//! into output. Reading order: [`log`] and [`plan`] are the input, [`watermark`] decides lateness and finality,
//! [`window`] and [`aggregate`] are the tables of what can be computed, [`expr`] the row-local part.

mod accumulators;
pub mod aggregate;
mod bucket;
pub mod calendar;
mod close;
mod dedup;
mod dictionary;
pub mod digest;
pub mod edge;
pub mod error;
pub mod exact;
pub mod expr;
mod fold;
mod gather;
pub mod group;
pub mod hostile;
mod join;
pub mod json;
#[cfg(test)]
mod law_tests;
mod layers;
pub mod log;
pub mod lookup;
mod place;
pub mod plan;
pub mod reach;
mod readable;
mod rows;
mod rules;
pub mod schedule;
mod sessions;
mod settled;
mod snapshot;
mod spill;
mod state;
mod task;
pub mod touch;
pub mod trace;
mod unique;
pub mod value;
pub mod watermark;
pub mod window;

pub use bucket::Bucket;
pub use close::{Closed, Closing};
pub use error::{Code, Error, Exit, Place, Result};
pub use fold::{Checked, Folding, Memory, State, StepSize};
pub use rows::Identity;
pub use snapshot::{Grain, Part, PartName};
pub use spill::{Holding, Spilled};
pub use task::{Aside, Deduped, Emission, Engine, Folded, duration, rfc3339};
pub use value::{DataType, Field, Schema};
