//! `min` and `max`, of every type, by the value order: text bytewise, NaN last, lists lexicographic, structs by field.

use arrow::array::{Array, ArrayRef};

use super::scalar::{BytesKind, FixedKind, Marks, dispatch_kind, downcast, each_state, each_valid, grow, refuse_null};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, nested, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `min(x)` or `max(x)`.
pub(super) struct MinMax {
    about: About,
    greatest: bool,
}

/// `min(x)`.
pub(super) const MIN: MinMax = MinMax {
    about: About {
        name: "min",
        help: "the least value; text bytewise, NaN only when there is nothing else",
        flink: Some("MIN(x)"),
        duckdb: Some("min(x)"),
        example: Example { over: &["x float64: 2.5, null, NaN, -1.0"], call: "min(x)", result: "-1.0" },
        parameters: &[],
    },
    greatest: false,
};
/// `max(x)`.
pub(super) const MAX: MinMax = MinMax {
    about: About {
        name: "max",
        help: "the greatest value; text bytewise, NaN is greater than every number",
        flink: Some("MAX(x)"),
        duckdb: Some("max(x)"),
        example: Example { over: &["x string: b, B, null, a"], call: "max(x)", result: "b" },
        parameters: &[],
    },
    greatest: true,
};

impl Aggregate for MinMax {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        refuse_null(only_argument(arguments)?)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        nested::accumulator(arguments, Some(0), |arguments| {
            let data_type = arguments[0];
            dispatch_kind!(data_type,
                K => fixed::<K>(data_type, self.greatest),
                B => Box::new(Texts::<B> { greatest: self.greatest, data_type, values: Vec::new(), heap_bytes: 0 }))
        })
    }
}

/// Makes an accumulator of the least or greatest values.
pub(super) fn fixed<K: FixedKind>(data_type: DataType, greatest: bool) -> Box<dyn Accumulator> {
    if greatest { Box::new(Fixed::<K, true>::new(data_type)) } else { Box::new(Fixed::<K, false>::new(data_type)) }
}

/// Extremes of small values, in a plain vector.
///
/// A group without values holds the value that anything replaces: the greatest for `min`, the least for `max`. Whether
/// that very value occurred is the only thing noted apart, so the loop touches one slot a row.
struct Fixed<K: FixedKind, const GREATEST: bool> {
    data_type: DataType,
    values: Vec<K::Value>,
    start_occurred: Marks,
}

impl<K: FixedKind, const GREATEST: bool> Fixed<K, GREATEST> {
    const START: K::Value = if GREATEST { K::LEAST } else { K::GREATEST };

    fn new(data_type: DataType) -> Self {
        Self { data_type, values: Vec::new(), start_occurred: Marks::default() }
    }

    fn get(&self, group: GroupId) -> Option<&K::Value> {
        let value = &self.values[group as usize];
        (*value != Self::START || self.start_occurred.get(group as usize)).then_some(value)
    }

    fn array(&self, groups: &[GroupId]) -> ArrayRef {
        K::array(self.data_type, groups.iter().map(|group| self.get(*group)))
    }
}

/// Lets the value into the group's slot.
#[inline(always)]
fn offer<K: FixedKind, const GREATEST: bool>(
    values: &mut [K::Value],
    start_occurred: &mut Marks,
    group: usize,
    value: K::Value,
) {
    let slot = &mut values[group];
    if if GREATEST { value > *slot } else { value < *slot } {
        *slot = value;
    } else if value == Fixed::<K, GREATEST>::START {
        start_occurred.set(group);
    }
}

impl<K: FixedKind, const GREATEST: bool> Accumulator for Fixed<K, GREATEST> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.values, groups, Self::START);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        let (values, start_occurred) = (&mut self.values[..], &mut self.start_occurred);
        each_valid(rows, array.nulls(), |group, row| {
            offer::<K, GREATEST>(values, start_occurred, group, K::value(array, row));
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = downcast::<K>(&state[0]);
        let (values, start_occurred) = (&mut self.values[..], &mut self.start_occurred);
        each_state(groups, array.nulls(), |group, row| {
            offer::<K, GREATEST>(values, start_occurred, group, K::value(array, row));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![self.array(groups)]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(self.array(groups))
    }

    fn size_bytes(&self) -> usize {
        self.values.capacity() * size_of::<K::Value>() + self.start_occurred.size_bytes()
    }
}

/// Extremes of text and bytes.
struct Texts<K: BytesKind> {
    greatest: bool,
    data_type: DataType,
    values: Vec<Option<K::Value>>,
    heap_bytes: usize,
}

impl<K: BytesKind> Texts<K> {
    fn offer(&mut self, group: usize, bytes: &[u8]) {
        let slot = &mut self.values[group];
        let replaces = slot.as_ref().is_none_or(|kept| if self.greatest { bytes > &**kept } else { bytes < &**kept });
        if replaces {
            self.heap_bytes += bytes.len();
            self.heap_bytes -= slot.replace(bytes.into()).map_or(0, |old| old.len());
        }
    }

    fn array(&self, groups: &[GroupId]) -> ArrayRef {
        K::array(self.data_type, groups.iter().map(|group| self.values[*group as usize].as_ref()))
    }
}

impl<K: BytesKind> Accumulator for Texts<K> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.values, groups, None);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        each_valid(rows, array.nulls(), |group, row| self.offer(group, K::bytes(array, row)));
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = downcast::<K>(&state[0]);
        each_state(groups, array.nulls(), |group, row| self.offer(group, K::bytes(array, row)));
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![self.array(groups)]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(self.array(groups))
    }

    fn size_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<K::Value>>() + self.heap_bytes
    }
}
