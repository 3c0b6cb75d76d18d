//! `samestream lateness`: what each bound of disorder would leave out.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use engine::{Code, Error, Result, duration, rfc3339};
use runtime::lateness::{Changed, Lateness, Results, Rung, SourceLateness, StepLateness, lateness};
use runtime::{Mode, RunOptions};
use serde_json::{Value, json};

use crate::commands::inspect::yaml_duration;
use crate::commands::run::Cuts;
use crate::global::Global;
use crate::output::thousands;
use crate::report::Done;
use crate::{output, pipelines, signals};

/// Tell what each `out_of_orderness` would leave out, and which results it would change
///
/// For each bound: the records that would be late for all their windows, or for their join, by step and partition, and what
/// would change against the bound in the file: windows and sessions with other records, and rows of joins. One pass over
/// the lake or journal, or two where sessions or joins have records that a bound decides about.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream lateness page_views\n  \
    samestream lateness page_views --bounds 10s,1m,5m --format json")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// The bounds to try, besides 0s and the one in the file; by default round ones up to the one that lets in all records
    #[arg(long, value_name = "TIMES", value_delimiter = ',')]
    bounds: Vec<String>,
    #[command(flatten)]
    cut: Cuts,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let loaded = pipelines::load(&arguments.pipeline, global)?;
    let plan = Arc::new(loaded.plan);
    let bounds = arguments.bounds.iter().map(|text| bound(text)).collect::<Result<Vec<_>>>()?;
    let mut options = RunOptions::new(Mode::Batch);
    arguments.cut.put(&mut options)?;
    options.settings.stop = signals::stop_flag()?;
    let found = lateness(&plan, &bounds, &options)?;
    if found.sources.is_empty() {
        return Err(Error::new(
            Code::Empty,
            "no step of the pipeline has windows over records or joins them, so nothing is late",
        )
        .into());
    }
    let text = if global.is_json() { format!("{:#}\n", as_json(&found)) } else { as_text(&found) };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn bound(text: &str) -> Result<i64> {
    pipeline::duration::parse(text).map_err(|why| {
        Error::new(Code::Usage, format!("`--bounds {text}`: {why}"))
            .help("a duration is an integer and `us`, `ms`, `s`, `m`, `h` or `d`, such as `90s` or `15m`")
    })
}

fn as_text(found: &Lateness) -> String {
    let mut out = String::new();
    for source in &found.sources {
        out.push_str(&format!("{}   out_of_orderness {}\n", source.source, yaml_duration(source.present)));
        for (partition, disorder) in &source.partitions {
            out.push_str(&format!(
                "  partition {partition}: {} records, {} behind, at most {}\n",
                thousands(disorder.records()),
                thousands(disorder.behind()),
                duration(disorder.largest())
            ));
        }
        for step in &source.steps {
            out.push_str(&step_text(source, step));
        }
    }
    for caveat in &found.caveats {
        out.push_str(&format!("note: {caveat}\n"));
    }
    out
}

fn step_text(source: &SourceLateness, step: &StepLateness) -> String {
    let what = format!("{} changed", step.results.name());
    let mut out = format!("  {}   {} records reached it\n", step.step, thousands(step.reached));
    out.push_str(&format!("    {:>9}  {:>12}  {:>15}  by partition\n", "bound", "late records", what));
    for rung in &step.rungs {
        let late: u64 = rung.late.values().sum();
        let by_partition: Vec<String> =
            rung.late.iter().map(|(partition, late)| format!("{partition}: {}", thousands(*late))).collect();
        let sign = if rung.bound == source.present { " *" } else { "" };
        let line = format!(
            "    {:>9}  {:>12}  {:>15}  {}",
            format!("{}{sign}", yaml_duration(rung.bound)),
            thousands(late),
            thousands(rung.changed),
            by_partition.join(", ")
        );
        out.push_str(&format!("{}\n", line.trim_end()));
        for example in &rung.examples {
            out.push_str(&format!("               such as {}\n", example_text(example, step.results)));
        }
    }
    out
}

fn example_text(changed: &Changed, results: Results) -> String {
    let window =
        changed.window.map_or_else(String::new, |at| format!("{} .. {}  ", rfc3339(at.start), rfc3339(at.end)));
    let (partition, offset) = changed.record;
    let mut changes = Vec::new();
    for (count, sign) in [(changed.lost, '-'), (changed.gained, '+')] {
        if count > 0 {
            changes.push(format!("{sign}{}", thousands(count)));
        }
    }
    let changes = changes.join(" ");
    let what = match results {
        Results::Windows | Results::Sessions => "record(s), one is",
        Results::Rows => "row(s), by",
    };
    format!("{window}{}  {changes} {what} {partition}@{offset}", changed.key)
}

fn as_json(found: &Lateness) -> Value {
    let example = |changed: &Changed| {
        json!({
            "window_start": changed.window.map(|at| rfc3339(at.start)),
            "window_end": changed.window.map(|at| rfc3339(at.end)),
            "key": changed.key,
            "lost": changed.lost,
            "gained": changed.gained,
            "record": format!("{}@{}", changed.record.0, changed.record.1),
        })
    };
    let rung = |rung: &Rung| {
        let late: serde_json::Map<_, _> =
            rung.late.iter().map(|(partition, late)| (partition.to_string(), json!(late))).collect();
        json!({
            "bound": yaml_duration(rung.bound),
            "bound_us": rung.bound,
            "late": rung.late.values().sum::<u64>(),
            "late_by_partition": late,
            "changed": rung.changed,
            "examples": rung.examples.iter().map(example).collect::<Vec<_>>(),
        })
    };
    let step = |step: &StepLateness| {
        json!({
            "step": step.step,
            "reached": step.reached,
            "changed_are": step.results.name(),
            "bounds": step.rungs.iter().map(rung).collect::<Vec<_>>(),
        })
    };
    let source = |source: &SourceLateness| {
        let partitions = source.partitions.iter().map(|(partition, disorder)| {
            json!({
                "partition": partition,
                "records": disorder.records(),
                "behind": disorder.behind(),
                "largest_us": disorder.largest(),
            })
        });
        json!({
            "source": source.source,
            "out_of_orderness": yaml_duration(source.present),
            "partitions": partitions.collect::<Vec<_>>(),
            "steps": source.steps.iter().map(step).collect::<Vec<_>>(),
        })
    };
    json!({
        "sources": found.sources.iter().map(source).collect::<Vec<_>>(),
        "start": found.walked.start,
        "end": found.walked.end,
        "notes": found.caveats,
    })
}
