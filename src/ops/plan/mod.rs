//! From facts and inventory to what is to be done: pure, and shown before anything happens.
//!
//! | file | owns |
//! |---|---|
//! | `order` | the order of restarts and what each costs |
//! | `identity` | what must not change silently: ids, addresses, data paths, members |
//! | `differences` | what differs per node, as file diffs and reasons |
//! | `control` | what `start`, `stop` and `restart` do |
//! | here | the steps |
//!
//! Deliberately absent: doing any of it.

mod control;
mod differences;
mod identity;
pub mod order;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use control::{ControlPlan, ControlStep, Verb, control_order, control_plan};
pub use differences::{Action, FileChange, NodePlan};
use order::{Cost, Order, Standing, Standings, Strategy};

use super::host::Mode;
use super::host::protocol::{Answer, NodeFacts};
use super::inventory::{Ensemble, Manager, Node, Scope};
use super::remote::NodeView;
use super::render::Rendered;
use crate::config::MemberList;
use crate::ids::Sid;

/// What is to be true in the end.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The ensemble as the inventory has it, or will have it.
    pub ensemble: Ensemble,
    /// The release every node is to run.
    pub release: String,
    /// The program's size.
    pub release_bytes: u64,
    /// The program's machine kind.
    pub arch: String,
    /// The files of each node, by name.
    pub files: BTreeMap<String, Rendered>,
    /// What the operator has allowed by name.
    pub permits: Permits,
}

/// What is never done silently, allowed by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// Nodes whose address or data path may change.
    pub moves: Vec<String>,
    /// Ids of live members that may be left out.
    pub forget: Vec<Sid>,
}

/// Why a plan must not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The exit code that belongs to it.
    pub exit: u8,
    /// What is in the way, and the way out.
    pub message: String,
}

/// One named, repeatable step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Send the program, to all at once.
    Upload {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Write files; nothing is restarted.
    Configure {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Configure and start (or restart) all at once, since nothing is served now.
    StartTogether {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Configure and start one.
    Start {
        /// The node.
        node: String,
    },
    /// Configure and restart one.
    Restart {
        /// The node.
        node: String,
        /// What it does to the service.
        cost: String,
        /// Whether writes stop while it is down.
        gap: bool,
    },
}

impl Step {
    fn kind(&self) -> (&'static str, Vec<String>) {
        match self {
            Step::Upload { nodes } => ("upload", nodes.clone()),
            Step::Configure { nodes } => ("configure", nodes.clone()),
            Step::StartTogether { nodes } => ("together", nodes.clone()),
            Step::Start { node } => ("start", vec![node.clone()]),
            Step::Restart { node, .. } => ("restart", vec![node.clone()]),
        }
    }
}

/// What is to be done, and why, and what it does to the service.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What differs, per node, in the inventory's order.
    pub nodes: Vec<NodePlan>,
    /// What will be done, in order.
    pub steps: Vec<Step>,
    /// What the operator should know before agreeing.
    pub notes: Vec<String>,
    /// Why it must not run.
    pub refusals: Vec<Refusal>,
    /// Whether this is the ensemble's first start ever.
    pub initialize: bool,
    /// The order of single restarts.
    #[serde(skip)]
    pub order: Order,
}

impl Plan {
    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether whoever agreed to `self` has agreed to `now` too: the same differences, and the same kinds of steps
    /// for the same nodes. Who leads may differ, and with it the order of single restarts.
    pub fn covers(&self, now: &Plan) -> bool {
        let kinds = |plan: &Plan| -> Vec<(&'static str, Vec<String>)> {
            let mut out: Vec<_> = plan.steps.iter().map(Step::kind).collect();
            out.sort();
            out
        };
        self.nodes == now.nodes
            && self.refusals == now.refusals
            && self.has_gap() == now.has_gap()
            && kinds(self) == kinds(now)
    }

    /// Whether writes will stop at some moment.
    pub fn has_gap(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Restart { gap: true, .. }))
    }
}

/// The member list of an ensemble.
pub fn member_list(ensemble: &Ensemble) -> MemberList {
    let mut members: Vec<_> = ensemble.nodes.iter().map(Node::member).collect();
    members.sort_by_key(|m| m.sid);
    MemberList { members, version: 0 }
}

/// What the running servers say of themselves.
pub fn standings(views: &[NodeView]) -> Standings {
    Standings::new(views.iter().filter_map(|view| {
        let facts = view.facts.as_ref().ok()?;
        let process = facts.process.as_ref()?;
        let list = MemberList::from_dynamic_text("members", &process.members).ok()?;
        let mode = match &facts.answer {
            Answer::Serving(srvr) => Some(srvr.mode),
            _ => None,
        };
        let leads = matches!(mode, Some(Mode::Leader | Mode::Standalone));
        Some((view.node.sid, Standing { list, established: mode.is_some(), leads }))
    }))
}

/// Whether any node has acknowledged a write just now.
pub fn serves_writes(views: &[NodeView]) -> bool {
    views.iter().any(|v| v.facts.as_ref().is_ok_and(|f| matches!(f.session, Some(Ok(_)))))
}

/// Whether there is a leader as far as can be seen: a write was acknowledged, or a server says that it leads or
/// follows. One session that does not open in time is no proof that nothing is served.
pub fn is_led(views: &[NodeView]) -> bool {
    let says = |f: &NodeFacts| matches!(&f.answer, Answer::Serving(srvr) if srvr.mode != Mode::ReadOnly);
    serves_writes(views) || views.iter().any(|v| v.facts.as_ref().is_ok_and(says))
}

/// Whether enough voters run to serve writes, and none was acknowledged: worth asking again.
pub fn is_doubtful(ensemble: &Ensemble, views: &[NodeView]) -> bool {
    let runs = |v: &&NodeView| v.facts.as_ref().is_ok_and(|f| f.process.is_some());
    let list = member_list(ensemble);
    let votes = |v: &&NodeView| list.get(v.node.sid).is_some_and(|m| m.votes());
    !serves_writes(views) && views.iter().filter(runs).filter(votes).count() >= list.majority()
}

/// Whether a node's process is kept by systemd.
pub fn under_systemd(view: &NodeView) -> bool {
    match view.node.service.manager {
        Manager::Systemd => true,
        Manager::Process => false,
        Manager::Auto => view.systemd,
    }
}

/// How many voters there are, what a majority is, what may fail.
pub fn arithmetic(list: &MemberList) -> String {
    let voters = list.voters().count();
    let observers = list.observers().count();
    let tolerated = voters.saturating_sub(list.majority());
    let failures = match tolerated {
        0 => "no failure is tolerated".to_owned(),
        1 => "1 failure is tolerated".to_owned(),
        n => format!("{n} failures are tolerated"),
    };
    let of = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let observing = if observers > 0 { format!(" and {}", of(observers, "observer")) } else { String::new() };
    format!("{}{observing}: a majority is {}, {failures}", of(voters, "voter"), list.majority())
}

/// Makes the plan.
pub fn plan(goal: &Goal, views: &[NodeView]) -> Plan {
    let mut refusals = unreachable(views);
    refusals.extend(identity::refusals(goal, views));
    let nodes: Vec<NodePlan> = views.iter().filter_map(|view| differences::of(goal, view)).collect();
    refusals.extend(views.iter().flat_map(|view| preflight(goal, view, &nodes)));
    let initialize = refusals.is_empty() && views.iter().all(|v| v.facts.as_ref().is_ok_and(|f| !f.has_data));
    let order = Order::new(&standings(views), &member_list(&goal.ensemble), Strategy::LeaderLast, true);
    let mut plan = Plan { nodes, steps: Vec::new(), notes: Vec::new(), refusals, initialize, order };
    steps(goal, views, &mut plan);
    plan
}

fn unreachable(views: &[NodeView]) -> Vec<Refusal> {
    views
        .iter()
        .filter_map(|view| {
            let reason = &view.facts.as_ref().err()?.reason;
            Some(Refusal { exit: 4, message: format!("{} cannot be reached: {reason}", view.node.name) })
        })
        .collect()
}

/// What is known to fail on a host before it is tried.
fn preflight(goal: &Goal, view: &NodeView, nodes: &[NodePlan]) -> Vec<Refusal> {
    let Ok(facts) = &view.facts else { return Vec::new() };
    let name = &view.node.name;
    let mut out = Vec::new();
    let mut refuse = |message: String| out.push(Refusal { exit: 8, message });
    if let Some(message) = needs_root(view) {
        refuse(message);
    }
    // What the running server itself holds is not among them: a port it is to move to may be.
    for taken in &facts.taken_ports {
        let by = taken.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        refuse(format!(
            "{name}: port {} on {} is taken{by}; free it, or give the node another port",
            taken.port, view.node.host
        ));
    }
    if !view.arch.is_empty() && view.arch != goal.arch {
        refuse(format!(
            "{name}: {} is a {} machine, the program is for {}; name another with --binary",
            view.node.host, view.arch, goal.arch
        ));
    }
    let uploads = nodes.iter().any(|n| n.node == *name && n.upload);
    let needed =
        if uploads { goal.release_bytes } else { 0 } + if facts.has_data { 0 } else { FIRST_LOG_BYTES };
    if let Some(free) = facts.free_bytes
        && free < needed
        && nodes.iter().any(|n| n.node == *name && n.action != Action::None)
    {
        refuse(format!(
            "{name}: only {} MB are free on {} where {} goes, {} MB are needed; make room, or change its paths",
            free >> 20,
            view.node.host,
            view.node.paths.dir,
            (needed >> 20) + 1
        ));
    }
    out
}

/// What only root can do, where commands do not run as root.
fn needs_root(view: &NodeView) -> Option<String> {
    let (node, service) = (&view.node, &view.node.service);
    if view.uid == 0 {
        return None;
    }
    let (for_what, otherwise) = match &service.user {
        Some(user) if node.ssh.user.as_ref() != Some(user) => {
            (format!("to run its server as `{user}`"), "leave service.user out")
        }
        _ if under_systemd(view) && service.scope == Scope::System => {
            ("to write a system unit".to_owned(), "use service.scope: user, or service.manager: process")
        }
        _ => return None,
    };
    let (name, host) = (&node.name, &node.host);
    Some(format!(
        "{name}: commands on {host} run as user {}, and root is needed {for_what}; set ssh.become: sudo, or {otherwise}",
        view.uid
    ))
}

/// The first log segment, which is preallocated, and a little for everything else.
const FIRST_LOG_BYTES: u64 = 80 << 20;

fn steps(goal: &Goal, views: &[NodeView], plan: &mut Plan) {
    let names = |pick: &dyn Fn(&NodePlan) -> bool| -> Vec<String> {
        plan.nodes.iter().filter(|n| pick(n)).map(|n| n.node.clone()).collect()
    };
    let mut steps = Vec::new();
    let uploads = names(&|n| n.upload);
    if !uploads.is_empty() {
        steps.push(Step::Upload { nodes: uploads });
    }
    let quiet = names(&|n| matches!(n.action, Action::Configure { .. }));
    if !quiet.is_empty() {
        steps.push(Step::Configure { nodes: quiet });
    }
    let moving = names(&|n| matches!(n.action, Action::Start { .. } | Action::Restart { .. }));
    let list = member_list(&goal.ensemble);
    if !moving.is_empty() && !serves_writes(views) {
        if views.iter().any(|v| v.facts.as_ref().is_ok_and(|f| f.process.is_some())) {
            plan.notes.push("no writes are served now, so all these nodes are started at once".into());
        }
        steps.push(Step::StartTogether { nodes: moving });
    } else if !moving.is_empty() {
        let sids: Vec<Sid> =
            moving.iter().filter_map(|name| goal.ensemble.node(name)).map(|n| n.sid).collect();
        let now = standings(views);
        let (order, costs) = order::choose(&now, &sids, &list);
        plan.order = order;
        if costs.iter().any(|(_, cost)| *cost == Cost::Stuck) {
            plan.notes.push(
                "no order of single restarts keeps a majority that agrees on its members and where they are, so all \
                 these nodes are restarted at once: writes stop until they have elected a leader"
                    .into(),
            );
            steps.push(Step::StartTogether { nodes: moving });
        } else {
            steps.extend(costs.iter().filter_map(|(sid, cost)| single(goal, views, *sid, *cost)));
        }
    }
    plan.steps = steps;
    announce(views, &list, plan);
}

fn single(goal: &Goal, views: &[NodeView], sid: Sid, cost: Cost) -> Option<Step> {
    let node = goal.ensemble.node_of(sid)?.name.clone();
    let facts = |v: &NodeView| v.facts.as_ref().is_ok_and(|f: &NodeFacts| f.process.is_some());
    if !views.iter().any(|v| v.node.sid == sid && facts(v)) {
        return Some(Step::Start { node });
    }
    let words = match cost {
        Cost::None => "writes go on",
        Cost::Election => "the others elect a new leader",
        Cost::Gap | Cost::Stuck => "no majority while it is down: writes stop until it is back",
    };
    Some(Step::Restart { node, cost: words.into(), gap: matches!(cost, Cost::Gap | Cost::Stuck) })
}

/// The arithmetic of a change of members, and what follows from it.
fn announce(views: &[NodeView], list: &MemberList, plan: &mut Plan) {
    let before = views.iter().find_map(|v| {
        let process = v.facts.as_ref().ok()?.process.as_ref()?;
        let old = MemberList::from_dynamic_text("members", &process.members).ok()?;
        (arithmetic(&old) != arithmetic(list)).then_some(old)
    });
    if let Some(old) = before {
        plan.notes.push(format!("before: {}", arithmetic(&old)));
        plan.notes.push(format!("after:  {}", arithmetic(list)));
        let tolerated = |l: &MemberList| l.voters().count().saturating_sub(l.majority());
        if tolerated(list) < tolerated(&old) && tolerated(list) == 0 {
            plan.notes.push(
                "if any voter stops then, writes stop: adding a new node as an observer and keeping the voters is \
                 nearly always better"
                    .into(),
            );
        }
    }
    if plan.has_gap() {
        plan.notes
            .push("writes stop for a moment (usually well under a second) at each step marked so".into());
    }
}
