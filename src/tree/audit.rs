//! Everything that must hold of a tree, checked the slow way. Tests only.

#![cfg(test)]

use super::arena::{NIL, ROOT};
use super::{OwnerKind, Tree, content_crc, node_digest};
use std::collections::BTreeMap;

impl Tree {
    /// Panics when links, counts, index, owners, ACL counts, sizes or digest do not agree with the znodes.
    pub(crate) fn audit(&self) {
        let mut digest = 0u64;
        let mut bytes = 1u64;
        let mut live = 0;
        let mut owned = BTreeMap::new();
        let mut acl_users = BTreeMap::new();
        for index in 0..self.arena.end() {
            let node = self.arena.node(index);
            if !node.is_live() {
                continue;
            }
            live += 1;
            let path = self.path_of(index);
            assert_eq!(self.arena.find(path.as_bytes()), Some(index), "{path} is found");
            if index != ROOT {
                assert!(node.parent < index, "{path} stands behind its parent");
                assert!(self.arena.node(node.parent).is_live());
            }
            let children: Vec<u32> = self.arena.children(index).collect();
            assert_eq!(children.len(), node.children as usize, "children of {path}");
            assert!(children.iter().all(|&c| self.arena.node(c).parent == index));
            assert_eq!(node.first_child == NIL, children.is_empty());
            bytes += (path.len() + node.data_len()) as u64;
            if super::is_hidden(&path) {
                assert!(node.is_hidden() && node.digest() == 0);
            } else {
                let crc = content_crc(path.as_bytes(), node.data());
                assert_eq!(node.content_crc, crc, "content of {path}");
                digest = digest.wrapping_add(node_digest(crc, &node.stat()).into());
            }
            if let OwnerKind::Session(session) = OwnerKind::of(node.owner(), self.options.extended_types) {
                owned.entry(session).or_insert_with(Vec::new).push(index);
            }
            *acl_users.entry(self.acls.id(node.acl)).or_insert(0u32) += 1;
        }
        assert_eq!((digest, bytes, live), (self.digest, self.data_bytes, self.arena.live()));
        let listed: BTreeMap<_, Vec<u32>> =
            self.owners.iter().map(|(s, nodes)| (*s, nodes.iter().copied().collect())).collect();
        assert_eq!(owned, listed);
        acl_users.remove(&-1);
        assert_eq!(acl_users, self.acls.users(), "users of ACL lists");
    }
}
