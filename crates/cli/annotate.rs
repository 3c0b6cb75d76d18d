//! What is wrong with pipeline files in the forms that code hosts show beside the lines: SARIF, and GitHub's commands.

use std::collections::BTreeSet;

use engine::Error;
use pipeline::diagnostic::{Severity, to_json};
use serde_json::{Value, json};

use crate::report;

/// Something wrong or odd in a file.
pub(crate) struct Found {
    /// The file that was checked.
    pub(crate) file: String,
    /// What it is; its own place, where it has one, is more exact.
    pub(crate) error: Error,
    /// How bad it is.
    pub(crate) severity: Severity,
}

impl Found {
    /// Returns file, message with help, and the stretch of the file, if it is known.
    fn parts(&self) -> (String, String, Option<[u64; 4]>) {
        let json = to_json(&self.error, self.severity);
        let message = match &self.error.help {
            Some(help) => format!("{}\n{help}", self.error.message),
            None => self.error.message.clone(),
        };
        let number = |end: &str, what: &str| json[end][what].as_u64();
        let stretch = || {
            Some([
                number("start", "line")?,
                number("start", "column")?,
                number("end", "line")?,
                number("end", "column")?,
            ])
        };
        (json["file"].as_str().unwrap_or(&self.file).to_string(), report::redacted(&message), stretch())
    }
}

/// Returns a SARIF 2.1.0 log.
pub(crate) fn sarif(found: &[Found]) -> String {
    let result = |found: &Found| {
        let (file, message, stretch) = found.parts();
        let mut location = json!({"artifactLocation": {"uri": file}});
        if let Some([line, column, end_line, end_column]) = stretch {
            location["region"] = json!({
                "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column
            });
        }
        json!({
            "ruleId": found.error.code.name(),
            "level": found.severity.name(),
            "message": {"text": message},
            "locations": [{"physicalLocation": location}],
        })
    };
    let codes: BTreeSet<_> = found.iter().map(|found| found.error.code.name()).collect();
    let explained =
        |name: &&str| engine::error::CODES.iter().find(|code| code.name() == *name).map(|code| code.explain());
    let rules: Vec<Value> = codes
        .iter()
        .map(|name| json!({"id": name, "shortDescription": {"text": explained(name).unwrap_or_default()}}))
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "samestream", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": found.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    format!("{log:#}\n")
}

/// Returns a line for each, as GitHub's runners read them.
pub(crate) fn github(found: &[Found]) -> String {
    let line = |found: &Found| {
        let (file, message, stretch) = found.parts();
        let mut properties = format!("file={}", property(&file));
        if let Some([line, column, end_line, end_column]) = stretch {
            properties += &format!(",line={line},col={column},endLine={end_line},endColumn={end_column}");
        }
        let (severity, code) = (found.severity.name(), found.error.code.name());
        format!("::{severity} {properties},title={}::{}\n", property(code), data(&message))
    };
    found.iter().map(line).collect()
}

/// Returns text as the data of a command: it ends at the line's end.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Returns text as a property of a command: it ends at a comma or colon, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Found> {
        let errors = pipeline::load("pipelines/a,b.yaml", text, &pipeline::Variables::new()).err().unwrap();
        let wrap = |error| Found { file: "other".into(), error, severity: Severity::Error };
        errors.into_iter().map(wrap).collect()
    }

    #[test]
    fn a_line_of_github_s_says_where_and_what() {
        let text = github(&found("version: 2\nname: x\n"));
        let line = text.lines().find(|line| line.contains("E_VERSION")).unwrap();
        let head = "::error file=pipelines/a%2Cb.yaml,line=1,col=10,endLine=1,endColumn=11,title=E_VERSION::";
        assert!(line.starts_with(head), "{text}");
        assert_eq!(data("50 %\nof"), "50 %25%0Aof");
    }

    #[test]
    fn a_sarif_log_has_a_rule_for_every_result() {
        let log: Value = serde_json::from_str(&sarif(&found("version: 2\nname: x\n"))).unwrap();
        let run = &log["runs"][0];
        let rules: Vec<&Value> =
            run["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|rule| &rule["id"]).collect();
        let results = run["results"].as_array().unwrap();
        assert!(!results.is_empty() && results.iter().all(|result| rules.contains(&&result["ruleId"])));
        let version = results.iter().find(|result| result["ruleId"] == "E_VERSION").unwrap();
        let region = &version["locations"][0]["physicalLocation"]["region"];
        assert_eq!((&region["startLine"], &region["startColumn"]), (&json!(1), &json!(10)));
    }
}
