//! The value of an expression for one row.

use std::cmp::Ordering;

use super::scalar;
use crate::case::JSONS;
use crate::case::expr::{Binary, Expr, Function};
use crate::case::scalar::Scalar;
use crate::value::Value;

/// The expression fails for this row (overflow, a zero divisor, a text that is no number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// Evaluates an expression; `column` gives the value of a column.
pub(crate) fn evaluate(expr: &Expr, column: &dyn Fn(&str) -> Value) -> Result<Value, Failed> {
    match expr {
        Expr::Column(name) => Ok(column(name)),
        Expr::Literal(value) => Ok(match value {
            Value::Float(x) => Value::float(*x),
            other => other.clone(),
        }),
        Expr::Binary(Binary::And, left, right) => and(evaluate(left, column)?, false, || evaluate(right, column)),
        Expr::Binary(Binary::Or, left, right) => and(evaluate(left, column)?, true, || evaluate(right, column)),
        Expr::Binary(operator, left, right) => {
            let (left, right) = (evaluate(left, column)?, evaluate(right, column)?);
            if left.is_null() || right.is_null() { Ok(Value::Null) } else { apply(*operator, &left, &right) }
        }
        Expr::Function(Function::Coalesce, arguments) => {
            for argument in arguments {
                let value = evaluate(argument, column)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Ok(Value::Null)
        }
        Expr::Function(Function::Scalar(Scalar::If), arguments) => match evaluate(&arguments[0], column)? {
            Value::Bool(true) => evaluate(&arguments[1], column),
            _ => evaluate(&arguments[2], column),
        },
        Expr::Function(function, arguments) => {
            let values: Result<Vec<Value>, Failed> =
                arguments.iter().map(|argument| evaluate(argument, column)).collect();
            call(*function, &values?)
        }
        Expr::Case(condition, then, otherwise) => match evaluate(condition, column)? {
            Value::Bool(true) => evaluate(then, column),
            _ => evaluate(otherwise, column),
        },
        Expr::Call(..) => unreachable!("aggregates are replaced by their results first"),
    }
}

/// `and` (or, with `decided` true, `or`) in three-valued logic; the right operand only where the left leaves it open.
fn and(left: Value, decided: bool, right: impl FnOnce() -> Result<Value, Failed>) -> Result<Value, Failed> {
    if left == Value::Bool(decided) {
        return Ok(left);
    }
    let right = right()?;
    Ok(if right == Value::Bool(decided) || !left.is_null() { right } else { Value::Null })
}

fn apply(operator: Binary, left: &Value, right: &Value) -> Result<Value, Failed> {
    let order = left.cmp(right);
    let compared = match operator {
        Binary::Equal => Some(order == Ordering::Equal),
        Binary::Different => Some(order != Ordering::Equal),
        Binary::Less => Some(order == Ordering::Less),
        Binary::LessOrEqual => Some(order != Ordering::Greater),
        Binary::Greater => Some(order == Ordering::Greater),
        Binary::GreaterOrEqual => Some(order != Ordering::Less),
        _ => None,
    };
    if let Some(compared) = compared {
        return Ok(Value::Bool(compared));
    }
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(operator, i128::from(*left), i128::from(*right)),
        (Value::Float(left), Value::Float(right)) => Ok(Value::float(match operator {
            Binary::Add => left + right,
            Binary::Subtract => left - right,
            Binary::Multiply => left * right,
            Binary::Divide => left / right,
            other => unreachable!("{} on floats", other.sql()),
        })),
        (Value::Decimal(left), Value::Decimal(right)) => decimals(operator, *left, *right),
        (left, right) => unreachable!("{left} {} {right}", operator.sql()),
    }
}

/// Both have the same scale, or are multiplied.
fn decimals(operator: Binary, left: i128, right: i128) -> Result<Value, Failed> {
    let result = match operator {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        other => unreachable!("{} on decimals", other.sql()),
    };
    result.filter(|digits| digits.unsigned_abs() < 10u128.pow(38)).map(Value::Decimal).ok_or(Failed)
}

fn integers(operator: Binary, left: i128, right: i128) -> Result<Value, Failed> {
    let result = match operator {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => return Ok(Value::float(left as f64 / right as f64)),
        Binary::Quotient | Binary::Remainder if right == 0 => return Err(Failed),
        Binary::Quotient => left / right,
        Binary::Remainder => left % right,
        other => unreachable!("{} on integers", other.sql()),
    };
    i64::try_from(result).map(Value::Int).map_err(|_| Failed)
}

fn call(function: Function, values: &[Value]) -> Result<Value, Failed> {
    match function {
        Function::Scalar(scalar) => return scalar::call(scalar, values),
        Function::IsNull => return Ok(Value::Bool(values[0].is_null())),
        Function::IsNotNull => return Ok(Value::Bool(!values[0].is_null())),
        Function::NullIf if values[0].is_null() || values[1].is_null() => return Ok(values[0].clone()),
        _ if values.iter().any(Value::is_null) => return Ok(Value::Null),
        _ => {}
    }
    Ok(match (function, values) {
        (Function::NullIf, [a, b]) if a == b => Value::Null,
        (Function::NullIf, [a, _]) => a.clone(),
        (Function::Not, [Value::Bool(x)]) => Value::Bool(!x),
        (Function::Lower, [Value::Text(x)]) => Value::Text(x.to_lowercase()),
        (Function::Upper, [Value::Text(x)]) => Value::Text(x.to_uppercase()),
        (Function::Length, [Value::Text(x)]) => Value::Int(x.chars().count() as i64),
        (Function::Concat, [Value::Text(a), Value::Text(b)]) => Value::Text(format!("{a}{b}")),
        (Function::ToInt, [Value::Text(x)]) => Value::Int(x.parse().map_err(|_| Failed)?),
        (Function::TryToInt, [Value::Text(x)]) => x.parse().map_or(Value::Null, Value::Int),
        (Function::ToFloat, [Value::Int(x)]) => Value::float(*x as f64),
        (Function::ListLength, [Value::List(x)]) => Value::Int(x.len() as i64),
        (Function::Element, [Value::List(x), Value::Int(place)]) => {
            // From 1, or from the end: 1 and −3 are the first of three.
            let found = (0..x.len() as i64).find(|i| i + 1 == *place || i - x.len() as i64 == *place);
            found.map_or(Value::Null, |i| x[i as usize].clone())
        }
        (Function::FieldA, [Value::Struct(x)]) => x[0].clone(),
        (Function::MemberA, [Value::Json(x)]) => {
            let (_, _, member) = JSONS.iter().find(|(_, canonical, _)| canonical == x).expect("one of the list");
            member.map_or(Value::Null, |member| Value::Text(member.into()))
        }
        (function, values) => unreachable!("{function:?} of {values:?}"),
    })
}
