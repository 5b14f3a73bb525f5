//! A disk of bytes: what is synced stays, what is not may be lost or torn by sector at a crash.
//!
//! A file's bytes become durable by `sync`, its name by `sync_dir`; a crash keeps a random part of
//! the rest: any subset of unsynced 512-byte sectors, and a prefix of the unsynced directory changes. A sync
//! that fails leaves its pages clean in memory and not on disk: the next one says yes and does nothing
//! (Rebello et al., ATC'20), and they are gone with the process.

use std::collections::BTreeMap;
use zkctl::prng::Prng;
use zkctl::storage::{self, Dir, Disk, DiskError, DurableMark, FileRef, write_zeros};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    now: Vec<u8>,
    /// A sync of it failed.
    lost: bool,
}

/// What a disk does wrong while its power is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// One operation fails.
    Error,
    /// From one write on, all fail.
    Full,
    /// One sync of a file fails.
    Sync,
}

#[derive(Clone, Debug)]
enum Change {
    Enter(String, u64),
    Leave(String),
}

#[derive(Clone, Debug, Default)]
struct Directory {
    now: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

#[derive(Debug)]
pub(crate) struct SimDisk {
    files: BTreeMap<u64, File>,
    dirs: BTreeMap<Dir, Directory>,
    next_file: u64,
    /// Primitives that still succeed before the power goes.
    pub(crate) fuse: Option<u64>,
    /// The power went in the middle of something.
    pub(crate) dead: bool,
    /// What will go wrong, after so many operations that it could hit.
    pub(crate) fault: Option<(u64, DiskFault)>,
    /// Something went wrong.
    pub(crate) erred: bool,
}

impl SimDisk {
    pub(crate) fn new() -> SimDisk {
        let dirs = [Dir::Data, Dir::Log, Dir::Base].map(|d| (d, Directory::default())).into();
        SimDisk {
            files: BTreeMap::new(),
            dirs,
            next_file: 1,
            fuse: None,
            dead: false,
            fault: None,
            erred: false,
        }
    }

    fn step(&mut self, what: &str) -> Result<(), DiskError> {
        if let Some(left) = &mut self.fuse {
            if *left == 0 {
                self.dead = true;
            } else {
                *left -= 1;
            }
        }
        if self.dead {
            return Err(DiskError::Io { what: what.to_owned(), why: "the power is gone".to_owned() });
        }
        let Some((left, kind)) = self.fault else { return Ok(()) };
        let hit = match kind {
            DiskFault::Error => true,
            DiskFault::Full => what == "write",
            DiskFault::Sync => what == "sync",
        };
        match (hit, left) {
            (false, _) => return Ok(()),
            (true, 0) => {}
            (true, left) => {
                self.fault = Some((left - 1, kind));
                return Ok(());
            }
        }
        if kind != DiskFault::Full {
            self.fault = None;
        }
        self.erred = true;
        Err(DiskError::Io { what: what.to_owned(), why: format!("{kind:?}") })
    }

    /// The process is gone, and what went wrong with it.
    fn restart(&mut self) {
        for file in self.files.values_mut().filter(|f| f.lost) {
            file.now = file.synced.clone();
            file.lost = false;
        }
        (self.fuse, self.dead, self.fault, self.erred) = (None, false, None, false);
    }

    fn find(&self, file: &FileRef) -> Option<u64> {
        self.dirs[&file.dir].now.get(&file.name).copied()
    }

    fn dir(&mut self, dir: Dir) -> &mut Directory {
        self.dirs.get_mut(&dir).unwrap()
    }

    fn missing<T>(file: &FileRef) -> Result<T, DiskError> {
        Err(DiskError::Io { what: format!("{file:?}"), why: "no such file".to_owned() })
    }

    /// The power goes: what survives is decided here.
    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        self.restart();
        for directory in self.dirs.values_mut() {
            let keep = prng.below(directory.changes.len() as u64 + 1) as usize;
            for change in directory.changes.drain(..).take(keep) {
                match change {
                    Change::Enter(name, id) => directory.durable.insert(name, id),
                    Change::Leave(name) => directory.durable.remove(&name),
                };
            }
            directory.now = directory.durable.clone();
        }
        for file in self.files.values_mut() {
            if file.now == file.synced {
                continue;
            }
            let mut image = file.synced.clone();
            // The length may or may not have grown.
            if file.now.len() > image.len() && prng.chance(1, 2) {
                image.resize(file.now.len(), 0);
            } else if file.now.len() < image.len() && prng.chance(1, 2) {
                image.truncate(file.now.len());
            }
            let mut at = 0;
            while at < image.len().min(file.now.len()) {
                let end = (at + SECTOR).min(image.len()).min(file.now.len());
                match prng.below(4) {
                    0 => {
                        let torn = at + prng.below((end - at) as u64 + 1) as usize;
                        image[at..torn].copy_from_slice(&file.now[at..torn]);
                    }
                    1 | 2 => image[at..end].copy_from_slice(&file.now[at..end]),
                    _ => {}
                }
                at = end;
            }
            file.now = image.clone();
            file.synced = image;
        }
    }

    /// The process dies, the machine does not: the page cache survives.
    pub(crate) fn kill(&mut self) {
        self.restart();
    }

    /// One bit changes in a snapshot, or in the log below what its mark says is durable; says where.
    pub(crate) fn rot(&mut self, prng: &mut Prng) -> Option<String> {
        let mark = self.find(&FileRef::log("zkctl.durable")).map(|id| &self.files[&id].now);
        let mark = mark.and_then(|bytes| DurableMark::decode(bytes))?;
        let mut places: Vec<(FileRef, u64, u64)> = Vec::new();
        for (name, id) in &self.dirs[&Dir::Log].now {
            let Some(first) = storage::parse_name(name, "log").filter(|first| *first <= mark.segment) else {
                continue;
            };
            let len = self.files[id].now.len() as u64;
            let end = if first == mark.segment { mark.offset.min(len) } else { len };
            places.push((FileRef::log(name.clone()), *id, end));
        }
        for (name, id) in &self.dirs[&Dir::Data].now {
            if storage::parse_name(name, "snapshot").is_some() {
                places.push((FileRef::data(name.clone()), *id, self.files[id].now.len() as u64));
            }
        }
        places.retain(|(_, _, end)| *end > 0);
        if places.is_empty() {
            return None;
        }
        let (name, id, end) = &places[prng.below(places.len() as u64) as usize];
        let (at, bit) = (prng.below(*end) as usize, 1 << prng.below(8));
        let file = self.files.get_mut(id)?;
        file.now[at] ^= bit;
        if let Some(byte) = file.synced.get_mut(at) {
            *byte ^= bit;
        }
        Some(format!("{} at {at}", name.name))
    }

    pub(crate) fn wipe(&mut self) {
        *self = SimDisk::new();
    }

    /// Whether a power cut now would leave a database that may be voted with: a snapshot's name becomes
    /// durable behind its bytes, and the mark of a database that was lost lies beside it.
    pub(crate) fn keeps_a_trusted_database(&self) -> bool {
        let data = &self.dirs[&Dir::Data];
        let marked = [&data.durable, &data.now].iter().any(|d| d.contains_key("zkctl.untrusted"));
        data.durable.keys().any(|name| storage::parse_name(name, "snapshot").is_some()) && !marked
    }

    pub(crate) fn touch_initialize(&mut self) {
        let file = FileRef { dir: Dir::Base, name: "initialize".into() };
        self.write(&file, 0, b"").unwrap();
        self.sync_dir(Dir::Base).unwrap();
    }
}

impl Disk for SimDisk {
    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DiskError> {
        Ok(self.dirs[&dir].now.keys().cloned().collect())
    }

    fn len(&mut self, file: &FileRef) -> Result<Option<u64>, DiskError> {
        Ok(self.find(file).map(|id| self.files[&id].now.len() as u64))
    }

    fn read(&mut self, file: &FileRef, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let Some(id) = self.find(file) else { return Self::missing(file) };
        let bytes = &self.files[&id].now;
        let from = (offset as usize).min(bytes.len());
        let n = buffer.len().min(bytes.len() - from);
        buffer[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.step("write")?;
        let id = match self.find(file) {
            Some(id) => id,
            None => {
                let id = self.next_file;
                self.next_file += 1;
                self.files.insert(id, File::default());
                let directory = self.dir(file.dir);
                directory.now.insert(file.name.clone(), id);
                directory.changes.push(Change::Enter(file.name.clone(), id));
                id
            }
        };
        let now = &mut self.files.get_mut(&id).unwrap().now;
        let end = offset as usize + bytes.len();
        if now.len() < end {
            now.resize(end, 0);
        }
        now[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn append(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(id) = self.find(file) {
            let now = &self.files[&id].now;
            let behind = now.get(offset as usize..).unwrap_or_default();
            assert!(behind.iter().all(|b| *b == 0), "{file:?} has bytes behind {offset}");
        }
        self.write(file, offset, bytes)
    }

    fn zero(&mut self, file: &FileRef, offset: u64, len: u64) -> Result<(), DiskError> {
        write_zeros(self, file, offset, len)
    }

    fn sync(&mut self, file: &FileRef) -> Result<(), DiskError> {
        let Some(id) = self.find(file) else { return Self::missing(file) };
        let answer = self.step("sync");
        let file = self.files.get_mut(&id).unwrap();
        file.lost |= answer.is_err();
        if !file.lost {
            file.synced.clone_from(&file.now);
        }
        answer
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DiskError> {
        self.step("sync_dir")?;
        let directory = self.dir(dir);
        directory.changes.clear();
        directory.durable = directory.now.clone();
        Ok(())
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DiskError> {
        self.step("rename")?;
        let directory = self.dir(dir);
        let Some(id) = directory.now.remove(from) else {
            return Self::missing(&FileRef { dir, name: from.to_owned() });
        };
        directory.now.insert(to.to_owned(), id);
        // One change: a crash never leaves neither name.
        directory.changes.push(Change::Enter(to.to_owned(), id));
        directory.changes.push(Change::Leave(from.to_owned()));
        Ok(())
    }

    fn remove(&mut self, file: &FileRef) -> Result<(), DiskError> {
        self.step("remove")?;
        let directory = self.dir(file.dir);
        if directory.now.remove(&file.name).is_some() {
            directory.changes.push(Change::Leave(file.name.clone()));
        }
        Ok(())
    }

    fn set_len(&mut self, file: &FileRef, len: u64) -> Result<(), DiskError> {
        self.step("set_len")?;
        let Some(id) = self.find(file) else { return Self::missing(file) };
        self.files.get_mut(&id).unwrap().now.resize(len as usize, 0);
        Ok(())
    }
}
