//! Arrow rows as plain values.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use crate::case::expr::Column;
use crate::value::{Type, Value};

/// Returns the columns of a batch: names and types.
pub fn columns(batch: &RecordBatch) -> Vec<Column> {
    let schema = batch.schema();
    schema.fields().iter().map(|field| (field.name().clone(), type_of(field.data_type()))).collect()
}

fn type_of(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::Bool,
        DataType::Int32 => Type::Int32,
        DataType::Int64 => Type::Int64,
        DataType::Float64 => Type::Float,
        DataType::Decimal128(precision, scale) => Type::Decimal(*precision, u8::try_from(*scale).expect("0 to 38")),
        DataType::Utf8 => Type::Text,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => Type::Time,
        DataType::Date32 => Type::Date,
        DataType::Binary => Type::Binary,
        DataType::LargeUtf8 => Type::Json,
        DataType::List(field) => match field.data_type() {
            DataType::Int64 => Type::Ints,
            DataType::Float64 => Type::Floats,
            DataType::Utf8 => Type::Texts,
            pair if type_of(pair) == Type::Pair => Type::Pairs,
            other => panic!("a result has no list of {other}"),
        },
        DataType::Struct(fields) => {
            let fields: Vec<(&str, Type)> =
                fields.iter().map(|field| (field.name().as_str(), type_of(field.data_type()))).collect();
            assert_eq!(fields, [("a", Type::Int64), ("b", Type::Texts)], "there is one struct");
            Type::Pair
        }
        other => panic!("a result has no column of type {other}"),
    }
}

/// Returns the rows of a batch. Floats keep their bits, so that a −0.0 or a strange NaN is seen.
pub fn values(batch: &RecordBatch) -> Vec<Vec<Value>> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|array| value(array.as_ref(), row)).collect()).collect()
}

fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_string()),
        DataType::Timestamp(..) => Value::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Binary => Value::Binary(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeUtf8 => Value::Json(array.as_string::<i64>().value(row).to_string()),
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Value::List((0..elements.len()).map(|at| value(elements.as_ref(), at)).collect())
        }
        DataType::Struct(_) => {
            Value::Struct(array.as_struct().columns().iter().map(|field| value(field.as_ref(), row)).collect())
        }
        other => panic!("a result has no column of type {other}"),
    }
}
