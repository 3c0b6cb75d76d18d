//! Named places in the adapters where a test lets the process die, stand still, or lose an answer.
//!
//! A [`point!`](crate::point) is nothing at all unless the library `fail` was built for it, which only the tests ask for. There the
//! variable FAILPOINTS says what happens where: `postgres.rows=3*off->return` ends the process, as a crash does, when it comes
//! there for the fourth time; `sleep(500)` instead of `return` lets it stand still for half a second, and
//! `return(lost)` lets the answer of a server that has done what it was asked never arrive.

pub use fail;

/// Every point: its name, and what has been done when a run gets there. A server has taken what stands before its own.
pub const POINTS: &[(&str, &str)] = &[
    ("checkpoint.data", "the rows and the state of a checkpoint are in its data file, its manifest is not there"),
    ("checkpoint.made", "the manifest is there, no sink has the rows"),
    ("sink.published", "one sink has published the epoch, the next one has not"),
    ("backfill.committed", "the sinks have a chunk of a backfill, and the catalogue has not been told"),
    ("kafka.begun", "a transaction is open and empty"),
    ("kafka.rows", "the brokers have all rows of the transaction"),
    ("kafka.receipt", "they have its receipt too; it is not committed"),
    ("kafka.committed", "it is committed, and nobody has been told"),
    ("postgres.marked", "the row of epochs is updated in the open transaction"),
    ("postgres.replaced", "what the epoch replaces is deleted in it"),
    ("postgres.rows", "its rows are in it"),
    (
        "beside.postgres",
        "a run over a range has sent its rows, and has not yet asked the stream beside it for its turn",
    ),
    ("postgres.committed", "it is committed, and nobody has been told"),
    ("redis.sent", "the rows are on the server, where nobody reads them"),
    ("redis.published", "they are where everybody does, and nobody has been told"),
    ("cassandra.begun", "nothing of a commit is there yet, unless an earlier try has come so far"),
    ("cassandra.noted", "the keys of the open rows to come are noted"),
    ("cassandra.rows", "the rows are there, and beside them those that they replace"),
    ("cassandra.replaced", "those are gone; the commit is not concluded"),
    ("cassandra.concluded", "it is concluded, and nobody has been told"),
];

/// Reads FAILPOINTS, and forgets it when what is returned is dropped.
pub fn armed() -> Option<impl Drop> {
    // Without the feature it would still read the variable, which may be another program's, and panic over what it says.
    fail::has_failpoints().then(fail::FailScenario::setup)
}

/// A named place: see [`points`](crate::points). With an error after the name, `return(lost)` returns it.
#[macro_export]
macro_rules! point {
    ($name:literal) => {
        $crate::points::fail::fail_point!($name, |_| std::process::abort())
    };
    ($name:literal, $lost:expr) => {
        $crate::points::fail::fail_point!($name, |what: Option<String>| match what.as_deref() {
            Some("lost") => Err($lost),
            _ => std::process::abort(),
        })
    };
}
