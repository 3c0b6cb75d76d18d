//! The engine's own law: wherever a log is cut and in whatever order its pieces are merged, the rows are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use crate::aggregate::find;
use crate::expr::Expr;
use crate::log::Chunk;
use crate::plan::*;
use crate::watermark::{NEVER, watermark};
use crate::window::Windowing;
use crate::{DataType, Emission, Engine, Field, Schema};

fn column(name: &str, data_type: DataType) -> ColumnPlan {
    ColumnPlan {
        field: Field { name: name.into(), data_type, nullable: true },
        from: ValueFrom::Path(vec![name.into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    }
}

fn plan(windowing: Windowing) -> Arc<Plan> {
    let x = || Expr::column("x", DataType::Float64);
    let call = |name: &str, arguments: Vec<Expr>, output_type| AggregateCall {
        aggregate: find(name).expect("the aggregate is in the table"),
        arguments,
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
    };
    let window = WindowPlan {
        windowing,
        allowed_lateness: 2,
        keys: vec![("key".into(), Expr::column("key", DataType::String))],
        calls,
        outputs,
        having: None,
        top: None,
    };
    let step = StepPlan {
        name: "w".into(),
        input: Input::Source(0),
        source: 0,
        over_windows: false,
        rows: RowWork::default(),
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
    })
}

/// xorshift: chance with a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
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

/// Cuts the log into chunks, folds each into a state of its own or into a shared one, merges and closes at random.
fn run(plan: &Arc<Plan>, log: &[Vec<Record>], chance: &mut Chance) -> (String, usize) {
    let engine = Engine::new(plan.clone());
    let mut state = engine.empty();
    let mut next = vec![0; log.len()];
    let mut maxima = vec![NEVER; log.len()];
    let (mut text, mut late) = (String::new(), 0);
    while let Some(partition) = {
        let open: Vec<usize> = (0..log.len()).filter(|p| next[*p] < log[*p].len()).collect();
        (!open.is_empty()).then(|| open[chance.below(open.len() as u64) as usize])
    } {
        let take = (1 + chance.below(9) as usize).min(log[partition].len() - next[partition]);
        let piece = chunk(partition as i32, next[partition], &log[partition][next[partition]..next[partition] + take]);
        next[partition] += take;
        let folded = if chance.below(2) == 0 {
            engine.fold(0, &piece, maxima[partition], &mut state)
        } else {
            let mut apart = engine.empty();
            let folded = engine.fold(0, &piece, maxima[partition], &mut apart);
            if chance.below(2) == 0 {
                std::mem::swap(&mut apart, &mut state);
            }
            engine.merge(&mut state, apart);
            folded
        };
        maxima[partition] = folded.maximum;
        late += folded.asides.iter().map(|aside| aside.identity.len()).sum::<usize>();
        if chance.below(3) == 0 {
            let frontier = maxima.iter().map(|maximum| watermark(*maximum, 7)).min().unwrap();
            write(&mut text, engine.close(&[frontier], &mut state).unwrap().emissions);
        }
    }
    let frontier = maxima.iter().map(|maximum| watermark(*maximum, 7)).min().unwrap();
    write(&mut text, engine.close(&[frontier], &mut state).unwrap().emissions);
    write(&mut text, engine.finish(state).unwrap().emissions);
    (text, late)
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
        let plan = plan(windowings[seed as usize % windowings.len()]);
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
