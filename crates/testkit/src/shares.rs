//! How often the interesting things occur in random cases, so that a test can insist on it.

use std::collections::BTreeSet;
use std::fmt;

use crate::case::expr::{Call, Expr, FAMILIES, Function};
use crate::case::log::Content;
use crate::case::scalar::MODULES;
use crate::case::{CalendarUnit, Case, Kind, Near, Step, Window, without_calls};
use crate::check::Checked;
use crate::oracle::{Answer, Identity, Stopped};
use crate::value::Value;

/// Something that can occur in a case, and how often it must, in a hundred cases.
#[derive(Clone)]
pub struct Share {
    /// What occurs.
    pub name: &'static str,
    /// The least share in percent.
    pub required: usize,
    occurs: fn(&Case, &Answer) -> bool,
}

/// How often each family of aggregates, and each module of scalar functions, must be computed in a hundred cases.
const FAMILY: usize = 8;
const MODULE: usize = 3;

/// Every share that is watched, apart from families and modules.
pub const SHARES: &[Share] = &[
    Share { name: "late records", required: 30, occurs: |_, answer| answer.rows_late > 0 },
    Share {
        name: "records late for one hopping window and not the next",
        required: 10,
        occurs: |_, answer| answer.steps.iter().any(|step| !step.partly_late.is_empty()),
    },
    Share {
        name: "sessions merged across partitions",
        required: 20,
        occurs: |_, answer| answer.steps.iter().any(|step| step.sessions_across_partitions > 0),
    },
    Share {
        name: "an empty partition",
        required: 10,
        occurs: |case, _| case.log.partitions.iter().any(|partition| partition.records.is_empty()),
    },
    Share { name: "two steps", required: 20, occurs: |case, _| case.pipeline.steps.len() > 1 },
    Share { name: "two sources", required: 5, occurs: |case, _| case.pipeline.sources.len() > 1 },
    Share {
        name: "a window over window rows",
        required: 20,
        occurs: |case, _| {
            let steps = &case.pipeline.steps;
            steps.iter().any(|step| step.window.is_some() && case.pipeline.is_over_windows(step))
        },
    },
    Share {
        name: "a union",
        required: 8,
        occurs: |case, _| case.pipeline.steps.iter().any(|step| step.from.len() > 1),
    },
    Share {
        name: "a union of window rows",
        required: 2,
        occurs: |case, _| {
            case.pipeline.steps.iter().any(|step| step.from.len() > 1 && case.pipeline.is_over_windows(step))
        },
    },
    Share {
        name: "a window over records of several sources",
        required: 1,
        occurs: |case, _| {
            let several = |step: &Step| step.from.iter().filter(|from| case.pipeline.is_source(from)).count() > 1;
            case.pipeline.steps.iter().any(|step| step.window.is_some() && several(step))
        },
    },
    Share {
        name: "repetitions taken away",
        required: 4,
        occurs: |_, answer| answer.steps.iter().any(|step| step.dedup.is_some_and(|(before, after)| after < before)),
    },
    Share {
        name: "an id let through again after a pause",
        required: 1,
        occurs: |case, answer| {
            let mut steps = case.pipeline.steps.iter().zip(&answer.steps);
            steps.any(|(step, found)| {
                let Some(dedup) = &step.dedup else { return false };
                let [(name, Expr::Column(column))] = dedup.keys.as_slice() else { return false };
                let place = found.columns.iter().position(|(other, _)| other == name);
                let Some(place) = place.filter(|_| name == column) else { return false };
                let mut ids: Vec<_> = found
                    .rows
                    .iter()
                    .filter_map(|row| match row.identity {
                        Identity::Record(source, partition, ..) => Some((source, partition, &row.cells[place])),
                        Identity::Window { .. } | Identity::Pair(..) => None,
                    })
                    .collect();
                let all = ids.len();
                ids.sort();
                ids.dedup();
                ids.len() < all
            })
        },
    },
    Share {
        name: "a key found in a file",
        required: 1,
        occurs: |_, answer| answer.steps.iter().any(|step| step.looked_up > 0),
    },
    Share {
        name: "an id that counts once in a window",
        required: 2,
        occurs: |_, answer| answer.steps.iter().any(|step| step.copies > 0),
    },
    Share {
        name: "exploded records",
        required: 3,
        occurs: |_, answer| answer.steps.iter().any(|step| step.is_indexed && !step.rows.is_empty()),
    },
    Share {
        name: "final rows of windows over exploded records",
        required: 3,
        occurs: |case, answer| {
            case.pipeline.steps.iter().zip(&answer.steps).any(|(step, found)| {
                let is_exploded = step.explode.is_some() || step.from.iter().any(|from| case.pipeline.is_indexed(from));
                step.window.is_some() && is_exploded && found.rows.iter().any(|row| row.is_final)
            })
        },
    },
    Share {
        name: "a late element of an exploded record",
        required: 1,
        occurs: |_, answer| answer.steps.iter().any(|step| step.late.iter().any(|late| late.3.is_some())),
    },
    Share {
        name: "lists, structs or JSON",
        required: 30,
        occurs: |case, _| has_cell(case, |cell| matches!(cell, Value::List(_) | Value::Struct(_) | Value::Json(_))),
    },
    Share {
        name: "rows that break a rule",
        required: 4,
        occurs: |_, answer| answer.steps.iter().any(|step| step.checks.iter().any(|(_, _, broken)| *broken > 0)),
    },
    Share { name: "a join", required: 8, occurs: |case, _| case.pipeline.steps.iter().any(|step| step.join.is_some()) },
    Share {
        name: "an interval join",
        required: 2,
        occurs: |case, _| has_join(case, |near| matches!(near, Near::Within { .. })),
    },
    Share {
        name: "an as-of join",
        required: 2,
        occurs: |case, _| has_join(case, |near| matches!(near, Near::AsOf { .. })),
    },
    Share {
        name: "final rows of windows over a join",
        required: 1,
        occurs: |case, answer| {
            case.pipeline.steps.iter().zip(&answer.steps).any(|(step, found)| {
                let over_join =
                    || step.from.iter().filter_map(|from| case.pipeline.step(from)).any(|before| before.join.is_some());
                step.window.is_some() && over_join() && found.rows.iter().any(|row| row.is_final)
            })
        },
    },
    Share {
        name: "a join with final rows without a partner",
        required: 1,
        occurs: |_, answer| answer.steps.iter().any(|step| step.final_without_partner > 0),
    },
    Share {
        name: "a join with pairs across sources",
        required: 1,
        occurs: |_, answer| answer.steps.iter().any(|step| step.pairs_across_sources > 0),
    },
    Share {
        name: "rows in a sink that takes a part of them",
        required: 15,
        occurs: |case, answer| {
            let mut steps = case.pipeline.steps.iter().zip(&answer.steps);
            steps.any(|(step, found)| step.part.as_ref().is_some_and(|part| !found.part(part, true).is_empty()))
        },
    },
    Share {
        name: "columns in keys or headers",
        required: 20,
        occurs: |case, _| case.pipeline.columns.iter().any(|column| column.beside.is_some()),
    },
    Share {
        name: "a version that a record without a value has ended",
        required: 1,
        occurs: |_, answer| answer.steps.iter().any(|step| step.ended > 0),
    },
    Share { name: "final window rows", required: 40, occurs: |case, answer| has_windows(case, answer, true, false) },
    Share { name: "open window rows", required: 40, occurs: |case, answer| has_windows(case, answer, false, false) },
    Share {
        name: "final rows of windows over windows",
        required: 8,
        occurs: |case, answer| has_windows(case, answer, true, true),
    },
    Share {
        name: "cumulative windows with final rows",
        required: 3,
        occurs: |case, answer| has_kind(case, answer, |kind| matches!(kind, Kind::Cumulative { .. })),
    },
    Share {
        name: "windows of a calendar with final rows",
        required: 3,
        occurs: |case, answer| has_kind(case, answer, |kind| matches!(kind, Kind::Calendar { .. })),
    },
    Share {
        name: "days that are not of 24 hours",
        required: 2,
        occurs: |case, answer| {
            case.pipeline.steps.iter().zip(&answer.steps).any(|(step, found)| {
                let is_daily = |window: &Window| matches!(window.kind, Kind::Calendar { unit: CalendarUnit::Day, .. });
                step.window.as_ref().is_some_and(is_daily)
                    && found.rows.iter().any(|row| matches!(&row.identity, Identity::Window { start, end, .. } if end - start != 86_400_000_000))
            })
        },
    },
    Share {
        name: "an aggregate with a filter",
        required: 15,
        occurs: |case, _| calls(case).any(|call| call.filter.is_some()),
    },
    Share {
        name: "an aggregate of two columns",
        required: 20,
        occurs: |case, _| calls(case).any(|call| call.arguments.len() > 1),
    },
    Share { name: "scalar functions", required: 40, occurs: |case, answer| !modules(case, answer).is_empty() },
    Share { name: "nulls", required: 30, occurs: |case, _| has_cell(case, Value::is_null) },
    Share {
        name: "NaN",
        required: 10,
        occurs: |case, _| has_cell(case, |cell| matches!(cell, Value::Float(x) if x.is_nan())),
    },
    Share {
        name: "-0.0",
        required: 10,
        occurs: |case, _| texts(case).any(|text| text.contains(":-0.0") || text.contains(":-0e0")),
    },
    Share { name: "equal times", required: 50, occurs: |case, _| has_equal_times(case) },
    Share { name: "a hot key", required: 10, occurs: |case, answer| has_hot_key(case, answer) },
    Share { name: "bad records", required: 20, occurs: |_, answer| !answer.bad.is_empty() },
    Share { name: "failing rows", required: 5, occurs: |_, answer| answer.rows_failed > 0 },
    Share {
        name: "times before 1970",
        required: 20,
        occurs: |_, answer| answer.steps.iter().any(|step| step.rows.iter().any(|row| row.time < 0)),
    },
    Share {
        name: "gaps between offsets",
        required: 30,
        occurs: |case, _| {
            let mut logs = case.log.partitions.iter();
            logs.any(|partition| partition.records.windows(2).any(|pair| pair[1].offset > pair[0].offset + 1))
        },
    },
];

/// The steps that have rows.
fn with_rows<'a>(case: &'a Case, answer: &Answer) -> impl Iterator<Item = &'a Step> {
    let pairs = case.pipeline.steps.iter().zip(&answer.steps);
    pairs.filter(|(_, found)| !found.rows.is_empty()).map(|(step, _)| step)
}

/// The modules of the scalar functions that are computed for a row that comes out of the step.
fn modules(case: &Case, answer: &Answer) -> BTreeSet<&'static str> {
    let mut modules = BTreeSet::new();
    for step in with_rows(case, answer) {
        for expr in step.expressions() {
            expr.visit(&mut |part| {
                if let Expr::Function(Function::Scalar(scalar), _) = part {
                    modules.insert(scalar.module());
                }
            });
        }
    }
    modules
}

/// The families of the aggregates of windows that have a row.
fn families(case: &Case, answer: &Answer) -> BTreeSet<&'static str> {
    let mut families = BTreeSet::new();
    for step in with_rows(case, answer) {
        for (_, expr) in step.window.iter().flat_map(|window| &window.aggregates) {
            expr.visit(&mut |part| {
                if let Expr::Call(call) = part {
                    let family = FAMILIES.iter().find(|(_, members)| members.contains(&call.aggregate));
                    families.insert(family.expect("each is in a family").0);
                }
            });
        }
    }
    families
}

/// Final rows of a window step of such a kind.
fn has_kind(case: &Case, answer: &Answer, is_it: impl Fn(&Kind) -> bool) -> bool {
    case.pipeline.steps.iter().zip(&answer.steps).any(|(step, found)| {
        step.window.as_ref().is_some_and(|window| is_it(&window.kind)) && found.rows.iter().any(|row| row.is_final)
    })
}

/// Every call of an aggregate.
fn calls(case: &Case) -> impl Iterator<Item = Call> {
    let outputs =
        case.pipeline.steps.iter().filter_map(|step| step.window.as_ref()).flat_map(|window| &window.aggregates);
    let mut calls = Vec::new();
    outputs.for_each(|(_, expr)| {
        without_calls(expr, &mut calls);
    });
    calls.into_iter()
}

fn has_join(case: &Case, wanted: fn(Near) -> bool) -> bool {
    case.pipeline.steps.iter().any(|step| step.join.as_ref().is_some_and(|join| wanted(join.near)))
}

fn texts(case: &Case) -> impl Iterator<Item = &String> {
    case.log.partitions.iter().flat_map(|partition| &partition.records).filter_map(|record| record.value.as_ref())
}

fn has_cell(case: &Case, wanted: impl Fn(&Value) -> bool) -> bool {
    let mut records = case.log.partitions.iter().flat_map(|partition| &partition.records);
    records.any(|record| matches!(&record.content, Content::Row(cells) if cells.iter().any(&wanted)))
}

fn has_windows(case: &Case, answer: &Answer, is_final: bool, over_windows: bool) -> bool {
    case.pipeline.steps.iter().zip(&answer.steps).any(|(step, found)| {
        step.window.is_some()
            && (!over_windows || case.pipeline.is_over_windows(step))
            && found.rows.iter().any(|row| row.is_final == is_final)
    })
}

fn has_equal_times(case: &Case) -> bool {
    let mut times = case.log.event_times(&case.pipeline);
    let all = times.len();
    times.sort_unstable();
    times.dedup();
    times.len() < all
}

/// A window step over records whose key is a plain column, with at least ten records of which half have one key.
fn has_hot_key(case: &Case, _: &Answer) -> bool {
    case.pipeline.steps.iter().filter(|step| case.pipeline.is_source(&step.from[0])).any(|step| {
        let Some(window) = &step.window else { return false };
        let Some((name, _)) = window.keys.first() else { return false };
        let Some(index) = case.pipeline.columns.iter().position(|column| column.name == *name) else { return false };
        let records = case.log.partitions.iter().flat_map(|partition| &partition.records);
        let mut keys: Vec<&Value> = records
            .filter_map(|record| if let Content::Row(cells) = &record.content { Some(&cells[index]) } else { None })
            .collect();
        keys.sort();
        let longest = keys.chunk_by(|a, b| a == b).map(<[&Value]>::len).max().unwrap_or(0);
        keys.len() >= 10 && 2 * longest >= keys.len()
    })
}

/// Counts of cases in which each of [`SHARES`] occurs.
#[derive(Clone, Debug)]
pub struct Counts {
    /// How many cases there were.
    pub cases: usize,
    /// How many of them stop with an overflow.
    pub stopped: usize,
    /// In how many of them each share occurs.
    pub occurring: Vec<usize>,
    /// In how many of them each family of aggregates is computed.
    pub families: Vec<usize>,
    /// In how many of them each module of scalar functions is computed.
    pub modules: Vec<usize>,
    /// How many of them were run.
    pub checked: usize,
    /// In how many of those a run over a range left records unread.
    pub left_unread: usize,
    /// In how many of those windows left the state and came back: of a stream, of a batch run; and in how many a run went
    /// on from a checkpoint with pieces of windows.
    pub spilled: [usize; 3],
}

/// The least share, in percent, of checked cases in which a run over a range leaves records unread.
const LEFT_UNREAD: usize = 20;

/// The least shares, in percent, of checked cases with what [`Counts::spilled`] counts.
const SPILLED: [(&str, usize); 3] = [
    ("windows that leave the state of a stream and come back", 25),
    ("windows that leave the state of a batch run and come back", 20),
    ("a checkpoint with pieces of windows that a run goes on from", 10),
];

impl Default for Counts {
    fn default() -> Self {
        Self {
            cases: 0,
            stopped: 0,
            occurring: vec![0; SHARES.len()],
            families: vec![0; FAMILIES.len()],
            modules: vec![0; MODULES.len()],
            checked: 0,
            left_unread: 0,
            spilled: [0; 3],
        }
    }
}

impl Counts {
    /// Counts a case with its answer.
    pub fn add(&mut self, case: &Case, answer: &Result<Answer, Stopped>) {
        self.cases += 1;
        match answer {
            Err(Stopped) => self.stopped += 1,
            Ok(answer) => {
                for (count, share) in self.occurring.iter_mut().zip(SHARES) {
                    *count += usize::from((share.occurs)(case, answer));
                }
                let (families, modules) = (families(case, answer), modules(case, answer));
                for (count, (family, _)) in self.families.iter_mut().zip(FAMILIES) {
                    *count += usize::from(families.contains(family));
                }
                for (count, module) in self.modules.iter_mut().zip(MODULES) {
                    *count += usize::from(modules.contains(module));
                }
            }
        }
    }

    /// Counts a case that was run.
    pub fn add_checked(&mut self, case: &Case, checked: &Checked) {
        self.add(case, &checked.answer);
        self.checked += 1;
        self.left_unread += usize::from(checked.left_unread);
        let spilled = [checked.spilled_stream, checked.spilled_batch, checked.resumed_pieces];
        self.spilled.iter_mut().zip(spilled).for_each(|(count, seen)| *count += usize::from(seen));
    }

    /// Adds the counts of other cases.
    pub fn merge(&mut self, other: &Counts) {
        self.cases += other.cases;
        self.stopped += other.stopped;
        self.checked += other.checked;
        self.left_unread += other.left_unread;
        self.spilled.iter_mut().zip(other.spilled).for_each(|(count, more)| *count += more);
        let add = |counts: &mut [usize], others: &[usize]| {
            counts.iter_mut().zip(others).for_each(|(count, more)| *count += more);
        };
        add(&mut self.occurring, &other.occurring);
        add(&mut self.families, &other.families);
        add(&mut self.modules, &other.modules);
    }

    /// Every share: its name, what is required, how often it occurs, and among how many cases.
    fn all(&self) -> Vec<(String, usize, usize, usize)> {
        let of = |required: usize, count: &usize| (required, *count, self.cases);
        let shares =
            SHARES.iter().zip(&self.occurring).map(|(share, count)| (share.name.into(), of(share.required, count)));
        let families = FAMILIES.iter().zip(&self.families);
        let families = families.map(|((name, _), count)| (format!("aggregates: {name}"), of(FAMILY, count)));
        let modules = MODULES.iter().zip(&self.modules);
        let modules = modules.map(|(name, count)| (format!("functions: {name}"), of(MODULE, count)));
        let unread = ("a range that leaves records unread".to_string(), (LEFT_UNREAD, self.left_unread, self.checked));
        let spilled = SPILLED.iter().zip(self.spilled);
        let spilled = spilled.map(|((name, required), count)| (name.to_string(), (*required, count, self.checked)));
        let of_runs = std::iter::once(unread).chain(spilled).filter(|_| self.checked > 0);
        let all = shares.chain(families).chain(modules).chain(of_runs);
        all.map(|(name, (required, count, cases))| (name, required, count, cases)).collect()
    }

    /// Returns the shares that occur too seldom.
    pub fn missing(&self) -> Vec<String> {
        let few = |(_, required, count, cases): &(String, usize, usize, usize)| count * 100 < required * cases;
        self.all().into_iter().filter(few).map(|(name, ..)| name).collect()
    }
}

/// A table of the shares.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cases, {} of them stop with an overflow", self.cases, self.stopped)?;
        for (name, required, count, cases) in self.all() {
            let percent = 100.0 * count as f64 / cases.max(1) as f64;
            writeln!(f, "{percent:5.1} %  (at least {required:2} %)  {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::expr::Aggregate;
    use crate::oracle::{Cut, answer};

    #[test]
    fn every_aggregate_gives_values_in_random_cases() {
        let aggregates: Vec<Aggregate> = FAMILIES.iter().flat_map(|(_, members)| *members).copied().collect();
        let mut counts = vec![0; aggregates.len()];
        for seed in 0..1000 {
            let case = Case::generate(seed);
            let Ok(answer) = answer(&case.pipeline, &case.log, &Cut::default()) else { continue };
            for (step, found) in case.pipeline.steps.iter().zip(&answer.steps) {
                for (name, expr) in step.window.iter().flat_map(|window| &window.aggregates) {
                    let Expr::Call(call) = expr else { continue };
                    let column = found.columns.iter().position(|(column, _)| column == name).expect("its own column");
                    let different: BTreeSet<&Value> = found.rows.iter().map(|row| &row.cells[column]).collect();
                    let at = aggregates.iter().position(|aggregate| *aggregate == call.aggregate).expect("in the list");
                    counts[at] += usize::from(different.len() > 1);
                }
            }
        }
        for (aggregate, count) in aggregates.iter().zip(counts) {
            assert!(count >= 10, "{} gives different values in only {count} cases of 1,000", aggregate.sql());
        }
    }

    #[test]
    fn random_cases_hold_what_is_worth_testing() {
        let mut counts = Counts::default();
        for seed in 0..1000 {
            let case = Case::generate(seed);
            counts.add(&case, &answer(&case.pipeline, &case.log, &Cut::default()));
        }
        assert!(counts.missing().is_empty(), "too seldom: {:?}\n{counts}", counts.missing());
    }
}
