//! A pipeline as the text of its file.

use std::fmt::Write as _;

use super::expr::Expr;
use super::{Beside, CalendarUnit, Join, Kind, Lookup, Near, Pipeline, Source, Step, Window};
use crate::value::{Type, Value};

impl Pipeline {
    /// Returns the pipeline file. Every step has a sink of the name `out_STEP`, and some one of the
    /// name `part_STEP` too.
    pub fn yaml(&self) -> String {
        let mut text = String::from("version: 1\nname: random\n");
        if self.steps.iter().any(|step| step.lookup.is_some()) {
            text.push_str("vars: {TABLES: {default: tables}}\n");
        }
        text.push_str("sources:\n");
        self.sources.iter().for_each(|source| self.write_source(&mut text, source));
        text.push_str("steps:\n");
        for step in &self.steps {
            write_step(&mut text, step);
        }
        text.push_str("sinks:\n");
        for (i, step) in self.steps.iter().enumerate() {
            // Early rows must leave the others as they are, so some sinks ask for them.
            let emit = if i % 2 == 0 && self.is_windowed(&step.name) { "emit: early, " } else { "" };
            let _ = writeln!(text, "  out_{0}: {{from: {0}, {emit}jsonl: {{path: out/{0}}}}}", step.name);
            if let Some(part) = &step.part {
                let filter =
                    part.filter.as_ref().map_or(String::new(), |filter| format!("where: {}, ", quoted(filter)));
                let (name, select) = (&step.name, list(&part.select));
                let _ = writeln!(
                    text,
                    "  part_{name}: {{from: {name}, {filter}select: {select}, jsonl: {{path: out/part_{name}}}}}"
                );
            }
        }
        text
    }

    fn write_source(&self, text: &mut String, source: &Source) {
        let _ = writeln!(text, "  {}:\n    journal: {{path: unused}}\n    format: json\n    schema:", source.name);
        for column in &self.columns {
            let ty = format!("\"{}{}\"", column.ty, if column.required { "!" } else { "" });
            let _ = match &column.beside {
                None => writeln!(text, "      {}: {ty}", column.name),
                Some(Beside::Key) => writeln!(text, "      {}: {{type: {ty}, from: key}}", column.name),
                Some(Beside::Header(name)) => {
                    writeln!(text, "      {}: {{type: {ty}, from: header.{name}}}", column.name)
                }
            };
        }
        let guard = source.max_future.map_or(String::new(), |guard| format!(", max_future: {}", duration(guard)));
        let bound = duration(source.bound);
        let _ = writeln!(text, "    event_time: {{column: {}, out_of_orderness: {bound}{guard}}}", self.event_time);
        if let Some(partitions) = &source.partitions {
            let _ = writeln!(text, "    partitions: {partitions:?}");
        }
    }
}

fn write_step(text: &mut String, step: &Step) {
    match step.from.as_slice() {
        _ if step.join.is_some() => writeln!(text, "  {}:", step.name),
        [one] => writeln!(text, "  {}:\n    from: {one}", step.name),
        several => writeln!(text, "  {}:\n    from: [{}]", step.name, several.join(", ")),
    }
    .expect("a string takes it");
    if let Some(join) = &step.join {
        write_join(text, &step.from, join);
    }
    if let Some(tag) = &step.tag {
        let _ = writeln!(text, "    tag: {tag}");
    }
    if let Some((list, element)) = &step.explode {
        let _ = writeln!(text, "    explode: {{{list}: {element}}}");
    }
    if let Some(filter) = &step.filter {
        let _ = writeln!(text, "    where: {}", quoted(filter));
    }
    if !step.derive.is_empty() {
        let _ = writeln!(text, "    derive: {}", list(&step.derive));
    }
    if !step.drop.is_empty() {
        let _ = writeln!(text, "    drop: [{}]", step.drop.join(", "));
    }
    if let Some(select) = &step.select {
        let _ = writeln!(text, "    select: {}", list(select));
    }
    if !step.rules.is_empty() {
        text.push_str("    check:\n");
    }
    for rule in &step.rules {
        let otherwise = if rule.drops { ", else: drop" } else { "" };
        let _ = writeln!(text, "      - {{name: {}, rule: {}{otherwise}}}", rule.name, quoted(&rule.rule));
    }
    if let Some(lookup) = &step.lookup {
        let on: Vec<String> = lookup.on.iter().enumerate().map(|(i, name)| format!("{{{name}: k{i}}}")).collect();
        let take = lookup.take.iter().enumerate().map(|(i, (name, ty))| match ty {
            Type::Text => format!("{{{name}: v{i}}}"),
            ty => format!("{{{name}: \"cast(v{i} as {ty})\"}}"),
        });
        let (on, take) = (on.join(", "), take.collect::<Vec<_>>().join(", "));
        let file = format!("\"${{TABLES}}/{}.csv\"", step.name);
        let missing = &lookup.missing;
        let _ = writeln!(text, "    lookup: {{file: {file}, on: [{on}], take: [{take}], missing: {missing}}}");
    }
    if let Some(dedup) = &step.dedup {
        let _ = writeln!(text, "    dedup: {{key: {}, within: {}}}", list(&dedup.keys), duration(dedup.within));
    }
    if let Some(window) = &step.window {
        write_window(text, window);
    }
}

fn write_join(text: &mut String, from: &[String], join: &Join) {
    let on: Vec<String> = join
        .on
        .iter()
        .map(|(left, right)| if left == right { left.clone() } else { format!("{{{left}: {right}}}") })
        .collect();
    let on = if on.is_empty() { String::new() } else { format!(", on: [{}]", on.join(", ")) };
    let near = match join.near {
        Near::Window(window) => format!("window: {}", kind(window)),
        Near::Within { before, after } => {
            format!("within: {{before: {}, after: {}}}", duration(before), duration(after))
        }
        Near::AsOf { max_age: None } => "as_of: {}".to_string(),
        Near::AsOf { max_age: Some(age) } => format!("as_of: {{max_age: {}}}", duration(age)),
    };
    let _ = writeln!(text, "    join: {{left: {}, right: {}{on}, type: {}, {near}}}", from[0], from[1], join.word());
}

fn kind(kind: Kind) -> String {
    let offset = |offset: i64| if offset == 0 { String::new() } else { format!(", offset: {}", duration(offset)) };
    match kind {
        Kind::Tumbling { size, offset: o } => format!("{{tumbling: {{size: {}{}}}}}", duration(size), offset(o)),
        Kind::Hopping { size, every, offset: o } => {
            format!("{{hopping: {{size: {}, every: {}{}}}}}", duration(size), duration(every), offset(o))
        }
        Kind::Cumulative { size, step, offset: o } => {
            format!("{{cumulative: {{size: {}, step: {}{}}}}}", duration(size), duration(step), offset(o))
        }
        Kind::Calendar { unit, zone } => {
            let unit = match unit {
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week",
                CalendarUnit::Month => "month",
            };
            format!("{{calendar: {{unit: {unit}, timezone: {}}}}}", zone.name())
        }
        Kind::Session { gap } => format!("{{session: {{gap: {}}}}}", duration(gap)),
        Kind::Same => "same".to_string(),
    }
}

fn write_window(text: &mut String, window: &Window) {
    let _ = writeln!(text, "    window: {}", kind(window.kind));
    if window.allowed > 0 {
        let _ = writeln!(text, "    allowed_lateness: {}", duration(window.allowed));
    }
    if !window.keys.is_empty() {
        let _ = writeln!(text, "    group_by: {}", list(&window.keys));
    }
    if !window.unique_by.is_empty() {
        let _ = writeln!(text, "    unique_by: {}", list(&window.unique_by));
    }
    text.push_str("    aggregate:\n");
    for (name, expr) in &window.aggregates {
        let _ = writeln!(text, "      {name}: {}", quoted(expr));
    }
    if let Some(having) = &window.having {
        let _ = writeln!(text, "    having: {}", quoted(having));
    }
    if let Some(top) = &window.top {
        let by: Vec<String> =
            top.by.iter().map(|(name, desc)| format!("{{{name}: {}}}", if *desc { "desc" } else { "asc" })).collect();
        let per = if top.per.is_empty() { String::new() } else { format!(", per: [{}]", top.per.join(", ")) };
        let ties = if top.keep { ", ties: keep" } else { "" };
        let rank = top.rank.as_ref().map_or_else(String::new, |rank| format!(", rank: {rank}"));
        let _ = writeln!(text, "    top: {{n: {}, by: [{}]{per}{ties}{rank}}}", top.n, by.join(", "));
    }
}

impl Lookup {
    /// Returns the file: a header, then a line for each row. No text of a case needs a quote inside quotes.
    pub fn csv(&self) -> String {
        let names = |count: usize, letter: &'static str| (0..count).map(move |i| format!("{letter}{i}"));
        let mut header = names(self.on.len(), "k").chain(names(self.take.len(), "v")).collect::<Vec<_>>().join(",");
        header.push('\n');
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::Text(text) => format!("\"{text}\""),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            other => unreachable!("no key or value of a file is {other}"),
        };
        self.rows.iter().fold(header, |text, (keys, values)| {
            let cells: Vec<String> = keys.iter().chain(values).map(cell).collect();
            text + &cells.join(",") + "\n"
        })
    }
}

/// Names and `{name: "expression"}` pairs.
fn list(columns: &[(String, Expr)]) -> String {
    let items: Vec<String> = columns
        .iter()
        .map(|(name, expr)| match expr {
            Expr::Column(column) if column == name => name.clone(),
            other => format!("{{{name}: {}}}", quoted(other)),
        })
        .collect();
    format!("[{}]", items.join(", "))
}

fn quoted(expr: &Expr) -> String {
    serde_json::to_string(&expr.to_string()).expect("a string is JSON")
}

/// A duration in the largest unit that gives a whole number.
fn duration(us: i64) -> String {
    let units = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    match units.iter().find(|(_, unit)| us % unit == 0) {
        Some((unit, size)) => format!("{}{unit}", us / size),
        None => format!("{us}us"),
    }
}
