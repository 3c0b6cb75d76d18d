//! A case as a folder of readable files: `pipeline.yaml`, `case.json` (the same pipeline as the oracle reads it, and the
//! seed it came from) and `log.jsonl`.
//!
//! A line of `log.jsonl` is a partition (`{"source", "partition", "start", "end"}`) or a record of the partition before it
//! (`{"offset", "timestamp", "key", "value", "content"}`): the value as text in which every char is a byte, and beside
//! it what it means.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::case::log::{Log, PartitionLog, Record};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Record),
    Partition { source: usize, partition: i32, start: i64, end: i64 },
}

impl Case {
    /// Returns the log as the text of `log.jsonl`.
    pub fn log_text(&self) -> String {
        let mut text = String::new();
        let mut push = |line: &Line| {
            text.push_str(&serde_json::to_string(line).expect("plain values are JSON"));
            text.push('\n');
        };
        for PartitionLog { source, partition, start, end, records } in &self.log.partitions {
            push(&Line::Partition { source: *source, partition: *partition, start: *start, end: *end });
            records.iter().for_each(|record| push(&Line::Record(record.clone())));
        }
        text
    }

    /// Writes the case into a folder.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("pipeline.yaml"), self.pipeline.yaml())?;
        fs::write(folder.join("case.json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(folder.join("log.jsonl"), self.log_text())
    }

    /// Reads a case from a folder.
    ///
    /// # Panics
    /// When a file is missing or not what `save` writes, or `pipeline.yaml` is not the pipeline of `case.json`.
    pub fn load(folder: &Path) -> Self {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let mut case: Case =
            serde_json::from_str(&read("case.json")).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert_eq!(read("pipeline.yaml"), case.pipeline.yaml(), "{}: pipeline.yaml and case.json", folder.display());
        case.log = Log::default();
        for (number, line) in read("log.jsonl").lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Partition { source, partition, start, end }) => {
                    case.log.partitions.push(PartitionLog { source, partition, start, end, records: Vec::new() });
                }
                Ok(Line::Record(record)) => {
                    case.log.partitions.last_mut().expect("a partition comes first").records.push(record);
                }
                Err(error) => panic!("{} log.jsonl line {}: {error}", folder.display(), number + 1),
            }
        }
        case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_read_back_from_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        for seed in 0..50 {
            let case = Case::generate(seed);
            case.save(folder.path()).unwrap();
            let back = Case::load(folder.path());
            assert_eq!(back.log, case.log);
            assert_eq!(back.seed, seed);
        }
    }
}
