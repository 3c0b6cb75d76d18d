//! Aggregate calls inside an output expression: their arguments are read over the rows, the call becomes a column `#i`.

use engine::aggregate::Aggregate;
use engine::expr::Expr;
use engine::plan::AggregateCall;
use engine::{Code, Schema};
use sqlparser::ast::{DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::translate::{Translator, cannot};
use super::{Positions, SqlError};

/// Where aggregates may stand, and what they see.
pub(super) struct Aggregates<'a> {
    pub(super) row_schema: &'a Schema,
    pub(super) calls: &'a mut Vec<AggregateCall>,
}

/// Reads a call of an aggregate and returns the column of its result.
pub(super) fn translate_call(
    aggregate: &'static dyn Aggregate,
    function: &Function,
    range: (usize, usize),
    aggregates: &mut Aggregates<'_>,
    positions: &Positions<'_>,
) -> Result<Expr, SqlError> {
    let name = aggregate.name();
    refuse_clauses(name, function, range)?;
    let FunctionArguments::List(list) = &function.args else {
        return Err(SqlError::new(Code::Expression, format!("`{name}` needs parentheses")).at(range));
    };
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        let error = SqlError::new(Code::Expression, format!("`{name}(distinct …)` is not an aggregate here")).at(range);
        return Err(match name {
            "count" => error.help("write `count_distinct(x)`; it is exact"),
            _ => error.help(
                "of distinct values there is `count_distinct(x)`; otherwise remove duplicates with `dedup` first",
            ),
        });
    }
    if !list.clauses.is_empty() {
        return Err(cannot(format!("clauses inside `{name}(…)`"), range)
            .help("aggregates take rows in record order, whatever the order of reading; nothing has to be said"));
    }
    let mut arguments = Vec::with_capacity(list.args.len());
    for argument in &list.args {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                arguments.push(Translator::inside_aggregate(aggregates.row_schema, name, positions).translate(expr)?);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" && list.args.len() == 1 => {}
            _ => return Err(cannot(format!("`{argument}` as an argument of `{name}`"), range)),
        }
    }
    if name == "count" && list.args.is_empty() {
        return Err(SqlError::new(Code::Expression, "`count()` counts nothing")
            .help("write `count(*)` for rows or `count(x)` for rows where x is not null")
            .at(range));
    }
    let types: Vec<_> = arguments.iter().map(Expr::data_type).collect();
    let output_type = aggregate.output_type(&types).map_err(|why| SqlError::new(Code::Type, why).at(range))?;
    let index = position(aggregates.calls, aggregate, &arguments).unwrap_or_else(|| {
        aggregates.calls.push(AggregateCall { aggregate, arguments, output_type });
        aggregates.calls.len() - 1
    });
    Ok(Expr::column(format!("#{index}"), output_type))
}

fn refuse_clauses(name: &str, function: &Function, range: (usize, usize)) -> Result<(), SqlError> {
    if function.filter.is_some() {
        return Err(SqlError::new(Code::NotBuilt, format!("`{name}(…) filter (where …)` is not built yet"))
            .help(format!(
                "write `{name}(case when condition then {} end)`; aggregates skip nulls",
                if name == "count" { "1" } else { "x" }
            ))
            .at(range));
    }
    if function.over.is_some() {
        return Err(cannot("`over (…)`", range).help("windows are the step's: `window: {tumbling: {size: 1m}}`"));
    }
    if !function.within_group.is_empty() || function.null_treatment.is_some() {
        return Err(cannot("`within group` and `ignore nulls`", range));
    }
    Ok(())
}

/// Returns the call that is the same already: same aggregate, same arguments.
fn position(calls: &[AggregateCall], aggregate: &dyn Aggregate, arguments: &[Expr]) -> Option<usize> {
    let texts = |arguments: &[Expr]| arguments.iter().map(Expr::to_string).collect::<Vec<_>>();
    let wanted = texts(arguments);
    calls.iter().position(|call| call.aggregate.name() == aggregate.name() && texts(&call.arguments) == wanted)
}
