//! Lists: made, taken apart, searched, sorted, joined.
//!
//! Positions count from 1, negative ones from the end (−1 is the last element). A null list gives null; null is an element
//! like any other, less than the others. Order and equality are those of `<` and `=`, with null equal to itself.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, ListArray, StringArray, StringBuilder,
    UInt32Array, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType as ArrowType, Decimal128Type, Field, Float64Type, Int64Type};

use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::exact::Wide;
use crate::expr::coerce::common_type;
use crate::expr::decimal;
use crate::expr::operand::{Call, Value};
use crate::group::KeyCodec;
use crate::value::{DataType, MAX_TYPE_DEPTH};

const BASE: Function = super::base(Family::Nested);

/// How many elements `range` may give, so that one row cannot exhaust the memory.
const MOST_ELEMENTS: i128 = 1_000_000;

pub(super) static LIST: Function = Function {
    name: "list_value",
    help: "A list of the values",
    signature: "(any, …) → list<any>",
    types: |arguments| {
        let element = common_type(arguments)?;
        Ok(Signature { arguments: vec![element; arguments.len()], result: deeper(element)? })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(make),
    sql: "[{0*, }]",
    flink: "ARRAY[{0*, }]",
    duckdb: "[{0*, }]",
    example: ("[1, null, 2]", "[1,null,2]"),
    ..BASE
};

pub(super) static ELEMENT: Function = Function {
    name: "list_element",
    aliases: &["list_extract", "array_extract"],
    help: "The element at a position; null if there is none",
    signature: "(list<any>, int64) → any",
    types: |arguments| {
        let element = list_of(arguments, 2..=2, &ELEMENT)?;
        integers(arguments, 1, &ELEMENT)?;
        Ok(Signature { arguments: vec![arguments_list(element), DataType::Int64], result: element })
    },
    kernel: Kernel::Rows(|call| {
        let (lists, positions) = (Lists::of(call, 0), call.numbers::<Int64Type>(1));
        let places = (0..call.rows).map(|row| {
            let range = lists.get(row).filter(|_| !positions.is_null(row))?;
            place(&range, positions.value(row)).map(|at| at as u32)
        });
        pick(&lists, places.collect(), call)
    }),
    sql: "list_element({0}, {1})",
    flink: "{0}[{1}]",
    duckdb: "{0}[{1}]",
    differs: "Flink fails for positions below 1",
    example: ("[10, 20][2]", "20"),
    ..BASE
};

pub(super) static LENGTH: Function = Function {
    name: "list_length",
    aliases: &["array_length", "cardinality"],
    help: "How many elements a list has, nulls among them",
    signature: "(list<any>) → int64",
    types: |arguments| {
        let element = list_of(arguments, 1..=1, &LENGTH)?;
        Ok(Signature { arguments: vec![arguments_list(element)], result: DataType::Int64 })
    },
    kernel: Kernel::Rows(|call| {
        let lists = Lists::of(call, 0);
        Arc::new((0..call.rows).map(|row| lists.get(row).map(|range| range.len() as i64)).collect::<Int64Array>())
    }),
    sql: "list_length({0})",
    flink: "CARDINALITY({0})",
    duckdb: "len({0})",
    example: ("list_length(['a', null])", "2"),
    ..BASE
};

pub(super) static CONTAINS: Function = Function {
    name: "list_contains",
    aliases: &["array_contains", "list_has", "array_has"],
    help: "Whether a list has an element that equals a value",
    signature: "(list<any>, any) → bool",
    types: |arguments| searched(arguments, &CONTAINS, DataType::Bool),
    kernel: Kernel::Rows(|call| {
        Arc::new(found(call).into_iter().map(|found| Some(found?.is_some())).collect::<BooleanArray>())
    }),
    sql: "list_contains({0}, {1})",
    flink: "ARRAY_CONTAINS({0}, {1})",
    duckdb: "list_contains({0}, {1})",
    differs: "Flink finds null in a list that has one",
    example: ("list_contains(['a', 'b'], 'b')", "true"),
    ..BASE
};

pub(super) static POSITION: Function = Function {
    name: "list_position",
    aliases: &["array_position", "list_indexof", "array_indexof"],
    help: "The position of the first element that equals a value; null if there is none",
    signature: "(list<any>, any) → int64",
    types: |arguments| searched(arguments, &POSITION, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        Arc::new(found(call).into_iter().map(|found| found?.map(|at| at as i64 + 1)).collect::<Int64Array>())
    }),
    sql: "list_position({0}, {1})",
    flink: "NULLIF(ARRAY_POSITION({0}, {1}), 0)",
    duckdb: "list_position({0}, {1})",
    differs: "DuckDB finds a null where null is sought",
    example: ("list_position(['a', 'b'], 'b')", "2"),
    ..BASE
};

pub(super) static SLICE: Function = Function {
    name: "list_slice",
    aliases: &["array_slice"],
    help: "The elements from one position to another, both included",
    signature: "(list<any>, int64, int64) → list<any>",
    types: |arguments| {
        let element = list_of(arguments, 3..=3, &SLICE)?;
        integers(arguments, 1, &SLICE)?;
        let list = arguments_list(element);
        Ok(Signature { arguments: vec![list, DataType::Int64, DataType::Int64], result: list })
    },
    kernel: Kernel::Rows(|call| {
        let (lists, from, to) = (Lists::of(call, 0), call.numbers::<Int64Type>(1), call.numbers::<Int64Type>(2));
        let rows = (0..call.rows).map(|row| {
            let range = lists.get(row).filter(|_| !from.is_null(row) && !to.is_null(row))?;
            let from_end = |position: i64| if position < 0 { position + range.len() as i64 + 1 } else { position };
            let first = from_end(from.value(row)).max(1);
            let last = from_end(to.value(row)).min(range.len() as i64);
            Some((first..=last).map(|position| (range.start + position as usize - 1) as u32).collect())
        });
        build(rows.collect(), &lists.values, call)
    }),
    sql: "list_slice({0}, {1}, {2})",
    flink: "ARRAY_SLICE({0}, {1}, {2})",
    duckdb: "list_slice({0}, {1}, {2})",
    example: ("list_slice([1, 2, 3], 2, -1)", "[2,3]"),
    ..BASE
};

pub(super) static SORT: Function = Function {
    name: "list_sort",
    aliases: &["array_sort"],
    help: "The elements in their order, nulls first",
    signature: "(list<any>) → list<any>",
    types: |arguments| same(arguments, &SORT),
    kernel: Kernel::Rows(|call| sorted(call, false)),
    sql: "list_sort({0})",
    flink: "ARRAY_SORT({0}, TRUE, TRUE)",
    duckdb: "list_sort({0}, 'ASC', 'NULLS FIRST')",
    differs: "DuckDB orders nested nulls last",
    example: ("list_sort([3, null, 1])", "[null,1,3]"),
    ..BASE
};

pub(super) static REVERSE_SORT: Function = Function {
    name: "list_reverse_sort",
    aliases: &["array_reverse_sort"],
    help: "The elements in reverse order, nulls last",
    signature: "(list<any>) → list<any>",
    types: |arguments| same(arguments, &REVERSE_SORT),
    kernel: Kernel::Rows(|call| sorted(call, true)),
    sql: "list_reverse_sort({0})",
    flink: "ARRAY_SORT({0}, FALSE, FALSE)",
    duckdb: "list_sort({0}, 'DESC', 'NULLS LAST')",
    example: ("list_reverse_sort([3, null, 1])", "[3,1,null]"),
    ..BASE
};

pub(super) static REVERSE: Function = Function {
    name: "list_reverse",
    aliases: &["array_reverse"],
    help: "The elements from the last to the first",
    signature: "(list<any>) → list<any>",
    types: |arguments| same(arguments, &REVERSE),
    kernel: Kernel::Rows(|call| each(call, |range, _| range.rev().map(|at| at as u32).collect())),
    sql: "list_reverse({0})",
    flink: "ARRAY_REVERSE({0})",
    duckdb: "list_reverse({0})",
    example: ("list_reverse([1, 2])", "[2,1]"),
    ..BASE
};

pub(super) static DISTINCT: Function = Function {
    name: "list_distinct",
    aliases: &["array_distinct"],
    help: "The elements without repetitions, each where it stood first; null is one of them",
    signature: "(list<any>) → list<any>",
    types: |arguments| same(arguments, &DISTINCT),
    kernel: Kernel::Rows(|call| {
        each(call, |range, order| {
            let mut seen = HashSet::new();
            range.filter(|at| seen.insert(order.value(*at))).map(|at| at as u32).collect()
        })
    }),
    sql: "list_distinct({0})",
    flink: "ARRAY_DISTINCT({0})",
    example: ("list_distinct([2, null, 1, 2])", "[2,null,1]"),
    ..BASE
};

pub(super) static CONCAT: Function = Function {
    name: "list_concat",
    aliases: &["list_cat", "array_concat", "array_cat"],
    help: "The elements of several lists, one after the other",
    signature: "(list<any>, …) → list<any>",
    types: |arguments| {
        expect_count(arguments, 1..=usize::MAX, &CONCAT)?;
        let common = common_type(arguments)?;
        if !matches!(common, DataType::List(_)) {
            return Err(refuse(arguments, &CONCAT));
        }
        Ok(Signature { arguments: vec![common; arguments.len()], result: common })
    },
    kernel: Kernel::Rows(|call| {
        let lists: Vec<Lists<'_>> = (0..call.arguments.len()).map(|index| Lists::of(call, index)).collect();
        join(call, &lists, |row, lists| {
            let ranges: Vec<Range<usize>> = lists.iter().map(|list| list.get(row)).collect::<Option<_>>()?;
            Some(ranges.into_iter().enumerate().flat_map(|(list, range)| range.map(move |at| (list, at))).collect())
        })
    }),
    sql: "list_concat({0*, })",
    flink: "ARRAY_CONCAT({0*, })",
    example: ("list_concat([1], [2, 3])", "[1,2,3]"),
    ..BASE
};

pub(super) static APPEND: Function = Function {
    name: "list_append",
    aliases: &["array_append"],
    help: "A list with one more element at its end",
    signature: "(list<any>, any) → list<any>",
    types: |arguments| extended(arguments, 0, &APPEND),
    null_gives_null: false,
    kernel: Kernel::Rows(|call| extend(call, 0)),
    sql: "list_append({0}, {1})",
    flink: "ARRAY_APPEND({0}, {1})",
    example: ("list_append([1], 2)", "[1,2]"),
    ..BASE
};

pub(super) static PREPEND: Function = Function {
    name: "list_prepend",
    aliases: &["array_prepend"],
    help: "A list with one more element before the others",
    signature: "(any, list<any>) → list<any>",
    types: |arguments| extended(arguments, 1, &PREPEND),
    null_gives_null: false,
    kernel: Kernel::Rows(|call| extend(call, 1)),
    sql: "list_prepend({0}, {1})",
    flink: "ARRAY_PREPEND({1}, {0})",
    example: ("list_prepend(0, [1])", "[0,1]"),
    ..BASE
};

pub(super) static MIN: Function = Function {
    name: "list_min",
    aliases: &["array_min"],
    help: "The least element, nulls aside; null if there is none",
    signature: "(list<any>) → any",
    types: |arguments| {
        let element = list_of(arguments, 1..=1, &MIN)?;
        Ok(Signature { arguments: vec![arguments_list(element)], result: element })
    },
    kernel: Kernel::Rows(|call| extreme(call, false)),
    sql: "list_min({0})",
    flink: "ARRAY_MIN({0})",
    duckdb: "list_min({0})",
    example: ("list_min([2, null, 1])", "1"),
    ..BASE
};

pub(super) static MAX: Function = Function {
    name: "list_max",
    aliases: &["array_max"],
    help: "The greatest element, nulls aside; null if there is none",
    signature: "(list<any>) → any",
    types: |arguments| {
        let element = list_of(arguments, 1..=1, &MAX)?;
        Ok(Signature { arguments: vec![arguments_list(element)], result: element })
    },
    kernel: Kernel::Rows(|call| extreme(call, true)),
    sql: "list_max({0})",
    flink: "ARRAY_MAX({0})",
    duckdb: "list_max({0})",
    example: ("list_max([2, null, 1])", "2"),
    ..BASE
};

pub(super) static SUM: Function = Function {
    name: "list_sum",
    help: "The sum of the elements, nulls aside: of floats exact and rounded once; null if there is none",
    signature: "(list<number>) → number",
    types: |arguments| {
        let (element, result) = match list_of(arguments, 1..=1, &SUM)? {
            DataType::Int32 | DataType::Int64 | DataType::Null => (DataType::Int64, DataType::Int64),
            DataType::Float64 => (DataType::Float64, DataType::Float64),
            decimal @ DataType::Decimal(_, scale) => (decimal, DataType::Decimal(38, scale)),
            _ => return Err(refuse(arguments, &SUM)),
        };
        Ok(Signature { arguments: vec![DataType::list(element)], result })
    },
    kernel: Kernel::Rows(sum),
    sql: "list_sum({0})",
    duckdb: "list_sum({0})",
    differs: "DuckDB adds floats in order",
    example: ("list_sum([1, null, 2])", "3"),
    ..BASE
};

pub(super) static FLATTEN: Function = Function {
    name: "flatten",
    help: "The elements of a list of lists as one list; a null list has none",
    signature: "(list<list<any>>) → list<any>",
    types: |arguments| match list_of(arguments, 1..=1, &FLATTEN)? {
        inner @ DataType::List(_) => Ok(Signature { arguments: vec![DataType::list(inner)], result: inner }),
        _ => Err(refuse(arguments, &FLATTEN)),
    },
    kernel: Kernel::Rows(|call| {
        let lists = Lists::of(call, 0);
        let inner = Lists { nulls: lists.values.nulls().cloned(), ..Lists::plain(lists.values.as_list::<i32>()) };
        let rows = (0..call.rows)
            .map(|row| Some(lists.get(row)?.filter_map(|at| inner.get(at)).flatten().map(|at| at as u32).collect()));
        build(rows.collect(), &inner.values, call)
    }),
    sql: "flatten({0})",
    duckdb: "flatten({0})",
    example: ("flatten([[1], [2, 3]])", "[1,2,3]"),
    ..BASE
};

pub(super) static RANGE: Function = Function {
    name: "range",
    help: "The integers from the first up to but without the second, by steps of 1 or of the third",
    signature: "(int64, int64[, int64]) → list<int64>",
    types: |arguments| {
        expect_count(arguments, 2..=3, &RANGE)?;
        integers(arguments, 0, &RANGE)?;
        Ok(Signature { arguments: vec![DataType::Int64; arguments.len()], result: DataType::list(DataType::Int64) })
    },
    kernel: Kernel::Rows(range),
    sql: "range({0*, })",
    duckdb: "range({0*, })",
    example: ("range(1, 4)", "[1,2,3]"),
    ..BASE
};

pub(super) static SPLIT: Function = Function {
    name: "string_split",
    aliases: &["str_split", "string_to_array", "split"],
    help: "The parts of a text between separators; without a separator its characters",
    signature: "(string, string) → list<string>",
    types: |arguments| {
        expect_count(arguments, 2..=2, &SPLIT)?;
        texts(arguments, &SPLIT)?;
        Ok(Signature { arguments: vec![DataType::String; 2], result: DataType::list(DataType::String) })
    },
    kernel: Kernel::Rows(split),
    sql: "string_split({0}, {1})",
    flink: "SPLIT({0}, {1})",
    duckdb: "string_split({0}, {1})",
    differs: "in DuckDB a null separator splits nothing, and the empty text has one empty part",
    example: ("string_split('a,b', ',')", "[\"a\",\"b\"]"),
    ..BASE
};

pub(super) static TO_STRING: Function = Function {
    name: "array_to_string",
    aliases: &["list_to_string", "array_join"],
    help: "The elements with a separator between them; nulls are left out, or written as the third argument",
    signature: "(list<string>, string[, string]) → string",
    types: |arguments| {
        let element = list_of(arguments, 2..=3, &TO_STRING)?;
        if !matches!(element, DataType::String | DataType::Null) {
            return Err(refuse(arguments, &TO_STRING));
        }
        texts(&arguments[1..], &TO_STRING)?;
        let mut types = vec![DataType::String; arguments.len()];
        types[0] = DataType::list(DataType::String);
        Ok(Signature { arguments: types, result: DataType::String })
    },
    kernel: Kernel::Rows(to_string),
    sql: "array_to_string({0*, })",
    flink: "ARRAY_JOIN({0*, })",
    duckdb: "array_to_string({0*, })",
    example: ("array_to_string(['a', null, 'b'], '-')", "a-b"),
    ..BASE
};

/// Returns the list type of such elements, if types may nest so deep.
fn deeper(element: DataType) -> Result<DataType, String> {
    match element.depth() < MAX_TYPE_DEPTH {
        true => Ok(DataType::list(element)),
        false => Err(format!("types nest at most {MAX_TYPE_DEPTH} deep")),
    }
}

fn arguments_list(element: DataType) -> DataType {
    DataType::list(element)
}

/// Returns the type of the elements of the first argument.
fn list_of(
    arguments: &[Argument<'_>],
    counts: std::ops::RangeInclusive<usize>,
    function: &Function,
) -> Result<DataType, String> {
    expect_count(arguments, counts, function)?;
    match arguments[0].data_type {
        DataType::List(element) => Ok(*element),
        DataType::Null => Ok(DataType::Null),
        _ => Err(refuse(arguments, function)),
    }
}

fn integers(arguments: &[Argument<'_>], from: usize, function: &Function) -> Result<(), String> {
    let is_integer = |argument: &Argument<'_>| argument.data_type.is_integer() || argument.data_type == DataType::Null;
    if arguments[from..].iter().all(is_integer) { Ok(()) } else { Err(refuse(arguments, function)) }
}

fn texts(arguments: &[Argument<'_>], function: &Function) -> Result<(), String> {
    let is_text = |argument: &Argument<'_>| matches!(argument.data_type, DataType::String | DataType::Null);
    if arguments.iter().all(is_text) { Ok(()) } else { Err(refuse(arguments, function)) }
}

fn same(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    let list = arguments_list(list_of(arguments, 1..=1, function)?);
    Ok(Signature { arguments: vec![list], result: list })
}

fn searched(arguments: &[Argument<'_>], function: &Function, result: DataType) -> Result<Signature, String> {
    let element = list_of(arguments, 2..=2, function)?;
    let common = common_type(&[Argument { data_type: element, literal: None }, arguments[1]])?;
    Ok(Signature { arguments: vec![arguments_list(common), common], result })
}

fn extended(arguments: &[Argument<'_>], list: usize, function: &Function) -> Result<Signature, String> {
    expect_count(arguments, 2..=2, function)?;
    let element = list_of(&arguments[list..=list], 1..=1, function).map_err(|_| refuse(arguments, function))?;
    let common = common_type(&[Argument { data_type: element, literal: None }, arguments[1 - list]])?;
    let result = deeper(common)?;
    let mut types = vec![common; 2];
    types[list] = result;
    Ok(Signature { arguments: types, result })
}

/// A list operand: where each row's elements stand.
#[derive(Clone)]
struct Lists<'a> {
    array: &'a ListArray,
    nulls: Option<NullBuffer>,
    values: ArrayRef,
    one: bool,
}

impl<'a> Lists<'a> {
    fn of(call: &Call<'a>, index: usize) -> Self {
        let arguments: &'a [Value] = call.arguments;
        let one = matches!(arguments[index], Value::One(_));
        Lists { one, ..Lists::plain(arguments[index].array().as_list::<i32>()) }
    }

    fn plain(array: &'a ListArray) -> Self {
        Lists { array, nulls: array.nulls().cloned(), values: array.values().clone(), one: false }
    }

    /// Returns where the elements of a row's list stand; None for null.
    fn get(&self, row: usize) -> Option<Range<usize>> {
        let row = if self.one { 0 } else { row };
        let offsets = self.array.value_offsets();
        let is_there = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        is_there.then(|| offsets[row] as usize..offsets[row + 1] as usize)
    }
}

/// Returns bytes that order as the values do.
fn order_of(values: &ArrayRef) -> BinaryArray {
    KeyCodec::of_arrow(vec![values.data_type().clone()]).encode(std::slice::from_ref(values), values.len())
}

/// Returns where the element at a position stands.
fn place(range: &Range<usize>, position: i64) -> Option<usize> {
    let count = range.len() as i64;
    let index = if position < 0 { position.checked_add(count)? } else { position - 1 };
    (0..count).contains(&index).then(|| range.start + index as usize)
}

/// Makes lists of the values at these places.
fn build(rows: Vec<Option<Vec<u32>>>, values: &ArrayRef, call: &Call<'_>) -> ArrayRef {
    let ArrowType::List(field) = call.result.arrow() else { unreachable!("it gives lists") };
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let places: UInt32Array = rows.into_iter().flatten().flatten().collect();
    let values = taken(values, &places, field.data_type());
    Arc::new(ListArray::new(field, offsets, values, Some(nulls).filter(|nulls| nulls.null_count() > 0)))
}

/// Takes values; there may be none to take from.
fn taken(values: &ArrayRef, places: &UInt32Array, data_type: &ArrowType) -> ArrayRef {
    if places.is_empty() {
        return new_empty_array(data_type);
    }
    take(values, places, None).expect("places are in range")
}

/// Returns the values at these places, one a row.
fn pick(lists: &Lists<'_>, places: Vec<Option<u32>>, call: &Call<'_>) -> ArrayRef {
    if lists.values.is_empty() || lists.values.data_type() == &ArrowType::Null {
        return arrow::array::new_null_array(&call.result.arrow(), places.len());
    }
    take(&lists.values, &UInt32Array::from(places), None).expect("places are in range")
}

/// Makes of each list one of its elements, chosen from where they stand and bytes of their order.
fn each(call: &mut Call<'_>, choose: impl Fn(Range<usize>, &BinaryArray) -> Vec<u32>) -> ArrayRef {
    let lists = Lists::of(call, 0);
    let order = order_of(&lists.values);
    let rows = (0..call.rows).map(|row| Some(choose(lists.get(row)?, &order)));
    build(rows.collect(), &lists.values, call)
}

fn sorted(call: &mut Call<'_>, descending: bool) -> ArrayRef {
    each(call, |range, order| {
        let mut places: Vec<u32> = range.map(|at| at as u32).collect();
        places.sort_by(|a, b| {
            let ordering = order.value(*a as usize).cmp(order.value(*b as usize));
            if descending { ordering.reverse() } else { ordering }
        });
        places
    })
}

fn extreme(call: &mut Call<'_>, greatest: bool) -> ArrayRef {
    let lists = Lists::of(call, 0);
    let order = order_of(&lists.values);
    let nulls = lists.values.logical_nulls();
    let places = (0..call.rows).map(|row| {
        let present = lists.get(row)?.filter(|at| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*at)));
        let best = match greatest {
            true => present.max_by_key(|at| order.value(*at)),
            false => present.min_by_key(|at| order.value(*at)),
        };
        best.map(|at| at as u32)
    });
    pick(&lists, places.collect(), call)
}

/// Returns for each row, unless an operand is null, the index of the first element that equals the value.
fn found(call: &mut Call<'_>) -> Vec<Option<Option<usize>>> {
    let lists = Lists::of(call, 0);
    let wanted = call.arguments[1].array();
    if wanted.data_type() == &ArrowType::Null {
        return vec![None; call.rows];
    }
    let (order, keys) = (order_of(&lists.values), order_of(wanted));
    let one = matches!(call.arguments[1], Value::One(_));
    let search = |row: usize| {
        let at = if one { 0 } else { row };
        let mut range = lists.get(row).filter(|_| wanted.is_valid(at))?;
        let start = range.start;
        Some(range.find(|place| order.value(*place) == keys.value(at)).map(|place| place - start))
    };
    (0..call.rows).map(search).collect()
}

fn make(call: &mut Call<'_>) -> ArrayRef {
    let ArrowType::List(field) = call.result.arrow() else { unreachable!("it gives lists") };
    let count = call.arguments.len();
    let values = match count {
        0 => new_empty_array(field.data_type()),
        _ => {
            let arrays: Vec<&dyn Array> = call.arguments.iter().map(|value| value.array().as_ref()).collect();
            let starts: Vec<usize> = starts(&arrays);
            let places: UInt32Array = (0..call.rows)
                .flat_map(|row| (0..count).map(move |argument| (row, argument)))
                .map(|(row, argument)| {
                    let at = if matches!(call.arguments[argument], Value::One(_)) { 0 } else { row };
                    Some((starts[argument] + at) as u32)
                })
                .collect();
            let all = concat(&arrays).expect("the elements of a list have one type");
            taken(&all, &places, field.data_type())
        }
    };
    Arc::new(ListArray::new(field, OffsetBuffer::from_repeated_length(count, call.rows), values, None))
}

fn starts(arrays: &[&dyn Array]) -> Vec<usize> {
    let ends = arrays.iter().scan(0, |end, array| {
        *end += array.len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Makes lists of elements of several: `choose` names for a row the lists and the places in them.
fn join(
    call: &Call<'_>,
    lists: &[Lists<'_>],
    choose: impl Fn(usize, &[Lists<'_>]) -> Option<Vec<(usize, usize)>>,
) -> ArrayRef {
    let arrays: Vec<&dyn Array> = lists.iter().map(|list| list.values.as_ref()).collect();
    let starts = starts(&arrays);
    let all = concat(&arrays).expect("the lists have one type");
    let rows = (0..call.rows).map(|row| {
        let chosen = choose(row, lists)?;
        Some(chosen.into_iter().map(|(list, at)| (starts[list] + at) as u32).collect())
    });
    build(rows.collect(), &all, call)
}

/// Adds the other argument to the list: at its end when the list is the first one, else before it.
fn extend(call: &mut Call<'_>, list: usize) -> ArrayRef {
    let (lists, value) = (Lists::of(call, list), &call.arguments[1 - list]);
    let arrays: [&dyn Array; 2] = [lists.values.as_ref(), value.array().as_ref()];
    let start = lists.values.len();
    let all = concat(&arrays).expect("the element has the list's type");
    let rows = (0..call.rows).map(|row| {
        let range = lists.get(row)?;
        let added = (start + if matches!(value, Value::One(_)) { 0 } else { row }) as u32;
        let mut places: Vec<u32> = range.map(|at| at as u32).collect();
        places.insert(if list == 0 { places.len() } else { 0 }, added);
        Some(places)
    });
    build(rows.collect(), &all, call)
}

fn sum(call: &mut Call<'_>) -> ArrayRef {
    let lists = Lists::of(call, 0);
    let values = &lists.values;
    let valid = |at: &usize| values.is_valid(*at);
    match call.result {
        DataType::Float64 => {
            let floats = values.as_primitive::<Float64Type>();
            let total = |range: Range<usize>| {
                let present: Vec<f64> = range.filter(valid).map(|at| floats.value(at)).collect();
                (!present.is_empty()).then(|| float_sum(&present))
            };
            let sums = (0..call.rows).map(|row| total(lists.get(row)?));
            Arc::new(sums.collect::<arrow::array::Float64Array>())
        }
        DataType::Decimal(precision, _) => {
            let digits = values.as_primitive::<Decimal128Type>();
            let result = call.result.arrow();
            let sums = totals(call, &lists, |at| digits.value(at), |total| decimal::fits(total, precision));
            Arc::new(sums.into_iter().collect::<arrow::array::Decimal128Array>().with_data_type(result))
        }
        _ => {
            let integers = values.as_primitive::<Int64Type>();
            let sums = totals(call, &lists, |at| integers.value(at).into(), |total| i64::try_from(total).is_ok());
            Arc::new(sums.into_iter().map(|sum| sum.map(|sum| sum as i64)).collect::<Int64Array>())
        }
    }
}

fn float_sum(values: &[f64]) -> f64 {
    let finite = values.iter().filter(|x| x.is_finite());
    let odd: f64 = values.iter().filter(|x| !x.is_finite()).sum();
    let mut exact = Wide::default();
    finite.for_each(|x| exact.add_f64(*x));
    // Without infinities and NaN the sum of them is zero.
    crate::value::canonical_f64(if odd == 0.0 { exact.to_f64() } else { odd })
}

/// Returns the total of each list, null where there is nothing to add; one that does not fit fails the row.
fn totals(
    call: &mut Call<'_>,
    lists: &Lists<'_>,
    value: impl Fn(usize) -> i128,
    fits: impl Fn(i128) -> bool,
) -> Vec<Option<i128>> {
    let mut sums = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let present = lists.get(row).into_iter().flatten().filter(|at| lists.values.is_valid(*at));
        let (mut count, mut total) = (0usize, Some(0i128));
        for at in present {
            count += 1;
            total = total.and_then(|total| total.checked_add(value(at)));
        }
        let sum = total.filter(|total| fits(*total));
        if count > 0 && sum.is_none() {
            let result = call.result;
            call.fail(row, || format!("list_sum: the sum does not fit {result}").into());
        }
        sums.push(sum.filter(|_| count > 0));
    }
    sums
}

fn range(call: &mut Call<'_>) -> ArrayRef {
    let ArrowType::List(field) = call.result.arrow() else { unreachable!("it gives lists") };
    let operands: Vec<_> = (0..call.arguments.len()).map(|index| call.numbers::<Int64Type>(index)).collect();
    let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let given: Option<Vec<i128>> =
            operands.iter().map(|operand| (!operand.is_null(row)).then(|| operand.value(row).into())).collect();
        let before = values.len();
        let made = given.map(|given| {
            let (from, to, step) = (given[0], given[1], given.get(2).copied().unwrap_or(1));
            if step == 0 {
                return Err("range: the step is 0".into());
            }
            let count = ((to - from) + (step - step.signum())) / step;
            if count > MOST_ELEMENTS {
                return Err(format!("range: more than {MOST_ELEMENTS} elements").into());
            }
            values.extend((0..count.max(0)).map(|i| (from + i * step) as i64));
            Ok(())
        });
        if let Some(Err(reason)) = made.clone() {
            call.fail(row, || reason);
        }
        valid.push(matches!(made, Some(Ok(()))));
        lengths.push(values.len() - before);
    }
    let nulls = NullBuffer::from(valid);
    let values: ArrayRef = Arc::new(Int64Array::from(values));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, nulls))
}

fn split(call: &mut Call<'_>) -> ArrayRef {
    let (texts, separators) = (call.texts(0), call.texts(1));
    let (mut parts, mut lengths, mut valid) = (StringBuilder::new(), Vec::new(), Vec::new());
    for row in 0..call.rows {
        let is_there = !texts.is_null(row) && !separators.is_null(row);
        let mut count = 0;
        if is_there {
            let mut push = |part: &str| {
                parts.append_value(part);
                count += 1;
            };
            match (texts.value(row), separators.value(row)) {
                (text, "") => text.char_indices().for_each(|(at, c)| push(&text[at..at + c.len_utf8()])),
                (text, separator) => text.split(separator).for_each(push),
            }
        }
        lengths.push(count);
        valid.push(is_there);
    }
    let field = Arc::new(Field::new("item", ArrowType::Utf8, true));
    let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), Arc::new(parts.finish()), nulls))
}

fn to_string(call: &mut Call<'_>) -> ArrayRef {
    let (lists, separators) = (Lists::of(call, 0), call.texts(1));
    let stand_ins = (call.arguments.len() > 2).then(|| call.texts(2));
    let elements = lists.values.as_string::<i32>();
    let join = |row: usize| {
        let range = lists.get(row).filter(|_| !separators.is_null(row))?;
        let stand_in = match &stand_ins {
            Some(stand_ins) if stand_ins.is_null(row) => return None,
            stand_ins => stand_ins.as_ref().map(|stand_ins| stand_ins.value(row)),
        };
        let written = range.filter_map(|at| if elements.is_valid(at) { Some(elements.value(at)) } else { stand_in });
        Some(written.collect::<Vec<_>>().join(separators.value(row)))
    };
    Arc::new((0..call.rows).map(join).collect::<StringArray>())
}
