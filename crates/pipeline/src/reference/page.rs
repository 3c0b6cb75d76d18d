//! The reference page of the pipeline file: prose with the tables of fields put into it.

use engine::window::{WINDOWS, WindowKind, WindowShape};

use super::cell;
use crate::fields::{self, Block, Field, Shape};

/// The prose. A line `{{fields NAME}}` stands for the table of a block, `{{windows}}` for that of the kinds of windows.
const PROSE: &str = include_str!("pipeline.md");

/// Every block, the name it has in the prose, and the heading under which its table stands.
const BLOCKS: &[(&str, &Block, &str)] = &[
    ("pipeline", &fields::PIPELINE, "the-document"),
    ("variable", &fields::VARIABLE, "variables"),
    ("source", &fields::SOURCE, "sources"),
    ("kafka source", &fields::KAFKA_SOURCE, "sources"),
    ("lake", &fields::LAKE, "sources"),
    ("journal", &fields::JOURNAL, "sources"),
    ("event time", &fields::EVENT_TIME, "event-time-and-lateness"),
    ("column", &fields::COLUMN, "columns"),
    ("step", &fields::STEP, "steps"),
    ("check", &fields::CHECK, "check"),
    ("dedup", &fields::DEDUP, "dedup"),
    ("lookup", &fields::LOOKUP, "lookup"),
    ("top", &fields::TOP, "windows"),
    ("join", &fields::JOIN, "joins"),
    ("within", &fields::WITHIN, "joins"),
    ("as of", &fields::AS_OF, "joins"),
    ("sink", &fields::SINK, "sinks"),
    ("parquet", &fields::PARQUET, "sinks"),
    ("jsonl", &fields::JSONL, "sinks"),
    ("csv", &fields::CSV, "sinks"),
    ("stdout", &fields::STDOUT, "sinks"),
    ("kafka sink", &fields::KAFKA_SINK, "sinks"),
    ("postgres", &fields::POSTGRES, "sinks"),
    ("redis", &fields::REDIS, "sinks"),
    ("cassandra", &fields::CASSANDRA, "sinks"),
    ("schedule", &fields::SCHEDULE, "schedules"),
    ("reprocess", &fields::REPROCESS, "schedules"),
    ("catch up", &fields::CATCH_UP, "schedules"),
    ("catch up all", &fields::CATCH_UP_ALL, "schedules"),
    ("retry", &fields::RETRY, "schedules"),
    ("hook", &fields::HOOK, "schedules"),
    ("test", &fields::CASE, "tests"),
];

/// Returns the page of the pipeline file, in Markdown.
pub fn pipeline() -> String {
    let mut page = String::new();
    for line in PROSE.lines() {
        match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
            Some("windows") => page.push_str(&windows()),
            Some(name) => {
                let name = name.trim_start_matches("fields ");
                let block =
                    BLOCKS.iter().find(|(known, ..)| *known == name).expect("the prose names blocks that exist");
                page.push_str(&table(block.1));
            }
            None => page.push_str(&format!("{line}\n")),
        }
    }
    page
}

fn table(block: &Block) -> String {
    let mut text = format!(
        "| field of {} | what stands there | default | what it says |\n| --- | --- | --- | --- |\n",
        block.what
    );
    for field in block.built() {
        text.push_str(&row(field));
    }
    let refused = block.fields.iter().filter_map(|field| match field.shape {
        Shape::NotBuilt(instead) => Some(format!("`{}` ({instead})", field.name)),
        _ => None,
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        text.push_str(&format!("\nPart of the format, but refused for now: {}.\n", refused.join("; ")));
    }
    text
}

fn row(field: &Field) -> String {
    let default = match (field.required, field.default) {
        (true, _) => "required".to_owned(),
        (false, "") => String::new(),
        // A word of the field, or a sentence about it.
        (false, default) if default.contains(' ') => default.into(),
        (false, default) => format!("`{default}`"),
    };
    let example = match field.example {
        "" => String::new(),
        example => format!(". `{example}`"),
    };
    let help = format!("{}{example}", field.help);
    format!("| `{}` | {} | {} | {} |\n", field.name, cell(&value(&field.shape)), default, cell(&help))
}

/// Returns what may stand in a field, in words.
fn value(shape: &Shape) -> String {
    let words = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match shape {
        Shape::Version => "`1`".into(),
        Shape::Text => "text".into(),
        Shape::Name => "a name".into(),
        Shape::Boolean => "`true` or `false`".into(),
        Shape::Count => "a number from 1 on".into(),
        Shape::Duration => "a duration".into(),
        Shape::Size => "a size, such as `64MiB`".into(),
        Shape::Expression => "an expression".into(),
        Shape::Choice(choice) => words(choice),
        Shape::Names => "a list of names".into(),
        Shape::Texts => "a list of texts".into(),
        Shape::Partitions => "a list of numbers".into(),
        Shape::TextMap => "`{NAME: text}`".into(),
        Shape::Rename => "`{NAME: new name}`".into(),
        Shape::Input => "a step, `SOURCE.bad`, `STEP.bad` or `STEP.late`".into(),
        Shape::Inputs => "a name, or a list of names".into(),
        Shape::ColumnType => "a [type](#columns)".into(),
        Shape::Columns => "`{NAME: type}`: [columns](#columns)".into(),
        Shape::ColumnList | Shape::SomeColumns => "a [column list](#column-lists)".into(),
        Shape::Matches => "a list of names and `{NAME: other}` pairs".into(),
        Shape::Expressions => "`{NAME: expression}`".into(),
        Shape::Order => "a list of names, `{NAME: asc}` or `{NAME: desc}`".into(),
        Shape::Window => "a [window](#windows)".into(),
        Shape::Block(block) => format!("[a map](#{})", heading(block)),
        Shape::OptionalBlock(block) => format!("[a map](#{}), or nothing", heading(block)),
        Shape::Blocks(block) => format!("`{{NAME: …}}`: [maps](#{})", heading(block)),
        Shape::WordOrBlock(choice, block) => format!("{}, or [a map](#{})", words(choice), heading(block)),
        Shape::List(block) => format!("a list of [maps](#{})", heading(block)),
        Shape::Rows => "`{NAME: [ROW, …]}`".into(),
        Shape::NotBuilt(_) => unreachable!("only built fields have a row"),
    }
}

fn heading(block: &Block) -> &'static str {
    BLOCKS.iter().find(|(_, known, _)| known.what == block.what).expect("every block is in the list").2
}

fn windows() -> String {
    let mut text = String::from("| kind | fields | |\n| --- | --- | --- |\n");
    for WindowKind { name, help, fields, .. } in WINDOWS {
        let fields = fields.iter().map(|field| {
            let absent = match (field.required, field.shape) {
                (true, _) => "",
                (false, WindowShape::Duration) => " (default `0s`)",
                (false, _) => " (may be absent)",
            };
            format!("`{}`: {}{absent}", field.name, field.help)
        });
        let fields: Vec<String> = fields.collect();
        text.push_str(&format!("| `{name}` | {} | {} |\n", cell(&fields.join("; ")), cell(help)));
    }
    text.push_str("| `same` | none: the plain word | Window rows are grouped again by the window they have |\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(block: &'static Block, found: &mut Vec<&'static Block>) {
        if found.iter().any(|known| std::ptr::eq(*known, block)) {
            return;
        }
        found.push(block);
        for field in block.fields {
            match field.shape {
                Shape::Block(block)
                | Shape::OptionalBlock(block)
                | Shape::Blocks(block)
                | Shape::List(block)
                | Shape::WordOrBlock(_, block) => {
                    walk(block, found);
                }
                Shape::Columns => walk(&fields::COLUMN, found),
                _ => {}
            }
        }
    }

    #[test]
    fn every_block_stands_on_the_page_once_under_its_heading() {
        let mut blocks = Vec::new();
        walk(&fields::PIPELINE, &mut blocks);
        assert_eq!(blocks.len(), BLOCKS.len());
        for (name, block, anchor) in BLOCKS {
            assert!(blocks.iter().any(|found| std::ptr::eq(*found, *block)), "{name} is not in the file");
            let place = format!("{{{{fields {name}}}}}");
            let pieces: Vec<&str> = PROSE.split(&place).collect();
            assert_eq!(pieces.len(), 2, "{name}");
            let outside = pieces[0].split("```").step_by(2).collect::<String>();
            let title = outside.lines().rfind(|line| line.starts_with('#')).unwrap().trim_start_matches(['#', ' ']);
            assert_eq!(super::super::anchor(title), *anchor, "{name}");
        }
    }

    #[test]
    fn links_on_the_page_lead_to_headings() {
        let page = pipeline();
        let outside = page.split("```").step_by(2).collect::<String>();
        let headings: Vec<String> = outside
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .map(|line| super::super::anchor(&line.trim_start_matches(['#', ' ']).replace(',', "")))
            .collect();
        let links: Vec<&str> = outside.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.len() > 30);
        for link in links {
            assert!(headings.iter().any(|heading| heading == link), "#{link} is no heading");
        }
    }

    /// An example is the field itself with a value that the reader takes for YAML.
    #[test]
    fn examples_begin_with_their_field() {
        let mut blocks = Vec::new();
        walk(&fields::PIPELINE, &mut blocks);
        let all = blocks.iter().flat_map(|block| block.fields).filter(|field| !field.example.is_empty());
        let mut count = 0;
        for field in all {
            let mut problems = crate::problems::Problems::new("example", field.example);
            let tree = crate::yaml::parse(&mut problems).expect(field.example);
            let crate::yaml::Kind::Mapping(entries) = &tree.kind else { panic!("{}", field.example) };
            assert!(entries.len() == 1 && entries[0].key.text == field.name, "{}", field.example);
            count += 1;
        }
        assert!(count > 50, "{count}");
    }
}
