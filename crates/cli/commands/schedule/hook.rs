//! Telling somebody what became of a firing. That this fails changes nothing else; it is said.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::schedule::Hook;
use engine::{Code, Error, Result};
use runtime::webhook;
use serde_json::Value;

use crate::global::Global;
use crate::report;

/// How long a command may take: a daemon that is to stop waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells in a thread of its own: what hangs there holds up no schedule.
pub(super) fn tell(hook: &Hook, json: &Value, global: &Global) -> JoinHandle<()> {
    let (hook, json, global) = (hook.clone(), json.to_string(), global.clone());
    std::thread::spawn(move || {
        let told = match &hook {
            Hook::Command(words) => command(words, &json),
            Hook::Webhook(url) => webhook::post(url, json),
        };
        if let Err(error) = told {
            report::warnings(&[error], &global);
        }
    })
}

fn command(words: &[String], json: &str) -> Result<()> {
    let (program, arguments) = words.split_first().expect("a hook names a program");
    let failed = |why: String| Error::new(Code::Io, format!("the hook `{program}` {why}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read it has closed its end.
        let _ = input.write_all(format!("{json}\n").as_bytes());
    }
    let cannot_wait = |error: std::io::Error| failed(format!("cannot be waited for: {error}"));
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(cannot_wait)? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            None => {
                child.kill().and_then(|()| child.wait()).map_err(cannot_wait)?;
                return Err(failed(format!("was ended: it took longer than {} s", PATIENCE.as_secs())));
            }
        }
    };
    if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
}
