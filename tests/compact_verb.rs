//! `samestream compact`: few files, the same rows, and the stream goes on.

use std::path::Path;

use serde_json::Value;

use crate::cli::{stderr, stdout};
use crate::restart::{PIPELINE, ok, project, run, start};
use crate::state_verb::refused;

/// The rows of a sink's folder in the order of its files, and how many files there are.
fn rows(at: &Path, sink: &str) -> (String, usize) {
    let output = run(at, &format!("query out/{sink} --format csv"));
    assert!(output.status.success(), "{}", stderr(&output));
    let names = std::fs::read_dir(at.join("out").join(sink)).unwrap();
    let is_rows = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with(['.', '_']);
    (stdout(&output), names.filter(|entry| is_rows(&entry.as_ref().unwrap().file_name())).count())
}

#[test]
fn a_stream_goes_on_from_compacted_files_to_what_batch_gives() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("clicks.yaml"), PIPELINE).unwrap();
    // So slow that windows and sessions end between the cuts.
    ok(at, "gen --to journal:log --events 4000 --late 3% --bad 0.5% --duplicates 2% --rate 1 --keys 200");
    refused(at, "compact clicks.yaml", "E_TARGET", 2);
    for end in [150, 300, 450, 600] {
        let cut = format!("--end clicks:0={end},1={end},2={end},3={end}");
        ok(at, &format!("run clicks.yaml --mode stream --until-caught-up {cut}"));
    }
    let sinks = ["per_page", "visits", "bought"];
    let before = sinks.map(|sink| rows(at, sink));
    assert!(before.iter().all(|(_, files)| *files >= 4), "there is something to join");

    ok(at, "compact clicks.yaml --dry-run");
    assert_eq!(sinks.map(|sink| rows(at, sink)), before, "a dry run changes nothing");
    let output = run(at, "compact clicks.yaml --format json");
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let told = told.as_array().unwrap();
    assert_eq!(told.iter().map(|sink| &sink["sink"]).collect::<Vec<_>>(), ["bought", "per_page", "visits"]);
    let after = sinks.map(|sink| rows(at, sink));
    for ((sink, before), after) in sinks.iter().zip(&before).zip(&after) {
        assert_eq!(before.0, after.0, "{sink}");
        assert!(after.1 <= 2, "{sink}: final rows in one file, open ones in another");
    }
    assert!(told.iter().all(|sink| sink["files_after"] == 1 && sink["rows_joined"].as_u64() > Some(0)), "{told:?}");

    ok(at, "run clicks.yaml --mode stream --until-caught-up");
    ok(at, "run clicks.yaml --mode batch --out batch");
    for sink in sinks {
        ok(at, &format!("diff out/{sink} batch/{sink}"));
    }
}

#[test]
fn compaction_is_refused_while_a_stream_writes_and_of_what_has_no_files() {
    let folder = project(2_000);
    let at = folder.path();
    ok(at, "run clicks.yaml --mode stream --until-caught-up");
    let mut stream = start(at);
    let began = std::time::Instant::now();
    let busy = loop {
        let output = run(at, "compact clicks.yaml --sinks visits");
        if !output.status.success() {
            break output;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(240), "the stream never took its sink");
    };
    stream.kill().unwrap();
    stream.wait().unwrap();
    assert_eq!(busy.status.code(), Some(5), "{}", stderr(&busy));
    assert!(stderr(&busy).contains("another run writes to out/visits"), "{}", stderr(&busy));
    assert!(refused(at, "compact clicks.yaml --sinks visit", "E_EMPTY", 2).contains("per_page"));
    assert!(refused(at, "compact clicks.yaml --sinks late", "E_USAGE", 2).contains("no folder of files"));
}
