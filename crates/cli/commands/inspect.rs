//! `samestream inspect`: a log that nobody has described yet, and the source that would describe it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use engine::plan::{KafkaBinding, LakeBinding, Layout, TimeFormat, ValueFrom};
use engine::{Code, Error, duration, rfc3339};
use runtime::disorder::Disorder;
use runtime::inspect::guess::Position;
use runtime::inspect::{Column, InspectOptions, Inspection, Subject, inspect};
use serde_json::{Value, json};

use crate::global::Global;
use crate::output::thousands;
use crate::report::{Done, Failure};
use crate::{commands, output, pipelines};

/// Look at a topic, journal, lake or file: types, nulls, times, disorder, and a ready `sources:` block
///
/// Types are guessed from the values, and values that do not fit are told with their partition@offset. Then everything
/// is decoded as a run would do it. What is found stands in comments before the block, so that the output is YAML.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream inspect data/journal/clicks\n  \
    samestream inspect kafka://localhost:9092/clicks --name clicks > sources.yaml\n  \
    samestream inspect events.jsonl --event-time created_at\n  \
    samestream inspect page_views --source clicks --format json")]
pub(crate) struct Arguments {
    /// A topic (`kafka://BROKERS/TOPIC`), a journal's or lake's folder, a .parquet, .jsonl or .csv file, or a pipeline
    #[arg(value_name = "SOURCE")]
    subject: String,
    /// Which source of the pipeline; not needed when it has only one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// What to call the source in the block; by default after the topic, folder or file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The column that says when a record happened; by default the one that looks most like it
    #[arg(long, value_name = "COLUMN")]
    event_time: Option<String>,
    /// At most so many records of each partition, from its start
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let subject = subject(arguments, global)?;
    let options = InspectOptions { limit: arguments.limit, event_time: arguments.event_time.clone() };
    let found = inspect(&subject, &options)?;
    let name = arguments.name.clone().unwrap_or_else(|| name_of(&subject));
    let block = block(&subject, &name, &found);
    let text = match global.is_json() {
        true => format!("{:#}\n", as_json(&found, &block)),
        false => comments(&subject, &found) + &block,
    };
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn subject(arguments: &Arguments, global: &Global) -> Result<Subject, Failure> {
    let word = arguments.subject.as_str();
    let topic = word.strip_prefix("kafka://").or_else(|| word.strip_prefix("kafka:"));
    if let Some(place) = topic {
        return match place.rsplit_once('/').filter(|(brokers, topic)| !brokers.is_empty() && !topic.is_empty()) {
            Some((brokers, topic)) => Ok(Subject::Topic(KafkaBinding {
                brokers: brokers.into(),
                topic: topic.into(),
                options: Default::default(),
            })),
            None => Err(Error::new(Code::Usage, format!("`{word}` does not name a topic"))
                .help("write kafka://BROKERS/TOPIC, such as kafka://localhost:9092/clicks")
                .into()),
        };
    }
    let plain = ["journal:", "lake:", "file://", "file:"].iter().find_map(|prefix| word.strip_prefix(prefix));
    let is_yaml = word.ends_with(".yaml") || word.ends_with(".yml");
    let path = Path::new(plain.unwrap_or(word));
    if !is_yaml && (plain.is_some() || path.exists()) {
        return Ok(Subject::of_path(path)?);
    }
    let known = pipelines::find(word).map_err(|error| {
        let help = "name a journal's or lake's folder, a file, a topic (`kafka://BROKERS/TOPIC`) or a pipeline";
        Error::new(error.code, format!("there is nothing at `{word}`, and no pipeline of that name")).help(help)
    })?;
    let loaded = pipelines::read(&known, global)?;
    let source = commands::source_of(&loaded.plan, arguments.source.as_deref())?;
    let bindings = &source.bindings;
    Ok(match (&bindings.kafka, &bindings.journal, &bindings.lake) {
        (Some(kafka), ..) => Subject::Topic(kafka.clone()),
        (None, Some(journal), _) => Subject::Journal(PathBuf::from(journal)),
        (None, None, Some(lake)) => Subject::Lake(lake.clone()),
        (None, None, None) => unreachable!("a source has a binding"),
    })
}

/// Returns a name for a source: the last part of where it is, as far as a name may have it.
fn name_of(subject: &Subject) -> String {
    let last = match subject {
        Subject::Topic(binding) => binding.topic.clone(),
        Subject::Lake(LakeBinding { path, .. }) => stem(Path::new(path)),
        Subject::Journal(path) | Subject::JsonLines(path) | Subject::Csv(path) => stem(path),
    };
    let mut name: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(60).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert_str(0, "log_");
    }
    name
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn places(places: &[Position], count: u64) -> String {
    let shown: Vec<String> = places.iter().map(|(partition, offset)| format!("{partition}@{offset}")).collect();
    let more = if count > places.len() as u64 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Returns what was found, as YAML comments.
fn comments(subject: &Subject, found: &Inspection) -> String {
    let mut lines = vec![head(subject, found)];
    let (others, first) = &found.not_objects;
    if *others > 0 {
        lines.push(format!("{} values are not JSON objects: {}", thousands(*others), places(first, *others)));
    }
    for (reason, (count, (partition, offset))) in &found.bad {
        lines.push(format!("{} records would be bad: {reason}, first {partition}@{offset}", thousands(*count)));
    }
    let width = found.columns.iter().map(|column| column.plan.field.name.len()).max().unwrap_or(0).max(6);
    lines.push(String::new());
    lines.push(format!("{:width$}  {:14}  {:>9}  values", "column", "type", "nulls"));
    for column in &found.columns {
        lines.push(column_line(column, width));
        for conflict in &column.conflicts {
            lines.push(format!(
                "{:width$}  conflict: {} in {} records, such as {}, at {}",
                "",
                conflict.kind,
                thousands(conflict.count),
                conflict.example,
                places(&conflict.places, conflict.count)
            ));
        }
    }
    for (path, why) in &found.left_out {
        lines.push(format!("{path} has no column: {why}"));
    }
    lines.push(String::new());
    lines.extend(disorder_lines(found));
    lines
        .into_iter()
        .map(|line| if line.is_empty() { "#\n".into() } else { format!("# {}\n", line.trim_end()) })
        .collect()
}

fn head(subject: &Subject, found: &Inspection) -> String {
    let what = match subject {
        Subject::Topic(binding) => format!("topic {} at {}", binding.topic, binding.brokers),
        Subject::Journal(path) => format!("journal {}", path.display()),
        Subject::Lake(binding) => format!("Parquet files {}", binding.path),
        Subject::JsonLines(path) => format!("JSON lines {}", path.display()),
        Subject::Csv(path) => format!("CSV {}", path.display()),
    };
    let cut = if found.is_cut { " (there are more: --limit)" } else { "" };
    let (records, partitions) = (thousands(found.records), found.partitions.len());
    format!("{what}: {records} records{cut}, {partitions} partition{}", if partitions == 1 { "" } else { "s" })
}

fn column_line(column: &Column, width: usize) -> String {
    let field = &column.plan.field;
    let values = match column.times {
        Some((least, largest)) => format!("{} .. {}", rfc3339(least), rfc3339(largest)),
        None => format!("such as {}", column.example),
    };
    let bang = if field.nullable { "" } else { "!" };
    format!(
        "{:width$}  {:14}  {:>9}  {values}",
        field.name,
        format!("{}{bang}", field.data_type),
        thousands(column.nulls)
    )
}

fn disorder_lines(found: &Inspection) -> Vec<String> {
    let mut lines = vec![format!("out of order by {}:", found.event_time)];
    lines
        .push("partition    records     behind   largest lag   half of all   9 of 10   99 of 100   999 of 1000".into());
    for partition in &found.partitions {
        lines.push(disorder_line(&partition.partition.to_string(), &partition.disorder));
    }
    if found.partitions.len() > 1 {
        lines.push(disorder_line("all", &found.disorder));
    }
    let mut all = found.disorder.clone();
    let bound = all.suggestion();
    let beyond = all.beyond(bound);
    let rest = match beyond {
        0 => "nothing would be late".into(),
        _ => format!("{} records are further behind and may be late", thousands(beyond)),
    };
    lines.push(format!("out_of_orderness {}: {rest}", yaml_duration(bound)));
    lines
}

fn disorder_line(name: &str, disorder: &Disorder) -> String {
    let mut disorder = disorder.clone();
    let [half, nine, most, nearly] = [500, 900, 990, 999].map(|share| duration(disorder.quantile(share)));
    format!(
        "{name:>9}  {:>9}  {:>9}  {:>12}  {half:>12}  {nine:>8}  {most:>10}  {nearly:>12}",
        thousands(disorder.records()),
        thousands(disorder.behind()),
        duration(disorder.largest())
    )
}

/// Returns a duration as a pipeline file writes it.
pub(crate) fn yaml_duration(micros: i64) -> String {
    let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
    match units.iter().find(|(size, _)| micros != 0 && micros % size == 0) {
        Some((size, unit)) => format!("{}{unit}", micros / size),
        None if micros == 0 => "0s".into(),
        None => format!("{micros}us"),
    }
}

/// Returns the block that describes the source.
fn block(subject: &Subject, name: &str, found: &Inspection) -> String {
    let mut out = format!("sources:\n  {name}:\n{}", binding(subject, name));
    if !matches!(subject, Subject::Lake(_)) {
        out.push_str("    format: json\n");
    }
    out.push_str("    schema:\n");
    for column in &found.columns {
        out.push_str(&format!("      {}\n", declared(column, &found.event_time)));
    }
    let bound = yaml_duration(found.disorder.clone().suggestion());
    out.push_str(&format!("    event_time: {{column: {}, out_of_orderness: {bound}}}\n", found.event_time));
    out
}

fn binding(subject: &Subject, name: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    match subject {
        Subject::Topic(binding) => {
            format!("    kafka: {{brokers: {}, topic: {}}}\n", quoted(&binding.brokers), quoted(&binding.topic))
        }
        Subject::Journal(path) => format!("    journal: {{path: {}}}\n", quoted(&path.display().to_string())),
        Subject::Lake(binding) => {
            let layout = match binding.layout {
                Layout::Log => "",
                Layout::Connect => ", layout: connect",
                Layout::Files => ", layout: files",
            };
            format!("    lake: {{path: {}{layout}}}\n", quoted(&binding.path))
        }
        Subject::JsonLines(path) | Subject::Csv(path) => format!(
            "    # samestream append data/{name} {}\n    journal: {{path: {}}}\n",
            path.display(),
            quoted(&format!("data/{name}"))
        ),
    }
}

fn declared(column: &Column, event_time: &str) -> String {
    let plan = &column.plan;
    let field = &plan.field;
    // A record without an event time is a bad one.
    let bang = if field.nullable && field.name != event_time { "" } else { "!" };
    let kind = format!("{}{bang}", field.data_type);
    let mut more = Vec::new();
    match &plan.from {
        ValueFrom::Path(path) if path.join(".") == field.name => {}
        ValueFrom::Path(path) => more.push(format!("from: {}", Value::from(format!("value.{}", path.join("."))))),
        ValueFrom::Value => more.push("from: value".into()),
        ValueFrom::Key => more.push("from: key".into()),
        ValueFrom::Header(name) => more.push(format!("from: {}", Value::from(format!("header.{name}")))),
    }
    match &plan.format {
        TimeFormat::EpochSeconds => more.push("format: epoch_s".into()),
        TimeFormat::EpochMillis => more.push("format: epoch_ms".into()),
        TimeFormat::EpochMicros => more.push("format: epoch_us".into()),
        TimeFormat::Rfc3339 => more.push("format: rfc3339".into()),
        TimeFormat::Pattern(pattern) => more.push(format!("format: {}", Value::from(pattern.as_str()))),
        TimeFormat::Default => {}
    }
    if !plan.null_as.is_empty() {
        more.push(format!("null_as: {}", json!(plan.null_as)));
    }
    let is_plain = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'!');
    let kind = if is_plain { kind } else { format!("\"{kind}\"") };
    match more.is_empty() {
        true => format!("{}: {kind}", field.name),
        false => format!("{}: {{type: {kind}, {}}}", field.name, more.join(", ")),
    }
}

fn as_json(found: &Inspection, block: &str) -> Value {
    let at = |places: &[Position]| {
        places.iter().map(|(partition, offset)| format!("{partition}@{offset}")).collect::<Vec<_>>()
    };
    let range = |times: Option<(i64, i64)>| times.map(|(least, largest)| [rfc3339(least), rfc3339(largest)]);
    let disorder = |disorder: &Disorder| {
        let mut disorder = disorder.clone();
        json!({
            "records": disorder.records(),
            "behind": disorder.behind(),
            "largest_us": disorder.largest(),
            "p50_us": disorder.quantile(500),
            "p90_us": disorder.quantile(900),
            "p99_us": disorder.quantile(990),
            "p999_us": disorder.quantile(999),
        })
    };
    let columns = found.columns.iter().map(|column| {
        let field = &column.plan.field;
        let conflicts = column.conflicts.iter().map(|conflict| {
            json!({
                "kind": conflict.kind,
                "count": conflict.count,
                "at": at(&conflict.places),
                "example": conflict.example,
            })
        });
        json!({
            "name": field.name,
            "type": field.data_type.to_string(),
            "nullable": field.nullable,
            "nulls": column.nulls,
            "times": range(column.times),
            "example": column.example,
            "conflicts": conflicts.collect::<Vec<_>>(),
        })
    });
    let partitions = found.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition,
            "records": partition.records,
            "bad": partition.bad,
            "start": partition.offsets.0,
            "end": partition.offsets.1,
            "times": range(partition.times),
            "disorder": disorder(&partition.disorder),
        })
    });
    let bad = found.bad.iter().map(
        |(reason, (count, first))| json!({"reason": reason, "count": count, "at": at(std::slice::from_ref(first))}),
    );
    let left_out = found.left_out.iter().map(|(path, why)| json!({"path": path, "why": why}));
    json!({
        "records": found.records,
        "cut": found.is_cut,
        "not_objects": {"count": found.not_objects.0, "at": at(&found.not_objects.1)},
        "bad": bad.collect::<Vec<_>>(),
        "columns": columns.collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "event_time": found.event_time,
        "partitions": partitions.collect::<Vec<_>>(),
        "disorder": disorder(&found.disorder),
        "out_of_orderness": yaml_duration(found.disorder.clone().suggestion()),
        "sources": block,
    })
}
