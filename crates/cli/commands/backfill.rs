//! `samestream backfill`: a range written anew, chunk by chunk.

mod shown;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::BoolishValueParser;
use engine::plan::Plan;
use engine::{Code, Error, Result};
use pipeline::Loaded;
use runtime::backfill::{self, Chunk, Doing};
use runtime::catalogue::{Amount, Backfill, Catalogue, Failed, Outcome, Part, Run};
use runtime::checkpoint::Place;
use runtime::cut::{self, Cut, Side};
use runtime::{Mode, Observer, Progress, RunOptions, Settings, ledger, time};

use crate::commands::run::{parse_duration, parse_memory, redirect};
use crate::global::Global;
use crate::progress::Chunks;
use crate::record::{self, Begun, Record};
use crate::report::{self, Done, Failure};
use crate::{clock, console, output, pipelines, signals};

/// Write a range of event time anew, chunk by chunk: resumable, each chunk replaced at once
///
/// Each chunk is a batch run over its part of the range, noted in `samestream runs`. It replaces the rows whose window starts
/// in it, all at once, and no others. All chunks are computed from the log as it is when the backfill begins, so together they
/// give the bytes of one run over the whole range. One that was stopped, failed or was killed is gone on with by the same
/// command.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream backfill page_views --from 2026-01-01 --to 2026-02-01\n  \
    samestream backfill page_views --from 2026-01-01 --to 2026-02-01 --dry-run\n  \
    samestream backfill page_views --from 2026-01-01 --to 2026-02-01 --chunk 6h --parallel 4\n  \
    samestream backfill page_views --from 2026-01-01 --to 2026-02-01 --again\n  \
    samestream backfill page_views --stale --chunk 6h\n  \
    samestream backfill page_views --from 2026-01-01 --to 2026-02-01 --out /tmp/january --summary january.json")]
pub(crate) struct Arguments {
    /// The pipeline: a path, or the bare name of one in `pipelines/`
    pipeline: String,
    /// Write rows whose window starts at this time or later (RFC 3339, or a date in UTC)
    #[arg(long, value_name = "TIME", required_unless_present = "stale")]
    from: Option<String>,
    /// Write rows whose window starts before this time
    #[arg(long, value_name = "TIME", required_unless_present = "stale")]
    to: Option<String>,
    /// Write the ranges that `samestream status` shows as stale or missing, one after the other
    #[arg(long, value_parser = BoolishValueParser::new(), conflicts_with_all = ["from", "to", "end", "out", "sinks", "input", "summary"])]
    stale: bool,
    /// How long a chunk is; chunks are cut at multiples of this from --from. A day has 24 hours. Never changes a result
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    chunk: Duration,
    /// How many chunks are computed at once; they commit one after the other. Never changes a result
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Begin anew, though one over this range is not done
    #[arg(long, value_parser = BoolishValueParser::new())]
    again: bool,
    /// End at these offsets: `source:partition=offset,…`, or those of another run's summary
    #[arg(long, value_name = "CUT")]
    end: Option<String>,
    /// Write each sink as DIR/<sink name> instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write these sinks only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    sinks: Option<Vec<String>>,
    /// Read this lake instead: PATH, or SOURCE=PATH when there are several sources
    #[arg(long, value_name = "[SOURCE=]PATH")]
    input: Vec<String>,
    /// Threads, for all chunks together; never changes a result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Stay within about this much memory, such as 2GiB; not with --parallel
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
    /// Where late and bad records, and what was done, are kept
    #[arg(long, value_name = "DIR", default_value = ".samestream")]
    state_dir: Place,
    /// A range without rows is no error
    #[arg(long, value_parser = BoolishValueParser::new())]
    allow_empty: bool,
    /// Write what it came to to this file, as JSON: `samestream schema backfill`
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Tell what it would read, chunk by chunk, and touch nothing
    #[arg(long, value_parser = BoolishValueParser::new())]
    dry_run: bool,
}

/// A backfill that is about to begin, or to go on.
struct Prepared {
    work: backfill::Backfill,
    noted: Backfill,
    /// All chunks, done or not, and what each is thought to take.
    chunks: Vec<(Chunk, Amount)>,
    /// Files and row groups that one run over the whole range would read.
    whole: backfill::Estimate,
    /// Whether it goes on with one that is noted.
    goes_on: bool,
    /// From what the rate was taken.
    rate: Option<Rate>,
}

/// Records a second, as earlier runs had it.
struct Rate {
    per_second: f64,
    runs: usize,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    match (&arguments.from, &arguments.to) {
        (Some(from), Some(to)) => one(arguments, (time::parse(from)?, time::parse(to)?), global),
        _ => stale(arguments, global),
    }
}

/// Writes what is stale or missing anew, range by range.
fn stale(arguments: &Arguments, global: &Global) -> Done {
    let plan = Arc::new(pipelines::load(&arguments.pipeline, global)?.plan);
    let catalogue = Catalogue::new(&arguments.state_dir.local());
    let ranges = ledger::to_heal(&plan, &catalogue, &arguments.state_dir)?;
    if ranges.iter().any(|range| range.0 == i64::MIN || range.1 == i64::MAX) {
        let message =
            format!("all that `{}` holds is stale, so it is not known where its rows begin and end", plan.name);
        let help = format!("`samestream run {} --mode batch --stale` replaces everything at once", arguments.pipeline);
        return Err(Error::new(Code::Usage, message).help(help).into());
    }
    if ranges.is_empty() && !global.quiet {
        report::say(&format!("✓ {}: nothing is stale or missing\n", plan.name));
    }
    for range in ranges {
        one(arguments, range, global)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a range anew.
fn one(arguments: &Arguments, range: (i64, i64), global: &Global) -> Done {
    if range.0 >= range.1 {
        return Err(Error::new(Code::Empty, "`--from` is not before `--to`, so the range is empty").into());
    }
    if arguments.memory.is_some() && arguments.parallel > 1 {
        let message = "`--memory` bounds one run, and `--parallel` has several at once";
        return Err(Error::new(Code::Usage, message).help("leave one of them out").into());
    }
    let mut loaded = pipelines::load(&arguments.pipeline, global)?;
    redirect(&mut loaded.plan, &arguments.input)?;
    if loaded.plan.sinks.is_empty() {
        let message = format!("pipeline `{}` has no sink, so it writes nothing", loaded.plan.name);
        return Err(Error::new(Code::Empty, message).help("add one under `sinks:`").into());
    }
    let stop = signals::stop_flag()?;
    let plan = Arc::new(loaded.plan.clone());
    let state_dir = arguments.state_dir.local();
    let mut options = RunOptions::new(Mode::Batch);
    options.out = arguments.out.clone();
    options.sinks = arguments.sinks.clone();
    options.state_dir = state_dir.clone();
    options.checkpoints = Some(arguments.state_dir.clone());
    options.settings = Settings { threads: arguments.threads.unwrap_or(0), stop: stop.clone(), ..Settings::default() };
    options.context.console = console::console(global, stop.clone());
    // The log holds records of what is stale; a step may want none of them.
    let allow_empty = arguments.allow_empty || arguments.stale;
    options.settings.allow_empty = allow_empty;
    options.set_memory(arguments.memory, &plan.name);
    options.end = arguments.end.as_deref().map(|text| cut::parse(text, Side::End)).transpose()?;
    let lock = (!arguments.dry_run).then(|| backfill::hold(&state_dir, &plan.name)).transpose()?;
    let catalogue = Catalogue::new(&state_dir);
    let mut prepared = prepare(arguments, &plan, options, range, &catalogue, lock)?;
    if arguments.dry_run {
        return Ok(output::text(&shown::dry_run(&prepared, global))?);
    }
    if prepared.noted.predicted.rows_read == 0 && !allow_empty {
        return Err(Error::new(Code::Empty, "the log holds no record that rows of the range could be made of")
            .help("say `--allow-empty` if that is right: the rows that sinks hold of the range then go")
            .into());
    }
    if !prepared.goes_on {
        catalogue.begin_backfill(&mut prepared.noted)?;
    }
    if !global.quiet && !global.is_json() {
        report::say(&shown::estimate(&prepared, usize::from(arguments.parallel)));
    }
    let doing = Working::new(arguments, &loaded, prepared, &catalogue, global);
    let worked = doing.work();
    let noted = doing.end(worked.as_ref().err())?;
    worked?;
    if stop.load(Ordering::Relaxed) {
        // It came too late to stop anything.
        global.detail("all chunks were done when it was asked to stop");
    }
    if let Some(path) = &arguments.summary {
        shown::write(&noted, path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the log, finds out whether there is one to go on with, and what is to be read.
fn prepare(
    arguments: &Arguments,
    plan: &Arc<Plan>,
    mut options: RunOptions,
    (from, to): (i64, i64),
    catalogue: &Catalogue,
    lock: Option<std::fs::File>,
) -> Result<Prepared> {
    let micros = i64::try_from(arguments.chunk.as_micros()).unwrap_or(i64::MAX);
    let chunks = backfill::chunks(from, to, micros)?;
    let asked = Backfill {
        id: 0,
        pipeline: plan.name.clone(),
        definition: plan.definition.clone(),
        from: time::rfc3339(from),
        to: time::rfc3339(to),
        chunk: shown::length(micros),
        sinks: arguments.sinks.clone(),
        out: arguments.out.as_ref().map(|out| out.display().to_string()),
        input: arguments.input.clone(),
        start: Cut::new(),
        end: Cut::new(),
        outcome: Outcome::Running,
        started: time::rfc3339(clock::now_ms() * 1000),
        ended: None,
        error: None,
        chunks: chunks.len() as u64,
        done: 0,
        predicted: Amount::default(),
        actual: Amount::default(),
        rows_written: 0,
        digest_final: engine::digest::Digest::default().to_string(),
        digest_all: engine::digest::Digest::default().to_string(),
        parts: Vec::new(),
    };
    let before = if arguments.again { None } else { unfinished(catalogue, &asked, options.end.as_ref())? };
    if let Some(before) = &before {
        options.start = Some(before.start.clone());
        options.end = Some(before.end.clone());
    }
    let work = backfill::Backfill::open(plan, &options, lock)?;
    let goes_on = before.is_some();
    let mut noted = before.unwrap_or(asked);
    let (start, end) = work.cuts();
    if !goes_on {
        (noted.start, noted.end) = (start.clone(), end.clone());
    } else if (start, end) != (&noted.start, &noted.end) {
        let message = format!("the log has other partitions than when backfill {} began", noted.id);
        return Err(Error::new(Code::PartitionsChanged, message)
            .help("what is done was computed without them: `--again` begins anew, with all chunks"));
    } else {
        (noted.outcome, noted.ended, noted.error) = (Outcome::Running, None, None);
    }
    let rate = rate(catalogue, &noted)?;
    let amount = |estimate: &backfill::Estimate| Amount {
        rows_read: estimate.rows,
        bytes: estimate.bytes,
        seconds: rate.as_ref().map(|rate| estimate.rows as f64 / rate.per_second),
    };
    let mut sum = backfill::Estimate { bytes: Some(0), ..backfill::Estimate::default() };
    let mut each = Vec::new();
    for chunk in chunks {
        let estimate = work.estimate(chunk.from..chunk.to);
        sum.add(&estimate);
        each.push((chunk, amount(&estimate)));
    }
    if !goes_on {
        noted.predicted = amount(&sum);
    }
    let whole = work.estimate(from..to);
    Ok(Prepared {
        work,
        noted,
        chunks: each,
        whole: backfill::Estimate { unknown: sum.unknown, ..whole },
        goes_on,
        rate,
    })
}

/// Returns the last backfill of the same that is not done, with its parts.
fn unfinished(catalogue: &Catalogue, asked: &Backfill, end: Option<&Cut>) -> Result<Option<Backfill>> {
    let is_same = |other: &&Backfill| {
        other.pipeline == asked.pipeline
            && (&other.from, &other.to, &other.chunk) == (&asked.from, &asked.to, &asked.chunk)
            && (&other.sinks, &other.out, &other.input) == (&asked.sinks, &asked.out, &asked.input)
    };
    let all = catalogue.backfills()?;
    // Whatever came before the last one of the same was given up by it. Of one that has done nothing nothing is kept.
    let is_left = |last: &&Backfill| last.is_unfinished() && last.done > 0;
    let Some(last) = all.iter().rfind(is_same).filter(is_left) else { return Ok(None) };
    let refused = |what: &str| {
        let done = format!("{} of its {} chunks are done", last.done, last.chunks);
        Error::new(Code::StateForeign, format!("backfill {} over this range is not done, and {what}; {done}", last.id))
            .help("`--again` begins anew, with all chunks")
    };
    if last.definition != asked.definition {
        return Err(refused("belongs to another definition of the pipeline"));
    }
    let differs = |(source, partitions): (&String, &std::collections::BTreeMap<_, _>)| {
        partitions.iter().any(|(partition, offset)| {
            last.end.get(source).and_then(|ends| ends.get(partition)).is_some_and(|noted| noted != offset)
        })
    };
    if end.is_some_and(|end| end.iter().any(differs)) {
        return Err(refused("ends at other offsets than `--end` says"));
    }
    let parts = catalogue.parts(last.id)?;
    Ok(Some(Backfill { parts, ..last.clone() }))
}

/// How many runs the rate is taken from: the latest, since machines and logs change.
const RATED: usize = 5;

/// Returns how fast earlier batch runs and backfills of the pipeline read: of this definition if there are some.
fn rate(catalogue: &Catalogue, noted: &Backfill) -> Result<Option<Rate>> {
    // The runs of a backfill go on beside each other; it knows itself how long it took.
    let is_alone =
        |run: &Run| run.mode == Mode::Batch && run.outcome == Outcome::Done && !run.by.starts_with("backfill ");
    let mut seen: Vec<(String, String, u64, f64)> = Vec::new();
    for run in catalogue.runs()?.into_iter().filter(|run| run.pipeline == noted.pipeline && is_alone(run)) {
        let (Some(ended), Some(definition), Some(summary)) = (run.ended, run.definition, run.summary) else { continue };
        seen.push((ended, definition, summary.rows_read, summary.seconds));
    }
    let is_done = |other: &Backfill| other.pipeline == noted.pipeline && !other.is_unfinished();
    for other in catalogue.backfills()?.into_iter().filter(is_done) {
        let (Some(ended), Some(seconds)) = (other.ended, other.actual.seconds) else { continue };
        seen.push((ended, other.definition, other.actual.rows_read, seconds));
    }
    seen.retain(|(.., rows, seconds)| *rows > 0 && *seconds > 0.0);
    if seen.iter().any(|(_, definition, ..)| *definition == noted.definition) {
        seen.retain(|(_, definition, ..)| *definition == noted.definition);
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let latest = &seen[seen.len().saturating_sub(RATED)..];
    let (rows, seconds) =
        latest.iter().fold((0, 0.0), |(rows, seconds), (.., more, took)| (rows + more, seconds + took));
    Ok((rows > 0).then(|| Rate { per_second: rows as f64 / seconds, runs: latest.len() }))
}

/// A backfill under way.
struct Working<'a> {
    arguments: &'a Arguments,
    loaded: &'a Loaded,
    work: backfill::Backfill,
    /// Those that are left.
    chunks: Vec<(Chunk, Amount)>,
    catalogue: &'a Catalogue,
    global: &'a Global,
    noted: Mutex<Noted>,
    shown: Chunks,
    began: Instant,
    /// Seconds that it took before it was gone on with.
    before: f64,
    words: Vec<String>,
    by: String,
    title: String,
}

struct Noted {
    backfill: Backfill,
    places: Vec<(String, String)>,
    /// Whether nothing was known of how long it takes.
    is_unrated: bool,
}

impl<'a> Working<'a> {
    fn new(
        arguments: &'a Arguments,
        loaded: &'a Loaded,
        prepared: Prepared,
        catalogue: &'a Catalogue,
        global: &'a Global,
    ) -> Self {
        let Prepared { work, noted, chunks, rate, .. } = prepared;
        let is_left = |(chunk, _): &(Chunk, Amount)| !noted.parts.iter().any(|part| part.number == chunk.number as u64);
        let chunks: Vec<_> = chunks.into_iter().filter(is_left).collect();
        let left: u64 = chunks.iter().map(|(_, amount)| amount.rows_read).sum();
        let shown = Chunks::new(format!("{} backfill", noted.pipeline), left, global);
        shown.done(noted.done, noted.chunks);
        Self {
            arguments,
            loaded,
            work,
            chunks,
            catalogue,
            global,
            shown,
            began: Instant::now(),
            before: noted.actual.seconds.unwrap_or_default(),
            words: equivalent(record::command(true), &noted.end),
            by: format!("backfill {}", noted.id),
            title: noted.pipeline.clone(),
            noted: Mutex::new(Noted { backfill: noted, places: Vec::new(), is_unrated: rate.is_none() }),
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }

    /// Does the chunks that are left.
    fn work(&self) -> Result<(), Failure> {
        let chunks: Vec<Chunk> = self.chunks.iter().map(|(chunk, _)| *chunk).collect();
        let has_rows = self.noted.lock().unwrap_or_else(PoisonError::into_inner).backfill.rows_written > 0;
        let each = |chunk: &Chunk, doing: Doing<'_>| self.chunk(chunk, doing);
        let worked = self.work.run(&chunks, usize::from(self.arguments.parallel), has_rows, &each);
        self.shown.finish();
        Ok(worked?)
    }

    /// Does one as a run of its own.
    fn chunk(&self, chunk: &Chunk, doing: Doing<'_>) -> Result<()> {
        let (from, to) = (time::rfc3339(chunk.from), time::rfc3339(chunk.to));
        let mut command = self.words.clone();
        command.extend(["--from", &from, "--to", &to].map(String::from));
        let begun = Begun {
            pipeline: &self.arguments.pipeline,
            loaded: Some(self.loaded),
            mode: Mode::Batch,
            by: Some(&self.by),
            firing: None,
            range: (Some(chunk.from), Some(chunk.to)),
            command: Some(command),
        };
        let record = Record::one_of_several(&self.arguments.state_dir.local(), &begun, self.global);
        let run = record.id();
        let watched = Watched { shown: &self.shown, read: 0.into() };
        let began = Instant::now();
        let done = match doing(&watched) {
            Ok(done) => done,
            Err(error) => {
                // What it had read is to be read again.
                watched.forget();
                let failure = Failure(vec![error.clone()]);
                record.end(Err(&failure));
                return Err(error.context(format!("the chunk {from} .. {to}")));
            }
        };
        let summary = &done.report.summary;
        record.say(&crate::summary::text(&done.report, None));
        let part = Part {
            number: chunk.number as u64,
            from,
            to,
            run,
            predicted: self.predicted(chunk),
            actual: Amount {
                rows_read: summary.rows_read,
                bytes: done.bytes,
                seconds: Some(began.elapsed().as_secs_f64()),
            },
            rows_written: summary.rows_written,
            digest_final: summary.digest_final.clone(),
            digest_all: summary.digest_all.clone(),
        };
        // The ledger is told first: a chunk of which nothing is noted is done again, to the same bytes.
        record.end(Ok((0, summary, &done.report.wrote)));
        self.note(&part, done.report.places.clone())
    }

    fn predicted(&self, chunk: &Chunk) -> Amount {
        let found = self.chunks.iter().find(|(other, _)| other.number == chunk.number);
        found.map(|(_, amount)| *amount).unwrap_or_default()
    }

    /// Notes that a chunk is done and says so.
    fn note(&self, part: &Part, places: Vec<(String, String)>) -> Result<()> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.places = places;
        let seconds = self.seconds();
        noted.backfill.add(part.clone(), seconds);
        if noted.is_unrated && part.actual.rows_read > 0 {
            // The first chunk tells how long all will take.
            noted.is_unrated = false;
            let per_second = part.actual.rows_read as f64 / part.actual.seconds.unwrap_or(seconds).max(1e-9);
            let predicted = &mut noted.backfill.predicted;
            predicted.seconds = Some(predicted.rows_read as f64 / per_second);
        }
        self.catalogue.put_backfill(&noted.backfill, Some(part))?;
        self.shown.done(noted.backfill.done, noted.backfill.chunks);
        if !self.global.quiet && !self.shown.is_live() {
            report::say(&shown::chunk(&noted.backfill, part, self.global));
        }
        Ok(())
    }

    /// Notes how it ended, says what it came to, and returns it.
    fn end(&self, failure: Option<&Failure>) -> Result<Backfill> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.seconds();
        let backfill = &mut noted.backfill;
        backfill.ended = Some(time::rfc3339(clock::now_ms() * 1000));
        backfill.actual.seconds = Some(seconds);
        let error = failure.and_then(|failure| failure.0.first());
        backfill.outcome = match error {
            None => Outcome::Done,
            Some(error) if error.code == Code::Stopped => Outcome::Stopped,
            Some(_) => Outcome::Failed,
        };
        backfill.error =
            error.map(|error| Failed { code: error.code.name().into(), message: report::redacted(&error.message) });
        self.catalogue.put_backfill(backfill, None)?;
        if !self.global.quiet && !self.global.is_json() {
            let places: Vec<&str> = noted.places.iter().map(|(_, place)| place.as_str()).collect();
            report::say(&shown::text(&noted.backfill, &places, &self.title));
        }
        Ok(noted.backfill.clone())
    }
}

/// Adds up what several chunks read at once.
struct Watched<'a> {
    shown: &'a Chunks,
    read: std::cell::Cell<u64>,
}

impl Watched<'_> {
    fn forget(&self) {
        self.shown.read(-(self.read.replace(0) as i64));
    }
}

impl Observer for Watched<'_> {
    fn progress(&self, progress: &Progress) {
        let before = self.read.replace(progress.read);
        self.shown.read(progress.read as i64 - before as i64);
    }
}

/// Options of this verb that `run` has not, or that are its own for each chunk; and whether a value follows.
const OWN: &[(&str, bool)] = &[
    ("--chunk", true),
    ("--parallel", true),
    ("--from", true),
    ("--to", true),
    ("--end", true),
    ("--summary", true),
    ("--again", false),
    ("--stale", false),
];

/// Makes of the words of this command those of a run that does the same, but for the range.
fn equivalent(words: Vec<String>, end: &Cut) -> Vec<String> {
    let mut made = Vec::new();
    let mut words = words.into_iter();
    let mut is_verb_there = false;
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        match OWN.iter().find(|(own, _)| *own == name) {
            Some((_, true)) if name == word => _ = words.next(),
            Some(_) => {}
            None if word == "backfill" && !is_verb_there => {
                is_verb_there = true;
                made.push("run".into());
            }
            None => made.push(word),
        }
    }
    if !made.iter().any(|word| word == "--allow-empty") {
        made.push("--allow-empty".into());
    }
    made.extend(["--mode", "batch", "--end"].map(String::from));
    made.push(cut::text(end));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_of_a_chunk_is_called_as_the_backfill_was() {
        let end = Cut::from([("clicks".to_string(), [(0, 10), (1, 20)].into()), ("idle".to_string(), [].into())]);
        let made = |line: &str| equivalent(line.split(' ').map(String::from).collect(), &end).join(" ");
        let rest = "--allow-empty --mode batch --end clicks:0=10,clicks:1=20";
        assert_eq!(
            made("-q backfill p --from a --to=b --chunk 1d --out backfill"),
            format!("-q run p --out backfill {rest}")
        );
        assert_eq!(
            made("backfill p --again --parallel 4 --set vars.a=1 --summary=x"),
            format!("run p --set vars.a=1 {rest}")
        );
    }
}
