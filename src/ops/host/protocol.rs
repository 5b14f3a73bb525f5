//! What the operator's side and a node's host say to each other, as JSON.

use serde::{Deserialize, Serialize};

use crate::config::Role;
use crate::ops::inventory::{Ensemble, Manager, Node, Scope};

/// The version of these types; a host whose zkctl speaks another one is treated as not deployed.
pub const SCHEMA: u32 = 1;

/// One node, as its host needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub dir: String,
    /// `dataDir`.
    pub data: String,
    /// `dataLogDir`.
    pub txlog: String,
    /// Where the server logs.
    pub logs: String,
    /// What the client listener binds; any address when absent.
    pub bind: Option<String>,
    /// Client, quorum and election port.
    pub ports: [u16; 3],
    /// The systemd unit.
    pub unit: String,
    /// Whether that is a user's unit.
    pub user_unit: bool,
    /// What keeps the process; `None` lets the host say.
    pub systemd: Option<bool>,
    /// The user it runs as.
    pub user: Option<String>,
}

impl NodeSpec {
    /// From the inventory.
    pub fn of(ensemble: &Ensemble, node: &Node) -> NodeSpec {
        NodeSpec {
            name: node.name.clone(),
            dir: node.paths.dir.clone(),
            data: node.paths.data.clone(),
            txlog: node.paths.txlog.clone(),
            logs: node.paths.logs.clone(),
            bind: node.bind.clone(),
            ports: [node.client_port, node.quorum_port, node.election_port],
            unit: node.unit(&ensemble.name),
            user_unit: node.service.scope == Scope::User,
            systemd: match node.service.manager {
                Manager::Auto => None,
                Manager::Systemd => Some(true),
                Manager::Process => Some(false),
            },
            user: node.service.user.clone(),
        }
    }

    /// zoo.cfg.
    pub fn zoo_cfg(&self) -> String {
        format!("{}/conf/zoo.cfg", self.dir)
    }

    /// What `apply` leaves beside zoo.cfg: how this node's server is kept.
    pub fn node_file(&self) -> String {
        format!("{}/conf/zkctl-node.json", self.dir)
    }

    /// The content of that file.
    pub fn to_node_file(&self, systemd: bool) -> String {
        let spec = NodeSpec { systemd: Some(systemd), ..self.clone() };
        // Text, numbers and their lists always are JSON.
        serde_json::to_string_pretty(&spec).map(|text| text + "\n").unwrap_or_default()
    }

    /// Reads that file's content; `None` when it is none of ours.
    pub fn from_node_file(text: &str) -> Option<NodeSpec> {
        serde_json::from_str(text).ok()
    }

    /// Whether the other's server would be kept in the same way: by whom, as whom, logging where.
    pub fn is_kept_as(&self, other: &NodeSpec) -> bool {
        let how = |n: &NodeSpec| (n.systemd, n.user.clone(), n.logs.clone());
        let unit = |n: &NodeSpec| (n.systemd == Some(true)).then(|| (n.unit.clone(), n.user_unit));
        how(self) == how(other) && unit(self) == unit(other)
    }

    /// What `serve` writes about itself.
    pub fn state_file(&self) -> String {
        format!("{}/run/server.json", self.dir)
    }
}

/// What `zkctl probe` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// `SCHEMA`.
    pub schema: u32,
    /// The nodes on this host.
    pub nodes: Vec<NodeSpec>,
    /// Whether to open a session on each that serves.
    pub session: bool,
    /// How long each question may take.
    pub timeout_ms: u64,
}

/// What one host is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `SCHEMA`.
    pub schema: u32,
    /// The machine's kind, as `uname -m` says it.
    pub arch: String,
    /// Whether systemd is PID 1.
    pub systemd: bool,
    /// Who asked.
    pub uid: u32,
    /// In the order asked.
    pub nodes: Vec<NodeFacts>,
}

/// What one node is like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The release that `bin` leads to.
    pub release: Option<String>,
    /// Releases that are complete.
    pub releases: Vec<String>,
    /// zoo.cfg as it is there.
    pub zoo_cfg: Option<String>,
    /// myid as it is there.
    pub my_id: Option<String>,
    /// The unit file as it is there.
    pub unit: Option<String>,
    /// `zkctl-node.json` as it is there.
    #[serde(default)]
    pub node_file: Option<String>,
    /// Whether there are logs or snapshots.
    pub has_data: bool,
    /// Bytes free where the node's directory, data and logs are (the least of them).
    pub free_bytes: Option<u64>,
    /// The process.
    pub process: Option<ProcessFacts>,
    /// Ports of this node that something else listens on.
    pub taken_ports: Vec<TakenPort>,
    /// What the client port answers to `srvr`.
    pub answer: Answer,
    /// Whether a session could be opened: how long it took, or why not.
    pub session: Option<Result<u64, String>>,
}

/// A port that is not free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenPort {
    /// The port.
    pub port: u16,
    /// Who listens there, where that can be seen.
    pub by: Option<String>,
}

/// A running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Its process id.
    pub pid: i32,
    /// How long it has run.
    pub up_ms: u64,
    /// The release it runs, from the path of its program.
    pub release: Option<String>,
    /// SHA-256 of the zoo.cfg it started with.
    pub config_sha256: String,
    /// The member list it started with.
    pub members: String,
    /// The systemd unit it belongs to.
    pub unit: Option<String>,
}

/// What a client port said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Nobody asked.
    #[default]
    None,
    /// Nobody listens.
    Refused,
    /// Nothing came.
    Silent(String),
    /// The server runs but does not serve: it has no leader.
    NotServing,
    /// It serves.
    Serving(super::Srvr),
    /// Something that is no answer of a ZooKeeper server.
    Strange(String),
}

/// A file to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Absolute path.
    pub path: String,
    /// Its content.
    pub content: String,
    /// Its permissions.
    pub mode: u32,
}

/// What is to be true of a node's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The node.
    pub node: NodeSpec,
    /// Files with their content.
    pub files: Vec<FileSpec>,
    /// The release that `bin` must lead to.
    pub release: String,
    /// Whether this is the ensemble's first start ever.
    pub initialize: bool,
    /// The systemd unit's content, where the node runs under systemd.
    pub unit: Option<String>,
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitRequest {
    /// The node.
    pub node: NodeSpec,
    /// What it must be; either role when absent.
    pub role: Option<String>,
    /// How long.
    pub timeout_ms: u64,
}

impl AwaitRequest {
    /// Waits for a node to serve in a role.
    pub fn role(node: NodeSpec, role: Role, timeout_ms: u64) -> AwaitRequest {
        AwaitRequest { node, role: Some(role.word().into()), timeout_ms }
    }
}

/// What `zkctl host` is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Make the node's files so.
    Apply(ApplyRequest),
    /// Start it, if it does not run.
    Start(NodeSpec),
    /// Stop it, if it runs.
    Stop(NodeSpec),
    /// Stop and start with nothing in between.
    Restart(NodeSpec),
    /// Wait until it serves and a session opens on it.
    Await(AwaitRequest),
    /// The last lines it logged.
    Log {
        /// The node.
        node: NodeSpec,
        /// How many.
        lines: usize,
    },
}

/// What `zkctl host` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// What was changed, in words.
    Applied(Vec<String>),
    /// The process.
    Started(Started),
    /// It does not run any more.
    Stopped {
        /// Whether it did.
        was_running: bool,
    },
    /// It serves, or not.
    Awaited(Box<Awaited>),
    /// Lines of its log.
    Log(Vec<String>),
    /// It did not work.
    Failed {
        /// Why.
        message: String,
    },
}

/// A started process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its process id.
    pub pid: i32,
    /// Whether it ran before.
    pub already: bool,
}

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// What was seen last.
    pub answer: Answer,
    /// How long the session took that proved a write; `None` when none opened.
    pub session_ms: Option<u64>,
    /// Why not, where it did not come about.
    pub reason: Option<String>,
    /// Whether the process lives.
    pub alive: bool,
}
