//! Small steps with files that the file sinks share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use engine::{Code, Error, Result};

use crate::disk;

/// How often the turn of a commit is asked for; each time the lock is tried for a fifth of a second.
const TURN_TRIES: usize = 1500;

/// Creates a file anew.
pub(super) fn create(path: &Path) -> Result<disk::File> {
    disk::File::create(path).map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))
}

/// Makes a file's contents durable and returns its size.
pub(super) fn sync(file: &disk::File, path: &Path) -> Result<u64> {
    file.sync()
        .and_then(|()| file.size())
        .map_err(|error| Error::io(format!("cannot write `{}`", path.display()), error))
}

/// Takes a sink for this run until the returned file is dropped; `lock` is a file that no reader takes for rows.
///
/// It comes first of all: tidying up what a crash left would take the staged rows of a run that is alive.
pub(super) fn lock(lock: &Path, sink: &Path) -> Result<File> {
    let failed = |error| Error::io(format!("cannot write `{}`", lock.display()), error);
    disk::lock(lock).map_err(failed)?.ok_or_else(|| {
        Error::new(Code::StateBusy, format!("another run writes to {}", sink.display()))
            .help("wait for it or stop it, or write elsewhere with --out DIR")
    })
}

/// Takes the turn of a commit until the returned file is dropped; another run has it for as long as its own commit takes.
pub(super) fn turn(turn: &Path, sink: &Path) -> Result<File> {
    let failed = |error| Error::io(format!("cannot write `{}`", turn.display()), error);
    for _ in 0..TURN_TRIES {
        if let Some(file) = disk::lock(turn).map_err(failed)? {
            return Ok(file);
        }
    }
    Err(Error::new(
        Code::StateBusy,
        format!("another run has been in the middle of a commit to {} for long", sink.display()),
    )
    .help("it stands still, or writes very slowly: stop it, then start this one again"))
}

/// Renames a file over whatever has the new name. Durable only after the folder is synced.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    disk::rename(from, to).map_err(|error| Error::io(format!("cannot rename to `{}`", to.display()), error))
}

/// Removes a file; one that is not there is as good as removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    match disk::remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove `{}`", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Returns the names in a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("cannot read the folder `{}`", folder.display()), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Returns the folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Returns the name of a path, as text.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the path of a sibling that a reader of data files skips: `_`, the name, and a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!("_{}{suffix}", name_of(path)))
}
