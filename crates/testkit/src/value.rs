//! Plain values: the oracle's own, so that it shares nothing with the engine.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// True or false.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Double.
    Float,
    /// Digits in all, digits after the point.
    Decimal(u8, u8),
    /// Text.
    Text,
    /// Microseconds since 1970.
    Time,
    /// Days since 1970.
    Date,
    /// Bytes.
    Binary,
    /// A list of int64.
    Ints,
    /// A list of doubles.
    Floats,
    /// A list of texts.
    Texts,
    /// Fields `a`: int64, `b`: a list of texts.
    Pair,
    /// A list of pairs.
    Pairs,
    /// JSON.
    Json,
}

impl Type {
    /// Returns the type of a list's elements.
    pub fn element(self) -> Option<Type> {
        match self {
            Type::Ints => Some(Type::Int64),
            Type::Floats => Some(Type::Float),
            Type::Texts => Some(Type::Text),
            Type::Pairs => Some(Type::Pair),
            _ => None,
        }
    }

    /// Returns true for numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Type::Int32 | Type::Int64 | Type::Float | Type::Decimal(..))
    }

    /// Returns true for integers.
    pub fn is_integer(self) -> bool {
        matches!(self, Type::Int32 | Type::Int64)
    }

    /// Returns true when values of both compare bit for bit: decimals of one scale are alike whatever their digits.
    pub fn is_like(self, other: Type) -> bool {
        match (self, other) {
            (Type::Decimal(_, a), Type::Decimal(_, b)) => a == b,
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("bool"),
            Type::Int32 => f.write_str("int32"),
            Type::Int64 => f.write_str("int64"),
            Type::Float => f.write_str("float64"),
            Type::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Type::Text => f.write_str("string"),
            Type::Time => f.write_str("timestamp"),
            Type::Date => f.write_str("date"),
            Type::Binary => f.write_str("binary"),
            Type::Ints => f.write_str("list<int64>"),
            Type::Floats => f.write_str("list<float64>"),
            Type::Texts => f.write_str("list<string>"),
            Type::Pair => f.write_str("struct<a: int64, b: list<string>>"),
            Type::Pairs => f.write_str("list<struct<a: int64, b: list<string>>>"),
            Type::Json => f.write_str("json"),
        }
    }
}

/// A value. Equal means equal bits; the order is the one of results: null least, NaN greatest, text and bytes bytewise,
/// lists element by element with the shorter one first, structs field by field, JSON as its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of either width.
    Int(i64),
    /// A double.
    Float(f64),
    /// A decimal without its point; the type has the scale.
    Decimal(i128),
    /// Text.
    Text(String),
    /// Microseconds since 1970.
    Time(i64),
    /// Days since 1970.
    Date(i32),
    /// Bytes.
    Binary(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// The fields of a struct, in order.
    Struct(Vec<Value>),
    /// JSON, as its canonical text.
    Json(String),
}

impl Value {
    /// Makes a float as the law wants it: one NaN, no −0.0.
    pub fn float(x: f64) -> Value {
        Value::Float(if x.is_nan() {
            f64::NAN
        } else if x == 0.0 {
            0.0
        } else {
            x
        })
    }

    /// Returns true for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Decimal(_) => 4,
            Value::Text(_) => 5,
            Value::Time(_) => 6,
            Value::Date(_) => 7,
            Value::Binary(_) => 8,
            Value::List(_) => 9,
            Value::Struct(_) => 10,
            Value::Json(_) => 11,
        }
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        // Bits tell NaNs and zeros apart, so that a NaN or a −0.0 that is not the canonical one counts as different.
        (true, true) => a.to_bits().cmp(&b.to_bits()),
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if a == b => b.is_sign_negative().cmp(&a.is_sign_negative()),
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => compare_floats(*a, *b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Binary(a), Value::Binary(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) | (Value::Struct(a), Value::Struct(b)) => a.cmp(b),
            (Value::Json(a), Value::Json(b)) => a.as_bytes().cmp(b.as_bytes()),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

/// Text with a tag for the type: exact, and readable in a failure report or a case file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(x) => write!(f, "bool:{x}"),
            Value::Int(x) => write!(f, "int:{x}"),
            Value::Float(x) if x.is_nan() => write!(f, "float:NaN#{:016x}", x.to_bits()),
            Value::Float(x) => write!(f, "float:{x:?}"),
            Value::Decimal(x) => write!(f, "decimal:{x}"),
            Value::Text(x) => write!(f, "text:{x}"),
            Value::Time(x) => write!(f, "time:{x}"),
            Value::Date(x) => write!(f, "date:{x}"),
            Value::Binary(x) => {
                f.write_str("binary:")?;
                x.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Value::List(x) => write!(f, "list:{}", serde_json::to_string(x).expect("values are texts")),
            Value::Struct(x) => write!(f, "struct:{}", serde_json::to_string(x).expect("values are texts")),
            Value::Json(x) => write!(f, "json:{x}"),
        }
    }
}

impl From<Value> for String {
    fn from(value: Value) -> String {
        value.to_string()
    }
}

impl TryFrom<String> for Value {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| format!("not a value: {text}"))
    }
}

fn parse(text: &str) -> Option<Value> {
    if text == "null" {
        return Some(Value::Null);
    }
    let (tag, rest) = text.split_once(':')?;
    Some(match tag {
        "bool" => Value::Bool(rest.parse().ok()?),
        "int" => Value::Int(rest.parse().ok()?),
        "float" => Value::Float(match rest.strip_prefix("NaN#") {
            Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).ok()?),
            None => rest.parse().ok()?,
        }),
        "decimal" => Value::Decimal(rest.parse().ok()?),
        "text" => Value::Text(rest.to_string()),
        "time" => Value::Time(rest.parse().ok()?),
        "date" => Value::Date(rest.parse().ok()?),
        "binary" => Value::Binary(
            (0..rest.len() / 2).map(|i| u8::from_str_radix(&rest[2 * i..2 * i + 2], 16).ok()).collect::<Option<_>>()?,
        ),
        "list" => Value::List(serde_json::from_str(rest).ok()?),
        "struct" => Value::Struct(serde_json::from_str(rest).ok()?),
        "json" => Value::Json(rest.to_string()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_from_their_text() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Float(f64::NAN),
            Value::Float(-0.0),
            Value::Float(5e-324),
            Value::Float(f64::NEG_INFINITY),
            Value::Decimal(-12),
            Value::Text("a:b\n\u{e9}".into()),
            Value::Time(-1),
            Value::Date(-1),
            Value::Binary(vec![0, 255]),
            Value::List(vec![Value::Null, Value::Struct(vec![Value::Text("\"".into()), Value::List(vec![])])]),
            Value::Json("{\"a\":[1.0]}".into()),
        ];
        for value in values {
            assert_eq!(Value::try_from(value.to_string()), Ok(value));
        }
    }

    #[test]
    fn null_is_least_and_nan_greatest() {
        let mut values = vec![
            Value::Float(f64::NAN),
            Value::Float(1.0),
            Value::Null,
            Value::Float(f64::INFINITY),
            Value::Float(-1.0),
        ];
        values.sort();
        assert_eq!(
            values,
            [Value::Null, Value::Float(-1.0), Value::Float(1.0), Value::Float(f64::INFINITY), Value::Float(f64::NAN)]
        );
    }

    #[test]
    fn zeros_of_other_sign_are_different() {
        assert_ne!(Value::Float(0.0), Value::Float(-0.0));
    }
}
