//! The contract of sinks, on every kind in the table, and what is special about single kinds.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use engine::edge::{Replace, Sink};
use engine::plan::{Input, SinkPlan, SinkTarget};
use engine::{Code, DataType, Field, Schema};

use super::manifest::Manifest;
use super::*;

const MINUTE: i64 = 60_000_000;

/// A row of the test sinks: minute of its window, page, views, final.
pub(super) type Row = (i64, &'static str, i64, bool);

pub(super) fn plan(kind: &str, settings: &[(&str, &str)]) -> SinkPlan {
    let fields = [
        ("window_start", DataType::Timestamp),
        ("page", DataType::String),
        ("views", DataType::Int64),
        ("revenue", DataType::Float64),
    ];
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
            settings: settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        },
    }
}

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let starts =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * MINUTE)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 5] = [
        ("window_start", Arc::new(starts)),
        ("page", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)))),
        ("views", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
        ("revenue", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2 as f64 / 4.0)))),
        ("final", Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.3))))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The file sinks, each as a folder and as one file where it can be one: kind and path.
const FILE_SINKS: &[(&str, &str)] = &[
    ("parquet", "out"),
    ("jsonl", "out"),
    ("csv", "out"),
    ("jsonl", "views.jsonl"),
    ("csv", "views.csv"),
    ("jsonl", "deep/er/views.txt"),
];

/// A file sink in a folder of its own.
struct Case {
    kind: &'static str,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Case {
    fn plan(&self) -> SinkPlan {
        plan(self.kind, &[("path", self.path.to_str().unwrap())])
    }

    /// Opens the sink anew.
    fn open(&self) -> Box<dyn Sink> {
        open(&self.plan(), &Context::default()).unwrap()
    }

    /// Reads it as a user would, sorted.
    fn read(&self) -> Vec<Row> {
        read(self.kind, &self.path)
    }
}

/// Runs a check on every file sink.
fn for_file_sinks(check: impl Fn(&Case)) {
    for (kind, name) in FILE_SINKS {
        let folder = tempfile::tempdir().unwrap();
        check(&Case { kind, path: folder.path().join(name), _folder: folder });
    }
}

/// Reads what a plain glob of the kind's files finds, sorted.
fn read(kind: &str, path: &Path) -> Vec<Row> {
    let mut files = Vec::new();
    if path.is_dir() {
        for name in files::names(path).unwrap() {
            if name.ends_with(&format!(".{kind}")) && !name.starts_with(['.', '_']) {
                files.push(path.join(name));
            }
        }
    } else if path.exists() {
        files.push(path.to_path_buf());
    }
    let mut rows: Vec<Row> = files.iter().flat_map(|file| read_file(kind, file)).collect();
    rows.sort();
    rows
}

pub(super) fn read_file(kind: &str, path: &Path) -> Vec<Row> {
    let page =
        |text: &str| -> &'static str { ["a", "b", "c, \"d\"\n"].into_iter().find(|page| *page == text).unwrap() };
    let minute = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros() / MINUTE;
    match kind {
        "parquet" => {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
            let rows = |batch: RecordBatch| {
                let column = |name| batch.column_by_name(name).unwrap().clone();
                let (starts, pages, views, is_final) =
                    (column("window_start"), column("page"), column("views"), column("final"));
                (0..batch.num_rows())
                    .map(|row| {
                        let start = starts.as_primitive::<TimestampMicrosecondType>().value(row);
                        let views = views.as_primitive::<Int64Type>().value(row);
                        (
                            start / MINUTE,
                            page(pages.as_string::<i32>().value(row)),
                            views,
                            is_final.as_boolean().value(row),
                        )
                    })
                    .collect::<Vec<_>>()
            };
            reader.flat_map(|batch| rows(batch.unwrap())).collect()
        }
        "jsonl" => fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| row[name].as_str().unwrap();
                (minute(text("window_start")), page(text("page")), row["views"].as_i64().unwrap(), row["final"] == true)
            })
            .collect(),
        "csv" => {
            let text = fs::read_to_string(path).unwrap();
            let text = text.strip_prefix("window_start,page,views,revenue,final\n").expect("a header, once");
            csv_records(text)
                .iter()
                .map(|row| (minute(&row[0]), page(&row[1]), row[2].parse().unwrap(), &row[4] == "true"))
                .collect()
        }
        other => panic!("no reader for {other}"),
    }
}

/// A second, slow reader of CSV: character by character, as RFC 4180 says.
fn csv_records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    assert!(record.is_empty() && field.is_empty(), "the last record has its line end");
    records
}

#[test]
fn every_kind_in_the_table_is_complete_and_tested() {
    for kind in SINKS {
        assert!(!kind.help.is_empty() && kind.settings.iter().all(|setting| !setting.help.is_empty()), "{}", kind.name);
        assert!(FILE_SINKS.iter().any(|(tested, _)| *tested == kind.file_kind), "{}", kind.file_kind);
        let is_tested = FILE_SINKS.iter().any(|(tested, _)| *tested == kind.name);
        assert!(
            is_tested || ["stdout", "kafka", "postgres", "redis", "cassandra"].contains(&kind.name),
            "{} has no test",
            kind.name
        );
        let mut wrong = plan(kind.name, &[("colour", "red")]);
        let error = check(&wrong).unwrap_err();
        assert_eq!(error.code, Code::Field, "{error}");
        assert!(error.message.contains("colour"), "{error}");
        wrong.target.settings.clear();
        if let Some(setting) = kind.settings.iter().find(|setting| setting.is_required) {
            let error = check(&wrong).unwrap_err();
            assert!(error.message.contains(setting.name), "{error}");
        }
    }
    assert_eq!(check(&plan("parket", &[])).unwrap_err().code, Code::Field);
    let unbuilt = plan("parquet", &[("path", "x"), ("partition_by", "page")]);
    assert_eq!(check(&unbuilt).unwrap_err().code, Code::NotBuilt);
}

#[test]
fn rows_appear_at_the_commit_and_a_rewritten_table_is_the_same_table() {
    for_file_sinks(|case| {
        let rows = [(0, "a", 1, true), (0, "c, \"d\"\n", 2, true), (1, "a", 3, true)];
        let tail = [(2, "a", 4, false), (2, "b", 5, false)];
        let mut listings = Vec::new();
        for _ in 0..2 {
            let mut sink = case.open();
            let before = case.read();
            sink.begin(Replace::All).unwrap();
            sink.stage(&batch(&rows[..1])).unwrap();
            sink.stage(&batch(&rows[1..2])).unwrap();
            assert_eq!(
                case.read(),
                before,
                "what the sink held stays readable until the first commit: {:?}",
                case.path
            );
            sink.commit(1).unwrap();
            assert_eq!(case.read(), rows[..2]);
            sink.stage(&batch(&rows[2..])).unwrap();
            sink.stage_open(&batch(&tail)).unwrap();
            sink.commit(2).unwrap();
            let mut all = rows.to_vec();
            all.extend(tail);
            assert_eq!(case.read(), all, "{:?}", case.path);
            listings.push(case.read());
        }
        assert_eq!(listings[0], listings[1]);
    });
}

#[test]
fn open_rows_are_replaced_as_a_set() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        sink.stage_open(&batch(&[(1, "a", 2, false), (1, "b", 2, false)])).unwrap();
        sink.commit(1).unwrap();
        sink.stage(&batch(&[(1, "a", 3, true)])).unwrap();
        sink.stage_open(&batch(&[(2, "a", 1, false)])).unwrap();
        sink.commit(2).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true), (1, "a", 3, true), (2, "a", 1, false)], "{:?}", case.path);
        drop(sink);
        let mut next = case.open();
        next.begin(Replace::Nothing).unwrap();
        assert_eq!(case.read().len(), 3, "open rows stay until the next run's first commit");
        next.stage(&batch(&[(2, "a", 9, true)])).unwrap();
        next.commit(3).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true), (1, "a", 3, true), (2, "a", 9, true)], "{:?}", case.path);
    });
}

#[test]
fn an_epoch_told_twice_is_published_once() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        for _ in 0..2 {
            sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
            sink.commit(7).unwrap();
        }
        assert_eq!(case.read().len(), 1, "{:?}", case.path);
        drop(sink);
        let mut resumed = case.open();
        resumed.begin(Replace::Nothing).unwrap();
        resumed.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        resumed.commit(7).unwrap();
        assert_eq!(
            case.read().len(),
            1,
            "after a restart that does not know whether epoch 7 was published: {:?}",
            case.path
        );
        resumed.stage(&batch(&[(1, "a", 1, true)])).unwrap();
        resumed.commit(8).unwrap();
        assert_eq!(case.read().len(), 2, "{:?}", case.path);
    });
}

#[test]
fn a_range_replaces_its_rows_and_no_others() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        for epoch in 0..4 {
            let minute = epoch as i64 * 2;
            sink.stage(&batch(&[(minute, "a", 1, true), (minute + 1, "a", 1, true)])).unwrap();
            if epoch == 3 {
                sink.stage_open(&batch(&[(8, "a", 1, false), (9, "a", 1, false)])).unwrap();
            }
            sink.commit(epoch).unwrap();
        }
        drop(sink);
        let mut range = case.open();
        range.begin(Replace::Range(Some(3 * MINUTE), Some(5 * MINUTE))).unwrap();
        range.stage(&batch(&[(3, "a", 30, true), (3, "b", 31, true)])).unwrap();
        assert_eq!(case.read().len(), 10);
        range.commit(1).unwrap();
        range.stage(&batch(&[(4, "a", 40, true)])).unwrap();
        range.commit(2).unwrap();
        let mut expected: Vec<Row> = (0..10).map(|minute| (minute, "a", 1, minute < 8)).collect();
        expected.splice(3..5, [(3, "a", 30, true), (3, "b", 31, true), (4, "a", 40, true)]);
        assert_eq!(case.read(), expected, "{:?}", case.path);

        drop(range);
        let mut tail = case.open();
        tail.begin(Replace::Range(Some(7 * MINUTE), None)).unwrap();
        tail.stage_open(&batch(&[(7, "a", 70, false)])).unwrap();
        tail.commit(1).unwrap();
        expected.truncate(8);
        expected.push((7, "a", 70, false));
        assert_eq!(case.read(), expected, "{:?}", case.path);

        drop(tail);
        let mut before = case.open();
        before.begin(Replace::Range(None, Some(2 * MINUTE))).unwrap();
        before.commit(1).unwrap();
        assert_eq!(case.read(), expected[2..], "an empty result replaces too: {:?}", case.path);

        drop(before);
        let mut stream = case.open();
        stream.begin(Replace::Nothing).unwrap();
        stream.stage(&batch(&[(7, "a", 71, true)])).unwrap();
        stream.commit(3).unwrap();
        assert!(
            !case.read().contains(&(7, "a", 71, true)),
            "the epoch of the run that appends was kept: {:?}",
            case.path
        );
    });
}

/// Copies every file under a folder, as a crash would leave them.
fn snapshot(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => snapshot(&entry.path(), &to.join(entry.file_name())),
            false => _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

#[test]
fn a_crash_between_stage_and_commit_leaves_the_old_readable() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        sink.commit(1).unwrap();
        drop(sink);
        for replace in [Replace::All, Replace::Nothing, Replace::Range(Some(0), None)] {
            let mut crashed = case.open();
            crashed.begin(replace).unwrap();
            crashed.stage(&batch(&[(0, "b", 2, true)])).unwrap();
            crashed.stage_open(&batch(&[(1, "b", 2, false)])).unwrap();
            // Dropped, it leaves what a crash leaves; the system takes the lock back in both.
            drop(crashed);
            assert_eq!(case.read(), [(0, "a", 1, true)], "{replace:?} {:?}", case.path);
        }
        let mut next = case.open();
        next.begin(Replace::Nothing).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true)], "{:?}", case.path);
        next.commit(2).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true)], "{:?}", case.path);
        let folder: &Path = if case.path.is_dir() { &case.path } else { files::folder_of(&case.path) };
        let names = files::names(folder).unwrap();
        assert!(!names.iter().any(|name| name.contains("staged") || name.contains(".new")), "{names:?}");
    });
}

/// Takes the steps of a commit apart: before the manifest nothing counts, after it everything does.
#[test]
fn a_crash_inside_a_commit_is_finished_or_undone_by_the_next_start() {
    for (kind, name) in FILE_SINKS {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("live");
        let path = root.join(name);
        let plan = plan(kind, &[("path", path.to_str().unwrap())]);
        let old = [(0, "a", 1, true), (1, "a", 1, false)];
        let new = [(0, "b", 2, true), (1, "b", 2, false)];
        let write = |rows: &[Row; 2], epoch| {
            let mut sink = open(&plan, &Context::default()).unwrap();
            sink.begin(Replace::All).unwrap();
            sink.stage(&batch(&rows[..1])).unwrap();
            sink.stage_open(&batch(&rows[1..])).unwrap();
            sink.commit(epoch).unwrap();
        };
        write(&old, 1);
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        snapshot(&root, &before);
        write(&new, 1);
        snapshot(&root, &after);

        // The states that the steps of the second commit go through: which files have come, which have gone.
        let is_folder = path.is_dir();
        let data = |root: &Path| root.join(name);
        let home = |root: &Path| match is_folder {
            true => data(root),
            false => files::folder_of(&data(root)).to_path_buf(),
        };
        let manifest = match is_folder {
            true => "_manifest.json".to_string(),
            false => files::name_of(&files::beside(&path, ".manifest.json")),
        };
        let hidden = |name: &str| if is_folder { format!("_{name}") } else { name.to_string() };
        for has_manifest in [false, true] {
            let crashed = folder.path().join(format!("crashed-{has_manifest}"));
            snapshot(&before, &crashed);
            let new_manifest = fs::read(home(&after).join(&manifest)).unwrap();
            let committed: Manifest = serde_json::from_slice(&new_manifest).unwrap();
            for entry in committed.files.iter().chain(&committed.open) {
                let from = if is_folder { home(&after).join(&entry.name) } else { data(&after) };
                fs::copy(from, home(&crashed).join(hidden(&entry.name))).unwrap();
            }
            if has_manifest {
                fs::write(home(&crashed).join(&manifest), new_manifest).unwrap();
            }
            let crashed_path = data(&crashed);
            let plan = super::tests::plan(kind, &[("path", crashed_path.to_str().unwrap())]);
            assert_eq!(read(kind, &crashed_path), old, "a reader still sees the old: {kind} {name}");
            let mut sink = open(&plan, &Context::default()).unwrap();
            sink.begin(Replace::Nothing).unwrap();
            let expected = if has_manifest { new } else { old };
            let mut found = read(kind, &crashed_path);
            if is_folder && has_manifest {
                found.retain(|row| new.contains(row));
            }
            assert_eq!(found, expected, "{kind} {name}, manifest written: {has_manifest}");
        }
    }
}

#[test]
fn files_that_no_sink_wrote_are_never_taken_or_removed() {
    for_file_sinks(|case| {
        let foreign = match case.path.extension() {
            None => case.path.join(format!("mine.{}", case.kind)),
            Some(_) => case.path.to_path_buf(),
        };
        fs::create_dir_all(files::folder_of(&foreign)).unwrap();
        fs::write(&foreign, "precious").unwrap();
        for replace in [Replace::All, Replace::Nothing] {
            let error = case.open().begin(replace).unwrap_err();
            assert_eq!(error.code, Code::Target, "{error}");
        }
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "precious");
    });
}

#[test]
fn rows_of_other_columns_are_not_added_to() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        sink.commit(1).unwrap();
        drop(sink);
        let mut other = case.plan();
        other.schema.fields.pop();
        for replace in [Replace::Nothing, Replace::Range(None, None)] {
            let error = super::open(&other, &Context::default()).unwrap().begin(replace).unwrap_err();
            assert_eq!(error.code, Code::Target, "{error}");
        }
        assert_eq!(case.read().len(), 1);
    });
}

#[test]
fn an_empty_result_is_a_readable_table() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        sink.commit(1).unwrap();
        assert_eq!(case.read(), []);
        let file = match case.path.is_dir() {
            true => files::names(&case.path)
                .unwrap()
                .into_iter()
                .find(|name| !name.starts_with(['.', '_']))
                .map(|name| case.path.join(name)),
            false => Some(case.path.to_path_buf()),
        };
        assert!(file.is_some_and(|file| file.exists()), "{:?}", case.path);
    });
}

#[test]
fn text_of_values_is_as_the_format_says() {
    let folder = tempfile::tempdir().unwrap();
    let fields = [("s", DataType::String), ("n", DataType::Int64), ("x", DataType::Float64)];
    let columns: [(&str, ArrayRef); 4] = [
        ("s", Arc::new(StringArray::from(vec![Some("a,b"), Some(""), None, Some("say \"hi\"\r\n")]))),
        ("n", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(7)]))),
        ("x", Arc::new(Float64Array::from(vec![Some(0.1), Some(1.5e-7), None, Some(-2.0)]))),
        ("final", Arc::new(BooleanArray::from(vec![true, true, true, true]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let write = |kind: &str| {
        let path = folder.path().join(format!("t.{kind}"));
        let mut plan = plan(kind, &[("path", path.to_str().unwrap())]);
        plan.schema = Schema::new(fields.iter().map(|(name, data_type)| Field::new(*name, *data_type)).collect());
        let mut sink = open(&plan, &Context::default()).unwrap();
        sink.begin(Replace::All).unwrap();
        sink.stage(&rows).unwrap();
        sink.commit(1).unwrap();
        fs::read_to_string(path).unwrap()
    };
    assert_eq!(
        write("csv"),
        "s,n,x,final\n\"a,b\",-9223372036854775808,0.1,true\n\"\",,1.5e-7,true\n,0,,true\n\"say \"\"hi\"\"\r\n\",7,-2.0,true\n"
    );
    let json = write("jsonl");
    assert!(json.starts_with("{\"s\":\"a,b\",\"n\":-9223372036854775808,\"x\":0.1,\"final\":true}\n"), "{json}");
    assert!(json.contains("{\"s\":null,\"n\":0,\"x\":null,\"final\":true}\n"), "{json}");
}

#[test]
fn a_redirected_sink_is_a_folder_of_its_own_file_kind() {
    for kind in SINKS {
        let redirected = redirect(&plan(kind.name, &[("path", "elsewhere.csv")]), Path::new("dir")).unwrap();
        assert_eq!(redirected.target.kind, kind.file_kind);
        assert_eq!(redirected.target.settings["path"], "dir/views");
        check(&redirected).unwrap();
    }
}

#[test]
fn two_sinks_at_one_path_are_refused() {
    let plans = [plan("csv", &[("path", "out/x")]), plan("jsonl", &[("path", "./out/x/")])];
    let error = open_all(&plans, &Context::default()).err().unwrap();
    assert_eq!(error.code, Code::Field);
    open_all(&plans[..1], &Context::default()).unwrap();
    let topic = |name: &str, id: &str| SinkPlan {
        name: name.to_string(),
        ..plan("kafka", &[("brokers", "b"), ("topic", name), ("transactional_id", id)])
    };
    assert!(open_all(&[topic("one", "a"), topic("two", "b")], &Context::default()).is_ok());
    let error = open_all(&[topic("one", "a"), topic("two", "a")], &Context::default()).err().unwrap();
    assert!(error.code == Code::Field && error.message.contains("`one` and `two`"), "{error}");
    // What says nothing without transactions, and what no broker takes.
    let wrong = |settings: &[(&str, &str)]| {
        let all = [&[("brokers", "b"), ("topic", "t")], settings].concat();
        open_all(&[plan("kafka", &all)], &Context::default()).err().unwrap().message
    };
    assert!(wrong(&[("delivery", "at_least_once"), ("transactional_id", "a")]).contains("says nothing"));
    assert!(wrong(&[("delivery", "twice")]).contains("`twice`"));
    assert!(wrong(&[("transaction_timeout", "999ms")]).contains("999ms"));
}

#[test]
fn a_commit_without_news_touches_no_file() {
    for_file_sinks(|case| {
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        sink.commit(1).unwrap();
        let folder = if case.path.is_dir() { &case.path } else { files::folder_of(&case.path) };
        let times = |folder: &Path| {
            let names = files::names(folder).unwrap();
            let time = |name: &String| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
            names.iter().map(|name| (name.clone(), time(name))).collect::<BTreeMap<_, _>>()
        };
        let before = times(folder);
        sink.commit(2).unwrap();
        assert_eq!(times(folder), before, "{:?}", case.path);
        sink.stage(&batch(&[(1, "a", 1, true)])).unwrap();
        sink.commit(3).unwrap();
        assert_eq!(case.read().len(), 2, "{:?}", case.path);
    });
}

#[test]
fn a_second_run_does_not_write_where_one_is_writing() {
    for_file_sinks(|case| {
        let mut first = case.open();
        first.begin(Replace::All).unwrap();
        first.stage(&batch(&[(0, "a", 1, true)])).unwrap();
        for replace in [Replace::All, Replace::Nothing, Replace::Range(None, None)] {
            let error = case.open().begin(replace).unwrap_err();
            assert_eq!(error.code, Code::StateBusy, "{error}");
            assert!(error.message.contains(case.path.to_str().unwrap()), "{error}");
        }
        first.commit(1).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true)], "{:?}", case.path);
        first.stage(&batch(&[(1, "a", 2, true)])).unwrap();
        case.open().begin(Replace::All).unwrap_err();
        first.commit(2).unwrap();
        assert_eq!(case.read(), [(0, "a", 1, true), (1, "a", 2, true)], "{:?}", case.path);
        drop(first);
        case.open().begin(Replace::Nothing).unwrap();
    });
}

#[test]
fn every_kind_with_a_path_is_among_those_whose_lock_is_tested() {
    for kind in SINKS.iter().filter(|kind| kind.settings.iter().any(|setting| setting.name == "path")) {
        assert!(FILE_SINKS.iter().any(|(tested, _)| *tested == kind.name), "{}", kind.name);
    }
}

/// Commits one row per minute.
fn commit_minutes(sink: &mut dyn Sink, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        sink.stage(&batch(&[(minute, "a", minute, true)])).unwrap();
        sink.stage_open(&batch(&[(minute + 1, "a", 0, false)])).unwrap();
        sink.commit(minute as u64).unwrap();
    }
}

/// The rows of a folder's final files, in the order of the files' names.
fn final_in_order(case: &Case) -> Vec<Row> {
    let mut names = files::names(&case.path).unwrap();
    names.retain(|name| name.starts_with("part-"));
    names.sort();
    names.iter().flat_map(|name| read_file(case.kind, &case.path.join(name))).collect()
}

#[test]
fn many_small_files_become_one_with_the_same_rows_in_the_same_order() {
    for_file_sinks(|case| {
        if case.path.extension().is_some() {
            return;
        }
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        let expected = |count| (0..count).map(|minute| (minute, "a", minute, true)).collect::<Vec<Row>>();
        commit_minutes(&mut *sink, 0..65);
        let parts = || files::names(&case.path).unwrap().iter().filter(|name| name.starts_with("part-")).count();
        assert_eq!((parts(), final_in_order(case)), (65, expected(65)));

        // The next commit joins them. A crash before its manifest leaves the old, one after it the new.
        let folder = tempfile::tempdir().unwrap();
        let (before, early, late) =
            (folder.path().join("before"), folder.path().join("early"), folder.path().join("late"));
        snapshot(&case.path, &before);
        commit_minutes(&mut *sink, 65..66);
        assert_eq!((parts(), final_in_order(case)), (1, expected(66)));
        assert_eq!(case.read().len(), 67, "and the open row");
        let manifest = fs::read(case.path.join("_manifest.json")).unwrap();
        let committed: Manifest = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(committed.files[0].span(), rows::Span { rows: 66, windows: Some((0, 65 * MINUTE)) });
        for crashed in [&early, &late] {
            snapshot(&before, crashed);
            for entry in committed.files.iter().chain(&committed.open) {
                fs::copy(case.path.join(&entry.name), crashed.join(format!("_{}", entry.name))).unwrap();
            }
            fs::copy(case.path.join(&committed.files[0].name), crashed.join("_staged.joined")).unwrap();
        }
        fs::write(late.join("_manifest.json"), &manifest).unwrap();
        for (crashed, count) in [(early, 65), (late, 66)] {
            let mut after =
                open(&plan(case.kind, &[("path", crashed.to_str().unwrap())]), &Context::default()).unwrap();
            after.begin(Replace::Nothing).unwrap();
            let mut rows = expected(count);
            rows.push((count, "a", 0, false));
            assert_eq!(read(case.kind, &crashed), rows);
            assert!(!crashed.join("_staged.joined").exists());
        }

        // And on: the joined file is small itself, so it is joined again, over a restart too.
        commit_minutes(&mut *sink, 66..100);
        drop(sink);
        let mut sink = case.open();
        sink.begin(Replace::Nothing).unwrap();
        commit_minutes(&mut *sink, 100..140);
        assert_eq!(final_in_order(case), expected(140));
        assert!(parts() <= 65, "{}", parts());
    });
}

#[test]
fn a_commit_that_only_adds_looks_at_its_own_files_alone() {
    for_file_sinks(|case| {
        if case.path.extension().is_some() {
            return;
        }
        let mut sink = case.open();
        sink.begin(Replace::All).unwrap();
        commit_minutes(&mut *sink, 0..2);
        // A name that tidying up would take away.
        let stray = case.path.join(format!("_part-00001-0000009999.{}", case.kind));
        fs::write(&stray, "").unwrap();
        commit_minutes(&mut *sink, 2..4);
        assert!(stray.exists());
        assert_eq!(case.read().len(), 5);
        drop(sink);
        case.open().begin(Replace::Nothing).unwrap();
        assert!(!stray.exists());
    });
}

#[test]
fn a_parquet_file_is_written_out_by_bytes_however_wide_its_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut sink = open(&plan("parquet", &[("path", path.to_str().unwrap())]), &Context::default()).unwrap();
    sink.begin(Replace::All).unwrap();
    // 2,000 rows with 8 KiB of text that hardly compresses.
    let mut state = 1_u64;
    let mut text = || -> String {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b' ' + (state >> 33) as u8 % 90)
        };
        (0..8192).map(next).collect()
    };
    let pages: Vec<String> = (0..2_000).map(|_| text()).collect();
    let rows = batch(&vec![(1, "", 1, true); pages.len()]);
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(StringArray::from(pages));
    sink.stage(&RecordBatch::try_new(rows.schema(), columns).unwrap()).unwrap();
    sink.commit(0).unwrap();
    let file = File::open(path.join("part-00001-0000000000.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let groups = reader.metadata().row_groups();
    assert_eq!(groups.iter().map(|group| group.num_rows()).sum::<i64>(), 2_000);
    let largest = groups.iter().map(|group| group.total_byte_size()).max().unwrap();
    assert!((1 << 20..3 << 20).contains(&largest), "{largest} bytes in a row group");
}
