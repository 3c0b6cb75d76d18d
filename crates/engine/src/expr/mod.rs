//! Row expressions: typed trees evaluated with Arrow kernels, one value per row, errors per row.
//!
//! A row whose expression fails (overflow, cast, integer division by zero) fails alone: [`Evaluated`] names it with its
//! reason. `case`, `coalesce`, `and` and `or` look at a later operand only where the earlier ones leave it open; every
//! other function has all its operands evaluated first, so that a failing operand fails the row.
//!
//! An [`Expr`] is made by the constructors here, which check types and insert the implicit conversions, so that a tree
//! that exists can be evaluated. What can be called is the table [`function::FUNCTIONS`].
//!
//! ```
//! use samestream_engine::DataType;
//! use samestream_engine::expr::{Expr, Literal};
//!
//! let doubled = Expr::call("*", vec![Expr::column("n", DataType::Int32), Expr::literal(Literal::Int64(2))]).unwrap();
//! assert_eq!(doubled.to_string(), "(cast(n as int64) * 2)");
//! assert_eq!(doubled.data_type(), DataType::Int64);
//! ```

mod cast;
mod coerce;
pub(crate) mod decimal;
mod display;
mod evaluate;
pub mod function;
mod interval;
mod literal;
mod nested;
mod operand;
mod time;

/// The texts of values, for [`crate::json`].
pub(crate) mod text {
    pub(crate) use super::cast::float_text;
    pub(crate) use super::decimal::text as decimal_text;
    pub(crate) use super::time::{date_text, timestamp_text};
}

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};

use crate::value::DataType;

use function::{Argument, Function};
pub use interval::Interval;
pub use literal::Literal;

/// How deep a tree may be, so that neither evaluating nor dropping one can exhaust the stack.
pub const MAX_DEPTH: usize = 128;

/// A typed expression over the columns of a batch, found by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    kind: Kind,
    data_type: DataType,
    depth: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Column(String),
    Literal(Literal),
    Call(&'static Function, Vec<Expr>),
}

/// The values of an expression, and the rows for which it failed.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One value per row, as the Arrow array of the expression's type; null where the row failed.
    pub values: ArrayRef,
    /// Rows that failed with the reason, by growing row number.
    pub failures: Vec<(u32, String)>,
}

impl Expr {
    /// Makes an expression that is a column of the batch.
    pub fn column(name: impl Into<String>, data_type: DataType) -> Self {
        Self { kind: Kind::Column(name.into()), data_type, depth: 1 }
    }

    /// Makes an expression that has the same value in every row.
    pub fn literal(value: Literal) -> Self {
        let data_type = value.data_type();
        Self { kind: Kind::Literal(value), data_type, depth: 1 }
    }

    /// Makes a call of the function or operator of that name in [`function::FUNCTIONS`], converting its arguments, or
    /// says why they do not fit. A `case` takes its conditions and results in turn, then what else.
    pub fn call(name: &str, arguments: Vec<Expr>) -> Result<Self, String> {
        let function = function::find(name).ok_or_else(|| format!("unknown function `{name}`"))?;
        let described: Vec<Argument<'_>> = arguments.iter().map(Argument::of).collect();
        let signature = (function.types)(&described)?;
        debug_assert_eq!(signature.arguments.len(), arguments.len(), "`{name}` gives every argument a type");
        let arguments = arguments
            .into_iter()
            .zip(&signature.arguments)
            .map(|(argument, data_type)| coerce::coerce(argument, *data_type))
            .collect::<Result<Vec<_>, _>>()?;
        Self::checked_call(function, arguments, signature.result)
    }

    /// Makes `case when condition then result … else result end`; without `otherwise` it is null.
    pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Self, String> {
        let mut arguments: Vec<Expr> = branches.into_iter().flat_map(|(when, then)| [when, then]).collect();
        arguments.push(otherwise.unwrap_or_else(|| Expr::literal(Literal::Null)));
        Self::call("case", arguments)
    }

    /// Makes a conversion; a value that cannot be converted fails the row, or with `or_null` becomes null.
    pub fn cast(operand: Expr, to: DataType, or_null: bool) -> Result<Self, String> {
        if operand.data_type == to {
            return Ok(operand);
        }
        cast::check(operand.data_type, to)?;
        if matches!(operand.kind, Kind::Literal(Literal::Null)) {
            return coerce::coerce(operand, to);
        }
        let function = if or_null { &function::cast::TRY_CAST } else { &function::cast::CAST };
        Self::checked_call(function, vec![operand], to)
    }

    /// Makes a text literal the literal of that type, such as a timestamp, or says why it is none.
    pub fn constant(literal: Expr, data_type: DataType) -> Result<Self, String> {
        coerce::coerce(literal, data_type)
    }

    fn checked_call(function: &'static Function, arguments: Vec<Expr>, data_type: DataType) -> Result<Self, String> {
        let depth = 1 + arguments.iter().map(|argument| argument.depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(format!("the expression nests more than {MAX_DEPTH} deep"));
        }
        Ok(Self { kind: Kind::Call(function, arguments), data_type, depth })
    }

    /// Returns the type of its values.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Returns the column's name when the expression is nothing but a column.
    pub fn as_column(&self) -> Option<&str> {
        match &self.kind {
            Kind::Column(name) => Some(name),
            Kind::Literal(_) | Kind::Call(..) => None,
        }
    }

    /// Returns the value when the expression is nothing but a literal.
    pub fn as_literal(&self) -> Option<&Literal> {
        match &self.kind {
            Kind::Literal(literal) => Some(literal),
            Kind::Column(_) | Kind::Call(..) => None,
        }
    }

    /// Calls `visit` with the name of every column it reads.
    pub fn visit_columns(&self, visit: &mut dyn FnMut(&str)) {
        match &self.kind {
            Kind::Column(name) => visit(name),
            Kind::Literal(_) => {}
            Kind::Call(_, arguments) => arguments.iter().for_each(|argument| argument.visit_columns(visit)),
        }
    }

    /// Evaluates it for every row. A text column of the batch may be a Dictionary(Int32, Utf8); the result never is.
    ///
    /// # Panics
    /// When a column is missing or has another type: the plan was checked, so that is our bug.
    pub fn evaluate(&self, batch: &RecordBatch) -> Evaluated {
        evaluate::evaluate(self, batch)
    }

    /// Evaluates a condition: which rows it keeps (null does not keep, nor does a failed row), and the rows that failed.
    ///
    /// # Panics
    /// As [`Expr::evaluate`], and when it is not of type bool.
    pub fn evaluate_filter(&self, batch: &RecordBatch) -> (BooleanArray, Vec<(u32, String)>) {
        evaluate::evaluate_filter(self, batch)
    }
}
