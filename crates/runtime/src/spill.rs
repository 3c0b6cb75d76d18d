//! A budget of memory: what a run may hold, and windows that leave the state for a while so that it stays within it.
//!
//! ```text
//! state ──── over its share ────► pieces of cold windows, in files of a scratch folder
//!   ▲                                            │
//!   └──── merged back before they close ◄────────┘
//! ```
//!
//! Which windows leave, and when, changes no result (see the engine's `spill`). Before a closing that needs pieces, it is
//! cut into several: the frontier moves on window by window, so that what is brought back fits. A checkpoint holds pieces as
//! parts of their own. Scratch files serve this process only: nothing reads them after it, and a start removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use connectors::{disk, store};
use engine::watermark::is_final;
use engine::window::Window;
use engine::{Closed, Closing, Code, Engine, Error, Part, PartName, Result, State};

use crate::checkpoint::blob;

/// What a run may hold in memory.
#[derive(Clone, Debug)]
pub struct Budget {
    /// All that the run is told to stay within, as its user said it.
    pub bytes: u64,
    /// Windows leave the state when it takes more than this.
    pub spill_above: usize,
    /// The run stops when the state, or a window that must be whole, takes more than this.
    pub stop_above: usize,
    /// Where scratch files go; None: pieces stay in memory, which is for tests.
    pub scratch: Option<PathBuf>,
}

impl Budget {
    /// Shares out a budget. The state gets a quarter: while a checkpoint is made, or a window closes, what it takes is
    /// there twice, and what is freed is not given back at once. A quarter is for what is on its way in.
    pub fn of(bytes: u64, scratch: PathBuf) -> Self {
        let bytes_here = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { bytes, spill_above: bytes_here / 4, stop_above: bytes_here / 2, scratch: Some(scratch) }
    }

    /// Returns how many bytes may be on their way in: read from the log, and not yet in the state.
    pub fn in_flight(&self) -> u64 {
        self.bytes / 4
    }
}

/// How much left the state for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillCounts {
    /// Pieces that left it.
    pub pieces: u64,
    /// Pieces that were merged back.
    pub merged: u64,
    /// Bytes that were written for them.
    pub bytes: u64,
}

impl std::ops::AddAssign for SpillCounts {
    fn add_assign(&mut self, other: Self) {
        self.pieces += other.pieces;
        self.merged += other.merged;
        self.bytes += other.bytes;
    }
}

/// A part of a window that lies outside of the state.
#[derive(Clone)]
pub struct Piece {
    /// What it is of.
    pub name: PartName,
    /// Whether the last checkpoint has it.
    pub(crate) is_kept: bool,
    window: Window,
    step: usize,
    /// About how many bytes it takes in the state.
    bytes: usize,
    groups: usize,
    file: Arc<Scratch>,
    tables: Vec<Place>,
}

/// Where a packed table is in a scratch file.
#[derive(Clone)]
struct Place {
    offset: u64,
    size: u64,
    rows: u64,
    sha256: String,
}

/// A scratch file, which is gone when no piece of it is left.
#[derive(Debug)]
enum Scratch {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Scratch {
    fn read(&self, place: &Place) -> Result<Vec<u8>> {
        match self {
            Self::Memory(bytes) => Ok(bytes[place.offset as usize..(place.offset + place.size) as usize].to_vec()),
            Self::File(path) => {
                let read = || {
                    let mut file = fs::File::open(path)?;
                    file.seek(SeekFrom::Start(place.offset))?;
                    let mut bytes = Vec::new();
                    file.take(place.size).read_to_end(&mut bytes)?;
                    Ok(bytes)
                };
                read().map_err(|error| Error::io(format!("spilled state {}", path.display()), error))
            }
        }
    }

    fn damaged(&self) -> Error {
        let place = match self {
            Self::Memory(_) => "memory".to_string(),
            Self::File(path) => path.display().to_string(),
        };
        Error::new(Code::Corrupt, format!("spilled state in {place} is not what was written there"))
            .help("another process or the disk has changed it; run again: nothing that counts was changed")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Self::File(path) = self {
            // The folder is removed at the end of the run, and at the start of the next.
            let _ = disk::remove(path);
        }
    }
}

impl Piece {
    /// Returns whether its window closes when the steps are complete up to there.
    fn closes(&self, complete: &[i64]) -> bool {
        is_final(self.window.end, 0, complete[self.step])
    }

    /// Returns its tables as they are packed, with the rows of each.
    pub(crate) fn packed(&self) -> impl Iterator<Item = Result<(Vec<u8>, u64)>> + '_ {
        self.tables.iter().map(|place| {
            let bytes = self.file.read(place)?;
            match blob::sha256(&bytes) == place.sha256 {
                true => Ok((bytes, place.rows)),
                false => Err(self.file.damaged()),
            }
        })
    }

    fn tables(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.packed()
            .map(|packed| packed.and_then(|(bytes, _)| blob::decode(&bytes).ok_or_else(|| self.file.damaged())))
    }
}

/// Writes one scratch file.
enum Writer {
    File(PathBuf, disk::File, u64),
    Memory(Vec<u8>),
}

impl Writer {
    fn begin(folder: Option<&Path>, number: u64) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self::Memory(Vec::new())) };
        let path = folder.join(format!("{number}.pieces"));
        store::create_folder(folder)?;
        let file = disk::File::create(&path);
        let file = file.map_err(|error| Error::io(format!("spilled state {}", path.display()), error))?;
        Ok(Self::File(path, file, 0))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Place> {
        let bytes = blob::encode(rows);
        let offset = match self {
            Self::Memory(all) => {
                all.extend_from_slice(&bytes);
                (all.len() - bytes.len()) as u64
            }
            Self::File(path, file, size) => {
                let written = file.write_all(&bytes);
                written.map_err(|error| Error::io(format!("spilled state {}", path.display()), error))?;
                *size += bytes.len() as u64;
                *size - bytes.len() as u64
            }
        };
        let (size, rows) = (bytes.len() as u64, rows.num_rows() as u64);
        Ok(Place { offset, size, rows, sha256: blob::sha256(&bytes) })
    }

    fn finish(self) -> Scratch {
        match self {
            Self::File(path, ..) => Scratch::File(path),
            Self::Memory(bytes) => Scratch::Memory(bytes),
        }
    }
}

/// The pieces of a run's state that lie outside of it.
#[derive(Default)]
pub struct Spill {
    budget: Option<Budget>,
    pieces: Vec<Piece>,
    /// The number of the next piece, and of the next file.
    next: u64,
    pub(crate) counts: SpillCounts,
    /// When the state was measured last, and how long that took.
    measured: Option<(Instant, Duration)>,
}

impl Spill {
    /// Makes it for a run that has spilled nothing.
    pub fn new(budget: Option<&Budget>) -> Self {
        Self { budget: budget.cloned(), ..Self::default() }
    }

    /// Returns how many windows are open of which the state has nothing.
    pub(crate) fn windows_outside(&self, state: &State) -> usize {
        let windows: BTreeSet<(usize, Window)> = self.pieces.iter().map(|piece| (piece.step, piece.window)).collect();
        windows.into_iter().filter(|(step, at)| !state.has_window(*step, *at)).count()
    }

    /// Returns how many groups or ids the pieces of a step have.
    pub(crate) fn keys_of(&self, step: &str) -> usize {
        self.pieces.iter().filter(|piece| piece.name.step == step).map(|piece| piece.groups).sum()
    }

    /// Returns the pieces as a checkpoint keeps them; they count as kept from now on.
    pub(crate) fn keep(&mut self) -> Vec<Piece> {
        let pieces = self.pieces.clone();
        self.pieces.iter_mut().for_each(|piece| piece.is_kept = true);
        pieces
    }

    /// Lets windows leave the state if it takes more than its share, unless it was looked at just now. What does not fit and
    /// cannot leave is an error.
    pub(crate) fn relieve(&mut self, engine: &Engine, state: &mut State) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        // Measuring walks over all tables: where that takes long, it may take a twentieth of the time.
        let is_new = |(at, took): (Instant, Duration)| took > Duration::from_micros(100) && at.elapsed() < took * 20;
        if self.measured.is_some_and(is_new) {
            return Ok(());
        }
        let begun = Instant::now();
        let (bytes, above) = (state.size_bytes(), budget.spill_above);
        self.measured = Some((begun, begun.elapsed()));
        if bytes > above { self.make_room(engine, state, above / 2) } else { Ok(()) }
    }

    /// Lets windows leave the state before it is copied as a whole.
    pub(crate) fn make_small(&mut self, engine: &Engine, state: &mut State) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let target = budget.spill_above / 4;
        self.make_room(engine, state, target)
    }

    /// Lets windows leave the state until it takes no more than `target` bytes, if they can.
    fn make_room(&mut self, engine: &Engine, state: &mut State, target: usize) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        if state.size_bytes() <= target {
            return Ok(());
        }
        let mut writer = None;
        let mut fresh = Vec::new();
        engine.spill(state, target, |spilled| {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(Writer::begin(budget.scratch.as_deref(), self.next)?),
            };
            let tables = spilled.tables.map(|rows| writer.write(&rows)).collect::<Result<Vec<Place>>>()?;
            self.counts.pieces += 1;
            self.counts.bytes += tables.iter().map(|place| place.size).sum::<u64>();
            let window = spilled.name.window.expect("what leaves is of a window");
            let name = PartName { piece: Some(self.next), ..spilled.name };
            self.next += 1;
            fresh.push((name, window, spilled.step, spilled.bytes, spilled.groups, tables));
            Ok(())
        })?;
        if let Some(writer) = writer {
            let file = Arc::new(writer.finish());
            self.pieces.extend(fresh.into_iter().map(|(name, window, step, bytes, groups, tables)| {
                let file = file.clone();
                Piece { name, is_kept: false, window, step, bytes, groups, file, tables }
            }));
        }
        let left = state.size_bytes();
        if left > budget.stop_above { Err(too_much(engine, state, left, budget)) } else { Ok(()) }
    }

    /// Takes in a part of a checkpoint, table by table. `damaged` makes the error of one that does not fit.
    pub(crate) fn restore(
        &mut self,
        engine: &Engine,
        state: &mut State,
        name: PartName,
        tables: impl Iterator<Item = Result<RecordBatch>>,
        damaged: impl Fn(Error) -> Error,
    ) -> Result<()> {
        let part = |tables: Vec<RecordBatch>| Part { name: name.clone(), tables: Some(tables) };
        engine.take_back(state, &part(Vec::new())).map_err(&damaged)?;
        let before = self.counts.pieces;
        for rows in tables {
            engine.take_back(state, &part(vec![rows?])).map_err(&damaged)?;
            self.measured = None;
            self.relieve(engine, state)?;
        }
        if self.counts.pieces > before {
            // A table may have left when only a part of it was there: it is none of the checkpoint's parts.
            engine.mark_changed(state);
        }
        Ok(())
    }

    /// Closes what is final, window by window where pieces must be merged back. `take` gets what each closing brought.
    pub(crate) fn close(
        &mut self,
        engine: &Engine,
        closing: Closing<'_>,
        frontiers: &[i64],
        state: &mut State,
        mut take: impl FnMut(Closed) -> Result<()>,
    ) -> Result<()> {
        while let Some(at) = self.next_closing(engine, Some(frontiers)) {
            let until: Vec<i64> = frontiers.iter().map(|frontier| (*frontier).min(at)).collect();
            if self.bring_back(engine, state, &until)? == 0 {
                // At the ends of time differences do not add up: then there is one step only.
                self.bring_back(engine, state, frontiers)?;
                break;
            }
            take(engine.close_by(closing, &until, state)?)?;
            self.relieve(engine, state)?;
        }
        take(engine.close_by(closing, frontiers, state)?)
    }

    /// Returns the least frontier at which a window with pieces closes; with `frontiers`, of those that close there.
    fn next_closing(&self, engine: &Engine, frontiers: Option<&[i64]>) -> Option<i64> {
        if self.pieces.is_empty() {
            return None;
        }
        let complete = frontiers.map(|frontiers| engine.complete(frontiers));
        // How far a step is behind the frontier of its sources does not depend on where that is.
        let behind = engine.complete(&vec![0; engine.plan().sources.len()]);
        let pieces = self.pieces.iter().filter(|piece| complete.as_ref().is_none_or(|complete| piece.closes(complete)));
        pieces.map(|piece| piece.window.end.saturating_sub(behind[piece.step])).min()
    }

    /// Closes everything as if the log ended here. `frontiers` are those of the last closing. The state is used up; the
    /// pieces are not.
    pub(crate) fn finish(
        &self,
        engine: &Engine,
        closing: Closing<'_>,
        frontiers: &[i64],
        mut state: State,
        mut take: impl FnMut(Closed) -> Result<()>,
    ) -> Result<SpillCounts> {
        let mut rest =
            Self { pieces: self.pieces.clone(), budget: self.budget.clone(), next: self.next, ..Self::default() };
        while let Some(at) = rest.next_closing(engine, None) {
            let until: Vec<i64> = frontiers.iter().map(|frontier| (*frontier).max(at)).collect();
            if rest.bring_back(engine, &mut state, &until)? == 0 {
                rest.bring_back(engine, &mut state, &vec![i64::MAX; frontiers.len()])?;
                break;
            }
            take(engine.finish_until(closing, &until, &mut state)?)?;
            rest.measured = None;
            rest.relieve(engine, &mut state)?;
        }
        take(engine.finish_by(closing, state)?)?;
        Ok(rest.counts)
    }

    /// Merges back the pieces of windows that close when the frontiers stand there, and returns how many these are; others
    /// make room for them.
    fn bring_back(&mut self, engine: &Engine, state: &mut State, frontiers: &[i64]) -> Result<usize> {
        let complete = engine.complete(frontiers);
        // As much as if no key were in two of them.
        let bytes: usize = self.pieces.iter().filter(|piece| piece.closes(&complete)).map(|piece| piece.bytes).sum();
        let above = self.budget.as_ref().map_or(usize::MAX, |budget| budget.spill_above);
        self.make_room(engine, state, above.saturating_sub(bytes))?;
        let all = std::mem::take(&mut self.pieces).into_iter();
        let (needed, rest): (Vec<Piece>, Vec<Piece>) = all.partition(|piece| piece.closes(&complete));
        self.pieces = rest;
        for piece in &needed {
            for rows in piece.tables() {
                let part = Part { name: piece.name.clone(), tables: Some(vec![rows?]) };
                engine.take_back(state, &part)?;
                if let Some(budget) = &self.budget
                    && state.size_bytes() > budget.stop_above
                {
                    return Err(window_too_large(&needed, state.size_bytes(), budget));
                }
            }
            self.counts.merged += 1;
        }
        Ok(needed.len())
    }
}

const WAYS_OUT: &str = "give it more with `--memory`: a stream goes on from its last checkpoint, to the same result";

/// Returns the error of a state that holds more than it may, of which nothing more can leave.
fn too_much(engine: &Engine, state: &State, bytes: usize, budget: &Budget) -> Error {
    let holdings = engine.holdings(state);
    let stays: Vec<String> = holdings
        .iter()
        .filter(|holding| holding.bytes > 0)
        .take(3)
        .map(|holding| {
            let count = holding.count.map_or(String::new(), |count| format!("{count} "));
            format!("step `{}`: {count}{}, {}", holding.step, holding.what, mebibytes(holding.bytes))
        })
        .collect();
    let message = format!(
        "the state takes {} that cannot be spilled, more than the {} that `--memory` leaves it ({})",
        mebibytes(bytes),
        mebibytes(budget.stop_above),
        stays.join("; ")
    );
    Error::new(Code::Memory, message).help(format!(
        "{WAYS_OUT}; or let less be open: a shorter `gap`, `within` or `max_age`, less `allowed_lateness` or `out_of_orderness`"
    ))
}

/// Returns the error of windows that close at one moment and do not fit.
fn window_too_large(pieces: &[Piece], bytes: usize, budget: &Budget) -> Error {
    let mut windows: BTreeMap<(&str, Window), usize> = BTreeMap::new();
    for piece in pieces {
        *windows.entry((&piece.name.step, piece.window)).or_default() += piece.groups;
    }
    let ((step, window), groups) = windows.iter().max_by_key(|(_, groups)| **groups).expect("some piece does not fit");
    let message = format!(
        "step `{step}`: the window {} .. {} must be whole when it closes; with up to {groups} keys the state takes {}, \
         more than the {} that `--memory` leaves it",
        crate::time::rfc3339(window.start),
        crate::time::rfc3339(window.end),
        mebibytes(bytes),
        mebibytes(budget.stop_above),
    );
    Error::new(Code::Memory, message).help(format!("{WAYS_OUT}; or use smaller windows, fewer or shorter keys"))
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// A scratch folder, empty at first and gone at the end.
pub(crate) struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// Takes a folder of that name, and removes what an earlier process left there.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        match disk::remove_folder(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("cannot clear {}", path.display()), error))
            }
            _ => Ok(Self(path)),
        }
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        let _ = disk::remove_folder(&self.0);
    }
}
