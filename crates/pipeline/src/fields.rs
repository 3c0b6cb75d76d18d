//! Every field of the pipeline file, in one place: what the reader accepts and what the JSON Schema says come from here.
//!
//! A field that belongs to the format but is not built yet stands here too, with the sentence it is refused with. The
//! kinds of windows are the engine's table [`engine::window::WINDOWS`].

/// A map with fixed fields.
pub(crate) struct Block {
    /// What it is, with its article, such as "a source".
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A field of a block.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) help: &'static str,
    /// What holds where it is absent; empty: nothing in particular.
    pub(crate) default: &'static str,
    /// The field as it may stand in a file; empty: there is nothing to learn from one.
    pub(crate) example: &'static str,
}

/// What may stand in a field.
pub(crate) enum Shape {
    /// The number 1.
    Version,
    /// Any text.
    Text,
    /// A name.
    Name,
    /// `true` or `false`.
    Boolean,
    /// A whole number, at least 1.
    Count,
    /// An integer and a unit.
    Duration,
    /// A number of bytes: an integer, and `KiB`, `MiB` or `GiB`.
    Size,
    /// An SQL expression.
    Expression,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of names.
    Names,
    /// A list of texts.
    Texts,
    /// A list of partition numbers.
    Partitions,
    /// A map of texts.
    TextMap,
    /// A map of one column's name to a new one.
    Rename,
    /// What a sink reads.
    Input,
    /// What a step reads: a name, or the names of a union.
    Inputs,
    /// A column's type, with `!` or without.
    ColumnType,
    /// Columns: each a type, or a map with a type and more.
    Columns,
    /// Names and `{name: expression}` pairs, or a map of these.
    ColumnList,
    /// The same, at least one.
    SomeColumns,
    /// Names, or `{name: other name}` pairs.
    Matches,
    /// A map of names to expressions.
    Expressions,
    /// Output columns, each ascending or `{name: desc}`.
    Order,
    /// A kind of window with its fields, or `same`.
    Window,
    /// A map with fixed fields.
    Block(&'static Block),
    /// A map with fixed fields, or nothing.
    OptionalBlock(&'static Block),
    /// Named maps with fixed fields.
    Blocks(&'static Block),
    /// A list of maps with fixed fields.
    List(&'static Block),
    /// One of these words, or a map with fixed fields.
    WordOrBlock(&'static [&'static str], &'static Block),
    /// Lists of rows by name; a row is a map of columns to values.
    Rows,
    /// Part of the format, but refused for now, with what to do instead.
    NotBuilt(&'static str),
}

impl Block {
    /// Returns the field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the fields that are built.
    pub(crate) fn built(&self) -> impl Iterator<Item = &'static Field> + Clone + use<> {
        self.fields.iter().filter(|field| !matches!(field.shape, Shape::NotBuilt(_)))
    }
}

impl Field {
    /// Says what holds where the field is absent.
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Shows the field as it may stand in a file.
    const fn like(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

const fn required(name: &'static str, shape: Shape, help: &'static str) -> Field {
    Field { name, required: true, shape, help, default: "", example: "" }
}

const fn optional(name: &'static str, shape: Shape, help: &'static str) -> Field {
    Field { name, required: false, shape, help, default: "", example: "" }
}

const fn not_built(name: &'static str, instead: &'static str) -> Field {
    Field { name, required: false, shape: Shape::NotBuilt(instead), help: "", default: "", example: "" }
}

const DESCRIPTION: Field = optional("description", Shape::Text, "A sentence for people; not part of the definition");

/// The whole file.
pub(crate) const PIPELINE: Block = Block {
    what: "a pipeline",
    fields: &[
        required("version", Shape::Version, "Version of the pipeline format: 1"),
        required("name", Shape::Name, "Name of the pipeline; its state folder is named after it")
            .like("name: page_views"),
        DESCRIPTION,
        optional("owner", Shape::Text, "Who answers for it; not part of the definition"),
        optional("tags", Shape::Texts, "Words to select pipelines by; not part of the definition")
            .like("tags: [web, hourly]"),
        optional("vars", Shape::Blocks(&VARIABLE), "Values that `${NAME}` stands for")
            .like("vars: {BROKERS: {default: \"localhost:9092\"}}"),
        required("sources", Shape::Blocks(&SOURCE), "Logs that are read, by name"),
        optional("steps", Shape::Blocks(&STEP), "Computations, by name; their order means nothing"),
        optional("sinks", Shape::Blocks(&SINK), "Where rows go, by name"),
        optional(
            "schedules",
            Shape::Blocks(&SCHEDULE),
            "When `samestream schedule` reprocesses, by name; not part of the definition",
        )
        .like("schedules: {nightly: {cron: \"15 3 * * *\", timezone: Asia/Shanghai, reprocess: {last: 2d}}}"),
        optional("tests", Shape::List(&CASE), "Cases that `samestream test` runs in both modes"),
    ],
};

/// A test case.
pub(crate) const CASE: Block = Block {
    what: "a test",
    fields: &[
        required("name", Shape::Text, "What the case shows, in a sentence"),
        DESCRIPTION,
        required(
            "given",
            Shape::Rows,
            "The records of each source: its columns, and `partition`, `offset`, `timestamp` of the log",
        )
        .like("given: {clicks: [{user_id: 1, at: \"2026-01-01T00:00:00Z\"}]}"),
        optional(
            "expect",
            Shape::Rows,
            "The rows of steps, `STEP.late`, `STEP.bad`, `SOURCE.bad`: each with the columns that matter",
        )
        .like("expect: {per_page: [{page: /x, views: 1, final: true}]}"),
        optional(
            "fails",
            Shape::Choice(&["E_LATE", "E_BAD_RECORD", "E_CHECK", "E_OVERFLOW"]),
            "The error with which the run is to end, in both modes; stands instead of `expect`",
        )
        .or("the run succeeds")
        .like("fails: E_LATE"),
    ],
};

/// A schedule.
pub(crate) const SCHEDULE: Block = Block {
    what: "a schedule",
    fields: &[
        DESCRIPTION,
        required("cron", Shape::Text, "When it fires: minute, hour, day of the month, month, weekday; or `@hourly`, `@daily`, …")
            .like("cron: \"15 3 * * *\""),
        required("timezone", Shape::Text, "Whose clocks the line of cron speaks of: a place of the IANA database, or `UTC`")
            .like("timezone: Asia/Shanghai"),
        required(
            "reprocess",
            Shape::WordOrBlock(REPROCESS_WORDS, &REPROCESS),
            "What a firing runs over in batch: so much before it, the time since the firing before it, always the same range, or whatever is stale or missing by then",
        )
        .like("reprocess: {last: 2d}"),
        optional(
            "catch_up",
            Shape::WordOrBlock(CATCH_UP_WORDS, &CATCH_UP),
            "Which firings run of those that were missed",
        )
        .or("latest")
        .like("catch_up: {all: {max: 7}}"),
        optional(
            "overlap",
            Shape::Choice(&["skip", "queue", "cancel_running"]),
            "What a firing does while the run of an earlier one goes on: is left out, waits, or stops it",
        )
        .or("skip"),
        optional("retry", Shape::Block(&RETRY), "How a run is repeated that the environment let fail (exit code 4)")
            .or("it is not")
            .like("retry: {times: 3, backoff: 1m}"),
        optional("jitter", Shape::Duration, "Its run begins up to so much later, each firing by an amount of its own")
            .or("0s")
            .like("jitter: 30s"),
        optional("then", Shape::Choice(&["verify"]), "What follows a run that went well: `samestream verify`")
            .like("then: verify"),
        optional("on_success", Shape::Block(&HOOK), "Who is told when all went well")
            .like("on_success: {command: [touch, data/done]}"),
        optional("on_failure", Shape::Block(&HOOK), "Who is told when it did not, and will not be repeated")
            .like("on_failure: {webhook: \"${ALERTS}\"}"),
    ],
};

/// The words of `reprocess`.
pub(crate) const REPROCESS_WORDS: &[&str] = &["previous_interval", "stale"];
/// The words of `catch_up`.
pub(crate) const CATCH_UP_WORDS: &[&str] = &["none", "latest", "all"];

/// What a firing reprocesses.
pub(crate) const REPROCESS: Block = Block {
    what: "`reprocess`",
    fields: &[
        optional("last", Shape::Duration, "So much time before the firing").like("last: 2d"),
        optional(
            "from",
            Shape::Text,
            "The beginning of a range that is always the same: an RFC 3339 time, or a date in UTC",
        )
        .like("from: \"2026-01-01\""),
        optional("to", Shape::Text, "Its end, which does not belong to it").like("to: \"2026-02-01\""),
    ],
};

/// Which missed firings run.
pub(crate) const CATCH_UP: Block = Block {
    what: "`catch_up`",
    fields: &[required("all", Shape::Block(&CATCH_UP_ALL), "All of them, one after the other").like("all: {max: 7}")],
};

/// How many missed firings run.
pub(crate) const CATCH_UP_ALL: Block = Block {
    what: "`all`",
    fields: &[
        required("max", Shape::Count, "At most so many of the latest; the word `all` alone means 1000").like("max: 7")
    ],
};

/// How a run is repeated.
pub(crate) const RETRY: Block = Block {
    what: "`retry`",
    fields: &[
        required("times", Shape::Count, "How often at most").like("times: 3"),
        optional(
            "backoff",
            Shape::Duration,
            "How long after the first failure; each time twice as long, up to an hour",
        )
        .or("1m")
        .like("backoff: 1m"),
        optional("on", Shape::Texts, "After which failures: `environment` (exit code 4) is the only kind that passes")
            .or("`[environment]` alone")
            .like("on: [environment]"),
    ],
};

/// Who is told.
pub(crate) const HOOK: Block = Block {
    what: "a hook",
    fields: &[
        optional(
            "command",
            Shape::Texts,
            "A program and its arguments; what became of the firing is JSON on its standard input",
        )
        .like("command: [notify, --channel, data]"),
        optional("webhook", Shape::Text, "An `http` or `https` address to which that JSON is posted")
            .like("webhook: \"${ALERTS}\""),
    ],
};

/// A variable.
pub(crate) const VARIABLE: Block = Block {
    what: "a variable",
    fields: &[
        optional("default", Shape::Text, "Its value when nothing else gives one"),
        optional("secret", Shape::Boolean, "Whether its value is never shown").or("false"),
        DESCRIPTION,
    ],
};

/// A source.
pub(crate) const SOURCE: Block = Block {
    what: "a source",
    fields: &[
        DESCRIPTION,
        optional("kafka", Shape::Block(&KAFKA_SOURCE), "The topic that `--mode stream` reads").like("kafka: {brokers: \"localhost:9092\", topic: clicks}"),
        optional("lake", Shape::Block(&LAKE), "The Parquet files that `--mode batch` reads").like("lake: {path: data/lake/clicks}"),
        optional(
            "journal",
            Shape::Block(&JOURNAL),
            "A local log that both modes read where the other binding is absent",
        ).like("journal: {path: data/clicks}"),
        optional("format", Shape::Choice(&["json"]), "How a record's value becomes columns").or("json"),
        required(
            "schema",
            Shape::Columns,
            "The columns: `name: type`, with `!` after the type when null is a bad record",
        ).like("schema: {user_id: int64!, page: string, at: timestamp!}"),
        required(
            "event_time",
            Shape::Block(&EVENT_TIME),
            "When a record happened, and how far out of order records come",
        ).like("event_time: {column: at, out_of_orderness: 30s}"),
        optional("partitions", Shape::Partitions, "The only partitions that are read and counted").or("all, empty ones too").like("partitions: [0, 1]"),
        optional("on_bad_record", Shape::Choice(&["quarantine", "fail"]), "What a record does that cannot be decoded or breaks the schema: is kept in `SOURCE.bad`, or ends the run with exit code 3").or("quarantine"),
        optional("on_late", Shape::Choice(&["quarantine", "drop", "fail"]), "What a record does that comes too late for every window of a step: is kept in `STEP.late`, is counted only, or ends the run with exit code 1").or("quarantine"),
    ],
};

/// The Kafka binding of a source.
pub(crate) const KAFKA_SOURCE: Block = Block {
    what: "a `kafka` source",
    fields: &[
        required("brokers", Shape::Text, "Bootstrap addresses, separated by commas").like("brokers: \"a:9092,b:9092\""),
        required("topic", Shape::Text, "The topic").like("topic: clicks"),
        optional(
            "options",
            Shape::TextMap,
            "Settings for librdkafka, passed through; what would change results is refused",
        )
        .like("options: {security.protocol: SSL}"),
    ],
};

/// The lake binding of a source.
pub(crate) const LAKE: Block = Block {
    what: "a `lake`",
    fields: &[
        required("path", Shape::Text, "The folder; for layout `files` also a glob"),
        optional("layout", Shape::Choice(&["log", "connect", "files"]), "How files name their records").or("log"),
    ],
};

/// The journal binding of a source.
pub(crate) const JOURNAL: Block =
    Block { what: "a `journal`", fields: &[required("path", Shape::Text, "The journal's folder")] };

/// Event time.
pub(crate) const EVENT_TIME: Block = Block {
    what: "`event_time`",
    fields: &[
        required("column", Shape::Name, "A `timestamp!` column of the schema, or `_timestamp`"),
        optional(
            "out_of_orderness",
            Shape::Duration,
            "How far behind the newest record of its partition a record may be",
        )
        .or("0s")
        .like("out_of_orderness: 30s"),
        optional("max_future", Shape::Duration, "A record further than this past the log's own time is bad")
            .like("max_future: 5m"),
    ],
};

/// A schema column that is more than a type.
pub(crate) const COLUMN: Block = Block {
    what: "a column",
    fields: &[
        required("type", Shape::ColumnType, "The type, with `!` or without").like("type: int64!"),
        optional("from", Shape::Text, "Where its value stands: `key`, `header.NAME`, `value` or `value.a.b`")
            .or("the field of the value that has its name")
            .like("from: value.user.id"),
        optional(
            "format",
            Shape::Text,
            "How a timestamp is written: `rfc3339`, `epoch_s`, `epoch_ms`, `epoch_us` or a %-pattern",
        )
        .or("rfc3339 or epoch_ms")
        .like("format: \"%Y-%m-%d %H:%M:%S\""),
        optional("timezone", Shape::Choice(&["UTC"]), "The zone of a %-pattern without an offset").or("UTC"),
        optional("null_as", Shape::Texts, "Texts that mean null").like("null_as: [\"\", \"n/a\"]"),
        DESCRIPTION,
    ],
};

/// A step.
pub(crate) const STEP: Block = Block {
    what: "a step",
    fields: &[
        DESCRIPTION,
        optional(
            "from",
            Shape::Inputs,
            "The source or step that it reads; a list is a union of inputs with the same columns",
        ).like("from: [us, eu]"),
        optional("tag", Shape::Name, "A column to add that holds the name of the input that the row came from").like("tag: region"),
        optional(
            "explode",
            Shape::Rename,
            "Makes a row of every element of a list: `{list column: name of the element}`; a null or empty list gives none",
        ).like("explode: {tags: tag}"),
        optional("where", Shape::Expression, "Keeps the rows for which it is true").like("where: \"page <> ''\""),
        optional("derive", Shape::ColumnList, "Adds columns or replaces some").like("derive: {day: \"cast(at as date)\"}"),
        optional("drop", Shape::Names, "Takes columns away").like("drop: [amount]"),
        optional("select", Shape::SomeColumns, "Keeps exactly these columns").like("select: [user_id, {page: \"lower(page)\"}]"),
        optional("check", Shape::List(&CHECK), "Rules that the rows must keep, looked at after `select`").like("check: [{name: has_amount, rule: \"amount is not null\"}]"),
        optional("dedup", Shape::Block(&DEDUP), "Takes repetitions away, partition by partition").like("dedup: {key: [event_id], within: 10m}"),
        optional("join", Shape::Block(&JOIN), "Rows of two inputs side by side; row work is done after it").like("join: {left: orders, right: payments, on: [order_id], within: {before: 1m, after: 30m}}"),
        optional("lookup", Shape::Block(&LOOKUP), "Adds values out of a pinned file").like("lookup: {file: stores.csv, on: [store], take: [city]}"),
        optional("window", Shape::Window, "How rows find windows: `{KIND: {…}}`, or `same` for those that window rows have").like("window: {tumbling: {size: 1m}}"),
        optional("group_by", Shape::ColumnList, "The columns that rows are grouped by").or("one group").like("group_by: [page, {day: \"cast(at as date)\"}]"),
        optional("aggregate", Shape::Expressions, "Outputs computed for each window and group").like("aggregate: {views: \"count(*)\", revenue: \"sum(amount)\"}"),
        optional("having", Shape::Expression, "Keeps the closed rows for which it is true").like("having: \"views > 1\""),
        optional("top", Shape::Block(&TOP), "Keeps the first rows of each window, after `having`").like("top: {n: 10, by: [{views: desc}]}"),
        optional("allowed_lateness", Shape::Duration, "How long after its end a window stays open for late records").or("0s").like("allowed_lateness: 5m"),
        optional(
            "unique_by",
            Shape::SomeColumns,
            "What a row is told by that counts once in its window, across partitions",
        ).like("unique_by: [event_id]"),
    ],
};

/// A data-quality rule.
pub(crate) const CHECK: Block = Block {
    what: "a rule of `check`",
    fields: &[
        DESCRIPTION,
        required("name", Shape::Name, "Its name, for counts and reasons"),
        required("rule", Shape::Expression, "What must be true of every row; null is not true").like("rule: \"amount >= 0\""),
        optional(
            "else",
            Shape::Choice(&["quarantine", "drop", "fail"]),
            "What becomes of a row that breaks it: is kept in `STEP.bad`, is counted only, or ends the run with exit code 3").or("quarantine"),
    ],
};

/// Values out of a pinned file.
pub(crate) const LOOKUP: Block = Block {
    what: "`lookup`",
    fields: &[
        required(
            "file",
            Shape::Text,
            "A `.csv` file with a header, or a `.parquet` file; its contents are part of the definition",
        ).like("file: data/stores.csv"),
        required(
            "on",
            Shape::Matches,
            "Columns that must be equal: a name, or `{column: column in the file}`; text of a CSV file is read as the type of the row's column",
        ).like("on: [{store: number}]"),
        required(
            "take",
            Shape::Matches,
            "Columns to add: a name of the file, or `{new name: column in the file}`, or `{new name: \"expression over the file's columns\"}`, such as `cast(price as float64)`: columns of CSV are text",
        ).like("take: [city, {area: \"cast(floor_area as float64)\"}]"),
        optional(
            "missing",
            Shape::Choice(&["null", "drop", "quarantine"]),
            "What becomes of a row whose key the file does not have: takes nulls, goes, or is kept in `STEP.bad`").or("null"),
    ],
};

/// Repetitions.
pub(crate) const DEDUP: Block = Block {
    what: "`dedup`",
    fields: &[
        required("key", Shape::SomeColumns, "What a row is told by, such as an id").like("key: [event_id]"),
        required("within", Shape::Duration, "The pause, in event time, after which an id is let through again")
            .like("within: 10m"),
    ],
};

/// A join.
pub(crate) const JOIN: Block = Block {
    what: "a `join`",
    fields: &[
        required("left", Shape::Name, "The source or step on the left").like("left: orders"),
        required("right", Shape::Name, "The source or step on the right; it may be the left one again")
            .like("right: payments"),
        optional(
            "on",
            Shape::Matches,
            "The columns that must be equal: a name of both sides, or `{LEFT: RIGHT}`; null joins nothing",
        )
        .like("on: [user_id, {id: seller}]"),
        optional(
            "type",
            Shape::Choice(&["inner", "left", "right", "full"]),
            "Which rows come that have no partner: none, those of a side, or of both",
        )
        .or("inner")
        .like("type: left"),
        optional("window", Shape::Window, "Joins rows in the same window").like("window: {tumbling: {size: 1h}}"),
        optional("within", Shape::Block(&WITHIN), "Joins rows that are near in event time")
            .like("within: {before: 10m, after: 0s}"),
        optional("as_of", Shape::OptionalBlock(&AS_OF), "Joins each left row with the last right row before it")
            .like("as_of: {}"),
    ],
};

/// How near rows of an interval join are.
pub(crate) const WITHIN: Block = Block {
    what: "`within`",
    fields: &[
        required("before", Shape::Duration, "How much earlier than the left row a right row may be"),
        required("after", Shape::Duration, "How much later than the left row a right row may be"),
    ],
};

/// How old the right row of an as-of join is.
pub(crate) const AS_OF: Block = Block {
    what: "`as_of`",
    fields: &[optional("max_age", Shape::Duration, "How much earlier than the left row the right row may be at most")
        .or("any age")
        .like("max_age: 1d")],
};

/// The first rows of each window.
pub(crate) const TOP: Block = Block {
    what: "`top`",
    fields: &[
        required("n", Shape::Count, "How many rows").like("n: 10"),
        required("by", Shape::Order, "Output columns that rows are ordered by, `{name: desc}` for the greatest first")
            .like("by: [{views: desc}, page]"),
        optional("per", Shape::Names, "Output columns within which rows are counted apart")
            .or("the whole window")
            .like("per: [site]"),
        optional(
            "ties",
            Shape::Choice(&["cut", "keep"]),
            "Whether only `n` rows are kept, by their keys where `by` does not tell, or all that equal the last one",
        )
        .or("cut"),
        optional(
            "rank",
            Shape::Name,
            "A column to add, after the outputs: the row's number in that order, from 1, and within `per`; int64, no two alike",
        )
        .or("no such column")
        .like("rank: place"),
    ],
};

/// A sink. Its kinds are the fields with a name in [`SINK_KINDS`].
pub(crate) const SINK: Block = Block {
    what: "a sink",
    fields: &[
        DESCRIPTION,
        required("from", Shape::Input, "The step that it writes; also `SOURCE.bad`, `STEP.late`, `STEP.bad`")
            .like("from: per_page"),
        optional("where", Shape::Expression, "Writes only the rows for which it is true").like("where: \"views > 10\""),
        optional("select", Shape::SomeColumns, "Writes exactly these columns")
            .like("select: [window_start, page, views]"),
        optional(
            "emit",
            Shape::Choice(&["final", "early"]),
            "`early`: a stream writes rows of open windows too and replaces them as they change",
        )
        .or("final"),
        optional("parquet", Shape::Block(&PARQUET), "A folder of Parquet files with a manifest")
            .like("parquet: {path: data/out/per_page}"),
        optional("jsonl", Shape::Block(&JSONL), "JSON lines in a file or folder").like("jsonl: {path: out.jsonl}"),
        optional("csv", Shape::Block(&CSV), "CSV in a file or folder").like("csv: {path: out.csv}"),
        optional("stdout", Shape::OptionalBlock(&STDOUT), "The terminal, or JSON lines in a pipe").like("stdout: {}"),
        optional("kafka", Shape::Block(&KAFKA_SINK), "A topic")
            .like("kafka: {brokers: \"localhost:9092\", topic: per_page}"),
        optional("postgres", Shape::Block(&POSTGRES), "A table of PostgreSQL")
            .like("postgres: {url: \"${DATABASE_URL}\", table: per_page}"),
        optional("redis", Shape::Block(&REDIS), "A hash of Redis, a field a row")
            .like("redis: {url: \"${REDIS_URL}\", key: per_page}"),
        optional("cassandra", Shape::Block(&CASSANDRA), "A table of Cassandra or Scylla")
            .like("cassandra: {url: \"${CASSANDRA_URL}\", table: analytics.per_page}"),
    ],
};

/// A kind of sink.
pub(crate) struct SinkKind {
    /// Its name, which is a field of [`SINK`].
    pub(crate) name: &'static str,
    /// Its settings.
    pub(crate) settings: &'static Block,
    /// Whether it writes a row over the one with the same identity.
    pub(crate) upserts: bool,
}

/// Returns every kind of sink that is built, with the names of its settings. A test of the whole compares them with what
/// the sinks themselves read.
pub fn sink_kinds() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    SINK_KINDS.iter().map(|kind| (kind.name, kind.settings.built().map(|field| field.name).collect()))
}

/// Every kind of sink that is built.
pub(crate) const SINK_KINDS: &[SinkKind] = &[
    SinkKind { name: "parquet", settings: &PARQUET, upserts: false },
    SinkKind { name: "jsonl", settings: &JSONL, upserts: false },
    SinkKind { name: "csv", settings: &CSV, upserts: false },
    SinkKind { name: "stdout", settings: &STDOUT, upserts: false },
    SinkKind { name: "kafka", settings: &KAFKA_SINK, upserts: true },
    // Rows without identity are only added; the epoch keeps them from coming twice.
    SinkKind { name: "postgres", settings: &POSTGRES, upserts: false },
    SinkKind { name: "redis", settings: &REDIS, upserts: true },
    SinkKind { name: "cassandra", settings: &CASSANDRA, upserts: true },
];

const ROLL_ROWS: Field = optional("roll_rows", Shape::Count, "Begin a new file of the folder after this many rows")
    .like("roll_rows: 1000000");

const ROLL_BYTES: Field =
    optional("roll_bytes", Shape::Size, "Begin a new file of the folder after about this many bytes")
        .or("256MiB")
        .like("roll_bytes: 64MiB");

pub(crate) const PARQUET: Block = Block {
    what: "a `parquet` sink",
    fields: &[
        required("path", Shape::Text, "The folder"),
        ROLL_ROWS,
        ROLL_BYTES,
        not_built("partition_by", "all files stand in one folder for now"),
    ],
};

pub(crate) const JSONL: Block = Block {
    what: "a `jsonl` sink",
    fields: &[required("path", Shape::Text, "A file if it has an extension, else a folder"), ROLL_ROWS, ROLL_BYTES],
};

pub(crate) const CSV: Block = Block {
    what: "a `csv` sink",
    fields: &[required("path", Shape::Text, "A file if it has an extension, else a folder"), ROLL_ROWS, ROLL_BYTES],
};

pub(crate) const STDOUT: Block = Block {
    what: "a `stdout` sink",
    fields: &[optional("open_rows", Shape::Boolean, "Whether rows of open windows are printed too").or("false")],
};

pub(crate) const KAFKA_SINK: Block = Block {
    what: "a `kafka` sink",
    fields: &[
        required("brokers", Shape::Text, "Bootstrap addresses, separated by commas"),
        required("topic", Shape::Text, "The topic"),
        optional("key", Shape::Names, "Columns that make the message key instead of the row's identity")
            .or("the identity of the row")
            .like("key: [page]"),
        optional(
            "open_rows",
            Shape::Boolean,
            "Whether rows of open windows are sent too, and withdrawn with tombstones",
        )
        .or("false"),
        optional(
            "delivery",
            Shape::Choice(&["exactly_once", "at_least_once"]),
            "`exactly_once`: the rows of a checkpoint in one transaction; `at_least_once`: without transactions, each row as soon as it is final",
        )
        .or("exactly_once"),
        optional(
            "transactional_id",
            Shape::Text,
            "What names its transactions: only one run writes under it at a time",
        )
        .or("`samestream`, pipeline, sink and topic, joined by `-`"),
        optional(
            "transaction_timeout",
            Shape::Duration,
            "How long writing the rows of one checkpoint may take before the broker gives them up",
        )
        .or("1m")
        .like("transaction_timeout: 5m"),
        optional("options", Shape::TextMap, "Settings for librdkafka, passed through"),
    ],
};

pub(crate) const POSTGRES: Block = Block {
    what: "a `postgres` sink",
    fields: &[
        required(
            "url",
            Shape::Text,
            "`postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`; a password comes from a variable with `secret: true`",
        )
        .like("url: \"${DATABASE_URL}\""),
        required("table", Shape::Text, "The table, `NAME` or `SCHEMA.NAME`").like("table: analytics.per_page"),
        optional("create", Shape::Boolean, "Whether the table is made if it is not there").or("true"),
    ],
};

pub(crate) const REDIS: Block = Block {
    what: "a `redis` sink",
    fields: &[
        required(
            "url",
            Shape::Text,
            "`redis://USER:PASSWORD@HOST:PORT/DATABASE`; a password comes from a variable with `secret: true`",
        )
        .like("url: \"${REDIS_URL}\""),
        required("key", Shape::Text, "The key of the hash").like("key: per_page"),
    ],
};

pub(crate) const CASSANDRA: Block = Block {
    what: "a `cassandra` sink",
    fields: &[
        required(
            "url",
            Shape::Text,
            "`cassandra://USER:PASSWORD@HOST:PORT,HOST:PORT?datacenter=NAME&sslmode=…`; a password comes from a variable with `secret: true`",
        )
        .like("url: \"${CASSANDRA_URL}\""),
        required("table", Shape::Text, "The table, `KEYSPACE.NAME`; the keyspace must be there")
            .like("table: analytics.per_page"),
        optional("create", Shape::Boolean, "Whether the table is made if it is not there").or("true"),
        optional(
            "times",
            Shape::Choice(&["millis", "micros"]),
            "`millis`: as Cassandra's `timestamp`, which a time between two milliseconds does not fit; `micros`: as `bigint`, microseconds since 1970",
        )
        .or("millis"),
    ],
};

/// Every block.
pub(crate) const ALL: &[&Block] = &[
    &PIPELINE,
    &VARIABLE,
    &SOURCE,
    &KAFKA_SOURCE,
    &LAKE,
    &JOURNAL,
    &EVENT_TIME,
    &COLUMN,
    &STEP,
    &CHECK,
    &DEDUP,
    &JOIN,
    &LOOKUP,
    &TOP,
    &WITHIN,
    &AS_OF,
    &SINK,
    &PARQUET,
    &JSONL,
    &CSV,
    &STDOUT,
    &KAFKA_SINK,
    &POSTGRES,
    &REDIS,
    &CASSANDRA,
    &CASE,
];

/// Formats of values that are not built yet.
pub(crate) const FORMATS_NOT_BUILT: &[&str] = &["csv", "regex", "raw", "avro", "protobuf"];

/// The word for window rows that are grouped again by the window they have.
pub(crate) const SAME: &str = "same";

/// Ways to write a timestamp that have a name.
pub(crate) const TIME_FORMATS: &[&str] = &["rfc3339", "epoch_s", "epoch_ms", "epoch_us"];

/// Types without parameters.
pub(crate) const TYPES: &[&str] =
    &["bool", "int32", "int64", "float64", "string", "timestamp", "date", "binary", "json"];

/// Column names that a source cannot have, because the log, the lake or a sink uses them.
pub(crate) const RESERVED: &[&str] =
    &["_partition", "_offset", "_timestamp", "_index", "_key", "_bad", "_raw", "final"];
