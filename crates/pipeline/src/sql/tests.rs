//! Texts, and what is made of them.

use super::*;
use engine::Field;

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
    ])
}

fn canonical(text: &str) -> String {
    match parse_expression(text, &schema()) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{text}: {error:?}"),
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
        ("-9223372036854775808", "-9223372036854775808"),
        ("case page when 'a' then 1 end", "case when (page = 'a') then 1 else cast(null as int64) end"),
        ("ts >= '2026-01-01'", "(ts >= timestamp '2026-01-01T00:00:00.000000Z')"),
        ("a not between 1 and 2", "(not (a between 1 and 2))"),
        ("coalesce(x, 0)", "coalesce(x, 0.0)"),
        ("a::string", "cast(a as string)"),
        ("a IN (1, b)", "(a in (1, cast(b as int64)))"),
    ] {
        assert_eq!(canonical(text), expected);
    }
}
