//! What is different between two definitions, told in the words of a pipeline file.
//!
//! A manifest keeps the canonical text that the definition digest is made of. It is read here as a set of fields, each with a
//! path such as `steps.per_page.window.size`; what this page does not know of a text (an older or newer one) is shown as it is.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields by path.
type Fields = BTreeMap<String, String>;

/// Returns what changed, one line for each field: `path: old -> new`.
pub(super) fn changes(before: &str, now: &str) -> Vec<String> {
    let (Ok(before), Ok(now)) = (serde_json::from_str(before), serde_json::from_str(now)) else { return Vec::new() };
    let (before, now) = (fields(&before), fields(&now));
    let mut paths: Vec<&String> = before.keys().chain(now.keys()).collect();
    paths.sort();
    paths.dedup();
    let mut lines = Vec::new();
    // Of a step that is new or gone one line tells.
    let mut whole: Option<String> = None;
    for path in paths {
        if whole.as_ref().is_some_and(|whole| path.starts_with(whole.as_str())) {
            continue;
        }
        let (old, new) = (before.get(path), now.get(path));
        if old == new {
            continue;
        }
        let sides = [(old, &now, "is gone"), (new, &before, "is new")];
        let missing = sides.iter().find(|(value, other, _)| value.is_some() && !has_unit(other, path));
        if let (Some((_, _, what)), Some(unit)) = (missing, unit(path)) {
            lines.push(format!("{unit} {what}"));
            whole = Some(format!("{unit}."));
            continue;
        }
        let shown = |value: Option<&String>| value.map_or("(none)", String::as_str).to_string();
        lines.push(format!("{path}: {} -> {}", shown(old), shown(new)));
    }
    lines
}

/// Returns the source or step that a path is in: `steps.per_page`.
fn unit(path: &str) -> Option<String> {
    let mut words = path.splitn(3, '.');
    let (kind, name, _) = (words.next()?, words.next()?, words.next()?);
    matches!(kind, "sources" | "steps").then(|| format!("{kind}.{name}"))
}

fn has_unit(fields: &Fields, path: &str) -> bool {
    let Some(unit) = unit(path) else { return true };
    let unit = format!("{unit}.");
    fields.range(unit.clone()..).next().is_some_and(|(path, _)| path.starts_with(&unit))
}

fn fields(definition: &Value) -> Fields {
    let mut found = Fields::new();
    for (key, value) in definition.as_object().into_iter().flatten() {
        match key.as_str() {
            "sources" => list(value).iter().for_each(|value| source(value, &mut found)),
            "steps" => list(value).iter().for_each(|value| step(value, &mut found)),
            "sinks" => sinks(list(value), &mut found),
            "data" => {
                for (name, version) in value.as_object().into_iter().flatten() {
                    put(&mut found, format!("data of {name}"), version);
                }
            }
            "semantics" | "decoder" | "unicode" => put(&mut found, format!("version of {key}"), value),
            other => put(&mut found, other.to_string(), value),
        }
    }
    found
}

fn source(source: &Value, found: &mut Fields) {
    let place = format!("sources.{}", text(&source["name"]));
    for (key, value) in source.as_object().into_iter().flatten() {
        match key.as_str() {
            "name" => {}
            "columns" => {
                for column in list(value) {
                    let path = format!("{place}.schema.{}", text(&column[0]));
                    found.insert(path, described_column(column));
                }
                let names: Vec<String> = list(value).iter().map(|column| text(&column[0])).collect();
                found.insert(format!("{place}.schema"), names.join(", "));
            }
            "event_time" => put(found, format!("{place}.event_time.column"), value),
            "out_of_orderness" => put_duration(found, format!("{place}.event_time.out_of_orderness"), value),
            "max_future" => put_duration(found, format!("{place}.event_time.max_future"), value),
            other => put(found, format!("{place}.{other}"), value),
        }
    }
}

/// `[name, type, nullable, from, format, null_as]` as a file says it.
fn described_column(column: &Value) -> String {
    let required = if column[2] == Value::Bool(false) { "!" } else { "" };
    let mut out = format!("{}{required}", text(&column[1]));
    let name = text(&column[0]);
    let is_plain = column[3][0] == "path" && list(&column[3][1]).len() == 1 && text(&column[3][1]) == name;
    if !is_plain {
        out.push_str(&format!(", from {}", text(&column[3])));
    }
    if column[4][0] != "default" {
        out.push_str(&format!(", format {}", text(&column[4])));
    }
    if !list(&column[5]).is_empty() {
        out.push_str(&format!(", null_as {}", text(&column[5])));
    }
    out
}

fn step(step: &Value, found: &mut Fields) {
    let place = format!("steps.{}", text(&step["name"]));
    for (key, value) in step.as_object().into_iter().flatten() {
        match key.as_str() {
            "name" => {}
            "rows" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    match key.as_str() {
                        "derive" | "select" => put_named(found, &format!("{place}.{key}"), value),
                        other => put(found, format!("{place}.{other}"), value),
                    }
                }
            }
            "check" => {
                for rule in list(value) {
                    let path = format!("{place}.check.{}", text(&rule[0]));
                    found.insert(path, format!("{}, else: {}", text(&rule[1]), text(&rule[2])));
                }
            }
            "lookup" if value.is_array() => {
                put(found, format!("{place}.lookup.contents of the file"), &value[0]);
                put_named(found, &format!("{place}.lookup.on"), &value[1]);
                put(found, format!("{place}.lookup.take"), &value[2]);
                put(found, format!("{place}.lookup.missing"), &value[3]);
            }
            "dedup" if value.is_array() => {
                put_named(found, &format!("{place}.dedup.key"), &value[0]);
                put_duration(found, format!("{place}.dedup.within"), &value[1]);
            }
            "window" if value.is_object() => window(&place, value, found),
            "join" if value.is_object() => {
                put(found, format!("{place}.join.type"), &value["type"]);
                put(found, format!("{place}.join.on"), &value["on"]);
                match text(&value["time"][0]).as_str() {
                    "window" => windowing(&format!("{place}.join.window"), &value["time"][1], found),
                    "within" => {
                        put_duration(found, format!("{place}.join.within.before"), &value["time"][1]);
                        put_duration(found, format!("{place}.join.within.after"), &value["time"][2]);
                    }
                    "as_of" => put_duration(found, format!("{place}.join.as_of.max_age"), &value["time"][1]),
                    _ => put(found, format!("{place}.join.time"), &value["time"]),
                }
            }
            other => put(found, format!("{place}.{other}"), value),
        }
    }
}

fn window(place: &str, window: &Value, found: &mut Fields) {
    let calls: Vec<String> = list(&window["calls"]).iter().map(text).collect();
    for (key, value) in window.as_object().into_iter().flatten() {
        match key.as_str() {
            "windowing" => windowing(&format!("{place}.window"), value, found),
            "allowed_lateness" => put_duration(found, format!("{place}.allowed_lateness"), value),
            "keys" => put_named(found, &format!("{place}.group_by"), value),
            "unique_by" => put_named(found, &format!("{place}.unique_by"), value),
            // What the outputs name by number.
            "calls" => {}
            "outputs" => {
                for output in list(value) {
                    let mut expr = text(&output[1]);
                    // The largest numbers first: `#1` is a part of `#12`.
                    for (number, call) in calls.iter().enumerate().rev() {
                        expr = expr.replace(&format!("\"#{number}\""), call).replace(&format!("#{number}"), call);
                    }
                    found.insert(format!("{place}.aggregate.{}", text(&output[0])), expr);
                }
            }
            "top" if value.is_array() => {
                put(found, format!("{place}.top.n"), &value[0]);
                let order = |by: &Value| {
                    format!("{} {}", text(&by[0]), if by[1] == Value::Bool(true) { "desc" } else { "asc" })
                };
                let by: Vec<String> = list(&value[1]).iter().map(order).collect();
                found.insert(format!("{place}.top.by"), by.join(", "));
                put(found, format!("{place}.top.per"), &value[2]);
                put(found, format!("{place}.top.keep_ties"), &value[3]);
            }
            other => put(found, format!("{place}.{other}"), value),
        }
    }
}

fn windowing(place: &str, value: &Value, found: &mut Fields) {
    let kind = text(&value[0]);
    let words: &[&str] = match kind.as_str() {
        "fixed" if value[1] == value[2] => &["size", "", "offset"],
        "fixed" => &["size", "every", "offset"],
        "cumulative" => &["size", "step", "offset"],
        "session" => &["gap"],
        _ => &[],
    };
    let kind = match kind.as_str() {
        "fixed" if value[1] == value[2] => "tumbling",
        "fixed" => "hopping",
        other => other,
    };
    found.insert(format!("{place}.kind"), kind.to_string());
    for (word, value) in words.iter().zip(&list(value)[1..]).filter(|(word, _)| !word.is_empty()) {
        put_duration(found, format!("{place}.{word}"), value);
    }
    if words.is_empty() {
        for (number, value) in list(value).iter().skip(1).enumerate() {
            let word = ["unit", "timezone", "version of the time zones"].get(number).copied().unwrap_or("more");
            put(found, format!("{place}.{word}"), value);
        }
    }
}

/// The rows of sinks, which have no names here: by what they read.
fn sinks(sinks: &[Value], found: &mut Fields) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for sink in sinks {
        let parsed = sink.as_str().and_then(|sink| serde_json::from_str::<Value>(sink).ok());
        let sink = parsed.as_ref().unwrap_or(sink);
        let from = text(&sink["from"]);
        let count = seen.entry(from.clone()).or_default();
        *count += 1;
        let number = if *count > 1 { format!(" ({count})") } else { String::new() };
        let place = format!("sinks of {from}{number}");
        put(found, format!("{place}.where"), &sink["where"]);
        put_named(found, &format!("{place}.select"), &sink["select"]);
        let columns: Vec<String> =
            list(&sink["columns"]).iter().map(|column| format!("{} {}", text(&column[0]), text(&column[1]))).collect();
        found.insert(format!("{place}.columns"), columns.join(", "));
    }
}

/// `[[name, expression, type], …]`: a field for each name, and their order.
fn put_named(found: &mut Fields, place: &str, value: &Value) {
    for named in list(value) {
        found.insert(format!("{place}.{}", text(&named[0])), text(&named[1]));
    }
    if list(value).len() > 1 {
        let names: Vec<String> = list(value).iter().map(|named| text(&named[0])).collect();
        found.insert(place.to_string(), names.join(", "));
    }
}

fn put(found: &mut Fields, path: String, value: &Value) {
    let is_nothing = match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        _ => false,
    };
    if !is_nothing {
        found.insert(path, text(value));
    }
}

fn put_duration(found: &mut Fields, path: String, value: &Value) {
    match value.as_i64() {
        Some(micros) => _ = found.insert(path, duration(micros)),
        None => put(found, path, value),
    }
}

/// Writes a duration as a pipeline file would: in the largest unit that fits.
fn duration(micros: i64) -> String {
    let units = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    let fits = units.iter().find(|(_, size)| micros != 0 && micros % size == 0);
    match fits {
        Some((unit, size)) => format!("{}{unit}", micros / size),
        None if micros == 0 => "0s".to_string(),
        None => format!("{micros}us"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
