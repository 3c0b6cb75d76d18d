//! Backfills: what each is of, which of its chunks are done, and what it was thought to take.
//!
//! A backfill that is not done is gone on with: its chunks are computed from the offsets that were fixed when it began.

use engine::Result;
use engine::digest::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Catalogue, Failed, Outcome};
use crate::cut::Cut;

/// How many backfills are kept; of more the oldest that are over are forgotten.
const MOST: usize = 1_000;

/// What is known of a backfill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backfill {
    /// Its number; the runs of its chunks say that it has started them.
    pub id: u64,
    /// The pipeline, by the name in its file.
    pub pipeline: String,
    /// The definition digest.
    pub definition: String,
    /// Rows from this time on are written (RFC 3339).
    pub from: String,
    /// Rows before this time are written (RFC 3339).
    pub to: String,
    /// The length of a chunk; the last one may be shorter.
    pub chunk: String,
    /// The sinks that are written, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks: Option<Vec<String>>,
    /// The folder that they are written to instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// The lakes that are read instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
    /// The first offset read of each source and partition, in all chunks.
    pub start: Cut,
    /// The offset after the last one read, in all chunks.
    pub end: Cut,
    /// How it ended, or that it was begun and has not ended.
    pub outcome: Outcome,
    /// When it began (RFC 3339).
    pub started: String,
    /// When it ended (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// How many chunks there are.
    pub chunks: u64,
    /// How many of them are done.
    pub done: u64,
    /// What it was thought to take before it began.
    pub predicted: Amount,
    /// What the chunks that are done have taken.
    pub actual: Amount,
    /// Rows that were given to sinks.
    pub rows_written: u64,
    /// Digest of the final rows of all chunks that are done: of all chunks it is that of one run over the range.
    pub digest_final: String,
    /// Digest of all their rows, open ones included.
    pub digest_all: String,
    /// The chunks that are done, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// What something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// Records that are read; one that several chunks read counts for each.
    pub rows_read: u64,
    /// Bytes of the log that are read, as they are stored. Absent where the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Seconds by the clock. Absent where nothing is known that they could follow from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A chunk that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Its place, from 0.
    pub number: u64,
    /// Its first moment (RFC 3339).
    pub from: String,
    /// The first moment past it (RFC 3339).
    pub to: String,
    /// The number of its run in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// What was thought of it.
    pub predicted: Amount,
    /// What it took. The seconds are those from its begin to its commit, other chunks' among them if several went on at once.
    pub actual: Amount,
    /// Rows that were given to sinks.
    pub rows_written: u64,
    /// Digest of its final rows.
    pub digest_final: String,
    /// Digest of all its rows.
    pub digest_all: String,
}

impl Backfill {
    /// Counts a chunk that is done. `seconds` is what the backfill has taken so far.
    pub fn add(&mut self, part: Part, seconds: f64) {
        let place = self.parts.partition_point(|other| other.number < part.number);
        self.parts.insert(place, part);
        self.sum_up(seconds);
    }

    /// Makes the sums those of the chunks that are done.
    fn sum_up(&mut self, seconds: f64) {
        let parts = &self.parts;
        self.done = parts.len() as u64;
        self.rows_written = parts.iter().map(|part| part.rows_written).sum();
        self.actual = Amount {
            rows_read: parts.iter().map(|part| part.actual.rows_read).sum(),
            bytes: parts.iter().map(|part| part.actual.bytes).sum(),
            seconds: Some(seconds),
        };
        let digest = |of: fn(&Part) -> &str| {
            let mut sum = Digest::default();
            parts.iter().filter_map(|part| of(part).parse().ok()).for_each(|digest| sum.merge(&digest));
            sum.to_string()
        };
        self.digest_final = digest(|part| &part.digest_final);
        self.digest_all = digest(|part| &part.digest_all);
    }

    /// Returns true when it is begun and not done.
    pub fn is_unfinished(&self) -> bool {
        self.outcome != Outcome::Done
    }
}

impl Catalogue {
    /// Returns all backfills in the order in which they began, without their parts.
    pub fn backfills(&self) -> Result<Vec<Backfill>> {
        Ok(self.store.read(|tables| tables.backfills())?.unwrap_or_default())
    }

    /// Returns the chunks of a backfill that are done.
    pub fn parts(&self, backfill: u64) -> Result<Vec<Part>> {
        Ok(self.store.read(|tables| tables.parts(backfill))?.unwrap_or_default())
    }

    /// Notes that a backfill begins, and gives it its number.
    pub fn begin_backfill(&self, backfill: &mut Backfill) -> Result<()> {
        self.store.write(|tables| {
            let all = tables.backfills()?;
            backfill.id = all.last().map_or(1, |last| last.id + 1);
            let over = all.iter().filter(|backfill| !backfill.is_unfinished());
            let excess = (all.len() + 1).saturating_sub(MOST);
            over.take(excess).try_for_each(|backfill| tables.remove_backfill(backfill.id))?;
            tables.put_backfill(backfill)
        })
    }

    /// Notes how far a backfill is, and a chunk of it that has just been done.
    pub fn put_backfill(&self, backfill: &Backfill, part: Option<&Part>) -> Result<()> {
        self.store.write(|tables| {
            part.map_or(Ok(()), |part| tables.put_part(backfill.id, part))?;
            tables.put_backfill(backfill)
        })
    }
}

/// Returns the JSON Schema of a backfill.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Backfill)).expect("a schema is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, digest: u128) -> Part {
        let mut sum = Digest::default();
        sum.add(digest);
        let actual = Amount { rows_read: 10, bytes: Some(100 + number), seconds: Some(0.5) };
        Part {
            number,
            from: "2026-01-01T00:00:00Z".into(),
            to: "2026-01-02T00:00:00Z".into(),
            run: Some(number + 7),
            predicted: Amount::default(),
            actual,
            rows_written: 1,
            digest_final: sum.to_string(),
            digest_all: sum.to_string(),
        }
    }

    fn backfill() -> Backfill {
        Backfill {
            id: 0,
            pipeline: "p".into(),
            definition: "0".repeat(32),
            from: "2026-01-01T00:00:00Z".into(),
            to: "2026-01-04T00:00:00Z".into(),
            chunk: "1d".into(),
            sinks: None,
            out: None,
            input: Vec::new(),
            start: Cut::new(),
            end: Cut::from([("clicks".to_string(), [(0, 10)].into())]),
            outcome: Outcome::Running,
            started: "2026-02-01T00:00:00Z".into(),
            ended: None,
            error: None,
            chunks: 3,
            done: 0,
            predicted: Amount::default(),
            actual: Amount::default(),
            rows_written: 0,
            digest_final: Digest::default().to_string(),
            digest_all: Digest::default().to_string(),
            parts: Vec::new(),
        }
    }

    #[test]
    fn a_backfill_is_found_with_its_chunks_and_sums_them_up_whatever_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::new(folder.path());
        assert_eq!((catalogue.backfills().unwrap(), catalogue.parts(1).unwrap()), (Vec::new(), Vec::new()));
        assert!(!catalogue.is_there(), "asking makes no file");
        let (mut first, mut second) = (backfill(), backfill());
        catalogue.begin_backfill(&mut first).unwrap();
        catalogue.begin_backfill(&mut second).unwrap();
        assert_eq!((first.id, second.id), (1, 2));
        for number in [2, 0, 1] {
            let part = part(number, u128::MAX - u128::from(number));
            second.add(part.clone(), 1.5);
            catalogue.put_backfill(&second, Some(&part)).unwrap();
        }
        let found = catalogue.backfills().unwrap();
        assert_eq!(found, [first, Backfill { parts: Vec::new(), ..second.clone() }]);
        assert_eq!(catalogue.parts(1).unwrap(), []);
        assert_eq!(catalogue.parts(2).unwrap(), [0, 1, 2].map(|n| part(n, u128::MAX - u128::from(n))));
        assert_eq!(catalogue.parts(2).unwrap(), second.parts);
        assert_eq!((second.done, second.rows_written), (3, 3));
        assert_eq!(second.actual, Amount { rows_read: 30, bytes: Some(303), seconds: Some(1.5) });
        // −1 − 2 − 3 modulo 2^128.
        assert_eq!(second.digest_all, format!("x1:{:032x}:3", 0_u128.wrapping_sub(6)));
    }
}
