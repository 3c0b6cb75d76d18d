//! Types of values, and how each is held in an Arrow array.

pub(crate) mod nested;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType as ArrowType, Field as ArrowField, Float64Type, Schema as ArrowSchema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};

pub use nested::{MAX_NAME_SIZE, MAX_TYPE_DEPTH, StructField, is_name, split};

/// The type of a column or an expression.
///
/// Nested types hold their parts by reference, so that a type stays a small value; two types are equal when they read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// True or false.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// IEEE 754 double. NaN is one value, greater than all others; −0.0 does not occur.
    Float64,
    /// Exact decimal: up to 38 digits, `.1` of them after the point.
    Decimal(u8, u8),
    /// UTF-8 text, ordered bytewise.
    String,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// Days since 1970-01-01.
    Date,
    /// Bytes.
    Binary,
    /// Values of one type in an order, null among them. Lists order lexicographically, null least. Made by [`DataType::list`].
    List(&'static DataType),
    /// Named values side by side. Structs order field by field, null least. Made by [`DataType::structure`].
    Struct(&'static [StructField]),
    /// JSON of any shape but null, held as its canonical text ([`crate::json`]) and ordered by it, bytewise.
    Json,
    /// The type of a bare `null`; fits everywhere.
    Null,
}

impl DataType {
    /// Returns the Arrow type that holds it. Timestamps are microseconds in UTC.
    pub fn arrow(self) -> ArrowType {
        match self {
            DataType::Bool => ArrowType::Boolean,
            DataType::Int32 => ArrowType::Int32,
            DataType::Int64 => ArrowType::Int64,
            DataType::Float64 => ArrowType::Float64,
            DataType::Decimal(precision, scale) => ArrowType::Decimal128(precision, scale as i8),
            DataType::String => ArrowType::Utf8,
            DataType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Date => ArrowType::Date32,
            DataType::Binary => ArrowType::Binary,
            DataType::List(element) => ArrowType::List(Arc::new(ArrowField::new("item", element.arrow(), true))),
            DataType::Struct(fields) => {
                let field = |field: &StructField| ArrowField::new(&field.name, field.data_type.arrow(), true);
                ArrowType::Struct(fields.iter().map(field).collect())
            }
            // The wide type, so that an array says by itself whether it holds JSON or text.
            DataType::Json => ArrowType::LargeUtf8,
            DataType::Null => ArrowType::Null,
        }
    }

    /// Returns true for integers, floats and decimals.
    pub fn is_numeric(self) -> bool {
        matches!(self, DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Decimal(..))
    }

    /// Returns true for `int32` and `int64`.
    pub fn is_integer(self) -> bool {
        matches!(self, DataType::Int32 | DataType::Int64)
    }

    /// Reads a type as written in a pipeline file, such as `int64`, `decimal(18,2)` or `list<string>` (without `!`).
    ///
    /// ```text
    /// type  = "bool" | "int32" | "int64" | "float64" | "string" | "timestamp" | "date" | "binary" | "json"
    ///       | "decimal(" digits "," digits ")" | "list<" type ">" | "struct<" field { "," field } ">"
    /// field = name ":" type
    /// name  = [A-Za-z_][A-Za-z0-9_]{0,62}      no name twice in a struct
    /// ```
    ///
    /// Blanks may stand between any two words but before `(` and `<`. Types nest at most [`MAX_TYPE_DEPTH`] deep.
    pub fn parse(text: &str) -> Option<Self> {
        nested::parse(text, MAX_TYPE_DEPTH)
    }

    /// Reads a type that holds no other.
    fn parse_scalar(text: &str) -> Option<Self> {
        Some(match text {
            "bool" => DataType::Bool,
            "int32" => DataType::Int32,
            "int64" => DataType::Int64,
            "float64" => DataType::Float64,
            "string" => DataType::String,
            "timestamp" => DataType::Timestamp,
            "date" => DataType::Date,
            "binary" => DataType::Binary,
            "json" => DataType::Json,
            other => {
                let inner = other.strip_prefix("decimal(")?.strip_suffix(')')?;
                let (precision, scale) = inner.split_once(',')?;
                let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                if precision == 0 || precision > 38 || scale > precision {
                    return None;
                }
                DataType::Decimal(precision, scale)
            }
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Bool => f.write_str("bool"),
            DataType::Int32 => f.write_str("int32"),
            DataType::Int64 => f.write_str("int64"),
            DataType::Float64 => f.write_str("float64"),
            DataType::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            DataType::String => f.write_str("string"),
            DataType::Timestamp => f.write_str("timestamp"),
            DataType::Date => f.write_str("date"),
            DataType::Binary => f.write_str("binary"),
            DataType::List(element) => write!(f, "list<{element}>"),
            DataType::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {}", field.name, field.data_type)?;
                }
                f.write_str(">")
            }
            DataType::Json => f.write_str("json"),
            DataType::Null => f.write_str("null"),
        }
    }
}

/// A named, typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// Whether null may occur.
    pub nullable: bool,
}

impl Field {
    /// Makes a field that may be null.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, nullable: true }
    }
}

/// The columns of rows, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The columns, in order.
    pub fields: Vec<Field>,
}

impl Schema {
    /// Makes a schema from fields.
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields }
    }

    /// Returns the column of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the Arrow schema. Every field is nullable there, so that batches of different origin have equal schemas.
    pub fn arrow(&self) -> SchemaRef {
        let fields: Vec<ArrowField> =
            self.fields.iter().map(|field| ArrowField::new(&field.name, field.data_type.arrow(), true)).collect();
        Arc::new(ArrowSchema::new(fields))
    }
}

/// Returns the float that stands for `x` everywhere: one NaN, and no −0.0.
#[inline]
pub fn canonical_f64(x: f64) -> f64 {
    // Chosen among bits, because the optimiser may take one NaN for another and then leaves any NaN as it is.
    let bits = if x == 0.0 {
        0
    } else if x.is_nan() {
        NAN_BITS
    } else {
        x.to_bits()
    };
    f64::from_bits(bits)
}

/// The bits of the one NaN.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// Returns a value for people: `null`, RFC 3339 times, everything else as Arrow prints it.
pub fn display(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    // Arrow prints times in named zones only with a zone database.
    if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
        return crate::rfc3339(times.value(row));
    }
    // Arrow has words of its own for what is no number.
    if let Some(floats) = array.as_primitive_opt::<Float64Type>()
        && !floats.value(row).is_finite()
    {
        return crate::expr::text::float_text(floats.value(row));
    }
    if matches!(array.data_type(), ArrowType::List(_) | ArrowType::Struct(_)) {
        return crate::json::text_of(array, row);
    }
    arrow::util::display::array_value_to_string(array, row).unwrap_or_else(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_has_the_words_of_the_language() {
        let floats = arrow::array::Float64Array::from(vec![f64::INFINITY, f64::NEG_INFINITY, -f64::NAN, 0.5]);
        let shown: Vec<String> = (0..4).map(|row| display(&floats, row)).collect();
        assert_eq!(shown, ["Infinity", "-Infinity", "NaN", "0.5"]);
    }

    /// In a loop over values that the compiler does not know, so that it may vectorise as it does in kernels.
    #[test]
    fn there_is_one_nan_and_one_zero() {
        let odd = [-1.0f64, -0.0, 0.0, f64::from_bits(0xfff8_0000_0000_0001), -f64::NAN, f64::INFINITY];
        let computed: Vec<u64> = std::hint::black_box(&odd).iter().map(|x| canonical_f64(x.sqrt()).to_bits()).collect();
        assert_eq!(computed, [NAN_BITS, 0, 0, NAN_BITS, NAN_BITS, f64::INFINITY.to_bits()]);
    }
}
