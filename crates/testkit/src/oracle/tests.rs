//! The oracle on logs so small that the law can be followed by hand.

use super::*;
use crate::case::expr::{Aggregate, Binary, binary, call, column};
use crate::case::log::{Content, PartitionLog, Record};
use crate::case::{Source, SourceColumn, Top};
use crate::value::Type;

const SOURCE: &str = "events";

fn pipeline(bound: i64, steps: Vec<Step>) -> Pipeline {
    let column = |name: &str, ty| SourceColumn { name: name.into(), ty, required: false, beside: None };
    Pipeline {
        columns: vec![column("event_time", Type::Time), column("num", Type::Int64)],
        event_time: "event_time".into(),
        sources: vec![Source { name: SOURCE.into(), bound, max_future: None, partitions: None }],
        steps,
    }
}

fn step(name: &str, from: &str, window: Window) -> Step {
    Step { name: name.into(), from: vec![from.into()], window: Some(window), ..Step::default() }
}

fn window(kind: Kind, allowed: i64) -> Window {
    let count = call(Aggregate::Count, Vec::new());
    Window {
        kind,
        allowed,
        keys: Vec::new(),
        unique_by: Vec::new(),
        aggregates: vec![("rows".into(), count)],
        having: None,
        top: None,
    }
}

/// One partition for each list of (event time, num).
fn log(partitions: &[&[(i64, i64)]]) -> Log {
    let record = |(offset, (time, num)): (usize, &(i64, i64))| Record {
        offset: offset as i64,
        timestamp: 0,
        key: None,
        value: None,
        headers: Vec::new(),
        content: Content::Row(vec![Value::Time(*time), Value::Int(*num)]),
    };
    let partition = |(number, records): (usize, &&[(i64, i64)])| PartitionLog {
        source: 0,
        partition: number as i32,
        start: 0,
        end: records.len() as i64,
        records: records.iter().enumerate().map(record).collect(),
    };
    Log { partitions: partitions.iter().enumerate().map(partition).collect() }
}

fn run(pipeline: &Pipeline, log: &Log) -> Answer {
    answer(pipeline, log, &Cut::default()).expect("nothing overflows")
}

/// Rows as (start, end, first aggregate, final).
fn rows(step: &StepAnswer) -> Vec<(i64, i64, i64, bool)> {
    let rows = step.rows.iter().map(|row| match (&row.cells[..], row.is_final) {
        ([Value::Time(start), Value::Time(end), .., Value::Int(count)], is_final) => (*start, *end, *count, is_final),
        (cells, _) => panic!("{cells:?}"),
    });
    rows.collect()
}

#[test]
fn a_record_is_late_when_the_window_ends_at_the_watermark() {
    let plan = pipeline(5, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 0))]);
    // W before the third record is 14 − 5 = 9, before the fourth 15 − 5 = 10.
    let answer = run(&plan, &log(&[&[(1, 0), (14, 0), (2, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 2, false), (10, 20, 1, false)]);
    let answer = run(&plan, &log(&[&[(1, 0), (15, 0), (2, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 1, true), (10, 20, 1, false)]);
    assert_eq!(answer.steps[0].late, [(0, 0, 2, None)]);
}

#[test]
fn allowed_lateness_keeps_a_window_open_exactly_as_long() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 3))]);
    let answer = run(&plan, &log(&[&[(0, 0), (12, 0), (1, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 2, false), (10, 20, 1, false)]);
    let answer = run(&plan, &log(&[&[(0, 0), (13, 0), (1, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 1, true), (10, 20, 1, false)]);
}

#[test]
fn a_record_may_be_late_for_one_hopping_window_and_not_the_next() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Hopping { size: 10, every: 5, offset: 0 }, 0))]);
    let answer = run(&plan, &log(&[&[(10, 0), (7, 0)]]));
    // 7 is in [0, 10) and [5, 15); only the first ends at W = 10.
    assert_eq!(rows(&answer.steps[0]), [(5, 15, 2, false), (10, 20, 1, false)]);
    assert_eq!(answer.rows_late, 0);
    assert_eq!(answer.steps[0].partly_late, [(0, 0, 1, None)].into());
}

#[test]
fn windows_are_floored_before_1970() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 3 }, 0))]);
    let answer = run(&plan, &log(&[&[(-8, 0), (-7, 0), (2, 0), (3, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(-17, -7, 1, true), (-7, 3, 2, true), (3, 13, 1, false)]);
}

#[test]
fn records_exactly_a_gap_apart_are_two_sessions() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Session { gap: 5 }, 0))]);
    let answer = run(&plan, &log(&[&[(0, 0), (4, 0), (9, 0), (14, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 9, 2, true), (9, 14, 1, true), (14, 19, 1, false)]);
}

#[test]
fn a_session_takes_a_record_at_the_watermark_and_none_behind_it() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Session { gap: 5 }, 0))]);
    let answer = run(&plan, &log(&[&[(10, 0), (10, 0), (9, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(10, 15, 2, false)]);
    assert_eq!(answer.steps[0].late, [(0, 0, 2, None)]);
}

#[test]
fn sessions_merge_across_partitions() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Session { gap: 5 }, 0))]);
    let answer = run(&plan, &log(&[&[(0, 0), (8, 0)], &[(4, 0), (100, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 13, 3, false), (100, 105, 1, false)]);
    assert_eq!(answer.steps[0].sessions_across_partitions, 1);
}

#[test]
fn an_empty_partition_holds_everything_open_unless_it_is_left_out() {
    let mut plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 0))]);
    let log = log(&[&[(0, 0), (50, 0)], &[]]);
    assert_eq!(rows(&run(&plan, &log).steps[0]), [(0, 10, 1, false), (50, 60, 1, false)]);
    plan.sources[0].partitions = Some(vec![0]);
    assert_eq!(rows(&run(&plan, &log).steps[0]), [(0, 10, 1, true), (50, 60, 1, false)]);
}

#[test]
fn the_slowest_partition_decides_what_is_final_and_each_one_what_is_late_in_it() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 0))]);
    let answer = run(&plan, &log(&[&[(0, 0), (50, 0), (1, 0)], &[(2, 0), (3, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 3, false), (50, 60, 1, false)]);
    assert_eq!(answer.steps[0].late, [(0, 0, 2, None)]);
    assert_eq!(answer.watermarks, BTreeMap::from([((0, 0), Some(50)), ((0, 1), Some(3))]));
}

#[test]
fn a_second_step_is_final_when_its_input_is_complete_to_its_end() {
    let mut second = window(Kind::Tumbling { size: 20, offset: 0 }, 0);
    second.aggregates = vec![("sum".into(), call(Aggregate::Sum, vec![column("rows")]))];
    let first = window(Kind::Tumbling { size: 10, offset: 0 }, 4);
    let plan = pipeline(0, vec![step("a", SOURCE, first), step("b", "a", second)]);
    // G = 23: C = 19 is short of 20; G = 24: C = 20 reaches it.
    let answer = run(&plan, &log(&[&[(1, 0), (11, 0), (23, 0)]]));
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 1, true), (10, 20, 1, false), (20, 30, 1, false)]);
    assert_eq!(rows(&answer.steps[1]), [(0, 20, 2, false), (20, 40, 1, false)]);
    let answer = run(&plan, &log(&[&[(1, 0), (11, 0), (24, 0)]]));
    assert_eq!(rows(&answer.steps[1]), [(0, 20, 2, true), (20, 40, 1, false)]);
}

#[test]
fn a_failing_row_is_bad_not_late_and_still_moves_the_maximum() {
    let mut sum = window(Kind::Tumbling { size: 10, offset: 0 }, 0);
    let quotient = binary(Binary::Quotient, Expr::Literal(Value::Int(1)), column("num"));
    sum.aggregates.push(("sum".into(), call(Aggregate::Sum, vec![quotient])));
    sum.aggregates.swap(0, 1);
    let plan = pipeline(0, vec![step("s", SOURCE, sum)]);
    let answer = run(&plan, &log(&[&[(30, 0), (1, 0), (2, 1), (31, 1)]]));
    assert_eq!(answer.steps[0].failed, [(0, 0, 0, None), (0, 0, 1, None)]);
    assert_eq!(answer.steps[0].late, [(0, 0, 2, None)]);
    assert_eq!(rows(&answer.steps[0]), [(30, 40, 1, false)]);
}

#[test]
fn ties_are_cut_by_the_lesser_key_or_kept() {
    let mut counted = window(Kind::Tumbling { size: 10, offset: 0 }, 0);
    counted.keys = vec![("num".into(), column("num"))];
    counted.top = Some(Top { n: 1, by: vec![("rows".into(), true)], per: Vec::new(), keep: false, rank: None });
    let mut plan = pipeline(0, vec![step("s", SOURCE, counted)]);
    let log = log(&[&[(1, 7), (2, 3), (3, 7), (4, 3), (5, 1)]]);
    let keys = |plan: &Pipeline| -> Vec<Value> {
        run(plan, &log).steps[0].rows.iter().map(|row| row.cells[2].clone()).collect()
    };
    assert_eq!(keys(&plan), [Value::Int(3)]);
    plan.steps[0].window.as_mut().unwrap().top.as_mut().unwrap().keep = true;
    assert_eq!(keys(&plan), [Value::Int(3), Value::Int(7)]);
}

#[test]
fn a_cut_is_as_if_the_log_held_nothing_else() {
    let plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 0))]);
    let cut = Cut { start: BTreeMap::from([((0, 0), 1)]), end: BTreeMap::from([((0, 0), 3)]) };
    let answer = answer(&plan, &log(&[&[(50, 0), (1, 0), (2, 0), (60, 0)]]), &cut).unwrap();
    assert_eq!(rows(&answer.steps[0]), [(0, 10, 2, false)]);
    assert_eq!((answer.rows_read, answer.rows_late), (2, 0));
}

#[test]
fn the_future_guard_takes_what_lies_past_it() {
    let mut plan = pipeline(0, vec![step("s", SOURCE, window(Kind::Tumbling { size: 10, offset: 0 }, 0))]);
    plan.sources[0].max_future = Some(20);
    let answer = run(&plan, &log(&[&[(20, 0), (21, 0)]]));
    assert_eq!(answer.bad, [(0, 0, 1, None)]);
    assert_eq!(answer.watermarks, BTreeMap::from([((0, 0), Some(20))]));
}
