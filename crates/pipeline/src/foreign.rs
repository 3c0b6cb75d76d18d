//! What other systems call the fields of a pipeline, and how the same is said here.

use crate::fields::{self, Block, Shape};
use crate::suggest::nearest;

/// Fields of other systems: the block in which they are written, their names in small letters, and what to write.
const FOREIGN: &[(&Block, &[&str], &str)] = &[
    (
        &fields::PIPELINE,
        &["transforms", "models", "operators", "transformations", "queries", "views", "pipeline"],
        "computations are `steps: {NAME: {from: …}}`",
    ),
    (&fields::PIPELINE, &["id", "pipeline_name", "job", "job_name"], "the name is `name`"),
    (
        &fields::PIPELINE,
        &["mode", "runtime_mode", "execution_mode"],
        "one file runs both ways: `samestream run --mode stream` or `--mode batch`",
    ),
    (
        &fields::PIPELINE,
        &["parallelism", "workers", "threads"],
        "how a run is spread over threads is no part of the file: results do not depend on it",
    ),
    (
        &fields::PIPELINE,
        &["checkpoint", "checkpoints", "checkpointing", "state", "state_backend"],
        "state belongs to the run: `samestream run --state-dir`",
    ),
    (
        &fields::PIPELINE,
        &["watermark", "event_time"],
        "event time belongs to each source: `event_time: {column, out_of_orderness}`",
    ),
    (&fields::PIPELINE, &["env", "variables", "params", "parameters"], "variables are `vars: {NAME: {default: …}}`"),
    (&fields::PIPELINE, &["input", "inputs", "source", "from"], "logs are `sources: {NAME: {…}}`"),
    (&fields::PIPELINE, &["output", "outputs", "sink", "to"], "outputs are `sinks: {NAME: {from: STEP, …}}`"),
    (&fields::SOURCE, &["columns", "fields"], "columns are `schema: {NAME: type}`"),
    (
        &fields::SOURCE,
        &["watermark", "watermarks", "timestamp", "time", "rowtime", "timestamp_column"],
        "write `event_time: {column: at, out_of_orderness: 30s}`",
    ),
    (
        &fields::SOURCE,
        &["type", "connector", "provider", "with"],
        "the kind of log is a field of its own: `kafka: {brokers, topic}`, `lake: {path}` or `journal: {path}`",
    ),
    (
        &fields::SOURCE,
        &["file", "files", "path", "parquet", "csv", "jsonl", "json", "filesystem"],
        "Parquet files are `lake: {path, layout: files}`; other files become a journal by `samestream append`",
    ),
    (
        &fields::SOURCE,
        &["postgres", "mysql", "jdbc", "kinesis", "pulsar", "pubsub", "rabbitmq", "nats", "table"],
        "a log is `kafka`, `lake` or `journal`; `samestream append` makes a journal of JSON lines and CSV",
    ),
    (
        &fields::SOURCE,
        &["idle_timeout", "idleness"],
        "a quiet partition delays final rows and never changes one; say `partitions: […]` to leave partitions out",
    ),
    (
        &fields::SOURCE,
        &["start", "starting_offsets", "scan_startup_mode", "offset"],
        "where reading starts is said to the run: `samestream run --start`",
    ),
    (
        &fields::SOURCE,
        &["primary_key", "key", "unique_key"],
        "repetitions are taken away by a step: `dedup: {key: […], within: 10m}`; the record's key is a column with `from: key`",
    ),
    (
        &fields::KAFKA_SOURCE,
        &["bootstrap_servers", "bootstrap", "servers"],
        "the addresses are `brokers: \"host:9092\"`",
    ),
    (
        &fields::KAFKA_SOURCE,
        &["group_id", "group", "consumer_group"],
        "no consumer group is used: positions belong to the run",
    ),
    (&fields::KAFKA_SINK, &["bootstrap_servers", "bootstrap", "servers"], "the addresses are `brokers: \"host:9092\"`"),
    (&fields::EVENT_TIME, &["field", "name", "timestamp", "rowtime"], "the column is `column: at`"),
    (
        &fields::EVENT_TIME,
        &["watermark", "delay", "lateness", "max_delay", "max_out_of_orderness", "bound", "allowed_lateness"],
        "how far records are out of order is `out_of_orderness: 30s`; `allowed_lateness` is a field of a window step",
    ),
    (
        &fields::EVENT_TIME,
        &["format", "unit"],
        "how a timestamp is written is said in the schema: `at: {type: timestamp!, format: epoch_ms}`",
    ),
    (
        &fields::EVENT_TIME,
        &["idle_timeout", "idleness"],
        "a quiet partition delays final rows and never changes one; say `partitions: […]` to leave partitions out",
    ),
    (
        &fields::STEP,
        &["input", "inputs", "source", "sources", "ref", "depends_on", "upstream"],
        "what a step reads is `from: NAME`, or `from: [A, B]`",
    ),
    (&fields::STEP, &["filter", "condition", "predicate"], "rows are kept by `where: \"…\"`"),
    (
        &fields::STEP,
        &["map", "with_columns", "add", "compute", "project", "projection"],
        "columns are added by `derive`, and chosen by `select`",
    ),
    (&fields::STEP, &["rename", "alias"], "`select: [{new_name: old_name}]` names columns anew"),
    (
        &fields::STEP,
        &["sql", "query", "transform", "transformation", "operator"],
        "a step has fields instead of a query: `from`, `where`, `derive`, `select`, `window`, `group_by`, `aggregate`, …",
    ),
    (
        &fields::STEP,
        &["order_by", "sort", "sort_by", "limit", "head", "fetch", "rank", "row_number", "qualify"],
        "rows have no order but in `top: {n: 10, by: [{views: desc}]}` of a window step",
    ),
    (
        &fields::STEP,
        &["distinct", "unique", "drop_duplicates", "deduplicate"],
        "repetitions are taken away by `dedup: {key: […], within: 10m}`, or counted once per window by `unique_by: […]`",
    ),
    (
        &fields::STEP,
        &["partition_by", "key_by", "keys", "by", "group", "groupby", "grouping"],
        "rows are grouped by `group_by: […]`; how work is spread is no part of the file",
    ),
    (
        &fields::STEP,
        &["aggregates", "aggregations", "agg", "measures", "metrics"],
        "outputs are `aggregate: {NAME: \"count(*)\"}`",
    ),
    (&fields::STEP, &["union", "union_all", "merge", "concat"], "a union is `from: [A, B]`"),
    (
        &fields::STEP,
        &["flatten", "unnest", "flat_map"],
        "a row of every element of a list is made by `explode: {tags: tag}`",
    ),
    (
        &fields::STEP,
        &["watermark", "event_time", "timestamp"],
        "event time belongs to the source: `event_time: {column, out_of_orderness}`; rows keep it",
    ),
    (
        &fields::STEP,
        &["ttl", "state_ttl", "retention", "idle_state_retention"],
        "state goes when event time has passed: by `window`, `within` or `max_age`, never by a clock",
    ),
    (
        &fields::STEP,
        &["trigger", "triggers", "early", "accumulation_mode", "emit_changes", "suppress"],
        "rows come when they are final; open windows are shown by a sink with `emit: early`",
    ),
    (
        &fields::STEP,
        &["grace", "grace_period", "lateness", "late"],
        "late records are waited for by `allowed_lateness: 5m` of a window step; they can be read as `STEP.late`",
    ),
    (
        &fields::STEP,
        &["parallelism", "workers"],
        "how work is spread is no part of the file: results do not depend on it",
    ),
    (
        &fields::STEP,
        &["tests", "expect", "expectations", "assert", "validate", "quality", "constraints"],
        "rules about rows are `check: [{name, rule}]`",
    ),
    (
        &fields::STEP,
        &["fill", "fill_missing", "gapfill"],
        "a window without rows gives no row; fill gaps where results are read",
    ),
    (
        &fields::STEP,
        &["materialized", "materialization", "materialize", "config"],
        "a step is written where a sink says so: `sinks: {NAME: {from: STEP, parquet: {path: …}}}`",
    ),
    (&fields::JOIN, &["how", "kind", "join_type"], "which rows stay without a partner is `type: left`"),
    (
        &fields::JOIN,
        &["using", "keys", "key", "condition"],
        "columns that must be equal are `on: [user_id, {id: seller}]`",
    ),
    (
        &fields::JOIN,
        &["interval", "between", "tolerance", "bounds", "range"],
        "how near rows are in event time is `within: {before: 10m, after: 0s}`",
    ),
    (
        &fields::JOIN,
        &["ttl", "state_ttl", "retention", "grace", "grace_period"],
        "rows are kept as long as `window`, `within` or `as_of` can need them, by event time, never by a clock",
    ),
    (
        &fields::JOIN,
        &["temporal", "for_system_time", "asof", "version"],
        "the right row of the left row's time is `as_of: {}`",
    ),
    (
        &fields::JOIN,
        &["from", "to", "inputs", "input", "sources", "with", "table"],
        "the two sides are `left: NAME` and `right: NAME`",
    ),
    (
        &fields::JOIN,
        &["allowed_lateness"],
        "a join waits for `out_of_orderness` of its sources only; a record that comes later is in `STEP.late`",
    ),
    (&fields::AS_OF, &["within", "tolerance", "before", "age", "ttl"], "how old the right row may be is `max_age: 1h`"),
    (&fields::WITHIN, &["lower", "min", "from", "start"], "how much earlier the right row may be is `before: 10m`"),
    (&fields::WITHIN, &["upper", "max", "to", "end"], "how much later the right row may be is `after: 10m`"),
    (&fields::DEDUP, &["by", "on", "columns", "id", "ids"], "what a row is told by is `key: […]`"),
    (
        &fields::DEDUP,
        &["window", "ttl", "horizon", "for", "duration", "time"],
        "how long an id must pause is `within: 10m`",
    ),
    (
        &fields::DEDUP,
        &["keep", "order_by"],
        "the first row of an id stays, in offset order; of the last one tells `last(x)` in a window",
    ),
    (&fields::LOOKUP, &["table", "path", "csv", "parquet", "source"], "the file is `file: PATH`, CSV or Parquet"),
    (
        &fields::LOOKUP,
        &["jdbc", "url", "connection", "postgres", "redis", "http", "database", "query"],
        "answers of a live database depend on when it is asked: write the table to a file and name it with `file`, or read its changes as a source and join it `as_of`",
    ),
    (&fields::LOOKUP, &["select", "columns", "values", "fields"], "the columns to add are `take: […]`"),
    (
        &fields::LOOKUP,
        &["default", "defaults", "otherwise", "else"],
        "what becomes of rows without a match is `missing`; a default is a `coalesce(x, 0)` in a step after",
    ),
    (&fields::LOOKUP, &["key", "keys"], "columns that must be equal are `on: […]`"),
    (&fields::TOP, &["k", "limit", "count", "rows"], "how many rows is `n: 10`"),
    (&fields::TOP, &["order_by", "order", "sort", "sort_by"], "the order is `by: [{views: desc}]`"),
    (&fields::TOP, &["partition_by", "group_by", "within"], "groups within a window are `per: […]`"),
    (&fields::CHECK, &["condition", "expression", "expr", "sql", "where"], "what must be true is `rule: \"…\"`"),
    (
        &fields::CHECK,
        &["on_fail", "action", "on_error", "severity"],
        "what becomes of a row that breaks it is `else: quarantine`, `drop` or `fail`",
    ),
    (&fields::SINK, &["input", "source", "step", "reads"], "what a sink writes is `from: STEP`"),
    (
        &fields::SINK,
        &["type", "connector", "sink", "to", "format", "destination"],
        "the kind of sink is a field of its own, such as `parquet: {path: data/out}`",
    ),
    (&fields::SINK, &["console", "print", "log"], "rows are printed by `stdout: {}`, or `samestream run --print`"),
    (
        &fields::SINK,
        &["file", "files", "path", "filesystem"],
        "files are written by `parquet: {path}`, `jsonl: {path}` or `csv: {path}`",
    ),
    (
        &fields::SINK,
        &["iceberg", "delta", "hudi", "s3", "clickhouse", "mysql", "bigquery", "snowflake", "elasticsearch", "jdbc"],
        "write `parquet`, `jsonl`, `csv` or `kafka` and load from there",
    ),
    (
        &fields::SINK,
        &["mode", "write_mode", "materialized", "materialization"],
        "a sink holds each final row once, and open rows until they are; there is nothing to choose but `emit`",
    ),
    (
        &fields::SINK,
        &["order_by", "sort", "limit"],
        "rows are written by window and key; the first of them are chosen by `top` of a window step",
    ),
    (&fields::SINK, &["trigger", "interval", "every"], "a sink says `emit: early` to show open windows"),
    (&fields::CASE, &["input", "inputs", "when", "data"], "the records are `given: {SOURCE: [{…}]}`"),
    (&fields::CASE, &["output", "outputs", "then", "results"], "the rows are `expect: {STEP: [{…}]}`"),
];

/// Blocks whose fields are sought when one stands in the wrong place, the likeliest first.
const PLACES: &[&Block] = &[
    &fields::STEP,
    &fields::SOURCE,
    &fields::SINK,
    &fields::PIPELINE,
    &fields::JOIN,
    &fields::EVENT_TIME,
    &fields::TOP,
];

/// Returns how what a field of another name asks for is said in this block, or where a field of its name stands.
pub(crate) fn instead(word: &str, block: &Block) -> Option<String> {
    let plain = word.to_lowercase().replace(['-', '.', ' '], "_");
    let is_here = |known: &&Block| known.what == block.what;
    if let Some((.., ours)) = FOREIGN.iter().find(|(known, names, _)| is_here(known) && names.contains(&plain.as_str()))
    {
        return Some((*ours).to_owned());
    }
    if nearest(word, block.built().map(|field| field.name)).is_some() {
        return None;
    }
    let is_field = |other: &&&Block| !is_here(other) && other.built().any(|field| field.name == plain);
    PLACES.iter().find(is_field).map(|other| format!("`{plain}` is a field of {}", other.what))
}

/// Returns the field that holds such a block, as it may stand in a file.
pub(crate) fn example_of(block: &Block) -> Option<&'static str> {
    let holds = |shape: &Shape| match shape {
        Shape::Block(held) | Shape::OptionalBlock(held) => held.what == block.what,
        _ => false,
    };
    let fields = fields::ALL.iter().flat_map(|block| block.fields);
    fields.filter(|field| holds(&field.shape)).map(|field| field.example).find(|example| !example.is_empty())
}

/// Returns the field of that name, as it may stand in a file.
pub(crate) fn example_named(name: &str) -> Option<&'static str> {
    let fields = fields::ALL.iter().flat_map(|block| block.fields);
    fields.filter(|field| field.name == name).map(|field| field.example).find(|example| !example.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_call_a_field_is_none_of_ours() {
        for (block, names, _) in FOREIGN {
            for name in *names {
                assert!(block.field(name).is_none(), "{} has a field `{name}`", block.what);
                assert_eq!(*name, name.to_lowercase());
            }
        }
    }

    #[test]
    fn a_field_of_another_block_is_sent_there() {
        assert_eq!(instead("emit", &fields::STEP).as_deref(), Some("`emit` is a field of a sink"));
        assert_eq!(
            instead("bootstrap.servers", &fields::KAFKA_SOURCE).unwrap(),
            instead("servers", &fields::KAFKA_SOURCE).unwrap()
        );
        assert!(instead("jdbc", &fields::LOOKUP).unwrap().contains("join it `as_of`"));
        assert_eq!(instead("topics", &fields::KAFKA_SOURCE), None);
        assert_eq!(example_of(&fields::WITHIN), Some("within: {before: 10m, after: 0s}"));
    }
}
