//! What a reader finds where a file sink has written, checked against the sink's manifest on the way.

use std::fs;
use std::path::Path;

use connectors::sink::manifest::{Entry, Manifest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::rows;
use crate::value::Value;

/// Final rows and open ones, each as a line of text, sorted.
pub type Held = [Vec<String>; 2];

/// Reads what a sink holds. In a folder a plain glob must find what the manifest names; a file must be as long as it says; and
/// each file must have as many rows.
pub fn held(kind: &str, path: &Path) -> Result<Held, String> {
    let mut held = if path.extension().is_some() { in_file(kind, path)? } else { in_folder(kind, path)? };
    held.iter_mut().for_each(|rows| rows.sort());
    Ok(held)
}

fn manifest(path: &Path) -> Result<Manifest, String> {
    let found = Manifest::read(path).map_err(|error| error.to_string())?;
    found.ok_or_else(|| format!("there is no {}", path.display()))
}

fn in_folder(kind: &str, folder: &Path) -> Result<Held, String> {
    let manifest = manifest(&folder.join("_manifest.json"))?;
    let names = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let names = names.map(|entry| entry.expect("a folder can be read").file_name().to_string_lossy().into_owned());
    let mut globbed: Vec<String> = names.filter(|name| !name.starts_with(['_', '.'])).collect();
    let mut named: Vec<String> = manifest.files.iter().chain(&manifest.open).map(|entry| entry.name.clone()).collect();
    globbed.sort();
    named.sort();
    if globbed != named {
        return Err(format!("{} holds {globbed:?}, and its manifest names {named:?}", folder.display()));
    }
    let read = |entries: &[Entry]| {
        let mut all = Vec::new();
        for entry in entries {
            let path = folder.join(&entry.name);
            let lines = match kind {
                "parquet" => rows_of_parquet(&path),
                _ => fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| lines(kind, bytes, true)),
            };
            let lines = lines.map_err(|error| format!("{}: {error}", path.display()))?;
            if lines.len() as u64 != entry.rows {
                return Err(format!("{} has {} rows, not {}", path.display(), lines.len(), entry.rows));
            }
            all.extend(lines);
        }
        Ok(all)
    };
    Ok([read(&manifest.files)?, read(&manifest.open)?])
}

fn in_file(kind: &str, path: &Path) -> Result<Held, String> {
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let manifest = manifest(&path.with_file_name(format!("_{name}.manifest.json")))?;
    let mut finals = fs::read(path).map_err(|error| error.to_string())?;
    let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.bytes).sum::<u64>() as usize;
    let (end, size) = (bytes(&manifest.files), bytes(&manifest.files) + bytes(&manifest.open));
    if finals.len() != size {
        return Err(format!("{} has {} bytes, not {size}", path.display(), finals.len()));
    }
    let open = finals.split_off(end);
    Ok([lines(kind, finals, true)?, lines(kind, open, false)?])
}

fn rows_of_parquet(path: &Path) -> Result<Vec<String>, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    let mut rows = Vec::new();
    for batch in reader.map_err(|error| error.to_string())? {
        rows.extend(rows::values(&batch.map_err(|error| error.to_string())?).iter().map(|row| line(row)));
    }
    Ok(rows)
}

/// Returns a row of Parquet as a line.
pub fn line(row: &[Value]) -> String {
    format!("{row:?}")
}

/// Returns the rows of a text.
fn lines(kind: &str, bytes: Vec<u8>, has_header: bool) -> Result<Vec<String>, String> {
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(format!("it ends in the middle of a line: {text:?}"));
    }
    // A line end between quotes belongs to a value; quotes in a value are doubled.
    let mut records = vec![String::new()];
    for line in text.split_inclusive('\n') {
        records.last_mut().expect("there is one").push_str(line);
        let is_whole = kind != "csv" || records.last().expect("there is one").matches('"').count() % 2 == 0;
        if is_whole {
            records.push(String::new());
        }
    }
    records.pop_if(|last| last.is_empty());
    if kind == "csv" && has_header {
        records.remove(0);
    }
    Ok(records)
}
