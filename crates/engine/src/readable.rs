//! State for people: the tables of a snapshot with the names of the pipeline file, and with values in the place of what
//! accumulators keep.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::concat;

use crate::aggregate::{Accumulator, GroupId};
use crate::error::{Code, Error, Result};
use crate::plan::{AggregateCall, WindowPlan, Work};
use crate::rows::named;
use crate::snapshot::{Part, PartName, timestamps};
use crate::state::{Table, WindowState};
use crate::task::Engine;
use crate::window::Window;

impl Engine {
    /// Returns the tables of a part as a user can read them: window, keys, the value that each aggregate has so far, the rows
    /// that a join holds, the ids that a partition remembers. What is not to be read (where a record stands in the
    /// record order, ids in their packed form) comes as it is.
    pub fn readable(&self, part: &Part) -> Result<Vec<RecordBatch>> {
        let step = self.plan.steps.iter().position(|step| step.name == part.name.step);
        let tables = part.tables.iter().flatten();
        let read: Option<Vec<RecordBatch>> =
            tables.map(|rows| self.readable_rows(step?, &part.name, rows)).collect::<Option<_>>();
        read.ok_or_else(|| {
            let message = format!("a part of the state of step `{}` does not fit the pipeline", part.name.step);
            Error::new(Code::Corrupt, message)
        })
    }

    /// Returns the names of parts that stand for all that a state of the plan may hold: one for each table of [`Engine::readable`].
    pub fn part_kinds(&self) -> Vec<PartName> {
        let window = Some(Window { start: 0, end: 0 });
        let mut kinds = Vec::new();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let name = PartName { step: step.name.clone(), ..PartName::default() };
            let state = self.empty();
            match &step.work {
                Work::Window(_) => match &state.windows[index] {
                    Some(WindowState::Session(_)) => kinds.push(name),
                    _ => kinds.push(PartName { window, ..name }),
                },
                Work::Join(join) => {
                    let window = matches!(join.time, crate::plan::JoinTime::Window(_)).then_some(window).flatten();
                    kinds.extend((0..2).map(|side| PartName { window, side: Some(side), ..name.clone() }));
                }
                Work::Dedup(_) => {
                    let source = step.sources.first().map(|source| self.plan.sources[*source].name.clone());
                    kinds.push(PartName { partition: source.map(|source| (source, 0)), ..name });
                }
                Work::Rows | Work::Lookup(_) => {}
            }
        }
        kinds
    }

    /// Returns a part of that name without a row, as a state that holds nothing would give it.
    pub fn empty_part(&self, name: &PartName) -> Option<Part> {
        let index = self.plan.steps.iter().position(|step| step.name == name.step)?;
        Some(Part { name: name.clone(), tables: Some(vec![self.empty_rows(index, name)?]) })
    }

    fn readable_rows(&self, step: usize, name: &PartName, rows: &RecordBatch) -> Option<RecordBatch> {
        let count = rows.num_rows();
        let schema = rows.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let mut raw: Vec<(String, ArrayRef)> = names.zip(rows.columns().iter().cloned()).collect();
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        if let Some(window) = name.window {
            columns.push(("window_start".into(), timestamps((0..count).map(|_| window.start))));
            columns.push(("window_end".into(), timestamps((0..count).map(|_| window.end))));
        }
        if let Some((source, partition)) = &name.partition {
            columns.push(("_source".into(), Arc::new(StringArray::from(vec![source.as_str(); count]))));
            columns.push(("_partition".into(), Arc::new(Int32Array::from(vec![*partition; count]))));
        }
        match &self.plan.steps[step].work {
            Work::Window(window) if window.unique_by.is_empty() => {
                let first_call = raw.iter().position(|(name, _)| name.starts_with("#0.")).unwrap_or(raw.len());
                let state: Vec<ArrayRef> = raw.split_off(first_call).into_iter().map(|(_, values)| values).collect();
                columns.append(&mut raw);
                columns.extend(values(window, &state, count)?);
            }
            Work::Window(window) => {
                // What a copy brings: the keys, then the arguments of the calls, then their filters.
                let keys = window.keys.iter().map(|(name, _)| name.clone());
                let arguments = window.calls.iter().flat_map(|call| &call.arguments);
                let expressions = arguments.chain(window.calls.iter().filter_map(|call| call.filter.as_ref()));
                let brought: Vec<String> = keys.chain(expressions.map(ToString::to_string)).collect();
                columns.extend(raw.into_iter().map(|(name, values)| {
                    match number_of(&name).and_then(|at| brought.get(at)) {
                        Some(brought) => (brought.clone(), values),
                        None => (name, values),
                    }
                }));
            }
            Work::Join(join) => columns.extend(raw.into_iter().map(|(name, values)| {
                let column = number_of(&name).and_then(|number| join.columns.get(number));
                (column.map_or(name, |column| column.field.name.clone()), values)
            })),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => columns.append(&mut raw),
        }
        Some(named(unlike(columns), count))
    }
}

/// Returns the value that each call has so far, under the name of the output that is that call, else as the call is written.
fn values(window: &WindowPlan, state: &[ArrayRef], count: usize) -> Option<Vec<(String, ArrayRef)>> {
    let mut table = Table::new(&window.calls);
    let groups: Vec<GroupId> = (0..count as GroupId).collect();
    table.accumulators.resize(count);
    let expected: usize = table.accumulators.calls().map(|call| call.state(&[]).len()).sum();
    if expected != state.len() {
        return None;
    }
    table.accumulators.restore(&groups, state);
    let outputs = |number: usize| {
        let is_it = |expr: &crate::expr::Expr| expr.to_string().trim_matches('"') == format!("#{number}");
        window.outputs.iter().find(|(_, expr)| is_it(expr)).map(|(name, _)| name.clone())
    };
    let calls = window.calls.iter().zip(table.accumulators.calls()).enumerate();
    let column = |(number, (call, accumulator)): (usize, (&AggregateCall, &dyn Accumulator))| {
        let name = outputs(number).unwrap_or_else(|| format!("{call:?}"));
        (name, finished(accumulator, call, &groups))
    };
    Some(calls.map(column).collect())
}

/// Returns the values of these groups; null where one does not fit its type yet.
fn finished(accumulator: &dyn Accumulator, call: &AggregateCall, groups: &[GroupId]) -> ArrayRef {
    if let Ok(values) = accumulator.finish(groups) {
        return values;
    }
    let null = || new_null_array(&call.output_type.arrow(), 1);
    let each: Vec<ArrayRef> =
        groups.iter().map(|group| accumulator.finish(&[*group]).unwrap_or_else(|_| null())).collect();
    let each: Vec<&dyn arrow::array::Array> = each.iter().map(AsRef::as_ref).collect();
    concat(&each).expect("values of one call have one type")
}

/// Returns the number in a name such as `#3`.
fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix('#')?.parse().ok()
}

/// Gives columns of the same name different ones.
fn unlike(columns: Vec<(String, ArrayRef)>) -> Vec<(String, ArrayRef)> {
    let mut names: Vec<String> = Vec::new();
    let mut unlike = Vec::new();
    for (name, values) in columns {
        let count = names.iter().filter(|known| **known == name).count();
        names.push(name.clone());
        unlike.push((if count == 0 { name } else { format!("{name} ({})", count + 1) }, values));
    }
    unlike
}
