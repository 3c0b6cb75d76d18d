//! Sinks: what they read, which columns they write, and by what a row is named.

use engine::plan::{INDEX, Input, SinkPlan, SinkTarget, StepPlan, Work};
use engine::{Code, Schema};

use super::Checker;
use super::expression::{condition, unknown_column};
use super::graph::Target;
use super::relation::{Column, Relation, Rows};
use super::step::check_select;
use crate::problems::{Problems, Span};
use crate::spec::{SinkKindSpec, SinkSpec};
use crate::suggest::{did_you_mean, list};
use crate::yaml::Scalar;

/// The column that says which window a row is of.
const WINDOW_START: &str = "window_start";

impl Checker<'_> {
    /// Checks every sink, in the order of their names.
    pub(super) fn check_sinks(&mut self) {
        let mut order: Vec<&SinkSpec> = self.spec.sinks.iter().collect();
        order.sort_by(|a, b| a.name.text.cmp(&b.name.text));
        for spec in &order {
            if let Some(plan) = self.check_sink(spec) {
                self.sinks.push(plan);
            }
        }
        self.check_paths();
        self.warn_of_ranges(&order);
    }

    /// Warns of sinks in which firings of a schedule cannot replace the rows of their ranges.
    fn warn_of_ranges(&mut self, specs: &[&SinkSpec]) {
        if self.spec.schedules.is_empty() {
            return;
        }
        for spec in specs {
            let Some(plan) = self.sinks.iter().find(|plan| plan.name == spec.name.text) else { continue };
            // Late and bad rows are read and replaced as a whole; standard output keeps none.
            let is_result = matches!(plan.input, Input::Source(_) | Input::Step(_));
            if !is_result || plan.target.kind == "stdout" {
                continue;
            }
            let (name, kind) = (&plan.name, plan.target.kind.as_str());
            let (message, help) = if kind == "kafka" {
                (
                    format!(
                        "each firing of the schedules adds the rows of its range to the topic of `{name}` once more"
                    ),
                    "a topic's rows stay there: give it a pipeline of its own without `schedules`, or let its readers keep the last row of each key",
                )
            } else if !plan.schema.fields.iter().any(|field| field.name == WINDOW_START) {
                (
                    format!("no range of `{name}` can be replaced: its rows do not say in which window they are"),
                    "the first firing of the schedules writes them, the next one is refused (E_UNSUPPORTED): give the sink a pipeline of its own without `schedules`, or let it keep the column `window_start` of a step with a window",
                )
            } else {
                continue;
            };
            let label = if kind == "kafka" { "rows are only added" } else { "has no `window_start`" };
            self.problems.warning(Code::Unsupported, spec.name.span, message, label).help = Some(help.into());
        }
    }

    fn check_sink(&mut self, spec: &SinkSpec) -> Option<SinkPlan> {
        let from = spec.from.as_ref()?;
        let (input, mut relation) = self.sink_input(from)?;
        let filter = match &spec.filter {
            Some(filter) => Some(condition(filter, &relation, self.problems)?),
            None => None,
        };
        let mut select = match &spec.select {
            Some(select) => Some(check_select(select, &mut relation, self.problems)?),
            None => None,
        };
        if relation.rows == Rows::Records
            && let Some(select) = &mut select
        {
            // Position comes first in any case.
            select.retain(|(name, _)| name != "_partition" && name != "_offset");
        }
        let schema = sink_schema(&relation);
        let identity = relation.whole_identity();
        let kind = spec.kind.as_ref()?;
        self.check_identity(spec, kind, &relation)?;
        let target = self.check_target(kind, &schema)?;
        self.check_early(spec, input, &target)?;
        Some(SinkPlan {
            name: spec.name.text.clone(),
            input,
            filter,
            select,
            schema,
            identity: identity.unwrap_or_default(),
            early: spec.early.is_some(),
            target,
        })
    }

    /// Refuses `emit: early` where no row is ever open, and where open rows are not written.
    fn check_early(&mut self, spec: &SinkSpec, input: Input, target: &SinkTarget) -> Option<()> {
        let Some(span) = spec.early else { return Some(()) };
        let has_windows = |step: &StepPlan| step.over_windows || matches!(step.work, Work::Window(_));
        let (message, help) = if !input.step().is_some_and(|step| has_windows(&self.steps[step])) {
            (
                "`emit: early` is for rows of windows",
                "the rows of this sink are final as soon as they are there".to_owned(),
            )
        } else if ["kafka", "stdout"].contains(&target.kind.as_str())
            && target.settings.get("open_rows").is_none_or(|open| open != "true")
        {
            let help = format!("say `{}: {{…, open_rows: true}}`, or write `parquet`, `jsonl` or `csv`", target.kind);
            ("`emit: early` needs a sink that takes open rows", help)
        } else {
            return Some(());
        };
        self.problems.error(Code::Field, span, message, "has no place here").help = Some(help);
        None
    }

    /// Finds what a sink reads: a step, or the bad or late rows of something.
    fn sink_input(&mut self, from: &Scalar) -> Option<(Input, Relation)> {
        let (name, side) = match from.text.rsplit_once('.') {
            Some((name, side)) => (Scalar { text: name.into(), ..from.clone() }, Some(side)),
            None => (from.clone(), None),
        };
        let target = self.graph.find(&name, "a sink reads", self.problems)?;
        match (target, side) {
            (Target::Source(_), None) => {
                self.problems
                    .error(
                        Code::NotBuilt,
                        from.span,
                        format!("a sink that reads the source `{}` itself is not built yet", from.text),
                        "name a step",
                    )
                    .help = Some(format!(
                    "add a step that passes every record: `steps: {{all_{0}: {{from: {0}}}}}`",
                    from.text
                ));
                None
            }
            (Target::Step(_), None) => self.resolve(target),
            (Target::Source(source), Some("bad")) => {
                let relation = self.source_relations[source].clone()?;
                Some((Input::SourceBad(source), relation.with(self.sources[source].bad_schema())))
            }
            (Target::Step(_), Some("bad")) => self.step_bad(target),
            (Target::Step(_), Some("late")) => self.step_late(target, from),
            (_, Some(side)) => {
                let sides: &[&str] = if matches!(target, Target::Source(_)) { &["bad"] } else { &["late", "bad"] };
                let help = did_you_mean(side, &format!("`{}` has", name.text), sides.iter().copied());
                self.problems
                    .error(
                        Code::Name,
                        from.span,
                        format!("`{}` has no `{side}` rows", name.text),
                        "not a name of this file",
                    )
                    .help = Some(help);
                None
            }
        }
    }

    fn step_bad(&mut self, target: Target) -> Option<(Input, Relation)> {
        let (Input::Step(step), _) = self.resolve(target)? else { return None };
        let input = self.step_inputs[step].clone();
        let schema = self.steps[step].bad_schema(&input.own());
        Some((Input::StepBad(step), input.with(schema)))
    }

    fn step_late(&mut self, target: Target, from: &Scalar) -> Option<(Input, Relation)> {
        let (Input::Step(step), _) = self.resolve(target)? else { return None };
        let plan = &self.steps[step];
        if plan.has_late() && !plan.keeps_late(&self.sources) {
            let sources = plan.sources.iter().map(|source| self.sources[*source].name.as_str());
            let help = format!(
                "{} drop late records: `on_late: quarantine` keeps them, with `drop` they are only counted",
                list(sources)
            );
            let message = format!("`{}` would stay empty", from.text);
            self.problems.error(Code::Name, from.span, message, "nothing late is kept here").help = Some(help);
            return None;
        }
        let help = match (&plan.work, plan.over_windows) {
            (Work::Join(join), _) if plan.has_late() => {
                let relation = self.source_relations[plan.sources[0]].clone()?;
                return Some((Input::StepLate(step), relation.with(plan.late_schema(&join.late_columns()))));
            }
            (Work::Join(_), _) => {
                "it joins final rows, which are never late: read the late rows of the steps before it"
            }
            (Work::Window(_), false) => {
                let relation = self.source_relations[plan.sources[0]].clone()?;
                let own = Relation::own_of(&plan.row_schema, &relation);
                return Some((Input::StepLate(step), relation.with(plan.late_schema(&own))));
            }
            (Work::Window(_), true) => {
                "it reads final window rows, which are never late: read the late rows of the step before it"
            }
            (Work::Rows | Work::Dedup(_) | Work::Lookup(_), _) => "it has no window, so nothing is late there",
        };
        self.problems
            .error(Code::Name, from.span, format!("`{}` has no late rows", plan.name), "nothing is late there")
            .help = Some(help.into());
        None
    }

    /// Refuses an upserting sink whose rows have lost their names.
    fn check_identity(&mut self, spec: &SinkSpec, kind: &SinkKindSpec, relation: &Relation) -> Option<()> {
        if !kind.kind.upserts || relation.whole_identity().is_some() {
            return Some(());
        }
        let names = match relation.rows {
            Rows::Records => "`_partition`, `_offset`",
            Rows::Windows | Rows::Sessions => "`window_start`, `window_end` and the keys",
            Rows::Pairs => "what names the rows of both sides, such as `left._partition` and `left._offset`,",
        };
        self.problems
            .error(
                Code::Field,
                kind.span,
                format!(
                    "the sink `{}` writes rows over each other, but its rows have lost what names them",
                    spec.name.text
                ),
                "needs the row's identity",
            )
            .help = Some(format!(
            "keep {names} (after a union also its `tag`) unchanged among the columns, or write `parquet`, `jsonl` or `csv`"
        ));
        None
    }

    fn check_target(&mut self, kind: &SinkKindSpec, schema: &Schema) -> Option<SinkTarget> {
        for (_, path) in kind.settings.iter().filter(|(name, _)| name == "path") {
            refuse_remote(&path.value, path.span, "a sink writes to local folders for now", &[], self.problems)?;
        }
        let mut settings: std::collections::BTreeMap<String, String> =
            kind.settings.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
        for name in &kind.key {
            if schema.field(&name.text).is_none() {
                let columns: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
                unknown_column(name, &columns, self.problems);
                return None;
            }
        }
        if !kind.key.is_empty() {
            settings.insert("key".into(), kind.key.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(","));
        }
        Some(SinkTarget { kind: kind.kind.name.into(), settings })
    }

    /// Refuses two sinks that would write to the same place.
    fn check_paths(&mut self) {
        let mut seen: Vec<(Vec<&str>, &str)> = Vec::new();
        let mut order: Vec<&SinkSpec> = self.spec.sinks.iter().collect();
        order.sort_by_key(|sink| sink.name.span.start);
        for sink in order {
            let Some(kind) = &sink.kind else { continue };
            let setting = |wanted: &str| kind.settings.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
            let Some(last) =
                setting("path").or_else(|| setting("topic")).or_else(|| setting("table")).or_else(|| setting("key"))
            else {
                continue;
            };
            let mut place = vec![last.value.trim_end_matches('/')];
            place.extend(setting("brokers").or_else(|| setting("url")).map(|server| server.value.as_str()));
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == place) {
                self.problems
                    .error(
                        Code::Field,
                        last.span,
                        format!("the sinks `{first}` and `{}` write to the same place", sink.name.text),
                        "written by another sink too",
                    )
                    .help = Some("one would replace the rows of the other: give each its own".into());
            }
            seen.push((place, &sink.name.text));
        }
    }

    /// Warns of sources and steps that nothing reads.
    pub(super) fn warn_unread(&mut self) {
        if self.spec.sinks.is_empty() {
            return;
        }
        for step in &self.spec.steps {
            let name = step.name.text.as_str();
            let is_read =
                |from: &Scalar| from.text == name || from.text.rsplit_once('.').is_some_and(|(of, _)| of == name);
            if !self.spec.steps.iter().any(|other| other.from.iter().any(is_read))
                && !self.spec.sinks.iter().any(|sink| sink.from.as_ref().is_some_and(is_read))
            {
                self.problems
                    .warning(Code::Name, step.name.span, format!("nothing reads the step `{name}`"), "not read")
                    .help = Some(format!(
                    "read it in one of the sinks {}, or remove it",
                    list(self.spec.sinks.iter().map(|sink| sink.name.text.as_str()))
                ));
            }
        }
    }
}

/// Refuses a path that has another scheme than those allowed: object stores are not built.
pub(super) fn refuse_remote(
    path: &str,
    span: Span,
    help: &str,
    allowed: &[&str],
    problems: &mut Problems,
) -> Option<()> {
    let Some((scheme, _)) = path.split_once("://").filter(|(scheme, _)| !allowed.contains(scheme)) else {
        return Some(());
    };
    let message = format!("`{path}`: `{scheme}://` is not supported");
    problems.error(Code::Unsupported, span, message, "not a local path").help = Some(help.into());
    None
}

/// Returns the columns that are written: of records, the position first.
fn sink_schema(relation: &Relation) -> Schema {
    let own = relation.own();
    if relation.rows != Rows::Records {
        return own;
    }
    let position = engine::log::IMPLIED.iter().take(2).map(|(name, data_type)| engine::Field {
        name: (*name).into(),
        data_type: *data_type,
        nullable: false,
    });
    // Late and bad rows have the index among their columns already.
    let index = own.field(INDEX).cloned();
    let index = index.or_else(|| relation.is_indexed.then(|| engine::Field::new(INDEX, engine::DataType::Int64)));
    let rest = own.fields.into_iter().filter(|field| !["_partition", "_offset", INDEX].contains(&field.name.as_str()));
    Schema::new(position.chain(index).chain(rest).collect())
}

impl Relation {
    /// Returns the same rows with other columns.
    fn with(self, schema: Schema) -> Self {
        let columns = schema.fields.into_iter().map(|field| Column { field, implied: false }).collect();
        Self { columns, ..self }
    }

    /// Returns the columns of a schema that are not passed on from the log itself.
    fn own_of(schema: &Schema, source: &Relation) -> Schema {
        let is_implied = |name: &str| source.column(name).is_some_and(|column| column.implied);
        Schema::new(schema.fields.iter().filter(|field| !is_implied(&field.name)).cloned().collect())
    }
}
