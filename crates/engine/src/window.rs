//! Windows: half-open intervals of event time, and how an event time finds its windows.
//!
//! A kind of window is one entry in [`WINDOWS`]: its fields as written in the pipeline file, and how they become a
//! [`Windowing`]. Boundaries are multiples of the size (hopping: of `every`) from 1970-01-01T00:00:00Z plus `offset`,
//! floored before 1970 too.

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
    /// Records of a key less than `gap` apart are together; a window is `[first, last + gap)`.
    Session {
        /// The pause that ends a session.
        gap: i64,
    },
    /// Window rows are grouped again by the window they have.
    Same,
}

/// A field of a kind of window; all of them are durations.
pub struct WindowField {
    /// Its name in the pipeline file.
    pub name: &'static str,
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
    /// Makes the windowing of the field values (microseconds, in the order of `fields`, None where not given), or says why not.
    pub build: fn(&[Option<i64>]) -> Result<Windowing, String>,
}

const fn field(name: &'static str, required: bool, help: &'static str) -> WindowField {
    WindowField { name, required, help }
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
        build: |fields| fixed(fields[0], fields[0], fields[1], "size"),
    },
    WindowKind {
        name: "hopping",
        help: "Overlapping windows: one of `size` begins every `every`",
        fields: &[
            field("size", true, "length of a window"),
            field("every", true, "distance between starts, at most size"),
            field("offset", false, "shift of all boundaries, less than every"),
        ],
        build: |fields| fixed(fields[0], fields[1], fields[2], "every"),
    },
    WindowKind {
        name: "session",
        help: "Records of a key less than `gap` apart belong together",
        fields: &[field("gap", true, "the pause that ends a session")],
        build: |fields| match fields[0] {
            Some(gap) if gap > 0 => Ok(Windowing::Session { gap }),
            _ => Err("`gap` must be greater than zero".into()),
        },
    },
];

/// In how many windows a record may be. Each of them has its own groups, so many more would never fit anywhere.
const MOST_WINDOWS: i64 = 100_000;

fn fixed(size: Option<i64>, every: Option<i64>, offset: Option<i64>, period: &str) -> Result<Windowing, String> {
    let (size, every, offset) = (size.unwrap_or(0), every.unwrap_or(0), offset.unwrap_or(0));
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
    fn windows_order_by_end_then_start() {
        assert!(Window { end: 5, start: 4 } < Window { end: 6, start: 0 });
        assert!(Window { end: 6, start: 0 } < Window { end: 6, start: 1 });
    }

    #[test]
    fn gaps_between_windows_are_refused() {
        let hopping = &WINDOWS[1];
        assert!((hopping.build)(&[Some(10), Some(20), None]).is_err());
        assert_eq!(
            (hopping.build)(&[Some(20), Some(10), Some(3)]),
            Ok(Windowing::Fixed { size: 20, every: 10, offset: 3 })
        );
    }

    #[test]
    fn a_record_in_too_many_windows_is_refused() {
        let hopping = |size, every| (WINDOWS[1].build)(&[Some(size), Some(every), None]);
        assert!(hopping(700_000, 7).is_ok());
        assert!(hopping(700_001, 7).is_err_and(|reason| reason.contains("100,000")));
        assert!(hopping(i64::MAX, 1).is_err());
        assert!(hopping(i64::MAX, i64::MAX).is_ok());
    }
}
