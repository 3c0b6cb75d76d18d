//! Errors and warnings on stderr: text with the file, the line and the way on, or one JSON object each; and panics.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connectors::waiting::Notice;
use engine::{Code, Error};
use pipeline::Secrets;
use pipeline::diagnostic::{self, Severity};
use runtime::catalogue::Log;

use crate::global::Global;

/// What a verb failed with: one error, or all that a pipeline file has.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Vec<Error>);

/// What a verb comes to.
pub(crate) type Done = Result<ExitCode, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// Prints what went wrong and returns the exit code that the first error calls for.
pub(crate) fn failure(failure: &Failure, global: &Global) -> ExitCode {
    for error in &failure.0 {
        say_diagnostic(error, Severity::Error, global);
    }
    ExitCode::from(failure.0.first().map_or(1, |error| error.code.exit() as u8))
}

/// Prints what is odd but not wrong.
pub(crate) fn warnings(warnings: &[Error], global: &Global) {
    for warning in warnings.iter().filter(|_| !global.quiet) {
        say_diagnostic(warning, Severity::Warning, global);
    }
}

/// Tells from now on what a run waits for, and when that is back.
pub(crate) fn waits(global: &Global) {
    if global.quiet {
        return;
    }
    let global = global.clone();
    connectors::waiting::listen(move |notice| {
        if std::io::stderr().is_terminal() {
            // The live line makes room and is drawn again.
            say("\r\x1b[2K");
        }
        match notice {
            Notice::Away(error) => say_diagnostic(&error, Severity::Warning, &global),
            Notice::Back(text) if global.is_json() => {
                say_json(serde_json::json!({"severity": "note", "message": text}));
            }
            Notice::Back(text) => say(&format!("note: {text}\n")),
        }
    });
}

fn say_diagnostic(error: &Error, severity: Severity, global: &Global) {
    if global.is_json() {
        let mut json = diagnostic::to_json(error, severity);
        json["exit"] = (error.code.exit() as u8).into();
        return say_json(json);
    }
    let is_coloured = global.is_coloured(std::io::stderr().is_terminal());
    let text = diagnostic::render(error, severity, is_coloured);
    say(&format!("{text}  more: samestream explain {}\n", error.code.name()));
}

/// Prints what clap has to say: help on standard output, a usage error on stderr with exit code 2.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && Global::guessed().is_json() {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
        let help = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        let error = Error::new(Code::Usage, message).help(help);
        let mut json = diagnostic::to_json(&error, Severity::Error);
        json["exit"] = (error.code.exit() as u8).into();
        say(&format!("{json}\n"));
    } else {
        // A closed pipe is not worth a word.
        let _ = error.print();
    }
    ExitCode::from(error.exit_code() as u8)
}

/// Prints to stderr; nobody is left to tell if it is closed.
pub(crate) fn say(text: &str) {
    let text = redacted(text);
    let _ = std::io::stderr().write_all(text.as_bytes());
    log(&text);
}

/// Prints a line of JSON to stderr.
pub(crate) fn say_json(json: serde_json::Value) {
    let json = secrets().iter().fold(json, |json, secrets| secrets.redact_json(json));
    let text = format!("{json}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    log(&text);
}

/// The log of the run that is going on.
static LOG: Mutex<Option<Arc<Log>>> = Mutex::new(None);

/// Lets everything that is said from now on be in the log of a run too, or no more.
pub(crate) fn also_to(log: Option<Arc<Log>>) {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = log;
}

fn log(text: &str) {
    if let Some(log) = &*LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        log.say(text);
    }
}

/// The secrets of the pipelines at hand; nothing that is said shows them, whoever put the words together.
static SECRETS: Mutex<Vec<Secrets>> = Mutex::new(Vec::new());

fn secrets() -> MutexGuard<'static, Vec<Secrets>> {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the values of a pipeline's secrets out of everything that is said from now on.
pub(crate) fn hide(of_pipeline: &Secrets) {
    secrets().push(of_pipeline.clone());
}

/// Returns a text without the secrets.
pub(crate) fn redacted(text: &str) -> String {
    secrets().iter().fold(text.to_owned(), |text, secrets| secrets.redact(&text))
}

/// Makes a panic say that it is our bug, and where its details are.
pub(crate) fn friendly_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // A library gave up over a hostile file: that file is refused by name.
        if engine::hostile::is_guarded() {
            return;
        }
        let path = std::env::temp_dir().join(format!("samestream-panic-{}.txt", std::process::id()));
        let trace = std::backtrace::Backtrace::force_capture();
        let details = format!(
            "samestream {}\narguments: {:?}\n{panic}\n\n{trace}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::args().collect::<Vec<_>>()
        );
        let place = match std::fs::write(&path, &details) {
            Ok(()) => format!("Details are in {}", path.display()),
            Err(_) => details,
        };
        say(&format!("samestream has a bug and had to stop: {panic}\nPlease report it. {place}\n"));
    }));
}
