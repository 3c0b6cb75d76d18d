//! `sum`: exact, rounded or judged for overflow once, when it is read.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array};
use arrow::datatypes::Float64Type;

use super::scalar::{decimal_array, primitive};
use super::totals::{DecimalTotals, FloatTotals, IntegerTotals, Totals};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `sum(x)`: int64 of integers, float64 of floats, decimal(38,s) of decimals.
pub(super) struct Sum;

const ABOUT: About = About {
    name: "sum",
    help: "exact sum: int64 of integers, float64 of floats (rounded once), decimal(38,s) of decimals",
    flink: Some("SUM(x)"),
    duckdb: Some("sum(x)"),
    example: Example { over: &["x float64: 1e16, 1.0, -1e16, null"], call: "sum(x)", result: "1.0" },
    parameters: &[],
};

impl Aggregate for Sum {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match only_argument(arguments)? {
            DataType::Int32 | DataType::Int64 => Ok(DataType::Int64),
            DataType::Float64 => Ok(DataType::Float64),
            DataType::Decimal(_, scale) => Ok(DataType::Decimal(38, scale)),
            other => Err(format!("takes a number, not {other}")),
        }
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        let argument = arguments[0];
        match argument {
            DataType::Float64 => Box::new(Sums::<FloatTotals>::of(argument)),
            DataType::Decimal(..) => Box::new(Sums::<DecimalTotals>::of(argument)),
            _ => Box::new(Sums::<IntegerTotals>::of(argument)),
        }
    }
}

/// Totals of which `sum` knows the results.
pub(super) trait Summed: Totals {
    const FINISH: Finish<Self>;
}

impl Summed for FloatTotals {
    const FINISH: Finish<Self> = finish_floats;
}

impl Summed for IntegerTotals {
    const FINISH: Finish<Self> = finish_integers;
}

impl Summed for DecimalTotals {
    const FINISH: Finish<Self> = finish_decimals;
}

/// Returns the results of the groups, for arguments of that type.
pub(super) type Finish<T> = fn(&T, DataType, &[GroupId]) -> Result<ArrayRef, Overflow>;

/// The sum of each group.
pub(super) struct Sums<T> {
    pub(super) totals: T,
    argument: DataType,
}

impl<T: Summed> Sums<T> {
    /// Makes it for arguments of that type.
    pub(super) fn of(argument: DataType) -> Self {
        Self { totals: T::default(), argument }
    }
}

impl<T: Summed> Accumulator for Sums<T> {
    fn resize(&mut self, groups: usize) {
        self.totals.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        self.totals.update(rows);
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        self.totals.merge(groups, state);
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        self.totals.state(groups)
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        T::FINISH(&self.totals, self.argument, groups)
    }

    fn size_bytes(&self) -> usize {
        self.totals.size_bytes()
    }
}

fn finish_floats(totals: &FloatTotals, _: DataType, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
    Ok(Arc::new(primitive::<Float64Type>(groups.iter().map(|group| totals.total(*group)))))
}

fn finish_integers(totals: &IntegerTotals, argument: DataType, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
    let values = groups.iter().enumerate().map(|(index, group)| match totals.total(*group) {
        None => Ok(None),
        Some(total) => i64::try_from(total)
            .map(Some)
            .map_err(|_| Overflow { index, message: format!("sum of {argument} is {total}, which int64 cannot hold") }),
    });
    Ok(Arc::new(values.collect::<Result<Int64Array, _>>()?))
}

fn finish_decimals(totals: &DecimalTotals, argument: DataType, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
    let DataType::Decimal(_, scale) = argument else { unreachable!("decimal totals are of decimals") };
    let values = groups.iter().enumerate().map(|(index, group)| match totals.total(*group) {
        None => Ok(None),
        Some(total) => match total.to_i128().filter(|total| fits_decimal(*total)) {
            Some(total) => Ok(Some(total)),
            None => Err(Overflow { index, message: format!("sum of {argument} has more than 38 digits") }),
        },
    });
    let array = values.collect::<Result<Decimal128Array, _>>()?;
    Ok(Arc::new(decimal_array(array, DataType::Decimal(38, scale))))
}

/// Returns true when the unscaled integer has at most 38 digits.
pub(super) fn fits_decimal(value: i128) -> bool {
    value.unsigned_abs() < 10u128.pow(38)
}
