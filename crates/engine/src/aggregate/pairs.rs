//! `covar_pop`, `covar_samp`, `corr` and `regr_slope` of pairs `(y, x)`: from exact sums, rounded once.
//!
//! Pairs with a null are skipped. Every argument is taken as the exact rational number it is, decimals included. With
//! `N = n·Σxy − Σx·Σy`, `X = n·Σx² − (Σx)²` and `Y = n·Σy² − (Σy)²`, all exact, the results are the doubles nearest to
//! `N / (n·n)`, `N / (n·(n−1))` and, for the slope, `N / X`; `corr` is the square root of the double nearest to
//! `N² / (X·Y)`, with the sign of `N`, so that it is 1 or −1 exactly when all pairs lie on a line. What would divide by
//! zero is null. One NaN or infinity among the values makes the result NaN, except that the result is null where so few
//! pairs never have one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{Decimal128Type, Float64Type, Int32Type, Int64Type};

use super::scalar::{each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, two_arguments};
use crate::exact::{Wide, parts};
use crate::expr::Literal;
use crate::value::{DataType, canonical_f64};

/// One of the four.
pub(super) struct Pairs {
    about: About,
    measure: Measure,
}

/// Which of the four.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    CovarPop,
    CovarSamp,
    Corr,
    Slope,
}

/// `covar_pop(y, x)`.
pub(super) const COVAR_POP: Pairs = Pairs {
    about: About {
        name: "covar_pop",
        help: "covariance of the pairs as the whole population, exact and rounded once",
        flink: Some("COVAR_POP(y, x)"),
        duckdb: Some("covar_pop(y, x)"),
        example: Example { over: &["y int64: 1, 2, 4", "x int64: 1, 3, 5"], call: "covar_pop(y, x)", result: "2.0" },
        parameters: &[],
    },
    measure: Measure::CovarPop,
};
/// `covar_samp(y, x)`.
pub(super) const COVAR_SAMP: Pairs = Pairs {
    about: About {
        name: "covar_samp",
        help: "covariance of the pairs as a sample, exact and rounded once; null of one pair",
        flink: Some("COVAR_SAMP(y, x)"),
        duckdb: Some("covar_samp(y, x)"),
        example: Example { over: &["y int64: 1, 2, 4", "x int64: 1, 3, 5"], call: "covar_samp(y, x)", result: "3.0" },
        parameters: &[],
    },
    measure: Measure::CovarSamp,
};
/// `corr(y, x)`.
pub(super) const CORR: Pairs = Pairs {
    about: About {
        name: "corr",
        help: "correlation of the pairs: the root of the exact r², rounded, with the sign; null if either side is constant",
        flink: None,
        duckdb: Some("corr(y, x)"),
        example: Example {
            over: &["y float64: 0.3, 0.2, null, 0.1", "x int64: 1, 2, 3, 3"],
            call: "corr(y, x)",
            result: "-1.0",
        },
        parameters: &[],
    },
    measure: Measure::Corr,
};
/// `regr_slope(y, x)`.
pub(super) const REGR_SLOPE: Pairs = Pairs {
    about: About {
        name: "regr_slope",
        help: "slope of the line of least squares, y over x, exact and rounded once; null if x is constant",
        flink: None,
        duckdb: Some("regr_slope(y, x)"),
        example: Example { over: &["y int64: 1, 2, 4", "x int64: 1, 3, 5"], call: "regr_slope(y, x)", result: "0.75" },
        parameters: &[],
    },
    measure: Measure::Slope,
};

impl Aggregate for Pairs {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        let (y, x) = two_arguments(arguments)?;
        match [y, x].into_iter().find(|argument| !argument.is_numeric()) {
            None => Ok(DataType::Float64),
            Some(other) => Err(format!("takes two numbers, not {other}")),
        }
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        let scale = |argument: DataType| match argument {
            DataType::Decimal(_, scale) => scale,
            _ => 0,
        };
        Box::new(PairSums {
            arguments: [arguments[0], arguments[1]],
            scales: [scale(arguments[0]), scale(arguments[1])],
            measure: self.measure,
            sums: Vec::new(),
            heap_bytes: 0,
        })
    }
}

/// The sums of each group, and what is to be made of them.
struct PairSums {
    arguments: [DataType; 2],
    /// Decimals are summed as unscaled integers.
    scales: [u8; 2],
    measure: Measure,
    sums: Vec<Sums>,
    heap_bytes: usize,
}

/// How many pairs a group has, and their exact sums.
#[derive(Clone, Default)]
struct Sums {
    count: i64,
    not_finite: bool,
    /// Σy, Σx, Σxy, Σx², Σy²; the squares only where the result needs them.
    sums: [Wide; 5],
}

/// A finite number: `±magnitude · 2^exponent`; None stands for NaN and the infinities.
type Number = Option<(u128, i32, bool)>;

/// Returns the reader of a column's numbers.
fn numbers(array: &ArrayRef, data_type: DataType) -> Box<dyn Fn(usize) -> Number + '_> {
    let whole = |x: i128| Some((x.unsigned_abs(), 0, x < 0));
    match data_type {
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Box::new(|row| {
                let x = values[row];
                x.is_finite().then(|| {
                    let (magnitude, exponent, negative) = parts(x);
                    (u128::from(magnitude), exponent, negative)
                })
            })
        }
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>().values();
            Box::new(move |row| whole(values[row].into()))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            Box::new(move |row| whole(values[row].into()))
        }
        _ => {
            let values = array.as_primitive::<Decimal128Type>().values();
            Box::new(move |row| whole(values[row]))
        }
    }
}

/// Adds the exact product of two numbers.
fn add_product(sum: &mut Wide, a: (u128, i32, bool), b: (u128, i32, bool)) {
    let (exponent, negative) = (a.1 + b.1, a.2 != b.2);
    let halves = |x: u128| [(x & u128::from(u64::MAX), 0), (x >> 64, 64)];
    for (a, a_bits) in halves(a.0) {
        for (b, b_bits) in halves(b.0) {
            sum.add(a * b, exponent + a_bits + b_bits, negative);
        }
    }
}

impl Sums {
    /// Takes in a pair.
    fn add(&mut self, y: Number, x: Number, measure: Measure) {
        self.count += 1;
        let (Some(y), Some(x)) = (y, x) else {
            self.not_finite = true;
            return;
        };
        let [sum_y, sum_x, products, squares_x, squares_y] = &mut self.sums;
        sum_y.add(y.0, y.1, y.2);
        sum_x.add(x.0, x.1, x.2);
        add_product(products, y, x);
        if measure.needs(3) {
            add_product(squares_x, x, x);
        }
        if measure.needs(4) {
            add_product(squares_y, y, y);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.sums.iter().map(Wide::heap_bytes).sum()
    }

    /// Changes the sums and keeps count of the bytes they hold outside themselves.
    fn change(&mut self, heap_bytes: &mut usize, change: impl FnOnce(&mut Self)) {
        let before = self.heap_bytes();
        change(self);
        *heap_bytes += self.heap_bytes() - before;
    }

    /// Returns `n · Σab − Σa · Σb`.
    fn spread(&self, products: usize, a: usize, b: usize) -> Wide {
        let mut spread = self.sums[products].times(self.count as u64);
        spread.add_wide(&self.sums[a].multiplied(&self.sums[b]).negated());
        spread
    }

    fn finish(&self, measure: Measure, [y_scale, x_scale]: [u8; 2]) -> Option<f64> {
        let count = self.count as u64;
        if count < measure.least_count() {
            return None;
        }
        if self.not_finite {
            return Some(f64::NAN);
        }
        let numerator = self.spread(2, 0, 1);
        match measure {
            Measure::CovarPop | Measure::CovarSamp => {
                let degrees = if measure == Measure::CovarPop { count } else { count - 1 };
                let denominator = power_of_ten(y_scale + x_scale).times(count).times(degrees);
                Some(numerator.ratio_to_f64(&denominator))
            }
            Measure::Slope => {
                let squares = self.spread(3, 1, 1);
                // (N / 10^(sy+sx)) / (X / 10^(2·sx))
                let (up, down) = (power_of_ten(x_scale), power_of_ten(y_scale));
                (!squares.is_zero()).then(|| numerator.multiplied(&up).ratio_to_f64(&squares.multiplied(&down)))
            }
            Measure::Corr => {
                let product = self.spread(3, 1, 1).multiplied(&self.spread(4, 0, 0));
                (!product.is_zero()).then(|| {
                    let root = numerator.squared().ratio_to_f64(&product).sqrt();
                    if numerator.is_negative() { 0.0 - root } else { root }
                })
            }
        }
    }
}

fn power_of_ten(digits: u8) -> Wide {
    let mut one = Wide::default();
    one.add_integer(1, 0);
    (0..digits).fold(one, |power, _| power.times(10))
}

impl Measure {
    /// Returns whether the sum of that number is needed.
    fn needs(self, sum: usize) -> bool {
        match self {
            Measure::CovarPop | Measure::CovarSamp => sum < 3,
            Measure::Slope => sum < 4,
            Measure::Corr => true,
        }
    }

    /// Returns how many pairs there must be for a result that is not null.
    fn least_count(self) -> u64 {
        match self {
            Measure::CovarPop => 1,
            Measure::CovarSamp | Measure::Slope | Measure::Corr => 2,
        }
    }
}

impl Accumulator for PairSums {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.sums, groups, Sums::default());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let (y_array, x_array) = (&rows.arguments[0], &rows.arguments[1]);
        let (y, x) = (numbers(y_array, self.arguments[0]), numbers(x_array, self.arguments[1]));
        let (sums, heap_bytes, measure) = (&mut self.sums[..], &mut self.heap_bytes, self.measure);
        each_valid(rows, y_array.nulls(), |group, row| {
            if x_array.is_valid(row) {
                sums[group].change(heap_bytes, |sums| sums.add(y(row), x(row), measure));
            }
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let counts = state[0].as_primitive::<Int64Type>().values();
        let not_finite = state[1].as_boolean();
        for (row, group) in groups.iter().enumerate() {
            self.sums[*group as usize].change(&mut self.heap_bytes, |sums| {
                sums.count += counts[row];
                sums.not_finite |= not_finite.value(row);
                for (sum, array) in sums.sums.iter_mut().zip(&state[2..]) {
                    sum.add_wide(&Wide::decode(array.as_binary::<i32>().value(row)));
                }
            });
        }
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let of = |group: &GroupId| &self.sums[*group as usize];
        let counts: Int64Array = groups.iter().map(|group| Some(of(group).count)).collect();
        let not_finite: BooleanArray = groups.iter().map(|group| Some(of(group).not_finite)).collect();
        let mut state: Vec<ArrayRef> = vec![Arc::new(counts), Arc::new(not_finite)];
        for sum in (0..5).filter(|sum| self.measure.needs(*sum)) {
            let mut encoded = BinaryBuilder::new();
            let mut bytes = Vec::new();
            for group in groups {
                bytes.clear();
                of(group).sums[sum].encode(&mut bytes);
                encoded.append_value(&bytes);
            }
            state.push(Arc::new(encoded.finish()));
        }
        state
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        // A negative result that is rounded to zero is −0.0.
        let result = |group: &GroupId| self.sums[*group as usize].finish(self.measure, self.scales).map(canonical_f64);
        Ok(Arc::new(groups.iter().map(result).collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        self.sums.capacity() * size_of::<Sums>() + self.heap_bytes
    }
}
