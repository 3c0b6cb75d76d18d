//! What a sink's ranges are worth now: final, provisional, stale or missing, and why.

use std::sync::Arc;

use engine::plan::{Input, Plan, SinkPlan, Work};
use engine::touch::{Touches, open_from};
use engine::window::Windowing;
use engine::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::seen::Asked;
use super::{Held, Line, Made, Seen, held, of_day, union};
use crate::catalogue::Catalogue;
use crate::checkpoint::Place;
use crate::cut::Cut;
use crate::outlet::takes_open;
use crate::summary::Mode;
use crate::time;

/// What a range is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RangeState {
    /// Its windows are final, as a run over everything would give them.
    Final,
    /// Its windows are open: a run over everything would give them alike, and later records may change them.
    Provisional,
    /// A run over everything would or may give other rows.
    Stale,
    /// The log holds records whose windows are there, and nothing wrote them.
    Missing,
}

impl SinkStatus {
    /// Returns what its ranges are worth between two moments.
    pub fn within(&self, from: i64, to: i64) -> Vec<Range> {
        let clipped =
            self.ranges.iter().map(|range| Range { from: range.from.max(from), to: range.to.min(to), ..range.clone() });
        clipped.filter(|range| range.from < range.to).collect()
    }
}

impl Status {
    /// Leaves out what is not between two moments.
    pub fn restrict(&mut self, from: i64, to: i64) {
        for sink in &mut self.sinks {
            sink.ranges = sink.within(from, to);
            sink.covered = sink
                .covered
                .iter()
                .map(|(start, end)| (*start.max(&from), *end.min(&to)))
                .filter(|(start, end)| start < end)
                .collect();
        }
        let healing = healing(&self.sinks).into_iter();
        self.to_heal = healing.map(|(start, end)| Healing { from: start.max(from), to: end.min(to) }).collect();
        self.is_current = self.to_heal.is_empty();
    }
}

impl RangeState {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Provisional => "provisional",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// A range of window starts, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Range {
    /// What it is worth.
    pub state: RangeState,
    /// Where it begins (RFC 3339); null: with the first window there is.
    #[serde(serialize_with = "as_time")]
    #[schemars(with = "Option<String>")]
    pub from: i64,
    /// Where it ends, which is no part of it (RFC 3339); null: with the last window there is.
    #[serde(serialize_with = "as_time")]
    #[schemars(with = "Option<String>")]
    pub to: i64,
    /// The run that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Why it is stale or missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Records that enter its windows and were not there when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

fn as_time<S: Serializer>(at: &i64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match *at {
        i64::MIN | i64::MAX => serializer.serialize_none(),
        at => serializer.serialize_some(&time::rfc3339(at)),
    }
}

/// What a sink is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SinkStatus {
    /// The sink.
    pub sink: String,
    /// The step or source whose rows it takes.
    pub step: String,
    /// Its kind and where it is.
    pub place: String,
    /// Whether a range of its rows can be replaced; of others only all.
    pub has_ranges: bool,
    /// What its ranges are worth, in order. Where no window is there is no range.
    pub ranges: Vec<Range>,
    /// Where the log has windows.
    #[serde(skip)]
    pub covered: Vec<(i64, i64)>,
    /// Whether all that it holds was made by other definitions, whose rows may have other columns.
    #[serde(skip)]
    pub is_foreign: bool,
}

/// What the sinks of a pipeline are worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// The pipeline.
    pub pipeline: String,
    /// Its definition digest.
    pub definition: String,
    /// Whether nothing of it is stale or missing.
    pub is_current: bool,
    /// What should be known of it.
    pub notes: Vec<String>,
    /// Its sinks.
    pub sinks: Vec<SinkStatus>,
    /// What would heal it: ranges of window starts.
    pub to_heal: Vec<Healing>,
}

/// A range that a run would heal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Healing {
    /// Where it begins (RFC 3339); null: with the first window.
    #[serde(serialize_with = "as_time")]
    #[schemars(with = "Option<String>")]
    pub from: i64,
    /// Where it ends, which is no part of it (RFC 3339); null: with the last window.
    #[serde(serialize_with = "as_time")]
    #[schemars(with = "Option<String>")]
    pub to: i64,
}

/// How what a run has made compares with what is known now: the whole of what `judge` goes by.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// The run.
    pub run: u64,
    /// Why none of it can be relied on.
    pub broken: Option<String>,
    /// Windows that start before were final when it ended.
    pub open_then: i64,
    /// Windows that start before are final now.
    pub open_now: i64,
    /// Whether windows that are open are in the sink, or will come by themselves when they are final.
    pub has_open: bool,
    /// Ranges made of files that are others now, with the reason.
    pub files: Vec<((i64, i64), String)>,
    /// Ranges that new records enter, and how many.
    pub records: Vec<((i64, i64), u64)>,
    /// Whether a record enters one window only, so that they can be counted.
    pub counts_once: bool,
    /// How far the run had read, for people.
    pub read_to: String,
}

/// What is worth saying of a moment.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    state: RangeState,
    run: Option<u64>,
    reason: Option<String>,
    records: Option<u64>,
}

/// Judges what a sink holds: stretches with the index of what made them, where the log has windows, and what there is to
/// say of each that made something.
pub(super) fn judge(stretches: &[(i64, i64, usize)], covered: &[(i64, i64)], sights: &[Sight]) -> Vec<Range> {
    let mut line: Line<Verdict> = Line::default();
    let mut there: Vec<(i64, i64)> = covered.to_vec();
    let never =
        Verdict { state: RangeState::Missing, run: None, reason: Some("no run has written it".into()), records: None };
    line.put(i64::MIN, i64::MAX, never);
    for &(from, to, index) in stretches {
        let sight = &sights[index];
        let of =
            |state: RangeState, reason: Option<String>| Verdict { state, run: Some(sight.run), reason, records: None };
        let mut put = |(start, end): (i64, i64), verdict: Verdict| line.put(start.max(from), end.min(to), verdict);
        let (then, now) = (sight.open_then, sight.open_now);
        put((from, to), of(RangeState::Final, None));
        put(
            (then.max(now), i64::MAX),
            match sight.has_open {
                true => of(RangeState::Provisional, None),
                false => of(
                    RangeState::Missing,
                    Some(format!("run {} ended early: it has written what was final", sight.run)),
                ),
            },
        );
        put((then, now), of(RangeState::Stale, Some("it was open when it was made, and is final now".into())));
        put((now, then), of(RangeState::Stale, Some("it was final when it was made, and is open now".into())));
        let entered: Vec<_> = sight.records.iter().filter(|((start, end), _)| *start < to && from < *end).collect();
        for (start, end) in union(entered.iter().map(|(range, _)| *range)) {
            let inside = entered.iter().filter(|((at, _), _)| start <= *at && *at < end);
            let count = sight.counts_once.then(|| inside.map(|(_, count)| count).sum::<u64>());
            let what = match count {
                Some(1) => "1 new record".to_string(),
                Some(count) => format!("{count} new records"),
                None => "new records".to_string(),
            };
            let reason = format!("{what} (run {} had read to {})", sight.run, sight.read_to);
            put((start, end), Verdict { records: count, ..of(RangeState::Stale, Some(reason)) });
            there.push((start.max(from), end.min(to)));
        }
        for (range, reason) in &sight.files {
            put(*range, of(RangeState::Stale, Some(reason.clone())));
            there.push((range.0.max(from), range.1.min(to)));
        }
        if let Some(reason) = &sight.broken {
            put((from, to), of(RangeState::Stale, Some(reason.clone())));
            // Rows may be where such a run would have none now.
            there.push((from, to));
        }
    }
    let there = union(there);
    let ranges = there.iter().flat_map(|(from, to)| line.within(*from, *to));
    let ranges = ranges.map(|(from, to, verdict)| Range {
        state: verdict.state,
        from,
        to,
        run: verdict.run,
        reason: verdict.reason,
        records: verdict.records,
    });
    ranges.collect()
}

/// Returns what the ledger and the log say of a pipeline's sinks, at those places where `sinks` has them.
pub fn status(plan: &Arc<Plan>, sinks: &[SinkPlan], catalogue: &Catalogue, checkpoints: &Place) -> Result<Status> {
    let held = held(catalogue, checkpoints, plan, sinks)?;
    let mut asked: Vec<Asked<'_>> = Vec::new();
    for (sink, held) in &held {
        for (number, made) in held.made.iter().enumerate().filter(|(_, made)| made.definition == plan.definition) {
            let of_it = held.stretches.iter().filter(|(.., index)| *index == number);
            asked.push(Asked { made, ranges: of_it.map(|(from, to, _)| (sink.input, (*from, *to))).collect() });
        }
    }
    let seen = Seen::look(plan, &asked)?;
    let of_sink = |(sink, held): &(SinkPlan, Held)| {
        let sights: Vec<Sight> = held.made.iter().map(|made| sight(plan, sink, made, &seen)).collect();
        let number = plan.sinks.iter().position(|other| other.name == sink.name);
        let covered = number.and_then(|number| seen.covered.get(&number)).map_or(&[][..], Vec::as_slice);
        SinkStatus {
            sink: sink.name.clone(),
            step: plan.name_of(sink.input).to_string(),
            place: connectors::sink::place(sink),
            has_ranges: sink.schema.field("window_start").is_some(),
            ranges: judge(&held.stretches, covered, &sights),
            covered: covered.to_vec(),
            is_foreign: !held.made.is_empty() && held.made.iter().all(|made| made.definition != plan.definition),
        }
    };
    let sinks: Vec<SinkStatus> = held.iter().map(of_sink).collect();
    let to_heal = healing(&sinks);
    let is_current = to_heal.is_empty();
    let to_heal = to_heal.into_iter().map(|(from, to)| Healing { from, to }).collect();
    Ok(Status {
        pipeline: plan.name.clone(),
        definition: plan.definition.clone(),
        is_current,
        notes: seen.notes,
        sinks,
        to_heal,
    })
}

/// Returns the ranges of window starts that are stale or missing at some sink of a pipeline, merged, in order. `i64::MIN` and
/// `i64::MAX` are open sides. A log that holds less than runs have read is an error: results must not be replaced by those
/// of less unasked.
pub fn to_heal(plan: &Arc<Plan>, catalogue: &Catalogue, checkpoints: &Place) -> Result<Vec<(i64, i64)>> {
    let status = status(plan, &plan.sinks, catalogue, checkpoints)?;
    let shrunk = status.sinks.iter().flat_map(|sink| &sink.ranges).filter_map(|range| range.reason.as_ref());
    if let Some(reason) = shrunk.into_iter().find(|reason| reason.contains(SHRUNK)) {
        return Err(Error::new(Code::LakeGap, format!("pipeline `{}` is not healed: {reason}", plan.name)).help(
            "put back what is missing of the log; `samestream run` replaces the results if that is what is wanted",
        ));
    }
    Ok(status.to_heal.into_iter().map(|healing| (healing.from, healing.to)).collect())
}

const SHRUNK: &str = "the log now ends before that";

fn healing(sinks: &[SinkStatus]) -> Vec<(i64, i64)> {
    let needs = |range: &&Range| matches!(range.state, RangeState::Stale | RangeState::Missing);
    let of_sink = |sink: &SinkStatus| {
        let needed: Vec<(i64, i64)> = sink.ranges.iter().filter(needs).map(|range| (range.from, range.to)).collect();
        // Nothing but all of it can be replaced.
        if sink.has_ranges && !sink.is_foreign || needed.is_empty() { needed } else { vec![(i64::MIN, i64::MAX)] }
    };
    union(sinks.iter().flat_map(of_sink))
}

/// Compares what a run has made with what is known now.
fn sight(plan: &Plan, sink: &SinkPlan, made: &Made, seen: &Seen) -> Sight {
    let mut sight = Sight { run: made.run, has_open: made.has_open || !takes_open(sink), ..Sight::default() };
    sight.read_to = shown(&made.end);
    if made.definition != plan.definition {
        sight.broken = Some(format!("run {} was of another definition", made.run));
        return sight;
    }
    sight.broken = begins_later(plan, made, seen).or_else(|| ends_before(plan, made, seen));
    sight.records = seen.entered(plan, sink.input, made);
    sight.counts_once = counts_once(plan, sink.input);
    sight.files = other_files(plan, sink, made, seen);
    let longest = super::seen::longest(plan, &[made]);
    let step = match sink.input {
        Input::Step(step) => step,
        // Records are final.
        _ => {
            (sight.open_then, sight.open_now) = (i64::MAX, i64::MAX);
            return sight;
        }
    };
    let complete: Vec<i64> =
        plan.steps.iter().map(|step| made.complete.get(&step.name).copied().unwrap_or(i64::MIN)).collect();
    let open = |complete: &[i64]| open_from(plan, complete, &longest)[step];
    sight.open_then = open(&complete);
    sight.open_now = seen.complete.as_ref().map_or(sight.open_then, |complete| open(complete));
    if is_ahead(plan, made, seen) {
        // The stream has read what is in no lake yet.
        sight.open_now = sight.open_now.max(sight.open_then);
    }
    sight
}

/// Returns whether a record is in one window at most of those that rows of an input are of.
fn counts_once(plan: &Plan, input: Input) -> bool {
    let Input::Step(step) = input else { return true };
    let is_one = match &plan.steps[step].work {
        Work::Rows | Work::Dedup(_) | Work::Lookup(_) => true,
        Work::Window(window) => match window.windowing {
            Windowing::Fixed { size, every, .. } => size == every,
            Windowing::Calendar { .. } | Windowing::Same => true,
            Windowing::Cumulative { .. } | Windowing::Session { .. } => false,
        },
        Work::Join(_) => false,
    };
    is_one && plan.steps[step].inputs.iter().all(|input| counts_once(plan, *input))
}

/// Says where a run began later than its log does now.
fn begins_later(plan: &Plan, made: &Made, seen: &Seen) -> Option<String> {
    plan.sources.iter().zip(&seen.sources).find_map(|(source, known)| {
        let start = |partition: i32| made.start.get(&source.name).and_then(|start| start.get(&partition));
        let later = known
            .as_ref()?
            .ranges
            .iter()
            .find(|range| start(range.partition).is_some_and(|start| *start > range.start));
        let later = later?;
        let began = start(later.partition)?;
        Some(format!(
            "run {} began at {}:{}={began}, and the log at {}",
            made.run, source.name, later.partition, later.start
        ))
    })
}

/// Says where a log ends before what a batch run has read of it.
fn ends_before(plan: &Plan, made: &Made, seen: &Seen) -> Option<String> {
    let (source, partition, end) = beyond(plan, made, seen).filter(|_| made.mode == Mode::Batch)?;
    Some(format!("run {} had read to {source}:{partition}={end}; {SHRUNK}", made.run))
}

fn is_ahead(plan: &Plan, made: &Made, seen: &Seen) -> bool {
    beyond(plan, made, seen).is_some()
}

/// Returns a partition of which a run has read more than there is.
fn beyond<'a>(plan: &'a Plan, made: &Made, seen: &Seen) -> Option<(&'a str, i32, i64)> {
    plan.sources.iter().zip(&seen.sources).find_map(|(source, known)| {
        let known = known.as_ref()?;
        let there = |partition: i32| {
            known.ranges.iter().find(|range| range.partition == partition).map_or(0, |range| range.end)
        };
        let mut ends = made.end.get(&source.name)?.iter();
        let (partition, end) = ends.find(|(partition, end)| there(**partition) < **end)?;
        Some((source.name.as_str(), *partition, *end))
    })
}

/// Returns the ranges made of files that are others now.
fn other_files(plan: &Plan, sink: &SinkPlan, made: &Made, seen: &Seen) -> Vec<((i64, i64), String)> {
    let longest = super::seen::longest(plan, &[made]);
    let touches = Touches { plan, longest: &longest, is_rewritten: true };
    let mut found = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let (Some(before), Some(known)) = (made.files.get(&source.name), &seen.sources[index]) else { continue };
        let now = known.files(made.end.get(&source.name));
        let reason = format!("files of `{}` were changed or are gone since run {}", source.name, made.run);
        if before.undated != now.undated {
            found.push(((i64::MIN, i64::MAX), reason.clone()));
        }
        for day in before.other_days(&now) {
            found.extend(of_day(&touches, index, day, sink.input).map(|touch| (touch.starts, reason.clone())));
        }
    }
    found
}

/// Returns offsets as people write them.
fn shown(cut: &Cut) -> String {
    let of = |(source, offsets): (&String, &std::collections::BTreeMap<i32, i64>)| {
        let offsets: Vec<String> = offsets.iter().map(|(partition, offset)| format!("{partition}={offset}")).collect();
        format!("{source}:{}", offsets.join(","))
    };
    cut.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// Returns the JSON Schema of a status.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Vec<Status>)).expect("a schema is JSON")
}
