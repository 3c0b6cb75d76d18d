//! Regular expressions, in time that grows with the text and not with the pattern's tricks: there are no look-arounds and
//! no references back to groups.
//!
//! The syntax is that of the `regex` crate, near to Perl's and RE2's; classes such as `\w` and `\d` are Unicode's, and the
//! leftmost match is taken, of several the one that the pattern prefers. Options: `i` any case, `c` the case as it is, `s`
//! `.` matches a line's end too, `m` `^` and `$` match at lines' ends, and `g` (of `regexp_replace`) every match.

use std::cell::RefCell;
use std::collections::HashMap;

use ::regex::{Captures, Regex, RegexBuilder};
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::Int64Type;

use super::each::{bools, integers, maybe_texts, texts};
use super::{Argument, Family, Function, Kernel, Signature, Slot, takes, written};
use crate::expr::operand::{Call, Operand, Reason};
use crate::value::DataType;

const BASE: Function = Function { data: Some(("regex_unicode", "16.0.0")), ..super::base(Family::Patterns) };

/// How many compiled patterns a thread keeps.
const KEPT: usize = 256;

const OPTIONS: &[&str] = &["i", "s", "im", "c"];

pub(super) static REGEXP_MATCHES: Function = Function {
    name: "regexp_matches",
    aliases: &["regexp_like"],
    help: "Whether a regular expression matches somewhere in the text; also `x ~ 'pattern'`, `x !~ 'pattern'`, with `~*` in any case, and `x rlike 'pattern'`. Options: `i` any case, `s` `.` is a line's end too, `m` `^` and `$` at lines' ends",
    signature: "(string, pattern string[, options string]) → bool",
    types: |arguments| checked(arguments, &REGEXP_MATCHES, &[Slot::Text; 3], 2, DataType::Bool, 2),
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::new(call, 2));
        bools(call, |row| Ok(Some(patterns.get(row)?.is_match(text.value(row)))))
    }),
    sql: "regexp_matches({0*, })",
    flink: "REGEXP({0}, {1})",
    duckdb: "regexp_matches({0*, })",
    differs: "in DuckDB `\\w`, `\\d` and `\\b` know ASCII only, and `m` is another option",
    constants: &[(2, OPTIONS)],
    example: ("'/cart/17' ~ '^/cart/\\d+$'", "true"),
    ..BASE
};

pub(super) static REGEXP_FULL_MATCH: Function = Function {
    name: "regexp_full_match",
    help: "Whether a regular expression matches the whole text",
    signature: "(string, pattern string[, options string]) → bool",
    types: |arguments| checked(arguments, &REGEXP_FULL_MATCH, &[Slot::Text; 3], 2, DataType::Bool, 2),
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::anchored(call, 2));
        bools(call, |row| Ok(Some(patterns.get(row)?.is_match(text.value(row)))))
    }),
    sql: "regexp_full_match({0*, })",
    duckdb: "regexp_full_match({0*, })",
    differs: "in DuckDB `\\w`, `\\d` and `\\b` know ASCII only, and `m` is another option",
    constants: &[(2, OPTIONS)],
    example: ("regexp_full_match('abc', 'a|ab|abc')", "true"),
    ..BASE
};

pub(super) static REGEXP_REPLACE: Function = Function {
    name: "regexp_replace",
    help: "The text with the first match (with option `g`: every match) replaced; in the replacement `\\1` to `\\9` are groups, `\\0` is the match and `\\\\` a backslash",
    signature: "(string, pattern string, replacement string[, options string]) → string",
    types: |arguments| {
        let signature = checked(arguments, &REGEXP_REPLACE, &[Slot::Text; 4], 3, DataType::String, 3)?;
        if let (Some(pattern), Some(replacement)) = (written(arguments, 1), written(arguments, 2)) {
            let pattern = compiled(pattern, "", false).map_err(|why| why.to_string())?;
            Replacement::new(replacement, &pattern).map_err(|why| why.to_string())?;
        }
        Ok(signature)
    },
    kernel: Kernel::Rows(regexp_replace),
    sql: "regexp_replace({0*, })",
    flink: "REGEXP_REPLACE({0}, {1}, {2})",
    duckdb: "regexp_replace({0*, })",
    differs: "Flink replaces every match, and its groups are `$1`; in DuckDB `\\w`, `\\d` and `\\b` know ASCII only",
    constants: &[(3, &["g", "i", "gi"])],
    example: ("regexp_replace('2026-08-09', '(\\d+)-(\\d+)-(\\d+)', '\\3.\\2.\\1')", "09.08.2026"),
    ..BASE
};

pub(super) static REGEXP_EXTRACT: Function = Function {
    name: "regexp_extract",
    help: "The first match, or a group of it (0 is the whole match); empty where there is no match",
    signature: "(string, pattern string[, group int64[, options string]]) → string",
    types: |arguments| {
        let slots = [Slot::Text, Slot::Text, Slot::Integer, Slot::Text];
        checked(arguments, &REGEXP_EXTRACT, &slots, 2, DataType::String, 3)
    },
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::new(call, 3));
        let group = (call.arguments.len() > 2).then(|| call.numbers::<Int64Type>(2));
        texts(call, |row| {
            let group = group.as_ref().map_or(0, |group| group.value(row));
            Ok(extracted(patterns.get(row)?, text.value(row), group, "regexp_extract")?.unwrap_or(""))
        })
    }),
    sql: "regexp_extract({0*, })",
    flink: "REGEXP_EXTRACT({0}, {1}{2?, })",
    duckdb: "regexp_extract({0*, })",
    differs: "Flink gives null where there is no match, as `regexp_substr` does; in DuckDB `\\w`, `\\d` and `\\b` know ASCII only",
    constants: &[(3, OPTIONS)],
    example: ("regexp_extract('/cart/17', '/(\\w+)/(\\d+)', 2)", "17"),
    ..BASE
};

pub(super) static REGEXP_SUBSTR: Function = Function {
    name: "regexp_substr",
    help: "The first match; null where there is none",
    signature: "(string, pattern string) → string",
    types: |arguments| checked(arguments, &REGEXP_SUBSTR, &[Slot::Text; 2], 2, DataType::String, 2),
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::new(call, 2));
        maybe_texts(call, |row| extracted(patterns.get(row)?, text.value(row), 0, "regexp_substr"))
    }),
    sql: "regexp_substr({0}, {1})",
    flink: "REGEXP_SUBSTR({0}, {1})",
    example: ("coalesce(regexp_substr('abc', '\\d'), 'none')", "none"),
    ..BASE
};

pub(super) static REGEXP_COUNT: Function = Function {
    name: "regexp_count",
    help: "How many matches the text has that do not overlap",
    signature: "(string, pattern string) → int64",
    types: |arguments| checked(arguments, &REGEXP_COUNT, &[Slot::Text; 2], 2, DataType::Int64, 2),
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::new(call, 2));
        integers(call, |row| Ok(patterns.get(row)?.find_iter(text.value(row)).count() as i64))
    }),
    sql: "regexp_count({0}, {1})",
    flink: "REGEXP_COUNT({0}, {1})",
    duckdb: "len(regexp_extract_all({0}, {1}))",
    differs: "an empty match right behind another does not count here; in DuckDB `\\w`, `\\d` and `\\b` know ASCII only",
    example: ("regexp_count('a1b22', '\\d')", "3"),
    ..BASE
};

pub(super) static REGEXP_INSTR: Function = Function {
    name: "regexp_instr",
    help: "The position of the first character of the first match, from 1; 0 where there is none",
    signature: "(string, pattern string) → int64",
    types: |arguments| checked(arguments, &REGEXP_INSTR, &[Slot::Text; 2], 2, DataType::Int64, 2),
    kernel: Kernel::Rows(|call| {
        let (text, patterns) = (call.texts(0), Patterns::new(call, 2));
        integers(call, |row| {
            let text = text.value(row);
            let found = patterns.get(row)?.find(text);
            Ok(found.map_or(0, |found| text[..found.start()].chars().count() as i64 + 1))
        })
    }),
    sql: "regexp_instr({0}, {1})",
    flink: "REGEXP_INSTR({0}, {1})",
    example: ("regexp_instr('día 7', '\\d')", "5"),
    ..BASE
};

pub(super) static REGEXP_ESCAPE: Function = Function {
    name: "regexp_escape",
    help: "The regular expression that matches this text and nothing else",
    signature: "(string) → string",
    types: |arguments| takes(arguments, &REGEXP_ESCAPE, &[Slot::Text], 1, DataType::String),
    kernel: Kernel::Rows(|call| {
        let text = call.texts(0);
        texts(call, |row| Ok(regex::escape(text.value(row))))
    }),
    sql: "regexp_escape({0})",
    duckdb: "regexp_escape({0})",
    differs: "DuckDB escapes more signs than have a meaning",
    data: None,
    example: ("regexp_escape('a.b')", "a\\.b"),
    ..BASE
};

/// Types of a function of a pattern (the second argument) and options; a pattern that is written out is compiled.
fn checked(
    arguments: &[Argument<'_>],
    function: &Function,
    slots: &[Slot],
    least: usize,
    result: DataType,
    options: usize,
) -> Result<Signature, String> {
    let signature = takes(arguments, function, slots, least, result)?;
    let options = written(arguments, options).unwrap_or_default();
    let allowed = if function.name == "regexp_replace" { "icsmg" } else { "icsm" };
    if let Some(other) = options.chars().find(|option| !allowed.contains(*option)) {
        return Err(format!("`{}` has no option `{other}`; it has {}", function.name, list(allowed)));
    }
    if let Some(pattern) = written(arguments, 1) {
        compiled(pattern, options, false).map_err(|why| why.to_string())?;
    }
    Ok(signature)
}

fn list(options: &str) -> String {
    options.chars().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
}

/// Compiles a pattern, or takes it from those that this thread compiled before.
fn compiled(pattern: &str, options: &str, whole: bool) -> Result<Regex, Reason> {
    thread_local! {
        static COMPILED: RefCell<HashMap<(String, String, bool), Regex>> = RefCell::default();
    }
    let key = (pattern.to_string(), options.to_string(), whole);
    if let Some(regex) = COMPILED.with_borrow(|kept| kept.get(&key).cloned()) {
        return Ok(regex);
    }
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        // The last of `i` and `c` counts.
        let any_case = options.rfind('i') > options.rfind('c');
        builder
            .case_insensitive(any_case)
            .dot_matches_new_line(options.contains('s'))
            .multi_line(options.contains('m'));
        builder.build()
    };
    // Compiled alone first, so that a pattern such as `a)(b` is not made right by what goes around it.
    let regex = build(pattern).and_then(|regex| match whole {
        // A pattern that ends with a remark needs the line's end before the parenthesis, others must not have it.
        true => build(&format!(r"\A(?:{pattern})\z")).or_else(|_| build(&format!("\\A(?:{pattern}\n)\\z"))),
        false => Ok(regex),
    });
    let regex =
        regex.map_err(|why| Reason::from(format!("regexp: '{pattern}' is no regular expression: {}", short(&why))))?;
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, regex.clone());
    });
    Ok(regex)
}

/// Returns what is wrong in one line.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    line.trim().trim_start_matches("error: ").to_string()
}

/// The patterns of a call's second operand, each compiled once.
struct Patterns<'a> {
    operand: Operand<&'a StringArray>,
    constant: Option<Result<Regex, Reason>>,
    seen: HashMap<&'a str, Result<Regex, Reason>>,
}

impl<'a> Patterns<'a> {
    fn new(call: &Call<'a>, options: usize) -> Self {
        Self::of(call, options, false)
    }

    fn anchored(call: &Call<'a>, options: usize) -> Self {
        Self::of(call, options, true)
    }

    fn of(call: &Call<'a>, options: usize, whole: bool) -> Self {
        let operand = call.texts(1);
        let options = if call.arguments.len() > options { call.texts(options).value(0) } else { "" };
        let array = operand.array();
        let mut patterns = Self { operand, constant: None, seen: HashMap::new() };
        if operand.is_one() {
            patterns.constant = (!array.is_null(0)).then(|| compiled(array.value(0), options, whole));
            return patterns;
        }
        for row in (0..array.len()).filter(|row| !array.is_null(*row)) {
            let pattern = array.value(row);
            patterns.seen.entry(pattern).or_insert_with(|| compiled(pattern, options, whole));
        }
        patterns
    }

    fn get(&self, row: usize) -> Result<&Regex, Reason> {
        let regex = self.constant.as_ref().unwrap_or_else(|| &self.seen[self.operand.value(row)]);
        regex.as_ref().map_err(Reason::clone)
    }
}

fn extracted<'t>(pattern: &Regex, text: &'t str, group: i64, name: &str) -> Result<Option<&'t str>, Reason> {
    let count = pattern.captures_len();
    let group = usize::try_from(group)
        .ok()
        .filter(|group| *group < count)
        .ok_or_else(|| Reason::from(format!("{name}: the pattern has {} groups, not {group}", count - 1)))?;
    if group == 0 {
        return Ok(pattern.find(text).map(|found| found.as_str()));
    }
    Ok(pattern.captures(text).map(|captures| captures.get(group).map_or("", |found| found.as_str())))
}

/// What takes the place of a match.
struct Replacement {
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    Group(usize),
}

impl Replacement {
    fn new(text: &str, pattern: &Regex) -> Result<Self, Reason> {
        let mut pieces = vec![Piece::Text(String::new())];
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let c = match (c, c == '\\') {
                (c, false) => c,
                (_, true) => match rest.next() {
                    Some('\\') => '\\',
                    Some(digit) if digit.is_ascii_digit() => {
                        let group = digit as usize - '0' as usize;
                        if group >= pattern.captures_len() {
                            let groups = pattern.captures_len() - 1;
                            return Err(format!("regexp_replace: the pattern has {groups} groups, not {group}").into());
                        }
                        pieces.push(Piece::Group(group));
                        continue;
                    }
                    _ => return Err("regexp_replace: a backslash stands before a digit or a backslash".into()),
                },
            };
            match pieces.last_mut() {
                Some(Piece::Text(text)) => text.push(c),
                _ => pieces.push(Piece::Text(c.into())),
            }
        }
        Ok(Self { pieces })
    }

    fn write(&self, captures: &Captures<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Group(group) => captures.get(*group).map_or(String::new(), |found| found.as_str().to_string()),
        };
        self.pieces.iter().map(piece).collect()
    }
}

fn regexp_replace(call: &mut Call<'_>) -> ArrayRef {
    let (text, patterns, replacement) = (call.texts(0), Patterns::new(call, 3), call.texts(2));
    let every = call.arguments.len() > 3 && call.texts(3).value(0).contains('g');
    let constant = match (&patterns.constant, replacement.is_one() && !replacement.is_null(0)) {
        (Some(Ok(pattern)), true) => Some(Replacement::new(replacement.array().value(0), pattern)),
        _ => None,
    };
    texts(call, |row| {
        let pattern = patterns.get(row)?;
        let own;
        let replacement = match &constant {
            Some(replacement) => replacement.as_ref().map_err(Reason::clone)?,
            None => {
                own = Replacement::new(replacement.value(row), pattern)?;
                &own
            }
        };
        let limit = usize::from(!every);
        Ok(pattern.replacen(text.value(row), limit, |captures: &Captures<'_>| replacement.write(captures)).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version that digests name is the one whose characters the tables know.
    #[test]
    fn the_unicode_version_is_the_one_stated() {
        let (_, version) = BASE.data.unwrap();
        let major: u32 = version.split('.').next().unwrap().parse().unwrap();
        assert!(Regex::new(&format!(r"\p{{age={major}.0}}")).is_ok());
        assert!(Regex::new(&format!(r"\p{{age={}.0}}", major + 1)).is_err());
    }

    #[test]
    fn hostile_patterns_take_no_long_time_and_no_great_room() {
        let text = "a".repeat(5_000);
        assert!(!compiled("(a*)*b", "", false).unwrap().is_match(&text));
        assert!(compiled("(?:a{1000}){1000}", "", false).is_err());
        assert!(compiled("a)(b", "", true).is_err());
        assert!(compiled("(?=a)", "", false).is_err());
    }

    #[test]
    fn a_whole_match_is_of_the_whole_pattern() {
        let whole = |pattern: &str, text: &str| compiled(pattern, "", true).unwrap().is_match(text);
        assert!(whole("a|ab", "ab") && !whole("a|b", "ab") && !whole("a", "a\n"));
        assert!(whole("(?x) a # a remark", "a"));
    }
}
