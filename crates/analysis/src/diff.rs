//! Two result sets, compared row by row.
//!
//! Rows are paired by their key columns; rows of one key are first matched with their equals, the rest in order. Without
//! keys whole rows are compared. Floats are compared by their bits (NaN equals NaN) unless a tolerance is given.

use std::cmp::Ordering;
use std::path::Path;

use polars::prelude::{DataFrame, DataType};
use serde_json::{Value, json};

use crate::cell::{Cell, parse_decimal};
use crate::error::{Error, Result};
use crate::load::load;
use crate::text::{parse_date, parse_time};

/// How to compare.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// The columns that name a row; empty: all columns.
    pub keys: Vec<String>,
    /// How far apart two floats may be and still count as equal.
    pub tolerance: f64,
    /// How many different rows to keep in the answer.
    pub limit: usize,
    /// Columns that are not looked at.
    pub ignore: Vec<String>,
}

/// What the comparison found.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// The columns that rows were paired by.
    pub keys: Vec<String>,
    /// Rows on the left.
    pub left_rows: usize,
    /// Rows on the right.
    pub right_rows: usize,
    /// Rows that are equal on both sides.
    pub equal: usize,
    /// Rows only on the left.
    pub only_left: usize,
    /// Rows only on the right.
    pub only_right: usize,
    /// Rows on both sides with different values.
    pub changed: usize,
    /// Columns only on the left.
    pub columns_only_left: Vec<String>,
    /// Columns only on the right.
    pub columns_only_right: Vec<String>,
    /// The first different rows, in the order of their keys.
    pub rows: Vec<DifferentRow>,
}

/// Where a different row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Only on the left.
    Left,
    /// Only on the right.
    Right,
    /// On both sides, with different values.
    Both,
}

/// A row that is not the same on both sides.
#[derive(Clone, Debug)]
pub struct DifferentRow {
    /// Where it is.
    pub side: Side,
    /// The key columns' values.
    pub key: Vec<(String, Cell)>,
    /// The columns that differ, or all that are not keys when the row is on one side only.
    pub values: Vec<Values>,
}

/// A column, its value on the left, its value on the right.
pub type Values = (String, Option<Cell>, Option<Cell>);

/// The JSON Schema of [`Difference::json`].
pub const DIFF_SCHEMA: &str = include_str!("diff.schema.json");

impl Difference {
    /// Returns true when both sides hold the same columns and rows.
    pub fn is_same(&self) -> bool {
        let columns = self.columns_only_left.is_empty() && self.columns_only_right.is_empty();
        columns && self.only_left + self.only_right + self.changed == 0
    }

    /// Returns the answer as JSON, as [`DIFF_SCHEMA`] describes it.
    pub fn json(&self) -> Value {
        json!({
            "same": self.is_same(),
            "keys": self.keys,
            "left_rows": self.left_rows,
            "right_rows": self.right_rows,
            "equal": self.equal,
            "only_left": self.only_left,
            "only_right": self.only_right,
            "changed": self.changed,
            "columns_only_left": self.columns_only_left,
            "columns_only_right": self.columns_only_right,
            "rows": self.rows.iter().map(DifferentRow::json).collect::<Vec<_>>(),
        })
    }
}

impl DifferentRow {
    fn json(&self) -> Value {
        let key: serde_json::Map<_, _> = self.key.iter().map(|(name, cell)| (name.clone(), cell.json())).collect();
        let side = |pick: fn(&Values) -> Option<&Cell>| -> Value {
            let values: serde_json::Map<_, _> =
                self.values.iter().filter_map(|value| pick(value).map(|cell| (value.0.clone(), cell.json()))).collect();
            Value::Object(values)
        };
        let mut out = json!({
            "side": match self.side { Side::Left => "left", Side::Right => "right", Side::Both => "both" },
            "key": key,
        });
        if self.side != Side::Right {
            out["left"] = side(|value| value.1.as_ref());
        }
        if self.side != Side::Left {
            out["right"] = side(|value| value.2.as_ref());
        }
        out
    }
}

/// Compares two tables: files or folders of Parquet, JSON lines or CSV.
pub fn diff(left: &Path, right: &Path, options: &DiffOptions) -> Result<Difference> {
    let (left_data, right_data) = (collect(left)?, collect(right)?);
    // A folder without files has no rows and no columns of its own.
    let left_data = left_data.unwrap_or_else(|| empty_like(right_data.as_ref()));
    let right_data = right_data.unwrap_or_else(|| empty_like(Some(&left_data)));
    let pair = Pair::new(&left_data, &right_data, options)?;
    Ok(pair.compare(options))
}

fn collect(path: &Path) -> Result<Option<DataFrame>> {
    let Some(rows) = load(path)? else { return Ok(None) };
    let read = |e: polars::prelude::PolarsError| Error::Read { path: path.to_path_buf(), reason: e.to_string() };
    let mut data = rows.collect().map_err(read)?;
    data.rechunk_mut();
    Ok(Some(data))
}

fn empty_like(other: Option<&DataFrame>) -> DataFrame {
    other.map(|data| data.head(Some(0))).unwrap_or_default()
}

/// The columns that both sides have, keys first, with the values of each side made comparable.
struct Pair {
    names: Vec<String>,
    key_count: usize,
    left: Vec<Vec<Cell>>,
    right: Vec<Vec<Cell>>,
    columns_only_left: Vec<String>,
    columns_only_right: Vec<String>,
}

impl Pair {
    fn new(left: &DataFrame, right: &DataFrame, options: &DiffOptions) -> Result<Self> {
        let is_seen = |name: &String| !options.ignore.contains(name);
        let names = |data: &DataFrame| -> Vec<String> {
            data.columns().iter().map(|c| c.name().to_string()).filter(is_seen).collect()
        };
        let (left_names, right_names) = (names(left), names(right));
        let mut common: Vec<String> = left_names.iter().filter(|name| right_names.contains(name)).cloned().collect();
        for key in &options.keys {
            if !common.contains(key) {
                let sides = match (left_names.contains(key), right_names.contains(key)) {
                    (true, _) => "right side has",
                    (_, true) => "left side has",
                    _ => "sides have",
                };
                return Err(Error::Key(format!(
                    "the {sides} no column `{key}`; columns of both: {}",
                    common.join(", ")
                )));
            }
        }
        common.sort_by_key(|name| options.keys.iter().position(|key| key == name).unwrap_or(usize::MAX));
        let key_count = if options.keys.is_empty() { common.len() } else { options.keys.len() };
        let mut rows = (vec![Vec::new(); left.height()], vec![Vec::new(); right.height()]);
        for name in &common {
            let (left_cells, right_cells) = comparable(left, right, name);
            rows.0.iter_mut().zip(left_cells).for_each(|(row, cell)| row.push(cell));
            rows.1.iter_mut().zip(right_cells).for_each(|(row, cell)| row.push(cell));
        }
        let without = |all: &[String]| all.iter().filter(|name| !common.contains(name)).cloned().collect();
        Ok(Self {
            key_count,
            columns_only_left: without(&left_names),
            columns_only_right: without(&right_names),
            names: common,
            left: rows.0,
            right: rows.1,
        })
    }

    fn compare(mut self, options: &DiffOptions) -> Difference {
        self.left.sort_by(|a, b| order(a, b));
        self.right.sort_by(|a, b| order(a, b));
        let mut out = Difference {
            keys: self.names[..self.key_count].to_vec(),
            left_rows: self.left.len(),
            right_rows: self.right.len(),
            columns_only_left: self.columns_only_left.clone(),
            columns_only_right: self.columns_only_right.clone(),
            ..Difference::default()
        };
        let (mut l, mut r) = (0, 0);
        while l < self.left.len() || r < self.right.len() {
            let key = match (self.left.get(l), self.right.get(r)) {
                (Some(a), Some(b)) if self.order_keys(a, b) == Ordering::Greater => &b[..self.key_count],
                (Some(a), _) => &a[..self.key_count],
                (None, Some(b)) => &b[..self.key_count],
                (None, None) => break,
            };
            let has_key = |row: &&Vec<Cell>| order(&row[..self.key_count], key) == Ordering::Equal;
            let left_end = l + self.left[l..].iter().take_while(has_key).count();
            let right_end = r + self.right[r..].iter().take_while(has_key).count();
            self.compare_key(&self.left[l..left_end], &self.right[r..right_end], options, &mut out);
            (l, r) = (left_end, right_end);
        }
        out
    }

    fn order_keys(&self, a: &[Cell], b: &[Cell]) -> Ordering {
        order(&a[..self.key_count], &b[..self.key_count])
    }

    /// Compares the rows of one key; both sides are sorted.
    fn compare_key(&self, left: &[Vec<Cell>], right: &[Vec<Cell>], options: &DiffOptions, out: &mut Difference) {
        let (mut l, mut r) = (0, 0);
        let (mut left_rest, mut right_rest) = (Vec::new(), Vec::new());
        while l < left.len() || r < right.len() {
            let step = match (left.get(l), right.get(r)) {
                (Some(a), Some(b)) => order(a, b),
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            match step {
                Ordering::Equal => {
                    out.equal += 1;
                    (l, r) = (l + 1, r + 1);
                }
                Ordering::Less => {
                    left_rest.push(&left[l]);
                    l += 1;
                }
                Ordering::Greater => {
                    right_rest.push(&right[r]);
                    r += 1;
                }
            }
        }
        let pairs = left_rest.len().min(right_rest.len());
        for (a, b) in left_rest.iter().zip(&right_rest) {
            let values = self.changed_values(a, b, options.tolerance);
            if values.is_empty() {
                out.equal += 1;
            } else {
                out.changed += 1;
                self.keep(Side::Both, a, values, options, out);
            }
        }
        for row in &left_rest[pairs..] {
            out.only_left += 1;
            let values = self.rest_of(row).map(|(name, cell)| (name, Some(cell), None)).collect();
            self.keep(Side::Left, row, values, options, out);
        }
        for row in &right_rest[pairs..] {
            out.only_right += 1;
            let values = self.rest_of(row).map(|(name, cell)| (name, None, Some(cell))).collect();
            self.keep(Side::Right, row, values, options, out);
        }
    }

    fn changed_values(&self, a: &[Cell], b: &[Cell], tolerance: f64) -> Vec<Values> {
        let differ = |i: &usize| !(a[*i].same(&b[*i]) || tolerance > 0.0 && a[*i].close(&b[*i], tolerance));
        (self.key_count..self.names.len())
            .filter(differ)
            .map(|i| (self.names[i].clone(), Some(a[i].clone()), Some(b[i].clone())))
            .collect()
    }

    fn rest_of<'a>(&'a self, row: &'a [Cell]) -> impl Iterator<Item = (String, Cell)> + 'a {
        self.names.iter().cloned().zip(row.iter().cloned()).skip(self.key_count)
    }

    fn keep(&self, side: Side, row: &[Cell], values: Vec<Values>, options: &DiffOptions, out: &mut Difference) {
        if out.rows.len() < options.limit {
            let key = self.names.iter().cloned().zip(row.iter().cloned()).take(self.key_count).collect();
            out.rows.push(DifferentRow { side, key, values });
        }
    }
}

fn order(a: &[Cell], b: &[Cell]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Returns the values of a column on both sides. Where one side is text and the other is not (a CSV file against
/// Parquet), the text is read as the other's type if all of it can be; integers meet floats as floats.
fn comparable(left: &DataFrame, right: &DataFrame, name: &str) -> (Vec<Cell>, Vec<Cell>) {
    let column = |data: &DataFrame| data.column(name).expect("the column is common").clone();
    let (l, r) = (column(left), column(right));
    let cells = |column: &polars::prelude::Column| -> Vec<Cell> {
        column.as_materialized_series().iter().map(|value| Cell::from_any(&value)).collect()
    };
    let (left_cells, right_cells) = (cells(&l), cells(&r));
    let left_cells = read_as(left_cells, l.dtype(), r.dtype());
    let right_cells = read_as(right_cells, r.dtype(), l.dtype());
    (left_cells, right_cells)
}

fn read_as(cells: Vec<Cell>, own: &DataType, other: &DataType) -> Vec<Cell> {
    if own == other || !(own.is_integer() || own.is_float() || *own == DataType::String) {
        return cells;
    }
    let read = |cell: &Cell| -> Option<Cell> {
        Some(match (cell, other) {
            (Cell::Null, _) => Cell::Null,
            (Cell::Int(n), DataType::Float32 | DataType::Float64) => Cell::Float(*n as f64),
            (Cell::Int(_) | Cell::Float(_), DataType::Decimal(..)) => {
                let (digits, scale) = parse_decimal(&cell.text())?;
                Cell::Decimal(digits, scale)
            }
            (Cell::Int(_) | Cell::Float(_) | Cell::Text(_), DataType::String) => Cell::Text(cell.text()),
            (Cell::Text(text), DataType::Decimal(..)) => {
                let (digits, scale) = parse_decimal(text)?;
                Cell::Decimal(digits, scale)
            }
            (Cell::Text(text), DataType::Datetime(..)) => Cell::Time(parse_time(text)?),
            (Cell::Text(text), DataType::Date) => Cell::Date(parse_date(text)?),
            (Cell::Text(text), DataType::Float64) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
                Cell::Float(text.parse().ok()?)
            }
            (Cell::Text(text), DataType::List(_) | DataType::Struct(_)) => {
                Cell::Other(serde_json::from_str::<serde_json::Value>(text).ok()?.to_string())
            }
            (Cell::Text(text), DataType::Binary) => {
                use base64::Engine as _;
                Cell::Bytes(base64::engine::general_purpose::STANDARD.decode(text).ok()?)
            }
            _ => return None,
        })
    };
    match cells.iter().map(read).collect::<Option<Vec<Cell>>>() {
        Some(read) => read,
        None => cells,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sets(tempfile::TempDir);

    impl Sets {
        fn new(left: &str, right: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in [("left", left), ("right", right)] {
                let kind = if text.starts_with('{') { "jsonl" } else { "csv" };
                std::fs::create_dir(folder.path().join(name)).unwrap();
                if !text.is_empty() {
                    std::fs::write(folder.path().join(name).join(format!("rows.{kind}")), text).unwrap();
                }
            }
            Self(folder)
        }

        fn diff(&self, keys: &[&str], tolerance: f64) -> Difference {
            let keys = keys.iter().map(|key| key.to_string()).collect();
            let options = DiffOptions { keys, tolerance, limit: 10, ..DiffOptions::default() };
            diff(&self.0.path().join("left"), &self.0.path().join("right"), &options).unwrap()
        }
    }

    fn counts(found: &Difference) -> [usize; 4] {
        [found.equal, found.only_left, found.only_right, found.changed]
    }

    #[test]
    fn rows_are_paired_by_key_whatever_their_order() {
        let sets = Sets::new("k,v\nb,2\na,1\nc,3\n", "k,v\nd,4\na,1\nb,9\n");
        let found = sets.diff(&["k"], 0.0);
        assert_eq!(counts(&found), [1, 1, 1, 1]);
        assert!(!found.is_same());
        let changed = &found.rows[0];
        assert_eq!(changed.side, Side::Both);
        assert_eq!(changed.json(), json!({"side": "both", "key": {"k": "b"}, "left": {"v": 2}, "right": {"v": 9}}));
        assert_eq!(found.rows[1].json(), json!({"side": "left", "key": {"k": "c"}, "left": {"v": 3}}));
        assert_eq!(found.rows[2].json(), json!({"side": "right", "key": {"k": "d"}, "right": {"v": 4}}));
    }

    #[test]
    fn floats_differ_by_one_bit_unless_tolerated_and_nan_equals_nan() {
        let sets = Sets::new("k,x\n1,0.3\n2,NaN\n", "k,x\n1,0.30000000000000004\n2,NaN\n");
        assert_eq!(counts(&sets.diff(&["k"], 0.0)), [1, 0, 0, 1]);
        assert!(sets.diff(&["k"], 1e-9).is_same());
    }

    #[test]
    fn kinds_of_files_may_differ() {
        let jsonl = "{\"t\":\"2026-01-01T00:00:00.000000Z\",\"x\":1.0,\"s\":\"7\",\"n\":null}\n";
        let sets = Sets::new(jsonl, "t,x,s,n\n2026-01-01T00:00:00Z,1,7,\n");
        let found = sets.diff(&["t"], 0.0);
        assert!(found.is_same(), "{found:?}");
    }

    #[test]
    fn repeated_keys_are_counted() {
        let sets = Sets::new("k,v\na,1\na,1\na,2\n", "k,v\na,1\na,2\na,3\n");
        assert_eq!(counts(&sets.diff(&["k"], 0.0)), [2, 0, 0, 1]);
        assert_eq!(counts(&sets.diff(&[], 0.0)), [2, 1, 1, 0]);
    }

    #[test]
    fn an_empty_folder_has_no_rows() {
        let sets = Sets::new("", "k,v\na,1\n");
        assert_eq!(counts(&sets.diff(&["k"], 0.0)), [0, 0, 1, 0]);
        let sets = Sets::new("", "");
        assert!(sets.diff(&[], 0.0).is_same());
    }

    #[test]
    fn a_column_on_one_side_is_a_difference() {
        let found = Sets::new("k,v,w\na,1,1\n", "k,v\na,1\n").diff(&["k"], 0.0);
        assert_eq!(found.columns_only_left, ["w"]);
        assert!(!found.is_same());
    }

    #[test]
    fn an_unknown_key_names_the_columns() {
        let sets = Sets::new("k,v\na,1\n", "k,v\na,1\n");
        let options = DiffOptions { keys: vec!["q".into()], limit: 1, ..DiffOptions::default() };
        let error = diff(&sets.0.path().join("left"), &sets.0.path().join("right"), &options).unwrap_err();
        assert_eq!(error.to_string(), "the sides have no column `q`; columns of both: k, v");
    }

    #[test]
    fn the_schema_names_every_field() {
        let schema: Value = serde_json::from_str(DIFF_SCHEMA).unwrap();
        let described: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let found = Sets::new("k\na\n", "k\nb\n").diff(&["k"], 0.0).json();
        assert_eq!(described, found.as_object().unwrap().keys().collect::<Vec<_>>());
    }
}
