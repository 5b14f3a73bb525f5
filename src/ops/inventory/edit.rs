//! Changing an inventory's text and nothing else in it: comments, order and layout stay.
//!
//! Every edit is read back and compared with what it was meant to say; where that does not come out,
//! nothing is changed and the caller is told what to write by hand.

use std::path::Path;

use thiserror::Error;

use super::ensemble::{Ensemble, Node};
use super::parse::parse;
use super::problem::InventoryProblem;
use super::spans::{self, Kind, Step, Tree};
use crate::config::Role;
use crate::ids::Sid;

/// Why an edit was not made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EditError {
    /// It could not be placed; what to write by hand.
    #[error("{file} is written in a way that cannot be edited safely; change it by hand: {by_hand}")]
    Unplaced {
        /// The inventory.
        file: String,
        /// What to write.
        by_hand: String,
    },
    /// The inventory would be wrong with it; places are those after the edit.
    #[error("{file} was not changed, since it would be wrong then:\n{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Wrong {
        /// The inventory.
        file: String,
        /// What would be wrong.
        problems: Vec<InventoryProblem>,
    },
}

/// A node to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Its name.
    pub name: String,
    /// Its id.
    pub sid: Sid,
    /// How ssh reaches it.
    pub host: String,
    /// How the others reach it, where that differs.
    pub address: Option<String>,
    /// Whether it votes.
    pub role: Role,
    /// Its client, quorum and election port, where they differ from the defaults.
    pub ports: Option<[u16; 3]>,
}

fn path(steps: &[&str], index: Option<usize>) -> Vec<Step> {
    let mut out: Vec<Step> = steps.iter().map(|s| Step::Key((*s).into())).collect();
    if let Some(index) = index {
        out.push(Step::Index(index));
    }
    out
}

/// Gives a node a role.
pub fn set_role(file: &str, text: &str, base: &Path, name: &str, role: Role) -> Result<String, EditError> {
    let by_hand = format!("`role: {role}` for node {name}");
    let refuse = || EditError::Unplaced { file: file.into(), by_hand: by_hand.clone() };
    let (before, _) = parse(file, text, base).map_err(|_| refuse())?;
    let mut wanted = before.clone();
    let index = wanted.nodes.iter().position(|n| n.name == name).ok_or_else(refuse)?;
    wanted.nodes[index].role = role;
    let edited = place_role(text, index, role).ok_or_else(refuse)?;
    let after = reread(file, &edited, base)?;
    (after == wanted).then_some(edited).ok_or_else(refuse)
}

fn place_role(text: &str, index: usize, role: Role) -> Option<String> {
    let tree = spans::parse(text)?;
    let node = tree.at(&path(&["nodes"], Some(index)))?;
    let Kind::Map { pairs, flow } = &node.kind else { return None };
    if let Some(pair) = pairs.iter().find(|p| p.key == "role") {
        let mut out = text.to_owned();
        if pair.value.span.is_empty() {
            out.insert_str(pair.key_span.end + 1, &format!(" {role}"));
        } else {
            out.replace_range(pair.value.span.clone(), role.word());
        }
        return Some(out);
    }
    let anchor = ["address", "host", "id", "name"].iter().find_map(|k| pairs.iter().find(|p| p.key == *k))?;
    let end = anchor.value.span.end;
    let mut out = text.to_owned();
    if *flow {
        out.insert_str(end, &format!(", role: {role}"));
    } else {
        let indent = " ".repeat(column(text, pairs[0].key_span.start));
        insert_line(&mut out, end, &format!("{indent}role: {role}"));
    }
    Some(out)
}

/// Adds a node at the end of the list.
pub fn add_node(file: &str, text: &str, base: &Path, new: &NewNode) -> Result<String, EditError> {
    let fields = fields(new);
    let flow: Vec<String> = fields.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    let by_hand = format!("- {{ {} }}", flow.join(", "));
    let refuse = || EditError::Unplaced { file: file.into(), by_hand: by_hand.clone() };
    let (before, _) = parse(file, text, base).map_err(|_| refuse())?;
    let edited = place_node(text, &fields, &by_hand).ok_or_else(refuse)?;
    let after = reread(file, &edited, base)?;
    let (added, kept) = after.nodes.split_last().ok_or_else(refuse)?;
    let same = kept == before.nodes && (after.name == before.name) && is_the(added, new);
    same.then_some(edited).ok_or_else(refuse)
}

fn is_the(node: &Node, new: &NewNode) -> bool {
    node.name == new.name
        && node.sid == new.sid
        && node.host == new.host
        && node.role == new.role
        && node.address == *new.address.as_ref().unwrap_or(&new.host)
}

fn fields(new: &NewNode) -> Vec<(&'static str, String)> {
    let host = |text: &str| if text.contains(':') { format!("\"{text}\"") } else { text.to_owned() };
    let mut out = vec![("name", new.name.clone()), ("id", new.sid.to_string()), ("host", host(&new.host))];
    if let Some(address) = new.address.as_ref().filter(|a| **a != new.host) {
        out.push(("address", host(address)));
    }
    if let Some([client, quorum, election]) = new.ports {
        out.push(("client_port", client.to_string()));
        out.push(("quorum_port", quorum.to_string()));
        out.push(("election_port", election.to_string()));
    }
    if new.role == Role::Observer {
        out.push(("role", new.role.to_string()));
    }
    out
}

fn place_node(text: &str, fields: &[(&str, String)], flow_item: &str) -> Option<String> {
    let tree = spans::parse(text)?;
    let nodes: &Tree = tree.at(&path(&["nodes"], None))?;
    let Kind::Seq { items, flow } = &nodes.kind else { return None };
    let last = items.last()?;
    let mut out = text.to_owned();
    if *flow {
        out.insert_str(last.span.end, &format!(", {}", flow_item.strip_prefix("- ")?));
        return Some(out);
    }
    let dash = " ".repeat(column(text, nodes.span.start));
    let item = match &last.kind {
        Kind::Map { flow: true, .. } => format!("{dash}{flow_item}"),
        _ => {
            let lines: Vec<String> = fields.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!("{dash}- {}", lines.join(&format!("\n{dash}  ")))
        }
    };
    insert_line(&mut out, last.span.end, &item);
    Some(out)
}

/// Bytes from the line's start; inventories are indented with blanks.
fn column(text: &str, at: usize) -> usize {
    at - text[..at].rfind('\n').map_or(0, |n| n + 1)
}

/// Puts a line behind the one that `at` is on.
fn insert_line(text: &mut String, at: usize, line: &str) {
    match text[at..].find('\n') {
        Some(end) => text.insert_str(at + end + 1, &format!("{line}\n")),
        None => text.push_str(&format!("\n{line}")),
    }
}

fn reread(file: &str, text: &str, base: &Path) -> Result<Ensemble, EditError> {
    let wrong = |problems| EditError::Wrong { file: file.into(), problems };
    parse(file, text, base).map(|(ensemble, _)| ensemble).map_err(wrong)
}
