//! Wrong files, each with the code, the place and the words it is told.
//!
//! A case changes one thing of a good file. What the error must point at stands between `«` and `»`.

use engine::Code;
use engine::error::CODES;

use super::{CLICKS, good};
use crate::diagnostic::{Severity, render};
use crate::{Variables, load};

/// A change: the text to replace, what to put there, the code, and words of message or help.
type Case = (&'static str, &'static str, Code, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The document.
    ("name: clicks_per_page\n", "name: &a clicks_per_page\n«»", Code::Yaml, "anchors"),
    ("owner: data", "owner: «*a»", Code::Yaml, "aliases"),
    ("owner: data", "owner: «!who» data", Code::Yaml, "tag"),
    ("owner: data\n", "owner: data\n«---»\nname: second\n", Code::Yaml, "second document"),
    ("owner: data\n", "owner: data\n«owner»: ops\n", Code::Field, "first given in line 3"),
    ("amount: float64", "amount: «decimal(18,2)»", Code::Yaml, "write \"decimal(18,2)\""),
    ("group_by: [page]", "group_by: [page, {a: «coalesce(user_id, 0)»}]", Code::Yaml, "a comma ends a value"),
    ("version: 1\n", "version: «2»\n", Code::Version, "newer program"),
    ("version: 1\n", "«»version: \"one\"\n", Code::Version, "one"),
    ("name: clicks_per_page", "name: «clicks-per-page»", Code::Name, "`clicks_per_page` would do"),
    ("owner: data", "«ownr»: data", Code::Field, "did you mean `owner`?"),
    ("owner: data", "owner: «[data]»", Code::Field, "a list, not a text"),
    // Schedules.
    ("owner: data", "schedules: {«nightly»: {timezone: UTC, reprocess: {last: 1d}}}", Code::Field, "needs `cron`"),
    ("owner: data", "schedules: {«nightly»: {cron: \"@daily\", reprocess: {last: 1d}}}", Code::Field, "needs `timezone`"),
    ("owner: data", "schedules: {«nightly»: {cron: \"@daily\", timezone: UTC}}", Code::Field, "needs `reprocess`"),
    ("owner: data", "schedules: {«2nd»: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}}}", Code::Name, "is not a schedule's name"),
    ("owner: data", "schedules: {nightly: {cron: «\"15 3 * *\"», timezone: UTC, reprocess: {last: 1d}}}", Code::Field, "it has 4 fields, not five"),
    ("owner: data", "schedules: {nightly: {cron: «\"0 15 3 * * *\"», timezone: UTC, reprocess: {last: 1d}}}", Code::Field, "there are no seconds"),
    ("owner: data", "schedules: {nightly: {cron: «\"15 25 * * *\"», timezone: UTC, reprocess: {last: 1d}}}", Code::Field, "is not a line of cron"),
    ("owner: data", "schedules: {nightly: {cron: «\"0 0 30 2 *\"», timezone: UTC, reprocess: {last: 1d}}}", Code::Field, "never fires"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: «Europe/Berln», reprocess: {last: 1d}}}", Code::Field, "such as `Europe/Berlin`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: «berlin», reprocess: {last: 1d}}}", Code::Field, "did you mean `Europe/Berlin`?"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: «EST», reprocess: {last: 1d}}}", Code::Field, "whose clocks are meant"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: «0s»}}}", Code::Field, "an interval without length"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {from: \"2026-01-02\", to: «\"2026-01-02\"»}}}", Code::Field, "is not after `from`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {from: «yesterday», to: \"2026-01-02\"}}}", Code::Field, "neither an RFC 3339 time nor a date"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, «reprocess»: {from: \"2026-01-02\"}}}", Code::Field, "both `from` and `to`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, «reprocess»: {last: 1d, from: \"2026-01-02\"}}}", Code::Field, "both `from` and `to`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: «previous»}}", Code::Field, "previous_interval"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: «stales»}}", Code::Field, "did you mean `stale`?"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, catch_up: «newest»}}", Code::Field, "`latest`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, catch_up: {all: {max: «0»}}}}", Code::Field, "not a number from 1 on"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, catch_up: {all: {max: «2000»}}}}", Code::Field, "at most 1000"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, overlap: «cancel»}}", Code::Field, "`cancel_running`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, «retry»: {backoff: 1m}}}", Code::Field, "needs `times`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, retry: {times: «101»}}}", Code::Field, "`times` is at most 100"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, retry: {times: 3, on: [«data»]}}}", Code::Field, "on: [environment]"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, jitter: «1d»}}", Code::Field, "not shorter than the time between two firings, 1d"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, then: «query»}}", Code::Field, "`verify`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, «on_failure»: {}}}", Code::Field, "either `command` or `webhook`"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, on_failure: {«command»: []}}}", Code::Field, "names no program"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, on_success: {webhook: «\"ftp://x\"»}}}", Code::Field, "not an address of the web"),
    ("owner: data", "schedules: {nightly: {cron: \"@daily\", timezone: UTC, reprocess: {last: 1d}, «every»: 1h}}", Code::Field, "unknown field `every`"),
    // Variables.
    ("topic: clicks}", "topic: «\"${TOPIC}\"»}", Code::Variable, "`TOPIC` is not declared"),
    ("topic: clicks}", "topic: «\"${BROKER}\"»}", Code::Variable, "did you mean `BROKERS`?"),
    ("topic: clicks}", "topic: «\"${PASSWORD}\"»}", Code::Variable, "--set vars.PASSWORD"),
    ("topic: clicks}", "topic: «\"a${\"»}", Code::Variable, "`${NAME}`"),
    ("PASSWORD: {secret: true}", "PASSWORD: {secret: «yes»}", Code::Field, "`true` or `false`"),
    // Sources.
    ("kafka: {brokers: \"${BROKERS}\", topic: clicks}", "format: json", Code::Binding, "does not say where its log is"),
    ("topic: clicks}", "«topics»: clicks, topic: clicks}", Code::Field, "did you mean `topic`?"),
    ("topic: clicks}", "topic: «\" \"»}", Code::Field, "`topic` is empty"),
    ("topic: clicks}", "topic: clicks}\n    lake: {path: x, layout: «logs»}", Code::Field, "did you mean `log`?"),
    ("topic: clicks}", "topic: clicks}\n    lake: {path: «\"s3://bucket/lake\"»}", Code::Unsupported, "mount it, or copy it"),
    ("topic: clicks}", "topic: clicks}\n    journal: {path: «\"gs://bucket/log\"»}", Code::Unsupported, "`gs://` is not supported"),
    ("topic: clicks}", "topic: clicks}\n    format: «avro»", Code::NotBuilt, "`avro`"),
    ("topic: clicks}", "topic: clicks}\n    format: {«regex»: '(?<a>.)'}", Code::NotBuilt, "`regex`"),
    ("topic: clicks}", "topic: clicks}\n    on_late: «ignore»", Code::Field, "`drop`"),
    ("topic: clicks}", "topic: clicks}\n    format: «{json: {}}»", Code::Field, "write `format: json`"),
    ("topic: clicks}", "topic: clicks}\n    on_late: drop", Code::Name, "`per_page.late` would stay empty"),
    ("topic: clicks}", "topic: clicks}\n    partitions: [0, «x»]", Code::Field, "not a partition number"),
    ("topic: clicks}", "topic: clicks}\n    partitions: [1, «1»]", Code::Field, "there twice"),
    ("topic: clicks}", "topic: clicks}\n    partitions: «[]»", Code::Field, "names none"),
    ("amount: float64", "amount: «float»", Code::Type, "did you mean `float64`?"),
    ("amount: float64", "amount: «\"decimal(50,2)\"»", Code::Type, "up to 38 digits"),
    ("amount: float64", "amount: «list»", Code::Type, "is not a type"),
    ("amount: float64", "amount: «list<int65>»", Code::Type, "is not a type"),
    ("amount: float64", "amount: «\"struct<a: int64, a: string>\"»", Code::Type, "is not a type"),
    ("amount: float64", "amount: float64, w: \"struct<a: int64>\", «a»: {type: int64, from: value.w.a}", Code::Field, "reads inside"),
    ("amount: float64", "«_offset»: int64", Code::Name, "the log itself has a column"),
    ("amount: float64", "«final»: bool", Code::Name, "every sink adds `final`"),
    ("amount: float64", "amount: {type: float64, from: «body»}", Code::Field, "`value.a.b`"),
    ("amount: float64", "amount: {type: float64, format: «epoch_ms»}", Code::Type, "not a timestamp"),
    ("amount: float64", "amount: float64, b: {type: timestamp, format: «epoch»}", Code::Field, "`epoch_s`"),
    ("amount: float64", "amount: float64, b: {type: timestamp, format: \"%Y\", timezone: «Asia/Shanghai»}", Code::NotBuilt, "Asia/Shanghai"),
    ("at: timestamp!", "at: «timestamp»", Code::Type, "write `timestamp!`"),
    ("at: timestamp!", "at: int64!", Code::Type, "is int64, not a timestamp"),
    ("column: at", "column: «att»", Code::Name, "did you mean `at`?"),
    ("{column: at, out_of_orderness: 30s}", "{column: at, out_of_orderness: «30»}", Code::Field, "the unit is missing"),
    ("{column: at, out_of_orderness: 30s}", "{column: at, «lateness»: 30s}", Code::Field, "unknown field `lateness`"),
    ("topic: clicks}\n    schema: {user_id: int64!, page: string!, amount: float64, at: timestamp!}\n    event_time: {column: at, out_of_orderness: 30s}",
     "topic: clicks}\n    lake: {path: x, layout: connect}\n    schema: {page: string!, user_id: int64, at: timestamp!}\n    event_time: {column: at, max_future: «5m»}",
     Code::GuardNeedsTimestamp, "use `archive`"),
    ("topic: clicks}\n    schema: {user_id: int64!, page: string!, amount: float64, at: timestamp!}\n    event_time: {column: at, out_of_orderness: 30s}",
     "topic: clicks}\n    lake: {path: x, layout: connect}\n    schema: {page: string!, user_id: int64}\n    event_time: {column: «_timestamp»}",
     Code::GuardNeedsTimestamp, "use `archive`"),
    ("topic: clicks}\n    schema: {user_id: int64!, page: string!, amount: float64, at: timestamp!}\n    event_time: {column: at, out_of_orderness: 30s}\nsteps:\n  cleaned:\n    from: clicks\n    where: page <> ''",
     "topic: clicks}\n    lake: {path: x, layout: connect}\n    schema: {page: string!, user_id: int64, at: timestamp!}\n    event_time: {column: at}\nsteps:\n  cleaned:\n    from: clicks\n    where: «_timestamp > at»",
     Code::GuardNeedsTimestamp, "use `archive`"),
    // Steps.
    ("  cleaned:\n", "  «2nd»: {from: clicks}\n  cleaned:\n", Code::Name, "not a step name"),
    ("  cleaned:\n", "  «clicks»: {from: clicks}\n  cleaned:\n", Code::Name, "taken by a source"),
    ("  cleaned:\n", "  twins: {«join»: {left: clicks, right: clicks, on: [page]}}\n  cleaned:\n", Code::Unbounded, "`within`"),
    ("from: clicks\n", "from: «click»\n", Code::Name, "did you mean `clicks`?"),
    ("from: clicks\n", "from: «clicks.bad»\n", Code::Name, "go to sinks only"),
    ("from: clicks\n", "from: [clicks, «other»]\n", Code::Name, "a step reads one of"),
    ("from: clicks\n", "from: [clicks, «clicks»]\n", Code::Name, "each of its inputs once"),
    ("from: clicks\n", "from: «[]»\n", Code::Field, "names no input"),
    ("from: clicks\n", "from: clicks\n    tag: «page»\n", Code::Name, "has a column `page` already"),
    ("from: clicks\n", "from: clicks\n    tag: «final»\n", Code::Name, "every sink adds `final`"),
    ("from: clicks\n", "from: «per_page»\n", Code::Cycle, "`cleaned` reads `per_page` reads `cleaned`"),
    ("where: page <> ''", "where: «page»", Code::Type, "a condition is bool"),
    ("where: page <> ''", "where: «pgae» <> ''", Code::Expression, "did you mean `page`?"),
    ("where: page <> ''", "where: \"at > «now()»\"", Code::Nondeterministic, "now"),
    ("where: page <> ''", "check: [{name: a, rule: «page»}]", Code::Type, "a condition is bool"),
    ("where: page <> ''", "check: [{name: a, rule: page <> '', else: «ignore»}]", Code::Field, "`quarantine`"),
    ("where: page <> ''", "check: [{name: a, rule: page <> ''}, {name: «a», rule: user_id > 0}]", Code::Name, "counted by their names"),
    ("where: page <> ''", "«check»: [{name: a}]", Code::Field, "needs `rule`"),
    ("where: page <> ''", "lookup: {file: «no/such.csv», on: [page], take: [x]}", Code::NotFound, "no/such.csv"),
    ("where: page <> ''", "lookup: {file: «x.txt», on: [page], take: [x]}", Code::NotFound, "x.txt"),
    ("where: page <> ''", "lookup: {file: «\"s3://a/b.csv\"», on: [page], take: [x]}", Code::Unsupported, "local files"),
    ("where: page <> ''", "lookup: {file: Cargo.toml, «on»: [], take: [x]}", Code::Field, "names no column"),
    ("where: page <> ''", "dedup: {key: [«pages»], within: 10m}", Code::Name, "did you mean `page`?"),
    ("where: page <> ''", "dedup: {«key»: [], within: 10m}", Code::Field, "repetitions of one"),
    ("where: page <> ''", "dedup: {key: [page], within: «0s»}", Code::Field, "greater than zero"),
    ("where: page <> ''", "«dedup»: {key: [page]}", Code::Field, "`within`"),
    ("window: {session: {gap: 30m}}", "dedup: {key: [user_id], within: 1m}\n    «window»: {session: {gap: 30m}}", Code::Field, "one kind of stateful work"),
    ("  top_pages:", "  twice: {from: per_page, «dedup»: {key: [page], within: 1m}}\n  top_pages:", Code::Field, "reads records"),
    ("where: page <> ''", "derive: {«_offset»: user_id}", Code::Name, "an output cannot be named `_offset`"),
    ("where: page <> ''", "derive: {x: «'null'»}", Code::Type, "nothing but null"),
    ("where: page <> ''", "drop: [«pages»]", Code::Name, "did you mean `page`?"),
    ("where: page <> ''", "drop: [«_offset»]", Code::Name, "cannot be dropped"),
    ("where: page <> ''", "select: [page, user_id, amount, at, «page»]", Code::Name, "there twice"),
    ("where: page <> ''", "«select»: []", Code::Field, "names no column"),
    ("where: page <> ''", "«aggregate»: {n: count(*)}", Code::Field, "`aggregate` needs a `window`"),
    ("{tumbling: {size: 1m}}", "{«tumblin»: {size: 1m}}", Code::Field, "did you mean `tumbling`?"),
    ("{tumbling: {size: 1m}}", "{calendar: {unit: «dya», timezone: UTC}}", Code::Field, "did you mean `day`?"),
    ("{tumbling: {size: 1m}}", "{calendar: {unit: day, timezone: «europe/berlin»}}", Code::Field, "did you mean `Europe/Berlin`?"),
    ("{tumbling: {size: 1m}}", "{calendar: {unit: day, timezone: «CEST»}}", Code::Field, "zones have names such as"),
    ("{tumbling: {size: 1m}}", "{«calendar»: {unit: day}}", Code::Field, "`calendar` needs `timezone`"),
    ("{tumbling: {size: 1m}}", "«calendar»", Code::Field, "write `window: {calendar: {unit: day, timezone: UTC}}`"),
    ("{tumbling: {size: 1m}}", "{cumulative: «{size: 1m, step: 7s}»}", Code::Field, "not a multiple of `step`"),
    ("{tumbling: {size: 1m}}", "{cumulative: «{size: 1m, step: 10s, offset: 1m}»}", Code::Field, "less than `size`"),
    ("{tumbling: {size: 1m}}", "{tumbling: {size: 1m, «evry»: 30s}}", Code::Field, "`every` is a field of `hopping`"),
    ("{tumbling: {size: 1m}}", "{«tumbling»: {offset: 1m}}", Code::Field, "`tumbling` needs `size`"),
    ("{tumbling: {size: 1m}}", "{hopping: «{size: 1m, every: 2m}»}", Code::Field, "belong to none"),
    ("{tumbling: {size: 1m}}", "{tumbling: {size: «1min»}}", Code::Field, "the unit is unknown"),
    ("{tumbling: {size: 1m}}", "«same»", Code::Field, "`hopping`, `cumulative`, `calendar` or `session`"),
    ("group_by: [page]", "group_by: [«user»]", Code::Name, "did you mean `user_id`?"),
    ("group_by: [page]", "group_by: [«lower(page)»]", Code::Name, "an expression needs a name"),
    ("group_by: [page]", "unique_by: [«user_»]", Code::Name, "did you mean `user_id`?"),
    ("group_by: [page]", "«unique_by»: []", Code::Field, "all rows would be one"),
    ("group_by: [user_id]", "«unique_by»: [user_id]", Code::Field, "does not work on sessions"),
    ("group_by: [page]", "group_by: «page»", Code::Field, "write `group_by: [page]`"),
    ("group_by: [page]", "group_by: [page, {«final»: user_id}]", Code::Name, "every sink adds `final`"),
    ("group_by: [page]", "group_by: [page, {«window_start»: at}]", Code::Name, "inner_start"),
    ("views: count(*)", "views: count(*), «page»: max(user_id)", Code::Name, "there twice"),
    ("views: count(*)", "views: \"sum(«amuont»)\"", Code::Expression, "did you mean `amount`?"),
    ("views: count(*)", "views: «user_id»", Code::Expression, "neither grouped nor inside an aggregate"),
    ("having: views > 1", "having: «vews» > 1", Code::Expression, "did you mean `views`?"),
    ("by: [{views: desc}]", "by: [{«user_id»: desc}]", Code::Name, "there is no column `user_id`"),
    ("by: [{views: desc}]", "by: [{views: «down»}]", Code::Field, "not an order"),
    ("n: 10", "n: «0»", Code::Field, "not a count"),
    ("n: 10", "n: «all»", Code::Field, "write it like `n: 10`"),
    ("{session: {gap: 30m}}", "{session: {gap: 30m}}\n    «top»: {n: 1, by: [n]}", Code::Field, "not work on sessions"),
    ("window: {hopping: {size: 10m, every: 1m}}", "window: {hopping: {size: 10m, every: 1m}}\n    allowed_lateness: «1m»", Code::Field, "final rows only"),
    ("  top_pages:\n", "  again: {from: visits, window: «same»}\n  top_pages:\n", Code::Field, "over sessions"),
    // Sinks.
    ("from: per_page, parquet", "from: «per_pag», parquet", Code::Name, "did you mean `per_page`?"),
    ("from: per_page, parquet", "from: «clicks», parquet", Code::NotBuilt, "all_clicks"),
    ("from: per_page, parquet", "from: «clicks.late», parquet", Code::Name, "no `late` rows"),
    ("from: per_page, parquet", "from: «top_pages.late», parquet", Code::Name, "never late"),
    ("from: per_page, parquet", "from: «cleaned.late», parquet", Code::Name, "has no window"),
    ("from: per_page, parquet", "from: per_page, emit: «soon», parquet", Code::Field, "`early`"),
    ("from: top_pages, kafka", "from: top_pages, emit: «early», kafka", Code::Field, "open_rows: true"),
    ("from: per_page.late, jsonl", "from: per_page.late, emit: «early», jsonl", Code::Field, "final as soon as they are there"),
    ("parquet: {path: out/per_page}", "cassandra: {url: «\"cassandra://u:p@h\"», table: k.y}", Code::Field, "a password stands in the `url`"),
    ("parquet: {path: out/per_page}", "postgres: {url: «\"postgres://u:p@h/d\"», table: y}", Code::Field, "a password stands in the `url`"),
    ("parquet: {path: out/per_page}", "«parquet»: {}", Code::Field, "needs `path`"),
    ("parquet: {path: out/per_page}", "parquet: {path: a, «partition_by»: [page]}", Code::NotBuilt, "`partition_by`"),
    ("parquet: {path: out/per_page}", "parquet: {path: a}, «csv»: {path: b}", Code::Field, "two kinds"),
    ("parquet: {path: out/per_page}", "where: views > 0", Code::Field, "does not say where it writes"),
    ("jsonl: {path: out/visits}", "jsonl: {path: «out/per_page/»}", Code::Field, "same place"),
    ("jsonl: {path: out/visits}", "jsonl: {path: «\"s3://bucket/visits\"»}", Code::Unsupported, "local folders"),
    ("from: top_pages, kafka", "from: top_pages, select: [page, views], «kafka»", Code::Field, "lost what names them"),
    ("topic: hot}", "topic: hot, key: [«user»]}", Code::Name, "there is no column `user`"),
    // As other systems say it.
    ("owner: data", "«mode»: batch", Code::Field, "--mode stream"),
    ("owner: data", "«parallelism»: 4", Code::Field, "results do not depend on it"),
    ("topic: clicks}", "topic: clicks, «group.id»: g}", Code::Field, "no consumer group"),
    ("topic: clicks}", "topic: «\"clicks.*\"»}", Code::Field, "several topics are a source each"),
    ("topic: hot}", "topic: «\"hot,cold\"»}", Code::Field, "not the name of a topic"),
    ("topic: clicks}", "topic: «[a, b]»}", Code::Field, "`topic: clicks`"),
    ("topic: clicks}", "topic: clicks}\n    «idle_timeout»: 1m", Code::Field, "never changes one"),
    ("topic: clicks}", "topic: clicks}\n    «primary_key»: [user_id]", Code::Field, "`dedup: {key: […], within: 10m}`"),
    ("amount: float64", "amount: «timestamp(3)»", Code::Type, "did you mean `timestamp`?"),
    ("amount: float64", "amount: «varchar(20)»", Code::Type, "did you mean `string`?"),
    ("{column: at, out_of_orderness: 30s}", "{column: at, «watermark»: 30s}", Code::Field, "`out_of_orderness: 30s`"),
    ("event_time: {column: at, out_of_orderness: 30s}", "event_time: «at»", Code::Field, "write it like `event_time: {column: at, out_of_orderness: 30s}`"),
    ("{column: at, out_of_orderness: 30s}", "{column: at, out_of_orderness: «INTERVAL '30' SECOND»}", Code::Field, "write `30s`"),
    ("from: clicks\n", "from: «clicks, visits»\n", Code::Name, "`from: [clicks, visits]`"),
    ("from: clicks\n", "from: «ref('clicks')»\n", Code::Name, "write the name alone"),
    ("where: page <> ''", "«filter»: page <> ''", Code::Field, "kept by `where"),
    ("where: page <> ''", "«order_by»: [page]", Code::Field, "`top: {n: 10, by: [{views: desc}]}`"),
    ("where: page <> ''", "«state_ttl»: 1d", Code::Field, "never by a clock"),
    ("where: page <> ''", "«emit»: early", Code::Field, "`emit` is a field of a sink"),
    ("where: page <> ''", "where: page = «\"x\"»", Code::Expression, "single quotes: `'x'`"),
    ("where: page <> ''", "where: \"«page in (select page from other)»\"", Code::Expression, "another step"),
    ("where: page <> ''", "where: \"«sum(amount)» > 1\"", Code::Expression, "under `aggregate: {NAME: …}`"),
    ("where: page <> ''", "where: \"user_id % cast(«random()» as int64) = 0\"", Code::Nondeterministic, "_offset % 100"),
    ("where: page <> ''", "derive: {id: \"«uuid()»\"}", Code::Nondeterministic, "`_partition` and `_offset`"),
    ("where: page <> ''", "select: «\"*\"»", Code::Field, "where `select` is left out"),
    ("where: page <> ''", "select: [«\"*\"», page]", Code::Name, "`derive` adds some"),
    ("where: page <> ''", "drop: [amount]\n    derive: «page = lower(page)»", Code::Field, "write it like `derive: {day: "),
    ("where: page <> ''", "check: «\"amount > 0\"»", Code::Field, "check: [{name: has_amount"),
    ("where: page <> ''", "dedup: «user_id»", Code::Field, "write it like `dedup: {key: [event_id], within: 10m}`"),
    ("where: page <> ''", "dedup: {key: [page], within: 1m, «keep»: last}", Code::Field, "the first row of an id stays"),
    ("{tumbling: {size: 1m}}", "{«tumble»: {size: 1m}}", Code::Field, "write `window: {tumbling: {size: 1m}}`"),
    ("{tumbling: {size: 1m}}", "«TUMBLE(at, INTERVAL '1' MINUTE)»", Code::Field, "write `window: {tumbling: {size: 1m}}`"),
    ("{tumbling: {size: 1m}}", "{tumbling: «1m»}", Code::Field, "write `window: {tumbling: {size: 1m}}`"),
    ("{tumbling: {size: 1m}}", "{«global»: {}}", Code::Field, "never final"),
    ("{tumbling: {size: 1m}}", "{«count»: 100}", Code::Field, "order in which partitions are read"),
    ("{tumbling: {size: 1m}}", "{hopping: {size: 2m, every: 1m, «slide»: 1m}}", Code::Field, "did you mean `every`?"),
    ("{tumbling: {size: 1m}}", "{tumbling: {size: «1 minute»}}", Code::Field, "write `1m`"),
    ("{tumbling: {size: 1m}}", "{tumbling: {size: «2w»}}", Code::Field, "write `14d`"),
    ("having: views > 1", "where: «views» > 1", Code::Expression, "choose rows with `having`"),
    ("having: views > 1", "having: «user_id» > 1", Code::Expression, "with `where`"),
    ("having: views > 1", "having: «count(*)» > 1", Code::Expression, "by those names"),
    ("views: count(*)", "views: \"«median(amount)»\"", Code::Expression, "`quantile(x, 0.5)`"),
    ("views: count(*)", "views: \"«count_if(amount > 1)»\"", Code::Expression, "filter (where"),
    ("views: count(*)", "views: \"«count(distinct user_id)»\"", Code::Expression, "`count_distinct(x)`"),
    ("views: count(*)", "views: \"«sum(page)»\"", Code::Type, "`sum` takes a number, not string"),
    ("views: count(*)", "views: \"«sum(amount)» over (partition by page)\"", Code::Expression, "windows are the step's"),
    ("by: [{views: desc}]", "by: «views desc»", Code::Field, "write it like `by: [{views: desc}, page]`"),
    ("by: [{views: desc}]", "by: [«views desc»]", Code::Name, "write `by: [{views: desc}]`"),
    ("top: {n: 10, by: [{views: desc}]}", "top: {n: 10, by: [views], «partition_by»: [page]}", Code::Field, "`per: […]`"),
    ("top: {n: 10, by: [{views: desc}]}", "«top»: {n: 10}", Code::Field, "needs `by`"),
    ("from: per_page, parquet", "from: «[per_page, visits]», parquet", Code::Field, "write it like `from: per_page`"),
    ("parquet: {path: out/per_page}", "parquet: {path: out/per_page}, «mode»: append", Code::Field, "holds each final row once"),
    ("parquet: {path: out/per_page}", "parquet: «out/per_page»", Code::Field, "write it like `parquet: {path: "),
    // Tests.
    ("owner: data", "tests: «x»", Code::Field, "not a list"),
    ("owner: data", "tests:\n- «given: {}»", Code::Field, "needs `name`"),
    ("owner: data", "tests:\n- {name: x, given: {«clickz»: []}}", Code::Name, "did you mean `clicks`?"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{«usr_id»: 1}]}}", Code::Name, "did you mean `user_id`?"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{user_id: «1.5»}]}}", Code::Type, "not int64"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{at: «noon»}]}}", Code::Type, "given as bytes"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{page: «[a]»}]}}", Code::Type, "it is a list"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{_raw: x, «page»: a}]}}", Code::Field, "the whole value"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{partition: «-1»}]}}", Code::Field, "not a partition number"),
    ("owner: data", "tests:\n- {name: x, given: {clicks: [{offset: 5}, «{offset: 5}»]}}", Code::Field, "does not come after 5"),
    ("owner: data", "tests:\n- {name: x, given: {}}\n- {name: «x», given: {}}", Code::Name, "first is in line 4"),
    ("owner: data", "tests:\n- {name: x, given: {}, expect: {«per_pag»: []}}", Code::Name, "did you mean `per_page`?"),
    ("owner: data", "tests:\n- {name: x, given: {}, expect: {«top_pages.late»: []}}", Code::Name, "no `top_pages.late`"),
    ("owner: data", "tests:\n- {name: x, given: {}, expect: {per_page: [{«view»: 1}]}}", Code::Name, "did you mean `views`?"),
    ("owner: data", "tests:\n- {name: x, given: {}, expect: {per_page: [{views: «many»}]}}", Code::Type, "not int64"),
    ("owner: data", "tests:\n- {name: x, given: {}, fails: «E_LAT»}", Code::Field, "did you mean `E_LATE`?"),
    ("owner: data", "tests:\n- {name: x, given: {}, fails: E_LATE, «expect»: {per_page: []}}", Code::Field, "how far it came"),
];

/// Takes the marks out of a change and returns where they were.
fn marked(text: &str) -> (String, Option<(usize, usize)>) {
    match (text.find('«'), text.find('»')) {
        (Some(start), Some(end)) => (text.replace(['«', '»'], ""), Some((start, end - '«'.len_utf8()))),
        _ => (text.to_owned(), None),
    }
}

#[test]
fn each_mistake_is_reported_once_where_it_is() {
    good(CLICKS);
    let mut wrong = Vec::new();
    for (old, new, code, words) in CASES {
        let at = CLICKS.find(old).unwrap_or_else(|| panic!("`{old}` is in the good file"));
        let (new, mark) = marked(new);
        let text = format!("{}{new}{}", &CLICKS[..at], &CLICKS[at + old.len()..]);
        let mut fail = |why: String| wrong.push(format!("{old} -> {new}: {why}"));
        let errors = match load("clicks.yaml", &text, &Variables::new()) {
            Ok(_) => {
                fail("is accepted".into());
                continue;
            }
            Err(errors) => errors,
        };
        let shown: String = errors.iter().map(|error| render(error, Severity::Error, false)).collect();
        let [error] = &errors[..] else {
            fail(format!("has {} errors\n{shown}", errors.len()));
            continue;
        };
        if error.code != *code || !shown.contains(words) {
            fail(format!("is not {} with `{words}`\n{shown}", code.name()));
        }
        let place = error.place.as_ref().map(|place| (place.start, place.end));
        let expected = mark.map(|(start, end)| (at + start, at + end));
        if expected.is_some_and(|(start, end)| start < end) && place != expected {
            fail(format!("points at {place:?}, not {expected:?}\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    for code in CODES.iter().take_while(|code| **code != Code::Usage) {
        assert!(CASES.iter().any(|(.., provoked, _)| provoked == code), "no case provokes {}", code.name());
    }
}
