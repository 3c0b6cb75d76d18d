//! Writing what was found into the expectations of a file: only what is wrong is touched, every other byte stays.

use std::ops::Range;

use arrow::array::RecordBatch;
use engine::plan::{Input, Plan};

use super::compare::judge;
use super::{Case, Expectation, columns_of, expectable, value};

/// Changes of a text, made all at once.
#[derive(Clone, Debug, Default)]
pub struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    /// Returns true when nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the changed text.
    pub fn apply(mut self, text: &str) -> String {
        let mut text = text.to_owned();
        // From the end, so that places before stay what they are; of two at one place the later one comes later.
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        for (range, new) in self.0.into_iter().rev() {
            text.replace_range(range, &new);
        }
        text
    }

    fn replace(&mut self, range: Range<usize>, new: impl Into<String>) {
        self.0.push((range, new.into()));
    }
}

/// Adds the edits that make a case's expectations what was found. A case that expects nothing comes to expect everything.
pub fn blessed(text: &str, plan: &Plan, case: &Case, found: &dyn Fn(Input) -> RecordBatch, edits: &mut Edits) {
    for expectation in &case.expect {
        bless_rows(text, plan, expectation, &found(expectation.input), edits);
    }
    if case.expect.is_empty() {
        bless_case(text, plan, case, found, edits);
    }
}

fn bless_rows(text: &str, plan: &Plan, expectation: &Expectation, found: &RecordBatch, edits: &mut Edits) {
    let judgement = judge(expectation, found);
    if judgement.is_right() {
        return;
    }
    let columns = shown_columns(plan, expectation);
    let is_flow = text[expectation.span.clone()].starts_with('[');
    let is_plain_list = expectation.rows.iter().all(|row| item_start(text, row.span.start).is_some());
    let stays = expectation.rows.len() - judgement.missing.len();
    if is_flow && !expectation.rows.is_empty() || !is_plain_list {
        // A list in one line is written anew, in the order of what was found.
        let rows: Vec<String> = (0..found.num_rows()).map(|row| flow_row(found, row, &columns)).collect();
        return edits.replace(expectation.span.clone(), format!("[{}]", rows.join(", ")));
    }
    for (expected, row, different) in &judgement.different {
        for cell in expectation.rows[*expected].cells.iter().filter(|cell| different.contains(&cell.column)) {
            if let Some(column) = found.column_by_name(&cell.column) {
                edits.replace(cell.span.clone(), value::write(column, *row));
            }
        }
    }
    for missing in &judgement.missing {
        let row = &expectation.rows[*missing];
        let start = item_start(text, row.span.start).expect("checked above");
        let end = (line_end(text, row.span.end) + 1).min(text.len());
        edits.replace(line_start(text, start)..end, "");
    }
    let added: Vec<String> = judgement.unexpected.iter().map(|row| flow_row(found, *row, &columns)).collect();
    let key_end = expectation.key.end + text[expectation.key.end..].find(':').map_or(0, |colon| colon + 1);
    match expectation.rows.last() {
        Some(last) => {
            let dash = item_start(text, last.span.start).expect("checked above");
            let indent = " ".repeat(dash - line_start(text, dash));
            let lines: String = added.iter().map(|row| format!("{indent}- {row}\n")).collect();
            let end = (line_end(text, last.span.end) + 1).min(text.len());
            if !lines.is_empty() {
                let lines = if text[..end].ends_with('\n') { lines } else { format!("\n{}", lines.trim_end()) };
                edits.replace(end..end, lines);
            }
            if stays + added.len() == 0 {
                edits.replace(key_end..key_end, " []");
            }
        }
        None => {
            let indent = " ".repeat(expectation.key.start - line_start(text, expectation.key.start) + 2);
            let lines: String = added.iter().map(|row| format!("\n{indent}- {row}")).collect();
            open_empty(text, key_end, &expectation.span, lines, edits);
        }
    }
}

/// Puts lines under a key that has nothing, `[]` or `{}` for now.
fn open_empty(text: &str, key_end: usize, value: &Range<usize>, lines: String, edits: &mut Edits) {
    let end = line_end(text, key_end.max(value.end.min(line_end(text, key_end))));
    let written = &text[key_end..end];
    let empty = ["[]", "{}", "~", "null"].iter().find_map(|empty| {
        let at = key_end + written.find(empty)?;
        written[..at - key_end].trim().is_empty().then_some(key_end..at + empty.len())
    });
    if let Some(range) = empty {
        edits.replace(range, "");
    }
    edits.replace(end..end, lines);
}

/// Writes `expect` of a case that has none, or an empty one.
fn bless_case(text: &str, plan: &Plan, case: &Case, found: &dyn Fn(Input) -> RecordBatch, edits: &mut Edits) {
    let sets: Vec<(String, Vec<String>)> = expectable(plan)
        .into_iter()
        .map(|(name, input)| {
            let (rows, columns) = (found(input), default_columns(plan, input));
            (name, (0..rows.num_rows()).map(|row| flow_row(&rows, row, &columns)).collect())
        })
        .filter(|(_, rows): &(String, Vec<String>)| !rows.is_empty())
        .collect();
    if sets.is_empty() {
        return;
    }
    let whole = &case.place.whole;
    let (is_flow, key) = (text[whole.clone()].starts_with('{'), case.place.expect.as_ref());
    if is_flow {
        let sets: Vec<String> = sets.iter().map(|(name, rows)| format!("{name}: [{}]", rows.join(", "))).collect();
        let sets = format!("{{{}}}", sets.join(", "));
        match key {
            Some((_, value)) if !value.is_empty() => edits.replace(value.clone(), sets),
            Some((key, _)) => edits.replace(key.end + 1..key.end + 1, format!(" {sets}")),
            None => edits.replace(whole.end - 1..whole.end - 1, format!(", expect: {sets}")),
        }
        return;
    }
    let indent = whole.start - line_start(text, whole.start);
    let lines = |under: usize| -> String {
        let (outer, inner) = (" ".repeat(under), " ".repeat(under + 2));
        let set = |(name, rows): &(String, Vec<String>)| {
            let rows: String = rows.iter().map(|row| format!("\n{inner}- {row}")).collect();
            format!("\n{outer}{name}:{rows}")
        };
        sets.iter().map(set).collect()
    };
    match key {
        Some((key, value)) => {
            let key_end = key.end + text[key.end..].find(':').map_or(0, |colon| colon + 1);
            open_empty(text, key_end, value, lines(indent + 2), edits);
        }
        None => {
            let end = line_end(text, whole.end);
            edits.replace(end..end, format!("\n{}expect:{}", " ".repeat(indent), lines(indent + 2)));
        }
    }
}

fn flow_row(found: &RecordBatch, row: usize, columns: &[String]) -> String {
    let cells = columns.iter().filter_map(|name| {
        let column = found.column_by_name(name)?;
        Some(format!("{name}: {}", value::write(&**column, row)))
    });
    format!("{{{}}}", cells.collect::<Vec<_>>().join(", "))
}

/// Returns the columns that new rows of an expectation show: those that its rows show.
fn shown_columns(plan: &Plan, expectation: &Expectation) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for cell in expectation.rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(&cell.column) {
            columns.push(cell.column.clone());
        }
    }
    if columns.is_empty() { default_columns(plan, expectation.input) } else { columns }
}

fn default_columns(plan: &Plan, input: Input) -> Vec<String> {
    let names = columns_of(plan, input).fields.into_iter().map(|field| field.name);
    match input {
        Input::Source(_) | Input::Step(_) => names.collect(),
        // What names a late or bad record; of window rows that failed, all columns.
        _ => {
            let names: Vec<String> = names.collect();
            let position: Vec<String> =
                names.iter().filter(|name| matches!(name.as_str(), "_partition" | "_offset")).cloned().collect();
            if position.is_empty() { names } else { position }
        }
    }
}

/// Returns where the `-` before an item stands, if nothing else does.
fn item_start(text: &str, item: usize) -> Option<usize> {
    let line = line_start(text, item);
    let before = &text[line..item];
    (before.trim() == "-").then(|| line + before.find('-').expect("it is the dash"))
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns where the line's text ends: at its line break, or at the end of the file.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}
