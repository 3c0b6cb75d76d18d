//! Windows as written, by the engine's table of kinds.

use engine::Code;
use engine::window::{WINDOWS, WindowKind, Windowing};

use super::WindowSpec;
use crate::fields;
use crate::problems::Problems;
use crate::read::{Fields, Placed, duration_of, text};
use crate::suggest::{did_you_mean, list, nearest};
use crate::yaml::{Kind, Node, Scalar};

pub(super) fn read_window(fields: &Fields<'_>, problems: &mut Problems) -> Option<Placed<WindowSpec>> {
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
        return Some(Placed::new(WindowSpec::Built(Windowing::Same), word.span));
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
    kind: &'static WindowKind,
    word: &Scalar,
    node: &Node,
    problems: &mut Problems,
) -> Option<Windowing> {
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

fn unknown_window_field(kind: &WindowKind, key: &Scalar, problems: &mut Problems) {
    let own = list(kind.fields.iter().map(|field| field.name));
    let takes = format!("`{}` takes {own}", kind.name);
    let own_name = nearest(&key.text, kind.fields.iter().map(|field| field.name));
    let elsewhere = WINDOWS.iter().filter(|other| other.name != kind.name).find_map(|other| {
        let names = || other.fields.iter().map(|field| field.name);
        let name = names().find(|name| *name == key.text).or_else(|| nearest(&key.text, names()))?;
        (!kind.fields.iter().any(|field| field.name == name)).then_some((other.name, name))
    });
    let help = match (own_name, elsewhere) {
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
