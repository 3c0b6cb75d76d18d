//! Reading a lake: which units it has, and the records of each.

use std::collections::HashSet;
use std::sync::Mutex;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::datatypes as ty;
use arrow::datatypes::{DataType as ArrowType, TimeUnit};
use engine::edge::{LogFile, LogScan, PartitionRange, Stored, Unit};
use engine::error::{Code, Error, Result};
use engine::log::{Chunk, Offset, Partition};
use engine::plan::{ColumnPlan, Layout, SourcePlan};
use engine::value::DataType;

use super::file::{Known, LakeFile, Stretch};
use super::listing::{self, Listed};
use super::load::clip_chunk;
use super::{column, name};
use crate::format::{Codec, codec, scalar};

/// A row group of more rows than this is read in several units.
const UNIT_ROWS: usize = 1 << 19;

/// The event-time "column" that is the log's own time.
pub(super) const TIMESTAMP_COLUMN: &str = name::TIMESTAMP;

/// A lake as it stood when it was opened.
pub struct LakeScan {
    pub(super) source: SourcePlan,
    pub(super) layout: Layout,
    pub(super) codec: Box<dyn Codec>,
    pub(super) files: Vec<Entry>,
    ranges: Vec<PartitionRange>,
    maxima: Vec<Option<i64>>,
    units: Vec<Vec<Unit>>,
    pub(super) places: Vec<Place>,
    /// File and row group of what was announced.
    announced: Mutex<HashSet<(usize, usize)>>,
}

/// A file and what is read of it.
pub(super) struct Entry {
    pub(super) file: LakeFile,
    pub(super) first: Offset,
    next: Offset,
    pub(super) mode: Mode,
}

/// How a file's records are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its columns are what our decoder makes of them now.
    Ours,
    /// Somebody else's columns, or of another schema: every rule is applied to them.
    Foreign,
    /// Of another schema or decoder, but with all values kept: they are decoded again.
    Again,
}

/// Where a unit's rows are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) stretch: Stretch,
}

impl std::fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeScan").field("source", &self.source.name).field("ranges", &self.ranges).finish()
    }
}

impl LakeScan {
    /// Opens the lake of a source: reads the footer of every file. Files that come later are not seen.
    pub fn open(source: &SourcePlan) -> Result<Self> {
        let binding = source
            .bindings
            .lake
            .as_ref()
            .ok_or_else(|| Error::new(Code::Binding, format!("source `{}` has no `lake:` to read", source.name)))?;
        if binding.layout == Layout::Connect && (source.needs_timestamp() || source.event_time == TIMESTAMP_COLUMN) {
            let message = format!("source `{}`: layout `connect` has no `_timestamp`", source.name);
            return Err(Error::new(Code::GuardNeedsTimestamp, message)
                .help("Leave out `max_future` and `_timestamp`, or archive the topic with `samestream archive`"));
        }
        let mut scan = Self {
            source: source.clone(),
            layout: binding.layout,
            codec: codec(source)?,
            files: Vec::new(),
            ranges: Vec::new(),
            maxima: Vec::new(),
            units: Vec::new(),
            places: Vec::new(),
            announced: Mutex::default(),
        };
        let listed = wanted(listing::list(binding)?, source, &binding.path)?;
        for partition in &listed {
            scan.index(partition)?;
        }
        scan.require_no_lost_partition(&listed, &binding.path)?;
        scan.require_columns()?;
        Ok(scan)
    }

    /// Returns the largest event time (µs) of a partition's valid records up to its end, where its last footer knows it.
    pub fn max_event_time(&self, partition: Partition) -> Option<i64> {
        self.number(partition).and_then(|i| self.maxima[i])
    }

    /// Returns true when the lake holds the log's own time of its records.
    pub fn has_timestamps(&self) -> bool {
        self.files.iter().all(|entry| self.is_timed(entry))
    }

    pub(super) fn is_timed(&self, entry: &Entry) -> bool {
        let stored = entry.file.stored(name::TIMESTAMP);
        self.layout != Layout::Connect && matches!(stored, Some(ArrowType::Timestamp(..)))
    }

    fn number(&self, partition: Partition) -> Option<usize> {
        self.ranges.iter().position(|range| range.partition == partition)
    }

    /// Opens a partition's files and notes their units.
    fn index(&mut self, listed: &Listed) -> Result<()> {
        let before = self.files.len();
        for (first, path) in &listed.files {
            let mut file = LakeFile::open(path.clone())?;
            if self.layout != Layout::Log {
                file.footer = None;
            }
            let mode = self.mode(&file)?;
            self.check_types(&file, mode)?;
            self.files.push(Entry { file, first: *first, next: *first, mode });
        }
        self.units.push(Vec::new());
        for number in before..self.files.len() {
            let end = self.index_file(listed.partition, number)?;
            let following = self.files.get(number + 1).map(|entry| entry.first);
            // Elsewhere offsets follow from row numbers, so a file ends after its last row and nowhere else.
            let is_log = self.layout == Layout::Log;
            let entry = &mut self.files[number];
            entry.next = range_end(entry, end, following, is_log)?;
        }
        let range = PartitionRange {
            partition: listed.partition,
            start: self.files.get(before).map_or(0, |entry| entry.first),
            end: self.files[before..].last().map_or(0, |entry| entry.next),
        };
        let last = self.files[before..].last().and_then(|entry| entry.file.footer.as_ref());
        self.maxima
            .push(last.filter(|footer| footer.has_maximum_for(&self.source)).and_then(|footer| footer.max_event_time));
        self.ranges.push(range);
        Ok(())
    }

    /// Decides how a file is read.
    fn mode(&self, file: &LakeFile) -> Result<Mode> {
        let Some(footer) = &file.footer else { return Ok(Mode::Foreign) };
        if footer.is_decoded_for(&self.source) {
            return Ok(Mode::Ours);
        }
        let needs_headers =
            self.source.columns.iter().any(|column| matches!(column.from, engine::plan::ValueFrom::Header(_)));
        if footer.has_all_raw && !needs_headers {
            return Ok(Mode::Again);
        }
        let message = format!("`{}` was written for another schema or by another decoder", file.path.display());
        Err(Error::new(Code::Schema, message).help(format!(
            "Archive the log again, with `--raw` to be able to change the schema later; the file has {} (decoder {})",
            footer.schema, footer.decoder
        )))
    }

    /// Refuses a file whose columns are not of the schema's types.
    fn check_types(&self, file: &LakeFile, mode: Mode) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::new(Code::Schema, format!("`{}`: {what}", file.path.display()))
                .help("Change the schema's type, or write the file with it"))
        };
        let require = |name: &str, is_fit: fn(&ArrowType) -> bool| match file.stored(name) {
            Some(stored) if is_fit(stored) => Ok(()),
            Some(stored) => refuse(format!("column `{name}` is {stored}")),
            None if name == name::OFFSET => {
                Err(Error::new(Code::NoOffsets, format!("`{}` has no column `_offset`", file.path.display()))
                    .help("A lake of layout `log` holds the offset of every record; other files have `layout: files`"))
            }
            None => refuse(format!("it has no column `{name}`")),
        };
        let is_time = |stored: &ArrowType| matches!(stored, ArrowType::Timestamp(..));
        if self.layout == Layout::Log {
            require(name::OFFSET, |stored| *stored == ArrowType::Int64)?;
        }
        if self.needs_timestamp() {
            match file.stored(name::TIMESTAMP) {
                None if self.layout == Layout::Files => {
                    let message = format!("`{}` has no column `_timestamp`", file.path.display());
                    return Err(Error::new(Code::GuardNeedsTimestamp, message)
                        .help("Leave out `max_future` and `_timestamp`: these files do not hold the log's own time"));
                }
                _ => require(name::TIMESTAMP, is_time)?,
            }
        }
        if mode != Mode::Foreign {
            require(name::KEY, |stored| *stored == ArrowType::Binary)?;
            require(name::BAD, |stored| *stored == ArrowType::Utf8)?;
            require(name::RAW, |stored| *stored == ArrowType::Binary)?;
            require(name::TIMESTAMP, is_time)?;
        }
        if mode == Mode::Again {
            return Ok(());
        }
        for column in &self.source.columns {
            match file.stored(&column.field.name) {
                Some(stored) if column::fits(stored, column.field.data_type) => {}
                Some(stored) => return refuse(column::mismatch(column, stored)),
                // A file from before the column was added: it is null there.
                None if column.field.nullable => {}
                None => return refuse(format!("it has no column `{}`, which is not null", column.field.name)),
            }
        }
        Ok(())
    }

    /// Refuses a partition's folder without a file in a lake of ours: our writer leaves one in every folder, if only to say
    /// that there are no records, so that the files were lost.
    fn require_no_lost_partition(&self, listed: &[Listed], path: &str) -> Result<()> {
        let Some(lost) = listed.iter().find(|listed| listed.files.is_empty()) else { return Ok(()) };
        if self.files.iter().all(|entry| entry.file.footer.is_none()) {
            return Ok(());
        }
        let message = format!("the lake `{path}` has no file of partition {}, not even an empty one", lost.partition);
        Err(Error::new(Code::LakeGap, message)
            .help("its files are missing; put them back, or archive the log into an empty folder"))
    }

    /// Refuses a schema column that no file has: that is a slip of the pen, not a column that is always null.
    fn require_columns(&self) -> Result<()> {
        for column in &self.source.columns {
            let field = &column.field;
            let has = |entry: &Entry| entry.mode == Mode::Again || entry.file.stored(&field.name).is_some();
            if !self.files.is_empty() && !self.files.iter().any(has) {
                let path = &self.source.bindings.lake.as_ref().map(|lake| lake.path.as_str()).unwrap_or_default();
                let message = format!("no file of the lake `{path}` has the column `{}`", field.name);
                return Err(Error::new(Code::Schema, message).help("A lake's columns are found by their names"));
            }
        }
        Ok(())
    }

    pub(super) fn needs_timestamp(&self) -> bool {
        self.source.needs_timestamp() || self.source.event_time == TIMESTAMP_COLUMN
    }

    /// Notes the units of a file and returns the offset past its last record, if it has one.
    fn index_file(&mut self, partition: Partition, number: usize) -> Result<Option<Offset>> {
        let groups: Vec<usize> = self.files[number].file.groups().collect();
        let mut row = 0;
        let mut end = None;
        for (group, rows) in groups.into_iter().enumerate() {
            let pieces = rows.div_ceil(UNIT_ROWS);
            for piece in 0..pieces {
                let (skip, to) = (piece * rows / pieces, (piece + 1) * rows / pieces);
                let stretch = Stretch { group, skip, rows: to - skip };
                let (start, after) = self.offsets_of(number, stretch, row + skip)?;
                let entry = &self.files[number];
                if start < end.unwrap_or(entry.first) {
                    let least = end.unwrap_or(entry.first);
                    let path = entry.file.path.display();
                    let message = format!("`{path}` holds offset {start} where offsets from {least} on belong");
                    return Err(Error::new(Code::LakeDiverges, message)
                        .help("Offsets grow from row to row, beginning with the file's name"));
                }
                end = Some(after);
                let times = self.event_times(entry, stretch, pieces == 1);
                let unit = Unit {
                    partition,
                    id: self.places.len(),
                    start,
                    end: after,
                    rows: stretch.rows,
                    max_event_time: times.map(|(_, largest)| largest),
                    min_event_time: times.map(|(least, _)| least),
                };
                self.places.push(Place { file: number, stretch });
                self.units.last_mut().expect("the partition has a list").push(unit);
            }
            row += rows;
        }
        Ok(end)
    }

    /// Returns the first offset of a stretch and the one past its last, `row` being its first row in the file.
    fn offsets_of(&self, number: usize, stretch: Stretch, row: usize) -> Result<(Offset, Offset)> {
        let entry = &self.files[number];
        if self.layout != Layout::Log {
            let first = entry.first.checked_add(row as i64);
            let range = first.and_then(|first| Some((first, first.checked_add(stretch.rows as i64)?)));
            return range.ok_or_else(|| {
                Error::new(Code::Corrupt, format!("`{}`: offsets overflow", entry.file.path.display()))
            });
        }
        let all = entry.file.group_rows(stretch.group);
        if let Some((least, largest)) = entry.file.known(stretch.group, name::OFFSET).range
            && least >= 0
            && largest < i64::MAX
        {
            if stretch.rows == all {
                return Ok((least, largest + 1));
            }
            if largest - least == all as i64 - 1 {
                let first = least + stretch.skip as i64;
                return Ok((first, first + stretch.rows as i64));
            }
        }
        let batch = entry.file.read(stretch, &[name::OFFSET])?;
        let offsets = offsets_in(entry, &batch)?;
        let (first, last) = (offsets.value(0), offsets.value(offsets.len() - 1));
        Ok((first, last.checked_add(1).unwrap_or(last)))
    }

    /// Returns the least and the largest event time of the valid records of a row group where its statistics prove them,
    /// for any reader of the whole group.
    fn event_times(&self, entry: &Entry, stretch: Stretch, is_whole: bool) -> Option<(i64, i64)> {
        if !is_whole || entry.mode == Mode::Again {
            return None;
        }
        let known = |name: &str| entry.file.known(stretch.group, name);
        let bad = self.marked_bad(entry, stretch.group)?;
        if self.source.columns.iter().any(|column| self.may_add_bad(entry, stretch.group, column)) {
            return None;
        }
        if known(&self.source.event_time).nulls != Some(bad) {
            return None;
        }
        let (least, largest) = self.times(entry, &self.source.event_time, known(&self.source.event_time))?;
        // The log's own time counts in whole milliseconds, whatever it is stored in.
        let is_log_time = self.source.event_time == TIMESTAMP_COLUMN;
        let counted = |time: i64| if is_log_time { time.div_euclid(1_000) * 1_000 } else { time };
        let (least, largest) = (counted(least), counted(largest));
        let is_in_time = match self.source.max_future {
            None => true,
            Some(guard) => {
                let (first, _) = self.times(entry, name::TIMESTAMP, known(name::TIMESTAMP))?;
                // The guard is judged on whole milliseconds of the log's time.
                largest <= first.div_euclid(1_000).checked_mul(1_000)?.checked_add(guard)?
            }
        };
        is_in_time.then_some((least, largest))
    }

    /// Returns how many records of a row group are marked as bad, if the statistics know.
    pub(super) fn marked_bad(&self, entry: &Entry, group: usize) -> Option<u64> {
        if self.layout != Layout::Log || entry.file.stored(name::BAD).is_none() {
            return Some(0);
        }
        let rows = entry.file.group_rows(group) as u64;
        rows.checked_sub(entry.file.known(group, name::BAD).nulls?)
    }

    /// Returns true when statistics do not rule out that a column makes some record of a row group bad that is not marked
    /// as such. Our writer leaves the columns of a marked record null, so a column that is never null otherwise has as many
    /// nulls as there are marks.
    pub(super) fn may_add_bad(&self, entry: &Entry, group: usize, column: &ColumnPlan) -> bool {
        let nulls = || entry.file.known(group, &column.field.name).nulls;
        let is_marked = |marked: u64| entry.mode == Mode::Ours && !column.field.nullable && nulls() == Some(marked);
        !self.marked_bad(entry, group).is_some_and(is_marked) && self.may_be_bad(entry, group, column)
    }

    /// Returns the range of a time column in microseconds, if it is known and in range.
    fn times(&self, entry: &Entry, name: &str, known: Known) -> Option<(i64, i64)> {
        let Some(ArrowType::Timestamp(unit, _)) = entry.file.stored(name) else { return None };
        let micros = |value: i64| match unit {
            TimeUnit::Second => value.checked_mul(1_000_000),
            TimeUnit::Millisecond => value.checked_mul(1_000),
            TimeUnit::Microsecond => Some(value),
            TimeUnit::Nanosecond => Some(value.div_euclid(1_000)),
        };
        let (least, largest) = known.range?;
        Some((scalar::in_range(micros(least)).ok()?, scalar::in_range(micros(largest)).ok()?))
    }

    /// Returns true when statistics do not rule out that a column makes some record of a row group bad.
    fn may_be_bad(&self, entry: &Entry, group: usize, column: &ColumnPlan) -> bool {
        let known = entry.file.known(group, &column.field.name);
        if !column.field.nullable
            && (known.nulls != Some(0) || entry.mode == Mode::Foreign && !column.null_as.is_empty())
        {
            return true;
        }
        if entry.mode == Mode::Ours || entry.file.stored(&column.field.name).is_none() {
            return false;
        }
        let is_all_null = known.nulls.is_some_and(|nulls| nulls as usize == entry.file.group_rows(group));
        match column.field.data_type {
            DataType::Timestamp => !is_all_null && self.times(entry, &column.field.name, known).is_none(),
            DataType::Date => {
                let is_inside = |(least, largest): (i64, i64)| {
                    least >= scalar::DATE_MIN.into() && largest <= scalar::DATE_MAX.into()
                };
                !is_all_null && !known.range.is_some_and(is_inside)
            }
            DataType::List(_) | DataType::Struct(_) | DataType::Json => !is_all_null,
            _ => false,
        }
    }
}

impl LogScan for LakeScan {
    fn partitions(&self) -> &[PartitionRange] {
        &self.ranges
    }

    fn units(&self, partition: Partition) -> &[Unit] {
        self.number(partition).map_or(&[], |i| &self.units[i])
    }

    fn stored(&self, unit: &Unit) -> Option<Stored<'_>> {
        let Place { file, stretch } = *self.places.get(unit.id)?;
        let entry = &self.files[file];
        let bytes = entry.file.stored_bytes(stretch, &self.columns_read(entry, stretch.group));
        Some(Stored { file: &entry.file.path, part: stretch.group as u64, bytes })
    }

    fn announce(&self, unit: &Unit) {
        let Some(Place { file, stretch }) = self.places.get(unit.id) else { return };
        let is_new = self.announced.lock().is_ok_and(|mut announced| announced.insert((*file, stretch.group)));
        if is_new {
            let entry = &self.files[*file];
            entry.file.fetch(stretch.group, &self.columns_read(entry, stretch.group));
        }
    }

    fn load(&self, unit: &Unit, start: Offset, end: Offset) -> Result<Chunk> {
        let chunk = self.load_whole(unit)?;
        Ok(if start <= unit.start && unit.end <= end { chunk } else { clip_chunk(chunk, start, end) })
    }

    fn files(&self, partition: Partition) -> Vec<LogFile> {
        let mut files: Vec<(usize, LogFile)> = Vec::new();
        for unit in self.units(partition) {
            let number = self.places[unit.id].file;
            let times = unit.min_event_time.zip(unit.max_event_time);
            match files.last_mut().filter(|(last, _)| *last == number) {
                Some((_, file)) => {
                    let both = file.times.zip(times);
                    file.times = both.map(|((least, largest), (a, b))| (least.min(a), largest.max(b)));
                }
                None => {
                    let Entry { file, first, .. } = &self.files[number];
                    files.push((number, LogFile { start: *first, stamp: file.fingerprint(), times }));
                }
            }
        }
        files.into_iter().map(|(_, file)| file).collect()
    }

    fn caveat(&self) -> Option<String> {
        let files = "each file is read as a partition and its rows as offsets: equality with a topic is not claimed";
        (self.layout == Layout::Files).then(|| format!("source `{}` has layout `files`: {files}", self.source.name))
    }
}

/// Returns the partitions that the source reads.
fn wanted(listed: Vec<Listed>, source: &SourcePlan, path: &str) -> Result<Vec<Listed>> {
    let Some(only) = &source.partitions else { return Ok(listed) };
    if let Some(partition) = only.iter().find(|wanted| listed.iter().all(|listed| listed.partition != **wanted)) {
        return Err(Error::new(Code::NotFound, format!("the lake `{path}` has no partition {partition}"))
            .help(format!("`partitions:` of source `{}` names it", source.name)));
    }
    Ok(listed.into_iter().filter(|listed| only.contains(&listed.partition)).collect())
}

/// Returns where a file's range ends: its records end at `end`, the next file begins at `following`.
fn range_end(entry: &Entry, end: Option<Offset>, following: Option<Offset>, may_end_later: bool) -> Result<Offset> {
    let path = entry.file.path.display();
    let claimed = entry.file.footer.as_ref().map(|footer| footer.next_offset);
    if let Some(footer) = &entry.file.footer
        && footer.first_offset != entry.first
    {
        let message =
            format!("`{path}` begins at offset {} by its footer, not at {}", footer.first_offset, entry.first);
        return Err(Error::new(Code::LakeDiverges, message).help("A file's name is its first offset; was it renamed?"));
    }
    let ours = claimed.or(following.filter(|_| may_end_later)).or(end).unwrap_or(entry.first);
    if end.is_some_and(|end| end > ours) {
        let message = format!("`{path}` holds offsets beyond {ours}, where it should end");
        return Err(
            Error::new(Code::LakeDiverges, message).help("Two files hold the same offsets, or one was replaced")
        );
    }
    match following {
        Some(next) if ours < next => {
            Err(Error::new(Code::LakeGap, format!("`{path}` ends at offset {ours} and the next file begins at {next}"))
                .help("A file between them is missing; put it back, or archive the log into an empty folder"))
        }
        Some(next) if ours > next => Err(Error::new(
            Code::LakeDiverges,
            format!("`{path}` ends at offset {ours} and the next file begins at {next}"),
        )
        .help("Two files hold the same offsets")),
        _ => Ok(ours),
    }
}

pub(super) fn offsets_in(entry: &Entry, batch: &RecordBatch) -> Result<Int64Array> {
    let offsets = batch.column_by_name(name::OFFSET).and_then(|array| array.as_primitive_opt::<ty::Int64Type>());
    match offsets {
        Some(offsets) if offsets.null_count() == 0 => Ok(offsets.clone()),
        _ => Err(Error::new(Code::Corrupt, format!("`{}` has a record without `_offset`", entry.file.path.display()))),
    }
}
