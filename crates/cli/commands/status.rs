//! `samestream status`: which ranges of each sink are final, provisional, stale or missing, as a calendar.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::error::Exit;
use pipeline::Loaded;
use runtime::catalogue::{Catalogue, Run};
use runtime::checkpoint::Place;
use runtime::ledger::{self, Range, RangeState, SinkStatus, Status};
use runtime::time;
use serde_json::{Value, json};

use crate::commands::runs::short;
use crate::global::{Format, Global};
use crate::report::{self, Done, Failure};
use crate::{clock, output, pipelines};

/// See which days of the results are final, provisional, stale or missing, and why
///
/// Every run notes which range of window starts it has written, by which definition and from what of the log. Held against
/// the log and the lake as they are now: `final` and `provisional` (open windows) is what a run over everything would give
/// too; `stale` was made by another definition, of files that were changed, or before records that enter it; `missing` was
/// never written. Of the lake only footers are read, and the records that came since. A stream may run meanwhile.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream status\n  \
    samestream status page_views --from 2026-11-01\n  \
    samestream status page_views --format json\n  \
    samestream status --check || echo 'something is stale'\n\n\
    `reprocess: stale` in a schedule heals what is stale or missing.")]
pub(crate) struct Arguments {
    /// Pipelines: paths, or bare names [default: those of `pipelines/`]
    pipelines: Vec<String>,
    /// Only windows that start at this time or later (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only windows that start before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// End with exit code 1 when something is stale or missing, for monitors
    #[arg(long, value_parser = BoolishValueParser::new())]
    check: bool,
    /// The state folder
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

/// A pipeline, and what is known of it.
struct Known {
    loaded: Loaded,
    status: Status,
    last: Option<Run>,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let moment = |text: &Option<String>| text.as_deref().map(time::parse).transpose();
    let (from, to) = (moment(&arguments.from)?.unwrap_or(i64::MIN), moment(&arguments.to)?.unwrap_or(i64::MAX));
    let catalogue = Catalogue::new(&arguments.state_dir.local());
    let runs = catalogue.runs()?;
    let mut known = Vec::new();
    for loaded in loaded(&arguments.pipelines, global)? {
        let plan = Arc::new(loaded.plan.clone());
        let mut status = ledger::status(&plan, &plan.sinks, &catalogue, &arguments.state_dir)?;
        if (from, to) != (i64::MIN, i64::MAX) {
            status.restrict(from, to);
        }
        let last = runs.iter().rev().find(|run| run.pipeline == plan.name).cloned();
        known.push(Known { loaded, status, last });
    }
    let text = match output::resolved(global) {
        Format::Json => format!("{}\n", known.iter().map(json_of).collect::<Value>()),
        Format::Jsonl if global.format != Format::Auto => {
            known.iter().map(|known| format!("{}\n", json_of(known))).collect()
        }
        _ if known.is_empty() => "no pipeline in `pipelines/`: `samestream init` makes a project\n".into(),
        _ => {
            let paint = Paint { is_on: global.is_coloured(std::io::stdout().is_terminal()) };
            let texts: Vec<String> = known.iter().map(|known| text_of(known, &paint)).collect();
            format!("{}\n{}", texts.join("\n"), legend(&paint))
        }
    };
    output::text(&report::redacted(&text))?;
    let is_current = known.iter().all(|known| known.status.is_current);
    Ok(if arguments.check && !is_current { ExitCode::from(Exit::No as u8) } else { ExitCode::SUCCESS })
}

/// Reads the pipelines that are named, or all of the project. Of those one that cannot be read keeps nobody from seeing others.
fn loaded(names: &[String], global: &Global) -> Result<Vec<Loaded>, Failure> {
    if !names.is_empty() {
        return names.iter().map(|name| pipelines::load(name, global)).collect();
    }
    let mut all = Vec::new();
    for path in pipelines::all() {
        match pipelines::read(&path, global) {
            Ok(loaded) => all.push(loaded),
            Err(Failure(errors)) => report::warnings(&errors, global),
        }
    }
    Ok(all)
}

fn json_of(known: &Known) -> Value {
    let mut json = serde_json::to_value(&known.status).expect("a status is JSON");
    json["last_run"] = known.last.as_ref().map_or(Value::Null, |run| {
        json!({"id": run.id, "mode": run.mode, "outcome": run.outcome, "by": run.by, "started": run.started, "ended": run.ended})
    });
    json["next"] = firings(&known.loaded)
        .into_iter()
        .map(|(schedule, due, _)| json!({"schedule": schedule, "due": time::rfc3339(due)}))
        .collect();
    json
}

/// Returns the next firing of each schedule, the first one first: its name, when it is due, and on which clocks.
fn firings(loaded: &Loaded) -> Vec<(String, i64, String)> {
    let next = loaded.schedules.iter().filter_map(|schedule| {
        let due = schedule.cron.after(clock::now_ms() * 1000)?;
        Some((schedule.name.clone(), due, schedule.cron.local(due)))
    });
    let mut next: Vec<_> = next.collect();
    next.sort_by_key(|(_, due, _)| *due);
    next
}

/// Colours, where people look.
struct Paint {
    is_on: bool,
}

impl Paint {
    fn mark(&self, state: RangeState) -> String {
        let (mark, code) = match state {
            RangeState::Final => ("✓", "32"),
            RangeState::Provisional => ("~", "36"),
            RangeState::Stale => ("!", "33"),
            RangeState::Missing => ("?", "31"),
        };
        if self.is_on { format!("\x1b[{code}m{mark}\x1b[0m") } else { mark.into() }
    }
}

fn legend(paint: &Paint) -> String {
    let states = [RangeState::Final, RangeState::Provisional, RangeState::Stale, RangeState::Missing];
    let words: Vec<String> = states.iter().map(|state| format!("{} {}", paint.mark(*state), state.word())).collect();
    format!("{}   · no windows; of a day the worst\n", words.join("   "))
}

fn text_of(known: &Known, paint: &Paint) -> String {
    let Known { loaded, status, last } = known;
    let mut out = format!("{}\n", status.pipeline);
    out += &match last {
        Some(run) => {
            let when = run.ended.as_ref().map_or_else(|| format!("since {}", run.started), Clone::clone);
            format!("  last run  {} {}, {} {}, {}\n", run.id, run.mode, run.outcome.word(), when, run.by)
        }
        None => format!("  last run  none: `samestream run {} --mode batch` makes one\n", status.pipeline),
    };
    for (schedule, _, local) in firings(loaded).iter().take(3) {
        out += &format!("  next      {local}, {schedule}\n");
    }
    status.notes.iter().for_each(|note| out += &format!("  note      {note}\n"));
    for sink in &status.sinks {
        out += &format!("\n  {}  from {}, in {}\n", sink.sink, sink.step, sink.place);
        out += &calendar(sink, paint);
        out += &exceptions(sink, paint);
    }
    out
}

const DAY: i64 = 86_400_000_000;

/// Draws a row of days for each month in which there is something.
fn calendar(sink: &SinkStatus, paint: &Paint) -> String {
    let mut months: BTreeMap<(String, i64), BTreeMap<usize, RangeState>> = BTreeMap::new();
    let ends = (sink.covered.first().map(|(from, _)| *from), sink.covered.last().map(|(_, to)| *to));
    let (Some(first), Some(last)) = ends else { return "    no windows\n".into() };
    for range in &sink.ranges {
        let (from, to) = (range.from.max(first.min(range.to)), range.to.min(last.max(range.from)));
        let (from, to) =
            if range.from == i64::MIN || range.to == i64::MAX { (from, to) } else { (range.from, range.to) };
        for day in from.div_euclid(DAY)..=(to - 1).div_euclid(DAY) {
            // Of a range that covers more than there is, days without windows are no part.
            let is_there = range.from != i64::MIN && range.to != i64::MAX
                || sink.covered.iter().any(|(from, to)| *from < (day + 1) * DAY && day * DAY < *to);
            let date = time::rfc3339(day * DAY);
            let (month, number) = (date[..7].to_string(), date[8..10].parse::<usize>().unwrap_or(1));
            if is_there {
                let first_of_month = day - number as i64;
                let worst = months.entry((month, first_of_month)).or_default().entry(number).or_insert(range.state);
                *worst = (*worst).max(range.state);
            }
        }
    }
    let mut out = format!("    {:7}  1   5    10   15   20   25   30\n", "");
    for ((month, _), days) in &months {
        let marks: String = (1..=31).map(|day| days.get(&day).map_or("·".into(), |state| paint.mark(*state))).collect();
        out += &format!("    {month}  {marks}\n");
    }
    out
}

/// How many ranges are listed that are not final.
const MOST: usize = 20;

/// Lists what is not final, with the reason.
fn exceptions(sink: &SinkStatus, paint: &Paint) -> String {
    let ranges: Vec<&Range> = sink.ranges.iter().filter(|range| range.state != RangeState::Final).collect();
    let mut out = String::new();
    for range in ranges.iter().take(MOST) {
        let reason = range.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        out += &format!("    {} {}  {}{reason}\n", paint.mark(range.state), between(range), range.state.word());
    }
    if ranges.len() > MOST {
        out += &format!(
            "    and {} ranges more: `--format json` lists all, `--from` and `--to` choose\n",
            ranges.len() - MOST
        );
    }
    out
}

fn between(range: &Range) -> String {
    match (range.from, range.to) {
        (i64::MIN, i64::MAX) => "everything".into(),
        (i64::MIN, to) => format!("before {}", short(&time::rfc3339(to))),
        (from, i64::MAX) => format!("from {} on", short(&time::rfc3339(from))),
        (from, to) => {
            let (from, to) = (short(&time::rfc3339(from)), short(&time::rfc3339(to)));
            let day = |text: &str| text.split('T').next().map(String::from);
            match to.split_once('T') {
                Some((_, clock)) if day(&from) == day(&to) => format!("{from} .. {clock}"),
                _ => format!("{from} .. {to}"),
            }
        }
    }
}
