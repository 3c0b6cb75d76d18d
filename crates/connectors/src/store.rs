//! Files that appear whole or not at all.
//!
//! A writer makes a file under a name that starts with `.`, forces it to disk, renames it to its own name and forces the
//! folder to disk. So a reader never sees half a file, a plain glob never matches an unfinished one, and what a crash
//! leaves behind is recognised by its name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use engine::error::{Error, Result};

use crate::disk::{self, File};

/// The end of the name of an unfinished file; its beginning is a dot.
const UNFINISHED: &str = ".tmp";

/// A file that is being written under a hidden name.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    hidden: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// Creates the hidden file for `target`, in the same folder, which is created if it is not there.
    pub fn create(target: impl Into<PathBuf>) -> Result<Self> {
        let target = target.into();
        let folder = parent(&target);
        create_folder(folder)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let hidden = folder.join(format!(".{name}{UNFINISHED}"));
        let file =
            File::create(&hidden).map_err(|error| Error::io(format!("cannot write `{}`", hidden.display()), error))?;
        Ok(Self { file, hidden, target })
    }

    /// Returns the file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Forces the file to disk and gives it its own name, replacing what had it.
    pub fn publish(self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io(format!("cannot write `{}`", self.hidden.display()), error))?;
        disk::rename(&self.hidden, &self.target)
            .map_err(|error| Error::io(format!("cannot rename to `{}`", self.target.display()), error))?;
        sync_folder(parent(&self.target))
    }

    /// Removes the hidden file.
    pub fn discard(self) -> Result<()> {
        remove(&self.hidden)
    }
}

/// Writes a whole small file so that it appears at once, replacing what was there.
pub fn write_atomic(target: impl Into<PathBuf>, bytes: &[u8]) -> Result<()> {
    let unfinished = Unfinished::create(target)?;
    unfinished
        .file()
        .write_all(bytes)
        .map_err(|error| Error::io(format!("cannot write `{}`", unfinished.hidden.display()), error))?;
    unfinished.publish()
}

/// Creates a folder and what is above it, and forces their names to disk.
pub fn create_folder(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let above = parent(folder);
    if folder.is_dir() {
        // Who made it may have ended before its name was on disk. Then nothing has come into it yet.
        let is_new = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        return if is_new { sync_folder_of_others(above) } else { Ok(()) };
    }
    create_folder(above)?;
    match disk::create_folder(folder) {
        Ok(()) => sync_folder(above),
        // Somebody else was quicker.
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(Error::io(format!("cannot create the folder `{}`", folder.display()), error)),
    }
}

/// Forces the names in a folder to disk.
pub fn sync_folder(folder: &Path) -> Result<()> {
    force(folder).map_err(|error| Error::io(format!("cannot write the folder `{}`", folder.display()), error))
}

/// The same for a folder that may be one in which we make nothing, and which we need not be able to read.
fn sync_folder_of_others(folder: &Path) -> Result<()> {
    match force(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(Error::io(format!("cannot write the folder `{}`", folder.display()), error)),
        Ok(()) => Ok(()),
    }
}

fn force(folder: &Path) -> std::io::Result<()> {
    disk::sync_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

/// Removes a file and forces that to disk.
pub fn remove(path: &Path) -> Result<()> {
    disk::remove(path).map_err(|error| Error::io(format!("cannot remove `{}`", path.display()), error))?;
    sync_folder(parent(path))
}

/// Removes the unfinished files that a crash left in a folder, and returns how many there were.
pub fn remove_unfinished(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(UNFINISHED) && path.is_file() {
            remove(&path)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Returns true for a name of something in a folder: joined to the folder's path it cannot lead out of it.
///
/// What a file says of names is asked this before anything is read, cut or removed by them.
pub fn is_inside(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']) && name.len() <= 255
}

/// Returns the paths in a folder, in the byte order of their names.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::io(format!("cannot read the folder `{}`", folder.display()), error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        paths.push(entry.map_err(fail)?.path());
    }
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(paths)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/b/file");
        let unfinished = Unfinished::create(&target).unwrap();
        unfinished.file().write_all(b"half").unwrap();
        assert!(!target.exists());
        assert!(list(target.parent().unwrap()).unwrap()[0].file_name().unwrap().to_string_lossy().starts_with('.'));
        unfinished.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"half");
        write_atomic(&target, b"other").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"other");
    }

    #[test]
    fn no_name_leads_out_of_a_folder() {
        for good in ["a", "00000000000000000001.json", "..a", "a..", "_x", "é"] {
            assert!(is_inside(good), "{good}");
        }
        for bad in
            ["", ".", "..", "/", "/etc/passwd", "../a", "a/../../b", "a/b", "..\\a", "C:\\a", "a\0b", "a/", "./a"]
        {
            assert!(!is_inside(bad), "{bad:?}");
        }
        assert!(!is_inside(&"a".repeat(256)));
    }

    #[test]
    fn what_a_crash_leaves_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        write_atomic(&target, b"kept").unwrap();
        std::mem::forget(Unfinished::create(folder.path().join("lost")).unwrap());
        fs::write(folder.path().join(".hidden"), b"somebody else's").unwrap();
        assert_eq!(remove_unfinished(folder.path()).unwrap(), 1);
        let names: Vec<_> = list(folder.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, [".hidden", "file"]);
    }
}
