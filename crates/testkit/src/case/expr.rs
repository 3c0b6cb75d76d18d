//! A small closed set of expressions, as text for the pipeline file and with the types the format gives them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use crate::value::{Type, Value};

/// A named, typed column.
pub type Column = (String, Type);

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expr {
    /// A column by name.
    Column(String),
    /// An int64, float64, text or bool, as a literal.
    Literal(Value),
    /// An operation on values of one type.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// A function or operator with one or more operands.
    Function(Function, Vec<Expr>),
    /// `case when … then … else … end`.
    Case(Box<Expr>, Box<Expr>, Box<Expr>),
    /// An aggregate; only in a step's `aggregate:`.
    Call(Call),
}

/// A call of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The aggregate.
    pub aggregate: Aggregate,
    /// Its arguments, constant ones too; none: `count(*)`.
    pub arguments: Vec<Expr>,
    /// `filter (where …)`.
    pub filter: Option<Box<Expr>>,
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    /// `/`: float64.
    Divide,
    /// `//`: integer, truncating.
    Quotient,
    /// `%`: integer, with the sign of the dividend.
    Remainder,
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

impl Binary {
    /// Returns it as SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Quotient => "//",
            Binary::Remainder => "%",
            Binary::Equal => "=",
            Binary::Different => "<>",
            Binary::Less => "<",
            Binary::LessOrEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterOrEqual => ">=",
            Binary::And => "and",
            Binary::Or => "or",
        }
    }
}

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Function {
    Not,
    IsNull,
    IsNotNull,
    Coalesce,
    NullIf,
    Lower,
    Upper,
    Length,
    Concat,
    /// `cast(text as int64)`: fails for text that is no number.
    ToInt,
    /// `try_cast(text as int64)`: null for text that is no number.
    TryToInt,
    /// `cast(integer as float64)`.
    ToFloat,
    /// `list_length(list)`.
    ListLength,
    /// `list[n]`, from the end when negative.
    Element,
    /// `pair.a`.
    FieldA,
    /// `json ->> 'a'`.
    MemberA,
    /// One of many more.
    Scalar(Scalar),
}

/// An aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Aggregate {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    ArgMin,
    ArgMax,
    BoolAnd,
    BoolOr,
    BitAnd,
    BitOr,
    BitXor,
    CovarPop,
    CovarSamp,
    Corr,
    RegrSlope,
    Quantile,
    ApproxQuantile,
    ApproxCountDistinct,
    ArrayAgg,
}

/// Every aggregate, among others like it.
pub const FAMILIES: &[(&str, &[Aggregate])] = &[
    ("counts", &[Aggregate::Count, Aggregate::CountDistinct]),
    ("sums", &[Aggregate::Sum, Aggregate::Avg]),
    ("extremes", &[Aggregate::Min, Aggregate::Max]),
    ("first and last", &[Aggregate::First, Aggregate::Last]),
    ("variances", &[Aggregate::VarPop, Aggregate::VarSamp, Aggregate::StddevPop, Aggregate::StddevSamp]),
    ("values of extremes", &[Aggregate::ArgMin, Aggregate::ArgMax]),
    ("booleans", &[Aggregate::BoolAnd, Aggregate::BoolOr]),
    ("bits", &[Aggregate::BitAnd, Aggregate::BitOr, Aggregate::BitXor]),
    ("covariances", &[Aggregate::CovarPop, Aggregate::CovarSamp, Aggregate::Corr, Aggregate::RegrSlope]),
    ("quantiles", &[Aggregate::Quantile, Aggregate::ApproxQuantile]),
    ("sketches", &[Aggregate::ApproxCountDistinct]),
    ("lists", &[Aggregate::ArrayAgg]),
];

impl Aggregate {
    /// Returns its name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::CountDistinct => "count_distinct",
            Aggregate::Sum => "sum",
            Aggregate::Avg => "avg",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::First => "first",
            Aggregate::Last => "last",
            Aggregate::VarPop => "var_pop",
            Aggregate::VarSamp => "var_samp",
            Aggregate::StddevPop => "stddev_pop",
            Aggregate::StddevSamp => "stddev_samp",
            Aggregate::ArgMin => "arg_min",
            Aggregate::ArgMax => "arg_max",
            Aggregate::BoolAnd => "bool_and",
            Aggregate::BoolOr => "bool_or",
            Aggregate::BitAnd => "bit_and",
            Aggregate::BitOr => "bit_or",
            Aggregate::BitXor => "bit_xor",
            Aggregate::CovarPop => "covar_pop",
            Aggregate::CovarSamp => "covar_samp",
            Aggregate::Corr => "corr",
            Aggregate::RegrSlope => "regr_slope",
            Aggregate::Quantile => "quantile",
            Aggregate::ApproxQuantile => "approx_quantile",
            Aggregate::ApproxCountDistinct => "approx_count_distinct",
            Aggregate::ArrayAgg => "array_agg",
        }
    }

    /// Returns how many arguments it takes.
    pub fn argument_count(self) -> usize {
        match self {
            Aggregate::ArgMin | Aggregate::ArgMax => 2,
            Aggregate::Quantile | Aggregate::ApproxQuantile => 2,
            Aggregate::CovarPop | Aggregate::CovarSamp | Aggregate::Corr | Aggregate::RegrSlope => 2,
            _ => 1,
        }
    }

    /// Returns the type of its result, or None when it does not take such arguments.
    pub fn output(self, arguments: &[Type]) -> Option<Type> {
        let (first, number) = match arguments {
            [] => return (self == Aggregate::Count).then_some(Type::Int64),
            [first, ..] if arguments.len() == self.argument_count() => (*first, first.is_number()),
            _ => return None,
        };
        match self {
            Aggregate::ArrayAgg => match first {
                Type::Int64 => Some(Type::Ints),
                Type::Float => Some(Type::Floats),
                Type::Text => Some(Type::Texts),
                _ => None,
            },
            // Their bytes are the engine's own.
            Aggregate::ApproxCountDistinct
                if matches!(first, Type::Ints | Type::Floats | Type::Texts | Type::Pair | Type::Pairs | Type::Json) =>
            {
                None
            }
            Aggregate::Count | Aggregate::CountDistinct | Aggregate::ApproxCountDistinct => Some(Type::Int64),
            // The other argument is a constant.
            Aggregate::Quantile | Aggregate::ApproxQuantile => number.then_some(Type::Float),
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => Some(first),
            Aggregate::ArgMin | Aggregate::ArgMax => Some(first),
            Aggregate::Sum => number.then_some(match first {
                Type::Decimal(_, scale) => Type::Decimal(38, scale),
                Type::Float => Type::Float,
                _ => Type::Int64,
            }),
            Aggregate::Avg => number.then_some(match first {
                Type::Decimal(_, scale) => Type::Decimal(38, scale + 4),
                _ => Type::Float,
            }),
            Aggregate::VarPop | Aggregate::VarSamp | Aggregate::StddevPop | Aggregate::StddevSamp => {
                number.then_some(Type::Float)
            }
            Aggregate::CovarPop | Aggregate::CovarSamp | Aggregate::Corr | Aggregate::RegrSlope => {
                arguments.iter().all(|argument| argument.is_number()).then_some(Type::Float)
            }
            Aggregate::BoolAnd | Aggregate::BoolOr => (first == Type::Bool).then_some(first),
            Aggregate::BitAnd | Aggregate::BitOr | Aggregate::BitXor => first.is_integer().then_some(first),
        }
    }
}

/// Makes a column expression.
pub fn column(name: &str) -> Expr {
    Expr::Column(name.to_string())
}

/// Makes a call of an aggregate without a filter.
pub fn call(aggregate: Aggregate, arguments: Vec<Expr>) -> Expr {
    Expr::Call(Call { aggregate, arguments, filter: None })
}

impl Call {
    /// Returns the types of its arguments over these columns, or None when one does not fit them.
    pub fn types_over(&self, columns: &[Column]) -> Option<Vec<Type>> {
        self.arguments.iter().map(|argument| argument.type_over(columns)).collect()
    }
}

/// Makes a binary expression.
pub fn binary(operator: Binary, left: Expr, right: Expr) -> Expr {
    Expr::Binary(operator, Box::new(left), Box::new(right))
}

impl Expr {
    /// Visits the expression and all in it.
    pub fn visit(&self, visitor: &mut dyn FnMut(&Expr)) {
        visitor(self);
        match self {
            Expr::Column(_) | Expr::Literal(_) => {}
            Expr::Binary(_, left, right) => [left, right].iter().for_each(|part| part.visit(visitor)),
            Expr::Function(_, arguments) => arguments.iter().for_each(|part| part.visit(visitor)),
            Expr::Case(condition, then, otherwise) => {
                [condition, then, otherwise].iter().for_each(|part| part.visit(visitor));
            }
            Expr::Call(call) => {
                call.arguments.iter().chain(call.filter.as_deref()).for_each(|part| part.visit(visitor))
            }
        }
    }

    /// Returns the type over these columns, or None when it does not fit them.
    pub fn type_over(&self, columns: &[Column]) -> Option<Type> {
        match self {
            Expr::Column(name) => columns.iter().find(|(column, _)| column == name).map(|(_, ty)| *ty),
            Expr::Literal(value) => match value {
                Value::Bool(_) => Some(Type::Bool),
                Value::Int(_) => Some(Type::Int64),
                Value::Float(_) => Some(Type::Float),
                Value::Text(_) => Some(Type::Text),
                _ => None,
            },
            Expr::Binary(operator, left, right) => {
                binary_type(*operator, left.type_over(columns)?, right.type_over(columns)?)
            }
            Expr::Function(function, arguments) => {
                let types: Option<Vec<Type>> = arguments.iter().map(|argument| argument.type_over(columns)).collect();
                function_type(*function, &types?)
            }
            Expr::Case(condition, then, otherwise) => {
                let (then, otherwise) = (then.type_over(columns)?, otherwise.type_over(columns)?);
                (condition.type_over(columns)? == Type::Bool && then == otherwise).then_some(then)
            }
            Expr::Call(call) => {
                if let Some(filter) = &call.filter {
                    filter.type_over(columns).filter(|ty| *ty == Type::Bool)?;
                }
                call.aggregate.output(&call.types_over(columns)?)
            }
        }
    }
}

fn binary_type(operator: Binary, left: Type, right: Type) -> Option<Type> {
    let integers = left.is_integer() && right.is_integer();
    let alike = left == right || integers;
    if let (Type::Decimal(p, s), Type::Decimal(q, t)) = (left, right) {
        let scale = s.max(t);
        match operator {
            // Values do not know their scale, so both have the same.
            Binary::Add | Binary::Subtract => {
                return (s == t).then(|| Type::Decimal(((p - s).max(q - t) + scale + 1).min(38), scale));
            }
            Binary::Multiply => return (s + t <= 38).then(|| Type::Decimal((p + q).min(38), s + t)),
            Binary::Divide | Binary::Quotient | Binary::Remainder | Binary::And | Binary::Or => return None,
            _ => {}
        }
    }
    match operator {
        Binary::And | Binary::Or => (left == Type::Bool && alike).then_some(Type::Bool),
        Binary::Quotient | Binary::Remainder => integers.then_some(Type::Int64),
        Binary::Add | Binary::Subtract | Binary::Multiply if integers => Some(Type::Int64),
        Binary::Add | Binary::Subtract | Binary::Multiply => (left == Type::Float && alike).then_some(Type::Float),
        Binary::Divide => (alike && (integers || left == Type::Float)).then_some(Type::Float),
        _ => alike.then_some(Type::Bool),
    }
}

fn function_type(function: Function, types: &[Type]) -> Option<Type> {
    let first = *types.first()?;
    let all_text = types.iter().all(|ty| *ty == Type::Text);
    match function {
        Function::Not => (first == Type::Bool).then_some(Type::Bool),
        Function::IsNull | Function::IsNotNull => Some(Type::Bool),
        Function::Coalesce | Function::NullIf => types.iter().all(|ty| *ty == first).then_some(first),
        Function::Lower | Function::Upper | Function::Concat => all_text.then_some(Type::Text),
        Function::Length | Function::ToInt | Function::TryToInt => all_text.then_some(Type::Int64),
        Function::ToFloat => first.is_integer().then_some(Type::Float),
        Function::ListLength => first.element().map(|_| Type::Int64),
        Function::Element => first.element().filter(|_| types.get(1).is_some_and(|place| place.is_integer())),
        Function::FieldA => (first == Type::Pair).then_some(Type::Int64),
        Function::MemberA => (first == Type::Json).then_some(Type::Text),
        Function::Scalar(scalar) => scalar.output(types),
    }
}

/// As SQL.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Column(name) => f.write_str(name),
            Expr::Literal(value) => match value {
                Value::Bool(x) => write!(f, "{x}"),
                Value::Int(x) if *x < 0 => write!(f, "({x})"),
                Value::Int(x) => write!(f, "{x}"),
                Value::Float(x) if *x < 0.0 => write!(f, "({x:?})"),
                Value::Float(x) => write!(f, "{x:?}"),
                Value::Text(x) => write!(f, "'{}'", x.replace('\'', "''")),
                other => unreachable!("no literal is written for {other}"),
            },
            Expr::Binary(operator, left, right) => write!(f, "({left} {} {right})", operator.sql()),
            Expr::Function(function, arguments) => write_function(f, *function, arguments),
            Expr::Case(condition, then, otherwise) => {
                write!(f, "case when {condition} then {then} else {otherwise} end")
            }
            Expr::Call(call) => {
                let arguments: Vec<String> = call.arguments.iter().map(Expr::to_string).collect();
                let arguments = if arguments.is_empty() { "*".to_string() } else { arguments.join(", ") };
                write!(f, "{}({arguments})", call.aggregate.sql())?;
                match &call.filter {
                    Some(filter) => write!(f, " filter (where {filter})"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn write_function(f: &mut fmt::Formatter<'_>, function: Function, arguments: &[Expr]) -> fmt::Result {
    let first = &arguments[0];
    let name = match function {
        Function::Scalar(scalar) => return scalar.write(f, arguments),
        Function::Not => return write!(f, "(not {first})"),
        Function::IsNull => return write!(f, "({first} is null)"),
        Function::IsNotNull => return write!(f, "({first} is not null)"),
        Function::ToInt => return write!(f, "cast({first} as int64)"),
        Function::TryToInt => return write!(f, "try_cast({first} as int64)"),
        Function::ToFloat => return write!(f, "cast({first} as float64)"),
        Function::Element => return write!(f, "({first})[{}]", arguments[1]),
        Function::FieldA => return write!(f, "({first}).a"),
        Function::MemberA => return write!(f, "({first} ->> 'a')"),
        Function::ListLength => "list_length",
        Function::Coalesce => "coalesce",
        Function::NullIf => "nullif",
        Function::Lower => "lower",
        Function::Upper => "upper",
        Function::Length => "length",
        Function::Concat => "concat",
    };
    let arguments: Vec<String> = arguments.iter().map(Expr::to_string).collect();
    write!(f, "{name}({})", arguments.join(", "))
}
