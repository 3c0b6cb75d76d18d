//! The SQL that is read: DuckDB's, without lambdas, with `->` and `->>` that bind like `::`, and types in angle brackets.

use std::any::TypeId;

use engine::DataType;
use engine::value::split;
use sqlparser::ast;
use sqlparser::dialect::{Dialect, DuckDbDialect};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::Positions;

/// DuckDB's dialect but for what its header says.
#[derive(Debug)]
pub(super) struct Sql;

/// Above `::`, so that `j->>'a' = 'b'` and `j->>'n'::int64` mean what they look like. In DuckDB both need parentheses.
const ARROWS: u8 = 55;

impl Dialect for Sql {
    fn dialect(&self) -> TypeId {
        TypeId::of::<DuckDbDialect>()
    }

    fn is_identifier_start(&self, character: char) -> bool {
        DuckDbDialect.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        DuckDbDialect.is_identifier_part(character)
    }

    fn supports_trailing_commas(&self) -> bool {
        DuckDbDialect.supports_trailing_commas()
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        DuckDbDialect.supports_filter_during_aggregation()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        DuckDbDialect.supports_bitwise_shift_operators()
    }

    fn supports_named_fn_args_with_eq_operator(&self) -> bool {
        DuckDbDialect.supports_named_fn_args_with_eq_operator()
    }

    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        DuckDbDialect.supports_named_fn_args_with_assignment_operator()
    }

    fn supports_dictionary_syntax(&self) -> bool {
        DuckDbDialect.supports_dictionary_syntax()
    }

    fn support_map_literal_syntax(&self) -> bool {
        DuckDbDialect.support_map_literal_syntax()
    }

    fn allow_extract_single_quotes(&self) -> bool {
        DuckDbDialect.allow_extract_single_quotes()
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        DuckDbDialect.supports_array_typedef_with_brackets()
    }

    fn supports_notnull_operator(&self) -> bool {
        DuckDbDialect.supports_notnull_operator()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        DuckDbDialect.supports_comma_separated_trim()
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        DuckDbDialect.supports_numeric_literal_underscores()
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        matches!(parser.peek_token_ref().token, Token::Arrow | Token::LongArrow).then_some(Ok(ARROWS))
    }
}

/// Puts one quoted name in the place of every type in angle brackets, which the parser does not know: the type's text.
pub(super) fn with_types_as_names(tokens: Vec<TokenWithSpan>, positions: &Positions<'_>) -> Vec<TokenWithSpan> {
    let is_blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let follows_as = out.iter().rev().find(|token| !is_blank(token)).is_some_and(|before| match &before.token {
            Token::DoubleColon => true,
            Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("as"),
            _ => false,
        });
        if follows_as && let Some((end, text)) = angle_type(&tokens[at..], positions) {
            let token = Token::Word(Word {
                value: text,
                quote_style: Some('"'),
                keyword: sqlparser::keywords::Keyword::NoKeyword,
            });
            let mut named = tokens[at].clone();
            named.token = token;
            named.span.end = tokens[at + end - 1].span.end;
            out.push(named);
            at += end;
        } else {
            out.push(tokens[at].clone());
            at += 1;
        }
    }
    out
}

/// Returns how many tokens a type in angle brackets has that stands here, and its text.
fn angle_type(tokens: &[TokenWithSpan], positions: &Positions<'_>) -> Option<(usize, String)> {
    let Token::Word(word) = &tokens.first()?.token else { return None };
    if word.quote_style.is_some()
        || !["list", "array", "struct", "row"].iter().any(|name| word.value.eq_ignore_ascii_case(name))
    {
        return None;
    }
    let mut open = 0i32;
    for (i, token) in tokens.iter().enumerate().skip(1) {
        open += match token.token {
            Token::Lt => 1,
            Token::Gt => -1,
            Token::ShiftRight => -2,
            _ if open == 0 => return None,
            _ => 0,
        };
        if open <= 0 {
            let (start, end) = (positions.offset(tokens[0].span.start), positions.offset(token.span.end));
            let text = &positions.text[start..end];
            return (open == 0).then(|| (i + 1, text.to_owned()));
        }
    }
    None
}

/// Returns the type that is written as SQL or as in a pipeline file.
pub(super) fn data_type(written: &ast::DataType) -> Option<DataType> {
    let text = written.to_string();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => of_text(text),
        None => of_text(&text),
    }
}

fn of_text(text: &str) -> Option<DataType> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if let Some(element) = text.strip_suffix("[]") {
        return of_text(element).map(DataType::list).and_then(checked);
    }
    for (word, open, close) in [("list", '<', '>'), ("array", '<', '>'), ("list", '(', ')'), ("array", '(', ')')] {
        if lower.strip_prefix(word).is_some_and(|rest| rest.starts_with(open)) && text.ends_with(close) {
            return of_text(&text[word.len() + 1..text.len() - 1]).map(DataType::list).and_then(checked);
        }
    }
    for (word, open, close) in [("struct", '<', '>'), ("row", '<', '>'), ("struct", '(', ')'), ("row", '(', ')')] {
        if lower.strip_prefix(word).is_some_and(|rest| rest.starts_with(open)) && text.ends_with(close) {
            let fields = split(&text[word.len() + 1..text.len() - 1]).into_iter().map(|field| {
                let field = field.trim();
                let end = field.find(|c: char| c == ':' || c.is_whitespace())?;
                let data_type = of_text(field[end..].trim_start().strip_prefix(':').unwrap_or(&field[end..]))?;
                Some(format!("{}: {data_type}", &field[..end]))
            });
            return DataType::parse(&format!("struct<{}>", fields.collect::<Option<Vec<_>>>()?.join(", ")));
        }
    }
    scalar(&lower)
}

/// Refuses types that nest too deep.
fn checked(data_type: DataType) -> Option<DataType> {
    DataType::parse(&data_type.to_string())
}

fn scalar(written: &str) -> Option<DataType> {
    let lower = written.replace(", ", ",");
    Some(match lower.as_str() {
        "bool" | "boolean" => DataType::Bool,
        "int" | "integer" | "int4" => DataType::Int32,
        "bigint" | "int8" | "long" => DataType::Int64,
        "double" | "double precision" | "float8" => DataType::Float64,
        "varchar" | "text" | "string" => DataType::String,
        "timestamp" | "timestamptz" | "timestamp with time zone" => DataType::Timestamp,
        "binary" | "blob" | "bytea" | "varbinary" | "bytes" => DataType::Binary,
        other => {
            let other = other.replacen("numeric", "decimal", 1);
            return DataType::parse(&other).or_else(|| {
                // Without a scale there are no digits after the point.
                DataType::parse(&format!("{},0)", other.strip_suffix(')')?))
            });
        }
    })
}
