//! `samestream diff OLD.yaml NEW.yaml`: what a new definition makes of the log, before it is deployed.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cli::{samestream, stderr, stdout};

fn run(folder: &Path, line: &str) -> Output {
    samestream(folder).args(line.split_whitespace()).output().expect("the program starts")
}

#[track_caller]
fn answer(folder: &Path, line: &str, exit: i32) -> Value {
    let output = run(folder, &format!("{line} --format json"));
    assert_eq!(output.status.code(), Some(exit), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// A folder with a clickstream in a journal, and `pipelines/page_views.yaml` without its lake.
fn project() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let output = run(at, "gen --to journal:data/journal/clicks --events 4000 --rate 10 --late 2%");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/page_views.yaml")).unwrap();
    let text = text.split("\ntests:\n").next().unwrap().replace("    lake: {path: \"${LAKES}/clicks\"}\n", "");
    let text = text.replace("  LAKES: {default: data/lake}\n", "");
    std::fs::write(at.join("old.yaml"), &text).unwrap();
    (folder, text)
}

#[test]
fn a_filter_takes_exactly_the_rows_away_that_it_names() {
    let (folder, text) = project();
    let at = folder.path();
    let old: Vec<Value> = {
        run(at, "run old.yaml --mode batch");
        let rows = run(at, "query data/out/page_views --format jsonl");
        stdout(&rows).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // The page of the first window's first row, so that a range of one window has it too.
    let first = old.iter().map(|row| row["window_start"].as_str().unwrap()).min().unwrap();
    let page = old.iter().find(|row| row["window_start"] == first).unwrap()["page"].as_str().unwrap();
    let home = old.iter().filter(|row| row["page"] == page).count();
    assert!(home > 1 && home < old.len());
    let filter = format!("page <> '' and page <> '{page}'");
    std::fs::write(at.join("new.yaml"), text.replace("page <> ''", &filter)).unwrap();
    let found = answer(at, "diff old.yaml new.yaml --limit 100000", 1);
    let step = &found["steps"]["per_page"];
    assert_eq!(found["same"], false);
    assert_eq!((&step["only_left"], &step["only_right"]), (&Value::from(home), &Value::from(0)));
    assert_eq!((&step["changed"], &step["equal"]), (&Value::from(0), &Value::from(old.len() - home)));
    assert_eq!(step["keys"], serde_json::json!(["window_start", "window_end", "page"]));
    assert!(step["rows"].as_array().unwrap().iter().all(|row| row["key"]["page"] == page));
    // Only the rows of a range.
    let of_first = old.iter().filter(|row| row["page"] == page && row["window_start"] == first).count();
    assert_eq!(of_first, 1);
    let to = first.replace(":00.000000Z", ":01.000000Z");
    let found = answer(at, &format!("diff old.yaml new.yaml --to {to}"), 1);
    assert_eq!(found["steps"]["per_page"]["only_left"], of_first);
    let text = stdout(&run(at, "diff old.yaml new.yaml --limit 1"));
    assert!(text.contains("per_page\n  - window_start="), "{text}");
}

#[test]
fn what_no_result_depends_on_changes_nothing_and_an_output_changes_its_column() {
    let (folder, text) = project();
    let at = folder.path();
    let other = text.replace("description: Views", "description: All views").replace("name: page_views", "name: views");
    std::fs::write(at.join("new.yaml"), &other).unwrap();
    assert_eq!(answer(at, "diff old.yaml new.yaml", 0)["same"], true);
    std::fs::write(at.join("new.yaml"), text.replace("views: \"count(*)\"", "views: \"count(*) * 2\"")).unwrap();
    let found = answer(at, "diff old.yaml new.yaml --limit 100000", 1);
    let step = &found["steps"]["per_page"];
    assert_eq!((&step["equal"], &step["only_left"]), (&Value::from(0), &Value::from(0)));
    for row in step["rows"].as_array().unwrap() {
        assert_eq!(row["right"]["views"].as_u64().unwrap(), 2 * row["left"]["views"].as_u64().unwrap());
        assert_eq!(row["left"].as_object().unwrap().len(), 1, "{row}");
    }
}

#[test]
fn rows_that_are_named_otherwise_are_not_paired() {
    let (folder, text) = project();
    let at = folder.path();
    std::fs::write(at.join("new.yaml"), text.replace("group_by: [page]", "group_by: [page, action]")).unwrap();
    let found = answer(at, "diff old.yaml new.yaml", 1);
    let why = "its rows are named by window_start, window_end, page; now by window_start, window_end, page, action";
    assert_eq!(found["other_keys"], serde_json::json!([["per_page", why]]));
    std::fs::write(at.join("new.yaml"), text.replace("per_page", "by_page")).unwrap();
    answer(at, "diff old.yaml new.yaml", 2);
    answer(at, "diff old.yaml data", 2);
}
