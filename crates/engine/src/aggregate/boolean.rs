//! `bool_and` and `bool_or`: false is less than true, so they are the least and the greatest value.

use super::min_max::fixed;
use super::scalar::BoolKind;
use super::{About, Accumulator, Aggregate, Example, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// `bool_and(x)` or `bool_or(x)`.
pub(super) struct Booleans {
    about: About,
    greatest: bool,
}

/// `bool_and(x)`.
pub(super) const BOOL_AND: Booleans = Booleans {
    about: About {
        name: "bool_and",
        help: "true when no value is false; nulls are skipped",
        flink: Some("MIN(CASE WHEN x THEN 1 ELSE 0 END) = 1"),
        duckdb: Some("bool_and(x)"),
        example: Example { over: &["x bool: true, null, true"], call: "bool_and(x)", result: "true" },
        parameters: &[],
    },
    greatest: false,
};
/// `bool_or(x)`.
pub(super) const BOOL_OR: Booleans = Booleans {
    about: About {
        name: "bool_or",
        help: "true when a value is true; nulls are skipped",
        flink: Some("MAX(CASE WHEN x THEN 1 ELSE 0 END) = 1"),
        duckdb: Some("bool_or(x)"),
        example: Example { over: &["x bool: false, null, true"], call: "bool_or(x)", result: "true" },
        parameters: &[],
    },
    greatest: true,
};

impl Aggregate for Booleans {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match only_argument(arguments)? {
            DataType::Bool => Ok(DataType::Bool),
            other => Err(format!("takes a bool, not {other}; compare it with something, such as `x > 0`")),
        }
    }

    fn accumulator(&self, _: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        fixed::<BoolKind>(DataType::Bool, self.greatest)
    }
}
