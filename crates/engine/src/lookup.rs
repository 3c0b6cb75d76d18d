//! Looking values up in a table that is part of the definition.

use std::fmt;

use arrow::array::{Array, ArrayRef, BinaryArray, UInt32Array};
use arrow::compute::take;

use crate::group::{KeyCodec, canonical, plain};
use crate::plan::{LookupPlan, OnMissing};
use crate::rows::{Batch, Failures, evaluate_plain, with_column};
use crate::task::{Aside, Engine};
use crate::value::DataType;

/// A pinned table: the values of each key. No key is there twice, and none has a null in it.
pub struct LookupTable {
    codec: KeyCodec,
    places: hashbrown::HashMap<Box<[u8]>, u32>,
    values: Vec<ArrayRef>,
}

impl LookupTable {
    /// Makes a table of key columns of these types and value columns, all of one length. Rows with a null in their key are
    /// left out, because null equals nothing. Gives two rows of the same key, if there are any.
    pub fn new(types: &[DataType], keys: &[ArrayRef], values: Vec<ArrayRef>) -> Result<Self, (usize, usize)> {
        let codec = KeyCodec::new(types);
        let rows = keys.first().map_or(0, |keys| keys.len());
        let keys: Vec<ArrayRef> = keys.iter().map(canonical).collect();
        let bytes = codec.encode(&keys, rows);
        let mut places = hashbrown::HashMap::with_capacity(rows);
        for row in (0..rows).filter(|row| keys.iter().all(|keys| keys.is_valid(*row))) {
            if let Some(first) = places.insert(Box::from(bytes.value(row)), row as u32) {
                return Err((first as usize, row));
            }
        }
        Ok(Self { codec, places, values: values.iter().map(|values| plain(&canonical(values))).collect() })
    }

    /// Returns how many keys it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true when it has no key.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the place of each row's key; null where the table has no such key.
    fn find(&self, keys: &[ArrayRef], rows: usize) -> UInt32Array {
        let bytes: BinaryArray = self.codec.encode(keys, rows);
        (0..rows).map(|row| self.places.get(bytes.value(row)).copied()).collect()
    }
}

impl fmt::Debug for LookupTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupTable of {} keys", self.len())
    }
}

impl Engine {
    /// Returns the rows with the values that their keys have in the table.
    pub(crate) fn look_up(&self, step: usize, lookup: &LookupPlan, rows: &Batch, asides: &mut Vec<Aside>) -> Batch {
        let mut failures = Failures::new();
        let value = |(_, expr): &(String, _)| canonical(&evaluate_plain(expr, &rows.columns, &mut failures));
        let keys: Vec<ArrayRef> = lookup.keys.iter().map(value).collect();
        let places = lookup.table.find(&keys, rows.len());
        let mut columns = rows.columns.clone();
        for (field, values) in lookup.take.iter().zip(&lookup.table.values) {
            let values = take(values, &places, None).expect("places are in the table");
            columns = with_column(&columns, &field.name, values);
        }
        let mut kept = Vec::with_capacity(rows.len());
        for row in (0..rows.len() as u32).filter(|row| !failures.contains_key(row)).collect::<Vec<_>>() {
            if places.is_valid(row as usize) || lookup.missing == OnMissing::Null {
                kept.push(row);
            } else if lookup.missing == OnMissing::Quarantine {
                failures.insert(row, format!("lookup: {} has no row of this key", lookup.file));
            }
        }
        self.keep_failed(step, rows, failures.into_iter().collect(), asides);
        let rows = Batch { columns, ..rows.clone() };
        if kept.len() == rows.len() { rows } else { rows.take(&kept) }
    }
}
