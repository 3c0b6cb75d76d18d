//! Values of a topic, read by a stream and, archived, by a batch run: the same rows, and the same records kept aside.

use std::sync::{Arc, OnceLock};

use connectors::lake::{LakeOptions, LakeScan, LakeWriter};
use engine::edge::LogScan;
use engine::log::KeyAndValue;
use engine::{Aside, Emission, Engine, Identity, Result};
use runtime::checkpoint::Checkpoint;
use runtime::memory::{MemoryLog, Pieces};
use runtime::stream::{Begin, Until};
use runtime::{Outcome, Outlet, Settings};

use super::{json, plan, records};

/// More records than this say nothing new.
const MOST: usize = 60;

/// The first byte says how much comes at once and whether the lake keeps all bytes; the rest are values, one a line.
pub(super) fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(MOST).collect();
    let records = json::raw(&lines);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().to_str().expect("names are UTF-8");
    let engine = engine();
    let mut source = engine.plan().sources[0].clone();
    source.bindings.lake.as_mut().expect("it reads a lake").path = path.into();
    let options = LakeOptions { raw: kind & 1 == 1, group_rows: 1 + usize::from(kind >> 4), ..LakeOptions::default() };
    let archived = LakeWriter::open(path, &source, options, &[(0, 0)])
        .and_then(|mut writer| writer.append(&records, 0).and_then(|()| writer.finish()));
    archived.expect("whatever the values are, they can be archived");
    let settings = Settings { threads: 1, allow_empty: true, ..Settings::default() };
    let log = MemoryLog::new(vec![records]);
    let pieces = Pieces { size: 1 + usize::from(kind >> 1 & 7), seed: u64::from(*kind) };
    let (mut streamed, mut batched) = (Kept::default(), Kept::default());
    let streams = vec![Some(Box::new(log.stream(pieces)) as _)];
    let stream = runtime::stream::run(engine, streams, Begin::First, &Until::CaughtUp, &mut streamed, &settings, &());
    let scan: Option<Arc<dyn LogScan>> = Some(Arc::new(LakeScan::open(&source).expect("what was archived is a lake")));
    let batch = runtime::batch::run(engine, &[scan], (None, None), &mut batched, &settings, &());
    // In which order they come is not said: a record may be late on both sides of a join.
    streamed.aside.sort();
    batched.aside.sort();
    if !options.raw {
        // A lake keeps the bytes of what could not be decoded. What the engine refuses for its time has lost them there.
        let is_future = |reason: &str| reason.starts_with("future");
        let kept = streamed.aside.iter_mut().chain(&mut batched.aside);
        kept.filter(|(_, _, _, _, reason, _)| is_future(reason)).for_each(|(.., raw)| raw.1 = None);
    }
    assert_eq!(streamed.aside, batched.aside, "the same records are kept aside, for the same reasons");
    let told = |outcome: Result<Outcome>| {
        let tally = outcome.expect("no record ends a run").tally;
        let counts = [tally.read, tally.bad, tally.failed, tally.late, tally.windows];
        (counts, tally.rows, tally.digest_late.to_string(), tally.digest_bad.to_string(), tally.dedups)
    };
    assert_eq!(told(stream), told(batch), "both modes give the same");
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(plan("lake")))
}

/// What a run keeps aside: set and record, why, and the record's key and value.
#[derive(Default)]
struct Kept {
    aside: Vec<(String, i32, i64, Option<i64>, String, KeyAndValue)>,
}

impl Outlet for Kept {
    fn rows(&mut self, _: &Emission) -> Result<()> {
        Ok(())
    }

    fn aside(&mut self, aside: &Aside) -> Result<()> {
        let Identity::Records { partition, offsets, indices } = &aside.identity else { return Ok(()) };
        for (row, offset) in offsets.iter().enumerate() {
            let index = indices.as_ref().map(|indices| indices[row]);
            let raw = aside.raw.get(row).cloned().unwrap_or_default();
            self.aside.push((
                format!("{:?}", aside.input),
                *partition,
                *offset,
                index,
                aside.reasons[row].clone(),
                raw,
            ));
        }
        Ok(())
    }

    fn commit(&mut self, _: Option<Checkpoint>) -> Result<()> {
        Ok(())
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let all = records();
    let good = all[..20].join("\n");
    let mixed = all[30..].join("\n");
    [(0x20_u8, &good), (0xf7, &good), (0x11, &mixed), (0x4e, &mixed)]
        .map(|(kind, text)| [&[kind][..], text.as_bytes()].concat())
        .into()
}
