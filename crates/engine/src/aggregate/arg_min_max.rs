//! `arg_min(x, by)` and `arg_max(x, by)`: the value of `x` where `by` is least or greatest, by the value order.
//!
//! Rows in which either is null are skipped. Among rows of equal `by` the one that comes first in record order counts,
//! in both. So each is the first value by (`by`, record order), with `by` turned round for `arg_max`; the bytes of that
//! order are made only for the one row of a group that is best within an update.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BinaryArray};

use super::first_last::Ends;
use super::scalar::{Kind, dispatch_kind, downcast, each_valid, grow, refuse_null};
use super::{About, Accumulator, Aggregate, Example, GroupId, Overflow, Rows, nested, two_arguments};
use crate::expr::Literal;
use crate::value::DataType;

/// `arg_min(x, by)` or `arg_max(x, by)`.
pub(super) struct ArgMinMax {
    about: About,
    greatest: bool,
}

/// `arg_min(x, by)`.
pub(super) const ARG_MIN: ArgMinMax = ArgMinMax {
    about: About {
        name: "arg_min",
        help: "x of the row with the least `by`, of the first such row in record order; rows with a null are skipped",
        flink: None,
        duckdb: Some("arg_min(x, by)"),
        example: Example { over: &["x string: a, b, c", "by int64: 3, 1, 1"], call: "arg_min(x, by)", result: "b" },
        parameters: &[],
    },
    greatest: false,
};
/// `arg_max(x, by)`.
pub(super) const ARG_MAX: ArgMinMax = ArgMinMax {
    about: About {
        name: "arg_max",
        help: "x of the row with the greatest `by`, of the first such row in record order; rows with a null are skipped",
        flink: None,
        duckdb: Some("arg_max(x, by)"),
        example: Example {
            over: &["x string: a, null, c, d", "by int64: 1, 9, 7, 7"],
            call: "arg_max(x, by)",
            result: "c",
        },
        parameters: &[],
    },
    greatest: true,
};

impl Aggregate for ArgMinMax {
    fn about(&self) -> &About {
        &self.about
    }

    fn output_type(&self, arguments: &[DataType]) -> Result<DataType, String> {
        let (x, by) = two_arguments(arguments)?;
        refuse_null(by)?;
        refuse_null(x)
    }

    fn accumulator(&self, arguments: &[DataType], _: &[Literal]) -> Box<dyn Accumulator> {
        nested::accumulator(arguments, Some(0), |arguments| {
            let (x, by) = (arguments[0], arguments[1]);
            let greatest = self.greatest;
            let chooser: Chooser = dispatch_kind!(by, B => chooser::<B>(), B => chooser::<B>());
            dispatch_kind!(x,
                K => Box::new(Args { ends: Ends::<K>::new(x, false), greatest, chooser, best_row: Vec::new() }),
                K => Box::new(Args { ends: Ends::<K>::new(x, false), greatest, chooser, best_row: Vec::new() }))
        })
    }

    fn needs_order(&self) -> bool {
        true
    }
}

/// Compares `x` of two rows. Rows of equal order, which only a row chosen twice or a faulty source has, are told apart so,
/// as `first` does.
type Ties<'a> = &'a dyn Fn(usize, usize) -> Ordering;

/// Returns each group that the rows touch, with the row that is best for it; the flag asks for the greatest `by`.
type Best = fn(&Rows<'_>, bool, &mut [u32], Ties<'_>) -> Vec<(usize, usize)>;

/// What depends on the type of `by`.
#[derive(Clone, Copy)]
struct Chooser {
    best: Best,
    /// Appends bytes that order as the value of a row does and hold their own end.
    order_key: fn(&ArrayRef, usize, &mut Vec<u8>),
}

fn chooser<B: Kind>() -> Chooser {
    Chooser { best: best::<B>, order_key: |by, row, bytes| B::order_key(&B::value(downcast::<B>(by), row), bytes) }
}

const NO_ROW: u32 = u32::MAX;

fn best<B: Kind>(rows: &Rows<'_>, greatest: bool, best_row: &mut [u32], ties: Ties<'_>) -> Vec<(usize, usize)> {
    let (x, by) = (&rows.arguments[0], downcast::<B>(&rows.arguments[1]));
    let order = record_order(rows);
    let mut touched = Vec::new();
    each_valid(rows, by.nulls(), |group, row| {
        if x.is_null(row) {
            return;
        }
        let best = &mut best_row[group];
        if *best == NO_ROW {
            touched.push(group);
            *best = row as u32;
            return;
        }
        let mut compared = B::value(by, row).cmp(&B::value(by, *best as usize));
        if greatest {
            compared = compared.reverse();
        }
        let in_order = || order.value(row).cmp(order.value(*best as usize));
        if compared.then_with(in_order).then_with(|| ties(row, *best as usize)).is_lt() {
            *best = row as u32;
        }
    });
    touched.into_iter().map(|group| (group, std::mem::replace(&mut best_row[group], NO_ROW) as usize)).collect()
}

fn record_order<'a>(rows: &Rows<'a>) -> &'a BinaryArray {
    rows.order.expect("`needs_order` is true, so the caller gives the order")
}

/// The best value of each group.
struct Args<K: Kind> {
    ends: Ends<K>,
    greatest: bool,
    chooser: Chooser,
    /// Within one update, the best row of each group.
    best_row: Vec<u32>,
}

impl<K: Kind> Accumulator for Args<K> {
    fn resize(&mut self, groups: usize) {
        self.ends.resize(groups);
        grow(&mut self.best_row, groups, NO_ROW);
    }

    fn update(&mut self, rows: &Rows<'_>) {
        let x = downcast::<K>(&rows.arguments[0]);
        let mut bytes = Vec::new();
        let ties = |a: usize, b: usize| K::value(x, a).cmp(&K::value(x, b));
        for (group, row) in (self.chooser.best)(rows, self.greatest, &mut self.best_row, &ties) {
            bytes.clear();
            (self.chooser.order_key)(&rows.arguments[1], row, &mut bytes);
            if self.greatest {
                bytes.iter_mut().for_each(|byte| *byte = !*byte);
            }
            bytes.extend_from_slice(record_order(rows).value(row));
            self.ends.offer(group, &bytes, K::value(x, row));
        }
    }

    fn merge(&mut self, groups: &[GroupId], state: &[ArrayRef]) {
        self.ends.merge(groups, state);
    }

    fn state(&self, groups: &[GroupId]) -> Vec<ArrayRef> {
        self.ends.state(groups)
    }

    fn finish(&self, groups: &[GroupId]) -> Result<ArrayRef, Overflow> {
        self.ends.finish(groups)
    }

    fn size_bytes(&self) -> usize {
        self.ends.size_bytes() + self.best_row.capacity() * size_of::<u32>()
    }
}
