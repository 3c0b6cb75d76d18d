//! `samestream query`: SQL over results, lakes, late and bad records.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use analysis::Table;
use clap::Args;
use engine::plan::{Input, Layout, Plan};
use engine::{Code, Error, Result};
use runtime::checkpoint::Place;
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
    state_dir: Place,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let (mut tables, mut absent) = (Vec::new(), Vec::new());
    for text in &arguments.tables {
        let (found, lacking) = named(text, arguments, global)?;
        tables.extend(found);
        absent.extend(lacking);
    }
    let sql = match arguments.sql.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Error::io("cannot read standard input", error))?;
            text
        }
        word if !word.contains(char::is_whitespace) => {
            let (found, _) = named(word, arguments, global)?;
            let shown = found
                .first()
                .ok_or_else(|| Error::new(Code::Empty, format!("pipeline `{word}` has no sink with rows to show")))?;
            let name = shown.name.replace('"', "\"\"");
            tables.splice(0..0, found);
            format!("select * from \"{name}\"")
        }
        sql => sql.to_string(),
    };
    let frame = analysis::query(&sql, &tables).map_err(|error| match (&error, absent_in(&sql, &absent)) {
        (analysis::Error::Sql(_), Some(Absent { name, why, help })) => {
            Error::new(Code::Empty, format!("there is no `{name}`: {why}")).help(help.clone())
        }
        _ => analysis_error(error),
    })?;
    Ok(output::frame(&frame, global)?)
}

/// A set of rows that a pipeline might have kept aside and has not.
struct Absent {
    name: String,
    why: String,
    help: String,
}

/// Returns the absent set that a query names, the one with the longest name where names begin alike.
fn absent_in<'a>(sql: &str, absent: &'a [Absent]) -> Option<&'a Absent> {
    absent.iter().filter(|set| sql.contains(&set.name)).max_by_key(|set| set.name.len())
}

/// Returns the tables that a word stands for, and what it might stand for and is not there.
fn named(text: &str, arguments: &Arguments, global: &Global) -> Result<(Vec<Table>, Vec<Absent>), Failure> {
    if let Some((name, path)) = text.split_once('=') {
        return Ok((vec![Table { name: name.to_string(), path: PathBuf::from(path) }], Vec::new()));
    }
    let path = Path::new(text);
    let is_pipeline = path.extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
    if !is_pipeline && path.exists() {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let table = Table { name: name.unwrap_or_else(|| "result".into()), path: path.to_path_buf() };
        return Ok((vec![table], Vec::new()));
    }
    match pipelines::find(text) {
        Ok(_) => Ok(of_pipeline(&pipelines::load(text, global)?.plan, &arguments.state_dir.local())),
        Err(_) => Err(Error::new(Code::NotFound, format!("there is no table or pipeline `{text}`"))
            .help("a table is NAME=PATH, or the path of a file or folder of Parquet, JSON lines or CSV")
            .into()),
    }
}

/// Returns the tables of a pipeline, its sinks first; and the sets that its runs have not kept.
fn of_pipeline(plan: &Plan, state_dir: &Path) -> (Vec<Table>, Vec<Absent>) {
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
    let mut absent = Vec::new();
    for input in sources.chain(steps) {
        let folder = state_dir.join(&plan.name);
        match newest(plan, input, &folder) {
            Some(path) => tables.push(Table { name: aside_name(plan, input), path }),
            None => absent.push(why_absent(plan, input, &folder)),
        }
    }
    (tables, absent)
}

/// Says why there is no set of that kind.
fn why_absent(plan: &Plan, input: Input, folder: &Path) -> Absent {
    let name = aside_name(plan, input);
    let (why, help) = match input {
        Input::StepLate(step) if !plan.steps[step].has_late() => {
            let with: Vec<String> = (0..plan.steps.len())
                .filter(|other| plan.steps[*other].keeps_late(&plan.sources))
                .map(|other| aside_name(plan, Input::StepLate(other)))
                .collect();
            let has = if with.is_empty() { "none here has".into() } else { with.join(", ") };
            (
                "nothing is late at that step".to_string(),
                format!("steps with windows or joins over records have late rows: {has}"),
            )
        }
        Input::StepLate(step) if !plan.steps[step].keeps_late(&plan.sources) => (
            "its sources drop late records".to_string(),
            "`on_late: quarantine` keeps them; with `drop` they are only counted, in the summary".to_string(),
        ),
        _ => (
            format!("no run kept any below `{}`", folder.display()),
            "has the pipeline been run from this folder? `--state-dir` says where runs keep such rows".to_string(),
        ),
    };
    Absent { name, why, help }
}

/// Returns the set that the last run in either mode kept.
fn newest(plan: &Plan, input: Input, folder: &Path) -> Option<PathBuf> {
    let changed = |path: &PathBuf| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let paths = ["stream", "batch"].map(|mode| aside_folder(plan, input, &folder.join(mode)));
    paths.into_iter().filter(|path| path.exists()).max_by_key(changed)
}
