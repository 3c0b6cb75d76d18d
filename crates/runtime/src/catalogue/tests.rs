//! The catalogue: what is written is found, several processes do not lose each other's records, killed runs are known, and
//! damage is said.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use connectors::disk::{Change, Interceptor, intercept};

use super::*;
use crate::schedule::What;

fn run(pipeline: &str) -> Run {
    Run {
        id: 0,
        pipeline: pipeline.into(),
        mode: Mode::Batch,
        by: "manual".into(),
        firing: None,
        outcome: Outcome::Running,
        started: "2026-01-01T00:00:00Z".into(),
        ended: None,
        exit: None,
        error: None,
        definition: Some("0".repeat(32)),
        from: None,
        to: None,
        command: vec!["run".into(), pipeline.into()],
        pid: 1,
        user: None,
        version: "0".into(),
        summary: None,
    }
}

fn end(outcome: Outcome) -> End {
    End { at: 1_767_225_660_000_000, outcome, exit: 0, error: None, summary: None, wrote: None }
}

fn catalogue() -> (tempfile::TempDir, Catalogue) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(&folder.path().join("state"));
    (folder, catalogue)
}

#[test]
fn a_run_is_found_while_it_goes_on_and_after_it() {
    let (_folder, catalogue) = catalogue();
    assert_eq!(catalogue.runs().unwrap(), []);
    assert!(!catalogue.is_there(), "asking makes no file");
    let first = catalogue.begin(run("a")).unwrap();
    first.log().say("one\n");
    let second = catalogue.begin(run("b")).unwrap();
    assert_eq!((first.id(), second.id()), (1, 2));
    assert_eq!(catalogue.log(1).unwrap(), "one\n");
    assert_eq!(catalogue.run(1).unwrap(), Run { id: 1, ..run("a") });
    first.log().say("two\n");
    first.end(&end(Outcome::Done)).unwrap();
    let found = catalogue.run(1).unwrap();
    assert_eq!((found.outcome, found.exit), (Outcome::Done, Some(0)));
    assert_eq!(found.ended.as_deref(), Some("2026-01-01T00:01:00Z"));
    assert_eq!(catalogue.log(1).unwrap(), "one\ntwo\n");
    assert_eq!(catalogue.run(2).unwrap().outcome, Outcome::Running, "its process is this one");
    drop(first);
    assert_eq!(catalogue.run(1).unwrap().outcome, Outcome::Done);
    assert_eq!(catalogue.run(7).unwrap_err().code, Code::Empty);
}

#[test]
fn a_run_whose_process_is_gone_is_lost_and_its_last_words_are_kept() {
    let (folder, catalogue) = catalogue();
    let recording = catalogue.begin(run("a")).unwrap();
    recording.log().say("still here\n");
    // The kernel takes the lock from a process that dies.
    drop(recording);
    let found = catalogue.runs().unwrap();
    assert_eq!(found[0].outcome, Outcome::Lost);
    assert!(found[0].ended.is_some() && found[0].exit.is_none());
    assert_eq!(catalogue.log(1).unwrap(), "still here\n");
    let left = std::fs::read_dir(folder.path().join("state/runs")).unwrap().count();
    assert_eq!(left, 0, "its file is gone");
}

#[test]
fn runs_that_are_over_are_pruned_and_their_numbers_are_not_given_again() {
    let (_folder, catalogue) = catalogue();
    assert_eq!(catalogue.prune(|_| true).unwrap(), 0);
    for _ in 0..3 {
        catalogue.begin(run("a")).unwrap().end(&end(Outcome::Done)).unwrap();
    }
    let fourth = catalogue.begin(run("a")).unwrap();
    assert_eq!(catalogue.prune(|run| run.id > 1).unwrap(), 2, "not the one that goes on");
    let ids: Vec<u64> = catalogue.runs().unwrap().iter().map(|run| run.id).collect();
    assert_eq!(ids, [1, 4]);
    fourth.end(&end(Outcome::Failed)).unwrap();
    assert_eq!(catalogue.prune(|_| true).unwrap(), 2);
    assert_eq!(catalogue.begin(run("a")).unwrap().id(), 5);
}

#[test]
fn schedules_and_firings_are_kept_by_pipeline_and_name() {
    let (_folder, catalogue) = catalogue();
    assert_eq!(catalogue.schedule("a", "nightly").unwrap(), None);
    let state = State { since: 17, paused: true };
    catalogue.put_schedule("a", "nightly", &state).unwrap();
    assert_eq!(catalogue.schedule("a", "nightly").unwrap(), Some(state));
    assert_eq!(catalogue.schedule("a", "hourly").unwrap(), None);
    let firing = |due| Decided { due, at: due + 1, what: What::Missed, has_run: false, verified: None };
    // Ten is after nine, though not as text.
    catalogue.put_firings("a", "nightly", &[firing(10), firing(9)]).unwrap();
    catalogue.put_firings("ab", "nightly", &[firing(11)]).unwrap();
    catalogue.put_firings("a", "nightly2", &[firing(12)]).unwrap();
    assert_eq!(catalogue.firings("a", "nightly").unwrap(), [firing(9), firing(10)]);
    let run = Decided { what: What::Run, ..firing(9) };
    catalogue.put_firings("a", "nightly", std::slice::from_ref(&run)).unwrap();
    assert_eq!(catalogue.firings("a", "nightly").unwrap(), [run, firing(10)]);
    let many: Vec<Decided> = (100..100 + MOST_FIRINGS as i64).map(firing).collect();
    catalogue.put_firings("a", "nightly", &many).unwrap();
    assert_eq!(catalogue.firings("a", "nightly").unwrap(), many);
    // Those that a clock decided that was ahead go before one that was decided when it was put right.
    let right = Decided { due: 50, at: 60, what: What::Run, has_run: false, verified: None };
    catalogue.put_firings("a", "nightly", std::slice::from_ref(&right)).unwrap();
    let kept = catalogue.firings("a", "nightly").unwrap();
    assert_eq!((kept.len(), &kept[0]), (MOST_FIRINGS, &right));
    assert_eq!(kept.last(), Some(&many[MOST_FIRINGS - 2]));
}

#[test]
fn threads_that_write_at_once_wait_for_each_other() {
    let (_folder, catalogue) = catalogue();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    catalogue.begin(run("a")).unwrap().end(&end(Outcome::Done)).unwrap();
                }
            });
        }
    });
    let runs = catalogue.runs().unwrap();
    let ids: Vec<u64> = runs.iter().map(|run| run.id).collect();
    assert_eq!(ids, (1..=20).collect::<Vec<u64>>());
    assert!(runs.iter().all(|run| run.outcome == Outcome::Done));
}

#[test]
fn a_file_that_is_damaged_is_refused_with_its_name() {
    let (_folder, catalogue) = catalogue();
    for _ in 0..20 {
        catalogue.begin(run("a")).unwrap().end(&end(Outcome::Done)).unwrap();
    }
    let whole = std::fs::read(catalogue.file()).unwrap();
    let mut refused = 0;
    let mut look = |bytes: &[u8], what: &str| {
        std::fs::write(catalogue.file(), bytes).unwrap();
        let name = catalogue.file().display().to_string();
        match catalogue.runs() {
            // A part that nothing is in.
            Ok(runs) => assert!(runs.len() == 20 && runs.iter().all(|run| run.outcome == Outcome::Done), "{what}"),
            Err(error) => {
                assert!(error.message.contains(&name), "{what}: {error}");
                assert!(matches!(error.code, Code::Corrupt | Code::StateVersion), "{what}: {error}");
                assert!(error.help.is_some(), "{what}");
                refused += 1;
            }
        }
    };
    look(b"this is no database, and it is longer than a header would be: ".repeat(100).as_slice(), "text");
    look(&whole[..whole.len() / 2], "half of it");
    look(&whole[..100], "its beginning");
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        look(&bytes, &format!("byte {at} of {}", whole.len()));
    }
    // A record whose text was changed, wherever it stands.
    let mut bytes = whole.clone();
    let text = b"\"outcome\":\"done\"";
    let places: Vec<usize> = (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(places.len() >= 20);
    places.iter().for_each(|at| bytes[at + 11..at + 15].copy_from_slice(b"lost"));
    look(&bytes, "another outcome");
    assert!(refused >= 3, "{refused}");
}

/// Lets the process die at a change: that one and all that come after it fail.
struct Dies {
    left: Rc<Cell<usize>>,
}

impl Interceptor for Dies {
    fn before(&mut self, change: Change<'_>) -> io::Result<usize> {
        match self.left.get() {
            0 => Err(io::Error::other("the process is gone")),
            left => {
                self.left.set(left - 1);
                Ok(if let Change::Write(_, size) = change { size } else { 0 })
            }
        }
    }

    fn after(&mut self, _: Change<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_process_that_dies_at_any_change_leaves_what_was_there_or_what_it_wrote() {
    let mut changes = 0;
    loop {
        let (_folder, catalogue) = catalogue();
        for _ in 0..2 {
            catalogue.begin(run("a")).unwrap().end(&end(Outcome::Done)).unwrap();
        }
        let left = Rc::new(Cell::new(changes));
        let dies = Rc::new(RefCell::new(Dies { left: left.clone() }));
        let done = intercept(dies, || {
            let recording = catalogue.begin(run("b"))?;
            recording.end(&end(Outcome::Done))
        });
        let runs = catalogue.runs().unwrap_or_else(|error| panic!("after {changes} changes: {error}"));
        assert!(runs.len() == 2 || runs.len() == 3, "after {changes} changes");
        assert!(runs[..2].iter().all(|run| run.pipeline == "a" && run.outcome == Outcome::Done));
        if let Some(third) = runs.get(2) {
            assert!(matches!(third.outcome, Outcome::Done | Outcome::Lost), "{third:?}");
            assert!(done.is_err() || third.outcome == Outcome::Done, "what was told to be written is there");
        }
        // And the next one goes on.
        catalogue.begin(run("c")).unwrap().end(&end(Outcome::Done)).unwrap();
        assert_eq!(catalogue.runs().unwrap().last().unwrap().pipeline, "c");
        if left.get() > 0 {
            break;
        }
        changes += 1;
    }
    assert!(changes > 10, "{changes}");
}

/// What version 1 wrote is read.
#[test]
fn a_catalogue_of_another_version_is_refused() {
    let (_folder, catalogue) = catalogue();
    catalogue.begin(run("a")).unwrap().end(&end(Outcome::Done)).unwrap();
    {
        let database = redb::Database::open(catalogue.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("version", 2).unwrap();
        transaction.commit().unwrap();
    }
    let error = catalogue.runs().unwrap_err();
    assert_eq!(error.code, Code::StateVersion);
    assert!(error.message.contains("has version 2"), "{error}");
    assert_eq!(catalogue.begin(run("a")).unwrap_err().code, Code::StateVersion);
}
