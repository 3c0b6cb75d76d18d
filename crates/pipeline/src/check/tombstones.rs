//! Where a record without a value is a version "nothing" of its key, and not a bad record.
//!
//! Such a record has nothing but what stands beside the value: key, headers, the log's own columns. So a source keeps
//! them if it is read as the right of `as_of` joins and as nothing else, and if their `on` columns and its event time
//! stand there.

use engine::Code;
use engine::plan::{Input, JoinPlan, JoinTime, Plan, SourcePlan, ValueFrom, Work};

use crate::problems::Problems;
use crate::spec::PipelineSpec;

/// Marks the sources that keep records without a value.
pub(super) fn find(plan: &mut Plan) {
    let kept: Vec<bool> = (0..plan.sources.len()).map(|source| keeps(plan, source)).collect();
    plan.sources.iter_mut().zip(kept).for_each(|(source, keeps)| source.tombstones = keeps);
}

fn keeps(plan: &Plan, index: usize) -> bool {
    let (input, source) = (Input::Source(index), &plan.sources[index]);
    let mut readers = plan.steps.iter().filter(|step| step.inputs.contains(&input)).peekable();
    let is_sunk = plan.sinks.iter().any(|sink| sink.input == input);
    let is_table = |work: &Work| match work {
        Work::Join(join) => is_right(join, input, source),
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => false,
    };
    readers.peek().is_some()
        && !is_sunk
        && is_beside(source, &source.event_time)
        && readers.all(|step| is_table(&step.work))
}

/// Warns of sources that look like keyed tables, on the right of `as_of`, and whose records without a value are bad all
/// the same: a column that joins them stands beside the value, and something else is missing.
pub(super) fn warn(plan: &Plan, spec: &PipelineSpec, problems: &mut Problems) {
    for (index, source) in plan.sources.iter().enumerate().filter(|(_, source)| !source.tombstones) {
        let input = Input::Source(index);
        let mut misses: Vec<String> = Vec::new();
        let (mut is_keyed, mut others) = (false, Vec::new());
        for step in plan.steps.iter().filter(|step| step.inputs.contains(&input)) {
            let join = match &step.work {
                Work::Join(join) if matches!(join.time, JoinTime::AsOf { .. }) && join.sides[1].input == input => join,
                _ => {
                    others.push(step.name.as_str());
                    continue;
                }
            };
            let keys = || join.on.iter().map(|key| key.names[1].as_str());
            is_keyed |= keys()
                .any(|name| source.columns.iter().any(|column| column.field.name == name) && is_beside(source, name));
            misses.extend(
                keys().filter(|name| !is_beside(source, name)).map(|name| format!("`{name}` stands in the value")),
            );
            if join.sides[0].input == input {
                misses.push(format!("it is the left of `{}` too", step.name));
            }
        }
        if !is_keyed {
            continue;
        }
        if !is_beside(source, &source.event_time) {
            misses.push(format!("its event time `{}` stands in the value", source.event_time));
        }
        misses.extend(others.into_iter().map(|step| format!("`{step}` reads it too")));
        misses.dedup();
        let Some(named) = spec.sources.iter().find(|named| named.name.text == source.name) else { continue };
        let message = format!("records of `{}` without a value are bad, and end no version", source.name);
        problems.warning(Code::Field, named.name.span, message, misses.join(", ")).help = Some(
            "on the right of `as_of` such a record ends the version of its key if the `on` columns and the event time come \
             from `key`, `header.NAME` or `_timestamp`, and nothing else reads the source"
                .into(),
        );
    }
}

/// Returns whether the source is the right of an `as_of` join, and nothing else there, with keys beside the value.
fn is_right(join: &JoinPlan, input: Input, source: &SourcePlan) -> bool {
    let [left, right] = &join.sides;
    matches!(join.time, JoinTime::AsOf { .. })
        && left.input != input
        && right.input == input
        && join.on.iter().all(|key| is_beside(source, &key.names[1]))
}

/// Returns whether a column does not stand in the value; the log's own do not.
fn is_beside(source: &SourcePlan, name: &str) -> bool {
    let own = source.columns.iter().find(|column| column.field.name == name);
    own.is_none_or(|column| matches!(column.from, ValueFrom::Key | ValueFrom::Header(_)))
}
