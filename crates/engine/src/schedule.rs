//! When a pipeline is to run again, and over which stretch of event time: what `schedules:` means.
//!
//! Nothing here asks what time it is. A firing is a point in time that follows from the line of cron and the zone alone, and
//! what it reprocesses follows from that point: not from when the run began, nor from what ran before.
//!
//! A line names times as clocks of its zone show them. On the days on which these are put:
//! - a line with one hour and one minute names a time of the day. One that the clocks leave out is fired once, at the first
//!   moment after the gap; one that they show twice is fired the first time only;
//! - any other line (`*/15 * * * *`, `0 2,14 * * *`) names every time that the clocks show: what they leave out is not
//!   fired, what they show twice is fired twice.

use std::fmt;

use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use crate::calendar;

/// A schedule of a pipeline.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name in the pipeline file.
    pub name: String,
    /// When it fires.
    pub cron: Cron,
    /// What a firing reprocesses.
    pub reprocess: Reprocess,
    /// What becomes of firings that were missed.
    pub catch_up: CatchUp,
    /// What becomes of a firing while the run of an earlier one goes on.
    pub overlap: Overlap,
    /// How a run is repeated that the environment let fail.
    pub retry: Option<Retry>,
    /// How much later than its firing a run begins at most, in microseconds.
    pub jitter: i64,
    /// Whether the range is verified after the run.
    pub verify: bool,
    /// Who is told when all went well.
    pub on_success: Option<Hook>,
    /// Who is told when it did not.
    pub on_failure: Option<Hook>,
}

/// What a firing reprocesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reprocess {
    /// As many microseconds before it.
    Last(i64),
    /// From the firing before it to it.
    PreviousInterval,
    /// Always the same range.
    Range {
        /// Its beginning.
        from: i64,
        /// Its end, which does not belong to it.
        to: i64,
    },
    /// Whatever is stale or missing when it runs.
    Stale,
}

/// What becomes of firings that nobody was there to start, or that waited for a run to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    None,
    /// The latest of them runs.
    Latest,
    /// They run one after the other, at most so many of the latest.
    All {
        /// How many at most.
        max: usize,
    },
}

impl CatchUp {
    /// How many firings `all` catches up with when it does not say so.
    pub const MOST: usize = 1000;
}

/// What becomes of a firing while the run of an earlier one goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It waits; of those that wait, `catch_up` chooses.
    Queue,
    /// The run is stopped, and this one begins.
    CancelRunning,
}

/// How a run is repeated that the environment let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most.
    pub times: u32,
    /// How long after the failure the first time, in microseconds; each time twice as long.
    pub backoff: i64,
}

impl Retry {
    /// No wait grows longer than this by being doubled.
    const LONGEST: i64 = 3_600_000_000;

    /// Returns how long to wait after so many failures, in microseconds.
    pub fn wait(&self, failures: u32) -> i64 {
        let doubled = self.backoff.saturating_mul(1 << failures.saturating_sub(1).min(30));
        doubled.min(self.backoff.max(Self::LONGEST))
    }
}

/// Who is told what became of a firing.
#[derive(Clone, PartialEq, Eq)]
pub enum Hook {
    /// A program with its arguments, which reads JSON from its standard input.
    Command(Vec<String>),
    /// An address to which JSON is posted. It may hold a secret.
    Webhook(String),
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hook::Command(words) => write!(f, "command {}", words.first().map_or("", String::as_str)),
            Hook::Webhook(_) => f.write_str("webhook"),
        }
    }
}

impl Schedule {
    /// Returns the stretch of event time that the firing at a time reprocesses, which its end does not belong to. None: the first
    /// firing there ever was has none before it, and of `stale` only its run can tell.
    pub fn interval(&self, due: i64) -> Option<(i64, i64)> {
        match self.reprocess {
            Reprocess::Last(length) => Some((due - length, due)),
            Reprocess::PreviousInterval => self.cron.before(due).map(|before| (before, due)),
            Reprocess::Range { from, to } => Some((from, to)),
            Reprocess::Stale => None,
        }
    }

    /// Returns when the run of a firing begins: up to `jitter` later, by a number that follows from names and time, so that
    /// pipelines that fire together do not begin together and each always begins alike.
    pub fn begins(&self, pipeline: &str, due: i64) -> i64 {
        if self.jitter <= 0 {
            return due;
        }
        let text = format!("{pipeline}\0{}\0{due}", self.name);
        due + (xxhash_rust::xxh3::xxh3_64(text.as_bytes()) % self.jitter as u64) as i64
    }
}

/// A line of cron in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    zone: Tz,
    line: croner::Cron,
}

impl Cron {
    /// Reads a line of five fields, or a word such as `@daily`. Says what is wrong with it otherwise.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let fields = text.split_whitespace().count();
        if !text.trim_start().starts_with('@') && fields != 5 {
            return Err(format!("it has {fields} field{}, not five", if fields == 1 { "" } else { "s" }));
        }
        let line = parser.parse(text).map_err(|error| {
            let said = error.to_string();
            let reason = said.split_once(": ").map_or(said.as_str(), |(_, reason)| reason);
            reason.trim_end_matches('.').to_string()
        })?;
        Ok(Self { text: text.trim().to_string(), zone, line })
    }

    /// Returns the line as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns its time zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Returns what the clocks of its zone show at a time, and how far they are ahead of UTC: `2026-03-29 03:00 +02:00`.
    pub fn local(&self, time: i64) -> String {
        let utc = DateTime::from_timestamp_micros(time).unwrap_or_default();
        self.zone.from_utc_datetime(&utc.naive_utc()).format("%Y-%m-%d %H:%M %:z").to_string()
    }

    /// Returns the first firing after a time, in microseconds since 1970; None: it never fires again.
    pub fn after(&self, time: i64) -> Option<i64> {
        let start = self.zone.from_utc_datetime(&DateTime::from_timestamp_micros(time)?.naive_utc());
        let next = self.line.find_next_occurrence(&start, false).ok()?;
        Some(next.timestamp_micros()).filter(|next| *next > time)
    }

    /// Returns the last firing before a time, found by going forward, so that it cannot disagree with [`Cron::after`].
    pub fn before(&self, time: i64) -> Option<i64> {
        const MINUTE: i64 = 60_000_000;
        const DAY: i64 = 1440 * MINUTE;
        // A line fires every minute or once in eight years (29 February around 2100), so the look back grows.
        [2 * MINUTE, 120 * MINUTE, 2 * DAY, 40 * DAY, 400 * DAY, 3300 * DAY]
            .into_iter()
            .find_map(|span| self.between(time - span, time - 1).last())
    }

    /// Returns the firings after a time up to and with another one.
    pub fn between(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + '_ {
        std::iter::successors(self.after(after), |last| self.after(*last)).take_while(move |time| *time <= until)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }
}

/// Returns the zone of that name if it is that of a place, so that everybody means the same by it: `Area/Place` or `UTC`.
/// Says what is wrong with it otherwise: what it is, and what to write.
pub fn zone(name: &str) -> Result<Tz, (String, String)> {
    let place = "write the name of a place in the IANA database, such as `Europe/Berlin`, or `UTC`";
    match calendar::zone(name) {
        Ok(zone) if name.contains('/') || name == "UTC" => Ok(zone),
        Ok(_) => Err((format!("`{name}` does not say whose clocks are meant, and whether they are put"), place.into())),
        Err(Some(near)) => Err((format!("there is no time zone `{name}`"), format!("did you mean `{near}`?"))),
        Err(None) => {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let ends_so = |known: &&str| known.rsplit('/').next().is_some_and(|end| end.eq_ignore_ascii_case(name));
            let help = match names.into_iter().find(ends_so) {
                Some(near) => format!("did you mean `{near}`?"),
                None => place.into(),
            };
            Err((format!("there is no time zone `{name}`"), help))
        }
    }
}

#[cfg(test)]
mod tests;
