//! Values written in an expression.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray, new_null_array,
};

use super::{decimal, time};
use crate::value::{DataType, canonical_f64};

/// A value written in an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Null, of whatever type its place has.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int64(i64),
    /// A number with a point or exponent. `exact` is the decimal it was written as (digits without point, scale): it
    /// takes the place of the float where the other operand is a decimal.
    Float64 {
        /// The nearest float.
        value: f64,
        /// Digits and scale as written, if 38 digits hold them.
        exact: Option<(i128, u8)>,
    },
    /// An exact decimal: digits without point, precision, scale.
    Decimal(i128, u8, u8),
    /// Text.
    String(String),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
}

impl Literal {
    /// Reads an unsigned number as written: an integer, or with a point or exponent a float. Says why it is neither.
    pub fn number(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<i64>() {
                Ok(value) => Ok(Literal::Int64(value)),
                Err(_) => Err(format!("{text} is beyond int64; write `cast('{text}' as decimal(38,0))`")),
            };
        }
        let value: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
        if value.is_infinite() {
            return Err(format!("{text} is beyond float64"));
        }
        let exact = decimal::parse_digits(text);
        Ok(Literal::Float64 { value: canonical_f64(value), exact })
    }

    /// Returns the float literal of that value.
    pub fn float(value: f64) -> Self {
        Literal::Float64 { value: canonical_f64(value), exact: None }
    }

    /// Returns the negated number; None when it is not a number or the result does not fit.
    pub fn negated(&self) -> Option<Self> {
        match self {
            Literal::Int64(value) => value.checked_neg().map(Literal::Int64),
            Literal::Float64 { value, exact } => Some(Literal::Float64 {
                value: canonical_f64(-value),
                exact: exact.map(|(digits, scale)| (-digits, scale)),
            }),
            Literal::Decimal(digits, precision, scale) => Some(Literal::Decimal(-digits, *precision, *scale)),
            Literal::Null | Literal::Bool(_) | Literal::String(_) | Literal::Timestamp(_) | Literal::Date(_) => None,
        }
    }

    /// Returns its type.
    pub fn data_type(&self) -> DataType {
        match self {
            Literal::Null => DataType::Null,
            Literal::Bool(_) => DataType::Bool,
            Literal::Int64(_) => DataType::Int64,
            Literal::Float64 { .. } => DataType::Float64,
            Literal::Decimal(_, precision, scale) => DataType::Decimal(*precision, *scale),
            Literal::String(_) => DataType::String,
            Literal::Timestamp(_) => DataType::Timestamp,
            Literal::Date(_) => DataType::Date,
        }
    }

    /// Returns the decimal that it is exactly, as digits, precision and scale; None when it is not a number.
    pub(crate) fn as_decimal(&self) -> Option<(i128, u8, u8)> {
        let (digits, scale) = match self {
            Literal::Int64(value) => (i128::from(*value), 0),
            Literal::Float64 { exact, .. } => (*exact)?,
            Literal::Decimal(digits, precision, scale) => return Some((*digits, *precision, *scale)),
            _ => return None,
        };
        Some((digits, decimal::digit_count(digits).max(scale).max(1), scale))
    }

    /// Returns an array of one row that holds it as a value of that type.
    pub(crate) fn array(&self, data_type: DataType) -> ArrayRef {
        match self {
            Literal::Null => new_null_array(&data_type.arrow(), 1),
            Literal::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
            Literal::Int64(value) if data_type == DataType::Int32 => {
                Arc::new(Int32Array::from(vec![i32::try_from(*value).expect("coerced literals fit")]))
            }
            Literal::Int64(value) => Arc::new(Int64Array::from(vec![*value])),
            Literal::Float64 { value, .. } => Arc::new(Float64Array::from(vec![*value])),
            Literal::Decimal(digits, _, _) => {
                Arc::new(Decimal128Array::from(vec![*digits]).with_data_type(data_type.arrow()))
            }
            Literal::String(text) if data_type == DataType::Binary => {
                Arc::new(BinaryArray::from(vec![text.as_bytes()]))
            }
            Literal::String(text) => Arc::new(StringArray::from(vec![text.as_str()])),
            Literal::Timestamp(value) => {
                Arc::new(TimestampMicrosecondArray::from(vec![*value]).with_data_type(data_type.arrow()))
            }
            Literal::Date(value) => Arc::new(Date32Array::from(vec![*value])),
        }
    }
}

/// The canonical text, which reads back as the same literal.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Int64(value) => write!(f, "{value}"),
            Literal::Float64 { value, .. } => write!(f, "{value:?}"),
            Literal::Decimal(digits, precision, scale) => {
                write!(f, "cast('{}' as decimal({precision},{scale}))", decimal::text(*digits, *scale))
            }
            Literal::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Literal::Timestamp(value) => write!(f, "timestamp '{}'", time::timestamp_text(*value)),
            Literal::Date(value) => write!(f, "date '{}'", time::date_text(*value)),
        }
    }
}
