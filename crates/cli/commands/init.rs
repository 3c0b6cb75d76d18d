//! `samestream init`: a starter project that runs at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use engine::{Code, Error, Result};
use runtime::append::{AppendOptions, Appender, Input};
use runtime::clickstream::{Clickstream, Options};
use runtime::untidy;

use crate::global::Global;
use crate::{clock, report};

const STARTER: &str = include_str!("../starter.yaml");
const IGNORED: &str = ".samestream/*\n!.samestream/pipeline.schema.json\ndata/out/\n";

/// Make a starter project: a pipeline, a little data in a journal, a schema for the editor
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream init my_project\n  \
    cd my_project && samestream run page_views --mode batch")]
pub(crate) struct Arguments {
    /// The folder; made when it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let dir = &arguments.dir;
    let data = dir.join("data/clicks");
    let files = [
        (dir.join("pipelines/page_views.yaml"), STARTER.to_string()),
        (dir.join(".samestream/pipeline.schema.json"), schema()),
        (dir.join("data/clicks.jsonl"), sample()),
        (dir.join(".gitignore"), IGNORED.to_string()),
    ];
    let in_the_way = files.iter().map(|(path, _)| path).chain([&data]).find(|path| path.exists());
    if let Some(path) = in_the_way {
        return Err(Error::new(Code::Target, format!("`{}` is there already", path.display()))
            .help("`samestream init DIR` makes the project in a folder of its own"));
    }
    for (path, text) in &files {
        write(path, text)?;
    }
    fill_journal(&data, &dir.join("data/clicks.jsonl"))?;
    if !global.quiet {
        let cd = if dir == Path::new(".") { String::new() } else { format!("cd {} && ", dir.display()) };
        report::say(&format!(
            "✓ a project in `{}`: pipelines/page_views.yaml over data/clicks\n  next     {cd}samestream run page_views --mode batch\n",
            dir.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the schema of the pipeline file, for the YAML language server.
pub(crate) fn schema() -> String {
    format!("{:#}\n", pipeline::schema::pipeline())
}

/// Writes a file and the folders on the way to it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        connectors::store::create_folder(folder)?;
    }
    connectors::store::write_atomic(path, text.as_bytes())
}

/// Returns a few hundred events, one a line; some come late, a few are not good.
fn sample() -> String {
    let log = untidy::Options { events: 600, partitions: 1, rate: 1, late: 0.02, bad: 0.0, ..Default::default() };
    let options = Options { log, pages: 12, keys: 40 };
    let mut lines = Vec::new();
    for records in Clickstream::new(options) {
        for value in records.values.iter().flatten() {
            lines.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    lines.insert(300, r#"{"event_id": "a broken line", "#.into());
    lines.join("\n") + "\n"
}

fn fill_journal(journal: &Path, lines: &Path) -> Result<()> {
    let options = AppendOptions {
        journal: journal.to_path_buf(),
        partitions: Some(2),
        partition_by: Some("user_id".into()),
        timestamp: None,
        input: Input::JsonLines,
        json: Vec::new(),
    };
    let file =
        std::fs::File::open(lines).map_err(|error| Error::io(format!("cannot read `{}`", lines.display()), error))?;
    Appender::open(options)?
        .append(&lines.display().to_string(), &mut std::io::BufReader::new(file), &clock::now_ms)
        .map(|_| ())
}
