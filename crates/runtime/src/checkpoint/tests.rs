//! The line of checkpoints by itself. That runs go on from it is tested with random pipelines and with processes that are killed.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array};
use engine::PartName;

use super::store::{Folder, Memory};
use super::*;

fn plan(definition: &str) -> Plan {
    let canonical = format!("{{\"semantics\": \"{definition}\"}}");
    let (name, definition) = ("p".into(), definition.into());
    Plan { name, sources: Vec::new(), steps: Vec::new(), sinks: Vec::new(), definition, canonical }
}

fn rows(of: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(of)) as ArrayRef)]).unwrap()
}

fn part(step: &str, tables: Option<RecordBatch>) -> Part {
    Part { name: PartName { step: step.into(), ..PartName::default() }, tables: tables.map(|rows| vec![rows]) }
}

fn keep(line: &mut Line, parts: Vec<Part>) -> Result<u64> {
    let plan = plan("d");
    let tally = Tally::new(&plan, (None, None));
    line.keep(
        &plan,
        Checkpoint { partitions: Vec::new(), tally, parts, pieces: Vec::new(), whole: None },
        BTreeMap::new(),
    )
}

fn open(store: &dyn Fn() -> Box<dyn Store>) -> Line {
    Line::open(store(), &plan("d"), false).unwrap()
}

fn table(line: &Line, step: &str) -> RecordBatch {
    let entry = line.last().unwrap().parts.iter().find(|part| part.name.step == step).unwrap();
    entry.tables[0].read(&*line.store).unwrap()
}

#[test]
fn what_does_not_change_stays_readable_and_what_nothing_needs_goes() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let stores: [&dyn Fn() -> Box<dyn Store>; 2] =
        [&|| Box::new(memory.clone()), &|| Box::new(Folder::new(folder.path().join("checkpoints")))];
    for store in stores {
        // `still` is written once; `busy` is large and written each time, so that the file of `still` soon holds little else.
        let still = rows([7, 8, 9]);
        for turn in 0..12i64 {
            let mut line = open(store);
            line.put(RowsKind::Final, "busy", &rows(0..turn)).unwrap();
            let first = (turn == 0).then(|| still.clone());
            let number =
                keep(&mut line, vec![part("still", first), part("busy", Some(rows(turn..turn + 5000)))]).unwrap();
            assert_eq!(number, turn as u64 + 1);
            let line = open(store);
            assert_eq!((table(&line, "still"), table(&line, "busy")), (still.clone(), rows(turn..turn + 5000)));
            let last = line.last().unwrap();
            assert_eq!(last.outbox.iter().map(|entry| entry.rows.rows).sum::<u64>(), turn as u64);
        }
        let names = store().list().unwrap();
        let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
        // The oldest that is kept may lean on the file before it.
        assert!(count(".json") == KEPT && (KEPT..=KEPT + 1).contains(&count(".parts")), "{names:?}");
    }
}

#[test]
fn of_two_processes_one_stops_before_it_publishes() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let (mut one, mut other) = (open(store), open(store));
    keep(&mut one, vec![part("s", Some(rows([1])))]).unwrap();
    one.must_be_newest().unwrap();
    let error = other.must_be_newest().unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    let error = keep(&mut other, vec![part("s", Some(rows([2])))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert_eq!(table(&open(store), "s"), rows([1]), "what the other one wrote is in nobody's way");
}

#[test]
fn a_start_beside_a_run_that_goes_on_is_told_so_and_not_of_damage() {
    let store = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
    let mut running = open(line);
    running.put(RowsKind::Final, "s", &rows([5])).unwrap();
    keep(&mut running, vec![part("s", Some(rows([1])))]).unwrap();
    let late = open(line);
    for turn in 0..2 * KEPT as i64 {
        keep(&mut running, vec![part("s", Some(rows([turn])))]).unwrap();
    }
    // What `late` found is gone by now, since `running` needs it no more.
    let error = late.resume(&Engine::new(Arc::new(plan("d"))), None).err().expect("it cannot go on");
    assert_eq!(error.code, Code::StateBusy, "{error}");
    let error = late.rows(&late.last().unwrap().outbox[0]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy, "{error}");
    assert!(error.message.contains("another run of `p` has made checkpoint"), "{error}");
    // So is a checkpoint that a start has just seen in the list.
    let listed = Shared { store: store.clone(), ghost: Some(99), ..Shared::default() };
    let error = Line::open(Box::new(listed), &plan("d"), false).err().expect("it cannot go on");
    assert_eq!(error.code, Code::StateBusy, "{error}");
    assert!(error.message.contains("another run of `p` is making checkpoints"), "{error}");
}

/// What happens while a run sleeps.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// A store that others use, too.
#[derive(Default)]
struct Shared {
    store: Memory,
    /// The number of a checkpoint that is gone, and that its list still has.
    ghost: Option<u64>,
    /// What happens as soon as the first checkpoint is made, or just before.
    meanwhile: Mutex<Option<Meanwhile>>,
    is_before: bool,
}

impl Store for Shared {
    fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let mut sizes = self.store.sizes()?;
        sizes.extend(self.ghost.map(|ghost| (manifest::name(ghost), 1)));
        Ok(sizes)
    }
    fn read(&self, name: &str, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>> {
        self.store.read(name, range)
    }
    fn begin(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.store.begin(name)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        let (before, after) = if self.is_before { (meanwhile, None) } else { (None, meanwhile) };
        before.into_iter().for_each(|meanwhile| meanwhile());
        let is_made = self.store.create(name, bytes)?;
        after.into_iter().for_each(|meanwhile| meanwhile());
        Ok(is_made)
    }
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.store.replace(name, bytes)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.store.remove(name)
    }
    fn tidy(&self) -> Result<()> {
        self.store.tidy()
    }
    fn describe(&self) -> String {
        self.store.describe()
    }
}

#[test]
fn a_line_that_was_cleared_under_a_run_ends_it_and_leaves_nothing() {
    let store = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
    let mut running = open(line);
    keep(&mut running, vec![part("s", Some(rows([1])))]).unwrap();
    keep(&mut running, vec![part("s", None)]).unwrap();
    for name in store.list().unwrap() {
        store.remove(&name).unwrap();
    }
    // It would lean on data that is gone.
    let error = keep(&mut running, vec![part("s", None)]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert!(error.message.contains("were removed while this run went on"), "{error}");
    assert_eq!(store.list().unwrap(), Vec::<String>::new());
    assert!(open(line).last().is_none());
}

#[test]
fn a_line_that_was_cleared_is_told_where_data_of_it_are_carried_on() {
    let store = Memory::default();
    let mut running = open(&|| -> Box<dyn Store> { Box::new(store.clone()) });
    running.put(RowsKind::Final, "s", &rows(0..5000)).unwrap();
    keep(&mut running, vec![part("still", Some(rows([1])))]).unwrap();
    for name in store.list().unwrap() {
        store.remove(&name).unwrap();
    }
    // The file of `still` held little else that is needed: it is read before anything is listed.
    let mut parts = vec![PartEntry { name: part("still", None).name.into(), tables: Vec::new() }];
    parts[0].tables.clone_from(&running.last().unwrap().parts[0].tables);
    assert_eq!(running.carry(&mut parts).unwrap_err().code, Code::StateBusy);
    let error = keep(&mut running, vec![part("still", None)]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert!(error.message.contains("were removed while this run went on"), "{error}");
}

/// A state of parts of one table each, kept again and again, and what it may cost.
struct Costs {
    store: Memory,
    line: Line,
    chance: u64,
    /// Bytes that a checkpoint may carry on however little it writes.
    floor: u64,
    /// The largest state so far, and how much was stored at most, as parts of it.
    state: u64,
    stored: f64,
}

impl Costs {
    /// Keeps the first state.
    fn of(parts: usize, floor: u64) -> Self {
        let store = Memory::default();
        let line = open(&|| -> Box<dyn Store> { Box::new(store.clone()) }).carrying(floor);
        let mut costs = Self { store, line, chance: 1, floor, state: 0, stored: 0.0 };
        costs.keep(parts, 0..parts, 0);
        costs
    }

    fn below(&mut self, limit: usize) -> usize {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) as usize % limit
    }

    /// Makes a checkpoint of a state of so many parts, of which some changed, with so many rows in the outbox.
    fn keep(&mut self, parts: usize, changed: impl IntoIterator<Item = usize>, outbox: usize) {
        let changed: BTreeSet<usize> = changed.into_iter().collect();
        let mut values = |count| rows((0..count).map(|_| self.below(1 << 30) as i64).collect::<Vec<_>>());
        let outbox = values(outbox);
        let state = (0..parts).map(|at| part(&format!("{at:04}"), changed.contains(&at).then(|| values(20)))).collect();
        self.line.put(RowsKind::Final, "s", &outbox).unwrap();
        let number = keep(&mut self.line, state).unwrap();
        let last = self.line.last().unwrap();
        let own = manifest::data_name(number, &self.line.owner);
        let (mut all, mut new, mut carried, mut largest) = (0, last.outbox.iter().map(|of| of.rows.size).sum(), 0, 0);
        for entry in &last.parts {
            let is_changed = changed.contains(&entry.name.step.parse().unwrap());
            for blob in &entry.tables {
                all += blob.size;
                largest = largest.max(blob.size);
                assert!(!is_changed || blob.file == own);
                if blob.file == own {
                    *(if is_changed { &mut new } else { &mut carried }) += blob.size;
                }
            }
        }
        let most = u64::max(new, self.floor) + largest;
        assert!(carried <= most, "checkpoint {number} carries {carried} bytes on, and writes {new}");
        self.state = self.state.max(all);
        self.stored = self.bytes() as f64 / self.state as f64;
    }

    /// Returns the bytes of all data files.
    fn bytes(&self) -> u64 {
        self.store.sizes().unwrap().iter().filter(|(name, _)| manifest::is_data(name)).map(|(_, size)| size).sum()
    }
}

const PARTS: usize = 100;

#[test]
fn small_changes_of_a_large_state_cost_little_each_and_little_in_all() {
    // What changes in a turn: any parts; each in its turn, from either end; the same ones again and again, and one that then
    // stays beside them.
    type Changes = fn(&mut Costs, usize) -> Vec<usize>;
    let patterns: [(&str, Changes); 4] = [
        ("any", |costs, _| (0..4).map(|_| costs.below(PARTS)).collect()),
        ("upwards", |_, turn| (0..4).map(|at| (turn * 4 + at) % PARTS).collect()),
        ("downwards", |_, turn| (0..4).map(|at| PARTS - 1 - (turn * 4 + at) % PARTS).collect()),
        ("hot", |_, turn| (0..10).chain([10 + turn % (PARTS - 10)]).collect()),
    ];
    for (name, changes) in patterns {
        for (floor, outbox) in [(0, 0), (0, 500), (5_000, 0)] {
            let mut costs = Costs::of(PARTS, floor);
            let mut most = 0.0f64;
            for turn in 0..120 {
                let changed = changes(&mut costs, turn);
                costs.keep(PARTS, changed, outbox);
                most = most.max(costs.stored);
                if turn % 50 == 0 {
                    // A start knows no less of what there is.
                    costs.line = open(&|| -> Box<dyn Store> { Box::new(costs.store.clone()) }).carrying(floor);
                }
            }
            println!("{name} {floor} {outbox}: {most:.2}");
            assert!(most < 4.0, "{name}: {most} times the state is stored");
        }
    }
}

#[test]
fn what_a_state_leaves_that_becomes_small_goes_little_by_little() {
    let mut costs = Costs::of(PARTS, 2_000);
    let before = costs.bytes();
    for turn in 0..30 {
        costs.keep(PARTS / 3, [turn], 0);
    }
    let left = costs.bytes() as f64 / before as f64;
    assert!(left < 2.2 / 3.0, "{left} of the data is still there for a third of the state");
}

#[test]
fn a_run_that_slept_while_another_went_far_takes_nothing_from_it() {
    // It slept before its first checkpoint, or after it.
    for made in [0, 1] {
        let store = Memory::default();
        let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
        let mut sleeper = open(line);
        (0..made).for_each(|n| _ = keep(&mut sleeper, vec![part("s", Some(rows([n])))]).unwrap());
        let mut other = open(line);
        // So far that the number which the sleeper would give next is free again.
        let far = KEPT as i64 + 2;
        (0..far).for_each(|n| _ = keep(&mut other, vec![part("s", Some(rows([n])))]).unwrap());
        let before = store.list().unwrap();
        let error = keep(&mut sleeper, vec![part("s", Some(rows([9])))]).unwrap_err();
        assert_eq!(error.code, Code::StateBusy);
        assert!(error.message.contains(&format!("has made checkpoint {}", made + far)), "{error}");
        assert_eq!(store.list().unwrap(), before);
        assert_eq!(table(&open(line), "s"), rows([far - 1]));
        keep(&mut other, vec![part("s", Some(rows([far])))]).unwrap();
    }
}

#[test]
fn what_a_run_made_that_slept_after_its_last_look_goes_with_the_next_checkpoint() {
    let memory = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(memory.clone()) };
    let following = Arc::new(Mutex::new(None));
    let (shared, seen) = (memory.clone(), Arc::clone(&following));
    let meanwhile: Meanwhile = Box::new(move || {
        let mut other = open(&|| Box::new(shared.clone()));
        (0..KEPT as i64 + 2).for_each(|n| _ = keep(&mut other, vec![part("s", Some(rows([n])))]).unwrap());
        *seen.lock().unwrap() = Some(other);
    });
    let store =
        Shared { store: memory.clone(), meanwhile: Mutex::new(Some(meanwhile)), is_before: true, ..Shared::default() };
    let mut sleeper = Line::open(Box::new(store), &plan("d"), false).unwrap();
    let error = keep(&mut sleeper, vec![part("s", Some(rows([9])))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy, "{error}");
    assert!(memory.list().unwrap().contains(&manifest::name(1)), "the number was free again");
    assert_eq!(table(&open(line), "s"), rows([KEPT as i64 + 1]));
    let mut other = following.lock().unwrap().take().expect("it went on");
    keep(&mut other, vec![part("s", Some(rows([7])))]).unwrap();
    let names = memory.list().unwrap();
    assert_eq!(names.iter().filter(|name| name.ends_with(".json")).count(), KEPT, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".parts")).count(), KEPT, "{names:?}");
    assert_eq!(table(&open(line), "s"), rows([7]));
}

#[test]
fn a_run_whose_line_was_cleared_leaves_what_another_job_has_begun_there() {
    let store = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
    let mut running = open(line);
    (0..2).for_each(|n| _ = keep(&mut running, vec![part("s", Some(rows([n])))]).unwrap());
    for name in store.list().unwrap() {
        store.remove(&name).unwrap();
    }
    let mut other = open(line);
    keep(&mut other, vec![part("s", Some(rows([7])))]).unwrap();
    let before = store.list().unwrap();
    let error = keep(&mut running, vec![part("s", Some(rows([3])))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy, "{error}");
    assert_eq!(store.list().unwrap(), before);
    keep(&mut other, vec![part("s", Some(rows([8])))]).unwrap();
    assert_eq!(table(&open(line), "s"), rows([8]));
}

#[test]
fn a_run_that_sleeps_once_it_has_made_a_checkpoint_leaves_those_that_follow_it() {
    // How many checkpoints another run makes while it sleeps, and whether the last of these has its data only.
    for (follow, is_half) in [(0, true), (1, false), (1, true), (KEPT as i64 + 1, false)] {
        let memory = Memory::default();
        let line = &|| -> Box<dyn Store> { Box::new(memory.clone()) };
        let following = Arc::new(Mutex::new(None));
        let (shared, seen) = (memory.clone(), Arc::clone(&following));
        let others = move || {
            let line = &|| -> Box<dyn Store> { Box::new(shared.clone()) };
            let mut other = open(line);
            assert_eq!(table(&other, "still"), rows([7]));
            (0..follow).for_each(|n| {
                keep(&mut other, vec![part("still", None), part("s", Some(rows([n])))]).unwrap();
            });
            if is_half {
                other.store.begin(&manifest::data_name(other.next, "half")).unwrap().finish().unwrap();
            }
            *seen.lock().unwrap() = Some(other);
        };
        let meanwhile: Meanwhile = Box::new(others);
        let store = Shared { store: memory.clone(), meanwhile: Mutex::new(Some(meanwhile)), ..Shared::default() };
        let mut sleeper = Line::open(Box::new(store), &plan("d"), false).unwrap();
        let made = keep(&mut sleeper, vec![part("still", Some(rows([7]))), part("s", Some(rows([9])))]);
        assert_eq!(made.is_ok(), follow == 0, "{made:?}");
        let names = memory.list().unwrap();
        let mut other = following.lock().unwrap().take().expect("it went on");
        if is_half {
            assert!(names.contains(&manifest::data_name(other.next, "half")), "{names:?}");
        }
        // The other one goes on, and so does whoever starts after it.
        (0..2).for_each(|n| _ = keep(&mut other, vec![part("still", None), part("s", Some(rows([n])))]).unwrap());
        assert_eq!(table(&open(line), "still"), rows([7]));
    }
}

#[test]
fn a_sink_gets_the_outboxes_that_it_lacks_as_long_as_they_are_kept() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let mut line = open(store);
    for epoch in 1..=5 {
        line.put(RowsKind::Final, "s", &rows([epoch])).unwrap();
        keep(&mut line, Vec::new()).unwrap();
    }
    let line = open(store);
    let epochs = |since: u64| {
        let outboxes = line.outboxes_after("s", since)?;
        Some(outboxes.iter().map(|(epoch, entries)| (*epoch, line.rows(&entries[0]).unwrap())).collect::<Vec<_>>())
    };
    assert_eq!(epochs(3), Some(vec![(4, rows([4])), (5, rows([5]))]));
    assert_eq!(epochs(2).map(|epochs| epochs.len()), Some(3));
    assert_eq!(epochs(1), None, "epoch 2 is not kept any more");
    assert_eq!(epochs(5), Some(Vec::new()));
}

#[test]
fn an_epoch_without_anything_for_a_sink_is_not_missed() {
    let store = Memory::default();
    let mut line = open(&|| Box::new(store.clone()));
    let tally = Tally::new(&plan("d"), (None, None));
    // By epoch, the last one with something for a sink, and the one before.
    let rare = [(1, 0), (1, 0), (1, 0), (1, 0), (5, 1)];
    let late = [(0, 0), (0, 0), (0, 0), (0, 0), (5, 0)];
    let busy = [(1, 0), (1, 0), (3, 1), (3, 1), (5, 3)];
    let mark = |(epoch, before)| SinkMark { epoch, before: Some(before), rows: 0 };
    for epoch in 0..5 {
        let marks = [("rare", rare[epoch]), ("late", late[epoch]), ("busy", busy[epoch])];
        let marks = marks.map(|(name, of)| (name.to_string(), mark(of)));
        let checkpoint = Checkpoint {
            partitions: Vec::new(),
            tally: tally.clone(),
            parts: Vec::new(),
            pieces: Vec::new(),
            whole: None,
        };
        line.keep(&plan("d"), checkpoint, marks.into()).unwrap();
    }
    // Kept are 3, 4 and 5.
    let numbers = |sink: &str, since: u64| {
        let outboxes = line.outboxes_after(sink, since)?;
        Some(outboxes.into_iter().map(|(epoch, _)| epoch).collect::<Vec<_>>())
    };
    assert_eq!(numbers("rare", 1), Some(vec![3, 4, 5]));
    assert_eq!(numbers("rare", 0), None, "it had something in epoch 1");
    assert_eq!(numbers("late", 0), Some(vec![3, 4, 5]));
    assert_eq!(numbers("busy", 1), Some(vec![3, 4, 5]));
    assert_eq!(numbers("busy", 0), None);
    assert_eq!(numbers("other", 1), None, "nothing is known of it");
}

#[test]
fn another_definition_and_a_fresh_start_are_told_apart() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let mut line = open(store);
    let job = line.job().to_string();
    (0..2).for_each(|_| _ = keep(&mut line, Vec::new()).unwrap());
    line.tell(BTreeMap::from([("out".into(), 2)])).unwrap();
    assert_eq!(open(store).told().unwrap()["out"], 2);
    let error = Line::open(store(), &plan("other"), false).err().unwrap();
    assert_eq!(error.code, Code::StateForeign);
    assert_eq!(error.details, ["version of semantics: d -> other"]);
    let mut fresh = Line::open(store(), &plan("other"), true).unwrap();
    assert!(fresh.last().is_none() && fresh.job() != job && fresh.told().unwrap().is_empty());
    assert_eq!(open(store).last().unwrap().number, 2, "what was there stays until the new job has a checkpoint");
    keep(&mut fresh, Vec::new()).unwrap();
    assert_eq!(Line::open(store(), &plan("other"), false).unwrap().last().unwrap().number, 3);
    assert_eq!(store().list().unwrap().iter().filter(|name| name.ends_with(".json") && *name != TOLD).count(), 1);
}
