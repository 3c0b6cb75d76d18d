//! Pipeline files.

use ::pipeline::diagnostic::{Severity, render, to_json};
use ::pipeline::{Variables, explain, load};

use super::PIPELINE;

/// Reads and checks a file, and shows what it means or what is wrong.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match load("p.yaml", &text, &Variables::new()) {
        Ok(loaded) => assert!(!explain::text(&loaded).is_empty() && !explain::dot(&loaded).is_empty()),
        Err(errors) => {
            assert!(!errors.is_empty(), "an error is told");
            for error in errors {
                assert!(render(&error, Severity::Error, true).contains(error.code.name()));
                assert!(to_json(&error, Severity::Error).is_object());
            }
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let small = |steps: &str, sinks: &str| {
        format!(
            "version: 1\nname: p\nvars: {{A: {{default: a}}}}\nsources:\n  s:\n    journal: {{path: \"${{A}}\"}}\n    schema: {{a: int64!, b: string, t: timestamp!}}\n    \
             event_time: {{column: t, out_of_orderness: 1s}}\nsteps:\n{steps}sinks:\n{sinks}"
        )
    };
    let plain = "  o: {from: w, stdout: {}}\n";
    [
        PIPELINE.to_string(),
        small("  w: {from: s, where: \"a > 1 and b like 'x%'\", select: [a, {c: \"upper(b) || '!'\"}]}\n", plain),
        small(
            "  w:\n    from: s\n    window: {calendar: {unit: month, timezone: Asia/Shanghai}}\n    group_by: [{k: \"a // 10\"}]\n    \
             aggregate: {x: \"sum(a) filter (where a > 0) * 1.5\"}\n    having: \"x > 1\"\n    top: {n: 3, by: [{x: desc}]}\n",
            "  o: {from: w, postgres: {url: \"postgres://a:b@c/d\", table: t}}\n  l: {from: w.late, csv: {path: l.csv}}\n",
        ),
        small("  w: {from: s, derive: {c: \"case when a between 1 and 2 then date_trunc('day', t) end\"}, check: {good: {that: \"a > 0\", else: quarantine}}}\n", plain),
    ]
    .map(String::into_bytes)
    .into()
}
