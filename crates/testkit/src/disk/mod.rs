//! A disk that goes wrong, and what runs on it: at one change of all that a program makes there, the program is killed, the
//! machine loses its power, or the disk is full or broken from then on.
//!
//! Files are real ones in a folder, and what was done to them is followed. When the power goes, only what was forced to disk
//! is sure to be there:
//!
//! - of a file's contents since then nothing, all, or the first part, behind which there may be zeros or what was there before;
//! - of the names that changed in a folder since then the first few changes in their order or, on a rougher disk, any of them.
//!   A rename is one change: its file is never gone, nor there twice.
//!
//! A kill loses nothing, except that a write may have come to its first part only. But what was not forced to disk before it
//! still is not, so that a later loss of power may take it back from the program that went on from it.
//!
//! [`sinks`] runs file sinks on it, [`pipelines`] whole random pipelines, [`held`] is what a reader finds afterwards.

pub mod held;
pub mod pipelines;
pub mod sinks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use connectors::disk::{Change, Interceptor, intercept};

use crate::random::Random;

/// What goes wrong at a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program is killed before it, or in the midst of a write.
    KillBefore,
    /// The program is killed after it.
    KillAfter,
    /// The power goes before it.
    PowerBefore,
    /// The power goes after it.
    PowerAfter,
    /// The disk is full from it on: nothing can be made or written, but files can be cut and removed.
    Full,
    /// The disk is broken from it on: nothing can be changed.
    Broken,
}

/// Every fault.
pub const FAULTS: [Fault; 6] =
    [Fault::KillBefore, Fault::KillAfter, Fault::PowerBefore, Fault::PowerAfter, Fault::Full, Fault::Broken];

impl Fault {
    /// Returns true when the program ends without a word.
    pub fn is_crash(self) -> bool {
        !matches!(self, Fault::Full | Fault::Broken)
    }

    fn is_power(self) -> bool {
        matches!(self, Fault::PowerBefore | Fault::PowerAfter)
    }
}

/// A fault planted into the program: a change of which it wrongly believes that it was made durable.
pub type Lie = fn(Change<'_>) -> bool;

/// What a name stands for: the number of a file's contents; None is a folder.
type Node = Option<u64>;

/// A change of names: what each stands for since, None: nothing. All of it is there after a loss of power, or nothing.
type NameChange = Vec<(PathBuf, Option<Node>)>;

/// A folder on a disk that goes wrong.
pub struct Disk {
    root: PathBuf,
    random: Random,
    /// What goes wrong next, and how many changes go well before.
    fault: Option<(Fault, usize)>,
    /// Changes that were made or tried since the fault was chosen.
    count: usize,
    has_struck: bool,
    lie: Option<Lie>,
    /// What each name stands for as programs see it, and as it is on disk.
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    /// By folder, changes of names that were not forced to disk, in order.
    pending: BTreeMap<PathBuf, Vec<NameChange>>,
    /// The contents that were forced to disk.
    durable: BTreeMap<u64, Vec<u8>>,
    /// The last contents of files whose name was taken away, and may be there again.
    nameless: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Disk {
    /// Takes a folder for it. What is there is on disk. What is lost follows from the seed.
    pub fn new(root: &Path, seed: u64) -> Rc<RefCell<Self>> {
        let mut disk = Self {
            root: root.to_path_buf(),
            random: Random::new(seed),
            fault: None,
            count: 0,
            has_struck: false,
            lie: None,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: BTreeMap::new(),
            durable: BTreeMap::new(),
            nameless: BTreeMap::new(),
            next: 0,
        };
        disk.take_stock();
        Rc::new(RefCell::new(disk))
    }

    /// Lets the program believe of some changes that they were made durable.
    pub fn plant(&mut self, lie: Option<Lie>) {
        self.lie = lie;
    }

    /// Notes what is in the folder as all that there is, forced to disk.
    fn take_stock(&mut self) {
        self.names = BTreeMap::new();
        self.pending = BTreeMap::new();
        self.durable = BTreeMap::new();
        self.nameless = BTreeMap::new();
        for (path, is_folder) in paths_below(&self.root) {
            let node = (!is_folder).then(|| {
                self.next += 1;
                self.durable.insert(self.next, fs::read(&path).expect("it is there"));
                self.next
            });
            self.names.insert(path, node);
        }
        self.durable_names = self.names.clone();
    }

    fn goes_wrong(&self) -> io::Error {
        match self.fault.expect("there is one").0 {
            Fault::Full => io::Error::from(io::ErrorKind::StorageFull),
            Fault::Broken => io::Error::from_raw_os_error(5),
            _ => io::Error::other("the end of the program"),
        }
    }

    /// Follows a change of names in a folder.
    fn rename(&mut self, change: NameChange) {
        let folder = change[0].0.parent().expect("it is below the root").to_path_buf();
        for (path, node) in &change {
            assert_eq!(path.parent(), Some(folder.as_path()), "a change of names is one in one folder");
            match node {
                Some(node) => _ = self.names.insert(path.clone(), *node),
                None => _ = self.names.remove(path),
            }
        }
        self.pending.entry(folder).or_default().push(change);
    }

    /// Keeps what is about to lose its name, in a folder all that is there.
    fn keep(&mut self, path: &Path) {
        for (path, contents) in self.names.iter().filter(|(below, _)| below.starts_with(path)) {
            if let Some(contents) = contents {
                self.nameless.insert(*contents, fs::read(path).expect("it is there"));
            }
        }
    }

    /// Fails unless the folder holds what was followed: all else was changed behind the disk's back.
    fn check(&self) {
        let there: Vec<PathBuf> = paths_below(&self.root).into_iter().map(|(path, _)| path).collect();
        let followed: Vec<PathBuf> = self.names.keys().cloned().collect();
        assert_eq!(there, followed, "files were changed by other means than `connectors::disk`");
    }

    /// Leaves in the folder what a machine finds there after the power was gone.
    fn lose(&mut self) {
        self.check();
        let mut last = std::mem::take(&mut self.nameless);
        for (path, node) in &self.names {
            if let Some(contents) = node {
                last.insert(*contents, fs::read(path).expect("it is there"));
            }
        }
        let mut found = std::mem::take(&mut self.durable_names);
        for changes in std::mem::take(&mut self.pending).into_values() {
            let is_rough = self.random.chance(33);
            let first = self.random.below(changes.len() + 1);
            for (number, change) in changes.into_iter().enumerate() {
                let stays = if is_rough { self.random.chance(50) } else { number < first };
                for (path, node) in change.into_iter().filter(|_| stays) {
                    match node {
                        Some(node) => _ = found.insert(path, node),
                        None => _ = found.remove(&path),
                    }
                }
            }
        }
        for entry in fs::read_dir(&self.root).expect("the root is there") {
            let path = entry.expect("the root can be read").path();
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.expect("a folder of the test's own");
        }
        // What is in a folder that is gone is gone too. Names come after those of their folders.
        let mut folders = BTreeSet::from([self.root.clone()]);
        for (path, node) in found {
            if !folders.contains(path.parent().expect("it is below the root")) {
                continue;
            }
            let written = match node {
                None => {
                    folders.insert(path.clone());
                    fs::create_dir(&path)
                }
                Some(contents) => {
                    let bytes = self.torn(self.durable.get(&contents).cloned(), last.get(&contents).cloned());
                    fs::write(&path, bytes)
                }
            };
            written.expect("a folder of the test's own");
        }
        self.take_stock();
    }

    /// Returns what is left of a file's contents.
    fn torn(&mut self, durable: Option<Vec<u8>>, last: Option<Vec<u8>>) -> Vec<u8> {
        let durable = durable.unwrap_or_default();
        let Some(last) = last.filter(|last| *last != durable) else { return durable };
        // Files are added to or cut, so what was sure and is still there is sure.
        let least = durable.iter().zip(&last).take_while(|(a, b)| a == b).count();
        let size = least + self.random.below(last.len() - least + 1);
        let first = &last[..size];
        match self.random.below(5) {
            0 => durable,
            1 => last,
            2 => first.to_vec(),
            3 => [first, &vec![0; last.len() - size]].concat(),
            _ => [first, durable.get(size..).unwrap_or_default()].concat(),
        }
    }
}

impl Interceptor for Disk {
    fn before(&mut self, change: Change<'_>) -> io::Result<usize> {
        let whole = if let Change::Write(_, size) = change { size } else { 0 };
        let left = match self.fault {
            Some((_, at)) => at.checked_sub(self.count),
            None => None,
        };
        self.count += 1;
        if let (Some((fault, _)), Some(0) | None) = (self.fault, left) {
            let is_first = !self.has_struck;
            let goes_on = matches!(fault, Fault::KillAfter | Fault::PowerAfter) && is_first
                || fault == Fault::Full
                    && matches!(change, Change::Remove(_) | Change::SetLength(_) | Change::SyncFolder(_));
            let is_torn = is_first && fault != Fault::Broken && whole > 1 && self.random.chance(50);
            self.has_struck |= !goes_on || fault.is_crash();
            match (goes_on, is_torn) {
                (true, _) => {}
                // A write that comes to its first part only; the next one fails.
                (false, true) => return Ok(1 + self.random.below(whole - 1)),
                (false, false) => return Err(self.goes_wrong()),
            }
        }
        match change {
            Change::Rename(_, path) | Change::Remove(path) | Change::Create(path) => self.keep(path),
            _ => {}
        }
        Ok(whole)
    }

    fn after(&mut self, change: Change<'_>) -> io::Result<()> {
        match change {
            Change::Create(path) => {
                self.next += 1;
                self.rename(vec![(path.to_path_buf(), Some(Some(self.next)))]);
            }
            Change::CreateFolder(path) => self.rename(vec![(path.to_path_buf(), Some(None))]),
            Change::Link(from, to) => {
                let node = self.names.get(from).copied();
                self.rename(vec![(to.to_path_buf(), node)]);
            }
            Change::Rename(from, to) => {
                let node = self.names.get(from).copied();
                self.rename(vec![(from.to_path_buf(), None), (to.to_path_buf(), node)]);
            }
            Change::Remove(path) => {
                // A folder goes with all that is in it: on disk that is there as long as the folder's name is.
                self.names.retain(|below, _| below == path || !below.starts_with(path));
                self.rename(vec![(path.to_path_buf(), None)]);
            }
            Change::Sync(_) | Change::SyncFolder(_) if self.lie.is_some_and(|lie| lie(change)) => {}
            Change::Sync(path) => {
                let contents = self.names.get(path).copied().flatten().expect("a file is synced by its own name");
                self.durable.insert(contents, fs::read(path).expect("it is there"));
            }
            Change::SyncFolder(folder) => {
                for (path, node) in self.pending.remove(folder).into_iter().flatten().flatten() {
                    match node {
                        Some(node) => _ = self.durable_names.insert(path, node),
                        None => _ = self.durable_names.remove(&path),
                    }
                }
            }
            Change::Write(..) | Change::SetLength(_) => {}
        }
        // It was counted before it was made.
        let is_it = self.fault.is_some_and(|(_, at)| self.count == at + 1);
        let ends = matches!(self.fault, Some((Fault::KillAfter | Fault::PowerAfter, _)));
        if is_it && ends { Err(self.goes_wrong()) } else { Ok(()) }
    }
}

/// Makes a folder for a disk: in memory where the system has such a place, since nothing of it need last.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}

/// What came of a program on a disk.
pub struct Ended<T> {
    /// What it returned.
    pub returned: T,
    /// How many changes it made or tried.
    pub changes: usize,
    /// Whether it met the fault.
    pub has_struck: bool,
}

/// Runs a program on a disk of which a change, by its number from zero, goes wrong. Then the machine is started again, or there
/// is space again.
pub fn run_on<T>(disk: &Rc<RefCell<Disk>>, fault: Option<(Fault, usize)>, program: impl FnOnce() -> T) -> Ended<T> {
    {
        let mut disk = disk.borrow_mut();
        (disk.fault, disk.count, disk.has_struck) = (fault, 0, false);
    }
    let returned = intercept(disk.clone(), program);
    let mut disk = disk.borrow_mut();
    let (changes, has_struck) = (disk.count, disk.has_struck);
    match fault {
        Some((fault, _)) if has_struck && fault.is_power() => disk.lose(),
        _ => disk.check(),
    }
    Ended { returned, changes, has_struck }
}

/// Returns the seed of what a disk loses, another one for each list of faults.
fn seed_of(seed: u64, faults: &[(Fault, usize)]) -> u64 {
    faults.iter().fold(seed, |seed, (_, at)| seed.wrapping_mul(31).wrapping_add(*at as u64))
}

/// Returns what is in a folder and below, in order, and which of it are folders.
fn paths_below(folder: &Path) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let is_folder = path.is_dir();
        if is_folder {
            found.extend(paths_below(&path));
        }
        found.push((path, is_folder));
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use connectors::{disk, store};

    use super::*;
    use std::io::Write;

    /// What a folder holds after a program lost its power, over many seeds.
    fn found(program: impl Fn(&Path) -> io::Result<()>) -> BTreeSet<Vec<(String, String)>> {
        let mut all = BTreeSet::new();
        for seed in 0..200 {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("old"), "old").unwrap();
            let simulated = Disk::new(folder.path(), seed);
            run_on(&simulated, None, || program(folder.path()).unwrap());
            simulated.borrow_mut().lose();
            let read = |(path, _): (PathBuf, bool)| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, String::from_utf8(fs::read(path).unwrap_or_default()).unwrap())
            };
            all.insert(paths_below(folder.path()).into_iter().map(read).collect());
        }
        all
    }

    fn names(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
    }

    #[test]
    fn a_rename_is_there_or_not_and_its_file_never_gone() {
        let program = |folder: &Path| {
            let mut file = disk::File::create(&folder.join("new"))?;
            file.write_all(b"new")?;
            file.sync()?;
            disk::sync_folder(folder)?;
            disk::rename(&folder.join("new"), &folder.join("old"))
        };
        let possible = [names(&[("new", "new"), ("old", "old")]), names(&[("old", "new")])];
        assert_eq!(found(program), BTreeSet::from(possible));
    }

    #[test]
    fn what_was_forced_to_disk_is_there() {
        let write = |folder: &Path| store::write_atomic(folder.join("old"), b"new").map_err(|_| io::Error::other("no"));
        assert_eq!(found(write), BTreeSet::from([names(&[("old", "new")])]));
        let remove = |folder: &Path| store::remove(&folder.join("old")).map_err(|_| io::Error::other("no"));
        assert_eq!(found(remove), BTreeSet::from([names(&[])]));
    }

    #[test]
    fn contents_that_were_not_forced_to_disk_are_torn() {
        let program = |folder: &Path| {
            disk::create_folder(&folder.join("folder"))?;
            let mut file = disk::File::create(&folder.join("x"))?;
            file.write_all(b"ab")?;
            disk::sync_folder(folder)
        };
        let torn = ["", "a", "ab", "a\0", "\0\0"];
        let possible = torn.map(|text| names(&[("folder", ""), ("old", "old"), ("x", text)]));
        assert_eq!(found(program), BTreeSet::from(possible));
    }

    #[test]
    fn a_full_disk_says_so_and_can_be_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let simulated = Disk::new(folder.path(), 1);
        let path = folder.path().join("x");
        let ended = run_on(&simulated, Some((Fault::Full, 1)), || {
            let mut file = disk::File::create(&path).unwrap();
            let full = file.write_all(b"four").unwrap_err();
            disk::remove(&path).unwrap();
            full.kind()
        });
        assert_eq!((ended.returned, ended.has_struck), (io::ErrorKind::StorageFull, true));
        run_on(&simulated, None, || store::write_atomic(&path, b"four")).returned.unwrap();
        let ended =
            run_on(&simulated, Some((Fault::KillAfter, 0)), || disk::remove(&path).map_err(|error| error.kind()));
        assert_eq!((ended.returned, path.exists()), (Err(io::ErrorKind::Other), false));
    }

    #[test]
    #[should_panic(expected = "other means")]
    fn a_change_behind_its_back_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let simulated = Disk::new(folder.path(), 1);
        run_on(&simulated, None, || fs::write(folder.path().join("x"), "x").unwrap());
    }
}
