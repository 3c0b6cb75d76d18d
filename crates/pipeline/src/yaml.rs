//! YAML text to a tree of nodes that know where they stand. The only module that touches the YAML parser.
//!
//! The subset is small on purpose: one document, no anchors, aliases, tags or directives, no key twice, at most 1 MiB and
//! 32 levels. Scalars keep their text as written; whether a scalar is a number or a truth value is decided by the field
//! that reads it, so `no` is a word and `1.10` stays `1.10`.

use engine::{Code, Error};
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, StructureStyle};

use crate::problems::{Problems, Span};

/// The longest text that is read.
pub(crate) const MAX_SIZE_BYTES: usize = 1 << 20;
/// The deepest nesting that is read.
pub(crate) const MAX_DEPTH: usize = 32;

/// The most pieces into which commas may have broken a value, so that a hostile list is not read over and over.
const MAX_PIECES: usize = 64;

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) value: Node,
}

/// A text in the file.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// The text after escapes, folding and variables.
    pub(crate) text: String,
    /// Where it stands, quotes included.
    pub(crate) span: Span,
    /// Whether it stands there without quotes and block signs.
    pub(crate) plain: bool,
    /// The text before variables were put in, where it had any.
    pub(crate) written: Option<String>,
    /// Whether a secret was put in.
    pub(crate) is_secret: bool,
}

impl Scalar {
    /// Returns the text as it may be shown: variables are not replaced, so no secret is in it.
    pub(crate) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// Returns true for nothing, `~` and `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.plain && self.written.is_none() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// Returns the scalar, unless it is a list, a map or null.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    /// Returns true for nothing, `~` and `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// Returns what it is, for people.
    pub(crate) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(_) => "a text",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a map",
        }
    }
}

/// A list or map that is being read.
struct Open {
    start: usize,
    is_mapping: bool,
    is_flow: bool,
    /// Children; of a map, keys and values in turn.
    children: Vec<Node>,
}

/// Reads a text into a tree. Reports what is wrong with it; without a tree, something was reported.
pub(crate) fn parse(problems: &mut Problems) -> Option<Node> {
    let text = problems.text();
    if text.len() > MAX_SIZE_BYTES {
        problems.push(
            Error::new(
                Code::Yaml,
                format!("the file has {} bytes, more than the {MAX_SIZE_BYTES} that are read", text.len()),
            )
            .help("a pipeline file is one page of text; is this the right file?"),
        );
        return None;
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.disallow_directives = true;
    options.emit_unresolved_aliases = true;
    let mut reader = Reader { text: &text, problems, open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str_with_options(&text, options) {
        let result = match event {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or(0..0);
                reader.event(
                    event,
                    Span::new(range.start, range.end),
                    span.tag_span().and_then(|span| span.byte_range()),
                )
            }
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                reader.fail(Span::new(at, at), format!("this is not YAML: {}", error.info()), "here", None)
            }
        };
        result?;
    }
    let root = reader.root.take();
    if root.is_none() {
        problems.push(Error::new(Code::Yaml, "the file is empty").help("a pipeline file starts with `version: 1`"));
    }
    root
}

struct Reader<'a> {
    text: &'a str,
    problems: &'a mut Problems,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Reader<'_> {
    /// Reports an error after which reading stops.
    fn fail(&mut self, span: Span, message: String, label: &str, help: Option<&str>) -> Option<()> {
        let span = span.within(self.text);
        let error = self.problems.error(Code::Yaml, span, message, label);
        if let Some(help) = help {
            error.help = Some(help.into());
        }
        None
    }

    /// Takes in one event; None: an error was reported.
    fn event(&mut self, event: Event<'_>, span: Span, tag: Option<std::ops::Range<usize>>) -> Option<()> {
        if let Some(tag) = tag {
            let span = Span::new(tag.start, tag.end);
            return self.fail(
                span,
                "a YAML tag is not allowed here".into(),
                "remove this",
                Some("types are written as words, such as `int64!`; a text that starts with `!` needs quotes"),
            );
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.fail(
                        span,
                        "a second document starts here".into(),
                        "the file ends before this",
                        Some("one file is one pipeline: put it into a file of its own"),
                    );
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return self.fail(
                    span,
                    "YAML aliases are not allowed".into(),
                    "write it out",
                    Some(
                        "use `vars:` for a value that is used more than once; a text that starts with `*` needs quotes",
                    ),
                );
            }
            Event::Scalar(text, style, anchor, _) => {
                self.refuse_anchor(anchor, span)?;
                let scalar = Scalar {
                    text: text.into_owned(),
                    span,
                    plain: style == ScalarStyle::Plain,
                    written: None,
                    is_secret: false,
                };
                self.add(Node { span, kind: Kind::Scalar(scalar) })?;
            }
            Event::SequenceStart(style, anchor, _) => self.start(false, style, anchor, span)?,
            Event::MappingStart(style, anchor, _) => self.start(true, style, anchor, span)?,
            Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
            _ => {}
        }
        Some(())
    }

    fn refuse_anchor(&mut self, anchor: usize, span: Span) -> Option<()> {
        match anchor {
            0 => Some(()),
            _ => self.fail(
                span,
                "YAML anchors are not allowed".into(),
                "this has an anchor",
                Some("use `vars:` for a value that is used more than once; a text that starts with `&` needs quotes"),
            ),
        }
    }

    fn start(&mut self, is_mapping: bool, style: StructureStyle, anchor: usize, span: Span) -> Option<()> {
        self.refuse_anchor(anchor, span)?;
        if self.open.len() >= MAX_DEPTH {
            return self.fail(span, format!("lists and maps are nested more than {MAX_DEPTH} deep"), "here", None);
        }
        self.open.push(Open {
            start: span.start,
            is_mapping,
            is_flow: style == StructureStyle::Flow,
            children: Vec::new(),
        });
        Some(())
    }

    fn end(&mut self, span: Span) -> Option<()> {
        let mut open = self.open.pop().expect("an end follows its start");
        if open.is_flow {
            self.mend_commas(&mut open);
        }
        let end = if open.is_flow { span.end } else { open.children.last().map_or(span.end, |child| child.span.end) };
        let span = Span::new(open.start.min(end), end);
        let kind =
            if open.is_mapping { Kind::Mapping(self.entries(open.children)?) } else { Kind::Sequence(open.children) };
        self.add(Node { span, kind })
    }

    fn add(&mut self, node: Node) -> Option<()> {
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
        Some(())
    }

    /// Pairs keys with values and reports keys that are there twice or are no text.
    fn entries(&mut self, children: Vec<Node>) -> Option<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::with_capacity(children.len() / 2);
        let mut seen = std::collections::HashMap::new();
        let mut children = children.into_iter();
        while let (Some(key), Some(value)) = (children.next(), children.next()) {
            let Kind::Scalar(key) = key.kind else {
                self.fail(key.span, "a key must be a text".into(), "not a text", None);
                return None;
            };
            if let Some(first) = seen.insert(key.text.clone(), key.span) {
                let line = self.problems.line(first.start);
                self.problems
                    .error(Code::Field, key.span, format!("the key `{}` is there twice", key.text), "the second time")
                    .help = Some(format!("it was first given in line {line}: remove one of them"));
                continue;
            }
            entries.push(Entry { key, value });
        }
        Some(entries)
    }

    /// Inside `{}` and `[]` a comma ends a value, so an unquoted `decimal(18,2)` falls into two pieces. This reports it
    /// and puts the pieces together again, so that nothing else is reported because of it.
    fn mend_commas(&mut self, open: &mut Open) {
        let step = if open.is_mapping { 2 } else { 1 };
        let mut i = step - 1;
        while i < open.children.len() {
            let Some(last) = broken_to(&open.children, i, step) else {
                i += step;
                continue;
            };
            let end = if open.is_mapping { open.children[last - 1].span.end } else { open.children[last].span.end };
            let span = Span::new(open.children[i].span.start, end).within(self.text);
            let whole = self.text[span.start..span.end].to_owned();
            let bracket = if open.is_mapping { "{}" } else { "[]" };
            self.problems
                .error(Code::Yaml, span, format!("`{whole}` needs quotes here"), "a comma ends a value here")
                .help = Some(format!("inside `{bracket}` a comma ends a value: write \"{whole}\""));
            let scalar = Scalar { text: whole, span, plain: false, written: None, is_secret: false };
            open.children[i] = Node { span, kind: Kind::Scalar(scalar) };
            open.children.drain(i + 1..=last);
            i += step;
        }
    }
}

/// Returns the index of the last piece when the plain value at `i` opens more brackets than it closes and following
/// pieces close them. In a map a piece is a key without a value.
fn broken_to(children: &[Node], i: usize, step: usize) -> Option<usize> {
    let mut depth = depth(&children[i])?;
    let mut at = i;
    while depth > 0 {
        if at - i > MAX_PIECES {
            return None;
        }
        let piece = children.get(at + 1)?;
        if step == 2 && !children.get(at + 2)?.is_null() {
            return None;
        }
        depth += self::depth(piece)?;
        at += step;
    }
    (at > i).then_some(at)
}

fn depth(node: &Node) -> Option<i64> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.plain => Some(scalar.text.chars().fold(0, |depth, c| match c {
            '(' => depth + 1,
            ')' => depth - 1,
            _ => depth,
        })),
        _ => None,
    }
}
