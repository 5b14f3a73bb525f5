//! Watches: which connections want to hear of which path.
//!
//! One-shot data watches (getData, exists) and child watches (getChildren) are drained when they fire;
//! persistent and recursive ones stay. A connection may hold all modes on one path and is told of an event
//! once (ZOOKEEPER-4466). Deliberately absent: who may read what (the caller filters by the ACL in the
//! trigger, ZOOKEEPER-4799), and sessions: watches end with the connection.

use crate::ids::ConnId;
use crate::keyed_map::KeyedMap;
use crate::mutants::{self, Mutant};
use crate::wire::reply::EventKind;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

const ONE_SHOT: u8 = 1;
const PERSISTENT: u8 = 2;
const RECURSIVE: u8 = 4;

/// How a watch is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// One event of the znode itself.
    Data,
    /// One event of its children or its end.
    Child,
    /// Every event of both kinds.
    Persistent,
    /// Every birth, end and change of data of the path and everything below it.
    Recursive,
}

/// What checkWatches and removeWatches ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatcherType {
    /// One-shot child watches.
    Children,
    /// One-shot data watches.
    Data,
    /// Whatever there is.
    Any,
    /// Persistent ones.
    Persistent,
    /// Persistent recursive ones.
    Recursive,
}

impl WatcherType {
    /// The type of a number on the wire; an unknown one is a marshalling error.
    pub fn from_wire(number: i32) -> Option<WatcherType> {
        match number {
            1 => Some(WatcherType::Children),
            2 => Some(WatcherType::Data),
            3 => Some(WatcherType::Any),
            4 => Some(WatcherType::Persistent),
            5 => Some(WatcherType::Recursive),
            _ => None,
        }
    }

    /// The modes it means in the data and in the child set.
    fn modes(self) -> (u8, u8) {
        match self {
            WatcherType::Children => (0, ONE_SHOT),
            WatcherType::Data => (ONE_SHOT, 0),
            WatcherType::Any => (u8::MAX, u8::MAX),
            WatcherType::Persistent => (PERSISTENT, PERSISTENT),
            WatcherType::Recursive => (RECURSIVE, 0),
        }
    }
}

/// The watchers of one path in one of the two sets; most paths have one.
#[derive(Debug, Default)]
enum Watchers {
    #[default]
    None,
    One(ConnId, u8),
    Many(BTreeMap<ConnId, u8>),
}

impl Watchers {
    fn is_empty(&self) -> bool {
        match self {
            Watchers::None => true,
            Watchers::One(..) => false,
            Watchers::Many(map) => map.is_empty(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Watchers::None => 0,
            Watchers::One(..) => 1,
            Watchers::Many(map) => map.len(),
        }
    }

    fn modes(&self, conn: ConnId) -> u8 {
        match self {
            Watchers::One(one, modes) if *one == conn => *modes,
            Watchers::Many(map) => map.get(&conn).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Adds a mode; says whether the connection is new here.
    fn add(&mut self, conn: ConnId, mode: u8) -> bool {
        match self {
            Watchers::None => *self = Watchers::One(conn, mode),
            Watchers::One(one, modes) if *one == conn => {
                *modes |= mode;
                return false;
            }
            Watchers::One(one, modes) => {
                *self = Watchers::Many(BTreeMap::from([(*one, *modes), (conn, mode)]));
            }
            Watchers::Many(map) => {
                let mut new = false;
                *map.entry(conn).or_insert_with(|| {
                    new = true;
                    0
                }) |= mode;
                return new;
            }
        }
        true
    }

    /// Takes modes away; returns those that were there.
    fn remove(&mut self, conn: ConnId, modes: u8) -> u8 {
        match self {
            Watchers::One(one, held) if *one == conn => {
                let taken = *held & modes;
                *held &= !modes;
                if *held == 0 {
                    *self = Watchers::None;
                }
                taken
            }
            Watchers::Many(map) => {
                let Some(held) = map.get_mut(&conn) else { return 0 };
                let taken = *held & modes;
                *held &= !modes;
                if *held == 0 {
                    map.remove(&conn);
                }
                taken
            }
            _ => 0,
        }
    }

    /// Appends everyone, and drops the one-shot modes.
    fn drain(&mut self, out: &mut Vec<ConnId>) {
        match self {
            Watchers::None => {}
            Watchers::One(conn, _) if mutants::on(Mutant::OneShotFiresTwice) => out.push(*conn),
            Watchers::One(conn, modes) => {
                out.push(*conn);
                *modes &= !ONE_SHOT;
                if *modes == 0 {
                    *self = Watchers::None;
                }
            }
            Watchers::Many(map) => {
                out.extend(map.keys());
                if map.values().all(|&modes| modes == ONE_SHOT) {
                    *self = Watchers::None;
                } else {
                    map.retain(|_, modes| {
                        *modes &= !ONE_SHOT;
                        *modes != 0
                    });
                }
            }
        }
    }

    fn recursive(&self, out: &mut Vec<ConnId>) {
        match self {
            Watchers::One(conn, modes) if modes & RECURSIVE != 0 => out.push(*conn),
            Watchers::Many(map) => {
                out.extend(map.iter().filter(|(_, modes)| *modes & RECURSIVE != 0).map(|(conn, _)| conn));
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct PathEntry {
    path: Box<str>,
    data: Watchers,
    child: Watchers,
}

/// The paths a connection may be watching. Entries go stale when watches fire and are swept when the list
/// has doubled, so that firing touches the path only.
#[derive(Debug, Default)]
struct ConnPaths {
    paths: Vec<u32>,
    sweep_at: usize,
}

/// All watches of a server.
pub struct WatchTable {
    entries: Vec<PathEntry>,
    free: Vec<u32>,
    by_path: HashTable<u32>,
    hasher: FixedState,
    conns: KeyedMap<ConnId, ConnPaths>,
    watches: usize,
    recursive: usize,
}

impl WatchTable {
    /// An empty table hashing under `seed`.
    pub fn new(seed: u64) -> WatchTable {
        WatchTable {
            entries: Vec::new(),
            free: Vec::new(),
            by_path: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            conns: KeyedMap::new(seed),
            watches: 0,
            recursive: 0,
        }
    }

    /// How many paths are watched.
    pub fn path_count(&self) -> usize {
        self.by_path.len()
    }

    /// How many watches there are: connections times paths, data and child sets counted apart.
    pub fn watch_count(&self) -> usize {
        self.watches
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.by_path.find(hash, |&i| *self.entries[i as usize].path == *path).copied()
    }

    fn find_or_add(&mut self, path: &str) -> u32 {
        if let Some(index) = self.find(path) {
            return index;
        }
        let entry = PathEntry { path: path.into(), ..PathEntry::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let (hasher, entries) = (&self.hasher, &self.entries);
        let rehash = |&i: &u32| hasher.hash_one(&*entries[i as usize].path);
        self.by_path.insert_unique(hasher.hash_one(path), index, rehash);
        index
    }

    fn drop_if_unwatched(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if !entry.data.is_empty() || !entry.child.is_empty() {
            return;
        }
        let path = std::mem::take(&mut entry.path);
        let hash = self.hasher.hash_one(&*path);
        if let Ok(found) = self.by_path.find_entry(hash, |&i| i == index) {
            found.remove();
            self.free.push(index);
        }
    }

    /// Registers a watch; doing so twice changes nothing.
    pub fn add(&mut self, conn: ConnId, path: &str, mode: WatchMode) {
        let (data, child) = match mode {
            WatchMode::Data => (ONE_SHOT, 0),
            WatchMode::Child => (0, ONE_SHOT),
            WatchMode::Persistent => (PERSISTENT, PERSISTENT),
            WatchMode::Recursive => (RECURSIVE, 0),
        };
        let index = self.find_or_add(path);
        let entry = &mut self.entries[index as usize];
        if mode == WatchMode::Recursive && entry.data.modes(conn) & RECURSIVE == 0 {
            self.recursive += 1;
        }
        let known = entry.data.modes(conn) | entry.child.modes(conn) != 0;
        for (set, modes) in [(&mut entry.data, data), (&mut entry.child, child)] {
            if modes != 0 && set.add(conn, modes) {
                self.watches += 1;
            }
        }
        if !known {
            self.remember(conn, index);
        }
    }

    fn remember(&mut self, conn: ConnId, index: u32) {
        let paths = self.conns.get_or_insert_with(conn, ConnPaths::default);
        paths.paths.push(index);
        if paths.paths.len() > paths.sweep_at {
            let entries = &self.entries;
            paths.paths.sort_unstable();
            paths.paths.dedup();
            paths.paths.retain(|&i| {
                let entry = &entries[i as usize];
                entry.data.modes(conn) | entry.child.modes(conn) != 0
            });
            paths.sweep_at = paths.paths.len() * 2 + 16;
        }
    }

    /// Drops all watches of a connection.
    pub fn remove_conn(&mut self, conn: ConnId) {
        let Some(paths) = self.conns.remove(&conn) else { return };
        for index in paths.paths {
            self.take(index, conn, u8::MAX, u8::MAX);
        }
    }

    fn take(&mut self, index: u32, conn: ConnId, data: u8, child: u8) -> bool {
        let entry = &mut self.entries[index as usize];
        let before = entry.data.len() + entry.child.len();
        let taken = entry.data.remove(conn, data);
        let taken_child = entry.child.remove(conn, child);
        self.watches -= before - entry.data.len() - entry.child.len();
        self.recursive -= usize::from(taken & RECURSIVE != 0);
        self.drop_if_unwatched(index);
        taken | taken_child != 0
    }

    /// Whether a connection has such a watch on a path.
    pub fn contains(&self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let Some(index) = self.find(path) else { return false };
        let entry = &self.entries[index as usize];
        // The original looks for persistent ones in the data set only; they stand in both.
        let (data, child) = kind.modes();
        entry.data.modes(conn) & data != 0 || entry.child.modes(conn) & child != 0
    }

    /// Takes such watches of a connection back; says whether there was one.
    pub fn remove(&mut self, conn: ConnId, path: &str, kind: WatcherType) -> bool {
        let Some(index) = self.find(path) else { return false };
        let (data, child) = kind.modes();
        if mutants::on(Mutant::RemovedWatchStays) {
            return self.contains(conn, path, kind);
        }
        self.take(index, conn, data, child)
    }

    /// Appends every connection that is to be told of an event, each once, and drops the one-shot
    /// watches that fired. Without watches on the path (and without recursive ones) this is one look-up.
    pub fn fire(&mut self, kind: EventKind, path: &str, out: &mut Vec<ConnId>) {
        let from = out.len();
        if let Some(index) = self.find(path) {
            let entry = &mut self.entries[index as usize];
            let before = entry.data.len() + entry.child.len();
            if kind != EventKind::ChildrenChanged {
                entry.data.drain(out);
            }
            if matches!(kind, EventKind::ChildrenChanged | EventKind::Deleted) {
                entry.child.drain(out);
            }
            self.watches -= before - entry.data.len() - entry.child.len();
            self.drop_if_unwatched(index);
        }
        if self.recursive > 0 && kind != EventKind::ChildrenChanged {
            let mut above = path;
            while above.len() > 1 {
                let slash = above.rfind('/').unwrap_or(0);
                above = if slash == 0 { "/" } else { &above[..slash] };
                if let Some(index) = self.find(above) {
                    self.entries[index as usize].data.recursive(out);
                }
            }
        }
        if out.len() - from > 1 {
            out[from..].sort_unstable();
            let mut kept = from + 1;
            for at in from + 1..out.len() {
                if out[at] != out[kept - 1] {
                    out[kept] = out[at];
                    kept += 1;
                }
            }
            out.truncate(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn fire(table: &mut WatchTable, kind: EventKind, path: &str) -> Vec<u64> {
        let mut out = Vec::new();
        table.fire(kind, path, &mut out);
        out.iter().map(|c| c.0).collect()
    }

    #[test]
    fn one_shot_watches_fire_once_and_on_their_events_only() {
        let mut table = WatchTable::new(1);
        table.add(A, "/a", WatchMode::Data);
        table.add(B, "/a", WatchMode::Child);
        assert_eq!(table.watch_count(), 2);
        assert!(fire(&mut table, EventKind::DataChanged, "/b").is_empty());
        assert_eq!(fire(&mut table, EventKind::DataChanged, "/a"), [1]);
        assert!(fire(&mut table, EventKind::DataChanged, "/a").is_empty());
        assert_eq!(fire(&mut table, EventKind::ChildrenChanged, "/a"), [2]);
        assert_eq!((table.watch_count(), table.path_count()), (0, 0));
    }

    #[test]
    fn a_delete_tells_each_watcher_once() {
        let mut table = WatchTable::new(1);
        table.add(A, "/a", WatchMode::Data);
        table.add(A, "/a", WatchMode::Child);
        table.add(B, "/a", WatchMode::Persistent);
        assert_eq!(fire(&mut table, EventKind::Deleted, "/a"), [1, 2]);
        assert_eq!(fire(&mut table, EventKind::Created, "/a"), [2]);
        assert_eq!(fire(&mut table, EventKind::ChildrenChanged, "/a"), [2]);
    }

    #[test]
    fn recursive_watches_hear_from_below_but_not_of_children() {
        let mut table = WatchTable::new(1);
        table.add(A, "/a", WatchMode::Recursive);
        table.add(A, "/a/b/c", WatchMode::Data);
        table.add(B, "/", WatchMode::Recursive);
        assert_eq!(fire(&mut table, EventKind::Created, "/a/b/c"), [1, 2]);
        assert!(fire(&mut table, EventKind::ChildrenChanged, "/a").is_empty());
        assert_eq!(fire(&mut table, EventKind::DataChanged, "/ab"), [2]);
        assert!(table.remove(B, "/", WatcherType::Recursive));
        assert_eq!(fire(&mut table, EventKind::Deleted, "/a"), [1]);
        table.remove_conn(A);
        assert_eq!((table.watch_count(), table.recursive), (0, 0));
    }

    #[test]
    fn modes_coexist_and_are_taken_back_one_by_one() {
        let mut table = WatchTable::new(1);
        for mode in [WatchMode::Data, WatchMode::Child, WatchMode::Persistent, WatchMode::Recursive] {
            table.add(A, "/a", mode);
        }
        assert!(table.contains(A, "/a", WatcherType::Data));
        assert!(table.remove(A, "/a", WatcherType::Data));
        assert!(!table.remove(A, "/a", WatcherType::Data));
        assert!(table.contains(A, "/a", WatcherType::Children));
        assert!(table.remove(A, "/a", WatcherType::Persistent));
        assert!(!table.contains(A, "/a", WatcherType::Persistent));
        assert!(table.contains(A, "/a", WatcherType::Any));
        assert!(table.remove(A, "/a", WatcherType::Any));
        assert!(!table.contains(A, "/a", WatcherType::Any));
        assert_eq!(table.path_count(), 0);
    }

    #[test]
    fn connections_leave_nothing_behind() {
        let mut table = WatchTable::new(1);
        let mut prng = Prng::new(7);
        let mut out = Vec::new();
        for _ in 0..20_000 {
            let conn = ConnId(prng.below(20));
            let path = format!("/{}", prng.below(50));
            match prng.below(10) {
                0 => table.remove_conn(conn),
                1..4 => table.fire(EventKind::Deleted, &path, &mut out),
                4..7 => table.add(conn, &path, WatchMode::Child),
                _ => table.add(conn, &path, WatchMode::Data),
            }
        }
        for conn in 0..20 {
            table.remove_conn(ConnId(conn));
        }
        assert_eq!((table.watch_count(), table.path_count(), table.conns.len()), (0, 0, 0));
    }
}
