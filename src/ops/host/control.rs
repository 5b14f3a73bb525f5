//! Starting, stopping and waiting for the server of one node, under systemd or as a plain process.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::apply::account_of;
use super::owner;
use super::probe::{ask, client_address, has_systemd, open_session};
use super::process;
use super::protocol::{Answer, AwaitRequest, Awaited, NodeSpec, Started};
use super::state::{self, State, Unit};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

pub(super) fn under_systemd(node: &NodeSpec) -> bool {
    node.systemd.unwrap_or_else(has_systemd)
}

/// Runs systemctl, of the user or of the system.
pub(super) fn systemctl(of_user: bool, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("systemctl");
    if of_user {
        command.arg("--user");
    }
    let shown = format!("systemctl {}", arguments.join(" "));
    let output = command.args(arguments).output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown} failed ({}): {}", output.status, said.trim()))
}

/// Who starts or stops a node's server does so alone: the lock of its run directory.
async fn alone(node: &NodeSpec) -> Result<fs::File, String> {
    let dir = format!("{}/run", node.dir);
    let opened = fs::create_dir_all(&dir).and_then(|()| fs::File::open(&dir));
    let file = opened.map_err(|e| format!("opening {dir}: {e}"))?;
    let begun = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if begun.elapsed() > STOP * 2 + START {
            return Err(format!("somebody else is starting or stopping the server of {}", node.dir));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(file)
}

/// Starts the server unless it runs.
pub(super) async fn start(node: &NodeSpec) -> Result<Started, String> {
    let _alone = alone(node).await?;
    start_alone(node).await
}

async fn start_alone(node: &NodeSpec) -> Result<Started, String> {
    if let Some(state) = state::running(&node.state_file()) {
        return Ok(Started { pid: state.pid, already: true });
    }
    if let Some(taken) = process::taken_ports(node, None).into_iter().next() {
        let by = taken.by.map(|by| format!(" by {by}")).unwrap_or_default();
        return Err(format!("port {} is taken{by}; free it, or give the node another port", taken.port));
    }
    // What an earlier server wrote as root since the last deploy, this one must be able to write.
    owner::settle(node)?;
    let _ = fs::remove_file(node.state_file());
    let mut child = if under_systemd(node) {
        systemctl(node.user_unit, &["start", &node.unit])?;
        None
    } else {
        Some(detached(node)?)
    };
    // Up is who listens: everything that a server refuses, it refuses before. A large database takes its time.
    let begun = Instant::now();
    loop {
        let state = state::running(&node.state_file());
        if let Some(state) = &state {
            let (host, port) = client_address(node, Some(state), None);
            let late = begun.elapsed() > START;
            if late || ask(&host, port, Duration::from_millis(500)).await != Answer::Refused {
                return Ok(Started { pid: state.pid, already: false });
            }
        }
        let ended = child.as_mut().and_then(|c| c.try_wait().ok().flatten());
        if let Some(status) = ended {
            return Err(format!("the server ended at once ({status}){}", logged(node)));
        }
        if begun.elapsed() > START {
            return Err(format!("the server did not come up within {} s{}", START.as_secs(), logged(node)));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn logged(node: &NodeSpec) -> String {
    let lines = process::last_lines(node, 10);
    if lines.is_empty() { String::new() } else { format!("; its last lines:\n{}", lines.join("\n")) }
}

/// Spawns the server in a session of its own, away from whoever started it.
fn detached(node: &NodeSpec) -> Result<std::process::Child, String> {
    let program = format!("{}/bin/zkctl", node.dir);
    let console = Path::new(&node.logs).join("console.log");
    fs::create_dir_all(&node.logs).map_err(|e| format!("creating {}: {e}", node.logs))?;
    let open = || fs::OpenOptions::new().create(true).append(true).open(&console);
    let failed = |e: std::io::Error| format!("opening {}: {e}", console.display());
    let (out, err) = (open().map_err(failed)?, open().map_err(failed)?);
    let mut command = Command::new(&program);
    command
        .args(["serve", "-c", &node.zoo_cfg(), "--log-dir", &node.logs, "--state-file", &node.state_file()])
        .arg("--detached")
        .env_remove("INVOCATION_ID")
        .current_dir(&node.dir)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    if let Some(account) = account_of(node)?
        && rustix::process::geteuid().is_root()
    {
        command.uid(account.uid).gid(account.gid);
    }
    command.spawn().map_err(|e| format!("starting {program}: {e}"))
}

/// Stops the server if it runs; whether it did.
pub(super) async fn stop(node: &NodeSpec) -> Result<bool, String> {
    let _alone = alone(node).await?;
    stop_alone(node).await
}

async fn stop_alone(node: &NodeSpec) -> Result<bool, String> {
    let Some(state) = state::running(&node.state_file()) else { return Ok(false) };
    // What runs is what is stopped, whatever unit the node is to have from now on.
    match state.unit_of(node) {
        Some(Unit { name, of_user }) => systemctl(of_user, &["stop", &name])?,
        None => signal(&state, Signal::TERM)?,
    }
    let begun = Instant::now();
    let mut killed = false;
    while process::is_alive(&state) {
        if begun.elapsed() > STOP && !killed {
            killed = true;
            signal(&state, Signal::KILL)?;
        }
        if begun.elapsed() > STOP * 2 {
            return Err(format!("process {} does not end, not even when killed", state.pid));
        }
        tokio::time::sleep(POLL).await;
    }
    if state::written(&node.state_file()).is_some_and(|now| now == state) {
        let _ = fs::remove_file(node.state_file());
    }
    Ok(true)
}

fn signal(state: &State, signal: Signal) -> Result<(), String> {
    let pid = Pid::from_raw(state.pid).ok_or("no process id")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(format!("signalling process {}: {error}", state.pid)),
    }
}

/// Stops and starts with nothing in between.
pub(super) async fn restart(node: &NodeSpec) -> Result<Started, String> {
    let _alone = alone(node).await?;
    stop_alone(node).await?;
    start_alone(node).await
}

/// Waits until the server serves in its role and a session opens on it.
pub(super) async fn wait(wanted: &AwaitRequest) -> Result<Awaited, String> {
    let node = &wanted.node;
    let begun = Instant::now();
    let limit = Duration::from_millis(wanted.timeout_ms);
    let short = Duration::from_millis(500);
    loop {
        let state = state::running(&node.state_file());
        let zoo_cfg = fs::read_to_string(node.zoo_cfg()).ok();
        let (host, port) = client_address(node, state.as_ref(), zoo_cfg.as_deref());
        let answer = ask(&host, port, short).await;
        let reason = match &answer {
            Answer::Serving(srvr) if !fits(wanted.role.as_deref(), srvr.mode.text()) => {
                format!("it is {} instead of {}", srvr.mode.text(), wanted.role.as_deref().unwrap_or(""))
            }
            Answer::Serving(_) => match open_session(&host, port, Duration::from_millis(1000)).await {
                Ok(took) => {
                    let (session_ms, reason) = (Some(took), None);
                    return Ok(Awaited { answer, session_ms, reason, alive: true });
                }
                Err(error) => error,
            },
            Answer::NotServing => "it runs, but has no leader".into(),
            Answer::Refused => "it does not listen yet".into(),
            Answer::Silent(why) => format!("it does not answer: {why}"),
            Answer::Strange(text) => format!("something else answers there: {text}"),
            Answer::None => String::new(),
        };
        let alive = state.is_some();
        if begun.elapsed() > limit || !alive {
            let reason = if alive { reason } else { "its process has ended".into() };
            return Ok(Awaited { answer, session_ms: None, reason: Some(reason), alive });
        }
        tokio::time::sleep(POLL * 2).await;
    }
}

fn fits(role: Option<&str>, mode: &str) -> bool {
    match role {
        Some("observer") => mode == "observer",
        Some(_) => matches!(mode, "leader" | "follower" | "standalone"),
        None => true,
    }
}
