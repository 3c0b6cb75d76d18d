//! Exact totals per group of floats, integers and decimals: what `sum` and `avg` are made of.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{Decimal128Type, Float64Type, Int32Type, Int64Type};
use hashbrown::HashMap;

use super::scalar::{Marks, each_state, each_valid, grow};
use super::{GroupId, Rows};
use crate::exact::{FIXED_POINT_EXPONENT, Wide, fixed_point, fixed_point_to_f64};

/// Totals over many groups; the methods are those of [`super::Accumulator`].
pub(super) trait Totals: Default + Send + Sync + 'static {
    /// A group's exact total.
    type Total;
    /// How many arrays `state` returns.
    const STATE_COLUMNS: usize;

    fn resize(&mut self, groups: usize);
    fn update(&mut self, rows: &Rows<'_>);
    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]);
    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef>;
    /// Returns the group's total; None when it has no values.
    fn total(&self, group: GroupId) -> Option<Self::Total>;
    fn size_bytes(&self) -> usize;
}

/// Totals of floats: 16 bytes a group, and the rest of a group's total in a side map when it has one.
///
/// A group's exact total is its fixed-point number plus its spill. Its state is canonical: the fixed-point number holds
/// the whole total if that fits, else the spill does. A group is empty when it has no spill and its number is zero
/// without a mark.
#[derive(Default)]
pub(super) struct FloatTotals {
    fixed: Vec<i128>,
    zeros: Marks,
    spills: Spills,
}

/// What the fixed-point numbers cannot hold, by group.
#[derive(Default)]
struct Spills {
    by_group: HashMap<GroupId, Spill>,
    heap_bytes: usize,
}

/// What one fixed-point number cannot hold.
#[derive(Default)]
struct Spill {
    special: u8,
    rest: Wide,
}

const NAN: u8 = 1;
const PLUS_INFINITY: u8 = 2;
const MINUS_INFINITY: u8 = 4;

impl Totals for FloatTotals {
    type Total = f64;
    const STATE_COLUMNS: usize = 2;

    fn resize(&mut self, groups: usize) {
        grow(&mut self.fixed, groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = rows.arguments[0].as_primitive::<Float64Type>();
        let (values, fixed) = (&array.values()[..], &mut self.fixed[..]);
        let (zeros, spills) = (&mut self.zeros, &mut self.spills);
        each_valid(rows, array.nulls(), |group, row| match fixed_point(values[row]) {
            Some(value) => add_fixed(&mut fixed[group], value, group, zeros, spills),
            None => spill_float(values[row], group, spills),
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = state[0].as_fixed_size_binary();
        let (totals, _) = array.value_data().as_chunks::<16>();
        let (fixed, zeros, spills) = (&mut self.fixed[..], &mut self.zeros, &mut self.spills);
        each_state(groups, array.nulls(), |group, row| {
            add_fixed(&mut fixed[group], i128::from_le_bytes(totals[row]), group, zeros, spills);
        });
        let spilled = state[1].as_binary::<i32>();
        if spilled.null_count() < spilled.len() {
            each_state(groups, spilled.nulls(), |group, row| {
                let (special, rest) = spilled.value(row).split_first().expect("a spill starts with its flags");
                spills.change(group, |spill| {
                    spill.special |= special;
                    spill.rest.add_wide(&Wide::decode(rest));
                });
            });
        }
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut spilled = BinaryBuilder::with_capacity(groups.len(), 0);
        let mut bytes = Vec::new();
        let fixed = groups.iter().map(|group| {
            let fixed = self.fixed[*group as usize];
            let Some(spill) = self.spills.get(*group) else {
                spilled.append_null();
                return self.whole(*group).map(i128::to_le_bytes);
            };
            bytes.clear();
            bytes.push(spill.special);
            let total = spill.total(fixed);
            let whole = total.to_fixed_point();
            if whole.is_none() {
                total.encode(&mut bytes);
            }
            if bytes == [0] {
                spilled.append_null()
            } else {
                spilled.append_value(&bytes)
            }
            Some(whole.unwrap_or(0).to_le_bytes())
        });
        let fixed = fixed_size_array(fixed);
        vec![fixed, Arc::new(spilled.finish())]
    }

    fn total(&self, group: GroupId) -> Option<f64> {
        match self.spills.get(group) {
            None => self.whole(group).map(fixed_point_to_f64),
            Some(spill) => Some(spill.round(self.fixed[group as usize])),
        }
    }

    fn size_bytes(&self) -> usize {
        self.fixed.capacity() * size_of::<i128>() + self.zeros.size_bytes() + self.spills.size_bytes()
    }
}

impl FloatTotals {
    /// Returns the fixed-point number of a group without spill; None when it is empty.
    fn whole(&self, group: GroupId) -> Option<i128> {
        let fixed = self.fixed[group as usize];
        (fixed != 0 || self.zeros.get(group as usize)).then_some(fixed)
    }
}

impl Spills {
    fn get(&self, group: GroupId) -> Option<&Spill> {
        if self.by_group.is_empty() { None } else { self.by_group.get(&group) }
    }

    fn change(&mut self, group: usize, change: impl FnOnce(&mut Spill)) {
        let spill = self.by_group.entry(group as GroupId).or_default();
        let before = spill.rest.heap_bytes();
        change(spill);
        self.heap_bytes += spill.rest.heap_bytes() - before;
    }

    fn size_bytes(&self) -> usize {
        self.by_group.capacity() * (1 + size_of::<(GroupId, Spill)>()) + self.heap_bytes
    }
}

impl Spill {
    /// Returns the whole total, the fixed-point part included.
    fn total(&self, fixed: i128) -> Wide {
        let mut total = self.rest.clone();
        total.add_integer(fixed, FIXED_POINT_EXPONENT);
        total
    }

    fn round(&self, fixed: i128) -> f64 {
        match self.special {
            0 => self.total(fixed).to_f64(),
            PLUS_INFINITY => f64::INFINITY,
            MINUS_INFINITY => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }
}

#[inline(always)]
fn add_fixed(slot: &mut i128, value: i128, group: usize, zeros: &mut Marks, spills: &mut Spills) {
    let (total, overflow) = slot.overflowing_add(value);
    if overflow {
        spill_fixed(slot, value, group, spills);
        return;
    }
    *slot = total;
    if total == 0 {
        zeros.set(group);
    }
}

/// Moves the number that would overflow to the spill, and goes on with the value.
#[cold]
#[inline(never)]
fn spill_fixed(slot: &mut i128, value: i128, group: usize, spills: &mut Spills) {
    let overflowing = std::mem::replace(slot, value);
    spills.change(group, |spill| spill.rest.add_integer(overflowing, FIXED_POINT_EXPONENT));
}

#[cold]
#[inline(never)]
fn spill_float(x: f64, group: usize, spills: &mut Spills) {
    spills.change(group, |spill| match x {
        _ if x.is_nan() => spill.special |= NAN,
        f64::INFINITY => spill.special |= PLUS_INFINITY,
        f64::NEG_INFINITY => spill.special |= MINUS_INFINITY,
        _ => spill.rest.add_f64(x),
    });
}

/// Totals of integers. They fit: 2^64 values would be needed to leave 128 bits. A group is empty when its total is zero
/// without a mark.
#[derive(Default)]
pub(super) struct IntegerTotals {
    totals: Vec<i128>,
    zeros: Marks,
}

impl Totals for IntegerTotals {
    type Total = i128;
    const STATE_COLUMNS: usize = 1;

    fn resize(&mut self, groups: usize) {
        grow(&mut self.totals, groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let (array, totals, zeros) = (&rows.arguments[0], &mut self.totals[..], &mut self.zeros);
        if let Some(narrow) = array.as_primitive_opt::<Int32Type>() {
            let values = &narrow.values()[..];
            each_valid(rows, array.nulls(), |group, row| add_integer(totals, zeros, group, values[row].into()));
        } else {
            let values = &array.as_primitive::<Int64Type>().values()[..];
            each_valid(rows, array.nulls(), |group, row| add_integer(totals, zeros, group, values[row].into()));
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = state[0].as_fixed_size_binary();
        let (values, _) = array.value_data().as_chunks::<16>();
        let (totals, zeros) = (&mut self.totals[..], &mut self.zeros);
        each_state(groups, array.nulls(), |group, row| {
            add_integer(totals, zeros, group, i128::from_le_bytes(values[row]));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![fixed_size_array(groups.iter().map(|group| self.total(*group).map(i128::to_le_bytes)))]
    }

    fn total(&self, group: GroupId) -> Option<i128> {
        let total = self.totals[group as usize];
        (total != 0 || self.zeros.get(group as usize)).then_some(total)
    }

    fn size_bytes(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.zeros.size_bytes()
    }
}

#[inline(always)]
fn add_integer(totals: &mut [i128], zeros: &mut Marks, group: usize, value: i128) {
    let slot = &mut totals[group];
    *slot += value;
    if *slot == 0 {
        zeros.set(group);
    }
}

/// Totals of decimals, as unscaled integers.
#[derive(Default)]
pub(super) struct DecimalTotals(Vec<LongInteger>);

/// A 192-bit integer in two's complement: 2^64 values of 38 digits fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LongInteger {
    pub(super) low: u128,
    pub(super) high: i64,
}

impl LongInteger {
    /// Stands for a group without values; no total comes near it.
    const EMPTY: Self = Self { low: 0, high: i64::MIN };

    fn new(value: i128) -> Self {
        Self { low: value as u128, high: if value < 0 { -1 } else { 0 } }
    }

    fn plus(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { low, high: self.high + other.high + i64::from(carry) }
    }

    /// Returns the value if it fits.
    pub(super) fn to_i128(self) -> Option<i128> {
        let value = self.low as i128;
        (Self::new(value) == self).then_some(value)
    }

    /// Returns the sign and the absolute value, high half first.
    pub(super) fn magnitude(self) -> (bool, u64, u128) {
        if self.high >= 0 {
            return (false, self.high as u64, self.low);
        }
        let (low, carry) = (!self.low).overflowing_add(1);
        (true, (!self.high as u64) + u64::from(carry), low)
    }

    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; 24]) -> Self {
        let (low, high) = bytes.split_first_chunk::<16>().expect("24 bytes have 16");
        Self { low: u128::from_le_bytes(*low), high: i64::from_le_bytes(high.try_into().expect("8 bytes are left")) }
    }
}

impl Totals for DecimalTotals {
    type Total = LongInteger;
    const STATE_COLUMNS: usize = 1;

    fn resize(&mut self, groups: usize) {
        grow(&mut self.0, groups, LongInteger::EMPTY);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = rows.arguments[0].as_primitive::<Decimal128Type>();
        let (values, totals) = (&array.values()[..], &mut self.0[..]);
        each_valid(rows, array.nulls(), |group, row| add_long(&mut totals[group], LongInteger::new(values[row])));
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = state[0].as_fixed_size_binary();
        let (values, _) = array.value_data().as_chunks::<24>();
        let totals = &mut self.0[..];
        each_state(groups, array.nulls(), |group, row| {
            add_long(&mut totals[group], LongInteger::from_bytes(&values[row]));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![fixed_size_array(groups.iter().map(|group| self.total(*group).map(LongInteger::to_bytes)))]
    }

    fn total(&self, group: GroupId) -> Option<LongInteger> {
        Some(self.0[group as usize]).filter(|total| *total != LongInteger::EMPTY)
    }

    fn size_bytes(&self) -> usize {
        self.0.capacity() * size_of::<LongInteger>()
    }
}

#[inline(always)]
fn add_long(slot: &mut LongInteger, value: LongInteger) {
    *slot = if *slot == LongInteger::EMPTY { value } else { slot.plus(value) };
}

/// Makes a FixedSizeBinary array; bytes under a null are zero.
fn fixed_size_array<const N: usize>(values: impl ExactSizeIterator<Item = Option<[u8; N]>>) -> ArrayRef {
    let mut bytes = Vec::with_capacity(values.len() * N);
    let valid = BooleanBuffer::from_iter(values.map(|value| {
        bytes.extend_from_slice(&value.unwrap_or([0; N]));
        value.is_some()
    }));
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    Arc::new(FixedSizeBinaryArray::new(N as i32, Buffer::from_vec(bytes), nulls))
}
