//! `avg`: the exact sum, rounded, divided by the count.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array};
use arrow::datatypes::Float64Type;

use super::count::Counts;
use super::scalar::{decimal_array, primitive};
use super::sum::{Summed, Sums, fits_decimal};
use super::totals::{DecimalTotals, FloatTotals, IntegerTotals, LongInteger, Totals};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `avg(x)`: float64; of decimals an exact decimal with four more digits after the point.
pub(super) struct Avg;

const ABOUT: About = About {
    name: "avg",
    help: "exact sum, rounded to float64, divided by the count; of decimals exact to four more digits, half even",
    flink: Some("AVG(x)"),
    duckdb: Some("avg(x)"),
    example: Example { over: &["x int64: 1, 2, null, 4"], call: "avg(x)", result: "2.3333333333333335" },
    parameters: &[],
};

impl Aggregate for Avg {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match only_argument(arguments)? {
            DataType::Int32 | DataType::Int64 | DataType::Float64 => Ok(DataType::Float64),
            DataType::Decimal(_, scale) => Ok(DataType::Decimal(38, scale + added_digits(scale))),
            other => Err(format!("takes a number, not {other}")),
        }
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        let argument = arguments[0];
        match argument {
            DataType::Float64 => averages::<FloatTotals>(argument, |totals, counts, argument, groups| {
                finish_floats(totals, counts, argument, groups, |total| total)
            }),
            DataType::Decimal(..) => averages::<DecimalTotals>(argument, finish_decimals),
            _ => averages::<IntegerTotals>(argument, |totals, counts, argument, groups| {
                finish_floats(totals, counts, argument, groups, |total| total as f64)
            }),
        }
    }
}

/// Returns how many digits an average has after the point more than its arguments.
fn added_digits(scale: u8) -> u8 {
    (38 - scale).min(4)
}

type Finish<T> = fn(&T, &[i64], DataType, &[GroupId]) -> Result<ArrayRef, Overflow>;

struct Averages<T> {
    sums: Sums<T>,
    counts: Counts,
    argument: DataType,
    finish: Finish<T>,
}

fn averages<T: Summed>(argument: DataType, finish: Finish<T>) -> Box<dyn Accumulator> {
    Box::new(Averages { sums: Sums::of(argument), counts: Counts(Vec::new()), argument, finish })
}

impl<T: Summed> Accumulator for Averages<T> {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        self.counts.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        self.sums.update(rows);
        self.counts.update(rows);
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let (totals, counts) = state.split_at(T::STATE_COLUMNS);
        self.sums.merge(groups, totals);
        self.counts.merge(groups, counts);
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut state = self.sums.state(groups);
        state.extend(self.counts.state(groups));
        state
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        (self.finish)(&self.sums.totals, &self.counts.0, self.argument, groups)
    }

    fn size_bytes(&self) -> usize {
        self.sums.size_bytes() + self.counts.size_bytes()
    }

    fn sums(&self) -> Option<&dyn Accumulator> {
        Some(&self.sums)
    }
}

fn finish_floats<T: Totals>(
    totals: &T,
    counts: &[i64],
    _: DataType,
    groups: &[GroupId],
    round: impl Fn(T::Total) -> f64,
) -> Result<ArrayRef, Overflow> {
    let average = |group: &GroupId| totals.total(*group).map(|total| round(total) / counts[*group as usize] as f64);
    // A subnormal sum of negative numbers divided by a count can be −0.0.
    let values = groups.iter().map(|group| average(group).map(crate::value::canonical_f64));
    Ok(Arc::new(primitive::<Float64Type>(values)))
}

fn finish_decimals(
    totals: &DecimalTotals,
    counts: &[i64],
    argument: DataType,
    groups: &[GroupId],
) -> Result<ArrayRef, Overflow> {
    let DataType::Decimal(_, scale) = argument else { unreachable!("decimal totals are of decimals") };
    let added = added_digits(scale);
    let values = groups.iter().enumerate().map(|(index, group)| {
        let Some(total) = totals.total(*group) else { return Ok(None) };
        divide(total, counts[*group as usize] as u64, 10u64.pow(added.into())).map(Some).ok_or_else(|| Overflow {
            index,
            message: format!("avg of {argument} does not fit decimal(38,{})", scale + added),
        })
    });
    let array = values.collect::<Result<Decimal128Array, _>>()?;
    Ok(Arc::new(decimal_array(array, DataType::Decimal(38, scale + added))))
}

/// Returns `total · factor / count`, half to even; None when that has more than 38 digits.
fn divide(total: LongInteger, count: u64, factor: u64) -> Option<i128> {
    let (negative, high, low) = total.magnitude();
    let count = u128::from(count);
    // Long division by limbs of 64 bits. An average of 38-digit numbers has at most 38 digits: nothing is left above.
    let dividend = (u128::from(high) % count) << 64 | low >> 64;
    debug_assert!(u128::from(high) < count);
    let (upper, remainder) = (dividend / count, dividend % count);
    let dividend = remainder << 64 | (low & u128::from(u64::MAX));
    let (lower, remainder) = (dividend / count, dividend % count);
    let whole = upper << 64 | lower;
    // The remainder is below the count, itself below 2^63, and the factor is at most 10,000.
    let dividend = remainder * u128::from(factor);
    let (fraction, remainder) = (dividend / count, dividend % count);
    let quotient = whole.checked_mul(u128::from(factor))?.checked_add(fraction)?;
    let up = 2 * remainder > count || (2 * remainder == count && quotient % 2 == 1);
    let quotient = i128::try_from(quotient + u128::from(up)).ok()?;
    fits_decimal(quotient).then_some(if negative { -quotient } else { quotient })
}
