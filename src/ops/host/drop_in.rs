//! The verbs behind `bin/zkServer.sh`, with the original's words and exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control;
use super::probe::{ask, client_address};
use super::protocol::{Answer, NodeSpec};
use super::state;
use crate::config::{Draft, MyId};

/// What the script asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropIn {
    /// `zkServer.sh start`.
    Start,
    /// `zkServer.sh stop`.
    Stop,
    /// `zkServer.sh status`.
    Status,
    /// `zkServer.sh print-cmd`.
    PrintCmd,
}

/// Does it; answers the text for stdout and the exit code.
pub async fn drop_in(verb: DropIn, config: &Path, log_dir: Option<&Path>) -> (String, u8) {
    let Ok(text) = fs::read_to_string(config) else {
        return (format!("grep: {}: No such file or directory\n", config.display()), 1);
    };
    let node = node_of(config, &text, log_dir);
    match verb {
        DropIn::Start => start(&node).await,
        DropIn::Stop => match control::stop(&node).await {
            Ok(true) => ("Stopping zookeeper ... STOPPED\n".into(), 0),
            Ok(false) => {
                let file = node.state_file();
                (format!("Stopping zookeeper ... no zookeeper to stop (could not find file {file})\n"), 0)
            }
            Err(error) => (format!("Stopping zookeeper ... {error}\n"), 1),
        },
        DropIn::Status => status(&node, &text).await,
        DropIn::PrintCmd => {
            let (program, config) = (format!("{}/bin/zkctl", node.dir), config.display());
            (format!("\"{program}\" serve -c \"{config}\" --log-dir \"{}\"\n", node.logs), 0)
        }
    }
}

async fn start(node: &NodeSpec) -> (String, u8) {
    let head = "Starting zookeeper ... ";
    match control::start(node).await {
        Ok(started) if started.already => (format!("{head}already running as process {}.\n", started.pid), 1),
        Ok(_) => (format!("{head}STARTED\n"), 0),
        Err(error) => (format!("{head}FAILED TO START\n{error}\n"), 1),
    }
}

async fn status(node: &NodeSpec, zoo_cfg: &str) -> (String, u8) {
    let running = state::running(&node.state_file());
    let (host, port) = client_address(node, running.as_ref(), Some(zoo_cfg));
    let shown = if host == "127.0.0.1" { "localhost" } else { &host };
    let head = format!("Client port found: {port}. Client address: {shown}. Client SSL: false.\n");
    match ask(&host, port, Duration::from_secs(5)).await {
        Answer::Serving(srvr) => (format!("{head}Mode: {}\n", srvr.mode.text()), 0),
        _ => (format!("{head}Error contacting service. It is probably not running.\n"), 1),
    }
}

/// The node that a zoo.cfg belongs to: the directory above `conf`.
/// What a deploy left beside zoo.cfg says how its server is kept.
fn node_of(config: &Path, text: &str, log_dir: Option<&Path>) -> NodeSpec {
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let dir: PathBuf = absolute.parent().and_then(Path::parent).unwrap_or(Path::new("/")).to_owned();
    let dir = fs::canonicalize(&dir).unwrap_or(dir);
    let shown = |p: &Path| p.display().to_string();
    let parsed = Draft::read("zoo.cfg", text, &[]).finish(MyId::Unchecked, None).ok().map(|(c, _)| c);
    let client = parsed.as_ref().and_then(|c| c.client.clone());
    let log_dir =
        log_dir.map(|given| shown(&std::path::absolute(given).unwrap_or_else(|_| given.to_owned())));
    let mut node = NodeSpec {
        name: dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        data: parsed.as_ref().map(|c| c.data_dir.clone()).unwrap_or_default(),
        txlog: parsed.as_ref().map(|c| c.data_log_dir.clone()).unwrap_or_default(),
        logs: shown(&dir.join("logs")),
        bind: client.as_ref().and_then(|c| c.address.clone()),
        ports: [client.map_or(2181, |c| c.port), 0, 0],
        dir: shown(&dir),
        unit: String::new(),
        user_unit: false,
        systemd: Some(false),
        user: None,
    };
    if let Some(deployed) = deployed(&node) {
        let NodeSpec { unit, user_unit, systemd, user, logs, .. } = deployed;
        node = NodeSpec { unit, user_unit, systemd, user, logs, ..node };
    }
    if let Some(given) = log_dir {
        node.logs = given;
    }
    node
}

/// What `apply` wrote, if it was for this very directory.
fn deployed(node: &NodeSpec) -> Option<NodeSpec> {
    let spec = NodeSpec::from_node_file(&fs::read_to_string(node.node_file()).ok()?)?;
    (fs::canonicalize(&spec.dir).ok()? == Path::new(&node.dir)).then_some(spec)
}
