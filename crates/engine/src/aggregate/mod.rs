//! Aggregates: one file each, one entry in [`AGGREGATES`], all exact and order-free.
//!
//! There is one contract, the columnar one over many groups. `state` is what `merge` reads, what a checkpoint stores
//! and what a spill writes; it is canonical: equal multisets of values give equal state arrays, whatever the order of
//! updates and merges.
//!
//! A new aggregate is one file here and one line in the table; the law test in `law.rs` walks the table.

mod approx_count_distinct;
mod approx_quantile;
mod arg_min_max;
mod array_agg;
mod avg;
mod bits;
mod boolean;
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
mod pairs;
mod quantile;
mod scalar;
mod sum;
mod totals;
mod variance;

use arrow::array::ArrayRef;

use crate::error::Result;
use crate::expr::Literal;
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

/// Returns the types of the only two arguments, or says that there must be exactly two.
fn two_arguments(arguments: &[DataType]) -> Result<(DataType, DataType), String> {
    match arguments {
        [first, second] => Ok((*first, *second)),
        _ => Err(format!("takes two arguments, not {}", arguments.len())),
    }
}

/// What an aggregate is: its names, types and how to make its accumulator.
pub trait Aggregate: Sync {
    /// Returns what the table says about it.
    fn about(&self) -> &About;
    /// Returns the type of the result for arguments of these types, or why they do not fit.
    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String>;
    /// Makes an accumulator for arguments of these types; only called with types that `output_type` accepted, and with
    /// one literal for each of [`About::parameters`], which its check accepted.
    fn accumulator(&self, arguments: &[DataType], parameters: &[Literal]) -> Box<dyn Accumulator>;
    /// Returns true when `update` needs the order keys of the rows (`first`, `last`).
    fn needs_order(&self) -> bool {
        false
    }
    /// Returns true when the state of a group is more than a few numbers and grows with its rows, so that to merge it costs as
    /// much as to take these in again.
    fn grows(&self) -> bool {
        false
    }
    /// Returns the name in SQL, lower case.
    fn name(&self) -> &'static str {
        self.about().name
    }
    /// Returns one line of help.
    fn help(&self) -> &'static str {
        self.about().help
    }
    /// Returns what must be written as a constant, after the arguments.
    fn parameters(&self) -> &'static [Parameter] {
        self.about().parameters
    }
}

/// What the table says about an aggregate, for the reader and for tests.
#[derive(Debug)]
pub struct About {
    /// The name in SQL, lower case.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// How Flink SQL spells it, if it has it.
    pub flink: Option<&'static str>,
    /// How DuckDB spells it, if it has it.
    pub duckdb: Option<&'static str>,
    /// A call and what it gives.
    pub example: Example,
    /// What must be written as a constant, after the arguments.
    pub parameters: &'static [Parameter],
}

/// A call of an aggregate over a few rows, in record order, and what it gives.
#[derive(Debug)]
pub struct Example {
    /// The columns, each as `name type: value, value, …`.
    pub over: &'static [&'static str],
    /// The call.
    pub call: &'static str,
    /// The result as text.
    pub result: &'static str,
}

/// Something about a call that every row has in common, such as `q` of `quantile(x, q)`.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Says why a literal cannot stand here, if it cannot.
    pub check: fn(&Literal) -> Result<(), String>,
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
    /// Takes in rows. Nulls are skipped, except by `count(*)` and where `skips_nulls` says otherwise.
    fn update(&mut self, rows: &Rows<'_>);
    /// Takes in states: row `i` of `state` joins group `groups[i]`. The arrays have the types that `state` returns.
    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]);
    /// Returns the canonical states of these groups, one row each.
    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef>;
    /// Returns the results of these groups, one row each, as the Arrow array of the output type.
    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow>;
    /// Returns about how many bytes the groups occupy.
    fn size_bytes(&self) -> usize;
    /// Returns whether rows whose only argument is null change nothing, so that they may be left out before.
    fn skips_nulls(&self) -> bool {
        true
    }
    /// Of an average: the sums that it is made of, as `sum` of the same arguments keeps and gives them.
    fn sums(&self) -> Option<&dyn Accumulator> {
        None
    }
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
    &arg_min_max::ARG_MIN,
    &arg_min_max::ARG_MAX,
    &boolean::BOOL_AND,
    &boolean::BOOL_OR,
    &bits::BIT_AND,
    &bits::BIT_OR,
    &bits::BIT_XOR,
    &pairs::COVAR_POP,
    &pairs::COVAR_SAMP,
    &pairs::CORR,
    &pairs::REGR_SLOPE,
    &quantile::Quantile,
    &approx_quantile::ApproxQuantile,
    &approx_count_distinct::ApproxCountDistinct,
    &array_agg::ArrayAgg,
];

/// Returns the aggregate of that SQL name (lower case).
pub fn find(name: &str) -> Option<&'static dyn Aggregate> {
    AGGREGATES.iter().copied().find(|aggregate| aggregate.name() == name)
}
