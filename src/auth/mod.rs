//! Identities of connections, and what ACLs allow them.
//!
//! A closed set of schemes: `world` and `auth` in ACLs, `ip` and `digest` for connections, `super` from
//! `superDigest`. ACLs of schemes that are not here (sasl, x509) stay as they are and match nobody.
//! Deliberately absent: SASL and TLS exchanges, whose results will arrive as identities.

mod ip;

use crate::limits;
use crate::wire::acl::{AclBuf, AclEntry, AclList, perms};
use crate::wire::errcode::ErrorCode;
use crate::wire::quorum::AuthInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How ACLs are checked on this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRules {
    /// `DigestAuthenticationProvider.superDigest`: `super:<base64 of SHA-1>`.
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.enabled`.
    pub digest: bool,
    /// `skipACL=yes`: everybody may do everything.
    pub skip_acl: bool,
}

impl Default for AuthRules {
    fn default() -> AuthRules {
        AuthRules { super_digest: None, digest: true, skip_acl: false }
    }
}

/// The identities of a new connection: its address. The runtime hands in canonical addresses (a v4
/// address mapped into v6 as v4), as Java's are.
pub fn identities_of(peer: IpAddr) -> Vec<AuthInfo> {
    vec![AuthInfo { scheme: "ip".into(), id: ip::text(peer) }]
}

/// `user:base64(SHA-1(user:password))` of `user:password`.
pub fn digest_id(user_and_password: &str) -> String {
    let user = user_and_password.split(':').next().unwrap_or_default();
    let hash = Sha1::digest(user_and_password.as_bytes());
    format!("{user}:{}", STANDARD.encode(hash))
}

impl AuthRules {
    /// `addauth`: proves identities to a connection and adds those it does not have. `AUTHFAILED` for a
    /// scheme that nobody can prove; the connection is closed behind that answer.
    pub fn add_auth(
        &self,
        identities: &mut Vec<AuthInfo>,
        peer: IpAddr,
        scheme: &str,
        auth: &[u8],
    ) -> Result<(), ErrorCode> {
        let mut add = |scheme: &str, id: String| {
            let identity = AuthInfo { scheme: scheme.into(), id };
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        };
        match scheme {
            "ip" => add("ip", ip::text(peer)),
            "digest" if self.digest => {
                let id = digest_id(&String::from_utf8_lossy(auth));
                if self.super_digest.as_ref() == Some(&id) {
                    add("super", String::new());
                }
                add("digest", id);
            }
            _ => return Err(ErrorCode::AUTHFAILED),
        }
        Ok(())
    }

    /// Whether one of `identities` has one of the `wanted` permissions. A null or empty ACL is open.
    pub fn allows(&self, acl: AclList<'_>, wanted: i32, identities: &[AuthInfo]) -> bool {
        if self.skip_acl || acl.is_empty() || acl == AclList::OPEN {
            return true;
        }
        if identities.iter().any(|i| i.scheme == "super") {
            return true;
        }
        acl.entries().any(|entry| entry.perms & wanted != 0 && self.matches(entry, identities))
    }

    fn matches(&self, entry: AclEntry<'_>, identities: &[AuthInfo]) -> bool {
        if is_anyone(entry) {
            return true;
        }
        let of_scheme = identities.iter().filter(|i| i.scheme.as_bytes() == entry.scheme);
        match entry.scheme {
            b"ip" => of_scheme.into_iter().any(|i| ip::matches(&i.id, entry.id)),
            b"digest" if self.digest => of_scheme.into_iter().any(|i| i.id.as_bytes() == entry.id),
            _ => false,
        }
    }

    /// The ACL that a create or setACL stores: duplicates dropped, `auth` replaced by every identity that
    /// was proven. `INVALIDACL` for an empty list, an unknown scheme, a malformed id, or `auth` without
    /// such an identity.
    pub fn fix_up(&self, acl: AclList<'_>, identities: &[AuthInfo]) -> Result<FixedAcl, ErrorCode> {
        if acl == AclList::OPEN {
            return Ok(FixedAcl::Open);
        }
        if acl.is_empty() {
            return Err(ErrorCode::INVALIDACL);
        }
        let mut fixed = AclBuf::new();
        let mut seen = BTreeSet::new();
        for entry in acl.entries() {
            if !seen.insert((entry.perms, entry.scheme, entry.id)) {
                continue;
            }
            if entry.scheme == b"auth" {
                let mut proven = false;
                for identity in identities.iter().filter(|i| self.is_proof(&i.scheme)) {
                    proven = true;
                    if is_too_large(&fixed) {
                        break;
                    }
                    let (scheme, id) = (identity.scheme.as_bytes(), identity.id.as_bytes());
                    fixed.push(AclEntry { perms: entry.perms, scheme, id });
                }
                if !proven {
                    return Err(ErrorCode::INVALIDACL);
                }
            } else if is_anyone(entry) || self.is_valid(entry) {
                fixed.push(entry);
            } else {
                return Err(ErrorCode::INVALIDACL);
            }
            if is_too_large(&fixed) {
                return Err(ErrorCode::INVALIDACL);
            }
        }
        Ok(FixedAcl::Listed(fixed))
    }

    /// Whether `auth` expands to identities of this scheme: an address alone proves nothing.
    fn is_proof(&self, scheme: &str) -> bool {
        scheme == "digest" && self.digest
    }

    fn is_valid(&self, entry: AclEntry<'_>) -> bool {
        if std::str::from_utf8(entry.id).is_err() {
            return false;
        }
        match entry.scheme {
            b"ip" => ip::is_valid(entry.id),
            b"digest" => self.digest && is_valid_digest(entry.id),
            _ => false,
        }
    }
}

/// What `fix_up` yields.
#[derive(Debug)]
pub enum FixedAcl {
    /// `world:anyone`, all permissions: by far the most common, and not copied.
    Open,
    /// Any other list.
    Listed(AclBuf),
}

impl FixedAcl {
    /// The list.
    pub fn list(&self) -> AclList<'_> {
        match self {
            FixedAcl::Open => AclList::OPEN,
            FixedAcl::Listed(list) => list.list(),
        }
    }
}

fn is_too_large(list: &AclBuf) -> bool {
    list.count() > limits::ACL_ENTRIES_MAX || list.list().raw().len() > limits::ACL_BYTES_MAX
}

fn is_anyone(entry: AclEntry<'_>) -> bool {
    entry.scheme == b"world" && entry.id == b"anyone"
}

/// Two parts, as Java's `split(":")` counts them: empty ones at the end do not count.
fn is_valid_digest(id: &[u8]) -> bool {
    let end = id.iter().rposition(|&b| b != b':').map_or(0, |at| at + 1);
    id[..end].iter().filter(|&&b| b == b':').count() == 1
}

/// An ACL as getACL shows it to who has no ADMIN permission: hashes of passwords are masked.
pub fn masked(acl: AclList<'_>) -> AclBuf {
    let mut out = AclBuf::new();
    for entry in acl.entries() {
        let colon = entry.id.iter().position(|&b| b == b':');
        match colon {
            Some(colon) if entry.scheme == b"digest" => {
                let id = [&entry.id[..colon], b":x"].concat();
                out.push(AclEntry { id: &id, ..entry });
            }
            _ => out.push(entry),
        }
    }
    out
}

/// The user of an identity as whoAmI shows it.
pub fn user_of(identity: &AuthInfo) -> &str {
    match identity.scheme.as_str() {
        "digest" => identity.id.split(':').next().unwrap_or_default(),
        "ip" => &identity.id,
        _ => "",
    }
}

/// Whether an ACL gives `perms::READ` to who would be told of an event; see `tree::Trigger`.
pub fn may_hear(rules: &AuthRules, acl: AclList<'_>, identities: &[AuthInfo]) -> bool {
    rules.allows(acl, perms::READ, identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn list(entries: &[(i32, &str, &str)]) -> AclBuf {
        let mut buf = AclBuf::new();
        for &(perms, scheme, id) in entries {
            buf.push(AclEntry { perms, scheme: scheme.as_bytes(), id: id.as_bytes() });
        }
        buf
    }

    #[test]
    fn digests_are_the_originals() {
        // From the administrator's guide.
        assert_eq!(digest_id("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(digest_id("user"), format!("user:{}", STANDARD.encode(Sha1::digest(b"user"))));
    }

    #[test]
    fn super_and_others() {
        let rules = AuthRules { super_digest: Some(digest_id("super:s3")), ..AuthRules::default() };
        let mut ids = identities_of(PEER);
        let acl = list(&[(perms::READ, "digest", &digest_id("a:b")), (perms::WRITE, "ip", "10.0.0.0/8")]);
        assert!(!rules.allows(acl.list(), perms::READ, &ids));
        assert!(rules.allows(acl.list(), perms::WRITE, &ids));
        rules.add_auth(&mut ids, PEER, "digest", b"a:b").unwrap();
        rules.add_auth(&mut ids, PEER, "digest", b"a:b").unwrap();
        assert_eq!(ids.len(), 2);
        assert!(rules.allows(acl.list(), perms::READ, &ids));
        assert!(!rules.allows(acl.list(), perms::ADMIN, &ids));
        rules.add_auth(&mut ids, PEER, "digest", b"super:s3").unwrap();
        assert!(rules.allows(acl.list(), perms::ADMIN, &ids));
        assert!(rules.allows(AclList::CLOSED, perms::ADMIN, &ids));
        assert_eq!(rules.add_auth(&mut ids, PEER, "world", b"anyone"), Err(ErrorCode::AUTHFAILED));
        assert_eq!(ids.iter().map(user_of).collect::<Vec<_>>(), ["10.1.2.3", "a", "", "super"]);
    }

    #[test]
    fn acls_are_fixed_up() {
        let rules = AuthRules::default();
        let mut ids = identities_of(PEER);
        let auth = list(&[(31, "auth", "")]);
        assert_eq!(rules.fix_up(auth.list(), &ids).err(), Some(ErrorCode::INVALIDACL));
        rules.add_auth(&mut ids, PEER, "digest", b"a:b").unwrap();
        let fixed = rules.fix_up(auth.list(), &ids).unwrap();
        assert_eq!(fixed.list(), list(&[(31, "digest", &digest_id("a:b"))]).list());

        let doubled = list(&[(1, "world", "anyone"), (31, "ip", "1.2.3.4"), (1, "world", "anyone")]);
        let fixed = rules.fix_up(doubled.list(), &ids).unwrap();
        assert_eq!(fixed.list().entries().count(), 2);
        for bad in [("world", "all"), ("ip", "1.2.3"), ("digest", "a"), ("sasl", "x"), ("", "")] {
            let acl = list(&[(31, bad.0, bad.1)]);
            assert_eq!(rules.fix_up(acl.list(), &ids).err(), Some(ErrorCode::INVALIDACL), "{bad:?}");
        }
        assert!(rules.fix_up(AclList::NULL, &ids).is_err());
    }

    #[test]
    fn digest_ids_have_two_parts() {
        for (id, valid) in [("a:b", true), ("a:", false), (":b", true), ("a:b:", true), ("a:b:c", false)] {
            assert_eq!(is_valid_digest(id.as_bytes()), valid, "{id}");
        }
    }

    #[test]
    fn hashes_are_masked() {
        let acl = list(&[(31, "digest", "u:secret"), (1, "ip", "::1")]);
        let shown = masked(acl.list());
        assert_eq!(shown.list(), list(&[(31, "digest", "u:x"), (1, "ip", "::1")]).list());
    }
}
