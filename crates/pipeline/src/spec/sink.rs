//! Sinks as written.

use engine::{Code, Error};

use super::source::read_text_map;
use super::step::read_column_list;
use super::{SinkKindSpec, SinkSpec};
use crate::fields::{self, Block, Shape};
use crate::problems::Problems;
use crate::read::{Fields, Placed, check_topic};
use crate::suggest::list;
use crate::yaml::{Entry, Scalar};

impl SinkSpec {
    pub(super) fn read(entry: &Entry, block: &'static Block, problems: &mut Problems) -> Option<Self> {
        let before = problems.errors.len();
        let fields = Fields::open(&entry.value, entry.key.span, block, problems)?;
        let refused = problems.errors[before..].iter().any(|error: &Error| error.code == Code::NotBuilt);
        fields.text("description", problems);
        Some(Self {
            name: entry.key.clone(),
            from: fields.some_text("from", problems),
            filter: fields.some_text("where", problems),
            select: read_column_list(&fields, "select", problems),
            early: fields.choice("emit", problems).filter(|word| word.value == "early").map(|word| word.span),
            kind: SinkKindSpec::read(&fields, entry, refused, problems),
        })
    }
}

/// Refuses a password that stands in the file.
fn check_url(url: &Scalar, problems: &mut Problems) -> bool {
    let after_scheme = url.text.split_once("://").map_or(url.text.as_str(), |(_, rest)| rest);
    let user = after_scheme.rsplit_once('@').map_or("", |(user, _)| user);
    let has_password = user.contains(':') || after_scheme.contains("password=");
    if url.is_secret || !has_password {
        return true;
    }
    problems
        .error(Code::Field, url.span, "a password stands in the `url`", "can be read by everybody who reads the file")
        .help = Some(
        "declare `vars: {DATABASE_URL: {secret: true}}`, say `url: \"${DATABASE_URL}\"` and set it in the environment"
            .into(),
    );
    false
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
                let value = value.filter(|value| field.name != "topic" || check_topic(value, problems));
                let value = value.filter(|value| field.name != "url" || check_url(value, problems));
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
            Shape::Choice(_) => {
                let word = settings.choice(field.name, problems);
                self.settings
                    .extend(word.map(|word| (field.name.into(), Placed::new(word.value.to_string(), word.span))));
            }
            Shape::Duration => {
                let micros = settings.duration(field.name, problems);
                let text = |micros: Placed<i64>| Placed::new(format!("{}ms", micros.value / 1000), micros.span);
                self.settings.extend(micros.map(|micros| (field.name.into(), text(micros))));
            }
            Shape::Size | Shape::Count => {
                let number = match field.shape {
                    Shape::Size => settings.size(field.name, problems),
                    _ => settings.count(field.name, problems),
                };
                let text = |number: Placed<u64>| Placed::new(number.value.to_string(), number.span);
                self.settings.extend(number.map(|number| (field.name.into(), text(number))));
            }
            Shape::Names => self.key = settings.names(field.name, problems).unwrap_or_default(),
            _ => panic!("a sink's setting `{}` has a shape that sinks do not read", field.name),
        }
    }
}
