//! What can be done with the checkpoints of a pipeline besides going on from them: a look, pins, forks, tables, removal.
//!
//! A run may go on meanwhile. So a pin and a fork are copies: nothing that the run removes is theirs. While they copy, the
//! run may remove what they read; then they begin again with its newest checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use engine::plan::Plan;
use engine::{Code, Engine, Error, Part, PartName, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::blob::Blob;
use super::manifest::{self, Forked, Manifest, PartEntry};
use super::store::{Store, Upload};
use super::{Line, TOLD, definition, foreign};

/// How often a copy is begun again whose data were removed meanwhile.
const TRIES: usize = 5;

/// The checkpoints of a pipeline.
pub struct Saved {
    store: Box<dyn Store>,
    pipeline: String,
}

/// A checkpoint or a pin.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pin's name; None: it is one of those that a run keeps and removes.
    pub pin: Option<String>,
    /// What it consists of.
    pub manifest: Manifest,
}

/// What a checkpoint has of the state of a step, or of a side of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepState {
    /// The step, with the side of a join.
    pub step: String,
    /// How many parts it consists of.
    pub parts: u64,
    /// How many of these are pieces of windows that waited in files. A group that is in several of them has a row in each.
    pub pieces: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes, as they are packed.
    pub bytes: u64,
}

impl Saved {
    /// Looks at the checkpoints of the pipeline of that name.
    pub fn new(store: Box<dyn Store>, pipeline: &str) -> Self {
        Self { store, pipeline: pipeline.to_string() }
    }

    /// Returns where they are.
    pub fn place(&self) -> String {
        self.store.describe()
    }

    /// Returns the checkpoints, oldest first, then the pins by name.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut names = self.store.list()?;
        names.sort_unstable();
        let (mut checkpoints, mut pins) = (Vec::new(), Vec::new());
        for name in names {
            let pin = manifest::pin_of(&name).map(String::from);
            if pin.is_none() && manifest::number_of(&name).is_none() {
                continue;
            }
            let manifest = match Manifest::read(&*self.store, &name) {
                // A run has removed it since.
                Err(error) if error.code == Code::NotFound => continue,
                read => read?,
            };
            let list = if pin.is_some() { &mut pins } else { &mut checkpoints };
            list.push(Entry { pin, manifest });
        }
        checkpoints.append(&mut pins);
        Ok(checkpoints)
    }

    /// Returns the checkpoint of that number or the pin of that name; None: the newest checkpoint.
    pub fn find(&self, at: Option<&str>) -> Result<Entry> {
        let entries = self.entries()?;
        let numbers: Vec<String> = entries
            .iter()
            .map(|entry| entry.pin.clone().unwrap_or_else(|| entry.manifest.number.to_string()))
            .collect();
        let missing = |message: String| {
            let error = Error::new(Code::NotFound, message);
            match numbers.is_empty() {
                true => error.help(format!(
                    "`samestream run {} --mode stream` makes checkpoints; `--state-dir` says where they are",
                    self.pipeline
                )),
                false => error.help(format!("there are: {}", numbers.join(", "))),
            }
        };
        let found = match at {
            None => entries.iter().rev().find(|entry| entry.pin.is_none()),
            Some(at) => entries.iter().find(|entry| match &entry.pin {
                Some(pin) => pin == at,
                None => at.parse() == Ok(entry.manifest.number),
            }),
        };
        let place = self.place();
        found.cloned().ok_or_else(|| match at {
            None => missing(format!("there is no checkpoint of `{}` in {place}", self.pipeline)),
            Some(at) => missing(format!("there is no checkpoint or pin `{at}` of `{}` in {place}", self.pipeline)),
        })
    }

    /// Copies a checkpoint under a name; it stays until it is unpinned. Returns what was pinned.
    pub fn pin(&self, name: &str, at: Option<&str>) -> Result<Entry> {
        check_pin(name)?;
        let (manifest_name, data) = manifest::pin_names(name);
        if self.store.list()?.contains(&manifest_name) {
            return Err(Error::new(Code::Target, format!("`{name}` is pinned already"))
                .help(format!("`samestream state unpin {} {name}` gives the name free", self.pipeline)));
        }
        self.copying(at, |entry| {
            let mut copy = Copy { upload: self.store.begin(&data)?, file: data.clone(), written: 0 };
            let parts = copy.parts(&*self.store, &entry.manifest)?;
            copy.upload.finish()?;
            let pinned = Manifest { parts, outbox: Vec::new(), ..entry.manifest.clone() };
            if !pinned.create_as(&*self.store, &manifest_name)? {
                return Err(Error::new(Code::Target, format!("`{name}` has just been pinned by somebody else")));
            }
            Ok(Entry { pin: Some(name.to_string()), manifest: pinned })
        })
    }

    /// Removes a pin.
    pub fn unpin(&self, name: &str) -> Result<()> {
        check_pin(name)?;
        let (manifest_name, data) = manifest::pin_names(name);
        let names = self.store.list()?;
        if !names.contains(&manifest_name) {
            let pins: Vec<&str> = names.iter().filter_map(|name| manifest::pin_of(name)).collect();
            let error = Error::new(Code::NotFound, format!("`{}` has no pin `{name}`", self.pipeline));
            return Err(if pins.is_empty() { error } else { error.help(format!("its pins are: {}", pins.join(", "))) });
        }
        self.store.remove(&manifest_name)?;
        if names.contains(&data) { self.store.remove(&data) } else { Ok(()) }
    }

    /// Does something with a checkpoint, and with the newest one again when a run removes it meanwhile.
    fn copying<T>(&self, at: Option<&str>, copy: impl Fn(&Entry) -> Result<T>) -> Result<T> {
        for left in (0..TRIES).rev() {
            let entry = self.find(at)?;
            match copy(&entry) {
                Err(error) if error.code == Code::Corrupt && left > 0 => {
                    let is_there = self.entries()?.iter().any(|now| {
                        (&now.pin, now.manifest.number, &now.manifest.job)
                            == (&entry.pin, entry.manifest.number, &entry.manifest.job)
                    });
                    if is_there {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
        unreachable!("the last try returns what it comes to")
    }

    /// Makes a checkpoint the first one of another job, which runs beside this one: its sinks begin with the rows after the
    /// checkpoint. A definition that differs in its sinks only keeps the state; another one is refused.
    pub fn fork(
        &self,
        at: Option<&str>,
        plan: &Plan,
        engine: &Engine,
        into: &dyn Fn() -> Box<dyn Store>,
    ) -> Result<Entry> {
        let target = into();
        let place = target.describe();
        if target.list()?.iter().any(|name| manifest::number_of(name).is_some()) {
            return Err(Error::new(Code::Target, format!("{place} holds checkpoints already"))
                .help("`--to` another state folder, or `samestream state clear` this one"));
        }
        self.copying(at, |entry| {
            let from = &entry.manifest;
            let is_same = from.definition == plan.definition;
            if !is_same {
                self.check_fork(from, plan)?;
            }
            let mut line = Line::open(into(), plan, true)?;
            if super::logs(plan) != from.logs {
                let message =
                    format!("the state was made of other logs ({:?}) than those of `{}`", from.logs, plan.name);
                return Err(Error::new(Code::LogReplaced, message));
            }
            line.forked = Some(Forked { job: from.job.clone(), number: from.number, places: places(from, plan) });
            line.ids.clone_from(&from.ids);
            let mut parts = Vec::new();
            for part in &from.parts {
                if !is_same {
                    let part = self.part(part)?;
                    let step = part.name.step.clone();
                    engine.restore([part]).map_err(|_| {
                        let message = format!("step `{step}` keeps other columns now, because other sinks read them");
                        refused(&message)
                    })?;
                }
                let mut tables = Vec::new();
                for blob in &part.tables {
                    tables.push(line.append(&blob.bytes(&*self.store)?, blob.rows)?);
                }
                parts.push(PartEntry { name: part.name.clone(), tables });
            }
            line.put_down(plan, from.sources.clone(), from.tally.clone().only_of(plan), parts, BTreeMap::new())?;
            Ok(Entry { pin: None, manifest: line.last().expect("it was made").clone() })
        })
    }

    /// Refuses a definition that cannot keep the state: only what sinks do with results may change, because whatever else
    /// changes rows would have changed those that were counted and published before.
    fn check_fork(&self, from: &Manifest, plan: &Plan) -> Result<()> {
        let Some(before) = &from.canonical else { return Err(foreign(from, plan, &*self.store)) };
        let changes = definition::changes(before, &plan.canonical);
        let others: Vec<String> = changes.iter().filter(|change| !change.starts_with("sinks of ")).cloned().collect();
        if !others.is_empty() || changes.is_empty() {
            let message = format!(
                "the state of `{}` cannot be kept: rows that were published before would have been others",
                self.pipeline
            );
            return Err(refused(&message).details(others));
        }
        match from.tally.lacks(plan) {
            None => Ok(()),
            Some(input) => Err(refused(&format!(
                "a sink reads `{input}` now, which had none: its rows so far were not counted, and are not kept"
            ))),
        }
    }

    /// Reads a part of a state.
    fn part(&self, entry: &PartEntry) -> Result<Part> {
        let tables = entry.tables.iter().map(|blob| blob.read(&*self.store)).collect::<Result<_>>()?;
        Ok(Part { name: entry.name.clone().into(), tables: Some(tables) })
    }

    /// Writes a checkpoint as Parquet files: `partitions`, and one for each step that has state (of a join two). Returns
    /// them with their rows.
    pub fn export(&self, at: Option<&str>, engine: &Engine, folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
        self.copying(at, |entry| {
            let from = &entry.manifest;
            if from.definition != engine.plan().definition {
                let error = foreign(from, engine.plan(), &*self.store);
                return Err(error.help("export it with the pipeline file that made it"));
            }
            connectors::store::create_folder(folder)?;
            let mut written = vec![write_table(folder, "partitions", [partitions(from)])?];
            for kind in engine.part_kinds() {
                let empty = engine.empty_part(&kind).map_or(Ok(Vec::new()), |part| engine.readable(&part));
                // Of a window with many groups, or one that waited in files, there may be several parts.
                let mut of_kind: BTreeMap<PartName, Vec<&PartEntry>> = BTreeMap::new();
                for part in &from.parts {
                    let name = PartName { layer: None, piece: None, ..part.name.clone().into() };
                    if (&name.step, &name.side) == (&kind.step, &kind.side) {
                        of_kind.entry(name).or_default().push(part);
                    }
                }
                // One window at a time: a state may be large.
                let parts = of_kind.values().map(|parts| match parts[..] {
                    [part] => engine.readable(&self.part(part)?),
                    _ => engine.readable(&engine.merged(parts.iter().rev().map(|part| self.part(part)))?),
                });
                let tables = std::iter::once(empty).chain(parts).flat_map(|tables| match tables {
                    Ok(tables) => tables.into_iter().map(Ok).collect::<Vec<_>>(),
                    Err(error) => vec![Err(error)],
                });
                let side = kind.side.map(|side| format!(".{}", engine::plan::SIDES[side])).unwrap_or_default();
                written.push(write_table(folder, &format!("{}{side}", kind.step), tables)?);
            }
            Ok(written)
        })
    }

    /// Removes all checkpoints; pins too, if that is said. Returns how many of each.
    pub fn clear(&self, with_pins: bool) -> Result<(usize, usize)> {
        let names = self.store.list()?;
        let pins: Vec<&String> = names.iter().filter(|name| manifest::pin_of(name).is_some()).collect();
        if !pins.is_empty() && !with_pins {
            let list: Vec<&str> = pins.iter().filter_map(|name| manifest::pin_of(name)).collect();
            let message = format!("`{}` has pins: {}", self.pipeline, list.join(", "));
            return Err(Error::new(Code::StateBusy, message)
                .help("`--force` removes them too; `samestream state unpin` removes one"));
        }
        // Manifests first, the newest last but data after all: what is left of a clearing that is cut short is a line.
        let mut checkpoints: Vec<&String> = names.iter().filter(|name| manifest::number_of(name).is_some()).collect();
        checkpoints.sort_unstable();
        let data = names.iter().filter(|name| manifest::is_data(name) || name.ends_with(".pinned") || *name == TOLD);
        for name in checkpoints.iter().copied().chain(pins.iter().copied()).chain(data) {
            match self.store.remove(name) {
                Err(error) if error.code == Code::NotFound => {}
                removed => removed?,
            }
        }
        Ok((checkpoints.len(), pins.len()))
    }
}

fn refused(message: &str) -> Error {
    Error::new(Code::StateForeign, message).help(
        "what sinks do with results that had a sink may change; for the rest `--fresh` starts the log again, and another `--state-dir` and `--out` run the new definition beside the old one",
    )
}

/// Returns where the rows of a job are: as it says, else where the pipeline file puts them.
fn places(from: &Manifest, plan: &Plan) -> BTreeMap<String, String> {
    match from.places.is_empty() {
        false => from.places.clone(),
        true => {
            let path =
                |sink: &engine::plan::SinkPlan| Some((sink.name.clone(), sink.target.settings.get("path")?.clone()));
            plan.sinks.iter().filter_map(path).collect()
        }
    }
}

fn check_pin(name: &str) -> Result<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_good) || is_number {
        return Err(Error::new(Code::Usage, format!("`{name}` cannot be the name of a pin"))
            .help("letters, digits, `-` and `_`, at most 64, not digits alone"));
    }
    Ok(())
}

/// A data file that gets tables of others.
struct Copy {
    upload: Box<dyn Upload>,
    file: String,
    written: u64,
}

impl Copy {
    fn parts(&mut self, store: &dyn Store, from: &Manifest) -> Result<Vec<PartEntry>> {
        let mut parts = Vec::new();
        for part in &from.parts {
            let mut tables = Vec::new();
            for blob in &part.tables {
                let bytes = blob.bytes(store)?;
                self.upload.write(&bytes)?;
                tables.push(Blob::new(self.file.clone(), self.written, &bytes, blob.rows));
                self.written += bytes.len() as u64;
            }
            parts.push(PartEntry { name: part.name.clone(), tables });
        }
        Ok(parts)
    }
}

/// Returns how far each partition was read, as a table.
fn partitions(from: &Manifest) -> Result<RecordBatch> {
    let all = || from.sources.iter().flat_map(|(source, marks)| marks.iter().map(move |mark| (source, mark)));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("source", Arc::new(StringArray::from_iter_values(all().map(|(source, _)| source))), false),
        ("partition", Arc::new(Int32Array::from_iter_values(all().map(|(_, mark)| mark.partition))), false),
        ("start_offset", Arc::new(Int64Array::from_iter_values(all().map(|(_, mark)| mark.start))), false),
        ("next_offset", Arc::new(Int64Array::from_iter_values(all().map(|(_, mark)| mark.next))), false),
        (
            "max_event_time",
            Arc::new(all().map(|(_, mark)| mark.maximum).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            true,
        ),
        ("has_record", Arc::new(all().map(|(_, mark)| Some(mark.maximum.is_some())).collect::<BooleanArray>()), false),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns).expect("columns are of one length"))
}

/// Writes tables of one shape as a Parquet file that appears whole.
fn write_table(
    folder: &Path,
    name: &str,
    tables: impl IntoIterator<Item = Result<RecordBatch>>,
) -> Result<(PathBuf, u64)> {
    let path = folder.join(format!("{name}.parquet"));
    let failed = |error: ParquetError| {
        let what = path.display();
        let other = |error: &dyn std::fmt::Display| Error::new(Code::Io, format!("{what}: {error}"));
        match error {
            // What the disk says; a full one has its own code.
            ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
                Ok(error) => Error::io(what, *error),
                Err(error) => other(&error),
            },
            error => other(&error),
        }
    };
    let unfinished = connectors::store::Unfinished::create(&path)?;
    let file = unfinished.file().try_clone().map_err(|error| Error::io(path.display(), error))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer: Option<ArrowWriter<connectors::disk::File>> = None;
    let mut file = Some((file, properties));
    let mut count = 0;
    for table in tables {
        let table = table?;
        count += table.num_rows() as u64;
        if let Some((file, properties)) = file.take() {
            writer = Some(ArrowWriter::try_new(file, table.schema(), Some(properties)).map_err(failed)?);
        }
        writer.as_mut().expect("the first table makes it").write(&table).map_err(failed)?;
    }
    if let Some(writer) = writer {
        writer.close().map_err(failed)?;
    }
    unfinished.publish()?;
    Ok((path, count))
}

impl Entry {
    /// Returns how many rows and bytes its state has.
    pub fn state_size(&self) -> (u64, u64) {
        let blobs = self.manifest.parts.iter().flat_map(|part| &part.tables);
        blobs.fold((0, 0), |(rows, bytes), blob| (rows + blob.rows, bytes + blob.size))
    }

    /// Returns when it was made, if it says so.
    pub fn made_at(&self) -> Option<String> {
        self.manifest.made_at.map(crate::time::rfc3339)
    }

    /// Returns it in a line, for programs.
    pub fn json(&self) -> Value {
        let (rows, bytes) = self.state_size();
        let offsets: serde_json::Map<String, Value> = self
            .manifest
            .sources
            .iter()
            .map(|(source, marks)| {
                let marks: serde_json::Map<String, Value> =
                    marks.iter().map(|mark| (mark.partition.to_string(), mark.next.into())).collect();
                (source.clone(), marks.into())
            })
            .collect();
        json!({
            "pipeline": self.manifest.pipeline,
            "number": self.manifest.number,
            "pin": self.pin,
            "made_at": self.made_at(),
            "definition": self.manifest.definition,
            "offsets": offsets,
            "rows_read": self.manifest.tally.counts()[0].1,
            "state_rows": rows,
            "state_bytes": bytes,
            "parts": self.manifest.parts.len(),
        })
    }

    /// Returns all of it that is not rows, for programs.
    pub fn details(&self) -> Value {
        let manifest = &self.manifest;
        let mut json = self.json();
        let time = |mark: &super::PartitionMark| mark.maximum.map(crate::time::rfc3339);
        json["partitions"] = manifest
            .sources
            .iter()
            .flat_map(|(source, marks)| {
                marks.iter().map(move |mark| {
                    json!({
                        "source": source, "partition": mark.partition, "start_offset": mark.start,
                        "next_offset": mark.next, "max_event_time": time(mark),
                    })
                })
            })
            .collect();
        json["counts"] =
            manifest.tally.counts().into_iter().map(|(name, count)| (name.to_string(), json!(count))).collect();
        json["state"] = self
            .steps()
            .into_iter()
            .map(|StepState { step, parts, pieces, rows, bytes }| {
                json!({"step": step, "parts": parts, "pieces": pieces, "rows": rows, "bytes": bytes})
            })
            .collect();
        json["outbox"] = manifest
            .outbox
            .iter()
            .map(|entry| json!({"of": entry.input, "kind": entry.kind, "rows": entry.rows.rows, "bytes": entry.rows.size}))
            .collect();
        json["sinks"] = manifest
            .sinks
            .iter()
            .map(|(sink, mark)| {
                json!({"sink": sink, "epoch": mark.epoch, "rows": mark.rows, "place": manifest.places.get(sink)})
            })
            .collect();
        json["logs"] = json!(manifest.logs);
        json["job"] = json!(manifest.job);
        json["program"] = json!(manifest.program);
        json["forked_from"] =
            manifest.forked.as_ref().map_or(Value::Null, |forked| json!({"job": forked.job, "number": forked.number}));
        json
    }

    /// Returns what the state of each step (of a join, each side) consists of.
    pub fn steps(&self) -> Vec<StepState> {
        let mut steps: BTreeMap<String, StepState> = BTreeMap::new();
        for part in &self.manifest.parts {
            let side = part.name.side.map(|side| format!(".{}", engine::plan::SIDES[side])).unwrap_or_default();
            let step = format!("{}{side}", part.name.step);
            let state = steps.entry(step.clone()).or_insert_with(|| StepState { step, ..StepState::default() });
            state.parts += 1;
            state.pieces += u64::from(part.name.piece.is_some());
            state.rows += part.tables.iter().map(|blob| blob.rows).sum::<u64>();
            state.bytes += part.tables.iter().map(|blob| blob.size).sum::<u64>();
        }
        steps.into_values().collect()
    }
}
