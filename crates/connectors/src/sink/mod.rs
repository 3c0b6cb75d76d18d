//! Where rows go: one file per kind, and the table of kinds.
//!
//! A kind is everything about it in one entry of [`SINKS`]: name, settings with their help, how to open one. The
//! contract of a sink is [`engine::edge::Sink`]; the tests of this module walk the table.

mod cassandra;
mod csv;
mod exact;
mod files;
mod folder;
mod jsonl;
mod kafka;
pub mod manifest;
mod note;
mod once;
mod parquet;
mod patience;
mod postgres;
mod redis;
mod rows;
mod single;
mod spool;
mod sql;
mod stdout;
#[cfg(test)]
mod stdout_tests;
#[cfg(test)]
mod tests;
mod text;
mod url;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::edge::Sink;
use engine::plan::{KafkaBinding, SinkPlan, SinkTarget};
use engine::{Code, Error, Result};

use folder::FolderSink;
pub use folder::{Compacted, compact};

/// Every kind of sink.
pub const SINKS: &[SinkKind] =
    &[parquet::KIND, jsonl::KIND, csv::KIND, stdout::KIND, kafka::KIND, postgres::KIND, redis::KIND, cassandra::KIND];

/// One kind of sink.
pub struct SinkKind {
    /// What a pipeline file calls it.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
    /// The kind that stands in for it when rows are written to a folder instead.
    pub file_kind: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
    /// Checks what its settings say, as far as that can be without touching what they name.
    check: fn(&SinkPlan) -> Result<()>,
    /// Asks the outside whether a run could write there, and changes nothing.
    probe: fn(&SinkPlan) -> Result<()>,
    /// Opens one; settings were checked.
    open: fn(&SinkPlan, &Context) -> Result<Box<dyn Sink>>,
    /// The same as a folder of files, if it is one.
    folder: fn(&SinkPlan) -> Result<Option<FolderSink>>,
}

/// A setting of a sink kind.
pub struct Setting {
    /// Its name; `options.` stands for any name below it.
    pub name: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Whether it must be there.
    pub is_required: bool,
    /// Whether this version builds it; if not it is refused by name.
    pub is_built: bool,
}

/// What sinks need besides their plan.
#[derive(Clone)]
pub struct Context {
    /// Where `stdout` writes.
    pub console: Console,
    /// A folder where a sink may keep what it must remember between runs.
    pub state: Option<PathBuf>,
    /// The name of the pipeline that runs.
    pub pipeline: String,
    /// The job that runs, if it goes on from checkpoints: a sink that keeps its epochs keeps its name with them.
    pub job: Option<String>,
    /// Set when the run is to stop: a sink that waits for its server gives up.
    pub stop: Arc<AtomicBool>,
}

impl Default for Context {
    fn default() -> Self {
        Self { console: Console::stdout(), state: None, pipeline: String::new(), job: None, stop: Arc::default() }
    }
}

/// Where `stdout` writes, and whether people are looking.
#[derive(Clone)]
pub struct Console {
    /// True: a table for people. False: JSON lines for programs.
    pub is_terminal: bool,
    /// Opens it.
    pub open: Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>,
}

impl Console {
    /// Returns the process's standard output.
    pub fn stdout() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), open: Arc::new(|| Box::new(std::io::stdout())) }
    }
}

/// Returns the kind of that name.
pub fn kind(name: &str) -> Result<&'static SinkKind> {
    SINKS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = SINKS.iter().map(|kind| kind.name).collect();
        Error::new(Code::Field, format!("unknown kind of sink `{name}`"))
            .help(format!("kinds are {}", names.join(", ")))
    })
}

/// Checks the settings of a sink against its kind's table; touches nothing outside.
pub fn check(plan: &SinkPlan) -> Result<()> {
    let kind = kind(&plan.target.kind).map_err(|error| error.context(format!("sink `{}`", plan.name)))?;
    for name in plan.target.settings.keys() {
        let setting = kind
            .settings
            .iter()
            .find(|setting| setting.name == name || setting.name.ends_with('.') && name.starts_with(setting.name));
        match setting {
            Some(setting) if setting.is_built => {}
            Some(_) => {
                let message = format!("sink `{}`: `{name}` of {} is not built yet", plan.name, kind.name);
                return Err(Error::new(Code::NotBuilt, message));
            }
            None => {
                let names: Vec<&str> = kind.settings.iter().map(|setting| setting.name.trim_end_matches('.')).collect();
                return Err(Error::new(
                    Code::Field,
                    format!("sink `{}`: {} has no setting `{name}`", plan.name, kind.name),
                )
                .help(match names.is_empty() {
                    true => format!("{} has no settings", kind.name),
                    false => format!("its settings are {}", names.join(", ")),
                }));
            }
        }
    }
    match kind.settings.iter().find(|setting| setting.is_required && !plan.target.settings.contains_key(setting.name)) {
        None => (kind.check)(plan),
        Some(setting) => {
            let message = format!("sink `{}`: {} needs `{}`", plan.name, kind.name, setting.name);
            Err(Error::new(Code::Field, message).help(format!("`{}` is {}", setting.name, setting.help)))
        }
    }
}

/// Returns the topic that a sink writes to, if it writes to one.
pub fn topic(plan: &SinkPlan) -> Result<Option<KafkaBinding>> {
    (plan.target.kind == kafka::KIND.name).then(|| kafka::binding(plan)).transpose()
}

/// Asks the outside whether a run could write where a sink says, and changes nothing.
pub fn probe(plan: &SinkPlan) -> Result<()> {
    check(plan)?;
    (kind(&plan.target.kind)?.probe)(plan)
}

/// Checks a sink's settings and opens it. Nothing is written before its `begin`.
pub fn open(plan: &SinkPlan, context: &Context) -> Result<Box<dyn Sink>> {
    check(plan)?;
    (kind(&plan.target.kind)?.open)(plan, context)
}

/// Opens several sinks; refuses two that would overwrite each other.
pub fn open_all(plans: &[SinkPlan], context: &Context) -> Result<Vec<Box<dyn Sink>>> {
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for plan in plans {
        if let Some(id) = plan.target.settings.get("transactional_id")
            && let Some(other) = ids.insert(id, &plan.name)
        {
            let message = format!("sinks `{other}` and `{}` both have the `transactional_id` `{id}`", plan.name);
            return Err(Error::new(Code::Field, message).help("each would take it from the other: give each its own"));
        }
        let Some(path) = plan.target.settings.get("path") else { continue };
        if let Some((scheme, _)) = path.split_once("://") {
            let message = format!("sink `{}`: `{path}`: writing to `{scheme}://` is not supported", plan.name);
            return Err(Error::new(Code::Unsupported, message).help("sinks write to local folders for now"));
        }
        if let Some(other) = owners.insert(lexical(Path::new(path)), &plan.name) {
            let message = format!("sinks `{other}` and `{}` both write to {path}", plan.name);
            return Err(Error::new(Code::Field, message).help("give each sink a path of its own"));
        }
    }
    plans.iter().map(|plan| open(plan, context)).collect()
}

/// Returns the sink as it is written with `--out DIR`: as `DIR/<sink name>`, in its own file kind.
pub fn redirect(plan: &SinkPlan, folder: &Path) -> Result<SinkPlan> {
    let kind = kind(&plan.target.kind)?;
    let path = folder.join(&plan.name).to_string_lossy().into_owned();
    let rolls = [folder::ROLL_ROWS.name, folder::ROLL_BYTES.name];
    let mut settings = plan.target.settings.clone();
    settings.retain(|name, _| rolls.contains(&name.as_str()));
    settings.insert("path".to_string(), path);
    Ok(SinkPlan { target: SinkTarget { kind: kind.file_kind.to_string(), settings }, ..plan.clone() })
}

/// Returns what tells where a sink writes from where another one does, without what is secret: its kind, and its path, or a
/// digest of what else its settings say.
pub fn place(plan: &SinkPlan) -> String {
    let SinkTarget { kind, settings } = &plan.target;
    if let Some(path) = settings.get("path") {
        return format!("{kind} {}", lexical(Path::new(path)).display());
    }
    // Who writes, and by which password, does not change where.
    let shown = settings.iter().map(|(name, value)| match value.split_once("://") {
        Some((scheme, rest)) => {
            format!("{name}={scheme}://{}\n", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
        }
        None if name.contains("password") => String::new(),
        None => format!("{name}={value}\n"),
    });
    format!("{kind} {:016x}", xxhash_rust::xxh3::xxh3_64(shown.collect::<String>().as_bytes()))
}

/// Returns a setting that [`check`] has found to be there.
fn required<'a>(plan: &'a SinkPlan, name: &str) -> Result<&'a str> {
    match plan.target.settings.get(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Error::new(Code::Field, format!("sink `{}`: `{name}` is empty", plan.name))),
    }
}

/// Returns a setting that is `true` or `false`, by default false.
fn flag(plan: &SinkPlan, name: &str) -> Result<bool> {
    match plan.target.settings.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(Error::new(Code::Field, format!("sink `{}`: `{name}` is `{other}`, not true or false", plan.name)))
        }
    }
}

/// Says that there is nothing to check or to ask.
fn nothing(_: &SinkPlan) -> Result<()> {
    Ok(())
}

/// Says that a kind writes no folder of files.
fn no_folder(_: &SinkPlan) -> Result<Option<FolderSink>> {
    Ok(None)
}

/// Makes a word that no other process makes: of the clock and its number, which are nowhere part of a result.
pub fn token() -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{nanos:x}-{:x}", std::process::id())
}

/// Refuses a path with an extension for a kind that writes folders only.
fn refuse_file_path(plan: &SinkPlan, path: &str) -> Result<()> {
    if Path::new(path).extension().is_none() {
        return Ok(());
    }
    let message = format!("sink `{}`: {} writes a folder, and {path} names a file", plan.name, plan.target.kind);
    Err(Error::new(Code::Unsupported, message).help("name a folder, that is a path without an extension"))
}

/// Returns true for the extension of some file kind.
fn is_file_kind(extension: &str) -> bool {
    SINKS.iter().any(|kind| kind.file_kind == extension)
}

/// Returns a path without `.` and doubled or trailing slashes.
fn lexical(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}
