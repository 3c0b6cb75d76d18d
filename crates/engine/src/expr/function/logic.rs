//! `and`, `or`, `not`, and the choices `case`, `coalesce`, `nullif`.
//!
//! Logic has three values: unknown (null) `and` false is false, unknown `or` true is true. `and`, `or`, `case` and
//! `coalesce` look at a later operand only in rows that the earlier ones leave open; only there can it fail.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::{and_kleene, interleave, or_kleene};

use super::comparison::{Equal, compare};
use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::Expr;
use crate::expr::coerce::common_type;
use crate::expr::evaluate::{Failures, Scope, bools, evaluate_in, failed_rows, nulls, plain, rows_of, trues};
use crate::expr::operand::{Call, Value};
use crate::value::DataType;

const BASE: Function = super::base(Family::Logic);

pub(super) static AND: Function = Function {
    name: "and",
    help: "True if all are true, false if one is false, else null; later operands count only while none is false",
    signature: "(bool, bool, …) → bool",
    types: |arguments| all_bool(arguments, &AND),
    null_gives_null: false,
    kernel: Kernel::Lazy(|operands, scope, failures| connect(operands, scope, failures, Connective::And)),
    sql: "({0* and })",
    flink: "({0* AND })",
    duckdb: "({0* AND })",
    example: ("1 = 2 and 1 // 0 = 1", "false"),
    ..BASE
};

pub(super) static OR: Function = Function {
    name: "or",
    help: "True if one is true, false if all are false, else null; later operands count only while none is true",
    signature: "(bool, bool, …) → bool",
    types: |arguments| all_bool(arguments, &OR),
    null_gives_null: false,
    kernel: Kernel::Lazy(|operands, scope, failures| connect(operands, scope, failures, Connective::Or)),
    sql: "({0* or })",
    flink: "({0* OR })",
    duckdb: "({0* OR })",
    example: ("1 = 1 or 1 // 0 = 1", "true"),
    ..BASE
};

pub(super) static NOT: Function = Function {
    name: "not",
    help: "The opposite; null stays null",
    signature: "(bool) → bool",
    types: |arguments| {
        expect_count(arguments, 1..=1, &NOT)?;
        all_bool(arguments, &NOT)
    },
    kernel: Kernel::Rows(|call| Arc::new(arrow::compute::not(call.bools(0).array()).expect("booleans can be negated"))),
    sql: "(not {0})",
    flink: "(NOT {0})",
    duckdb: "(NOT {0})",
    example: ("not 1 = 2", "true"),
    ..BASE
};

pub(super) static CASE: Function = Function {
    name: "case",
    help: "The result of the first condition that is true, else the one after `else`, else null; others are not looked at",
    signature: "(bool, any, …, any) → any",
    types: |arguments| {
        let (otherwise, branches) = arguments.split_last().ok_or("a `case` needs a branch")?;
        if branches.is_empty() || branches.len() % 2 != 0 {
            return Err("a `case` needs a result for every condition".into());
        }
        let mut results = Vec::with_capacity(branches.len() / 2 + 1);
        for branch in branches.chunks_exact(2) {
            if !matches!(branch[0].data_type, DataType::Bool | DataType::Null) {
                return Err(format!("a condition of `case` is bool, not {}", branch[0].data_type));
            }
            results.push(branch[1]);
        }
        results.push(*otherwise);
        let result =
            common_type(&results).map_err(|why| format!("the results of this `case` do not go together: {why}"))?;
        let mut types: Vec<DataType> = branches.chunks_exact(2).flat_map(|_| [DataType::Bool, result]).collect();
        types.push(result);
        Ok(Signature { arguments: types, result })
    },
    null_gives_null: false,
    kernel: Kernel::Lazy(case),
    sql: "{case}",
    flink: "{case}",
    duckdb: "{case}",
    example: ("case when 1 = 2 then 1 // 0 else 7 end", "7"),
    ..BASE
};

pub(super) static IF: Function = Function {
    name: "if",
    aliases: &["iff"],
    help: "The second value where the condition is true, else the third; the other is not looked at",
    signature: "(bool, any, any) → any",
    types: |arguments| {
        expect_count(arguments, 3..=3, &IF)?;
        (CASE.types)(arguments).map_err(|why| why.replace("`case`", "`if`"))
    },
    null_gives_null: false,
    kernel: Kernel::Lazy(case),
    sql: "if({0}, {1}, {2})",
    flink: "IF({0}, {1}, {2})",
    duckdb: "if({0}, {1}, {2})",
    example: ("if(1 = 1, 'yes', 'no')", "yes"),
    ..BASE
};

pub(super) static NVL2: Function = Function {
    name: "nvl2",
    help: "The second value where the first is not null, else the third; the other is not looked at",
    signature: "(any, any, any) → any",
    types: |arguments| {
        expect_count(arguments, 3..=3, &NVL2)?;
        let result = common_type(&arguments[1..])?;
        Ok(Signature { arguments: vec![arguments[0].data_type, result, result], result })
    },
    null_gives_null: false,
    kernel: Kernel::Lazy(nvl2),
    sql: "nvl2({0}, {1}, {2})",
    flink: "IF({0} IS NOT NULL, {1}, {2})",
    duckdb: "if({0} IS NOT NULL, {1}, {2})",
    example: ("nvl2(null, 1 // 0, 2)", "2"),
    ..BASE
};

pub(super) static COALESCE: Function = Function {
    name: "coalesce",
    aliases: &["ifnull", "nvl"],
    help: "The first value that is not null; later ones are not looked at",
    signature: "(any, …) → any",
    types: |arguments| {
        expect_count(arguments, 1..=usize::MAX, &COALESCE)?;
        let result = common_type(arguments)?;
        Ok(Signature { arguments: vec![result; arguments.len()], result })
    },
    null_gives_null: false,
    kernel: Kernel::Lazy(coalesce),
    sql: "coalesce({0*, })",
    flink: "COALESCE({0*, })",
    duckdb: "coalesce({0*, })",
    example: ("coalesce(null, 3, 1 // 0)", "3"),
    ..BASE
};

pub(super) static NULLIF: Function = Function {
    name: "nullif",
    help: "Null if both are equal, else the first",
    signature: "(any, any) → any",
    types: |arguments| {
        expect_count(arguments, 2..=2, &NULLIF)?;
        let result = common_type(arguments)?;
        Ok(Signature { arguments: vec![result; 2], result })
    },
    null_gives_null: false,
    kernel: Kernel::Rows(null_if_equal),
    sql: "nullif({0}, {1})",
    flink: "NULLIF({0}, {1})",
    duckdb: "nullif({0}, {1})",
    example: ("nullif('x', 'y')", "x"),
    ..BASE
};

fn all_bool(arguments: &[Argument<'_>], function: &Function) -> Result<Signature, String> {
    expect_count(arguments, 1..=usize::MAX, function)?;
    if arguments.iter().any(|argument| !matches!(argument.data_type, DataType::Bool | DataType::Null)) {
        return Err(refuse(arguments, function));
    }
    Ok(Signature { arguments: vec![DataType::Bool; arguments.len()], result: DataType::Bool })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connective {
    And,
    Or,
}

fn connect(operands: &[Expr], scope: &Scope<'_>, failures: &mut Failures, connective: Connective) -> Value {
    let rows = scope.batch.num_rows();
    let mut scope = scope.clone();
    let mut result: Option<BooleanArray> = None;
    for (i, operand) in operands.iter().enumerate() {
        let before = failures.len();
        let value = rows_of(&evaluate_in(operand, &scope, failures), rows);
        let value = value.as_boolean();
        let joined = match (&result, connective) {
            (None, _) => value.clone(),
            (Some(result), Connective::And) => and_kleene(result, value).expect("equal lengths"),
            (Some(result), Connective::Or) => or_kleene(result, value).expect("equal lengths"),
        };
        if i + 1 < operands.len() {
            let decided = match connective {
                Connective::And => falses(&joined),
                Connective::Or => trues(&joined),
            };
            let mut open = &scope.open() & &!&decided;
            if failures.len() > before {
                open = &open & &!&failed_rows(&failures[before..], rows);
            }
            if !open.has_true() {
                return bools(joined);
            }
            scope = scope.narrowed(open);
        }
        result = Some(joined);
    }
    bools(result.expect("a connective has operands"))
}

fn falses(values: &BooleanArray) -> BooleanBuffer {
    let unset = !values.values();
    match values.nulls() {
        Some(nulls) => &unset & nulls.inner(),
        None => unset,
    }
}

/// Collects for every row which of several values it takes.
struct Choice {
    values: Vec<Value>,
    /// For every row the index of its value, or `NONE`.
    chosen: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Choice {
    fn new(rows: usize) -> Self {
        Self { values: Vec::new(), chosen: vec![NONE; rows] }
    }

    fn take(&mut self, rows: &BooleanBuffer, value: Value) {
        let index = self.values.len() as u32;
        rows.set_indices().for_each(|row| self.chosen[row] = index);
        self.values.push(plain(value));
    }

    /// Returns the chosen values; null where none was chosen.
    fn finish(self, data_type: DataType) -> Value {
        if data_type == DataType::Null {
            return Value::Rows(nulls(data_type, self.chosen.len()));
        }
        let none = nulls(data_type, 1);
        let mut arrays: Vec<&dyn Array> = self.values.iter().map(|value| value.array().as_ref()).collect();
        arrays.push(none.as_ref());
        let indices: Vec<(usize, usize)> = self
            .chosen
            .iter()
            .enumerate()
            .map(|(row, chosen)| match self.values.get(*chosen as usize) {
                None => (arrays.len() - 1, 0),
                Some(Value::One(_)) => (*chosen as usize, 0),
                Some(Value::Rows(_)) => (*chosen as usize, row),
            })
            .collect();
        Value::Rows(interleave(&arrays, &indices).expect("the values of a choice have one type"))
    }
}

fn case(operands: &[Expr], scope: &Scope<'_>, failures: &mut Failures) -> Value {
    let rows = scope.batch.num_rows();
    let (otherwise, branches) = operands.split_last().expect("a case has an else");
    let mut choice = Choice::new(rows);
    let mut open = scope.open();
    for branch in branches.chunks_exact(2) {
        if !open.has_true() {
            break;
        }
        let before = failures.len();
        let condition = rows_of(&evaluate_in(&branch[0], &scope.narrowed(open.clone()), failures), rows);
        if failures.len() > before {
            open = &open & &!&failed_rows(&failures[before..], rows);
        }
        let taken = &open & &trues(condition.as_boolean());
        if taken.has_true() {
            let value = evaluate_in(&branch[1], &scope.narrowed(taken.clone()), failures);
            choice.take(&taken, value);
        }
        open = &open & &!&taken;
    }
    if open.has_true() {
        let value = evaluate_in(otherwise, &scope.narrowed(open.clone()), failures);
        choice.take(&open, value);
    }
    choice.finish(otherwise.data_type())
}

fn nvl2(operands: &[Expr], scope: &Scope<'_>, failures: &mut Failures) -> Value {
    let rows = scope.batch.num_rows();
    let before = failures.len();
    let tested = evaluate_in(&operands[0], scope, failures);
    let mut open = scope.open();
    if failures.len() > before {
        open = &open & &!&failed_rows(&failures[before..], rows);
    }
    let present = match tested.array().data_type() {
        arrow::datatypes::DataType::Null => BooleanBuffer::new_unset(rows),
        _ => present_rows(&plain(tested), rows),
    };
    let mut choice = Choice::new(rows);
    for (operand, taken) in operands[1..].iter().zip([&open & &present, &open & &!&present]) {
        if taken.has_true() {
            let value = evaluate_in(operand, &scope.narrowed(taken.clone()), failures);
            choice.take(&taken, value);
        }
    }
    choice.finish(operands[1].data_type())
}

fn coalesce(operands: &[Expr], scope: &Scope<'_>, failures: &mut Failures) -> Value {
    let rows = scope.batch.num_rows();
    let data_type = operands[0].data_type();
    if data_type == DataType::Null {
        return Value::Rows(nulls(data_type, rows));
    }
    let mut choice = Choice::new(rows);
    let mut open = scope.open();
    for (i, operand) in operands.iter().enumerate() {
        let before = failures.len();
        let value = plain(evaluate_in(operand, &scope.narrowed(open.clone()), failures));
        if i == 0
            && let Value::Rows(array) = &value
            && array.null_count() == 0
        {
            return value;
        }
        if failures.len() > before {
            open = &open & &!&failed_rows(&failures[before..], rows);
        }
        let present = present_rows(&value, rows);
        let taken = &open & &present;
        open = &open & &!&present;
        choice.take(&taken, value);
        if !open.has_true() {
            break;
        }
    }
    choice.finish(data_type)
}

fn present_rows(value: &Value, rows: usize) -> BooleanBuffer {
    match value {
        Value::One(array) if array.is_null(0) => BooleanBuffer::new_unset(rows),
        Value::One(_) => BooleanBuffer::new_set(rows),
        Value::Rows(array) => array.nulls().map_or_else(|| BooleanBuffer::new_set(rows), |nulls| nulls.inner().clone()),
    }
}

fn null_if_equal(call: &mut Call<'_>) -> ArrayRef {
    let first = rows_of(&call.arguments[0], call.rows);
    if first.data_type() == &arrow::datatypes::DataType::Null {
        return first;
    }
    let equal = compare::<Equal>(call, 0, 1);
    let mut flags = BooleanBufferBuilder::new(call.rows);
    flags.append_buffer(&trues(&equal));
    nullif(&first, &BooleanArray::new(flags.finish(), None)).expect("one flag per row")
}
