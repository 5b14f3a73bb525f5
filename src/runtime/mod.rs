//! The only floor with sockets, files, threads and clocks. Decides nothing.
//!
//! `serve` reads the configuration, recovers the database, opens the ports and runs the hot loop
//! until the server exits. Everything that can be refused is refused here, before anything changes.

mod direct_log;
mod disk_thread;
mod fs_disk;
mod hot_loop;
mod logging;
mod sockets;
mod startup;

pub use startup::{ServeFailure, exit_code};

use crate::server::Server;
use disk_thread::DiskThreads;
use fs_disk::FsDisk;
use hot_loop::{HotLoop, Parts};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// What the command line asks of `serve`.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The zoo.cfg; found by the rule of `startup::find_config` when not given.
    pub config: Option<PathBuf>,
    /// Write the log there instead of to stderr.
    pub log_dir: Option<PathBuf>,
    /// `-D name=value`.
    pub defines: Vec<(String, String)>,
}

/// Runs a server until it ends. `Ok` is an ordered stop. `locked` is called once the data directory is this
/// server's alone, before anything is read from it; what it answers as an error ends the server.
///
/// # Errors
/// What failed, with the exit code that says so.
pub fn serve(options: &ServeOptions, locked: &dyn Fn() -> Result<(), String>) -> Result<(), ServeFailure> {
    logging::start(options.log_dir.as_deref())
        .map_err(|e| ServeFailure::new(exit_code::ERROR, format!("cannot write logs: {e}")))?;
    run(options, locked).inspect_err(|failure| {
        // Who reads the files later must find the reason there; on stderr the caller says it.
        if options.log_dir.is_some() {
            tracing::error!("{}", failure.message);
        }
    })
}

fn run(options: &ServeOptions, locked: &dyn Fn() -> Result<(), String>) -> Result<(), ServeFailure> {
    let config = startup::load(options)?;
    startup::raise_file_limit();
    let dirs = startup::directories(&config)?;
    let _lock = startup::lock(&dirs)?;
    locked().map_err(|message| ServeFailure::new(exit_code::ERROR, message))?;
    let (recovered, seed) = startup::recover(&config, &dirs)?;
    for note in &recovered.notes {
        logging::warn(note);
    }
    let listeners = startup::listen_all(&config)?;
    let began = Instant::now();
    let io = |e: std::io::Error| ServeFailure::new(exit_code::ERROR, e.to_string());
    let stop = Arc::new(AtomicBool::new(false));
    let (poll, waker) = hot_loop::poll_and_waker().map_err(io)?;
    startup::on_signals(&stop, &waker).map_err(io)?;
    // Who does not wait for the disk gains nothing by going past its cache.
    let direct = config.force_sync;
    let disk =
        DiskThreads::start(FsDisk::new(dirs.clone(), direct), FsDisk::new(dirs.clone(), direct), &waker)
            .map_err(io)?;
    let dial_timeout = Duration::from_millis(config.cnx_timeout_ms.into());
    let parts = startup::server_parts(&config, recovered, seed, &dirs);
    let server = Server::new(parts).watching_room(startup::room_marks(&config));
    let parts = Parts { poll, waker, server, disk, listeners, began, stop, dial_timeout, dirs };
    match HotLoop::new(parts).and_then(HotLoop::run).map_err(io)? {
        (0, _) => Ok(()),
        (code, reason) => Err(ServeFailure::new(code, reason)),
    }
}

/// Binds a listener that a restarted server can have at once.
fn listen(address: SocketAddr, backlog: i32) -> std::io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        // One socket for both families, as Java binds.
        sockopt::set_ipv6_v6only(&fd, false)?;
    }
    bind(&fd, &address)?;
    listen(&fd, backlog)?;
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
