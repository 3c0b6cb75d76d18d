//! From what was written to what was understood: names, types and rules are checked here, and a [`Plan`] comes out.
//!
//! Each part reports what is wrong with it and goes on; a step that reads something wrong is skipped silently, so that
//! one mistake is reported once. The plan is only made when nothing was reported.

mod demand;
mod expression;
mod graph;
mod relation;
mod sink;
mod source;
mod step;

use engine::plan::{Plan, SinkPlan, SourcePlan, StepPlan};

use crate::problems::Problems;
use crate::spec::PipelineSpec;
use graph::Graph;
use relation::Relation;

/// Everything that is known while checking.
pub(crate) struct Checker<'a> {
    spec: &'a PipelineSpec,
    problems: &'a mut Problems,
    graph: Graph,
    sources: Vec<SourcePlan>,
    /// What each source gives to its readers; None where it is wrong.
    source_relations: Vec<Option<Relation>>,
    steps: Vec<StepPlan>,
    /// What each of `steps` sees before its row work.
    step_inputs: Vec<Relation>,
    /// For each step of the graph's order: its index in `steps` and what it gives to its readers; None where it is wrong.
    step_relations: Vec<Option<(usize, Relation)>>,
    sinks: Vec<SinkPlan>,
}

/// Checks a pipeline. Reports what is wrong; the plan is whole only if nothing was reported.
pub(crate) fn check(spec: &PipelineSpec, problems: &mut Problems) -> Plan {
    let graph = Graph::resolve(spec, problems);
    let mut checker = Checker {
        spec,
        problems,
        graph,
        sources: Vec::new(),
        source_relations: Vec::new(),
        steps: Vec::new(),
        step_inputs: Vec::new(),
        step_relations: Vec::new(),
        sinks: Vec::new(),
    };
    checker.check_sources();
    checker.check_steps();
    checker.check_sinks();
    checker.warn_unread();
    let mut plan = Plan {
        name: spec.name.clone(),
        sources: checker.sources,
        steps: checker.steps,
        sinks: checker.sinks,
        definition: String::new(),
    };
    demand::settle(&mut plan);
    plan.definition = crate::digest::definition(&plan);
    plan
}
