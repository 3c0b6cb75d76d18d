//! From what was written to what was understood: names, types and rules are checked here, and a [`Plan`] comes out.
//!
//! Each part reports what is wrong with it and goes on; a step that reads something wrong is skipped silently, so that
//! one mistake is reported once. The plan is only made when nothing was reported.

mod demand;
mod explode;
mod expression;
mod graph;
mod join;
mod lookup;
mod relation;
mod sink;
mod source;
mod step;
mod tombstones;

use engine::plan::{Input, OnBad, OnBroken, OnLate, Plan, SinkPlan, SinkTarget, SourcePlan, StepPlan, Work};
use engine::{DataType, Field, Schema};

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

/// What a pipeline means, for those who run it, ask about it and test it.
pub(crate) struct Plans {
    pub(crate) plan: Plan,
    pub(crate) observed: Plan,
    pub(crate) tested: Plan,
}

/// Checks a pipeline. Reports what is wrong; the plans are whole only if nothing was reported.
pub(crate) fn check(spec: &PipelineSpec, problems: &mut Problems) -> Plans {
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
    let error_count = checker.problems.errors.len();
    let mut plan = Plan {
        name: spec.name.clone(),
        sources: checker.sources,
        steps: checker.steps,
        sinks: checker.sinks,
        definition: String::new(),
        canonical: String::new(),
    };
    tombstones::find(&mut plan);
    if error_count == 0 {
        tombstones::warn(&plan, spec, checker.problems);
    }
    let whole = plan.clone();
    demand::settle(&mut plan);
    plan.canonical = crate::digest::canonical(&plan).to_string();
    plan.definition = crate::digest::definition(&plan.canonical);
    if error_count > 0 {
        // Of a plan that is not whole nothing can be observed.
        return Plans { plan, observed: whole.clone(), tested: whole };
    }
    let tested = observed(&plan, &whole);
    let mut observed = tested.clone();
    keep_all(&mut observed);
    Plans { plan, observed, tested }
}

/// Lets nothing late or bad be dropped or end the run. Which columns are read does not depend on it.
fn keep_all(plan: &mut Plan) {
    for source in &mut plan.sources {
        (source.on_bad, source.on_late) = (OnBad::Quarantine, OnLate::Quarantine);
    }
    for rule in plan.steps.iter_mut().flat_map(|step| &mut step.rules) {
        if rule.otherwise == OnBroken::Fail {
            rule.otherwise = OnBroken::Quarantine;
        }
    }
}

/// Returns a plan that gives the same rows and shows more of them: every step has a sink, and late and bad rows hold all
/// their columns. Its sinks have no kind that could be opened. `whole` is the plan before the columns were taken out of
/// joins that nothing reads.
fn observed(plan: &Plan, whole: &Plan) -> Plan {
    let mut plan = plan.clone();
    for (step, whole) in plan.steps.iter_mut().zip(&whole.steps) {
        if let (Work::Join(join), Work::Join(whole)) = (&mut step.work, &whole.work) {
            join.columns.clone_from(&whole.columns);
        }
    }
    let mut sinks = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let schema = if step.over_windows || matches!(step.work, Work::Window(_)) {
            step.schema.clone()
        } else {
            let mut schema = step.schema.clone();
            schema.fields.retain(|field| field.name != "_partition" && field.name != "_offset");
            schema
        };
        sinks.push((Input::Step(index), schema));
        let late = match &step.work {
            Work::Join(join) => join.late_columns(),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => step.row_schema.clone(),
        };
        sinks.push((Input::StepLate(index), late));
        sinks.push((Input::StepBad(index), input_schema(&plan, index)));
    }
    for (index, source) in plan.sources.iter().enumerate() {
        sinks.push((Input::SourceBad(index), source.bad_schema()));
    }
    let nowhere = SinkTarget { kind: "observed".into(), settings: Default::default() };
    let sink = |(number, (input, schema))| SinkPlan {
        name: format!("observed_{number}"),
        input,
        filter: None,
        select: None,
        schema,
        identity: Vec::new(),
        early: false,
        target: nowhere.clone(),
    };
    plan.sinks = sinks.into_iter().enumerate().map(sink).collect();
    demand::settle(&mut plan);
    plan
}

/// Returns the columns that a step's row work sees, without those of the log itself.
pub(crate) fn input_schema(plan: &Plan, step: usize) -> Schema {
    let step = &plan.steps[step];
    if let Work::Join(join) = &step.work {
        return Schema::new(join.columns.iter().map(|column| column.field.clone()).collect());
    }
    let mut fields: Vec<Field> = Vec::new();
    for input in &step.inputs {
        let schema = match input {
            Input::Source(source) => plan.sources[*source].schema(),
            Input::Step(input) => plan.steps[*input].schema.clone(),
            Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => {
                unreachable!("steps read sources and steps")
            }
        };
        let new = |field: &Field| !fields.iter().any(|known| known.name == field.name);
        let more: Vec<Field> = schema.fields.into_iter().filter(new).collect();
        fields.extend(more);
    }
    fields.extend(step.tag.iter().map(|tag| Field::new(tag, DataType::String)));
    let schema = Schema::new(fields);
    match &step.rows.explode {
        Some(explode) => explode.schema(&schema),
        None => schema,
    }
}
