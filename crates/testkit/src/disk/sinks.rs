//! File sinks on a disk that goes wrong: a job gives them epochs, as checkpoints that never fail say, and goes on after each
//! fault as a start does. In the end they must hold what they hold after an undisturbed run.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use connectors::sink::{self, Context};
use engine::edge::{Published, Replace};
use engine::plan::{Input, SinkPlan, SinkTarget};
use engine::{Code, DataType, Error, Field, Result, Schema};

use super::held::{Held, held};
use super::{Disk, Ended, Fault, Lie, folder, run_on, seed_of};
use crate::random::Random;

/// The file sinks, each as a folder and as one file where it can be one: kind and path.
pub const FILE_SINKS: [(&str, &str); 6] = [
    ("parquet", "out"),
    ("jsonl", "out"),
    ("csv", "out"),
    ("jsonl", "views.jsonl"),
    ("csv", "views.csv"),
    ("jsonl", "deep/er/views.txt"),
];

/// Minute of the window, page, views.
type Row = (i64, &'static str, i64);

/// Rows of one epoch: final ones in the pieces in which they come, and open ones.
struct Epoch {
    finals: Vec<Vec<Row>>,
    open: Vec<Row>,
}

fn rows(random: &mut Random, most: usize) -> Vec<Row> {
    let row = |random: &mut Random| {
        let page = *random.pick(&["a", "b", "c, \"d\"\n"]);
        (random.below(30) as i64, page, random.below(1000) as i64)
    };
    (0..random.below(most + 1)).map(|_| row(random)).collect()
}

fn script(random: &mut Random) -> Vec<Epoch> {
    let epoch = |random: &mut Random| Epoch {
        finals: (0..random.below(3)).map(|_| rows(random, 4)).collect(),
        open: if random.chance(50) { Vec::new() } else { rows(random, 3) },
    };
    (0..3 + random.below(4)).map(|_| epoch(random)).collect()
}

fn plan(kind: &str, path: &Path) -> SinkPlan {
    let fields = [("window_start", DataType::Timestamp), ("page", DataType::String), ("views", DataType::Int64)];
    SinkPlan {
        name: "views".to_string(),
        input: Input::Step(0),
        filter: None,
        select: None,
        schema: Schema::new(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type)).collect()),
        identity: vec!["window_start".to_string(), "page".to_string()],
        early: false,
        target: SinkTarget {
            kind: kind.to_string(),
            settings: [("path".to_string(), path.display().to_string())].into(),
        },
    }
}

fn batch(rows: &[Row], is_final: bool) -> RecordBatch {
    let starts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * 60_000_000));
    let columns: [(&str, ArrayRef); 4] = [
        ("window_start", Arc::new(starts.with_timezone("UTC"))),
        ("page", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)))),
        ("views", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("final", Arc::new(BooleanArray::from(vec![is_final; rows.len()]))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns are of one length")
}

/// A job that gives a sink its epochs.
struct Job<'a> {
    kind: &'a str,
    path: &'a Path,
    script: &'a [Epoch],
    /// How many of the epochs checkpoints hold.
    kept: usize,
}

impl Job<'_> {
    /// Runs from where its checkpoints and the sink say: gives the sink what it lacks, then the rest.
    fn go_on(&mut self) -> Result<()> {
        let context = Context { job: Some("job".to_string()), ..Context::default() };
        let mut sink = sink::open(&plan(self.kind, self.path), &context)?;
        let (replace, since) = match sink.published()? {
            Published::Epoch(epoch) => (Replace::Nothing, epoch as usize),
            _ => (Replace::All, 0),
        };
        if since > self.kept {
            return Err(Error::new(Code::SinkDiverged, format!("it holds epoch {since}, and {} were kept", self.kept)));
        }
        sink.begin(replace)?;
        for (number, epoch) in (1..).zip(self.script).skip(since) {
            for rows in &epoch.finals {
                sink.stage(&batch(rows, true))?;
            }
            sink.stage_open(&batch(&epoch.open, false))?;
            self.kept = self.kept.max(number);
            sink.commit(number as u64)?;
        }
        Ok(())
    }
}

/// What came of a sink under some faults.
pub struct Outcome {
    /// What it holds in the end.
    pub held: Held,
    /// How many changes the first run made.
    pub changes: usize,
    /// How many faults it met.
    pub struck: usize,
}

/// Runs the job of a seed once for each fault, and once more. Returns what the sink holds then, or what went wrong.
pub fn run(
    (kind, name): (&str, &str),
    seed: u64,
    faults: &[(Fault, usize)],
    lie: Option<Lie>,
) -> std::result::Result<Outcome, String> {
    let folder = folder();
    let mut random = Random::new(seed);
    let script = script(&mut random);
    let path = folder.path().join(name);
    let disk = Disk::new(folder.path(), seed_of(seed, faults));
    disk.borrow_mut().plant(lie);
    let mut job = Job { kind, path: &path, script: &script, kept: 0 };
    let (mut changes, mut struck) = (None, 0);
    for fault in faults.iter().copied().map(Some).chain([None]) {
        let ended = run_on(&disk, fault, || job.go_on());
        judge(fault, &ended)?;
        changes.get_or_insert(ended.changes);
        struck += usize::from(ended.has_struck);
    }
    Ok(Outcome { held: held(kind, &path)?, changes: changes.unwrap_or(0), struck })
}

/// Says what is wrong with the way in which a program ended.
pub(super) fn judge<T>(fault: Option<(Fault, usize)>, ended: &Ended<Result<T>>) -> std::result::Result<(), String> {
    let expected = match fault {
        Some((Fault::Full, _)) => Code::Disk,
        _ => Code::Io,
    };
    match (&ended.returned, ended.has_struck, fault) {
        (Ok(_), false, _) => Ok(()),
        // It may have been the very last change: to tidy up after all is done may fail.
        (Ok(_), true, Some((_, at))) if ended.changes == at + 1 => Ok(()),
        (Err(_), true, Some((fault, _))) if fault.is_crash() => Ok(()),
        (Err(error), true, _) if error.code == expected => Ok(()),
        (Ok(_), true, _) => Err(format!("{fault:?}: it went on as if nothing had happened")),
        (Err(error), ..) => Err(format!("{fault:?}: it ended with {error}")),
    }
}
