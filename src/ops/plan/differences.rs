//! What differs between a node and the goal.

use serde::Serialize;
use similar::TextDiff;

use super::{Goal, under_systemd};
use crate::ops::host::protocol::{NodeFacts, NodeSpec};
use crate::ops::host::sha256;
use crate::ops::remote::NodeView;

/// What a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    None,
    /// Files, but no restart.
    Configure {
        /// Why.
        why: Vec<String>,
    },
    /// To be started.
    Start {
        /// Why.
        why: Vec<String>,
    },
    /// To be restarted.
    Restart {
        /// Why.
        why: Vec<String>,
    },
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Whether it is not there yet.
    pub new: bool,
    /// A unified diff.
    pub diff: String,
}

/// What differs on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodePlan {
    /// The node.
    pub node: String,
    /// Whether the program must be sent.
    pub upload: bool,
    /// The release in use, if another than the goal's.
    pub replaces: Option<String>,
    /// Files that differ.
    pub files: Vec<FileChange>,
    /// What is to be done.
    #[serde(flatten)]
    pub action: Action,
}

/// What differs; `None` when nothing is known of the node.
pub(super) fn of(goal: &Goal, view: &NodeView) -> Option<NodePlan> {
    let facts = view.facts.as_ref().ok()?;
    let files = goal.files.get(&view.node.name)?;
    let paths = &view.node.paths;
    let mut changes = Vec::new();
    changes.extend(change(&paths.zoo_cfg(), facts.zoo_cfg.as_deref(), &files.zoo_cfg));
    let same_id = facts.my_id.as_deref().is_some_and(|id| id.trim() == files.my_id.trim());
    if !same_id {
        changes.extend(change(&paths.my_id(), facts.my_id.as_deref(), &files.my_id));
    }
    let systemd = under_systemd(view);
    if systemd {
        changes.extend(change(&view.node.unit(&goal.ensemble.name), facts.unit.as_deref(), &files.unit));
    }
    let spec = NodeSpec::of(&goal.ensemble, &view.node);
    // Releases before this file did not leave it; whatever makes a new one the node's writes it.
    if facts.node_file.is_some() {
        changes.extend(change(&spec.node_file(), facts.node_file.as_deref(), &spec.to_node_file(systemd)));
    }
    let upload = !facts.releases.contains(&goal.release);
    let replaces = facts.release.clone().filter(|r| *r != goal.release);
    let kept = NodeSpec { systemd: Some(systemd), ..spec };
    let action = action(goal, facts, &changes, &files.zoo_cfg, &kept);
    Some(NodePlan { node: view.node.name.clone(), upload, replaces, files: changes, action })
}

fn action(goal: &Goal, facts: &NodeFacts, changes: &[FileChange], zoo_cfg: &str, kept: &NodeSpec) -> Action {
    let Some(process) = &facts.process else {
        let why = if facts.zoo_cfg.is_none() { "it is new" } else { "it does not run" };
        return Action::Start { why: vec![why.into()] };
    };
    let mut why = Vec::new();
    let other_config = process.config_sha256 != sha256(zoo_cfg.as_bytes());
    if other_config && changes.iter().any(|c| c.path.ends_with("/zoo.cfg")) {
        why.push("zoo.cfg changes".into());
    } else if other_config {
        why.push("it runs with an older zoo.cfg".into());
    }
    if process.release.as_deref() != Some(&goal.release) {
        why.push(format!("release {}", goal.release));
    }
    if changes.iter().any(|c| c.path.ends_with(".service") && !c.new) {
        why.push("its unit changes".into());
    }
    let before = facts.node_file.as_deref().and_then(NodeSpec::from_node_file);
    if why.is_empty() && before.is_some_and(|before| !before.is_kept_as(kept)) {
        why.push("its user, logs or unit change".into());
    }
    if !why.is_empty() {
        return Action::Restart { why };
    }
    let quiet: Vec<String> = changes.iter().map(|c| format!("{} differs", c.path)).collect();
    let unlinked = facts.release.as_deref() != Some(&goal.release);
    match (quiet.is_empty(), unlinked) {
        (true, false) => Action::None,
        (true, true) => Action::Configure { why: vec!["bin leads to another release".into()] },
        _ => Action::Configure { why: quiet },
    }
}

fn change(path: &str, old: Option<&str>, new: &str) -> Option<FileChange> {
    if old == Some(new) {
        return None;
    }
    let before = old.unwrap_or("");
    let from = if old.is_none() { "/dev/null" } else { path };
    let diff = TextDiff::from_lines(before, new).unified_diff().header(from, path).to_string();
    Some(FileChange { path: path.into(), new: old.is_none(), diff })
}
