//! The tables beside the rows: who may write, which epoch is there, and which rows are open. What is said here of a table is
//! changed on a condition only, by lightweight transactions.

use engine::Result;
use scylla::value::CqlValue;

use super::cluster::{Bound, Cluster, Trouble};
use super::table::Table;
use crate::sink::once::{Commit, Held, Mark};

/// The table beside the sinks' tables that says what each holds, and who may write.
pub(super) const EPOCHS: &str = "_samestream_epochs";

/// The table beside it with the keys of open rows.
pub(super) const OPEN: &str = "_samestream_open";

/// What is known of a sink's table, and by which names.
pub(super) struct Epochs {
    /// The tables, quoted.
    at: String,
    open: String,
    keyspace: String,
    /// What they know the sink's table by.
    pub(super) name: String,
    pub(super) pipeline: String,
    pub(super) sink: String,
    /// This process's word.
    pub(super) owner: String,
}

/// What the row of a table says.
pub(super) struct Row {
    /// The table's own id: one that was made anew has another.
    pub(super) id: String,
    pub(super) pipeline: String,
    pub(super) sink: String,
    pub(super) owner: String,
    job: Option<String>,
    epoch: Option<i64>,
    pub(super) commits: i64,
    /// The last commit that came to its end.
    pub(super) done: i64,
}

impl Row {
    /// Returns what the table holds by it.
    pub(super) fn held(&self) -> Held {
        let of = |epoch: i64| Mark { job: self.job.clone(), epoch: epoch as u64, settled: None };
        self.epoch.map_or(Held::Nothing, |epoch| Held::Rows(of(epoch)))
    }
}

impl Epochs {
    pub(super) fn new(table: &Table, pipeline: &str, sink: &str, owner: &str) -> Self {
        Self {
            at: table.at(EPOCHS),
            open: table.at(OPEN),
            keyspace: table.keyspace.clone(),
            name: table.name.clone(),
            pipeline: pipeline.to_string(),
            sink: sink.to_string(),
            owner: owner.to_string(),
        }
    }

    /// Returns whether there is a table of that name in the keyspace, and its id.
    pub(super) fn id_of(&self, cluster: &Cluster, name: &str) -> Result<Option<String>, Trouble> {
        let statement = "SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        let found = cluster.ask(statement, &[Bound::Text(Some(&self.keyspace)), Bound::Text(Some(name))])?;
        Ok(found.first().map(|row| text(row, 0)))
    }

    /// Makes the tables if they are not there; who may not make any can do without the right to where they are.
    pub(super) fn create(&self, cluster: &Cluster) -> Result<(), Trouble> {
        if self.id_of(cluster, EPOCHS)?.is_none() {
            cluster.define(&format!(
                "CREATE TABLE IF NOT EXISTS {} (\"table\" text PRIMARY KEY, id text, pipeline text, sink text, owner text, \
                 job text, epoch bigint, commits bigint, done bigint)",
                self.at
            ))?;
        }
        if self.id_of(cluster, OPEN)?.is_none() {
            cluster.define(&format!(
                "CREATE TABLE IF NOT EXISTS {} (\"table\" text, number bigint, key blob, PRIMARY KEY ((\"table\"), number, key))",
                self.open
            ))?;
        }
        Ok(())
    }

    /// Reads the row, with what conditional changes before have done to it.
    pub(super) fn row(&self, cluster: &Cluster) -> Result<Option<Row>, Trouble> {
        let statement =
            format!("SELECT id, pipeline, sink, owner, job, epoch, commits, done FROM {} WHERE \"table\" = ?", self.at);
        let found = cluster.ask_surely(&statement, &[Bound::Text(Some(&self.name))])?;
        Ok(found.first().map(|row| Row {
            id: text(row, 0),
            pipeline: text(row, 1),
            sink: text(row, 2),
            owner: text(row, 3),
            job: row[4].as_ref().map(|_| text(row, 4)),
            epoch: number(row, 5),
            commits: number(row, 6).unwrap_or(0),
            done: number(row, 7).unwrap_or(0),
        }))
    }

    /// Writes this process's word into the row and counts on; false: somebody else was quicker. Returns the new count.
    pub(super) fn take(&self, cluster: &Cluster, before: Option<&Row>, id: &str) -> Result<(bool, i64), Trouble> {
        let commits = before.map_or(0, |row| row.commits) + 1;
        // A table that was made anew holds nothing of what the row speaks of.
        let (job, epoch) = match before.filter(|row| row.id == id) {
            Some(row) => (row.job.as_deref(), row.epoch),
            None => (None, None),
        };
        let mut values = vec![
            Bound::Text(Some(id)),
            Bound::Text(Some(&self.pipeline)),
            Bound::Text(Some(&self.sink)),
            Bound::Text(Some(&self.owner)),
            Bound::Text(job),
            Bound::Number(epoch),
            Bound::Number(Some(commits)),
            Bound::Text(Some(&self.name)),
        ];
        let statement = match before {
            None => format!(
                "INSERT INTO {} (id, pipeline, sink, owner, job, epoch, commits, \"table\", done) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0) IF NOT EXISTS",
                self.at
            ),
            Some(row) => {
                values.extend([Bound::Text(Some(&row.owner)), Bound::Number(Some(row.commits))]);
                format!(
                    "UPDATE {} SET id = ?, pipeline = ?, sink = ?, owner = ?, job = ?, epoch = ?, commits = ? \
                     WHERE \"table\" = ? IF owner = ? AND commits = ?",
                    self.at
                )
            }
        };
        Ok((cluster.change_if(&statement, &values)?, commits))
    }

    /// Says that nobody's rows are whole any more, since they are about to be replaced; false: the row is not as this
    /// process knows it.
    pub(super) fn clear(&self, cluster: &Cluster, commits: i64) -> Result<bool, Trouble> {
        let statement =
            format!("UPDATE {} SET job = NULL, epoch = NULL WHERE \"table\" = ? IF owner = ? AND commits = ?", self.at);
        let values = [Bound::Text(Some(&self.name)), Bound::Text(Some(&self.owner)), Bound::Number(Some(commits))];
        cluster.change_if(&statement, &values)
    }

    /// Says that the commit after `commits` is done; false: the row is not as this process knows it.
    pub(super) fn conclude(&self, cluster: &Cluster, commits: i64, commit: &Commit) -> Result<bool, Trouble> {
        let number = Bound::Number(Some(commits + 1));
        let mut values = vec![number, number];
        let set = match &commit.mark {
            None => "",
            Some(mark) => {
                let epoch = mark.job.as_ref().map(|_| mark.epoch as i64);
                values.extend([Bound::Text(mark.job.as_deref()), Bound::Number(epoch)]);
                ", job = ?, epoch = ?"
            }
        };
        values.extend([Bound::Text(Some(&self.name)), Bound::Text(Some(&self.owner)), Bound::Number(Some(commits))]);
        let statement = format!(
            "UPDATE {} SET commits = ?, done = ?{set} WHERE \"table\" = ? IF owner = ? AND commits = ?",
            self.at
        );
        cluster.change_if(&statement, &values)
    }

    /// Returns the statement that notes an open row, of the table's name, the number of a commit and a key.
    pub(super) fn note(&self) -> String {
        format!("INSERT INTO {} (\"table\", number, key) VALUES (?, ?, ?)", self.open)
    }

    /// Returns the statement that reads the keys noted since a commit, of the table's name and the number.
    pub(super) fn noted(&self) -> String {
        format!("SELECT key FROM {} WHERE \"table\" = ? AND number >= ?", self.open)
    }

    /// Returns the statement that forgets what was noted before a commit, of the table's name and the number.
    pub(super) fn forget(&self) -> String {
        format!("DELETE FROM {} WHERE \"table\" = ? AND number < ?", self.open)
    }
}

/// Returns a column as a text.
pub(super) fn text(row: &[Option<CqlValue>], index: usize) -> String {
    match row.get(index) {
        Some(Some(CqlValue::Text(text) | CqlValue::Ascii(text))) => text.clone(),
        Some(Some(other)) => other.to_string(),
        _ => String::new(),
    }
}

fn number(row: &[Option<CqlValue>], index: usize) -> Option<i64> {
    match row.get(index) {
        Some(Some(CqlValue::BigInt(number))) => Some(*number),
        _ => None,
    }
}
