//! `samestream run --stale`: what the ledger says is stale or missing is written anew, range by range.

use std::process::ExitCode;
use std::sync::Arc;

use pipeline::Loaded;
use runtime::catalogue::Catalogue;
use runtime::{Mode, ledger, time};

use super::{Arguments, usable, work};
use crate::global::Global;
use crate::record::{Begun, Record};
use crate::report::{self, Done};

/// Heals a pipeline's sinks. The first run that does not go well is the last.
pub(super) fn run(arguments: &Arguments, loaded: Loaded, global: &Global) -> Done {
    let loaded = usable(arguments, loaded)?;
    let state_dir = arguments.state_dir.local();
    let plan = Arc::new(loaded.plan.clone());
    let ranges = ledger::to_heal(&plan, &Catalogue::new(&state_dir), &arguments.state_dir)?;
    let name = loaded.plan.name.clone();
    if ranges.is_empty() && !global.quiet {
        report::say(&format!("✓ {name}: nothing is stale or missing\n"));
    }
    for (from, to) in ranges {
        let range = (Some(from).filter(|from| *from != i64::MIN), Some(to).filter(|to| *to != i64::MAX));
        if !global.quiet {
            let side = |moment: Option<i64>| moment.map_or_else(|| "…".to_string(), time::rfc3339);
            report::say(&format!("heals {} .. {} of {name}\n", side(range.0), side(range.1)));
        }
        let begun = Begun {
            pipeline: &arguments.pipeline,
            loaded: Some(&loaded),
            mode: Mode::Batch,
            by: arguments.started_by.as_deref(),
            firing: arguments.firing.as_ref(),
            range,
            command: None,
        };
        let record = Record::begin(&state_dir, &begun, global);
        let worked = work(arguments, plan.clone(), range, global);
        record.end(worked.as_ref().map(|(exit, done)| (*exit, &done.summary, &done.wrote)));
        let (exit, _) = worked?;
        if exit != 0 {
            return Ok(ExitCode::from(exit));
        }
    }
    Ok(ExitCode::SUCCESS)
}
