//! Who reads whom: one namespace of sources and steps, and an order of steps that does not depend on the file's.

use std::collections::BTreeMap;

use engine::Code;

use crate::problems::Problems;
use crate::spec::PipelineSpec;
use crate::suggest::{did_you_mean, list};
use crate::yaml::Scalar;

/// What a name stands for: an index into the order of sources or of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Source(usize),
    Step(usize),
}

/// The resolved names.
pub(super) struct Graph {
    /// Indices into the file's sources, by name.
    pub(super) sources: Vec<usize>,
    /// Indices into the file's steps; each after the steps it reads, otherwise by name.
    pub(super) steps: Vec<usize>,
    /// What each step (in the order of `steps`) reads, as it is written; None where that is wrong.
    pub(super) inputs: Vec<Option<Vec<Target>>>,
    names: BTreeMap<String, Target>,
}

impl Graph {
    /// Resolves what every step reads and puts the steps in order.
    pub(super) fn resolve(spec: &PipelineSpec, problems: &mut Problems) -> Self {
        let mut sources: Vec<usize> = (0..spec.sources.len()).collect();
        sources.sort_by(|a, b| spec.sources[*a].name.text.cmp(&spec.sources[*b].name.text));
        // A name that is taken twice is the source's.
        let is_source = |name: &str| spec.sources.iter().any(|source| source.name.text == name);
        let steps = spec.steps.iter().enumerate().map(|(i, step)| (step.name.text.as_str(), i));
        let by_name: BTreeMap<&str, usize> = steps.filter(|(name, _)| !is_source(name)).collect();
        for step in &spec.steps {
            if let Some(source) = spec.sources.iter().find(|source| source.name.text == step.name.text) {
                let line = problems.line(source.name.span.start);
                problems
                    .error(
                        Code::Name,
                        step.name.span,
                        format!("the name `{}` is taken by a source", step.name.text),
                        "the second use",
                    )
                    .help = Some(format!("sources and steps share their names; the source is in line {line}"));
            }
        }
        let reads = |i: usize| -> Vec<usize> {
            spec.steps[i].from.iter().filter_map(|from| by_name.get(from.text.as_str())).copied().collect()
        };
        let (steps, in_order) = order(spec, reads, problems);
        let mut names: BTreeMap<String, Target> =
            steps.iter().enumerate().map(|(i, step)| (spec.steps[*step].name.text.clone(), Target::Step(i))).collect();
        names.extend(
            sources.iter().enumerate().map(|(i, source)| (spec.sources[*source].name.text.clone(), Target::Source(i))),
        );
        let mut graph = Self { sources, steps, inputs: Vec::new(), names };
        graph.inputs = graph
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| {
                let from = &spec.steps[*step].from;
                if at >= in_order || from.is_empty() {
                    return None;
                }
                let found: Vec<_> = from.iter().map(|name| graph.find(name, "a step reads", problems)).collect();
                found.into_iter().collect()
            })
            .collect();
        graph
    }

    /// Returns what a name stands for, or reports it.
    pub(super) fn find(&self, name: &Scalar, reader: &str, problems: &mut Problems) -> Option<Target> {
        let found = self.names.get(&name.text).copied();
        if found.is_none() {
            let error = problems.error(
                Code::Name,
                name.span,
                format!("there is no source or step `{}`", name.shown()),
                "not a name of this file",
            );
            error.help = Some(match name.text.rsplit_once('.') {
                Some((_, "bad" | "late")) => {
                    format!("{reader} sources and steps; `.bad` and `.late` rows go to sinks only")
                }
                _ if name.text.contains([',', ' ']) && !name.text.contains('(') => {
                    let parts: Vec<&str> = name.shown().split([',', ' ']).filter(|part| !part.is_empty()).collect();
                    format!("{reader} a name; several are a union: `from: [{}]`", parts.join(", "))
                }
                _ if name.text.starts_with("ref(") || name.text.starts_with("source(") => {
                    format!("write the name alone; {reader} one of: {}", list(self.names.keys().map(String::as_str)))
                }
                _ => did_you_mean(name.shown(), &format!("{reader} one of"), self.names.keys().map(String::as_str)),
            });
        }
        found
    }
}

/// Returns the steps in an order in which each comes after those it reads: always the first by name among those that
/// are ready. Circles are reported; the steps in them, and behind them, come last. Also returns how many are in order.
fn order(spec: &PipelineSpec, reads: impl Fn(usize) -> Vec<usize>, problems: &mut Problems) -> (Vec<usize>, usize) {
    let mut waiting: BTreeMap<&str, usize> =
        spec.steps.iter().enumerate().map(|(i, step)| (step.name.text.as_str(), i)).collect();
    let mut order: Vec<usize> = Vec::new();
    let mut is_done = vec![false; spec.steps.len()];
    while let Some(ready) = waiting.values().copied().find(|i| reads(*i).iter().all(|input| is_done[*input])) {
        waiting.remove(spec.steps[ready].name.text.as_str());
        is_done[ready] = true;
        order.push(ready);
    }
    // What is left waits for a circle, or is in one.
    let in_order = order.len();
    order.extend(waiting.values());
    let mut reported = vec![false; spec.steps.len()];
    for start in waiting.into_values() {
        let mut path = vec![start];
        let mut at = start;
        // A step that waits has an input that waits.
        while let Some(next) = reads(at).into_iter().find(|next| !is_done[*next] && !reported[*next]) {
            if let Some(first) = path.iter().position(|step| *step == next) {
                report_circle(spec, &path[first..], problems);
                break;
            }
            path.push(next);
            at = next;
        }
        path.into_iter().for_each(|step| reported[step] = true);
    }
    (order, in_order)
}

fn report_circle(spec: &PipelineSpec, circle: &[usize], problems: &mut Problems) {
    let first = &spec.steps[circle[0]];
    let mut names: Vec<String> = circle.iter().map(|step| format!("`{}`", spec.steps[*step].name.text)).collect();
    names.push(names[0].clone());
    let next = &spec.steps[*circle.get(1).unwrap_or(&circle[0])].name.text;
    let span = first.from.iter().find(|from| from.text == *next).map_or(first.name.span, |from| from.span);
    problems
        .error(
            Code::Cycle,
            span,
            format!("steps read each other in a circle: {}", names.join(" reads ")),
            "the circle closes over this",
        )
        .help = Some("let one of them read a source".into());
}
