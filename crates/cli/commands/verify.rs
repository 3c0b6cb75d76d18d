//! `samestream verify`: is the stream's result the batch's result?

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use analysis::DiffOptions;
use clap::Args;
use engine::error::Exit;
use engine::plan::Plan;
use engine::{Code, Error, Result};
use runtime::verify::{compare_summaries, run_side, write_sides};
use runtime::{Mode, Observer, Progress, RunOptions, Summary, Verdict};
use serde_json::json;

use crate::commands::run::Cuts;
use crate::commands::{analysis_error, diff};
use crate::global::Global;
use crate::progress::Shown;
use crate::report::Done;
use crate::{output, pipelines, signals, summary};

/// Run a pipeline as a stream and as a batch job over the same records: exit 0 when the results are the same, 1 when not
///
/// Both sides read from the greater of their first offsets to the lesser of their last ones. Nothing is written to the
/// pipeline's sinks. When the results differ, the windows and keys that do are shown with both values.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream verify page_views\n  \
    samestream verify page_views --stream stream.json\n  \
    samestream verify page_views --end stream.json --format json")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    #[command(flatten)]
    cut: Cuts,
    /// Take the stream's side from the summary of a run, and do not run it again
    #[arg(long, value_name = "FILE")]
    stream: Option<PathBuf>,
    /// Take the batch's side from the summary of a run, and do not run it again
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Threads of the batch side; never changes a result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How many different rows of each step to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let plan = Arc::new(loaded.plan);
    let mut options = RunOptions::new(Mode::Batch);
    arguments.cut.put(&mut options)?;
    options.settings.threads = arguments.threads.unwrap_or(0);
    options.settings.stop = signals::stop_flag()?;
    let shown = Both::new(&plan.name, global);
    let is_read = arguments.stream.is_some() || arguments.batch.is_some();
    let verdict = match is_read {
        true => with_summaries(&plan, options.clone(), arguments, &shown),
        false => runtime::verify(&plan, &options, &shown),
    };
    shown.finish();
    let verdict = verdict?;
    // Rows can be shown only of sides that were run here.
    let differences =
        if verdict.equal || is_read { Vec::new() } else { differences(&plan, &options, arguments.limit)? };
    if global.is_json() {
        let rows: serde_json::Map<_, _> =
            differences.iter().map(|(step, found)| (step.clone(), found.json())).collect();
        let mut json = serde_json::to_value(&verdict).expect("a verdict is JSON");
        json["rows"] = json!(rows);
        output::text(&format!("{json}\n"))?;
    } else {
        output::text(&text(&verdict, &differences))?;
    }
    Ok(if verdict.equal { ExitCode::SUCCESS } else { ExitCode::from(Exit::No as u8) })
}

/// Compares with one or two sides as earlier runs told of them; a side that is missing is run over the same cut.
fn with_summaries(
    plan: &Arc<Plan>,
    mut options: RunOptions,
    arguments: &Arguments,
    observer: &dyn Observer,
) -> Result<Verdict> {
    let read = |path: &Option<PathBuf>| path.as_deref().map(|path| read_summary(path, plan)).transpose();
    let (stream, batch) = (read(&arguments.stream)?, read(&arguments.batch)?);
    if let Some(known) = stream.as_ref().or(batch.as_ref()) {
        let time = |text: &Option<String>| text.as_deref().map(runtime::time::parse).transpose();
        options.start = Some(known.start.clone());
        options.end = Some(known.end.clone());
        options.settings.range = (time(&known.from)?, time(&known.to)?);
    }
    let side = |known: Option<Summary>, mode| match known {
        Some(known) => Ok(known),
        None => run_side(plan, &RunOptions { mode, ..options.clone() }, observer),
    };
    compare_summaries(side(stream, Mode::Stream)?, side(batch, Mode::Batch)?)
}

pub(crate) fn read_summary(path: &Path, plan: &Plan) -> Result<Summary> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read `{shown}`"), error))?;
    let summary: Summary = serde_json::from_str(&text).map_err(|error| {
        Error::new(Code::Usage, format!("`{shown}` is not a run's summary: {error}"))
            .help("a summary is what `samestream run … --summary FILE` writes")
    })?;
    if summary.definition != plan.definition {
        let message = format!("`{shown}` is of a run of another definition than `{}` has now", plan.name);
        return Err(Error::new(Code::NotComparable, message).help("run it again, or leave the summary out"));
    }
    Ok(summary)
}

/// Runs both sides again, into a folder for a while, and compares the rows of every step.
fn differences(plan: &Arc<Plan>, options: &RunOptions, limit: usize) -> Result<Vec<(String, analysis::Difference)>> {
    let folder = std::env::temp_dir().join(format!("samestream-verify-{}", std::process::id()));
    let compared = write_sides(plan, options, &folder, &()).and_then(|sides| {
        let mut found = Vec::new();
        for side in sides {
            let options = DiffOptions { keys: side.keys.clone(), limit, ..DiffOptions::default() };
            let difference = analysis::diff(&side.stream, &side.batch, &options).map_err(analysis_error)?;
            found.push((side.step, difference));
        }
        Ok(found)
    });
    // What could not be removed is in the system's folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    compared
}

/// Returns a verdict for people.
pub(crate) fn text(verdict: &Verdict, differences: &[(String, analysis::Difference)]) -> String {
    let mut out = String::new();
    for side in [&verdict.stream, &verdict.batch] {
        out.push_str(&summary::body(side));
        out.push_str(&summary::digests(side));
    }
    for (step, found) in differences.iter().filter(|(_, found)| !found.is_same()) {
        out.push_str(&format!("\n{step}\n{}", diff::as_text(found, "stream", "batch")));
    }
    out + &self::verdict(verdict)
}

/// Returns the last lines: over which records, how far each side goes beyond, and the answer.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    let mut out = String::new();
    for (source, partitions) in &verdict.stream.end {
        let offsets: Vec<String> = partitions.iter().map(|(partition, end)| format!("{partition}={end}")).collect();
        out.push_str(&format!("  cut      {source}:{}\n", offsets.join(",")));
    }
    for (side, beyond) in [("stream", &verdict.stream_beyond), ("batch", &verdict.batch_beyond)] {
        let records: i64 = beyond.values().flat_map(|partitions| partitions.values()).sum();
        if records > 0 {
            let records = output::thousands(records as u64);
            out.push_str(&format!("  beyond   the {side}'s log goes on for {records} offsets\n"));
        }
    }
    let name = &verdict.stream.pipeline;
    out + &match verdict.equal {
        true if verdict.only_final => {
            format!(
                "✓ {name}: stream and batch gave the same final rows, late and bad records (a stopped run has no others)\n"
            )
        }
        true => format!("✓ {name}: stream and batch gave the same bytes\n"),
        false => format!("✗ {name}: stream and batch differ in {}\n", verdict.different.join(", ")),
    }
}

/// Shows the progress of two runs, one after the other.
pub(crate) struct Both {
    stream: Shown,
    batch: std::cell::OnceCell<Shown>,
    name: String,
    global: Global,
}

impl Both {
    pub(crate) fn new(name: &str, global: &Global) -> Self {
        let stream = Shown::new(name, Mode::Stream, global);
        Self { stream, batch: std::cell::OnceCell::new(), name: name.to_string(), global: global.clone() }
    }

    pub(crate) fn finish(&self) {
        self.stream.finish();
        if let Some(batch) = self.batch.get() {
            batch.finish();
        }
    }
}

impl Observer for Both {
    fn progress(&self, progress: &Progress) {
        match progress.mode {
            Mode::Stream => self.stream.progress(progress),
            Mode::Batch => {
                self.stream.finish();
                self.batch.get_or_init(|| Shown::new(&self.name, Mode::Batch, &self.global)).progress(progress);
            }
        }
    }
}
