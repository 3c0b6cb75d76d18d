//! The documents do not lie: every YAML block is a pipeline that validates, but for those marked `yaml part`, and every
//! runnable command runs.

use std::path::{Path, PathBuf};

use crate::cli::{samestream, stderr, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block: the words after the fence, and the text.
struct Block {
    words: String,
    text: String,
    place: String,
}

fn documents() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md"].map(|name| Path::new(ROOT).join(name)).into();
    all.push(Path::new(ROOT).join("data/README.md"));
    let docs = std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    all.extend(docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    assert!(all.iter().any(|path| path.ends_with("docs/pipeline.md")));
    all
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut open: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), open.as_mut()) {
                (Some(words), None) => {
                    let place = format!("{}:{}", path.display(), number + 1);
                    open = Some(Block { words: words.trim().into(), text: String::new(), place });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is never closed", path.display());
    }
    blocks
}

fn validate(path: &Path, place: &str) {
    let output = samestream(Path::new(ROOT)).args(["validate", "--deny-warnings"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{place}\n{}{}", stdout(&output), stderr(&output));
}

#[test]
fn every_yaml_block_is_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let yaml: Vec<Block> = blocks().into_iter().filter(|block| block.words == "yaml").collect();
    assert!(
        blocks().iter().all(|block| !block.words.starts_with("yaml") || ["yaml", "yaml part"].contains(&&*block.words))
    );
    assert!(!yaml.is_empty(), "the README shows a pipeline");
    for (number, block) in yaml.iter().enumerate() {
        let path = folder.path().join(format!("{number}.yaml"));
        std::fs::write(&path, &block.text).unwrap();
        validate(&path, &block.place);
        if block.text.contains("\ntests:") {
            let output = samestream(folder.path()).arg("test").arg(&path).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}\n{}{}", block.place, stdout(&output), stderr(&output));
        }
    }
}

#[test]
fn every_file_in_pipelines_validates_without_a_warning() {
    let mut count = 0;
    let files = |folder: &str| std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    for entry in files("pipelines").chain(files("pipelines/nexmark")) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "yaml") {
            validate(&path, &path.display().to_string());
            count += 1;
        }
    }
    assert!(count >= 26);
    validate(&Path::new(ROOT).join("crates/cli/starter.yaml"), "the starter of `init`");
}

/// A block marked `sh run` is a story: its lines run one after the other, in one new folder.
#[test]
fn every_runnable_command_runs() {
    let stories: Vec<Block> = blocks().into_iter().filter(|block| block.words == "sh run").collect();
    assert!(!stories.is_empty(), "the README has commands to run");
    for story in stories {
        let folder = tempfile::tempdir().unwrap();
        let bin = Path::new(env!("CARGO_BIN_EXE_samestream")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let output = std::process::Command::new("sh")
            .args(["-e", "-c", &story.text])
            .env("PATH", path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}\n{}{}", story.place, stdout(&output), stderr(&output));
    }
}

/// Every verb that a document names is one, and its table names every verb.
#[test]
fn the_table_of_verbs_is_complete() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let table = readme.split("| Verb |").nth(1).unwrap().split("\n\n").next().unwrap();
    let help = stdout(&samestream(Path::new(ROOT)).arg("--help").output().unwrap());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for verb in list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let verb = verb.split_whitespace().next().unwrap();
        assert!(table.contains(&format!("| `{verb}")), "README.md's table of verbs lacks `{verb}`");
    }
    let verbs_in_table = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', ' ']).next());
    for verb in verbs_in_table {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(verb)), "`{verb}` is no verb");
    }
}

/// Returns the cells of the rows of a table that stands after a line of a document.
fn table(text: &str, after: &str) -> Vec<Vec<String>> {
    let rest = text.split_once(after).unwrap_or_else(|| panic!("`{after}` is in the document")).1;
    let rows = rest.lines().skip_while(|line| !line.starts_with("| ")).take_while(|line| line.starts_with("| "));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect();
    rows.skip(2).map(cells).collect()
}

/// Returns what stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_sink_has_promises_and_every_promise_a_test_that_is_there() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/delivery.md")).unwrap();
    let (promises, tests) = (table(&text, "# What each sink promises"), table(&text, "## Tests of these promises"));
    for kind in connectors::sink::SINKS {
        let is_told = |rows: &[Vec<String>]| rows.iter().any(|row| quoted(&row[0]).any(|name| name == kind.name));
        assert!(is_told(&promises), "what `{}` promises is not told", kind.name);
        assert!(is_told(&tests), "no test of what `{}` promises is named", kind.name);
    }
    assert!(tests.len() > 30);
    for row in &tests {
        assert!(quoted(&row[1]).count() > 0, "{row:?}");
        for name in quoted(&row[1]) {
            let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("{name} is FILE::TEST"));
            let file = std::fs::read_to_string(Path::new(ROOT).join(format!("tests/{file}.rs"))).unwrap();
            let (before, _) = file.split_once(&format!("\nfn {test}() {{\n")).unwrap_or_else(|| panic!("{name}"));
            let begins = before.lines().rev().take_while(|line| line.starts_with("#["));
            assert!(begins.last() == Some("#[test]"), "{name} is a test");
        }
    }
}
