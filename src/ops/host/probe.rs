//! The facts of the nodes on this host, gathered at once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process;
use super::protocol::{Answer, HostFacts, NodeFacts, NodeSpec, ProbeRequest, ProcessFacts, SCHEMA};

use super::state::{self, State};
use crate::client::{Client, ClientError, Options, WordError, four_letter_word};
use crate::config::{Draft, MyId};
use crate::wire::words::{ReportError, ServerReport};

/// Gathers the facts that a request asks for.
pub async fn probe(request: &ProbeRequest) -> HostFacts {
    let within = Duration::from_millis(request.timeout_ms);
    let tasks: Vec<_> = request
        .nodes
        .iter()
        .cloned()
        .map(|node| {
            let session = request.session;
            tokio::spawn(async move { node_facts(&node, session, within).await })
        })
        .collect();
    let mut nodes = Vec::new();
    for task in tasks {
        nodes.extend(task.await);
    }
    HostFacts {
        schema: SCHEMA,
        arch: std::env::consts::ARCH.into(),
        systemd: has_systemd(),
        uid: rustix::process::getuid().as_raw(),
        nodes,
    }
}

/// Whether systemd is PID 1 here.
pub(super) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

async fn node_facts(node: &NodeSpec, session: bool, within: Duration) -> NodeFacts {
    let state = state::running(&node.state_file());
    let zoo_cfg = fs::read_to_string(node.zoo_cfg()).ok();
    let mut facts = NodeFacts {
        name: node.name.clone(),
        release: link_target(&format!("{}/bin", node.dir)),
        releases: releases(&node.dir),
        my_id: fs::read_to_string(format!("{}/myid", node.data)).ok(),
        unit: fs::read_to_string(unit_file(node)).ok(),
        node_file: fs::read_to_string(node.node_file()).ok(),
        has_data: has_data(&node.data) || has_data(&node.txlog),
        free_bytes: free_bytes(node),
        process: state.as_ref().map(process_facts),
        taken_ports: process::taken_ports(node, state.as_ref().map(|s| s.pid)),
        ..NodeFacts::default()
    };
    let (host, port) = client_address(node, state.as_ref(), zoo_cfg.as_deref());
    facts.zoo_cfg = zoo_cfg;
    facts.answer = ask(&host, port, within).await;
    if session && matches!(facts.answer, Answer::Serving(_)) {
        facts.session = Some(open_session(&host, port, within).await);
    }
    facts
}

/// Where the running server, else the deployed file, else the inventory says clients connect.
pub(super) fn client_address(node: &NodeSpec, state: Option<&State>, zoo_cfg: Option<&str>) -> (String, u16) {
    let local = |bind: Option<String>| bind.unwrap_or_else(|| "127.0.0.1".into());
    if let Some((bind, port)) = state.and_then(|s| Some((s.bind.clone(), s.client_port?))) {
        return (local(bind), port);
    }
    let parsed =
        zoo_cfg.and_then(|text| Draft::read("zoo.cfg", text, &[]).finish(MyId::Unchecked, None).ok());
    match parsed.and_then(|(config, _)| config.client) {
        Some(client) => (local(client.address), client.port),
        None => (local(node.bind.clone()), node.ports[0]),
    }
}

/// What a client port says to `srvr`.
pub(super) async fn ask(host: &str, port: u16, within: Duration) -> Answer {
    match four_letter_word(host, port, "srvr", within).await {
        Err(WordError::Refused) => Answer::Refused,
        Err(error) => Answer::Silent(error.to_string()),
        Ok(text) => match ServerReport::parse(&text) {
            Ok(report) => Answer::Serving(report.into()),
            Err(ReportError::NotServing) => Answer::NotServing,
            Err(ReportError::Empty) => Answer::Silent("the connection was closed without an answer".into()),
            Err(_) => Answer::Strange(text.chars().take(200).collect()),
        },
    }
}

/// Opens a session and closes it again, which is two acknowledged writes; how long the first took, in ms.
pub(super) async fn open_session(host: &str, port: u16, within: Duration) -> Result<u64, String> {
    let begun = Instant::now();
    let options =
        Options { open: within, connect: within, retry: Duration::from_millis(20), ..Options::default() };
    let client = Client::connect(vec![(host.to_owned(), port)], options).await.map_err(|e| match e {
        ClientError::TimedOut { ms, last } if last.ends_with(&format!("no answer within {ms} ms")) => {
            format!("no session opened within {ms} ms")
        }
        ClientError::TimedOut { ms, last } => format!("no session opened within {ms} ms: {last}"),
        other => format!("no session opened: {other}"),
    })?;
    let took = begun.elapsed().as_millis() as u64;
    let _ = tokio::time::timeout(within, client.close()).await;
    Ok(took)
}

fn process_facts(state: &State) -> ProcessFacts {
    ProcessFacts {
        pid: state.pid,
        up_ms: process::up_ms(state),
        release: process::release_of(&state.program),
        config_sha256: state.config_sha256.clone(),
        members: state.members.clone(),
        unit: state.unit.clone(),
    }
}

fn link_target(link: &str) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    target.file_name().map(|n| n.to_string_lossy().into_owned())
}

fn releases(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(format!("{dir}/releases")).into_iter().flatten().flatten();
    let mut out: Vec<String> = entries
        .filter(|e| e.path().join("zkctl").is_file())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    out.sort();
    out
}

fn has_data(dir: &str) -> bool {
    fs::read_dir(format!("{dir}/version-2")).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("log.") || name.starts_with("snapshot.")
    })
}

/// The unit's file.
pub(super) fn unit_file(node: &NodeSpec) -> String {
    file_of_unit(&node.unit, node.user_unit)
}

/// A unit's file.
pub(super) fn file_of_unit(unit: &str, of_user: bool) -> String {
    if of_user {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.config/systemd/user/{unit}")
    } else {
        format!("/etc/systemd/system/{unit}")
    }
}

/// The least free space below a node's directories, asked at the nearest parent that exists.
fn free_bytes(node: &NodeSpec) -> Option<u64> {
    [&node.dir, &node.data, &node.txlog]
        .into_iter()
        .filter_map(|dir| {
            let there = Path::new(dir).ancestors().find(|p| p.exists())?;
            let stat = rustix::fs::statvfs(there).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
        .min()
}
