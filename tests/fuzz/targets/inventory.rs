//! Inventories: reading never panics, problems have words, and what an edit writes can be read.

use super::{Target, draw};
use std::path::Path;
use zkctl::config::Role;
use zkctl::ids::Sid;
use zkctl::ops::inventory::{self, EditError, NewNode};
use zkctl::prng::Prng;

/// YAML's values are trees of strings; aliases may repeat them, within the parser's own bound.
pub(crate) const TARGET: Target =
    Target { name: "inventory", run, sample, memory: (1 << 15, 1 << 20), runs: 3000 };

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let base = Path::new("/base");
    let ensemble = match inventory::parse("x.yaml", text, base) {
        Ok((ensemble, _)) => ensemble,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|p| !p.to_string().is_empty()));
            return;
        }
    };
    for node in &ensemble.nodes {
        let role = if node.role == Role::Observer { Role::Participant } else { Role::Observer };
        check(inventory::set_role("x.yaml", text, base, &node.name, role), base);
    }
    let new = NewNode {
        name: "zk99".into(),
        sid: Sid(99),
        host: "zk99.example".into(),
        address: None,
        role: Role::Participant,
        ports: None,
    };
    check(inventory::add_node("x.yaml", text, base, &new), base);
}

fn check(edited: Result<String, EditError>, base: &Path) {
    match edited {
        Ok(text) => {
            let again = inventory::parse("x.yaml", &text, base);
            assert!(again.is_ok(), "{text:?}: {again:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

const BOMB: &str = "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e]\n";

fn sample(prng: &mut Prng) -> Vec<u8> {
    if prng.chance(1, 20) {
        return BOMB.as_bytes().to_vec();
    }
    let mut out = String::from("# an ensemble\nversion: 1\ncluster: test\n");
    out.push_str(draw::of(
        prng,
        &["", "connection: local\n", "ssh:\n  user: zk\n  port: 2222\n", "config:\n  tickTime: 2000\n"],
    ));
    out.push_str("nodes:\n");
    for n in 1..=prng.between(1, 4) {
        out.push_str(&match prng.below(4) {
            0 => format!("  - {{name: zk{n}, id: {n}, host: h{n}}}\n"),
            1 => format!("  - name: zk{n}\n    id: {n}\n    host: h{n} # here\n    role: observer\n"),
            2 => format!("  - name: \"zk{n}\"\n    id: {n}\n    host: 'h{n}'\n    address: 10.0.0.{n}\n"),
            _ => format!("  -\n    name: zk{n}\n    id: {n}\n    host: h{n}\n    client_port: 218{n}\n"),
        });
    }
    out.into_bytes()
}
