//! Expressions in their places: what they see, what type they must have, and errors that point into the text.

use engine::expr::Expr;
use engine::plan::{AggregateCall, SIDES};
use engine::{Code, DataType, Schema};

use super::Relation;
use crate::problems::{Problems, Span};
use crate::spec::ColumnItem;
use crate::sql;
use crate::suggest::did_you_mean;
use crate::yaml::Scalar;

/// Reads an expression over the columns of a relation.
pub(super) fn expression(scalar: &Scalar, over: &Relation, problems: &mut Problems) -> Option<Expr> {
    refuse_secret(scalar, problems)?;
    let read = sql::parse_expression(&scalar.text, &over.schema());
    accept(read, scalar, over, problems)
}

/// Reads a condition: an expression that is true or false.
pub(super) fn condition(scalar: &Scalar, over: &Relation, problems: &mut Problems) -> Option<Expr> {
    refuse_secret(scalar, problems)?;
    let read = sql::parse_filter(&scalar.text, &over.schema());
    let expr = accept(read, scalar, over, problems)?;
    if is_compared_with_null(&expr.to_string()) {
        problems
            .warning(Code::Expression, scalar.span, "a comparison with `null` is never true", "keeps no row")
            .help = Some("write `x is null`, `x is not null` or `x is distinct from y`".into());
    }
    Some(expr)
}

/// Returns true when an expression, as it writes itself, compares something with the word `null`.
fn is_compared_with_null(expr: &str) -> bool {
    // What stands between quotes is text or a name.
    let mut outside: String = expr.split(['\'', '"']).step_by(2).collect::<Vec<_>>().join("''");
    while let Some(start) = outside.find("cast(null as ") {
        let end = outside[start..].find(')').map_or(outside.len(), |size| start + size + 1);
        outside.replace_range(start..end, "null");
    }
    let words: Vec<&str> = outside.split_whitespace().collect();
    let is_comparison = |word: &str| ["=", "<>", "<", "<=", ">", ">="].contains(&word);
    words.windows(2).any(|pair| {
        (is_comparison(pair[0]) && pair[1].trim_end_matches([')', ',']) == "null")
            || (pair[0].trim_start_matches('(') == "null" && is_comparison(pair[1]))
    })
}

fn accept(
    read: Result<Expr, sql::SqlError>,
    scalar: &Scalar,
    over: &Relation,
    problems: &mut Problems,
) -> Option<Expr> {
    match read {
        Ok(expr) => check_timestamp(expr, over, scalar.span, problems),
        Err(error) => {
            report(scalar, error, problems);
            None
        }
    }
}

/// Reads an item of a column list: a column, or a name with an expression.
pub(super) fn item(item: &ColumnItem, over: &Relation, problems: &mut Problems) -> Option<Expr> {
    let Some(scalar) = &item.expression else {
        return column(&item.name, over, problems);
    };
    let expr = expression(scalar, over, problems)?;
    has_type(expr, &item.name, scalar.span, problems)
}

/// Reads an output of a window: an expression over aggregates, keys and window bounds. Its calls join `calls`.
pub(super) fn output(
    item: &ColumnItem,
    over: &Relation,
    closed: &Schema,
    calls: &mut Vec<AggregateCall>,
    problems: &mut Problems,
) -> Option<Expr> {
    let scalar = item.expression.as_ref().expect("outputs are read with their expressions");
    refuse_secret(scalar, problems)?;
    match sql::parse_aggregate_output(&scalar.text, &over.schema(), closed, calls) {
        Ok(expr) => {
            for call in calls.iter() {
                for argument in &call.arguments {
                    check_timestamp(argument.clone(), over, scalar.span, problems)?;
                }
            }
            has_type(expr, &item.name, scalar.span, problems)
        }
        Err(error) => {
            report(scalar, error, problems);
            None
        }
    }
}

/// Finds a column by its bare name.
pub(super) fn column(name: &Scalar, over: &Relation, problems: &mut Problems) -> Option<Expr> {
    match over.column(&name.text) {
        Some(column) => {
            let expr = Expr::column(&name.text, column.field.data_type);
            check_timestamp(expr, over, name.span, problems)
        }
        None => {
            let sides = SIDES.map(|side| format!("{side}.{}", name.text));
            if sides.iter().all(|name| over.column(name).is_some()) {
                let message = format!("both sides of the join have a column `{}`", name.shown());
                problems.error(Code::Name, name.span, message, "which one is meant?").help =
                    Some(format!("say which one is meant: `{}` or `{}`", sides[0], sides[1]));
                return None;
            }
            unknown_column(name, &over.names(), problems);
            None
        }
    }
}

/// Reports a name that is no column.
pub(super) fn unknown_column(name: &Scalar, columns: &[&str], problems: &mut Problems) {
    let help = did_you_mean(name.shown(), "columns here", columns.iter().copied());
    problems.error(Code::Name, name.span, format!("there is no column `{}`", name.shown()), "not a column here").help =
        Some(help);
}

/// Refuses a secret in an expression: errors and plans would show parts of it, and the definition would depend on it.
fn refuse_secret(scalar: &Scalar, problems: &mut Problems) -> Option<()> {
    if scalar.is_secret {
        problems
            .error(Code::Variable, scalar.span, "a secret cannot stand in an expression", "has a secret in it")
            .help = Some("secrets are for addresses and credentials; take a variable that is none".into());
        return None;
    }
    Some(())
}

/// Refuses a column that is nothing but null: no column type would hold it.
pub(super) fn has_type(expr: Expr, name: &Scalar, span: Span, problems: &mut Problems) -> Option<Expr> {
    if expr.data_type().has_null() {
        let message = match expr.data_type() {
            DataType::Null => format!("`{}` is nothing but null", name.text),
            other => format!("`{}` is {other}, and no column has that type", name.text),
        };
        problems.error(Code::Type, span, message, "which type?").help =
            Some("say the type: `cast(null as string)`, `cast([] as list<string>)`".into());
        return None;
    }
    Some(expr)
}

/// Refuses `_timestamp` where the lake does not have it.
fn check_timestamp(expr: Expr, over: &Relation, span: Span, problems: &mut Problems) -> Option<Expr> {
    let mut is_read = false;
    expr.visit_columns(&mut |name| is_read |= name == "_timestamp");
    if over.lacks_timestamp && is_read && over.column("_timestamp").is_some_and(|column| column.implied) {
        problems
            .error(Code::GuardNeedsTimestamp, span, "`_timestamp` is the log's own time", "not in this layout")
            .help = Some(
            "`layout: connect` files do not hold the log's own time: use `archive`, whose layout `log` does".into(),
        );
        return None;
    }
    Some(expr)
}

fn report(scalar: &Scalar, error: sql::SqlError, problems: &mut Problems) {
    let place = problems.place_in(scalar, error.start, error.end);
    let message = if scalar.written.is_some() {
        format!("in an expression with variables: {}", error.message)
    } else {
        error.message
    };
    problems.error(error.code, place, message, "here").help = error.help;
}
