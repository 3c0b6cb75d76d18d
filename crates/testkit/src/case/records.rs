//! Random logs: disorder, gaps, bad records, equal times, a hot key, partitions that are empty or fall quiet.

use serde_json::Value as Json;

use super::log::{Content, Log, PartitionLog, Record, latin1};
use super::{Beside, JSONS, Pipeline, Shape, SourceColumn};
use crate::random::Random;
use crate::value::{Type, Value};

/// What all records of a log have in common.
#[derive(Clone, Copy)]
struct Manner {
    /// Index of the source.
    source: usize,
    /// How many records a partition has.
    records: usize,
    /// Tick of the first record.
    base: i64,
    /// In a hundred records, so many are far behind.
    stragglers: usize,
    /// In a hundred records, so many are bad.
    bad: usize,
    /// In a hundred records, so many more have no value.
    tombstones: usize,
    /// In a hundred values, so many are null.
    nulls: usize,
    /// Integers near the ends of int64 occur.
    huge: bool,
    /// In a hundred records, so many carry the first of the values.
    hot: usize,
    /// How fast time goes on, in ticks a record.
    pace: i64,
}

pub(super) fn log(random: &mut Random, pipeline: &mut Pipeline, shape: &Shape) -> Log {
    let mut log = Log::default();
    let base = base(random, shape);
    for source in 0..pipeline.sources.len() {
        // Mostly the sources tell of the same time, so that their records meet in windows and joins.
        let own = if random.chance(80) { base + random.between(-5, 5) } else { self::base(random, shape) };
        let own = if source == 0 { base } else { own };
        log.partitions.extend(source_log(&mut random.fork(), pipeline, shape, source, own));
    }
    log
}

/// Draws the tick of a first record.
fn base(random: &mut Random, shape: &Shape) -> i64 {
    match shape.zone {
        Some((_, change)) => change.div_euclid(shape.tick) - random.between(0, 40),
        None => *random.pick(&[0, 0, -40, -200, 1_767_225_600_000_000 / shape.tick]),
    }
}

fn source_log(
    random: &mut Random,
    pipeline: &mut Pipeline,
    shape: &Shape,
    source: usize,
    base: i64,
) -> Vec<PartitionLog> {
    let manner = Manner {
        source,
        records: 0,
        base,
        stragglers: *random.pick(&[0, 8, 20, 35]),
        bad: *random.pick(&[0, 0, 3, 15]),
        tombstones: if pipeline.keeps_tombstones(source) { *random.pick(&[8, 25]) } else { 0 },
        nulls: *random.pick(&[0, 5, 20, 40]),
        huge: random.chance(8),
        hot: *random.pick(&[0, 50, 70, 85]),
        pace: random.between(1, 4),
    };
    let count = 1 + random.weighted(&[10, 32, 30, 28]) as i32;
    let mut numbers: Vec<i32> = (0..count).collect();
    if random.chance(10) {
        numbers.iter_mut().for_each(|number| *number = *number * 3 + 1); // not every number from 0 on
    }
    let length = *random.pick(&[8, 50, 80, 120]);
    let empty = random.chance(if count > 1 { 18 } else { 5 }).then(|| random.below(numbers.len()));
    let quiet = random.chance(20).then(|| random.below(numbers.len()));
    let mut logs = Vec::new();
    for (index, partition) in numbers.iter().enumerate() {
        let mut records = if empty == Some(index) { 0 } else { (length + random.below(length)) / count as usize };
        if quiet == Some(index) {
            records = records.div_ceil(4);
        }
        let manner = Manner { records, ..manner };
        logs.push(partition_log(random, pipeline, shape, &manner, *partition));
    }
    if random.chance(if empty.is_some() { 40 } else { 12 }) {
        let mut chosen = numbers.clone();
        while chosen.len() > 1 && random.chance(60) {
            chosen.remove(random.below(chosen.len()));
        }
        // Often the empty one is left out: the way out of a result in which nothing is final.
        if let (Some(empty), true) = (empty, random.chance(80)) {
            let rest: Vec<i32> = numbers.iter().copied().filter(|number| *number != numbers[empty]).collect();
            chosen = if rest.is_empty() { chosen } else { rest };
        }
        pipeline.sources[source].partitions = Some(chosen);
    }
    logs
}

fn partition_log(
    random: &mut Random,
    pipeline: &Pipeline,
    shape: &Shape,
    manner: &Manner,
    partition: i32,
) -> PartitionLog {
    let start = if random.chance(75) { 0 } else { random.between(1, 1000) };
    let mut offset = start;
    let mut now = manner.base + random.between(0, 5);
    let bound_ticks = pipeline.sources[manner.source].bound / shape.tick;
    let mut records: Vec<Record> = Vec::new();
    for _ in 0..manner.records {
        if random.chance(6) {
            offset += random.between(1, 5); // aborted records or control markers
        }
        now += if random.chance(3) { random.between(10, 60) } else { random.between(0, manner.pace) };
        let behind = match random.below(100) {
            percent if percent < manner.stragglers => random.between(0, bound_ticks + 2 * shape.window_ticks),
            percent if percent < 60 => random.between(0, bound_ticks + 1),
            _ => 0,
        };
        let record = match records.last() {
            Some(last) if random.chance(6) => Record { offset, ..last.clone() },
            _ => record(random, pipeline, manner, offset, (now - behind) * shape.tick),
        };
        records.push(record);
        offset += 1;
    }
    let markers = if random.chance(20) { random.between(1, 3) } else { 0 };
    PartitionLog { source: manner.source, partition, start, end: offset + markers, records }
}

fn record(random: &mut Random, pipeline: &Pipeline, manner: &Manner, offset: i64, time: i64) -> Record {
    let delay = if random.chance(50) { 0 } else { random.between(0, 30) };
    let mut timestamp = time.div_euclid(1000) + delay;
    if pipeline.event_time == "_timestamp" {
        timestamp = time.div_euclid(1000);
    } else if let Some(guard) = pipeline.sources[manner.source].max_future
        && random.chance(15)
    {
        // At the guard exactly, or just past it.
        timestamp = (time - guard).div_euclid(1000) - i64::from(random.chance(50));
    }
    let cells: Vec<Value> = pipeline
        .columns
        .iter()
        .map(|column| if column.name == "event_time" { Value::Time(time) } else { cell(random, column, manner, time) })
        .collect();
    let (mut key, mut headers) = beside(random, pipeline, &cells);
    let (value, content) = if random.chance(manner.tombstones) {
        (None, tombstone(pipeline, &cells))
    } else if random.chance(manner.bad) {
        match random.chance(25).then(|| spoiled(random, pipeline, &mut key, &mut headers)).flatten() {
            Some(why) => (Some(object(random, pipeline, &cells)), Content::Bad(why.into())),
            None => bad(random, pipeline, &cells),
        }
    } else {
        (Some(object(random, pipeline, &cells)), Content::Row(cells.into_iter().map(canonical).collect()))
    };
    Record { offset, timestamp, key, value, headers, content }
}

/// What a record without a value means.
fn tombstone(pipeline: &Pipeline, cells: &[Value]) -> Content {
    let cells = pipeline.columns.iter().zip(cells).map(|(column, cell)| match column.beside {
        Some(_) => canonical(cell.clone()),
        None => Value::Null,
    });
    Content::Tombstone(cells.collect())
}

type Headers = Vec<(String, Option<String>)>;

/// The key and headers of a record: the columns that stand there, and others that mean nothing.
fn beside(random: &mut Random, pipeline: &Pipeline, cells: &[Value]) -> (Option<String>, Headers) {
    let mut key = match random.below(3) {
        0 => None,
        1 => Some(String::new()),
        _ => Some(format!("key{}", random.below(3))),
    };
    let mut headers = Headers::new();
    for (column, cell) in pipeline.columns.iter().zip(cells) {
        match &column.beside {
            None => {}
            Some(Beside::Key) => key = plain(random, cell, column.ty),
            // One that is absent is null too, and of several the last counts.
            Some(Beside::Header(_)) if cell.is_null() && random.chance(50) => {}
            Some(Beside::Header(name)) => {
                if random.chance(15) {
                    headers.push((name.clone(), Some("?".into())));
                }
                headers.push((name.clone(), plain(random, cell, column.ty)));
            }
        }
    }
    if random.chance(10) {
        headers.insert(0, ("trace".into(), None));
    }
    (key, headers)
}

/// Puts something into the key or a header that its column cannot take; says what, or None where there is no such column.
fn spoiled(
    random: &mut Random,
    pipeline: &Pipeline,
    key: &mut Option<String>,
    headers: &mut Headers,
) -> Option<&'static str> {
    let beside: Vec<&SourceColumn> = pipeline.columns.iter().filter(|column| column.beside.is_some()).collect();
    let column = if beside.is_empty() { return None } else { *random.pick(&beside) };
    let (text, why) = match column.ty {
        _ if column.required => (None, "nothing in a ! column beside the value"),
        Type::Text => return None,
        _ => (Some(word(random, &["x", "", " 1", "\"1\""]).to_string()), "a bad column beside the value"),
    };
    match column.beside.as_ref().expect("chosen so") {
        Beside::Key => *key = text,
        Beside::Header(name) => headers.push((name.clone(), text)),
    }
    Some(why)
}

/// The text of a value where it stands alone.
fn plain(random: &mut Random, value: &Value, ty: Type) -> Option<String> {
    Some(match (value, ty) {
        (Value::Null, _) => return None,
        (Value::Text(x), _) => x.clone(),
        (Value::Decimal(x), Type::Decimal(_, scale)) => decimal(*x, scale),
        (value, ty) => {
            let text = self::text(random, value, ty);
            text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or(text.clone(), str::to_string)
        }
    })
}

/// What reading makes of a value: only floats change.
fn canonical(value: Value) -> Value {
    match value {
        Value::Float(x) => Value::float(x),
        Value::List(elements) => Value::List(elements.into_iter().map(canonical).collect()),
        other => other,
    }
}

fn cell(random: &mut Random, column: &SourceColumn, manner: &Manner, time: i64) -> Value {
    if !column.required && random.chance(manner.nulls) {
        return Value::Null;
    }
    let hot = random.chance(manner.hot);
    let choice = |random: &mut Random, count: usize| if hot { 0 } else { random.below(count) };
    match column.ty {
        Type::Bool => Value::Bool(choice(random, 2) == 0),
        Type::Int32 => Value::Int([1, 2, 3, -7, i64::from(i32::MAX), i64::from(i32::MIN)][choice(random, 6)]),
        Type::Int64 if manner.huge && random.chance(30) => Value::Int(*random.pick(&[i64::MAX, i64::MIN, 1 << 62])),
        Type::Int64 => Value::Int([5, 0, 1, -1, 1 << 53, (1 << 53) + 1, 1000, -12345][choice(random, 8)]),
        Type::Float => float(random, hot),
        Type::Decimal(..) => Value::Decimal([1999, 0, -1, 5, 100, 99_999_999, -50][choice(random, 7)]),
        Type::Text => Value::Text(["/a", "/b", "", "É", "é", "12", "-7", "x\"y\\\n", "null"][choice(random, 9)].into()),
        Type::Time => Value::Time([0, -1, 1, time, 1_500_000][choice(random, 5)]),
        Type::Date => Value::Date([0, -1, 20_000, 19_000][choice(random, 4)]),
        Type::Binary => Value::Binary([vec![], vec![0], vec![255, 0], b"ab".to_vec()][choice(random, 4)].clone()),
        Type::Ints | Type::Floats | Type::Texts | Type::Pairs => {
            let ty = column.ty.element().expect("a list");
            let element = SourceColumn { name: column.name.clone(), ty, required: false, beside: None };
            let count = if hot { 1 } else { random.below(4) };
            Value::List((0..count).map(|_| cell(random, &element, manner, time)).collect())
        }
        Type::Pair => Value::Struct(
            [Type::Int64, Type::Texts]
                .map(|ty| {
                    let field = SourceColumn { name: column.name.clone(), ty, required: false, beside: None };
                    cell(random, &field, manner, time)
                })
                .to_vec(),
        ),
        Type::Json => Value::Json(JSONS[choice(random, JSONS.len())].1.into()),
    }
}

fn float(random: &mut Random, hot: bool) -> Value {
    if hot {
        return Value::Float(0.1);
    }
    Value::Float(match random.below(16) {
        0 => -0.0,
        1 if random.chance(25) => f64::NAN,
        2 if random.chance(25) => *random.pick(&[f64::INFINITY, f64::NEG_INFINITY]),
        3 => *random.pick(&[1e300, -1e300, 1.7e308, 5e-324, 2.2250738585072014e-308, 1e16]),
        4 => *random.pick(&[0.0, 0.3, 1.1, -0.1]),
        5 => {
            let x = f64::from_bits(random.bits());
            if x.is_finite() { x } else { 3.25 }
        }
        _ => random.between(-1000, 1000) as f64 / 100.0,
    })
}

/// The JSON text of a record; spelled in one of the ways that mean the same.
fn object(random: &mut Random, pipeline: &Pipeline, cells: &[Value]) -> String {
    let mut fields: Vec<String> = Vec::new();
    for (column, cell) in pipeline.columns.iter().zip(cells).filter(|(column, _)| column.beside.is_none()) {
        if cell.is_null() && random.chance(50) {
            continue; // absent means null
        }
        fields.push(format!("\"{}\":{}", column.name, text(random, cell, column.ty)));
    }
    random.shuffle(&mut fields);
    if random.chance(10) {
        fields.push("\"unknown\":{\"a\":[1,null,\"}\"]}".into());
    }
    let separator = if random.chance(20) { " , " } else { "," };
    latin1(format!("{{{}}}", fields.join(separator)).as_bytes())
}

/// The JSON text of a value.
fn text(random: &mut Random, value: &Value, ty: Type) -> String {
    match (value, ty) {
        (Value::Null, _) => "null".into(),
        (Value::Bool(x), _) => x.to_string(),
        (Value::Int(0), _) if random.chance(20) => "-0".into(),
        (Value::Int(x), _) => x.to_string(),
        (Value::Float(x), _) if x.is_nan() => "\"NaN\"".into(),
        (Value::Float(x), _) if x.is_infinite() => if *x > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.into(),
        (Value::Float(x), _) if x.fract() == 0.0 && x.abs() < 1e6 && *x != 0.0 && random.chance(40) => {
            format!("{x:.0}")
        }
        (Value::Float(x), _) if random.chance(20) => format!("{x:e}"),
        (Value::Float(x), _) => format!("{x:?}"),
        (Value::Decimal(x), Type::Decimal(_, scale)) => {
            let text = decimal(*x, scale);
            if random.chance(50) { format!("\"{text}\"") } else { text }
        }
        (Value::Text(x), _) => Json::String(x.clone()).to_string(),
        (Value::Time(x), _) if x % 1000 == 0 && random.chance(50) => (x / 1000).to_string(),
        (Value::Time(x), _) => format!("\"{}\"", timestamp(*x)),
        (Value::Date(x), _) => format!("\"{}\"", date(i64::from(*x))),
        (Value::Binary(x), _) => format!("\"{}\"", base64(x)),
        (Value::List(elements), _) => {
            let element = ty.element().expect("a list");
            let texts: Vec<String> = elements.iter().map(|value| text(random, value, element)).collect();
            let list = format!("[{}]", texts.join(if random.chance(20) { " , " } else { "," }));
            // A string that holds the list means the list.
            if random.chance(10) { Json::String(list).to_string() } else { list }
        }
        (Value::Struct(fields), _) => {
            let mut texts = Vec::new();
            for (name, ty, value) in [("a", Type::Int64, &fields[0]), ("b", Type::Texts, &fields[1])] {
                if !value.is_null() || random.chance(50) {
                    texts.push(format!("\"{name}\": {}", text(random, value, ty)));
                }
            }
            if random.chance(10) {
                texts.push("\"c\":[{\"a\":1}]".into());
            }
            random.shuffle(&mut texts);
            format!("{{{}}}", texts.join(","))
        }
        (Value::Json(x), _) => {
            JSONS.iter().find(|(_, canonical, _)| canonical == x).expect("one of the list").0.to_string()
        }
        (value, ty) => unreachable!("{value} is not a {ty}"),
    }
}

/// A record that is not valid, of one of several kinds.
fn bad(random: &mut Random, pipeline: &Pipeline, cells: &[Value]) -> (Option<String>, Content) {
    let good = object(random, pipeline, cells);
    let with = |name: &str, text: &str| {
        let fields: Vec<String> = pipeline
            .columns
            .iter()
            .zip(cells)
            .filter(|(column, _)| column.name != name && column.beside.is_none())
            .map(|(column, cell)| format!("\"{}\":{}", column.name, self::text(&mut Random::new(0), cell, column.ty)))
            .chain((!text.is_empty()).then(|| format!("\"{name}\":{text}")))
            .collect();
        Some(latin1(format!("{{{}}}", fields.join(",")).as_bytes()))
    };
    let in_value = || pipeline.columns.iter().filter(|column| column.beside.is_none());
    let of_type = |wanted: fn(Type) -> bool| in_value().find(|column| wanted(column.ty));
    let nested = in_value().find(|column| column.ty.element().is_some() || column.ty == Type::Pair);
    if let (Some(column), true) = (nested, random.chance(30)) {
        let wrong = match column.ty {
            Type::Pair => ["[1]", "{\"a\":\"x\"}", "{\"b\":[1]}", "1", "\"{\""],
            Type::Texts => ["[1]", "[[\"a\"]]", "{}", "\"a\"", "[{}]"],
            _ => ["{}", "[true]", "true", "\"[\"", "[[]]"],
        };
        return (with(&column.name, word(random, &wrong)), Content::Bad("a bad part".into()));
    }
    let (value, why) = match random.below(10) {
        0 => return (None, tombstone(pipeline, cells)),
        1 => (Some(good[..good.len() - 1].to_string()), "cut off"),
        2 => (Some(format!("{good}x")), "trailing bytes"),
        3 => (Some("[1]".into()), "not an object"),
        4 => match in_value().find(|column| column.required) {
            Some(column) => (with(&column.name, if random.chance(50) { "null" } else { "" }), "null in a ! column"),
            None => (Some(String::new()), "no bytes"),
        },
        5 => match of_type(|ty| ty == Type::Float) {
            Some(column) => (with(&column.name, word(random, &["NaN", "1e400", "\"x\"", "true", "01"])), "bad float"),
            None => (Some("nul".into()), "broken word"),
        },
        6 => match of_type(Type::is_integer) {
            Some(column) => (
                with(
                    &column.name,
                    word(random, &["9223372036854775808", "18446744073709551616", "1.5", "\"a\"", "[]"]),
                ),
                "bad integer",
            ),
            None => (Some("{\"a\":}".into()), "missing value"),
        },
        7 => match of_type(|ty| ty == Type::Time) {
            Some(column) => {
                (with(&column.name, word(random, &["\"2026-13-01T00:00:00Z\"", "\"soon\"", "{}"])), "bad time")
            }
            None => (Some("{,}".into()), "stray comma"),
        },
        8 => {
            let names: Vec<&str> = in_value().map(|column| column.name.as_str()).chain(["unknown"]).collect();
            let name = *random.pick(&names[..names.len().saturating_sub(1).max(1)]);
            let text = with(name, "null").expect("an object");
            (Some(format!("{},\"{name}\":null}}", &text[..text.len() - 1])), "duplicate key")
        }
        _ => (Some("{\"a\":\"\u{ff}\"}".into()), "broken UTF-8"),
    };
    (value, Content::Bad(why.into()))
}

fn word<'a>(random: &mut Random, words: &[&'a str]) -> &'a str {
    words[random.below(words.len())]
}

fn decimal(x: i128, scale: u8) -> String {
    let (sign, digits) = (if x < 0 { "-" } else { "" }, format!("{:0>1$}", x.unsigned_abs(), scale as usize + 1));
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    format!("{sign}{whole}.{part}")
}

/// Year, month, day of a day number since 1970 (proleptic Gregorian), by counting.
fn date(days: i64) -> String {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut left) = (1970, days);
    while left < 0 {
        year -= 1;
        left += if is_leap(year) { 366 } else { 365 };
    }
    while left >= if is_leap(year) { 366 } else { 365 } {
        left -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

fn timestamp(us: i64) -> String {
    let (days, rest) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let (seconds, part) = (rest / 1_000_000, rest % 1_000_000);
    format!("{}T{:02}:{:02}:{:02}.{part:06}Z", date(days), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_in_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn bytes_are_spelled_in_base64() {
        let spelled = [&b""[..], b"f", b"fo", b"foo", b"foob"].map(base64);
        assert_eq!(spelled, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn decimals_keep_their_digits() {
        assert_eq!([decimal(-1, 2), decimal(1999, 2), decimal(0, 2)], ["-0.01", "19.99", "0.00"]);
    }
}
