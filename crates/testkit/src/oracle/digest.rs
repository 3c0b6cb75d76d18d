//! The digests of decision 12, from their description alone: what is hashed, in what order, as which bytes.

use xxhash_rust::xxh3::xxh3_128;

use super::{Answer, Identity, Position, Row, StepAnswer};
use crate::case::expr::Column;
use crate::case::{IMPLIED, Source};
use crate::value::{Type, Value};

/// A sum of row digests modulo 2^128, and how many.
#[derive(Clone, Copy, Default)]
struct Sum(u128, usize);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = self.0.wrapping_add(xxh3_128(bytes));
        self.1 += 1;
    }

    fn print(self) -> String {
        format!("x1:{:032x}:{}", self.0, self.1)
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

fn row(name: &str, columns: &[Column], cells: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    text(&mut bytes, name.as_bytes());
    bytes.extend((columns.len() as u64).to_le_bytes());
    for (column, ty) in columns {
        text(&mut bytes, column.as_bytes());
        text(&mut bytes, ty.to_string().as_bytes());
    }
    cells.iter().for_each(|cell| value(&mut bytes, cell));
    bytes
}

fn value(bytes: &mut Vec<u8>, cell: &Value) {
    bytes.push(u8::from(!cell.is_null()));
    match cell {
        Value::Null => {}
        Value::Bool(x) => bytes.push(u8::from(*x)),
        Value::Int(x) | Value::Time(x) => bytes.extend(x.to_le_bytes()),
        Value::Date(x) => bytes.extend(i64::from(*x).to_le_bytes()),
        Value::Float(x) => bytes.extend(x.to_bits().to_le_bytes()),
        Value::Decimal(x) => bytes.extend(x.to_le_bytes()),
        Value::Text(x) | Value::Json(x) => text(bytes, x.as_bytes()),
        Value::Binary(x) => text(bytes, x),
        Value::List(x) => {
            bytes.extend((x.len() as u64).to_le_bytes());
            x.iter().for_each(|element| value(bytes, element));
        }
        Value::Struct(x) => x.iter().for_each(|field| value(bytes, field)),
    }
}

/// Words, then numbers: the digest of a record in a set.
fn record(words: &[&str], (_, partition, offset, index): &Position) -> Vec<u8> {
    let mut bytes = Vec::new();
    words.iter().for_each(|word| text(&mut bytes, word.as_bytes()));
    bytes.extend(i64::from(*partition).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend(index.iter().flat_map(|index| index.to_le_bytes()));
    bytes
}

fn is_implied(name: &str) -> bool {
    IMPLIED.iter().any(|(implied, _)| *implied == name)
}

impl StepAnswer {
    /// Returns the columns as they are written: records have `_partition`, `_offset`, exploded ones
    /// `_index` first. The log's own columns are
    /// written only where a step names them, and no random step does.
    pub fn written_columns(&self) -> Vec<Column> {
        if !self.is_records {
            return self.columns.clone();
        }
        let others = self.columns.iter().filter(|(name, _)| !is_implied(name)).cloned();
        let index = self.is_indexed.then(|| ("_index".to_string(), Type::Int64));
        [("_partition".to_string(), Type::Int32), ("_offset".to_string(), Type::Int64)]
            .into_iter()
            .chain(index)
            .chain(others)
            .collect()
    }

    /// Returns the cells of a row in the order of [`StepAnswer::written_columns`].
    pub fn written_cells(&self, row: &Row) -> Vec<Value> {
        let Identity::Record(_, partition, offset, index) = row.identity else { return row.cells.clone() };
        let others = self.columns.iter().zip(&row.cells).filter(|((name, _), _)| !is_implied(name));
        let identity = [Value::Int(partition.into()), Value::Int(offset)];
        let index = self.is_indexed.then(|| index.map_or(Value::Null, Value::Int));
        identity.into_iter().chain(index).chain(others.map(|(_, cell)| cell.clone())).collect()
    }

    fn sums(&self) -> (Sum, Sum) {
        let columns = self.written_columns();
        let (mut finals, mut all) = (Sum::default(), Sum::default());
        for found in &self.rows {
            let bytes = row(&self.name, &columns, &self.written_cells(found));
            all.add(&bytes);
            if found.is_final {
                finals.add(&bytes);
            }
        }
        (finals, all)
    }
}

/// The digests of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Step, digest of its final rows, digest of all its rows.
    pub steps: Vec<(String, String, String)>,
    /// Over all steps: final rows.
    pub finals: String,
    /// Over all steps: all rows.
    pub all: String,
    /// Over late records.
    pub late: String,
    /// Over bad records and failed rows; None when window rows failed, whose place in it is not documented.
    pub bad: Option<String>,
}

impl Answer {
    /// Returns the digests that a run must print, steps in name order.
    pub fn digests(&self, sources: &[Source]) -> Digests {
        let name = |position: &Position| sources[position.0].name.as_str();
        let (mut finals, mut all) = (Sum::default(), Sum::default());
        let (mut late, mut bad) = (Sum::default(), Sum::default());
        let mut steps = Vec::new();
        self.bad.iter().for_each(|position| bad.add(&record(&["bad", name(position)], position)));
        for step in &self.steps {
            let (of_finals, of_all) = step.sums();
            for (total, part) in [(&mut finals, of_finals), (&mut all, of_all)] {
                *total = Sum(total.0.wrapping_add(part.0), total.1 + part.1);
            }
            steps.push((step.name.clone(), of_finals.print(), of_all.print()));
            step.late.iter().for_each(|position| late.add(&record(&["late", &step.name, name(position)], position)));
            step.failed.iter().for_each(|position| bad.add(&record(&["bad", &step.name], position)));
        }
        steps.sort();
        let window_rows_failed = self.steps.iter().any(|step| step.failed_window_rows > 0);
        Digests {
            steps,
            finals: finals.print(),
            all: all.print(),
            late: late.print(),
            bad: (!window_rows_failed).then(|| bad.print()),
        }
    }

    /// Returns the answer with the rows alone whose range time lies in `[from, to)`.
    pub fn in_range(&self, (from, to): (Option<i64>, Option<i64>)) -> Answer {
        let mut answer = self.clone();
        for step in &mut answer.steps {
            step.rows.retain(|row| {
                let time = row.range_time();
                from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to)
            });
        }
        answer
    }
}
