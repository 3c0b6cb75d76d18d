//! Functions of numbers. Floats follow IEEE; what IEEE leaves open comes from `libm`, which is the same everywhere.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};

use super::arithmetic::scale_of;
use super::comparison::{Comparison, GreaterOrEqual, LessOrEqual, compare};
use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::coerce::common_type;
use crate::expr::decimal::{self, MAX_PRECISION};
use crate::expr::evaluate::{rows_of, trues};
use crate::expr::literal::Literal;
use crate::expr::operand::{Call, Value, binary, unary, unary_checked};
use crate::value::{DataType, canonical_f64};

const BASE: Function = super::base(Family::Numbers);

pub(super) static ABS: Function = Function {
    name: "abs",
    help: "The number without its sign",
    signature: "(number) → number",
    types: |arguments| number(arguments, &ABS),
    kernel: Kernel::Rows(|call| match call.result {
        DataType::Int64 => unary_checked::<Int64Type, Int64Type>(
            call,
            |x| x.checked_abs().map_or((0, true), |x| (x, false)),
            |x| format!("overflow: abs({x}) is beyond int64").into(),
        ),
        DataType::Float64 => unary::<Float64Type, Float64Type>(call, |x| canonical_f64(x.abs())),
        _ => unary::<Decimal128Type, Decimal128Type>(call, i128::wrapping_abs),
    }),
    sql: "abs({0})",
    flink: "ABS({0})",
    duckdb: "abs({0})",
    example: ("abs(-3)", "3"),
    ..BASE
};

pub(super) static ROUND: Function = Function {
    name: "round",
    help: "The nearest number with so many digits after the point (0 if not said), halves away from zero",
    signature: "(number[, digits]) → number",
    types: |arguments| {
        expect_count(arguments, 1..=2, &ROUND)?;
        let types = number(&arguments[..1], &ROUND)?;
        let digits = match arguments.get(1).map(|argument| argument.literal) {
            None => 0,
            Some(Some(Literal::Int64(digits @ -15..=15))) => *digits,
            Some(_) => return Err("the digits of `round` are an integer from -15 to 15, written out".into()),
        };
        let result = match types.result {
            DataType::Decimal(precision, scale) if digits >= 0 => {
                let kept = scale.min(digits as u8);
                DataType::Decimal((precision - scale + kept + 1).min(MAX_PRECISION), kept)
            }
            DataType::Float64 => DataType::Float64,
            other if digits >= 0 => other,
            other => return Err(format!("`round` of {other} keeps all digits before the point")),
        };
        let mut arguments_types = types.arguments;
        arguments_types.resize(arguments.len(), DataType::Int64);
        Ok(Signature { arguments: arguments_types, result })
    },
    kernel: Kernel::Rows(round),
    sql: "round({0*, })",
    flink: "ROUND({0*, })",
    duckdb: "round({0*, })",
    constants: &[(1, &["0", "2", "-1"])],
    example: ("round(2.25, 1)", "2.3"),
    ..BASE
};

pub(super) static FLOOR: Function = Function {
    name: "floor",
    help: "The greatest whole number that is not greater",
    signature: "(number) → number",
    types: |arguments| whole(arguments, &FLOOR),
    kernel: Kernel::Rows(|call| to_whole(call, f64::floor, i128::div_euclid)),
    sql: "floor({0})",
    flink: "FLOOR({0})",
    duckdb: "floor({0})",
    example: ("floor(-1.5)", "-2.0"),
    ..BASE
};

pub(super) static CEIL: Function = Function {
    name: "ceil",
    aliases: &["ceiling"],
    help: "The least whole number that is not less",
    signature: "(number) → number",
    types: |arguments| whole(arguments, &CEIL),
    kernel: Kernel::Rows(|call| to_whole(call, f64::ceil, |digits, power| -(-digits).div_euclid(power))),
    sql: "ceil({0})",
    flink: "CEIL({0})",
    duckdb: "ceil({0})",
    example: ("ceil(cast('1.01' as decimal(3,2)))", "2"),
    ..BASE
};

macro_rules! float_function {
    ($name:ident, $sql_name:literal, $help:literal, $f:expr, $template:literal, $flink:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(number) → float64",
            types: |arguments| floats(arguments, &$name, 1),
            kernel: Kernel::Rows(|call| unary::<Float64Type, Float64Type>(call, |x| canonical_f64($f(x)))),
            sql: $template,
            flink: $flink,
            duckdb: $template,
            example: $example,
            ..BASE
        };
    };
}

float_function!(
    SQRT,
    "sqrt",
    "The square root, correctly rounded; of a negative number NaN",
    f64::sqrt,
    "sqrt({0})",
    "SQRT({0})",
    ("sqrt(2.25)", "1.5")
);
float_function!(
    LN,
    "ln",
    "The natural logarithm; of 0 minus infinity, of a negative number NaN",
    libm::log,
    "ln({0})",
    "LN({0})",
    ("ln(1)", "0.0")
);
float_function!(EXP, "exp", "e to the power of the number", libm::exp, "exp({0})", "EXP({0})", ("exp(0)", "1.0"));

pub(super) static POWER: Function = Function {
    name: "power",
    aliases: &["pow"],
    help: "The first number to the power of the second",
    signature: "(number, number) → float64",
    types: |arguments| floats(arguments, &POWER, 2),
    kernel: Kernel::Rows(|call| {
        binary::<Float64Type, Float64Type, Float64Type>(call, |x, y| canonical_f64(libm::pow(x, y)))
    }),
    sql: "power({0}, {1})",
    flink: "POWER({0}, {1})",
    duckdb: "power({0}, {1})",
    example: ("power(2, 10)", "1024.0"),
    ..BASE
};

pub(super) static GREATEST: Function = Function {
    name: "greatest",
    help: "The greatest of the values, null if one is null; NaN is the greatest number",
    signature: "(any, any, …) → any",
    types: |arguments| alike(arguments, &GREATEST),
    kernel: Kernel::Rows(extreme::<GreaterOrEqual>),
    sql: "greatest({0*, })",
    flink: "GREATEST({0*, })",
    duckdb: "",
    example: ("greatest(1, 3, 2)", "3"),
    ..BASE
};

pub(super) static LEAST: Function = Function {
    name: "least",
    help: "The least of the values, null if one is null",
    signature: "(any, any, …) → any",
    types: |arguments| alike(arguments, &LEAST),
    kernel: Kernel::Rows(extreme::<LessOrEqual>),
    sql: "least({0*, })",
    flink: "LEAST({0*, })",
    duckdb: "",
    example: ("least('b', 'a')", "a"),
    ..BASE
};

/// Types of a function of one number: integers are int64.
pub(super) fn number(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    expect_count(arguments, 1..=1, function)?;
    let data_type = match arguments[0].data_type {
        DataType::Null | DataType::Int32 | DataType::Int64 => DataType::Int64,
        other if other.is_numeric() => other,
        _ => return Err(refuse(arguments, function)),
    };
    Ok(Signature { arguments: vec![data_type], result: data_type })
}

/// Types of a function to whole numbers: a decimal loses its fraction and may need one more digit before it.
fn whole(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    let mut types = number(arguments, function)?;
    if let DataType::Decimal(precision, scale) = types.result {
        types.result = DataType::Decimal((precision - scale + 1).min(MAX_PRECISION), 0);
    }
    Ok(types)
}

fn floats(arguments: &[Argument<'_>], function: &Function, count: usize) -> Result<Signature, String> {
    expect_count(arguments, count..=count, function)?;
    let fit = |argument: &Argument<'_>| argument.data_type.is_numeric() || argument.data_type == DataType::Null;
    if !arguments.iter().all(fit) {
        return Err(refuse(arguments, function));
    }
    Ok(Signature { arguments: vec![DataType::Float64; count], result: DataType::Float64 })
}

fn alike(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    expect_count(arguments, 1..=usize::MAX, function)?;
    let result = common_type(arguments)?;
    Ok(Signature { arguments: vec![result; arguments.len()], result })
}

fn to_whole(call: &mut Call<'_>, float: fn(f64) -> f64, decimal: fn(i128, i128) -> i128) -> ArrayRef {
    match call.result {
        DataType::Int64 => unary::<Int64Type, Int64Type>(call, |x| x),
        DataType::Float64 => unary::<Float64Type, Float64Type>(call, |x| canonical_f64(float(x))),
        _ => {
            let power = decimal::power_of_ten(scale_of(&call.arguments[0]));
            unary::<Decimal128Type, Decimal128Type>(call, |x| decimal(x, power))
        }
    }
}

fn round(call: &mut Call<'_>) -> ArrayRef {
    let digits = match call.arguments.len() {
        2 => call.numbers::<Int64Type>(1).value(0) as i32,
        _ => 0,
    };
    match call.result {
        DataType::Int64 => unary::<Int64Type, Int64Type>(call, |x| x),
        DataType::Float64 => {
            // Powers of ten up to 22 are exact floats.
            let power = decimal::power_of_ten(digits.unsigned_abs() as u8) as f64;
            unary::<Float64Type, Float64Type>(call, |x| canonical_f64(round_float(x, power, digits < 0)))
        }
        DataType::Decimal(precision, kept) => {
            let power = decimal::power_of_ten(scale_of(&call.arguments[0]) - kept);
            let result = call.result;
            unary_checked::<Decimal128Type, Decimal128Type>(
                call,
                |x| {
                    let (quotient, remainder) = (x / power, x % power);
                    let away = remainder.unsigned_abs() * 2 >= power.unsigned_abs() && power > 1;
                    let rounded = if away { quotient + x.signum() } else { quotient };
                    (rounded, !decimal::fits(rounded, precision))
                },
                |_| format!("overflow: the rounded number is beyond {result}").into(),
            )
        }
        other => unreachable!("`round` does not give {other}"),
    }
}

/// Scales, rounds halves away from zero and scales back. A number too great to be scaled has no such digits.
fn round_float(x: f64, power: f64, before_the_point: bool) -> f64 {
    let scaled = if before_the_point { x / power } else { x * power };
    if !scaled.is_finite() {
        return x;
    }
    if before_the_point { scaled.round() * power } else { scaled.round() / power }
}

/// Folds from the left, keeping a value while it compares so with the next.
fn extreme<C: Comparison>(call: &mut Call<'_>) -> ArrayRef {
    let mut best = rows_of(&call.arguments[0], call.rows);
    if call.result == DataType::Null {
        return best;
    }
    for next in &call.arguments[1..] {
        let pair = [Value::Rows(best.clone()), Value::Rows(rows_of(next, call.rows))];
        let mut failures = Vec::new();
        let pair_call =
            Call { arguments: &pair, rows: call.rows, result: DataType::Bool, open: None, failures: &mut failures };
        let keep = compare::<C>(&pair_call, 0, 1);
        let chosen = zip(&BooleanArray::new(trues(&keep), None), pair[0].array(), pair[1].array()).expect("one type");
        // Where one is null the comparison is, and so is the result.
        let nulls = NullBuffer::union(chosen.nulls(), keep.nulls());
        let data = chosen.into_data().into_builder().nulls(nulls).build().expect("one flag per row");
        best = arrow::array::make_array(data);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_halves_away_from_zero() {
        assert_eq!(round_float(2.5, 1.0, false), 3.0);
        assert_eq!(round_float(-2.5, 1.0, false), -3.0);
        assert_eq!(round_float(1250.0, 100.0, true), 1300.0);
        assert_eq!(round_float(1e300, 1e15, false), 1e300);
    }
}
