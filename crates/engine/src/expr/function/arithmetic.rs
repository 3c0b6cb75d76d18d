//! `+ - * / // %` and the sign: checked integers, IEEE floats, exact decimals.
//!
//! Integers are computed as int64. A float beside another number makes both floats. Decimals have these result types
//! (precision `p`, scale `s`; a precision is at most 38, and a value that needs more digits fails the row):
//!
//! | | scale | precision |
//! | --- | --- | --- |
//! | `a + b`, `a - b` | max(s₁, s₂) | max(p₁ − s₁, p₂ − s₂) + scale + 1 |
//! | `a * b` | s₁ + s₂, refused beyond 38 | p₁ + p₂ |
//! | `a / b` | max(s₁, s₂) + 4, at most 38; rounded half to even | 38 |
//! | `a // b` | 0 | p₁ − s₁ + s₂ |
//! | `a % b` | max(s₁, s₂) | min(p₁ − s₁, p₂ − s₂) + scale |

use arrow::array::ArrayRef;
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};

use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::coerce::{as_decimal, effective_types};
use crate::expr::decimal::{self, MAX_PRECISION};
use crate::expr::operand::{Call, Reason, Value, binary, binary_checked, unary, unary_checked};
use crate::value::{DataType, canonical_f64};

const BASE: Function = super::base(Family::Numbers);

pub(super) static ADD: Function = Function {
    name: "+",
    help: "Sum; integers are checked, decimals exact",
    signature: "(number, number) → number",
    types: |arguments| binary_types(&ADD, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Add)),
    sql: "({0} + {1})",
    flink: "({0} + {1})",
    duckdb: "({0} + {1})",
    example: ("1 + 2", "3"),
    ..BASE
};

pub(super) static SUBTRACT: Function = Function {
    name: "-",
    help: "Difference; integers are checked, decimals exact",
    signature: "(number, number) → number",
    types: |arguments| binary_types(&SUBTRACT, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Subtract)),
    sql: "({0} - {1})",
    flink: "({0} - {1})",
    duckdb: "({0} - {1})",
    example: ("1.5 - 2", "-0.5"),
    ..BASE
};

pub(super) static MULTIPLY: Function = Function {
    name: "*",
    help: "Product; integers are checked, decimals exact",
    signature: "(number, number) → number",
    types: |arguments| binary_types(&MULTIPLY, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Multiply)),
    sql: "({0} * {1})",
    flink: "({0} * {1})",
    duckdb: "({0} * {1})",
    example: ("cast('1.10' as decimal(4,2)) * 3", "3.30"),
    ..BASE
};

pub(super) static DIVIDE: Function = Function {
    name: "/",
    help: "Quotient: of integers and floats the IEEE one (by zero: infinite or NaN), of decimals to four more digits",
    signature: "(number, number) → float64 or decimal",
    types: |arguments| binary_types(&DIVIDE, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Divide)),
    sql: "({0} / {1})",
    flink: "(CAST({0} AS DOUBLE) / CAST({1} AS DOUBLE))",
    duckdb: "({0} / {1})",
    example: ("7 / 2", "3.5"),
    ..BASE
};

pub(super) static QUOTIENT: Function = Function {
    name: "//",
    help: "Whole quotient, towards zero; division of an integer or decimal by zero fails the row",
    signature: "(number, number) → number",
    types: |arguments| binary_types(&QUOTIENT, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Quotient)),
    sql: "({0} // {1})",
    flink: "({0} / {1})",
    duckdb: "({0} // {1})",
    example: ("-7 // 2", "-3"),
    ..BASE
};

pub(super) static REMAINDER: Function = Function {
    name: "%",
    aliases: &["mod"],
    help: "What a whole quotient leaves, with the sign of the dividend; by zero as `//`",
    signature: "(number, number) → number",
    types: |arguments| binary_types(&REMAINDER, arguments),
    kernel: Kernel::Rows(|call| arithmetic(call, Operation::Remainder)),
    sql: "({0} % {1})",
    flink: "MOD({0}, {1})",
    duckdb: "({0} % {1})",
    example: ("-7 % 2", "-1"),
    ..BASE
};

pub(super) static NEGATE: Function = Function {
    name: "negate",
    help: "The number with the other sign; written `-x`",
    signature: "(number) → number",
    types: |arguments| {
        expect_count(arguments, 1..=1, &NEGATE)?;
        let data_type = match arguments[0].data_type {
            DataType::Null | DataType::Int32 | DataType::Int64 => DataType::Int64,
            other if other.is_numeric() => other,
            _ => return Err(refuse(arguments, &NEGATE)),
        };
        Ok(Signature { arguments: vec![data_type], result: data_type })
    },
    kernel: Kernel::Rows(negate),
    sql: "(- {0})",
    flink: "(- {0})",
    duckdb: "(- {0})",
    example: ("-(2 + 3)", "-5"),
    ..BASE
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Quotient,
    Remainder,
}

fn operation(function: &Function) -> Operation {
    match function.name {
        "+" => Operation::Add,
        "-" => Operation::Subtract,
        "*" => Operation::Multiply,
        "/" => Operation::Divide,
        "//" => Operation::Quotient,
        "%" => Operation::Remainder,
        other => unreachable!("`{other}` is not arithmetic"),
    }
}

fn binary_types(function: &Function, arguments: &[Argument<'_>]) -> Result<Signature, String> {
    expect_count(arguments, 2..=2, function)?;
    if arguments.iter().any(|argument| argument.data_type != DataType::Null && !argument.data_type.is_numeric()) {
        let hint = if function.name == "+" && arguments.iter().any(|a| a.data_type == DataType::String) {
            "; `||` joins text"
        } else {
            ""
        };
        return Err(format!("{}{hint}", refuse(arguments, function)));
    }
    let types = effective_types(arguments);
    let operation = operation(function);
    if types.contains(&DataType::Float64) {
        return Ok(Signature { arguments: vec![DataType::Float64; 2], result: DataType::Float64 });
    }
    if types.iter().any(|data_type| matches!(data_type, DataType::Decimal(..))) {
        return decimal_types(operation, &types);
    }
    if operation == Operation::Divide {
        return Ok(Signature { arguments: vec![DataType::Float64; 2], result: DataType::Float64 });
    }
    Ok(Signature { arguments: vec![DataType::Int64; 2], result: DataType::Int64 })
}

fn decimal_types(operation: Operation, types: &[DataType]) -> Result<Signature, String> {
    let arguments: Vec<DataType> =
        types.iter().map(|data_type| as_decimal(*data_type).unwrap_or(DataType::Decimal(1, 0))).collect();
    let [DataType::Decimal(p, s), DataType::Decimal(q, t)] = arguments[..] else {
        unreachable!("both operands were made decimals");
    };
    let scale = s.max(t);
    let (precision, scale) = match operation {
        Operation::Add | Operation::Subtract => ((p - s).max(q - t) + scale + 1, scale),
        Operation::Multiply if s + t > MAX_PRECISION => {
            return Err(format!(
                "the product of {} and {} has {} digits after the point, and a decimal at most 38; `cast` one to a smaller scale",
                arguments[0],
                arguments[1],
                s + t
            ));
        }
        Operation::Multiply => (p + q, s + t),
        Operation::Divide => (MAX_PRECISION, (scale + 4).min(MAX_PRECISION)),
        Operation::Quotient => ((p - s + t).max(1), 0),
        Operation::Remainder => (((p - s).min(q - t) + scale).max(1), scale),
    };
    Ok(Signature { arguments, result: DataType::Decimal(precision.min(MAX_PRECISION), scale) })
}

fn arithmetic(call: &mut Call<'_>, operation: Operation) -> ArrayRef {
    match call.result {
        DataType::Int64 => integers(call, operation),
        DataType::Float64 => floats(call, operation),
        DataType::Decimal(..) => decimals(call, operation),
        other => unreachable!("arithmetic does not give {other}"),
    }
}

fn integers(call: &mut Call<'_>, operation: Operation) -> ArrayRef {
    type I = Int64Type;
    let overflow = |symbol: &'static str| {
        move |x: i64, y: i64| -> Reason { format!("overflow: {x} {symbol} {y} is beyond int64").into() }
    };
    let division = |symbol: &'static str| {
        move |x: i64, y: i64| -> Reason {
            if y == 0 {
                format!("division_by_zero: {x} {symbol} 0").into()
            } else {
                format!("overflow: {x} {symbol} {y} is beyond int64").into()
            }
        }
    };
    match operation {
        Operation::Add => binary_checked::<I, I, I>(call, i64::overflowing_add, overflow("+")),
        Operation::Subtract => binary_checked::<I, I, I>(call, i64::overflowing_sub, overflow("-")),
        Operation::Multiply => binary_checked::<I, I, I>(call, i64::overflowing_mul, overflow("*")),
        Operation::Quotient => binary_checked::<I, I, I>(
            call,
            |x, y| x.checked_div(y).map_or((0, true), |quotient| (quotient, false)),
            division("//"),
        ),
        // The least integer by −1 leaves 0, though the quotient overflows.
        Operation::Remainder => binary_checked::<I, I, I>(
            call,
            |x, y| if y == 0 { (0, true) } else { (x.wrapping_rem(y), false) },
            division("%"),
        ),
        Operation::Divide => unreachable!("integers divide as floats"),
    }
}

fn floats(call: &mut Call<'_>, operation: Operation) -> ArrayRef {
    type F = Float64Type;
    match operation {
        Operation::Add => binary::<F, F, F>(call, |x, y| canonical_f64(x + y)),
        Operation::Subtract => binary::<F, F, F>(call, |x, y| canonical_f64(x - y)),
        Operation::Multiply => binary::<F, F, F>(call, |x, y| canonical_f64(x * y)),
        Operation::Divide => binary::<F, F, F>(call, |x, y| canonical_f64(x / y)),
        Operation::Quotient => binary::<F, F, F>(call, |x, y| canonical_f64((x / y).trunc())),
        Operation::Remainder => binary::<F, F, F>(call, |x, y| canonical_f64(libm::fmod(x, y))),
    }
}

fn decimals(call: &mut Call<'_>, operation: Operation) -> ArrayRef {
    type D = Decimal128Type;
    let scales: Vec<u8> = call.arguments.iter().map(scale_of).collect();
    let (s, t) = (scales[0], scales[1]);
    let DataType::Decimal(precision, scale) = call.result else { unreachable!("decimals give decimals") };
    let compute = move |x: i128, y: i128| {
        match operation {
            Operation::Add => decimal::add(x, s, y, t, 1),
            Operation::Subtract => decimal::add(x, s, y, t, -1),
            Operation::Multiply => decimal::multiply(x, y),
            Operation::Divide => (y != 0).then(|| decimal::divide(x, s, y, t, scale)).flatten(),
            Operation::Quotient => (y != 0).then(|| decimal::quotient(x, s, y, t)).flatten(),
            Operation::Remainder => (y != 0).then(|| decimal::remainder(x, s, y, t)).flatten(),
        }
        .filter(|result| decimal::fits(*result, precision))
    };
    let divides = matches!(operation, Operation::Divide | Operation::Quotient | Operation::Remainder);
    let result = call.result;
    binary_checked::<D, D, D>(
        call,
        |x, y| compute(x, y).map_or((0, true), |value| (value, false)),
        |x, y| {
            let (x, zero) = (decimal::text(x, s), y == 0);
            let y = decimal::text(y, t);
            if divides && zero {
                format!("division_by_zero: {x} by {y}").into()
            } else {
                format!("overflow: the result for {x} and {y} is beyond {result}").into()
            }
        },
    )
}

fn negate(call: &mut Call<'_>) -> ArrayRef {
    match call.result {
        DataType::Int64 => unary_checked::<Int64Type, Int64Type>(call, i64::overflowing_neg, |x| {
            format!("overflow: -({x}) is beyond int64").into()
        }),
        DataType::Float64 => unary::<Float64Type, Float64Type>(call, |x| canonical_f64(-x)),
        DataType::Decimal(..) => unary::<Decimal128Type, Decimal128Type>(call, i128::wrapping_neg),
        other => unreachable!("`-` does not give {other}"),
    }
}

/// Returns the scale of a decimal operand.
pub(super) fn scale_of(value: &Value) -> u8 {
    match value.array().data_type() {
        arrow::datatypes::DataType::Decimal128(_, scale) => *scale as u8,
        other => unreachable!("{other} is not a decimal"),
    }
}
