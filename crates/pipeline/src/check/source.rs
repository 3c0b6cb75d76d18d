//! Sources: bindings, columns, event time.

use engine::plan::{
    Bindings, ColumnPlan, KafkaBinding, LakeBinding, Layout, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom,
};
use engine::{Code, DataType, Field};

use super::sink::refuse_remote;
use super::{Checker, Relation};
use crate::fields::{RESERVED, TIME_FORMATS, TYPES};
use crate::problems::Problems;
use crate::spec::{ColumnSpec, EventTimeSpec, SourceSpec};
use crate::suggest::{did_you_mean, list, nearest};
use crate::yaml::Scalar;

impl Checker<'_> {
    /// Checks every source, in the order of their names.
    pub(super) fn check_sources(&mut self) {
        for (index, source) in self.graph.sources.clone().into_iter().enumerate() {
            let before = self.problems.errors.len();
            let plan = check_source(&self.spec.sources[source], self.problems);
            let is_right = self.problems.errors.len() == before && self.spec.sources[source].is_whole;
            self.source_relations.push(is_right.then(|| Relation::of_source(&plan, index)));
            self.sources.push(plan);
        }
    }
}

fn check_source(spec: &SourceSpec, problems: &mut Problems) -> SourcePlan {
    let bindings = check_bindings(spec, problems);
    let read = spec.columns.iter().filter_map(|column| Some((column, check_column(column, problems)?)));
    let (column_specs, columns): (Vec<&ColumnSpec>, Vec<ColumnPlan>) = read.unzip();
    check_places(&column_specs, &columns, problems);
    if let Some(event_time) = &spec.event_time {
        check_event_time(event_time, spec, &columns, &bindings, problems);
    }
    SourcePlan {
        name: spec.name.text.clone(),
        format: spec.format.unwrap_or("json").into(),
        event_time: spec.event_time.as_ref().map(|event_time| event_time.column.text.clone()).unwrap_or_default(),
        out_of_orderness: spec.event_time.as_ref().map_or(0, |event_time| event_time.out_of_orderness),
        max_future: spec.event_time.as_ref().and_then(|event_time| event_time.max_future.as_ref()).map(|us| us.value),
        partitions: spec.partitions.clone(),
        on_bad: if spec.on_bad_record == Some("fail") { OnBad::Fail } else { OnBad::Quarantine },
        on_late: match spec.on_late {
            Some("fail") => OnLate::Fail,
            Some("drop") => OnLate::Drop,
            _ => OnLate::Quarantine,
        },
        needed: Vec::new(),
        tombstones: false,
        columns,
        bindings,
    }
}

/// Refuses a column that reads inside a list or struct: what `replay` writes for the one could not hold the other.
fn check_places(specs: &[&ColumnSpec], columns: &[ColumnPlan], problems: &mut Problems) {
    for (within, column) in specs.iter().zip(columns) {
        let ValueFrom::Path(path) = &column.from else { continue };
        let whole = columns.iter().find(|whole| {
            whole.field.data_type.is_nested()
                && match &whole.from {
                    ValueFrom::Path(outer) => path.len() > outer.len() && path.starts_with(outer),
                    ValueFrom::Value => true,
                    ValueFrom::Key | ValueFrom::Header(_) => false,
                }
        });
        if let Some(whole) = whole {
            let (name, data_type) = (&whole.field.name, whole.field.data_type);
            problems
                .error(
                    Code::Field,
                    within.name.span,
                    format!("`{}` reads inside `{name}`, which is {data_type}", column.field.name),
                    "stands inside another column",
                )
                .help = Some(format!("make it a field of `{name}` and read it there, or make `{name}` json"));
        }
    }
}

fn check_bindings(spec: &SourceSpec, problems: &mut Problems) -> Bindings {
    let bindings = Bindings {
        kafka: spec.kafka.as_ref().map(|kafka| KafkaBinding {
            brokers: kafka.brokers.clone(),
            topic: kafka.topic.clone(),
            options: kafka.options.iter().cloned().collect(),
        }),
        lake: spec.lake.as_ref().map(|lake| LakeBinding {
            path: lake.path.text.clone(),
            layout: match lake.layout {
                Some("connect") => Layout::Connect,
                Some("files") => Layout::Files,
                _ => Layout::Log,
            },
        }),
        journal: spec.journal.as_ref().map(|path| path.text.clone()),
    };
    if let Some(lake) = &spec.lake {
        let help = "lakes are local folders for now; mount it, or copy it";
        refuse_remote(&lake.path.text, lake.path.span, help, &["file"], problems);
    }
    if let Some(path) = &spec.journal {
        refuse_remote(&path.text, path.span, "a journal is a local folder", &[], problems);
    }
    if bindings == Bindings::default() && !spec.has_binding {
        problems
            .error(
                Code::Binding,
                spec.name.span,
                format!("the source `{}` does not say where its log is", spec.name.text),
                "no binding",
            )
            .help = Some("add `kafka: {brokers, topic}`, `lake: {path}` or `journal: {path}`".into());
    }
    bindings
}

fn check_column(spec: &ColumnSpec, problems: &mut Problems) -> Option<ColumnPlan> {
    let name = &spec.name.text;
    if RESERVED.contains(&name.as_str()) {
        problems
            .error(Code::Name, spec.name.span, format!("a column cannot be named `{name}`"), "this name is taken")
            .help = Some(match name.as_str() {
            "final" => {
                "every sink adds `final`; give the column another name: `is_final: {type: …, from: value.final}`".into()
            }
            _ => format!(
                "the log itself has a column of this name; give yours another: `{}: {{type: …, from: value.{name}}}`",
                name.trim_start_matches('_')
            ),
        });
    }
    let (data_type, nullable) = column_type(&spec.column_type, problems)?;
    Some(ColumnPlan {
        field: Field { name: name.clone(), data_type, nullable },
        from: spec
            .from
            .as_ref()
            .map_or(Some(ValueFrom::Path(vec![name.clone()])), |from| value_from(from, problems))?,
        format: time_format(spec, data_type, problems)?,
        null_as: spec.null_as.clone(),
    })
}

/// Reads a type with its `!`.
fn column_type(scalar: &Scalar, problems: &mut Problems) -> Option<(DataType, bool)> {
    let text = scalar.text.trim();
    let (word, nullable) = match text.strip_suffix('!') {
        Some(word) => (word.trim_end(), false),
        None => (text, true),
    };
    if let Some(data_type) = DataType::parse(word) {
        return Some((data_type, nullable));
    }
    let name = word.split(['<', '(']).next().unwrap_or_default().trim();
    let help = match name {
        "decimal" => "a decimal is `decimal(p,s)`: up to 38 digits `p`, `s` of them after the point".into(),
        "list" | "array" => "a list is `list<T>`, such as `list<string>`; `T` is a type without `!`".into(),
        "struct" | "row" | "object" | "map" => {
            "a struct is `\"struct<a: int64, b: list<string>>\"`, in quotes: names that differ, types without `!`; objects with any keys are `json`".into()
        }
        _ => {
            let bare = name.split(['(', ' ', '?']).next().unwrap_or(name);
            let known = TYPES.iter().copied().find(|known| *known == bare);
            let meant = synonym(name).or(synonym(bare)).or(known).or_else(|| nearest(name, TYPES.iter().copied()));
            let all = format!("{}, `decimal(p,s)`, `list<T>`, `struct<a: T, …>`; `!` after it means not null", list(TYPES.iter().copied()));
            meant.map_or_else(
                || format!("a type is one of {all}"),
                |meant| format!("did you mean `{meant}`? a type is one of {all}"),
            )
        }
    };
    problems.error(Code::Type, scalar.span, format!("`{}` is not a type", scalar.shown()), "not a type").help =
        Some(help);
    None
}

/// Returns our word for a type that other systems call otherwise.
fn synonym(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "int" | "integer" | "i32" => "int32",
        "long" | "bigint" | "i64" | "uint64" => "int64",
        "double" | "float" | "float32" | "real" | "f64" | "number" => "float64",
        "text" | "varchar" | "str" | "utf8" | "char" | "uuid" => "string",
        "datetime" | "timestamptz" | "time" => "timestamp",
        "boolean" => "bool",
        "bytes" | "blob" | "bytea" => "binary",
        "numeric" => "decimal(18,2)",
        _ => return None,
    })
}

fn value_from(scalar: &Scalar, problems: &mut Problems) -> Option<ValueFrom> {
    let found = match scalar.text.split_once('.') {
        None if scalar.text == "key" => Some(ValueFrom::Key),
        None if scalar.text == "value" => Some(ValueFrom::Value),
        Some(("header", name)) if !name.is_empty() => Some(ValueFrom::Header(name.into())),
        Some(("value", path)) if path.split('.').all(|part| !part.is_empty()) => {
            Some(ValueFrom::Path(path.split('.').map(str::to_owned).collect()))
        }
        _ => None,
    };
    if found.is_none() {
        problems
            .error(
                Code::Field,
                scalar.span,
                format!("`from: {}` is not a place in a record", scalar.shown()),
                "not a place",
            )
            .help = Some("it is `key`, `header.NAME`, `value`, or `value.a.b` for a field of the value".into());
    }
    found
}

fn time_format(spec: &ColumnSpec, data_type: DataType, problems: &mut Problems) -> Option<TimeFormat> {
    if let Some(span) = spec.timezone.filter(|_| !spec.format.as_ref().is_some_and(|format| format.text.contains('%')))
    {
        problems.error(Code::Field, span, "`timezone` is only for a %-pattern", "there is no pattern").help =
            Some("add `format: \"%Y-%m-%d %H:%M:%S\"`, or leave it out".into());
    }
    let Some(format) = &spec.format else { return Some(TimeFormat::Default) };
    if data_type != DataType::Timestamp {
        problems.error(
            Code::Type,
            format.span,
            format!("`format` is only for a timestamp, and `{}` is {data_type}", spec.name.text),
            "not a timestamp",
        );
        return None;
    }
    let items = || chrono::format::StrftimeItems::new(&format.text);
    Some(match format.text.as_str() {
        "rfc3339" => TimeFormat::Rfc3339,
        "epoch_s" => TimeFormat::EpochSeconds,
        "epoch_ms" => TimeFormat::EpochMillis,
        "epoch_us" => TimeFormat::EpochMicros,
        pattern if pattern.contains('%') && !items().any(|item| item == chrono::format::Item::Error) => {
            TimeFormat::Pattern(pattern.into())
        }
        _ => {
            let help = did_you_mean(format.shown(), "a %-pattern, or one of", TIME_FORMATS.iter().copied());
            problems
                .error(
                    Code::Field,
                    format.span,
                    format!("`{}` is not a way to write a timestamp", format.shown()),
                    "not a format",
                )
                .help = Some(help);
            return None;
        }
    })
}

fn check_event_time(
    spec: &EventTimeSpec,
    source: &SourceSpec,
    columns: &[ColumnPlan],
    bindings: &Bindings,
    problems: &mut Problems,
) {
    let lacks_timestamp = bindings.lake.as_ref().is_some_and(|lake| lake.layout == Layout::Connect);
    let help = "`layout: connect` files do not hold the log's own time: use `archive`, whose layout `log` does";
    if let Some(max_future) = spec.max_future.as_ref().filter(|_| lacks_timestamp) {
        problems
            .error(
                Code::GuardNeedsTimestamp,
                max_future.span,
                "`max_future` needs the log's own time",
                "not in this layout",
            )
            .help = Some(help.into());
    }
    let name = &spec.column;
    if name.text == "_timestamp" {
        if lacks_timestamp {
            problems
                .error(Code::GuardNeedsTimestamp, name.span, "`_timestamp` is the log's own time", "not in this layout")
                .help = Some(help.into());
        }
        return;
    }
    // A column whose type is wrong is reported as such, and not as missing too.
    let written = source.columns.iter().find(|column| column.name.text == name.text);
    match columns.iter().find(|column| column.field.name == name.text) {
        None if written.is_some() => {}
        None => {
            let help = did_you_mean(
                name.shown(),
                "the event time is a `timestamp!` column or `_timestamp`; columns",
                columns.iter().map(|column| column.field.name.as_str()),
            );
            problems
                .error(Code::Name, name.span, format!("the schema has no column `{}`", name.shown()), "not a column")
                .help = Some(help);
        }
        Some(column) if column.field.data_type != DataType::Timestamp => {
            let data_type = column.field.data_type;
            problems
                .error(
                    Code::Type,
                    name.span,
                    format!("the event time `{}` is {data_type}, not a timestamp", name.text),
                    "not a timestamp",
                )
                .help = Some(format!(
                "declare it as `{}: timestamp!`; for numbers add `format: epoch_s`, `epoch_ms` or `epoch_us`",
                name.text
            ));
        }
        Some(column) if column.field.nullable => {
            let span = written.map_or(name.span, |column| column.column_type.span);
            problems
                .error(Code::Type, span, format!("the event time `{}` may be null", name.text), "needs a `!`")
                .help = Some("write `timestamp!`: a record without an event time is then a bad record".into());
        }
        Some(_) => {}
    }
}
