//! Tests in a file: values as they are written, and expectations written back without touching the rest.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use engine::plan::Input;

use super::{SMALL, good};
use crate::Loaded;
use crate::cases::{self, Edits};

fn with_tests(tests: &str) -> String {
    format!("{SMALL}tests:\n{tests}")
}

#[test]
fn values_are_read_by_their_column_s_type_from_the_text() {
    let text = SMALL.replace("extra: string", "extra: \"decimal(38,20)\"");
    let text = format!(
        "{text}tests:\n- name: exact\n  given:\n    clicks:\n    - {{page: no, user_id: 9007199254740993, amount: 0.1, \
         extra: 123456789012345678.12345678901234567890, at: \"2026-01-01T00:00:00.1234567+01:00\"}}\n    \
         - {{page: \"null\", user_id: ~, partition: 3, offset: 7, timestamp: 5}}\n    - {{_raw: '{{\"a', _key: k}}\n"
    );
    let loaded = good(&text);
    let given = &loaded.cases[0].given[0];
    let column = |name: &str| given.columns.column_by_name(name).unwrap();
    assert_eq!(column("page").as_string::<i32>().value(0), "no");
    assert_eq!(column("page").as_string::<i32>().value(1), "null");
    assert_eq!(column("user_id").as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
    assert!(column("user_id").is_null(1));
    assert_eq!(column("amount").as_primitive::<Float64Type>().value(0), 0.1);
    let exact = 12_345_678_901_234_567_812_345_678_901_234_567_890_i128;
    assert_eq!(column("extra").as_primitive::<Decimal128Type>().value(0), exact);
    // 2025-12-31T23:00:00.123456Z
    assert_eq!(column("at").as_primitive::<TimestampMicrosecondType>().value(0), 1_767_222_000_123_456);
    let second = &given.records[1];
    assert_eq!((second.partition, second.offset, second.timestamp), (3, Some(7), Some(5)));
    let raw = given.records[2].raw.clone().unwrap();
    assert_eq!(raw, (Some(b"k".to_vec()), Some(b"{\"a".to_vec())));
}

#[test]
fn a_column_of_the_source_goes_before_the_log_s_own_name() {
    let text = SMALL.replace("extra: string", "timestamp: string");
    let text = format!(
        "{text}tests:\n- name: x\n  given: {{clicks: [{{timestamp: soon, _timestamp: 12, at: 2026-01-01}}]}}\n"
    );
    let loaded = good(&text);
    let given = &loaded.cases[0].given[0];
    assert_eq!(given.columns.column_by_name("timestamp").unwrap().as_string::<i32>().value(0), "soon");
    assert_eq!(given.records[0].timestamp, Some(12));
}

/// Rows of `per_page` as a run would give them.
fn found(rows: &[(&str, i64, bool)]) -> RecordBatch {
    let pages: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(page, ..)| *page)));
    let views: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, views, _)| *views)));
    let finals: ArrayRef = Arc::new(BooleanArray::from_iter(rows.iter().map(|(.., is_final)| Some(*is_final))));
    RecordBatch::try_from_iter([("page", pages), ("views", views), ("final", finals)]).unwrap()
}

fn bless(text: &str, rows: &[(&str, i64, bool)]) -> String {
    let Loaded { observed: plan, cases, .. } = good(text);
    let mut edits = Edits::default();
    for case in &cases {
        let of = |input| match input {
            Input::Step(0) => found(rows),
            _ => found(&[]),
        };
        cases::blessed(text, &plan, case, &of, &mut edits);
    }
    let new = edits.apply(text);
    // What was written is right, and stays so.
    for case in &good(&new).cases {
        for expectation in &case.expect {
            let rows = if expectation.input == Input::Step(0) { found(rows) } else { found(&[]) };
            assert!(cases::judge(expectation, &rows).is_right(), "{new}");
        }
    }
    new
}

#[test]
fn only_what_is_wrong_is_written_anew() {
    let before = with_tests(
        "  # the first\n  - name: x\n    given: {}\n    expect:\n      per_page:   # of the page\n        - {page: /a,  views: 1}   # stays\n        - {page: /b, views: 2 }  # another count\n        - page: /gone            # goes\n          views: 9\n        - page: \"/c\"\n          views: 4   # as a block\n",
    );
    let after = bless(&before, &[("/a", 1, true), ("/b", 3, true), ("/c", 5, false), ("/d e", 6, false)]);
    let expected = with_tests(
        "  # the first\n  - name: x\n    given: {}\n    expect:\n      per_page:   # of the page\n        - {page: /a,  views: 1}   # stays\n        - {page: /b, views: 3 }  # another count\n        - page: \"/c\"\n          views: 5   # as a block\n        - {page: \"/d e\", views: 6}\n",
    );
    assert_eq!(after, expected);
}

#[test]
fn empty_and_absent_expectations_are_filled() {
    let rows = [("/a", 1, true)];
    let row = "{page: /a, views: 1, final: true}";
    for (before, after) in [
        (
            "- name: x\n  given: {}\n  expect:\n    per_page: []  # none yet\n",
            format!("- name: x\n  given: {{}}\n  expect:\n    per_page:  # none yet\n      - {row}\n"),
        ),
        ("- name: x\n  given: {}\n", format!("- name: x\n  given: {{}}\n  expect:\n    per_page:\n      - {row}\n")),
        (
            "- name: x\n  given: {}\n  expect: {}\n- name: y\n  given: {}\n  expect: {per_page: [{page: /a}]}\n",
            format!(
                "- name: x\n  given: {{}}\n  expect:\n    per_page:\n      - {row}\n- name: y\n  given: {{}}\n  expect: {{per_page: [{{page: /a}}]}}\n"
            ),
        ),
        ("- {name: x, given: {}}\n", format!("- {{name: x, given: {{}}, expect: {{per_page: [{row}]}}}}\n")),
        (
            "- {name: x, given: {}, expect: {per_page: [{page: /b}, {page: /a}]}}",
            "- {name: x, given: {}, expect: {per_page: [{page: /a}]}}".to_string(),
        ),
    ] {
        assert_eq!(bless(&with_tests(before), &rows), with_tests(&after));
    }
    let before = with_tests("- name: x\n  given: {}\n  expect:\n    per_page:\n    - {page: /a}\n    # more\n");
    let after = with_tests("- name: x\n  given: {}\n  expect:\n    per_page: []\n    # more\n");
    assert_eq!(bless(&before, &[]), after);
}
