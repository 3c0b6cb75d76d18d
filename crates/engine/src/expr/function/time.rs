//! Functions of time, all in UTC. A date stands for its midnight.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::compute::kernels::arity;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::units::{PARTS, Part, UNITS, Unit};
use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::literal::Literal;
use crate::expr::operand::{Call, binary_checked, unary, unary_checked};
use crate::expr::time::{DAY, HOUR, MINUTE, SECOND};
use crate::value::DataType;

const BASE: Function = super::base(Family::Time);

pub(super) static DATE_TRUNC: Function = Function {
    name: "date_trunc",
    help: "The last start of a microsecond, millisecond, second, minute, hour, day, week (Monday), month, quarter, year, isoyear, decade, century (a year that 100 divides) or millennium, in UTC",
    signature: "(unit string, timestamp) → timestamp",
    types: |arguments| {
        expect_count(arguments, 2..=2, &DATE_TRUNC)?;
        let unit = named(arguments, &DATE_TRUNC)?;
        if Unit::find(unit).is_none() {
            return Err(format!("`date_trunc` does not know the unit `{unit}`; it knows {}", UNITS.join(", ")));
        }
        Ok(Signature { arguments: vec![DataType::String, DataType::Timestamp], result: DataType::Timestamp })
    },
    kernel: Kernel::Rows(date_trunc),
    sql: "date_trunc({0}, {1})",
    flink: "FLOOR({1} TO {0!})",
    duckdb: "date_trunc({0}, {1})",
    constants: &[(0, UNITS)],
    differs: "before the year 1 DuckDB cuts decades, centuries and millennia the other way; there a date stays a date",
    example: ("date_trunc('week', timestamp '2026-01-01T12:00:00Z')", "2025-12-29T00:00:00.000000Z"),
    ..BASE
};

pub(super) static EXTRACT: Function = Function {
    name: "extract",
    aliases: &["date_part"],
    help: "A part of a time in UTC: year, isoyear, quarter, month, week (ISO), day, dow (Sunday is 0), isodow (Monday is 1), doy, hour, minute, second, millisecond, microsecond (both with the seconds), epoch (seconds, float64), millennium, century, decade",
    signature: "(part string, timestamp) → int64 or float64",
    types: |arguments| {
        expect_count(arguments, 2..=2, &EXTRACT)?;
        let part = named(arguments, &EXTRACT)?;
        let result = match Part::find(part) {
            Some(Part::Epoch) => DataType::Float64,
            Some(_) => DataType::Int64,
            None => {
                return Err(format!("`extract` does not know the part `{part}`; it knows {}", PARTS.join(", ")));
            }
        };
        Ok(Signature { arguments: vec![DataType::String, DataType::Timestamp], result })
    },
    kernel: Kernel::Rows(extract),
    sql: "extract({0!} from {1})",
    flink: "EXTRACT({0!} FROM {1})",
    duckdb: "extract({0!} FROM {1})",
    constants: &[(0, PARTS)],
    example: ("extract(week from date '2027-01-01')", "53"),
    ..BASE
};

pub(super) static ADD_INTERVAL: Function = Function {
    name: "add_interval",
    help: "The time so many microseconds later; written `ts + interval '5 minutes'` or `ts - interval '1 day'`",
    signature: "(timestamp, microseconds int64) → timestamp",
    types: |arguments| {
        expect_count(arguments, 2..=2, &ADD_INTERVAL)?;
        if !is_time(&arguments[0]) || !arguments[1].data_type.is_integer() {
            return Err(refuse(arguments, &ADD_INTERVAL));
        }
        Ok(Signature { arguments: vec![DataType::Timestamp, DataType::Int64], result: DataType::Timestamp })
    },
    kernel: Kernel::Rows(|call| {
        type T = TimestampMicrosecondType;
        binary_checked::<T, Int64Type, T>(call, i64::overflowing_add, |ts, length| {
            format!("overflow: {length} µs from {ts} µs is beyond timestamp").into()
        })
    }),
    sql: "add_interval({0}, {1})",
    flink: "",
    duckdb: "({0} + to_microseconds({1}))",
    differs: "DuckDB keeps the outermost timestamps for infinities",
    example: ("timestamp '2026-01-01T00:00:00Z' - interval '5 minutes'", "2025-12-31T23:55:00.000000Z"),
    ..BASE
};

pub(super) static EPOCH_US: Function = Function {
    name: "epoch_us",
    help: "Microseconds since 1970-01-01T00:00:00Z",
    signature: "(timestamp) → int64",
    types: |arguments| of_time(arguments, &EPOCH_US),
    kernel: Kernel::Rows(|call| unary::<TimestampMicrosecondType, Int64Type>(call, |ts| ts)),
    sql: "epoch_us({0})",
    flink: "",
    duckdb: "epoch_us({0})",
    example: ("epoch_us(timestamp '1970-01-01T00:00:01Z')", "1000000"),
    ..BASE
};

pub(super) static EPOCH_MS: Function = Function {
    name: "epoch_ms",
    help: "Milliseconds since 1970-01-01T00:00:00Z, floored",
    signature: "(timestamp) → int64",
    types: |arguments| of_time(arguments, &EPOCH_MS),
    kernel: Kernel::Rows(|call| unary::<TimestampMicrosecondType, Int64Type>(call, |ts| ts.div_euclid(1_000))),
    sql: "epoch_ms({0})",
    flink: "",
    duckdb: "epoch_ms({0})",
    differs: "DuckDB cuts towards zero before 1970",
    example: ("epoch_ms(timestamp '1969-12-31T23:59:59.9999Z')", "-1"),
    ..BASE
};

fn is_time(argument: &Argument<'_>) -> bool {
    let is_text = matches!(argument.literal, Some(Literal::String(_)));
    matches!(argument.data_type, DataType::Timestamp | DataType::Date | DataType::Null) || is_text
}

fn of_time(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    expect_count(arguments, 1..=1, function)?;
    if !is_time(&arguments[0]) {
        return Err(refuse(arguments, function));
    }
    Ok(Signature { arguments: vec![DataType::Timestamp], result: DataType::Int64 })
}

/// Returns the unit or part that a call names.
fn named<'a>(arguments: &[Argument<'a>], function: &Function) -> Result<&'a str, String> {
    match arguments[0].literal {
        Some(Literal::String(name)) if is_time(&arguments[1]) => Ok(name),
        Some(Literal::String(_)) => Err(refuse(arguments, function)),
        _ => Err(format!("the first argument of `{}` is a word in quotes, such as `'hour'`", function.name)),
    }
}

fn date_trunc(call: &mut Call<'_>) -> ArrayRef {
    let (unit, ts) = (call.texts(0).value(0), call.numbers::<TimestampMicrosecondType>(1));
    let unit = Unit::find(unit).expect("the types were checked");
    // The unit is a constant, so the kernel of one operand serves.
    let arguments = &call.arguments[1..];
    debug_assert_eq!(ts.is_one(), matches!(arguments[0], crate::expr::operand::Value::One(_)));
    let mut call = Call { arguments, rows: call.rows, result: call.result, open: call.open, failures: call.failures };
    match unit {
        // Each length has its own loop, so that it divides by a constant.
        Unit::Fixed(SECOND) => truncated::<SECOND>(&mut call),
        Unit::Fixed(MINUTE) => truncated::<MINUTE>(&mut call),
        Unit::Fixed(HOUR) => truncated::<HOUR>(&mut call),
        Unit::Fixed(DAY) => truncated::<DAY>(&mut call),
        _ => truncated_by(&mut call, |ts| unit.start(ts)),
    }
}

fn truncated<const LENGTH: i64>(call: &mut Call<'_>) -> ArrayRef {
    truncated_by(call, |ts| ts.overflowing_sub(ts.rem_euclid(LENGTH)))
}

fn truncated_by(call: &mut Call<'_>, start: impl Fn(i64) -> (i64, bool)) -> ArrayRef {
    type T = TimestampMicrosecondType;
    unary_checked::<T, T>(call, start, |ts| format!("overflow: the start of {ts} µs is beyond timestamp").into())
}

fn extract(call: &mut Call<'_>) -> ArrayRef {
    let part = Part::find(call.texts(0).value(0)).expect("the types were checked");
    let ts: &TimestampMicrosecondArray = call.numbers::<TimestampMicrosecondType>(1).array();
    if matches!(part, Part::Epoch) {
        let seconds: Float64Array = arity::unary(ts, |ts| ts as f64 / 1e6);
        return Arc::new(seconds);
    }
    let parts: Int64Array = arity::unary(ts, |ts| part.of(ts));
    Arc::new(parts)
}
