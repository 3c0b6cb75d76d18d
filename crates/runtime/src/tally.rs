//! What a run counts and digests, the same in both modes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use engine::digest::{Digest, RowDigester, record_digest};
use engine::plan::{INDEX, Input, Plan, Work};
use engine::{Aside, Checked, Deduped, Emission, Field, Identity, Schema};

/// Counts and digests of a run.
#[derive(Clone)]
pub struct Tally {
    /// Records between start and end offsets.
    pub read: u64,
    /// Records that are not valid.
    pub bad: u64,
    /// Rows whose expression failed.
    pub failed: u64,
    /// Records late for every window, summed over steps.
    pub late: u64,
    /// Windows closed as final.
    pub windows: u64,
    /// Digests by sinked step (or source): final rows, and all rows.
    pub rows: BTreeMap<String, (Digest, Digest)>,
    /// Late records.
    pub digest_late: Digest,
    /// Bad records and failed rows.
    pub digest_bad: Digest,
    /// By `dedup` step: how many rows came, and how many were let through.
    pub dedups: BTreeMap<String, (u64, u64)>,
    /// By step, the name of each of its rules with how many rows were held against it, and how many broke it.
    pub checks: BTreeMap<String, Vec<(String, u64, u64)>>,
    /// By step, how long the longest session lasted that this run has closed.
    pub longest: BTreeMap<usize, i64>,
    /// What digests rows before they are counted.
    pub digesters: Arc<Digesters>,
}

/// Which rows are in the range of a run, and how they are digested: the same for each of its threads.
pub struct Digesters {
    by_name: BTreeMap<String, RowDigester>,
    range: (Option<i64>, Option<i64>),
}

/// Rows in the range, and their digest if their step has a sink.
pub struct Digested {
    /// The rows.
    pub emission: Emission,
    digest: Option<Digest>,
}

impl Digesters {
    /// Leaves only the rows of the range.
    pub fn in_range(&self, mut emission: Emission) -> Emission {
        if self.range != (None, None) {
            let (from, to) = self.range;
            let inside = |time: &i64| from.is_none_or(|from| *time >= from) && to.is_none_or(|to| *time < to);
            let mask: BooleanArray = emission.times.iter().map(|time| Some(inside(time))).collect();
            emission.rows = filter_record_batch(&emission.rows, &mask).expect("the mask is as long as the batch");
            emission.times.retain(inside);
        }
        emission
    }

    /// Leaves only the rows of the range, and digests them if their step has a sink.
    pub fn digest(&self, plan: &Plan, emission: Emission) -> Digested {
        let emission = self.in_range(emission);
        let digest = self.by_name.get(plan.name_of(emission.input)).map(|digester| {
            let mut sum = Digest::default();
            digester.clone().rows(emission.rows.columns(), emission.rows.num_rows(), |_, row| sum.add(row));
            sum
        });
        Digested { emission, digest }
    }
}

impl Tally {
    /// Makes an empty tally that covers the rows in `[from, to)`.
    pub fn new(plan: &Plan, range: (Option<i64>, Option<i64>)) -> Self {
        let mut rows = BTreeMap::new();
        let mut digesters = BTreeMap::new();
        for input in plan.sinks.iter().map(|sink| sink.input) {
            if let Some((name, schema)) = digested(plan, input) {
                digesters.insert(name.clone(), RowDigester::new(&name, &schema));
                rows.insert(name, Default::default());
            }
        }
        let zero = Digest::default();
        Self {
            read: 0,
            bad: 0,
            failed: 0,
            late: 0,
            windows: 0,
            rows,
            digest_late: zero,
            digest_bad: zero,
            dedups: plan
                .steps
                .iter()
                .filter(|step| matches!(step.work, Work::Dedup(_)))
                .map(|step| (step.name.clone(), (0, 0)))
                .collect(),
            checks: plan
                .steps
                .iter()
                .filter(|step| !step.rules.is_empty())
                .map(|step| (step.name.clone(), step.rules.iter().map(|rule| (rule.name.clone(), 0, 0)).collect()))
                .collect(),
            longest: BTreeMap::new(),
            digesters: Arc::new(Digesters { by_name: digesters, range }),
        }
    }

    /// Notes how long the longest sessions lasted that were closed.
    pub fn lasted(&mut self, longest: &BTreeMap<usize, i64>) {
        for (step, longest) in longest {
            let known = self.longest.entry(*step).or_insert(0);
            *known = (*known).max(*longest);
        }
    }

    /// Counts rows with their digest.
    pub fn rows(&mut self, plan: &Plan, rows: &Digested) {
        let Some(digest) = &rows.digest else { return };
        let (finals, all) =
            self.rows.get_mut(plan.name_of(rows.emission.input)).expect("a digested step has its digests");
        all.merge(digest);
        if rows.emission.is_final {
            finals.merge(digest);
        }
    }

    /// Counts and digests rows kept aside.
    pub fn aside(&mut self, plan: &Plan, aside: &Aside) {
        let rows = aside.identity.len() as u64;
        let source = plan.sources[aside.source].name.as_bytes();
        let name = plan.name_of(aside.input).as_bytes();
        let late = matches!(aside.input, Input::StepLate(_));
        let digest = if late { &mut self.digest_late } else { &mut self.digest_bad };
        match &aside.identity {
            Identity::Records { partition, offsets, indices } => {
                for (row, offset) in offsets.iter().enumerate() {
                    let mut numbers = vec![*partition as i64, *offset];
                    numbers.extend(indices.as_ref().map(|indices| indices[row]));
                    digest.add(if late {
                        record_digest(&[b"late", name, source], &numbers)
                    } else {
                        record_digest(&[b"bad", name], &numbers)
                    });
                }
            }
            Identity::Windows { starts, ends, keys } => {
                for row in 0..starts.len() {
                    digest.add(record_digest(&[b"bad", name, keys.value(row)], &[ends[row], starts[row]]));
                }
            }
            Identity::Pairs { orders } => {
                for (row, time) in aside.event_times.iter().enumerate() {
                    digest.add(record_digest(&[b"bad", name, orders.value(row)], &[time.unwrap_or_default()]));
                }
            }
        }
        match aside.input {
            Input::StepLate(_) => self.late += rows,
            Input::StepBad(_) => self.failed += rows,
            _ => self.bad += rows,
        }
    }

    /// Counts what `dedup` steps let through.
    pub fn dedups(&mut self, plan: &Plan, dedups: &[Deduped]) {
        for dedup in dedups {
            let (before, after) = self.dedups.entry(plan.steps[dedup.step].name.clone()).or_default();
            *before += dedup.before;
            *after += dedup.after;
        }
    }

    /// Counts rows that broke rules.
    pub fn checked(&mut self, plan: &Plan, checked: &[Checked]) {
        for found in checked {
            let rules = self.checks.get_mut(&plan.steps[found.step].name).expect("a step with rules has counts");
            rules[found.rule].1 += found.rows;
            rules[found.rule].2 += found.broken;
        }
    }

    /// Returns the digest over all sinked steps: of final rows, and of all rows.
    pub fn total(&self) -> (Digest, Digest) {
        let mut total = (Digest::default(), Digest::default());
        for (finals, all) in self.rows.values() {
            total.0.merge(finals);
            total.1.merge(all);
        }
        total
    }
}

/// Returns name and columns of a sink's input if its rows are results (late and bad rows have digests of their own).
fn digested(plan: &Plan, input: Input) -> Option<(String, Schema)> {
    let schema = match input {
        Input::Source(source) => record_schema(&plan.sources[source].row_schema(), false),
        Input::Step(step) => {
            let (schema, rows) = (&plan.steps[step].schema, &plan.steps[step].rows);
            if is_windowed(plan, step) { schema.clone() } else { record_schema(schema, rows.is_indexed) }
        }
        _ => return None,
    };
    Some((plan.name_of(input).to_string(), schema))
}

/// Returns the columns of record-level rows when they are written: `_partition`, `_offset`, of exploded rows `_index`, then
/// the others.
pub fn record_schema(schema: &Schema, is_indexed: bool) -> Schema {
    let mut fields =
        vec![Field::new("_partition", engine::DataType::Int32), Field::new("_offset", engine::DataType::Int64)];
    fields.extend(is_indexed.then(|| Field::new(INDEX, engine::DataType::Int64)));
    fields.extend(schema.fields.iter().filter(|field| field.name != "_partition" && field.name != "_offset").cloned());
    Schema::new(fields)
}

/// Returns true when a step's rows are rows of windows, not records.
pub fn is_windowed(plan: &Plan, step: usize) -> bool {
    let step = &plan.steps[step];
    step.over_windows || matches!(step.work, Work::Window(_) | Work::Join(_))
}
