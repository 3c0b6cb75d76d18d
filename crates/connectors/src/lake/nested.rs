//! Stored lists, structs and JSON as their declared types: part by part as columns would be read.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringBuilder, ListArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType as ArrowType;
use engine::json;
use engine::plan::{ColumnPlan, TimeFormat, ValueFrom};
use engine::value::{DataType, Field};

use super::column;
use crate::format::reason::{Fault, Reason};

/// Returns true when a stored array can be read as a declared list, struct or JSON.
pub(super) fn fits(stored: &ArrowType, declared: DataType) -> bool {
    use ArrowType::*;
    match (declared, stored) {
        (DataType::Json, Utf8 | LargeUtf8 | Utf8View) => true,
        (DataType::Json, Dictionary(_, values)) => matches!(**values, Utf8 | LargeUtf8 | Utf8View),
        (DataType::List(element), List(field) | LargeList(field) | FixedSizeList(field, _)) => {
            column::fits(field.data_type(), *element)
        }
        (DataType::Struct(fields), Struct(stored)) => fields.iter().all(|field| {
            stored
                .iter()
                .any(|stored| *stored.name() == field.name && column::fits(stored.data_type(), field.data_type))
        }),
        _ => false,
    }
}

/// Returns a stored array as the declared type, with the rows that hold what no decoder would have given.
pub(super) fn convert(array: &ArrayRef, declared: &ColumnPlan) -> Result<(ArrayRef, Vec<(u32, Fault)>), String> {
    match declared.field.data_type {
        DataType::Json => canonical(array, declared),
        DataType::List(element) => lists(array, *element, declared),
        DataType::Struct(_) => structs(array, declared),
        other => unreachable!("{other} is a scalar"),
    }
}

/// Reads the texts as a decoder would.
fn canonical(array: &ArrayRef, declared: &ColumnPlan) -> Result<(ArrayRef, Vec<(u32, Fault)>), String> {
    let texts = cast(array, &ArrowType::LargeUtf8).map_err(|error| error.to_string())?;
    let texts = texts.as_string::<i64>();
    let mut faults = Vec::new();
    let mut values = LargeStringBuilder::with_capacity(texts.len(), texts.values().len());
    for (row, text) in texts.iter().enumerate() {
        match text.map_or(Ok(None), json::canonical) {
            Ok(value) => values.append_option(value),
            Err(why) => {
                values.append_null();
                faults.push((row as u32, fault(declared, Reason::InvalidJson, &why)));
            }
        }
    }
    Ok((Arc::new(values.finish()), faults))
}

fn lists(array: &ArrayRef, element: DataType, declared: &ColumnPlan) -> Result<(ArrayRef, Vec<(u32, Fault)>), String> {
    let ArrowType::List(field) = declared.field.data_type.arrow() else { unreachable!("it is a list") };
    // Whatever lists they are, as plain ones of the stored elements; null lists may hide elements.
    let stored = match array.data_type() {
        ArrowType::List(stored) | ArrowType::LargeList(stored) | ArrowType::FixedSizeList(stored, _) => stored.clone(),
        other => return Err(column::mismatch(declared, other)),
    };
    let plain = cast(array, &ArrowType::List(stored)).map_err(|error| error.to_string())?;
    let plain = plain.as_list::<i32>();
    let (elements, found) = column::convert(plain.values(), &part(declared, element), true)?;
    let elements = column::plain(elements)?;
    let offsets = plain.offsets();
    let mut faults = Vec::new();
    for (at, fault) in found {
        let row = offsets.partition_point(|start| *start <= at as i32).saturating_sub(1);
        if row < plain.len() && plain.is_valid(row) && faults.last().is_none_or(|(last, _)| *last != row as u32) {
            faults.push((row as u32, fault));
        }
    }
    Ok((Arc::new(ListArray::new(field, offsets.clone(), elements, plain.nulls().cloned())), faults))
}

fn structs(array: &ArrayRef, declared: &ColumnPlan) -> Result<(ArrayRef, Vec<(u32, Fault)>), String> {
    let (DataType::Struct(types), ArrowType::Struct(fields)) =
        (declared.field.data_type, declared.field.data_type.arrow())
    else {
        unreachable!("it is a struct")
    };
    let Some(stored) = array.as_struct_opt() else { return Err(column::mismatch(declared, array.data_type())) };
    let is_there = |nulls: Option<&NullBuffer>, row: u32| nulls.is_none_or(|nulls| nulls.is_valid(row as usize));
    let (mut columns, mut faults) = (Vec::new(), Vec::new());
    for field in types {
        let column = stored.column_by_name(&field.name).ok_or_else(|| column::mismatch(declared, array.data_type()))?;
        let (column, found) = column::convert(column, &part(declared, field.data_type), true)?;
        faults.extend(found.into_iter().filter(|(row, _)| is_there(stored.nulls(), *row)));
        columns.push(column::plain(column)?);
    }
    faults.sort_by_key(|(row, _)| *row);
    faults.dedup_by_key(|(row, _)| *row);
    Ok((Arc::new(StructArray::new(fields, columns, stored.nulls().cloned())), faults))
}

/// Returns a part of a column as a column of its own; its faults name the whole.
fn part(whole: &ColumnPlan, data_type: DataType) -> ColumnPlan {
    ColumnPlan {
        field: Field::new(whole.field.name.clone(), data_type),
        from: ValueFrom::Value,
        format: TimeFormat::Default,
        null_as: Vec::new(),
    }
}

fn fault(column: &ColumnPlan, reason: Reason, what: &str) -> Fault {
    Fault::new(reason, format!("column `{}`: {what}", column.field.name))
}
