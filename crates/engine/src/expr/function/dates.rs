//! Parts of times by their own names, and dates and times made of parts.

use arrow::array::ArrayRef;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

use super::each::{dates, floats, texts, times};
use super::units::Part;
use super::{Family, Function, Kernel, Signature, Slot, expect_count, takes};
use crate::expr::cast::float_text;
use crate::expr::operand::{Call, Reason, unary, unary_checked};
use crate::expr::time::{Civil, DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil, days_in_month};
use crate::value::DataType;

const BASE: Function = super::base(Family::Time);

/// The weekdays, Sunday first.
pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

macro_rules! part_function {
    ($name:ident, $sql_name:literal, $aliases:expr, $help:literal, $part:expr, $template:literal, $flink:literal, $differs:literal, $example:expr) => {
        pub(super) static $name: Function = Function {
            name: $sql_name,
            aliases: $aliases,
            help: $help,
            signature: "(timestamp) → int64",
            types: |arguments| takes(arguments, &$name, &[Slot::Time], 1, DataType::Int64),
            kernel: Kernel::Rows(|call| unary::<TimestampMicrosecondType, Int64Type>(call, |ts| $part.of(ts))),
            sql: $template,
            flink: $flink,
            duckdb: $template,
            differs: $differs,
            example: $example,
            ..BASE
        };
    };
}

part_function!(
    YEAR,
    "year",
    &[],
    "The year",
    Part::Year,
    "year({0})",
    "YEAR({0})",
    "",
    ("year(date '2026-08-09')", "2026")
);
part_function!(
    QUARTER,
    "quarter",
    &[],
    "The quarter of the year, 1 to 4",
    Part::Quarter,
    "quarter({0})",
    "QUARTER({0})",
    "",
    ("quarter(date '2026-08-09')", "3")
);
part_function!(
    MONTH,
    "month",
    &[],
    "The month, 1 to 12",
    Part::Month,
    "month({0})",
    "MONTH({0})",
    "",
    ("month(date '2026-08-09')", "8")
);
part_function!(
    WEEK,
    "week",
    &["weekofyear"],
    "The ISO week of the year, 1 to 53",
    Part::Week,
    "week({0})",
    "WEEK({0})",
    "",
    ("week(date '2027-01-01')", "53")
);
part_function!(
    YEARWEEK,
    "yearweek",
    &[],
    "The ISO year and week as one number",
    Part::YearWeek,
    "yearweek({0})",
    "",
    "",
    ("yearweek(date '2027-01-01')", "202653")
);
part_function!(
    ISOYEAR,
    "isoyear",
    &[],
    "The year that the ISO week belongs to",
    Part::IsoYear,
    "isoyear({0})",
    "",
    "",
    ("isoyear(date '2027-01-01')", "2026")
);
part_function!(
    DAY_OF_MONTH,
    "day",
    &["dayofmonth"],
    "The day of the month, 1 to 31",
    Part::Day,
    "day({0})",
    "DAYOFMONTH({0})",
    "",
    ("day(date '2026-08-09')", "9")
);
part_function!(
    DAY_OF_WEEK,
    "dayofweek",
    &["weekday"],
    "The day of the week, Sunday is 0",
    Part::DayOfWeek,
    "dayofweek({0})",
    "(DAYOFWEEK({0}) - 1)",
    "",
    ("dayofweek(date '2026-08-09')", "0")
);
part_function!(
    ISODOW,
    "isodow",
    &[],
    "The day of the week, Monday is 1 and Sunday 7",
    Part::IsoDayOfWeek,
    "isodow({0})",
    "",
    "",
    ("isodow(date '2026-08-09')", "7")
);
part_function!(
    DAY_OF_YEAR,
    "dayofyear",
    &[],
    "The day of the year, from 1",
    Part::DayOfYear,
    "dayofyear({0})",
    "DAYOFYEAR({0})",
    "",
    ("dayofyear(date '2026-02-01')", "32")
);
part_function!(
    HOUR_OF_DAY,
    "hour",
    &[],
    "The hour, 0 to 23",
    Part::Hour,
    "hour({0})",
    "HOUR({0})",
    "",
    ("hour(timestamp '2026-01-01T13:14:15Z')", "13")
);
part_function!(
    MINUTE_OF_HOUR,
    "minute",
    &[],
    "The minute, 0 to 59",
    Part::Minute,
    "minute({0})",
    "MINUTE({0})",
    "",
    ("minute(timestamp '2026-01-01T13:14:15Z')", "14")
);
part_function!(
    SECOND_OF_MINUTE,
    "second",
    &[],
    "The second, 0 to 59, without its fraction",
    Part::Second,
    "second({0})",
    "SECOND({0})",
    "",
    ("second(timestamp '2026-01-01T13:14:15.9Z')", "15")
);
part_function!(
    MILLISECOND,
    "millisecond",
    &[],
    "The milliseconds of the minute, seconds among them",
    Part::Millisecond,
    "millisecond({0})",
    "",
    "",
    ("millisecond(timestamp '2026-01-01T13:14:15.9Z')", "15900")
);
part_function!(
    MICROSECOND,
    "microsecond",
    &[],
    "The microseconds of the minute, seconds among them",
    Part::Microsecond,
    "microsecond({0})",
    "",
    "",
    ("microsecond(timestamp '2026-01-01T13:14:15.9Z')", "15900000")
);
part_function!(
    DECADE,
    "decade",
    &[],
    "The year divided by ten, without its fraction",
    Part::Decade,
    "decade({0})",
    "EXTRACT(DECADE FROM {0})",
    "",
    ("decade(date '2026-08-09')", "202")
);
part_function!(
    CENTURY,
    "century",
    &[],
    "The century; the 21st began with 2001",
    Part::Century,
    "century({0})",
    "EXTRACT(CENTURY FROM {0})",
    "",
    ("century(date '2000-08-09')", "20")
);
part_function!(
    MILLENNIUM,
    "millennium",
    &[],
    "The millennium; the third began with 2001",
    Part::Millennium,
    "millennium({0})",
    "EXTRACT(MILLENNIUM FROM {0})",
    "",
    ("millennium(date '2000-08-09')", "2")
);

pub(super) static DAYNAME: Function = Function {
    name: "dayname",
    help: "The English name of the day",
    signature: "(timestamp) → string",
    types: |arguments| takes(arguments, &DAYNAME, &[Slot::Time], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let ts = call.numbers::<TimestampMicrosecondType>(0);
        texts(call, |row| Ok(WEEKDAYS[Part::DayOfWeek.of(ts.value(row)) as usize]))
    }),
    sql: "dayname({0})",
    duckdb: "dayname({0})",
    example: ("dayname(date '2026-08-09')", "Sunday"),
    ..BASE
};

pub(super) static MONTHNAME: Function = Function {
    name: "monthname",
    help: "The English name of the month",
    signature: "(timestamp) → string",
    types: |arguments| takes(arguments, &MONTHNAME, &[Slot::Time], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let ts = call.numbers::<TimestampMicrosecondType>(0);
        texts(call, |row| Ok(MONTHS[Part::Month.of(ts.value(row)) as usize - 1]))
    }),
    sql: "monthname({0})",
    duckdb: "monthname({0})",
    example: ("monthname(date '2026-08-09')", "August"),
    ..BASE
};

pub(super) static LAST_DAY: Function = Function {
    name: "last_day",
    help: "The last day of the month",
    signature: "(timestamp) → date",
    types: |arguments| takes(arguments, &LAST_DAY, &[Slot::Time], 1, DataType::Date),
    kernel: Kernel::Rows(|call| {
        let ts = call.numbers::<TimestampMicrosecondType>(0);
        dates(call, |row| {
            let Civil { year, month, .. } = civil_from_days(ts.value(row).div_euclid(DAY));
            // The days of all timestamps fit 32 bits by far.
            Ok(days_from_civil(year, month, days_in_month(year, month)) as i32)
        })
    }),
    sql: "last_day({0})",
    duckdb: "last_day({0})",
    example: ("last_day(date '2024-02-10')", "2024-02-29"),
    ..BASE
};

pub(super) static MAKE_DATE: Function = Function {
    name: "make_date",
    help: "The date of year, month and day; one that the calendar does not have fails the row",
    signature: "(year int64, month int64, day int64) → date",
    types: |arguments| takes(arguments, &MAKE_DATE, &[Slot::Integer; 3], 3, DataType::Date),
    kernel: Kernel::Rows(|call| {
        let [year, month, day] = [0, 1, 2].map(|index| call.numbers::<Int64Type>(index));
        dates(call, |row| {
            let (year, month, day) = (year.value(row), month.value(row), day.value(row));
            let days = days_of(year, month, day).ok_or_else(|| no_date("make_date", year, month, day))?;
            Ok(days as i32)
        })
    }),
    sql: "make_date({0}, {1}, {2})",
    duckdb: "make_date({0}, {1}, {2})",
    example: ("make_date(2024, 2, 29)", "2024-02-29"),
    ..BASE
};

pub(super) static MAKE_TIMESTAMP: Function = Function {
    name: "make_timestamp",
    help: "The time so many microseconds after 1970-01-01T00:00:00Z; or of year, month, day, hour, minute and seconds (rounded to microseconds), where one that the calendar does not have fails the row",
    signature: "(microseconds int64) or (year, month, day, hour, minute int64, seconds number) → timestamp",
    types: |arguments| {
        if arguments.len() == 1 {
            return takes(arguments, &MAKE_TIMESTAMP, &[Slot::Integer], 1, DataType::Timestamp);
        }
        let mut slots = [Slot::Integer; 6];
        slots[5] = Slot::Float;
        takes(arguments, &MAKE_TIMESTAMP, &slots, 6, DataType::Timestamp)
    },
    kernel: Kernel::Rows(make_timestamp),
    sql: "make_timestamp({0*, })",
    duckdb: "make_timestamp({0*, })",
    differs: "DuckDB keeps the outermost timestamps for infinities",
    example: ("make_timestamp(2024, 2, 29, 12, 30, 1.5)", "2024-02-29T12:30:01.500000Z"),
    ..BASE
};

pub(super) static MAKE_TIMESTAMP_MS: Function = Function {
    name: "make_timestamp_ms",
    help: "The time so many milliseconds after 1970-01-01T00:00:00Z",
    signature: "(milliseconds int64) → timestamp",
    types: |arguments| takes(arguments, &MAKE_TIMESTAMP_MS, &[Slot::Integer], 1, DataType::Timestamp),
    kernel: Kernel::Rows(|call| {
        unary_checked::<Int64Type, TimestampMicrosecondType>(
            call,
            |x| x.overflowing_mul(1_000),
            |x| format!("overflow: {x} ms is beyond timestamp").into(),
        )
    }),
    sql: "make_timestamp_ms({0})",
    flink: "TO_TIMESTAMP_LTZ({0}, 3)",
    duckdb: "make_timestamp_ms({0})",
    example: ("make_timestamp_ms(1500)", "1970-01-01T00:00:01.500000Z"),
    ..BASE
};

pub(super) static TO_TIMESTAMP: Function = Function {
    name: "to_timestamp",
    help: "The time so many seconds after 1970-01-01T00:00:00Z, rounded to microseconds",
    signature: "(seconds number) → timestamp",
    types: |arguments| {
        expect_count(arguments, 1..=1, &TO_TIMESTAMP).and_then(|()| match arguments[0].data_type {
            DataType::String => Err(
                "`to_timestamp` takes seconds; a text is read by `cast(x as timestamp)` or `strptime(x, '%d.%m.%Y')`"
                    .into(),
            ),
            integer if integer.is_integer() => {
                Ok(Signature { arguments: vec![DataType::Int64], result: DataType::Timestamp })
            }
            _ => takes(arguments, &TO_TIMESTAMP, &[Slot::Float], 1, DataType::Timestamp),
        })
    },
    kernel: Kernel::Rows(|call| match call.arguments[0].array().data_type() {
        arrow::datatypes::DataType::Int64 => unary_checked::<Int64Type, TimestampMicrosecondType>(
            call,
            |x| x.overflowing_mul(SECOND),
            |x| format!("overflow: {x} s is beyond timestamp").into(),
        ),
        _ => {
            let seconds = call.numbers::<Float64Type>(0);
            times(call, |row| {
                let seconds = seconds.value(row);
                microseconds(seconds)
                    .ok_or_else(|| format!("overflow: {} s is beyond timestamp", float_text(seconds)).into())
            })
        }
    }),
    sql: "to_timestamp({0})",
    flink: "TO_TIMESTAMP_LTZ({0}, 0)",
    duckdb: "to_timestamp({0})",
    differs: "Flink's `TO_TIMESTAMP` reads a text",
    example: ("to_timestamp(1767225600.25)", "2026-01-01T00:00:00.250000Z"),
    ..BASE
};

pub(super) static EPOCH: Function = Function {
    name: "epoch",
    help: "Seconds since 1970-01-01T00:00:00Z with their fraction",
    signature: "(timestamp) → float64",
    types: |arguments| takes(arguments, &EPOCH, &[Slot::Time], 1, DataType::Float64),
    kernel: Kernel::Rows(|call| {
        let ts = call.numbers::<TimestampMicrosecondType>(0);
        floats(call, |row| Ok(ts.value(row) as f64 / 1e6))
    }),
    sql: "epoch({0})",
    duckdb: "epoch({0})",
    example: ("epoch(timestamp '1970-01-01T00:00:01.5Z')", "1.5"),
    ..BASE
};

pub(super) static EPOCH_NS: Function = Function {
    name: "epoch_ns",
    help: "Nanoseconds since 1970-01-01T00:00:00Z",
    signature: "(timestamp) → int64",
    types: |arguments| takes(arguments, &EPOCH_NS, &[Slot::Time], 1, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        unary_checked::<TimestampMicrosecondType, Int64Type>(
            call,
            |ts| ts.overflowing_mul(1_000),
            |ts| format!("overflow: {ts} µs in nanoseconds is beyond int64").into(),
        )
    }),
    sql: "epoch_ns({0})",
    duckdb: "epoch_ns({0})",
    example: ("epoch_ns(timestamp '1970-01-01T00:00:01Z')", "1000000000"),
    ..BASE
};

/// Returns the day counted from 1970-01-01 of a date that the calendar has, within the years of timestamps.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_month = (-290_000..=290_000).contains(&year) && (1..=12).contains(&month);
    let is_day = is_month && (1..=i64::from(days_in_month(year, month as u32))).contains(&day);
    is_day.then(|| days_from_civil(year, month as u32, day as u32))
}

fn no_date(name: &str, year: i64, month: i64, day: i64) -> Reason {
    format!("{name}: there is no day {day} of month {month} in year {year}").into()
}

/// Rounds seconds to microseconds, halves away from zero.
fn microseconds(seconds: f64) -> Option<i64> {
    let rounded = (seconds * 1e6).round();
    (-9.2e18..9.2e18).contains(&rounded).then_some(rounded as i64)
}

fn make_timestamp(call: &mut Call<'_>) -> ArrayRef {
    if call.arguments.len() == 1 {
        return unary::<Int64Type, TimestampMicrosecondType>(call, |microseconds| microseconds);
    }
    let [year, month, day, hour, minute] = [0, 1, 2, 3, 4].map(|index| call.numbers::<Int64Type>(index));
    let second = call.numbers::<Float64Type>(5);
    times(call, |row| {
        let (year, month, day) = (year.value(row), month.value(row), day.value(row));
        let (hour, minute, second) = (hour.value(row), minute.value(row), second.value(row));
        let days = days_of(year, month, day).ok_or_else(|| no_date("make_timestamp", year, month, day))?;
        let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&second);
        let fraction = microseconds(second).filter(|_| is_time).ok_or_else(|| {
            Reason::from(format!("make_timestamp: there is no time {hour}:{minute}:{}", float_text(second)))
        })?;
        Ok(days * DAY + hour * HOUR + minute * MINUTE + fraction)
    })
}
