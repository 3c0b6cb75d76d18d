//! `samestream why` and `why-not`: the records that made a row, and what became of a record.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::plan::{Plan, SIDES};
use engine::window::Window;
use engine::{Code, Error, Result, rfc3339};
use runtime::why::{Answer, Course, Part, PartName, Question, RecordName, Row, Stop, Where, why, why_not};
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
///
/// A step over a join lists the pairs that it read. What did not become one (late for the join, filtered or repeated before
/// it, without a partner) is listed too, where its own columns put it: one that the step groups by columns of the other
/// side stands under null.
///
/// Of a row step over windows or a join the rows of these are asked about, and the row step says what it made of them.
///
/// Of a join all rows of a key are told, with the left and the right row of each, and what has the key and met nothing
/// (late, null in the key, out of bounds, superseded, too old). Rows of a window join are named by --window and --key;
/// rows of `within` and `as_of` joins, which are in no window, by a record of either side (--record), or by --key and the
/// event time of a row of either side (--at; of `as_of` joins the left one counts, if there is one).
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream why page_views --step per_page --window 2026-01-01T00:00:00Z --key page=/home\n  \
    samestream why top_pages --step top_pages --window 2026-01-01T00:00:00Z --key page=/home --deep\n  \
    samestream why sessions --step visits --window 2026-01-01T00:10:00Z --key user_id=7 --format json\n  \
    samestream why shop --step paid --record orders:0@4711\n  \
    samestream why shop --step paid --key order_id=7 --at 2026-01-01T00:10:00Z")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The step whose row it is
    #[arg(long, value_name = "STEP")]
    step: String,
    /// The start of the row's window (RFC 3339, or a date in UTC); of tumbling windows and sessions any time inside will do
    #[arg(long, value_name = "TIME")]
    window: Option<String>,
    /// The end of the row's window, where several begin at the same time; by default the longest
    #[arg(long, value_name = "TIME")]
    window_end: Option<String>,
    /// Of a `within` or `as_of` join: the event time of a row of a side, with --key
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Of a `within` or `as_of` join: a record that it joins
    #[arg(long, value_name = "[SOURCE:]P@O", value_parser = parse_record)]
    record: Option<RecordName>,
    /// A column of the row's key (of a join: of `on`, by its left name) with its value; once for each column; `null` is null
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
/// Valid or bad, filtered, repeated, late by how much, what it met in a join or why it met nothing, and the rows it is
/// in. Elements of an exploded record and joined rows are followed each on its own.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream why-not page_views --record 0@4711\n  \
    samestream why-not shop --record payments:2@10 --format json")]
pub(crate) struct RecordArguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The record: partition@offset, after its source where the pipeline has several
    #[arg(long, value_name = "[SOURCE:]P@O", value_parser = parse_record)]
    record: RecordName,
    /// Its source, if it does not stand before the record
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    cut: Cuts,
}

fn parse_key(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write COLUMN=VALUE, such as page=/home")?;
    Ok((name.trim().to_string(), value.to_string()))
}

fn parse_record(text: &str) -> Result<RecordName, String> {
    let (source, place) = match text.rsplit_once(':') {
        Some((source, place)) => (Some(source.to_string()), place),
        None => (None, text),
    };
    let parsed = place.split_once('@').and_then(|(partition, offset)| {
        let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
        (partition >= 0 && offset >= 0).then_some(RecordName { source, partition, offset })
    });
    parsed.ok_or_else(|| "write PARTITION@OFFSET, such as 0@4711, or SOURCE:PARTITION@OFFSET".into())
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

fn time(text: Option<&String>) -> Result<Option<i64>> {
    text.map(|text| runtime::time::parse(text)).transpose()
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let plan = observed(&arguments.pipeline, global)?;
    let question = Question {
        step: arguments.step.clone(),
        window: time(arguments.window.as_ref())?,
        window_end: time(arguments.window_end.as_ref())?,
        at: time(arguments.at.as_ref())?,
        record: arguments.record.clone(),
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
    let RecordName { source, partition, offset } = &arguments.record;
    if let (Some(one), Some(other)) = (source, &arguments.source)
        && one != other
    {
        let what = format!("`--record` says `{one}` and `--source` says `{other}`");
        return Err(Error::new(Code::Usage, what).help("say the source once").into());
    }
    let name = &commands::source_of(&plan, source.as_deref().or(arguments.source.as_deref()))?.name;
    let source = plan.sources.iter().position(|source| source.name == *name).expect("it was found there");
    let course = why_not(&plan, source, (*partition, *offset), &options(&arguments.cut)?)?;
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

fn columns_text(columns: &[(String, String)]) -> String {
    let shown = columns.iter().filter(|(name, _)| name != "window_start" && name != "window_end");
    // An empty text is shown in quotes.
    let cell = |(name, value): &(String, String)| match value.as_str() {
        "" => format!("{name}: \"\""),
        value => format!("{name}: {value}"),
    };
    shown.map(cell).collect::<Vec<_>>().join(", ")
}

fn answer_text(answer: &Answer, limit: usize, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let window = answer.window.map_or_else(String::new, |window| format!("{}   ", window_text(window)));
    let mut out = format!("{indent}{}   {window}{}\n", answer.step, answer.key);
    let mut say = |line: String| out.push_str(&format!("{indent}  {}\n", line.trim_end()));
    for row in answer.rows.iter().take(limit) {
        say(format!("row      {}", row_text(row)));
        for (side, part) in SIDES.iter().zip(row.sides.iter().flatten()) {
            say(format!(
                "  {side:5}  {}",
                part.as_ref().map_or_else(|| "nothing".into(), |part| part_line(answer, part))
            ));
        }
    }
    if answer.rows.len() > limit {
        say(format!("  … and {} more", thousands((answer.rows.len() - limit) as u64)));
    }
    match (answer.rows.is_empty(), &answer.dropped) {
        (false, _) => {}
        (true, Some(why)) => say(format!("row      none: {why}")),
        (true, None) if answer.is_join => say("row      none: nothing met".into()),
        (true, None) => say("row      none: nothing was taken into it".into()),
    }
    // What a joined row is made of stands below it.
    if !answer.is_join {
        out.push_str(&list_text("made of", &answer.taken, true, limit, depth));
    } else if answer.taken.iter().any(|part| !part.parts.is_empty()) {
        let taken_apart: Vec<Part> = answer.taken.iter().filter(|part| !part.parts.is_empty()).cloned().collect();
        out.push_str(&list_text("made of", &taken_apart, false, limit, depth));
    }
    out.push_str(&list_text("without", &answer.left, false, limit, depth));
    if answer.bad > 0 && depth == 0 {
        out.push_str(&format!(
            "{indent}  bad      {} records of its sources are bad and belong to no row\n",
            thousands(answer.bad)
        ));
    }
    out
}

fn row_text(row: &Row) -> String {
    let columns = columns_text(&row.columns);
    match &row.dropped {
        Some(why) => format!("none: {why}  {{{columns}}}"),
        None => format!("{{{columns}}}  {}", if row.is_final { "final" } else { "not final" }),
    }
}

/// One side of a joined row, with the columns that the join saw.
fn part_line(answer: &Answer, name: &PartName) -> String {
    match answer.taken.iter().find(|part| part.name == *name) {
        Some(part) => part_head(part),
        None => name.to_string(),
    }
}

fn list_text(title: &str, parts: &[Part], even_empty: bool, limit: usize, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    if parts.is_empty() && !even_empty {
        return String::new();
    }
    let mut out = format!("{indent}  {title}  {}\n", thousands(parts.len() as u64));
    for part in parts.iter().take(limit) {
        out.push_str(&part_text(part, limit, depth));
    }
    if parts.len() > limit {
        out.push_str(&format!("{indent}    … and {} more\n", thousands((parts.len() - limit) as u64)));
    }
    out
}

fn part_head(part: &Part) -> String {
    let time = match part.name {
        PartName::Record { .. } => format!("  {}", rfc3339(part.event_time)),
        PartName::Row { .. } | PartName::Joined { .. } => String::new(),
    };
    format!("{}{time}  {{{}}}", part.name, columns_text(&part.columns))
}

fn part_text(part: &Part, limit: usize, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let side = part.side.map_or_else(String::new, |side| format!("{:5}  ", SIDES[side]));
    let reason = part.reason.as_ref().map_or_else(String::new, |reason| format!("   {reason}"));
    let line = format!("{indent}    {side}{}{reason}\n", part_head(part));
    part.parts.iter().fold(line, |text, parts| text + &answer_text(parts, limit, depth + 3))
}

fn columns_json(columns: &[(String, String)]) -> Value {
    Value::Object(columns.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn row_json(row: &Row) -> Value {
    let mut json = columns_json(&row.columns);
    json["final"] = json!(row.is_final);
    json
}

fn answer_json(answer: &Answer) -> Value {
    let mut json = json!({
        "step": answer.step,
        "window_start": answer.window.map(|window| rfc3339(window.start)),
        "window_end": answer.window.map(|window| rfc3339(window.end)),
        "key": answer.key,
        "taken": answer.taken.iter().map(part_json).collect::<Vec<_>>(),
        "left": answer.left.iter().map(part_json).collect::<Vec<_>>(),
        "bad": answer.bad,
        "start": answer.walked.start,
        "end": answer.walked.end,
    });
    if !answer.is_join {
        let row = answer.rows.first();
        json["row"] = json!(row.filter(|row| row.dropped.is_none()).map(row_json));
        json["dropped"] = json!(row.and_then(|row| row.dropped.clone()).or_else(|| answer.dropped.clone()));
        return json;
    }
    let rows = answer.rows.iter().map(|row| {
        let sides =
            row.sides.as_ref().map_or([None, None], |sides| sides.each_ref().map(|side| side.as_ref().map(name_json)));
        json!({
            "row": if row.dropped.is_none() { row_json(row) } else { Value::Null },
            "event_time": rfc3339(row.event_time),
            "dropped": row.dropped,
            "left": sides[0],
            "right": sides[1],
        })
    });
    json["rows"] = json!(rows.collect::<Vec<_>>());
    json
}

fn name_json(name: &PartName) -> Value {
    match name {
        PartName::Record { source, partition, offset, index } => {
            let mut json = json!({"source": source, "partition": partition, "offset": offset});
            if let Some(index) = index {
                json["index"] = json!(index);
            }
            json
        }
        PartName::Row { step, window, key, indices } => with_indices(
            json!({
                "step": step,
                "window_start": rfc3339(window.start),
                "window_end": rfc3339(window.end),
                "key": key,
            }),
            indices,
        ),
        PartName::Joined { step, window, sides, indices } => {
            let [left, right] = sides.each_ref().map(|side| side.as_ref().map(name_json));
            let mut json = json!({"step": step, "sides": {"left": left, "right": right}});
            if let Some(window) = window {
                json["window_start"] = json!(rfc3339(window.start));
                json["window_end"] = json!(rfc3339(window.end));
            }
            with_indices(json, indices)
        }
    }
}

fn with_indices(mut json: Value, indices: &[i64]) -> Value {
    if !indices.is_empty() {
        json["indices"] = json!(indices);
    }
    json
}

fn part_json(part: &Part) -> Value {
    let mut json = name_json(&part.name);
    if let Some(side) = part.side {
        json["side"] = json!(SIDES[side]);
    }
    json["event_time"] = json!(rfc3339(part.event_time));
    json["columns"] = columns_json(&part.columns);
    if let Some(reason) = &part.reason {
        json["reason"] = json!(reason);
    }
    match part.parts.as_slice() {
        [] => {}
        [parts] => json["parts"] = answer_json(parts),
        parts => json["parts"] = json!(parts.iter().map(answer_json).collect::<Vec<_>>()),
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
    let row = stop.row.as_ref().map_or_else(String::new, |row| format!("{row}: "));
    let window = |window: Option<Window>| window.map_or_else(String::new, |at| format!("window {}", window_text(at)));
    let state = |is_final: bool| if is_final { "a final row" } else { "a row that is not final" };
    let went = match &stop.went {
        Where::Out(why) => why.clone(),
        Where::On => "goes on".into(),
        Where::Late { window: None, key, reason } => format!("not taken  {key}: {reason}"),
        Where::Late { window: at, key, reason } => format!("not in {}  {key}: {reason}", window(*at)),
        Where::In { window: at, key, row, left_out } => {
            let none = || format!("no row: {}", left_out.as_deref().unwrap_or("`having` or `top` left it out"));
            let row = row.map_or_else(none, |is_final| state(is_final).to_string());
            format!("in {}  {key}: {row}", window(Some(*at)))
        }
        Where::Joined { with, window: at, is_final } => {
            let with = with.as_ref().map_or_else(|| "joined with nothing".into(), |with| format!("joined with {with}"));
            let at = at.map_or_else(String::new, |at| format!(" in {}", window(Some(at))));
            format!("{with}{at}: {}", state(*is_final))
        }
    };
    row + &went
}

/// Adds what came to a step, where it is not the record itself.
fn with_row(stop: &Stop, mut json: Value) -> Value {
    if let Some(row) = &stop.row {
        json["row"] = name_json(row);
    }
    json
}

fn course_json(course: &Course) -> Value {
    let steps = course.steps.iter().map(|(step, stops)| {
        let stops = stops.iter().map(|stop| {
            with_row(
                stop,
                match &stop.went {
                    Where::Out(why) => json!({"fate": "out", "reason": why}),
                    Where::On => json!({"fate": "on"}),
                    Where::Joined { with, window, is_final } => json!({
                        "fate": "joined",
                        "with": with.as_ref().map(name_json),
                        "window_start": window.map(|window| rfc3339(window.start)),
                        "window_end": window.map(|window| rfc3339(window.end)),
                        "final": is_final,
                    }),
                    Where::Late { window, key, reason } => json!({
                        "fate": "late",
                        "window_start": window.map(|window| rfc3339(window.start)),
                        "window_end": window.map(|window| rfc3339(window.end)),
                        "key": key,
                        "reason": reason,
                    }),
                    Where::In { window, key, row: None, left_out: Some(why) } => json!({
                        "fate": "in",
                        "window_start": rfc3339(window.start),
                        "window_end": rfc3339(window.end),
                        "key": key,
                        "final": null,
                        "left_out": why,
                    }),
                    Where::In { window, key, row, .. } => json!({
                        "fate": "in",
                        "window_start": rfc3339(window.start),
                        "window_end": rfc3339(window.end),
                        "key": key,
                        "final": row,
                    }),
                },
            )
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
