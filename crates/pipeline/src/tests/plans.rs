//! Good files and the plans they mean.

use engine::plan::{Input, Layout, OnBad, OnLate, Plan, TimeFormat, ValueFrom, Work};
use engine::schedule::{CatchUp, Hook, Overlap, Reprocess, Retry};
use engine::window::Windowing;
use engine::{Code, DataType};

use super::{CLICKS, SMALL, good, names};
use crate::{Variables, load};

/// The example of the format's page, as far as it is built, without the blocks that are refused.
const PAGE_VIEWS: &str = "\
# yaml-language-server: $schema=./.samestream/pipeline.schema.json
version: 1
name: page_views
description: Views and revenue per page and minute
vars:
  BROKERS: {default: \"localhost:9092\"}
  LAKE: {default: \"data/lake\"}

sources:
  clicks:
    kafka: {brokers: \"${BROKERS}\", topic: clicks}      # read by --mode stream
    lake: {path: \"${LAKE}/clicks\"}                     # read by --mode batch
    format: json                                       # how a Kafka value becomes columns
    schema:                                            # `!` = not null
      event_id: string!
      user_id: int64!
      page: string!
      action: string
      amount: float64
      event_time: timestamp!
    event_time: {column: event_time, out_of_orderness: 30s, max_future: 5m}
    on_bad_record: quarantine                          # quarantine (default) | fail
    on_late: quarantine                                # quarantine (default) | drop | fail

steps:
  cleaned:
    from: clicks
    where: \"page <> ''\"
    select: [event_id, user_id, {page: \"lower(page)\"}, {amount: \"coalesce(amount, 0.0)\"}]
  per_page:
    from: cleaned
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate:
      views: \"count(*)\"
      visitors: \"count_distinct(user_id)\"
      revenue: \"sum(amount)\"
      best: \"max(amount)\"
  visits:
    from: cleaned
    window: {session: {gap: 30m}}
    group_by: [user_id]
    aggregate: {clicks: \"count(*)\", entry: \"first(page)\", exit: \"last(page)\"}
  top_pages:
    from: per_page                                     # a step over a step: reads final rows
    window: {hopping: {size: 10m, every: 1m}}
    group_by: [page]
    aggregate: {views: \"sum(views)\"}
    top: {n: 10, by: [{views: desc}]}

sinks:
  page_views: {from: per_page, parquet: {path: \"data/out/page_views\"}}
  hot: {from: top_pages, kafka: {brokers: \"${BROKERS}\", topic: top_pages}}
  visits: {from: visits, jsonl: {path: data/out/visits.jsonl}}
";

fn step<'a>(plan: &'a Plan, name: &str) -> &'a engine::plan::StepPlan {
    plan.steps.iter().find(|step| step.name == name).unwrap()
}

fn window<'a>(plan: &'a Plan, name: &str) -> &'a engine::plan::WindowPlan {
    match &step(plan, name).work {
        Work::Window(window) => window,
        _ => panic!("{name} has a window"),
    }
}

fn sink<'a>(plan: &'a Plan, name: &str) -> &'a engine::plan::SinkPlan {
    plan.sinks.iter().find(|sink| sink.name == name).unwrap()
}

/// Returns the plan of the small file with other steps and sinks.
fn with(steps: &str, sinks: &str) -> Plan {
    let (head, _) = CLICKS.split_once("steps:\n").unwrap();
    good(&format!("{head}steps:\n{steps}\nsinks:\n{sinks}\n")).plan
}

#[test]
fn the_example_of_the_format_becomes_its_plan() {
    let loaded = good(PAGE_VIEWS);
    let plan = &loaded.plan;
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.about.description.as_deref(), Some("Views and revenue per page and minute"));
    let source = &plan.sources[0];
    assert_eq!(source.needed, ["event_id", "user_id", "page", "amount", "event_time", "_timestamp"]);
    assert_eq!((source.out_of_orderness, source.max_future), (30_000_000, Some(300_000_000)));
    assert_eq!(
        (source.on_bad, source.on_late, source.format.as_str()),
        (OnBad::Quarantine, OnLate::Quarantine, "json")
    );
    assert_eq!(source.bindings.kafka.as_ref().unwrap().brokers, "localhost:9092");
    let lake = source.bindings.lake.as_ref().unwrap();
    assert_eq!((lake.path.as_str(), lake.layout), ("data/lake/clicks", Layout::Log));
    assert_eq!(
        plan.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(),
        ["cleaned", "per_page", "top_pages", "visits"]
    );
    assert_eq!(names(&step(plan, "cleaned").schema), ["event_id", "user_id", "page", "amount"]);
    assert_eq!(
        names(&step(plan, "per_page").schema),
        ["window_start", "window_end", "page", "views", "visitors", "revenue", "best"]
    );
    assert_eq!(window(plan, "per_page").windowing, Windowing::Fixed { size: 60_000_000, every: 60_000_000, offset: 0 });
    assert_eq!(window(plan, "visits").windowing, Windowing::Session { gap: 1_800_000_000 });
    let top_pages = step(plan, "top_pages");
    assert_eq!(top_pages.inputs, [Input::Step(1)]);
    assert!(top_pages.over_windows && top_pages.sources == [0]);
    assert_eq!(
        window(plan, "top_pages").windowing,
        Windowing::Fixed { size: 600_000_000, every: 60_000_000, offset: 0 }
    );
    let top = window(plan, "top_pages").top.as_ref().unwrap();
    assert_eq!((top.n, &top.by[..], top.keep_ties), (10, &[("views".to_owned(), true)][..], false));
    assert_eq!(sink(plan, "hot").identity, ["window_start", "window_end", "page"]);
    assert_eq!(sink(plan, "hot").target.kind, "kafka");
    assert_eq!(sink(plan, "visits").schema, step(plan, "visits").schema);
}

#[test]
fn all_that_the_page_of_the_format_shows_is_read() {
    let loaded = load("format.yaml", include_str!("format.yaml"), &Variables::new().set("DATABASE_URL", "x"));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors:?}"));
    let [nightly] = &loaded.schedules[..] else { panic!("one schedule") };
    assert_eq!((nightly.name.as_str(), nightly.cron.text()), ("nightly", "15 3 * * *"));
    assert_eq!(nightly.reprocess, Reprocess::Last(2 * 86_400_000_000));
}

#[test]
fn a_schedule_says_what_it_is_to_do_and_what_it_does_not_say_is_the_default() {
    let with = |text: &str| {
        good(&CLICKS.replace(
            "owner: data",
            &format!("schedules: {{a: {{cron: \"*/5 * * * *\", timezone: Asia/Shanghai, {text}}}}}"),
        ))
    };
    assert_eq!(with("reprocess: stale").schedules[0].reprocess, Reprocess::Stale);
    let loaded = with("reprocess: previous_interval");
    assert_eq!(loaded.plan.definition, good(CLICKS).plan.definition, "it is no part of the definition");
    let plain = loaded.schedules[0].clone();
    assert_eq!(
        (plain.reprocess, plain.catch_up, plain.overlap),
        (Reprocess::PreviousInterval, CatchUp::Latest, Overlap::Skip)
    );
    assert_eq!((plain.retry, plain.jitter, plain.verify), (None, 0, false));
    assert!(plain.on_success.is_none() && plain.on_failure.is_none());
    let full = with(
        "reprocess: {from: \"2026-01-01\", to: \"2026-01-02T00:00:00+08:00\"}, catch_up: {all: {max: 7}}, overlap: cancel_running, \
         retry: {times: 3, backoff: 90s, on: [environment]}, jitter: 30s, then: verify, on_success: {command: [touch, done]}, \
         on_failure: {webhook: \"https://x.example/y\"}",
    );
    let full = full.schedules[0].clone();
    let day = 86_400_000_000;
    assert_eq!(full.reprocess, Reprocess::Range { from: 20_454 * day, to: 20_455 * day - day / 3 });
    assert_eq!((full.catch_up, full.overlap), (CatchUp::All { max: 7 }, Overlap::CancelRunning));
    assert_eq!(full.retry, Some(Retry { times: 3, backoff: 90_000_000 }));
    assert_eq!((full.jitter, full.verify), (30_000_000, true));
    assert_eq!(full.on_success, Some(Hook::Command(vec!["touch".into(), "done".into()])));
    assert_eq!(full.on_failure, Some(Hook::Webhook("https://x.example/y".into())));
    for (text, catch_up) in [("none", CatchUp::None), ("latest", CatchUp::Latest), ("all", CatchUp::All { max: 1000 })]
    {
        let loaded = with(&format!("reprocess: {{last: 1h}}, retry: {{times: 1}}, catch_up: {text}"));
        assert_eq!(loaded.schedules[0].catch_up, catch_up);
        assert_eq!(loaded.schedules[0].retry, Some(Retry { times: 1, backoff: 60_000_000 }));
    }
}

#[test]
fn steps_stand_in_an_order_that_is_not_the_file_s() {
    let steps = ["  b: {from: clicks}\n", "  a: {from: b}\n", "  d: {from: clicks}\n", "  c: {from: d}\n"];
    let expected = ["b", "a", "d", "c"];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1]] {
        let text: String = order.iter().map(|i| steps[*i]).collect();
        let plan = with(&text, "  out: {from: a, stdout: }");
        assert_eq!(plan.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(plan.steps[1].inputs, [Input::Step(0)]);
    }
}

#[test]
fn a_source_reads_only_what_something_asks_for() {
    let plan = with(
        "  w: {from: clicks, window: {tumbling: {size: 1m}}, aggregate: {n: count(*)}}",
        "  out: {from: w, stdout: {}}",
    );
    assert_eq!(plan.sources[0].needed, ["at"]);
    let plan = with("  r: {from: clicks, where: user_id > 0, drop: [page]}", "  out: {from: r, stdout: }");
    assert_eq!(plan.sources[0].needed, ["user_id", "amount", "at"]);
    assert_eq!(names(&plan.steps[0].schema), ["user_id", "amount", "at"]);
    let plan = with("  r: {from: clicks, where: user_id > 0}", "  out: {from: r, select: [page], stdout: }");
    assert_eq!(
        plan.sources[0].needed,
        ["user_id", "page", "amount", "at"],
        "the digest of `r` is over all its columns"
    );
    let plan =
        with("  r: {from: clicks, derive: {amount: 'user_id + 1'}}", "  out: {from: r, select: [amount], stdout: }");
    assert_eq!(plan.sources[0].needed, ["user_id", "page", "at"]);
    let plan = with("  r: {from: clicks}", "  out: {from: clicks.bad, stdout: }");
    assert_eq!(plan.sources[0].needed, ["at"]);
    let plan = with(
        "  w: {from: clicks, window: {tumbling: {size: 1m}}, aggregate: {n: count(*) filter (where user_id > 0)}}",
        "  out: {from: w, stdout: {}}",
    );
    assert_eq!(plan.sources[0].needed, ["user_id", "at"]);
}

#[test]
fn rows_of_records_are_written_with_their_position_first() {
    let plan = with("  r: {from: clicks, select: [page]}", "  out: {from: r, kafka: {brokers: b, topic: t}}");
    assert_eq!(names(&plan.sinks[0].schema), ["_partition", "_offset", "page"]);
    assert_eq!(plan.sinks[0].identity, ["_partition", "_offset"]);
    assert_eq!(names(&plan.steps[0].schema), ["page"]);
    let plan = with("  r: {from: clicks}", "  out: {from: r, select: [page, _offset], stdout: }");
    assert_eq!(names(&plan.sinks[0].schema), ["_partition", "_offset", "page"]);
    assert_eq!(plan.sinks[0].select.as_ref().unwrap().len(), 1);
}

#[test]
fn the_log_s_own_columns_are_carried_where_they_are_read() {
    let plan = with(
        "  a: {from: clicks}\n  b: {from: a, window: {tumbling: {size: 1m}}, group_by: [_partition]}",
        "  out: {from: b, stdout: }",
    );
    assert_eq!(names(&plan.steps[0].row_schema), ["user_id", "page", "amount", "at", "_partition"]);
    assert_eq!(names(&plan.steps[0].schema), ["user_id", "page", "amount", "at"]);
    assert_eq!(names(&plan.steps[1].schema), ["window_start", "window_end", "_partition"]);
    let plan = with("  a: {from: clicks}", "  out: {from: a, where: '_timestamp > at', stdout: }");
    assert_eq!(names(&plan.steps[0].schema), ["user_id", "page", "amount", "at", "_timestamp"]);
    assert_eq!(names(&plan.sinks[0].schema), ["_partition", "_offset", "user_id", "page", "amount", "at"]);
    assert!(plan.sources[0].needs_timestamp());
    let plan = with("  a: {from: clicks, select: [{log_time: _timestamp}]}", "  out: {from: a, stdout: }");
    assert_eq!(names(&plan.sinks[0].schema), ["_partition", "_offset", "log_time"]);
}

#[test]
fn late_and_bad_rows_are_inputs_of_sinks() {
    let plan = good(CLICKS).plan;
    let late = sink(&plan, "late");
    assert_eq!(late.input, Input::StepLate(1));
    assert_eq!(names(&late.schema), ["_partition", "_offset", "user_id", "page", "amount", "at", "_late"]);
    assert_eq!(plan.sources[0].needed, ["user_id", "page", "amount", "at"]);
    let bad = "  bad: {from: clicks.bad, stdout: }\n  failed: {from: w.bad, stdout: }\n  over: {from: v.bad, stdout: }";
    let steps =
        "  w: {from: clicks, window: {tumbling: {size: 1m}}, group_by: [page]}\n  v: {from: w, where: page = 'x'}";
    let plan = with(steps, bad);
    assert_eq!(names(&sink(&plan, "bad").schema), ["_partition", "_offset", "_bad", "_key", "_raw"]);
    assert_eq!(
        names(&sink(&plan, "failed").schema),
        ["_partition", "_offset", "user_id", "page", "amount", "at", "_bad"]
    );
    assert_eq!(names(&sink(&plan, "over").schema), ["window_start", "window_end", "page", "_bad"]);
}

#[test]
fn an_identity_survives_as_long_as_its_columns_do() {
    let steps = "  w: {from: clicks, window: {tumbling: {size: 1m}}, group_by: [page], aggregate: {n: count(*)}}\n  v: {from: w, ";
    let identity =
        |work: &str| with(&format!("{steps}{work}}}"), "  out: {from: v, stdout: }").sinks[0].identity.clone();
    assert_eq!(identity("where: n > 1"), ["window_start", "window_end", "page"]);
    assert_eq!(identity("select: [window_start, window_end, {p: page}]"), ["window_start", "window_end", "p"]);
    assert_eq!(identity("derive: {n: n + 1}"), ["window_start", "window_end", "page"]);
    assert!(identity("derive: {page: \"coalesce(page, 'x')\"}").is_empty());
    assert!(identity("drop: [window_end]").is_empty());
    assert!(identity("select: [page, n]").is_empty());
}

#[test]
fn window_rows_can_be_grouped_again_by_their_window() {
    let steps = "  w: {from: clicks, window: {tumbling: {size: 1m}}, group_by: [page, user_id], aggregate: {n: count(*)}}\n  \
                 v: {from: w, window: same, group_by: [page, {inner: window_start}], aggregate: {n: sum(n), users: count(*)}, having: n > users}";
    let plan = with(steps, "  out: {from: v, stdout: }");
    assert_eq!(window(&plan, "v").windowing, Windowing::Same);
    assert_eq!(names(&step(&plan, "v").schema), ["window_start", "window_end", "page", "inner", "n", "users"]);
    assert_eq!(window(&plan, "v").calls.len(), 2);
}

#[test]
fn columns_say_where_they_stand_and_how_they_are_written() {
    let columns = "schema: {user_id: {type: int64!, from: value.user.id}, page: {type: string!, from: key}, \
                   amount: {type: \"decimal(18,2)\", null_as: ['', n/a]}, h: {type: string, from: header.trace-id}, whole: {type: string, from: value}, \
                   at: {type: timestamp!, format: epoch_us}, b: {type: timestamp, format: '%Y-%m-%d', timezone: UTC}}";
    let old = "schema: {user_id: int64!, page: string!, amount: float64, at: timestamp!}";
    let source = good(&CLICKS.replace(old, columns)).plan.sources.remove(0);
    let from: Vec<&ValueFrom> = source.columns.iter().map(|column| &column.from).collect();
    assert_eq!(*from[0], ValueFrom::Path(vec!["user".into(), "id".into()]));
    assert_eq!(
        (from[1], from[3], from[4]),
        (&ValueFrom::Key, &ValueFrom::Header("trace-id".into()), &ValueFrom::Value)
    );
    assert_eq!(*from[2], ValueFrom::Path(vec!["amount".into()]));
    assert_eq!(source.columns[2].field.data_type, DataType::Decimal(18, 2));
    assert_eq!(source.columns[2].null_as, ["", "n/a"]);
    assert_eq!(source.columns[5].format, TimeFormat::EpochMicros);
    assert_eq!(source.columns[6].format, TimeFormat::Pattern("%Y-%m-%d".into()));
}

#[test]
fn several_sources_have_their_own_partitions_and_steps() {
    let second = "  buys:\n    journal: {path: j}\n    schema: {total: float64, t: timestamp!}\n    event_time: {column: t}\n    partitions: [2, 0]\n    on_bad_record: fail\nsteps:\n  sums: {from: buys, window: {tumbling: {size: 1h}}, aggregate: {s: sum(total)}, allowed_lateness: 5m}\n";
    let plan = good(&CLICKS.replace("steps:\n", second)).plan;
    assert_eq!(plan.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["buys", "clicks"]);
    assert_eq!(plan.sources[0].partitions, Some(vec![0, 2]));
    assert_eq!((plan.sources[0].on_bad, plan.sources[0].out_of_orderness), (OnBad::Fail, 0));
    assert_eq!(step(&plan, "sums").sources, [0]);
    assert_eq!(step(&plan, "top_pages").sources, [1]);
    assert_eq!(window(&plan, "sums").allowed_lateness, 300_000_000);
    assert_eq!(plan.sources[0].needed, ["total", "t"]);
}

#[test]
fn a_union_reads_inputs_with_the_same_columns() {
    let plan = with(
        "  all: {from: [good, bad], tag: kind, window: {tumbling: {size: 1m}}, group_by: [kind], aggregate: {n: count(*)}}\n  bad: {from: clicks, where: amount < 0}\n  good: {from: clicks, where: amount >= 0, select: [at, user_id, amount, page]}",
        "  out: {from: all, stdout: }",
    );
    let all = step(&plan, "all");
    let inputs: Vec<&str> = all.inputs.iter().map(|input| plan.name_of(*input)).collect();
    assert_eq!((inputs, all.tag.as_deref()), (vec!["bad", "good"], Some("kind")));
    let other = with(
        "  all: {from: [bad, good], tag: kind, window: {tumbling: {size: 1m}}, group_by: [kind], aggregate: {n: count(*)}}\n  bad: {from: clicks, where: amount < 0}\n  good: {from: clicks, where: amount >= 0, select: [at, user_id, amount, page]}",
        "  out: {from: all, stdout: }",
    );
    assert_eq!(plan.definition, other.definition);
}

#[test]
fn words_that_other_yaml_takes_for_truth_stay_words() {
    let plan = with(
        "  no: {from: clicks, where: page = 'on', select: [{yes: page}, {y: user_id}]}",
        "  off: {from: no, stdout: }",
    );
    assert_eq!(names(&plan.steps[0].schema), ["yes", "y"]);
    assert_eq!((plan.steps[0].name.as_str(), plan.sinks[0].name.as_str()), ("no", "off"));
}

#[test]
fn x_keys_are_ignored_everywhere() {
    let text = CLICKS
        .replace("owner: data", "x-anything: {a: [1, 2]}\nowner: data")
        .replace("topic: clicks}", "topic: clicks, x-b: \"${NOT_DECLARED}\"}");
    assert_eq!(good(&text).plan.definition, good(CLICKS).plan.definition);
}

#[test]
fn what_nothing_reads_is_a_warning() {
    let loaded = good(&CLICKS.replace("  hot: {from: top_pages, kafka: {brokers: b, topic: hot}}\n", ""));
    let messages: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["the variable `PASSWORD` is not used", "nothing reads the step `top_pages`"]);
}

#[test]
fn sinks_in_which_a_schedule_can_replace_no_range_are_a_warning() {
    let schedules = "schedules:\n  nightly: {cron: \"0 3 * * *\", timezone: UTC, reprocess: {last: 2d}}\nsinks:\n";
    let (head, _) = SMALL.split_once("sinks:\n").unwrap();
    let warned = |schedules: &str, sinks: &str| {
        let text = format!("{head}  rows: {{from: clicks}}\n{schedules}{sinks}");
        let warnings = good(&text).warnings;
        let found = warnings.into_iter().filter(|warning| warning.code == Code::Unsupported);
        let at = |warning: &engine::Error| warning.place.as_ref().map(|place| text[place.start..place.end].to_string());
        found
            .map(|warning| (warning.message.clone(), at(&warning).unwrap(), warning.help.is_some()))
            .collect::<Vec<_>>()
    };
    let rows = "  all: {from: rows, jsonl: {path: a}}\n";
    assert_eq!(warned("sinks:\n", rows), [], "without schedules nothing is replaced");
    let message = "no range of `all` can be replaced: its rows do not say in which window they are";
    assert_eq!(warned(schedules, rows), [(message.to_string(), "all".to_string(), true)]);
    let views = "  views: {from: per_page, select: [page, views], parquet: {path: b}}\n";
    assert_eq!(warned(schedules, views).len(), 1);
    let topic = "  topic: {from: per_page, kafka: {brokers: b, topic: t}}\n";
    assert!(warned(schedules, topic)[0].0.contains("adds the rows of its range to the topic of `topic` once more"));
    let fine = "  good: {from: per_page, parquet: {path: b}}\n  late: {from: per_page.late, csv: {path: c}}\n  \
                bad: {from: clicks.bad, csv: {path: d}}\n  seen: {from: rows, stdout: {}}\n";
    assert_eq!(warned(schedules, fine), []);
}

#[test]
fn sink_settings_are_passed_on_as_written() {
    let kafka =
        "kafka: {brokers: b, topic: hot, key: [page, views], open_rows: true, options: {linger.ms: 5, acks: all}}";
    let plan = good(&CLICKS.replace("kafka: {brokers: b, topic: hot}", kafka)).plan;
    let settings: Vec<(&str, &str)> =
        sink(&plan, "hot").target.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        settings,
        [
            ("brokers", "b"),
            ("key", "page,views"),
            ("open_rows", "true"),
            ("options.acks", "all"),
            ("options.linger.ms", "5"),
            ("topic", "hot")
        ]
    );
}

#[test]
fn limits_are_kept() {
    let long = format!("{CLICKS}# {}", "x".repeat(1 << 20));
    let deep = format!("x-deep: {}{}\n{CLICKS}", "[".repeat(40), "]".repeat(40));
    for text in [long, deep] {
        let Err(errors) = load("big.yaml", &text, &Variables::new()) else { panic!("accepted") };
        assert_eq!(errors[0].code, Code::Yaml);
        assert_eq!(errors.len(), 1);
    }
}

#[test]
fn hostile_texts_are_read_in_time_that_follows_their_size() {
    let open = format!("x-a: [{}]\n{CLICKS}", "(,".repeat(200_000));
    assert_eq!(good(&open).plan.definition, good(CLICKS).plan.definition);
    let unknown: String = (0..20_000).map(|i| format!("u{i}: 1\n")).collect();
    let Err(errors) = load("p.yaml", &format!("{CLICKS}{unknown}"), &Variables::new()) else {
        panic!("unknown fields")
    };
    assert_eq!(errors.len(), 51);
    assert_eq!(errors[50].message, "and 19950 more errors, which are not shown");
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_change_nothing() {
    let text = format!("\u{feff}{}", CLICKS.replace('\n', "\r\n"));
    assert_eq!(good(&text).plan.definition, good(CLICKS).plan.definition);
}

#[test]
fn a_comparison_with_null_is_warned_of() {
    for (condition, is_odd) in [
        ("page = null", true),
        ("null <> page", true),
        ("(user_id > null) or page = 'x'", true),
        ("page is not null", false),
        ("page = ' = null'", false),
        ("page is distinct from null", false),
        ("coalesce(amount, null) > 1", false),
    ] {
        let warnings = good(&CLICKS.replace("page <> ''", &format!("\"{condition}\""))).warnings;
        assert_eq!(warnings.iter().any(|warning| warning.message.contains("never true")), is_odd, "{condition}");
    }
}

#[test]
fn a_lookup_is_by_what_its_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages.csv");
    let steps = |on: &str, take: &str| {
        let file = path.display();
        CLICKS.replace("where: page <> ''", &format!("lookup: {{file: \"{file}\", on: [{on}], take: [{take}]}}"))
    };
    let errors = |on: &str, take: &str| match load("p.yaml", &steps(on, take), &Variables::new()) {
        Ok(_) => panic!("{on}, {take}"),
        Err(errors) => errors.iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n"),
    };
    std::fs::write(&path, "page,id,title\n/a,1,\"Home, sweet\"\n/b,2,\n").unwrap();
    let plan = good(&steps("page", "title")).plan;
    let Work::Lookup(lookup) = &step(&plan, "cleaned").work else { panic!("it looks values up") };
    assert_eq!((lookup.table.len(), names(&step(&plan, "cleaned").schema).last().copied()), (2, Some("title")));
    assert_eq!(good(&steps("{user_id: id}", "{heading: title}")).plan.steps.len(), 4);
    let plan_of = |take: &str| good(&steps("page", take)).plan;
    let typed = plan_of("{number: cast(id as int64)}");
    let Work::Lookup(number) = &step(&typed, "cleaned").work else { panic!("it looks values up") };
    assert_eq!((number.take[0].data_type, number.taken[0].as_str()), (DataType::Int64, "cast(id as int64)"));
    assert_ne!(typed.definition, plan_of("{number: id}").definition);
    assert_eq!(typed.definition, plan_of("{number: 'CAST( id AS int64 )'}").definition);
    assert!(errors("page", "{n: cast(title as int64)}").contains("row 1 of the file"), "a text that is no number");
    assert!(errors("page", "{n: cast(idd as int64)}").contains("did you mean `id`?"));
    assert!(errors("page", "{n: cast(page as timestamp) > now()}").contains("now"));
    assert!(errors("page", "cast(id as int64)").contains("an expression needs a name"));
    assert!(errors("{user_id: title}", "id").contains("row 1 of the file"), "text that is no number");
    assert!(errors("{user_id: idd}", "title").contains("did you mean `id`?"));
    assert!(errors("page", "page").contains("there is a column `page` already"));
    assert!(errors("amount", "title").contains("no column `amount`"), "the file has none");

    let copy = folder.path().join("copy.csv");
    std::fs::copy(&path, &copy).unwrap();
    let of_copy = good(&steps("page", "title").replace("pages.csv", "copy.csv")).plan;
    assert_eq!(of_copy.definition, plan.definition, "the path is no part of the definition");
    std::fs::write(&path, "page,id,title\n/a,1,Home\n/b,2,\n").unwrap();
    assert_ne!(good(&steps("page", "title")).plan.definition, plan.definition, "the contents are");
    std::fs::write(&path, "page,title\n/a,1\n,2\n,3\n/a,4\n").unwrap();
    assert!(errors("page", "title").contains("one key twice, in its rows 1 and 4"));
}
