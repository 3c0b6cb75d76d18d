//! What makes a made-up log as untidy as real ones: the disorder, lateness, repetitions and bad records that its streams
//! have in common.
//!
//! An event reaches the log up to `disorder` after it happened, or far more when it is late. Some come twice, some are bad
//! in one of several ways. Unless there is only one partition, the last one says nothing between 40 % and 70 % of the
//! records, then speaks again; every partition speaks until the end.

use arrow::array::BinaryBuilder;
use engine::log::{Partition, RawRecords};

/// What a log is like, whatever stream it holds.
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
    /// Events per second of the log's time.
    pub rate: u64,
    /// When the log begins, in microseconds since 1970.
    pub start: i64,
    /// What makes one log different from another.
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
            rate: 1000,
            start: 1_767_225_600_000_000, // 2026-01-01T00:00:00Z
            seed: 1,
        }
    }
}

impl Options {
    /// Returns how long after it happened an event reaches the log.
    pub(crate) fn delay(&self, random: &mut Random) -> i64 {
        if random.share() < self.late {
            return self.disorder + MINUTE + random.below(9 * MINUTE as u64) as i64;
        }
        // Most events are nearly in time: the lesser of two draws.
        let span = self.disorder.max(0) as u64 + 1;
        random.below(span).min(random.below(span)) as i64
    }
}

/// Records a batch holds at most.
const BATCH_RECORDS: usize = 8192;
/// Events that a repetition is chosen from.
const REMEMBERED: usize = 64;
pub(crate) const MINUTE: i64 = 60_000_000;

/// A stream of good events, in the order of their arrival.
pub(crate) trait Events {
    /// How its records can be bad.
    const SPOILT: &'static [Spoilt];

    /// Returns when record `number` arrives if it repeats another; not before the event made last.
    fn now(&self, options: &Options, number: u64) -> i64;

    /// Writes the next event, which is record `number`, over `value`. Returns when it arrives, and its key.
    fn next(&mut self, options: &Options, number: u64, random: &mut Random, value: &mut Vec<u8>) -> (i64, Vec<u8>);
}

/// A way of being bad.
#[derive(Clone, Copy)]
pub(crate) enum Spoilt {
    /// Cut off in the middle.
    Half,
    /// Something else altogether.
    NotJson,
    /// No bytes.
    Empty,
    /// No value.
    Null,
    /// With the first occurrence of a text replaced by another. Every event of the stream has it.
    Replaced(&'static str, &'static [u8]),
}

impl Spoilt {
    /// Makes a good value bad; returns true when it becomes null.
    fn spoil(self, value: &mut Vec<u8>) -> bool {
        match self {
            Spoilt::Half => value.truncate(value.len() / 2),
            Spoilt::NotJson => *value = b"not json at all".to_vec(),
            Spoilt::Empty => value.clear(),
            Spoilt::Null => return true,
            Spoilt::Replaced(from, to) => {
                let found = value.windows(from.len()).position(|window| window == from.as_bytes());
                let at = found.expect("every event has all its fields");
                value.splice(at..at + from.len(), to.iter().copied());
            }
        }
        false
    }
}

/// The records of an untidy log, in batches of one partition each, in the order of their arrival there.
pub(crate) struct Untidy<E> {
    events: E,
    options: Options,
    random: Random,
    next: u64,
    logs: Vec<Log>,
    value: Vec<u8>,
}

impl<E: Events> Untidy<E> {
    /// Makes a log.
    ///
    /// # Panics
    /// When there is no partition or rate.
    pub(crate) fn new(events: E, options: Options) -> Self {
        assert!(options.partitions > 0 && options.rate > 0);
        let logs = (0..options.partitions).map(Log::new).collect();
        Self { events, random: Random(options.seed), options, next: 0, logs, value: Vec::with_capacity(256) }
    }

    /// Adds the next record to its partition and returns which that is.
    fn step(&mut self) -> usize {
        let options = &self.options;
        let is_quiet = self.next >= options.events / 10 * 4 && self.next < options.events / 10 * 7;
        let speaking = if is_quiet && options.partitions > 1 { options.partitions - 1 } else { options.partitions };
        let at = self.random.below(speaking as u64) as usize;
        let log = &mut self.logs[at];
        let chance = self.random.share();
        if chance < options.duplicates && !log.recent.is_empty() {
            let (key, value) = &log.recent[self.random.below(log.recent.len() as u64) as usize];
            log.records.push(self.events.now(options, self.next), Some(key), Some(value));
        } else {
            let (arrival, key) = self.events.next(options, self.next, &mut self.random, &mut self.value);
            if self.random.share() < options.bad {
                let way = E::SPOILT[self.random.below(E::SPOILT.len() as u64) as usize];
                let is_null = way.spoil(&mut self.value);
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

impl<E: Events> Iterator for Untidy<E> {
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

/// Writes decimal digits, at least `width` of them.
pub(crate) fn write_number(out: &mut Vec<u8>, mut number: u64, width: usize) {
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
pub(crate) fn write_time(out: &mut Vec<u8>, micros: i64) {
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
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a number from 0 (inclusive) to 1 (exclusive).
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number below `bound`, `n` about twice as often as `2 n`: a few are everywhere, most are rare.
    pub(crate) fn popular(&mut self, bound: u64) -> u64 {
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

/// Returns a number that looks like no other's.
pub(crate) fn mix(seed: u64) -> u64 {
    let x = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

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
