//! The verbs, one file each. To add one: its file, its `mod` line, its variant.

mod completions;
mod diff;
mod explain;
mod query;
mod schema;
mod version;

use std::process::ExitCode;

use clap::Subcommand;
use engine::Result;

use crate::global::Global;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Diff(diff::Arguments),
    Query(query::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Version(version::Arguments),
    Explain(explain::Arguments),
}

impl Command {
    /// Does it and returns the exit code.
    pub(crate) fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Command::Diff(arguments) => diff::run(&arguments, global),
            Command::Query(arguments) => query::run(&arguments, global),
            Command::Schema(arguments) => schema::run(&arguments),
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Version(arguments) => version::run(&arguments, global),
            Command::Explain(arguments) => explain::run(&arguments, global),
        }
    }
}

/// Turns an error of the analyst's side into ours.
fn analysis_error(error: analysis::Error) -> engine::Error {
    use engine::{Code, Error};
    let message = error.to_string();
    match error {
        analysis::Error::NotFound(_) => Error::new(Code::NotFound, message).help("has the pipeline been run yet?"),
        analysis::Error::NotATable { .. } => Error::new(Code::Empty, message),
        analysis::Error::Read { .. } => Error::new(Code::Corrupt, message),
        analysis::Error::Sql(_) => Error::new(Code::Expression, message),
        analysis::Error::Key(_) => Error::new(Code::Usage, message),
    }
}
