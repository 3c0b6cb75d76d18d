//! A table in Cassandra or Scylla: rows are put over those of the same key, each with a version of its own.
//!
//! ```text
//! "k"."visits"               the rows: the sink's columns and `final`; their identity is the partition key
//! "k"."_samestream_epochs"   a row for each sink's table: who may write, how many commits there were, which epoch it holds
//! "k"."_samestream_open"     the keys of its open rows, by the number of the commit
//! ```
//!
//! There are no transactions here, so two things take their place. Every write has a *version* as its timestamp, which is
//! larger than that of all commits before: `commit number × 4`, and 0 for a row that is taken away, 1 for an open one, 2 for a
//! final one. Of two writes to a row the one with the larger version stays, in whatever order they arrive and however often.
//! And the row of epochs is changed on a condition (a lightweight transaction), after the rows: only if owner and number are
//! those that this process knows. Who starts puts its own word there and counts on, so whatever an older process still
//! writes has smaller versions than what comes from now on, and its next commit is refused.
//!
//! A reader may see some rows of a commit before the others. After a crash in the middle the same epoch is published again,
//! over what is there of it. Rows that are to go – open ones of the commit before, all of them when a run starts over – go
//! after the new ones have come, by deletes with a version below theirs. An older process that wakes up in the middle of a
//! commit finds its end refused and takes back what it has written; one that starts over takes the epoch away before it touches a
//! row, so that nobody goes on with rows of two.

mod address;
mod cells;
mod cluster;
mod epochs;
mod place;
mod standing;
mod table;
mod tls;
mod under_way;

use engine::plan::SinkPlan;
use engine::{Code, Error, Result};

use self::address::Address;
use self::table::{Table, Times};
use super::{Setting, SinkKind, flag, required};

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "cassandra",
    help: "a table of Cassandra or Scylla",
    file_kind: "parquet",
    settings: &[
        Setting { name: "url", help: "the address of the cluster", is_required: true, is_built: true },
        Setting { name: "table", help: "the table, `KEYSPACE.NAME`", is_required: true, is_built: true },
        Setting {
            name: "create",
            help: "whether the table is made if it is not there",
            is_required: false,
            is_built: true,
        },
        Setting {
            name: "times",
            help: "`millis`: as Cassandra's timestamps; `micros`: as numbers",
            is_required: false,
            is_built: true,
        },
    ],
    check: |plan| Settings::read(plan).map(|_| ()),
    probe: place::probe,
    open: place::open,
    folder: super::no_folder,
};

/// What a sink's settings say.
struct Settings {
    address: Address,
    table: Table,
    /// Whether the table is made if it is not there.
    creates: bool,
}

impl Settings {
    fn read(plan: &SinkPlan) -> Result<Self> {
        let named = |error: Error| error.context(format!("sink `{}`", plan.name));
        let times = match plan.target.settings.get("times").map(String::as_str) {
            None | Some("millis") => Times::Millis,
            Some("micros") => Times::Micros,
            Some(other) => {
                return Err(named(
                    Error::new(Code::Field, format!("`times` is `{other}`")).help("it is `millis` or `micros`"),
                ));
            }
        };
        Ok(Self {
            address: Address::parse(required(plan, "url")?).map_err(named)?,
            table: Table::new(plan, required(plan, "table")?, times)?,
            creates: !plan.target.settings.contains_key("create") || flag(plan, "create")?,
        })
    }
}
