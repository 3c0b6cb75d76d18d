//! Rows in Cassandra, as a client of this file's own reads them: the same as those of files, each once, whatever happens on
//! the way.
//!
//! Ignored without a server: `eval "$(tests/services/cassandra.sh start)"`, then `cargo test cassandra -- --include-ignored`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::cli::{samestream, stderr, stdout};
use crate::servers::{
    Server, Service, add, canonical, fences_the_older, file, hostile, ok, order, refused,
    refuses_ranges_beside_a_stream, replaces_ranges, run, run_with_points, start, survives_kills, survives_points,
    wait_for,
};

/// A keyspace of its own on the server.
pub(crate) struct Keyspace {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Keyspace {
    pub(crate) fn new(name: &str) -> Self {
        Self::on(std::env::var("SAMESTREAM_TEST_CASSANDRA").expect("SAMESTREAM_TEST_CASSANDRA names a server"), name)
    }

    fn on(url: String, name: &str) -> Self {
        let keyspace = Self { url, name: format!("t_{name}_{}", std::process::id()) };
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        keyspace.cql(&format!("CREATE KEYSPACE {} WITH replication = {replication}", keyspace.name));
        keyspace
    }

    pub(crate) fn cql(&self, statement: &str) -> Vec<Map<String, Value>> {
        Client::connect(&self.url).query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    fn count(&self, statement: &str) -> i64 {
        self.cql(statement)[0]["count"].as_i64().unwrap()
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        // Nobody asks what became of it when a test has gone wrong.
        if let Ok(mut client) = std::panic::catch_unwind(|| Client::connect(&self.url)) {
            let _ = client.query(&format!("DROP KEYSPACE IF EXISTS {}", self.name));
        }
    }
}

impl Server for Keyspace {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn sink(&self, name: &str) -> String {
        // Rows that have lost what names them.
        if ["bought", "lost"].contains(&name) {
            return String::new();
        }
        let times = if ["all_orders", "late", "visits"].contains(&name) { ", times: micros" } else { "" };
        format!("cassandra: {{url: \"${{DATABASE_URL}}\", table: {}.{name}{times}}}", self.name)
    }

    fn rows(&self, name: &str) -> Vec<String> {
        let rows = self.cql(&format!("SELECT * FROM {}.{name}", self.name));
        let plain = |row: Map<String, Value>| -> Map<String, Value> {
            row.into_iter()
                .map(|(column, value)| {
                    let value = match (column.as_str(), value) {
                        // Texts that hold JSON, and numbers that are times.
                        ("tags" | "more" | "records", Value::String(text)) => serde_json::from_str(&text).unwrap(),
                        ("at" | "event_time" | "window_start" | "window_end", Value::Number(micros)) => {
                            time(micros.as_i64().unwrap())
                        }
                        (_, value) => value,
                    };
                    (column, value)
                })
                .collect()
        };
        let lines: Vec<String> = rows.into_iter().map(|row| Value::Object(plain(row)).to_string()).collect();
        canonical(&lines.join("\n"))
    }

    fn shop(&self) -> String {
        // What names a row cannot be null there.
        crate::servers::shop_with_sinks(|name| self.sink(name)).replace("item: string,", "item: string!,")
    }
}

/// Returns the pipeline of orders that writes to Cassandra alone: two runs cannot write the same files.
fn without_files(keyspace: &Keyspace) -> String {
    keyspace.shop().lines().filter(|line| !line.contains("_file: {")).collect::<Vec<_>>().join("\n")
}

fn time(micros: i64) -> Value {
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap();
    json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// As much of the native protocol, version 4, as reading takes.
struct Client(TcpStream);

impl Client {
    fn connect(url: &str) -> Self {
        let (user, host) = url.strip_prefix("cassandra://").unwrap().split_once('@').unwrap();
        let mut client = Self(TcpStream::connect(host).unwrap());
        let mut startup = vec![0, 1];
        ["CQL_VERSION", "3.0.0"].iter().for_each(|text| string(text, &mut startup));
        if client.call(1, &startup).0 == 3 {
            let token = format!("\0{}", user.replace(':', "\0"));
            let mut body = (token.len() as i32).to_be_bytes().to_vec();
            body.extend_from_slice(token.as_bytes());
            assert_eq!(client.call(15, &body).0, 16, "the server lets us in");
        }
        client
    }

    fn call(&mut self, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
        let mut frame = vec![4, 0, 0, 0, opcode];
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(body);
        self.0.write_all(&frame).unwrap();
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head[5..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).unwrap();
        // Warnings come before the answer.
        let mut rest = Reader(&body);
        if head[1] & 8 != 0 {
            (0..rest.short()).for_each(|_| _ = rest.string());
        }
        (head[4], rest.0.to_vec())
    }

    /// Returns the rows of a query, of all pages.
    fn query(&mut self, statement: &str) -> Result<Vec<Map<String, Value>>, String> {
        let (mut rows, mut state) = (Vec::new(), None);
        loop {
            let mut body = (statement.len() as i32).to_be_bytes().to_vec();
            body.extend_from_slice(statement.as_bytes());
            // One replica is all there is; pages of 5000 rows.
            body.extend_from_slice(&[0, 1, if state.is_some() { 12 } else { 4 }]);
            body.extend_from_slice(&5000_i32.to_be_bytes());
            if let Some(state) = state {
                bytes(state, &mut body);
            }
            let (opcode, body) = self.call(7, &body);
            let mut from = Reader(&body);
            let kind = from.int();
            if opcode == 0 {
                return Err(from.string());
            }
            if kind != 2 {
                return Ok(rows);
            }
            let (flags, columns) = (from.int(), from.int());
            state = if flags & 2 != 0 { from.bytes().map(<[u8]>::to_vec) } else { None };
            let is_global = flags & 1 != 0;
            (0..2 * i32::from(is_global)).for_each(|_| _ = from.string());
            let columns: Vec<(String, u16)> = (0..columns)
                .map(|_| {
                    (0..2 * i32::from(!is_global)).for_each(|_| _ = from.string());
                    (from.string(), from.short())
                })
                .collect();
            for _ in 0..from.int() {
                let cell = |(name, kind): &(String, u16)| {
                    (name.clone(), from.bytes().map_or(Value::Null, |cell| value(*kind, cell)))
                };
                rows.push(columns.iter().map(cell).collect());
            }
            if state.is_none() {
                return Ok(rows);
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(size);
        self.0 = rest;
        taken
    }
    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }
    fn string(&mut self) -> String {
        let size = usize::from(self.short());
        String::from_utf8(self.take(size).to_vec()).unwrap()
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.int()).ok()?;
        Some(self.take(size))
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn bytes(value: Vec<u8>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as i32).to_be_bytes());
    out.extend_from_slice(&value);
}

/// Returns a value as files have it, by section 6 of the protocol's description.
fn value(kind: u16, cell: &[u8]) -> Value {
    let long = || i64::from_be_bytes(cell.try_into().unwrap());
    match kind {
        2 => json!(long()),
        3 => json!(base64::engine::general_purpose::STANDARD.encode(cell)),
        4 => json!(cell == [1]),
        6 => {
            let scale = i32::from_be_bytes(cell[..4].try_into().unwrap()) as usize;
            let fill = if cell[4] & 0x80 != 0 { 0xff } else { 0 };
            let mut bytes = [fill; 16];
            bytes[16 - (cell.len() - 4)..].copy_from_slice(&cell[4..]);
            let value = i128::from_be_bytes(bytes);
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if value < 0 { "-" } else { "" };
            json!(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
        }
        7 => {
            let float = f64::from_be_bytes(cell.try_into().unwrap());
            match float.is_finite() {
                true => json!(float),
                false if float.is_nan() => json!("NaN"),
                false => json!(if float > 0.0 { "Infinity" } else { "-Infinity" }),
            }
        }
        9 => json!(i32::from_be_bytes(cell.try_into().unwrap())),
        11 => time(long() * 1000),
        12 => json!(cell.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        1 | 13 => json!(std::str::from_utf8(cell).unwrap()),
        17 => {
            let days = u32::from_be_bytes(cell.try_into().unwrap()).wrapping_sub(1 << 31) as i32;
            let day = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Duration::days(days.into());
            json!(day.format("%Y-%m-%d").to_string())
        }
        other => panic!("type {other}"),
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_killed_stream_gives_cassandra_every_row_once() {
    let keyspace = Keyspace::new("killed");
    let folder = survives_kills(&keyspace, 60_000);
    // Nothing of the way there is left but the keys of rows that are open now.
    let open =
        keyspace.count(&format!("SELECT count(*) FROM {}.hot WHERE final = false ALLOW FILTERING", keyspace.name));
    let noted =
        keyspace.count(&format!("SELECT count(*) FROM {}.\"_samestream_open\" WHERE \"table\" = 'hot'", keyspace.name));
    assert!(open > 0 && open == noted, "{open} open rows, {noted} noted");
    ok(folder.path(), &keyspace.url, "run clicks.yaml --mode batch --state-dir .batch");
    keyspace.must_be_equal(folder.path());
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_stream_that_dies_at_every_point_gives_cassandra_every_row_once() {
    let keyspace = Keyspace::new("points");
    let folder = keyspace.clicks(60_000);
    let at = folder.path();
    survives_points("cassandra", |points| run_with_points(&keyspace, at, points), || keyspace.must_be_equal(at));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_stream_waits_for_cassandra_which_is_killed_and_comes_back() {
    let port = 10 + Service::next_port("CASSANDRA_PORT", 19_142);
    let state = tempfile::tempdir().unwrap();
    let settings = vec![
        ("CASSANDRA_PORT", port.to_string()),
        ("CASSANDRA_STATE", state.path().join("data").display().to_string()),
    ];
    let service = Service::start("cassandra.sh", settings);
    let keyspace = Keyspace::on(service.variable("SAMESTREAM_TEST_CASSANDRA"), "restarts");
    let folder = keyspace.clicks(40_000);
    let at = folder.path();
    let mut child = start(at, &keyspace.url, &["--until-caught-up"]);
    // All sinks have begun and published: a run whose server goes before that ends at once.
    let epochs = format!("SELECT epoch FROM {}.\"_samestream_epochs\"", keyspace.name);
    let published = || {
        let rows = Client::connect(&keyspace.url).query(&epochs).unwrap_or_default();
        rows.iter().filter(|row| row["epoch"].as_i64() > Some(0)).count()
    };
    wait_for("commits", || published() == 5);
    assert!(child.try_wait().unwrap().is_none(), "the run was over before the server was killed");
    service.call("restart");
    wait_for("the end", || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    keyspace.must_be_equal(at);
    // Said once for each time that it waited, which was once.
    let times = |words: &str| said.matches(words).count();
    assert_eq!(
        (times("warning[E_DATABASE]: waiting for table "), times(" of Cassandra is back after ")),
        (1, 1),
        "{said}"
    );
    // A server that is not there when a run starts is told at once.
    service.call("stop");
    let away = run(at, &keyspace.url, "run clicks.yaml --mode stream --until-caught-up");
    refused(&away, 4, &["E_DATABASE", &format!("127.0.0.1:{port}"), "check that the server runs"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn of_two_runs_the_older_is_fenced_by_cassandra() {
    let keyspace = Keyspace::new("two");
    fences_the_older(&keyspace, 20_000, || {
        let at = &keyspace.name;
        let epochs = Client::connect(&keyspace.url).query(&format!("SELECT epoch FROM {at}.\"_samestream_epochs\""));
        epochs.is_ok_and(|rows| rows.iter().filter(|row| row["epoch"].as_i64() > Some(0)).count() == 5)
    });
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn rows_that_come_late_from_an_overtaken_run_are_gone_from_cassandra() {
    let keyspace = Keyspace::new("late");
    let orders: Vec<String> = (1..9).map(|minute| order(minute, "a", "")).collect();
    let folder = keyspace.shop_with(&orders);
    let at = folder.path();
    std::fs::write(at.join("older.yaml"), without_files(&keyspace)).unwrap();
    // It stands still before its rows are written; the newer one has less of the log, so that these would be too many.
    let mut older = samestream(at);
    older.env("DATABASE_URL", &keyspace.url).env("FAILPOINTS", "cassandra.noted=1*sleep(15000)");
    older.args("run older.yaml --mode stream --until-caught-up --state-dir .older".split(' '));
    let mut older = older.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let commits = format!("SELECT commits FROM {}.\"_samestream_epochs\"", keyspace.name);
    wait_for("the older run", || Client::connect(&keyspace.url).query(&commits).is_ok_and(|rows| !rows.is_empty()));
    std::thread::sleep(Duration::from_millis(1500));
    ok(at, &keyspace.url, "run shop.yaml --mode batch --end orders:0=3");
    keyspace.must_be_as_files(at);
    assert!(older.try_wait().unwrap().is_none(), "the older run stands still");
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", "only the newest"]);
    keyspace.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn rows_of_a_commit_whose_answer_was_lost_stay_in_cassandra_when_another_run_goes_on_from_it() {
    let keyspace = Keyspace::new("lost");
    let orders: Vec<String> = (1..9).map(|minute| order(minute, "a", "")).collect();
    let folder = keyspace.shop_with(&orders);
    let at = folder.path();
    std::fs::write(at.join("older.yaml"), without_files(&keyspace)).unwrap();
    let stream = "run older.yaml --mode stream --until-caught-up --state-dir";
    // The first commit counts, but no answer comes; before it is tried again the run stands still.
    let mut older = samestream(at);
    let points = "cassandra.concluded=1*return(lost);cassandra.begun=1*off->1*sleep(20000)";
    older.env("DATABASE_URL", &keyspace.url).env("FAILPOINTS", points).args(stream.split(' ')).arg(".older");
    let mut older = older.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let done = format!("SELECT epoch FROM {}.\"_samestream_epochs\"", keyspace.name);
    let has_epoch = |row: &Map<String, Value>| row["epoch"].as_i64() > Some(0);
    wait_for("a commit", || Client::connect(&keyspace.url).query(&done).is_ok_and(|rows| rows.iter().any(has_epoch)));
    std::thread::sleep(Duration::from_millis(1000));
    assert!(Command::new("cp").args(["-r", ".older", ".newer"]).current_dir(at).status().unwrap().success());
    ok(at, &keyspace.url, &format!("{stream} .newer"));
    assert!(older.try_wait().unwrap().is_none(), "the older run stands still");
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    let help = "some rows of its last commit may be there";
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", help]);
    ok(at, &keyspace.url, "run shop.yaml --mode batch --sinks all_file,per_item_file");
    keyspace.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_run_that_dies_while_it_starts_over_leaves_nothing_in_cassandra_that_looks_whole() {
    let keyspace = Keyspace::new("over");
    let folder = keyspace.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let stream = "run shop.yaml --mode stream --until-caught-up";
    (0..5).for_each(|minute| {
        add(at, &[order(10 + minute, "c", "")]);
        ok(at, &keyspace.url, stream);
    });
    keyspace.must_be_as_files(at);
    std::fs::write(at.join("batch.yaml"), without_files(&keyspace)).unwrap();
    let mut batch = samestream(at);
    batch.env("DATABASE_URL", &keyspace.url).env("FAILPOINTS", "cassandra.rows=return");
    let died = batch.args("run batch.yaml --mode batch --end orders:0=3".split(' ')).output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died.status), Some(6), "{}", stderr(&died));
    refused(&run(at, &keyspace.url, stream), 5, &["E_SINK_DIVERGED", "holds nothing", "--fresh"]);
    ok(at, &keyspace.url, &format!("{stream} --fresh"));
    keyspace.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_null_hides_what_was_there_in_cassandra_and_leaves_no_mark() {
    let keyspace = Keyspace::new("nulls");
    let all = r#","price":1.5,"cost":"2.0000","raw":"AAEC/w==","day":"2026-01-01","tags":["a"],"more":{"b":1},"ok":true,"small":7"#;
    let folder = keyspace.shop_with(&[order(1, "a", all), order(2, "a", "")]);
    let at = folder.path();
    ok(at, &keyspace.url, "run shop.yaml --mode batch");
    keyspace.must_be_as_files(at);
    std::fs::remove_dir_all(at.join("orders")).unwrap();
    add(at, &[order(1, "a", ""), order(2, "a", all)]);
    ok(at, &keyspace.url, "run shop.yaml --mode batch");
    keyspace.must_be_as_files(at);
    // The server keeps no mark of its own for a null: what was there went with the whole row.
    let rows = keyspace.cql(&format!("SELECT price, writetime(price), writetime(n) FROM {}.all_orders", keyspace.name));
    let null = rows.iter().find(|row| row["price"].is_null()).unwrap();
    assert!(null["writetime(price)"].is_null() && null["writetime(n)"].as_i64() < Some(1000), "{null:?}");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_range_replaces_its_rows_in_cassandra_and_no_others() {
    replaces_ranges(&Keyspace::new("range"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn a_range_of_a_streams_rows_in_cassandra_is_refused_before_it_is_read() {
    refuses_ranges_beside_a_stream(&Keyspace::new("beside"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn values_of_every_type_are_in_cassandra_what_they_are_in_files() {
    let keyspace = Keyspace::new("types");
    let rest = [
        r#","price":"NaN","cost":"-0.0001","raw":"AAEC/w==","day":"0001-01-01","tags":["a",null,"\"\\b\n{}"],"more":{"b":[1,2.50,"x"],"a":null},"ok":true,"small":-2147483648"#,
        r#","price":"Infinity","cost":"9999999999999999.9999","raw":"","day":"9999-12-31","tags":[],"more":"\\u0000 is text","ok":false"#,
        r#","price":"-Infinity","cost":10000,"more":[]"#,
        r#","price":5e-324,"cost":"0.0000","more":0.1"#,
        r#","price":1.7976931348623157e308"#,
    ];
    let items = ["a", "", " ", "ü\u{10ffff}", "a\0b"];
    let mut orders: Vec<String> =
        rest.iter().zip(items).zip(1..).map(|((rest, item), minute)| order(minute, item, rest)).collect();
    orders.push(r#"{"id":"z","n":-9223372036854775808,"item":"least","at":"2026-01-01T00:09:30Z"}"#.into());
    let folder = keyspace.shop_with(&orders);
    let at = folder.path();
    ok(at, &keyspace.url, "run shop.yaml --mode batch");
    keyspace.must_be_as_files(at);
    let types = format!(
        "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = '{}' AND table_name = 'per_item'",
        keyspace.name
    );
    let mut types: Vec<String> = keyspace
        .cql(&types)
        .iter()
        .map(|row| format!("{} {} {}", row["column_name"], row["type"], row["kind"]).replace('"', ""))
        .collect();
    types.sort();
    assert_eq!(
        types,
        [
            "cost decimal regular",
            "final boolean regular",
            "item text partition_key",
            "n bigint regular",
            "price double regular",
            "window_end timestamp partition_key",
            "window_start timestamp partition_key"
        ]
    );
    // A stream over the same log goes on with the tables of batch and then from its own checkpoints, in pieces.
    ok(at, &keyspace.url, "run shop.yaml --mode stream --until-caught-up");
    keyspace.must_be_as_files(at);
    for minute in 31..34 {
        add(at, &[order(minute, "late comer", "")]);
        ok(at, &keyspace.url, "run shop.yaml --mode stream --until-caught-up");
        keyspace.must_be_as_files(at);
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn hostile_texts_are_values_in_cassandra_and_nothing_else() {
    let keyspace = Keyspace::new("hostile");
    let texts = hostile();
    let orders: Vec<String> = texts.iter().map(|text| order(1, text, "")).collect();
    let folder = keyspace.shop_with(&orders);
    let at = folder.path();
    ok(at, &keyspace.url, "run shop.yaml --mode batch");
    keyspace.must_be_as_files(at);
    let rows = keyspace.cql(&format!("SELECT item FROM {}.per_item", keyspace.name));
    let mut there: Vec<String> = rows.iter().map(|row| row["item"].as_str().unwrap().to_string()).collect();
    there.sort();
    assert_eq!(there, texts);
    let tables = format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{}'", keyspace.name);
    let mut tables: Vec<String> =
        keyspace.cql(&tables).iter().map(|row| row["table_name"].as_str().unwrap().to_string()).collect();
    tables.sort();
    assert_eq!(tables, ["_samestream_epochs", "_samestream_open", "all_orders", "per_item"]);
    // As names they are refused, before anything is asked of the server.
    let is_plain = |text: &&String| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    for text in texts.iter().step_by(40).filter(|text| !is_plain(text)) {
        let quoted = Value::from(format!("{}.{}", keyspace.name, text.replace("${DATABASE_URL}", ""))).to_string();
        let named = format!("table: {}.per_item", keyspace.name);
        std::fs::write(at.join("other.yaml"), keyspace.shop().replace(&named, &format!("table: {quoted}"))).unwrap();
        assert_eq!(run(at, &keyspace.url, "validate other.yaml").status.code(), Some(2), "{text:?} as a table");
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn what_cassandra_cannot_take_is_refused_and_its_password_is_shown_nowhere() {
    let keyspace = Keyspace::new("refused");
    let url = keyspace.url.clone();
    let folder = keyspace.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let batch = "run shop.yaml --mode batch";
    let marker = "M4RK3R-s3cr3t";
    let host = url.split_once('@').unwrap().1;
    let wrong = format!("cassandra://cassandra:{marker}@{host}");
    let nowhere = format!("cassandra://cassandra:{marker}@127.0.0.1:1");
    let odd = format!("cassandra://cassandra:{marker}@{marker}@127.0.0.1:1");
    for url in [&wrong, &nowhere, &odd, &marker.to_string()] {
        for line in ["validate shop.yaml", "validate shop.yaml --online", "plan shop.yaml --format json", batch] {
            let output = run(at, url, line);
            let text = stdout(&output) + &stderr(&output);
            assert!(!text.contains(marker), "`{line}`:\n{text}");
        }
    }
    for line in [batch, "validate shop.yaml --online"] {
        refused(&run(at, &wrong, line), 4, &["E_DATABASE", "check user and password"]);
        refused(&run(at, &nowhere, line), 4, &["E_DATABASE", "127.0.0.1:1", "check that the server runs"]);
    }
    // A keyspace that is not there, keys that may be null, a table of other columns, one with rows of others.
    let other = |text: String| {
        std::fs::write(at.join("other.yaml"), text).unwrap();
        run(at, &url, "run other.yaml --mode batch")
    };
    let shop = keyspace.shop();
    let nowhere = other(shop.replace(&format!("{}.per_item", keyspace.name), "no_such_keyspace.per_item"));
    refused(&nowhere, 2, &["E_NOT_FOUND", "no keyspace no_such_keyspace", "CREATE KEYSPACE"]);
    let nullable = other(shop.replace("item: string!,", "item: string,"));
    refused(&nullable, 2, &["E_FIELD", "`item` names a row and may be null", "`!`"]);
    keyspace.cql(&format!("DROP TABLE IF EXISTS {}.all_orders", keyspace.name));
    let with_millis = other(shop.replace(", times: micros", ""));
    refused(&with_millis, 3, &["E_OVERFLOW", "`at`", "no whole millisecond", "times: micros"]);
    ["all_orders", "per_item"]
        .iter()
        .for_each(|name| _ = keyspace.cql(&format!("DROP TABLE {}.{name}", keyspace.name)));
    // A row of more than the server takes, and one of as much as a record may have.
    let long = "x".repeat(900_000);
    add(at, &(0..6).map(|_| order(30, "long", &format!(r#","more":"{long}""#))).collect::<Vec<_>>());
    let larger = other(shop.replace(r#"n: "sum(n)", price"#, r#"n: "sum(n)", every: "array_agg(more)", price"#));
    refused(&larger, 3, &["E_OVERFLOW", "commitlog_segment_size"]);
    keyspace.cql(&format!("DROP TABLE {}.per_item", keyspace.name));
    std::fs::remove_dir_all(at.join("orders")).unwrap();
    add(at, &[order(1, &long[..60_000], &format!(r#","more":"{long}""#)), order(2, "b", "")]);
    ok(at, &url, batch);
    keyspace.must_be_as_files(at);
    let table = format!("{}.per_item", keyspace.name);
    keyspace.cql(&format!("DROP TABLE IF EXISTS {table}"));
    let strict = other(shop.replace(&format!("table: {table}"), &format!("table: {table}, create: false")));
    refused(&strict, 2, &["E_NOT_FOUND", "no table", "CREATE TABLE"]);
    keyspace.cql(&format!("CREATE TABLE {table} (item text PRIMARY KEY, n int)"));
    refused(&run(at, &url, batch), 2, &["E_TARGET", "`n` is int and should be bigint", "no column `window_start`"]);
    keyspace.cql(&format!("DROP TABLE {table}"));
    ok(at, &url, batch);
    keyspace.must_be_as_files(at);
    let another = other(shop.replace("name: shop", "name: another"));
    refused(&another, 2, &["E_TARGET", "belongs to the sink", "`shop`"]);
    // A table that was dropped under a stream, when no checkpoint holds its rows any more.
    ok(at, &url, "run shop.yaml --mode stream --until-caught-up --fresh");
    (0..3).for_each(|minute| {
        add(at, &[order(10 + minute, "c", "")]);
        ok(at, &url, "run shop.yaml --mode stream --until-caught-up");
    });
    assert!(!file(at.join("out/per_item.jsonl")).is_empty());
    keyspace.cql(&format!("DROP TABLE {}.all_orders", keyspace.name));
    let stream = run(at, &url, "run shop.yaml --mode stream --until-caught-up");
    refused(&stream, 5, &["E_SINK_DIVERGED", "`all`", "--fresh"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn cassandra_needs_few_rights_and_says_which_are_missing() {
    let keyspace = Keyspace::new("rights");
    let (name, role) = (&keyspace.name, format!("role_{}", std::process::id()));
    let folder = keyspace.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    keyspace.cql(&format!("CREATE ROLE {role} WITH PASSWORD = 'pässword@/?' AND LOGIN = true"));
    let host = keyspace.url.split_once('@').unwrap().1;
    let url = format!("cassandra://{role}:p%C3%A4ssword%40%2F%3F@{host}");
    let batch = "run shop.yaml --mode batch";
    let grant = |right: &str, on: &str| keyspace.cql(&format!("GRANT {right} ON {on} TO {role}"));
    refused(&run(at, &url, batch), 4, &["E_DATABASE", "the user needs CREATE on the keyspace", "SELECT and MODIFY"]);
    // Tables that are there already: those that make them need more than those that write them.
    ok(at, &keyspace.url, batch);
    refused(&run(at, &url, batch), 4, &["E_DATABASE", "SELECT and MODIFY"]);
    for table in ["all_orders", "per_item", "\"_samestream_epochs\"", "\"_samestream_open\""] {
        ["SELECT", "MODIFY"].iter().for_each(|right| _ = grant(right, &format!("{name}.{table}")));
    }
    // The server remembers for two seconds what somebody may do.
    wait_for("the rights", || run(at, &url, batch).status.success());
    keyspace.must_be_as_files(at);
    keyspace.cql(&format!("DROP ROLE {role}"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_CASSANDRA"]
fn connections_to_cassandra_are_encrypted_where_the_url_says_so() {
    let keyspace = Keyspace::new("tls");
    let ca = std::env::var("SAMESTREAM_TEST_CASSANDRA_CA").unwrap();
    let folder = keyspace.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let role = format!("tls_{}", std::process::id());
    keyspace.cql(&format!("CREATE ROLE {role} WITH PASSWORD = 'p' AND LOGIN = true AND SUPERUSER = true"));
    let url = format!("cassandra://{role}:p@{}", keyspace.url.split_once('@').unwrap().1);
    // The server sees who comes with TLS.
    let encrypted = || -> Vec<bool> {
        let clients = keyspace.cql("SELECT username, ssl_enabled FROM system_views.clients");
        let ours = clients.iter().filter(|row| row["username"] == json!(role));
        ours.map(|row| row["ssl_enabled"] == json!(true)).collect()
    };
    let named = url.replace("127.0.0.1", "localhost");
    for (url, is_encrypted) in [
        (format!("{}?sslmode=verify-full&sslrootcert={ca}", url), true),
        (format!("{named}?sslrootcert={ca}"), true),
        (format!("{}?sslmode=require", url), true),
        (url.clone(), false),
    ] {
        let mut run = samestream(at);
        run.env("DATABASE_URL", &url).env("FAILPOINTS", "cassandra.rows=sleep(400)").stderr(Stdio::piped());
        let mut child = run.args(["run", "shop.yaml", "--mode", "batch"]).stdout(Stdio::null()).spawn().unwrap();
        let mut seen = Vec::new();
        wait_for("the end", || {
            seen.extend(encrypted());
            child.try_wait().unwrap().is_some()
        });
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{url}: {}", stderr(&output));
        assert!(!seen.is_empty() && seen.iter().all(|one| *one == is_encrypted), "{url}: {seen:?}");
    }
    keyspace.must_be_as_files(at);
    keyspace.cql(&format!("DROP ROLE {role}"));
    let unknown = format!("{}?sslmode=verify-full", keyspace.url);
    refused(&run(at, &unknown, "validate shop.yaml --online"), 4, &["E_DATABASE", "certificate"]);
    let missing = format!("{}?sslrootcert=no.pem", keyspace.url);
    refused(&run(at, &missing, "validate shop.yaml --online"), 2, &["E_NOT_FOUND", "sslrootcert no.pem"]);
}
