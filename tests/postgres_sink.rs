//! Rows in PostgreSQL, as `psql` reads them: the same as those of files, each once, whatever happens on the way.
//!
//! Ignored without a server: `eval "$(tests/services/postgres.sh start)"`, then `cargo test postgres -- --include-ignored`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::servers::{
    Server, Service, add, backfills_by_whole_chunks, canonical, fences_the_older, hostile, ok, order, refused,
    replaces_ranges, run, run_with_points, seen_by_readers, signal, start, survives_kills, survives_points,
    survives_restarts, wait_for,
};

/// A database of its own on the server.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn new(name: &str) -> Self {
        let server = std::env::var("SAMESTREAM_TEST_POSTGRES").expect("SAMESTREAM_TEST_POSTGRES names a server");
        Self::on(server, name)
    }

    fn on(server: String, name: &str) -> Self {
        let database = Self { server, name: format!("t_{name}_{}", std::process::id()) };
        sql(&database.server, &format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database.name));
        database
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        sql(&self.url(), statement)
    }
}

impl Server for Database {
    fn url(&self) -> String {
        format!("{}/{}", self.server.rsplit_once('/').unwrap().0, self.name)
    }

    fn sink(&self, name: &str) -> String {
        let name = if name == "all_orders" { "public.all_orders" } else { name };
        format!("postgres: {{url: \"${{DATABASE_URL}}\", table: {name}}}")
    }

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

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_killed_stream_gives_postgres_every_row_once() {
    let database = Database::new("killed");
    let folder = survives_kills(&database, 120_000);
    let at = folder.path();
    // Batch replaces all rows by the same, and the stream, which then no longer knows what is there, says so.
    ok(at, &database.url(), "run clicks.yaml --mode batch --state-dir .batch");
    database.must_be_equal(at);
    (0..2).for_each(|_| _ = run(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up"));
    ok(at, &database.url(), "run clicks.yaml --mode stream --until-caught-up --fresh");
    database.must_be_equal(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_stream_that_dies_at_every_point_gives_postgres_every_row_once() {
    let server = Database::new("points");
    let folder = server.clicks(60_000);
    let at = folder.path();
    survives_points("postgres", |points| run_with_points(&server, at, points), || server.must_be_equal(at));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_stream_survives_restarts_of_postgres() {
    let port = Service::next_port("PG_PORT", 15_432);
    // A short path: the socket's is limited.
    let state = format!("{}/samestream-postgres-restarts-{port}", std::env::temp_dir().display());
    let service = Service::start("postgres.sh", vec![("PG_PORT", port.to_string()), ("PG_STATE", state)]);
    let database = Database::on(service.variable("SAMESTREAM_TEST_POSTGRES"), "restarts");
    survives_restarts(&database, &service, Duration::from_millis(700));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_run_says_once_that_it_waits_for_postgres_and_once_that_it_is_back() {
    let port = 1 + Service::next_port("PG_PORT", 15_432);
    let state = format!("{}/samestream-postgres-away-{port}", std::env::temp_dir().display());
    let service = Service::start("postgres.sh", vec![("PG_PORT", port.to_string()), ("PG_STATE", state)]);
    let database = Database::on(service.variable("SAMESTREAM_TEST_POSTGRES"), "away");
    let folder = database.shop_with(&[order(1, "a", ""), order(9, "b", "")]);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), database.shop()).unwrap();
    let mut child = start(at, &database.url(), &[]);
    let rows = || database.sql("SELECT count(*) FROM all_orders").trim().parse::<u32>().unwrap();
    wait_for("the table", || database.sql("SELECT count(*) FROM pg_class WHERE relname = 'all_orders'").trim() == "1");
    wait_for("rows", || rows() == 2);
    service.call("stop");
    add(at, &[order(20, "c", "")]);
    std::thread::sleep(Duration::from_secs(3));
    service.call("start");
    wait_for("the row that came meanwhile", || rows() == 3);
    signal(&child, "-TERM");
    wait_for("the end", || child.try_wait().unwrap().is_some());
    let said = stderr(&child.wait_with_output().unwrap());
    let times = |words: &str| said.matches(words).count();
    // Rows of one table may be seen before those of the next are written: whichever is in need first waits.
    assert_eq!(times("warning[E_DATABASE]: waiting for table "), 1, "{said}");
    assert_eq!(times("help: it is tried for 5m 0s; meanwhile nothing is read and nothing is lost"), 1, "{said}");
    let waiting = said.split_once("waiting for table ").and_then(|(_, then)| then.split_once(": ")).expect("a table").0;
    assert_eq!(times(&format!("note: table {waiting} is back after ")), 1, "{said}");
    assert_eq!(times(" is back after "), 1, "{said}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_run_that_stands_still_in_a_copy_does_not_hold_up_postgres() {
    let database = Database::new("frozen");
    let more = format!(r#","more":"{}""#, "x".repeat(400));
    let orders: Vec<String> = (0..60_000).map(|i| order(i % 60, &format!("item {}", i % 7), &more)).collect();
    let folder = database.shop_with(&orders);
    let at = folder.path();
    // Two runs cannot write the same files.
    let alone = database.shop().lines().filter(|line| !line.contains("_file: {")).collect::<Vec<_>>().join("\n");
    std::fs::write(at.join("older.yaml"), alone).unwrap();
    let line = ["run", "older.yaml", "--mode", "batch", "--state-dir", ".older"];
    let mut older =
        samestream(at).env("DATABASE_URL", database.url()).args(line).stderr(Stdio::piped()).spawn().unwrap();
    let sessions = |more: &str| {
        let copying =
            "FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY %'";
        database.sql(&format!("SELECT count(*) {copying} {more}")).trim().to_string()
    };
    wait_for("the rows", || sessions("") == "1");
    signal(&older, "-STOP");
    wait_for("a session that waits for its process", || sessions("AND wait_event = 'ClientRead'") == "1");
    let begun = Instant::now();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    assert!(begun.elapsed() >= Duration::from_secs(10), "nothing was in the way");
    database.must_be_as_files(at);
    signal(&older, "-CONT");
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", "only the newest"]);
    database.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn of_two_runs_the_older_is_fenced_by_postgres() {
    let database = Database::new("two");
    fences_the_older(&database, 30_000, || {
        let tables = database.sql("SELECT count(*) FROM pg_class WHERE relname = '_samestream_epochs'");
        tables.trim() == "1" && database.sql("SELECT count(*) FROM _samestream_epochs WHERE epoch > 0").trim() == "6"
    });
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn a_range_replaces_its_rows_in_postgres_and_no_others() {
    replaces_ranges(&Database::new("range"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn readers_of_postgres_see_whole_chunks_of_a_backfill_only() {
    backfills_by_whole_chunks(&Database::new("chunks"), "postgres.rows");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn readers_of_postgres_see_whole_runs_only() {
    let database = Database::new("readers");
    let look = || database.sql("SELECT count(*), sum(n) FROM all_orders");
    assert_eq!(seen_by_readers(&database, look), ["3000|88500\n"]);
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
    let folder = database.shop_with(&orders);
    let at = folder.path();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    assert_eq!(database.rows("all_orders").len(), 10);
    database.must_be_as_files(at);
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
    database.must_be_as_files(at);
    for minute in 31..36 {
        add(at, &[order(minute, "late comer", "")]);
        ok(at, &database.url(), "run shop.yaml --mode stream --until-caught-up");
        database.must_be_as_files(at);
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn hostile_texts_are_values_in_postgres_and_nothing_else() {
    let database = Database::new("hostile");
    let texts = hostile();
    let orders: Vec<String> = texts.iter().map(|text| order(1, text, "")).collect();
    let folder = database.shop_with(&orders);
    let at = folder.path();
    ok(at, &database.url(), "run shop.yaml --mode batch");
    database.must_be_as_files(at);
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
        std::fs::write(at.join("other.yaml"), database.shop().replace("table: per_item", &format!("table: {quoted}")))
            .unwrap();
        assert_eq!(run(at, &database.url(), "validate other.yaml").status.code(), Some(2), "{text:?} as a table");
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_POSTGRES"]
fn what_postgres_cannot_take_is_refused_with_a_way_on() {
    let database = Database::new("refused");
    let url = database.url();
    let folder = database.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
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
    let with_create = database.shop().replace("table: per_item}", "table: per_item, create: false}");
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
    database.must_be_as_files(at);
    // The table of another pipeline.
    std::fs::write(at.join("another.yaml"), database.shop().replace("name: shop", "name: another")).unwrap();
    refused(&run(at, &url, "run another.yaml --mode batch"), 2, &["E_TARGET", "belongs to the sink", "`shop`"]);
    database.must_be_as_files(at);
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
    let folder = database.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
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
    std::fs::write(at.join("plain.yaml"), database.shop().replace("${DATABASE_URL}", &url)).unwrap();
    let output = run(at, "unset", "validate plain.yaml");
    refused(&output, 2, &["E_FIELD", "a password stands in the `url`", "secret: true"]);
    database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
