//! `samestream diff`: two result sets, compared row by row.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use analysis::{DiffOptions, Difference, DifferentRow, Side};
use clap::Args;
use engine::plan::Plan;
use engine::{Code, Error, Result};
use runtime::compare::{self, Common};
use runtime::{Mode, RunOptions};
use serde_json::json;

use crate::commands::analysis_error;
use crate::commands::run::Cuts;
use crate::global::{Format, Global};
use crate::output::{self, thousands};
use crate::report::{Done, Failure};
use crate::{pipelines, signals};

/// Compare two result sets, or what two pipelines make of one log: exit 0 when they are the same, 1 when they differ
///
/// A result set is a file of Parquet, JSON lines or CSV, or a folder of such files. NaN equals NaN; floats are compared
/// by their bits unless --tolerance says otherwise.
///
/// Two pipelines (paths that end in .yaml, or bare names) are run as batch jobs over the lakes or journals they name, and
/// write nothing; the rows of every step that both have are compared. That shows which windows a new definition changes
/// before it is deployed. Whether a row is final already is not compared.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream diff data/out/page_views /tmp/rerun/page_views --key window_start,page\n  \
    samestream diff yesterday.csv today.parquet --key id --tolerance 1e-9 --format json\n  \
    samestream diff pipelines/page_views.yaml new.yaml --from 2026-01-01 --to 2026-01-02")]
pub(crate) struct Arguments {
    /// One result set, or the pipeline as it is
    left: PathBuf,
    /// The other one, or the pipeline as it may become
    right: PathBuf,
    /// The columns that name a row; without it whole rows are compared (of pipelines: window and keys)
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// How far apart two floats may be and still count as equal
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tolerance: f64,
    /// How many different rows to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Of pipelines: only this step
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Of pipelines: only rows whose window starts at this time or later (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Of pipelines: only rows whose window starts before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    cut: Cuts,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    match (pipeline_at(&arguments.left), pipeline_at(&arguments.right)) {
        (Some(left), Some(right)) => of_pipelines(&left, &right, arguments, global),
        (Some(one), None) | (None, Some(one)) => {
            Err(Error::new(Code::Usage, format!("`{}` is a pipeline, the other side is a result set", one.display()))
                .help("compare two pipelines, or two result sets")
                .into())
        }
        (None, None) => Ok(of_results(arguments, global)?),
    }
}

/// Returns the file of a pipeline, if that is what a side names.
fn pipeline_at(side: &Path) -> Option<PathBuf> {
    let is_yaml = side.extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
    if is_yaml || !side.exists() { pipelines::find(&side.to_string_lossy()).ok() } else { None }
}

fn of_pipelines(left: &Path, right: &Path, arguments: &Arguments, global: &Global) -> Done {
    let mut options = RunOptions::new(Mode::Batch);
    let time = |text: &Option<String>| text.as_deref().map(runtime::time::parse).transpose();
    options.settings.range = (time(&arguments.from)?, time(&arguments.to)?);
    options.settings.stop = signals::stop_flag()?;
    arguments.cut.put(&mut options)?;
    let loaded = |path: &Path| -> Result<Arc<Plan>, Failure> { Ok(Arc::new(pipelines::read(path, global)?.observed)) };
    let (old, new) = (loaded(left)?, loaded(right)?);
    let folder = std::env::temp_dir().join(format!("samestream-diff-{}", std::process::id()));
    let compared = compare_steps(&old, &new, arguments, &options, &folder);
    // What could not be removed is in the system's folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    let (common, found) = compared?;
    let names = [left.display().to_string(), right.display().to_string()];
    let is_same = found.iter().all(|(_, found)| found.is_same()) && common.is_whole();
    let text = match global.is_json() {
        true => {
            let steps: serde_json::Map<_, _> = found.iter().map(|(step, found)| (step.clone(), found.json())).collect();
            let json = json!({
                "same": is_same,
                "steps": steps,
                "only_left": common.only_left,
                "only_right": common.only_right,
                "other_keys": common.other_keys,
                "start": common.start,
                "end": common.end,
            });
            format!("{json}\n")
        }
        false => pipelines_text(&common, &found, &names),
    };
    output::text(&text)?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(engine::error::Exit::No as u8) })
}

type Compared = (Common, Vec<(String, Difference)>);

fn compare_steps(
    old: &Arc<Plan>,
    new: &Arc<Plan>,
    arguments: &Arguments,
    options: &RunOptions,
    folder: &Path,
) -> Result<Compared> {
    let common = compare::write_both(old, new, arguments.step.as_deref(), options, folder, &())?;
    let mut found = Vec::new();
    for step in &common.steps {
        let keys = if arguments.key.is_empty() { step.keys.clone() } else { arguments.key.clone() };
        let (tolerance, limit, ignore) = (arguments.tolerance, arguments.limit, vec!["final".to_string()]);
        let options = DiffOptions { keys, tolerance, limit, ignore };
        found.push((step.name.clone(), analysis::diff(&step.left, &step.right, &options).map_err(analysis_error)?));
    }
    Ok((common, found))
}

fn pipelines_text(common: &Common, found: &[(String, Difference)], [left, right]: &[String; 2]) -> String {
    let mut out = String::new();
    for (source, partitions) in &common.end {
        let offsets: Vec<String> = partitions.iter().map(|(partition, end)| format!("{partition}={end}")).collect();
        out.push_str(&format!("read up to {source}:{}\n", offsets.join(",")));
    }
    for (steps, side) in [(&common.only_left, left), (&common.only_right, right)] {
        if !steps.is_empty() {
            out.push_str(&format!("steps only in {side}: {}\n", steps.join(", ")));
        }
    }
    for (step, why) in &common.other_keys {
        out.push_str(&format!("{step}\n  {why}\n"));
    }
    for (step, found) in found {
        let text = as_text(found, left, right);
        out.push_str(&format!("{step}\n{}", text.lines().map(|line| format!("  {line}\n")).collect::<String>()));
    }
    out
}

fn of_results(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    if !(arguments.tolerance >= 0.0 && arguments.tolerance.is_finite()) {
        return Err(Error::new(Code::Usage, "`--tolerance` is a number from 0 up"));
    }
    let (keys, tolerance, limit) = (arguments.key.clone(), arguments.tolerance, arguments.limit);
    let options = DiffOptions { keys, tolerance, limit, ..DiffOptions::default() };
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
