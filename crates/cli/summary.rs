//! The last lines of a run: the same shape in both modes, so that a person sees identity at a glance.

use std::path::Path;

use engine::{Error, Result};
use runtime::{Mode, Report, Summary};

use crate::output::thousands;

/// Returns a run's summary for people. `pipeline` is how the user called it, if that is to be said again.
pub(crate) fn text(report: &Report, pipeline: Option<&str>) -> String {
    let summary = &report.summary;
    let mut out = body(summary);
    let places: Vec<&str> = report.places.iter().map(|(_, place)| place.as_str()).collect();
    out.push_str(&format!(
        "  wrote    {} windows · {} rows  →  {}\n",
        thousands(summary.windows),
        thousands(summary.rows_written),
        places.join(", ")
    ));
    for (step, counts) in &summary.dedup {
        let (before, after) = (thousands(counts.before), thousands(counts.after));
        out.push_str(&format!("  dedup    {step}: {before} rows came, {after} were let through\n"));
    }
    for (step, rules) in &summary.checks {
        for rule in rules {
            let (rows, broken) = (thousands(rule.rows), thousands(rule.broken));
            out.push_str(&format!("  check    {step}: {broken} of {rows} rows break {}\n", rule.name));
        }
    }
    out.push_str(&digests(summary));
    if let Some(held) = &summary.held_by {
        let until = match &held.watermark {
            Some(time) => format!("windows that end after {time} are open"),
            None => "it has no valid record, so no window is final".to_string(),
        };
        let others = match held.others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        out.push_str(&format!("  held by  {} partition {}{others}: {until}\n", held.source, held.partition));
    }
    for caveat in &summary.caveats {
        out.push_str(&format!("  note     {caveat}\n"));
    }
    if summary.rows_late + summary.rows_bad + summary.rows_failed > 0 {
        out.push_str(&format!("  aside    {}\n", report.aside.display()));
    }
    if let Some(pipeline) = pipeline {
        out.push_str(&format!("  next     samestream verify {pipeline}\n"));
    }
    out
}

/// Returns the first lines: what ran, what it read.
pub(crate) fn body(summary: &Summary) -> String {
    let mark = if summary.ended { "✓" } else { "■" };
    let range = match (&summary.from, &summary.to) {
        (None, None) => String::new(),
        (from, to) => {
            let side = |time: &Option<String>| time.clone().unwrap_or_else(|| "…".into());
            format!("   {} .. {}   (half-open, UTC)", side(from), side(to))
        }
    };
    let stopped = if summary.ended { "" } else { "   stopped: final rows only" };
    let partitions: usize = summary.start.values().map(|partitions| partitions.len()).sum();
    let failed = match summary.rows_failed {
        0 => String::new(),
        failed => format!(" · failed {}", thousands(failed)),
    };
    format!(
        "{mark} {}  {}{range}{stopped}\n  read     {} records · {partitions} partition{}     late {} · bad {}{failed}\n",
        summary.pipeline,
        summary.mode,
        thousands(summary.rows_read),
        if partitions == 1 { "" } else { "s" },
        thousands(summary.rows_late),
        thousands(summary.rows_bad),
    )
}

/// Returns the lines with the digests, which are equal exactly when the results are.
pub(crate) fn digests(summary: &Summary) -> String {
    let rate = summary.rows_read as f64 / summary.seconds.max(1e-9);
    format!(
        "  digest   {} final · {} all\n           late {} · bad {}\n           definition {}…   took {:.2} s ({} records/s)\n",
        summary.digest_final,
        summary.digest_all,
        summary.digest_late,
        summary.digest_bad,
        summary.definition.chars().take(8).collect::<String>(),
        summary.seconds,
        rough(rate),
    )
}

/// Returns a rate in few characters, such as `457 k`.
pub(crate) fn rough(rate: f64) -> String {
    match rate {
        rate if rate >= 10e6 => format!("{:.0} M", rate / 1e6),
        rate if rate >= 1e6 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.0} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

/// Writes a summary to a file, as JSON.
pub(crate) fn write(summary: &Summary, path: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(summary).expect("a summary is JSON");
    connectors::store::write_atomic(path, format!("{json}\n").as_bytes())
        .map_err(|error: Error| error.context("the summary could not be written"))
}

/// Returns the word for a mode as a heading.
pub(crate) fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Stream => "stream",
        Mode::Batch => "batch",
    }
}
