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

#[test]
fn a_function_is_shown_by_any_of_its_names_and_another_is_answered() {
    let shown = run(&["functions", "datediff"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(stdout(&shown).starts_with("### `date_diff`\n"), "{}", stdout(&shown));
    let all = run(&["functions", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&stdout(&all)).unwrap();
    assert!(all.as_array().is_some_and(|all| all.len() >= 120 && all[0]["example"]["value"] == "3"));
    let unknown = run(&["functions", "to_char"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("strftime"), "{}", stderr(&unknown));
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

/// Runs `samestream LINE` in a folder whose `samestream.toml` holds this text.
fn with_profiles(text: &str, line: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("samestream.toml"), text).unwrap();
    std::fs::write(folder.path().join("t.csv"), "n\n1\n").unwrap();
    let mut command = samestream(folder.path());
    command.args(line.split_whitespace()).envs(variables.iter().copied()).output().unwrap()
}

const PROFILES: &str = "default = 'dev'\n[profiles.dev]\nformat = 'csv'\n[profiles.other]\nformat = 'markdown'\n";

#[test]
fn a_flag_goes_before_the_environment_the_profile_and_the_default() {
    let shown = |line: &str, variables: &[(&str, &str)]| {
        let output = with_profiles(PROFILES, line, variables);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let json = ("SAMESTREAM_FORMAT", "json");
    assert_eq!(shown("query t.csv", &[]), "n\n1\n", "the default profile");
    assert_eq!(shown("query t.csv", &[json]), "[\n  {\"n\":1}\n]\n");
    assert_eq!(shown("query t.csv --format jsonl", &[json]), "{\"n\":1}\n");
    let markdown = "| n |\n| ---: |\n| 1 |\n";
    assert_eq!(shown("query t.csv --profile other", &[]), markdown);
    assert_eq!(shown("--profile=other query t.csv", &[("SAMESTREAM_PROFILE", "dev")]), markdown);
    assert_eq!(shown("query t.csv", &[("SAMESTREAM_PROFILE", "other")]), markdown);
    assert_eq!(stdout(&with_profiles("[profiles.dev]\nformat = 'csv'\n", "query t.csv", &[])), "{\"n\":1}\n");
}

#[test]
fn a_profile_that_is_wrong_is_shown_with_its_line() {
    for (text, place, help) in [
        ("[profiles.dev]\nstate_dir = 'x'\n", "╭─[samestream.toml:2:1]", "did you mean `state-dir`?"),
        ("[profile.dev]\n", "╭─[samestream.toml:1:2]", "did you mean `profiles`?"),
        ("[profiles.dev]\nprofile = 'x'\n", "╭─[samestream.toml:2:1]", "[profiles.NAME.vars]"),
        ("[profiles.dev]\nformat = 'odd'\n", "╭─[samestream.toml:2:10]", "possible values"),
        ("[profiles.dev]\nquiet = 'perhaps'\n", "╭─[samestream.toml:2:9]", "`true` or `false`"),
        ("[profiles.dev]\nformat = \n", "╭─[samestream.toml:2:", "this is not TOML"),
        ("[profiles]\ndev = 3\n", "╭─[samestream.toml:2:7]", "a table is"),
        ("[profiles.dev.vars]\nA = [1]\n", "╭─[samestream.toml:2:5]", "not a single value"),
    ] {
        let output = with_profiles(text, "query t.csv --profile dev", &[]);
        let shown = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(shown.starts_with("error[E_FIELD]: ") && shown.contains(place) && shown.contains(help), "{shown}");
        assert_eq!(with_profiles(text, "query --help", &[]).status.code(), Some(0), "help needs no profile");
    }
    let output = with_profiles("[profiles.dev]\nstate_dir = 'x'\n", "query t.csv --format json", &[]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["code"], &error["start"]["line"]), (&"E_FIELD".into(), &2.into()));
}

#[test]
fn a_profile_that_is_not_there_exits_2() {
    let output = with_profiles(PROFILES, "query t.csv --profile prod", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("error[E_NAME]") && stderr(&output).contains("`dev`"), "{}", stderr(&output));
    let folder = tempfile::tempdir().unwrap();
    let output = samestream(folder.path()).args(["version", "--profile", "dev"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error[E_NOT_FOUND]"), "{}", stderr(&output));
}

#[test]
fn the_version_names_the_libraries_that_meet_the_data() {
    let text = stdout(&run(&["version"]));
    let rest = text.strip_prefix(&format!("samestream {} (librdkafka ", env!("CARGO_PKG_VERSION"))).expect(&text);
    let (kafka, rest) = rest.split_once(", arrow ").expect(&text);
    assert!(kafka.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with(")\n"), "{text}");
    assert_eq!(stdout(&run(&["--version"])), text);
    let json: serde_json::Value = serde_json::from_slice(&run(&["version", "--format", "json"]).stdout).unwrap();
    assert_eq!((&json["version"], &json["librdkafka"]), (&env!("CARGO_PKG_VERSION").into(), &kafka.into()));
}

#[test]
fn a_variable_that_stands_for_no_option_is_told() {
    let output = samestream(Path::new(".")).env("SAMESTREAM_THREDS", "3").arg("version").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = stderr(&output);
    assert!(text.contains("`SAMESTREAM_THREDS` stands for no option"), "{text}");
    assert!(text.contains("did you mean `SAMESTREAM_THREADS`?"), "{text}");
    let quiet = samestream(Path::new(".")).env("SAMESTREAM_THREDS", "3").args(["version", "-q"]).output().unwrap();
    assert_eq!(stderr(&quiet), "");
    let known = samestream(Path::new(".")).env("SAMESTREAM_THREADS", "3").arg("version").output().unwrap();
    assert_eq!(stderr(&known), "", "an option of another verb is one too");
}

#[test]
fn every_setting_says_where_it_came_from_and_no_secret_is_shown() {
    let toml =
        "[profiles.dev]\nstate-dir = 'kept'\nquiet = true\ncolor = 'never'\n[profiles.dev.vars]\nPASSWORD = 'hush1'\n";
    let line = "version --show-config --profile dev --format json --set vars.TOKEN=hush2";
    let variables = [("SAMESTREAM_COLOR", "always"), ("SAMESTREAM_THREADS", "3")];
    let output = with_profiles(toml, line, &variables);
    let text = stdout(&output);
    assert!(!text.contains("hush"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let setting = |name: &str, verb: Option<&str>| {
        let all = json["settings"].as_array().unwrap();
        let of = |it: &&serde_json::Value| match verb {
            None => it["verbs"] == serde_json::json!([]),
            Some(verb) => it["verbs"].as_array().unwrap().contains(&verb.into()),
        };
        let found: Vec<_> = all.iter().filter(|it| it["setting"] == name).filter(of).collect();
        assert_eq!(found.len(), 1, "{name} {verb:?}");
        (found[0]["value"].clone(), found[0]["from"].as_str().unwrap().to_string())
    };
    assert_eq!(setting("profile", None), ("dev".into(), "flag".into()));
    assert_eq!(setting("format", None), ("json".into(), "flag".into()));
    assert_eq!(setting("color", None), ("always".into(), "env".into()));
    assert_eq!(setting("quiet", None), ("true".into(), "profile".into()));
    assert_eq!(setting("progress", None), ("auto".into(), "default".into()));
    assert_eq!(setting("set", None), ("vars.TOKEN=***".into(), "flag".into()));
    assert_eq!(setting("vars.PASSWORD", None), ("***".into(), "profile".into()));
    assert_eq!(setting("state-dir", Some("run")), ("kept".into(), "profile".into()));
    assert_eq!(setting("threads", Some("run")), ("3".into(), "env".into()));
    assert_eq!(setting("checkpoint-every", Some("run")), ("2s".into(), "default".into()));
    assert_eq!(setting("show-config", Some("version")), ("true".into(), "flag".into()));
    // For people: one line each.
    let lines = stdout(&with_profiles(toml, "version --show-config --profile dev", &variables));
    let of_threads: Vec<&str> = lines.lines().find(|it| it.contains(" threads ")).unwrap().split_whitespace().collect();
    assert_eq!(of_threads, ["threads", "3", "env", "run,", "verify,", "backfill"]);
}

#[test]
fn every_verb_tells_what_it_answers() {
    let all = stdout(&run(&["--format", "help"]));
    for verb in verbs() {
        let output = run(&[&verb, "--format", "help"]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(text.starts_with(&format!("samestream {verb}\n")) && text.lines().count() > 1, "{verb}: {text}");
        assert!(all.contains(&text), "{verb}");
    }
}

#[test]
fn details_are_said_when_asked() {
    let toml = "[profiles.dev]\nlimit = 3\n[profiles.dev.vars]\nTOKEN = 'hush'\n";
    let lines =
        |line: &str| stderr(&with_profiles(toml, line, &[("SAMESTREAM_KEY", "n"), ("SAMESTREAM_THREADS", "2")]));
    let said = lines("diff t.csv t.csv --profile dev -v");
    for detail in
        ["· profile = dev (flag)\n", "· limit = 3 (profile)\n", "· key = n (env)\n", "· vars.TOKEN = *** (profile)\n"]
    {
        assert!(said.contains(detail), "{said}");
    }
    assert!(!said.contains("threads"), "`diff` has no threads: {said}");
    assert_eq!(lines("diff t.csv t.csv --profile dev"), "");
}
