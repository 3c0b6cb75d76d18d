//! How a pipeline is found and read.

use std::path::{Component, Path, PathBuf};

use connectors::kafka::check_options;
use connectors::sink;
use engine::plan::Plan;
use engine::{Code, Error, Result};
use pipeline::{Loaded, Variables};

use crate::global::Global;
use crate::report::{self, Failure};

/// Finds and reads a pipeline; its warnings go to stderr.
pub(crate) fn load(name: &str, global: &Global) -> Result<Loaded, Failure> {
    let path = find(name)?;
    let loaded = read(&path, global)?;
    report::warnings(&loaded.warnings, global);
    Ok(loaded)
}

/// Reads a pipeline file.
pub(crate) fn read(path: &Path, global: &Global) -> Result<Loaded, Failure> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read `{shown}`"), error))?;
    global.detail(format_args!("reads `{shown}`"));
    let loaded = pipeline::load(&shown, &text, &variables(global)?).map_err(Failure)?;
    report::hide(&loaded.secrets);
    let wrong = wrong_settings(&loaded.plan);
    if wrong.is_empty() { Ok(loaded) } else { Err(Failure(wrong)) }
}

/// Returns what the connectors refuse of a plan without touching anything that it names.
fn wrong_settings(plan: &Plan) -> Vec<Error> {
    let sources = plan.sources.iter().filter_map(|source| {
        let checked = check_options(source.bindings.kafka.as_ref()?);
        checked.err().map(|error| error.context(format!("source `{}`", source.name)))
    });
    let sinks = plan.sinks.iter().filter_map(|plan| {
        let checked = sink::check(plan).and_then(|()| sink::topic(plan)).and_then(|topic| match topic {
            Some(binding) => check_options(&binding).map_err(|error| error.context(format!("sink `{}`", plan.name))),
            None => Ok(()),
        });
        checked.err()
    });
    sources.chain(sinks).collect()
}

/// Returns the values of variables: `--set`, the environment, `--env-file`, the profile.
pub(crate) fn variables(global: &Global) -> Result<Variables> {
    let mut variables = Variables::new().environment(std::env::vars()).profile(global.profile_variables.clone());
    for (name, value) in &global.set {
        variables = variables.set(name, value);
    }
    if let Some(path) = &global.env_file {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read `{shown}`"), error))?;
        global.detail(format_args!("reads `{shown}`"));
        variables = variables.env_file(&shown, &text)?;
    }
    Ok(variables)
}

/// Finds a pipeline file: a path, or a bare name that stands for `pipelines/NAME.yaml`; `FOLDER/NAME` for one further in.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let is_bare = !name.contains(['/', '\\']) && !name.ends_with(".yaml") && !name.ends_with(".yml");
    let by_name = Path::new("pipelines").join(format!("{name}.yaml"));
    if is_bare && by_name.is_file() {
        return Ok(by_name);
    }
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_inside && by_name.is_file() {
        return Ok(by_name);
    }
    let error = Error::new(Code::NotFound, format!("there is no pipeline `{name}`"));
    let known: Vec<String> =
        all().iter().map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into()).collect();
    Err(match (is_bare, known.is_empty()) {
        (true, false) => error.help(format!("pipelines here are: {}", known.join(", "))),
        (true, true) => error.help("give the path of a pipeline file, or make a project with `samestream init`"),
        (false, _) => error.help("give the path of a pipeline file, or the bare name of one in `pipelines/`"),
    })
}

/// Returns the files of the folder `pipelines`, in name order.
pub(crate) fn all() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("pipelines").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    paths.sort();
    paths
}
