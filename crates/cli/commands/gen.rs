//! `samestream gen`: a made-up stream, into a journal, a topic or a lake.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use engine::log::{Partition, RawRecords};
use engine::plan::KafkaBinding;
use engine::{Code, Error, Result};
use runtime::clickstream::{self, Clickstream};
use runtime::nexmark::{self, Nexmark};
use runtime::target::Target;
use runtime::untidy::Options;

use crate::commands::run::parse_duration;
use crate::global::Global;
use crate::output::thousands;
use crate::progress::Shown;
use crate::{clock, report, signals};

/// Make a seeded stream of clicks, or the auction of Nexmark: disordered, with late records, repetitions and bad JSON
///
/// The same options make the same bytes. The last partition falls quiet from 40 % to 70 % of the time, then speaks again.
/// The events of Nexmark are always the same ones; the seed only says how they are spread, delayed and spoilt.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream gen --to journal:data/journal/clicks\n  \
    samestream gen nexmark --to journal:data/journal/nexmark --events 100000 --rate 10\n  \
    samestream gen --to kafka:localhost:9092/clicks --events 10000000 --partitions 8\n  \
    samestream gen --to lake:data/lake/clicks --disorder 1m --late 2% --bad 0.1% --seed 7")]
pub(crate) struct Arguments {
    /// Which stream
    #[arg(value_name = "STREAM", value_enum, default_value = "clicks")]
    stream: Stream,
    /// Where to: journal:PATH, kafka:BROKERS/TOPIC or lake:PATH
    #[arg(long, value_name = "URI", value_parser = parse_place)]
    to: Place,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Over how many partitions
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Partition,
    /// How far out of order events may be without being late
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    disorder: Duration,
    /// Share of events that come a minute to ten later than that
    #[arg(long, value_name = "P%", default_value = "1%", value_parser = parse_share)]
    late: f64,
    /// Share of records that come twice
    #[arg(long, value_name = "P%", default_value = "1%", value_parser = parse_share)]
    duplicates: f64,
    /// Share of records that are not good JSON events
    #[arg(long, value_name = "P%", default_value = "0.1%", value_parser = parse_share)]
    bad: f64,
    /// How many users make the clicks [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Events per second of event time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// What makes one stream different from another
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Clicks on the pages of a shop: the pipelines in `pipelines/` read them
    Clicks,
    /// People, auctions and bids: the pipelines in `pipelines/nexmark/` read them
    Nexmark,
}

#[derive(Clone, Debug)]
enum Place {
    Journal(PathBuf),
    Topic { brokers: String, topic: String },
    Lake(PathBuf),
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<ExitCode> {
    let options = Options {
        events: arguments.events,
        partitions: arguments.partitions,
        disorder: arguments.disorder.as_micros() as i64,
        late: arguments.late,
        duplicates: arguments.duplicates,
        bad: arguments.bad,
        rate: arguments.rate,
        seed: arguments.seed,
        ..Options::default()
    };
    if let (Stream::Nexmark, Some(_)) = (arguments.stream, arguments.keys) {
        let error = Error::new(Code::Usage, "`--keys` is for the clicks");
        return Err(error.help("leave it out: how many people there are in Nexmark follows from the number of events"));
    }
    let partitions: Vec<Partition> = (0..options.partitions).collect();
    let (mut target, place) = match &arguments.to {
        Place::Journal(path) => (Target::journal(path, &partitions)?, path.display().to_string()),
        Place::Lake(path) => {
            let source = match arguments.stream {
                Stream::Clicks => clickstream::source(),
                Stream::Nexmark => nexmark::source(),
            };
            (Target::lake(path, &source, &partitions)?, path.display().to_string())
        }
        Place::Topic { brokers, topic } => {
            let binding = KafkaBinding { brokers: brokers.clone(), topic: topic.clone(), options: Default::default() };
            let oldest = Some(options.start / 1000);
            (Target::topic(&binding, &partitions, oldest, clock::now_ms(), true)?, format!("topic {topic}"))
        }
    };
    let stop = signals::stop_flag()?;
    let shown = Shown::titled("gen".into(), false, global);
    let total = options.events;
    let written = match arguments.stream {
        Stream::Clicks => {
            let default = clickstream::Options::default();
            let keys = arguments.keys.unwrap_or(default.keys);
            let clicks = Clickstream::new(clickstream::Options { log: options, keys, ..default });
            fill(&mut target, clicks, total, &stop, &shown)
        }
        Stream::Nexmark => fill(&mut target, Nexmark::new(options), total, &stop, &shown),
    };
    shown.finish();
    let written = written?;
    if !global.quiet {
        report::say(&format!("✓ {} records over {} partitions  →  {place}\n", thousands(written), partitions.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a log of so many records and returns how many were written.
pub(crate) fn fill(
    target: &mut Target,
    log: impl Iterator<Item = RawRecords>,
    total: u64,
    stop: &AtomicBool,
    shown: &Shown,
) -> Result<u64> {
    let mut written = 0;
    for records in log {
        if stop.load(Ordering::Relaxed) {
            // What is there stays, but nobody may take it for the whole.
            target.finish()?;
            let message = format!("stopped after {} of {} records", thousands(written), thousands(total));
            return Err(Error::new(Code::Stopped, message).help("remove what was written and start again"));
        }
        target.write(&records, clock::now_ms())?;
        written += records.offsets.len() as u64;
        shown.count(written, Some(total));
    }
    target.finish()?;
    Ok(written)
}

fn parse_place(text: &str) -> Result<Place, String> {
    let wrong = "write journal:PATH, kafka:BROKERS/TOPIC or lake:PATH";
    match text.split_once(':').ok_or(wrong)? {
        ("journal", path) if !path.is_empty() => Ok(Place::Journal(path.into())),
        ("lake", path) if !path.is_empty() => Ok(Place::Lake(path.into())),
        ("kafka", place) => match place.rsplit_once('/') {
            Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() => {
                Ok(Place::Topic { brokers: brokers.into(), topic: topic.into() })
            }
            _ => Err("write kafka:BROKERS/TOPIC, such as kafka:localhost:9092/clicks".into()),
        },
        _ => Err(wrong.into()),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').ok_or("write a share such as 1% or 0.1%")?;
    match number.trim().parse::<f64>() {
        Ok(share) if (0.0..=100.0).contains(&share) => Ok(share / 100.0),
        _ => Err("a share is from 0% to 100%".into()),
    }
}
