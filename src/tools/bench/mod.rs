//! A load generator: many sessions, one thread, requests that are copied and patched, not built.
//!
//! | file | owns |
//! |---|---|
//! | `requests` | the bytes of every request |
//! | `replies` | cutting replies without keeping them |
//! | `connection` | one session: its socket, what it has under way |
//! | `load` | the loop: when which request leaves, what its answer counts for |
//! | `subtree` | making and removing the znodes of a run |
//! | `null_server` | a server that does nothing, to know the price of the kernel |
//! | `usage` | CPU seconds |
//! | `report` | results as a table and as JSON |
//!
//! Deliberately absent: printing (`cli`), and starting servers.

mod connection;
mod load;
mod null_server;
mod replies;
mod report;
mod requests;
mod subtree;
mod usage;

pub use report::{BenchReport, Latency, ServerUsage};

use load::Load;
use null_server::NullServer;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use subtree::Subtree;
use thiserror::Error;

/// Which operations are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// setData of random keys.
    Set,
    /// getData of random keys.
    Get,
    /// create of new znodes.
    Create,
    /// Nine getData to one setData.
    Mixed,
}

impl Mix {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Set => "set",
            Mix::Get => "get",
            Mix::Create => "create",
            Mix::Mixed => "mixed",
        }
    }
}

/// How long the measured part of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So long.
    Time(Duration),
    /// So many operations.
    Operations(u64),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// `host:port` of the servers; sessions are spread over them in turn. Not used by a null run.
    pub servers: Vec<String>,
    /// Sessions, each with a connection of its own.
    pub connections: usize,
    /// Requests that each session keeps under way.
    pub pipeline: usize,
    /// What is asked.
    pub mix: Mix,
    /// Bytes of data in each znode.
    pub value_bytes: usize,
    /// Znodes that get and set choose from.
    pub keys: u64,
    /// Load before measuring begins.
    pub warm_up: Duration,
    /// Load that is measured.
    pub length: Length,
    /// Requests per second over all sessions, sent when they are due whether or not earlier ones are
    /// answered, up to the pipeline depth; latencies then count from when a request was due. `None`: as
    /// fast as they are answered.
    pub rate: Option<u64>,
    /// Processes whose CPU time is reported.
    pub server_pids: Vec<u32>,
    /// Measure a null server instead.
    pub null: bool,
    /// Leave the run's znodes where they are.
    pub keep: bool,
    /// Seed of the choice of keys.
    pub seed: u64,
    /// Set by whoever wants the run to end early; it still cleans up.
    pub stop: Arc<AtomicBool>,
}

impl Default for BenchOptions {
    fn default() -> BenchOptions {
        BenchOptions {
            servers: vec!["127.0.0.1:2181".into()],
            connections: 16,
            pipeline: 1,
            mix: Mix::Mixed,
            value_bytes: 1024,
            keys: 1000,
            warm_up: Duration::from_secs(1),
            length: Length::Time(Duration::from_secs(10)),
            rate: None,
            server_pids: Vec::new(),
            null: false,
            keep: false,
            seed: 1,
            stop: Arc::default(),
        }
    }
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum BenchError {
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// A name without an address.
    #[error("{server}: {error}")]
    Address {
        /// As it was given.
        server: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No session could be opened in time.
    #[error("{server}: no session within {seconds} s: {reason}")]
    NoSession {
        /// Which server was tried last.
        server: SocketAddr,
        /// How long was tried.
        seconds: u64,
        /// What happened last.
        reason: String,
    },
    /// Stopped before anything was measured.
    #[error("interrupted before all sessions were open")]
    Interrupted,
    /// Making or removing the run's znodes failed.
    #[error("{what}: {reason}")]
    Subtree {
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// A process whose CPU time was asked for cannot be read.
    #[error("process {pid}: {error}")]
    Process {
        /// Its id.
        pid: u32,
        /// What reading /proc said.
        error: io::Error,
    },
    /// A server that does not speak the protocol.
    #[error("{server} does not speak the protocol: {reason}")]
    Protocol {
        /// Which.
        server: SocketAddr,
        /// What it did.
        reason: String,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The most sessions of a run: one file each.
const CONNECTIONS_MAX: usize = 50_000;
/// The largest data that a server takes by default, and a little room for the path.
const VALUE_MAX: usize = crate::limits::JUTE_MAX_BUFFER - 1024;

fn check(options: &BenchOptions) -> Result<(), BenchError> {
    let refuse = |text: String| Err(BenchError::Option(text));
    if options.connections == 0 || options.connections > CONNECTIONS_MAX {
        return refuse(format!("connections: 1 to {CONNECTIONS_MAX}, not {}", options.connections));
    }
    if options.pipeline == 0 {
        return refuse("a pipeline of 0 requests asks nothing".into());
    }
    if options.value_bytes > VALUE_MAX {
        let got = options.value_bytes;
        return refuse(format!("{got} bytes of data: servers take {VALUE_MAX} by default (jute.maxbuffer)"));
    }
    if options.keys == 0 || options.keys > requests::KEYS_MAX {
        return refuse(format!("keys: 1 to {}, not {}", requests::KEYS_MAX, options.keys));
    }
    if options.rate == Some(0) {
        return refuse("a rate of 0 asks nothing".into());
    }
    if options.servers.is_empty() && !options.null {
        return refuse("no server is named".into());
    }
    Ok(())
}

fn resolve(servers: &[String]) -> Result<Vec<SocketAddr>, BenchError> {
    let one = |server: &String| {
        let address = |error| BenchError::Address { server: server.clone(), error };
        let mut found = server.to_socket_addrs().map_err(address)?;
        found.next().ok_or_else(|| address(io::Error::other("the name has no address")))
    };
    servers.iter().map(one).collect()
}

/// Runs a load and reports what it came to. The znodes it makes are below `/zkctl-bench-<pid>`, and are
/// removed at the end unless they are to be kept.
///
/// # Errors
/// Options that make no sense, servers that cannot be reached, or that answer the set-up with errors. Errors
/// under load are part of the report.
pub fn run(options: &BenchOptions) -> Result<BenchReport, BenchError> {
    check(options)?;
    if options.null {
        let server = NullServer::start(options.value_bytes)?;
        let servers = [server.address()];
        let report = Load::new(options, &servers, "/zkctl-bench-null").and_then(Load::run);
        server.stop();
        return report;
    }
    let servers = resolve(&options.servers)?;
    let subtree = Subtree::make(options, &servers)?;
    let report = Load::new(options, &servers, subtree.root()).and_then(Load::run);
    let removed = if options.keep { Ok(()) } else { subtree.remove() };
    let report = report?;
    removed.map(|()| report)
}
