//! The definition language: YAML with SQL expressions, checked into a plan.
//!
//! A text goes through four hands: `yaml` makes a tree whose nodes know where they stand, [`variables`] puts values into
//! it, `spec` reads it by the tables in `fields` into what was written, and `check` makes of that what is meant: a
//! [`Plan`]. Whatever is wrong comes back as errors with places, several at once where that is possible.

mod check;
mod fields;
mod foreign;
mod problems;
mod read;
mod spec;
mod suggest;
mod table;
mod yaml;

#[cfg(test)]
mod tests;

pub mod cases;
pub mod diagnostic;
pub mod digest;
pub mod duration;
pub mod explain;
pub mod reference;
pub mod schema;
pub mod size;
pub mod sql;
pub mod variables;

use check::Plans;
use engine::plan::Plan;
use engine::schedule::Schedule;
use engine::{Code, Error};

pub use fields::sink_kinds;
pub use suggest::nearest;
pub use variables::{Secrets, Variables};

/// A pipeline file that was understood.
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// A plan that gives the same rows and shows more of them: every step has a sink (of a kind that is never opened),
    /// nothing late or bad is dropped or ends the run, and late and bad rows hold all their columns.
    pub observed: Plan,
    /// What `samestream test` runs: as `observed`, but what is late or bad is kept, dropped or ends the run as in a run.
    pub tested: Plan,
    /// What is odd in it but not wrong.
    pub warnings: Vec<Error>,
    /// What it says for people.
    pub about: About,
    /// What must not be shown of it.
    pub secrets: Secrets,
    /// When it is to be run again; not part of the definition.
    pub schedules: Vec<Schedule>,
    /// Its tests.
    pub cases: Vec<cases::Case>,
}

/// What a pipeline file says for people and for choosing pipelines; not part of the definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Words to select it by.
    pub tags: Vec<String>,
}

/// Reads a pipeline file. `path` is only for messages; `text` is the file's text.
pub fn load(path: &str, text: &str, variables: &Variables) -> Result<Loaded, Vec<Error>> {
    let mut problems = problems::Problems::new(path, text);
    let loaded = understand(&mut problems, variables);
    let (errors, warnings) = problems.finish(loaded.as_ref().map(|(.., secrets)| secrets));
    match loaded {
        Some((Some(understood), secrets)) if errors.is_empty() => {
            let (Plans { mut plan, observed, tested }, about, schedules, cases) = understood;
            // It is kept beside the state.
            plan.canonical = explain::redacted(&plan.canonical, &secrets);
            Ok(Loaded { plan, observed, tested, warnings, about, secrets, schedules, cases })
        }
        _ if errors.is_empty() => Err(vec![Error::new(Code::Yaml, "the file cannot be read")]),
        _ => Err(errors),
    }
}

type Understood = (Plans, About, Vec<Schedule>, Vec<cases::Case>);

fn understand(problems: &mut problems::Problems, variables: &Variables) -> Option<(Option<Understood>, Secrets)> {
    let mut tree = yaml::parse(problems)?;
    let (mut table, secrets) = variables::Table::read(&tree, variables, problems);
    table.fill(&mut tree, problems);
    let Some(spec) = spec::PipelineSpec::read(&tree, problems) else { return Some((None, secrets)) };
    let plans = check::check(&spec, problems);
    let about = About { description: spec.description, owner: spec.owner, tags: spec.tags };
    // What a case may name is known only of a whole plan.
    let cases =
        if problems.errors.is_empty() { cases::check(&spec.cases, &plans.tested, problems) } else { Vec::new() };
    Some((Some((plans, about, spec.schedules, cases)), secrets))
}
