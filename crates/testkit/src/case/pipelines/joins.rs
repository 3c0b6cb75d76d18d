//! Random joins.

use super::{any, boolean, derive, is_plain, kind, select};
use crate::case::expr::{Column, Expr, column};
use crate::case::{Beside, Class, Join, Kind, Near, Pipeline, Rule, Shape, Step, own_columns};
use crate::random::Random;

/// Makes a step that joins that input with another one, or with itself; None when no join fits.
pub(super) fn step(
    random: &mut Random,
    pipeline: &Pipeline,
    index: usize,
    from: &str,
    shape: &mut Shape,
) -> Option<Step> {
    let names = pipeline.sources.iter().map(|source| &source.name).chain(pipeline.steps.iter().map(|step| &step.name));
    let may_join: Vec<&String> = names.filter(|name| !is_large(pipeline, name)).collect();
    if is_large(pipeline, from) || may_join.is_empty() {
        return None;
    }
    // Another source is worth more than another step of the same one.
    let others: Vec<&&String> =
        may_join.iter().filter(|name| pipeline.is_source(name) && name.as_str() != from).collect();
    let other = match others.as_slice() {
        [other, ..] if random.chance(70) => other.to_string(),
        _ => random.pick(&may_join).to_string(),
    };
    let table = table(random, pipeline, from);
    let mut sides = vec![from.to_string(), table.clone().unwrap_or(other)];
    if table.is_none() {
        random.shuffle(&mut sides);
    }
    let mut columns = [pipeline.step_columns(&sides[0])?, pipeline.step_columns(&sides[1])?];
    let near = match table {
        Some(_) => Near::AsOf { max_age: random.chance(20).then(|| random.between(5, 30) * shape.tick) },
        None => near(random, pipeline, &sides, shape),
    };
    let all = columns[1].clone();
    if table.is_some() {
        let keys = || pipeline.columns.iter().filter(|column| column.beside == Some(Beside::Key));
        columns[1].retain(|(name, _)| keys().any(|key| key.name == *name));
    }
    let on = pairs(random, &columns, matches!(near, Near::Window(_)))?;
    columns[1] = all;
    let keeps = match near {
        Near::AsOf { .. } => [random.chance(60), false],
        _ => [random.chance(45), random.chance(45)],
    };
    let join = Join { keeps, on, near };
    let (mut joined, whole) = join.columns([&columns[0], &columns[1]])?;
    // No random step reads `_timestamp` through another: see the remark in `step`.
    joined.retain(|(name, _)| {
        !name.ends_with("._timestamp") || pipeline.is_source(&sides[usize::from(name.starts_with("right."))])
    });
    let mut step = Step {
        name: format!("s{index}"),
        from: sides,
        tag: None,
        explode: None,
        filter: random.chance(25).then(|| boolean(&mut random.fork(), &joined, 2)),
        derive: Vec::new(),
        drop: Vec::new(),
        select: None,
        rules: Vec::new(),
        lookup: None,
        dedup: None,
        window: None,
        join: Some(join),
        part: None,
    };
    if random.chance(20) {
        derive(&mut random.fork(), &joined, &mut step, index);
    }
    let kept = step.row_columns(&joined)?;
    if !whole || random.chance(40) {
        step.select = Some(selected(&mut random.fork(), &kept, index));
    }
    if random.chance(8) {
        let rows = own_columns(&step, step.row_columns(&joined)?);
        let rule = boolean(&mut random.fork(), &rows, 2);
        step.rules.push(Rule { name: "rule".into(), rule, drops: random.chance(40) });
    }
    Some(step)
}

/// Returns a source to join as a table: nothing reads it yet, and all that a record without a value needs stands beside
/// the value.
fn table(random: &mut Random, pipeline: &Pipeline, from: &str) -> Option<String> {
    let is_beside =
        |name: &String| pipeline.columns.iter().all(|column| column.name != *name || column.beside.is_some());
    let has_key = pipeline.columns.iter().any(|column| column.beside == Some(Beside::Key));
    let is_read = |name: &String| pipeline.steps.iter().any(|step| step.from.contains(name));
    let mut names = pipeline.sources.iter().map(|source| &source.name).filter(|name| *name != from && !is_read(name));
    names.next().filter(|_| has_key && is_beside(&pipeline.event_time) && random.chance(80)).cloned()
}

/// Returns whether so many rows may come of it that a join of them would be slow.
fn is_large(pipeline: &Pipeline, name: &str) -> bool {
    match pipeline.step(name) {
        Some(Step { window: Some(_), .. }) | None => false,
        Some(Step { join: Some(join), .. }) if !matches!(join.near, Near::AsOf { .. }) => true,
        Some(step) => step.from.iter().any(|from| is_large(pipeline, from)),
    }
}

fn near(random: &mut Random, pipeline: &Pipeline, sides: &[String], shape: &mut Shape) -> Near {
    let same = sides.iter().all(|side| {
        pipeline.class(side) == Class::Windows && !pipeline.step(side).is_some_and(|step| pipeline.has_sessions(step))
    });
    let tick = shape.tick;
    match random.weighted(&[40, 35, 25]) {
        0 => {}
        1 => {
            let (before, after) = (random.between(0, 6), random.between(0, 6));
            return Near::Within { before: before * tick, after: after * tick };
        }
        _ => return Near::AsOf { max_age: random.chance(40).then(|| random.between(0, 12) * tick) },
    }
    loop {
        match kind(random, true, same, shape) {
            Kind::Session { .. } => continue,
            kind => return Near::Window(kind),
        }
    }
}

/// Pairs of columns of one type, of the same name where there are such.
fn pairs(random: &mut Random, sides: &[Vec<Column>; 2], may_be_none: bool) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let count = if may_be_none && random.chance(20) { 0 } else { 1 + usize::from(random.chance(20)) };
    let mut fitting: Vec<(&Column, &Column)> = Vec::new();
    let is_key = |(name, _): &&Column| is_plain(name) && name != "event_time";
    for left in sides[0].iter().filter(is_key) {
        for right in sides[1].iter().filter(is_key) {
            if left.1 == right.1 || (left.1.is_integer() && right.1.is_integer()) {
                // A name that both have is taken more often.
                let weight = if left.0 == right.0 { 4 } else { 1 };
                fitting.extend(std::iter::repeat_n((left, right), weight));
            }
        }
    }
    for _ in 0..count {
        if fitting.is_empty() {
            break;
        }
        let (left, right) = *random.pick(&fitting);
        if pairs.iter().all(|(name, _)| *name != left.0) {
            pairs.push((left.0.clone(), right.0.clone()));
        }
    }
    (may_be_none || !pairs.is_empty()).then_some(pairs)
}

/// Some plain columns, and some of a side under other names.
fn selected(random: &mut Random, columns: &[Column], index: usize) -> Vec<(String, Expr)> {
    let mut list = select(random, columns, index);
    for (number, (name, _)) in columns.iter().enumerate() {
        if let Some((_, own)) = name.split_once('.')
            && !own.starts_with("window_")
            && random.chance(30)
        {
            list.push((format!("j{index}_{number}"), column(name)));
        }
    }
    if random.chance(20) {
        list.push((format!("x{index}"), any(random, columns, 2)));
    }
    list
}
