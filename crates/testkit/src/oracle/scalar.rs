//! Scalar functions by their definitions: slow, short, obviously right, and sharing nothing with the engine.

use super::eval::Failed;
use crate::case::scalar::{LIKES, PATTERNS, Scalar, Unit};
use crate::value::Value;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Computes a function of values. Null gives null, but where a function looks at it.
pub(super) fn call(scalar: Scalar, values: &[Value]) -> Result<Value, Failed> {
    if scalar == Scalar::ConcatWs {
        let Value::Text(separator) = &values[0] else { return Ok(Value::Null) };
        let texts: Vec<String> = values[1..].iter().filter(|value| !value.is_null()).map(text_of).collect();
        return Ok(Value::Text(texts.join(separator)));
    }
    if values.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    match values {
        [Value::Text(first), rest @ ..] => text(scalar, &first.chars().collect::<Vec<char>>(), rest),
        [Value::Time(first), rest @ ..] => time(scalar, *first, rest),
        [Value::Date(day)] => i64::from(*day).checked_mul(DAY).map(Value::Time).ok_or(Failed),
        [Value::Date(day), Value::Int(days)] => {
            let sum = i128::from(*day) + i128::from(*days);
            i32::try_from(sum).map(Value::Date).map_err(|_| Failed)
        }
        _ => number(scalar, values),
    }
    .map(|value| greatest_or_least(scalar, values).unwrap_or(value))
}

/// The order of values decides for every type alike.
fn greatest_or_least(scalar: Scalar, values: &[Value]) -> Option<Value> {
    match scalar {
        Scalar::Greatest => values.iter().max().cloned(),
        Scalar::Least => values.iter().min().cloned(),
        _ => None,
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => unreachable!("{other} is no text"),
    }
}

fn joined(characters: impl IntoIterator<Item = char>) -> Value {
    Value::Text(characters.into_iter().collect())
}

fn text(scalar: Scalar, text: &[char], rest: &[Value]) -> Result<Value, Failed> {
    let length = text.len() as i64;
    let whole: String = text.iter().collect();
    // Characters whose places, from 1, pass a test.
    let places =
        |keep: &dyn Fn(i64) -> bool| joined((1..=length).filter(|place| keep(*place)).map(|i| text[i as usize - 1]));
    Ok(match (scalar, rest) {
        (Scalar::Like(pattern, any_case), []) => {
            let lower = |text: String| if any_case { text.to_lowercase() } else { text };
            let pattern: Vec<char> = lower(LIKES[pattern].to_string()).chars().collect();
            Value::Bool(like(&lower(whole).chars().collect::<Vec<char>>(), &pattern))
        }
        (Scalar::Matches(pattern), []) => Value::Bool(matches(text, &PATTERNS[pattern].chars().collect::<Vec<char>>())),
        (Scalar::Substr, [Value::Int(start), Value::Int(count)]) => {
            if *count < 0 {
                return Err(Failed);
            }
            let start = if *start < 0 { (length + *start).max(0) + 1 } else { *start };
            places(&|place| place >= start && i128::from(place) < i128::from(start) + i128::from(*count))
        }
        (Scalar::Left, [Value::Int(count)]) => {
            let end = if *count < 0 { length + *count } else { *count };
            places(&|place| place <= end)
        }
        (Scalar::Right, [Value::Int(count)]) => {
            let skipped = if *count < 0 { -*count } else { length - *count };
            places(&|place| place > skipped)
        }
        (Scalar::Lpad, [Value::Int(wanted), Value::Text(fill)]) => {
            let fill: Vec<char> = fill.chars().collect();
            if *wanted <= length {
                return Ok(places(&|place| place <= *wanted));
            }
            if fill.is_empty() {
                return Err(Failed);
            }
            let missing = (*wanted - length) as usize;
            joined((0..missing).map(|i| fill[i % fill.len()]).chain(text.iter().copied()))
        }
        (Scalar::Repeat, [Value::Int(count)]) => joined((0..*count).flat_map(|_| text.iter().copied())),
        (Scalar::Reverse, []) => joined((0..text.len()).map(|i| text[text.len() - 1 - i])),
        (Scalar::Replace, [Value::Text(from), Value::Text(to)]) => Value::Text(replaced(&whole, from, to)),
        (Scalar::Strpos, [Value::Text(part)]) => Value::Int(position(text, &part.chars().collect::<Vec<char>>())),
        (Scalar::SplitPart, [Value::Text(separator), Value::Int(n)]) => {
            let parts = parts(text, &separator.chars().collect::<Vec<char>>());
            let place = if *n < 0 { parts.len() as i64 + *n } else { *n - 1 };
            joined(usize::try_from(place).ok().and_then(|place| parts.get(place).cloned()).unwrap_or_default())
        }
        (Scalar::StartsWith, [Value::Text(other)]) => {
            let other: Vec<char> = other.chars().collect();
            Value::Bool(text.len() >= other.len() && text[..other.len()] == other)
        }
        (Scalar::Contains, [Value::Text(other)]) => {
            Value::Bool(position(text, &other.chars().collect::<Vec<char>>()) > 0)
        }
        (Scalar::Trim, [Value::Text(set)]) => {
            let kept: Vec<i64> = (1..=length).filter(|i| !set.contains(text[*i as usize - 1])).collect();
            match (kept.first(), kept.last()) {
                (Some(first), Some(last)) => places(&|place| place >= *first && place <= *last),
                _ => Value::Text(String::new()),
            }
        }
        (Scalar::Translate, [Value::Text(from), Value::Text(to)]) => {
            let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
            joined(text.iter().filter_map(|c| match (0..from.len()).find(|i| from[*i] == *c) {
                Some(place) => to.get(place).copied(),
                None => Some(*c),
            }))
        }
        (Scalar::Ascii, []) => Value::Int(text.first().map_or(0, |c| i64::from(*c as u32))),
        (Scalar::OctetLength, []) => Value::Int(text.iter().map(|c| c.len_utf8() as i64).sum()),
        (Scalar::Hex, []) => Value::Text(whole.bytes().map(|byte| format!("{byte:02X}")).collect()),
        (Scalar::Levenshtein, [Value::Text(other)]) => Value::Int(edits(text, &other.chars().collect::<Vec<char>>())),
        (Scalar::Greatest | Scalar::Least, _) => Value::Null,
        (scalar, rest) => unreachable!("{scalar:?} of a text and {rest:?}"),
    })
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((c, rest)) => text.first() == Some(c) && like(&text[1..], rest),
    }
}

/// A pattern of [`PATTERNS`] anywhere in the text.
fn matches(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        Some(('^', rest)) => matches_here(text, rest),
        _ => (0..=text.len()).any(|start| matches_here(&text[start..], pattern)),
    }
}

fn matches_here(text: &[char], pattern: &[char]) -> bool {
    // `.` is any character but a line's end.
    let fits = |c: char, sign: char| c == sign || (sign == '.' && c != '\n');
    match pattern {
        [] => true,
        ['$'] => text.is_empty(),
        [sign, '*', rest @ ..] => (0..=text.len())
            .take_while(|count| text[..*count].iter().all(|c| fits(*c, *sign)))
            .any(|count| matches_here(&text[count..], rest)),
        [sign, rest @ ..] => text.first().is_some_and(|c| fits(*c, *sign)) && matches_here(&text[1..], rest),
    }
}

/// Where a part first begins, from 1, or 0.
fn position(text: &[char], part: &[char]) -> i64 {
    let begins = |start: &usize| text[*start..].len() >= part.len() && text[*start..][..part.len()] == *part;
    (0..=text.len()).find(begins).map_or(0, |start| start as i64 + 1)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() {
        return text.into();
    }
    text.split(from).collect::<Vec<&str>>().join(to)
}

fn parts(text: &[char], separator: &[char]) -> Vec<Vec<char>> {
    if separator.is_empty() {
        return text.iter().map(|c| vec![*c]).collect();
    }
    match position(text, separator) {
        0 => vec![text.to_vec()],
        start => {
            let start = start as usize - 1;
            let mut all = vec![text[..start].to_vec()];
            all.extend(parts(&text[start + separator.len()..], separator));
            all
        }
    }
}

fn edits(a: &[char], b: &[char]) -> i64 {
    let mut before: Vec<i64> = (0..=b.len() as i64).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i as i64 + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = before[j] + i64::from(x != y);
            row.push(changed.min(before[j + 1] + 1).min(row[j] + 1));
        }
        before = row;
    }
    before[b.len()]
}

fn number(scalar: Scalar, values: &[Value]) -> Result<Value, Failed> {
    Ok(match (scalar, values) {
        (Scalar::Greatest | Scalar::Least, _) => Value::Null,
        (Scalar::Abs, [Value::Int(x)]) => Value::Int(i64::try_from(i128::from(*x).abs()).map_err(|_| Failed)?),
        (Scalar::Abs, [Value::Float(x)]) => Value::float(if *x < 0.0 { -x } else { *x }),
        (Scalar::Abs, [Value::Decimal(x)]) => Value::Decimal(if *x < 0 { -x } else { *x }),
        (Scalar::Sign, [Value::Int(x)]) => Value::Int(i64::from(*x > 0) - i64::from(*x < 0)),
        (Scalar::Sign, [Value::Decimal(x)]) => Value::Int(i64::from(*x > 0) - i64::from(*x < 0)),
        (Scalar::Sign, [Value::Float(x)]) => Value::Int(i64::from(*x > 0.0) - i64::from(*x < 0.0)),
        (Scalar::Gcd, [Value::Int(a), Value::Int(b)]) => {
            let (mut a, mut b) = (i128::from(*a).abs(), i128::from(*b).abs());
            while b != 0 {
                (a, b) = (b, a % b);
            }
            Value::Int(i64::try_from(a).map_err(|_| Failed)?)
        }
        (Scalar::BitAnd | Scalar::BitOr | Scalar::Xor, [Value::Int(a), Value::Int(b)]) => {
            let bit = |x: i64, i: u32| x >> i & 1 == 1;
            let set = |i: u32| match scalar {
                Scalar::BitAnd => bit(*a, i) && bit(*b, i),
                Scalar::BitOr => bit(*a, i) || bit(*b, i),
                _ => bit(*a, i) != bit(*b, i),
            };
            Value::Int((0..64).filter(|i| set(*i)).fold(0u64, |bits, i| bits | 1 << i) as i64)
        }
        // Of a two's complement, what is left of −1.
        (Scalar::BitNot, [Value::Int(x)]) => Value::Int((-1 - i128::from(*x)) as i64),
        (Scalar::ShiftRight, [Value::Int(x), Value::Int(count)]) => {
            if !(0..64).contains(count) {
                return Err(Failed);
            }
            Value::Int(i128::from(*x).div_euclid(1 << count) as i64)
        }
        (Scalar::IsNan, [Value::Float(x)]) => Value::Bool(x.is_nan()),
        (Scalar::Floor, [Value::Float(x)]) => Value::float(x.floor()),
        (Scalar::Ceil, [Value::Float(x)]) => Value::float(-(-x).floor()),
        (Scalar::Trunc, [Value::Float(x)]) => Value::float(if *x < 0.0 { -(-x).floor() } else { x.floor() }),
        (Scalar::Round, [Value::Float(x)]) => {
            let magnitude = x.abs();
            let below = magnitude.floor();
            // The difference of a number and its whole part is exact.
            let rounded = if magnitude - below >= 0.5 { below + 1.0 } else { below };
            Value::float(if *x < 0.0 { -rounded } else { rounded })
        }
        (scalar, values) => unreachable!("{scalar:?} of {values:?}"),
    })
}

fn is_leap(year: i64) -> bool {
    year.rem_euclid(400) == 0 || (year.rem_euclid(4) == 0 && year.rem_euclid(100) != 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day, found month after month from 1970-01-01 on.
fn date_of(days: i64) -> (i64, i64, i64) {
    let (mut year, mut rest) = (1970, days);
    // Four centuries are always as long.
    year += rest.div_euclid(146_097) * 400;
    rest = rest.rem_euclid(146_097);
    let mut month = 1;
    while rest >= month_days(year, month) {
        rest -= month_days(year, month);
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    (year, month, rest + 1)
}

fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let eras = (year - 1970).div_euclid(400);
    let (mut days, mut at) = (eras * 146_097, (1970 + eras * 400, 1));
    while at != (year, month) {
        days += month_days(at.0, at.1);
        at = if at.1 == 12 { (at.0 + 1, 1) } else { (at.0, at.1 + 1) };
    }
    days + day - 1
}

fn later_by_months(ts: i64, months: i64) -> Result<i64, Failed> {
    if months.abs() > 1_000_000_000 {
        return Err(Failed);
    }
    let (year, month, day) = date_of(ts.div_euclid(DAY));
    let month = year * 12 + month - 1 + months;
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let days = days_to(year, month, day.min(month_days(year, month)));
    i64::try_from(i128::from(days) * i128::from(DAY) + i128::from(ts.rem_euclid(DAY))).map_err(|_| Failed)
}

/// Which of the units since some beginning a time lies in.
fn count(unit: Unit, ts: i64) -> i64 {
    let days = ts.div_euclid(DAY);
    let (year, month, _) = date_of(days);
    match unit {
        Unit::Second => ts.div_euclid(SECOND),
        Unit::Minute => ts.div_euclid(60 * SECOND),
        Unit::Hour => ts.div_euclid(3_600 * SECOND),
        Unit::Day => days,
        // 1969-12-29 was a Monday.
        Unit::Week => (days + 3).div_euclid(7),
        Unit::Month => year * 12 + month - 1,
        Unit::Quarter => (year * 12 + month - 1).div_euclid(3),
        Unit::Year => year,
    }
}

fn start(unit: Unit, ts: i64) -> i64 {
    let count = count(unit, ts);
    match unit {
        Unit::Second => count * SECOND,
        Unit::Minute => count * 60 * SECOND,
        Unit::Hour => count * 3_600 * SECOND,
        Unit::Day => count * DAY,
        Unit::Week => (count * 7 - 3) * DAY,
        Unit::Month => days_to(count.div_euclid(12), count.rem_euclid(12) + 1, 1) * DAY,
        Unit::Quarter => days_to(count.div_euclid(4), count.rem_euclid(4) * 3 + 1, 1) * DAY,
        Unit::Year => days_to(count, 1, 1) * DAY,
    }
}

fn part(unit: Unit, ts: i64) -> i64 {
    let days = ts.div_euclid(DAY);
    let (year, month, day) = date_of(days);
    let second = ts.rem_euclid(DAY) / SECOND;
    match unit {
        Unit::Second => second % 60,
        Unit::Minute => second / 60 % 60,
        Unit::Hour => second / 3_600,
        Unit::Day => day,
        Unit::Month => month,
        Unit::Quarter => (month + 2) / 3,
        Unit::Year => year,
        Unit::Week => {
            // The week of a year's fourth of January is its first.
            let monday = |days: i64| days - (days + 3).rem_euclid(7);
            let first = |year: i64| monday(days_to(year, 1, 4));
            let year = [year + 1, year, year - 1].into_iter().find(|year| first(*year) <= days);
            (days - first(year.expect("one of three years has the week"))) / 7 + 1
        }
    }
}

fn whole_units(unit: Unit, from: i64, to: i64) -> Result<i64, Failed> {
    if to < from {
        return Ok(-whole_units(unit, to, from)?);
    }
    let passed = |months: i64| {
        let apart = count(Unit::Month, to) - count(Unit::Month, from);
        Ok((if later_by_months(from, apart)? > to { apart - 1 } else { apart }) / months)
    };
    match unit {
        Unit::Second => Ok((to - from) / SECOND),
        Unit::Minute => Ok((to - from) / (60 * SECOND)),
        Unit::Hour => Ok((to - from) / (3_600 * SECOND)),
        Unit::Day => Ok((to - from) / DAY),
        Unit::Week => Ok((to - from) / (7 * DAY)),
        Unit::Month => passed(1),
        Unit::Quarter => passed(3),
        Unit::Year => passed(12),
    }
}

fn time(scalar: Scalar, ts: i64, rest: &[Value]) -> Result<Value, Failed> {
    let days = ts.div_euclid(DAY);
    let day = |days: i64| i32::try_from(days).map(Value::Date).map_err(|_| Failed);
    Ok(match (scalar, rest) {
        (Scalar::DateTrunc(unit), []) => Value::Time(start(unit, ts)),
        (Scalar::Extract(unit), []) => Value::Int(part(unit, ts)),
        (Scalar::DateDiff(unit), [Value::Time(to)]) => Value::Int(count(unit, *to) - count(unit, ts)),
        (Scalar::TimestampDiff(unit), [Value::Time(to)]) => Value::Int(whole_units(unit, ts, *to)?),
        (Scalar::AddMonths, [Value::Int(months)]) => Value::Time(later_by_months(ts, *months)?),
        (Scalar::AddSeconds(seconds), []) => Value::Time(ts.checked_add(seconds * SECOND).ok_or(Failed)?),
        (Scalar::Bucket(minutes), []) => {
            let (width, origin) = (minutes * 60 * SECOND, days_to(2000, 1, 3) * DAY);
            Value::Time(ts - (ts - origin).rem_euclid(width))
        }
        (Scalar::LastDay, []) => {
            let (year, month, _) = date_of(days);
            day(days_to(year, month, month_days(year, month)))?
        }
        (Scalar::ToDate, []) => day(days)?,
        (Scalar::EpochMs, []) => Value::Int(ts.div_euclid(1_000)),
        (Scalar::DayName, []) => {
            let names = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
            Value::Text(names[days.rem_euclid(7) as usize].into())
        }
        (Scalar::Written, []) => {
            let (year, month, day) = date_of(days);
            let second = ts.rem_euclid(DAY) / SECOND;
            let (hour, minute) = (second / 3_600, second / 60 % 60);
            Value::Text(format!("{year:04}/{month:02}/{day:02} {hour:02}-{minute:02}-{:02}", second % 60))
        }
        (Scalar::Greatest | Scalar::Least, _) => Value::Null,
        (scalar, rest) => unreachable!("{scalar:?} of a time and {rest:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_way_back() {
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), days);
        }
        assert_eq!(date_of(19_782), (2024, 2, 29));
        assert_eq!(date_of(-1), (1969, 12, 31));
        assert_eq!(part(Unit::Week, days_to(2027, 1, 1) * DAY), 53);
    }

    #[test]
    fn patterns_match_as_written() {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        for (text, pattern, expected) in [
            ("", "^$", true),
            ("xaby", "1.*2", false),
            ("a1xx2", "1.*2", true),
            ("b", "x*", true),
            ("ab", "b$", true),
            ("ba", "b$", false),
        ] {
            assert_eq!(matches(&chars(text), &chars(pattern)), expected, "{text} {pattern}");
        }
    }
}
