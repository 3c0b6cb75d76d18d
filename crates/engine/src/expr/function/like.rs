//! `like`: `%` stands for any characters, `_` for one. There is no escape character unless one is given.
//!
//! A pattern is cut at its `%` into segments; each is looked for behind the one before, as far to the left as it goes,
//! so that no text takes longer than its length times the longest segment.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;

use super::text::texts;
use super::{Family, Function, Kernel};
use crate::expr::literal::Literal;
use crate::expr::operand::{Call, Reason, each_row};
use crate::value::DataType;

const BASE: Function = super::base(Family::Patterns);

pub(super) static LIKE: Function = Function {
    name: "like",
    help: "Whether the text matches a pattern: `%` is any characters, `_` is one; `escape 'c'` makes c take their meaning away",
    signature: "(string, pattern string[, escape string]) → bool",
    types: |arguments| {
        let signature = texts(arguments, &LIKE, 2..=3, DataType::Bool)?;
        match arguments.get(2).map(|argument| argument.literal) {
            None => {}
            Some(Some(Literal::String(escape))) if escape.chars().count() == 1 => {}
            Some(_) => return Err("the escape of `like` is one character in quotes, such as `escape '!'`".into()),
        }
        let escape = match arguments.get(2).and_then(|argument| argument.literal) {
            Some(Literal::String(escape)) => escape.chars().next(),
            _ => None,
        };
        if let Some(Literal::String(pattern)) = arguments[1].literal {
            Pattern::new(pattern, escape).map_err(|why| why.to_string())?;
        }
        Ok(signature)
    },
    kernel: Kernel::Rows(|call| like(call, false)),
    sql: "({0} like {1}{2? escape })",
    flink: "({0} LIKE {1}{2? ESCAPE })",
    duckdb: "({0} LIKE {1}{2? ESCAPE })",
    constants: &[(2, &["!"])],
    example: ("'50% off' like '50!% %' escape '!'", "true"),
    ..BASE
};

pub(super) static ILIKE: Function = Function {
    name: "ilike",
    help: "As `like`, in any case: both sides are compared in lower case",
    signature: "(string, pattern string[, escape string]) → bool",
    types: |arguments| (LIKE.types)(arguments).map_err(|why| why.replace("`like`", "`ilike`")),
    kernel: Kernel::Rows(|call| like(call, true)),
    sql: "({0} ilike {1}{2? escape })",
    flink: "(LOWER({0}) LIKE LOWER({1}){2? ESCAPE })",
    duckdb: "({0} ILIKE {1}{2? ESCAPE })",
    constants: &[(2, &["!"])],
    example: ("'Über-Uns' ilike 'über%'", "true"),
    ..BASE
};

/// What a segment is made of.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    AnyCharacter,
}

/// A pattern, read. Segments were separated by one or more `%`.
#[derive(Debug)]
struct Pattern {
    segments: Vec<Vec<Part>>,
}

impl Pattern {
    fn new(pattern: &str, escape: Option<char>) -> Result<Self, Reason> {
        let mut segments = vec![Vec::new()];
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let segment: &mut Vec<Part> = segments.last_mut().expect("there is always a segment");
            match character {
                _ if Some(character) == escape => match characters.next() {
                    Some(escaped) => push(segment, escaped),
                    None => return Err("like: the pattern ends with its escape character".into()),
                },
                '%' => segments.push(Vec::new()),
                '_' => segment.push(Part::AnyCharacter),
                other => push(segment, other),
            }
        }
        // Only the first and the last segment may be empty: they say that the ends are free.
        let last = segments.len() - 1;
        let mut index = 0;
        segments.retain(|segment| {
            let keep = index == 0 || index == last || !segment.is_empty();
            index += 1;
            keep
        });
        Ok(Self { segments })
    }

    /// Returns the pattern in lower case, if so.
    fn cased(mut self, any_case: bool) -> Self {
        for part in self.segments.iter_mut().flatten().filter(|_| any_case) {
            if let Part::Text(text) = part {
                *text = text.to_lowercase();
            }
        }
        self
    }

    fn matches(&self, text: &str) -> bool {
        let (first, rest) = self.segments.split_first().expect("there is always a segment");
        let Some(mut end) = match_at(first, text) else { return false };
        let Some((last, middle)) = rest.split_last() else { return end == text.len() };
        for segment in middle {
            match find(segment, &text[end..]) {
                Some(found) => end += found,
                None => return false,
            }
        }
        match_at_end(last, &text[end..])
    }
}

fn push(segment: &mut Vec<Part>, character: char) {
    match segment.last_mut() {
        Some(Part::Text(text)) => text.push(character),
        _ => segment.push(Part::Text(character.into())),
    }
}

/// Returns where a segment ends that begins at the start of the text.
fn match_at(segment: &[Part], text: &str) -> Option<usize> {
    let mut rest = text;
    for part in segment {
        rest = match part {
            Part::Text(expected) => rest.strip_prefix(expected.as_str())?,
            Part::AnyCharacter => {
                let mut characters = rest.chars();
                characters.next()?;
                characters.as_str()
            }
        };
    }
    Some(text.len() - rest.len())
}

/// Returns where the leftmost occurrence of a segment ends.
fn find(segment: &[Part], text: &str) -> Option<usize> {
    if let [Part::Text(expected)] = segment {
        return text.find(expected.as_str()).map(|start| start + expected.len());
    }
    text.char_indices().find_map(|(start, _)| match_at(segment, &text[start..]).map(|length| start + length))
}

/// Returns whether the text ends with a segment.
fn match_at_end(segment: &[Part], text: &str) -> bool {
    let mut rest = text;
    for part in segment.iter().rev() {
        rest = match part {
            Part::Text(expected) => match rest.strip_suffix(expected.as_str()) {
                Some(rest) => rest,
                None => return false,
            },
            Part::AnyCharacter => {
                let mut characters = rest.chars();
                if characters.next_back().is_none() {
                    return false;
                }
                characters.as_str()
            }
        };
    }
    true
}

fn like(call: &mut Call<'_>, any_case: bool) -> ArrayRef {
    let (text, pattern) = (call.texts(0), call.texts(1));
    let escape = (call.arguments.len() == 3).then(|| call.texts(2).value(0).chars().next()).flatten();
    let nulls = NullBuffer::union(text.nulls(call.rows).as_ref(), pattern.nulls(call.rows).as_ref());
    // Patterns are read once each.
    let mut patterns: HashMap<&str, Result<Pattern, Reason>> = HashMap::new();
    for row in 0..pattern.array().len() {
        if !pattern.array().is_null(row) {
            let written = pattern.array().value(row);
            patterns
                .entry(written)
                .or_insert_with(|| Pattern::new(written, escape).map(|pattern| pattern.cased(any_case)));
        }
    }
    let constant = (pattern.is_one() && !pattern.array().is_null(0)).then(|| &patterns[pattern.array().value(0)]);
    let test = |row: usize| match constant.unwrap_or_else(|| &patterns[pattern.value(row)]) {
        Ok(pattern) if any_case => Ok(pattern.matches(&text.value(row).to_lowercase())),
        Ok(pattern) => Ok(pattern.matches(text.value(row))),
        Err(reason) => Err(reason.clone()),
    };
    Arc::new(each_row::<_, BooleanArray>(call, nulls, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, None).unwrap().matches(text)
    }

    /// The definition, tried out: exponential, so for short texts only.
    fn naive(text: &[char], pattern: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skipped| naive(&text[skipped..], rest)),
            Some(('_', rest)) => !text.is_empty() && naive(&text[1..], rest),
            Some((character, rest)) => text.first() == Some(character) && naive(&text[1..], rest),
        }
    }

    #[test]
    fn every_short_pattern_matches_as_defined() {
        let words = |alphabet: &[char], longest: usize| -> Vec<Vec<char>> {
            let mut all = vec![vec![]];
            let mut last = vec![vec![]];
            for _ in 0..longest {
                last = last
                    .iter()
                    .flat_map(|word: &Vec<char>| {
                        alphabet.iter().map(move |c| word.iter().copied().chain([*c]).collect::<Vec<char>>())
                    })
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let texts = words(&['a', 'é'], 5);
        for pattern in words(&['a', 'é', '%', '_'], 5) {
            let written: String = pattern.iter().collect();
            for text in &texts {
                let text_written: String = text.iter().collect();
                assert_eq!(matches(&text_written, &written), naive(text, &pattern), "{text_written} like {written}");
            }
        }
    }

    #[test]
    fn many_wildcards_take_no_long_time() {
        let text = "a".repeat(100_000);
        assert!(!matches(&text, &format!("{}b", "%a".repeat(200))));
        assert!(matches(&text, &"%a".repeat(200)));
    }

    #[test]
    fn an_escaped_sign_is_itself() {
        let pattern = Pattern::new("!%!_!!a", Some('!')).unwrap();
        assert!(pattern.matches("%_!a"));
        assert!(!pattern.matches("xy!a"));
        assert!(Pattern::new("a!", Some('!')).is_err());
    }
}
