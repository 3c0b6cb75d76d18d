//! What holds for every entry of the table, whatever it computes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType as ArrowType, Field, Float64Type, Int32Type, Schema};

use super::*;
use crate::expr::{Evaluated, MAX_DEPTH};

const ROWS: usize = 61;

/// Draws numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }

    /// Draws one value per row, a fifth of them null.
    fn column<T: Clone>(&mut self, values: &[T]) -> Vec<Option<T>> {
        (0..ROWS).map(|_| (self.below(5) > 0).then(|| values[self.below(values.len())].clone())).collect()
    }
}

fn columns(draw: &mut Draw) -> Vec<(&'static str, DataType, ArrayRef)> {
    let integers = [0, 1, -1, 2, 7, -7, 1_000, i64::from(i32::MAX), i64::MIN, i64::MAX, i64::MAX - 1, 86_400_000_000];
    let floats = [0.0, 1.0, -1.5, 0.1, 2.5, 1e300, -1e300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 4e18];
    let small: Vec<i128> = vec![0, 1, -150, 12_345, 9_999_999_999, -9_999_999_999];
    let great: Vec<i128> = vec![0, 15, -1, 10i128.pow(38) - 1, 1 - 10i128.pow(38), 10i128.pow(20)];
    let texts = ["", "a", "ä", "Straße", "12", "-1.5", "%a_", "true", "2026-01-01T00:00:00Z", "  a ", "1e400", "NaN"];
    let times = [0, -1, 1_767_225_600_000_000, 951_782_400_000_000, -62_135_596_800_000_001, i64::MIN, i64::MAX];
    let decimal = |digits: Vec<Option<i128>>, data_type: DataType| -> ArrayRef {
        Arc::new(Decimal128Array::from(digits).with_data_type(data_type.arrow()))
    };
    let timestamps = TimestampMicrosecondArray::from(draw.column(&times)).with_data_type(DataType::Timestamp.arrow());
    vec![
        ("bool", DataType::Bool, Arc::new(BooleanArray::from(draw.column(&[true, false])))),
        ("int32", DataType::Int32, Arc::new(Int32Array::from(draw.column(&[0, 1, -3, 100, i32::MIN, i32::MAX])))),
        ("int64", DataType::Int64, Arc::new(Int64Array::from(draw.column(&integers)))),
        ("other", DataType::Int64, Arc::new(Int64Array::from(draw.column(&integers)))),
        ("float", DataType::Float64, Arc::new(Float64Array::from(draw.column(&floats)))),
        ("float2", DataType::Float64, Arc::new(Float64Array::from(draw.column(&floats)))),
        ("small", DataType::Decimal(10, 2), decimal(draw.column(&small), DataType::Decimal(10, 2))),
        ("great", DataType::Decimal(38, 10), decimal(draw.column(&great), DataType::Decimal(38, 10))),
        ("text", DataType::String, Arc::new(StringArray::from(draw.column(&texts)))),
        ("text2", DataType::String, Arc::new(StringArray::from(draw.column(&texts)))),
        ("ts", DataType::Timestamp, Arc::new(timestamps)),
        ("date", DataType::Date, Arc::new(Date32Array::from(draw.column(&[0, -1, 20_000, i32::MIN, i32::MAX])))),
        ("binary", DataType::Binary, Arc::new(BinaryArray::from(draw.column(&[&b"a"[..], b"\xff", b""])))),
        nested("list", "list<int64>", &["[]", "[1,null,2,1]", "[null]", "[9223372036854775807,1]"], draw),
        nested("floats", "list<float64>", &["[1e300,1,-1e300]", "[\"NaN\"]", "[0.1,null,\"Infinity\"]", "[]"], draw),
        nested("words", "list<string>", &["[\"a\",\"\",null]", "[\"b\",\"a\"]", "[]"], draw),
        nested("lists", "list<list<int64>>", &["[[1,2],[],null]", "[]", "[null]", "[[3]]"], draw),
        nested("struct", "struct<a: int64, b: list<string>>", &["{\"a\":1}", "{\"b\":[\"x\",null]}", "{}"], draw),
        nested(
            "json",
            "json",
            &["{\"a\":[1,{\"b\":null}],\"hour\":\"x\"}", "[1,null,\"a\"]", "\"a\"", "12", "true"],
            draw,
        ),
    ]
}

/// Draws a column of a nested type from values written as JSON.
fn nested(name: &'static str, of: &str, values: &[&str], draw: &mut Draw) -> (&'static str, DataType, ArrayRef) {
    let data_type = DataType::parse(of).unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(draw.column(values)));
    let batch = RecordBatch::try_from_iter([("t", texts)]).unwrap();
    let read = Expr::cast(Expr::column("t", DataType::String), data_type, false).unwrap().evaluate(&batch);
    assert!(read.failures.is_empty(), "{:?}", read.failures);
    (name, data_type, read.values)
}

fn batch(columns: &[(&'static str, DataType, ArrayRef)], as_dictionaries: bool) -> RecordBatch {
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .map(|(_, data_type, array)| match data_type {
            DataType::String if as_dictionaries => {
                let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
                cast(array, &dictionary).unwrap()
            }
            _ => array.clone(),
        })
        .collect();
    let fields: Vec<Field> = columns
        .iter()
        .zip(&arrays)
        .map(|((name, ..), array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// Every expression that the tests draw arguments from: all columns, literals that one function or other
/// needs, and operands that fail.
fn arguments(columns: &[(&'static str, DataType, ArrayRef)]) -> Vec<Expr> {
    let mut all: Vec<Expr> = columns.iter().map(|(name, data_type, _)| Expr::column(*name, *data_type)).collect();
    let literals = [
        Literal::Null,
        Literal::Bool(true),
        Literal::Int64(0),
        Literal::Int64(2),
        Literal::Int64(-1),
        Literal::number("1.50").unwrap(),
        Literal::String("hour".into()),
        Literal::String("month".into()),
        Literal::String("epoch".into()),
        Literal::String("%a%".into()),
        Literal::String("a".into()),
        Literal::String("b".into()),
        Literal::String("$.a[0]".into()),
        Literal::Timestamp(1_767_225_600_000_000),
        Literal::Date(-1),
    ];
    all.extend(literals.map(Expr::literal));
    // Operands that fail in some rows, of types that every lazy function takes.
    let column = |name: &str, data_type| Expr::column(name, data_type);
    all.extend([
        Expr::call("//", vec![column("int64", DataType::Int64), column("other", DataType::Int64)]).unwrap(),
        Expr::cast(column("text", DataType::String), DataType::Int64, false).unwrap(),
        Expr::cast(column("text", DataType::String), DataType::Bool, false).unwrap(),
        Expr::cast(column("text2", DataType::String), DataType::Bool, false).unwrap(),
        Expr::call("list_value", vec![column("list", DataType::list(DataType::Int64))]).unwrap(),
        Expr::call(
            "struct_pack",
            vec![Expr::literal(Literal::String("a".into())), column("list", DataType::list(DataType::Int64))],
        )
        .unwrap(),
        Expr::call("struct_pack", vec![Expr::literal(Literal::String("b".into())), column("text", DataType::String)])
            .unwrap(),
        Expr::call("list_value", vec![column("words", DataType::list(DataType::String))]).unwrap(),
    ]);
    all
}

/// Draws calls of a function, all that fit among many tries.
fn calls(function: &Function, pool: &[Expr], draw: &mut Draw) -> Vec<Expr> {
    if matches!(function.name, "cast" | "try_cast") {
        let types = [
            DataType::Bool,
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal(5, 1),
            DataType::Decimal(38, 20),
            DataType::String,
            DataType::Timestamp,
            DataType::Date,
            DataType::Binary,
            DataType::Json,
            DataType::list(DataType::Int64),
            DataType::list(DataType::String),
            DataType::parse("struct<b: list<json>, a: string>").unwrap(),
        ];
        let or_null = function.name == "try_cast";
        return pool
            .iter()
            .flat_map(|argument| types.map(|to| Expr::cast(argument.clone(), to, or_null)))
            .filter_map(Result::ok)
            .collect();
    }
    let mut calls = HashMap::new();
    for _ in 0..4_000 {
        let count = draw.below(5);
        let mut chosen: Vec<Expr> = (0..count).map(|_| pool[draw.below(pool.len())].clone()).collect();
        for (place, words) in function.constants.iter().filter(|(place, _)| *place < count) {
            let word = words[draw.below(words.len())];
            let literal = match word.parse::<i64>() {
                Ok(number) => Literal::Int64(number),
                Err(_) => Literal::String(word.into()),
            };
            chosen[*place] = Expr::literal(literal);
        }
        if let Ok(call) = Expr::call(function.name, chosen) {
            calls.insert(call.to_string(), call);
        }
    }
    let mut calls: Vec<(String, Expr)> = calls.into_iter().collect();
    calls.sort_by(|a, b| a.0.cmp(&b.0));
    calls.truncate(60);
    calls.into_iter().map(|(_, call)| call).collect()
}

fn in_pieces(expr: &Expr, batch: &RecordBatch, size: usize) -> Evaluated {
    let (mut values, mut failures) = (Vec::new(), Vec::new());
    for start in (0..batch.num_rows()).step_by(size) {
        let piece = expr.evaluate(&batch.slice(start, size.min(batch.num_rows() - start)));
        failures.extend(piece.failures.into_iter().map(|(row, reason)| (row + start as u32, reason)));
        values.push(piece.values);
    }
    let arrays: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Evaluated { values: concat(&arrays).unwrap(), failures }
}

fn assert_same(expr: &Expr, left: &Evaluated, right: &Evaluated, what: &str) {
    assert_eq!(left.failures, right.failures, "{expr}, {what}");
    assert_eq!(left.values.to_data(), right.values.to_data(), "{expr}, {what}");
    if let (Some(x), Some(y)) =
        (left.values.as_primitive_opt::<Float64Type>(), right.values.as_primitive_opt::<Float64Type>())
    {
        let bits = |values: &Float64Array| values.iter().map(|x| x.map(f64::to_bits)).collect::<Vec<_>>();
        assert_eq!(bits(x), bits(y), "{expr}, {what}");
    }
}

#[test]
fn no_function_sees_where_batches_end_or_how_text_is_held() {
    let mut draw = Draw(7);
    let columns = columns(&mut draw);
    let pool = arguments(&columns);
    let (plain, dictionaries) = (batch(&columns, false), batch(&columns, true));
    for function in FUNCTIONS {
        let calls = calls(function, &pool, &mut draw);
        let takes_nothing = function.signature.starts_with("()");
        assert!(
            calls.len() >= if takes_nothing { 1 } else { 3 },
            "`{}` accepts hardly anything: {calls:?}",
            function.name
        );
        for call in calls {
            let whole = call.evaluate(&plain);
            for size in [1, 2, 7] {
                assert_same(&call, &whole, &in_pieces(&call, &plain, size), &format!("{size} rows at a time"));
                assert_same(
                    &call,
                    &whole,
                    &in_pieces(&call, &dictionaries, size),
                    &format!("dictionaries, {size} rows"),
                );
            }
            assert_same(&call, &whole, &call.evaluate(&dictionaries), "dictionaries");
        }
    }
}

#[test]
fn values_have_their_type_and_are_canonical_and_null_where_the_row_failed() {
    let mut draw = Draw(11);
    let columns = columns(&mut draw);
    let pool = arguments(&columns);
    let batch = batch(&columns, false);
    let mut failed = 0;
    for function in FUNCTIONS {
        for call in calls(function, &pool, &mut draw) {
            let Evaluated { values, failures } = call.evaluate(&batch);
            assert_eq!(*values.data_type(), call.data_type().arrow(), "{call}");
            assert_eq!(values.len(), ROWS, "{call}");
            assert!(failures.windows(2).all(|pair| pair[0].0 < pair[1].0), "{call}");
            failed += failures.len();
            for (row, reason) in &failures {
                assert!(reason.contains(": "), "{call}: {reason}");
                assert!(values.data_type() == &ArrowType::Null || values.is_null(*row as usize), "{call}");
            }
            if let Some(floats) = values.as_primitive_opt::<Float64Type>() {
                for value in floats.iter().flatten() {
                    assert_eq!(value.to_bits(), crate::value::canonical_f64(value).to_bits(), "{call}: {value:?}");
                }
            }
        }
    }
    assert!(failed > 100, "the values drawn make rows fail");
}

/// Whether a flag says the truth: some functions look at nulls, the others must not.
#[test]
fn null_gives_null_where_the_table_says_so() {
    let mut draw = Draw(13);
    let columns = columns(&mut draw);
    let pool = arguments(&columns);
    let batch = batch(&columns, false);
    for function in FUNCTIONS.iter().filter(|function| function.null_gives_null) {
        for call in calls(function, &pool, &mut draw) {
            let Kind::Call(_, operands) = &call.kind else { continue };
            let values = call.evaluate(&batch).values;
            for operand in operands {
                let operand = operand.evaluate(&batch).values;
                for row in 0..ROWS {
                    if operand.data_type() != &ArrowType::Null && operand.is_null(row) {
                        assert!(values.data_type() == &ArrowType::Null || values.is_null(row), "{call} at row {row}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_literal_is_a_column_that_never_changes() {
    let mut draw = Draw(17);
    let columns = columns(&mut draw);
    let pool = arguments(&columns);
    let plain = batch(&columns, false);
    for function in FUNCTIONS {
        for call in calls(function, &pool, &mut draw) {
            let Kind::Call(function, operands) = &call.kind else { continue };
            let (mut fields, mut arrays) = (plain.schema().fields().to_vec(), plain.columns().to_vec());
            let mut replaced = operands.clone();
            for (i, operand) in operands.iter().enumerate() {
                let keeps = function.constants.iter().any(|(place, _)| *place == i);
                if operand.as_literal().is_some() && operand.data_type() != DataType::Null && !keeps {
                    let name = format!("literal{i}");
                    let values = operand.evaluate(&plain).values;
                    fields.push(Arc::new(Field::new(&name, values.data_type().clone(), true)));
                    arrays.push(values);
                    replaced[i] = Expr::column(name, operand.data_type());
                }
            }
            let with_columns = Expr { kind: Kind::Call(function, replaced), ..call.clone() };
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
            assert_same(&call, &call.evaluate(&plain), &with_columns.evaluate(&batch), "with columns for literals");
        }
    }
}

#[test]
fn a_batch_without_columns_has_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let one = Expr::literal(Literal::Int64(1));
    let fine = Expr::call("+", vec![one.clone(), one.clone()]).unwrap().evaluate(&batch);
    assert_eq!(fine.values.as_primitive::<arrow::datatypes::Int64Type>().values(), &[2, 2, 2]);
    let failing = Expr::call("//", vec![one, Expr::literal(Literal::Int64(0))]).unwrap().evaluate(&batch);
    assert_eq!(failing.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(failing.values.null_count(), 3);
}

#[test]
fn texts_that_no_row_has_cannot_fail() {
    let texts: DictionaryArray<Int32Type> = DictionaryArray::new(
        Int32Array::from(vec![Some(1), None, Some(1), Some(2)]),
        Arc::new(StringArray::from(vec![Some("never"), Some("7"), Some("bad"), None])),
    );
    let fields = vec![Field::new("t", texts.data_type().clone(), true)];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(texts)]).unwrap();
    let expr = Expr::cast(Expr::column("t", DataType::String), DataType::Int64, false).unwrap();
    let Evaluated { values, failures } = expr.evaluate(&batch);
    assert_eq!(failures, [(3, "cast: 'bad' is not a value of int64".to_string())]);
    assert_eq!(values.as_primitive::<arrow::datatypes::Int64Type>().value(2), 7);
    assert!(values.is_null(1));
}

#[test]
fn depth_is_limited() {
    let mut expr = Expr::column("x", DataType::Bool);
    for _ in 1..MAX_DEPTH {
        expr = Expr::call("not", vec![expr]).unwrap();
    }
    assert!(Expr::call("not", vec![expr]).unwrap_err().contains("deep"));
}

#[test]
fn names_are_unique_and_entries_complete() {
    let mut names = HashSet::new();
    for function in FUNCTIONS {
        for name in std::iter::once(&function.name).chain(function.aliases) {
            assert!(names.insert(*name), "`{name}` is there twice");
            assert_eq!(*name, name.to_lowercase());
            assert!(!NONDETERMINISTIC.contains(name), "`{name}`");
        }
        assert!(!function.help.is_empty() && !function.help.ends_with('.'), "{}", function.name);
        assert!(function.signature.contains('→'), "{}", function.name);
        assert!(!function.differs.ends_with('.'), "{}", function.name);
        // The definition digest finds calls by what a template begins with.
        assert!(
            function.data.is_none() || function.sql.starts_with(&format!("{}(", function.name)),
            "{}",
            function.name
        );
        assert!(!function.sql.is_empty() && !function.example.0.is_empty(), "{}", function.name);
    }
}

/// A function that is written but not listed, or a file that is not one of `mod.rs`, is found here.
#[test]
fn the_table_lists_every_function_of_the_folder() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expr/function");
    let table = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut listed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_string();
        if module == "mod" || module == "tests" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let made_by_macro = [
            "comparison!(",
            "distinctness!(",
            "float_function!(",
            "float_test!(",
            "hash_function!(",
            "url_part!(",
            "part_function!(",
        ];
        for line in text.split_inclusive('\n').map(str::trim) {
            let name = line
                .strip_prefix("pub(super) static ")
                .or_else(|| line.strip_prefix("pub(crate) static "))
                .and_then(|rest| rest.split_once(": Function"))
                .map(|(name, _)| name)
                .filter(|name| *name != "$name");
            if let Some(name) = name {
                assert!(table.contains(&format!("    &{module}::{name},\n")), "`{module}::{name}` is not in FUNCTIONS");
                listed += 1;
            }
        }
        for call in made_by_macro {
            for rest in text.split(call).skip(1) {
                let name = rest.trim_start().split(',').next().unwrap();
                assert!(table.contains(&format!("    &{module}::{name},\n")), "`{module}::{name}` is not in FUNCTIONS");
                listed += 1;
            }
        }
    }
    assert_eq!(listed, FUNCTIONS.len());
}
