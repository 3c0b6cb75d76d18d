//! The rows that a question is answered with.

use polars::prelude::{DataFrame, DataType};

use crate::cell::Cell;

/// Rows with named columns.
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) data: DataFrame,
}

/// What a column holds, as far as showing it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers: shown to the right.
    Number,
    /// Anything else.
    Other,
}

impl Frame {
    pub(crate) fn new(mut data: DataFrame) -> Self {
        data.rechunk_mut();
        Self { data }
    }

    /// Returns the names of the columns, in order.
    pub fn names(&self) -> Vec<&str> {
        self.data.columns().iter().map(|column| column.name().as_str()).collect()
    }

    /// Returns what each column holds.
    pub fn kinds(&self) -> Vec<Kind> {
        let kind = |data_type: &DataType| if data_type.is_numeric() { Kind::Number } else { Kind::Other };
        self.data.columns().iter().map(|column| kind(column.dtype())).collect()
    }

    /// Returns the types of the columns, as words.
    pub fn types(&self) -> Vec<String> {
        self.data.columns().iter().map(|column| type_word(column.dtype())).collect()
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.data.height()
    }

    /// Returns true when there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a value by column and row number.
    ///
    /// # Panics
    /// When there is no such column or row.
    pub fn cell(&self, column: usize, row: usize) -> Cell {
        Cell::from_any(&self.data.columns()[column].get(row).expect("the row is there"))
    }
}

fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::String => "string".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float64 => "float64".into(),
        DataType::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Datetime(..) => "timestamp".into(),
        DataType::Date => "date".into(),
        DataType::Binary => "binary".into(),
        DataType::Null => "null".into(),
        DataType::List(element) => format!("list<{}>", type_word(element)),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name(), type_word(field.dtype())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
