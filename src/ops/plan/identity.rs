//! What must not change silently: a deployed node's id, address and data paths, and who is a member.

use std::collections::BTreeMap;

use super::{Goal, Refusal};
use crate::config::{Draft, Member, MemberList, MyId, ServerConfig};
use crate::ids::Sid;
use crate::ops::inventory::Node;
use crate::ops::remote::NodeView;

/// Everything of that kind that the goal would change and nobody has allowed.
pub(super) fn refusals(goal: &Goal, views: &[NodeView]) -> Vec<Refusal> {
    let mut out = Vec::new();
    let mut refuse = |message: String| out.push(Refusal { exit: 1, message });
    for view in views {
        let (node, Ok(facts)) = (&view.node, &view.facts) else { continue };
        if let Some(found) = facts.my_id.as_deref().map(str::trim)
            && found != node.sid.to_string()
        {
            refuse(format!(
                "{}: {} holds id {found}, the inventory says {}; an id never changes: correct the inventory, or use \
                 another directory",
                node.name,
                node.paths.my_id(),
                node.sid
            ));
        }
        if let Some(config) = deployed(facts.zoo_cfg.as_deref()) {
            paths(goal, node, &config, &mut refuse);
        }
    }
    let members = known_members(views);
    for (sid, (member, live)) in &members {
        match goal.ensemble.node_of(*sid) {
            None if *live && !goal.permits.forget.contains(sid) => refuse(format!(
                "server {sid} ({}) is a member of the running ensemble, but not in the inventory; add it, or leave it \
                 out for good with --forget {sid}",
                member.address().host
            )),
            None => {}
            Some(node) => address(goal, node, member, *live, views, &mut refuse),
        }
    }
    out
}

fn deployed(zoo_cfg: Option<&str>) -> Option<ServerConfig> {
    Draft::read("zoo.cfg", zoo_cfg?, &[]).finish(MyId::Unchecked, None).ok().map(|(config, _)| config)
}

fn allowed(goal: &Goal, node: &Node) -> bool {
    goal.permits.moves.contains(&node.name)
}

fn paths(goal: &Goal, node: &Node, config: &ServerConfig, refuse: &mut impl FnMut(String)) {
    for (what, old, new) in
        [("data", &config.data_dir, &node.paths.data), ("txn log", &config.data_log_dir, &node.paths.txlog)]
    {
        if old != new && !allowed(goal, node) {
            refuse(format!(
                "{}: its {what} directory would change from {old} to {new}, and what is in {old} would stay behind; \
                 move it first and say --allow-move {}, or correct the inventory",
                node.name, node.name
            ));
        }
    }
}

/// Every member that a deployed or running server knows, and whether a running one does.
fn known_members(views: &[NodeView]) -> BTreeMap<Sid, (Member, bool)> {
    let mut out: BTreeMap<Sid, (Member, bool)> = BTreeMap::new();
    for facts in views.iter().filter_map(|v| v.facts.as_ref().ok()) {
        if let Some(config) = deployed(facts.zoo_cfg.as_deref()) {
            for member in config.members.members {
                out.entry(member.sid).or_insert((member, false));
            }
        }
    }
    for facts in views.iter().filter_map(|v| v.facts.as_ref().ok()) {
        let Some(process) = &facts.process else { continue };
        let Ok(list) = MemberList::from_dynamic_text("members", &process.members) else { continue };
        for member in list.members {
            out.insert(member.sid, (member, true));
        }
    }
    out
}

fn address(
    goal: &Goal,
    node: &Node,
    member: &Member,
    live: bool,
    views: &[NodeView],
    refuse: &mut impl FnMut(String),
) {
    if allowed(goal, node) {
        return;
    }
    let facts = views.iter().find(|v| v.node.name == node.name).and_then(|v| v.facts.as_ref().ok());
    let Some(facts) = facts else { return };
    let here = facts.zoo_cfg.is_some() || facts.has_data;
    let (old, new) = (&member.address().host, &node.address);
    let name = &node.name;
    if old != new && here {
        refuse(format!(
            "{name}: its address would change from {old} to {new}. Its data is on this host, so only the way to it \
             changes; if that is meant, say --allow-move {name}"
        ));
    } else if old != new {
        refuse(format!(
            "{name} would move from {old} to {new}: a new, empty server under the old id {}. Its data stays behind on \
             {old}; stop the server there first. If that is meant, say --allow-move {name}",
            node.sid
        ));
    } else if live && !here {
        refuse(format!(
            "{name} is a member of the running ensemble, but {} on {} is empty: it was renamed, its path changed, or \
             its disk was wiped. If it is to start again with nothing, say --allow-move {name}",
            node.paths.dir, node.host
        ));
    }
}
