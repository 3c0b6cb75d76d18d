//! Row expressions: typed trees evaluated with Arrow kernels, one value per row, errors per row.
//!
//! A row whose expression fails (overflow, cast, integer division by zero) fails alone: [`Evaluated`] names it with its
//! reason. `case`, `coalesce`, `and` and `or` look at a later operand only where the earlier ones leave it open.

use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};

use crate::value::DataType;

/// A typed expression over the columns of a batch, found by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    kind: Kind,
    data_type: DataType,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Column(String),
}

/// The values of an expression, and the rows for which it failed.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One value per row, as the Arrow array of the expression's type; null where the row failed.
    pub values: ArrayRef,
    /// Rows that failed with the reason, by growing row number.
    pub failures: Vec<(u32, String)>,
}

impl Expr {
    /// Makes an expression that is a column of the batch.
    pub fn column(name: impl Into<String>, data_type: DataType) -> Self {
        Self { kind: Kind::Column(name.into()), data_type }
    }

    /// Returns the type of its values.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Returns the column's name when the expression is nothing but a column.
    pub fn as_column(&self) -> Option<&str> {
        match &self.kind {
            Kind::Column(name) => Some(name),
        }
    }

    /// Calls `visit` with the name of every column it reads.
    pub fn visit_columns(&self, visit: &mut dyn FnMut(&str)) {
        match &self.kind {
            Kind::Column(name) => visit(name),
        }
    }

    /// Evaluates it for every row. A text column of the batch may be a Dictionary(Int32, Utf8); the result never is.
    ///
    /// # Panics
    /// When a column is missing or has another type: the plan was checked, so that is our bug.
    pub fn evaluate(&self, _batch: &RecordBatch) -> Evaluated {
        unimplemented!()
    }
}

/// The canonical text: every call and operator in parentheses, names quoted where needed. Equal meaning written alike
/// gives equal text; it enters the definition digest.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Column(name) => write!(f, "{name}"),
        }
    }
}
