//! Steps as written, and the lists of columns that sinks have too.

use engine::Code;
use engine::plan::{OnBroken, OnMissing};

use super::window::read_window;
use super::{ColumnItem, DedupSpec, JoinSpec, LookupSpec, RuleSpec, StepSpec, TopSpec};
use crate::fields::{self, Block};
use crate::problems::{Problems, Span};
use crate::read::{Fields, Placed, check_name, not_a_list, text};
use crate::suggest::did_you_mean;
use crate::yaml::{Entry, Kind, Node, Scalar};

impl StepSpec {
    pub(super) fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let before = problems.errors.len();
        let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
        fields.text("description", problems);
        let (join, sides) = JoinSpec::read(&fields, problems);
        let mut spec = Self {
            name: entry.key.clone(),
            is_whole: true,
            // What is wrong with a join is reported already; it then reads nothing.
            from: if fields.entry("join").is_some() { sides } else { read_inputs(&fields, problems) },
            tag: fields.some_text("tag", problems).filter(|tag| check_name(tag, "a column name", problems)),
            explode: read_explode(&fields, problems),
            filter: fields.some_text("where", problems),
            derive: read_column_list(&fields, "derive", problems).map(|list| list.value).unwrap_or_default(),
            drop: fields.names("drop", problems).unwrap_or_default(),
            select: read_column_list(&fields, "select", problems),
            rules: read_rules(&fields, problems),
            lookup: fields.entry("lookup").and_then(|entry| LookupSpec::read(entry, problems)),
            dedup: fields.entry("dedup").and_then(|entry| DedupSpec::read(entry, problems)),
            join,
            window: read_window(&fields, problems),
            group_by: read_column_list(&fields, "group_by", problems).map(|list| list.value).unwrap_or_default(),
            unique_by: read_column_list(&fields, "unique_by", problems),
            aggregate: read_expressions(&fields, "aggregate", problems),
            having: fields.some_text("having", problems),
            top: fields.entry("top").and_then(|entry| TopSpec::read(entry, problems)),
            allowed_lateness: fields.duration("allowed_lateness", problems),
        };
        check_window_fields(&fields, problems);
        check_one_work(&fields, problems);
        check_input_fields(&fields, entry.key.span, problems);
        spec.is_whole = problems.errors.len() == before;
        Some(spec)
    }
}

/// Reads `{list: element}`.
fn read_explode(fields: &Fields<'_>, problems: &mut Problems) -> Option<(Scalar, Scalar)> {
    let entry = fields.entry("explode")?;
    let Kind::Mapping(entries) = &entry.value.kind else {
        problems
            .error(
                Code::Field,
                entry.key.span,
                "`explode` is not a map",
                "which column, and what is an element called?",
            )
            .help = Some("write `explode: {tags: tag}`".into());
        return None;
    };
    let [pair] = entries.as_slice() else {
        problems
            .error(Code::Field, entry.key.span, "`explode` names one list", "not one list")
            .help = Some("explode the other list in a step of its own, which reads this one through a window, or join the lists before: `list_concat(a, b)`".into());
        return None;
    };
    let name = text(&pair.value, pair.key.span, "the name of the element", problems)?;
    check_name(&name, "a column name", problems).then(|| (pair.key.clone(), name))
}

/// Reports a second kind of stateful work.
fn check_one_work(fields: &Fields<'_>, problems: &mut Problems) {
    let kinds = ["lookup", "dedup", "join", "window"];
    let given: Vec<&Entry> = kinds.iter().filter_map(|kind| fields.entry(kind)).collect();
    let [first, second, ..] = given.as_slice() else { return };
    let (first, second) = (&first.key.text, second);
    problems
        .error(
            Code::Field,
            second.key.span,
            format!("a step has one kind of stateful work; this one has `{first}` and `{}`", second.key.text),
            "the second kind",
        )
        .help = Some("make a step of its own for each, one reading the other".into());
}

/// Reports window fields in a step without a window.
fn check_window_fields(fields: &Fields<'_>, problems: &mut Problems) {
    if fields.entry("window").is_some() {
        return;
    }
    for name in ["group_by", "aggregate", "having", "top", "allowed_lateness", "unique_by"] {
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

/// Reports a step that reads nothing, or that reads in two ways.
fn check_input_fields(fields: &Fields<'_>, place: Span, problems: &mut Problems) {
    let Some(join) = fields.entry("join") else {
        if fields.entry("from").is_none() {
            problems.error(Code::Field, place, "a step needs `from`", "`from` is missing").help =
                Some("`from`: the source or step that it reads; a step that joins two of them has `join`".into());
        }
        return;
    };
    for name in ["from", "tag"] {
        if fields.entry(name).is_some() {
            let message = format!("`{name}` has no place beside `join`");
            problems.error(Code::Field, join.key.span, message, "reads its own two inputs").help =
                Some("a join reads its `left` and its `right`: make a union in a step of its own".into());
        }
    }
}

/// Reads `from`: a name, or a list of names.
fn read_inputs(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Scalar> {
    let Some(entry) = fields.entry("from") else { return Vec::new() };
    let Kind::Sequence(items) = &entry.value.kind else {
        return fields.some_text("from", problems).into_iter().collect();
    };
    if items.is_empty() {
        problems.error(Code::Field, entry.value.span, "`from` names no input", "nothing to read");
    }
    let mut inputs: Vec<Scalar> = Vec::new();
    for item in items {
        let Some(input) = text(item, entry.key.span, "an item of `from`", problems) else { continue };
        if inputs.iter().any(|other| other.text == input.text) {
            problems
                .error(
                    Code::Name,
                    input.span,
                    format!("the input `{}` is there twice", input.shown()),
                    "the second time",
                )
                .help = Some("a union reads each of its inputs once".into());
            continue;
        }
        inputs.push(input);
    }
    inputs
}

pub(super) fn read_column_list(
    fields: &Fields<'_>,
    name: &str,
    problems: &mut Problems,
) -> Option<Placed<Vec<ColumnItem>>> {
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
        Kind::Scalar(scalar) if scalar.text == "*" => {
            problems.error(Code::Field, scalar.span, format!("`{name}` is a text, not a list"), "not a list").help =
                Some(format!("all columns stay where `{name}` is left out"));
            return None;
        }
        Kind::Scalar(_) => {
            not_a_list(name, entry, problems);
            return None;
        }
    }
    // Where none of several could be read, that is reported already.
    let is_given = match &entry.value.kind {
        Kind::Sequence(nodes) => !nodes.is_empty(),
        Kind::Mapping(pairs) => !pairs.is_empty(),
        Kind::Scalar(_) => false,
    };
    (!items.is_empty() || !is_given).then(|| Placed::new(items, entry.key.span))
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
        // A column of one side of a join keeps its own name.
        if let Some((side, own)) = name.text.split_once('.')
            && engine::plan::SIDES.contains(&side)
            && crate::read::is_name(own)
        {
            let own = Scalar { text: own.into(), ..name.clone() };
            return Some(Self { name: own, expression: Some(name) });
        }
        if !crate::read::is_name(&name.text) {
            let help = match name.shown().rsplit_once(" as ") {
                _ if name.text == "*" => {
                    format!(
                        "all columns stay where `{list}` is left out; `derive` adds some, and `drop` takes some away"
                    )
                }
                Some((expression, named)) => format!("write `{list}: [{{{named}: \"{expression}\"}}]`"),
                None => format!("an expression needs a name: `{list}: [{{NAME: \"{}\"}}]`", name.shown()),
            };
            problems
                .error(Code::Name, name.span, format!("`{}` is not a column name", name.shown()), "not a name")
                .help = Some(help);
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

fn read_rules(fields: &Fields<'_>, problems: &mut Problems) -> Vec<RuleSpec> {
    let Some(entry) = fields.entry("check") else { return Vec::new() };
    let Kind::Sequence(items) = &entry.value.kind else {
        not_a_list("check", entry, problems);
        return Vec::new();
    };
    let mut rules: Vec<RuleSpec> = Vec::new();
    for rule in items.iter().filter_map(|item| RuleSpec::read(item, entry.key.span, problems)).collect::<Vec<_>>() {
        if rules.iter().any(|other| other.name.text == rule.name.text) {
            let message = format!("the rule `{}` is there twice", rule.name.text);
            problems.error(Code::Name, rule.name.span, message, "the second time").help =
                Some("rules are counted by their names: give one of them another".into());
        }
        rules.push(rule);
    }
    rules
}

impl RuleSpec {
    fn read(node: &Node, place: Span, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(node, place, &fields::CHECK, problems)?;
        fields.text("description", problems);
        let name = fields.text("name", problems).filter(|name| check_name(name, "a rule's name", problems));
        let rule = fields.some_text("rule", problems);
        let otherwise = match fields.choice("else", problems).map(|word| word.value) {
            Some("drop") => OnBroken::Drop,
            Some("fail") => OnBroken::Fail,
            _ => OnBroken::Quarantine,
        };
        Some(Self { name: name?, rule: rule?, otherwise })
    }
}

impl LookupSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::LOOKUP, problems)?;
        let file = fields.some_text("file", problems);
        let on = read_matches(&fields, "on", problems);
        let take = read_matches(&fields, "take", problems);
        // In YAML `missing: null` is a field without a value; here it is the word that it looks like.
        let is_null = fields.entry("missing").is_none_or(|entry| entry.value.is_null());
        let word = if is_null { None } else { fields.choice("missing", problems).map(|word| word.value) };
        let missing = match word {
            Some("drop") => OnMissing::Drop,
            Some("quarantine") => OnMissing::Quarantine,
            _ => OnMissing::Null,
        };
        Some(Self { file: file?, on: on?, take: take?, missing })
    }
}

/// Reads a list of names and `{name: other name}` pairs; a plain map is the same.
fn read_matches(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Vec<(Scalar, Scalar)>> {
    let entry = fields.entry(name)?;
    let nodes: Vec<&Node> = match &entry.value.kind {
        Kind::Sequence(nodes) => nodes.iter().collect(),
        Kind::Mapping(_) => vec![&entry.value],
        Kind::Scalar(_) => {
            not_a_list(name, entry, problems);
            return None;
        }
    };
    let mut matches = Vec::new();
    for node in nodes {
        match &node.kind {
            Kind::Mapping(pairs) => {
                for pair in pairs {
                    let other = text(&pair.value, pair.key.span, &format!("`{}`", pair.key.text), problems)?;
                    matches.push((pair.key.clone(), other));
                }
            }
            _ => {
                let name = text(node, entry.key.span, &format!("an item of `{name}`"), problems)?;
                matches.push((name.clone(), name));
            }
        }
    }
    if matches.is_empty() {
        problems.error(Code::Field, entry.key.span, format!("`{name}` names no column"), "no column here");
        return None;
    }
    Some(matches)
}

impl DedupSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::DEDUP, problems)?;
        let key = read_column_list(&fields, "key", problems)?;
        if key.value.is_empty() {
            problems.error(Code::Field, key.span, "`key` names no column", "all rows would be repetitions of one");
            return None;
        }
        let within = fields.duration("within", problems)?;
        if within.value <= 0 {
            problems.error(
                Code::Field,
                within.span,
                "`within` must be greater than zero",
                "nothing would be a repetition",
            );
            return None;
        }
        Some(Self { span: entry.key.span, key: key.value, within: within.value })
    }
}

impl TopSpec {
    fn read(entry: &Entry, problems: &mut Problems) -> Option<Self> {
        let fields = Fields::open(&entry.value, entry.key.span, &fields::TOP, problems)?;
        let n = fields.text("n", problems).and_then(|n| match n.text.parse::<usize>() {
            Ok(count) if count > 0 && n.text.bytes().all(|byte| byte.is_ascii_digit()) => Some(count),
            _ => {
                let message = format!("`n: {}` is not a count", n.shown());
                problems.error(Code::Field, n.span, message, "not an integer of at least 1").help =
                    Some("write it like `n: 10`; without `top` all rows of a window are kept".into());
                None
            }
        });
        let by = read_order(&fields, problems);
        let per = fields.names("per", problems).unwrap_or_default();
        let keep_ties = fields.choice("ties", problems).is_some_and(|word| word.value == "keep");
        let rank = fields.some_text("rank", problems).filter(|rank| check_name(rank, "a column name", problems));
        Some(Self { span: entry.key.span, n: n?, by, per, keep_ties, rank })
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
            _ => {
                let Some(name) = text(item, entry.key.span, "an item of `by`", problems) else { continue };
                match name.text.to_lowercase().rsplit_once(' ') {
                    Some((column, direction @ ("asc" | "desc"))) => {
                        let message = format!("`{}` is not the name of an output", name.shown());
                        let column = name.shown().get(..column.len()).unwrap_or("NAME").to_owned();
                        problems.error(Code::Name, name.span, message, "not a name").help =
                            Some(format!("write `by: [{{{column}: {direction}}}]`"));
                    }
                    _ => order.push((name, false)),
                }
            }
        }
    }
    order
}
