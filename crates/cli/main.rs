//! `samestream`: the command line. Here words become calls into the libraries, and their answers text and an exit code.
//!
//! One file per verb in `commands/`; `global` holds what every verb understands, `report` how errors look.

mod annotate;
mod clock;
mod commands;
mod console;
mod global;
mod output;
mod pipelines;
mod profile;
mod progress;
mod record;
mod report;
mod settings;
mod signals;
mod summary;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use engine::{Code, Error};

use crate::commands::Command;
use crate::global::{Format, Global};
use crate::profile::Profile;

/// Where all memory comes from, on Linux that of librdkafka, too. Its thread takes a piece for every message, which another thread of ours
/// gives back: in the allocator of the GNU C library both wait at one lock for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
        Every option can be set by an environment variable: --some-flag by SAMESTREAM_SOME_FLAG;\n\
        and by a profile of `samestream.toml` in the project folder: `[profiles.P]`, `some-flag = …`."
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
    let _points = connectors::points::armed();
    let command = global::with_environment(Cli::command().version(&*commands::version_line().leak()));
    if global::early("format").as_deref() == Some("help") {
        let done = output::text(&commands::answers(verb_of(&command).as_deref(), &command));
        return done.unwrap_or_else(|error| report::failure(&error.into(), &Global::guessed()));
    }
    let (mut command, profile) = match with_profile(command.clone()) {
        Ok(both) => both,
        Err(error) => return without_profile(command, error),
    };
    let known = command.clone();
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let read = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match read {
        Ok(both) => both,
        Err(error) => return report::usage(&error),
    };
    report::warnings(&settings::unknown_variables(&known), &cli.global);
    cli.global.settings = settings::all(&known, &matches, profile.as_ref());
    let verb = matches.subcommand_name().unwrap_or_default();
    for setting in cli.global.settings.iter().filter(|setting| setting.from != "default" && setting.is_of(verb)) {
        cli.global.detail(setting);
    }
    if matches!(cli.global.format, Format::Sarif | Format::Github) && verb != "validate" {
        let error = Error::new(Code::Usage, "`--format sarif` and `--format github` are of `validate` alone");
        return report::failure(&error.into(), &cli.global);
    }
    cli.global.profile_variables = profile.map(|profile| profile.variables).unwrap_or_default();
    report::waits(&cli.global);
    let done = cli.global.apply().map_err(Into::into).and_then(|()| cli.command.run(&cli.global));
    done.unwrap_or_else(|failure| report::failure(&failure, &cli.global))
}

/// Makes the values of the chosen profile the defaults.
fn with_profile(command: clap::Command) -> engine::Result<(clap::Command, Option<Profile>)> {
    let Some(profile) = profile::chosen(&command)? else { return Ok((command, None)) };
    let verb = verb_of(&command);
    Ok((profile.as_defaults(command, verb.as_deref())?, Some(profile)))
}

/// Returns the verb that is called, by eye.
fn verb_of(command: &clap::Command) -> Option<String> {
    std::env::args_os().skip(1).find_map(|word| Some(command.find_subcommand(word)?.get_name().to_string()))
}

/// A profile that is wrong must not keep anyone from reading the help.
fn without_profile(mut command: clap::Command, error: engine::Error) -> ExitCode {
    match command.try_get_matches_from_mut(std::env::args_os()) {
        Err(help) if !help.use_stderr() => report::usage(&help),
        _ => report::failure(&error.into(), &Global::guessed()),
    }
}
