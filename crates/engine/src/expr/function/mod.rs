//! The functions and operators of expressions: one file per family, one entry in [`FUNCTIONS`] each.
//!
//! An entry is everything about a function: names, types, kernel, help, how Flink and DuckDB spell it, and an example
//! that is a test. A new function is one entry in its family's file and one line here.

mod arithmetic;
pub(crate) mod cast;
mod comparison;
mod like;
mod logic;
mod math;
mod text;
mod time;

use arrow::array::ArrayRef;

use super::evaluate::{Failures, Scope};
use super::literal::Literal;
use super::operand::{Call, Value};
use super::{Expr, Kind};
use crate::value::DataType;

/// Every function and operator, in the order of the reference page.
pub static FUNCTIONS: &[&Function] = &[
    &arithmetic::ADD,
    &arithmetic::SUBTRACT,
    &arithmetic::MULTIPLY,
    &arithmetic::DIVIDE,
    &arithmetic::QUOTIENT,
    &arithmetic::REMAINDER,
    &arithmetic::NEGATE,
    &comparison::EQUAL,
    &comparison::NOT_EQUAL,
    &comparison::LESS,
    &comparison::LESS_OR_EQUAL,
    &comparison::GREATER,
    &comparison::GREATER_OR_EQUAL,
    &comparison::IS_DISTINCT_FROM,
    &comparison::IS_NOT_DISTINCT_FROM,
    &comparison::IS_NULL,
    &comparison::IS_NOT_NULL,
    &comparison::BETWEEN,
    &comparison::IN,
    &logic::AND,
    &logic::OR,
    &logic::NOT,
    &logic::CASE,
    &logic::COALESCE,
    &logic::NULLIF,
    &cast::CAST,
    &cast::TRY_CAST,
    &like::LIKE,
    &text::LOWER,
    &text::UPPER,
    &text::LENGTH,
    &text::SUBSTR,
    &text::CONCAT,
    &text::TRIM,
    &text::LTRIM,
    &text::RTRIM,
    &text::REPLACE,
    &text::STARTS_WITH,
    &text::ENDS_WITH,
    &text::CONTAINS,
    &time::DATE_TRUNC,
    &time::EXTRACT,
    &time::ADD_INTERVAL,
    &time::EPOCH_US,
    &time::EPOCH_MS,
    &time::MAKE_TIMESTAMP,
    &math::ABS,
    &math::ROUND,
    &math::FLOOR,
    &math::CEIL,
    &math::SQRT,
    &math::LN,
    &math::EXP,
    &math::POWER,
    &math::GREATEST,
    &math::LEAST,
];

/// Functions that SQL has and results cannot depend on: they read the clock, chance or the environment.
pub const NONDETERMINISTIC: &[&str] = &[
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "sysdate",
    "today",
    "getdate",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
    "unix_timestamp",
    "proctime",
    "current_row_timestamp",
    "current_watermark",
    "random",
    "rand",
    "rand_integer",
    "setseed",
    "uuid",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "current_user",
    "session_user",
    "user",
    "current_database",
    "current_setting",
    "version",
    "getenv",
];

/// A function or operator of expressions.
pub struct Function {
    /// Its name, lower case: `lower`, or an operator such as `+`.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// One line of help.
    pub help: &'static str,
    /// What it takes and gives, for people, such as `(string) → string`.
    pub signature: &'static str,
    /// Returns the types that its arguments are converted to and the type of its result, or why the arguments do not fit.
    pub types: fn(&[Argument<'_>]) -> Result<Signature, String>,
    /// True when any null argument gives null.
    pub(crate) null_gives_null: bool,
    pub(crate) kernel: Kernel,
    /// How it is written here; see `display` for the places in such a template.
    pub sql: &'static str,
    /// How Flink SQL writes it, or empty where it has no equal.
    pub flink: &'static str,
    /// How DuckDB writes it, or empty where it has no equal.
    pub duckdb: &'static str,
    /// An expression that uses it, and its value as text.
    pub example: (&'static str, &'static str),
}

/// How a function is computed.
#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    /// From evaluated operands; a failing operand has failed the row already.
    Rows(fn(&mut Call<'_>) -> ArrayRef),
    /// From operands that it evaluates itself, where the earlier ones leave a row open.
    Lazy(fn(&[Expr], &Scope<'_>, &mut Failures) -> Value),
}

/// What a function knows of an argument before any row is there.
#[derive(Clone, Copy, Debug)]
pub struct Argument<'a> {
    /// Its type.
    pub data_type: DataType,
    /// Its value, when it is a literal.
    pub literal: Option<&'a Literal>,
}

impl<'a> Argument<'a> {
    /// Describes an expression as an argument.
    pub(crate) fn of(expr: &'a Expr) -> Self {
        let literal = match &expr.kind {
            Kind::Literal(literal) => Some(literal),
            Kind::Column(_) | Kind::Call(..) => None,
        };
        Self { data_type: expr.data_type, literal }
    }
}

/// The types of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What each argument is converted to.
    pub arguments: Vec<DataType>,
    /// The type of the result.
    pub result: DataType,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Returns the function of that name or alias (lower case).
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().copied().find(|function| function.name == name || function.aliases.contains(&name))
}

/// Says that a function takes another number of arguments.
pub(crate) fn expect_count(
    arguments: &[Argument<'_>],
    counts: std::ops::RangeInclusive<usize>,
    function: &Function,
) -> Result<(), String> {
    if counts.contains(&arguments.len()) {
        return Ok(());
    }
    Err(format!("`{}` takes {}, not {} arguments", function.name, function.signature, arguments.len()))
}

/// Says that an argument has a type that does not fit.
pub(crate) fn refuse(arguments: &[Argument<'_>], function: &Function) -> String {
    let types: Vec<String> = arguments.iter().map(|argument| argument.data_type.to_string()).collect();
    format!("`{}` takes {}, not ({})", function.name, function.signature, types.join(", "))
}

#[cfg(test)]
mod tests;
