//! `sum`, `avg` and the variances against arithmetic that cannot err: natural numbers as digits, added and multiplied as
//! at school. A result is right when the exact value lies within half a unit of the double that was returned, so nothing
//! here rounds. Sums are also compared with the crate `bitrep`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{Decimal128Type, Float64Type};

use super::law::{Random, scattered, scattered_accumulator};
use crate::value::{DataType, canonical_f64};

/// A natural number, 32 bits a digit, the lowest first, no zero at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Natural(Vec<u32>);

impl Natural {
    fn new(mut value: u128) -> Self {
        let mut digits = Vec::new();
        while value > 0 {
            digits.push(value as u32);
            value >>= 32;
        }
        Natural(digits)
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn digit(&self, index: usize) -> u64 {
        u64::from(self.0.get(index).copied().unwrap_or(0))
    }

    fn plus(&self, other: &Self) -> Self {
        let mut digits = Vec::new();
        let mut carry = 0;
        for index in 0..=self.0.len().max(other.0.len()) {
            let sum = self.digit(index) + other.digit(index) + carry;
            digits.push(sum as u32);
            carry = sum >> 32;
        }
        Natural(digits).trimmed()
    }

    /// `self - other`, which must not be negative.
    fn minus(&self, other: &Self) -> Self {
        let mut digits = Vec::new();
        let mut borrow = 0;
        for index in 0..self.0.len().max(other.0.len()) {
            let difference = (1 << 32) + self.digit(index) - other.digit(index) - borrow;
            digits.push(difference as u32);
            borrow = 1 - (difference >> 32);
        }
        assert_eq!(borrow, 0, "the difference is negative");
        Natural(digits).trimmed()
    }

    fn times(&self, other: &Self) -> Self {
        let mut digits = vec![0u32; self.0.len() + other.0.len() + 1];
        for (i, a) in self.0.iter().enumerate().filter(|(_, a)| **a != 0) {
            let mut carry = 0;
            for j in 0..digits.len() - i {
                let sum = u64::from(digits[i + j]) + u64::from(*a) * other.digit(j) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> 32;
            }
        }
        Natural(digits).trimmed()
    }

    fn times_power_of_two(&self, exponent: u32) -> Self {
        let mut digits = vec![0; exponent as usize / 32];
        digits.push(1 << (exponent % 32));
        Natural(digits).times(self)
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// An integer as the difference of two natural numbers.
#[derive(Clone, Debug, Default)]
struct Integer {
    plus: Natural,
    minus: Natural,
}

impl Integer {
    fn add(&mut self, magnitude: &Natural, negative: bool) {
        let side = if negative { &mut self.minus } else { &mut self.plus };
        *side = side.plus(magnitude);
    }

    fn magnitude(&self) -> (bool, Natural) {
        match self.plus.compare(&self.minus) {
            Ordering::Less => (true, self.minus.minus(&self.plus)),
            _ => (false, self.plus.minus(&self.minus)),
        }
    }
}

/// A finite double as a multiple of 2^-1074.
fn units(x: f64) -> (Natural, bool) {
    let (mantissa, exponent) = mantissa_and_exponent(x.abs());
    (Natural::new(mantissa.into()).times_power_of_two((exponent + 1074) as u32), x < 0.0)
}

/// A positive finite double as mantissa · 2^exponent.
fn mantissa_and_exponent(x: f64) -> (u64, i32) {
    let biased = (x.to_bits() >> 52) as i32;
    let fraction = x.to_bits() % (1 << 52);
    if biased == 0 { (fraction, -1074) } else { (fraction + (1 << 52), biased - 1075) }
}

/// Asserts that `result` is the double nearest to `numerator / denominator · 2^exponent`, of two the even one.
fn assert_nearest(result: f64, numerator: &Integer, denominator: &Natural, exponent: i32) {
    const UP: i32 = 2400; // everything is multiplied by 2^2400, so that no exponent is negative
    let (negative, magnitude) = numerator.magnitude();
    let value = magnitude.times_power_of_two((UP + exponent) as u32);
    assert!(!result.is_nan());
    assert_eq!(result.to_bits(), canonical_f64(result).to_bits(), "a result must not be −0.0");
    assert!(result == 0.0 || (result < 0.0) == negative, "{result} has the wrong sign");
    let compare_to = |mantissa: u64, exponent: i32| {
        let bound = Natural::new(mantissa.into()).times(denominator).times_power_of_two((UP + exponent) as u32);
        value.compare(&bound)
    };
    let result = result.abs();
    let (mantissa, exponent) = mantissa_and_exponent(if result.is_infinite() { f64::MAX } else { result });
    // Half way to the next double, and half way to the one before.
    let above = compare_to(2 * mantissa + 1, exponent - 1);
    if result.is_infinite() {
        assert!(above.is_ge(), "a value that rounds to a finite double became infinite");
        return;
    }
    assert!(above.is_lt() || (above.is_eq() && mantissa % 2 == 0), "{result:e} is too small");
    if mantissa > 0 {
        let halved = mantissa == 1 << 52 && exponent > -1074;
        let below = if halved {
            compare_to(4 * mantissa - 1, exponent - 2)
        } else {
            compare_to(2 * mantissa - 1, exponent - 1)
        };
        assert!(below.is_gt() || (below.is_eq() && mantissa % 2 == 0), "{result:e} is too large");
    }
}

fn float_result(name: &str, values: &[f64], random: &mut Random) -> f64 {
    let array: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let result = scattered(name, DataType::Float64, array, random).unwrap();
    let result = result.as_primitive::<Float64Type>();
    assert!(result.is_valid(0));
    result.value(0)
}

/// Lists of doubles that are hard in different ways; never empty.
fn hard_floats(random: &mut Random) -> Vec<f64> {
    let length = random.pick(&[1, 2, 3, 10, 100]);
    let finite = |random: &mut Random| loop {
        let x = f64::from_bits(random.next());
        if x.is_finite() {
            break x;
        }
    };
    let sign = |random: &mut Random| if random.below(2) == 0 { 1.0 } else { -1.0 };
    match random.below(10) {
        // Special values among others; or any bits.
        9 => {
            let special = [f64::NAN, f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY];
            (0..length).map(|_| if random.below(4) == 0 { random.pick(&special) } else { finite(random) }).collect()
        }
        0 => (0..length).map(|_| f64::from_bits(random.next())).collect(),
        1 => (0..length).map(|_| finite(random)).collect(),
        2 => (0..length).map(|_| random.float()).collect(),
        3 => (0..length).map(|_| f64::from_bits(random.next() & 0x800f_ffff_ffff_ffff)).collect(),
        // Pairs that cancel, and a little that is left.
        4 => {
            let pairs = (0..length).flat_map(|_| {
                let x = finite(random);
                [x, -x]
            });
            let mut values: Vec<f64> = pairs.collect();
            values.push(finite(random) * 1e-300);
            values
        }
        // More than 128 bits: the largest fixed-point numbers, all of one sign or not.
        5 => {
            let signed = random.below(2) == 0;
            let value = |random: &mut Random| 2f64.powi(46) + (random.next() >> 18) as f64 / 1e3;
            (0..300).map(|_| value(random) * if signed { sign(random) } else { 1.0 }).collect()
        }
        // Half way between two doubles, or next to it.
        6 => {
            let scale = 2f64.powi(random.below(200) as i32 - 100);
            let odd = (random.next() >> 12 | 1 << 52) as f64;
            let mut values = vec![odd * scale, 0.5 * scale * sign(random)];
            if random.below(2) == 0 {
                values.push(random.pick(&[5e-324, 1e-200, 2f64.powi(-200)]) * sign(random));
            }
            values
        }
        // At the edge of the doubles.
        7 => {
            let edge = [f64::MAX, f64::MAX, 2f64.powi(970), 2f64.powi(969), f64::MIN, 1.0, 5e-324];
            (0..length.min(6)).map(|_| random.pick(&edge) * sign(random)).collect()
        }
        // Around the edges of what the fixed-point number takes.
        _ => {
            let edge = [2f64.powi(-24), 2f64.powi(-24).next_down(), 2f64.powi(47), 2f64.powi(47).next_down(), 1.0, 0.0];
            (0..length).map(|_| random.pick(&edge) * sign(random)).collect()
        }
    }
}

/// The exact sum in units of 2^-1074.
fn exact_sum(values: &[f64]) -> Integer {
    let mut sum = Integer::default();
    for value in values {
        let (magnitude, negative) = units(*value);
        sum.add(&magnitude, negative);
    }
    sum
}

#[test]
fn float_sum_is_the_nearest_double_to_the_exact_sum() {
    let (mut finite, mut special) = (0, 0);
    for seed in 0..4000 {
        let random = &mut Random(seed);
        let values = hard_floats(random);
        let result = float_result("sum", &values, random);
        let mut other = bitrep::SumF64::new();
        values.iter().for_each(|value| other.add(*value));
        assert_eq!(result.to_bits(), canonical_f64(other.value()).to_bits(), "bitrep has another sum, seed {seed}");
        if values.iter().all(|value| value.is_finite()) {
            finite += 1;
            assert_nearest(result, &exact_sum(&values), &Natural::new(1), -1074);
        } else {
            special += 1;
            let plus = values.contains(&f64::INFINITY);
            let minus = values.contains(&f64::NEG_INFINITY);
            let nan = values.iter().any(|value| value.is_nan()) || (plus && minus);
            let expected = if nan {
                f64::NAN
            } else if plus {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            };
            assert_eq!(result.to_bits(), expected.to_bits(), "seed {seed}");
        }
        let average = float_result("avg", &values, random);
        assert_eq!(average.to_bits(), canonical_f64(result / values.len() as f64).to_bits(), "seed {seed}");
    }
    assert!(finite > 2500 && special > 300, "{finite} finite lists, {special} with special values");
}

#[test]
fn states_of_hard_floats_are_canonical() {
    for seed in 0..1500 {
        let random = &mut Random(seed);
        let array: ArrayRef = Arc::new(Float64Array::from(hard_floats(random)));
        for name in ["sum", "avg", "var_pop"] {
            let mut state = || scattered_accumulator(name, DataType::Float64, array.clone(), random).state(&[0]);
            let expected = state();
            for _ in 0..3 {
                assert_eq!(state(), expected, "{name}, seed {seed}");
            }
        }
    }
}

/// `n·Σx² − (Σx)²` for integers, and `n·d` for what it is divided by.
fn variance_ratio(values: &[(Natural, bool)], sample: bool) -> (Integer, Natural) {
    let count = values.len() as u128;
    let (mut sum, mut squares) = (Integer::default(), Natural::default());
    for (magnitude, negative) in values {
        sum.add(magnitude, *negative);
        squares = squares.plus(&magnitude.times(magnitude));
    }
    let (_, sum) = sum.magnitude();
    let numerator = Integer { plus: squares.times(&Natural::new(count)), minus: sum.times(&sum) };
    (numerator, Natural::new(count * if sample { count - 1 } else { count }))
}

#[test]
fn float_variance_is_the_nearest_double_to_the_exact_rational() {
    let mut finite = 0;
    for seed in 0..1500 {
        let random = &mut Random(seed);
        let mut values = hard_floats(random);
        values.truncate(40);
        // Squares of large numbers are beyond the doubles; some cases are brought back, exactly, into their range.
        if random.below(2) == 0 && values.iter().all(|value| value.abs() < 1e200) {
            values.iter_mut().for_each(|value| *value *= 2f64.powi(-300));
        }
        values.push(random.float());
        let root = |x: f64| x.sqrt().to_bits();
        for (variance, deviation, sample) in [("var_pop", "stddev_pop", false), ("var_samp", "stddev_samp", true)] {
            let result = float_result(variance, &values, random);
            assert_eq!(float_result(deviation, &values, random).to_bits(), root(result), "seed {seed}");
            if values.iter().any(|value| !value.is_finite()) {
                assert!(result.is_nan(), "seed {seed}");
                continue;
            }
            finite += 1;
            let integers: Vec<_> = values.iter().map(|value| units(*value)).collect();
            let (numerator, denominator) = variance_ratio(&integers, sample);
            assert_nearest(result, &numerator, &denominator, -2148);
        }
    }
    assert!(finite > 1500, "{finite} finite lists");
}

#[test]
fn integer_variance_and_average_are_exact() {
    for seed in 0..600 {
        let random = &mut Random(seed);
        let values: Vec<i64> = (0..2 + random.below(30))
            .map(|_| match random.below(4) {
                0 => random.pick(&[i64::MIN, i64::MAX, 0, 1]),
                1 => (1 << 60) + random.below(5) as i64,
                _ => random.next() as i64 >> random.below(64),
            })
            .collect();
        let integers: Vec<_> =
            values.iter().map(|value| (Natural::new(value.unsigned_abs().into()), *value < 0)).collect();
        let array: ArrayRef = Arc::new(Int64Array::from(values.clone()));
        let mut compute = |name| {
            let result = scattered(name, DataType::Int64, array.clone(), random).unwrap();
            result.as_primitive::<Float64Type>().value(0)
        };
        for (name, sample) in [("var_pop", false), ("var_samp", true)] {
            let (numerator, denominator) = variance_ratio(&integers, sample);
            assert_nearest(compute(name), &numerator, &denominator, 0);
        }
        let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
        assert_eq!(compute("avg"), sum as f64 / values.len() as f64, "seed {seed}");
    }
}

#[test]
fn decimal_variance_and_average_are_exact() {
    let mut overflows = 0;
    for seed in 0..800 {
        let random = &mut Random(seed);
        let scale = random.pick(&[0u8, 2, 18, 33, 34, 35, 36, 37, 38]);
        let data_type = DataType::Decimal(38, scale);
        let most = 10i128.pow(38) - 1;
        let everyday = random.below(2) == 0;
        let values: Vec<i128> = (0..2 + random.below(30))
            .map(|_| match random.below(3) {
                _ if everyday => random.below(200_000) as i128 - 100_000,
                0 => random.pick(&[most, -most, 0, 1]),
                _ => ((i128::from(random.next()) << 64 | i128::from(random.next())) % (most + 1)) >> random.below(127),
            })
            .collect();
        let array: ArrayRef = Arc::new(Decimal128Array::from(values.clone()).with_data_type(data_type.arrow()));
        let integers: Vec<_> = values.iter().map(|value| (Natural::new(value.unsigned_abs()), *value < 0)).collect();
        let mut unit = Natural::new(1);
        (0..scale).for_each(|_| unit = unit.times(&Natural::new(100)));
        for (name, sample) in [("var_pop", false), ("var_samp", true)] {
            let (numerator, denominator) = variance_ratio(&integers, sample);
            let result = scattered(name, data_type, array.clone(), random).unwrap();
            assert_nearest(result.as_primitive::<Float64Type>().value(0), &numerator, &denominator.times(&unit), 0);
        }
        let mut sum = Integer::default();
        integers.iter().for_each(|(magnitude, negative)| sum.add(magnitude, *negative));
        let (negative, sum) = sum.magnitude();
        let limit = Natural::new(most as u128 + 1);

        match scattered("sum", data_type, array.clone(), random) {
            Ok(result) => {
                let result = result.as_primitive::<Decimal128Type>().value(0);
                assert_eq!((Natural::new(result.unsigned_abs()), result < 0), (sum.clone(), negative), "seed {seed}");
            }
            Err(_) => assert!(sum.compare(&limit).is_ge(), "seed {seed}"),
        }
        // |2·(sum·f − q·n)| ≤ n, and q even where they are equal, makes q the nearest to sum·f/n.
        let scaled = sum.times(&Natural::new(10u128.pow(u32::from((38 - scale).min(4)))));
        let count = Natural::new(values.len() as u128);
        match scattered("avg", data_type, array, random) {
            Ok(result) => {
                let quotient = result.as_primitive::<Decimal128Type>().value(0);
                assert!(quotient == 0 || (quotient < 0) == negative, "seed {seed}");
                let product = count.times(&Natural::new(quotient.unsigned_abs()));
                let (_, difference) = Integer { plus: scaled, minus: product }.magnitude();
                let doubled = difference.times(&Natural::new(2)).compare(&count);
                assert!(doubled.is_lt() || (doubled.is_eq() && quotient % 2 == 0), "seed {seed}");
            }
            Err(_) => {
                overflows += 1;
                // 2·sum·f ≥ (2·10^38 − 1)·n is when the nearest has 39 digits.
                let bound = count.times(&Natural::new(2 * most as u128 + 1));
                assert!(scaled.times(&Natural::new(2)).compare(&bound).is_ge(), "seed {seed}");
            }
        }
    }
    assert!(overflows > 50, "{overflows} overflows");
}

#[test]
fn the_reference_refuses_a_neighbouring_double() {
    let sum = exact_sum(&[0.1, 0.2]);
    let right = 0.300_000_000_000_000_04;
    assert_nearest(right, &sum, &Natural::new(1), -1074);
    for wrong in [right.next_down(), right.next_up(), -right, f64::INFINITY] {
        let outcome = std::panic::catch_unwind(|| assert_nearest(wrong, &sum, &Natural::new(1), -1074));
        assert!(outcome.is_err(), "{wrong} was taken for the sum of 0.1 and 0.2");
    }
}
