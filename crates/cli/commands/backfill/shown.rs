//! What people and programs see of a backfill: the estimate, a line for each chunk, and predicted against actual.

use std::path::Path;

use engine::{Error, Result};
use runtime::catalogue::{Amount, Backfill, Outcome, Part};
use serde_json::{Value, json};

use super::Prepared;
use crate::commands::runs::short;
use crate::global::Global;
use crate::output::thousands;
use crate::summary::rough;

/// Returns a duration as people write it, such as `1d`.
pub(super) fn length(micros: i64) -> String {
    let text = engine::duration(micros);
    let words: Vec<&str> = text.split(' ').collect();
    // `1d 0s` says no more than `1d`.
    let kept = words.iter().filter(|word| words.len() == 1 || **word != "0s");
    kept.copied().collect::<Vec<_>>().join(" ")
}

/// Returns seconds in few characters.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn bytes(bytes: Option<u64>) -> String {
    match bytes {
        None => "? bytes".into(),
        Some(bytes) if bytes < 10_000 => format!("{} bytes", thousands(bytes)),
        Some(bytes) if bytes < 10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        Some(bytes) if bytes < 10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        Some(bytes) => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

fn head(backfill: &Backfill) -> String {
    format!("{} .. {}   (half-open, UTC)", short(&backfill.from), short(&backfill.to))
}

/// Returns what is said before it begins.
pub(super) fn estimate(prepared: &Prepared, parallel: usize) -> String {
    let Prepared { noted, chunks, whole, goes_on, rate, .. } = prepared;
    let mut out = format!("backfill {}   {}\n", noted.pipeline, head(noted));
    if *goes_on {
        let (done, all) = (noted.done, noted.chunks);
        out.push_str(&format!("  goes on  with backfill {}: {done} of {all} chunks are done\n", noted.id));
    }
    let at_once = if parallel > 1 { format!(", {parallel} at once") } else { String::new() };
    out.push_str(&format!("  chunks   {} of {}{at_once}\n", thousands(noted.chunks), noted.chunk));
    let is_left = |number: usize| !noted.parts.iter().any(|part| part.number == number as u64);
    let left: Vec<&Amount> =
        chunks.iter().filter(|(chunk, _)| is_left(chunk.number)).map(|(_, amount)| amount).collect();
    let rows: u64 = left.iter().map(|amount| amount.rows_read).sum();
    let stored = left.iter().map(|amount| amount.bytes).sum();
    // A journal has no row groups, nor what is left out by them.
    let groups = match whole.unknown > 0 {
        true => String::new(),
        false => format!(" · {}", counted(whole.groups, "row group")),
    };
    let files = counted(whole.files, "file");
    out.push_str(&format!("  reads    {} · {} · {files}{groups}\n", counted(rows, "record"), bytes(stored)));
    out.push_str(&match rate {
        Some(rate) => {
            let runs = if rate.runs == 1 { "an earlier run".into() } else { format!("{} earlier runs", rate.runs) };
            let takes = seconds(rows as f64 / rate.per_second);
            format!("  takes    about {takes}, at {} records/s of {runs}\n", rough(rate.per_second))
        }
        None => "  takes    the first chunk will tell: no batch run of this pipeline is noted\n".into(),
    });
    out.push_str(&notes(prepared));
    out
}

/// Returns what makes it read more than one run would.
fn notes(prepared: &Prepared) -> String {
    let Prepared { chunks, whole, .. } = prepared;
    let all: u64 = chunks.iter().map(|(_, amount)| amount.rows_read).sum();
    if chunks.len() < 2 || all <= whole.rows.saturating_mul(2) {
        return String::new();
    }
    let times = all as f64 / whole.rows.max(1) as f64;
    let why = match whole.unknown.saturating_mul(2) > all {
        true => "most of the log does not say which times it holds (a lake by `samestream archive` does)",
        false => "rows of one chunk may be made of records far from it (sessions, joins, `dedup`)",
    };
    format!(
        "  note     that is {times:.1} times what one chunk over all would read: {why}; a longer --chunk reads less\n"
    )
}

/// Returns the answer of `--dry-run`.
pub(super) fn dry_run(prepared: &Prepared, global: &Global) -> String {
    let Prepared { noted, chunks, whole, goes_on, .. } = prepared;
    let is_done = |number: usize| noted.parts.iter().any(|part| part.number == number as u64);
    let from = |number: usize| runtime::time::rfc3339(chunks[number].0.from);
    let to = |number: usize| runtime::time::rfc3339(chunks[number].0.to);
    if global.is_json() {
        let chunk = |number: usize| {
            json!({"number": number, "from": from(number), "to": to(number), "done": is_done(number),
                "predicted": chunks[number].1})
        };
        let json = json!({
            "pipeline": noted.pipeline, "from": noted.from, "to": noted.to, "chunk": noted.chunk,
            "start": noted.start, "end": noted.end, "predicted": noted.predicted, "files": whole.files,
            "row_groups": whole.groups, "goes_on_with": goes_on.then_some(noted.id),
            "chunks": (0..chunks.len()).map(chunk).collect::<Vec<Value>>(),
        });
        return format!("{json}\n");
    }
    let mut out = estimate(prepared, 1);
    for (number, (_, amount)) in chunks.iter().enumerate() {
        let what = match is_done(number) {
            true => "done".into(),
            false => format!("{} · {}", counted(amount.rows_read, "record"), bytes(amount.bytes)),
        };
        out.push_str(&format!("  {} .. {}   {what}\n", short(&from(number)), short(&to(number))));
    }
    out
}

/// Returns the line of a chunk that is done.
pub(super) fn chunk(backfill: &Backfill, part: &Part, global: &Global) -> String {
    if global.is_json() {
        let json = json!({"backfill": backfill.id, "done": backfill.done, "chunks": backfill.chunks, "chunk": part});
        return format!("{json}\n");
    }
    let took = part.actual.seconds.map(seconds).unwrap_or_default();
    format!(
        "  {}/{}  {} .. {}   read {} · wrote {} · {took}\n",
        backfill.done,
        backfill.chunks,
        short(&part.from),
        short(&part.to),
        thousands(part.actual.rows_read),
        counted(part.rows_written, "row"),
    )
}

/// Returns what it came to.
pub(super) fn text(backfill: &Backfill, places: &[&str], pipeline: &str) -> String {
    let mark = match backfill.outcome {
        Outcome::Done => "✓",
        Outcome::Stopped => "■",
        Outcome::Running | Outcome::Failed | Outcome::Lost => "✗",
    };
    let mut out = format!("{mark} {pipeline}  backfill {}   {}\n", backfill.id, head(backfill));
    let (done, all) = (backfill.done, backfill.chunks);
    if backfill.is_unfinished() {
        out.push_str(&format!("  chunks   {done} of {all} are done; the same command goes on\n"));
        return out;
    }
    out.push_str(&format!("  chunks   {} of {}\n", thousands(all), backfill.chunk));
    let Backfill { predicted, actual, .. } = backfill;
    let mut line = |name: &str, actual: String, predicted: Option<String>| {
        let predicted = predicted.map(|text| format!("   (predicted {text})")).unwrap_or_default();
        out.push_str(&format!("  {name:<8} {actual}{predicted}\n"));
    };
    line("read", counted(actual.rows_read, "record"), Some(thousands(predicted.rows_read)));
    line("", bytes(actual.bytes), Some(bytes(predicted.bytes)));
    line("took", actual.seconds.map(seconds).unwrap_or_default(), predicted.seconds.map(seconds));
    line("wrote", format!("{}  →  {}", counted(backfill.rows_written, "row"), places.join(", ")), None);
    line("digest", format!("{} final · {} all", backfill.digest_final, backfill.digest_all), None);
    out
}

/// Writes it to a file, as JSON.
pub(super) fn write(backfill: &Backfill, path: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(backfill).expect("a backfill is JSON");
    connectors::store::write_atomic(path, format!("{json}\n").as_bytes())
        .map_err(|error: Error| error.context("the summary could not be written"))
}
