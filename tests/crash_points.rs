//! A disk that goes wrong at any change that a run makes: the program is killed or the power goes before or after it, what was
//! not forced to disk is lost or torn, the disk is full or broken. Then the run is started again, and its results are those of
//! an undisturbed run and of the oracle.
//!
//! `SAMESTREAM_CRASH_POINTS=N` lets about N of them go wrong (default 6,000), `SAMESTREAM_SEED=S` all that are tried with the
//! cases of that seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use connectors::disk::Change;
use testkit::disk::pipelines::Job;
use testkit::disk::sinks::{self, FILE_SINKS};
use testkit::disk::{FAULTS, Fault, Lie};
use testkit::random::Random;

/// How many faults are met, unless it is said otherwise.
const POINTS: usize = 6_000;

/// Of a run with at most so many changes every one goes wrong; of a longer one, a sample.
const EXHAUSTIVE: usize = 300;
const SAMPLE: usize = 30;

/// Failures after which no more are looked for.
const ENOUGH: usize = 3;

/// What is run on the disk.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A file sink.
    Sink,
    /// A pipeline.
    Pipeline,
    /// Logs that are archived into lakes.
    Archive,
}

/// Which changes of a run go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Choice {
    /// Some of any run, so that many different ones are met.
    Some,
    /// All of a run that is short enough.
    All,
}

/// What is tried, and its share of the points, in tenths.
const PARTS: [(What, Choice, usize); 4] = [
    (What::Sink, Choice::All, 2),
    (What::Pipeline, Choice::Some, 4),
    (What::Pipeline, Choice::All, 3),
    (What::Archive, Choice::All, 1),
];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Points of one kind.
struct Points {
    what: What,
    choice: Choice,
    /// So many are enough.
    budget: usize,
    lie: Option<Lie>,
    /// Faults that were met.
    met: AtomicUsize,
    cases: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Points {
    fn new(what: What, choice: Choice, budget: usize, lie: Option<Lie>) -> Self {
        let (met, cases, wrong) = Default::default();
        Self { what, choice, budget, lie, met, cases, wrong }
    }

    fn is_done(&self) -> bool {
        self.met.load(Ordering::Relaxed) >= self.budget || self.wrong.lock().unwrap().len() >= ENOUGH
    }

    /// Tries one seed after the other on all cores.
    fn try_seeds(&self) {
        let next = AtomicU64::new(0);
        let all = || {
            while !self.is_done() {
                self.try_seed(next.fetch_add(1, Ordering::Relaxed));
            }
        };
        std::thread::scope(|scope| {
            (0..std::thread::available_parallelism().map_or(2, usize::from)).for_each(|_| _ = scope.spawn(all));
        });
    }

    fn try_seed(&self, seed: u64) {
        match self.what {
            What::Sink => {
                let sink = FILE_SINKS[seed as usize % FILE_SINKS.len()];
                self.try_case(seed, |faults, lie| {
                    let found = sinks::run(sink, seed, faults, lie).map_err(|error| format!("{sink:?}: {error}"))?;
                    Ok((found.changes, found.struck, found.held))
                });
            }
            What::Pipeline | What::Archive => {
                let Some(job) = Job::new(seed) else { return };
                self.try_case(seed, |faults, lie| {
                    let found = match self.what {
                        What::Archive => job.archive(faults, lie),
                        _ => job.run(faults, lie),
                    };
                    let found = found.map_err(|error| format!("{}: {error}", job.describe()))?;
                    Ok((found.changes, found.struck, found.held))
                });
            }
        }
    }

    /// Runs a case undisturbed, then with faults. A run says how many changes it made, how many faults it met, and what it left.
    fn try_case<T: PartialEq + std::fmt::Debug>(
        &self,
        seed: u64,
        run: impl Fn(&[(Fault, usize)], Option<Lie>) -> Result<(usize, usize, T), String>,
    ) {
        let run = |faults: &[(Fault, usize)], lie| {
            catch_unwind(AssertUnwindSafe(|| run(faults, lie))).unwrap_or_else(|panic| {
                let message = panic.downcast_ref::<String>().map(String::as_str);
                let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(format!("panic: {}", message.unwrap_or_default()))
            })
        };
        let (changes, must) = match run(&[], None) {
            Ok((changes, _, must)) => (changes, must),
            Err(error) => {
                let wrong = format!("{:?} of seed {seed}, undisturbed: {error}", self.what);
                self.wrong.lock().unwrap().push(wrong);
                return;
            }
        };
        let mut random = Random::new(seed ^ 0xfa17);
        let mut points: Vec<(Fault, usize)> = Vec::new();
        match self.choice {
            Choice::All if changes > EXHAUSTIVE => return,
            Choice::All => (0..changes).for_each(|at| {
                // Before and after, by turns as a kill and as a loss of power; and a disk that refuses.
                points.extend(match (at as u64 + seed) % 2 {
                    0 => [Fault::PowerBefore, Fault::KillAfter, Fault::Full].map(|fault| (fault, at)),
                    _ => [Fault::KillBefore, Fault::PowerAfter, Fault::Broken].map(|fault| (fault, at)),
                });
            }),
            Choice::Some => points.extend((0..SAMPLE).map(|_| (*random.pick(&FAULTS), random.below(changes)))),
        }
        for first in points {
            if self.is_done() {
                return;
            }
            // What a fault leaves may be met by another one, wherever that run is then.
            let mut faults = vec![first];
            (0..random.below(3)).for_each(|_| faults.push((*random.pick(&FAULTS), random.below(changes))));
            let wrong = match run(&faults, self.lie) {
                Ok((_, met, found)) if found == must => {
                    self.met.fetch_add(met, Ordering::Relaxed);
                    continue;
                }
                Ok((_, _, found)) => format!("left is {found:#?}\ninstead of {must:#?}"),
                Err(error) => error,
            };
            let wrong = format!("{:?} of seed {seed}, {faults:?} of {changes} changes: {wrong}", self.what);
            self.wrong.lock().unwrap().push(wrong);
        }
        self.cases.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what was tried, and fails if something was wrong; returns how many faults were met.
    fn report(self) -> usize {
        let (met, wrong) = (self.met.into_inner(), self.wrong.into_inner().unwrap());
        let (what, choice, cases) = (self.what, self.choice, self.cases.into_inner());
        println!("{what:?}, {choice:?} changes: {met} crash points passed, {cases} whole cases");
        assert!(wrong.is_empty(), "{} of {met} points:\n{}", wrong.len(), wrong.join("\n\n"));
        met
    }
}

#[test]
fn a_disk_that_goes_wrong_anywhere_changes_no_result() {
    if let Some(seed) = number("SAMESTREAM_SEED") {
        for (what, choice, _) in PARTS {
            let points = Points::new(what, choice, usize::MAX, None);
            points.try_seed(seed);
            points.report();
        }
        return;
    }
    let budget = number("SAMESTREAM_CRASH_POINTS").map_or(POINTS, |points| points as usize);
    let begun = Instant::now();
    let passed = PARTS.map(|(what, choice, tenths)| {
        let points = Points::new(what, choice, budget * tenths / 10, None);
        points.try_seeds();
        points.report()
    });
    let passed: usize = passed.iter().sum();
    println!("{passed} crash points passed in {:.0?}", begun.elapsed());
    assert!(passed >= budget - PARTS.len(), "only {passed} faults were met");
}

/// Places where a program may forget to force something to disk. Each must be found, or the test above proves nothing.
const LIES: [(&str, What, Lie); 7] = [
    ("rows of a sink", What::Sink, |change| matches!(change, Change::Sync(path) if !has(path, "manifest"))),
    ("manifest of a sink", What::Sink, |change| matches!(change, Change::Sync(path) if has(path, "manifest"))),
    ("names in a sink's folder", What::Sink, |change| matches!(change, Change::SyncFolder(_))),
    ("data of a checkpoint", What::Pipeline, |change| matches!(change, Change::Sync(path) if has(path, ".parts"))),
    (
        "manifest of a checkpoint",
        What::Pipeline,
        |change| matches!(change, Change::Sync(path) if has(path, "checkpoints") && !has(path, ".parts")),
    ),
    (
        "names of checkpoints",
        What::Pipeline,
        |change| matches!(change, Change::SyncFolder(path) if has(path, "checkpoints")),
    ),
    ("rows of a lake", What::Archive, |change| matches!(change, Change::Sync(_))),
];

fn has(path: &std::path::Path, part: &str) -> bool {
    path.to_string_lossy().contains(part)
}

#[test]
fn what_is_not_forced_to_disk_is_found() {
    for (name, what, lie) in LIES {
        let points = Points::new(what, Choice::Some, POINTS, Some(lie));
        points.try_seeds();
        let (met, wrong) = (points.met.into_inner(), points.wrong.into_inner().unwrap());
        println!("{name}: found after {met} points that it did not matter to");
        assert!(wrong.len() >= ENOUGH, "{name}: {met} points did not find it");
    }
}
