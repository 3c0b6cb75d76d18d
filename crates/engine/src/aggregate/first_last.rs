//! `first` and `last`: the value of the record that comes first or last in record order, nulls skipped.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};

use super::scalar::{Kind, dispatch_kind, downcast, each_state, each_valid, grow, refuse_null};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, nested, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `first(x)` or `last(x)`.
pub(super) struct FirstLast {
    about: About,
    last: bool,
}

/// `first(x)`.
pub(super) const FIRST: FirstLast = FirstLast {
    about: About {
        name: "first",
        help: "the first value by event time, then source, partition, offset; nulls are skipped",
        flink: Some("FIRST_VALUE(x)"),
        duckdb: Some("first(x ORDER BY event_time) FILTER (WHERE x IS NOT NULL)"),
        example: Example { over: &["x string: null, b, a"], call: "first(x)", result: "b" },
        parameters: &[],
    },
    last: false,
};
/// `last(x)`.
pub(super) const LAST: FirstLast = FirstLast {
    about: About {
        name: "last",
        help: "the last value by event time, then source, partition, offset; nulls are skipped",
        flink: Some("LAST_VALUE(x)"),
        duckdb: Some("last(x ORDER BY event_time) FILTER (WHERE x IS NOT NULL)"),
        example: Example { over: &["x string: c, b, null"], call: "last(x)", result: "b" },
        parameters: &[],
    },
    last: true,
};

impl Aggregate for FirstLast {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        refuse_null(only_argument(arguments)?)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        nested::accumulator(arguments, Some(0), |arguments| {
            let (data_type, last) = (arguments[0], self.last);
            dispatch_kind!(data_type, K => accumulator::<K>(data_type, last), B => accumulator::<B>(data_type, last))
        })
    }

    fn needs_order(&self) -> bool {
        true
    }
}

fn accumulator<K: Kind>(data_type: DataType, last: bool) -> Box<dyn Accumulator> {
    Box::new(Ends::<K>::new(data_type, last))
}

/// The first or last value of each group, with the order bytes of its record.
pub(super) struct Ends<K: Kind> {
    data_type: DataType,
    last: bool,
    kept: Vec<Option<Kept<K::Value>>>,
    /// Within one update, the row that would replace the group's value, so that bytes are copied once a group.
    best_row: Vec<u32>,
    heap_bytes: usize,
}

#[derive(Clone)]
struct Kept<V> {
    order: Box<[u8]>,
    value: V,
}

const NO_ROW: u32 = u32::MAX;

impl<K: Kind> Ends<K> {
    pub(super) fn new(data_type: DataType, last: bool) -> Self {
        Self { data_type, last, kept: Vec::new(), best_row: Vec::new(), heap_bytes: 0 }
    }

    /// Returns true when the first of the two replaces the second. Rows of equal order, which only a row chosen twice
    /// or a faulty source has, are told apart by their values, so that the result is still a function of the rows.
    fn replaces(last: bool, new: (&[u8], &K::Value), old: (&[u8], &K::Value)) -> bool {
        if last { new > old } else { new < old }
    }

    /// Lets a value into the group's slot if its order says so.
    pub(super) fn offer(&mut self, group: usize, order: &[u8], value: K::Value) {
        let slot = &mut self.kept[group];
        if slot.as_ref().is_none_or(|kept| Self::replaces(self.last, (order, &value), (&kept.order, &kept.value))) {
            self.heap_bytes += order.len() + K::heap_bytes(&value);
            let old = slot.replace(Kept { order: order.into(), value });
            self.heap_bytes -= old.map_or(0, |old| old.order.len() + K::heap_bytes(&old.value));
        }
    }

    fn values(&self, groups: &[GroupId]) -> ArrayRef {
        let kept = groups.iter().map(|group| self.kept[*group as usize].as_ref());
        K::array(self.data_type, kept.map(|kept| kept.map(|kept| &kept.value)))
    }
}

impl<K: Kind> Accumulator for Ends<K> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.kept, groups, None);
        grow(&mut self.best_row, groups, NO_ROW);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        let order = rows.order.expect("`needs_order` is true, so the caller gives the order");
        let (last, best_row) = (self.last, &mut self.best_row[..]);
        let mut touched = Vec::new();
        each_valid(rows, array.nulls(), |group, row| {
            let best = &mut best_row[group];
            if *best == NO_ROW {
                touched.push(group);
                *best = row as u32;
                return;
            }
            let (new, old) = (order.value(row), order.value(*best as usize));
            let replaces = match new.cmp(old) {
                std::cmp::Ordering::Equal => {
                    Self::replaces(last, (new, &K::value(array, row)), (old, &K::value(array, *best as usize)))
                }
                unequal => unequal.is_gt() == last,
            };
            if replaces {
                *best = row as u32;
            }
        });
        for group in touched {
            let row = std::mem::replace(&mut self.best_row[group], NO_ROW) as usize;
            self.offer(group, order.value(row), K::value(array, row));
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let orders = state[0].as_binary::<i32>();
        let values = downcast::<K>(&state[1]);
        each_state(groups, orders.nulls(), |group, row| {
            self.offer(group, orders.value(row), K::value(values, row));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let kept = groups.iter().map(|group| self.kept[*group as usize].as_ref());
        let orders: BinaryArray = kept.map(|kept| kept.map(|kept| &kept.order)).collect();
        vec![Arc::new(orders), self.values(groups)]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(self.values(groups))
    }

    fn size_bytes(&self) -> usize {
        self.kept.capacity() * size_of::<Option<Kept<K::Value>>>()
            + self.best_row.capacity() * size_of::<u32>()
            + self.heap_bytes
    }
}
