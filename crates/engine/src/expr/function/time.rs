//! Functions of time, all in UTC. A date stands for its midnight.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::compute::kernels::arity;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::{Argument, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::literal::Literal;
use crate::expr::operand::{Call, binary_checked, unary, unary_checked};
use crate::expr::time::{Civil, DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil};
use crate::value::DataType;

pub(super) static DATE_TRUNC: Function = Function {
    name: "date_trunc",
    aliases: &[],
    help: "The last start of a microsecond, millisecond, second, minute, hour, day, week (Monday), month, quarter or year, in UTC",
    signature: "(unit string, timestamp) → timestamp",
    types: |arguments| {
        expect_count(arguments, 2..=2, &DATE_TRUNC)?;
        let unit = named(arguments, &DATE_TRUNC)?;
        if Unit::find(unit).is_none() {
            return Err(format!(
                "`date_trunc` does not know the unit `{unit}`; it knows microsecond, millisecond, second, minute, hour, day, week, month, quarter, year"
            ));
        }
        Ok(Signature { arguments: vec![DataType::String, DataType::Timestamp], result: DataType::Timestamp })
    },
    null_gives_null: true,
    kernel: Kernel::Rows(date_trunc),
    sql: "date_trunc({0}, {1})",
    flink: "FLOOR({1} TO {0!})",
    duckdb: "date_trunc({0}, {1})",
    example: ("date_trunc('week', timestamp '2026-01-01T12:00:00Z')", "2025-12-29T00:00:00.000000Z"),
};

pub(super) static EXTRACT: Function = Function {
    name: "extract",
    aliases: &["date_part"],
    help: "A part of a time in UTC: year, isoyear, quarter, month, week (ISO), day, dow (Sunday is 0), isodow (Monday is 1), doy, hour, minute, second, millisecond, microsecond (both with the seconds), epoch (seconds, float64)",
    signature: "(part string, timestamp) → int64 or float64",
    types: |arguments| {
        expect_count(arguments, 2..=2, &EXTRACT)?;
        let part = named(arguments, &EXTRACT)?;
        let result = match Part::find(part) {
            Some(Part::Epoch) => DataType::Float64,
            Some(_) => DataType::Int64,
            None => {
                return Err(format!(
                    "`extract` does not know the part `{part}`; it knows year, isoyear, quarter, month, week, day, dow, isodow, doy, hour, minute, second, millisecond, microsecond, epoch"
                ));
            }
        };
        Ok(Signature { arguments: vec![DataType::String, DataType::Timestamp], result })
    },
    null_gives_null: true,
    kernel: Kernel::Rows(extract),
    sql: "extract({0!} from {1})",
    flink: "EXTRACT({0!} FROM {1})",
    duckdb: "extract({0!} FROM {1})",
    example: ("extract(week from date '2027-01-01')", "53"),
};

pub(super) static ADD_INTERVAL: Function = Function {
    name: "add_interval",
    aliases: &[],
    help: "The time so many microseconds later; written `ts + interval '5 minutes'` or `ts - interval '1 day'`",
    signature: "(timestamp, microseconds int64) → timestamp",
    types: |arguments| {
        expect_count(arguments, 2..=2, &ADD_INTERVAL)?;
        if !is_time(&arguments[0]) || !arguments[1].data_type.is_integer() {
            return Err(refuse(arguments, &ADD_INTERVAL));
        }
        Ok(Signature { arguments: vec![DataType::Timestamp, DataType::Int64], result: DataType::Timestamp })
    },
    null_gives_null: true,
    kernel: Kernel::Rows(|call| {
        type T = TimestampMicrosecondType;
        binary_checked::<T, Int64Type, T>(call, i64::overflowing_add, |ts, length| {
            format!("overflow: {length} µs from {ts} µs is beyond timestamp").into()
        })
    }),
    sql: "add_interval({0}, {1})",
    flink: "",
    duckdb: "({0} + to_microseconds({1}))",
    example: ("timestamp '2026-01-01T00:00:00Z' - interval '5 minutes'", "2025-12-31T23:55:00.000000Z"),
};

pub(super) static EPOCH_US: Function = Function {
    name: "epoch_us",
    aliases: &[],
    help: "Microseconds since 1970-01-01T00:00:00Z",
    signature: "(timestamp) → int64",
    types: |arguments| of_time(arguments, &EPOCH_US),
    null_gives_null: true,
    kernel: Kernel::Rows(|call| unary::<TimestampMicrosecondType, Int64Type>(call, |ts| ts)),
    sql: "epoch_us({0})",
    flink: "",
    duckdb: "epoch_us({0})",
    example: ("epoch_us(timestamp '1970-01-01T00:00:01Z')", "1000000"),
};

pub(super) static EPOCH_MS: Function = Function {
    name: "epoch_ms",
    aliases: &[],
    help: "Milliseconds since 1970-01-01T00:00:00Z, floored",
    signature: "(timestamp) → int64",
    types: |arguments| of_time(arguments, &EPOCH_MS),
    null_gives_null: true,
    kernel: Kernel::Rows(|call| unary::<TimestampMicrosecondType, Int64Type>(call, |ts| ts.div_euclid(1_000))),
    sql: "epoch_ms({0})",
    flink: "",
    duckdb: "epoch_ms({0})",
    example: ("epoch_ms(timestamp '1969-12-31T23:59:59.9999Z')", "-1"),
};

pub(super) static MAKE_TIMESTAMP: Function = Function {
    name: "make_timestamp",
    aliases: &[],
    help: "The time so many microseconds after 1970-01-01T00:00:00Z",
    signature: "(microseconds int64) → timestamp",
    types: |arguments| {
        expect_count(arguments, 1..=1, &MAKE_TIMESTAMP)?;
        if !arguments[0].data_type.is_integer() && arguments[0].data_type != DataType::Null {
            return Err(refuse(arguments, &MAKE_TIMESTAMP));
        }
        Ok(Signature { arguments: vec![DataType::Int64], result: DataType::Timestamp })
    },
    null_gives_null: true,
    kernel: Kernel::Rows(|call| unary::<Int64Type, TimestampMicrosecondType>(call, |microseconds| microseconds)),
    sql: "make_timestamp({0})",
    flink: "",
    duckdb: "make_timestamp({0})",
    example: ("make_timestamp(1500000)", "1970-01-01T00:00:01.500000Z"),
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

#[derive(Clone, Copy)]
enum Unit {
    /// Units of one length.
    Fixed(i64),
    Week,
    /// So many months.
    Months(u32),
}

impl Unit {
    fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Some(match name.strip_suffix('s').unwrap_or(&name) {
            "microsecond" => Unit::Fixed(1),
            "millisecond" => Unit::Fixed(1_000),
            "second" => Unit::Fixed(SECOND),
            "minute" => Unit::Fixed(MINUTE),
            "hour" => Unit::Fixed(HOUR),
            "day" => Unit::Fixed(DAY),
            "week" => Unit::Week,
            "month" => Unit::Months(1),
            "quarter" => Unit::Months(3),
            "year" => Unit::Months(12),
            _ => return None,
        })
    }

    /// Returns the last start not after a time; it may lie before the first timestamp there is.
    fn start(self, ts: i64) -> (i64, bool) {
        let start = match self {
            Unit::Fixed(length) => ts.checked_sub(ts.rem_euclid(length)),
            // 1970-01-01 was a Thursday, three days after a Monday.
            Unit::Week => (ts.div_euclid(DAY) - (ts.div_euclid(DAY) + 3).rem_euclid(7)).checked_mul(DAY),
            Unit::Months(count) => {
                let Civil { year, month, .. } = civil_from_days(ts.div_euclid(DAY));
                days_from_civil(year, month - (month - 1) % count, 1).checked_mul(DAY)
            }
        };
        start.map_or((0, true), |start| (start, false))
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

#[derive(Clone, Copy)]
enum Part {
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Epoch,
}

impl Part {
    fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Some(match name.strip_suffix('s').unwrap_or(&name) {
            "year" => Part::Year,
            "isoyear" => Part::IsoYear,
            "quarter" => Part::Quarter,
            "month" => Part::Month,
            "week" | "isoweek" => Part::Week,
            "day" => Part::Day,
            "dow" | "dayofweek" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "doy" | "dayofyear" => Part::DayOfYear,
            "hour" => Part::Hour,
            "minute" => Part::Minute,
            "second" => Part::Second,
            "millisecond" => Part::Millisecond,
            "microsecond" => Part::Microsecond,
            "epoch" => Part::Epoch,
            _ => return None,
        })
    }

    fn of(self, ts: i64) -> i64 {
        let (days, time) = (ts.div_euclid(DAY), ts.rem_euclid(DAY));
        match self {
            Part::Year => civil_from_days(days).year,
            Part::IsoYear => civil_from_days(thursday(days)).year,
            Part::Quarter => i64::from(civil_from_days(days).month.div_ceil(3)),
            Part::Month => i64::from(civil_from_days(days).month),
            // The number of a week is how many Thursdays its year has had.
            Part::Week => (thursday(days) - new_year(thursday(days))) / 7 + 1,
            Part::Day => i64::from(civil_from_days(days).day),
            Part::DayOfWeek => (days + 4).rem_euclid(7),
            Part::IsoDayOfWeek => (days + 3).rem_euclid(7) + 1,
            Part::DayOfYear => days - new_year(days) + 1,
            Part::Hour => time / HOUR,
            Part::Minute => time % HOUR / MINUTE,
            Part::Second => time % MINUTE / SECOND,
            Part::Millisecond => time % MINUTE / 1_000,
            Part::Microsecond => time % MINUTE,
            Part::Epoch => unreachable!("the epoch is a float"),
        }
    }
}

/// Returns the Thursday of a day's ISO week, whose year is the week's year.
fn thursday(days: i64) -> i64 {
    days - (days + 3).rem_euclid(7) + 3
}

fn new_year(days: i64) -> i64 {
    days_from_civil(civil_from_days(days).year, 1, 1)
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Timelike};

    use super::*;

    fn times() -> impl Iterator<Item = i64> {
        let years = 4_000 * 365 * DAY;
        (0..4_000).map(move |i| -years + i * (years / 1_999) + i * 7_654_321)
    }

    #[test]
    fn parts_agree_with_chrono() {
        for ts in times() {
            let time = DateTime::from_timestamp_micros(ts).unwrap();
            for (part, expected) in [
                (Part::Year, i64::from(time.year())),
                (Part::IsoYear, i64::from(time.iso_week().year())),
                (Part::Quarter, i64::from(time.month0() / 3 + 1)),
                (Part::Month, i64::from(time.month())),
                (Part::Week, i64::from(time.iso_week().week())),
                (Part::Day, i64::from(time.day())),
                (Part::DayOfWeek, i64::from(time.weekday().num_days_from_sunday())),
                (Part::IsoDayOfWeek, i64::from(time.weekday().number_from_monday())),
                (Part::DayOfYear, i64::from(time.ordinal())),
                (Part::Hour, i64::from(time.hour())),
                (Part::Minute, i64::from(time.minute())),
                (Part::Second, i64::from(time.second())),
                (Part::Microsecond, i64::from(time.second()) * SECOND + i64::from(time.nanosecond() / 1_000)),
            ] {
                assert_eq!(part.of(ts), expected, "{time}");
            }
        }
    }

    #[test]
    fn starts_are_floored_before_1970_too() {
        for ts in times() {
            let time = DateTime::from_timestamp_micros(ts).unwrap().naive_utc();
            let midnight = |date: chrono::NaiveDate| date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros();
            let monday = time.date() - chrono::Duration::days(i64::from(time.weekday().num_days_from_monday()));
            let first = |month: u32| chrono::NaiveDate::from_ymd_opt(time.year(), month, 1).unwrap();
            assert_eq!(Unit::Week.start(ts).0, midnight(monday));
            assert_eq!(Unit::Months(1).start(ts).0, midnight(first(time.month())));
            assert_eq!(Unit::Months(3).start(ts).0, midnight(first(time.month0() / 3 * 3 + 1)));
            assert_eq!(Unit::Months(12).start(ts).0, midnight(first(1)));
            let hour = time.date().and_hms_opt(time.hour(), 0, 0).unwrap().and_utc().timestamp_micros();
            assert_eq!(Unit::Fixed(HOUR).start(ts).0, hour);
        }
        assert_eq!(Unit::Fixed(MINUTE).start(-1), (-MINUTE, false));
        assert_eq!(Unit::Months(12).start(i64::MIN), (0, true));
    }
}
