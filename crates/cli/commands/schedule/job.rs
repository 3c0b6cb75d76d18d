//! A schedule at work: what `runtime::schedule` decides is done and noted, and runs are processes of this program.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;

use engine::schedule::Schedule;
use engine::{Code, Error, Result};
use runtime::catalogue::{Catalogue, Failed, Firing, Outcome, Run};
use runtime::checkpoint::Place;
use runtime::schedule::{Act, Attempt, AttemptEnd, Decided, Past, State, What, decide, will_repeat};
use runtime::{Mode, time};
use serde_json::{Value, json};

use super::{Found, hook, now, run_of, what, with_globals};
use crate::commands::runs::{cannot_start, code_of, itself};
use crate::commands::version_line;
use crate::global::Global;
use crate::report;

/// When to look again at a run that goes on without us, in microseconds.
const LOOK_AGAIN: i64 = 2_000_000;
/// After what time a schedule is looked after again that could not be, in microseconds.
const RETRY: i64 = 10_000_000;

/// A schedule of a pipeline, and the process that works for it.
pub(super) struct Job<'a> {
    found: &'a Found,
    schedule: &'a Schedule,
    catalogue: Catalogue,
    state_dir: Place,
    global: Global,
    working: Option<Working>,
    /// When there may be something to do again; None: never, but when the process ends.
    wake: Option<i64>,
    /// Nothing is done before: it went wrong a moment ago.
    rests_until: i64,
    hooks: Vec<JoinHandle<()>>,
    /// What the first of its processes ended with that did not end well.
    pub(super) failed: Option<u8>,
}

/// A process that works for a firing.
struct Working {
    child: Child,
    due: i64,
    attempt: u32,
    started: i64,
    /// Whether it is the verification that follows the run.
    verifies: bool,
}

/// Returns whether a run is of a pipeline, by its name or, if it could not be read then, as it was called.
pub(super) fn is_of(run: &Run, name: &str, called: &str) -> bool {
    run.pipeline == name || run.pipeline == called
}

impl<'a> Job<'a> {
    pub(super) fn new(found: &'a Found, schedule: &'a Schedule, state_dir: &Place, global: &Global) -> Self {
        let catalogue = Catalogue::new(&state_dir.local());
        let (state_dir, global) = (state_dir.clone(), global.clone());
        Self {
            found,
            schedule,
            catalogue,
            state_dir,
            global,
            working: None,
            wake: Some(i64::MIN),
            rests_until: i64::MIN,
            hooks: Vec::new(),
            failed: None,
        }
    }

    /// Returns true while a process works for it.
    pub(super) fn is_working(&self) -> bool {
        self.working.is_some()
    }

    /// Returns true when there may be something to do now.
    pub(super) fn is_due(&self) -> bool {
        self.wake.is_some_and(|wake| wake <= now())
    }

    /// Looks after it again in a while, because that could not be done now.
    pub(super) fn rest(&mut self) {
        self.rests_until = now() + RETRY;
        self.wake = Some(self.rests_until);
    }

    /// Looks whether its process ended, and does what is to be done now.
    pub(super) fn step(&mut self) -> Result<()> {
        let now = now();
        self.hooks.retain(|hook| !hook.is_finished());
        if now < self.rests_until {
            return Ok(());
        }
        let ended = self.ended(now)?;
        if ended || self.wake.is_some_and(|wake| wake <= now) {
            self.decide(now)?;
        }
        Ok(())
    }

    /// Lets what runs end cleanly.
    pub(super) fn ask_to_stop(&mut self) -> Result<()> {
        if let Some(working) = &mut self.working {
            // A run ends cleanly when its input does. A verification writes nowhere, and nobody waits for its answer.
            drop(working.child.stdin.take());
            if working.verifies {
                working.child.kill().map_err(cannot_wait)?;
            }
        }
        Ok(())
    }

    /// Waits for the end of what was asked to stop.
    pub(super) fn stopped(mut self) -> Result<()> {
        if let Some(working) = &mut self.working {
            working.child.wait().map_err(cannot_wait)?;
        }
        self.finish();
        Ok(())
    }

    /// Waits until everybody is told who is to be.
    pub(super) fn finish(self) {
        for hook in self.hooks {
            let _ = hook.join();
        }
    }

    /// Returns true when a process ended, and sees to what follows.
    fn ended(&mut self, now: i64) -> Result<bool> {
        let Some(working) = &mut self.working else { return Ok(false) };
        let Some(status) = working.child.try_wait().map_err(cannot_wait)? else { return Ok(false) };
        let working = self.working.take().expect("it was just there");
        let exit = code_of(status);
        // What could not be noted is tried again: the verification and whom to tell depend on it.
        let verified = working.verifies.then_some(exit);
        let noted = self.note_end(&working, now, verified).and_then(|()| self.noted(&working, exit, now));
        let run = match noted {
            Ok(run) => run,
            Err(error) => {
                self.working = Some(working);
                return Err(error);
            }
        };
        self.failed = self.failed.or((exit != 0).then_some(exit));
        if working.verifies {
            self.say(if exit == 0 { "verified" } else { "not verified" }, working.due, json!({"exit": exit}));
            self.tell(exit == 0, working.due, &run);
            return Ok(true);
        }
        self.say(
            &format!("{} with exit code {exit}", run.outcome.word()),
            working.due,
            json!({"run": run.id, "exit": exit}),
        );
        match run.outcome {
            Outcome::Done if self.schedule.verify => self.verify(&working)?,
            Outcome::Done => self.tell(true, working.due, &run),
            Outcome::Failed | Outcome::Lost if !will_repeat(self.schedule, &self.past(now)?) => {
                self.tell(false, working.due, &run);
            }
            Outcome::Failed | Outcome::Lost | Outcome::Stopped | Outcome::Running => {}
        }
        Ok(self.working.is_none())
    }

    fn decide(&mut self, now: i64) -> Result<()> {
        // The time in which a run is verified belongs to it.
        if self.working.as_ref().is_some_and(|working| working.verifies) {
            self.wake = None;
            return Ok(());
        }
        let past = self.past(now)?;
        let decision = decide(self.found.name(), self.schedule, &past, now);
        self.wake = decision.wake;
        let decided = |act: &Act| match *act {
            Act::Leave { due, what } => Some(Decided { due, at: now, what, has_run: false, verified: None }),
            Act::Start { due, attempt: 1 } => {
                Some(Decided { due, at: now, what: What::Run, has_run: false, verified: None })
            }
            Act::Start { .. } | Act::Stop { .. } => None,
        };
        let firings: Vec<Decided> = decision.acts.iter().filter_map(decided).collect();
        self.catalogue.put_firings(self.found.name(), &self.schedule.name, &firings)?;
        for act in decision.acts {
            match act {
                Act::Leave { due, what } => self.say(what.word(), due, json!({})),
                Act::Stop { due } => {
                    // That of another daemon, which is gone, ends by itself.
                    if let Some(working) = &mut self.working {
                        drop(working.child.stdin.take());
                        self.say("stopped for the next one", due, json!({}));
                    }
                }
                Act::Start { due, attempt } => self.start(due, attempt, now)?,
            }
        }
        // Of a run that another daemon began, which is gone, nobody is told when it ends.
        let is_another_s = past.attempts.iter().any(|attempt| attempt.end == AttemptEnd::Running);
        if is_another_s && self.working.is_none() {
            self.wake = Some(self.wake.map_or(now + LOOK_AGAIN, |wake| wake.min(now + LOOK_AGAIN)));
        }
        Ok(())
    }

    fn start(&mut self, due: i64, attempt: u32, now: i64) -> Result<()> {
        let Some(what) = what(self.schedule, due) else {
            // The first firing there ever was has none before it.
            return Ok(());
        };
        let mut command = run_of(&self.found.called, what, &self.state_dir, &self.global)?;
        command.env("SAMESTREAM_STARTED_BY", format!("schedule {}", self.schedule.name));
        command.env("SAMESTREAM_FIRING", format!("{} {} {attempt}", self.schedule.name, time::rfc3339(due)));
        command.env("SAMESTREAM_STOP_ON_EOF", "true");
        // A signal to the daemon is not one to its runs: they are asked to stop by the end of their input.
        let child = command.stdin(Stdio::piped()).process_group(0).spawn().map_err(cannot_start)?;
        self.working = Some(Working { child, due, attempt, started: now, verifies: false });
        let (said, range) = match what {
            super::What::Range(from, to) => {
                let (from, to) = (time::rfc3339(from), time::rfc3339(to));
                (format!("runs over {from} .. {to}"), json!({"attempt": attempt, "from": from, "to": to}))
            }
            super::What::Stale => ("heals what is stale or missing".into(), json!({"attempt": attempt})),
        };
        self.say(&said, due, range);
        Ok(())
    }

    fn verify(&mut self, run: &Working) -> Result<()> {
        let mut command = itself()?;
        command.args(["verify", &self.found.called]);
        with_globals(&mut command, &self.global);
        let child = command.stdin(Stdio::piped()).process_group(0).spawn().map_err(cannot_start)?;
        self.working = Some(Working { child, verifies: true, ..*run });
        Ok(())
    }

    /// Notes at the firing that a run of it has ended, and what the verification said.
    fn note_end(&self, working: &Working, now: i64, verified: Option<u8>) -> Result<()> {
        let noted = Decided { due: working.due, at: now, what: What::Run, has_run: true, verified };
        self.catalogue.put_firings(self.found.name(), &self.schedule.name, &[noted])
    }

    /// Returns the record of a run that has ended. One that could not make its own is given one.
    fn noted(&self, working: &Working, exit: u8, now: i64) -> Result<Run> {
        let due = time::rfc3339(working.due);
        let is_it = |run: &&Run| {
            let is_of_it =
                |of: &Firing| of.schedule == self.schedule.name && of.due == due && of.attempt == working.attempt;
            is_of(run, self.found.name(), &self.found.called) && run.firing.as_ref().is_some_and(is_of_it)
        };
        if let Some(run) = self.catalogue.runs()?.iter().rev().find(is_it) {
            return Ok(run.clone());
        }
        let (from, to) = self.schedule.interval(working.due).unzip();
        let run = Run {
            id: 0,
            pipeline: self.found.name().to_string(),
            mode: Mode::Batch,
            by: format!("schedule {}", self.schedule.name),
            firing: Some(Firing { schedule: self.schedule.name.clone(), due, attempt: working.attempt }),
            outcome: if exit == 0 { Outcome::Done } else { Outcome::Failed },
            started: time::rfc3339(working.started),
            ended: Some(time::rfc3339(now)),
            exit: Some(exit),
            error: (exit != 0).then(|| Failed {
                code: "unnoted".into(),
                message: "it ended before it could be noted; what it said is with what the daemon said".into(),
            }),
            definition: None,
            from: from.map(time::rfc3339),
            to: to.map(time::rfc3339),
            command: vec!["run".into(), self.found.called.clone(), "--mode".into(), "batch".into()],
            pid: working.child.id(),
            user: None,
            version: version_line(),
            summary: None,
        };
        let id = self.catalogue.add(run.clone(), "")?;
        Ok(Run { id, ..run })
    }

    /// Returns what is known of its past; of a schedule that is seen for the first time, that it begins now.
    fn past(&self, now: i64) -> Result<Past> {
        let (pipeline, schedule) = (self.found.name(), self.schedule.name.as_str());
        let state = match self.catalogue.schedule(pipeline, schedule)? {
            Some(state) => state,
            None => {
                let state = State { since: now, paused: false };
                self.catalogue.put_schedule(pipeline, schedule, &state)?;
                state
            }
        };
        let decided = self.catalogue.firings(pipeline, schedule)?;
        let runs = self.catalogue.runs()?;
        let of_it = runs.iter().filter(|run| is_of(run, pipeline, &self.found.called));
        let mut attempts: Vec<Attempt> = of_it.filter_map(|run| attempt(run, schedule, now)).collect();
        // Its process has not noted its run yet, or is between two of several.
        let working = self.working.as_ref().filter(|working| !working.verifies);
        if let Some(working) = working.filter(|_| attempts.iter().all(|attempt| attempt.end != AttemptEnd::Running)) {
            let (due, number, started) = (working.due, working.attempt, working.started);
            attempts.push(Attempt { due, number, started, ended: now, end: AttemptEnd::Running });
        }
        Ok(Past { state, decided, attempts })
    }

    fn tell(&mut self, went_well: bool, due: i64, run: &Run) {
        let hook = if went_well { &self.schedule.on_success } else { &self.schedule.on_failure };
        let Some(hook) = hook else { return };
        let outcome = if went_well { "success" } else { "failure" };
        let json = json!({
            "pipeline": self.found.name(),
            "schedule": self.schedule.name,
            "due": time::rfc3339(due),
            "outcome": outcome,
            "run": run,
        });
        self.hooks.push(hook::tell(hook, &self.found.loaded.secrets.redact_json(json), &self.global));
    }

    fn say(&self, what: &str, due: i64, more: Value) {
        let (pipeline, schedule) = (self.found.name(), &self.schedule.name);
        if self.global.is_json() {
            let mut json = json!({"severity": "note", "pipeline": pipeline, "schedule": schedule});
            json["due"] = time::rfc3339(due).into();
            json["message"] = what.into();
            if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
                json.extend(more);
            }
            report::say_json(json);
        } else if !self.global.quiet {
            report::say(&format!("{pipeline} {schedule}  due {}: {what}\n", self.schedule.cron.local(due)));
        }
    }
}

/// Returns what a run is to the schedule that it is for.
fn attempt(run: &Run, schedule: &str, now: i64) -> Option<Attempt> {
    let firing = run.firing.as_ref().filter(|firing| firing.schedule == schedule)?;
    let end = match run.outcome {
        Outcome::Running => AttemptEnd::Running,
        Outcome::Done => AttemptEnd::Done,
        Outcome::Failed => AttemptEnd::Failed { environment: run.exit == Some(engine::error::Exit::Environment as u8) },
        Outcome::Stopped | Outcome::Lost => AttemptEnd::Lost,
    };
    Some(Attempt {
        due: time::parse(&firing.due).ok()?,
        number: firing.attempt,
        started: time::parse(&run.started).ok()?,
        ended: run.ended.as_deref().and_then(|ended| time::parse(ended).ok()).unwrap_or(now),
        end,
    })
}

fn cannot_wait(error: std::io::Error) -> Error {
    Error::new(Code::Io, format!("cannot wait for a process: {error}"))
}
