//! What is to be done about a schedule at a moment: a function of the schedule, of what is known of its firings, and of the
//! time, which arrives as an argument. Whoever does it – a daemon, a test with a clock of its own – asks again afterwards.
//!
//! What it goes by:
//! - A firing is decided once: it runs (with its repetitions), or is left out for a reason that is kept. So a clock that is set
//!   back fires nothing twice, and one that was ahead for a while has decided what it has decided.
//! - Nothing is due from before a schedule was first seen, and nothing that fell into a pause.
//! - A firing that nobody started in time was missed – the machine slept, no daemon ran –; so is one whose run was lost or
//!   stopped. Of those that were missed `catch_up` chooses.
//! - A run that waits to be repeated is one that goes on: `overlap` holds.

use engine::schedule::{CatchUp, Overlap, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A firing that has not begun so long after it should have was missed.
pub const IN_TIME: i64 = 60_000_000;

/// More firings than this are not looked at together: of more, those before are left out without a note.
const MOST: usize = CatchUp::MOST;

/// What is kept of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When it was first seen, in microseconds since 1970: nothing before is due.
    pub since: i64,
    /// Whether it is paused.
    pub paused: bool,
}

/// What was decided about a firing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// When it was due, in microseconds since 1970.
    pub due: i64,
    /// When it was decided.
    pub at: i64,
    /// What.
    pub what: What,
    /// Whether a run of it has ended. One that was noted, has not, and is in no record was never started.
    #[serde(default)]
    pub has_run: bool,
    /// What `then: verify` ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<u8>,
}

/// What became of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It runs, or has run.
    Run,
    /// Nobody was there, and `catch_up` chose others or none.
    Missed,
    /// An earlier run went on.
    Overlapped,
    /// The schedule was paused.
    Paused,
}

impl What {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            What::Run => "run",
            What::Missed => "missed",
            What::Overlapped => "overlapped",
            What::Paused => "paused",
        }
    }
}

/// A try at the run of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When the firing was due.
    pub due: i64,
    /// Which try, from 1.
    pub number: u32,
    /// When it began.
    pub started: i64,
    /// When it ended; of one that goes on the moment at which it is asked.
    pub ended: i64,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It goes on.
    Running,
    /// All went well.
    Done,
    /// It failed: of what repeating may help against, or not.
    Failed {
        /// Whether the environment failed (exit code 4).
        environment: bool,
    },
    /// It was killed, stopped, or its machine went down.
    Lost,
}

/// What is known of a schedule's past.
#[derive(Clone, Debug)]
pub struct Past {
    /// What is kept of it.
    pub state: State,
    /// What was decided, in the order in which it was due.
    pub decided: Vec<Decided>,
    /// The tries at its runs, in the order in which they began.
    pub attempts: Vec<Attempt>,
}

/// A thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Note that a firing is left out.
    Leave {
        /// When it was due.
        due: i64,
        /// Why.
        what: What,
    },
    /// Stop the run of a firing.
    Stop {
        /// When that one was due.
        due: i64,
    },
    /// Note that a firing runs, and start it.
    Start {
        /// When it was due.
        due: i64,
        /// Which try.
        attempt: u32,
    },
}

/// What to do now, and when to ask again at the latest if nothing happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The things to do, in order; at most one of them is a start, and that is the last.
    pub acts: Vec<Act>,
    /// The next moment at which there may be something to do.
    pub wake: Option<i64>,
}

/// Decides what to do about the schedule of a pipeline.
pub fn decide(pipeline: &str, schedule: &Schedule, past: &Past, now: i64) -> Decision {
    let begins = |due: i64| schedule.begins(pipeline, due);
    // What a clock decided that was ahead is no reason to wait for it.
    let decided = past.decided.iter().map(|decided| decided.due).filter(|due| *due <= now).max();
    let last = decided.unwrap_or(i64::MIN).max(past.state.since);
    let mut due: Vec<i64> = Vec::new();
    let mut next = None;
    for time in schedule.cron.between(last, i64::MAX) {
        // In order: a firing whose own delay is shorter waits for the one before it.
        if time > now || begins(time) > now {
            next = Some(begins(time).max(now + 1));
            break;
        }
        due.push(time);
        if due.len() == 2 * MOST {
            due.drain(..MOST);
        }
    }
    due.drain(..due.len().saturating_sub(MOST));
    let mut decision = Decision { acts: Vec::new(), wake: next };
    if past.state.paused {
        decision.acts.extend(due.into_iter().map(|due| Act::Leave { due, what: What::Paused }));
        return decision;
    }
    let going = Going::of(schedule, past);
    let (since, of, retry) = match going {
        Going::On { since, due, retry } => (since, due, retry),
        Going::Idle { lost } => {
            decision.catch_up(schedule, past, (lost, &due), now, begins);
            return decision;
        }
    };
    // While firings from before the run wait to be caught up with, those that come join them, so that none is overtaken.
    let overlaps = due.first().is_some_and(|due| begins(*due) > since);
    match (schedule.overlap, retry) {
        (Overlap::Skip, _) if overlaps => {
            decision.acts.extend(due.iter().map(|due| Act::Leave { due: *due, what: What::Overlapped }));
            decision.repeat(going, now);
        }
        (Overlap::CancelRunning, None) if overlaps => decision.acts.push(Act::Stop { due: of }),
        // Nothing is to be stopped of what only waits to be repeated.
        (Overlap::CancelRunning, Some(_)) if overlaps => decision.catch_up(schedule, past, (None, &due), now, begins),
        (Overlap::Skip | Overlap::Queue | Overlap::CancelRunning, _) => decision.repeat(going, now),
    }
    decision
}

/// Returns whether the run of the latest firing will be repeated by itself, as far as can be said now.
pub fn will_repeat(schedule: &Schedule, past: &Past) -> bool {
    match Going::of(schedule, past) {
        Going::On { retry, .. } => retry.is_some(),
        Going::Idle { lost } => lost.is_some() && schedule.catch_up != CatchUp::None,
    }
}

/// Whether a firing is being worked on.
#[derive(Clone, Copy, Debug)]
enum Going {
    Idle {
        /// The firing that was worked on last, if its run was lost and may begin again, and as which try.
        lost: Option<(i64, u32)>,
    },
    On {
        /// When the first try at it began.
        since: i64,
        /// When it was due.
        due: i64,
        /// When it is to be tried again, and which try that is; None: it runs.
        retry: Option<(i64, u32)>,
    },
}

impl Going {
    fn of(schedule: &Schedule, past: &Past) -> Self {
        // Noted as one that runs, and whoever noted it died before it ran.
        let is_begun = |due: i64| past.attempts.iter().any(|attempt| attempt.due == due);
        let noted = past.decided.iter().rfind(|decided| decided.what == What::Run);
        let noted = noted.filter(|noted| !noted.has_run && !is_begun(noted.due));
        let running = past.attempts.iter().rev().find(|attempt| attempt.end == AttemptEnd::Running);
        let lost = noted.map(|noted| (noted.due, 1)).filter(|_| running.is_none());
        let Some(last) = running.or(past.attempts.last()).filter(|_| lost.is_none()) else {
            return Self::Idle { lost };
        };
        // Tries that follow each other are one run; one that was lost was not going on until it began again.
        let tries = past.attempts.iter().rev().skip_while(|attempt| !std::ptr::eq(*attempt, last));
        let tries = tries.take_while(|attempt| attempt.due == last.due);
        let first = tries.take_while(|attempt| std::ptr::eq(*attempt, last) || attempt.end != AttemptEnd::Lost).last();
        let on = |retry| Self::On { since: first.unwrap_or(last).started, due: last.due, retry };
        match (last.end, schedule.retry) {
            (AttemptEnd::Running, _) => on(None),
            (AttemptEnd::Failed { environment: true }, Some(retry)) if last.number <= retry.times => {
                on(Some((last.ended + retry.wait(last.number), last.number + 1)))
            }
            // Repeating a run replaces the same rows by the same rows. But what kills it each time must not go on for ever.
            (AttemptEnd::Lost, retry) if last.number <= retry.map_or(1, |retry| retry.times.max(1)) => {
                Self::Idle { lost: Some((last.due, last.number + 1)) }
            }
            (AttemptEnd::Done | AttemptEnd::Failed { .. } | AttemptEnd::Lost, _) => Self::Idle { lost: None },
        }
    }
}

impl Decision {
    /// Tries again what waits for it.
    fn repeat(&mut self, going: Going, now: i64) {
        let Going::On { due, retry: Some((at, attempt)), .. } = going else { return };
        if at <= now {
            self.acts.push(Act::Start { due, attempt });
        } else {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    /// Chooses one of the firings that are due, and the one before them whose run was lost.
    fn catch_up(
        &mut self,
        schedule: &Schedule,
        past: &Past,
        (lost, due): (Option<(i64, u32)>, &[i64]),
        now: i64,
        begins: impl Fn(i64) -> i64,
    ) {
        let waited = |due: i64| past.attempts.iter().any(|run| (run.started..=run.ended).contains(&begins(due)));
        let is_in_time = |due: i64| now - begins(due) <= IN_TIME;
        let kept = match schedule.catch_up {
            // One that waited in the queue was not missed.
            CatchUp::None => {
                let waits = |due: i64| schedule.overlap == Overlap::Queue && waited(due);
                due.iter().rposition(|due| is_in_time(*due) || waits(*due)).map(|at| at..at + 1)
            }
            CatchUp::Latest => due.len().checked_sub(1).map(|at| at..at + 1),
            CatchUp::All { max } => (!due.is_empty()).then(|| due.len().saturating_sub(max)..due.len()),
        };
        let left = |at: &usize| kept.as_ref().is_none_or(|kept| *at < kept.start || *at >= kept.end);
        for at in (0..due.len()).filter(left) {
            let what = if waited(due[at]) { What::Overlapped } else { What::Missed };
            self.acts.push(Act::Leave { due: due[at], what });
        }
        // The lost one counts as missed. It was stopped for those that are due now where these stop what runs.
        let again = lost.filter(|_| match schedule.catch_up {
            CatchUp::None => false,
            CatchUp::Latest => due.is_empty(),
            CatchUp::All { .. } => due.is_empty() || schedule.overlap != Overlap::CancelRunning,
        });
        match (again, kept) {
            (Some((due, attempt)), _) => self.acts.push(Act::Start { due, attempt }),
            (None, Some(kept)) => self.acts.push(Act::Start { due: due[kept.start], attempt: 1 }),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
