//! Joins: which columns their rows have, and which bound in event time they may have.

use engine::plan::{
    Input, JoinColumn, JoinKey, JoinKind, JoinPlan, JoinSide, JoinTime, JoinValue, SIDES, StepPlan, Work,
};
use engine::window::Windowing;
use engine::{Code, DataType, Field};

use super::Checker;
use super::expression::unknown_column;
use super::graph::Target;
use super::relation::{Column, Relation, Rows};
use super::step::{check_row_work, check_rules};
use crate::problems::Problems;
use crate::spec::{JoinSpec, JoinTimeSpec, StepSpec, WindowSpec};
use crate::suggest::list;
use crate::yaml::Scalar;

impl Checker<'_> {
    /// Returns the plan of a join, what its row work sees, and what its readers see.
    pub(super) fn check_join(
        &mut self,
        spec: &StepSpec,
        join: &JoinSpec,
        targets: &[Target],
    ) -> Option<(StepPlan, Relation, Relation)> {
        let &[left, right] = targets else { return None };
        let (left, right) = (self.resolve(left), self.resolve(right));
        let ((left_input, left), (right_input, right)) = (left?, right?);
        let sides = [left, right];
        let kind = kind_of(join.kind.value);
        let time = check_time(join, kind, &sides, self.problems);
        let on = check_on(&join.on, &sides, self.problems);
        let (time, on) = (time?, on?);
        if on.is_empty() && !matches!(time, JoinTime::Window(_)) {
            self.problems.error(Code::Field, join.span, "a join without a window needs `on`", "`on` is missing").help =
                Some("say which columns must be equal; only a window join may pair every row with every other".into());
            return None;
        }
        let (columns, clashing) = columns(kind, time, &on, &sides);
        if let (false, None, true) = (clashing.is_empty(), &spec.select, spec.is_whole) {
            let names = list(clashing.iter().map(String::as_str));
            let message = format!("both sides of the join have a column of the name {names}");
            self.problems.error(Code::Name, join.span, message, "which one is meant?").help =
                Some(format!("say it with `select`: `left.{0}`, `right.{0}`, or `{{NAME: left.{0}}}`", clashing[0]));
            return None;
        }
        let mut relation = relation(kind, time, &on, &sides, &columns);
        let input = relation.clone();
        if let Some((list, _)) = &spec.explode {
            let message = "a join step explodes nothing";
            self.problems.error(Code::Field, list.span, message, "no list of this step's inputs").help =
                Some("explode in a step that the join reads, or in one that reads it".into());
            return None;
        }
        let rows = check_row_work(spec, &mut relation, self.problems)?;
        if spec.select.is_none() {
            relation.columns.retain(|column| !column.implied);
        }
        let rules = check_rules(&spec.rules, &relation, self.problems)?;
        let inputs = [left_input, right_input];
        let plan = StepPlan {
            name: spec.name.text.clone(),
            inputs: inputs.to_vec(),
            sources: relation.sources.clone(),
            over_windows: true,
            tag: None,
            rows,
            rules,
            row_schema: relation.schema(),
            schema: relation.schema(),
            work: Work::Join(Box::new(JoinPlan {
                sides: [side(inputs[0], &sides[0]), side(inputs[1], &sides[1])],
                kind,
                on,
                time,
                columns,
            })),
        };
        Some((plan, input, relation))
    }
}

fn kind_of(word: &str) -> JoinKind {
    let kinds = [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full];
    kinds.into_iter().find(|kind| kind.name() == word).expect("the word is one of the table's")
}

fn side(input: Input, relation: &Relation) -> JoinSide {
    JoinSide {
        input,
        sources: relation.sources.clone(),
        are_records: relation.rows == Rows::Records,
        schema: relation.own(),
        read: Vec::new(),
    }
}

fn check_time(join: &JoinSpec, kind: JoinKind, sides: &[Relation; 2], problems: &mut Problems) -> Option<JoinTime> {
    let mut refuse = |message: &str, help: &str| {
        problems.error(Code::Field, join.time.span, message, "not over these inputs").help = Some(help.into());
        None
    };
    match join.time.value {
        JoinTimeSpec::Window(WindowSpec::Wrong) => None,
        JoinTimeSpec::Window(WindowSpec::Built(windowing)) => match windowing {
            Windowing::Session { .. } => refuse(
                "a join cannot be over `session` windows",
                "sessions of the two sides have different bounds: use a fixed window, or `within`",
            ),
            Windowing::Same if sides.iter().any(|side| side.rows != Rows::Windows) => refuse(
                "`window: same` needs window rows on both sides",
                "give the join a window of its own, such as `tumbling`; sessions have bounds of their own each",
            ),
            windowing => Some(JoinTime::Window(windowing)),
        },
        JoinTimeSpec::Within { before, after } => Some(JoinTime::Within { before, after }),
        JoinTimeSpec::AsOf { .. } if kind.keeps(1) => {
            problems
                .error(
                    Code::Field,
                    join.kind.span,
                    format!("`as_of` has no `type: {}`", kind.name()),
                    "`inner` or `left`",
                )
                .help = Some(
                "it gives each left row the right row that was valid then; swap the sides, or use `within`".into(),
            );
            None
        }
        JoinTimeSpec::AsOf { max_age } => Some(JoinTime::AsOf { max_age }),
    }
}

/// Checks the pairs of columns that must be equal.
fn check_on(pairs: &[(Scalar, Scalar)], sides: &[Relation; 2], problems: &mut Problems) -> Option<Vec<JoinKey>> {
    let mut keys = Some(Vec::new());
    for (left, right) in pairs {
        let mut is_reported = false;
        let fields = [(left, &sides[0]), (right, &sides[1])].map(|(name, side)| {
            let own = side.own();
            let found = own.field(&name.text).cloned();
            // A name that stands for both sides is wrong once.
            if found.is_none() && !(is_reported && left.span == right.span) {
                is_reported = true;
                let names: Vec<&str> = own.fields.iter().map(|field| field.name.as_str()).collect();
                unknown_column(name, &names, problems);
            }
            found
        });
        let [Some(mine), Some(theirs)] = &fields else {
            keys = None;
            continue;
        };
        let data_type = match (mine.data_type, theirs.data_type) {
            (a, b) if a == b => a,
            (a, b) if a.is_integer() && b.is_integer() => DataType::Int64,
            (a, b) => {
                let message = format!("`{}` is {a} on the left, `{}` is {b} on the right", left.text, right.text);
                problems.error(Code::Type, right.span, message, "not comparable").help =
                    Some("cast one of them in a step before: `derive: {NAME: \"cast(… as …)\"}`".into());
                keys = None;
                continue;
            }
        };
        if let Some(keys) = &mut keys {
            keys.push(JoinKey { names: [left.text.clone(), right.text.clone()], data_type });
        }
    }
    keys
}

/// Returns every column that joined rows may have – those that come without being named first, then the qualified ones –
/// and the names that both sides have, which only come when `select` names them.
fn columns(kind: JoinKind, time: JoinTime, on: &[JoinKey], sides: &[Relation; 2]) -> (Vec<JoinColumn>, Vec<String>) {
    let is_windowed = matches!(time, JoinTime::Window(_));
    let mut columns = Vec::new();
    let mut put = |name: &str, data_type: DataType, nullable: bool, value: JoinValue| {
        columns.push(JoinColumn { field: Field { name: name.into(), data_type, nullable }, value });
    };
    if is_windowed {
        put("window_start", DataType::Timestamp, false, JoinValue::WindowStart);
        put("window_end", DataType::Timestamp, false, JoinValue::WindowEnd);
    }
    // Rows that keep one side have nulls in the other one's columns.
    let nullable = |side: usize, name: &str| {
        let own = sides[side].column(name).is_none_or(|column| column.field.nullable);
        own || kind.keeps(1 - side)
    };
    for (number, key) in on.iter().enumerate() {
        let own = |side: usize| sides[side].column(&key.names[side]).is_none_or(|column| column.field.nullable);
        let may_be_null = (0..2).any(|side| kind.keeps(side) && own(side));
        put(&key.names[0], key.data_type, may_be_null, JoinValue::Key(number));
    }
    // The bounds of sides in windows are hidden by those of the join.
    let is_bound = |name: &str| is_windowed && matches!(name, "window_start" | "window_end");
    let rest = |side: usize| {
        let fields = sides[side].own().fields;
        fields
            .into_iter()
            .filter(move |field| !is_bound(&field.name) && !on.iter().any(|key| key.names[side] == field.name))
    };
    let is_key = |name: &str| on.iter().any(|key| key.names[0] == name);
    let mut clashing = Vec::new();
    for side in 0..2 {
        for field in rest(side) {
            let is_clashing = is_key(&field.name) || rest(1 - side).any(|other| other.name == field.name);
            if !is_clashing {
                let value = JoinValue::Side(side, field.name.clone());
                put(&field.name, field.data_type, nullable(side, &field.name), value);
            } else if !clashing.contains(&field.name) {
                clashing.push(field.name);
            }
        }
    }
    for (number, side) in sides.iter().enumerate() {
        for Column { field, implied } in &side.columns {
            if !(*implied && field.name == "_timestamp" && side.lacks_timestamp) {
                let name = format!("{}.{}", SIDES[number], field.name);
                let value = JoinValue::Side(number, field.name.clone());
                put(&name, field.data_type, nullable(number, &field.name), value);
            }
        }
    }
    (columns, clashing)
}

/// Returns what row work sees: all columns, the qualified ones only where they are named.
fn relation(kind: JoinKind, time: JoinTime, on: &[JoinKey], sides: &[Relation; 2], columns: &[JoinColumn]) -> Relation {
    let mut sources = sides.iter().flat_map(|side| side.sources.clone()).collect::<Vec<_>>();
    sources.sort_unstable();
    sources.dedup();
    let named = |side: usize, name: &str| -> String {
        // A row without a left side has the key of the right one, so two rows may have equal nulls there.
        if let (true, Some(key)) = (kind != JoinKind::Full, on.iter().find(|key| key.names[side] == name)) {
            return key.names[0].clone();
        }
        let plain = columns.iter().find(|column| column.value == JoinValue::Side(side, name.to_owned()));
        plain.map_or_else(|| format!("{}.{name}", SIDES[side]), |column| column.field.name.clone())
    };
    let mut identity: Vec<Option<String>> = Vec::new();
    let bounds = ["window_start", "window_end"].map(|name| Some(name.to_owned()));
    if let JoinTime::Window(windowing) = time {
        identity.extend(bounds.clone());
        for (side, of) in sides.iter().enumerate() {
            // Under `same` the sides' bounds are those of the join.
            let is_bound = |name: &Option<String>| windowing == Windowing::Same && bounds.contains(name);
            let own = of.identity.iter().filter(|name| !is_bound(name));
            identity.extend(own.map(|name| name.as_deref().map(|name| named(side, name))));
        }
    } else {
        let count = if matches!(time, JoinTime::AsOf { .. }) { 1 } else { 2 };
        for (side, of) in sides.iter().enumerate().take(count) {
            identity.extend(of.identity.iter().map(|name| name.as_deref().map(|name| named(side, name))));
        }
    }
    let rows = if matches!(time, JoinTime::Window(_)) { Rows::Windows } else { Rows::Pairs };
    let columns = columns.iter().map(|column| {
        let field = column.field.clone();
        Column { implied: field.name.contains('.'), field }
    });
    Relation { columns: columns.collect(), sources, rows, identity, is_indexed: false, lacks_timestamp: false }
}
