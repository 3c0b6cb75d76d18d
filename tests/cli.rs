//! The command line as a user meets it: help, errors, exit codes, and the verbs that need no pipeline.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::codes::{Project, truncate, unreachable};

/// Returns the program, in a folder, without the caller's settings.
pub(crate) fn samestream(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_samestream"));
    command.current_dir(folder).env_remove("NO_COLOR").stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SAMESTREAM_")) {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    samestream(Path::new(".")).args(arguments).output().expect("the program starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the verbs that the help lists.
fn verbs() -> Vec<String> {
    let help = stdout(&run(&["--help"]));
    let list = help.split("Commands:\n").nth(1).expect("help lists commands").split("\n\n").next().unwrap();
    let starts = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    starts.map(|line| line.split_whitespace().next().unwrap().to_string()).collect()
}

#[test]
fn help_of_every_verb_teaches_by_example() {
    let verbs = verbs();
    assert!(verbs.len() >= 6, "{verbs:?}");
    for verb in verbs {
        let output = run(&[&verb, "--help"]);
        let help = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        let examples = help.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("samestream {verb}")), "`{verb} --help` shows no example:\n{help}");
    }
}

#[test]
fn every_option_has_its_environment_variable() {
    for verb in verbs() {
        let help = stdout(&run(&[&verb, "--help"]));
        let options = help.lines().map(str::trim_start).filter(|line| line.starts_with("--") || line.starts_with('-'));
        for option in options {
            let Some(long) = option.split_whitespace().find(|word| word.starts_with("--")) else { continue };
            let long = long.trim_start_matches("--").trim_end_matches([',', '.']);
            if long == "help" || long == "version" {
                continue;
            }
            let variable = format!("[env: SAMESTREAM_{}=", long.replace('-', "_").to_uppercase());
            let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(&variable), "`{verb} --{long}` has no {variable}\n{help}");
        }
    }
}

#[test]
fn a_variable_stands_for_its_flag() {
    let output = samestream(Path::new(".")).env("SAMESTREAM_FORMAT", "json").arg("version").output().unwrap();
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["name"], "samestream");
}

#[test]
fn a_wrong_command_line_exits_2() {
    for arguments in
        [&["nonsense"][..], &["diff", "a"], &["diff", "a", "b", "--no-such-flag"], &["version", "--format", "odd"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn errors_are_json_when_asked() {
    for arguments in [&["diff", "no-left", "no-right", "--format", "json"][..], &["nonsense", "--format=json"]] {
        let output = run(arguments);
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one JSON object");
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error["code"].as_str().unwrap().starts_with("E_"), "{error}");
        assert_eq!(error["severity"], "error");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn an_error_names_its_code_and_the_way_on() {
    let output = run(&["diff", "no-left", "no-right"]);
    let text = stderr(&output);
    assert!(text.starts_with("error[E_NOT_FOUND]: `no-left` is not there\n"), "{text}");
    assert!(text.contains("  more: samestream explain E_NOT_FOUND\n"), "{text}");
    let explained = run(&["explain", "E_NOT_FOUND"]);
    assert_eq!(explained.status.code(), Some(0));
    assert!(stdout(&explained).starts_with("E_NOT_FOUND (exit 2)\n"));
    assert_eq!(run(&["explain", "E_NO_SUCH_CODE"]).status.code(), Some(2));
}

/// Runs the project's pipeline, which must end with this exit code and an error in the form for people.
fn fails(project: &Project, mode: &str, exit: i32, code: &str, words: &str) {
    let output = samestream(project.path()).args(["run", "coins.yaml", "--mode", mode]).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{text}");
    assert!(output.stdout.is_empty(), "an error is not an answer: {}", stdout(&output));
    assert!(text.starts_with(&format!("error[{code}]: ")), "{text}");
    assert!(text.lines().next().unwrap().contains(words) || text.contains(&format!("╭─[{words}]")), "{text}");
    assert!(text.contains("\n  help: "), "{text}");
    assert!(text.ends_with(&format!("\n  more: samestream explain {code}\n")), "{text}");
}

#[test]
fn a_run_that_ends_well_exits_0() {
    let project = Project::archived();
    let output = samestream(project.path()).args(["run", "coins.yaml", "--mode", "batch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(project.path().join("out.jsonl").is_file());
}

#[test]
fn a_typo_in_a_pipeline_exits_2_and_shows_the_place() {
    let project = Project::archived();
    project.changed(&[("group_by", "groupby")]);
    fails(&project, "batch", 2, "E_FIELD", "coins.yaml:14:5");
}

#[test]
fn a_damaged_file_exits_3_and_is_named() {
    let project = Project::archived();
    truncate(&project.file(2));
    fails(&project, "batch", 3, "E_CORRUPT", "00000000000000000002.parquet");
}

#[test]
fn a_broker_that_cannot_be_reached_exits_4() {
    let project = Project::archived();
    unreachable(&project);
    fails(&project, "stream", 4, "E_BROKER", "topic clicks at 127.0.0.1:");
}

#[test]
fn a_locked_state_folder_exits_5_until_it_is_free() {
    let project = Project::archived();
    let lock = project.lock();
    fails(&project, "batch", 5, "E_STATE_BUSY", ".samestream/coins/batch");
    drop(lock);
    let output = samestream(project.path()).args(["run", "coins.yaml", "--mode", "batch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn diff_answers_by_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.csv", "k,v\n1,0.5\n2,1\n"), ("b.csv", "k,v\n2,1\n1,0.5\n"), ("c.csv", "k,v\n1,0.5\n2,3\n")]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let diff = |right: &str| samestream(folder.path()).args(["diff", "a.csv", right, "--key", "k"]).output().unwrap();
    let same = diff("b.csv");
    assert_eq!((same.status.code(), stdout(&same).as_str()), (Some(0), "same: 2 rows\n"));
    let different = diff("c.csv");
    assert_eq!(different.status.code(), Some(1));
    assert!(stdout(&different).starts_with("~ k=2  v: 1.0 → 3.0\ndifferent: 1 changed"), "{}", stdout(&different));
}

#[test]
fn query_speaks_every_format() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("views.csv"), "page,n\n/a,1\n/b,2\n").unwrap();
    let query = |format: &str| {
        let sql = "select page, n from views where n > 1";
        let output = samestream(folder.path()).args(["query", sql, "views.csv", "--format", format]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(query("auto"), "{\"page\":\"/b\",\"n\":2}\n");
    assert_eq!(query("jsonl"), "{\"page\":\"/b\",\"n\":2}\n");
    assert_eq!(query("json"), "[\n  {\"page\":\"/b\",\"n\":2}\n]\n");
    assert_eq!(query("csv"), "page,n\n/b,2\n");
    assert_eq!(query("markdown"), "| page | n |\n| --- | ---: |\n| /b | 2 |\n");
    assert!(query("table").contains("│ /b"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(folder.path().join("n.csv"), format!("n\n{rows}")).unwrap();
    let mut child = samestream(folder.path())
        .args(["query", "n.csv", "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn completions_know_the_verbs() {
    let output = run(&["completions", "bash"]);
    assert!(output.status.success() && stdout(&output).contains("diff"));
}

#[test]
#[cfg(debug_assertions)]
fn a_bug_says_so_and_exits_101() {
    let output = samestream(Path::new(".")).env("SAMESTREAM_TEST_PANIC", "1").arg("version").output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(101));
    assert!(text.starts_with("samestream has a bug"), "{text}");
    let path = text.split("Details are in ").nth(1).expect("the report's place").trim();
    assert!(std::fs::read_to_string(path).unwrap().contains("how a bug looks"));
    std::fs::remove_file(path).unwrap();
}
