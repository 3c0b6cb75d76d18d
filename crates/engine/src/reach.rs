//! Reach: which records the rows of a range are made of, so that a driver may leave others unread.
//!
//! A range selects rows by their window's start (record-level rows by event time). Going back from the sinks, every step
//! and source gets the span of start or event times that those rows can be made of. Lateness is not in it: what is
//! accepted depends on running maxima, which the driver keeps whether it reads a record or not.
//!
//! ```text
//! source ──► sessions, gap 30m ──► hopping, size 1h ──► sink, rows from 12:00 to 13:00
//!   any  ◄──      any          ◄──   12:00 .. 13:00      a session has any length
//!
//! source ──────► tumbling, 10m ──► tumbling, 1h ──────► sink, rows from 12:00 to 13:00
//!   11:50 .. 14:10 ◄── 11:50 .. 14:00 ◄── 12:00 .. 13:00
//! ```

use crate::calendar::Unit;
use crate::plan::{Input, Plan, Work};
use crate::window::Windowing;

/// A half-open span of window starts or event times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least time in it; `i64::MIN`: none is too small.
    pub from: i64,
    /// The first time past it; `i64::MAX`: none is too large.
    pub to: i64,
}

impl Span {
    const NOTHING: Self = Self { from: i64::MAX, to: i64::MIN };
    const EVERYTHING: Self = Self { from: i64::MIN, to: i64::MAX };

    /// Returns true when the time is in it.
    pub fn contains(&self, time: i64) -> bool {
        self.from <= time && (time < self.to || self.to == i64::MAX)
    }

    /// Returns true when no time from `least` (None: unknown) to `largest` is in it. Both are of valid records; where
    /// there is none, `least` is `i64::MAX` and `largest` is `i64::MIN`.
    pub fn misses(&self, least: Option<i64>, largest: i64) -> bool {
        *self != Self::EVERYTHING
            && (largest < self.from || self.to < i64::MAX && least.is_some_and(|least| least >= self.to))
    }

    fn widen(&mut self, other: Self) {
        *self = Self { from: self.from.min(other.from), to: self.to.max(other.to) };
    }
}

/// What the rows of a range are made of, for each source and step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    sources: Vec<Span>,
    steps: Vec<Span>,
}

impl Reach {
    /// Works it out for rows in `[from, to)`.
    pub fn new(plan: &Plan, (from, to): (Option<i64>, Option<i64>)) -> Self {
        let selected = Span { from: from.unwrap_or(i64::MIN), to: to.unwrap_or(i64::MAX) };
        let mut reach =
            Self { sources: vec![Span::NOTHING; plan.sources.len()], steps: vec![Span::NOTHING; plan.steps.len()] };
        for sink in &plan.sinks {
            match sink.input {
                Input::Step(_) | Input::Source(_) => reach.need(sink.input, selected),
                // What is kept aside is no row of the range: a sink that reads it gets all of it, so all is read.
                Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => {
                    reach.sources.fill(Span::EVERYTHING);
                    reach.steps.fill(Span::EVERYTHING);
                    return reach;
                }
            }
        }
        for (index, step) in plan.steps.iter().enumerate().rev() {
            let rows = reach.steps[index];
            if rows == Span::NOTHING {
                continue;
            }
            for input in &step.inputs {
                reach.need(*input, of_input(plan, *input, &step.work, rows));
            }
        }
        reach
    }

    /// Returns the span of event times of a source's records that matter.
    pub fn source(&self, index: usize) -> Span {
        self.sources[index]
    }

    /// Returns the span of window starts of a step's rows that matter (of record-level rows: of their event times). Rows
    /// outside of it may be made of a part of their records only.
    pub fn step(&self, index: usize) -> Span {
        self.steps[index]
    }

    fn need(&mut self, input: Input, span: Span) {
        match input {
            Input::Source(source) => self.sources[source].widen(span),
            Input::Step(step) => self.steps[step].widen(span),
            Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => unreachable!("steps read results"),
        }
    }
}

/// Returns which rows of an input the rows in `rows` of a step with that work are made of.
fn of_input(plan: &Plan, input: Input, work: &Work, rows: Span) -> Span {
    let times = match work {
        // Such a row has the start, or the event time, of the row that it is made of.
        Work::Rows | Work::Lookup(_) => return rows,
        // Rows of both sides that meet may be of any age, so all is read.
        Work::Join(_) => return Span::EVERYTHING,
        // A row stays unless an earlier one of its id is less than `within` before it, or at any time after it.
        Work::Dedup(dedup) => Span { from: rows.from.saturating_sub(dedup.within), to: i64::MAX },
        Work::Window(window) => match window.windowing {
            Windowing::Same => return rows,
            // The last window that counts begins before `to` and ends less than its length later.
            Windowing::Fixed { size: length, .. } | Windowing::Cumulative { size: length, .. } => {
                Span { from: rows.from, to: rows.to.saturating_add(length) }
            }
            Windowing::Calendar { unit, .. } => Span { from: rows.from, to: rows.to.saturating_add(at_most(unit)) },
            // Whether a record begins a session is seen from those within the gap before it; it may go on without end.
            Windowing::Session { gap } => Span { from: rows.from.saturating_sub(gap), to: i64::MAX },
        },
    };
    match input.step().filter(|step| is_windowed(plan, *step)) {
        None => times,
        // The event time of a window's row is the last moment before its end.
        Some(step) => Span {
            from: longest(plan, step).map_or(i64::MIN, |longest| times.from.saturating_sub(longest)),
            to: times.to,
        },
    }
}

fn is_windowed(plan: &Plan, step: usize) -> bool {
    plan.steps[step].over_windows || matches!(plan.steps[step].work, Work::Window(_) | Work::Join(_))
}

/// Returns the length of the longest window that rows of a step may have; None: there is none.
fn longest(plan: &Plan, step: usize) -> Option<i64> {
    let windowing = match &plan.steps[step].work {
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) => None,
        Work::Window(window) => Some(window.windowing),
        Work::Join(_) => return None,
    };
    match windowing {
        Some(Windowing::Fixed { size, .. } | Windowing::Cumulative { size, .. }) => Some(size),
        Some(Windowing::Calendar { unit, .. }) => Some(at_most(unit)),
        Some(Windowing::Session { .. }) => None,
        None | Some(Windowing::Same) => {
            let mut inputs = plan.steps[step].inputs.iter();
            inputs.try_fold(0, |most, input| Some(longest(plan, input.step()?)?.max(most)))
        }
    }
}

/// Returns a length that no day, week or month of any zone exceeds: clocks are put back by a day at most.
fn at_most(unit: Unit) -> i64 {
    let days = match unit {
        Unit::Day => 1,
        Unit::Week => 7,
        Unit::Month => 31,
    };
    (days + 1) * 86_400_000_000
}
