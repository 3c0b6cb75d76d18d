//! Random calls of scalar functions, by the type they give.

use super::expr::{Binary, Column, Expr, Function, binary};
use super::pipelines::{boolean, column_of, float, integer, text};
use super::scalar::{LIKES, PATTERNS, Scalar, UNITS};
use crate::random::Random;
use crate::value::{Type, Value};

fn call(scalar: Scalar, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function::Scalar(scalar), arguments)
}

fn int(random: &mut Random, choices: &[i64]) -> Expr {
    Expr::Literal(Value::Int(*random.pick(choices)))
}

fn word(random: &mut Random, choices: &[&str]) -> Expr {
    Expr::Literal(Value::Text(random.pick(choices).to_string()))
}

/// A short text: a column, or one that occurs in texts.
fn part(random: &mut Random, columns: &[Column]) -> Expr {
    match column_of(random, columns, Type::Text) {
        Some(column) if random.chance(30) => column,
        _ => word(random, &["", "/", "a", "b", "É", "1", "\"", "ab"]),
    }
}

/// A function that gives an integer.
pub(super) fn integers(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    let number = |random: &mut Random| integer(random, columns, depth - 1);
    // By module, so that a function more makes only those like it rarer.
    match random.weighted(&[6, 2, 2, 2, 1, 1, 3, 5, 2, 2]) {
        0 => match random.below(6) {
            0 => call(Scalar::BitNot, vec![number(random)]),
            1 => call(Scalar::ShiftRight, vec![number(random), int(random, &[0, 1, 5, 63, 64])]),
            _ => {
                let scalar = *random.pick(&[Scalar::BitAnd, Scalar::BitOr, Scalar::Xor, Scalar::Gcd]);
                call(scalar, vec![number(random), number(random)])
            }
        },
        1 if random.chance(40) => call(Scalar::Abs, vec![number(random)]),
        1 => call(*random.pick(&[Scalar::Greatest, Scalar::Least]), vec![number(random), number(random)]),
        2 => call(Scalar::If, vec![boolean(random, columns, depth - 1), number(random), number(random)]),
        3 if random.chance(50) => call(Scalar::Ascii, vec![text(random, columns, depth - 1)]),
        3 => call(Scalar::Strpos, vec![text(random, columns, depth - 1), part(random, columns)]),
        4 => call(Scalar::Sign, vec![number(random)]),
        5 => call(Scalar::Sign, vec![float(random, columns, depth - 1)]),
        6 => call(Scalar::OctetLength, vec![text(random, columns, depth - 1)]),
        7 => call(Scalar::Levenshtein, vec![text(random, columns, depth - 1), part(random, columns)]),
        8 => {
            let scalar = if random.chance(80) { Scalar::Extract(*random.pick(&UNITS)) } else { Scalar::EpochMs };
            time(random, columns, depth - 1).map_or_else(|| number(random), |ts| call(scalar, vec![ts]))
        }
        _ => {
            let unit = *random.pick(&UNITS);
            let scalar = if random.chance(50) { Scalar::DateDiff(unit) } else { Scalar::TimestampDiff(unit) };
            match (time(random, columns, depth - 1), time(random, columns, depth - 1)) {
                (Some(from), Some(to)) => call(scalar, vec![from, to]),
                _ => number(random),
            }
        }
    }
}

/// A function that gives a float.
pub(super) fn floats(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    let number = |random: &mut Random| float(random, columns, depth - 1);
    match random.below(3) {
        0 => {
            let scalar = *random.pick(&[Scalar::Abs, Scalar::Round, Scalar::Floor, Scalar::Ceil, Scalar::Trunc]);
            call(scalar, vec![number(random)])
        }
        1 => call(*random.pick(&[Scalar::Greatest, Scalar::Least]), vec![number(random), number(random)]),
        _ => call(Scalar::If, vec![boolean(random, columns, depth - 1), number(random), number(random)]),
    }
}

/// A function that gives a text.
pub(super) fn texts(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    let inner = text(random, columns, depth - 1);
    match random.weighted(&[2, 2, 2, 2, 1, 2, 2, 1, 1, 1, 1, 4, 10, 1]) {
        0 => {
            let start = int(random, &[-3, -1, 0, 1, 2, 4]);
            call(Scalar::Substr, vec![inner, start, int(random, &[0, 1, 2, 2, 3, -1])])
        }
        1 => call(*random.pick(&[Scalar::Left, Scalar::Right]), vec![inner, int(random, &[-2, -1, 0, 1, 2, 9])]),
        2 => call(Scalar::Lpad, vec![inner, int(random, &[-1, 0, 1, 4]), part(random, columns)]),
        3 => call(Scalar::Repeat, vec![inner, int(random, &[-1, 0, 1, 3])]),
        4 => call(Scalar::Reverse, vec![inner]),
        5 => {
            let scalar = *random.pick(&[Scalar::Replace, Scalar::Translate]);
            call(scalar, vec![inner, part(random, columns), part(random, columns)])
        }
        6 => call(Scalar::SplitPart, vec![inner, part(random, columns), int(random, &[-2, -1, 0, 1, 2])]),
        7 => call(Scalar::Trim, vec![inner, part(random, columns)]),
        8 => call(Scalar::ConcatWs, vec![part(random, columns), inner, part(random, columns)]),
        9 => call(*random.pick(&[Scalar::Greatest, Scalar::Least]), vec![inner, part(random, columns)]),
        10 => call(Scalar::If, vec![boolean(random, columns, depth - 1), inner, part(random, columns)]),
        11 => call(Scalar::Hex, vec![inner]),
        12 => time(random, columns, depth - 1).map_or(inner, |ts| call(Scalar::Written, vec![ts])),
        _ => time(random, columns, depth - 1).map_or(inner, |ts| call(Scalar::DayName, vec![ts])),
    }
}

/// A function that gives true or false.
pub(super) fn booleans(random: &mut Random, columns: &[Column], depth: usize) -> Expr {
    let inner = text(random, columns, depth - 1);
    match random.below(6) {
        0 | 1 => call(Scalar::Like(random.below(LIKES.len()), random.chance(30)), vec![inner]),
        2 => call(Scalar::Matches(random.below(PATTERNS.len())), vec![inner]),
        3 => call(*random.pick(&[Scalar::StartsWith, Scalar::Contains]), vec![inner, part(random, columns)]),
        4 => call(Scalar::IsNan, vec![float(random, columns, depth - 1)]),
        _ => match (time(random, columns, depth - 1), time(random, columns, depth - 1)) {
            (Some(a), Some(b)) => binary(Binary::Less, a, b),
            _ => call(Scalar::Contains, vec![inner, part(random, columns)]),
        },
    }
}

/// A time, if a column gives one.
pub(super) fn time(random: &mut Random, columns: &[Column], depth: usize) -> Option<Expr> {
    let day = column_of(random, columns, Type::Date);
    let ts = column_of(random, columns, Type::Time).or(day.clone().map(|day| call(Scalar::ToTime, vec![day])))?;
    if depth == 0 || random.chance(20) {
        return Some(ts);
    }
    let ts = time(random, columns, depth - 1).unwrap_or(ts);
    Some(match random.below(6) {
        0 | 1 => call(Scalar::DateTrunc(*random.pick(&UNITS)), vec![ts]),
        2 => call(Scalar::AddSeconds(*random.pick(&[-86_400, -1, 0, 59, 3_600])), vec![ts]),
        3 => call(Scalar::AddMonths, vec![ts, int(random, &[-13, -1, 0, 1, 25])]),
        4 => call(Scalar::Bucket(*random.pick(&[1, 7, 90, 1_440])), vec![ts]),
        _ => match day {
            Some(day) => call(Scalar::Greatest, vec![call(Scalar::ToTime, vec![day]), ts]),
            None => call(Scalar::Least, vec![ts.clone(), ts]),
        },
    })
}

/// A date, if a column gives one.
pub(super) fn date(random: &mut Random, columns: &[Column], depth: usize) -> Option<Expr> {
    match (column_of(random, columns, Type::Date), time(random, columns, depth)) {
        (Some(day), _) if random.chance(75) => {
            let days = if random.chance(50) { int(random, &[-31, 0, 1, 400]) } else { integer(random, columns, depth) };
            Some(call(Scalar::AddDays, vec![day, days]))
        }
        (_, Some(ts)) => Some(call(*random.pick(&[Scalar::LastDay, Scalar::ToDate]), vec![ts])),
        (day, None) => day,
    }
}

/// A decimal, if a column gives one.
pub(super) fn decimal(random: &mut Random, columns: &[Column], depth: usize) -> Option<Expr> {
    let decimals: Vec<&Column> = columns.iter().filter(|(_, ty)| matches!(ty, Type::Decimal(..))).collect();
    let (name, ty) = (!decimals.is_empty()).then(|| (*random.pick(&decimals)).clone())?;
    let own = Expr::Column(name);
    if depth == 0 {
        return Some(own);
    }
    let made = match random.below(4) {
        0 => call(Scalar::Abs, vec![own.clone()]),
        1 => binary(Binary::Multiply, own.clone(), decimal(random, columns, depth - 1)?),
        2 => binary(*random.pick(&[Binary::Add, Binary::Subtract]), own.clone(), column_of(random, columns, ty)?),
        _ => call(*random.pick(&[Scalar::Greatest, Scalar::Least]), vec![own.clone(), column_of(random, columns, ty)?]),
    };
    Some(if made.type_over(columns).is_some() { made } else { own })
}
