//! One host, reached over the user's ssh or locally; at most six commands at once.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::command::{Command, Input, Output};
use super::explain::Attempt;
use super::ssh_config::{self, whole_seconds};
use crate::ops::inventory::{Become, Connection, Ensemble, HostKeys, Node, Ssh};

/// sshd refuses more than ten sessions on a connection rather than queue them.
const COMMANDS_AT_ONCE: usize = 6;
/// The longest path of a Unix socket is 108 bytes, and ssh adds a suffix.
const CONTROL_DIR_MAX: usize = 80;

/// What logging in may take beyond the time until the host answers, where nothing else is said.
const GRACE: Duration = Duration::from_millis(500);
/// How long ssh may take to say why it did not work.
const PATIENCE: Duration = Duration::from_secs(3);

/// A host as it is reached; nodes with the same target share a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// This machine.
    Local,
    /// Over ssh.
    Ssh(String, Ssh),
}

impl Target {
    /// Where a node is.
    pub fn of(ensemble: &Ensemble, node: &Node) -> Target {
        match ensemble.connection {
            Connection::Local => Target::Local,
            Connection::Ssh => Target::Ssh(node.host.clone(), node.ssh.clone()),
        }
    }

    /// The host's name for messages.
    pub fn name(&self) -> &str {
        match self {
            Target::Local => "this machine",
            Target::Ssh(host, _) => host,
        }
    }
}

/// Why a host could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RemoteError {
    /// No connection.
    #[error("{host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The connection broke, or nothing came in time.
    #[error("{host}: {reason}")]
    Lost {
        /// The host.
        host: String,
        /// What happened.
        reason: String,
    },
}

enum Way {
    Local,
    Ssh { session: Arc<Session>, sudo: bool, _files: PrivateDir },
}

/// A connected host.
pub struct Remote {
    host: String,
    way: Way,
    places: Semaphore,
}

impl Remote {
    /// Connects; `within` bounds all of it, finding out why it failed included.
    pub async fn connect(target: &Target, within: Option<Duration>) -> Result<Remote, RemoteError> {
        let host = target.name().to_owned();
        let places = Semaphore::new(COMMANDS_AT_ONCE);
        let Target::Ssh(name, ssh) = target else { return Ok(Remote { host, way: Way::Local, places }) };
        let fail = |reason: String| RemoteError::Connect { host: name.clone(), reason };
        let limit = within.unwrap_or(Duration::from_secs(ssh.connect_timeout_s.into()));
        let files = PrivateDir::new().map_err(|e| fail(format!("no private directory for ssh: {e}")))?;
        let config = ssh_config::write(&files.path, ssh, limit)
            .map_err(|e| fail(format!("writing ssh's configuration: {e}")))?;
        let attempt = Attempt { host: name, ssh, config: &config, limit };
        let builder = builder(ssh, limit, &files.path, &config);
        let begun = Instant::now();
        match timeout(within.unwrap_or(limit + GRACE), builder.connect_mux(name)).await {
            Ok(Ok(session)) => {
                let sudo = ssh.become_root == Become::Sudo;
                Ok(Remote { host, way: Way::Ssh { session: Arc::new(session), sudo, _files: files }, places })
            }
            Ok(Err(error)) => {
                let patience = within.map_or(PATIENCE, |within| within.saturating_sub(begun.elapsed()));
                Err(fail(attempt.explain(&error, patience).await))
            }
            Err(_) => Err(fail(attempt.silence())),
        }
    }

    /// Its name for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: Command) -> Result<Output, RemoteError> {
        let lost = |reason: String| RemoteError::Lost { host: self.host.clone(), reason };
        let _place = self.places.acquire().await.map_err(|e| lost(e.to_string()))?;
        // The host ends the command itself; this is for a host that no longer answers.
        let limit = command.timeout + Duration::from_secs(5);
        let run = async {
            match &self.way {
                Way::Local => run_local(&command).await,
                Way::Ssh { session, sudo, .. } => run_ssh(session, &command, *sudo).await,
            }
        };
        match timeout(limit, run).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(reason)) => Err(lost(reason)),
            Err(_) => Err(lost(format!(
                "nothing came back within {} s: {}",
                limit.as_secs(),
                command.words.join(" ")
            ))),
        }
    }

    /// Starts a command that holds something for as long as its standard input is open, and reads the first
    /// line it writes.
    pub(super) async fn hold(&self, command: &Command) -> Result<Held, RemoteError> {
        let lost = |reason: String| RemoteError::Lost { host: self.host.clone(), reason };
        let held = async {
            match &self.way {
                Way::Local => hold_local(command).await,
                Way::Ssh { session, sudo, .. } => hold_ssh(session, command, *sudo).await,
            }
        };
        match timeout(command.timeout, held).await {
            Ok(held) => held.map_err(lost),
            Err(_) => Err(lost(format!("nothing came back within {} s", command.timeout.as_secs()))),
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        if let Way::Ssh { session, .. } = self.way
            && let Ok(session) = Arc::try_unwrap(session)
        {
            let _ = timeout(Duration::from_secs(2), session.close()).await;
        }
    }
}

fn builder(ssh: &Ssh, limit: Duration, control: &Path, config: &Path) -> SessionBuilder {
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(match ssh.host_keys {
            HostKeys::Strict => KnownHosts::Strict,
            HostKeys::AcceptNew => KnownHosts::Add,
            HostKeys::Off => KnownHosts::Accept,
        })
        .connect_timeout(whole_seconds(limit))
        .server_alive_interval(Duration::from_secs(10))
        .control_directory(control)
        .control_persist(ControlPersist::IdleFor(std::num::NonZeroUsize::MIN.saturating_add(119)))
        .config_file(config);
    if let Some(user) = &ssh.user {
        builder.user(user.clone());
    }
    if let Some(port) = ssh.port {
        builder.port(port);
    }
    if let Some(key) = &ssh.key {
        builder.keyfile(key);
    }
    if let Some(file) = &ssh.known_hosts {
        builder.user_known_hosts_file(file);
    }
    if !ssh.jump.is_empty() {
        builder.jump_hosts(&ssh.jump);
    }
    builder
}

/// A directory of this user's own for control sockets, removed with its value.
struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    fn new() -> io::Result<PrivateDir> {
        use std::os::unix::fs::DirBuilderExt as _;
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let fits = |p: &PathBuf| p.is_absolute() && p.is_dir() && p.as_os_str().len() <= CONTROL_DIR_MAX - 40;
        let base = runtime.filter(fits).unwrap_or_else(|| PathBuf::from("/tmp"));
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("zkctl-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(PrivateDir { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

async fn feed(mut stdin: impl AsyncWriteExt + Unpin, input: &Input) -> io::Result<()> {
    match input {
        Input::None => {}
        Input::Bytes(bytes) => stdin.write_all(bytes).await?,
        Input::File(path) => {
            let mut file = tokio::fs::File::open(path).await?;
            tokio::io::copy(&mut file, &mut stdin).await?;
        }
    }
    stdin.shutdown().await
}

async fn drain(from: Option<impl AsyncReadExt + Unpin>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut out).await?;
    }
    Ok(out)
}

/// A command of this machine, all three streams ours. An interrupt from the terminal is for us alone: what
/// is under way is finished, and what is held stays held meanwhile.
fn local_command(words: &[String]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    command
}

/// A command of the host, all three streams ours.
async fn ssh_child(session: &Arc<Session>, words: &[String]) -> Result<openssh::Child<Arc<Session>>, String> {
    let mut command = Arc::clone(session).arc_command(words[0].clone());
    command.args(&words[1..]);
    command.stdin(openssh::Stdio::piped()).stdout(openssh::Stdio::piped()).stderr(openssh::Stdio::piped());
    command.spawn().await.map_err(|e| chain(&e))
}

async fn run_local(command: &Command) -> Result<Output, String> {
    let words = command.wrapped(false, true);
    let mut child =
        local_command(&words).kill_on_drop(true).spawn().map_err(|e| format!("{}: {e}", words[0]))?;
    let stdin = child.stdin.take().ok_or("no standard input")?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    // A program that ends early closes its input; what it said counts, not the broken pipe.
    let (_, out, err) = tokio::join!(feed(stdin, &command.input), drain(out), drain(err));
    let status = child.wait().await.map_err(|e| e.to_string())?;
    Ok(Output { code: status.code(), stdout: out.unwrap_or_default(), stderr: err.unwrap_or_default() })
}

async fn run_ssh(session: &Arc<Session>, command: &Command, sudo: bool) -> Result<Output, String> {
    let words = command.wrapped(sudo, true);
    let mut child = ssh_child(session, &words).await?;
    let stdin = child.stdin().take().ok_or("no standard input")?;
    let (out, err) = (child.stdout().take(), child.stderr().take());
    let (_, out, err) = tokio::join!(feed(stdin, &command.input), drain(out), drain(err));
    let code = match child.wait().await {
        Ok(status) => status.code(),
        Err(openssh::Error::RemoteProcessTerminated) => None,
        // The library's word for exit code 127; what the shell or the program said is worth more.
        Err(openssh::Error::Remote(error)) if error.kind() == io::ErrorKind::NotFound => Some(127),
        Err(error) => return Err(chain(&error)),
    };
    Ok(Output { code, stdout: out.unwrap_or_default(), stderr: err.unwrap_or_default() })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(out, ": {cause}");
        next = cause.source();
    }
    out
}

/// A command that holds something until this is dropped.
pub(super) struct Held {
    /// The first line it wrote.
    pub(super) said: String,
    /// What it wrote on standard error, when it ended instead.
    pub(super) ended: Option<String>,
    _keep: Keep,
}

/// Closing standard input is what lets go.
#[expect(dead_code, reason = "held for being dropped")]
enum Keep {
    Local(tokio::process::Child),
    Ssh(openssh::Child<Arc<Session>>, openssh::ChildStdin),
    Nothing,
}

async fn first_line(out: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = Vec::new();
    while let Ok(byte) = out.read_u8().await {
        if byte == b'\n' {
            break;
        }
        line.push(byte);
    }
    String::from_utf8_lossy(&line).into_owned()
}

async fn hold_local(command: &Command) -> Result<Held, String> {
    let words = command.wrapped(false, false);
    let mut child = local_command(&words).spawn().map_err(|e| format!("{}: {e}", words[0]))?;
    let mut out = child.stdout.take().ok_or("no standard output")?;
    let said = first_line(&mut out).await;
    if said == super::lock::HELD {
        return Ok(Held { said, ended: None, _keep: Keep::Local(child) });
    }
    drop(child.stdin.take());
    let err = drain(child.stderr.take()).await.unwrap_or_default();
    Ok(Held { said, ended: Some(String::from_utf8_lossy(&err).into_owned()), _keep: Keep::Nothing })
}

async fn hold_ssh(session: &Arc<Session>, command: &Command, sudo: bool) -> Result<Held, String> {
    let words = command.wrapped(sudo, false);
    let mut child = ssh_child(session, &words).await?;
    let stdin = child.stdin().take().ok_or("no standard input")?;
    let mut out = child.stdout().take().ok_or("no standard output")?;
    let said = first_line(&mut out).await;
    if said == super::lock::HELD {
        return Ok(Held { said, ended: None, _keep: Keep::Ssh(child, stdin) });
    }
    drop(stdin);
    let err = drain(child.stderr().take()).await.unwrap_or_default();
    Ok(Held { said, ended: Some(String::from_utf8_lossy(&err).into_owned()), _keep: Keep::Nothing })
}
