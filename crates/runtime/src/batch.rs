//! The batch driver: the log read to an end, in waves of units that threads fold in parallel.
//!
//! A wave takes units of the partitions that are furthest behind in event time, so that memory follows the open windows
//! and not the length of the log. Before a unit is folded its running maximum at the start must be known: the largest
//! event time of each unit – from the file's statistics where they may be relied on, else from the column – and a prefix
//! scan give it. That is what makes one large partition as parallel as many small ones.
//!
//! Three waves are on their way at once: units of the next one are loaded and folded while the one before is merged and what
//! it makes final is closed and digested, and while what came of the wave before that is encoded and written. So threads
//! have something to do while the last units of a wave are folded. Where memory is bounded, or there is one thread, one thing is done after the other. What
//! the wave after the next reads is announced to its log beforehand.
//!
//! A run over a range does not load units that are known to hold nothing its rows are made of. What it knows of them is
//! enough for the rest: their largest event times move the running maxima, and with them lateness and finality.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use engine::edge::{Hands, LogScan, Unit};
use engine::log::{Chunk, Offset, Partition};
use engine::reach::Reach;
use engine::watermark::NEVER;
use engine::{Closed, Closing, Code, Emission, Engine, Error, Folded, Folding, Memory, Result, State};
use rayon::prelude::*;

use crate::checkpoint::Resumed;
use crate::cut::{Cut, check_partitions};
use crate::driver::{Observer, Outcome, Outlet, Output, PartitionState, Progress, Settings, frontiers, slowest};
use crate::spill::{Budget, Spill};
use crate::summary::Mode;
use crate::tally::{Digested, Digesters, Tally};

/// Runs a plan over bounded logs, one per source in plan order (None: no step or sink reads that source).
pub fn run(
    engine: &Engine,
    scans: &[Option<Arc<dyn LogScan>>],
    (start, end): (Option<&Cut>, Option<&Cut>),
    outlet: &mut dyn Outlet,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let mut batch = Batch::new(engine, scans, start, end, outlet, settings)?;
    let state = batch.read_all(observer)?;
    let Batch { ahead, merged, mut output, threads } = batch;
    let at_end = frontiers(engine.plan(), &merged.partitions);
    output.outlet.settle(&engine.settled(&at_end));
    let closing = Closing { reach: merged.reach.as_deref(), hands: &threads };
    let counts = merged.spill.finish(engine, closing, &at_end, state, |closed| {
        Ready::closed(closed, engine, &merged.digesters, &threads).hand_on(&mut output, true)
    })?;
    output.check_end()?;
    output.outlet.commit(None)?;
    observer.progress(&progress(&merged, ahead.total, &output.tally));
    let caveats = scans.iter().flatten().filter_map(|scan| scan.caveat()).collect();
    let mut spilled = merged.spill.counts;
    spilled += counts;
    Ok(Outcome { tally: output.tally, partitions: merged.partitions, ended: true, caveats, spilled })
}

/// Reads bounded logs as the beginning of a stream: gives the outlet what is final, commits nothing, and returns what the
/// stream goes on from.
pub fn bootstrap(
    engine: &Engine,
    scans: &[Option<Arc<dyn LogScan>>],
    (start, end): (Option<&Cut>, Option<&Cut>),
    outlet: &mut dyn Outlet,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Resumed> {
    let mut batch = Batch::new(engine, scans, start, end, outlet, settings)?;
    let state = batch.read_all(observer)?;
    let Batch { ahead, merged, output, .. } = batch;
    observer.progress(&progress(&merged, ahead.total, &output.tally));
    Ok(Resumed { partitions: merged.partitions, tally: output.tally, state, spill: merged.spill })
}

struct Batch<'a> {
    ahead: Ahead<'a>,
    merged: Merged<'a>,
    output: Output<'a>,
    threads: Threads,
}

/// What is still to be loaded. It runs up to a wave ahead of what was merged.
struct Ahead<'a> {
    engine: &'a Engine,
    scans: &'a [Option<Arc<dyn LogScan>>],
    /// What may be held in memory; None: what there is.
    budget: Option<&'a Budget>,
    /// After the units that were begun.
    partitions: Partitions,
    /// Per source and partition: the units that remain, the next one last.
    remaining: Vec<Vec<Vec<Unit>>>,
    /// Rows of all units, but for those that are left out.
    total: u64,
    /// What the rows of the range are made of; None: all rows are wanted.
    reach: Option<Arc<Reach>>,
    /// What the wave after this one will load, as far as that is known now.
    coming: Vec<Piece>,
}

/// What was merged into one state, and how far that has come.
struct Merged<'a> {
    engine: &'a Engine,
    partitions: Partitions,
    reach: Option<Arc<Reach>>,
    spill: Spill,
    digesters: Arc<Digesters>,
}

/// How far each partition was read, per source.
type Partitions = Vec<Vec<PartitionState>>;

/// The threads of a run, or of several that go on at once.
#[derive(Clone)]
pub struct Threads(Arc<rayon::ThreadPool>);

impl Threads {
    /// Starts so many; 0: one per core.
    pub fn new(count: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        Ok(Self(Arc::new(pool.map_err(|error| Error::new(Code::Io, format!("cannot start threads: {error}")))?)))
    }
}

impl Hands for Threads {
    fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    fn each(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..pieces).into_par_iter().with_max_len(1).for_each(work));
    }
}

/// Units in the order in which they are read: again and again the next one of the partition with the least running maximum
/// known so far.
struct Order<'a> {
    ahead: &'a Ahead<'a>,
    /// Per source and partition: its running maximum then, as far as that is known.
    expected: Vec<Vec<i64>>,
    /// Per source and partition: how many units are left.
    left: Vec<Vec<usize>>,
}

impl Iterator for Order<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let candidates = self.left.iter().enumerate().flat_map(|(source, left)| {
            left.iter().enumerate().filter(|(_, left)| **left > 0).map(move |(place, _)| (source, place))
        });
        let (source, place) = candidates.min_by_key(|(source, place)| self.expected[*source][*place])?;
        self.left[source][place] -= 1;
        let unit = self.ahead.remaining[source][place][self.left[source][place]].clone();
        let state = &self.ahead.partitions[source][place];
        let (start, end) = (unit.start.max(state.start), unit.end.min(state.end.unwrap_or(unit.end)));
        let largest = largest(&unit, start, end);
        let expected = &mut self.expected[source][place];
        *expected = (*expected).max(largest.unwrap_or(NEVER));
        let is_skipped = is_skipped(self.ahead.reach.as_deref(), source, &unit, largest);
        Some(Piece { source, place, unit, start, end, largest, is_skipped, chunk: None, maximum: NEVER })
    }
}

/// A unit on its way through a wave.
struct Piece {
    source: usize,
    /// Index of the partition among the source's.
    place: usize,
    unit: Unit,
    start: Offset,
    end: Offset,
    /// Its largest event time, when known.
    largest: Option<i64>,
    /// It holds nothing that a wanted row is made of: it only moves the maximum.
    is_skipped: bool,
    chunk: Option<Chunk>,
    /// The running maximum before it.
    maximum: i64,
}

/// A unit whose records are on their way through the steps.
struct Begun {
    piece: Piece,
    rows: u64,
    /// Its records, part by part.
    parts: Vec<Folding>,
    state: State,
}

/// Units that were loaded and folded, each by itself.
struct Wave {
    begun: Vec<Begun>,
    /// After it.
    partitions: Partitions,
}

/// What a wave brought, on its way out.
#[derive(Default)]
struct Brought {
    rows: u64,
    folded: Vec<Ready<Folded>>,
    closed: Vec<Ready<Closed>>,
    /// Why no more could be closed. What came before may be worse: a record that ends the run.
    failed: Option<Error>,
}

/// What folding or closing brought, its rows taken out of it and digested.
struct Ready<T> {
    rows: Vec<Digested>,
    rest: T,
}

impl Brought {
    /// Counts it and gives it to the sinks.
    fn hand_on(self, output: &mut Output<'_>) -> Result<()> {
        let plan = output.engine.plan();
        output.tally.read += self.rows;
        for Ready { rows, rest: folded } in self.folded {
            output.tally.dedups(plan, &folded.dedups);
            output.tally.checked(plan, &folded.checked);
            rows.into_iter().try_for_each(|rows| output.rows(rows))?;
            output.asides(folded.asides)?;
        }
        self.closed.into_iter().try_for_each(|closed| closed.hand_on(output, false))?;
        self.failed.map_or(Ok(()), Err)
    }
}

impl Ready<Closed> {
    fn closed(mut rest: Closed, engine: &Engine, digesters: &Digesters, Threads(pool): &Threads) -> Self {
        Self { rows: pool.install(|| digested(&mut rest.emissions, engine, digesters)), rest }
    }

    fn hand_on(self, output: &mut Output<'_>, is_end: bool) -> Result<()> {
        output.closing(self.rest, is_end)?;
        self.rows.into_iter().try_for_each(|rows| output.rows(rows))
    }
}

/// Tells the logs which units will be loaded next.
fn announce(scans: &[Option<Arc<dyn LogScan>>], coming: Vec<Piece>) {
    for piece in coming.iter().filter(|piece| !piece.is_skipped) {
        scans[piece.source].as_ref().expect("a piece has a scan").announce(&piece.unit);
    }
}

/// Digests rows, several emissions at once.
fn digested(emissions: &mut Vec<Emission>, engine: &Engine, digesters: &Digesters) -> Vec<Digested> {
    let digest = |emission| digesters.digest(engine.plan(), emission);
    std::mem::take(emissions).into_par_iter().with_max_len(1).map(digest).collect()
}

/// Loads the pieces of a wave and takes them through the first stage, several at once.
fn begin(
    engine: &Engine,
    scans: &[Option<Arc<dyn LogScan>>],
    mut wave: Vec<Piece>,
    partitions: &mut Partitions,
    gathers: bool,
) -> Result<Vec<Begun>> {
    let scan = |piece: &Piece| scans[piece.source].as_ref().expect("a piece has a scan").clone();
    wave.par_iter_mut().filter(|piece| piece.largest.is_none()).try_for_each(|piece| {
        let chunk = scan(piece).load(&piece.unit, piece.start, piece.end)?;
        piece.largest = Some(engine.largest_event_time(piece.source, &chunk));
        piece.chunk = Some(chunk);
        Ok::<_, Error>(())
    })?;
    for piece in &mut wave {
        let state = &mut partitions[piece.source][piece.place];
        piece.maximum = state.maximum;
        state.maximum = state.maximum.max(piece.largest.expect("every piece was scanned"));
        if !piece.is_skipped {
            state.next = piece.end;
        }
    }
    let begun: Vec<Result<Begun>> = wave
        .into_par_iter()
        .filter(|piece| !piece.is_skipped)
        .map(|mut piece| {
            let chunk = match piece.chunk.take() {
                Some(chunk) => chunk,
                None => scan(&piece).load(&piece.unit, piece.start, piece.end)?,
            };
            let mut state = if gathers { engine.gathering() } else { engine.empty() };
            let (parts, maximum) = fold(engine, &piece, &chunk, &mut state);
            if maximum != piece.maximum.max(piece.largest.expect("every piece was scanned")) {
                return Err(contradiction(engine, &piece, maximum));
            }
            Ok(Begun { piece, rows: chunk.len() as u64, parts, state })
        })
        .collect();
    begun.into_iter().collect()
}

/// Lets the pieces meet what their partitions remember – each partition in offset order, several at once – and takes
/// them through the next stage.
fn next_stage(
    engine: &Engine,
    pool: &rayon::ThreadPool,
    stage: usize,
    begun: Vec<Begun>,
    state: &mut State,
) -> Vec<Begun> {
    type Of<'a> = (usize, Partition, Memory, Vec<&'a mut Begun>);
    let mut begun = begun;
    let mut partitions: Vec<Of<'_>> = Vec::new();
    // A wave holds the units of a partition in offset order.
    for begun in begun.iter_mut().filter(|begun| engine.stages(begun.piece.source) > stage) {
        let (source, partition) = (begun.piece.source, begun.piece.unit.partition);
        match partitions.iter_mut().find(|(of, number, ..)| (*of, *number) == (source, partition)) {
            Some((.., pieces)) => pieces.push(begun),
            None => partitions.push((source, partition, state.take_memory(source, partition), vec![begun])),
        }
    }
    pool.install(|| {
        partitions.par_iter_mut().for_each(|(_, _, memory, pieces)| {
            let parts = pieces.iter_mut().flat_map(|begun| &mut begun.parts);
            parts.for_each(|folding| engine.remember(folding, memory));
        });
    });
    for (source, partition, memory, _) in partitions {
        state.put_memory(source, partition, memory);
    }
    pool.install(|| {
        begun.par_iter_mut().filter(|begun| engine.stages(begun.piece.source) > stage).for_each(|begun| {
            begun.parts.iter_mut().for_each(|folding| engine.advance(folding, &mut begun.state));
        });
    });
    begun
}

impl<'a> Batch<'a> {
    fn new(
        engine: &'a Engine,
        scans: &'a [Option<Arc<dyn LogScan>>],
        start: Option<&Cut>,
        end: Option<&Cut>,
        outlet: &'a mut dyn Outlet,
        settings: &'a Settings,
    ) -> Result<Self> {
        let (mut partitions, mut remaining, mut total) = (Partitions::new(), Vec::new(), 0);
        for (source, scan) in engine.plan().sources.iter().zip(scans) {
            let Some(scan) = scan else {
                partitions.push(Vec::new());
                remaining.push(Vec::new());
                continue;
            };
            let ranges = scan.partitions();
            let numbers: Vec<_> = ranges.iter().map(|range| range.partition).collect();
            check_partitions(&source.name, &numbers, start)?;
            check_partitions(&source.name, &numbers, end)?;
            if ranges.is_empty() {
                return Err(Error::new(Code::Empty, format!("source `{}` has no partitions", source.name))
                    .help("archive a topic or journal into the lake first, or check the path"));
            }
            let (mut states, mut units) = (Vec::new(), Vec::new());
            for range in ranges {
                let (begin, stop) = clip(&source.name, *range, start, end)?;
                let state = PartitionState {
                    partition: range.partition,
                    start: begin,
                    end: Some(stop),
                    next: begin,
                    maximum: NEVER,
                    last: None,
                };
                let inside = |unit: &&Unit| unit.end > begin && unit.start < stop;
                let mut list: Vec<Unit> = scan.units(range.partition).iter().filter(inside).cloned().collect();
                total += list.iter().map(|unit| unit.rows as u64).sum::<u64>();
                list.reverse();
                states.push(state);
                units.push(list);
            }
            partitions.push(states);
            remaining.push(units);
        }
        let reach = (settings.range != (None, None)).then(|| Arc::new(Reach::new(engine.plan(), settings.range)));
        let (budget, spill) = (settings.memory.as_ref(), Spill::new(settings.memory.as_ref()));
        let output = Output::new(engine, outlet, settings);
        let digesters = output.tally.digesters.clone();
        let merged = Merged { engine, partitions: partitions.clone(), reach: reach.clone(), spill, digesters };
        let ahead = Ahead { engine, scans, budget, partitions, remaining, total, reach, coming: Vec::new() };
        let threads = settings.shared.clone().map_or_else(|| Threads::new(settings.threads), Ok)?;
        Ok(Self { ahead, merged, output, threads })
    }

    /// Reads wave after wave to the end, closes what is final, and returns the state at the end.
    fn read_all(&mut self, observer: &dyn Observer) -> Result<State> {
        let Self { ahead, merged, output, threads } = self;
        let mut state = merged.engine.empty();
        let mut begun: Option<Result<Wave>> = None;
        let mut brought = Brought::default();
        let overlaps = ahead.budget.is_none() && threads.count() > 1;
        let wave_size = threads.count() * 2;
        announce(ahead.scans, ahead.some_of(&mut ahead.order(), wave_size));
        loop {
            if output.settings.stopped() {
                return Err(Error::new(
                    Code::Stopped,
                    "the run was stopped before it was done; its sinks hold what they held",
                ));
            }
            let pieces = ahead.next_wave(wave_size);
            if pieces.is_empty() && begun.is_none() {
                break;
            }
            if overlaps {
                let wave = match begun.take() {
                    // Told after what came before it: a record of that may have ended the run.
                    Some(Err(error)) => return brought.hand_on(output).and(Err(error)),
                    wave => wave.and_then(Result::ok),
                };
                let (mut next, mut taken) = (None, Ok(Brought::default()));
                threads.0.in_place_scope(|scope| {
                    // In this order: merging and closing come in small parts, which leave no thread without work at the end.
                    if !pieces.is_empty() {
                        scope.spawn(|_| next = Some(ahead.begin(pieces, threads)));
                    }
                    if let Some(wave) = wave {
                        scope.spawn(|_| taken = merged.take_in_and_close(wave, &mut state, threads));
                    }
                    brought.hand_on(output)
                })?;
                (begun, brought) = (next, taken?);
            } else if ahead.budget.is_none() {
                brought.hand_on(output)?;
                let wave = ahead.begin(pieces, threads)?;
                brought = merged.take_in_and_close(wave, &mut state, threads)?;
            } else {
                let wave = ahead.begin(pieces, threads)?;
                merged.take_in(wave, &mut state, threads)?.hand_on(output)?;
                merged.close(&mut state, threads, |closed| closed.hand_on(output, false))?;
            }
            observer.progress(&progress(merged, ahead.total, &output.tally));
            if brought.failed.is_some() {
                break;
            }
        }
        brought.hand_on(output)?;
        for states in &mut merged.partitions {
            states.iter_mut().for_each(|state| state.next = state.end.unwrap_or(state.next).max(state.start));
        }
        Ok(state)
    }
}

impl Ahead<'_> {
    /// Returns the units that remain, in the order in which they are read by what is known now.
    fn order(&self) -> Order<'_> {
        let maxima = |states: &Vec<PartitionState>| states.iter().map(|state| state.maximum).collect();
        let lengths = |lists: &Vec<Vec<Unit>>| lists.iter().map(Vec::len).collect();
        Order {
            ahead: self,
            expected: self.partitions.iter().map(maxima).collect(),
            left: self.remaining.iter().map(lengths).collect(),
        }
    }

    /// Takes the next units.
    fn next_wave(&mut self, size: usize) -> Vec<Piece> {
        let mut order = self.order();
        let wave = self.some_of(&mut order, size);
        self.coming = self.some_of(&mut order, size);
        for piece in &wave {
            let taken = self.remaining[piece.source][piece.place].pop();
            debug_assert_eq!(taken.as_ref(), Some(&piece.unit), "units are taken in their order");
            if piece.is_skipped {
                self.total -= piece.unit.rows as u64;
            }
        }
        wave
    }

    /// Returns units until there are `size` to load, or as many rows as a budget has room for.
    fn some_of(&self, order: &mut Order<'_>, size: usize) -> Vec<Piece> {
        let (mut wave, mut loaded, mut rows) = (Vec::new(), 0, 0);
        // Each unit of a wave makes a state of its own.
        let most_rows = self.budget.map_or(u64::MAX, |budget| budget.in_flight() / ROW_BYTES);
        while loaded < size && (rows < most_rows || loaded == 0) {
            let Some(piece) = order.next() else { break };
            if !piece.is_skipped {
                loaded += 1;
                rows += piece.unit.rows as u64;
            }
            wave.push(piece);
        }
        wave
    }

    /// Loads units and folds them.
    fn begin(&mut self, wave: Vec<Piece>, Threads(pool): &Threads) -> Result<Wave> {
        let (engine, scans, coming) = (self.engine, self.scans, std::mem::take(&mut self.coming));
        // What is gathered is in no table, where it would be counted and could leave for a while.
        let gathers = self.budget.is_none();
        let begin = || begin(engine, scans, wave, &mut self.partitions, gathers);
        let begun = pool.install(|| rayon::join(|| announce(scans, coming), begin).1)?;
        Ok(Wave { begun, partitions: self.partitions.clone() })
    }
}

impl Merged<'_> {
    /// Merges the states of a wave.
    fn take_in(&mut self, wave: Wave, state: &mut State, threads: &Threads) -> Result<Brought> {
        let (engine, Threads(pool)) = (self.engine, threads);
        let Wave { mut begun, partitions } = wave;
        self.partitions = partitions;
        let stages = begun.iter().map(|begun| engine.stages(begun.piece.source)).max().unwrap_or(1);
        for stage in 1..stages {
            begun = next_stage(engine, pool, stage, begun, state);
        }
        let (mut rows_read, mut folded) = (0, Vec::new());
        for Begun { rows, parts, state: partial, .. } in begun {
            rows_read += rows;
            folded.extend(parts.into_iter().map(Folding::done));
            engine.merge(state, partial);
            self.spill.relieve(engine, state)?;
        }
        engine.settle(state, threads);
        let ready = |mut rest: Folded| Ready { rows: digested(&mut rest.emissions, engine, &self.digesters), rest };
        let folded = pool.install(|| folded.into_par_iter().with_max_len(1).map(ready).collect());
        Ok(Brought { rows: rows_read, folded, ..Brought::default() })
    }

    /// Closes what is final by now.
    fn close(
        &mut self,
        state: &mut State,
        threads: &Threads,
        mut take: impl FnMut(Ready<Closed>) -> Result<()>,
    ) -> Result<()> {
        let frontiers = frontiers(self.engine.plan(), &self.partitions);
        let closing = Closing { reach: self.reach.as_deref(), hands: threads };
        let ready = |closed| Ready::closed(closed, self.engine, &self.digesters, threads);
        self.spill.close(self.engine, closing, &frontiers, state, |closed| take(ready(closed)))
    }

    fn take_in_and_close(&mut self, wave: Wave, state: &mut State, threads: &Threads) -> Result<Brought> {
        let mut brought = self.take_in(wave, state, threads)?;
        let closed = self.close(state, threads, |closed| {
            brought.closed.push(closed);
            Ok(())
        });
        brought.failed = closed.err();
        Ok(brought)
    }
}

fn progress(merged: &Merged<'_>, total: u64, tally: &Tally) -> Progress {
    let plan = merged.engine.plan();
    let slowest = slowest(plan, &merged.partitions);
    Progress {
        mode: Mode::Batch,
        read: tally.read,
        total: Some(total.max(tally.read)),
        lag: None,
        frontier: slowest.as_ref().map(|(.., mark)| *mark).filter(|mark| *mark != NEVER),
        held_by: slowest.map(|(source, state, _)| (plan.sources[source].name.clone(), state.partition)),
        windows: tally.windows,
        late: tally.late,
        bad: tally.bad + tally.failed,
    }
}

/// About how many bytes a row takes in a wave, where memory is bounded: decoded, and as a group of its own.
const ROW_BYTES: u64 = 256;

/// Rows that are folded at once: few enough that what folding holds beside the chunk is near the processor, and enough that a
/// key is looked up once for many rows.
const FOLD_ROWS: usize = 128 << 10;

/// Bytes of text in rows that are folded at once, were dictionaries written out. An Arrow array takes no more than 2 GiB.
const FOLD_BYTES: usize = 1 << 30;

/// Returns how many rows of a chunk to fold at once.
fn rows_at_once(chunk: &Chunk) -> usize {
    let longest = |column: &ArrayRef| {
        let values = column.as_any_dictionary_opt()?.values().as_string_opt::<i32>()?.offsets().lengths().max()?;
        Some(values)
    };
    let row_bytes: usize = chunk.columns.columns().iter().filter_map(longest).sum();
    (FOLD_BYTES / row_bytes.max(1)).clamp(1, FOLD_ROWS)
}

/// Takes a chunk through the first stage part by part, because the engine does not see where chunks are cut. Returns the
/// parts, and the running maximum after them.
fn fold(engine: &Engine, piece: &Piece, chunk: &Chunk, state: &mut State) -> (Vec<Folding>, i64) {
    let mut maximum = piece.maximum;
    let mut parts = Vec::new();
    let at_once = rows_at_once(chunk);
    for start in (0..chunk.len()).step_by(at_once) {
        let part = chunk.slice(start..chunk.len().min(start + at_once));
        let mut folding = engine.begin(piece.source, &part, maximum);
        maximum = folding.maximum();
        engine.advance(&mut folding, state);
        parts.push(folding);
    }
    (parts, maximum)
}

/// Returns the largest event time of a unit of which `[start, end)` is read, if it is known without loading.
pub(crate) fn largest(unit: &Unit, start: Offset, end: Offset) -> Option<i64> {
    unit.max_event_time.filter(|_| start <= unit.start && end >= unit.end)
}

/// Returns true for a unit that holds nothing that a row of the range is made of.
pub(crate) fn is_skipped(reach: Option<&Reach>, source: usize, unit: &Unit, largest: Option<i64>) -> bool {
    let span = reach.map(|reach| reach.source(source));
    span.zip(largest).is_some_and(|(span, largest)| span.misses(unit.min_event_time, largest))
}

/// Returns where reading begins and ends in a partition: what it holds, restricted by the cuts.
pub(crate) fn clip(
    source: &str,
    range: engine::edge::PartitionRange,
    start: Option<&Cut>,
    end: Option<&Cut>,
) -> Result<(Offset, Offset)> {
    let named =
        |cut: Option<&Cut>| cut.and_then(|cut| cut.get(source)).and_then(|cut| cut.get(&range.partition)).copied();
    let begin = named(start).unwrap_or(range.start);
    let stop = named(end).unwrap_or(range.end);
    let place = format!("source `{source}` partition {}", range.partition);
    if begin < range.start {
        return Err(Error::new(
            Code::Gap,
            format!("{place} begins at offset {}, the run starts at {begin}", range.start),
        ));
    }
    if stop > range.end {
        return Err(Error::new(Code::Cut, format!("{place} ends at offset {}, the run ends at {stop}", range.end))
            .help("archive further, or choose a lesser `--end`"));
    }
    if stop < begin {
        return Err(Error::new(Code::Cut, format!("{place} starts at offset {begin}, after its end {stop}")));
    }
    Ok((begin, stop))
}

fn contradiction(engine: &Engine, piece: &Piece, found: i64) -> Error {
    let source = &engine.plan().sources[piece.source].name;
    let unit = &piece.unit;
    Error::new(
        Code::Stats,
        format!(
            "source `{source}` partition {}, offsets {} .. {}: the file says its largest event time is {}, its records say {}",
            unit.partition,
            unit.start,
            unit.end,
            crate::time::rfc3339(piece.largest.unwrap_or(NEVER)),
            crate::time::rfc3339(found)
        ),
    )
    .help("the file's statistics or footer are wrong: write it again")
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};

    use super::*;

    #[test]
    fn long_texts_that_repeat_are_folded_a_few_at_once() {
        let of = |values: &[String]| {
            let texts =
                DictionaryArray::new(Int32Array::from(vec![0, 0, 0]), Arc::new(StringArray::from(values.to_vec())));
            let columns: [(&str, ArrayRef); 3] = [
                ("a", Arc::new(texts.clone())),
                ("b", Arc::new(Int64Array::from(vec![1, 2, 3]))),
                ("c", Arc::new(texts)),
            ];
            let columns = RecordBatch::try_from_iter(columns).unwrap();
            let offsets = Int64Array::from(vec![0, 1, 2]);
            rows_at_once(&Chunk { partition: 0, offsets, timestamps: None, columns, bad: Vec::new(), raw: None })
        };
        assert_eq!(of(&["page".into(), "x".repeat(100)]), FOLD_ROWS);
        // Two columns of 16 KiB each: written out, 32,768 rows are 2^30 bytes.
        assert_eq!(of(&["page".into(), "x".repeat(16 << 10)]), 32 << 10);
        assert_eq!(of(&[String::new()]), FOLD_ROWS);
    }
}
