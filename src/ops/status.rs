//! The state of an ensemble, from the facts of its nodes: pure.

use serde::Serialize;

use super::failure::exit;
use super::host::Mode;
use super::host::protocol::{Answer, NodeFacts};
use super::inventory::Ensemble;
use super::plan::member_list;
use super::remote::NodeView;
use crate::config::Role;

/// What one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It serves.
    Serving,
    /// It runs, but has no leader.
    NoQuorum,
    /// It runs, but does not answer.
    Silent,
    /// It does not run.
    Stopped,
    /// Nothing is there.
    NotDeployed,
    /// Something else listens on its client port.
    Foreign,
    /// Its host cannot be reached.
    Unreachable,
}

impl NodeState {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Serving => "serving",
            NodeState::NoQuorum => "no quorum",
            NodeState::Silent => "no answer",
            NodeState::Stopped => "stopped",
            NodeState::NotDeployed => "not deployed",
            NodeState::Foreign => "foreign",
            NodeState::Unreachable => "unreachable",
        }
    }
}

/// One node's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub node: String,
    /// Its id.
    pub id: i64,
    /// How ssh reaches it.
    pub host: String,
    /// What the inventory says it is.
    pub role: String,
    /// What it says it is.
    pub mode: Option<String>,
    /// What it is.
    pub state: NodeState,
    /// Whether a write was acknowledged through it; absent when it was not asked.
    pub writes: Option<bool>,
    /// How long that took.
    pub write_ms: Option<u64>,
    /// Its last zxid.
    pub zxid: Option<String>,
    /// Client connections.
    pub clients: Option<u64>,
    /// Least, average and greatest latency, ms.
    pub latency_ms: Option<[f64; 3]>,
    /// Its version.
    pub version: Option<String>,
    /// How long it has run.
    pub uptime_ms: Option<u64>,
    /// Its client port.
    pub client_port: u16,
    /// Its quorum port.
    pub quorum_port: u16,
    /// Its election port.
    pub election_port: u16,
    /// What is worth a second look.
    pub remark: Option<String>,
}

/// How the ensemble is as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Every node serves in its role.
    Healthy,
    /// Writes are acknowledged, but something is wrong.
    Degraded,
    /// No writes are acknowledged.
    NoQuorum,
}

/// The state of an ensemble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The version of this form.
    pub schema: u32,
    /// Its name.
    pub cluster: String,
    /// As a whole.
    pub health: Health,
    /// That in words.
    pub summary: String,
    /// Its nodes.
    pub nodes: Vec<Row>,
}

impl Status {
    /// The exit code of `status`.
    pub fn exit(&self) -> u8 {
        match self.health {
            Health::Healthy => 0,
            Health::Degraded => exit::DEGRADED,
            Health::NoQuorum => exit::NO_QUORUM,
        }
    }
}

/// Judges the facts.
pub fn status(ensemble: &Ensemble, views: &[NodeView]) -> Status {
    let nodes: Vec<Row> = views.iter().map(row).collect();
    let writes = nodes.iter().any(|r| r.writes == Some(true));
    let whole = nodes.iter().all(|r| r.writes == Some(true) && r.remark.is_none());
    let health = match (writes, whole) {
        (true, true) => Health::Healthy,
        (true, false) => Health::Degraded,
        (false, _) => Health::NoQuorum,
    };
    let list = member_list(ensemble);
    let voters = list.voters().count();
    let up = views
        .iter()
        .zip(&nodes)
        .filter(|(v, r)| v.node.role == Role::Participant && r.state == NodeState::Serving);
    let up = up.count();
    let leader = nodes.iter().find(|r| matches!(r.mode.as_deref(), Some("leader" | "standalone")));
    let leads = leader.map(|r| format!(", {} leads", r.node)).unwrap_or_default();
    let summary = match health {
        Health::Healthy => format!("healthy: {up} of {voters} voters serve{leads}; writes are acknowledged"),
        Health::Degraded => {
            format!("degraded: {up} of {voters} voters serve{leads}; writes are acknowledged")
        }
        Health::NoQuorum => no_quorum(&nodes, up, voters, list.majority()),
    };
    Status { schema: 1, cluster: ensemble.name.clone(), health, summary, nodes }
}

/// Why no write is acknowledged, and what to do where that is plain.
fn no_quorum(nodes: &[Row], up: usize, voters: usize, needed: usize) -> String {
    let all = |state: NodeState| nodes.iter().all(|r| r.state == state);
    if all(NodeState::NotDeployed) {
        return "NO QUORUM: nothing is deployed yet; `zkctl deploy` does it".into();
    }
    if all(NodeState::Stopped) {
        return "NO QUORUM: every node is stopped; `zkctl start` starts them".into();
    }
    if up >= needed {
        return format!("NO QUORUM: {up} of {voters} voters serve, but no write is acknowledged");
    }
    let unseen = match nodes.iter().filter(|r| r.state == NodeState::Unreachable).count() {
        0 => String::new(),
        n if n == nodes.len() => ", as far as can be seen from here: no host can be reached".into(),
        n => format!(", as far as can be seen from here: {n} of {} hosts cannot be reached", nodes.len()),
    };
    format!("NO QUORUM: {up} of {voters} voters serve, {needed} are needed; no write is acknowledged{unseen}")
}

fn row(view: &NodeView) -> Row {
    let node = &view.node;
    let mut row = Row {
        node: node.name.clone(),
        id: node.sid.0,
        host: node.host.clone(),
        role: node.role.to_string(),
        mode: None,
        state: NodeState::Unreachable,
        writes: None,
        write_ms: None,
        zxid: None,
        clients: None,
        latency_ms: None,
        version: None,
        uptime_ms: None,
        client_port: node.client_port,
        quorum_port: node.quorum_port,
        election_port: node.election_port,
        remark: None,
    };
    let facts = match &view.facts {
        Ok(facts) => facts,
        Err(gone) => {
            row.remark = Some(gone.reason.clone());
            return row;
        }
    };
    row.state = state(facts);
    row.uptime_ms = facts.process.as_ref().map(|p| p.up_ms);
    match &facts.session {
        Some(Ok(ms)) => {
            row.writes = Some(true);
            row.write_ms = Some(*ms);
        }
        Some(Err(reason)) => {
            row.writes = Some(false);
            row.remark = Some(reason.clone());
        }
        None => {}
    }
    match &facts.answer {
        Answer::Serving(srvr) => {
            row.mode = Some(srvr.mode.text().into());
            row.zxid = Some(srvr.zxid.clone());
            row.clients = Some(srvr.connections);
            row.latency_ms = Some(srvr.latency);
            row.version = Some(srvr.version.clone());
            let observes = srvr.mode == Mode::Observer;
            if observes != (node.role == Role::Observer) {
                let is = srvr.mode.text();
                row.remark =
                    Some(format!("it is {is}, the inventory says {}; `zkctl deploy` makes it so", node.role));
            }
        }
        Answer::Refused if facts.process.is_some() => {
            row.remark = Some("its process runs, but nobody listens on its client port".into());
        }
        Answer::Silent(why) if facts.process.is_some() => row.remark = Some(why.clone()),
        Answer::Strange(text) => row.remark = Some(format!("its client port answers: {}", text.trim())),
        _ => {}
    }
    if facts.process.is_none() && matches!(row.state, NodeState::Stopped | NodeState::NotDeployed) {
        row.remark = facts.taken_ports.first().map(|t| {
            let by = t.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            format!("port {} is taken{by}", t.port)
        });
    }
    row
}

fn state(facts: &NodeFacts) -> NodeState {
    match (&facts.answer, &facts.process) {
        (Answer::Serving(_), _) => NodeState::Serving,
        (Answer::NotServing, _) => NodeState::NoQuorum,
        (Answer::Strange(_), None) => NodeState::Foreign,
        (Answer::Refused | Answer::Silent(_) | Answer::Strange(_) | Answer::None, Some(_)) => {
            NodeState::Silent
        }
        (_, None) if facts.zoo_cfg.is_none() => NodeState::NotDeployed,
        (_, None) => NodeState::Stopped,
    }
}

/// A length of time in two units at most.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (ms, text) in [(900, "0s"), (61_000, "1m01s"), (3_660_000, "1h01m"), (90_000_000, "1d01h")] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn without_quorum_the_way_on_is_named() {
        let text = "cluster: c\nnodes:\n- {name: a, id: 1, host: h1}\n- {name: b, id: 2, host: h2}\n\
            - {name: d, id: 3, host: h3}\n";
        let (ensemble, _) = crate::ops::inventory::parse("f", text, std::path::Path::new("/")).unwrap();
        let summary = |facts: &[Option<NodeFacts>]| {
            let gone = || crate::ops::remote::Unreachable { reason: "x".into() };
            let views: Vec<NodeView> = ensemble
                .nodes
                .iter()
                .zip(facts)
                .map(|(node, facts)| NodeView {
                    node: node.clone(),
                    systemd: false,
                    arch: String::new(),
                    uid: 0,
                    facts: facts.clone().ok_or_else(gone),
                })
                .collect();
            status(&ensemble, &views).summary
        };
        let stopped = || Some(NodeFacts { zoo_cfg: Some(String::new()), ..NodeFacts::default() });
        assert!(summary(&[stopped(), stopped(), stopped()]).ends_with("`zkctl start` starts them"));
        let nothing = || Some(NodeFacts::default());
        assert!(summary(&[nothing(), nothing(), nothing()]).ends_with("`zkctl deploy` does it"));
        let start = "NO QUORUM: 0 of 3 voters serve, 2 are needed; no write is acknowledged";
        assert_eq!(summary(&[stopped(), nothing(), stopped()]), start);
        let unseen = |text: &str| format!("{start}, as far as can be seen from here: {text}");
        assert_eq!(summary(&[None, None, None]), unseen("no host can be reached"));
        assert_eq!(summary(&[stopped(), None, None]), unseen("2 of 3 hosts cannot be reached"));
    }

    #[test]
    fn states_are_told_apart() {
        let facts = |answer: Answer, deployed: bool| NodeFacts {
            answer,
            zoo_cfg: deployed.then(String::new),
            ..NodeFacts::default()
        };
        assert_eq!(state(&facts(Answer::Refused, true)), NodeState::Stopped);
        assert_eq!(state(&facts(Answer::Refused, false)), NodeState::NotDeployed);
        assert_eq!(state(&facts(Answer::NotServing, true)), NodeState::NoQuorum);
        let process = Some(crate::ops::host::protocol::ProcessFacts {
            pid: 1,
            up_ms: 1,
            release: None,
            config_sha256: String::new(),
            members: String::new(),
            unit: None,
        });
        let runs = NodeFacts { process, ..facts(Answer::Refused, true) };
        assert_eq!((state(&runs), state(&runs).word()), (NodeState::Silent, "no answer"));
        assert_eq!(state(&facts(Answer::Strange("x".into()), true)), NodeState::Foreign);
    }
}
