//! Paths, ACL lists and who they let in, from bytes of a client.

use super::{Target, draw};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zkctl::auth::{self, AuthRules};
use zkctl::jute::{self, Reader};
use zkctl::prng::Prng;
use zkctl::tree::path;
use zkctl::wire::acl::{AclList, perms};

pub(crate) const TARGET: Target =
    Target { name: "paths_and_acls", run, sample, memory: (256, 1 << 16), runs: 60_000 };

/// A path, an ACL list, a scheme and what it asks for.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(text) = reader.string() else { return };
    check_path(text);
    let Ok(acl) = AclList::read(&mut reader) else { return };
    assert_eq!(AclList::read(&mut Reader::new(acl.raw())), Ok(acl));
    let rules = AuthRules { super_digest: Some(auth::digest_id("super:x")), ..AuthRules::default() };
    for peer in [IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let mut identities = auth::identities_of(peer);
        if let (Ok(scheme), Ok(proof)) = (reader.string(), reader.buffer()) {
            let _ = rules.add_auth(&mut identities, peer, scheme, proof.unwrap_or_default());
        }
        let _ = auth::masked(acl);
        for wanted in [perms::READ, perms::WRITE, perms::ADMIN] {
            let _ = (rules.allows(acl, wanted, &identities), auth::may_hear(&rules, acl, &identities));
        }
        if let Ok(fixed) = rules.fix_up(acl, &identities) {
            let list = fixed.list();
            assert!(!list.is_empty(), "a stored list has entries");
            // It can be stored again as it is.
            assert!(rules.fix_up(list, &identities).is_ok());
            assert_eq!(AclList::read(&mut Reader::new(list.raw())), Ok(list));
        }
    }
}

fn check_path(text: &str) {
    let valid = path::is_valid(text);
    let _ = path::is_special(text);
    if let Some((parent, name)) = path::split(text) {
        assert_eq!(format!("{parent}/{name}"), text);
        if valid && text != "/" {
            assert!(path::is_valid(path::watched_parent(text)), "{text:?}");
            assert!(!name.is_empty());
        }
    }
    assert!(!valid || text == "/" || text.split('/').skip(1).all(|n| !n.is_empty() && n != "." && n != ".."));
}

fn sample(prng: &mut Prng) -> Vec<u8> {
    let mut out = Vec::new();
    jute::put_string(&mut out, draw::path(prng));
    let entries = prng.below(4) as usize;
    jute::put_vec_len(&mut out, entries);
    for _ in 0..entries {
        jute::put_i32(&mut out, prng.below(40) as i32);
        let (scheme, id) = draw::of(
            prng,
            &[
                ("world", "anyone"),
                ("ip", "10.0.0.0/8"),
                ("ip", "::1/64"),
                ("ip", "10.0.0.1/99"),
                ("digest", "u:hash"),
                ("auth", ""),
                ("super", "x"),
                ("x509", "cn"),
            ],
        );
        jute::put_string(&mut out, scheme);
        jute::put_string(&mut out, id);
    }
    jute::put_string(&mut out, draw::of(prng, &["digest", "ip", "sasl"]));
    jute::put_buffer(&mut out, b"super:x");
    out
}
