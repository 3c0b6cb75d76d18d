//! A stream and runs over ranges meet in the same sinks: neither undoes the other's rows, and readers see none of it.
//!
//! A stream goes on while records arrive, late ones among them, and a schedule's firings replace ranges of the windows that
//! it writes: while the stream is ahead of what they read, while it stands still and they are ahead, and at once. What is
//! there in the end is compared with a batch run over everything, elsewhere, and with an addition by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use connectors::journal::{Journal, JournalWriter};
use connectors::kafka::KafkaWriter;
use engine::plan::KafkaBinding;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::broker;
use crate::cli::{samestream, stderr, stdout};
use crate::postgres_sink::Database;
use crate::servers::{Server, canonical, hold, signal, stop, wait_for};

const MINUTE: i64 = 60_000_000;
const BOUND: i64 = 10_000_000;
const PARTITIONS: i32 = 3;
/// Thursday, 1 January 2026.
const BEGIN: i64 = 1_767_225_600_000_000;

/// A record: its page, its amount, and when it was.
type Record = (String, i64, i64);

/// The log that both read, and what was written to it, by partition.
struct Log {
    writer: Writer,
    written: Vec<Vec<Record>>,
}

enum Writer {
    Journal(JournalWriter),
    Topic(KafkaWriter),
}

impl Log {
    fn new(writer: Writer) -> Self {
        Self { writer, written: vec![Vec::new(); PARTITIONS as usize] }
    }

    /// Writes half a minute of records to each partition; one in nine comes five minutes late.
    fn write(&mut self, round: i64) {
        for partition in 0..PARTITIONS {
            for number in 0..12 {
                let seed = round * 31 + i64::from(partition) * 7 + number;
                let late = if seed % 9 == 0 { 5 * MINUTE } else { 0 };
                let at = BEGIN + round * MINUTE / 2 + number * 2_500_000 - late;
                let record = (format!("/{}", seed % 5), seed % 100, at);
                let text = serde_json::json!({"page": record.0, "amount": record.1, "at": at / 1000}).to_string();
                match &mut self.writer {
                    Writer::Journal(writer) => {
                        _ = writer.append(partition, at / 1000, None, Some(text.as_bytes()), &[]).unwrap()
                    }
                    Writer::Topic(writer) => {
                        writer.send(Some(partition), Some(at / 1000), None, Some(text.as_bytes()), &[]).unwrap();
                    }
                }
                self.written[partition as usize].push(record);
            }
        }
        match &mut self.writer {
            Writer::Journal(writer) => writer.flush().unwrap(),
            Writer::Topic(writer) => _ = writer.flush().unwrap(),
        }
    }

    /// Adds up what `per_page` is, by hand: a record is late for a window that had ended when its partition had gone past
    /// it; a window is final when all partitions have.
    fn per_page(&self) -> Rows {
        let mut sums: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
        let mut frontier = i64::MAX;
        for records in &self.written {
            let mut maximum = i64::MIN;
            for (page, amount, at) in records {
                let start = at - at.rem_euclid(MINUTE);
                if maximum == i64::MIN || start + MINUTE > maximum - BOUND {
                    let sum = sums.entry((start, page.clone())).or_default();
                    *sum = (sum.0 + 1, sum.1 + amount);
                }
                maximum = maximum.max(*at);
            }
            frontier = frontier.min(maximum - BOUND);
        }
        let row = |((start, page), (views, total)): (_, _)| (start, page, views, total, start + MINUTE <= frontier);
        sums.into_iter().map(row).collect()
    }
}

/// Rows of `per_page`, sorted: start, page, views, total, final.
type Rows = Vec<(i64, String, i64, i64, bool)>;

fn pipeline(source: &str, sinks: &str) -> String {
    format!(
        r#"version: 1
name: meet
vars: {{DATABASE_URL: {{secret: true, default: unset}}}}
sources:
  clicks:
    {source}
    format: json
    schema: {{page: string!, amount: int64!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 10s}}
steps:
  per_page: {{from: clicks, window: {{tumbling: {{size: 1m}}}}, group_by: [page], aggregate: {{views: "count(*)", total: "sum(amount)"}}}}
  busy: {{from: per_page, window: {{hopping: {{size: 4m, every: 2m}}}}, group_by: [page], aggregate: {{views: "sum(views)"}}}}
schedules:
  year: {{cron: "0 3 * * *", timezone: UTC, reprocess: {{from: "2026-01-01", to: "2027-01-01"}}}}
sinks:
  per_page: {{from: per_page, parquet: {{path: out/per_page}}}}
  busy: {{from: busy, emit: early, jsonl: {{path: out/busy}}}}
  late: {{from: per_page.late, csv: {{path: out/late}}}}
{sinks}"#
    )
}

/// A stream that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends the readers, also when what they look at has gone wrong.
struct Looking<'a>(&'a AtomicBool);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn stream(at: &Path, url: &str) -> Running {
    let line = "run meet.yaml --mode stream --checkpoint-every 20ms";
    let mut command = samestream(at);
    command.env("DATABASE_URL", url).args(line.split_whitespace());
    Running(command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
}

#[track_caller]
fn ok(at: &Path, url: &str, line: &str) -> String {
    let output = samestream(at).env("DATABASE_URL", url).args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "`samestream {line}`\n{}{}", stdout(&output), stderr(&output));
    stderr(&output)
}

fn manifest(folder: &Path) -> Option<Value> {
    // It is replaced as a whole; before the first commit there is none.
    fs::read(folder.join("_manifest.json")).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// Reads the rows that a folder's manifest names; None: one was replaced meanwhile.
fn committed(folder: &Path) -> Option<Rows> {
    let found = manifest(folder)?;
    let names = ["files", "open"].into_iter().flat_map(|list| found[list].as_array().unwrap());
    let mut rows = Rows::new();
    for entry in names {
        let name = entry["name"].as_str().unwrap();
        let file = File::open(folder.join(name)).or_else(|_| File::open(folder.join(format!("_{name}")))).ok()?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let number = |name: &str, row| column(name).as_primitive::<Int64Type>().value(row);
            rows.extend((0..batch.num_rows()).map(|row| {
                let start = column("window_start").as_primitive::<TimestampMicrosecondType>().value(row);
                let page = column("page").as_string::<i32>().value(row).to_string();
                (start, page, number("views", row), number("total", row), column("final").as_boolean().value(row))
            }));
        }
    }
    rows.sort();
    Some(rows)
}

/// Looks again and again: a final row that was there once is there ever after, as it was, and once.
fn watch<T: Ord + Clone + std::fmt::Debug>(done: &AtomicBool, mut look: impl FnMut() -> Option<Vec<T>>) -> u32 {
    let (mut before, mut looks): (Vec<T>, u32) = (Vec::new(), 0);
    while !done.load(Ordering::Relaxed) {
        let Some(rows) = look() else { continue };
        let now: BTreeSet<&T> = rows.iter().collect();
        assert_eq!(now.len(), rows.len(), "a row is there twice");
        let gone: Vec<&T> = before.iter().filter(|row| !now.contains(row)).collect();
        assert!(gone.is_empty(), "{} of {} rows are gone, such as {:?}", gone.len(), before.len(), gone[0]);
        before = rows;
        looks += 1;
    }
    looks
}

fn final_rows(folder: &Path) -> Option<Rows> {
    committed(folder).map(|rows| rows.into_iter().filter(|row| row.4).collect())
}

fn settled(at: &Path) -> i64 {
    manifest(&at.join("out/per_page")).and_then(|found| found["settled"].as_i64()).unwrap_or(i64::MIN)
}

fn generation(at: &Path) -> i64 {
    manifest(&at.join("out/per_page")).unwrap()["generation"].as_i64().unwrap()
}

/// Returns the rows of all files of a folder of JSON lines.
fn lines(folder: &Path) -> Vec<String> {
    let found = manifest(folder).unwrap();
    let names = ["files", "open"].into_iter().flat_map(|list| found[list].as_array().unwrap().clone());
    let text: String =
        names.map(|entry| fs::read_to_string(folder.join(entry["name"].as_str().unwrap())).unwrap()).collect();
    canonical(&text)
}

/// Lets a stream stand still, but not in the middle of a sink's commit or while it has the catalogue: a firing would wait
/// for it. `rests` is asked of what cannot be held from here.
fn halt(running: &Running, at: &Path, rests: impl Fn() -> bool) {
    let turns = fs::read_dir(at.join("out")).unwrap().map(|sink| sink.unwrap().path().join(".turn"));
    let held: Vec<File> = turns.chain([at.join(".samestream/runs.lock")]).map(hold).collect();
    wait_for("a stream between two commits", || {
        stop(&running.0);
        rests() || {
            signal(&running.0, "-CONT");
            false
        }
    });
    drop(held);
}

const TRIGGER: &str = "schedule trigger meet.yaml year";

/// Lets them meet. `spoil` is called before the first firing and after it; `rests` says that no commit to a server goes on.
fn meet(
    (at, url): (&Path, &str),
    mut log: Log,
    archives: bool,
    mut spoil: impl FnMut(),
    rests: impl Fn() -> bool,
    readers: &[&(dyn Fn(&AtomicBool) -> u32 + Sync)],
) {
    let fire = |more: &str| {
        if archives {
            ok(at, url, "archive meet.yaml --until-caught-up");
        }
        ok(at, url, &format!("{TRIGGER} {more}"))
    };
    let is_settled = |round: i64| settled(at) > BEGIN + (round - 4) * MINUTE / 2;
    (0..8).for_each(|round| log.write(round));
    let mut running = stream(at, url);
    wait_for("settled windows", || is_settled(7));
    let before = generation(at);
    spoil();
    fire("");
    spoil();
    assert!(generation(at) > before, "the range was replaced");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let until_here = Looking(&done);
        let looking: Vec<_> = readers.iter().map(|reader| scope.spawn(|| reader(&done))).collect();
        // Both at once: the log grows all the while.
        for round in 8..20 {
            log.write(round);
            if round % 3 == 0 {
                fire("");
            }
        }
        wait_for("settled windows", || is_settled(19));
        // A part of it, from the middle of a file to the middle of another.
        fire("--from 2026-01-01T00:02:00Z --to 2026-01-01T00:05:00Z");
        // The firing knows more than the stream, which stands still.
        halt(&running, at, &rests);
        (20..26).for_each(|round| log.write(round));
        fire("");
        signal(&running.0, "-CONT");
        wait_for("settled windows", || is_settled(25));
        // The firing knows less: the log that it reads ends where it did.
        if archives {
            (26..34).for_each(|round| log.write(round));
            wait_for("settled windows", || is_settled(33));
            ok(at, url, TRIGGER);
        }
        // Killed, and on from its checkpoint.
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        (34..40).for_each(|round| log.write(round));
        fire("");
        running = stream(at, url);
        wait_for("settled windows", || is_settled(39));
        fire("");
        assert!(running.0.try_wait().unwrap().is_none(), "the stream goes on undisturbed");
        drop(until_here);
        looking.into_iter().for_each(|reader| assert!(reader.join().unwrap() > 5, "a reader looked"));
    });
    signal(&running.0, "-TERM");
    let status = running.0.wait().unwrap();
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{said}");
    ok(at, url, "run meet.yaml --mode stream --until-caught-up");
    if archives {
        ok(at, url, "archive meet.yaml --until-caught-up");
    }
    ok(at, url, "run meet.yaml --mode batch --out expected --state-dir .other");
    assert_eq!(committed(&at.join("out/per_page")).unwrap(), committed(&at.join("expected/per_page")).unwrap());
    assert_eq!(committed(&at.join("out/per_page")).unwrap(), log.per_page());
    assert_eq!(lines(&at.join("out/busy")), lines(&at.join("expected/busy")));
}

fn journal(at: &Path) -> Log {
    let journal = Journal::create(at.join("log"), PARTITIONS as u32).unwrap();
    Log::new(Writer::Journal(journal.writer().unwrap()))
}

#[test]
fn firings_and_a_stream_meet_in_folders_and_leave_what_the_law_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("meet.yaml"), pipeline("journal: {path: log}", "")).unwrap();
    let per_page = at.join("out/per_page");
    let reader = |done: &AtomicBool| watch(done, || final_rows(&per_page));
    meet((at, "unset"), journal(at), false, || (), || true, &[&reader]);
}

/// The rows of windows that are final in the table, as texts.
fn in_table(database: &Database) -> Vec<String> {
    let rows = database.sql("SELECT window_start, page, views, total FROM per_page WHERE final ORDER BY 1, 2");
    rows.lines().map(String::from).collect()
}

#[test]
#[ignore = "needs SAMESTREAM_TEST_KAFKA and SAMESTREAM_TEST_POSTGRES"]
fn firings_and_a_stream_of_a_broker_meet_in_postgres_and_in_folders() {
    let database = Database::new("meeting");
    let topic = broker::topic("meeting", PARTITIONS);
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let KafkaBinding { brokers, topic: name, .. } = &topic;
    let source = format!("kafka: {{brokers: \"{brokers}\", topic: {name}}}\n    lake: {{path: lake}}");
    let table = |name: &str| format!("postgres: {{url: \"${{DATABASE_URL}}\", table: {name}}}");
    let sinks = format!(
        "  table: {{from: per_page, {}}}\n  busy_table: {{from: busy, emit: early, {}}}\n  late_table: {{from: per_page.late, {}}}\n  \
           lines: {{from: per_page, jsonl: {{path: out/lines}}}}\n  late_lines: {{from: per_page.late, jsonl: {{path: out/late_lines}}}}\n",
        table("per_page"),
        table("busy"),
        table("late"),
    );
    fs::write(at.join("meet.yaml"), pipeline(&source, &sinks)).unwrap();
    let per_page = at.join("out/per_page");
    let of_folder = |done: &AtomicBool| watch(done, || final_rows(&per_page));
    let of_table = |done: &AtomicBool| watch(done, || Some(in_table(&database)));
    // Whoever has spoilt rows, a firing puts them right; those of windows before its range stay.
    let mut before = None;
    let spoil = || match before.take() {
        None => {
            let start = "'2026-01-01T00:00:00Z'";
            let is_there =
                || database.sql(&format!("SELECT count(*) FROM per_page WHERE final AND window_start = {start}"));
            wait_for("the table", || {
                database.sql("SELECT count(*) FROM pg_class WHERE relname = 'per_page'").trim() == "1"
            });
            wait_for("rows", || is_there().trim() != "0");
            let rows = in_table(&database);
            database.sql(&format!("UPDATE per_page SET views = views + 1000 WHERE window_start = {start}"));
            database.sql(&format!("DELETE FROM per_page WHERE window_start = {start} AND page = '/1'"));
            assert_ne!(in_table(&database), rows);
            before = Some(rows);
        }
        Some(rows) => {
            let now = in_table(&database);
            assert!(rows.iter().all(|row| now.contains(row)), "{rows:?}\n{now:?}");
        }
    };
    let transactions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                        AND application_name = 'samestream' AND xact_start IS NOT NULL";
    meet(
        (at, &database.url()),
        Log::new(Writer::Topic(KafkaWriter::open(&topic).unwrap())),
        true,
        spoil,
        || database.sql(transactions).trim() == "0",
        &[&of_folder, &of_table],
    );
    for (table, lines_of) in [("per_page", "lines"), ("busy", "busy"), ("late", "late_lines")] {
        let rows = database.rows(table);
        assert!(!rows.is_empty(), "{table} has rows");
        assert_eq!(rows, lines(&at.join("expected").join(lines_of)), "{table}");
        assert_eq!(rows, lines(&at.join("out").join(lines_of)), "{table}");
    }
}
