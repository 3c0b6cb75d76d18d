//! State as tables: what a checkpoint keeps, and what a later process goes on from.
//!
//! A state is a set of parts, each of one step: the groups of a window, open sessions, rows that a side of a join
//! holds, ids that a partition remembers, these in buckets of time. A part is a table with typed columns, its rows in canonical
//! order; so it is a function of what was folded, not of how. Accumulators come as the states that [`crate::aggregate::Accumulator`]
//! merges: going on from a part is a merge into an empty state, and the law of merging is all that it needs.
//!
//! A part says whether it changed since the last snapshot, so that a checkpoint writes only what did.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;

use crate::aggregate::GroupId;
use crate::bucket::Bucket;
use crate::error::{Code, Error, Result};
use crate::fold::State;
use crate::group::KeyCodec;
use crate::join::SidePart;
use crate::log::Partition;
use crate::plan::{DedupPlan, WindowPlan, Work};
use crate::rows::named;
use crate::sessions::{Kept, SessionState};
use crate::state::{Table, WindowState};
use crate::task::Engine;
use crate::window::Window;

/// What a part of a state is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The step.
    pub step: String,
    /// The window whose groups or rows it holds.
    pub window: Option<Window>,
    /// The side of a join.
    pub side: Option<usize>,
    /// The source and partition whose ids it holds.
    pub partition: Option<(String, Partition)>,
    /// The times of its rows, where it is not of a window.
    pub bucket: Option<Bucket>,
    /// Which layer of the window's groups it is, if not the first: its groups are instead of those of the layers before.
    pub layer: Option<u32>,
    /// Which piece of the window it is, where pieces of it lie outside of the state (see [`crate::Spilled`]).
    pub piece: Option<u64>,
}

/// A part of a state.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is of.
    pub name: PartName,
    /// Its rows; None where it is as it was at the snapshot before.
    pub tables: Option<Vec<RecordBatch>>,
}

/// How finely snapshots cut a state into parts. No result depends on it, and one process may go on from what another one cut
/// otherwise: so tests take small numbers.
#[derive(Clone, Copy, Debug)]
pub struct Grain {
    /// A window with fewer groups than this is one part; one with more is written in layers.
    pub groups: usize,
    /// The most groups that a layer has.
    pub layer: usize,
    /// What is of no window is cut into buckets of time: two to this power microseconds is the shortest.
    pub bucket_bits: u32,
    /// The most buckets that there are, of few rows and of many; two at least.
    pub buckets: [usize; 2],
}

impl Default for Grain {
    fn default() -> Self {
        match cfg!(test) {
            true => Self { groups: 3, layer: 4, bucket_bits: 0, buckets: [8, 8] },
            false => Self { groups: 1 << 10, layer: 1 << 18, bucket_bits: 20, buckets: [8, 128] },
        }
    }
}

/// How many rows, and about how many bytes of keys, one table of a part holds at most.
const TABLE_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };
const TABLE_BYTES: usize = if cfg!(test) { 64 } else { 1 << 26 };

impl Engine {
    /// Returns the parts of a state, in the order of their names. Those that have not changed since the last snapshot come
    /// without rows. Asked for the whole, it returns all with their rows, and the next snapshot brings what it would have brought
    /// without that. The state must have been closed since it was last folded into.
    pub fn snapshot(&self, state: &mut State, whole: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let State { windows, joins, memories } = state;
        for (index, step) in self.plan.steps.iter().enumerate() {
            let name = PartName { step: step.name.clone(), ..PartName::default() };
            let Some(codec) = &self.codecs[index] else { continue };
            match (&mut windows[index], &mut joins[index], &step.work) {
                (Some(WindowState::Fixed(state)), _, Work::Window(window)) => {
                    state.restored();
                    for (at, table) in state.tables_mut() {
                        for (number, groups) in table.cut(whole, &self.grain) {
                            let tables = groups.map(|groups| some_groups(window, codec, table, groups).collect());
                            let layer = Some(number).filter(|number| *number > 0);
                            parts.push(Part { name: PartName { window: Some(*at), layer, ..name.clone() }, tables });
                        }
                    }
                }
                (Some(WindowState::Unique(state)), _, Work::Window(window)) => {
                    let codecs = self.uniques[index].as_ref().expect("ids that count once have codecs");
                    for (at, table) in state.tables_mut() {
                        let is_wanted = is_wanted(&mut table.saved, whole);
                        let tables = is_wanted.then(|| codecs.tables(window, table).collect());
                        parts.push(Part { name: PartName { window: Some(*at), ..name.clone() }, tables });
                    }
                }
                (Some(WindowState::Session(state)), _, Work::Window(window)) => {
                    for (bucket, sessions) in state.cut(whole, &self.grain) {
                        let tables = sessions.map(|sessions| {
                            let sizes = sessions.iter().map(|kept| state.key_of_kept(kept).len());
                            ranges(sizes).map(|range| session_rows(window, codec, state, &sessions[range])).collect()
                        });
                        parts.push(Part { name: PartName { bucket: Some(bucket), ..name.clone() }, tables });
                    }
                }
                (_, Some(state), Work::Join(join)) => {
                    for SidePart { window, bucket, side, tables } in state.snapshot(join, codec, whole, &self.grain) {
                        parts
                            .push(Part { name: PartName { window, bucket, side: Some(side), ..name.clone() }, tables });
                    }
                }
                _ => {}
            }
        }
        for ((source, partition), memory) in memories {
            for (index, seen) in memory.steps() {
                let (step, codec) = (&self.plan.steps[index], &self.codecs[index]);
                let (Work::Dedup(dedup), Some(codec)) = (&step.work, codec) else {
                    unreachable!("only dedup steps remember ids")
                };
                let partition = Some((self.plan.sources[*source].name.clone(), *partition));
                let name = PartName { step: step.name.clone(), partition, ..PartName::default() };
                for (bucket, ids) in seen.cut(whole, &self.grain) {
                    let tables = ids.map(|ids| {
                        let sizes = ids.iter().map(|(id, _)| id.len());
                        ranges(sizes).map(|range| id_rows(dedup, codec, &ids[range])).collect()
                    });
                    parts.push(Part { name: PartName { bucket: Some(bucket), ..name.clone() }, tables });
                }
            }
        }
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        parts
    }

    /// Returns the state that has these parts, each with its rows; they come in the order of their names, the last one first.
    /// One that does not fit the plan is an error.
    pub fn restore(&self, parts: impl IntoIterator<Item = Part>) -> Result<State> {
        let mut state = self.empty();
        for part in parts {
            self.restore_into(&mut state, &part)?;
        }
        Ok(state)
    }

    /// Takes a part into a state.
    pub(crate) fn restore_into(&self, state: &mut State, part: &Part) -> Result<()> {
        let step = self.plan.steps.iter().position(|step| step.name == part.name.step);
        step.and_then(|index| self.restore_part(index, part, state)).ok_or_else(|| {
            let message = format!("a part of the state of step `{}` does not fit the pipeline", part.name.step);
            Error::new(Code::Corrupt, message)
        })
    }

    /// Returns the table of a part of that name, without a row; None: a state has no such part.
    pub(crate) fn empty_rows(&self, index: usize, name: &PartName) -> Option<RecordBatch> {
        let codec = self.codecs[index].as_ref()?;
        Some(match (&self.plan.steps[index].work, &self.empty().windows[index]) {
            (Work::Window(window), Some(WindowState::Fixed(_))) => {
                group_rows(window, codec, &Table::new(&window.calls), &[])
            }
            (Work::Window(window), Some(WindowState::Session(state))) => session_rows(window, codec, state, &[]),
            (Work::Window(window), Some(WindowState::Unique(_))) => self.uniques[index].as_ref()?.empty_rows(window),
            (Work::Join(join), _) => crate::join::empty_rows(join, codec, name.side?),
            (Work::Dedup(dedup), _) => id_rows(dedup, codec, &[]),
            _ => return None,
        })
    }

    /// Takes in a part; None: it does not fit.
    fn restore_part(&self, index: usize, part: &Part, state: &mut State) -> Option<()> {
        let codec = self.codecs[index].as_ref()?;
        let tables = part.tables.as_deref()?;
        match &self.plan.steps[index].work {
            Work::Window(window) => match (state.windows[index].as_mut()?, part.name.window) {
                (WindowState::Fixed(state), Some(at)) => {
                    let layer = part.name.layer.unwrap_or(0);
                    // Numbers are given one after the other, so this one was not.
                    if layer > i32::MAX as u32 {
                        return None;
                    }
                    let expected = group_rows(window, codec, &Table::new(&window.calls), &[]);
                    for rows in tables {
                        let columns = fitting(rows, &expected)?;
                        let (keys, calls) = columns.split_at(window.keys.len());
                        let keys = codec.encode(keys, rows.num_rows());
                        let place = (at, layer, part.name.piece.is_some());
                        state.restore(place, keys, calls, window, &self.hasher);
                    }
                }
                (WindowState::Unique(state), Some(at)) => {
                    let codecs = self.uniques[index].as_ref()?;
                    let table = state.table(at);
                    let is_saved = part.name.piece.is_none() && (table.saved || table.len() == 0);
                    for rows in tables {
                        codecs.restore(window, rows, table, &self.hasher)?;
                    }
                    table.saved = is_saved;
                }
                (WindowState::Session(state), None) => {
                    state.unite(&window.calls, &self.hasher);
                    let expected = session_rows(window, codec, state, &[]);
                    for rows in tables {
                        let columns = fitting(rows, &expected)?;
                        let (keys, rest) = columns.split_at(window.keys.len());
                        fits_bucket(part.name.bucket, times(&rest[1]))?;
                        let bounds = times(&rest[0]).iter().copied().zip(times(&rest[1]).iter().copied());
                        let keys = codec.encode(keys, rows.num_rows());
                        state.restore(part.name.bucket, &keys, bounds, &rest[2..], &self.hasher);
                    }
                }
                _ => return None,
            },
            Work::Join(join) => {
                let state = state.joins[index].as_mut()?;
                state.restore(join, codec, &part.name, tables, &self.hasher)?;
            }
            Work::Dedup(dedup) => {
                let (source, partition) = part.name.partition.as_ref()?;
                let source = self.plan.sources.iter().position(|of| of.name == *source)?;
                let expected = id_rows(dedup, codec, &[]);
                let mut memory = state.take_memory(source, *partition);
                for rows in tables {
                    let columns = fitting(rows, &expected)?;
                    let (lasts, ids) = columns.split_last()?;
                    fits_bucket(part.name.bucket, times(lasts))?;
                    memory.restore(index, part.name.bucket, &codec.encode(ids, rows.num_rows()), times(lasts));
                }
                state.put_memory(source, *partition, memory);
            }
            Work::Rows | Work::Lookup(_) => return None,
        }
        Some(())
    }
}

/// The groups of a window in canonical order, cut into tables.
pub(crate) fn group_tables(window: &WindowPlan, codec: &KeyCodec, table: &Table) -> impl Iterator<Item = RecordBatch> {
    some_groups(window, codec, table, table.groups.sorted())
}

fn some_groups(
    window: &WindowPlan,
    codec: &KeyCodec,
    table: &Table,
    groups: Vec<GroupId>,
) -> impl Iterator<Item = RecordBatch> {
    let sizes: Vec<usize> = groups.iter().map(|group| table.groups.key(*group).len()).collect();
    ranges(sizes.into_iter()).map(move |range| group_rows(window, codec, table, &groups[range]))
}

/// Groups of a window: keys, then the state of each call.
fn group_rows(window: &WindowPlan, codec: &KeyCodec, table: &Table, groups: &[GroupId]) -> RecordBatch {
    let keys = codec.decode(groups.iter().map(|group| table.groups.key(*group)));
    let mut columns = with_names(&window.keys, keys);
    columns.extend(call_columns(table.accumulators.calls().map(|call| call.state(groups))));
    named(columns, groups.len())
}

/// Open sessions: keys, first and last record, then the state of each call.
fn session_rows(window: &WindowPlan, codec: &KeyCodec, state: &SessionState, sessions: &[Kept]) -> RecordBatch {
    let keys = codec.decode(sessions.iter().map(|kept| state.key_of_kept(kept)));
    let mut columns = with_names(&window.keys, keys);
    columns.push(("_first".into(), timestamps(sessions.iter().map(|(.., session)| session.first))));
    columns.push(("_last".into(), timestamps(sessions.iter().map(|(.., session)| session.last))));
    columns.extend(call_columns(state.states(sessions)));
    named(columns, sessions.len())
}

/// Ids that a partition remembers: the id, and the largest event time of its rows.
fn id_rows(dedup: &DedupPlan, codec: &KeyCodec, ids: &[(&[u8], i64)]) -> RecordBatch {
    let mut columns = with_names(&dedup.keys, codec.decode(ids.iter().map(|(id, _)| *id)));
    columns.push(("_last".into(), timestamps(ids.iter().map(|(_, last)| *last))));
    named(columns, ids.len())
}

/// Returns the states of calls by their names: columns `#CALL.NUMBER`.
fn call_columns(states: impl IntoIterator<Item = Vec<ArrayRef>>) -> Vec<(String, ArrayRef)> {
    let columns = states.into_iter().enumerate().flat_map(|(call, state)| {
        state.into_iter().enumerate().map(move |(number, column)| (format!("#{call}.{number}"), column))
    });
    columns.collect()
}

/// Returns whether what may be saved as it is must come with its rows; it counts as saved from now on, unless the whole is asked for.
pub(crate) fn is_wanted(saved: &mut bool, whole: bool) -> bool {
    whole || !std::mem::replace(saved, true)
}

/// Gives columns the names of the expressions that they are values of.
pub(crate) fn with_names<T>(names: &[(String, T)], columns: Vec<ArrayRef>) -> Vec<(String, ArrayRef)> {
    names.iter().map(|(name, _)| name.clone()).zip(columns).collect()
}

pub(crate) fn timestamps(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Returns the values of a column that [`timestamps`] made.
pub(crate) fn times(column: &ArrayRef) -> &[i64] {
    column.as_primitive::<TimestampMicrosecondType>().values()
}

/// Returns something if rows of these times can be in a bucket.
pub(crate) fn fits_bucket(bucket: Option<Bucket>, times: &[i64]) -> Option<()> {
    bucket.is_none_or(|bucket| bucket.bits < 64 && times.iter().all(|time| bucket.has(*time))).then_some(())
}

/// Cuts rows into ranges that are bounded in number and bytes of keys, given the bytes of each.
pub(crate) fn ranges(sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = Range<usize>> {
    let mut sizes = sizes.enumerate().peekable();
    std::iter::from_fn(move || {
        let (start, mut bytes) = sizes.next()?;
        let mut end = start + 1;
        while let Some((_, size)) = sizes.next_if(|(row, size)| row - start < TABLE_ROWS && bytes + size <= TABLE_BYTES)
        {
            bytes += size;
            end += 1;
        }
        Some(start..end)
    })
}

/// Returns the columns of a table if it has the names and types of another.
pub(crate) fn fitting<'a>(rows: &'a RecordBatch, expected: &RecordBatch) -> Option<&'a [ArrayRef]> {
    let (found, wanted) = (rows.schema(), expected.schema());
    let fits = found.fields().len() == wanted.fields().len()
        && found
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(found, wanted)| found.name() == wanted.name() && found.data_type() == wanted.data_type());
    fits.then(|| rows.columns())
}
