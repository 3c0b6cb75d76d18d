//! Rows in Redis, as `redis-cli` reads them: the same as those of files, each once, whatever happens on the way.
//!
//! Ignored without a server: `eval "$(tests/services/redis.sh start)"`, then `cargo test redis -- --include-ignored`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{stderr, stdout};
use crate::servers::{
    Server, Service, add, backfills_by_whole_chunks, canonical, fences_the_older, hostile, ok, order, refused,
    refuses_ranges_beside_a_stream, replaces_ranges, run, run_with_points, seen_by_readers, survives_kills,
    survives_points, survives_restarts,
};

/// The sinks whose rows have names.
const KEYS: [&str; 5] = ["per_page", "shadow", "visits", "hot", "late"];

/// Keys of its own on the server, all beginning with a prefix.
struct Keys {
    url: String,
    prefix: String,
}

impl Keys {
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
}

impl Server for Keys {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn sink(&self, name: &str) -> String {
        // Rows that have lost what names them.
        if ["bought", "lost"].contains(&name) {
            return String::new();
        }
        format!("redis: {{url: \"${{DATABASE_URL}}\", key: \"{}\"}}", self.key(name))
    }

    fn rows(&self, name: &str) -> Vec<String> {
        let lines: Vec<String> = self.fields(name).into_iter().map(|(_, row)| row).collect();
        canonical(&lines.join("\n"))
    }
}

impl Drop for Keys {
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
    let server = Keys::new("killed");
    let folder = survives_kills(&server, 120_000);
    // Nothing of the way there is left.
    assert_eq!(server.ask(&["--scan", "--pattern", &format!("{{{}*staged*", server.prefix)]), "");
    ok(folder.path(), &server.url, "run clicks.yaml --mode batch --state-dir .batch");
    server.must_be_equal(folder.path());
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_stream_that_dies_at_every_point_gives_redis_every_row_once() {
    let server = Keys::new("points");
    let folder = server.clicks(60_000);
    let at = folder.path();
    survives_points("redis", |points| run_with_points(&server, at, points), || server.must_be_equal(at));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_stream_survives_restarts_of_redis_and_gives_again_what_it_lost() {
    let port = Service::next_port("REDIS_PORT", 16_379);
    let state = tempfile::tempdir().unwrap();
    let settings =
        vec![("REDIS_PORT", port.to_string()), ("REDIS_STATE", state.path().join("data").display().to_string())];
    let service = Service::start("redis.sh", settings);
    let server = Keys::on(service.variable("SAMESTREAM_TEST_REDIS"), "restarts");
    survives_restarts(&server, &service, Duration::from_millis(500));
    // The server loses its last epochs: what it holds is what it was a while ago.
    let orders: Vec<String> = (1..4).map(|minute| order(minute, "a", "")).collect();
    let shop = server.shop_with(&orders);
    let at = shop.path();
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    service.call("stop");
    let aof = state.path().join("data/appendonlydir");
    let copy = |from: &Path, to: &Path| {
        let _ = std::fs::remove_dir_all(to);
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
    };
    let before = state.path().join("before");
    copy(&aof, &before);
    service.call("start");
    add(at, &[order(10, "b", ""), order(12, "c", "")]);
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    let whole = server.rows("all_orders");
    service.call("stop");
    copy(&before, &aof);
    service.call("start");
    assert_ne!(server.rows("all_orders"), whole, "rows are lost");
    ok(at, &server.url, "run shop.yaml --mode stream --until-caught-up");
    assert_eq!(server.rows("all_orders"), whole);
    server.must_be_as_files(at);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn of_two_runs_the_older_is_fenced_by_redis() {
    let server = Keys::new("two");
    let epoch = |name: &str| server.ask(&["HGET", &format!("{{{}}}:samestream", server.key(name)), "epoch"]);
    fences_the_older(&server, 20_000, || KEYS.iter().all(|name| !epoch(name).trim().is_empty()));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn rows_of_redis_have_their_identity_as_names_and_hostile_texts_are_nothing_else() {
    let server = Keys::new("hostile");
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
    replaces_ranges(&Keys::new("range"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn readers_of_redis_see_whole_chunks_of_a_backfill_only() {
    backfills_by_whole_chunks(&Keys::new("chunks"), "redis.sent");
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn a_range_of_a_streams_rows_in_redis_is_refused_before_it_is_read() {
    refuses_ranges_beside_a_stream(&Keys::new("beside"));
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn readers_of_redis_see_whole_runs_only() {
    let server = Keys::new("readers");
    let look = || server.ask(&["HLEN", &server.key("all_orders")]);
    assert_eq!(seen_by_readers(&server, look), ["3000\n"]);
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_REDIS"]
fn what_redis_cannot_take_is_refused_and_its_password_is_shown_nowhere() {
    let server = Keys::new("refused");
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
    refused(
        &run(at, url, "run shop.yaml --mode stream --until-caught-up"),
        5,
        &["E_SINK_DIVERGED", "`all`", "--fresh"],
    );
}
