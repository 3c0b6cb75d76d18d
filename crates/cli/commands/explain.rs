//! `samestream explain`: what an error code means.

use std::process::ExitCode;

use clap::Args;
use engine::error::CODES;
use engine::{Code, Error, Result};
use serde_json::json;

use crate::global::Global;
use crate::output;

/// Explain an error code, or list them all
#[derive(Args)]
#[command(after_help = "Examples:\n  samestream explain E_LAKE_GAP\n  samestream explain")]
pub(crate) struct Arguments {
    /// The code, as an error shows it in brackets
    code: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let codes: Vec<Code> = match &arguments.code {
        None => CODES.to_vec(),
        Some(word) => vec![find(word)?],
    };
    if global.is_json() {
        let all: Vec<_> = codes
            .iter()
            .map(|code| json!({"code": code.name(), "exit": code.exit() as u8, "explain": code.explain()}))
            .collect();
        return output::text(&format!("{}\n", serde_json::Value::from(all)));
    }
    let line = |code: &Code| format!("{} (exit {})\n  {}\n", code.name(), code.exit() as u8, code.explain());
    output::text(&codes.iter().map(line).collect::<String>())
}

fn find(word: &str) -> Result<Code> {
    let wanted = word.trim_matches(['[', ']']).to_uppercase();
    CODES.iter().copied().find(|code| code.name() == wanted || code.name() == format!("E_{wanted}")).ok_or_else(|| {
        Error::new(Code::Usage, format!("there is no error code `{word}`"))
            .help("`samestream explain` without a code lists them all")
    })
}
