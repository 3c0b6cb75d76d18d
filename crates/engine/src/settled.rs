//! How far the rows of a step are settled: windows that begin before a time are final, all of them.
//!
//! A run over a range and a stream may write the same sink. What both have settled is the same in both, and never comes
//! again from either; so one may replace it while the other goes on.

use crate::plan::{Input, Plan, Work};
use crate::task::Engine;
use crate::watermark::NEVER;
use crate::window::Windowing;

/// Before this, about 36,000 years ago, nothing is settled: no arithmetic with windows leaves the times that there are.
const EARLIEST: i64 = -(1 << 60);

impl Plan {
    /// Returns whether the rows of an input are of windows that are settled in the order in which they begin, so that of two
    /// frontiers the lesser one's rows are those of the windows that begin before some time. Not so records and pairs; sessions,
    /// of which the first to begin may be the last to end; windows that begin together; and windows of several kinds.
    pub fn settles(&self, input: Input) -> bool {
        matches!(input, Input::Step(step) if windowing(self, step).is_some())
    }
}

impl Engine {
    /// Returns for each step the time before which no window begins that is still to bring a row, if the frontiers stand
    /// there; `i64::MIN` where that is not known of any. Where the step [settles](Plan::settles), all windows that begin at or
    /// after it are still to bring theirs.
    pub fn settled(&self, frontiers: &[i64]) -> Vec<i64> {
        let of = |(step, complete): (usize, i64)| match windowing(self.plan(), step) {
            // The windows that end after a time and begin first are among those that hold it.
            Some(windowing) if complete >= EARLIEST => {
                windowing.windows(complete).iter().map(|window| window.start).min().unwrap_or(NEVER)
            }
            _ => NEVER,
        };
        self.complete(frontiers).into_iter().enumerate().map(of).collect()
    }
}

/// Returns the windows that a step's rows are of, if they are side by side or overlap by the time alone.
fn windowing(plan: &Plan, step: usize) -> Option<Windowing> {
    let of_inputs = || {
        let mut inputs = plan.steps[step].inputs.iter().map(|input| windowing(plan, input.step()?));
        let first = inputs.next()??;
        inputs.all(|other| other == Some(first)).then_some(first)
    };
    match &plan.steps[step].work {
        Work::Rows | Work::Lookup(_) if plan.steps[step].over_windows => of_inputs(),
        Work::Rows | Work::Lookup(_) | Work::Dedup(_) | Work::Join(_) => None,
        Work::Window(window) => match window.windowing {
            Windowing::Same => of_inputs(),
            Windowing::Fixed { .. } | Windowing::Calendar { .. } => Some(window.windowing),
            Windowing::Cumulative { .. } | Windowing::Session { .. } => None,
        },
    }
}
