//! `samestream test`: the cases that a pipeline file holds, run in both modes and in many ways.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::RecordBatch;
use clap::Args;
use clap::builder::BoolishValueParser;
use engine::error::Exit;
use engine::plan::{Input, Plan};
use engine::{Code, Error};
use pipeline::cases::{self, Case, Edits, Expectation};
use runtime::memory::MemoryLog;
use runtime::trial::{self, Disagreement, Record, Trial};
use serde_json::{Value, json};

use crate::global::Global;
use crate::report::{self, Done};
use crate::{output, pipelines};

/// Run the tests that stand in pipeline files: exit 0 when all pass, 1 when one does not
///
/// A case gives records and expects rows. It runs as a stream and as a batch job, record by record and all at once, with
/// partitions interleaved in several ways, stopped in the middle and started again; that two of these differ fails it,
/// even when each looks right. A case that says `fails: E_LATE` passes when the run ends so in every way. Nothing is read
/// but the file, and nothing is written to its sinks.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream test\n  \
    samestream test page_views --filter late\n  \
    samestream test page_views --bless     writes what was found into the file: read the difference")]
pub(crate) struct Arguments {
    /// Pipelines: paths, or bare names in `pipelines/`; none: all of `pipelines/`
    pipelines: Vec<String>,
    /// Only the cases with this in their name
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Write what was found into the file as what is expected; comments and layout stay
    #[arg(long, value_parser = BoolishValueParser::new())]
    bless: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let paths: Vec<PathBuf> = match arguments.pipelines.is_empty() {
        true => pipelines::all(),
        false => arguments.pipelines.iter().map(|name| pipelines::find(name)).collect::<Result<_, _>>()?,
    };
    let is_chosen = |case: &&Case| arguments.filter.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    let (mut done, mut blessed) = (Vec::new(), Vec::new());
    for path in &paths {
        let loaded = pipelines::read(path, global)?;
        report::warnings(&loaded.warnings, global);
        let plan = Arc::new(loaded.tested.clone());
        let mut edits = Edits::default();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
        for case in loaded.cases.iter().filter(is_chosen) {
            let ran = Ran::of(path, &plan, case);
            if let (true, Ok(trial)) = (arguments.bless, &ran.trial)
                && trial.disagreements.is_empty()
                && trial.failures.is_empty()
                && case.fails.is_none()
            {
                cases::blessed(&text, &plan, case, &|input| rows_of(&plan, trial, input), &mut edits);
            }
            done.push(ran);
        }
        if !edits.is_empty() {
            connectors::store::write_atomic(path, edits.apply(&text).as_bytes())?;
            blessed.push(path.display().to_string());
        }
    }
    if done.is_empty() {
        return Err(nothing(arguments, &paths).into());
    }
    // What was blessed is right now; that two ways of running differ cannot be blessed.
    let failed = done.iter().filter(|ran| !ran.passed(arguments.bless)).count();
    let text = match global.is_json() {
        true => format!("{}\n", as_json(&done, failed, &blessed, arguments.bless)),
        false => as_text(&done, failed, &blessed, arguments.bless, global),
    };
    output::text(&text)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(Exit::No as u8) })
}

fn nothing(arguments: &Arguments, paths: &[PathBuf]) -> Error {
    match &arguments.filter {
        _ if paths.is_empty() => Error::new(Code::Empty, "there is no pipeline in `pipelines/`")
            .help("name the files to test, or make a project with `samestream init`"),
        Some(part) => Error::new(Code::Empty, format!("no test has `{part}` in its name"))
            .help("without `--filter` all tests run"),
        None => Error::new(Code::Empty, "no pipeline has tests").help(
            "write some: `tests: [{name: …, given: {SOURCE: [{…}]}}]`; `samestream test --bless` writes what they expect",
        ),
    }
}

/// A case that was run.
struct Ran {
    file: String,
    name: String,
    line: usize,
    /// The code that the run is to end with.
    fails: Option<Code>,
    trial: Result<Trial, Error>,
    wrong: Vec<WrongRow>,
}

/// A row that is expected or found, and not both.
struct WrongRow {
    of: String,
    line: Option<usize>,
    expected: Option<String>,
    found: Option<String>,
    /// The columns that differ, with both values.
    columns: Vec<(String, String, String)>,
}

impl Ran {
    fn of(path: &Path, plan: &Arc<Plan>, case: &Case) -> Self {
        let mut ran = Self {
            file: path.display().to_string(),
            name: case.name.clone(),
            line: case.line,
            fails: case.fails,
            trial: attempt(plan, case),
            wrong: Vec::new(),
        };
        if let Ok(trial) = &ran.trial
            && trial.failures.is_empty()
        {
            for expectation in &case.expect {
                ran.wrong.extend(wrong_rows(expectation, &rows_of(plan, trial, expectation.input)));
            }
        }
        ran
    }

    fn passed(&self, is_blessed: bool) -> bool {
        match &self.trial {
            Ok(trial) => {
                self.ended_as_expected(trial) && trial.disagreements.is_empty() && (is_blessed || self.wrong.is_empty())
            }
            Err(_) => false,
        }
    }

    /// Returns whether no way of running failed, or all of them as it was to be.
    fn ended_as_expected(&self, trial: &Trial) -> bool {
        match self.fails {
            None => trial.failures.is_empty(),
            Some(code) => {
                trial.failures.len() == trial.whole_ways()
                    && trial.failures.iter().all(|failure| failure.error.code == code)
            }
        }
    }
}

/// Runs a case in all ways.
fn attempt(plan: &Arc<Plan>, case: &Case) -> Result<Trial, Error> {
    let mut logs = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let given = case.given.iter().find(|given| given.source == index);
        let records = given.map_or(&[][..], |given| given.records.as_slice());
        let records: Vec<Record> = records
            .iter()
            .map(|record| Record {
                partition: record.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                raw: record.raw.clone(),
            })
            .collect();
        let empty = trial::empty(&source.schema());
        let log: MemoryLog = trial::log_of(source, &records, given.map_or(&empty, |given| &given.columns))?;
        logs.push(log);
    }
    Ok(trial::run(plan, &logs))
}

/// Returns what was found of an input; a table without rows where nothing was.
fn rows_of(plan: &Plan, trial: &Trial, input: Input) -> RecordBatch {
    let found = trial.rows.get(&trial::key_of(plan, input)).cloned();
    found.unwrap_or_else(|| trial::empty(&cases::columns_of(plan, input)))
}

fn wrong_rows(expectation: &Expectation, found: &RecordBatch) -> Vec<WrongRow> {
    let judgement = cases::judge(expectation, found);
    let of = || expectation.name.clone();
    let expected = |row: usize| {
        let cells = expectation.rows[row].cells.iter();
        let cells: Vec<String> =
            cells.map(|cell| format!("{}: {}", cell.column, cases::display(&*cell.value, 0))).collect();
        format!("{{{}}}", cells.join(", "))
    };
    let mut wrong = Vec::new();
    for (row, near, columns) in judgement.different {
        let columns = columns.into_iter().map(|name| {
            let cell = expectation.rows[row].cells.iter().find(|cell| cell.column == name);
            let expected = cell.map_or_else(String::new, |cell| cases::display(&*cell.value, 0));
            let found =
                found.column_by_name(&name).map_or_else(|| "nothing".into(), |column| cases::display(&**column, near));
            (name, expected, found)
        });
        wrong.push(WrongRow {
            of: of(),
            line: Some(expectation.rows[row].line),
            expected: Some(expected(row)),
            found: Some(found_row(found, near)),
            columns: columns.collect(),
        });
    }
    for row in judgement.missing {
        let line = Some(expectation.rows[row].line);
        wrong.push(WrongRow { of: of(), line, expected: Some(expected(row)), found: None, columns: Vec::new() });
    }
    for row in judgement.unexpected {
        let found = Some(found_row(found, row));
        wrong.push(WrongRow { of: of(), line: None, expected: None, found, columns: Vec::new() });
    }
    wrong
}

fn found_row(found: &RecordBatch, row: usize) -> String {
    let schema = found.schema();
    let cells = schema.fields().iter().zip(found.columns());
    let cells = cells.map(|(field, column)| format!("{}: {}", field.name(), cases::display(&**column, row)));
    format!("{{{}}}", cells.collect::<Vec<_>>().join(", "))
}

/// How many rows of a case are shown of each kind.
const SHOWN: usize = 20;

fn as_text(done: &[Ran], failed: usize, blessed: &[String], is_blessed: bool, global: &Global) -> String {
    let mut out = String::new();
    for ran in done {
        let passed = ran.passed(is_blessed);
        if passed && global.quiet {
            continue;
        }
        let sign = if passed { "✓" } else { "✗" };
        out.push_str(&format!("{sign} {}   {}:{}\n", ran.name, ran.file, ran.line));
        if !passed {
            out.push_str(&why(ran, is_blessed));
        }
    }
    for file in blessed {
        out.push_str(&format!("wrote what was found into {file}: read the difference\n"));
    }
    let ways = done.iter().filter_map(|ran| ran.trial.as_ref().ok()).map(|trial| trial.ways).max().unwrap_or(0);
    let passed = done.len() - failed;
    out.push_str(&match failed {
        0 => format!("{passed} passed, each run {ways} ways in both modes\n"),
        _ => format!("{passed} passed, {failed} failed\n"),
    });
    out
}

fn why(ran: &Ran, is_blessed: bool) -> String {
    let trial = match &ran.trial {
        Ok(trial) => trial,
        Err(error) => {
            let help = error.help.as_ref().map_or_else(String::new, |help| format!("\n    help: {help}"));
            return format!("    the run failed: {error}{help}\n");
        }
    };
    if !ran.ended_as_expected(trial) {
        return failure_text(ran.fails, trial);
    }
    let mut out = String::new();
    let wrong: &[WrongRow] = if is_blessed { &[] } else { &ran.wrong };
    let mut of = "";
    for row in wrong.iter().take(SHOWN) {
        if row.of != of {
            out.push_str(&format!("    {}\n", row.of));
            of = &row.of;
        }
        out.push_str(&row_text(row));
    }
    if wrong.len() > SHOWN {
        out.push_str(&format!("      … and {} more\n", wrong.len() - SHOWN));
    }
    for disagreement in trial.disagreements.iter().take(3) {
        out.push_str(&disagreement_text(disagreement));
    }
    out
}

/// Says how a case ended that was to end otherwise.
fn failure_text(fails: Option<Code>, trial: &Trial) -> String {
    let ways = trial.whole_ways();
    let Some(first) = trial.failures.iter().find(|failure| Some(failure.error.code) != fails) else {
        let code = fails.map_or("", Code::name);
        return match trial.failures.first() {
            None => format!("    the run succeeds, and is to fail with {code}\n"),
            Some(failure) => format!(
                "    {} of {ways} ways of running fail with {code}, such as `{}`; the others succeed\n",
                trial.failures.len(),
                failure.way
            ),
        };
    };
    let mut out = match trial.failures.len() == ways {
        true => format!("    the run failed: {}", first.error),
        false => format!(
            "    {} of {ways} ways of running failed, such as `{}`: {}",
            trial.failures.len(),
            first.way,
            first.error
        ),
    };
    out = out.replace("\n  help:", "\n    help:");
    out.push('\n');
    match fails {
        Some(code) => out.push_str(&format!("    the case says `fails: {}`\n", code.name())),
        None => {
            out.push_str(&format!("    if that is right, the case says so: `fails: {}`\n", first.error.code.name()))
        }
    }
    out
}

fn row_text(row: &WrongRow) -> String {
    let line = row.line.map_or_else(String::new, |line| format!("line {line}: "));
    match (&row.expected, &row.found) {
        (Some(expected), Some(_)) => {
            let columns: Vec<String> = row
                .columns
                .iter()
                .map(|(name, expected, found)| format!("        {name}: expected {expected}, found {found}\n"))
                .collect();
            format!("      ~ {line}{expected}\n{}", columns.concat())
        }
        (Some(expected), None) => format!("      - {line}{expected}   expected, not found\n"),
        (None, Some(found)) => format!("      + {found}   found, not expected\n"),
        (None, None) => String::new(),
    }
}

fn disagreement_text(disagreement: &Disagreement) -> String {
    let mut out = format!(
        "    ! rows of {} differ between\n        < {}\n        > {}\n",
        disagreement.input, disagreement.first, disagreement.other
    );
    for (sign, rows) in [('<', &disagreement.only_first), ('>', &disagreement.only_other)] {
        for row in rows.iter().take(5) {
            out.push_str(&format!("      {sign} {row}\n"));
        }
        if rows.len() > 5 {
            out.push_str(&format!("      {sign} … and {} more\n", rows.len() - 5));
        }
    }
    out
}

fn as_json(done: &[Ran], failed: usize, blessed: &[String], is_blessed: bool) -> Value {
    let case = |ran: &Ran| {
        let trial = ran.trial.as_ref().ok();
        let failures = trial.map_or(&[][..], |trial| &trial.failures);
        let error = ran.trial.as_ref().err().or_else(|| failures.first().map(|failure| &failure.error));
        let disagreement = |found: &Disagreement| {
            json!({
                "first": found.first,
                "other": found.other,
                "of": found.input,
                "only_first": found.only_first,
                "only_other": found.only_other,
            })
        };
        let row = |row: &WrongRow| {
            let columns = row.columns.iter().map(|(name, ..)| name);
            json!({
                "of": row.of,
                "line": row.line,
                "expected": row.expected,
                "found": row.found,
                "columns": columns.collect::<Vec<_>>(),
            })
        };
        json!({
            "file": ran.file,
            "line": ran.line,
            "name": ran.name,
            "passed": ran.passed(is_blessed),
            "ways": trial.map(|trial| trial.ways),
            "fails": ran.fails.map(Code::name),
            "error": error.map(ToString::to_string),
            "rows": ran.wrong.iter().map(row).collect::<Vec<_>>(),
            "disagreements": trial.into_iter().flat_map(|trial| &trial.disagreements).map(disagreement).collect::<Vec<_>>(),
        })
    };
    json!({
        "passed": done.len() - failed,
        "failed": failed,
        "cases": done.iter().map(case).collect::<Vec<_>>(),
        "blessed": blessed,
    })
}
