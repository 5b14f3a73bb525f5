//! What must hold between the nodes of an inventory: nothing is used twice, somebody votes.

use std::collections::BTreeMap;

use super::ensemble::{Connection, Ensemble, Node};
use super::spans::Step;
use super::walk::At;
use crate::config::is_loopback;

/// Checks the nodes against each other; findings go to the document.
pub(super) fn check(top: &At<'_>, ensemble: &Ensemble) {
    let place = |index: usize, key: &str| At {
        document: top.document,
        value: top.value,
        path: vec![Step::Key("nodes".into()), Step::Index(index), Step::Key(key.into())],
    };
    let node_place = |index: usize, key: &str| {
        let at = place(index, key);
        let said = at.document.tree.as_ref().is_some_and(|t| t.at(&at.path).is_some());
        if said { at } else { At { path: at.path[..2].to_vec(), ..at } }
    };
    unique(
        ensemble,
        |n| n.name.clone(),
        |i, other| {
            let message = format!("`{other}` is also the name of an earlier node");
            node_place(i, "name").problem(message, Some("give each node its own name".into()));
        },
    );
    unique(
        ensemble,
        |n| n.sid.to_string(),
        |i, other| {
            let help = "ids are unique, and never change once a node is deployed";
            node_place(i, "id").problem(format!("id {other} is used by an earlier node"), Some(help.into()));
        },
    );
    unique(
        ensemble,
        |n| format!("{} on {}", n.paths.dir, n.host),
        |i, other| {
            let help = Some("give each node its own directory".into());
            node_place(i, "name").problem(format!("{other} is also the directory of an earlier node"), help);
        },
    );
    unique(
        ensemble,
        |n| format!("{}:{}", n.address, n.quorum_port),
        |i, other| {
            let help = Some("another address, or other ports on the same one".into());
            node_place(i, "address")
                .problem(format!("{other} is also an earlier node's quorum address"), help);
        },
    );
    ports(ensemble, &node_place);
    loopback(ensemble, &node_place);
    votes(top, ensemble);
}

fn unique(ensemble: &Ensemble, of: impl Fn(&Node) -> String, mut clash: impl FnMut(usize, &str)) {
    let mut seen = Vec::new();
    for (i, node) in ensemble.nodes.iter().enumerate() {
        let value = of(node);
        if seen.contains(&value) {
            clash(i, &value);
        }
        seen.push(value);
    }
}

/// No port twice on one host, whichever way it is named.
fn ports<'a>(ensemble: &Ensemble, place: &impl Fn(usize, &str) -> At<'a>) {
    let mut taken: BTreeMap<(&str, u16), String> = BTreeMap::new();
    for (i, node) in ensemble.nodes.iter().enumerate() {
        for (key, port) in [
            ("client_port", node.client_port),
            ("quorum_port", node.quorum_port),
            ("election_port", node.election_port),
        ] {
            let this = format!("the {} of {}", key.replace('_', " "), node.name);
            if let Some(other) = taken.insert((&node.host, port), this.clone()) {
                // The same quorum address has been reported already.
                if other.starts_with("the quorum port") && key == "quorum_port" {
                    continue;
                }
                let message = format!("port {port} on {} is {other} and {this}", node.host);
                place(i, key).problem(message, Some("give each listener on a host its own port".into()));
            }
        }
    }
}

/// A loopback address among others reaches nobody.
fn loopback<'a>(ensemble: &Ensemble, place: &impl Fn(usize, &str) -> At<'a>) {
    let near = ensemble.nodes.iter().filter(|n| is_loopback(&n.address)).count();
    if near == 0 || near == ensemble.nodes.len() {
        return;
    }
    for (i, node) in ensemble.nodes.iter().enumerate().filter(|(_, n)| is_loopback(&n.address)) {
        place(i, "address").problem(
            format!("`{}` is this machine only, while other nodes are elsewhere", node.address),
            Some("write the address that the other hosts use".into()),
        );
    }
}

fn votes(top: &At<'_>, ensemble: &Ensemble) {
    let voters = ensemble.voters().count();
    let observers = ensemble.nodes.len() - voters;
    let at = top.get("nodes").unwrap_or_else(|| top.clone());
    match voters {
        0 => at.problem("nobody votes", Some("at least one node must not be an observer".into())),
        1 if observers > 0 => {
            at.problem(
                "one voter alone cannot have observers",
                Some("add voters; three tolerate a failure".into()),
            );
        }
        1 => {}
        2 => at.warning("two voters tolerate no failure", Some("three tolerate one".into())),
        n if n % 2 == 0 => {
            let message = format!("{n} voters tolerate no more failures than {}", n - 1);
            at.warning(message, Some("an odd number of voters is better".into()));
        }
        _ => {}
    }
    if ensemble.connection == Connection::Ssh && ensemble.nodes.iter().all(|n| is_loopback(&n.host)) {
        at.warning(
            "every host is this machine, reached over ssh",
            Some("`connection: local` needs no ssh".into()),
        );
    }
}
