//! What two definitions make of one log: both run as batch jobs, and the rows of the steps they have in common are
//! written side by side, to be compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::sink;
use engine::plan::{Input, Plan, SinkPlan};
use engine::{Code, Error, Result};

use crate::cut::Cut;
use crate::driver::{Observer, Outlet};
use crate::job::{RunOptions, run_into};
use crate::outlet::SinkOutlet;
use crate::summary::Mode;
use crate::tally::is_windowed;
use crate::verify::plain_sink;

/// What two plans have in common.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The steps that were written.
    pub steps: Vec<CommonStep>,
    /// Steps of the first plan only.
    pub only_left: Vec<String>,
    /// Steps of the second plan only.
    pub only_right: Vec<String>,
    /// Steps of both whose rows are named by other columns, and how.
    pub other_keys: Vec<(String, String)>,
    /// Where both began to read.
    pub start: Cut,
    /// Where both ended.
    pub end: Cut,
}

impl Common {
    /// Returns true when each step of one plan is in the other, with rows that are named alike.
    pub fn is_whole(&self) -> bool {
        self.only_left.is_empty() && self.only_right.is_empty() && self.other_keys.is_empty()
    }
}

/// Where the rows of a step were written.
#[derive(Clone, Debug)]
pub struct CommonStep {
    /// The step.
    pub name: String,
    /// The columns that name a row.
    pub keys: Vec<String>,
    /// The first plan's rows.
    pub left: PathBuf,
    /// The second plan's rows.
    pub right: PathBuf,
}

/// Runs both plans over the same records and writes the rows of common steps below a folder. Only steps over windows are
/// compared, unless `only` names another one. The plans must give the rows of all their steps to sinks.
pub fn write_both(
    left: &Arc<Plan>,
    right: &Arc<Plan>,
    only: Option<&str>,
    options: &RunOptions,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Common> {
    let (mine, theirs) = (steps(left, only), steps(right, only));
    let mut common = Common::default();
    let keys = |plan: &Plan, step: usize| plain_sink(plan, Input::Step(step), folder).identity;
    for (name, step) in &mine {
        match theirs.get(name) {
            None => common.only_left.push(name.clone()),
            Some(other) if keys(left, *step) == keys(right, *other) => common.steps.push(CommonStep {
                name: name.clone(),
                keys: keys(left, *step),
                left: folder.join("left").join(name),
                right: folder.join("right").join(name),
            }),
            Some(other) => {
                let (mine, theirs) = (keys(left, *step).join(", "), keys(right, *other).join(", "));
                common.other_keys.push((name.clone(), format!("its rows are named by {mine}; now by {theirs}")));
            }
        }
    }
    common.only_right = theirs.keys().filter(|name| !mine.contains_key(*name)).cloned().collect();
    if common.steps.is_empty() && common.other_keys.is_empty() {
        let what = only.map_or_else(|| "no step over windows".to_string(), |name| format!("no step `{name}`"));
        let names: Vec<&str> = left.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(Error::new(Code::Empty, format!("{what} is in both pipelines"))
            .help(format!("steps of the first are: {}", names.join(", "))));
    }
    let summary = write(left, &mine, &folder.join("left"), options, &common, observer)?;
    // The second reads no further, whatever has been added meanwhile.
    let end = options.end.clone().unwrap_or_else(|| shared(right, &summary.end));
    let options = RunOptions { end: Some(end), ..options.clone() };
    let summary = write(right, &theirs, &folder.join("right"), &options, &common, observer)?;
    (common.start, common.end) = (summary.start, summary.end);
    Ok(common)
}

/// Returns the steps to compare, by name.
fn steps(plan: &Plan, only: Option<&str>) -> BTreeMap<String, usize> {
    let is_wanted = |index: usize| match only {
        Some(name) => plan.steps[index].name == name,
        None => is_windowed(plan, index),
    };
    (0..plan.steps.len())
        .filter(|index| is_wanted(*index))
        .map(|index| (plan.steps[index].name.clone(), index))
        .collect()
}

/// Returns the part of a cut that speaks of partitions which a plan reads.
fn shared(plan: &Plan, cut: &Cut) -> Cut {
    let sources = plan.sources.iter().filter_map(|source| {
        let mut partitions = cut.get(&source.name)?.clone();
        partitions.retain(|partition, _| source.partitions.as_ref().is_none_or(|read| read.contains(partition)));
        Some((source.name.clone(), partitions))
    });
    sources.collect()
}

fn write(
    plan: &Arc<Plan>,
    steps: &BTreeMap<String, usize>,
    folder: &Path,
    options: &RunOptions,
    common: &Common,
    observer: &dyn Observer,
) -> Result<crate::Summary> {
    let wanted = common.steps.iter().map(|step| &step.name);
    let sinks: Vec<SinkPlan> =
        wanted.map(|name| plain_sink(plan, Input::Step(steps[name]), &folder.join(name))).collect();
    let mut options = RunOptions { mode: Mode::Batch, ..options.clone() };
    // A range without rows on one side is an answer here.
    options.settings.allow_empty = true;
    let mut outlet =
        SinkOutlet::open(plan, &sinks, &sink::Context::default(), None, ((None, None), Mode::Batch), None)?;
    run_into(plan, &options, &mut outlet as &mut dyn Outlet, observer)
}
