//! Where the rows of a batch go: which windows take each in, and which rows are late.
//!
//! Windows that a time falls into end one after the other, and a late row still goes to those that end last. So the last window
//! and a count name them all, and rows with the same name are a *pane*: a row is put down once, in however many windows it is. With
//! closings beside the reading, and integers written as differences, that saved 22 % of the CPU time of `hops` (`benches/peers.py batch`,
//! two builds in turn).

use std::ops::Range;

use hashbrown::HashMap;

use crate::rows::{Batch, Failures, Identity};
use crate::watermark::{NEVER, is_late_for_point, is_late_for_window};
use crate::window::{Finder, Window, Windowing};

/// About how many pairs of a row and a window of it are held at once; each takes four bytes and more.
pub(crate) const PAIRS: usize = if cfg!(test) { 16 } else { 1 << 22 };

/// Returns how many rows of a batch to place at once, so that a row in very many windows does not take very much memory.
pub(crate) fn rows_at_once(finder: &Finder) -> usize {
    (PAIRS / finder.most() as usize).max(1)
}

/// Returns the rows of a batch in slices that are placed one after the other.
pub(crate) fn slices(rows: &Batch, finder: &Finder) -> impl Iterator<Item = Range<u32>> + use<> {
    let (at_once, rows) = (rows_at_once(finder) as u32, rows.len() as u32);
    (0..rows).step_by(at_once as usize).map(move |start| start..start.saturating_add(at_once).min(rows))
}

/// Windows of one step that hold the same rows: so many, of which this one ends last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pane {
    pub(crate) last: Window,
    pub(crate) count: u32,
}

impl Pane {
    /// Returns the windows, the one that ends last first.
    pub(crate) fn windows(self, windowing: Windowing) -> impl Iterator<Item = Window> {
        let (start, end) = windowing.strides();
        (0..i64::from(self.count))
            .map(move |before| Window { start: self.last.start - before * start, end: self.last.end - before * end })
    }
}

/// Where the rows of a batch go.
#[derive(Default)]
pub(crate) struct Placed {
    /// Fixed windows: the rows of the slice at hand, pane by pane.
    pub(crate) panes: Vec<(Pane, Vec<u32>)>,
    /// The place of each pane in `panes`, kept when they are many.
    places: HashMap<Pane, usize>,
    /// Sessions: the rows that are in time.
    pub(crate) accepted: Vec<u32>,
    /// Rows late for every window of theirs, and by how many microseconds for the last.
    pub(crate) late: Vec<(u32, i64)>,
}

impl Placed {
    /// Finds the fixed windows of a slice.
    pub(crate) fn place(
        &mut self,
        rows: &Batch,
        slice: Range<u32>,
        allowed: i64,
        finder: &mut Finder,
        failures: &Failures,
    ) {
        self.panes.clear();
        self.places.clear();
        match finder.windowing {
            Windowing::Fixed { .. } | Windowing::Cumulative { .. } | Windowing::Calendar { .. } => {
                self.fixed(rows, slice, allowed, finder, failures)
            }
            Windowing::Same => self.same(rows, slice, failures),
            Windowing::Session { .. } => unreachable!("sessions have windows of their own"),
        }
    }

    /// Takes out the rows of each window.
    pub(crate) fn by_window(&mut self, windowing: Windowing) -> Vec<(Window, Vec<u32>)> {
        let mut windows: Vec<(Window, Vec<u32>)> = Vec::new();
        let mut places = HashMap::new();
        for (pane, mut rows) in self.panes.drain(..) {
            for window in pane.windows(windowing) {
                let place = *places.entry(window).or_insert(windows.len());
                match windows.get_mut(place) {
                    Some((_, known)) => known.extend_from_slice(&rows),
                    None if pane.count == 1 => windows.push((window, std::mem::take(&mut rows))),
                    None => windows.push((window, rows.clone())),
                }
            }
        }
        windows
    }

    fn fixed(&mut self, rows: &Batch, slice: Range<u32>, allowed: i64, finder: &mut Finder, failures: &Failures) {
        let judged = !rows.origin.watermarks.is_empty();
        let mut found = Vec::new();
        // The times that fall into the windows of the row before, where the one that ends first does, and the pane.
        let mut recent = None;
        for row in slice {
            if !failures.is_empty() && failures.contains_key(&row) {
                continue;
            }
            let time = rows.event_time(row);
            let watermark = if judged { rows.watermark(row) } else { NEVER };
            // A row mostly falls into the windows of the row before, and is in time for all of them.
            if let Some(((from, to, end), place)) = recent
                && from <= time
                && time < to
                && !is_late_for_window(end, allowed, watermark)
            {
                let (_, rows): &mut (Pane, Vec<u32>) = &mut self.panes[place];
                rows.push(row);
                continue;
            }
            finder.windows(time, &mut found);
            // The one that ends last is first.
            let count = found.partition_point(|window| !is_late_for_window(window.end, allowed, watermark));
            if count == 0 {
                self.late.push((row, watermark - (found[0].end + allowed)));
                recent = None;
                continue;
            }
            let place = self.push(Pane { last: found[0], count: count as u32 }, row);
            recent = finder.same_times(&found).filter(|_| count == found.len()).map(|times| (times, place));
        }
    }

    fn same(&mut self, rows: &Batch, slice: Range<u32>, failures: &Failures) {
        let Identity::Windows { starts, ends, .. } = &rows.origin.identity else {
            unreachable!("`same` reads window rows")
        };
        for row in slice.filter(|row| !failures.contains_key(row)) {
            let origin = rows.origin_of(row) as usize;
            self.push(Pane { last: Window { start: starts[origin], end: ends[origin] }, count: 1 }, row);
        }
    }

    /// Finds which rows are in time for a session or a join by time.
    pub(crate) fn points(&mut self, rows: &Batch, allowed: i64, failures: &Failures) {
        let judged = !rows.origin.watermarks.is_empty();
        for row in (0..rows.len() as u32).filter(|row| !failures.contains_key(row)) {
            let time = rows.event_time(row);
            let watermark = if judged { rows.watermark(row) } else { NEVER };
            if is_late_for_point(time, allowed, watermark) {
                self.late.push((row, watermark - (time + allowed)));
            } else {
                self.accepted.push(row);
            }
        }
    }

    /// Puts a row into a pane and returns the pane's place.
    fn push(&mut self, pane: Pane, row: u32) -> usize {
        // The panes of a batch are mostly few, and the wanted one among the last.
        const FEW: usize = 16;
        let tail = self.panes.len().saturating_sub(FEW);
        let near = self.panes[tail..].iter().rposition(|(known, _)| *known == pane).map(|place| tail + place);
        let place = near.or_else(|| self.places.get(&pane).copied()).unwrap_or_else(|| {
            self.panes.push((pane, Vec::new()));
            self.places.insert(pane, self.panes.len() - 1);
            self.panes.len() - 1
        });
        self.panes[place].1.push(row);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{self, Unit};

    #[test]
    fn a_pane_names_the_windows_that_a_time_falls_into() {
        let kinds = [
            Windowing::Fixed { size: 10, every: 10, offset: 3 },
            Windowing::Fixed { size: 10, every: 3, offset: 1 },
            Windowing::Fixed { size: 9, every: 3, offset: 0 },
            Windowing::Cumulative { size: 12, step: 3, offset: 5 },
            Windowing::Calendar { unit: Unit::Day, zone: calendar::zone("Europe/Berlin").unwrap() },
        ];
        for windowing in kinds {
            let mut finder = Finder::new(windowing);
            let mut found = Vec::new();
            for time in -40..40 {
                finder.windows(time, &mut found);
                for count in 1..=found.len() {
                    let pane = Pane { last: found[0], count: count as u32 };
                    assert!(pane.windows(windowing).eq(found[..count].iter().copied()), "{windowing:?}: {time}");
                }
            }
        }
    }
}
