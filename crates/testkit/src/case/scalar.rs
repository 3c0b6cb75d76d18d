//! Scalar functions of random expressions: how each is written and which types it takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::expr::Expr;
use crate::value::Type;

/// A unit or part of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// Every unit.
pub const UNITS: [Unit; 8] =
    [Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year];

impl Unit {
    /// Returns its name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Quarter => "quarter",
            Unit::Year => "year",
        }
    }
}

/// Patterns of regular expressions, written so that the oracle's small matcher knows all of them: characters, `.`, `*`
/// behind one of these, `^` and `$` at the ends.
pub const PATTERNS: [&str; 8] = ["a", "^/", "b$", "^.$", "1.*2", "x*", "É", "^$"];

/// Patterns of `like`.
pub const LIKES: [&str; 8] = ["%", "_", "/%", "%a", "%é%", "_b%", "", "%\"%"];

/// A scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs)]
pub enum Scalar {
    /// `like` (or, if true, `ilike`) one of [`LIKES`].
    Like(usize, bool),
    /// `regexp_matches` one of [`PATTERNS`].
    Matches(usize),
    Substr,
    Left,
    Right,
    Lpad,
    Repeat,
    Reverse,
    Replace,
    Strpos,
    SplitPart,
    StartsWith,
    Contains,
    Trim,
    Translate,
    Ascii,
    OctetLength,
    Hex,
    ConcatWs,
    Levenshtein,
    Abs,
    Sign,
    Gcd,
    BitAnd,
    BitOr,
    Xor,
    BitNot,
    ShiftRight,
    Greatest,
    Least,
    Round,
    Floor,
    Ceil,
    Trunc,
    IsNan,
    DateTrunc(Unit),
    Extract(Unit),
    DateDiff(Unit),
    TimestampDiff(Unit),
    AddMonths,
    /// `ts + interval '… seconds'`.
    AddSeconds(i64),
    AddDays,
    /// `time_bucket('… minutes', ts)`.
    Bucket(i64),
    LastDay,
    ToDate,
    ToTime,
    EpochMs,
    DayName,
    /// `strftime(ts, '%Y/%m/%d %H-%M-%S')`.
    Written,
    If,
}

/// The modules of the engine that have the functions.
pub const MODULES: [&str; 17] = [
    "arithmetic",
    "build",
    "bytes",
    "cast",
    "dates",
    "distance",
    "floats",
    "formats",
    "integers",
    "intervals",
    "like",
    "logic",
    "math",
    "regex",
    "slices",
    "text",
    "time",
];

impl Scalar {
    /// Returns the module of the engine that has it.
    pub fn module(self) -> &'static str {
        match self {
            Scalar::AddDays => "arithmetic",
            Scalar::Lpad | Scalar::Repeat | Scalar::Reverse | Scalar::Translate | Scalar::ConcatWs => "build",
            Scalar::OctetLength | Scalar::Hex => "bytes",
            Scalar::ToDate | Scalar::ToTime => "cast",
            Scalar::LastDay | Scalar::DayName => "dates",
            Scalar::Levenshtein => "distance",
            Scalar::Sign | Scalar::Trunc | Scalar::IsNan => "floats",
            Scalar::Written => "formats",
            Scalar::Gcd | Scalar::BitAnd | Scalar::BitOr | Scalar::Xor | Scalar::BitNot | Scalar::ShiftRight => {
                "integers"
            }
            Scalar::AddMonths | Scalar::DateDiff(_) | Scalar::TimestampDiff(_) | Scalar::Bucket(_) => "intervals",
            Scalar::Like(..) => "like",
            Scalar::If => "logic",
            Scalar::Abs | Scalar::Greatest | Scalar::Least | Scalar::Round | Scalar::Floor | Scalar::Ceil => "math",
            Scalar::Matches(_) => "regex",
            Scalar::Left | Scalar::Right | Scalar::Strpos | Scalar::SplitPart | Scalar::Ascii => "slices",
            Scalar::Substr | Scalar::Replace | Scalar::StartsWith | Scalar::Contains | Scalar::Trim => "text",
            Scalar::DateTrunc(_) | Scalar::Extract(_) | Scalar::AddSeconds(_) | Scalar::EpochMs => "time",
        }
    }

    /// Returns the type of its result, or None when it does not take such arguments.
    pub fn output(self, types: &[Type]) -> Option<Type> {
        use Type::{Bool, Date, Decimal, Float, Int64, Text, Time};
        let takes = |wanted: &[Type], result: Type| {
            let fits = |(a, b): (&Type, &Type)| a == b || (*b == Int64 && a.is_integer());
            (types.len() == wanted.len() && types.iter().zip(wanted).all(fits)).then_some(result)
        };
        match self {
            Scalar::Like(..) | Scalar::Matches(_) => takes(&[Text], Bool),
            Scalar::Substr => takes(&[Text, Int64, Int64], Text),
            Scalar::Left | Scalar::Right | Scalar::Repeat => takes(&[Text, Int64], Text),
            Scalar::Lpad => takes(&[Text, Int64, Text], Text),
            Scalar::Reverse | Scalar::Hex => takes(&[Text], Text),
            Scalar::Replace | Scalar::Translate | Scalar::ConcatWs => takes(&[Text, Text, Text], Text),
            Scalar::Strpos | Scalar::Levenshtein => takes(&[Text, Text], Int64),
            Scalar::SplitPart => takes(&[Text, Text, Int64], Text),
            Scalar::StartsWith | Scalar::Contains => takes(&[Text, Text], Bool),
            Scalar::Trim => takes(&[Text, Text], Text),
            Scalar::Ascii | Scalar::OctetLength => takes(&[Text], Int64),
            Scalar::Abs | Scalar::Sign => match types {
                [Decimal(..)] if self == Scalar::Abs => types.first().copied(),
                [Float] if self == Scalar::Abs => Some(Float),
                [number] if number.is_number() => Some(Int64),
                _ => None,
            },
            Scalar::Gcd | Scalar::BitAnd | Scalar::BitOr | Scalar::Xor | Scalar::ShiftRight => {
                takes(&[Int64, Int64], Int64)
            }
            Scalar::BitNot => takes(&[Int64], Int64),
            Scalar::Greatest | Scalar::Least => match types {
                [a, b] if a == b => Some(*a),
                _ => None,
            },
            Scalar::Round | Scalar::Floor | Scalar::Ceil | Scalar::Trunc => takes(&[Float], Float),
            Scalar::IsNan => takes(&[Float], Bool),
            Scalar::DateTrunc(_) | Scalar::AddSeconds(_) | Scalar::Bucket(_) => takes(&[Time], Time),
            Scalar::Extract(_) | Scalar::EpochMs => takes(&[Time], Int64),
            Scalar::DateDiff(_) | Scalar::TimestampDiff(_) => takes(&[Time, Time], Int64),
            Scalar::AddMonths => takes(&[Time, Int64], Time),
            Scalar::AddDays => takes(&[Date, Int64], Date),
            Scalar::LastDay | Scalar::ToDate => takes(&[Time], Date),
            Scalar::ToTime => takes(&[Date], Time),
            Scalar::DayName | Scalar::Written => takes(&[Time], Text),
            Scalar::If => match types {
                [Bool, a, b] if a == b => Some(*a),
                _ => None,
            },
        }
    }

    /// Writes a call as SQL.
    pub fn write(self, f: &mut fmt::Formatter<'_>, arguments: &[Expr]) -> fmt::Result {
        let first = &arguments[0];
        let name = match self {
            Scalar::Like(pattern, false) => return write!(f, "({first} like '{}')", LIKES[pattern]),
            Scalar::Like(pattern, true) => return write!(f, "({first} ilike '{}')", LIKES[pattern]),
            Scalar::Matches(pattern) => return write!(f, "({first} ~ '{}')", PATTERNS[pattern]),
            Scalar::BitAnd => return write!(f, "({first} & {})", arguments[1]),
            Scalar::BitOr => return write!(f, "({first} | {})", arguments[1]),
            Scalar::BitNot => return write!(f, "(~ {first})"),
            Scalar::ShiftRight => return write!(f, "({first} >> {})", arguments[1]),
            Scalar::DateTrunc(unit) => return write!(f, "date_trunc('{}', {first})", unit.sql()),
            Scalar::Extract(unit) => return write!(f, "extract({} from {first})", unit.sql()),
            Scalar::DateDiff(unit) => return write!(f, "date_diff('{}', {first}, {})", unit.sql(), arguments[1]),
            Scalar::TimestampDiff(unit) => {
                return write!(f, "timestampdiff({}, {first}, {})", unit.sql(), arguments[1]);
            }
            Scalar::AddSeconds(count) => return write!(f, "({first} + interval '{count} seconds')"),
            Scalar::AddDays => return write!(f, "({first} + {})", arguments[1]),
            Scalar::Bucket(minutes) => return write!(f, "time_bucket(interval '{minutes} minutes', {first})"),
            Scalar::ToDate => return write!(f, "cast({first} as date)"),
            Scalar::ToTime => return write!(f, "cast({first} as timestamp)"),
            Scalar::Written => return write!(f, "strftime({first}, '%Y/%m/%d %H-%M-%S')"),
            Scalar::Substr => "substr",
            Scalar::Left => "left",
            Scalar::Right => "right",
            Scalar::Lpad => "lpad",
            Scalar::Repeat => "repeat",
            Scalar::Reverse => "reverse",
            Scalar::Replace => "replace",
            Scalar::Strpos => "strpos",
            Scalar::SplitPart => "split_part",
            Scalar::StartsWith => "starts_with",
            Scalar::Contains => "contains",
            Scalar::Trim => "trim",
            Scalar::Translate => "translate",
            Scalar::Ascii => "ascii",
            Scalar::OctetLength => "octet_length",
            Scalar::Hex => "hex",
            Scalar::ConcatWs => "concat_ws",
            Scalar::Levenshtein => "levenshtein",
            Scalar::Abs => "abs",
            Scalar::Sign => "sign",
            Scalar::Gcd => "gcd",
            Scalar::Xor => "xor",
            Scalar::Greatest => "greatest",
            Scalar::Least => "least",
            Scalar::Round => "round",
            Scalar::Floor => "floor",
            Scalar::Ceil => "ceil",
            Scalar::Trunc => "trunc",
            Scalar::IsNan => "isnan",
            Scalar::AddMonths => "add_months",
            Scalar::LastDay => "last_day",
            Scalar::EpochMs => "epoch_ms",
            Scalar::DayName => "dayname",
            Scalar::If => "if",
        };
        write!(f, "{name}(")?;
        for (i, argument) in arguments.iter().enumerate() {
            write!(f, "{}{argument}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}
