//! How an error looks: what, where in the file, why, what next, a stable code. Or the same as one JSON object.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

use engine::error::Place;
use engine::{Code, Error};
use serde_json::json;

use crate::global::Global;

/// Prints an error and returns the exit code that its code calls for.
pub(crate) fn error(error: &Error, global: &Global) -> ExitCode {
    let text = if global.is_json() {
        format!("{}\n", as_json(error))
    } else {
        as_text(error, global.is_coloured(std::io::stderr().is_terminal()))
    };
    say(&text);
    ExitCode::from(error.code.exit() as u8)
}

/// Prints what clap has to say: help on standard output, a usage error on stderr with exit code 2.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && wants_json() {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
        let help = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        say(&format!("{}\n", as_json(&Error::new(Code::Usage, message).help(help))));
    } else {
        // A closed pipe is not worth a word.
        let _ = error.print();
    }
    ExitCode::from(error.exit_code() as u8)
}

/// The command line could not be read, so its `--format` is looked for by eye.
fn wants_json() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let is_json = |value: &str| matches!(value, "json" | "jsonl");
    let given = arguments.windows(2).any(|pair| pair[0] == "--format" && is_json(&pair[1]))
        || arguments.iter().any(|argument| argument.strip_prefix("--format=").is_some_and(is_json));
    given || std::env::var("SAMESTREAM_FORMAT").is_ok_and(|value| is_json(&value))
}

fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn as_json(error: &Error) -> serde_json::Value {
    let mut out = json!({"code": error.code.name(), "severity": "error", "message": error.message});
    if let Some(place) = &error.place {
        out["file"] = place.file.clone().into();
        for (name, at) in [("start", place.start), ("end", place.end)] {
            let (line, column) = line_and_column(&place.text, at);
            out[name] = json!({"offset": at, "line": line, "column": column});
        }
        out["label"] = place.label.clone().into();
    }
    out["help"] = error.help.clone().into();
    out["exit"] = (error.code.exit() as u8).into();
    out
}

fn as_text(error: &Error, is_coloured: bool) -> String {
    let paint = |text: &str, code: &str| match is_coloured {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_string(),
    };
    let head = paint(&format!("error[{}]", error.code.name()), "1;31");
    let mut out = format!("{head}: {}\n", error.message);
    if let Some(place) = &error.place {
        out.push_str(&snippet(place, &paint));
    }
    if let Some(help) = &error.help {
        let help = help.replace('\n', "\n        ");
        let _ = writeln!(out, "  {} {help}", paint("help:", "36"));
    }
    let _ = writeln!(out, "  {} samestream explain {}", paint("more:", "2"), error.code.name());
    out
}

/// Draws the line before, the line, and a mark under the stretch with its label.
fn snippet(place: &Place, paint: &dyn Fn(&str, &str) -> String) -> String {
    let (line, column) = line_and_column(&place.text, place.start);
    let (end_line, end_column) = line_and_column(&place.text, place.end);
    let lines: Vec<&str> = place.text.lines().collect();
    let text = lines.get(line - 1).copied().unwrap_or_default();
    let last = if end_line == line { end_column } else { text.chars().count() + 1 };
    let length = last.saturating_sub(column).max(1);
    let width = line.to_string().len();
    let gutter = " ".repeat(width);
    let mut out = format!("{gutter} ╭─[{}:{line}:{column}]\n", place.file);
    let mut shown = |number: usize, text: &str| {
        let _ = writeln!(out, "{number:>width$} │ {}", text.replace('\t', " "));
    };
    if line > 1 {
        shown(line - 1, lines[line - 2]);
    }
    shown(line, text);
    let before = " ".repeat(column - 1);
    let middle = (length - 1) / 2;
    let mark = format!(
        "{}{}{}",
        "─".repeat(middle),
        if place.label.is_empty() { "─" } else { "┬" },
        "─".repeat(length - 1 - middle)
    );
    let _ = writeln!(out, "{gutter} · {before}{}", paint(&mark, "31"));
    if !place.label.is_empty() {
        let _ =
            writeln!(out, "{gutter} · {before}{}{}", " ".repeat(middle), paint(&format!("╰── {}", place.label), "31"));
    }
    let _ = writeln!(out, "{gutter} ╰────");
    out
}

/// Returns line and column of a byte offset, both from 1; a column is a character.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Makes a panic say that it is our bug, and where its details are.
pub(crate) fn friendly_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let path = std::env::temp_dir().join(format!("samestream-panic-{}.txt", std::process::id()));
        let trace = std::backtrace::Backtrace::force_capture();
        let details = format!(
            "samestream {}\narguments: {:?}\n{panic}\n\n{trace}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::args().collect::<Vec<_>>()
        );
        let place = match std::fs::write(&path, &details) {
            Ok(()) => format!("Details are in {}", path.display()),
            Err(_) => details,
        };
        say(&format!("samestream has a bug and had to stop: {panic}\nPlease report it. {place}\n"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        let text = "window:\n  tumbling:\n    size: 1m\n    evry: 30s\n";
        let start = text.find("evry").unwrap();
        let mut error =
            Error::new(Code::Field, "unknown field `evry` in a tumbling window").help("did you mean `hopping`?");
        error.place = Some(Box::new(Place {
            file: "p.yaml".into(),
            text: text.into(),
            start,
            end: start + 4,
            label: "not a field of `tumbling`".into(),
        }));
        error
    }

    #[test]
    fn an_error_shows_what_where_why_and_what_next() {
        let expected = "\
error[E_FIELD]: unknown field `evry` in a tumbling window
  ╭─[p.yaml:4:5]
3 │     size: 1m
4 │     evry: 30s
  ·     ─┬──
  ·      ╰── not a field of `tumbling`
  ╰────
  help: did you mean `hopping`?
  more: samestream explain E_FIELD
";
        assert_eq!(as_text(&sample(), false), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let json = as_json(&sample());
        assert_eq!(json["code"], "E_FIELD");
        assert_eq!(json["start"], json!({"offset": 37, "line": 4, "column": 5}));
        assert_eq!(json["end"]["column"], 9);
        assert_eq!(json["exit"], 2);
    }

    #[test]
    fn a_place_at_the_very_end_is_no_panic() {
        let mut error = sample();
        let place = error.place.as_mut().unwrap();
        (place.start, place.end) = (place.text.len(), place.text.len());
        assert!(as_text(&error, false).contains("p.yaml:5:1"));
        place_past_the_end(&mut error);
        assert!(as_text(&error, true).contains("\u{1b}[1;31m"));
    }

    fn place_past_the_end(error: &mut Error) {
        let place = error.place.as_mut().unwrap();
        (place.start, place.end) = (900, 901);
    }
}
