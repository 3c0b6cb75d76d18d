//! Are the found rows the expected ones? Each expected row takes one found row that has its values.

use arrow::array::{Array, ArrayRef, RecordBatch};
use engine::group::{KeyCodec, canonical, plain};

use super::{Expectation, ExpectedCell};

/// What a comparison of expected and found rows came to. Numbers are places among the expected and the found rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Expected rows that were not found, each with the found row that is nearest to it and expected by no other, and the
    /// columns in which the two differ.
    pub different: Vec<(usize, usize, Vec<String>)>,
    /// Expected rows that nothing comes near.
    pub missing: Vec<usize>,
    /// Found rows that nobody expects.
    pub unexpected: Vec<usize>,
}

impl Judgement {
    /// Returns true when the found rows are the expected ones.
    pub fn is_right(&self) -> bool {
        self.different.is_empty() && self.missing.is_empty() && self.unexpected.is_empty()
    }
}

/// Compares rows with an expectation.
pub fn judge(expectation: &Expectation, found: &RecordBatch) -> Judgement {
    let table = Table::new(expectation, found);
    let taken = matching(&table);
    let mut judgement = Judgement::default();
    let mut free: Vec<usize> = (0..found.num_rows()).filter(|row| taken[*row].is_none()).collect();
    for expected in 0..expectation.rows.len() {
        if taken.contains(&Some(expected)) {
            continue;
        }
        let near = free.iter().map(|row| (table.equal_cells(expected, *row), *row)).filter(|(equal, _)| *equal > 0);
        // The first of those that are equally near.
        match near.max_by_key(|(equal, row)| (*equal, std::cmp::Reverse(*row))) {
            Some((_, row)) => {
                free.retain(|other| *other != row);
                judgement.different.push((expected, row, table.different_columns(expected, row)));
            }
            None => judgement.missing.push(expected),
        }
    }
    judgement.unexpected = free;
    judgement
}

/// Gives each found row at most one expected row that it satisfies, to as many of them as can have one.
fn matching(table: &Table<'_>) -> Vec<Option<usize>> {
    let mut taken: Vec<Option<usize>> = vec![None; table.rows];
    for expected in 0..table.expectation.rows.len() {
        let mut seen = vec![false; table.rows];
        augment(table, expected, &mut taken, &mut seen);
    }
    taken
}

/// Finds a row for `expected`, moving others to rows that satisfy them too.
fn augment(table: &Table<'_>, expected: usize, taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for row in 0..table.rows {
        if seen[row] || !table.satisfies(expected, row) {
            continue;
        }
        seen[row] = true;
        let is_free = match taken[row] {
            None => true,
            Some(other) => augment(table, other, taken, seen),
        };
        if is_free {
            taken[row] = Some(expected);
            return true;
        }
    }
    false
}

/// Expected and found values as bytes that are equal exactly when the values are.
struct Table<'a> {
    expectation: &'a Expectation,
    rows: usize,
    /// By expected row and cell: whether each found row has the value.
    equal: Vec<Vec<Vec<bool>>>,
}

impl<'a> Table<'a> {
    fn new(expectation: &'a Expectation, found: &RecordBatch) -> Self {
        let rows = found.num_rows();
        let of_cell = |cell: &ExpectedCell| match found.column_by_name(&cell.column) {
            Some(column) => equal(cell, column),
            None => vec![false; rows],
        };
        let equal = expectation.rows.iter().map(|row| row.cells.iter().map(of_cell).collect()).collect();
        Self { expectation, rows, equal }
    }

    fn satisfies(&self, expected: usize, row: usize) -> bool {
        self.equal[expected].iter().all(|cell| cell[row])
    }

    fn equal_cells(&self, expected: usize, row: usize) -> usize {
        // `final` alone does not make two rows alike.
        let cells = self.expectation.rows[expected].cells.iter().zip(&self.equal[expected]);
        cells.filter(|(cell, equal)| cell.column != "final" && equal[row]).count()
    }

    fn different_columns(&self, expected: usize, row: usize) -> Vec<String> {
        let cells = self.expectation.rows[expected].cells.iter().zip(&self.equal[expected]);
        cells.filter(|(_, equal)| !equal[row]).map(|(cell, _)| cell.column.clone()).collect()
    }
}

fn equal(cell: &ExpectedCell, column: &ArrayRef) -> Vec<bool> {
    use arrow::array::AsArray;
    let column = plain(column);
    if cell.is_prefix && cell.value.is_valid(0) {
        let (texts, start) = (column.as_string::<i32>(), cell.value.as_string::<i32>().value(0));
        return (0..texts.len()).map(|row| texts.is_valid(row) && texts.value(row).starts_with(start)).collect();
    }
    let codec = KeyCodec::of_arrow(vec![column.data_type().clone()]);
    let wanted = codec.encode(&[canonical(&cell.value)], 1);
    let found = codec.encode(&[canonical(&column)], column.len());
    (0..column.len()).map(|row| found.value(row) == wanted.value(0)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::cases::ExpectedRow;
    use engine::plan::Input;

    fn cell(column: &str, value: ArrayRef) -> ExpectedCell {
        ExpectedCell { column: column.into(), value, is_prefix: false, span: 0..0 }
    }

    fn text(value: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    fn expectation(rows: Vec<Vec<ExpectedCell>>) -> Expectation {
        let rows = rows.into_iter().map(|cells| ExpectedRow { line: 1, cells, span: 0..0 }).collect();
        Expectation { name: "s".into(), input: Input::Step(0), rows, key: 0..0, span: 0..0 }
    }

    fn found(rows: &[(&str, i64)]) -> RecordBatch {
        let pages: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(page, _)| *page)));
        let views: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, views)| *views)));
        RecordBatch::try_from_iter([("page", pages), ("views", views)]).unwrap()
    }

    #[test]
    fn a_row_with_few_columns_does_not_take_the_row_of_one_with_more() {
        let rows = vec![
            vec![cell("page", text("/a"))],
            vec![cell("page", text("/a")), cell("views", Arc::new(Int64Array::from(vec![1])))],
        ];
        let expectation = expectation(rows);
        assert!(judge(&expectation, &found(&[("/a", 1), ("/a", 2)])).is_right());
        assert!(judge(&expectation, &found(&[("/a", 2), ("/a", 1)])).is_right());
        assert!(!judge(&expectation, &found(&[("/a", 2), ("/a", 3)])).is_right());
    }

    #[test]
    fn rows_are_a_multiset() {
        let twice = expectation(vec![vec![cell("page", text("/a"))], vec![cell("page", text("/a"))]]);
        assert!(judge(&twice, &found(&[("/a", 1), ("/a", 1)])).is_right());
        assert_eq!(judge(&twice, &found(&[("/a", 1)])).missing, [1]);
        assert_eq!(judge(&twice, &found(&[("/a", 1), ("/a", 1), ("/a", 1)])).unexpected, [2]);
    }

    #[test]
    fn the_nearest_row_is_shown_as_different() {
        let one = expectation(vec![vec![cell("page", text("/b")), cell("views", Arc::new(Int64Array::from(vec![7])))]]);
        let judgement = judge(&one, &found(&[("/a", 1), ("/b", 2)]));
        assert_eq!(judgement.different, [(0, 1, vec!["views".to_string()])]);
        assert_eq!(judgement.unexpected, [0]);
    }

    #[test]
    fn nan_is_nan_and_zero_has_no_sign() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 0.0]));
        let found = RecordBatch::try_from_iter([("x", floats)]).unwrap();
        let rows = [-f64::NAN, -0.0].map(|value| vec![cell("x", Arc::new(Float64Array::from(vec![value])))]);
        assert!(judge(&expectation(rows.into()), &found).is_right());
    }
}
