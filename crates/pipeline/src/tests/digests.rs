//! The definition digest changes with what results depend on, and with nothing else.

use super::{CLICKS, good};

fn digest_with(old: &str, new: &str) -> String {
    assert!(CLICKS.contains(old), "`{old}` is in the file");
    good(&CLICKS.replacen(old, new, 1)).plan.definition
}

#[test]
fn what_results_do_not_depend_on_is_not_in_it() {
    let step = "  visits:\n    from: cleaned\n    window: {session: {gap: 30m}}\n    group_by: [user_id]\n    aggregate: {n: count(*)}\n";
    let moved = good(&CLICKS.replacen(step, "", 1).replacen("steps:\n", &format!("steps:\n{step}"), 1)).plan.definition;
    assert_eq!(moved, good(CLICKS).plan.definition, "order of steps");
    for (old, new) in [
        ("name: clicks_per_page", "name: other"),
        ("owner: data", "owner: ops\ndescription: A sentence\ntags: [a]"),
        ("owner: data", "owner: data # a comment"),
        ("owner: data", "tests: [{name: x, given: {clicks: [{user_id: 1}]}, expect: {per_page: []}}]"),
        ("topic: clicks}", "topic: other}"),
        (
            "topic: clicks}",
            "topic: clicks, options: {a: b}}\n    lake: {path: x, layout: files}\n    journal: {path: j}",
        ),
        ("topic: clicks}", "topic: clicks}\n    description: A source\n    on_late: fail\n    on_bad_record: fail"),
        ("\"localhost:9092\"", "\"other:9092\""),
        ("path: out/per_page", "path: elsewhere"),
        ("parquet: {path: out/per_page}", "csv: {path: x.csv}"),
        ("  visits: {from", "  renamed: {from"),
        ("where: page <> ''", "where: \"( page  <>  '' )\""),
        ("{tumbling: {size: 1m}}", "{tumbling: {size: 60s}}"),
        ("group_by: [page]", "group_by: {page: page}"),
        ("topic: clicks}", "topic: clicks}\n    format: json"),
        ("out_of_orderness: 30s", "out_of_orderness: 30000ms"),
    ] {
        assert_eq!(digest_with(old, new), good(CLICKS).plan.definition, "{old} -> {new}");
    }
}

#[test]
fn each_thing_that_results_depend_on_is_in_it() {
    let changes = [
        ("page: string!, amount: float64", "page: string!, amount: int64"),
        ("page: string!, amount: float64", "page: string, amount: float64"),
        ("page: string!, amount: float64", "page: string!, amount: float64!"),
        ("page: string!, amount: float64", "page: string!, amount: float64, extra: int32"),
        ("page: string!, amount: float64", "amount: float64, page: string!"),
        ("amount: float64", "amount: {type: float64, from: value.total}"),
        ("amount: float64", "amount: {type: float64, from: key}"),
        ("amount: float64", "amount: {type: float64, null_as: ['-']}"),
        ("at: timestamp!", "at: {type: timestamp!, format: epoch_s}"),
        ("at: timestamp!", "at: {type: timestamp!, format: \"%Y\"}"),
        ("out_of_orderness: 30s", "out_of_orderness: 31s"),
        ("out_of_orderness: 30s", "out_of_orderness: 30s, max_future: 1m"),
        ("{column: at,", "{column: _timestamp,"),
        ("topic: clicks}", "topic: clicks}\n    partitions: [0]"),
        ("topic: clicks}", "topic: clicks}\n    partitions: [0, 1]"),
        ("where: page <> ''", "where: page <> 'x'"),
        ("where: page <> ''", "where: user_id <> 1"),
        ("where: page <> ''", "derive: {amount: amount + 1}"),
        ("where: page <> ''", "derive: {amount: amount + 2}"),
        ("where: page <> ''", "drop: [amount]"),
        ("where: page <> ''", "select: [page, user_id]"),
        ("where: page <> ''", "select: [user_id, page]"),
        ("{tumbling: {size: 1m}}", "{tumbling: {size: 2m}}"),
        ("{tumbling: {size: 1m}}", "{tumbling: {size: 1m, offset: 1s}}"),
        ("{tumbling: {size: 1m}}", "{hopping: {size: 1m, every: 30s}}"),
        ("{tumbling: {size: 1m}}", "{session: {gap: 1m}}"),
        ("{tumbling: {size: 1m}}", "{cumulative: {size: 1m, step: 1m}}"),
        ("{tumbling: {size: 1m}}", "{cumulative: {size: 1m, step: 10s}}"),
        ("{tumbling: {size: 1m}}", "{cumulative: {size: 1m, step: 10s, offset: 1s}}"),
        ("{tumbling: {size: 1m}}", "{calendar: {unit: day, timezone: UTC}}"),
        ("{tumbling: {size: 1m}}", "{calendar: {unit: week, timezone: UTC}}"),
        ("{tumbling: {size: 1m}}", "{calendar: {unit: day, timezone: Europe/Berlin}}"),
        ("{hopping: {size: 10m, every: 1m}}", "same"),
        ("{session: {gap: 30m}}", "{session: {gap: 31m}}"),
        ("{session: {gap: 30m}}", "{session: {gap: 30m}}\n    allowed_lateness: 1s"),
        ("group_by: [user_id]", "group_by: [page]"),
        ("group_by: [user_id]", "group_by: [user_id, page]"),
        ("group_by: [user_id]", "group_by: [{u: user_id}]"),
        ("{n: count(*)}", "{m: count(*)}"),
        ("{n: count(*)}", "{n: count(amount)}"),
        ("{n: count(*)}", "{n: count(*) filter (where amount > 1)}"),
        ("{n: count(*)}", "{n: count(*) filter (where amount > 2)}"),
        ("{n: count(*)}", "{n: count(*), m: max(amount)}"),
        ("{n: count(*)}", "{n: count(*) + 1}"),
        ("having: views > 1", "having: views > 2"),
        ("    having: views > 1\n", ""),
        ("n: 10,", "n: 11,"),
        ("[{views: desc}]", "[views]"),
        ("[{views: desc}]", "[{views: desc}, page]"),
        ("[{views: desc}]}", "[{views: desc}], per: [page]}"),
        ("[{views: desc}]}", "[{views: desc}], ties: keep}"),
        ("from: per_page\n", "from: cleaned\n    derive: {views: user_id}\n"),
        ("{from: visits, jsonl", "{from: visits, where: n > 1, jsonl"),
        ("{from: visits, jsonl", "{from: visits, select: [n], jsonl"),
        ("  visits: {from: visits, jsonl: {path: out/visits}}\n", ""),
        ("late: {from: per_page.late", "late: {from: visits.late"),
    ];
    let mut seen = vec![("", good(CLICKS).plan.definition)];
    for (old, new) in changes {
        let digest = digest_with(old, new);
        assert!(
            !seen.iter().any(|(_, other)| *other == digest),
            "{old} -> {new} changes nothing, or is like {:?}",
            seen.iter().find(|(_, other)| *other == digest)
        );
        seen.push((new, digest));
    }
}

#[test]
fn it_is_32_hex_digits() {
    let digest = good(CLICKS).plan.definition;
    assert!(digest.len() == 32 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{digest}");
}

/// `lower` of a letter that a later Unicode brings is another function of the same log.
#[test]
fn versions_of_what_gives_a_pipeline_its_meaning_are_in_it() {
    let canonical = crate::digest::canonical(&good(CLICKS).plan);
    for version in ["semantics", "decoder", "unicode"] {
        assert!(!canonical[version].is_null(), "no `{version}` in {canonical}");
    }
    let text = CLICKS.replacen("{tumbling: {size: 1m}}", "{calendar: {unit: day, timezone: UTC}}", 1);
    let in_calendar = crate::digest::canonical(&good(&text).plan).to_string();
    assert!(in_calendar.contains(&format!("\"{}\"", engine::calendar::ZONES_VERSION)), "{in_calendar}");
    assert!(!canonical.to_string().contains(engine::calendar::ZONES_VERSION), "no zone is used");
    let (major, minor, update) = char::UNICODE_VERSION;
    assert_eq!(canonical["unicode"], serde_json::json!([major, minor, update]));
}

#[test]
fn data_that_functions_follow_is_in_it_where_they_are_called() {
    let data = |condition: &str| {
        let plan = good(&CLICKS.replacen("where: page <> ''", &format!("where: \"{condition}\""), 1)).plan;
        crate::digest::canonical(&plan)["data"].clone()
    };
    assert_eq!(data("page <> ''"), serde_json::Value::Null);
    assert!(data("hour(timezone('UTC', at)) = 1")["time_zones_for_ever"].is_string());
    assert!(data("page ~ 'a'")["regex_unicode"].is_string());
    assert_eq!(data("page ~ 'a'").as_object().map(serde_json::Map::len), Some(1));
}
