//! `count_distinct`: exact, by the set of values of each group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeBinaryBuilder};
use hashbrown::HashSet;

use super::count::Counts;
use super::scalar::{BytesKind, FixedKind, Kind, dispatch_kind, downcast, each_state, each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, nested, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `count_distinct(x)`.
pub(super) struct CountDistinct;

const ABOUT: About = About {
    name: "count_distinct",
    help: "exact number of different values; nulls are skipped, NaN is one value",
    flink: Some("COUNT(DISTINCT x)"),
    duckdb: Some("count(DISTINCT x)"),
    example: Example { over: &["x string: a, b, null, a"], call: "count_distinct(x)", result: "2" },
    parameters: &[],
};

impl Aggregate for CountDistinct {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn grows(&self) -> bool {
        true
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        only_argument(arguments).map(|_| DataType::Int64)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        match arguments[0] {
            // All its values are null, so the number of those that are not is the answer.
            DataType::Null => Box::new(Counts(Vec::new())),
            _ => nested::accumulator(arguments, None, |arguments| {
                dispatch_kind!(arguments[0],
                    K => accumulator::<K>(insert_fixed::<K>),
                    B => accumulator::<B>(insert_bytes::<B>))
            }),
        }
    }
}

/// Puts the value of a row into a set, and returns true when it was new.
type Insert<K> = fn(&mut HashSet<<K as Kind>::Value>, &<K as Kind>::Array, usize) -> bool;

fn insert_fixed<K: FixedKind>(set: &mut HashSet<K::Value>, array: &K::Array, row: usize) -> bool {
    set.insert(K::value(array, row))
}

fn insert_bytes<K: BytesKind>(set: &mut HashSet<K::Value>, array: &K::Array, row: usize) -> bool {
    // Looked up first, so that only a new value is copied.
    !set.contains(K::bytes(array, row)) && set.insert(K::value(array, row))
}

fn accumulator<K: Kind>(insert: Insert<K>) -> Box<dyn Accumulator> {
    Box::new(Sets::<K> { sets: Vec::new(), insert, value_count: 0, heap_bytes: 0 })
}

/// The set of values of each group. Its order is the hash's, so a state is sorted.
struct Sets<K: Kind> {
    sets: Vec<HashSet<K::Value>>,
    insert: Insert<K>,
    value_count: usize,
    heap_bytes: usize,
}

impl<K: Kind> Accumulator for Sets<K> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.sets, groups, HashSet::default());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        each_valid(rows, array.nulls(), |group, row| {
            if (self.insert)(&mut self.sets[group], array, row) {
                self.value_count += 1;
                self.heap_bytes += K::heap_bytes(&K::value(array, row));
            }
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let states = state[0].as_binary::<i64>();
        each_state(groups, states.nulls(), |group, row| {
            let mut bytes = states.value(row);
            while !bytes.is_empty() {
                let value = K::decode(&mut bytes);
                let size = K::heap_bytes(&value);
                if self.sets[group].insert(value) {
                    self.value_count += 1;
                    self.heap_bytes += size;
                }
            }
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut states = LargeBinaryBuilder::with_capacity(groups.len(), 0);
        let (mut values, mut bytes) = (Vec::new(), Vec::new());
        for group in groups {
            values.clear();
            bytes.clear();
            values.extend(&self.sets[*group as usize]);
            values.sort_unstable();
            values.iter().for_each(|value| K::encode(value, &mut bytes));
            states.append_value(&bytes);
        }
        vec![Arc::new(states.finish())]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| self.sets[*group as usize].len() as i64))))
    }

    fn size_bytes(&self) -> usize {
        // A table holds each value and a byte beside it, and is between 7/16 and 7/8 full.
        self.sets.capacity() * size_of::<HashSet<K::Value>>()
            + self.value_count * (size_of::<K::Value>() + 1) * 3 / 2
            + self.heap_bytes
    }
}
