//! `approx_count_distinct(x)`: HyperLogLog with 4,096 registers; its standard error is 1.6 %.
//!
//! A value's hash is XXH3-64 with seed 0 over its bytes: a text's or binary's own; little-endian two's complement of its
//! width for integers, dates, timestamps and the digits of decimals (16 bytes); the bits of a float64, with one NaN and no
//! −0.0; one byte for a bool; for lists, structs and JSON the bytes that order as the value. The first 12 bits of the
//! hash choose a register, which keeps the greatest rank: one more than the zeros that the other 52 bits begin with.
//!
//! The estimate is Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6): a
//! function of how many registers have each rank and of nothing else, so neither order nor merges can be seen in it. It
//! takes only additions, products and square roots, and is rounded to the nearest integer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, Int64Array};
use xxhash_rust::xxh3::xxh3_64;

use super::scalar::{BytesKind, FixedKind, dispatch_kind, downcast, each_state, each_valid, grow, refuse_null};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, nested, only_argument};
use crate::expr::Literal;
use crate::value::{DataType, canonical_f64};

/// `approx_count_distinct(x)`.
pub(super) struct ApproxCountDistinct;

const ABOUT: About = About {
    name: "approx_count_distinct",
    help: "number of different values in little memory (at most 4 KiB a group), with a standard error of 1.6 %",
    flink: Some("APPROX_COUNT_DISTINCT(x)"),
    duckdb: Some("approx_count_distinct(x)"),
    example: Example { over: &["x string: a, b, null, a, c"], call: "approx_count_distinct(x)", result: "3" },
    parameters: &[],
};

impl Aggregate for ApproxCountDistinct {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn grows(&self) -> bool {
        true
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        refuse_null(only_argument(arguments)?).map(|_| DataType::Int64)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        nested::accumulator(arguments, None, |arguments| {
            let hashes: Hashes = match arguments[0] {
                DataType::Float64 => hash_floats,
                other => dispatch_kind!(other, K => hash_fixed::<K>, B => hash_bytes::<B>),
            };
            Box::new(Sketches { hashes, sketches: Vec::new(), heap_bytes: 0 })
        })
    }
}

/// Calls `visit` with the group and the hash of every value.
type Hashes = fn(&Rows<'_>, &mut dyn FnMut(usize, u64));

fn hash_fixed<K: FixedKind>(rows: &Rows<'_>, visit: &mut dyn FnMut(usize, u64)) {
    let array = downcast::<K>(&rows.arguments[0]);
    let mut bytes = Vec::with_capacity(16);
    each_valid(rows, array.nulls(), |group, row| {
        bytes.clear();
        K::encode(&K::value(array, row), &mut bytes);
        visit(group, xxh3_64(&bytes));
    });
}

fn hash_floats(rows: &Rows<'_>, visit: &mut dyn FnMut(usize, u64)) {
    let array = rows.arguments[0].as_primitive::<arrow::datatypes::Float64Type>();
    let values = array.values();
    each_valid(rows, array.nulls(), |group, row| {
        visit(group, xxh3_64(&canonical_f64(values[row]).to_bits().to_le_bytes()));
    });
}

fn hash_bytes<K: BytesKind>(rows: &Rows<'_>, visit: &mut dyn FnMut(usize, u64)) {
    let array = downcast::<K>(&rows.arguments[0]);
    each_valid(rows, array.nulls(), |group, row| visit(group, xxh3_64(K::bytes(array, row))));
}

/// How many bits of a hash choose the register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// The greatest rank.
const MOST: usize = 64 - INDEX_BITS as usize + 1;
/// How many registers are held one by one; registers never become empty, so more of them are held as an array for good.
const FEW: usize = 256;

/// The registers of a group.
#[derive(Clone)]
enum Registers {
    /// Those that are not empty, by number.
    Few(Vec<(u16, u8)>),
    /// All.
    All(Box<[u8; REGISTERS]>),
}

impl Registers {
    fn add_hash(&mut self, hash: u64) {
        // The bit below the others ends the zeros.
        let rest = hash << INDEX_BITS | 1 << (INDEX_BITS - 1);
        self.add((hash >> (64 - INDEX_BITS)) as u16, rest.leading_zeros() as u8 + 1);
    }

    /// Lets a register keep a rank if it is greater than its own.
    fn add(&mut self, index: u16, rank: u8) {
        match self {
            Registers::All(ranks) => {
                let kept = &mut ranks[usize::from(index)];
                *kept = rank.max(*kept);
            }
            Registers::Few(list) => match list.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(place) => list[place].1 = rank.max(list[place].1),
                Err(place) if list.len() < FEW => list.insert(place, (index, rank)),
                Err(_) => {
                    let mut ranks = Box::new([0; REGISTERS]);
                    list.iter().chain([&(index, rank)]).for_each(|(index, rank)| ranks[usize::from(*index)] = *rank);
                    *self = Registers::All(ranks);
                }
            },
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Registers::Few(list) => list.capacity() * size_of::<(u16, u8)>(),
            Registers::All(_) => REGISTERS,
        }
    }

    /// Appends the bytes of the registers: three for each that is not empty, or one for each when they are many.
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Registers::All(ranks) => bytes.extend_from_slice(&ranks[..]),
            Registers::Few(list) => list.iter().for_each(|(index, rank)| {
                bytes.extend_from_slice(&index.to_le_bytes());
                bytes.push(*rank);
            }),
        }
    }

    /// Takes in what `encode` wrote.
    fn merge(&mut self, bytes: &[u8]) {
        let check = |(index, rank): (u16, u8)| {
            let is_one = usize::from(index) < REGISTERS && usize::from(rank) <= MOST;
            assert!(is_one, "a state has registers and ranks that there are");
            (index, rank)
        };
        if bytes.len() == REGISTERS {
            let filled = (0u16..).zip(bytes).filter(|(_, rank)| **rank > 0);
            filled.map(|(index, rank)| check((index, *rank))).for_each(|(index, rank)| self.add(index, rank));
        } else {
            let (entries, _) = bytes.as_chunks::<3>();
            let entries = entries.iter().map(|[low, high, rank]| check((u16::from_le_bytes([*low, *high]), *rank)));
            entries.for_each(|(index, rank)| self.add(index, rank));
        }
    }

    fn estimate(&self) -> i64 {
        let mut counts = [0u32; MOST + 1];
        match self {
            Registers::All(ranks) => ranks.iter().for_each(|rank| counts[usize::from(*rank)] += 1),
            Registers::Few(list) => {
                list.iter().for_each(|(_, rank)| counts[usize::from(*rank)] += 1);
                counts[0] = (REGISTERS - list.len()) as u32;
            }
        }
        estimate(&counts)
    }
}

/// Returns the estimate for registers of which `counts[rank]` have each rank.
fn estimate(counts: &[u32; MOST + 1]) -> i64 {
    /// 1 / (2 · ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let mut sum = registers * tau(1.0 - f64::from(counts[MOST]) / registers);
    for count in counts[1..MOST].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += registers * sigma(f64::from(counts[0]) / registers);
    (ALPHA * registers * registers / sum).round() as i64
}

/// x + Σ x^(2^k) · 2^(k−1)
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum == before {
            return sum;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// The registers of all groups.
struct Sketches {
    hashes: Hashes,
    sketches: Vec<Registers>,
    heap_bytes: usize,
}

impl Sketches {
    fn change(&mut self, group: usize, change: impl FnOnce(&mut Registers)) {
        let before = self.sketches[group].heap_bytes();
        change(&mut self.sketches[group]);
        self.heap_bytes = self.heap_bytes + self.sketches[group].heap_bytes() - before;
    }
}

impl Accumulator for Sketches {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.sketches, groups, Registers::Few(Vec::new()));
    }

    fn update(&mut self, rows: &Rows<'_>) {
        (self.hashes)(rows, &mut |group, hash| self.change(group, |registers| registers.add_hash(hash)));
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let states = state[0].as_binary::<i32>();
        each_state(groups, states.nulls(), |group, row| {
            self.change(group, |registers| registers.merge(states.value(row)));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        let mut states = BinaryBuilder::with_capacity(groups.len(), 0);
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            self.sketches[*group as usize].encode(&mut bytes);
            states.append_value(&bytes);
        }
        vec![Arc::new(states.finish())]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        let estimates = groups.iter().map(|group| self.sketches[*group as usize].estimate());
        Ok(Arc::new(Int64Array::from_iter_values(estimates)))
    }

    fn size_bytes(&self) -> usize {
        self.sketches.capacity() * size_of::<Registers>() + self.heap_bytes
    }
}
