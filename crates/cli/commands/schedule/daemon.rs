//! The daemon: one process that does what is due, for all schedules of a state folder.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use connectors::{disk, store};
use engine::{Code, Error, Result};

use super::job::Job;
use super::{Several, found};
use crate::global::Global;
use crate::report::{self, Done};
use crate::signals;

/// How often it looks at the clock and its processes. A machine that slept is noticed by the clock, which went on.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run(several: &Several, once_due: bool, global: &Global) -> Done {
    let found = found(several, global)?;
    let stop = signals::stop_flag()?;
    let _lock = lock(&several.state_dir.local())?;
    let all = found.iter().flat_map(|found| found.loaded.schedules.iter().map(move |schedule| (found, schedule)));
    let mut jobs: Vec<Job<'_>> =
        all.map(|(found, schedule)| Job::new(found, schedule, &several.state_dir, global)).collect();
    if !once_due && !global.quiet && !global.is_json() {
        let count = jobs.len();
        report::say(&format!("{count} schedule{}; stop with Ctrl-C or SIGTERM\n", if count == 1 { "" } else { "s" }));
    }
    while !stop.load(Ordering::Relaxed) {
        for job in &mut jobs {
            // One schedule that cannot be looked after now must not keep others from it.
            if let Err(error) = job.step() {
                if once_due {
                    return Err(error.into());
                }
                report::warnings(&[error], global);
                job.rest();
            }
        }
        if once_due && !jobs.iter().any(|job| job.is_working() || job.is_due()) {
            let failed = jobs.iter().find_map(|job| job.failed);
            jobs.into_iter().for_each(Job::finish);
            return Ok(failed.map_or(ExitCode::SUCCESS, ExitCode::from));
        }
        std::thread::sleep(LOOK);
    }
    if !global.quiet && !global.is_json() && jobs.iter().any(Job::is_working) {
        report::say("lets runs end\n");
    }
    // All are asked before one is waited for.
    jobs.iter_mut().try_for_each(Job::ask_to_stop)?;
    jobs.into_iter().try_for_each(Job::stopped)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the schedules of a state folder for this process.
fn lock(state_dir: &Path) -> Result<File> {
    store::create_folder(state_dir)?;
    let path = state_dir.join("schedule.lock");
    let lock = disk::lock(&path).map_err(|error| Error::io(format!("cannot use `{}`", path.display()), error))?;
    lock.ok_or_else(|| {
        let message = format!("another process does what is due for the state folder {}", state_dir.display());
        Error::new(Code::StateBusy, message)
            .help("one at a time, so that no firing runs twice: stop the other one first")
    })
}
