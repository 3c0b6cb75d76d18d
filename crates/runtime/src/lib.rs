//! The two drivers and the life around them. Only this crate and the command line know whether a run is stream or batch.

pub mod append;
pub mod archive;
pub mod batch;
mod bootstrap;
pub mod checkpoint;
pub mod clickstream;
pub mod compare;
pub mod cut;
pub mod disorder;
pub mod driver;
mod identity;
pub mod inspect;
pub mod job;
pub mod lateness;
pub mod memory;
pub mod nexmark;
pub mod numbers;
pub mod outlet;
pub mod replay;
pub mod spill;
pub mod stream;
pub mod summary;
pub mod tally;
pub mod target;
pub mod time;
pub mod trial;
pub mod untidy;
pub mod verify;
pub mod walk;
pub mod why;

pub use cut::Cut;
pub use driver::{Observer, Outcome, Outlet, PartitionState, Progress, Settings};
pub use job::{Report, RunOptions, run};
pub use numbers::Numbers;
pub use summary::{Mode, Summary};
pub use verify::{Verdict, verify};
