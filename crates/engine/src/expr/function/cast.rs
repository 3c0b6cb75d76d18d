//! `cast` and `try_cast`: conversions that are written out. What each pair of types does is in `expr::cast`.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType as ArrowType;

use super::{Family, Function, Kernel, Signature, expect_count};
use crate::expr::cast;
use crate::value::DataType;

const BASE: Function = super::base(Family::Conversion);

pub(crate) static CAST: Function = Function {
    name: "cast",
    help: "The value as another type; one that cannot be converted fails the row",
    signature: "(any as type) → type",
    types: |_| Err("`cast` is written `cast(x as type)`".into()),
    kernel: Kernel::Rows(|call| cast::convert(call, false)),
    sql: "cast({0} as {type})",
    flink: "CAST({0} AS {type})",
    duckdb: "CAST({0} AS {type})",
    differs: "DuckDB reads more forms of times, and takes the date out of a longer text",
    example: ("cast('12' as int64) + 1", "13"),
    ..BASE
};

pub(crate) static TRY_CAST: Function = Function {
    name: "try_cast",
    help: "The value as another type, or null when it cannot be converted",
    signature: "(any as type) → type",
    types: |_| Err("`try_cast` is written `try_cast(x as type)`".into()),
    kernel: Kernel::Rows(|call| cast::convert(call, true)),
    sql: "try_cast({0} as {type})",
    flink: "TRY_CAST({0} AS {type})",
    duckdb: "TRY_CAST({0} AS {type})",
    differs: "DuckDB reads more forms of times, and takes the date out of a longer text",
    example: ("coalesce(try_cast('x' as int64), -1)", "-1"),
    ..BASE
};

pub(super) static TYPEOF: Function = Function {
    name: "typeof",
    help: "The name of the value's type, as it is written in a pipeline file; of a null too",
    signature: "(any) → string",
    types: |arguments| {
        expect_count(arguments, 1..=1, &TYPEOF)?;
        Ok(Signature { arguments: vec![arguments[0].data_type], result: DataType::String })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(|call| {
        let name = name_of(call.arguments[0].array().data_type());
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, call.rows)))
    }),
    sql: "typeof({0})",
    flink: "TYPEOF({0})",
    duckdb: "typeof({0})",
    differs: "elsewhere types have other names",
    example: ("typeof(1.5) || ' ' || typeof(null)", "float64 null"),
    ..BASE
};

/// Returns the name of the type that an Arrow type holds.
fn name_of(data_type: &ArrowType) -> String {
    match data_type {
        ArrowType::Boolean => DataType::Bool.to_string(),
        ArrowType::Utf8 => DataType::String.to_string(),
        ArrowType::LargeUtf8 => DataType::Json.to_string(),
        ArrowType::Timestamp(..) => DataType::Timestamp.to_string(),
        ArrowType::Date32 => DataType::Date.to_string(),
        ArrowType::Decimal128(precision, scale) => DataType::Decimal(*precision, *scale as u8).to_string(),
        ArrowType::List(item) => format!("list<{}>", name_of(item.data_type())),
        ArrowType::Struct(fields) => {
            let named =
                |field: &arrow::datatypes::FieldRef| format!("{}: {}", field.name(), name_of(field.data_type()));
            format!("struct<{}>", fields.iter().map(named).collect::<Vec<_>>().join(", "))
        }
        // The other names are Arrow's own in small letters.
        other => other.to_string().to_ascii_lowercase(),
    }
}
