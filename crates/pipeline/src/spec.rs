//! The pipeline file as written: every field with its place, nothing understood yet.

use engine::window::WINDOWS;
use engine::{Code, Error};

use crate::fields::{self, Block, Shape};
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed, check_name, duration_of, not_a_list, text};
use crate::suggest::{did_you_mean, list};
use crate::yaml::{Entry, Kind, Node, Scalar};

/// A pipeline file as written.
pub(crate) struct PipelineSpec {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) sources: Vec<SourceSpec>,
    pub(crate) steps: Vec<StepSpec>,
    pub(crate) sinks: Vec<SinkSpec>,
}

/// A source as written.
pub(crate) struct SourceSpec {
    pub(crate) name: Scalar,
    /// Whether it could be read as a whole; otherwise what reads it is not checked.
    pub(crate) is_whole: bool,
    pub(crate) kafka: Option<KafkaSpec>,
    pub(crate) lake: Option<LakeSpec>,
    pub(crate) journal: Option<Scalar>,
    /// Whether a binding is there, right or wrong.
    pub(crate) has_binding: bool,
    pub(crate) format: Option<&'static str>,
    pub(crate) columns: Vec<ColumnSpec>,
    pub(crate) event_time: Option<EventTimeSpec>,
    pub(crate) partitions: Option<Vec<i32>>,
    pub(crate) on_bad_record: Option<&'static str>,
    pub(crate) on_late: Option<&'static str>,
}

/// A Kafka binding as written.
pub(crate) struct KafkaSpec {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) options: Vec<(String, String)>,
}

/// A lake binding as written.
pub(crate) struct LakeSpec {
    pub(crate) path: Scalar,
    pub(crate) layout: Option<&'static str>,
}

/// A schema column as written.
pub(crate) struct ColumnSpec {
    pub(crate) name: Scalar,
    pub(crate) column_type: Scalar,
    pub(crate) from: Option<Scalar>,
    pub(crate) format: Option<Scalar>,
    pub(crate) timezone: Option<Span>,
    pub(crate) null_as: Vec<String>,
}

/// Event time as written.
pub(crate) struct EventTimeSpec {
    pub(crate) column: Scalar,
    pub(crate) out_of_orderness: i64,
    pub(crate) max_future: Option<Placed<i64>>,
}

/// A step as written.
pub(crate) struct StepSpec {
    pub(crate) name: Scalar,
    /// Whether it could be read as a whole; otherwise what reads it is not checked.
    pub(crate) is_whole: bool,
    pub(crate) from: Option<Scalar>,
    pub(crate) filter: Option<Scalar>,
    pub(crate) derive: Vec<ColumnItem>,
    pub(crate) drop: Vec<Scalar>,
    pub(crate) select: Option<Placed<Vec<ColumnItem>>>,
    pub(crate) window: Option<Placed<WindowSpec>>,
    pub(crate) group_by: Vec<ColumnItem>,
    pub(crate) aggregate: Vec<ColumnItem>,
    pub(crate) having: Option<Scalar>,
    pub(crate) top: Option<TopSpec>,
    pub(crate) allowed_lateness: Option<Placed<i64>>,
}

/// An item of a column list: a name, or a name with an expression.
pub(crate) struct ColumnItem {
    pub(crate) name: Scalar,
    pub(crate) expression: Option<Scalar>,
}

/// A window as written; what was wrong in it is reported already.
#[derive(Clone, Copy)]
pub(crate) enum WindowSpec {
    Built(engine::window::Windowing),
    Wrong,
}

/// `top` as written.
pub(crate) struct TopSpec {
    pub(crate) span: Span,
    pub(crate) n: usize,
    pub(crate) by: Vec<(Scalar, bool)>,
    pub(crate) per: Vec<Scalar>,
    pub(crate) keep_ties: bool,
}

/// A sink as written.
pub(crate) struct SinkSpec {
    pub(crate) name: Scalar,
    pub(crate) from: Option<Scalar>,
    pub(crate) filter: Option<Scalar>,
    pub(crate) select: Option<Placed<Vec<ColumnItem>>>,
    pub(crate) kind: Option<SinkKindSpec>,
}

/// The kind and settings of a sink as written.
pub(crate) struct SinkKindSpec {
    pub(crate) kind: &'static fields::SinkKind,
    pub(crate) span: Span,
    pub(crate) settings: Vec<(String, Placed<String>)>,
    pub(crate) key: Vec<Scalar>,
}

impl PipelineSpec {
    /// Reads the tree. Reports what is wrong; None when nothing can be made of it.
    pub(crate) fn read(root: &Node, problems: &mut Problems) -> Option<Self> {
        let start = Span::new(root.span.start, root.span.start);
        let fields = Fields::open(root, start, &fields::PIPELINE, problems)?;
        check_version(&fields, problems);
        let name = fields.text("name", problems).filter(|name| check_name(name, "a pipeline name", problems));
        let description = fields.text("description", problems).map(|text| text.text);
        let owner = fields.text("owner", problems).map(|text| text.text);
        let tags = fields.texts("tags", problems).unwrap_or_default().into_iter().map(|tag| tag.text).collect();
        for (entry, _) in blocks(&fields, "vars", "a variable name", problems) {
            read_variable(entry, problems);
        }
        let sources = blocks(&fields, "sources", "a source name", problems);
        if let Some(entry) = fields
            .entry("sources")
            .filter(|entry| matches!(&entry.value.kind, Kind::Mapping(sources) if sources.is_empty()))
        {
            problems.error(Code::Field, entry.value.span, "a pipeline needs a source", "no source here");
        }
        let sources =
            sources.into_iter().filter_map(|(entry, block)| SourceSpec::read(entry, block, problems)).collect();
        let steps = blocks(&fields, "steps", "a step name", problems);
        let steps = steps.into_iter().filter_map(|(entry, block)| StepSpec::read(entry, block, problems)).collect();
        let sinks = blocks(&fields, "sinks", "a sink name", problems);
        let sinks = sinks.into_iter().filter_map(|(entry, block)| SinkSpec::read(entry, block, problems)).collect();
        Some(Self {
            name: name.map(|name| name.text).unwrap_or_default(),
            description,
            owner,
            tags,
            sources,
            steps,
            sinks,
        })
    }
}

fn check_version(fields: &Fields<'_>, problems: &mut Problems) {
    if let Some(version) = fields.text("version", problems)
        && version.text != "1"
    {
        problems
            .error(
                Code::Version,
                version.span,
                format!("`version: {}` is not a version this program reads", version.shown()),
                "not 1",
            )
            .help = Some("write `version: 1`; a file of a newer version needs a newer program".into());
    }
}

/// Returns the named blocks of a field with the table they are read by.
fn blocks<'a>(
    fields: &Fields<'a>,
    name: &str,
    what: &str,
    problems: &mut Problems,
) -> Vec<(&'a Entry, &'static Block)> {
    let Some(Shape::Blocks(block)) = fields::PIPELINE.field(name).map(|field| &field.shape) else {
        panic!("`{name}` holds named blocks in its table");
    };
    let Some(entry) = fields.entry(name) else { return Vec::new() };
    match &entry.value.kind {
        Kind::Mapping(entries) => entries
            .iter()
            .filter(|entry| !entry.key.text.starts_with("x-") && check_name(&entry.key, what, problems))
            .map(|entry| (entry, *block))
            .collect(),
        _ => {
            let span = if entry.value.is_null() { entry.key.span } else { entry.value.span };
            problems
                .error(
                    Code::Field,
                    span,
                    format!("`{name}` is {}, not a map of names", entry.value.what()),
                    "not a map",
                )
                .help = Some(format!("write `{name}: {{NAME: {{…}}}}`"));
            Vec::new()
        }
    }
}

fn read_variable(entry: &Entry, problems: &mut Problems) {
    if let Some(fields) = Fields::open_optional(&entry.value, entry.key.span, &fields::VARIABLE, problems) {
        fields.text("default", problems);
        fields.boolean("secret", problems);
        fields.text("description", problems);
    }
}

impl SourceSpec {
    fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
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
        let topic = fields.some_text("topic", problems);
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
    fields.choice("format", problems).map(|word| word.value)
}

fn read_text_map(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Vec<(String, Placed<String>)> {
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

impl StepSpec {
    fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let before = problems.errors.len();
        let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
        fields.text("description", problems);
        let mut spec = Self {
            name: entry.key.clone(),
            is_whole: true,
            from: read_input(&fields, problems),
            filter: fields.some_text("where", problems),
            derive: read_column_list(&fields, "derive", problems).map(|list| list.value).unwrap_or_default(),
            drop: fields.names("drop", problems).unwrap_or_default(),
            select: read_column_list(&fields, "select", problems),
            window: read_window(&fields, problems),
            group_by: read_column_list(&fields, "group_by", problems).map(|list| list.value).unwrap_or_default(),
            aggregate: read_expressions(&fields, "aggregate", problems),
            having: fields.some_text("having", problems),
            top: fields.entry("top").and_then(|entry| TopSpec::read(entry, problems)),
            allowed_lateness: fields.duration("allowed_lateness", problems),
        };
        check_window_fields(&fields, problems);
        spec.is_whole = problems.errors.len() == before;
        Some(spec)
    }
}

/// Reports window fields in a step without a window.
fn check_window_fields(fields: &Fields<'_>, problems: &mut Problems) {
    if fields.entry("window").is_some() {
        return;
    }
    for name in ["group_by", "aggregate", "having", "top", "allowed_lateness"] {
        if let Some(entry) = fields.entry(name) {
            problems
                .error(
                    Code::Field,
                    entry.key.span,
                    format!("`{name}` needs a `window`"),
                    "there is no `window` in this step",
                )
                .help = Some("such as `window: {tumbling: {size: 1m}}`; over window rows also `window: same`".into());
        }
    }
}

fn read_input(fields: &Fields<'_>, problems: &mut Problems) -> Option<Scalar> {
    let entry = fields.entry("from")?;
    if let Kind::Sequence(_) = &entry.value.kind {
        problems
            .error(
                Code::NotBuilt,
                entry.value.span,
                "a union (a list in `from`) is not built yet",
                "name one source or step",
            )
            .help = Some("make one step for each input, and combine their results afterwards".into());
        return None;
    }
    fields.some_text("from", problems)
}

fn read_column_list(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Placed<Vec<ColumnItem>>> {
    let entry = fields.entry(name)?;
    let mut items = Vec::new();
    match &entry.value.kind {
        Kind::Mapping(pairs) => items.extend(pairs.iter().filter_map(|pair| ColumnItem::pair(pair, problems))),
        Kind::Sequence(nodes) => {
            for node in nodes {
                match &node.kind {
                    Kind::Mapping(pairs) => {
                        items.extend(pairs.iter().filter_map(|pair| ColumnItem::pair(pair, problems)))
                    }
                    _ => items.extend(ColumnItem::name(node, name, entry.key.span, problems)),
                }
            }
        }
        Kind::Scalar(_) => {
            not_a_list(name, entry, problems);
            return None;
        }
    }
    Some(Placed::new(items, entry.key.span))
}

impl ColumnItem {
    fn pair(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        if !check_name(&entry.key, "a column name", problems) {
            return None;
        }
        let expression = text(&entry.value, entry.key.span, &format!("`{}`", entry.key.text), problems)?;
        Some(Self { name: entry.key.clone(), expression: Some(expression) })
    }

    fn name(node: &Node, list: &str, place: Span, problems: &mut Problems) -> Option<Self> {
        let name = text(node, place, &format!("an item of `{list}`"), problems)?;
        if !crate::read::is_name(&name.text) {
            problems
                .error(Code::Name, name.span, format!("`{}` is not a column name", name.shown()), "not a name")
                .help = Some(format!("an expression needs a name: `{list}: [{{NAME: \"{}\"}}]`", name.shown()));
            return None;
        }
        Some(Self { name, expression: None })
    }
}

fn read_expressions(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Vec<ColumnItem> {
    let Some(entry) = fields.entry(name) else { return Vec::new() };
    let Kind::Mapping(pairs) = &entry.value.kind else {
        let span = if entry.value.is_null() { entry.key.span } else { entry.value.span };
        problems.error(Code::Field, span, format!("`{name}` is {}, not a map", entry.value.what()), "not a map").help =
            Some(format!("write `{name}: {{NAME: \"count(*)\"}}`"));
        return Vec::new();
    };
    pairs.iter().filter_map(|pair| ColumnItem::pair(pair, problems)).collect()
}

fn read_window(fields: &Fields<'_>, problems: &mut Problems) -> Option<Placed<WindowSpec>> {
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
        return Some(Placed::new(WindowSpec::Built(engine::window::Windowing::Same), word.span));
    }
    if let Some((name, instead)) = fields::WINDOWS_NOT_BUILT.iter().find(|(name, _)| *name == word.text) {
        problems
            .error(Code::NotBuilt, word.span, format!("`{name}` windows are not built yet"), "refused, never ignored")
            .help = Some((*instead).into());
        return wrong;
    }
    let Some(kind) = WINDOWS.iter().find(|kind| kind.name == word.text) else {
        let help = did_you_mean(word.shown(), "a window is one of", names().collect::<Vec<_>>());
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
                .help = Some(format!("write `window: {{{}: {{{}: 1m}}}}`", kind.name, kind.fields[0].name));
            None
        }
    };
    Some(Placed::new(windowing.map_or(WindowSpec::Wrong, WindowSpec::Built), word.span))
}

fn read_window_fields(
    kind: &'static engine::window::WindowKind,
    word: &Scalar,
    node: &Node,
    problems: &mut Problems,
) -> Option<engine::window::Windowing> {
    let Kind::Mapping(entries) = &node.kind else {
        let span = if node.is_null() { word.span } else { node.span };
        problems.error(Code::Field, span, format!("`{}` is {}, not a map", kind.name, node.what()), "not a map").help =
            Some(format!("it takes {}", list(kind.fields.iter().map(|field| field.name))));
        return None;
    };
    let mut values = vec![None; kind.fields.len()];
    let before = problems.errors.len();
    for entry in entries.iter().filter(|entry| !entry.key.text.starts_with("x-")) {
        match kind.fields.iter().position(|field| field.name == entry.key.text) {
            Some(i) => {
                let scalar = text(&entry.value, entry.key.span, &format!("`{}`", entry.key.text), problems);
                values[i] =
                    scalar.and_then(|scalar| duration_of(&scalar, &entry.key.text, problems)).map(|us| us.value);
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

fn unknown_window_field(kind: &engine::window::WindowKind, key: &Scalar, problems: &mut Problems) {
    let own = list(kind.fields.iter().map(|field| field.name));
    let takes = format!("`{}` takes {own}", kind.name);
    let nearest = crate::suggest::nearest(&key.text, kind.fields.iter().map(|field| field.name));
    let elsewhere = WINDOWS.iter().filter(|other| other.name != kind.name).find_map(|other| {
        let names = || other.fields.iter().map(|field| field.name);
        let name = names().find(|name| *name == key.text).or_else(|| crate::suggest::nearest(&key.text, names()))?;
        (!kind.fields.iter().any(|field| field.name == name)).then_some((other.name, name))
    });
    let help = match (nearest, elsewhere) {
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

impl TopSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::TOP, problems)?;
        let n = fields.text("n", problems).and_then(|n| match n.text.parse::<usize>() {
            Ok(count) if count > 0 && n.text.bytes().all(|byte| byte.is_ascii_digit()) => Some(count),
            _ => {
                problems.error(
                    Code::Field,
                    n.span,
                    format!("`n: {}` is not a count", n.shown()),
                    "not an integer of at least 1",
                );
                None
            }
        });
        let by = read_order(&fields, problems);
        let per = fields.names("per", problems).unwrap_or_default();
        let keep_ties = fields.choice("ties", problems).is_some_and(|word| word.value == "keep");
        Some(Self { span: entry.key.span, n: n?, by, per, keep_ties })
    }
}

fn read_order(fields: &Fields<'_>, problems: &mut Problems) -> Vec<(Scalar, bool)> {
    let Some(entry) = fields.entry("by") else { return Vec::new() };
    let items: Vec<&Node> = match &entry.value.kind {
        Kind::Sequence(items) if !items.is_empty() => items.iter().collect(),
        Kind::Mapping(_) => vec![&entry.value],
        Kind::Sequence(_) => {
            problems.error(Code::Field, entry.value.span, "`by` names no column", "nothing to order by");
            return Vec::new();
        }
        Kind::Scalar(_) => {
            not_a_list("by", entry, problems);
            return Vec::new();
        }
    };
    let mut order = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Mapping(pairs) => {
                for pair in pairs {
                    let Some(word) = text(&pair.value, pair.key.span, &format!("`{}`", pair.key.text), problems) else {
                        continue;
                    };
                    match word.text.as_str() {
                        "asc" | "desc" => order.push((pair.key.clone(), word.text == "desc")),
                        _ => {
                            problems
                                .error(
                                    Code::Field,
                                    word.span,
                                    format!("`{}` is not an order", word.shown()),
                                    "not `asc` or `desc`",
                                )
                                .help = Some(did_you_mean(word.shown(), "an order is one of", ["asc", "desc"]));
                        }
                    }
                }
            }
            _ => order.extend(text(item, entry.key.span, "an item of `by`", problems).map(|name| (name, false))),
        }
    }
    order
}

impl SinkSpec {
    fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let before = problems.errors.len();
        let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
        let refused = problems.errors[before..].iter().any(|error: &Error| error.code == Code::NotBuilt);
        fields.text("description", problems);
        Some(Self {
            name: entry.key.clone(),
            from: read_input(&fields, problems),
            filter: fields.some_text("where", problems),
            select: read_column_list(&fields, "select", problems),
            kind: SinkKindSpec::read(&fields, entry, refused, problems),
        })
    }
}

impl SinkKindSpec {
    fn read(fields: &Fields<'_>, sink: &Entry, refused: bool, problems: &mut Problems) -> Option<Self> {
        let given: Vec<_> =
            fields::SINK_KINDS.iter().filter_map(|kind| Some((kind, fields.entry(kind.name)?))).collect();
        let (kind, entry) = match given[..] {
            [one] => one,
            [] if refused => return None,
            [] => {
                problems
                    .error(
                        Code::Field,
                        sink.key.span,
                        format!("the sink `{}` does not say where it writes", sink.key.text),
                        "no kind of sink",
                    )
                    .help = Some(format!("add one of {}", list(fields::SINK_KINDS.iter().map(|kind| kind.name))));
                return None;
            }
            [(first, _), (_, second), ..] => {
                problems
                    .error(
                        Code::Field,
                        second.key.span,
                        format!("the sink `{}` has two kinds", sink.key.text),
                        "the second kind",
                    )
                    .help = Some(format!("it writes `{}` already: make a second sink", first.name));
                return None;
            }
        };
        let settings = Fields::open_optional(&entry.value, entry.key.span, kind.settings, problems)?;
        if entry.value.is_null() {
            for field in kind.settings.fields.iter().filter(|field| field.required) {
                problems.error(
                    Code::Field,
                    entry.key.span,
                    format!("{} needs `{}`", kind.settings.what, field.name),
                    format!("`{}` is missing", field.name),
                );
            }
        }
        let mut spec = Self { kind, span: entry.key.span, settings: Vec::new(), key: Vec::new() };
        for field in kind.settings.built() {
            spec.read_setting(&settings, field, problems);
        }
        Some(spec)
    }

    fn read_setting(&mut self, settings: &Fields<'_>, field: &'static fields::Field, problems: &mut Problems) {
        match field.shape {
            Shape::Text => {
                let value = settings.some_text(field.name, problems);
                self.settings.extend(value.map(|value| (field.name.into(), Placed::new(value.text, value.span))));
            }
            Shape::Boolean => {
                let value = settings.boolean(field.name, problems);
                self.settings
                    .extend(value.map(|value| (field.name.into(), Placed::new(value.value.to_string(), value.span))));
            }
            Shape::TextMap => {
                let values = read_text_map(settings, field.name, problems);
                self.settings.extend(values.into_iter().map(|(name, value)| (format!("{}.{name}", field.name), value)));
            }
            Shape::Names => self.key = settings.names(field.name, problems).unwrap_or_default(),
            _ => panic!("a sink's setting `{}` has a shape that sinks do not read", field.name),
        }
    }
}
