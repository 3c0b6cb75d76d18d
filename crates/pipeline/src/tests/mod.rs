//! Whole files: a good one becomes the plan it means, wrong ones are told what is wrong and where.

mod cases;
mod digests;
mod explode;
mod faces;
mod joins;
mod plans;
mod reach;
mod settled;
mod wrong;

use engine::plan::{Input, Plan, Work};

use crate::{Loaded, Variables, load};

pub(crate) const SMALL: &str = "\
version: 1
name: page_views
sources:
  clicks:
    kafka: {brokers: \"localhost:9092\", topic: clicks}
    format: json
    schema: {page: string!, user_id: int64, amount: float64, extra: string, at: timestamp!}
    event_time: {column: at, out_of_orderness: 30s}
steps:
  per_page:
    from: clicks
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: count(*), revenue: sum(amount)}
sinks:
  out: {from: per_page, jsonl: {path: out/page_views.jsonl}}
";

/// A file with some of everything, which the cases of wrong files change.
pub(crate) const CLICKS: &str = "\
version: 1
name: clicks_per_page
owner: data
vars:
  BROKERS: {default: \"localhost:9092\"}
  PASSWORD: {secret: true}
sources:
  clicks:
    kafka: {brokers: \"${BROKERS}\", topic: clicks}
    schema: {user_id: int64!, page: string!, amount: float64, at: timestamp!}
    event_time: {column: at, out_of_orderness: 30s}
steps:
  cleaned:
    from: clicks
    where: page <> ''
  per_page:
    from: cleaned
    window: {tumbling: {size: 1m}}
    group_by: [page]
    aggregate: {views: count(*)}
    having: views > 1
  visits:
    from: cleaned
    window: {session: {gap: 30m}}
    group_by: [user_id]
    aggregate: {n: count(*)}
  top_pages:
    from: per_page
    window: {hopping: {size: 10m, every: 1m}}
    group_by: [page]
    aggregate: {views: sum(views)}
    top: {n: 10, by: [{views: desc}]}
sinks:
  per_page: {from: per_page, parquet: {path: out/per_page}}
  hot: {from: top_pages, kafka: {brokers: b, topic: hot}}
  visits: {from: visits, jsonl: {path: out/visits}}
  late: {from: per_page.late, jsonl: {path: out/late.jsonl}}
";

pub(crate) fn good(text: &str) -> Loaded {
    load("test.yaml", text, &Variables::new()).unwrap_or_else(|errors| {
        let errors: Vec<String> = errors.iter().map(|error| format!("{error:?}")).collect();
        panic!("{}\n{text}", errors.join("\n"))
    })
}

fn names(schema: &engine::Schema) -> Vec<&str> {
    schema.fields.iter().map(|field| field.name.as_str()).collect()
}

#[test]
fn a_source_a_window_and_a_sink_become_a_plan() {
    let Plan { sources, steps, sinks, definition, .. } = good(SMALL).plan;
    assert_eq!(sources[0].needed, ["page", "amount", "at"]);
    assert_eq!(sources[0].out_of_orderness, 30_000_000);
    assert_eq!(steps[0].inputs, [Input::Source(0)]);
    assert_eq!(names(&steps[0].schema), ["window_start", "window_end", "page", "views", "revenue"]);
    let Work::Window(window) = &steps[0].work else { panic!("a window") };
    assert_eq!(window.keys[0].0, "page");
    assert_eq!(window.calls.len(), 2);
    assert_eq!(sinks[0].identity, ["window_start", "window_end", "page"]);
    assert_eq!(sinks[0].target.settings["path"], "out/page_views.jsonl");
    assert_eq!(definition.len(), 32);
}
