//! Hostile bytes through every door: thousands of mutated inputs a door, in a process with bounds of memory and time.
//!
//! `cargo test hostile` gives each door a sample, always the same; `SAMESTREAM_TEST_HOSTILE=all` the whole corpus, and a
//! number so many inputs. `cargo test hostile -- --nocapture` says how many there were.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use engine::window::Window;
use engine::{Code, Engine, Part, PartName};
use runtime::checkpoint::store::{Memory, Store, Upload};
use runtime::checkpoint::{Checkpoint, Line};
use runtime::tally::Tally;
use testkit::hostile::{TARGETS, mutate, target};
use testkit::random::Random;

/// How many mutated inputs a door gets: a number, or `all`.
const COUNT: &str = "SAMESTREAM_TEST_HOSTILE";
/// Tells a process that it is to take hostile bytes: the door, and how many mutated inputs.
const WORK: &str = "SAMESTREAM_TEST_HOSTILE_WORK";

/// The address space of a process that takes hostile bytes, in KiB: what would take more ends it. The program itself and
/// the stacks of its threads need about a quarter.
const MOST_SPACE_KIB: u64 = 4 << 20;
/// How much memory an input may take beyond what there was before it.
const MOST_GROWTH_KIB: u64 = 40 << 10;
/// How long an input may take, in a build without optimisation on a machine that does other things.
const MOST_TIME: Duration = Duration::from_secs(5);

/// Where what was found lies: a folder for each door.
fn regressions(door: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(door)
}

/// Gives a door its inputs in a process of its own: those that were found, and mutated seeds. `all` of these are the corpus,
/// `sample` what a test takes that nobody has asked for more.
fn check(door: &str, sample: u64, all: u64) {
    let count = match std::env::var(COUNT).as_deref() {
        Ok("all") => all,
        Ok(count) => count.parse().unwrap_or_else(|_| panic!("{COUNT} is a number or `all`")),
        Err(_) => sample,
    };
    let program = std::env::current_exe().expect("a test knows its program");
    let line = format!("ulimit -v {MOST_SPACE_KIB}; exec \"$0\" --exact hostile::work --nocapture");
    let output = Command::new("sh").arg("-c").arg(line).arg(program).env(WORK, format!("{door} {count}")).output();
    let output = output.expect("a shell starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rev().find(|line| line.starts_with("input ")).unwrap_or("no input");
    let errors = String::from_utf8_lossy(&output.stderr);
    let done = said.lines().find(|line| line.starts_with(&format!("{door}: {count} mutated")));
    match done {
        Some(done) if output.status.success() => println!("{done}"),
        _ => panic!("{door}: {last}\n{errors}"),
    }
}

/// Does what [`check`] asks for; otherwise nothing.
#[test]
fn work() {
    let Ok(wanted) = std::env::var(WORK) else { return };
    let (door, count) = wanted.split_once(' ').expect("a door and a number");
    let target = target(door).expect("there is such a door");
    let count: u64 = count.parse().expect("a number");
    // As the program does it: what a library gave up over is told as an error. A backtrace would take more memory than all
    // inputs together.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !engine::hostile::is_guarded() {
            told(panic);
        }
    }));
    let (begun, mut most) = (Instant::now(), (0, Duration::ZERO));
    let mut tried = |name: &str, input: &[u8]| {
        println!("input {name}");
        let (before, worked, begun) = (forget_peak(), cpu_time(), Instant::now());
        (target.run)(input);
        let (growth, time) = (memory("VmHWM:").saturating_sub(before), cpu_time() - worked);
        if growth > MOST_GROWTH_KIB / 2 {
            println!("input {name} took {growth} KiB");
        }
        assert!(time < MOST_TIME, "it took {time:?}");
        // Other work on the machine may take its time, but not that much.
        assert!(begun.elapsed() < MOST_TIME * 12, "it took {:?}, and little of the processor", begun.elapsed());
        assert!(growth < MOST_GROWTH_KIB, "it took {growth} KiB");
        most = (growth.max(most.0), time.max(most.1));
    };
    let seeds = (target.seeds)();
    // The first one makes what is there once.
    (target.run)(&seeds[0]);
    seeds.iter().enumerate().for_each(|(number, seed)| tried(&format!("seed {number}"), seed));
    let mut found: Vec<PathBuf> = std::fs::read_dir(regressions(door))
        .map(|entries| entries.map(|entry| entry.expect("a folder can be read").path()).collect())
        .unwrap_or_default();
    found.sort();
    for path in &found {
        tried(&path.display().to_string(), &std::fs::read(path).expect("a file can be read"));
    }
    for number in 0..count {
        let mut random = Random::new(number);
        let (seed, other) = (random.below(seeds.len()), random.below(seeds.len()));
        tried(&number.to_string(), &mutate(&seeds[seed], &seeds[other], &mut random));
    }
    let (growth, time) = most;
    println!(
        "{door}: {count} mutated inputs of {} seeds, {} found before, in {:.1} s; one took at most {} MiB and {} ms",
        seeds.len(),
        found.len(),
        begun.elapsed().as_secs_f64(),
        growth.div_ceil(1024),
        time.as_millis()
    );
}

/// Lets the kernel forget the most memory that this process has held, and returns what it takes for that now, in KiB. It is
/// not asked what the process holds: that shrinks when pages of the program are taken away, and the growth would be that.
fn forget_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may forget its peak");
    memory("VmHWM:")
}

/// Returns how long this process, all of its threads, has had a processor, to a hundredth of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("there is /proc");
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| Duration::from_millis(10 * ticks.parse::<u64>().expect("a number"))).sum()
}

fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn every_door_is_tried() {
    let tried = ["json", "modes", "parquet", "journal", "pipeline", "lookup", "checkpoint", "accumulator"];
    assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tried);
}

#[test]
fn no_value_of_a_topic_does_harm() {
    check("json", 4_000, 4_000);
}

#[test]
fn values_of_a_topic_are_the_same_to_stream_and_batch_and_kept_aside_for_the_same_reasons() {
    check("modes", 60, 1_500);
}

#[test]
fn no_file_of_a_lake_does_harm() {
    check("parquet", 500, 2_500);
}

#[test]
fn no_segment_of_a_journal_does_harm() {
    check("journal", 150, 1_500);
}

#[test]
fn no_pipeline_file_does_harm() {
    check("pipeline", 200, 1_000);
}

#[test]
fn no_table_of_a_lookup_does_harm() {
    check("lookup", 500, 1_500);
}

#[test]
fn no_checkpoint_does_harm() {
    check("checkpoint", 300, 1_500);
}

#[test]
fn no_state_of_an_aggregate_is_merged_wrong() {
    check("accumulator", 1_000, 1_000);
}

/// A store in which reading what a checkpoint holds makes a library give up.
struct GivesUp(Memory);

impl Store for GivesUp {
    fn sizes(&self) -> engine::Result<BTreeMap<String, u64>> {
        self.0.sizes()
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> engine::Result<Vec<u8>> {
        assert!(!name.ends_with(".parts"), "a library gives up");
        self.0.read(name, range)
    }

    fn begin(&self, name: &str) -> engine::Result<Box<dyn Upload>> {
        self.0.begin(name)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> engine::Result<bool> {
        self.0.create(name, bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> engine::Result<()> {
        self.0.replace(name, bytes)
    }

    fn remove(&self, name: &str) -> engine::Result<()> {
        self.0.remove(name)
    }

    fn tidy(&self) -> engine::Result<()> {
        self.0.tidy()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// No input is known over which taking a state in panics, so the test does it.
#[test]
fn a_checkpoint_over_which_a_library_gives_up_is_named() {
    let text = "version: 1\nname: p\nsources:\n  s:\n    journal: {path: log}\n    schema: {t: timestamp!}\n    \
                event_time: {column: t, out_of_orderness: 1s}\nsteps:\n  w: {from: s, window: {tumbling: {size: 1m}}, \
                aggregate: {n: \"count(*)\"}}\nsinks:\n  o: {from: w, stdout: {}}\n";
    let loaded = pipeline::load("p.yaml", text, &pipeline::Variables::default());
    let plan = Arc::new(loaded.unwrap_or_else(|errors| panic!("{errors:?}")).plan);
    let store = Memory::default();
    let mut line = Line::open(Box::new(store.clone()), &plan, false).unwrap();
    let table: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let tables = Some(vec![RecordBatch::try_from_iter([("n", table)]).unwrap()]);
    let name = PartName { step: "w".into(), window: Some(Window { start: 0, end: 60_000_000 }), ..PartName::default() };
    let (partitions, tally) = (vec![Vec::new()], Tally::new(&plan, (None, None)));
    let checkpoint =
        Checkpoint { partitions, tally, parts: vec![Part { name, tables }], pieces: Vec::new(), whole: None };
    line.keep(&plan, checkpoint, BTreeMap::new()).unwrap();
    let line = Line::open(Box::new(GivesUp(store)), &plan, false).unwrap();
    let error = line.resume(&Engine::new(plan), None).err().unwrap();
    assert_eq!(error.code, Code::Corrupt);
    assert!(error.message.contains("00001.json in memory: a library gives up"), "{error}");
}
