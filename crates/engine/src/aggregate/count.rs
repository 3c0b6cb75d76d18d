//! `count(*)` and `count(x)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::scalar::{each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows};
use crate::expr::Literal;
use crate::value::DataType;

/// `count(*)`: rows; `count(x)`: rows where `x` is not null.
pub(super) struct Count;

const ABOUT: About = About {
    name: "count",
    help: "count(*) counts rows, count(x) those where x is not null",
    flink: Some("COUNT(*), COUNT(x)"),
    duckdb: Some("count(*), count(x)"),
    example: Example { over: &["x int64: 3, null, 5"], call: "count(x)", result: "2" },
    parameters: &[],
};

impl Aggregate for Count {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match arguments {
            [] | [_] => Ok(DataType::Int64),
            _ => Err(format!("takes * or one argument, not {}", arguments.len())),
        }
    }

    fn accumulator(&self, _: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        Box::new(Counts(Vec::new()))
    }
}

/// The number of rows of each group.
pub(super) struct Counts(pub(super) Vec<i64>);

impl Accumulator for Counts {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.0, groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let counts = &mut self.0[..];
        // A Null array has no bitmap; its rows are null all the same.
        let nulls = rows.arguments.first().and_then(|argument| argument.logical_nulls());
        each_valid(rows, nulls.as_ref(), |group, _| counts[group] += 1);
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (group, count) in groups.iter().zip(counts) {
            self.0[*group as usize] += count;
        }
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| self.0[*group as usize])))]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(self.state(groups).remove(0))
    }

    fn size_bytes(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}
