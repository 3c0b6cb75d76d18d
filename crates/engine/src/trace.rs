//! Traces: what became of every row at every step, for questions that people ask afterwards.
//!
//! A traced chunk is folded like any other, by the same functions; the steps only note the rows they were given and the
//! rows they made. [`Engine::events`] reads the notes: what was filtered, failed or repeated, which windows took a row and
//! for which it was late. On request it also follows rows that were left out on the way, as if they had not been, so that
//! it can be said which result they are missing from.

mod join;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};

use crate::error::Result;
use crate::fold::State;
use crate::group::{canonical, plain};
use crate::log::{Chunk, Offset, Partition};
use crate::plan::{Input, LookupPlan, OnBroken, OnMissing, RowWork, WindowPlan, Work};
use crate::rows::{Batch, Failures, Identity, Maker, evaluate_filter, evaluate_plain, exploded, row_work};
use crate::task::{Engine, Folded};
use crate::watermark::{NEVER, is_late_for_point, is_late_for_window};
use crate::window::{Window, Windowing};
use crate::{Closed, Closing, DataType};

/// The notes of one chunk, or of one closing.
#[derive(Clone, Default)]
pub struct Trace {
    /// The valid records.
    records: Option<(usize, Batch)>,
    notes: Vec<Note>,
}

/// What a step was given and made of it.
#[derive(Clone)]
struct Note {
    step: usize,
    /// The side of a join that was given the rows.
    side: Option<usize>,
    /// Whether they are rows of a join that it does not give, because they have no partner.
    has_met_nothing: bool,
    /// The rows it was given; None where they were noted before.
    input: Option<Batch>,
    /// The rows after row work; at the memory of a `dedup`, those that met it.
    rows: Batch,
    failed: Vec<(u32, String)>,
    /// At the memory of a `dedup`: ids, and which rows were let through, ascending.
    deduped: Option<(BinaryArray, Vec<u32>)>,
}

impl Note {
    fn of(step: usize, rows: Batch) -> Self {
        Self { step, side: None, has_met_nothing: false, input: None, rows, failed: Vec::new(), deduped: None }
    }
}

impl Trace {
    /// Notes what a step was given and what its row work made of it.
    pub(crate) fn note(&mut self, step: usize, input: &Batch, rows: &Batch, failed: &[(u32, String)]) {
        let (input, failed) = (Some(input.clone()), failed.to_vec());
        self.notes.push(Note { input, failed, ..Note::of(step, rows.clone()) });
    }

    /// Notes what a side of a join was given.
    pub(crate) fn note_side(&mut self, step: usize, side: usize, rows: &Batch) {
        let (rows, side) = (rows.clone(), Some(side));
        self.notes.push(Note { side, ..Note::of(step, rows) });
    }

    /// Notes the rows that a join does not give because they have no partner.
    pub(crate) fn note_unmet(&mut self, step: usize, rows: Batch) {
        self.notes.push(Note { has_met_nothing: true, ..Note::of(step, rows) });
    }

    /// Notes what a step let through of the rows that met its partition's memory.
    pub(crate) fn note_deduped(&mut self, step: usize, inputs: &[(Batch, BinaryArray)], kept: &[Vec<u32>]) {
        for ((rows, ids), kept) in inputs.iter().zip(kept) {
            let mut kept = kept.clone();
            kept.sort_unstable();
            let deduped = Some((ids.clone(), kept));
            self.notes.push(Note { deduped, ..Note::of(step, rows.clone()) });
        }
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("notes", &self.notes.len()).finish_non_exhaustive()
    }
}

/// What names a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A record.
    Record {
        /// Its source.
        source: usize,
        /// Its partition.
        partition: Partition,
        /// Its offset.
        offset: Offset,
        /// Which element of its record it is, if it was exploded.
        index: Option<i64>,
    },
    /// A row of a window.
    Row {
        /// The window step that made it.
        step: usize,
        /// Its window.
        window: Window,
        /// Its key, as ordered bytes of that step.
        key: Vec<u8>,
        /// Which element it is, for each time that it was exploded.
        indices: Vec<i64>,
    },
    /// A row of a join.
    Joined {
        /// The join that made it.
        step: usize,
        /// Its window; None: it is in none.
        window: Option<Window>,
        /// What it is made of.
        pair: Pair,
        /// Which element it is, for each time that it was exploded.
        indices: Vec<i64>,
    },
}

/// The left and the right row that a joined row is made of; None: there is none on that side.
pub type Pair = Arc<[Option<Name>; 2]>;

impl Name {
    /// Returns whether that record, or an element of it, is in it.
    pub fn holds(&self, record: (usize, Partition, Offset)) -> bool {
        match self {
            Name::Record { source, partition, offset, .. } => (*source, *partition, *offset) == record,
            Name::Row { .. } => false,
            Name::Joined { pair, .. } => pair.iter().flatten().any(|part| part.holds(record)),
        }
    }
}

/// What became of a row at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a valid record. (The step has no meaning then.)
    Read,
    /// Its `where` was not true.
    Filtered,
    /// An expression failed.
    Failed(String),
    /// It repeats an earlier row of its partition with this id.
    Repeated(Vec<u8>),
    /// It went on to the step's readers; at a `dedup` with this id.
    Passed(Option<Vec<u8>>),
    /// It belongs to a window.
    InWindow {
        /// The window.
        window: Window,
        /// The key.
        key: Vec<u8>,
        /// By how many microseconds it was late for the window; None: the window took it.
        late_by: Option<i64>,
        /// The id of which only the first copy in the window counts, with `unique_by`.
        id: Option<Vec<u8>>,
    },
    /// It belongs to a session at its event time.
    InSession {
        /// The key.
        key: Vec<u8>,
        /// By how many microseconds it was late; None: it was taken.
        late_by: Option<i64>,
    },
    /// It came to a side of a join.
    AtSide {
        /// The side: 0 is the left one, 1 the right one.
        side: usize,
        /// Its key, as ordered bytes; a null in it is equal to nothing.
        key: Vec<u8>,
        /// Whether a null is in the key.
        has_null: bool,
        /// The window that it belongs to, of window joins.
        window: Option<Window>,
        /// By how many microseconds it was late; None: it was taken.
        late_by: Option<i64>,
    },
}

/// What became of one row at one step.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The step.
    pub step: usize,
    /// The row.
    pub name: Name,
    /// Its event time, in microseconds.
    pub event_time: i64,
    /// `W` before the record, [`NEVER`] at first and over window rows.
    pub watermark: i64,
    /// What became of it.
    pub fate: Fate,
    /// For a row that was left out on its way here, and is followed as if it had not been: at which step, and why.
    pub left_out: Option<LeftOut<'a>>,
    /// The columns that the step saw, and the row's number there.
    pub columns: (&'a RecordBatch, usize),
}

/// At which step a row was left out, and why.
pub type LeftOut<'a> = (usize, &'a Why);

/// Why a row was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was filtered, as this says.
    Filtered(String),
    /// It was kept aside, for this reason.
    KeptAside(String),
    /// It repeats an earlier row.
    Repeated,
    /// It was late for a join: by how many microseconds, and what the watermark was before it.
    Late(i64, i64),
    /// It met no row in a join that gives pairs only.
    MetNothing,
}

/// Rows that were left out.
struct Ghosts {
    /// The step that they come out of, as far as they are concerned.
    step: usize,
    batch: Batch,
    /// Where they were left out, and why.
    left_out: (usize, Why),
}

impl Engine {
    /// Folds the next chunk of a partition as [`Engine::fold`] does, with notes.
    pub fn fold_traced(&self, source: usize, chunk: &Chunk, maximum: i64, state: &mut State) -> (Folded, Trace) {
        let mut folding = self.begin(source, chunk, maximum);
        folding.trace(Trace::default());
        let records = folding.records().cloned();
        let mut folded = self.go_on(folding, source, chunk.partition, state);
        let mut trace = folded.trace.take().unwrap_or_default();
        trace.records = records.map(|records| (source, records));
        (folded, trace)
    }

    /// Closes what is final, with notes of the rows that steps over windows read.
    pub fn close_traced(&self, frontiers: &[i64], state: &mut State) -> Result<(Closed, Trace)> {
        let mut closed = self.close_steps(state, Some(frontiers), true, Closing::default(), Some(Trace::default()))?;
        let trace = closed.trace.take().unwrap_or_default();
        Ok((closed, trace))
    }

    /// Closes everything as if the log ended here, with notes.
    pub fn finish_traced(&self, mut state: State) -> Result<(Closed, Trace)> {
        let mut closed = self.close_steps(&mut state, None, false, Closing::default(), Some(Trace::default()))?;
        let trace = closed.trace.take().unwrap_or_default();
        Ok((closed, trace))
    }

    /// Tells what became of each row that was noted, step by step. `follow` also follows what was left out.
    pub fn events(&self, trace: &Trace, follow: bool, visit: &mut dyn FnMut(&Event<'_>)) {
        if let Some((_, records)) = &trace.records {
            for row in 0..records.len() as u32 {
                visit(&self.event(0, records, row, Fate::Read, None));
            }
        }
        let mut ghosts: Vec<Ghosts> = Vec::new();
        for note in &trace.notes {
            match (&note.deduped, note.side) {
                (Some(deduped), _) => self.events_of_dedup(note, deduped, follow, &mut ghosts, visit),
                (None, Some(side)) => {
                    self.events_of_side(note.step, side, &note.rows, None, visit);
                    if follow {
                        self.haunt_late(note.step, side, &note.rows, &mut ghosts, visit);
                    }
                }
                (None, None) if note.has_met_nothing => {
                    if follow {
                        let rows = self.after_join(note.step, &note.rows);
                        self.haunt(note.step, rows, (note.step, Why::MetNothing), &mut ghosts, visit);
                    }
                }
                (None, None) => self.events_of_step(note, follow, &mut ghosts, visit),
            }
        }
        self.follow(ghosts, visit);
    }

    /// Returns what names a row.
    pub(crate) fn name(&self, batch: &Batch, row: u32) -> Name {
        let row = batch.origin_of(row) as usize;
        let maker = || batch.origin.made_by.as_ref().expect("rows that are no records have been made");
        let pair = |maker: &Maker| maker.pairs.get(row).cloned().unwrap_or_default();
        match &batch.origin.identity {
            Identity::Records { partition, offsets, indices } => Name::Record {
                source: batch.origin.source,
                partition: *partition,
                offset: offsets[row],
                index: indices.as_ref().map(|indices| indices[row]),
            },
            Identity::Windows { starts, ends, keys } => {
                let (maker, window) = (maker(), Window { start: starts[row], end: ends[row] });
                let (key, indices) = without_indices(keys.value(row), maker.explosions);
                match batch.origin.of_join {
                    true => Name::Joined { step: maker.step, window: Some(window), pair: pair(maker), indices },
                    false => Name::Row { step: maker.step, window, key, indices },
                }
            }
            Identity::Pairs { orders } => {
                let maker = maker();
                let (_, indices) = without_indices(orders.value(row), maker.explosions);
                Name::Joined { step: maker.step, window: None, pair: pair(maker), indices }
            }
        }
    }

    fn event<'a>(
        &self,
        step: usize,
        batch: &'a Batch,
        row: u32,
        fate: Fate,
        left_out: Option<LeftOut<'a>>,
    ) -> Event<'a> {
        let name = self.name(batch, row);
        let watermark = if batch.origin.watermarks.is_empty() { NEVER } else { batch.watermark(row) };
        let columns = (&batch.columns, row as usize);
        Event { step, name, event_time: batch.event_time(row), watermark, fate, left_out, columns }
    }

    fn events_of_step(&self, note: &Note, follow: bool, ghosts: &mut Vec<Ghosts>, visit: &mut dyn FnMut(&Event<'_>)) {
        let step = &self.plan.steps[note.step];
        if let Some(input) = &note.input {
            for (row, why) in &note.failed {
                visit(&self.event(note.step, input, *row, Fate::Failed(why.clone()), None));
            }
            let filtered = left_out(input, &note.rows, &note.failed);
            for row in &filtered {
                visit(&self.event(note.step, input, *row, Fate::Filtered, None));
            }
            if follow && !filtered.is_empty() {
                let why = step.rows.filter.as_ref().map_or_else(String::new, |filter| format!("where {filter}"));
                let (batch, _) = row_work(&without_filter(&step.rows), &input.take(&filtered));
                self.haunt(note.step, batch, (note.step, Why::Filtered(why)), ghosts, visit);
            }
        }
        let rows = self.events_of_rules(note, follow, ghosts, visit);
        match &step.work {
            Work::Rows | Work::Join(_) => {
                for row in 0..rows.len() as u32 {
                    visit(&self.event(note.step, &rows, row, Fate::Passed(None), None));
                }
            }
            Work::Lookup(lookup) => {
                let found = self.look_up(note.step, lookup, &rows, &mut Vec::new());
                for row in 0..found.len() as u32 {
                    visit(&self.event(note.step, &found, row, Fate::Passed(None), None));
                }
                let missing = left_out(&rows, &found, &[]);
                let why = format!("lookup: {} has no row of this key", lookup.file);
                for row in &missing {
                    let fate = match lookup.missing {
                        OnMissing::Quarantine => Fate::Failed(why.clone()),
                        OnMissing::Drop | OnMissing::Null => Fate::Filtered,
                    };
                    visit(&self.event(note.step, &rows, *row, fate, None));
                }
                if follow && !missing.is_empty() {
                    let why = match lookup.missing {
                        OnMissing::Quarantine => Why::KeptAside(why),
                        OnMissing::Drop | OnMissing::Null => Why::Filtered(why),
                    };
                    self.haunt(note.step, rows.take(&missing), (note.step, why), ghosts, visit);
                }
            }
            // What is let through is noted when it has met the memory.
            Work::Dedup(_) => {}
            Work::Window(window) => self.events_of_window(note.step, window, &rows, None, visit),
        }
    }

    /// Tells which rows broke a rule of the step, and returns the others.
    fn events_of_rules(
        &self,
        note: &Note,
        follow: bool,
        ghosts: &mut Vec<Ghosts>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) -> Batch {
        let step = &self.plan.steps[note.step];
        let kept = self.check_rules(note.step, step, note.rows.clone(), &mut Vec::new(), &mut Vec::new());
        for row in left_out(&note.rows, &kept, &[]) {
            let alone = note.rows.take(&[row]);
            // A row of which some rule cannot be computed broke none.
            let mut failures = Failures::new();
            let mut broken = None;
            for rule in &step.rules {
                let holds = evaluate_filter(&rule.expr, &alone.columns, &mut failures);
                if holds.is_null(0) || !holds.value(0) {
                    broken = broken.or(Some(rule));
                }
            }
            let (why, is_dropped) = match (failures.into_values().next(), broken) {
                (Some(failure), _) => (failure, false),
                (None, Some(rule)) => {
                    let why = format!("check {}: {} is not true", rule.name, rule.expr);
                    (why, rule.otherwise == OnBroken::Drop)
                }
                (None, None) => unreachable!("a row that was left out broke a rule or failed"),
            };
            visit(&self.event(note.step, &note.rows, row, Fate::Failed(why.clone()), None));
            if follow {
                let why = if is_dropped { Why::Filtered(why) } else { Why::KeptAside(why) };
                self.haunt(note.step, alone, (note.step, why), ghosts, visit);
            }
        }
        kept
    }

    fn events_of_dedup(
        &self,
        note: &Note,
        (ids, kept): &(BinaryArray, Vec<u32>),
        follow: bool,
        ghosts: &mut Vec<Ghosts>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) {
        let mut next = kept.iter().peekable();
        let mut repeated = Vec::new();
        for row in 0..note.rows.len() as u32 {
            let id = ids.value(row as usize).to_vec();
            let fate = match next.next_if_eq(&&row) {
                Some(_) => Fate::Passed(Some(id)),
                None => {
                    repeated.push(row);
                    Fate::Repeated(id)
                }
            };
            visit(&self.event(note.step, &note.rows, row, fate, None));
        }
        if follow && !repeated.is_empty() {
            let batch = note.rows.take(&repeated);
            ghosts.push(Ghosts { step: note.step, batch, left_out: (note.step, Why::Repeated) });
        }
    }

    /// Tells which windows rows belong to.
    fn events_of_window(
        &self,
        step: usize,
        window: &WindowPlan,
        rows: &Batch,
        left_out: Option<LeftOut<'_>>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) {
        if rows.len() == 0 {
            return;
        }
        let mut failures = Failures::new();
        let values = |exprs: &mut dyn Iterator<Item = &crate::expr::Expr>, failures: &mut Failures| -> Vec<ArrayRef> {
            exprs.map(|expr| canonical(&evaluate_plain(expr, &rows.columns, failures))).collect()
        };
        let keys = values(&mut window.keys.iter().map(|(_, expr)| expr), &mut failures);
        // An argument that fails keeps the row out of its windows too.
        values(&mut window.calls.iter().flat_map(|call| &call.arguments), &mut failures);
        let ids = values(&mut window.unique_by.iter().map(|(_, expr)| expr), &mut failures);
        let ids = self.uniques[step].as_ref().map(|codecs| codecs.ids.encode(&ids, rows.len()));
        let codec = self.codecs[step].as_ref().expect("a window step has a key codec");
        let keys = codec.encode(&keys, rows.len());
        for row in 0..rows.len() as u32 {
            if let Some(why) = failures.get(&row) {
                if left_out.is_none() {
                    visit(&self.event(step, rows, row, Fate::Failed(why.clone()), None));
                }
                continue;
            }
            let key = keys.value(row as usize);
            let event = self.event(step, rows, row, Fate::Filtered, left_out);
            let id = ids.as_ref().map(|ids| ids.value(row as usize));
            for fate in fates(window, &event, key, id) {
                visit(&Event { fate, ..event.clone() });
            }
        }
    }

    /// Tells which windows rows that were left out would have belonged to, or keeps them for the steps that follow.
    fn haunt(
        &self,
        step: usize,
        batch: Batch,
        left_out: (usize, Why),
        ghosts: &mut Vec<Ghosts>,
        visit: &mut dyn FnMut(&Event<'_>),
    ) {
        match &self.plan.steps[step].work {
            Work::Window(window) => self.events_of_window(step, window, &batch, Some((left_out.0, &left_out.1)), visit),
            // The step's readers ask for the columns that it would have added.
            Work::Lookup(lookup) => {
                let batch = self.look_up(step, &with_nulls(lookup), &batch, &mut Vec::new());
                ghosts.push(Ghosts { step, batch, left_out });
            }
            // Of a join it is a row that its row work left out.
            Work::Rows | Work::Dedup(_) | Work::Join(_) => ghosts.push(Ghosts { step, batch, left_out }),
        }
    }

    /// Takes rows that were left out through the steps that they would have come to.
    fn follow(&self, ghosts: Vec<Ghosts>, visit: &mut dyn FnMut(&Event<'_>)) {
        let mut waiting = ghosts;
        while let Some(Ghosts { step, batch, left_out }) = waiting.pop() {
            if batch.len() == 0 {
                continue;
            }
            for (reader, plan) in self.plan.steps.iter().enumerate() {
                if !plan.inputs.contains(&Input::Step(step)) {
                    continue;
                }
                if let Work::Join(join) = &plan.work {
                    for side in (0..2).filter(|side| join.sides[*side].input == Input::Step(step)) {
                        self.events_of_side(reader, side, &batch, Some((left_out.0, &left_out.1)), visit);
                        for alone in self.all_alone(reader, side, &batch) {
                            let alone = self.after_join(reader, &alone);
                            self.haunt(reader, alone, left_out.clone(), &mut waiting, visit);
                        }
                    }
                    continue;
                }
                let read = exploded(&plan.rows, self.read(plan, Input::Step(step), &batch));
                let (rows, _) = row_work(&without_filter(&plan.rows), &read);
                self.haunt(reader, rows, left_out.clone(), &mut waiting, visit);
            }
        }
    }

    /// Returns the ordered bytes of keys of a window step or a join, whose columns are given in order.
    ///
    /// # Panics
    /// When the step has no keys, or the columns have other types than its keys.
    pub fn keys(&self, step: usize, columns: &[ArrayRef], rows: usize) -> BinaryArray {
        let columns: Vec<ArrayRef> = columns.iter().map(|column| canonical(&plain(column))).collect();
        self.codecs[step].as_ref().expect("the step has keys").encode(&columns, rows)
    }

    /// Returns the names and types of what names a row of a window step, besides its window, or what rows of a join are
    /// joined by; None: the step has no keys.
    pub fn key_fields(&self, step: usize) -> Option<Vec<(String, DataType)>> {
        match &self.plan.steps[step].work {
            Work::Window(window) => {
                Some(window.keys.iter().map(|(name, expr)| (name.clone(), expr.data_type())).collect())
            }
            Work::Join(join) => Some(join.on.iter().map(|key| (key.names[0].clone(), key.data_type)).collect()),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) => None,
        }
    }

    /// Returns the names, types and values of a key of a window step or a join.
    ///
    /// # Panics
    /// When the step has no keys, or the key is of another step.
    pub fn key_columns(&self, step: usize, key: &[u8]) -> Vec<(String, DataType, ArrayRef)> {
        let fields = self.key_fields(step).expect("the step has keys");
        let columns = self.codecs[step].as_ref().expect("the step has keys").decode(std::iter::once(key));
        fields.into_iter().zip(columns).map(|((name, data_type), column)| (name, data_type, column)).collect()
    }
}

/// Returns the rows of a step's input that its row work neither gave on nor failed at.
fn left_out(input: &Batch, rows: &Batch, failed: &[(u32, String)]) -> Vec<u32> {
    let mut gone: std::collections::BTreeSet<u32> = (0..rows.len() as u32).map(|row| rows.origin_of(row)).collect();
    gone.extend(failed.iter().map(|(row, _)| input.origin_of(*row)));
    (0..input.len() as u32).filter(|row| !gone.contains(&input.origin_of(*row))).collect()
}

/// Takes the indices of exploded rows off what names a row.
fn without_indices(bytes: &[u8], explosions: usize) -> (Vec<u8>, Vec<i64>) {
    let (key, indices) = bytes.split_at(bytes.len() - explosions * size_of::<i64>());
    let index = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().expect("an index has eight bytes"));
    (key.to_vec(), indices.chunks(size_of::<i64>()).map(index).collect())
}

/// Returns the lookup that lets every row through.
fn with_nulls(lookup: &LookupPlan) -> LookupPlan {
    LookupPlan { missing: OnMissing::Null, ..lookup.clone() }
}

fn without_filter(work: &RowWork) -> RowWork {
    RowWork { filter: None, ..work.clone() }
}

/// Returns what becomes of a row with this key in the windows that it belongs to, in their order.
fn fates(window: &WindowPlan, event: &Event<'_>, key: &[u8], id: Option<&[u8]>) -> Vec<Fate> {
    let (allowed, watermark) = (window.allowed_lateness, event.watermark);
    let in_window = |at: Window| {
        let is_late = is_late_for_window(at.end, allowed, watermark);
        let late_by = is_late.then(|| watermark - at.end.saturating_add(allowed));
        Fate::InWindow { window: at, key: key.to_vec(), late_by, id: id.map(<[u8]>::to_vec) }
    };
    match window.windowing {
        Windowing::Fixed { .. } | Windowing::Cumulative { .. } | Windowing::Calendar { .. } => {
            window.windowing.windows(event.event_time).into_iter().rev().map(in_window).collect()
        }
        Windowing::Same => match &event.name {
            Name::Row { window, .. } | Name::Joined { window: Some(window), .. } => vec![in_window(*window)],
            Name::Record { .. } | Name::Joined { window: None, .. } => Vec::new(),
        },
        Windowing::Session { .. } => {
            let is_late = is_late_for_point(event.event_time, allowed, watermark);
            let late_by = is_late.then(|| watermark - event.event_time.saturating_add(allowed));
            vec![Fate::InSession { key: key.to_vec(), late_by }]
        }
    }
}
