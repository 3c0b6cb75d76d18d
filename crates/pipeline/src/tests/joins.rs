//! Joins: which columns they have, what is refused, how they are shown.

use engine::Code;
use engine::plan::{Input, JoinPlan, Plan, Work};

use super::good;
use crate::{Variables, explain, load, schema};

/// A pipeline whose step `j` has this text.
fn file(step: &str) -> String {
    format!(
        "\
version: 1
name: joined
sources:
  orders:
    journal: {{path: orders}}
    schema: {{id: int64!, user_id: int64, amount: float64!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 10s}}
  users:
    journal: {{path: users}}
    schema: {{seller: int32, user_id: int64!, name: string!, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 30s}}
steps:
  per_user:
    from: orders
    window: {{tumbling: {{size: 1h}}}}
    group_by: [user_id]
    aggregate: {{total: sum(amount)}}
  visits:
    from: users
    window: {{session: {{gap: 1h}}}}
    group_by: [user_id]
    aggregate: {{n: count(*)}}
  per_name:
    from: users
    window: {{tumbling: {{size: 1h}}}}
    group_by: [user_id, name]
    aggregate: {{n: count(*)}}
  j: {{{step}}}
sinks:
  out: {{from: j, parquet: {{path: out}}}}
"
    )
}

fn join<'a>(plan: &'a Plan, name: &str) -> &'a JoinPlan {
    let step = plan.steps.iter().find(|step| step.name == name).expect("a step of this name");
    match &step.work {
        Work::Join(join) => join,
        other => panic!("{other:?}"),
    }
}

fn columns(plan: &Plan) -> Vec<String> {
    let step = plan.steps.iter().find(|step| step.name == "j").expect("the step");
    let shown = step.schema.fields.iter();
    shown.map(|field| format!("{} {}{}", field.name, field.data_type, if field.nullable { "" } else { "!" })).collect()
}

const HOURLY: &str = "window: {tumbling: {size: 1h}}";

#[test]
fn columns_are_bounds_then_keys_then_left_then_right() {
    let step = format!("join: {{left: orders, right: per_name, on: [user_id], type: inner, {HOURLY}}}");
    let loaded = good(&file(&step));
    assert_eq!(
        columns(&loaded.plan),
        [
            "window_start timestamp!",
            "window_end timestamp!",
            "user_id int64!",
            "id int64!",
            "amount float64!",
            "at timestamp!",
            "name string!",
            "n int64"
        ]
    );
    // Only what is read is carried, and decoded.
    let step =
        format!("join: {{left: orders, right: users, on: [user_id], type: left, {HOURLY}}}, select: [left.id, name]");
    let plan = good(&file(&step)).plan;
    assert_eq!(columns(&plan), ["id int64!", "name string"]);
    assert_eq!(join(&plan, "j").sides[1].read, ["name", "user_id"]);
}

#[test]
fn rows_without_a_partner_make_columns_nullable() {
    let of = |kind: &str| {
        let step = format!(
            "join: {{left: orders, right: users, on: [{{id: seller}}], type: {kind}, {HOURLY}}}, \
             select: [id, amount, {{who: right.name}}]"
        );
        columns(&good(&file(&step)).plan)
    };
    // An int64 and an int32 are compared as int64.
    assert_eq!(of("inner"), ["id int64!", "amount float64!", "who string!"]);
    assert_eq!(of("left"), ["id int64!", "amount float64!", "who string"]);
    assert_eq!(of("right"), ["id int64", "amount float64", "who string!"]);
    assert_eq!(of("full"), ["id int64", "amount float64", "who string"]);
}

#[test]
fn wrong_joins_are_told_what_is_wrong() {
    let both = "left: orders, right: users";
    let cases: &[(&str, Code, &str)] = &[
        ("join: {left: orders, right: users, on: [user_id]}", Code::Unbounded, "`as_of`"),
        (
            "join: {BOTH, on: [user_id], HOURLY, within: {before: 1s, after: 1s}}, select: [id]",
            Code::Field,
            "one bound",
        ),
        ("join: {BOTH, on: [user_id], HOURLY}", Code::Name, "`left.at`"),
        ("join: {BOTH, on: [user_id], HOURLY}, select: [at]", Code::Name, "`left.at` or `right.at`"),
        (
            "join: {BOTH, on: [user_id], HOURLY}, select: [id], where: \"at > window_start\"",
            Code::Name,
            "`left.at` or `right.at`",
        ),
        ("join: {BOTH, on: [user_id], HOURLY}, select: [left.idd]", Code::Name, "did you mean `left.id`?"),
        ("join: {BOTH, on: [userid], HOURLY}, select: [id]", Code::Name, "`user_id`"),
        (
            "join: {BOTH, on: left.user_id = right.user_id, HOURLY}, select: [id]",
            Code::Field,
            "`on: [user_id, {id: seller}]`",
        ),
        ("join: {BOTH, on: [{left.user_id: right.user_id}], HOURLY}, select: [id]", Code::Name, "without its side"),
        ("join: {BOTH, on: [{user_id: user_id + 1}], HOURLY}, select: [id]", Code::Name, "in a step before"),
        ("join: {BOTH, on: [user_id], how: left, HOURLY}, select: [id]", Code::Field, "`type: left`"),
        ("join: {BOTH, on: [user_id], ttl: 1d, HOURLY}, select: [id]", Code::Field, "never by a clock"),
        ("join: {BOTH, on: [user_id], within: 1h}, select: [id]", Code::Field, "`within: {before: 10m, after: 0s}`"),
        ("join: {BOTH, on: [user_id], as_of: {tolerance: 1h}}, select: [id]", Code::Field, "`max_age: 1h`"),
        ("join: {BOTH, on: [user_id], allowed_lateness: 1h, HOURLY}, select: [id]", Code::Field, "`STEP.late`"),
        ("join: {BOTH, on: [_offset], HOURLY}, select: [id]", Code::Name, "no column `_offset`"),
        ("join: {BOTH, on: [{amount: user_id}], HOURLY}, select: [id]", Code::Type, "cast one of them"),
        ("join: {BOTH, on: [user_id, {user_id: seller}], HOURLY}, select: [id]", Code::Name, "there twice"),
        ("join: {BOTH, on: [user_id], type: outer, HOURLY}, select: [id]", Code::Field, "`type`"),
        ("join: {BOTH, on: [user_id], window: {session: {gap: 1m}}}, select: [id]", Code::Field, "`session`"),
        ("join: {BOTH, on: [user_id], window: same}, select: [id]", Code::Field, "window rows on both sides"),
        (
            "join: {left: per_user, right: visits, on: [user_id], window: same}",
            Code::Field,
            "window rows on both sides",
        ),
        ("join: {left: orders, right: user, on: [user_id], HOURLY}", Code::Name, "did you mean `users`?"),
        ("join: {left: orders, on: [user_id], HOURLY}", Code::Field, "`right`"),
        ("from: orders, join: {BOTH, on: [user_id], HOURLY}, select: [id]", Code::Field, "no place beside `join`"),
        ("tag: side, join: {BOTH, on: [user_id], HOURLY}, select: [id]", Code::Field, "no place beside `join`"),
        (
            "join: {BOTH, on: [user_id], HOURLY}, select: [id], window: {tumbling: {size: 1m}}, aggregate: {n: count(*)}",
            Code::Field,
            "one kind of stateful work",
        ),
        ("join: {left: orders, right: j, on: [user_id], HOURLY}, select: [id]", Code::Cycle, "`j` reads `j`"),
        ("join: {BOTH, on: [user_id], type: right, as_of: {}}, select: [id]", Code::Field, "swap the sides"),
        ("join: {BOTH, within: {before: 1s, after: 1s}}, select: [id]", Code::Field, "needs `on`"),
        ("join: {BOTH, on: [user_id], within: {before: 1s}}, select: [id]", Code::Field, "needs `after`"),
        ("join: {BOTH, on: [user_id], as_of: {max_age: 1}}, select: [id]", Code::Field, "the unit is missing"),
        ("where: \"id > 0\"", Code::Field, "needs `from`"),
    ];
    let mut wrong = Vec::new();
    for (step, code, words) in cases {
        let text = file(&step.replace("BOTH", both).replace("HOURLY", HOURLY));
        match load("j.yaml", &text, &Variables::new()) {
            Ok(_) => wrong.push(format!("{step} is accepted")),
            Err(errors) => {
                let told = |error: &engine::Error| format!("{} {:?}", error.message, error.help);
                let fits = errors.len() == 1 && errors[0].code == *code && told(&errors[0]).contains(words);
                if !fits {
                    wrong.push(format!("{step}: {errors:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn late_rows_of_both_sides_stand_in_one_set() {
    let step = format!("join: {{left: orders, right: users, on: [user_id], {HOURLY}}}, select: [id]");
    let text = file(&step).replace("sinks:", "sinks:\n  late: {from: j.late, parquet: {path: late}}");
    let plan = good(&text).plan;
    let late =
        plan.sinks.iter().find(|sink| sink.input == Input::StepLate(plan.steps.len() - 1) || sink.name == "late");
    let names: Vec<&str> = late.unwrap().schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["_partition", "_offset", "_side", "id", "user_id", "amount", "at", "seller", "name", "_late"]);
    let text = file("join: {left: per_user, right: per_name, on: [user_id], window: same}")
        .replace("sinks:", "sinks:\n  late: {from: j.late, parquet: {path: late}}");
    let errors = load("j.yaml", &text, &Variables::new()).err().expect("window rows are never late");
    assert!(errors[0].help.as_ref().is_some_and(|help| help.contains("never late")), "{errors:?}");
}

#[test]
fn an_upserting_sink_needs_what_names_the_rows_of_both_sides() {
    let kafka = |step: &str| file(step).replace("parquet: {path: out}", "kafka: {brokers: b, topic: t}");
    let refused = |step: &str| load("j.yaml", &kafka(step), &Variables::new()).is_err();
    let records = format!("join: {{left: orders, right: users, on: [user_id], {HOURLY}}}");
    assert!(refused(&format!("{records}, select: [window_start, window_end, id]")));
    let whole = "{lp: left._partition}, {lo: left._offset}, {rp: right._partition}, {ro: right._offset}";
    assert!(!refused(&format!("{records}, select: [window_start, window_end, {whole}]")));
    // Window rows of the same windows are named by the keys.
    assert!(!refused("join: {left: per_user, right: per_name, on: [user_id], window: same}"));
    assert!(refused("join: {left: per_user, right: per_name, on: [user_id], window: same}, drop: [name]"));
}

#[test]
fn a_join_is_shown_with_its_sides() {
    let step = format!(
        "join: {{left: orders, right: users, on: [user_id, {{id: seller}}], type: left, {HOURLY}}}, select: [id]"
    );
    let loaded = good(&file(&step));
    let text = explain::text(&loaded);
    for line in [
        "  from        orders (left), users (right)",
        "  join        left, tumbling 1h",
        "  on          user_id, id = right seller",
        "  late        windows take records (left, right) until the watermark reaches their end",
    ] {
        assert!(text.lines().any(|shown| shown == line), "`{line}` is not in\n{text}");
    }
    let dot = explain::dot(&loaded);
    assert!(dot.contains("\"source users\" -> \"step j\" [label=\"right\"];"), "{dot}");
}

#[test]
fn the_definition_knows_everything_of_a_join() {
    let of = |join: &str| good(&file(&format!("join: {{{join}, {HOURLY}}}, select: [{{x: left.id}}]"))).plan.definition;
    let first = of("left: orders, right: users, on: [user_id], type: inner");
    let mut all = vec![
        first.clone(),
        of("left: orders, right: users, on: [user_id], type: left"),
        of("left: orders, right: users, on: [{id: seller}], type: inner"),
        of("left: orders, right: orders, on: [user_id], type: inner"),
    ];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
    // What is not said is what is meant by it.
    assert_eq!(first, of("left: orders, right: users, on: [user_id]"));
    assert!(schema::pipeline().to_string().contains("\"as_of\""));
}

/// Whether the source `users` keeps records without a value, where its columns and the steps read like this.
fn keeps_tombstones(columns: &str, event_time: &str, steps: &str) -> bool {
    let text = format!(
        "\
version: 1
name: table
sources:
  orders:
    journal: {{path: orders}}
    schema: {{user_id: int64!, name: string, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 0s}}
  users:
    journal: {{path: users}}
    schema: {{{columns}}}
    event_time: {{column: {event_time}, out_of_orderness: 0s}}
steps:
{steps}
sinks:
  out: {{from: j, jsonl: {{path: out}}}}
"
    );
    let loaded = good(&text);
    let source = loaded.plan.sources.iter().find(|source| source.name == "users").expect("the source");
    let shown = explain::text(&loaded).contains("ends a version");
    assert_eq!(source.tombstones, shown, "{text}");
    source.tombstones
}

#[test]
fn a_record_without_a_value_counts_where_nothing_is_asked_of_the_value() {
    let by_key = "user_id: {type: int64!, from: key}, name: string!, at: {type: timestamp!, from: header.at}";
    let table = "  j: {join: {left: orders, right: users, on: [user_id], type: left, as_of: {}}, select: [user_id]}";
    assert!(keeps_tombstones(by_key, "at", table));
    assert!(keeps_tombstones(by_key, "_timestamp", table));
    // The key or the event time stands in the value.
    let by_value = "user_id: int64!, name: string!, at: {type: timestamp!, from: header.at}";
    assert!(!keeps_tombstones(by_value, "at", table));
    let at_in_value = "user_id: {type: int64!, from: key}, name: string!, at: timestamp!";
    assert!(!keeps_tombstones(at_in_value, "at", table));
    assert!(keeps_tombstones(at_in_value, "_timestamp", table));
    let by_name = table.replace("[user_id]", "[name]");
    assert!(!keeps_tombstones(by_key, "at", &by_name));
    // Something else reads it too: another join, the left side, a step.
    let interval = "  j: {join: {left: orders, right: users, on: [user_id], type: left, \
                    within: {before: 1s, after: 1s}}, select: [name: right.name]}";
    let interval = interval.replace("[name: right.name]", "[{name: right.name}]");
    assert!(!keeps_tombstones(by_key, "at", &interval));
    let left = "  j: {join: {left: users, right: orders, on: [user_id], type: left, as_of: {}}, select: [user_id]}";
    assert!(!keeps_tombstones(by_key, "at", left));
    let both = "  j: {join: {left: users, right: users, on: [user_id], type: left, as_of: {}}, select: [user_id]}";
    assert!(!keeps_tombstones(by_key, "at", &format!("{both}\n  o: {{from: orders}}")));
    assert!(!keeps_tombstones(by_key, "at", &format!("{table}\n  o: {{from: users, where: \"user_id > 1\"}}")));
}

/// A keyed table that nearly keeps records without a value is warned of, with what is missing; others are not.
#[test]
fn a_table_that_just_misses_it_is_warned_of() {
    let warned = |columns: &str, step: &str| {
        let text = format!(
            "version: 1\nname: t\nsources:\n  orders:\n    journal: {{path: orders}}\n    schema: {{id: int64!, user_id: int64!, at: timestamp!}}\n    \
             event_time: {{column: at}}\n  users:\n    journal: {{path: users}}\n    schema: {{{columns}, at: timestamp!}}\n    event_time: {{column: at}}\n\
             steps:\n  j: {{join: {{left: orders, right: users, on: [user_id], {step}}}, select: [user_id]}}\n\
             sinks:\n  out: {{from: j, jsonl: {{path: out}}}}\n"
        );
        let about = |warning: engine::Error| {
            let label = warning.place.map(|place| place.label).unwrap_or_default();
            warning.message.contains("without a value are bad").then_some(label)
        };
        good(&text).warnings.into_iter().find_map(about)
    };
    let keyed = "user_id: {type: int64!, from: key}";
    assert_eq!(warned(keyed, "as_of: {}").as_deref(), Some("its event time `at` stands in the value"));
    assert_eq!(warned("user_id: int64!", "as_of: {}"), None, "it is no table by key");
    assert_eq!(warned(keyed, "within: {before: 1s, after: 1s}"), None);
    let beside = "user_id: {type: int64!, from: key}, seen: {type: timestamp, from: header.at}";
    assert!(warned(beside, "as_of: {}").is_some());
}

#[test]
fn what_becomes_of_records_without_a_value_is_part_of_the_definition() {
    let of = |from: &str| {
        let step = "join: {left: orders, right: users, on: [user_id], type: left, as_of: {}}, select: [left.id]";
        let text =
            file(step).replace("user_id: int64!, name", &format!("user_id: {{type: int64!, from: {from}}}, name"));
        let only = text.split("  per_user:").next().unwrap().to_string();
        let text = format!("{only}  j: {{{step}}}\nsinks:\n  out: {{from: j, parquet: {{path: out}}}}\n");
        crate::digest::canonical(
            &good(&text.replace("column: at, out_of_orderness: 30s", "column: _timestamp, out_of_orderness: 30s")).plan,
        )
    };
    assert_eq!(of("key")["sources"][1]["tombstones"], true);
    assert!(of("value.user_id")["sources"][1].get("tombstones").is_none());
}
