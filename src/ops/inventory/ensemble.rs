//! The typed ensemble: what an inventory says, with defaults filled in and paths resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Member, PeerAddress, Role};
use crate::ids::Sid;

/// Everything an inventory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// Its name; part of unit names and lock files.
    pub name: String,
    /// The inventory file.
    pub file: PathBuf,
    /// How its hosts are reached.
    pub connection: Connection,
    /// In the inventory's order; at least one.
    pub nodes: Vec<Node>,
}

/// How hosts are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// This machine, without SSH.
    Local,
    /// The user's own ssh.
    Ssh,
}

/// One server of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, such as `zk1`.
    pub name: String,
    /// Its id.
    pub sid: Sid,
    /// How ssh reaches it.
    pub host: String,
    /// How the other servers reach it.
    pub address: String,
    /// What the client listener binds; every address when `None`.
    pub bind: Option<String>,
    /// Whether it votes.
    pub role: Role,
    /// Client port.
    pub client_port: u16,
    /// Quorum port.
    pub quorum_port: u16,
    /// Election port.
    pub election_port: u16,
    /// Where things are on its host.
    pub paths: Paths,
    /// How ssh gets there.
    pub ssh: Ssh,
    /// How the process is kept.
    pub service: Service,
    /// Further zoo.cfg lines.
    pub config: BTreeMap<String, String>,
}

/// Where a node's things are on its host; every path absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The node's own directory.
    pub dir: String,
    /// Snapshots and myid (`dataDir`).
    pub data: String,
    /// Txn logs (`dataLogDir`).
    pub txlog: String,
    /// What the server says.
    pub logs: String,
}

impl Paths {
    /// The directory of zoo.cfg.
    pub fn conf(&self) -> String {
        format!("{}/conf", self.dir)
    }

    /// zoo.cfg.
    pub fn zoo_cfg(&self) -> String {
        format!("{}/conf/zoo.cfg", self.dir)
    }

    /// The id file.
    pub fn my_id(&self) -> String {
        format!("{}/myid", self.data)
    }

    /// The link to the release in use.
    pub fn bin(&self) -> String {
        format!("{}/bin", self.dir)
    }

    /// Everything about the running process.
    pub fn run(&self) -> String {
        format!("{}/run", self.dir)
    }

    /// What `serve` writes about itself when it starts.
    pub fn started(&self) -> String {
        format!("{}/run/server.json", self.dir)
    }

    /// The directory of one release.
    pub fn release(&self, release: &str) -> String {
        format!("{}/releases/{release}", self.dir)
    }
}

/// How ssh reaches a host; what is `None` is left to the user's own ssh configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ssh {
    /// Login name.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Private key file.
    pub key: Option<PathBuf>,
    /// An ssh configuration file to include before the user's.
    pub config: Option<PathBuf>,
    /// The known hosts file to use instead of the user's.
    pub known_hosts: Option<PathBuf>,
    /// What to do about unknown host keys.
    pub host_keys: HostKeys,
    /// Jump hosts, in order.
    pub jump: Vec<String>,
    /// How commands become root.
    pub become_root: Become,
    /// Seconds until a host counts as unreachable.
    pub connect_timeout_s: u16,
}

/// What to do about unknown host keys. A changed key is always refused unless `Off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostKeys {
    /// Refuse unknown hosts.
    Strict,
    /// Take and remember the key of a host never seen before.
    #[default]
    AcceptNew,
    /// Check nothing.
    Off,
}

/// How commands become root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Become {
    /// They do not.
    #[default]
    No,
    /// `sudo -n`.
    Sudo,
}

/// What keeps the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// systemd where it is PID 1, else a plain process.
    #[default]
    Auto,
    /// systemd.
    Systemd,
    /// A detached process with a pid file.
    Process,
}

/// Whose systemd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The machine's.
    #[default]
    System,
    /// The user's.
    User,
}

/// How the process is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// By what.
    pub manager: Manager,
    /// Whose.
    pub scope: Scope,
    /// The user it runs as; whoever starts it when `None`.
    pub user: Option<String>,
}

impl Ensemble {
    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node of an id.
    pub fn node_of(&self, sid: Sid) -> Option<&Node> {
        self.nodes.iter().find(|n| n.sid == sid)
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.role == Role::Participant)
    }
}

impl Node {
    /// Its entry in the member list.
    pub fn member(&self) -> Member {
        Member {
            sid: self.sid,
            addresses: vec![PeerAddress {
                host: self.address.clone(),
                quorum_port: self.quorum_port,
                election_port: self.election_port,
            }],
            role: self.role,
            client: None,
            secure_client: None,
        }
    }

    /// The systemd unit's name.
    pub fn unit(&self, ensemble: &str) -> String {
        format!("zkctl-{ensemble}-{}.service", self.name)
    }
}
