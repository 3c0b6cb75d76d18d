//! `samestream plan`: what a pipeline means.

use clap::{Args, ValueEnum};
use pipeline::explain;

use crate::global::{Format, Global};
use crate::report::Done;
use crate::{output, pipelines};

/// Show the resolved plan: types, defaults, what is read and what is written
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream plan page_views\n  \
    samestream plan page_views --as dot | dot -Tsvg > page_views.svg\n  \
    samestream plan page_views --format json")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// As text, as JSON, or as a graph for Graphviz
    #[arg(long = "as", value_enum)]
    form: Option<Form>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Dot,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let form = arguments.form.unwrap_or(match global.format {
        Format::Json | Format::Jsonl => Form::Json,
        _ => Form::Text,
    });
    Ok(output::text(&match form {
        Form::Text => explain::text(&loaded),
        Form::Json => format!("{:#}\n", explain::to_json(&loaded)),
        Form::Dot => explain::dot(&loaded),
    })?)
}
