//! How the aggregates read one value out of an Arrow array, compare and keep it, and write an array again.
//!
//! [`Kind`] is one type of value; the macro `dispatch_kind` goes from a run-time type to it, so that loops are compiled
//! per type. Floats are kept as integers of the same order, NaN last, so that every kept value is `Ord` and `Hash`.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, GenericByteArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, BinaryType, ByteArrayType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, Utf8Type,
};

use super::{GroupId, Rows};
use crate::value::{DataType, canonical_f64};

/// Calls `visit` with the group and the row of every chosen row that is not null.
#[inline(always)]
pub(super) fn each_valid(rows: &Rows<'_>, nulls: Option<&NullBuffer>, mut visit: impl FnMut(usize, usize)) {
    let chosen = rows.groups.iter().zip(rows.rows);
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => chosen.for_each(|(group, row)| visit(*group as usize, *row as usize)),
        Some(nulls) => chosen.for_each(|(group, row)| {
            if nulls.is_valid(*row as usize) {
                visit(*group as usize, *row as usize);
            }
        }),
    }
}

/// Calls `visit` with the group and the row of every state row that is not null.
#[inline(always)]
pub(super) fn each_state(groups: &[GroupId], nulls: Option<&NullBuffer>, mut visit: impl FnMut(usize, usize)) {
    let states = groups.iter().enumerate();
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => states.for_each(|(row, group)| visit(*group as usize, row)),
        Some(nulls) => states.for_each(|(row, group)| {
            if nulls.is_valid(row) {
                visit(*group as usize, row);
            }
        }),
    }
}

/// Lengthens `slots` to `groups` entries; never shortens it.
pub(super) fn grow<T: Clone>(slots: &mut Vec<T>, groups: usize, empty: T) {
    if groups > slots.len() {
        slots.resize(groups, empty);
    }
}

/// One bit a group, as far as it is needed.
///
/// A slot that nothing was added to looks like one whose values left it as it was (a sum of zero, the greatest value for
/// `min`). Marking just those groups is rare, and keeps the loop on one slot a row.
#[derive(Default)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    #[cold]
    #[inline(never)]
    pub(super) fn set(&mut self, group: usize) {
        grow(&mut self.0, group / 64 + 1, 0);
        self.0[group / 64] |= 1 << (group % 64);
    }

    pub(super) fn get(&self, group: usize) -> bool {
        self.0.get(group / 64).is_some_and(|word| word >> (group % 64) & 1 == 1)
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}

/// Makes an array of what there is. Arrow's own `collect` appends to the bitmap bit by bit, which takes longer than the rest.
pub(super) fn primitive<T: ArrowPrimitiveType>(values: impl Iterator<Item = Option<T::Native>>) -> PrimitiveArray<T> {
    let (mut slots, mut words, mut word) = (Vec::with_capacity(values.size_hint().0), Vec::new(), 0u64);
    for value in values {
        word |= u64::from(value.is_some()) << (slots.len() % 64);
        slots.push(value.unwrap_or_default());
        if slots.len() % 64 == 0 {
            words.push(std::mem::take(&mut word).to_le());
        }
    }
    words.push(word.to_le());
    let valid = BooleanBuffer::new(Buffer::from_vec(words), 0, slots.len());
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    PrimitiveArray::new(slots.into(), nulls)
}

/// A type of value.
pub(super) trait Kind: 'static {
    /// The Arrow array that holds such values.
    type Array: Array + 'static;
    /// A value that is kept; its order is the value order.
    type Value: Clone + Ord + Hash + Send + Sync + 'static;

    /// Returns the value of a row that is not null.
    fn value(array: &Self::Array, row: usize) -> Self::Value;
    /// Makes an array of the type.
    fn array<'a>(data_type: DataType, values: impl Iterator<Item = Option<&'a Self::Value>>) -> ArrayRef;
    /// Appends the value's bytes, from which `decode` knows where they end.
    fn encode(value: &Self::Value, bytes: &mut Vec<u8>);
    /// Takes a value from the front of `bytes`.
    fn decode(bytes: &mut &[u8]) -> Self::Value;
    /// Appends bytes that order as the value does and hold their own end.
    fn order_key(value: &Self::Value, bytes: &mut Vec<u8>);
    /// Returns the bytes that a value holds outside itself.
    fn heap_bytes(_value: &Self::Value) -> usize {
        0
    }
}

/// A type whose values are small and have a least and a greatest one.
pub(super) trait FixedKind: Kind<Value: Copy> {
    /// No value is less.
    const LEAST: Self::Value;
    /// No value is greater.
    const GREATEST: Self::Value;
}

/// Returns the array as the one that holds values of the kind.
pub(super) fn downcast<K: Kind>(array: &ArrayRef) -> &K::Array {
    array.as_any().downcast_ref().expect("the plan was checked, so an argument has the type it was planned with")
}

/// Evaluates `$body` with `$kind` standing for the [`FixedKind`] of the type, or `$bytes_body` with `$bytes` standing
/// for its [`BytesKind`].
macro_rules! dispatch_kind {
    ($data_type:expr, $kind:ident => $body:expr, $bytes:ident => $bytes_body:expr) => {
        match $data_type {
            $crate::value::DataType::Bool => {
                type $kind = $crate::aggregate::scalar::BoolKind;
                $body
            }
            $crate::value::DataType::Int32 => {
                type $kind = $crate::aggregate::scalar::Int32Kind;
                $body
            }
            $crate::value::DataType::Int64 => {
                type $kind = $crate::aggregate::scalar::Int64Kind;
                $body
            }
            $crate::value::DataType::Float64 => {
                type $kind = $crate::aggregate::scalar::FloatKind;
                $body
            }
            $crate::value::DataType::Decimal(..) => {
                type $kind = $crate::aggregate::scalar::DecimalKind;
                $body
            }
            $crate::value::DataType::Timestamp => {
                type $kind = $crate::aggregate::scalar::TimestampKind;
                $body
            }
            $crate::value::DataType::Date => {
                type $kind = $crate::aggregate::scalar::DateKind;
                $body
            }
            $crate::value::DataType::String => {
                type $bytes = $crate::aggregate::scalar::TextKind;
                $bytes_body
            }
            $crate::value::DataType::Binary => {
                type $bytes = $crate::aggregate::scalar::BinaryKind;
                $bytes_body
            }
            $crate::value::DataType::List(_) | $crate::value::DataType::Struct(_) | $crate::value::DataType::Json => {
                unreachable!("`nested::accumulator` gives these as bytes")
            }
            $crate::value::DataType::Null => unreachable!("an aggregate that keeps values refuses a bare null"),
        }
    };
}
pub(super) use dispatch_kind;

/// Refuses a bare `null`, whose type no result could have.
pub(super) fn refuse_null(argument: DataType) -> Result<DataType, String> {
    match argument.has_null() {
        true => Err("a bare null has no type; write cast(null as TYPE)".to_string()),
        false => Ok(argument),
    }
}

/// `bool`.
pub(super) struct BoolKind;

impl Kind for BoolKind {
    type Array = BooleanArray;
    type Value = bool;

    fn value(array: &BooleanArray, row: usize) -> bool {
        array.value(row)
    }

    fn array<'a>(_: DataType, values: impl Iterator<Item = Option<&'a bool>>) -> ArrayRef {
        Arc::new(values.map(Option::<&bool>::copied).collect::<BooleanArray>())
    }

    fn encode(value: &bool, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*value));
    }

    fn decode(bytes: &mut &[u8]) -> bool {
        take::<1>(bytes) == [1]
    }

    fn order_key(value: &bool, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*value));
    }
}

impl FixedKind for BoolKind {
    const LEAST: bool = false;
    const GREATEST: bool = true;
}

macro_rules! primitive_kind {
    ($kind:ident, $arrow:ty, $native:ty, $doc:literal, $finish:expr) => {
        #[doc = $doc]
        pub(super) struct $kind;

        impl Kind for $kind {
            type Array = PrimitiveArray<$arrow>;
            type Value = $native;

            #[inline(always)]
            fn value(array: &Self::Array, row: usize) -> $native {
                array.values()[row]
            }

            fn array<'a>(data_type: DataType, values: impl Iterator<Item = Option<&'a $native>>) -> ArrayRef {
                let array = primitive::<$arrow>(values.map(|value| value.copied()));
                let finish: fn(PrimitiveArray<$arrow>, DataType) -> PrimitiveArray<$arrow> = $finish;
                Arc::new(finish(array, data_type))
            }

            fn encode(value: &$native, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&value.to_le_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> $native {
                <$native>::from_le_bytes(take(bytes))
            }

            fn order_key(value: &$native, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&(*value ^ <$native>::MIN).to_be_bytes());
            }
        }

        impl FixedKind for $kind {
            const LEAST: $native = <$native>::MIN;
            const GREATEST: $native = <$native>::MAX;
        }
    };
}

primitive_kind!(Int32Kind, Int32Type, i32, "`int32`.", |array, _| array);
primitive_kind!(Int64Kind, Int64Type, i64, "`int64`.", |array, _| array);
primitive_kind!(DateKind, Date32Type, i32, "`date`.", |array, _| array);
primitive_kind!(TimestampKind, TimestampMicrosecondType, i64, "`timestamp`.", |array, _| array.with_timezone("UTC"));
primitive_kind!(DecimalKind, Decimal128Type, i128, "`decimal(p,s)`, kept as its unscaled integer.", decimal_array);

/// Gives an array of unscaled integers its precision and scale.
pub(super) fn decimal_array(array: Decimal128Array, data_type: DataType) -> Decimal128Array {
    array.with_data_type(data_type.arrow())
}

/// `float64`, kept as an integer of the same order: NaN is greater than all, −0.0 is 0.0.
pub(super) struct FloatKind;

impl FloatKind {
    /// Returns the integer that stands for the float.
    #[inline(always)]
    pub(super) fn key(x: f64) -> i64 {
        Self::flip(canonical_f64(x).to_bits() as i64)
    }

    /// Returns the float for which the integer stands.
    #[inline(always)]
    pub(super) fn float(key: i64) -> f64 {
        f64::from_bits(Self::flip(key) as u64)
    }

    /// Turns the order of negative numbers round; its own inverse.
    #[inline(always)]
    fn flip(bits: i64) -> i64 {
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    }
}

impl Kind for FloatKind {
    type Array = Float64Array;
    type Value = i64;

    #[inline(always)]
    fn value(array: &Float64Array, row: usize) -> i64 {
        Self::key(array.values()[row])
    }

    fn array<'a>(_: DataType, values: impl Iterator<Item = Option<&'a i64>>) -> ArrayRef {
        Arc::new(primitive::<Float64Type>(values.map(|value| value.map(|key| Self::float(*key)))))
    }

    fn encode(value: &i64, bytes: &mut Vec<u8>) {
        Int64Kind::encode(value, bytes);
    }

    fn decode(bytes: &mut &[u8]) -> i64 {
        Int64Kind::decode(bytes)
    }

    fn order_key(value: &i64, bytes: &mut Vec<u8>) {
        Int64Kind::order_key(value, bytes);
    }
}

impl FixedKind for FloatKind {
    const LEAST: i64 = i64::MIN;
    const GREATEST: i64 = i64::MAX;
}

/// A type whose values are bytes, ordered bytewise.
pub(super) trait BytesKind: Kind<Value = Box<[u8]>> {
    /// Returns the bytes of a row that is not null.
    fn bytes(array: &Self::Array, row: usize) -> &[u8];
}

macro_rules! bytes_kind {
    ($kind:ident, $arrow:ty, $doc:literal, $from_bytes:expr) => {
        #[doc = $doc]
        pub(super) struct $kind;

        impl Kind for $kind {
            type Array = GenericByteArray<$arrow>;
            type Value = Box<[u8]>;

            fn value(array: &Self::Array, row: usize) -> Box<[u8]> {
                Self::bytes(array, row).into()
            }

            fn array<'a>(_: DataType, values: impl Iterator<Item = Option<&'a Box<[u8]>>>) -> ArrayRef {
                let from_bytes: fn(&[u8]) -> &<$arrow as ByteArrayType>::Native = $from_bytes;
                let values = values.map(|value| value.map(|bytes| from_bytes(bytes)));
                Arc::new(values.collect::<GenericByteArray<$arrow>>())
            }

            fn encode(value: &Box<[u8]>, bytes: &mut Vec<u8>) {
                let length = u32::try_from(value.len()).expect("a value in an Arrow array is below 2 GiB");
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(value);
            }

            fn decode(bytes: &mut &[u8]) -> Box<[u8]> {
                let length = u32::from_le_bytes(take(bytes)) as usize;
                let (value, rest) = bytes.split_at(length);
                *bytes = rest;
                value.into()
            }

            fn order_key(value: &Box<[u8]>, bytes: &mut Vec<u8>) {
                // A zero byte is followed by ones, the end by a zero byte, so that a shorter text is less.
                for byte in value {
                    bytes.push(*byte);
                    if *byte == 0 {
                        bytes.push(0xff);
                    }
                }
                bytes.extend_from_slice(&[0, 0]);
            }

            fn heap_bytes(value: &Box<[u8]>) -> usize {
                value.len()
            }
        }

        impl BytesKind for $kind {
            fn bytes(array: &Self::Array, row: usize) -> &[u8] {
                let value: &<$arrow as ByteArrayType>::Native = array.value(row);
                value.as_ref()
            }
        }
    };
}

bytes_kind!(TextKind, Utf8Type, "`string`.", |bytes| std::str::from_utf8(bytes)
    .expect("the bytes came from a text array, or from a state that its checksum vouches for"));
bytes_kind!(BinaryKind, BinaryType, "`binary`.", |bytes| bytes);

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (value, rest) = bytes.split_first_chunk().expect("a state holds whole values");
    *bytes = rest;
    *value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_what_there_is_is_the_one_that_arrow_makes() {
        for length in [0, 1, 63, 64, 65, 128, 200] {
            for null_every in [1, 2, 3, 64, 1_000] {
                let values = || (0..length).map(|i| (i % null_every != null_every - 1).then_some(i as i64));
                let made = primitive::<Int64Type>(values());
                assert_eq!(made, values().collect::<PrimitiveArray<Int64Type>>(), "{length}, {null_every}");
                assert_eq!(made.nulls().is_some(), made.null_count() > 0);
            }
        }
    }
}
