//! Aggregates: one file each, one entry in [`AGGREGATES`], all exact and order-free.
//!
//! There is one contract, the columnar one over many groups. `state` is what `merge` reads, what a checkpoint stores
//! and what a spill writes; it is canonical: equal multisets of values give equal state arrays, whatever the order of
//! updates and merges.
//!
//! A new aggregate is one file here and one line in the table; the law test in `law.rs` walks the table.

mod avg;
mod count;
mod distinct;
#[cfg(test)]
mod exactness;
mod first_last;
#[cfg(test)]
mod known;
#[cfg(test)]
mod law;
mod min_max;
mod nested;
mod scalar;
mod sum;
mod totals;
mod variance;

use arrow::array::ArrayRef;

use crate::error::Result;
use crate::value::DataType;

/// A dense number of a group inside one accumulator.
pub type GroupId = u32;

/// Returns the only argument's type, or says that there must be exactly one.
fn only_argument(arguments: &[DataType]) -> Result<DataType, String> {
    match arguments {
        [argument] => Ok(*argument),
        _ => Err(format!("takes one argument, not {}", arguments.len())),
    }
}

/// What an aggregate is: its names, types and how to make its accumulator.
pub trait Aggregate: Sync {
    /// Returns the name in SQL, lower case.
    fn name(&self) -> &'static str;
    /// Returns one line of help.
    fn help(&self) -> &'static str;
    /// Returns the type of the result for arguments of these types, or why they do not fit.
    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String>;
    /// Makes an accumulator for arguments of these types; only called with types that `output_type` accepted.
    fn accumulator(&self, arguments: &[DataType]) -> Box<dyn Accumulator>;
    /// Returns true when `update` needs the order keys of the rows (`first`, `last`).
    fn needs_order(&self) -> bool {
        false
    }
}

/// The rows that one `update` takes in.
pub struct Rows<'a> {
    /// The group of each chosen row. Every group is below the size last given to `resize`.
    pub groups: &'a [GroupId],
    /// The chosen rows, as indices into the arguments; as long as `groups`. A row may be chosen more than once.
    pub rows: &'a [u32],
    /// The evaluated arguments, as the plain Arrow arrays of their types (never dictionaries).
    pub arguments: &'a [ArrayRef],
    /// For each row of the arguments, bytes whose order is the record order (`needs_order` only): a Binary array.
    pub order: Option<&'a arrow::array::BinaryArray>,
}

/// Running values of one aggregate over many groups.
pub trait Accumulator: Send + Sync {
    /// Makes room for groups `0..groups`; new groups are empty. Never shrinks.
    fn resize(&mut self, groups: usize);
    /// Takes in rows. Nulls are skipped, except by `count(*)`.
    fn update(&mut self, rows: &Rows<'_>);
    /// Takes in states: row `i` of `state` joins group `groups[i]`. The arrays have the types that `state` returns.
    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]);
    /// Returns the canonical states of these groups, one row each.
    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef>;
    /// Returns the results of these groups, one row each, as the Arrow array of the output type.
    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow>;
    /// Returns about how many bytes the groups occupy.
    fn size_bytes(&self) -> usize;
}

/// A result that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Index into the groups given to `finish`.
    pub index: usize,
    /// What overflowed, such as "sum of int64 is 9223372036854775808".
    pub message: String,
}

/// Every aggregate, in the order of the reference page.
pub const AGGREGATES: &[&dyn Aggregate] = &[
    &count::Count,
    &distinct::CountDistinct,
    &sum::Sum,
    &avg::Avg,
    &min_max::MIN,
    &min_max::MAX,
    &first_last::FIRST,
    &first_last::LAST,
    &variance::VAR_POP,
    &variance::VAR_SAMP,
    &variance::STDDEV_POP,
    &variance::STDDEV_SAMP,
];

/// Returns the aggregate of that SQL name (lower case).
pub fn find(name: &str) -> Option<&'static dyn Aggregate> {
    AGGREGATES.iter().copied().find(|aggregate| aggregate.name() == name)
}
