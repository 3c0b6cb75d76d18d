//! Where checkpoints lie: objects that appear whole, and one way to be the first to make one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use connectors::disk;
use connectors::store::{Unfinished, create_folder, remove, remove_unfinished, sync_folder, write_atomic};
use engine::{Error, Result};

/// A flat set of named objects. What a method has done lasts when it returns.
pub trait Store: Send {
    /// Returns the names of all objects, and how many bytes each has.
    fn sizes(&self) -> Result<BTreeMap<String, u64>>;
    /// Returns the names of all objects.
    fn list(&self) -> Result<Vec<String>> {
        Ok(self.sizes()?.into_keys().collect())
    }
    /// Reads some bytes of an object, or all.
    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>>;
    /// Begins an object, which appears when it is finished.
    fn begin(&self, name: &str) -> Result<Box<dyn Upload>>;
    /// Makes a small object unless there is one of that name; returns whether it did.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool>;
    /// Makes a small object, in the place of one of that name if there is one.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Removes an object.
    fn remove(&self, name: &str) -> Result<()>;
    /// Removes what a crash left unfinished, and makes sure that what is there lasts.
    fn tidy(&self) -> Result<()>;
    /// Returns where it is, for people.
    fn describe(&self) -> String;
}

/// An object on its way. One that is dropped before it is finished never was.
pub trait Upload: Send {
    /// Adds bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes it appear.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A local folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Uses a folder, which is made when something is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::io(format!("checkpoint {}", path.display()), error)
}

impl Store for Folder {
    fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(failed(&self.0)(error)),
        };
        let mut sizes = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(failed(&self.0))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match entry.metadata() {
                Ok(found) => _ = sizes.insert(name, found.len()),
                // Another run has just removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&entry.path())(error)),
            }
        }
        Ok(sizes)
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let path = self.path(name);
        let Some(range) = range else { return fs::read(&path).map_err(failed(&path)) };
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(range.start))?;
            // What the file says of its size is not believed before it is read.
            let mut bytes = Vec::new();
            file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(failed(&path))
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(LocalUpload(Some(Unfinished::create(self.path(name))?))))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        create_folder(&self.0)?;
        let path = self.path(name);
        let hidden = self.path(&format!(".{name}.{}.tmp", std::process::id()));
        let written = disk::File::create(&hidden).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync()));
        written.map_err(failed(&hidden))?;
        // A link, unlike a rename, fails where there is something of that name.
        let linked = match disk::link(&hidden, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(&path)(error)),
        };
        disk::remove(&hidden).map_err(failed(&hidden))?;
        sync_folder(&self.0)?;
        linked
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(self.path(name), bytes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        remove(&self.path(name))
    }

    fn tidy(&self) -> Result<()> {
        if self.0.is_dir() {
            remove_unfinished(&self.0)?;
            // The run before may have ended after it had given a file its name, and before that was on disk. Sinks get what
            // this run finds here, so it must not be gone when the power goes later.
            sync_folder(&self.0)?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
    }
}

/// A hidden file; None once it has its name.
struct LocalUpload(Option<Unfinished>);

impl Upload for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.0.as_ref().expect("it is not finished").file();
        file.write_all(bytes).map_err(failed(file.path()))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.0.take().expect("it is finished once").publish()
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if let Some(unfinished) = self.0.take() {
            // It is only tidiness: what fails here is removed by the next start.
            let _ = unfinished.discard();
        }
    }
}

/// Objects in memory, shared by all clones: for tests, and for trials that stop and go on.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Memory {
    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().expect("nobody panics with the objects in hand")
    }

    fn missing(name: &str) -> Error {
        Error::io(format!("checkpoint {name}"), std::io::ErrorKind::NotFound.into())
    }
}

impl Store for Memory {
    fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.objects().iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn read(&self, name: &str, range: Option<Range<u64>>) -> Result<Vec<u8>> {
        let objects = self.objects();
        let bytes = objects.get(name).ok_or_else(|| Self::missing(name))?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        Ok(bytes.get(range.start as usize..range.end as usize).unwrap_or_default().to_vec())
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>> {
        Ok(Box::new(MemoryUpload { store: self.clone(), name: name.to_string(), bytes: Vec::new() }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let mut objects = self.objects();
        let is_new = !objects.contains_key(name);
        objects.entry(name.to_string()).or_insert_with(|| bytes.to_vec());
        Ok(is_new)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.objects().insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.objects().remove(name).map(drop).ok_or_else(|| Self::missing(name))
    }

    fn tidy(&self) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_string()
    }
}

struct MemoryUpload {
    store: Memory,
    name: String,
    bytes: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.store.objects().insert(self.name, self.bytes);
        Ok(())
    }
}
