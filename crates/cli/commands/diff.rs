//! `samestream diff`: two result sets, compared row by row.

use std::path::PathBuf;
use std::process::ExitCode;

use analysis::{DiffOptions, Difference, DifferentRow, Side};
use clap::Args;
use engine::{Code, Error, Result};

use crate::commands::analysis_error;
use crate::global::{Format, Global};
use crate::output::{self, thousands};

/// Compare two result sets: exit 0 when they are the same, 1 when they differ
///
/// A result set is a file of Parquet, JSON lines or CSV, or a folder of such files. NaN equals NaN; floats are compared
/// by their bits unless --tolerance says otherwise.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream diff data/out/page_views /tmp/rerun/page_views --key window_start,page\n  \
    samestream diff yesterday.csv today.parquet --key id --tolerance 1e-9 --format json")]
pub(crate) struct Arguments {
    /// One result set
    left: PathBuf,
    /// The other one
    right: PathBuf,
    /// The columns that name a row; without it whole rows are compared
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// How far apart two floats may be and still count as equal
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tolerance: f64,
    /// How many different rows to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    if !(arguments.tolerance >= 0.0 && arguments.tolerance.is_finite()) {
        return Err(Error::new(Code::Usage, "`--tolerance` is a number from 0 up"));
    }
    let options = DiffOptions { keys: arguments.key.clone(), tolerance: arguments.tolerance, limit: arguments.limit };
    let found = analysis::diff(&arguments.left, &arguments.right, &options).map_err(analysis_error)?;
    let text = match global.format {
        Format::Json | Format::Jsonl => format!("{}\n", found.json()),
        _ => as_text(&found, &arguments.left.display().to_string(), &arguments.right.display().to_string()),
    };
    output::text(&text)?;
    Ok(if found.is_same() { ExitCode::SUCCESS } else { ExitCode::from(engine::error::Exit::No as u8) })
}

/// Returns a comparison as people read it: rows only on the left with `-`, only on the right with `+`, changed with `~`.
pub(crate) fn as_text(found: &Difference, left: &str, right: &str) -> String {
    let mut lines = Vec::new();
    for (columns, side) in [(&found.columns_only_left, left), (&found.columns_only_right, right)] {
        if !columns.is_empty() {
            lines.push(format!("columns only in {side}: {}", columns.join(", ")));
        }
    }
    lines.extend(found.rows.iter().map(row_text));
    let different = found.only_left + found.only_right + found.changed;
    if different > found.rows.len() {
        lines.push(format!("… and {} more", thousands((different - found.rows.len()) as u64)));
    }
    let count = |rows: usize| thousands(rows as u64);
    lines.push(match found.is_same() {
        true => format!("same: {} rows", count(found.equal)),
        false => format!(
            "different: {} changed (~), {} only in {left} (-), {} only in {right} (+), {} equal",
            count(found.changed),
            count(found.only_left),
            count(found.only_right),
            count(found.equal)
        ),
    });
    lines.join("\n") + "\n"
}

fn row_text(row: &DifferentRow) -> String {
    let sign = match row.side {
        Side::Left => "-",
        Side::Right => "+",
        Side::Both => "~",
    };
    let key: Vec<String> = row.key.iter().map(|(name, cell)| format!("{name}={}", cell.json())).collect();
    let values: Vec<String> = row
        .values
        .iter()
        .map(|(name, left, right)| match (left, right) {
            (Some(left), Some(right)) => format!("{name}: {} → {}", left.json(), right.json()),
            (Some(cell), None) | (None, Some(cell)) => format!("{name}: {}", cell.json()),
            (None, None) => name.clone(),
        })
        .collect();
    format!("{sign} {}  {}", key.join(" "), values.join(", ")).trim_end().to_string()
}
