//! `samestream runs`: what ran, and how it went.

use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use clap::{Args, Subcommand};
use engine::{Code, Error};
use runtime::catalogue::{Catalogue, Outcome, Run};
use runtime::checkpoint::Place;
use runtime::{Summary, time};
use serde_json::{Value, json};

use crate::commands::run::parse_duration;
use crate::commands::state::aligned;
use crate::global::{Format, Global};
use crate::output::{self, thousands};
use crate::record::HIDDEN;
use crate::report::{self, Done};
use crate::{clock, signals};

/// See what ran, who started it, over which offsets, with which digests, and how it ended; run it again
///
/// Every `run` is noted in the state folder, whatever started it: a person, a schedule, an orchestrator (`--started-by`).
/// A run that was killed is `lost`. The last 10,000 runs are kept.
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
    samestream runs list\n  \
    samestream runs list --pipeline page_views --outcome failed --format json\n  \
    samestream runs show 17\n  \
    samestream runs logs 17\n  \
    samestream runs retry 17\n  \
    samestream runs prune --older-than 90d"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List runs, the latest last
    List(List),
    /// Show all that is known of a run
    Show(One),
    /// Show the last of what a run said
    Logs(One),
    /// Run again what a run was asked for, with the environment of now
    Retry(One),
    /// Forget runs that are over
    Prune(Prune),
}

#[derive(Args)]
struct List {
    /// Of this pipeline only
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only those that ended so, or go on
    #[arg(long, value_name = "OUTCOME", value_enum)]
    outcome: Option<Word>,
    /// The latest so many; 0: all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    Running,
    Done,
    Stopped,
    Failed,
    Lost,
}

#[derive(Args)]
struct One {
    /// The run's number
    #[arg(value_name = "ID")]
    id: u64,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct Prune {
    /// Keep the latest so many
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Forget those that ended longer ago than this, such as 90d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    match &arguments.action {
        Action::List(list) => self::list(list, global),
        Action::Show(one) => {
            let run = one.catalogue().run(one.id)?;
            let text = if global.is_json() { format!("{}\n", json_of(&run)) } else { shown(&run) };
            Ok(output::text(&text)?)
        }
        Action::Logs(one) => {
            let log = one.catalogue().log(one.id)?;
            let text = if global.is_json() { format!("{}\n", json!({"id": one.id, "log": log})) } else { log };
            Ok(output::text(&text)?)
        }
        Action::Retry(one) => retry(one, global),
        Action::Prune(prune) => self::prune(prune, global),
    }
}

impl One {
    fn catalogue(&self) -> Catalogue {
        Catalogue::new(&self.state_dir.local())
    }
}

impl Word {
    fn outcome(self) -> Outcome {
        match self {
            Word::Running => Outcome::Running,
            Word::Done => Outcome::Done,
            Word::Stopped => Outcome::Stopped,
            Word::Failed => Outcome::Failed,
            Word::Lost => Outcome::Lost,
        }
    }
}

fn json_of(run: &Run) -> Value {
    serde_json::to_value(run).expect("a run is JSON")
}

fn list(list: &List, global: &Global) -> Done {
    let catalogue = Catalogue::new(&list.state_dir.local());
    let mut runs = catalogue.runs()?;
    runs.retain(|run| list.pipeline.as_ref().is_none_or(|name| run.pipeline == *name));
    runs.retain(|run| list.outcome.is_none_or(|word| run.outcome == word.outcome()));
    let first = if list.limit == 0 { 0 } else { runs.len().saturating_sub(list.limit) };
    let runs = &runs[first..];
    match output::resolved(global) {
        Format::Json => Ok(output::text(&format!("{}\n", Value::from_iter(runs.iter().map(json_of))))?),
        Format::Jsonl if global.format != Format::Auto => {
            Ok(output::text(&runs.iter().map(|run| format!("{}\n", json_of(run))).collect::<String>())?)
        }
        _ if runs.is_empty() => Ok(output::text(&format!("no such run in {}\n", catalogue.file().display()))?),
        _ => {
            let head =
                ["run", "pipeline", "mode", "started", "took", "outcome", "range", "rows", "by"].map(String::from);
            let rows: Vec<[String; 9]> = std::iter::once(head).chain(runs.iter().map(row)).collect();
            Ok(output::text(&aligned(&rows))?)
        }
    }
}

fn row(run: &Run) -> [String; 9] {
    let ended = match (run.outcome, run.exit) {
        (Outcome::Failed, exit) => {
            let code = run.error.as_ref().map(|error| error.code.clone());
            format!("failed {}", code.unwrap_or_else(|| exit.map_or_else(String::new, |exit| exit.to_string())))
        }
        (outcome, _) => outcome.word().to_string(),
    };
    [
        run.id.to_string(),
        run.pipeline.clone(),
        run.mode.to_string(),
        to_second(&run.started),
        took(run).unwrap_or_default(),
        ended,
        range(run).unwrap_or_default(),
        run.summary.as_ref().map(|summary| thousands(summary.rows_written)).unwrap_or_default(),
        by(run),
    ]
}

/// Returns a time up to its second.
fn to_second(time: &str) -> String {
    format!("{}Z", &time[..time.len().min(19)].trim_end_matches('Z'))
}

fn took(run: &Run) -> Option<String> {
    let started = time::parse(&run.started).ok()?;
    let ended = match &run.ended {
        Some(ended) => time::parse(ended).ok()?,
        None => clock::now_ms() * 1000,
    };
    let unit = if ended - started < 60_000_000 { 10_000 } else { 1_000_000 };
    Some(engine::duration((ended - started).max(0) / unit * unit))
}

fn range(run: &Run) -> Option<String> {
    let side = |time: &Option<String>| time.as_deref().map_or_else(|| "…".into(), short);
    (run.from.is_some() || run.to.is_some()).then(|| format!("{} .. {}", side(&run.from), side(&run.to)))
}

/// Returns a time without what is zero.
pub(crate) fn short(time: &str) -> String {
    time.strip_suffix(":00Z").map_or_else(|| time.to_string(), |time| format!("{time}Z"))
}

fn by(run: &Run) -> String {
    match &run.firing {
        Some(firing) if firing.attempt > 1 => format!("{} (try {})", run.by, firing.attempt),
        _ => run.by.clone(),
    }
}

fn shown(run: &Run) -> String {
    let mut out = format!("run {}  {}  {}  {}\n", run.id, run.pipeline, run.mode, run.outcome.word());
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!("  {name:<11} {value}\n"));
        }
    };
    line("by", Some(by(run)));
    line("due", run.firing.as_ref().map(|firing| firing.due.clone()));
    line("started", Some(run.started.clone()));
    line("ended", run.ended.clone());
    line("took", took(run));
    line("exit", run.exit.map(|exit| exit.to_string()));
    line("error", run.error.as_ref().map(|error| format!("{}: {}", error.code, error.message)));
    line("range", range(run));
    line("definition", run.definition.clone());
    line("command", Some(format!("samestream {}", run.command.join(" "))));
    line(
        "process",
        Some(format!("{}{}", run.pid, run.user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default())),
    );
    line("program", Some(run.version.clone()));
    if let Some(summary) = &run.summary {
        of_summary(summary, &mut line);
    }
    out
}

fn of_summary(summary: &Summary, line: &mut impl FnMut(&str, Option<String>)) {
    let Summary { rows_read, rows_late, rows_bad, rows_failed, rows_written, windows, .. } = summary;
    let [read, late, bad, failed, written, windows] =
        [rows_read, rows_late, rows_bad, rows_failed, rows_written, windows].map(|count| thousands(*count));
    line("read", Some(format!("{read} records, late {late}, bad {bad}, failed {failed}")));
    line("wrote", Some(format!("{windows} windows, {written} rows")));
    for (source, partitions) in &summary.start {
        for (partition, start) in partitions {
            let end = summary.end.get(source).and_then(|ends| ends.get(partition));
            let end = end.map_or_else(|| "?".into(), i64::to_string);
            line("offsets", Some(format!("{source} partition {partition}: {start} .. {end}")));
        }
    }
    line("final", Some(summary.digest_final.clone()));
    line("all", Some(summary.digest_all.clone()));
}

/// Runs again what a run was asked for.
fn retry(one: &One, global: &Global) -> Done {
    let run = one.catalogue().run(one.id)?;
    if run.outcome == Outcome::Running {
        let message = format!("run {} goes on", run.id);
        return Err(Error::new(Code::StateBusy, message).help("stop it first, or wait for its end").into());
    }
    if let Some(word) = run.command.iter().find(|word| word.contains(HIDDEN)) {
        let message = format!("run {} was given a secret, which is not kept: `{word}`", run.id);
        let help = format!("run it by hand: samestream {}", run.command.join(" "));
        return Err(Error::new(Code::Usage, message).help(help).into());
    }
    if !global.quiet {
        report::say(&format!("runs     samestream {}\n", run.command.join(" ")));
    }
    // The first Ctrl-C reaches both processes and is answered by the run.
    let _stop = signals::stop_flag()?;
    let mut command = itself()?;
    let status = command.args(&run.command).env("SAMESTREAM_STARTED_BY", format!("retry of run {}", run.id)).status();
    Ok(ExitCode::from(code_of(status.map_err(cannot_start)?)))
}

/// Returns this program, to be started once more where this one works.
pub(crate) fn itself() -> Result<Command, Error> {
    let mut command = Command::new(std::env::current_exe().map_err(cannot_start)?);
    for name in ["PROJECT_DIR", "STARTED_BY", "FIRING", "STOP_ON_EOF"] {
        command.env_remove(format!("SAMESTREAM_{name}"));
    }
    Ok(command)
}

pub(crate) fn cannot_start(error: std::io::Error) -> Error {
    Error::io("cannot start another process of this program", error)
}

/// Returns what a process ended with, as a shell says it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8
}

fn prune(prune: &Prune, global: &Global) -> Done {
    if prune.keep.is_none() && prune.older_than.is_none() {
        return Err(Error::new(Code::Usage, "say which runs to forget: `--keep N`, `--older-than TIME`, or both")
            .help("with both, a run is forgotten that is neither among the latest N nor younger")
            .into());
    }
    let catalogue = Catalogue::new(&prune.state_dir.local());
    let runs = catalogue.runs()?;
    let kept_from = prune.keep.map(|keep| match keep {
        0 => u64::MAX,
        keep => runs.iter().rev().nth(keep - 1).map_or(0, |run| run.id),
    });
    let now = clock::now_ms() * 1000;
    let before = prune.older_than.map(|age| now - age.as_micros() as i64);
    let is_gone = |run: &Run| {
        let ended = run.ended.as_deref().and_then(|ended| time::parse(ended).ok());
        kept_from.is_none_or(|first| run.id < first) && before.is_none_or(|before| ended.is_some_and(|at| at < before))
    };
    let count = catalogue.prune(is_gone)?;
    if global.is_json() {
        return Ok(output::text(&format!("{}\n", json!({"pruned": count})))?);
    }
    if !global.quiet {
        report::say(&format!("✓ {count} run{} forgotten\n", if count == 1 { "" } else { "s" }));
    }
    Ok(ExitCode::SUCCESS)
}
