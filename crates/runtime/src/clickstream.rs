//! A made-up clickstream: seeded, so that the same options give the same bytes everywhere, and as untidy as real ones.
//!
//! Event `i` reaches the log at `start + i / rate`; its event time lies up to `disorder` before that, or far more when it
//! is late. Some events come twice, some are bad in one of several ways. Unless there is only one partition, the last
//! one says nothing between 40 % and 70 % of the time, then speaks again; every partition speaks until the end.

use arrow::array::BinaryBuilder;
use engine::log::{Partition, RawRecords};
use engine::plan::{Bindings, ColumnPlan, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom};
use engine::{DataType, Field};

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
        out_of_orderness: Options::default().disorder,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
        needed: COLUMNS.iter().map(|(name, ..)| (*name).into()).collect(),
    }
}

/// What the stream is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many records, bad ones and repetitions included.
    pub events: u64,
    /// Over how many partitions.
    pub partitions: Partition,
    /// How far behind its arrival an event may be without being late, in microseconds.
    pub disorder: i64,
    /// Share of events that come one to ten minutes later than that, from 0 to 1.
    pub late: f64,
    /// Share of records that repeat one that came shortly before, from 0 to 1.
    pub duplicates: f64,
    /// Share of records that are not good events, from 0 to 1.
    pub bad: f64,
    /// How many users there are.
    pub keys: u64,
    /// How many pages there are.
    pub pages: u64,
    /// Events per second of the log's time.
    pub rate: u64,
    /// When the log begins, in microseconds since 1970.
    pub start: i64,
    /// What makes one stream different from another.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            events: 1_000_000,
            partitions: 4,
            disorder: 30_000_000,
            late: 0.01,
            duplicates: 0.01,
            bad: 0.001,
            keys: 10_000,
            pages: 500,
            rate: 1000,
            start: 1_767_225_600_000_000, // 2026-01-01T00:00:00Z
            seed: 1,
        }
    }
}

/// Records a batch of [`Clickstream`] holds at most.
const BATCH_RECORDS: usize = 8192;
/// Events that a repetition is chosen from.
const REMEMBERED: usize = 64;
const MINUTE: i64 = 60_000_000;

/// The records of a clickstream, in batches of one partition each, in the order of their arrival there.
pub struct Clickstream {
    options: Options,
    random: Random,
    next: u64,
    logs: Vec<Log>,
    value: Vec<u8>,
}

impl Clickstream {
    /// Makes a stream.
    ///
    /// # Panics
    /// When there is no partition, user, page or rate.
    pub fn new(options: Options) -> Self {
        assert!(options.partitions > 0 && options.keys > 0 && options.pages > 0 && options.rate > 0);
        let logs = (0..options.partitions).map(Log::new).collect();
        Self { random: Random(options.seed), options, next: 0, logs, value: Vec::with_capacity(256) }
    }

    /// Adds the next record to its partition and returns which that is.
    fn step(&mut self) -> usize {
        let options = &self.options;
        let arrival = options.start + (self.next as i128 * 1_000_000 / i128::from(options.rate)) as i64;
        let is_quiet = self.next >= options.events / 10 * 4 && self.next < options.events / 10 * 7;
        let speaking = if is_quiet && options.partitions > 1 { options.partitions - 1 } else { options.partitions };
        let at = self.random.below(speaking as u64) as usize;
        let log = &mut self.logs[at];
        let chance = self.random.share();
        if chance < options.duplicates && !log.recent.is_empty() {
            let (key, value) = &log.recent[self.random.below(log.recent.len() as u64) as usize];
            log.records.push(arrival, Some(key), Some(value));
        } else {
            let user = self.random.popular(options.keys);
            let key = user.to_string().into_bytes();
            let delay = delay(&mut self.random, options);
            write_event(&mut self.value, &mut self.random, options, self.next, user, arrival - delay);
            if self.random.share() < options.bad {
                let is_null = spoil(&mut self.value, &mut self.random);
                log.records.push(arrival, Some(&key), (!is_null).then_some(&self.value));
            } else {
                log.records.push(arrival, Some(&key), Some(&self.value));
                log.remember(key, &self.value);
            }
        }
        self.next += 1;
        at
    }
}

impl Iterator for Clickstream {
    type Item = RawRecords;

    fn next(&mut self) -> Option<RawRecords> {
        while self.next < self.options.events {
            let at = self.step();
            if self.logs[at].records.offsets.len() == BATCH_RECORDS {
                return Some(self.logs[at].take());
            }
        }
        self.logs.iter_mut().find(|log| !log.records.offsets.is_empty()).map(Log::take)
    }
}

/// Returns how long before its arrival an event happened.
fn delay(random: &mut Random, options: &Options) -> i64 {
    if random.share() < options.late {
        return options.disorder + MINUTE + random.below(9 * MINUTE as u64) as i64;
    }
    // Most events are nearly in time: the lesser of two draws.
    let span = options.disorder.max(0) as u64 + 1;
    random.below(span).min(random.below(span)) as i64
}

fn write_event(out: &mut Vec<u8>, random: &mut Random, options: &Options, number: u64, user: u64, time: i64) {
    out.clear();
    out.extend_from_slice(b"{\"event_id\":\"");
    let id = mix(options.seed ^ mix(number));
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(id >> (shift * 4) & 15) as usize]);
    }
    out.extend_from_slice(b"\",\"user_id\":");
    write_number(out, user, 1);
    out.extend_from_slice(b",\"page\":\"");
    write_page(out, random.popular(options.pages));
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

/// Writes decimal digits, at least `width` of them.
fn write_number(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes RFC 3339 in UTC with microseconds.
fn write_time(out: &mut Vec<u8>, micros: i64) {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000) as u64);
    let (year, month, day) = civil(days);
    let (second, micro) = (rest / 1_000_000, rest % 1_000_000);
    for (number, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (micro, 6, b'Z'),
    ] {
        write_number(out, number, width);
        out.push(after);
    }
}

/// Returns year, month and day of a day since 1970 (years from 0 on): Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u64, month as u64, day as u64)
}

/// Makes a good event bad; returns true when its value becomes null.
fn spoil(value: &mut Vec<u8>, random: &mut Random) -> bool {
    let replace = |value: &mut Vec<u8>, from: &[u8], to: &[u8]| {
        let at = value.windows(from.len()).position(|window| window == from).expect("every event has all its fields");
        value.splice(at..at + from.len(), to.iter().copied());
    };
    match random.below(10) {
        0 => value.truncate(value.len() / 2),
        1 => *value = b"not json at all".to_vec(),
        2 => replace(value, b"\"event_time\"", b"\"even_time\""),
        3 => replace(value, b"\"user_id\":", b"\"user_id\":\"x\",\"was\":"),
        4 => replace(value, b"\"amount\":", b"\"amount\":NaN,\"was\":"),
        5 => replace(value, b"\"user_id\":", b"\"user_id\":99999999999999999999,\"was\":"),
        6 => replace(value, b"\"page\":\"", b"\"page\":\"\xff"),
        7 => replace(value, b"\"event_time\":\"2", b"\"event_time\":\"x"),
        8 => value.clear(),
        _ => return true,
    }
    false
}

/// What one partition is about to give, and what it gave lately.
struct Log {
    partition: Partition,
    next_offset: i64,
    records: Records,
    recent: Vec<(Vec<u8>, Vec<u8>)>,
    oldest: usize,
}

impl Log {
    fn new(partition: Partition) -> Self {
        Self { partition, next_offset: 0, records: Records::default(), recent: Vec::new(), oldest: 0 }
    }

    fn remember(&mut self, key: Vec<u8>, value: &[u8]) {
        if self.recent.len() < REMEMBERED {
            self.recent.push((key, value.to_vec()));
        } else {
            let slot = &mut self.recent[self.oldest];
            slot.0 = key;
            slot.1.clear();
            slot.1.extend_from_slice(value);
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }

    fn take(&mut self) -> RawRecords {
        let mut records = std::mem::take(&mut self.records);
        let count = records.offsets.len() as i64;
        records.offsets.iter_mut().for_each(|offset| *offset += self.next_offset);
        self.next_offset += count;
        RawRecords {
            partition: self.partition,
            offsets: records.offsets,
            timestamps: records.timestamps,
            keys: records.keys.finish(),
            values: records.values.finish(),
            headers: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Records {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: BinaryBuilder,
    values: BinaryBuilder,
}

impl Records {
    fn push(&mut self, arrival: i64, key: Option<&Vec<u8>>, value: Option<&Vec<u8>>) {
        self.offsets.push(self.offsets.len() as i64);
        self.timestamps.push(arrival.div_euclid(1000));
        self.keys.append_option(key);
        self.values.append_option(value);
    }
}

/// SplitMix64: small, fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number from 0 (inclusive) to 1 (exclusive).
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number below `bound`, `n` about twice as often as `2 n`: a few are everywhere, most are rare.
    fn popular(&mut self, bound: u64) -> u64 {
        let levels = 64 - u64::from(bound.leading_zeros());
        loop {
            let width = 1_u64 << self.below(levels);
            let number = width - 1 + self.below(width);
            if number < bound {
                return number;
            }
        }
    }
}

fn mix(seed: u64) -> u64 {
    let x = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::Array;
    use chrono::DateTime;

    use super::*;

    struct Seen {
        partition: Partition,
        offset: i64,
        timestamp: i64,
        value: Option<Vec<u8>>,
    }

    fn options() -> Options {
        Options { events: 40_000, late: 0.02, duplicates: 0.03, bad: 0.04, ..Options::default() }
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
        count as f64 / options().events as f64
    }

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        for micros in [0, 1_767_225_600_000_001, 951_782_400_123_456, 4_102_444_799_999_999] {
            let mut out = Vec::new();
            write_time(&mut out, micros);
            let expected = DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ");
            assert_eq!(String::from_utf8(out).unwrap(), expected.to_string());
        }
    }

    #[test]
    fn the_same_options_give_the_same_bytes() {
        let values =
            |options| -> Vec<_> { records(options).into_iter().map(|seen| (seen.offset, seen.value)).collect() };
        assert_eq!(values(options()), values(options()));
        assert_ne!(values(options()), values(Options { seed: 2, ..options() }));
    }

    #[test]
    fn offsets_are_dense_and_log_time_never_goes_back() {
        let mut last: HashMap<Partition, (i64, i64)> = HashMap::new();
        let seen = records(options());
        assert_eq!(seen.len() as u64, options().events);
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
        let far = |arrival: i64, time: i64| arrival - time > options().disorder + MINUTE;
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
        let span = options().events as i64 * 1000;
        let at = |share: i64| (options().start + span * share / 100) / 1000;
        let seen = records(options());
        let spoke = |partition: Partition, from: i64, to: i64| {
            seen.iter().any(|r| r.partition == partition && r.timestamp >= at(from) && r.timestamp < at(to))
        };
        assert!(spoke(3, 0, 40) && !spoke(3, 41, 69) && spoke(3, 70, 80));
        assert!((0..4).all(|partition| spoke(partition, 99, 101)));
        assert!(spoke(2, 41, 69));
    }

    #[test]
    fn small_numbers_are_popular_and_none_is_out_of_range() {
        let mut random = Random(7);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[random.popular(10) as usize] += 1;
        }
        assert!(counts[0] > 2 * counts[2] && counts.iter().all(|count| *count > 100), "{counts:?}");
        assert_eq!(random.popular(1), 0);
    }
}
