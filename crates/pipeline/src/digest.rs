//! The definition digest: XXH3-128 over all that results depend on, and over nothing else.
//!
//! In it: columns and formats of sources, event time, partitions, steps, the row shape of sinks, and the versions of
//! decoder, semantics and Unicode. Not in it: names of pipeline and sinks, descriptions, the order of steps in the file,
//! bindings, paths, brokers, what late and bad records do, which log columns happen to be decoded.

use std::collections::BTreeMap;

use engine::calendar::ZONES_VERSION;
use engine::expr::Expr;
use engine::expr::function::{FUNCTIONS, Function};
use engine::plan::{
    ColumnPlan, Input, JoinPlan, JoinTime, OnBroken, OnMissing, Plan, RowWork, SinkPlan, SourcePlan, StepPlan,
    TimeFormat, ValueFrom, WindowPlan, Work,
};
use engine::window::Windowing;
use serde_json::{Value, json};

/// Grows when the meaning of a pipeline changes while its file does not.
const SEMANTICS_VERSION: u32 = 1;

/// Grows when a value is decoded otherwise than before; equal to `connectors::format::DECODER_VERSION`, which a test
/// of the whole compares.
pub const DECODER_VERSION: u32 = 1;

/// Returns the digest of a canonical plan's text: 32 hex digits.
pub fn definition(canonical: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(canonical.as_bytes()))
}

/// Returns the canonical plan: equal exactly when results are the same function of the log.
pub fn canonical(plan: &Plan) -> Value {
    let mut steps: Vec<&StepPlan> = plan.steps.iter().collect();
    steps.sort_by(|a, b| a.name.cmp(&b.name));
    let mut sinks: Vec<String> = plan.sinks.iter().map(|sink| self::sink(sink, plan).to_string()).collect();
    sinks.sort();
    sinks.dedup();
    let mut canonical = json!({
        "semantics": SEMANTICS_VERSION,
        "decoder": DECODER_VERSION,
        // `lower` and `upper` follow the tables of letters that the program was built with.
        "unicode": char::UNICODE_VERSION,
        "sources": plan.sources.iter().map(source).collect::<Vec<_>>(),
        "steps": steps.into_iter().map(|step| self::step(step, plan)).collect::<Vec<_>>(),
        "sinks": sinks,
    });
    let data = data_of(&canonical.to_string());
    if !data.is_empty() {
        canonical["data"] = json!(data);
    }
    canonical
}

/// Returns the versions of what functions in the canonical text follow, such as the time-zone database. Every expression
/// enters the text by the templates of the functions table, so that none is missed, wherever it stands.
fn data_of(canonical: &str) -> BTreeMap<&'static str, &'static str> {
    let is_called = |function: &Function| {
        let opening = function.sql.split('{').next().unwrap_or_default();
        canonical.contains(opening)
    };
    FUNCTIONS.iter().filter_map(|function| function.data.filter(|_| is_called(function))).collect()
}

fn source(source: &SourcePlan) -> Value {
    let mut value = json!({
        "name": source.name,
        "format": source.format,
        "columns": source.columns.iter().map(column).collect::<Vec<_>>(),
        "event_time": source.event_time,
        "out_of_orderness": source.out_of_orderness,
        "max_future": source.max_future,
        "partitions": source.partitions,
    });
    if source.tombstones {
        value["tombstones"] = json!(true);
    }
    value
}

fn column(column: &ColumnPlan) -> Value {
    let from = match &column.from {
        ValueFrom::Path(path) => json!(["path", path]),
        ValueFrom::Value => json!(["value"]),
        ValueFrom::Key => json!(["key"]),
        ValueFrom::Header(name) => json!(["header", name]),
    };
    let format = match &column.format {
        TimeFormat::Default => json!(["default"]),
        TimeFormat::Rfc3339 => json!(["rfc3339"]),
        TimeFormat::EpochSeconds => json!(["epoch_s"]),
        TimeFormat::EpochMillis => json!(["epoch_ms"]),
        TimeFormat::EpochMicros => json!(["epoch_us"]),
        TimeFormat::Pattern(pattern) => json!(["pattern", pattern]),
    };
    json!([column.field.name, column.field.data_type.to_string(), column.field.nullable, from, format, column.null_as])
}

fn step(step: &StepPlan, plan: &Plan) -> Value {
    let mut value = json!({
        "name": step.name,
        "from": inputs(step, plan),
        "tag": step.tag,
        "rows": row_work(&step.rows),
        "check": step.rules.iter().map(|rule| json!([rule.name, rule.expr.to_string(), otherwise(rule.otherwise)])).collect::<Vec<_>>(),
        "lookup": match &step.work {
            Work::Lookup(lookup) => {
                let take: Vec<Value> = lookup
                    .take
                    .iter()
                    .zip(&lookup.taken)
                    .map(|(field, name)| json!([field.name, name, field.data_type.to_string()]))
                    .collect();
                json!([lookup.digest, named(&lookup.keys), take, missing(lookup.missing)])
            }
            Work::Rows | Work::Dedup(_) | Work::Join(_) | Work::Window(_) => Value::Null,
        },
        "dedup": match &step.work {
            Work::Dedup(dedup) => json!([named(&dedup.keys), dedup.within]),
            Work::Rows | Work::Lookup(_) | Work::Window(_) | Work::Join(_) => Value::Null,
        },
        "window": match &step.work {
            Work::Rows | Work::Dedup(_) | Work::Lookup(_) | Work::Join(_) => Value::Null,
            Work::Window(window) => self::window(window),
        },
    });
    if let Work::Join(join) = &step.work {
        value["join"] = self::join(join);
    }
    value
}

/// Returns what becomes of a row whose key a file does not have, as it is written.
pub(crate) fn missing(missing: OnMissing) -> &'static str {
    match missing {
        OnMissing::Null => "null",
        OnMissing::Drop => "drop",
        OnMissing::Quarantine => "quarantine",
    }
}

/// Returns what becomes of a row that breaks a rule, as it is written in a file.
pub(crate) fn otherwise(otherwise: OnBroken) -> &'static str {
    match otherwise {
        OnBroken::Quarantine => "quarantine",
        OnBroken::Drop => "drop",
        OnBroken::Fail => "fail",
    }
}

fn row_work(work: &RowWork) -> Value {
    json!({
        "explode": work.explode.as_ref().map(|explode| json!([explode.list, explode.element])),
        "where": work.filter.as_ref().map(Expr::to_string),
        "derive": named(&work.derive),
        "drop": work.drop,
        "select": work.select.as_ref().map(|select| named(select)),
    })
}

/// The sides are in `from`, left then right.
fn join(join: &JoinPlan) -> Value {
    let time = match join.time {
        JoinTime::Window(windowing) => json!(["window", self::windowing(windowing)]),
        JoinTime::Within { before, after } => json!(["within", before, after]),
        JoinTime::AsOf { max_age } => json!(["as_of", max_age]),
    };
    let on = join.on.iter().map(|key| json!([key.names, key.data_type.to_string()]));
    json!({"type": join.kind.name(), "on": on.collect::<Vec<_>>(), "time": time})
}

fn windowing(windowing: Windowing) -> Value {
    match windowing {
        Windowing::Fixed { size, every, offset } => json!(["fixed", size, every, offset]),
        Windowing::Cumulative { size, step, offset } => json!(["cumulative", size, step, offset]),
        // The boundaries follow the zone's data, and its last rule goes on after these end.
        Windowing::Calendar { unit, zone } => {
            json!(["calendar", unit.word(), zone.name(), ZONES_VERSION, "for_ever"])
        }
        Windowing::Session { gap } => json!(["session", gap]),
        Windowing::Same => json!(["same"]),
    }
}

fn window(window: &WindowPlan) -> Value {
    let windowing = self::windowing(window.windowing);
    let top = window.top.as_ref().map(|top| match &top.rank {
        None => json!([top.n, top.by, top.per, top.keep_ties]),
        Some(rank) => json!([top.n, top.by, top.per, top.keep_ties, rank]),
    });
    json!({
        "windowing": windowing,
        "allowed_lateness": window.allowed_lateness,
        "keys": named(&window.keys),
        "unique_by": named(&window.unique_by),
        "calls": window.calls.iter().map(|call| format!("{call:?}")).collect::<Vec<_>>(),
        "outputs": named(&window.outputs),
        "having": window.having.as_ref().map(Expr::to_string),
        "top": top,
    })
}

fn sink(sink: &SinkPlan, plan: &Plan) -> Value {
    let columns = sink.schema.fields.iter().map(|field| json!([field.name, field.data_type.to_string()]));
    json!({
        "from": input(sink.input, plan),
        "where": sink.filter.as_ref().map(Expr::to_string),
        "select": sink.select.as_ref().map(|select| named(select)),
        "columns": columns.collect::<Vec<_>>(),
    })
}

/// Returns what a step or sink reads, as it is written in a file.
pub(crate) fn input(input: Input, plan: &Plan) -> String {
    match input {
        Input::Source(source) => plan.sources[source].name.clone(),
        Input::Step(step) => plan.steps[step].name.clone(),
        Input::SourceBad(source) => format!("{}.bad", plan.sources[source].name),
        Input::StepLate(step) => format!("{}.late", plan.steps[step].name),
        Input::StepBad(step) => format!("{}.bad", plan.steps[step].name),
    }
}

/// Returns what a step reads: a name, or the names of a union.
pub(crate) fn inputs(step: &StepPlan, plan: &Plan) -> Value {
    match step.inputs.as_slice() {
        [one] => input(*one, plan).into(),
        several => several.iter().map(|one| input(*one, plan)).collect(),
    }
}

fn named(exprs: &[(String, Expr)]) -> Vec<Value> {
    exprs.iter().map(|(name, expr)| json!([name, expr.to_string(), expr.data_type().to_string()])).collect()
}
