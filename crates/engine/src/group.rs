//! Groups: from key columns to dense numbers, and back to key columns in canonical order.
//!
//! A key is held as bytes whose order is the canonical order of keys: column by column, null least, text bytewise, NaN
//! greatest, lists lexicographic, structs field by field. They come from Arrow's row format over canonical values. Two steps keep the hash work small: [`intern`]
//! numbers the distinct keys of a batch, then each table that the batch touches looks up each distinct key once. The first takes
//! 8 to 10 ns a row, the second 19 ns a key among 100,000 (`benches/kernels.rs`).

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType as ArrowType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::aggregate::GroupId;
use crate::value::{DataType, nested};

/// Turns key columns into bytes and back.
pub struct KeyCodec {
    types: Vec<ArrowType>,
    converter: RowConverter,
}

impl KeyCodec {
    /// Makes a codec for keys of these types.
    pub fn new(types: &[DataType]) -> Self {
        Self::of_arrow(types.iter().map(|data_type| data_type.arrow()).collect())
    }

    /// Makes a codec for columns of these Arrow types.
    pub fn of_arrow(types: Vec<ArrowType>) -> Self {
        let fields = types.iter().cloned().map(SortField::new).collect();
        let converter = RowConverter::new(fields).expect("every type of ours has a row format");
        Self { types, converter }
    }

    /// Returns the bytes of every row; `columns` are plain arrays of the codec's types with canonical floats.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> BinaryArray {
        if self.types.is_empty() {
            let mut builder = BinaryBuilder::with_capacity(rows, 0);
            (0..rows).for_each(|_| builder.append_value([]));
            return builder.finish();
        }
        let rows = self.converter.convert_columns(columns).expect("columns have the codec's types");
        rows.try_into_binary().expect("keys of a batch are below 2 GiB")
    }

    /// Returns the bytes of a key that is all null.
    pub(crate) fn null(&self) -> Vec<u8> {
        let columns: Vec<ArrayRef> = self.types.iter().map(|data_type| new_null_array(data_type, 1)).collect();
        self.encode(&columns, 1).value(0).to_vec()
    }

    /// Returns the key columns of encoded keys.
    pub fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
        if self.types.is_empty() {
            return Vec::new();
        }
        let parser = self.converter.parser();
        self.converter.convert_rows(keys.map(|key| parser.parse(key))).expect("keys came from this codec")
    }
}

impl Clone for KeyCodec {
    fn clone(&self) -> Self {
        Self::of_arrow(self.types.clone())
    }
}

/// The distinct keys of a batch.
pub struct Interned {
    /// The dense number of each row's key.
    pub ids: Vec<u32>,
    /// The bytes of each distinct key, by number.
    pub keys: BinaryArray,
    /// The hash of each distinct key, by number.
    pub hashes: Vec<u64>,
}

impl Interned {
    /// Returns about how many bytes they occupy.
    pub(crate) fn size_bytes(&self) -> usize {
        self.ids.len() * 4 + self.hashes.len() * 12 + self.keys.values().len()
    }
}

/// Numbers the distinct keys of a batch. A single text column may be a dictionary.
pub fn intern(codec: &KeyCodec, columns: &[ArrayRef], rows: usize, hasher: &DefaultHashBuilder) -> Interned {
    let (ids, firsts) = match columns {
        [] => (vec![0; rows], if rows > 0 { vec![0] } else { vec![] }),
        [column] => match column.data_type() {
            ArrowType::Dictionary(..) => intern_dictionary(column),
            ArrowType::Utf8 => intern_text(column, hasher),
            ArrowType::Int64 => {
                let values = column.as_primitive::<Int64Type>();
                intern_i64(column, values.values(), hasher)
            }
            ArrowType::Timestamp(..) => {
                let values = column.as_primitive::<TimestampMicrosecondType>();
                intern_i64(column, values.values(), hasher)
            }
            _ => intern_rows(codec, columns, rows, hasher),
        },
        _ => intern_rows(codec, columns, rows, hasher),
    };
    let firsts = UInt32Array::from(firsts);
    let distinct: Vec<ArrayRef> =
        columns.iter().map(|column| plain(&take(column, &firsts, None).expect("rows are in range"))).collect();
    let keys = codec.encode(&distinct, firsts.len());
    let hashes = (0..keys.len()).map(|i| hasher.hash_one(keys.value(i))).collect();
    Interned { ids, keys, hashes }
}

/// Returns a text dictionary as plain text; everything else unchanged.
pub fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        ArrowType::Dictionary(_, value) => cast(column, value).expect("a dictionary casts to its values"),
        _ => column.clone(),
    }
}

/// Returns a column whose floats, in lists and structs too, have one NaN and no −0.0; everything else unchanged.
pub fn canonical(column: &ArrayRef) -> ArrayRef {
    nested::canonical(column)
}

const NONE: u32 = u32::MAX;

/// Gives numbers to keys in the order of their first row.
#[derive(Default)]
struct Numbering {
    ids: Vec<u32>,
    firsts: Vec<u32>,
}

impl Numbering {
    /// Notes that the key of `row` is a new one and returns its number.
    fn new_key(&mut self, row: usize) -> u32 {
        self.firsts.push(row as u32);
        self.firsts.len() as u32 - 1
    }
}

fn intern_dictionary(column: &ArrayRef) -> (Vec<u32>, Vec<u32>) {
    let dictionary = column.as_dictionary::<Int32Type>();
    let codes = dictionary.keys();
    let values = dictionary.values().as_string::<i32>();
    // Two codes may stand for one text, so a code's number is found through its text, once.
    let mut by_code = vec![NONE; values.len()];
    let mut by_text: hashbrown::HashMap<Option<&str>, u32> = hashbrown::HashMap::new();
    let mut numbering = Numbering::default();
    numbering.ids.reserve(codes.len());
    for row in 0..codes.len() {
        let code = (!codes.is_null(row)).then(|| codes.value(row) as usize);
        let known = code.map_or(NONE, |code| by_code[code]);
        let id = if known != NONE {
            known
        } else {
            let text = code.filter(|code| !values.is_null(*code)).map(|code| values.value(code));
            let id = *by_text.entry(text).or_insert_with(|| numbering.new_key(row));
            if let Some(code) = code {
                by_code[code] = id;
            }
            id
        };
        numbering.ids.push(id);
    }
    (numbering.ids, numbering.firsts)
}

fn intern_text(column: &ArrayRef, hasher: &DefaultHashBuilder) -> (Vec<u32>, Vec<u32>) {
    let values = column.as_string::<i32>();
    intern_by(column, hasher, |row| values.value(row).as_bytes())
}

fn intern_i64(column: &ArrayRef, values: &[i64], hasher: &DefaultHashBuilder) -> (Vec<u32>, Vec<u32>) {
    intern_by(column, hasher, |row| values[row])
}

fn intern_by<K: std::hash::Hash + Eq>(
    column: &ArrayRef,
    hasher: &DefaultHashBuilder,
    key: impl Fn(usize) -> K,
) -> (Vec<u32>, Vec<u32>) {
    let nulls = column.nulls();
    let mut table: HashTable<(u32, u32)> = HashTable::with_capacity(1024);
    let mut numbering = Numbering::default();
    let mut null_id = NONE;
    numbering.ids.reserve(column.len());
    for row in 0..column.len() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            if null_id == NONE {
                null_id = numbering.new_key(row);
            }
            numbering.ids.push(null_id);
            continue;
        }
        let value = key(row);
        let hash = hasher.hash_one(&value);
        let found = table.find(hash, |(first, _)| key(*first as usize) == value).map(|(_, id)| *id);
        let id = found.unwrap_or_else(|| {
            let id = numbering.new_key(row);
            if table.len() == table.capacity() {
                // Keys that are many are mostly very many: it grows in few steps.
                table.reserve(7 * table.len(), |(first, _)| hasher.hash_one(key(*first as usize)));
            }
            table.insert_unique(hash, (row as u32, id), |(first, _)| hasher.hash_one(key(*first as usize)));
            id
        });
        numbering.ids.push(id);
    }
    (numbering.ids, numbering.firsts)
}

fn intern_rows(
    codec: &KeyCodec,
    columns: &[ArrayRef],
    rows: usize,
    hasher: &DefaultHashBuilder,
) -> (Vec<u32>, Vec<u32>) {
    let columns: Vec<ArrayRef> = columns.iter().map(plain).collect();
    let encoded: ArrayRef = Arc::new(codec.encode(&columns, rows));
    let bytes = encoded.as_binary::<i32>();
    intern_by(&encoded, hasher, |row| bytes.value(row))
}

/// Groups of one table: each key's bytes, and its dense number.
#[derive(Clone, Default)]
pub struct Groups {
    /// A half of each key's hash beside its group: most keys that are not meant are told by it, and a table that grows need
    /// not look for keys, which lie all over memory.
    index: HashTable<(u32, GroupId)>,
    /// Of the keys that the index does not have yet, which are the last ones, that half.
    unindexed: Vec<u32>,
    keys: Keys,
    order: Order,
}

/// What is known of the canonical order of groups.
#[derive(Clone, Default)]
pub(crate) enum Order {
    /// It is to be found.
    #[default]
    Unknown,
    /// It is that of their numbers.
    OfNumbers,
    /// It is this one.
    Listed(Vec<GroupId>),
}

/// The bytes of keys, one after the other.
#[derive(Clone, Default)]
struct Keys {
    bytes: Vec<u8>,
    count: usize,
    /// How many bytes each key has, as long as that is so.
    width: usize,
    /// Where each key ends; empty as long as all have the same width, so that none need be looked up.
    ends: Vec<u64>,
}

impl Keys {
    #[inline]
    fn get(&self, group: GroupId) -> &[u8] {
        let group = group as usize;
        if self.ends.is_empty() {
            return &self.bytes[group * self.width..][..self.width];
        }
        let start = if group == 0 { 0 } else { self.ends[group - 1] as usize };
        &self.bytes[start..self.ends[group] as usize]
    }

    fn push(&mut self, key: &[u8]) {
        if self.count == 0 {
            self.width = key.len();
        } else if self.ends.is_empty() && key.len() != self.width {
            self.ends.extend((1..=self.count).map(|count| (count * self.width) as u64));
        }
        match key.split_first_chunk::<8>() {
            // A number and whether there is one: for so few bytes a call takes longer than the rest.
            Some((head, [last])) => {
                self.bytes.extend_from_slice(head);
                self.bytes.push(*last);
            }
            _ => self.bytes.extend_from_slice(key),
        }
        self.count += 1;
        if !self.ends.is_empty() {
            self.ends.push(self.bytes.len() as u64);
        }
    }
}

impl Groups {
    /// Returns how many groups there are.
    pub fn len(&self) -> usize {
        self.keys.count
    }

    /// Returns true when there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.count == 0
    }

    /// Returns the key of a group.
    pub fn key(&self, group: GroupId) -> &[u8] {
        self.keys.get(group)
    }

    /// Returns whether there is a group of that key.
    pub fn has(&mut self, hash: u64, key: &[u8]) -> bool {
        self.index_all();
        self.find(hash, key).is_some()
    }

    /// Returns the group of a key, made if it is new.
    pub fn group(&mut self, hash: u64, key: &[u8]) -> GroupId {
        self.index_all();
        if let Some(group) = self.find(hash, key) {
            return group;
        }
        let (group, half) = (self.keys.count as GroupId, half(hash));
        self.keys.push(key);
        self.index.insert_unique(spread(half), (half, group), |(half, _)| spread(*half));
        self.order = Order::Unknown;
        group
    }

    /// Makes the group of a key that is new, which `half` of its hash says, and leaves the index for whoever searches.
    pub(crate) fn append(&mut self, half: u32, key: &[u8]) {
        self.unindexed.push(half);
        self.keys.push(key);
        self.order = Order::Unknown;
    }

    /// Makes room for so many more that are to be appended.
    pub(crate) fn reserve(&mut self, groups: usize) {
        self.unindexed.reserve(groups);
        self.keys.bytes.reserve(groups * self.keys.width);
    }

    /// Takes what is known of the order of the groups that there are.
    pub(crate) fn put_order(&mut self, order: Order) {
        self.order = order;
    }

    fn index_all(&mut self) {
        if self.unindexed.is_empty() {
            return;
        }
        let first = self.keys.count - self.unindexed.len();
        self.index.reserve(self.unindexed.len(), |(half, _)| spread(*half));
        for (half, group) in std::mem::take(&mut self.unindexed).into_iter().zip(first as GroupId..) {
            self.index.insert_unique(spread(half), (half, group), |(half, _)| spread(*half));
        }
    }

    /// Returns the group of a key, if it has one. All groups are in the index.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<GroupId> {
        debug_assert!(self.unindexed.is_empty(), "whoever searches has asked for the index");
        let half = half(hash);
        let is_it = |(other, group): &(u32, GroupId)| *other == half && are_same(self.keys.get(*group), key);
        self.index.find(spread(half), is_it).map(|(_, group)| *group)
    }

    /// Returns all groups in canonical key order.
    pub fn sorted(&self) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = match &self.order {
            Order::Listed(groups) => return groups.clone(),
            Order::OfNumbers | Order::Unknown => (0..self.len() as GroupId).collect(),
        };
        if matches!(self.order, Order::Unknown) {
            self.sort(&mut groups);
        }
        groups
    }

    /// Puts groups into canonical key order.
    pub fn sort(&self, groups: &mut [GroupId]) {
        let Some(first) = groups.first().map(|group| self.key(*group)) else { return };
        // Keys lie all over memory: the bytes that tell most of them apart are brought together first.
        let common = groups.iter().fold(first.len(), |common, group| {
            first[..common].iter().zip(self.key(*group)).take_while(|(a, b)| a == b).count()
        });
        let head = |group: GroupId| {
            let key = &self.key(group)[common..];
            let mut head = [0; 8];
            let count = key.len().min(8);
            head[..count].copy_from_slice(&key[..count]);
            u64::from_be_bytes(head)
        };
        let mut placed: Vec<(u64, GroupId)> = groups.iter().map(|group| (head(*group), *group)).collect();
        placed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.key(a.1).cmp(self.key(b.1))));
        groups.iter_mut().zip(placed).for_each(|(group, (_, sorted))| *group = sorted);
    }

    /// Returns about how many bytes it occupies.
    pub fn size_bytes(&self) -> usize {
        let order = if let Order::Listed(groups) = &self.order { groups.capacity() } else { 0 };
        let keys = self.keys.bytes.capacity() + self.keys.ends.capacity() * 8;
        keys + self.index.capacity() * 9 + (self.unindexed.capacity() + order) * 4
    }
}

/// Returns the half of a hash that stands beside its key.
pub(crate) fn half(hash: u64) -> u32 {
    hash as u32
}

/// Makes a hash of half of one, whose bits are spread again over the whole.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Compares keys; those of one number, which are the most frequent, without a call.
fn are_same(one: &[u8], other: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let size = one.len();
    match size == other.len() {
        true if (8..=16).contains(&size) => {
            word(one, 0) == word(other, 0) && word(one, size - 8) == word(other, size - 8)
        }
        are_of_one_size => are_of_one_size && one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_bytes_when_one_comes_that_is_longer_or_shorter() {
        for widths in [[0, 0, 0, 3], [2, 2, 2, 0], [2, 2, 5, 2], [4, 4, 4, 4], [0, 1, 0, 1]] {
            let mut groups = Groups::default();
            let key = |at: usize| vec![at as u8; widths[at % 4]];
            let mut known: Vec<Vec<u8>> = Vec::new();
            for at in 0..12 {
                let group = groups.group(9, &key(at)) as usize;
                let place = known.iter().position(|known| *known == key(at)).unwrap_or_else(|| {
                    known.push(key(at));
                    known.len() - 1
                });
                assert_eq!((group, groups.len()), (place, known.len()));
                known.iter().enumerate().for_each(|(at, key)| assert_eq!(groups.key(at as GroupId), key));
            }
        }
    }

    #[test]
    fn keys_of_one_hash_are_told_apart_by_any_of_their_bytes() {
        let mut keys = Vec::new();
        for size in 0..40 {
            keys.push(vec![7; size]);
            keys.extend((0..size).map(|at| {
                let mut key = vec![7; size];
                key[at] = 8;
                key
            }));
        }
        // One hash for all, and one for each half of them.
        for hash in [|_: usize| 5, |at: usize| at as u64 % 2] {
            let mut groups = Groups::default();
            for (at, key) in keys.iter().enumerate() {
                assert!(!groups.has(hash(at), key));
                assert_eq!(groups.group(hash(at), key) as usize, at);
            }
            for (at, key) in keys.iter().enumerate() {
                assert_eq!((groups.group(hash(at), key) as usize, groups.key(at as GroupId)), (at, key.as_slice()));
            }
        }
    }
}
