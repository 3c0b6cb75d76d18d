//! Windows: half-open intervals of event time, and how an event time finds its windows.
//!
//! A kind of window is one entry in [`WINDOWS`]: its fields as written in the pipeline file, and how they become a
//! [`Windowing`]. Boundaries are multiples of the size (hopping: of `every`) from 1970-01-01T00:00:00Z plus `offset`,
//! floored before 1970 too; those of calendars are in [`crate::calendar`].

use chrono_tz::Tz;

use crate::calendar::{self, Calendar, Unit};

/// An interval of event time, `[start, end)`, in microseconds. Ordered as results are: by end, then start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First microsecond past the window.
    pub end: i64,
    /// First microsecond of the window.
    pub start: i64,
}

/// How rows find their windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windowing {
    /// Windows of `size`, one beginning at every multiple of `every` (tumbling: `every = size`) plus `offset`.
    Fixed {
        /// Length of a window.
        size: i64,
        /// Distance between successive starts; `0 < every <= size`.
        every: i64,
        /// Shift of all boundaries; `0 <= offset < every`.
        offset: i64,
    },
    /// Windows that begin at every multiple of `size` plus `offset` and end one `step` after the other, the last one
    /// where the next begin.
    Cumulative {
        /// Length of the longest window.
        size: i64,
        /// Distance between successive ends; a divisor of `size`.
        step: i64,
        /// Shift of all boundaries; `0 <= offset < size`.
        offset: i64,
    },
    /// Days, weeks or months of a time zone, side by side.
    Calendar {
        /// Which of them.
        unit: Unit,
        /// The zone.
        zone: Tz,
    },
    /// Records of a key less than `gap` apart are together; a window is `[first, last + gap)`.
    Session {
        /// The pause that ends a session.
        gap: i64,
    },
    /// Window rows are grouped again by the window they have.
    Same,
}

impl Windowing {
    /// Returns how much earlier than a window that holds a time the one that ends before it starts and ends.
    pub(crate) fn strides(self) -> (i64, i64) {
        match self {
            Windowing::Fixed { every, .. } => (every, every),
            Windowing::Cumulative { step, .. } => (0, step),
            Windowing::Calendar { .. } | Windowing::Session { .. } | Windowing::Same => (0, 0),
        }
    }

    /// Returns the windows that hold a time, the one that ends last first; none for sessions and `same`, whose windows
    /// are not of the time alone.
    pub fn windows(self, time: i64) -> Vec<Window> {
        let mut found = Vec::new();
        if !matches!(self, Windowing::Session { .. } | Windowing::Same) {
            Finder::new(self).windows(time, &mut found);
        }
        found
    }
}

/// What stands in a field of a kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowShape {
    /// A duration.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a time zone.
    Zone,
}

/// The value of a field of a kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowValue<'a> {
    /// A duration in microseconds.
    Duration(i64),
    /// A word of a choice, or the name of a zone.
    Word(&'a str),
}

/// A field of a kind of window.
pub struct WindowField {
    /// Its name in the pipeline file.
    pub name: &'static str,
    /// What stands in it.
    pub shape: WindowShape,
    /// Whether it must be given.
    pub required: bool,
    /// One line of help.
    pub help: &'static str,
}

/// A kind of window.
pub struct WindowKind {
    /// Its name in the pipeline file.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Its fields, in the order of the reference page.
    pub fields: &'static [WindowField],
    /// Makes the windowing of the field values (of their shapes, in the order of `fields`, None where not given), or says
    /// why not.
    pub build: fn(&[Option<WindowValue<'_>>]) -> Result<Windowing, String>,
}

const fn field(name: &'static str, required: bool, help: &'static str) -> WindowField {
    WindowField { name, shape: WindowShape::Duration, required, help }
}

/// Returns a duration, zero where it is not given.
fn micros(value: Option<WindowValue<'_>>) -> i64 {
    match value {
        Some(WindowValue::Duration(micros)) => micros,
        _ => 0,
    }
}

/// Every kind of window that is written as a map.
pub const WINDOWS: &[WindowKind] = &[
    WindowKind {
        name: "tumbling",
        help: "Windows of one size, side by side",
        fields: &[
            field("size", true, "length of a window"),
            field("offset", false, "shift of all boundaries, less than size"),
        ],
        build: |fields| fixed(micros(fields[0]), micros(fields[0]), micros(fields[1]), "size"),
    },
    WindowKind {
        name: "hopping",
        help: "Overlapping windows: one of `size` begins every `every`",
        fields: &[
            field("size", true, "length of a window"),
            field("every", true, "distance between starts, at most size"),
            field("offset", false, "shift of all boundaries, less than every"),
        ],
        build: |fields| fixed(micros(fields[0]), micros(fields[1]), micros(fields[2]), "every"),
    },
    WindowKind {
        name: "cumulative",
        help: "Windows that begin together and end one `step` after the other, until `size`",
        fields: &[
            field("size", true, "length of the longest window, a multiple of step"),
            field("step", true, "distance between ends"),
            field("offset", false, "shift of all boundaries, less than size"),
        ],
        build: |fields| cumulative(micros(fields[0]), micros(fields[1]), micros(fields[2])),
    },
    WindowKind {
        name: "calendar",
        help: "Days, weeks (from Monday) or months of a time zone",
        fields: &[
            WindowField { shape: WindowShape::Choice(Unit::WORDS), ..field("unit", true, "`day`, `week` or `month`") },
            WindowField {
                shape: WindowShape::Zone,
                ..field("timezone", true, "a zone of the IANA database, such as `Europe/Berlin`")
            },
        ],
        build: |fields| match (fields[0], fields[1]) {
            (Some(WindowValue::Word(unit)), Some(WindowValue::Word(zone))) => in_calendar(unit, zone),
            _ => Err("it needs `unit` and `timezone`".into()),
        },
    },
    WindowKind {
        name: "session",
        help: "Records of a key less than `gap` apart belong together",
        fields: &[field("gap", true, "the pause that ends a session")],
        build: |fields| match micros(fields[0]) {
            gap if gap > 0 => Ok(Windowing::Session { gap }),
            _ => Err("`gap` must be greater than zero".into()),
        },
    },
];

/// In how many windows a record may be. Each of them has its own groups, so many more would never fit anywhere.
const MOST_WINDOWS: i64 = 100_000;

fn fixed(size: i64, every: i64, offset: i64, period: &str) -> Result<Windowing, String> {
    if size <= 0 {
        return Err("`size` must be greater than zero".into());
    }
    if every <= 0 {
        return Err("`every` must be greater than zero".into());
    }
    if every > size {
        return Err("`every` is greater than `size`, so records between windows would belong to none".into());
    }
    if size / every > MOST_WINDOWS || (size / every == MOST_WINDOWS && size % every != 0) {
        return Err("`every` is too small for this `size`: more than 100,000 windows would hold each record".into());
    }
    if offset < 0 || offset >= every {
        return Err(format!("`offset` must be at least zero and less than `{period}`"));
    }
    Ok(Windowing::Fixed { size, every, offset })
}

fn cumulative(size: i64, step: i64, offset: i64) -> Result<Windowing, String> {
    if size <= 0 {
        return Err("`size` must be greater than zero".into());
    }
    if step <= 0 {
        return Err("`step` must be greater than zero".into());
    }
    if size % step != 0 {
        return Err("`size` is not a multiple of `step`, so the longest window would not end with a step".into());
    }
    if size / step > MOST_WINDOWS {
        return Err("`step` is too small for this `size`: more than 100,000 windows would hold a record".into());
    }
    if offset < 0 || offset >= size {
        return Err("`offset` must be at least zero and less than `size`".into());
    }
    Ok(Windowing::Cumulative { size, step, offset })
}

fn in_calendar(unit: &str, zone: &str) -> Result<Windowing, String> {
    let unit = Unit::parse(unit).ok_or_else(|| format!("there is no unit `{unit}`"))?;
    match calendar::zone(zone) {
        Ok(zone) => Ok(Windowing::Calendar { unit, zone }),
        Err(Some(meant)) => Err(format!("there is no time zone `{zone}`; did you mean `{meant}`?")),
        Err(None) => Err(format!("there is no time zone `{zone}`; zones have names such as `Europe/Berlin` or `UTC`")),
    }
}

/// Finds the fixed windows of event times.
pub(crate) struct Finder {
    pub(crate) windowing: Windowing,
    calendar: Option<Calendar>,
}

impl Finder {
    /// Makes a finder; sessions and `same` have no windows that a time alone tells.
    pub(crate) fn new(windowing: Windowing) -> Self {
        let calendar = match windowing {
            Windowing::Calendar { unit, zone } => Some(Calendar::new(unit, zone)),
            _ => None,
        };
        Self { windowing, calendar }
    }

    /// Returns in how many windows a time is at most.
    pub(crate) fn most(&self) -> u64 {
        match self.windowing {
            Windowing::Fixed { size, every, .. } => size.unsigned_abs().div_ceil(every.unsigned_abs()),
            Windowing::Cumulative { size, step, .. } => size.unsigned_abs() / step.unsigned_abs(),
            Windowing::Calendar { .. } | Windowing::Session { .. } | Windowing::Same => 1,
        }
    }

    /// Returns the times that are in the same windows as the one for which these were found, from the first to before the last,
    /// and where the window that ends first does.
    pub(crate) fn same_times(&self, found: &[Window]) -> Option<(i64, i64, i64)> {
        let (last, first) = (found.first()?, found.last()?);
        let (from, to) = match self.windowing {
            // After the end of the window before the first, and before the start of the one after the last.
            Windowing::Fixed { every, .. } => (last.start.max(first.end - every), first.end.min(last.start + every)),
            Windowing::Cumulative { step, .. } => (first.end - step, first.end),
            Windowing::Calendar { .. } => (last.start, last.end),
            Windowing::Session { .. } | Windowing::Same => return None,
        };
        Some((from, to, first.end))
    }

    /// Puts the windows that hold `time` into `found`, the one that ends last first.
    #[inline]
    pub(crate) fn windows(&mut self, time: i64, found: &mut Vec<Window>) {
        found.clear();
        match self.windowing {
            Windowing::Fixed { size, every, offset } => {
                let mut start = last_start(time, every, offset);
                while start > time - size {
                    found.push(Window { start, end: start + size });
                    start -= every;
                }
            }
            Windowing::Cumulative { size, step, offset } => {
                let start = last_start(time, size, offset);
                let mut end = start + size;
                while end > time {
                    found.push(Window { start, end });
                    end -= step;
                }
            }
            Windowing::Calendar { .. } => {
                let calendar = self.calendar.as_mut().expect("a calendar was made for it");
                found.push(calendar.window(time));
            }
            Windowing::Session { .. } | Windowing::Same => unreachable!("their windows are not of the time alone"),
        }
    }
}

/// Returns the start of the last window that holds `time`: the greatest boundary not after it.
#[inline]
pub fn last_start(time: i64, every: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_floored_before_1970_too() {
        assert_eq!(last_start(-1, 60, 0), -60);
        assert_eq!(last_start(-60, 60, 0), -60);
        assert_eq!(last_start(59, 60, 0), 0);
        assert_eq!(last_start(5, 60, 10), -50);
    }

    #[test]
    fn the_times_of_the_same_windows_are_all_those_and_no_others() {
        let kinds = [
            Windowing::Fixed { size: 10, every: 10, offset: 3 },
            Windowing::Fixed { size: 10, every: 3, offset: 1 },
            Windowing::Fixed { size: 9, every: 3, offset: 0 },
            Windowing::Fixed { size: 7, every: 5, offset: 2 },
            Windowing::Cumulative { size: 12, step: 3, offset: 5 },
            Windowing::Calendar { unit: Unit::Day, zone: calendar::zone("Europe/Berlin").unwrap() },
        ];
        for windowing in kinds {
            let mut finder = Finder::new(windowing);
            let mut windows = |time| {
                let mut found = Vec::new();
                finder.windows(time, &mut found);
                found
            };
            for time in -40..40 {
                let found = windows(time);
                let (from, to, end) = Finder::new(windowing).same_times(&found).unwrap();
                assert!(from <= time && time < to);
                assert_eq!(Some(end), found.iter().map(|window| window.end).min());
                for other in [from, to - 1, time] {
                    assert_eq!(windows(other), found, "{windowing:?}: {other} and {time}");
                }
                assert!(windows(from - 1) != found && windows(to) != found, "{windowing:?}: {from} .. {to}");
            }
        }
    }

    #[test]
    fn windows_order_by_end_then_start() {
        assert!(Window { end: 5, start: 4 } < Window { end: 6, start: 0 });
        assert!(Window { end: 6, start: 0 } < Window { end: 6, start: 1 });
    }

    #[test]
    fn gaps_between_windows_are_refused() {
        let hopping = &WINDOWS[1];
        let given = |micros: i64| Some(WindowValue::Duration(micros));
        assert!((hopping.build)(&[given(10), given(20), None]).is_err());
        assert_eq!(
            (hopping.build)(&[given(20), given(10), given(3)]),
            Ok(Windowing::Fixed { size: 20, every: 10, offset: 3 })
        );
    }

    #[test]
    fn a_record_in_too_many_windows_is_refused() {
        let given = |micros: i64| Some(WindowValue::Duration(micros));
        let hopping = |size, every| (WINDOWS[1].build)(&[given(size), given(every), None]);
        assert!(hopping(700_000, 7).is_ok());
        assert!(hopping(700_001, 7).is_err_and(|reason| reason.contains("100,000")));
        assert!(hopping(i64::MAX, 1).is_err());
        assert!(hopping(i64::MAX, i64::MAX).is_ok());
        let cumulative = |size, step| (WINDOWS[2].build)(&[given(size), given(step), None]);
        assert!(cumulative(700_000, 7).is_ok());
        assert!(cumulative(700_007, 7).is_err_and(|reason| reason.contains("100,000")));
        assert!(cumulative(700_001, 7).is_err_and(|reason| reason.contains("multiple")));
    }

    #[test]
    fn cumulative_windows_begin_together_and_end_after_the_time() {
        let mut finder = Finder::new(Windowing::Cumulative { size: 30, step: 10, offset: 5 });
        let mut windows = |time| {
            let mut found = Vec::new();
            finder.windows(time, &mut found);
            found.iter().map(|window| (window.start, window.end)).collect::<Vec<_>>()
        };
        assert_eq!(windows(5), [(5, 35), (5, 25), (5, 15)]);
        assert_eq!(windows(14), [(5, 35), (5, 25), (5, 15)]);
        assert_eq!(windows(15), [(5, 35), (5, 25)]);
        assert_eq!(windows(34), [(5, 35)]);
        assert_eq!(windows(4), [(-25, 5)]);
    }
}
