//! Errors for people and for programs: file, line, caret, what, why, what to do, and a stable code.
//!
//! ```text
//! error[E_FIELD]: unknown field `evry` in a tumbling window
//!    ╭─[pipelines/orders.yaml:14:7]
//! 13 │     size: 1m
//! 14 │     evry: 30s
//!    ·     ──┬─
//!    ·       ╰── not a field of `tumbling`
//!    ╰────
//!   help: `tumbling` takes `size`, `offset`; …
//! ```

use engine::{Error, Place};
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can be run.
    Error,
    /// It can be run, but something is odd.
    Warning,
}

impl Severity {
    /// Returns the word that is printed.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Returns the text of an error for a terminal; it ends with a line break.
pub fn render(error: &Error, severity: Severity, color: bool) -> String {
    let paint = |text: &str, code: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let accent = match severity {
        Severity::Error => "31;1",
        Severity::Warning => "33;1",
    };
    let head = paint(&format!("{}[{}]", severity.name(), error.code.name()), accent);
    let mut out = format!("{head}: {}\n", plain(&error.message));
    error.details.iter().for_each(|detail| out.push_str(&format!("    {}\n", plain(detail))));
    if let Some(place) = &error.place {
        render_place(place, &mut out, |text| paint(text, accent));
    }
    if let Some(help) = &error.help {
        out.push_str(&format!("  {}: {}\n", paint("help", "36"), plain(help)));
    }
    out
}

fn render_place(place: &Place, out: &mut String, paint: impl Fn(&str) -> String) {
    let (line, column) = position(&place.text, place.start);
    let first = line_start(&place.text, place.start);
    let shown = plain(line_at(&place.text, first));
    let width = line.to_string().len().max(2);
    out.push_str(&format!("{:width$} ╭─[{}:{line}:{column}]\n", "", place.file));
    if first > 0 {
        let before = plain(line_at(&place.text, line_start(&place.text, first - 1)));
        out.push_str(&format!("{:>width$} │ {}\n", line - 1, before.trim_end()));
    }
    out.push_str(&format!("{line:>width$} │ {}\n", shown.trim_end()));
    let indent = column - 1;
    let rest = shown.trim_end().chars().count().saturating_sub(indent);
    let marked = place.text[place.start..place.end].lines().next().unwrap_or_default().chars().count().min(rest).max(1);
    let middle = marked / 2;
    let mark = format!("{}┬{}", "─".repeat(middle), "─".repeat(marked - middle - 1));
    out.push_str(&format!("{:width$} · {:indent$}{}\n", "", "", paint(&mark)));
    let label = if place.label.is_empty() { "here" } else { &place.label };
    out.push_str(&format!(
        "{:width$} · {:indent$}{}\n",
        "",
        "",
        format_args!("{:middle$}{}", "", paint(&format!("╰── {}", plain(label))))
    ));
    out.push_str(&format!("{:width$} ╰────\n", ""));
}

/// Returns the error as an object for programs: `code`, `severity`, `message`, `file`, `start`, `end`, `help`.
pub fn to_json(error: &Error, severity: Severity) -> Value {
    let place = error.place.as_deref();
    let at = |offset: fn(&Place) -> usize| {
        place.map(|place| {
            let (line, column) = position(&place.text, offset(place));
            json!({"line": line, "column": column, "offset": offset(place)})
        })
    };
    let mut json = json!({
        "code": error.code.name(),
        "severity": severity.name(),
        "message": error.message,
        "file": place.map(|place| &place.file),
        "start": at(|place| place.start),
        "end": at(|place| place.end),
        "label": place.map(|place| &place.label),
        "help": error.help,
    });
    if !error.details.is_empty() {
        json["details"] = json!(error.details);
    }
    json
}

/// Returns line and column (in characters) of a byte, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let start = line_start(text, at);
    let line = text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, text[start..at].chars().count() + 1)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |before| before + 1)
}

fn line_at(text: &str, start: usize) -> &str {
    text[start..].lines().next().unwrap_or_default()
}

/// Replaces control characters, so that a file cannot move the terminal's cursor; one column stays one column.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use engine::Code;

    use super::*;

    fn error(text: &str, word: &str) -> Error {
        let start = text.find(word).unwrap();
        let mut error =
            Error::new(Code::Field, "unknown field `evry` in a tumbling window").help("did you mean `every`?");
        let place = Place {
            file: "orders.yaml".into(),
            text: text.into(),
            start,
            end: start + word.len(),
            label: "not a field of `tumbling`".into(),
        };
        error.place = Some(Box::new(place));
        error
    }

    #[test]
    fn an_error_shows_file_line_and_caret() {
        let expected = "\
error[E_FIELD]: unknown field `evry` in a tumbling window
   ╭─[orders.yaml:2:5]
 1 │     size: 1m
 2 │     evry: 30s
   ·     ──┬─
   ·       ╰── not a field of `tumbling`
   ╰────
  help: did you mean `every`?
";
        assert_eq!(render(&error("    size: 1m\n    evry: 30s\n", "evry"), Severity::Error, false), expected);
    }

    #[test]
    fn columns_count_characters_and_control_characters_are_not_printed() {
        let text = render(&error("é\u{1b}[2J: evry", "evry"), Severity::Warning, false);
        assert!(text.contains("╭─[orders.yaml:1:8]"), "{text}");
        assert!(text.starts_with("warning[E_FIELD]") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("\n   ·        ──┬─\n"), "{text}");
    }

    #[test]
    fn a_place_at_the_end_or_over_lines_is_shown_on_its_first_line() {
        let mut wrong = error("a: 1\nb: [x,\n  y]\n", "[x,\n  y]");
        assert!(
            render(&wrong, Severity::Error, false).contains(" 2 │ b: [x,\n   ·    ─┬─\n"),
            "{}",
            render(&wrong, Severity::Error, false)
        );
        let place = wrong.place.as_mut().unwrap();
        (place.start, place.end) = (place.text.len(), place.text.len());
        assert!(render(&wrong, Severity::Error, false).contains("╭─[orders.yaml:4:1]"));
    }

    #[test]
    fn the_object_for_programs_has_all_fields() {
        let value = to_json(&error("    evry: 30s", "evry"), Severity::Error);
        assert_eq!(value["code"], "E_FIELD");
        assert_eq!(value["severity"], "error");
        assert_eq!(value["file"], "orders.yaml");
        assert_eq!(value["start"], json!({"line": 1, "column": 5, "offset": 4}));
        assert_eq!(value["end"], json!({"line": 1, "column": 9, "offset": 8}));
        assert_eq!(value["help"], "did you mean `every`?");
    }
}
