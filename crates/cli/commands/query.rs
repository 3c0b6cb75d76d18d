//! `samestream query`: SQL over results, lakes, late and bad records.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use analysis::Table;
use clap::Args;
use engine::plan::{Input, Layout, Plan};
use engine::{Code, Error, Result};
use runtime::outlet::{aside_folder, aside_name};

use crate::commands::analysis_error;
use crate::global::Global;
use crate::report::{Done, Failure};
use crate::{output, pipelines};

/// Ask SQL of result sets and lakes
///
/// A table is a file of Parquet, JSON lines or CSV, or a folder of such files. A pipeline brings its sinks, the lakes of
/// its sources (`SOURCE` or `SOURCE.lake`), and what its runs kept aside: `SOURCE.bad`, `STEP.late`, `STEP.bad`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream query page_views\n  \
    samestream query 'select page, sum(views) as views from page_views group by page order by views desc' page_views\n  \
    samestream query 'select _bad, count(*) as n from clicks.bad group by _bad' page_views\n  \
    samestream query 'select count(*) from a join b using (id)' a=left.parquet b=right.csv --format csv")]
pub(crate) struct Arguments {
    /// The query; `-` reads it from standard input; a table's path or a pipeline's name alone shows its rows
    sql: String,
    /// Tables, as NAME=PATH or as a path whose last part is the name; pipelines, as paths or bare names
    #[arg(value_name = "TABLE|PIPELINE")]
    tables: Vec<String>,
    /// Where runs keep late and bad records
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let mut tables = Vec::new();
    for text in &arguments.tables {
        tables.extend(named(text, arguments, global)?);
    }
    let sql = match arguments.sql.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Error::io("cannot read standard input", error))?;
            text
        }
        word if !word.contains(char::is_whitespace) => {
            let found = named(word, arguments, global)?;
            let shown = found
                .first()
                .ok_or_else(|| Error::new(Code::Empty, format!("pipeline `{word}` has no sink with rows to show")))?;
            let name = shown.name.replace('"', "\"\"");
            tables.splice(0..0, found);
            format!("select * from \"{name}\"")
        }
        sql => sql.to_string(),
    };
    let frame = analysis::query(&sql, &tables).map_err(analysis_error)?;
    Ok(output::frame(&frame, global)?)
}

/// Returns the tables that a word stands for.
fn named(text: &str, arguments: &Arguments, global: &Global) -> Result<Vec<Table>, Failure> {
    if let Some((name, path)) = text.split_once('=') {
        return Ok(vec![Table { name: name.to_string(), path: PathBuf::from(path) }]);
    }
    let path = Path::new(text);
    let is_pipeline = path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
    if !is_pipeline && path.exists() {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        return Ok(vec![Table { name: name.unwrap_or_else(|| "result".into()), path: path.to_path_buf() }]);
    }
    match pipelines::find(text) {
        Ok(_) => Ok(of_pipeline(&pipelines::load(text, global)?.plan, &arguments.state_dir)),
        Err(_) => Err(Error::new(Code::NotFound, format!("there is no table or pipeline `{text}`"))
            .help("a table is NAME=PATH, or the path of a file or folder of Parquet, JSON lines or CSV")
            .into()),
    }
}

/// Returns the tables of a pipeline, its sinks first.
fn of_pipeline(plan: &Plan, state_dir: &Path) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for sink in &plan.sinks {
        if let Some(path) = sink.target.settings.get("path") {
            tables.push(Table { name: sink.name.clone(), path: path.into() });
        }
    }
    for source in &plan.sources {
        if let Some(lake) = source.bindings.lake.as_ref().filter(|lake| lake.layout != Layout::Files) {
            // A sink may have the source's name; then the lake is `NAME.lake`.
            for name in [source.name.clone(), format!("{}.lake", source.name)] {
                tables.push(Table { name, path: lake.path.clone().into() });
            }
        }
    }
    let sources = (0..plan.sources.len()).map(Input::SourceBad);
    let steps = (0..plan.steps.len()).flat_map(|step| [Input::StepLate(step), Input::StepBad(step)]);
    for input in sources.chain(steps) {
        if let Some(path) = newest(plan, input, &state_dir.join(&plan.name)) {
            tables.push(Table { name: aside_name(plan, input), path });
        }
    }
    tables
}

/// Returns the set that the last run in either mode kept.
fn newest(plan: &Plan, input: Input, folder: &Path) -> Option<PathBuf> {
    let changed = |path: &PathBuf| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let paths = ["stream", "batch"].map(|mode| aside_folder(plan, input, &folder.join(mode)));
    paths.into_iter().filter(|path| path.exists()).max_by_key(changed)
}
