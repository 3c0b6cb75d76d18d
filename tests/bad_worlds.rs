//! Worlds that change or lie: a clock that jumps, a lake that is changed under a run, files that others wrote or nobody.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use connectors::lake::{LakeOptions, LakeScan};
use engine::edge::LogScan;
use engine::error::Code;
use engine::plan::{Layout, SourcePlan};
use runtime::archive::{ArchiveOptions, archive};

use crate::cli::{samestream, stderr};
use crate::codes::{Project, lie};

/// Returns the source of a project, over its lake or another one.
fn source(project: &Project, lake: &Path, layout: Layout) -> SourcePlan {
    let text = fs::read_to_string(project.path().join("coins.yaml")).unwrap();
    let loaded = pipeline::load("coins.yaml", &text, &pipeline::Variables::new());
    let mut source = loaded.unwrap_or_else(|errors| panic!("{errors:?}")).plan.sources[0].clone();
    let binding = source.bindings.lake.as_mut().unwrap();
    (binding.path, binding.layout) = (lake.to_str().unwrap().into(), layout);
    source.bindings.journal = Some(project.path().join("log").to_str().unwrap().into());
    source
}

/// Returns the records of a lake as text, and how many files it has.
fn records(source: &SourcePlan) -> (Vec<String>, usize) {
    let scan = LakeScan::open(source).unwrap();
    let (mut records, mut units) = (Vec::new(), 0);
    for unit in scan.partitions().iter().flat_map(|range| scan.units(range.partition)) {
        let raw = scan.raw(unit, 0, i64::MAX).unwrap();
        let rows = raw.offsets.iter().enumerate();
        records
            .extend(rows.map(|(row, offset)| format!("{offset} {}", String::from_utf8_lossy(raw.values.value(row)))));
        units += 1;
    }
    (records, units)
}

#[test]
fn a_clock_that_jumps_cuts_files_elsewhere_and_changes_no_record() {
    let project = Project::archived();
    let folder = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut cuts = BTreeSet::new();
    for (number, step) in
        [0, 1, -3_600_000, 31_536_000_000_000, -31_536_000_000_000, i64::MAX / 4].into_iter().enumerate()
    {
        let source = source(&project, &folder.path().join(number.to_string()), Layout::Log);
        let time = Cell::new(1_767_225_600_000_i64);
        let clock = || {
            time.set(time.get().wrapping_add(step));
            time.get()
        };
        let lake = LakeOptions { raw: true, roll_ms: 1_000, ..LakeOptions::default() };
        let options = ArchiveOptions { until_caught_up: true, lake, stop: Default::default() };
        let done = archive(&source, &options, &clock, &|_| {}).unwrap();
        assert!(done.ended && done.records == 6);
        let (records, units) = records(&source);
        seen.insert(records);
        cuts.insert(units);
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(!cuts.is_empty());
}

/// Reads all units of a lake and returns the code of the first failure.
fn failure(source: &SourcePlan) -> Option<Code> {
    let scan = match LakeScan::open(source) {
        Ok(scan) => scan,
        Err(error) => return Some(error.code),
    };
    let units: Vec<_> = scan.partitions().iter().flat_map(|range| scan.units(range.partition).to_vec()).collect();
    units.iter().find_map(|unit| scan.load(unit, 0, i64::MAX).err()).map(|error| error.code)
}

#[test]
fn a_lake_that_is_changed_under_a_run_is_refused_and_never_read_wrong() {
    let project = Project::archived();
    let lake = project.path().join("lake");
    let source = source(&project, &lake, Layout::Log);
    let (first, second) = (project.file(0), project.file(2));
    let bytes = fs::read(&first).unwrap();
    let other = fs::read(&second).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(), Option<Code>);
    let changes: [Change<'_>; 5] = [
        ("nothing", &|| {}, None),
        ("another file in its place", &|| fs::write(&first, &other).unwrap(), Some(Code::LakeDiverges)),
        (
            "the same bytes, written again",
            &|| {
                let new = first.with_extension("new");
                fs::write(&new, &bytes).unwrap();
                fs::rename(&new, &first).unwrap();
            },
            Some(Code::LakeDiverges),
        ),
        ("its end cut off", &|| fs::write(&first, &bytes[..bytes.len() - 9]).unwrap(), Some(Code::LakeDiverges)),
        ("gone", &|| fs::remove_file(&first).unwrap(), Some(Code::NotFound)),
    ];
    for (what, change, expected) in changes {
        fs::write(&first, &bytes).unwrap();
        let scan = LakeScan::open(&source).unwrap();
        change();
        let unit = scan.units(0)[0].clone();
        assert_eq!(scan.load(&unit, 0, i64::MAX).err().map(|error| error.code), expected, "{what}");
        assert_eq!(scan.raw(&unit, 0, i64::MAX).err().map(|error| error.code), expected, "{what}");
    }
}

/// Returns a file without rows whose schema nests so deep, as Thrift's compact protocol has it.
fn nested(depth: usize) -> Vec<u8> {
    let varint = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    // Version 1; a list of structures: the root, groups that are each the only child of the one before, a leaf.
    let mut footer = [&[0x15, 0x02, 0x19, 0xfc][..], &varint(depth + 1)].concat();
    footer.extend(b"\x48\x01g\x15\x02\x00");
    (1..depth).for_each(|_| footer.extend(b"\x35\x00\x18\x01g\x15\x02\x00"));
    footer.extend(b"\x15\x02\x25\x00\x18\x01a\x00");
    // No rows, no row groups.
    footer.extend(b"\x16\x00\x19\x0c\x00");
    [b"PAR1", &footer[..], &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn every_way_to_damage_a_file_of_a_lake_has_its_code() {
    let project = Project::archived();
    let source = source(&project, &project.path().join("lake"), Layout::Log);
    let path = project.file(2);
    let bytes = fs::read(&path).unwrap();
    let code = |damaged: &[u8]| {
        fs::write(&path, damaged).unwrap();
        failure(&source)
    };
    assert_eq!(code(&bytes), None);
    for size in [0, 1, 4, 8, 11, 12, 100, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
        assert_eq!(code(&bytes[..size]), Some(Code::Corrupt), "cut to {size} bytes");
    }
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = bytes.clone();
        change(&mut damaged);
        code(&damaged)
    };
    let end = bytes.len();
    assert_eq!(changed(&|bytes| bytes[end - 1] = b'E'), Some(Code::Corrupt), "encrypted");
    assert_eq!(
        changed(&|bytes| bytes[end - 8..end - 4].copy_from_slice(&[0xff; 4])),
        Some(Code::Corrupt),
        "a long footer"
    );
    assert_eq!(changed(&|bytes| bytes[end - 8..end - 4].copy_from_slice(&[0; 4])), Some(Code::Corrupt), "no footer");
    assert_eq!(changed(&|bytes| bytes[4..200].fill(0)), Some(Code::Corrupt), "pages of zeros");
    assert_eq!(code(&nested(200_000)), Some(Code::Corrupt), "a schema that would overflow the stack");
    assert_eq!(code(b"page,n,at\n/a,1,2026-01-01T00:00:00Z\n"), Some(Code::Corrupt), "text");
    // The files themselves are whole, but not where they should be.
    let copied = |from: i64| code(&fs::read(project.file(from)).unwrap());
    assert_eq!(copied(0), Some(Code::LakeDiverges), "another file under its name");
    fs::remove_file(&path).unwrap();
    assert_eq!(failure(&source), Some(Code::LakeGap));
    fs::write(&path, &bytes).unwrap();
    fs::write(project.file(3), &bytes).unwrap();
    assert_eq!(failure(&source), Some(Code::LakeDiverges), "twice there");
}

/// Files that DuckDB 2.0 and Polars 2.1 wrote: six rows of `page`, `n`, `at`, but for what the names say.
#[test]
fn files_of_other_writers_are_read_or_refused_by_name() {
    let lakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lakes");
    let project = Project::archived();
    let cases: [(&str, Layout, Option<Code>); 9] = [
        ("duckdb", Layout::Files, None),
        ("polars", Layout::Files, None),
        ("polars-categorical", Layout::Files, None),
        ("polars-float", Layout::Files, Some(Code::Schema)),
        ("polars-without-page", Layout::Files, Some(Code::Schema)),
        ("duckdb-number", Layout::Files, Some(Code::Schema)),
        ("duckdb", Layout::Log, Some(Code::NoOffsets)),
        ("polars", Layout::Log, Some(Code::NoOffsets)),
        ("duckdb", Layout::Connect, None),
    ];
    let mut read = BTreeSet::new();
    for (name, layout, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let place = match layout {
            Layout::Log => "partition=0/00000000000000000000.parquet",
            Layout::Connect => "clicks+0+0000000000.parquet",
            Layout::Files => "any.parquet",
        };
        let path = folder.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(lakes.join(format!("{name}.parquet")), &path).unwrap();
        let source = source(&project, folder.path(), layout);
        assert_eq!(failure(&source), expected, "{name} as {layout:?}");
        if expected.is_none() {
            let (records, _) = records(&source);
            assert_eq!(records.len(), 6, "{name}");
            read.insert(records);
        }
    }
    assert_eq!(read.len(), 1, "the same rows from every writer: {read:#?}");
}

#[test]
fn a_hostile_lake_ends_a_run_with_its_code_and_its_name() {
    let project = Project::archived();
    let path = project.file(2);
    let bytes = fs::read(&path).unwrap();
    for size in [0, 8, bytes.len() - 20] {
        fs::write(&path, &bytes[..size]).unwrap();
        let output = samestream(project.path()).args(["run", "coins.yaml", "--mode", "batch"]).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("error[E_CORRUPT]") && text.contains("00000000000000000002.parquet"), "{text}");
        assert!(!text.contains("has a bug"), "{text}");
    }
}

/// A run reads several files at once (two or four of these), and further ones while it closes what they brought.
#[test]
fn of_several_faults_the_first_is_told_by_one_thread_and_by_two() {
    let project = Project::bare();
    for minute in 0..9 {
        let line = |page: &str, n: i64| format!(r#"{{"page":"{page}","n":{n},"at":"2026-01-01T00:0{minute}:00Z"}}"#);
        let lines = if minute == 1 { vec![line("/b", i64::MAX), line("/b", 1)] } else { vec![line("/a", 1)] };
        project.add(&format!("{minute}.jsonl"), &lines.iter().map(String::as_str).collect::<Vec<_>>());
        project.fill_lake();
    }
    let expect = |code: &str| {
        for threads in ["1", "2"] {
            let text = stderr(&project.batch(&["--threads", threads]));
            assert!(text.contains(&format!("\"{code}\"")) && text.matches("\"E_").count() == 1, "{threads}: {text}");
        }
    };
    // The last one alone, which is in a wave of its own on two threads.
    let total = ", total: \"sum(n)\"";
    project.changed(&[(total, "")]);
    lie(&project.file(9), 8);
    expect("E_STATS");
    // Beside it a window of the files before it that cannot be closed, and a record of these that ends the run.
    lie(&project.file(6), 5);
    expect("E_STATS");
    project.changed(&[("count(*)\"", &format!("count(*)\"{total}"))]);
    expect("E_OVERFLOW");
    let rule = "    check: [{name: known_page, rule: \"page = '/a'\", else: fail}]\n    window";
    project.changed(&[("    window", rule)]);
    expect("E_CHECK");
}
