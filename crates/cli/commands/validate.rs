//! `samestream validate`: is the pipeline file right?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use connectors::journal::Journal;
use connectors::kafka::topic_info;
use connectors::lake::LakeScan;
use connectors::sink;
use engine::error::Exit;
use engine::plan::Plan;
use engine::{Code, Error};
use pipeline::diagnostic::Severity;

use crate::annotate::{self, Found};
use crate::global::{Format, Global};
use crate::report::{self, Done, Failure};
use crate::{output, pipelines};

/// Check pipeline files, without touching anything they name unless `--online` says so
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream validate\n  \
    samestream validate page_views pipelines/sessions.yaml --deny-warnings\n  \
    samestream validate --online\n  \
    samestream validate --format github")]
pub(crate) struct Arguments {
    /// Pipelines: paths, or bare names in `pipelines/`; none: all of `pipelines/`
    pipelines: Vec<String>,
    /// Fail (exit 1) when there is anything odd
    #[arg(long, value_parser = BoolishValueParser::new())]
    deny_warnings: bool,
    /// Ask whether topics, lakes and journals are there, and brokers answer
    #[arg(long, value_parser = BoolishValueParser::new())]
    online: bool,
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
    let annotates = matches!(global.format, Format::Sarif | Format::Github);
    let mut found: Vec<Found> = Vec::new();
    for path in &paths {
        let file = path.display().to_string();
        let mut add = |errors: Vec<Error>, severity| {
            found.extend(errors.into_iter().map(|error| Found { file: file.clone(), error, severity }));
        };
        match pipelines::read(path, global) {
            Ok(loaded) => {
                let wrong = if arguments.online { online(&loaded.plan) } else { Vec::new() };
                if wrong.is_empty() && !global.is_json() && !annotates {
                    output::text(&right(&file, &loaded.plan))?;
                }
                if !annotates {
                    report::warnings(&loaded.warnings, global);
                }
                add(loaded.warnings, Severity::Warning);
                add(wrong, Severity::Error);
            }
            Err(Failure(wrong)) => add(wrong, Severity::Error),
        }
    }
    match global.format {
        Format::Sarif => output::text(&annotate::sarif(&found))?,
        Format::Github => output::text(&annotate::github(&found))?,
        _ => ExitCode::SUCCESS,
    };
    let (errors, warnings): (Vec<Found>, Vec<Found>) =
        found.into_iter().partition(|found| found.severity == Severity::Error);
    if let Some(first) = errors.first() {
        let exit = ExitCode::from(first.error.code.exit() as u8);
        let errors = errors.into_iter().map(|found| found.error).collect();
        return if annotates { Ok(exit) } else { Err(Failure(errors)) };
    }
    if global.is_json() {
        output::text(&format!("{}\n", serde_json::json!({"files": paths.len(), "warnings": warnings.len()})))?;
    }
    let is_denied = arguments.deny_warnings && !warnings.is_empty();
    Ok(if is_denied { ExitCode::from(Exit::No as u8) } else { ExitCode::SUCCESS })
}

/// Returns the line of a file that is right.
fn right(file: &str, plan: &Plan) -> String {
    format!(
        "✓ {file}  {} · {} · {}   definition {}\n",
        counted(plan.sources.len(), "source"),
        counted(plan.steps.len(), "step"),
        counted(plan.sinks.len(), "sink"),
        plan.definition
    )
}

/// Asks whether what a plan names is there: the topics of its sources, their lakes and journals, the brokers of its sinks.
fn online(plan: &Plan) -> Vec<Error> {
    let mut wrong = Vec::new();
    for source in &plan.sources {
        let mut note = |checked: Result<(), Error>| {
            wrong.extend(checked.err().map(|error| error.context(format!("source `{}`", source.name))));
        };
        let bindings = &source.bindings;
        if let Some(kafka) = &bindings.kafka {
            note(topic_info(kafka).map(|_| ()));
        }
        if bindings.lake.is_some() {
            note(LakeScan::open(source).map(|_| ()));
        }
        if let Some(path) = &bindings.journal {
            note(Journal::open(path).map(|_| ()));
        }
    }
    for plan in &plan.sinks {
        let checked = match sink::topic(plan) {
            // The topic is made by the first run that writes to it.
            Ok(Some(topic)) => topic_info(&topic).map(|_| ()).or_else(|error| match error.code {
                Code::NotFound => Ok(()),
                _ => Err(error),
            }),
            Ok(None) => sink::probe(plan),
            Err(error) => Err(error),
        };
        wrong.extend(checked.err().map(|error| error.context(format!("sink `{}`", plan.name))));
    }
    wrong
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
