//! Times moved and compared: months and days added, units counted, times cut to buckets.

use arrow::array::ArrayRef;
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};

use super::each::{integers, times};
use super::units::{UNITS, Unit};
use super::{Argument, Family, Function, Kernel, Signature, Slot, expect_count, refuse, takes, written};
use crate::expr::interval::Interval;
use crate::expr::operand::{Call, Reason, binary_checked};
use crate::expr::time::{DAY, add_months, date_text, timestamp_text};
use crate::value::DataType;

const BASE: Function = super::base(Family::Time);

/// Where buckets of `time_bucket` begin to be counted: a Monday, and for months the first of January.
const ORIGIN: i64 = 10_959 * DAY;

pub(super) static ADD_MONTHS: Function = Function {
    name: "add_months",
    help: "The time so many months later, on the last day of the month where it has no such day; written `ts + interval '1 month'`",
    signature: "(timestamp, months int64) → timestamp",
    types: |arguments| takes(arguments, &ADD_MONTHS, &[Slot::Time, Slot::Integer], 2, DataType::Timestamp),
    kernel: Kernel::Rows(|call| {
        let (ts, months) = (call.numbers::<TimestampMicrosecondType>(0), call.numbers::<Int64Type>(1));
        times(call, |row| moved(ts.value(row), months.value(row)))
    }),
    sql: "add_months({0}, {1})",
    flink: "TIMESTAMPADD(MONTH, {1}, {0})",
    duckdb: "({0} + to_months({1}))",
    example: ("timestamp '2024-01-31' + interval '1 month 2 hours'", "2024-02-29T02:00:00.000000Z"),
    ..BASE
};

pub(super) static ADD_DAYS: Function = Function {
    name: "add_days",
    help: "The date so many days later; written `day + n` or `day - n`",
    signature: "(date, days int64) → date",
    types: |arguments| {
        expect_count(arguments, 2..=2, &ADD_DAYS)?;
        let is_date = matches!(arguments[0].data_type, DataType::Date | DataType::Null);
        let is_integer = arguments[1].data_type.is_integer() || arguments[1].data_type == DataType::Null;
        if !is_date || !is_integer {
            return Err(refuse(arguments, &ADD_DAYS));
        }
        Ok(Signature { arguments: vec![DataType::Date, DataType::Int64], result: DataType::Date })
    },
    kernel: Kernel::Rows(|call| {
        let later = |day: i32, days: i64| i64::from(day).checked_add(days).and_then(|day| i32::try_from(day).ok());
        binary_checked::<Date32Type, Int64Type, Date32Type>(
            call,
            |day, days| later(day, days).map_or((0, true), |day| (day, false)),
            |day, days| format!("overflow: {days} days from {} is beyond date", date_text(day)).into(),
        )
    }),
    sql: "add_days({0}, {1})",
    flink: "TIMESTAMPADD(DAY, {1}, {0})",
    duckdb: "({0} + CAST({1} AS INTEGER))",
    example: ("date '2024-02-28' + 2", "2024-03-01"),
    ..BASE
};

pub(super) static DATE_DIFF: Function = Function {
    name: "date_diff",
    aliases: &["datediff"],
    help: "How many boundaries of a unit lie between two times, negative when the second is the earlier one; between dates also `b - a`",
    signature: "(unit string, from timestamp, to timestamp) → int64",
    types: |arguments| counted(arguments, &DATE_DIFF),
    kernel: Kernel::Rows(|call| {
        let unit = unit(call);
        counts(call, |from, to| unit.index(to) - unit.index(from))
    }),
    sql: "date_diff({0}, {1}, {2})",
    duckdb: "date_diff({0}, {1}, {2})",
    constants: &[(0, UNITS)],
    differs: "in DuckDB a week is any seven days",
    example: ("date_diff('month', date '2024-01-31', date '2024-02-01')", "1"),
    ..BASE
};

pub(super) static TIMESTAMPDIFF: Function = Function {
    name: "timestampdiff",
    help: "How many whole units have passed between two times, negative when the second is the earlier one. A month has passed on the same day, or on the last day of a month without it",
    signature: "(unit string, from timestamp, to timestamp) → int64",
    types: |arguments| counted(arguments, &TIMESTAMPDIFF),
    kernel: Kernel::Rows(|call| {
        let unit = unit(call);
        counts(call, |from, to| unit.between(from, to))
    }),
    sql: "timestampdiff({0}, {1}, {2})",
    flink: "TIMESTAMPDIFF({0!}, {1}, {2})",
    duckdb: "date_sub({0}, {1}, {2})",
    differs: "in Flink a month has not passed on the last day of a shorter month; DuckDB counts isoyears by another rule",
    constants: &[(0, UNITS)],
    example: ("timestampdiff(month, date '2024-01-31', date '2024-02-29')", "1"),
    ..BASE
};

pub(super) static TIMESTAMPADD: Function = Function {
    name: "timestampadd",
    help: "The time so many units later; months end as `add_months` says",
    signature: "(unit string, count int64, timestamp) → timestamp",
    types: |arguments| {
        let slots = [Slot::Text, Slot::Integer, Slot::Time];
        let signature = takes(arguments, &TIMESTAMPADD, &slots, 3, DataType::Timestamp)?;
        known(arguments, &TIMESTAMPADD)?;
        Ok(signature)
    },
    kernel: Kernel::Rows(|call| {
        let unit = unit(call);
        let (count, ts) = (call.numbers::<Int64Type>(1), call.numbers::<TimestampMicrosecondType>(2));
        times(call, |row| {
            let (ts, count) = (ts.value(row), count.value(row));
            let later = match unit {
                Unit::Fixed(length) => count.checked_mul(length).and_then(|length| ts.checked_add(length)),
                Unit::Week => count.checked_mul(7 * DAY).and_then(|length| ts.checked_add(length)),
                Unit::Months(months) => count.checked_mul(months).and_then(|months| add_months(ts, months)),
                Unit::IsoYear => count.checked_mul(12).and_then(|months| add_months(ts, months)),
            };
            later.ok_or_else(|| beyond(ts, count, "units"))
        })
    }),
    sql: "timestampadd({0}, {1}, {2})",
    flink: "TIMESTAMPADD({0!}, {1}, {2})",
    duckdb: "({2} + {1} * INTERVAL 1 {0!})",
    constants: &[(
        0,
        &[
            "microsecond",
            "millisecond",
            "second",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "year",
            "decade",
            "century",
            "millennium",
        ],
    )],
    example: ("timestampadd(day, 3, timestamp '2024-02-28T12:00:00Z')", "2024-03-02T12:00:00.000000Z"),
    ..BASE
};

pub(super) static TIME_BUCKET: Function = Function {
    name: "time_bucket",
    aliases: &["date_bin"],
    help: "The last time not after this one that lies a multiple of an interval from an origin (by default Monday 2000-01-03, of months 2000-01-01)",
    signature: "(interval string, timestamp[, origin timestamp]) → timestamp",
    types: |arguments| {
        let slots = [Slot::Text, Slot::Time, Slot::Time];
        let signature = takes(arguments, &TIME_BUCKET, &slots, 2, DataType::Timestamp)?;
        width(written(arguments, 0).unwrap_or_default())?;
        Ok(signature)
    },
    kernel: Kernel::Rows(|call| {
        let width = width(call.texts(0).value(0)).expect("the types were checked");
        let ts = call.numbers::<TimestampMicrosecondType>(1);
        let origin = (call.arguments.len() == 3).then(|| call.numbers::<TimestampMicrosecondType>(2));
        times(call, |row| {
            let ts = ts.value(row);
            let origin = origin.as_ref().map(|origin| origin.value(row));
            bucket(width, ts, origin)
                .ok_or_else(|| format!("overflow: the bucket of {} begins beyond timestamp", timestamp_text(ts)).into())
        })
    }),
    sql: "time_bucket({0*, })",
    duckdb: "time_bucket(INTERVAL {0}, {1*, })",
    constants: &[(0, &["5 minutes", "7 days", "3 months"])],
    example: ("time_bucket(interval '15 minutes', timestamp '2026-01-01T10:44:00Z')", "2026-01-01T10:30:00.000000Z"),
    ..BASE
};

fn known(arguments: &[Argument<'_>], function: &Function) -> Result<(), String> {
    let unit = written(arguments, 0).unwrap_or_default();
    match Unit::find(unit) {
        Some(_) => Ok(()),
        None => Err(format!("`{}` does not know the unit `{unit}`; it knows {}", function.name, UNITS.join(", "))),
    }
}

fn counted(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    let signature = takes(arguments, function, &[Slot::Text, Slot::Time, Slot::Time], 3, DataType::Int64)?;
    known(arguments, function)?;
    Ok(signature)
}

fn unit(call: &Call<'_>) -> Unit {
    Unit::find(call.texts(0).value(0)).expect("the types were checked")
}

fn counts(call: &mut Call<'_>, count: impl Fn(i64, i64) -> i64) -> ArrayRef {
    let (from, to) = (call.numbers::<TimestampMicrosecondType>(1), call.numbers::<TimestampMicrosecondType>(2));
    integers(call, |row| {
        let (from, to) = (from.value(row), to.value(row));
        // Only the whole span of timestamps in microseconds is beyond int64.
        match to.checked_sub(from) {
            Some(_) => Ok(count(from, to)),
            None => {
                Err(format!("overflow: from {} to {} is too long", timestamp_text(from), timestamp_text(to)).into())
            }
        }
    })
}

fn moved(ts: i64, months: i64) -> Result<i64, Reason> {
    add_months(ts, months).ok_or_else(|| beyond(ts, months, "months"))
}

fn beyond(ts: i64, count: i64, what: &str) -> Reason {
    format!("overflow: {count} {what} from {} is beyond timestamp", timestamp_text(ts)).into()
}

/// Reads the width of buckets, which is a length or months, not both.
fn width(text: &str) -> Result<Interval, String> {
    let interval = Interval::parse(text)?;
    match interval {
        Interval { months: 1.., microseconds: 0 } | Interval { months: 0, microseconds: 1.. } => Ok(interval),
        _ => Err(format!("a bucket is some length or some months wide, more than 0; `{text}` is neither")),
    }
}

fn bucket(width: Interval, ts: i64, origin: Option<i64>) -> Option<i64> {
    if width.months > 0 {
        let month = |ts: i64| Unit::Months(1).index(ts);
        let origin = month(origin.unwrap_or(ORIGIN));
        let start = origin + (month(ts) - origin).div_euclid(width.months) * width.months;
        // 1970-01 is month 23,640 of the calendar.
        return add_months(0, start - 23_640);
    }
    let (width, origin) = (i128::from(width.microseconds), i128::from(origin.unwrap_or(ORIGIN)));
    i64::try_from(origin + (i128::from(ts) - origin).div_euclid(width) * width).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::time::parse_timestamp;

    #[test]
    fn whole_months_are_the_most_that_fit() {
        let start = parse_timestamp("2023-01-01T06:00:00Z").unwrap();
        let times: Vec<i64> = (0..500).map(|i| start + i * 2 * DAY + i % 3 * DAY / 2).collect();
        for from in times.iter().step_by(7) {
            for to in &times {
                let (early, late) = (*from.min(to), *from.max(to));
                let most = (0..100).take_while(|months| add_months(early, *months).unwrap() <= late).count() as i64 - 1;
                let expected = if to < from { -most } else { most };
                assert_eq!(Unit::Months(1).between(*from, *to), expected, "{from} {to}");
                assert_eq!(Unit::Months(3).between(*from, *to), expected / 3, "{from} {to}");
            }
        }
    }

    #[test]
    fn the_origin_is_a_monday() {
        assert_eq!(parse_timestamp("2000-01-03"), Some(ORIGIN));
        assert_eq!(Unit::Week.start(ORIGIN), (ORIGIN, false));
    }

    #[test]
    fn buckets_hold_their_times() {
        for text in ["1 second", "7 minutes", "5 hours", "3 days", "1 month", "5 months", "1 year"] {
            let width = width(text).unwrap();
            for i in -2_000..2_000 {
                let ts = i * 77_777_777_777;
                let start = bucket(width, ts, None).unwrap();
                let end = if width.months > 0 {
                    add_months(start, width.months).unwrap()
                } else {
                    start + width.microseconds
                };
                assert!(start <= ts && ts < end, "{text} {ts}");
                assert_eq!(bucket(width, start, None), Some(start));
                assert_eq!(bucket(width, end, None), Some(end));
            }
        }
        for text in ["0 days", "-1 month", "1 month 1 day", ""] {
            assert!(width(text).is_err(), "{text}");
        }
    }
}
