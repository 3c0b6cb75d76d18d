//! Joins by the text of the law: every row of one side beside every row of the other, and a test of each pair.

use super::{Failed, Flow, Identity, Order, Pair, Row, StepAnswer, fail, is_late_for_point, is_late_for_window};
use super::{row_work, unbroken, value_in, windows_of};
use crate::case::expr::Column;
use crate::case::{Join, Kind, Near, Step, own_columns};
use crate::value::Value;

/// A row of a side with its key; None joins nothing.
struct Candidate<'a> {
    row: &'a Row,
    key: Option<Vec<Value>>,
}

/// A joined row before row work.
struct Found<'a> {
    rows: [Option<&'a Row>; 2],
    time: i64,
    window: Option<(i64, i64)>,
    is_final: bool,
}

/// Returns what a join finds, and what its readers see.
pub(super) fn run(step: &Step, join: &Join, sides: [&Flow; 2]) -> (StepAnswer, Flow) {
    let mut answer = StepAnswer::empty(&step.name);
    let mut found = match join.near {
        Near::Window(kind) => in_windows(join, kind, sides, &mut answer),
        Near::Within { before, after } => within(join, before, after, sides, &mut answer),
        Near::AsOf { max_age } => as_of(join, max_age, sides, &mut answer),
    };
    found.retain(|found| (0..2).all(|side| found.rows[1 - side].is_some() || join.keeps[side]));
    let (columns, _) = join.columns([&sides[0].columns, &sides[1].columns]).expect("a valid pipeline");
    let mut rows = Vec::new();
    for found in &found {
        answer.final_without_partner += usize::from(found.is_final && found.rows.iter().any(Option::is_none));
        answer.pairs_across_sources += usize::from(is_across(found));
        let row = joined(join, &columns, sides, found);
        match row_work(step, &columns, &row) {
            Ok(None) => {}
            Ok(Some(cells)) => rows.push(Row { cells, ..row }),
            Err(Failed) => fail(&row, &mut answer),
        }
    }
    let all = step.row_columns(&columns).expect("a valid pipeline");
    if !step.rules.is_empty() {
        rows = unbroken(step, &all, rows, &mut answer);
    }
    rows.sort_by(|a, b| a.identity.cmp(&b.identity));
    let own = own_columns(step, all.clone());
    for row in &mut rows {
        row.cells = own.iter().map(|(name, _)| value_in(&all, &row.cells, name)).collect();
    }
    let [left, right] = sides.map(|side| side.complete);
    // None, −∞, is less than every Some.
    let least = left.min(right);
    let complete = match join.near {
        Near::Window(_) | Near::AsOf { .. } => least,
        // A left row that waits for a partner may be as much as `after` behind the right side, a right one `before`
        // behind the left side.
        Near::Within { before, after } => {
            let left = if join.keeps[1] { left.map(|left| left - before) } else { left };
            let right = if join.keeps[0] { right.map(|right| right - after) } else { right };
            left.min(right)
        }
    };
    answer.columns = own.clone();
    answer.is_ordered = matches!(join.near, Near::Window(_));
    answer.rows = rows.clone();
    let is_ordered = answer.is_ordered;
    (answer, Flow { columns: own, rows, complete, over_windows: true, is_indexed: false, is_ordered })
}

fn is_across(found: &Found<'_>) -> bool {
    match found.rows.map(|row| row.map(|row| &row.identity)) {
        [Some(Identity::Record(left, ..)), Some(Identity::Record(right, ..))] => left != right,
        _ => false,
    }
}

/// The rows of a side with their keys.
fn candidates<'a>(join: &Join, side: usize, flow: &'a Flow) -> Vec<Candidate<'a>> {
    let of = |row: &'a Row| {
        let key: Vec<Value> =
            join.on.iter().map(|pair| value_in(&flow.columns, &row.cells, [&pair.0, &pair.1][side])).collect();
        Candidate { row, key: (!key.iter().any(Value::is_null)).then_some(key) }
    };
    flow.rows.iter().map(of).collect()
}

/// The rows of a side that are accepted by the rule for points in time; the others are late.
fn accepted<'a>(join: &Join, side: usize, flow: &'a Flow, answer: &mut StepAnswer) -> Vec<Candidate<'a>> {
    let (late, accepted) = candidates(join, side, flow).into_iter().partition(|one| is_late_for_point(one.row, 0));
    let late: Vec<Candidate<'_>> = late;
    late.iter().for_each(|one| answer.late.extend(position(one.row)));
    accepted
}

fn position(row: &Row) -> Option<super::Position> {
    match row.identity {
        Identity::Record(source, partition, offset, index) => Some((source, partition, offset, index)),
        Identity::Window { .. } | Identity::Pair(..) => None,
    }
}

fn meets(left: &Candidate<'_>, right: &Candidate<'_>) -> bool {
    left.key.is_some() && left.key == right.key
}

/// All pairs in each window; a window is final when neither side can add to it.
fn in_windows<'a>(join: &Join, kind: Kind, sides: [&'a Flow; 2], answer: &mut StepAnswer) -> Vec<Found<'a>> {
    let all = [candidates(join, 0, sides[0]), candidates(join, 1, sides[1])];
    let mut members: std::collections::BTreeMap<(i64, i64), [Vec<&Candidate<'a>>; 2]> = Default::default();
    for (side, candidates) in all.iter().enumerate() {
        for one in candidates {
            let windows = windows_of(kind, one.row);
            let in_time: Vec<_> = windows.iter().filter(|(_, end)| !is_late_for_window(*end, one.row, 0)).collect();
            match (in_time.len(), position(one.row)) {
                (0, position) => answer.late.extend(position),
                (some, position) if some < windows.len() => answer.partly_late.extend(position),
                _ => {}
            }
            for (start, end) in in_time {
                members.entry((*end, *start)).or_default()[side].push(one);
            }
        }
    }
    let complete = sides[0].complete.min(sides[1].complete);
    let mut found = Vec::new();
    for ((end, start), [left, right]) in members {
        let is_final = complete.is_some_and(|complete| complete >= end);
        let mut add = |rows| found.push(Found { rows, time: end - 1, window: Some((start, end)), is_final });
        for one in &left {
            for other in right.iter().filter(|other| meets(one, other)) {
                add([Some(one.row), Some(other.row)]);
            }
            if !right.iter().any(|other| meets(one, other)) {
                add([Some(one.row), None]);
            }
        }
        for other in right.iter().filter(|other| !left.iter().any(|one| meets(one, other))) {
            add([None, Some(other.row)]);
        }
    }
    found
}

/// All pairs with `left − before <= right <= left + after`. A row without a partner is final when the other side is past
/// all that could have been one.
fn within<'a>(join: &Join, before: i64, after: i64, sides: [&'a Flow; 2], answer: &mut StepAnswer) -> Vec<Found<'a>> {
    let left = accepted(join, 0, sides[0], answer);
    let right = accepted(join, 1, sides[1], answer);
    let is_pair = |one: &Candidate<'_>, other: &Candidate<'_>| {
        meets(one, other) && one.row.time - before <= other.row.time && other.row.time <= one.row.time + after
    };
    let mut found = Vec::new();
    for one in &left {
        for other in right.iter().filter(|other| is_pair(one, other)) {
            let is_final = one.row.is_final && other.row.is_final;
            let time = one.row.time.max(other.row.time);
            found.push(Found { rows: [Some(one.row), Some(other.row)], time, window: None, is_final });
        }
        if !right.iter().any(|other| is_pair(one, other)) {
            let is_past = sides[1].complete.is_some_and(|complete| complete > one.row.time + after);
            let is_final = one.row.is_final && is_past;
            found.push(Found { rows: [Some(one.row), None], time: one.row.time, window: None, is_final });
        }
    }
    for other in right.iter().filter(|other| !left.iter().any(|one| is_pair(one, other))) {
        let is_past = sides[0].complete.is_some_and(|complete| complete > other.row.time + before);
        let is_final = other.row.is_final && is_past;
        found.push(Found { rows: [None, Some(other.row)], time: other.row.time, window: None, is_final });
    }
    found
}

/// Each left row with the last right row of its key that is not later and not too old.
fn as_of<'a>(join: &Join, max_age: Option<i64>, sides: [&'a Flow; 2], answer: &mut StepAnswer) -> Vec<Found<'a>> {
    let left = accepted(join, 0, sides[0], answer);
    let right = accepted(join, 1, sides[1], answer);
    let mut of = |one: &Candidate<'a>| {
        let time = one.row.time;
        let before = right.iter().filter(|other| meets(one, other) && other.row.time <= time);
        let version = before.max_by_key(|other| other.row.order());
        // A record without a value ends what there was before it.
        answer.ended += usize::from(version.is_some_and(|version| version.row.is_tombstone));
        let version = version.filter(|version| !version.row.is_tombstone);
        let version = version.filter(|version| max_age.is_none_or(|age| time - version.row.time <= age));
        let is_past = sides[1].complete.is_some_and(|complete| complete > time);
        let rows = [Some(one.row), version.map(|version| version.row)];
        Found { rows, time, window: None, is_final: one.row.is_final && is_past }
    };
    left.iter().map(&mut of).collect()
}

/// Makes the row: bounds, keys, the columns of each side.
fn joined(join: &Join, columns: &[Column], sides: [&Flow; 2], found: &Found<'_>) -> Row {
    let of_side = |side: usize, name: &str| match found.rows[side] {
        Some(row) => value_in(&sides[side].columns, &row.cells, name),
        None => Value::Null,
    };
    let has = |side: usize, name: &str| sides[side].columns.iter().any(|(column, _)| column == name);
    let cell = |name: &str| match (name, found.window) {
        ("window_start", Some((start, _))) => Value::Time(start),
        ("window_end", Some((_, end))) => Value::Time(end),
        _ => {
            let key = join.on.iter().find(|(left, _)| left == name);
            match (name.split_once('.'), key) {
                (Some(("left", own)), _) => of_side(0, own),
                (Some((_, own)), _) => of_side(1, own),
                (None, Some((left, right))) => match found.rows[0] {
                    Some(_) => of_side(0, left),
                    None => of_side(1, right),
                },
                // Where both sides have the name, it is the partner of a left column on the other side.
                (None, None) if has(0, name) && !join.on.iter().any(|(left, _)| left == name) => of_side(0, name),
                (None, None) => of_side(1, name),
            }
        }
    };
    let orders: [Option<Order>; 2] = found.rows.map(|row| row.map(Row::order));
    let made_of = Pair::from(orders.clone());
    let identity = match found.window {
        Some((start, end)) => {
            let key = join.on.iter().map(|(left, right)| match found.rows[0] {
                Some(_) => of_side(0, left),
                None => of_side(1, right),
            });
            Identity::Window { end, start, key: key.collect(), pair: Some(Pair::from(orders)) }
        }
        None => match join.near {
            // A left row comes once.
            Near::AsOf { .. } => Identity::Pair(found.time, Pair::from([orders[0].clone(), None])),
            _ => Identity::Pair(found.time, Pair::from(orders)),
        },
    };
    Row {
        cells: columns.iter().map(|(name, _)| cell(name)).collect(),
        time: found.time,
        identity,
        is_final: found.is_final,
        before: None,
        path: Vec::new(),
        made_of: Some(made_of),
        is_tombstone: false,
    }
}
