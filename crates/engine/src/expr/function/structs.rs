//! Structs: made of values, and taken apart by the names of their fields.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::nullif;
use arrow::datatypes::DataType as ArrowType;

use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::Literal;
use crate::expr::evaluate::rows_of;
use crate::expr::operand::{Call, Value};
use crate::value::{DataType, MAX_TYPE_DEPTH, StructField, is_name};

const BASE: Function = super::base(Family::Nested);

pub(super) static STRUCT_PACK: Function = Function {
    name: "struct_pack",
    help: "A struct of named values",
    signature: "(name := any, …) → struct<name: any, …>",
    types: pack_types,
    null_gives_null: false,
    kernel: Kernel::Rows(pack),
    sql: "{struct}",
    duckdb: "{struct}",
    constants: &[(0, &["a", "b"]), (2, &["c", "d"])],
    example: ("struct_pack(a := 1, b := 'x')", "{\"a\":1,\"b\":\"x\"}"),
    ..BASE
};

pub(super) static STRUCT_EXTRACT: Function = Function {
    name: "struct_extract",
    help: "The field of that name, also written `s.name` and `s['name']`",
    signature: "(struct<…>, 'name') → any",
    types: |arguments| {
        expect_count(arguments, 2..=2, &STRUCT_EXTRACT)?;
        let (DataType::Struct(fields), Some(Literal::String(name))) = (arguments[0].data_type, arguments[1].literal)
        else {
            return Err(refuse(arguments, &STRUCT_EXTRACT));
        };
        match fields.iter().find(|field| field.name == *name) {
            Some(field) => {
                Ok(Signature { arguments: vec![arguments[0].data_type, DataType::String], result: field.data_type })
            }
            None => {
                let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                Err(format!("the struct has no field `{name}`; it has {}", names.join(", ")))
            }
        }
    },
    kernel: Kernel::Rows(extract),
    sql: "struct_extract({0}, {1})",
    flink: "{0}.{1`}",
    duckdb: "struct_extract({0}, {1})",
    constants: &[(1, &["a", "b"])],
    example: ("struct_extract({'a': 1, 'b': 2}, 'b')", "2"),
    ..BASE
};

fn pack_types(arguments: &[Argument<'_>]) -> Result<Signature, String> {
    expect_count(arguments, 2..=usize::MAX, &STRUCT_PACK)?;
    if !arguments.len().is_multiple_of(2) {
        return Err(refuse(arguments, &STRUCT_PACK));
    }
    let mut fields: Vec<StructField> = Vec::with_capacity(arguments.len() / 2);
    for pair in arguments.chunks_exact(2) {
        let Some(Literal::String(name)) = pair[0].literal else { return Err(refuse(arguments, &STRUCT_PACK)) };
        if !is_name(name) {
            return Err(format!("`{name}` cannot name a field: a name is a letter or `_`, then letters, digits, `_`"));
        }
        if fields.iter().any(|field| field.name == *name) {
            return Err(format!("the struct has two fields `{name}`"));
        }
        fields.push(StructField { name: name.clone(), data_type: pair[1].data_type });
    }
    let types = fields.iter().flat_map(|field| [DataType::String, field.data_type]).collect();
    let result = DataType::structure(fields);
    match result.depth() <= MAX_TYPE_DEPTH {
        true => Ok(Signature { arguments: types, result }),
        false => Err(format!("types nest at most {MAX_TYPE_DEPTH} deep")),
    }
}

fn pack(call: &mut Call<'_>) -> ArrayRef {
    let ArrowType::Struct(fields) = call.result.arrow() else { unreachable!("it gives structs") };
    let columns = call.arguments.iter().skip(1).step_by(2).map(|value| rows_of(value, call.rows)).collect();
    Arc::new(StructArray::new(fields, columns, None))
}

fn extract(call: &mut Call<'_>) -> ArrayRef {
    let structs = call.arguments[0].array().as_struct();
    let name = call.arguments[1].array().as_string::<i32>().value(0);
    let column = structs.column_by_name(name).expect("the types were checked");
    // What stands under a null struct is not seen.
    let column = match structs.nulls() {
        Some(nulls) if column.data_type() != &ArrowType::Null => {
            let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
            nullif(column, &is_null).expect("one flag per row")
        }
        _ => column.clone(),
    };
    match &call.arguments[0] {
        Value::Rows(_) => column,
        Value::One(_) => rows_of(&Value::One(column), call.rows),
    }
}
