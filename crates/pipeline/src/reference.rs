//! The reference pages, made from tables: `docs/functions.md` and `docs/aggregates.md` from the engine's, `docs/pipeline.md`
//! from that of fields.

mod page;

use engine::aggregate::AGGREGATES;
use engine::expr::function::{self, FUNCTIONS, Family, Function};
use serde_json::{Value, json};

pub use page::pipeline;

/// What stands before the functions.
const OPENING: &str = include_str!("reference/functions.md");

/// Families with their titles, in the order of the page.
const FAMILIES: &[(Family, &str)] = &[
    (Family::Comparison, "Comparison"),
    (Family::Logic, "Logic and choices"),
    (Family::Conversion, "Types"),
    (Family::Numbers, "Numbers"),
    (Family::Bits, "Bits"),
    (Family::Text, "Text"),
    (Family::Patterns, "Patterns"),
    (Family::Bytes, "Bytes"),
    (Family::Urls, "Addresses of the web"),
    (Family::Hashes, "Digests and checksums"),
    (Family::Time, "Times and dates"),
    (Family::Nested, "Lists and structs"),
    (Family::Json, "JSON"),
];

/// Returns the page of all functions, in Markdown.
pub fn functions() -> String {
    let mut page = OPENING.to_string();
    for (family, title) in FAMILIES {
        let names: Vec<String> = of(*family).map(|function| format!("`{}`", function.name)).collect();
        page.push_str(&format!("- [{title}](#{}): {}\n", anchor(title), names.join(" · ")));
    }
    for (family, title) in FAMILIES {
        page.push_str(&format!("\n## {title}\n"));
        for function in of(*family) {
            page.push_str(&format!("\n{}", entry(function)));
        }
    }
    page
}

/// Returns the page of all aggregates, in Markdown.
pub fn aggregates() -> String {
    let mut page = include_str!("reference/aggregates.md").to_string();
    for aggregate in AGGREGATES {
        page.push_str(&format!("| `{}` | {} |\n", aggregate.name(), cell(aggregate.help())));
    }
    page
}

fn of(family: Family) -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().copied().filter(move |function| function.family == family)
}

/// Returns what GitHub calls a heading in a link.
fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// Returns what there is to say about a function, in Markdown.
pub fn entry(function: &Function) -> String {
    let mut text = format!("### `{}`\n\n", function.name);
    let also = match function.aliases {
        [] => String::new(),
        aliases => format!(", also {}", aliases.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    text.push_str(&format!("`{}`{also} · `{}`\n\n", shown(function.sql), function.signature));
    text.push_str(&format!("{}.\n\n", function.help));
    let (sql, value) = function.example;
    text.push_str(&format!(
        "- `{sql}` → {}\n",
        if value.is_empty() { "an empty text".into() } else { format!("`{value}`") }
    ));
    for (name, template) in [("DuckDB", function.duckdb), ("Flink", function.flink)] {
        if !template.is_empty() {
            text.push_str(&format!("- {name}: `{}`\n", shown(template)));
        }
    }
    if !function.differs.is_empty() {
        text.push_str(&format!("- Elsewhere: {}.\n", function.differs));
    }
    text
}

/// Returns the functions of that name or alias, or all, as JSON.
pub fn json(only: Option<&Function>) -> Value {
    let entry = |function: &&Function| {
        json!({
            "name": function.name,
            "aliases": function.aliases,
            "family": FAMILIES.iter().find(|(family, _)| *family == function.family).map(|(_, title)| title),
            "signature": function.signature,
            "help": function.help,
            "sql": function.sql,
            "example": {"sql": function.example.0, "value": function.example.1},
            "duckdb": function.duckdb,
            "flink": function.flink,
            "differs": function.differs,
            "constants": function.constants.iter().map(|(place, words)| json!([place, words])).collect::<Vec<_>>(),
        })
    };
    FUNCTIONS.iter().filter(|function| only.is_none_or(|only| only.name == function.name)).map(entry).collect()
}

/// Returns the function of that name, in any case, or what to say when there is none.
pub fn find(name: &str) -> Result<&'static Function, String> {
    let lower = name.to_lowercase();
    function::find(&lower)
        .ok_or_else(|| crate::sql::suggestion(&lower).unwrap_or_else(|| "`samestream functions` lists them all".into()))
}

/// Returns a template with letters for its places.
fn shown(template: &str) -> String {
    const LETTERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}').expect("every place in a template is closed");
        text.push_str(before);
        let digits = place.bytes().take_while(u8::is_ascii_digit).count();
        let index: usize = place[..digits].parse().unwrap_or(0);
        match &place[digits..] {
            "type" => text.push_str("type"),
            "case" => text.push_str("case when a then b … else c end"),
            "struct" => text.push_str("{'name': a, …}"),
            "" | "!" | "`" => text.push_str(LETTERS[index]),
            optional if optional.starts_with('?') => text.push_str(&format!("[{}{}]", &optional[1..], LETTERS[index])),
            list => {
                let comma = &list[1..];
                text.push_str(&format!("{}{comma}{}{comma}…", LETTERS[index], LETTERS[index + 1]));
            }
        }
        rest = after;
    }
    text + rest
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with the file in `docs`, or with `BLESS=1` in the environment writes it.
    fn assert_page(name: &str, page: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/{name} is not what the table says: BLESS=1 cargo test -p samestream-pipeline reference"
        );
    }

    #[test]
    fn the_pages_are_what_the_tables_say() {
        assert_page("functions.md", &functions());
        assert_page("aggregates.md", &aggregates());
        assert_page("pipeline.md", &pipeline());
    }

    #[test]
    fn every_function_stands_on_the_page_once() {
        let listed: usize = FAMILIES.iter().map(|(family, _)| of(*family).count()).sum();
        assert_eq!(listed, FUNCTIONS.len());
        assert!(FUNCTIONS.len() >= 120, "{}", FUNCTIONS.len());
    }

    #[test]
    fn places_are_letters() {
        assert_eq!(shown("substr({0*, })"), "substr(a, b, …)");
        assert_eq!(shown("({0} like {1}{2? escape })"), "(a like b[ escape c])");
        assert_eq!(shown("extract({0!} from {1})"), "extract(a from b)");
    }

    #[test]
    fn a_name_that_is_none_is_answered() {
        assert_eq!(find("LOWER").map(|function| function.name), Ok("lower"));
        assert_eq!(find("lowr").unwrap_err(), "did you mean `lower`?");
        assert_eq!(find("soundex").unwrap_err(), "here: `levenshtein(a, b)`");
    }
}
