//! The resolved plan for people (text), programs (JSON) and pictures (DOT). Secrets and librdkafka settings are not in it.

use std::fmt::Write;

use engine::plan::{
    Input, JoinPlan, JoinTime, OnBad, OnLate, RowWork, SIDES, SinkTarget, SourcePlan, StepPlan, WindowPlan, Work,
};
use engine::schedule::{CatchUp, Hook, Overlap, Reprocess, Schedule};
use engine::window::Windowing;
use engine::{Field, Schema};
use serde_json::{Value, json};

use crate::digest;
use crate::{Loaded, Secrets, duration};

/// Returns the plan as text.
pub fn text(loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let mut out = format!("pipeline {}\n  definition  {}\n", plan.name, plan.definition);
    for source in &plan.sources {
        source_text(source, &mut out);
    }
    for step in &plan.steps {
        let inputs: Vec<String> = step.inputs.iter().map(|input| digest::input(*input, plan)).collect();
        let inputs = match &step.work {
            Work::Join(_) => format!("{} (left), {} (right)", inputs[0], inputs[1]),
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => inputs.join(", "),
        };
        let _ = writeln!(out, "\nstep {}\n  from        {inputs}", step.name);
        let sources: Vec<&str> = step.sources.iter().map(|source| plan.sources[*source].name.as_str()).collect();
        line(&mut out, "source", &sources.join(", "));
        if let Some(tag) = &step.tag {
            line(&mut out, "tag", tag);
        }
        if let Work::Join(join) = &step.work {
            join_text(join, &mut out);
        }
        rows_text(&step.rows, &mut out);
        for rule in &step.rules {
            let otherwise = digest::otherwise(rule.otherwise);
            line(&mut out, "check", &format!("{}: {}, else {otherwise}", rule.name, rule.expr));
        }
        match &step.work {
            Work::Rows | Work::Join(_) => {}
            Work::Lookup(lookup) => {
                let take: Vec<&str> = lookup.take.iter().map(|field| field.name.as_str()).collect();
                let on = named(&lookup.keys);
                let missing = digest::missing(lookup.missing);
                let file = format!("{} ({} keys, {}…)", lookup.file, lookup.table.len(), &lookup.digest[..8]);
                line(&mut out, "lookup", &format!("{} from {file} on {on}, missing: {missing}", take.join(", ")));
            }
            Work::Dedup(dedup) => {
                let within = duration::format(dedup.within);
                line(&mut out, "dedup", &format!("by {}, within {within}, by partition", named(&dedup.keys)));
            }
            Work::Window(window) => window_text(step, window, &mut out),
        }
        line(&mut out, "columns", &columns(&step.schema));
    }
    for sink in &plan.sinks {
        let _ = writeln!(out, "\nsink {}\n  from        {}", sink.name, digest::input(sink.input, plan));
        if let Some(filter) = &sink.filter {
            line(&mut out, "where", &filter.to_string());
        }
        if let Some(select) = &sink.select {
            line(&mut out, "select", &named(select));
        }
        line(&mut out, "to", &target(&sink.target));
        if sink.early {
            line(&mut out, "emit", "open rows too, replaced as they change");
        }
        line(&mut out, "columns", &columns(&sink.schema));
        if !sink.identity.is_empty() {
            line(&mut out, "named by", &sink.identity.join(", "));
        }
    }
    for schedule in &loaded.schedules {
        let _ = writeln!(out, "\nschedule {}", schedule.name);
        for (name, what) in scheduled(schedule) {
            line(&mut out, name, &what);
        }
    }
    loaded.secrets.redact(&out)
}

/// Returns what a schedule says, by name.
fn scheduled(schedule: &Schedule) -> Vec<(&'static str, String)> {
    let time = engine::rfc3339;
    let cron = &schedule.cron;
    let mut all = vec![("cron", format!("{} in {}", cron.text(), cron.zone()))];
    all.push((
        "reprocess",
        match schedule.reprocess {
            Reprocess::Last(length) => format!("the {} before it", duration::format(length)),
            Reprocess::PreviousInterval => "the time since the firing before it".into(),
            Reprocess::Stale => "whatever is stale or missing by then".into(),
            Reprocess::Range { from, to } => format!("{} .. {}", time(from), time(to)),
        },
    ));
    all.push((
        "catch up",
        match schedule.catch_up {
            CatchUp::None => "with nothing that was missed".into(),
            CatchUp::Latest => "with the latest that was missed".into(),
            CatchUp::All { max } => format!("with the latest {max} that were missed"),
        },
    ));
    let overlap = match schedule.overlap {
        Overlap::Skip => "is left out while a run goes on",
        Overlap::Queue => "waits while a run goes on",
        Overlap::CancelRunning => "stops a run that goes on",
    };
    all.push(("overlap", overlap.into()));
    if let Some(retry) = schedule.retry {
        let backoff = duration::format(retry.backoff);
        all.push(("retry", format!("{} times, first after {backoff}, when the environment failed", retry.times)));
    }
    if schedule.jitter > 0 {
        all.push(("jitter", format!("begins up to {} later", duration::format(schedule.jitter))));
    }
    if schedule.verify {
        all.push(("then", "verify".into()));
    }
    // What a hook says may be a secret, or what it is told by.
    for (name, hook) in [("on success", &schedule.on_success), ("on failure", &schedule.on_failure)] {
        match hook {
            Some(Hook::Command(words)) => all.push((name, words.join(" "))),
            Some(Hook::Webhook(_)) => all.push((name, "a webhook".into())),
            None => {}
        }
    }
    all
}

fn source_text(source: &SourcePlan, out: &mut String) {
    let _ = writeln!(out, "\nsource {}", source.name);
    for (mode, what) in bindings(source) {
        line(out, mode, &what);
    }
    line(out, "format", &source.format);
    let mut event_time =
        format!("{}, out of order by up to {}", source.event_time, duration::format(source.out_of_orderness));
    if let Some(guard) = source.max_future {
        let _ = write!(event_time, ", bad when more than {} in the future", duration::format(guard));
    }
    line(out, "event time", &event_time);
    line(out, "columns", &columns(&source.schema()));
    line(out, "read", &source.needed.join(", "));
    if let Some(partitions) = &source.partitions {
        line(out, "partitions", &partitions.iter().map(i32::to_string).collect::<Vec<_>>().join(", "));
    }
    let bad = match source.on_bad {
        OnBad::Quarantine => "kept aside",
        OnBad::Fail => "end the run",
    };
    let late = match source.on_late {
        OnLate::Quarantine => "kept aside",
        OnLate::Drop => "counted only",
        OnLate::Fail => "end the run",
    };
    line(out, "bad", bad);
    if source.tombstones {
        line(out, "no value", "a record without a value ends a version of its key in the joins that read it");
    }
    line(out, "late", late);
}

/// Returns where a source's log is, by mode.
fn bindings(source: &SourcePlan) -> Vec<(&'static str, String)> {
    let bindings = &source.bindings;
    let mut all = Vec::new();
    if let Some(kafka) = &bindings.kafka {
        let options: Vec<&str> = kafka.options.keys().map(String::as_str).collect();
        let options = if options.is_empty() { String::new() } else { format!(" (options: {})", options.join(", ")) };
        all.push(("stream", format!("topic {} at {}{options}", kafka.topic, kafka.brokers)));
    }
    if let Some(lake) = &bindings.lake {
        all.push(("batch", format!("lake {}, layout {}", lake.path, format!("{:?}", lake.layout).to_lowercase())));
    }
    if let Some(path) = &bindings.journal {
        let modes = match (&bindings.kafka, &bindings.lake) {
            (None, None) => "both modes",
            (None, Some(_)) => "stream",
            (Some(_), None) => "batch",
            (Some(_), Some(_)) => "unused",
        };
        all.push((modes, format!("journal {path}")));
    }
    all
}

fn rows_text(rows: &RowWork, out: &mut String) {
    if let Some(explode) = &rows.explode {
        line(out, "explode", &format!("{} as {}", explode.list, explode.element));
    }
    if let Some(filter) = &rows.filter {
        line(out, "where", &filter.to_string());
    }
    if !rows.derive.is_empty() {
        line(out, "derive", &named(&rows.derive));
    }
    if !rows.drop.is_empty() {
        line(out, "drop", &rows.drop.join(", "));
    }
    if let Some(select) = &rows.select {
        line(out, "select", &named(select));
    }
}

fn join_text(join: &JoinPlan, out: &mut String) {
    line(out, "join", &joining(join));
    if !join.on.is_empty() {
        let on = join.on.iter().map(|key| match &key.names {
            [left, right] if left == right => left.clone(),
            [left, right] => format!("{left} = right {right}"),
        });
        line(out, "on", &on.collect::<Vec<_>>().join(", "));
    }
    let records: Vec<&str> =
        SIDES.iter().zip(&join.sides).filter(|(_, side)| side.are_records).map(|(name, _)| *name).collect();
    let lateness = match (records.is_empty(), join.time) {
        (true, _) => "reads final rows only, so nothing is late".to_owned(),
        (false, JoinTime::Window(_)) => {
            format!("windows take records ({}) until the watermark reaches their end", records.join(", "))
        }
        (false, JoinTime::Within { .. } | JoinTime::AsOf { .. }) => {
            format!("takes records ({}) that are not behind the watermark", records.join(", "))
        }
    };
    line(out, "late", &lateness);
}

/// Returns what kind of join it is.
fn joining(join: &JoinPlan) -> String {
    let kind = join.kind.name();
    match join.time {
        JoinTime::Window(window) => format!("{kind}, {}", windowing(window)),
        JoinTime::Within { before, after } => {
            let [before, after] = [before, after].map(duration::format);
            format!("{kind}, right from {before} before left to {after} after it")
        }
        JoinTime::AsOf { max_age: None } => format!("{kind}, right as of left"),
        JoinTime::AsOf { max_age: Some(age) } => {
            format!("{kind}, right as of left, at most {} old", duration::format(age))
        }
    }
}

fn window_text(step: &StepPlan, window: &WindowPlan, out: &mut String) {
    line(out, "window", &windowing(window.windowing));
    if !window.keys.is_empty() {
        line(out, "group by", &named(&window.keys));
    }
    if !window.unique_by.is_empty() {
        line(out, "unique by", &named(&window.unique_by));
    }
    for (name, expr) in &window.outputs {
        line(out, "aggregate", &format!("{name} = {}", with_calls(&expr.to_string(), window)));
    }
    if let Some(having) = &window.having {
        line(out, "having", &having.to_string());
    }
    if let Some(top) = &window.top {
        let by = top.by.iter().map(|(name, desc)| format!("{name}{}", if *desc { " desc" } else { "" }));
        let per = if top.per.is_empty() { String::new() } else { format!(" per {}", top.per.join(", ")) };
        let ties = if top.keep_ties { ", ties kept" } else { "" };
        let rank = top.rank.as_ref().map_or_else(String::new, |rank| format!(", numbered in {rank}"));
        line(out, "top", &format!("{} by {}{per}{ties}{rank}", top.n, by.collect::<Vec<_>>().join(", ")));
    }
    let lateness = match (step.over_windows, window.allowed_lateness) {
        (true, _) => "reads final rows only, so nothing is late".to_owned(),
        (false, 0) => "windows take records until the watermark reaches their end".to_owned(),
        (false, us) => format!("windows take records {} longer", duration::format(us)),
    };
    line(out, "late", &lateness);
}

fn windowing(windowing: Windowing) -> String {
    match windowing {
        Windowing::Fixed { size, every, offset } => {
            let offset = if offset == 0 { String::new() } else { format!(", offset {}", duration::format(offset)) };
            match size == every {
                true => format!("tumbling {}{offset}", duration::format(size)),
                false => format!("hopping {} every {}{offset}", duration::format(size), duration::format(every)),
            }
        }
        Windowing::Cumulative { size, step, offset } => {
            let offset = if offset == 0 { String::new() } else { format!(", offset {}", duration::format(offset)) };
            format!("cumulative {} by {}{offset}", duration::format(size), duration::format(step))
        }
        Windowing::Calendar { unit, zone } => format!("calendar {} in {zone}", unit.word()),
        Windowing::Session { gap } => format!("session, gap {}", duration::format(gap)),
        Windowing::Same => "same as the input's".into(),
    }
}

/// Puts the aggregate calls where an output's expression reads them as `#0`, `#1`, ….
fn with_calls(expr: &str, window: &WindowPlan) -> String {
    let calls = window.calls.iter().enumerate().rev();
    calls.fold(expr.to_owned(), |text, (i, call)| {
        text.replace(&format!("\"#{i}\""), &format!("{call:?}")).replace(&format!("#{i}"), &format!("{call:?}"))
    })
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<11} {value}");
}

fn columns(schema: &Schema) -> String {
    schema.fields.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn column(field: &Field) -> String {
    format!("{} {}{}", field.name, field.data_type, if field.nullable { "" } else { "!" })
}

fn named(exprs: &[(String, engine::expr::Expr)]) -> String {
    let item = |(name, expr): &(String, engine::expr::Expr)| match expr.as_column() == Some(name) {
        true => name.clone(),
        false => format!("{name} = {expr}"),
    };
    exprs.iter().map(item).collect::<Vec<_>>().join(", ")
}

fn target(target: &SinkTarget) -> String {
    let settings = target.settings.iter().map(|(name, value)| match name.starts_with("options.") || name == "url" {
        true => format!(" {name}=…"),
        false => format!(" {name}={value}"),
    });
    format!("{}{}", target.kind, settings.collect::<String>())
}

/// Returns the plan as an object: the canonical plan that the definition digest is over, and where things are.
pub fn to_json(loaded: &Loaded) -> Value {
    let plan = &loaded.plan;
    let schema = |schema: &Schema| -> Value {
        let field = |field: &Field| json!({"name": field.name, "type": field.data_type.to_string(), "nullable": field.nullable});
        schema.fields.iter().map(field).collect()
    };
    let sources = plan.sources.iter().map(|source| {
        let bindings: Vec<Value> =
            bindings(source).into_iter().map(|(mode, what)| json!({"mode": mode, "log": what})).collect();
        json!({"name": source.name, "bindings": bindings, "columns": schema(&source.schema()), "reads": source.needed})
    });
    let steps = plan
        .steps
        .iter()
        .map(|step| json!({"name": step.name, "from": digest::inputs(step, plan), "columns": schema(&step.schema)}));
    let sinks = plan.sinks.iter().map(|sink| {
        json!({
            "name": sink.name,
            "from": digest::input(sink.input, plan),
            "to": target(&sink.target),
            "columns": schema(&sink.schema),
            "identity": sink.identity,
        })
    });
    let value = json!({
        "pipeline": plan.name,
        "definition": plan.definition,
        "description": loaded.about.description,
        "owner": loaded.about.owner,
        "tags": loaded.about.tags,
        "sources": sources.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "sinks": sinks.collect::<Vec<_>>(),
        "schedules": loaded.schedules.iter().map(schedule_json).collect::<Vec<_>>(),
        "canonical": digest::canonical(plan),
    });
    loaded.secrets.redact_json(value)
}

fn schedule_json(schedule: &Schedule) -> Value {
    let mut value = json!({"name": schedule.name});
    for (name, what) in scheduled(schedule) {
        value[name.replace(' ', "_")] = what.into();
    }
    value
}

/// Redacts a canonical plan's text.
pub(crate) fn redacted(canonical: &str, secrets: &Secrets) -> String {
    match serde_json::from_str(canonical) {
        Ok(value) => secrets.redact_json(value).to_string(),
        Err(_) => secrets.redact(canonical),
    }
}

/// Returns the plan as a graph for Graphviz.
pub fn dot(loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let mut out =
        format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n", quoted(&plan.name));
    let mut node = |id: String, label: String, shape: &str| {
        let _ = writeln!(out, "  {} [label={}, shape={shape}];", quoted(&id), quoted(&label));
    };
    for source in &plan.sources {
        node(format!("source {}", source.name), source.name.clone(), "cylinder");
    }
    for step in &plan.steps {
        let label = match &step.work {
            Work::Rows => step.name.clone(),
            Work::Dedup(_) => format!("{}\ndedup", step.name),
            Work::Lookup(_) => format!("{}\nlookup", step.name),
            Work::Window(window) => format!("{}\n{}", step.name, windowing(window.windowing)),
            Work::Join(join) => format!("{}\njoin: {}", step.name, joining(join)),
        };
        node(format!("step {}", step.name), label, "box");
    }
    for sink in &plan.sinks {
        node(format!("sink {}", sink.name), format!("{}\n{}", sink.name, sink.target.kind), "note");
    }
    let id = |input: Input| match input {
        Input::Source(source) | Input::SourceBad(source) => format!("source {}", plan.sources[source].name),
        Input::Step(step) | Input::StepLate(step) | Input::StepBad(step) => format!("step {}", plan.steps[step].name),
    };
    for step in &plan.steps {
        for (side, input) in step.inputs.iter().enumerate() {
            let side = match step.work {
                Work::Join(_) => format!(" [label=\"{}\"]", SIDES[side]),
                Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Window(_) => String::new(),
            };
            let _ = writeln!(out, "  {} -> {}{side};", quoted(&id(*input)), quoted(&format!("step {}", step.name)));
        }
    }
    for sink in &plan.sinks {
        let side = match sink.input {
            Input::Source(_) | Input::Step(_) => "",
            Input::SourceBad(_) | Input::StepBad(_) => " [label=\"bad\", style=dashed]",
            Input::StepLate(_) => " [label=\"late\", style=dashed]",
        };
        let _ = writeln!(out, "  {} -> {}{side};", quoted(&id(sink.input)), quoted(&format!("sink {}", sink.name)));
    }
    out.push_str("}\n");
    loaded.secrets.redact(&out)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
