//! The lake: Parquet files that hold a log, so that batch mode reads the records a stream would.
//!
//! Layout `log`, which [`LakeWriter`] makes:
//!
//! ```text
//! LAKE/partition=P/<first offset, 20 digits>.parquet
//!   _partition int32, _offset int64, _timestamp timestamp(ms, UTC), _key binary,
//!   the schema's columns,
//!   _bad string      why the record is bad (a reason of `format::reason`), else null
//!   _raw binary      the value's bytes, of bad records or of all
//! ```
//!
//! Every partition has a folder and at least one file, perhaps without rows. The ranges of successive files touch. A
//! file's footer says what it holds: see [`footer::Footer`]. Files of other writers need only `_offset` (and
//! `_timestamp` where the pipeline needs it) besides the columns.
//!
//! Layouts `connect` and `files` are read only; there a record's offset follows from file name and row number.
//!
//! What a file says about itself is believed only as far as it can be checked or does no harm: a damaged or hostile file
//! is an error that names it, never a panic.

mod column;
mod file;
pub mod footer;
mod listing;
mod load;
mod nested;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use arrow::datatypes::{DataType as ArrowType, Field};
use engine::Result;
use engine::plan::{ColumnPlan, LakeBinding, Layout, TimeFormat, ValueFrom};
use engine::value::DataType;

use crate::format::columns_of_schema_text;

pub use scan::LakeScan;
pub use writer::{LakeOptions, LakeWriter};

/// A column as the files of a lake hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredColumn {
    /// Its name.
    pub name: String,
    /// How a pipeline declares it; None: of a type that no column of a pipeline has.
    pub plan: Option<ColumnPlan>,
    /// The type it is stored in, for people.
    pub stored: String,
    /// True when the file itself says how it was declared.
    pub is_declared: bool,
}

/// Returns the columns of a lake's first file that has rows, those of the log itself left out.
pub fn stored_columns(binding: &LakeBinding) -> Result<Vec<StoredColumn>> {
    let mut columns = Vec::new();
    for (_, path) in listing::list(binding)?.into_iter().flat_map(|listed| listed.files) {
        let file = file::LakeFile::open(path)?;
        let declared = file.footer.as_ref().and_then(|footer| columns_of_schema_text(&footer.schema));
        columns = match declared.filter(|_| binding.layout == Layout::Log) {
            Some(declared) => declared.into_iter().map(declared_column).collect(),
            None => file.fields().iter().filter(|field| is_own(field.name())).map(stored_column).collect(),
        };
        if file.rows() > 0 {
            break;
        }
    }
    Ok(columns)
}

fn is_own(name: &str) -> bool {
    ![name::PARTITION, name::OFFSET, name::TIMESTAMP, name::KEY, name::BAD, name::RAW].contains(&name)
}

fn declared_column(plan: ColumnPlan) -> StoredColumn {
    let (name, stored) = (plan.field.name.clone(), plan.field.data_type.to_string());
    StoredColumn { name, plan: Some(plan), stored, is_declared: true }
}

fn stored_column(field: &std::sync::Arc<Field>) -> StoredColumn {
    let stored = field.data_type();
    let plain = [
        DataType::Bool,
        DataType::Int32,
        DataType::Int64,
        DataType::Float64,
        DataType::String,
        DataType::Timestamp,
        DataType::Date,
        DataType::Binary,
    ];
    let data_type = match stored {
        ArrowType::Decimal128(precision, scale) if *scale >= 0 && *scale as u8 <= *precision => {
            Some(DataType::Decimal(*precision, *scale as u8))
        }
        _ => plain.into_iter().find(|data_type| column::fits(stored, *data_type)),
    };
    let name = field.name().clone();
    let plan = data_type.map(|data_type| ColumnPlan {
        field: engine::Field { name: name.clone(), data_type, nullable: true },
        from: ValueFrom::Path(vec![name.clone()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    });
    StoredColumn { name, plan, stored: stored.to_string(), is_declared: false }
}

/// Names of the columns that a lake of layout `log` has beside the schema's.
pub(crate) mod name {
    pub(crate) const PARTITION: &str = "_partition";
    pub(crate) const OFFSET: &str = "_offset";
    pub(crate) const TIMESTAMP: &str = "_timestamp";
    pub(crate) const KEY: &str = "_key";
    pub(crate) const BAD: &str = "_bad";
    pub(crate) const RAW: &str = "_raw";
}
