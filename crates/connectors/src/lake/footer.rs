//! What a lake file of ours says about itself, as key-value pairs in its Parquet footer.

use engine::log::Offset;
use engine::plan::SourcePlan;
use parquet::file::metadata::KeyValue;

use crate::format::{DECODER_VERSION, schema_text};

/// The version of the layout. A file of another version is not read as one of ours.
pub const LAYOUT_VERSION: u32 = 1;

const NONE: &str = "none";

/// The key-value pairs `samestream.*` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// `samestream.first_offset`: where its range begins; also its name.
    pub first_offset: Offset,
    /// `samestream.next_offset`: where its range ends, past control markers.
    pub next_offset: Offset,
    /// `samestream.max_event_time`: the largest event time (µs) of the partition's valid records up to the file's end.
    pub max_event_time: Option<i64>,
    /// `samestream.event_time`: the column that it was made for.
    pub event_time: String,
    /// `samestream.max_future`: the future guard (µs) that it was made for.
    pub max_future: Option<i64>,
    /// `samestream.decoder`: the version of the decoder that made the columns.
    pub decoder: u32,
    /// `samestream.schema`: the schema they were made for.
    pub schema: String,
    /// `samestream.null_values`: what it did with records without a value; None: their columns beside it are not there.
    pub null_values: Option<NullValues>,
    /// `samestream.raw`: whether `_raw` holds the bytes of all records (`all`) or of bad ones (`bad`).
    pub has_all_raw: bool,
}

/// What the running maximum makes of records without a value. Their columns in keys and headers are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullValues {
    /// They are bad records, and not in it.
    Bad,
    /// They are versions of their keys ([`SourcePlan::tombstones`]), and in it.
    Tombstones,
}

impl NullValues {
    fn of(source: &SourcePlan) -> Self {
        if source.tombstones { Self::Tombstones } else { Self::Bad }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Tombstones => "tombstones",
        }
    }
}

impl Footer {
    /// Makes the footer of a file that `source`'s decoder fills.
    pub fn new(source: &SourcePlan, has_all_raw: bool) -> Self {
        Self {
            first_offset: 0,
            next_offset: 0,
            max_event_time: None,
            event_time: source.event_time.clone(),
            max_future: source.max_future,
            decoder: DECODER_VERSION,
            schema: schema_text(source),
            null_values: Some(NullValues::of(source)),
            has_all_raw,
        }
    }

    /// Returns true when its columns are what decoding for `source` would make.
    pub fn is_decoded_for(&self, source: &SourcePlan) -> bool {
        self.decoder == DECODER_VERSION && self.schema == schema_text(source)
    }

    /// Returns true when its running maximum is the one of `source`.
    pub fn has_maximum_for(&self, source: &SourcePlan) -> bool {
        let null_values = self.null_values.unwrap_or(NullValues::Bad);
        self.is_decoded_for(source)
            && self.event_time == source.event_time
            && self.max_future == source.max_future
            && null_values == NullValues::of(source)
    }

    /// Returns the pairs.
    pub fn pairs(&self) -> Vec<KeyValue> {
        let optional = |value: Option<i64>| value.map_or(NONE.to_string(), |value| value.to_string());
        [
            ("version", LAYOUT_VERSION.to_string()),
            ("first_offset", self.first_offset.to_string()),
            ("next_offset", self.next_offset.to_string()),
            ("max_event_time", optional(self.max_event_time)),
            ("event_time", self.event_time.clone()),
            ("max_future", optional(self.max_future)),
            ("decoder", self.decoder.to_string()),
            ("schema", self.schema.clone()),
            ("null_values", self.null_values.map_or(NONE, NullValues::word).to_string()),
            ("raw", if self.has_all_raw { "all" } else { "bad" }.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| KeyValue::new(format!("samestream.{key}"), value))
        .collect()
    }

    /// Reads the pairs of a file. `Ok(None)`: it has none of them; an error says which one is wrong.
    pub fn read(pairs: &[KeyValue]) -> Result<Option<Self>, String> {
        let find = |key: &str| {
            let pair = pairs.iter().find(|pair| pair.key.strip_prefix("samestream.") == Some(key))?;
            pair.value.clone()
        };
        let Some(version) = find("version") else { return Ok(None) };
        if version != LAYOUT_VERSION.to_string() {
            return Err(format!("its layout is of version {version}; this program reads {LAYOUT_VERSION}"));
        }
        let text = |key: &str| find(key).ok_or_else(|| format!("its footer has no `samestream.{key}`"));
        let wrong = |key: &str| format!("`samestream.{key}` in its footer is wrong");
        let number = |key: &str| text(key)?.parse::<i64>().map_err(|_| wrong(key));
        let optional = |key: &str| match text(key)?.as_str() {
            NONE => Ok(None),
            value => value.parse::<i64>().map(Some).map_err(|_| wrong(key)),
        };
        let footer = Self {
            first_offset: number("first_offset")?,
            next_offset: number("next_offset")?,
            max_event_time: optional("max_event_time")?,
            event_time: text("event_time")?,
            max_future: optional("max_future")?,
            decoder: text("decoder")?.parse().map_err(|_| wrong("decoder"))?,
            schema: text("schema")?,
            null_values: match find("null_values").as_deref() {
                None | Some(NONE) => None,
                Some("bad") => Some(NullValues::Bad),
                Some("tombstones") => Some(NullValues::Tombstones),
                Some(_) => return Err(wrong("null_values")),
            },
            has_all_raw: match text("raw")?.as_str() {
                "all" => true,
                "bad" => false,
                _ => return Err(wrong("raw")),
            },
        };
        if footer.first_offset < 0 || footer.next_offset < footer.first_offset {
            return Err(wrong("next_offset"));
        }
        Ok(Some(footer))
    }
}
