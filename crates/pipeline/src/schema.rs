//! The JSON Schema of the pipeline file, made of the tables that the reader goes by, so that the two cannot drift.
//!
//! It is for editors: names, shapes, words and help. Types and names across fields are checked by `validate` only.

use engine::window::{WINDOWS, WindowKind, WindowShape};
use serde_json::{Map, Value, json};

use crate::fields::{self, Block, Field, SINK_KINDS, Shape};
use crate::{duration, size};

/// Returns the JSON Schema of the pipeline file.
pub fn pipeline() -> Value {
    let mut schema = block(&fields::PIPELINE);
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "samestream/pipeline.schema.json",
        "title": "A samestream pipeline, version 1",
    });
    let (Value::Object(mut all), Value::Object(rest)) = (head, schema.take()) else { unreachable!("both are objects") };
    all.extend(rest);
    Value::Object(all)
}

fn block(block: &Block) -> Value {
    let properties: Map<String, Value> =
        block.built().map(|field| (field.name.to_owned(), self::field(field))).collect();
    let required: Vec<&str> = block.built().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = object(properties, &required);
    if std::ptr::eq(block, &fields::SOURCE) {
        schema["anyOf"] = ["kafka", "lake", "journal"].map(|name| json!({"required": [name]})).to_vec().into();
    }
    if std::ptr::eq(block, &fields::SINK) {
        schema["oneOf"] = SINK_KINDS.iter().map(|kind| json!({"required": [kind.name]})).collect();
    }
    if std::ptr::eq(block, &fields::JOIN) {
        schema["oneOf"] = ["window", "within", "as_of"].map(|name| json!({"required": [name]})).to_vec().into();
    }
    if std::ptr::eq(block, &fields::HOOK) {
        schema["oneOf"] = ["command", "webhook"].map(|name| json!({"required": [name]})).to_vec().into();
    }
    if std::ptr::eq(block, &fields::REPROCESS) {
        schema["oneOf"] = json!([{"required": ["last"]}, {"required": ["from", "to"]}]);
    }
    if std::ptr::eq(block, &fields::STEP) {
        let needs = ["group_by", "aggregate", "having", "top", "allowed_lateness", "unique_by"]
            .map(|name| (name.to_owned(), json!(["window"])));
        schema["dependencies"] = Value::Object(needs.into_iter().collect());
        schema["oneOf"] = ["from", "join"].map(|name| json!({"required": [name]})).to_vec().into();
    }
    schema
}

/// Returns an object with these fields, `x-…`, and no others.
fn object(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn field(field: &Field) -> Value {
    let mut schema = shape(&field.shape);
    schema["description"] = match (field.default, field.example) {
        ("", "") => field.help.into(),
        ("", example) => format!("{}. Example: `{example}`", field.help).into(),
        (default, "") => format!("{}. Default: {default}", field.help).into(),
        (default, example) => format!("{}. Default: {default}. Example: `{example}`", field.help).into(),
    };
    schema
}

fn shape(shape: &Shape) -> Value {
    let name = pattern("[A-Za-z_][A-Za-z0-9_]{0,62}");
    match shape {
        Shape::Version => json!({"enum": [1, "1"]}),
        Shape::Text => json!({"type": ["string", "number", "boolean"]}),
        Shape::Name => name,
        Shape::Boolean => json!({"anyOf": [{"type": "boolean"}, variable()]}),
        Shape::Count => json!({"anyOf": [{"type": "integer", "minimum": 1}, pattern("[0-9]+")]}),
        Shape::Duration => pattern(duration::PATTERN),
        Shape::Size => json!({"anyOf": [{"type": "integer", "minimum": 1}, pattern(size::PATTERN)]}),
        Shape::Expression | Shape::Input => json!({"type": ["string", "number", "boolean"]}),
        Shape::Inputs => json!({"anyOf": [name, {"type": "array", "minItems": 1, "items": name}]}),
        // A word that YAML takes for no value is meant all the same.
        Shape::Choice(words) if words.contains(&"null") => {
            json!({"anyOf": [{"enum": words}, {"type": "null"}, variable()]})
        }
        Shape::Choice(words) => json!({"anyOf": [{"enum": words}, variable()]}),
        Shape::Names => json!({"type": "array", "items": name}),
        Shape::Texts => json!({"type": "array", "items": {"type": ["string", "number", "boolean"]}}),
        Shape::Partitions => {
            json!({"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "integer", "minimum": 0}, pattern("[0-9]+")]}})
        }
        Shape::Rename => {
            json!({"type": "object", "additionalProperties": name, "minProperties": 1, "maxProperties": 1})
        }
        Shape::TextMap => json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
        Shape::ColumnType => column_type(),
        Shape::Columns => {
            let column = json!({"anyOf": [column_type(), block(&fields::COLUMN)]});
            json!({"type": "object", "minProperties": 1, "additionalProperties": column})
        }
        Shape::ColumnList => {
            // After a join a column of both sides is named with its side.
            let item = json!({"anyOf": [pattern("((left|right)\\.)?[A-Za-z_][A-Za-z0-9_]{0,62}"), expressions()]});
            json!({"anyOf": [{"type": "array", "items": item}, expressions()]})
        }
        Shape::SomeColumns => {
            let mut lists = self::shape(&Shape::ColumnList);
            lists["anyOf"][0]["minItems"] = 1.into();
            lists["anyOf"][1]["minProperties"] = 1.into();
            lists
        }
        Shape::Matches => {
            let pairs =
                json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "number"]}});
            json!({"anyOf": [{"type": "array", "minItems": 1, "items": {"anyOf": [name, pairs]}}, pairs]})
        }
        Shape::Expressions => expressions(),
        Shape::Order => {
            let orders = json!({"type": "object", "additionalProperties": {"enum": ["asc", "desc"]}});
            json!({"anyOf": [{"type": "array", "minItems": 1, "items": {"anyOf": [name, orders]}}, orders]})
        }
        Shape::Window => window(),
        Shape::Block(block) => self::block(block),
        Shape::OptionalBlock(block) => json!({"anyOf": [{"type": "null"}, self::block(block)]}),
        Shape::WordOrBlock(words, block) => json!({"anyOf": [{"enum": words}, variable(), self::block(block)]}),
        Shape::List(block) => json!({"type": "array", "items": self::block(block)}),
        Shape::Blocks(block) => {
            let mut each = self::block(block);
            // A step without anything reads nothing.
            if !block.fields.iter().any(|field| field.required) && !std::ptr::eq(*block, &fields::STEP) {
                each = json!({"anyOf": [{"type": "null"}, each]});
            }
            json!({
                "type": "object",
                "patternProperties": {"^x-": {}, "^[A-Za-z_][A-Za-z0-9_]{0,62}$": each},
                "additionalProperties": false,
            })
        }
        Shape::Rows => {
            let rows = json!({"type": ["array", "null"], "items": {"type": "object"}});
            json!({"type": ["object", "null"], "additionalProperties": rows})
        }
        Shape::NotBuilt(_) => unreachable!("only built fields are in the schema"),
    }
}

/// Returns a text of this pattern, or one with a variable in it.
fn pattern(pattern: &str) -> Value {
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    json!({"type": "string", "pattern": format!("^({pattern})$|\\$\\{{")})
}

fn variable() -> Value {
    json!({"type": "string", "pattern": "\\$\\{"})
}

fn expressions() -> Value {
    json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
}

fn column_type() -> Value {
    // A pattern cannot follow types into each other: `validate` does.
    pattern(&format!("({}|decimal\\([0-9]+, *[0-9]+\\)|list<.+>|struct<.+>) *!?", fields::TYPES.join("|")))
}

fn window() -> Value {
    let mut kinds: Vec<Value> = WINDOWS.iter().map(window_kind).collect();
    kinds.push(json!({"const": fields::SAME, "description": "Window rows are grouped again by the window they have"}));
    json!({"anyOf": kinds})
}

fn window_kind(kind: &WindowKind) -> Value {
    let properties = kind.fields.iter().map(|field| {
        let mut schema = match field.shape {
            WindowShape::Duration => pattern(duration::PATTERN),
            WindowShape::Choice(words) => json!({"anyOf": [{"enum": words}, variable()]}),
            WindowShape::Zone => json!({"type": "string"}),
        };
        schema["description"] = field.help.into();
        (field.name.to_owned(), schema)
    });
    let required: Vec<&str> = kind.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut inner = object(properties.collect(), &required);
    inner["description"] = kind.help.into();
    object([(kind.name.to_owned(), inner)].into_iter().collect(), &[kind.name])
}
