//! `samestream version`: which program this is, and how it is set.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::Result;
use serde_json::{Value, json};

use crate::global::Global;
use crate::output;
use crate::settings::Setting;

/// Print the version, and every setting with where it came from
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream version\n  \
    samestream version --format json\n  \
    samestream version --show-config --profile dev")]
pub(crate) struct Arguments {
    /// Show every setting, its value and where it came from: flag, env, profile or default
    ///
    /// Values of variables are never shown, because any of them may be a secret.
    #[arg(long, value_parser = BoolishValueParser::new())]
    show_config: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let settings = if arguments.show_config { global.settings.as_slice() } else { &[] };
    if global.is_json() {
        let mut json = json!({
            "name": "samestream",
            "version": env!("CARGO_PKG_VERSION"),
            "librdkafka": connectors::kafka::librdkafka_version(),
            "arrow": arrow::ARROW_VERSION,
        });
        if arguments.show_config {
            json["settings"] = settings.iter().map(Setting::json).collect::<Vec<Value>>().into();
        }
        return output::text(&format!("{json}\n"));
    }
    output::text(&format!("samestream {}\n{}", line(), table(settings)))
}

/// Returns the version and those of the libraries that meet the user's data.
pub(crate) fn line() -> String {
    let (kafka, arrow) = (connectors::kafka::librdkafka_version(), arrow::ARROW_VERSION);
    format!("{} (librdkafka {kafka}, arrow {arrow})", env!("CARGO_PKG_VERSION"))
}

/// Returns one line for each setting: name, value, where from, and whose it is.
fn table(settings: &[Setting]) -> String {
    let shown = |setting: &Setting| setting.value.clone().unwrap_or_else(|| "–".into());
    let width = |text: fn(&Setting) -> usize| settings.iter().map(text).max().unwrap_or(0);
    let names = width(|setting| setting.name.chars().count());
    let values = width(|setting| setting.value.as_ref().map_or(1, |value| value.chars().count())).min(40);
    let mut out = String::new();
    for setting in settings {
        let verbs = setting.verbs.join(", ");
        let line = format!("  {:names$}  {:values$}  {:7}  {verbs}", setting.name, shown(setting), setting.from);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
