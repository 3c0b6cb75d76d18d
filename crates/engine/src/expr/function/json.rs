//! JSON: ways into it, and what it is. Text in its place is read first; text that is not JSON fails the row.
//!
//! A way is a key; an integer, the index of an element from 0, from the end when negative; or a text that begins with `$`:
//! a path of `.key`, `."any key"` and `[index]`. Where it leads nowhere or to `null`, the value is null.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::StringBuilder;
use arrow::array::{Array, AsArray, BooleanArray, Int64Array, LargeStringArray, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType as ArrowType, Field, Int64Type};

use super::{Argument, Family, Function, Kernel, Signature, expect_count, refuse};
use crate::expr::Literal;
use crate::expr::operand::{Call, Reason, Value};
use crate::json::{self, Kind};
use crate::value::DataType;

const BASE: Function = super::base(Family::Json);

pub(super) static EXTRACT: Function = Function {
    name: "->",
    aliases: &["json_extract", "json_extract_path"],
    help: "The JSON at a key, an index or a path",
    signature: "(json, string or int64) → json",
    types: |arguments| reached(arguments, &EXTRACT, DataType::Json),
    kernel: Kernel::Rows(|call| {
        let found = follow(call, |value| Some(value.to_owned()));
        Arc::new(found.into_iter().collect::<LargeStringArray>())
    }),
    sql: "({0} -> {1})",
    flink: "JSON_QUERY({0}, {1})",
    duckdb: "({0} -> {1})",
    differs: "DuckDB gives the JSON value null for null; Flink keeps white space and the order of keys",
    example: ("cast('{\"a\": [5]}' as json) -> 'a'", "[5]"),
    ..BASE
};

pub(super) static EXTRACT_TEXT: Function = Function {
    name: "->>",
    aliases: &["json_extract_string", "json_extract_path_text"],
    help: "The text at a key, an index or a path: a string without quotes, anything else as JSON",
    signature: "(json, string or int64) → string",
    types: |arguments| reached(arguments, &EXTRACT_TEXT, DataType::String),
    kernel: Kernel::Rows(|call| {
        let found = follow(call, |value| Some(json::characters(value).unwrap_or_else(|| value.to_owned())));
        Arc::new(found.into_iter().collect::<StringArray>())
    }),
    sql: "({0} ->> {1})",
    duckdb: "({0} ->> {1})",
    example: ("cast('{\"a\": \"x\"}' as json) ->> 'a'", "x"),
    ..BASE
};

pub(super) static VALUE: Function = Function {
    name: "json_value",
    help: "The text of the string, number or boolean at a path; null for arrays and objects",
    signature: "(json, string or int64) → string",
    types: |arguments| reached(arguments, &VALUE, DataType::String),
    kernel: Kernel::Rows(|call| {
        let found = follow(call, |value| match json::kind(value) {
            Kind::Object | Kind::Array => None,
            _ => Some(json::characters(value).unwrap_or_else(|| value.to_owned())),
        });
        Arc::new(found.into_iter().collect::<StringArray>())
    }),
    sql: "json_value({0}, {1})",
    flink: "JSON_VALUE({0}, {1})",
    differs: "Flink writes numbers in its own way",
    example: ("json_value(cast('{\"a\": {\"b\": 1.50}}' as json), '$.a.b')", "1.50"),
    ..BASE
};

pub(super) static EXISTS: Function = Function {
    name: "json_exists",
    help: "Whether something stands at a key, an index or a path, `null` too",
    signature: "(json, string or int64) → bool",
    types: |arguments| reached(arguments, &EXISTS, DataType::Bool),
    kernel: Kernel::Rows(|call| {
        let found = walk(call, |value| value.is_some());
        Arc::new(found.into_iter().collect::<BooleanArray>())
    }),
    sql: "json_exists({0}, {1})",
    flink: "JSON_EXISTS({0}, {1})",
    duckdb: "json_exists({0}, {1})",
    example: ("json_exists(cast('{\"a\": null}' as json), '$.a')", "true"),
    ..BASE
};

pub(super) static ARRAY_LENGTH: Function = Function {
    name: "json_array_length",
    help: "How many elements an array has; 0 for anything else",
    signature: "(json) → int64",
    types: |arguments| whole(arguments, &ARRAY_LENGTH, DataType::Int64),
    kernel: Kernel::Rows(|call| {
        let count = |text: &str| json::elements(text).count() as i64;
        Arc::new(texts(call).iter().map(|text| text.map(count)).collect::<Int64Array>())
    }),
    sql: "json_array_length({0})",
    duckdb: "json_array_length({0})",
    example: ("json_array_length(cast('[1, null]' as json))", "2"),
    ..BASE
};

pub(super) static KEYS: Function = Function {
    name: "json_keys",
    help: "The keys of an object, bytewise sorted; none for anything else",
    signature: "(json) → list<string>",
    types: |arguments| whole(arguments, &KEYS, DataType::list(DataType::String)),
    kernel: Kernel::Rows(|call| {
        let texts = texts(call);
        let (mut keys, mut lengths) = (StringBuilder::new(), Vec::new());
        for text in texts.iter() {
            let before = arrow::array::ArrayBuilder::len(&keys);
            for (key, _) in json::members(text.unwrap_or_default()) {
                keys.append_option(json::characters(key));
            }
            lengths.push(arrow::array::ArrayBuilder::len(&keys) - before);
        }
        let field = Arc::new(Field::new("item", ArrowType::Utf8, true));
        let (offsets, keys) = (OffsetBuffer::from_lengths(lengths), Arc::new(keys.finish()));
        Arc::new(ListArray::new(field, offsets, keys, texts.nulls().cloned()))
    }),
    sql: "json_keys({0})",
    duckdb: "json_keys({0})",
    differs: "DuckDB keeps the order of keys",
    example: ("json_keys(cast('{\"b\": 1, \"a\": 2}' as json))", "[\"a\",\"b\"]"),
    ..BASE
};

pub(super) static TYPE: Function = Function {
    name: "json_type",
    aliases: &["json_typeof"],
    help: "What JSON is: `object`, `array`, `string`, `number` or `boolean`",
    signature: "(json) → string",
    types: |arguments| whole(arguments, &TYPE, DataType::String),
    kernel: Kernel::Rows(|call| {
        let word = |text: &str| match json::kind(text) {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Null => "null",
        };
        Arc::new(texts(call).iter().map(|text| text.map(word)).collect::<StringArray>())
    }),
    sql: "json_type({0})",
    example: ("json_type(cast('[1]' as json))", "array"),
    ..BASE
};

pub(super) static VALID: Function = Function {
    name: "json_valid",
    aliases: &["is_json"],
    help: "Whether a text is JSON",
    signature: "(string) → bool",
    types: |arguments| {
        expect_count(arguments, 1..=1, &VALID)?;
        match arguments[0].data_type {
            DataType::String | DataType::Null => {
                Ok(Signature { arguments: vec![DataType::String], result: DataType::Bool })
            }
            _ => Err(refuse(arguments, &VALID)),
        }
    },
    kernel: Kernel::Rows(|call| {
        let texts = call.texts(0).array();
        Arc::new(texts.iter().map(|text| text.map(|text| json::canonical(text).is_ok())).collect::<BooleanArray>())
    }),
    sql: "json_valid({0})",
    flink: "({0} IS JSON)",
    duckdb: "json_valid({0})",
    example: ("json_valid('{\"a\": }')", "false"),
    ..BASE
};

pub(super) static TO_JSON: Function = Function {
    name: "to_json",
    aliases: &["json_string"],
    help: "A value as JSON, as sinks write it; text becomes a string",
    signature: "(any) → json",
    types: |arguments| {
        expect_count(arguments, 1..=1, &TO_JSON)?;
        Ok(Signature { arguments: vec![arguments[0].data_type], result: DataType::Json })
    },
    kernel: Kernel::Rows(|call| {
        let array = call.arguments[0].array();
        let is_there = |row: &usize| array.data_type() != &ArrowType::Null && array.is_valid(*row);
        let text = |row: usize| is_there(&row).then(|| json::text_of(array, row));
        Arc::new((0..array.len()).map(text).collect::<LargeStringArray>())
    }),
    sql: "to_json({0})",
    flink: "JSON_STRING({0})",
    duckdb: "to_json({0})",
    differs: "decimals, times and bytes are strings",
    example: ("to_json({'a': [1, null], 'b': 'x'})", "{\"a\":[1,null],\"b\":\"x\"}"),
    ..BASE
};

fn is_json(argument: &Argument<'_>) -> bool {
    matches!(argument.data_type, DataType::Json | DataType::String | DataType::Null)
}

/// Types of a function of JSON and a way into it.
fn reached(arguments: &[Argument<'_>], function: &Function, result: DataType) -> Result<Signature, String> {
    expect_count(arguments, 2..=2, function)?;
    let way = match arguments[1].data_type {
        DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::String | DataType::Null => DataType::String,
        _ => return Err(refuse(arguments, function)),
    };
    if !is_json(&arguments[0]) {
        return Err(refuse(arguments, function));
    }
    if let Some(Literal::String(path)) = arguments[1].literal {
        way_of(path).map_err(|why| why.to_string())?;
    }
    Ok(Signature { arguments: vec![DataType::Json, way], result })
}

/// Types of a function of JSON alone.
fn whole(arguments: &[Argument<'_>], function: &Function, result: DataType) -> Result<Signature, String> {
    expect_count(arguments, 1..=1, function)?;
    match is_json(&arguments[0]) {
        true => Ok(Signature { arguments: vec![DataType::Json], result }),
        false => Err(refuse(arguments, function)),
    }
}

fn texts<'a>(call: &Call<'a>) -> &'a LargeStringArray {
    call.jsons(0).array()
}

/// A step on the way into JSON.
enum Step<'p> {
    Key(Cow<'p, str>),
    Index(i64),
}

/// Reads a way that is a text.
fn way_of(text: &str) -> Result<Vec<Step<'_>>, Reason> {
    let Some(mut rest) = text.strip_prefix('$') else { return Ok(vec![Step::Key(text.into())]) };
    let wrong = || -> Reason {
        format!("json: '{text}' is not a path; write it as '$.a.\"any key\"[0]', or a key that does not begin with $")
            .into()
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix(".\"") {
            let end = quoted.find('"').ok_or_else(wrong)?;
            steps.push(Step::Key(quoted[..end].into()));
            rest = &quoted[end + 1..];
        } else if let Some(key) = rest.strip_prefix('.') {
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return Err(wrong());
            }
            steps.push(Step::Key(key[..end].into()));
            rest = &key[end..];
        } else {
            let (index, after) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(wrong)?;
            steps.push(Step::Index(index.trim().parse().map_err(|_| wrong())?));
            rest = after;
        }
    }
    Ok(steps)
}

fn walk_to<'t>(text: &'t str, steps: &[Step<'_>]) -> Option<&'t str> {
    steps.iter().try_fold(text, |text, step| match step {
        Step::Key(key) => json::member(text, key),
        Step::Index(index) => {
            let index = match *index {
                index if index >= 0 => index as usize,
                index => json::elements(text).count().checked_sub(index.unsigned_abs() as usize)?,
            };
            json::elements(text).nth(index)
        }
    })
}

/// Follows the way of each row and makes something of where it ends; a way that is none fails the row.
fn walk<T>(call: &mut Call<'_>, of: impl Fn(Option<&str>) -> T) -> Vec<Option<T>> {
    let texts = call.jsons(0);
    let way = call.arguments[1].array();
    let is_one = matches!(call.arguments[1], Value::One(_));
    let steps = |row: usize| -> Result<Vec<Step<'_>>, Reason> {
        match way.as_primitive_opt::<Int64Type>() {
            Some(indices) => Ok(vec![Step::Index(indices.value(row))]),
            None => way_of(way.as_string::<i32>().value(row)),
        }
    };
    // A way that all rows share is read once.
    let shared = (is_one && way.is_valid(0)).then(|| steps(0));
    let mut found = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let at = if is_one { 0 } else { row };
        if texts.is_null(row) || way.is_null(at) {
            found.push(None);
            continue;
        }
        let text = texts.array().value(texts.at(row));
        let own;
        let steps = match &shared {
            Some(steps) => steps,
            None => {
                own = steps(at);
                &own
            }
        };
        match steps {
            Ok(steps) => found.push(Some(of(walk_to(text, steps)))),
            Err(reason) => {
                call.fail(row, || reason.clone());
                found.push(None);
            }
        }
    }
    found
}

/// As [`walk`], null where the way leads nowhere or to `null`.
fn follow<T>(call: &mut Call<'_>, of: impl Fn(&str) -> Option<T>) -> Vec<Option<T>> {
    walk(call, |value| value.filter(|value| *value != "null").and_then(&of)).into_iter().map(Option::flatten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'t>(text: &'t str, way: &str) -> Option<&'t str> {
        walk_to(text, &way_of(way).unwrap())
    }

    #[test]
    fn ways_lead_where_they_say() {
        let text = r#"{"$x":1,"a":{"b.c":[10,{"d":null}]},"a.b":2}"#;
        assert_eq!(at(text, "$.a.\"b.c\"[0]"), Some("10"));
        assert_eq!(at(text, "$.a.\"b.c\"[-1].d"), Some("null"));
        assert_eq!(at(text, "a.b"), Some("2"), "a key, not a path");
        assert_eq!(at(text, "$"), Some(text));
        assert_eq!(at(text, "$.a[0]"), None);
        assert_eq!(at("[1]", "$[-2]"), None);
        for wrong in ["$a", "$.", "$[x]", "$[0", "$.\"a", "$x"] {
            assert!(way_of(wrong).is_err(), "{wrong}");
        }
    }
}
