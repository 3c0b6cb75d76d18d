//! Wall clocks of the zones of the IANA time-zone database. A timestamp has no zone of its own: what a wall clock shows is
//! held as the timestamp that shows the same in UTC.

use std::str::FromStr;

use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;

use super::each::times;
use super::{Argument, Family, Function, Kernel, Signature, Slot, takes, written};
use crate::calendar::{ahead_at_local, ahead_of_utc};
use crate::expr::operand::{Call, Reason};
use crate::expr::time::timestamp_text;
use crate::value::DataType;

const BASE: Function = super::base(Family::Time);

const ZONES: &[&str] = &["Europe/Berlin", "America/New_York", "Asia/Kathmandu"];

/// What results here follow.
const DATA: (&str, &str) = ("time_zones_for_ever", chrono_tz::IANA_TZDB_VERSION);

pub(super) static TIMEZONE: Function = Function {
    name: "timezone",
    help: "What the wall clock of a zone shows at that time; written `ts at time zone 'Europe/Berlin'`",
    signature: "(zone string, timestamp) → timestamp",
    types: |arguments| zoned(arguments, &TIMEZONE),
    kernel: Kernel::Rows(|call| {
        let zone = zone(call);
        let ts = call.numbers::<TimestampMicrosecondType>(1);
        times(call, |row| {
            let ts = ts.value(row);
            to_local(zone, ts).ok_or_else(|| beyond(ts, zone))
        })
    }),
    sql: "timezone({0}, {1})",
    duckdb: "timezone({0}, {1}::TIMESTAMPTZ)",
    differs: "elsewhere `at time zone` of a time without a zone goes the other way: here that is `to_utc`",
    constants: &[(0, ZONES)],
    data: Some(DATA),
    example: ("hour(timestamp '2026-07-01T12:00:00Z' at time zone 'Europe/Berlin')", "14"),
    ..BASE
};

pub(super) static TO_UTC: Function = Function {
    name: "to_utc",
    help: "The time at which the wall clock of a zone shows that; the later one where it shows it twice, and where it never does the clock is taken to go on as before",
    signature: "(zone string, local timestamp) → timestamp",
    types: |arguments| zoned(arguments, &TO_UTC),
    kernel: Kernel::Rows(|call| {
        let zone = zone(call);
        let ts = call.numbers::<TimestampMicrosecondType>(1);
        times(call, |row| {
            let ts = ts.value(row);
            from_local(zone, ts).ok_or_else(|| beyond(ts, zone))
        })
    }),
    sql: "to_utc({0}, {1})",
    duckdb: "timezone({0}, {1})",
    constants: &[(0, ZONES)],
    data: Some(DATA),
    example: ("to_utc('Europe/Berlin', timestamp '2026-01-01T00:00:00')", "2025-12-31T23:00:00.000000Z"),
    ..BASE
};

fn zoned(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    let signature = takes(arguments, function, &[Slot::Text, Slot::Time], 2, DataType::Timestamp)?;
    let name = written(arguments, 0).unwrap_or_default();
    if Tz::from_str(name).is_err() {
        let other =
            chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).find(|known| known.eq_ignore_ascii_case(name));
        let hint = other.map_or_else(
            || "zones have names such as 'Europe/Berlin' or 'UTC'".to_string(),
            |other| format!("did you mean '{other}'?"),
        );
        return Err(format!("there is no time zone '{name}'; {hint}"));
    }
    Ok(signature)
}

fn zone(call: &Call<'_>) -> Tz {
    Tz::from_str(call.texts(0).value(0)).expect("the types were checked")
}

fn beyond(ts: i64, zone: Tz) -> Reason {
    format!("overflow: {} is beyond the calendar of {zone}", timestamp_text(ts)).into()
}

fn naive(ts: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(ts).map(|time| time.naive_utc())
}

/// Returns how far a zone's clock is ahead of UTC at a time, in microseconds.
fn ahead(zone: Tz, utc: &NaiveDateTime) -> i64 {
    i64::from(ahead_of_utc(zone, *utc)) * 1_000_000
}

fn to_local(zone: Tz, ts: i64) -> Option<i64> {
    ts.checked_add(ahead(zone, &naive(ts)?))
}

fn from_local(zone: Tz, ts: i64) -> Option<i64> {
    let local = naive(ts)?;
    let ahead = match ahead_at_local(zone, local).latest() {
        Some(seconds) => i64::from(seconds) * 1_000_000,
        // Clocks were put forward over this time. Zones are at most 15 hours from UTC, and no clock is put twice a day.
        None => ahead(zone, &local.checked_sub_signed(TimeDelta::hours(24))?),
    };
    ts.checked_sub(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::time::parse_timestamp;

    #[test]
    fn summer_time_goes_on_after_the_tables() {
        let shown = |zone: &str, at: &str| {
            timestamp_text(to_local(Tz::from_str(zone).unwrap(), parse_timestamp(at).unwrap()).unwrap())
        };
        for (zone, at, wall) in [
            ("Europe/Berlin", "2100-03-28T00:59:59", "2100-03-28T01:59:59"),
            ("Europe/Berlin", "2100-03-28T01:00:00", "2100-03-28T03:00:00"),
            ("Europe/Berlin", "2100-10-31T00:59:59", "2100-10-31T02:59:59"),
            ("Europe/Berlin", "2100-10-31T01:00:00", "2100-10-31T02:00:00"),
            ("America/New_York", "2400-07-01T12:00:00", "2400-07-01T08:00:00"),
            ("America/New_York", "2400-02-29T12:00:00", "2400-02-29T07:00:00"),
            // Casablanca keeps one offset from 2088 on, whatever years alike did.
            ("Africa/Casablanca", "2104-02-29T12:00:00", "2104-02-29T13:00:00"),
        ] {
            assert!(shown(zone, at).starts_with(wall), "{zone} {at}: {}", shown(zone, at));
        }
    }

    /// The definition: the latest time whose wall clock shows it, sought minute by minute.
    #[test]
    fn local_times_are_found_as_defined() {
        for (name, from, to) in [
            ("Europe/Berlin", "2024-03-30T12:00:00", "2024-04-01T00:00:00"),
            ("Europe/Berlin", "2024-10-26T12:00:00", "2024-10-28T00:00:00"),
            ("America/New_York", "2024-03-09T12:00:00", "2024-03-11T00:00:00"),
            ("America/New_York", "2024-11-02T12:00:00", "2024-11-04T00:00:00"),
            ("Australia/Lord_Howe", "2024-10-05T00:00:00", "2024-10-07T00:00:00"),
            ("Australia/Lord_Howe", "2024-04-06T00:00:00", "2024-04-08T00:00:00"),
            ("Pacific/Apia", "2011-12-28T12:00:00", "2012-01-01T12:00:00"),
            // After the tables' end: the last Sundays of March and October, of a year that is not as long as 2096.
            ("Europe/Berlin", "2100-03-27T12:00:00", "2100-03-29T00:00:00"),
            ("Europe/Berlin", "2100-10-30T12:00:00", "2100-11-01T00:00:00"),
            ("Europe/Berlin", "2099-12-31T00:00:00", "2100-01-02T00:00:00"),
        ] {
            let zone = Tz::from_str(name).unwrap();
            let [from, to] = [from, to].map(|text| parse_timestamp(text).unwrap());
            const MINUTE: i64 = 60_000_000;
            let shown: Vec<(i64, i64)> = (from / MINUTE - 16 * 60..to / MINUTE + 16 * 60)
                .map(|minute| (minute * MINUTE, to_local(zone, minute * MINUTE).unwrap()))
                .collect();
            for local in (from..to).step_by(MINUTE as usize) {
                let latest = shown.iter().rev().find(|(_, wall)| *wall == local).map(|(utc, _)| *utc);
                // Where there is none: as if the clock had gone on from the last time that shows less.
                let expected = latest.unwrap_or_else(|| {
                    let (utc, wall) = shown.iter().rev().find(|(_, wall)| *wall < local).unwrap();
                    utc + local - wall
                });
                assert_eq!(from_local(zone, local), Some(expected), "{name} {}", timestamp_text(local));
            }
        }
    }
}
