//! Nested types and `explode` in pipeline files.

use engine::plan::Explode;

use super::{good, names};
use crate::{Variables, load};

const TAGS: &str = "\
version: 1
name: tags
sources:
  posts:
    journal: {path: posts}
    schema:
      tags: list<string>
      nested: list<list<int64>>
      author: \"struct<id: int64, name: string>\"
      extra: json!
      at: timestamp!
    event_time: {column: at}
steps:
  per_post:
    from: posts
    explode: {tags: tag}
    where: \"tag <> ''\"
    select: [tag, {id: author.id}]
  per_tag:
    from: per_post
    window: {tumbling: {size: 1h}}
    group_by: [tag]
    aggregate: {posts: \"count(*)\", ids: \"min([id])\"}
  again:
    from: per_tag
    explode: {ids: id}
sinks:
  posts: {from: per_post, jsonl: {path: out/posts}}
  late: {from: per_tag.late, jsonl: {path: out/late}}
  bad: {from: per_post.bad, jsonl: {path: out/bad}}
  again: {from: again, jsonl: {path: out/again}}
";

#[test]
fn exploded_rows_have_the_element_and_an_index() {
    let plan = good(TAGS).plan;
    let step = |name: &str| plan.steps.iter().find(|step| step.name == name).unwrap();
    assert_eq!(step("per_post").rows.explode, Some(Explode { list: "tags".into(), element: "tag".into() }));
    assert!(step("per_post").rows.is_indexed && step("per_tag").rows.is_indexed && !step("again").rows.is_indexed);
    let sink = |name: &str| names(&plan.sinks.iter().find(|sink| sink.name == name).unwrap().schema);
    assert_eq!(sink("posts"), ["_partition", "_offset", "_index", "tag", "id"]);
    assert_eq!(sink("late"), ["_partition", "_offset", "_index", "tag", "id", "_late"]);
    assert_eq!(sink("bad"), ["_partition", "_offset", "_index", "tag", "nested", "author", "extra", "at", "_bad"]);
    assert_eq!(sink("again"), ["window_start", "window_end", "tag", "posts", "id"]);
    assert_eq!(
        plan.sinks.iter().find(|sink| sink.name == "posts").unwrap().identity,
        ["_partition", "_offset", "_index"]
    );
    assert_eq!(plan.sources[0].needed, ["tags", "nested", "author", "extra", "at"], "the bad rows ask for all");
}

#[test]
fn what_cannot_be_exploded_is_refused() {
    for (explode, code, words) in [
        ("{extra: x}", "E_TYPE", "`cast(x as list<json>)`"),
        ("{at: x}", "E_TYPE", "only a list has elements"),
        ("{tag: x}", "E_NAME", "did you mean `tags`?"),
        ("{tags: author}", "E_NAME", "already"),
        ("{tags: _index}", "E_NAME", "exploded rows have a column"),
        ("{tags: a-b}", "E_NAME", "column name"),
        ("{tags: a, nested: b}", "E_FIELD", "names one list"),
        ("tags", "E_FIELD", "`explode: {tags: tag}`"),
    ] {
        let text = TAGS.replace("explode: {tags: tag}", &format!("explode: {explode}"));
        let Err(errors) = load("tags.yaml", &text, &Variables::new()) else { panic!("{explode} is accepted") };
        let shown =
            format!("{} {} {}", errors[0].code.name(), errors[0].message, errors[0].help.clone().unwrap_or_default());
        assert!(shown.starts_with(code) && shown.contains(words), "{explode}: {shown}");
    }
    let twice = TAGS.replace("    window: {tumbling", "    explode: {tag: x}\n    window: {tumbling");
    let Err(errors) = load("tags.yaml", &twice, &Variables::new()) else { panic!("exploded twice") };
    assert!(errors[0].message.contains("elements of exploded records already"), "{}", errors[0].message);
}

#[test]
fn the_index_cannot_be_named_and_the_way_round_is_told() {
    for (old, new) in [
        ("select: [tag, {id: author.id}]", "select: [tag, _index, {id: author.id}]"),
        ("where: \"tag <> ''\"", "where: \"_index = 0\""),
        ("group_by: [tag]", "group_by: [tag, _index]"),
        ("posts: \"count(*)\"", "posts: \"max(_index)\""),
    ] {
        let Err(errors) = load("p.yaml", &TAGS.replacen(old, new, 1), &Variables::new()) else { panic!("{new}") };
        let help = errors[0].help.clone().unwrap_or_default();
        assert!(help.contains("explode: {places: place}"), "{new}: {} {help}", errors[0].message);
    }
    // What it tells to do can be done.
    let numbered = TAGS
        .replacen("  per_post:\n    from: posts\n    explode: {tags: tag}\n", "  numbered:\n    from: posts\n    derive: {places: \"range(1, list_length(tags) + 1)\"}\n  per_post:\n    from: numbered\n    explode: {places: place}\n    derive: {tag: \"tags[place]\"}\n", 1)
        .replacen("    where: \"tag <> ''\"\n", "", 1);
    assert!(good(&numbered).plan.steps.iter().any(|step| step.name == "numbered"));
}
