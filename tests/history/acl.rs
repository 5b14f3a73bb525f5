//! ACLs and identities, as plainly as the original's rules say them: `world`, `digest`, and `auth` in requests.

use zkctl::wire::acl::{AclBuf, AclEntry, AclList};

pub(crate) const READ: i32 = 1;
pub(crate) const WRITE: i32 = 2;
pub(crate) const CREATE: i32 = 4;
pub(crate) const DELETE: i32 = 8;
pub(crate) const ADMIN: i32 = 16;

const INVALID_ACL: i32 = -114;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    perms: i32,
    scheme: String,
    id: String,
}

/// Who may do what. Whoever asks is a list of ids of the scheme `digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    pub(crate) fn anyone(perms: i32) -> Acl {
        Acl::of(perms, "world", "anyone")
    }

    pub(crate) fn of(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl(vec![Entry { perms, scheme: scheme.into(), id: id.into() }])
    }

    pub(crate) fn and(mut self, other: Acl) -> Acl {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn read(list: AclList<'_>) -> Acl {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Acl(list
            .entries()
            .map(|e| Entry { perms: e.perms, scheme: text(e.scheme), id: text(e.id) })
            .collect())
    }

    pub(crate) fn bytes(&self) -> AclBuf {
        let mut out = AclBuf::new();
        for Entry { perms, scheme, id } in &self.0 {
            out.push(AclEntry { perms: *perms, scheme: scheme.as_bytes(), id: id.as_bytes() });
        }
        out
    }

    /// Whether one of these permissions is given.
    pub(crate) fn allows(&self, perms: i32, who: &[String]) -> bool {
        self.0.iter().any(|e| e.perms & perms != 0 && (e.scheme == "world" || who.contains(&e.id)))
    }

    /// What a znode gets: nothing twice, and everybody that the client is in the place of `auth`.
    pub(crate) fn stored(&self, who: &[String]) -> Result<Acl, i32> {
        let mut stored = Vec::new();
        for (nth, entry) in self.0.iter().enumerate() {
            if self.0[..nth].contains(entry) {
                continue;
            }
            if entry.scheme != "auth" {
                stored.push(entry.clone());
                continue;
            }
            if who.is_empty() {
                return Err(INVALID_ACL);
            }
            let each = who.iter().map(|id| Entry { scheme: "digest".into(), id: id.clone(), ..*entry });
            stored.extend(each);
        }
        Ok(Acl(stored))
    }

    /// What getACL shows: the hashes of passwords only to those who may change it.
    pub(crate) fn shown(&self, who: &[String]) -> Acl {
        let mut shown = self.clone();
        if !self.allows(ADMIN, who) {
            for entry in shown.0.iter_mut().filter(|e| e.scheme == "digest") {
                entry.id = format!("{}:x", user(&entry.id));
            }
        }
        shown
    }
}

/// The name before the colon.
pub(crate) fn user(id: &str) -> &str {
    id.split(':').next().unwrap_or_default()
}
