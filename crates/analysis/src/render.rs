//! Rows as text for other programs: JSON, JSON lines, CSV, Markdown.

use std::io::{Result, Write};

use crate::frame::Frame;

/// Writes one JSON array of objects.
pub fn json(frame: &Frame, out: &mut dyn Write) -> Result<()> {
    out.write_all(b"[")?;
    for row in 0..frame.len() {
        out.write_all(if row == 0 { b"\n  " } else { b",\n  " })?;
        object(frame, row, out)?;
    }
    out.write_all(if frame.is_empty() { b"]\n" } else { b"\n]\n" })
}

/// Writes one JSON object a line.
pub fn jsonl(frame: &Frame, out: &mut dyn Write) -> Result<()> {
    for row in 0..frame.len() {
        object(frame, row, out)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn object(frame: &Frame, row: usize, out: &mut dyn Write) -> Result<()> {
    let cells = frame.names().into_iter().enumerate();
    let object: serde_json::Map<_, _> =
        cells.map(|(column, name)| (name.to_string(), frame.cell(column, row).json())).collect();
    serde_json::to_writer(out, &object).map_err(Into::into)
}

/// Writes comma-separated values with a header. Null is an empty field, empty text is `""`.
pub fn csv(frame: &Frame, out: &mut dyn Write) -> Result<()> {
    let names: Vec<String> = frame.names().into_iter().map(|name| quoted(name, false)).collect();
    writeln!(out, "{}", names.join(","))?;
    for row in 0..frame.len() {
        let cells = (0..names.len()).map(|column| match frame.cell(column, row) {
            crate::Cell::Text(text) => quoted(&text, true),
            cell => quoted(&cell.text(), false),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

fn quoted(text: &str, is_text: bool) -> String {
    if text.contains(['"', ',', '\n', '\r']) || (is_text && text.is_empty()) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// Writes a table of Markdown.
pub fn markdown(frame: &Frame, out: &mut dyn Write) -> Result<()> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let names: Vec<String> = frame.names().into_iter().map(escaped).collect();
    writeln!(out, "| {} |", names.join(" | "))?;
    let rules = frame.kinds().into_iter().map(|kind| match kind {
        crate::Kind::Number => "---:",
        crate::Kind::Other => "---",
    });
    writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "))?;
    for row in 0..frame.len() {
        let cells: Vec<String> = (0..names.len()).map(|column| escaped(&frame.cell(column, row).text())).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use polars::prelude::*;

    use super::*;

    fn frame() -> Frame {
        let words = Series::new("w".into(), [Some("a,\"b\""), Some(""), None]);
        let numbers = Series::new("x".into(), [0.5, f64::NAN, 1.0]);
        Frame::new(DataFrame::new(3, vec![words.into_column(), numbers.into_column()]).unwrap())
    }

    fn written(write: fn(&Frame, &mut dyn Write) -> Result<()>) -> String {
        let mut out = Vec::new();
        write(&frame(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_keeps_null_apart_from_empty_where_it_can() {
        assert_eq!(written(csv), "w,x\n\"a,\"\"b\"\"\",0.5\n\"\",NaN\n,1.0\n");
        assert_eq!(
            written(jsonl),
            "{\"w\":\"a,\\\"b\\\"\",\"x\":0.5}\n{\"w\":\"\",\"x\":\"NaN\"}\n{\"w\":null,\"x\":1.0}\n"
        );
        assert_eq!(written(markdown), "| w | x |\n| --- | ---: |\n| a,\"b\" | 0.5 |\n|  | NaN |\n|  | 1.0 |\n");
        assert!(written(json).starts_with("[\n  {\"w\":") && written(json).ends_with("}\n]\n"));
    }
}
