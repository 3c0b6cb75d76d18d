//! Where a record without a value is a version "nothing" of its key, and not a bad record.
//!
//! Such a record has nothing but what stands beside the value: key, headers, the log's own columns. So a source keeps
//! them if it is read as the right of `as_of` joins and as nothing else, and if their `on` columns and its event time
//! stand there.

use engine::plan::{Input, JoinPlan, JoinTime, Plan, SourcePlan, ValueFrom, Work};

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
