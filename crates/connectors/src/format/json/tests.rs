//! Tests of the decoder: a table of odd inputs, serde_json and `str::parse` as oracles, and the law that batches do not
//! matter.

use arrow::array::{Array, AsArray, RecordBatch};
use engine::log::{Chunk, RawRecords};
use engine::plan::{Bindings, ColumnPlan, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom};
use engine::value::{DataType, Field};

use crate::format::{Encoded, REASONS, codec, decode};
use crate::records::{Header, RawBuilder, clip};

/// A column as in a pipeline file: `name: type!`.
pub(crate) fn column(text: &str) -> ColumnPlan {
    let (name, kind) = text.split_once(':').unwrap();
    let (name, kind) = (name.trim(), kind.trim());
    let data_type = DataType::parse(kind.trim_end_matches('!')).unwrap();
    ColumnPlan {
        field: Field { name: name.into(), data_type, nullable: !kind.ends_with('!') },
        from: ValueFrom::Path(vec![name.into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    }
}

/// A source of those columns, all needed; event time is `_timestamp`.
pub(crate) fn source(columns: Vec<ColumnPlan>) -> SourcePlan {
    SourcePlan {
        name: "test".into(),
        needed: columns.iter().map(|column| column.field.name.clone()).collect(),
        tombstones: false,
        columns,
        format: "json".into(),
        event_time: "_timestamp".into(),
        out_of_orderness: 0,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
    }
}

pub(crate) fn records<V: AsRef<[u8]>>(values: &[V]) -> RawRecords {
    let mut builder = RawBuilder::new(0);
    for (i, value) in values.iter().enumerate() {
        builder.push(i as i64, 1_000 * i as i64, None, Some(value.as_ref()), Vec::new());
    }
    builder.finish()
}

/// Returns a decoded row as JSON text, or its reason.
pub(crate) fn shown(chunk: &Chunk, row: usize) -> String {
    if let Some(bad) = chunk.bad.iter().find(|bad| bad.row as usize == row) {
        return bad.reason.clone();
    }
    let mut out = Vec::new();
    super::write_row(&chunk.columns, row, &mut out);
    String::from_utf8(out).unwrap()
}

fn one(source: &SourcePlan, value: &str) -> String {
    shown(&decode(source, &records(&[value])).unwrap(), 0)
}

#[test]
fn a_record_becomes_a_row_and_the_row_the_same_record() {
    let source = source(
        ["a: int64!", "b: string", "c: float64", "d: timestamp", "e: decimal(5,2)", "f: binary", "g: date", "h: bool"]
            .map(column)
            .into(),
    );
    let text = r#"{"a":1,"b":"x\n\"é","c":1.5,"d":"1969-12-31T23:59:59.999999Z","e":"-1.20","f":"AAE=","g":"2024-02-29","h":true}"#;
    assert_eq!(one(&source, text), text);
    let chunk = decode(&source, &records(&[text])).unwrap();
    let mut record = Encoded::default();
    codec(&source).unwrap().encode(&chunk.columns, 0, &mut record).unwrap();
    assert_eq!(String::from_utf8(record.value.unwrap()).unwrap(), text);
}

/// Returns the bytes of a text of the table.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let (inside, after) = after.split_once(">>").unwrap();
        out.extend_from_slice(before.as_bytes());
        match inside.rsplit_once('*') {
            Some((text, count)) => out.extend_from_slice(text.repeat(count.parse().unwrap()).as_bytes()),
            None => out.extend(inside.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap())),
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The lines of the table: source, value, and what is expected of it.
fn table() -> Vec<(String, SourcePlan, Vec<u8>, String)> {
    let parse = |line: &str| {
        let parts: Vec<&str> = line.split(" ⇒ ").collect();
        let [kind, value, expected] = parts[..] else { panic!("not three parts: {line}") };
        let (kind, format) = kind.split_once(' ').unwrap_or((kind, ""));
        let mut plan = column(&format!("v: {kind}"));
        plan.format = match format {
            "" => TimeFormat::Default,
            "rfc3339" => TimeFormat::Rfc3339,
            "epoch_s" => TimeFormat::EpochSeconds,
            "epoch_ms" => TimeFormat::EpochMillis,
            "epoch_us" => TimeFormat::EpochMicros,
            pattern => TimeFormat::Pattern(pattern.into()),
        };
        let expected = String::from_utf8(bytes(expected)).unwrap();
        (line.to_string(), source(vec![plan]), bytes(value), expected)
    };
    let text = include_str!("../../../tests-data/json.txt");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse).collect()
}

#[test]
fn odd_and_malformed_records_become_what_the_table_says() {
    let table = table();
    assert!(table.len() >= 300, "the table has {} lines", table.len());
    let mut wrong = Vec::new();
    for (line, source, value, expected) in &table {
        let found = shown(&decode(source, &records(&[value])).unwrap(), 0);
        let found = match found.strip_prefix(r#"{"v":"#).and_then(|rest| rest.strip_suffix('}')) {
            Some(value) => value.to_string(),
            None => format!("!{}", found.split(':').next().unwrap()),
        };
        if found != *expected {
            wrong.push(format!("{line}\n   found: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let codes: std::collections::HashSet<&str> =
        table.iter().filter_map(|(.., expected)| expected.strip_prefix('!')).collect();
    // These need a record without a value, many keys, or are for people only elsewhere.
    for reason in
        REASONS.iter().map(|reason| reason.code()).filter(|code| !["null_value", "too_many_keys"].contains(code))
    {
        assert!(codes.contains(reason), "no line expects {reason}");
    }
    assert!(codes.iter().all(|code| REASONS.iter().any(|reason| reason.code() == *code)));
}

#[test]
fn a_record_decodes_alike_whatever_stands_beside_it() {
    // Columns of every type in one source, and all lines of the table as its records: most are bad, all must agree.
    let columns = ["v: int64", "w: string", "x: float64!", "y: timestamp", "z: decimal(9,3)", "b: bool"].map(column);
    let source = source(columns.into());
    let mut values: Vec<Vec<u8>> =
        table().into_iter().map(|(_, _, value, _)| value).filter(|v| v.len() < 1_000).collect();
    for i in 0..400 {
        let fields = [
            format!(r#""v":{i}"#),
            format!(r#""w":"t\t{i}""#),
            format!(r#""x":{i}.25"#),
            format!(r#""y":{i}000"#),
            format!(r#""z":"{i}.125""#),
            format!(r#""b":{}"#, i % 2 == 0),
            format!(r#""other{}":[{i}]"#, i % 3),
        ];
        // Another order each time, and now and then a field is missing.
        let picked: Vec<&str> = (0..7).map(|k| fields[(k * (i % 6 + 1) + i) % 7].as_str()).collect();
        let mut seen = std::collections::HashSet::new();
        let picked: Vec<&str> =
            picked.into_iter().filter(|field| seen.insert(*field)).skip(usize::from(i % 5 == 0)).collect();
        values.push(format!("{{{}}}", picked.join(",")).into_bytes());
    }
    let raw = records(&values);
    let alone: Vec<String> =
        (0..values.len() as i64).map(|i| shown(&decode(&source, &clip(&raw, i, i + 1)).unwrap(), 0)).collect();
    assert!(alone.iter().filter(|line| line.starts_with('{')).count() > 200);
    for size in [2, 7, 64, values.len()] {
        let mut found = Vec::new();
        for start in (0..values.len()).step_by(size) {
            let chunk = decode(&source, &clip(&raw, start as i64, (start + size) as i64)).unwrap();
            found.extend((0..chunk.len()).map(|row| shown(&chunk, row)));
        }
        assert_eq!(found, alone, "in batches of {size}");
    }
    // The other way round the guesses at the order of keys are others.
    let backward: Vec<Vec<u8>> = values.iter().rev().cloned().collect();
    let chunk = decode(&source, &records(&backward)).unwrap();
    let found: Vec<String> = (0..chunk.len()).rev().map(|row| shown(&chunk, row)).collect();
    assert_eq!(found, alone);
}

#[test]
fn what_is_needed_changes_nothing_but_what_is_built() {
    let mut source = source(["a: int64!", "b: string", "c: timestamp"].map(column).into());
    let values = [r#"{"a":1,"b":"x","c":0}"#, r#"{"a":1,"b":2,"c":0}"#, r#"{"b":"x"}"#, r#"{"a":1,"c":"no"}"#];
    let all = decode(&source, &records(&values)).unwrap();
    source.needed = vec!["a".into(), "_timestamp".into()];
    let some = decode(&source, &records(&values)).unwrap();
    assert_eq!(some.bad, all.bad);
    assert_eq!(some.bad.len(), 3);
    assert_eq!(some.columns.num_columns(), 1);
    source.needed.clear();
    let none = decode(&source, &records(&values)).unwrap();
    assert_eq!((none.columns.num_rows(), none.columns.num_columns(), none.bad), (4, 0, all.bad));
}

#[test]
fn values_stand_in_paths_keys_headers_and_the_whole() {
    let mut plans: Vec<ColumnPlan> =
        ["deep: int64", "flat: string", "key: int64", "head: timestamp", "last: string", "all: string"]
            .map(column)
            .into();
    let path = |text: &str| ValueFrom::Path(text.split('.').map(str::to_string).collect());
    plans[0].from = path("a.b.c");
    plans[1].from = path("a.d");
    plans[2].from = ValueFrom::Key;
    plans[3].from = ValueFrom::Header("h".into());
    plans[4].from = ValueFrom::Header("i".into());
    plans[5].from = ValueFrom::Value;
    plans[1].null_as = vec!["-".into(), "n/a".into()];
    plans[2].null_as = vec!["-1".into()];
    let source = source(plans);
    let header = |name: &str, value: &str| (name.to_string(), Some(value.as_bytes().to_vec()));
    let decoded = |key: Option<&str>, value: &str, headers: Vec<Header>| {
        let mut builder = RawBuilder::new(0);
        builder.push(0, 0, key.map(str::as_bytes), Some(value.as_bytes()), headers);
        shown(&decode(&source, &builder.finish()).unwrap(), 0)
    };
    assert_eq!(
        decoded(
            Some("7"),
            r#"{"a":{"b":{"c":1},"d":"x"}}"#,
            vec![header("h", "1970-01-01T00:00:01Z"), header("i", "é")]
        ),
        r#"{"deep":1,"flat":"x","key":7,"head":"1970-01-01T00:00:01.000000Z","last":"é","all":"{\"a\":{\"b\":{\"c\":1},\"d\":\"x\"}}"}"#
    );
    let nulls = |value: &str| {
        let all = serde_json::to_string(value).unwrap();
        format!(r#"{{"deep":null,"flat":null,"key":null,"head":null,"last":null,"all":{all}}}"#)
    };
    for value in [
        "{}",
        r#"{"a":null}"#,
        r#"{"a":{"b":null}}"#,
        r#"{"a":{"b":{}}}"#,
        r#"{"a":{"d":"-"}}"#,
        r#"{"a":{"d":"n/a"}}"#,
    ] {
        assert_eq!(decoded(Some("-1"), value, vec![]), nulls(value));
    }
    assert!(decoded(None, r#"{"a":1}"#, vec![]).starts_with("not_an_object: `a` is a number"));
    assert!(decoded(None, r#"{"a":{"b":[]}}"#, vec![]).starts_with("not_an_object: `b` is an array"));
    assert!(decoded(Some("x"), "{}", vec![]).starts_with("invalid_number"));
    assert!(decoded(Some(""), "{}", vec![]).starts_with("invalid_number"));
    assert!(decoded(Some("1.0"), "{}", vec![]).starts_with("not_an_integer"));
    // An integer is epoch milliseconds there too, and of several headers of one name the last counts.
    let text = decoded(None, "{}", vec![header("h", "x"), header("h", "1000"), ("i".into(), None)]);
    assert!(text.contains(r#""head":"1970-01-01T00:00:01.000000Z","last":null"#), "{text}");
    let mut builder = RawBuilder::new(0);
    builder.push(0, 0, Some(&[0xff]), Some(b"{}"), vec![]);
    builder.push(1, 0, None, None, vec![]);
    let chunk = decode(&source, &builder.finish()).unwrap();
    assert!(shown(&chunk, 0).starts_with("invalid_utf8"));
    assert_eq!(shown(&chunk, 1), "null_value");
}

#[test]
fn a_record_without_a_value_keeps_what_stands_beside_it() {
    let mut key = column("id: int64!");
    key.from = ValueFrom::Key;
    let mut header = column("h: string");
    header.from = ValueFrom::Header("h".into());
    let source = source(vec![key, header, column("n: int64!")]);
    let mut builder = RawBuilder::new(0);
    builder.push(0, 0, Some(b"7"), None, vec![("h".into(), Some(b"x".to_vec()))]);
    builder.push(1, 0, None, None, vec![]);
    builder.push(2, 0, Some(b"seven"), None, vec![]);
    builder.push(3, 0, Some(b"8"), Some(b"{}"), vec![]);
    let chunk = decode(&source, &builder.finish()).unwrap();
    let reasons: Vec<&str> = chunk.bad.iter().map(|bad| bad.reason.split(':').next().unwrap()).collect();
    assert_eq!(reasons, [engine::log::NULL_VALUE, "null_in_required", "invalid_number", "null_in_required"]);
    let is_alone: Vec<bool> = chunk.bad.iter().map(engine::log::BadRow::is_without_value).collect();
    assert_eq!(is_alone, [true, false, false, false]);
    let mut line = Vec::new();
    super::write_row(&chunk.columns, 0, &mut line);
    assert_eq!(String::from_utf8(line).unwrap(), r#"{"id":7,"h":"x","n":null}"#);
}

#[test]
fn a_scalar_may_be_the_whole_value() {
    let mut plan = column("v: float64!");
    plan.from = ValueFrom::Value;
    let source = source(vec![plan]);
    assert_eq!(one(&source, " 1.5 "), r#"{"v":1.5}"#);
    assert_eq!(one(&source, "\"NaN\""), r#"{"v":"NaN"}"#);
    assert!(one(&source, "{}").starts_with("wrong_type"));
    assert!(one(&source, "null").starts_with("null_in_required"));
    assert!(one(&source, "1.5 2").starts_with("trailing_bytes"));
}

#[test]
fn many_keys_are_compared_and_counted() {
    let source = source(vec![column("v: int64")]);
    let keys = |from: usize, to: usize| (from..to).map(|i| format!(r#""k{i}":0"#)).collect::<Vec<_>>().join(",");
    assert_eq!(one(&source, &format!(r#"{{"v":1,{}}}"#, keys(0, 9_999))), r#"{"v":1}"#);
    assert!(one(&source, &format!(r#"{{"v":1,{}}}"#, keys(0, 10_000))).starts_with("too_many_keys"));
    for twice in [0, 31, 32, 33, 500, 998] {
        assert!(one(&source, &format!(r#"{{{},"k{twice}":0}}"#, keys(0, 1_000))).starts_with("duplicate_key"));
        assert!(one(&source, &format!(r#"{{"w":{{{},"k{twice}":0}}}}"#, keys(0, 1_000))).starts_with("duplicate_key"));
    }
}

#[test]
fn keys_that_need_escapes_in_text_are_found() {
    let mut plans: Vec<ColumnPlan> = ["a: int64", "b: int64", "c: int64"].map(column).into();
    for (plan, key) in plans.iter_mut().zip(["q\":1,\"b", "back\\slash", "new\nline"]) {
        plan.from = ValueFrom::Path(vec![key.into()]);
    }
    let source = source(plans);
    let text = r#"{"q\":1,\"b":1,"back\\slash":2,"new\nline":3}"#;
    assert_eq!(one(&source, text), r#"{"a":1,"b":2,"c":3}"#);
    let twice = decode(&source, &records(&[text, r#"{"q":1,"b":2}"#])).unwrap();
    assert_eq!(shown(&twice, 1), r#"{"a":null,"b":null,"c":null}"#);
}

/// A small generator of pseudo-random numbers (SplitMix64), so that failures repeat.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Decodes texts as float64 and compares the bits with `str::parse`.
fn compare_floats(texts: &[String]) {
    let values: Vec<String> = texts.iter().map(|text| format!(r#"{{"v":{text}}}"#)).collect();
    let chunk = decode(&source(vec![column("v: float64")]), &records(&values)).unwrap();
    let found = chunk.columns.column(0).as_primitive::<arrow::datatypes::Float64Type>();
    let mut bad = chunk.bad.iter().map(|bad| bad.row as usize).peekable();
    for (row, text) in texts.iter().enumerate() {
        let expected: f64 = text.parse().unwrap();
        if bad.next_if_eq(&row).is_some() {
            assert!(expected.is_infinite() || text.len() > 64, "{text} is a number");
            continue;
        }
        let expected = if expected == 0.0 { 0.0 } else { expected };
        assert_eq!(found.value(row).to_bits(), expected.to_bits(), "{text}");
    }
}

#[test]
fn floats_are_rounded_as_the_standard_library_rounds_them() {
    let rounds: u64 = std::env::var("SAMESTREAM_FLOAT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let mut random = Random(7);
    for _ in 0..rounds {
        let mut texts = Vec::new();
        for _ in 0..10_000 {
            // Every bit pattern, in the shortest text and in one with too many digits.
            let value = f64::from_bits(random.next());
            if value.is_finite() {
                texts.push(format!("{value:?}"));
                texts.push(format!("{value:.30e}"));
            }
            // Digits and exponents of all sizes, and prices.
            let digits = random.next() >> random.below(64);
            texts.push(format!("{digits}e{}", random.below(700) as i64 - 350));
            texts.push(format!("-{}.{:03}", digits % 100_000, random.below(1_000)));
            texts.push(format!("{}.{}", digits, random.next() >> random.below(64)));
            // Halfway between two doubles, and a little beside it.
            let base = f64::from_bits((random.below(0x7fe) << 52) | (random.next() >> 12));
            let half = (base as u64) | 1;
            texts.push(format!("{half}.5"));
            texts.push(format!("{}", (1u64 << 53) + random.below(1 << 20) * 2 + 1));
        }
        compare_floats(&texts);
    }
}

/// A random JSON document without duplicate keys, as serde_json has it.
fn document(random: &mut Random, depth: u32) -> serde_json::Value {
    use serde_json::{Value, json};
    let text = |random: &mut Random| -> String {
        let length = random.below(12);
        (0..length)
            .map(|_| match random.below(8) {
                0 => char::from_u32(random.below(0x20) as u32).unwrap(),
                1 => ['"', '\\', '/', '\u{7f}'][random.below(4) as usize],
                2 => char::from_u32(0x1_0000 + random.below(0x1000) as u32).unwrap(),
                3 => char::from_u32(0x80 + random.below(0x700) as u32).unwrap(),
                _ => char::from_u32(0x20 + random.below(0x5f) as u32).unwrap(),
            })
            .collect()
    };
    match random.below(if depth > 4 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.next() as i64 >> random.below(64)),
        3 => json!(f64::from_bits(random.next()).clamp(-1e300, 1e300)),
        4 | 5 => json!(text(random)),
        6 => (0..random.below(5)).map(|_| document(random, depth + 1)).collect(),
        _ => Value::Object((0..random.below(6)).map(|_| (text(random), document(random, depth + 1))).collect()),
    }
}

#[test]
fn random_documents_are_read_as_serde_json_reads_them() {
    let names = ["i", "f", "s", "b"];
    let source = source(["i: int64", "f: float64", "s: string", "b: bool"].map(column).into());
    let mut random = Random(11);
    let mut good = 0;
    for round in 0..20_000 {
        let mut object = serde_json::Map::new();
        for _ in 0..random.below(9) {
            let name = names[random.below(4) as usize].to_string();
            // Half of the time a value that fits.
            let value = match (name.as_str(), random.below(8)) {
                (_, 0 | 1) => document(&mut random, 0),
                ("i", _) => serde_json::json!(random.next() as i64),
                ("f", _) => serde_json::json!(f64::from_bits(random.next()).clamp(-1e300, 1e300)),
                ("s", _) => serde_json::json!(format!("{}\n", random.next())),
                _ => serde_json::json!(random.below(2) == 0),
            };
            object.insert(name, value);
            object.insert(format!("other {}", random.below(5)), document(&mut random, 0));
        }
        let value = serde_json::Value::Object(object);
        let text = if round % 2 == 0 { value.to_string() } else { serde_json::to_string_pretty(&value).unwrap() };
        let fits = |name: &str, is_type: fn(&serde_json::Value) -> bool| {
            value.get(name).is_none_or(|v| v.is_null() || is_type(v))
        };
        let is_word = |v: &serde_json::Value| matches!(v.as_str(), Some("NaN" | "Infinity" | "-Infinity"));
        let is_good = fits("i", |v| v.is_i64())
            && (fits("f", |v| v.is_number()) || value.get("f").is_some_and(is_word))
            && fits("s", |v| v.is_string())
            && fits("b", |v| v.is_boolean());
        let found = one(&source, &text);
        if !is_good {
            assert!(!found.starts_with('{'), "{text}\n{found}");
            continue;
        }
        good += 1;
        let found: serde_json::Value = serde_json::from_str(&found).unwrap_or_else(|_| panic!("{text}\n{found}"));
        for name in names {
            let (expected, found) = (value.get(name).unwrap_or(&serde_json::Value::Null), &found[name]);
            let is_equal = match (expected.as_f64(), found.as_f64()) {
                (Some(a), Some(b)) if name == "f" => a == b,
                _ => expected == found,
            };
            assert!(is_equal, "{name} of {text}: {found}");
        }
    }
    assert!(good > 5_000, "{good} good documents");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut plans: Vec<ColumnPlan> =
        ["v: int64", "w: string", "x: float64", "t: timestamp", "d: decimal(9,2)", "y: binary"].map(column).into();
    plans[1].from = ValueFrom::Path(vec!["w".into(), "a".into()]);
    let source = source(plans);
    let seeds: Vec<Vec<u8>> =
        table().into_iter().map(|(_, _, value, _)| value).filter(|value| value.len() < 200).collect();
    let mut random = Random(13);
    for _ in 0..200 {
        let values: Vec<Vec<u8>> = (0..200)
            .map(|_| {
                let mut value = seeds[random.below(seeds.len() as u64) as usize].clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(value.len() as u64 + 1) as usize;
                    match random.below(4) {
                        0 => value.truncate(at),
                        1 => value.insert(at, random.next() as u8),
                        2 => value.extend_from_slice(&seeds[random.below(seeds.len() as u64) as usize]),
                        _ if at < value.len() => value[at] ^= 1 << random.below(8),
                        _ => {}
                    }
                }
                value
            })
            .collect();
        let chunk = decode(&source, &records(&values)).unwrap();
        assert_eq!(chunk.columns.num_rows(), 200);
        // What is valid to us is JSON to serde_json too.
        let mut bad = chunk.bad.iter().map(|bad| bad.row as usize).peekable();
        for (row, value) in values.iter().enumerate() {
            if bad.next_if_eq(&row).is_none() {
                let is_json = serde_json::from_slice::<serde_json::Value>(value);
                // It alone refuses numbers beyond float64 in fields that are no columns.
                assert!(
                    is_json.as_ref().map_or_else(|e| e.to_string().contains("out of range"), |_| true),
                    "{value:?}"
                );
            }
        }
    }
}

#[test]
fn encoding_and_decoding_again_gives_the_same_row() {
    let kinds = [
        "int32",
        "int64",
        "float64",
        "decimal(20,4)",
        "string",
        "timestamp",
        "date",
        "binary",
        "bool",
        "json",
        "list<float64>",
        "list<list<timestamp>>",
        "struct<a: decimal(20,4), b: list<string>, c: struct<d: binary, e: date>>",
        "list<struct<a: json, b: bool>>",
    ];
    let mut plans: Vec<ColumnPlan> = Vec::new();
    for (i, kind) in kinds.iter().enumerate() {
        for place in 0..5 {
            let mut plan = column(&format!("c{i}_{place}: {kind}"));
            plan.from = match place {
                0 => ValueFrom::Path(vec![format!("c{i}")]),
                1 => ValueFrom::Path(vec!["in\"ner".into(), format!("c{i}")]),
                2 => ValueFrom::Path(vec!["in\"ner".into(), "deeper".into(), format!("c{i}")]),
                3 => ValueFrom::Header(format!("c{i}")),
                _ if *kind == "timestamp" => ValueFrom::Key,
                _ => ValueFrom::Path(vec![format!("d{i}")]),
            };
            plans.push(plan);
        }
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.6f", "%d/%b/%Y:%H:%M:%S%.6f %z", "%Y-%m-%dT%H:%M:%S%.6f%:z"];
    for (i, pattern) in formats.iter().enumerate() {
        let mut plan = column(&format!("p{i}: timestamp"));
        plan.format = TimeFormat::Pattern((*pattern).into());
        plans.push(plan);
    }
    for (i, format) in [TimeFormat::EpochMicros, TimeFormat::Rfc3339].into_iter().enumerate() {
        let mut plan = column(&format!("q{i}: timestamp"));
        plan.format = format;
        plans.push(plan);
    }
    let source = source(plans);
    let (rows, mut random) = (500, Random(5));
    let batch = random_rows(&source, rows, &mut random);
    let coder = codec(&source).unwrap();
    let mut builder = RawBuilder::new(0);
    let mut record = Encoded::default();
    for row in 0..rows {
        coder.encode(&batch, row, &mut record).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(record.value.as_ref().unwrap()).is_ok());
        builder.push(row as i64, 0, record.key.as_deref(), record.value.as_deref(), record.headers.clone());
    }
    let chunk = coder.decode(&builder.finish());
    assert!(chunk.bad.is_empty(), "{:?}", chunk.bad.first());
    for (i, field) in batch.schema().fields().iter().enumerate() {
        assert_eq!(chunk.columns.column(i).to_data(), batch.column(i).to_data(), "{}", field.name());
    }
}

fn random_rows(source: &SourcePlan, rows: usize, random: &mut Random) -> RecordBatch {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for plan in &source.columns {
        let array = random_array(plan.field.data_type, rows, random);
        fields.push(arrow::datatypes::Field::new(&plan.field.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    crate::records::batch(fields, arrays, rows)
}

fn random_array(data_type: DataType, rows: usize, random: &mut Random) -> arrow::array::ArrayRef {
    use arrow::array::*;
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::DataType as ArrowType;
    use std::sync::Arc;
    let range = super::scalar::TIMESTAMP_MIN..=super::scalar::TIMESTAMP_MAX;
    if let (DataType::List(element), ArrowType::List(field)) = (data_type, data_type.arrow()) {
        let lengths: Vec<usize> = (0..rows).map(|_| random.below(4) as usize).collect();
        let valid: Vec<bool> = (0..rows).map(|_| random.below(5) > 0).collect();
        let lengths: Vec<usize> =
            lengths.iter().zip(&valid).map(|(length, valid)| length * usize::from(*valid)).collect();
        let elements = random_array(*element, lengths.iter().sum(), random);
        return Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), elements, nulls_of(&valid)));
    }
    if let (DataType::Struct(types), ArrowType::Struct(fields)) = (data_type, data_type.arrow()) {
        let valid = NullBuffer::from((0..rows).map(|_| random.below(5) > 0).collect::<Vec<bool>>());
        // Nothing stands under a null.
        let is_null = BooleanArray::new(!valid.inner(), None);
        let columns = types
            .iter()
            .map(|field| arrow::compute::nullif(&random_array(field.data_type, rows, random), &is_null).unwrap());
        let columns = columns.collect();
        return Arc::new(StructArray::new(fields, columns, Some(valid).filter(|valid| valid.null_count() > 0)));
    }
    let mut values = || -> Vec<Option<u64>> {
        (0..rows)
            .map(|_| {
                let value = random.next() >> random.below(64);
                (random.below(6) > 0).then_some(if random.below(2) == 0 { value } else { value.wrapping_neg() })
            })
            .collect()
    };
    match data_type {
        DataType::Int32 => Arc::new(values().into_iter().map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(values().into_iter().map(|v| v.map(|v| v as i64)).collect::<Int64Array>()),
        DataType::Float64 => {
            let float = |v: u64| engine::value::canonical_f64(f64::from_bits(v.rotate_right(12)));
            Arc::new(values().into_iter().map(|v| v.map(float)).collect::<Float64Array>())
        }
        DataType::Decimal(precision, scale) => {
            let decimals = values().into_iter().map(|v| v.map(|v| i128::from(v as i64) * 7));
            let array: Decimal128Array = decimals.collect();
            Arc::new(array.with_precision_and_scale(precision, scale as i8).unwrap())
        }
        DataType::Timestamp => {
            let span = (range.end() - range.start()) as u64;
            let times = values().into_iter().map(|v| v.map(|v| range.start() + (v % span) as i64));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::Date => {
            let days = |v: u64| super::scalar::DATE_MIN + (v % 3_652_424) as i32;
            Arc::new(values().into_iter().map(|v| v.map(days)).collect::<Date32Array>())
        }
        DataType::String => {
            Arc::new(values().into_iter().map(|v| v.map(|v| format!("\"\u{1}é{v}"))).collect::<StringArray>())
        }
        DataType::Binary => Arc::new(values().into_iter().map(|v| v.map(|v| v.to_le_bytes())).collect::<BinaryArray>()),
        DataType::Bool => Arc::new(values().into_iter().map(|v| v.map(|v| v % 2 == 0)).collect::<BooleanArray>()),
        DataType::Json => {
            let text = |v: u64| match v % 4 {
                0 => v.to_string(),
                1 => format!("{{\"a\":[null,{v}.0],\"b\":\"\\\"é\\u0001\"}}"),
                2 => "[]".into(),
                _ => "\"null\"".into(),
            };
            Arc::new(values().into_iter().map(|v| v.map(text)).collect::<LargeStringArray>())
        }
        DataType::List(_) | DataType::Struct(_) | DataType::Null => unreachable!("made above, or by nothing"),
    }
}

fn nulls_of(valid: &[bool]) -> Option<arrow::buffer::NullBuffer> {
    Some(arrow::buffer::NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
}

#[test]
fn a_nested_value_is_read_part_by_part() {
    let of = |kind: &str, value: &str| one(&source(vec![column(&format!("v: {kind}"))]), &format!("{{\"v\":{value}}}"));
    for (kind, value, expected) in [
        ("list<int64>", "[1, null ,2]", r#"{"v":[1,null,2]}"#),
        ("list<int64>", " [ ] ", r#"{"v":[]}"#),
        ("list<int64>", "null", r#"{"v":null}"#),
        ("list<int64>", "\"[1,\\n2]\"", r#"{"v":[1,2]}"#),
        ("list<list<int64>>", r#"["[1]", [2], "null"]"#, r#"{"v":[[1],[2],null]}"#),
        ("list<string>", r#"["a\"b","\u00e9",""]"#, r#"{"v":["a\"b","é",""]}"#),
        ("list<list<date>>", r#"[["2026-01-31"],[],null]"#, r#"{"v":[["2026-01-31"],[],null]}"#),
        (
            "list<timestamp>",
            r#"[0,"2026-01-31T00:00:00Z"]"#,
            r#"{"v":["1970-01-01T00:00:00.000000Z","2026-01-31T00:00:00.000000Z"]}"#,
        ),
        ("list<float64>", r#"[-0.0,"NaN",1]"#, r#"{"v":[0.0,"NaN",1.0]}"#),
        ("struct<a: int32, b: decimal(4,1)>", r#"{"b":"1.5","x":[{"a":1}],"a":7}"#, r#"{"v":{"a":7,"b":"1.5"}}"#),
        ("struct<a: int32, b: struct<c: bool>>", r#"{"b":{"c":true}}"#, r#"{"v":{"a":null,"b":{"c":true}}}"#),
        ("json", r#"{"b":[1.0, "x"], "a":null}"#, r#"{"v":{"a":null,"b":[1.0,"x"]}}"#),
        ("json", "\"[1]\"", r#"{"v":"[1]"}"#),
        ("list<json>", "[1,{},null]", r#"{"v":[1,{},null]}"#),
        ("list<int64>", "7", "wrong_type: column `v` (list<int64>) has `7`"),
        ("list<int64>", "[1.0]", "not_an_integer: column `v` (list<int64>) has `1.0`"),
        ("list<int64>", "[[1]]", "wrong_type: column `v` (list<int64>) has `[1]`"),
        ("list<int32>", "[3000000000]", "out_of_range: column `v` (list<int32>) has `3000000000`"),
        ("list<int64>", "\"[1\"", "invalid_json: column `v` (list<int64>) has `[1`"),
        ("struct<a: bool>", "[true]", "wrong_type: column `v` (struct<a: bool>) has `[true]`"),
        ("struct<a: bool>", r#"{"a":1}"#, "wrong_type: column `v` (struct<a: bool>) has `1`"),
        ("struct<a: bool>", r#"{"b":{"x":1,"x":2}}"#, "duplicate_key: before byte 20"),
    ] {
        assert_eq!(of(kind, value), expected, "{kind} of {value}");
    }
}

#[test]
fn a_column_may_take_a_value_whole_and_others_read_in_it() {
    let mut inner = column("n: int64");
    inner.from = ValueFrom::Path(vec!["v".into(), "n".into()]);
    let mut root = column("all: json!");
    root.from = ValueFrom::Value;
    let mut header = column("h: list<string>");
    header.from = ValueFrom::Header("h".into());
    let mut dash = column("w: json");
    dash.null_as = vec!["-".into()];
    let source = source(vec![root, column("v: json"), inner, header, dash]);
    assert_eq!(
        one(&source, r#"{"w":"-","v":{"n":1,"m":2}}"#),
        r#"{"all":{"v":{"m":2,"n":1},"w":"-"},"v":{"m":2,"n":1},"n":1,"h":null,"w":null}"#
    );
    assert_eq!(one(&source, r#"{"v":[1]}"#), "not_an_object: `v` is an array");
    let mut builder = RawBuilder::new(0);
    builder.push(0, 0, None, Some(b"{}"), vec![("h".into(), Some(b" [\"x\" ] ".to_vec()))]);
    let chunk = decode(&source, &builder.finish()).unwrap();
    assert_eq!(shown(&chunk, 0), r#"{"all":{},"v":null,"n":null,"h":["x"],"w":null}"#);
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let mut seconds = column("v: timestamp");
    seconds.format = TimeFormat::EpochSeconds;
    let mut nulls = column("v: string");
    nulls.null_as = vec!["-".into()];
    let time = arrow::array::TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC");
    let text = arrow::array::StringArray::from(vec!["-"]);
    let arrays: [arrow::array::ArrayRef; 2] = [std::sync::Arc::new(time), std::sync::Arc::new(text)];
    for (plan, array) in [seconds, nulls].into_iter().zip(arrays) {
        let field = arrow::datatypes::Field::new("v", array.data_type().clone(), true);
        let batch = crate::records::batch(vec![field], vec![array], 1);
        let error = codec(&source(vec![plan])).unwrap().encode(&batch, 0, &mut Encoded::default()).unwrap_err();
        assert_eq!(error.code, engine::Code::Schema);
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let mut plan = column("v: timestamp");
    plan.format = TimeFormat::Pattern("%Q".into());
    assert_eq!(codec(&source(vec![plan])).err().unwrap().code, engine::Code::Field);
}

/// How fast it is: `cargo test --release -p samestream-connectors -- --ignored --nocapture decoding_speed`.
#[test]
#[ignore = "prints a time, asserts nothing about it"]
fn decoding_speed() {
    let columns = [
        "event_id: string!",
        "user_id: int64!",
        "page: string!",
        "action: string",
        "amount: float64",
        "event_time: timestamp!",
    ];
    let mut source = source(columns.map(column).into());
    let event = |i: u64, blank: &str| {
        format!(
            r#"{{"event_id":{blank}"e{i:012}",{blank}"user_id":{blank}{},{blank}"page":{blank}"/p/{:04}",{blank}"action":{blank}"view",{blank}"amount":{blank}{}.{:02},{blank}"event_time":{blank}"2026-01-01T00:{:02}:{:02}.{:03}Z"}}"#,
            i % 100_000,
            i % 1_000,
            i % 200,
            i % 100,
            i / 60_000 % 60,
            i / 1_000 % 60,
            i % 1_000
        )
    };
    for (what, blank, needed) in [("6 columns", "", 6), ("3 columns", "", 3), ("6 columns, blanks", " ", 6)] {
        source.needed =
            [0, 1, 3, 2, 4, 5][6 - needed..].iter().map(|i| source.columns[*i].field.name.clone()).collect();
        let values: Vec<String> = (0..8_192).map(|i| event(i, blank)).collect();
        let raw = records(&values);
        let coder = codec(&source).unwrap();
        let best = (0..200).map(|_| {
            let start = std::time::Instant::now();
            assert!(coder.decode(&raw).bad.is_empty());
            start.elapsed()
        });
        let best = best.min().unwrap();
        println!("{what}: {} ns/event of {} bytes", best.as_nanos() / 8_192, values[0].len());
    }
}
