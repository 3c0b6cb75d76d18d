//! Functions of floats beyond arithmetic, from the pinned `libm`: the same bits on every machine.

use std::f64::consts::{E, PI};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, PrimitiveArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};

use super::each::integers;
use super::math::{self, ROUND};
use super::{Family, Function, Kernel, Signature, Slot, expect_count, takes};
use crate::expr::decimal;
use crate::expr::operand::{Call, binary, unary};
use crate::value::{DataType, canonical_f64};

const BASE: Function = super::base(Family::Numbers);

macro_rules! float_function {
    ($name:ident, $sql_name:literal, $help:literal, $f:expr, $template:literal, $flink:literal, $duckdb:literal, $differs:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(number) → float64",
            types: |arguments| takes(arguments, &$name, &[Slot::Float], 1, DataType::Float64),
            kernel: Kernel::Rows(|call| unary::<Float64Type, Float64Type>(call, |x| canonical_f64($f(x)))),
            sql: $template,
            flink: $flink,
            duckdb: $duckdb,
            differs: $differs,
            example: $example,
            ..BASE
        };
    };
}

macro_rules! float_test {
    ($name:ident, $sql_name:literal, $help:literal, $f:expr, $template:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            help: $help,
            signature: "(number) → bool",
            types: |arguments| takes(arguments, &$name, &[Slot::Float], 1, DataType::Bool),
            kernel: Kernel::Rows(|call| Arc::new(BooleanArray::from_unary(call.numbers::<Float64Type>(0).array(), $f))),
            sql: $template,
            duckdb: $template,
            example: $example,
            ..BASE
        };
    };
}

float_function!(
    SIN,
    "sin",
    "The sine of an angle in radians; of an infinity NaN",
    libm::sin,
    "sin({0})",
    "SIN({0})",
    "sin({0})",
    "an infinity is an error in DuckDB",
    ("sin(0)", "0.0")
);
float_function!(
    COS,
    "cos",
    "The cosine of an angle in radians; of an infinity NaN",
    libm::cos,
    "cos({0})",
    "COS({0})",
    "cos({0})",
    "an infinity is an error in DuckDB",
    ("cos(0)", "1.0")
);
float_function!(
    TAN,
    "tan",
    "The tangent of an angle in radians; of an infinity NaN",
    libm::tan,
    "tan({0})",
    "TAN({0})",
    "tan({0})",
    "an infinity is an error in DuckDB",
    ("tan(0)", "0.0")
);
float_function!(
    COT,
    "cot",
    "The cotangent of an angle in radians; of 0 infinity",
    |x| 1.0 / libm::tan(x),
    "cot({0})",
    "COT({0})",
    "cot({0})",
    "an infinity is an error in DuckDB",
    ("cot(0)", "Infinity")
);
float_function!(
    ASIN,
    "asin",
    "The angle in radians whose sine it is; beyond -1 to 1 NaN",
    libm::asin,
    "asin({0})",
    "ASIN({0})",
    "asin({0})",
    "",
    ("asin(0)", "0.0")
);
float_function!(
    ACOS,
    "acos",
    "The angle in radians whose cosine it is; beyond -1 to 1 NaN",
    libm::acos,
    "acos({0})",
    "ACOS({0})",
    "acos({0})",
    "",
    ("acos(1)", "0.0")
);
float_function!(
    ATAN,
    "atan",
    "The angle in radians whose tangent it is",
    libm::atan,
    "atan({0})",
    "ATAN({0})",
    "atan({0})",
    "",
    ("atan(0)", "0.0")
);
float_function!(
    SINH,
    "sinh",
    "The hyperbolic sine",
    libm::sinh,
    "sinh({0})",
    "SINH({0})",
    "sinh({0})",
    "",
    ("sinh(0)", "0.0")
);
float_function!(
    COSH,
    "cosh",
    "The hyperbolic cosine",
    libm::cosh,
    "cosh({0})",
    "COSH({0})",
    "cosh({0})",
    "",
    ("cosh(0)", "1.0")
);
float_function!(
    TANH,
    "tanh",
    "The hyperbolic tangent",
    libm::tanh,
    "tanh({0})",
    "TANH({0})",
    "tanh({0})",
    "",
    ("tanh(0)", "0.0")
);
float_function!(
    ASINH,
    "asinh",
    "The number whose hyperbolic sine it is",
    libm::asinh,
    "asinh({0})",
    "",
    "asinh({0})",
    "",
    ("asinh(0)", "0.0")
);
float_function!(
    ACOSH,
    "acosh",
    "The number whose hyperbolic cosine it is; below 1 NaN",
    libm::acosh,
    "acosh({0})",
    "",
    "acosh({0})",
    "",
    ("acosh(1)", "0.0")
);
float_function!(
    ATANH,
    "atanh",
    "The number whose hyperbolic tangent it is; beyond -1 to 1 NaN",
    libm::atanh,
    "atanh({0})",
    "",
    "atanh({0})",
    "",
    ("atanh(1)", "Infinity")
);
float_function!(
    DEGREES,
    "degrees",
    "An angle in radians as degrees",
    |x| x * (180.0 / PI),
    "degrees({0})",
    "DEGREES({0})",
    "degrees({0})",
    "",
    ("degrees(pi())", "180.0")
);
float_function!(
    RADIANS,
    "radians",
    "An angle in degrees as radians",
    |x| x * (PI / 180.0),
    "radians({0})",
    "RADIANS({0})",
    "radians({0})",
    "",
    ("radians(180) = pi()", "true")
);
float_function!(
    LOG10,
    "log10",
    "The logarithm to base 10; of 0 minus infinity, of a negative number NaN",
    libm::log10,
    "log10({0})",
    "LOG10({0})",
    "log10({0})",
    "",
    ("log10(1000)", "3.0")
);
float_function!(
    LOG2,
    "log2",
    "The logarithm to base 2; of 0 minus infinity, of a negative number NaN",
    libm::log2,
    "log2({0})",
    "LOG2({0})",
    "log2({0})",
    "",
    ("log2(8)", "3.0")
);
float_function!(CBRT, "cbrt", "The cube root", libm::cbrt, "cbrt({0})", "", "cbrt({0})", "", ("cbrt(-27)", "-3.0"));
float_function!(
    EVEN,
    "even",
    "The next even whole number away from zero",
    even,
    "even({0})",
    "",
    "even({0})",
    "",
    ("even(2.1)", "4.0")
);
float_function!(
    GAMMA,
    "gamma",
    "The gamma function: of n + 1 the factorial of n; of 0 and negative whole numbers NaN or an infinity",
    libm::tgamma,
    "gamma({0})",
    "",
    "gamma({0})",
    "0 is an error in DuckDB",
    ("gamma(5)", "24.0")
);
float_function!(
    LGAMMA,
    "lgamma",
    "The natural logarithm of the gamma function's magnitude",
    libm::lgamma,
    "lgamma({0})",
    "",
    "lgamma({0})",
    "0 is an error in DuckDB",
    ("lgamma(1)", "0.0")
);

float_test!(ISNAN, "isnan", "Whether the number is NaN", f64::is_nan, "isnan({0})", ("isnan(0.0 / 0)", "true"));
float_test!(
    ISINF,
    "isinf",
    "Whether the number is an infinity",
    f64::is_infinite,
    "isinf({0})",
    ("isinf(1.0 / 0)", "true")
);
float_test!(
    ISFINITE,
    "isfinite",
    "Whether the number is neither NaN nor an infinity",
    f64::is_finite,
    "isfinite({0})",
    ("isfinite(1e308)", "true")
);

pub(super) static ATAN2: Function = Function {
    name: "atan2",
    help: "The angle in radians of the point with that y and x",
    signature: "(y number, x number) → float64",
    types: |arguments| takes(arguments, &ATAN2, &[Slot::Float, Slot::Float], 2, DataType::Float64),
    kernel: Kernel::Rows(|call| {
        binary::<Float64Type, Float64Type, Float64Type>(call, |y, x| canonical_f64(libm::atan2(y, x)))
    }),
    sql: "atan2({0}, {1})",
    flink: "ATAN2({0}, {1})",
    duckdb: "atan2({0}, {1})",
    example: ("atan2(0, 1)", "0.0"),
    ..BASE
};

pub(super) static LOG: Function = Function {
    name: "log",
    help: "The logarithm of the second number to the base of the first: log2(x) / log2(base)",
    signature: "(base number, number) → float64",
    types: |arguments| {
        if arguments.len() == 1 {
            return Err("`log` of one number is `ln` for some and `log10` for others; write which".into());
        }
        takes(arguments, &LOG, &[Slot::Float, Slot::Float], 2, DataType::Float64)
    },
    kernel: Kernel::Rows(|call| {
        binary::<Float64Type, Float64Type, Float64Type>(call, |base, x| canonical_f64(libm::log2(x) / libm::log2(base)))
    }),
    sql: "log({0}, {1})",
    flink: "LOG({0}, {1})",
    duckdb: "log({0}, {1})",
    example: ("log(2, 8)", "3.0"),
    ..BASE
};

pub(super) static PI_CONSTANT: Function = Function {
    name: "pi",
    help: "The float nearest to π",
    signature: "() → float64",
    types: |arguments| takes(arguments, &PI_CONSTANT, &[], 0, DataType::Float64),
    kernel: Kernel::Rows(|call| constant(call, PI)),
    sql: "pi()",
    flink: "PI()",
    duckdb: "pi()",
    example: ("pi()", "3.141592653589793"),
    ..BASE
};

pub(super) static E_CONSTANT: Function = Function {
    name: "e",
    help: "The float nearest to Euler's number",
    signature: "() → float64",
    types: |arguments| takes(arguments, &E_CONSTANT, &[], 0, DataType::Float64),
    kernel: Kernel::Rows(|call| constant(call, E)),
    sql: "e()",
    flink: "E()",
    example: ("e()", "2.718281828459045"),
    ..BASE
};

pub(super) static SIGN: Function = Function {
    name: "sign",
    help: "-1, 0 or 1 as the number is less than, equal to or greater than 0; 0 of NaN",
    signature: "(number) → int64",
    types: |arguments| {
        let types = math::number(arguments, &SIGN)?;
        Ok(Signature { arguments: types.arguments, result: DataType::Int64 })
    },
    kernel: Kernel::Rows(|call| {
        use arrow::datatypes::DataType as A;
        match call.arguments[0].array().data_type() {
            A::Int64 => unary::<Int64Type, Int64Type>(call, i64::signum),
            A::Decimal128(..) => unary::<Decimal128Type, Int64Type>(call, |x| x.signum() as i64),
            _ => unary::<Float64Type, Int64Type>(call, |x| i64::from(x > 0.0) - i64::from(x < 0.0)),
        }
    }),
    sql: "sign({0})",
    flink: "SIGN({0})",
    duckdb: "sign({0})",
    differs: "Flink gives a number of the argument's type",
    example: ("sign(-2.5)", "-1"),
    ..BASE
};

pub(super) static TRUNC: Function = Function {
    name: "trunc",
    aliases: &["truncate"],
    help: "The number without what stands behind so many digits after the point (0 if not said)",
    signature: "(number[, digits]) → number",
    types: |arguments| {
        expect_count(arguments, 1..=2, &TRUNC)?;
        let rounded = (ROUND.types)(arguments).map_err(|why| why.replace("`round`", "`trunc`"))?;
        // Nothing is carried, so a decimal needs no further digit.
        let result = match (&rounded.arguments[0], rounded.result) {
            (DataType::Decimal(precision, scale), DataType::Decimal(_, kept)) => {
                DataType::Decimal((precision - scale + kept).max(1), kept)
            }
            (_, other) => other,
        };
        Ok(Signature { arguments: rounded.arguments, result })
    },
    kernel: Kernel::Rows(trunc),
    sql: "trunc({0*, })",
    flink: "TRUNCATE({0*, })",
    duckdb: "trunc({0*, })",
    constants: &[(1, &["0", "2", "-1"])],
    differs: "a float is scaled by a power of ten, so that its last digit may be another in DuckDB",
    example: ("trunc(-2.57, 1)", "-2.5"),
    ..BASE
};

pub(super) static WIDTH_BUCKET: Function = Function {
    name: "width_bucket",
    help: "Which of so many equal parts between two bounds a number lies in, from 1; 0 below, one more than there are at or above the end; equal bounds, NaN or no parts fail the row",
    signature: "(number, low number, high number, parts int64) → int64",
    types: |arguments| {
        let slots = [Slot::Float, Slot::Float, Slot::Float, Slot::Integer];
        takes(arguments, &WIDTH_BUCKET, &slots, 4, DataType::Int64)
    },
    kernel: Kernel::Rows(|call| {
        let [x, low, high] = [0, 1, 2].map(|index| call.numbers::<Float64Type>(index));
        let parts = call.numbers::<Int64Type>(3);
        integers(call, |row| {
            let (x, low, high, parts) = (x.value(row), low.value(row), high.value(row), parts.value(row));
            bucket(x, low, high, parts).ok_or_else(|| {
                format!("width_bucket: {x:?} has no place in {parts} parts from {low:?} to {high:?}").into()
            })
        })
    }),
    sql: "width_bucket({0*, })",
    example: ("width_bucket(5.3, 0, 10, 4)", "3"),
    ..BASE
};

fn constant(call: &mut Call<'_>, value: f64) -> ArrayRef {
    Arc::new(Float64Array::from_value(value, call.rows))
}

fn even(x: f64) -> f64 {
    let away = if x >= 0.0 { x.ceil() } else { x.floor() };
    if libm::fmod(away, 2.0) == 0.0 || !away.is_finite() { away } else { away + x.signum() }
}

fn trunc(call: &mut Call<'_>) -> ArrayRef {
    let digits = match call.arguments.len() {
        2 => call.numbers::<Int64Type>(1).value(0),
        _ => 0,
    };
    match call.result {
        DataType::Int64 => unary::<Int64Type, Int64Type>(call, |x| x),
        DataType::Float64 => {
            // Powers of ten up to 22 are exact floats.
            let power = decimal::power_of_ten(digits.unsigned_abs() as u8) as f64;
            let cut = move |x: f64| {
                let scaled = if digits < 0 { x / power } else { x * power };
                let whole = scaled.trunc();
                match scaled.is_finite() {
                    false => x,
                    true if digits < 0 => whole * power,
                    true => whole / power,
                }
            };
            unary::<Float64Type, Float64Type>(call, |x| canonical_f64(cut(x)))
        }
        DataType::Decimal(_, kept) => {
            let power = decimal::power_of_ten(super::arithmetic::scale_of(&call.arguments[0]) - kept);
            let result: PrimitiveArray<Decimal128Type> = call.numbers::<Decimal128Type>(0).array().unary(|x| x / power);
            Arc::new(result.with_data_type(call.result.arrow()))
        }
        other => unreachable!("`trunc` does not give {other}"),
    }
}

/// Returns the part that a number lies in, as PostgreSQL numbers them, or None when there is none.
fn bucket(x: f64, low: f64, high: f64, parts: i64) -> Option<i64> {
    let is_sound = !x.is_nan() && low.is_finite() && high.is_finite() && low != high && parts > 0;
    let beyond = parts.checked_add(1)?;
    if !is_sound {
        return None;
    }
    let (below, above) = if low < high { (x < low, x >= high) } else { (x > low, x <= high) };
    if below {
        return Some(0);
    }
    if above {
        return Some(beyond);
    }
    // Halves, because the whole span may be beyond float64.
    let share = (x / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
    Some(((share * parts as f64).floor() as i64).saturating_add(1).min(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_numbers_lie_away_from_zero() {
        for (x, expected) in
            [(0.0, 0.0), (0.1, 2.0), (-0.1, -2.0), (2.0, 2.0), (-1.0, -2.0), (3.5, 4.0), (1e300, 1e300)]
        {
            assert_eq!(even(x), expected, "{x}");
        }
        assert!(even(f64::NAN).is_nan() && even(f64::INFINITY).is_infinite());
    }

    #[test]
    fn buckets_are_half_open_in_either_direction() {
        for (x, low, high, parts, expected) in [
            (5.35, 0.024, 10.06, 5, Some(3)), // the example of PostgreSQL's documentation
            (0.0, 0.0, 10.0, 5, Some(1)),
            (2.0, 0.0, 10.0, 5, Some(2)),
            (10.0, 0.0, 10.0, 5, Some(6)),
            (-0.1, 0.0, 10.0, 5, Some(0)),
            (10.0, 10.0, 0.0, 5, Some(1)),
            (8.0, 10.0, 0.0, 5, Some(2)),
            (0.0, 10.0, 0.0, 5, Some(6)),
            (11.0, 10.0, 0.0, 5, Some(0)),
            (1.0, 1.0, 1.0, 5, None),
            (1.0, 0.0, 2.0, 0, None),
            (f64::NAN, 0.0, 2.0, 1, None),
            (1.0, 0.0, 2.0, i64::MAX, None),
        ] {
            assert_eq!(bucket(x, low, high, parts), expected, "{x} {low} {high} {parts}");
        }
    }
}
