//! `samestream validate`: is the pipeline file right?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::error::Exit;
use engine::{Code, Error};

use crate::global::Global;
use crate::report::{self, Done, Failure};
use crate::{output, pipelines};

/// Check pipeline files without touching anything they name
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream validate\n  \
    samestream validate page_views pipelines/sessions.yaml --deny-warnings\n  \
    samestream validate --format json")]
pub(crate) struct Arguments {
    /// Pipelines: paths, or bare names in `pipelines/`; none: all of `pipelines/`
    pipelines: Vec<String>,
    /// Fail (exit 1) when there is anything odd
    #[arg(long, value_parser = BoolishValueParser::new())]
    deny_warnings: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let paths: Vec<PathBuf> = match arguments.pipelines.is_empty() {
        true => pipelines::all(),
        false => arguments.pipelines.iter().map(|name| pipelines::find(name)).collect::<Result<_, _>>()?,
    };
    if paths.is_empty() {
        return Err(Error::new(Code::Empty, "there is no pipeline in `pipelines/`")
            .help("name the files to check, or make a project with `samestream init`")
            .into());
    }
    let (mut errors, mut warnings) = (Vec::new(), 0);
    for path in &paths {
        match pipelines::read(path, global) {
            Ok(loaded) => {
                report::warnings(&loaded.warnings, global);
                warnings += loaded.warnings.len();
                if !global.is_json() {
                    let plan = &loaded.plan;
                    output::text(&format!(
                        "✓ {}  {} · {} · {}   definition {}\n",
                        path.display(),
                        counted(plan.sources.len(), "source"),
                        counted(plan.steps.len(), "step"),
                        counted(plan.sinks.len(), "sink"),
                        plan.definition
                    ))?;
                }
            }
            Err(Failure(found)) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(Failure(errors));
    }
    if global.is_json() {
        output::text(&format!("{}\n", serde_json::json!({"files": paths.len(), "warnings": warnings})))?;
    }
    let is_denied = arguments.deny_warnings && warnings > 0;
    Ok(if is_denied { ExitCode::from(Exit::No as u8) } else { ExitCode::SUCCESS })
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
