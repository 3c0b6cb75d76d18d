//! `approx_quantile(x, q)`: by counts of values in buckets whose bounds are a fixed share apart, as in DDSketch.
//!
//! A bucket is what floats have in common in sign, exponent and the first six bits of the fraction, so there are 64 in
//! every doubling, their bounds are exact and no logarithm is taken. Counts add up, so the result does not depend on order
//! or merges, and nothing is ever collapsed.
//!
//! With n values (numbers of other types made the nearest float64), the result stands for the value number ⌊q·(n−1)⌋,
//! the least being number 0: it is the middle of that value's bucket, or the least or greatest value if that is nearer, so
//! it is at most 1/128 (0.8 %) of the value away. Values below 2.3e-308 count as zero. Infinities and NaN, which is the
//! greatest, have buckets of their own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, LargeBinaryBuilder};
use arrow::datatypes::{Decimal128Type, Float64Type, Int32Type, Int64Type};
use hashbrown::HashMap;

use super::quantile::{Q, of_numbers, share};
use super::scalar::{FloatKind, each_state, each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows};
use crate::expr::Literal;
use crate::expr::decimal;
use crate::value::{DataType, canonical_f64};

/// `approx_quantile(x, q)`.
pub(super) struct ApproxQuantile;

const ABOUT: About = About {
    name: "approx_quantile",
    help: "quantile in little memory, float64: at most 1/128 (0.8 %) of its value away from the value number ⌊q·(n−1)⌋",
    flink: None,
    duckdb: Some("approx_quantile(x, q)"),
    example: Example { over: &["x int64: 1, 100, null, 1000"], call: "approx_quantile(x, 0.5)", result: "100.5" },
    parameters: &[Q],
};

impl Aggregate for ApproxQuantile {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn grows(&self) -> bool {
        true
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        of_numbers(arguments)
    }

    fn accumulator(&self, arguments: &[DataType], parameters: &[Literal]) -> Box<dyn Accumulator> {
        let q = share(&parameters[0]).expect("the parameter was checked");
        Box::new(Sketches { q, argument: arguments[0], sketches: Vec::new(), bucket_count: 0 })
    }
}

/// How many bits of a float's key tell nothing about its bucket.
const LOWER_BITS: u32 = 52 - 6;

/// Returns the bucket of a float, given as the integer that orders like it.
fn bucket(key: i64) -> i32 {
    (key >> LOWER_BITS) as i32
}

/// Returns the middle of a bucket.
fn middle(bucket: i32) -> f64 {
    const LEAST_NORMAL: i32 = 1 << 6;
    const INFINITY: i32 = 0x7ff << 6;
    match bucket {
        ..0 => canonical_f64(-middle(-1 - bucket)),
        0..LEAST_NORMAL => 0.0,
        INFINITY => f64::INFINITY,
        LEAST_NORMAL..INFINITY => f64::from_bits((bucket as u64) << LOWER_BITS | 1 << (LOWER_BITS - 1)),
        _ => f64::NAN,
    }
}

/// The sketches of all groups.
struct Sketches {
    q: (u64, u64),
    argument: DataType,
    sketches: Vec<Sketch>,
    bucket_count: usize,
}

/// How many values each bucket has, and the ends of all. Floats are kept as integers that order like them.
#[derive(Clone)]
struct Sketch {
    counts: HashMap<i32, u64>,
    least: i64,
    greatest: i64,
}

impl Sketch {
    fn new() -> Self {
        Self { counts: HashMap::new(), least: i64::MAX, greatest: i64::MIN }
    }

    fn sorted(&self) -> Vec<(i32, u64)> {
        let mut counts: Vec<(i32, u64)> = self.counts.iter().map(|(bucket, count)| (*bucket, *count)).collect();
        counts.sort_unstable();
        counts
    }
}

impl Sketches {
    fn add(&mut self, group: usize, value: f64) {
        let key = FloatKind::key(value);
        let sketch = &mut self.sketches[group];
        sketch.least = sketch.least.min(key);
        sketch.greatest = sketch.greatest.max(key);
        let bucket_count = &mut self.bucket_count;
        *sketch.counts.entry(bucket(key)).or_insert_with(|| {
            *bucket_count += 1;
            0
        }) += 1;
    }

    fn quantile(&self, group: GroupId) -> Option<f64> {
        let sketch = &self.sketches[group as usize];
        let counts = sketch.sorted();
        let count: u64 = counts.iter().map(|(_, count)| count).sum();
        let (part, whole) = self.q;
        let rank = (u128::from(part) * u128::from(count.checked_sub(1)?) / u128::from(whole)) as u64;
        let mut before = 0;
        let found = counts.iter().find(|(_, count)| {
            before += count;
            before > rank
        });
        let (bucket, _) = found.expect("the rank is below the count");
        let key = FloatKind::key(middle(*bucket)).clamp(sketch.least, sketch.greatest);
        Some(FloatKind::float(key))
    }
}

impl Accumulator for Sketches {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.sketches, groups, Sketch::new());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = &rows.arguments[0];
        match self.argument {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                each_valid(rows, array.nulls(), |group, row| self.add(group, values[row]));
            }
            DataType::Int32 => {
                let values = array.as_primitive::<Int32Type>().values();
                each_valid(rows, array.nulls(), |group, row| self.add(group, values[row].into()));
            }
            DataType::Decimal(_, scale) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                each_valid(rows, array.nulls(), |group, row| self.add(group, decimal::to_f64(values[row], scale)));
            }
            _ => {
                let values = array.as_primitive::<Int64Type>().values();
                each_valid(rows, array.nulls(), |group, row| self.add(group, values[row] as f64));
            }
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let states = state[0].as_binary::<i64>();
        each_state(groups, states.nulls(), |group, row| {
            let (ends, counts) = states.value(row).split_at(16);
            let (ends, _) = ends.as_chunks::<8>();
            let sketch = &mut self.sketches[group];
            sketch.least = sketch.least.min(i64::from_le_bytes(ends[0]));
            sketch.greatest = sketch.greatest.max(i64::from_le_bytes(ends[1]));
            let (counts, _) = counts.as_chunks::<12>();
            for bytes in counts {
                let (bucket, count) = bytes.split_first_chunk::<4>().expect("12 bytes have 4");
                let count = u64::from_le_bytes(count.try_into().expect("8 bytes are left"));
                let before = sketch.counts.len();
                *sketch.counts.entry(i32::from_le_bytes(*bucket)).or_insert(0) += count;
                self.bucket_count += sketch.counts.len() - before;
            }
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut states = LargeBinaryBuilder::with_capacity(groups.len(), 0);
        let mut bytes = Vec::new();
        for group in groups {
            let sketch = &self.sketches[*group as usize];
            if sketch.counts.is_empty() {
                states.append_null();
                continue;
            }
            bytes.clear();
            bytes.extend_from_slice(&sketch.least.to_le_bytes());
            bytes.extend_from_slice(&sketch.greatest.to_le_bytes());
            for (bucket, count) in sketch.sorted() {
                bytes.extend_from_slice(&bucket.to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
            }
            states.append_value(&bytes);
        }
        vec![Arc::new(states.finish())]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(Arc::new(groups.iter().map(|group| self.quantile(*group)).collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        // A table holds a byte beside each pair, and is between 7/16 and 7/8 full.
        self.sketches.capacity() * size_of::<Sketch>() + self.bucket_count * (size_of::<(i32, u64)>() + 1) * 3 / 2
    }
}
