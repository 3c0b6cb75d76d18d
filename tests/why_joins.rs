//! `samestream why` and `why-not` over joins and exploded records. All expectations are worked out by hand from the
//! records below: what is late follows from the largest event time before a record in its partition, less one minute.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::stderr;
use crate::why_verb::{answer, ok, run};

const SHOP: &str = r#"
version: 1
name: shop
sources:
  orders:
    BINDING
    format: json
    schema: {order_id: int64, item: string, amount: float64, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 1m}
  payments:
    BINDING
    format: json
    schema: {order_id: int64, method: string, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 1m}
  prices:
    BINDING
    format: json
    schema: {item: string, price: int64, event_time: timestamp!}
    event_time: {column: event_time, out_of_orderness: 1m}
steps:
  good: {from: payments, where: "method <> 'test'"}
  once: {from: good, dedup: {key: [order_id, method], within: 5m}}
  paid:
    join: {left: orders, right: once, on: [order_id], type: inner, within: {before: 0s, after: 10m}}
    where: "amount > 0"
    select: [order_id, item, method]
  per_method:
    from: paid
    window: {tumbling: {size: 1h}}
    group_by: [method]
    aggregate: {n: "count(*)"}
  priced:
    join: {left: orders, right: prices, on: [item], type: left, as_of: {max_age: 1h}}
    select: [order_id, item, price]
  cheap: {from: priced, where: "price < 3"}
  cents: {from: cheap, select: [order_id, {cents: "price * 100"}]}
  hourly:
    join: {left: orders, right: once, on: [order_id], type: full, window: {tumbling: {size: 1h}}}
    select: [window_start, window_end, order_id, item, method]
  per_item:
    from: orders
    window: {tumbling: {size: 1h}}
    group_by: [item]
    aggregate: {n: "count(*)"}
  many: {from: per_item, where: "n > 2", select: [window_start, window_end, item]}
  prices_per_item:
    from: priced
    window: {tumbling: {size: 1h}}
    group_by: [item]
    aggregate: {m: "count(price)"}
  items:
    join: {left: per_item, right: prices_per_item, on: [item], type: left, window: same}
    select: [window_start, window_end, item, n, m]
sinks:
  methods: {from: per_method, jsonl: {path: out/methods}}
  hours: {from: hourly, jsonl: {path: out/hours}}
  items: {from: items, jsonl: {path: out/items}}
  cents: {from: cents, jsonl: {path: out/cents}}
  many: {from: many, jsonl: {path: out/many}}
"#;

const ORDERS: &str = r#"{"order_id":1,"item":"tea","amount":5,"event_time":"2026-01-01T10:00:00Z"}
{"order_id":2,"item":"mug","amount":9,"event_time":"2026-01-01T10:05:00Z"}
{"order_id":3,"item":"tea","amount":5,"event_time":"2026-01-01T10:20:00Z"}
{"order_id":null,"item":"tea","amount":5,"event_time":"2026-01-01T10:21:00Z"}
{"order_id":4,"item":"tea","amount":0,"event_time":"2026-01-01T10:22:00Z"}
{"order_id":5,"item":"mug","amount":7,"event_time":"2026-01-01T10:10:00Z"}
{"order_id":6,"item":"mug","amount":7,"event_time":"2026-01-01T12:00:00Z"}
"#;

const PAYMENTS: &str = r#"{"order_id":1,"method":"card","event_time":"2026-01-01T10:01:00Z"}
{"order_id":1,"method":"test","event_time":"2026-01-01T10:02:00Z"}
{"order_id":1,"method":"card","event_time":"2026-01-01T10:03:00Z"}
{"order_id":3,"method":"card","event_time":"2026-01-01T10:31:00Z"}
{"order_id":2,"method":"cash","event_time":"2026-01-01T10:06:00Z"}
{"order_id":4,"method":"cash","event_time":"2026-01-01T10:30:30Z"}
{"order_id":9,"method":"cash","event_time":"2026-01-01T12:30:30Z"}
"#;

const PRICES: &str = r#"{"item":"tea","price":1,"event_time":"2026-01-01T09:00:00Z"}
{"item":"tea","price":2,"event_time":"2026-01-01T09:30:00Z"}
{"item":"mug","price":6,"event_time":"2026-01-01T09:00:00Z"}
{"item":"mug","price":7,"event_time":"2026-01-01T09:29:30Z"}
{"item":"tea","price":3,"event_time":"2026-01-01T10:30:00Z"}
{"item":"tea","price":4,"event_time":"2026-01-01T12:30:00Z"}
{"item":"mug","price":8,"event_time":"2026-01-01T12:00:01Z"}
"#;

/// A folder with the shop and its journals; `log.yaml` reads them, `lake.yaml` the lakes that were archived from them.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let bound = |binding: &dyn Fn(&str) -> String| {
        ["orders", "payments", "prices"]
            .iter()
            .fold(SHOP.to_string(), |text, source| text.replacen("BINDING", &binding(source), 1))
    };
    std::fs::write(at.join("log.yaml"), bound(&|source| format!("journal: {{path: data/{source}}}"))).unwrap();
    let both = |source: &str| format!("journal: {{path: data/{source}}}\n    lake: {{path: lake/{source}}}");
    std::fs::write(at.join("lake.yaml"), bound(&both)).unwrap();
    for (source, records) in [("orders", ORDERS), ("payments", PAYMENTS), ("prices", PRICES)] {
        std::fs::write(at.join("records.jsonl"), records).unwrap();
        ok(at, &format!("append data/{source} records.jsonl --partitions 1"));
    }
    folder
}

/// Source and offset of a record, `-` for none.
fn short(name: &Value) -> String {
    match name {
        Value::Null => "-".into(),
        name => format!("{} {}", name["source"].as_str().unwrap(), name["offset"]),
    }
}

/// The pairs of an answer, and whether each is final.
fn pairs(found: &Value) -> Vec<String> {
    let rows = found["rows"].as_array().unwrap().iter();
    rows.map(|row| format!("{} + {}", short(&row["left"]), short(&row["right"]))).collect()
}

/// What an answer leaves out: the side, the record, and the beginning of the reason.
#[track_caller]
fn assert_left(found: &Value, expected: &[(&str, &str, &str)]) {
    let left = found["left"].as_array().unwrap();
    let told: Vec<_> = left.iter().map(|part| (part["side"].as_str().unwrap(), short(part))).collect();
    let wanted: Vec<_> = expected.iter().map(|(side, name, _)| (*side, name.to_string())).collect();
    assert_eq!(told, wanted, "{found:#}");
    for (part, (.., reason)) in left.iter().zip(expected) {
        assert!(part["reason"].as_str().unwrap().starts_with(reason), "`{reason}` is not {}", part["reason"]);
    }
}

#[test]
fn an_interval_join_tells_what_met_and_what_was_out_of_bounds() {
    let folder = shop();
    let why = |rest: &str| answer(folder.path(), &format!("why log.yaml --step paid {rest}"));
    let first = why("--record orders:0@0");
    assert_eq!(pairs(&first), ["orders 0 + payments 0"]);
    assert_eq!(first["rows"][0]["row"], json!({"order_id": "1", "item": "tea", "method": "card", "final": true}));
    assert_eq!(first["rows"][0]["event_time"], "2026-01-01T10:01:00Z");
    assert_left(
        &first,
        &[
            ("right", "payments 1", "filtered at `good`: where "),
            ("right", "payments 2", "repeats payments 0@0 at `once`"),
        ],
    );
    // The same rows, by the time of either side.
    for at in ["2026-01-01T10:00:00Z", "2026-01-01T10:01:00Z"] {
        assert_eq!(why(&format!("--key order_id=1 --at {at}"))["rows"], first["rows"], "{at}");
    }
    // Paid eleven minutes later.
    let third = why("--record orders:0@2");
    assert_eq!(third["rows"], json!([]));
    assert_left(
        &third,
        &[
            (
                "left",
                "orders 2",
                "no row of the right side has its key from 2026-01-01T10:20:00Z to 2026-01-01T10:30:00Z",
            ),
            ("right", "payments 3", "11m 0s after orders 0@2, 1m 0s too late"),
        ],
    );
    assert_left(&why("--record orders:0@3"), &[("left", "orders 3", "its key has a null")]);
    // They met, and the step's `where` left the row out.
    let fourth = why("--record orders:0@4");
    assert_eq!(pairs(&fourth), ["orders 4 + payments 5"]);
    assert_eq!(fourth["rows"][0]["row"], Value::Null);
    assert!(fourth["rows"][0]["dropped"].as_str().unwrap().contains("is not true of it"), "{fourth}");
    // 10:10 after 10:22: the watermark was 10:21.
    assert_left(&why("--record orders:0@5"), &[("left", "orders 5", "late by 11m 0s")]);
    // 10:06 after 10:31, which is six minutes too late for the order of 10:05 to find it.
    assert_left(
        &why("--record orders:0@1"),
        &[("left", "orders 1", "no row of the right side"), ("right", "payments 4", "late by 24m 0s")],
    );
}

#[test]
fn a_step_over_a_join_is_made_of_pairs() {
    let folder = shop();
    let why = |rest: &str| answer(folder.path(), &format!("why log.yaml --step {rest}"));
    let card = why("per_method --window 2026-01-01T10:00:00Z --key method=card");
    assert_eq!(card["row"]["n"], "1");
    let sides = json!({
        "left": {"source": "orders", "partition": 0, "offset": 0},
        "right": {"source": "payments", "partition": 0, "offset": 0},
    });
    assert_eq!(card["taken"][0]["sides"], sides);
    let cash = why("per_method --window 2026-01-01T10:00:00Z --key method=cash");
    assert_eq!(cash["row"], Value::Null);
    let left = |found: &Value| -> Vec<String> {
        let text = |part: &Value| {
            let sides = [&part["sides"]["left"], &part["sides"]["right"]].map(short);
            format!("{} + {}: {}", sides[0], sides[1], part["reason"].as_str().unwrap())
        };
        found["left"].as_array().unwrap().iter().map(text).collect()
    };
    // What did not get as far as a pair stands where it would have gone by what it brings itself.
    let told = left(&cash);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("- + payments 4: at `paid` late by 24m 0s: "), "{told:?}");
    assert!(told[1].starts_with("orders 4 + payments 5: filtered at `paid`: where "), "{told:?}");
    assert_eq!(
        left(&card),
        ["- + payments 2: repeats payments 0@0 at `once`", "- + payments 3: met nothing at `paid`"]
    );
    // A join of windows, one of them over a join: down to records.
    let items = why("items --window 2026-01-01T10:00:00Z --key item=tea --deep");
    assert_eq!(items["rows"][0]["row"]["n"], "4");
    assert_eq!(items["rows"][0]["row"]["m"], "4");
    let taken = items["taken"].as_array().unwrap();
    let by_side = |side: &str| taken.iter().find(|part| part["side"] == side).unwrap()["parts"]["taken"].clone();
    let orders: Vec<String> = by_side("left").as_array().unwrap().iter().map(short).collect();
    assert_eq!(orders, ["orders 0", "orders 2", "orders 3", "orders 4"]);
    let priced = by_side("right");
    let priced: Vec<String> = priced.as_array().unwrap().iter().map(|part| short(&part["sides"]["left"])).collect();
    assert_eq!(priced, orders);
}

#[test]
fn an_as_of_join_tells_which_version_superseded_which() {
    let folder = shop();
    let why = |rest: &str| answer(folder.path(), &format!("why log.yaml --step priced {rest}"));
    let tea = why("--record orders:0@0");
    assert_eq!(pairs(&tea), ["orders 0 + prices 1"]);
    assert_eq!(tea["rows"][0]["row"]["price"], "2");
    // The nearest in time come first.
    assert_left(
        &tea,
        &[
            ("right", "prices 4", "it is 30m 0s later than orders 0@0"),
            ("right", "prices 0", "prices 0@1 superseded it"),
            ("right", "prices 5", "it is 2h 30m 0s later than orders 0@0"),
        ],
    );
    // At 10:05 the price of 09:29:30 is 35½ minutes old; the one of 09:00 came 29 minutes behind the watermark of 09:29.
    let mug = why("--key item=mug --at 2026-01-01T10:05:00Z");
    assert_eq!(pairs(&mug), ["orders 1 + prices 3"]);
    // 65 minutes before the order it would have been too old anyway.
    assert_left(&mug, &[]);
    // Half past nine is two and a half hours before noon.
    let noon = why("--record orders:0@6");
    assert_eq!(pairs(&noon), ["orders 6 + -"]);
    assert_left(&noon, &[("right", "prices 3", "it is 2h 30m 30s old then, 1h 30m 30s older than `max_age`")]);
    // A version that no order needed.
    assert_left(
        &why("--record prices:0@0"),
        &[("right", "prices 0", "prices 0@1 supersedes it at 2026-01-01T09:30:00Z")],
    );
    assert_left(&why("--record prices:0@6"), &[("right", "prices 6", "late by 28m 59s")]);
    assert_eq!(
        pairs(&why("--record prices:0@1")),
        ["orders 0 + prices 1", "orders 2 + prices 1", "orders 3 + prices 1", "orders 4 + prices 1"]
    );
}

#[test]
fn row_steps_over_joins_and_windows_say_what_they_made_of_the_rows() {
    let folder = shop();
    let why = |rest: &str| answer(folder.path(), &format!("why log.yaml --step {rest}"));
    let tea = why("cents --record orders:0@0");
    assert_eq!(tea["step"], "cents");
    assert_eq!(pairs(&tea), ["orders 0 + prices 1"]);
    assert_eq!(tea["rows"][0]["row"], json!({"order_id": "1", "cents": "200", "final": true}));
    // At 10:05 a mug costs 7.
    let mug = why("cents --key item=mug --at 2026-01-01T10:05:00Z");
    assert_eq!((pairs(&mug), &mug["rows"][0]["row"]), (vec!["orders 1 + prices 3".into()], &Value::Null));
    assert!(mug["rows"][0]["dropped"].as_str().unwrap().starts_with("filtered at `cheap`: where "), "{mug}");
    let tea = why("many --window 2026-01-01T10:00:00Z --key item=tea");
    let row = json!({"window_start": "2026-01-01T10:00:00Z", "window_end": "2026-01-01T11:00:00Z", "item": "tea", "final": true});
    assert_eq!((tea["row"].clone(), tea["taken"].as_array().unwrap().len()), (row, 4));
    // Two mugs, the late one in time for the hour.
    let mug = why("many --window 2026-01-01T10:00:00Z --key item=mug");
    assert_eq!((&mug["row"], mug["taken"].as_array().unwrap().len()), (&Value::Null, 2));
    assert!(mug["dropped"].as_str().unwrap().starts_with("filtered at `many`: where "), "{mug}");
    let once = run(folder.path(), "why log.yaml --step once --record payments:0@2");
    assert!(stderr(&once).contains("`samestream why-not` tells what became of a record"), "{}", stderr(&once));
}

#[test]
fn a_window_join_tells_every_pair_of_a_window() {
    let folder = shop();
    let why = |rest: &str| answer(folder.path(), &format!("why log.yaml --step hourly --window {rest}"));
    assert_eq!(pairs(&why("2026-01-01T10:30:00Z --key order_id=3")), ["orders 2 + payments 3"]);
    // Late for a point in time, in time for the hour.
    assert_eq!(pairs(&why("2026-01-01T10:00:00Z --key order_id=2")), ["orders 1 + payments 4"]);
    assert_eq!(pairs(&why("2026-01-01T10:00:00Z --key order_id=5")), ["orders 5 + -"]);
    assert_eq!(pairs(&why("2026-01-01T10:00:00Z --key order_id=null")), ["orders 3 + -"]);
    let nine = why("2026-01-01T12:00:00Z --key order_id=9");
    assert_eq!(pairs(&nine), ["- + payments 6"]);
    assert_eq!(nine["rows"][0]["row"]["final"], false);
    let one = why("2026-01-01T10:00:00Z --key order_id=1");
    assert_eq!(pairs(&one), ["orders 0 + payments 0"]);
    assert_left(
        &one,
        &[
            ("right", "payments 1", "filtered at `good`: where "),
            ("right", "payments 2", "repeats payments 0@0 at `once`"),
        ],
    );
    // An inner join needs both sides.
    let text = std::fs::read_to_string(folder.path().join("log.yaml")).unwrap().replace("type: full", "type: inner");
    std::fs::write(folder.path().join("inner.yaml"), text).unwrap();
    let line = "why inner.yaml --step hourly --window 2026-01-01T10:00:00Z --key order_id=5";
    let five = answer(folder.path(), line);
    assert_eq!(pairs(&five), Vec::<String>::new());
    assert_left(&five, &[("left", "orders 5", "no row of the right side has its key in the window")]);
}

#[test]
fn why_not_follows_a_record_through_joins() {
    let folder = shop();
    let course = |record: &str| {
        let course = answer(folder.path(), &format!("why-not log.yaml --record {record}"));
        let steps = course["steps"].as_array().unwrap().iter();
        let of_step = |step: &Value| {
            let fates = step["fates"].as_array().unwrap().iter().map(|fate| match fate["fate"].as_str().unwrap() {
                "joined" => format!("with {}", short(&fate["with"])),
                "out" | "late" => fate["reason"].as_str().unwrap().to_string(),
                other => other.to_string(),
            });
            (step["step"].as_str().unwrap().to_string(), fates.collect::<Vec<_>>().join(" & "))
        };
        steps.map(of_step).collect::<std::collections::BTreeMap<_, _>>()
    };
    let first = course("orders:0@0");
    let told: Vec<_> = first.iter().map(|(step, fates)| (step.as_str(), fates.as_str())).collect();
    let expected = [
        ("hourly", "with payments 0"),
        ("paid", "with payments 0"),
        ("per_item", "in"),
        ("per_method", "in"),
        ("priced", "with prices 1"),
        ("prices_per_item", "in"),
        ("cheap", "on"),
        ("cents", "on"),
    ];
    let expected = expected.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect::<Vec<_>>();
    assert_eq!(told, expected);
    let third = course("orders:0@2");
    assert_eq!(
        third["paid"],
        "met nothing: no row of the right side has its key from 2026-01-01T10:20:00Z to 2026-01-01T10:30:00Z; \
         payments 0@3: 11m 0s after orders 0@2, 1m 0s too late"
    );
    assert_eq!(course("orders:0@3")["paid"], "met nothing: its key has a null, which is equal to nothing");
    assert_eq!(course("orders:0@3")["hourly"], "with -");
    let fourth = course("orders:0@4");
    assert!(fourth["paid"].starts_with("with payments 0@5: filtered: where "), "{fourth:?}");
    assert!(course("orders:0@5")["priced"].starts_with("late by 11m 0s"));
    assert!(course("prices:0@0")["priced"].starts_with("met nothing: prices 0@1 supersedes it"));
    assert_eq!(course("payments:0@2")["once"], "repeats payments 0@0");
    let text = ok(folder.path(), "why-not log.yaml --source payments --record 0@3");
    assert!(text.contains("hourly  joined with orders 0@2 in window 2026-01-01T10:00:00Z .. "), "{text}");
}

#[test]
fn a_lake_and_the_journal_it_was_archived_from_answer_alike() {
    let folder = shop();
    let at = folder.path();
    for source in ["orders", "payments", "prices"] {
        ok(at, &format!("archive lake.yaml --source {source} --until-caught-up"));
    }
    for line in [
        "why FILE --step paid --record orders:0@0",
        "why FILE --step paid --record orders:0@2",
        "why FILE --step priced --key item=tea --at 2026-01-01T10:00:00Z",
        "why FILE --step hourly --window 2026-01-01T10:00:00Z --key order_id=1",
        "why FILE --step items --window 2026-01-01T10:00:00Z --key item=tea --deep",
        "why-not FILE --record payments:0@4",
    ] {
        let of = |file: &str| ok(at, &line.replace("FILE", file));
        assert_eq!(of("log.yaml"), of("lake.yaml"), "{line}");
    }
}

#[test]
fn questions_that_name_no_row_are_refused_with_the_way_to_name_one() {
    let folder = shop();
    for (line, words) in [
        ("why log.yaml --step paid", "--record [SOURCE:]P@O"),
        ("why log.yaml --step paid --window 2026-01-01T10:00:00Z --key order_id=1", "are in no windows"),
        ("why log.yaml --step hourly --record orders:0@0", "`--record` does not name"),
        ("why log.yaml --step hourly --key order_id=1", "--window"),
        ("why log.yaml --step paid --record 0@0", "orders, payments"),
        ("why log.yaml --step paid --record prices:0@0", "no records of a source `prices` come to `paid`"),
        ("why log.yaml --step paid --record orders:0@77", "why-not --record orders:0@77"),
        ("why log.yaml --step paid --key order_id=8 --at 2026-01-01T10:00:00Z", "keys at that time are: order_id = 1"),
        (
            "why log.yaml --step paid --key order_id=1 --at 2026-01-01T07:00:00Z",
            "no row of either side has that event time",
        ),
        ("why log.yaml --step paid --record orders:0@0 --at 2026-01-01T10:00:00Z", "exclude each other"),
        ("why-not log.yaml --record 0@0", "--source"),
        ("why-not log.yaml --record orders:0@0 --source prices", "say the source once"),
        ("why-not log.yaml --record orders:0", "write PARTITION@OFFSET"),
    ] {
        let output = run(folder.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(stderr(&output).contains(words), "`{words}` is not in\n{}", stderr(&output));
    }
}

const BASKETS: &str = r#"{"tags":["a","b","a"],"event_time":"2026-01-01T10:00:10Z"}
{"tags":["b","x"],"event_time":"2026-01-01T10:00:20Z"}
{"tags":["a"],"event_time":"2026-01-01T10:05:00Z"}
{"tags":["a","x"],"event_time":"2026-01-01T10:00:30Z"}
"#;

#[test]
fn elements_of_an_exploded_record_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at: &Path = folder.path();
    let text = "version: 1\nname: tags\nsources:\n  baskets:\n    journal: {path: data/baskets}\n    format: json\n    \
                schema: {tags: list<string>, event_time: timestamp!}\n    event_time: {column: event_time, \
                out_of_orderness: 1m}\nsteps:\n  each: {from: baskets, explode: {tags: tag}, where: \"tag <> 'x'\"}\n  \
                per_tag:\n    from: each\n    window: {tumbling: {size: 1m}}\n    group_by: [tag]\n    aggregate: {n: \
                \"count(*)\"}\nsinks:\n  out: {from: per_tag, jsonl: {path: out}}\n";
    std::fs::write(at.join("tags.yaml"), text).unwrap();
    std::fs::write(at.join("records.jsonl"), BASKETS).unwrap();
    ok(at, "append data/baskets records.jsonl --partitions 1");
    let found = answer(at, "why tags.yaml --step per_tag --window 2026-01-01T10:00:00Z --key tag=a");
    let names = |parts: &Value| -> Vec<(i64, i64)> {
        let name = |part: &Value| (part["offset"].as_i64().unwrap(), part["index"].as_i64().unwrap());
        parts.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names(&found["taken"]), [(0, 0), (0, 2)]);
    assert_eq!(names(&found["left"]), [(3, 0)]);
    assert_eq!(found["row"]["n"], "2");
    let course = answer(at, "why-not tags.yaml --record 0@1");
    let fates = |step: usize| -> Vec<(i64, String)> {
        let fates = course["steps"][step]["fates"].as_array().unwrap().iter();
        fates.map(|fate| (fate["row"]["index"].as_i64().unwrap(), fate["fate"].as_str().unwrap().into())).collect()
    };
    assert_eq!(fates(0), [(1, "out".into()), (0, "on".into())]);
    assert_eq!(fates(1), [(0, "in".into())]);
    let text = ok(at, "why tags.yaml --step per_tag --window 2026-01-01T10:00:00Z --key tag=a");
    assert!(text.contains("baskets 0@0[2]  2026-01-01T10:00:10Z"), "{text}");
}

/// Orders 0@5 needs twelve minutes, payments 0@4 twenty-five and 0@5 half a minute, prices 0@3 half a minute, 0@2 and 0@6
/// about thirty minutes.
#[test]
fn lateness_counts_the_rows_that_each_source_changes_in_a_join() {
    let folder = shop();
    let found = answer(folder.path(), "lateness log.yaml --bounds 12m,25m");
    let told = |source: &str, step: &str| -> Vec<(u64, u64)> {
        let named = |list: &Value, field: &str, name: &str| {
            list.as_array().unwrap().iter().find(|one| one[field] == name).unwrap().clone()
        };
        let step = named(&named(&found["sources"], "source", source)["steps"], "step", step);
        let rungs = step["bounds"].as_array().unwrap().iter();
        let bounds: Vec<_> = rungs.clone().map(|rung| rung["bound"].clone()).collect();
        assert_eq!(bounds, ["0s", "1m", "12m", "25m"]);
        rungs.map(|rung| (rung["late"].as_u64().unwrap(), rung["changed"].as_u64().unwrap())).collect()
    };
    // Order 5 was never paid, and has a price.
    assert_eq!(told("orders", "paid"), [(1, 0), (1, 0), (0, 0), (0, 0)]);
    assert_eq!(told("orders", "priced"), [(1, 0), (1, 0), (0, 1), (0, 1)]);
    // Without any bound order 4 loses its payment; with twenty-five minutes order 2 gets one.
    assert_eq!(told("payments", "paid"), [(2, 1), (1, 0), (1, 0), (0, 1)]);
    // Without any bound order 2 stays without a price.
    assert_eq!(told("prices", "priced"), [(3, 1), (2, 0), (2, 0), (2, 0)]);
    // An hour has time enough.
    assert_eq!(told("payments", "hourly"), [(0, 0); 4]);
}
