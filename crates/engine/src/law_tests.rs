//! The engine's own law: wherever a log is cut and in whatever order its pieces are merged, the rows are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use crate::aggregate::find;
use crate::edge::Hands;
use crate::expr::Expr;
use crate::log::Chunk;
use crate::plan::*;
use crate::watermark::{NEVER, watermark};
use crate::window::{Window, Windowing};
use crate::{Closing, DataType, Emission, Engine, Field, Part, PartName, Schema, State};

fn column(name: &str, data_type: DataType) -> ColumnPlan {
    ColumnPlan {
        field: Field { name: name.into(), data_type, nullable: true },
        from: ValueFrom::Path(vec![name.into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    }
}

fn plan(windowing: Windowing, top: Option<Top>) -> Arc<Plan> {
    let x = || Expr::column("x", DataType::Float64);
    let call = |name: &str, arguments: Vec<Expr>, output_type| AggregateCall {
        aggregate: find(name).expect("the aggregate is in the table"),
        arguments,
        parameters: Vec::new(),
        filter: None,
        output_type,
    };
    let calls = vec![
        call("count", vec![], DataType::Int64),
        call("sum", vec![x()], DataType::Float64),
        call("first", vec![x()], DataType::Float64),
        call("last", vec![x()], DataType::Float64),
    ];
    let outputs: Vec<(String, Expr)> = ["n", "sum", "first", "last"]
        .iter()
        .enumerate()
        .map(|(i, name)| (name.to_string(), Expr::column(format!("#{i}"), calls[i].output_type)))
        .collect();
    let mut fields = vec![
        Field::new("window_start", DataType::Timestamp),
        Field::new("window_end", DataType::Timestamp),
        Field::new("key", DataType::String),
    ];
    fields.extend(outputs.iter().map(|(name, expr)| Field::new(name, expr.data_type())));
    let source = SourcePlan {
        name: "s".into(),
        columns: vec![
            column("key", DataType::String),
            column("x", DataType::Float64),
            column("at", DataType::Timestamp),
        ],
        format: "json".into(),
        event_time: "at".into(),
        out_of_orderness: 7,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
        needed: vec!["key".into(), "x".into(), "at".into()],
        tombstones: false,
    };
    let window = WindowPlan {
        windowing,
        allowed_lateness: 2,
        keys: vec![("key".into(), Expr::column("key", DataType::String))],
        unique_by: Vec::new(),
        calls,
        outputs,
        having: None,
        top,
    };
    let step = StepPlan {
        name: "w".into(),
        inputs: vec![Input::Source(0)],
        sources: vec![0],
        over_windows: false,
        tag: None,
        rows: RowWork::default(),
        rules: Vec::new(),
        row_schema: source.row_schema(),
        schema: Schema::new(fields),
        work: Work::Window(Box::new(window)),
    };
    Arc::new(Plan {
        name: "law".into(),
        sources: vec![source],
        steps: vec![step],
        sinks: Vec::new(),
        definition: String::new(),
        canonical: String::new(),
    })
}

/// xorshift: chance with a seed.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Parts as a checkpoint keeps them: what a snapshot says has not changed stays as it was.
#[derive(Default)]
pub(crate) struct Kept(BTreeMap<PartName, Vec<RecordBatch>>);

impl Kept {
    /// Takes a snapshot; now and then another engine, with hashes of its own, goes on from what is kept.
    pub(crate) fn pass(&mut self, engine: &mut Engine, state: &mut State, chance: &mut Chance) {
        let mut now = BTreeMap::new();
        for part in engine.snapshot(state, false) {
            let tables = part.tables.unwrap_or_else(|| self.0[&part.name].clone());
            now.insert(part.name, tables);
        }
        let whole = |state: &mut State| -> BTreeMap<PartName, Vec<RecordBatch>> {
            let parts = engine.snapshot(state, true).into_iter();
            parts.map(|part| (part.name, part.tables.expect("the whole was asked for"))).collect()
        };
        let part =
            |(name, tables): (&PartName, &Vec<RecordBatch>)| Part { name: name.clone(), tables: Some(tables.clone()) };
        // What lies in layers is what comes of them.
        let has_layers: BTreeSet<(String, Option<Window>)> =
            now.keys().filter(|name| name.layer.is_some()).map(|name| (name.step.clone(), name.window)).collect();
        let is_layer = |name: &PartName| has_layers.contains(&(name.step.clone(), name.window));
        let layers = now.iter().rev().filter(|(name, _)| is_layer(name)).map(part);
        let mut found = whole(&mut engine.restore(layers).unwrap());
        found.extend(
            now.iter().filter(|(name, _)| !is_layer(name)).map(|(name, tables)| (name.clone(), tables.clone())),
        );
        assert_eq!(whole(state), found, "a part that changed says so");
        self.0 = now;
        if chance.below(6) == 0 {
            *engine = Engine::new(engine.plan().clone());
            *state = self.gone_on_from(engine, chance);
        }
    }
}

impl Kept {
    /// Goes on from what is kept. Now and then windows leave the state while they come; a checkpoint that is made then is
    /// as good as the one before.
    fn gone_on_from(&self, engine: &Engine, chance: &mut Chance) -> State {
        let part =
            |(name, tables): (&PartName, &Vec<RecordBatch>)| Part { name: name.clone(), tables: Some(tables.clone()) };
        let (mut state, mut pieces) = (engine.empty(), BTreeMap::new());
        for part in self.0.iter().rev().map(part) {
            engine.take_back(&mut state, &part).unwrap();
            if chance.below(3) == 0 {
                let spilled = engine.spill(&mut state, 0, |spilled| {
                    let name = PartName { piece: Some(pieces.len() as u64), ..spilled.name };
                    pieces.insert(name, spilled.tables.collect());
                    Ok(())
                });
                spilled.unwrap();
            }
        }
        let mut now = pieces.clone();
        for part in engine.snapshot(&mut state, false) {
            let tables = part.tables.unwrap_or_else(|| self.0[&part.name].clone());
            now.insert(part.name, tables);
        }
        let whole = |parts: &BTreeMap<PartName, Vec<RecordBatch>>| {
            let mut state = engine.restore(parts.iter().rev().map(part)).unwrap();
            let parts = engine.snapshot(&mut state, true).into_iter();
            parts.map(|part| (part.name, part.tables)).collect::<Vec<_>>()
        };
        assert_eq!(whole(&now), whole(&self.0), "what left while it came is in one place");
        pieces.iter().for_each(|piece| engine.take_back(&mut state, &part(piece)).unwrap());
        state
    }
}

type Record = (Option<String>, Option<f64>, i64);

fn chunk(partition: i32, first: usize, records: &[Record]) -> Chunk {
    let keys: ArrayRef = Arc::new(records.iter().map(|(key, ..)| key.clone()).collect::<StringArray>());
    let xs: ArrayRef = Arc::new(records.iter().map(|(_, x, _)| *x).collect::<Float64Array>());
    let times = TimestampMicrosecondArray::from_iter_values(records.iter().map(|(.., at)| *at)).with_timezone("UTC");
    Chunk {
        partition,
        offsets: Int64Array::from_iter_values((first..first + records.len()).map(|offset| offset as i64)),
        timestamps: None,
        columns: RecordBatch::try_from_iter_with_nullable([
            ("key", keys, true),
            ("x", xs, true),
            ("at", Arc::new(times) as ArrayRef, true),
        ])
        .unwrap(),
        bad: Vec::new(),
        raw: None,
    }
}

fn log(chance: &mut Chance) -> Vec<Vec<Record>> {
    (0..1 + chance.below(3))
        .map(|_| {
            let mut clock = 0;
            (0..chance.below(40))
                .map(|_| {
                    clock += chance.below(6) as i64;
                    let key = [None, Some("a"), Some("b")][chance.below(3) as usize].map(String::from);
                    let x = [None, Some(0.1), Some(1e300), Some(-1e300), Some(f64::NAN)][chance.below(5) as usize];
                    (key, x, clock - chance.below(25) as i64)
                })
                .collect()
        })
        .collect()
}

/// A log of many keys, so that windows have more rows than one emission and sessions come and go.
fn busy_log(chance: &mut Chance) -> Vec<Vec<Record>> {
    (0..1 + chance.below(3))
        .map(|_| {
            let mut clock = 0;
            (0..300 + chance.below(100))
                .map(|_| {
                    clock += chance.below(3) as i64;
                    let key = Some(format!("key {}", chance.below(25))).filter(|key| key != "key 0");
                    (key, Some(chance.below(100) as f64), clock - chance.below(25) as i64)
                })
                .collect()
        })
        .collect()
}

/// Returns the rows that the definition gives, one record after the other: window, key, count.
fn by_definition(windowing: Windowing, log: &[Vec<Record>]) -> Vec<(i64, i64, Option<String>, i64)> {
    let mut rows = BTreeMap::new();
    let mut points: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for records in log {
        let mut maximum = i64::MIN / 2;
        for (key, _, at) in records {
            maximum = maximum.max(*at);
            let watermark = maximum - 7;
            match windowing {
                Windowing::Fixed { size, every, offset } => {
                    for start in (at - size + 1..=*at).filter(|start| (start - offset).rem_euclid(every) == 0) {
                        if start + size + 2 > watermark {
                            *rows.entry((start + size, start, key.clone())).or_insert(0) += 1;
                        }
                    }
                }
                Windowing::Session { .. } if at + 2 >= watermark => points.entry(key.clone()).or_default().push(*at),
                _ => {}
            }
        }
    }
    if let Windowing::Session { gap } = windowing {
        for (key, mut times) in points {
            times.sort_unstable();
            for session in times.chunk_by(|a, b| b - a < gap) {
                let window = (session[session.len() - 1] + gap, session[0], key.clone());
                rows.insert(window, session.len() as i64);
            }
        }
    }
    rows.into_iter().map(|((end, start, key), count)| (end, start, key, count)).collect()
}

/// Folds each partition as one chunk and closes once.
fn run_at_once(plan: &Arc<Plan>, log: &[Vec<Record>]) -> (String, usize) {
    let engine = Engine::new(plan.clone());
    let mut state = engine.empty();
    let (mut text, mut late, mut frontier) = (String::new(), 0, i64::MAX);
    for (partition, records) in log.iter().enumerate() {
        let folded = engine.fold(0, &chunk(partition as i32, 0, records), NEVER, &mut state);
        late += folded.asides.iter().map(|aside| aside.identity.len()).sum::<usize>();
        frontier = frontier.min(watermark(folded.maximum, 7));
    }
    write(&mut text, engine.close(&[frontier], &mut state).unwrap().emissions);
    write(&mut text, engine.finish(state).unwrap().emissions);
    (text, late)
}

/// Hands that do the last piece first.
struct Backwards(usize);

impl Hands for Backwards {
    fn count(&self) -> usize {
        self.0
    }

    fn each(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..pieces).rev().for_each(work);
    }
}

/// Cuts the log into chunks, folds each into a state of its own or into a shared one, or gathers it, merges and closes at random.
fn run(plan: &Arc<Plan>, log: &[Vec<Record>], chance: &mut Chance) -> (String, usize) {
    let (text, late, _) = run_counting(plan, log, chance);
    (text, late)
}

/// Like `run`; also counts how often a state gave back the slots of ended sessions.
fn run_counting(plan: &Arc<Plan>, log: &[Vec<Record>], chance: &mut Chance) -> (String, usize, usize) {
    let mut compacted = 0;
    let mut engine = Engine::new(plan.clone());
    let mut state = engine.empty();
    let mut next = vec![0; log.len()];
    let mut maxima = vec![NEVER; log.len()];
    let (mut text, mut late, mut kept) = (String::new(), 0, Kept::default());
    let hands = Backwards(1 + chance.below(3) as usize);
    let closing = Closing { reach: None, hands: &hands };
    // Chunks that were gathered come to the tables together: in states of their own, or in the one, as a stream's. Some runs gather none.
    let may_gather = chance.below(2) == 0;
    let gathers_itself = chance.below(2) == 0;
    let mut gathered: Vec<State> = Vec::new();
    let settle = |engine: &Engine, state: &mut State, gathered: &mut Vec<State>| {
        gathered.drain(..).for_each(|apart| engine.merge(state, apart));
        engine.settle(state, &hands);
    };
    while let Some(partition) = {
        let open: Vec<usize> = (0..log.len()).filter(|p| next[*p] < log[*p].len()).collect();
        (!open.is_empty()).then(|| open[chance.below(open.len() as u64) as usize])
    } {
        if gathers_itself {
            engine.gather(&mut state);
        }
        let take = (1 + chance.below(9) as usize).min(log[partition].len() - next[partition]);
        let piece = chunk(partition as i32, next[partition], &log[partition][next[partition]..next[partition] + take]);
        next[partition] += take;
        let folded = if chance.below(2) == 0 {
            let slots = |state: &State| state.windows[0].as_ref().unwrap().slots();
            let before = slots(&state);
            let folded = engine.fold(0, &piece, maxima[partition], &mut state);
            compacted += usize::from(slots(&state) < before);
            folded
        } else {
            let gathers = may_gather && chance.below(2) == 0;
            let mut apart = if gathers { engine.gathering() } else { engine.empty() };
            let folded = engine.fold(0, &piece, maxima[partition], &mut apart);
            if gathers {
                gathered.push(apart);
            } else {
                if chance.below(2) == 0 {
                    std::mem::swap(&mut apart, &mut state);
                }
                engine.merge(&mut state, apart);
            }
            folded
        };
        maxima[partition] = folded.maximum;
        late += folded.asides.iter().map(|aside| aside.identity.len()).sum::<usize>();
        if chance.below(3) == 0 {
            settle(&engine, &mut state, &mut gathered);
            let frontier = maxima.iter().map(|maximum| watermark(*maximum, 7)).min().unwrap();
            write(&mut text, engine.close_by(closing, &[frontier], &mut state).unwrap().emissions);
            kept.pass(&mut engine, &mut state, chance);
        }
    }
    settle(&engine, &mut state, &mut gathered);
    let frontier = maxima.iter().map(|maximum| watermark(*maximum, 7)).min().unwrap();
    write(&mut text, engine.close(&[frontier], &mut state).unwrap().emissions);
    write(&mut text, engine.finish(state).unwrap().emissions);
    (text, late, compacted)
}

fn write(text: &mut String, emissions: Vec<Emission>) {
    for emission in emissions {
        for row in 0..emission.rows.num_rows() {
            for column in emission.rows.columns() {
                text.push_str(&crate::value::display(column, row));
                text.push('|');
            }
            text.push_str(if emission.is_final { "final\n" } else { "open\n" });
        }
    }
}

#[test]
fn cuts_and_merge_orders_cannot_be_seen() {
    let windowings = [
        Windowing::Fixed { size: 10, every: 10, offset: 3 },
        Windowing::Fixed { size: 12, every: 5, offset: 0 },
        Windowing::Session { gap: 4 },
    ];
    let (mut rows, mut late_logs) = (0, 0);
    for seed in 1..=400u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let plan = plan(windowings[seed as usize % windowings.len()], None);
        let log = log(&mut chance);
        let (once, late) = run(&plan, &log, &mut chance);
        for _ in 0..4 {
            assert_eq!(
                (once.as_str(), late),
                {
                    let (text, late) = run(&plan, &log, &mut chance);
                    (&*text.leak(), late)
                },
                "seed {seed}"
            );
        }
        rows += once.lines().count();
        late_logs += usize::from(late > 0);
    }
    assert!(rows > 4000 && late_logs > 200, "the logs say something: {rows} rows, {late_logs} logs with late records");
}

const BUSY: [Windowing; 4] = [
    Windowing::Fixed { size: 10, every: 10, offset: 3 },
    Windowing::Fixed { size: 40, every: 3, offset: 1 },
    Windowing::Session { gap: 9 },
    Windowing::Session { gap: 20 },
];

#[test]
fn many_keys_and_small_cuts_give_the_rows_of_the_definition() {
    let mut compacted = 0;
    for seed in 1..=40u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let windowing = BUSY[seed as usize % BUSY.len()];
        let plan = plan(windowing, None);
        let log = busy_log(&mut chance);
        let (once, late) = run_at_once(&plan, &log);
        let defined: Vec<String> = by_definition(windowing, &log).into_iter().map(start_of_line).collect();
        assert_eq!(once.lines().map(|line| cut(line, 4)).collect::<Vec<_>>(), defined, "seed {seed}, {windowing:?}");
        for _ in 0..2 {
            let (text, late_too, times) = run_counting(&plan, &log, &mut chance);
            assert!((text.as_str(), late_too) == (once.as_str(), late), "seed {seed}, {windowing:?}");
            compacted += times;
        }
    }
    assert!(compacted > 5, "slots of ended sessions were given back {compacted} times");
}

#[test]
fn top_compares_all_rows_of_a_window() {
    for seed in 1..=20u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let windowing = BUSY[seed as usize % BUSY.len()];
        let top = Top { n: 2, by: vec![("n".into(), true)], per: Vec::new(), keep_ties: false, rank: None };
        let plan = plan(windowing, Some(top));
        let log = busy_log(&mut chance);
        let rows = by_definition(windowing, &log);
        let mut defined = Vec::new();
        for window in rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let mut order: Vec<usize> = (0..window.len()).collect();
            order.sort_by_key(|row| -window[*row].3);
            order.truncate(2);
            order.sort_unstable();
            defined.extend(order.into_iter().map(|row| start_of_line(window[row].clone())));
        }
        let (text, _) = run(&plan, &log, &mut chance);
        assert_eq!(text.lines().map(|line| cut(line, 4)).collect::<Vec<_>>(), defined, "seed {seed}, {windowing:?}");
    }
}

#[test]
fn ranks_count_the_rows_of_a_window_in_their_order_from_one() {
    for seed in 1..=20u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let windowing = BUSY[seed as usize % 2];
        let top =
            Top { n: 3, by: vec![("n".into(), true)], per: Vec::new(), keep_ties: true, rank: Some("place".into()) };
        let mut plan = Plan::clone(&plan(windowing, Some(top)));
        plan.steps[0].schema.fields.push(Field::new("place", DataType::Int64));
        let log = busy_log(&mut chance);
        let rows = by_definition(windowing, &log);
        let mut defined = Vec::new();
        for window in rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            // A row's place is one more than the number of rows before it: with more of `n`, or as many and a lesser key.
            for (at, row) in window.iter().enumerate() {
                let before = |(other_at, other): &(usize, &(i64, i64, Option<String>, i64))| {
                    other.3 > row.3 || other.3 == row.3 && *other_at < at
                };
                let place = 1 + window.iter().enumerate().filter(before).count();
                let better = window.iter().filter(|other| other.3 > row.3).count();
                if better < 3 {
                    defined.push(format!("{}|{place}", start_of_line(row.clone())));
                }
            }
        }
        let (text, _) = run(&Arc::new(plan), &log, &mut chance);
        let found: Vec<String> = text
            .lines()
            .map(|line| format!("{}|{}", cut(line, 4), line.rsplit('|').nth(1).unwrap_or_default()))
            .collect();
        assert_eq!(found, defined, "seed {seed}");
    }
}

#[test]
fn top_refuses_a_window_with_more_keys_than_one_array_takes() {
    for windowing in [Windowing::Fixed { size: 100, every: 100, offset: 0 }, Windowing::Session { gap: 100 }] {
        let top = Top { n: 2, by: vec![("n".into(), true)], per: Vec::new(), keep_ties: false, rank: None };
        let (with_top, without) = (plan(windowing, Some(top)), plan(windowing, None));
        // 70,000 bytes of keys, where 65,536 is the limit in tests; all of one window, or of sessions of one end.
        let records: Vec<Record> = (0..700).map(|i| (Some(format!("{i:0100}")), Some(1.0), 5)).collect();
        let close = |plan: &Arc<Plan>, records: &[Record]| {
            let engine = Engine::new(plan.clone());
            let mut state = engine.empty();
            engine.fold(0, &chunk(0, 0, records), NEVER, &mut state);
            engine.finish(state).map(|closed| closed.emissions.iter().map(|rows| rows.rows.num_rows()).sum::<usize>())
        };
        let error = close(&with_top, &records).unwrap_err();
        assert_eq!(error.code, crate::Code::Overflow);
        assert!(error.message.contains("than `top` can compare"), "{}", error.message);
        assert_eq!(close(&with_top, &records[..400]).unwrap(), 2);
        assert_eq!(close(&without, &records).unwrap(), 700);
    }
}

/// A start takes a checkpoint in table by table, and a budget may let what is there leave between two of them.
#[test]
fn what_left_while_a_window_came_in_is_kept_once() {
    let windowing = Windowing::Fixed { size: 100, every: 100, offset: 0 };
    let mut with_ids = Plan::clone(&plan(windowing, None));
    let Work::Window(window) = &mut with_ids.steps[0].work else { unreachable!("it is a window") };
    window.unique_by = vec![("id".into(), Expr::column("key", DataType::String))];
    let records: Vec<Record> = (0..10).map(|i| (Some(i.to_string()), Some(1.0), 5)).collect();
    for plan in [plan(windowing, None), Arc::new(with_ids)] {
        let engine = Engine::new(plan.clone());
        let mut state = engine.empty();
        engine.fold(0, &chunk(0, 0, &records), NEVER, &mut state);
        engine.close(&[NEVER], &mut state).unwrap();
        let kept = engine.snapshot(&mut state, false);
        let tables: Vec<(&PartName, Option<&RecordBatch>)> = kept
            .iter()
            .rev()
            .flat_map(|part| {
                let tables = part.tables.iter().flatten().map(|rows| (&part.name, Some(rows)));
                [(&part.name, None)].into_iter().chain(tables)
            })
            .collect();
        assert!(tables.len() > 4, "ten rows are in tables of three");
        let engine = Engine::new(plan);
        let (mut state, mut rows) = (engine.empty(), 0);
        for (number, (name, table)) in tables.iter().enumerate() {
            let part = Part { name: (*name).clone(), tables: Some(table.iter().map(|rows| (*rows).clone()).collect()) };
            engine.take_back(&mut state, &part).unwrap();
            if number + 1 < tables.len() {
                let left = engine.spill(&mut state, 0, |spilled| {
                    rows += spilled.groups;
                    Ok(())
                });
                left.unwrap();
            }
        }
        assert!(rows > 0);
        engine.mark_changed(&mut state);
        for part in engine.snapshot(&mut state, false) {
            let before = || kept.iter().find(|kept| kept.name == part.name).and_then(|kept| kept.tables.clone());
            let tables = part.tables.clone().or_else(before).expect("it is in the checkpoint");
            rows += tables.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
        assert_eq!(rows, 10, "a checkpoint that is made then has what left beside the rest, and no row in both");
    }
}

fn start_of_line((end, start, key, count): (i64, i64, Option<String>, i64)) -> String {
    format!("{}|{}|{}|{count}", crate::rfc3339(start), crate::rfc3339(end), key.as_deref().unwrap_or("null"))
}

fn cut(line: &str, columns: usize) -> String {
    line.split('|').take(columns).collect::<Vec<_>>().join("|")
}
