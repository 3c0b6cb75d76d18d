//! What a running stream shows to those who watch it from outside: numbers for Prometheus, whether it is alive, whether it
//! has caught up.
//!
//! The driver puts its [`runtime::Numbers`] on a [`Board`] about once a second and never waits for anybody; a [`Server`] with
//! a thread of its own answers requests from what is on the board. [`METRICS`] is the one table of what can be asked.

mod board;
mod metrics;
mod process;
mod server;

pub use board::{About, Board};
pub use metrics::{Kind, METRICS, Metric, page};
pub use server::{Options, Server};
