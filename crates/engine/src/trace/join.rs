//! What became of rows at the sides of a join.

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;

use super::{Event, Fate, Ghosts, LeftOut, Name, Why, without_filter};
use crate::group::plain;
use crate::plan::{JoinTime, Work};
use crate::rows::{Batch, row_work};
use crate::task::Engine;
use crate::watermark::{is_late_for_point, is_late_for_window};
use crate::window::{Window, Windowing};

impl Engine {
    /// Tells which rows a side of a join took, window by window where it has some.
    pub(super) fn events_of_side(
        &self,
        step: usize,
        side: usize,
        rows: &Batch,
        left_out: Option<LeftOut<'_>>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) {
        let Work::Join(join) = &self.plan.steps[step].work else { unreachable!("only joins have sides") };
        let keys = join.on.iter().map(|key| {
            let column = rows.columns.column_by_name(&key.names[side]).expect("a side has the columns it is joined by");
            cast(&plain(column), &key.data_type.arrow()).expect("an integer widens")
        });
        let keys: Vec<ArrayRef> = keys.collect();
        let bytes = self.codecs[step].as_ref().expect("a join has a key codec").encode(&keys, rows.len());
        for row in 0..rows.len() as u32 {
            let has_null = keys.iter().any(|key| key.is_null(row as usize));
            let event = self.event(step, rows, row, Fate::Filtered, left_out);
            for (window, late_by) in places(join.time, &event) {
                let key = bytes.value(row as usize).to_vec();
                let fate = Fate::AtSide { side, key, has_null, window, late_by };
                visit(&Event { fate, ..event.clone() });
            }
        }
    }

    /// Takes the rows that came too late for a join through the steps that follow, each without a partner: whatever it
    /// would have met, what it brings itself says where the row would have gone.
    pub(super) fn haunt_late(
        &self,
        step: usize,
        side: usize,
        rows: &Batch,
        ghosts: &mut Vec<Ghosts>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) {
        let Work::Join(join) = &self.plan.steps[step].work else { unreachable!("only joins have sides") };
        for row in 0..rows.len() as u32 {
            let event = self.event(step, rows, row, Fate::Filtered, None);
            for (window, late_by) in places(join.time, &event) {
                let Some(by) = late_by else { continue };
                for alone in self.alone(step, side, &rows.take(&[row]), &[(0, window)]) {
                    let why = Why::Late(by, event.watermark);
                    self.haunt(step, self.after_join(step, &alone), (step, why), ghosts, visit);
                }
            }
        }
    }

    /// Returns rows of a side as the join would give them without partners, in all their windows.
    pub(super) fn all_alone(&self, step: usize, side: usize, rows: &Batch) -> Vec<Batch> {
        let Work::Join(join) = &self.plan.steps[step].work else { unreachable!("only joins have sides") };
        let of_row = |row: u32| {
            let event = self.event(step, rows, row, Fate::Filtered, None);
            places(join.time, &event).into_iter().map(move |(window, _)| (row, window))
        };
        let places: Vec<(u32, Option<Window>)> = (0..rows.len() as u32).flat_map(of_row).collect();
        self.alone(step, side, rows, &places)
    }

    /// Does the same in the given windows. A right row of an as-of join makes no row.
    fn alone(&self, step: usize, side: usize, rows: &Batch, places: &[(u32, Option<Window>)]) -> Vec<Batch> {
        let Work::Join(join) = &self.plan.steps[step].work else { unreachable!("only joins have sides") };
        if places.is_empty() || (side == 1 && matches!(join.time, JoinTime::AsOf { .. })) {
            return Vec::new();
        }
        self.join_alone(step, join, side, rows, places)
    }

    /// Does the row work of a join, without its filter, on rows that it did not give.
    pub(super) fn after_join(&self, step: usize, joined: &Batch) -> Batch {
        row_work(&without_filter(&self.plan.steps[step].rows), joined).0
    }
}

/// Returns the windows that a row belongs to in their order, or one place for a point in time, and by how much it is late
/// for each.
fn places(time: JoinTime, event: &Event<'_>) -> Vec<(Option<Window>, Option<i64>)> {
    let (at, watermark) = (event.event_time, event.watermark);
    let in_window = |window: Window| {
        let late_by = is_late_for_window(window.end, 0, watermark).then(|| watermark - window.end);
        (Some(window), late_by)
    };
    match time {
        JoinTime::Window(Windowing::Same) => match &event.name {
            Name::Row { window, .. } | Name::Joined { window: Some(window), .. } => vec![in_window(*window)],
            Name::Record { .. } | Name::Joined { window: None, .. } => Vec::new(),
        },
        JoinTime::Window(windowing) => windowing.windows(at).into_iter().rev().map(in_window).collect(),
        JoinTime::Within { .. } | JoinTime::AsOf { .. } => {
            vec![(None, is_late_for_point(at, 0, watermark).then(|| watermark - at))]
        }
    }
}
