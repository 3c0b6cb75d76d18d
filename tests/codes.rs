//! Every error code is provoked once, as a user would: by a wrong file, a wrong command, hostile data, a world that fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use connectors::lake::{LakeOptions, LakeWriter};
use connectors::records::RawBuilder;
use engine::error::CODES;
use pipeline::Variables;

use crate::cli::{samestream, stderr};

const PIPELINE: &str = r#"version: 1
name: coins
sources:
  clicks:
    journal: {path: log}
    lake: {path: lake}
    format: json
    schema: {page: string!, n: int64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 10s}
steps:
  per_page:
    from: clicks
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: "count(*)", total: "sum(n)"}
sinks:
  out: {from: per_page, jsonl: {path: out.jsonl}}
"#;

/// How a code is provoked.
enum Case {
    /// `samestream validate` refuses the pipeline with these replacements.
    File(&'static [(&'static str, &'static str)]),
    /// What the program says when it is run so.
    Run(fn(&Project) -> Output),
    /// An error of a library that no command leads to: its code and exit.
    Library(fn(&Project) -> engine::Error),
}

/// The word, the exit code that it stands for, and the one case.
#[rustfmt::skip]
const CASES: &[(&str, i32, Case)] = &[
    ("E_YAML", 2, Case::File(&[("name: coins", "name: *coins")])),
    ("E_FIELD", 2, Case::File(&[("size: 1m", "size: 1m, sise: 1m")])),
    ("E_NOT_BUILT", 2, Case::File(&[("format: json", "format: avro")])),
    ("E_VERSION", 2, Case::File(&[("version: 1", "version: 2")])),
    ("E_NAME", 2, Case::File(&[("from: clicks", "from: click")])),
    ("E_UNBOUNDED", 2, Case::File(&[("sinks:", "  both: {join: {left: clicks, right: clicks, on: [page]}}\nsinks:")])),
    ("E_CYCLE", 2, Case::File(&[("from: clicks", "from: per_page")])),
    ("E_VARIABLE", 2, Case::File(&[("path: log", "path: \"${LOG}\"")])),
    ("E_TYPE", 2, Case::File(&[("sum(n)", "sum(page)")])),
    ("E_EXPRESSION", 2, Case::File(&[("count(*)", "count(")])),
    ("E_NONDETERMINISTIC_FN", 2, Case::File(&[("sum(n)", "sum(n + random())")])),
    ("E_GUARD_NEEDS_TS", 2, Case::File(&[("lake}", "lake, layout: connect}"), ("10s}", "10s, max_future: 5m}")])),
    ("E_BINDING", 2, Case::File(&[("    journal: {path: log}\n    lake: {path: lake}\n", "")])),
    ("E_USAGE", 2, Case::Run(|project| project.batch(&["--until-caught-up"]))),
    ("E_EMPTY", 2, Case::Run(|project| project.batch(&["--sinks", "no_such_sink"]))),
    ("E_NOT_FOUND", 2, Case::Run(|project| project.run(&["diff", "no-left", "no-right"]))),
    ("E_TARGET", 2, Case::Run(|project| project.run(&["append", "log", "0.jsonl", "--partitions", "3"]))),
    ("E_UNSUPPORTED", 2, Case::Run(|project| project.changed(&[("path: lake", "path: \"s3://bucket/lake\"")]).batch(&[]))),
    ("E_CUT", 2, Case::Run(|project| project.batch(&["--end", "clicks:0=7"]))),
    ("E_ORIGIN", 2, Case::Run(a_log_that_lost_its_beginning)),
    ("E_NOT_COMPARABLE", 2, Case::Run(|project| project.changed(&[("lake}", "lake, layout: files}")]).run(&["verify", "coins.yaml"]))),
    ("E_OPEN_BIND", 2, Case::Run(|project| project.run(&["run", "coins.yaml", "--mode", "stream", "--metrics", "0.0.0.0:0"]))),
    ("E_LATE", 1, Case::Run(a_late_record)),
    ("E_BAD_RECORD", 3, Case::Run(a_bad_record)),
    ("E_CHECK", 3, Case::Run(a_broken_rule)),
    ("E_OVERFLOW", 3, Case::Run(a_sum_too_large)),
    ("E_SCHEMA", 3, Case::Run(|project| project.changed(&[("n: int64", "n: float64")]).batch(&[]))),
    ("E_LAKE_GAP", 3, Case::Run(a_missing_file)),
    ("E_LAKE_DIVERGES", 3, Case::Run(a_file_that_is_there_twice)),
    ("E_CORRUPT", 3, Case::Run(a_truncated_file)),
    ("E_STATS", 3, Case::Run(statistics_that_lie)),
    ("E_GAP", 3, Case::Run(a_start_before_the_lake)),
    ("E_COMPACTED", 3, Case::Library(a_compacted_topic)),
    ("E_NO_OFFSETS", 3, Case::Run(a_file_without_offset_in_its_name)),
    ("E_BROKER", 4, Case::Run(a_closed_port)),
    ("E_DATABASE", 4, Case::Run(a_database_that_is_not_there)),
    ("E_IO", 4, Case::Run(|project| project.batch(&["--state-dir", "coins.yaml/state"]))),
    ("E_DISK", 4, Case::Run(a_full_disk)),
    ("E_MEMORY", 4, Case::Run(more_sessions_than_fit)),
    ("E_PARTITIONS_CHANGED", 5, Case::Library(a_record_of_a_new_partition)),
    ("E_STOPPED", 130, Case::Library(a_batch_run_that_is_stopped)),
    ("E_TOPIC_ID", 5, Case::Run(a_log_in_the_place_of_another)),
    ("E_LOG_REWRITTEN", 5, Case::Run(a_log_with_other_records)),
    ("E_STATE_BUSY", 5, Case::Run(a_locked_state_folder)),
    ("E_STATE_FOREIGN", 5, Case::Run(|project| { project.caught_up(); project.changed(&[("size: 1m", "size: 2m")]).caught_up() })),
    ("E_SINK_DIVERGED", 5, Case::Run(a_sink_that_is_gone)),
    ("E_STATE_VERSION", 5, Case::Run(a_journal_of_the_future)),
];

#[test]
fn every_code_has_one_case_with_its_exit_code() {
    let table: Vec<(&str, i32)> = CODES.iter().map(|code| (code.name(), code.exit() as i32)).collect();
    let cases: Vec<(&str, i32)> = CASES.iter().map(|(name, exit, _)| (*name, *exit)).collect();
    assert_eq!(cases, table, "cases stand in the order of `engine::error::CODES`");
    let names: BTreeSet<&str> = cases.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), cases.len(), "a code stands twice");
}

#[test]
fn every_code_can_be_provoked() {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, exit, case)) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seen = provoke(case);
            if seen != (name.to_string(), *exit) {
                wrong.lock().unwrap().push(format!("{name} (exit {exit}): saw {seen:?}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the code and the exit code that a case comes to; in place of the code the whole answer when it has none.
fn provoke(case: &Case) -> (String, i32) {
    let project = Project::archived();
    let output = match case {
        Case::File(changes) => project.changed(changes).run(&["validate", "coins.yaml"]),
        Case::Run(run) => run(&project),
        Case::Library(call) => {
            let error = call(&project);
            return (error.code.name().into(), error.code.exit() as i32);
        }
    };
    let (text, exit) = (stderr(&output), output.status.code().unwrap_or(-1));
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    match lines.into_iter().find(|line| line["severity"] == "error") {
        Some(error) if error["exit"] == exit => (error["code"].as_str().unwrap_or_default().into(), exit),
        _ => (text, exit),
    }
}

/// A folder with a pipeline, its journal of six records in one partition, and its lake of three files of two.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// Makes a project whose journal and lake are empty.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("coins.yaml"), PIPELINE).unwrap();
        Self { folder }
    }

    /// Makes a project with records: the lake begins at offset 0 and ends at 6.
    pub(crate) fn archived() -> Self {
        static ORIGINAL: LazyLock<Project> = LazyLock::new(|| {
            let project = Project::bare();
            for turn in 0..3 {
                let line = |n: i32| format!(r#"{{"page":"/a","n":{n},"at":"2026-01-01T00:0{n}:00Z"}}"#);
                project.add(&format!("{turn}.jsonl"), &[&line(2 * turn), &line(2 * turn + 1)]);
                project.fill_lake();
            }
            project
        });
        let folder = tempfile::tempdir().unwrap();
        copy(ORIGINAL.path(), folder.path());
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Appends lines to the journal.
    pub(crate) fn add(&self, name: &str, lines: &[&str]) {
        fs::write(self.path().join(name), lines.join("\n")).unwrap();
        let output = self.run(&["append", "log", name]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    pub(crate) fn fill_lake(&self) {
        let output = self.run(&["archive", "coins.yaml", "--until-caught-up"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Changes the pipeline file.
    pub(crate) fn changed(&self, changes: &[(&str, &str)]) -> &Self {
        let path = self.path().join("coins.yaml");
        let mut text = fs::read_to_string(&path).unwrap();
        for (old, new) in changes {
            assert_eq!(text.matches(old).count(), 1, "`{old}` stands once in the file");
            text = text.replace(old, new);
        }
        fs::write(path, text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = samestream(self.path());
        command.args(["--format", "json", "--quiet"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn batch(&self, arguments: &[&str]) -> Output {
        self.run(&[&["run", "coins.yaml", "--mode", "batch"], arguments].concat())
    }

    fn caught_up(&self) -> Output {
        self.run(&["run", "coins.yaml", "--mode", "stream", "--until-caught-up"])
    }

    /// Returns the lake's file that begins at an offset.
    pub(crate) fn file(&self, first: i64) -> PathBuf {
        self.path().join(format!("lake/partition=0/{first:020}.parquet"))
    }

    /// Takes the folder of the batch run's state, as another run does, until the returned file is dropped.
    pub(crate) fn lock(&self) -> fs::File {
        let folder = self.path().join(".samestream/coins/batch");
        fs::create_dir_all(&folder).unwrap();
        let file = fs::File::create(folder.join("lock")).unwrap();
        file.try_lock().unwrap();
        file
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Cuts the end off a file.
pub(crate) fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 20]).unwrap();
}

/// Makes a source read from a port of this machine that nobody listens at.
pub(crate) fn unreachable(project: &Project) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kafka = format!("kafka: {{brokers: \"127.0.0.1:{port}\", topic: clicks}}");
    project.changed(&[("journal: {path: log}", &kafka)]);
}

/// The journal is made anew, with fewer records than the checkpoint has seen.
fn a_log_in_the_place_of_another(project: &Project) -> Output {
    project.caught_up();
    fs::remove_dir_all(project.path().join("log")).unwrap();
    project.add("other.jsonl", &[r#"{"page":"/a","n":1,"at":"2026-01-01T00:00:01Z"}"#]);
    project.caught_up()
}

/// More records than before, and not the same ones.
fn a_log_with_other_records(project: &Project) -> Output {
    project.caught_up();
    fs::remove_dir_all(project.path().join("log")).unwrap();
    let records: Vec<String> =
        (10..60).map(|n| format!(r#"{{"page":"/other","n":{n},"at":"2026-01-01T00:00:{n}Z"}}"#)).collect();
    project.add("other.jsonl", &records.iter().map(String::as_str).collect::<Vec<_>>());
    project.caught_up()
}

/// The rows are removed that were published so long ago that no checkpoint holds them.
fn a_sink_that_is_gone(project: &Project) -> Output {
    (0..4).for_each(|_| assert!(project.caught_up().status.success()));
    fs::remove_file(project.path().join("out.jsonl")).unwrap();
    fs::remove_file(project.path().join("_out.jsonl.manifest.json")).unwrap();
    project.caught_up()
}

fn a_late_record(project: &Project) -> Output {
    project.add("late.jsonl", &[r#"{"page":"/a","n":1,"at":"2026-01-01T00:00:01Z"}"#]);
    project.fill_lake();
    project.batch(&["--fail-on-late", "0"])
}

fn a_bad_record(project: &Project) -> Output {
    project.add("bad.jsonl", &["{\"page\":"]);
    project.fill_lake();
    project.batch(&["--max-decode-errors", "0"])
}

fn a_broken_rule(project: &Project) -> Output {
    let rule = "    check: [{name: known_page, rule: \"page = '/a'\", else: fail}]\n    window";
    project.changed(&[("    window", rule)]);
    project.add("other.jsonl", &[r#"{"page":"/b","n":1,"at":"2026-01-01T00:09:00Z"}"#]);
    project.fill_lake();
    project.batch(&[])
}

fn a_sum_too_large(project: &Project) -> Output {
    let line = format!(r#"{{"page":"/a","n":{},"at":"2026-01-01T00:09:00Z"}}"#, i64::MAX);
    project.add("large.jsonl", &[&line, &line]);
    project.fill_lake();
    project.batch(&[])
}

/// A run that is stopped or finds nothing leaves the sinks as they were.
fn a_batch_run_that_is_stopped(project: &Project) -> engine::Error {
    assert!(project.batch(&[]).status.success());
    let before = fs::read(project.path().join("out.jsonl")).unwrap();
    let text = PIPELINE.replace("path: l", &format!("path: {}/l", project.path().display()));
    let text = text.replace("path: out", &format!("path: {}/out", project.path().display()));
    let loaded =
        pipeline::load("coins.yaml", &text, &Variables::default()).map_err(|errors| format!("{errors:?}")).unwrap();
    let mut options = runtime::RunOptions::new(runtime::Mode::Batch);
    options.state_dir = project.path().join(".samestream");
    options.settings.stop.store(true, Ordering::Relaxed);
    let error = runtime::run(&std::sync::Arc::new(loaded.plan), &options, &()).unwrap_err();
    assert_eq!(project.batch(&["--end", "clicks:0=0"]).status.code(), Some(2), "an empty run is an error");
    assert_eq!(project.batch(&["--from", "2030-01-01"]).status.code(), Some(2), "an empty range is an error");
    assert_eq!(fs::read(project.path().join("out.jsonl")).unwrap(), before);
    error
}

/// The results in the sink were made from offset 0 on; then the log's first file is gone.
fn a_log_that_lost_its_beginning(project: &Project) -> Output {
    assert!(project.batch(&[]).status.success());
    fs::remove_file(project.file(0)).unwrap();
    project.batch(&[])
}

fn a_missing_file(project: &Project) -> Output {
    fs::remove_file(project.file(2)).unwrap();
    project.batch(&[])
}

fn a_file_that_is_there_twice(project: &Project) -> Output {
    fs::copy(project.file(4), project.file(5)).unwrap();
    project.batch(&[])
}

fn a_truncated_file(project: &Project) -> Output {
    truncate(&project.file(2));
    project.batch(&[])
}

/// Makes the footer of a file claim another largest event time than the one of its records.
fn statistics_that_lie(project: &Project) -> Output {
    lie(&project.file(2), 3);
    project.batch(&[])
}

/// Lets the footer of a file say that its largest event time is a minute later than that minute.
pub(crate) fn lie(path: &Path, minute: i64) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    let size = u32::from_le_bytes(bytes[end - 8..end - 4].try_into().unwrap()) as usize;
    let micros = |minute: i64| (1_767_225_600_i64 + 60 * minute) * 1_000_000;
    let (told, lie) = (micros(minute).to_le_bytes(), micros(minute + 1).to_le_bytes());
    let footer = &mut bytes[end - 8 - size..];
    let places: Vec<usize> = (0..size).filter(|&at| footer[at..].starts_with(&told)).collect();
    assert!(!places.is_empty(), "the footer has statistics of `at`");
    for at in places {
        footer[at..at + 8].copy_from_slice(&lie);
    }
    fs::write(path, bytes).unwrap();
}

fn a_start_before_the_lake(project: &Project) -> Output {
    fs::remove_file(project.file(0)).unwrap();
    project.batch(&["--start", "clicks:0=0"])
}

fn a_file_without_offset_in_its_name(project: &Project) -> Output {
    fs::rename(project.file(4), project.file(4).with_file_name("clicks.parquet")).unwrap();
    project.batch(&[])
}

fn a_closed_port(project: &Project) -> Output {
    unreachable(project);
    project.run(&["run", "coins.yaml", "--mode", "stream"])
}

fn a_database_that_is_not_there(project: &Project) -> Output {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let table = format!("postgres: {{url: \"postgres://nobody@127.0.0.1:{port}/x\", table: coins}}");
    project.changed(&[("jsonl: {path: out.jsonl}", &table)]);
    project.run(&["validate", "coins.yaml", "--online"])
}

/// Writes to a device that is always full.
fn a_full_disk(project: &Project) -> Output {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has a device that is full");
    project.command(&["schema", "pipeline"]).stdout(Stdio::from(full)).output().unwrap()
}

/// Ten thousand open sessions, which cannot leave memory.
fn more_sessions_than_fit(project: &Project) -> Output {
    project.changed(&[("{tumbling: {size: 1m}}", "{session: {gap: 1h}}")]);
    let line = |n: i32| format!(r#"{{"page":"/a/page/with/a/number/{n}","n":{n},"at":"2026-01-01T00:09:00Z"}}"#);
    let lines: Vec<String> = (0..10_000).map(line).collect();
    project.add("many.jsonl", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    project.fill_lake();
    project.batch(&["--memory", "1MiB"])
}

/// The partitions of a log are fixed when a lake of it is opened; there is no topic here that could get another one.
fn a_record_of_a_new_partition(project: &Project) -> engine::Error {
    let loaded = pipeline::load("coins.yaml", PIPELINE, &Variables::default());
    let plan = loaded.map_err(|errors| format!("{errors:?}")).unwrap().plan;
    let lake = project.path().join("another");
    let starts = [(0, 0), (1, 0)];
    let mut writer =
        LakeWriter::open(lake.to_str().unwrap(), &plan.sources[0], LakeOptions::default(), &starts).unwrap();
    let mut records = RawBuilder::new(2);
    records.push(0, 0, None, Some(b"{}"), Vec::new());
    writer.append(&records.finish(), 0).unwrap_err()
}

fn a_compacted_topic(_: &Project) -> engine::Error {
    let binding = engine::plan::KafkaBinding {
        brokers: "localhost:9092".into(),
        topic: "prices".into(),
        options: Default::default(),
    };
    connectors::kafka::must_not_compact(&binding, "delete").unwrap();
    connectors::kafka::must_not_compact(&binding, "delete,compact").unwrap_err()
}

fn a_locked_state_folder(project: &Project) -> Output {
    let _lock = project.lock();
    project.batch(&[])
}

fn a_journal_of_the_future(project: &Project) -> Output {
    let header = project.path().join("log/journal");
    let text = fs::read_to_string(&header).unwrap();
    assert!(text.contains("version 1\n"), "{text}");
    fs::write(header, text.replace("version 1\n", "version 2\n")).unwrap();
    project.run(&["run", "coins.yaml", "--mode", "stream", "--until-caught-up"])
}
