//! What a server is made from.

use super::links::PeerAddress;
use crate::auth::AuthRules;
use crate::config::Whitelist;
use crate::ids::Sid;
use crate::storage::{Recovered, StorageOptions};
use crate::zab;
use std::collections::BTreeMap;

/// What only `conf` tells.
#[derive(Clone, Debug, Default)]
pub struct ConfFacts {
    /// -1 for none.
    pub client_port: i32,
    /// -1 for none.
    pub secure_client_port: i32,
    /// With `version-2`.
    pub data_dir: String,
    /// With `version-2`.
    pub data_log_dir: String,
    /// -1 for the default.
    pub listen_backlog: i32,
}

/// The fixed parts of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our id; 0 when standalone without one.
    pub me: Sid,
    /// Where the members' peer ports are.
    pub members: BTreeMap<Sid, PeerAddress>,
    /// `tickTime`, in milliseconds.
    pub tick_ms: u64,
    /// Bounds of a session's timeout, in milliseconds.
    pub session_ms: (i32, i32),
    /// Connections per client address; 0 is no limit.
    pub connections_per_ip: usize,
    /// Client connections in all; 0 is no limit.
    pub connections: usize,
    /// Requests in flight above which no more are read.
    pub outstanding_max: usize,
    /// How long a connection may stay without a session, in milliseconds.
    pub sessionless_ms: u64,
    /// Largest client frame.
    pub frame_max: usize,
    /// Bytes of one slice of a snapshot or a SNAP stream: about a millisecond's work.
    pub slice: usize,
    /// Largest txn, and largest packet of a peer.
    pub txn_max: usize,
    /// Whether a leader takes clients.
    pub leader_serves: bool,
    /// How ACLs are checked.
    pub rules: AuthRules,
    /// Which four-letter words are answered.
    pub whitelist: Whitelist,
    /// What `conf` says and nothing else needs.
    pub conf: ConfFacts,
    /// What `srvr` says behind `Zookeeper version: `.
    pub version_line: String,
    /// What `envi` says, line by line.
    pub environment: Vec<(String, String)>,
    /// The member list's text and version, for `/zookeeper/config`.
    pub config_text: (String, i64),
    /// For hash tables and jitter.
    pub seed: u64,
    /// The wall clock at start, in milliseconds: session ids begin there.
    pub began_wall_ms: i64,
    /// Storage policy.
    pub storage: StorageOptions,
    /// Zab's part.
    pub zab: zab::Config,
}

/// A server's settings and what its disk held.
pub struct ServerParts {
    /// The fixed parts.
    pub settings: Settings,
    /// What recovery found.
    pub recovered: Recovered,
}
