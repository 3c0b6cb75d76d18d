//! A disk that is really full, as far as that can be had everywhere: no file may grow beyond a limit of the process (`ulimit -f`),
//! which the system reports as it does a quota. Every command ends with `E_DISK`; with a larger limit it goes on to the result
//! of an undisturbed run. Every single write of a run goes wrong in `crash_points`.

use std::path::Path;
use std::process::Output;

use crate::cli::{samestream, stderr, stdout};
use crate::restart::{SINKS, ok, project, run, summary};

/// Runs a command of which no file may have more than so many blocks of 512 bytes.
fn limited(folder: &Path, blocks: u32, line: &str) -> Output {
    let program = samestream(folder).get_program().to_owned();
    // The signal that comes with the error would end the process; an ignored one stays ignored.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {line}");
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script).arg(program).current_dir(folder);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SAMESTREAM_")) {
        command.env_remove(name);
    }
    command.output().unwrap()
}

/// Runs a command under limits that grow until it comes through; returns how often it was refused.
fn run_as_space_comes(folder: &Path, line: &str) -> usize {
    for (refused, blocks) in [1, 4, 16, 48, 128, 320, 800, 2_000, 5_000, 50_000].into_iter().enumerate() {
        let output = limited(folder, blocks, line);
        if output.status.success() {
            return refused;
        }
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(4), "`{line}` with {blocks} blocks: {text}");
        let error = text.lines().find(|line| line.contains("error[E_DISK]")).unwrap_or_default();
        assert!(error.contains('/') && text.contains("help: make room"), "it names the file, {blocks} blocks: {text}");
    }
    panic!("`{line}` does not come through");
}

#[test]
fn a_run_without_space_ends_with_its_code_and_goes_on_when_there_is_some() {
    let folder = project(12_000);
    let at = folder.path();
    ok(at, "run clicks.yaml --mode batch --out expected --state-dir elsewhere --summary expected.json");
    let expected = summary(at, "expected.json");
    for (mode, options) in [("stream", "--until-caught-up --checkpoint-every 20ms"), ("batch", "")] {
        let refused = run_as_space_comes(at, &format!("run clicks.yaml --mode {mode} {options} --summary run.json"));
        assert!(refused >= 4, "{mode} mode was refused {refused} times only");
        let found = summary(at, "run.json");
        for key in ["digest_all", "digest_final", "digest_late", "digest_bad", "rows_read", "rows_written"] {
            assert_eq!(found[key], expected[key], "{mode}: {key}");
        }
        for sink in SINKS {
            let name = sink.split('.').next().unwrap();
            let differences = run(at, &format!("diff expected/{name} out/{sink}"));
            let text = format!("{}{}", stdout(&differences), stderr(&differences));
            assert_eq!(differences.status.code(), Some(0), "{mode}, {sink}: {text}");
        }
        std::fs::remove_dir_all(at.join("out")).unwrap();
    }
    let refused = run_as_space_comes(at, "state export clicks.yaml --to tables");
    assert!(refused >= 1, "tables came through at once");
}

#[test]
fn an_archive_without_space_goes_on_when_there_is_some() {
    let folder = project(12_000);
    let at = folder.path();
    let text = std::fs::read_to_string(at.join("clicks.yaml")).unwrap();
    let with_lake = text.replace("journal: {path: log}", "journal: {path: log}\n    lake: {path: lake}");
    assert_ne!(text, with_lake);
    ok(at, "run clicks.yaml --mode batch --summary journal.json");
    std::fs::write(at.join("clicks.yaml"), &with_lake).unwrap();
    let refused = run_as_space_comes(at, "archive clicks.yaml --until-caught-up");
    assert!(refused >= 3, "it was refused {refused} times only");
    ok(at, "run clicks.yaml --mode batch --out elsewhere --state-dir another --summary lake.json");
    assert_eq!(summary(at, "lake.json")["digest_all"], summary(at, "journal.json")["digest_all"]);
    // What makes logs says so too.
    std::fs::write(at.join("copy.yaml"), with_lake.replace("path: log", "path: copy")).unwrap();
    for line in ["gen --to journal:new --events 5000", "replay copy.yaml"] {
        let output = limited(at, 64, line);
        assert_eq!(output.status.code(), Some(4), "`{line}`: {}", stderr(&output));
        assert!(stderr(&output).contains("error[E_DISK]"), "`{line}`: {}", stderr(&output));
    }
}
