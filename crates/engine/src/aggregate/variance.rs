//! `var_pop`, `var_samp`, `stddev_pop`, `stddev_samp`: from exact Σx and Σx², rounded once.
//!
//! Every argument is taken as the exact rational number it is, decimals included, and the result is float64: the
//! double nearest to (n·Σx² − (Σx)²) / (n·n) or / (n·(n−1)), half to even, infinite when beyond the doubles; the standard
//! deviation is the square root of that double. One NaN or infinity among the values makes the result NaN, except that
//! `_samp` of one value is null whatever the value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{Decimal128Type, Float64Type, Int32Type, Int64Type};

use super::scalar::{each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, only_argument};
use crate::exact::{Wide, parts};
use crate::expr::Literal;
use crate::value::DataType;

/// One of the four.
pub(super) struct Variance {
    about: About,
    sample: bool,
    root: bool,
}

/// `var_pop(x)`.
pub(super) const VAR_POP: Variance = Variance {
    about: About {
        name: "var_pop",
        help: "variance of the values as the whole population, exact and rounded once",
        flink: Some("VAR_POP(x)"),
        duckdb: Some("var_pop(x)"),
        example: Example { over: &["x int64: 1, 2, null, 3, 4"], call: "var_pop(x)", result: "1.25" },
        parameters: &[],
    },
    sample: false,
    root: false,
};
/// `var_samp(x)`.
pub(super) const VAR_SAMP: Variance = Variance {
    about: About {
        name: "var_samp",
        help: "variance of the values as a sample, exact and rounded once; null of one value",
        flink: Some("VAR_SAMP(x)"),
        duckdb: Some("var_samp(x)"),
        example: Example { over: &["x int64: 1, 2, 3"], call: "var_samp(x)", result: "1.0" },
        parameters: &[],
    },
    sample: true,
    root: false,
};
/// `stddev_pop(x)`.
pub(super) const STDDEV_POP: Variance = Variance {
    about: About {
        name: "stddev_pop",
        help: "square root of var_pop",
        flink: Some("STDDEV_POP(x)"),
        duckdb: Some("stddev_pop(x)"),
        example: Example { over: &["x float64: 1.0, 5.0"], call: "stddev_pop(x)", result: "2.0" },
        parameters: &[],
    },
    sample: false,
    root: true,
};
/// `stddev_samp(x)`.
pub(super) const STDDEV_SAMP: Variance = Variance {
    about: About {
        name: "stddev_samp",
        help: "square root of var_samp; null of one value",
        flink: Some("STDDEV_SAMP(x)"),
        duckdb: Some("stddev_samp(x)"),
        example: Example { over: &["x float64: 7.0, null"], call: "stddev_samp(x)", result: "null" },
        parameters: &[],
    },
    sample: true,
    root: true,
};

impl Aggregate for Variance {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match only_argument(arguments)? {
            argument if argument.is_numeric() => Ok(DataType::Float64),
            other => Err(format!("takes a number, not {other}")),
        }
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        let scale = match arguments[0] {
            DataType::Decimal(_, scale) => scale,
            _ => 0,
        };
        Box::new(Variances {
            argument: arguments[0],
            scale,
            sample: self.sample,
            root: self.root,
            moments: Vec::new(),
            heap_bytes: 0,
        })
    }
}

/// The moments of each group, and what is to be made of them.
struct Variances {
    argument: DataType,
    /// Decimals are summed as unscaled integers; the result is divided by 10^(2·scale).
    scale: u8,
    sample: bool,
    root: bool,
    moments: Vec<Moments>,
    heap_bytes: usize,
}

/// How many values a group has, and their exact sum and sum of squares.
#[derive(Clone, Default)]
struct Moments {
    count: i64,
    not_finite: bool,
    sum: Wide,
    squares: Wide,
}

impl Moments {
    /// Changes the moments and keeps count of the bytes they hold outside themselves.
    #[inline(always)]
    fn change(&mut self, heap_bytes: &mut usize, change: impl FnOnce(&mut Self)) {
        let before = self.heap_bytes();
        change(self);
        *heap_bytes += self.heap_bytes() - before;
    }

    fn heap_bytes(&self) -> usize {
        self.sum.heap_bytes() + self.squares.heap_bytes()
    }

    fn add_f64(&mut self, x: f64) {
        self.count += 1;
        if x.is_finite() {
            let (magnitude, exponent, negative) = parts(x);
            self.sum.add(u128::from(magnitude), exponent, negative);
            self.squares.add(u128::from(magnitude) * u128::from(magnitude), 2 * exponent, false);
        } else {
            self.not_finite = true;
        }
    }

    fn add_i64(&mut self, x: i64) {
        self.count += 1;
        self.sum.add_integer(i128::from(x), 0);
        let magnitude = u128::from(x.unsigned_abs());
        self.squares.add(magnitude * magnitude, 0, false);
    }

    fn add_i128(&mut self, x: i128) {
        self.count += 1;
        self.sum.add_integer(x, 0);
        // (h·2^64 + l)² in three parts; h is below 2^63, as no decimal reaches 2^127.
        let (high, low) = (x.unsigned_abs() >> 64, x.unsigned_abs() & u128::from(u64::MAX));
        self.squares.add(low * low, 0, false);
        self.squares.add(high * low, 65, false);
        self.squares.add(high * high, 128, false);
    }

    /// Returns the variance, rounded once.
    fn variance(&self, scale: u8, sample: bool) -> Option<f64> {
        let count = self.count as u64;
        let degrees = if sample { count.saturating_sub(1) } else { count };
        if degrees == 0 {
            return None;
        }
        if self.not_finite {
            return Some(f64::NAN);
        }
        let mut numerator = self.squares.times(count);
        numerator.add_wide(&self.sum.squared().negated());
        let mut divisors = vec![count, degrees];
        let mut digits = 2 * u32::from(scale);
        while digits > 0 {
            let some = digits.min(19);
            divisors.push(10u64.pow(some));
            digits -= some;
        }
        Some(numerator.divided_to_f64(&divisors))
    }
}

impl Accumulator for Variances {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.moments, groups, Moments::default());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let (array, moments, heap_bytes) = (&rows.arguments[0], &mut self.moments[..], &mut self.heap_bytes);
        match self.argument {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                each_valid(rows, array.nulls(), |group, row| {
                    moments[group].change(heap_bytes, |moments| moments.add_f64(values[row]));
                });
            }
            DataType::Int32 => {
                let values = array.as_primitive::<Int32Type>().values();
                each_valid(rows, array.nulls(), |group, row| {
                    moments[group].change(heap_bytes, |moments| moments.add_i64(values[row].into()));
                });
            }
            DataType::Int64 => {
                let values = array.as_primitive::<Int64Type>().values();
                each_valid(rows, array.nulls(), |group, row| {
                    moments[group].change(heap_bytes, |moments| moments.add_i64(values[row]));
                });
            }
            _ => {
                let values = array.as_primitive::<Decimal128Type>().values();
                each_valid(rows, array.nulls(), |group, row| {
                    moments[group].change(heap_bytes, |moments| moments.add_i128(values[row]));
                });
            }
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let counts = state[0].as_primitive::<Int64Type>().values();
        let not_finite = state[1].as_boolean();
        let (sums, squares) = (state[2].as_binary::<i32>(), state[3].as_binary::<i32>());
        for (row, group) in groups.iter().enumerate() {
            self.moments[*group as usize].change(&mut self.heap_bytes, |moments| {
                moments.count += counts[row];
                moments.not_finite |= not_finite.value(row);
                moments.sum.add_wide(&Wide::decode(sums.value(row)));
                moments.squares.add_wide(&Wide::decode(squares.value(row)));
            });
        }
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let of = |group: &GroupId| &self.moments[*group as usize];
        let counts: Int64Array = groups.iter().map(|group| Some(of(group).count)).collect();
        let not_finite: BooleanArray = groups.iter().map(|group| Some(of(group).not_finite)).collect();
        let sums = encoded(groups.iter().map(|group| &of(group).sum));
        let squares = encoded(groups.iter().map(|group| &of(group).squares));
        vec![Arc::new(counts), Arc::new(not_finite), sums, squares]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        let result = |group: &GroupId| {
            let variance = self.moments[*group as usize].variance(self.scale, self.sample)?;
            Some(if self.root { variance.sqrt() } else { variance })
        };
        Ok(Arc::new(groups.iter().map(result).collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        self.moments.capacity() * size_of::<Moments>() + self.heap_bytes
    }
}

fn encoded<'a>(numbers: impl Iterator<Item = &'a Wide>) -> ArrayRef {
    let mut states = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for number in numbers {
        bytes.clear();
        number.encode(&mut bytes);
        states.append_value(&bytes);
    }
    Arc::new(states.finish())
}
