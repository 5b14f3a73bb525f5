//! What has been proposed but not yet applied: the latest state of every znode it touches.
//!
//! The original's outstandingChanges, keyed by path. `get` answers with the state a znode will have once
//! everything proposed is applied; the digest of the whole tree is predicted likewise. One proposal at a
//! time is open and can be taken back as a whole (a failed multi). Deliberately absent: what may be
//! proposed (`prepare`).

use crate::format::snapshot::StoredStat;
use crate::ids::SessionId;
use crate::tree::{self, OwnerKind, Tree};
use crate::wire::acl::AclList;
use crate::zxid::Zxid;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

/// A znode's ACL, shared between states.
#[derive(Clone, Debug)]
pub(super) enum PendingAcl {
    Open,
    Listed(Arc<[u8]>),
}

impl PendingAcl {
    pub(super) fn of(list: AclList<'_>) -> PendingAcl {
        if list == AclList::OPEN { PendingAcl::Open } else { PendingAcl::Listed(list.raw().into()) }
    }

    pub(super) fn list(&self) -> AclList<'_> {
        match self {
            PendingAcl::Open => AclList::OPEN,
            PendingAcl::Listed(raw) => AclList::from_checked(raw),
        }
    }
}

/// The state of a znode that exists.
#[derive(Clone, Debug)]
pub(super) struct NodeState {
    pub(super) stat: StoredStat,
    pub(super) children: usize,
    pub(super) acl: PendingAcl,
    /// See `tree::content_crc`.
    pub(super) content_crc: u32,
    /// Its share of the digest; 0 below `/zookeeper`.
    pub(super) digest: u32,
}

impl NodeState {
    /// Computes the digest anew after stat or content have changed.
    pub(super) fn refresh(&mut self, hidden: bool) {
        self.digest = if hidden { 0 } else { tree::node_digest(self.content_crc, &self.stat) };
    }
}

#[derive(Debug, Default)]
struct Record {
    path: Box<str>,
    zxid: Zxid,
    /// `None`: it will not exist.
    state: Option<NodeState>,
}

/// How a record was before the open proposal touched it.
#[derive(Debug)]
struct Undo {
    slot: u32,
    /// `None`: there was no record.
    before: Option<(Zxid, Option<NodeState>)>,
}

/// All proposed changes.
pub(super) struct Pending {
    records: Vec<Record>,
    free: Vec<u32>,
    by_path: HashTable<u32>,
    hasher: FixedState,
    /// Which record each proposal changed; a record stands once per zxid.
    queue: VecDeque<(Zxid, u32)>,
    /// The records whose znode will be an ephemeral of a session.
    owned: BTreeMap<SessionId, BTreeSet<u32>>,
    /// The predicted digest; `None` while nothing is pending.
    digest: Option<u64>,
    extended_types: bool,
    undo: Vec<Undo>,
    opened_with: (usize, Option<u64>),
}

/// The root goes by one name.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Pending {
    pub(super) fn new(seed: u64, extended_types: bool) -> Pending {
        Pending {
            records: Vec::new(),
            free: Vec::new(),
            by_path: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            queue: VecDeque::new(),
            owned: BTreeMap::new(),
            digest: None,
            extended_types,
            undo: Vec::new(),
            opened_with: (0, None),
        }
    }

    /// How many changes are pending.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn slot(&self, path: &str) -> Option<u32> {
        if self.by_path.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(path);
        self.by_path.find(hash, |&i| *self.records[i as usize].path == *path).copied()
    }

    /// The state a znode will have; `None` when it will not exist.
    pub(super) fn get(&self, tree: &Tree, path: &str) -> Option<NodeState> {
        let path = key(path);
        if let Some(slot) = self.slot(path) {
            return self.records[slot as usize].state.clone();
        }
        let node = tree.find(path)?;
        Some(NodeState {
            stat: node.stored(),
            children: node.child_count(),
            acl: PendingAcl::of(node.acl()),
            content_crc: node.content_crc(),
            digest: node.digest(),
        })
    }

    /// The digest the tree will have.
    pub(super) fn tree_digest(&self, tree: &Tree) -> u64 {
        self.digest.unwrap_or_else(|| tree.digest())
    }

    /// The paths a closeSession has to list: the session's ephemerals once everything pending is applied.
    pub(super) fn ephemerals(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let mut paths: Vec<String> =
            tree.ephemerals(session).filter(|path| self.slot(path).is_none()).collect();
        if let Some(owned) = self.owned.get(&session) {
            paths.extend(owned.iter().map(|&slot| self.records[slot as usize].path.to_string()));
        }
        paths
    }

    /// Opens a proposal: what is put from now on can be taken back.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
        self.opened_with = (self.queue.len(), self.digest);
    }

    /// Takes back everything since `begin`.
    pub(super) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo.before {
                Some((zxid, state)) => {
                    self.records[undo.slot as usize].zxid = zxid;
                    self.set_state(undo.slot, state);
                }
                None => self.forget(undo.slot),
            }
        }
        let (queued, digest) = self.opened_with;
        self.queue.truncate(queued);
        self.digest = digest;
    }

    /// Sets the state a znode will have after the open proposal. `digest_before` is its share until then.
    pub(super) fn put(
        &mut self,
        tree: &Tree,
        path: &str,
        zxid: Zxid,
        state: Option<NodeState>,
        digest_before: u32,
    ) {
        let digest_after = state.as_ref().map_or(0, |s| s.digest);
        let total = self.tree_digest(tree);
        self.digest = Some(total.wrapping_sub(digest_before.into()).wrapping_add(digest_after.into()));

        let path = key(path);
        let (slot, is_new) = match self.slot(path) {
            Some(slot) => (slot, false),
            None => (self.add(path), true),
        };
        let record = &mut self.records[slot as usize];
        let zxid_before = std::mem::replace(&mut record.zxid, zxid);
        if is_new || zxid_before != zxid {
            self.queue.push_back((zxid, slot));
        }
        let state_before = self.set_state(slot, state);
        let before = (!is_new).then_some((zxid_before, state_before));
        self.undo.push(Undo { slot, before });
    }

    fn add(&mut self, path: &str) -> u32 {
        let record = Record { path: path.into(), ..Record::default() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.records[slot as usize] = record;
                slot
            }
            None => {
                self.records.push(record);
                (self.records.len() - 1) as u32
            }
        };
        let (hasher, records) = (&self.hasher, &self.records);
        let rehash = |&i: &u32| hasher.hash_one(&*records[i as usize].path);
        self.by_path.insert_unique(hasher.hash_one(path), slot, rehash);
        slot
    }

    /// Replaces a record's state and keeps the index by owner.
    fn set_state(&mut self, slot: u32, state: Option<NodeState>) -> Option<NodeState> {
        let extended_types = self.extended_types;
        let owner = |state: &Option<NodeState>| match state {
            Some(state) => match OwnerKind::of(state.stat.owner, extended_types) {
                OwnerKind::Session(session) => Some(session),
                _ => None,
            },
            None => None,
        };
        let record = &mut self.records[slot as usize];
        let after = owner(&state);
        let old = std::mem::replace(&mut record.state, state);
        let before = owner(&old);
        if before != after {
            if let Some(session) = before
                && let Some(owned) = self.owned.get_mut(&session)
            {
                owned.remove(&slot);
                if owned.is_empty() {
                    self.owned.remove(&session);
                }
            }
            if let Some(session) = after {
                self.owned.entry(session).or_default().insert(slot);
            }
        }
        old
    }

    fn forget(&mut self, slot: u32) {
        self.set_state(slot, None);
        let path = std::mem::take(&mut self.records[slot as usize].path);
        let hash = self.hasher.hash_one(&*path);
        if let Ok(entry) = self.by_path.find_entry(hash, |&i| i == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    /// Drops the changes of every proposal up to `zxid`: they are in the tree now.
    pub(super) fn committed(&mut self, zxid: Zxid) {
        while let Some(&(changed, slot)) = self.queue.front()
            && changed <= zxid
        {
            self.queue.pop_front();
            // A record that a later proposal changed again stays until that one.
            if self.records[slot as usize].zxid == changed {
                self.forget(slot);
            }
        }
        if self.queue.is_empty() {
            self.digest = None;
        }
    }

    /// Drops everything: the reign is over.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.free.clear();
        self.by_path.clear();
        self.queue.clear();
        self.owned.clear();
        self.undo.clear();
        self.digest = None;
    }
}
