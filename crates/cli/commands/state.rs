//! `samestream state`: the checkpoints of a stream, seen, pinned, forked, exported, removed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use engine::{Code, Engine, Error};
use runtime::checkpoint::Place;
use runtime::checkpoint::saved::{Entry, Saved, StepState};
use serde_json::{Value, json};

use crate::global::{Format, Global};
use crate::output::{self, thousands};
use crate::report::{self, Done, Failure};
use crate::{clock, pipelines};

/// Look at the checkpoints of a stream, pin them, fork them, export them, remove them
///
/// A stream keeps a few checkpoints in its state folder and goes on from the newest. All of this may be done while it runs,
/// but for `clear`.
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
    samestream state list page_views\n  \
    samestream state show page_views --format json\n  \
    samestream state pin page_views before_the_move\n  \
    samestream state fork page_views --at before_the_move --to .samestream-2\n  \
    samestream state export page_views --to state/\n  \
    samestream state clear page_views"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the checkpoints and pins: number, time, offsets, size
    List(Of),
    /// Show one: offsets and maxima of each partition, state of each step, outbox, sinks
    Show(At),
    /// Keep a copy of a checkpoint under a name; it stays until `unpin`
    Pin(Pin),
    /// Remove a pin
    Unpin(Unpin),
    /// Make a checkpoint the first one of another job, which runs beside this one
    ///
    /// The fork goes on from the checkpoint, in a state folder of its own; run it with `--out` (or a pipeline file with other
    /// places), where its rows begin with those after the checkpoint. Its digests count from the start of the log, as those
    /// of the first job do. Of a changed definition the state can be kept if only sinks changed: what they select and
    /// filter, sinks of results that had one, sinks that are gone. Any other change is refused, because rows that were
    /// counted and published would have been others.
    Fork(Fork),
    /// Write a checkpoint as Parquet files that DuckDB, Polars or `samestream query` read
    ///
    /// `partitions.parquet` has offsets and largest event times; STEP.parquet the windows, keys and values so far of each
    /// aggregate, STEP.left.parquet and STEP.right.parquet the rows that a join holds, and of `dedup` the ids with their
    /// last event time.
    Export(Export),
    /// Remove the checkpoints: the next run starts at the beginning of the log and replaces the results
    ///
    /// Late and bad rows stay until the next run. It asks nothing, and needs `--force` if something is pinned or a run
    /// holds the state folder (such a run stops at its next checkpoint).
    Clear(Clear),
}

/// Whose checkpoints.
#[derive(Args)]
struct Of {
    /// The pipeline: a path, or a bare name
    pipeline: String,
    /// Where checkpoints are kept: a folder, or a URL such as s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct At {
    #[command(flatten)]
    of: Of,
    /// The number of a checkpoint, or the name of a pin [default: the newest checkpoint]
    #[arg(long, value_name = "N|NAME")]
    at: Option<String>,
}

#[derive(Args)]
struct Pin {
    /// The pipeline: a path, or a bare name
    pipeline: String,
    /// The name to keep it under
    name: String,
    /// The number of a checkpoint [default: the newest]
    #[arg(long, value_name = "N")]
    at: Option<String>,
    /// Where checkpoints are kept: a folder, or a URL such as s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct Unpin {
    /// The pipeline: a path, or a bare name
    pipeline: String,
    /// The name of the pin
    name: String,
    /// Where checkpoints are kept: a folder, or a URL such as s3://BUCKET/PREFIX
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
}

#[derive(Args)]
struct Fork {
    #[command(flatten)]
    at: At,
    /// The state folder (or URL) of the fork
    #[arg(long, value_name = "DIR")]
    to: Place,
    /// The pipeline that is to go on from it, if it is another file
    #[arg(long = "as", value_name = "PIPELINE")]
    other: Option<String>,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    at: At,
    /// The folder for the files
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
struct Clear {
    #[command(flatten)]
    of: Of,
    /// Remove pins too, and do it although a run holds the state folder
    #[arg(long, value_parser = BoolishValueParser::new())]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    match &arguments.action {
        Action::List(of) => list(of, global),
        Action::Show(at) => show(at, global),
        Action::Pin(pin) => {
            let saved = saved(&pin.pipeline, &pin.state_dir, global)?;
            let entry = saved.pin(&pin.name, pin.at.as_deref())?;
            let (rows, bytes) = entry.state_size();
            let number = entry.manifest.number;
            let text = format!("✓ checkpoint {number} is pinned as `{}`: {}\n", pin.name, sizes(rows, bytes));
            done(&text, entry.json(), global)
        }
        Action::Unpin(unpin) => {
            saved(&unpin.pipeline, &unpin.state_dir, global)?.unpin(&unpin.name)?;
            done(&format!("✓ `{}` is pinned no more\n", unpin.name), json!({"unpinned": unpin.name}), global)
        }
        Action::Fork(arguments) => fork(arguments, global),
        Action::Export(arguments) => export(arguments, global),
        Action::Clear(arguments) => clear(arguments, global),
    }
}

/// Says what was done, and answers it to programs.
fn done(text: &str, json: Value, global: &Global) -> Done {
    if global.is_json() {
        return Ok(output::text(&format!("{json}\n"))?);
    }
    if !global.quiet {
        report::say(text);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the checkpoints of a pipeline. Its file need not be there, or be right, as long as its checkpoints are.
fn saved(pipeline: &str, place: &Place, global: &Global) -> Result<Saved, Failure> {
    let name = name_of(pipeline, place, global)?;
    Ok(Saved::new(place.store(&name)?, &name))
}

fn name_of(pipeline: &str, place: &Place, global: &Global) -> Result<String, Failure> {
    let is_bare = !pipeline.contains(['/', '\\', '.']) && !pipeline.is_empty();
    if is_bare && place.is_kept(pipeline) {
        return Ok(pipeline.to_string());
    }
    match pipelines::find(pipeline) {
        Err(_) if is_bare => Ok(pipeline.to_string()),
        _ => Ok(pipelines::load(pipeline, global)?.plan.name),
    }
}

fn list(of: &Of, global: &Global) -> Done {
    let saved = saved(&of.pipeline, &of.state_dir, global)?;
    let entries = saved.entries()?;
    match output::resolved(global) {
        Format::Json => Ok(output::text(&format!("{}\n", Value::from_iter(entries.iter().map(Entry::json))))?),
        Format::Jsonl if global.format != Format::Auto => {
            Ok(output::text(&entries.iter().map(|entry| format!("{}\n", entry.json())).collect::<String>())?)
        }
        _ if entries.is_empty() => Ok(output::text(&format!("no checkpoint in {}\n", saved.place()))?),
        _ => {
            let head = ["number", "pin", "made", "age", "read up to", "state"].map(String::from);
            let rows: Vec<[String; 6]> = std::iter::once(head).chain(entries.iter().map(row)).collect();
            Ok(output::text(&aligned(&rows))?)
        }
    }
}

fn row(entry: &Entry) -> [String; 6] {
    let (rows, bytes) = entry.state_size();
    let offsets = entry.manifest.sources.iter().map(|(source, marks)| {
        let marks: Vec<String> = marks.iter().map(|mark| format!("{}={}", mark.partition, mark.next)).collect();
        format!("{source}:{}", marks.join(","))
    });
    let age =
        entry.manifest.made_at.map(|made| engine::duration((clock::now_ms() * 1000 - made) / 1_000_000 * 1_000_000));
    [
        entry.manifest.number.to_string(),
        entry.pin.clone().unwrap_or_default(),
        entry.made_at().map_or_else(|| "?".into(), |time| time[..time.len().min(19)].to_string()),
        age.unwrap_or_default(),
        offsets.collect::<Vec<_>>().join(" "),
        format!("{}, {} parts", sizes(rows, bytes), entry.manifest.parts.len()),
    ]
}

pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn sizes(rows: u64, bytes: u64) -> String {
    let size = match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", thousands(bytes >> 20)),
    };
    format!("{} rows, {size}", thousands(rows))
}

fn show(at: &At, global: &Global) -> Done {
    let entry = saved(&at.of.pipeline, &at.of.state_dir, global)?.find(at.at.as_deref())?;
    if global.is_json() {
        return Ok(output::text(&format!("{}\n", entry.details()))?);
    }
    let manifest = &entry.manifest;
    let pin = entry.pin.as_ref().map(|pin| format!(", pinned as `{pin}`")).unwrap_or_default();
    let mut out = format!("checkpoint {} of {}{pin}\n", manifest.number, manifest.pipeline);
    out.push_str(&format!("  made        {}\n", entry.made_at().unwrap_or_else(|| "?".into())));
    out.push_str(&format!("  definition  {}\n", manifest.definition));
    if let Some(forked) = &manifest.forked {
        out.push_str(&format!("  forked from checkpoint {} of job {}\n", forked.number, forked.job));
    }
    let counts = manifest.tally.counts();
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {}", thousands(*count))).collect();
    out.push_str(&format!("  counts      {}\n", counts.join(", ")));
    for (source, marks) in &manifest.sources {
        for mark in marks {
            let maximum = mark.maximum.map_or_else(|| "no valid record".into(), runtime::time::rfc3339);
            out.push_str(&format!(
                "  {source} partition {}: offsets {} .. {}, largest event time {maximum}\n",
                mark.partition, mark.start, mark.next
            ));
        }
    }
    for StepState { step, parts, pieces, rows, bytes } in entry.steps() {
        let waited = if pieces > 0 { format!(", {pieces} of them waited in files") } else { String::new() };
        out.push_str(&format!("  state of {step}: {}, {parts} parts{waited}\n", sizes(rows, bytes)));
    }
    for outbox in &manifest.outbox {
        out.push_str(&format!("  outbox of {}: {}\n", outbox.input, sizes(outbox.rows.rows, outbox.rows.size)));
    }
    for (sink, mark) in &manifest.sinks {
        let place = manifest.places.get(sink).map(|place| format!("  →  {place}")).unwrap_or_default();
        out.push_str(&format!("  sink {sink}: epoch {}, {} rows{place}\n", mark.epoch, thousands(mark.rows)));
    }
    Ok(output::text(&out)?)
}

fn fork(arguments: &Fork, global: &Global) -> Done {
    let At { of, at } = &arguments.at;
    let saved = saved(&of.pipeline, &of.state_dir, global)?;
    let named = arguments.other.as_deref().unwrap_or(&of.pipeline);
    let plan = std::sync::Arc::new(pipelines::load(named, global)?.plan);
    let engine = Engine::new(plan.clone());
    // Opened once before, so that one that cannot be opened is an error here.
    arguments.to.store(&plan.name)?;
    let _lock = runtime::job::hold(&arguments.to.local(), &plan.name)?;
    let into = || arguments.to.store(&plan.name).expect("it could be opened just now");
    let entry = saved.fork(at.as_deref(), &plan, &engine, &into)?;
    let (rows, bytes) = entry.state_size();
    let number = entry.manifest.forked.as_ref().map_or(0, |forked| forked.number);
    let text = format!(
        "✓ {} is forked from checkpoint {number} into {}: {}\n  next     samestream run {named} --mode stream --state-dir {} --out DIR\n",
        plan.name,
        arguments.to,
        sizes(rows, bytes),
        arguments.to
    );
    done(&text, entry.json(), global)
}

fn export(arguments: &Export, global: &Global) -> Done {
    let At { of, at } = &arguments.at;
    let plan = std::sync::Arc::new(pipelines::load(&of.pipeline, global)?.plan);
    let saved = Saved::new(of.state_dir.store(&plan.name)?, &plan.name);
    let files = saved.export(at.as_deref(), &Engine::new(plan), &arguments.to)?;
    let shown = |path: &Path| path.display().to_string();
    let lines = files.iter().map(|(path, rows)| format!("  {}  {} rows\n", shown(path), thousands(*rows)));
    let text = format!("✓ the state is in {}\n{}", arguments.to.display(), lines.collect::<String>());
    let files: Vec<Value> = files.iter().map(|(path, rows)| json!({"path": shown(path), "rows": rows})).collect();
    done(&text, json!({"files": files}), global)
}

fn clear(arguments: &Clear, global: &Global) -> Done {
    let place = &arguments.of.state_dir;
    let name = name_of(&arguments.of.pipeline, place, global)?;
    let saved = Saved::new(place.store(&name)?, &name);
    let _lock = match place.is_kept(&name).then(|| runtime::job::hold(&place.local(), &name)) {
        Some(Err(error)) if error.code == Code::StateBusy && !arguments.force => {
            let help = "stop it first; with `--force` it stops at its next checkpoint";
            return Err(Error::new(Code::StateBusy, error.message).help(help).into());
        }
        Some(Err(error)) if error.code != Code::StateBusy => return Err(error.into()),
        lock => lock.and_then(Result::ok),
    };
    let (checkpoints, pins) = saved.clear(arguments.force)?;
    let text = format!("✓ {checkpoints} checkpoints and {pins} pins of {name} are removed from {}\n", saved.place());
    done(&text, json!({"checkpoints": checkpoints, "pins": pins}), global)
}
