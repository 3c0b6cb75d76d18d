//! Which files a path means, and of which kind.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A kind of file that holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Parquet,
    JsonLines,
    Csv,
}

/// Returns the files of a table in name order, and their kind; no files for an existing folder without any.
pub(crate) fn table_files(path: &Path) -> Result<(FileKind, Vec<PathBuf>)> {
    let read_error = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound(path.to_path_buf()),
        _ => Error::Read { path: path.to_path_buf(), reason: e.to_string() },
    };
    if std::fs::metadata(path).map_err(read_error)?.is_file() {
        let kind = kind_of(path).ok_or_else(|| Error::NotATable {
            path: path.to_path_buf(),
            reason: "is not a .parquet, .jsonl or .csv file".into(),
        })?;
        return Ok((kind, vec![path.to_path_buf()]));
    }
    let mut files = Vec::new();
    collect(path, &mut files).map_err(read_error)?;
    files.sort();
    let Some(kind) = files.first().and_then(|file| kind_of(file)) else {
        return Ok((FileKind::Parquet, Vec::new()));
    };
    if let Some(other) = files.iter().find(|file| kind_of(file) != Some(kind)) {
        return Err(Error::NotATable {
            path: path.to_path_buf(),
            reason: format!("holds files of different kinds, such as `{}` and `{}`", name(&files[0]), name(other)),
        });
    }
    Ok((kind, files))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if name(&path).starts_with(['_', '.']) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if kind_of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

fn kind_of(path: &Path) -> Option<FileKind> {
    Some(match path.extension()?.to_str()? {
        "parquet" => FileKind::Parquet,
        "jsonl" | "ndjson" => FileKind::JsonLines,
        "csv" => FileKind::Csv,
        _ => return None,
    })
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_and_manifest_are_not_rows() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.parquet", "a.parquet", "_manifest.json", "_staging.parquet", ".hidden.parquet", "notes.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let (kind, files) = table_files(folder.path()).unwrap();
        let names: Vec<String> = files.iter().map(|file| name(file)).collect();
        assert_eq!((kind, names), (FileKind::Parquet, vec!["a.parquet".to_string(), "b.parquet".into()]));
    }

    #[test]
    fn mixed_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.parquet", "b.csv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(matches!(table_files(folder.path()), Err(Error::NotATable { .. })));
    }

    #[test]
    fn a_missing_path_says_so() {
        assert!(matches!(table_files(Path::new("/no/such/table")), Err(Error::NotFound(_))));
    }
}
