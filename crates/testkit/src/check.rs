//! Checks a case: stream and batch, under several schedules, over several parts of the log, against the oracle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::{Code, Engine};
use runtime::checkpoint::store::Store;

use crate::case::{Case, Extract};
use crate::memory::SIZES;
use crate::oracle::{Answer, Cut, Place, Position, StepAnswer, Stopped, answer};
use crate::random::Random;
use crate::run::{Found, FoundStep, Mode, Schedule, plan, run, run_on};
use crate::value::Value;

/// Threads of batch runs.
pub const THREADS: [usize; 3] = [1, 2, 8];

/// A case that was run and found right.
pub struct Checked {
    /// The oracle's answer for the whole log.
    pub answer: Result<Answer, Stopped>,
    /// True when a run over a range left records unread.
    pub left_unread: bool,
    /// True when windows left the state of a stream and came back.
    pub spilled_stream: bool,
    /// True when windows left the state of a batch run and came back.
    pub spilled_batch: bool,
    /// True when a run went on from a checkpoint that had pieces of windows.
    pub resumed_pieces: bool,
}

/// Runs the case in both modes, whole, cut and in ranges; or returns what is different in the first run that differs.
pub fn check(case: &Case) -> Result<Checked, String> {
    catch_unwind(AssertUnwindSafe(|| check_all(case))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(format!("panic: {}", message.unwrap_or_default()))
    })
}

fn check_all(case: &Case) -> Result<Checked, String> {
    let plan = plan(&case.pipeline).map_err(|errors| format!("the pipeline is refused:\n{errors}"))?;
    let engine = Engine::new(plan);
    // Schedules follow from the seed but not from the log, so that a smaller log meets the same ones.
    let mut random = Random::new(case.seed ^ 0x5eed);
    let everything = Cut::default();
    let whole = answer(&case.pipeline, &case.log, &everything);
    let mut seen = Seen::default();
    for schedule in schedules(&mut random) {
        seen |= check_run(case, &engine, &everything, (None, None), &schedule, &whole)?;
    }
    let mut crashing = |spills: bool| {
        let max_drift = *random.pick(&[0, 5_000, i64::MAX]);
        let mode = Mode::Crashing { crashes: 1 + random.below(4), max_drift, forgets: false };
        let spill_above = spills.then(|| *random.pick(&BUDGETS));
        Schedule { mode, seed: random.bits(), size: Some(*random.pick(&SIZES[..4])), spill_above }
    };
    seen |= check_run(case, &engine, &everything, (None, None), &crashing(true), &whole)?;
    let of_crash = crashing(false);
    let cut = random_cut(&mut random, case);
    let of_cut = answer(&case.pipeline, &case.log, &cut);
    check_run(case, &engine, &cut, (None, None), &of_crash, &of_cut)?;
    for schedule in &schedules(&mut random)[1..3] {
        seen |= check_run(case, &engine, &cut, (None, None), schedule, &of_cut)?;
    }
    for (cut, expected) in [(&everything, &whole), (&cut, &of_cut)] {
        let crashes = if random.chance(50) { 0 } else { 1 + random.below(3) };
        let (threads, max_drift) = (*random.pick(&THREADS), *random.pick(&[0, 5_000, i64::MAX]));
        let mode = Mode::Handover { crashes, threads, max_drift };
        let (seed, size) = (random.bits(), random.chance(70).then(|| *random.pick(&SIZES)));
        let spill_above = random.chance(50).then(|| *random.pick(&BUDGETS));
        let schedule = Schedule { mode, seed, size, spill_above };
        seen |= check_run(case, &engine, cut, (None, None), &schedule, expected)?;
    }
    let mut of_ranges = Seen::default();
    if let Ok(whole) = &whole {
        let range = random_range(&mut random, whole);
        let selected = Ok(whole.in_range(range));
        for schedule in &schedules(&mut random)[1..] {
            of_ranges |= check_run(case, &engine, &everything, range, schedule, &selected)?;
        }
        if let Ok(of_cut) = &of_cut {
            let selected = Ok(of_cut.in_range(range));
            of_ranges |= check_run(case, &engine, &cut, range, &schedules(&mut random)[2], &selected)?;
        }
    }
    Ok(Checked {
        answer: whole,
        left_unread: of_ranges.left_unread,
        spilled_stream: seen.spilled_stream,
        spilled_batch: seen.spilled_batch,
        resumed_pieces: seen.resumed_pieces,
    })
}

/// Runs the case as streams that crash and keep their checkpoints in a store of the caller's, under the name that it is given.
pub fn check_on(case: &Case, stores: &dyn Fn(&str) -> Box<dyn Store>) -> Result<(), String> {
    let plan = plan(&case.pipeline).map_err(|errors| format!("the pipeline is refused:\n{errors}"))?;
    let engine = Engine::new(plan);
    let mut random = Random::new(case.seed ^ 0x0b7ec7);
    let everything = Cut::default();
    let whole = answer(&case.pipeline, &case.log, &everything);
    let (crashes, max_drift) = (1 + random.below(4), i64::MAX);
    let modes = [
        Mode::Crashing { crashes, max_drift, forgets: false },
        Mode::Handover { crashes: crashes - 1, threads: 2, max_drift },
    ];
    for (number, mode) in modes.into_iter().enumerate() {
        let schedule = Schedule { mode, seed: random.bits(), size: Some(64), spill_above: Some(400) };
        let open = || stores(&format!("{}-{number}", case.seed));
        let found = run_on(case, &engine, &everything, (None, None), &schedule, &open);
        judge(case, &everything, (None, None), &schedule, &whole, found)?;
    }
    Ok(())
}

/// How many bytes the state of a run may take before windows leave it.
const BUDGETS: [usize; 4] = [0, 400, 2_000, 8_000];

/// What was seen in a run, or in several.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    left_unread: bool,
    spilled_stream: bool,
    spilled_batch: bool,
    resumed_pieces: bool,
}

impl std::ops::BitOrAssign for Seen {
    fn bitor_assign(&mut self, other: Self) {
        self.left_unread |= other.left_unread;
        self.spilled_stream |= other.spilled_stream;
        self.spilled_batch |= other.spilled_batch;
        self.resumed_pieces |= other.resumed_pieces;
    }
}

/// Two stream and two batch schedules, one of each with a state that hardly fits.
fn schedules(random: &mut Random) -> [Schedule; 4] {
    let mut schedule = |mode| Schedule {
        mode,
        seed: random.bits(),
        size: random.chance(70).then(|| *random.pick(&SIZES)),
        spill_above: None,
    };
    let stream = |close_every_ms, max_drift| Mode::Stream { close_every_ms, max_drift };
    let mut all = [
        schedule(stream(0, i64::MAX)),
        schedule(stream(0, 0)),
        schedule(Mode::Batch { threads: 1 }),
        schedule(Mode::Batch { threads: 2 }),
    ];
    all[0].mode = stream(*random.pick(&[0, 1, 200]), i64::MAX);
    all[1].mode = stream(0, *random.pick(&[0, 5, 5_000, 5_000_000]));
    for schedule in &mut all[2..] {
        schedule.mode = Mode::Batch { threads: *random.pick(&THREADS) };
    }
    for schedule in [1, 3] {
        all[schedule].spill_above = Some(*random.pick(&BUDGETS));
    }
    all
}

/// Start and end offsets at random, at either side of records, in gaps, sometimes none.
fn random_cut(random: &mut Random, case: &Case) -> Cut {
    let mut cut = Cut::default();
    let with_start = random.chance(40);
    for partition in &case.log.partitions {
        let read = case.pipeline.sources[partition.source].reads(partition.partition);
        let place = (partition.source, partition.partition);
        let (mut low, mut high) = (partition.start, partition.end);
        if random.chance(85) {
            high = random.between(low, high);
        }
        if with_start && random.chance(70) {
            low = random.between(low, high);
        }
        if read && with_start {
            cut.start.insert(place, low);
        }
        if read {
            cut.end.insert(place, high);
        }
    }
    cut
}

/// A range whose bounds are those of rows, or just beside.
fn random_range(random: &mut Random, answer: &Answer) -> (Option<i64>, Option<i64>) {
    let mut times: Vec<i64> =
        answer.steps.iter().flat_map(|step| step.rows.iter().map(|row| row.range_time())).collect();
    if times.is_empty() {
        times.push(0);
    }
    let bound = |random: &mut Random| {
        let time = *random.pick(&times) + random.between(-1, 1);
        random.chance(85).then_some(time)
    };
    (bound(random), bound(random))
}

/// Runs the case once; returns what was seen in it.
fn check_run(
    case: &Case,
    engine: &Engine,
    cut: &Cut,
    range: (Option<i64>, Option<i64>),
    schedule: &Schedule,
    expected: &Result<Answer, Stopped>,
) -> Result<Seen, String> {
    let found = run(case, engine, cut, range, schedule);
    judge(case, cut, range, schedule, expected, found)
}

/// Compares what a run found with what it must find; returns what was seen in it.
fn judge(
    case: &Case,
    cut: &Cut,
    range: (Option<i64>, Option<i64>),
    schedule: &Schedule,
    expected: &Result<Answer, Stopped>,
    found: engine::Result<Found>,
) -> Result<Seen, String> {
    let difference = match (expected, &found) {
        (Err(Stopped), Err(error)) if error.code == Code::Overflow => return Ok(Seen::default()),
        (Err(Stopped), Err(error)) => format!("it must stop with an overflow, and stops with {error}"),
        (Err(Stopped), Ok(_)) => "it must stop with an overflow, and does not".to_string(),
        (Ok(_), Err(error)) => format!("it stops with {error}"),
        (Ok(expected), Ok(found)) => {
            let is_range = range != (None, None);
            let of_read =
                found.read.as_ref().filter(|_| is_range).map(|read| of_read(case, expected, found, read, cut));
            match difference(case, of_read.as_ref().unwrap_or(expected), found) {
                None => {
                    let came_back = found.spilled.merged > 0;
                    let is_batch = matches!(schedule.mode, Mode::Batch { .. });
                    return Ok(Seen {
                        left_unread: found.counts[0] < expected.rows_read,
                        spilled_stream: came_back && !is_batch,
                        spilled_batch: came_back && is_batch,
                        resumed_pieces: found.had_pieces,
                    });
                }
                Some(difference) => difference,
            }
        }
    };
    Err(format!("{schedule:?}\n{cut:?}, range {range:?}\n{difference}"))
}

/// Returns what a run over a range must find that left records unread: the same rows, and of what is kept aside the part
/// that it read. What `dedup`, rules and failing window rows counted out of its reach is not asked of it, nor, after a
/// `dedup`, which records were late there.
fn of_read(case: &Case, expected: &Answer, found: &Found, read: &[(Place, i64, i64)], cut: &Cut) -> Answer {
    let was_read = |(source, partition, offset, _): Position| {
        read.iter().any(|(place, start, end)| *place == (source, partition) && (*start..*end).contains(&offset))
    };
    let mut answer = expected.clone();
    answer.bad.retain(|position| was_read(*position));
    let has_dedup = expected.steps.iter().any(|step| step.dedup.is_some());
    for step in &mut answer.steps {
        step.late.retain(|position| was_read(*position));
        step.failed.retain(|position| was_read(*position));
        let Some(found) = found.steps.iter().find(|found| found.name == step.name) else { continue };
        step.failed_window_rows = step.failed_window_rows.min(found.failed_window_rows);
        (step.dedup, step.checks) = (found.dedup, found.checks.clone());
        if has_dedup {
            (step.late, step.failed) = (found.late.clone(), found.failed.clone());
        }
    }
    let sum = |count: fn(&StepAnswer) -> u64| answer.steps.iter().map(count).sum::<u64>();
    (answer.rows_late, answer.rows_failed) =
        (sum(|step| step.late.len() as u64), sum(|step| step.failed.len() as u64 + step.failed_window_rows));
    let records = case.log.partitions.iter().flat_map(|partition| {
        let place = (partition.source, partition.partition);
        partition
            .records
            .iter()
            .filter(move |record| cut.holds(place, record.offset))
            .map(move |record| (partition.source, partition.partition, record.offset, None))
    });
    answer.rows_read = records.filter(|position| was_read(*position)).count() as u64;
    answer
}

/// Returns what is different between a run and what it must find, or None.
fn difference(case: &Case, expected: &Answer, found: &Found) -> Option<String> {
    for expected in &expected.steps {
        let Some(found) = found.steps.iter().find(|step| step.name == expected.name) else {
            return Some(format!("there is no step {}", expected.name));
        };
        let part = case.pipeline.step(&expected.name).and_then(|step| step.part.as_ref());
        let what = step_difference(expected, found).or_else(|| part_difference(part?, expected, found));
        if what.is_some() {
            return what;
        }
    }
    if let Some(what) = positions("bad records of the source", &expected.bad, &found.bad) {
        return Some(what);
    }
    let counts = [expected.rows_read, expected.bad.len() as u64, expected.rows_failed, expected.rows_late];
    if counts != found.counts {
        return Some(format!("rows read, bad, failed, late: must be {counts:?}, are {:?}", found.counts));
    }
    let with_bound = |(place, watermark): (&Place, &Option<i64>)| {
        (*place, watermark.map(|watermark| watermark + case.pipeline.sources[place.0].bound))
    };
    let maxima: BTreeMap<Place, Option<i64>> = expected.watermarks.iter().map(with_bound).collect();
    if maxima != found.maxima {
        return Some(format!("running maxima: must be {maxima:?}, are {:?}", found.maxima));
    }
    let mut digests = found.digests.clone();
    let must = expected.digests(&case.pipeline.sources);
    if must.bad.is_none() {
        digests.bad = None;
    }
    (must != digests).then(|| format!("digests: must be {must:#?}, are {digests:#?}"))
}

fn step_difference(expected: &StepAnswer, found: &FoundStep) -> Option<String> {
    let name = &expected.name;
    if let Some(oddity) = found.oddities.first() {
        return Some(format!("step {name}: {oddity}"));
    }
    if let Some(columns) = &found.columns
        && *columns != expected.written_columns()
    {
        return Some(format!("step {name}: columns must be {:?}, are {columns:?}", expected.written_columns()));
    }
    for (is_final, found) in [(true, &found.finals), (false, &found.open)] {
        let rows = expected.rows.iter().filter(|row| row.is_final == is_final);
        let must: Vec<Vec<Value>> = rows.map(|row| expected.written_cells(row)).collect();
        let mut found = found.clone();
        let mut must = must;
        if !expected.is_ordered {
            must.sort();
            found.sort();
        }
        let kind = if is_final { "final" } else { "open" };
        if let Some(what) = row_difference(&must, &found) {
            let columns: Vec<&str> = expected.columns.iter().map(|(name, _)| name.as_str()).collect();
            return Some(format!("step {name}, {kind} rows ({}):\n{what}", columns.join(", ")));
        }
    }
    if let Some(what) = positions(&format!("late records of step {name}"), &expected.late, &found.late) {
        return Some(what);
    }
    if let Some(what) = positions(&format!("failed records of step {name}"), &expected.failed, &found.failed) {
        return Some(what);
    }
    if expected.checks != found.checks {
        return Some(format!("step {name}: rules must count {:?}, count {:?}", expected.checks, found.checks));
    }
    if expected.dedup != found.dedup {
        return Some(format!("step {name}: dedup must count {:?}, counts {:?}", expected.dedup, found.dedup));
    }
    (expected.failed_window_rows != found.failed_window_rows).then(|| {
        format!("step {name}: {} window rows must fail, {} do", expected.failed_window_rows, found.failed_window_rows)
    })
}

fn part_difference(part: &Extract, expected: &StepAnswer, found: &FoundStep) -> Option<String> {
    [true, false].into_iter().zip(&found.part).find_map(|(is_final, found)| {
        let (mut must, mut found) = (expected.part(part, is_final), found.clone());
        must.sort();
        found.sort();
        let what = row_difference(&must, &found)?;
        Some(format!("sink part_{}, rows that are final: {is_final}:\n{what}", expected.name))
    })
}

fn row_difference(expected: &[Vec<Value>], found: &[Vec<Value>]) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut text = format!("{} rows must be there, {} are\n", expected.len(), found.len());
    let (mut left, mut right) = (expected.to_vec(), found.to_vec());
    left.sort();
    right.sort();
    if left == right {
        text.push_str("the rows are right, their order is not\n");
        return Some(text);
    }
    let mut shown = 0;
    for (rows, others, what) in [(&left, &right, "missing"), (&right, &left, "too much")] {
        for row in rows {
            let count = |rows: &[Vec<Value>]| rows.iter().filter(|other| *other == row).count();
            if count(rows) > count(others) && shown < 10 {
                let cells: Vec<String> = row.iter().map(Value::to_string).collect();
                let _ = writeln!(text, "{what}: {}", cells.join(" | "));
                shown += 1;
            }
        }
    }
    Some(text)
}

fn positions(what: &str, expected: &[Position], found: &[Position]) -> Option<String> {
    let (mut expected, mut found) = (expected.to_vec(), found.to_vec());
    expected.sort_unstable();
    found.sort_unstable();
    (expected != found).then(|| format!("{what} (source, partition, offset): must be {expected:?}, are {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::expr::column;
    use crate::case::log::{Content, Log, PartitionLog, Record};
    use crate::case::{Dedup, Pipeline, Source, SourceColumn, Step};
    use crate::value::Type;

    /// Records of (milliseconds, id) in one partition, and a step that lets an id through when it has paused for 60 ms.
    fn repetitions(records: &[(i64, i64)]) -> Case {
        let of = |name: &str, ty| SourceColumn { name: name.into(), ty, required: name == "at", beside: None };
        let source = Source { name: "events".into(), bound: 0, max_future: None, partitions: None };
        let step = Step {
            name: "once".into(),
            from: vec!["events".into()],
            dedup: Some(Dedup { keys: vec![("id".into(), column("id"))], within: 60_000 }),
            ..Step::default()
        };
        let pipeline = Pipeline {
            columns: vec![of("at", Type::Time), of("id", Type::Int64)],
            event_time: "at".into(),
            sources: vec![source],
            steps: vec![step],
        };
        let record = |(offset, (at, id)): (usize, &(i64, i64))| Record {
            offset: offset as i64,
            timestamp: 0,
            key: None,
            value: Some(format!("{{\"at\":{at},\"id\":{id}}}")),
            headers: Vec::new(),
            content: Content::Row(vec![Value::Time(at * 1000), Value::Int(*id)]),
        };
        let records: Vec<Record> = records.iter().enumerate().map(record).collect();
        let end = records.len() as i64;
        let log = Log { partitions: vec![PartitionLog { source: 0, partition: 0, start: 0, end, records }] };
        Case { seed: 0, pipeline, log }
    }

    #[test]
    fn a_record_past_a_range_tells_of_a_repetition_in_it() {
        let case = repetitions(&[(100, 1), (50, 1), (51, 2)]);
        let engine = Engine::new(plan(&case.pipeline).unwrap());
        let whole = answer(&case.pipeline, &case.log, &Cut::default()).unwrap();
        // The second record repeats the first one, which is later: 100 + 60 > max(50, W = 100).
        assert_eq!(whole.steps[0].dedup, Some((3, 2)));
        let range = (None, Some(60_000));
        let selected = Ok(whole.in_range(range));
        assert_eq!(selected.as_ref().unwrap().steps[0].rows.len(), 1);
        for seed in 0..30 {
            let schedule = Schedule { mode: Mode::Batch { threads: 1 }, seed, size: Some(1), spill_above: None };
            check_run(&case, &engine, &Cut::default(), range, &schedule, &selected).unwrap();
        }
    }

    #[test]
    fn a_checkpoint_that_forgets_pieces_is_found() {
        let mut found = 0;
        for seed in 0..60 {
            let case = Case::generate(seed);
            let engine = Engine::new(plan(&case.pipeline).unwrap());
            let whole = answer(&case.pipeline, &case.log, &Cut::default());
            let run = |forgets: bool| {
                let mode = Mode::Crashing { crashes: 3, max_drift: i64::MAX, forgets };
                let schedule = Schedule { mode, seed, size: Some(7), spill_above: Some(0) };
                // What is missing may also be the value that would have overflowed.
                let run = || check_run(&case, &engine, &Cut::default(), (None, None), &schedule, &whole).is_err();
                catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
            };
            assert!(!run(false), "seed {seed}");
            found += usize::from(run(true));
        }
        assert!(found >= 10, "found in {found} of 60 cases only");
    }
}
