//! Exact images: the tree at a txn border, read slice by slice while txns go on.
//!
//! A cursor walks the slots in order, so parents come first. Before a znode that a cursor has not reached
//! is changed or removed, its record as of the border is saved for that cursor; a slot that a newer znode
//! takes is marked as empty. Several cursors may be open at once, each at its own border. Deliberately
//! absent: header, seals and checksums (`format::snapshot`), and who reads when (`storage`, `zab`).

use super::Tree;
use super::arena::Node;
use crate::format::snapshot::{self, NodeRecord};
use crate::ids::SessionId;
use crate::jute;
use crate::mutants::{self, Mutant};
use crate::zxid::Zxid;
use std::collections::BTreeMap;

/// An open cursor; never used twice in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CursorId(u64);

/// The border at which an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Border {
    /// The last txn it holds.
    pub zxid: Zxid,
    /// The tree's digest there.
    pub digest: u64,
}

struct Cursor {
    border: Border,
    /// Sessions and ACL table, encoded at the border.
    prologue: Vec<u8>,
    prologue_read: usize,
    /// The next slot to visit.
    next: u32,
    /// Slots from here on were unused at the border.
    end: u32,
    /// Records of unvisited slots as of the border; `None` for slots that held nothing.
    saved: BTreeMap<u32, Option<Box<[u8]>>>,
    saved_bytes: usize,
    done: bool,
}

impl Cursor {
    /// Whether the slot still has to be visited and has not been saved.
    fn wants(&self, index: u32) -> bool {
        index >= self.next && index < self.end && !self.saved.contains_key(&index)
    }
}

/// All open cursors.
#[derive(Default)]
pub(super) struct Cursors {
    open: BTreeMap<CursorId, Cursor>,
    opened: u64,
}

impl Tree {
    /// Opens a cursor on the tree as it is now, between two txns. `sessions` are the replicated sessions
    /// at the same border, ids with timeouts in milliseconds.
    pub fn open_cursor(&mut self, sessions: impl ExactSizeIterator<Item = (SessionId, i32)>) -> CursorId {
        let mut prologue = Vec::with_capacity(64 + sessions.len() * 12);
        let kept = if mutants::on(Mutant::SnapshotWithoutSessions) { 0 } else { sessions.len() };
        jute::put_vec_len(&mut prologue, kept);
        for (id, timeout_ms) in sessions.take(kept) {
            snapshot::write_session(&mut prologue, id.0, timeout_ms);
        }
        jute::put_vec_len(&mut prologue, self.acls.len());
        for (id, list) in self.acls.iter() {
            snapshot::write_acl(&mut prologue, id, list);
        }
        let cursor = Cursor {
            border: Border { zxid: self.last_zxid, digest: self.digest },
            prologue,
            prologue_read: 0,
            next: 0,
            end: self.arena.end(),
            saved: BTreeMap::new(),
            saved_bytes: 0,
            done: false,
        };
        let id = CursorId(self.cursors.opened);
        self.cursors.opened += 1;
        self.cursors.open.insert(id, cursor);
        id
    }

    /// The border of an open cursor.
    pub fn cursor_border(&self, id: CursorId) -> Option<Border> {
        self.cursors.open.get(&id).map(|c| c.border)
    }

    /// Appends the next part of a cursor's image to `out`: about `budget` bytes, at least one znode, at
    /// most one znode more than the budget. Says whether the image is complete; the cursor stays open
    /// until it is closed. A cursor that is not open is complete.
    pub fn read_cursor(&mut self, id: CursorId, budget: usize, out: &mut Vec<u8>) -> bool {
        let Some(mut cursor) = self.cursors.open.remove(&id) else { return true };
        let from = out.len();
        let sliced = (cursor.prologue.len() - cursor.prologue_read).min(budget.max(1));
        out.extend_from_slice(&cursor.prologue[cursor.prologue_read..cursor.prologue_read + sliced]);
        cursor.prologue_read += sliced;
        if cursor.prologue_read == cursor.prologue.len() {
            cursor.prologue = Vec::new();
            cursor.prologue_read = 0;
            self.read_nodes(&mut cursor, from, budget, out);
        }
        let done = cursor.done;
        self.cursors.open.insert(id, cursor);
        done
    }

    fn read_nodes(&mut self, cursor: &mut Cursor, from: usize, budget: usize, out: &mut Vec<u8>) {
        let mut paths = PathCache::default();
        // Empty slots cost time without bytes; bound them too.
        let mut steps = budget / 16 + 1;
        while cursor.next < cursor.end && steps > 0 {
            let index = cursor.next;
            cursor.next += 1;
            steps -= 1;
            match cursor.saved.remove(&index) {
                Some(Some(record)) => {
                    cursor.saved_bytes -= record.len();
                    out.extend_from_slice(&record);
                }
                Some(None) => {}
                None => {
                    let node = self.arena.node(index);
                    if node.is_live() {
                        self.put_record(index, node, paths.of(self, index, node), out);
                    }
                }
            }
            if out.len() - from >= budget {
                break;
            }
        }
        if cursor.next >= cursor.end && !cursor.done {
            jute::put_string(out, snapshot::END_PATH);
            cursor.done = true;
        }
    }

    /// Closes a cursor and forgets what was saved for it.
    pub fn close_cursor(&mut self, id: CursorId) {
        self.cursors.open.remove(&id);
    }

    /// Bytes of records that are saved for a cursor now; the caller may close one that grows too dear.
    pub fn saved_bytes(&self, id: CursorId) -> usize {
        self.cursors.open.get(&id).map_or(0, |c| c.saved_bytes)
    }

    fn put_record(&self, _index: u32, node: &Node, path: &[u8], out: &mut Vec<u8>) {
        // Names were checked when they came in.
        let path = std::str::from_utf8(path).unwrap_or_default();
        let record =
            NodeRecord { path, data: node.data(), acl_id: self.acls.id(node.acl), stat: node.stat() };
        record.write(out);
    }

    /// To be called before a znode's data, ACL or stat change, and before it is removed.
    pub(super) fn save_before(&mut self, index: u32) {
        if self.cursors.open.is_empty() || !self.cursors.open.values().any(|c| c.wants(index)) {
            return;
        }
        if mutants::on(Mutant::BeforeImageLost) {
            return;
        }
        let mut path = Vec::new();
        self.arena.push_path(index, &mut path);
        let mut record = Vec::new();
        self.put_record(index, self.arena.node(index), &path, &mut record);
        for cursor in self.cursors.open.values_mut().filter(|c| c.wants(index)) {
            cursor.saved_bytes += record.len();
            cursor.saved.insert(index, Some(record.clone().into_boxed_slice()));
        }
    }

    /// To be called when a slot has been taken by a new znode.
    pub(super) fn mark_new(&mut self, index: u32) {
        for cursor in self.cursors.open.values_mut().filter(|c| c.wants(index)) {
            cursor.saved.insert(index, None);
        }
    }
}

/// The path of the last parent, within one slice: siblings often stand side by side.
#[derive(Default)]
struct PathCache {
    parent: Option<u32>,
    parent_len: usize,
    path: Vec<u8>,
}

impl PathCache {
    fn of(&mut self, tree: &Tree, index: u32, node: &Node) -> &[u8] {
        if index == super::ROOT {
            return b"";
        }
        if self.parent != Some(node.parent) {
            self.path.clear();
            tree.arena.push_path(node.parent, &mut self.path);
            self.parent = Some(node.parent);
            self.parent_len = self.path.len();
        }
        self.path.truncate(self.parent_len);
        self.path.push(b'/');
        self.path.extend_from_slice(node.name());
        &self.path
    }
}
