//! `samestream functions`: the functions of expressions, from the table by which they run.

use std::process::ExitCode;

use clap::Args;
use engine::{Code, Error, Result};
use pipeline::reference;

use crate::global::Global;
use crate::output;

/// Show the functions of expressions, or one of them
#[derive(Args)]
#[command(after_help = "Examples:\n  samestream functions date_trunc\n  samestream functions > docs/functions.md")]
pub(crate) struct Arguments {
    /// The function, by any of its names; without it, the reference page
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let only = arguments.name.as_deref().map(find).transpose()?;
    if global.is_json() {
        return output::text(&format!("{}\n", reference::json(only)));
    }
    output::text(&only.map_or_else(reference::functions, reference::entry))
}

fn find(name: &str) -> Result<&'static engine::expr::function::Function> {
    reference::find(name).map_err(|help| Error::new(Code::Usage, format!("there is no function `{name}`")).help(help))
}
