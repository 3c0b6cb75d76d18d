//! `samestream version`: which program this is.

use std::process::ExitCode;

use clap::Args;
use engine::Result;
use serde_json::json;

use crate::global::Global;
use crate::output;

/// Print the version
#[derive(Args)]
#[command(after_help = "Examples:\n  samestream version\n  samestream version --format json")]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, global: &Global) -> Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    if global.is_json() {
        return output::text(&format!("{}\n", json!({"name": "samestream", "version": version})));
    }
    output::text(&format!("samestream {version}\n"))
}
