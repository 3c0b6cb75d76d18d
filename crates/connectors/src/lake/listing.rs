//! Which files a lake has, and which partition and offset each begins with.

use std::path::{Path, PathBuf};

use engine::error::{Code, Error, Result};
use engine::log::{Offset, Partition};
use engine::plan::{LakeBinding, Layout};

use crate::store;

/// The files of one partition, in offset order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) partition: Partition,
    /// First offset and path.
    pub(super) files: Vec<(Offset, PathBuf)>,
}

/// Returns the folder that a lake's path names; object stores are refused by name.
pub(super) fn local(path: &str) -> Result<&str> {
    match path.split_once("://") {
        Some(("file", rest)) => Ok(rest),
        Some((scheme, _)) => {
            Err(Error::new(Code::Unsupported, format!("`{path}`: a lake in `{scheme}://` is not supported"))
                .help("Lakes are local folders for now; mount it, or copy it"))
        }
        None => Ok(path),
    }
}

/// Returns the partitions of a lake, ascending, with their files.
pub(super) fn list(binding: &LakeBinding) -> Result<Vec<Listed>> {
    let path = local(&binding.path)?;
    let partitions = match binding.layout {
        Layout::Log => log(Path::new(path))?,
        Layout::Connect => connect(Path::new(path))?,
        Layout::Files => files(path)?,
    };
    if partitions.is_empty() {
        let what = match binding.layout {
            Layout::Log => "folders `partition=0`, `partition=1`, …",
            Layout::Connect => "files named `TOPIC+PARTITION+OFFSET.parquet`",
            Layout::Files => "Parquet files",
        };
        return Err(Error::new(Code::NotFound, format!("there is no lake at `{path}`: it has no {what}"))
            .help("`samestream archive` makes one; `lake: {path, layout}` says how files are laid out"));
    }
    Ok(partitions)
}

/// Returns true for names that every reader passes over.
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"_") || name.as_encoded_bytes().starts_with(b"."))
}

fn existing(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no lake at `{}`", path.display()))
            .help("`samestream archive` makes one"));
    }
    Ok(store::list(path)?.into_iter().filter(|path| !is_hidden(path)).collect())
}

fn log(folder: &Path) -> Result<Vec<Listed>> {
    let mut partitions = Vec::new();
    for path in existing(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let partition = name.strip_prefix("partition=").and_then(|digits| digits.parse::<Partition>().ok());
        if let Some(partition) = partition.filter(|partition| *partition >= 0 && path.is_dir()) {
            partitions.push(Listed { partition, files: log_files(&path)? });
        }
    }
    partitions.sort_by_key(|listed| listed.partition);
    if let Some(pair) = partitions.windows(2).find(|pair| pair[0].partition == pair[1].partition) {
        let message = format!("`{}` has partition {} twice", folder.display(), pair[0].partition);
        return Err(Error::new(Code::LakeDiverges, message));
    }
    Ok(partitions)
}

/// Returns the files in a partition's folder.
pub(super) fn log_files(folder: &Path) -> Result<Vec<(Offset, PathBuf)>> {
    let mut files = Vec::new();
    for path in existing(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".parquet") else { continue };
        match number(stem) {
            Some(first) => files.push((first, path)),
            None => {
                let message = format!("the name of `{}` is not a first offset", path.display());
                return Err(Error::new(Code::NoOffsets, message).help(
                    "Files of layout `log` are named by their first offset; a lake of other files has `layout: files`",
                ));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn connect(folder: &Path) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    let mut partitions: std::collections::BTreeMap<Partition, Vec<(Offset, PathBuf)>> = Default::default();
    let mut topic: Option<String> = None;
    for path in found {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let refuse = |what: &str| {
            Error::new(Code::NoOffsets, format!("`{}` {what}", path.display()))
                .help("Kafka Connect names files TOPIC+PARTITION+OFFSET.parquet")
        };
        // A codec's name may stand before the last dot, as in `.snappy.parquet`.
        let stem = name.trim_end_matches(".parquet").split('.').collect::<Vec<_>>();
        let stem = if stem.len() > 1 && stem[stem.len() - 1].bytes().all(|byte| byte.is_ascii_alphabetic()) {
            stem[..stem.len() - 1].join(".")
        } else {
            stem.join(".")
        };
        let mut parts = stem.rsplitn(3, '+');
        let offset = parts.next().and_then(number);
        let partition = parts.next().and_then(number).and_then(|number| Partition::try_from(number).ok());
        let (Some(offset), Some(partition), Some(name)) = (offset, partition, parts.next()) else {
            return Err(refuse("is not named by topic, partition and offset"));
        };
        if topic.get_or_insert_with(|| name.to_string()) != name {
            return Err(refuse("is of another topic than the files before it"));
        }
        partitions.entry(partition).or_default().push((offset, path.clone()));
    }
    Ok(partitions
        .into_iter()
        .map(|(partition, mut files)| {
            files.sort();
            Listed { partition, files }
        })
        .collect())
}

/// Layout `files`: each file is a partition, in the order of names.
fn files(path: &str) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    if path.contains(['*', '?', '[']) {
        // The part before the first pattern is a folder to look through.
        let components: Vec<&str> = path.split('/').collect();
        let plain = components.iter().take_while(|part| !part.contains(['*', '?', '['])).count();
        let base = if plain == 0 { ".".to_string() } else { components[..plain].join("/") };
        let base = if base.is_empty() { "/".to_string() } else { base };
        let mut all = Vec::new();
        walk_all(Path::new(&base), &mut all)?;
        found.extend(all.into_iter().filter(|file| {
            let rest = file.strip_prefix(&base).unwrap_or(file).to_string_lossy().into_owned();
            let rest: Vec<&str> = rest.split('/').collect();
            matches_parts(&components[plain..], &rest)
        }));
    } else if Path::new(path).is_file() {
        found.push(PathBuf::from(path));
    } else {
        walk(Path::new(path), &mut found)?;
    }
    found.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(found.into_iter().zip(0..).map(|(path, partition)| Listed { partition, files: vec![(0, path)] }).collect())
}

/// Adds the Parquet files under a folder.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut all = Vec::new();
    walk_all(folder, &mut all)?;
    found.extend(all.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")));
    Ok(())
}

fn walk_all(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for path in existing(folder)? {
        // A link to a folder could lead in a circle; only links to files are followed.
        let is_link = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if path.is_dir() && !is_link {
            walk_all(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn number(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Matches path parts with a pattern's parts; `**` stands for any number of them.
fn matches_parts(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], _) => {
            matches_parts(rest, parts) || parts.split_first().is_some_and(|(_, parts)| matches_parts(pattern, parts))
        }
        ([first, rest @ ..], [part, parts @ ..]) => {
            matches(first.as_bytes(), part.as_bytes()) && matches_parts(rest, parts)
        }
        _ => false,
    }
}

/// Matches a name with a pattern of `*`, `?` and `[a-z]`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|i| matches(rest, &name[i..])),
        [b'?', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return pattern == name };
            let Some((byte, name)) = name.split_first() else { return false };
            in_set(&rest[..end], *byte) && matches(&rest[end + 1..], name)
        }
        [byte, rest @ ..] => name.first() == Some(byte) && matches(rest, &name[1..]),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [] => false,
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_does() {
        let cases = [
            ("*.parquet", "a.parquet", true),
            ("*.parquet", "a/b.parquet", false),
            ("**/*.parquet", "a/b/c.parquet", true),
            ("**/*.parquet", "c.parquet", true),
            ("year=[0-9]?/*", "year=2x/a", true),
            ("year=[0-9]?/*", "year=x2/a", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("[ab]", "c", false),
        ];
        for (pattern, name, expected) in cases {
            let pattern: Vec<_> = pattern.split('/').collect();
            let name: Vec<_> = name.split('/').collect();
            assert_eq!(matches_parts(&pattern, &name), expected, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn object_stores_are_refused_by_name() {
        for path in ["s3://bucket/lake", "gs://b", "abfss://c@d/e", "https://host/f"] {
            let binding = LakeBinding { path: path.into(), layout: Layout::Log };
            assert_eq!(list(&binding).unwrap_err().code, Code::Unsupported);
        }
    }
}
