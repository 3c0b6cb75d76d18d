//! A daemon with a clock of its own: it is awake or not, runs take as long as they are told to, and the clock may be set.

use std::collections::BTreeMap;

use engine::schedule::{Cron, Reprocess, Retry, zone};

use super::*;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// Midnight of a Monday in UTC.
const START: i64 = 1_772_409_600_000_000;

fn schedule(line: &str) -> Schedule {
    Schedule {
        name: "nightly".into(),
        cron: Cron::parse(line, zone("UTC").unwrap()).unwrap(),
        reprocess: Reprocess::PreviousInterval,
        catch_up: CatchUp::Latest,
        overlap: Overlap::Skip,
        retry: None,
        jitter: 0,
        verify: false,
        on_success: None,
        on_failure: None,
    }
}

/// A world in which a daemon asks what to do once a minute while it is awake.
struct World {
    schedule: Schedule,
    past: Past,
    now: i64,
    /// How long runs take, and how they end, by when their firing is due and the try; else one minute, and well.
    runs: BTreeMap<(i64, u32), (i64, AttemptEnd)>,
    /// What was done, in minutes after `START`.
    done: Vec<String>,
}

impl World {
    fn new(schedule: Schedule) -> Self {
        let past = Past { state: State { since: START, paused: false }, decided: Vec::new(), attempts: Vec::new() };
        Self { schedule, past, now: START, runs: BTreeMap::new(), done: Vec::new() }
    }

    fn takes(mut self, due: i64, attempt: u32, minutes: i64, end: AttemptEnd) -> Self {
        self.runs.insert((START + due * MINUTE, attempt), (minutes * MINUTE, end));
        self
    }

    fn note(&mut self, what: &str, due: i64) {
        let [now, due] = [self.now, due].map(|time| (time - START) / MINUTE);
        self.done.push(format!("{now}: {what} {due}"));
    }

    fn decides(&mut self, decided: Decided) {
        let known = self.past.decided.iter().any(|known| known.due == decided.due);
        assert!(!known, "{} is decided twice: {:?}", (decided.due - START) / MINUTE, self.done);
        self.past.decided.push(decided);
        self.past.decided.sort_by_key(|decided| decided.due);
    }

    fn ends(&mut self) {
        for attempt in self.past.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Running) {
            attempt.ended = self.now;
            let (length, end) =
                self.runs.get(&(attempt.due, attempt.number)).copied().unwrap_or((MINUTE, AttemptEnd::Done));
            if attempt.started + length <= self.now {
                attempt.end = end;
            }
        }
    }

    fn ask(&mut self) {
        for _ in 0..10 {
            let decision = decide("p", &self.schedule, &self.past, self.now);
            let again = matches!(decision.acts[..], [Act::Stop { .. }]);
            for act in decision.acts {
                let decided = |due, what| Decided { due, at: 0, what, has_run: false, verified: None };
                match act {
                    Act::Leave { due, what } => {
                        self.note(what.word(), due);
                        self.decides(Decided { at: self.now, ..decided(due, what) });
                    }
                    Act::Stop { due } => {
                        self.note("stop", due);
                        let running = self.past.attempts.iter_mut().rfind(|attempt| attempt.end == AttemptEnd::Running);
                        let running = running.unwrap();
                        (running.end, running.ended) = (AttemptEnd::Lost, self.now);
                        assert_eq!(running.due, due);
                    }
                    Act::Start { due, attempt } => {
                        assert!(
                            self.past.attempts.iter().all(|attempt| attempt.end != AttemptEnd::Running),
                            "two at once"
                        );
                        self.note(&format!("start({attempt})"), due);
                        // One that was noted by who died before starting it is noted once more, as the same.
                        if attempt == 1 && !self.past.decided.iter().any(|known| known.due == due) {
                            self.decides(Decided { at: self.now, ..decided(due, What::Run) });
                        }
                        let (started, end) = (self.now, AttemptEnd::Running);
                        self.past.attempts.push(Attempt { due, number: attempt, started, ended: started, end });
                    }
                }
            }
            if !again {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.done);
    }

    /// Lets so many minutes pass with the daemon awake.
    fn awake(mut self, minutes: i64) -> Self {
        for _ in 0..minutes {
            self.ends();
            self.ask();
            self.now += MINUTE;
        }
        self
    }

    /// Lets so many minutes pass while nobody asks.
    fn asleep(mut self, minutes: i64) -> Self {
        self.now += minutes * MINUTE;
        self
    }

    /// The machine goes down: what runs is lost.
    fn crash(mut self) -> Self {
        for attempt in self.past.attempts.iter_mut().filter(|attempt| attempt.end == AttemptEnd::Running) {
            (attempt.end, attempt.ended) = (AttemptEnd::Lost, self.now);
        }
        self
    }

    #[track_caller]
    fn did(&self, expected: &[&str]) {
        assert_eq!(self.done, expected);
    }

    /// Checks what was done after so many things.
    #[track_caller]
    fn did_last(&self, before: usize, expected: &[&str]) {
        assert_eq!(self.done[before..], *expected);
    }
}

#[test]
fn each_firing_runs_once_when_it_is_due() {
    World::new(schedule("*/30 * * * *")).awake(100).did(&["30: start(1) 30", "60: start(1) 60", "90: start(1) 90"]);
}

#[test]
fn nothing_from_before_a_schedule_was_first_seen_is_due() {
    let mut world = World::new(schedule("0 * * * *")).asleep(30);
    world.past.state.since = world.now;
    world.awake(31).did(&["60: start(1) 60"]);
}

#[test]
fn of_firings_that_the_machine_slept_over_the_latest_runs() {
    World::new(schedule("0 * * * *")).asleep(200).awake(50).did(&[
        "200: missed 60",
        "200: missed 120",
        "200: start(1) 180",
        "240: start(1) 240",
    ]);
}

#[test]
fn of_missed_firings_none_run_when_none_is_to_be_caught_up_with() {
    let none = Schedule { catch_up: CatchUp::None, ..schedule("0 * * * *") };
    World::new(none.clone()).asleep(200).awake(50).did(&[
        "200: missed 60",
        "200: missed 120",
        "200: missed 180",
        "240: start(1) 240",
    ]);
    // A minute is in time.
    World::new(none.clone()).asleep(61).awake(1).did(&["61: start(1) 60"]);
    World::new(none).asleep(62).awake(1).did(&["62: missed 60"]);
}

#[test]
fn of_missed_firings_the_last_so_many_run_in_their_order_and_those_that_come_join_them() {
    let all = Schedule { catch_up: CatchUp::All { max: 3 }, ..schedule("0 * * * *") };
    let world = World::new(all).takes(180, 1, 70, AttemptEnd::Done);
    world.asleep(310).awake(100).did(&[
        "310: missed 60",
        "310: missed 120",
        "310: start(1) 180",
        "380: start(1) 240",
        "381: start(1) 300",
        "382: start(1) 360",
    ]);
}

#[test]
fn a_firing_during_a_run_is_left_out_or_waits_or_stops_the_run() {
    let long = |overlap| {
        let world = World::new(Schedule { overlap, ..schedule("*/10 * * * *") });
        world.takes(10, 1, 25, AttemptEnd::Done).awake(52)
    };
    long(Overlap::Skip).did(&[
        "10: start(1) 10",
        "20: overlapped 20",
        "30: overlapped 30",
        "40: start(1) 40",
        "50: start(1) 50",
    ]);
    long(Overlap::Queue).did(&[
        "10: start(1) 10",
        "35: overlapped 20",
        "35: start(1) 30",
        "40: start(1) 40",
        "50: start(1) 50",
    ]);
    long(Overlap::CancelRunning).did(&[
        "10: start(1) 10",
        "20: stop 10",
        "20: start(1) 20",
        "30: start(1) 30",
        "40: start(1) 40",
        "50: start(1) 50",
    ]);
}

#[test]
fn all_that_waited_in_the_queue_run_when_all_are_to_be_caught_up_with() {
    let all = Schedule { overlap: Overlap::Queue, catch_up: CatchUp::All { max: 9 }, ..schedule("*/10 * * * *") };
    World::new(all).takes(10, 1, 25, AttemptEnd::Done).awake(39).did(&[
        "10: start(1) 10",
        "35: start(1) 20",
        "36: start(1) 30",
    ]);
    let none = Schedule { overlap: Overlap::Queue, catch_up: CatchUp::None, ..schedule("*/10 * * * *") };
    World::new(none).takes(10, 1, 25, AttemptEnd::Done).awake(39).did(&[
        "10: start(1) 10",
        "35: overlapped 20",
        "35: start(1) 30",
    ]);
}

#[test]
fn what_the_environment_let_fail_is_tried_again_after_longer_and_longer_and_nothing_else_is() {
    let retry = Some(Retry { times: 2, backoff: 3 * MINUTE });
    let failed = |environment| AttemptEnd::Failed { environment };
    let world = || World::new(Schedule { retry, ..schedule("0 * * * *") });
    let always = world().takes(60, 1, 1, failed(true)).takes(60, 2, 1, failed(true)).takes(60, 3, 1, failed(true));
    always.awake(119).did(&["60: start(1) 60", "64: start(2) 60", "71: start(3) 60"]);
    world().takes(60, 1, 1, failed(true)).awake(119).did(&["60: start(1) 60", "64: start(2) 60"]);
    world().takes(60, 1, 1, failed(false)).awake(119).did(&["60: start(1) 60"]);
    World::new(schedule("0 * * * *")).takes(60, 1, 1, failed(true)).awake(119).did(&["60: start(1) 60"]);
}

#[test]
fn a_run_that_waits_to_be_repeated_goes_on() {
    let retry = Some(Retry { times: 5, backoff: 15 * MINUTE });
    let world = |overlap| {
        let world = World::new(Schedule { retry, overlap, ..schedule("*/10 * * * *") });
        world.takes(10, 1, 1, AttemptEnd::Failed { environment: true }).awake(35)
    };
    world(Overlap::Skip).did(&["10: start(1) 10", "20: overlapped 20", "26: start(2) 10", "30: start(1) 30"]);
    world(Overlap::Queue).did(&["10: start(1) 10", "26: start(2) 10", "27: start(1) 20", "30: start(1) 30"]);
    world(Overlap::CancelRunning).did(&["10: start(1) 10", "20: start(1) 20", "30: start(1) 30"]);
}

#[test]
fn a_run_that_was_lost_is_begun_again_but_not_for_ever() {
    let world = |catch_up| {
        World::new(Schedule { catch_up, ..schedule("0 * * * *") }).takes(60, 1, 30, AttemptEnd::Done).takes(
            60,
            2,
            30,
            AttemptEnd::Done,
        )
    };
    let crashed = |catch_up| world(catch_up).awake(70).crash().asleep(5).awake(10);
    crashed(CatchUp::Latest).did(&["60: start(1) 60", "75: start(2) 60"]);
    crashed(CatchUp::None).did(&["60: start(1) 60"]);
    // What kills it each time.
    let lost = world(CatchUp::Latest).takes(60, 1, 1, AttemptEnd::Lost).takes(60, 2, 1, AttemptEnd::Lost);
    lost.awake(119).did(&["60: start(1) 60", "61: start(2) 60"]);
    // Of a machine that was down over the next firing the next one runs.
    let late = world(CatchUp::Latest).awake(70).crash().asleep(60).awake(3);
    late.did(&["60: start(1) 60", "130: start(1) 120"]);
    let all = world(CatchUp::All { max: 5 }).awake(70).crash().asleep(60).awake(40);
    all.did(&["60: start(1) 60", "130: start(2) 60", "160: start(1) 120"]);
}

#[test]
fn a_daemon_that_died_between_deciding_and_starting_starts() {
    let mut world = World::new(schedule("0 * * * *")).asleep(62);
    world.past.decided.push(Decided {
        due: START + HOUR,
        at: START + HOUR,
        what: What::Run,
        has_run: false,
        verified: None,
    });
    world.awake(5).did(&["62: start(1) 60"]);
    // Of one that has run the record may have been forgotten.
    let mut world = World::new(schedule("0 * * * *")).asleep(62);
    let due = START + HOUR;
    world.past.decided.push(Decided { due, at: due, what: What::Run, has_run: true, verified: None });
    world.awake(5).did(&[]);
}

/// It was due when the run began, and was decided together with it: it waits, and is not overtaken.
#[test]
fn a_firing_that_was_due_at_the_moment_a_run_began_joins_those_that_are_caught_up_with() {
    let all = Schedule { catch_up: CatchUp::All { max: 9 }, ..schedule("0 * * * *") };
    World::new(all).asleep(120).awake(3).did(&["120: start(1) 60", "121: start(1) 120"]);
}

#[test]
fn a_run_is_repeated_at_the_moment_at_which_another_firing_is_left_out_for_it() {
    let retry = Some(Retry { times: 5, backoff: 9 * MINUTE });
    let world = World::new(Schedule { retry, ..schedule("*/10 * * * *") });
    let world = world.takes(10, 1, 1, AttemptEnd::Failed { environment: true }).awake(21);
    world.did(&["10: start(1) 10", "20: overlapped 20", "20: start(2) 10"]);
}

#[test]
fn what_came_while_a_run_was_lost_waits_until_it_was_repeated() {
    let all = Schedule { catch_up: CatchUp::All { max: 9 }, ..schedule("*/10 * * * *") };
    let world = World::new(all).takes(10, 1, 20, AttemptEnd::Done).takes(10, 2, 20, AttemptEnd::Done);
    world.awake(11).crash().asleep(12).awake(23).did(&[
        "10: start(1) 10",
        "23: start(2) 10",
        "43: start(1) 20",
        "44: start(1) 30",
        "45: start(1) 40",
    ]);
}

#[test]
fn what_was_stopped_for_the_next_firing_is_not_caught_up_with() {
    let stops =
        Schedule { overlap: Overlap::CancelRunning, catch_up: CatchUp::All { max: 9 }, ..schedule("*/10 * * * *") };
    let world = World::new(stops).takes(10, 1, 25, AttemptEnd::Done);
    world.awake(25).did(&["10: start(1) 10", "20: stop 10", "20: start(1) 20"]);
}

/// The run went on, of which nobody was told that it had ended.
#[test]
fn a_firing_during_a_run_was_overlapped_and_not_missed_though_no_daemon_saw_it() {
    let none = Schedule { catch_up: CatchUp::None, ..schedule("*/10 * * * *") };
    let world = World::new(none).takes(10, 1, 15, AttemptEnd::Done).awake(11).asleep(17).awake(1);
    world.did(&["10: start(1) 10", "28: overlapped 20"]);
}

#[test]
fn a_run_is_lost_as_often_as_it_may_be_repeated_and_once_at_least() {
    for (times, tries) in [(None, 2), (Some(0), 2), (Some(1), 2), (Some(3), 4)] {
        let retry = times.map(|times| Retry { times, backoff: MINUTE });
        let mut world = World::new(Schedule { retry, ..schedule("0 * * * *") });
        for attempt in 1..9 {
            world = world.takes(60, attempt, 1, AttemptEnd::Lost);
        }
        let expected: Vec<String> =
            (1..=tries).map(|attempt| format!("{}: start({attempt}) 60", 59 + attempt)).collect();
        assert_eq!(world.awake(110).done, expected, "{times:?}");
    }
}

#[test]
fn a_firing_that_was_noted_waits_for_a_run_that_goes_on() {
    let mut world = World::new(schedule("0 * * * *")).takes(60, 1, 90, AttemptEnd::Done).awake(61);
    let due = START + 2 * HOUR;
    world.now = due;
    world.past.decided.push(Decided { due, at: due, what: What::Run, has_run: false, verified: None });
    world.awake(60).did(&["60: start(1) 60", "150: start(1) 120"]);
}

#[test]
fn it_is_known_whether_a_run_will_be_repeated() {
    let will = |schedule: &Schedule, number, end| {
        let due = START + HOUR;
        let attempt = Attempt { due, number, started: due, ended: due + MINUTE, end };
        let state = State { since: START, paused: false };
        will_repeat(schedule, &Past { state, decided: Vec::new(), attempts: vec![attempt] })
    };
    let plain = schedule("0 * * * *");
    let failed = AttemptEnd::Failed { environment: true };
    let repeats = Schedule { retry: Some(Retry { times: 2, backoff: MINUTE }), ..plain.clone() };
    assert_eq!([1, 2, 3].map(|number| will(&repeats, number, failed)), [true, true, false]);
    assert!(!will(&repeats, 1, AttemptEnd::Failed { environment: false }) && !will(&plain, 1, failed));
    assert!(!will(&repeats, 1, AttemptEnd::Done) && !will(&repeats, 1, AttemptEnd::Running));
    assert_eq!([1, 2].map(|number| will(&plain, number, AttemptEnd::Lost)), [true, false]);
    let never = Schedule { catch_up: CatchUp::None, ..plain };
    assert!(!will(&never, 1, AttemptEnd::Lost));
}

#[test]
fn of_very_many_that_were_missed_the_last_thousand_are_noted() {
    assert_eq!(World::new(schedule("* * * * *")).asleep(5_500).awake(1).done.len(), 1000);
    let world = World::new(schedule("* * * * *")).asleep(5_000).awake(1);
    assert_eq!(world.done.len(), 1000);
    assert_eq!(world.done[0], "5000: missed 4001");
    assert_eq!(world.done[999], "5000: start(1) 5000");
    assert!(world.awake(1).done[1000].ends_with("start(1) 5001"));
}

#[test]
fn a_clock_that_is_set_back_fires_nothing_twice() {
    let mut world = World::new(schedule("0 * * * *")).awake(65);
    world.now -= 30 * MINUTE;
    // It shows 35, and comes to 60 again.
    let mut world = world.awake(90);
    world.did(&["60: start(1) 60", "120: start(1) 120"]);
    // Set back to before the schedule was seen: nothing happens until then.
    world.now = START - 10 * HOUR;
    let world = world.awake(600 + 59);
    assert_eq!(world.done.len(), 2, "{:?}", world.done);
}

#[test]
fn a_clock_that_was_ahead_has_decided_what_it_has_and_goes_on_from_what_it_shows() {
    let mut world = World::new(schedule("0 * * * *")).awake(63);
    world.now += 3 * HOUR;
    let mut world = world.awake(2);
    world.did(&["60: start(1) 60", "243: missed 120", "243: missed 180", "243: start(1) 240"]);
    world.now -= 3 * HOUR;
    // 120, 180 and 240 come and were decided; 300 is the next.
    let world = world.awake(240);
    assert_eq!(world.done[4..], ["300: start(1) 300"]);
}

/// So far ahead that of very many firings only the last are decided: those before them come again.
#[test]
fn a_clock_that_was_far_ahead_for_a_moment_holds_up_nothing() {
    let mut world = World::new(schedule("*/5 * * * *")).awake(3);
    world.now += 25_000 * MINUTE;
    let mut world = world.awake(2);
    let before = world.done.len();
    assert_eq!((before, world.done.last().unwrap().as_str()), (1000, "25003: start(1) 25000"));
    world.now -= 25_002 * MINUTE;
    world.awake(8).did_last(before, &["5: start(1) 5", "10: start(1) 10"]);
}

#[test]
fn what_falls_into_a_pause_is_not_caught_up_with() {
    let mut world = World::new(schedule("0 * * * *"));
    world.past.state.paused = true;
    let mut world = world.awake(130);
    world.past.state.paused = false;
    world.awake(60).did(&["60: paused 60", "120: paused 120", "180: start(1) 180"]);
}

#[test]
fn jitter_delays_the_beginning_and_not_the_firing() {
    let jittered = Schedule { jitter: 20 * MINUTE, ..schedule("0 * * * *") };
    let begins = (jittered.begins("p", START + HOUR) - START + MINUTE - 1) / MINUTE;
    assert!((61..80).contains(&begins), "{begins}");
    let world = World::new(jittered).awake(81);
    world.did(&[&format!("{begins}: start(1) 60")]);
}

#[test]
fn who_asks_is_told_when_to_ask_again() {
    let plain = schedule("0 * * * *");
    let world = World::new(plain.clone());
    let wake =
        |past: &Past, now| decide("p", &plain, past, START + now * MINUTE).wake.map(|wake| (wake - START) / MINUTE);
    assert_eq!(wake(&world.past, 10), Some(60));
    assert_eq!(wake(&world.past, 60), Some(120));
    let jittered = Schedule { jitter: 20 * MINUTE, ..plain.clone() };
    let begins = jittered.begins("p", START + HOUR);
    assert!(begins > START + HOUR);
    for now in [10, 60] {
        let wake = decide("p", &jittered, &world.past, START + now * MINUTE).wake;
        assert_eq!(wake, Some(begins), "there is nothing to do before it begins");
    }
    let never = schedule("0 0 30 2 *");
    assert_eq!(decide("p", &never, &world.past, START).wake, None);
    let retry = Some(Retry { times: 2, backoff: 3 * MINUTE });
    let failing = Schedule { retry, ..schedule("0 * * * *") };
    let world = World::new(failing.clone()).takes(60, 1, 1, AttemptEnd::Failed { environment: true }).awake(62);
    assert_eq!(decide("p", &failing, &world.past, world.now).wake, Some(START + 64 * MINUTE));
}

/// Whatever happens, a firing is decided once, no two runs go on at once, and no firing is overtaken by a later one.
#[test]
fn in_random_worlds_each_firing_is_decided_once_and_in_order() {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut starts = 0;
    for _ in 0..300 {
        let catch_up = [CatchUp::None, CatchUp::Latest, CatchUp::All { max: 4 }][random(3) as usize];
        let overlap = [Overlap::Skip, Overlap::Queue, Overlap::CancelRunning][random(3) as usize];
        let retry = [None, Some(Retry { times: 2, backoff: 4 * MINUTE })][random(2) as usize];
        let jitter = [0, 3 * MINUTE][random(2) as usize];
        let mut world = World::new(Schedule { catch_up, overlap, retry, jitter, ..schedule("*/7 * * * *") });
        for due in (0..600).step_by(7) {
            for attempt in 1..4 {
                let end = [
                    AttemptEnd::Done,
                    AttemptEnd::Done,
                    AttemptEnd::Failed { environment: true },
                    AttemptEnd::Failed { environment: false },
                    AttemptEnd::Lost,
                ][random(5) as usize];
                world = world.takes(due, attempt, 1 + random(12) as i64, end);
            }
        }
        for _ in 0..12 {
            world = match random(4) {
                0 => world.asleep(random(40) as i64),
                1 => world.crash(),
                2 => {
                    world.now -= random(20) as i64 * MINUTE;
                    world
                }
                _ => world.awake(random(40) as i64),
            };
        }
        for (at, run) in world.past.attempts.iter().enumerate() {
            let before = world.past.attempts[..at].iter().filter(|other| other.due == run.due).count();
            assert_eq!(before as u32 + 1, run.number, "{:#?}", world.done);
            assert!(run.number <= 3 && world.past.attempts[..at].iter().all(|other| other.due <= run.due));
        }
        starts += world.past.attempts.len();
    }
    assert!(starts > 2000, "{starts}");
}
