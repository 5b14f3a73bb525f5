//! Where znodes live: fixed chunks of slots, links between them, and the index by parent and name.
//!
//! Owns the invariant that a znode's index is greater than its parent's, so that walking the slots in
//! order meets parents first (`image` stands on it). Deliberately absent: stats' meaning, ACLs, digests.

use super::acl_table::AclSlot;
use crate::format::snapshot::StoredStat;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

/// No slot.
pub(super) const NIL: u32 = u32::MAX;
/// The root's slot.
pub(super) const ROOT: u32 = 0;

/// Slots in a chunk: big enough for the allocator to map it by itself, small enough not to be a spike.
const CHUNK: usize = 1 << 11;
/// Tables the index is cut into, so that growing one moves 1/256 of the entries.
const SHARDS: usize = 256;

const LIVE: u32 = 1 << 31;
const NULL_DATA: u32 = 1 << 30;
const HIDDEN: u32 = 1 << 29;
const NAME_LEN: u32 = HIDDEN - 1;

/// One znode: 112 bytes, and one allocation for name and data.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) first_child: u32,
    pub(super) next: u32,
    prev: u32,
    pub(super) children: u32,
    pub(super) acl: AclSlot,
    /// Of parent and name: kept so that growing the index touches no names.
    hash: u32,
    /// CRC-32 of path and data: where its digest starts from.
    pub(super) content_crc: u32,
    flags_and_name_len: u32,
    version: i32,
    cversion: i32,
    aversion: i32,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    owner: i64,
    payload: Box<[u8]>,
}

const _: () = assert!(size_of::<Node>() == 112);

impl Node {
    fn new(parent: u32, name: &[u8], data: Option<&[u8]>, stat: &StoredStat, hidden: bool) -> Node {
        let flags = LIVE | if hidden { HIDDEN } else { 0 };
        let mut node = Node {
            parent,
            first_child: NIL,
            next: NIL,
            prev: NIL,
            children: 0,
            acl: AclSlot::OPEN,
            hash: 0,
            content_crc: 0,
            flags_and_name_len: flags | name.len() as u32,
            version: 0,
            cversion: 0,
            aversion: 0,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            owner: 0,
            payload: Box::default(),
        };
        node.fill(name, data);
        node.set_stat(stat);
        node
    }

    fn fill(&mut self, name: &[u8], data: Option<&[u8]>) {
        let bytes = data.unwrap_or_default();
        let mut payload = Vec::with_capacity(name.len() + bytes.len());
        payload.extend_from_slice(name);
        payload.extend_from_slice(bytes);
        self.payload = payload.into_boxed_slice();
        match data {
            Some(_) => self.flags_and_name_len &= !NULL_DATA,
            None => self.flags_and_name_len |= NULL_DATA,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.flags_and_name_len & LIVE != 0
    }

    /// Whether it is below `/zookeeper` and so outside the digest.
    pub(super) fn is_hidden(&self) -> bool {
        self.flags_and_name_len & HIDDEN != 0
    }

    fn name_len(&self) -> usize {
        (self.flags_and_name_len & NAME_LEN) as usize
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.payload[..self.name_len()]
    }

    pub(super) fn data(&self) -> Option<&[u8]> {
        (self.flags_and_name_len & NULL_DATA == 0).then(|| &self.payload[self.name_len()..])
    }

    pub(super) fn data_len(&self) -> usize {
        self.payload.len() - self.name_len()
    }

    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        let name_len = self.name_len();
        let bytes = data.unwrap_or_default();
        // Same length, as most updates are: no allocation.
        if data.is_some() && self.payload.len() == name_len + bytes.len() {
            self.payload[name_len..].copy_from_slice(bytes);
            self.flags_and_name_len &= !NULL_DATA;
            return;
        }
        let old = std::mem::take(&mut self.payload);
        self.fill(&old[..name_len], data);
    }

    pub(super) fn stat(&self) -> StoredStat {
        StoredStat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion,
            aversion: self.aversion,
            owner: self.owner,
            pzxid: self.pzxid,
        }
    }

    pub(super) fn set_stat(&mut self, stat: &StoredStat) {
        self.czxid = stat.czxid;
        self.mzxid = stat.mzxid;
        self.ctime = stat.ctime;
        self.mtime = stat.mtime;
        self.version = stat.version;
        self.cversion = stat.cversion;
        self.aversion = stat.aversion;
        self.owner = stat.owner;
        self.pzxid = stat.pzxid;
    }

    /// Its share of the tree's digest: 0 below `/zookeeper`.
    pub(super) fn digest(&self) -> u32 {
        if self.is_hidden() { 0 } else { super::node_digest(self.content_crc, &self.stat()) }
    }

    pub(super) fn owner(&self) -> i64 {
        self.owner
    }
}

/// All znodes.
pub(super) struct Arena {
    chunks: Vec<Vec<Node>>,
    free: BTreeSet<u32>,
    shards: Box<[HashTable<u32>]>,
    hasher: FixedState,
    live: usize,
}

fn hash(hasher: &FixedState, parent: u32, name: &[u8]) -> u32 {
    let mut state = hasher.build_hasher();
    state.write_u32(parent);
    state.write(name);
    state.finish() as u32
}

/// A hash as the tables want it: they pick a bucket by the lowest bits and tag entries with the highest.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// The table of a hash: bits below the tag, and above those that pick a bucket in up to 16 million znodes.
fn shard_of(hash: u32) -> usize {
    (hash >> 17) as usize % SHARDS
}

impl Arena {
    /// An arena that holds a root, hashing under `seed`.
    pub(super) fn new(seed: u64) -> Arena {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        let mut arena = Arena {
            chunks: Vec::new(),
            free: BTreeSet::new(),
            shards,
            hasher: FixedState::with_seed(seed),
            live: 0,
        };
        arena.place(0, Node::new(NIL, b"", Some(b""), &StoredStat::default(), false));
        arena
    }

    /// Makes room in the index for so many znodes more.
    pub(super) fn reserve(&mut self, more: usize) {
        let chunks = &self.chunks;
        for shard in &mut self.shards {
            shard.reserve(more / SHARDS, |&i| spread(chunks[i as usize / CHUNK][i as usize % CHUNK].hash));
        }
    }

    /// How many znodes there are, the root included.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// One more than the highest slot ever used.
    pub(super) fn end(&self) -> u32 {
        match self.chunks.split_last() {
            Some((last, full)) => (full.len() * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    pub(super) fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn place(&mut self, index: u32, node: Node) {
        self.live += 1;
        if index < self.end() {
            *self.node_mut(index) = node;
            return;
        }
        if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(node);
        }
    }

    /// The child of that name.
    pub(super) fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = hash(&self.hasher, parent, name);
        self.shards[shard_of(hash)]
            .find(spread(hash), |&i| {
                let node = self.node(i);
                node.hash == hash && node.parent == parent && node.name() == name
            })
            .copied()
    }

    /// The znode of a path; `/` and the empty path are the root.
    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        if path.is_empty() || path == b"/" {
            return Some(ROOT);
        }
        let (b'/', names) = path.split_first()? else { return None };
        names.split(|&b| b == b'/').try_fold(ROOT, |parent, name| self.child(parent, name))
    }

    /// Makes a child and returns its slot: the smallest free one above the parent's, or a new one. The
    /// caller knows that no such child exists.
    pub(super) fn insert(
        &mut self,
        parent: u32,
        name: &[u8],
        data: Option<&[u8]>,
        stat: &StoredStat,
        hidden: bool,
    ) -> u32 {
        assert!(name.len() < NAME_LEN as usize, "a name of {} bytes", name.len());
        let index = match self.free.range(parent + 1..).next().copied() {
            Some(index) => {
                self.free.remove(&index);
                index
            }
            None => self.end(),
        };
        assert!(index > parent && index < NIL, "slot {index} below slot {parent}");
        let mut node = Node::new(parent, name, data, stat, hidden);
        let hash = hash(&self.hasher, parent, name);
        node.hash = hash;
        let head = self.node(parent).first_child;
        node.next = head;
        self.place(index, node);
        if head != NIL {
            self.node_mut(head).prev = index;
        }
        let above = self.node_mut(parent);
        above.first_child = index;
        above.children += 1;

        let chunks = &self.chunks;
        self.shards[shard_of(hash)].insert_unique(spread(hash), index, |&i| {
            spread(chunks[i as usize / CHUNK][i as usize % CHUNK].hash)
        });
        index
    }

    /// Removes a znode without children.
    pub(super) fn remove(&mut self, index: u32) {
        let node = self.node(index);
        assert!(node.is_live() && node.children == 0 && index != ROOT, "slot {index} cannot be removed");
        let (parent, next, prev) = (node.parent, node.next, node.prev);
        let hash = node.hash;
        if let Ok(entry) = self.shards[shard_of(hash)].find_entry(spread(hash), |&i| i == index) {
            entry.remove();
        }
        if prev == NIL {
            self.node_mut(parent).first_child = next;
        } else {
            self.node_mut(prev).next = next;
        }
        if next != NIL {
            self.node_mut(next).prev = prev;
        }
        self.node_mut(parent).children -= 1;
        let node = self.node_mut(index);
        node.flags_and_name_len = 0;
        node.payload = Box::default();
        self.free.insert(index);
        self.live -= 1;
    }

    /// Appends a znode's path; the root's is empty.
    pub(super) fn push_path(&self, index: u32, out: &mut Vec<u8>) {
        let from = out.len();
        // Names are collected from the leaf up, reversed in place at the end.
        let mut at = index;
        let mut length = 0;
        while at != ROOT {
            let node = self.node(at);
            length += node.name_len() + 1;
            at = node.parent;
        }
        out.resize(from + length, b'/');
        let mut end = from + length;
        let mut at = index;
        while at != ROOT {
            let node = self.node(at);
            out[end - node.name_len()..end].copy_from_slice(node.name());
            end -= node.name_len() + 1;
            at = node.parent;
        }
    }

    /// A znode's children, youngest first.
    pub(super) fn children(&self, index: u32) -> impl Iterator<Item = u32> {
        let first = self.node(index).first_child;
        std::iter::successors((first != NIL).then_some(first), |&at| {
            Some(self.node(at).next).filter(|&next| next != NIL)
        })
    }
}
