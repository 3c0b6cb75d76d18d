//! What is special about standard output: two forms, and open rows that are taken back.

use std::io::Write;
use std::sync::{Arc, Mutex};

use engine::edge::Replace;

use super::tests::{batch, plan};
use super::{Console, Context, open};

/// A console that keeps what is written to it.
fn console(is_terminal: bool) -> (Context, Arc<Mutex<Vec<u8>>>) {
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let text = Arc::new(Mutex::new(Vec::new()));
    let kept = text.clone();
    let open = Arc::new(move || Box::new(Kept(kept.clone())) as Box<dyn Write + Send>);
    (Context { console: Console { is_terminal, open }, ..Context::default() }, text)
}

fn printed(context: &Context, settings: &[(&str, &str)], text: &Mutex<Vec<u8>>) -> String {
    let mut sink = open(&plan("stdout", settings), context).unwrap();
    sink.begin(Replace::All).unwrap();
    sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
    sink.stage_open(&batch(&[(1, "a", 2, false), (1, "b", 2, false)])).unwrap();
    assert_eq!(text.lock().unwrap().len(), 0, "nothing before the commit");
    sink.commit(1).unwrap();
    sink.stage(&batch(&[(1, "a", 12, true)])).unwrap();
    sink.commit(1).unwrap();
    sink.stage(&batch(&[(1, "a", 12, true)])).unwrap();
    sink.commit(2).unwrap();
    String::from_utf8(text.lock().unwrap().clone()).unwrap()
}

#[test]
fn stdout_prints_final_rows_as_json_lines_in_a_pipe() {
    let (context, text) = console(false);
    assert_eq!(
        printed(&context, &[], &text),
        "{\"window_start\":\"1970-01-01T00:00:00.000000Z\",\"page\":\"a\",\"views\":1,\"revenue\":0.25,\"final\":true}\n\
         {\"window_start\":\"1970-01-01T00:01:00.000000Z\",\"page\":\"a\",\"views\":12,\"revenue\":3.0,\"final\":true}\n"
    );
}

#[test]
fn stdout_prints_a_table_on_a_terminal() {
    let (context, text) = console(true);
    assert_eq!(
        printed(&context, &[], &text),
        "views\n \
         window_start                 page  views  revenue  final\n \
         ───────────────────────────  ────  ─────  ───────  ─────\n \
         1970-01-01T00:00:00.000000Z  a         1     0.25  true\n \
         1970-01-01T00:01:00.000000Z  a        12      3.0  true\n"
    );
}

#[test]
fn stdout_aligns_all_rows_of_a_commit() {
    let (context, text) = console(true);
    let mut sink = open(&plan("stdout", &[]), &context).unwrap();
    sink.begin(Replace::All).unwrap();
    sink.stage(&batch(&[(0, "a", 1, true)])).unwrap();
    sink.stage(&batch(&[(0, "c, \"d\"\n", 1_234_567, true)])).unwrap();
    sink.commit(1).unwrap();
    assert_eq!(
        String::from_utf8(text.lock().unwrap().clone()).unwrap(),
        "views\n \
         window_start                 page          views    revenue  final\n \
         ───────────────────────────  ──────────  ───────  ─────────  ─────\n \
         1970-01-01T00:00:00.000000Z  a                 1       0.25  true\n \
         1970-01-01T00:00:00.000000Z  c, \\\"d\\\"\\n  1234567  308641.75  true\n"
    );
}

#[test]
fn stdout_takes_open_rows_back_that_it_printed() {
    let (context, text) = console(false);
    let lines = printed(&context, &[("open_rows", "true")], &text);
    let withdrawn: Vec<&str> = lines.lines().filter(|line| line.contains("withdrawn")).collect();
    assert_eq!(withdrawn, ["{\"window_start\":\"1970-01-01T00:01:00.000000Z\",\"page\":\"b\",\"withdrawn\":true}"]);
    assert_eq!(lines.lines().filter(|line| line.contains("\"final\":false")).count(), 2);
}
