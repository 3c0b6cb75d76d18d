//! The auction of Nexmark: people, auctions and bids, as the crate `nexmark` makes them, in an untidy log.
//!
//! The crate makes event `i` at `start + i / rate`, all in order, and always the same ones; each then reaches the log
//! after a delay of its own, so that the log is out of order. The seed only says how, never what the events are.

use std::collections::BTreeMap;

use engine::log::RawRecords;
use engine::plan::{Bindings, ColumnPlan, OnBad, OnLate, SourcePlan, TimeFormat, ValueFrom};
use engine::{DataType, Field};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, Person};

use crate::untidy::{Events, Options, Random, Spoilt, Untidy, write_number, write_time};

/// The columns of the events; those marked are never null. One of the structs is there, the one that `event_type` names.
const COLUMNS: &[(&str, &str, bool)] = &[
    ("event_type", "string", true),
    ("date_time", "timestamp", true),
    (
        "person",
        "struct<id: int64, name: string, email_address: string, credit_card: string, city: string, state: string, \
         extra: string>",
        false,
    ),
    (
        "auction",
        "struct<id: int64, item_name: string, description: string, initial_bid: int64, reserve: int64, \
         expires: timestamp, seller: int64, category: int64, extra: string>",
        false,
    ),
    ("bid", "struct<auction: int64, bidder: int64, price: int64, channel: string, url: string, extra: string>", false),
];

/// Returns the source that reads these events, as the pipelines of this project declare it; without bindings.
pub fn source() -> SourcePlan {
    let column = |(name, data_type, is_required): &(&str, &str, bool)| ColumnPlan {
        field: Field {
            name: (*name).into(),
            data_type: DataType::parse(data_type).expect("the types above are right"),
            nullable: !is_required,
        },
        from: ValueFrom::Path(vec![(*name).into()]),
        format: TimeFormat::Default,
        null_as: Vec::new(),
    };
    SourcePlan {
        name: "events".into(),
        columns: COLUMNS.iter().map(column).collect(),
        format: "json".into(),
        event_time: "date_time".into(),
        out_of_orderness: Options::default().disorder,
        max_future: None,
        partitions: None,
        on_bad: OnBad::Quarantine,
        on_late: OnLate::Quarantine,
        bindings: Bindings::default(),
        needed: COLUMNS.iter().map(|(name, ..)| (*name).into()).collect(),
        tombstones: false,
    }
}

/// The records of a Nexmark log, in batches of one partition each, in the order of their arrival there.
pub struct Nexmark(Untidy<House>);

impl Nexmark {
    /// Makes a log.
    ///
    /// # Panics
    /// When there is no partition or rate.
    pub fn new(options: Options) -> Self {
        let config = NexmarkConfig {
            base_time: options.start.div_euclid(1000) as u64,
            first_rate: options.rate as usize,
            next_rate: options.rate as usize,
            ..NexmarkConfig::default()
        };
        let house = House { made: EventGenerator::new(config), coming: BTreeMap::new(), arrived: options.start };
        Self(Untidy::new(house, options))
    }
}

impl Iterator for Nexmark {
    type Item = RawRecords;

    fn next(&mut self) -> Option<RawRecords> {
        self.0.next()
    }
}

struct House {
    made: EventGenerator,
    /// Events on their way, by arrival and number.
    coming: BTreeMap<(i64, u64), Event>,
    /// When the last event arrived.
    arrived: i64,
}

impl Events for House {
    const SPOILT: &'static [Spoilt] = &[
        Spoilt::Half,
        Spoilt::NotJson,
        Spoilt::Replaced("\"date_time\"", b"\"dat_time\""),
        Spoilt::Replaced("\"date_time\":\"2", b"\"date_time\":\"x"),
        Spoilt::Replaced("\"event_type\":", b"\"event_type\":null,\"was\":"),
        Spoilt::Replaced("\":{", b"\":7,\"was\":{"),
        Spoilt::Replaced("\"extra\":\"", b"\"extra\":\"\xff"),
        Spoilt::Empty,
        Spoilt::Null,
    ];

    fn now(&self, _: &Options, _: u64) -> i64 {
        self.arrived
    }

    fn next(&mut self, options: &Options, _: u64, random: &mut Random, value: &mut Vec<u8>) -> (i64, Vec<u8>) {
        // An event that has not happened yet cannot arrive before those that have.
        while self.coming.first_key_value().is_none_or(|(next, _)| next.0 >= self.made.timestamp() as i64 * 1000) {
            let number = self.made.offset();
            let event = self.made.next().expect("the auction never ends");
            let arrival = event.timestamp() as i64 * 1000 + options.delay(random);
            self.coming.insert((arrival, number), event);
        }
        let ((arrival, _), event) = self.coming.pop_first().expect("one was put there");
        self.arrived = arrival;
        value.clear();
        (arrival, write_event(value, &event).to_string().into_bytes())
    }
}

/// Writes an event and returns its key: a person's or an auction's id, or the auction that a bid is for.
fn write_event(out: &mut Vec<u8>, event: &Event) -> usize {
    let kind: &[u8] = match event {
        Event::Person(_) => b"person",
        Event::Auction(_) => b"auction",
        Event::Bid(_) => b"bid",
    };
    out.extend_from_slice(b"{\"event_type\":\"");
    out.extend_from_slice(kind);
    out.extend_from_slice(b"\",\"date_time\":\"");
    write_time(out, event.timestamp() as i64 * 1000);
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(kind);
    out.extend_from_slice(b"\":{");
    let mut fields = Fields { out, count: 0 };
    let key = match event {
        Event::Person(person) => write_person(&mut fields, person),
        Event::Auction(auction) => write_auction(&mut fields, auction),
        Event::Bid(bid) => write_bid(&mut fields, bid),
    };
    out.extend_from_slice(b"}}");
    key
}

fn write_person(fields: &mut Fields<'_>, person: &Person) -> usize {
    fields.number("id", person.id);
    fields.text("name", &person.name);
    fields.text("email_address", &person.email_address);
    fields.text("credit_card", &person.credit_card);
    fields.text("city", &person.city);
    fields.text("state", &person.state);
    fields.text("extra", &person.extra);
    person.id
}

fn write_auction(fields: &mut Fields<'_>, auction: &Auction) -> usize {
    fields.number("id", auction.id);
    fields.text("item_name", &auction.item_name);
    fields.text("description", &auction.description);
    fields.number("initial_bid", auction.initial_bid);
    fields.number("reserve", auction.reserve);
    fields.name("expires");
    fields.out.push(b'"');
    write_time(fields.out, auction.expires as i64 * 1000);
    fields.out.push(b'"');
    fields.number("seller", auction.seller);
    fields.number("category", auction.category);
    fields.text("extra", &auction.extra);
    auction.id
}

fn write_bid(fields: &mut Fields<'_>, bid: &Bid) -> usize {
    fields.number("auction", bid.auction);
    fields.number("bidder", bid.bidder);
    fields.number("price", bid.price);
    fields.text("channel", &bid.channel);
    fields.text("url", &bid.url);
    fields.text("extra", &bid.extra);
    bid.auction
}

/// The inside of a JSON object.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
    count: usize,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        if self.count > 0 {
            self.out.push(b',');
        }
        self.count += 1;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn number(&mut self, name: &str, value: usize) {
        self.name(name);
        write_number(self.out, value as u64, 1);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        serde_json::to_writer(&mut *self.out, value).expect("text can be written into memory");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::Array;
    use serde_json::{Value, json};

    use super::*;

    fn options() -> Options {
        Options { events: 20_000, rate: 100, late: 0.02, duplicates: 0.03, bad: 0.04, ..Options::default() }
    }

    /// Returns partition, offset, log time and value of every record.
    fn records(options: Options) -> Vec<(i32, i64, i64, Option<Vec<u8>>)> {
        let rows = |batch: RawRecords| {
            let value = |i: usize| batch.values.is_valid(i).then(|| batch.values.value(i).to_vec());
            let row = |i: usize| (batch.partition, batch.offsets[i], batch.timestamps[i], value(i));
            (0..batch.offsets.len()).map(row).collect::<Vec<_>>()
        };
        Nexmark::new(options).flat_map(rows).collect()
    }

    /// Returns an event, if the record is a good one.
    fn good(value: &[u8]) -> Option<Value> {
        let event: Value = serde_json::from_slice(value).ok()?;
        event[event["event_type"].as_str()?].as_object()?;
        chrono::DateTime::parse_from_rfc3339(event["date_time"].as_str()?).ok()?;
        Some(event)
    }

    /// What the crate gives, written by hand.
    fn expected(event: &Event) -> Value {
        let time =
            |ms: u64| chrono::DateTime::from_timestamp_millis(ms as i64).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ");
        let at = time(event.timestamp()).to_string();
        match event {
            Event::Person(p) => json!({"event_type": "person", "date_time": at, "person": {
                "id": p.id, "name": p.name, "email_address": p.email_address, "credit_card": p.credit_card,
                "city": p.city, "state": p.state, "extra": p.extra}}),
            Event::Auction(a) => json!({"event_type": "auction", "date_time": at, "auction": {
                "id": a.id, "item_name": a.item_name, "description": a.description, "initial_bid": a.initial_bid,
                "reserve": a.reserve, "expires": time(a.expires).to_string(), "seller": a.seller,
                "category": a.category, "extra": a.extra}}),
            Event::Bid(b) => json!({"event_type": "bid", "date_time": at, "bid": {
                "auction": b.auction, "bidder": b.bidder, "price": b.price, "channel": b.channel, "url": b.url,
                "extra": b.extra}}),
        }
    }

    #[test]
    fn a_tidy_log_holds_the_events_of_the_crate_in_their_order() {
        let tidy = Options { partitions: 1, disorder: 0, late: 0.0, duplicates: 0.0, bad: 0.0, ..options() };
        let config =
            NexmarkConfig { base_time: 1_767_225_600_000, first_rate: 100, next_rate: 100, ..NexmarkConfig::default() };
        let log = records(tidy);
        assert_eq!(log.len(), 20_000);
        for (record, event) in log.iter().zip(EventGenerator::new(config)) {
            let found: Value = serde_json::from_slice(record.3.as_deref().unwrap()).unwrap();
            assert_eq!(found, expected(&event));
            assert_eq!(record.2, event.timestamp() as i64);
        }
    }

    #[test]
    fn the_seed_moves_events_and_changes_none() {
        let clean = |seed| {
            let options = Options { bad: 0.0, duplicates: 0.0, late: 0.0, seed, ..options() };
            records(options).into_iter().map(|record| record.3.unwrap()).collect::<Vec<_>>()
        };
        let (one, other) = (clean(1), clean(2));
        assert_eq!(one, clean(1));
        assert_ne!(one, other);
        // But for the last ones, which may still be on their way.
        let settled = |log: &[Vec<u8>]| {
            let mut log: Vec<_> = log
                .iter()
                .filter(|value| good(value).unwrap()["date_time"].as_str() < Some("2026-01-01T00:02:40"))
                .cloned()
                .collect();
            log.sort();
            log
        };
        assert!(settled(&one).len() > 15_000);
        assert_eq!(settled(&one), settled(&other));
    }

    #[test]
    fn offsets_are_dense_log_time_never_goes_back_and_no_event_comes_before_it_happened() {
        let mut last: HashMap<i32, (i64, i64)> = HashMap::new();
        for (partition, offset, timestamp, value) in records(options()) {
            let (before, time) = last.get(&partition).copied().unwrap_or((-1, 0));
            assert_eq!(offset, before + 1);
            assert!(timestamp >= time);
            last.insert(partition, (offset, timestamp));
            if let Some(event) = value.as_deref().and_then(good) {
                let at = chrono::DateTime::parse_from_rfc3339(event["date_time"].as_str().unwrap()).unwrap();
                assert!(at.timestamp_millis() <= timestamp);
            }
        }
        assert_eq!(last.len(), 4);
    }

    #[test]
    fn late_bad_and_repeated_records_come_as_often_as_asked() {
        let log = records(options());
        let events: Vec<(i64, &[u8], Value)> = log
            .iter()
            .filter_map(|record| Some((record.2, record.3.as_deref()?, good(record.3.as_deref()?)?)))
            .collect();
        let share = |count: usize| count as f64 / 20_000.0;
        let is_late = |(arrival, _, event): &&(i64, &[u8], Value)| {
            let at = chrono::DateTime::parse_from_rfc3339(event["date_time"].as_str().unwrap()).unwrap();
            arrival - at.timestamp_millis() > 90_000
        };
        let mut values: Vec<&[u8]> = events.iter().map(|(_, value, _)| *value).collect();
        values.sort_unstable();
        let repeated = values.windows(2).filter(|pair| pair[0] == pair[1]).count();
        // Late ones of the last minutes are still on their way, so there are fewer than 2 %: the log is 200 seconds long.
        let late = share(events.iter().filter(is_late).count());
        assert!(late > 0.0005 && late < 0.02, "{late}");
        // Five standard deviations of 20,000 draws are less than 0.7 percent.
        assert!((share(20_000 - events.len()) - 0.04).abs() < 0.007, "{} bad", 20_000 - events.len());
        assert!((share(repeated) - 0.03).abs() < 0.007, "{repeated} repeated");
    }
}
