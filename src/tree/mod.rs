//! The replicated tree of znodes: what is stored, and how a txn changes it.
//!
//! `Tree::apply` is the only way to change it (the member list's local copy, `set_config`, apart). The
//! digest of the original is kept up to date with every change. Exact images at a txn border are read
//! through cursors while txns go on (`image`), and loaded back (`loader`). Deliberately absent: sessions
//! (`session`), who may do what (`auth`), requests and replies (`pipeline`), container and TTL reaping,
//! and the accounting and enforcement of quotas: their znodes are plain ones here.

mod acl_table;
mod apply;
mod arena;
mod audit;
mod image;
mod loader;
pub mod path;
pub mod watch;

pub(crate) use apply::new_stat;
pub use apply::{DigestCheck, Outcome, SubOutcome, Trigger};
pub use image::{Border, CursorId};
pub use loader::{LoadError, Loader, Progress};
pub use watch::{WatchMode, WatchTable, WatcherType};

use crate::format::snapshot::StoredStat;
use crate::ids::SessionId;
use crate::wire::acl::AclList;
use crate::wire::reply::Stat;
use crate::zxid::Zxid;
use acl_table::AclTable;
use arena::{Arena, NIL, Node, ROOT};
use image::Cursors;
use std::collections::{BTreeMap, BTreeSet};

/// `ephemeralOwner` of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// The top byte of a TTL znode's `ephemeralOwner`.
const EXTENDED_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;
/// The longest time to live, in milliseconds: 40 bits.
pub const TTL_MAX_MS: i64 = 0xff_ffff_ffff;

/// What `ephemeralOwner` says a znode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// Persistent.
    Nobody,
    /// Ephemeral.
    Session(SessionId),
    /// A container.
    Container,
    /// With a time to live in milliseconds.
    Ttl(i64),
}

impl OwnerKind {
    /// Reads an `ephemeralOwner`. Without `extendedTypesEnabled` a top byte of 0xff is a session's.
    pub fn of(owner: i64, extended_types: bool) -> OwnerKind {
        match owner {
            0 => OwnerKind::Nobody,
            _ if extended_types && owner & EXTENDED_MASK == EXTENDED_MASK => {
                OwnerKind::Ttl(owner & TTL_MAX_MS)
            }
            CONTAINER_OWNER => OwnerKind::Container,
            session => OwnerKind::Session(SessionId(session)),
        }
    }

    /// The `ephemeralOwner` it is stored as.
    pub fn stored(self) -> i64 {
        match self {
            OwnerKind::Nobody => 0,
            OwnerKind::Session(session) => session.0,
            OwnerKind::Container => CONTAINER_OWNER,
            OwnerKind::Ttl(ms) => EXTENDED_MASK | (ms & TTL_MAX_MS),
        }
    }
}

/// What a tree is built with.
#[derive(Clone, Copy, Debug, Default)]
pub struct TreeOptions {
    /// The seed of its hash tables; random in a server, fixed in a simulation.
    pub seed: u64,
    /// `extendedTypesEnabled`: owners with a top byte of 0xff are TTL znodes.
    pub extended_types: bool,
}

/// The tree.
pub struct Tree {
    options: TreeOptions,
    arena: Arena,
    acls: AclTable,
    owners: BTreeMap<SessionId, BTreeSet<u32>>,
    last_zxid: Zxid,
    digest: u64,
    data_bytes: u64,
    cursors: Cursors,
}

impl Tree {
    /// The tree of an empty database: `/`, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    pub fn new(options: TreeOptions) -> Tree {
        let mut tree = Tree::bare(options);
        tree.add_own_znodes();
        tree
    }

    /// Makes those of the server's own znodes that are not there, as the original's constructor does.
    fn add_own_znodes(&mut self) {
        for path in [path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            let Some((above, name)) = path::split(path) else { continue };
            let parent = self.arena.find(above.as_bytes()).unwrap_or(ROOT);
            if self.arena.child(parent, name.as_bytes()).is_some() {
                continue;
            }
            let config = path == path::CONFIG;
            let stat = StoredStat { aversion: if config { -1 } else { 0 }, ..StoredStat::default() };
            let index = self.arena.insert(parent, name.as_bytes(), Some(b""), &stat, is_hidden(path));
            if config {
                self.arena.node_mut(index).acl = self.acls.intern(AclList::READ_ONLY);
            }
            self.count_in(index, path);
        }
    }

    /// A root and nothing else: what the loader starts from.
    fn bare(options: TreeOptions) -> Tree {
        let mut tree = Tree {
            options,
            arena: Arena::new(options.seed),
            acls: AclTable::new(options.seed),
            owners: BTreeMap::new(),
            last_zxid: Zxid::ZERO,
            digest: 0,
            // The original counts the root twice: as "" and as "/".
            data_bytes: 1,
            cursors: Cursors::default(),
        };
        tree.digest = tree.arena.node(ROOT).digest().into();
        tree
    }

    /// The options it was built with.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// The zxid of the last txn that was applied as a whole.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Sets the last zxid without a txn: a loaded snapshot's, or the first zxid of a new epoch.
    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// The digest of the whole tree, version 2 of the original's.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many znodes there are as `srvr` and `mntr` count them: the root twice.
    pub fn node_count(&self) -> usize {
        self.arena.live() + 1
    }

    /// Bytes of all paths and data, as `zk_approximate_data_size`.
    pub fn data_size(&self) -> u64 {
        self.data_bytes
    }

    /// How many ephemerals there are.
    pub fn ephemeral_count(&self) -> usize {
        self.owners.values().map(BTreeSet::len).sum()
    }

    /// The sessions that own ephemerals, in order.
    pub fn owning_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.owners.keys().copied()
    }

    /// The paths of a session's ephemerals.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> {
        let owned = self.owners.get(&session);
        owned.into_iter().flatten().map(|&index| self.path_of(index))
    }

    /// How many znodes have an ACL whose list a fuzzy snapshot did not hold. Such a znode allows nothing to
    /// anybody; replaying the log must bring the number to 0, else the history is damaged.
    pub fn unresolved_acls(&self) -> usize {
        self.acls.unresolved_users()
    }

    /// The znode of a path; `None` when there is none.
    pub fn find(&self, path: &str) -> Option<Znode<'_>> {
        self.arena.find(path.as_bytes()).map(|index| self.znode(index))
    }

    fn znode(&self, index: u32) -> Znode<'_> {
        Znode { tree: self, index, node: self.arena.node(index) }
    }

    /// How many znodes are below a znode, children of children included. Walks them all.
    pub fn descendants(&self, top: Znode<'_>) -> usize {
        if top.index == ROOT {
            return self.arena.live() - 1;
        }
        let mut count = 0;
        let mut todo = vec![top.index];
        while let Some(at) = todo.pop() {
            for child in self.arena.children(at) {
                count += 1;
                if self.arena.node(child).first_child != NIL {
                    todo.push(child);
                }
            }
        }
        count
    }

    /// Replaces the member list in `/zookeeper/config`, as a server does for itself when its role changes.
    /// `version` is the list's, and becomes the znode's mzxid; `time` is the wall clock in milliseconds.
    /// The znode is outside the digest, so servers may differ in it.
    pub fn set_config(&mut self, text: &[u8], version: i64, time: i64) {
        let Some(index) = self.arena.find(path::CONFIG.as_bytes()) else { return };
        self.save_before(index);
        let node = self.arena.node_mut(index);
        let before = node.data_len() as u64;
        node.set_data(Some(text));
        let stat = StoredStat { version: -1, mzxid: version, mtime: time, ..node.stat() };
        node.set_stat(&stat);
        self.data_bytes = self.data_bytes - before + text.len() as u64;
    }

    fn path_of(&self, index: u32) -> String {
        let mut path = Vec::new();
        self.arena.push_path(index, &mut path);
        String::from_utf8(path).unwrap_or_default()
    }

    /// Counts a new znode into digest, size and owners. Its ACL is set by the caller.
    fn count_in(&mut self, index: u32, path: &str) {
        let node = self.arena.node_mut(index);
        if !node.is_hidden() {
            node.content_crc = content_crc(path.as_bytes(), node.data());
        }
        let digest = node.digest();
        self.exchange(0, digest);
        let node = self.arena.node(index);
        self.data_bytes += (path.len() + node.data_len()) as u64;
        if let OwnerKind::Session(session) = OwnerKind::of(node.owner(), self.options.extended_types) {
            self.owners.entry(session).or_default().insert(index);
        }
    }

    /// Counts a znode out of everything that `count_in` counted it into.
    fn count_out(&mut self, index: u32, path_len: usize) {
        let node = self.arena.node(index);
        self.digest = self.digest.wrapping_sub(node.digest().into());
        self.data_bytes -= (path_len + node.data_len()) as u64;
        let OwnerKind::Session(session) = OwnerKind::of(node.owner(), self.options.extended_types) else {
            return;
        };
        if let Some(owned) = self.owners.get_mut(&session)
            && owned.remove(&index)
            && owned.is_empty()
        {
            self.owners.remove(&session);
        }
    }

    /// Changes a znode's stat, and the digest with it.
    fn change_stat(&mut self, index: u32, stat: &StoredStat) {
        let node = self.arena.node_mut(index);
        let before = node.digest();
        node.set_stat(stat);
        let after = node.digest();
        self.exchange(before, after);
    }

    /// Replaces a znode's share of the digest.
    fn exchange(&mut self, before: u32, after: u32) {
        self.digest = self.digest.wrapping_sub(before.into()).wrapping_add(after.into());
    }
}

/// CRC-32 of path and data: the first part of a znode's digest. The root's path is empty.
pub fn content_crc(path: &[u8], data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(path);
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// A znode's digest: CRC-32 of path, data and stat, continued from `content_crc`. Znodes below
/// `/zookeeper` have none (`is_hidden`).
pub fn node_digest(content_crc: u32, stat: &StoredStat) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(content_crc);
    crc.update(&stat.digest_bytes());
    crc.finalize()
}

/// Whether a path is outside the digest: below `/zookeeper`, which is itself inside.
pub fn is_hidden(path: &str) -> bool {
    path.strip_prefix(path::ZOOKEEPER).is_some_and(|rest| rest.starts_with('/'))
}

/// A znode, to be read.
#[derive(Clone, Copy)]
pub struct Znode<'a> {
    tree: &'a Tree,
    index: u32,
    node: &'a Node,
}

impl<'a> Znode<'a> {
    /// Its data; `None` when it was set to null.
    pub fn data(self) -> Option<&'a [u8]> {
        self.node.data()
    }

    /// Its ACL.
    pub fn acl(self) -> AclList<'a> {
        self.tree.acls.list(self.node.acl)
    }

    /// Its stat as it is stored.
    pub fn stored(self) -> StoredStat {
        self.node.stat()
    }

    /// Its stat as clients see it.
    pub fn stat(self) -> Stat {
        client_stat(&self.node.stat(), self.node.data_len(), self.node.children, self.tree.options)
    }

    /// How many children it has.
    pub fn child_count(self) -> usize {
        self.node.children as usize
    }

    /// The names of its children, in no order that means anything.
    pub fn children(self) -> impl Iterator<Item = &'a [u8]> {
        self.tree.arena.children(self.index).map(|i| self.tree.arena.node(i).name())
    }

    /// What its owner says it is.
    pub fn owner(self) -> OwnerKind {
        OwnerKind::of(self.node.owner(), self.tree.options.extended_types)
    }

    /// Its share of the tree's digest; 0 below `/zookeeper`.
    pub fn digest(self) -> u32 {
        self.node.digest()
    }

    /// CRC-32 of its path and data; see `content_crc`. 0 below `/zookeeper`.
    pub fn content_crc(self) -> u32 {
        self.node.content_crc
    }
}

/// A stored stat as clients see it: cversion counts births and ends, and only sessions are owners.
pub fn client_stat(stored: &StoredStat, data_len: usize, children: u32, options: TreeOptions) -> Stat {
    let owner = match OwnerKind::of(stored.owner, options.extended_types) {
        OwnerKind::Session(session) => session.0,
        _ => 0,
    };
    Stat {
        czxid: stored.czxid,
        mzxid: stored.mzxid,
        ctime: stored.ctime,
        mtime: stored.mtime,
        version: stored.version,
        cversion: stored.cversion.wrapping_mul(2).wrapping_sub(children as i32),
        aversion: stored.aversion,
        ephemeral_owner: owner,
        data_length: data_len as i32,
        num_children: children as i32,
        pzxid: stored.pzxid,
    }
}
