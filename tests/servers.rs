//! What the tests of sinks that are servers share: the pipelines, how a sink's rows are compared with those of files, and
//! what must hold of each of them whatever happens to the processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{PIPELINE, newest_checkpoint, project};

/// A server with a place of its own for a test.
pub(crate) trait Server {
    /// Its address.
    fn url(&self) -> String;
    /// The sink of that name as it stands in a pipeline file, its address the variable DATABASE_URL; empty: rows of that kind
    /// have no place there.
    fn sink(&self, name: &str) -> String;
    /// The rows of that sink, by the server's own program: sorted lines of JSON in which equal values have equal texts.
    fn rows(&self, name: &str) -> Vec<String>;

    /// The pipeline of orders, with a file beside each sink.
    fn shop(&self) -> String {
        shop_with_sinks(|name| self.sink(name))
    }

    /// A project with the orders, a line of JSON each.
    fn shop_with(&self, orders: &[String]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.yaml"), self.shop()).unwrap();
        add(folder.path(), orders);
        folder
    }

    fn must_be_as_files(&self, at: &Path) {
        for name in ["all_orders", "per_item", "lost"].into_iter().filter(|name| !self.sink(name).is_empty()) {
            assert_eq!(self.rows(name), file(at.join(format!("out/{name}.jsonl"))), "{name}");
        }
    }

    /// Checks that the rows of `restart::PIPELINE` are those that batch writes into files.
    fn must_be_equal(&self, at: &Path) {
        std::fs::write(at.join("files.yaml"), with_sinks(to_file)).unwrap();
        ok(at, "unset", "run files.yaml --mode batch --state-dir .other");
        for name in SINKS.into_iter().filter(|name| !self.sink(name).is_empty()) {
            let (here, there) = (self.rows(name), file(at.join(format!("expected/{name}.jsonl"))));
            assert!(!there.is_empty(), "{name} has rows");
            let first = here.iter().zip(&there).find(|(a, b)| a != b);
            assert!(here == there, "{name}: {} rows and {} in files, first {first:?}", here.len(), there.len());
        }
    }

    /// A project of `restart::PIPELINE` that writes to it.
    fn clicks(&self, events: u32) -> tempfile::TempDir {
        let folder = project(events);
        std::fs::write(folder.path().join("clicks.yaml"), with_sinks(|name| self.sink(name))).unwrap();
        folder
    }
}

/// Returns the pipeline of orders with these sinks, and a file beside each.
pub(crate) fn shop_with_sinks(sink: impl Fn(&str) -> String) -> String {
    let sinks = [("all", "all_orders", ""), ("per_item", "per_item", ""), ("lost", "lost", "select: [n], ")];
    let sinks = sinks.map(|(from, name, select)| match sink(name) {
        sink if sink.is_empty() => sink,
        sink => format!(
            "  {from}: {{from: {from}, {select}{sink}}}\n  {from}_file: {{from: {from}, {select}jsonl: {{path: out/{name}.jsonl}}}}\n"
        ),
    });
    format!("{SHOP}sinks:\n{}", sinks.concat())
}

/// Kills a stream again and again; in the end each row is there once.
pub(crate) fn survives_kills(server: &impl Server, events: u32) -> tempfile::TempDir {
    let folder = server.clicks(events);
    let at = folder.path();
    let (mut fresh, mut last) = (0, None);
    for cycle in 0..5u64 {
        let mut child = start(at, &server.url(), &[]);
        wait_for("a checkpoint", || newest_checkpoint(at) != last);
        std::thread::sleep(Duration::from_millis(cycle * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = newest_checkpoint(at);
        fresh += u32::from(now != last);
        last = now;
    }
    assert!(fresh >= 4, "only {fresh} of 5 starts found a newer checkpoint than the last");
    // Another run finds nothing new and changes nothing.
    for _ in 0..2 {
        ok(at, &server.url(), "run clicks.yaml --mode stream --until-caught-up");
        server.must_be_equal(at);
    }
    folder
}

/// Lets a stream die at every named point that it comes by, one after the other, and then lose the answer of a server that has
/// done what it was asked; in the end each row is there once.
pub(crate) fn survives_points(of: &str, mut stream: impl FnMut(&str) -> Output, must_be_equal: impl FnOnce()) {
    let of_it = |name: &str| ["checkpoint", "sink", of].contains(&name.split_once('.').unwrap().0);
    let names: Vec<&str> =
        connectors::points::POINTS.iter().map(|(name, _)| *name).filter(|name| of_it(name)).collect();
    assert!(names.len() > 3, "{of} has points of its own");
    for (turn, name) in names.iter().enumerate() {
        let output = stream(&format!("{name}={}*off->return", turn % 3 + 1));
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "a run came by {name} and died: {}{}", stdout(&output), stderr(&output));
    }
    // It dies after it has gone on, which shows that an answer was lost before.
    let lost = names.last().unwrap();
    let output = stream(&format!("{lost}=1*off->1*return(lost)->return"));
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(6), "a run went on after a lost answer: {}", stderr(&output));
    let output = stream("");
    assert!(output.status.success(), "{}", stderr(&output));
    must_be_equal();
}

/// Restarts a server under a stream, as a crash does.
pub(crate) fn survives_restarts(server: &impl Server, service: &Service, pause: Duration) {
    let folder = server.clicks(40_000);
    let at = folder.path();
    let mut child = start(at, &server.url(), &["--until-caught-up"]);
    let mut restarts = 0;
    wait_for("the first checkpoint", || child.try_wait().unwrap().is_some() || newest_checkpoint(at).is_some());
    while child.try_wait().unwrap().is_none() && restarts < 3 {
        service.call("restart");
        restarts += 1;
        std::thread::sleep(pause);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(restarts >= 1, "the run was over before the first restart");
    server.must_be_equal(at);
}

/// Stops a stream, as on a machine that was cut off, while a newer one goes on from a copy of its checkpoints. `is_there` says
/// when every sink has rows.
pub(crate) fn fences_the_older(server: &impl Server, events: u32, mut is_there: impl FnMut() -> bool) {
    let folder = server.clicks(events);
    let at = folder.path();
    let mut older = start(at, &server.url(), &[]);
    wait_for("rows", || newest_checkpoint(at).is_some() && is_there());
    signal(&older, "-STOP");
    assert!(Command::new("cp").args(["-r", ".samestream", ".newer"]).current_dir(at).status().unwrap().success());
    ok(at, &server.url(), "run clicks.yaml --mode stream --until-caught-up --state-dir .newer");
    server.must_be_equal(at);
    signal(&older, "-CONT");
    // It has something to publish again, if it had not.
    let later = r#"{"event_id":"last","user_id":1,"page":"/last","event_time":"2030-01-01T00:00:00Z"}"#;
    std::fs::write(at.join("later.jsonl"), format!("{later}\n").repeat(8)).unwrap();
    ok(at, "unset", "append log later.jsonl");
    // A checkpoint that took long – it may have stood still in one – is followed by a long pause; one that is to end makes one.
    std::thread::sleep(Duration::from_millis(1500));
    if older.try_wait().unwrap().is_none() {
        signal(&older, "-TERM");
    }
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", "only the newest"]);
}

/// Checks that runs over ranges replace the rows of the range and no others.
pub(crate) fn replaces_ranges(server: &impl Server) {
    let orders: Vec<String> = (0..20).map(|minute| order(minute, "a", "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    // Only these rows say in which window they are.
    let is_other = |line: &&str| line.contains("{from: all, ") || line.contains("{from: lost, ");
    let text = server.shop().lines().filter(|line| !is_other(line)).collect::<Vec<_>>().join("\n");
    std::fs::write(at.join("shop.yaml"), text).unwrap();
    let same = || assert_eq!(server.rows("per_item"), file(at.join("out/per_item.jsonl")));
    ok(at, &server.url(), "run shop.yaml --mode batch --end orders:0=15");
    let before = server.rows("per_item");
    for range in [
        "--from 2026-01-01T00:05:00Z --to 2026-01-01T00:17:00Z",
        "--from 2026-01-01T00:18:00Z",
        "--to 2026-01-01T00:03:00Z",
    ] {
        ok(at, &server.url(), &format!("run shop.yaml --mode batch {range}"));
        same();
    }
    assert_ne!(server.rows("per_item"), before);
}

/// Checks that a range of a stream's rows is refused before anything is read, where the two cannot share the rows.
pub(crate) fn refuses_ranges_beside_a_stream(server: &impl Server) {
    let orders: Vec<String> = (0..20).map(|minute| order(minute, "a", "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    let is_other = |line: &&str| line.contains("{from: all, ") || line.contains("{from: lost, ");
    let text = server.shop().lines().filter(|line| !is_other(line)).collect::<Vec<_>>().join("\n");
    std::fs::write(at.join("shop.yaml"), text).unwrap();
    ok(at, &server.url(), "run shop.yaml --mode stream --until-caught-up");
    let before = server.rows("per_item");
    let range = "run shop.yaml --mode batch --from 2026-01-01T00:05:00Z --to 2026-01-01T00:17:00Z";
    refused(&run(at, &server.url(), range), 2, &["E_UNSUPPORTED", "holds rows of a stream", "--out DIR"]);
    assert_eq!(server.rows("per_item"), before);
    // The stream goes on: nobody has taken its place.
    add(at, &[order(40, "a", "")]);
    ok(at, &server.url(), "run shop.yaml --mode stream --until-caught-up");
    assert_eq!(server.rows("per_item"), file(at.join("out/per_item.jsonl")));
    ok(at, &server.url(), "run shop.yaml --mode batch");
    ok(at, &server.url(), range);
    assert_eq!(server.rows("per_item"), file(at.join("out/per_item.jsonl")));
}

/// Asks a server again and again while batch runs replace 3000 orders by the same, and returns what was seen.
pub(crate) fn seen_by_readers(server: &(impl Server + Sync), look: impl Fn() -> String + Sync + Send) -> Vec<String> {
    let orders: Vec<String> = (0..3000).map(|i| order(i % 60, &format!("item {i}"), "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    ok(at, &server.url(), "run shop.yaml --mode batch");
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut looks) = (std::collections::BTreeSet::new(), 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seen.insert(look());
                looks += 1;
            }
            assert!(looks > 10, "the reader looked {looks} times");
            seen
        });
        (0..4).for_each(|_| ok(at, &server.url(), "run shop.yaml --mode batch"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    seen.into_iter().collect()
}

/// Asks a server again and again while a backfill of another definition goes over its rows, dies at a point and goes on: each
/// chunk is as it was or as it will be, and those before a new one are new.
pub(crate) fn backfills_by_whole_chunks(server: &(impl Server + Sync), point: &str) {
    let orders: Vec<String> = (0..1500).map(|i| order(i / 25, &format!("item {}", i % 25), "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    let is_other = |line: &&str| line.contains("{from: all, ") || line.contains("{from: lost, ");
    let text = server.shop().lines().filter(|line| !is_other(line)).collect::<Vec<_>>().join("\n");
    let before = text.replace(
        "per_item: {from: orders, window: {tumbling: {size: 1m}}, group_by: [item], aggregate: {n: \"sum(n)\"",
        "per_item: {from: orders, window: {tumbling: {size: 1m}}, group_by: [item], aggregate: {n: \"count(n)\"",
    );
    assert_ne!(before, text);
    std::fs::write(at.join("shop.yaml"), before).unwrap();
    ok(at, &server.url(), "run shop.yaml --mode batch");
    std::fs::write(at.join("shop.yaml"), text).unwrap();
    // How many of the chunks of ten minutes are new, in the order of time.
    let look = || {
        let mut chunks = [(0, 0); 6];
        for row in server.rows("per_item") {
            let row: Value = serde_json::from_str(&row).unwrap();
            let minute: usize = row["window_start"].as_str().unwrap()[14..16].parse().unwrap();
            let n: usize = row["n"].as_str().unwrap().parse().unwrap();
            chunks[minute / 10] = (chunks[minute / 10].0 + 1, chunks[minute / 10].1 + n);
        }
        let is_new = |(number, (rows, sum)): (usize, &(usize, usize))| {
            let new: usize = (number * 10..number * 10 + 10).map(|minute| minute * 25).sum();
            assert!(*rows == 250 && (*sum == 250 || *sum == new), "half of chunk {number}: {chunks:?}");
            *sum == new
        };
        let new: Vec<bool> = chunks.iter().enumerate().map(is_new).collect();
        assert!(new.is_sorted_by(|before, after| before >= after), "{new:?}");
        new.iter().filter(|new| **new).count()
    };
    assert_eq!(look(), 0);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                seen.insert(look());
            }
            seen
        });
        let line = "backfill shop.yaml --from 2026-01-01 --to 2026-01-01T01:00:00Z --chunk 10m --parallel 2";
        let mut dying = samestream(at);
        dying.env("DATABASE_URL", server.url()).env("FAILPOINTS", format!("{point}=2*off->return"));
        let output = dying.args(line.split(' ')).output().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "it came by {point} and died: {}", stderr(&output));
        let output = run(at, &server.url(), line);
        let text = stderr(&output);
        assert!(output.status.success() && text.contains("2 of 6 chunks are done"), "{text}");
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(seen.len() > 2, "the reader saw it between chunks: {seen:?}");
    assert_eq!(look(), 6);
    ok(at, &server.url(), "run shop.yaml --mode batch --sinks per_item_file --state-dir .other");
    assert_eq!(server.rows("per_item"), file(at.join("out/per_item.jsonl")));
}

/// A server of a test's own, since others do not like to be restarted; its data goes with it.
pub(crate) struct Service {
    script: std::path::PathBuf,
    settings: Vec<(&'static str, String)>,
    lines: String,
}

impl Service {
    /// Starts a script of `tests/services` with these settings.
    pub(crate) fn start(script: &str, settings: Vec<(&'static str, String)>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(script);
        let mut service = Self { script, settings, lines: String::new() };
        service.lines = service.call("start");
        service
    }

    /// Starts a broker so many ports past the one that the others share.
    pub(crate) fn broker(ports: u16) -> Self {
        let port = ports + std::env::var("KAFKA_PORT").unwrap().parse::<u16>().unwrap();
        let state = std::env::temp_dir().join(format!("samestream-test-broker-{port}"));
        let settings = [("KAFKA_PORT", port.to_string()), ("KAFKA_STATE", state.display().to_string())];
        Self::start("kafka.sh", settings.into_iter().chain([("KAFKA_HEAP", "256m".to_string())]).collect())
    }

    /// Returns the port after the one that a variable names, or a default.
    pub(crate) fn next_port(variable: &str, default: u16) -> u16 {
        1 + std::env::var(variable).ok().and_then(|port| port.parse().ok()).unwrap_or(default)
    }

    pub(crate) fn call(&self, word: &str) -> String {
        let mut command = Command::new(&self.script);
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        let output = command.arg(word).envs(settings).stderr(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{} {word}", self.script.display());
        stdout(&output)
    }

    /// Returns what the script says of a variable.
    pub(crate) fn variable(&self, name: &str) -> String {
        let begin = format!("export {name}=");
        self.lines.lines().find_map(|line| line.strip_prefix(&begin)).unwrap().to_string()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nobody asks what became of it when a test has gone wrong.
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        let _ = Command::new(&self.script).arg("wipe").envs(settings).output();
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Lets a process stand still, and returns when it does.
pub(crate) fn stop(child: &Child) {
    signal(child, "-STOP");
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    wait_for("a process that stands still", || state().rsplit_once(") ").unwrap().1.starts_with('T'));
}

/// Takes a file that processes lock, until the returned one is dropped.
pub(crate) fn hold(lock: PathBuf) -> File {
    let file = File::options().write(true).open(lock).unwrap();
    file.lock().unwrap();
    file
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

/// The sinks of `restart::PIPELINE`, by their names here.
const SINKS: [&str; 6] = ["per_page", "shadow", "visits", "bought", "hot", "late"];

/// Replaces the kinds of its sinks; `to` makes one from a sink's name, or nothing.
pub(crate) fn with_sinks(to: impl Fn(&str) -> String) -> String {
    let (before, _) = PIPELINE.split_once("sinks:\n").unwrap();
    let from = |name: &str| if name == "late" { "per_page.late".to_string() } else { name.to_string() };
    let early = |name: &str| if name == "hot" { "emit: early, " } else { "" };
    let sinks = SINKS.map(|name| match to(name) {
        kind if kind.is_empty() => kind,
        kind => format!("  {name}: {{from: {}, {}{kind}}}\n", from(name), early(name)),
    });
    format!("{before}vars: {{DATABASE_URL: {{secret: true, default: unset}}}}\nsinks:\n{}", sinks.concat())
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

/// Runs a stream of `restart::PIPELINE` to the end of its log with FAILPOINTS set.
pub(crate) fn run_with_points(server: &impl Server, at: &Path, points: &str) -> Output {
    let line = ["run", "clicks.yaml", "--mode", "stream", "--until-caught-up", "--checkpoint-every", "20ms"];
    samestream(at).env("DATABASE_URL", server.url()).env("FAILPOINTS", points).args(line).output().unwrap()
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(240);
    while !is_so() {
        assert!(Instant::now() < until, "{what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SHOP: &str = r#"version: 1
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
"#;

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
