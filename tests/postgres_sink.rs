//! Rows in PostgreSQL, as `psql` reads them: the same as those of files, each once, whatever happens on the way.
//!
//! Ignored without a server: `eval "$(tests/services/postgres.sh start)"`, then `cargo test postgres -- --include-ignored`.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{PIPELINE, newest_checkpoint, project};

/// A database of its own on the server.
struct Database {
    server: String,
    name: String,
}

impl Database {
    fn new(name: &str) -> Self {
        let server = std::env::var("SAMESTREAM_TEST_POSTGRES").expect("SAMESTREAM_TEST_POSTGRES names a server");
        Self::on(server, name)
    }

    fn on(server: String, name: &str) -> Self {
        let database = Self { server, name: format!("t_{name}_{}", std::process::id()) };
        sql(&database.server, &format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database.name));
        database
    }

    fn url(&self) -> String {
        format!("{}/{}", self.server.rsplit_once('/').unwrap().0, self.name)
    }

    fn sql(&self, statement: &str) -> String {
        sql(&self.url(), statement)
    }

    /// Returns the rows of a table as sorted lines of JSON in which equal values have equal texts.
    fn rows(&self, table: &str) -> Vec<String> {
        let columns = self.sql(&format!(
            "SELECT column_name || '=' || data_type FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        ));
        let items = columns.lines().map(|line| {
            let (name, data_type) = line.rsplit_once('=').unwrap();
            let value = match data_type {
                "timestamp with time zone" => {
                    format!(r#"to_char("{name}" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
                }
                "numeric" => format!("\"{name}\"::text"),
                "bytea" => format!("encode(\"{name}\", 'base64')"),
                _ => format!("\"{name}\""),
            };
            format!("'{name}', {value}")
        });
        let object = items.collect::<Vec<_>>().join(", ");
        // Not a plain SELECT: psql does not print every character. What surrounds the JSON is not in it.
        let copy = format!(
            "COPY (SELECT json_build_object({object}) FROM \"{table}\") TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
        );
        canonical(&self.sql(&copy))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nobody asks what became of it when a test has gone wrong.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = Command::new("psql").args([&self.server, "-qc", &drop]).output();
    }
}

fn sql(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args(["-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", statement]).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", stderr(&output));
    stdout(&output)
}

/// Returns lines of JSON, sorted, in which equal values have equal texts.
pub(crate) fn canonical(lines: &str) -> Vec<String> {
    fn plain(value: &Value) -> Value {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Value::String(integer.to_string()),
                None => {
                    let float = number.as_f64().unwrap();
                    let is_whole = float.fract() == 0.0 && float.abs() < 9e15;
                    Value::String(if is_whole { format!("{float:.0}") } else { format!("{float:?}") })
                }
            },
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(fields.into_iter().collect())
            }
            other => other.clone(),
        }
    }
    let mut rows: Vec<String> =
        lines.lines().map(|line| plain(&serde_json::from_str(line).expect(line)).to_string()).collect();
    rows.sort();
    rows
}

/// Reads a single file of JSON lines.
pub(crate) fn file(path: impl AsRef<Path>) -> Vec<String> {
    canonical(&std::fs::read_to_string(path).unwrap())
}

/// The sinks of `restart::PIPELINE`, each in a table.
pub(crate) const TABLES: [&str; 6] = ["per_page", "shadow", "visits", "bought", "hot", "late"];

/// Replaces the kinds of its sinks; `to` makes one from a sink's name, or nothing.
pub(crate) fn with_sinks(to: impl Fn(&str) -> String) -> String {
    let (before, _) = PIPELINE.split_once("sinks:\n").unwrap();
    let from = |name: &str| if name == "late" { "per_page.late".to_string() } else { name.to_string() };
    let early = |name: &str| if name == "hot" { "emit: early, " } else { "" };
    let sinks = TABLES.map(|name| match to(name) {
        kind if kind.is_empty() => kind,
        kind => format!("  {name}: {{from: {}, {}{kind}}}\n", from(name), early(name)),
    });
    format!("{before}vars: {{DATABASE_URL: {{secret: true, default: unset}}}}\nsinks:\n{}", sinks.concat())
}

fn to_table(name: &str) -> String {
    format!("postgres: {{url: \"${{DATABASE_URL}}\", table: {name}}}")
}

pub(crate) fn to_file(name: &str) -> String {
    format!("jsonl: {{path: expected/{name}.jsonl}}")
}

pub(crate) fn run(folder: &Path, url: &str, line: &str) -> Output {
    samestream(folder).env("DATABASE_URL", url).args(line.split_whitespace()).output().unwrap()
}

pub(crate) fn ok(folder: &Path, url: &str, line: &str) {
    let output = run(folder, url, line);
    assert!(output.status.success(), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
}

/// Checks that a run ends with a code and says these words.
pub(crate) fn refused(output: &Output, exit: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(exit), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

pub(crate) fn start(folder: &Path, url: &str, more: &[&str]) -> Child {
    let line = ["run", "clicks.yaml", "--mode", "stream", "--checkpoint-every", "20ms"];
    let mut command = samestream(folder);
    command.env("DATABASE_URL", url).args(line).args(more).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn must_be_equal(at: &Path, database: &Database) {
    std::fs::write(at.join("files.yaml"), with_sinks(to_file)).unwrap();
    ok(at, "unset", "run files.yaml --mode batch --state-dir .other");
    for table in TABLES {
        let (here, there) = (database.rows(table), file(at.join(format!("expected/{table}.jsonl"))));
        assert!(!there.is_empty(), "{table} has rows");
        let first = here.iter().zip(&there).find(|(a, b)| a != b);
        assert!(here == there, "{table}: {} rows and {} in files, first {first:?}", here.len(), there.len());
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_killed_stream_gives_postgres_every_row_once() {
    let database = Database::new("killed");
    let folder = project(120_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(to_table)).unwrap();
    let (mut fresh, mut last) = (0, None);
    for cycle in 0..5u64 {
        let mut child = start(at, &database.url(), &[]);
        wait_for("a checkpoint", || newest_checkpoint(at) != last);
        std::thread::sleep(Duration::from_millis(cycle * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = newest_checkpoint(at);
        fresh += u32::from(now != last);
        last = now;
    }
    assert!(fresh >= 4, "only {fresh} of 5 starts found a newer checkpoint than the last");
    ok(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up");
    must_be_equal(at, &database);
    // Another run finds nothing new and changes nothing.
    ok(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up");
    must_be_equal(at, &database);
    // Batch replaces all rows by the same, and the stream, which then no longer knows what is there, says so.
    ok(at, &database.url(), "run clicks.yaml --mode batch --state-dir .batch");
    must_be_equal(at, &database);
    (0..2).for_each(|_| _ = run(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up"));
    ok(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up --fresh");
    must_be_equal(at, &database);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_stream_survives_restarts_of_postgres() {
    // A server of its own: others do not like to be restarted.
    let scratch = tempfile::tempdir().unwrap();
    let port = 1 + std::env::var("PG_PORT").ok().and_then(|port| port.parse::<u16>().ok()).unwrap_or(15_432);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/postgres.sh");
    let service = |word: &str| {
        let mut command = Command::new(&script);
        command.arg(word).env("PG_PORT", port.to_string());
        // A short path: the socket's is limited.
        let state = format!("{}/samestream-postgres-restarts-{port}", std::env::temp_dir().display());
        let output = command.env("PG_STATE", state).stderr(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "postgres.sh {word}");
        stdout(&output)
    };
    struct Wipe<F: Fn()>(F);
    impl<F: Fn()> Drop for Wipe<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let text = service("start");
    let _wipe = Wipe(|| _ = service("wipe"));
    let url = text.lines().find_map(|line| line.strip_prefix("export SAMESTREAM_TEST_POSTGRES=")).unwrap();
    let database = Database::on(url.to_string(), "restarts");
    let folder = project(40_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(to_table)).unwrap();
    let mut child = start(at, &database.url(), &["--until-caught-up"]);
    let mut restarts = 0;
    wait_for("the tables", || child.try_wait().unwrap().is_some() || newest_checkpoint(at).is_some());
    while child.try_wait().unwrap().is_none() && restarts < 3 {
        service("restart");
        restarts += 1;
        std::thread::sleep(Duration::from_millis(700));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(restarts >= 1, "the run was over before the first restart");
    must_be_equal(at, &database);
    drop(scratch);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn of_two_runs_the_older_is_fenced_by_postgres() {
    let database = Database::new("two");
    let folder = project(30_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(to_table)).unwrap();
    let mut older = start(at, &database.url(), &[]);
    wait_for("rows", || {
        newest_checkpoint(at).is_some() && {
            let tables = database.sql("SELECT count(*) FROM pg_class WHERE relname = '_samestream_epochs'");
            tables.trim() == "1"
                && database.sql("SELECT count(*) FROM _samestream_epochs WHERE epoch > 0").trim() == "6"
        }
    });
    // The older one stands still, as a process on a machine that was cut off, while a newer one goes on from a copy of its
    // checkpoints.
    let signal = |name: &str, id: u32| {
        let sent = Command::new("kill").args([name, &id.to_string()]).status().unwrap();
        assert!(sent.success());
    };
    signal("-STOP", older.id());
    let copied = Command::new("cp").args(["-r", ".samestream", ".newer"]).current_dir(at).status().unwrap();
    assert!(copied.success());
    ok(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up --state-dir .newer");
    must_be_equal(at, &database);
    signal("-CONT", older.id());
    // It has something to publish again, if it had not.
    let later = r#"{"event_id":"last","user_id":1,"page":"/last","event_time":"2030-01-01T00:00:00Z"}"#;
    std::fs::write(at.join("later.jsonl"), format!("{later}\n").repeat(8)).unwrap();
    ok(at, "unset", "append log later.jsonl");
    // A checkpoint that took long – it may have stood still in one – is followed by a long pause; one that is to end makes one.
    std::thread::sleep(Duration::from_millis(1500));
    if older.try_wait().unwrap().is_none() {
        signal("-TERM", older.id());
    }
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", "only the newest"]);
}

pub(crate) const SHOP: &str = r#"version: 1
name: shop
vars: {DATABASE_URL: {secret: true, default: unset}}
sources:
  orders:
    journal: {path: orders}
    schema: {id: string!, item: string, n: int64, price: float64, cost: "decimal(20,4)", raw: binary, day: date, tags: list<string>, more: json, ok: bool, small: int32, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10s}
steps:
  all: {from: orders}
  per_item: {from: orders, window: {tumbling: {size: 1m}}, group_by: [item], aggregate: {n: "sum(n)", price: "max(price)", cost: "sum(cost)"}}
  lost: {from: orders, window: {tumbling: {size: 1m}}, group_by: [item], aggregate: {n: "sum(n)"}}
sinks:
  all: {from: all, postgres: {url: "${DATABASE_URL}", table: public.all_orders}}
  all_file: {from: all, jsonl: {path: out/all_orders.jsonl}}
  per_item: {from: per_item, postgres: {url: "${DATABASE_URL}", table: per_item}}
  per_item_file: {from: per_item, jsonl: {path: out/per_item.jsonl}}
  lost: {from: lost, select: [n], postgres: {url: "${DATABASE_URL}", table: lost}}
  lost_file: {from: lost, select: [n], jsonl: {path: out/lost.jsonl}}
"#;

/// A project with the orders, a line of JSON each.
pub(crate) fn shop(orders: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
    add(folder.path(), orders);
    folder
}

pub(crate) fn add(at: &Path, orders: &[String]) {
    std::fs::write(at.join("orders.jsonl"), orders.join("\n") + "\n").unwrap();
    let line = ["append", "orders", "orders.jsonl"];
    let output = samestream(at).args(line).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

pub(crate) fn order(minute: u32, item: &str, rest: &str) -> String {
    let item = Value::from(item);
    format!(r#"{{"id":"{minute}","item":{item},"n":{minute},"at":"2026-01-01T00:{minute:02}:00.123456Z"{rest}}}"#)
}

fn must_be_as_files(at: &Path, database: &Database) {
    for table in ["all_orders", "per_item", "lost"] {
        assert_eq!(database.rows(table), file(at.join(format!("out/{table}.jsonl"))), "{table}");
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn values_of_every_type_are_in_postgres_what_they_are_in_files() {
    let database = Database::new("types");
    let rest = [
        r#","price":"NaN","cost":"-0.0001","raw":"AAEC/w==","day":"0001-01-01","tags":["a",null,"\"\\b\n{}"],"more":{"b":[1,2.50,"x"],"a":null},"ok":true,"small":-2147483648"#,
        r#","price":"Infinity","cost":"9999999999999999.9999","raw":"","day":"9999-12-31","tags":[],"more":"\\u0000 is text","ok":false"#,
        r#","price":"-Infinity","cost":10000,"more":[]"#,
        r#","price":5e-324,"cost":"0.0000","more":0.1"#,
        r#","price":1.7976931348623157e308"#,
        r#","price":0.1"#,
        "",
    ];
    let items = ["a", "", " ", "ü\u{10ffff}", "\\N", "\t\n\r\\.", "null"];
    let mut orders: Vec<String> =
        rest.iter().zip(items).zip(1..).map(|((rest, item), minute)| order(minute, item, rest)).collect();
    orders.push(r#"{"id":"x","at":"2026-01-01T00:09:00Z"}"#.into());
    orders.push(r#"{"id":"z","n":-9223372036854775808,"item":"least","at":"2026-01-01T00:09:30Z"}"#.into());
    orders.push(r#"{"id":"y","at":"2026-01-01T00:30:00Z","n":1}"#.into());
    let folder = shop(&orders);
    let at = folder.path();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    assert_eq!(database.rows("all_orders").len(), 10);
    must_be_as_files(at, &database);
    assert_eq!(database.sql("SELECT count(*) FROM per_item WHERE item IS NULL AND NOT final").trim(), "1");
    // Columns have the types that hold them exactly, and rows are found by their identity.
    let types = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'all_orders'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(
        database.sql(types).lines().collect::<Vec<_>>(),
        [
            "integer",
            "bigint",
            "text",
            "text",
            "bigint",
            "double precision",
            "numeric(20,4)",
            "bytea",
            "date",
            "jsonb",
            "jsonb",
            "boolean",
            "integer",
            "timestamp with time zone",
            "boolean"
        ]
    );
    let key = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indisunique AND indrelid = 'per_item'::regclass";
    assert!(database.sql(key).contains("(window_start, window_end, item) NULLS NOT DISTINCT"));
    // A stream over the same log goes on with the tables of batch and then from its own checkpoints, in pieces.
    ok(at, &database.url(), "run shop.yaml --mode stream --until-caught-up");
    must_be_as_files(at, &database);
    for minute in 31..36 {
        add(at, &[order(minute, "late comer", "")]);
        ok(at, &database.url(), "run shop.yaml --mode stream --until-caught-up");
        must_be_as_files(at, &database);
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_range_replaces_its_rows_in_postgres_and_no_others() {
    let database = Database::new("range");
    let orders: Vec<String> = (0..20).map(|minute| order(minute, "a", "")).collect();
    let folder = shop(&orders);
    let at = folder.path();
    let text = SHOP.split("  lost: {from: lost, select").next().unwrap();
    let text = text.lines().filter(|line| !line.contains("{from: all, ")).collect::<Vec<_>>().join("\n");
    std::fs::write(at.join("shop.yaml"), text).unwrap();
    let same = |at: &Path| assert_eq!(database.rows("per_item"), file(at.join("out/per_item.jsonl")));
    ok(at, &database.url(), "run shop.yaml --mode batch --end orders:0=15");
    let before = database.rows("per_item");
    for range in [
        "--from 2026-01-01T00:05:00Z --to 2026-01-01T00:17:00Z",
        "--from 2026-01-01T00:18:00Z",
        "--to 2026-01-01T00:03:00Z",
    ] {
        ok(at, &database.url(), &format!("run shop.yaml --mode batch {range}"));
        same(at);
    }
    assert_ne!(database.rows("per_item"), before);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn readers_of_postgres_see_whole_runs_only() {
    let database = Database::new("readers");
    let orders: Vec<String> = (0..3000).map(|i| order(i % 60, &format!("item {i}"), "")).collect();
    let folder = shop(&orders);
    let at = folder.path();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seen.insert(database.sql("SELECT count(*), sum(n) FROM all_orders"));
                looks += 1;
            }
            assert!(looks > 10, "the reader looked {looks} times");
            seen
        });
        (0..4).for_each(|_| ok(at, &database.url(), "run shop.yaml --mode batch"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["3000|88500\n"]);
}

/// Texts that break out of whatever builds statements or lines of text; at least a thousand.
pub(crate) fn hostile() -> Vec<String> {
    let seeds = [
        "'; DROP TABLE per_item; --",
        "\"; DROP TABLE \"per_item\"; --",
        "' OR '1'='1",
        "\\'; SELECT 1; --",
        "$$; DROP SCHEMA public CASCADE; $$",
        "\\.",
        "\\N",
        "\\\\",
        "\t",
        "\n",
        "\r\n",
        "\u{8}",
        "\u{1b}[31m",
        "%s%n%x",
        "${DATABASE_URL}",
        "{{7*7}}",
        "<script>",
        "../../etc/passwd",
        "NULL",
        "null",
        "NaN",
        "''",
        "\"\"",
        "`id`",
        "$(id)",
        "| id",
        "/*",
        "*/",
        "--",
        "#",
        ";",
        "{",
        "}",
        "{0}:x",
        "\u{202e}abc",
        "\u{feff}",
        "é",
        "\u{1f600}",
        "\u{10ffff}",
        "a\u{301}",
        "EVAL \"return 1\" 0",
        "\r\nFLUSHALL\r\n",
        "*1\r\n$8\r\nFLUSHALL\r\n",
    ];
    let mut texts: Vec<String> = Vec::new();
    for seed in seeds {
        texts.push(seed.to_string());
        texts.extend((0..8).map(|n| format!("{}{seed}", "x'\"\\;-{\n".chars().take(n + 1).collect::<String>())));
        texts.extend((0..8).map(|n| format!("{seed}{}", "\\'\"\\;-}\n".chars().take(n + 1).collect::<String>())));
        texts.extend((2..10).map(|n| seed.repeat(n)));
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() >= 1000, "{} texts", texts.len());
    texts
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn hostile_texts_are_values_in_postgres_and_nothing_else() {
    let database = Database::new("hostile");
    let texts = hostile();
    let orders: Vec<String> = texts.iter().map(|text| order(1, text, "")).collect();
    let folder = shop(&orders);
    let at = folder.path();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    must_be_as_files(at, &database);
    let mut there: Vec<String> = database
        .sql("SELECT encode(convert_to(item, 'UTF8'), 'hex') FROM per_item")
        .lines()
        .map(|hex| {
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            String::from_utf8(bytes.collect()).unwrap()
        })
        .collect();
    there.sort();
    assert_eq!(there, texts);
    let tables = database
        .sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1");
    assert_eq!(tables.lines().collect::<Vec<_>>(), ["_samestream_epochs", "all_orders", "lost", "per_item"]);
    // As names they are refused, before anything is asked of the server.
    let is_plain = |text: &&String| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    for text in texts.iter().step_by(40).filter(|text| !is_plain(text)) {
        let quoted = Value::from(text.replace("${DATABASE_URL}", "")).to_string();
        std::fs::write(at.join("other.yaml"), SHOP.replace("table: per_item", &format!("table: {quoted}"))).unwrap();
        assert_eq!(run(at, &database.url(), "validate other.yaml").status.code(), Some(2), "{text:?} as a table");
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn what_postgres_cannot_take_is_refused_with_a_way_on() {
    let database = Database::new("refused");
    let url = database.url();
    let folder = shop(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let batch = "run shop.yaml --mode batch";
    let online = |url: &str| run(at, url, "validate shop.yaml --online");
    // The way to the server.
    let (before, after) = url.split_once("samestream-test@").unwrap();
    let wrong = format!("{before}WRONG-PASSWORD@{after}");
    for output in [online(&wrong), run(at, &wrong, batch)] {
        refused(&output, 4, &["E_DATABASE", "password authentication failed", "check user and password"]);
        assert!(!stderr(&output).contains("WRONG-PASSWORD"));
    }
    let missing = format!("{}_missing", database.url());
    for output in [online(&missing), run(at, &missing, batch)] {
        refused(&output, 4, &["E_DATABASE", "does not exist", "createdb"]);
    }
    refused(&online("postgres://u:p@127.0.0.1:1/x"), 4, &["E_DATABASE", "127.0.0.1:1", "check that the server runs"]);
    // Certificates.
    let ca = std::env::var("SAMESTREAM_TEST_POSTGRES_CA").unwrap();
    let verified = online(&format!("{url}?sslmode=verify-full&sslrootcert={ca}"));
    assert!(verified.status.success(), "{}", stderr(&verified));
    refused(&online(&format!("{url}?sslmode=verify-full")), 4, &["E_DATABASE", "certificate"]);
    assert!(online(&format!("{url}?sslmode=require")).status.success());
    // A table that is not there and not to be made, one of other columns, one without a key, one with rows of others.
    let with_create = SHOP.replace("table: per_item}", "table: per_item, create: false}");
    std::fs::write(at.join("strict.yaml"), with_create).unwrap();
    refused(&run(at, &url, "run strict.yaml --mode batch"), 2, &["E_NOT_FOUND", "no table per_item", "CREATE TABLE"]);
    database.sql("CREATE TABLE per_item (window_start timestamptz, window_end timestamptz, item varchar(9), n bigint, price float8, cost numeric(38,4), later int, final boolean)");
    for output in [online(&url), run(at, &url, batch)] {
        refused(
            &output,
            2,
            &[
                "E_TARGET",
                "`item` is character varying(9) and should be text",
                "`later`, which the sink does not write",
            ],
        );
    }
    database.sql("ALTER TABLE per_item DROP COLUMN later, ALTER COLUMN item TYPE text");
    refused(&run(at, &url, batch), 2, &["E_TARGET", "no key", "UNIQUE NULLS NOT DISTINCT"]);
    database.sql("ALTER TABLE per_item ADD UNIQUE NULLS NOT DISTINCT (window_start, window_end, item); INSERT INTO per_item (n) VALUES (7)");
    refused(&run(at, &url, batch), 2, &["E_TARGET", "holds rows that no sink wrote"]);
    assert_eq!(database.sql("SELECT n FROM per_item").trim(), "7");
    database.sql("DELETE FROM per_item");
    ok(at, &url, "run strict.yaml --mode batch");
    must_be_as_files(at, &database);
    // The table of another pipeline.
    std::fs::write(at.join("another.yaml"), SHOP.replace("name: shop", "name: another")).unwrap();
    refused(&run(at, &url, "run another.yaml --mode batch"), 2, &["E_TARGET", "belongs to the sink", "`shop`"]);
    must_be_as_files(at, &database);
    // A value, and a table that was dropped under a stream.
    ok(at, &url, "run shop.yaml --mode stream --until-caught-up --fresh");
    (0..3).for_each(|minute| {
        add(at, &[order(10 + minute, "c", "")]);
        ok(at, &url, "run shop.yaml --mode stream --until-caught-up");
    });
    database.sql("DROP TABLE all_orders");
    refused(
        &run(at, &url, "run shop.yaml --mode stream --until-caught-up"),
        5,
        &["E_SINK_DIVERGED", "`all`", "--fresh"],
    );
    add(at, &[order(20, "a\0b", "")]);
    refused(&run(at, &url, batch), 3, &["E_OVERFLOW", "`item`", "NUL character", "`select`"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn the_password_of_postgres_is_shown_nowhere() {
    let database = Database::new("secret");
    let marker = "M4RK3R-s3cr3t";
    let role = format!("role_{}", std::process::id());
    database.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{marker}'; GRANT ALL ON SCHEMA public TO {role}"));
    let (scheme, rest) = database.url().split_once("://").map(|(a, b)| (a.to_string(), b.to_string())).unwrap();
    let host = rest.split_once('@').unwrap().1.to_string();
    let url = format!("{scheme}://{role}:{marker}@{host}");
    let folder = shop(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let urls = [
        url.clone(),
        format!("{scheme}://{role}:{marker}x@{host}"),
        format!("{scheme}://{role}:{marker}@127.0.0.1:1/x"),
        format!("{scheme}://{role}:{marker}@{marker}@127.0.0.1:1/x"),
        format!("{scheme}://{role}:{marker}@{host}?{marker}=1"),
        marker.to_string(),
    ];
    let lines = [
        "validate shop.yaml",
        "validate shop.yaml --online",
        "validate shop.yaml --format json",
        "plan shop.yaml",
        "plan shop.yaml --format json",
        "run shop.yaml --mode batch",
        "run shop.yaml --mode batch --format json",
        "run shop.yaml --mode stream --until-caught-up --fresh -v",
        "run shop.yaml --mode batch --summary summary.json",
    ];
    let mut said = 0;
    for url in &urls {
        for line in lines {
            let output = run(at, url, line);
            let text = stdout(&output) + &stderr(&output);
            assert!(!text.contains(marker), "`{line}` with {url}:\n{text}");
            said += text.len();
        }
    }
    assert!(said > 1000, "something was said");
    ok(at, &url, "run shop.yaml --mode batch");
    let found = Command::new("grep").args(["-rl", marker, "."]).current_dir(at).output().unwrap();
    assert_eq!(stdout(&found), "", "files that hold the password");
    // In the file itself it is refused.
    std::fs::write(at.join("plain.yaml"), SHOP.replace("${DATABASE_URL}", &url)).unwrap();
    let output = run(at, "unset", "validate plain.yaml");
    refused(&output, 2, &["E_FIELD", "a password stands in the `url`", "secret: true"]);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
