//! Days, weeks and months of a time zone, as intervals of time.
//!
//! A day begins at the earliest time at which its zone's clocks show that day's midnight or later, so a day may have 23
//! or 25 hours, or begin at one o'clock where clocks are put forward at midnight. What clocks show twice belongs to one
//! day or two, as the days' beginnings say; no time belongs to none. Weeks begin on Monday, months on their first day.
//!
//! The tables of zones end with the year 2099. From then on the rule by which a zone's clocks are put at the end goes on
//! for ever, as the IANA database means it. Such a rule speaks of months and weekdays, so a year has the offsets of one
//! whose weekdays are the same: that of the tables is asked in its place.

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone,
};
use chrono_tz::Tz;

use crate::window::Window;

/// The version of the time-zone data that the program was built with.
pub const ZONES_VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first day to the next month's first.
    Month,
}

impl Unit {
    /// Every unit with its word in the pipeline file.
    pub const WORDS: &[&str] = &["day", "week", "month"];

    /// Reads a word of [`Unit::WORDS`].
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            _ => return None,
        })
    }

    /// Returns its word in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
        }
    }

    /// Returns the first day of the unit that holds a day.
    fn first_day(self, day: NaiveDate) -> NaiveDate {
        match self {
            Unit::Day => day,
            Unit::Week => day - Days::new(day.weekday().num_days_from_monday().into()),
            Unit::Month => day.with_day(1).expect("every month has a first day"),
        }
    }

    /// Returns the first day of the next unit.
    fn next(self, first_day: NaiveDate) -> NaiveDate {
        match self {
            Unit::Day => first_day + Days::new(1),
            Unit::Week => first_day + Days::new(7),
            Unit::Month => first_day + Months::new(1),
        }
    }
}

/// Returns the zone of that name in the IANA database, or the name that was probably meant.
pub fn zone(name: &str) -> Result<Tz, Option<&'static str>> {
    name.parse().map_err(|_| {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).find(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Returns how far a zone's clocks are ahead of UTC, in seconds.
pub(crate) fn ahead_of_utc(zone: Tz, utc: NaiveDateTime) -> i32 {
    zone.offset_from_utc_datetime(&in_tables(utc)).fix().local_minus_utc()
}

/// Returns how far a zone's clocks are ahead of UTC, in seconds, when they show a time: that of the one or two times at
/// which they do.
pub(crate) fn ahead_at_local(zone: Tz, local: NaiveDateTime) -> MappedLocalTime<i32> {
    zone.offset_from_local_datetime(&in_tables(local)).map(|offset| offset.fix().local_minus_utc())
}

/// The last years of the tables, in which every zone follows its last rule: Morocco's and Gaza's tables name the days of
/// each Ramadan until 2087. They begin on every weekday, and so do their months of March.
const LAST_YEARS: std::ops::RangeInclusive<i32> = 2088..=2099;

/// Returns the time itself, or after the tables' end the same day and time of a year within them that is like its own.
fn in_tables(time: NaiveDateTime) -> NaiveDateTime {
    if time.year() <= *LAST_YEARS.end() {
        return time;
    }
    // Up to the end of February a year is as it begins, after that as its March begins, whether it has a day between or not.
    let month = if time.month() < 3 { 1 } else { 3 };
    let weekday = |year: i32| NaiveDate::from_ymd_opt(year, month, 1).expect("a day of the calendar").weekday();
    let wanted = weekday(time.year());
    let year = LAST_YEARS.rev().find(|year| weekday(*year) == wanted).expect("they begin on every weekday");
    // No clock is put on the last days of February.
    let day = NaiveDate::from_ymd_opt(year, time.month(), time.day());
    day.unwrap_or_else(|| NaiveDate::from_ymd_opt(year, 2, 28).expect("every year has it")).and_time(time.time())
}

/// Finds the days, weeks or months of a zone that hold times, and remembers them.
pub struct Calendar {
    unit: Unit,
    zone: Tz,
    /// Those found so far, in order.
    known: Vec<Window>,
}

impl Calendar {
    /// Makes a calendar that knows nothing yet.
    pub fn new(unit: Unit, zone: Tz) -> Self {
        Self { unit, zone, known: Vec::new() }
    }

    /// Returns the window that holds a time, which is within 146,000 years of 1970.
    pub fn window(&mut self, time: i64) -> Window {
        let place = self.known.partition_point(|window| window.end <= time);
        if let Some(window) = self.known.get(place).filter(|window| window.start <= time) {
            return *window;
        }
        let window = self.find(time);
        self.known.insert(place, window);
        window
    }

    fn find(&self, time: i64) -> Window {
        let utc = naive(time);
        let mut first_day = self.unit.first_day((utc + self.ahead(utc)).date());
        let mut start = self.beginning(first_day);
        loop {
            let next = self.unit.next(first_day);
            let end = self.beginning(next);
            if time < end {
                return Window { start, end };
            }
            // Clocks that were put back showed the next day already, or its day was left out.
            (first_day, start) = (next, end);
        }
    }

    /// Returns the earliest time at which clocks show a day's midnight or later.
    fn beginning(&self, day: NaiveDate) -> i64 {
        let midnight = day.and_time(chrono::NaiveTime::MIN);
        let utc = match ahead_at_local(self.zone, midnight) {
            MappedLocalTime::Single(ahead) => midnight - seconds(ahead),
            MappedLocalTime::Ambiguous(a, b) => midnight - seconds(a.max(b)),
            MappedLocalTime::None => self.leap(midnight),
        };
        utc.and_utc().timestamp_micros()
    }

    /// Returns the time at which clocks were put forward over what they should have shown. It is a whole second.
    fn leap(&self, local: NaiveDateTime) -> NaiveDateTime {
        // No zone is as far from UTC.
        let (mut before, mut after) = (local - TimeDelta::hours(26), local + TimeDelta::hours(26));
        while after - before > TimeDelta::seconds(1) {
            let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
            let side = if middle + self.ahead(middle) < local { &mut before } else { &mut after };
            *side = middle;
        }
        after
    }

    /// Returns how far the zone's clocks are ahead of UTC.
    fn ahead(&self, utc: NaiveDateTime) -> TimeDelta {
        seconds(ahead_of_utc(self.zone, utc))
    }
}

fn seconds(count: i32) -> TimeDelta {
    TimeDelta::seconds(count.into())
}

fn naive(time: i64) -> NaiveDateTime {
    DateTime::from_timestamp_micros(time).expect("event times are within 146,000 years of 1970").naive_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units around every time at which eight zones put their clocks forward or back between 1985 and 2025, as Python's
    /// `zoneinfo` has them: `zone unit start end`. Written by `tests/oracle/zones.py`, which looks for them by trying
    /// every minute.
    const BOUNDARIES: &str = include_str!("calendar/boundaries.txt");

    /// The same of thirteen zones and some years after those of the tables.
    const LATER: &str = include_str!("calendar/later.txt");

    fn boundaries() -> impl Iterator<Item = (Tz, Unit, Window)> {
        BOUNDARIES.lines().chain(LATER.lines()).map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().expect("four words");
            let (zone, unit) = (zone(word()).unwrap(), Unit::parse(word()).unwrap());
            let mut time = || word().parse().unwrap();
            (zone, unit, Window { start: time(), end: time() })
        })
    }

    #[test]
    fn days_weeks_and_months_are_those_of_python() {
        assert_eq!(ZONES_VERSION, "2025b", "the table was made with these zones; make it again with others");
        let mut lengths = std::collections::BTreeSet::new();
        for (zone, unit, window) in boundaries() {
            let middle = window.start + (window.end - window.start) / 2;
            for time in [window.start, middle, window.end - 1] {
                assert_eq!(Calendar::new(unit, zone).window(time), window, "{zone} {unit:?} {time}");
            }
            assert_eq!(Calendar::new(unit, zone).window(window.start - 1).end, window.start, "{zone} {unit:?}");
            assert_eq!(Calendar::new(unit, zone).window(window.end).start, window.end, "{zone} {unit:?}");
            if unit == Unit::Day {
                lengths.insert((window.end - window.start) / 60_000_000);
            }
        }
        // Minutes of a day: among others of 23, 23½, 24½ and 25 hours.
        assert!([1380, 1410, 1440, 1470, 1500].iter().all(|length| lengths.contains(length)), "{lengths:?}");
    }

    #[test]
    fn what_a_calendar_remembers_changes_nothing() {
        let mut calendars = std::collections::HashMap::new();
        let all: Vec<_> = boundaries().collect();
        for (zone, unit, window) in all.iter().chain(all.iter().rev()) {
            let calendar = calendars.entry((zone.name(), unit.word())).or_insert_with(|| Calendar::new(*unit, *zone));
            assert_eq!(calendar.window(window.end - 1), *window);
            assert_eq!(calendar.window(window.start), *window);
        }
        for calendar in calendars.values() {
            assert!(calendar.known.is_sorted());
            assert!(calendar.known.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }

    /// Clocks are put twice a year for ever, and the calendar repeats itself.
    #[test]
    fn rules_go_on_after_the_tables() {
        let mut changes = 0;
        for zone in ["Europe/Berlin", "America/Santiago", "Africa/Casablanca"] {
            let zone: Tz = zone.parse().unwrap();
            let of_day = |year: i32, day: u32| {
                let day = NaiveDate::from_yo_opt(year, day).unwrap().and_time(chrono::NaiveTime::MIN);
                (ahead_of_utc(zone, day), ahead_at_local(zone, day))
            };
            // The calendar repeats after 400 years, to the weekday.
            for year in 2101..2140 {
                for day in 1..=365 {
                    assert_eq!(of_day(year, day), of_day(year + 400, day), "{zone} {year} {day}");
                    changes += usize::from(day > 1 && of_day(year, day).0 != of_day(year, day - 1).0);
                }
            }
        }
        assert_eq!(changes, 2 * 2 * 39, "clocks are put twice a year in two of the three");
    }

    #[test]
    fn any_event_time_has_a_window() {
        for zone in chrono_tz::TZ_VARIANTS.iter().step_by(7) {
            for unit in [Unit::Day, Unit::Week, Unit::Month] {
                for time in [-(1i64 << 62), -1, 0, 4_102_444_800_000_000, (1 << 62) - 1] {
                    let window = Calendar::new(unit, *zone).window(time);
                    assert!(window.start <= time && time < window.end, "{zone} {unit:?} {time}");
                }
            }
        }
    }
}
