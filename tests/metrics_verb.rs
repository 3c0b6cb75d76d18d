//! `samestream run --metrics`: real requests to a stream that runs, every line read as Prometheus reads it, and numbers that
//! are those of the summary.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn ok(folder: &Path, line: &str) {
    let output = samestream(folder).args(line.split_whitespace()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
}

/// A folder with a pipeline over a messy clickstream in a journal.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pipelines")).unwrap();
    let text = std::fs::read_to_string(Path::new(ROOT).join("pipelines/page_views.yaml")).unwrap();
    std::fs::write(folder.path().join("pipelines/page_views.yaml"), text).unwrap();
    ok(
        folder.path(),
        "gen --to journal:data/journal/clicks --events 20000 --rate 10 --partitions 3 --late 2% --bad 0.5%",
    );
    folder
}

/// A stream that runs, and where it serves its numbers.
struct Running {
    child: Child,
    address: SocketAddr,
    /// The stream's standard error goes on to be read, so that it does not wait for a reader.
    _said: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(folder: &Path, more: &[&str], token: Option<&str>) -> Self {
        Self::start_with(folder, more, token, "")
    }

    /// The same, with something that happens at named points.
    fn start_with(folder: &Path, more: &[&str], token: Option<&str>, points: &str) -> Self {
        let line = "run page_views --mode stream --checkpoint-every 100ms --summary s.json";
        let mut command: Command = samestream(folder);
        command.args(line.split_whitespace()).args(more).stderr(Stdio::piped()).stdout(Stdio::null());
        if !points.is_empty() {
            command.env("FAILPOINTS", points);
        }
        if let Some(token) = token {
            command.env("SAMESTREAM_METRICS_TOKEN", token);
        }
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut address = None;
        let mut line = String::new();
        while address.is_none() && said.read_line(&mut line).unwrap() > 0 {
            assert!(token.is_none_or(|token| !line.contains(token)), "{line}");
            address = line.strip_prefix("metrics  http://").and_then(|rest| rest.split('/').next()?.parse().ok());
            line.clear();
        }
        let rest = std::thread::spawn(move || drop(std::io::copy(&mut said, &mut std::io::sink())));
        Self { child, address: address.expect("it says where it listens"), _said: rest }
    }

    fn get(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A server that refuses what comes may close before it has come, and before its answer is read.
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        assert!(!head.contains("chunked"), "{head}");
        (head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_string())
    }

    /// Waits until a path answers with 200.
    fn wait(&self, path: &str) {
        let begun = Instant::now();
        while self.get(path, "").0 != 200 {
            assert!(
                begun.elapsed() < Duration::from_secs(240),
                "{path} does not become well: {:?}",
                self.get(path, "")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the numbers satisfy a condition, and returns them.
    fn scraped(&self, is_there: impl Fn(&Scraped) -> bool) -> Scraped {
        let begun = Instant::now();
        loop {
            let (code, text) = self.get("/metrics", "");
            assert_eq!(code, 200);
            let scraped = parsed(&text);
            if is_there(&scraped) {
                return scraped;
            }
            assert!(begun.elapsed() < Duration::from_secs(240), "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops it and returns its summary.
    fn stop(mut self, folder: &Path) -> Value {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&std::fs::read_to_string(folder.join("s.json")).unwrap()).unwrap()
    }
}

/// Samples by name and labels, and what is said of each metric: kind and help.
#[derive(Default)]
struct Scraped {
    samples: BTreeMap<(String, String), f64>,
    about: BTreeMap<String, (String, String)>,
}

impl Scraped {
    /// Returns the sum of a metric over all its samples.
    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((known, _), _)| known == name).map(|(_, value)| value).sum()
    }

    fn count(&self, name: &str) -> usize {
        self.samples.keys().filter(|(known, _)| known == name).count()
    }
}

/// Reads the text as OpenMetrics says: HELP and TYPE before samples, a number each, labels in quotes, EOF at the end.
fn parsed(text: &str) -> Scraped {
    let mut scraped = Scraped::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(lines.peek().is_none(), "nothing comes after the end");
            return scraped;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect("a TYPE");
            let before = scraped.about.insert(name.to_string(), (kind.to_string(), help.to_string()));
            assert!(before.is_none(), "{name} is there twice");
            continue;
        }
        let (named, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}` has no value"));
        let (name, labels) = named.strip_suffix('}').and_then(|named| named.split_once('{')).unwrap_or((named, ""));
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("`{line}`"));
            assert!(!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(!value.contains('\\'), "{line}");
        }
        let of = |end: &str| name.strip_suffix(end).is_some_and(|name| scraped.about.contains_key(name));
        let is_known = scraped.about.contains_key(name) || ["_total", "_bucket", "_sum", "_count"].into_iter().any(of);
        assert!(is_known, "`{line}` belongs to no metric");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("`{line}` has no number"));
        assert!(scraped.samples.insert((name.into(), labels.into()), value).is_none(), "`{line}` is there twice");
    }
    panic!("no EOF in\n{text}")
}

#[test]
fn numbers_of_a_stream_are_those_of_its_summary() {
    let folder = folder();
    let running = Running::start(folder.path(), &["--metrics", "127.0.0.1:0"], None);
    running.wait("/healthz");
    running.wait("/readyz");
    let scraped = running.scraped(|scraped| {
        scraped.sum("samestream_source_records_total") == 20_000.0
            && scraped.sum("samestream_checkpoint_duration_seconds_count") > 0.0
            && scraped.sum("samestream_sink_rows_total") > 0.0
            && scraped.sum("samestream_windows_final_total") > 0.0
    });
    assert_eq!(running.get("/nothing", "").0, 404);
    // Every metric of the table is there, as the table has it.
    for metric in web::METRICS {
        let (kind, help) = &scraped.about[metric.name];
        assert_eq!((kind.as_str(), help.as_str()), (metric.kind.name(), metric.help), "{}", metric.name);
    }
    assert_eq!(scraped.about.len(), web::METRICS.len());
    let summary = running.stop(folder.path());
    let number = |name: &str| summary[name].as_f64().unwrap();
    assert_eq!(scraped.sum("samestream_source_records_total"), number("rows_read"));
    assert_eq!(scraped.sum("samestream_late_records_total"), number("rows_late"));
    assert_eq!(scraped.sum("samestream_decode_errors_total"), number("rows_bad"));
    assert_eq!(scraped.sum("samestream_windows_final_total"), number("windows"));
    assert_eq!(scraped.sum("samestream_sink_rows_total"), number("rows_written"));
    assert!(number("rows_late") > 0.0 && number("rows_bad") > 0.0 && number("rows_written") > 0.0);
    // Journals hold every offset: what was read ends where the summary says.
    let ends: f64 = summary["end"]["clicks"].as_object().unwrap().values().map(|end| end.as_f64().unwrap()).sum();
    assert_eq!(scraped.sum("samestream_source_offset"), ends);
    assert_eq!(scraped.sum("samestream_source_end_offset"), ends);
    assert_eq!(scraped.sum("samestream_source_lag_records"), 0.0);
    assert_eq!(scraped.count("samestream_source_lag_records"), 3);
    let held = &summary["held_by"];
    let labels =
        format!("pipeline=\"page_views\",source=\"clicks\",partition=\"{}\",reason=\"slowest\"", held["partition"]);
    assert_eq!(scraped.samples[&("samestream_watermark_held".to_string(), labels)], 1.0);
    let mark = chrono::DateTime::parse_from_rfc3339(held["watermark"].as_str().unwrap()).unwrap();
    let shown = scraped.sum("samestream_watermark_timestamp_seconds");
    assert!((shown - mark.timestamp_micros() as f64 / 1e6).abs() < 1e-3, "{shown} is not {mark}");
    // The least largest event time is the watermark and the bound of disorder, 30 s.
    let name = "samestream_event_time_max_timestamp_seconds";
    let largest = scraped.samples.iter().filter(|((known, _), _)| known == name).map(|(_, value)| *value);
    assert!((largest.fold(f64::MAX, f64::min) - 30.0 - shown).abs() < 1e-3);
    let buckets = |bound: &str| {
        let labels = format!("le=\"{bound}\",pipeline=\"page_views\"");
        let other = format!("pipeline=\"page_views\",le=\"{bound}\"");
        let name = "samestream_checkpoint_duration_seconds_bucket".to_string();
        scraped.samples.get(&(name.clone(), labels)).or_else(|| scraped.samples.get(&(name, other))).copied()
    };
    assert_eq!(buckets("+Inf"), Some(scraped.sum("samestream_checkpoint_duration_seconds_count")));
    assert!(buckets("30.0").is_some() && buckets("0.001") <= buckets("30.0"));
    assert!(scraped.sum("samestream_source_bytes_total") > 20_000.0);
    if cfg!(target_os = "linux") {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let started = scraped.sum("process_start_time_seconds");
        assert!(started > now - 300.0 && started < now + 1.0, "{started} at {now}");
        assert!(scraped.sum("process_cpu_seconds_total") > 0.0);
        let (resident, all) = ("process_resident_memory_bytes", "process_virtual_memory_bytes");
        assert!(scraped.sum(resident) > 1e6 && scraped.sum(all) >= scraped.sum(resident));
        assert!(scraped.sum("process_open_fds") > 3.0);
    }
    assert!(scraped.sum("samestream_state_bytes") > 0.0 && scraped.sum("samestream_windows_open") > 0.0);
}

/// The first commit stands still for so long that the test has ended before.
#[test]
fn the_lag_grows_while_a_commit_waits() {
    let folder = folder();
    let more = ["--metrics", "127.0.0.1:0"];
    let mut running = Running::start_with(folder.path(), &more, None, "checkpoint.made=sleep(120000)");
    let checkpoints = folder.path().join(".samestream/page_views/stream/checkpoints");
    let is_manifest = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with("1.json");
    let begun = Instant::now();
    while !std::fs::read_dir(&checkpoints).is_ok_and(|mut entries| entries.any(|entry| is_manifest(entry.unwrap()))) {
        assert!(begun.elapsed() < Duration::from_secs(240), "no checkpoint is made");
        std::thread::sleep(Duration::from_millis(50));
    }
    let record = r#"{"event_id":"more","user_id":1,"page":"/more","event_time":"2030-01-01T00:00:00Z"}"#;
    std::fs::write(folder.path().join("more.jsonl"), format!("{record}\n").repeat(500)).unwrap();
    let [first, second] = [20_500.0, 21_000.0].map(|end| {
        ok(folder.path(), "append data/journal/clicks more.jsonl");
        running.scraped(|scraped| scraped.sum("samestream_source_end_offset") == end)
    });
    let read = |scraped: &Scraped| scraped.sum("samestream_source_offset");
    assert!(read(&first) > 0.0 && read(&first) == read(&second), "nothing is read meanwhile");
    for (scraped, end) in [(&first, 20_500.0), (&second, 21_000.0)] {
        assert_eq!(scraped.sum("samestream_source_lag_records"), end - read(scraped));
        assert_eq!(scraped.sum("samestream_checkpoint_duration_seconds_count"), 0.0, "it is not done");
        assert_eq!(scraped.count("samestream_checkpoint_last_success_timestamp_seconds"), 0);
        assert!(scraped.count("samestream_state_bytes") > 0 && scraped.count("samestream_sink_rows_total") > 0);
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let folder = folder();
    let running = Running::start(folder.path(), &["--metrics", "0"], Some("open-sesame-0815"));
    running.wait("/healthz");
    for headers in ["", "Authorization: Bearer open-sesame-0816\r\n", "Authorization: Basic open-sesame-0815\r\n"] {
        let (code, body) = running.get("/metrics", headers);
        assert_eq!(code, 401, "{headers}");
        assert!(!body.contains("samestream_") && !body.contains("sesame"), "{body}");
    }
    let (code, body) = running.get("/metrics", "Authorization: Bearer open-sesame-0815\r\n");
    assert_eq!(code, 200);
    assert!(!body.contains("sesame"));
    assert_eq!(running.stop(folder.path())["pipeline"], "page_views");

    // The same out of a file, and an address that others reach is allowed with it.
    std::fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
    let more = ["--metrics", "0.0.0.0:0", "--metrics-token-file", "token", "--fresh"];
    let mut running = Running::start(folder.path(), &more, None);
    running.address = SocketAddr::from(([127, 0, 0, 1], running.address.port()));
    running.wait("/healthz");
    assert_eq!(running.get("/metrics", "").0, 401);
    assert_eq!(running.get("/metrics", "Authorization: Bearer from-a-file\r\n").0, 200);
    running.stop(folder.path());
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is_read() {
    let folder = folder();
    for (line, code) in [
        ("run page_views --mode stream --metrics 0.0.0.0:0", "E_OPEN_BIND"),
        ("run page_views --mode stream --metrics nowhere", "E_USAGE"),
        ("run page_views --mode batch --metrics 127.0.0.1:0", "E_USAGE"),
        ("run page_views --mode stream --metrics 0 --metrics-token-file none", "E_NOT_FOUND"),
    ] {
        let output = samestream(folder.path()).args(line.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains(&format!("error[{code}]")), "{line}: {}", stderr(&output));
    }
    assert!(!folder.path().join("data/out").exists());
}

/// Clients that say nothing, say half, or do not read hold up neither the stream nor others that ask.
#[test]
fn slow_clients_stall_neither_the_stream_nor_others() {
    let folder = folder();
    let running = Running::start(folder.path(), &["--metrics", "127.0.0.1:0"], None);
    let mut slow = Vec::new();
    for number in 0..12 {
        let mut stream = TcpStream::connect(running.address).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
        }
        slow.push(stream);
    }
    running.wait("/readyz");
    let scraped = running.scraped(|scraped| scraped.sum("samestream_source_records_total") == 20_000.0);
    assert!(scraped.sum("samestream_windows_final_total") > 0.0);
    // A head that is too long is refused, and what is no HTTP at all ends its connection.
    let (code, body) = running.get("/metrics", &format!("X: {}\r\n", "x".repeat(64 * 1024)));
    assert!([0, 431].contains(&code) && body.is_empty(), "{code} {body}");
    let (code, _) = running.get("/metrics", &"X: 1\r\n".repeat(100));
    assert_eq!(code, 431);
    assert_eq!(running.stop(folder.path())["rows_read"], 20_000);
}
