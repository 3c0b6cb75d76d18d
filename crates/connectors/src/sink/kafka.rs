//! A Kafka topic: a message a row, its key the row's identity, its value the row, both JSON.
//!
//! Exactly once by default: each commit is one transaction (`exact`), so readers of committed records see each row once,
//! whatever ends a run; a run that goes on from a checkpoint knows by the transaction's receipt what it has published. With
//! `delivery: at_least_once` rows are written without: a commit that was interrupted is written again by the next run, with
//! the same keys. Its final rows do not wait for commits, which only make sure that the brokers have them; with open rows
//! they do, because a row that is final takes the place of an open one. A topic cannot take rows back, so a run that starts
//! over writes its rows after the old ones.
//!
//! Open rows are written only with `open_rows: true`. Then the keys of those that stand are kept in a `note`, and one that
//! is neither final nor open at a later commit, of this run or the next, gets a message without a value.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::edge::{Replace, Sink};
use engine::plan::{KafkaBinding, SinkPlan};
use engine::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::exact::{self, Exact, Receipt, Sum};
use super::note::{Epoch, Note};
use super::once::{Commit, Held, Mark, Once, Place};
use super::rows::{conform, written_schema};
use super::spool::Spool;
use super::{Context, Setting, SinkKind, flag, required, token};
use crate::format::json;
use crate::kafka::{KafkaWriter, create_topic};

/// How long it may take until every broker knows a topic that was just made.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// How long a transaction may take unless `transaction_timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

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
        Setting {
            name: "delivery",
            help: "`exactly_once`, each commit a transaction, or `at_least_once`, without transactions",
            is_required: false,
            is_built: true,
        },
        Setting {
            name: "transactional_id",
            help: "what names its transactions, and the group that holds their receipts",
            is_required: false,
            is_built: true,
        },
        Setting {
            name: "transaction_timeout",
            help: "how long a transaction may take",
            is_required: false,
            is_built: true,
        },
        Setting { name: "options.", help: "settings of librdkafka", is_required: false, is_built: true },
    ],
    check: super::nothing,
    probe: super::nothing,
    open,
    folder: super::no_folder,
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
    let note = context.state.as_ref().map(|folder| Note::path(folder, &plan.name));
    if has_open_rows && note.is_none() {
        let message = format!("sink `{}`: `open_rows` needs a state folder to keep the open rows' keys in", plan.name);
        return Err(Error::new(Code::Usage, message));
    }
    let owner = token();
    let place = KafkaSink {
        way: way(plan, &binding, context)?,
        job: context.job.clone().unwrap_or_else(|| owner.clone()),
        has_job: context.job.is_some(),
        owner,
        binding,
        schema,
        key,
        has_open_rows,
        note_path: note,
        note: None,
        standing: Epoch::default(),
        writer: None,
        has_released: false,
        staged: Spool::default(),
        staged_open: Spool::default(),
    };
    Ok(Box::new(Once::new(place, context)))
}

/// How rows are delivered.
enum Way {
    /// Without transactions.
    Plain,
    /// In transactions of that id, each of which may take so long.
    Exact(String, Duration),
}

/// What rows go through.
enum Writer {
    Plain(KafkaWriter),
    Exact(Box<Exact>),
}

fn way(plan: &SinkPlan, binding: &KafkaBinding, context: &Context) -> Result<Way> {
    let setting = |name: &str| plan.target.settings.get(name);
    let wrong =
        |what: String, help: &str| Err(Error::new(Code::Field, format!("sink `{}`: {what}", plan.name)).help(help));
    match setting("delivery").map(String::as_str) {
        None | Some("exactly_once") => {}
        Some("at_least_once") => {
            let of_transactions = ["transactional_id", "transaction_timeout"];
            return match of_transactions.into_iter().find(|name| setting(name).is_some()) {
                None => Ok(Way::Plain),
                Some(name) => wrong(
                    format!("`{name}` says nothing with `delivery: at_least_once`, which has no transactions"),
                    "leave one of them out",
                ),
            };
        }
        Some(other) => {
            let help = "it is `exactly_once` or `at_least_once`";
            return wrong(format!("`delivery` is `{other}`"), help);
        }
    }
    let id = match setting("transactional_id") {
        Some(id) if id.trim().is_empty() => return wrong("`transactional_id` is empty".into(), "leave it out"),
        Some(id) => id.clone(),
        None => {
            let names = ["samestream", &context.pipeline, &plan.name, &binding.topic];
            names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("-")
        }
    };
    let timeout = match setting("transaction_timeout") {
        None => TIMEOUT,
        Some(text) => match text.strip_suffix("ms").and_then(|millis| millis.parse().ok()) {
            // Less than a second is refused by librdkafka, more than a month by any broker.
            Some(millis @ 1_000..=2_592_000_000) => Duration::from_millis(millis),
            _ => return wrong(format!("`transaction_timeout` is {text}"), "it is between 1s and 30d"),
        },
    };
    Ok(Way::Exact(id, timeout))
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
    way: Way,
    has_open_rows: bool,
    /// What tells this process from others.
    owner: String,
    /// The job that runs; a run without checkpoints is one of its own.
    job: String,
    has_job: bool,
    /// Where the note is, if there is a place for one.
    note_path: Option<PathBuf>,
    note: Option<Note>,
    /// The open rows that stand in the topic, and whose epoch the last one there is.
    standing: Epoch,
    writer: Option<Writer>,
    /// Whether rows were handed to the writer since the last commit.
    has_released: bool,
    staged: Spool,
    staged_open: Spool,
}

impl KafkaSink {
    /// Makes the topic if it is not there, and takes it.
    fn connect(&mut self) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        self.note = self.note_path.as_ref().map(|path| Note::read(path)).transpose()?.flatten();
        let writer = match self.open_writer() {
            Err(error) if error.code == Code::NotFound => {
                match create_topic(&self.binding, None, &[]) {
                    // Somebody else may have been quicker.
                    Err(error) if error.code != Code::Target => return Err(error),
                    _ => self.open_new_writer()?,
                }
            }
            other => other?,
        };
        self.standing = match (&self.note, &writer) {
            (None, _) => Epoch::default(),
            // The open rows went with the topic that was.
            (Some(note), Writer::Exact(exact)) if !note.may_be_of(exact.topic()) => Epoch::default(),
            (Some(note), writer) => match writer {
                Writer::Exact(exact) => exact.found().map(|found| note.at(&found.job, found.epoch)),
                Writer::Plain(_) => None,
            }
            .unwrap_or_else(|| note.all()),
        };
        self.writer = Some(writer);
        Ok(())
    }

    /// Opens a topic that was just made: brokers hear of it one after the other.
    fn open_new_writer(&self) -> Result<Writer> {
        let until = Instant::now() + HEARD_WITHIN;
        loop {
            match self.open_writer() {
                Err(error) if error.code == Code::NotFound && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => return other,
            }
        }
    }

    fn open_writer(&self) -> Result<Writer> {
        Ok(match &self.way {
            Way::Plain => Writer::Plain(KafkaWriter::open_prompt(&self.binding)?),
            Way::Exact(id, timeout) => {
                Writer::Exact(Box::new(Exact::open(&self.binding, id, *timeout, &self.owner, &self.job)?))
            }
        })
    }

    /// Keeps in the note which open rows stand, and which do if the epoch comes through.
    fn write_note(&mut self, epoch: u64, shown: Option<&BTreeSet<String>>) -> Result<()> {
        let (Some(path), Some(writer)) = (&self.note_path, &self.writer) else { return Ok(()) };
        let topic = match writer {
            Writer::Plain(_) => None,
            Writer::Exact(exact) => exact.topic().cloned(),
        };
        let note = self.note.get_or_insert_with(|| Note::new(&self.job, topic.clone()));
        (note.job, note.topic) = (self.job.clone(), topic);
        let of = |keys: &BTreeSet<String>| Epoch { job: self.job.clone(), epoch, keys: keys.clone() };
        match shown {
            Some(shown) => {
                note.stands = self.standing.clone();
                note.next = Some(of(shown));
            }
            None => (note.stands, note.next) = (self.standing.clone(), None),
        }
        note.write(path)
    }
}

/// The rows of a commit.
struct Rows<'a> {
    finals: &'a mut Spool,
    open: &'a mut Spool,
    /// Keys of open rows that stand, and of those that are in `open`.
    standing: &'a BTreeSet<String>,
    shown: &'a BTreeSet<String>,
}

impl Rows<'_> {
    /// Sends them, then takes back what neither is final nor open any more; returns how many messages that is and what they
    /// hash to.
    fn send(&mut self, writer: &mut KafkaWriter) -> Result<Sum> {
        let (mut count, mut hash) = (0, Sha256::new());
        let mut send = |key: &[u8], value: Option<&[u8]>| {
            count += 1;
            for part in [Some(key), value] {
                hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
                hash.update(part.unwrap_or_default());
            }
            writer.send(None, None, (!key.is_empty()).then_some(key), value, &[])
        };
        let mut withdrawn: BTreeSet<&String> = self.standing.difference(self.shown).collect();
        self.finals.each(|key, value| {
            if !withdrawn.is_empty() {
                withdrawn.remove(&String::from_utf8_lossy(key).into_owned());
            }
            send(key, Some(value))
        })?;
        for key in withdrawn {
            send(key.as_bytes(), None)?;
        }
        self.open.each(|key, value| send(key, Some(value)))?;
        let digest = hash.finalize();
        Ok((count, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl Place for KafkaSink {
    fn held(&mut self) -> Result<Held> {
        self.connect()?;
        let note = self.note.as_ref().filter(|note| note.job == self.job && self.has_job);
        let noted =
            |note: &Note| Held::Rows(Mark { job: Some(self.job.clone()), epoch: note.stands.epoch, settled: None });
        let Some(Writer::Exact(exact)) = &self.writer else {
            // The epoch after it may be there in part: it is written again.
            return Ok(note.map_or(Held::Unknown, noted));
        };
        if note.is_some_and(|note| !note.may_be_of(exact.topic())) {
            return Err(exact::made_anew(&self.binding));
        }
        Ok(match (exact.found(), note) {
            (Some(found), _) if found.job == self.job => found.held(),
            // Until now this job has written without transactions.
            (_, Some(note)) if note.topic.is_none() => noted(note),
            (Some(_), _) if exact.ran_last() => Held::Nothing,
            (Some(found), _) => found.held(),
            (None, None) => Held::Nothing,
            // Brokers forget a group's offsets when it has written none for `offsets.retention.minutes`.
            (None, Some(note)) if note.next.is_none() => noted(note),
            (None, Some(_)) => {
                let message = format!(
                    "the brokers have forgotten what this job has published to topic {}, and it ended in the middle of it",
                    self.binding.topic
                );
                return Err(Error::new(Code::SinkDiverged, message).help(
                    "`--fresh` writes all rows again; `offsets.retention.minutes` of the brokers says how long a job may rest",
                ));
            }
        })
    }

    fn begin(&mut self, _: Replace) -> Result<Held> {
        self.connect()?;
        Ok(match &self.writer {
            Some(Writer::Exact(exact)) => exact.found().map_or(Held::Nothing, Receipt::held),
            _ => Held::Unknown,
        })
    }

    fn stage(&mut self, rows: &RecordBatch, is_open: bool) -> Result<()> {
        if is_open && !self.has_open_rows {
            return Ok(());
        }
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

    fn releases(&self) -> bool {
        matches!(self.way, Way::Plain) && !self.has_open_rows
    }

    fn release(&mut self) -> Result<()> {
        let Some(Writer::Plain(writer)) = &mut self.writer else { return Ok(()) };
        if !self.staged.is_empty() {
            self.has_released = true;
            self.staged
                .each(|key, value| writer.send(None, None, (!key.is_empty()).then_some(key), Some(value), &[]))?;
            self.staged = Spool::default();
        }
        writer.check_deliveries()
    }

    fn is_empty(&self) -> bool {
        let is_old = matches!(&self.writer, Some(Writer::Exact(exact)) if exact.is_old());
        !self.has_released
            && self.staged.is_empty()
            && self.staged_open.is_empty()
            && self.standing.keys.is_empty()
            && !is_old
    }

    fn publish(&mut self, commit: &Commit) -> Result<()> {
        let (mut staged, mut open) = (std::mem::take(&mut self.staged), std::mem::take(&mut self.staged_open));
        let epoch = commit.epoch;
        let mut shown = BTreeSet::new();
        if self.has_open_rows {
            open.each(|key, _| Ok(_ = shown.insert(String::from_utf8_lossy(key).into_owned())))?;
        }
        // Before the first row is written: what a crash leaves is then known to the next run.
        self.write_note(epoch, Some(&shown))?;
        let mut rows = Rows { finals: &mut staged, open: &mut open, standing: &self.standing.keys, shown: &shown };
        match self.writer.as_mut().expect("begin comes before commit") {
            Writer::Plain(writer) => {
                rows.send(writer)?;
                writer.flush()?;
                self.has_released = false;
            }
            Writer::Exact(exact) => exact.commit(epoch, &mut |writer| rows.send(writer))?,
        }
        self.standing = Epoch { job: self.job.clone(), epoch, keys: shown };
        self.write_note(epoch, None)?;
        Ok(())
    }

    fn forget(&mut self) {
        (self.staged, self.staged_open) = (Spool::default(), Spool::default());
    }

    /// A topic's rows stay there.
    fn can_replace(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("topic {} at {}", self.binding.topic, self.binding.brokers)
    }
}
