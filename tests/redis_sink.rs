//! Rows in Redis, as `redis-cli` reads them: the same as those of files, each once, whatever happens on the way.
//!
//! Ignored without a server: `eval "$(tests/services/redis.sh start)"`, then `cargo test redis -- --include-ignored`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::postgres_sink::{
    SHOP, add, canonical, file, hostile, ok, order, refused, run, start, to_file, wait_for, with_sinks,
};
use crate::restart::{newest_checkpoint, project};

/// The sinks of `restart::PIPELINE` whose rows have names.
const KEYS: [&str; 5] = ["per_page", "shadow", "visits", "hot", "late"];

/// Keys of its own on the server, all beginning with a prefix.
struct Server {
    url: String,
    prefix: String,
}

impl Server {
    fn new(name: &str) -> Self {
        let url = std::env::var("SAMESTREAM_TEST_REDIS").expect("SAMESTREAM_TEST_REDIS names a server");
        Self::on(url, name)
    }

    fn on(url: String, name: &str) -> Self {
        Self { url, prefix: format!("t-{name}-{}", std::process::id()) }
    }

    fn ask(&self, words: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["--no-auth-warning", "-u", &self.url]).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Returns the fields and values of a key, each a JSON text.
    fn fields(&self, name: &str) -> Vec<(String, String)> {
        let all: Value = serde_json::from_str(&self.ask(&["--json", "HGETALL", &self.key(name)])).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_string();
        all.as_object().unwrap().iter().map(|(field, value)| (field.clone(), text(value))).collect()
    }

    fn rows(&self, name: &str) -> Vec<String> {
        let lines: Vec<String> = self.fields(name).into_iter().map(|(_, row)| row).collect();
        canonical(&lines.join("\n"))
    }

    fn to_key(&self, name: &str) -> String {
        // Its rows have lost what names them.
        if name == "bought" {
            return String::new();
        }
        format!("redis: {{url: \"${{DATABASE_URL}}\", key: \"{}\"}}", self.key(name))
    }

    fn shop(&self) -> String {
        let text = SHOP.lines().filter(|line| !line.contains("{from: lost, ")).collect::<Vec<_>>().join("\n");
        let text =
            text.replace("postgres: {url: \"${DATABASE_URL}\", table: public.all_orders}", &self.to_key("all_orders"));
        text.replace("postgres: {url: \"${DATABASE_URL}\", table: per_item}", &self.to_key("per_item"))
    }

    fn shop_with(&self, orders: &[String]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.yaml"), self.shop()).unwrap();
        add(folder.path(), orders);
        folder
    }

    fn must_be_as_files(&self, at: &Path) {
        for name in ["all_orders", "per_item"] {
            assert_eq!(self.rows(name), file(at.join(format!("out/{name}.jsonl"))), "{name}");
        }
    }

    fn must_be_equal(&self, at: &Path) {
        std::fs::write(at.join("files.yaml"), with_sinks(to_file)).unwrap();
        ok(at, "unset", "run files.yaml --mode batch --state-dir .other");
        for table in KEYS {
            let (here, there) = (self.rows(table), file(at.join(format!("expected/{table}.jsonl"))));
            assert!(!there.is_empty(), "{table} has rows");
            let first = here.iter().zip(&there).find(|(a, b)| a != b);
            assert!(here == there, "{table}: {} rows and {} in files, first {first:?}", here.len(), there.len());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let keys = ["", "{"].map(|brace| format!("{brace}{}:*", self.prefix));
        for pattern in keys {
            let list = Command::new("redis-cli")
                .args(["--no-auth-warning", "-u", &self.url, "--scan", "--pattern", &pattern])
                .output();
            for key in list.map(|output| stdout(&output)).unwrap_or_default().lines() {
                let _ = Command::new("redis-cli").args(["--no-auth-warning", "-u", &self.url, "DEL", key]).output();
            }
        }
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_killed_stream_gives_redis_every_row_once() {
    let server = Server::new("killed");
    let folder = project(120_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(|name| server.to_key(name))).unwrap();
    let (mut fresh, mut last) = (0, None);
    for cycle in 0..5u64 {
        let mut child = start(at, &server.url, &[]);
        wait_for("a checkpoint", || newest_checkpoint(at) != last);
        std::thread::sleep(Duration::from_millis(cycle * 13 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = newest_checkpoint(at);
        fresh += u32::from(now != last);
        last = now;
    }
    assert!(fresh >= 4, "only {fresh} of 5 starts found a newer checkpoint than the last");
    ok(at, &server.url, "run clicks.yaml --mode stream --until-caught-up");
    server.must_be_equal(at);
    ok(at, &server.url, "run clicks.yaml --mode stream --until-caught-up");
    server.must_be_equal(at);
    // Nothing of the way there is left.
    assert_eq!(server.ask(&["--scan", "--pattern", &format!("{{{}*staged*", server.prefix)]), "");
    ok(at, &server.url, "run clicks.yaml --mode batch --state-dir .batch");
    server.must_be_equal(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_stream_survives_restarts_of_redis_and_gives_again_what_it_lost() {
    // A server of its own: others do not like to be restarted.
    let port = 1 + std::env::var("REDIS_PORT").ok().and_then(|port| port.parse::<u16>().ok()).unwrap_or(16_379);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/redis.sh");
    let state = tempfile::tempdir().unwrap();
    let service = |word: &str| {
        let mut command = Command::new(&script);
        command.arg(word).env("REDIS_PORT", port.to_string()).env("REDIS_STATE", state.path());
        let output = command.stderr(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "redis.sh {word}");
        stdout(&output)
    };
    struct Stop<F: Fn()>(F);
    impl<F: Fn()> Drop for Stop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let text = service("start");
    let _stop = Stop(|| _ = service("stop"));
    let url = text.lines().find_map(|line| line.strip_prefix("export SAMESTREAM_TEST_REDIS=")).unwrap();
    let server = Server::on(url.to_string(), "restarts");
    let folder = project(40_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(|name| server.to_key(name))).unwrap();
    let mut child = start(at, &server.url, &["--until-caught-up"]);
    let mut restarts = 0;
    wait_for("the first checkpoint", || child.try_wait().unwrap().is_some() || newest_checkpoint(at).is_some());
    while child.try_wait().unwrap().is_none() && restarts < 3 {
        service("restart");
        restarts += 1;
        std::thread::sleep(Duration::from_millis(500));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(restarts >= 1, "the run was over before the first restart");
    server.must_be_equal(at);
    // The server loses its last epochs: what it holds is what it was a while ago.
    let orders: Vec<String> = (1..4).map(|minute| order(minute, "a", "")).collect();
    let shop = server.shop_with(&orders);
    let at = shop.path();
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    service("stop");
    let aof = state.path().join("appendonlydir");
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    };
    let before = state.path().join("before");
    copy(&aof, &before);
    service("start");
    add(at, &[order(10, "b", ""), order(12, "c", "")]);
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    let whole = server.rows("all_orders");
    service("stop");
    copy(&before, &aof);
    service("start");
    assert_ne!(server.rows("all_orders"), whole, "rows are lost");
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    assert_eq!(server.rows("all_orders"), whole);
    server.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn of_two_runs_the_older_is_fenced_by_redis() {
    let server = Server::new("two");
    let folder = project(20_000);
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), with_sinks(|name| server.to_key(name))).unwrap();
    let mut older = start(at, &server.url, &[]);
    let epoch = |name: &str| server.ask(&["HGET", &format!("{{{}}}:samestream", server.key(name)), "epoch"]);
    wait_for("rows", || newest_checkpoint(at).is_some() && KEYS.iter().all(|table| !epoch(table).trim().is_empty()));
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &older.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    assert!(Command::new("cp").args(["-r", ".samestream", ".newer"]).current_dir(at).status().unwrap().success());
    ok(at, &server.url, "run clicks.yaml --mode stream --until-caught-up --state-dir .newer");
    server.must_be_equal(at);
    signal("-CONT");
    let later = r#"{"event_id":"last","user_id":1,"page":"/last","event_time":"2030-01-01T00:00:00Z"}"#;
    std::fs::write(at.join("later.jsonl"), format!("{later}\n").repeat(8)).unwrap();
    ok(at, "unset", "append log later.jsonl");
    std::thread::sleep(Duration::from_millis(1500));
    if older.try_wait().unwrap().is_none() {
        assert!(Command::new("kill").args(["-TERM", &older.id().to_string()]).status().unwrap().success());
    }
    wait_for("the end of the older run", || older.try_wait().unwrap().is_some());
    refused(&older.wait_with_output().unwrap(), 5, &["E_STATE_BUSY", "another run has taken over", "only the newest"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn rows_of_redis_have_their_identity_as_names_and_hostile_texts_are_nothing_else() {
    let server = Server::new("hostile");
    let texts = hostile();
    let mut orders: Vec<String> = texts.iter().map(|text| order(1, text, "")).collect();
    orders.push(order(2, "a\0b", r#","price":"NaN","cost":"-0.0001","raw":"AAEC/w==","tags":["a",null]"#));
    let folder = server.shop_with(&orders);
    let at = folder.path();
    let keys = || server.ask(&["--scan", "--pattern", &format!("*{}*", server.prefix)]).lines().count();
    ok(at, &server.url, "run shop.yaml --mode batch");
    server.must_be_as_files(at);
    let mut there: Vec<String> = Vec::new();
    for (name, row) in server.fields("per_item") {
        let (name, row): (Value, Value) = (serde_json::from_str(&name).unwrap(), serde_json::from_str(&row).unwrap());
        for part in ["window_start", "window_end", "item"] {
            assert_eq!(name[part], row[part]);
        }
        assert_eq!(name.as_object().unwrap().len(), 3);
        there.push(name["item"].as_str().unwrap().to_string());
    }
    there.sort();
    there.dedup();
    let mut expected = texts;
    expected.push("a\0b".into());
    expected.sort();
    assert_eq!(there, expected);
    // The rows, what is known of them, and which are open: nothing else.
    assert!(keys() <= 6, "{} keys", keys());
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    for minute in 3..6 {
        add(at, &[order(minute, "late comer", "")]);
        ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
        server.must_be_as_files(at);
    }
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_range_replaces_its_rows_in_redis_and_no_others() {
    let server = Server::new("range");
    let orders: Vec<String> = (0..20).map(|minute| order(minute, "a", "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    let text = server.shop();
    let text = text.lines().filter(|line| !line.contains("{from: all, ")).collect::<Vec<_>>().join("\n");
    std::fs::write(at.join("shop.yaml"), text).unwrap();
    let same = || assert_eq!(server.rows("per_item"), file(at.join("out/per_item.jsonl")));
    ok(at, &server.url, "run shop.yaml --mode batch --end orders:0=15");
    let before = server.rows("per_item");
    for range in [
        "--from 2026-01-01T00:05:00Z --to 2026-01-01T00:17:00Z",
        "--from 2026-01-01T00:18:00Z",
        "--to 2026-01-01T00:03:00Z",
    ] {
        ok(at, &server.url, &format!("run shop.yaml --mode batch {range}"));
        same();
    }
    assert_ne!(server.rows("per_item"), before);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn readers_of_redis_see_whole_runs_only() {
    let server = Server::new("readers");
    let orders: Vec<String> = (0..3000).map(|i| order(i % 60, &format!("item {i}"), "")).collect();
    let folder = server.shop_with(&orders);
    let at = folder.path();
    ok(at, &server.url, "run shop.yaml --mode batch");
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut looks) = (std::collections::BTreeSet::new(), 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seen.insert(server.ask(&["HLEN", &server.key("all_orders")]));
                looks += 1;
            }
            assert!(looks > 10, "the reader looked {looks} times");
            seen
        });
        (0..4).for_each(|_| ok(at, &server.url, "run shop.yaml --mode batch"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["3000\n"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn what_redis_cannot_take_is_refused_and_its_password_is_shown_nowhere() {
    let server = Server::new("refused");
    let folder = server.shop_with(&[order(1, "a", ""), order(2, "b", "")]);
    let at = folder.path();
    let url = &server.url;
    let batch = "run shop.yaml --mode batch";
    let marker = "M4RK3R-s3cr3t";
    let wrong = url.replace("samestream-test", marker);
    let nowhere = format!("redis://default:{marker}@127.0.0.1:1/0");
    let odd = format!("redis://default:{marker}@{marker}@127.0.0.1:1/0");
    let lines = [
        "validate shop.yaml",
        "validate shop.yaml --online",
        "plan shop.yaml",
        "plan shop.yaml --format json",
        batch,
        "run shop.yaml --mode stream --until-caught-up --format json",
    ];
    for url in [&wrong, &nowhere, &odd, &marker.to_string()] {
        for line in lines {
            let output = run(at, url, line);
            let text = stdout(&output) + &stderr(&output);
            assert!(!text.contains(marker), "`{line}`:\n{text}");
        }
    }
    for line in [batch, "validate shop.yaml --online"] {
        refused(&run(at, &wrong, line), 4, &["E_DATABASE", "check user and password"]);
        refused(&run(at, &nowhere, line), 4, &["E_DATABASE", "127.0.0.1:1", "check that the server runs"]);
    }
    let found = Command::new("grep").args(["-rl", marker, "."]).current_dir(at).output().unwrap();
    assert_eq!(stdout(&found), "", "files that hold the password");
    std::fs::write(at.join("plain.yaml"), server.shop().replace("${DATABASE_URL}", &wrong)).unwrap();
    refused(&run(at, "unset", "validate plain.yaml"), 2, &["E_FIELD", "a password stands in the `url`"]);
    // A key of another type, of others, of another pipeline.
    server.ask(&["SET", &server.key("per_item"), "text"]);
    refused(&run(at, url, "validate shop.yaml --online"), 2, &["E_TARGET", "holds a string and no hash"]);
    refused(&run(at, url, batch), 4, &["E_DATABASE", "another `key`"]);
    server.ask(&["DEL", &server.key("per_item")]);
    server.ask(&["HSET", &server.key("per_item"), "field", "value"]);
    refused(&run(at, url, batch), 2, &["E_TARGET", "fields that no sink wrote"]);
    assert_eq!(server.ask(&["HGET", &server.key("per_item"), "field"]).trim(), "value");
    server.ask(&["DEL", &server.key("per_item")]);
    ok(at, url, batch);
    server.must_be_as_files(at);
    std::fs::write(at.join("another.yaml"), server.shop().replace("name: shop", "name: another")).unwrap();
    refused(&run(at, url, "run another.yaml --mode batch"), 2, &["E_TARGET", "belongs to the sink", "`shop`"]);
    // Rows that were taken away, when no checkpoint holds them any more.
    ok(at, url, "run shop.yaml --mode stream --until-caught-up --fresh");
    (0..3).for_each(|minute| {
        add(at, &[order(10 + minute, "c", "")]);
        ok(at, url, "run shop.yaml --mode stream --until-caught-up");
    });
    server.ask(&["DEL", &server.key("all_orders")]);
    let output = samestream(at)
        .env("DATABASE_URL", url)
        .args(["run", "shop.yaml", "--mode", "stream", "--until-caught-up"])
        .output();
    refused(&output.unwrap(), 5, &["E_SINK_DIVERGED", "`all`", "--fresh"]);
}
