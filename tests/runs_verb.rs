//! `samestream runs`: every run is noted, whatever started it and however it ended, and no run depends on that.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};
use crate::codes::Project;
use crate::restart::{ok, run, summary};
use crate::servers::{signal, wait_for};
use crate::state_verb::refused;

const BATCH: &str = "run coins.yaml --mode batch";
const STREAM: &str = "run coins.yaml --mode stream --until-caught-up";

/// Runs a verb that answers JSON.
pub(crate) fn json(at: &Path, line: &str) -> Value {
    let output = run(at, &format!("{line} --format json"));
    assert!(output.status.success(), "`samestream {line}`\n{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{line}: {error}\n{}", stdout(&output)))
}

pub(crate) fn runs(at: &Path) -> Vec<Value> {
    json(at, "runs list --limit 0").as_array().unwrap().clone()
}

#[test]
fn every_run_is_noted_with_who_what_and_how_it_ended() {
    let project = Project::archived();
    let at = project.path();
    assert_eq!(runs(at), Vec::<Value>::new());
    assert!(!at.join(".samestream/runs.redb").exists(), "asking makes no catalogue");
    ok(at, &format!("{BATCH} --summary batch.json"));
    ok(at, &format!("{STREAM} --summary stream.json --started-by nightly_dag"));
    ok(at, &format!("{BATCH} --from 2026-01-01T00:01:00Z --to 2026-01-01T00:03:00Z"));
    refused(at, &format!("{BATCH} --sinks no_such_sink"), "E_EMPTY", 2);
    ok(at, &format!("{BATCH} --dry-run"));
    project.changed(&[("count(*)", "count(")]);
    refused(at, BATCH, "E_EXPRESSION", 2);
    let runs = runs(at);
    let field = |name: &str| runs.iter().map(|run| run[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("id"), [1, 2, 3, 4, 5]);
    assert_eq!(field("outcome"), ["done", "done", "done", "failed", "failed"]);
    assert_eq!(field("mode"), ["batch", "stream", "batch", "batch", "batch"]);
    assert_eq!(field("by"), ["manual", "nightly_dag", "manual", "manual", "manual"]);
    assert_eq!(field("exit"), [0, 0, 0, 2, 2]);
    // A file that cannot be read is known by what it was called.
    assert_eq!(field("pipeline"), ["coins", "coins", "coins", "coins", "coins.yaml"]);
    for (run, name) in [(&runs[0], "batch.json"), (&runs[1], "stream.json")] {
        assert_eq!(run["summary"], summary(at, name));
        assert_eq!(run["definition"], summary(at, name)["definition"]);
    }
    assert_eq!(
        runs[0]["command"],
        serde_json::json!(["run", "coins.yaml", "--mode", "batch", "--summary", "batch.json"])
    );
    assert_eq!((&runs[2]["from"], &runs[2]["to"]), (&"2026-01-01T00:01:00Z".into(), &"2026-01-01T00:03:00Z".into()));
    assert_eq!(runs[3]["error"]["code"], "E_EMPTY");
    assert_eq!(runs[4]["error"]["code"], "E_EXPRESSION");
    assert!(runs.iter().all(|run| run["started"].as_str() <= run["ended"].as_str()), "{runs:#?}");
    assert_eq!(json(at, "runs show 2"), runs[1]);
    let shown = stdout(&run(at, "runs show 2 --format table"));
    assert!(shown.contains(runs[1]["summary"]["digest_final"].as_str().unwrap()), "{shown}");
    assert!(shown.contains("offsets     clicks partition 0: 0 .. "), "{shown}");
    let listed = stdout(&run(at, "runs list --outcome failed --format table"));
    assert!(listed.contains("failed E_EMPTY") && !listed.contains("done"), "{listed}");
    let said = stdout(&run(at, "runs logs 4 --format table"));
    assert!(said.contains("error[E_EMPTY]") && said.contains("no sink `no_such_sink`"), "{said}");
    let said = stdout(&run(at, "runs logs 1 --format table"));
    assert!(said.contains("✓ coins  batch"), "{said}");
    refused(at, "runs show 77", "E_EMPTY", 2);
}

#[test]
fn a_typing_error_makes_no_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), "run nosuch --mode batch", "E_NOT_FOUND", 2);
    fs::write(folder.path().join("wrong.yaml"), "version: 1\nname: *x\n").unwrap();
    refused(folder.path(), "run wrong.yaml --mode batch", "E_YAML", 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_run_that_is_killed_is_lost_and_one_that_is_stopped_is_not() {
    let project = Project::archived();
    let at = project.path();
    for (name, outcome) in [("-KILL", "lost"), ("-TERM", "stopped")] {
        let line = ["run", "coins.yaml", "--mode", "stream", "--format", "json", "--progress", "always"];
        let mut child = samestream(at).args(line).stderr(Stdio::null()).spawn().unwrap();
        // Its signals are heard when its rows are there.
        let last = || runs(at).last().cloned().unwrap_or_default();
        wait_for("the run to be noted", || last()["outcome"] == "running" && last()["pid"] == child.id());
        wait_for("the run's sink", || at.join("out.jsonl").exists());
        signal(&child, name);
        child.wait().unwrap();
        let last = last();
        assert_eq!(last["outcome"], outcome);
        assert_eq!(last["exit"], if outcome == "lost" { Value::Null } else { 0.into() });
        assert!(last["ended"].is_string());
    }
    let left = fs::read_dir(at.join(".samestream/runs")).unwrap().count();
    assert_eq!(left, 0, "no log lies about");
}

#[test]
fn a_run_goes_on_without_a_catalogue_that_cannot_be_used() {
    let project = Project::archived();
    let at = project.path();
    let warned = |output: &Output, words: &[&str]| {
        let text = stderr(output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("warning[") && text.contains("not noted in the run catalogue"), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}\n{text}");
        assert!(text.contains("✓ coins  batch"), "{text}");
    };
    ok(at, BATCH);
    let file = at.join(".samestream/runs.redb");
    fs::write(&file, "this is not what was written. ".repeat(1000)).unwrap();
    warned(&run(at, BATCH), &["E_CORRUPT", ".samestream/runs.redb", "move it away"]);
    let text = refused(at, "runs list", "E_CORRUPT", 3);
    assert!(text.contains(".samestream/runs.redb"), "{text}");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    warned(&run(at, BATCH), &["E_IO", ".samestream/runs.redb"]);
    fs::remove_dir(&file).unwrap();
    ok(at, BATCH);
    assert_eq!(runs(at).len(), 1);
}

#[test]
fn processes_that_run_at_once_are_all_noted() {
    let project = Project::archived();
    let at = project.path();
    let start = |number: usize| {
        let by = format!("process {number}");
        let words = ["run", "coins.yaml", "--mode", "batch", "--out", "elsewhere", "--started-by", &by];
        samestream(at).args(words).stderr(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..6).map(start).collect();
    let ids: Vec<u32> = children.iter().map(std::process::Child::id).collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
    assert!(codes.contains(&0), "{codes:?}");
    let runs = runs(at);
    assert_eq!(runs.len(), 6);
    for (pid, code) in ids.iter().zip(codes) {
        let run = runs.iter().find(|run| run["pid"] == *pid).unwrap();
        assert_eq!(run["exit"], code, "{run}");
        assert_eq!(run["outcome"], if code == 0 { "done" } else { "failed" });
    }
}

#[test]
fn a_run_is_retried_with_what_it_was_asked_for() {
    let project = Project::archived();
    let at = project.path();
    let missing = at.join("gone");
    fs::rename(at.join("lake"), &missing).unwrap();
    let line = format!("{BATCH} --out elsewhere --from 2026-01-01T00:01:00Z --project-dir {}", at.display());
    let output = samestream(Path::new("/")).args(line.split_whitespace()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let output = run(at, "runs retry 1");
    assert_eq!(output.status.code(), Some(2), "what it ends with\n{}", stderr(&output));
    fs::rename(&missing, at.join("lake")).unwrap();
    let output = samestream(Path::new("/")).args(["runs", "retry", "1", "--project-dir"]).arg(at).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let runs = runs(at);
    assert_eq!(runs.len(), 3);
    assert_eq!((&runs[2]["by"], &runs[2]["outcome"]), (&"retry of run 1".into(), &"done".into()));
    assert_eq!((&runs[2]["command"], &runs[2]["from"]), (&runs[0]["command"], &runs[0]["from"]));
    assert!(at.join("elsewhere").is_dir());
}

#[test]
fn a_secret_of_the_command_line_is_not_kept_and_so_cannot_be_repeated() {
    let project = Project::archived();
    let at = project.path();
    project.changed(&[("name: coins\n", "name: coins\nowner: \"${WHO}\"\nvars: {WHO: {secret: true}}\n")]);
    let secret = format!("{BATCH} --set vars.WHO=hush-hush");
    ok(at, &secret);
    // Of a file that is not understood nobody knows what is secret.
    project.changed(&[("owner:", "ownr:")]);
    refused(at, &secret, "E_FIELD", 2);
    assert!(runs(at).iter().all(|run| run["command"].to_string().contains("vars.WHO=***")), "{:#?}", runs(at));
    let text = refused(at, "runs retry 1", "E_USAGE", 2);
    assert!(text.contains("was given a secret") && text.contains("vars.WHO=***"), "{text}");
    let kept = fs::read(at.join(".samestream/runs.redb")).unwrap();
    assert!(!kept.windows(9).any(|bytes| bytes == b"hush-hush"));
}

#[test]
fn runs_are_pruned_by_number_and_age() {
    let project = Project::archived();
    let at = project.path();
    (0..4).for_each(|_| ok(at, BATCH));
    refused(at, "runs prune", "E_USAGE", 2);
    assert_eq!(json(at, "runs prune --older-than 1d")["pruned"], 0);
    assert_eq!(json(at, "runs prune --keep 3 --older-than 0s")["pruned"], 1);
    assert_eq!(json(at, "runs prune --keep 1")["pruned"], 2);
    let ids: Vec<Value> = runs(at).iter().map(|run| run["id"].clone()).collect();
    assert_eq!(ids, [4]);
    assert_eq!(json(at, "runs prune --keep 0")["pruned"], 1);
}
