//! The law of aggregates, tested on every entry of the table and every type it takes: the same multiset of values
//! gives the same state and the same result, whatever the order, the batches, the split and the merges.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    LargeStringArray, ListArray, NullArray, StringArray, StructArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType as ArrowType;

use super::{AGGREGATES, Accumulator, Aggregate, GroupId, Overflow, Rows};
use crate::expr::Literal;
use crate::value::DataType;

const TYPES: &[DataType] = &[
    DataType::Null,
    DataType::Bool,
    DataType::Int32,
    DataType::Int64,
    DataType::Float64,
    DataType::Decimal(38, 38),
    DataType::Decimal(38, 0),
    DataType::Decimal(18, 2),
    DataType::String,
    DataType::Timestamp,
    DataType::Date,
    DataType::Binary,
    DataType::Json,
];

/// Types within types; the rest of the tests' types is [`TYPES`].
fn nested_types() -> Vec<DataType> {
    let text = ["list<float64>", "struct<a: int64, b: list<string>>", "list<struct<x: float64>>", "list<list<json>>"];
    text.iter().map(|text| DataType::parse(text).unwrap()).collect()
}

/// Random numbers by splitmix64: small, and the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }

    /// Returns a double: of everyday size, a special one, or any bits at all.
    pub(super) fn float(&mut self) -> f64 {
        match self.below(10) {
            0..5 => (self.next() % 2_000_000) as f64 / 100.0 - 10_000.0,
            5 => self.pick(&[f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
            6 => self.pick(&[0.0, -0.0, 5e-324, -5e-324, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e300, -1e300]),
            7 => f64::from_bits(self.next() & 0x800f_ffff_ffff_ffff),
            _ => f64::from_bits(self.next()),
        }
    }
}

/// Makes a column of random values with nulls; with `tame`, of values that no sum of a few hundred overflows.
fn column(data_type: DataType, length: usize, tame: bool, random: &mut Random) -> ArrayRef {
    fn some<T>(length: usize, random: &mut Random, mut value: impl FnMut(&mut Random) -> T) -> Vec<Option<T>> {
        let null_share = random.pick(&[0, 0, 1, 5, 10]);
        (0..length).map(|_| (random.below(10) >= null_share).then(|| value(random))).collect()
    }
    let integer = move |random: &mut Random| match random.below(if tame { 2 } else { 4 }) {
        0 => random.below(10) as i64 - 5,
        1 => random.next() as i64 >> 20,
        2 => random.pick(&[i64::MIN, i64::MAX, 0]),
        _ => random.next() as i64,
    };
    let text = |random: &mut Random| random.pick(&["", "a", "ab", "ä", "b", "\u{10ffff}", "a longer text"]);
    match data_type {
        DataType::Null => Arc::new(NullArray::new(length)),
        DataType::Bool => Arc::new(BooleanArray::from(some(length, random, |random| random.below(4) == 0))),
        DataType::Int32 => Arc::new(Int32Array::from(some(length, random, |random| match random.below(3) {
            0 => random.pick(&[i32::MIN, i32::MAX, 0]),
            1 => random.below(10) as i32 - 5,
            _ => random.next() as i32,
        }))),
        DataType::Int64 => Arc::new(Int64Array::from(some(length, random, integer))),
        DataType::Float64 => {
            let everyday = random.below(3) == 0;
            Arc::new(Float64Array::from(some(length, random, |random| match everyday {
                true => (random.next() % 2_000_000) as f64 / 100.0 - 10_000.0,
                false => random.float(),
            })))
        }
        DataType::Decimal(precision, _) => {
            let most = 10i128.pow(precision.into()) - 1;
            let values = some(length, random, |random| match random.below(if tame { 1 } else { 3 }) {
                0 => i128::from(random.next() as i64 >> 8),
                1 => random.pick(&[most, -most, most / 2, 0]),
                _ => (i128::from(random.next()) << 64 | i128::from(random.next())) % (most + 1),
            });
            Arc::new(Decimal128Array::from(values).with_data_type(data_type.arrow()))
        }
        DataType::String => Arc::new(StringArray::from(some(length, random, text))),
        DataType::Timestamp => {
            Arc::new(TimestampMicrosecondArray::from(some(length, random, integer)).with_timezone("UTC"))
        }
        DataType::Date => Arc::new(Date32Array::from(some(length, random, |random| random.next() as i32 >> 12))),
        DataType::Binary => {
            let values = some(length, random, |random| {
                let size = random.below(4);
                random.next().to_le_bytes()[..size].to_vec()
            });
            Arc::new(values.into_iter().collect::<BinaryArray>())
        }
        DataType::Json => {
            let texts = ["1", "1.0", "\"a\"", "[1,null]", "{\"a\":1}", "{}", "true"];
            Arc::new(LargeStringArray::from(some(length, random, |random| random.pick(&texts))))
        }
        DataType::List(element) => {
            let lengths: Vec<usize> = (0..length).map(|_| random.below(4)).collect();
            let elements = column(*element, lengths.iter().sum(), tame, random);
            let ArrowType::List(field) = data_type.arrow() else { unreachable!() };
            let nulls = BooleanBuffer::collect_bool(length, |_| random.below(5) > 0);
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), elements, Some(nulls.into())))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| column(field.data_type, length, tame, random)).collect();
            let ArrowType::Struct(fields) = data_type.arrow() else { unreachable!() };
            let nulls = BooleanBuffer::collect_bool(length, |_| random.below(5) > 0);
            Arc::new(StructArray::new(fields, columns, Some(nulls.into())))
        }
    }
}

/// Computes an aggregate of one argument over one group: its rows in random order, batches and split.
pub(super) fn scattered(
    name: &str,
    data_type: DataType,
    array: ArrayRef,
    random: &mut Random,
) -> Result<ArrayRef, Overflow> {
    scattered_accumulator(name, data_type, array, random).finish(&[0])
}

/// Like [`scattered`]; returns the accumulator, whose only group is 0.
pub(super) fn scattered_accumulator(
    name: &str,
    data_type: DataType,
    array: ArrayRef,
    random: &mut Random,
) -> Box<dyn Accumulator> {
    let length = array.len();
    let case = Case {
        aggregate: super::find(name).unwrap(),
        types: vec![data_type],
        parameters: Vec::new(),
        arguments: vec![array],
        order: BinaryArray::from_iter_values((0..length as u64).map(u64::to_be_bytes)),
        groups: vec![0; length],
        group_count: 1,
    };
    case.scattered(random)
}

/// Returns a literal that fits for each of the aggregate's parameters.
fn parameters(aggregate: &dyn Aggregate, random: &mut Random) -> Vec<Literal> {
    let literals = ["0", "1", "0.5", "0.25", "0.999", "0.123456789"].map(|text| Literal::number(text).unwrap());
    aggregate
        .parameters()
        .iter()
        .map(|parameter| {
            let fitting: Vec<&Literal> = literals.iter().filter(|literal| (parameter.check)(literal).is_ok()).collect();
            fitting[random.below(fitting.len())].clone()
        })
        .collect()
}

/// One generated case: an aggregate, its argument, and which row is in which group.
struct Case {
    aggregate: &'static dyn Aggregate,
    types: Vec<DataType>,
    parameters: Vec<Literal>,
    arguments: Vec<ArrayRef>,
    order: BinaryArray,
    groups: Vec<GroupId>,
    group_count: usize,
}

/// What can be seen of an accumulator.
#[derive(Debug, PartialEq)]
struct Seen {
    state: Vec<ArrayRef>,
    result: Result<ArrayRef, Overflow>,
}

impl Case {
    fn new(aggregate: &'static dyn Aggregate, types: &[DataType], random: &mut Random) -> Self {
        let length = random.pick(&[0, 1, 2, 3, 10, 60, 200]);
        let group_count = random.pick(&[1, 2, 7]);
        let tame = random.below(2) == 0;
        // Few different order keys in some cases, so that equal ones meet.
        let orders = random.pick(&[3, 1000, usize::MAX]);
        let order: Vec<Vec<u8>> = (0..length)
            .map(|_| {
                let bytes = (random.below(orders) as u64).to_be_bytes();
                bytes[random.below(2) * random.below(8)..].to_vec()
            })
            .collect();
        Case {
            aggregate,
            types: types.to_vec(),
            parameters: parameters(aggregate, random),
            arguments: types.iter().map(|data_type| column(*data_type, length, tame, random)).collect(),
            order: BinaryArray::from_iter_values(order),
            groups: (0..length).map(|_| random.below(group_count) as GroupId).collect(),
            group_count,
        }
    }

    fn accumulator(&self) -> Box<dyn Accumulator> {
        self.aggregate.accumulator(&self.types, &self.parameters)
    }

    fn all_groups(&self) -> Vec<GroupId> {
        (0..self.group_count as GroupId).collect()
    }

    fn update(&self, accumulator: &mut dyn Accumulator, rows: &[u32], group_of: impl Fn(GroupId) -> GroupId) {
        let groups: Vec<GroupId> = rows.iter().map(|row| group_of(self.groups[*row as usize])).collect();
        let order = self.aggregate.needs_order().then_some(&self.order);
        accumulator.update(&Rows { groups: &groups, rows, arguments: &self.arguments, order });
    }

    /// All rows in one update.
    fn plain(&self) -> Box<dyn Accumulator> {
        let mut accumulator = self.accumulator();
        accumulator.resize(self.group_count);
        let rows: Vec<u32> = (0..self.groups.len() as u32).collect();
        self.update(&mut *accumulator, &rows, |group| group);
        accumulator
    }

    /// Rows in random order and batches over several accumulators that number the groups differently, grown on the way,
    /// merged in random order, some through accumulators that were merged into before. Null rows, where they are skipped, may be
    /// left out before.
    fn scattered(&self, random: &mut Random) -> Box<dyn Accumulator> {
        let mut rows: Vec<u32> = (0..self.groups.len() as u32).collect();
        random.shuffle(&mut rows);
        let part_count = 1 + random.below(4);
        let mut parts: Vec<(Box<dyn Accumulator>, Vec<GroupId>)> = Vec::new();
        for part in 0..part_count {
            // numbers[g] is what this part calls group g.
            let mut numbers = self.all_groups();
            random.shuffle(&mut numbers);
            let mut accumulator = self.accumulator();
            accumulator.resize(self.group_count);
            let own = &rows[part * rows.len() / part_count..(part + 1) * rows.len() / part_count];
            let mut own = own.to_vec();
            if let [column] = &self.arguments[..]
                && accumulator.skips_nulls()
                && random.below(2) == 0
            {
                own.retain(|row| column.is_valid(*row as usize));
            }
            let batch = random.pick(&[1, 2, 7, 64, 4096]);
            for chunk in own.chunks(batch) {
                self.update(&mut *accumulator, chunk, |group| numbers[group as usize]);
                accumulator.resize(random.below(2 * self.group_count));
            }
            parts.push((accumulator, numbers));
        }
        while parts.len() > 1 {
            let (from, from_numbers) = parts.swap_remove(random.below(parts.len()));
            let into = random.below(parts.len());
            let (into, into_numbers) = &mut parts[into];
            let mut groups = self.all_groups();
            random.shuffle(&mut groups);
            let state = from.state(&numbered(&from_numbers, &groups));
            into.merge(&numbered(into_numbers, &groups), &state);
        }
        let (last, numbers) = parts.pop().unwrap();
        let mut result = self.accumulator();
        result.resize(self.group_count);
        result.merge(&self.all_groups(), &last.state(&numbered(&numbers, &self.all_groups())));
        result
    }
}

fn numbered(numbers: &[GroupId], groups: &[GroupId]) -> Vec<GroupId> {
    groups.iter().map(|group| numbers[*group as usize]).collect()
}

fn seen(accumulator: &dyn Accumulator, groups: &[GroupId]) -> Seen {
    Seen { state: accumulator.state(groups), result: accumulator.finish(groups) }
}

/// Calls `check` with random cases of every aggregate and every list of argument types that it takes.
fn for_every_entry(count: u64, check: impl Fn(&Case, &mut Random)) {
    let mut checked = 0;
    let types = || TYPES.iter().copied().chain(nested_types());
    let alone = std::iter::once(vec![]).chain(types().map(|data_type| vec![data_type]));
    let pairs = types().flat_map(|first| types().map(move |second| vec![first, second]));
    let (alone, pairs): (Vec<_>, Vec<_>) = (alone.collect(), pairs.collect());
    for aggregate in AGGREGATES {
        let accepts = |lists: &[Vec<DataType>]| -> Vec<Vec<DataType>> {
            lists.iter().filter(|types| aggregate.output_type(types).is_ok()).cloned().collect()
        };
        let mut accepted = accepts(&alone);
        let mut count = count;
        if accepted.is_empty() {
            accepted = accepts(&pairs);
            count = count.div_ceil(20);
        }
        assert!(!accepted.is_empty(), "{} takes nothing that this test knows", aggregate.name());
        for types in &accepted {
            for seed in 0..count {
                let random = &mut Random(seed);
                let case = Case::new(*aggregate, types, random);
                let name = format!("{}{types:?}, seed {seed}", aggregate.name());
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case, random)));
                assert!(outcome.is_ok(), "the law is broken by {name}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50 * count, "only {checked} cases");
}

#[test]
fn order_batches_splits_and_merges_change_neither_state_nor_result() {
    for_every_entry(60, |case, random| {
        let expected = seen(&*case.plain(), &case.all_groups());
        for _ in 0..4 {
            assert_eq!(seen(&*case.scattered(random), &case.all_groups()), expected);
        }
    });
}

#[test]
fn result_has_the_type_that_was_announced() {
    for_every_entry(20, |case, _| {
        let output = case.aggregate.output_type(&case.types).unwrap();
        if let Ok(result) = case.plain().finish(&case.all_groups()) {
            assert_eq!(result.data_type(), &output.arrow());
            assert_eq!(result.len(), case.group_count);
        }
    });
}

#[test]
fn groups_are_returned_in_the_order_asked_for() {
    for_every_entry(20, |case, random| {
        let accumulator = case.plain();
        let groups: Vec<GroupId> = (0..9).map(|_| random.below(case.group_count) as GroupId).collect();
        let chosen = UInt32Array::from(groups.clone());
        let all = seen(&*accumulator, &case.all_groups());
        let some = seen(&*accumulator, &groups);
        for (all, some) in all.state.iter().zip(&some.state) {
            assert_eq!(&take(all, &chosen, None).unwrap(), some);
        }
        if let (Ok(all), Ok(some)) = (all.result, some.result) {
            assert_eq!(&take(&all, &chosen, None).unwrap(), &some);
        }
        assert!(accumulator.state(&[]).iter().all(|array| array.is_empty()));
        assert_eq!(accumulator.finish(&[]).unwrap().len(), 0);
    });
}

#[test]
fn resize_makes_empty_groups_and_never_shrinks() {
    for_every_entry(20, |case, _| {
        let mut accumulator = case.plain();
        let before = seen(&*accumulator, &case.all_groups());
        accumulator.resize(0);
        assert_eq!(seen(&*accumulator, &case.all_groups()), before);
        accumulator.resize(case.group_count + 3);
        assert_eq!(seen(&*accumulator, &case.all_groups()), before);
        let mut fresh = case.accumulator();
        fresh.resize(1);
        assert_eq!(seen(&*accumulator, &[case.group_count as GroupId + 2]), seen(&*fresh, &[0]));
        // The state of an empty group changes nothing.
        accumulator.merge(&[0, 0], &fresh.state(&[0, 0]));
        assert_eq!(seen(&*accumulator, &case.all_groups()), before);
        assert!(accumulator.size_bytes() > 0);
    });
}

#[test]
fn a_slice_of_an_array_is_read_as_such() {
    for_every_entry(20, |case, _| {
        let length = case.groups.len();
        if length < 3 {
            return;
        }
        let sliced = Case {
            arguments: case.arguments.iter().map(|array| array.slice(1, length - 2)).collect(),
            order: case.order.slice(1, length - 2),
            groups: case.groups[1..length - 1].to_vec(),
            types: case.types.clone(),
            parameters: case.parameters.clone(),
            ..*case
        };
        let mut expected = case.accumulator();
        expected.resize(case.group_count);
        let rows: Vec<u32> = (1..length as u32 - 1).collect();
        case.update(&mut *expected, &rows, |group| group);
        let expected = seen(&*expected, &case.all_groups());
        assert_eq!(seen(&*sliced.plain(), &case.all_groups()), expected);
        // A checkpoint may hand states back as slices too.
        let state = sliced.plain().state(&[&[0], &case.all_groups()[..]].concat());
        let state: Vec<ArrayRef> = state.iter().map(|array| array.slice(1, case.group_count)).collect();
        let mut merged = case.accumulator();
        merged.resize(case.group_count);
        merged.merge(&case.all_groups(), &state);
        assert_eq!(seen(&*merged, &case.all_groups()), expected);
    });
}

#[test]
fn table_is_complete_and_described() {
    let mut names: Vec<_> = AGGREGATES.iter().map(|aggregate| aggregate.name()).collect();
    for aggregate in AGGREGATES {
        assert!(!aggregate.help().is_empty(), "{} has no help", aggregate.name());
        assert!(aggregate.about().example.call.contains(&format!("{}(", aggregate.name())));
        assert_eq!(aggregate.name(), aggregate.name().to_lowercase());
        assert_eq!(super::find(aggregate.name()).unwrap().help(), aggregate.help());
        let refused = aggregate.output_type(&[DataType::Int64; 9]).unwrap_err();
        assert!(refused.contains("not 9"), "{refused}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), AGGREGATES.len(), "two aggregates have one name");
}

#[test]
fn every_file_of_the_folder_is_part_of_the_crate() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/aggregate");
    let table = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").expect("only Rust files are here");
        if module == "mod" {
            continue;
        }
        count += 1;
        assert!(table.lines().any(|line| line == format!("mod {module};")), "{name} is not declared in mod.rs");
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let is_aggregate = text.lines().any(|line| line.starts_with("impl Aggregate for "));
        let is_listed = table.contains(&format!("    &{module}::"));
        assert_eq!(is_aggregate, is_listed, "{name}: an aggregate must be in the table, and nothing else can be");
    }
    assert!(count >= 8);
}
