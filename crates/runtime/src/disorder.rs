//! Disorder: how far records come behind the newest of their partition, and which bound would let them in.

/// How out of order the records of one partition are, in offset order.
#[derive(Clone, Debug, Default)]
pub struct Disorder {
    largest_seen: Option<i64>,
    records: u64,
    /// How far each record is behind that is, in microseconds; sorted once it is asked for.
    behind: Vec<i64>,
    is_sorted: bool,
}

impl Disorder {
    /// Takes the event time of the next valid record and returns how far it is behind the largest before it.
    pub fn add(&mut self, event_time: i64) -> i64 {
        self.records += 1;
        let behind = self.largest_seen.map_or(0, |largest| largest.saturating_sub(event_time).max(0));
        self.largest_seen = Some(self.largest_seen.map_or(event_time, |largest| largest.max(event_time)));
        if behind > 0 {
            self.behind.push(behind);
            self.is_sorted = false;
        }
        behind
    }

    /// Takes in the records of another partition.
    pub fn merge(&mut self, other: &Disorder) {
        self.largest_seen = self.largest_seen.max(other.largest_seen);
        self.records += other.records;
        self.behind.extend_from_slice(&other.behind);
        self.is_sorted = false;
    }

    /// Returns how many records there are.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns how many of them are behind.
    pub fn behind(&self) -> u64 {
        self.behind.len() as u64
    }

    /// Returns how far the one furthest behind is, in microseconds; 0 when all are in order.
    pub fn largest(&self) -> i64 {
        self.behind.iter().copied().max().unwrap_or(0)
    }

    /// Returns how many are further behind than a bound.
    pub fn beyond(&mut self, bound: i64) -> u64 {
        self.sort();
        (self.behind.len() - self.behind.partition_point(|lag| *lag <= bound)) as u64
    }

    /// Returns the least lag that so many of a thousand records do not exceed, those in order counted as 0.
    pub fn quantile(&mut self, per_mille: u64) -> i64 {
        self.sort();
        let in_order = self.records - self.behind.len() as u64;
        // The rank of the record, from 1.
        let rank = (self.records * per_mille).div_ceil(1000).max(1);
        match rank.checked_sub(in_order + 1) {
            Some(place) => self.behind.get(place as usize).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// Returns a bound to begin with: a round duration that lets in all records, or where a few are far behind all others,
    /// all but one of a thousand.
    pub fn suggestion(&mut self) -> i64 {
        let (largest, most) = (self.largest(), self.quantile(999));
        let is_outlier = most > 0 && largest / 10 > most;
        round_up(if is_outlier { most } else { largest })
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.behind.sort_unstable();
            self.is_sorted = true;
        }
    }
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Round durations, in microseconds.
const ROUND: &[i64] = &[
    0,
    100_000,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    12 * HOUR,
];

/// Returns the least round duration that is not less: of those in the table, else whole days.
pub fn round_up(micros: i64) -> i64 {
    let day = 24 * HOUR;
    let round = ROUND.iter().copied().find(|round| *round >= micros);
    round.unwrap_or_else(|| micros.div_euclid(day).saturating_add(i64::from(micros % day != 0)).saturating_mul(day))
}

/// Returns the round durations below a bound, for a ladder of bounds to try.
pub fn rounds_below(micros: i64) -> impl Iterator<Item = i64> {
    ROUND.iter().copied().take_while(move |round| *round < micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disorder(times: &[i64]) -> Disorder {
        let mut disorder = Disorder::default();
        times.iter().for_each(|time| {
            disorder.add(*time);
        });
        disorder
    }

    #[test]
    fn a_lag_is_measured_from_the_largest_before() {
        let mut found = disorder(&[10, 7, 12, 12, 2]);
        assert_eq!((found.records(), found.behind(), found.largest()), (5, 2, 10));
        assert_eq!([0, 3, 9, 10].map(|bound| found.beyond(bound)), [2, 1, 1, 0]);
    }

    #[test]
    fn quantiles_count_records_in_order_as_zero() {
        let mut found = disorder(&[100, 90, 101, 102, 103, 104, 105, 106, 107, 108]);
        assert_eq!([500, 900, 901, 1000].map(|share| found.quantile(share)), [0, 0, 10, 10]);
        assert_eq!(Disorder::default().quantile(990), 0);
    }

    #[test]
    fn bounds_are_round_and_one_stray_record_does_not_make_them() {
        assert_eq!(
            [0, 1, 2_500_000, 30 * SECOND, 13 * HOUR, 25 * HOUR].map(round_up),
            [0, 100_000, 5 * SECOND, 30 * SECOND, 24 * HOUR, 48 * HOUR]
        );
        let mut times: Vec<i64> = (0..10_000).map(|i| i * SECOND - (i % 100 / 99) * 20 * SECOND).collect();
        assert_eq!(disorder(&times).suggestion(), 30 * SECOND);
        times.push(0);
        assert_eq!(disorder(&times).suggestion(), 30 * SECOND);
    }
}
