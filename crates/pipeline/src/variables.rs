//! Variables: where the value of `${NAME}` comes from, and how it is put into scalars.
//!
//! Values go into scalars after parsing, so that no value can change the shape of a file. A secret's value is never
//! shown: errors show scalars as written, and what is printed of a plan goes through [`Secrets::redact`].

use std::collections::BTreeMap;

use engine::{Code, Error, Result};
use serde_json::Value;

use crate::fields::VARIABLE;
use crate::problems::{Problems, Span};
use crate::read::{Fields, is_name};
use crate::yaml::{Kind, Node, Scalar};

/// Values from outside the file, in the order in which they are asked: set, environment, file, profile.
#[derive(Clone, Default)]
pub struct Variables {
    set: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    profile: BTreeMap<String, String>,
}

impl Variables {
    /// Makes an empty set: only defaults of the pipeline file count.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value explicitly (`--set vars.NAME=…`).
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.insert(name.into(), value.into());
        self
    }

    /// Takes values from the process's environment.
    pub fn environment(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(values);
        self
    }

    /// Takes values from the text of an environment file: lines `NAME=value`, `#` comments, optional `export` and quotes.
    pub fn env_file(mut self, path: &str, text: &str) -> Result<Self> {
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = match line.split_once('=') {
                Some((name, value)) if is_name(name.trim()) => (name.trim(), value.trim()),
                _ => {
                    return Err(Error::new(Code::Variable, format!("{path}:{}: this line is not `NAME=value`", i + 1))
                        .help("lines of an environment file are `NAME=value`; a comment starts with `#`"));
                }
            };
            let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            self.file.insert(name.into(), unquoted.unwrap_or(value).into());
        }
        Ok(self)
    }

    /// Takes values from a profile of `samestream.toml`.
    pub fn profile(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.profile.extend(values);
        self
    }

    fn value(&self, name: &str) -> Option<&str> {
        [&self.set, &self.environment, &self.file, &self.profile]
            .into_iter()
            .find_map(|values| values.get(name))
            .map(String::as_str)
    }
}

/// Fields whose values are written where a later run compares them: checkpoints name logs and places, lakes their schema.
const IS_KEPT: &[&str] = &["path", "topic", "table", "file", "key", "from", "null_as", "format", "name"];

/// The values that must never be shown.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Returns the text with `***` for every secret value in it.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// Redacts every text of a value; before it is written, because a secret may look otherwise inside JSON.
    pub fn redact_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.redact_json(item)).collect(),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, self.redact_json(value))).collect(),
            other => other,
        }
    }
}

/// A variable as declared, with its value.
struct Declared {
    span: Span,
    secret: bool,
    value: Option<String>,
    used: bool,
    missed: bool,
}

/// The declared variables of a file.
pub(crate) struct Table(BTreeMap<String, Declared>);

impl Table {
    /// Reads `vars:` and finds the values.
    pub(crate) fn read(root: &Node, variables: &Variables, problems: &mut Problems) -> (Self, Secrets) {
        let (mut table, mut secrets) = (BTreeMap::new(), Vec::new());
        let entries = match &root.kind {
            Kind::Mapping(entries) => entries.as_slice(),
            _ => &[],
        };
        let declared = entries.iter().find(|entry| entry.key.text == "vars").map(|entry| &entry.value.kind);
        if let Some(Kind::Mapping(declared)) = declared {
            for entry in declared.iter().filter(|entry| is_name(&entry.key.text)) {
                // What is wrong with the block is reported when the file is read as a whole.
                let mut ignored = Problems::new("", "");
                let fields = Fields::open_optional(&entry.value, entry.key.span, &VARIABLE, &mut ignored);
                let (mut default, mut secret) = (None, false);
                if let Some(fields) = fields {
                    secret = fields.get("secret").and_then(Node::scalar).is_some_and(|scalar| scalar.text == "true");
                    default = fields.get("default").and_then(Node::scalar);
                }
                if let Some(default) = default.filter(|_| secret) {
                    problems.hide(default.span);
                    secrets.push(default.text.clone());
                }
                let default = default.map(|scalar| scalar.text.clone());
                let mut value = variables.value(&entry.key.text).map(str::to_owned).or(default);
                if let (true, Some(text)) = (secret, &mut value) {
                    read_reference(&entry.key, text, problems);
                    secrets.push(text.clone());
                }
                let declared = Declared { span: entry.key.span, secret, value, used: false, missed: false };
                table.insert(entry.key.text.clone(), declared);
            }
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        (Self(table), Secrets(secrets))
    }

    /// Puts values into every scalar of the tree except under `vars` and `x-…`.
    pub(crate) fn fill(&mut self, root: &mut Node, problems: &mut Problems) {
        if let Kind::Mapping(entries) = &mut root.kind {
            for entry in
                entries.iter_mut().filter(|entry| entry.key.text != "vars" && !entry.key.text.starts_with("x-"))
            {
                self.fill_node(&mut entry.value, &entry.key.text, problems);
            }
        }
        for (name, declared) in self.0.iter().filter(|(_, declared)| !declared.used) {
            problems
                .warning(Code::Variable, declared.span, format!("the variable `{name}` is not used"), "declared here")
                .help = Some(format!("remove it, or write `${{{name}}}` where its value belongs"));
        }
    }

    fn fill_node(&mut self, node: &mut Node, key: &str, problems: &mut Problems) {
        match &mut node.kind {
            Kind::Scalar(scalar) => {
                let before = problems.errors.len();
                self.fill_scalar(scalar, problems);
                // One that has no value is told already.
                if scalar.is_secret && IS_KEPT.contains(&key) && problems.errors.len() == before {
                    let message = format!("a secret cannot stand in `{key}`");
                    problems.error(Code::Variable, scalar.span, message, "has a secret in it").help = Some(
                        "it is kept beside the rows and the state; secrets are for addresses and credentials".into(),
                    );
                }
            }
            Kind::Sequence(items) => items.iter_mut().for_each(|item| self.fill_node(item, key, problems)),
            Kind::Mapping(entries) => {
                for entry in entries.iter_mut().filter(|entry| !entry.key.text.starts_with("x-")) {
                    self.fill_node(&mut entry.value, &entry.key.text, problems);
                }
            }
        }
    }

    fn fill_scalar(&mut self, scalar: &mut Scalar, problems: &mut Problems) {
        if !scalar.text.contains("${") {
            return;
        }
        let mut filled = String::new();
        let mut rest = scalar.text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
                problems.error(Code::Variable, scalar.span, "`${` without a name and `}` after it", "here").help =
                    Some("a variable is written `${NAME}`".into());
                problems.unfilled(scalar.span);
                return;
            };
            scalar.is_secret |= self.use_variable(name, scalar.span, &mut filled, problems);
            rest = after;
        }
        filled.push_str(rest);
        scalar.written = Some(std::mem::replace(&mut scalar.text, filled));
    }

    /// Adds a variable's value to a text; returns whether it is a secret.
    fn use_variable(&mut self, name: &str, span: Span, filled: &mut String, problems: &mut Problems) -> bool {
        let Some(declared) = self.0.get_mut(name) else {
            let help = crate::suggest::did_you_mean(name, "declared under `vars:`", self.0.keys().map(String::as_str));
            problems.error(Code::Variable, span, format!("the variable `{name}` is not declared"), "used here").help =
                Some(format!("{help}; declare it: `vars: {{{name}: {{default: …}}}}`"));
            problems.unfilled(span);
            return false;
        };
        declared.used = true;
        match &declared.value {
            Some(value) => filled.push_str(value),
            None if declared.missed => problems.unfilled(span),
            None => {
                problems.unfilled(span);
                declared.missed = true;
                let more = if declared.secret { "" } else { ", or give it a `default`" };
                problems.error(Code::Variable, span, format!("the variable `{name}` has no value"), "used here").help =
                    Some(format!(
                        "set it: `--set vars.{name}=…`, the environment variable {name}, or `--env-file FILE`{more}"
                    ));
            }
        }
        declared.secret
    }
}

/// A secret's value `file:PATH` stands for what the file holds, without the line break at its end.
fn read_reference(key: &Scalar, value: &mut String, problems: &mut Problems) {
    let Some(path) = value.strip_prefix("file:") else { return };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            *value =
                text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).into()
        }
        Err(error) => {
            problems
                .error(
                    Code::Variable,
                    key.span,
                    format!("the file of the secret `{}` cannot be read: {}", key.text, error.kind()),
                    "this one",
                )
                .help = Some("a secret's value that starts with `file:` names a file that holds it".into());
        }
    }
}
