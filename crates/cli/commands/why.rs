//! `samestream why` and `why-not`: the records that made a row, and what became of a record.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::plan::Plan;
use engine::window::Window;
use engine::{Code, Error, Result, rfc3339};
use runtime::why::{Answer, Course, Part, PartName, Question, Stop, why, why_not};
use runtime::{Mode, RunOptions};
use serde_json::{Value, json};

use crate::commands;
use crate::commands::run::Cuts;
use crate::global::Global;
use crate::output::thousands;
use crate::report::Done;
use crate::{output, pipelines, signals};

/// List the records that made a row, and those that did not, with the reason
///
/// The lake or journal is read again, and the steps tell what they do. Records of the row's window and key that are not
/// in it were late (by how much), repeated (what) or filtered (by what). A step over windows lists the window rows it
/// read; --deep takes them apart too, down to records.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream why page_views --step per_page --window 2026-01-01T00:00:00Z --key page=/home\n  \
    samestream why top_pages --step top_pages --window 2026-01-01T00:00:00Z --key page=/home --deep\n  \
    samestream why sessions --step visits --window 2026-01-01T00:10:00Z --key user_id=7 --format json")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The step whose row it is
    #[arg(long, value_name = "STEP")]
    step: String,
    /// The start of the row's window (RFC 3339, or a date in UTC); of tumbling windows and sessions any time inside will do
    #[arg(long, value_name = "TIME")]
    window: String,
    /// The end of the row's window, where several begin at the same time; by default the longest
    #[arg(long, value_name = "TIME")]
    window_end: Option<String>,
    /// A column of the row's key with its value; once for each column; `null` is null
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = parse_key)]
    key: Vec<(String, String)>,
    /// Take the rows of earlier steps apart too
    #[arg(long, value_parser = BoolishValueParser::new())]
    deep: bool,
    /// How many records to show of each kind, as text; JSON has all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    cut: Cuts,
}

/// Tell what became of a record at every step
///
/// Valid or bad, filtered, repeated, late by how much, and the rows it is in.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream why-not page_views --record 0@4711\n  \
    samestream why-not flights --source flights --record 2@10 --format json")]
pub(crate) struct RecordArguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The record: partition@offset
    #[arg(long, value_name = "P@O", value_parser = parse_record)]
    record: (i32, i64),
    /// Its source; not needed when the pipeline has only one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    cut: Cuts,
}

fn parse_key(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write COLUMN=VALUE, such as page=/home")?;
    Ok((name.trim().to_string(), value.to_string()))
}

fn parse_record(text: &str) -> Result<(i32, i64), String> {
    let parsed =
        text.split_once('@').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| "write PARTITION@OFFSET, such as 0@4711".into())
}

fn options(cut: &Cuts) -> Result<RunOptions> {
    let mut options = RunOptions::new(Mode::Batch);
    cut.put(&mut options)?;
    options.settings.stop = signals::stop_flag()?;
    Ok(options)
}

fn observed(name: &str, global: &Global) -> Result<Arc<Plan>, crate::report::Failure> {
    Ok(Arc::new(pipelines::load(name, global)?.observed))
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let plan = observed(&arguments.pipeline, global)?;
    let question = Question {
        step: arguments.step.clone(),
        at: runtime::time::parse(&arguments.window)?,
        end: arguments.window_end.as_deref().map(runtime::time::parse).transpose()?,
        key: arguments.key.clone(),
        is_deep: arguments.deep,
    };
    let answer = why(&plan, &question, &options(&arguments.cut)?)?;
    let text = match global.is_json() {
        true => format!("{:#}\n", answer_json(&answer)),
        false => answer_text(&answer, arguments.limit, 0),
    };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_record(arguments: &RecordArguments, global: &Global) -> Done {
    let plan = observed(&arguments.pipeline, global)?;
    let name = &commands::source_of(&plan, arguments.source.as_deref())?.name;
    let source = plan.sources.iter().position(|source| source.name == *name).expect("it was found there");
    let (partition, offset) = arguments.record;
    if partition < 0 || offset < 0 {
        return Err(Error::new(Code::Usage, "partitions and offsets are not negative").into());
    }
    let course = why_not(&plan, source, arguments.record, &options(&arguments.cut)?)?;
    let text = match global.is_json() {
        true => format!("{:#}\n", course_json(&course)),
        false => course_text(&course),
    };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn window_text(window: Window) -> String {
    format!("{} .. {}", rfc3339(window.start), rfc3339(window.end))
}

fn named(name: &PartName) -> String {
    match name {
        PartName::Record(source, partition, offset) => format!("{source} {partition}@{offset}"),
        PartName::Row(window, key) if key.is_empty() => window_text(*window),
        PartName::Row(window, key) => format!("{}  {key}", window_text(*window)),
    }
}

fn columns_text(columns: &[(String, String)]) -> String {
    let shown = columns.iter().filter(|(name, _)| name != "window_start" && name != "window_end");
    shown.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

fn answer_text(answer: &Answer, limit: usize, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut out = format!("{indent}{}   {}   {}\n", answer.step, window_text(answer.window), answer.key);
    let mut say = |line: String| out.push_str(&format!("{indent}  {}\n", line.trim_end()));
    match (&answer.row, &answer.dropped) {
        (Some((columns, is_final)), _) => {
            let state = if *is_final { "final" } else { "not final" };
            say(format!("row      {{{}}}  {state}", columns_text(columns)));
        }
        (None, Some(why)) => say(format!("row      none: {why}")),
        (None, None) => say("row      none: nothing was taken into it".into()),
    }
    say(format!("made of  {}", thousands(answer.taken.len() as u64)));
    for part in answer.taken.iter().take(limit) {
        out.push_str(&part_text(part, limit, depth));
    }
    let mut say = |line: String| out.push_str(&format!("{indent}  {}\n", line.trim_end()));
    if answer.taken.len() > limit {
        say(format!("  … and {} more", thousands((answer.taken.len() - limit) as u64)));
    }
    if !answer.left.is_empty() {
        say(format!("without  {}", thousands(answer.left.len() as u64)));
    }
    for part in answer.left.iter().take(limit) {
        out.push_str(&part_text(part, limit, depth));
    }
    let mut say = |line: String| out.push_str(&format!("{indent}  {}\n", line.trim_end()));
    if answer.left.len() > limit {
        say(format!("  … and {} more", thousands((answer.left.len() - limit) as u64)));
    }
    if answer.bad > 0 && depth == 0 {
        say(format!("bad      {} records of its sources are bad and belong to no window", thousands(answer.bad)));
    }
    out
}

fn part_text(part: &Part, limit: usize, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let reason = part.reason.as_ref().map_or_else(String::new, |reason| format!("   {reason}"));
    let time = match part.name {
        PartName::Record(..) => format!("  {}", rfc3339(part.event_time)),
        PartName::Row(..) => String::new(),
    };
    let line = format!("{indent}    {}{time}  {{{}}}{reason}\n", named(&part.name), columns_text(&part.columns));
    let parts = part.parts.as_ref().map_or_else(String::new, |parts| answer_text(parts, limit, depth + 3));
    line + &parts
}

fn columns_json(columns: &[(String, String)]) -> Value {
    Value::Object(columns.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn answer_json(answer: &Answer) -> Value {
    let row = answer.row.as_ref().map(|(columns, is_final)| {
        let mut row = columns_json(columns);
        row["final"] = json!(is_final);
        row
    });
    json!({
        "step": answer.step,
        "window_start": rfc3339(answer.window.start),
        "window_end": rfc3339(answer.window.end),
        "key": answer.key,
        "row": row,
        "dropped": answer.dropped,
        "taken": answer.taken.iter().map(part_json).collect::<Vec<_>>(),
        "left": answer.left.iter().map(part_json).collect::<Vec<_>>(),
        "bad": answer.bad,
        "start": answer.walked.start,
        "end": answer.walked.end,
    })
}

fn part_json(part: &Part) -> Value {
    let mut json = match &part.name {
        PartName::Record(source, partition, offset) => {
            json!({"source": source, "partition": partition, "offset": offset})
        }
        PartName::Row(window, key) => {
            json!({"window_start": rfc3339(window.start), "window_end": rfc3339(window.end), "key": key})
        }
    };
    json["event_time"] = json!(rfc3339(part.event_time));
    json["columns"] = columns_json(&part.columns);
    if let Some(reason) = &part.reason {
        json["reason"] = json!(reason);
    }
    if let Some(parts) = &part.parts {
        json["parts"] = answer_json(parts);
    }
    json
}

fn course_text(course: &Course) -> String {
    let mut out = format!("{} {}@{}\n", course.source, course.partition, course.offset);
    let time = |time: Option<i64>| time.map_or_else(|| "none".into(), rfc3339);
    if let Some((event_time, maximum, watermark)) = course.times {
        out.push_str(&format!(
            "  valid    event time {}; before it in its partition: largest event time {}, watermark {}\n",
            rfc3339(event_time),
            time(maximum),
            time(watermark)
        ));
    }
    if let Some(why) = &course.bad {
        out.push_str(&format!("  bad      {why}: no step sees it\n"));
    }
    let width = course.steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
    for (step, stops) in &course.steps {
        for stop in stops {
            out.push_str(&format!("  {step:width$}  {}\n", stop_text(stop)));
        }
    }
    out
}

fn stop_text(stop: &Stop) -> String {
    match stop {
        Stop::Out(why) => why.clone(),
        Stop::On => "goes on".into(),
        Stop::Late { window, key, reason } => {
            let window = window.map_or_else(|| "a session".into(), |window| format!("window {}", window_text(window)));
            format!("not in {window}  {key}: {reason}")
        }
        Stop::In { window, key, row } => {
            let row = match row {
                Some(true) => "a final row",
                Some(false) => "a row that is not final",
                None => "no row: `having` or `top` left it out",
            };
            format!("in window {}  {key}: {row}", window_text(*window))
        }
    }
}

fn course_json(course: &Course) -> Value {
    let steps = course.steps.iter().map(|(step, stops)| {
        let stops = stops.iter().map(|stop| match stop {
            Stop::Out(why) => json!({"fate": "out", "reason": why}),
            Stop::On => json!({"fate": "on"}),
            Stop::Late { window, key, reason } => json!({
                "fate": "late",
                "window_start": window.map(|window| rfc3339(window.start)),
                "window_end": window.map(|window| rfc3339(window.end)),
                "key": key,
                "reason": reason,
            }),
            Stop::In { window, key, row } => json!({
                "fate": "in",
                "window_start": rfc3339(window.start),
                "window_end": rfc3339(window.end),
                "key": key,
                "final": row,
            }),
        });
        json!({"step": step, "fates": stops.collect::<Vec<_>>()})
    });
    json!({
        "source": course.source,
        "partition": course.partition,
        "offset": course.offset,
        "bad": course.bad,
        "event_time": course.times.map(|(time, ..)| rfc3339(time)),
        "largest_before": course.times.and_then(|(_, maximum, _)| maximum).map(rfc3339),
        "watermark": course.times.and_then(|(.., watermark)| watermark).map(rfc3339),
        "steps": steps.collect::<Vec<_>>(),
        "start": course.walked.start,
        "end": course.walked.end,
    })
}
