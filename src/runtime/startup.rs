//! Everything between the command line and the first turn of the loop: configuration, directories,
//! lock, recovery, ports. Whatever is wrong is said in one message with an exit code.

use super::ServeOptions;
use super::fs_disk::{Directories, FsDisk};
use super::hot_loop::Listeners;
use super::logging;
use crate::auth::AuthRules;
use crate::config::{Draft, DynamicFile, MyId, ServerConfig, text_of};
use crate::ids::Sid;
use crate::limits;
use crate::server::{ConfFacts, PeerAddress, ServerParts, Settings, VERSION};
use crate::storage::{self, DiskError, Recovered, RecoveryOptions, RoomMarks, StorageOptions};
use crate::zab;
use crate::zxid::Zxid;
use mio::Waker;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit codes of `serve`: the original's, then our own from 64.
pub mod exit_code {
    /// Something failed that has no code of its own.
    pub const ERROR: u8 = 1;
    /// The configuration cannot be used.
    pub const CONFIG: u8 = 2;
    /// A data directory cannot be used.
    pub const DATA_DIR: u8 = 3;
    /// The election or quorum port cannot be bound.
    pub const PEER_PORT: u8 = 14;
    /// The client port cannot be bound.
    pub const CLIENT_PORT: u8 = 64;
    /// What the disk holds is damaged.
    pub const DAMAGED: u8 = 65;
    /// Another server uses the data directory.
    pub const IN_USE: u8 = 66;
}

/// Why `serve` ended other than in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeFailure {
    /// The process's exit code.
    pub code: u8,
    /// What failed, where, why, and what to do.
    pub message: String,
}

impl ServeFailure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> ServeFailure {
        ServeFailure { code, message: message.into() }
    }
}

type Result<T> = std::result::Result<T, ServeFailure>;

/// The zoo.cfg to use: the one given, else ./conf/zoo.cfg, else ../conf/zoo.cfg beside the binary.
fn find_config(options: &ServeOptions) -> Result<PathBuf> {
    if let Some(given) = &options.config {
        return Ok(given.clone());
    }
    let here = PathBuf::from("conf/zoo.cfg");
    let beside =
        std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("conf/zoo.cfg")));
    for candidate in [Some(here.clone()), beside.clone()].into_iter().flatten() {
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let beside = beside.map_or_else(String::new, |b| format!(" and no {}", b.display()));
    let message = format!("there is no {}{beside}; name a zoo.cfg: zkctl serve PATH", here.display());
    Err(ServeFailure::new(exit_code::CONFIG, message))
}

fn read_text(path: &Path, what: &str) -> Result<String> {
    fs::read(path).map(text_of).map_err(|e| {
        ServeFailure::new(exit_code::CONFIG, format!("cannot read {what} {}: {e}", path.display()))
    })
}

/// Reads zoo.cfg, the dynamic file and myid.
pub(super) fn load(options: &ServeOptions) -> Result<ServerConfig> {
    let path = find_config(options)?;
    tracing::info!("configuration: {}", path.display());
    let draft =
        Draft::read(&path.display().to_string(), &read_text(&path, "the configuration")?, &options.defines);
    let my_id_path = draft.data_dir().map(|dir| Path::new(dir).join("myid"));
    let my_id = my_id_path.as_ref().and_then(|p| fs::read_to_string(p).ok());
    let dynamic = match draft.dynamic_config_file() {
        Some(name) => Some((name.to_owned(), read_text(Path::new(name), "dynamicConfigFile")?)),
        None => None,
    };
    let my_id = my_id.as_deref().map_or(MyId::Missing, MyId::Text);
    let dynamic = dynamic.as_ref().map(|(file, text)| DynamicFile { file, text });
    match draft.finish(my_id, dynamic) {
        Ok((config, warnings)) => {
            for warning in warnings {
                logging::warn(&warning.to_string());
            }
            Ok(config)
        }
        Err(errors) => {
            for warning in &errors.warnings {
                logging::warn(&warning.to_string());
            }
            Err(ServeFailure::new(exit_code::CONFIG, errors.to_string()))
        }
    }
}

/// As many files as the system lets us have: every connection is one.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(maximum) = limit.maximum
        && limit.current.is_some_and(|now| now < maximum)
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: Some(maximum), ..limit })
    {
        logging::warn(&format!("cannot raise the limit of open files: {e}"));
    }
}

/// Makes the directories, and refuses those that are somebody else's.
pub(super) fn directories(config: &ServerConfig) -> Result<Directories> {
    let base = PathBuf::from(&config.data_dir);
    let dirs = Directories {
        data: base.join("version-2"),
        log: Path::new(&config.data_log_dir).join("version-2"),
        base,
    };
    let refuse = |message: String| Err(ServeFailure::new(exit_code::DATA_DIR, message));
    for dir in [&dirs.data, &dirs.log] {
        // Every directory that will hold a new name: that is durable too, and nobody else syncs it.
        let above: Vec<_> = dir.ancestors().take_while(|d| !d.is_dir()).filter_map(Path::parent).collect();
        let is_new = !above.is_empty();
        if is_new && !config.datadir_autocreate {
            return refuse(format!("{} is missing, and datadir.autocreate is false", dir.display()));
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
        let sync = |dir: &Path| File::open(dir)?.sync_all();
        let synced = made
            .and_then(|()| sync(dir))
            .and_then(|()| above.iter().filter(|d| !d.as_os_str().is_empty()).try_for_each(|d| sync(d)));
        if let Err(e) = synced {
            return refuse(format!("cannot make {}: {e}; check the path and its owner", dir.display()));
        }
    }
    if dirs.data != dirs.log {
        for (dir, prefix, other) in [(&dirs.data, "log.", "dataLogDir"), (&dirs.log, "snapshot.", "dataDir")]
        {
            if let Some(name) = first_with_prefix(dir, prefix) {
                return refuse(format!(
                    "{} holds {name}, which belongs into {other}; dataDir is {} and dataLogDir is {}: move the \
                     file, or set both back to what they were",
                    dir.display(),
                    config.data_dir,
                    config.data_log_dir
                ));
            }
        }
    }
    Ok(dirs)
}

fn first_with_prefix(dir: &Path, prefix: &str) -> Option<String> {
    let names = fs::read_dir(dir).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|n| n.starts_with(prefix)).collect();
    names.sort();
    names.into_iter().next()
}

/// Keeps a second server out of the same directories for as long as the returned file is open.
pub(super) fn lock(dirs: &Directories) -> Result<File> {
    let path = dirs.data.join("zkctl.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|e| {
        let message = format!("cannot write {}: {e}; check the owner of the directory", path.display());
        ServeFailure::new(exit_code::DATA_DIR, message)
    })?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let message = format!("another zkctl server uses {}; stop it first", dirs.data.display());
        ServeFailure::new(exit_code::IN_USE, message)
    })?;
    Ok(file)
}

fn recovery_options(config: &ServerConfig, seed: u64) -> RecoveryOptions {
    if config.db_autocreate == Some(true) {
        logging::warn("db.autocreate=true: an empty data directory is trusted, even one that was wiped");
    }
    RecoveryOptions {
        seed,
        extended_types: config.extended_types,
        may_begin: config.is_standalone() || config.db_autocreate == Some(true),
        trust_empty: config.trust_empty_snapshot,
    }
}

/// Whether the other voters are a majority, so that they can bring back what this server has lost.
fn can_be_repaired(config: &ServerConfig) -> bool {
    let voters = config.members.voters().count();
    let others = config.members.voters().filter(|m| Some(m.sid) != config.my_sid).count();
    !config.is_standalone() && others * 2 > voters
}

/// Reads the database back; sets damage aside where others can bring back what it held.
pub(super) fn recover(config: &ServerConfig, dirs: &Directories) -> Result<(Recovered, u64)> {
    let seed = RandomState::new().hash_one(std::process::id());
    let options = recovery_options(config, seed);
    let mut disk = FsDisk::new(dirs.clone(), false);
    let recovered = match can_be_repaired(config) {
        true => storage::recover_repairable(&mut disk, &options),
        false => storage::recover(&mut disk, &options),
    };
    let recovered = recovered.map_err(|e| match e {
        DiskError::Recovery(error) => ServeFailure::new(exit_code::DAMAGED, error.to_string()),
        DiskError::Io { .. } | DiskError::Unreadable { .. } => {
            ServeFailure::new(exit_code::DATA_DIR, e.to_string())
        }
    })?;
    if config.is_standalone() && recovered.zab.trust == zab::Trust::Lost {
        // There is no leader to take another database from.
        return Err(ServeFailure::new(exit_code::DAMAGED, recovered.notes.join("; ")));
    }
    let last = recovered.zab.last;
    tracing::info!(
        "database: zxid {last}, {} znodes, {:?}",
        recovered.tree.node_count(),
        recovered.zab.trust
    );
    Ok((recovered, seed))
}

fn bind_address(host: Option<&str>, port: u16) -> std::io::Result<SocketAddr> {
    match host {
        None => Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)),
        Some(host) => (host, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| std::io::Error::other(format!("{host} has no address"))),
    }
}

fn listen_at(host: Option<&str>, port: u16, backlog: i32) -> std::io::Result<std::net::TcpListener> {
    let address = bind_address(host, port)?;
    match super::listen(address, backlog) {
        // A machine without IPv6; what is said is what was wrong with the first try.
        Err(e) if host.is_none() => {
            super::listen(SocketAddr::new([0, 0, 0, 0].into(), port), backlog).map_err(|_| e)
        }
        other => other,
    }
}

/// Opens the client and election ports, and works out where the quorum port will be.
pub(super) fn listen_all(config: &ServerConfig) -> Result<Listeners> {
    let backlog = config.listen_backlog.filter(|b| *b > 0).unwrap_or(limits::LISTEN_BACKLOG);
    let cannot = |what: &str, host: Option<&str>, port: u16, code: u8, e: std::io::Error| {
        let host = host.unwrap_or("*");
        let hint = "another process has it, or the address is not this machine's";
        ServeFailure::new(code, format!("cannot bind the {what} {host}:{port}: {e} ({hint})"))
    };
    let mut listeners = Listeners { client: None, election: None, quorum: None };
    if let Some(client) = &config.client {
        let host = client.address.as_deref();
        let listener = listen_at(host, client.port, backlog)
            .map_err(|e| cannot("client port", host, client.port, exit_code::CLIENT_PORT, e))?;
        listeners.client = Some(listener);
    }
    if config.is_standalone() {
        return Ok(listeners);
    }
    let Some(me) = config.me() else { return Ok(listeners) };
    // A damaged myid names another server, whose ports are taken or another machine's.
    let who = |port: &str| format!("{port} port of server.{}, which myid says this is,", me.sid);
    let address = me.address();
    let host = (!config.quorum_listen_on_all_ips).then_some(address.host.as_str());
    let election = listen_at(host, address.election_port, limits::LISTEN_BACKLOG)
        .map_err(|e| cannot(&who("election"), host, address.election_port, exit_code::PEER_PORT, e))?;
    listeners.election = Some(election);
    let quorum = bind_address(host, address.quorum_port)
        .map_err(|e| cannot(&who("quorum"), host, address.quorum_port, exit_code::PEER_PORT, e))?;
    listeners.quorum = Some(vec![quorum]);
    Ok(listeners)
}

/// SIGTERM and SIGINT stop the server in order.
pub(super) fn on_signals(stop: &Arc<AtomicBool>, waker: &Arc<Waker>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let (stop, waker) = (Arc::clone(stop), Arc::clone(waker));
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            stop.store(true, Ordering::Relaxed);
            let _ = waker.wake();
        }
    })?;
    Ok(())
}

fn environment() -> Vec<(String, String)> {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let cwd = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
    [
        ("zookeeper.version", version_line()),
        ("host.name", text(uname.nodename())),
        ("os.name", text(uname.sysname())),
        ("os.arch", text(uname.machine())),
        ("os.version", text(uname.release())),
        ("user.name", var("USER")),
        ("user.home", var("HOME")),
        ("user.dir", cwd),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn version_line() -> String {
    format!("{VERSION}, built on {}", option_env!("ZKCTL_BUILD_DATE").unwrap_or("unknown date"))
}

fn peers(config: &ServerConfig) -> std::collections::BTreeMap<Sid, PeerAddress> {
    let member = |m: &crate::config::Member| {
        let a = m.address();
        let address =
            PeerAddress { host: a.host.clone(), quorum_port: a.quorum_port, election_port: a.election_port };
        (m.sid, address)
    };
    config.members.members.iter().map(member).collect()
}

/// A limit in KB; 0 and below are none.
fn kb(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|kb| *kb > 0).map(|kb| kb.saturating_mul(1024))
}

/// The marks of an almost full disk.
pub(super) fn room_marks(config: &ServerConfig) -> RoomMarks {
    let bytes = |mb: Option<u64>| mb.map(|mb| mb << 20);
    RoomMarks { soft: bytes(config.zkctl.disk_soft_mb), hard: bytes(config.zkctl.disk_hard_mb) }
}

/// Hands configuration and database to the server.
pub(super) fn server_parts(
    config: &ServerConfig,
    recovered: Recovered,
    seed: u64,
    dirs: &Directories,
) -> ServerParts {
    let me = config.my_sid.unwrap_or(Sid(0));
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let (text, version) = (config.members.to_dynamic_text(), config.members.version as i64);
    let zab = zab::Config {
        me,
        quorum: zab::Majority::new(config.members.voters().map(|m| m.sid).collect()),
        standalone: config.is_standalone(),
        config_text: text.clone(),
        config_version: version,
        tick_ms: config.tick_ms.into(),
        init_limit: config.init_limit.into(),
        sync_limit: config.sync_limit.into(),
        settle_ms: 200,
        resend_ms: limits::NOTIFICATION_MS,
        window: (limits::COMMITTED_WINDOW_TXNS, limits::COMMITTED_WINDOW_BYTES),
        counter_max: Zxid::COUNTER_MAX,
    };
    let storage = StorageOptions {
        snap_count: config.snap_count,
        snap_bytes: kb(config.snap_size_limit_kb).unwrap_or(u64::MAX),
        log_bytes: kb(config.txn_log_size_limit_kb),
        prealloc_bytes: config.prealloc_bytes,
        force_sync: config.force_sync,
        purge: (config.autopurge.retain as usize, config.autopurge.interval_ms),
        recovery: recovery_options(config, seed),
        seed,
    };
    let port = |a: &Option<crate::config::ClientAddress>| a.as_ref().map_or(-1, |a| i32::from(a.port));
    let settings = Settings {
        me,
        members: peers(config),
        tick_ms: config.tick_ms.into(),
        session_ms: (config.min_session_ms as i32, config.max_session_ms as i32),
        connections_per_ip: config.max_client_cnxns as usize,
        connections: config.max_cnxns as usize,
        outstanding_max: config.global_outstanding as usize,
        sessionless_ms: config.sessionless_ms,
        frame_max: config.jute_max_buffer as usize,
        slice: limits::SNAPSHOT_SLICE,
        txn_max: (config.jute_max_buffer as usize + config.jute_extra as usize).min(limits::RECORD_BYTES_MAX),
        leader_serves: config.leader_serves,
        rules: AuthRules {
            super_digest: config.super_digest.clone(),
            digest: config.digest_auth,
            skip_acl: config.skip_acl,
        },
        whitelist: config.whitelist.clone(),
        conf: ConfFacts {
            client_port: port(&config.client),
            secure_client_port: port(&config.secure_client),
            data_dir: dirs.data.display().to_string(),
            data_log_dir: dirs.log.display().to_string(),
            listen_backlog: config.listen_backlog.unwrap_or(-1),
        },
        version_line: version_line(),
        environment: environment(),
        config_text: (text, version),
        seed,
        began_wall_ms: wall,
        storage,
        zab,
    };
    ServerParts { settings, recovered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str, my_id: &str) -> ServerConfig {
        let text = format!("dataDir=/d\nclientPort=2181\n{lines}");
        let draft = Draft::read("zoo.cfg", &text, &[]);
        draft.finish(MyId::Text(my_id), None).expect("a usable zoo.cfg").0
    }

    #[test]
    fn only_a_majority_of_others_repairs_a_server() {
        let list = |voters: u32, observers: u32| {
            let role = |n| if n > voters { ":observer" } else { "" };
            let line = |n| format!("server.{n}=h{n}:2182:2183{}\n", role(n));
            let ticks = "tickTime=2000\ninitLimit=10\nsyncLimit=5\n";
            ticks.to_owned() + &(1..=voters + observers).map(line).collect::<String>()
        };
        assert!(!can_be_repaired(&config("", "1")), "standalone");
        assert!(!can_be_repaired(&config(&list(2, 0), "1")), "one other of two");
        assert!(can_be_repaired(&config(&list(3, 0), "1")));
        assert!(can_be_repaired(&config(&list(4, 0), "4")), "three others of four");
        assert!(can_be_repaired(&config(&list(2, 1), "3")), "an observer of two voters");
        assert!(!can_be_repaired(&config(&list(2, 1), "2")), "a voter of two beside an observer");
    }
}
