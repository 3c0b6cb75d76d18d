//! Implicit conversions: which type operands meet in, and how an operand becomes it.

use super::function::Argument;
use super::literal::Literal;
use super::{Expr, Kind, decimal, time};
use crate::value::{DataType, StructField};

/// Converts an operand to the type that its function takes. Literals are converted here and now, others by a `cast`.
pub(crate) fn coerce(operand: Expr, to: DataType) -> Result<Expr, String> {
    if operand.data_type == to {
        return Ok(operand);
    }
    if let Kind::Literal(literal) = &operand.kind
        && let Some(converted) = coerce_literal(literal, to)?
    {
        return Ok(Expr { kind: Kind::Literal(converted), data_type: to, depth: 1 });
    }
    Expr::cast(operand, to, false)
}

fn coerce_literal(literal: &Literal, to: DataType) -> Result<Option<Literal>, String> {
    Ok(Some(match (literal, to) {
        (Literal::Null, _) => Literal::Null,
        (Literal::Int64(value), DataType::Float64) => Literal::float(*value as f64),
        (_, DataType::Decimal(precision, scale)) => {
            let Some((digits, _, from)) = literal.as_decimal() else { return Ok(None) };
            match decimal::rescale(digits, from, scale) {
                Some(digits) if from <= scale && decimal::fits(digits, precision) => {
                    Literal::Decimal(digits, precision, scale)
                }
                _ => return Err(format!("{literal} does not fit {to}")),
            }
        }
        (Literal::String(text), DataType::Timestamp) => match time::parse_timestamp(text) {
            Some(timestamp) => Literal::Timestamp(timestamp),
            None => return Err(format!("'{text}' is not a timestamp; write it as '2026-01-31T12:00:00Z'")),
        },
        (Literal::String(text), DataType::Date) => match time::parse_date(text) {
            Some(date) => Literal::Date(date),
            None => return Err(format!("'{text}' is not a date; write it as '2026-01-31'")),
        },
        _ => return Ok(None),
    }))
}

/// Returns the type that values of all these operands can be compared in or chosen among, or which two have none.
///
/// Integers meet in the wider one; an integer and a decimal in a decimal; any number and a float in float64 (a number
/// literal with a point is a decimal beside a decimal, unless there is a float); a date and a timestamp in a timestamp;
/// a text literal beside a timestamp or date is one. Lists meet in a list of what their elements meet in, structs of the
/// same names field by field. Null fits everywhere.
pub(crate) fn common_type(arguments: &[Argument<'_>]) -> Result<DataType, String> {
    let types: Vec<DataType> = effective_types(arguments);
    let mut common = DataType::Null;
    for data_type in types {
        common = meet(common, data_type)
            .ok_or_else(|| format!("{common} and {data_type} have no common type; convert one with `cast`"))?;
    }
    Ok(common)
}

/// Returns the types of operands, literals seen as what their neighbours make of them.
pub(crate) fn effective_types(arguments: &[Argument<'_>]) -> Vec<DataType> {
    let has_decimal = arguments.iter().any(|argument| matches!(argument.data_type, DataType::Decimal(..)));
    let time = arguments
        .iter()
        .map(|argument| argument.data_type)
        .find(|data_type| matches!(data_type, DataType::Timestamp | DataType::Date));
    arguments
        .iter()
        .map(|argument| match (argument.literal, argument.data_type) {
            (Some(literal), DataType::Int64 | DataType::Float64) if has_decimal => literal
                .as_decimal()
                .map_or(argument.data_type, |(_, precision, scale)| DataType::Decimal(precision, scale)),
            (Some(Literal::String(text)), _) => match time {
                Some(DataType::Date) if time::parse_date(text).is_some() => DataType::Date,
                Some(_) => DataType::Timestamp,
                None => DataType::String,
            },
            (_, data_type) => data_type,
        })
        .collect()
}

fn meet(a: DataType, b: DataType) -> Option<DataType> {
    use DataType::{Date, Decimal, Float64, Int32, Int64, List, Null, Struct, Timestamp};
    Some(match (a, b) {
        _ if a == b => a,
        (Null, other) | (other, Null) => other,
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Float64, other) | (other, Float64) if other.is_numeric() => Float64,
        (Decimal(..), other) | (other, Decimal(..)) if other.is_numeric() => {
            let (Decimal(p, s), Decimal(q, t)) = (as_decimal(a)?, as_decimal(b)?) else { return None };
            let scale = s.max(t);
            Decimal(((p - s).max(q - t) + scale).min(decimal::MAX_PRECISION), scale)
        }
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        (List(a), List(b)) => DataType::list(meet(*a, *b)?),
        (Struct(a), Struct(b)) if a.len() == b.len() => {
            let fields = a.iter().zip(b).map(|(a, b)| {
                let data_type = meet(a.data_type, b.data_type).filter(|_| a.name == b.name)?;
                Some(StructField { name: a.name.clone(), data_type })
            });
            DataType::structure(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Returns the decimal type that holds every value of an integer or decimal type.
pub(crate) fn as_decimal(data_type: DataType) -> Option<DataType> {
    match data_type {
        DataType::Int32 => Some(DataType::Decimal(10, 0)),
        DataType::Int64 => Some(DataType::Decimal(19, 0)),
        DataType::Decimal(..) => Some(data_type),
        _ => None,
    }
}
