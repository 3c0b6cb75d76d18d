//! Touch: which windows a change of the log can change, the other way round from [`crate::reach`].
//!
//! A record is looked at as a window of its own, `[t, t + 1)`, because the event time of a window's row is the last moment
//! before its end: so one rule takes a change from step to step. What comes out may be more than what changes, never less:
//! where a step makes windows of rows of windows, all go into it that those rows can be in, and a session may have begun as
//! long before a record as the longest one that was seen lasted.
//!
//! ```text
//! record at 12:07 ──► tumbling 10m ──► tumbling 1h          record at 12:07 ──► session, gap 30m, longest 2h
//!   [12:07, 12:07]     12:00 .. 12:10    12:00 .. 13:00       [12:07, 12:07]     09:37 .. 12:37
//! ```

use crate::plan::{Input, JoinTime, Plan, Work};
use crate::window::{Window, Windowing};

/// Windows that a change can change: all that start in `starts` and end in `ends`, both half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// Where they start. It ends where the windows after them start.
    pub starts: (i64, i64),
    /// Where they end.
    pub ends: (i64, i64),
}

impl Touch {
    /// Any window at all.
    pub const EVERYTHING: Self = Self { starts: (i64::MIN, i64::MAX), ends: (i64::MIN, i64::MAX) };

    /// Returns that of records with event times from `least` to `largest`.
    pub fn of_records(least: i64, largest: i64) -> Self {
        let after = largest.saturating_add(1);
        Self { starts: (least, after), ends: (least.saturating_add(1), after.saturating_add(1)) }
    }

    /// Returns that of a window, whose place ends where the next one starts.
    pub fn of_window(windowing: Windowing, window: Window) -> Self {
        let next = match windowing {
            Windowing::Fixed { every, .. } => window.start.saturating_add(every),
            Windowing::Cumulative { size, .. } => window.start.saturating_add(size),
            Windowing::Calendar { .. } | Windowing::Session { .. } | Windowing::Same => window.end,
        };
        Self { starts: (window.start, next), ends: (window.end, window.end.saturating_add(1)) }
    }

    /// Returns the least that holds both.
    pub fn hull(self, other: Self) -> Self {
        let widest = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        Self { starts: widest(self.starts, other.starts), ends: widest(self.ends, other.ends) }
    }
}

/// What a change at one place of a plan can change at the steps behind it.
#[derive(Clone, Copy, Debug)]
pub struct Touches<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// By step, how long the longest session lasted, from its first moment to its end; None: nobody knows.
    pub longest: &'a [Option<i64>],
    /// Whether records were changed or taken away; else they were added at the end of the log.
    pub is_rewritten: bool,
}

impl Touches<'_> {
    /// Returns by step what a change of records of a source can change there; None: nothing.
    pub fn of_source(&self, source: usize, records: Touch) -> Vec<Option<Touch>> {
        self.onward(Input::Source(source), records)
    }

    /// Returns by step what a change of rows of an input can change there, lateness apart; None: nothing.
    pub fn onward(&self, of: Input, change: Touch) -> Vec<Option<Touch>> {
        let mut touched: Vec<Option<Touch>> = vec![None; self.plan.steps.len()];
        if let Input::Step(step) = of {
            touched[step] = Some(change);
        }
        for (index, step) in self.plan.steps.iter().enumerate() {
            let of_input = |input: &Input| match input {
                Input::Step(before) => touched[*before],
                input => Some(change).filter(|_| *input == of),
            };
            let found = step.inputs.iter().filter_map(of_input).map(|change| self.at(index, change));
            touched[index] = found.chain(touched[index]).reduce(Touch::hull);
        }
        touched
    }

    /// Returns what a change of its input can change at a step.
    pub fn at(&self, step: usize, change: Touch) -> Touch {
        match &self.plan.steps[step].work {
            Work::Rows | Work::Lookup(_) => change,
            // A record of an id keeps others away that come after it in the log.
            Work::Dedup(dedup) if self.is_rewritten => {
                let later =
                    |(from, to): (i64, i64)| (from.saturating_sub(dedup.within), to.saturating_add(dedup.within));
                Touch { starts: later(change.starts), ends: later(change.ends) }
            }
            Work::Dedup(_) => change,
            Work::Window(window) => self.in_windows(step, window.windowing, change),
            Work::Join(join) => match join.time {
                JoinTime::Window(windowing) => {
                    let windows = self.in_windows(step, windowing, change);
                    // A joined row is known by its event time, the last moment of its window.
                    Touch {
                        starts: (windows.starts.0, windows.starts.1.max(windows.ends.1.saturating_sub(1))),
                        ..windows
                    }
                }
                JoinTime::Within { .. } | JoinTime::AsOf { .. } => Touch::EVERYTHING,
            },
        }
    }

    fn in_windows(&self, step: usize, windowing: Windowing, change: Touch) -> Touch {
        if windowing == Windowing::Same {
            return change;
        }
        let (first, last) = (change.ends.0.saturating_sub(1), change.ends.1.saturating_sub(2));
        if let Windowing::Session { gap } = windowing {
            let longest = self.longest[step];
            return Touch {
                // What begins up to a gap later may now be a part of what this begins.
                starts: (
                    longest.map_or(i64::MIN, |longest| first.saturating_sub(gap).saturating_sub(longest)),
                    last.saturating_add(gap),
                ),
                ends: (
                    first.saturating_sub(gap).saturating_add(1),
                    longest
                        .map_or(i64::MAX, |longest| last.saturating_add(gap).saturating_add(longest).saturating_add(1)),
                ),
            };
        }
        if !(is_ordinary(first) && is_ordinary(last)) {
            return Touch::EVERYTHING;
        }
        let all = [first, last.max(first)].map(|time| windowing.windows(time));
        let each = all.iter().flatten().map(|window| Touch::of_window(windowing, *window));
        each.reduce(Touch::hull).expect("a time is in a window")
    }
}

/// Returns where the windows of each step begin that may be open yet: those that start before are all final. `complete` is how
/// far the steps' outputs are complete; of rows of records, which are final at once, it is not asked.
pub fn open_from(plan: &Plan, complete: &[i64], longest: &[Option<i64>]) -> Vec<i64> {
    let mut open: Vec<i64> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let before = |open: &[i64]| step.inputs.iter().filter_map(|input| open.get(input.step()?).copied()).min();
        let of_windows = |windowing: Windowing| match windowing {
            Windowing::Same => before(&open).unwrap_or(i64::MAX),
            Windowing::Session { .. } => {
                longest[index].map_or(i64::MIN, |longest| complete[index].saturating_sub(longest))
            }
            _ if !is_ordinary(complete[index]) => complete[index],
            _ => windowing.windows(complete[index]).iter().map(|window| window.start).min().unwrap_or(i64::MIN),
        };
        open.push(match &step.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => before(&open).unwrap_or(i64::MAX),
            Work::Window(window) => of_windows(window.windowing),
            Work::Join(join) => match join.time {
                JoinTime::Window(windowing) => of_windows(windowing),
                JoinTime::Within { .. } | JoinTime::AsOf { .. } => complete[index],
            },
        });
    }
    open
}

/// Returns true for a time that has windows around it which end before time does.
fn is_ordinary(time: i64) -> bool {
    (i64::MIN / 4..i64::MAX / 4).contains(&time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{self, Unit};

    fn windowings() -> Vec<Windowing> {
        let zone = calendar::zone("Europe/Berlin").unwrap();
        vec![
            Windowing::Fixed { size: 60, every: 60, offset: 0 },
            Windowing::Fixed { size: 60, every: 60, offset: 7 },
            Windowing::Fixed { size: 60, every: 25, offset: 3 },
            Windowing::Cumulative { size: 60, step: 20, offset: 5 },
            Windowing::Calendar { unit: Unit::Day, zone },
            Windowing::Calendar { unit: Unit::Month, zone },
        ]
    }

    /// Times around boundaries of small windows, and around a day on which clocks are put.
    fn times() -> impl Iterator<Item = i64> {
        (-130..130).chain((0..200).map(|number| 1_774_740_000_000_000 + number * 1_800_000_000))
    }

    #[test]
    fn the_place_of_a_window_ends_where_the_next_one_begins() {
        for windowing in windowings() {
            for window in times().flat_map(|time| windowing.windows(time)) {
                let (from, to) = Touch::of_window(windowing, window).starts;
                let next = windowing.windows(to).into_iter().map(|next| next.start).max();
                assert_eq!((from, Some(to)), (window.start, next), "{windowing:?} {window:?}");
                let between = windowing.windows(to - 1).into_iter().map(|other| other.start).max();
                assert_eq!(between, Some(window.start), "{windowing:?} {window:?}");
            }
        }
    }

    #[test]
    fn windows_are_open_from_the_first_that_ends_after_what_is_complete() {
        for windowing in windowings() {
            for complete in times() {
                let open = windowing.windows(complete).iter().map(|window| window.start).min().unwrap();
                for window in [complete - 200, complete - 1, complete, complete + 1, complete + 70]
                    .map(|time| windowing.windows(time))
                    .concat()
                {
                    // Of windows that begin together the last one decides.
                    let last = windowing
                        .windows(window.start)
                        .into_iter()
                        .filter(|other| other.start == window.start)
                        .map(|other| other.end)
                        .max()
                        .unwrap();
                    assert_eq!(window.start < open, last <= complete, "{windowing:?} {window:?} {complete}");
                }
            }
        }
    }
}
