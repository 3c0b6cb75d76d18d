//! The two drivers and the life around them. Only this crate and the command line know whether a run is stream or batch.

pub mod batch;
pub mod clickstream;
pub mod cut;
pub mod driver;
pub mod stream;
pub mod summary;
pub mod tally;
pub mod time;

pub use cut::Cut;
pub use driver::{Observer, Outcome, Outlet, PartitionState, Progress, Settings};
pub use summary::{Mode, Summary};
