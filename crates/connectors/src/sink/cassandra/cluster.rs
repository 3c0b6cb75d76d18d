//! The connections to a cluster, and what its errors mean. The driver does not leave this file.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::{Code, Error, Result};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::frame::types::{Consistency, SerialConsistency};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use tokio::runtime::Runtime;

use super::address::Address;
use super::cells::{cells, push_cell};
use super::tls::connector;
use super::under_way::UnderWay;

/// How long to wait for a node to take a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Keys that are read at once: one has 64 KiB at most, so all of them 64 MiB.
const PAGE: i32 = 1000;

/// Why something did not happen.
pub(super) enum Trouble {
    /// What was said, and whether the same may go well a little later.
    Server(String, Option<DbError>, bool),
    Ours(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<ExecutionError> for Trouble {
    fn from(error: ExecutionError) -> Self {
        let (code, may_pass) = match &error {
            ExecutionError::LastAttemptError(error) => judged(error),
            ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => judged(first_attempt),
            ExecutionError::BadQuery(_) => (None, false),
            _ => (None, true),
        };
        Self::Server(error.to_string(), code, may_pass)
    }
}

impl From<PrepareError> for Trouble {
    fn from(error: PrepareError) -> Self {
        ExecutionError::PrepareError(error).into()
    }
}

fn judged(error: &RequestAttemptError) -> (Option<DbError>, bool) {
    match error {
        RequestAttemptError::DbError(code, _) => {
            let will_not_pass = matches!(
                code,
                DbError::SyntaxError
                    | DbError::Invalid
                    | DbError::AlreadyExists { .. }
                    | DbError::FunctionFailure { .. }
                    | DbError::AuthenticationError
                    | DbError::Unauthorized
                    | DbError::ConfigError
                    | DbError::ProtocolError
            );
            (Some(code.clone()), !will_not_pass)
        }
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => (None, false),
        _ => (None, true),
    }
}

impl Trouble {
    /// Returns true when the same may go well a little later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Server(_, _, true))
    }

    /// Says what is wrong and what to do.
    pub(super) fn explain(self, shown: &str) -> Error {
        let (text, code) = match self {
            Self::Ours(error) => return error,
            Self::Server(text, code, _) => (text, code),
        };
        let is_gone = text.contains("does not exist") || text.contains("unconfigured table");
        let is_large = text.contains("oversized") || text.contains("too large");
        let said = |code| Error::new(code, format!("Cassandra at {shown}: {text}"));
        let database = said(Code::Database);
        match code {
            Some(DbError::AuthenticationError) => {
                database.help("check user and password in the variable that the `url` comes from")
            }
            Some(DbError::Unauthorized) => database.help(
                "the user needs CREATE on the keyspace; with `create: false` SELECT and MODIFY on the sink's table, on `_samestream_epochs` and on `_samestream_open`",
            ),
            Some(DbError::Unavailable { .. }) => database.help("a majority of the replicas of each row must be there"),
            Some(DbError::Invalid) if is_gone => database.help("somebody has dropped the table: start again"),
            Some(DbError::Invalid) if is_large => said(Code::Overflow)
                .help("leave such rows out by the sink's `where`; a server takes rows of up to half of its `commitlog_segment_size`"),
            Some(DbError::Invalid) => database,
            _ => database.help("check that the server runs and that hosts, ports and `sslmode` of the `url` are right"),
        }
    }
}

/// A session, and the thread that it lives on.
pub(super) struct Cluster {
    session: Arc<Session>,
    runtime: Runtime,
    /// How a read sees what conditional changes before it have done.
    surely: Consistency,
}

/// A statement that the servers know.
pub(super) type Statement = Arc<PreparedStatement>;

/// Two statements about one row, whose changes are seen together.
#[derive(Clone)]
pub(super) struct Pair(Arc<Batch>);

impl Pair {
    pub(super) fn new(first: &Statement, second: &Statement) -> Self {
        let mut batch = Batch::new(BatchType::Unlogged);
        for statement in [first, second] {
            batch.append_statement(PreparedStatement::clone(statement));
        }
        batch.set_is_idempotent(true);
        Self(Arc::new(batch))
    }
}

impl Cluster {
    /// Connects. Within a datacenter a majority of its replicas decides; without one, that of all.
    pub(super) fn connect(address: &Address, keyspace: &str) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("a thread for Cassandra", error))?;
        let (quorum, serial, surely) = match address.datacenter {
            Some(_) => (Consistency::LocalQuorum, SerialConsistency::LocalSerial, Consistency::LocalSerial),
            None => (Consistency::Quorum, SerialConsistency::Serial, Consistency::Serial),
        };
        let profile = ExecutionProfile::builder()
            .consistency(quorum)
            .serial_consistency(Some(serial))
            .request_timeout(Some(ANSWER_TIMEOUT))
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&address.nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            .keyspaces_to_fetch([keyspace])
            .fetch_full_schema_metadata(false)
            .driver_config_reporting(false)
            .default_execution_profile_handle(profile.into_handle());
        if let Some((user, password)) = &address.user {
            builder = builder.user(user, password);
        }
        if let Some(datacenter) = &address.datacenter {
            builder = builder.prefer_datacenter(datacenter.clone());
        }
        if let Some(trust) = &address.trust {
            builder = builder.tls_context(Some(connector(address, trust)?));
        }
        let session = runtime.block_on(builder.build()).map_err(|error| {
            let text = error.to_string();
            let is_refused = text.contains("bad credentials") || text.contains("Authentication");
            Trouble::Server(text, is_refused.then_some(DbError::AuthenticationError), !is_refused)
        })?;
        Ok(Self { session: Arc::new(session), runtime, surely })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Changes the schema; waits until all nodes know.
    pub(super) fn define(&self, statement: &str) -> Result<(), Trouble> {
        self.wait(self.session.query_unpaged(statement, ()))?;
        Ok(())
    }

    /// Prepares a statement that may be executed twice.
    pub(super) fn prepare(&self, statement: &str) -> Result<Statement, Trouble> {
        let mut prepared = self.wait(self.session.prepare(statement))?;
        prepared.set_is_idempotent(true);
        prepared.set_page_size(PAGE);
        Ok(Arc::new(prepared))
    }

    /// Reads rows of a few texts and numbers.
    pub(super) fn ask(&self, statement: &str, values: &[Bound<'_>]) -> Result<Vec<Vec<Option<CqlValue>>>, Trouble> {
        self.ask_with(statement, values, None)
    }

    /// The same, after what conditional changes before have done.
    pub(super) fn ask_surely(
        &self,
        statement: &str,
        values: &[Bound<'_>],
    ) -> Result<Vec<Vec<Option<CqlValue>>>, Trouble> {
        self.ask_with(statement, values, Some(self.surely))
    }

    fn ask_with(
        &self,
        statement: &str,
        values: &[Bound<'_>],
        consistency: Option<Consistency>,
    ) -> Result<Vec<Vec<Option<CqlValue>>>, Trouble> {
        let mut prepared = self.wait(self.session.prepare(statement))?;
        if let Some(consistency) = consistency {
            prepared.set_consistency(consistency);
        }
        let result = self.wait(self.session.execute_unpaged(&prepared, Values::of(values)))?;
        let rows = result.into_rows_result().map_err(unreadable)?;
        rows.rows::<Row>().map_err(unreadable)?.map(|row| Ok(row.map_err(unreadable)?.columns)).collect()
    }

    /// Makes a change if a condition holds; returns whether it did. Not known after an error.
    pub(super) fn change_if(&self, statement: &str, values: &[Bound<'_>]) -> Result<bool, Trouble> {
        // The answer's first column says so.
        let rows = self.ask(statement, values)?;
        Ok(matches!(rows.first().and_then(|row| row.first()), Some(Some(CqlValue::Boolean(true)))))
    }

    /// Executes a statement.
    pub(super) fn execute(&self, statement: &Statement, values: Values) -> Result<(), Trouble> {
        self.wait(self.session.execute_unpaged(statement, values))?;
        Ok(())
    }

    /// Begins to execute many statements, in any order.
    pub(super) fn many(&self) -> Many<'_> {
        Many { session: &self.session, under_way: UnderWay::new(&self.runtime) }
    }

    /// Reads rows page by page, each as its cells.
    pub(super) fn each(
        &self,
        statement: &Statement,
        values: Values,
        take: &mut dyn FnMut(Vec<u8>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut state = PagingState::start();
        loop {
            let (page, next) = self.wait(self.session.execute_single_page(statement, &values, state))?;
            let page = page.into_rows_result().map_err(unreadable)?;
            for row in page.rows::<Cells>().map_err(unreadable)? {
                take(row.map_err(unreadable)?.0)?;
            }
            match next {
                PagingStateResponse::HasMorePages { state: next } => state = next,
                PagingStateResponse::NoMorePages => return Ok(()),
            }
        }
    }
}

fn unreadable(error: impl std::error::Error) -> Trouble {
    Trouble::Server(format!("its answer cannot be read: {error}"), None, false)
}

/// Many statements, some of them under way.
pub(super) struct Many<'a> {
    session: &'a Arc<Session>,
    under_way: UnderWay<'a, ExecutionError>,
}

impl Many<'_> {
    /// Adds one; waits while too many are under way, or too large ones.
    pub(super) fn add(&mut self, statement: &Statement, values: Values) -> Result<(), Trouble> {
        let (session, statement, bytes) = (self.session.clone(), statement.clone(), values.cells.len());
        let one = async move { session.execute_unpaged(&statement, values).await.map(|_| ()) };
        Ok(self.under_way.begin(bytes, one)?)
    }

    /// Adds two whose changes are seen together.
    pub(super) fn add_pair(&mut self, pair: &Pair, first: Values, second: Values) -> Result<(), Trouble> {
        let (session, pair, bytes) = (self.session.clone(), pair.clone(), first.cells.len() + second.cells.len());
        let one = async move { session.batch(&pair.0, (first, second)).await.map(|_| ()) };
        Ok(self.under_way.begin(bytes, one)?)
    }

    /// Waits for all of them.
    pub(super) fn finish(self) -> Result<(), Trouble> {
        Ok(self.under_way.finish()?)
    }
}

/// A value for a statement.
#[derive(Clone, Copy)]
pub(super) enum Bound<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
}

/// Values for a statement, as cells: what they are was decided where they were written.
#[derive(Default)]
pub(super) struct Values {
    cells: Vec<u8>,
    /// Whether nulls are left as they are there, and not written.
    skips_nulls: bool,
}

impl Values {
    /// Takes a number and then cells.
    pub(super) fn number_and(number: i64, cells: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(cells.len() + 12);
        push_cell(Some(&number.to_be_bytes()), &mut bytes);
        bytes.extend_from_slice(cells);
        Self { cells: bytes, skips_nulls: false }
    }

    /// Takes cells and then a number.
    pub(super) fn and_number(cells: &[u8], number: i64) -> Self {
        let mut bytes = Vec::with_capacity(cells.len() + 12);
        bytes.extend_from_slice(cells);
        push_cell(Some(&number.to_be_bytes()), &mut bytes);
        Self { cells: bytes, skips_nulls: false }
    }

    /// Takes cells, of which nulls are not written, and then a number.
    pub(super) fn but_nulls(cells: &[u8], number: i64) -> Self {
        Self { skips_nulls: true, ..Self::and_number(cells, number) }
    }

    /// Takes a text, a number and some bytes.
    pub(super) fn of_key(text: &str, number: i64, key: &[u8]) -> Self {
        let mut values = Self::of(&[Bound::Text(Some(text)), Bound::Number(Some(number))]);
        push_cell(Some(key), &mut values.cells);
        values
    }

    /// Takes texts and numbers.
    pub(super) fn of(values: &[Bound<'_>]) -> Self {
        let mut bytes = Vec::new();
        for value in values {
            match value {
                Bound::Text(text) => push_cell(text.map(str::as_bytes), &mut bytes),
                Bound::Number(number) => {
                    push_cell(number.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice), &mut bytes)
                }
            }
        }
        Self { cells: bytes, skips_nulls: false }
    }
}

impl SerializeRow for Values {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        for cell in cells(&self.cells) {
            let to = writer.make_cell_writer();
            match cell {
                Some(value) => _ = to.set_value(value).map_err(SerializationError::new)?,
                None if self.skips_nulls => _ = to.set_unset(),
                None => _ = to.set_null(),
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// A row as its cells.
struct Cells(Vec<u8>);

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Cells {
    fn type_check(_: &[scylla::frame::response::result::ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        let mut bytes = Vec::new();
        for column in row {
            push_cell(column?.slice.map(|slice| slice.as_slice()), &mut bytes);
        }
        Ok(Self(bytes))
    }
}
