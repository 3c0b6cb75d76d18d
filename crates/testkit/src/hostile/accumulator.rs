//! Values for an aggregate, folded in two ways and merged, against the oracle's integers of any size.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch};
use engine::DataType;
use engine::aggregate::{Accumulator, GroupId, Rows, find};

use crate::case::expr::Aggregate;
use crate::oracle;
use crate::random::Random;
use crate::rows;
use crate::value::{Type, Value};

/// Those of numbers that have no parameter.
const AGGREGATES: &[Aggregate] = &[
    Aggregate::Sum,
    Aggregate::Avg,
    Aggregate::VarPop,
    Aggregate::VarSamp,
    Aggregate::StddevPop,
    Aggregate::CovarPop,
    Aggregate::CovarSamp,
    Aggregate::Corr,
    Aggregate::RegrSlope,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::CountDistinct,
    Aggregate::ApproxCountDistinct,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::ArgMin,
    Aggregate::ArgMax,
    Aggregate::ArrayAgg,
];

/// More values than this say nothing new, and the oracle is slow.
const MOST: usize = 300;

/// The first byte chooses the aggregate, the second integers or floats, the third how values are cut; then eight a value.
pub(super) fn run(bytes: &[u8]) {
    let [which, kind, seed, values @ ..] = bytes else { return };
    let function = AGGREGATES[usize::from(*which) % AGGREGATES.len()];
    let (ty, data_type) = if kind & 1 == 0 { (Type::Int64, DataType::Int64) } else { (Type::Float, DataType::Float64) };
    let (values, _) = values.as_chunks::<8>();
    let values: Vec<Option<u64>> = values
        .iter()
        .take(MOST)
        .map(|value| {
            let value = u64::from_le_bytes(*value);
            // One word stands for null.
            (value != u64::from_le_bytes(*b"nullnull")).then_some(value)
        })
        .collect();
    let two = matches!(
        function,
        Aggregate::CovarPop
            | Aggregate::CovarSamp
            | Aggregate::Corr
            | Aggregate::RegrSlope
            | Aggregate::ArgMin
            | Aggregate::ArgMax
    );
    let width = 1 + usize::from(two);
    let rows = values.len() / width;
    let column = |at: usize| -> ArrayRef {
        let values = (0..rows).map(|row| values[row * width + at]);
        match data_type {
            DataType::Int64 => Arc::new(values.map(|value| value.map(|value| value as i64)).collect::<Int64Array>()),
            // As they come out of the decoder: one NaN, no −0.0.
            _ => Arc::new(
                values.map(|value| value.map(|value| canonical(f64::from_bits(value)))).collect::<Float64Array>(),
            ),
        }
    };
    let arguments: Vec<ArrayRef> = (0..width).map(column).collect();
    let aggregate = find(function.sql()).expect("the aggregate is in the table");
    if aggregate.output_type(&vec![data_type; width]).is_err() {
        return;
    }
    let make = || aggregate.accumulator(&vec![data_type; width], &[]);
    let orders = BinaryArray::from_iter_values((0..rows as u64).map(u64::to_be_bytes));
    let found = folded(&make, &arguments, &orders, &mut Random::new((*seed).into()));
    let arguments = arguments.into_iter().enumerate().map(|(i, values)| (format!("a{i}"), values));
    let given = match rows {
        0 => Vec::new(),
        _ => rows::values(&RecordBatch::try_from_iter(arguments).expect("columns of one length")),
    };
    let expected = oracle::aggregate_of(function, &vec![ty; width], &given);
    assert_eq!(found, expected, "{} of {given:?}", function.sql());
}

fn canonical(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x + 0.0 }
}

/// Folds rows into several accumulators, in pieces and out of order, merges their states, and returns the result.
fn folded(
    make: &dyn Fn() -> Box<dyn Accumulator>,
    arguments: &[ArrayRef],
    orders: &BinaryArray,
    random: &mut Random,
) -> Option<Value> {
    let mut parts: Vec<Box<dyn Accumulator>> = (0..1 + random.below(3)).map(|_| make()).collect();
    parts.iter_mut().for_each(|part| part.resize(2));
    let mut rows: Vec<u32> = (0..orders.len() as u32).collect();
    random.shuffle(&mut rows);
    let mut rest = &rows[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + random.below(rest.len()));
        let groups: Vec<GroupId> = vec![1; piece.len()];
        let at = random.below(parts.len());
        parts[at].update(&Rows { groups: &groups, rows: piece, arguments, order: Some(orders) });
        rest = after;
    }
    let mut whole = make();
    whole.resize(1);
    parts.iter().for_each(|part| whole.merge(&[0], &part.state(&[1])));
    // A state is a function of the values, and comes back from itself.
    let mut again = make();
    again.resize(1);
    again.merge(&[0], &whole.state(&[0]));
    assert_eq!(again.state(&[0]), whole.state(&[0]), "a state that is merged into nothing is the same");
    let result = whole.finish(&[0]).ok()?;
    let result = RecordBatch::try_from_iter([("result", result)]).expect("a column");
    rows::values(&result).pop().and_then(|mut row| row.pop())
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let floats =
        [1.5, -1.5, 0.1, 1e300, -1e300, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY, f64::NAN, 0.0, 3.0, 0.1];
    let integers = [1, -1, i64::MAX, i64::MIN, 0, 7, 7, 1 << 53, 100, -100];
    let mut seeds = Vec::new();
    for which in 0..AGGREGATES.len() as u8 {
        let head = |kind, seed| vec![which, kind, seed];
        seeds.push(integers.iter().fold(head(0, which), |mut bytes, value| {
            bytes.extend(value.to_le_bytes());
            bytes
        }));
        seeds.push(floats.iter().fold(head(1, 3 + which), |mut bytes, value| {
            bytes.extend(value.to_le_bytes());
            bytes
        }));
    }
    seeds
}
