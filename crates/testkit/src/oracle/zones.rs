//! Days, weeks and months of time zones, by a table of when their clocks are put forward and back.
//!
//! The table is Python's, made by `tests/oracle/zones.py`: for each zone the times (in seconds) from 1985 to 2025 at which
//! its distance from UTC (in seconds) changes.

use crate::case::{CalendarUnit, Zone};

const TABLE: &str = include_str!("zones.txt");

/// The names of the zones, in the order of the table.
pub(crate) fn names() -> Vec<&'static str> {
    TABLE.lines().filter(|line| !line.starts_with(|c: char| c.is_ascii_digit())).collect()
}

/// Returns the stretches of a zone: since when, in microseconds, its clocks are so far ahead of UTC.
pub(crate) fn stretches(zone: Zone) -> Vec<(i64, i64)> {
    let name = zone.name();
    let lines = TABLE.lines().skip_while(|line| *line != name).skip(1);
    lines
        .map_while(|line| {
            let (since, ahead) = line.split_once(' ')?;
            Some((since.parse::<i64>().ok()? * 1_000_000, ahead.parse::<i64>().ok()? * 1_000_000))
        })
        .collect()
}

const DAY: i64 = 86_400_000_000;

/// Returns the start and end of the unit that holds a time: of all beginnings around it, the two next to it.
pub(crate) fn window_of(unit: CalendarUnit, zone: Zone, time: i64) -> (i64, i64) {
    let stretches = stretches(zone);
    let around = time.div_euclid(DAY);
    let first_days = (around - 70..around + 70).filter(|day| is_first(unit, *day));
    let beginnings: Vec<i64> = first_days.map(|day| beginning(&stretches, day)).collect();
    let start = *beginnings.iter().filter(|at| **at <= time).max().expect("a unit begins within 70 days before");
    let end = *beginnings.iter().filter(|at| **at > time).min().expect("a unit begins within 70 days after");
    (start, end)
}

/// Returns the earliest time at which clocks show a day's midnight or later: the earliest of any stretch.
fn beginning(stretches: &[(i64, i64)], day: i64) -> i64 {
    let midnight = day * DAY;
    let of_stretch = |i: usize| {
        let (since, ahead) = stretches[i];
        let until = stretches.get(i + 1).map_or(i64::MAX, |(since, _)| *since);
        let earliest = since.max(midnight - ahead);
        (earliest < until).then_some(earliest)
    };
    (0..stretches.len()).filter_map(of_stretch).min().expect("the table holds the day")
}

/// Returns true when a unit begins on that day since 1970, which was a Thursday.
fn is_first(unit: CalendarUnit, day: i64) -> bool {
    match unit {
        CalendarUnit::Day => true,
        CalendarUnit::Week => (day + 3).rem_euclid(7) == 0,
        CalendarUnit::Month => {
            let mut left = day;
            for year in 1970.. {
                let february = if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 29 } else { 28 };
                for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                    if left <= 0 {
                        return left == 0;
                    }
                    left -= length;
                }
            }
            unreachable!("some year is later")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone(names().iter().position(|known| *known == name).expect("in the table"))
    }

    #[test]
    fn days_are_those_that_people_know() {
        let hour = 3_600_000_000i64;
        // 2024-03-31 and 2024-10-27 in Berlin, from +01:00 to +02:00 and back.
        let spring = 19_813 * DAY - hour;
        assert_eq!(window_of(CalendarUnit::Day, zone("Europe/Berlin"), spring), (spring, spring + 23 * hour));
        let autumn = 20_023 * DAY - 2 * hour;
        assert_eq!(window_of(CalendarUnit::Day, zone("Europe/Berlin"), autumn), (autumn, autumn + 25 * hour));
        // 2018-11-04 in São Paulo began at one o'clock, −02:00.
        let late = 17_839 * DAY + 3 * hour;
        assert_eq!(window_of(CalendarUnit::Day, zone("America/Sao_Paulo"), late + 5), (late, late + 23 * hour));
        // Apia left out 2011-12-30: the 29th ends at 10:00 UTC on the 30th, where the 31st begins.
        let left_out = 15_338 * DAY + 10 * hour;
        assert_eq!(window_of(CalendarUnit::Day, zone("Pacific/Apia"), left_out - 1), (left_out - 24 * hour, left_out));
        assert_eq!(window_of(CalendarUnit::Day, zone("Pacific/Apia"), left_out), (left_out, left_out + 24 * hour));
        // February 2024 in Nepal, +05:45; its week from Monday the 26th.
        let ahead = 5 * hour + 45 * 60_000_000;
        let february = window_of(CalendarUnit::Month, zone("Asia/Kathmandu"), 19_780 * DAY);
        assert_eq!(february, (19_754 * DAY - ahead, 19_783 * DAY - ahead));
        let week = window_of(CalendarUnit::Week, zone("Asia/Kathmandu"), 19_781 * DAY);
        assert_eq!(week, (19_779 * DAY - ahead, 19_786 * DAY - ahead));
    }
}
