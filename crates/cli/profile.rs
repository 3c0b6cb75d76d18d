//! Profiles: values of options and variables under a name, in `samestream.toml` of the project folder.
//!
//! ```toml
//! default = "dev"
//!
//! [profiles.dev]
//! state-dir = "state/dev"
//! format = "json"
//!
//! [profiles.dev.vars]
//! BROKERS = "localhost:9092"
//! ```
//!
//! A profile's values become the defaults of the options, so flags and environment variables go before them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use clap::{Arg, ArgAction, Command};
use engine::{Code, Error, Place, Result};
use toml_edit::{Document, Item, Key, TableLike, Value};

use crate::global::early;

const FILE: &str = "samestream.toml";

/// Options that choose the profile or name single values, so a profile cannot hold them.
const NOT_HERE: [&str; 3] = ["profile", "project-dir", "set"];

/// A profile, read and checked against the options there are.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Values of variables.
    pub(crate) variables: Vec<(String, String)>,
    settings: Vec<Setting>,
    file: File,
}

#[derive(Debug)]
struct Setting {
    option: String,
    values: Vec<String>,
    span: Range<usize>,
}

/// Returns the profile that the command line, the environment or the file chooses, if any.
pub(crate) fn chosen(command: &Command) -> Result<Option<Profile>> {
    let folder = early("project-dir").unwrap_or_else(|| ".".into());
    let path = Path::new(&folder).join(FILE);
    let asked = early("profile").filter(|name| !name.is_empty());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match asked {
                None => Ok(None),
                Some(name) => Err(Error::new(Code::NotFound, format!("there is no `{FILE}`, so no profile `{name}`"))
                    .help(format!("profiles are `[profiles.{name}]` in `{FILE}` of the project folder"))),
            };
        }
        Err(error) => return Err(Error::io(format!("cannot read `{}`", path.display()), error)),
    };
    // As the user would write it: without the `./` of the folder that is meant when none is given.
    let shown = path.strip_prefix(".").unwrap_or(&path).display().to_string();
    File { path: shown, text: text.into() }.profile(asked, &options_of(command))
}

impl Profile {
    /// Returns the values it gives an option.
    pub(crate) fn values(&self, option: &str) -> Option<&[String]> {
        self.settings.iter().find(|setting| setting.option == option).map(|setting| setting.values.as_slice())
    }

    /// Makes its values the defaults of the verb that is called and of the options all verbs have.
    pub(crate) fn as_defaults(&self, command: Command, verb: Option<&str>) -> Result<Command> {
        let mut wrong = None;
        let mut command = self.fill(command, &mut wrong);
        if let Some(verb) = verb {
            command = command.mut_subcommand(verb, |command| {
                let command = self.fill(command, &mut wrong);
                command.mut_subcommands(|action| self.fill(action, &mut wrong))
            });
        }
        wrong.map_or(Ok(command), Err)
    }

    fn fill(&self, command: Command, wrong: &mut Option<Error>) -> Command {
        command.mut_args(|argument| {
            let setting = argument.get_long().and_then(|long| self.settings.iter().find(|it| it.option == long));
            let Some(setting) = setting else { return argument };
            if let Err(why) = check(&argument, &setting.values) {
                wrong.get_or_insert(self.file.error(setting.span.clone(), why.0, "this value").help(why.1));
                return argument;
            }
            // Once per option and process: clap wants the text for as long as the command lives.
            let values = setting.values.iter().map(|value| &*value.clone().leak());
            argument.required(false).default_values(values)
        })
    }
}

/// Asks clap whether an option would take these values; otherwise returns why not, and what it takes.
fn check(argument: &Arg, values: &[String]) -> Result<(), (String, String)> {
    let long = argument.get_long().unwrap_or_default();
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(()),
            _ => Err((format!("`{long}` is a switch"), "write `true` or `false`".into())),
        };
    }
    let alone = Command::new("profile").no_binary_name(true).arg(argument.clone().required(false));
    let words: Vec<String> = values.iter().map(|value| format!("--{long}={value}")).collect();
    alone.try_get_matches_from(words).map(|_| ()).map_err(|error| {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more"));
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_string();
        let rest = lines.collect::<Vec<_>>().join("; ");
        (message, if rest.is_empty() { format!("`{long}` takes what `--{long}` takes") } else { rest })
    })
}

/// Returns the long names of all options of all verbs.
fn options_of(command: &Command) -> Vec<String> {
    let all = std::iter::once(command).chain(command.get_subcommands());
    let mut names: Vec<String> =
        all.flat_map(Command::get_arguments).filter_map(|argument| argument.get_long().map(String::from)).collect();
    names.retain(|name| name != "help" && name != "version");
    names.sort();
    names.dedup();
    names
}

#[derive(Debug)]
struct File {
    path: String,
    text: Arc<str>,
}

impl File {
    /// Reads the whole file, so that what is wrong in another profile is found as well.
    fn profile(self, asked: Option<String>, options: &[String]) -> Result<Option<Profile>> {
        let document = Document::parse(&*self.text).map_err(|error| {
            self.error(error.span().unwrap_or(0..0), format!("this is not TOML: {}", error.message().trim()), "here")
        })?;
        let (mut default, mut profiles) = (None, Vec::new());
        for (key, item) in entries(document.as_table()) {
            match key.get() {
                "default" => default = Some((self.word(key, item)?, span(key, item))),
                "profiles" => {
                    for (key, item) in entries(self.table(key, item)?) {
                        profiles.push(self.read(key, item, options)?);
                    }
                }
                _ => return Err(self.unknown(key, "the file", "it takes", &["default".into(), "profiles".into()])),
            }
        }
        let (name, place) = match (asked, default) {
            (Some(name), _) => (name, None),
            (None, Some((name, place))) => (name, Some(place)),
            (None, None) => return Ok(None),
        };
        let names: Vec<String> = profiles.iter().map(|profile| format!("`{}`", profile.0)).collect();
        match profiles.into_iter().find(|(known, ..)| *known == name) {
            Some((_, settings, variables)) => Ok(Some(Profile { settings, variables, file: self })),
            None => {
                let message = format!("`{}` has no profile `{name}`", self.path);
                let error = match place {
                    Some(place) => Error { code: Code::Name, ..self.error(place, message, "named here") },
                    None => Error::new(Code::Name, message),
                };
                Err(error.help(format!("its profiles: {}", names.join(", "))))
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of a profile, put together by the one caller")]
    fn read(
        &self,
        key: &Key,
        item: &Item,
        options: &[String],
    ) -> Result<(String, Vec<Setting>, Vec<(String, String)>)> {
        let (mut settings, mut variables) = (Vec::new(), Vec::new());
        for (key, item) in entries(self.table(key, item)?) {
            let option = key.get();
            if option == "vars" {
                for (key, item) in entries(self.table(key, item)?) {
                    variables.push((key.get().to_string(), self.word(key, item)?));
                }
                continue;
            }
            if NOT_HERE.contains(&option) {
                let error = self.error(key_span(key), format!("`{option}` cannot be in a profile"), "here");
                return Err(error.help("variables of pipelines are `[profiles.NAME.vars]`"));
            }
            if !options.iter().any(|known| known == option) {
                let options: Vec<String> =
                    options.iter().filter(|known| !NOT_HERE.contains(&known.as_str())).cloned().collect();
                return Err(self.unknown(
                    key,
                    "a profile",
                    "a profile takes `vars` and options, without dashes",
                    &options,
                ));
            }
            settings.push(Setting { option: option.into(), values: self.words(key, item)?, span: span(key, item) });
        }
        Ok((key.get().to_string(), settings, variables))
    }

    fn table<'a>(&self, key: &Key, item: &'a Item) -> Result<&'a dyn TableLike> {
        item.as_table_like().ok_or_else(|| {
            self.error(span(key, item), format!("`{}` is not a table", key.get()), "this")
                .help("a table is `[profiles.NAME]` and lines of `option = value` below it")
        })
    }

    /// Returns one value, or those of an array.
    fn words(&self, key: &Key, item: &Item) -> Result<Vec<String>> {
        match item.as_array() {
            Some(array) => array.iter().map(|value| self.scalar(key, value)).collect(),
            None => Ok(vec![self.word(key, item)?]),
        }
    }

    fn word(&self, key: &Key, item: &Item) -> Result<String> {
        match item.as_value() {
            Some(value) => self.scalar(key, value),
            None => Err(self.error(span(key, item), format!("`{}` is not a value", key.get()), "this")),
        }
    }

    fn scalar(&self, key: &Key, value: &Value) -> Result<String> {
        match value {
            Value::String(text) => Ok(text.value().clone()),
            Value::Integer(number) => Ok(number.value().to_string()),
            Value::Boolean(truth) => Ok(truth.value().to_string()),
            // As it is written: nothing is rounded on the way.
            Value::Float(_) | Value::Datetime(_) => Ok(self.text[value.span().unwrap_or(0..0)].replace('_', "")),
            Value::Array(_) | Value::InlineTable(_) => {
                let span = value.span().unwrap_or_else(|| key_span(key));
                Err(self.error(span, format!("`{}` is not a single value", key.get()), "this"))
            }
        }
    }

    fn unknown(&self, key: &Key, of: &str, takes: &str, known: &[String]) -> Error {
        let name = key.get();
        let near = pipeline::nearest(name, known.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.len() > 5 => takes.to_string(),
            None => format!("{takes} {}", known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")),
        };
        self.error(key_span(key), format!("unknown field `{name}` in {of}"), "not known").help(help)
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>, label: &str) -> Error {
        let mut error = Error::new(Code::Field, message);
        let (start, end) = (span.start.min(self.text.len()), span.end.min(self.text.len()));
        error.place =
            Some(Box::new(Place { file: self.path.clone(), text: self.text.clone(), start, end, label: label.into() }));
        error
    }
}

fn entries(table: &dyn TableLike) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(|(name, _)| table.get_key_value(name))
}

fn key_span(key: &Key) -> Range<usize> {
    key.span().unwrap_or(0..0)
}

fn span(key: &Key, item: &Item) -> Range<usize> {
    item.as_value().and_then(Value::span).unwrap_or_else(|| key_span(key))
}
