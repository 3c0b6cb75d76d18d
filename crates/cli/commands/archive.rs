//! `samestream archive`: a topic or journal into a lake.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use connectors::lake::LakeOptions;
use runtime::archive::{ArchiveOptions, archive};

use crate::commands::run::parse_duration;
use crate::commands::source_of;
use crate::global::Global;
use crate::output::thousands;
use crate::progress::Shown;
use crate::report::{self, Done};
use crate::{clock, pipelines, signals};

/// Copy a source's topic or journal into its Parquet lake, going on where the lake ends
///
/// Runs until it is stopped (Ctrl-C once) or has caught up. Nothing is missed and nothing is written twice.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream archive page_views --until-caught-up\n  \
    samestream archive page_views --source clicks --roll-every 5m --raw")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The source, if the pipeline has several
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Stop when everything the log held at the start is in the lake
    #[arg(long, value_parser = BoolishValueParser::new())]
    until_caught_up: bool,
    /// Begin a new file after this many rows
    #[arg(long, value_name = "N")]
    roll_rows: Option<usize>,
    /// Begin a new file after about this many bytes, such as 256MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    roll_bytes: Option<usize>,
    /// Begin a new file after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    roll_every: Option<std::time::Duration>,
    /// Keep the bytes of every value, not of bad records only
    #[arg(long, value_parser = BoolishValueParser::new())]
    raw: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let source = source_of(&loaded.plan, arguments.source.as_deref())?;
    let plain = LakeOptions::default();
    let options = ArchiveOptions {
        until_caught_up: arguments.until_caught_up,
        lake: LakeOptions {
            raw: arguments.raw,
            roll_rows: arguments.roll_rows.unwrap_or(plain.roll_rows).max(1),
            roll_bytes: arguments.roll_bytes.unwrap_or(plain.roll_bytes).max(1),
            roll_ms: arguments.roll_every.map_or(plain.roll_ms, |time| time.as_millis() as i64),
            ..plain
        },
        stop: signals::stop_flag()?,
    };
    let shown = Shown::titled(format!("archive {}", source.name), !arguments.until_caught_up, global);
    let done = archive(source, &options, &clock::now_ms, &|done| {
        shown.count(done.records, done.left.map(|left| done.records + left));
    });
    shown.finish();
    let done = done?;
    if !global.quiet {
        let lake = source.bindings.lake.as_ref().map_or("", |lake| lake.path.as_str());
        let mut text = format!("✓ {} records of {}  →  {lake}\n", thousands(done.records), source.name);
        for (partition, (from, to)) in &done.ranges {
            text.push_str(&format!("  partition {partition}: offsets {from} .. {to}\n"));
        }
        report::say(&text);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a size such as `64MiB`.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    Ok(pipeline::size::parse(text)? as usize)
}
