//! Formats: how a record's bytes become columns, and columns bytes again.
//!
//! This is the one decoder. The stream, the journal and the writer of the lake all call [`decode`]; what it makes of a
//! record is a function of the record and the source's schema alone, never of the records beside it. To add a format:
//! one file, one entry in [`FORMATS`].

pub(crate) mod columns;
pub mod json;
mod nested;
pub mod reason;
pub(crate) mod scalar;
pub(crate) mod text;

use arrow::array::RecordBatch;
use engine::error::{Code, Error, Result};
use engine::log::{Chunk, RawRecords};
use engine::plan::{ColumnPlan, SourcePlan, TimeFormat, ValueFrom};
use engine::{DataType, Field};

use crate::records::Header;

pub use reason::{Fault, REASONS, Reason};

/// The version of what decoding means. It grows whenever some record decodes to something else than before, and is
/// written into every lake file.
pub const DECODER_VERSION: u32 = 1;

/// A kind of value. Its decoders never panic, whatever the bytes.
pub trait Format: Sync {
    /// Returns the word for it in a pipeline file.
    fn name(&self) -> &'static str;
    /// Returns one line on what it is.
    fn help(&self) -> &'static str;
    /// Prepares it for a source.
    fn codec(&self, source: &SourcePlan) -> Result<Box<dyn Codec>>;
}

/// A format prepared for one source. May be used by several threads at once.
pub trait Codec: Send + Sync {
    /// Decodes records into the columns that the source needs. Every column is checked, needed or not.
    fn decode(&self, raw: &RawRecords) -> Chunk;
    /// Writes a row whose batch holds the source's columns by name. Decoding what it writes gives the same row.
    fn encode(&self, rows: &RecordBatch, row: usize, record: &mut Encoded) -> Result<()>;
}

/// What a row was written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The record's key, where columns stand there.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's headers, where columns stand there.
    pub headers: Vec<Header>,
}

/// Every format, in the order in which they are listed to people.
pub const FORMATS: &[&dyn Format] = &[&json::Json];

/// Returns the format of a source, prepared for it.
pub fn codec(source: &SourcePlan) -> Result<Box<dyn Codec>> {
    match FORMATS.iter().find(|format| format.name() == source.format) {
        Some(format) => format.codec(source),
        None => {
            let known: Vec<_> = FORMATS.iter().map(|format| format.name()).collect();
            Err(Error::new(Code::NotBuilt, format!("source `{}`: format `{}`", source.name, source.format))
                .help(format!("Formats are: {}", known.join(", "))))
        }
    }
}

/// Decodes records of a source. Who decodes more than once prepares a [`codec`] and keeps it.
pub fn decode(source: &SourcePlan, raw: &RawRecords) -> Result<Chunk> {
    Ok(codec(source)?.decode(raw))
}

/// Returns one text for all that decoding depends on besides [`DECODER_VERSION`]: format, columns, where they stand.
///
/// Two sources with the same text decode every record alike, needed columns aside. Lake files carry it.
pub fn schema_text(source: &SourcePlan) -> String {
    let mut columns = Vec::new();
    for column in &source.columns {
        let mut text = vec![format!(
            "{}: {}{}",
            column.field.name,
            column.field.data_type,
            if column.field.nullable { "" } else { "!" }
        )];
        match &column.from {
            ValueFrom::Path(path) if path.len() == 1 && path[0] == column.field.name => {}
            ValueFrom::Path(path) => text.push(format!("from value {path:?}")),
            ValueFrom::Value => text.push("from value".into()),
            ValueFrom::Key => text.push("from key".into()),
            ValueFrom::Header(name) => text.push(format!("from header {name:?}")),
        }
        match &column.format {
            TimeFormat::Default => {}
            TimeFormat::Rfc3339 => text.push("as rfc3339".into()),
            TimeFormat::EpochSeconds => text.push("as epoch_s".into()),
            TimeFormat::EpochMillis => text.push("as epoch_ms".into()),
            TimeFormat::EpochMicros => text.push("as epoch_us".into()),
            TimeFormat::Pattern(pattern) => text.push(format!("as {pattern:?}")),
        }
        if !column.null_as.is_empty() {
            text.push(format!("null as {:?}", column.null_as));
        }
        columns.push(text.join(" "));
    }
    format!("{} {{{}}}", source.format, columns.join("; "))
}

/// Reads the columns back of what [`schema_text`] wrote; None where it is not understood.
pub fn columns_of_schema_text(text: &str) -> Option<Vec<ColumnPlan>> {
    let inner = text.split_once(" {")?.1.strip_suffix('}')?;
    let columns = inner.split("; ").filter(|column| !column.is_empty()).map(column_of_text);
    columns.collect()
}

fn column_of_text(text: &str) -> Option<ColumnPlan> {
    let (name, rest) = text.split_once(": ")?;
    let at = [" from ", " as ", " null as "].iter().filter_map(|word| rest.find(word)).min().unwrap_or(rest.len());
    let (kind, mut rest) = rest.split_at(at);
    let (kind, nullable) = kind.strip_suffix('!').map_or((kind, true), |kind| (kind, false));
    let mut from = ValueFrom::Path(vec![name.into()]);
    if let Some(after) = rest.strip_prefix(" from ") {
        let at = [" as ", " null as "].iter().filter_map(|word| after.find(word)).min().unwrap_or(after.len());
        from = match &after[..at] {
            "value" => ValueFrom::Value,
            "key" => ValueFrom::Key,
            other => match (other.strip_prefix("header "), other.strip_prefix("value ")) {
                (Some(name), _) => ValueFrom::Header(serde_json::from_str(name).ok()?),
                (_, Some(path)) => ValueFrom::Path(serde_json::from_str(path).ok()?),
                _ => return None,
            },
        };
        rest = &after[at..];
    }
    let mut format = TimeFormat::Default;
    if let Some(after) = rest.strip_prefix(" as ") {
        let at = after.find(" null as ").unwrap_or(after.len());
        format = match &after[..at] {
            "rfc3339" => TimeFormat::Rfc3339,
            "epoch_s" => TimeFormat::EpochSeconds,
            "epoch_ms" => TimeFormat::EpochMillis,
            "epoch_us" => TimeFormat::EpochMicros,
            pattern => TimeFormat::Pattern(serde_json::from_str(pattern).ok()?),
        };
        rest = &after[at..];
    }
    let null_as = match rest.strip_prefix(" null as ") {
        Some(texts) => serde_json::from_str(texts).ok()?,
        None if rest.is_empty() => Vec::new(),
        None => return None,
    };
    let field = Field { name: name.into(), data_type: DataType::parse(kind)?, nullable };
    Some(ColumnPlan { field, from, format, null_as })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_from_the_text_that_names_them() {
        let column = |name: &str, kind: &str, nullable, from, format, null_as: &[&str]| ColumnPlan {
            field: Field { name: name.into(), data_type: DataType::parse(kind).unwrap(), nullable },
            from,
            format,
            null_as: null_as.iter().map(|text| text.to_string()).collect(),
        };
        let path = |parts: &[&str]| ValueFrom::Path(parts.iter().map(|part| part.to_string()).collect());
        let columns = vec![
            column("a", "int64", false, path(&["a"]), TimeFormat::Default, &[]),
            column("b", "decimal(18,2)", true, path(&["x", "y"]), TimeFormat::Default, &["", "n/a"]),
            column("c", "timestamp", false, path(&["c"]), TimeFormat::Pattern("%Y-%m-%d as %H".into()), &[]),
            column("d", "timestamp", true, ValueFrom::Header("h".into()), TimeFormat::EpochMicros, &["0"]),
            column("e", "string", true, ValueFrom::Key, TimeFormat::Default, &[]),
            column("f", "string", true, ValueFrom::Value, TimeFormat::Default, &[]),
        ];
        let source = SourcePlan {
            name: "s".into(),
            columns: columns.clone(),
            format: "json".into(),
            event_time: "c".into(),
            out_of_orderness: 0,
            max_future: None,
            partitions: None,
            on_bad: engine::plan::OnBad::Quarantine,
            on_late: engine::plan::OnLate::Quarantine,
            bindings: Default::default(),
            needed: Vec::new(),
            tombstones: false,
        };
        assert_eq!(columns_of_schema_text(&schema_text(&source)), Some(columns));
        assert_eq!(columns_of_schema_text("json {a: thing}"), None);
    }
}
