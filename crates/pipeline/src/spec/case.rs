//! Test cases as written: which rows are given, and which are expected.

use engine::Code;

use super::{CaseSpec, RowSpec, RowsSpec};
use crate::fields;
use crate::problems::Problems;
use crate::read::{Fields, not_a_list};
use crate::yaml::{Entry, Kind, Node};

impl CaseSpec {
    /// Reads the list of cases.
    pub(super) fn read_all(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Self> {
        let Some(entry) = fields.entry("tests") else { return Vec::new() };
        let Kind::Sequence(items) = &entry.value.kind else {
            not_a_list("tests", entry, problems);
            return Vec::new();
        };
        let cases: Vec<Self> = items.iter().filter_map(|item| Self::read(item, entry, problems)).collect();
        for (i, case) in cases.iter().enumerate() {
            if let Some(first) = cases[..i].iter().find(|other| other.name.text == case.name.text) {
                let line = problems.line(first.name.span.start);
                problems
                    .error(
                        Code::Name,
                        case.name.span,
                        format!("two tests are named `{}`", case.name.text),
                        "the second one",
                    )
                    .help = Some(format!("the first is in line {line}; give one of them another name"));
            }
        }
        cases
    }

    fn read(node: &Node, tests: &Entry, problems: &mut Problems) -> Option<Self> {
        let place = if node.is_null() { tests.key.span } else { node.span };
        let fields = Fields::open(node, place, &fields::CASE, problems)?;
        fields.text("description", problems);
        let given = fields.entry("given").map(|entry| read_sets(entry, "a source", problems)).unwrap_or_default();
        let expect = fields.entry("expect").map(|entry| read_sets(entry, "a step", problems)).unwrap_or_default();
        let fails = fields.choice("fails", problems);
        if let (Some(fails), Some(expect)) = (&fails, fields.entry("expect")) {
            problems
                .error(
                    Code::Field,
                    expect.key.span,
                    "`expect` has no place beside `fails`",
                    "no rows of a run that fails",
                )
                .help = Some(format!(
                "which rows there are when a run ends with {} depends on how far it came: leave one of the two out",
                fails.value
            ));
        }
        Some(Self {
            name: fields.some_text("name", problems)?,
            fails: fails.map(|word| word.value),
            given,
            expect,
            expect_key: fields.entry("expect").map(|entry| (entry.key.span, entry.value.span)),
            span: node.span,
        })
    }
}

/// Reads a map of names to lists of rows.
fn read_sets(entry: &Entry, what: &str, problems: &mut Problems) -> Vec<RowsSpec> {
    if entry.value.is_null() {
        return Vec::new();
    }
    let Kind::Mapping(entries) = &entry.value.kind else {
        let name = &entry.key.text;
        let message = format!("`{name}` is {}, not a map of names", entry.value.what());
        problems.error(Code::Field, entry.value.span, message, "not a map").help =
            Some(format!("write `{name}: {{NAME: [ROW, …]}}`, where NAME is that of {what}"));
        return Vec::new();
    };
    let entries = entries.iter().filter(|entry| !entry.key.text.starts_with("x-"));
    entries.map(|entry| read_rows(entry, problems)).collect()
}

fn read_rows(entry: &Entry, problems: &mut Problems) -> RowsSpec {
    let items = match &entry.value.kind {
        Kind::Sequence(items) => items.as_slice(),
        _ if entry.value.is_null() => &[],
        _ => {
            not_a_list(&entry.key.text, entry, problems);
            &[]
        }
    };
    let rows = items.iter().filter_map(|item| match &item.kind {
        Kind::Mapping(cells) => {
            let cells = cells.iter().filter(|cell| !cell.key.text.starts_with("x-"));
            Some(RowSpec { span: item.span, cells: cells.cloned().collect() })
        }
        _ => {
            let span = if item.is_null() { entry.key.span } else { item.span };
            problems.error(Code::Field, span, format!("a row is {}, not a map", item.what()), "not a map").help =
                Some("a row is `{column: value, …}`".into());
            None
        }
    });
    RowsSpec { name: entry.key.clone(), span: entry.value.span, rows: rows.collect() }
}
