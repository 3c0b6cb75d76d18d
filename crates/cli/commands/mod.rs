//! The verbs, one file each. To add one: its file, its `mod` line, its variant.

mod answers;
mod append;
mod archive;
mod backfill;
mod compact;
mod completions;
mod demo;
mod diff;
mod explain;
mod functions;
mod r#gen;
mod init;
mod inspect;
mod lateness;
mod plan;
mod query;
mod replay;
mod run;
mod runs;
mod schedule;
mod schema;
mod state;
mod status;
mod test;
mod validate;
mod verify;
mod version;
mod why;

use clap::Subcommand;
use engine::plan::{Plan, SourcePlan};
use engine::{Code, Error, Result};

use crate::global::Global;
use crate::report::Done;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Arguments>),
    Verify(verify::Arguments),
    Runs(runs::Arguments),
    Backfill(Box<backfill::Arguments>),
    Schedule(schedule::Arguments),
    Status(status::Arguments),
    Diff(diff::Arguments),
    Query(query::Arguments),
    Validate(validate::Arguments),
    Test(test::Arguments),
    Plan(plan::Arguments),
    Why(why::Arguments),
    WhyNot(why::RecordArguments),
    Lateness(lateness::Arguments),
    Inspect(inspect::Arguments),
    State(state::Arguments),
    Init(init::Arguments),
    Demo(demo::Arguments),
    Archive(archive::Arguments),
    Compact(compact::Arguments),
    Replay(replay::Arguments),
    Append(append::Arguments),
    Gen(r#gen::Arguments),
    Schema(schema::Arguments),
    Explain(explain::Arguments),
    Functions(functions::Arguments),
    Completions(completions::Arguments),
    Version(version::Arguments),
}

impl Command {
    /// Does it and returns the exit code.
    pub(crate) fn run(self, global: &Global) -> Done {
        match self {
            Command::Run(arguments) => run::run(&arguments, global),
            Command::Runs(arguments) => runs::run(&arguments, global),
            Command::Backfill(arguments) => backfill::run(&arguments, global),
            Command::Schedule(arguments) => schedule::run(&arguments, global),
            Command::Status(arguments) => status::run(&arguments, global),
            Command::Verify(arguments) => verify::run(&arguments, global),
            Command::Diff(arguments) => diff::run(&arguments, global),
            Command::Query(arguments) => query::run(&arguments, global),
            Command::Validate(arguments) => validate::run(&arguments, global),
            Command::Test(arguments) => test::run(&arguments, global),
            Command::Plan(arguments) => plan::run(&arguments, global),
            Command::Why(arguments) => why::run(&arguments, global),
            Command::WhyNot(arguments) => why::run_record(&arguments, global),
            Command::Lateness(arguments) => lateness::run(&arguments, global),
            Command::Inspect(arguments) => inspect::run(&arguments, global),
            Command::State(arguments) => state::run(&arguments, global),
            Command::Init(arguments) => Ok(init::run(&arguments, global)?),
            Command::Demo(arguments) => demo::run(&arguments, global),
            Command::Archive(arguments) => archive::run(&arguments, global),
            Command::Compact(arguments) => compact::run(&arguments, global),
            Command::Replay(arguments) => replay::run(&arguments, global),
            Command::Append(arguments) => Ok(append::run(&arguments, global)?),
            Command::Gen(arguments) => Ok(r#gen::run(&arguments, global)?),
            Command::Schema(arguments) => Ok(schema::run(&arguments)?),
            Command::Explain(arguments) => Ok(explain::run(&arguments, global)?),
            Command::Functions(arguments) => Ok(functions::run(&arguments, global)?),
            Command::Completions(arguments) => Ok(completions::run(&arguments)?),
            Command::Version(arguments) => Ok(version::run(&arguments, global)?),
        }
    }
}

/// Returns what verbs answer: of one, or of all.
pub(crate) fn answers(verb: Option<&str>, command: &clap::Command) -> String {
    let verbs = command.get_subcommands().map(clap::Command::get_name);
    let texts: Vec<String> =
        verbs.filter(|name| verb.is_none_or(|verb| verb == *name)).filter_map(answers::of).collect();
    texts.join("\n")
}

/// Returns the version, for `--version`.
pub(crate) fn version_line() -> String {
    version::line()
}

/// Turns an error of the analyst's side into ours.
fn analysis_error(error: analysis::Error) -> Error {
    let message = error.to_string();
    match error {
        analysis::Error::NotFound(_) => Error::new(Code::NotFound, message).help("has the pipeline been run yet?"),
        analysis::Error::NotATable { .. } => Error::new(Code::Empty, message),
        analysis::Error::Read { .. } => Error::new(Code::Corrupt, message),
        analysis::Error::Sql(_) => Error::new(Code::Expression, message),
        analysis::Error::Key(_) => Error::new(Code::Usage, message),
    }
}

/// Returns the source of that name, or the only one.
fn source_of<'a>(plan: &'a Plan, name: Option<&str>) -> Result<&'a SourcePlan> {
    let names = || plan.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, plan.sources.as_slice()) {
        (None, [source]) => Ok(source),
        (None, _) => Err(Error::new(Code::Usage, format!("pipeline `{}` has several sources", plan.name))
            .help(format!("say which with `--source`: {}", names()))),
        (Some(name), sources) => sources.iter().find(|source| source.name == name).ok_or_else(|| {
            Error::new(Code::Empty, format!("pipeline `{}` has no source `{name}`", plan.name))
                .help(format!("its sources are: {}", names()))
        }),
    }
}
