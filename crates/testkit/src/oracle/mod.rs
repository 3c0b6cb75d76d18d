//! The naive oracle: what the law says the result is, from the definition alone, with sorted lists and loops.
//!
//! It shares no code with the engine. It reads a whole log at once, knows no batches, threads or state, and follows the
//! text of the law: bad records, then per partition `W` before each record, then each step over all rows of its input.

mod aggregate;
mod digest;
mod eval;
mod join;
mod number;
mod scalar;
mod sketch;
#[cfg(test)]
mod tests;
pub(crate) mod zones;

use std::collections::{BTreeMap, BTreeSet};

use self::aggregate::Overflow;
pub use self::digest::Digests;
use self::eval::{Failed, evaluate};
use crate::case::expr::{Aggregate, Call, Column, Expr};
use crate::case::log::{Content, Log};
use crate::case::{Dedup, Extract, Kind, Lookup, Pipeline, Step, Window, call_name, without_calls};
use crate::value::{Type, Value};

/// Returns an aggregate's result over rows of arguments in record order; None: it does not fit its type.
pub(crate) fn aggregate_of(function: Aggregate, types: &[Type], rows: &[Vec<Value>]) -> Option<Value> {
    aggregate::aggregate(function, types, rows).ok()
}

/// A partition: the index of its source, its number.
pub type Place = (usize, i32);

/// Position of a record: the index of its source, partition, offset; of an exploded one also which element it was.
pub type Position = (usize, i32, i64, Option<i64>);

/// The part of a log that a run reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Start offsets; a partition without one is read from its beginning.
    pub start: BTreeMap<Place, i64>,
    /// End offsets; a partition without one is read to its end.
    pub end: BTreeMap<Place, i64>,
}

impl Cut {
    /// Returns true when a record at that offset is in it.
    pub(crate) fn holds(&self, place: Place, offset: i64) -> bool {
        self.start.get(&place).is_none_or(|start| *start <= offset)
            && self.end.get(&place).is_none_or(|end| offset < *end)
    }
}

/// Everything a run must find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One for each step, in the pipeline's order.
    pub steps: Vec<StepAnswer>,
    /// Records that cannot be decoded, break the schema or the future guard.
    pub bad: Vec<Position>,
    /// How many records were read.
    pub rows_read: u64,
    /// How many rows failed, not counting those of the end-of-input copy.
    pub rows_failed: u64,
    /// How many records were late for all their windows at a step, summed over steps.
    pub rows_late: u64,
    /// `W` of each partition after everything; None is −∞.
    pub watermarks: BTreeMap<Place, Option<i64>>,
}

/// What a step makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAnswer {
    /// The step's name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether its rows are records, not window rows.
    pub is_records: bool,
    /// Whether they are elements of exploded records.
    pub is_indexed: bool,
    /// Its rows in canonical order.
    pub rows: Vec<Row>,
    /// Whether its rows come in canonical order. Records of several partitions interleave, and so do the inputs of unions.
    pub is_ordered: bool,
    /// Records that were late for all their windows, each as often as it came.
    pub late: Vec<Position>,
    /// Records whose expressions failed here, each as often as it came.
    pub failed: Vec<Position>,
    /// How many final window rows failed here.
    pub failed_window_rows: u64,
    /// How many rows found their key in a file.
    pub looked_up: usize,
    /// How many rows did not count because their id was in the window already.
    pub copies: usize,
    /// For each rule, how many rows were held against it, and how many broke it.
    pub checks: Vec<(String, u64, u64)>,
    /// How many rows came to its `dedup`, and how many were let through.
    pub dedup: Option<(u64, u64)>,
    /// Records late for one of their windows and accepted for another.
    pub partly_late: BTreeSet<Position>,
    /// How many sessions hold records of more than one partition.
    pub sessions_across_partitions: usize,
    /// How many rows of a join have no partner and are final.
    pub final_without_partner: usize,
    /// How many rows of a join have a partner of another source.
    pub pairs_across_sources: usize,
    /// How many left rows find a tombstone where an as-of join looks for a version.
    pub ended: usize,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its values, one per column.
    pub cells: Vec<Value>,
    /// Its event time.
    pub time: i64,
    /// What it is: a record or the row of a window.
    pub identity: Identity,
    /// Whether it is final.
    pub is_final: bool,
    /// `W` of its partition before it (records only); None is −∞.
    before: Option<i64>,
    /// The inputs of unions that it came through, the first one first.
    path: Vec<String>,
    /// What it is made of, if it is a row of a join, or of row work over such rows.
    pub made_of: Option<Pair>,
    /// Whether it is a record without a value: a version "nothing" of its key.
    is_tombstone: bool,
}

impl Row {
    /// Returns what `--from/--to` compare: `window_start`, or the event time of a record.
    pub fn range_time(&self) -> i64 {
        match &self.identity {
            Identity::Window { start, .. } if self.made_of.is_none() => *start,
            Identity::Record(..) | Identity::Window { .. } | Identity::Pair(..) => self.time,
        }
    }

    /// Returns its place in the record order: event time, source, partition, offset, path; of window rows window end,
    /// window start, path, key; of pairs event time, path, and the places of both rows.
    fn order(&self) -> Order {
        let path = Part::Path(self.path.clone());
        match &self.identity {
            Identity::Record(source, partition, offset, index) => {
                vec![
                    Part::Int(self.time),
                    Part::Int(*source as i64),
                    Part::Int((*partition).into()),
                    Part::Int(*offset),
                    // A record that was not exploded comes before elements of it.
                    Part::Int(index.unwrap_or(-1)),
                    path,
                ]
            }
            Identity::Window { end, start, key, pair } => {
                vec![Part::Int(*end), Part::Int(*start), path, Part::Key(key.clone()), Part::Pair(pair.clone())]
            }
            Identity::Pair(time, pair) => vec![Part::Int(*time), path, Part::Pair(Some(pair.clone()))],
        }
    }
}

/// What a row is. The order is the record order (after the event time), and the canonical order of window rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A record: source, partition and offset; of an exploded one which element it was.
    Record(usize, i32, i64, Option<i64>),
    /// The row of a window: bounds and key.
    Window {
        /// First microsecond past it.
        end: i64,
        /// First microsecond of it.
        start: i64,
        /// The key; of an exploded row followed by which element it was.
        key: Vec<Value>,
        /// Of a window join's row: what it is made of.
        pair: Option<Pair>,
    },
    /// The row of a join without a window: event time, and what it is made of.
    Pair(i64, Pair),
}

/// The places in the record order of a joined row's two rows; none is less than any.
pub type Pair = Box<[Option<Order>; 2]>;

/// A place in the record order.
pub type Order = Vec<Part>;

/// A part of a place in the record order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs)]
pub enum Part {
    Int(i64),
    Path(Vec<String>),
    Key(Vec<Value>),
    Pair(Option<Pair>),
}

/// A sum or an expression over aggregates does not fit its type: the run stops with `E_OVERFLOW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Rows on their way, and how far they are complete: `G` for records, `C` for window rows; None is −∞.
#[derive(Clone)]
struct Flow {
    columns: Vec<Column>,
    rows: Vec<Row>,
    complete: Option<i64>,
    over_windows: bool,
    is_indexed: bool,
    is_ordered: bool,
}

/// Returns what a run over that part of the log must find.
pub fn answer(pipeline: &Pipeline, log: &Log, cut: &Cut) -> Result<Answer, Stopped> {
    let mut answer = Answer {
        steps: Vec::new(),
        bad: Vec::new(),
        rows_read: 0,
        rows_failed: 0,
        rows_late: 0,
        watermarks: BTreeMap::new(),
    };
    let mut flows: Vec<(String, Flow)> = Vec::new();
    for (index, source) in pipeline.sources.iter().enumerate() {
        flows.push((source.name.clone(), read(pipeline, index, log, cut, &mut answer)));
    }
    for step in &pipeline.steps {
        let (found, output) = match &step.join {
            None => run_step(step, explode(step, union(step, &flows)))?,
            Some(join) => {
                let side = |side: usize| find(&flows, &step.from[side]);
                join::run(step, join, [side(0), side(1)])
            }
        };
        answer.rows_failed += found.failed.len() as u64 + found.failed_window_rows;
        answer.rows_late += found.late.len() as u64;
        answer.steps.push(found);
        flows.push((step.name.clone(), output));
    }
    Ok(answer)
}

/// Reads the log of a source: `M` is the largest event time of the valid records before, `W = M − bound`.
fn read(pipeline: &Pipeline, source: usize, log: &Log, cut: &Cut, answer: &mut Answer) -> Flow {
    let mut rows = Vec::new();
    let plan = &pipeline.sources[source];
    let mut watermarks = BTreeMap::new();
    for partition in &log.partitions {
        if partition.source != source || !plan.reads(partition.partition) {
            continue;
        }
        let place = (source, partition.partition);
        let mut maximum: Option<i64> = None;
        for record in &partition.records {
            if !cut.holds(place, record.offset) {
                continue;
            }
            answer.rows_read += 1;
            let Some(time) = record.event_time(pipeline, source) else {
                answer.bad.push((source, partition.partition, record.offset, None));
                continue;
            };
            let (mut cells, is_tombstone) = match &record.content {
                Content::Row(cells) => (cells.clone(), false),
                Content::Tombstone(cells) => (cells.clone(), true),
                Content::Bad(_) => unreachable!("it has an event time"),
            };
            cells.extend([
                Value::Int(partition.partition.into()),
                Value::Int(record.offset),
                Value::Time(record.timestamp * 1000),
            ]);
            rows.push(Row {
                cells,
                time,
                identity: Identity::Record(source, partition.partition, record.offset, None),
                is_final: true,
                before: maximum.map(|maximum| maximum - plan.bound),
                path: Vec::new(),
                made_of: None,
                is_tombstone,
            });
            maximum = maximum.max(Some(time));
        }
        watermarks.insert(place, maximum.map(|maximum| maximum - plan.bound));
    }
    // None, −∞, is less than every Some.
    let complete = watermarks.values().min().copied().flatten();
    answer.watermarks.extend(watermarks);
    Flow {
        columns: pipeline.source_columns(),
        rows,
        complete,
        over_windows: false,
        is_indexed: false,
        is_ordered: false,
    }
}

fn find<'f>(flows: &'f [(String, Flow)], from: &str) -> &'f Flow {
    &flows.iter().find(|(name, _)| name == from).expect("a step comes after its input").1
}

/// Returns the rows of all inputs of a step; they are complete as far as the least of the inputs.
fn union(step: &Step, flows: &[(String, Flow)]) -> Flow {
    let find = |from: &String| find(flows, from);
    let mut all = find(&step.from[0]).clone();
    all.rows.clear();
    all.complete = step.from.iter().map(|from| find(from).complete).min().flatten();
    all.is_ordered &= step.from.len() == 1;
    all.is_indexed = step.from.iter().any(|from| find(from).is_indexed);
    // Whatever stands after the log's own columns was derived before, so the tag comes after it.
    let at = all.columns.len();
    for from in &step.from {
        let input = find(from);
        for row in &input.rows {
            let mut row = row.clone();
            // Of two inputs the columns may stand in another order.
            row.cells = all.columns.iter().map(|(name, _)| value_in(&input.columns, &row.cells, name)).collect();
            if step.tag.is_some() {
                row.cells.insert(at, Value::Text(from.clone()));
            }
            if step.from.len() > 1 {
                row.path.push(from.clone());
            }
            all.rows.push(row);
        }
    }
    if let Some(tag) = &step.tag {
        all.columns.insert(at, (tag.clone(), Type::Text));
    }
    all
}

impl StepAnswer {
    /// Returns what a sink with `where` and `select` holds of its rows.
    pub(crate) fn part(&self, part: &Extract, is_final: bool) -> Vec<Vec<Value>> {
        let rows = self.rows.iter().filter(|row| row.is_final == is_final);
        let cells = rows.filter_map(|row| {
            let value = |name: &str| value_in(&self.columns, &row.cells, name);
            let evaluated = |expr: &Expr| evaluate(expr, &value).expect("a sink's expressions cannot fail");
            let is_kept = part.filter.as_ref().is_none_or(|filter| evaluated(filter) == Value::Bool(true));
            // Records have their place first, whatever is selected.
            let place = if self.is_records { 2 + usize::from(self.is_indexed) } else { 0 };
            let place = self.written_cells(row).into_iter().take(place);
            is_kept.then(|| place.chain(part.select.iter().map(|(_, expr)| evaluated(expr))).collect())
        });
        cells.collect()
    }

    fn empty(name: &str) -> Self {
        Self {
            name: name.to_string(),
            columns: Vec::new(),
            is_records: false,
            is_indexed: false,
            rows: Vec::new(),
            is_ordered: false,
            late: Vec::new(),
            failed: Vec::new(),
            failed_window_rows: 0,
            copies: 0,
            looked_up: 0,
            checks: Vec::new(),
            dedup: None,
            partly_late: BTreeSet::new(),
            sessions_across_partitions: 0,
            final_without_partner: 0,
            pairs_across_sources: 0,
            ended: 0,
        }
    }
}

/// Makes a row of every element of the list. Event time and `W` are the row's.
fn explode(step: &Step, mut input: Flow) -> Flow {
    let Some((list, _)) = &step.explode else { return input };
    let at = input.columns.iter().position(|(name, _)| name == list).expect("a valid pipeline");
    input.columns = step.exploded(&input.columns).expect("a valid pipeline");
    input.is_indexed = !input.over_windows;
    let mut rows = Vec::new();
    for row in input.rows {
        let Value::List(elements) = row.cells[at].clone() else { continue };
        for (index, element) in elements.into_iter().enumerate() {
            let mut one = row.clone();
            one.cells[at] = element;
            match &mut one.identity {
                Identity::Record(.., place) => *place = Some(index as i64),
                Identity::Window { key, .. } => key.push(Value::Int(index as i64)),
                Identity::Pair(..) => unreachable!("random cases explode no joined rows"),
            }
            rows.push(one);
        }
    }
    Flow { rows, ..input }
}

fn run_step(step: &Step, input: Flow) -> Result<(StepAnswer, Flow), Stopped> {
    let mut found = StepAnswer::empty(&step.name);
    found.is_records = step.window.is_none() && !input.over_windows;
    found.is_indexed = input.is_indexed;
    let columns = step.row_columns(&input.columns).expect("a valid pipeline");
    let mut rows = Vec::new();
    for row in &input.rows {
        match row_work(step, &input.columns, row) {
            Ok(None) => {}
            Ok(Some(cells)) => rows.push(Row { cells, ..row.clone() }),
            Err(Failed) => fail(row, &mut found),
        }
    }
    if !step.rules.is_empty() {
        rows = unbroken(step, &columns, rows, &mut found);
    }
    let mut columns = columns;
    if let Some(lookup) = &step.lookup {
        rows = looked_up(lookup, &mut columns, rows, &mut found);
    }
    if let Some(dedup) = &step.dedup {
        rows = unrepeated(dedup, &columns, rows, &mut found);
    }
    let flow = Flow { columns, rows, ..input };
    let mut output = match &step.window {
        None => flow,
        Some(window) => window_work(window, flow, &mut found)?,
    };
    output.rows.sort_by(|a, b| a.identity.cmp(&b.identity));
    found.columns = output.columns.clone();
    found.is_ordered = output.is_ordered;
    found.rows = output.rows.clone();
    Ok((found, output))
}

/// Every rule is asked of every row; the first one that a row breaks says what becomes of it.
fn unbroken(step: &Step, columns: &[Column], rows: Vec<Row>, found: &mut StepAnswer) -> Vec<Row> {
    let mut kept = Vec::new();
    found.checks = step.rules.iter().map(|rule| (rule.name.clone(), 0, 0)).collect();
    for row in rows {
        let value = |name: &str| value_in(columns, &row.cells, name);
        let holds: Result<Vec<bool>, Failed> =
            step.rules.iter().map(|rule| Ok(evaluate(&rule.rule, &value)? == Value::Bool(true))).collect();
        let Ok(holds) = holds else {
            fail(&row, found);
            continue;
        };
        // Rows of the end-of-input copy are not counted.
        if row.is_final {
            for (count, holds) in found.checks.iter_mut().zip(&holds) {
                count.1 += 1;
                count.2 += u64::from(!holds);
            }
        }
        match holds.iter().position(|holds| !holds) {
            None => kept.push(row),
            Some(rule) if step.rules[rule].drops => {}
            Some(_) => fail(&row, found),
        }
    }
    kept
}

/// Adds the values that a row's keys have in the file; null equals nothing.
fn looked_up(lookup: &Lookup, columns: &mut Vec<Column>, rows: Vec<Row>, found: &mut StepAnswer) -> Vec<Row> {
    let mut kept = Vec::new();
    for mut row in rows {
        let keys: Vec<Value> = lookup.on.iter().map(|name| value_in(columns, &row.cells, name)).collect();
        let known = lookup.rows.iter().find(|(other, _)| *other == keys && keys.iter().all(|key| *key != Value::Null));
        found.looked_up += usize::from(known.is_some());
        let values = match (known, lookup.missing.as_str()) {
            (Some((_, values)), _) => values.clone(),
            (None, "null") => vec![Value::Null; lookup.take.len()],
            (None, "drop") => continue,
            (None, _) => {
                fail(&row, found);
                continue;
            }
        };
        row.cells.extend(values);
        kept.push(row);
    }
    columns.extend(lookup.take.iter().cloned());
    kept
}

/// In offset order of each partition: a row is a repetition iff `m + within > max(event time, W)`, `m` being the largest
/// event time of the earlier rows with its id.
fn unrepeated(dedup: &Dedup, columns: &[Column], mut rows: Vec<Row>, found: &mut StepAnswer) -> Vec<Row> {
    rows.sort_by(|a, b| (&a.identity, &a.path).cmp(&(&b.identity, &b.path)));
    let mut last: BTreeMap<(usize, i32, Vec<Value>), i64> = BTreeMap::new();
    let mut kept = Vec::new();
    let mut before = 0;
    for row in rows {
        let Identity::Record(source, partition, ..) = row.identity else { unreachable!("dedup reads records") };
        let value = |name: &str| value_in(columns, &row.cells, name);
        let id: Result<Vec<Value>, Failed> = dedup.keys.iter().map(|(_, expr)| evaluate(expr, &value)).collect();
        let Ok(id) = id else {
            fail(&row, found);
            continue;
        };
        before += 1;
        let now = row.before.map_or(row.time, |watermark| watermark.max(row.time));
        let known = last.get_mut(&(source, partition, id.clone()));
        let is_repeated = known.as_ref().is_some_and(|last| **last + dedup.within > now);
        match known {
            Some(last) => *last = row.time.max(*last),
            None => drop(last.insert((source, partition, id), row.time)),
        }
        if !is_repeated {
            kept.push(row);
        }
    }
    found.dedup = Some((before, kept.len() as u64));
    kept
}

fn fail(row: &Row, found: &mut StepAnswer) {
    match row.identity {
        Identity::Record(source, partition, offset, index) => {
            found.failed.push((source, partition, offset, index));
        }
        Identity::Window { .. } | Identity::Pair(..) => found.failed_window_rows += u64::from(row.is_final),
    }
}

fn value_in(columns: &[Column], cells: &[Value], name: &str) -> Value {
    let index = columns.iter().position(|(column, _)| column == name);
    cells[index.unwrap_or_else(|| panic!("no column {name}"))].clone()
}

/// `where`, `derive`, `drop`, `select`; every expression is evaluated, whether its value is used or not.
fn row_work(step: &Step, columns: &[Column], row: &Row) -> Result<Option<Vec<Value>>, Failed> {
    let before = |name: &str| value_in(columns, &row.cells, name);
    if let Some(filter) = &step.filter
        && evaluate(filter, &before)? != Value::Bool(true)
    {
        return Ok(None);
    }
    let mut named: Vec<(String, Value)> =
        columns.iter().zip(&row.cells).map(|((name, _), cell)| (name.clone(), cell.clone())).collect();
    for (name, expr) in &step.derive {
        let value = evaluate(expr, &before)?;
        match named.iter_mut().find(|(column, _)| column == name) {
            Some(column) => column.1 = value,
            None => named.push((name.clone(), value)),
        }
    }
    named.retain(|(name, _)| !step.drop.contains(name));
    let Some(select) = &step.select else {
        return Ok(Some(named.into_iter().map(|(_, cell)| cell).collect()));
    };
    let kept = |name: &str| named.iter().find(|(column, _)| column == name).expect("a known column").1.clone();
    let cells: Result<Vec<Value>, Failed> = select.iter().map(|(_, expr)| evaluate(expr, &kept)).collect();
    Ok(Some(cells?))
}

/// For each call its arguments; None where the call's filter leaves the row out.
type Arguments = Vec<Option<Vec<Value>>>;

/// A row in a window or session: what it brings, and its place in the record order.
#[derive(Clone)]
struct Member {
    id: Vec<Value>,
    arguments: Arguments,
    time: i64,
    identity: Identity,
    order: Order,
}

fn window_work(window: &Window, input: Flow, found: &mut StepAnswer) -> Result<Flow, Stopped> {
    let columns = window.columns(&input.columns).expect("a valid pipeline");
    let mut calls = Vec::new();
    let outputs: Vec<Expr> = window.aggregates.iter().map(|(_, expr)| without_calls(expr, &mut calls)).collect();

    // (end, start, key) to the rows in it; for sessions first all rows of a key.
    let mut fixed: BTreeMap<(i64, i64, Vec<Value>), Vec<Member>> = BTreeMap::new();
    let mut by_key: BTreeMap<Vec<Value>, Vec<Member>> = BTreeMap::new();
    for row in &input.rows {
        let value = |name: &str| value_in(&input.columns, &row.cells, name);
        let id: Result<Vec<Value>, Failed> = window.unique_by.iter().map(|(_, expr)| evaluate(expr, &value)).collect();
        let (Ok((key, arguments)), Ok(id)) = (key_and_arguments(window, &calls, &input.columns, row), id) else {
            fail(row, found);
            continue;
        };
        let member = Member { id, arguments, time: row.time, identity: row.identity.clone(), order: row.order() };
        let position = if let Identity::Record(source, partition, offset, index) = row.identity {
            Some((source, partition, offset, index))
        } else {
            None
        };
        match window.kind {
            Kind::Session { .. } => {
                if is_late_for_point(row, window.allowed) {
                    found.late.extend(position);
                } else {
                    by_key.entry(key).or_default().push(member);
                }
            }
            _ => {
                let all = windows_of(window.kind, row);
                let accepted: Vec<_> =
                    all.iter().filter(|(_, end)| !is_late_for_window(*end, row, window.allowed)).collect();
                if accepted.is_empty() {
                    found.late.extend(position);
                } else if accepted.len() < all.len() {
                    found.partly_late.extend(position);
                }
                for (start, end) in accepted {
                    fixed.entry((*end, *start, key.clone())).or_default().push(member.clone());
                }
            }
        }
    }
    if let Kind::Session { gap } = window.kind {
        for (key, members) in by_key {
            for session in sessions(members, gap) {
                let (first, last) = (session[0].time, session[session.len() - 1].time);
                found.sessions_across_partitions += usize::from(partitions_in(&session) > 1);
                fixed.insert((last + gap, first, key.clone()), session);
            }
        }
    }

    if !window.unique_by.is_empty() {
        found.copies = once_per_window(&mut fixed);
    }
    let mut rows = Vec::new();
    for ((end, start, key), mut members) in fixed {
        members.sort_by(|a, b| a.order.cmp(&b.order));
        let mut cells = vec![Value::Time(start), Value::Time(end)];
        cells.extend(key.iter().cloned());
        let results = results(&calls, &input.columns, &members).map_err(|Overflow| Stopped)?;
        let bounds_and_keys = cells.clone();
        for output in &outputs {
            let value = evaluate(output, &|name| match (0..results.len()).find(|i| call_name(*i) == name) {
                Some(i) => results[i].clone(),
                None => value_in(&columns[..bounds_and_keys.len()], &bounds_and_keys, name),
            });
            cells.push(value.map_err(|Failed| Stopped)?);
        }
        // Records: G >= end + A. Window rows: C >= end.
        let is_final = input.complete.is_some_and(|complete| complete >= end + window.allowed);
        rows.push(Row {
            cells,
            time: end - 1,
            identity: Identity::Window { end, start, key, pair: None },
            is_final,
            before: None,
            path: Vec::new(),
            made_of: None,
            is_tombstone: false,
        });
    }
    if let Some(having) = &window.having {
        rows.retain(|row| {
            evaluate(having, &|name| value_in(&columns, &row.cells, name)).expect("comparisons do not fail")
                == Value::Bool(true)
        });
    }
    let rows = top(window, &columns, rows);
    // C = G − A after a window on records; C of the input after a window on window rows.
    let complete = input.complete.map(|complete| complete - window.allowed);
    Ok(Flow { columns, rows, complete, over_windows: true, is_indexed: false, is_ordered: true })
}

/// Of the rows with one id in a window only the first in the record order stays, whatever its key. Returns how many go.
fn once_per_window(fixed: &mut BTreeMap<(i64, i64, Vec<Value>), Vec<Member>>) -> usize {
    // By window and id: the key and the row that counts so far.
    type Firsts = BTreeMap<(i64, i64, Vec<Value>), (Vec<Value>, Member)>;
    let mut firsts = Firsts::new();
    let mut copies = 0;
    for ((end, start, key), members) in std::mem::take(fixed) {
        for member in members {
            let place = (end, start, member.id.clone());
            match firsts.get_mut(&place) {
                None => drop(firsts.insert(place, (key.clone(), member))),
                Some(first) => {
                    copies += 1;
                    if member.order < first.1.order {
                        *first = (key.clone(), member);
                    }
                }
            }
        }
    }
    for ((end, start, _), (key, member)) in firsts {
        fixed.entry((end, start, key)).or_default().push(member);
    }
    copies
}

fn key_and_arguments(
    window: &Window,
    calls: &[Call],
    columns: &[Column],
    row: &Row,
) -> Result<(Vec<Value>, Arguments), Failed> {
    let value = |name: &str| value_in(columns, &row.cells, name);
    let key: Result<Vec<Value>, Failed> = window.keys.iter().map(|(_, expr)| evaluate(expr, &value)).collect();
    let arguments = calls.iter().map(|call| {
        // The arguments are evaluated for every row, those that the filter leaves out too.
        let arguments: Result<Vec<Value>, Failed> =
            call.arguments.iter().map(|argument| evaluate(argument, &value)).collect();
        let chosen = match &call.filter {
            Some(filter) => evaluate(filter, &value)? == Value::Bool(true),
            None => true,
        };
        Ok(Some(arguments?).filter(|_| chosen))
    });
    let arguments: Result<Arguments, Failed> = arguments.collect();
    Ok((key?, arguments?))
}

/// Sessions, joins: accepted iff `event_time + allowed >= W`. Window rows are never late.
fn is_late_for_point(row: &Row, allowed: i64) -> bool {
    row.before.is_some_and(|watermark| row.time + allowed < watermark)
}

/// Fixed windows: accepted iff `end + allowed > W`.
fn is_late_for_window(end: i64, row: &Row, allowed: i64) -> bool {
    row.before.is_some_and(|watermark| end + allowed <= watermark)
}

/// All windows that hold the row, as (start, end): found by trying every boundary near it.
fn windows_of(kind: Kind, row: &Row) -> Vec<(i64, i64)> {
    let (size, every, offset) = match kind {
        Kind::Tumbling { size, offset } => (size, size, offset),
        Kind::Hopping { size, every, offset } => (size, every, offset),
        Kind::Same => match row.identity {
            Identity::Window { end, start, .. } => return vec![(start, end)],
            Identity::Record(..) | Identity::Pair(..) => unreachable!("`same` reads window rows"),
        },
        Kind::Cumulative { size, step, offset } => {
            // From the boundary before it, as long as 1, 2, … steps.
            let start = (row.time - offset).div_euclid(size) * size + offset;
            let ends = (1..=size / step).map(|steps| start + steps * step);
            return ends.filter(|end| row.time < *end).map(|end| (start, end)).collect();
        }
        Kind::Calendar { unit, zone } => return vec![zones::window_of(unit, zone, row.time)],
        Kind::Session { .. } => unreachable!("sessions are not fixed"),
    };
    let near = (row.time - size) / every - 2;
    let mut found = Vec::new();
    for number in near..near + size / every + 6 {
        let start = number * every + offset;
        if start <= row.time && row.time < start + size {
            found.push((start, start + size));
        }
    }
    found
}

/// Rows of one key less than `gap` apart are together.
fn sessions(mut members: Vec<Member>, gap: i64) -> Vec<Vec<Member>> {
    members.sort_by(|a, b| a.order.cmp(&b.order));
    let mut sessions: Vec<Vec<Member>> = Vec::new();
    for member in members {
        match sessions.last_mut() {
            Some(session) if member.time - session[session.len() - 1].time < gap => session.push(member),
            _ => sessions.push(vec![member]),
        }
    }
    sessions
}

fn partitions_in(session: &[Member]) -> usize {
    let partitions: BTreeSet<i32> = session
        .iter()
        .filter_map(
            |member| if let Identity::Record(_, partition, ..) = member.identity { Some(partition) } else { None },
        )
        .collect();
    partitions.len()
}

fn results(calls: &[Call], columns: &[Column], members: &[Member]) -> Result<Vec<Value>, Overflow> {
    calls
        .iter()
        .enumerate()
        .map(|(i, call)| {
            let types = call.types_over(columns).expect("a valid pipeline");
            let rows: Vec<Vec<Value>> = members.iter().filter_map(|member| member.arguments[i].clone()).collect();
            aggregate::aggregate(call.aggregate, &types, &rows)
        })
        .collect()
}

/// The first rows of each window (and of each group of `per`): by `by`, then the keys ascending.
fn top(window: &Window, columns: &[Column], rows: Vec<Row>) -> Vec<Row> {
    let Some(top) = &window.top else { return rows };
    let by = |row: &Row| -> Vec<(Value, bool)> {
        top.by.iter().map(|(name, desc)| (value_in(columns, &row.cells, name), *desc)).collect()
    };
    let compare = |a: &Row, b: &Row| {
        by(a)
            .iter()
            .zip(by(b))
            .map(|((a, desc), (b, _))| if *desc { b.cmp(a) } else { a.cmp(&b) })
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    };
    let mut groups: BTreeMap<(i64, i64, Vec<Value>), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let Identity::Window { end, start, .. } = row.identity else { unreachable!("a window's row") };
        let per: Vec<Value> = top.per.iter().map(|name| value_in(columns, &row.cells, name)).collect();
        groups.entry((end, start, per)).or_default().push(row);
    }
    let mut kept = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by(|a, b| compare(a, b).then_with(|| a.identity.cmp(&b.identity)));
        let mut count = top.n.min(group.len());
        while top.keep && count > 0 && count < group.len() && compare(&group[count - 1], &group[count]).is_eq() {
            count += 1;
        }
        group.truncate(count);
        if top.rank.is_some() {
            group.iter_mut().zip(1..).for_each(|(row, number)| row.cells.push(Value::Int(number)));
        }
        kept.extend(group);
    }
    kept
}
