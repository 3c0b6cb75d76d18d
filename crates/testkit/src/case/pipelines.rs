//! Random pipelines.

mod joins;

use super::drawn;
use super::expr::{Aggregate, Binary, Call, Column, Expr, FAMILIES, Function, binary, call as call_of, column};
use super::{
    Beside, CalendarUnit, Class, Dedup, Extract, Kind, Lookup, Pipeline, Rule, Shape, Source, SourceColumn, Step, Top,
    Window, Zone,
};
use crate::oracle::zones::stretches;
use crate::random::Random;
use crate::value::{Type, Value};

/// Columns a schema may have besides the event time.
const POOL: [(&str, Type); 18] = [
    ("flag", Type::Bool),
    ("small", Type::Int32),
    ("num", Type::Int64),
    ("other", Type::Int64),
    ("amount", Type::Float),
    ("ratio", Type::Float),
    ("price", Type::Decimal(10, 2)),
    ("page", Type::Text),
    ("code", Type::Text),
    ("seen", Type::Time),
    ("born", Type::Date),
    ("token", Type::Binary),
    ("ints", Type::Ints),
    ("tags", Type::Texts),
    ("rates", Type::Floats),
    ("pair", Type::Pair),
    ("items", Type::Pairs),
    ("payload", Type::Json),
];

/// Columns that may be a record's key.
const KEYS: [(&str, Type); 5] =
    [("page", Type::Text), ("code", Type::Text), ("num", Type::Int64), ("small", Type::Int32), ("born", Type::Date)];

fn header_of(column: &str) -> Beside {
    Beside::Header(format!("x-{}", column.replace('_', "-")))
}

pub(super) fn pipeline(random: &mut Random) -> (Pipeline, Shape) {
    let (source_count, parts) = outline(&mut random.fork());
    // Sometimes a second source is a table by key whose records may have no value.
    let is_table = source_count == 2 && parts.iter().any(|part| part.work == Work::Join) && random.chance(60);
    let by_log_time = random.chance(if is_table { 30 } else { 8 });
    let zone = random.chance(20).then(|| zone(random));
    let tick = match zone {
        // So long that a log holds days and weeks.
        Some(_) => *random.pick(&[1_800_000_000, 3_600_000_000, 10_800_000_000, 10_800_000_000]),
        None if by_log_time => [1000, 1_000_000][random.below(2)],
        None => *random.pick(&[1, 1000, 1_000_000, 1_000_000]),
    };
    let mut columns: Vec<SourceColumn> = Vec::new();
    for (name, ty) in POOL {
        let is_nested = matches!(ty, Type::Pair | Type::Json) || ty.element().is_some();
        if random.chance(if is_nested { 10 } else { 45 }) {
            let beside = (!is_nested && ty != Type::Binary && random.chance(8)).then(|| header_of(name));
            columns.push(SourceColumn { name: name.to_string(), ty, required: random.chance(20), beside });
        }
    }
    if is_table || random.chance(10) {
        let (name, ty) = *random.pick(&KEYS);
        columns.retain(|column| column.name != name);
        let required = random.chance(20);
        columns.push(SourceColumn { name: name.to_string(), ty, required, beside: Some(Beside::Key) });
    }
    let is_list = |ty: Type| ty.element().is_some();
    if parts.iter().any(|part| part.explodes) && !columns.iter().any(|column| is_list(column.ty)) {
        let lists = POOL.map(|(name, ty)| (name.to_string(), ty)).into_iter().filter(|(_, ty)| is_list(*ty));
        let (name, ty) = random.pick(&lists.collect::<Vec<Column>>()).clone();
        columns.push(SourceColumn { name, ty, required: false, beside: None });
    }
    if columns.is_empty() {
        columns.push(SourceColumn { name: "num".into(), ty: Type::Int64, required: false, beside: None });
    }
    let event_time = if by_log_time { "_timestamp" } else { "event_time" };
    if !by_log_time {
        let at = random.below(columns.len() + 1);
        let beside = (is_table || random.chance(6)).then(|| header_of("event_time"));
        columns.insert(at, SourceColumn { name: "event_time".into(), ty: Type::Time, required: true, beside });
    }
    let mut pipeline = Pipeline { columns, event_time: event_time.to_string(), sources: Vec::new(), steps: Vec::new() };
    let mut shape = Shape { tick, window_ticks: 1, zone };
    for name in &["events", "others"][..source_count] {
        pipeline.sources.push(Source {
            name: name.to_string(),
            bound: random.weighted(&[3, 2, 2, 2, 1, 1, 1, 1]) as i64 * tick,
            max_future: (!by_log_time && random.chance(20)).then(|| random.between(0, 20) * tick.max(1000)),
            partitions: None,
        });
    }
    for (index, part) in parts.iter().enumerate() {
        let random = &mut random.fork();
        let from = input(random, &pipeline, index, part.work);
        if part.work == Work::Join
            && let Some(join) = joins::step(random, &pipeline, index, &from, &mut shape)
        {
            pipeline.steps.push(join);
            continue;
        }
        let from = inputs(random, &mut pipeline, from);
        let step = step(random, &pipeline, index, from, *part, &mut shape);
        pipeline.steps.push(step);
    }
    // A second source is there for a join or a union that may have turned out otherwise.
    let Pipeline { sources, steps, .. } = &mut pipeline;
    sources.retain(|source| steps.iter().any(|step| step.from.contains(&source.name)));
    let parts = random.fork();
    add_parts(parts, &mut pipeline);
    debug_assert!(pipeline.is_valid(), "{}", pipeline.yaml());
    (pipeline, shape)
}

/// Gives some steps a second sink, which takes a part of the rows and columns.
fn add_parts(mut random: Random, pipeline: &mut Pipeline) {
    for index in 0..pipeline.steps.len() {
        let columns = pipeline.step_columns(&pipeline.steps[index].name).expect("the steps fit");
        let columns: Vec<Column> =
            columns.into_iter().filter(|(name, _)| is_plain(name) || name.starts_with("window_")).collect();
        let random = &mut random.fork();
        if columns.is_empty() || !random.chance(25) {
            continue;
        }
        let mut select: Vec<(String, Expr)> = Vec::new();
        for (number, (name, ty)) in columns.iter().enumerate() {
            match random.below(4) {
                0 => select.push((name.clone(), column(name))),
                1 => select.push((format!("p{number}"), column(name))),
                2 if *ty == Type::Int64 => {
                    let least = Expr::Literal(Value::Int(7));
                    select.push((format!("p{number}"), Expr::Function(Function::Coalesce, vec![column(name), least])));
                }
                2 => select.push((format!("p{number}"), Expr::Function(Function::IsNull, vec![column(name)]))),
                _ => {}
            }
        }
        if select.is_empty() {
            select.push(("p".into(), column(&columns[0].0)));
        }
        random.shuffle(&mut select);
        let filter = random.chance(60).then(|| condition(random, &columns));
        pipeline.steps[index].part = Some(Extract { filter, select });
    }
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Row,
    Lookup,
    Dedup,
    Window,
    Join,
}

/// What is drawn of a step before anything in it, from a sequence of its own: so how often each kind of step occurs
/// does not depend on what functions, aggregates and types there are.
#[derive(Clone, Copy, Debug)]
struct Outline {
    work: Work,
    explodes: bool,
}

/// Draws how many sources there are at most, and what the steps are for.
fn outline(random: &mut Random) -> (usize, Vec<Outline>) {
    const WORKS: [(Work, usize); 5] =
        [(Work::Row, 5), (Work::Lookup, 6), (Work::Dedup, 11), (Work::Window, 66), (Work::Join, 12)];
    let count = 1 + random.weighted(&[35, 42, 23]);
    let mut parts: Vec<Outline> = (0..count)
        .map(|_| Outline {
            work: WORKS[random.weighted(&WORKS.map(|(_, weight)| weight))].0,
            explodes: random.chance(10),
        })
        .collect();
    if parts.iter().all(|part| !matches!(part.work, Work::Window | Work::Join)) {
        parts[count - 1].work = Work::Window;
    }
    if count < 3 && parts[count - 1].work == Work::Join && random.chance(50) {
        parts.push(Outline { work: Work::Window, explodes: false });
    }
    let has_join = parts.iter().any(|part| part.work == Work::Join);
    let sources = 1 + usize::from(random.chance(match (has_join, count) {
        (true, _) => 50,
        (false, 1) => 0,
        (false, _) => 18,
    }));
    (sources, parts)
}

/// Draws what a step reads, or the left side of a join.
fn input(random: &mut Random, pipeline: &Pipeline, index: usize, work: Work) -> String {
    let any_source = |random: &mut Random| random.pick(&pipeline.sources).name.clone();
    let is_unread = |source: &&Source| pipeline.steps.iter().all(|step| !step.from.contains(&source.name));
    let from = match (index, pipeline.sources.get(1).filter(is_unread)) {
        (0, _) => pipeline.sources[0].name.clone(),
        (1, Some(second)) => second.name.clone(),
        _ if pipeline.steps[pipeline.steps.len() - 1].join.is_some() || random.chance(85) => {
            pipeline.steps[pipeline.steps.len() - 1].name.clone()
        }
        _ if random.chance(60) => any_source(random),
        _ => random.pick(&pipeline.steps).name.clone(),
    };
    // `dedup` reads records.
    if work == Work::Dedup && pipeline.is_windowed(&from) { any_source(random) } else { from }
}

/// Returns what a step reads: one input, or a union of it with a source or step of the same columns. Such a step is made
/// if there is none: a twin of the input that lets other rows through.
fn inputs(random: &mut Random, pipeline: &mut Pipeline, from: String) -> Vec<String> {
    let is_of_several = pipeline.sources.len() > 1 && pipeline.is_source(&from);
    if !random.chance(if is_of_several { 35 } else { 15 }) {
        return vec![from];
    }
    let names = pipeline.sources.iter().map(|source| &source.name).chain(pipeline.steps.iter().map(|step| &step.name));
    let fitting: Vec<String> = names
        .filter(|name| pipeline.input_columns(&[from.clone(), name.to_string()], None).is_some())
        .cloned()
        .collect();
    let another_source = fitting.iter().find(|name| pipeline.is_source(name));
    let other = match pipeline.step(&from).cloned() {
        _ if another_source.is_some() && random.chance(70) => another_source.expect("just seen").clone(),
        _ if !fitting.is_empty() && random.chance(60) => random.pick(&fitting).clone(),
        Some(step) if step.join.is_none() => {
            let columns = pipeline.columns_before(&step).expect("earlier steps fit");
            let name = format!("t{}", pipeline.steps.len());
            pipeline.steps.push(Step {
                name: name.clone(),
                filter: Some(boolean(&mut random.fork(), &columns, 2)),
                ..step
            });
            name
        }
        _ => return vec![from],
    };
    let mut from = vec![from, other];
    random.shuffle(&mut from);
    from
}

fn step(
    random: &mut Random,
    pipeline: &Pipeline,
    index: usize,
    from: Vec<String>,
    part: Outline,
    shape: &mut Shape,
) -> Step {
    let tag = random.chance(if from.len() > 1 { 40 } else { 3 }).then(|| format!("tag{index}"));
    let columns = pipeline.input_columns(&from, tag.as_deref()).expect("earlier steps fit");
    let explode = explode(&mut random.fork(), pipeline, &columns, &from, (index, part.explodes));
    let mut step = Step {
        name: format!("s{index}"),
        from,
        tag,
        explode,
        filter: None,
        derive: Vec::new(),
        drop: Vec::new(),
        select: None,
        rules: Vec::new(),
        lookup: None,
        dedup: None,
        window: None,
        join: None,
        part: None,
    };
    let columns = step.exploded(&columns).expect("a list is exploded");
    step.filter = random.chance(30).then(|| boolean(&mut random.fork(), &columns, 2));
    let over_windows = pipeline.is_windowed(&step.from[0]);
    let work = match part.work {
        // A join that no inputs fit, a `dedup` in a union that is no longer of records.
        Work::Join => Work::Window,
        Work::Dedup if over_windows => Work::Row,
        work => work,
    };
    if random.chance(30) {
        derive(&mut random.fork(), &columns, &mut step, index);
    }
    let derived = step.row_columns(&columns).expect("derived columns fit");
    let droppable: Vec<&Column> = derived.iter().filter(|(name, _)| is_plain(name)).collect();
    if random.chance(10) && droppable.len() > 1 {
        step.drop.push(random.pick(&droppable).0.clone());
    }
    let kept = step.row_columns(&columns).expect("kept columns fit");
    // A row step on records may pass on all columns, the log's own included.
    if random.chance(if work == Work::Window { 15 } else { 70 }) {
        step.select = Some(select(&mut random.fork(), &kept, index));
    }
    let rows = step.row_columns(&columns).expect("selected columns fit");
    if random.chance(8) {
        for number in 0..1 + random.below(2) {
            let rule = boolean(&mut random.fork(), &rows, 2);
            step.rules.push(Rule { name: format!("rule{number}"), rule, drops: random.chance(40) });
        }
    }
    let random = &mut random.fork();
    match work {
        Work::Lookup => step.lookup = lookup(random, &rows, index),
        Work::Dedup => step.dedup = Some(dedup(random, &rows, shape)),
        Work::Window => step.window = Some(window(random, pipeline, &step, &rows, shape)),
        Work::Row | Work::Join => {}
    }
    step
}

/// Returns a list column to explode, where there is one and the rows are no elements yet, and a name for its elements.
fn explode(
    random: &mut Random,
    pipeline: &Pipeline,
    columns: &[Column],
    from: &[String],
    (index, is_wanted): (usize, bool),
) -> Option<(String, String)> {
    let lists: Vec<&Column> = columns.iter().filter(|(_, ty)| ty.element().is_some()).collect();
    if from.iter().any(|from| pipeline.has_join(from)) {
        return None;
    }
    if lists.is_empty()
        || from.iter().any(|from| pipeline.is_indexed(from))
        || !(is_wanted || random.chance(if pipeline.is_windowed(&from[0]) { 60 } else { 20 }))
    {
        return None;
    }
    let list = random.pick(&lists).0.clone();
    let element = if random.chance(30) { list.clone() } else { format!("x{index}") };
    Some((list, element))
}

/// Returns true for columns that a user's own column list may name as an output.
fn is_plain(name: &str) -> bool {
    !name.starts_with('_') && !name.starts_with("window_") && !name.contains('.')
}

fn derive(random: &mut Random, columns: &[Column], step: &mut Step, index: usize) {
    for number in 0..1 + random.below(2) {
        let (mut name, expr) = (format!("d{index}_{number}"), any(random, columns, 2));
        // Sometimes it replaces a column; the other expressions of the list still see the old one.
        let replaceable: Vec<&Column> = columns.iter().filter(|(name, _)| is_plain(name)).collect();
        if random.chance(25) && !replaceable.is_empty() {
            name = random.pick(&replaceable).0.clone();
        }
        if name != "event_time" && step.derive.iter().all(|(other, _)| *other != name) {
            step.derive.push((name, expr));
        }
    }
}

fn select(random: &mut Random, columns: &[Column], index: usize) -> Vec<(String, Expr)> {
    let mut list: Vec<(String, Expr)> = columns
        .iter()
        .filter(|(name, _)| is_plain(name) && random.chance(70))
        .map(|(name, _)| (name.clone(), column(name)))
        .collect();
    random.shuffle(&mut list);
    if list.is_empty() || random.chance(40) {
        list.push((format!("e{index}"), any(random, columns, 2)));
    }
    list
}

fn dedup(random: &mut Random, rows: &[Column], shape: &Shape) -> Dedup {
    Dedup { keys: ids(random, rows), within: random.between(1, 20) * shape.tick }
}

/// A table whose keys some rows have.
fn lookup(random: &mut Random, rows: &[Column], index: usize) -> Option<Lookup> {
    let fitting: Vec<&Column> =
        rows.iter().filter(|(_, ty)| matches!(ty, Type::Text | Type::Int64 | Type::Int32 | Type::Bool)).collect();
    if fitting.is_empty() {
        return None;
    }
    let mut on: Vec<Column> = Vec::new();
    for _ in 0..1 + random.below(2) {
        let column = (*random.pick(&fitting)).clone();
        if on.iter().all(|(name, _)| *name != column.0) {
            on.push(column);
        }
    }
    let key = |random: &mut Random, ty: Type| match ty {
        _ if random.chance(5) => Value::Null,
        Type::Text => Value::Text(random.pick(&["/a", "/b", "/A", "É", "é", "12", "-7", "null"]).to_string()),
        Type::Bool => Value::Bool(random.chance(50)),
        _ => Value::Int(random.between(-3, 12)),
    };
    let types = [Type::Text, Type::Text, Type::Int64];
    let take: Vec<Column> = (0..1 + random.below(2)).map(|i| (format!("l{index}_{i}"), *random.pick(&types))).collect();
    let mut table: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for _ in 0..1 + random.below(12) {
        let keys: Vec<Value> = on.iter().map(|(_, ty)| key(random, *ty)).collect();
        let value = |random: &mut Random, ty: Type| match (random.below(4), ty) {
            (0, _) => Value::Null,
            (which, Type::Text) => Value::Text(["left", "a, b", "ü"][which - 1].into()),
            (which, _) => Value::Int([-7, 0, 12][which - 1]),
        };
        // A key with a null in it equals nothing, so it may be there twice.
        if table.iter().all(|(other, _)| *other != keys) || keys.contains(&Value::Null) {
            table.push((keys, take.iter().map(|(_, ty)| value(random, *ty)).collect()));
        }
    }
    let missing = random.pick(&["null", "drop", "quarantine"]).to_string();
    Some(Lookup { on: on.into_iter().map(|(name, _)| name).collect(), take, rows: table, missing })
}

/// What rows are told apart by.
fn ids(random: &mut Random, rows: &[Column]) -> Vec<(String, Expr)> {
    let mut ids: Vec<(String, Expr)> = keys(random, rows);
    if ids.is_empty() {
        let (name, _) = random.pick(rows).clone();
        ids.push(if is_plain(&name) { (name.clone(), column(&name)) } else { ("k0".into(), column(&name)) });
    }
    ids
}

fn window(random: &mut Random, pipeline: &Pipeline, step: &Step, rows: &[Column], shape: &mut Shape) -> Window {
    let over_windows = pipeline.is_over_windows(step);
    let mut below = step.from.iter().filter_map(|from| pipeline.step(from));
    let in_windows = step.from.iter().all(|from| pipeline.class(from) == Class::Windows);
    let may_be_same = in_windows && !below.any(|before| pipeline.has_sessions(before));
    let kind = kind(random, over_windows, may_be_same, shape);
    let keys = keys(&mut random.fork(), rows);
    let mut window = Window {
        kind,
        allowed: if over_windows || random.chance(50) { 0 } else { random.between(1, 8) * shape.tick },
        keys,
        unique_by: Vec::new(),
        aggregates: Vec::new(),
        having: None,
        top: None,
    };
    for number in 0..1 + random.below(5) {
        window.aggregates.push((format!("a{number}"), aggregate(&mut random.fork(), rows)));
    }
    if !matches!(kind, Kind::Session { .. }) && random.chance(10) {
        window.unique_by = ids(&mut random.fork(), rows);
    }
    // Names stay apart from those of earlier steps' outputs, which may be keys here.
    let suffix = step.name.trim_start_matches('s').to_string();
    window.aggregates.iter_mut().for_each(|(name, _)| *name = format!("{name}_{suffix}"));
    let outputs = window.columns(rows).expect("keys and aggregates fit");
    if random.chance(20) {
        window.having = Some(boolean_over_outputs(&mut random.fork(), &outputs));
    }
    if random.chance(25) && !matches!(kind, Kind::Session { .. }) {
        let mut chosen = top(&mut random.fork(), &outputs, &window);
        chosen.rank = random.chance(50).then(|| format!("r_{suffix}"));
        window.top = Some(chosen);
    }
    window
}

/// A zone, and a time at which its clocks are put forward or back, or just some time where they never are.
fn zone(random: &mut Random) -> (Zone, i64) {
    let zone = Zone(random.below(Zone::count()));
    let stretches = stretches(zone);
    // The oracle's table must reach a good deal further than a log.
    let within = stretches.iter().map(|(since, _)| *since).filter(|since| (FROM_1987..UNTIL_2025).contains(since));
    let within: Vec<i64> = within.collect();
    (zone, if within.is_empty() { 1_582_934_400_000_000 } else { *random.pick(&within) })
}

const FROM_1987: i64 = 536_457_600_000_000;
const UNTIL_2025: i64 = 1_735_689_600_000_000;

fn kind(random: &mut Random, over_windows: bool, may_be_same: bool, shape: &mut Shape) -> Kind {
    let tick = shape.tick;
    let size = random.between(1, if over_windows { 10 } else { 20 });
    if let Some((zone, _)) = shape.zone
        && random.chance(75)
    {
        let unit = [CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month][random.weighted(&[70, 20, 10])];
        return Kind::Calendar { unit, zone };
    }
    let weights = match (over_windows, may_be_same) {
        (false, _) => [16, 58, 108, 0, 20],
        (true, same) => [24, 34, 8, if same { 40 } else { 0 }, 18],
    };
    let which = random.weighted(&weights);
    let kind = match which {
        0 => Kind::Tumbling { size: size * tick, offset: offset(random, size) * tick },
        1 => {
            let size = size.max(2);
            let every = if random.chance(70) { random.between((size / 4).max(1), size) } else { (size / 2).max(1) };
            Kind::Hopping { size: size * tick, every: every * tick, offset: offset(random, every) * tick }
        }
        2 => Kind::Session { gap: random.between(1, 16) * tick },
        4 => {
            let step = random.between(1, 5);
            let size = step * random.between(1, 6);
            Kind::Cumulative { size: size * tick, step: step * tick, offset: offset(random, size) * tick }
        }
        _ => Kind::Same,
    };
    shape.window_ticks = shape.window_ticks.max(size);
    kind
}

fn offset(random: &mut Random, period: i64) -> i64 {
    if random.chance(70) { 0 } else { random.between(0, period - 1) }
}

fn keys(random: &mut Random, rows: &[Column]) -> Vec<(String, Expr)> {
    let mut keys: Vec<(String, Expr)> = Vec::new();
    for number in 0..random.weighted(&[28, 52, 16, 4]) {
        let (name, ty) = random.pick(rows).clone();
        let plain = is_plain(&name) && !matches!(name.as_str(), "event_time");
        let key = match ty {
            _ if random.chance(15) => (format!("k{number}"), any(random, rows, 1)),
            _ if plain => (name.clone(), column(&name)),
            // Nearly every record would be a group.
            _ if name == "_offset" || name == "_timestamp" || (name == "event_time" && random.chance(80)) => continue,
            _ => (format!("k{number}"), column(&name)),
        };
        if keys.iter().all(|(other, _)| *other != key.0) {
            keys.push(key);
        }
    }
    keys
}

fn aggregate(random: &mut Random, rows: &[Column]) -> Expr {
    let call = call(random, rows);
    if random.chance(80) {
        return call;
    }
    let call_type = |call: &Expr| call.type_over(rows).expect("the call fits");
    match call_type(&call) {
        Type::Int64 => match random.below(4) {
            0 => Expr::Function(Function::Coalesce, vec![call, Expr::Literal(Value::Int(-1))]),
            1 => binary(Binary::Divide, call, call_of(Aggregate::Count, Vec::new())),
            2 => binary(Binary::Add, call, call_of(Aggregate::Count, Vec::new())),
            _ => binary(Binary::Greater, call, Expr::Literal(Value::Int(2))),
        },
        Type::Float => match random.below(3) {
            0 => Expr::Function(Function::Coalesce, vec![call, Expr::Literal(Value::Float(0.5))]),
            1 => binary(Binary::Divide, call, Expr::Literal(Value::Float(7.0))),
            _ => binary(Binary::Subtract, call.clone(), call),
        },
        Type::Text => Expr::Function(Function::Upper, vec![call]),
        Type::Bool => Expr::Function(Function::Not, vec![call]),
        _ => Expr::Function(Function::IsNull, vec![call]),
    }
}

fn call(random: &mut Random, rows: &[Column]) -> Expr {
    let filter = random.chance(20).then(|| Box::new(boolean(random, rows, 1)));
    if random.chance(15) {
        return Expr::Call(Call { aggregate: Aggregate::Count, arguments: Vec::new(), filter });
    }
    loop {
        // The family first, so that a new aggregate makes only those like it rarer.
        let (_, family) = random.pick(FAMILIES);
        let aggregate = *random.pick(family);
        let takes = |ty: Type| aggregate.output(&vec![ty; aggregate.argument_count()]).is_some();
        let fitting: Vec<&Column> = rows.iter().filter(|(_, ty)| takes(*ty)).collect();
        let mut argument = || match fitting.is_empty() || random.chance(35) {
            false => column(&random.pick(&fitting).0),
            true if takes(Type::Bool) && !takes(Type::Text) => boolean(random, rows, 1),
            true if takes(Type::Int64) && !takes(Type::Float) => integer(random, rows, 1),
            true => any(random, rows, 1),
        };
        let mut arguments: Vec<Expr> = (0..aggregate.argument_count()).map(|_| argument()).collect();
        if matches!(aggregate, Aggregate::Quantile | Aggregate::ApproxQuantile) {
            let q = *random.pick(&[0.0, 1.0, 0.5, 0.25, 0.9, 0.99, 0.123456789]);
            arguments[1] = Expr::Literal(Value::Float(q));
        }
        let call = Call { aggregate, arguments, filter: None };
        if call.types_over(rows).is_some_and(|types| aggregate.output(&types).is_some()) {
            return Expr::Call(Call { filter, ..call });
        }
    }
}

fn top(random: &mut Random, outputs: &[Column], window: &Window) -> Top {
    let candidates: Vec<String> = outputs.iter().skip(2).map(|(name, _)| name.clone()).collect();
    let mut by: Vec<(String, bool)> = Vec::new();
    for _ in 0..1 + random.below(2) {
        let name = random.pick(&candidates).clone();
        if by.iter().all(|(other, _)| *other != name) {
            by.push((name, random.chance(60)));
        }
    }
    let per = match window.keys.first() {
        Some((name, _)) if random.chance(30) => vec![name.clone()],
        _ => Vec::new(),
    };
    Top { n: 1 + random.below(3), by, per, keep: random.chance(50), rank: None }
}

fn boolean_over_outputs(random: &mut Random, outputs: &[Column]) -> Expr {
    condition(random, &outputs[2..])
}

/// A condition that cannot fail.
fn condition(random: &mut Random, columns: &[Column]) -> Expr {
    let (name, ty) = random.pick(columns).clone();
    match ty {
        Type::Int64 => binary(comparison(random), column(&name), Expr::Literal(Value::Int(random.between(0, 5)))),
        Type::Float => binary(comparison(random), column(&name), Expr::Literal(Value::Float(1.5))),
        _ => {
            Expr::Function(if random.chance(80) { Function::IsNotNull } else { Function::IsNull }, vec![column(&name)])
        }
    }
}

fn comparison(random: &mut Random) -> Binary {
    *random.pick(&[
        Binary::Equal,
        Binary::Different,
        Binary::Less,
        Binary::LessOrEqual,
        Binary::Greater,
        Binary::GreaterOrEqual,
    ])
}

/// An expression of any type that these columns allow; `depth` bounds how deep it nests.
fn any(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    let drawn = match random.below(8) {
        0 => Some(integer(random, columns, depth)),
        1 => Some(float(random, columns, depth)),
        2 => Some(text(random, columns, depth)),
        3 => Some(boolean(random, columns, depth)),
        4 => drawn::time(random, columns, depth),
        5 => drawn::date(random, columns, depth),
        6 => drawn::decimal(random, columns, depth),
        _ => None,
    };
    drawn.unwrap_or_else(|| column(&random.pick(columns).0))
}

pub(super) fn column_of(random: &mut Random, columns: &[Column], ty: Type) -> Option<Expr> {
    let fitting: Vec<&Column> = columns.iter().filter(|(_, other)| *other == ty).collect();
    (!fitting.is_empty()).then(|| column(&random.pick(&fitting).0))
}

pub(super) fn integer(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    if depth == 0 {
        let literal = Expr::Literal(Value::Int(*random.pick(&[-3, -1, 0, 1, 2, 7])));
        return match column_of(random, columns, Type::Int64) {
            Some(column) if random.chance(75) => column,
            _ => literal,
        };
    }
    let part = |random: &mut Random| integer(random, columns, depth - 1);
    if random.chance(40) {
        return drawn::integers(random, columns, depth);
    }
    match random.below(11) {
        9 => {
            let lists: Vec<&Column> = columns.iter().filter(|(_, ty)| ty.element().is_some()).collect();
            if lists.is_empty() {
                return part(random);
            }
            Expr::Function(Function::ListLength, vec![column(&random.pick(&lists).0)])
        }
        10 => match (column_of(random, columns, Type::Pair), column_of(random, columns, Type::Ints)) {
            (Some(pair), _) => Expr::Function(Function::FieldA, vec![pair]),
            (_, Some(list)) => {
                let place = Expr::Literal(Value::Int(*random.pick(&[1, 2, -1, 0, -5])));
                Expr::Function(Function::Element, vec![list, place])
            }
            _ => part(random),
        },
        0 => binary(Binary::Add, part(random), part(random)),
        1 => binary(Binary::Subtract, part(random), part(random)),
        2 => binary(Binary::Multiply, part(random), part(random)),
        3 => binary(Binary::Quotient, part(random), part(random)), // fails where the divisor is 0
        4 => binary(Binary::Remainder, part(random), Expr::Literal(Value::Int(*random.pick(&[3, 4, -5])))),
        5 => Expr::Function(Function::Coalesce, vec![part(random), part(random)]),
        6 => match column_of(random, columns, Type::Text) {
            Some(text) => {
                let function =
                    *random.pick(&[Function::Length, Function::ToInt, Function::TryToInt, Function::TryToInt]);
                Expr::Function(function, vec![text])
            }
            None => part(random),
        },
        7 => match column_of(random, columns, Type::Int32) {
            Some(small) => binary(Binary::Add, small, part(random)),
            None => part(random),
        },
        _ => case(boolean(random, columns, depth - 1), part(random), part(random)),
    }
}

fn case(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Box::new(condition), Box::new(then), Box::new(otherwise))
}

pub(super) fn float(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    if depth == 0 {
        let literal = Expr::Literal(Value::Float(*random.pick(&[0.0, 0.1, 1.0, -2.5, 7.0, 1e18])));
        return match column_of(random, columns, Type::Float) {
            Some(column) if random.chance(80) => column,
            _ => literal,
        };
    }
    let part = |random: &mut Random| float(random, columns, depth - 1);
    if random.chance(40) {
        return drawn::floats(random, columns, depth);
    }
    match random.below(7) {
        0 => binary(Binary::Add, part(random), part(random)),
        1 => binary(Binary::Subtract, part(random), part(random)),
        2 => binary(Binary::Multiply, part(random), part(random)),
        3 => binary(Binary::Divide, part(random), part(random)),
        4 => Expr::Function(Function::Coalesce, vec![part(random), part(random)]),
        5 => Expr::Function(Function::ToFloat, vec![integer(random, columns, depth - 1)]),
        _ => case(boolean(random, columns, depth - 1), part(random), part(random)),
    }
}

pub(super) fn text(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    if depth == 0 {
        let literal = Expr::Literal(Value::Text(random.pick(&["", "/a", "it's", "É"]).to_string()));
        return match column_of(random, columns, Type::Text) {
            Some(column) if random.chance(85) => column,
            _ => literal,
        };
    }
    let part = |random: &mut Random| text(random, columns, depth - 1);
    if random.chance(40) {
        return drawn::texts(random, columns, depth);
    }
    match random.below(8) {
        6 => match column_of(random, columns, Type::Json) {
            Some(json) => Expr::Function(Function::MemberA, vec![json]),
            None => part(random),
        },
        7 => match column_of(random, columns, Type::Texts) {
            Some(list) => {
                let place = integer(random, columns, 0);
                Expr::Function(Function::Element, vec![list, place])
            }
            None => part(random),
        },
        0 => Expr::Function(Function::Lower, vec![part(random)]),
        1 => Expr::Function(Function::Upper, vec![part(random)]),
        2 => Expr::Function(Function::Concat, vec![part(random), part(random)]),
        3 => Expr::Function(Function::Coalesce, vec![part(random), part(random)]),
        4 => Expr::Function(Function::NullIf, vec![part(random), part(random)]),
        _ => case(boolean(random, columns, depth - 1), part(random), part(random)),
    }
}

pub(super) fn boolean(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    if depth == 0 {
        return match column_of(random, columns, Type::Bool) {
            Some(column) if random.chance(40) => column,
            _ => {
                let function = if random.chance(70) { Function::IsNotNull } else { Function::IsNull };
                Expr::Function(function, vec![column(&random.pick(columns).0)])
            }
        };
    }
    let part = |random: &mut Random| boolean(random, columns, depth - 1);
    if random.chance(40) {
        return drawn::booleans(random, columns, depth);
    }
    match random.below(8) {
        0 => binary(Binary::And, part(random), part(random)),
        1 => binary(Binary::Or, part(random), part(random)),
        2 => Expr::Function(Function::Not, vec![part(random)]),
        3 | 4 => {
            let (left, right) = (integer(random, columns, depth - 1), integer(random, columns, depth - 1));
            binary(comparison(random), left, right)
        }
        5 => {
            let (left, right) = (float(random, columns, depth - 1), float(random, columns, depth - 1));
            binary(comparison(random), left, right)
        }
        6 => {
            let (left, right) = (text(random, columns, depth - 1), text(random, columns, depth - 1));
            binary(comparison(random), left, right)
        }
        _ => {
            // Two columns of one type, whatever it is.
            let (name, ty) = random.pick(columns).clone();
            let other = column_of(random, columns, ty).expect("the column itself is there");
            binary(comparison(random), column(&name), other)
        }
    }
}
