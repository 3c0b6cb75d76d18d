//! The canonical text of an expression, by the templates of the functions table.
//!
//! A template is SQL with places: `{0}` is an argument, `{*, }` all arguments with `, ` between them, `{1*, }` those from
//! the second on, `{0!}` a text literal without quotes, `{2? escape }` the third with that text before it if there is one, `{type}` the type of the result,
//! `{case}` the branches of a `case`, `{struct}` the fields of a struct, `{1`}` a text literal between backticks.

use std::fmt;

use super::{Expr, Kind};

/// Words that cannot stand for a column without quotes, because SQL reads something else.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "binary",
    "case",
    "cast",
    "ceil",
    "collate",
    "convert",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "date",
    "datetime",
    "distinct",
    "div",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "extract",
    "false",
    "floor",
    "from",
    "group",
    "having",
    "ilike",
    "in",
    "interval",
    "is",
    "isnull",
    "json",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "map",
    "match",
    "not",
    "notnull",
    "null",
    "on",
    "or",
    "order",
    "overlaps",
    "overlay",
    "position",
    "prior",
    "regexp",
    "rlike",
    "row",
    "safe_cast",
    "select",
    "session_user",
    "similar",
    "some",
    "struct",
    "substr",
    "substring",
    "then",
    "time",
    "timestamp",
    "trim",
    "true",
    "try_cast",
    "union",
    "user",
    "uuid",
    "values",
    "when",
    "where",
    "with",
    "xor",
];

/// The canonical text: every call and operator in parentheses, names quoted where needed. Equal meaning written alike
/// gives equal text; it enters the definition digest.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Column(name) => write_name(name, f),
            Kind::Literal(literal)
                if matches!(literal, super::Literal::Null) && self.data_type != crate::DataType::Null =>
            {
                write!(f, "cast(null as {})", self.data_type)
            }
            Kind::Literal(literal) => write!(f, "{literal}"),
            Kind::Call(function, arguments) => write_template(function.sql, arguments, &self.data_type, f),
        }
    }
}

fn write_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plain = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
        && !RESERVED.contains(&name.to_ascii_lowercase().as_str());
    if plain { f.write_str(name) } else { write!(f, "\"{}\"", name.replace('"', "\"\"")) }
}

fn write_template(
    template: &str,
    arguments: &[Expr],
    result: &dyn fmt::Display,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        f.write_str(&rest[..open])?;
        let close = open + rest[open..].find('}').expect("every place in a template is closed");
        write_place(&rest[open + 1..close], arguments, result, f)?;
        rest = &rest[close + 1..];
    }
    f.write_str(rest)
}

fn write_place(place: &str, arguments: &[Expr], result: &dyn fmt::Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match place {
        "type" => return write!(f, "{result}"),
        "case" => return write_case(arguments, f),
        "struct" => return write_struct(arguments, f),
        _ => {}
    }
    let digits = place.bytes().take_while(u8::is_ascii_digit).count();
    let index: usize = place[..digits].parse().unwrap_or(0);
    match place[digits..].chars().next() {
        None => write!(f, "{}", arguments[index]),
        Some('*') => {
            for (i, argument) in arguments[index..].iter().enumerate() {
                write!(f, "{}{argument}", if i > 0 { &place[digits + 1..] } else { "" })?;
            }
            Ok(())
        }
        Some('!') => match arguments[index].as_literal() {
            Some(super::Literal::String(word)) => f.write_str(&word.to_ascii_lowercase()),
            _ => write!(f, "{}", arguments[index]),
        },
        Some('`') => match arguments[index].as_literal() {
            Some(super::Literal::String(name)) => write!(f, "`{name}`"),
            _ => write!(f, "{}", arguments[index]),
        },
        Some('?') => match arguments.get(index) {
            Some(argument) => write!(f, "{}{argument}", &place[digits + 1..]),
            None => Ok(()),
        },
        Some(_) => unreachable!("unknown place `{place}` in a template"),
    }
}

fn write_struct(arguments: &[Expr], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, field) in arguments.chunks_exact(2).enumerate() {
        write!(f, "{}{}: {}", if i > 0 { ", " } else { "{" }, field[0], field[1])?;
    }
    f.write_str("}")
}

fn write_case(arguments: &[Expr], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (otherwise, branches) = arguments.split_last().expect("a case has an else");
    f.write_str("case")?;
    for branch in branches.chunks_exact(2) {
        write!(f, " when {} then {}", branch[0], branch[1])?;
    }
    write!(f, " else {otherwise} end")
}
