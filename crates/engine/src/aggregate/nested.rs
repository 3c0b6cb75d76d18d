//! Lists, structs and JSON for the aggregates: as bytes whose order is the value order.
//!
//! An aggregate that keeps and compares values keeps these bytes as it keeps a `binary`, so it knows nothing of lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};

use super::{Accumulator, GroupId, Overflow, Rows};
use crate::error::Result;
use crate::group::{KeyCodec, canonical};
use crate::value::DataType;

/// Makes an accumulator that sees no nested type: where an argument has one, it is given bytes of type `binary`.
/// `result` is the argument whose values the aggregate gives, if it does.
pub(super) fn accumulator(
    arguments: &[DataType],
    result: Option<usize>,
    make: impl FnOnce(&[DataType]) -> Box<dyn Accumulator>,
) -> Box<dyn Accumulator> {
    let is_bytes = |data_type: &DataType| data_type.is_nested() || *data_type == DataType::Json;
    if !arguments.iter().any(is_bytes) {
        return make(arguments);
    }
    let codecs: Vec<Option<KeyCodec>> =
        arguments.iter().map(|data_type| is_bytes(data_type).then(|| KeyCodec::new(&[*data_type]))).collect();
    let seen: Vec<DataType> =
        arguments.iter().map(|data_type| if is_bytes(data_type) { DataType::Binary } else { *data_type }).collect();
    let result = result.and_then(|argument| codecs[argument].clone());
    Box::new(OverBytes { codecs, result, inner: make(&seen) })
}

struct OverBytes {
    /// Per argument; None: it is given as it is.
    codecs: Vec<Option<KeyCodec>>,
    /// Of the result, when it is bytes to the inner one.
    result: Option<KeyCodec>,
    inner: Box<dyn Accumulator>,
}

impl Accumulator for OverBytes {
    fn resize(&mut self, groups: usize) {
        self.inner.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let arguments: Vec<ArrayRef> = rows
            .arguments
            .iter()
            .zip(&self.codecs)
            .map(|(argument, codec)| codec.as_ref().map_or_else(|| argument.clone(), |codec| bytes(codec, argument)))
            .collect();
        self.inner.update(&Rows { arguments: &arguments, ..*rows });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        self.inner.merge(groups, state);
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        self.inner.state(groups)
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        let finished = self.inner.finish(groups)?;
        Ok(match &self.result {
            Some(codec) => values(codec, finished.as_binary::<i32>()),
            None => finished,
        })
    }

    fn size_bytes(&self) -> usize {
        self.inner.size_bytes()
    }

    fn skips_nulls(&self) -> bool {
        self.inner.skips_nulls()
    }
}

/// Returns the ordered bytes of every value; null stays null.
fn bytes(codec: &KeyCodec, column: &ArrayRef) -> ArrayRef {
    let (offsets, bytes, _) = codec.encode(&[canonical(column)], column.len()).into_parts();
    Arc::new(BinaryArray::new(offsets, bytes, column.nulls().cloned()))
}

/// Returns the values of ordered bytes.
fn values(codec: &KeyCodec, bytes: &BinaryArray) -> ArrayRef {
    let null = codec.null();
    let keys = bytes.iter().map(|value| value.unwrap_or(&null));
    codec.decode(keys).pop().expect("the codec is of one column")
}
