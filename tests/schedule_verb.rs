//! `samestream schedule`: what it tells of firings, and a daemon with a clock that the test sets.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::{samestream, stderr, stdout};
use crate::codes::Project;
use crate::restart::{self, ok, run};
use crate::runs_verb::{json as answer, runs};
use crate::servers::{hold, signal, stop, wait_for};
use crate::state_verb::refused;

/// The pipeline of `codes.rs` with schedules; its records are of the first minutes of 2026.
fn project(schedules: &str) -> Project {
    let project = Project::archived();
    project.changed(&[("sinks:\n", &format!("schedules:\n{schedules}sinks:\n"))]);
    project
}

const HOURLY: &str = "  hourly: {cron: \"0 * * * *\", timezone: UTC, reprocess: {last: 2h}}\n";

/// Returns the program with a clock that stands in a file.
fn at(folder: &Path, line: &str) -> Command {
    let mut command = samestream(folder);
    command.args(line.split_whitespace()).env("SAMESTREAM_TEST_CLOCK", folder.join("clock"));
    command
}

fn set(folder: &Path, clock: &str) {
    // A reader never sees half of it.
    fs::write(folder.join("clock.new"), clock).unwrap();
    fs::rename(folder.join("clock.new"), folder.join("clock")).unwrap();
}

/// Does what is due at a time.
fn once(folder: &Path, clock: &str) -> Output {
    set(folder, clock);
    let output = at(folder, "schedule start coins.yaml --once-due").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "at {clock}\n{}", stderr(&output));
    output
}

fn history(folder: &Path) -> Vec<Value> {
    answer(folder, "schedule history coins.yaml --limit 0").as_array().unwrap().clone()
}

/// When firings were due, and what became of them.
fn became(folder: &Path) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let what = |row: &Value| text(if row["outcome"].is_null() { &row["what"] } else { &row["outcome"] });
    history(folder).iter().map(|row| (text(&row["due"])[11..16].to_string(), what(row))).collect()
}

#[track_caller]
fn assert_became(folder: &Path, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(due, what)| (due.to_string(), what.to_string())).collect();
    assert_eq!(became(folder), expected);
}

#[test]
fn next_tells_what_each_firing_will_reprocess_on_the_days_on_which_clocks_are_put() {
    let project = project(
        "  nightly: {cron: \"30 2 * * *\", timezone: Europe/Berlin, reprocess: previous_interval}\n  \
           week: {cron: \"0 0 * * 1\", timezone: Asia/Shanghai, reprocess: {last: 7d}}\n",
    );
    let at = project.path();
    let next = answer(at, "schedule next coins.yaml -n 4 --after 2026-03-27T12:00:00Z");
    let rows = next.as_array().unwrap();
    let field = |name: &str| rows.iter().map(|row| row[name].as_str().unwrap()).collect::<Vec<_>>();
    // 02:30 of 29 March is not shown in Berlin: clocks go from 02:00 to 03:00, at 01:00 UTC.
    assert_eq!(
        field("local"),
        ["2026-03-28 02:30 +01:00", "2026-03-29 03:00 +02:00", "2026-03-30 00:00 +08:00", "2026-03-30 02:30 +02:00"]
    );
    assert_eq!(
        field("due"),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T16:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        field("from"),
        ["2026-03-27T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-22T16:00:00Z", "2026-03-29T01:00:00Z"]
    );
    assert_eq!(field("to"), field("due"));
    let text = stdout(&run(at, "schedule next coins.yaml -n 2 --after 2026-03-28T12:00:00Z --format table"));
    let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(line, "coins nightly 2026-03-29 03:00 +02:00 2026-03-29T01:00Z 2026-03-28T01:30Z .. 2026-03-29T01:00Z");
    let listed = answer(at, "schedule list coins.yaml");
    assert_eq!((&listed[0]["cron"], &listed[1]["timezone"]), (&json!("30 2 * * *"), &json!("Asia/Shanghai")));
    assert!(!at.join(".samestream/runs.redb").exists(), "looking makes nothing");
}

#[test]
fn what_has_no_schedule_is_refused() {
    let project = Project::archived();
    refused(project.path(), "schedule next coins.yaml", "E_EMPTY", 2);
    refused(project.path(), "schedule start", "E_EMPTY", 2);
    let project = self::project(HOURLY);
    let text = refused(project.path(), "schedule trigger coins.yaml hourley", "E_EMPTY", 2);
    assert!(text.contains("its schedules are: hourly"), "{text}");
}

#[test]
fn what_is_due_runs_over_its_range_and_is_noted() {
    let project = project(HOURLY);
    let folder = project.path();
    once(folder, "2025-12-31T23:30:00Z");
    assert_became(folder, &[]);
    let said = stderr(&once(folder, "2026-01-01T01:00:05Z"));
    assert!(said.contains("coins hourly  due 2026-01-01 00:00 +00:00: missed"), "{said}");
    assert!(said.contains("coins hourly  due 2026-01-01 01:00 +00:00: done with exit code 0"), "{said}");
    assert_became(folder, &[("00:00", "missed"), ("01:00", "done")]);
    once(folder, "2026-01-01T01:30:00Z");
    assert_became(folder, &[("00:00", "missed"), ("01:00", "done")]);
    let runs = runs(folder);
    assert_eq!(runs.len(), 1);
    assert_eq!((&runs[0]["by"], &runs[0]["mode"]), (&json!("schedule hourly"), &json!("batch")));
    assert_eq!((&runs[0]["from"], &runs[0]["to"]), (&json!("2025-12-31T23:00:00Z"), &json!("2026-01-01T01:00:00Z")));
    assert_eq!(runs[0]["firing"], json!({"schedule": "hourly", "due": "2026-01-01T01:00:00Z", "attempt": 1}));
    // The rows of the range are those that the whole run has there: all that there are.
    let of_range = fs::read_to_string(folder.join("out.jsonl")).unwrap();
    ok(folder, "run coins.yaml --mode batch");
    let whole = fs::read_to_string(folder.join("out.jsonl")).unwrap();
    assert!(of_range.lines().count() > 3);
    assert_eq!(sorted(&of_range), sorted(&whole));
    assert_eq!(history(folder)[1]["runs"], json!([1]));
    let shown = stdout(&run(folder, "schedule history coins.yaml --format table"));
    assert!(shown.contains("2026-01-01 01:00 +00:00  done") && shown.contains("missed"), "{shown}");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Cron mails what is said, each minute.
#[test]
fn what_goes_well_is_not_told_to_who_wants_quiet() {
    let project = project(HOURLY);
    let folder = project.path();
    for clock in ["2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"] {
        set(folder, clock);
        let output = at(folder, "schedule start coins.yaml --once-due --quiet").output().unwrap();
        assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), String::new(), String::new()));
    }
    assert_became(folder, &[("01:00", "done")]);
    set(folder, "2026-01-01T04:00:00Z");
    let output = at(folder, "schedule start coins.yaml --once-due --quiet").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("E_EMPTY"), "{}", stderr(&output));
}

#[test]
fn what_would_fail_again_is_not_repeated() {
    let project = project(
        "  hourly: {cron: \"0 * * * *\", timezone: UTC, reprocess: {last: 2h}, retry: {times: 3, backoff: 1m}}\n",
    );
    let folder = project.path();
    once(folder, "2026-01-01T03:30:00Z");
    // Nothing is from 02:00 to 04:00.
    for (clock, code) in [("2026-01-01T04:00:00Z", 2), ("2026-01-01T04:10:00Z", 0)] {
        set(folder, clock);
        let output = at(folder, "schedule start coins.yaml --once-due").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "at {clock}\n{}", stderr(&output));
    }
    assert_eq!(history(folder)[0]["runs"], json!([1]));
}

#[test]
fn a_firing_whose_run_was_forgotten_does_not_fire_again() {
    let project = project(HOURLY);
    let folder = project.path();
    once(folder, "2026-01-01T00:30:00Z");
    once(folder, "2026-01-01T01:00:00Z");
    assert_eq!(runs(folder).len(), 1);
    ok(folder, "runs prune --keep 0");
    once(folder, "2026-01-01T01:30:00Z");
    assert!(runs(folder).is_empty(), "{:?}", runs(folder));
}

#[test]
fn a_clock_that_is_set_back_fires_nothing_twice() {
    let project = project(HOURLY);
    let folder = project.path();
    once(folder, "2026-01-01T00:30:00Z");
    once(folder, "2026-01-01T01:00:00Z");
    once(folder, "2026-01-01T00:40:00Z");
    once(folder, "2026-01-01T01:00:30Z");
    assert_became(folder, &[("01:00", "done")]);
    once(folder, "2026-01-01T02:00:00Z");
    assert_became(folder, &[("01:00", "done"), ("02:00", "done")]);
}

#[test]
fn what_falls_into_a_pause_is_left_out_and_trigger_runs_it_all_the_same() {
    let project = project(HOURLY);
    let folder = project.path();
    once(folder, "2026-01-01T00:30:00Z");
    assert!(at(folder, "schedule pause coins.yaml").status().unwrap().success());
    assert_eq!(answer(folder, "schedule list coins.yaml")[0]["paused"], true);
    once(folder, "2026-01-01T01:00:00Z");
    assert_became(folder, &[("01:00", "paused")]);
    set(folder, "2026-01-01T03:10:00Z");
    assert!(at(folder, "schedule resume coins.yaml hourly").status().unwrap().success());
    once(folder, "2026-01-01T03:20:00Z");
    assert_became(folder, &[("01:00", "paused")]);
    let output = at(folder, "schedule trigger coins.yaml --due 2026-01-01T01:00:00Z").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = at(folder, "schedule trigger coins.yaml hourly").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "nothing is from 01:00 to 03:00\n{}", stderr(&output));
    let runs = runs(folder);
    assert_eq!(runs[0]["by"], "schedule hourly, triggered");
    assert_eq!((&runs[0]["from"], &runs[0]["to"]), (&json!("2025-12-31T23:00:00Z"), &json!("2026-01-01T01:00:00Z")));
    assert_eq!((&runs[1]["from"], &runs[1]["to"]), (&json!("2026-01-01T01:00:00Z"), &json!("2026-01-01T03:00:00Z")));
    assert_became(folder, &[("01:00", "paused")]);
}

/// A sink that cannot be reached fails with exit code 4; one that is wrong with another.
#[test]
fn what_the_environment_let_fail_is_repeated_and_who_is_to_be_told_is_told_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/told?token=hush-hush", server.local_addr().unwrap());
    let schedule = "  hourly:\n    cron: \"0 * * * *\"\n    timezone: UTC\n    reprocess: {last: 2h}\n    \
                    retry: {times: 1, backoff: 5m}\n    on_success: {command: [sh, -c, \"cat > told.json\"]}\n    \
                    on_failure: {webhook: \"${HOOK}\"}\n";
    let project = project(schedule);
    project.changed(&[("name: coins\n", "name: coins\nvars: {HOOK: {secret: true}}\n")]);
    let folder = project.path();
    let once = |clock: &str, code: i32| {
        set(folder, clock);
        let output = at(folder, "schedule start coins.yaml --once-due").env("HOOK", &url).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "at {clock}\n{}", stderr(&output));
        assert!(!stderr(&output).contains("hush-hush"));
    };
    let history = || {
        let output = at(folder, "schedule history coins.yaml --format json").env("HOOK", &url).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    once("2026-01-01T00:30:00Z", 0);
    once("2026-01-01T01:00:00Z", 0);
    let told: Value = serde_json::from_str(&fs::read_to_string(folder.join("told.json")).unwrap()).unwrap();
    assert_eq!((&told["schedule"], &told["outcome"]), (&json!("hourly"), &json!("success")));
    assert_eq!(told["run"]["id"], 1);
    // A folder stands where the sink's file is to be.
    fs::remove_file(folder.join("out.jsonl")).unwrap();
    fs::create_dir(folder.join("out.jsonl")).unwrap();
    fs::write(folder.join("out.jsonl/in_the_way"), "").unwrap();
    once("2026-01-01T02:00:00Z", 4);
    let firing = &history()[1];
    assert_eq!((&firing["outcome"], &firing["exit"], &firing["runs"]), (&json!("failed"), &json!(4), &json!([2])));
    once("2026-01-01T02:04:00Z", 0);
    assert_eq!(history()[1]["runs"], json!([2]), "it is not time yet");
    let heard = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = server.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4096];
        while !request.windows(2).any(|end| end == b"}}") {
            let size = stream.read(&mut part).unwrap();
            request.extend_from_slice(&part[..size]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    });
    once("2026-01-01T02:06:00Z", 4);
    assert_eq!(history()[1]["runs"], json!([2, 3]));
    let request = heard.join().unwrap();
    assert!(request.starts_with("POST /told?token=hush-hush "), "{request}");
    let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["outcome"], &body["run"]["id"], &body["run"]["exit"]), (&json!("failure"), &json!(3), &json!(4)));
    once("2026-01-01T02:30:00Z", 0);
    assert_eq!(history()[1]["runs"], json!([2, 3]), "twice is enough");
    assert!(!stdout(&run(folder, "runs list --limit 0")).contains("hush-hush"));
}

#[test]
fn a_run_that_went_well_is_verified_when_that_is_to_follow() {
    let schedule = "  hourly: {cron: \"0 * * * *\", timezone: UTC, reprocess: {last: 2h}, then: verify, on_success: {command: [touch, told]}}\n";
    let project = project(schedule);
    let folder = project.path();
    once(folder, "2026-01-01T00:30:00Z");
    once(folder, "2026-01-01T01:00:00Z");
    assert_eq!(history(folder)[0]["verified"], 0);
    assert!(folder.join("told").exists());
}

/// A daemon that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a daemon and waits until it holds the state folder.
fn daemon(folder: &Path) -> Daemon {
    let mut command = at(folder, "schedule start coins.yaml --format json");
    let daemon = Daemon(command.stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon", || folder.join(".samestream/schedule.lock").exists());
    daemon
}

#[test]
fn a_daemon_goes_by_the_clock_and_there_is_one() {
    let project = project(HOURLY);
    let folder = project.path();
    set(folder, "2026-01-01T00:30:00Z");
    let mut child = daemon(folder);
    let since = || answer(folder, "schedule list coins.yaml")[0]["since"].clone();
    wait_for("the schedule to be seen", || since() == "2026-01-01T00:30:00Z");
    let text = refused(folder, "schedule start coins.yaml", "E_STATE_BUSY", 5);
    assert!(text.contains("another process"), "{text}");
    set(folder, "2026-01-01T01:00:01Z");
    wait_for("the firing", || became(folder) == [("01:00".to_string(), "done".to_string())]);
    // The machine sleeps over two firings.
    set(folder, "2026-01-01T03:40:00Z");
    wait_for("the latest of those that were missed", || became(folder).len() == 3 && became(folder)[2].1 != "running");
    signal(&child.0, "-TERM");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let what: Vec<String> = became(folder).into_iter().map(|(due, _)| due).collect();
    assert_eq!(what, ["01:00", "02:00", "03:00"]);
    assert_eq!(became(folder)[1].1, "missed");
    // Now another one may.
    once(folder, "2026-01-01T03:41:00Z");
}

/// A pipeline of which a run takes a while.
fn slow() -> tempfile::TempDir {
    let project = restart::project(150_000);
    let schedule = "schedules:\n  hourly: {cron: \"0 * * * *\", timezone: UTC, reprocess: {from: \"2020-01-01\", to: \"2040-01-01\"}, retry: {times: 3, backoff: 1m}}\nsinks:\n  \
                    per_page: {from: per_page, parquet: {path: out}}\n";
    let steps = restart::PIPELINE.split("sinks:\n").next().unwrap().replace("name: clicks\n", "name: coins\n");
    fs::write(project.path().join("coins.yaml"), steps + schedule).unwrap();
    project
}

/// Waits until a run goes on. To ask the program would take as long as the run may.
fn wait_for_run(folder: &Path) {
    let goes_on = || fs::read_dir(folder.join(".samestream/runs")).is_ok_and(|mut logs| logs.next().is_some());
    let until = Instant::now() + Duration::from_secs(240);
    while !goes_on() {
        assert!(Instant::now() < until, "no run");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_ends_cleanly_with_its_daemon_and_is_begun_again() {
    let project = slow();
    let folder = project.path();
    for (how, hour) in [("-TERM", 1), ("-KILL", 2)] {
        let due = format!("{hour:02}:00");
        set(folder, "2026-01-01T00:30:00Z");
        let mut child = daemon(folder);
        let last = || became(folder).last().cloned().unwrap_or_default();
        wait_for("the schedule to be seen", || !answer(folder, "schedule list coins.yaml")[0]["since"].is_null());
        set(folder, &format!("2026-01-01T{due}:00Z"));
        wait_for_run(folder);
        signal(&child.0, how);
        child.0.wait().unwrap();
        wait_for("the run to end with it", || last().1 != "running");
        assert_eq!(last().1, "stopped", "{how}");
        once(folder, &format!("2026-01-01T{hour:02}:10:00Z"));
        assert_eq!(last(), (due, "done".to_string()), "{how}");
        let runs = history(folder).last().unwrap()["runs"].clone();
        assert_eq!(runs, if hour == 1 { json!([1, 2]) } else { json!([3, 4]) }, "{how}");
    }
}

/// A run can outlive the daemon that began it; the next one finds it, and learns of its end by looking again.
#[test]
fn a_daemon_looks_again_at_a_run_of_the_one_before() {
    let project = slow();
    let folder = project.path();
    set(folder, "2026-01-01T00:30:00Z");
    let mut first = daemon(folder);
    let last = || became(folder).last().cloned().unwrap_or_default();
    wait_for("the schedule to be seen", || !answer(folder, "schedule list coins.yaml")[0]["since"].is_null());
    set(folder, "2026-01-01T01:00:00Z");
    wait_for_run(folder);
    signal(&first.0, "-TERM");
    first.0.wait().unwrap();
    assert_eq!(last(), ("01:00".to_string(), "stopped".to_string()));
    // The second try, as a daemon begins it; the test has it in hand, since a process that stands still ends with its parent.
    let mut second = at(folder, "run coins.yaml --mode batch --from 2020-01-01 --to 2040-01-01 --stop-on-eof");
    second.args(["--firing", "hourly 2026-01-01T01:00:00Z 2"]);
    let mut second = Daemon(second.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    wait_for_run(folder);
    // Not while it holds the catalogue: it may be noting that it begins.
    let catalogue = hold(folder.join(".samestream/runs.lock"));
    stop(&second.0);
    drop(catalogue);
    let _daemon = daemon(folder);
    // It has looked at the run some times by then.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(last(), ("01:00".to_string(), "running".to_string()));
    drop(second.0.stdin.take());
    signal(&second.0, "-CONT");
    second.0.wait().unwrap();
    set(folder, "2026-01-01T01:10:00Z");
    wait_for("the run to be begun again", || last() == ("01:00".to_string(), "done".to_string()));
    assert_eq!(history(folder).last().unwrap()["runs"], json!([1, 2, 3]));
}
