//! What `start`, `stop` and `restart` do, from facts: decided before anything is asked, and once more under the
//! locks. Deliberately absent: doing it (`verbs`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::order::{self, Cost, Order, Standings, Strategy};
use super::{Refusal, is_led, member_list, standings};
use crate::ids::Sid;
use crate::ops::failure::exit;
use crate::ops::host::protocol::NodeSpec;
use crate::ops::inventory::{Ensemble, Node};
use crate::ops::remote::NodeView;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Start what does not run.
    Start,
    /// Stop what runs.
    Stop,
    /// Restart, one at a time where writes are served.
    Restart,
}

impl Verb {
    /// As it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
        }
    }
}

/// What is done to one node, or to several at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum ControlStep {
    /// Start all at once.
    StartTogether {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Restart all at once, since nothing is served now.
    RestartTogether {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Stop one.
    Stop {
        /// The node.
        node: String,
    },
    /// Restart one.
    Restart {
        /// The node.
        node: String,
        /// Whether writes stop while it is down.
        gap: bool,
    },
}

impl ControlStep {
    /// In words.
    pub fn title(&self) -> String {
        match self {
            ControlStep::StartTogether { nodes } if nodes.len() == 1 => format!("start {}", nodes[0]),
            ControlStep::RestartTogether { nodes } if nodes.len() == 1 => format!("restart {}", nodes[0]),
            ControlStep::StartTogether { nodes } => format!("start {} at once", nodes.join(", ")),
            ControlStep::RestartTogether { nodes } => format!("restart {} at once", nodes.join(", ")),
            ControlStep::Stop { node } => format!("stop {node}"),
            ControlStep::Restart { node, gap: true } => {
                format!("restart {node} (writes stop until it is back)")
            }
            ControlStep::Restart { node, .. } => format!("restart {node}"),
        }
    }
}

/// What will be done, in order, and what it does to the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlPlan {
    /// Which verb.
    pub verb: Verb,
    /// What will be done, in order.
    pub steps: Vec<ControlStep>,
    /// What the operator should know before agreeing.
    pub notes: Vec<String>,
    /// Why it must not be done.
    pub refusals: Vec<Refusal>,
    /// The nodes that are touched, in the inventory's order.
    #[serde(skip)]
    pub nodes: Vec<Node>,
    /// Whether the others must keep their majority while nodes are stopped.
    #[serde(skip)]
    pub guarded: bool,
    /// Whether any of the nodes runs.
    #[serde(skip)]
    pub interrupts: bool,
    /// The voters that followed or led when this was decided.
    #[serde(skip)]
    up: BTreeSet<Sid>,
}

impl ControlPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether writes stop at some moment of a restart.
    pub fn has_gap(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, ControlStep::Restart { gap: true, .. }))
    }

    /// Whether all nodes are touched at once.
    pub fn is_together(&self) -> bool {
        let at_once = |s: &ControlStep| {
            matches!(s, ControlStep::StartTogether { .. } | ControlStep::RestartTogether { .. })
        };
        self.steps.iter().any(at_once)
    }

    /// Whether it needs the operator's word.
    pub fn needs_word(&self) -> bool {
        match self.verb {
            Verb::Start => false,
            Verb::Stop => true,
            Verb::Restart => self.has_gap() || (self.is_together() && self.interrupts),
        }
    }

    /// Whether whoever agreed to `self` has agreed to `now` too. Who leads may differ.
    pub fn covers(&self, now: &ControlPlan) -> bool {
        let kind =
            |p: &ControlPlan| (p.has_gap(), p.is_together(), p.guarded, p.needs_word(), p.notes.clone());
        self.verb == Verb::Start || (self.nodes == now.nodes && kind(self) == kind(now))
    }

    /// Why these nodes must not be stopped just now: how many votes would be up, and how many are needed. A gap
    /// that was announced is one only as long as every voter that was up then is still up.
    pub fn missing(&self, now: &Standings, stopped: &[Sid]) -> Option<(usize, usize)> {
        if self.verb == Verb::Stop && !self.guarded {
            return None;
        }
        let missing = now.missing_without_all(stopped)?;
        let others = self.up.iter().filter(|sid| !stopped.contains(sid)).all(|sid| now.is_established(*sid));
        (!(self.has_gap() && others)).then_some(missing)
    }
}

/// Observers first, the leader last.
pub fn control_order(ensemble: &Ensemble, now: &Standings) -> Order {
    Order::new(now, &member_list(ensemble), Strategy::LeaderLast, true)
}

/// Decides what a verb does to the nodes that were chosen.
pub fn control_plan(
    verb: Verb,
    ensemble: &Ensemble,
    chosen: &[Node],
    force: bool,
    views: &[NodeView],
) -> ControlPlan {
    let of = |node: &Node| views.iter().find(|v| v.node.name == node.name);
    let runs = |node: &Node| of(node).is_some_and(|v| v.facts.as_ref().is_ok_and(|f| f.process.is_some()));
    let nodes: Vec<Node> = chosen
        .iter()
        .filter(|node| match verb {
            Verb::Start => !runs(node),
            Verb::Stop => runs(node),
            Verb::Restart => true,
        })
        .cloned()
        .collect();
    let now = standings(views);
    let mut plan = ControlPlan {
        verb,
        steps: Vec::new(),
        notes: Vec::new(),
        refusals: not_ready(verb, ensemble, chosen, views),
        interrupts: nodes.iter().any(runs),
        guarded: false,
        up: now.voters_up(),
        nodes,
    };
    if plan.nodes.is_empty() {
        return plan;
    }
    let names: Vec<String> = plan.nodes.iter().map(|n| n.name.clone()).collect();
    match verb {
        Verb::Start => plan.steps.push(ControlStep::StartTogether { nodes: names }),
        Verb::Stop => stops(ensemble, force, views, &now, &mut plan),
        Verb::Restart if is_led(views) => restarts(ensemble, &now, &mut plan),
        Verb::Restart => {
            if plan.interrupts {
                let text = "no writes are served now, so these nodes are restarted at once";
                plan.notes.push(text.into());
            }
            plan.steps.push(ControlStep::RestartTogether { nodes: names });
        }
    }
    plan
}

/// Hosts that cannot be reached, and what was never deployed or not as the inventory says now: what is
/// stopped so must be what can be started.
fn not_ready(verb: Verb, ensemble: &Ensemble, chosen: &[Node], views: &[NodeView]) -> Vec<Refusal> {
    let wanted: Vec<&NodeView> =
        views.iter().filter(|v| chosen.iter().any(|n| n.name == v.node.name)).collect();
    let mut out: Vec<Refusal> = wanted
        .iter()
        .filter_map(|v| {
            let reason = &v.facts.as_ref().err()?.reason;
            let message =
                format!("{} cannot be reached: {reason}; name the nodes that can be with -l", v.node.name);
            Some(Refusal { exit: exit::PARTIAL, message })
        })
        .collect();
    let missing = |v: &&&NodeView| v.facts.as_ref().is_ok_and(|f| f.release.is_none() && f.process.is_none());
    let names: Vec<&str> = wanted.iter().filter(missing).map(|v| v.node.name.as_str()).collect();
    if !names.is_empty() && verb != Verb::Stop {
        let are = if names.len() == 1 { "is" } else { "are" };
        let message =
            format!("{} {are} not deployed yet; run `zkctl deploy`, which starts them too", names.join(", "));
        out.push(Refusal { exit: exit::PREFLIGHT, message });
    }
    let kept_otherwise = |v: &&&NodeView| is_kept_otherwise(ensemble, v);
    let names: Vec<&str> = wanted.iter().filter(kept_otherwise).map(|v| v.node.name.as_str()).collect();
    if !names.is_empty() && verb != Verb::Stop {
        let message = format!(
            "{}: unit, user, logs or ports in the inventory are not what was deployed; run `zkctl deploy`, which \
             restarts what must be",
            names.join(", ")
        );
        out.push(Refusal { exit: exit::PREFLIGHT, message });
    }
    out
}

fn is_kept_otherwise(ensemble: &Ensemble, view: &NodeView) -> bool {
    let file = view.facts.as_ref().ok().and_then(|f| f.node_file.as_deref());
    let Some(deployed) = file.and_then(NodeSpec::from_node_file) else { return false };
    let spec = NodeSpec::of(ensemble, &view.node);
    let spec = NodeSpec { systemd: spec.systemd.or(deployed.systemd), ..spec };
    !deployed.is_kept_as(&spec) || deployed.ports != spec.ports || deployed.bind != spec.bind
}

/// Observers, then followers, then the leader; some of them only if the others keep their majority.
fn stops(ensemble: &Ensemble, force: bool, views: &[NodeView], now: &Standings, plan: &mut ControlPlan) {
    let mut sids: Vec<Sid> = plan.nodes.iter().map(|n| n.sid).collect();
    // A node whose host cannot be reached may well run.
    let remains = |v: &NodeView| v.facts.as_ref().map_or(true, |f| f.process.is_some());
    let others = views.iter().any(|v| !sids.contains(&v.node.sid) && remains(v));
    plan.guarded = others && !force && is_led(views);
    if others
        && is_led(views)
        && let Some((up, needed)) = now.missing_without_all(&sids)
    {
        let names: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
        let what = format!(
            "without {}, {up} of the {needed} votes that are needed stay: writes would stop",
            names.join(", ")
        );
        if force {
            plan.notes.push(what);
        } else {
            let message = format!("{what}; start other voters first, or pass --force if that is meant");
            plan.refusals.push(Refusal { exit: exit::QUORUM, message });
        }
    }
    let order = control_order(ensemble, now);
    while let Some(sid) = order.next(&sids, now.leader()) {
        sids.retain(|s| *s != sid);
        plan.steps.extend(name_of(ensemble, sid).map(|node| ControlStep::Stop { node }));
    }
}

fn restarts(ensemble: &Ensemble, now: &Standings, plan: &mut ControlPlan) {
    let sids: Vec<Sid> = plan.nodes.iter().map(|n| n.sid).collect();
    let steps = order::walk(now, &sids, &member_list(ensemble), &control_order(ensemble, now));
    plan.guarded = true;
    plan.steps = steps
        .into_iter()
        .filter_map(|(sid, cost)| {
            let gap = matches!(cost, Cost::Gap | Cost::Stuck);
            Some(ControlStep::Restart { node: name_of(ensemble, sid)?, gap })
        })
        .collect();
    if plan.has_gap() {
        plan.notes.push("with so few voters up, writes stop for a moment while each voter restarts".into());
    }
}

fn name_of(ensemble: &Ensemble, sid: Sid) -> Option<String> {
    ensemble.node_of(sid).map(|n| n.name.clone())
}
