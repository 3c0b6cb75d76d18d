//! What does each kernel on a record's way take?
//!
//! `cargo bench -p samestream --bench kernels`; `-- json` only those with that word in their names. The records are those of
//! `samestream gen`: 142 bytes of JSON, six fields, users and pages as uneven as real ones, 1 % late. benches/README.md has the
//! last figures.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use connectors::format::codec;
use connectors::lake::{LakeOptions, LakeScan, LakeWriter};
use connectors::sink;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::aggregate::{self, Rows};
use engine::digest::RowDigester;
use engine::edge::{Alone, LogScan, Replace};
use engine::group::{Groups, KeyCodec, intern};
use engine::log::{Chunk, RawRecords};
use engine::plan::Plan;
use engine::watermark::NEVER;
use engine::{DataType, Emission, Engine, State};
use hashbrown::DefaultHashBuilder;
use runtime::clickstream::{Clickstream, Options};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Records in a chunk: what a poll brings of one partition.
const ROWS: usize = 8_192;

const PAGES: &str = "group_by: [page], aggregate: {events: 'count(*)', revenue: 'sum(amount)', least: 'min(amount)', best: 'max(amount)', mean: 'avg(amount)'}";
const USERS: &str = "group_by: [user_id], aggregate: {events: 'count(*)', revenue: 'sum(amount)'}";
const COUNT: &str = "group_by: [user_id], aggregate: {events: 'count(*)'}";

/// Returns the plan of a tumbling minute.
fn plan(step: &str, out: &Path) -> Arc<Plan> {
    plan_of("tumbling: {size: 1m}", step, out)
}

/// Returns the plan of one window step.
fn plan_of(window: &str, step: &str, out: &Path) -> Arc<Plan> {
    let text = format!(
        "version: 1
name: kernels
sources:
  clicks:
    journal: {{path: none}}
    format: json
    lake: {{path: '{0}-lake'}}
    schema: {{event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 30s}}
steps:
  result: {{from: clicks, window: {{{window}}}, {step}}}
sinks:
  result: {{from: result, parquet: {{path: '{0}'}}}}
",
        out.display()
    );
    let loaded = pipeline::load("kernels.yaml", &text, &pipeline::Variables::new());
    Arc::new(loaded.map_err(|errors| format!("{errors:?}")).expect("the pipeline is right").plan)
}

/// Returns chunks of one partition.
fn records(chunks: usize) -> Vec<RawRecords> {
    let mut options = Options { keys: 100_000, ..Options::default() };
    options.log.partitions = 1;
    options.log.events = (chunks * ROWS) as u64;
    (options.log.bad, options.log.duplicates) = (0.0, 0.0);
    let pieces: Vec<RawRecords> = Clickstream::new(options).collect();
    // Pieces of the generator's size become chunks of ours.
    let mut builder = connectors::records::RawBuilder::new(0);
    let mut found = Vec::new();
    for piece in &pieces {
        for row in 0..piece.offsets.len() {
            let (key, value) = (piece.keys.value(row), piece.values.value(row));
            builder.push(piece.offsets[row], piece.timestamps[row], Some(key), Some(value), Vec::new());
            if builder.len() == ROWS {
                found.push(std::mem::replace(&mut builder, connectors::records::RawBuilder::new(0)).finish());
            }
        }
    }
    found
}

fn decoded(plan: &Plan, records: &[RawRecords]) -> Vec<Chunk> {
    let codec = codec(&plan.sources[0]).expect("JSON is a format");
    records.iter().map(|records| codec.decode(records)).collect()
}

/// Folds chunks into a new state; returns it with the running maximum.
fn folded(engine: &Engine, chunks: &[Chunk]) -> (State, i64) {
    let mut state = engine.empty();
    let maximum = chunks.iter().fold(NEVER, |maximum, chunk| engine.fold(0, chunk, maximum, &mut state).maximum);
    (state, maximum)
}

/// Returns the rows of all windows of some chunks.
fn closed(engine: &Engine, chunks: &[Chunk]) -> Vec<Emission> {
    engine.finish(folded(engine, chunks).0).expect("no sum is too large").emissions
}

fn json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Elements(ROWS as u64));
    let plan = plan(PAGES, Path::new("none"));
    let codec = codec(&plan.sources[0]).expect("JSON is a format");
    let alike = records(1).remove(0);
    group.bench_function("alike", |bench| bench.iter(|| codec.decode(black_box(&alike))));
    let vary = varied(&alike);
    group
        .bench_function("another order of keys in every record", |bench| bench.iter(|| codec.decode(black_box(&vary))));
}

/// Returns the records with the first keys put last, of every second record one and of the others two.
fn varied(records: &RawRecords) -> RawRecords {
    let mut builder = connectors::records::RawBuilder::new(0);
    for row in 0..records.offsets.len() {
        let text = String::from_utf8_lossy(records.values.value(row)).into_owned();
        let fields: Vec<&str> = text.trim_matches(['{', '}']).split(",\"").collect();
        let mut fields: Vec<String> =
            fields.iter().map(|field| format!("\"{}", field.trim_start_matches('"'))).collect();
        fields.rotate_left(1 + row % 2);
        let text = format!("{{{}}}", fields.join(","));
        builder.push(records.offsets[row], records.timestamps[row], None, Some(text.as_bytes()), Vec::new());
    }
    builder.finish()
}

fn fold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    group.throughput(Throughput::Elements(ROWS as u64));
    let works = [
        ("late test, windows, count", "group_by: [], aggregate: {events: 'count(*)'}"),
        ("count, sum, min, max, avg by page", PAGES),
        ("count, sum by user", USERS),
    ];
    for (name, step) in works {
        let plan = plan(step, Path::new("none"));
        let engine = Engine::new(plan.clone());
        // The last of many, so that tables hold about what they do in the middle of a stream.
        let mut chunks = decoded(&plan, &records(32));
        let last = chunks.pop().expect("there are some");
        let (mut state, maximum) = folded(&engine, &chunks);
        group.bench_function(name, |bench| bench.iter(|| engine.fold(0, black_box(&last), maximum, &mut state)));
    }
}

/// What a wave of batch does with rows that are loaded: they are judged, put in order and gathered, and each window or shard takes
/// in its own, by a dictionary of keys where that pays, into panes where windows share them.
fn wave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wave");
    const CHUNKS: usize = 64;
    group.throughput(Throughput::Elements((CHUNKS * ROWS) as u64)).sample_size(20);
    let works = [
        ("count, sum, min, max, avg by page", "tumbling: {size: 1m}", PAGES),
        ("count, sum by user", "tumbling: {size: 1m}", USERS),
        ("count by user, hopping 5m/1m", "hopping: {size: 5m, every: 1m}", COUNT),
        ("count by user, sessions of 30s", "session: {gap: 30s}", COUNT),
    ];
    for (name, window, step) in works {
        let plan = plan_of(window, step, Path::new("none"));
        let engine = Engine::new(plan.clone());
        let chunks = decoded(&plan, &records(CHUNKS));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let (mut state, mut maximum) = (engine.empty(), NEVER);
                // Four units of a wave.
                for unit in chunks.chunks(CHUNKS / 4) {
                    let mut gathered = engine.gathering();
                    for chunk in unit {
                        maximum = engine.fold(0, black_box(chunk), maximum, &mut gathered).maximum;
                    }
                    engine.merge(&mut state, gathered);
                }
                engine.settle(&mut state, &Alone);
                state
            });
        });
    }
}

fn lake(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let source = &plan(PAGES, &out).sources[0];
    let raw = records(32);
    let path = source.bindings.lake.as_ref().expect("it has one").path.clone();
    let write = || {
        _ = std::fs::remove_dir_all(&path);
        let writer = LakeWriter::open(&path, source, LakeOptions::default(), &[(0, 0)]);
        let mut writer = writer.expect("the folder is ours");
        raw.iter().for_each(|raw| writer.append(raw, 0).expect("there is room"));
        writer.finish().expect("there is room");
    };
    let mut group = criterion.benchmark_group("lake");
    group.throughput(Throughput::Elements((raw.len() * ROWS) as u64)).sample_size(20);
    group.bench_function("write", |bench| bench.iter(write));
    write();
    for (name, step) in [("load time, page, amount", PAGES), ("load time, user, amount", USERS)] {
        let scan = LakeScan::open(&plan(step, &out).sources[0]).expect("it was just written");
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let units = scan.units(0).iter();
                units
                    .map(|unit| scan.load(unit, unit.start, unit.end).expect("it was just written").len())
                    .sum::<usize>()
            });
        });
    }
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    group.throughput(Throughput::Elements(ROWS as u64));
    let hasher = DefaultHashBuilder::default();
    let chunk = |step: &str| decoded(&plan(step, Path::new("none")), &records(1)).remove(0);
    let column = |chunk: &Chunk, name: &str| chunk.columns.column_by_name(name).expect("it is needed").clone();
    let (page, user) = (column(&chunk(PAGES), "page"), column(&chunk(USERS), "user_id"));
    let pages = KeyCodec::new(&[DataType::String]);
    group.bench_function("intern 500 pages", |bench| {
        bench.iter(|| intern(&pages, black_box(std::slice::from_ref(&page)), ROWS, &hasher));
    });
    let users = KeyCodec::new(&[DataType::Int64]);
    group.bench_function("intern users", |bench| {
        bench.iter(|| intern(&users, black_box(std::slice::from_ref(&user)), ROWS, &hasher));
    });
    let all: Vec<[u8; 9]> = (0..100_000u64).map(key).collect();
    let hashes: Vec<u64> = all.iter().map(|key| hasher.hash_one(key.as_slice())).collect();
    let mut groups = Groups::default();
    all.iter().zip(&hashes).for_each(|(key, hash)| _ = groups.group(*hash, key));
    let wanted: Vec<usize> =
        user.as_primitive::<arrow::datatypes::Int64Type>().values().iter().map(|user| *user as usize).collect();
    group.bench_function("group of a user among 100,000", |bench| {
        bench.iter(|| wanted.iter().map(|user| u64::from(groups.group(hashes[*user], &all[*user]))).sum::<u64>());
    });
}

/// Returns nine bytes, as a key of one integer has.
fn key(number: u64) -> [u8; 9] {
    let mut key = [1; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sum");
    group.throughput(Throughput::Elements(ROWS as u64));
    let chunk = decoded(&plan(USERS, Path::new("none")), &records(1)).remove(0);
    let amounts: ArrayRef = chunk.columns.column_by_name("amount").expect("it is needed").clone();
    let rows: Vec<u32> = (0..ROWS as u32).collect();
    for count in [500, 100_000] {
        // Any order will do that jumps.
        let groups: Vec<u32> = rows.iter().map(|row| row.wrapping_mul(2_654_435_761) % count).collect();
        let sum = aggregate::find("sum").expect("it is in the table");
        let mut sums = sum.accumulator(&[DataType::Float64], &[]);
        sums.resize(count as usize);
        group.bench_function(format!("exact float64, {count} groups"), |bench| {
            let arguments = std::slice::from_ref(&amounts);
            bench.iter(|| sums.update(&Rows { groups: &groups, rows: &rows, arguments, order: None }));
        });
    }
}

fn output(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(USERS, &folder.path().join("out"));
    let engine = Engine::new(plan.clone());
    let chunks = decoded(&plan, &records(32));
    let (state, _) = folded(&engine, &chunks);
    let emissions = closed(&engine, &chunks);
    let rows: usize = emissions.iter().map(|emission| emission.rows.num_rows()).sum();
    let mut group = criterion.benchmark_group("output");
    group.throughput(Throughput::Elements(rows as u64)).sample_size(20);
    group.bench_function("close: sort and make rows", |bench| {
        bench.iter_batched(|| engine.copy(&state), |state| engine.finish(state), BatchSize::LargeInput);
    });
    group.bench_function("digest", |bench| {
        let mut digester = RowDigester::new("result", &plan.steps[0].schema);
        let take = |sum: &mut u128, emission: &Emission| {
            digester.rows(emission.rows.columns(), emission.rows.num_rows(), |_, row| *sum = sum.wrapping_add(row));
        };
        let mut take = take;
        bench.iter(|| {
            let mut sum = 0;
            emissions.iter().for_each(|emission| take(&mut sum, black_box(emission)));
            sum
        });
    });
    group.bench_function("Parquet, a file and its commit", |bench| {
        bench.iter(|| {
            let mut sink = sink::open(&plan.sinks[0], &sink::Context::default()).expect("the folder is ours");
            sink.begin(Replace::All).expect("the folder is ours");
            for emission in &emissions {
                let rows = runtime::outlet::shaped(&plan.sinks[0], &emission.rows, true).expect("no filter fails");
                sink.stage(&rows).expect("there is room");
            }
            sink.commit(1).expect("there is room");
        });
    });
}

criterion_group!(kernels, json, lake, fold, wave, keys, sums, output);
criterion_main!(kernels);
