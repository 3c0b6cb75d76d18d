//! `samestream run`: the command everything else is about.

mod stale;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use engine::error::Exit;
use engine::plan::{LakeBinding, Layout, Plan};
use engine::{Code, Error, Result};
use pipeline::Loaded;
use runtime::catalogue::Firing;
use runtime::checkpoint::Place;
use runtime::cut::{self, Side};
use runtime::driver::Limit;
use runtime::verify::compare_summaries;
use runtime::{Mode, Report, RunOptions, Settings, Summary};
use serde_json::json;

use crate::commands::archive::parse_size;
use crate::commands::verify;
use crate::global::Global;
use crate::pipelines;
use crate::progress::Shown;
use crate::record::{self, Begun, Record};
use crate::report::{self, Done, Failure};
use crate::watch::{self, Watched};
use crate::{console, output, signals, summary};

/// Run a pipeline as a stream over its log, or as a batch job over its lake
///
/// Both modes read the same file and give the same rows. A stream runs until it is stopped (Ctrl-C once), has caught up
/// or has reached --end; a batch job runs to the end of its lake. The summary's digests say what the results are.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream run page_views --mode stream\n  \
    samestream run page_views --mode stream --until-caught-up --summary stream.json\n  \
    samestream run page_views --mode stream --metrics 127.0.0.1:9464\n  \
    samestream run page_views --mode stream --bootstrap lake\n  \
    samestream run page_views --mode batch --end stream.json\n  \
    samestream run page_views --mode batch --end stream.json --verify-against stream.json\n  \
    samestream run page_views --mode batch --input /backup/lake/clicks --out /tmp/restored\n  \
    samestream run pipelines/page_views.yaml --mode batch --from 2026-01-01 --to 2026-01-02 --out /tmp/day\n  \
    samestream run page_views --mode batch --stale")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// As a stream over the topic or journal, or as a batch job over the lake or journal
    #[arg(long, value_enum)]
    mode: ModeWord,
    #[command(flatten)]
    cut: Cuts,
    /// Write only rows whose window starts at this time or later (RFC 3339, or a date in UTC). Batch reads only the parts of a
    /// lake that such rows are made of
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Write only rows whose window starts before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Write the ranges that `samestream status` shows as stale or missing, each in a run of its own, and no others
    #[arg(long, value_parser = BoolishValueParser::new(),
        conflicts_with_all = ["from", "to", "start", "end", "out", "sinks", "print", "summary", "verify_against", "input"])]
    stale: bool,
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
    /// Compare with the run that wrote this summary: exit 1 when the results differ, 2 when they cannot be compared
    #[arg(long, value_name = "FILE")]
    verify_against: Option<PathBuf>,
    /// Read this lake instead, in a batch run: PATH, or SOURCE=PATH when there are several sources
    #[arg(long, value_name = "[SOURCE=]PATH")]
    input: Vec<String>,
    /// Stop a stream when it has read what the log held at the start
    #[arg(long, value_parser = BoolishValueParser::new())]
    until_caught_up: bool,
    /// Threads of a batch run; never changes a result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Stay within about this much memory, such as 2GiB: windows that do not fit wait in files below --state-dir. What must
    /// be held at once and does not fit ends the run (E_MEMORY). Never changes a result
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
    /// How often a stream keeps a checkpoint and makes its rows visible; never changes a result
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    checkpoint_every: Duration,
    /// Where checkpoints, late and bad records are kept
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
    /// Build the state of a new stream from the lake, at batch speed, to the offsets where the lake ends; then go on in the log
    #[arg(long, value_name = "FROM", value_enum)]
    bootstrap: Option<Bootstrap>,
    /// Forget a stream's checkpoints: start at the log's first records and replace the results
    #[arg(long, value_parser = BoolishValueParser::new())]
    fresh: bool,
    /// Serve a stream's numbers for Prometheus, /healthz and /readyz on this address: HOST:PORT, or a port of this machine
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// The file of the token that /metrics wants to be told; else it is in SAMESTREAM_METRICS_TOKEN
    #[arg(long, value_name = "FILE")]
    metrics_token_file: Option<PathBuf>,
    /// Fail (exit 1) when more records than this are late: a count, or a share such as 1%
    #[arg(long, value_name = "N|P%", value_parser = parse_limit)]
    fail_on_late: Option<Limit>,
    /// Fail (exit 3) when more records than this are bad: a count, or a share such as 1%
    #[arg(long, value_name = "N|P%", value_parser = parse_limit)]
    max_decode_errors: Option<Limit>,
    /// A log without records is no error
    #[arg(long, value_parser = BoolishValueParser::new())]
    allow_empty: bool,
    /// Who starts the run, for `samestream runs`: such as the name of an orchestrator's task [default: manual]
    #[arg(long, value_name = "WORDS")]
    started_by: Option<String>,
    /// The firing of a schedule that the run is for: NAME TIME ATTEMPT
    #[arg(long, value_name = "FIRING", hide = true, value_parser = parse_firing)]
    firing: Option<Firing>,
    /// Stop cleanly when standard input ends, as whoever started the run did or wants it
    #[arg(long, hide = true, value_parser = BoolishValueParser::new())]
    stop_on_eof: bool,
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

/// What a stream's beginning is read from.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bootstrap {
    /// The lakes of its sources
    Lake,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeWord {
    Stream,
    Batch,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let range = range(arguments)?;
    let path = pipelines::find(&arguments.pipeline)?;
    let mode = if arguments.mode == ModeWord::Stream { Mode::Stream } else { Mode::Batch };
    let (by, firing) = (arguments.started_by.as_deref(), arguments.firing.as_ref());
    let mut begun = Begun { pipeline: &arguments.pipeline, loaded: None, mode, by, firing, range, command: None };
    let state_dir = arguments.state_dir.local();
    let loaded = match pipelines::read(&path, global) {
        Ok(loaded) => loaded,
        Err(failure) => {
            if !arguments.dry_run {
                record::unread(&state_dir, &begun, &failure, global);
            }
            return Err(failure);
        }
    };
    report::warnings(&loaded.warnings, global);
    if arguments.dry_run {
        let loaded = usable(arguments, loaded)?;
        return Ok(output::text(&pipeline::explain::text(&loaded))?);
    }
    if arguments.stale {
        return stale::run(arguments, loaded, global);
    }
    begun.loaded = Some(&loaded);
    let record = Record::begin(&state_dir, &begun, global);
    let worked = usable(arguments, loaded)
        .map_err(Failure::from)
        .and_then(|loaded| work(arguments, Arc::new(loaded.plan), range, global));
    record.end(worked.as_ref().map(|(exit, done)| (*exit, &done.summary, &done.wrote)));
    worked.map(|(exit, _)| ExitCode::from(exit))
}

/// Returns a pipeline that these arguments fit, with the lakes that they say.
fn usable(arguments: &Arguments, mut loaded: Loaded) -> Result<Loaded> {
    check(arguments, &loaded.plan)?;
    redirect(&mut loaded.plan, &arguments.input)?;
    Ok(loaded)
}

/// Runs it, and returns what the process ends with and what the run told.
fn work(
    arguments: &Arguments,
    plan: Arc<Plan>,
    range: (Option<i64>, Option<i64>),
    global: &Global,
) -> Result<(u8, Report), Failure> {
    let stop = signals::stop_flag()?;
    if arguments.stop_on_eof {
        signals::stop_when_input_ends(stop.clone());
    }
    let mode = if arguments.mode == ModeWord::Stream { Mode::Stream } else { Mode::Batch };
    let mut options = RunOptions::new(mode);
    arguments.cut.put(&mut options)?;
    options.settings = settings(arguments, range, stop.clone());
    options.until_caught_up = arguments.until_caught_up;
    options.out = arguments.out.clone();
    options.sinks = arguments.sinks.clone();
    options.print = arguments.print;
    options.state_dir = arguments.state_dir.local();
    options.checkpoints = Some(arguments.state_dir.clone());
    options.bootstrap = arguments.bootstrap.is_some();
    options.fresh = arguments.fresh;
    options.set_memory(arguments.memory, &plan.name);
    // The log holds records of what is healed; a step may want none of them.
    options.settings.allow_empty = arguments.allow_empty || arguments.stale;
    options.context.console = console::console(global, stop);
    // Before anything is written: a summary of another definition cannot be compared with whatever comes.
    let other = match &arguments.verify_against {
        Some(path) => Some((path, verify::read_summary(path, &plan)?)),
        None => None,
    };
    let served = match &arguments.metrics {
        Some(address) => Some(watch::serve(&plan, address, arguments.metrics_token_file.as_deref())?),
        None => None,
    };
    if let (Some((server, _)), false) = (&served, global.quiet) {
        report::say(&format!("metrics  http://{}/metrics\n", server.address()));
    }
    let shown = Shown::new(&plan.name, mode, global);
    let watched = Watched::new(&shown, served.as_ref().map(|(_, board)| board.clone()));
    let done = runtime::run(&plan, &options, &watched);
    shown.finish();
    let done = done?;
    if !global.quiet {
        report::say(&summary::text(&done, Some(&arguments.pipeline)));
    }
    if let Some(path) = &arguments.summary {
        summary::write(&done.summary, path)?;
    }
    let exit = match other {
        Some((path, other)) => against(done.summary.clone(), other, path, global)?,
        None => 0,
    };
    Ok((exit, done))
}

/// Says whether the results are those of another run.
fn against(done: Summary, other: Summary, path: &Path, global: &Global) -> Result<u8> {
    let name = done.pipeline.clone();
    let (stream, batch) = if done.mode == Mode::Stream { (done, other) } else { (other, done) };
    let verdict = compare_summaries(stream, batch)?;
    let path = path.display().to_string();
    if global.is_json() {
        let json = json!({"equal": verdict.equal, "different": verdict.different, "against": path});
        report::say(&format!("{json}\n"));
    } else if !verdict.equal {
        report::say(&format!("✗ {name}: not what `{path}` tells of: {} differ\n", verdict.different.join(", ")));
    } else if !global.quiet {
        report::say(&format!("✓ {name}: the same bytes as the run that `{path}` tells of\n"));
    }
    Ok(if verdict.equal { 0 } else { Exit::No as u8 })
}

/// Puts other lakes in the place of those that the pipeline file names.
pub(crate) fn redirect(plan: &mut Plan, inputs: &[String]) -> Result<()> {
    for input in inputs {
        let names: Vec<String> = plan.sources.iter().map(|source| source.name.clone()).collect();
        // A path may hold `=` itself, as in `partition=0`.
        let named = input.split_once('=').filter(|(name, _)| names.iter().any(|known| known == name));
        let (index, path) = match named {
            Some((name, path)) => (names.iter().position(|known| known == name).unwrap_or_default(), path),
            None if names.len() == 1 => (0, input.as_str()),
            None => {
                let message = format!("`--input {input}` does not say which source it is for");
                let help = format!("write `--input SOURCE=PATH`; the sources are: {}", names.join(", "));
                return Err(Error::new(Code::Usage, message).help(help));
            }
        };
        let lake = &mut plan.sources[index].bindings.lake;
        let layout = lake.as_ref().map_or(Layout::Log, |lake| lake.layout);
        *lake = Some(LakeBinding { path: path.to_string(), layout });
    }
    Ok(())
}

/// Returns the range of event time that the rows are of.
fn range(arguments: &Arguments) -> Result<(Option<i64>, Option<i64>)> {
    let time = |text: &Option<String>| text.as_deref().map(runtime::time::parse).transpose();
    let range = (time(&arguments.from)?, time(&arguments.to)?);
    if let (Some(from), Some(to)) = range
        && from >= to
    {
        return Err(Error::new(Code::Empty, "`--from` is not before `--to`, so the range is empty"));
    }
    Ok(range)
}

fn settings(
    arguments: &Arguments,
    range: (Option<i64>, Option<i64>),
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> Settings {
    Settings {
        range,
        threads: arguments.threads.unwrap_or(0),
        checkpoint_every: arguments.checkpoint_every,
        late_limit: arguments.fail_on_late,
        bad_limit: arguments.max_decode_errors,
        stop,
        ..Settings::default()
    }
}

fn check(arguments: &Arguments, plan: &Plan) -> Result<()> {
    let is_batch = arguments.mode == ModeWord::Batch;
    if !is_batch && arguments.stale {
        return Err(
            Error::new(Code::Usage, "`--stale` is for `--mode batch`").help("a stream goes on from where it was")
        );
    }
    if is_batch && arguments.until_caught_up {
        return Err(Error::new(Code::Usage, "`--until-caught-up` is for `--mode stream`")
            .help("a batch run always ends at the end of its lake"));
    }
    if !is_batch && !arguments.input.is_empty() {
        return Err(
            Error::new(Code::Usage, "`--input` is for `--mode batch`").help("a stream reads its topic or journal")
        );
    }
    if is_batch && arguments.metrics.is_some() {
        return Err(Error::new(Code::Usage, "`--metrics` is for `--mode stream`")
            .help("Prometheus asks now and then and would miss the end, which is what counts of a batch run: `--summary FILE` writes its numbers, which a job may push"));
    }
    if arguments.bootstrap.is_some() {
        let has_range = arguments.from.is_some() || arguments.to.is_some();
        if is_batch || has_range || arguments.cut.start.is_some() {
            let message = "`--bootstrap` is for `--mode stream`, and for all that its lake and log hold";
            return Err(Error::new(Code::Usage, message).help(
                "it does not go with `--mode batch`, `--start`, `--from` or `--to`; a batch run reads the lake anyway",
            ));
        }
    }
    if is_batch && arguments.fresh {
        return Err(Error::new(Code::Usage, "`--fresh` is for `--mode stream`")
            .help("a batch run always starts at the beginning of its lake"));
    }
    if plan.sinks.is_empty() {
        return Err(Error::new(Code::Empty, format!("pipeline `{}` has no sink, so it writes nothing", plan.name))
            .help("add one under `sinks:`"));
    }
    Ok(())
}

/// Less than this would be spent on the program itself.
const LEAST_MEMORY: u64 = 1 << 20;

pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    match parse_size(text)? as u64 {
        size if size >= LEAST_MEMORY => Ok(size),
        _ => Err("1MiB is the least".to_string()),
    }
}

/// Reads the firing of a schedule, as the daemon writes it.
fn parse_firing(text: &str) -> Result<Firing, String> {
    let [schedule, due, attempt] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Err("write NAME TIME ATTEMPT".into());
    };
    let due = runtime::time::parse(due).map_err(|error| error.message)?;
    let attempt = attempt.parse().map_err(|_| "an attempt is a number")?;
    Ok(Firing { schedule: schedule.into(), due: runtime::time::rfc3339(due), attempt })
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
