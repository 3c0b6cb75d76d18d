//! `samestream append`: a user's own lines into a journal.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::{Code, Error, Result};
use runtime::append::{AppendOptions, Appender, Input};

use crate::global::Global;
use crate::output::thousands;
use crate::{clock, report};

/// Append JSON lines or CSV to a journal, so that they can be read as a log
///
/// A line of JSON becomes a record's value, its bytes unchanged. A row of CSV becomes a JSON object: an empty field is
/// null, numbers and true/false without quotes are that, everything else is text.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream append data/orders orders.jsonl --partitions 4 --partition-by customer\n  \
    samestream append data/orders history.csv --timestamp created_at --json payload\n  \
    tail -f app.log.jsonl | samestream append data/orders -")]
pub(crate) struct Arguments {
    /// The journal's folder; made when it is missing
    journal: PathBuf,
    /// The files; none or `-`: standard input
    files: Vec<PathBuf>,
    /// What the lines are; without it the file's name decides, and JSON lines for standard input
    #[arg(long, value_enum)]
    input: Option<Kind>,
    /// How many partitions a new journal gets (1 without it); fixed afterwards
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
    /// The top-level field that chooses the partition and becomes the key; without it partitions take turns
    #[arg(long, value_name = "COLUMN")]
    partition_by: Option<String>,
    /// The top-level field with each record's log time (RFC 3339, or epoch milliseconds); without it: now
    #[arg(long, value_name = "COLUMN")]
    timestamp: Option<String>,
    /// Fields of CSV that hold JSON, for columns of type `json`; without it their text is a text
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    json: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Jsonl,
    Csv,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let stdin = [PathBuf::from("-")];
    let files = if arguments.files.is_empty() { &stdin[..] } else { &arguments.files };
    // All files are opened first: a wrong name must not leave a journal half filled.
    let mut inputs = Vec::new();
    for path in files {
        let kind = arguments.input.map_or_else(|| kind_of(path), Ok)?;
        inputs.push((path.display().to_string(), kind, open(path)?));
    }
    let mut total = 0;
    for (name, kind, mut reader) in inputs {
        let options = AppendOptions {
            journal: arguments.journal.clone(),
            partitions: arguments.partitions,
            partition_by: arguments.partition_by.clone(),
            timestamp: arguments.timestamp.clone(),
            input: if kind == Kind::Csv { Input::Csv } else { Input::JsonLines },
            json: arguments.json.clone(),
        };
        total += Appender::open(options)?.append(&name, &mut *reader, &clock::now_ms)?;
    }
    if !global.quiet {
        report::say(&format!("✓ {} records  →  {}\n", thousands(total), arguments.journal.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn kind_of(path: &std::path::Path) -> Result<Kind> {
    match path.extension().and_then(|kind| kind.to_str()) {
        Some("csv") => Ok(Kind::Csv),
        Some("jsonl" | "ndjson" | "json") => Ok(Kind::Jsonl),
        None if path.as_os_str() == "-" => Ok(Kind::Jsonl),
        _ => Err(Error::new(Code::Usage, format!("what `{}` holds cannot be told from its name", path.display()))
            .help("say `--input jsonl` or `--input csv`")),
    }
}

fn open(path: &std::path::Path) -> Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}
