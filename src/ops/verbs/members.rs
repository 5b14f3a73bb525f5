//! Changing who votes: `add-observer` (convert, or a new node) and `promote`.

use super::converge::{Change, ConvergeOptions, Outcome, converge};
use super::{Context, no_such_node};
use crate::config::Role;
use crate::ids::Sid;
use crate::ops::event::Event;
use crate::ops::failure::{Failure, exit};
use crate::ops::host::Mode;
use crate::ops::inventory::{Connection, Inventory, NewNode, add_node, base_of, parse, set_role};
use crate::ops::plan::member_list;
use crate::ops::status::NodeState;

/// What `add-observer` is told.
#[derive(Clone, Debug, Default)]
pub struct AddObserver {
    /// The node: an existing one is converted, a new one added.
    pub name: String,
    /// A new node's host.
    pub host: Option<String>,
    /// A new node's address, where it differs from its host.
    pub address: Option<String>,
    /// A new node's id; the next free one when absent.
    pub id: Option<i64>,
    /// A new node's client, quorum and election port.
    pub ports: Option<[u16; 3]>,
}

/// `add-observer`.
pub async fn add_observer(
    context: &Context,
    options: &ConvergeOptions,
    wanted: &AddObserver,
) -> Result<Outcome, Failure> {
    let (path, inventory) = context.load()?;
    let file = path.display().to_string();
    let base = base_of(&path).map_err(|e| Failure::new(exit::USAGE, format!("{file}: {e}")))?;
    let existing = inventory.ensemble.node(&wanted.name).cloned();
    let unplaced = |e: crate::ops::inventory::EditError| Failure::new(exit::INVALID, e.to_string());
    let (text, question) = match (&existing, &wanted.host) {
        (Some(node), Some(host)) if node.host != *host => {
            let what = format!("{} exists already, on {}; a node does not move", node.name, node.host);
            return Err(Failure::new(exit::USAGE, what).next("choose another name for a new node"));
        }
        (Some(node), _) if node.role == Role::Observer => {
            context
                .reporter
                .report(&Event::Note(format!("{} is an observer in the inventory already", node.name)));
            (None, format!("Complete the conversion of {}?", node.name))
        }
        (Some(node), _) => {
            let text =
                set_role(&file, &inventory.text, &base, &node.name, Role::Observer).map_err(unplaced)?;
            (Some(text), format!("Convert {} to an observer?", node.name))
        }
        (None, None) => return Err(unknown(&inventory, &wanted.name)),
        (None, Some(host)) => {
            let new = new_node(&inventory, wanted, host)?;
            let text = add_node(&file, &inventory.text, &base, &new).map_err(unplaced)?;
            (Some(text), format!("Add {} on {host} as an observer?", wanted.name))
        }
    };
    let change = change("add-observer", path, &file, &base, inventory, text, question)?;
    if existing.is_some() {
        offer_new_node(context, &change);
    }
    let outcome = converge(context, options, change).await?;
    verify(&outcome, &wanted.name, Mode::Observer)?;
    Ok(outcome)
}

/// `promote`.
pub async fn promote(context: &Context, options: &ConvergeOptions, name: &str) -> Result<Outcome, Failure> {
    let (path, inventory) = context.load()?;
    let file = path.display().to_string();
    let base = base_of(&path).map_err(|e| Failure::new(exit::USAGE, format!("{file}: {e}")))?;
    let Some(node) = inventory.ensemble.node(name).cloned() else {
        return Err(no_such_node(&inventory.ensemble, name));
    };
    let (text, question) = if node.role == Role::Participant {
        context.reporter.report(&Event::Note(format!("{name} is a voter in the inventory already")));
        (None, format!("Complete the promotion of {name}?"))
    } else {
        let text = set_role(&file, &inventory.text, &base, name, Role::Participant)
            .map_err(|e| Failure::new(exit::INVALID, e.to_string()))?;
        (Some(text), format!("Promote {name} to a voter?"))
    };
    let change = change("promote", path, &file, &base, inventory, text, question)?;
    let outcome = converge(context, options, change).await?;
    verify(&outcome, name, Mode::Follower)?;
    Ok(outcome)
}

fn unknown(inventory: &Inventory, name: &str) -> Failure {
    let mut failure = no_such_node(&inventory.ensemble, name);
    let new = format!("; to add it: zkctl add-observer {name} --host HOST");
    failure.next.get_or_insert_default().push_str(&new);
    failure
}

fn new_node(inventory: &Inventory, wanted: &AddObserver, host: &str) -> Result<NewNode, Failure> {
    let ids: Vec<i64> = inventory.ensemble.nodes.iter().map(|n| n.sid.0).collect();
    // The number at the name's end where it is free, else the next above all: ids are never reused.
    let digits: String = wanted.name.chars().rev().take_while(char::is_ascii_digit).collect();
    let of_name = digits.chars().rev().collect::<String>().parse::<i64>().ok();
    let free = |id: &i64| (1..=255).contains(id) && !ids.contains(id);
    let above = ids.iter().max().map_or(1, |id| id + 1);
    let id = wanted.id.or(of_name.filter(free)).unwrap_or(above);
    if !free(&id) {
        let what = format!("id {id} is not free; ids are unique numbers from 1 to 255");
        return Err(Failure::new(exit::USAGE, what));
    }
    let local = inventory.ensemble.connection == Connection::Local;
    // On one machine the ports must differ: a hundred further for each server, as the article has it.
    let ports = wanted.ports.or_else(|| {
        let last = inventory.ensemble.nodes.iter().map(|n| n.client_port).max()?;
        (local && last < 65_000).then_some([last + 100, last + 101, last + 102])
    });
    Ok(NewNode {
        name: wanted.name.clone(),
        sid: Sid(id),
        host: host.to_owned(),
        address: wanted.address.clone(),
        role: Role::Observer,
        ports,
    })
}

/// The change as the inventory will say it.
fn change(
    verb: &'static str,
    path: std::path::PathBuf,
    file: &str,
    base: &std::path::Path,
    inventory: Inventory,
    text: Option<String>,
    question: String,
) -> Result<Change, Failure> {
    let before = text.is_some().then(|| inventory.text.clone());
    let inventory = match text {
        None => inventory,
        Some(text) => {
            let (ensemble, warnings) = parse(file, &text, base).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Failure::new(exit::INVALID, lines.join("\n"))
            })?;
            Inventory { ensemble, text, warnings }
        }
    };
    Ok(Change { verb, path, inventory, before, question: Some(question) })
}

/// When a conversion leaves no tolerance at all, the better way is said before anything is asked.
fn offer_new_node(context: &Context, change: &Change) {
    let ensemble = &change.inventory.ensemble;
    let list = member_list(ensemble);
    if list.voters().count() > list.majority() {
        return;
    }
    let next = ensemble.nodes.iter().map(|n| n.sid.0).max().unwrap_or(0) + 1;
    let voters = match list.voters().count() {
        1 => "1 voter".to_owned(),
        n => format!("{n} voters"),
    };
    context.reporter.report(&Event::Warning(format!(
        "with {voters} left, no failure is tolerated any more.\nTo serve more clients without that, add a new node \
         instead:\n  zkctl add-observer zk{next} --host HOST"
    )));
}

/// What was asked for must be so: the node's own word for what it is, and writes acknowledged.
fn verify(outcome: &Outcome, name: &str, mode: Mode) -> Result<(), Failure> {
    let Some(status) = &outcome.status else { return Ok(()) };
    let Some(row) = status.nodes.iter().find(|r| r.node == name) else { return Ok(()) };
    let is = row.mode.as_deref().unwrap_or("");
    let right = match mode {
        Mode::Observer => is == "observer",
        _ => matches!(is, "leader" | "follower"),
    };
    if right && row.state == NodeState::Serving && row.writes == Some(true) {
        return Ok(());
    }
    let what = format!("{name} is {} and {} instead of serving as {}", row.state.word(), is, mode.text());
    let mut failure = Failure::new(exit::FAILED, what);
    failure.state = Some(status.summary.clone());
    Err(failure.next("run the same command again; it goes on from here"))
}
