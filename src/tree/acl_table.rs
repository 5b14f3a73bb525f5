//! Interned ACL lists: each list once, under the id that snapshots know it by, counted by its users.
//!
//! Ids are never used again. Deliberately absent: what a list allows (`auth`).

use crate::format::snapshot::OPEN_ACL_ID;
use crate::wire::acl::AclList;
use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AclSlot(u32);

impl AclSlot {
    /// `world:anyone`, all permissions, which stands in no table (id -1).
    pub(super) const OPEN: AclSlot = AclSlot(u32::MAX);
}

#[derive(Debug)]
struct Entry {
    id: i64,
    users: u32,
    /// Its list is not known: a fuzzy snapshot named the id before its table had it.
    unresolved: bool,
    raw: Box<[u8]>,
}

/// The table.
pub(super) struct AclTable {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_list: HashTable<u32>,
    by_id: BTreeMap<i64, u32>,
    hasher: FixedState,
    last_id: i64,
    unresolved_users: usize,
}

impl AclTable {
    /// An empty table hashing under `seed`.
    pub(super) fn new(seed: u64) -> AclTable {
        AclTable {
            slots: Vec::new(),
            free: Vec::new(),
            by_list: HashTable::new(),
            by_id: BTreeMap::new(),
            hasher: FixedState::with_seed(seed),
            last_id: 0,
            unresolved_users: 0,
        }
    }

    fn entry(&self, slot: AclSlot) -> Option<&Entry> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// The slot of a list, counted as used once more. Null is the open list, as in the original.
    pub(super) fn intern(&mut self, list: AclList<'_>) -> AclSlot {
        if list.is_null() {
            return AclSlot::OPEN;
        }
        let hash = self.hasher.hash_one(list.raw());
        let slots = &self.slots;
        let found =
            self.by_list.find(hash, |&i| slots[i as usize].as_ref().is_some_and(|e| *e.raw == *list.raw()));
        let slot = match found {
            Some(&slot) => AclSlot(slot),
            None => self.add(self.last_id + 1, list, false),
        };
        self.use_once(slot);
        slot
    }

    /// Puts a list under an id, without users: the loader's way.
    pub(super) fn load(&mut self, id: i64, list: AclList<'_>) {
        if id != OPEN_ACL_ID && !self.by_id.contains_key(&id) {
            self.add(id, list, false);
        }
    }

    /// The slot of an id, counted as used once more. An unknown id gets a list that allows nothing until
    /// replay gives the znode another one.
    pub(super) fn use_id(&mut self, id: i64) -> AclSlot {
        if id == OPEN_ACL_ID {
            return AclSlot::OPEN;
        }
        let slot = match self.by_id.get(&id) {
            Some(&slot) => AclSlot(slot),
            None => self.add(id, AclList::CLOSED, true),
        };
        self.use_once(slot);
        slot
    }

    fn use_once(&mut self, slot: AclSlot) {
        if let Some(Some(entry)) = self.slots.get_mut(slot.0 as usize) {
            entry.users += 1;
            self.unresolved_users += usize::from(entry.unresolved);
        }
    }

    fn add(&mut self, id: i64, list: AclList<'_>, unresolved: bool) -> AclSlot {
        let entry = Entry { id, users: 0, unresolved, raw: list.raw().into() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                (self.slots.len() - 1) as u32
            }
        };
        self.last_id = self.last_id.max(id);
        self.by_id.insert(id, slot);
        if !unresolved {
            let (hasher, slots) = (&self.hasher, &self.slots);
            self.by_list.insert_unique(hasher.hash_one(list.raw()), slot, |&i| {
                hasher.hash_one(slots[i as usize].as_ref().map_or(&[][..], |e| &e.raw))
            });
        }
        AclSlot(slot)
    }

    /// Gives a use back; a list without users is forgotten.
    pub(super) fn release(&mut self, slot: AclSlot) {
        let Some(Some(entry)) = self.slots.get_mut(slot.0 as usize) else { return };
        entry.users -= 1;
        self.unresolved_users -= usize::from(entry.unresolved);
        if entry.users == 0 {
            self.forget(slot.0);
        }
    }

    fn forget(&mut self, slot: u32) {
        let Some(entry) = self.slots[slot as usize].take() else { return };
        self.by_id.remove(&entry.id);
        let hash = self.hasher.hash_one(&*entry.raw);
        if let Ok(found) = self.by_list.find_entry(hash, |&i| i == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    /// Forgets lists that nothing uses: those of a fuzzy snapshot whose znodes were gone already.
    pub(super) fn purge(&mut self) {
        let unused = |e: &Option<Entry>| e.as_ref().is_some_and(|e| e.users == 0);
        let slots: Vec<u32> =
            (0..self.slots.len()).filter(|&i| unused(&self.slots[i])).map(|i| i as u32).collect();
        for slot in slots {
            self.forget(slot);
        }
    }

    /// The list of a slot.
    pub(super) fn list(&self, slot: AclSlot) -> AclList<'_> {
        match self.entry(slot) {
            Some(entry) => AclList::from_checked(&entry.raw),
            None => AclList::OPEN,
        }
    }

    /// The id of a slot.
    pub(super) fn id(&self, slot: AclSlot) -> i64 {
        self.entry(slot).map_or(OPEN_ACL_ID, |e| e.id)
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All lists by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, AclList<'_>)> {
        self.by_id.iter().map(|(&id, &slot)| (id, self.list(AclSlot(slot))))
    }

    /// How often each id is used.
    #[cfg(test)]
    pub(super) fn users(&self) -> BTreeMap<i64, u32> {
        self.slots.iter().flatten().map(|e| (e.id, e.users)).collect()
    }

    /// How many znodes have an ACL whose list is not known.
    pub(super) fn unresolved_users(&self) -> usize {
        self.unresolved_users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_interned_counted_and_their_ids_never_used_again() {
        let mut table = AclTable::new(1);
        let open = table.intern(AclList::OPEN);
        assert_eq!(table.intern(AclList::OPEN), open);
        assert_eq!((table.id(open), table.len()), (1, 1));
        table.release(open);
        assert_eq!(table.len(), 1);
        table.release(open);
        assert_eq!(table.len(), 0);
        let again = table.intern(AclList::READ_ONLY);
        assert_eq!(table.id(again), 2);
        assert_eq!(table.list(AclSlot::OPEN), AclList::OPEN);
        assert_eq!(table.intern(AclList::NULL), AclSlot::OPEN);
    }

    #[test]
    fn an_unknown_id_allows_nothing_and_is_counted() {
        let mut table = AclTable::new(1);
        table.load(3, AclList::OPEN);
        table.load(4, AclList::READ_ONLY);
        let unknown = table.use_id(9);
        assert_eq!(table.list(unknown), AclList::CLOSED);
        assert_eq!(table.unresolved_users(), 1);
        let known = table.use_id(3);
        table.purge();
        assert_eq!(table.len(), 2);
        table.release(unknown);
        assert_eq!(table.unresolved_users(), 0);
        let fresh = table.intern(AclList::CLOSED);
        assert_eq!(table.id(fresh), 10);
        assert_eq!(table.intern(AclList::OPEN), known);
    }
}
