//! How far texts are from each other, in characters.

use super::each::{floats, integers};
use super::{Family, Function, Kernel, Slot, takes};
use crate::expr::operand::Reason;
use crate::value::DataType;

const BASE: Function = super::base(Family::Text);

/// The most pairs of characters that are compared; beyond it the row fails.
const MOST_PAIRS: usize = 1 << 24;

pub(super) static LEVENSHTEIN: Function = Function {
    name: "levenshtein",
    help: "How many characters have to be inserted, removed or changed to make one text the other",
    signature: "(string, string) → int64",
    types: |arguments| takes(arguments, &LEVENSHTEIN, &[Slot::Text, Slot::Text], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let (a, b) = (call.texts(0), call.texts(1));
        integers(call, |row| distance(a.value(row), b.value(row), false, "levenshtein"))
    }),
    sql: "levenshtein({0}, {1})",
    duckdb: "levenshtein({0}, {1})",
    differs: "DuckDB counts bytes; texts of more than 2^24 pairs of characters fail the row",
    example: ("levenshtein('kitten', 'sitting')", "3"),
    ..BASE
};

pub(super) static DAMERAU_LEVENSHTEIN: Function = Function {
    name: "damerau_levenshtein",
    help: "As `levenshtein`, where exchanging two neighbours counts as one",
    signature: "(string, string) → int64",
    types: |arguments| takes(arguments, &DAMERAU_LEVENSHTEIN, &[Slot::Text, Slot::Text], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let (a, b) = (call.texts(0), call.texts(1));
        integers(call, |row| distance(a.value(row), b.value(row), true, "damerau_levenshtein"))
    }),
    sql: "damerau_levenshtein({0}, {1})",
    duckdb: "damerau_levenshtein({0}, {1})",
    differs: "DuckDB counts bytes; texts of more than 2^24 pairs of characters fail the row",
    example: ("damerau_levenshtein('hello', 'ehllo')", "1"),
    ..BASE
};

pub(super) static HAMMING: Function = Function {
    name: "hamming",
    help: "At how many places two texts of equal length differ; another length fails the row",
    signature: "(string, string) → int64",
    types: |arguments| takes(arguments, &HAMMING, &[Slot::Text, Slot::Text], 2, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let (a, b) = (call.texts(0), call.texts(1));
        integers(call, |row| {
            let (a, b) = (a.value(row), b.value(row));
            if a.chars().count() != b.chars().count() {
                return Err("hamming: the texts have different lengths".into());
            }
            Ok(a.chars().zip(b.chars()).filter(|(a, b)| a != b).count() as i64)
        })
    }),
    sql: "hamming({0}, {1})",
    duckdb: "hamming({0}, {1})",
    differs: "DuckDB counts bytes, and empty texts fail there",
    example: ("hamming('1011', '1001')", "1"),
    ..BASE
};

pub(super) static JACCARD: Function = Function {
    name: "jaccard",
    help: "How many different characters both texts have, divided by how many at least one has; an empty text fails the row",
    signature: "(string, string) → float64",
    types: |arguments| takes(arguments, &JACCARD, &[Slot::Text, Slot::Text], 2, DataType::Float64),
    kernel: Kernel::Rows(|call| {
        let (a, b) = (call.texts(0), call.texts(1));
        floats(call, |row| {
            let set = |text: &str| text.chars().collect::<std::collections::BTreeSet<char>>();
            let (a, b) = (set(a.value(row)), set(b.value(row)));
            if a.is_empty() || b.is_empty() {
                return Err("jaccard: a text is empty".into());
            }
            Ok(a.intersection(&b).count() as f64 / a.union(&b).count() as f64)
        })
    }),
    sql: "jaccard({0}, {1})",
    duckdb: "jaccard({0}, {1})",
    differs: "DuckDB counts bytes",
    example: ("jaccard('duck', 'luck')", "0.6"),
    ..BASE
};

/// Returns the edit distance, by rows of the table of distances between beginnings. With `swaps`, two exchanged
/// neighbours are one edit, also with edits between them.
fn distance(a: &str, b: &str, swaps: bool, name: &str) -> Result<i64, Reason> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().saturating_mul(b.len()) > MOST_PAIRS {
        return Err(format!("{name}: the texts are too long").into());
    }
    if swaps {
        return Ok(unrestricted(&a, &b) as i64);
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    Ok(row[b.len()] as i64)
}

/// The distance with exchanges: an exchange of two characters that have become neighbours costs one, and the edits
/// between them on top.
fn unrestricted(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 2;
    let far = a.len() + b.len();
    let mut table = vec![0; (a.len() + 2) * width];
    let at = |i: usize, j: usize| i * width + j;
    table[0] = far;
    for i in 0..=a.len() {
        (table[at(i + 1, 0)], table[at(i + 1, 1)]) = (far, i);
    }
    for j in 0..=b.len() {
        (table[at(0, j + 1)], table[at(1, j + 1)]) = (far, j);
    }
    let mut last_row: std::collections::BTreeMap<char, usize> = std::collections::BTreeMap::new();
    for i in 1..=a.len() {
        let mut last_match = 0;
        for j in 1..=b.len() {
            let row = last_row.get(&b[j - 1]).copied().unwrap_or(0);
            let column = last_match;
            let same = a[i - 1] == b[j - 1];
            if same {
                last_match = j;
            }
            let changed = table[at(i, j)] + usize::from(!same);
            let added = table[at(i + 1, j)].min(table[at(i, j + 1)]) + 1;
            let swapped = table[at(row, column)] + (i - row - 1) + 1 + (j - column - 1);
            table[at(i + 1, j + 1)] = changed.min(added).min(swapped);
        }
        last_row.insert(a[i - 1], i);
    }
    table[at(a.len() + 1, b.len() + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: the least over the last edit, tried out.
    fn naive(a: &[char], b: &[char]) -> i64 {
        match (a.split_last(), b.split_last()) {
            (None, _) => b.len() as i64,
            (_, None) => a.len() as i64,
            (Some((x, a_rest)), Some((y, b_rest))) => {
                let changed = naive(a_rest, b_rest) + i64::from(x != y);
                changed.min(naive(a_rest, b) + 1).min(naive(a, b_rest) + 1)
            }
        }
    }

    #[test]
    fn short_texts_are_as_far_apart_as_defined() {
        let words: Vec<String> = (0..81).map(|i| format!("{}{}{}", i % 3, i / 3 % 3, "ñ".repeat(i / 9 % 3))).collect();
        for a in &words {
            for b in &words {
                let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
                assert_eq!(distance(a, b, false, ""), Ok(naive(&x, &y)), "{a} {b}");
            }
        }
    }

    #[test]
    fn exchanged_neighbours_are_one_edit() {
        for (a, b, expected) in
            [("ab", "ba", 1), ("ca", "abc", 2), ("abc", "abc", 0), ("", "ab", 2), ("abcd", "badc", 2)]
        {
            assert_eq!(distance(a, b, true, ""), Ok(expected), "{a} {b}");
            assert_eq!(distance(b, a, true, ""), Ok(expected), "{b} {a}");
        }
        let long = "a".repeat(5_000);
        assert!(distance(&long, &long, false, "levenshtein").is_err());
    }
}
