//! Inspect: what is in a log that nobody has described yet, and how out of order it is.
//!
//! JSON is read twice: first the values at every path are seen ([`guess`]), and columns made of them; then the log is
//! decoded with these columns by the decoder of every run, so that what is said of nulls, times, disorder and bad records
//! is what a run would find. Parquet files bring their types and are decoded only.

pub mod guess;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use connectors::format::codec;
use connectors::journal::JournalScan;
use connectors::kafka::KafkaStream;
use connectors::lake::{LakeScan, StoredColumn, stored_columns};
use connectors::records::{RawBuilder, clip};
use engine::edge::{LogScan, LogStream, Polled};
use engine::log::{Chunk, Offset, Partition, RawRecords};
use engine::plan::{
    Bindings, ColumnPlan, KafkaBinding, LakeBinding, Layout, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom,
};
use engine::{Code, DataType, Error, Field, Result};

use crate::append;
use crate::disorder::Disorder;
use guess::{Guesses, Kind, Position, Seen};

/// What is looked at.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A topic.
    Topic(KafkaBinding),
    /// A journal's folder.
    Journal(PathBuf),
    /// Parquet files.
    Lake(LakeBinding),
    /// JSON lines, one record each.
    JsonLines(PathBuf),
    /// A CSV file; a row becomes the object that `append` makes of it.
    Csv(PathBuf),
}

impl Subject {
    /// Returns what a path holds.
    pub fn of_path(path: &Path) -> Result<Self> {
        let missing = || {
            Error::new(Code::NotFound, format!("there is nothing at `{}`", path.display()))
                .help("name a journal, a lake, a .parquet, .jsonl or .csv file, a topic (`kafka://BROKERS/TOPIC`) or a pipeline")
        };
        if path.is_dir() {
            if connectors::journal::Journal::exists(path) {
                return Ok(Self::Journal(path.to_path_buf()));
            }
            let entries = std::fs::read_dir(path)
                .map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
            let is_log = entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("partition="));
            let layout = if is_log { Layout::Log } else { Layout::Files };
            return Ok(Self::Lake(LakeBinding { path: path.display().to_string(), layout }));
        }
        if !path.is_file() {
            return Err(missing());
        }
        match path.extension().and_then(|kind| kind.to_str()) {
            Some("parquet") => Ok(Self::Lake(LakeBinding { path: path.display().to_string(), layout: Layout::Files })),
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines(path.to_path_buf())),
            Some("csv") => Ok(Self::Csv(path.to_path_buf())),
            _ => Err(Error::new(Code::Unsupported, format!("`{}` is not a kind of file that is read", path.display()))
                .help("a file's name ends in .parquet, .jsonl, .ndjson, .json or .csv")),
        }
    }
}

/// How it is looked at.
#[derive(Clone, Debug)]
pub struct InspectOptions {
    /// At most so many records of each partition, from its start.
    pub limit: u64,
    /// The column to take for the event time; None: the one that looks most like it.
    pub event_time: Option<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Records looked at.
    pub records: u64,
    /// Whether there are more that were not.
    pub is_cut: bool,
    /// Values that are not JSON objects, with the first few places.
    pub not_objects: (u64, Vec<Position>),
    /// The columns, in the order to write them.
    pub columns: Vec<Column>,
    /// Paths that no column was made for, and why.
    pub left_out: Vec<(String, String)>,
    /// The column of the event time: one of `columns`, or `_timestamp`.
    pub event_time: String,
    /// By partition.
    pub partitions: Vec<PartitionFound>,
    /// Of all partitions.
    pub disorder: Disorder,
    /// Why records would be bad, how many, and the first place of each reason.
    pub bad: BTreeMap<String, (u64, Position)>,
}

/// A column that was found.
#[derive(Clone, Debug)]
pub struct Column {
    /// How a pipeline would declare it.
    pub plan: ColumnPlan,
    /// True when the files say how it was declared.
    pub is_declared: bool,
    /// Nulls among the good records.
    pub nulls: u64,
    /// Values of other kinds, which make a record bad: the kind, how many, the first few places, the first value.
    pub conflicts: Vec<Conflict>,
    /// The first value, as written.
    pub example: String,
    /// Least and largest time of a timestamp column, in microseconds.
    pub times: Option<(i64, i64)>,
}

/// Values that do not fit their column.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// What they are.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// The first few places.
    pub places: Vec<Position>,
    /// The first value.
    pub example: String,
}

/// What was found in a partition.
#[derive(Clone, Debug)]
pub struct PartitionFound {
    /// The partition.
    pub partition: Partition,
    /// Records looked at.
    pub records: u64,
    /// Of these, records that would be bad.
    pub bad: u64,
    /// First offset, and the offset past the last one.
    pub offsets: (Offset, Offset),
    /// Least and largest event time, in microseconds.
    pub times: Option<(i64, i64)>,
    /// How out of order it is.
    pub disorder: Disorder,
}

/// Looks at a log.
pub fn inspect(subject: &Subject, options: &InspectOptions) -> Result<Inspection> {
    let (mut columns, left_out, not_objects, is_cut) = match subject {
        Subject::Lake(binding) => of_files(stored_columns(binding)?),
        _ => {
            let mut guesses = Guesses::default();
            let is_cut = raw(subject, options.limit, &mut |records| {
                for row in 0..records.offsets.len() {
                    let value = records.values.is_valid(row).then(|| records.values.value(row));
                    guesses.add(value, (records.partition, records.offsets[row]));
                }
                Ok(())
            })?;
            of_guesses(guesses, is_cut)
        }
    };
    let event_time = event_time(&columns, options.event_time.as_deref())?;
    let source = source(subject, &columns, &event_time);
    let mut found = Inspection {
        records: 0,
        is_cut,
        not_objects,
        columns: Vec::new(),
        left_out,
        event_time,
        partitions: Vec::new(),
        disorder: Disorder::default(),
        bad: BTreeMap::new(),
    };
    let is_more = decoded(subject, &source, options.limit, &mut |chunk| found.add(chunk, &mut columns))?;
    found.is_cut |= is_more;
    if found.records == 0 {
        return Err(Error::new(Code::Empty, "there is no record to look at").help("it is there, but holds nothing yet"));
    }
    for partition in &found.partitions {
        found.disorder.merge(&partition.disorder);
    }
    if let Subject::Lake(_) = subject {
        // What may be null is known only now, unless the files say it.
        for column in columns.iter_mut().filter(|column| !column.is_declared) {
            column.plan.field.nullable = column.nulls > 0;
        }
    }
    found.columns = columns;
    Ok(found)
}

impl Inspection {
    fn add(&mut self, chunk: &Chunk, columns: &mut [Column]) {
        self.records += chunk.len() as u64;
        let place = self.partitions.iter().position(|found| found.partition == chunk.partition).unwrap_or_else(|| {
            self.partitions.push(PartitionFound {
                partition: chunk.partition,
                records: 0,
                bad: 0,
                offsets: (chunk.offsets.values().first().copied().unwrap_or(0), 0),
                times: None,
                disorder: Disorder::default(),
            });
            self.partitions.len() - 1
        });
        let found = &mut self.partitions[place];
        found.records += chunk.len() as u64;
        found.bad += chunk.bad.len() as u64;
        found.offsets.1 = chunk.offsets.values().last().map_or(found.offsets.1, |last| last + 1);
        for bad in &chunk.bad {
            let reason = bad.reason.split(':').next().unwrap_or_default().to_string();
            let position = (chunk.partition, chunk.offsets.value(bad.row as usize));
            self.bad.entry(reason).or_insert((0, position)).0 += 1;
        }
        let mut bad = chunk.bad.iter().map(|bad| bad.row as usize).peekable();
        let good: Vec<usize> = (0..chunk.len()).filter(|row| bad.next_if_eq(row).is_none()).collect();
        for column in columns {
            let Some(array) = chunk.columns.column_by_name(&column.plan.field.name) else { continue };
            column.nulls += good.iter().filter(|row| array.is_null(**row)).count() as u64;
            if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
                let valid = good.iter().filter(|row| times.is_valid(**row)).map(|row| times.value(*row));
                column.times = valid.fold(column.times, widened);
            }
            if column.example.is_empty()
                && let Some(row) = good.iter().find(|row| array.is_valid(**row))
            {
                column.example = engine::value::display(&**array, *row).chars().take(60).collect();
            }
        }
        for time in event_times(chunk, &self.event_time, &good) {
            found.times = Some(widened(found.times, time)).flatten();
            found.disorder.add(time);
        }
    }
}

fn widened(range: Option<(i64, i64)>, time: i64) -> Option<(i64, i64)> {
    Some(range.map_or((time, time), |(least, largest)| (least.min(time), largest.max(time))))
}

fn event_times(chunk: &Chunk, column: &str, good: &[usize]) -> Vec<i64> {
    if column == "_timestamp" {
        let Some(millis) = &chunk.timestamps else { return Vec::new() };
        return good.iter().map(|row| millis.value(*row).saturating_mul(1000)).collect();
    }
    let Some(array) = chunk.columns.column_by_name(column) else { return Vec::new() };
    let times = array.as_primitive::<TimestampMicrosecondType>();
    good.iter().filter(|row| times.is_valid(**row)).map(|row| times.value(*row)).collect()
}

type Made = (Vec<Column>, Vec<(String, String)>, (u64, Vec<Position>), bool);

/// Makes columns of what was seen at the paths of JSON objects.
fn of_guesses(guesses: Guesses, is_cut: bool) -> Made {
    let mut made = (Vec::new(), Vec::new(), (guesses.others.count, guesses.others.places), is_cut);
    add_members(&guesses.root, &[], guesses.objects, &mut made);
    made
}

/// A key in fewer than one of so many records is taken for a mistake.
const RARE: u64 = 200;

fn add_members(seen: &Seen, path: &[String], objects: u64, made: &mut Made) {
    for (key, member) in &seen.members {
        let mut path = path.to_vec();
        path.push(key.clone());
        let shown = path.join(".");
        if member.values() == 0 {
            made.1.push((shown, "it is always null".into()));
            continue;
        }
        if member.values() * RARE < objects {
            made.1.push((shown, format!("it stands in {} of {objects} records only", member.values())));
            continue;
        }
        let (kinds, conflicts) = member.split();
        let data_type = match type_of(&kinds, member, key) {
            Some(found) => found,
            None => {
                add_members(member, &path, objects, made);
                continue;
            }
        };
        if path.iter().any(|part| part.contains('.') || part.is_empty()) {
            made.1.push((shown, "`from:` cannot name a key with a dot in it, or without a letter".into()));
            continue;
        }
        let name = column_name(&path, &made.0);
        let fitting: u64 = kinds.iter().map(|kind| member.kinds[kind].count).sum();
        let example = kinds.first().map(|kind| member.kinds[kind].example.clone()).unwrap_or_default();
        // A record in conflict is bad, so it does not make the column nullable.
        let in_conflict: u64 = conflicts.iter().map(|(_, found)| found.count).sum();
        let nullable = fitting + in_conflict < objects;
        let conflicts = conflicts.into_iter().map(|(kind, found)| Conflict {
            kind: kind.name(),
            count: found.count,
            places: found.places.clone(),
            example: found.example.clone(),
        });
        made.0.push(Column {
            plan: ColumnPlan {
                field: Field { name, data_type: data_type.0, nullable },
                from: ValueFrom::Path(path),
                format: data_type.1,
                null_as: Vec::new(),
            },
            is_declared: false,
            nulls: 0,
            conflicts: conflicts.collect(),
            example,
            times: None,
        });
    }
}

/// Returns the type of lists: of their elements where these are of one plain type, else json.
fn list_type(seen: &Seen) -> DataType {
    let Some(elements) = &seen.elements else { return DataType::Json };
    let (kinds, conflicts) = elements.split();
    match type_of(&kinds, elements, "") {
        Some((element, _)) if conflicts.is_empty() && elements.values() > 0 => DataType::list(element),
        _ => DataType::Json,
    }
}

/// Returns the type of a path; None: it holds objects, whose members are columns.
fn type_of(kinds: &[Kind], seen: &Seen, key: &str) -> Option<(DataType, TimeFormat)> {
    let plain = |data_type| Some((data_type, TimeFormat::Default));
    match kinds {
        [Kind::Bool] => plain(DataType::Bool),
        [Kind::Integer] => match epoch(seen, key) {
            Some(format) => Some((DataType::Timestamp, format)),
            None => plain(DataType::Int64),
        },
        [Kind::Large] | [Kind::Integer, Kind::Large] => plain(DataType::Decimal(38, 0)),
        [Kind::Time] => plain(DataType::Timestamp),
        [Kind::Date] => plain(DataType::Date),
        [Kind::List] => plain(list_type(seen)),
        [Kind::Object] => None,
        [Kind::NotFinite] => plain(DataType::String),
        kinds if kinds.contains(&Kind::Float) => plain(DataType::Float64),
        // Whole numbers, and words that only floats have.
        [Kind::Integer | Kind::Large, .., Kind::NotFinite] => plain(DataType::Float64),
        _ => plain(DataType::String),
    }
}

/// Returns how a column of whole numbers counts time, when its name and all its values say that it does.
fn epoch(seen: &Seen, key: &str) -> Option<TimeFormat> {
    let name = key.to_ascii_lowercase();
    let is_named = ["time", "date", "timestamp"].iter().any(|part| name.contains(part))
        || ["ts", "at"].contains(&name.as_str())
        || name.ends_with("_ts")
        || name.ends_with("_at");
    let (least, largest) = seen.integers.filter(|_| is_named)?;
    // From 2000 to 2100.
    let between = |unit: i64| least >= 946_684_800 * unit && largest < 4_102_444_800 * unit;
    [(1, TimeFormat::EpochSeconds), (1_000, TimeFormat::EpochMillis), (1_000_000, TimeFormat::EpochMicros)]
        .into_iter()
        .find(|(unit, _)| between(*unit))
        .map(|(_, format)| format)
}

/// Returns a name for the column of a path that no other has.
fn column_name(path: &[String], others: &[Column]) -> String {
    let text = path.join("_");
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let is_taken =
        ["_partition", "_offset", "_timestamp", "_index", "_key", "_bad", "_raw", "final"].contains(&name.as_str());
    if is_taken || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert_str(0, "value_");
    }
    name.truncate(60);
    let is_free = |name: &str| !others.iter().any(|column| column.plan.field.name == name);
    if is_free(&name) {
        return name;
    }
    (2..).map(|number| format!("{name}_{number}")).find(|name| is_free(name)).expect("one of them is free")
}

/// Makes columns of those of Parquet files.
fn of_files(stored: Vec<StoredColumn>) -> Made {
    let mut made = (Vec::new(), Vec::new(), (0, Vec::new()), false);
    for StoredColumn { name, plan, stored, is_declared } in stored {
        let is_named = is_declared || name == column_name(std::slice::from_ref(&name), &made.0);
        match plan {
            Some(plan) if is_named => made.0.push(Column {
                plan,
                is_declared,
                nulls: 0,
                conflicts: Vec::new(),
                example: String::new(),
                times: None,
            }),
            Some(_) => made.1.push((name, "a column of a pipeline cannot have this name".into())),
            None => made.1.push((name, format!("its type {stored} is not read"))),
        }
    }
    made
}

/// Chooses the column of the event time.
fn event_time(columns: &[Column], wanted: Option<&str>) -> Result<String> {
    let times: Vec<&Column> =
        columns.iter().filter(|column| column.plan.field.data_type == DataType::Timestamp).collect();
    if let Some(wanted) = wanted {
        if wanted == "_timestamp" || times.iter().any(|column| column.plan.field.name == wanted) {
            return Ok(wanted.to_string());
        }
        let names: Vec<&str> = times.iter().map(|column| column.plan.field.name.as_str()).collect();
        return Err(Error::new(Code::Usage, format!("`{wanted}` is not a column of times"))
            .help(format!("columns of times are: {}", [names.as_slice(), &["_timestamp"]].concat().join(", "))));
    }
    let rank = |column: &&&Column| {
        let name = column.plan.field.name.to_ascii_lowercase();
        let words = ["event_time", "eventtime", "event", "occurred", "timestamp", "time", "ts", "at"];
        let word = words.iter().position(|word| name == *word);
        let part = words.iter().position(|word| name.contains(word));
        (
            column.plan.field.nullable && !column.example.is_empty(),
            word.unwrap_or(words.len()),
            part.unwrap_or(words.len()),
        )
    };
    Ok(times.iter().min_by_key(rank).map_or_else(|| "_timestamp".into(), |column| column.plan.field.name.clone()))
}

/// Returns the source that a pipeline would describe.
fn source(subject: &Subject, columns: &[Column], event_time: &str) -> SourcePlan {
    let mut needed: Vec<String> = columns.iter().map(|column| column.plan.field.name.clone()).collect();
    if event_time == "_timestamp" {
        needed.push("_timestamp".into());
    }
    let mut plans: Vec<ColumnPlan> = columns.iter().map(|column| column.plan.clone()).collect();
    for plan in &mut plans {
        plan.field.nullable &= plan.field.name != event_time;
    }
    let bindings = match subject {
        Subject::Lake(binding) => Bindings { lake: Some(binding.clone()), ..Bindings::default() },
        _ => Bindings::default(),
    };
    SourcePlan {
        name: "inspected".into(),
        columns: plans,
        format: "json".into(),
        event_time: event_time.into(),
        out_of_orderness: 0,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings,
        needed,
        tombstones: false,
    }
}

/// Gives decoded records, partition by partition in offset order; returns whether there are more than the limit.
fn decoded(subject: &Subject, source: &SourcePlan, limit: u64, take: &mut dyn FnMut(&Chunk)) -> Result<bool> {
    if let Subject::Lake(_) = subject {
        let scan = LakeScan::open(source)?;
        let mut is_cut = false;
        for range in scan.partitions() {
            let mut left = limit;
            for unit in scan.units(range.partition) {
                if left == 0 {
                    is_cut = true;
                    break;
                }
                let chunk = scan.load(unit, unit.start, unit.end)?;
                left = left.saturating_sub(chunk.len() as u64);
                take(&chunk);
            }
        }
        return Ok(is_cut);
    }
    let codec = codec(source)?;
    raw(subject, limit, &mut |records| {
        take(&codec.decode(records));
        Ok(())
    })
}

/// Gives records as they are, those of a partition in offset order; returns whether there are more than the limit.
fn raw(subject: &Subject, limit: u64, take: &mut dyn FnMut(&RawRecords) -> Result<()>) -> Result<bool> {
    match subject {
        Subject::Journal(path) => {
            let scan = JournalScan::open(path, &source(subject, &[], "_timestamp"))?;
            let mut is_cut = false;
            for range in scan.partitions() {
                let mut left = limit;
                for unit in scan.units(range.partition) {
                    let records = scan.raw(unit, unit.start, unit.end)?;
                    let (records, more) = first(records, left);
                    is_cut |= more;
                    left -= records.offsets.len() as u64;
                    take(&records)?;
                }
            }
            Ok(is_cut)
        }
        Subject::Topic(binding) => topic(binding, limit, take),
        Subject::JsonLines(path) => file(path, append::Input::JsonLines, limit, take),
        Subject::Csv(path) => file(path, append::Input::Csv, limit, take),
        Subject::Lake(_) => unreachable!("Parquet files are decoded as they are"),
    }
}

/// Returns the first records, and whether some were left out.
fn first(records: RawRecords, limit: u64) -> (RawRecords, bool) {
    if records.offsets.len() as u64 <= limit {
        return (records, false);
    }
    let end = records.offsets[limit as usize];
    let start = records.offsets[0];
    (clip(&records, start, end), true)
}

/// Gives the records of a file: one partition, offsets from 0.
fn file(
    path: &Path,
    input: append::Input,
    limit: u64,
    take: &mut dyn FnMut(&RawRecords) -> Result<()>,
) -> Result<bool> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| Error::io(format!("cannot read `{name}`"), error))?;
    let (mut builder, mut next, mut is_cut) = (RawBuilder::new(0), 0, false);
    append::values(&name, &mut std::io::BufReader::new(file), input, &[], &mut |_, value, _| {
        if next as u64 >= limit {
            is_cut = true;
            return Ok(());
        }
        builder.push(next, 0, None, Some(value), Vec::new());
        next += 1;
        if builder.len() >= 16_384 {
            take(&std::mem::replace(&mut builder, RawBuilder::new(0)).finish())?;
        }
        Ok(())
    })?;
    take(&builder.finish())?;
    Ok(is_cut)
}

/// How long a topic may say nothing before it is taken for unreachable.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives the records of a topic up to where it ends now.
fn topic(binding: &KafkaBinding, limit: u64, take: &mut dyn FnMut(&RawRecords) -> Result<()>) -> Result<bool> {
    let mut stream = KafkaStream::open(binding, None, false)?;
    let partitions = stream.partitions().to_vec();
    let (starts, ends) = (stream.starts()?, stream.ends()?);
    stream.seek(&starts)?;
    let mut left = vec![limit; partitions.len()];
    let mut is_open: Vec<bool> = starts.iter().zip(&ends).map(|(start, end)| start < end).collect();
    let (mut is_cut, mut heard) = (false, std::time::Instant::now());
    while is_open.contains(&true) {
        let polled = stream.poll(Duration::from_millis(200), 16_384)?;
        if polled.is_empty() && heard.elapsed() > PATIENCE {
            return Err(Error::new(Code::Broker, format!("topic `{}` gives no records", binding.topic)));
        }
        for polled in polled {
            heard = std::time::Instant::now();
            let place = |partition| partitions.iter().position(|known| *known == partition);
            match polled {
                Polled::Records(records) => {
                    let place = place(records.partition).expect("a stream gives its own partitions only");
                    let (from, to) = (starts[place], ends[place]);
                    let reached = records.offsets.last().is_some_and(|last| last + 1 >= to);
                    let (records, more) = first(clip(&records, from, to), left[place]);
                    is_cut |= more;
                    left[place] -= records.offsets.len() as u64;
                    if is_open[place] {
                        take(&records)?;
                    }
                    if reached || left[place] == 0 {
                        is_cut |= !reached;
                        is_open[place] = false;
                    }
                }
                Polled::Reached(partition, offset) => {
                    let place = place(partition).expect("a stream gives its own partitions only");
                    is_open[place] &= offset < ends[place];
                }
            }
        }
    }
    Ok(is_cut)
}
