//! One value of a result: how it is ordered, compared bit by bit, and written as text.

use std::cmp::Ordering;

use base64::Engine as _;
use chrono::DateTime;
use polars::prelude::{AnyValue, Field, TimeUnit};

/// A value of a row.
#[derive(Clone, Debug)]
pub enum Cell {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// IEEE 754 double.
    Float(f64),
    /// Exact decimal: digits, and how many of them stand after the point.
    Decimal(i128, usize),
    /// Text.
    Text(String),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list or struct as JSON text, or a value of a kind that only queries make, such as a duration.
    Other(String),
}

/// Returns a list as an array and a struct as an object.
fn nested_json(value: &AnyValue<'_>) -> serde_json::Value {
    let object = |names: &[Field], values: &mut dyn Iterator<Item = serde_json::Value>| {
        names.iter().map(|field| field.name().to_string()).zip(values).collect()
    };
    match value {
        AnyValue::List(series) => (0..series.len())
            .map(|i| series.get(i).map_or(serde_json::Value::Null, |value| nested_json(&value)))
            .collect(),
        AnyValue::Struct(_, _, fields) => object(fields, &mut value._iter_struct_av().map(|value| nested_json(&value))),
        AnyValue::StructOwned(payload) => object(&payload.1, &mut payload.0.iter().map(nested_json)),
        scalar => Cell::from_any(scalar).json(),
    }
}

impl Cell {
    pub(crate) fn from_any(value: &AnyValue<'_>) -> Self {
        match value {
            AnyValue::Null => Cell::Null,
            AnyValue::Boolean(b) => Cell::Bool(*b),
            AnyValue::UInt8(n) => Cell::Int((*n).into()),
            AnyValue::UInt16(n) => Cell::Int((*n).into()),
            AnyValue::UInt32(n) => Cell::Int((*n).into()),
            AnyValue::UInt64(n) => Cell::Int((*n).into()),
            AnyValue::Int8(n) => Cell::Int((*n).into()),
            AnyValue::Int16(n) => Cell::Int((*n).into()),
            AnyValue::Int32(n) => Cell::Int((*n).into()),
            AnyValue::Int64(n) => Cell::Int((*n).into()),
            AnyValue::Int128(n) => Cell::Int(*n),
            AnyValue::Float32(x) => Cell::Float((*x).into()),
            AnyValue::Float64(x) => Cell::Float(*x),
            AnyValue::Decimal(digits, _, scale) => Cell::Decimal(*digits, *scale),
            AnyValue::String(text) => Cell::Text((*text).to_string()),
            AnyValue::StringOwned(text) => Cell::Text(text.to_string()),
            AnyValue::Binary(bytes) => Cell::Bytes(bytes.to_vec()),
            AnyValue::BinaryOwned(bytes) => Cell::Bytes(bytes.clone()),
            AnyValue::Date(days) => Cell::Date(*days),
            AnyValue::Datetime(t, unit, _) => Cell::Time(micros(*t, *unit)),
            AnyValue::DatetimeOwned(t, unit, _) => Cell::Time(micros(*t, *unit)),
            AnyValue::Duration(t, unit) => Cell::Other(format!("{} us", micros(*t, *unit))),
            AnyValue::List(_) | AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
                Cell::Other(nested_json(value).to_string())
            }
            other => Cell::Other(format!("{other:?}")),
        }
    }

    /// Returns the value in JSON: times in RFC 3339, decimals, NaN and infinities as text, bytes in base64.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Cell::Null => serde_json::Value::Null,
            Cell::Bool(b) => (*b).into(),
            Cell::Int(n) => match i64::try_from(*n) {
                Ok(n) => n.into(),
                Err(_) => u64::try_from(*n).map_or_else(|_| n.to_string().into(), serde_json::Value::from),
            },
            Cell::Float(x) => serde_json::Number::from_f64(*x).map_or_else(|| self.text().into(), Into::into),
            Cell::Other(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
            _ => self.text().into(),
        }
    }

    /// Returns the value as plain text, empty for null. A float is written in the shortest form that reads back to it.
    pub fn text(&self) -> String {
        match self {
            Cell::Null => String::new(),
            Cell::Bool(b) => b.to_string(),
            Cell::Int(n) => n.to_string(),
            Cell::Float(x) if x.is_nan() => "NaN".into(),
            Cell::Float(x) if x.is_infinite() => if *x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            Cell::Float(x) => serde_json::Number::from_f64(*x).expect("it is finite").to_string(),
            Cell::Decimal(digits, scale) => decimal_text(*digits, *scale),
            Cell::Text(text) | Cell::Other(text) => text.clone(),
            Cell::Time(t) => match DateTime::from_timestamp_micros(*t) {
                Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                None => format!("{t} us"),
            },
            Cell::Date(days) => match DateTime::from_timestamp(i64::from(*days) * 86_400, 0) {
                Some(time) => time.format("%Y-%m-%d").to_string(),
                None => format!("{days} d"),
            },
            Cell::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
        }
    }

    /// Returns true when both are the same value: floats by their bits, NaN like NaN, decimals by value.
    pub(crate) fn same(&self, other: &Cell) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// Returns true when both are floats no further apart than `tolerance`.
    pub(crate) fn close(&self, other: &Cell, tolerance: f64) -> bool {
        matches!((self, other), (Cell::Float(a), Cell::Float(b)) if (a - b).abs() <= tolerance)
    }

    /// A total order: null first, then by kind, then by value; −0.0 before 0.0, NaN last and equal to NaN.
    pub(crate) fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                (false, false) => a.total_cmp(b),
                (a_nan, b_nan) => a_nan.cmp(&b_nan),
            },
            (Cell::Decimal(a, a_scale), Cell::Decimal(b, b_scale)) => order_decimals((*a, *a_scale), (*b, *b_scale)),
            (Cell::Text(a), Cell::Text(b)) | (Cell::Other(a), Cell::Other(b)) => a.cmp(b),
            (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
            (Cell::Date(a), Cell::Date(b)) => a.cmp(b),
            (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Cell::Null => 0,
            Cell::Bool(_) => 1,
            Cell::Int(_) => 2,
            Cell::Float(_) => 3,
            Cell::Decimal(..) => 4,
            Cell::Text(_) => 5,
            Cell::Time(_) => 6,
            Cell::Date(_) => 7,
            Cell::Bytes(_) => 8,
            Cell::Other(_) => 9,
        }
    }
}

fn micros(t: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Nanoseconds => t.div_euclid(1000),
        TimeUnit::Microseconds => t,
        TimeUnit::Milliseconds => t.saturating_mul(1000),
    }
}

/// Compares digits that stand at different scales: whole parts, then fractions widened to 38 digits.
fn order_decimals(a: (i128, usize), b: (i128, usize)) -> Ordering {
    let split = |(digits, scale): (i128, usize)| {
        let unit = 10_i128.pow(scale as u32);
        (digits.div_euclid(unit), digits.rem_euclid(unit) as u128 * 10_u128.pow((38 - scale) as u32))
    };
    split(a).cmp(&split(b))
}

fn decimal_text(digits: i128, scale: usize) -> String {
    if scale == 0 {
        return digits.to_string();
    }
    let text = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    format!("{}{whole}.{fraction}", if digits < 0 { "-" } else { "" })
}

/// Reads a decimal as written, such as `-12.50`.
pub(crate) fn parse_decimal(text: &str) -> Option<(i128, usize)> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || fraction.len() > 38 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    Some((if negative { -value } else { value }, fraction.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        assert_eq!(Cell::Decimal(-1250, 2).text(), "-12.50");
        assert_eq!(Cell::Decimal(5, 3).text(), "0.005");
        assert_eq!(Cell::Decimal(7, 0).text(), "7");
        assert_eq!(Cell::Float(0.1 + 0.2).text(), "0.30000000000000004");
        assert_eq!(Cell::Float(f64::NEG_INFINITY).json(), "-Infinity");
        assert_eq!(Cell::Time(-1).text(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(Cell::Date(-1).text(), "1969-12-31");
        assert_eq!(Cell::Bytes(vec![0, 255]).text(), "AP8=");
        assert_eq!(parse_decimal("-12.50"), Some((-1250, 2)));
        assert_eq!(parse_decimal("12.5e1"), None);
    }

    #[test]
    fn floats_are_compared_by_bits_and_nan_equals_nan() {
        assert!(Cell::Float(f64::NAN).same(&Cell::Float(-f64::NAN)));
        assert!(!Cell::Float(0.0).same(&Cell::Float(-0.0)));
        assert!(!Cell::Float(0.3).same(&Cell::Float(0.1 + 0.2)));
        assert!(Cell::Float(0.3).close(&Cell::Float(0.1 + 0.2), 1e-15));
        assert!(!Cell::Null.same(&Cell::Int(0)));
        assert!(!Cell::Null.close(&Cell::Float(0.0), 1.0));
    }

    #[test]
    fn decimals_are_compared_by_value() {
        assert!(Cell::Decimal(120, 2).same(&Cell::Decimal(12, 1)));
        assert_eq!(Cell::Decimal(-15, 1).order(&Cell::Decimal(-149, 2)), Ordering::Less);
        assert_eq!(Cell::Decimal(10_i128.pow(38) - 1, 0).order(&Cell::Decimal(1, 38)), Ordering::Greater);
    }
}
