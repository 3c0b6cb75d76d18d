//! Functions of whole numbers, and of their bits. All are int64; what does not fit fails the row.

use arrow::array::ArrayRef;
use arrow::datatypes::Int64Type;

use super::{Family, Function, Kernel, Slot, takes};
use crate::expr::operand::{Call, Reason, binary, binary_checked, unary, unary_checked};
use crate::value::DataType;

const BASE: Function = super::base(Family::Bits);

const NUMBERS: Function = super::base(Family::Numbers);

pub(super) static GCD: Function = Function {
    name: "gcd",
    aliases: &["greatest_common_divisor"],
    help: "The greatest whole number that divides both, never negative; 0 of two zeros",
    signature: "(int64, int64) → int64",
    types: |arguments| takes(arguments, &GCD, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| checked(call, |a, b| i64::try_from(divisor(a, b)).ok(), "gcd")),
    sql: "gcd({0}, {1})",
    duckdb: "gcd({0}, {1})",
    example: ("gcd(12, -18)", "6"),
    ..NUMBERS
};

pub(super) static LCM: Function = Function {
    name: "lcm",
    aliases: &["least_common_multiple"],
    help: "The least whole number that both divide, never negative; 0 if one is 0",
    signature: "(int64, int64) → int64",
    types: |arguments| takes(arguments, &LCM, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| checked(call, multiple, "lcm")),
    sql: "lcm({0}, {1})",
    duckdb: "lcm({0}, {1})",
    example: ("lcm(4, 6)", "12"),
    ..NUMBERS
};

pub(super) static FACTORIAL: Function = Function {
    name: "factorial",
    help: "The product of the whole numbers up to it; below 0 and above 20 the row fails",
    signature: "(int64) → int64",
    types: |arguments| takes(arguments, &FACTORIAL, &[Slot::Integer], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let product = |n: i64| (0..=20).contains(&n).then(|| (1..=n).product());
        unary_checked::<Int64Type, Int64Type>(
            call,
            |n| product(n).map_or((0, true), |product| (product, false)),
            |n| format!("overflow: factorial({n}) is beyond int64").into(),
        )
    }),
    sql: "factorial({0})",
    duckdb: "factorial({0}::INTEGER)",
    differs: "DuckDB goes on to 33",
    example: ("factorial(5)", "120"),
    ..NUMBERS
};

pub(super) static BIT_AND: Function = Function {
    name: "&",
    help: "The bits that both have",
    signature: "(int64, int64) → int64",
    types: |arguments| takes(arguments, &BIT_AND, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| binary::<Int64Type, Int64Type, Int64Type>(call, |a, b| a & b)),
    sql: "({0} & {1})",
    duckdb: "({0} & {1})",
    example: ("6 & 3", "2"),
    ..BASE
};

pub(super) static BIT_OR: Function = Function {
    name: "|",
    help: "The bits that at least one has",
    signature: "(int64, int64) → int64",
    types: |arguments| takes(arguments, &BIT_OR, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| binary::<Int64Type, Int64Type, Int64Type>(call, |a, b| a | b)),
    sql: "({0} | {1})",
    duckdb: "({0} | {1})",
    example: ("6 | 3", "7"),
    ..BASE
};

pub(super) static BIT_XOR: Function = Function {
    name: "xor",
    help: "The bits that exactly one has",
    signature: "(int64, int64) → int64",
    types: |arguments| takes(arguments, &BIT_XOR, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| binary::<Int64Type, Int64Type, Int64Type>(call, |a, b| a ^ b)),
    sql: "xor({0}, {1})",
    duckdb: "xor({0}, {1})",
    example: ("xor(6, 3)", "5"),
    ..BASE
};

pub(super) static BIT_NOT: Function = Function {
    name: "~",
    help: "All bits the other way round",
    signature: "(int64) → int64",
    types: |arguments| takes(arguments, &BIT_NOT, &[Slot::Integer], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| unary::<Int64Type, Int64Type>(call, |x| !x)),
    sql: "(~ {0})",
    duckdb: "(~ {0})",
    example: ("~ 5", "-6"),
    ..BASE
};

pub(super) static SHIFT_LEFT: Function = Function {
    name: "<<",
    help: "The number times 2 to the power of a number from 0 to 63",
    signature: "(int64, count int64) → int64",
    types: |arguments| takes(arguments, &SHIFT_LEFT, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let shifted = |x: i64, count: i64| {
            let power = 1i128 << u32::try_from(count).ok().filter(|count| *count < 64)?;
            i64::try_from(i128::from(x) * power).ok()
        };
        checked(call, shifted, "<<")
    }),
    sql: "({0} << {1})",
    duckdb: "({0} << {1})",
    differs: "DuckDB refuses to shift a negative number",
    example: ("3 << 4", "48"),
    ..BASE
};

pub(super) static SHIFT_RIGHT: Function = Function {
    name: ">>",
    help: "The number divided by 2 to the power of a number from 0 to 63, rounded down",
    signature: "(int64, count int64) → int64",
    types: |arguments| takes(arguments, &SHIFT_RIGHT, &[Slot::Integer, Slot::Integer], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let shifted = |x: i64, count: i64| Some(x >> u32::try_from(count).ok().filter(|count| *count < 64)?);
        checked(call, shifted, ">>")
    }),
    sql: "({0} >> {1})",
    duckdb: "({0} >> {1})",
    differs: "DuckDB gives 0 for a count beyond 0 to 63, which fails the row here",
    example: ("-5 >> 1", "-3"),
    ..BASE
};

pub(super) static BIT_COUNT: Function = Function {
    name: "bit_count",
    help: "How many bits are set, in 64 bits",
    signature: "(int64) → int64",
    types: |arguments| takes(arguments, &BIT_COUNT, &[Slot::Integer], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| unary::<Int64Type, Int64Type>(call, |x| i64::from(x.count_ones()))),
    sql: "bit_count({0})",
    duckdb: "bit_count({0})",
    example: ("bit_count(7)", "3"),
    ..BASE
};

fn checked(call: &mut Call<'_>, f: impl Fn(i64, i64) -> Option<i64>, name: &'static str) -> ArrayRef {
    let reason = |a: i64, b: i64| -> Reason { format!("overflow: {name} of {a} and {b} is beyond int64").into() };
    binary_checked::<Int64Type, Int64Type, Int64Type>(
        call,
        |a, b| f(a, b).map_or((0, true), |value| (value, false)),
        reason,
    )
}

fn divisor(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn multiple(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    i64::try_from((a.unsigned_abs() / divisor(a, b)).checked_mul(b.unsigned_abs())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_and_multiples_are_the_greatest_and_least() {
        for a in -30i64..30 {
            for b in -30i64..30 {
                let divides = |d: &i64| a % d == 0 && b % d == 0;
                let greatest = (1..60).rev().find(divides).unwrap_or(0);
                assert_eq!(divisor(a, b) as i64, if a == 0 && b == 0 { 0 } else { greatest }, "{a} {b}");
                if a != 0 && b != 0 {
                    let least = (1..1_000).find(|m| m % a == 0 && m % b == 0);
                    assert_eq!(multiple(a, b), least, "{a} {b}");
                }
            }
        }
        assert_eq!(divisor(i64::MIN, 0), 1 << 63);
        assert_eq!(multiple(i64::MAX, i64::MAX - 1), None);
    }
}
