//! Aggregates of small, visible inputs. Where a value is not plain to see, the command beside it computes it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array,
    NullArray, StringArray,
};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};

use super::law::{Random, scattered};
use super::{Overflow, Rows, find};
use crate::value::DataType;

fn floats(name: &str, values: &[f64]) -> Option<f64> {
    let array: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let result = scattered(name, DataType::Float64, array, &mut Random(1)).unwrap();
    result.as_primitive::<Float64Type>().iter().next().unwrap()
}

/// Compares bits: NaN equals NaN, and 0.0 does not equal −0.0.
#[track_caller]
fn assert_floats(name: &str, values: &[f64], expected: f64) {
    let result = floats(name, values).unwrap();
    assert_eq!(result.to_bits(), expected.to_bits(), "{name} of {values:?} is {result:?}, not {expected:?}");
}

fn integers(name: &str, values: &[i64]) -> Result<ArrayRef, Overflow> {
    scattered(name, DataType::Int64, Arc::new(Int64Array::from(values.to_vec())), &mut Random(1))
}

fn decimals(name: &str, data_type: DataType, values: &[i128]) -> Result<i128, Overflow> {
    let array: ArrayRef = Arc::new(Decimal128Array::from(values.to_vec()).with_data_type(data_type.arrow()));
    Ok(scattered(name, data_type, array, &mut Random(1))?.as_primitive::<Decimal128Type>().value(0))
}

#[test]
fn float_sums_are_those_of_python() {
    // python3 -c 'from fractions import Fraction as F; print(float(sum(map(F, [...]))))'; math.fsum gives the same,
    // except for the list with the largest double, where it stops with "intermediate overflow in fsum".
    assert_floats("sum", &[0.1; 10], 1.0);
    assert_floats("sum", &[1e16, 1.0, -1e16], 1.0);
    assert_floats("sum", &[1.0, 2f64.powi(-53), 5e-324], 1.0000000000000002);
    assert_floats("sum", &[f64::MAX, f64::MAX, f64::MIN], f64::MAX);
    assert_floats("sum", &[5e-324, 5e-324, 5e-324, 1e-310, -2e-311], 8.0000000000016e-311);
    assert_floats("sum", &[1e-9, 3.7, 123456.789, -1e12, 2.5e-17], -999999876539.511);
    // Ties go to the even mantissa.
    assert_floats("sum", &[1.0, 2f64.powi(-53)], 1.0);
    assert_floats("sum", &[1.0 + f64::EPSILON, 2f64.powi(-53)], 1.0 + 2.0 * f64::EPSILON);
}

#[test]
fn special_floats_in_sums_follow_ieee() {
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    assert_floats("sum", &[1.0, nan], nan);
    assert_floats("sum", &[-nan, infinity], nan);
    assert_floats("sum", &[1.0, infinity], infinity);
    assert_floats("sum", &[-infinity, f64::MAX], -infinity);
    assert_floats("sum", &[infinity, -infinity], nan);
    assert_floats("avg", &[infinity, 1.0], infinity);
    assert_floats("sum", &[f64::MAX, f64::MAX], infinity);
    assert_floats("avg", &[f64::MAX, f64::MAX], infinity);
    assert_floats("sum", &[-0.0], 0.0);
    assert_floats("sum", &[1.5, -1.5], 0.0);
    // A half of the least subnormal is a tie, and zero is even; it must not be −0.0.
    assert_floats("avg", &[-5e-324, 0.0], 0.0);
}

#[test]
fn variances_are_those_of_python() {
    // python3 -c 'from fractions import Fraction as F; import statistics as s; x = list(map(F, [...]));
    //             print(float(s.pvariance(x)), float(s.variance(x)))'; where it is infinite here, python3 stops with
    // "integer division result too large for a float".
    for (values, population, sample) in [
        (&[0.1, 0.2, 0.3, 0.4][..], 0.0125, 0.016666666666666666),
        (&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 4.0], 1.5555555555555556, 2.3333333333333335),
        (&[5e-324, 1e-310, 1.0], 0.2222222222222222, 0.3333333333333333),
        (&[1e15 + 0.5, 1e15 + 1.0, 1e15 + 2.5, 1e15], 0.875, 1.1666666666666667),
        (&[0.1, 0.1, 0.1], 0.0, 0.0),
        (&[1e-160, 3e-160, 5e-160], 2.6665e-320, 4e-320),
        (&[1.3e154, -1.3e154], 1.6899999999999998e308, f64::INFINITY),
        (&[1e200, -1e200], f64::INFINITY, f64::INFINITY),
    ] {
        assert_floats("var_pop", values, population);
        assert_floats("var_samp", values, sample);
        assert_floats("stddev_pop", values, population.sqrt());
        assert_floats("stddev_samp", values, sample.sqrt());
    }
    // The same with [F('0.10'), F('0.25'), F('9999.99')] and with [2**63-1, -2**63, 2**63-1, 0].
    let data_type = DataType::Decimal(6, 2);
    let array: ArrayRef = Arc::new(Decimal128Array::from(vec![10, 25, 999_999]).with_data_type(data_type.arrow()));
    let variance = scattered("var_pop", data_type, array, &mut Random(1)).unwrap();
    assert_eq!(variance.as_primitive::<Float64Type>().value(0), 22221400.011355557);
    let variance = integers("var_pop", &[i64::MAX, i64::MIN, i64::MAX, 0]).unwrap();
    assert_eq!(variance.as_primitive::<Float64Type>().value(0), 5.84860318145363e+37);
}

#[test]
fn variance_of_one_value_and_of_special_values() {
    for value in [3.0, f64::NAN, f64::INFINITY] {
        assert_eq!(floats("var_samp", &[value]), None);
        assert_eq!(floats("stddev_samp", &[value]), None);
    }
    assert_floats("var_pop", &[3.0], 0.0);
    assert_floats("var_pop", &[f64::INFINITY], f64::NAN);
    assert_floats("var_samp", &[f64::NEG_INFINITY, 1.0], f64::NAN);
    assert_floats("stddev_pop", &[f64::NAN, 1.0], f64::NAN);
}

#[test]
fn integer_sum_is_judged_on_its_final_value() {
    let sum = integers("sum", &[i64::MAX, i64::MAX, i64::MIN, i64::MIN, 5]).unwrap();
    assert_eq!(sum.as_primitive::<Int64Type>().value(0), 3);
    let overflow = integers("sum", &[i64::MAX, 1]).unwrap_err();
    assert_eq!(overflow.index, 0);
    assert!(overflow.message.contains("9223372036854775808"), "{}", overflow.message);
    let average = integers("avg", &[i64::MAX, i64::MIN, i64::MAX, 0]).unwrap();
    assert_eq!(average.as_primitive::<Float64Type>().value(0), 2.305843009213694e18);
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![i32::MAX, i32::MAX]));
    let sum = scattered("sum", DataType::Int32, narrow, &mut Random(1)).unwrap();
    assert_eq!(sum.as_primitive::<Int64Type>().value(0), 2 * i64::from(i32::MAX));
}

#[test]
fn overflow_names_the_group_by_its_index() {
    let mut sum = find("sum").unwrap().accumulator(&[DataType::Int64], &[]);
    sum.resize(3);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::MAX, 1]));
    sum.update(&Rows { groups: &[0, 2, 2], rows: &[0, 1, 2], arguments: &[values], order: None });
    assert_eq!(sum.finish(&[0, 1]).unwrap().as_ref(), &Int64Array::from(vec![Some(1), None]) as &dyn Array);
    assert_eq!(sum.finish(&[1, 0, 2]).unwrap_err().index, 2);
}

#[test]
fn decimal_sum_and_average() {
    let most = 10i128.pow(38) - 1;
    let wide = DataType::Decimal(38, 0);
    assert_eq!(decimals("sum", wide, &[most, most, most, -most, -most]), Ok(most));
    assert!(decimals("sum", wide, &[most, 1]).is_err());
    assert!(decimals("sum", wide, &[-most, -most, -most]).unwrap_err().message.contains("38 digits"));
    let money = DataType::Decimal(10, 2);
    // 0.02 / 3 = 0.00666…; 0.05 / 2 · 10^-4: 0.000025 is a tie between 0.00002 and 0.00003 only at scale 5.
    assert_eq!(decimals("avg", money, &[1, 1, 0]), Ok(6667));
    assert_eq!(decimals("avg", money, &[-1, -1, 0]), Ok(-6667));
    // At scale 38 nothing is added, so 1/2 and 3/2 units are ties: to 0 and to 2 units.
    let unit = DataType::Decimal(38, 38);
    assert_eq!(decimals("avg", unit, &[1, 0]), Ok(0));
    assert_eq!(decimals("avg", unit, &[2, 1]), Ok(2));
    assert_eq!(decimals("avg", unit, &[-2, -1]), Ok(-2));
    assert_eq!(decimals("avg", unit, &[most, most]), Ok(most));
    assert!(decimals("avg", wide, &[most]).is_err());
    let average = find("avg").unwrap();
    assert_eq!(average.output_type(&[DataType::Decimal(18, 2)]), Ok(DataType::Decimal(38, 6)));
    assert_eq!(average.output_type(&[DataType::Decimal(38, 36)]), Ok(DataType::Decimal(38, 38)));
}

#[test]
fn min_and_max_put_nan_last_and_skip_nulls() {
    let nan = f64::NAN;
    assert_floats("min", &[nan, 1.0, -3.5], -3.5);
    assert_floats("max", &[nan, f64::INFINITY], nan);
    assert_floats("max", &[-nan, 1.0], nan);
    assert_floats("min", &[-nan], nan);
    assert_floats("min", &[f64::INFINITY, f64::NEG_INFINITY], f64::NEG_INFINITY);
    assert_floats("min", &[-1.0, -2.0, -1.5], -2.0);
    assert_floats("max", &[-1.0, -2.0, -1.5], -1.0);
    assert_floats("max", &[-0.0], 0.0);
    assert_floats("min", &[0.0, -0.0], 0.0);
    for (name, start) in [("min", i64::MAX), ("max", i64::MIN)] {
        let result = integers(name, &[start, start]).unwrap();
        assert_eq!(result.as_ref(), &Int64Array::from(vec![start]) as &dyn Array);
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
        assert!(scattered(name, DataType::Int64, nulls, &mut Random(1)).unwrap().is_null(0));
    }
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(false), None, Some(false)]));
    let result = scattered("max", DataType::Bool, flags, &mut Random(1)).unwrap();
    assert_eq!(result.as_ref(), &BooleanArray::from(vec![false]) as &dyn Array);
}

#[test]
fn extremes_and_distinct_floats_are_those_of_a_plain_loop() {
    for seed in 0..500 {
        let random = &mut Random(seed);
        let values: Vec<f64> = (0..1 + random.below(50)).map(|_| random.float()).collect();
        let mut sorted: Vec<f64> = values.iter().map(|value| crate::value::canonical_f64(*value)).collect();
        sorted.sort_by(f64::total_cmp);
        assert_floats("min", &values, sorted[0]);
        assert_floats("max", &values, sorted[sorted.len() - 1]);
        sorted.dedup_by_key(|value| value.to_bits());
        let array: ArrayRef = Arc::new(Float64Array::from(values));
        let count = scattered("count_distinct", DataType::Float64, array, random).unwrap();
        assert_eq!(count.as_primitive::<Int64Type>().value(0), sorted.len() as i64, "seed {seed}");
    }
}

#[test]
fn text_is_ordered_bytewise() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("Z"), None, Some("ä"), Some("ab")]));
    for (name, expected) in [("min", "Z"), ("max", "ä")] {
        let result = scattered(name, DataType::String, texts.clone(), &mut Random(1)).unwrap();
        assert_eq!(result.as_string::<i32>().value(0), expected);
    }
}

#[test]
fn first_and_last_follow_the_order_bytes_and_skip_nulls() {
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("third"), None, Some("first"), Some("second"), None]));
    let order = BinaryArray::from_iter_values([&b"\x03"[..], b"\x00", b"\x01", b"\x02", b"\x04"]);
    for (name, expected) in [("first", "first"), ("last", "third")] {
        let mut ends = find(name).unwrap().accumulator(&[DataType::String], &[]);
        ends.resize(2);
        ends.update(&Rows {
            groups: &[0; 5],
            rows: &[0, 1, 2, 3, 4],
            arguments: std::slice::from_ref(&values),
            order: Some(&order),
        });
        let result = ends.finish(&[0, 1]).unwrap();
        assert_eq!(result.as_ref(), &StringArray::from(vec![Some(expected), None]) as &dyn Array);
    }
}

#[test]
fn counts_of_rows_of_values_and_of_different_values() {
    let values: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-f64::NAN), Some(0.0), Some(-0.0), None, Some(1.0)]));
    for (name, with_argument, expected) in [("count", false, 6), ("count", true, 5), ("count_distinct", true, 3)] {
        let (types, arguments) = match with_argument {
            true => (vec![DataType::Float64], vec![values.clone()]),
            false => (vec![], vec![]),
        };
        let mut counts = find(name).unwrap().accumulator(&types, &[]);
        counts.resize(2);
        counts.update(&Rows { groups: &[1; 6], rows: &[0, 1, 2, 3, 4, 5], arguments: &arguments, order: None });
        let result = counts.finish(&[1, 0]).unwrap();
        assert_eq!(result.as_ref(), &Int64Array::from(vec![expected, 0]) as &dyn Array, "{name}");
    }
    for name in ["count", "count_distinct"] {
        let result = scattered(name, DataType::Null, Arc::new(NullArray::new(3)), &mut Random(1)).unwrap();
        assert_eq!(result.as_ref(), &Int64Array::from(vec![0]) as &dyn Array);
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_the_reason() {
    let refused = |name: &str, types: &[DataType]| find(name).unwrap().output_type(types).unwrap_err();
    assert_eq!(refused("sum", &[DataType::String]), "takes a number, not string");
    assert_eq!(refused("stddev_pop", &[DataType::Timestamp]), "takes a number, not timestamp");
    assert_eq!(refused("avg", &[]), "takes one argument, not 0");
    assert!(refused("max", &[DataType::Null]).contains("cast(null as"));
}

/// Two columns of floats in one group.
fn pairs(name: &str, y: &[f64], x: &[f64]) -> Option<f64> {
    let arguments: Vec<ArrayRef> = [y, x].map(|side| Arc::new(Float64Array::from(side.to_vec())) as ArrayRef).to_vec();
    numbers(name, &[DataType::Float64, DataType::Float64], arguments)
}

fn numbers(name: &str, types: &[DataType], arguments: Vec<ArrayRef>) -> Option<f64> {
    let mut accumulator = find(name).unwrap().accumulator(types, &[]);
    accumulator.resize(1);
    let rows: Vec<u32> = (0..arguments[0].len() as u32).collect();
    accumulator.update(&Rows { groups: &vec![0; rows.len()], rows: &rows, arguments: &arguments, order: None });
    accumulator.finish(&[0]).unwrap().as_primitive::<Float64Type>().iter().next().unwrap()
}

#[test]
fn covariances_correlations_and_slopes_are_those_of_python() {
    // python3: from fractions import Fraction as F; y, x = list(map(F, ys)), list(map(F, xs)); n = len(x)
    //          s = lambda a, b: n*sum(p*q for p, q in zip(a, b)) - sum(a)*sum(b); N, X, Y = s(y, x), s(x, x), s(y, y)
    //          print(float(N/(n*n)), float(N/(n*(n-1))), (1 if N >= 0 else -1)*sqrt(float(N*N/(X*Y))), float(N/X))
    type Row<'a> = (&'a [f64], &'a [f64], [Option<f64>; 4]);
    let rows: &[Row<'_>] = &[
        (
            &[0.1, 0.2, 0.3, 0.7],
            &[1.5, -2.25, 3.1, 0.3],
            [-0.005312500000000012, -0.007083333333333349, -0.011943100581639164, -0.0013928147146778122].map(Some),
        ),
        (
            &[1e16, 1.0, -1e16, 3.0],
            &[1.0, 1e16, 2.0, -1e16],
            [-7500000000000001.0, -1e16, -1.5000000000000002e-16, -1.5000000000000002e-16].map(Some),
        ),
        (
            &[1e-160, 3e-160, 5e-160],
            &[1.0, 2.0, 4.0],
            [2e-160, 3e-160, 0.9819805060619657, 1.2857142857142857e-160].map(Some),
        ),
        (
            &[5e-324, 1e-310, 1.0],
            &[1e300, 1e-300, 2.5],
            [-1.1111111111111112e299, -1.6666666666666668e299, -0.5, -5e-301].map(Some),
        ),
        (&[1.0, 2.0, 3.0], &[0.1, 0.1, 0.1], [Some(0.0), Some(0.0), None, None]),
        (
            &[1e9 + 1.0, 1e9 + 2.0, 1e9 + 4.0],
            &[-1e9, -1e9 - 3.0, -1e9 - 5.5],
            [-2.7222222222222223, -4.083333333333333, -0.970725343394151, -0.5384615384615384].map(Some),
        ),
        (
            &[3.0, -3.0],
            &[1.0, 1.0000000000000002],
            [-3.3306690738754696e-16, -6.661338147750939e-16, -1.0, -2.7021597764222976e16].map(Some),
        ),
    ];
    for (y, x, expected) in rows {
        for (name, expected) in ["covar_pop", "covar_samp", "corr", "regr_slope"].iter().zip(expected) {
            assert_eq!(pairs(name, y, x).map(f64::to_bits), expected.map(f64::to_bits), "{name} of {y:?} and {x:?}");
        }
    }
    // The same with y = [F('0.10'), F('0.25'), F('9999.99')] and x = [2**63-1, -2**63, 5].
    let decimal = DataType::Decimal(6, 2);
    let y: ArrayRef = Arc::new(Decimal128Array::from(vec![10, 25, 999_999]).with_data_type(decimal.arrow()));
    let x: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 5]));
    for (name, expected) in [
        ("covar_pop", -4.611686018427266e17),
        ("covar_samp", -6.917529027640899e17),
        ("corr", -1.29906213821657e-05),
        ("regr_slope", -8.131516293641068e-21),
    ] {
        assert_eq!(numbers(name, &[decimal, DataType::Int64], vec![y.clone(), x.clone()]), Some(expected), "{name}");
    }
}

#[test]
fn pairs_that_are_few_or_special_give_null_or_nan() {
    let infinity = f64::INFINITY;
    for name in ["covar_samp", "corr", "regr_slope"] {
        assert_eq!(pairs(name, &[1.0], &[2.0]), None, "{name}");
        assert_eq!(pairs(name, &[infinity], &[2.0]), None, "{name}");
    }
    assert_eq!(pairs("covar_pop", &[1.0], &[2.0]), Some(0.0));
    for name in ["covar_pop", "covar_samp", "corr", "regr_slope"] {
        assert_eq!(pairs(name, &[], &[]), None, "{name}");
        for special in [infinity, f64::NAN] {
            assert!(pairs(name, &[1.0, special], &[2.0, 3.0]).unwrap().is_nan(), "{name}");
            assert!(pairs(name, &[1.0, 2.0], &[special, 3.0]).unwrap().is_nan(), "{name}");
        }
        // A pair with a null counts for nothing, whatever the other side is.
        let y: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0)]));
        let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(5.0), Some(f64::NAN), None]));
        let of_nulls = numbers(name, &[DataType::Float64, DataType::Float64], vec![y, x]);
        assert_eq!(of_nulls, pairs(name, &[1.0], &[5.0]), "{name}");
    }
}

#[test]
fn arg_min_and_arg_max_take_the_first_of_equals_and_order_as_values_do() {
    let texts = |values: &[&str]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let of = |name: &str, by_type: DataType, by: ArrayRef| {
        let rows: Vec<u32> = (0..by.len() as u32).rev().collect();
        let x = texts(&["a", "b", "c", "d", "e", "f"][..by.len()]);
        let order = BinaryArray::from_iter_values((0..by.len() as u32).map(u32::to_be_bytes));
        let mut accumulator = find(name).unwrap().accumulator(&[DataType::String, by_type], &[]);
        accumulator.resize(1);
        // One row an update, the last one first.
        for row in rows {
            let arguments = [x.clone(), by.clone()];
            accumulator.update(&Rows { groups: &[0], rows: &[row], arguments: &arguments, order: Some(&order) });
        }
        accumulator.finish(&[0]).unwrap().as_string::<i32>().value(0).to_string()
    };
    let both = |by_type, by: ArrayRef| of("arg_min", by_type, by.clone()) + &of("arg_max", by_type, by);
    assert_eq!(both(DataType::Int64, Arc::new(Int64Array::from(vec![0, 3, -7, 3, -7]))), "cb");
    assert_eq!(both(DataType::Int64, Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]))), "ac");
    let floats = vec![f64::INFINITY, f64::NAN, -f64::NAN, -0.0, 0.0, f64::NEG_INFINITY];
    assert_eq!(both(DataType::Float64, Arc::new(Float64Array::from(floats))), "fb");
    assert_eq!(both(DataType::Float64, Arc::new(Float64Array::from(vec![1.0, 0.0, -0.0]))), "ba");
    // Zero bytes and prefixes: "a" < "a\0" < "a\0b" < "a\u{1}" < "aa".
    assert_eq!(both(DataType::String, texts(&["a\0", "a\u{1}", "a", "aa", "a\0b", "a"])), "cd");
    assert_eq!(both(DataType::String, texts(&["a\0b", "a\0"])), "ba");
    let data_type = DataType::Decimal(38, 0);
    let most = 10i128.pow(38) - 1;
    let by = Decimal128Array::from(vec![1, -1, most, -most]).with_data_type(data_type.arrow());
    assert_eq!(both(data_type, Arc::new(by)), "dc");
    assert_eq!(both(DataType::Bool, Arc::new(BooleanArray::from(vec![true, false, true, false]))), "ba");
}

fn with_parameter(name: &str, data_type: DataType, array: ArrayRef, q: &str) -> Option<f64> {
    let q = crate::expr::Literal::number(q).unwrap();
    let mut accumulator = find(name).unwrap().accumulator(&[data_type], &[q]);
    accumulator.resize(1);
    let rows: Vec<u32> = (0..array.len() as u32).collect();
    accumulator.update(&Rows { groups: &vec![0; rows.len()], rows: &rows, arguments: &[array], order: None });
    accumulator.finish(&[0]).unwrap().as_primitive::<Float64Type>().iter().next().unwrap()
}

fn quantile_of(name: &str, values: &[f64], q: &str) -> f64 {
    with_parameter(name, DataType::Float64, Arc::new(Float64Array::from(values.to_vec())), q).unwrap()
}

#[test]
fn quantiles_are_those_of_python() {
    // python3: from fractions import Fraction as F; v = sorted(map(F, xs)); p = F(q)*(len(v)-1); i = floor(p)
    //          print(float(v[i] + (p-i)*(v[min(i+1, len(v)-1)] - v[i]))), q being a text
    for (values, q, expected) in [
        (&[3.5, -1.25, 1e16, 0.1][..], "0.5", 1.8),
        (&[3.5, -1.25, 1e16, 0.1], "0.1", -0.845),
        (&[0.1, 0.2, 0.3, 0.7, 1e-300], "0.9", 0.5399999999999999),
        (&[1.7e308, -1.7e308, 1.6e308], "0.75", 1.6499999999999999e308),
        (&[0.1, 0.7], "0.123456789", 0.1740740734),
        (&[5e-324, 0.0], "0.5", 0.0),
        (&[5e-324, 1e-323], "0.5", 1e-323),
        // A share that no double is exactly: 0.7 of the ten steps from 0 to 10 is the seventh.
        (&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], "0.7", 7.0),
    ] {
        assert_eq!(quantile_of("quantile", values, q), expected, "{values:?} at {q}");
    }
    let integers: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX - 1, i64::MIN]));
    assert_eq!(with_parameter("quantile", DataType::Int64, integers, "0.25"), Some(-1.0));
    let decimal = DataType::Decimal(6, 2);
    let decimals: ArrayRef = Arc::new(Decimal128Array::from(vec![110, 125, -5]).with_data_type(decimal.arrow()));
    assert_eq!(with_parameter("quantile", decimal, decimals, "0.8"), Some(1.19));
}

#[test]
fn quantiles_of_special_values() {
    let (infinity, nan) = (f64::INFINITY, f64::NAN);
    let quantile = |values: &[f64], q: &str| quantile_of("quantile", values, q);
    assert_eq!(quantile(&[1.0, infinity], "0.0"), 1.0);
    assert_eq!(quantile(&[1.0, infinity], "0.5"), infinity);
    assert_eq!(quantile(&[-infinity, 1.0], "0.9"), -infinity);
    assert!(quantile(&[-infinity, infinity], "0.5").is_nan());
    assert_eq!(quantile(&[infinity, infinity], "0.5"), infinity);
    // NaN is the greatest, so it counts only where it is reached.
    assert_eq!(quantile(&[nan, 1.0, 2.0], "0.5"), 2.0);
    assert!(quantile(&[nan, 1.0, 2.0], "0.75").is_nan());
    assert_eq!(quantile(&[-0.0], "0.5").to_bits(), 0);
    for name in ["quantile", "approx_quantile"] {
        let nulls: ArrayRef = Arc::new(Float64Array::from(vec![None, None]));
        assert_eq!(with_parameter(name, DataType::Float64, nulls, "0.5"), None);
    }
    for (q, reason) in [("1.5", "from 0 to 1"), ("2", "from 0 to 1"), ("0.1234567890123456789", "18 digits")] {
        let literal = crate::expr::Literal::number(q).unwrap();
        let refused = (find("quantile").unwrap().parameters()[0].check)(&literal).unwrap_err();
        assert!(refused.contains(reason), "{q}: {refused}");
    }
    let negative = crate::expr::Literal::number("0.5").unwrap().negated().unwrap();
    assert!((find("quantile").unwrap().parameters()[0].check)(&negative).is_err());
}

#[test]
fn an_approximate_quantile_is_within_its_error_of_the_value_it_stands_for() {
    let random = &mut Random(7);
    for case in 0..300 {
        let count = 1 + random.below(60);
        let mut values: Vec<f64> = (0..count)
            .map(|_| match case % 3 {
                0 => (random.next() % 2_000_000) as f64 / 100.0 - 10_000.0,
                1 => random.float(),
                _ => f64::from_bits(random.next() >> 1),
            })
            .collect();
        for (q, share) in [("0", 0.0), ("0.25", 0.25), ("0.5", 0.5), ("1", 1.0)] {
            let found = quantile_of("approx_quantile", &values, q);
            values.sort_by(|a, b| a.abs().is_nan().cmp(&b.abs().is_nan()).then(a.total_cmp(b)));
            let stands_for = values[(share * (count - 1) as f64) as usize];
            let is_near = match stands_for {
                x if x.is_nan() => found.is_nan(),
                x if x.is_infinite() || x == 0.0 => found == x,
                x if x.is_subnormal() => found.abs() < 2.3e-308,
                x => (found / x - 1.0).abs() <= 1.0 / 128.0,
            };
            assert!(is_near, "{found} for {stands_for} at {q} of {values:?}");
        }
    }
}

#[test]
fn an_approximate_count_is_near_the_count() {
    // Four standard errors of 1.6 %; below a few hundred, linear counting is far better.
    for count in [0u32, 1, 2, 10, 100, 300, 5_000, 20_000, 200_000] {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|i| i64::from(i) * 7)));
        let mut accumulator = find("approx_count_distinct").unwrap().accumulator(&[DataType::Int64], &[]);
        accumulator.resize(1);
        let rows: Vec<u32> = (0..count).collect();
        let arguments = [values];
        for _ in 0..2 {
            accumulator.update(&Rows { groups: &vec![0; rows.len()], rows: &rows, arguments: &arguments, order: None });
        }
        let found = accumulator.finish(&[0]).unwrap().as_primitive::<Int64Type>().value(0) as f64;
        let error = if count <= 10 { 0.0 } else { 0.065 * f64::from(count) };
        assert!((found - f64::from(count)).abs() <= error, "{found} for {count}");
        assert!(accumulator.state(&[0])[0].as_binary::<i32>().value(0).len() <= 4096);
    }
}
