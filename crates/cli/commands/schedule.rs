//! `samestream schedule`: what the `schedules:` of pipelines say, and the daemon that does it.

mod daemon;
mod hook;
mod job;

use std::process::{Command, ExitCode};

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use engine::schedule::{Reprocess, Schedule};
use engine::{Code, Error};
use pipeline::Loaded;
use runtime::catalogue::{Catalogue, Run};
use runtime::checkpoint::Place;
use runtime::schedule::State;
use runtime::time;
use serde_json::{Value, json};

use crate::commands::runs::{cannot_start, code_of, itself, short};
use crate::commands::state::aligned;
use crate::global::{Format, Global};
use crate::report::{self, Done, Failure};
use crate::{clock, output, pipelines, signals};

/// Run pipelines by the schedules in their files; see what is next and what was
///
/// A firing is a batch run over a range, which replaces the rows of that range and no others. `start` is a process in the
/// foreground, for systemd or a container; `start --once-due` does what is due and ends, for cron or a timer. One process
/// at a time does it for a state folder. Pipelines are those of `pipelines/`, unless some are named.
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
    samestream schedule list\n  \
    samestream schedule next -n 5\n  \
    samestream schedule start\n  \
    samestream schedule start --once-due\n  \
    samestream schedule trigger page_views nightly\n  \
    samestream schedule pause page_views nightly\n  \
    samestream schedule history page_views --format json"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Do what is due, until stopped: SIGTERM lets runs end cleanly, with the sinks as they were
    Start(Start),
    /// List the schedules
    List(Several),
    /// Show when they fire next, on the clocks of their zones and in UTC, and what each firing reprocesses
    Next(Next),
    /// Run now what the latest firing was for, or another one
    Trigger(Trigger),
    /// Leave firings out until `resume`
    Pause(One),
    /// Let it fire again; what fell into the pause is not caught up with
    Resume(One),
    /// Show what became of firings, the latest last
    History(History),
}

#[derive(Args)]
struct Several {
    /// Pipelines: paths, or bare names [default: those of `pipelines/` that have schedules]
    pipelines: Vec<String>,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct Start {
    #[command(flatten)]
    of: Several,
    /// Do what is due now and end when that is done, with the exit code of the first run that failed
    #[arg(long, value_parser = BoolishValueParser::new())]
    once_due: bool,
}

#[derive(Args)]
struct Next {
    #[command(flatten)]
    of: Several,
    /// How many firings
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    number: usize,
    /// After this time (RFC 3339, or a date in UTC) [default: now]
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
}

#[derive(Args)]
struct One {
    /// The pipeline: a path, or a bare name
    pipeline: String,
    /// The schedule, if the pipeline has several
    schedule: Option<String>,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct Trigger {
    #[command(flatten)]
    of: One,
    /// The firing that is or was due at this time (RFC 3339) [default: the latest]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    due: Option<String>,
    /// Another range: from this time on (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME", requires = "to")]
    from: Option<String>,
    /// Another range: before this time
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
}

#[derive(Args)]
struct History {
    #[command(flatten)]
    of: Several,
    /// The latest so many of each schedule; 0: all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    match &arguments.action {
        Action::Start(start) => daemon::run(&start.of, start.once_due, global),
        Action::List(several) => list(several, global),
        Action::Next(next) => self::next(next, global),
        Action::Trigger(trigger) => self::trigger(trigger, global),
        Action::Pause(one) => pause(one, true, global),
        Action::Resume(one) => pause(one, false, global),
        Action::History(history) => self::history(history, global),
    }
}

/// A pipeline with schedules.
struct Found {
    /// As it was called, or the path of its file.
    called: String,
    loaded: Loaded,
}

impl Found {
    fn name(&self) -> &str {
        &self.loaded.plan.name
    }
}

/// Reads the pipelines that are named, or those of the project that have schedules.
fn found(several: &Several, global: &Global) -> Result<Vec<Found>, Failure> {
    let read = |called: String| pipelines::load(&called, global).map(|loaded| Found { called, loaded });
    if several.pipelines.is_empty() {
        let paths = pipelines::all().into_iter().map(|path| path.display().to_string());
        let mut found = paths.map(read).collect::<Result<Vec<_>, _>>()?;
        found.retain(|found| !found.loaded.schedules.is_empty());
        return if found.is_empty() { Err(no_schedule("no pipeline in `pipelines/` has")) } else { Ok(found) };
    }
    let found = several.pipelines.iter().cloned().map(read).collect::<Result<Vec<_>, _>>()?;
    match found.iter().find(|found| found.loaded.schedules.is_empty()) {
        Some(found) => Err(no_schedule(&format!("pipeline `{}` does not have", found.name()))),
        None => Ok(found),
    }
}

fn no_schedule(who: &str) -> Failure {
    Error::new(Code::Empty, format!("{who} `schedules:`"))
        .help("add `schedules: {nightly: {cron: \"15 3 * * *\", timezone: Europe/Berlin, reprocess: {last: 2d}}}`")
        .into()
}

/// Returns a pipeline and its schedule of that name, or the only one.
fn one<'a>(one: &One, found: &'a Found) -> Result<&'a Schedule, Error> {
    let schedules = &found.loaded.schedules;
    let names = || schedules.iter().map(|schedule| schedule.name.as_str()).collect::<Vec<_>>().join(", ");
    match (&one.schedule, schedules.as_slice()) {
        (None, [schedule]) => Ok(schedule),
        (None, _) => Err(Error::new(Code::Usage, format!("pipeline `{}` has several schedules", found.name()))
            .help(format!("say which: {}", names()))),
        (Some(name), _) => schedules.iter().find(|schedule| schedule.name == *name).ok_or_else(|| {
            Error::new(Code::Empty, format!("pipeline `{}` has no schedule `{name}`", found.name()))
                .help(format!("its schedules are: {}", names()))
        }),
    }
}

fn found_one(of: &One, global: &Global) -> Result<Found, Failure> {
    let several = Several { pipelines: vec![of.pipeline.clone()], state_dir: of.state_dir.clone() };
    Ok(found(&several, global)?.remove(0))
}

fn now() -> i64 {
    clock::now_ms() * 1000
}

/// Answers objects in the form that was asked for: JSON, or the text of each under a head.
fn answer<const N: usize>(
    rows: &[Value],
    head: [&str; N],
    row: impl Fn(&Value) -> [String; N],
    global: &Global,
) -> Done {
    let text = match output::resolved(global) {
        Format::Json => format!("{}\n", Value::from(rows)),
        Format::Jsonl if global.format != Format::Auto => rows.iter().map(|row| format!("{row}\n")).collect(),
        _ => {
            let rows = rows.iter().map(row);
            aligned(&std::iter::once(head.map(String::from)).chain(rows).collect::<Vec<_>>())
        }
    };
    Ok(output::text(&report::redacted(&text))?)
}

/// Returns a field of an object for people.
fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the range of a firing for people.
fn interval(row: &Value) -> String {
    match row["from"].is_null() {
        true => "what is stale or missing".into(),
        false => format!("{} .. {}", short(&text(row, "from")), short(&text(row, "to"))),
    }
}

fn list(several: &Several, global: &Global) -> Done {
    let catalogue = Catalogue::new(&several.state_dir.local());
    let mut rows = Vec::new();
    for found in found(several, global)? {
        for schedule in &found.loaded.schedules {
            let state = catalogue.schedule(found.name(), &schedule.name)?;
            let next = schedule.cron.after(now());
            rows.push(json!({
                "pipeline": found.name(),
                "schedule": schedule.name,
                "cron": schedule.cron.text(),
                "timezone": schedule.cron.zone().name(),
                "next": next.map(time::rfc3339),
                "next_local": next.map(|next| schedule.cron.local(next)),
                "paused": state.is_some_and(|state| state.paused),
                "since": state.map(|state| time::rfc3339(state.since)),
            }));
        }
    }
    let row = |row: &Value| {
        let next = if row["paused"] == true { "paused".into() } else { text(row, "next_local") };
        [text(row, "pipeline"), text(row, "schedule"), text(row, "cron"), text(row, "timezone"), next]
    };
    answer(&rows, ["pipeline", "schedule", "cron", "timezone", "next"], row, global)
}

fn next(next: &Next, global: &Global) -> Done {
    let after = next.after.as_deref().map(time::parse).transpose()?.unwrap_or_else(now);
    let found = found(&next.of, global)?;
    let all = found.iter().flat_map(|found| found.loaded.schedules.iter().map(move |schedule| (found, schedule)));
    let firings = all.flat_map(|(found, schedule)| {
        let times = schedule.cron.between(after, i64::MAX).take(next.number);
        times.map(move |due| (due, found, schedule))
    });
    let mut firings: Vec<_> = firings.collect();
    firings.sort_by_key(|(due, found, schedule)| (*due, found.name(), &schedule.name));
    firings.truncate(next.number);
    let row = |(due, found, schedule): &(i64, &Found, &Schedule)| {
        let (from, to) = schedule.interval(*due).unzip();
        json!({
            "pipeline": found.name(),
            "schedule": schedule.name,
            "local": schedule.cron.local(*due),
            "timezone": schedule.cron.zone().name(),
            "due": time::rfc3339(*due),
            "begins": time::rfc3339(schedule.begins(found.name(), *due)),
            "from": from.map(time::rfc3339),
            "to": to.map(time::rfc3339),
        })
    };
    let rows: Vec<Value> = firings.iter().map(row).collect();
    let shown = |row: &Value| {
        [text(row, "pipeline"), text(row, "schedule"), text(row, "local"), short(&text(row, "due")), interval(row)]
    };
    answer(&rows, ["pipeline", "schedule", "on its clocks", "in UTC", "reprocesses (half-open, UTC)"], shown, global)
}

fn pause(of: &One, paused: bool, global: &Global) -> Done {
    let found = found_one(of, global)?;
    let schedule = one(of, &found)?;
    let catalogue = Catalogue::new(&of.state_dir.local());
    let state = catalogue.schedule(found.name(), &schedule.name)?;
    let mut state = state.unwrap_or(State { since: now(), paused });
    if state.paused && !paused {
        // If no daemon ran meanwhile, nothing was left out yet of what fell into the pause.
        state.since = state.since.max(now());
    }
    state.paused = paused;
    catalogue.put_schedule(found.name(), &schedule.name, &state)?;
    if global.is_json() {
        let json = json!({"pipeline": found.name(), "schedule": schedule.name, "paused": paused});
        return Ok(output::text(&format!("{json}\n"))?);
    }
    if !global.quiet {
        let what = if paused { "is paused: its firings are left out" } else { "fires again" };
        report::say(&format!("✓ {} {} {what}\n", found.name(), schedule.name));
    }
    Ok(ExitCode::SUCCESS)
}

fn trigger(trigger: &Trigger, global: &Global) -> Done {
    let found = found_one(&trigger.of, global)?;
    let schedule = one(&trigger.of, &found)?;
    let what = match (&trigger.due, &trigger.from, &trigger.to) {
        (None, Some(from), Some(to)) => What::Range(time::parse(from)?, time::parse(to)?),
        _ if schedule.reprocess == Reprocess::Stale => What::Stale,
        (due, ..) => {
            let due = due.as_deref().map(time::parse).transpose()?;
            let due = due.or_else(|| schedule.cron.before(now() + 1));
            let interval = due.and_then(|due| schedule.interval(due));
            interval.map(|(from, to)| What::Range(from, to)).ok_or_else(|| {
                Error::new(Code::Empty, format!("schedule `{}` has not fired yet", schedule.name))
                    .help("say a range with `--from` and `--to`")
            })?
        }
    };
    // The first Ctrl-C reaches both processes and is answered by the run.
    let _stop = signals::stop_flag()?;
    let mut command = run_of(&found.called, what, &trigger.of.state_dir, global)?;
    command.env("SAMESTREAM_STARTED_BY", format!("schedule {}, triggered", schedule.name));
    Ok(ExitCode::from(code_of(command.status().map_err(cannot_start)?)))
}

/// What a firing runs.
#[derive(Clone, Copy)]
enum What {
    /// A range.
    Range(i64, i64),
    /// Whatever is stale or missing.
    Stale,
}

/// Returns what the firing of a schedule at a time runs; None: there is nothing before the first firing there ever was.
fn what(schedule: &Schedule, due: i64) -> Option<What> {
    match schedule.reprocess {
        Reprocess::Stale => Some(What::Stale),
        _ => schedule.interval(due).map(|(from, to)| What::Range(from, to)),
    }
}

/// Returns this program as it runs a pipeline for a firing, with what this process was told of variables.
fn run_of(called: &str, what: What, state_dir: &Place, global: &Global) -> Result<Command, Error> {
    let state_dir = match state_dir {
        Place::Folder(folder) => folder.display().to_string(),
        Place::Url(url) => url.clone(),
    };
    let mut command = itself()?;
    command.args(["run", called, "--mode", "batch"]);
    match what {
        What::Range(from, to) => command.args(["--from", &time::rfc3339(from), "--to", &time::rfc3339(to)]),
        What::Stale => command.arg("--stale"),
    };
    command.args(["--state-dir", &state_dir]);
    with_globals(&mut command, global);
    Ok(command)
}

fn with_globals(command: &mut Command, global: &Global) {
    if let Some(profile) = &global.profile {
        command.args(["--profile", profile]);
    }
    if let Some(file) = &global.env_file {
        command.arg("--env-file").arg(file);
    }
    for (name, value) in &global.set {
        command.arg("--set").arg(format!("vars.{name}={value}"));
    }
    if global.is_json() {
        command.args(["--format", "json"]);
    }
    if global.quiet {
        command.arg("--quiet");
    }
}

fn history(history: &History, global: &Global) -> Done {
    let catalogue = Catalogue::new(&history.of.state_dir.local());
    let runs = catalogue.runs()?;
    let mut rows = Vec::new();
    for found in found(&history.of, global)? {
        for schedule in &found.loaded.schedules {
            let firings = catalogue.firings(found.name(), &schedule.name)?;
            let first = if history.limit == 0 { 0 } else { firings.len().saturating_sub(history.limit) };
            for firing in &firings[first..] {
                let due = time::rfc3339(firing.due);
                let of_it = |run: &&Run| {
                    let is_of = |of: &runtime::catalogue::Firing| of.schedule == schedule.name && of.due == due;
                    job::is_of(run, found.name(), &found.called) && run.firing.as_ref().is_some_and(is_of)
                };
                let tries: Vec<&Run> = runs.iter().filter(of_it).collect();
                let (from, to) = schedule.interval(firing.due).unzip();
                rows.push(json!({
                    "pipeline": found.name(),
                    "schedule": schedule.name,
                    "due": due,
                    "local": schedule.cron.local(firing.due),
                    "decided": time::rfc3339(firing.at),
                    "what": firing.what.word(),
                    "outcome": tries.last().map(|run| run.outcome.word()),
                    "exit": tries.last().and_then(|run| run.exit),
                    "runs": tries.iter().map(|run| run.id).collect::<Vec<_>>(),
                    "verified": firing.verified,
                    "from": from.map(time::rfc3339),
                    "to": to.map(time::rfc3339),
                }));
            }
        }
    }
    rows.sort_by_key(|row| (text(row, "due"), text(row, "pipeline"), text(row, "schedule")));
    let shown = |row: &Value| {
        let runs = row["runs"]
            .as_array()
            .map_or_else(String::new, |runs| runs.iter().map(Value::to_string).collect::<Vec<_>>().join(", "));
        let outcome = match (&row["outcome"], &row["verified"]) {
            (Value::Null, _) => text(row, "what"),
            (_, Value::Number(code)) if code.as_u64() != Some(0) => format!("{}, not verified", text(row, "outcome")),
            (_, Value::Number(_)) => format!("{}, verified", text(row, "outcome")),
            _ => text(row, "outcome"),
        };
        [text(row, "pipeline"), text(row, "schedule"), text(row, "local"), outcome, runs, interval(row)]
    };
    answer(
        &rows,
        ["pipeline", "schedule", "due, on its clocks", "what became of it", "runs", "range (UTC)"],
        shown,
        global,
    )
}
