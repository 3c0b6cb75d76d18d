//! Stands in for `sql` until that is here: bare columns and single aggregate calls.
use engine::expr::Expr;
use engine::plan::AggregateCall;
use engine::{Code, Schema};

pub(crate) struct SqlError {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

fn wrong(text: &str) -> SqlError {
    SqlError {
        code: Code::Expression,
        message: format!("`{text}` is not read yet"),
        help: None,
        start: 0,
        end: text.len(),
    }
}

pub(crate) fn parse_expression(text: &str, schema: &Schema) -> Result<Expr, SqlError> {
    schema.field(text.trim()).map(|field| Expr::column(&field.name, field.data_type)).ok_or_else(|| wrong(text))
}

pub(crate) fn parse_aggregate_output(
    text: &str,
    rows: &Schema,
    closed: &Schema,
    calls: &mut Vec<AggregateCall>,
) -> Result<Expr, SqlError> {
    let Some((name, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
        return parse_expression(text, closed);
    };
    let aggregate = engine::aggregate::find(name).ok_or_else(|| wrong(text))?;
    let arguments = if argument == "*" { vec![] } else { vec![parse_expression(argument, rows)?] };
    let types: Vec<_> = arguments.iter().map(Expr::data_type).collect();
    let output_type = aggregate.output_type(&types).map_err(|_| wrong(text))?;
    calls.push(AggregateCall { aggregate, arguments, output_type });
    Ok(Expr::column(format!("#{}", calls.len() - 1), output_type))
}
