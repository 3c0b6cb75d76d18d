//! A run that is noted in the run catalogue, as far as that can be written: no result depends on it.

use std::path::Path;

use engine::{Code, Error};
use pipeline::Loaded;
use pipeline::diagnostic::{self, Severity};
use runtime::catalogue::{Catalogue, End, Failed, Firing, Outcome, Recording, Run};
use runtime::ledger::Wrote;
use runtime::{Mode, Summary, time};

use crate::global::Global;
use crate::report::{self, Failure};
use crate::{clock, commands::version_line};

/// What is known of a run before it begins.
pub(crate) struct Begun<'a> {
    /// The pipeline as it was called.
    pub(crate) pipeline: &'a str,
    /// What was read of it, unless it could not be.
    pub(crate) loaded: Option<&'a Loaded>,
    pub(crate) mode: Mode,
    pub(crate) by: Option<&'a str>,
    pub(crate) firing: Option<&'a Firing>,
    pub(crate) range: (Option<i64>, Option<i64>),
    /// The words after the program's name that do the same, if they are not those of this process.
    pub(crate) command: Option<Vec<String>>,
}

/// The record of a run. One that is dropped without an end ended in a panic.
pub(crate) struct Record {
    recording: Option<Recording>,
    /// Whether all that this process says is in the run's log.
    is_alone: bool,
    global: Global,
}

impl Record {
    /// Notes that a run begins. Where that cannot be, a warning says so.
    pub(crate) fn begin(state_dir: &Path, begun: &Begun<'_>, global: &Global) -> Self {
        let mut record = Self::one_of_several(state_dir, begun, global);
        report::also_to(record.recording.as_ref().map(Recording::log));
        record.is_alone = true;
        record
    }

    /// The same of a run that is not all that this process does: its log has what [`Record::say`] is told.
    pub(crate) fn one_of_several(state_dir: &Path, begun: &Begun<'_>, global: &Global) -> Self {
        let recording = Catalogue::new(state_dir).begin(of(begun)).map_err(|error| warn(error, global)).ok();
        Self { recording, is_alone: false, global: global.clone() }
    }

    /// Returns the run's number, if it is noted.
    pub(crate) fn id(&self) -> Option<u64> {
        self.recording.as_ref().map(Recording::id)
    }

    /// Puts something into the run's log alone.
    pub(crate) fn say(&self, text: &str) {
        if let Some(recording) = &self.recording {
            recording.log().say(&report::redacted(text));
        }
    }

    /// Notes how it ended: with an exit code and a summary, or with errors, which are told later.
    pub(crate) fn end(mut self, worked: Result<(u8, &Summary, &Wrote), &Failure>) {
        let mut end = match worked {
            Ok((0, summary, _)) if !summary.ended => end(Outcome::Stopped, 0, None, Some(summary)),
            Ok((0, summary, _)) => end(Outcome::Done, 0, None, Some(summary)),
            Ok((exit, summary, _)) => end(Outcome::Failed, exit, None, Some(summary)),
            Err(failure) => failed(failure),
        };
        // A run that is not what another one was has written its rows all the same.
        end.wrote = worked.ok().map(|(.., wrote)| wrote.clone());
        self.put(&end, worked.err());
    }

    fn put(&mut self, end: &End, failure: Option<&Failure>) {
        if self.is_alone {
            report::also_to(None);
        }
        let Some(recording) = self.recording.take() else { return };
        if let Some(failure) = failure {
            recording.log().say(&text_of(failure));
        }
        if let Err(error) = recording.end(end) {
            warn(error, &self.global);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.recording.is_some() {
            let error = Failed { code: "panic".into(), message: "a bug of samestream, see its log".into() };
            self.put(&end(Outcome::Failed, 101, Some(error), None), None);
        }
    }
}

/// Notes a run whose pipeline could not be read, if there is a catalogue: a typing error makes none.
pub(crate) fn unread(state_dir: &Path, begun: &Begun<'_>, failure: &Failure, global: &Global) {
    let catalogue = Catalogue::new(state_dir);
    if !catalogue.is_there() {
        return;
    }
    let end = failed(failure);
    let run = Run {
        outcome: end.outcome,
        ended: Some(time::rfc3339(end.at)),
        exit: Some(end.exit),
        error: end.error,
        ..of(begun)
    };
    if let Err(error) = catalogue.add(run, &text_of(failure)) {
        warn(error, global);
    }
}

fn of(begun: &Begun<'_>) -> Run {
    let (from, to) = begun.range;
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = std::env::var("HOSTNAME").ok();
    let user = match (user, host) {
        (Some(user), Some(host)) => Some(format!("{user}@{host}")),
        (user, host) => user.or(host),
    };
    Run {
        id: 0,
        pipeline: begun.loaded.map_or_else(|| begun.pipeline.to_string(), |loaded| loaded.plan.name.clone()),
        mode: begun.mode,
        by: report::redacted(begun.by.unwrap_or("manual")),
        firing: begun.firing.cloned(),
        outcome: Outcome::Running,
        started: time::rfc3339(clock::now_ms() * 1000),
        ended: None,
        exit: None,
        error: None,
        definition: begun.loaded.map(|loaded| loaded.plan.definition.clone()),
        from: from.map(time::rfc3339),
        to: to.map(time::rfc3339),
        command: begun.command.clone().unwrap_or_else(|| command(begun.loaded.is_some())),
        pid: std::process::id(),
        user,
        version: version_line(),
        summary: None,
    }
}

/// Returns the words of the command line without what is secret. What is secret is known of a pipeline that was read; of
/// another one no value of a variable is kept. The project folder is left out: it is the one that the catalogue is in.
pub(crate) fn command(is_read: bool) -> Vec<String> {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let mut kept: Vec<String> = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--project-dir" => drop(words.next()),
            word if word.starts_with("--project-dir=") => {}
            "--set" if !is_read => {
                kept.push(word);
                kept.extend(words.next().map(|set| hidden(&set)));
            }
            set if set.starts_with("--set=") && !is_read => kept.push(hidden(set)),
            word => kept.push(report::redacted(word)),
        }
    }
    kept
}

/// What stands where a secret was.
pub(crate) const HIDDEN: &str = "***";

fn hidden(set: &str) -> String {
    let name = set.trim_start_matches("--set=").split('=').next().unwrap_or_default();
    let flag = if set.starts_with("--set=") { "--set=" } else { "" };
    format!("{flag}{name}={HIDDEN}")
}

fn end(outcome: Outcome, exit: u8, error: Option<Failed>, summary: Option<&Summary>) -> End {
    End { at: clock::now_ms() * 1000, outcome, exit, error, summary: summary.cloned(), wrote: None }
}

fn failed(failure: &Failure) -> End {
    let Some(error) = failure.0.first() else { return end(Outcome::Failed, 1, None, None) };
    let outcome = if error.code == Code::Stopped { Outcome::Stopped } else { Outcome::Failed };
    let told = Failed { code: error.code.name().into(), message: report::redacted(&error.message) };
    end(outcome, error.code.exit() as u8, Some(told), None)
}

fn text_of(failure: &Failure) -> String {
    let texts = failure.0.iter().map(|error| diagnostic::render(error, Severity::Error, false));
    report::redacted(&texts.collect::<String>())
}

fn warn(error: Error, global: &Global) {
    report::warnings(
        &[error.context("this run is not noted in the run catalogue, which changes nothing else")],
        global,
    );
}
