//! Types guessed from JSON values: what stands at each path of the objects, how often, and where it is something else.

use std::collections::BTreeMap;

use engine::json;
use engine::log::{Offset, Partition};

use crate::time;

/// Where a record stands.
pub type Position = (Partition, Offset);

/// How many places of a conflict are kept.
const PLACES: usize = 5;

/// A kind of JSON value, as far as columns know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within int64.
    Integer,
    /// A whole number beyond int64.
    Large,
    /// A number with a point or exponent.
    Float,
    /// One of the texts `NaN`, `Infinity`, `-Infinity`, which are values of float columns.
    NotFinite,
    /// A text that is an RFC 3339 time with an offset.
    Time,
    /// A text that is a date.
    Date,
    /// Any other text.
    Text,
    /// `[…]`
    List,
    /// `{…}`
    Object,
}

impl Kind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Integer => "whole number",
            Kind::Large => "whole number beyond int64",
            Kind::Float => "number",
            Kind::NotFinite => "text",
            Kind::Time => "time",
            Kind::Date => "date",
            Kind::Text => "text",
            Kind::List => "list",
            Kind::Object => "object",
        }
    }

    /// Returns what it can share a column with.
    fn family(self) -> u8 {
        match self {
            Kind::Bool => 0,
            Kind::Integer | Kind::Large | Kind::Float | Kind::NotFinite => 1,
            Kind::Time | Kind::Date | Kind::Text => 2,
            Kind::List => 3,
            Kind::Object => 4,
        }
    }
}

/// Values of one kind at one path.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// How many.
    pub count: u64,
    /// The first few places.
    pub places: Vec<Position>,
    /// The first value, as written.
    pub example: String,
}

/// What stands at a path.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By kind.
    pub kinds: BTreeMap<Kind, Sightings>,
    /// How many nulls stand there.
    pub nulls: u64,
    /// Least and largest whole number.
    pub integers: Option<(i64, i64)>,
    /// What stands in the objects, by key, in the order in which keys were first seen.
    pub members: Vec<(String, Seen)>,
    /// What stands in the lists.
    pub elements: Option<Box<Seen>>,
}

impl Seen {
    fn add(&mut self, text: &str, position: Position) {
        let Some(kind) = kind_of(text) else {
            self.nulls += 1;
            return;
        };
        let sightings = self.kinds.entry(kind).or_default();
        sightings.count += 1;
        if sightings.places.len() < PLACES {
            sightings.places.push(position);
        }
        if sightings.example.is_empty() {
            sightings.example = text.chars().take(60).collect();
        }
        if let (Kind::Integer, Ok(value)) = (kind, text.parse::<i64>()) {
            let (least, largest) = self.integers.unwrap_or((value, value));
            self.integers = Some((least.min(value), largest.max(value)));
        }
        match kind {
            Kind::Object => self.add_members(text, position),
            Kind::List => {
                let elements = self.elements.get_or_insert_default();
                json::elements(text).for_each(|element| elements.add(element, position));
            }
            _ => {}
        }
    }

    fn add_members(&mut self, object: &str, position: Position) {
        for (key, value) in json::members(object) {
            let key = json::characters(key).unwrap_or_else(|| key.to_owned());
            let place = self.members.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                self.members.push((key, Seen::default()));
                self.members.len() - 1
            });
            self.members[place].1.add(value, position);
        }
    }

    /// Returns how many values stand there that are not null.
    pub fn values(&self) -> u64 {
        self.kinds.values().map(|sightings| sightings.count).sum()
    }

    /// Returns the kinds that a column of this path holds, which are those of the family seen most often; and those that
    /// do not fit it.
    pub fn split(&self) -> (Vec<Kind>, Vec<(Kind, &Sightings)>) {
        let count_of = |kind: Kind| self.kinds.get(&kind).map_or(0, |found| found.count);
        // Among texts, these words are texts like others.
        let numbers = [Kind::Integer, Kind::Large, Kind::Float].into_iter().map(count_of).sum::<u64>();
        let texts = [Kind::Time, Kind::Date, Kind::Text].into_iter().map(count_of).sum::<u64>();
        let are_texts = numbers == 0 || numbers + count_of(Kind::NotFinite) <= texts;
        let family = |kind: Kind| if kind == Kind::NotFinite && are_texts { 2 } else { kind.family() };
        let count = |wanted: u8| {
            self.kinds.iter().filter(|(kind, _)| family(**kind) == wanted).map(|(_, found)| found.count).sum::<u64>()
        };
        // Of two that are equally frequent, text: every record of it can be read as text by hand later.
        let winner = (0..5).max_by_key(|family| (count(*family), *family == 2)).unwrap_or(2);
        let most = |kind: Kind| count_of(kind) * 100 >= count(winner) * NEARLY_ALL;
        let has_fractions = count_of(Kind::Float) > 0 || count_of(Kind::NotFinite) > 0;
        // No text looks like a time by chance: odd values among times are mistakes, also where there are few of all.
        let mostly = |kind: Kind| count_of(kind) * 3 >= count(winner) * 2;
        let only = match winner {
            1 if !has_fractions && most(Kind::Integer) => Some(Kind::Integer),
            2 => [Kind::Time, Kind::Date].into_iter().find(|kind| mostly(*kind)),
            _ => None,
        };
        let fits = |kind: &Kind| family(*kind) == winner && only.is_none_or(|only| only == *kind);
        let kinds = self.kinds.keys().copied().filter(fits).collect();
        (kinds, self.kinds.iter().filter(|(kind, _)| !fits(kind)).map(|(kind, found)| (*kind, found)).collect())
    }
}

/// From this share of a hundred on, the others are taken for mistakes.
const NEARLY_ALL: u64 = 95;

/// What stands in the values of a log.
#[derive(Clone, Debug, Default)]
pub struct Guesses {
    /// Values that are JSON objects.
    pub objects: u64,
    /// Values that are not.
    pub others: Sightings,
    /// What stands in the objects.
    pub root: Seen,
}

impl Guesses {
    /// Takes in a value; None is a tombstone.
    pub fn add(&mut self, value: Option<&[u8]>, position: Position) {
        let text = value.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let canonical = text.and_then(|text| json::canonical(text).ok().flatten());
        match canonical.filter(|text| json::kind(text) == json::Kind::Object) {
            Some(object) => {
                self.objects += 1;
                self.root.add_members(&object, position);
            }
            None => {
                self.others.count += 1;
                if self.others.places.len() < PLACES {
                    self.others.places.push(position);
                }
            }
        }
    }
}

/// Returns the kind of a value as written; None for null.
fn kind_of(text: &str) -> Option<Kind> {
    Some(match json::kind(text) {
        json::Kind::Null => return None,
        json::Kind::Boolean => Kind::Bool,
        json::Kind::Array => Kind::List,
        json::Kind::Object => Kind::Object,
        json::Kind::Number if text.contains(['.', 'e', 'E']) => Kind::Float,
        json::Kind::Number if text.parse::<i64>().is_ok() => Kind::Integer,
        json::Kind::Number => Kind::Large,
        json::Kind::String => {
            let inner = &text[1..text.len() - 1];
            match time::parse(inner) {
                _ if matches!(inner, "NaN" | "Infinity" | "-Infinity") => Kind::NotFinite,
                Ok(_) if inner.len() > 10 => Kind::Time,
                Ok(_) if inner.len() == 10 => Kind::Date,
                _ => Kind::Text,
            }
        }
    })
}
