//! `samestream schema`: JSON Schemas of what we read and write.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::Result;

use crate::output;

/// Print a JSON Schema: of the pipeline file, of a run's summary, of `runs show --format json`, of a backfill's summary, of
/// `status --format json`, or of `diff --format json`
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream schema pipeline > .samestream/pipeline.schema.json\n  \
    samestream schema summary\n\n\
    An editor with the YAML language server checks a pipeline file that begins with\n  \
    # yaml-language-server: $schema=./.samestream/pipeline.schema.json")]
pub(crate) struct Arguments {
    /// Of what
    #[arg(value_enum, default_value_t = Subject::Pipeline)]
    of: Subject,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    Pipeline,
    Summary,
    Run,
    Backfill,
    Status,
    Diff,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match arguments.of {
        Subject::Pipeline => output::text(&format!("{:#}\n", pipeline::schema::pipeline())),
        Subject::Summary => output::text(&format!("{:#}\n", runtime::summary::schema())),
        Subject::Run => output::text(&format!("{:#}\n", runtime::catalogue::schema())),
        Subject::Backfill => output::text(&format!("{:#}\n", runtime::catalogue::backfill_schema())),
        Subject::Status => output::text(&format!("{:#}\n", runtime::ledger::schema())),
        Subject::Diff => output::text(analysis::DIFF_SCHEMA),
    }
}
