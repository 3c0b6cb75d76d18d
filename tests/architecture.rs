//! The house rules that a program can check: who depends on whom, what the engine must not touch, forgotten files.
//!
//! A rule that gets in the way is changed here, in a commit that says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates each of them reads.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("pipeline", &["engine"]),
    ("connectors", &["engine"]),
    ("runtime", &["connectors", "engine"]),
    ("analysis", &[]),
    ("web", &["engine", "runtime"]),
    ("cli", &["analysis", "connectors", "engine", "pipeline", "runtime", "web"]),
    ("testkit", &["connectors", "engine", "pipeline", "runtime"]),
];

/// Who may use these crates of others, tests apart.
const KEPT_APART: &[(&str, &str)] = &[
    ("polars", "analysis"),
    ("rdkafka", "connectors"),
    ("postgres", "connectors"),
    ("redis", "connectors"),
    ("fail", "connectors"),
    ("scylla", "connectors"),
    ("openssl", "connectors"),
    ("rustix", "connectors"),
    ("sqlparser", "pipeline"),
    ("serde-saphyr", "pipeline"),
    ("rayon", "runtime"),
    ("clap", "cli"),
    ("tikv-jemallocator", "cli"),
    ("croner", "engine"),
    ("redb", "runtime"),
    ("axum", "web"),
    ("prometheus-client", "web"),
];

/// All that the engine uses. None of these opens a file or socket, starts a thread or draws a number for it.
const ENGINE_USES: &[&str] = &[
    "arrow",
    "base64",
    "chrono",
    "chrono-tz",
    "crc32fast",
    "croner",
    "hashbrown",
    "libm",
    "md-5",
    "regex",
    "serde_json",
    "sha1",
    "sha2",
    "thiserror",
    "xxhash-rust",
];

/// What the engine must not say: its results would depend on the world, the clock or chance.
const ENGINE_MODULES: &[&str] = &["fs", "net", "thread", "env", "process"];
const ENGINE_WORDS: &[&str] = &["Instant", "SystemTime", "Utc::now", "Local::now", "rand::", "RandomState", "rayon"];

/// Who changes files by one module only, which module that is, and what of the standard library it is for.
const CHANGES_FILES_BY_DISK: &[&str] = &["crates/connectors/", "crates/runtime/"];
const DISK: &str = "crates/connectors/src/disk.rs";
const FILE_CHANGES: &[&str] = &[
    "fs::write",
    "fs::rename",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::hard_link",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "OpenOptions",
    "fs::File::create",
];

/// Files that may hold unsafe code.
const UNSAFE: &[&str] = &["crates/connectors/src/kafka/native.rs"];

/// No file of code is longer. The longest has 722 lines today; lower this when it can be, do not raise it.
const MOST_LINES: usize = 900;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of the checkout by their paths from the root, in order, without what `.gitignore` names.
fn files() -> Vec<String> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect("there is a .gitignore");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_end_matches('/')).collect();
    let is_ignored = |path: &str, name: &str| {
        ignored.iter().any(|pattern| match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
            (Some(from_root), _) => path == from_root,
            (_, Some(end)) => name.ends_with(end),
            _ => name == *pattern,
        })
    };
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder of the checkout can be read") {
            let entry = entry.expect("a folder of the checkout can be read");
            let name = entry.file_name().to_str().expect("names are UTF-8").to_string();
            let path = folder.join(&name).to_str().expect("names are UTF-8").to_string();
            if name == ".git" || is_ignored(&path, &name) {
                continue;
            }
            match entry.file_type().expect("a file has a type").is_dir() {
                true => folders.push(path.into()),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the paths and texts of all files of Rust.
fn code() -> Vec<(String, String)> {
    let paths = files().into_iter().filter(|path| path.ends_with(".rs"));
    let found: Vec<_> = paths.map(|path| (path.clone(), read(&path))).collect();
    assert!(found.len() > 100, "only {} files were found", found.len());
    found
}

/// Returns the lines that are not comments, with their numbers.
fn statements(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1_usize..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Returns a file's text without the tests at its end, which may read files.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().expect("a split has a first part")
}

/// Returns the file names of modules that are compiled for tests only.
fn test_modules(code: &[(String, String)]) -> BTreeSet<String> {
    let declared = code.iter().flat_map(|(_, text)| text.split("#[cfg(test)]\nmod ").skip(1));
    declared.filter_map(|rest| rest.split_once(';')).map(|(name, _)| format!("{name}.rs")).collect()
}

/// What a manifest says of the crates it uses.
#[derive(Default)]
struct Uses {
    always: BTreeSet<String>,
    in_tests: BTreeSet<String>,
}

/// Reads the dependencies of a manifest. Only the plain form is understood, and another one is refused.
fn uses(path: &str) -> Uses {
    let mut uses = Uses::default();
    let mut section = String::new();
    for line in read(path).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_string();
            let is_plain = matches!(section.as_str(), "dependencies" | "dev-dependencies" | "workspace.dependencies");
            assert!(is_plain || !section.contains("dependencies"), "{path}: write [{section}] plainly");
            continue;
        }
        let set = match section.as_str() {
            "dependencies" => &mut uses.always,
            "dev-dependencies" => &mut uses.in_tests,
            _ => continue,
        };
        let name = line.split(['.', '=', ' ']).next().expect("a split has a first part");
        let takes_version = line.starts_with(&format!("{name}.workspace = true")) || line.contains("workspace = true");
        assert!(takes_version, "{path}: the version of `{name}` belongs into the root manifest");
        set.insert(name.to_string());
    }
    uses
}

/// Returns our crates by name: the folders under `crates`, of which `cli` is the root package.
fn crates() -> BTreeMap<String, Uses> {
    let all = files();
    let folders: BTreeSet<&str> =
        all.iter().filter_map(|path| path.strip_prefix("crates/")?.split_once('/')).map(|(name, _)| name).collect();
    let manifest = |name: &str| match name {
        "cli" => "Cargo.toml".to_string(),
        name => format!("crates/{name}/Cargo.toml"),
    };
    folders.into_iter().map(|name| (name.to_string(), uses(&manifest(name)))).collect()
}

#[test]
fn arrows_between_crates_are_these() {
    let crates = crates();
    let ours: BTreeSet<&String> = crates.keys().collect();
    let drawn: BTreeMap<String, Vec<String>> = crates
        .iter()
        .map(|(name, uses)| (name.clone(), uses.always.iter().filter(|used| ours.contains(used)).cloned().collect()))
        .collect();
    let expected: BTreeMap<String, Vec<String>> = ARROWS
        .iter()
        .map(|(name, uses)| (name.to_string(), uses.iter().map(|used| used.to_string()).collect()))
        .collect();
    assert_eq!(drawn, expected);
    for (name, uses) in &crates {
        let in_tests: Vec<&String> = uses.in_tests.iter().filter(|used| ours.contains(used)).collect();
        let expected: &[&str] = if name == "cli" { &["testkit"] } else { &[] };
        assert_eq!(in_tests, expected, "what `{name}` uses in its tests");
    }
}

#[test]
fn every_crate_is_a_member_and_is_tested_by_default() {
    let manifest = read("Cargo.toml");
    let default = manifest.lines().find(|line| line.starts_with("default-members")).expect("there are some");
    for name in crates().keys().filter(|name| *name != "cli") {
        let folder = format!("\"crates/{name}\"");
        assert!(manifest.contains(&format!("  {folder},\n")), "{folder} is not a member");
        assert!(default.contains(&folder), "{folder} is not a default member");
    }
}

#[test]
fn crates_of_others_stay_where_they_belong() {
    let crates = crates();
    for (used, by) in KEPT_APART {
        let users: Vec<&String> =
            crates.iter().filter(|(_, uses)| uses.always.contains(*used)).map(|it| it.0).collect();
        assert_eq!(users, [by], "who uses `{used}`");
    }
    let engine: Vec<&String> = crates["engine"].always.iter().collect();
    assert_eq!(engine, ENGINE_USES, "what the engine uses");
}

#[test]
fn the_engine_touches_no_file_clock_thread_or_chance() {
    let code: Vec<_> = code().into_iter().filter(|(path, _)| path.starts_with("crates/engine/")).collect();
    let tests = test_modules(&code);
    let is_test = |path: &str| tests.iter().any(|name| path.ends_with(&format!("/{name}")));
    let mut found = Vec::new();
    for (path, text) in code.iter().filter(|(path, _)| !is_test(path)) {
        for (number, line) in statements(shipped(text)) {
            let module = ENGINE_MODULES.iter().find(|module| names_module(line, module));
            let word = ENGINE_WORDS.iter().find(|word| has_word(line, word));
            if let Some(what) = module.or(word) {
                found.push(format!("{path}:{number}: {what}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Who reads the clock on the wall, and for what. A result is not a function of it: it may be set back or forward at any
/// time. What waits or measures uses `Instant`, which nobody can set.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("crates/cli/clock.rs", "times of records that are made, and when files of a lake are cut"),
    ("crates/connectors/src/sink/mod.rs", "a word that no other process makes"),
    ("crates/runtime/src/checkpoint.rs", "when a checkpoint was made, for people"),
    ("crates/runtime/src/numbers.rs", "a number that is shown"),
];

#[test]
fn the_clock_on_the_wall_is_read_where_no_result_depends_on_it() {
    let words = ["SystemTime::now", "Utc::now", "Local::now"];
    let is_shipped = |path: &str| path.starts_with("crates/") && !path.starts_with("crates/testkit/");
    let all = code();
    let tests = test_modules(&all);
    let holders: BTreeSet<&str> = all
        .iter()
        .filter(|(path, _)| is_shipped(path) && !tests.iter().any(|name| path.ends_with(&format!("/{name}"))))
        .filter(|(_, text)| statements(shipped(text)).any(|(_, line)| words.iter().any(|word| line.contains(word))))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(holders, WALL_CLOCK.iter().map(|(path, _)| *path).collect(), "who reads the clock on the wall");
}

/// Returns true when a line names a module of the standard library, alone or between braces.
fn names_module(line: &str, module: &str) -> bool {
    line.match_indices("std::").any(|(at, _)| {
        let rest = &line[at + "std::".len()..];
        let names = rest.strip_prefix('{').map_or_else(|| vec![rest], |list| list.split([',', '{', ' ']).collect());
        names.iter().any(|name| name.strip_prefix(module).is_some_and(|rest| !rest.starts_with(is_of_word)))
    })
}

/// Returns true when a line has a word that is not a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let goes_on = word.ends_with(is_of_word) && line[at + word.len()..].starts_with(is_of_word);
        !line[..at].ends_with(is_of_word) && !goes_on
    })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn the_rules_about_the_engine_see_what_they_forbid() {
    assert!(has_word("use rand::Rng;", "rand::") && has_word("Instant::now()", "Instant"));
    assert!(!has_word("use super::operand::Operand;", "rand::"));
    for line in ["use std::fs;", "use std::{fmt, fs};", "std::fs::read(x)", "use std::{io::Read, fs::File};"] {
        assert!(names_module(line, "fs"), "{line}");
    }
    for line in ["use std::fmt;", "use std::{fmt, fsx};", "let fs = 1;", "use std::collections::BTreeMap;"] {
        assert!(!names_module(line, "fs"), "{line}");
    }
}

#[test]
fn files_of_a_run_are_changed_by_one_module_only() {
    let code: Vec<_> =
        code().into_iter().filter(|(path, _)| CHANGES_FILES_BY_DISK.iter().any(|of| path.starts_with(of))).collect();
    let tests = test_modules(&code);
    let is_test = |path: &str| tests.iter().any(|name| path.ends_with(&format!("/{name}")));
    let mut found = Vec::new();
    for (path, text) in code.iter().filter(|(path, _)| path != DISK && !is_test(path)) {
        // A `File` that is created is this one, or it is said in full.
        let is_ours = text.contains("disk::File;") || text.contains("disk::{self, File}");
        for (number, line) in statements(shipped(text)) {
            let creates = line.contains("File::create") && !line.contains("disk::File::create") && !is_ours;
            if creates || FILE_CHANGES.iter().any(|word| has_word(line, word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "these go by `{DISK}`: {found:#?}");
    let of_disk = shipped(&read(DISK)).to_string();
    assert!(FILE_CHANGES.iter().filter(|word| has_word(&of_disk, word)).count() >= 5, "it uses what others must not");
}

#[test]
fn every_named_point_is_in_its_table_and_stands_in_one_place() {
    let named = |text: &str| -> Vec<String> {
        let after = text.split("point!(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
        after.map(|rest| rest.split('"').next().unwrap().to_string()).collect()
    };
    let is_shipped = |path: &str| path.starts_with("crates/") && !path.ends_with("/points.rs");
    let mut found: Vec<String> =
        code().iter().filter(|(path, _)| is_shipped(path)).flat_map(|(_, text)| named(shipped(text))).collect();
    found.sort();
    let mut table: Vec<&str> = connectors::points::POINTS.iter().map(|(name, _)| *name).collect();
    table.sort();
    assert_eq!(found, table);
}

#[test]
fn only_the_drivers_know_whether_a_run_is_stream_or_batch() {
    let knows = ["crates/runtime/", "crates/cli/", "crates/testkit/", "tests/"];
    let words = ["Batch", "Stream"].map(|mode| format!("Mode::{mode}"));
    for (path, text) in code().iter().filter(|(path, _)| !knows.iter().any(|folder| path.starts_with(folder))) {
        for (number, line) in statements(text) {
            assert!(!words.iter().any(|word| line.contains(word)), "{path}:{number} asks for the mode");
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for_and_is_not_too_long() {
    for (path, text) in code() {
        assert!(text.starts_with("//! "), "{path} does not open with `//!`");
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{path} has {lines} lines, {MOST_LINES} are allowed: it asks to be two");
    }
}

#[test]
fn every_file_of_tests_is_declared_in_order() {
    let is_direct = |path: &String| path.strip_prefix("tests/").is_some_and(|name| !name.contains('/'));
    let there: Vec<String> = files()
        .iter()
        .filter(|path| is_direct(path) && *path != "tests/tests.rs")
        .filter_map(|path| path.strip_prefix("tests/")?.strip_suffix(".rs"))
        .map(String::from)
        .collect();
    let text = read("tests/tests.rs");
    let declared: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, there, "files of `tests/`, in order");
}

#[test]
fn unsafe_code_stands_in_named_files_with_its_reasons() {
    let allow = format!("allow({}_code)", "unsafe");
    let word = format!("{} ", "unsafe");
    let mut holders = Vec::new();
    for (path, text) in code() {
        if statements(&text).any(|(_, line)| line.contains(&allow)) {
            holders.push(path.clone());
        }
        if !UNSAFE.contains(&path.as_str()) {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in statements(&text).filter(|(_, line)| line.contains(&word)) {
            // The comment may stand above the statement that the block is a part of.
            let above: Vec<&&str> = lines[..number - 1].iter().rev().take(4).collect();
            let has_reason = above.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            assert!(has_reason, "{path}:{number}: `{}` does not say why it is sound", line.trim());
        }
    }
    assert_eq!(holders, UNSAFE, "files that allow unsafe code");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = ["/work", "/root", "../shared"];
    // This file has to name them.
    for path in files().iter().filter(|path| *path != "tests/architecture.rs") {
        let bytes = std::fs::read(root().join(path)).expect("a file of the checkout can be read");
        // Parquet files are not text.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            let found = places.iter().find(|place| names_place(line, place));
            assert!(found.is_none(), "{path}:{number} names `{}`", found.expect("just found"));
        }
    }
}

/// Returns true when a line names a path that begins with a place: no letter goes before it and no word goes on.
fn names_place(line: &str, place: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    line.match_indices(place).any(|(at, _)| {
        let is_start = !line[..at].ends_with(|c: char| goes_on(c) || c == '/');
        is_start && !line[at + place.len()..].starts_with(goes_on)
    })
}

#[test]
fn the_rule_about_places_sees_them() {
    for line in ["cd /work/main", "\"/work\"", "=/root/x", "see ../shared/design"] {
        assert!(["/work", "/root", "../shared"].iter().any(|place| names_place(line, place)), "{line}");
    }
    for line in ["tests/work/x", "/workspace", "crates/root", "https://a.b/work/x"] {
        assert!(!["/work", "/root", "../shared"].iter().any(|place| names_place(line, place)), "{line}");
    }
}

/// Servers that tests may need, by the variable that tells where one is: those tests are run where it runs, and
/// `cargo test broker -- --include-ignored` picks them by their names.
const SERVERS: &[(&str, &str)] =
    &[("KAFKA", "broker"), ("POSTGRES", "postgres"), ("REDIS", "redis"), ("CASSANDRA", "cassandra")];

#[test]
fn tests_that_need_a_server_have_it_in_their_names() {
    let gate = read(".ci/run");
    for (variable, word) in SERVERS {
        let run = |line: &str| line.contains("--include-ignored") && line.split_whitespace().any(|part| part == *word);
        // Those of Cassandra take minutes: `docs/delivery.md` says how to run them.
        assert!(
            *word == "cassandra" || gate.lines().any(run),
            "the gate does not run the tests with `{word}` in their names"
        );
        for (path, text) in code() {
            let Some(file) = path.strip_prefix("tests/").filter(|path| path.ends_with(".rs")) else { continue };
            for after in text.split(&format!("#[ignore = \"needs SAMESTREAM_TEST_{variable}\"]")).skip(1) {
                let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap_or_default();
                assert!(file.contains(word) || name.contains(word), "tests/{file}: `{name}` is never run");
            }
        }
    }
}
