//! The file in which a server says who it is: its process, and the configuration it started with.
//!
//! It stands for a pid file. Nothing is signalled unless process id, start time and boot agree, so a
//! stale file never hits a stranger.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::process;
use super::protocol::NodeSpec;
use crate::config::{Draft, DynamicFile, MyId};

/// What a server writes when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its process id.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot.
    pub start_ticks: u64,
    /// The boot it started in.
    pub boot_id: String,
    /// Its zoo.cfg.
    pub config: String,
    /// SHA-256 of that file's content.
    pub config_sha256: String,
    /// The address its client port is bound to, if not all.
    pub bind: Option<String>,
    /// Its client port.
    pub client_port: Option<u16>,
    /// Its member list.
    pub members: String,
    /// The path of its program, links resolved.
    pub program: String,
    /// The systemd unit it belongs to.
    pub unit: Option<String>,
    /// Whether that is a user's unit; absent where nobody told the server, as in files of earlier releases.
    #[serde(default)]
    pub user_unit: Option<bool>,
}

/// A systemd unit that a server was told it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether it is a user's.
    pub of_user: bool,
}

impl State {
    /// The unit that this server runs in. Earlier releases guessed it; then it is the node's, if any.
    pub(super) fn unit_of(&self, node: &NodeSpec) -> Option<Unit> {
        let name = self.unit.clone()?;
        match self.user_unit {
            Some(of_user) => Some(Unit { name, of_user }),
            None if node.systemd == Some(false) || node.unit.is_empty() => None,
            None => Some(Unit { name: node.unit.clone(), of_user: node.user_unit }),
        }
    }
}

/// SHA-256 as hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes the state file of this very process.
pub fn write_state(file: &Path, config: &Path, unit: Option<Unit>) -> io::Result<()> {
    let text = fs::read_to_string(config)?;
    let name = config.display().to_string();
    let draft = Draft::read(&name, &text, &[]);
    let my_id = draft.data_dir().and_then(|dir| fs::read_to_string(Path::new(dir).join("myid")).ok());
    let dynamic = draft.dynamic_config_file().map(str::to_owned);
    let dynamic_text = dynamic.as_ref().and_then(|f| fs::read_to_string(f).ok());
    let dynamic =
        dynamic.as_deref().zip(dynamic_text.as_deref()).map(|(file, text)| DynamicFile { file, text });
    let parsed = draft.finish(my_id.as_deref().map_or(MyId::Missing, MyId::Text), dynamic).ok();
    let client = parsed.as_ref().and_then(|(c, _)| c.client.clone());
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    let state = State {
        pid,
        start_ticks: process::start_ticks(pid).unwrap_or(0),
        boot_id: process::boot_id(),
        config: fs::canonicalize(config)?.display().to_string(),
        config_sha256: sha256(text.as_bytes()),
        bind: client.as_ref().and_then(|c| c.address.clone()),
        client_port: client.map(|c| c.port),
        members: parsed.map(|(c, _)| c.members.to_dynamic_text()).unwrap_or_default(),
        program: fs::read_link("/proc/self/exe").map(|p| p.display().to_string()).unwrap_or_default(),
        user_unit: unit.as_ref().map(|u| u.of_user),
        unit: unit.map(|u| u.name),
    };
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let part = file.with_extension("json.part");
    fs::write(&part, serde_json::to_vec_pretty(&state)?)?;
    fs::rename(part, file)
}

/// The state of a server that still runs.
pub(super) fn running(file: &str) -> Option<State> {
    let state = written(file)?;
    process::is_alive(&state).then_some(state)
}

/// What the file says, whether or not that server still runs.
pub(super) fn written(file: &str) -> Option<State> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}
