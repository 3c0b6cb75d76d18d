//! Windows as written, by the engine's table of kinds.

use engine::window::{WINDOWS, WindowField, WindowKind, WindowShape, WindowValue, Windowing};
use engine::{Code, calendar};

use super::WindowSpec;
use crate::fields;
use crate::problems::Problems;
use crate::read::{Fields, Placed, duration_of, text};
use crate::suggest::{did_you_mean, list, nearest};
use crate::yaml::{Kind, Node, Scalar};

pub(super) fn read_window(fields: &Fields<'_>, problems: &mut Problems) -> Option<Placed<WindowSpec>> {
    let entry = fields.entry("window")?;
    let names = || WINDOWS.iter().map(|kind| kind.name).chain([fields::SAME]);
    let wrong = Some(Placed::new(WindowSpec::Wrong, entry.key.span));
    let (word, node) = match &entry.value.kind {
        Kind::Mapping(kinds) => {
            match kinds.iter().filter(|kind| !kind.key.text.starts_with("x-")).collect::<Vec<_>>()[..] {
                [kind] => (&kind.key, Some(&kind.value)),
                _ => {
                    problems
                        .error(Code::Field, entry.key.span, "`window` takes exactly one kind of window", "not one kind")
                        .help = Some(format!("one of {}", list(names())));
                    return wrong;
                }
            }
        }
        _ => match text(&entry.value, entry.key.span, "`window`", problems) {
            Some(_) => (entry.value.scalar().expect("it was just read"), None),
            None => return wrong,
        },
    };
    if word.text == fields::SAME && node.is_none_or(Node::is_null) {
        return Some(Placed::new(WindowSpec::Built(Windowing::Same), word.span));
    }
    let Some(kind) = WINDOWS.iter().find(|kind| kind.name == word.text) else {
        let meant = foreign_kind(word.shown()).map(str::to_owned);
        let help =
            meant.unwrap_or_else(|| did_you_mean(word.shown(), "a window is one of", names().collect::<Vec<_>>()));
        problems
            .error(Code::Field, word.span, format!("unknown window `{}`", word.shown()), "not a kind of window")
            .help = Some(help);
        return wrong;
    };
    let windowing = match node {
        Some(node) => read_window_fields(kind, word, node, problems),
        None => {
            problems
                .error(Code::Field, word.span, format!("`{}` needs its fields", kind.name), "a map is missing")
                .help = Some(format!("write `window: {{{}: {{{}}}}}`", kind.name, in_short(kind)));
            None
        }
    };
    Some(Placed::new(windowing.map_or(WindowSpec::Wrong, WindowSpec::Built), word.span))
}

fn read_window_fields(
    kind: &'static WindowKind,
    word: &Scalar,
    node: &Node,
    problems: &mut Problems,
) -> Option<Windowing> {
    let Kind::Mapping(entries) = &node.kind else {
        let span = if node.is_null() { word.span } else { node.span };
        problems.error(Code::Field, span, format!("`{}` is {}, not a map", kind.name, node.what()), "not a map").help =
            Some(format!("write `window: {{{}: {{{}}}}}`", kind.name, in_short(kind)));
        return None;
    };
    let mut values: Vec<Option<Given>> = kind.fields.iter().map(|_| None).collect();
    let before = problems.errors.len();
    for entry in entries.iter().filter(|entry| !entry.key.text.starts_with("x-")) {
        match kind.fields.iter().position(|field| field.name == entry.key.text) {
            Some(i) => {
                let scalar = text(&entry.value, entry.key.span, &format!("`{}`", entry.key.text), problems);
                values[i] = scalar.and_then(|scalar| read_value(&kind.fields[i], &scalar, problems));
            }
            None => unknown_window_field(kind, &entry.key, problems),
        }
    }
    for field in
        kind.fields.iter().filter(|field| field.required && !entries.iter().any(|entry| entry.key.text == field.name))
    {
        problems
            .error(
                Code::Field,
                word.span,
                format!("`{}` needs `{}`", kind.name, field.name),
                format!("`{}` is missing", field.name),
            )
            .help = Some(format!("`{}`: {}", field.name, field.help));
    }
    if problems.errors.len() > before {
        return None;
    }
    let values: Vec<Option<WindowValue<'_>>> = values
        .iter()
        .map(|value| {
            value.as_ref().map(|value| match value {
                Given::Duration(micros) => WindowValue::Duration(*micros),
                Given::Word(word) => WindowValue::Word(word),
            })
        })
        .collect();
    match (kind.build)(&values) {
        Ok(windowing) => Some(windowing),
        Err(why) => {
            problems.error(
                Code::Field,
                node.span,
                format!("this `{}` window is not possible: {why}", kind.name),
                "this window",
            );
            None
        }
    }
}

/// The value of a field.
enum Given {
    Duration(i64),
    Word(String),
}

fn read_value(field: &WindowField, scalar: &Scalar, problems: &mut Problems) -> Option<Given> {
    match field.shape {
        WindowShape::Duration => duration_of(scalar, field.name, problems).map(|us| Given::Duration(us.value)),
        WindowShape::Choice(words) if !words.contains(&scalar.text.as_str()) => {
            let message = format!("`{}: {}` is not one of its words", field.name, scalar.shown());
            problems.error(Code::Field, scalar.span, message, "not one of them").help =
                Some(did_you_mean(scalar.shown(), &format!("`{}` is one of", field.name), words.iter().copied()));
            None
        }
        WindowShape::Zone => match calendar::zone(&scalar.text) {
            Ok(_) => Some(Given::Word(scalar.text.clone())),
            Err(meant) => {
                let message = format!("there is no time zone `{}`", scalar.shown());
                problems.error(Code::Field, scalar.span, message, "not in the IANA database").help =
                    Some(match meant {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => did_you_mean(
                            scalar.shown(),
                            "zones have names such as",
                            ["Europe/Berlin", "America/New_York", "Asia/Shanghai", "UTC"],
                        ),
                    });
                None
            }
        },
        WindowShape::Choice(_) => Some(Given::Word(scalar.text.clone())),
    }
}

/// Returns the required fields of a kind with values that may stand there.
fn in_short(kind: &WindowKind) -> String {
    let required = kind.fields.iter().filter(|field| field.required).map(|field| match field.shape {
        WindowShape::Duration => format!("{}: 1m", field.name),
        WindowShape::Choice(words) => format!("{}: {}", field.name, words[0]),
        WindowShape::Zone => format!("{}: UTC", field.name),
    });
    required.collect::<Vec<_>>().join(", ")
}

/// Returns how the kind of window that others call so is written here.
fn foreign_kind(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let name = lower.split(['(', ' ']).next().unwrap_or_default();
    Some(match name {
        "tumble" | "fixed" | "fixedwindows" | "tumbling_window" => "write `window: {tumbling: {size: 1m}}`",
        "hop" | "slide" | "sliding" | "slidingwindows" => "write `window: {hopping: {size: 10m, every: 1m}}`",
        "cumulate" | "accumulate" => "write `window: {cumulative: {size: 1d, step: 1h}}`",
        "day" | "daily" | "week" | "weekly" | "month" | "monthly" => {
            "write `window: {calendar: {unit: day, timezone: UTC}}`, with `day`, `week` or `month`"
        }
        "global" | "globalwindows" | "none" | "unbounded" | "all" => {
            "what never ends is never final: take the longest window that makes sense, such as `window: {cumulative: {size: 1d, step: 1h}}`"
        }
        "count" | "rows" => {
            "windows are in event time: which rows are the first hundred depends on the order in which partitions are read"
        }
        _ if crate::duration::parse(word).is_ok() => "say which kind: `window: {tumbling: {size: 1m}}`",
        _ => return None,
    })
}

/// Returns the field of a kind of window that others call so.
fn foreign_field(kind: &WindowKind, word: &str) -> Option<&'static str> {
    let ours = match word {
        "slide" | "hop" | "advance" | "period" | "interval" | "step" | "advance_by" => "every",
        "timeout" | "inactivity" | "inactivity_gap" | "pause" => "gap",
        "length" | "duration" | "range" | "width" | "max_size" => "size",
        "zone" | "tz" | "time_zone" => "timezone",
        _ => return None,
    };
    kind.fields.iter().map(|field| field.name).find(|name| *name == ours)
}

fn unknown_window_field(kind: &WindowKind, key: &Scalar, problems: &mut Problems) {
    let own = list(kind.fields.iter().map(|field| field.name));
    let takes = format!("`{}` takes {own}", kind.name);
    let own_name = nearest(&key.text, kind.fields.iter().map(|field| field.name));
    let own_name = own_name.or_else(|| foreign_field(kind, &key.text));
    let elsewhere = WINDOWS.iter().filter(|other| other.name != kind.name).find_map(|other| {
        let names = || other.fields.iter().map(|field| field.name);
        let name = names().find(|name| *name == key.text).or_else(|| nearest(&key.text, names()))?;
        (!kind.fields.iter().any(|field| field.name == name)).then_some((other.name, name))
    });
    let help = match (own_name, elsewhere) {
        (Some(name), _) => format!("{takes}; did you mean `{name}`?"),
        (None, Some((other, name))) => {
            format!("{takes}; `{name}` is a field of `{other}`: did you mean that kind of window?")
        }
        (None, None) => takes,
    };
    problems
        .error(
            Code::Field,
            key.span,
            format!("unknown field `{}` in a {} window", key.text, kind.name),
            format!("not a field of `{}`", kind.name),
        )
        .help = Some(help);
}
