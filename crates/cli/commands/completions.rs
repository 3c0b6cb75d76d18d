//! `samestream completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use engine::Result;

use crate::{Cli, output};

/// Print a completion script for a shell
#[derive(Args)]
#[command(
    after_help = "Example:\n  samestream completions bash > ~/.local/share/bash-completion/completions/samestream"
)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "samestream", &mut script);
    output::write(|out| out.write_all(&script))
}
