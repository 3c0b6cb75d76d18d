//! Every setting with its value and where that came from: what `version --show-config` prints.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use engine::{Code, Error};
use serde_json::{Value, json};

use crate::global::variable_of;
use crate::profile::Profile;

/// A setting as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The option without its dashes, or `vars.NAME`.
    pub(crate) name: String,
    /// Its value; None: it has none.
    pub(crate) value: Option<String>,
    /// `flag`, `env`, `profile` or `default`.
    pub(crate) from: &'static str,
    /// The verbs that have it; empty: all have it.
    pub(crate) verbs: Vec<String>,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} = {} ({})", self.name, self.value.as_deref().unwrap_or_default(), self.from)
    }
}

impl Setting {
    /// Returns true when the verb has it.
    pub(crate) fn is_of(&self, verb: &str) -> bool {
        self.verbs.is_empty() || self.verbs.iter().any(|known| known == verb)
    }

    /// Returns it as an object for programs.
    pub(crate) fn json(&self) -> Value {
        json!({"setting": self.name, "value": self.value, "from": self.from, "verbs": self.verbs})
    }
}

/// Returns all settings: those of all verbs, then those of single ones, then the profile's variables.
pub(crate) fn all(command: &Command, matches: &ArgMatches, profile: Option<&Profile>) -> Vec<Setting> {
    let (verb, given) = matches.subcommand().unzip();
    let mut settings: Vec<Setting> = Vec::new();
    for argument in command.get_arguments().filter(|argument| is_setting(argument)) {
        settings.push(of(argument, given, profile, Vec::new()));
    }
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let given = given.filter(|_| verb == Some(name));
        for argument in subcommand.get_arguments().filter(|argument| is_setting(argument)) {
            let setting = of(argument, given, profile, vec![name.to_string()]);
            let is_same = |known: &&mut Setting| {
                !known.verbs.is_empty()
                    && (&known.name, &known.value, known.from) == (&setting.name, &setting.value, setting.from)
            };
            match settings.iter_mut().find(is_same) {
                Some(known) => known.verbs.extend(setting.verbs),
                None => settings.push(setting),
            }
        }
    }
    let variables = profile.map(|profile| profile.variables.as_slice()).unwrap_or_default();
    settings.extend(variables.iter().map(|(name, _)| Setting {
        name: format!("vars.{name}"),
        value: Some("***".into()),
        from: "profile",
        verbs: Vec::new(),
    }));
    settings
}

/// Variables that only this project's tests read, besides those that begin with `SAMESTREAM_TEST_`.
const FOR_TESTS: &[&str] = &["SAMESTREAM_CASES", "SAMESTREAM_FLOAT_ROUNDS"];

/// Secrets, which have no option: a command line can be seen by others.
const SECRETS: &[&str] = &[crate::watch::TOKEN];

/// Returns a warning for each environment variable that is named as if it stood for an option, and stands for none.
pub(crate) fn unknown_variables(command: &Command) -> Vec<Error> {
    let mut known: Vec<String> = Vec::new();
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        let settings = command.get_arguments().filter(|argument| is_setting(argument));
        known.extend(settings.filter_map(Arg::get_long).map(variable_of));
        commands.extend(command.get_subcommands());
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_unknown = |name: &String| {
        let is_for_tests = name.starts_with("SAMESTREAM_TEST_") || FOR_TESTS.contains(&name.as_str());
        let is_secret = SECRETS.contains(&name.as_str());
        name.starts_with("SAMESTREAM_") && !is_for_tests && !is_secret && !known.contains(name)
    };
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort();
    let warning = |name: String| {
        let help = match pipeline::nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`samestream version --show-config` tells all settings".into(),
        };
        Error::new(Code::Usage, format!("the environment variable `{name}` stands for no option")).help(help)
    };
    unknown.into_iter().map(warning).collect()
}

fn is_setting(argument: &Arg) -> bool {
    argument.get_long().is_some_and(|long| long != "help" && long != "version")
}

fn of(argument: &Arg, given: Option<&ArgMatches>, profile: Option<&Profile>, verbs: Vec<String>) -> Setting {
    let name = argument.get_long().unwrap_or_default();
    let of_profile = profile.and_then(|profile| profile.values(name));
    let (values, from): (Vec<String>, _) = match given {
        Some(matches) => {
            let id = argument.get_id().as_str();
            let raw = matches.get_raw(id).into_iter().flatten();
            let from = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => "flag",
                Some(ValueSource::EnvVariable) => "env",
                _ if of_profile.is_some() => "profile",
                _ => "default",
            };
            // The presence of a switch is its value.
            let is_switch = matches!(argument.get_action(), ArgAction::SetTrue) && from == "flag";
            (if is_switch { vec!["true".into()] } else { texts(raw) }, from)
        }
        None => match (std::env::var(variable_of(name)), of_profile) {
            (Ok(value), _) => (vec![value], "env"),
            (Err(_), Some(values)) => (values.to_vec(), "profile"),
            (Err(_), None) => (texts(argument.get_default_values().iter().map(|value| value.as_os_str())), "default"),
        },
    };
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
    let value = match values.is_empty() {
        true => is_switch.then(|| "false".to_string()),
        false => Some(values.iter().map(|value| redacted(name, value)).collect::<Vec<_>>().join(",")),
    };
    Setting { name: name.into(), value, from, verbs }
}

fn texts<'a>(values: impl Iterator<Item = &'a std::ffi::OsStr>) -> Vec<String> {
    values.map(|value| value.to_string_lossy().into_owned()).collect()
}

/// Hides the values of variables: which of them is a secret only a pipeline file says.
fn redacted(option: &str, value: &str) -> String {
    match (option, value.split_once('=')) {
        ("set", Some((path, _))) => format!("{path}=***"),
        ("set", None) => "***".into(),
        _ => value.into(),
    }
}
