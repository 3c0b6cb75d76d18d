//! A made-up clickstream: seeded, so that the same options give the same bytes everywhere, and as untidy as real ones.
//!
//! Event `i` reaches the log at `start + i / rate`; its event time lies up to `disorder` before that, or far more when it
//! is late. [`crate::untidy`] does the rest.

use engine::log::RawRecords;
use engine::plan::{Bindings, ColumnPlan, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom};
use engine::{DataType, Field};

use crate::untidy::{self, Events, Random, Spoilt, Untidy, mix, write_number, write_time};

/// The columns of the events; those marked are never null.
const COLUMNS: &[(&str, DataType, bool)] = &[
    ("event_id", DataType::String, true),
    ("user_id", DataType::Int64, true),
    ("page", DataType::String, true),
    ("action", DataType::String, false),
    ("amount", DataType::Float64, false),
    ("event_time", DataType::Timestamp, true),
];

/// Returns the source that reads these events, as the pipelines of this project declare it; without bindings.
pub fn source() -> SourcePlan {
    let column = |(name, data_type, is_required): &(&str, DataType, bool)| ColumnPlan {
        field: Field { name: (*name).into(), data_type: *data_type, nullable: !is_required },
        from: ValueFrom::Path(vec![(*name).into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    };
    SourcePlan {
        name: "clicks".into(),
        columns: COLUMNS.iter().map(column).collect(),
        format: "json".into(),
        event_time: "event_time".into(),
        out_of_orderness: untidy::Options::default().disorder,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
        needed: COLUMNS.iter().map(|(name, ..)| (*name).into()).collect(),
        tombstones: false,
    }
}

/// What the stream is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What the log is like.
    pub log: untidy::Options,
    /// How many users there are.
    pub keys: u64,
    /// How many pages there are.
    pub pages: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { log: untidy::Options::default(), keys: 10_000, pages: 500 }
    }
}

/// The records of a clickstream, in batches of one partition each, in the order of their arrival there.
pub struct Clickstream(Untidy<Clicks>);

impl Clickstream {
    /// Makes a stream.
    ///
    /// # Panics
    /// When there is no partition, user, page or rate.
    pub fn new(options: Options) -> Self {
        assert!(options.keys > 0 && options.pages > 0);
        Self(Untidy::new(Clicks { users: options.keys, pages: options.pages }, options.log))
    }
}

impl Iterator for Clickstream {
    type Item = RawRecords;

    fn next(&mut self) -> Option<RawRecords> {
        self.0.next()
    }
}

struct Clicks {
    users: u64,
    pages: u64,
}

impl Events for Clicks {
    const SPOILT: &'static [Spoilt] = &[
        Spoilt::Half,
        Spoilt::NotJson,
        Spoilt::Replaced("\"event_time\"", b"\"even_time\""),
        Spoilt::Replaced("\"user_id\":", b"\"user_id\":\"x\",\"was\":"),
        Spoilt::Replaced("\"amount\":", b"\"amount\":NaN,\"was\":"),
        Spoilt::Replaced("\"user_id\":", b"\"user_id\":99999999999999999999,\"was\":"),
        Spoilt::Replaced("\"page\":\"", b"\"page\":\"\xff"),
        Spoilt::Replaced("\"event_time\":\"2", b"\"event_time\":\"x"),
        Spoilt::Empty,
        Spoilt::Null,
    ];

    fn now(&self, options: &untidy::Options, number: u64) -> i64 {
        options.start + (i128::from(number) * 1_000_000 / i128::from(options.rate)) as i64
    }

    fn next(
        &mut self,
        options: &untidy::Options,
        number: u64,
        random: &mut Random,
        value: &mut Vec<u8>,
    ) -> (i64, Vec<u8>) {
        let arrival = self.now(options, number);
        let user = random.popular(self.users);
        let time = arrival - options.delay(random);
        write_event(value, random, mix(options.seed ^ mix(number)), self.pages, user, time);
        (arrival, user.to_string().into_bytes())
    }
}

fn write_event(out: &mut Vec<u8>, random: &mut Random, id: u64, pages: u64, user: u64, time: i64) {
    out.clear();
    out.extend_from_slice(b"{\"event_id\":\"");
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(id >> (shift * 4) & 15) as usize]);
    }
    out.extend_from_slice(b"\",\"user_id\":");
    write_number(out, user, 1);
    out.extend_from_slice(b",\"page\":\"");
    write_page(out, random.popular(pages));
    let action = random.below(100);
    let word: &[u8] = match action {
        0..70 => b"view",
        70..90 => b"cart",
        _ => b"purchase",
    };
    out.extend_from_slice(b"\",\"action\":\"");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\",\"amount\":");
    if action < 30 {
        out.extend_from_slice(b"null");
    } else {
        write_amount(out, random);
    }
    out.extend_from_slice(b",\"event_time\":\"");
    write_time(out, time);
    out.extend_from_slice(b"\"}");
}

fn write_page(out: &mut Vec<u8>, page: u64) {
    match page {
        0 => out.extend_from_slice(b"/"),
        1 => out.extend_from_slice(b"/search"),
        2 => out.extend_from_slice("/café".as_bytes()),
        page => {
            out.extend_from_slice(b"/products/");
            write_number(out, page, 4);
        }
    }
}

/// Cents mostly; sometimes digits whose sum depends on the order of addition, unless it is exact.
fn write_amount(out: &mut Vec<u8>, random: &mut Random) {
    write_number(out, random.below(500), 1);
    out.push(b'.');
    let digits = if random.below(8) == 0 { 14 } else { 2 };
    write_number(out, random.below(10_u64.pow(digits)), digits as usize);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::Array;
    use chrono::DateTime;

    use engine::log::Partition;

    use super::*;
    use crate::untidy::MINUTE;

    struct Seen {
        partition: Partition,
        offset: i64,
        timestamp: i64,
        value: Option<Vec<u8>>,
    }

    fn options() -> Options {
        let log = untidy::Options { events: 40_000, late: 0.02, duplicates: 0.03, bad: 0.04, ..Default::default() };
        Options { log, ..Options::default() }
    }

    fn records(options: Options) -> Vec<Seen> {
        let mut seen = Vec::new();
        for batch in Clickstream::new(options) {
            seen.extend((0..batch.offsets.len()).map(|i| Seen {
                partition: batch.partition,
                offset: batch.offsets[i],
                timestamp: batch.timestamps[i],
                value: batch.values.is_valid(i).then(|| batch.values.value(i).to_vec()),
            }));
        }
        seen
    }

    /// Returns the event's id and time, if it is a good one.
    fn good(seen: &Seen) -> Option<(String, i64)> {
        let event: serde_json::Value = serde_json::from_slice(seen.value.as_deref()?).ok()?;
        event["user_id"].as_i64()?;
        let time = DateTime::parse_from_rfc3339(event["event_time"].as_str()?).ok()?;
        Some((event["event_id"].as_str()?.to_string(), time.timestamp_micros()))
    }

    fn share(count: usize) -> f64 {
        count as f64 / options().log.events as f64
    }

    #[test]
    fn the_same_options_give_the_same_bytes() {
        let values =
            |options| -> Vec<_> { records(options).into_iter().map(|seen| (seen.offset, seen.value)).collect() };
        assert_eq!(values(options()), values(options()));
        assert_ne!(
            values(options()),
            values(Options { log: untidy::Options { seed: 2, ..options().log }, ..options() })
        );
    }

    #[test]
    fn offsets_are_dense_and_log_time_never_goes_back() {
        let mut last: HashMap<Partition, (i64, i64)> = HashMap::new();
        let seen = records(options());
        assert_eq!(seen.len() as u64, options().log.events);
        for record in seen {
            let (offset, time) = last.get(&record.partition).copied().unwrap_or((-1, 0));
            assert_eq!(record.offset, offset + 1);
            assert!(record.timestamp >= time);
            last.insert(record.partition, (record.offset, record.timestamp));
        }
        assert_eq!(last.len(), 4);
    }

    #[test]
    fn late_bad_and_repeated_records_come_as_often_as_asked() {
        let seen = records(options());
        let events: Vec<(i64, Option<(String, i64)>)> =
            seen.iter().map(|record| (record.timestamp * 1000, good(record))).collect();
        let bad = events.iter().filter(|(_, event)| event.is_none()).count();
        let far = |arrival: i64, time: i64| arrival - time > options().log.disorder + MINUTE;
        let late = events.iter().filter(|(at, event)| event.as_ref().is_some_and(|(_, time)| far(*at, *time))).count();
        let mut ids: Vec<&String> = events.iter().filter_map(|(_, event)| event.as_ref().map(|(id, _)| id)).collect();
        ids.sort();
        let repeated = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
        // Five standard deviations of 40,000 draws are less than half a percent.
        assert!((share(bad) - 0.04).abs() < 0.005, "{}", share(bad));
        assert!((share(late) - 0.02).abs() < 0.005, "{}", share(late));
        assert!((share(repeated) - 0.03).abs() < 0.005, "{}", share(repeated));
    }

    #[test]
    fn bad_records_are_bad_in_many_ways() {
        let bad: Vec<Option<Vec<u8>>> =
            records(options()).into_iter().filter(|seen| good(seen).is_none()).map(|seen| seen.value).collect();
        let has = |what: &dyn Fn(&[u8]) -> bool| bad.iter().flatten().any(|value| what(value));
        let holds = |text: &'static [u8]| move |value: &[u8]| value.windows(text.len()).any(|window| window == text);
        assert!(bad.iter().any(Option::is_none));
        assert!(has(&|value| value.is_empty()));
        assert!(has(&|value| std::str::from_utf8(value).is_err()));
        for text in [&b"NaN"[..], b"even_time", b"99999999999999999999", b"not json", b"\"user_id\":\"x\""] {
            assert!(has(&holds(text)), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_last_partition_falls_quiet_and_every_one_speaks_at_the_end() {
        let span = options().log.events as i64 * 1000;
        let at = |share: i64| (options().log.start + span * share / 100) / 1000;
        let seen = records(options());
        let spoke = |partition: Partition, from: i64, to: i64| {
            seen.iter().any(|r| r.partition == partition && r.timestamp >= at(from) && r.timestamp < at(to))
        };
        assert!(spoke(3, 0, 40) && !spoke(3, 41, 69) && spoke(3, 70, 80));
        assert!((0..4).all(|partition| spoke(partition, 99, 101)));
        assert!(spoke(2, 41, 69));
    }
}
