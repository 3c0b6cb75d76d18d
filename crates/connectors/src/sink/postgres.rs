//! A table in PostgreSQL: an epoch is one transaction, so a reader sees all of it or nothing.
//!
//! ```text
//! "visits"               the rows: the sink's columns and `final`; their identity is the primary key
//! "_samestream_epochs"   beside it, a row for each sink's table: who may write, which epoch of which job it holds
//! ```
//!
//! A start puts a word of its own into `owner` of that row. A commit, in one transaction: the row is updated *if* the owner
//! and the count of commits are those that this process knows – else another one has taken over, and this one stops –;
//! what is to be replaced is deleted; the rows come by COPY, never as text in a statement, and are put over those of the
//! same identity. Rows that have lost their identity are only added: the epoch alone keeps them from coming twice.
//!
//! Open rows are those with `final = false`; every commit replaces them. A table belongs to one sink of one pipeline.
//!
//! A run over a range beside a stream leaves owner and count as they are. It sends its rows first; then, between two commits
//! of the stream, which the row of epochs keeps in order, it deletes those of the windows that both have settled and puts its own
//! in their place. Made again after an unknown outcome, it is the same.
//!
//! A connection that breaks is made again, and the same commit tried again for five minutes. Was the answer to a commit
//! lost, the row of epochs tells whether it came to be: it counts commits.

mod address;
mod copy;
mod table;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::Replace;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};
use postgres::error::SqlState;
use postgres::{Client, Transaction};

use self::address::{Address, Trouble};
use self::copy::{HEADER, Rows, TRAILER};
use self::table::{EPOCHS, STAGED, Table, create_epochs};
use super::once::{Commit, Held, Mark, Once, Place, Turn, begun_anew, overtaken};
use super::patience::patiently;
use super::rows::{FINAL, WINDOW_START, WindowRange, conform, written_schema};
use super::spool::Spool;
use super::sql::quoted;
use super::{Context, Setting, SinkKind, flag, required};
use crate::point;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "postgres",
    help: "a table of PostgreSQL",
    file_kind: "parquet",
    settings: &[
        Setting { name: "url", help: "the address of the database", is_required: true, is_built: true },
        Setting { name: "table", help: "the table, `NAME` or `SCHEMA.NAME`", is_required: true, is_built: true },
        Setting {
            name: "create",
            help: "whether the table is made if it is not there",
            is_required: false,
            is_built: true,
        },
    ],
    check: |plan| PostgresSink::new(plan, &Context::default()).map(|_| ()),
    probe,
    open: |plan, context| Ok(Box::new(Once::new(PostgresSink::new(plan, context)?, context))),
    folder: super::no_folder,
};

/// How long a start waits for the row of its table, until it looks who holds it; and how often.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '10s'";
const LOCK_TRIES: usize = 6;

/// After what time the server ends a commit beside a stream whose process stands still.
const IDLE_TIMEOUT: &str = "SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Bytes of rows that are handed to the connection at once.
const PIECE: usize = 64 * 1024;

struct PostgresSink {
    address: Address,
    table: Table,
    names: Vec<String>,
    schema: SchemaRef,
    /// Whether the table is made if it is not there.
    creates: bool,
    pipeline: String,
    sink: String,
    turn: Turn,
    stop: Arc<AtomicBool>,
    client: Option<Client>,
    /// The schema that the table is in.
    place: String,
    staged: Staged,
    staged_open: Staged,
    /// How many open rows this run may have to replace.
    open_rows: u64,
}

/// Rows that wait for a commit, in the form in which they are sent.
#[derive(Default)]
struct Staged {
    rows: Spool,
    count: u64,
}

impl PostgresSink {
    fn new(plan: &SinkPlan, context: &Context) -> Result<Self> {
        let named = |error: Error| error.context(format!("sink `{}`", plan.name));
        let table = Table::new(plan, required(plan, "table")?)?;
        Ok(Self {
            address: Address::parse(required(plan, "url")?).map_err(named)?,
            names: table.column_names(),
            table,
            schema: written_schema(plan),
            creates: !plan.target.settings.contains_key("create") || flag(plan, "create")?,
            pipeline: context.pipeline.clone(),
            sink: plan.name.clone(),
            turn: Turn::new(),
            stop: context.stop.clone(),
            client: None,
            place: String::new(),
            staged: Staged::default(),
            staged_open: Staged::default(),
            open_rows: 0,
        })
    }

    fn explained<T>(&self, result: Result<T, Trouble>) -> Result<T> {
        result.map_err(|trouble| self.address.explain(trouble))
    }

    fn shown(&self) -> String {
        match &self.table.schema {
            Some(schema) => format!("{schema}.{}", self.table.name),
            None => self.table.name.clone(),
        }
    }

    /// Returns the schema of the table and, if it is there, its number.
    fn find(&self, transaction: &mut Transaction<'_>) -> Result<(String, Option<u32>), Trouble> {
        let schema = match &self.table.schema {
            Some(schema) => schema.clone(),
            None => {
                let row = transaction.query_one("SELECT current_schema()::text", &[])?;
                row.get::<_, Option<String>>(0).ok_or_else(|| {
                    Error::new(Code::Database, "the connection's search path names no schema that is there")
                        .help("name one in `table: SCHEMA.NAME`")
                })?
            }
        };
        let found = transaction.query_opt(
            "SELECT c.oid, c.relkind::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[&schema, &self.table.name],
        )?;
        match found {
            None => Ok((schema, None)),
            Some(row) if ["r", "p"].contains(&row.get::<_, &str>(1)) => Ok((schema, Some(row.get(0)))),
            Some(_) => {
                let message = format!("{} is there and is no table", self.shown());
                Err(Error::new(Code::Target, message).help("name another `table`").into())
            }
        }
    }

    /// Does what an older run may hold up: one in the middle of a commit has locked the row of the table. If its session
    /// waits for its process – which stands still, or has gone with its machine – the session is ended, and with it a commit
    /// that the start of this run makes void in any case.
    fn past_others<T>(
        &mut self,
        client: &mut Client,
        mut attempt: impl FnMut(&mut Self, &mut Client) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        for _ in 0..LOCK_TRIES {
            match attempt(self, client) {
                Err(Trouble::Server(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    self.end_holder(client)?;
                }
                done => return done,
            }
        }
        let message = format!("another session holds the row of the table {} in {EPOCHS}", self.shown());
        Err(Error::new(Code::StateBusy, message)
            .help("another run is in the middle of a commit: stop it, or end its session by `pg_terminate_backend`")
            .into())
    }

    fn end_holder(&self, client: &mut Client) -> Result<(), Trouble> {
        let mut transaction = client.transaction()?;
        let (schema, _) = self.find(&mut transaction)?;
        // Who has changed the row and not yet committed; of another user's sessions nothing can be seen or ended.
        let holders = transaction.query(
            &format!(
                "SELECT a.pid FROM {} e JOIN pg_catalog.pg_stat_activity a ON a.backend_xid::text = e.xmax::text \
                 WHERE e.\"table\" = $1 AND a.wait_event_type = 'Client' AND a.usename = current_user",
                epochs_at(&schema)
            ),
            &[&self.table.name],
        )?;
        for holder in &holders {
            transaction.execute("SELECT pg_catalog.pg_terminate_backend($1)", &[&holder.get::<_, i32>(0)])?;
        }
        Ok(transaction.commit()?)
    }

    /// Takes the table for this process if it is there, so that an older one publishes nothing from now on; returns what it holds.
    fn take_place(&self, client: &mut Client) -> Result<Option<Held>, Trouble> {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(LOCK_TIMEOUT)?;
        let (schema, Some(oid)) = self.find(&mut transaction)? else { return Ok(None) };
        if !has_epochs(&mut transaction, &schema)? {
            return Ok(None);
        }
        let row = transaction.query_opt(
            &format!(
                "UPDATE {} AS e SET owner = $5 WHERE \"table\" = $1 AND table_oid = $2 AND pipeline = $3 AND sink = $4 \
                 RETURNING {MARK}",
                epochs_at(&schema)
            ),
            &[&self.table.name, &oid, &self.pipeline, &self.sink, &self.turn.owner],
        )?;
        transaction.commit()?;
        Ok(row.as_ref().map(held))
    }

    /// Reads what the table holds, if it is there and ours.
    fn look(&self, client: &mut Client) -> Result<Held, Trouble> {
        let mut transaction = client.transaction()?;
        let (schema, Some(oid)) = self.find(&mut transaction)? else { return Ok(Held::Nothing) };
        if !has_epochs(&mut transaction, &schema)? {
            return Ok(Held::Nothing);
        }
        let row = transaction.query_opt(
            &format!(
                "SELECT {MARK} FROM {} e WHERE \"table\" = $1 AND table_oid = $2 AND pipeline = $3 AND sink = $4",
                epochs_at(&schema)
            ),
            &[&self.table.name, &oid, &self.pipeline, &self.sink],
        )?;
        Ok(row.as_ref().map_or(Held::Nothing, held))
    }

    /// Checks that the rows of a run beside a stream fit into its table.
    fn fit_beside(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let mut transaction = client.transaction()?;
        must_be_utf8(&mut transaction)?;
        let (schema, Some(oid)) = self.find(&mut transaction)? else { return Err(self.begun_anew().into()) };
        self.table.must_fit(&mut transaction, oid, &self.shown())?;
        self.place = schema;
        Ok(())
    }

    fn begun_anew(&self) -> Error {
        begun_anew(&format!("the table {}", self.shown()))
    }

    /// Replaces rows of a range between two commits of the stream whose job that is.
    fn transact_beside(&mut self, client: &mut Client, commit: &Commit, job: &str) -> Result<(), Trouble> {
        let range = commit.range.expect("a run beside a stream has a range");
        let mut transaction = client.transaction()?;
        transaction.batch_execute(&self.table.create_staged())?;
        let sent = send(&mut transaction, &self.table.copy_staged(), [&mut self.staged, &mut self.staged_open])?;
        assert_eq!(sent, self.staged.count + self.staged_open.count, "the server has read every row that was sent");
        point!("beside.postgres");
        // From here on the stream's next commit waits for this one, which therefore waits for nothing long, and is ended by the
        // server where its process stands still.
        transaction.batch_execute(&format!("{LOCK_TIMEOUT}; {IDLE_TIMEOUT}"))?;
        let row = transaction.query_opt(
            &format!(
                "SELECT {MARK} FROM {} e WHERE \"table\" = $1 AND pipeline = $2 AND sink = $3 FOR UPDATE",
                epochs_at(&self.place)
            ),
            &[&self.table.name, &self.pipeline, &self.sink],
        )?;
        let settled = match row.as_ref().map(held) {
            Some(Held::Rows(Mark { job: Some(found), settled, .. })) if found == job => settled,
            _ => return Err(self.begun_anew().into()),
        };
        if settled < range.to {
            return Err(self.begun_anew().into());
        }
        self.delete(&mut transaction, &range, "true")?;
        let written = transaction.execute(&self.table.insert_staged(&self.place), &[])?;
        assert_eq!(written, sent, "every staged row is written");
        transaction.execute(&format!("DELETE FROM pg_temp.{}", quoted(STAGED)), &[])?;
        Ok(transaction.commit()?)
    }

    /// Deletes the rows of a range of which something is so.
    fn delete(&self, transaction: &mut Transaction<'_>, range: &WindowRange, what: &str) -> Result<(), Trouble> {
        let (at, column) = (self.table.at(&self.place), quoted(WINDOW_START));
        transaction.execute(
            &format!(
                "DELETE FROM {at} WHERE {what} \
                 AND ($1::timestamptz IS NULL OR {column} >= $1) AND ($2::timestamptz IS NULL OR {column} < $2)"
            ),
            &[&range.from.map(system_time), &range.to.map(system_time)],
        )?;
        Ok(())
    }

    /// Checks the table, makes it if it is not there, and takes it for this process.
    fn take_over(&mut self, client: &mut Client, replace: Replace) -> Result<Held, Trouble> {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(LOCK_TIMEOUT)?;
        must_be_utf8(&mut transaction)?;
        let (schema, found) = self.find(&mut transaction)?;
        if !has_epochs(&mut transaction, &schema)? {
            transaction.batch_execute(&create_epochs(&schema))?;
        }
        add_settled(&mut transaction, &schema)?;
        let oid = match found {
            Some(oid) => {
                self.table.must_fit(&mut transaction, oid, &self.shown())?;
                oid
            }
            None if self.creates => {
                for statement in self.table.create(&schema) {
                    transaction.batch_execute(&statement).map_err(|error| self.cannot_create(error))?;
                }
                self.find(&mut transaction)?.1.expect("the table was just made")
            }
            None => {
                let message = format!("there is no table {}", self.shown());
                let help =
                    format!("make it: `{}`, or leave `create: false` out", self.table.create(&schema).join("; "));
                return Err(Error::new(Code::NotFound, message).help(help).into());
            }
        };
        self.must_be_ours(&mut transaction, &schema, oid, replace)?;
        // A table that was made anew holds nothing of what the row speaks of.
        let row = transaction.query_one(
            &format!(
                "INSERT INTO {at} AS e (\"table\", table_oid, pipeline, sink, owner, commits, open_rows) \
                 VALUES ($1, $2, $3, $4, $5, 0, 0) ON CONFLICT (\"table\") DO UPDATE SET \
                 owner = excluded.owner, pipeline = excluded.pipeline, sink = excluded.sink, \
                 job = CASE WHEN e.table_oid = excluded.table_oid THEN e.job END, \
                 epoch = CASE WHEN e.table_oid = excluded.table_oid THEN e.epoch END, \
                 settled = CASE WHEN e.table_oid = excluded.table_oid THEN e.settled END, \
                 open_rows = CASE WHEN e.table_oid = excluded.table_oid THEN e.open_rows ELSE 0 END, \
                 table_oid = excluded.table_oid \
                 RETURNING {MARK}, commits, open_rows",
                at = epochs_at(&schema)
            ),
            &[&self.table.name, &oid, &self.pipeline, &self.sink, &self.turn.owner],
        )?;
        transaction.commit()?;
        self.place = schema;
        self.turn.commits = row.get::<_, i64>("commits") as u64;
        self.open_rows = row.get::<_, i64>("open_rows") as u64;
        Ok(held(&row))
    }

    fn cannot_create(&self, error: postgres::Error) -> Trouble {
        if error.code() == Some(&postgres::error::SqlState::SYNTAX_ERROR) {
            let message =
                format!("this server cannot make the table {}: rows have keys that may be null", self.shown());
            return Error::new(Code::Unsupported, message)
                .help("such a table needs PostgreSQL 15 or newer; or let `select` or `where` keep nulls out of the keys and mark the source's columns with `!`")
                .into();
        }
        error.into()
    }

    /// Refuses a table whose rows another sink has written, or nobody that we know.
    fn must_be_ours(
        &self,
        transaction: &mut Transaction<'_>,
        schema: &str,
        oid: u32,
        replace: Replace,
    ) -> Result<(), Trouble> {
        let held = transaction.query_opt(
            &format!(
                "SELECT pipeline, sink, owner FROM {} WHERE \"table\" = $1 AND table_oid = $2 FOR UPDATE",
                epochs_at(schema)
            ),
            &[&self.table.name, &oid],
        )?;
        if let Some(row) = held {
            let (pipeline, sink): (String, String) = (row.get(0), row.get(1));
            if (pipeline.as_str(), sink.as_str()) != (&self.pipeline, &self.sink) {
                let message = format!("the table {} belongs to the sink `{sink}` of `{pipeline}`", self.shown());
                return Err(Error::new(Code::Target, message)
                    .help("give each sink a table of its own; a table that is to change hands is dropped first")
                    .into());
            }
            if self.turn.is_taken && row.get::<_, &str>(2) != self.turn.owner {
                return Err(self.overtaken().into());
            }
        } else {
            let exists = format!("SELECT EXISTS (SELECT 1 FROM {})", self.table.at(schema));
            if transaction.query_one(&exists, &[])?.get(0) {
                let message = format!("the table {} holds rows that no sink wrote", self.shown());
                return Err(Error::new(Code::Target, message).help("empty it, or name another `table`").into());
            }
        }
        if matches!(replace, Replace::Range(..)) && !self.table.has_windows() {
            let exists = format!("SELECT EXISTS (SELECT 1 FROM {})", self.table.at(schema));
            if transaction.query_one(&exists, &[])?.get(0) {
                return Err(Error::new(Code::Target, format!("rows of {} have no `window_start`", self.shown()))
                    .help("a range can be replaced only where rows say in which window they are: select it, or run without --from and --to")
                    .into());
            }
        }
        Ok(())
    }

    /// Publishes what is staged, once.
    fn try_publish(&mut self, commit: &Commit) -> Result<(), Trouble> {
        let mut client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => self.address.connect()?,
        };
        match &commit.beside {
            Some(job) => self.transact_beside(&mut client, commit, job)?,
            None => self.transact(&mut client, commit)?,
        }
        self.client = Some(client);
        Ok(())
    }

    fn transact(&mut self, client: &mut Client, commit: &Commit) -> Result<(), Trouble> {
        let mut transaction = client.transaction()?;
        let at = self.table.at(&self.place);
        let open_rows = self.staged_open.count as i64;
        let known = self.turn.commits as i64;
        let updated = match &commit.mark {
            None => transaction.execute(
                &format!(
                    "UPDATE {} SET commits = commits + 1, open_rows = open_rows + $4, committed_at = now() \
                     WHERE \"table\" = $1 AND owner = $2 AND commits = $3",
                    epochs_at(&self.place)
                ),
                &[&self.table.name, &self.turn.owner, &known, &open_rows],
            )?,
            Some(mark) => transaction.execute(
                &format!(
                    "UPDATE {} SET commits = commits + 1, open_rows = $4, committed_at = now(), job = $5, epoch = $6, settled = $7 \
                     WHERE \"table\" = $1 AND owner = $2 AND commits = $3",
                    epochs_at(&self.place)
                ),
                &[
                    &self.table.name,
                    &self.turn.owner,
                    &known,
                    &open_rows,
                    &mark.job,
                    &mark.job.as_ref().map(|_| mark.epoch as i64),
                    &mark.settled,
                ],
            )?,
        };
        if updated == 0 {
            return self.why_not(&mut transaction);
        }
        point!("postgres.marked");
        let not_final = format!("NOT {}", quoted(FINAL));
        match (commit.first, &commit.range) {
            (Some(Replace::All), _) => _ = transaction.execute(&format!("DELETE FROM {at}"), &[])?,
            (first, Some(range)) if self.table.has_windows() => {
                self.delete(&mut transaction, range, if first.is_some() { "true" } else { &not_final })?;
            }
            _ if self.open_rows > 0 => _ = transaction.execute(&format!("DELETE FROM {at} WHERE {not_final}"), &[])?,
            _ => {}
        }
        point!("postgres.replaced");
        if self.staged.count + self.staged_open.count > 0 {
            let upsert = self.table.upsert(&self.place);
            if upsert.is_some() {
                transaction.batch_execute(&self.table.create_staged())?;
            }
            let sent =
                send(&mut transaction, &self.table.copy(&self.place), [&mut self.staged, &mut self.staged_open])?;
            assert_eq!(sent, self.staged.count + self.staged_open.count, "the server has read every row that was sent");
            if let Some(upsert) = upsert {
                let written = transaction.execute(&upsert, &[])?;
                assert_eq!(written, sent, "every staged row is written");
                // So that a later commit on this connection finds the place empty, whatever the server's settings say.
                transaction.execute(&format!("DELETE FROM pg_temp.{}", quoted(STAGED)), &[])?;
            }
        }
        point!("postgres.rows");
        transaction.commit()?;
        point!("postgres.committed", {
            let ended = client.batch_execute("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())");
            ended.expect_err("a session that ends itself hears of it").into()
        });
        Ok(())
    }

    fn overtaken(&self) -> Error {
        overtaken(&format!("the table {}", self.shown()))
    }

    /// Says why the row of epochs did not fit; all is well if the commit has come to be.
    fn why_not(&self, transaction: &mut Transaction<'_>) -> Result<(), Trouble> {
        let row = transaction.query_opt(
            &format!("SELECT owner, commits FROM {} WHERE \"table\" = $1", epochs_at(&self.place)),
            &[&self.table.name],
        )?;
        let found = row.as_ref().map(|row| (row.get::<_, &str>(0), row.get::<_, i64>(1) as u64));
        Ok(self.turn.must_be_done(&self.shown(), EPOCHS, found)?)
    }
}

impl Place for PostgresSink {
    fn held(&mut self) -> Result<Held> {
        let client = self.address.connect();
        let mut client = self.explained(client)?;
        let taken = self.past_others(&mut client, |sink, client| sink.take_place(client));
        let found = self.explained(taken)?;
        self.turn.is_taken = found.is_some();
        Ok(found.unwrap_or(Held::Nothing))
    }

    fn begin(&mut self, replace: Replace) -> Result<Held> {
        let client = self.address.connect();
        let mut client = self.explained(client)?;
        let taken = self.past_others(&mut client, |sink, client| sink.take_over(client, replace));
        let held = self.explained(taken)?;
        self.client = Some(client);
        Ok(held)
    }

    fn seen(&mut self) -> Result<Held> {
        let found = self.address.connect().and_then(|mut client| self.look(&mut client));
        self.explained(found)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn begin_beside(&mut self) -> Result<()> {
        let client = self.address.connect();
        let mut client = self.explained(client)?;
        let fits = self.fit_beside(&mut client);
        self.explained(fits)?;
        self.client = Some(client);
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let staged = if is_open { &mut self.staged_open } else { &mut self.staged };
        let (encoder, mut bytes) = (Rows::new(&rows, &self.names), Vec::new());
        for row in 0..rows.num_rows() {
            encoder.write(row, &mut bytes)?;
            if bytes.len() >= PIECE || row + 1 == rows.num_rows() {
                staged.rows.push(&[], &bytes)?;
                bytes.clear();
            }
        }
        staged.count += rows.num_rows() as u64;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.staged.count == 0 && self.staged_open.count == 0 && self.open_rows == 0
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let stop = self.stop.clone();
        patiently(&stop, self.describe(), || {
            self.try_publish(commit).map_err(|trouble| {
                let may_pass = trouble.may_pass();
                (self.address.explain(trouble), may_pass)
            })
        })?;
        if commit.beside.is_none() {
            self.turn.commits += 1;
            self.open_rows = self.staged_open.count;
        }
        Ok(())
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = (Staged::default(), Staged::default());
    }

    fn describe(&self) -> String {
        format!("table {} of PostgreSQL", self.shown())
    }
}

/// What a row of epochs, named `e`, says of the table's rows. `to_jsonb` because older programs have made it without that column.
const MARK: &str = "e.job, e.epoch, (to_jsonb(e) ->> 'settled')::bigint AS settled";

/// Returns what a table with that row of epochs holds.
fn held(row: &postgres::Row) -> Held {
    let of = |epoch: i64| Mark { job: row.get("job"), epoch: epoch as u64, settled: row.get("settled") };
    row.get::<_, Option<i64>>("epoch").map_or(Held::Nothing, |epoch| Held::Rows(of(epoch)))
}

/// Gives a table of epochs of an older program the column that it lacks.
fn add_settled(transaction: &mut Transaction<'_>, schema: &str) -> Result<(), Trouble> {
    let at = epochs_at(schema);
    let found = transaction.query_opt(
        "SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'settled'",
        &[&at],
    )?;
    match found {
        Some(_) => Ok(()),
        None => Ok(transaction.batch_execute(&format!("ALTER TABLE {at} ADD COLUMN IF NOT EXISTS settled bigint"))?),
    }
}

/// Asks whether the database is there and lets us in, and whether the table fits if it is there.
fn probe(plan: &SinkPlan) -> Result<()> {
    let sink = PostgresSink::new(plan, &Context::default())?;
    let ask = || -> Result<(), Trouble> {
        let mut client = sink.address.connect()?;
        let mut transaction = client.transaction()?;
        must_be_utf8(&mut transaction)?;
        match sink.find(&mut transaction)?.1 {
            Some(oid) => sink.table.must_fit(&mut transaction, oid, &sink.shown()),
            None if sink.creates => Ok(()),
            None => Err(Error::new(Code::NotFound, format!("there is no table {}", sink.shown())).into()),
        }
    };
    sink.explained(ask())
}

/// Sends rows by COPY and returns how many the server has taken.
fn send(transaction: &mut Transaction<'_>, copy: &str, staged: [&mut Staged; 2]) -> Result<u64, Trouble> {
    let mut writer = transaction.copy_in(copy)?;
    let mut sent = writer.write_all(HEADER).map_err(Trouble::sending);
    for staged in staged {
        // The spool's own troubles are ours, those of the connection may pass.
        let read = staged.rows.each(|_, bytes| {
            if sent.is_ok() {
                sent = writer.write_all(bytes).map_err(Trouble::sending);
            }
            Ok(())
        });
        read?;
    }
    sent?;
    writer.write_all(TRAILER).map_err(Trouble::sending)?;
    Ok(writer.finish()?)
}

/// Refuses a database that cannot hold every character.
fn must_be_utf8(transaction: &mut Transaction<'_>) -> Result<(), Trouble> {
    let row = transaction.query_one("SELECT pg_catalog.current_setting('server_encoding')", &[])?;
    let encoding: &str = row.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    let message = format!("the database stores text in {encoding}, which cannot hold every character");
    Err(Error::new(Code::Database, message)
        .help("make one with `createdb --encoding UTF8 --template template0`")
        .into())
}

/// Returns microseconds since 1970 as a time that the driver sends exactly.
fn system_time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

fn has_epochs(transaction: &mut Transaction<'_>, schema: &str) -> Result<bool, Trouble> {
    let row = transaction.query_one(
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2)",
        &[&schema, &EPOCHS],
    )?;
    Ok(row.get(0))
}

fn epochs_at(schema: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(EPOCHS))
}
