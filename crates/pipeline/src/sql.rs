//! SQL text to typed expressions: `sqlparser` reads the text, [`translate`] makes an [`Expr`] of the tree.
//!
//! Names of columns are case-sensitive, as written or in double quotes; keywords and functions are not. A mistake comes
//! back as a [`SqlError`] with the stretch of the text it is about.

mod aggregate;
mod dialect;
mod names;
mod nested;
mod translate;

use std::fmt;

pub(crate) use names::suggestion;

use engine::expr::Expr;
use engine::plan::AggregateCall;
use engine::{Code, DataType, Schema};
use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

/// How many tokens an expression may have, so that no text can make a tree that exhausts the stack.
const MAX_TOKENS: usize = 4_000;

/// How deep parentheses may nest.
const MAX_NESTING: usize = 50;

/// A mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The stable code.
    pub code: Code,
    /// What is wrong; no trailing full stop.
    pub message: String,
    /// What to do about it, if there is something to say.
    pub help: Option<String>,
    /// Byte offset in the text of the first byte it is about.
    pub start: usize,
    /// Byte offset past the last byte.
    pub end: usize,
}

impl SqlError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, start: 0, end: 0 }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn at(mut self, (start, end): (usize, usize)) -> Self {
        (self.start, self.end) = (start, end);
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SqlError {}

/// Reads an expression over the columns of a schema.
pub fn parse_expression(text: &str, schema: &Schema) -> Result<Expr, SqlError> {
    on_deep_stack(|| {
        let positions = Positions::new(text);
        let tree = parse(text, &positions)?;
        translate::Translator::over_rows(schema, &positions).translate(&tree)
    })
}

/// Reads a condition over the columns of a schema.
pub fn parse_filter(text: &str, schema: &Schema) -> Result<Expr, SqlError> {
    let expr = parse_expression(text, schema)?;
    match expr.data_type() {
        DataType::Bool => Ok(expr),
        DataType::Null => Expr::cast(expr, DataType::Bool, false).map_err(|why| SqlError::new(Code::Type, why)),
        other => Err(SqlError::new(Code::Type, format!("a condition is bool, and this is {other}"))
            .help("compare it with something, such as `x > 0` or `x is not null`")
            .at((0, text.len()))),
    }
}

/// Reads an output of a window aggregate: an expression over aggregates of `row_schema`'s columns, and over the columns
/// of `closed`: the window's bounds and the keys.
///
/// Aggregates that are not among `calls` yet are added there; the expression reads call `i` as the column `#i`.
pub fn parse_aggregate_output(
    text: &str,
    row_schema: &Schema,
    closed: &Schema,
    calls: &mut Vec<AggregateCall>,
) -> Result<Expr, SqlError> {
    let before = calls.len();
    let result = on_deep_stack(|| {
        let positions = Positions::new(text);
        let tree = parse(text, &positions)?;
        translate::Translator::over_aggregates(row_schema, closed, calls, &positions).translate(&tree)
    });
    if result.is_err() {
        calls.truncate(before);
    }
    result
}

/// Runs the parser on a thread with a stack of its own, because it takes tens of kilobytes per level and a caller's
/// stack may be small. [`MAX_TOKENS`] and [`MAX_NESTING`] bound what it needs.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const STACK_BYTES: usize = 16 << 20;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.expect("a thread can be started");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn parse(text: &str, positions: &Positions<'_>) -> Result<ast::Expr, SqlError> {
    let dialect = dialect::Sql;
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        let start = positions.offset(error.location);
        SqlError::new(Code::Expression, lower_first(&error.message)).at((start, text.len().max(start)))
    })?;
    let meaningful = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).count();
    if meaningful == 0 {
        return Err(SqlError::new(Code::Expression, "the expression is empty").at((0, text.len())));
    }
    if meaningful > MAX_TOKENS {
        let message = format!("the expression has {meaningful} words and signs, more than {MAX_TOKENS}");
        return Err(SqlError::new(Code::Expression, message).at((0, text.len())));
    }
    let tokens = dialect::with_types_as_names(tokens, positions);
    let mut parser = Parser::new(&dialect).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(|error| parse_error(error, &parser, positions))?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(tree),
        token => {
            let start = positions.offset(next.span.start);
            let error =
                SqlError::new(Code::Expression, format!("`{token}` does not continue the expression before it"));
            let error = match token {
                Token::SemiColon => error.help("write one expression, without `;`"),
                Token::Word(word) if word.value.eq_ignore_ascii_case("as") => {
                    error.help("the name of a column is its key: `{name: \"expression\"}`")
                }
                Token::Comma => error.help("write one expression; each column has its own key"),
                _ => error,
            };
            Err(error.at((start, positions.text.len())))
        }
    }
}

fn parse_error(error: ParserError, parser: &Parser<'_>, positions: &Positions<'_>) -> SqlError {
    let text = positions.text;
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            let message = format!("the expression nests more than {MAX_NESTING} deep");
            return SqlError::new(Code::Expression, message).at((0, text.len()));
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    // The message ends with its place, such as ` at Line: 1, Column: 5`.
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((head, place)) => (head.to_string(), parse_location(place)),
        None => (message, None),
    };
    let message = message.strip_prefix("Expected: ").map_or_else(
        || lower_first(&message),
        |rest| match rest.split_once(", found: ") {
            Some((expected, "EOF")) => format!("the expression ends where {expected} is expected"),
            Some((expected, found)) => format!("`{found}` stands where {expected} is expected"),
            None => format!("{rest} is expected"),
        },
    );
    let location = place.unwrap_or_else(|| parser.peek_token().span.start);
    let start = if location.line == 0 { text.trim_end().len() } else { positions.offset(location) };
    SqlError::new(Code::Expression, message).at((start, positions.end_of_word(start)))
}

fn parse_location(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Turns the parser's lines and columns (in characters, from 1) into byte offsets.
struct Positions<'a> {
    text: &'a str,
    /// Byte offset of the first byte of each line.
    lines: Vec<usize>,
}

impl<'a> Positions<'a> {
    fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, lines }
    }

    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(&start) = self.lines.get(line) else { return self.text.len() };
        let column = usize::try_from(location.column).unwrap_or(usize::MAX).saturating_sub(1);
        self.text[start..].char_indices().nth(column).map_or(self.text.len(), |(i, _)| start + i)
    }

    /// Returns the byte range of a span, or None when the parser does not know it.
    fn range(&self, span: Span) -> Option<(usize, usize)> {
        if span.start.line == 0 || span.end.line == 0 {
            return None;
        }
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        Some((start, end.max(start)))
    }

    /// Returns where the word ends that begins at a byte; at least one character further, if there is one.
    fn end_of_word(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        start + if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) }
    }
}

#[cfg(test)]
mod tests;
