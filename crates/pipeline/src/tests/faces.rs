//! What is shown of a file: explained plans, redacted secrets, the JSON Schema; and that no text makes us panic.

use engine::Code;
use engine::window::WINDOWS;
use serde_json::Value;

use super::{CLICKS, good};
use crate::diagnostic::{Severity, render, to_json};
use crate::fields::{Block, PIPELINE, Shape};
use crate::problems::Problems;
use crate::yaml::{Kind, Node};
use crate::{Variables, explain, load, schema, yaml};

const SECRET: &str = "hunter2-and-more";

fn with_secret() -> String {
    CLICKS.replace(
        "brokers: \"${BROKERS}\"",
        "brokers: \"u:${PASSWORD}@host\", options: {sasl.password: \"${PASSWORD}\"}",
    )
}

#[test]
fn secrets_are_not_in_explained_plans() {
    let Ok(loaded) = load("p.yaml", &with_secret(), &Variables::new().set("PASSWORD", SECRET)) else {
        panic!("it is good")
    };
    assert!(loaded.plan.sources[0].bindings.kafka.as_ref().unwrap().brokers.contains(SECRET));
    for shown in [explain::text(&loaded), explain::dot(&loaded), explain::to_json(&loaded).to_string()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert!(explain::text(&loaded).contains("u:***@host"));
}

#[test]
fn secrets_are_not_in_errors_even_where_the_file_holds_them() {
    for (old, new) in [
        ("topic: clicks}", "topic: clicks}\n    on_late: \"${PASSWORD}\""),
        ("topic: clicks}", "topic: clicks}\n    \"hunter2-and-more\": x"),
        ("out_of_orderness: 30s", "out_of_orderness: \"${PASSWORD}\""),
        ("where: page <> ''", "where: \"page = ${PASSWORD}\""),
        ("from: clicks\n", "from: \"${PASSWORD}\"\n"),
        ("name: clicks_per_page", "name: \"${PASSWORD}\""),
        ("amount: float64", "amount: \"${PASSWORD}\""),
        ("  PASSWORD: {secret: true}", "  PASSWORD: {secret: true, default: hunter2-and-more, x: 1}"),
    ] {
        let text = CLICKS.replace(old, new);
        let Err(errors) = load("p.yaml", &text, &Variables::new().set("PASSWORD", SECRET)) else {
            panic!("{new} is wrong")
        };
        for error in errors {
            let label = error.place.as_ref().map(|place| place.label.clone()).unwrap_or_default();
            let said = format!("{} {:?} {label}", error.message, error.help);
            assert!(!said.contains(SECRET), "{said}");
            assert!(new.starts_with("topic: clicks}\n    \"") || !said.contains("hunter2"), "{said}");
            if new.contains("default") {
                assert!(!render(&error, Severity::Error, false).contains(SECRET));
                assert!(error.place.as_ref().unwrap().text.contains("****"));
            }
        }
    }
}

#[test]
fn the_plan_as_text_names_what_is_read_and_written() {
    let text = explain::text(&good(CLICKS));
    for line in [
        "pipeline clicks_per_page",
        "  stream      topic clicks at localhost:9092",
        "  event time  at, out of order by up to 30s",
        "  window      hopping 10m every 1m",
        "  aggregate   views = sum(views)",
        "  top         10 by views desc",
        "  to          kafka brokers=b topic=hot",
        "  named by    window_start, window_end, page",
    ] {
        assert!(text.lines().any(|shown| shown == line), "`{line}` is not in\n{text}");
    }
    let dot = explain::dot(&good(CLICKS));
    assert!(dot.contains("\"step per_page\" -> \"sink late\" [label=\"late\", style=dashed];"), "{dot}");
    assert!(dot.contains("\"source clicks\" -> \"step cleaned\";"), "{dot}");
}

/// Walks a table and its schema side by side.
fn compare(block: &Block, schema: &Value, path: &str, count: &mut usize) {
    for field in block.fields {
        let path = format!("{path}.{}", field.name);
        let found = &schema["properties"][field.name];
        let is_built = !matches!(field.shape, Shape::NotBuilt(_));
        assert_eq!(found.is_object(), is_built, "{path}");
        let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field.name));
        assert_eq!(required, field.required, "{path}");
        assert_eq!(found["description"].as_str().is_some_and(|help| !help.is_empty()), is_built, "{path}");
        *count += 1;
        match &field.shape {
            Shape::Block(block) => compare(block, found, &path, count),
            Shape::OptionalBlock(block) => compare(block, &found["anyOf"][1], &path, count),
            Shape::Blocks(block) => {
                let each = &found["patternProperties"]["^[A-Za-z_][A-Za-z0-9_]{0,62}$"];
                let each =
                    if each["anyOf"][1].is_object() && each["properties"].is_null() { &each["anyOf"][1] } else { each };
                compare(block, each, &path, count);
            }
            Shape::List(block) => compare(block, &found["items"], &path, count),
            Shape::WordOrBlock(_, block) => compare(block, &found["anyOf"][2], &path, count),
            Shape::Columns => compare(&crate::fields::COLUMN, &found["additionalProperties"]["anyOf"][1], &path, count),
            Shape::Window => {
                for (kind, found) in WINDOWS.iter().zip(found["anyOf"].as_array().unwrap()) {
                    for field in kind.fields {
                        assert!(
                            found["properties"][kind.name]["properties"][field.name].is_object(),
                            "{path}.{}.{}",
                            kind.name,
                            field.name
                        );
                        *count += 1;
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!(schema["additionalProperties"], false, "{path}");
}

#[test]
fn the_schema_has_every_field_that_the_reader_knows() {
    let mut count = 0;
    compare(&PIPELINE, &schema::pipeline(), "", &mut count);
    assert!(count > 70, "{count}");
}

/// Returns a tree as JSON, scalars by the YAML 1.2 core schema.
fn json_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => Value::Null,
        Kind::Scalar(scalar) => match scalar.text.as_str() {
            "true" | "false" if scalar.plain => Value::Bool(scalar.text == "true"),
            text if scalar.plain => serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or(text.into()),
            text => text.into(),
        },
        Kind::Sequence(items) => items.iter().map(json_of).collect(),
        Kind::Mapping(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.text.clone(), json_of(&entry.value))).collect())
        }
    }
}

/// Returns true when a schema's keywords, patterns of texts aside, allow a value. Keywords it does not know are a failure.
fn allows(schema: &Value, value: &Value) -> bool {
    let all = |list: &Value| list.as_array().unwrap().iter().map(|schema| allows(schema, value)).collect::<Vec<_>>();
    let is_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "$id" | "title" | "description" | "pattern" | "patternProperties" | "dependencies" => true,
        "type" => match rule {
            Value::Array(names) => names.iter().any(|name| is_type(name.as_str().unwrap())),
            name => is_type(name.as_str().unwrap()),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "const" => rule == value,
        "anyOf" => all(rule).contains(&true),
        "oneOf" => all(rule).into_iter().filter(|found| *found).count() == 1,
        "required" => value
            .as_object()
            .is_none_or(|value| rule.as_array().unwrap().iter().all(|name| value.contains_key(name.as_str().unwrap()))),
        "minimum" => value.as_i64().is_none_or(|value| value >= rule.as_i64().unwrap()),
        "minItems" => value.as_array().is_none_or(|value| value.len() as u64 >= rule.as_u64().unwrap()),
        "minProperties" => value.as_object().is_none_or(|value| value.len() as u64 >= rule.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| allows(rule, item))),
        "properties" => value.as_object().is_none_or(|value| {
            rule.as_object().unwrap().iter().all(|(name, rule)| value.get(name).is_none_or(|value| allows(rule, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|value| {
            let known = schema["properties"].as_object();
            let named = schema["patternProperties"]
                .as_object()
                .and_then(|rules| rules.iter().find(|(pattern, _)| *pattern != "^x-"));
            let others = value
                .iter()
                .filter(|(name, _)| !name.starts_with("x-") && !known.is_some_and(|known| known.contains_key(*name)));
            others.into_iter().all(|(_, value)| match (named, rule) {
                (Some((_, rule)), _) => allows(rule, value),
                (None, Value::Bool(allowed)) => *allowed,
                (None, rule) => allows(rule, value),
            })
        }),
        other => panic!("keyword {other}"),
    })
}

#[test]
fn the_schema_allows_good_files_and_refuses_misshapen_ones() {
    let schema = schema::pipeline();
    let is_allowed = |text: &str| allows(&schema, &json_of(&yaml::parse(&mut Problems::new("p.yaml", text)).unwrap()));
    let rich = CLICKS
        .replace(
            "owner: data",
            "owner: data\ntags: [a, 1]\nx-more: {any: [thing]}\ntests: [{name: x, given: {clicks: [{user_id: 1}]}, expect: {per_page: null}}]",
        )
        .replace("amount: float64", "amount: {type: float64, from: value.total, null_as: ['', 0]}")
        .replace("{hopping: {size: 10m, every: 1m}}", "same")
        .replace("by: [{views: desc}]", "by: {views: desc}, per: [page], ties: keep")
        .replace("jsonl: {path: out/visits}", "stdout: ")
        .replace("group_by: [user_id]", "group_by: {user: user_id}")
        .replace("from: clicks\n", "from: [clicks]\n    tag: source\n    dedup: {key: [page], within: 1m}\n");
    good(&rich);
    for text in [super::SMALL, CLICKS, &rich] {
        assert!(is_allowed(text), "{text}");
    }
    for (old, new) in [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("owner: data", "ownr: data"),
        ("owner: data", "owner: [data]"),
        ("owner: data", "tests: {}"),
        ("owner: data", "tests: [{given: {}}]"),
        ("owner: data", "tests: [{name: x, given: {clicks: [1]}}]"),
        ("secret: true", "secret: 1"),
        ("topic: clicks}", "topics: clicks}"),
        ("kafka: {brokers: \"${BROKERS}\", topic: clicks}", "format: json"),
        ("amount: float64", "amount: [float64]"),
        ("where: page <> ''", "where: [page]"),
        ("where: page <> ''", "dedup: {key: [page]}"),
        ("{tumbling: {size: 1m}}", "{tumblin: {size: 1m}}"),
        ("{tumbling: {size: 1m}}", "{tumbling: {every: 1m}}"),
        ("{tumbling: {size: 1m}}", "[tumbling]"),
        ("group_by: [page]", "group_by: page"),
        ("[{views: desc}]", "[{views: down}]"),
        ("n: 10", "n: 0"),
        ("from: clicks\n", "from: []\n"),
        ("parquet: {path: out/per_page}", "where: views > 0"),
        ("parquet: {path: out/per_page}", "parquet: {path: a}, csv: {path: b}"),
        ("parquet: {path: out/per_page}", "parquet: {}"),
        ("where: page <> ''", "dedup: {key: [], within: 1m}"),
        ("where: page <> ''", "dedup: {key: {}, within: 1m}"),
        ("where: page <> ''", "select: []"),
        ("group_by: [page]", "unique_by: []"),
        ("  top_pages:\n", "  nothing:\n  top_pages:\n"),
    ] {
        assert!(CLICKS.contains(old), "`{old}` is in the file");
        assert!(!is_allowed(&CLICKS.replacen(old, new, 1)), "{old} -> {new}");
    }
}

#[test]
fn variables_are_asked_in_order() {
    let broker = |variables: &Variables| match load("p.yaml", CLICKS, variables) {
        Ok(loaded) => loaded.plan.sources[0].bindings.kafka.as_ref().unwrap().brokers.clone(),
        Err(errors) => panic!("{errors:?}"),
    };
    let variables = Variables::new();
    assert_eq!(broker(&variables), "localhost:9092");
    let variables = variables.env_file("x.env", "# brokers\n\nexport BROKERS=\"from file\"\nOTHER='a=b'\n").unwrap();
    assert_eq!(broker(&variables), "from file");
    let variables = variables.environment([("BROKERS".to_owned(), "from environment".to_owned())]);
    assert_eq!(broker(&variables), "from environment");
    assert_eq!(broker(&variables.set("BROKERS", "set: {}")), "set: {}");
    let error = Variables::new().env_file("x.env", "A=1\nwrong line\n").err().unwrap();
    assert_eq!((error.code, error.message.starts_with("x.env:2:")), (Code::Variable, true));
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let path = std::env::temp_dir().join(format!("samestream-secret-{}", std::process::id()));
    std::fs::write(&path, "from-a-file\n").unwrap();
    let variables = Variables::new().set("PASSWORD", format!("file:{}", path.display()));
    let loaded = load("p.yaml", &with_secret(), &variables);
    std::fs::remove_file(&path).unwrap();
    let Ok(loaded) = loaded else { panic!("it is good") };
    assert_eq!(loaded.plan.sources[0].bindings.kafka.as_ref().unwrap().options["sasl.password"], "from-a-file");
    assert!(!explain::text(&loaded).contains("from-a-file"));
    let Err(errors) = load("p.yaml", &with_secret(), &variables) else { panic!("the file is gone") };
    assert_eq!(errors[0].code, Code::Variable);
}

/// A small generator, so that a failing text is found again by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

fn mutate(text: &str, random: &mut Random) -> String {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "'",
        "\n",
        "  ",
        "- ",
        "&a ",
        "*a",
        "!x ",
        "${",
        "${BROKERS}",
        "${X}",
        "#",
        "|\n",
        ">\n",
        "null",
        "~",
        "é",
        "\u{1f600}",
        "\0",
        "\t",
        "---\n",
        "<<: ",
        "? ",
        "%YAML 1.1\n",
        "decimal(18,2)",
        "x-y: 1\n",
        "((((",
        "0",
        "-1",
        "99999999999999999999",
        "from: ",
        "select: ",
        "same",
        "final",
        "_offset",
        "count(*)",
        "\r\n",
        "\u{feff}",
        "''",
        "\\",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(chars.len());
        let length = random.below(12).min(chars.len() - at);
        match random.below(5) {
            0 => drop(chars.drain(at..at + length)),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars()).collect::<Vec<_>>()),
            2 => {
                let piece: Vec<char> = chars[at..at + length].to_vec();
                let to = random.below(chars.len());
                chars.splice(to..to, piece);
            }
            3 => drop(chars.splice(at..at + length, PIECES[random.below(PIECES.len())].chars()).collect::<Vec<_>>()),
            _ => {
                let line = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |end| at + end + 1);
                chars.drain(at..line);
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn no_text_makes_it_panic_and_every_error_can_be_shown() {
    let (mut good, mut wrong) = (0, 0);
    for seed in 0..4_000 {
        let text = mutate(CLICKS, &mut Random(seed));
        let outcome = std::panic::catch_unwind(|| match load("p.yaml", &text, &Variables::new()) {
            Ok(loaded) => explain::text(&loaded).len() + explain::dot(&loaded).len() > 0,
            Err(errors) => {
                assert!(!errors.is_empty(), "an error is told");
                for error in errors {
                    assert!(render(&error, Severity::Error, true).contains(error.code.name()));
                    assert!(to_json(&error, Severity::Error).is_object());
                }
                false
            }
        });
        match outcome {
            Ok(true) => good += 1,
            Ok(false) => wrong += 1,
            Err(_) => panic!("seed {seed}:\n{text}"),
        }
    }
    assert!(good > 100 && wrong > 1_000, "{good} good, {wrong} wrong: the mutations say nothing");
}
