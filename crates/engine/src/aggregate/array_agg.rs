//! `array_agg(x)`: all values of a group in record order, nulls among them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder, ListArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType as ArrowType;

use super::scalar::{each_state, grow, refuse_null};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, only_argument};
use crate::expr::Literal;
use crate::group::{KeyCodec, canonical};
use crate::value::DataType;

/// `array_agg(x)`.
pub(super) struct ArrayAgg;

const ABOUT: About = About {
    name: "array_agg",
    help: "list of all values by event time, then source, partition, offset; nulls are kept, no row gives null",
    flink: Some("ARRAY_AGG(x)"),
    duckdb: Some("array_agg(x ORDER BY event_time)"),
    example: Example { over: &["x int64: 3, null, 1"], call: "array_agg(x)", result: "[3,null,1]" },
    parameters: &[],
};

impl Aggregate for ArrayAgg {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn grows(&self) -> bool {
        true
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        refuse_null(only_argument(arguments)?).map(DataType::list)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        let element = arguments[0];
        Box::new(Lists { element, codec: KeyCodec::new(&[element]), lists: Vec::new(), value_count: 0, heap_bytes: 0 })
    }

    fn needs_order(&self) -> bool {
        true
    }
}

/// A value as bytes that order as it does, null too, after the order of its record. Records of equal order, which only a
/// row chosen twice or a faulty source has, are told apart by their values.
type Element = (Box<[u8]>, Box<[u8]>);

/// The values of each group.
struct Lists {
    element: DataType,
    codec: KeyCodec,
    lists: Vec<Vec<Element>>,
    value_count: usize,
    heap_bytes: usize,
}

impl Lists {
    fn push(&mut self, group: usize, order: &[u8], value: &[u8]) {
        self.lists[group].push((order.into(), value.into()));
        self.value_count += 1;
        self.heap_bytes += order.len() + value.len();
    }

    fn sorted(&self, group: GroupId) -> Vec<&Element> {
        let mut list: Vec<&Element> = self.lists[group as usize].iter().collect();
        list.sort_unstable();
        list
    }
}

impl Accumulator for Lists {
    fn skips_nulls(&self) -> bool {
        false
    }

    fn resize(&mut self, groups: usize) {
        grow(&mut self.lists, groups, Vec::new());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let order = rows.order.expect("`needs_order` is true, so the caller gives the order");
        let chosen = take(&rows.arguments[0], &UInt32Array::from(rows.rows.to_vec()), None).expect("rows are in range");
        let values = self.codec.encode(&[canonical(&chosen)], chosen.len());
        for (at, (group, row)) in rows.groups.iter().zip(rows.rows).enumerate() {
            self.push(*group as usize, order.value(*row as usize), values.value(at));
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let states = state[0].as_binary::<i64>();
        each_state(groups, states.nulls(), |group, row| {
            let mut bytes = states.value(row);
            while !bytes.is_empty() {
                let (order, value) = (take_bytes(&mut bytes), take_bytes(&mut bytes));
                self.push(group, order, value);
            }
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut states = LargeBinaryBuilder::with_capacity(groups.len(), 0);
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            for (order, value) in self.sorted(*group) {
                put_bytes(order, &mut bytes);
                put_bytes(value, &mut bytes);
            }
            states.append_value(&bytes);
        }
        vec![Arc::new(states.finish())]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        let lists: Vec<Vec<&Element>> = groups.iter().map(|group| self.sorted(*group)).collect();
        let values = self.codec.decode(lists.iter().flatten().map(|(_, value)| &**value));
        let values = values.into_iter().next().expect("the codec is of one column");
        let ArrowType::List(field) = DataType::list(self.element).arrow() else { unreachable!("it is a list") };
        let nulls = NullBuffer::new(BooleanBuffer::from_iter(lists.iter().map(|list| !list.is_empty())));
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
        Ok(Arc::new(ListArray::new(field, offsets, values, nulls)))
    }

    fn size_bytes(&self) -> usize {
        // A vector grows by doubling.
        self.lists.capacity() * size_of::<Vec<Element>>()
            + self.value_count * size_of::<Element>() * 3 / 2
            + self.heap_bytes
    }
}

fn put_bytes(value: &[u8], bytes: &mut Vec<u8>) {
    let length = u32::try_from(value.len()).expect("a value in an Arrow array is below 2 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = bytes.split_first_chunk().expect("a state holds whole values");
    let (value, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
    *bytes = rest;
    value
}
