//! `samestream demo`: the whole story in a minute, with nothing installed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use connectors::lake::LakeOptions;
use engine::error::Exit;
use engine::plan::Plan;
use engine::{Code, Error, Result};
use pipeline::Variables;
use runtime::archive::{ArchiveOptions, archive};
use runtime::clickstream::{Clickstream, Options};
use runtime::target::Target;
use runtime::{Mode, RunOptions, untidy};

use crate::commands::{r#gen, init, verify};
use crate::global::Global;
use crate::output::{self, thousands};
use crate::progress::Shown;
use crate::report::{Done, Failure};
use crate::{clock, signals, summary};

const PIPELINE: &str = include_str!("../../../pipelines/page_views.yaml");
/// A folder with this file is ours to replace.
const MARK: &str = ".samestream-demo";

/// Make a messy clickstream, run one pipeline over it as a stream and as a batch job, and compare the results
///
/// Needs no server. Everything is in one folder, which the next demo replaces.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    samestream demo\n  \
    samestream demo --dir /tmp/demo --events 5000000 --seed 7")]
pub(crate) struct Arguments {
    /// Where the demo's files go
    #[arg(long, value_name = "DIR", default_value = "samestream-demo")]
    dir: PathBuf,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// What makes one clickstream different from another
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Done {
    let stop = signals::stop_flag()?;
    let demo = Demo::new(arguments, global, stop)?;
    let log = untidy::Options { events: arguments.events, seed: arguments.seed, rate: 200, ..Default::default() };
    demo.say(&format!(
        "1 · {} records of a clickstream, out of order, some late, some twice, some bad  →  {}\n",
        thousands(log.events),
        demo.path("data/journal/clicks")
    ))?;
    demo.make(log)?;
    demo.say(&format!("2 · archive: the journal into a Parquet lake  →  {}\n", demo.path("data/lake/clicks")))?;
    demo.archive()?;
    demo.say("3 · the pipeline as a stream over the journal\n\n")?;
    demo.run(Mode::Stream)?;
    demo.say("4 · the same pipeline as a batch job over the lake\n\n")?;
    demo.run(Mode::Batch)?;
    demo.say("5 · verify: both again over the same records, compared\n\n")?;
    demo.verify()
}

struct Demo<'a> {
    dir: &'a Path,
    plan: Arc<Plan>,
    stop: Arc<AtomicBool>,
    global: &'a Global,
}

impl<'a> Demo<'a> {
    fn new(arguments: &'a Arguments, global: &'a Global, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let dir = arguments.dir.as_path();
        clear(dir)?;
        init::write(&dir.join(MARK), "`samestream demo` replaces this folder.\n")?;
        init::write(&dir.join("pipelines/page_views.yaml"), PIPELINE)?;
        init::write(&dir.join(".samestream/pipeline.schema.json"), &init::schema())?;
        let inside = |path: &str| dir.join(path).display().to_string();
        let variables = Variables::new()
            .set("JOURNALS", inside("data/journal"))
            .set("LAKES", inside("data/lake"))
            .set("RESULTS", inside("data/out"));
        let loaded = pipeline::load("page_views.yaml", PIPELINE, &variables).map_err(Failure)?;
        Ok(Self { dir, plan: Arc::new(loaded.plan), stop, global })
    }

    fn path(&self, inside: &str) -> String {
        self.dir.join(inside).display().to_string()
    }

    fn say(&self, text: &str) -> Result<()> {
        output::text(text).map(|_| ())
    }

    fn make(&self, log: untidy::Options) -> Result<()> {
        let partitions: Vec<i32> = (0..log.partitions).collect();
        let mut target = Target::journal(&self.dir.join("data/journal/clicks"), &partitions)?;
        let (total, clicks) = (log.events, Clickstream::new(Options { log, ..Options::default() }));
        let shown = Shown::titled("gen".into(), false, self.global);
        let made = r#gen::fill(&mut target, clicks, total, &self.stop, &shown);
        shown.finish();
        made.and_then(|_| self.go_on())
    }

    fn archive(&self) -> Result<()> {
        let options = ArchiveOptions { until_caught_up: true, lake: LakeOptions::default(), stop: self.stop.clone() };
        let shown = Shown::titled("archive".into(), false, self.global);
        let done = archive(&self.plan.sources[0], &options, &clock::now_ms, &|done| {
            shown.count(done.records, done.left.map(|left| done.records + left));
        });
        shown.finish();
        done.and_then(|_| self.go_on())
    }

    fn options(&self, mode: Mode) -> RunOptions {
        let mut options = RunOptions::new(mode);
        options.until_caught_up = mode == Mode::Stream;
        options.state_dir = self.dir.join(".samestream");
        options.settings.stop = self.stop.clone();
        options
    }

    fn run(&self, mode: Mode) -> Result<()> {
        let mut options = self.options(mode);
        options.out = Some(self.dir.join("out").join(mode.to_string()));
        let shown = Shown::new(&self.plan.name, mode, self.global);
        let done = runtime::run(&self.plan, &options, &shown);
        shown.finish();
        let done = done?;
        self.go_on()?;
        summary::write(&done.summary, &self.dir.join(format!("{mode}.json")))?;
        self.say(&format!("{}\n", summary::text(&done, None)))
    }

    fn verify(&self) -> Done {
        let shown = verify::Both::new(&self.plan.name, self.global);
        let verdict = runtime::verify(&self.plan, &self.options(Mode::Batch), &shown);
        shown.finish();
        let verdict = verdict?;
        self.go_on()?;
        self.say(&verify::verdict(&verdict))?;
        if !verdict.equal {
            return Ok(ExitCode::from(Exit::No as u8));
        }
        self.say(&format!(
            "\n  look     cd {} && samestream query 'select * from page_views order by views desc limit 5' page_views=out/batch/page_views\n",
            self.dir.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Ends the demo when it was asked to stop.
    fn go_on(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::new(Code::Usage, "the demo was stopped")),
            false => Ok(()),
        }
    }
}

/// Removes an earlier demo, and nothing else.
fn clear(dir: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot use `{}`", dir.display()), error);
    if dir.join(MARK).is_file() {
        return std::fs::remove_dir_all(dir).map_err(failed);
    }
    let is_in_use = dir.exists() && std::fs::read_dir(dir).map_err(failed)?.next().is_some();
    match is_in_use {
        false => Ok(()),
        true => Err(Error::new(Code::Target, format!("`{}` holds files that are not a demo's", dir.display()))
            .help("choose another folder with `--dir`")),
    }
}
