//! The file system as this program changes it. Whatever writes files for a run (sinks, checkpoints, lakes, journals) does so
//! by these functions and no others, so that a test can put an [`Interceptor`] in between: let a change fail, end the
//! machine at it, or lose what was not forced to disk. Reading needs no such door, since it changes nothing.
//!
//! Outside of tests nothing is in between, and what that costs is a look at a thread-local value for each change.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How often a lock that somebody has is asked for again, and after which time each.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A change of the file system, as an interceptor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A file is made, or emptied if it is there.
    Create(&'a Path),
    /// So many bytes are written somewhere into a file.
    Write(&'a Path, usize),
    /// A file is cut or made longer.
    SetLength(&'a Path),
    /// The contents of a file are forced to disk.
    Sync(&'a Path),
    /// A file gets another name, in the place of what had it.
    Rename(&'a Path, &'a Path),
    /// A file gets a second name, which nothing has.
    Link(&'a Path, &'a Path),
    /// A name is taken away.
    Remove(&'a Path),
    /// A folder is made.
    CreateFolder(&'a Path),
    /// The names in a folder are forced to disk.
    SyncFolder(&'a Path),
}

/// What a test puts between a thread and its file system. Files are still made and written where it lets them be; to force
/// them to disk is left to what it makes of that.
pub trait Interceptor {
    /// Called before a change, which is not made if this fails. Returns how many bytes of a write are to be made: one at
    /// least, since a file system that has room for none fails; of other changes the number means nothing.
    fn before(&mut self, change: Change<'_>) -> io::Result<usize>;
    /// Called after a change that was made; what this fails with is what the program sees of it.
    fn after(&mut self, change: Change<'_>) -> io::Result<()>;
}

type Between = Rc<RefCell<dyn Interceptor>>;

thread_local! {
    static BETWEEN: RefCell<Option<Between>> = const { RefCell::new(None) };
}

/// Runs something whose changes, as far as they are made on this thread, go by way of an interceptor.
pub fn intercept<T>(interceptor: Between, run: impl FnOnce() -> T) -> T {
    struct Restore(Option<Between>);
    impl Drop for Restore {
        fn drop(&mut self) {
            BETWEEN.set(self.0.take());
        }
    }
    let _restore = Restore(BETWEEN.replace(Some(interceptor)));
    run()
}

fn between() -> Option<Between> {
    BETWEEN.with_borrow(Clone::clone)
}

/// Makes a change, as an interceptor lets it.
fn change<T>(what: Change<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(between) = between() else { return make() };
    between.borrow_mut().before(what)?;
    let made = make()?;
    between.borrow_mut().after(what)?;
    Ok(made)
}

/// Forces something to disk; an interceptor stands for the disk.
fn force(what: Change<'_>, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let is_real = between().is_none();
    change(what, || if is_real { make() } else { Ok(()) })
}

/// Gives a file another name, in the place of what had it. It lasts once the folder is synced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    change(Change::Rename(from, to), || fs::rename(from, to))
}

/// Gives a file a second name; fails where there is something of that name. It lasts once the folder is synced.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    change(Change::Link(from, to), || fs::hard_link(from, to))
}

/// Takes a name away. It stays away once the folder is synced.
pub fn remove(path: &Path) -> io::Result<()> {
    change(Change::Remove(path), || fs::remove_file(path))
}

/// Takes a folder away with all that is in it.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    change(Change::Remove(path), || fs::remove_dir_all(path))
}

/// Makes a folder in one that is there. It lasts once that one is synced.
pub fn create_folder(path: &Path) -> io::Result<()> {
    change(Change::CreateFolder(path), || fs::create_dir(path))
}

/// Forces the names in a folder to disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    force(Change::SyncFolder(folder), || fs::File::open(folder)?.sync_all())
}

/// Locks a file for this process until the returned one is dropped; it is made if it is not there, and holds nothing. None:
/// another one has the lock.
///
/// A process that another thread is just starting has copies of all open files for an instant, until it runs its own
/// program, and with them a lock that was dropped meanwhile. So it is asked again for a moment before another one is blamed.
pub fn lock(path: &Path) -> io::Result<Option<fs::File>> {
    let open = || fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = if path.exists() { open()? } else { change(Change::Create(path), open)? };
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if tries == LOCK_TRIES => return Ok(None),
            Err(fs::TryLockError::WouldBlock) => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
        }
    }
}

/// Returns whether a process holds the lock of a file; of a file that is not there nobody does.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    // Those who only ask are not in each other's way.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// A file that is written.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    /// The name by which it was opened.
    path: PathBuf,
}

impl File {
    /// Creates a file, empty, in the place of what has that name. The name lasts once the folder is synced.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = change(Change::Create(path), || fs::File::create(path))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Creates a file; fails where there is something of that name. The name lasts once the folder is synced.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        let file = change(Change::Create(path), || fs::OpenOptions::new().write(true).create_new(true).open(path))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Opens a file that is there to write into it, from its beginning.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: fs::OpenOptions::new().write(true).open(path)?, path: path.to_path_buf() })
    }

    /// Opens a file to read it and to change it in the middle; it is made if it is not there.
    pub fn edit(path: &Path) -> io::Result<Self> {
        let open = || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = if path.exists() { open()? } else { change(Change::Create(path), open)? };
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Reads bytes that are there at a place, of a file that was opened by [`File::edit`].
    pub fn read_at(&self, place: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, place)
    }

    /// Returns another handle of the same file.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, path: self.path.clone() })
    }

    /// Returns the name by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many bytes it has.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Cuts it, or makes it longer.
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        change(Change::SetLength(&self.path), || self.file.set_len(size))
    }

    /// Forces its contents and their length to disk, under the name by which it was opened.
    pub fn sync(&self) -> io::Result<()> {
        force(Change::Sync(&self.path), || self.file.sync_data())
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(between) = between() else { return (&self.file).write(bytes) };
        let what = Change::Write(&self.path, bytes.len());
        let size = between.borrow_mut().before(what)?;
        let written = (&self.file).write(&bytes[..size])?;
        between.borrow_mut().after(what)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it sees, and lets half of each write through.
    #[derive(Default)]
    struct Halving(Vec<String>);

    impl Interceptor for Halving {
        fn before(&mut self, change: Change<'_>) -> io::Result<usize> {
            let text = format!("{change:?}");
            self.0.push(text.split('(').next().unwrap().to_string());
            Ok(if let Change::Write(_, size) = change { size.div_ceil(2) } else { 0 })
        }

        fn after(&mut self, change: Change<'_>) -> io::Result<()> {
            if let Change::Remove(_) = change { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn an_interceptor_sees_every_change_of_its_thread_while_it_is_in_between() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b, c) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        let halving = Rc::new(RefCell::new(Halving::default()));
        let run = || {
            create_folder(&folder.path().join("folder")).unwrap();
            let mut file = File::create(&a).unwrap();
            assert_eq!(file.write(b"four").unwrap(), 2);
            file.set_len(1).unwrap();
            file.sync().unwrap();
            rename(&a, &b).unwrap();
            link(&b, &c).unwrap();
            lock(&c).unwrap().unwrap();
            let held = lock(&a).unwrap().unwrap();
            assert!(lock(&a).unwrap().is_none(), "it is held");
            drop(held);
            lock(&a).unwrap().unwrap();
            sync_folder(folder.path()).unwrap();
            let elsewhere = std::thread::spawn(move || File::create(&a).map(drop));
            elsewhere.join().unwrap().unwrap();
            assert_eq!(remove(&b).unwrap_err().kind(), io::ErrorKind::TimedOut);
        };
        intercept(halving.clone(), run);
        assert!(!b.exists(), "what fails afterwards was made");
        assert_eq!(fs::read(&c).unwrap(), b"f");
        remove(&c).unwrap();
        let seen = "CreateFolder Create Write SetLength Sync Rename Link Create SyncFolder Remove";
        assert_eq!(halving.borrow().0.join(" "), seen);
    }
}
