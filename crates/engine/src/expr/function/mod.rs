//! The functions and operators of expressions: one file per family, one entry in [`FUNCTIONS`] each.
//!
//! An entry is everything about a function: names, types, kernel, help, how Flink and DuckDB spell it, and an example
//! that is a test. A new function is one entry in its family's file and one line here.

mod arithmetic;
mod build;
mod bytes;
pub(crate) mod cast;
mod comparison;
mod dates;
mod distance;
mod each;
mod floats;
mod formats;
mod hash;
mod integers;
mod intervals;
mod json;
mod like;
mod list;
mod logic;
mod math;
mod regex;
mod slices;
mod structs;
mod text;
mod time;
mod time_text;
mod units;
mod url;
mod zones;

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
    &logic::IF,
    &logic::NVL2,
    &cast::CAST,
    &cast::TRY_CAST,
    &cast::TYPEOF,
    &like::LIKE,
    &like::ILIKE,
    &regex::REGEXP_MATCHES,
    &regex::REGEXP_FULL_MATCH,
    &regex::REGEXP_REPLACE,
    &regex::REGEXP_EXTRACT,
    &regex::REGEXP_SUBSTR,
    &regex::REGEXP_COUNT,
    &regex::REGEXP_INSTR,
    &regex::REGEXP_ESCAPE,
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
    &slices::LEFT,
    &slices::RIGHT,
    &slices::STRPOS,
    &slices::SPLIT_PART,
    &slices::ASCII,
    &build::CHR,
    &build::LPAD,
    &build::RPAD,
    &build::REPEAT,
    &build::REVERSE,
    &build::INITCAP,
    &build::OVERLAY,
    &build::TRANSLATE,
    &build::CONCAT_WS,
    &distance::LEVENSHTEIN,
    &distance::DAMERAU_LEVENSHTEIN,
    &distance::HAMMING,
    &distance::JACCARD,
    &bytes::OCTET_LENGTH,
    &bytes::BIT_LENGTH,
    &bytes::HEX,
    &bytes::UNHEX,
    &bytes::BIN,
    &bytes::TO_BASE64,
    &bytes::FROM_BASE64,
    &bytes::ENCODE,
    &bytes::DECODE,
    &url::URL_ENCODE,
    &url::URL_DECODE,
    &url::PARSE_URL,
    &url::URL_EXTRACT_HOST,
    &url::URL_EXTRACT_PATH,
    &url::URL_EXTRACT_QUERY,
    &url::URL_EXTRACT_PROTOCOL,
    &url::URL_EXTRACT_FRAGMENT,
    &url::URL_EXTRACT_PORT,
    &url::URL_EXTRACT_PARAMETER,
    &hash::MD5,
    &hash::SHA1,
    &hash::SHA224,
    &hash::SHA256,
    &hash::SHA384,
    &hash::SHA512,
    &hash::XXH3,
    &hash::CRC32,
    &time::DATE_TRUNC,
    &time::EXTRACT,
    &time::ADD_INTERVAL,
    &time::EPOCH_US,
    &time::EPOCH_MS,
    &intervals::ADD_MONTHS,
    &intervals::ADD_DAYS,
    &intervals::TIMESTAMPADD,
    &intervals::DATE_DIFF,
    &intervals::TIMESTAMPDIFF,
    &intervals::TIME_BUCKET,
    &dates::YEAR,
    &dates::QUARTER,
    &dates::MONTH,
    &dates::WEEK,
    &dates::YEARWEEK,
    &dates::ISOYEAR,
    &dates::DAY_OF_MONTH,
    &dates::DAY_OF_WEEK,
    &dates::ISODOW,
    &dates::DAY_OF_YEAR,
    &dates::HOUR_OF_DAY,
    &dates::MINUTE_OF_HOUR,
    &dates::SECOND_OF_MINUTE,
    &dates::MILLISECOND,
    &dates::MICROSECOND,
    &dates::DECADE,
    &dates::CENTURY,
    &dates::MILLENNIUM,
    &dates::DAYNAME,
    &dates::MONTHNAME,
    &dates::LAST_DAY,
    &dates::EPOCH,
    &dates::EPOCH_NS,
    &dates::TO_TIMESTAMP,
    &dates::MAKE_DATE,
    &dates::MAKE_TIMESTAMP,
    &dates::MAKE_TIMESTAMP_MS,
    &formats::STRFTIME,
    &formats::STRPTIME,
    &formats::TRY_STRPTIME,
    &zones::TIMEZONE,
    &zones::TO_UTC,
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
    &floats::LOG10,
    &floats::LOG2,
    &floats::LOG,
    &floats::CBRT,
    &floats::SIGN,
    &floats::TRUNC,
    &floats::EVEN,
    &floats::PI_CONSTANT,
    &floats::E_CONSTANT,
    &floats::SIN,
    &floats::COS,
    &floats::TAN,
    &floats::COT,
    &floats::ASIN,
    &floats::ACOS,
    &floats::ATAN,
    &floats::ATAN2,
    &floats::SINH,
    &floats::COSH,
    &floats::TANH,
    &floats::ASINH,
    &floats::ACOSH,
    &floats::ATANH,
    &floats::DEGREES,
    &floats::RADIANS,
    &floats::GAMMA,
    &floats::LGAMMA,
    &floats::ISNAN,
    &floats::ISINF,
    &floats::ISFINITE,
    &floats::WIDTH_BUCKET,
    &integers::GCD,
    &integers::LCM,
    &integers::FACTORIAL,
    &integers::BIT_AND,
    &integers::BIT_OR,
    &integers::BIT_XOR,
    &integers::BIT_NOT,
    &integers::SHIFT_LEFT,
    &integers::SHIFT_RIGHT,
    &integers::BIT_COUNT,
    &list::LIST,
    &list::ELEMENT,
    &list::LENGTH,
    &list::CONTAINS,
    &list::POSITION,
    &list::SLICE,
    &list::SORT,
    &list::REVERSE_SORT,
    &list::REVERSE,
    &list::DISTINCT,
    &list::CONCAT,
    &list::APPEND,
    &list::PREPEND,
    &list::MIN,
    &list::MAX,
    &list::SUM,
    &list::FLATTEN,
    &list::RANGE,
    &list::SPLIT,
    &list::TO_STRING,
    &structs::STRUCT_PACK,
    &structs::STRUCT_EXTRACT,
    &json::EXTRACT,
    &json::EXTRACT_TEXT,
    &json::VALUE,
    &json::EXISTS,
    &json::ARRAY_LENGTH,
    &json::KEYS,
    &json::TYPE,
    &json::VALID,
    &json::TO_JSON,
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
    /// The part of the reference page it stands in.
    pub family: Family,
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
    /// Where its result is another than that of the spellings, in one line for people; empty where it never is.
    pub differs: &'static str,
    /// Arguments that are written out, because types or meaning depend on them: the place, and words it may be.
    pub constants: &'static [(usize, &'static [&'static str])],
    /// Data of others that its results follow: what it is, and which version the program was built with.
    pub data: Option<(&'static str, &'static str)>,
    /// An expression that uses it, and its value as text.
    pub example: (&'static str, &'static str),
}

/// A part of the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `= < between in`.
    Comparison,
    /// `and or not case` and other choices.
    Logic,
    /// `cast`.
    Conversion,
    /// Arithmetic and what follows it.
    Numbers,
    /// Integers as bits.
    Bits,
    /// Text.
    Text,
    /// `like` and regular expressions.
    Patterns,
    /// Bytes and their texts.
    Bytes,
    /// Addresses of the web.
    Urls,
    /// Digests and checksums.
    Hashes,
    /// Times and dates.
    Time,
    /// Lists and structs.
    Nested,
    /// JSON.
    Json,
}

/// Returns what most entries of a family say; an entry says the rest.
const fn base(family: Family) -> Function {
    Function {
        name: "",
        family,
        aliases: &[],
        help: "",
        signature: "",
        types: |_| Err(String::new()),
        null_gives_null: true,
        kernel: Kernel::Rows(|_| unreachable!("an entry names its kernel")),
        sql: "",
        flink: "",
        duckdb: "",
        differs: "",
        constants: &[],
        data: None,
        example: ("", ""),
    }
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

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Text,
    /// Text or binary, taken as binary.
    Bytes,
    Integer,
    /// Any number, taken as float64.
    Float,
    /// A timestamp, a date (taken as its midnight) or the text of one.
    Time,
}

impl Slot {
    /// Returns the type that the kernel sees, or None when the argument does not fit.
    fn accept(self, argument: &Argument<'_>) -> Option<DataType> {
        let is_text = matches!(argument.data_type, DataType::String);
        let is_null = matches!(argument.data_type, DataType::Null);
        let (fits, data_type) = match self {
            Slot::Text => (is_text, DataType::String),
            Slot::Bytes => (is_text || argument.data_type == DataType::Binary, DataType::Binary),
            Slot::Integer => (argument.data_type.is_integer(), DataType::Int64),
            Slot::Float => (argument.data_type.is_numeric(), DataType::Float64),
            Slot::Time => {
                let is_time = matches!(argument.data_type, DataType::Timestamp | DataType::Date);
                (is_time || (is_text && argument.literal.is_some()), DataType::Timestamp)
            }
        };
        (fits || is_null).then_some(data_type)
    }
}

/// Returns the types of a function that takes these arguments, at least `least` of them.
pub(crate) fn takes(
    arguments: &[Argument<'_>],
    function: &Function,
    slots: &[Slot],
    least: usize,
    result: DataType,
) -> Result<Signature, String> {
    expect_count(arguments, least..=slots.len(), function)?;
    let types: Option<Vec<DataType>> =
        arguments.iter().zip(slots).map(|(argument, slot)| slot.accept(argument)).collect();
    let types = types.ok_or_else(|| refuse(arguments, function))?;
    for (place, words) in function.constants {
        let Some(argument) = arguments.get(*place) else { continue };
        if !matches!(argument.literal, Some(literal) if *literal != Literal::Null) {
            return Err(format!(
                "argument {} of `{}` is written out, such as '{}'",
                place + 1,
                function.name,
                words.first().copied().unwrap_or_default()
            ));
        }
    }
    Ok(Signature { arguments: types, result })
}

/// Returns the text that an argument is, when it is written out.
pub(crate) fn written<'a>(arguments: &[Argument<'a>], place: usize) -> Option<&'a str> {
    match arguments.get(place)?.literal? {
        Literal::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
