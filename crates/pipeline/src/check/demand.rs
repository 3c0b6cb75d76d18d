//! Which columns are read: sources decode only these, and the log's own columns are carried only where they are read.

use std::collections::BTreeSet;

use engine::expr::Expr;
use engine::log::IMPLIED;
use engine::plan::{AggregateCall, INDEX, Input, JoinValue, Plan, RowWork, SinkPlan, Work};
use engine::{Field, Schema};

type Names = BTreeSet<String>;

/// What is asked of every source and step of a plan.
struct Demand {
    sources: Vec<Names>,
    /// Of a step's rows.
    steps: Vec<Names>,
    /// Of the rows after a step's row work, for its late rows.
    late: Vec<Names>,
    /// Of the rows before a step's row work, for its failed rows.
    failed: Vec<Names>,
}

/// Fills in what sources need, and takes the log's own columns out of schemas where nothing reads them.
pub(super) fn settle(plan: &mut Plan) {
    let mut demand = Demand {
        sources: vec![Names::new(); plan.sources.len()],
        steps: vec![Names::new(); plan.steps.len()],
        late: vec![Names::new(); plan.steps.len()],
        failed: vec![Names::new(); plan.steps.len()],
    };
    plan.sinks.iter().for_each(|sink| demand.sink(sink, plan));
    let by_sinks = demand.steps.clone();
    for index in (0..plan.steps.len()).rev() {
        if demand.join(index, plan) {
            continue;
        }
        let carried = demand.step(index, plan);
        let step = &mut plan.steps[index];
        if !step.over_windows {
            let made: Names = made_by(&step.rows);
            let keep =
                |field: &Field| !is_implied(&field.name) || made.contains(&field.name) || carried.contains(&field.name);
            step.row_schema.fields.retain(keep);
            if is_row_step(&step.work) {
                // A column of the log's own that only passes through, for a later step, is none of its results.
                let read = &by_sinks[index];
                let keep = |name: &String| !is_implied(name) || made.contains(name) || read.contains(name);
                step.schema.fields.retain(|field| keep(&field.name));
            }
        }
    }
    for (source, mut read) in plan.sources.iter_mut().zip(demand.sources) {
        read.insert(source.event_time.clone());
        if source.max_future.is_some() {
            read.insert("_timestamp".into());
        }
        let columns = source.columns.iter().map(|column| column.field.name.as_str());
        source.needed = columns.chain(["_timestamp"]).filter(|name| read.contains(*name)).map(str::to_owned).collect();
    }
}

impl Demand {
    fn sink(&mut self, sink: &SinkPlan, plan: &Plan) {
        let mut read = Names::new();
        if let Some(filter) = &sink.filter {
            columns_of(filter, &mut read);
        }
        match &sink.select {
            Some(select) => select.iter().for_each(|(_, expr)| columns_of(expr, &mut read)),
            None => read.extend(names(&sink.schema)),
        }
        match sink.input {
            Input::Source(source) => self.sources[source].extend(read),
            Input::Step(step) if !plan.steps[step].over_windows && is_row_step(&plan.steps[step].work) => {
                // A record's position comes with it. Its other columns are all in the digest of the step's rows,
                // whichever of them a sink selects.
                let made = made_by(&plan.steps[step].rows);
                read.extend(names(&plan.steps[step].schema).filter(|name| !is_implied(name) || made.contains(name)));
                read.retain(|name| name != "_partition" && name != "_offset" && name != INDEX);
                self.steps[step].extend(read);
            }
            Input::Step(step) => self.steps[step].extend(read),
            Input::StepLate(step) => self.late[step].extend(read),
            Input::StepBad(step) => self.failed[step].extend(read),
            Input::SourceBad(_) => {}
        }
    }

    /// Passes on what a join asks of its sides, and leaves only the columns that something reads; false for other steps.
    fn join(&mut self, index: usize, plan: &mut Plan) -> bool {
        let step = &mut plan.steps[index];
        let Work::Join(join) = &mut step.work else { return false };
        let mut carried = self.steps[index].clone();
        step.rules.iter().for_each(|rule| columns_of(&rule.expr, &mut carried));
        let mut read = before(&step.rows, &carried);
        read.extend(std::mem::take(&mut self.failed[index]));
        let late = std::mem::take(&mut self.late[index]);
        join.columns.retain(|column| read.contains(&column.field.name));
        for side in 0..2 {
            let mut wanted: Names = join.on.iter().map(|key| key.names[side].clone()).collect();
            wanted.extend(join.columns.iter().filter_map(|column| match &column.value {
                JoinValue::Side(of, name) if *of == side => Some(name.clone()),
                JoinValue::Side(..) | JoinValue::Key(_) | JoinValue::WindowStart | JoinValue::WindowEnd => None,
            }));
            let own = names(&join.sides[side].schema);
            wanted.extend(own.filter(|name| late.contains(&join.late_name(side, name))));
            join.sides[side].read = wanted.iter().cloned().collect();
            match join.sides[side].input {
                Input::Source(source) => self.sources[source].extend(wanted),
                Input::Step(input) => self.steps[input].extend(wanted),
                Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => {
                    unreachable!("steps read sources and steps")
                }
            }
        }
        true
    }

    /// Passes on what a step asks of its input; returns what is asked of its rows after row work.
    fn step(&mut self, index: usize, plan: &Plan) -> Names {
        let step = &plan.steps[index];
        let mut carried = std::mem::take(&mut self.late[index]);
        match &step.work {
            Work::Join(_) => unreachable!("joins pass on what they ask themselves"),
            Work::Rows => carried.extend(self.steps[index].iter().cloned()),
            Work::Lookup(lookup) => {
                carried.extend(self.steps[index].iter().cloned());
                carried.retain(|name| lookup.take.iter().all(|field| field.name != *name));
                lookup.keys.iter().for_each(|(_, expr)| columns_of(expr, &mut carried));
            }
            Work::Dedup(dedup) => {
                carried.extend(self.steps[index].iter().cloned());
                dedup.keys.iter().for_each(|(_, expr)| columns_of(expr, &mut carried));
            }
            Work::Window(window) => {
                window.keys.iter().chain(&window.unique_by).for_each(|(_, expr)| columns_of(expr, &mut carried));
                window
                    .calls
                    .iter()
                    .flat_map(AggregateCall::expressions)
                    .for_each(|expr| columns_of(expr, &mut carried));
            }
        }
        step.rules.iter().for_each(|rule| columns_of(&rule.expr, &mut carried));
        let mut read = before(&step.rows, &carried);
        read.extend(std::mem::take(&mut self.failed[index]));
        if let Some(explode) = &step.rows.explode {
            // How many rows there are depends on the list even where no element is read.
            read.remove(&explode.element);
            read.insert(explode.list.clone());
        }
        step.tag.iter().for_each(|tag| {
            read.remove(tag);
        });
        for input in &step.inputs {
            match input {
                Input::Source(source) => self.sources[*source].extend(read.iter().cloned()),
                Input::Step(input) => self.steps[*input].extend(read.iter().cloned()),
                Input::SourceBad(_) | Input::StepLate(_) | Input::StepBad(_) => {
                    unreachable!("steps read sources and steps")
                }
            }
        }
        carried
    }
}

/// Returns true for work that gives rows of what it reads, each with its identity.
fn is_row_step(work: &Work) -> bool {
    matches!(work, Work::Rows | Work::Dedup(_) | Work::Lookup(_))
}

/// Returns the columns that row work reads, so that the given ones come out of it.
fn before(work: &RowWork, wanted: &Names) -> Names {
    let mut read = Names::new();
    match &work.select {
        Some(select) => select.iter().for_each(|(_, expr)| columns_of(expr, &mut read)),
        None => read.clone_from(wanted),
    }
    read.retain(|name| !work.derive.iter().any(|(derived, _)| derived == name));
    work.derive.iter().for_each(|(_, expr)| columns_of(expr, &mut read));
    work.filter.iter().for_each(|filter| columns_of(filter, &mut read));
    read
}

/// Returns the columns that row work makes.
fn made_by(work: &RowWork) -> Names {
    work.derive.iter().chain(work.select.iter().flatten()).map(|(name, _)| name.clone()).collect()
}

fn columns_of(expr: &Expr, read: &mut Names) {
    expr.visit_columns(&mut |name| {
        read.insert(name.to_owned());
    });
}

fn names(schema: &Schema) -> impl Iterator<Item = String> {
    schema.fields.iter().map(|field| field.name.clone())
}

fn is_implied(name: &str) -> bool {
    IMPLIED.iter().any(|(implied, _)| *implied == name)
}
