//! Sources as written.

use engine::Code;

use super::{ColumnSpec, EventTimeSpec, KafkaSpec, LakeSpec, SourceSpec};
use crate::fields::{self, Block};
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed, check_name, check_topic, text};
use crate::yaml::{Entry, Kind, Scalar};

impl SourceSpec {
    pub(super) fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let before = problems.errors.len();
        let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
        fields.text("description", problems);
        let mut spec = Self {
            name: entry.key.clone(),
            is_whole: true,
            kafka: fields.entry("kafka").and_then(|entry| KafkaSpec::read(entry, problems)),
            lake: fields.entry("lake").and_then(|entry| LakeSpec::read(entry, problems)),
            journal: fields.entry("journal").and_then(|entry| read_journal(entry, problems)),
            has_binding: ["kafka", "lake", "journal"].iter().any(|name| fields.entry(name).is_some()),
            format: read_format(&fields, problems),
            columns: read_columns(&fields, problems),
            event_time: fields.entry("event_time").and_then(|entry| EventTimeSpec::read(entry, problems)),
            partitions: read_partitions(&fields, problems),
            on_bad_record: fields.choice("on_bad_record", problems).map(|word| word.value),
            on_late: fields.choice("on_late", problems).map(|word| word.value),
        };
        spec.is_whole = problems.errors.len() == before;
        Some(spec)
    }
}

impl KafkaSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::KAFKA_SOURCE, problems)?;
        let brokers = fields.some_text("brokers", problems);
        let topic = fields.some_text("topic", problems).filter(|topic| check_topic(topic, problems));
        let options = read_text_map(&fields, "options", problems);
        let options = options.into_iter().map(|(name, value)| (name, value.value)).collect();
        Some(Self { brokers: brokers?.text, topic: topic?.text, options })
    }
}

impl LakeSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::LAKE, problems)?;
        let layout = fields.choice("layout", problems).map(|word| word.value);
        Some(Self { path: fields.some_text("path", problems)?, layout })
    }
}

fn read_journal(entry: &Entry, problems: &mut Problems) -> Option<Scalar> {
    Fields::open(&entry.value, entry.key.span, &fields::JOURNAL, problems)?.some_text("path", problems)
}

fn read_format(fields: &Fields<'_>, problems: &mut Problems) -> Option<&'static str> {
    let node = fields.get("format")?;
    let word = match &node.kind {
        Kind::Mapping(entries) => entries.first().map(|entry| &entry.key),
        _ => node.scalar(),
    };
    if let Some(word) = word.filter(|word| fields::FORMATS_NOT_BUILT.contains(&word.text.as_str())) {
        problems
            .error(
                Code::NotBuilt,
                word.span,
                format!("the format `{}` is not built yet", word.text),
                "refused, never read as another",
            )
            .help =
            Some("write JSON to the topic, or load files with `samestream append`, which turns CSV into JSON".into());
        return None;
    }
    if let Kind::Mapping(_) = &node.kind {
        let message = format!("`format` is {}, not one of its words", node.what());
        problems.error(Code::Field, node.span, message, "not a word").help =
            Some("write `format: json`; it has no settings of its own".into());
        return None;
    }
    fields.choice("format", problems).map(|word| word.value)
}

pub(super) fn read_text_map(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Vec<(String, Placed<String>)> {
    let Some(entry) = fields.entry(name) else { return Vec::new() };
    let Kind::Mapping(entries) = &entry.value.kind else {
        let span = if entry.value.is_null() { entry.key.span } else { entry.value.span };
        problems.error(Code::Field, span, format!("`{name}` is {}, not a map", entry.value.what()), "not a map");
        return Vec::new();
    };
    let entries = entries.iter().filter(|entry| !entry.key.text.starts_with("x-"));
    entries
        .filter_map(|entry| {
            let value = text(&entry.value, entry.key.span, &format!("`{}`", entry.key.text), problems)?;
            Some((entry.key.text.clone(), Placed::new(value.text, entry.key.span)))
        })
        .collect()
}

fn read_columns(fields: &Fields<'_>, problems: &mut Problems) -> Vec<ColumnSpec> {
    let Some(entry) = fields.entry("schema") else { return Vec::new() };
    match &entry.value.kind {
        Kind::Mapping(entries) if !entries.is_empty() => {
            let entries = entries.iter().filter(|entry| !entry.key.text.starts_with("x-"));
            entries.filter_map(|entry| ColumnSpec::read(entry, problems)).collect()
        }
        _ => {
            let span = if entry.value.is_null() { entry.key.span } else { entry.value.span };
            problems.error(Code::Field, span, "`schema` has no columns", "write `name: type` here").help =
                Some("such as `schema: {user_id: int64!, page: string}`".into());
            Vec::new()
        }
    }
}

impl ColumnSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        if !check_name(&entry.key, "a column name", problems) {
            return None;
        }
        let name = entry.key.clone();
        if !matches!(entry.value.kind, Kind::Mapping(_)) {
            let column_type = text(&entry.value, entry.key.span, &format!("the column `{}`", name.text), problems)?;
            return Some(Self { name, column_type, from: None, format: None, timezone: None, null_as: Vec::new() });
        }
        let fields = Fields::open(&entry.value, entry.key.span, &fields::COLUMN, problems)?;
        fields.text("description", problems);
        Some(Self {
            from: fields.text("from", problems),
            format: fields.text("format", problems),
            timezone: read_timezone(&fields, problems),
            null_as: fields.texts("null_as", problems).unwrap_or_default().into_iter().map(|text| text.text).collect(),
            name,
            column_type: fields.text("type", problems)?,
        })
    }
}

fn read_timezone(fields: &Fields<'_>, problems: &mut Problems) -> Option<Span> {
    let zone = fields.text("timezone", problems)?;
    if zone.text != "UTC" {
        problems
            .error(
                Code::NotBuilt,
                zone.span,
                format!("the time zone `{}` is not built yet", zone.shown()),
                "only `UTC` for now",
            )
            .help = Some("write times with an offset, or in UTC".into());
    }
    Some(zone.span)
}

impl EventTimeSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::EVENT_TIME, problems)?;
        let out_of_orderness = fields.duration("out_of_orderness", problems).map_or(0, |bound| bound.value);
        let max_future = fields.duration("max_future", problems);
        Some(Self { column: fields.text("column", problems)?, out_of_orderness, max_future })
    }
}

fn read_partitions(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<i32>> {
    let entry = fields.entry("partitions")?;
    let texts = fields.texts("partitions", problems)?;
    if texts.is_empty() {
        problems.error(Code::Field, entry.value.span, "`partitions` names none", "nothing would be read").help =
            Some("leave it out to read all partitions".into());
    }
    let mut partitions = Vec::new();
    for scalar in texts {
        match scalar.text.parse::<i32>() {
            Ok(partition) if partition >= 0 && scalar.text.bytes().all(|byte| byte.is_ascii_digit()) => {
                if partitions.contains(&partition) {
                    problems.error(
                        Code::Field,
                        scalar.span,
                        format!("the partition {partition} is there twice"),
                        "the second time",
                    );
                }
                partitions.push(partition);
            }
            _ => {
                problems
                    .error(
                        Code::Field,
                        scalar.span,
                        format!("`{}` is not a partition number", scalar.shown()),
                        "not a partition",
                    )
                    .help = Some("partitions are numbered 0, 1, 2, …".into());
            }
        }
    }
    partitions.sort_unstable();
    Some(partitions)
}
