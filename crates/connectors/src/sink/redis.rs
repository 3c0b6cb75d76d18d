//! A hash in Redis: a field a row, named by the row's identity, its value the row; both JSON.
//!
//! ```text
//! KEY                     the rows: `{"window_start":"…","page":"/a"}` → `{"window_start":"…","page":"/a","views":7,"final":true}`
//! {KEY}:samestream        who may write, how many commits there were, which epoch of which job is there, how many rows
//! {KEY}:open              the names of the rows that are open
//! {KEY}:staged:OWNER      rows on their way into a commit; forgotten by itself after an hour
//! ```
//!
//! All of them lie in one slot of a cluster, because what stands in braces chooses it. A commit first brings its rows into the
//! staged list, in pieces; then one script looks whether the owner and the count of commits are those that this process
//! knows – else another one has taken over, and this one stops –, replaces what is to be replaced, moves the staged rows and
//! notes the epoch. A script is atomic in Redis, so a command of a reader sees all of an epoch or nothing, however large it is;
//! a large one keeps other clients waiting, for about a second for each million rows.
//!
//! Redis may lose what it has acknowledged, the last second with `appendfsync everysec`, more without an append-only file. The
//! epoch goes with the rows: a start sees which epochs are missing and publishes them again from the checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::Replace;
use engine::plan::SinkPlan;
use engine::{Code, Error, Result};
use redis::{Client, Commands, Connection, ConnectionAddr, RedisError, Script, ScriptInvocation};

use super::once::{Commit, Found, Held, Mark, Once, Place, Turn, overtaken};
use super::patience::patiently;
use super::rows::{WINDOW_START, WindowRange, conform, written_schema};
use super::spool::Spool;
use super::{Context, Setting, SinkKind, required};
use crate::format::json;
use crate::point;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "redis",
    help: "a hash of Redis, rows as JSON",
    file_kind: "jsonl",
    settings: &[
        Setting { name: "url", help: "the address of the server", is_required: true, is_built: true },
        Setting { name: "key", help: "the key of the hash", is_required: true, is_built: true },
    ],
    check: |plan| RedisSink::new(plan, &Context::default()).map(|_| ()),
    probe: |plan| RedisSink::new(plan, &Context::default()).and_then(|sink| sink.probe()),
    open: |plan, context| Ok(Box::new(Once::new(RedisSink::new(plan, context)?, context))),
    folder: super::no_folder,
};

/// How long to wait for a server to take a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes that go into the staged list by one command.
const PIECE: usize = 1 << 20;

/// Seconds after which staged rows that nobody publishes are forgotten.
const STAGED_SECONDS: i64 = 3600;

/// Characters of the key at most.
const KEY_SIZE: usize = 200;

struct RedisSink {
    client: Client,
    /// The server, for messages: the URL may hold a password.
    shown: String,
    key: String,
    schema: SchemaRef,
    /// Indexes of the columns that name a row.
    identity: Vec<usize>,
    pipeline: String,
    sink: String,
    turn: Turn,
    stop: Arc<AtomicBool>,
    connection: Option<Connection>,
    staged: Staged,
    staged_open: Staged,
    /// Whether there may be open rows to replace; for a run over a range, the names of its own.
    has_open: bool,
    own_open: BTreeSet<Vec<u8>>,
}

/// Rows that wait for a commit: name and value.
#[derive(Default)]
struct Staged {
    rows: Spool,
    count: u64,
}

/// Why something did not happen.
enum Trouble {
    Server(RedisError),
    Ours(Error),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Trouble {
    /// Returns true when the same may go well a little later: the connection broke, the server loads its data or is busy.
    fn may_pass(&self) -> bool {
        const PASSING: &[&str] = &["LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "READONLY", "CLUSTERDOWN"];
        match self {
            Self::Server(error) => error.is_io_error() || error.code().is_some_and(|code| PASSING.contains(&code)),
            Self::Ours(_) => false,
        }
    }
}

impl RedisSink {
    fn new(plan: &SinkPlan, context: &Context) -> Result<Self> {
        let refused = |message: &str| Error::new(Code::Field, format!("sink `{}`: {message}", plan.name));
        let unreadable = || {
            refused("the `url` cannot be read").help(
                "it is `redis://USER:PASSWORD@HOST:PORT/DATABASE`; special characters in user and password are percent-encoded",
            )
        };
        let url = required(plan, "url")?;
        if url.starts_with("rediss://") || url.starts_with("valkeys://") {
            let message = format!("sink `{}`: TLS to Redis is not supported", plan.name);
            return Err(
                Error::new(Code::Unsupported, message).help("let a tunnel such as stunnel encrypt the connection")
            );
        }
        let client = Client::open(url).map_err(|_| unreadable())?;
        let shown = match client.get_connection_info().addr() {
            // A `@` in a password that is not encoded makes a part of it look like a host, which would be shown.
            ConnectionAddr::Tcp(host, port)
                if host.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c)) =>
            {
                format!("{host}:{port}")
            }
            ConnectionAddr::Unix(path) => path.display().to_string(),
            _ => return Err(unreadable()),
        };
        let key = required(plan, "key")?;
        if key.len() > KEY_SIZE || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)) {
            return Err(refused("`key` is not a plain name")
                .help("it has letters, digits, `_`, `-`, `.` and `:`, and up to 200 of them"));
        }
        let schema = written_schema(plan);
        let identity =
            plan.identity.iter().map(|name| schema.index_of(name).map_err(|_| refused("its rows lost their names")));
        Ok(Self {
            client,
            shown,
            key: key.to_string(),
            identity: identity.collect::<Result<_>>()?,
            schema,
            pipeline: context.pipeline.clone(),
            sink: plan.name.clone(),
            turn: Turn::new(),
            stop: context.stop.clone(),
            connection: None,
            staged: Staged::default(),
            staged_open: Staged::default(),
            has_open: true,
            own_open: BTreeSet::new(),
        })
    }

    fn beside(&self, what: &str) -> String {
        format!("{{{}}}:{what}", self.key)
    }

    fn staged_key(&self) -> String {
        self.beside(&format!("staged:{}", self.turn.owner))
    }

    fn connect(&self) -> Result<Connection, Trouble> {
        let connection = self.client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(connection)
    }

    fn explain(&self, trouble: Trouble) -> Error {
        let error = match trouble {
            Trouble::Ours(error) => return error,
            Trouble::Server(error) => error,
        };
        let mut text = error.to_string();
        if let Some(detail) = error.detail().filter(|detail| !text.contains(detail)) {
            text = format!("{text}: {detail}");
        }
        let said = Error::new(Code::Database, format!("Redis at {}: {text}", self.shown));
        match error.code() {
            Some("WRONGPASS" | "NOAUTH") => {
                said.help("check user and password in the variable that the `url` comes from")
            }
            Some("NOPERM") => said.help(format!(
                "the user needs all commands on `{}` and on keys that begin with `{{{}}}:`",
                self.key, self.key
            )),
            Some("OOM") => said.help("give the server more memory (`maxmemory`); the sink goes on from there"),
            Some("WRONGTYPE") => said.help("the key holds something that is no hash: name another `key`"),
            _ if text.contains("Password authentication failed") || text.contains("AuthenticationFailed") => {
                said.help("check user and password in the variable that the `url` comes from")
            }
            _ => said.help("check that the server runs and that host and port of the `url` are right"),
        }
    }

    fn probe(&self) -> Result<()> {
        let ask = || -> Result<(), Trouble> {
            let found: String = redis::cmd("TYPE").arg(&self.key).query(&mut self.connect()?)?;
            match found.as_str() {
                "none" | "hash" => Ok(()),
                other => {
                    let message = format!("the key {} holds a {other} and no hash", self.key);
                    Err(Error::new(Code::Target, message).help("name another `key`").into())
                }
            }
        };
        ask().map_err(|trouble| self.explain(trouble))
    }

    /// Asks for the key; returns what was found of it.
    fn take(&self, connection: &mut Connection, how: &str) -> Result<Vec<String>, Trouble> {
        let script = Script::new(include_str!("redis/take.lua"));
        let mut call = script.prepare_invoke();
        call.key(&self.key).key(self.beside("samestream"));
        call.arg(&self.pipeline).arg(&self.sink).arg(&self.turn.owner).arg(how).arg(self.beside("staged:"));
        Ok(call.invoke(connection)?)
    }

    fn begin_with(&mut self) -> Result<Held, Trouble> {
        let mut connection = self.connect()?;
        let how = if self.turn.is_taken { self.turn.owner.clone() } else { "begin".to_string() };
        let found = self.take(&mut connection, &how)?;
        let refused = |message: String, help: &str| -> Result<Held, Trouble> {
            Err(Error::new(Code::Target, message).help(help).into())
        };
        match found[0].as_str() {
            "ours" => {}
            "fenced" => return Err(self.overtaken().into()),
            "held" => {
                return refused(
                    format!("the key {} belongs to the sink `{}` of `{}`", self.key, found[2], found[1]),
                    "give each sink a key of its own; a key that is to change hands is deleted first, with those beside it",
                );
            }
            _ => {
                let message = format!("the key {} holds fields that no sink wrote", self.key);
                return refused(message, "delete it, or name another `key`");
            }
        }
        self.turn.commits = found[5].parse().unwrap_or(0);
        self.connection = Some(connection);
        Ok(held(&found))
    }

    fn overtaken(&self) -> Error {
        overtaken(&format!("the key {}", self.key))
    }

    /// Returns the names of the rows whose window starts in the range.
    fn in_range(&self, connection: &mut Connection, range: &WindowRange) -> Result<Vec<Vec<u8>>, Trouble> {
        let mut names = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, fields): (u64, Vec<Vec<u8>>) =
                redis::cmd("HSCAN").arg(&self.key).arg(cursor).arg("COUNT").arg(1000).query(connection)?;
            for pair in fields.chunks_exact(2) {
                let start = window_start(&pair[1]).ok_or_else(|| {
                    Error::new(Code::Target, format!("rows of the key {} have no `window_start`", self.key))
                        .help("a range can be replaced only where rows say in which window they are: select it, or run without --from and --to")
                })?;
                if range.contains(start) {
                    names.push(pair[0].clone());
                }
            }
            cursor = next;
            if cursor == 0 {
                // A scan may show a field twice.
                names.sort();
                names.dedup();
                return Ok(names);
            }
        }
    }

    fn try_publish(&mut self, commit: &Commit) -> Result<(), Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let withdrawn = match (&commit.range, commit.first) {
            (Some(range), Some(_)) => self.in_range(&mut connection, range)?,
            (Some(_), None) => self.own_open.iter().cloned().collect(),
            (None, _) => Vec::new(),
        };
        let mut pieces =
            Pieces { key: self.staged_key(), command: redis::Cmd::new(), size: 0, connection: &mut connection };
        pieces.begin()?;
        for name in &withdrawn {
            pieces.add(b"d", name, b"")?;
        }
        for (kind, staged) in [(b"f", &mut self.staged), (b"o", &mut self.staged_open)] {
            let mut sent = Ok(());
            staged.rows.each(|name, row| {
                if sent.is_ok() {
                    sent = pieces.add(kind, name, row);
                }
                Ok(())
            })?;
            sent?;
        }
        pieces.send()?;
        point!("redis.sent");
        let script = Script::new(include_str!("redis/publish.lua"));
        let answer: Vec<String> = self.call(&script, commit, withdrawn.len() as u64).invoke(&mut connection)?;
        point!("redis.published", RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset)).into());
        let what = match answer[0].as_str() {
            "done" => Found::Done,
            "short" => return Err(Error::new(Code::Database, "Redis has lost rows on their way; start again").into()),
            _ => {
                let found = answer.get(1).zip(answer.get(2));
                self.turn.judge(found.map(|(owner, commits)| (owner.as_str(), commits.parse().unwrap_or(0))))
            }
        };
        match what {
            Found::Done => {
                self.connection = Some(connection);
                Ok(())
            }
            Found::Overtaken => Err(self.overtaken().into()),
            Found::NotDone | Found::Gone => {
                let message = format!("Redis at {} has lost epochs that it had acknowledged", self.shown);
                Err(Error::new(Code::Database, message)
                    .help("start again: what is missing is published from the checkpoints; `appendfsync always` keeps Redis from losing it")
                    .into())
            }
        }
    }

    fn call<'a>(&self, script: &'a Script, commit: &Commit, withdrawn: u64) -> ScriptInvocation<'a> {
        let replace = match (commit.first, &commit.range) {
            (_, Some(_)) => "nothing",
            (Some(Replace::All), None) => "all",
            _ => "open",
        };
        let (job, epoch) = match &commit.mark {
            None => ("", String::new()),
            Some(Mark { job: None, .. }) => ("", "-".to_string()),
            Some(Mark { job: Some(job), epoch, .. }) => (job.as_str(), epoch.to_string()),
        };
        let mut call = script.prepare_invoke();
        call.key(&self.key).key(self.beside("samestream")).key(self.beside("open")).key(self.staged_key());
        call.arg(&self.turn.owner)
            .arg(self.turn.commits)
            .arg(withdrawn + self.staged.count + self.staged_open.count)
            .arg(replace);
        call.arg(job).arg(epoch);
        call
    }
}

/// Reads when a row's window starts, in microseconds.
fn window_start(row: &[u8]) -> Option<i64> {
    let row: serde_json::Value = serde_json::from_slice(row).ok()?;
    Some(chrono::DateTime::parse_from_rfc3339(row.get(WINDOW_START)?.as_str()?).ok()?.timestamp_micros())
}

/// Entries on their way into the staged list.
struct Pieces<'a> {
    key: String,
    command: redis::Cmd,
    size: usize,
    connection: &'a mut Connection,
}

impl Pieces<'_> {
    fn begin(&mut self) -> Result<(), Trouble> {
        // What an attempt before has left.
        Ok(self.connection.unlink::<_, ()>(&self.key)?)
    }

    fn add(&mut self, kind: &[u8; 1], name: &[u8], row: &[u8]) -> Result<(), Trouble> {
        if self.size == 0 {
            self.command = redis::cmd("RPUSH");
            self.command.arg(&self.key);
        }
        self.command.arg(kind.as_slice()).arg(name).arg(row);
        self.size += name.len() + row.len() + 1;
        if self.size >= PIECE { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Trouble> {
        if self.size > 0 {
            self.size = 0;
            self.command.query::<()>(self.connection)?;
            self.connection.expire::<_, ()>(&self.key, STAGED_SECONDS)?;
        }
        Ok(())
    }
}

impl Place for RedisSink {
    fn held(&mut self) -> Result<Held> {
        let ask = || self.take(&mut self.connect()?, "ask");
        let found = ask().map_err(|trouble| self.explain(trouble))?;
        self.turn.is_taken = found[0] == "ours";
        Ok(held(&found))
    }

    fn seen(&mut self) -> Result<Held> {
        let ask = || -> Result<Option<String>, Trouble> {
            Ok(redis::cmd("HGET").arg(self.beside("samestream")).arg("job").query(&mut self.connect()?)?)
        };
        let job = ask().map_err(|trouble| self.explain(trouble))?;
        Ok(job.map_or(Held::Nothing, |job| Held::Rows(Mark { job: Some(job), epoch: 0, settled: None })))
    }

    fn begin(&mut self, _: Replace) -> Result<Held> {
        if self.identity.is_empty() {
            let message = "a `redis` sink writes rows over each other, but these have lost what names them";
            return Err(Error::new(Code::Field, message));
        }
        self.begin_with().map_err(|trouble| self.explain(trouble))
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let names = rows.project(&self.identity).expect("indexes come from the schema");
        let staged = if is_open { &mut self.staged_open } else { &mut self.staged };
        let (mut name, mut value) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            name.clear();
            value.clear();
            json::write_row(&names, row, &mut name);
            json::write_row(&rows, row, &mut value);
            staged.rows.push(&name, &value)?;
        }
        staged.count += rows.num_rows() as u64;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.staged.count == 0 && self.staged_open.count == 0 && !self.has_open
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let stop = self.stop.clone();
        patiently(&stop, self.describe(), || {
            self.try_publish(commit).map_err(|trouble| {
                let may_pass = trouble.may_pass();
                (self.explain(trouble), may_pass)
            })
        })?;
        self.turn.commits += 1;
        self.has_open = self.staged_open.count > 0;
        self.own_open.clear();
        if commit.range.is_some() {
            self.staged_open.rows.each(|name, _| Ok(_ = self.own_open.insert(name.to_vec())))?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = (Staged::default(), Staged::default());
    }

    fn describe(&self) -> String {
        format!("key {} of Redis", self.key)
    }
}

/// Returns what the key holds, of the answer to being taken.
fn held(found: &[String]) -> Held {
    // Somebody has taken rows away or added some: then it is not what was published.
    let is_whole = found[6] == found[7];
    match found[4].parse() {
        Ok(epoch) if found[0] == "ours" && is_whole => {
            Held::Rows(Mark { job: Some(found[3].clone()), epoch, settled: None })
        }
        _ => Held::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::plan;

    #[test]
    fn a_wrong_address_or_key_is_refused_and_shows_nothing() {
        let good = ("redis://u:p@h:1/0", "a.b:c-d_1");
        let open =
            |url: &str, key: &str| RedisSink::new(&plan("redis", &[("url", url), ("key", key)]), &Context::default());
        assert!(open(good.0, good.1).is_ok());
        for url in ["SECRET", "http://SECRET@h", "redis://u:SECRET@h:x", "redis://u:SECRET@h/x"] {
            let error = open(url, good.1).map(|_| ()).unwrap_err();
            assert!(error.code == Code::Field && !error.to_string().contains("SECRET"), "{url}: {error}");
        }
        assert_eq!(open("rediss://u:p@h", good.1).map(|_| ()).unwrap_err().code, Code::Unsupported);
        for key in ["", "a b", "{a}", "a\nb", "ä", "a'b", &"x".repeat(201)] {
            assert_eq!(open(good.0, key).map(|_| ()).unwrap_err().code, Code::Field, "{key:?}");
        }
    }
}
