//! Reading blocks and scalars of the tree: what a field table allows, and nothing else.

use std::collections::BTreeMap;

use engine::Code;
use engine::value::MAX_NAME_SIZE;
pub(crate) use engine::value::is_name;

use crate::fields::{Block, Field, Shape};
use crate::foreign;
use crate::problems::{Problems, Span};
use crate::suggest::{did_you_mean, list};
use crate::yaml::{Entry, Kind, Node, Scalar};
use crate::{duration, size};

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> Placed<T> {
    pub(crate) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// The fields of a block that are there, all of them known and built.
pub(crate) struct Fields<'a> {
    block: &'static Block,
    entries: BTreeMap<&'static str, &'a Entry>,
}

impl<'a> Fields<'a> {
    /// Reads a map by its table; `place` is its key. Reports unknown, refused and missing fields.
    pub(crate) fn open(node: &'a Node, place: Span, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let Kind::Mapping(entries) = &node.kind else {
            let span = if node.is_null() { place } else { node.span };
            let its = list(block.built().map(|field| field.name));
            let help = match (foreign::example_of(block), block.built().find(|field| field.required)) {
                (Some(example), _) => format!("write it like `{example}`; its fields: {its}"),
                (None, Some(first)) => format!("it is a map, such as `{{{}: …}}`; its fields: {its}", first.name),
                (None, None) => format!("it is a map; its fields: {its}"),
            };
            problems
                .error(Code::Field, span, format!("{} is {}, not a map", block.what, node.what()), "not a map")
                .help = Some(help);
            return None;
        };
        let mut fields = Fields { block, entries: BTreeMap::new() };
        for entry in entries {
            match block.field(&entry.key.text) {
                Some(Field { name, shape: Shape::NotBuilt(instead), .. }) => {
                    refuse(name, block, instead, entry.key.span, problems)
                }
                Some(field) => {
                    fields.entries.insert(field.name, entry);
                }
                None if entry.key.text.starts_with("x-") => {}
                None => unknown(&entry.key, block, problems),
            }
        }
        for field in block.fields.iter().filter(|field| field.required && !fields.entries.contains_key(field.name)) {
            let code = if field.name == "version" { Code::Version } else { Code::Field };
            problems
                .error(
                    code,
                    place,
                    format!("{} needs `{}`", block.what, field.name),
                    format!("`{}` is missing", field.name),
                )
                .help = Some(format!("`{}`: {}", field.name, lower_first(field.help)));
        }
        Some(fields)
    }

    /// Reads a map whose fields may all be absent, and which may be nothing at all.
    pub(crate) fn open_optional(
        node: &'a Node,
        place: Span,
        block: &'static Block,
        problems: &mut Problems,
    ) -> Option<Self> {
        match node.is_null() {
            true => Some(Fields { block, entries: BTreeMap::new() }),
            false => Self::open(node, place, block, problems),
        }
    }

    /// Returns the entry of a field.
    ///
    /// # Panics
    /// When the table does not have the field: table and reader would have drifted apart.
    pub(crate) fn entry(&self, name: &str) -> Option<&'a Entry> {
        assert!(self.block.field(name).is_some(), "{} has no field {name} in its table", self.block.what);
        self.entries.get(name).copied()
    }

    /// Returns the value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// Returns a field's text.
    pub(crate) fn text(&self, name: &str, problems: &mut Problems) -> Option<Scalar> {
        let entry = self.entry(name)?;
        let found = text(&entry.value, entry.key.span, &format!("`{name}`"), problems);
        let example = self.block.field(name).map(|field| field.example).filter(|example| !example.is_empty());
        if let (None, Some(example)) = (&found, example)
            && let Some(error) = problems.errors.last_mut()
        {
            error.help = Some(format!("write it like `{example}`"));
        }
        found
    }

    /// Returns a field's text when it is not blank.
    pub(crate) fn some_text(&self, name: &str, problems: &mut Problems) -> Option<Scalar> {
        let scalar = self.text(name, problems)?;
        if scalar.text.trim().is_empty() {
            problems.error(Code::Field, scalar.span, format!("`{name}` is empty"), "no text here");
            return None;
        }
        Some(scalar)
    }

    /// Returns a field's truth value.
    pub(crate) fn boolean(&self, name: &str, problems: &mut Problems) -> Option<Placed<bool>> {
        let scalar = self.text(name, problems)?;
        match (scalar.text.as_str(), scalar.plain || scalar.written.is_some()) {
            ("true", true) => Some(Placed::new(true, scalar.span)),
            ("false", true) => Some(Placed::new(false, scalar.span)),
            _ => {
                problems
                    .error(
                        Code::Field,
                        scalar.span,
                        format!("`{name}` is `{}`, not `true` or `false`", scalar.shown()),
                        "not a truth value",
                    )
                    .help = Some("only `true` and `false`, without quotes, are truth values".into());
                None
            }
        }
    }

    /// Returns a field's duration in microseconds.
    pub(crate) fn duration(&self, name: &str, problems: &mut Problems) -> Option<Placed<i64>> {
        let scalar = self.text(name, problems)?;
        duration_of(&scalar, name, problems)
    }

    /// Returns a field's size in bytes, at least 1.
    pub(crate) fn size(&self, name: &str, problems: &mut Problems) -> Option<Placed<u64>> {
        let scalar = self.text(name, problems)?;
        match size::parse(&scalar.text) {
            Ok(bytes) if bytes > 0 => Some(Placed::new(bytes, scalar.span)),
            _ => {
                let message = format!("`{name}: {}` is not a size from 1 byte on", scalar.shown());
                problems.error(Code::Field, scalar.span, message, "not a size").help =
                    Some("a size is an integer and `KiB`, `MiB` or `GiB`, such as `64MiB`".into());
                None
            }
        }
    }

    /// Returns a field's number, at least 1.
    pub(crate) fn count(&self, name: &str, problems: &mut Problems) -> Option<Placed<u64>> {
        let scalar = self.text(name, problems)?;
        match scalar.text.parse() {
            Ok(count) if count > 0 => Some(Placed::new(count, scalar.span)),
            _ => {
                let message = format!("`{name}: {}` is not a number from 1 on", scalar.shown());
                problems.error(Code::Field, scalar.span, message, "not a number from 1 on");
                None
            }
        }
    }

    /// Returns a field's word, which must be one of its table's.
    pub(crate) fn choice(&self, name: &str, problems: &mut Problems) -> Option<Placed<&'static str>> {
        let Some(Field { shape: Shape::Choice(words), .. }) = self.block.field(name) else {
            panic!("`{name}` is a choice in its table");
        };
        let scalar = self.text(name, problems)?;
        let found = words.iter().find(|word| **word == scalar.text);
        if found.is_none() {
            let help = did_you_mean(&scalar.text, &format!("`{name}` is one of"), words.iter().copied());
            let help = if scalar.written.is_some() {
                format!("`{name}` is one of: {}", list(words.iter().copied()))
            } else {
                help
            };
            problems
                .error(Code::Field, scalar.span, format!("`{name}` is `{}`", scalar.shown()), "not one of the words")
                .help = Some(help);
        }
        found.map(|word| Placed::new(*word, scalar.span))
    }

    /// Returns the names of a list.
    pub(crate) fn names(&self, name: &str, problems: &mut Problems) -> Option<Vec<Scalar>> {
        let texts = self.texts(name, problems)?;
        Some(texts.into_iter().filter(|scalar| check_name(scalar, "a column name", problems)).collect())
    }

    /// Returns the texts of a list.
    pub(crate) fn texts(&self, name: &str, problems: &mut Problems) -> Option<Vec<Scalar>> {
        let entry = self.entry(name)?;
        let Kind::Sequence(items) = &entry.value.kind else {
            not_a_list(name, entry, problems);
            return None;
        };
        Some(
            items
                .iter()
                .filter_map(|item| text(item, entry.key.span, &format!("an item of `{name}`"), problems))
                .collect(),
        )
    }
}

/// Reports that a field is no list.
pub(crate) fn not_a_list(name: &str, entry: &Entry, problems: &mut Problems) {
    let span = if entry.value.is_null() { entry.key.span } else { entry.value.span };
    let message = format!("`{name}` is {}, not a list", entry.value.what());
    let plain = |text: &str| text.split(',').all(|part| is_name(part.trim()));
    problems.error(Code::Field, span, message, "not a list").help =
        Some(match (entry.value.scalar(), foreign::example_named(name)) {
            (Some(scalar), _) if plain(scalar.shown()) && name != "check" => {
                format!("write `{name}: [{}]`", scalar.shown())
            }
            (_, Some(example)) => format!("write it like `{example}`"),
            (Some(scalar), None) => format!("write `{name}: [{}]`", scalar.shown()),
            (None, None) => format!("write `{name}: […]`"),
        });
}

/// Reads a scalar that is not null.
pub(crate) fn text(node: &Node, place: Span, what: &str, problems: &mut Problems) -> Option<Scalar> {
    let found = node.scalar().cloned();
    if found.is_none() {
        let span = if node.is_null() { place } else { node.span };
        let (message, label) = match node.is_null() {
            true => (format!("{what} has no value"), "nothing follows"),
            false => (format!("{what} is {}, not a text", node.what()), "not a text"),
        };
        problems.error(Code::Field, span, message, label);
    }
    found
}

/// Reads a duration in microseconds.
pub(crate) fn duration_of(scalar: &Scalar, name: &str, problems: &mut Problems) -> Option<Placed<i64>> {
    match duration::parse(&scalar.text) {
        Ok(us) => Some(Placed::new(us, scalar.span)),
        Err(why) => {
            problems
                .error(
                    Code::Field,
                    scalar.span,
                    format!("`{name}: {}` is not a duration: {why}", scalar.shown()),
                    "not a duration",
                )
                .help = Some(match duration::meant(&scalar.text) {
                Some(meant) => format!("write `{meant}`"),
                None => "a duration is an integer and `us`, `ms`, `s`, `m`, `h` or `d`, such as `90s` or `15m`".into(),
            });
            None
        }
    }
}

/// Reports a text that is not a name.
pub(crate) fn check_name(scalar: &Scalar, what: &str, problems: &mut Problems) -> bool {
    if is_name(&scalar.text) {
        return true;
    }
    let mut help =
        format!("a name has letters, digits and `_`, does not start with a digit and is at most {MAX_NAME_SIZE} long");
    let mended: String = scalar.text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if is_name(&mended) && scalar.written.is_none() {
        help = format!("{help}; `{mended}` would do");
    }
    problems.error(Code::Name, scalar.span, format!("`{}` is not {what}", scalar.shown()), "not a name").help =
        Some(help);
    false
}

/// Reports a text that no topic can be called.
pub(crate) fn check_topic(scalar: &Scalar, problems: &mut Problems) -> bool {
    let is_legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if scalar.text.bytes().all(is_legal) && scalar.text.len() <= 249 && !matches!(scalar.text.as_str(), "." | "..") {
        return true;
    }
    let message = format!("`{}` is not the name of a topic", scalar.shown());
    problems.error(Code::Field, scalar.span, message, "not a topic").help = Some(
        "a topic has letters, digits, `.`, `_` and `-`; several topics are a source each, and a step with `from: [a, b]`"
            .into(),
    );
    false
}

/// Reports a field that is part of the format but not built.
pub(crate) fn refuse(name: &str, block: &Block, instead: &str, span: Span, problems: &mut Problems) {
    problems
        .error(
            Code::NotBuilt,
            span,
            format!("`{name}` of {} is not built yet", block.what),
            "refused, because ignoring it would change the meaning",
        )
        .help = Some(instead.into());
}

fn unknown(key: &Scalar, block: &'static Block, problems: &mut Problems) {
    let takes = || did_you_mean(&key.text, &format!("{} takes", block.what), block.built().map(|field| field.name));
    let help = foreign::instead(&key.text, block).unwrap_or_else(takes);
    problems
        .error(
            Code::Field,
            key.span,
            format!("unknown field `{}` in {}", key.text, block.what),
            format!("not a field of {}", block.what),
        )
        .help = Some(help);
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
