//! Streams that end without a word and go on from what they kept: a crash before or after any operation on the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::row::{RowConverter, SortField};
use engine::edge::{LogScan, LogStream};
use engine::watermark::NEVER;
use engine::{Aside, Code, Emission, Engine, Error, Grain, Part, Result};
use runtime::checkpoint::store::{Store, Upload};
use runtime::checkpoint::{Checkpoint, Line, RowsKind};
use runtime::stream::{Begin, Until};
use runtime::{Cut, Outcome, Outlet, Settings};

use crate::random::Random;
use crate::run::Gathered;

/// Operations that go well before the crash; then none does.
type Left = Arc<AtomicUsize>;

/// A store that crashes: an operation is done or not done, and the process is no more.
struct Crashing {
    store: Box<dyn Store>,
    left: Left,
    /// Whether the operation at which it happens is done.
    is_done: bool,
}

impl Crashing {
    fn operate<T>(&self, operation: impl FnOnce() -> Result<T>) -> Result<T> {
        operate(&self.left, self.is_done, operation)
    }
}

fn operate<T>(left: &Left, is_done: bool, operation: impl FnOnce() -> Result<T>) -> Result<T> {
    let crash = || Error::new(Code::Stopped, "a crash");
    match left.load(Ordering::Relaxed) {
        0 => Err(crash()),
        count => {
            left.store(count - 1, Ordering::Relaxed);
            if count > 1 {
                return operation();
            }
            if is_done {
                operation()?;
            }
            Err(crash())
        }
    }
}

impl Store for Crashing {
    fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        self.store.sizes()
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        self.store.read(name, range)
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>> {
        let upload = self.store.begin(name)?;
        Ok(Box::new(CrashingUpload { upload, left: self.left.clone(), is_done: self.is_done }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.operate(|| self.store.create(name, bytes))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.operate(|| self.store.replace(name, bytes))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.operate(|| self.store.remove(name))
    }

    fn tidy(&self) -> Result<()> {
        self.store.tidy()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}

struct CrashingUpload {
    upload: Box<dyn Upload>,
    left: Left,
    is_done: bool,
}

impl Upload for CrashingUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        operate(&self.left, self.is_done, || self.upload.write(bytes))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { upload, left, is_done } = *self;
        operate(&left, is_done, || upload.finish())
    }
}

/// An outlet that keeps checkpoints and publishes what they hold.
struct Keeper<'a> {
    engine: &'a Engine,
    line: Line,
    staged: Gathered,
    ledger: &'a mut Ledger,
    /// Whether checkpoints are made without what lies outside of the state: a fault, planted to see that it is found.
    forgets: bool,
}

impl Keeper<'_> {
    /// Compares what the newest checkpoint keeps, whatever of it was written when, with what the state was then.
    fn compare(&self, whole: Vec<Part>) {
        let last = self.line.last().expect("it was just made");
        // Of windows of which a part lies elsewhere the whole is not at hand.
        let pieces: BTreeSet<(String, Option<(i64, i64)>)> = last
            .parts
            .iter()
            .filter(|part| part.name.piece.is_some())
            .map(|part| (part.name.step.clone(), part.name.window))
            .collect();
        let engine = Engine::new(self.engine.plan().clone());
        let resumed = self.line.resume(&engine, None).expect("it can be read").expect("it is there");
        let mut state = resumed.state;
        // What a join was given it takes up when it is closed.
        let closed =
            engine.close(&vec![NEVER; engine.plan().sources.len()], &mut state).expect("nothing is to be closed");
        assert!(closed.emissions.is_empty(), "nothing is final before anything was read");
        let found = lines(engine.snapshot(&mut state, true), &pieces);
        assert_eq!(found, lines(whole, &pieces), "checkpoint {} keeps the state that there was", last.number);
    }
}

/// Returns every row of some parts as bytes, beside what it is of, in order, however the parts are cut.
fn lines(parts: Vec<Part>, without: &BTreeSet<(String, Option<(i64, i64)>)>) -> Vec<(String, Vec<u8>)> {
    let mut lines = Vec::new();
    for Part { name, tables } in parts {
        let window = name.window.map(|window| (window.start, window.end));
        if without.contains(&(name.step.clone(), window)) {
            continue;
        }
        for rows in tables.expect("the whole was asked for") {
            let fields = rows.columns().iter().map(|column| SortField::new(column.data_type().clone())).collect();
            let converter = RowConverter::new(fields).expect("the columns of a state can be ordered");
            let of = format!("{} {window:?} {:?} {:?} {}", name.step, name.side, name.partition, rows.schema());
            let bytes = converter.convert_columns(rows.columns()).expect("they have these types");
            lines.extend(bytes.iter().map(|row| (of.clone(), row.as_ref().to_vec())));
        }
    }
    lines.sort_unstable();
    lines
}

/// What was put into the outbox of each checkpoint, and what was published.
struct Ledger {
    outboxes: BTreeMap<u64, Gathered>,
    published: Gathered,
}

impl Ledger {
    /// Publishes what is in the outboxes of the checkpoints that there are.
    fn publish(&mut self, line: &Line) {
        let last = line.last().map_or(0, |last| last.number);
        let rest = self.outboxes.split_off(&(last + 1));
        for outbox in std::mem::replace(&mut self.outboxes, rest).into_values() {
            self.published.follow(outbox);
        }
    }
}

impl Outlet for Keeper<'_> {
    fn rows(&mut self, emission: &Emission) -> Result<()> {
        let kind = if emission.is_final { RowsKind::Final } else { RowsKind::Open };
        self.line.put(kind, self.engine.plan().name_of(emission.input), &emission.rows)?;
        self.staged.rows(emission)
    }

    fn early(&mut self, emission: &Emission) -> Result<()> {
        self.staged.early(emission)
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        self.staged.aside(aside)
    }

    fn keeps_checkpoints(&self) -> bool {
        true
    }

    fn commit(&mut self, checkpoint: Option<Checkpoint>) -> Result<()> {
        let mut checkpoint = checkpoint.expect("a stream that keeps checkpoints gives them");
        if self.forgets {
            checkpoint.pieces.clear();
        }
        let staged = std::mem::replace(&mut self.staged, Gathered::new(self.engine.plan()));
        self.ledger.outboxes.insert(self.line.number(), staged);
        let whole = checkpoint.whole.take().filter(|_| !self.forgets);
        self.line.keep(self.engine.plan(), checkpoint, BTreeMap::new())?;
        if let Some(whole) = whole {
            self.compare(whole);
        }
        self.ledger.publish(&self.line);
        Ok(())
    }
}

/// A lake that the beginning is read from, and where it ends.
pub(crate) type Lake<'a> = (&'a [Option<Arc<dyn LogScan>>], Option<Cut>);

/// What came of a stream that crashed.
pub(crate) struct Crashed {
    /// What was published.
    pub(crate) published: Gathered,
    /// What the last run came to.
    pub(crate) outcome: Outcome,
    /// Whether a run went on from a checkpoint that had pieces of windows.
    pub(crate) had_pieces: bool,
}

/// Runs a stream that crashes so many times, and goes on each time from the newest checkpoint, with hashes of its own and its own
/// way of cutting a state into parts.
pub(crate) fn run(
    engine: &Engine,
    streams: impl Fn() -> Vec<Option<Box<dyn LogStream>>>,
    (lake, stores): (Option<Lake<'_>>, &dyn Fn() -> Box<dyn Store>),
    (start, until): (Option<&Cut>, &Until),
    (crashes, forgets): (usize, bool),
    random: &mut Random,
    settings: &Settings,
) -> Result<Crashed> {
    let plan = engine.plan();
    let mut ledger = Ledger { outboxes: BTreeMap::new(), published: Gathered::new(plan) };
    let mut had_pieces = false;
    for crash in 0..=crashes {
        let grain = Grain {
            groups: *random.pick(&[1, 2, 5, 1024]),
            layer: *random.pick(&[1, 3, 100]),
            bucket_bits: *random.pick(&[0, 10, 14, 20]),
            buckets: *random.pick(&[[2, 2], [2, 5], [8, 128]]),
        };
        let engine = Engine::new(plan.clone()).with_grain(grain);
        let operations = if crash == crashes { usize::MAX } else { 1 + random.below(40) };
        let store = Crashing { store: stores(), left: Arc::new(operations.into()), is_done: random.chance(50) };
        let line = Line::open(Box::new(store), plan, false)?.carrying(*random.pick(&[0, 1_000, 1 << 20]));
        ledger.outboxes.retain(|number, _| line.last().is_some_and(|last| *number <= last.number));
        ledger.publish(&line);
        had_pieces |= line.last().is_some_and(|last| last.parts.iter().any(|part| part.name.piece.is_some()));
        let resumed = line.resume(&engine, settings.memory.as_ref())?;
        let mut keeper = Keeper { engine: &engine, line, staged: Gathered::new(plan), ledger: &mut ledger, forgets };
        let begin = match (resumed, &lake) {
            (Some(resumed), _) => Ok(Begin::Checkpoint(Box::new(resumed))),
            (None, Some((scans, end))) => {
                let cuts = (start, end.as_ref());
                let read = runtime::batch::bootstrap(&engine, scans, cuts, &mut keeper, settings, &());
                read.map(|read| Begin::Lake(Box::new(read)))
            }
            (None, None) => Ok(start.map_or(Begin::First, Begin::Cut)),
        };
        let run = |begin| runtime::stream::run(&engine, streams(), begin, until, &mut keeper, settings, &());
        match begin.and_then(run) {
            Ok(outcome) => return Ok(Crashed { published: ledger.published, outcome, had_pieces }),
            Err(error) if error.code == Code::Stopped => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last run does not crash")
}
