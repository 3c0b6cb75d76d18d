//! `samestream`: the command line. Here words become calls into the libraries, and their answers text and an exit code.
//!
//! One file per verb in `commands/`; `global` holds what every verb understands, `report` how errors look.

mod clock;
mod commands;
mod console;
mod global;
mod output;
mod pipelines;
mod progress;
mod report;
mod signals;
mod summary;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::global::Global;

/// One pipeline file, run as a stream or as a batch job: the same bytes.
#[derive(Parser)]
#[command(
    name = "samestream",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        samestream demo\n  \
        samestream run page_views --mode stream --until-caught-up\n  \
        samestream run page_views --mode batch\n  \
        samestream verify page_views\n\n\
        Every option can be set by an environment variable: --some-flag by SAMESTREAM_SOME_FLAG."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    report::friendly_panics();
    // A panic of any thread that reaches us here is our bug: 101, after the hook has said so.
    std::panic::catch_unwind(real_main).unwrap_or(ExitCode::from(101))
}

fn real_main() -> ExitCode {
    if cfg!(debug_assertions) && std::env::var_os("SAMESTREAM_TEST_PANIC").is_some() {
        panic!("a test wanted to see how a bug looks");
    }
    let mut command = global::with_environment(Cli::command());
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let done = cli.global.apply().map_err(Into::into).and_then(|()| cli.command.run(&cli.global));
    done.unwrap_or_else(|failure| report::failure(&failure, &cli.global))
}
