//! The line of checkpoints by itself. That runs go on from it is tested with random pipelines and with processes that are killed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use engine::PartName;

use super::store::{Folder, Memory};
use super::*;

fn plan(definition: &str) -> Plan {
    let canonical = format!("{{\"semantics\": \"{definition}\"}}");
    let (name, definition) = ("p".into(), definition.into());
    Plan { name, sources: Vec::new(), steps: Vec::new(), sinks: Vec::new(), definition, canonical }
}

fn rows(of: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(of)) as ArrayRef)]).unwrap()
}

fn part(step: &str, tables: Option<RecordBatch>) -> Part {
    Part { name: PartName { step: step.into(), ..PartName::default() }, tables: tables.map(|rows| vec![rows]) }
}

fn keep(line: &mut Line, parts: Vec<Part>) -> Result<u64> {
    let plan = plan("d");
    let tally = Tally::new(&plan, (None, None));
    line.keep(
        &plan,
        Checkpoint { partitions: Vec::new(), tally, parts, pieces: Vec::new(), whole: None },
        BTreeMap::new(),
    )
}

fn open(store: &dyn Fn() -> Box<dyn Store>) -> Line {
    Line::open(store(), &plan("d"), false).unwrap()
}

fn table(line: &Line, step: &str) -> RecordBatch {
    let entry = line.last().unwrap().parts.iter().find(|part| part.name.step == step).unwrap();
    entry.tables[0].read(&*line.store).unwrap()
}

#[test]
fn what_does_not_change_stays_readable_and_what_nothing_needs_goes() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let stores: [&dyn Fn() -> Box<dyn Store>; 2] =
        [&|| Box::new(memory.clone()), &|| Box::new(Folder::new(folder.path().join("checkpoints")))];
    for store in stores {
        // `still` is written once; `busy` is large and written each time, so that the file of `still` soon holds little else.
        let still = rows([7, 8, 9]);
        for turn in 0..12i64 {
            let mut line = open(store);
            line.put(RowsKind::Final, "busy", &rows(0..turn)).unwrap();
            let first = (turn == 0).then(|| still.clone());
            let number =
                keep(&mut line, vec![part("still", first), part("busy", Some(rows(turn..turn + 5000)))]).unwrap();
            assert_eq!(number, turn as u64 + 1);
            let line = open(store);
            assert_eq!((table(&line, "still"), table(&line, "busy")), (still.clone(), rows(turn..turn + 5000)));
            let last = line.last().unwrap();
            assert_eq!(last.outbox.iter().map(|entry| entry.rows.rows).sum::<u64>(), turn as u64);
        }
        let names = store().list().unwrap();
        let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
        // The oldest that is kept may lean on the file before it.
        assert!(count(".json") == KEPT && (KEPT..=KEPT + 1).contains(&count(".parts")), "{names:?}");
    }
}

#[test]
fn of_two_processes_one_stops_before_it_publishes() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let (mut one, mut other) = (open(store), open(store));
    keep(&mut one, vec![part("s", Some(rows([1])))]).unwrap();
    let error = keep(&mut other, vec![part("s", Some(rows([2])))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert_eq!(table(&open(store), "s"), rows([1]), "what the other one wrote is in nobody's way");
}

#[test]
fn a_line_that_was_cleared_under_a_run_ends_it_and_leaves_nothing() {
    let store = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
    let mut running = open(line);
    keep(&mut running, vec![part("s", Some(rows([1])))]).unwrap();
    keep(&mut running, vec![part("s", None)]).unwrap();
    for name in store.list().unwrap() {
        store.remove(&name).unwrap();
    }
    // It would lean on data that is gone.
    let error = keep(&mut running, vec![part("s", None)]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert!(error.message.contains("were removed while this run went on"), "{error}");
    assert_eq!(store.list().unwrap(), Vec::<String>::new());
    assert!(open(line).last().is_none());
}

#[test]
fn a_line_that_was_cleared_is_told_where_data_of_it_are_carried_on() {
    let store = Memory::default();
    let mut running = open(&|| -> Box<dyn Store> { Box::new(store.clone()) });
    keep(&mut running, vec![part("still", Some(rows([1]))), part("busy", Some(rows(0..5000)))]).unwrap();
    keep(&mut running, vec![part("still", None), part("busy", Some(rows(0..5000)))]).unwrap();
    for name in store.list().unwrap() {
        store.remove(&name).unwrap();
    }
    let error = keep(&mut running, vec![part("still", None), part("busy", Some(rows(0..5000)))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert!(error.message.contains("were removed while this run went on"), "{error}");
}

#[test]
fn a_run_that_slept_while_another_went_far_changes_nothing() {
    let store = Memory::default();
    let line = &|| -> Box<dyn Store> { Box::new(store.clone()) };
    let mut sleeper = open(line);
    keep(&mut sleeper, vec![part("s", Some(rows([1])))]).unwrap();
    let mut other = open(line);
    // So far that the number which the sleeper would give next is free again.
    (0..KEPT as i64 + 2).for_each(|n| _ = keep(&mut other, vec![part("s", Some(rows([n])))]).unwrap());
    let before = store.list().unwrap();
    let error = keep(&mut sleeper, vec![part("s", Some(rows([9])))]).unwrap_err();
    assert_eq!(error.code, Code::StateBusy);
    assert!(error.message.contains(&format!("has made checkpoint {}", KEPT + 3)), "{error}");
    assert_eq!(store.list().unwrap(), before);
}

#[test]
fn a_sink_gets_the_outboxes_that_it_lacks_as_long_as_they_are_kept() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let mut line = open(store);
    for epoch in 1..=5 {
        line.put(RowsKind::Final, "s", &rows([epoch])).unwrap();
        keep(&mut line, Vec::new()).unwrap();
    }
    let line = open(store);
    let epochs = |since: u64| {
        let outboxes = line.outboxes_after("s", since)?;
        Some(outboxes.iter().map(|(epoch, entries)| (*epoch, line.rows(&entries[0]).unwrap())).collect::<Vec<_>>())
    };
    assert_eq!(epochs(3), Some(vec![(4, rows([4])), (5, rows([5]))]));
    assert_eq!(epochs(2).map(|epochs| epochs.len()), Some(3));
    assert_eq!(epochs(1), None, "epoch 2 is not kept any more");
    assert_eq!(epochs(5), Some(Vec::new()));
}

#[test]
fn an_epoch_without_anything_for_a_sink_is_not_missed() {
    let store = Memory::default();
    let mut line = open(&|| Box::new(store.clone()));
    let tally = Tally::new(&plan("d"), (None, None));
    // By epoch, the last one with something for a sink, and the one before.
    let rare = [(1, 0), (1, 0), (1, 0), (1, 0), (5, 1)];
    let late = [(0, 0), (0, 0), (0, 0), (0, 0), (5, 0)];
    let busy = [(1, 0), (1, 0), (3, 1), (3, 1), (5, 3)];
    let mark = |(epoch, before)| SinkMark { epoch, before: Some(before), rows: 0 };
    for epoch in 0..5 {
        let marks = [("rare", rare[epoch]), ("late", late[epoch]), ("busy", busy[epoch])];
        let marks = marks.map(|(name, of)| (name.to_string(), mark(of)));
        let checkpoint = Checkpoint {
            partitions: Vec::new(),
            tally: tally.clone(),
            parts: Vec::new(),
            pieces: Vec::new(),
            whole: None,
        };
        line.keep(&plan("d"), checkpoint, marks.into()).unwrap();
    }
    // Kept are 3, 4 and 5.
    let numbers = |sink: &str, since: u64| {
        let outboxes = line.outboxes_after(sink, since)?;
        Some(outboxes.into_iter().map(|(epoch, _)| epoch).collect::<Vec<_>>())
    };
    assert_eq!(numbers("rare", 1), Some(vec![3, 4, 5]));
    assert_eq!(numbers("rare", 0), None, "it had something in epoch 1");
    assert_eq!(numbers("late", 0), Some(vec![3, 4, 5]));
    assert_eq!(numbers("busy", 1), Some(vec![3, 4, 5]));
    assert_eq!(numbers("busy", 0), None);
    assert_eq!(numbers("other", 1), None, "nothing is known of it");
}

#[test]
fn another_definition_and_a_fresh_start_are_told_apart() {
    let store = Memory::default();
    let store: &dyn Fn() -> Box<dyn Store> = &|| Box::new(store.clone());
    let mut line = open(store);
    let job = line.job().to_string();
    (0..2).for_each(|_| _ = keep(&mut line, Vec::new()).unwrap());
    line.tell(BTreeMap::from([("out".into(), 2)])).unwrap();
    assert_eq!(open(store).told().unwrap()["out"], 2);
    let error = Line::open(store(), &plan("other"), false).err().unwrap();
    assert_eq!(error.code, Code::StateForeign);
    assert_eq!(error.details, ["version of semantics: d -> other"]);
    let mut fresh = Line::open(store(), &plan("other"), true).unwrap();
    assert!(fresh.last().is_none() && fresh.job() != job && fresh.told().unwrap().is_empty());
    assert_eq!(open(store).last().unwrap().number, 2, "what was there stays until the new job has a checkpoint");
    keep(&mut fresh, Vec::new()).unwrap();
    assert_eq!(Line::open(store(), &plan("other"), false).unwrap().last().unwrap().number, 3);
    assert_eq!(store().list().unwrap().iter().filter(|name| name.ends_with(".json") && *name != TOLD).count(), 1);
}
