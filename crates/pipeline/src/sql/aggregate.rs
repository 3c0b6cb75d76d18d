//! Aggregate calls inside an output expression: their arguments are read over the rows, the call becomes a column `#i`.

use engine::aggregate::Aggregate;
use engine::expr::{Expr, Literal};
use engine::plan::AggregateCall;
use engine::{Code, DataType, Schema};
use sqlparser::ast::{self, DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

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
    refuse_clauses(function, range)?;
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
    let parameters = take_parameters(aggregate, &mut arguments, range)?;
    let types: Vec<_> = arguments.iter().map(Expr::data_type).collect();
    let output_type =
        aggregate.output_type(&types).map_err(|why| SqlError::new(Code::Type, format!("`{name}` {why}")).at(range))?;
    let filter = match &function.filter {
        Some(filter) => Some(translate_filter(filter, name, range, aggregates, positions)?),
        None => None,
    };
    let call = AggregateCall { aggregate, arguments, parameters, filter, output_type };
    let index = position(aggregates.calls, &call).unwrap_or_else(|| {
        aggregates.calls.push(call);
        aggregates.calls.len() - 1
    });
    Ok(Expr::column(format!("#{index}"), output_type))
}

/// Takes the aggregate's parameters off the end of its arguments: constants that it accepts.
fn take_parameters(
    aggregate: &dyn Aggregate,
    arguments: &mut Vec<Expr>,
    range: (usize, usize),
) -> Result<Vec<Literal>, SqlError> {
    let (name, wanted) = (aggregate.name(), aggregate.parameters());
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let error =
        |why: String| SqlError::new(Code::Type, why).help(format!("write `{}`", aggregate.about().example.call));
    let Some(first) = arguments.len().checked_sub(wanted.len()) else {
        let names: Vec<&str> = wanted.iter().map(|parameter| parameter.name).collect();
        return Err(error(format!("`{name}` needs `{}`", names.join("`, `"))).at(range));
    };
    let given = arguments.split_off(first);
    wanted
        .iter()
        .zip(given)
        .map(|(parameter, given)| {
            let literal = given.as_literal().ok_or_else(|| format!("is a constant, not `{given}`"));
            let checked = literal.and_then(|literal| (parameter.check)(literal).map(|()| literal.clone()));
            checked.map_err(|why| error(format!("`{}` of `{name}` {why}", parameter.name)).at(range))
        })
        .collect()
}

fn translate_filter(
    filter: &ast::Expr,
    name: &'static str,
    range: (usize, usize),
    aggregates: &Aggregates<'_>,
    positions: &Positions<'_>,
) -> Result<Expr, SqlError> {
    let filter = Translator::inside_aggregate(aggregates.row_schema, name, positions).translate(filter)?;
    match filter.data_type() {
        DataType::Bool => Ok(filter),
        DataType::Null => {
            Expr::cast(filter, DataType::Bool, false).map_err(|why| SqlError::new(Code::Type, why).at(range))
        }
        other => {
            Err(SqlError::new(Code::Type, format!("the condition of `filter (where …)` is bool, and this is {other}"))
                .help("compare it with something, such as `x > 0` or `x is not null`")
                .at(range))
        }
    }
}

fn refuse_clauses(function: &Function, range: (usize, usize)) -> Result<(), SqlError> {
    if function.over.is_some() {
        return Err(cannot("`over (…)`", range).help("windows are the step's: `window: {tumbling: {size: 1m}}`"));
    }
    if !function.within_group.is_empty() || function.null_treatment.is_some() {
        return Err(cannot("`within group` and `ignore nulls`", range)
            .help("a quantile is `quantile(x, 0.5)`; nulls are skipped without a word"));
    }
    Ok(())
}

/// Returns the call that is the same already: same aggregate, arguments, parameters and filter.
fn position(calls: &[AggregateCall], wanted: &AggregateCall) -> Option<usize> {
    let wanted = format!("{wanted:?}");
    calls.iter().position(|call| format!("{call:?}") == wanted)
}
