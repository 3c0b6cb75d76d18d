//! `bit_and`, `bit_or` and `bit_xor` of integers, bit by bit in two's complement.

use std::marker::PhantomData;
use std::ops::{BitAnd, BitOr, BitXor};

use arrow::array::{Array, ArrayRef};

use super::scalar::{Int32Kind, Int64Kind, Kind, Marks, downcast, each_state, each_valid, grow};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, only_argument};
use crate::expr::Literal;
use crate::value::DataType;

/// One of the three.
pub(super) struct Bits {
    about: About,
    make: fn(DataType) -> Box<dyn Accumulator>,
}

/// `bit_and(x)`.
pub(super) const BIT_AND: Bits = Bits {
    about: About {
        name: "bit_and",
        help: "the bits that are set in every value; nulls are skipped",
        flink: None,
        duckdb: Some("bit_and(x)"),
        example: Example { over: &["x int64: 7, null, 13"], call: "bit_and(x)", result: "5" },
        parameters: &[],
    },
    make: accumulator::<And>,
};
/// `bit_or(x)`.
pub(super) const BIT_OR: Bits = Bits {
    about: About {
        name: "bit_or",
        help: "the bits that are set in any value; nulls are skipped",
        flink: None,
        duckdb: Some("bit_or(x)"),
        example: Example { over: &["x int64: 1, null, 12"], call: "bit_or(x)", result: "13" },
        parameters: &[],
    },
    make: accumulator::<Or>,
};
/// `bit_xor(x)`.
pub(super) const BIT_XOR: Bits = Bits {
    about: About {
        name: "bit_xor",
        help: "the bits that are set in an odd number of values; nulls are skipped",
        flink: None,
        duckdb: Some("bit_xor(x)"),
        example: Example { over: &["x int64: 5, null, 3"], call: "bit_xor(x)", result: "6" },
        parameters: &[],
    },
    make: accumulator::<Xor>,
};

impl Aggregate for Bits {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        match only_argument(arguments)? {
            integer if integer.is_integer() => Ok(integer),
            other => Err(format!("takes an integer, not {other}")),
        }
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        (self.make)(arguments[0])
    }
}

/// An operation on bits, commutative and associative.
trait Operation<T>: Send + Sync + 'static {
    /// The value that changes none.
    const NEUTRAL: T;

    fn apply(a: T, b: T) -> T;
}

struct And;
struct Or;
struct Xor;

macro_rules! operation {
    ($name:ident, $neutral:literal, $apply:expr) => {
        operation!($name, i32, $neutral, $apply);
        operation!($name, i64, $neutral, $apply);
    };
    ($name:ident, $integer:ty, $neutral:literal, $apply:expr) => {
        impl Operation<$integer> for $name {
            const NEUTRAL: $integer = $neutral;

            #[inline(always)]
            fn apply(a: $integer, b: $integer) -> $integer {
                $apply(a, b)
            }
        }
    };
}

operation!(And, -1, BitAnd::bitand);
operation!(Or, 0, BitOr::bitor);
operation!(Xor, 0, BitXor::bitxor);

fn accumulator<O: Operation<i32> + Operation<i64>>(argument: DataType) -> Box<dyn Accumulator> {
    match argument {
        DataType::Int32 => Box::new(Words::<Int32Kind, O>::new(argument)),
        _ => Box::new(Words::<Int64Kind, O>::new(argument)),
    }
}

/// The bits of each group. A group without values holds the neutral value without a mark.
struct Words<K: Kind, O> {
    data_type: DataType,
    words: Vec<K::Value>,
    neutral_occurred: Marks,
    operation: PhantomData<O>,
}

impl<K: Kind<Value: Copy>, O: Operation<K::Value>> Words<K, O> {
    fn new(data_type: DataType) -> Self {
        Self { data_type, words: Vec::new(), neutral_occurred: Marks::default(), operation: PhantomData }
    }

    #[inline(always)]
    fn add(words: &mut [K::Value], neutral_occurred: &mut Marks, group: usize, value: K::Value) {
        let word = O::apply(words[group], value);
        words[group] = word;
        if word == O::NEUTRAL {
            neutral_occurred.set(group);
        }
    }

    fn array(&self, groups: &[GroupId]) -> ArrayRef {
        let words = groups.iter().map(|group| {
            let word = &self.words[*group as usize];
            (*word != O::NEUTRAL || self.neutral_occurred.get(*group as usize)).then_some(word)
        });
        K::array(self.data_type, words)
    }
}

impl<K: Kind<Value: Copy>, O: Operation<K::Value>> Accumulator for Words<K, O> {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.words, groups, O::NEUTRAL);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let array = downcast::<K>(&rows.arguments[0]);
        let (words, neutral_occurred) = (&mut self.words[..], &mut self.neutral_occurred);
        each_valid(rows, array.nulls(), |group, row| {
            Self::add(words, neutral_occurred, group, K::value(array, row));
        });
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        let array = downcast::<K>(&state[0]);
        let (words, neutral_occurred) = (&mut self.words[..], &mut self.neutral_occurred);
        each_state(groups, array.nulls(), |group, row| {
            Self::add(words, neutral_occurred, group, K::value(array, row));
        });
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        vec![self.array(groups)]
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        Ok(self.array(groups))
    }

    fn size_bytes(&self) -> usize {
        self.words.capacity() * size_of::<K::Value>() + self.neutral_occurred.size_bytes()
    }
}
