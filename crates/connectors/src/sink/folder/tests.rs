//! Files that roll, and files that are joined.

use std::fs;

use engine::edge::{Beside, Published, Replace, Sink};
use tempfile::TempDir;

use super::*;
use crate::disk;
use crate::sink::tests::{Row, batch, plan, read_file};
use crate::sink::{self, Context};

const KINDS: [&str; 3] = ["parquet", "jsonl", "csv"];

/// A sink in a folder of its own.
struct Case {
    kind: &'static str,
    root: TempDir,
    settings: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn new(kind: &'static str, settings: &[(&'static str, &'static str)]) -> Self {
        Self { kind, root: tempfile::tempdir().unwrap(), settings: settings.to_vec() }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("out")
    }

    fn plan(&self) -> SinkPlan {
        let path = self.path();
        let mut settings = vec![("path", path.to_str().unwrap())];
        settings.extend(&self.settings);
        plan(self.kind, &settings)
    }

    fn begin(&self, replace: Replace) -> Box<dyn Sink> {
        let mut sink = sink::open(&self.plan(), &Context::default()).unwrap();
        sink.begin(replace).unwrap();
        sink
    }

    /// Commits epochs of rows each.
    fn write(&self, replace: Replace, epochs: std::ops::Range<u64>, rows: usize) {
        let mut sink = self.begin(replace);
        for epoch in epochs {
            sink.stage(&batch(&rows_of(epoch, rows))).unwrap();
            sink.commit(epoch).unwrap();
        }
    }

    /// The names that a plain glob finds, sorted.
    fn names(&self) -> Vec<String> {
        let mut names = files::names(&self.path()).unwrap();
        names.retain(|name| is_data(name, self.kind));
        names.sort();
        names
    }

    /// The rows of each file, in the order of their names.
    fn files(&self) -> Vec<Vec<Row>> {
        self.names().iter().map(|name| read_file(self.kind, &self.path().join(name))).collect()
    }

    fn rows(&self) -> Vec<Row> {
        self.files().concat()
    }

    fn compact(&self, most: u64) -> Compacted {
        compact(&self.plan(), most, false).unwrap().unwrap()
    }
}

fn rows_of(epoch: u64, rows: usize) -> Vec<Row> {
    (0..rows).map(|row| (epoch as i64, ["a", "b"][row % 2], (1_000 * epoch as usize + row) as i64, true)).collect()
}

#[test]
fn a_file_is_full_after_its_rows_and_files_are_in_order_by_name() {
    for kind in KINDS {
        let case = Case::new(kind, &[("roll_rows", "3")]);
        case.write(Replace::All, 1..2, 10);
        assert_eq!(case.files().iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1], "{kind}");
        assert_eq!(case.rows(), rows_of(1, 10), "{kind}");
        // A run that goes on leaves them, and one file stays without a number.
        case.write(Replace::Nothing, 2..4, 3);
        assert_eq!(case.rows(), [rows_of(1, 10), rows_of(2, 3), rows_of(3, 3)].concat(), "{kind}");
        assert_eq!(
            case.names()[3..5],
            [format!("part-00001-0000000001-00003.{kind}"), format!("part-00002-0000000002.{kind}")]
        );
        let entries = Manifest::read(&case.path().join(MANIFEST)).unwrap().unwrap().files;
        assert_eq!(entries.iter().map(|entry| entry.rows).collect::<Vec<_>>(), [3, 3, 3, 1, 3, 3], "{kind}");
    }
}

#[test]
fn a_file_is_full_after_about_its_bytes() {
    for kind in KINDS {
        let case = Case::new(kind, &[("roll_bytes", "20000")]);
        let mut sink = case.begin(Replace::All);
        let rows = rows_of(1, 100);
        // Parquet's size is known about, and a batch goes into one file.
        for _ in 0..100 {
            sink.stage(&batch(&rows)).unwrap();
        }
        sink.stage_open(&batch(&[(9, "a", 1, false)])).unwrap();
        sink.commit(1).unwrap();
        let files = case.files();
        assert!(files.len() > 3, "{kind}: {}", files.len());
        assert_eq!(files.iter().map(Vec::len).sum::<usize>(), 100 * rows.len() + 1, "{kind}");
        if kind != "parquet" {
            let sizes =
                case.names().iter().map(|name| fs::metadata(case.path().join(name)).unwrap().len()).collect::<Vec<_>>();
            let full = &sizes[1..sizes.len() - 1];
            assert!(full.iter().all(|size| (20_000..40_000).contains(size)), "{kind}: {sizes:?}");
        }
    }
}

#[test]
fn small_files_are_joined_in_order_and_nothing_else_changes() {
    for kind in KINDS {
        let case = Case::new(kind, &[]);
        case.write(Replace::All, 1..31, 5);
        let mut sink = case.begin(Replace::Nothing);
        sink.stage_open(&batch(&[(99, "a", 1, false)])).unwrap();
        sink.commit(31).unwrap();
        drop(sink);
        let before = (case.rows(), case.names().len());
        let manifest = Manifest::read(&case.path().join(MANIFEST)).unwrap().unwrap();

        let told = compact(&case.plan(), 1 << 20, true).unwrap().unwrap();
        assert_eq!((told.files_joined, told.rows_joined, told.files_after), (30, 150, None), "{kind}");
        assert_eq!((case.rows(), case.names().len()), before, "{kind}: to tell changes nothing");

        // As few as fit, then all of them.
        let most = manifest.files.iter().map(|entry| entry.bytes).sum::<u64>() / 3;
        let done = case.compact(most);
        assert_eq!((done.files_before, done.files_joined, done.rows_joined), (30, 30, 150), "{kind}");
        let after = done.files_after.unwrap();
        assert!((2..=4).contains(&after) || kind == "parquet" && after < 4, "{kind}: {after}");
        assert_eq!(case.rows(), before.0, "{kind}");
        let joined = Manifest::read(&case.path().join(MANIFEST)).unwrap().unwrap();
        assert!(joined.files.iter().all(|entry| entry.bytes <= most), "{kind}: {:?}", joined.files);
        assert_eq!(joined.open, manifest.open, "{kind}");
        assert_eq!(
            (joined.epoch, &joined.job),
            (manifest.epoch, &manifest.job),
            "{kind}: the run that goes on finds its epoch"
        );
        assert_eq!(case.compact(1 << 20).files_after, Some(1), "{kind}");
        let again = case.compact(1 << 20);
        assert_eq!((again.files_joined, again.files_after), (0, Some(1)), "{kind}: there is nothing left to do");
        assert_eq!(case.rows(), before.0, "{kind}");

        // The stream goes on, and what it adds is joined with what is there.
        case.write(Replace::Nothing, 32..40, 2);
        let rows: Vec<Row> =
            (1..31).flat_map(|epoch| rows_of(epoch, 5)).chain((32..40).flat_map(|epoch| rows_of(epoch, 2))).collect();
        assert_eq!(case.rows(), rows, "{kind}: and its first commit takes the open rows back");
        assert_eq!(case.compact(1 << 20).files_after, Some(1), "{kind}");
        assert_eq!(case.rows(), rows, "{kind}");
        // A range is replaced as before.
        let mut sink = case.begin(Replace::Range(Some(0), Some(10 * 60_000_000)));
        sink.commit(1).unwrap();
        drop(sink);
        assert!(case.rows().iter().all(|row| row.0 >= 10), "{kind}: the windows of the joined file are known");
        assert_eq!(case.rows().len(), rows.iter().filter(|row| row.0 >= 10).count(), "{kind}");
    }
}

#[test]
fn large_files_stay_as_they_are() {
    let case = Case::new("jsonl", &[]);
    for (epoch, rows) in [(1, 2), (2, 500), (3, 2), (4, 2), (5, 500)] {
        case.write(if epoch == 1 { Replace::All } else { Replace::Nothing }, epoch..epoch + 1, rows);
    }
    let names = case.names();
    let rows = case.rows();
    let large = fs::metadata(case.path().join(&names[1])).unwrap().len();
    assert_eq!(case.compact(large).files_joined, 2);
    let after = case.names();
    assert_eq!((&after[0], &after[1], &after[3]), (&names[0], &names[1], &names[4]));
    assert_eq!(case.rows(), rows);
}

/// The minutes of the rows, each page `a`, and what they are worth.
fn worth(case: &Case) -> Vec<(i64, i64)> {
    let mut rows: Vec<_> = case.rows().iter().map(|row| (row.0, row.2)).collect();
    rows.sort_unstable();
    rows
}

/// A stream that has settled ten minutes, row by row, and goes on.
fn going_on(case: &Case) -> Box<dyn Sink> {
    let job = Context { job: Some("j".into()), ..Context::default() };
    let mut stream = sink::open(&case.plan(), &job).unwrap();
    stream.begin(Replace::All).unwrap();
    (0..10).for_each(|minute| commit(stream.as_mut(), minute));
    stream
}

/// Commits the row of a minute.
fn commit(stream: &mut dyn Sink, minute: i64) {
    stream.stage(&batch(&[(minute, "a", minute, true)])).unwrap();
    stream.stage_open(&batch(&[(minute + 1, "a", -1, false)])).unwrap();
    stream.settle((minute + 1) * MINUTE);
    stream.commit(minute as u64 + 1).unwrap();
}

const MINUTE: i64 = 60_000_000;

/// Begins a run over a range beside the stream, with other rows for these minutes.
fn over_range(case: &Case, from: i64, to: i64) -> Box<dyn Sink> {
    let mut range = sink::open(&case.plan(), &Context::default()).unwrap();
    assert!(matches!(range.beside().unwrap(), Beside::Stream { settled: Some(_), .. }));
    range.begin(Replace::Range(Some(from * MINUTE), Some(to * MINUTE))).unwrap();
    (from..to).for_each(|minute| range.stage(&batch(&[(minute, "a", 100 + minute, true)])).unwrap());
    range.settle(to * MINUTE);
    range
}

#[test]
fn a_range_is_replaced_between_two_commits_of_a_stream_which_goes_on() {
    for kind in KINDS {
        let case = Case::new(kind, &[]);
        let mut stream = going_on(&case);
        let mut range = over_range(&case, 3, 6);
        stream.stage(&batch(&[(10, "a", 10, true)])).unwrap();
        range.commit(1).unwrap();
        stream.settle(11 * MINUTE);
        stream.commit(11).unwrap();
        drop(range);
        (11..100).for_each(|minute| commit(stream.as_mut(), minute));
        let mut again = over_range(&case, 50, 60);
        again.commit(1).unwrap();
        commit(stream.as_mut(), 100);
        let value = |minute| if (3..6).contains(&minute) || (50..60).contains(&minute) { 100 + minute } else { minute };
        let expected: Vec<_> = (0..101).map(|minute| (minute, value(minute))).chain([(101, -1)]).collect();
        assert_eq!(worth(&case), expected, "{kind}");
        let manifest = Manifest::read(&case.path().join(MANIFEST)).unwrap().unwrap();
        assert_eq!(
            (manifest.job.as_deref(), manifest.epoch, manifest.settled),
            (Some("j"), Some(101), Some(101 * MINUTE))
        );
        // And the next run of the job goes on after its last epoch.
        drop(stream);
        let job = Context { job: Some("j".into()), ..Context::default() };
        let mut next = sink::open(&case.plan(), &job).unwrap();
        assert_eq!(next.published().unwrap(), Published::Epoch(101));
        next.begin(Replace::Nothing).unwrap();
        commit(next.as_mut(), 101);
        assert_eq!(worth(&case).len(), 103, "{kind}");
    }
}

#[test]
fn a_range_ends_where_either_of_the_two_has_not_settled() {
    for kind in KINDS {
        let case = Case::new(kind, &[]);
        let _stream = going_on(&case);
        let expected = worth(&case);
        let mut less = over_range(&case, 8, 9);
        less.settle(8 * MINUTE);
        less.commit(1).unwrap();
        drop(less);
        assert_eq!(worth(&case), expected, "{kind}: the range's own log ends before it");
        // Its rows are those of a stream that has gone on meanwhile, which is asked how far.
        let mut more = over_range(&case, 9, 12);
        assert_eq!(more.commit(1).unwrap_err().code, Code::StateBusy, "{kind}: it is for who opens it to end it there");
        assert_eq!(worth(&case), expected, "{kind}");
    }
}

#[test]
fn a_range_of_rows_that_were_begun_anew_is_not_replaced_and_two_ranges_wait_for_each_other() {
    let case = Case::new("parquet", &[]);
    drop(going_on(&case));
    let mut range = over_range(&case, 3, 6);
    let mut other = sink::open(&case.plan(), &Context::default()).unwrap();
    other.beside().unwrap();
    assert_eq!(other.begin(Replace::Range(None, None)).unwrap_err().code, Code::StateBusy);
    assert_eq!(compact(&case.plan(), 1 << 20, false).unwrap_err().code, Code::StateBusy);
    case.write(Replace::All, 1..4, 2);
    let expected = worth(&case);
    assert_eq!(range.commit(1).unwrap_err().code, Code::StateBusy);
    assert_eq!(worth(&case), expected);
}

/// A run over a range that was killed leaves its staged rows, and what it had committed without tidying up.
#[test]
fn what_a_killed_run_over_a_range_left_is_finished_by_the_stream() {
    for kind in KINDS {
        let case = Case::new(kind, &[]);
        let mut stream = going_on(&case);
        let before =
            case.path().join(case.names().iter().find(|name| name.starts_with("part-00001-0000000004")).unwrap());
        let kept = fs::read(&before).unwrap();
        let mut range = over_range(&case, 3, 4);
        range.commit(1).unwrap();
        drop(range);
        // It has named its files and not renamed them, nor removed the one that they stand for.
        let name = case.names().into_iter().find(|name| name.starts_with("part-00002")).unwrap();
        fs::rename(case.path().join(&name), case.path().join(format!("_{name}"))).unwrap();
        fs::write(&before, kept).unwrap();
        fs::write(case.path().join(format!("_staged.{RANGE}")), "half a row").unwrap();
        commit(stream.as_mut(), 10);
        let expected: Vec<_> =
            (0..11).map(|minute| (minute, if minute == 3 { 103 } else { minute })).chain([(11, -1)]).collect();
        assert_eq!(worth(&case), expected, "{kind}");
        // And the other way round.
        let name =
            case.names().into_iter().find(|name| name.starts_with("part-") && name.contains("-0000000011")).unwrap();
        drop(stream);
        fs::rename(case.path().join(&name), case.path().join(format!("_{name}"))).unwrap();
        over_range(&case, 5, 6).commit(1).unwrap();
        assert!(!case.path().join(format!("_staged.{RANGE}")).exists());
        assert!(case.path().join(&name).exists(), "{kind}: {:?}", case.names());
    }
}

#[test]
fn compaction_is_refused_while_a_run_writes_and_where_none_has() {
    let case = Case::new("parquet", &[]);
    assert_eq!(compact(&case.plan(), 1 << 20, false).unwrap_err().code, Code::Target);
    case.write(Replace::All, 1..4, 2);
    let running = case.begin(Replace::Nothing);
    assert_eq!(compact(&case.plan(), 1 << 20, false).unwrap_err().code, Code::StateBusy);
    drop(running);
    assert_eq!(case.compact(1 << 20).files_after, Some(1));
    let single = plan("jsonl", &[("path", "views.jsonl")]);
    assert_eq!(compact(&single, 1 << 20, false).unwrap(), None);
}

/// An encoding whose joined files lack their last row.
struct Forgetful;

impl Encoding for Forgetful {
    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn append(&self, _: disk::File, _: &SchemaRef) -> Result<Box<dyn super::super::rows::RowWriter>> {
        unreachable!("compaction stages no rows")
    }

    fn join(&self, from: &[PathBuf], mut to: disk::File, _: &SchemaRef, _: u64) -> Result<(disk::File, usize)> {
        let text: String = from.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let end = text.trim_end().rfind('\n').unwrap();
        std::io::Write::write_all(&mut to, &text.as_bytes()[..=end]).unwrap();
        Ok((to, from.len()))
    }

    fn feed(&self, from: &Path, _: &SchemaRef, into: &mut sha2::Sha256) -> Result<()> {
        sha2::Digest::update(into, fs::read(from).unwrap());
        Ok(())
    }

    fn copy_outside(&self, _: &Path, _: disk::File, _: &SchemaRef, _: &WindowRange) -> Result<Span> {
        unreachable!("compaction replaces no range")
    }
}

#[test]
fn what_does_not_read_back_the_same_is_not_committed() {
    let case = Case::new("jsonl", &[]);
    case.write(Replace::All, 1..5, 3);
    let (names, rows) = (case.names(), case.rows());
    let mut sink = FolderSink::new(&case.plan(), case.path(), &Forgetful).unwrap();
    assert_eq!(sink.compact(1 << 20, false).unwrap_err().code, Code::Corrupt);
    drop(sink);
    assert_eq!((case.names(), case.rows()), (names, rows.clone()));
    assert_eq!(case.compact(1 << 20).files_after, Some(1), "what the failed try left is no obstacle");
    assert_eq!(case.rows(), rows);
}

#[test]
fn names_of_ours_are_told_from_others() {
    for name in [
        "part-00001-0000000001.parquet",
        "_open-00001-0000000001.csv",
        "part-00001-0000000001-00002.jsonl",
        "part-00001-0000000001-00002-j00003.jsonl",
        "part-00001-0000000001-j00003.jsonl",
        "part-00001-kept-00001.parquet",
        "part-00001-kept-00001-j00002.parquet",
        "_staged.part",
        "_staged-00001.part",
        "_staged.open",
        "_staged.joined",
    ] {
        assert!(is_ours(name), "{name}");
    }
    for name in [
        "part-1.parquet",
        "part-00001-0000000001-2.jsonl",
        "part-00001.csv",
        "part-00001-0000000001-x.csv",
        "_staged-x.part",
        "staged.part",
        "part-00001-0000000001-00002-00003.csv",
    ] {
        assert!(!is_ours(name), "{name}");
    }
}
