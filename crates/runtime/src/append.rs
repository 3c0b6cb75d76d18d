//! Append: a user's own lines into a journal, so that they can be read as a log.

use std::io::BufRead;
use std::path::PathBuf;

use connectors::journal::{Journal, JournalWriter};
use engine::log::Partition;
use engine::{Code, Error, Result};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::time;

/// How lines become records.
#[derive(Clone, Debug)]
pub struct AppendOptions {
    /// The journal; made when it is missing.
    pub journal: PathBuf,
    /// How many partitions a new one gets; None: one.
    pub partitions: Option<u32>,
    /// The top-level field whose value chooses the partition and becomes the key; None: partitions in turn.
    pub partition_by: Option<String>,
    /// The top-level field with the record's log time (RFC 3339, or epoch milliseconds); None: now.
    pub timestamp: Option<String>,
    /// What the lines are.
    pub input: Input,
    /// Fields of CSV that hold JSON, which becomes part of the value as it is.
    pub json: Vec<String>,
}

/// What lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line is a value, its bytes unchanged.
    JsonLines,
    /// A header, then rows; each becomes a JSON object. An empty field is null, a number or `true`/`false` without
    /// quotes is one, everything else is text.
    Csv,
}

/// An open journal that lines are appended to.
pub struct Appender {
    options: AppendOptions,
    writer: JournalWriter,
    partition_count: u32,
    records: u64,
}

impl Appender {
    /// Opens or makes the journal.
    pub fn open(options: AppendOptions) -> Result<Self> {
        let journal = match Journal::exists(&options.journal) {
            true => Journal::open(&options.journal)?,
            false => Journal::create(&options.journal, options.partitions.unwrap_or(1))?,
        };
        let partition_count = journal.partition_count();
        if let Some(wanted) = options.partitions.filter(|wanted| *wanted != partition_count) {
            let message =
                format!("journal `{}` has {partition_count} partitions, not {wanted}", options.journal.display());
            return Err(Error::new(Code::Target, message).help("the number is fixed when a journal is made"));
        }
        Ok(Self { writer: journal.writer()?, options, partition_count, records: 0 })
    }

    /// Appends everything a reader gives; `name` is for messages. Returns how many records that were.
    pub fn append(&mut self, name: &str, reader: &mut dyn BufRead, now: &dyn Fn() -> i64) -> Result<u64> {
        let before = self.records;
        let needs_fields = self.options.partition_by.is_some() || self.options.timestamp.is_some();
        let input = self.options.input;
        let json = self.options.json.clone();
        values(name, reader, input, &json, &mut |place, value, fields| match fields {
            Some(fields) => self.push(place, value, fields, now),
            None => {
                let fields = needs_fields.then(|| serde_json::from_slice(value).ok()).flatten().unwrap_or_default();
                self.push(place, value, &fields, now)
            }
        })?;
        self.writer.commit()?;
        Ok(self.records - before)
    }

    fn push(&mut self, place: &str, value: &[u8], fields: &Map<String, Value>, now: &dyn Fn() -> i64) -> Result<()> {
        if self.records == 0
            && let Some(name) = self.options.partition_by.as_ref().filter(|name| !fields.contains_key(*name))
            && !fields.is_empty()
        {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            let message = format!("{place}: there is no field `{name}` to choose partitions by");
            return Err(Error::new(Code::Usage, message).help(format!("its fields are: {}", known.join(", "))));
        }
        let key = self.options.partition_by.as_ref().and_then(|name| fields.get(name)).and_then(key_text);
        let turn = self.records % u64::from(self.partition_count);
        let chosen = key.as_ref().map_or(turn, |key| xxh3_64(key.as_bytes()) % u64::from(self.partition_count));
        let timestamp = match &self.options.timestamp {
            None => now(),
            Some(name) => fields.get(name).and_then(millis).ok_or_else(|| {
                Error::new(Code::BadRecord, format!("{place}: `{name}` is not a time"))
                    .help("it must be RFC 3339 text or an integer of epoch milliseconds; leave --timestamp out to use the time of appending")
            })?,
        };
        let key = key.as_ref().map(|key| key.as_bytes());
        self.writer.append(chosen as Partition, timestamp, key, Some(value), &[])?;
        self.records += 1;
        Ok(())
    }
}

/// Takes a record's place for messages, its value, and its fields where they are at hand.
type Take<'a> = dyn FnMut(&str, &[u8], Option<&Map<String, Value>>) -> Result<()> + 'a;

/// Gives the values that an input's lines or rows become, one after the other. `json` are the fields of CSV that hold JSON.
pub(crate) fn values(
    name: &str,
    reader: &mut dyn BufRead,
    input: Input,
    json: &[String],
    take: &mut Take<'_>,
) -> Result<()> {
    match input {
        Input::JsonLines if !json.is_empty() => {
            let message = format!("{name} is JSON lines, where every field is JSON already");
            Err(Error::new(Code::Usage, message).help("`--json` is for fields of CSV; leave it out"))
        }
        Input::JsonLines => lines(name, reader, take),
        Input::Csv => csv_rows(name, reader, json, take),
    }
}

fn lines(name: &str, reader: &mut dyn BufRead, take: &mut Take<'_>) -> Result<()> {
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        number += 1;
        let size =
            reader.read_until(b'\n', &mut line).map_err(|error| Error::io(format!("cannot read {name}"), error))?;
        if size == 0 {
            return Ok(());
        }
        let value = line.strip_suffix(b"\n").unwrap_or(&line);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if !value.is_empty() {
            take(&format!("{name}:{number}"), value, None)?;
        }
    }
}

fn csv_rows(name: &str, reader: &mut dyn BufRead, json: &[String], take: &mut Take<'_>) -> Result<()> {
    let mut rows = CsvRows { reader, line: 0 };
    let read = |error: std::io::Error| match error.kind() {
        // The text is wrong, not the world: another try would read the same.
        std::io::ErrorKind::InvalidData => Error::new(Code::BadRecord, format!("{name} is not CSV: {error}"))
            .help("a field that begins with a quote ends with one; a quote inside is written twice"),
        _ => Error::io(format!("cannot read {name}"), error),
    };
    let Some(header) = rows.next().map_err(read)? else { return Ok(()) };
    let names: Vec<String> = header.into_iter().map(|field| field.text).collect();
    if let Some(unknown) = json.iter().find(|json| !names.contains(json)) {
        return Err(Error::new(Code::Usage, format!("{name} has no field `{unknown}` that could hold JSON"))
            .help(format!("its fields are: {}", names.join(", "))));
    }
    while let Some(row) = rows.next().map_err(read)? {
        let place = format!("{name}:{}", rows.line);
        if row.len() != names.len() {
            let message = format!("{place}: a row of {} fields under a header of {}", row.len(), names.len());
            return Err(Error::new(Code::Usage, message).help("quote fields that hold commas or line breaks"));
        }
        let fields: Map<String, Value> = names.iter().cloned().zip(row.into_iter().map(Field::into_json)).collect();
        let value = match json {
            [] => serde_json::to_vec(&fields).expect("an object is JSON"),
            json => with_json(&place, &fields, json)?,
        };
        take(&place, &value, Some(&fields))?;
    }
    Ok(())
}

/// Writes an object some of whose fields hold JSON as text: that is part of it, byte by byte, so that a number keeps its
/// digits.
fn with_json(place: &str, fields: &Map<String, Value>, json: &[String]) -> Result<Vec<u8>> {
    let mut object = String::from("{");
    for (name, value) in fields {
        if object.len() > 1 {
            object.push(',');
        }
        object.push_str(&Value::from(name.as_str()).to_string());
        object.push(':');
        match value {
            Value::String(text) if json.contains(name) => {
                engine::json::canonical(text).map_err(|why| {
                    Error::new(Code::BadRecord, format!("{place}: `{name}` is not JSON: {why}"))
                        .help("a text inside JSON has quotes of its own; an empty field is null")
                })?;
                object.push_str(text);
            }
            other => object.push_str(&other.to_string()),
        }
    }
    object.push('}');
    Ok(object.into_bytes())
}

/// Returns a value as a key; null and absent values have none.
fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => time::parse(text).ok().map(|micros| micros.div_euclid(1000)),
        _ => None,
    }
}

/// A field of a CSV row.
#[derive(Default)]
struct Field {
    text: String,
    is_quoted: bool,
}

impl Field {
    fn into_json(self) -> Value {
        if self.is_quoted {
            return Value::String(self.text);
        }
        match self.text.as_str() {
            "" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            // Only what JSON calls a number: `007` and `+1` stay text.
            text => match serde_json::from_str(text) {
                Ok(Value::Number(number)) if number.to_string() == text => Value::Number(number),
                _ => Value::String(self.text),
            },
        }
    }
}

/// Rows of comma-separated values: quotes double inside quotes, line breaks may stand inside quotes.
struct CsvRows<'a> {
    reader: &'a mut dyn BufRead,
    line: u64,
}

impl CsvRows<'_> {
    fn next(&mut self) -> std::io::Result<Option<Vec<Field>>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.read(&mut line)? == 0 {
                return Ok(None);
            }
            if !line.trim_end_matches(['\r', '\n']).is_empty() {
                break;
            }
        }
        let mut row = vec![Field::default()];
        let mut is_inside = false;
        loop {
            let mut letters = line.trim_end_matches(['\r', '\n']).chars().peekable();
            while let Some(letter) = letters.next() {
                let field = row.last_mut().expect("a row has a field");
                match letter {
                    '"' if is_inside && letters.peek() == Some(&'"') => {
                        letters.next();
                        field.text.push('"');
                    }
                    '"' if is_inside => is_inside = false,
                    '"' if field.text.is_empty() && !field.is_quoted => (is_inside, field.is_quoted) = (true, true),
                    ',' if !is_inside => row.push(Field::default()),
                    letter => field.text.push(letter),
                }
            }
            if !is_inside {
                return Ok(Some(row));
            }
            row.last_mut().expect("a row has a field").text.push('\n');
            line.clear();
            if self.read(&mut line)? == 0 {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a quote is never closed"));
            }
        }
    }

    fn read(&mut self, line: &mut String) -> std::io::Result<usize> {
        self.line += 1;
        self.reader.read_line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partition, log time, key, value.
    type Appended = (i32, i64, Option<String>, String);

    fn appended(options: impl FnOnce(&mut AppendOptions), text: &str) -> Result<Vec<Appended>> {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = AppendOptions {
            journal: folder.path().join("log"),
            partitions: Some(2),
            partition_by: None,
            timestamp: None,
            input: Input::JsonLines,
            json: Vec::new(),
        };
        options(&mut settings);
        let path = settings.journal.clone();
        let mut appender = Appender::open(settings)?;
        appender.append("input", &mut text.as_bytes(), &|| 7)?;
        drop(appender);
        use engine::edge::{LogStream, Polled};
        let mut stream = Journal::open(path)?.stream(None)?;
        let starts = vec![0; stream.partitions().len()];
        stream.seek(&starts)?;
        let mut out = Vec::new();
        for polled in stream.poll(std::time::Duration::ZERO, 1000)? {
            let Polled::Records(records) = polled else { continue };
            for row in 0..records.offsets.len() {
                use arrow::array::Array;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let key = records.keys.is_valid(row).then(|| text(records.keys.value(row)));
                out.push((records.partition, records.timestamps[row], key, text(records.values.value(row))));
            }
        }
        Ok(out)
    }

    #[test]
    fn lines_become_values_byte_by_byte_and_partitions_take_turns() {
        let out = appended(|_| {}, "{\"a\": 1 }\r\n\nnot json\n{}").unwrap();
        let value = |partition, value: &str| (partition, 7, None, value.to_string());
        assert_eq!(out, [value(0, "{\"a\": 1 }"), value(0, "{}"), value(1, "not json")]);
    }

    #[test]
    fn a_key_always_meets_the_same_partition() {
        let lines: String = (0..40).map(|i| format!("{{\"user\":{},\"i\":{i}}}\n", i % 5)).collect();
        let out = appended(|options| options.partition_by = Some("user".into()), &lines).unwrap();
        let mut homes = std::collections::BTreeMap::new();
        for (partition, _, key, _) in &out {
            assert_eq!(*homes.entry(key.clone().unwrap()).or_insert(*partition), *partition);
        }
        assert_eq!((out.len(), homes.len()), (40, 5));
    }

    #[test]
    fn a_field_that_is_not_there_chooses_no_partition() {
        let error = appended(|options| options.partition_by = Some("usr".into()), "{\"user\":1}\n").unwrap_err();
        assert_eq!((error.code, error.help.as_deref()), (Code::Usage, Some("its fields are: user")));
    }

    #[test]
    fn csv_with_an_open_quote_is_bad_data() {
        let error = appended(|options| options.input = Input::Csv, "a,b\n1,\"2\n").unwrap_err();
        assert_eq!(error.code, Code::BadRecord, "{error}");
    }

    #[test]
    fn csv_rows_become_objects() {
        let text = "id,zip,name,ok,x\n1,007,\"a,\"\"b\"\"\nc\",true,\n2,\"3\",,false,0.5\n";
        let out = appended(
            |options| {
                options.input = Input::Csv;
                options.partitions = Some(1);
            },
            text,
        );
        let values: Vec<String> = out.unwrap().into_iter().map(|(.., value)| value).collect();
        assert_eq!(
            values,
            [
                r#"{"id":1,"zip":"007","name":"a,\"b\"\nc","ok":true,"x":null}"#,
                r#"{"id":2,"zip":"3","name":null,"ok":false,"x":0.5}"#
            ]
        );
    }

    #[test]
    fn fields_of_csv_that_hold_json_stay_json() {
        let append = |json: &[&str], text: &str| {
            let with_json = |options: &mut AppendOptions| {
                (options.input, options.partitions) = (Input::Csv, Some(1));
                options.json = json.iter().map(|name| name.to_string()).collect();
            };
            let values = appended(with_json, text)?.into_iter().map(|(.., value)| value);
            Ok(values.collect::<Vec<String>>())
        };
        let text = "id,payload,note\n1,\"{\"\"a\"\": [1.50, null]}\",{}\n2,,x\n3,1.50,\n4,true,\n5,\"\"\"s\"\"\",\n";
        assert_eq!(
            append(&["payload"], text).unwrap(),
            [
                r#"{"id":1,"payload":{"a": [1.50, null]},"note":"{}"}"#,
                r#"{"id":2,"payload":null,"note":"x"}"#,
                r#"{"id":3,"payload":1.50,"note":null}"#,
                r#"{"id":4,"payload":true,"note":null}"#,
                r#"{"id":5,"payload":"s","note":null}"#,
            ]
        );
        let error: Error = append(&["payload"], "id,payload\n1,[1\n").unwrap_err();
        assert_eq!((error.code, &error.message[..8]), (Code::BadRecord, "input:2:"), "{error}");
        let error: Error = append(&["load"], text).unwrap_err();
        assert_eq!(error.help.as_deref(), Some("its fields are: id, payload, note"));
        let lines = |options: &mut AppendOptions| options.json = vec!["a".into()];
        assert_eq!(appended(lines, "{}\n").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn the_log_time_can_come_from_a_field() {
        let by = |options: &mut AppendOptions| options.timestamp = Some("at".into());
        let out = appended(by, "{\"at\":\"1970-01-01T00:00:01Z\"}\n{\"at\":2000}\n").unwrap();
        assert_eq!(out.iter().map(|record| record.1).collect::<Vec<_>>(), [1000, 2000]);
        let error = appended(by, "{\"at\":1}\n{\"at\":\"soon\"}\n").unwrap_err();
        assert_eq!((error.code, &error.message[..8]), (Code::BadRecord, "input:2:"));
    }

    #[test]
    fn a_row_that_does_not_fit_its_header_is_named() {
        let error = appended(|options| options.input = Input::Csv, "a,b\n1,2\n3\n").unwrap_err();
        assert!(error.message.starts_with("input:3: a row of 1 fields"), "{}", error.message);
    }
}
