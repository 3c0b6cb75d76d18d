//! Row steps over windows and joins: what they made of the rows that they read.

use std::collections::HashMap;

use engine::plan::{Plan, Work};
use engine::trace::{Event, Fate, Name};
use engine::{Code, Engine, Error, Result};

use super::{Answer, Row, columns_text, filter_text};
use crate::job::RunOptions;
use crate::walk::{Visitor, walk};

/// Returns the one step with windows, or the join, whose rows a row step reads, and the row steps on the way, that one last.
pub(super) fn makers(plan: &Plan, step: usize) -> Result<(usize, Vec<usize>)> {
    let (mut at, mut through) = (step, Vec::new());
    loop {
        let here = &plan.steps[at];
        match &here.work {
            Work::Window(_) | Work::Join(_) => {
                through.reverse();
                return Ok((at, through));
            }
            Work::Rows | Work::Lookup(_) | Work::Dedup(_) => {}
        }
        let asked = &plan.steps[step].name;
        let before: Vec<usize> = here.inputs.iter().filter_map(|input| input.step()).collect();
        let names = || before.iter().map(|before| plan.steps[*before].name.as_str()).collect::<Vec<_>>().join(", ");
        let refused = |what: &str| {
            Error::new(Code::Usage, format!("`{asked}` has no windows of its own, and {what}"))
                .help(format!("ask about the rows that come to it: {}", names()))
        };
        if here.rows.explode.is_some() {
            return Err(refused("the rows that it reads are exploded"));
        }
        let [only] = before.as_slice() else { return Err(refused("it reads rows of several steps")) };
        through.push(at);
        at = *only;
    }
}

/// Says what row steps made of the rows of an answer.
pub(super) fn follow(engine: &Engine, answer: &mut Answer, through: &[usize], options: &RunOptions) -> Result<()> {
    let mut follower = Follower { engine, through, rows: HashMap::new() };
    follower.rows.extend(answer.rows.drain(..).enumerate().map(|(number, row)| (row.id.clone(), (number, row))));
    walk(engine.plan(), options, &mut follower)?;
    let mut rows: Vec<(usize, Row)> = follower.rows.into_values().collect();
    rows.sort_by_key(|(number, _)| *number);
    answer.rows = rows.into_iter().map(|(_, row)| row).collect();
    answer.step = engine.plan().steps[*through.last().expect("rows go through some step")].name.clone();
    Ok(())
}

struct Follower<'a> {
    engine: &'a Engine,
    through: &'a [usize],
    /// By name, with their numbers.
    rows: HashMap<Name, (usize, Row)>,
}

impl Visitor for Follower<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if !self.through.contains(&event.step) {
            return;
        }
        let Some((_, row)) = self.rows.get_mut(&event.name) else { return };
        let step = &self.engine.plan().steps[event.step];
        match &event.fate {
            Fate::Filtered => {
                row.dropped =
                    Some(format!("filtered at `{}`: {}", step.name, filter_text(self.engine.plan(), event.step)));
            }
            Fate::Failed(why) => row.dropped = Some(format!("failed at `{}`: {why}", step.name)),
            Fate::Passed(_) => {
                row.columns = columns_text(event.columns.0, event.columns.1);
                row.columns.retain(|(name, _)| step.schema.field(name).is_some());
            }
            Fate::Read | Fate::Repeated(_) | Fate::InWindow { .. } | Fate::InSession { .. } | Fate::AtSide { .. } => {}
        }
    }
}
