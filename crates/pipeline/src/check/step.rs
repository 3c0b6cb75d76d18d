//! Steps: what they read, row work, then at most one window.

use engine::expr::{Expr, Literal};
use engine::plan::{DedupPlan, INDEX, Input, RowWork, Rule, StepPlan, Top, WindowPlan, Work};
use engine::window::Windowing;
use engine::{Code, DataType, Field, Schema};

use super::Checker;
use super::explode::check_explode;
use super::expression::{condition, item, output, unknown_column};
use super::graph::Target;
use super::lookup::check_lookup;
use super::relation::{Column, Relation, Rows};
use crate::problems::Problems;
use crate::read::Placed;
use crate::spec::{ColumnItem, DedupSpec, RuleSpec, StepSpec, TopSpec, WindowSpec};
use crate::yaml::Scalar;

impl Checker<'_> {
    /// Checks every step, each after those it reads.
    pub(super) fn check_steps(&mut self) {
        for (i, step) in self.graph.steps.clone().into_iter().enumerate() {
            let before = self.problems.errors.len();
            let inputs = self.graph.inputs[i].clone();
            let checked = inputs.and_then(|inputs| self.check_step(&self.spec.steps[step], &inputs));
            self.problems.hint(before, |name| (name == INDEX).then(|| NO_COLUMN.to_owned()));
            let is_right = self.problems.errors.len() == before && self.spec.steps[step].is_whole;
            let checked = checked.filter(|_| is_right).map(|(plan, input, relation)| {
                self.steps.push(plan);
                self.step_inputs.push(input);
                (self.steps.len() - 1, relation)
            });
            self.step_relations.push(checked);
        }
    }

    /// Returns the input and what it gives, unless that is wrong and reported.
    pub(super) fn resolve(&self, target: Target) -> Option<(Input, Relation)> {
        match target {
            Target::Source(source) => Some((Input::Source(source), self.source_relations[source].clone()?)),
            Target::Step(step) => {
                let (index, relation) = self.step_relations[step].clone()?;
                Some((Input::Step(index), relation))
            }
        }
    }

    /// Returns the plan of a step, what it sees before its row work, and what its readers see.
    fn check_step(&mut self, spec: &StepSpec, targets: &[Target]) -> Option<(StepPlan, Relation, Relation)> {
        if let Some(join) = &spec.join {
            return self.check_join(spec, join, targets);
        }
        let mut inputs: Vec<(Input, Relation)> =
            targets.iter().map(|target| self.resolve(*target)).collect::<Option<_>>()?;
        let mut relation = check_union(&spec.from, &inputs, self.problems)?;
        // The order of a union means nothing, so the plan has one of its own.
        inputs.sort_by_key(|(input, _)| self.name_of(*input));
        if let Some(tag) = &spec.tag {
            add_tag(tag, &mut relation, self.problems)?;
        }
        let explode = match &spec.explode {
            Some((list, element)) => Some(check_explode(list, element, &mut relation, self.problems)?),
            None => None,
        };
        let input = relation.clone();
        let over_windows = relation.is_windows();
        let before = self.problems.errors.len();
        let rows = check_row_work(spec, &mut relation, self.problems);
        self.problems.hint(before, |name| {
            let is_output = spec.aggregate.iter().any(|output| output.name.text == name);
            let is_bound = spec.window.is_some() && ["window_start", "window_end"].contains(&name);
            (is_output || is_bound).then(|| {
                format!("`{name}` is there after the window, and row work comes before it: choose rows with `having`, columns in the sink or in a step after this one")
            })
        });
        let rows = rows?;
        let rows = RowWork { explode, is_indexed: relation.is_indexed, ..rows };
        let row_schema = relation.schema();
        let rules = check_rules(&spec.rules, &relation, self.problems);
        let (work, relation) = match (&spec.lookup, &spec.dedup, &spec.window) {
            (None, None, None) => (Work::Rows, relation),
            (Some(lookup), ..) => {
                let plan = check_lookup(lookup, &mut relation, self.problems)?;
                (Work::Lookup(Box::new(plan)), relation)
            }
            (None, Some(dedup), _) => (Work::Dedup(check_dedup(dedup, &relation, self.problems)?), relation),
            (None, None, Some(window)) => {
                let (plan, relation) = check_window(spec, window, &relation, self.problems)?;
                (Work::Window(Box::new(plan)), relation)
            }
        };
        let plan = StepPlan {
            name: spec.name.text.clone(),
            inputs: inputs.into_iter().map(|(input, _)| input).collect(),
            sources: relation.sources.clone(),
            over_windows,
            tag: spec.tag.as_ref().map(|tag| tag.text.clone()),
            rows,
            rules: rules?,
            work,
            row_schema,
            schema: relation.schema(),
        };
        Some((plan, input, relation))
    }

    fn name_of(&self, input: Input) -> String {
        match input {
            Input::Source(source) | Input::SourceBad(source) => self.sources[source].name.clone(),
            Input::Step(step) | Input::StepLate(step) | Input::StepBad(step) => self.steps[step].name.clone(),
        }
    }
}

/// What to do without a column that says which element of its record's list a row is.
const NO_COLUMN: &str = "`_index` tells exploded rows apart in sinks and cannot be named: number the elements in a step \
    before, `derive: {places: \"range(1, list_length(tags) + 1)\"}`, and explode the numbers, `explode: {places: place}` with \
    `derive: {tag: \"tags[place]\"}`";

/// Returns what a reader of all these inputs sees. They must have the same columns, and all be records or all window rows.
fn check_union(names: &[Scalar], inputs: &[(Input, Relation)], problems: &mut Problems) -> Option<Relation> {
    let mut union = inputs.first()?.1.clone();
    for (name, (_, other)) in names.iter().zip(inputs).skip(1) {
        let mut differ = |message: String, help: String| {
            problems.error(Code::Type, name.span, message, "does not fit the first input").help = Some(help);
        };
        let what = |relation: &Relation| match relation.rows {
            Rows::Records => "records",
            Rows::Windows | Rows::Sessions => "window rows",
            Rows::Pairs => "rows of a join without a window",
        };
        if what(&union) != what(other) {
            differ(
                format!("`{}` gives {}, `{}` gives {}", names[0].text, what(&union), name.text, what(other)),
                "a union is of records or of window rows: put the others into windows first".into(),
            );
            return None;
        }
        // The log's own columns are there as far as every input has them.
        union.columns.retain(|column| !column.implied || other.column(&column.field.name).is_some());
        for column in &other.columns {
            let field = &column.field;
            let message = match union.columns.iter_mut().find(|mine| mine.field.name == field.name) {
                Some(mine) if mine.field.data_type == field.data_type => {
                    mine.field.nullable |= field.nullable;
                    continue;
                }
                Some(mine) => format!(
                    "the column `{}` is {} in `{}` and {} in `{}`",
                    field.name, mine.field.data_type, names[0].text, field.data_type, name.text
                ),
                None if column.implied => continue,
                None => format!("`{}` has no column `{}`, `{}` has", names[0].text, field.name, name.text),
            };
            differ(message, "a union reads inputs with the same columns: give each a step with `select` first".into());
            return None;
        }
        if let Some(column) = union.columns.iter().find(|column| other.column(&column.field.name).is_none()) {
            differ(
                format!("`{}` has no column `{}`, `{}` has", name.text, column.field.name, names[0].text),
                "a union reads inputs with the same columns: give each a step with `select` first".into(),
            );
            return None;
        }
        union.sources.extend(&other.sources);
        union.lacks_timestamp |= other.lacks_timestamp;
        union.is_indexed |= other.is_indexed;
        if other.rows == Rows::Sessions {
            union.rows = Rows::Sessions;
        }
        if union.identity != other.identity {
            union.identity.push(None);
        }
    }
    if inputs.len() > 1 {
        // Two inputs may have a row of the same name each.
        union.identity.push(None);
    }
    union.sources.sort_unstable();
    union.sources.dedup();
    Some(union)
}

/// Adds the column with the input's name.
fn add_tag(tag: &Scalar, relation: &mut Relation, problems: &mut Problems) -> Option<()> {
    if relation.column(&tag.text).is_some() {
        problems
            .error(Code::Name, tag.span, format!("the input has a column `{}` already", tag.text), "this name is taken")
            .help = Some("give the tag another name".into());
        return None;
    }
    let name = Expr::literal(Literal::Null);
    if !check_output_name(tag, Some(&name), &[], relation.is_windows(), problems) {
        return None;
    }
    relation.put(&tag.text, DataType::String, false);
    // It tells the rows of the inputs apart.
    if let Some(part @ None) = relation.identity.last_mut() {
        *part = Some(tag.text.clone());
    }
    Some(())
}

pub(super) fn check_row_work(spec: &StepSpec, relation: &mut Relation, problems: &mut Problems) -> Option<RowWork> {
    let filter = spec.filter.as_ref().map(|filter| condition(filter, relation, problems));
    let derive = check_items(&spec.derive, relation, problems);
    for (name, expr) in derive.iter().flatten() {
        let nullable = !matches!(expr.as_column().and_then(|column| relation.column(column)), Some(column) if !column.field.nullable);
        if expr.as_column() != Some(name) {
            relation.put(name, expr.data_type(), nullable);
        }
    }
    let derive = derive?;
    for name in &spec.drop {
        drop_column(name, relation, problems);
    }
    let drop = spec.drop.iter().map(|name| name.text.clone()).collect();
    let select = spec.select.as_ref().map(|select| check_select(select, relation, problems));
    let filter = filter.map_or(Some(None), |filter| filter.map(Some))?;
    let select = select.map_or(Some(None), |select| select.map(Some))?;
    Some(RowWork { filter, derive, drop, select, ..RowWork::default() })
}

/// Reads the items of a column list, all over the same columns.
fn check_items(items: &[ColumnItem], over: &Relation, problems: &mut Problems) -> Option<Vec<(String, Expr)>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut exprs = Some(Vec::new());
    for column in items {
        let expr = item(column, over, problems);
        let is_named = check_output_name(&column.name, expr.as_ref(), &seen, over.is_windows(), problems);
        seen.push(&column.name.text);
        match (expr, is_named) {
            (Some(expr), true) => {
                if let Some(exprs) = &mut exprs {
                    exprs.push((column.name.text.clone(), expr));
                }
            }
            _ => exprs = None,
        }
    }
    exprs
}

/// Reports a name that an output cannot have.
pub(super) fn check_output_name(
    name: &Scalar,
    expr: Option<&Expr>,
    seen: &[&str],
    over_windows: bool,
    problems: &mut Problems,
) -> bool {
    let text = name.text.as_str();
    let is_itself = expr.is_some_and(|expr| expr.as_column() == Some(text));
    let taken = match text {
        "final" => Some("every sink adds `final`"),
        "window_start" | "window_end" if over_windows => Some("a window row keeps its bounds"),
        "_partition" | "_offset" | "_timestamp" => Some("the log itself has a column of this name"),
        INDEX => Some("exploded rows have a column of this name"),
        _ => None,
    };
    if let Some(why) = taken.filter(|_| !is_itself && expr.is_some()) {
        problems
            .error(Code::Name, name.span, format!("an output cannot be named `{text}`"), "this name is taken")
            .help = Some(format!("{why}; choose another name"));
        return false;
    }
    if seen.contains(&text) {
        problems.error(Code::Name, name.span, format!("the output `{text}` is there twice"), "the second time").help =
            Some("give one of them another name".into());
        return false;
    }
    true
}

fn drop_column(name: &Scalar, relation: &mut Relation, problems: &mut Problems) {
    match relation.columns.iter().position(|column| column.field.name == name.text) {
        Some(at) if relation.columns[at].implied => {
            problems
                .error(
                    Code::Name,
                    name.span,
                    format!("`{}` cannot be dropped", name.text),
                    "a record keeps its position",
                )
                .help = Some("it is written only where `select` names it".into());
        }
        Some(at) => {
            relation.columns.remove(at);
            relation.lose(&name.text);
        }
        None => unknown_column(name, &relation.names(), problems),
    }
}

/// Reads `select` and turns the relation into its columns.
pub(super) fn check_select(
    select: &Placed<Vec<ColumnItem>>,
    relation: &mut Relation,
    problems: &mut Problems,
) -> Option<Vec<(String, Expr)>> {
    if select.value.is_empty() {
        problems.error(Code::Field, select.span, "`select` names no column", "nothing would be left");
        return None;
    }
    let exprs = check_items(&select.value, relation, problems)?;
    let columns = exprs.iter().map(|(name, expr)| {
        let from = expr.as_column().and_then(|column| relation.column(column));
        let nullable = from.is_none_or(|column| column.field.nullable);
        Column { field: Field { name: name.clone(), data_type: expr.data_type(), nullable }, implied: false }
    });
    let columns = columns.collect();
    let is_record = relation.rows == Rows::Records;
    for part in relation.identity.iter_mut().filter(|_| !is_record) {
        *part = exprs
            .iter()
            .find(|(_, expr)| part.is_some() && expr.as_column() == part.as_deref())
            .map(|(name, _)| name.clone());
    }
    relation.columns = columns;
    Some(exprs)
}

pub(super) fn check_rules(specs: &[RuleSpec], over: &Relation, problems: &mut Problems) -> Option<Vec<Rule>> {
    let rule = |spec: &RuleSpec| {
        let expr = condition(&spec.rule, over, problems)?;
        Some(Rule { name: spec.name.text.clone(), expr, otherwise: spec.otherwise })
    };
    let rules: Vec<Option<Rule>> = specs.iter().map(rule).collect();
    rules.into_iter().collect()
}

fn check_dedup(spec: &DedupSpec, over: &Relation, problems: &mut Problems) -> Option<DedupPlan> {
    if over.is_windows() {
        problems.error(Code::Field, spec.span, "`dedup` reads records, not window rows", "not over this input").help =
            Some("take repetitions away before the window; a window has one row for each key".into());
        return None;
    }
    Some(DedupPlan { keys: check_items(&spec.key, over, problems)?, within: spec.within })
}

fn check_window(
    spec: &StepSpec,
    window: &Placed<WindowSpec>,
    over: &Relation,
    problems: &mut Problems,
) -> Option<(WindowPlan, Relation)> {
    let windowing = match window.value {
        WindowSpec::Built(windowing) => windowing,
        // It is reported already; any other stands in for it, so that the rest is checked.
        WindowSpec::Wrong => Windowing::Fixed { size: 1, every: 1, offset: 0 },
    };
    check_windowing(windowing, window, over, problems);
    if let Some(lateness) = spec.allowed_lateness.as_ref().filter(|_| over.is_windows()) {
        problems
            .error(
                Code::Field,
                lateness.span,
                "`allowed_lateness` has no place over window rows",
                "nothing is late here",
            )
            .help =
            Some("a step over a window step reads final rows only; put it on the step that reads records".into());
    }
    let unique_by = check_unique_by(spec, windowing, over, problems);
    let keys = check_keys(&spec.group_by, over, problems);
    let key_fields: Vec<Field> = keys.iter().flatten().map(|(name, expr)| key_field(name, expr, over)).collect();
    let closed = closed_schema(&key_fields);
    let (mut calls, mut outputs) = (Vec::new(), Some(Vec::new()));
    for column in &spec.aggregate {
        let mut seen: Vec<&str> = spec.group_by.iter().map(|key| key.name.text.as_str()).collect();
        seen.extend(
            spec.aggregate.iter().map(|other| other.name.text.as_str()).take_while(|other| *other != column.name.text),
        );
        let is_named = check_window_output(&column.name, false, &seen, problems);
        // Without all keys, an output that names one would be reported wrongly.
        let expr = match &keys {
            Some(_) => output(column, over, &closed, &mut calls, problems),
            None => None,
        };
        match (expr, is_named, &mut outputs) {
            (Some(expr), true, Some(outputs)) => outputs.push((column.name.text.clone(), expr)),
            _ => outputs = None,
        }
    }
    let (keys, outputs, unique_by) = (keys?, outputs?, unique_by?);
    let mut relation = window_relation(windowing, over, closed, &outputs);
    let before = problems.errors.len();
    let having = spec.having.as_ref().map(|having| condition(having, &relation, problems));
    problems.hint(before, |name| {
        let is_before = over.column(name).is_some();
        is_before.then(|| format!("`having` sees the step's outputs: choose rows by `{name}` with `where`, or make an output of it under `aggregate`"))
    });
    let having = match having {
        Some(having) => Some(having?),
        None => None,
    };
    let top = match &spec.top {
        Some(top) => Some(check_top(top, windowing, &relation, problems)?),
        None => None,
    };
    if let Some(rank) = spec.top.as_ref().and_then(|top| top.rank.as_ref()) {
        let seen = relation.names();
        if !check_window_output(rank, false, &seen, problems) {
            return None;
        }
        relation.put(&rank.text, DataType::Int64, false);
    }
    let allowed_lateness = spec.allowed_lateness.as_ref().map_or(0, |lateness| lateness.value);
    Some((WindowPlan { windowing, allowed_lateness, keys, unique_by, calls, outputs, having, top }, relation))
}

fn check_unique_by(
    spec: &StepSpec,
    windowing: Windowing,
    over: &Relation,
    problems: &mut Problems,
) -> Option<Vec<(String, Expr)>> {
    let Some(unique_by) = &spec.unique_by else { return Some(Vec::new()) };
    if unique_by.value.is_empty() {
        problems.error(Code::Field, unique_by.span, "`unique_by` names no column", "all rows would be one");
        return None;
    }
    if matches!(windowing, Windowing::Session { .. }) {
        problems
            .error(Code::Field, unique_by.span, "`unique_by` does not work on sessions", "not over sessions")
            .help = Some("take repetitions away with `dedup` before, or count ids with `count_distinct`".into());
        return None;
    }
    check_items(&unique_by.value, over, problems)
}

fn check_windowing(windowing: Windowing, window: &Placed<WindowSpec>, over: &Relation, problems: &mut Problems) {
    if windowing != Windowing::Same {
        return;
    }
    let (message, help) = match over.rows {
        Rows::Windows => return,
        Rows::Records => (
            "`window: same` needs window rows",
            "this step reads records: give it `tumbling`, `hopping`, `cumulative`, `calendar` or `session`",
        ),
        Rows::Pairs => (
            "`window: same` needs window rows",
            "rows of a join without a window are in none: use `tumbling`, `hopping`, `cumulative`, `calendar` or `session`",
        ),
        Rows::Sessions => (
            "`window: same` does not work over sessions",
            "sessions of different keys have different bounds: use `tumbling`, `hopping`, `cumulative` or `calendar` here",
        ),
    };
    problems.error(Code::Field, window.span, message, "not over this input").help = Some(help.into());
}

fn check_keys(items: &[ColumnItem], over: &Relation, problems: &mut Problems) -> Option<Vec<(String, Expr)>> {
    let mut keys = Some(Vec::new());
    let mut seen: Vec<&str> = Vec::new();
    for column in items {
        let expr = item(column, over, problems);
        let is_itself = expr.as_ref().is_some_and(|expr| expr.as_column() == Some(&column.name.text));
        let is_named = check_window_output(&column.name, is_itself, &seen, problems);
        seen.push(&column.name.text);
        match (expr, is_named, &mut keys) {
            (Some(expr), true, Some(keys)) => keys.push((column.name.text.clone(), expr)),
            _ => keys = None,
        }
    }
    keys
}

/// Reports a name that a window's output cannot have.
fn check_window_output(name: &Scalar, is_itself: bool, seen: &[&str], problems: &mut Problems) -> bool {
    let text = name.text.as_str();
    let help = match text {
        "window_start" | "window_end" => Some(format!(
            "every window row has `{text}`; give this one another name, such as `{{inner_{}: {text}}}`",
            &text[7..]
        )),
        "final" => Some("every sink adds `final`; choose another name".into()),
        "_partition" | "_offset" | "_timestamp" if !is_itself => {
            Some("the log itself has a column of this name; choose another".into())
        }
        _ => None,
    };
    if let Some(help) = help {
        problems
            .error(Code::Name, name.span, format!("an output cannot be named `{text}`"), "this name is taken")
            .help = Some(help);
        return false;
    }
    if seen.contains(&text) {
        problems.error(Code::Name, name.span, format!("the output `{text}` is there twice"), "the second time").help =
            Some("give one of them another name".into());
        return false;
    }
    true
}

fn key_field(name: &str, expr: &Expr, over: &Relation) -> Field {
    let from = expr.as_column().and_then(|column| over.column(column));
    Field { name: name.into(), data_type: expr.data_type(), nullable: from.is_none_or(|column| column.field.nullable) }
}

/// Returns what outputs see besides aggregates: bounds and keys.
fn closed_schema(keys: &[Field]) -> Schema {
    let bound = |name: &str| Field { name: name.into(), data_type: DataType::Timestamp, nullable: false };
    let mut fields = vec![bound("window_start"), bound("window_end")];
    fields.extend(keys.iter().cloned());
    Schema::new(fields)
}

/// Returns what the readers of a window step see: bounds, keys, outputs.
fn window_relation(windowing: Windowing, over: &Relation, closed: Schema, outputs: &[(String, Expr)]) -> Relation {
    let mut fields = closed.fields;
    let identity = fields.iter().map(|field| Some(field.name.clone())).collect();
    fields.extend(outputs.iter().map(|(name, expr)| Field::new(name, expr.data_type())));
    let rows = match windowing {
        Windowing::Session { .. } => Rows::Sessions,
        Windowing::Fixed { .. } | Windowing::Cumulative { .. } | Windowing::Calendar { .. } | Windowing::Same => {
            Rows::Windows
        }
    };
    let columns = fields.into_iter().map(|field| Column { field, implied: false }).collect();
    Relation { columns, sources: over.sources.clone(), rows, identity, is_indexed: false, lacks_timestamp: false }
}

fn check_top(spec: &TopSpec, windowing: Windowing, over: &Relation, problems: &mut Problems) -> Option<Top> {
    if matches!(windowing, Windowing::Session { .. }) {
        problems.error(Code::Field, spec.span, "`top` does not work on sessions", "not over sessions").help =
            Some("sessions of different keys have different bounds, so there is no window to rank in: rank in a second step with `tumbling` windows".into());
        return None;
    }
    let mut is_right = true;
    for list in [spec.by.iter().map(|(name, _)| name).collect::<Vec<_>>(), spec.per.iter().collect()] {
        for (i, name) in list.iter().enumerate() {
            if over.column(&name.text).is_none() {
                unknown_column(name, &over.names(), problems);
                is_right = false;
            } else if list[..i].iter().any(|other| other.text == name.text) {
                problems.error(
                    Code::Name,
                    name.span,
                    format!("the column `{}` is there twice", name.text),
                    "the second time",
                );
                is_right = false;
            }
        }
    }
    let by = spec.by.iter().map(|(name, desc)| (name.text.clone(), *desc)).collect();
    let per = spec.per.iter().map(|name| name.text.clone()).collect();
    let rank = spec.rank.as_ref().map(|rank| rank.text.clone());
    is_right.then_some(Top { n: spec.n, by, per, keep_ties: spec.keep_ties, rank })
}
