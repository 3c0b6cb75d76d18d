//! `quantile(x, q)`: exact, by all values of a group, interpolated and rounded once.
//!
//! With the n values in order, the least being number 0, and `p = q·(n−1)` computed exactly, it is the double nearest to
//! `v[⌊p⌋] + (p − ⌊p⌋)·(v[⌈p⌉] − v[⌊p⌋])`. Where that needs no interpolation it is the value itself, also if that is an
//! infinity or NaN, which is the greatest; interpolating with an infinity gives it, between −∞ and +∞ or with NaN: NaN.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, LargeBinaryBuilder};

use super::scalar::{DecimalKind, FixedKind, FloatKind, Int32Kind, Int64Kind, downcast, each_state, each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Parameter, Rows, only_argument};
use crate::exact::Wide;
use crate::expr::Literal;
use crate::value::{DataType, canonical_f64};

/// `quantile(x, q)`.
pub(super) struct Quantile;

const ABOUT: About = About {
    name: "quantile",
    help: "exact quantile, float64: q = 0.5 is the median; between two values by linear interpolation, rounded once",
    flink: Some("PERCENTILE(x, q)"),
    duckdb: Some("quantile_cont(x, q)"),
    example: Example { over: &["x int64: 1, 2, null, 4, 10"], call: "quantile(x, 0.5)", result: "3.0" },
    parameters: &[Q],
};

/// Which share of the values lies below.
pub(super) const Q: Parameter = Parameter { name: "q", check: |literal| share(literal).map(|_| ()) };

/// Reads `q` as a fraction whose denominator is a power of ten, exactly as it is written.
pub(super) fn share(literal: &Literal) -> Result<(u64, u64), String> {
    let (digits, scale) = match literal {
        Literal::Int64(value) => (i128::from(*value), 0),
        Literal::Float64 { exact: Some((digits, scale)), .. } => (*digits, *scale),
        Literal::Decimal(digits, _, scale) => (*digits, *scale),
        Literal::Float64 { exact: None, .. } => return Err("has too many digits".into()),
        _ => return Err("is a number from 0 to 1".into()),
    };
    if scale > 18 {
        return Err("has more than 18 digits after the point".into());
    }
    let whole = 10u64.pow(scale.into());
    match u64::try_from(digits) {
        Ok(part) if part <= whole => Ok((part, whole)),
        _ => Err("is a number from 0 to 1".into()),
    }
}

/// The type of a number's argument, or why it is none.
pub(super) fn of_numbers(arguments: &[DataType]) -> Result<DataType, String> {
    match only_argument(arguments)? {
        argument if argument.is_numeric() => Ok(DataType::Float64),
        other => Err(format!("takes a number, not {other}")),
    }
}

impl Aggregate for Quantile {
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
        match arguments[0] {
            DataType::Float64 => Box::new(Quantiles::<FloatKind>::new(q, 0, |key| {
                let value = FloatKind::float(key);
                value.is_finite().then(|| {
                    let mut exact = Wide::default();
                    exact.add_f64(value);
                    exact
                })
            })),
            DataType::Int32 => Box::new(Quantiles::<Int32Kind>::new(q, 0, |value| whole(value.into()))),
            DataType::Decimal(_, scale) => Box::new(Quantiles::<DecimalKind>::new(q, scale, whole)),
            _ => Box::new(Quantiles::<Int64Kind>::new(q, 0, |value| whole(value.into()))),
        }
    }
}

fn whole(value: i128) -> Option<Wide> {
    let mut exact = Wide::default();
    exact.add_integer(value, 0);
    Some(exact)
}

/// All values of each group.
struct Quantiles<K: FixedKind> {
    q: (u64, u64),
    scale: u8,
    /// The exact number, of decimals times 10^scale; None for what is not finite.
    exact: fn(K::Value) -> Option<Wide>,
    values: Vec<Vec<K::Value>>,
    value_count: usize,
}

impl<K: FixedKind> Quantiles<K> {
    fn new(q: (u64, u64), scale: u8, exact: fn(K::Value) -> Option<Wide>) -> Self {
        Self { q, scale, exact, values: Vec::new(), value_count: 0 }
    }

    fn sorted(&self, group: GroupId) -> Vec<K::Value> {
        let mut values = self.values[group as usize].clone();
        values.sort_unstable();
        values
    }

    fn quantile(&self, group: GroupId) -> Option<f64> {
        let values = self.sorted(group);
        let steps = values.len().checked_sub(1)?;
        let (part, whole) = self.q;
        let position = u128::from(part) * steps as u128;
        let below = (position / u128::from(whole)) as usize;
        let weight = (position % u128::from(whole)) as u64;
        let low = values[below];
        let high = if weight == 0 { low } else { values[below + 1] };
        let (Some(exact_low), Some(exact_high)) = ((self.exact)(low), (self.exact)(high)) else {
            return Some(between_special::<K>(low, high));
        };
        let mut sum = exact_low.times(whole - weight);
        sum.add_wide(&exact_high.times(weight));
        let mut divisors = vec![whole];
        let mut digits = u32::from(self.scale);
        while digits > 0 {
            let some = digits.min(19);
            divisors.push(10u64.pow(some));
            digits -= some;
        }
        Some(canonical_f64(sum.divided_to_f64(&divisors)))
    }
}

/// Returns what lies between two floats of which one is not finite.
fn between_special<K: FixedKind>(low: K::Value, high: K::Value) -> f64 {
    let values = [Some(&low), Some(&high)].into_iter();
    let floats = K::array(DataType::Float64, values);
    let floats = floats.as_primitive::<arrow::datatypes::Float64Type>().values();
    // A sum of two has the infinity, or is NaN, as the mean of them with any weights is.
    if floats[0] == floats[1] { floats[0] } else { canonical_f64(floats[0] + floats[1]) }
}

impl<K: FixedKind> Accumulator for Quantiles<K> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.values, groups, Vec::new());
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        let (values, value_count) = (&mut self.values[..], &mut self.value_count);
        each_valid(rows, array.nulls(), |group, row| {
            values[group].push(K::value(array, row));
            *value_count += 1;
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let states = state[0].as_binary::<i64>();
        let (values, value_count) = (&mut self.values[..], &mut self.value_count);
        each_state(groups, states.nulls(), |group, row| {
            let mut bytes = states.value(row);
            while !bytes.is_empty() {
                values[group].push(K::decode(&mut bytes));
                *value_count += 1;
            }
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut states = LargeBinaryBuilder::with_capacity(groups.len(), 0);
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            self.sorted(*group).iter().for_each(|value| K::encode(value, &mut bytes));
            states.append_value(&bytes);
        }
        vec![Arc::new(states.finish())]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(Arc::new(groups.iter().map(|group| self.quantile(*group)).collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        // A vector grows by doubling.
        self.values.capacity() * size_of::<Vec<K::Value>>() + self.value_count * size_of::<K::Value>() * 3 / 2
    }
}
