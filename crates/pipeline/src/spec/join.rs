//! Joins as written.

use engine::Code;

use super::window::read_window;
use super::{JoinSpec, JoinTimeSpec, WindowSpec};
use crate::fields;
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed, check_name, is_name, not_a_list, text};
use crate::yaml::{Entry, Kind, Scalar};

impl JoinSpec {
    /// Reads a step's `join`, and the names of its sides.
    pub(super) fn read(step: &Fields<'_>, problems: &mut Problems) -> (Option<Self>, Vec<Scalar>) {
        let Some(entry) = step.entry("join") else { return (None, Vec::new()) };
        let Some(fields) = Fields::open(&entry.value, entry.key.span, &fields::JOIN, problems) else {
            return (None, Vec::new());
        };
        let sides = ["left", "right"].map(|side| fields.some_text(side, problems));
        let sides = if sides.iter().all(Option::is_some) { sides.into_iter().flatten().collect() } else { Vec::new() };
        let kind = fields.choice("type", problems).unwrap_or(Placed::new("inner", entry.key.span));
        let on = read_on(&fields, problems);
        let time = read_time(&fields, entry.key.span, problems);
        match time.zip(on) {
            Some((time, on)) => (Some(Self { span: entry.key.span, on, kind, time }), sides),
            None => (None, Vec::new()),
        }
    }
}

/// Reads pairs of column names, left and right.
fn read_on(fields: &Fields<'_>, problems: &mut Problems) -> Option<Vec<(Scalar, Scalar)>> {
    let Some(entry) = fields.entry("on") else { return Some(Vec::new()) };
    let mut pairs: Vec<(Scalar, Scalar)> = Vec::new();
    let mut is_right = true;
    let mut add = |left: Scalar, right: Option<Scalar>, problems: &mut Problems| match right {
        Some(right) if refuse_no_name(&left, &right, problems) => is_right = false,
        Some(right)
            if check_name(&left, "a column name", problems) && check_name(&right, "a column name", problems) =>
        {
            pairs.push((left, right));
        }
        _ => is_right = false,
    };
    let of_map =
        |entries: &[Entry], add: &mut dyn FnMut(Scalar, Option<Scalar>, &mut Problems), problems: &mut Problems| {
            for pair in entries {
                let right = text(&pair.value, pair.key.span, &format!("`{}`", pair.key.text), problems);
                add(pair.key.clone(), right, problems);
            }
        };
    match &entry.value.kind {
        Kind::Mapping(entries) => of_map(entries, &mut add, problems),
        Kind::Sequence(items) => {
            for item in items {
                match &item.kind {
                    Kind::Mapping(entries) => of_map(entries, &mut add, problems),
                    _ => match text(item, entry.key.span, "an item of `on`", problems) {
                        Some(name) => add(name.clone(), Some(name), problems),
                        None => return None,
                    },
                }
            }
        }
        Kind::Scalar(_) => {
            not_a_list("on", entry, problems);
            return None;
        }
    }
    for (i, (left, _)) in pairs.iter().enumerate() {
        if pairs[..i].iter().any(|(other, _)| other.text == left.text) {
            let message = format!("the column `{}` is there twice", left.shown());
            problems.error(Code::Name, left.span, message, "the second time").help =
                Some("a left column has one partner; a second condition goes into `where`".into());
            is_right = false;
        }
    }
    is_right.then_some(pairs)
}

/// Reports sides and expressions in a pair of names.
fn refuse_no_name(left: &Scalar, right: &Scalar, problems: &mut Problems) -> bool {
    for name in [left, right] {
        let own = name.text.strip_prefix("left.").or(name.text.strip_prefix("right."));
        let help = match own {
            Some(own) if is_name(own) => {
                "the left name stands first, without its side: `on: [user_id]`, `on: [{user_id: id}]`".to_owned()
            }
            _ if name.text.contains(['(', ' ', '+', '=', '|']) => {
                "make a column of it in a step before: `derive: {NAME: \"…\"}`".to_owned()
            }
            _ => continue,
        };
        let message = format!("`{}` is not a column name", name.shown());
        problems.error(Code::Name, name.span, message, "not a name").help = Some(help);
        return true;
    }
    false
}

/// Reads how near rows must be in event time: exactly one of the three ways.
fn read_time(fields: &Fields<'_>, place: Span, problems: &mut Problems) -> Option<Placed<JoinTimeSpec>> {
    let given: Vec<&Entry> = ["window", "within", "as_of"].iter().filter_map(|way| fields.entry(way)).collect();
    let (way, second) = match given.as_slice() {
        [] => {
            problems
                .error(
                    Code::Unbounded,
                    place,
                    "a join needs a bound in event time: `window`, `within` or `as_of`",
                    "would keep every row for ever",
                )
                .help = Some(
                "such as `window: {tumbling: {size: 1h}}`, `within: {before: 10m, after: 10m}`, or `as_of: {}` for the right row that was valid at the time of the left one".into(),
            );
            return None;
        }
        [way, rest @ ..] => (*way, rest.first()),
    };
    if let Some(second) = second {
        let (first, span) = (&way.key.text, second.key.span);
        problems
            .error(
                Code::Field,
                span,
                format!("a join has one bound in event time; this one has `{first}` and `{}`", second.key.text),
                "the second bound",
            )
            .help = Some("make two steps of it, one reading the other".into());
        return None;
    }
    let span = way.key.span;
    let time = match way.key.text.as_str() {
        "window" => {
            JoinTimeSpec::Window(read_window(fields, problems).map_or(WindowSpec::Wrong, |window| window.value))
        }
        "within" => {
            let within = Fields::open(&way.value, span, &fields::WITHIN, problems)?;
            let [before, after] = ["before", "after"].map(|name| within.duration(name, problems));
            JoinTimeSpec::Within { before: before?.value, after: after?.value }
        }
        _ => {
            let as_of = Fields::open_optional(&way.value, span, &fields::AS_OF, problems)?;
            let before = problems.errors.len();
            let max_age = as_of.duration("max_age", problems).map(|age| age.value);
            if problems.errors.len() > before {
                return None;
            }
            JoinTimeSpec::AsOf { max_age }
        }
    };
    Some(Placed::new(time, span))
}
