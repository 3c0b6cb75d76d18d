//! What goes to standard output. A reader that has gone away (`| head`) ends the program silently.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use analysis::{Frame, Kind};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use engine::{Error, Result};

use crate::global::{Format, Global};

/// Writes to standard output through a buffer.
pub(crate) fn write(body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match body(&mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is still in the buffer has nowhere to go; dropping it would try again.
            std::mem::forget(out);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Error::io("cannot write to standard output", error)),
    }
}

/// Writes text to standard output.
pub(crate) fn text(text: &str) -> Result<ExitCode> {
    write(|out| out.write_all(text.as_bytes()))
}

/// Writes rows in the form that was asked for.
pub(crate) fn frame(frame: &Frame, global: &Global) -> Result<ExitCode> {
    write(|out| match resolved(global) {
        Format::Json => analysis::json(frame, out),
        Format::Jsonl | Format::Auto | Format::Sarif | Format::Github => analysis::jsonl(frame, out),
        Format::Csv => analysis::csv(frame, out),
        Format::Markdown => analysis::markdown(frame, out),
        Format::Table => writeln!(out, "{}\n{}", table(frame), rows(frame.len())),
    })
}

/// Returns the form with `auto` decided.
pub(crate) fn resolved(global: &Global) -> Format {
    match global.format {
        Format::Auto if io::stdout().is_terminal() => Format::Table,
        Format::Auto => Format::Jsonl,
        other => other,
    }
}

fn table(frame: &Frame) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(frame.names());
    for row in 0..frame.len() {
        table.add_row((0..frame.names().len()).map(|column| match frame.cell(column, row) {
            analysis::Cell::Null => "null".to_string(),
            cell => cell.text(),
        }));
    }
    for (column, kind) in table.column_iter_mut().zip(frame.kinds()) {
        if kind == Kind::Number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn rows(count: usize) -> String {
    format!("{} row{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// Returns a count with commas between thousands.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
