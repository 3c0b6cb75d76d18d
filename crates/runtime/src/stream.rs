//! The stream driver: records as the log grows, folded as they come, closed as the frontier moves.
//!
//! One thread folds everything; that keeps the order of work simple, and the law makes the order unobservable. Partitions
//! that run ahead of the slowest one in event time pause, so that what is held open stays small; only partitions that
//! still have records count in that minimum, otherwise an empty one would stop all.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use connectors::format::{Codec, codec};
use connectors::records::clip;
use engine::edge::{Alone, LogStream, Polled};
use engine::log::{Offset, Partition, RawRecords};
use engine::plan::Plan;
use engine::watermark::{NEVER, watermark};
use engine::{Closing, Code, Emission, Engine, Error, Result, State};

use crate::checkpoint::{Checkpoint, Resumed};
use crate::cut::{Cut, check_partitions};
use crate::driver::{Observer, Outcome, Outlet, Output, PartitionState, Progress, Settings, frontiers, slowest};
use crate::identity;
use crate::numbers::{self, Counters, Numbers, StateNumbers};
use crate::spill::Spill;
use crate::summary::Mode;

/// Where a stream run ends.
#[derive(Clone, Debug)]
pub enum Until {
    /// It does not: it runs until it is stopped.
    Stopped,
    /// At the end offsets seen at start.
    CaughtUp,
    /// At these offsets; a partition that the cut does not name ends where it ends at start.
    Cut(Cut),
    /// The same; a cut that is past what the logs held at start is refused and not waited for.
    CaughtUpWith(Cut),
}

impl Until {
    fn cut(&self) -> Option<&Cut> {
        match self {
            Until::Cut(cut) | Until::CaughtUpWith(cut) => Some(cut),
            Until::Stopped | Until::CaughtUp => None,
        }
    }
}

/// Where a stream run begins.
pub enum Begin<'a> {
    /// At the first offsets that the logs hold.
    First,
    /// At these offsets; a partition that the cut does not name begins where its log does.
    Cut(&'a Cut),
    /// Where a checkpoint was made.
    Checkpoint(Box<Resumed>),
    /// Where a lake ends, which was read so far: the first checkpoint is made before anything else is read.
    Lake(Box<Resumed>),
}

/// Runs a plan over growing logs, one per source in plan order (None: no step or sink reads that source).
pub fn run(
    engine: &Engine,
    streams: Vec<Option<Box<dyn LogStream>>>,
    begin: Begin<'_>,
    until: &Until,
    outlet: &mut dyn Outlet,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let is_first = matches!(begin, Begin::Lake(_));
    let mut stream = Stream::new(engine, streams, begin, until, outlet, settings)?;
    let mut watch = Watch::new(observer);
    if is_first {
        stream.publish(true, &watch)?;
    }
    let (mut closed_at, mut committed_at, mut told_at) = (Instant::now(), Instant::now(), Instant::now());
    // Rows that wait for no commit need not wait for the next tick either.
    let release_every = RELEASE_EVERY.max(settings.checkpoint_every / RELEASES).min(settings.close_every);
    let mut close_pause = if stream.releases { release_every } else { settings.close_every };
    let (mut pause, mut kept_before) = (settings.checkpoint_every, Duration::ZERO);
    watch.tell(&mut stream)?;
    let ended = loop {
        if settings.stopped() {
            break false;
        }
        if stream.is_done() {
            break true;
        }
        let idle = !stream.poll()?;
        // A run of records that was caught up with is closed at once, so that results do not wait for the next tick.
        if closed_at.elapsed() >= close_pause || (idle && stream.unclosed) {
            let begun = Instant::now();
            stream.close()?;
            stream.release()?;
            stream.align()?;
            closed_at = Instant::now();
            if stream.releases {
                let share = (closed_at - begun) * CLOSES_SHARE;
                close_pause = share.max(release_every).min(settings.close_every);
            }
        }
        if stream.is_due() && committed_at.elapsed() >= pause {
            let begun = Instant::now();
            stream.publish(true, &watch)?;
            committed_at = Instant::now();
            // A state that takes long to keep is kept less often. Rows that take long to publish are not: with more of them at
            // once a slow sink would only take longer, and what has not been published would grow without end.
            let took = committed_at - begun;
            let kept = took.saturating_sub(stream.output.outlet.published_in() + stream.held_up);
            if !pause.is_zero() {
                pause = settings.checkpoint_every.max(kept.min(kept_before) * COMMITS_SHARE);
            }
            kept_before = kept;
            stream.output.counters.commits.add(took);
        }
        if told_at.elapsed() >= Duration::from_millis(250) {
            observer.progress(&stream.progress()?);
            told_at = Instant::now();
            if watch.is_due() {
                watch.tell(&mut stream)?;
            }
        }
    };
    stream.close()?;
    if ended {
        // The rows of the end are none of the state: a later run goes on as if there had been no end.
        // The checkpoint's copy of the state is there until the end.
        stream.spill.make_small(engine, &mut stream.state)?;
        let checkpoint = stream.checkpoint();
        let state = std::mem::replace(&mut stream.state, engine.empty());
        let frontiers = frontiers(engine.plan(), &stream.partitions);
        let Stream { spill, output, .. } = &mut stream;
        let counts =
            spill.finish(engine, Closing::default(), &frontiers, state, |closed| output.closed(closed, true))?;
        spill.counts += counts;
        stream.output.check_end()?;
        stream.commit(checkpoint, &watch)?;
    } else {
        // What stays when a stream is stopped is final.
        stream.output.tally.lasted(&stream.state.longest_sessions());
        stream.publish(false, &watch)?;
    }
    if let Ok(progress) = stream.progress() {
        observer.progress(&progress);
        watch.tell(&mut stream)?;
    }
    let (tally, partitions, spilled) = (stream.output.tally, stream.partitions, stream.spill.counts);
    Ok(Outcome { tally, partitions, ended, caveats: Vec::new(), spilled })
}

/// Hands numbers to an observer that wants them, about once a second.
struct Watch<'a> {
    observer: &'a dyn Observer,
    watches: bool,
    told_at: Instant,
    /// What steps keep, and when to look again: to see it takes time where there is much.
    state: (Vec<StateNumbers>, Instant),
}

impl<'a> Watch<'a> {
    fn new(observer: &'a dyn Observer) -> Self {
        let now = Instant::now();
        Self { observer, watches: observer.watches(), told_at: now, state: (Vec::new(), now) }
    }

    fn is_due(&self) -> bool {
        self.watches && self.told_at.elapsed() >= Duration::from_secs(1)
    }

    fn tell(&mut self, stream: &mut Stream<'_>) -> Result<()> {
        if !self.watches {
            return Ok(());
        }
        let begun = Instant::now();
        if begun >= self.state.1 {
            self.state.0 = numbers::of_state(stream.engine.plan(), &stream.state, &stream.spill);
            self.state.1 = Instant::now() + begun.elapsed() * LOOKS_SHARE;
        }
        let mut numbers = stream.numbers();
        numbers.state.clone_from(&self.state.0);
        self.observer.numbers(numbers);
        self.told_at = Instant::now();
        Ok(())
    }
}

/// How many times as long as a look at the state takes the stream goes on before the next one.
const LOOKS_SHARE: u32 = 200;

/// How often a stream closes at most for sinks that publish at once, and how many times as long as it takes to close the stream
/// goes on before it does it again. A checkpoint names what each closing gave, so between two there are not many more than that.
const RELEASE_EVERY: Duration = Duration::from_millis(10);
const RELEASES: u32 = 200;
const CLOSES_SHARE: u32 = 9;

/// How many times as long as it takes to keep a checkpoint the stream goes on before the next one.
const COMMITS_SHARE: u32 = 9;

/// Rows come to their windows together as soon as they take so many bytes: they meet many keys twice, and with them windows.
const GATHERED_BYTES: usize = 8 << 20;

/// How often logs are asked where they end, how seldom at most, and how many times as long as an answer takes the stream goes on
/// before the next question.
const ENDS_EVERY: Duration = Duration::from_secs(2);
const ENDS_SELDOM: Duration = Duration::from_secs(60);
const LOOKS_AT_ENDS_SHARE: u32 = 9;

struct Stream<'a> {
    engine: &'a Engine,
    codecs: Vec<Box<dyn Codec>>,
    streams: Vec<Option<Box<dyn LogStream>>>,
    /// What told each log at the start from others of its name, for those that have something.
    ids: Vec<Option<String>>,
    output: Output<'a>,
    state: State,
    spill: Spill,
    partitions: Vec<Vec<PartitionState>>,
    /// Per partition: whether all that is there was read, and whether it is paused.
    idle: Vec<Vec<bool>>,
    paused: Vec<Vec<bool>>,
    ends: Vec<Vec<Offset>>,
    /// Windows that runs before had closed.
    windows_before: u64,
    /// Where the logs ended at first.
    first_ends: Vec<Vec<Offset>>,
    /// When to ask again where the logs end.
    ends_at: Instant,
    unclosed: bool,
    unpublished: bool,
    /// Whether records were read since the last commit.
    unkept: bool,
    /// How long the last commit was held up, when it was done, by a question for the logs' ends.
    held_up: Duration,
    /// Whether a sink wants rows of open windows.
    early: bool,
    /// Whether a sink publishes rows before their commit, and whether there are such that it has not published.
    releases: bool,
    unreleased: bool,
    bounded: bool,
    /// Per source: a number that it shares with the sources whose records meet its own in a step.
    meeting: Vec<usize>,
}

impl<'a> Stream<'a> {
    fn new(
        engine: &'a Engine,
        mut streams: Vec<Option<Box<dyn LogStream>>>,
        begin: Begin<'_>,
        until: &Until,
        outlet: &'a mut dyn Outlet,
        settings: &'a Settings,
    ) -> Result<Self> {
        let (mut partitions, mut all_ends, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        let (start, resumed) = match begin {
            Begin::First => (None, None),
            Begin::Cut(cut) => (Some(cut), None),
            Begin::Checkpoint(resumed) | Begin::Lake(resumed) => (None, Some(*resumed)),
        };
        for (index, (source, stream)) in engine.plan().sources.iter().zip(&mut streams).enumerate() {
            let Some(stream) = stream else {
                partitions.push(Vec::new());
                all_ends.push(Vec::new());
                ids.push(None);
                continue;
            };
            let numbers = stream.partitions().to_vec();
            if numbers.is_empty() {
                return Err(Error::new(Code::Empty, format!("source `{}` has no partitions", source.name)));
            }
            check_partitions(&source.name, &numbers, start)?;
            check_partitions(&source.name, &numbers, until.cut())?;
            ids.push(stream.id()?);
            let (starts, ends) = (stream.starts()?, stream.ends()?);
            let mut states = Vec::new();
            let kept = resumed.as_ref().map(|resumed| resumed.partitions[index].as_slice());
            check_kept(&source.name, &numbers, kept)?;
            for (place, partition) in numbers.iter().enumerate() {
                let kept = kept.map(|kept| &kept[place]);
                states.push(state_at_start(
                    &source.name,
                    *partition,
                    (starts[place], ends[place]),
                    start,
                    kept,
                    until,
                )?);
            }
            stream.seek(&states.iter().map(|state| state.next).collect::<Vec<_>>())?;
            partitions.push(states);
            all_ends.push(ends);
        }
        let mut output = Output::new(engine, outlet, settings);
        output.counters = Counters::new(&partitions);
        let releases = output.outlet.releases();
        let (mut state, mut spill) = (engine.empty(), Spill::new(settings.memory.as_ref()));
        if let Some(resumed) = resumed {
            output.tally = resumed.tally;
            (state, spill) = (resumed.state, resumed.spill);
        }
        if settings.memory.is_none() {
            engine.gather(&mut state);
        }
        let flags: Vec<Vec<bool>> = partitions.iter().map(|states| vec![false; states.len()]).collect();
        Ok(Self {
            engine,
            codecs: engine.plan().sources.iter().map(codec).collect::<Result<_>>()?,
            streams,
            ids,
            windows_before: output.tally.windows,
            output,
            state,
            spill,
            partitions,
            idle: flags.clone(),
            paused: flags,
            first_ends: all_ends.clone(),
            ends: all_ends,
            ends_at: Instant::now() + ENDS_EVERY,
            unclosed: false,
            unpublished: false,
            unkept: false,
            held_up: Duration::ZERO,
            releases,
            unreleased: false,
            early: engine.plan().sinks.iter().any(|sink| sink.early),
            meeting: meeting(engine.plan()),
            bounded: !matches!(until, Until::Stopped),
        })
    }

    fn is_due(&self) -> bool {
        self.unpublished || self.unkept && self.output.outlet.keeps_checkpoints()
    }

    /// Returns what the stream is now, if that is to be kept. It must have been closed just now.
    fn checkpoint(&mut self) -> Option<Checkpoint> {
        self.output.outlet.keeps_checkpoints().then(|| Checkpoint {
            partitions: self.partitions.clone(),
            tally: self.output.tally.clone(),
            parts: self.engine.snapshot(&mut self.state, false),
            pieces: self.spill.keep(),
            whole: self.output.settings.compares.then(|| self.engine.snapshot(&mut self.state, true)),
        })
    }

    fn is_done(&self) -> bool {
        self.bounded && self.partitions.iter().flatten().all(|state| state.end.is_some_and(|end| state.next >= end))
    }

    /// Reads what is there; returns false when nothing came.
    fn poll(&mut self) -> Result<bool> {
        let readers = self.streams.iter().flatten().count();
        let patience = Duration::from_millis(if readers > 1 { 10 } else { 100 });
        // What was read last may have ended a window that somebody waits for.
        let patience = if self.releases && self.unclosed { RELEASE_EVERY } else { patience };
        let timeout = patience.min(self.output.settings.close_every);
        let mut some = false;
        for source in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[source] else { continue };
            for polled in stream.poll(timeout, self.output.settings.poll_records)? {
                match polled {
                    Polled::Records(records) => {
                        some = true;
                        self.take_in(source, records)?;
                    }
                    Polled::Reached(partition, offset) => {
                        let place = self.place(source, partition);
                        let state = &mut self.partitions[source][place];
                        // A run that ends before this offset ends at its own end: what lies past it was not read.
                        state.next = state.next.max(offset.min(state.end.unwrap_or(offset)));
                        self.idle[source][place] = true;
                    }
                }
            }
        }
        Ok(some)
    }

    fn place(&self, source: usize, partition: Partition) -> usize {
        let states = &self.partitions[source];
        states
            .binary_search_by_key(&partition, |state| state.partition)
            .expect("a stream gives its own partitions only")
    }

    fn take_in(&mut self, source: usize, records: RawRecords) -> Result<()> {
        let place = self.place(source, records.partition);
        let state = &mut self.partitions[source][place];
        let Some(last) = records.offsets.last().copied() else { return Ok(()) };
        let records = clip(&records, state.next, state.end.unwrap_or(Offset::MAX));
        let next = last + 1;
        if let Some(row) = records.offsets.len().checked_sub(1) {
            state.last = Some((records.offsets[row], identity::fingerprint(&records, row)));
            self.output.counters.records(source, place, &records);
            let chunk = self.codecs[source].decode(&records);
            let folded = self.engine.fold(source, &chunk, state.maximum, &mut self.state);
            state.maximum = folded.maximum;
            self.output.tally.read += chunk.len() as u64;
            self.output.tally.dedups(self.engine.plan(), &folded.dedups);
            self.output.tally.checked(self.engine.plan(), &folded.checked);
            self.unpublished |= self.early || !folded.emissions.is_empty() || !folded.asides.is_empty();
            self.unreleased |= !folded.emissions.is_empty() || !folded.asides.is_empty();
            self.unclosed = true;
            self.unkept = true;
            self.output.emissions(folded.emissions)?;
            self.output.asides(folded.asides)?;
            if self.engine.gathered_bytes(&self.state) >= GATHERED_BYTES {
                self.settle();
            }
            self.spill.relieve(self.engine, &mut self.state)?;
        }
        let state = &mut self.partitions[source][place];
        state.next = state.next.max(next.min(state.end.unwrap_or(next)));
        self.idle[source][place] = false;
        Ok(())
    }

    /// Brings what was gathered to its windows.
    fn settle(&mut self) {
        self.engine.settle(&mut self.state, &Alone);
    }

    fn close(&mut self) -> Result<()> {
        self.settle();
        let frontiers = frontiers(self.engine.plan(), &self.partitions);
        let Self { engine, spill, state, output, unpublished, unreleased, .. } = self;
        spill.close(engine, Closing::default(), &frontiers, state, |closed| {
            let has_rows = !closed.emissions.is_empty() || !closed.asides.is_empty();
            *unpublished |= has_rows;
            *unreleased |= has_rows;
            output.closed(closed, false)
        })?;
        self.output.outlet.settle(&self.engine.settled(&frontiers));
        self.unclosed = false;
        Ok(())
    }

    /// Lets sinks publish what need not wait for a checkpoint.
    fn release(&mut self) -> Result<()> {
        if self.releases && std::mem::take(&mut self.unreleased) {
            // What was read of a log that was made anew meanwhile must not be published.
            self.check_ids()?;
            self.output.outlet.release()?;
        }
        Ok(())
    }

    /// Returns the rows of windows that are still open.
    fn open_rows(&mut self) -> Result<Vec<Emission>> {
        let frontiers = frontiers(self.engine.plan(), &self.partitions);
        let copy = self.engine.copy(&self.state);
        let mut rows = Vec::new();
        let found = self.spill.finish(self.engine, Closing::default(), &frontiers, copy, |closed| {
            rows.extend(closed.emissions);
            Ok(())
        });
        match found {
            Ok(counts) => self.spill.counts += counts,
            // A sum that does not fit now may fit when its window closes, which is when it is judged.
            Err(error) if error.code == Code::Overflow => rows.clear(),
            Err(error) => return Err(error),
        }
        Ok(rows)
    }

    /// Publishes what was closed, and, while the stream goes on, for sinks that want them the rows of windows that are still
    /// open.
    fn publish(&mut self, goes_on: bool, watch: &Watch<'_>) -> Result<()> {
        // What was read of a log that was made anew meanwhile must not be published.
        self.check_ids()?;
        self.close()?;
        if self.early && goes_on {
            for emission in self.open_rows()? {
                let emission = self.output.tally.digesters.in_range(emission);
                if emission.rows.num_rows() > 0 {
                    self.output.outlet.early(&emission)?;
                }
            }
        }
        if self.releases && std::mem::take(&mut self.unreleased) {
            self.output.outlet.release()?;
        }
        (self.unpublished, self.unkept) = (false, false);
        let checkpoint = self.checkpoint();
        self.commit(checkpoint, watch)
    }

    /// Keeps a checkpoint and lets the sinks publish. If that takes long, the lag that is shown does not stand still: another
    /// thread asks meanwhile where the logs end.
    fn commit(&mut self, checkpoint: Option<Checkpoint>, watch: &Watch<'_>) -> Result<()> {
        let Some(tell) = watch.observer.meanwhile() else { return self.output.outlet.commit(checkpoint) };
        let numbers = Numbers { state: watch.state.0.clone(), ..self.numbers() };
        let Self { engine, streams, ends, partitions, output, .. } = self;
        let (plan, Output { outlet, counters, .. }) = (engine.plan(), output);
        let (done, is_done) = mpsc::channel::<()>();
        let mut committed_at = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut pause = ENDS_EVERY;
                while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let begun = Instant::now();
                    for (stream, ends) in streams.iter_mut().zip(ends.iter_mut()) {
                        // What is wrong with a log is told by the driver when it comes round.
                        if let Some(Ok(found)) = stream.as_mut().map(|stream| stream.ends()) {
                            *ends = found;
                        }
                    }
                    let partitions = counters.numbers(plan, partitions, ends).partitions;
                    tell(Numbers { partitions, ..numbers.clone() });
                    pause = pause_after(begun.elapsed());
                }
            });
            let committed = outlet.commit(checkpoint);
            drop(done);
            committed_at = Instant::now();
            committed
        })?;
        self.held_up = committed_at.elapsed();
        Ok(())
    }

    /// Refuses to go on when a log was made anew under its name since the start.
    fn check_ids(&mut self) -> Result<()> {
        let sources = &self.engine.plan().sources;
        for ((stream, before), source) in self.streams.iter_mut().zip(&self.ids).zip(sources) {
            let (Some(stream), Some(before)) = (stream, before) else { continue };
            match stream.id() {
                Ok(now) if now.as_ref() == Some(before) => {}
                Ok(now) => return Err(identity::made_anew(&source.name, before, now.as_deref())),
                // A broker that does not answer gives no records either; when it does, it is asked again.
                Err(error) if error.code == Code::Broker => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Pauses partitions that run ahead or are read to their end, resumes the others.
    fn align(&mut self) -> Result<()> {
        let bounds: Vec<i64> = self.engine.plan().sources.iter().map(|source| source.out_of_orderness).collect();
        // Per group of sources that meet, the least watermark of the partitions that have unread records.
        let mut slowest: BTreeMap<usize, i64> = BTreeMap::new();
        for (source, states) in self.partitions.iter().enumerate() {
            for (state, is_idle) in states.iter().zip(&self.idle[source]) {
                if !is_idle && state.end.is_none_or(|end| state.next < end) {
                    let mark = watermark(state.maximum, bounds[source]);
                    slowest.entry(self.meeting[source]).and_modify(|least| *least = mark.min(*least)).or_insert(mark);
                }
            }
        }
        for (source, bound) in bounds.iter().enumerate() {
            let Some(stream) = &mut self.streams[source] else { continue };
            let slowest = slowest.get(&self.meeting[source]);
            let limit = slowest.map_or(i64::MAX, |slowest| slowest.saturating_add(self.output.settings.max_drift));
            for (place, state) in self.partitions[source].iter().enumerate() {
                let is_over = state.end.is_some_and(|end| state.next >= end);
                let ahead = is_over || (state.maximum != NEVER && watermark(state.maximum, *bound) > limit);
                if ahead != self.paused[source][place] {
                    stream.pause(state.partition, ahead)?;
                    self.paused[source][place] = ahead;
                }
            }
        }
        Ok(())
    }

    fn numbers(&self) -> Numbers {
        let (plan, output) = (self.engine.plan(), &self.output);
        let ends = self.first_ends.iter().flatten();
        Numbers {
            windows_open: (self.state.open_windows() + self.spill.windows_outside(&self.state)) as u64,
            windows_final: output.tally.windows - self.windows_before,
            sinks: output.outlet.sinks(),
            has_caught_up: self.partitions.iter().flatten().zip(ends).all(|(state, end)| state.next >= *end),
            ..output.counters.numbers(plan, &self.partitions, &self.ends)
        }
    }

    fn progress(&mut self) -> Result<Progress> {
        let begun = Instant::now();
        if begun >= self.ends_at {
            self.check_ids()?;
            for (stream, ends) in self.streams.iter_mut().zip(&mut self.ends) {
                match stream.as_mut().map(|stream| stream.ends()) {
                    Some(Ok(found)) => *ends = found,
                    Some(Err(error)) if error.code == Code::PartitionsChanged => return Err(error),
                    // Only the lag that is shown needs them: a broker that does not answer now ends no run.
                    Some(Err(_)) | None => {}
                }
            }
            // A broker that is away is waited for while nothing is read.
            self.ends_at = Instant::now() + pause_after(begun.elapsed());
        }
        let plan = self.engine.plan();
        let slowest = slowest(plan, &self.partitions);
        let tally = &self.output.tally;
        let states = self.partitions.iter().flatten().zip(self.ends.iter().flatten());
        let lag = states.map(|(state, end)| (state.end.unwrap_or(*end) - state.next).max(0) as u64).sum();
        Ok(Progress {
            mode: Mode::Stream,
            read: tally.read,
            total: self.bounded.then_some(tally.read + lag),
            lag: Some(lag),
            frontier: slowest.as_ref().map(|(.., mark)| *mark).filter(|mark| *mark != NEVER),
            held_by: slowest.map(|(source, state, _)| (plan.sources[source].name.clone(), state.partition)),
            windows: tally.windows,
            late: tally.late,
            bad: tally.bad + tally.failed,
        })
    }
}

/// Returns how long to wait before logs are asked again where they end, after an answer that took so long.
fn pause_after(took: Duration) -> Duration {
    (took * LOOKS_AT_ENDS_SHARE).clamp(ENDS_EVERY, ENDS_SELDOM)
}

/// Returns for each source a number that it shares with all sources whose records come together with its own in a step.
fn meeting(plan: &Plan) -> Vec<usize> {
    let mut group: Vec<usize> = (0..plan.sources.len()).collect();
    for step in &plan.steps {
        let least = step.sources.iter().map(|source| group[*source]).min().unwrap_or(0);
        let joined: Vec<usize> = step.sources.iter().map(|source| group[*source]).collect();
        group.iter_mut().filter(|of| joined.contains(of)).for_each(|of| *of = least);
    }
    group
}

/// Checks that a checkpoint was made of the partitions that the log has now.
fn check_kept(source: &str, now: &[Partition], kept: Option<&[PartitionState]>) -> Result<()> {
    let Some(kept) = kept else { return Ok(()) };
    let before: Vec<Partition> = kept.iter().map(|state| state.partition).collect();
    if before == now {
        return Ok(());
    }
    let message = format!("source `{source}` has the partitions {now:?} now; the checkpoint was made of {before:?}");
    Err(Error::new(Code::PartitionsChanged, message).help(
        "what is final depends on the set of partitions: `partitions:` on the source names those to go on with, `--fresh` starts again with all",
    ))
}

/// Returns where reading of a partition, which holds offsets from `first` to `end`, begins and ends.
fn state_at_start(
    source: &str,
    partition: Partition,
    (first, end): (Offset, Offset),
    start: Option<&Cut>,
    kept: Option<&PartitionState>,
    until: &Until,
) -> Result<PartitionState> {
    let named = |cut: &Cut| cut.get(source).and_then(|cut| cut.get(&partition)).copied();
    let begin = kept.map(|kept| kept.next).or_else(|| start.and_then(named)).unwrap_or(first);
    let place = format!("source `{source}` partition {partition}");
    if begin < first {
        let from = if kept.is_some() { "the checkpoint goes on" } else { "the run starts" };
        let gone = format!(
            "{place} begins at offset {first}, {from} at {begin}: the records from {begin} to {} are gone",
            first - 1
        );
        return Err(Error::new(Code::Gap, gone)
            .help("the log no longer holds these records; a lake that was archived in time does: `--fresh --bootstrap lake` begins with it"));
    }
    if kept.is_some() && begin > end {
        let message =
            format!("{place} ends at offset {end}, but the checkpoint was made when it had been read up to {begin}");
        return Err(Error::new(Code::LogReplaced, message).help(
            "the log was made anew or has lost records; `--fresh` reads it from its start and replaces the results",
        ));
    }
    let stop = match until {
        Until::Stopped => None,
        Until::CaughtUp => Some(end.max(begin)),
        Until::Cut(cut) | Until::CaughtUpWith(cut) => Some(named(cut).unwrap_or(end.max(begin))),
    };
    if stop.is_some_and(|stop| stop < begin) {
        let error = Error::new(Code::Cut, format!("{place} starts at offset {begin}, after its end"));
        return Err(match kept {
            Some(_) => {
                error.help("the checkpoint is past that end; `--fresh` starts again from the log's first offset")
            }
            None => error,
        });
    }
    if let (Until::CaughtUpWith(_), Some(stop)) = (until, stop)
        && stop > end
    {
        return Err(Error::new(Code::Cut, format!("{place} ends at offset {end}, before its end {stop}"))
            .help("without `--until-caught-up` the run waits for the records up to there"));
    }
    let (start, maximum) = kept.map_or((begin, NEVER), |kept| (kept.start, kept.maximum));
    Ok(PartitionState { partition, start, end: stop, next: begin, maximum, last: kept.and_then(|kept| kept.last) })
}
