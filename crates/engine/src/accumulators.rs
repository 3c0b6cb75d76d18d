//! The running values of all aggregate calls of a step, side by side.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;

use crate::aggregate::{Accumulator, GroupId, Rows};
use crate::plan::AggregateCall;

/// The evaluated arguments of a step's aggregate calls for one batch.
pub(crate) struct Arguments {
    /// Per call, its argument columns.
    pub(crate) calls: Vec<Vec<ArrayRef>>,
    /// Per call, the rows that it takes in; None: all.
    pub(crate) filters: Vec<Option<BooleanBuffer>>,
    /// Bytes whose order is the record order, when a call needs it.
    pub(crate) order: Option<BinaryArray>,
}

impl Arguments {
    /// Returns about how many bytes they occupy.
    pub(crate) fn size_bytes(&self) -> usize {
        let columns = self.calls.iter().flatten().map(|column| column.get_array_memory_size());
        columns.chain(self.order.as_ref().map(|order| order.get_array_memory_size())).sum()
    }

    /// Returns those of the given rows, in that order.
    pub(crate) fn take(&self, rows: &UInt32Array) -> Self {
        let taken = |column: &dyn Array| take(column, rows, None).expect("the rows are there");
        let filtered = |filter: &BooleanBuffer| rows.values().iter().map(|row| filter.value(*row as usize)).collect();
        Self {
            calls: self.calls.iter().map(|columns| columns.iter().map(|column| taken(column)).collect()).collect(),
            filters: self.filters.iter().map(|filter| filter.as_ref().map(filtered)).collect(),
            order: self.order.as_ref().map(|order| taken(order).as_binary().clone()),
        }
    }
}

/// Accumulators of all calls of a step over the same groups.
pub(crate) struct Accumulators(Vec<Call>);

/// Where the values of a call are.
enum Call {
    Own(Box<dyn Accumulator>),
    /// A sum of what that other call averages. What it keeps is a part of what the other one keeps.
    SumOf(usize),
}

/// The rows that a call takes in: those that its filter lets through, and, if it skips nulls,
/// those with a value. Calls of the same column, such as its least and its greatest value, share them. Whether a value is
/// null cannot be foreseen, so each call would stumble over it again. CPU time of whole runs in which every fourth value is
/// null, two builds in turn, medians of 9: 0.89 of what it was (`pages` of `benches/peers.py batch`) and 0.96 (`users`).
#[derive(Default)]
struct Chosen<'a> {
    by: [Option<&'a BooleanBuffer>; 2],
    groups: Vec<GroupId>,
    rows: Vec<u32>,
}

impl<'a> Chosen<'a> {
    /// Returns groups and rows where neither mask leaves one out.
    fn by<'b>(
        &'b mut self,
        masks: [Option<&'a BooleanBuffer>; 2],
        groups: &'b [GroupId],
        rows: &'b [u32],
    ) -> (&'b [GroupId], &'b [u32]) {
        let is_same = |(a, b): (&Option<&BooleanBuffer>, &Option<&BooleanBuffer>)| match (a, b) {
            (Some(a), Some(b)) => a.ptr_eq(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        match masks {
            [None, None] => return (groups, rows),
            masks if self.by.iter().zip(&masks).all(is_same) => {}
            [Some(filter), Some(valid)] => self.fill(groups, rows, &(filter & valid)),
            [Some(mask), None] | [None, Some(mask)] => self.fill(groups, rows, mask),
        }
        self.by = masks;
        (&self.groups, &self.rows)
    }

    fn fill(&mut self, groups: &[GroupId], rows: &[u32], mask: &BooleanBuffer) {
        self.groups.resize(groups.len(), 0);
        self.rows.resize(rows.len(), 0);
        let mut count = 0;
        // Each row is written, and stays if it is chosen: no branch.
        for (group, row) in groups.iter().zip(rows) {
            (self.groups[count], self.rows[count]) = (*group, *row);
            count += usize::from(mask.value(*row as usize));
        }
        self.groups.truncate(count);
        self.rows.truncate(count);
    }
}

impl Accumulators {
    /// Makes empty accumulators for the calls.
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        let averaged = |call: &AggregateCall| {
            let is_same = |other: &AggregateCall| {
                other.aggregate.name() == "avg" && other.arguments == call.arguments && other.filter == call.filter
            };
            (call.aggregate.name() == "sum").then(|| calls.iter().position(is_same)).flatten()
        };
        let call = |call| averaged(call).map_or_else(|| Call::Own(call.accumulator()), Call::SumOf);
        Self(calls.iter().map(call).collect())
    }

    fn own(&mut self) -> impl Iterator<Item = &mut Box<dyn Accumulator>> {
        self.0.iter_mut().filter_map(|call| match call {
            Call::Own(accumulator) => Some(accumulator),
            Call::SumOf(_) => None,
        })
    }

    pub(crate) fn resize(&mut self, groups: usize) {
        self.own().for_each(|accumulator| accumulator.resize(groups));
    }

    pub(crate) fn update(&mut self, groups: &[GroupId], rows: &[u32], arguments: &Arguments) {
        let order = arguments.order.as_ref();
        let mut chosen = Chosen::default();
        let calls = arguments.calls.iter().zip(&arguments.filters);
        for (call, (columns, filter)) in self.0.iter_mut().zip(calls) {
            let Call::Own(accumulator) = call else { continue };
            let valid = match &columns[..] {
                [column] if accumulator.skips_nulls() => column.nulls().filter(|nulls| nulls.null_count() > 0),
                _ => None,
            };
            let (groups, rows) = chosen.by([filter.as_ref(), valid.map(NullBuffer::inner)], groups, rows);
            accumulator.update(&Rows { groups, rows, arguments: columns, order });
        }
    }

    /// Row `i` of `from`'s groups joins group `into[i]`.
    pub(crate) fn merge(&mut self, into: &[GroupId], other: &Self, from: &[GroupId]) {
        for (call, other) in self.0.iter_mut().zip(&other.0) {
            if let (Call::Own(accumulator), Call::Own(other)) = (call, other) {
                accumulator.merge(into, &other.state(from));
            }
        }
    }

    /// Groups `from` of these accumulators join groups `into` of the same; no group is both.
    pub(crate) fn merge_within(&mut self, into: &[GroupId], from: &[GroupId]) {
        for accumulator in self.own() {
            let state = accumulator.state(from);
            accumulator.merge(into, &state);
        }
    }

    /// Takes in the states of all calls, side by side: row `i` joins group `into[i]`.
    pub(crate) fn restore(&mut self, into: &[GroupId], mut states: &[ArrayRef]) {
        let widths: Vec<usize> = self.calls().map(|accumulator| accumulator.state(&[]).len()).collect();
        for (call, width) in self.0.iter_mut().zip(widths) {
            let (state, rest) = states.split_at(width);
            // What a sum kept is in what the average kept.
            if let Call::Own(accumulator) = call {
                accumulator.merge(into, state);
            }
            states = rest;
        }
    }

    /// Returns each call's accumulator.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &dyn Accumulator> {
        self.0.iter().map(|call| match call {
            Call::Own(accumulator) => &**accumulator,
            Call::SumOf(other) => match &self.0[*other] {
                Call::Own(average) => average.sums().expect("an average has sums"),
                Call::SumOf(_) => unreachable!("an average has values of its own"),
            },
        })
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let own = self.0.iter().map(|call| match call {
            Call::Own(accumulator) => accumulator.size_bytes(),
            Call::SumOf(_) => 0,
        });
        own.sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Float64Array;
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::DataType;
    use crate::aggregate::find;
    use crate::expr::Expr;

    fn call(name: &str, column: &str, filter: Option<Expr>) -> AggregateCall {
        AggregateCall {
            aggregate: find(name).unwrap(),
            arguments: vec![Expr::column(column, DataType::Float64)],
            parameters: Vec::new(),
            filter,
            output_type: DataType::Float64,
        }
    }

    /// Returns the results of all calls, after updates, a merge, and a way through their states.
    fn results(calls: &[AggregateCall], masks: &[Option<BooleanBuffer>]) -> Vec<Vec<Option<f64>>> {
        let columns: [ArrayRef; 2] = [
            Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-4.0), Some(1e300), Some(0.25)])),
            Arc::new(Float64Array::from(vec![10.0, 20.0, 30.0, 40.0, 50.0])),
        ];
        let column = |call: &AggregateCall| columns[usize::from(call.arguments[0].to_string() == "y")].clone();
        let arguments = Arguments {
            calls: calls.iter().map(|call| vec![column(call)]).collect(),
            filters: masks.to_vec(),
            order: None,
        };
        let part = |groups: &[GroupId], rows: &[u32]| {
            let mut part = Accumulators::new(calls);
            part.resize(3);
            part.update(groups, rows, &arguments);
            part
        };
        let (mut one, two) = (part(&[0, 1, 0], &[0, 1, 2]), part(&[2, 0], &[3, 4]));
        one.merge(&[0, 1, 2], &two, &[0, 1, 2]);
        let states: Vec<ArrayRef> = one.calls().flat_map(|call| call.state(&[0, 1, 2])).collect();
        let mut again = Accumulators::new(calls);
        again.resize(3);
        again.restore(&[0, 1, 2], &states);
        let finished = again.calls().map(|call| call.finish(&[0, 1, 2]).unwrap());
        finished.map(|values| values.as_primitive::<Float64Type>().iter().collect()).collect()
    }

    #[test]
    fn a_sum_beside_an_average_is_the_sum() {
        let mask = BooleanBuffer::from(vec![true, true, false, true, true]);
        let filter = Expr::column("z", DataType::Bool);
        let with = |name, column, filtered: bool| call(name, column, filtered.then(|| filter.clone()));
        let calls = [
            with("sum", "x", false),
            with("avg", "x", false),
            with("sum", "y", false),
            with("sum", "x", true),
            with("avg", "x", true),
            with("avg", "y", true),
        ];
        let masks: Vec<_> = calls.iter().map(|call| call.filter.as_ref().map(|_| mask.clone())).collect();
        let is_shared: Vec<bool> =
            Accumulators::new(&calls).0.iter().map(|call| matches!(call, Call::SumOf(_))).collect();
        assert_eq!(is_shared, [true, false, false, true, false, false]);
        let expected = [
            [Some(1.5 - 4.0 + 0.25), None, Some(1e300)],
            [Some((1.5 - 4.0 + 0.25) / 3.0), None, Some(1e300)],
            [Some(10.0 + 30.0 + 50.0), Some(20.0), Some(40.0)],
            [Some(1.5 + 0.25), None, Some(1e300)],
            [Some((1.5 + 0.25) / 2.0), None, Some(1e300)],
            [Some((10.0 + 50.0) / 2.0), Some(20.0), Some(40.0)],
        ];
        assert_eq!(results(&calls, &masks), expected);
        // Side by side they are what each is by itself.
        for (at, call) in calls.iter().enumerate() {
            assert_eq!(results(std::slice::from_ref(call), &masks[at..=at])[0], expected[at]);
        }
    }
}
