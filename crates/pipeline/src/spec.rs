//! The pipeline file as written: every field with its place, nothing understood yet.

mod case;
mod join;
mod schedule;
mod sink;
mod source;
mod step;
mod window;

use engine::Code;
use engine::plan::{OnBroken, OnMissing};
use engine::schedule::Schedule;
use engine::window::Windowing;

use crate::fields::{self, Block, Shape};
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed, check_name};
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
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) cases: Vec<CaseSpec>,
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
    /// Its input, or those of a union.
    pub(crate) from: Vec<Scalar>,
    pub(crate) tag: Option<Scalar>,
    /// The list column, and what an element is called.
    pub(crate) explode: Option<(Scalar, Scalar)>,
    pub(crate) filter: Option<Scalar>,
    pub(crate) derive: Vec<ColumnItem>,
    pub(crate) drop: Vec<Scalar>,
    pub(crate) select: Option<Placed<Vec<ColumnItem>>>,
    pub(crate) rules: Vec<RuleSpec>,
    pub(crate) lookup: Option<LookupSpec>,
    pub(crate) dedup: Option<DedupSpec>,
    /// Its inputs are in `from`, left then right.
    pub(crate) join: Option<JoinSpec>,
    pub(crate) window: Option<Placed<WindowSpec>>,
    pub(crate) group_by: Vec<ColumnItem>,
    pub(crate) aggregate: Vec<ColumnItem>,
    pub(crate) unique_by: Option<Placed<Vec<ColumnItem>>>,
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
    Built(Windowing),
    Wrong,
}

/// A rule of `check` as written.
pub(crate) struct RuleSpec {
    pub(crate) name: Scalar,
    pub(crate) rule: Scalar,
    pub(crate) otherwise: OnBroken,
}

/// `lookup` as written.
pub(crate) struct LookupSpec {
    pub(crate) file: Scalar,
    /// A column, and the file's column that must equal it.
    pub(crate) on: Vec<(Scalar, Scalar)>,
    /// A column to add, and the file's column whose value it takes.
    pub(crate) take: Vec<(Scalar, Scalar)>,
    pub(crate) missing: OnMissing,
}

/// `dedup` as written.
pub(crate) struct DedupSpec {
    pub(crate) span: Span,
    pub(crate) key: Vec<ColumnItem>,
    pub(crate) within: i64,
}

/// `join` as written.
pub(crate) struct JoinSpec {
    pub(crate) span: Span,
    /// Pairs of columns, left and right.
    pub(crate) on: Vec<(Scalar, Scalar)>,
    pub(crate) kind: Placed<&'static str>,
    pub(crate) time: Placed<JoinTimeSpec>,
}

/// How rows of a join are near in event time, as written.
#[derive(Clone, Copy)]
pub(crate) enum JoinTimeSpec {
    Window(WindowSpec),
    Within { before: i64, after: i64 },
    AsOf { max_age: Option<i64> },
}

/// `top` as written.
pub(crate) struct TopSpec {
    pub(crate) span: Span,
    pub(crate) n: usize,
    pub(crate) by: Vec<(Scalar, bool)>,
    pub(crate) per: Vec<Scalar>,
    pub(crate) keep_ties: bool,
    pub(crate) rank: Option<Scalar>,
}

/// A sink as written.
pub(crate) struct SinkSpec {
    pub(crate) name: Scalar,
    pub(crate) from: Option<Scalar>,
    pub(crate) filter: Option<Scalar>,
    pub(crate) select: Option<Placed<Vec<ColumnItem>>>,
    /// Where `emit: early` stands.
    pub(crate) early: Option<Span>,
    pub(crate) kind: Option<SinkKindSpec>,
}

/// The kind and settings of a sink as written.
pub(crate) struct SinkKindSpec {
    pub(crate) kind: &'static fields::SinkKind,
    pub(crate) span: Span,
    pub(crate) settings: Vec<(String, Placed<String>)>,
    pub(crate) key: Vec<Scalar>,
}

/// A test case as written.
pub(crate) struct CaseSpec {
    pub(crate) name: Scalar,
    pub(crate) given: Vec<RowsSpec>,
    pub(crate) expect: Vec<RowsSpec>,
    /// Where `expect` and what follows it stand.
    pub(crate) expect_key: Option<(Span, Span)>,
    /// The code that the run is to end with.
    pub(crate) fails: Option<&'static str>,
    pub(crate) span: Span,
}

/// Named rows of a test case as written.
pub(crate) struct RowsSpec {
    pub(crate) name: Scalar,
    /// Where the list stands.
    pub(crate) span: Span,
    pub(crate) rows: Vec<RowSpec>,
}

/// A row of a test case as written.
pub(crate) struct RowSpec {
    pub(crate) span: Span,
    pub(crate) cells: Vec<Entry>,
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
        let schedules = blocks(&fields, "schedules", "a schedule's name", problems);
        let schedules =
            schedules.into_iter().filter_map(|(entry, block)| schedule::read(entry, block, problems)).collect();
        let cases = CaseSpec::read_all(&fields, problems);
        Some(Self {
            name: name.map(|name| name.text).unwrap_or_default(),
            description,
            owner,
            tags,
            sources,
            steps,
            sinks,
            schedules,
            cases,
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
