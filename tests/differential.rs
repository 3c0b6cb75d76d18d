//! Stream = batch = oracle, bit for bit, on random pipelines over random logs under random schedules.
//!
//! A case follows from its seed. `SAMESTREAM_CASES=N` runs N of them (default 2,000), `SAMESTREAM_SEED=S` only the one of
//! that seed. One that fails is made smaller and printed, and written as a folder that belongs under `tests/cases/`
//! with a name for what was wrong; every folder there is replayed.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use testkit::case::Case;
use testkit::check::check;
use testkit::shares::Counts;
use testkit::shrink::shrink;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Checks the cases of these seeds on all cores; returns what occurred in them and the first seeds that fail.
fn check_seeds(seeds: std::ops::Range<u64>, stop_after: usize) -> (Counts, Vec<(u64, String)>) {
    let next = AtomicU64::new(seeds.start);
    let (counts, failures) = (Mutex::new(Counts::default()), Mutex::new(Vec::new()));
    let work = || {
        let mut mine = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.lock().expect("no checker panics").len() >= stop_after {
                break;
            }
            let case = Case::generate(seed);
            match check(&case) {
                Ok(checked) => mine.add_checked(&case, &checked),
                Err(difference) => failures.lock().expect("no checker panics").push((seed, difference)),
            }
        }
        counts.lock().expect("no checker panics").merge(&mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().expect("no checker panics");
    failures.sort();
    (counts.into_inner().expect("no checker panics"), failures)
}

/// Makes the case of a failing seed smaller, writes it down and says all about it.
fn report(seed: u64, difference: &str) -> String {
    let small = shrink(&Case::generate(seed), 1500, &|case| check(case).is_err());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seed-{seed}"));
    small.save(&folder).expect("the target folder can be written to");
    let still = check(&small).err().unwrap_or_else(|| "only now and then, or not any more".into());
    format!(
        "seed {seed}: {difference}\n\nmade smaller (in {}), it fails with: {still}\n\n{}\n{}\n\
         again: SAMESTREAM_SEED={seed} cargo test --test tests differential\n",
        folder.display(),
        small.pipeline.yaml(),
        small.log_text()
    )
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn stream_and_batch_equal_the_oracle() {
    if let Some(seed) = number("SAMESTREAM_SEED") {
        let (_, failures) = check_seeds(seed..seed + 1, 1);
        let reports: Vec<String> = failures.iter().map(|(seed, difference)| report(*seed, difference)).collect();
        assert!(reports.is_empty(), "{}", reports.join("\n"));
        return;
    }
    let cases = number("SAMESTREAM_CASES").unwrap_or(2000);
    let (counts, failures) = check_seeds(0..cases, 5);
    println!("{counts}");
    if let Some((seed, difference)) = failures.first() {
        let others: Vec<String> = failures.iter().map(|(seed, _)| seed.to_string()).collect();
        panic!("seeds {} fail; the first of them:\n{}", others.join(", "), report(*seed, difference));
    }
    assert!(cases < 500 || counts.missing().is_empty(), "too seldom: {:?}\n{counts}", counts.missing());
}

#[cfg(not(feature = "planted-fault"))]
#[test]
fn every_named_case_is_equal_in_both_modes() {
    for folder in named_cases() {
        if let Err(difference) = check(&Case::load(&folder)) {
            panic!("{}: {difference}", folder.display());
        }
    }
}

/// Returns the folders under `tests/cases/`, in order.
fn named_cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("case.json").exists())
        .collect();
    folders.sort();
    folders
}

/// With lateness that depends on the chunk, differences must be found and made small, or the tests above prove nothing.
#[cfg(feature = "planted-fault")]
#[test]
fn a_planted_fault_is_found() {
    let (_, failures) = check_seeds(0..200, 20);
    assert!(failures.len() >= 20, "a planted fault makes only {} of 200 cases fail", failures.len());
    let refused = failures.iter().filter(|(_, difference)| difference.starts_with("the pipeline is refused"));
    assert_eq!(refused.count(), 0, "cases must fail because of the fault");
    let small = shrink(&Case::generate(failures[0].0), 1500, &|case| check(case).is_err());
    println!("{}", report(failures[0].0, &failures[0].1));
    // One record that moves the watermark and one that is late are enough to tell.
    assert!(small.log.len() <= 6 && small.pipeline.steps.len() == 1, "{}", small.log_text());
    for folder in named_cases().iter().filter(|folder| folder.ends_with("lateness-is-judged-record-by-record")) {
        assert!(check(&Case::load(folder)).is_err(), "{} no longer tells", folder.display());
    }
}
