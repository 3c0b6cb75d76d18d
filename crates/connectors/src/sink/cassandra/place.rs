//! The sink itself: what it does with the tables.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::{Replace, Sink};
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};

use super::Settings;
use super::cells::{cells, has_null, time, write_row};
use super::cluster::{Bound, Cluster, Many, Pair, Statement, Trouble, Values};
use super::epochs::{EPOCHS, Epochs, Row, text};
use super::standing::{Standing, each};
use super::table::Table;
use crate::point;
use crate::sink::Context;
use crate::sink::once::{Commit, Held, Once, Place, Turn, overtaken};
use crate::sink::patience::patiently;
use crate::sink::rows::{WindowRange, conform, written_schema};
use crate::sink::spool::Spool;

/// Versions of one commit, from the number of the commit times [`VERSIONS`].
const VERSIONS: i64 = 4;
const GONE: i64 = 0;
const OPEN_ROW: i64 = 1;
const FINAL_ROW: i64 = 2;

/// How often a place is asked for again when another process asks at the same time.
const TRIES: usize = 20;

/// Opens a sink.
pub(super) fn open(plan: &SinkPlan, context: &Context) -> Result<Box<dyn Sink>> {
    Ok(Box::new(Once::new(CassandraSink::new(plan, context)?, context)))
}

/// Asks whether the cluster is there and lets us in, and whether the table fits if it is there.
pub(super) fn probe(plan: &SinkPlan) -> Result<()> {
    let sink = CassandraSink::new(plan, &Context::default())?;
    let ask = || -> Result<(), Trouble> {
        match sink.find(&sink.connect()?)? {
            Some(_) => Ok(()),
            None if sink.settings.creates => Ok(()),
            None => Err(sink.no_table().into()),
        }
    };
    sink.explained(ask())
}

/// What is said where rows of a run that was overtaken may have stayed.
const LEFT: &str = "only the newest may write: this one stops; some rows of its last commit may be there, and go when a run begins anew (`--fresh`, or batch)";

struct CassandraSink {
    settings: Settings,
    epochs: Epochs,
    schema: SchemaRef,
    turn: Turn,
    stop: Arc<AtomicBool>,
    link: Option<Link>,
    staged: Staged,
    staged_open: Staged,
    /// Keys of the open rows that stand there.
    standing: Standing,
    written: Written,
}

/// What may be in the table of a commit that this process has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Nothing,
    /// Rows; the commit has not come to its end.
    Rows,
    /// Rows; nobody has said whether the commit has come to its end. If so, whoever comes next goes on from them.
    PerhapsAll,
}

/// A cluster and what is asked of it again and again.
struct Link {
    cluster: Cluster,
    upsert: Statement,
    anew: Pair,
    delete: Statement,
    keys: Statement,
    note: Statement,
    forget: Statement,
}

/// Rows that wait for a commit: the cells of the key, and of all columns.
#[derive(Default)]
struct Staged {
    rows: Spool,
    count: u64,
}

impl CassandraSink {
    fn new(plan: &SinkPlan, context: &Context) -> Result<Self> {
        let settings = Settings::read(plan)?;
        let turn = Turn::new();
        Ok(Self {
            epochs: Epochs::new(&settings.table, &context.pipeline, &plan.name, &turn.owner),
            settings,
            schema: written_schema(plan),
            turn,
            stop: context.stop.clone(),
            link: None,
            staged: Staged::default(),
            staged_open: Staged::default(),
            standing: Standing::default(),
            written: Written::Nothing,
        })
    }

    fn connect(&self) -> Result<Cluster, Trouble> {
        Cluster::connect(&self.settings.address, &self.settings.table.keyspace)
    }

    fn explained<T>(&self, result: Result<T, Trouble>) -> Result<T> {
        result.map_err(|trouble| trouble.explain(&self.settings.address.shown()))
    }

    fn shown(&self) -> String {
        self.settings.table.shown()
    }

    fn no_table(&self) -> Error {
        Error::new(Code::NotFound, format!("there is no table {}", self.shown()))
            .help(format!("make it: `{}`, or leave `create: false` out", self.settings.table.create()))
    }

    /// Returns the id of the table if it is there; refuses one that does not fit.
    fn find(&self, cluster: &Cluster) -> Result<Option<String>, Trouble> {
        let table = &self.settings.table;
        let at = [Bound::Text(Some(&table.keyspace)), Bound::Text(Some(&table.name))];
        let keyspaces = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        if cluster.ask(keyspaces, &at[..1])?.is_empty() {
            let message = format!("there is no keyspace {}", table.keyspace);
            let help = format!(
                "make it with the replication that you want, such as: CREATE KEYSPACE \"{}\" WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}}",
                table.keyspace
            );
            return Err(Error::new(Code::NotFound, message).help(help).into());
        }
        let Some(id) = self.epochs.id_of(cluster, &table.name)? else { return Ok(None) };
        let columns =
            "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
        let columns: Vec<_> =
            cluster.ask(columns, &at)?.iter().map(|row| (text(row, 0), text(row, 1), text(row, 2))).collect();
        table.must_fit(&columns)?;
        Ok(Some(id))
    }

    fn take(&mut self, cluster: &Cluster, before: Option<&Row>, id: &str) -> Result<bool, Trouble> {
        let (is_taken, commits) = self.epochs.take(cluster, before, id)?;
        self.turn.commits = commits as u64;
        Ok(is_taken)
    }

    /// Takes the table for this process if a sink of its name has written it; returns what it holds.
    fn take_place(&mut self) -> Result<Option<Held>, Trouble> {
        let cluster = self.connect()?;
        let Some(id) = self.find(&cluster)? else { return Ok(None) };
        if self.epochs.id_of(&cluster, EPOCHS)?.is_none() {
            return Ok(None);
        }
        let ours = |row: &Row| row.id == id && (&row.pipeline, &row.sink) == (&self.epochs.pipeline, &self.epochs.sink);
        for _ in 0..TRIES {
            let Some(row) = self.epochs.row(&cluster)?.filter(ours) else { return Ok(None) };
            if row.owner == self.turn.owner || self.epochs.take(&cluster, Some(&row), &id)?.0 {
                return Ok(Some(row.held()));
            }
        }
        Err(self.crowded().into())
    }

    /// Reads what the table holds, if it is there and ours.
    fn look(&self) -> Result<Held, Trouble> {
        let cluster = self.connect()?;
        let Some(id) = self.find(&cluster)? else { return Ok(Held::Nothing) };
        if self.epochs.id_of(&cluster, EPOCHS)?.is_none() {
            return Ok(Held::Nothing);
        }
        let ours = |row: &Row| row.id == id && (&row.pipeline, &row.sink) == (&self.epochs.pipeline, &self.epochs.sink);
        Ok(self.epochs.row(&cluster)?.filter(ours).map_or(Held::Nothing, |row| row.held()))
    }

    fn crowded(&self) -> Error {
        Error::new(Code::StateBusy, format!("many runs want the table {} at once", self.shown()))
            .help("only one may write it: stop the others")
    }

    /// Checks the table, makes it if it is not there, and takes it for this process.
    fn take_over(&mut self, replace: Replace) -> Result<Held, Trouble> {
        let cluster = self.connect()?;
        let found = self.find(&cluster)?;
        self.epochs.create(&cluster)?;
        let id = match found {
            Some(id) => id,
            None if self.settings.creates => {
                cluster.define(&self.settings.table.create())?;
                self.find(&cluster)?.ok_or_else(|| self.no_table())?
            }
            None => return Err(self.no_table().into()),
        };
        let mut row = self.epochs.row(&cluster)?;
        self.must_be_ours(&cluster, row.as_ref().filter(|row| row.id == id), replace)?;
        for attempt in 0.. {
            if self.take(&cluster, row.as_ref(), &id)? {
                break;
            }
            row = self.epochs.row(&cluster)?;
            match &row {
                // An answer that was lost.
                Some(row) if row.owner == self.turn.owner && row.commits as u64 == self.turn.commits => break,
                Some(row) if self.turn.is_taken && row.owner != self.turn.owner => return Err(self.overtaken().into()),
                _ if attempt == TRIES => return Err(self.crowded().into()),
                _ => {}
            }
        }
        let row = row.filter(|row| row.id == id);
        let mut standing = Standing::default();
        if let Some(row) = &row {
            let values = Values::of(&[Bound::Text(Some(&self.epochs.name)), Bound::Number(Some(row.done))]);
            cluster.each(&cluster.prepare(&self.epochs.noted())?, values, &mut |noted| {
                Ok(cells(&noted).flatten().try_for_each(|key| standing.push(key))?)
            })?;
        }
        self.standing = standing;
        let table = &self.settings.table;
        let (upsert, delete) = (cluster.prepare(&table.upsert())?, cluster.prepare(&table.delete())?);
        self.link = Some(Link {
            anew: Pair::new(&delete, &upsert),
            upsert,
            delete,
            keys: cluster.prepare(&table.keys())?,
            note: cluster.prepare(&self.epochs.note())?,
            forget: cluster.prepare(&self.epochs.forget())?,
            cluster,
        });
        Ok(row.map_or(Held::Nothing, |row| row.held()))
    }

    /// Refuses a table whose rows another sink has written, or nobody that we know.
    fn must_be_ours(&self, cluster: &Cluster, row: Option<&Row>, replace: Replace) -> Result<(), Trouble> {
        let is_empty = || -> Result<bool, Trouble> {
            Ok(cluster.ask(&format!("{} LIMIT 1", self.settings.table.keys()), &[])?.is_empty())
        };
        match row {
            Some(row) if (&row.pipeline, &row.sink) != (&self.epochs.pipeline, &self.epochs.sink) => {
                let message =
                    format!("the table {} belongs to the sink `{}` of `{}`", self.shown(), row.sink, row.pipeline);
                return Err(Error::new(Code::Target, message)
                    .help("give each sink a table of its own; a table that is to change hands is dropped first")
                    .into());
            }
            Some(row) if self.turn.is_taken && row.owner != self.turn.owner => return Err(self.overtaken().into()),
            Some(_) => {}
            None if !is_empty()? => {
                let message = format!("the table {} holds rows that no sink wrote", self.shown());
                return Err(Error::new(Code::Target, message).help("empty it, or name another `table`").into());
            }
            None => {}
        }
        if matches!(replace, Replace::Range(..)) && self.settings.table.window_start().is_none() && !is_empty()? {
            return Err(Error::new(Code::Target, format!("rows of {} have no `window_start`", self.shown()))
                .help("a range can be replaced only where rows say in which window they are: select it, or run without --from and --to")
                .into());
        }
        Ok(())
    }

    fn overtaken(&self) -> Error {
        overtaken(&format!("the table {}", self.shown()))
    }

    /// Asks whether the place is as this process knows it; false: the commit has come to its end already.
    fn may_publish(&self, cluster: &Cluster) -> Result<bool, Trouble> {
        let row = self.epochs.row(cluster)?;
        let found = row.as_ref().map(|row| (row.owner.as_str(), row.commits as u64));
        if found == Some((self.turn.owner.as_str(), self.turn.commits)) {
            return Ok(true);
        }
        self.turn.must_be_done(&self.shown(), EPOCHS, found)?;
        Ok(false)
    }

    /// Returns the keys of the rows that go when this commit's have come: open ones of commits before, and those that it replaces.
    fn going(&mut self, link: &Link, commit: &Commit) -> Result<Spool, Trouble> {
        let table = &self.settings.table;
        let mut going = Spool::default();
        self.standing.each(|key| match commit.range.is_none_or(|range| is_inside(table, key, &range)) {
            true => going.push(key, &[]),
            false => Ok(()),
        })?;
        let mut add = |key: &[u8]| Ok(going.push(key, &[])?);
        match (commit.first, commit.range) {
            (Some(Replace::All), _) => link.cluster.each(&link.keys, Values::default(), &mut |key| add(&key))?,
            (Some(_), Some(range)) => {
                link.cluster.each(&link.keys, Values::default(), &mut |key| match is_inside(table, &key, &range) {
                    true => add(&key),
                    false => Ok(()),
                })?;
            }
            _ => {}
        }
        Ok(going)
    }

    fn try_publish(&mut self, commit: &Commit) -> Result<(), Trouble> {
        let link = self.link.take().expect("begin comes before publish");
        let done = self.publish_by(&link, commit);
        self.link = Some(link);
        done
    }

    fn publish_by(&mut self, link: &Link, commit: &Commit) -> Result<(), Trouble> {
        let (cluster, commits) = (&link.cluster, self.turn.commits as i64);
        point!("cassandra.begun");
        let not_taken = || Trouble::Server("it did not take a change of a commit".into(), None, true);
        // A run that starts over and dies half way leaves rows of two: nobody may go on as if they were its own.
        let starts_over = commit.first == Some(Replace::All);
        let is_cleared = starts_over && self.epochs.clear(cluster, commits)?;
        if !is_cleared {
            match self.may_publish(cluster)? {
                false => return Ok(()),
                true if starts_over => return Err(not_taken()),
                true => {}
            }
        }
        let number = commits + 1;
        let version = |kind: i64| number * VERSIONS + kind;
        let mut going = self.going(link, commit)?;
        self.written = Written::Rows;
        // Noted before they are there, so that whoever comes next finds them. Open rows of other runs, outside of the range,
        // stay what they are.
        let mut many = cluster.many();
        let (table, name) = (&self.settings.table, &self.epochs.name);
        self.standing.each(|key| match is_outside(table, key, commit.range) {
            true => many.add(&link.note, Values::of_key(name, number, key)),
            false => Ok(()),
        })?;
        each(&mut self.staged_open.rows, |key, _| many.add(&link.note, Values::of_key(name, number, key)))?;
        many.finish()?;
        point!("cassandra.noted");
        let mut many = cluster.many();
        for (kind, staged) in [(FINAL_ROW, &mut self.staged), (OPEN_ROW, &mut self.staged_open)] {
            each(&mut staged.rows, |key, row| put(&mut many, link, key, row, version(kind), version(GONE)))?;
        }
        many.finish()?;
        point!("cassandra.rows");
        // What was written just now has larger versions and stays.
        let mut many = cluster.many();
        each(&mut going, |key, _| many.add(&link.delete, Values::number_and(version(GONE), key)))?;
        many.finish()?;
        point!("cassandra.replaced");
        self.written = Written::PerhapsAll;
        if !self.epochs.conclude(cluster, commits, commit)? {
            self.written = Written::Rows;
            if self.may_publish(cluster)? {
                return Err(not_taken());
            }
            self.written = Written::PerhapsAll;
        }
        point!("cassandra.concluded", Trouble::Server("its answer was lost".into(), None, true));
        // What is left of it is not read: it has smaller numbers than the commit that is done.
        cluster.execute(&link.forget, Values::of(&[Bound::Text(Some(name)), Bound::Number(Some(number))]))
    }

    /// Counts a commit that has come to its end: its open rows stand there now, and those that its range has not touched.
    fn settle(&mut self, range: Option<WindowRange>) -> Result<()> {
        self.written = Written::Nothing;
        self.turn.commits += 1;
        let table = &self.settings.table;
        self.standing.replace(|key| is_outside(table, key, range), &mut self.staged_open.rows)
    }

    /// Takes back what a commit has written that will not come to its end, since another process has the table: that one
    /// knows nothing of rows that may have come after it looked, and its own have larger versions.
    fn take_back(&mut self) -> Result<(), Trouble> {
        let Some(link) = &self.link else { return Ok(()) };
        let number = self.turn.commits as i64 + 1;
        let mut many = link.cluster.many();
        for (kind, staged) in [(FINAL_ROW, &mut self.staged), (OPEN_ROW, &mut self.staged_open)] {
            // Of a row and its end with the same version, the end counts.
            let version = number * VERSIONS + kind;
            each(&mut staged.rows, |key, _| many.add(&link.delete, Values::number_and(version, key)))?;
        }
        many.finish()
    }
}

/// Puts a row over that of the same key. Where it has nulls, what was there before is taken away in the same step: a null that
/// is written would stay there as a mark that slows readers down, and one that is not written would let an older value through.
fn put(many: &mut Many<'_>, link: &Link, key: &[u8], row: &[u8], version: i64, gone: i64) -> Result<(), Trouble> {
    match has_null(row) {
        true => many.add_pair(&link.anew, Values::number_and(gone, key), Values::but_nulls(row, version)),
        false => many.add(&link.upsert, Values::and_number(row, version)),
    }
}

/// Returns whether a row with this key says that it is of a window in the range.
fn is_inside(table: &Table, key: &[u8], range: &WindowRange) -> bool {
    let cell = table.window_start().and_then(|at| cells(key).nth(at).flatten());
    cell.and_then(|cell| time(cell, table.times)).is_some_and(|start| range.contains(start))
}

/// Returns whether a run over a range leaves it as it is.
fn is_outside(table: &Table, key: &[u8], range: Option<WindowRange>) -> bool {
    range.is_some_and(|range| !is_inside(table, key, &range))
}

impl Place for CassandraSink {
    fn held(&mut self) -> Result<Held> {
        let taken = self.take_place();
        let found = self.explained(taken)?;
        self.turn.is_taken = found.is_some();
        Ok(found.unwrap_or(Held::Nothing))
    }

    fn seen(&mut self) -> Result<Held> {
        let looked = self.look();
        self.explained(looked)
    }

    fn begin(&mut self, replace: Replace) -> Result<Held> {
        let taken = self.take_over(replace);
        self.explained(taken)
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let staged = if is_open { &mut self.staged_open } else { &mut self.staged };
        let (mut key, mut all) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            key.clear();
            all.clear();
            write_row(&self.settings.table, &rows, row, &mut key, &mut all)?;
            staged.rows.push(&key, &all)?;
        }
        staged.count += rows.num_rows() as u64;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.staged.count == 0 && self.staged_open.count == 0 && self.standing.is_empty()
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let (stop, shown) = (self.stop.clone(), self.settings.address.shown());
        let done = patiently(&stop, self.describe(), || {
            self.try_publish(commit).map_err(|trouble| {
                let may_pass = trouble.may_pass();
                (trouble.explain(&shown), may_pass)
            })
        });
        if let Err(error) = done {
            if error.code != Code::StateBusy {
                return Err(error);
            }
            // Over a range rows stand for those of another run, and are the same where that one had as much of the log.
            let is_clean = match self.written {
                Written::Nothing => true,
                Written::Rows => commit.range.is_none() && self.take_back().is_ok(),
                Written::PerhapsAll => false,
            };
            return Err(if is_clean { error } else { error.help(LEFT) });
        }
        self.settle(commit.range)
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = (Staged::default(), Staged::default());
    }

    fn describe(&self) -> String {
        format!("table {} of Cassandra", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::cassandra::table::Times;
    use crate::sink::tests::{batch, plan};

    const MINUTE: i64 = 60_000_000;

    /// Returns minutes and pages of the open rows that stand there, as their keys have them.
    fn standing(sink: &mut CassandraSink) -> Vec<(i64, String)> {
        let mut rows = Vec::new();
        let take = |key: &[u8]| {
            let parts: Vec<&[u8]> = cells(key).flatten().collect();
            rows.push((time(parts[0], Times::Millis).unwrap() / MINUTE, String::from_utf8(parts[1].to_vec()).unwrap()));
            Ok::<_, Error>(())
        };
        sink.standing.each(take).unwrap();
        rows
    }

    #[test]
    fn open_rows_stand_until_the_next_commit_but_those_that_a_range_does_not_touch() {
        let mut plan = plan("cassandra", &[("url", "cassandra://127.0.0.1:1"), ("table", "k.t")]);
        plan.schema.fields.iter_mut().for_each(|field| field.nullable = false);
        let mut sink = CassandraSink::new(&plan, &Context::default()).unwrap();
        let mut commit = |open: &[(i64, &'static str)], range: Option<(i64, i64)>| {
            let rows: Vec<_> = open.iter().map(|(minute, page)| (*minute, *page, 1, false)).collect();
            // Final rows never stand for others.
            sink.stage(&batch(&[(1, "final", 1, true)]), false).unwrap();
            sink.stage(&batch(&rows), true).unwrap();
            let range = range.map(|(from, to)| WindowRange { from: Some(from * MINUTE), to: Some(to * MINUTE) });
            sink.settle(range).unwrap();
            sink.forget();
            let rows = standing(&mut sink);
            assert_eq!(sink.is_empty(), rows.is_empty(), "what stands there is to be replaced");
            rows
        };
        let is =
            |rows: &[(i64, &str)]| rows.iter().map(|(minute, page)| (*minute, page.to_string())).collect::<Vec<_>>();
        assert_eq!(commit(&[(3, "c"), (1, "a"), (5, "e")], None), is(&[(3, "c"), (1, "a"), (5, "e")]));
        assert_eq!(commit(&[(5, "e"), (2, "b")], None), is(&[(5, "e"), (2, "b")]), "all of the last commit's are gone");
        // From minute 2 up to 5: that of minute 2 is replaced, that of 5 stays.
        assert_eq!(commit(&[(4, "d")], Some((2, 5))), is(&[(5, "e"), (4, "d")]));
        assert_eq!(commit(&[], Some((4, 6))), is(&[]));
        assert_eq!(sink.turn.commits, 4);
    }
}
