//! `samestream replay`: a lake back into a topic or journal.

use std::process::ExitCode;

use clap::Args;
use engine::{Code, Error};
use runtime::replay::{ReplayOptions, replay};

use crate::commands::source_of;
use crate::global::Global;
use crate::output::thousands;
use crate::progress::Shown;
use crate::report::{self, Done};
use crate::{clock, pipelines, signals};

/// Copy a source's lake into its topic, or if it has none into its journal
///
/// Partitions, order, keys, values and timestamps are kept; offsets too in a journal, which is made when it is missing.
/// A target that holds records is refused, and so is a topic that would delete what is written.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream replay flights\n  \
    samestream replay flights --speed 3600x")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The source, if the pipeline has several
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// So many times faster than the log's own time, such as 60x; without it as fast as possible
    #[arg(long, value_name = "Nx", value_parser = parse_speed)]
    speed: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let source = source_of(&loaded.plan, arguments.source.as_deref())?;
    let options = ReplayOptions { speed: arguments.speed, stop: signals::stop_flag()? };
    let shown = Shown::titled(format!("replay {}", source.name), arguments.speed.is_some(), global);
    let done = replay(source, &options, &clock::now_ms, &|done| shown.count(done.records, Some(done.total)));
    shown.finish();
    let done = done?;
    if !global.quiet {
        let mark = if done.ended { "✓" } else { "■" };
        let mut text = format!("{mark} {} records of {}  →  {}\n", thousands(done.records), source.name, done.target);
        if done.has_new_offsets {
            text.push_str("  note     the topic's offsets are not the lake's: equality is claimed only of results without `_offset`\n");
        }
        report::say(&text);
    }
    match done.ended {
        true => Ok(ExitCode::SUCCESS),
        // A target that was filled in part cannot be gone on with.
        false => Err(Error::new(Code::Target, format!("replay was stopped: {} holds a part of the lake", done.target))
            .help("remove it before the next replay")
            .into()),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(speed),
        _ => Err("write a factor such as 60x".into()),
    }
}
