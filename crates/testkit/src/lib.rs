//! For tests and benches only: random cases, the oracle, in-memory logs.
//!
//! [`case`] makes a pipeline and a log from a seed, [`oracle`] says what their result is by the law alone. [`memory`]
//! gives the log to the drivers in awkward pieces, [`run`] runs them, [`check`](mod@check) compares what comes out with
//! the oracle. [`disk`] goes wrong under sinks and whole pipelines. A case that fails is made small by [`shrink`] and kept by [`folder`]; [`shares`] counts what occurs.
//! [`hostile`] is what bytes of strangers are given to.

pub mod case;
pub mod check;
mod crash;
pub mod disk;
pub mod folder;
pub mod hostile;
pub mod memory;
pub mod oracle;
pub mod random;
pub mod rows;
pub mod run;
pub mod shares;
pub mod shrink;
pub mod value;
