//! What is shown of a file: explained plans, redacted secrets, the JSON Schema; and that no text makes us panic.

use engine::Code;
use engine::window::WINDOWS;
use serde_json::Value;

use super::{CLICKS, good};
use crate::diagnostic::{Severity, render, to_json};
use crate::fields::{Block, PIPELINE, Shape};
use crate::{Variables, explain, load, schema};

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
