//! `samestream test`: the tests of the files that we ship pass, wrong ones fail, and `--bless` mends a file.

use std::path::Path;
use std::process::Output;

use crate::cli::{samestream, stderr, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn run(folder: &Path, line: &str) -> Output {
    samestream(folder).args(line.split_whitespace()).output().expect("the program starts")
}

/// A folder with one pipeline of these tests in it.
fn with_tests(tests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(Path::new(ROOT).join("pipelines/page_views.yaml")).unwrap();
    let (head, _) = text.split_once("\ntests:\n").expect("it has tests");
    std::fs::write(folder.path().join("p.yaml"), format!("{head}\ntests:\n{tests}")).unwrap();
    folder
}

/// Two clicks of the first minute, and one so much later that the first minute is final before `c` comes.
const CASE: &str = r#"  - name: three clicks
    given:
      clicks:
        - {event_id: a, user_id: 1, page: /x, event_time: "2026-01-01T00:00:10Z"}
        - {event_id: b, user_id: 2, page: /x, event_time: "2026-01-01T00:02:00Z"}
        - {event_id: c, user_id: 3, page: /x, event_time: "2026-01-01T00:00:20Z"}
"#;

#[cfg(not(feature = "planted-fault"))]
#[test]
fn the_tests_of_the_pipelines_we_ship_pass() {
    let files = |folder: &str| std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let entries = files("pipelines").chain(files("pipelines/nexmark"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    // Many of Nexmark's have none: they are checked against another engine.
    let has_tests = |path: &Path| std::fs::read_to_string(path).unwrap().contains("\ntests:\n");
    paths.retain(|path| !path.parent().unwrap().ends_with("nexmark") || has_tests(path));
    paths.push(Path::new(ROOT).join("crates/cli/starter.yaml"));
    assert!(paths.len() >= 5 + 6);
    for path in paths {
        let output = samestream(Path::new(ROOT)).args(["test", "--format", "json"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}\n{}{}", path.display(), stdout(&output), stderr(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["passed"].as_u64().unwrap() > 0);
        assert!(answer["cases"][0]["ways"].as_u64().unwrap() >= 10);
    }
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn wrong_missing_and_unexpected_rows_are_shown_where_they_are_written() {
    let expect = r#"    expect:
      per_page:
        - {window_start: "2026-01-01T00:00:00Z", page: /x, views: 2, final: true}
        - {page: /nowhere}
      per_page.late: []
"#;
    let folder = with_tests(&format!("{CASE}{expect}"));
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let line = |words: &str| 1 + text.lines().position(|line| line.contains(words)).unwrap();
    let output = run(folder.path(), "test p.yaml");
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{shown}{}", stderr(&output));
    for wanted in [
        format!("✗ three clicks   p.yaml:{}", line("name: three clicks")),
        format!(
            "      ~ line {}: {{window_start: 2026-01-01T00:00:00Z, page: /x, views: 2, final: true}}",
            line("views: 2")
        ),
        "        views: expected 2, found 1".to_string(),
        format!("      - line {}: {{page: /nowhere}}   expected, not found", line("/nowhere")),
        "      + {window_start: 2026-01-01T00:02:00Z,".to_string(),
        "      + {_partition: 0, _offset: 2, ".to_string(),
        "0 passed, 1 failed".to_string(),
    ] {
        assert!(shown.contains(&wanted), "`{wanted}` is not in\n{shown}");
    }
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn bless_writes_what_was_found_and_nothing_else() {
    let expect = r#"    expect:
      per_page:   # by minute
        - {page: /x, views: 7, final: true}   # wrong
      per_page.late: []
"#;
    let folder = with_tests(&format!("{CASE}{expect}"));
    let before = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let output = run(folder.path(), "test p.yaml --bless");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let after = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let expected = before.replace(
        "views: 7, final: true}   # wrong",
        "views: 1, final: true}   # wrong\n        - {page: /x, views: 1, final: false}",
    );
    let expected = expected.replace("per_page.late: []", "per_page.late:\n        - {_partition: 0, _offset: 2}");
    assert_eq!(after, expected);
    let again = run(folder.path(), "test p.yaml --bless");
    assert_eq!(std::fs::read_to_string(folder.path().join("p.yaml")).unwrap(), after);
    assert!(!stdout(&again).contains("wrote"));
    assert_eq!(run(folder.path(), "test p.yaml").status.code(), Some(0));
}

#[test]
fn a_wrong_file_or_an_empty_choice_exits_2() {
    let folder = with_tests("  - {name: x, given: {clicks: [{user_id: many}]}}\n");
    let output = run(folder.path(), "test p.yaml");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("error[E_TYPE]"), "{}", stderr(&output));
    let folder = with_tests(CASE);
    let output = run(folder.path(), "test p.yaml --filter nothing");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no test has `nothing` in its name"), "{}", stderr(&output));
}

/// What a step remembers, several sources and lists, all in one case.
#[cfg(not(feature = "planted-fault"))]
#[test]
fn repetitions_unions_and_nested_values_are_tested_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"version: 1
name: both
sources:
  eu: &SOURCE
  us: &SOURCE
steps:
  unique: {from: [eu, us], tag: region, dedup: {key: [id], within: 10m}}
  per_minute:
    from: unique
    window: {tumbling: {size: 1m}}
    group_by: [region]
    aggregate: {n: "count(*)", last: "last(tags)"}
sinks:
  out: {from: per_minute, jsonl: {path: out.jsonl}}
tests:
  - name: an id is counted once in each partition of each source
    given:
      eu:
        - {id: a, tags: [x, "y z"], at: "2026-01-01T00:00:10Z"}
        - {id: a, tags: [], at: "2026-01-01T00:00:11Z"}
        - {id: a, partition: 1, tags: [w], at: "2026-01-01T00:00:12Z"}
        - {id: a, at: "2026-01-01T00:00:13Z"}
      us:
        - {id: a, tags: [u, ~], at: "2026-01-01T00:00:14Z"}
    expect:
      per_minute:
        - {region: eu, n: 2, last: [w], final: false}
        - {region: us, n: 1, last: [u, ~]}
"#;
    let source = "{journal: {path: SOURCE}, schema: {id: string!, tags: list<string>, at: timestamp!}, event_time: {column: at}}";
    let text = text.replacen("&SOURCE", &source.replace("SOURCE", "a"), 1).replacen(
        "&SOURCE",
        &source.replace("SOURCE", "b"),
        1,
    );
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    let output = run(folder.path(), "test p.yaml");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
}

/// Rows of a join are found with all their columns, also those that no sink reads, and so are its late records.
#[cfg(not(feature = "planted-fault"))]
#[test]
fn joins_are_tested_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"version: 1
name: paid
sources:
  orders: {journal: {path: a}, schema: {id: string!, amount: int64, at: timestamp!}, event_time: {column: at}}
  payments: {journal: {path: b}, schema: {id: string!, paid: int64, paid_at: timestamp!}, event_time: {column: paid_at}}
steps:
  both: {join: {left: orders, right: payments, on: [id], type: left, window: {tumbling: {size: 1m}}}}
sinks:
  out: {from: both, select: [id], jsonl: {path: out.jsonl}}
tests:
  - name: an order without a payment stands alone
    given:
      orders:
        - {id: a, amount: 10, at: "2026-01-01T00:00:10Z"}
        - {id: b, amount: 20, at: "2026-01-01T00:00:20Z"}
        - {id: z, amount: 30, at: "2026-01-01T00:02:00Z"}
        - {id: c, amount: 40, at: "2026-01-01T00:00:30Z"}
      payments:
        - {id: a, paid: 7, paid_at: "2026-01-01T00:00:30Z"}
    expect:
      both:
        - {window_start: "2026-01-01T00:00:00Z", id: a, amount: 10, paid: 7, final: false}
        - {id: b, amount: 20, paid: null, paid_at: null}
        - {window_start: "2026-01-01T00:02:00Z", id: z, amount: 30}
      both.late:
        - {_side: left, _offset: 3}
"#;
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    let output = run(folder.path(), "test p.yaml");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
}

/// A pipeline whose runs end with an error, by what its source and its step say, and one case.
fn failing(source: &str, step: &str, case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"version: 1
name: strict
sources:
  clicks:
    journal: {{path: a}}
    schema: {{id: string!, n: int64!, at: timestamp!}}
    event_time: {{column: at}}
{source}steps:
  per_minute:
    from: clicks
{step}    window: {{tumbling: {{size: 1m}}}}
    aggregate: {{n: "sum(n)"}}
sinks:
  out: {{from: per_minute, jsonl: {{path: out.jsonl}}}}
tests:
  - name: one of them is too late, one is no JSON, one is negative
    given:
      clicks:
        - {{id: a, n: 1, at: "2026-01-01T00:00:10Z"}}
        - {{id: b, n: 2, partition: 1, at: "2026-01-01T00:02:00Z"}}
        - {{id: c, n: -3, partition: 1, at: "2026-01-01T00:02:20Z"}}
        - {{id: d, n: 4, partition: 1, at: "2026-01-01T00:00:20Z"}}
        - {{_raw: "no JSON"}}
{case}"#
    );
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    folder
}

const STRICT: [(&str, &str, &str); 4] = [
    ("    on_late: fail\n", "", "E_LATE"),
    ("    on_bad_record: fail\n", "", "E_BAD_RECORD"),
    ("", "    check: [{name: positive, rule: \"n > 0\", else: fail}]\n", "E_CHECK"),
    (
        "",
        "    derive: {n: \"case when n = 1 then 9223372036854775807 else n end\", at: at}\n    group_by: [{all: \"1\"}]\n",
        "E_OVERFLOW",
    ),
];

/// What ends a run ends a case, and only the case that says so passes.
#[cfg(not(feature = "planted-fault"))]
#[test]
fn a_case_ends_where_a_run_would_and_may_expect_it() {
    for (source, step, code) in STRICT {
        // The overflow is of the window that `1` and `4` fall into: no bound, so that neither is late.
        let source = if code == "E_OVERFLOW" { "    partitions: [0, 1]\n" } else { source };
        let of = |case: &str| {
            let folder = failing(source, step, case);
            if code == "E_OVERFLOW" {
                let path = folder.path().join("p.yaml");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, text.replace("{column: at}", "{column: at, out_of_orderness: 1h}")).unwrap();
            }
            let output = run(folder.path(), "test p.yaml");
            (output.status.code(), stdout(&output), stderr(&output))
        };
        let (exit, shown, said) = of(&format!("    fails: {code}\n"));
        assert_eq!(exit, Some(0), "{code}: {shown}{said}");
        let (exit, shown, said) = of("    expect: {per_minute.bad: []}\n");
        assert_eq!(exit, Some(1), "{code}: {shown}{said}");
        assert!(shown.contains(&format!("the run failed: error[{code}]")), "{shown}");
        assert!(shown.contains(&format!("the case says so: `fails: {code}`")), "{shown}");
        let other = if code == "E_LATE" { "E_CHECK" } else { "E_LATE" };
        let (exit, shown, said) = of(&format!("    fails: {other}\n"));
        assert_eq!(exit, Some(1), "{code}: {shown}{said}");
        assert!(
            shown.contains(&format!("error[{code}]")) && shown.contains(&format!("says `fails: {other}`")),
            "{shown}"
        );
    }
    let folder = failing("", "", "    fails: E_LATE\n");
    for line in ["test p.yaml", "test p.yaml --bless"] {
        let before = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
        let output = run(folder.path(), line);
        assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("the run succeeds, and is to fail with E_LATE"), "{}", stdout(&output));
        assert_eq!(std::fs::read_to_string(folder.path().join("p.yaml")).unwrap(), before);
    }
}

/// What a run drops, a case does not show.
#[cfg(not(feature = "planted-fault"))]
#[test]
fn late_records_that_are_dropped_are_not_there() {
    let folder = failing("    on_late: drop\n", "", "    expect: {per_minute.late: [], clicks.bad: [{_offset: 1}]}\n");
    let output = run(folder.path(), "test p.yaml");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let folder = failing("    on_late: drop\n", "", "    expect: {per_minute.late: [{id: d}]}\n");
    let output = run(folder.path(), "test p.yaml");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`per_minute.late` stays empty"), "{}", stderr(&output));
}

/// Two ways of running that differ fail a case, whatever it expects: here, lateness that depends on the chunk.
#[cfg(feature = "planted-fault")]
#[test]
fn a_difference_between_ways_of_running_fails_a_case_that_expects_nothing() {
    let folder = with_tests(CASE);
    for line in ["test p.yaml", "test p.yaml --bless"] {
        let output = run(folder.path(), line);
        assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("! rows of per_page differ between"), "{}", stdout(&output));
    }
}
