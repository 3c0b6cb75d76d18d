//! The value of an aggregate over all its values at once.

use super::number::{Big, nearest, split};
use super::sketch;
use crate::case::expr::Aggregate;
use crate::value::{Type, Value};

/// A sum does not fit its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Returns the result over rows of arguments that stand in record order, nulls among them; `types` are those of the
/// arguments. Without arguments it is `count(*)`.
pub(crate) fn aggregate(function: Aggregate, types: &[Type], rows: &[Vec<Value>]) -> Result<Value, Overflow> {
    if types.is_empty() {
        return Ok(Value::Int(rows.len() as i64));
    }
    if function == Aggregate::ArrayAgg {
        let all: Vec<Value> = rows.iter().map(|row| row[0].clone()).collect();
        return Ok(if all.is_empty() { Value::Null } else { Value::List(all) });
    }
    let rows: Vec<&Vec<Value>> = rows.iter().filter(|row| row.iter().all(|value| !value.is_null())).collect();
    let ty = types[0];
    let values: Vec<&Value> = rows.iter().map(|row| &row[0]).collect();
    let others: Vec<&Value> = rows.iter().filter_map(|row| row.get(1)).collect();
    let count = values.len();
    match function {
        Aggregate::Count => return Ok(Value::Int(count as i64)),
        Aggregate::CountDistinct => {
            let mut sorted = values;
            sorted.sort();
            sorted.dedup();
            return Ok(Value::Int(sorted.len() as i64));
        }
        Aggregate::ApproxCountDistinct => return Ok(Value::Int(sketch::estimate_of(ty, &values))),
        _ if count == 0 => return Ok(Value::Null),
        _ => {}
    }
    match function {
        Aggregate::Count | Aggregate::CountDistinct | Aggregate::ApproxCountDistinct | Aggregate::ArrayAgg => {
            unreachable!("done above")
        }
        Aggregate::Quantile => Ok(quantile(ty, &values, others[0])),
        Aggregate::ApproxQuantile => Ok(approximate_quantile(ty, &values, others[0])),
        Aggregate::Min => Ok((*values.iter().min().expect("not empty")).clone()),
        Aggregate::Max => Ok((*values.iter().max().expect("not empty")).clone()),
        Aggregate::First => Ok(values[0].clone()),
        Aggregate::Last => Ok(values[count - 1].clone()),
        Aggregate::Sum => sum(ty, &values),
        Aggregate::Avg => average(ty, &values),
        Aggregate::VarPop => Ok(variance(ty, &values, false)),
        Aggregate::VarSamp => Ok(variance(ty, &values, true)),
        Aggregate::StddevPop => Ok(root(variance(ty, &values, false))),
        Aggregate::StddevSamp => Ok(root(variance(ty, &values, true))),
        // Of several rows the first.
        Aggregate::ArgMin => Ok(values[(0..count).min_by_key(|i| others[*i]).expect("not empty")].clone()),
        Aggregate::ArgMax => Ok(values[(0..count).rev().max_by_key(|i| others[*i]).expect("not empty")].clone()),
        Aggregate::BoolAnd => Ok(Value::Bool(values.iter().all(|value| **value == Value::Bool(true)))),
        Aggregate::BoolOr => Ok(Value::Bool(values.iter().any(|value| **value == Value::Bool(true)))),
        Aggregate::BitAnd => Ok(bits(&values, |set| set == count)),
        Aggregate::BitOr => Ok(bits(&values, |set| set > 0)),
        Aggregate::BitXor => Ok(bits(&values, |set| set % 2 == 1)),
        Aggregate::CovarPop => Ok(Pairs::new(types, &values, &others).map_or(nan(), |pairs| pairs.covariance(false))),
        Aggregate::CovarSamp if count == 1 => Ok(Value::Null),
        Aggregate::CovarSamp => Ok(Pairs::new(types, &values, &others).map_or(nan(), |pairs| pairs.covariance(true))),
        Aggregate::Corr | Aggregate::RegrSlope if count == 1 => Ok(Value::Null),
        Aggregate::Corr => Ok(Pairs::new(types, &values, &others).map_or(nan(), |pairs| pairs.correlation())),
        Aggregate::RegrSlope => Ok(Pairs::new(types, &values, &others).map_or(nan(), |pairs| pairs.slope())),
    }
}

/// `q` as it is written: digits over a power of ten.
fn share(q: &Value) -> (Big, Big) {
    let Value::Float(q) = q else { unreachable!("q is a float literal") };
    let text = format!("{q:?}");
    let (whole, fraction) = text.split_once('.').expect("with a point");
    let digits: i128 = format!("{whole}{fraction}").parse().expect("digits");
    (Big::from(digits), power_of_ten(fraction.len()))
}

fn power_of_ten(digits: usize) -> Big {
    (0..digits).fold(Big::from(1), |power, _| power.times(&Big::from(10)))
}

/// The position `q·(n−1)` in the sorted values: the place at or below it, and how far it is past that, as a fraction.
fn position(count: usize, q: &Value) -> (usize, Big, Big) {
    let (part, whole) = share(q);
    let mut left = part.times(&Big::from(count as i128 - 1));
    let mut place = 0;
    while !left.minus(&whole).is_negative() {
        left = left.minus(&whole);
        place += 1;
    }
    (place, left, whole)
}

/// `v + (p − ⌊p⌋)·(w − v)` of the exact numbers, rounded once.
fn quantile(ty: Type, values: &[&Value], q: &Value) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort();
    let (place, past, whole) = position(sorted.len(), q);
    let low = sorted[place];
    let high = if past.is_zero() { low } else { sorted[place + 1] };
    if let (Value::Float(a), Value::Float(b)) = (low, high)
        && !(a.is_finite() && b.is_finite())
    {
        return if past.is_zero() || a == b { low.clone() } else { Value::float(a + b) };
    }
    let (numbers, twos) = integers(&[low, high]);
    let sum = numbers[0].times(&whole.minus(&past)).plus(&numbers[1].times(&past));
    let tens = if let Type::Decimal(_, scale) = ty { power_of_ten(scale.into()) } else { Big::from(1) };
    Value::float(nearest(&sum, &whole.times(&tens), twos))
}

/// The middle of the 64th part of a doubling in which the value at `⌊q·(n−1)⌋` lies, but not beyond the least and greatest.
fn approximate_quantile(ty: Type, values: &[&Value], q: &Value) -> Value {
    let float = |value: &Value| match (value, ty) {
        (Value::Float(x), _) => *x,
        (Value::Int(x), _) => *x as f64,
        (Value::Decimal(x), Type::Decimal(_, scale)) => nearest(&Big::from(*x), &power_of_ten(scale.into()), 0),
        (other, _) => unreachable!("{other} is no number"),
    };
    let mut sorted: Vec<Value> = values.iter().map(|value| Value::float(float(value))).collect();
    sorted.sort();
    let (place, ..) = position(sorted.len(), q);
    let Value::Float(x) = sorted[place] else { unreachable!("they are floats") };
    let middle = if x.is_normal() {
        let (integer, twos) = split(x.abs());
        let part = integer >> 46;
        let middle = nearest(&Big::from(i128::from(2 * part + 1) << 45), &Big::from(1), twos);
        if x < 0.0 { -middle } else { middle }
    } else if x.is_subnormal() {
        0.0
    } else {
        x
    };
    Value::float(middle).clamp(sorted[0].clone(), sorted[sorted.len() - 1].clone())
}

fn nan() -> Value {
    Value::Float(f64::NAN)
}

/// Puts together an integer of the bits that are set in so many values that `holds`.
fn bits(values: &[&Value], holds: impl Fn(usize) -> bool) -> Value {
    let is_set = |value: &Value, bit: u32| matches!(value, Value::Int(x) if (*x >> bit) & 1 == 1);
    let mut result = 0i64;
    for bit in 0..64 {
        if holds(values.iter().filter(|value| is_set(value, bit)).count()) {
            result |= 1i64 << bit;
        }
    }
    Value::Int(result)
}

/// Pairs (y, x) of finite numbers as integers, each side times a power of two and divided by a power of ten.
struct Pairs {
    y: Vec<Big>,
    x: Vec<Big>,
    twos: (i64, i64),
    tens: (Big, Big),
}

impl Pairs {
    /// None when a number is not finite.
    fn new(types: &[Type], y: &[&Value], x: &[&Value]) -> Option<Self> {
        if special_sum(y).is_some() || special_sum(x).is_some() {
            return None;
        }
        let tens = |ty: Type| match ty {
            Type::Decimal(_, scale) => (0..scale).fold(Big::from(1), |power, _| power.times(&Big::from(10))),
            _ => Big::from(1),
        };
        let ((y, y_twos), (x, x_twos)) = (integers(y), integers(x));
        Some(Self { y, x, twos: (y_twos, x_twos), tens: (tens(types[0]), tens(types[1])) })
    }

    fn count(&self) -> Big {
        Big::from(self.y.len() as i128)
    }

    /// `n · Σab − Σa · Σb`.
    fn spread(&self, a: &[Big], b: &[Big]) -> Big {
        let products: Vec<Big> = a.iter().zip(b).map(|(a, b)| a.times(b)).collect();
        self.count().times(&total(&products)).minus(&total(a).times(&total(b)))
    }

    fn covariance(&self, sample: bool) -> Value {
        let degrees = if sample { self.count().minus(&Big::from(1)) } else { self.count() };
        let denominator = self.count().times(&degrees).times(&self.tens.0).times(&self.tens.1);
        Value::float(nearest(&self.spread(&self.y, &self.x), &denominator, self.twos.0 + self.twos.1))
    }

    /// `N / X`: of the powers, those of `y` above and those of `x` below are left.
    fn slope(&self) -> Value {
        let (numerator, denominator) = (self.spread(&self.y, &self.x), self.spread(&self.x, &self.x));
        if denominator.is_zero() {
            return Value::Null;
        }
        let (numerator, denominator) = (numerator.times(&self.tens.1), denominator.times(&self.tens.0));
        Value::float(nearest(&numerator, &denominator, self.twos.0 - self.twos.1))
    }

    /// `√(N² / (X · Y))` with the sign of `N`; the powers cancel out.
    fn correlation(&self) -> Value {
        let numerator = self.spread(&self.y, &self.x);
        let denominator = self.spread(&self.x, &self.x).times(&self.spread(&self.y, &self.y));
        if denominator.is_zero() {
            return Value::Null;
        }
        let size = nearest(&numerator.times(&numerator), &denominator, 0).sqrt();
        Value::float(if numerator.is_negative() { -size } else { size })
    }
}

fn root(variance: Value) -> Value {
    match variance {
        Value::Float(x) => Value::float(x.sqrt()),
        other => other,
    }
}

/// Finite numbers as integers times one power of two (floats) or of ten (decimals: the type's scale, not in here).
fn integers(values: &[&Value]) -> (Vec<Big>, i64) {
    let parts: Vec<(i128, i64)> = values
        .iter()
        .map(|value| match value {
            Value::Int(x) => (i128::from(*x), 0),
            Value::Decimal(x) => (*x, 0),
            Value::Float(x) => {
                let (integer, exponent) = split(*x);
                (i128::from(integer), exponent)
            }
            other => unreachable!("{other} is no number"),
        })
        .collect();
    let least = parts.iter().map(|(_, exponent)| *exponent).min().expect("not empty");
    (parts.iter().map(|(integer, exponent)| Big::from(*integer).shifted((exponent - least) as u64)).collect(), least)
}

fn total(integers: &[Big]) -> Big {
    integers.iter().fold(Big::zero(), |sum, x| sum.plus(x))
}

/// The sum when NaN or an infinity decides it.
fn special_sum(values: &[&Value]) -> Option<f64> {
    let floats = || values.iter().filter_map(|value| if let Value::Float(x) = value { Some(*x) } else { None });
    let (up, down) = (floats().any(|x| x == f64::INFINITY), floats().any(|x| x == f64::NEG_INFINITY));
    match (floats().any(f64::is_nan) || (up && down), up, down) {
        (true, _, _) => Some(f64::NAN),
        (_, true, _) => Some(f64::INFINITY),
        (_, _, true) => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The exact sum of numbers that are not decimals, rounded once to a double.
fn rounded_sum(values: &[&Value]) -> f64 {
    special_sum(values).unwrap_or_else(|| {
        let (integers, exponent) = integers(values);
        nearest(&total(&integers), &Big::from(1), exponent)
    })
}

fn sum(ty: Type, values: &[&Value]) -> Result<Value, Overflow> {
    match ty {
        Type::Float => Ok(Value::float(rounded_sum(values))),
        _ => {
            let exact = total(&integers(values).0).to_i128().ok_or(Overflow)?;
            match ty {
                Type::Decimal(..) if exact.unsigned_abs() < 10u128.pow(38) => Ok(Value::Decimal(exact)),
                Type::Decimal(..) => Err(Overflow),
                _ => i64::try_from(exact).map(Value::Int).map_err(|_| Overflow),
            }
        }
    }
}

fn average(ty: Type, values: &[&Value]) -> Result<Value, Overflow> {
    let count = values.len();
    if !matches!(ty, Type::Decimal(..)) {
        return Ok(Value::float(rounded_sum(values) / count as f64));
    }
    // Four more digits, half to even.
    let sum = total(&integers(values).0).to_i128().ok_or(Overflow)?.checked_mul(10_000).ok_or(Overflow)?;
    let count = count as i128;
    let (floor, rest) = (sum.div_euclid(count), sum.rem_euclid(count));
    let up = match (2 * rest).cmp(&count) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => floor.rem_euclid(2),
        std::cmp::Ordering::Greater => 1,
    };
    Ok(Value::Decimal(floor + up))
}

/// `(n · Σx² − (Σx)²) / n²`, or `/ n (n − 1)`, as an exact fraction that is rounded once.
fn variance(ty: Type, values: &[&Value], sample: bool) -> Value {
    let count = values.len() as i128;
    if sample && count == 1 {
        return Value::Null;
    }
    if special_sum(values).is_some() {
        return Value::Float(f64::NAN);
    }
    let (integers, exponent) = integers(values);
    let squares: Vec<Big> = integers.iter().map(|x| x.times(x)).collect();
    let sum = total(&integers);
    let numerator = Big::from(count).times(&total(&squares)).minus(&sum.times(&sum));
    let mut denominator = Big::from(count * if sample { count - 1 } else { count });
    if let Type::Decimal(_, scale) = ty {
        denominator = denominator.times(&Big::from(10i128.pow(2 * u32::from(scale))));
    }
    Value::float(nearest(&numerator, &denominator, 2 * exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Vec<Vec<Value>> {
        values.iter().map(|x| vec![Value::float(*x)]).collect()
    }

    fn of(function: Aggregate, values: &[f64]) -> Value {
        aggregate(function, &[Type::Float], &floats(values)).expect("floats do not overflow")
    }

    #[test]
    fn float_sums_are_exact_until_the_end() {
        assert_eq!(of(Aggregate::Sum, &[1e300, 1.0, -1e300]), Value::Float(1.0));
        assert_eq!(of(Aggregate::Sum, &[0.1; 10]), Value::Float(1.0));
        assert_eq!(of(Aggregate::Sum, &[f64::MAX, f64::MAX, -f64::MAX]), Value::Float(f64::MAX));
        assert_eq!(of(Aggregate::Sum, &[f64::MAX, f64::MAX]), Value::Float(f64::INFINITY));
        assert_eq!(of(Aggregate::Sum, &[f64::INFINITY, f64::NEG_INFINITY]), Value::Float(f64::NAN));
    }

    #[test]
    fn variance_is_of_the_exact_fraction() {
        assert_eq!(of(Aggregate::VarPop, &[1e8, 1e8 + 1.0, 1e8 + 2.0]), Value::Float(2.0 / 3.0));
        assert_eq!(of(Aggregate::VarSamp, &[1.0, 2.0, 3.0]), Value::Float(1.0));
        assert_eq!(of(Aggregate::VarSamp, &[1.0]), Value::Null);
        assert_eq!(of(Aggregate::VarPop, &[f64::INFINITY]), Value::Float(f64::NAN));
    }

    #[test]
    fn averages_of_decimals_go_half_to_even() {
        let average = |values: &[i128]| {
            let values: Vec<Vec<Value>> = values.iter().map(|x| vec![Value::Decimal(*x)]).collect();
            aggregate(Aggregate::Avg, &[Type::Decimal(10, 2)], &values)
        };
        assert_eq!(average(&[1, 1, 2]), Ok(Value::Decimal(13_333)));
        assert_eq!(average(&[-1, -1, -2]), Ok(Value::Decimal(-13_333)));
        // 1/32 of a hundredth is 312.5 of the last digits; 3/32 is 937.5.
        assert_eq!(average(&[&[1][..], &[0; 31]].concat()), Ok(Value::Decimal(312)));
        assert_eq!(average(&[&[3][..], &[0; 31]].concat()), Ok(Value::Decimal(938)));
    }

    #[test]
    fn integer_sums_overflow_only_at_the_end() {
        let sum = |values: &[i64]| {
            let values: Vec<Vec<Value>> = values.iter().map(|x| vec![Value::Int(*x)]).collect();
            aggregate(Aggregate::Sum, &[Type::Int64], &values)
        };
        assert_eq!(sum(&[i64::MAX, 1, -1]), Ok(Value::Int(i64::MAX)));
        assert_eq!(sum(&[i64::MAX, 1]), Err(Overflow));
    }
}
