//! `samestream run`: the command everything else is about.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use engine::plan::Plan;
use engine::{Code, Error, Result};
use runtime::cut::{self, Side};
use runtime::driver::Limit;
use runtime::{Mode, RunOptions, Settings};

use crate::global::Global;
use crate::pipelines;
use crate::progress::Shown;
use crate::report::{self, Done};
use crate::{console, output, signals, summary};

/// Run a pipeline as a stream over its log, or as a batch job over its lake
///
/// Both modes read the same file and give the same rows. A stream runs until it is stopped (Ctrl-C once), has caught up
/// or has reached --end; a batch job runs to the end of its lake. The summary's digests say what the results are.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream run page_views --mode stream\n  \
    samestream run page_views --mode stream --until-caught-up --summary stream.json\n  \
    samestream run page_views --mode batch --end stream.json\n  \
    samestream run pipelines/page_views.yaml --mode batch --from 2026-01-01 --to 2026-01-02 --out /tmp/day")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// As a stream over the topic or journal, or as a batch job over the lake or journal
    #[arg(long, value_enum)]
    mode: ModeWord,
    #[command(flatten)]
    cut: Cuts,
    /// Write only rows whose window starts at this time or later (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Write only rows whose window starts before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Write each sink as DIR/<sink name> instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write these sinks only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    sinks: Option<Vec<String>>,
    /// Also write the rows to standard output
    #[arg(long, value_parser = BoolishValueParser::new())]
    print: bool,
    /// Write the run's summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Stop a stream when it has read what the log held at the start
    #[arg(long, value_parser = BoolishValueParser::new())]
    until_caught_up: bool,
    /// Threads of a batch run; never changes a result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How often a stream makes its rows visible
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    commit_every: Duration,
    /// Where late and bad records are kept
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: PathBuf,
    /// Fail (exit 1) when more records than this are late: a count, or a share such as 1%
    #[arg(long, value_name = "N|P%", value_parser = parse_limit)]
    fail_on_late: Option<Limit>,
    /// Fail (exit 3) when more records than this are bad: a count, or a share such as 1%
    #[arg(long, value_name = "N|P%", value_parser = parse_limit)]
    max_decode_errors: Option<Limit>,
    /// A log without records is no error
    #[arg(long, value_parser = BoolishValueParser::new())]
    allow_empty: bool,
    /// Show the plan, touch nothing
    #[arg(long, value_parser = BoolishValueParser::new())]
    dry_run: bool,
}

/// Where reading starts and ends.
#[derive(Args)]
pub(crate) struct Cuts {
    /// Start at these offsets: `source:partition=offset,…`, or those of another run's summary
    #[arg(long, value_name = "CUT")]
    start: Option<String>,
    /// End at these offsets: `source:partition=offset,…`, or those of another run's summary
    #[arg(long, value_name = "CUT")]
    end: Option<String>,
}

impl Cuts {
    /// Reads both into the options.
    pub(crate) fn put(&self, options: &mut RunOptions) -> Result<()> {
        options.start = self.start.as_deref().map(|text| cut::parse(text, Side::Start)).transpose()?;
        options.end = self.end.as_deref().map(|text| cut::parse(text, Side::End)).transpose()?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeWord {
    Stream,
    Batch,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    if arguments.dry_run {
        return Ok(output::text(&pipeline::explain::text(&loaded))?);
    }
    let plan = Arc::new(loaded.plan);
    let stop = signals::stop_flag()?;
    let mode = if arguments.mode == ModeWord::Stream { Mode::Stream } else { Mode::Batch };
    let mut options = RunOptions::new(mode);
    arguments.cut.put(&mut options)?;
    options.settings = settings(arguments, stop.clone())?;
    options.until_caught_up = arguments.until_caught_up;
    options.out = arguments.out.clone();
    options.sinks = arguments.sinks.clone();
    options.print = arguments.print;
    options.state_dir = arguments.state_dir.clone();
    options.allow_empty = arguments.allow_empty;
    options.context.console = console::console(global, stop);
    check(arguments, &plan)?;
    let shown = Shown::new(&plan.name, mode, global);
    let done = runtime::run(&plan, &options, &shown);
    shown.finish();
    let done = done?;
    if !global.quiet {
        report::say(&summary::text(&done, Some(&arguments.pipeline)));
    }
    if let Some(path) = &arguments.summary {
        summary::write(&done.summary, path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(arguments: &Arguments, stop: Arc<std::sync::atomic::AtomicBool>) -> Result<Settings> {
    let time = |text: &Option<String>| text.as_deref().map(runtime::time::parse).transpose();
    let range = (time(&arguments.from)?, time(&arguments.to)?);
    if let (Some(from), Some(to)) = range
        && from >= to
    {
        return Err(Error::new(Code::Empty, "`--from` is not before `--to`, so the range is empty"));
    }
    Ok(Settings {
        range,
        threads: arguments.threads.unwrap_or(0),
        commit_every: arguments.commit_every,
        late_limit: arguments.fail_on_late,
        bad_limit: arguments.max_decode_errors,
        stop,
        ..Settings::default()
    })
}

fn check(arguments: &Arguments, plan: &Plan) -> Result<()> {
    let is_batch = arguments.mode == ModeWord::Batch;
    if is_batch && arguments.until_caught_up {
        return Err(Error::new(Code::Usage, "`--until-caught-up` is for `--mode stream`")
            .help("a batch run always ends at the end of its lake"));
    }
    if plan.sinks.is_empty() {
        return Err(Error::new(Code::Empty, format!("pipeline `{}` has no sink, so it writes nothing", plan.name))
            .help("add one under `sinks:`"));
    }
    Ok(())
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let wrong = || "write a count such as 100, or a share such as 0.5%".to_string();
    match text.strip_suffix('%') {
        Some(share) => match share.trim().parse::<f64>() {
            Ok(share) if (0.0..=100.0).contains(&share) => Ok(Limit::Percent(share)),
            _ => Err(wrong()),
        },
        None => text.parse().map(Limit::Count).map_err(|_| wrong()),
    }
}

/// Reads a duration such as `10s` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let micros =
        pipeline::duration::parse(text).map_err(|why| format!("{why}; write a duration such as 500ms, 30s or 10m"))?;
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| "a duration cannot be negative".to_string())
}
