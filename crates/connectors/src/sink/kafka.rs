//! A Kafka topic: a message a row, its key the row's identity, its value the row, both JSON.
//!
//! At least once: a commit that was interrupted is written again by the next run, with the same keys. A topic cannot
//! take rows back, so a run that starts over writes its rows after the old ones; readers take the last value of a key.
//!
//! Open rows are written only with `open_rows: true`. Then the keys of those that stand are kept in the state folder, and
//! one that is neither final nor open at a later commit, of this run or the next, gets a message without a value.

use std::collections::BTreeSet;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::{Replace, Sink};
use engine::plan::{KafkaBinding, SinkPlan};
use engine::{Code, Error, Result};

use super::rows::{conform, written_schema};
use super::spool::Spool;
use super::{Context, Setting, SinkKind, flag, required};
use crate::format::json;
use crate::kafka::{KafkaWriter, create_topic};
use crate::store;

/// The table's entry.
pub(super) const KIND: SinkKind = SinkKind {
    name: "kafka",
    help: "a topic, rows as JSON",
    file_kind: "jsonl",
    settings: &[
        Setting { name: "brokers", help: "addresses to connect to", is_required: true, is_built: true },
        Setting {
            name: "topic",
            help: "the topic; made with the broker's defaults if not there",
            is_required: true,
            is_built: true,
        },
        Setting {
            name: "key",
            help: "columns, separated by commas, to use as key instead of the identity",
            is_required: false,
            is_built: true,
        },
        Setting {
            name: "open_rows",
            help: "write open rows too, and take them back when they go",
            is_required: false,
            is_built: true,
        },
        Setting { name: "options.", help: "settings of librdkafka", is_required: false, is_built: true },
    ],
    open,
};

/// Returns where the sink's topic is.
pub(super) fn binding(plan: &SinkPlan) -> Result<KafkaBinding> {
    let options = plan.target.settings.iter();
    Ok(KafkaBinding {
        brokers: required(plan, "brokers")?.to_string(),
        topic: required(plan, "topic")?.to_string(),
        options: options
            .filter_map(|(name, value)| Some((name.strip_prefix("options.")?.to_string(), value.clone())))
            .collect(),
    })
}

fn open(plan: &SinkPlan, context: &Context) -> Result<Box<dyn Sink>> {
    let binding = binding(plan)?;
    let schema = written_schema(plan);
    let has_open_rows = flag(plan, "open_rows")?;
    let names = key_names(plan)?;
    let key = names.iter().map(|name| key_index(plan, &schema, name)).collect::<Result<Vec<_>>>()?;
    if has_open_rows && (plan.identity.is_empty() || !plan.identity.iter().all(|name| names.contains(name))) {
        let message = format!(
            "sink `{}`: `open_rows` needs a key that names one row, and `{}` does not",
            plan.name,
            names.join(", ")
        );
        return Err(Error::new(Code::Field, message).help(match plan.identity.is_empty() {
            true => "these rows have no identity: leave `open_rows` out".to_string(),
            false => format!("leave `key` out, or have {} among its columns", plan.identity.join(", ")),
        }));
    }
    let open_keys = match (&context.state, has_open_rows) {
        (_, false) => None,
        (Some(folder), true) => Some(folder.join(format!("sink-{}.open-keys.json", plan.name))),
        (None, true) => {
            let message =
                format!("sink `{}`: `open_rows` needs a state folder to keep the open rows' keys in", plan.name);
            return Err(Error::new(Code::Usage, message));
        }
    };
    Ok(Box::new(KafkaSink {
        binding,
        schema,
        key,
        open_keys,
        writer: None,
        staged: Spool::default(),
        staged_open: Spool::default(),
        published: None,
    }))
}

/// Returns the columns of the message key.
fn key_names(plan: &SinkPlan) -> Result<Vec<String>> {
    let Some(text) = plan.target.settings.get("key") else { return Ok(plan.identity.clone()) };
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let names: Vec<String> =
        inner.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(Error::new(Code::Field, format!("sink `{}`: `key` names no column", plan.name)));
    }
    Ok(names)
}

fn key_index(plan: &SinkPlan, schema: &SchemaRef, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let columns: Vec<&str> = plan.schema.fields.iter().map(|field| field.name.as_str()).collect();
        Error::new(Code::Name, format!("sink `{}`: its rows have no column `{name}` for the message key", plan.name))
            .help(format!("they have {}", columns.join(", ")))
    })
}

struct KafkaSink {
    binding: KafkaBinding,
    schema: SchemaRef,
    /// Indexes of the key's columns; none: messages without key.
    key: Vec<usize>,
    /// Where the keys of open rows are kept, if open rows are written.
    open_keys: Option<PathBuf>,
    writer: Option<KafkaWriter>,
    staged: Spool,
    staged_open: Spool,
    published: Option<u64>,
}

impl KafkaSink {
    fn spool(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        let rows = conform(rows, &self.schema)?;
        let keys = rows.project(&self.key).expect("indexes come from the schema");
        let spool = if is_open { &mut self.staged_open } else { &mut self.staged };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            key.clear();
            value.clear();
            if !self.key.is_empty() {
                json::write_row(&keys, row, &mut key);
            }
            json::write_row(&rows, row, &mut value);
            spool.push(&key, &value)?;
        }
        Ok(())
    }
}

impl Sink for KafkaSink {
    fn begin(&mut self, _replace: Replace) -> Result<()> {
        self.writer = Some(match KafkaWriter::open(&self.binding) {
            Err(error) if error.code == Code::NotFound => {
                match create_topic(&self.binding, None, &[]) {
                    // Somebody else may have been quicker.
                    Err(error) if error.code != Code::Target => return Err(error),
                    _ => KafkaWriter::open(&self.binding)?,
                }
            }
            other => other?,
        });
        Ok(())
    }

    fn stage(&mut self, rows: &RecordBatch) -> Result<()> {
        self.spool(rows, false)
    }

    fn stage_open(&mut self, rows: &RecordBatch) -> Result<()> {
        match self.open_keys {
            Some(_) => self.spool(rows, true),
            None => Ok(()),
        }
    }

    fn commit(&mut self, epoch: u64) -> Result<()> {
        let (mut staged, mut open) = (std::mem::take(&mut self.staged), std::mem::take(&mut self.staged_open));
        if self.published.is_some_and(|published| epoch <= published) {
            return Ok(());
        }
        let writer = self.writer.as_mut().expect("begin comes before commit");
        let mut standing = OpenKeys::read(self.open_keys.as_ref())?;
        let mut shown = BTreeSet::new();
        if self.open_keys.is_some() {
            open.each(|key, _| Ok(_ = shown.insert(String::from_utf8_lossy(key).into_owned())))?;
            // Before the first of them is written: what a crash leaves is then taken back by the next run.
            standing.extend(shown.iter().cloned());
            OpenKeys::write(self.open_keys.as_ref(), &standing)?;
        }
        fn present(key: &[u8]) -> Option<&[u8]> {
            (!key.is_empty()).then_some(key)
        }
        staged.each(|key, value| {
            if !standing.is_empty() {
                standing.remove(&String::from_utf8_lossy(key).into_owned());
            }
            writer.send(None, None, present(key), Some(value), &[])
        })?;
        for key in standing.difference(&shown) {
            writer.send(None, None, Some(key.as_bytes()), None, &[])?;
        }
        open.each(|key, value| writer.send(None, None, present(key), Some(value), &[]))?;
        writer.flush()?;
        OpenKeys::write(self.open_keys.as_ref(), &shown)?;
        self.published = Some(epoch);
        Ok(())
    }

    fn describe(&self) -> String {
        format!("topic {} at {}", self.binding.topic, self.binding.brokers)
    }
}

/// The keys of the open rows that stand in the topic, as a JSON list in a file.
struct OpenKeys;

impl OpenKeys {
    fn read(path: Option<&PathBuf>) -> Result<BTreeSet<String>> {
        let Some(path) = path else { return Ok(BTreeSet::new()) };
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(Code::Corrupt, format!("open rows' keys {}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(Error::io(format!("open rows' keys {}", path.display()), error)),
        }
    }

    fn write(path: Option<&PathBuf>, keys: &BTreeSet<String>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        store::write_atomic(path, &serde_json::to_vec(keys).expect("texts are JSON"))
    }
}
