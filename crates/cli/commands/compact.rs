//! `samestream compact`: few files of a sink instead of many small ones.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use connectors::sink::{self, Compacted};
use engine::plan::{Plan, SinkPlan};
use engine::{Code, Error, Result};
use serde_json::json;

use crate::commands::archive::parse_size;
use crate::global::Global;
use crate::output::{self, thousands};
use crate::pipelines;
use crate::report::{self, Done};

/// Write the small files of a pipeline's sinks as few larger ones; their rows and the order of them stay
///
/// For folders of Parquet, JSON lines and CSV. What is written is read back and compared before it counts. A run that
/// writes there holds the folder, so stop it first; a stream joins its own small files as it goes.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream compact page_views\n  \
    samestream compact page_views --dry-run\n  \
    samestream compact page_views --sinks views --size 64MiB --out /tmp/restored")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// Of these sinks only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    sinks: Vec<String>,
    /// Files of about this size are made; those nearly as large stay as they are
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    size: usize,
    /// The sinks were written with the same `--out`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Say what would be joined, and change nothing
    #[arg(long, value_parser = BoolishValueParser::new())]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let mut done: Vec<(&str, Compacted)> = Vec::new();
    for plan in chosen(&loaded.plan, &arguments.sinks)? {
        let redirected = arguments.out.as_ref().map(|folder| sink::redirect(plan, folder)).transpose()?;
        let place = redirected.as_ref().unwrap_or(plan);
        let compacted = sink::compact(place, arguments.size as u64, arguments.dry_run)
            .map_err(|error| error.context(format!("sink `{}`", plan.name)))?;
        match compacted {
            Some(compacted) => done.push((&plan.name, compacted)),
            None if arguments.sinks.is_empty() => {}
            None => {
                let message = format!("sink `{}` of kind {} is no folder of files", plan.name, place.target.kind);
                return Err(Error::new(Code::Usage, message)
                    .help("folders of `parquet`, `jsonl` and `csv` have files to compact")
                    .into());
            }
        }
    }
    if done.is_empty() {
        let message = format!("no sink of `{}` is a folder of files", loaded.plan.name);
        return Err(Error::new(Code::Empty, message)
            .help("folders of `parquet`, `jsonl` and `csv` have files to compact")
            .into());
    }
    if global.is_json() {
        let json: Vec<_> = done
            .iter()
            .map(|(name, compacted)| {
                let mut json = json!(compacted);
                json["sink"] = json!(name);
                json
            })
            .collect();
        return Ok(output::text(&format!("{}\n", json!(json)))?);
    }
    if !global.quiet {
        done.iter().for_each(|(name, compacted)| report::say(&told(name, compacted)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the sinks of those names, or all.
fn chosen<'a>(plan: &'a Plan, names: &[String]) -> Result<Vec<&'a SinkPlan>> {
    if names.is_empty() {
        return Ok(plan.sinks.iter().collect());
    }
    let find = |name: &String| {
        plan.sinks.iter().find(|sink| sink.name == *name).ok_or_else(|| {
            let known: Vec<&str> = plan.sinks.iter().map(|sink| sink.name.as_str()).collect();
            Error::new(Code::Empty, format!("pipeline `{}` has no sink `{name}`", plan.name))
                .help(format!("its sinks are: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

fn told(name: &str, done: &Compacted) -> String {
    let count = |count: usize| format!("{} file{}", thousands(count as u64), if count == 1 { "" } else { "s" });
    let rows = thousands(done.rows_joined);
    match (done.files_after, done.bytes_after) {
        _ if done.files_joined == 0 => {
            format!("✓ {name}: {}, nothing to join  →  {}\n", count(done.files_before), done.path.display())
        }
        (Some(after), Some(bytes)) => format!(
            "✓ {name}: {} → {}, {} → {} bytes; {rows} rows were written anew and read back  →  {}\n",
            count(done.files_before),
            count(after),
            thousands(done.bytes_before),
            thousands(bytes),
            done.path.display()
        ),
        _ => format!(
            "· {name}: {} of {} with {rows} rows would be joined  →  {}\n",
            thousands(done.files_joined as u64),
            count(done.files_before),
            done.path.display()
        ),
    }
}
