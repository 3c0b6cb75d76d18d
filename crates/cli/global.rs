//! The options that every verb understands.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use engine::{Error, Result};

use crate::settings::Setting;

/// Options of every verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Take values of options and variables from `[profiles.P]` of `samestream.toml`.
    #[arg(long, global = true, value_name = "P")]
    pub(crate) profile: Option<String>,
    /// Work in this folder instead of the current one.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project_dir: Option<PathBuf>,
    /// Give a variable of the pipeline a value, as `vars.NAME=VALUE`.
    #[arg(long = "set", global = true, value_name = "PATH=VALUE", value_parser = parse_set)]
    pub(crate) set: Vec<(String, String)>,
    /// Read variables from a file of `NAME=VALUE` lines.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// How answers and errors are written. `auto`: tables on a terminal, JSON lines in a pipe. `help`: tell what a verb answers.
    #[arg(long, global = true, value_enum, default_value_t = Format::Auto, hide_default_value = true)]
    pub(crate) format: Format,
    /// When to use colours. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, hide_default_value = true)]
    pub(crate) color: When,
    /// When to show progress. `auto`: bars on a terminal, and a line every 10 s for a stream in a pipe.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, hide_default_value = true)]
    pub(crate) progress: When,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,
    /// Say details on stderr: settings that are not defaults, files that are opened.
    #[arg(short, long, global = true, value_parser = BoolishValueParser::new())]
    pub(crate) verbose: bool,
    /// Values of variables from the profile.
    #[arg(skip)]
    pub(crate) profile_variables: Vec<(String, String)>,
    /// Every setting and where it came from.
    #[arg(skip)]
    pub(crate) settings: Vec<Setting>,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Auto,
    Table,
    Json,
    Jsonl,
    Csv,
    Markdown,
    /// Of `validate` alone: SARIF 2.1.0.
    Sarif,
    /// Of `validate` alone: commands that GitHub's runners show beside the lines.
    Github,
}

/// When to do something that suits terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

impl Global {
    /// Returns what can be told of the options when the command line as a whole could not be read: how to say so.
    pub(crate) fn guessed() -> Self {
        let word = |long| early(long).unwrap_or_default();
        Self {
            profile: None,
            project_dir: None,
            set: Vec::new(),
            env_file: None,
            format: Format::from_str(&word("format"), false).unwrap_or(Format::Auto),
            color: When::from_str(&word("color"), false).unwrap_or(When::Auto),
            progress: When::Never,
            quiet: false,
            verbose: false,
            profile_variables: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Makes the settings that hold for the whole process true.
    pub(crate) fn apply(&self) -> Result<()> {
        if let Some(folder) = &self.project_dir {
            std::env::set_current_dir(folder)
                .map_err(|error| Error::io(format!("cannot work in `{}`", folder.display()), error))?;
        }
        Ok(())
    }

    /// Says a detail on stderr, if details are wanted.
    pub(crate) fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose && !self.quiet {
            crate::report::say(&format!("· {text}\n"));
        }
    }

    /// Returns true when answers and errors are for programs to read.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Returns true when text for a terminal of this kind may be coloured.
    pub(crate) fn is_coloured(&self, is_terminal: bool) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write `vars.NAME=VALUE`")?;
    let name = path.strip_prefix("vars.").ok_or("only `vars.NAME=VALUE` can be set")?;
    Ok((name.to_string(), value.to_string()))
}

/// Returns an option's value from flag or environment before the command line can be read as a whole: by eye.
pub(crate) fn early(long: &str) -> Option<String> {
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let options = arguments.split(|word| word == "--").next().unwrap_or_default();
    let flag = format!("--{long}");
    let value_of = |at: usize| match options[at].strip_prefix(&flag)? {
        "" => options.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(String::from),
    };
    (1..options.len()).rev().find_map(value_of).or_else(|| std::env::var(variable_of(long)).ok())
}

/// Returns the environment variable that stands for an option.
pub(crate) fn variable_of(long: &str) -> String {
    format!("SAMESTREAM_{}", long.replace('-', "_").to_uppercase())
}

/// Gives every long option of every verb its environment variable, so that none can be forgotten.
pub(crate) fn with_environment(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let Some(long) = argument.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
            return argument;
        };
        // Once per option and process: clap wants the name for as long as the command lives.
        let variable = variable_of(long).leak();
        argument.env(&*variable)
    });
    command.mut_subcommands(with_environment)
}
