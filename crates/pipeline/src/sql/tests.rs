//! Texts, and what is made of them.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use engine::Field;
use engine::expr::function::{FUNCTIONS, NONDETERMINISTIC};

use super::*;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("a", DataType::Int64),
        Field::new("b", DataType::Int32),
        Field::new("x", DataType::Float64),
        Field::new("price", DataType::Decimal(10, 2)),
        Field::new("page", DataType::String),
        Field::new("ok", DataType::Bool),
        Field::new("ts", DataType::Timestamp),
        Field::new("day", DataType::Date),
        Field::new("odd \"name\"", DataType::Int64),
    ])
}

fn canonical(text: &str) -> String {
    match parse_expression(text, &schema()) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{text}: {error:?}"),
    }
}

/// Evaluates an expression without columns: its value as text, or the reason of its failure.
fn value(text: &str) -> Result<String, String> {
    let expr = parse_expression(text, &Schema::default()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let expr = match expr.data_type() {
        DataType::Null => return Ok("null".into()),
        DataType::Binary => panic!("{text} is binary"),
        _ => Expr::cast(expr, DataType::String, false).unwrap(),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch =
        RecordBatch::try_new_with_options(Arc::new(arrow::datatypes::Schema::empty()), vec![], &options).unwrap();
    let evaluated = expr.evaluate(&batch);
    match evaluated.failures.into_iter().next() {
        Some((_, reason)) => Err(reason),
        None if evaluated.values.is_null(0) => Ok("null".into()),
        None => Ok(evaluated.values.as_string::<i32>().value(0).into()),
    }
}

#[track_caller]
fn assert_values(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(value(text).as_deref(), Ok(*expected), "{text}");
    }
}

#[track_caller]
fn assert_failures(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(value(text).as_ref().map_err(String::as_str), Err(*expected), "{text}");
    }
}

#[test]
fn every_function_does_what_its_example_says() {
    for function in FUNCTIONS {
        let (text, expected) = function.example;
        assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        let expr = parse_expression(text, &Schema::default()).unwrap();
        assert!(
            format!("{expr:?}").contains(&format!("Call({},", function.name)),
            "`{text}` does not use `{}`",
            function.name
        );
    }
}

#[test]
fn texts_become_canonical() {
    for (text, expected) in [
        ("a+b*2", "(a + (cast(b as int64) * 2))"),
        ("a > 1 and ok and not (x = 2 or a is null)", "((a > 1) and ok and (not ((x = 2.0) or (a is null))))"),
        ("page <> ''", "(page <> '')"),
        ("price * 1.50", "(price * cast('1.50' as decimal(3,2)))"),
        ("x * 1.50", "(x * 1.5)"),
        ("price * 1.5 + x", "(cast((price * cast('1.5' as decimal(2,1))) as float64) + x)"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("- -5", "5"),
        ("-a", "(- a)"),
        ("case page when 'a' then 1 end", "case when (page = 'a') then 1 else cast(null as int64) end"),
        ("ts >= '2026-01-01'", "(ts >= timestamp '2026-01-01T00:00:00.000000Z')"),
        ("day = '2026-01-01'", "(day = date '2026-01-01')"),
        (
            "ts between day and '2026-01-02T00:00:00Z'",
            "(ts between cast(day as timestamp) and timestamp '2026-01-02T00:00:00.000000Z')",
        ),
        ("a not between 1 and 2", "(not (a between 1 and 2))"),
        ("coalesce(x, 0)", "coalesce(x, 0.0)"),
        ("coalesce(price, 0.0)", "coalesce(price, cast('0.00' as decimal(10,2)))"),
        ("a::string", "cast(a as string)"),
        ("CAST(a AS VARCHAR)", "cast(a as string)"),
        ("a IN (1, b)", "(a in (1, cast(b as int64)))"),
        ("page || '/' || a", "concat(page, '/', cast(a as string))"),
        ("EXTRACT(HOUR FROM ts)", "extract(hour from ts)"),
        ("ts - interval '90' second", "add_interval(ts, -90000000)"),
        ("ts + interval 2 day", "add_interval(ts, 172800000000)"),
        ("ts - interval '1 month 2 days'", "add_interval(add_months(ts, -1), -172800000000)"),
        ("interval '1' year + ts", "add_months(ts, 12)"),
        ("date_add(ts, interval '1 month')", "add_months(ts, 1)"),
        ("date_sub(ts, interval '1 hour')", "add_interval(ts, -3600000000)"),
        ("day + a", "add_days(day, a)"),
        ("b + day", "add_days(day, cast(b as int64))"),
        ("day - 7", "add_days(day, -7)"),
        ("day - a", "add_days(day, (- a))"),
        ("day - date '2026-01-01'", "date_diff('day', cast(date '2026-01-01' as timestamp), cast(day as timestamp))"),
        ("position('a' in page)", "strpos(page, 'a')"),
        ("overlay(page placing 'x' from 2 for 3)", "overlay(page placing 'x' from 2 for 3)"),
        ("page ilike 'A%'", "(page ilike 'A%')"),
        ("page not ilike 'A!%' escape '!'", "(not (page ilike 'A!%' escape '!'))"),
        ("page ~ '^a'", "regexp_matches(page, '^a')"),
        ("page !~* '^a'", "(not regexp_matches(page, '^a', 'i'))"),
        ("page rlike '^a'", "regexp_matches(page, '^a')"),
        ("page not regexp '^a'", "(not regexp_matches(page, '^a'))"),
        ("page ~~ 'a%'", "(page like 'a%')"),
        ("ts at time zone 'Asia/Tokyo'", "timezone('Asia/Tokyo', ts)"),
        ("a & 1 = 0", "((a & 1) = 0)"),
        ("~a | 1 << 2", "((~ a) | (1 << 2))"),
        ("timestampdiff(day, ts, day)", "timestampdiff('day', ts, cast(day as timestamp))"),
        ("timestampadd(MONTHS, a, ts)", "timestampadd('months', a, ts)"),
        ("date_diff('hour', ts, ts)", "date_diff('hour', ts, ts)"),
        ("time_bucket(interval '5 minutes', ts)", "time_bucket('300000000 microseconds', ts)"),
        (
            "date_bin('1 month', ts, '2026-01-01')",
            "time_bucket('1 month', ts, timestamp '2026-01-01T00:00:00.000000Z')",
        ),
        ("floor(ts to hour)", "date_trunc('hour', ts)"),
        ("mod(a, 2)", "(a % 2)"),
        ("iff(ok, a, null)", "if(ok, a, cast(null as int64))"),
        ("nvl(page, '')", "coalesce(page, '')"),
        ("left(page, 2) || right(page, 1)", "concat(left(page, 2), right(page, 1))"),
        ("year(ts) = 2026", "(year(ts) = 2026)"),
        ("ok is not true", "(ok is distinct from true)"),
        ("\"odd \"\"name\"\"\" + 1", "(\"odd \"\"name\"\"\" + 1)"),
        ("page not like '%''%' escape '!'", "(not (page like '%''%' escape '!'))"),
        ("substring(page from 2 for 3)", "substr(page, 2, 3)"),
        ("trim(both '/' from page)", "trim(page, '/')"),
        ("a >= 1 -- a remark", "(a >= 1)"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn canonical_text_reads_back_as_the_same_expression() {
    let examples = FUNCTIONS.iter().map(|function| function.example.0);
    let more = [
        "a+b*2 - -a % 3 // b",
        "price * 1.50 / 3 <= x",
        "case when ok then ts else day end = ts + interval '5 minutes'",
        "not ok or page in ('a', 'it''s', null) and \"odd \"\"name\"\"\" is not distinct from 3",
        "try_cast(page as decimal(12,3)) > 1e-7 and extract(epoch from ts) < 1e300",
        "page like '_%' and substr(page, -2) = lower(trim(page, '/'))",
        "-(-9223372036854775808)",
    ];
    for text in examples.chain(more) {
        let expr = parse_expression(text, &schema()).unwrap();
        let again = parse_expression(&expr.to_string(), &schema()).unwrap_or_else(|error| panic!("{expr}: {error:?}"));
        assert_eq!(again.to_string(), expr.to_string(), "{text}");
        assert_eq!(again.data_type(), expr.data_type(), "{text}");
    }
}

#[test]
fn integers_are_checked() {
    assert_values(&[
        ("9223372036854775806 + 1", "9223372036854775807"),
        ("-9223372036854775808 % -1", "0"),
        ("-7 // 2", "-3"),
        ("-7 % 2", "-1"),
        ("7 % -2", "1"),
        ("7 / 2", "3.5"),
        ("1 / 0", "Infinity"),
        ("0 / 0", "NaN"),
        ("null // 0", "null"),
        ("null + 1", "null"),
    ]);
    assert_failures(&[
        ("9223372036854775807 + 1", "overflow: 9223372036854775807 + 1 is beyond int64"),
        ("-9223372036854775808 - 1", "overflow: -9223372036854775808 - 1 is beyond int64"),
        ("4294967296 * 4294967296", "overflow: 4294967296 * 4294967296 is beyond int64"),
        ("-9223372036854775808 // -1", "overflow: -9223372036854775808 // -1 is beyond int64"),
        ("-(-9223372036854775808)", "overflow: -(-9223372036854775808) is beyond int64"),
        ("abs(-9223372036854775808)", "overflow: abs(-9223372036854775808) is beyond int64"),
        ("1 // 0", "division_by_zero: 1 // 0"),
        ("1 % 0", "division_by_zero: 1 % 0"),
    ]);
}

#[test]
fn floats_have_one_zero_and_one_nan_that_is_the_greatest() {
    assert_values(&[
        ("-0.0", "0.0"),
        ("0.0 * -1", "0.0"),
        ("-1.0 / cast('Infinity' as float64)", "0.0"),
        ("cast('-0' as float64)", "0.0"),
        ("ceil(-0.5)", "0.0"),
        ("0.0 / 0 = cast('NaN' as float64)", "true"),
        ("0.0 / 0 > 1.0 / 0", "true"),
        ("0.0 / 0 <= 1e308", "false"),
        ("0.0 / 0 between 0 and 1.0 / 0", "false"),
        ("greatest(0.0 / 0, 1.0)", "NaN"),
        ("0.0 / 0 in (1.0, sqrt(-1))", "true"),
        ("nullif(0.0 / 0, sqrt(-1))", "null"),
        ("1.0 // 0", "Infinity"),
        ("-7.5 // 2", "-3.0"),
        ("-7.5 % 2", "-1.5"),
        ("7.5 % 0", "NaN"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("1e308 * 10", "Infinity"),
    ]);
}

#[test]
fn decimals_are_exact() {
    assert_values(&[
        ("cast('0.10' as decimal(4,2)) + 0.2", "0.30"),
        ("cast('0.10' as decimal(4,2)) + 1", "1.10"),
        ("cast('1.25' as decimal(4,2)) * 1.10", "1.3750"),
        ("cast('1.00' as decimal(4,2)) / 3", "0.333333"),
        ("cast('-2' as decimal(4,0)) / 3", "-0.6667"),
        ("cast('7.5' as decimal(4,1)) // 2", "3"),
        ("cast('-7.5' as decimal(4,1)) % 2", "-1.5"),
        ("cast('1.50' as decimal(4,2)) = cast('1.5' as decimal(3,1))", "true"),
        ("cast('1.50' as decimal(4,2)) > 1.4999999999999999999999", "true"),
        ("cast('1.50' as decimal(4,2)) < 2", "true"),
        ("cast('99999999999999999999999999999999999999' as decimal(38,0)) > cast('0.1' as decimal(38,38))", "true"),
        ("cast('1.5' as decimal(4,1)) + cast('1.5' as float64)", "3.0"),
        ("round(cast('2.345' as decimal(6,3)), 2)", "2.35"),
        ("round(cast('-2.5' as decimal(6,1)))", "-3"),
        ("floor(cast('-2.5' as decimal(6,1)))", "-3"),
    ]);
    assert_failures(&[
        (
            "cast('99999999999999999999999999999999999999' as decimal(38,0)) + 1",
            "overflow: the result for 99999999999999999999999999999999999999 and 1 is beyond decimal(38,0)",
        ),
        ("cast('1.0' as decimal(4,1)) / 0", "division_by_zero: 1.0 by 0"),
        ("cast('1.0' as decimal(4,1)) // 0", "division_by_zero: 1.0 by 0"),
    ]);
}

#[test]
fn unknown_is_neither_true_nor_false() {
    assert_values(&[
        ("null and false", "false"),
        ("null and true", "null"),
        ("null or true", "true"),
        ("null or false", "null"),
        ("not null", "null"),
        ("null = null", "null"),
        ("1 in (2, null)", "null"),
        ("1 in (1, null)", "true"),
        ("1 not in (2, null)", "null"),
        ("5 between null and 3", "false"),
        ("2 between null and 3", "null"),
        ("null is null", "true"),
        ("null is distinct from null", "false"),
        ("1 is distinct from null", "true"),
        ("null is true", "false"),
        ("null is not false", "true"),
        ("case when null then 1 else 2 end", "2"),
        ("case null when null then 1 else 2 end", "2"),
        ("'a' || null", "null"),
        ("coalesce(null, null)", "null"),
        ("greatest(1, null)", "null"),
    ]);
}

/// `1 // 0 = 1` fails wherever it is looked at.
#[test]
fn later_operands_fail_only_where_the_earlier_ones_leave_it_open() {
    assert_values(&[
        ("false and 1 // 0 = 1", "false"),
        ("true or 1 // 0 = 1", "true"),
        ("true and false and 1 // 0 = 1", "false"),
        ("case when true then 1 when 1 // 0 = 1 then 2 end", "1"),
        ("case when false then 1 // 0 else 3 end", "3"),
        ("case 1 when 1 then 2 when 1 // 0 then 3 end", "2"),
        ("coalesce(1, 1 // 0)", "1"),
        ("coalesce(try_cast('x' as int64), 2, 1 // 0)", "2"),
        ("false and (true or 1 // 0 = 1)", "false"),
        ("false and coalesce(null, 1 // 0) = 1", "false"),
    ]);
    let failure = "division_by_zero: 1 // 0";
    assert_failures(&[
        ("true and 1 // 0 = 1", failure),
        ("null and 1 // 0 = 1", failure),
        ("null or 1 // 0 = 1", failure),
        ("1 // 0 = 1 and false", failure),
        ("1 // 0 = 1 or true", failure),
        ("case when 1 // 0 = 1 then 1 else 2 end", failure),
        ("case 1 // 0 when 1 then 1 else 2 end", failure),
        ("coalesce(null, 1 // 0)", failure),
        ("coalesce(1 // 0, 2)", failure),
        ("1 // 0 is null", failure),
        ("1 in (1, 1 // 0)", failure),
        ("5 between 6 and 1 // 0", failure),
        ("nullif(1, 1 // 0)", failure),
        ("greatest(null, 1 // 0)", failure),
        ("null + 1 // 0", failure),
        ("try_cast(1 // 0 as string)", failure),
        ("1 // 0 + cast('x' as int64)", failure),
    ]);
}

#[test]
fn conversions_follow_their_rules() {
    assert_values(&[
        ("cast(1.9 as int64)", "1"),
        ("cast(-1.9 as int32)", "-1"),
        ("cast(cast('-1.9' as decimal(3,1)) as int64)", "-1"),
        ("cast(2.5 as decimal(3,0))", "2"),
        ("cast(3.5 as decimal(3,0))", "4"),
        ("cast(0.1 as decimal(20,18))", "0.100000000000000006"),
        ("cast(1 as decimal(4,2))", "1.00"),
        ("cast(true as int64)", "1"),
        ("cast(0 as bool)", "false"),
        ("cast('TRUE' as boolean)", "true"),
        ("cast('1e3' as float64)", "1000.0"),
        ("cast('0.1' as double)", "0.1"),
        ("cast('-inf' as float64)", "-Infinity"),
        ("cast(1e16 as string)", "1e16"),
        ("cast(100000.0 as string)", "100000.0"),
        ("cast(cast('1.50' as numeric(6,2)) as float64)", "1.5"),
        ("cast('2026-01-01T01:00:00+01:00' as timestamp)", "2026-01-01T00:00:00.000000Z"),
        ("cast('1969-12-31T23:59:59.9999999Z' as timestamp)", "1969-12-31T23:59:59.999999Z"),
        ("cast(timestamp '1969-12-31T23:00:00Z' as date)", "1969-12-31"),
        ("cast(date '2026-03-01' as timestamp)", "2026-03-01T00:00:00.000000Z"),
        ("cast(cast('é' as binary) as string)", "é"),
        ("try_cast('1.234' as decimal(4,2))", "null"),
        ("try_cast('300' as decimal(2,0))", "null"),
        ("try_cast(1e300 as int64)", "null"),
        ("try_cast('1e400' as float64)", "null"),
        ("try_cast(null as int64)", "null"),
    ]);
    assert_failures(&[
        ("cast(' 1' as int64)", "cast: ' 1' is not a value of int64"),
        ("cast('9223372036854775808' as int64)", "cast: '9223372036854775808' is not a value of int64"),
        ("cast(9223372036854775808.0 as int64)", "cast: 9.223372036854776e18 is not a value of int64"),
        ("cast(cast('NaN' as float64) as int64)", "cast: NaN is not a value of int64"),
        ("cast(2147483648 as int32)", "cast: 2147483648 is not a value of int32"),
        ("cast(100 as decimal(3,1))", "cast: 100 is not a value of decimal(3,1)"),
        ("cast('yes' as bool)", "cast: 'yes' is not a value of bool"),
        ("cast('2026-01-01T00:00:60Z' as timestamp)", "cast: '2026-01-01T00:00:60Z' is not a value of timestamp"),
    ]);
}

#[test]
fn text_functions_count_characters() {
    assert_values(&[
        ("'añb' like '_ñ_'", "true"),
        ("'abc' like 'b'", "false"),
        ("'a%c' like 'a!%c' escape '!'", "true"),
        ("'abc' not like 'a%'", "false"),
        ("'' like '%'", "true"),
        ("upper('straße')", "STRASSE"),
        ("substr('añb', -1)", "b"),
        ("substring('añb' from 2)", "ñb"),
        ("replace('aaa', '', 'b')", "aaa"),
        ("concat('a', 1.0, true)", "a1.0true"),
        ("trim('/' from '/a/')", "a"),
    ]);
    assert_failures(&[("substr('a', 1, -1)", "substr: the length is negative")]);
}

/// An error as a test reads it: code, the stretch it is about, message, help.
fn error(text: &str) -> (String, String, String, String) {
    let error = parse_filter(text, &schema()).expect_err(text);
    let stretch = text.get(error.start..error.end).unwrap_or_else(|| panic!("{text}: {error:?}")).to_string();
    (error.code.name().into(), stretch, error.message, error.help.unwrap_or_default())
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (text, code, stretch, message, help) in [
        ("", "E_EXPRESSION", "", "the expression is empty", ""),
        ("a > 1 1", "E_EXPRESSION", "1", "`1` does not continue the expression before it", ""),
        (
            "a > 1; ok",
            "E_EXPRESSION",
            "; ok",
            "`;` does not continue the expression before it",
            "write one expression, without `;`",
        ),
        (
            "ok as b",
            "E_EXPRESSION",
            "as b",
            "`as` does not continue the expression before it",
            "the name of a column is its key: `{name: \"expression\"}`",
        ),
        ("a >", "E_EXPRESSION", "", "the expression ends where an expression is expected", ""),
        ("ok and (a > 1", "E_EXPRESSION", "", "the expression ends where ) is expected", ""),
        ("page = 'é", "E_EXPRESSION", "'é", "unterminated string literal", ""),
        ("'é' = paeg", "E_EXPRESSION", "paeg", "there is no column `paeg`", "did you mean `page`?"),
        (
            "a > 1\n  and zzz",
            "E_EXPRESSION",
            "zzz",
            "there is no column `zzz`",
            "columns here: a, b, x, price, page, ok, ts, day, odd \"name\"",
        ),
        ("Page = 'a'", "E_EXPRESSION", "Page", "there is no column `Page`", "did you mean `page`?"),
        ("ok and lowr(page) = 'a'", "E_EXPRESSION", "lowr(page)", "unknown function `lowr`", "did you mean `lower`?"),
        (
            "a",
            "E_TYPE",
            "a",
            "a condition is bool, and this is int64",
            "compare it with something, such as `x > 0` or `x is not null`",
        ),
        (
            "a > 1 and page + 1 = 2",
            "E_TYPE",
            "page + 1",
            "`+` takes (number, number) → number, not (string, int64); `||` joins text",
            "",
        ),
        ("page = 1", "E_TYPE", "page = 1", "string and int64 have no common type; convert one with `cast`", ""),
        (
            "ts > 'yesterday'",
            "E_TYPE",
            "ts > 'yesterday'",
            "'yesterday' is not a timestamp; write it as '2026-01-31T12:00:00Z'",
            "",
        ),
        (
            "cast(ts as int64) > 1",
            "E_TYPE",
            "ts",
            "timestamp cannot be converted to int64; write `extract(epoch from x)` or `epoch_us(x)`",
            "",
        ),
        (
            "cast(a as uint8) > 1",
            "E_TYPE",
            "a",
            "unknown type `uint8`",
            "types: bool, int32, int64, float64, decimal(p,s), string, timestamp, date, binary, json, list<T>, struct<a: T, …>",
        ),
        (
            "ts < now()",
            "E_NONDETERMINISTIC_FN",
            "now()",
            "`now` would give another result in every run",
            "the log has its own time: the event-time column, or `_timestamp`; in a window, `window_start` and `window_end`",
        ),
        (
            "ts < current_timestamp",
            "E_NONDETERMINISTIC_FN",
            "current_timestamp",
            "`current_timestamp` would give another result in every run",
            "the log has its own time: the event-time column, or `_timestamp`; in a window, `window_start` and `window_end`",
        ),
        (
            "random() < 0.1",
            "E_NONDETERMINISTIC_FN",
            "random()",
            "`random` would give another result in every run",
            "take a column's value instead, such as `_offset % 100 < 5` for a sample that every run draws alike",
        ),
        (
            "sum(a) > 1",
            "E_EXPRESSION",
            "sum(a)",
            "the aggregate `sum` has no window here",
            "aggregates stand under `aggregate: {NAME: …}` of a step with `window:`; `having:` speaks of them by those names",
        ),
        (
            "a in (select 1)",
            "E_EXPRESSION",
            "a in (select 1)",
            "a subquery cannot be used in an expression",
            "use another step and `from:` or `join:`",
        ),
        (
            "left.x > 1",
            "E_EXPRESSION",
            "left.x",
            "there is no column `left`",
            "columns here: a, b, x, price, page, ok, ts, day, odd \"name\"",
        ),
        (
            "date_trunc('fortnight', ts) = ts",
            "E_TYPE",
            "date_trunc('fortnight', ts)",
            "`date_trunc` does not know the unit `fortnight`; it knows microsecond, millisecond, second, minute, hour, day, week, month, quarter, year, isoyear, decade, century, millennium",
            "",
        ),
        (
            "page similar to 'a'",
            "E_EXPRESSION",
            "page similar to 'a'",
            "`similar to` cannot be used in an expression",
            "its patterns mean different things elsewhere: write `regexp_full_match(x, 'pattern')`",
        ),
        ("page ~ '(a'", "E_TYPE", "page ~ '(a'", "regexp: '(a' is no regular expression: unclosed group", ""),
        (
            "a ^ 2 = 4",
            "E_EXPRESSION",
            "a ^ 2",
            "the operator `^` cannot be used in an expression",
            "write `power(x, y)`, or `xor(a, b)` for the bits that exactly one has",
        ),
        (
            "ts at time zone 'Europe/Berln' > ts",
            "E_TYPE",
            "ts at time zone 'Europe/Berln'",
            "there is no time zone 'Europe/Berln'; zones have names such as 'Europe/Berlin' or 'UTC'",
            "",
        ),
        (
            "timezone(page, ts) > ts",
            "E_TYPE",
            "timezone(page, ts)",
            "argument 1 of `timezone` is written out, such as 'Europe/Berlin'",
            "",
        ),
        (
            "to_char(ts, 'YYYY') = ''",
            "E_EXPRESSION",
            "to_char(ts, 'YYYY')",
            "unknown function `to_char`",
            "here: `strftime(ts, '%Y-%m-%d')`",
        ),
        (
            "locate('a', page) > 0",
            "E_EXPRESSION",
            "locate('a', page)",
            "unknown function `locate`",
            "here: `strpos(text, part)`, or `position(part in text)`",
        ),
        (
            "ts - day > 1",
            "E_TYPE",
            "ts - day",
            "there is no type for the time between two timestamps",
            "count it in a unit: `timestampdiff('second', from, to)`, or `epoch_us(a) - epoch_us(b)`",
        ),
        (
            "log(a) > 1",
            "E_TYPE",
            "log(a)",
            "`log` of one number is `ln` for some and `log10` for others; write which",
            "",
        ),
        (
            "a = 99999999999999999999",
            "E_EXPRESSION",
            "99999999999999999999",
            "99999999999999999999 is beyond int64; write `cast('99999999999999999999' as decimal(38,0))`",
            "",
        ),
        (
            "ts + interval '1 fortnight' > ts",
            "E_EXPRESSION",
            "ts + interval '1 fortnight'",
            "`1 fortnight` has no unit that is known",
            "write `interval '5 minutes'`, in units from microsecond to millennium",
        ),
        (
            "lower(page, page) = 'a'",
            "E_TYPE",
            "lower(page, page)",
            "`lower` takes (string) → string, not 2 arguments",
            "",
        ),
    ] {
        let expected = (code.to_string(), stretch.to_string(), message.to_string(), help.to_string());
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn clock_and_chance_are_refused_by_name() {
    for name in NONDETERMINISTIC {
        let error = parse_expression(&format!("{name}()"), &schema()).expect_err(name);
        assert_eq!(error.code, Code::Nondeterministic, "{name}: {error:?}");
        assert!(error.help.is_some(), "{name}");
    }
}

#[test]
fn hostile_texts_are_refused_without_exhausting_the_stack() {
    let repeated = |text: &str, count: usize| text.repeat(count);
    for text in [
        format!("{}ok{}", repeated("(", 5_000), repeated(")", 5_000)),
        format!("{}ok{}", repeated("(", 1_500), repeated(")", 1_500)),
        format!("{}ok", repeated("not ", 3_000)),
        format!("a{} > 1", repeated(" + 1", 1_900)),
        format!("a{} > 1", repeated("::int64", 1_900)),
        format!("a{}", repeated(" is null", 1_900)),
        format!("{}1{} = 1", repeated("abs(", 1_000), repeated(")", 1_000)),
        format!("{}1{}", repeated("case when ok then ", 900), repeated(" end", 900)),
        format!("ok{}", repeated(" and ok", 5_000)),
        format!("{} a", repeated("- ", 3_000)),
        "'".into(),
        "\"".into(),
        "/*".into(),
        "$$".into(),
        "a > \u{0}".into(),
        "{".into(),
        "x -> x + 1".into(),
        "[1][".into(),
    ] {
        assert!(parse_expression(&text, &schema()).is_err(), "{}", shortened(&text));
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[test]
fn long_chains_of_one_connective_are_fine() {
    let text = format!("ok{}", " or a = 1".repeat(900));
    assert_eq!(parse_filter(&text, &schema()).unwrap().data_type(), DataType::Bool);
}

fn closed() -> Schema {
    Schema::new(vec![
        Field::new("window_start", DataType::Timestamp),
        Field::new("window_end", DataType::Timestamp),
        Field::new("page", DataType::String),
    ])
}

#[test]
fn aggregates_become_columns_of_their_calls_once_each() {
    let mut calls = Vec::new();
    let mut output = |text: &str| parse_aggregate_output(text, &schema(), &closed(), &mut calls).unwrap().to_string();
    assert_eq!(output("count(*)"), "\"#0\"");
    assert_eq!(output("sum(x) / COUNT(*)"), "(\"#1\" / cast(\"#0\" as float64))");
    assert_eq!(output("sum( x )"), "\"#1\"");
    assert_eq!(output("sum(a + b)"), "\"#2\"");
    assert_eq!(output("page || cast(count(a) as string)"), "concat(page, cast(\"#3\" as string))");
    assert_eq!(output("coalesce(max(x), 0)"), "coalesce(\"#4\", 0.0)");
    assert_eq!(output("window_end"), "window_end");
    let texts: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
    assert_eq!(texts, ["count()", "sum(x)", "sum((a + cast(b as int64)))", "count(a)", "max(x)"]);
}

#[test]
fn mistakes_in_aggregates_are_told_and_leave_no_call_behind() {
    for (text, code, stretch, message, help) in [
        (
            "amount",
            Code::Expression,
            "amount",
            "there is no column `amount`",
            "columns here: window_start, window_end, page",
        ),
        (
            "sum(a) + x",
            Code::Expression,
            "x",
            "`x` is neither grouped nor inside an aggregate",
            "add it to `group_by`, or say which value is meant: `max(x)`, `last(x)`, …",
        ),
        (
            "sum(max(a))",
            Code::Expression,
            "max(a)",
            "the aggregate `max` stands inside `sum(…)`",
            "an aggregate of aggregates is a second step over this one",
        ),
        (
            "count(distinct page)",
            Code::Expression,
            "count(distinct page)",
            "`count(distinct …)` is not an aggregate here",
            "write `count_distinct(x)`; it is exact",
        ),
        (
            "count()",
            Code::Expression,
            "count()",
            "`count()` counts nothing",
            "write `count(*)` for rows or `count(x)` for rows where x is not null",
        ),
        (
            "count(*) filter (where a)",
            Code::Type,
            "count(*) filter (where a)",
            "the condition of `filter (where …)` is bool, and this is int64",
            "compare it with something, such as `x > 0` or `x is not null`",
        ),
        (
            "count(*) filter (where count(*) > 1)",
            Code::Expression,
            "count(*)",
            "the aggregate `count` stands inside `count(…)`",
            "an aggregate of aggregates is a second step over this one",
        ),
        (
            "count(*) filter (where pge = '')",
            Code::Expression,
            "pge",
            "there is no column `pge`",
            "did you mean `page`?",
        ),
        (
            "sum(a) over ()",
            Code::Expression,
            "sum(a)",
            "`over (…)` cannot be used in an expression",
            "windows are the step's: `window: {tumbling: {size: 1m}}`",
        ),
        ("sum(pge)", Code::Expression, "pge", "there is no column `pge`", "did you mean `page`?"),
        ("summ(a)", Code::Expression, "summ(a)", "unknown function `summ`", "did you mean `sum`?"),
        ("sum(*)", Code::Expression, "sum(*)", "`*` as an argument of `sum` cannot be used in an expression", ""),
    ] {
        let mut calls = Vec::new();
        let error = parse_aggregate_output(text, &schema(), &closed(), &mut calls).expect_err(text);
        assert_eq!(error.code, code, "{text}: {error:?}");
        assert_eq!(&text[error.start..error.end], stretch, "{text}: {error:?}");
        assert_eq!((error.message.as_str(), error.help.as_deref().unwrap_or_default()), (message, help), "{text}");
        assert!(calls.is_empty(), "{text}");
    }
    let mut calls = Vec::new();
    assert_eq!(parse_aggregate_output("sum(page)", &schema(), &closed(), &mut calls).unwrap_err().code, Code::Type);
}

#[test]
fn equal_calls_are_one_when_their_filters_are_equal_too() {
    let mut calls = Vec::new();
    for text in [
        "sum(a) filter (where ok)",
        "sum(a) FILTER (WHERE ok) + 1",
        "sum(a)",
        "sum(a) filter (where ok and a > 1)",
        "sum(a) filter (where null)",
    ] {
        parse_aggregate_output(text, &schema(), &closed(), &mut calls)
            .unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
    let texts: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
    assert_eq!(
        texts,
        [
            "sum(a) filter (where ok)",
            "sum(a)",
            "sum(a) filter (where (ok and (a > 1)))",
            "sum(a) filter (where cast(null as bool))"
        ]
    );
}

/// Reads `x int64: 1, 2, null` as a column of an example.
fn example_column(text: &str) -> (Field, arrow::array::ArrayRef) {
    let (head, cells) = text.split_once(": ").expect("`name type: values`");
    let (name, data_type) = head.split_once(' ').expect("`name type`");
    let data_type = DataType::parse(data_type).expect("a type");
    let cells: Vec<Option<&str>> = cells.split(", ").map(|cell| (cell != "null").then_some(cell)).collect();
    let texts: arrow::array::ArrayRef = Arc::new(cells.into_iter().collect::<arrow::array::StringArray>());
    let schema = Schema::new(vec![Field::new("text", DataType::String)]);
    let batch = RecordBatch::try_new(schema.arrow(), vec![texts]).unwrap();
    let cast = Expr::cast(Expr::column("text", DataType::String), data_type, false).unwrap();
    let evaluated = cast.evaluate(&batch);
    assert_eq!(evaluated.failures, [], "{text}");
    (Field::new(name, data_type), evaluated.values)
}

#[test]
fn every_aggregate_gives_what_its_example_says() {
    for aggregate in engine::aggregate::AGGREGATES {
        let example = &aggregate.about().example;
        let (fields, columns): (Vec<_>, Vec<_>) = example.over.iter().map(|column| example_column(column)).unzip();
        let schema = Schema::new(fields);
        let batch = RecordBatch::try_new(schema.arrow(), columns).unwrap();
        let mut calls = Vec::new();
        let output = parse_aggregate_output(example.call, &schema, &Schema::default(), &mut calls)
            .unwrap_or_else(|error| panic!("{}: {error:?}", example.call));
        assert_eq!((output.as_column(), calls.len()), (Some("#0"), 1), "{}", example.call);
        let arguments: Vec<_> = calls[0].arguments.iter().map(|expr| expr.evaluate(&batch).values).collect();
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        let order = rows.iter().map(|row| Some(row.to_be_bytes())).collect();
        let mut accumulator = calls[0].accumulator();
        accumulator.resize(1);
        let groups = vec![0; rows.len()];
        accumulator.update(&engine::aggregate::Rows {
            groups: &groups,
            rows: &rows,
            arguments: &arguments,
            order: Some(&order),
        });
        let result = accumulator.finish(&[0]).unwrap();
        assert_eq!(engine::value::display(&result, 0), example.result, "{} over {:?}", example.call, example.over);
    }
}
