//! What goes into a server and what comes out of it: two closed enums.
//!
//! The runtime names accepted connections and links; the server names the links it dials. Bytes go
//! in borrowed and come out in one piece per connection and turn.

use crate::ids::{ConnId, LinkId};
use crate::storage::{Batch, BatchDone};
use std::net::IpAddr;

/// Which of our peer ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPort {
    /// Votes.
    Election,
    /// Leader and learners.
    Quorum,
}

/// What only the runtime knows of its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Open file descriptors.
    pub open_files: u64,
    /// The most there may be.
    pub max_files: u64,
    /// Bytes in the snapshots' directory.
    pub data_bytes: u64,
    /// Bytes in the logs' directory.
    pub log_bytes: u64,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A client connected.
    ClientOpened {
        /// Its connection.
        conn: ConnId,
        /// From where.
        ip: IpAddr,
        /// From which port.
        port: u16,
    },
    /// A client sent bytes.
    ClientBytes {
        /// Its connection.
        conn: ConnId,
        /// What.
        bytes: &'a [u8],
    },
    /// A client is gone.
    ClientClosed(ConnId),
    /// A peer connected to one of our ports.
    PeerAccepted {
        /// Its link.
        link: LinkId,
        /// Which port.
        port: PeerPort,
    },
    /// The link that we dialled stands.
    PeerDialled(LinkId),
    /// The link that we dialled could not be made.
    PeerDialFailed {
        /// Which.
        link: LinkId,
        /// Somebody is there and nobody listens: not silence, an answer.
        refused: bool,
    },
    /// A peer sent bytes.
    PeerBytes {
        /// Its link.
        link: LinkId,
        /// What.
        bytes: &'a [u8],
    },
    /// All bytes of a `PeerSend` that asked for it are with the system.
    PeerDrained(LinkId),
    /// A link ended.
    PeerClosed(LinkId),
    /// All bytes of a `ClientSend` that asked for it are with the system.
    ClientDrained(ConnId),
    /// A batch was executed.
    Disk(BatchDone),
    /// Time passed.
    Tick,
    /// Everything that was readable has been handed in: flush.
    TurnEnd,
    /// The answer to `GatherFacts`.
    Facts(ProcessFacts),
    /// Stop in order.
    Stop,
}

/// Whether a client connection's bytes are taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Yes.
    Open,
    /// Too many requests are in flight, some of its own among them: when either has changed.
    Full,
    /// It has enough to take itself first: when what it is being sent is with the system.
    Paused,
}

/// How loud a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks closely.
    Debug,
    /// What operators want to read afterwards.
    Info,
    /// Something that should not be.
    Warn,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to a client.
    ClientSend {
        /// Its connection.
        conn: ConnId,
        /// What.
        bytes: Vec<u8>,
        /// Tell by `ClientDrained` when all of it is with the system.
        tell: bool,
    },
    /// Close a client's connection once what was sent is with the system.
    ClientClose(ConnId),
    /// Dial a peer.
    PeerDial {
        /// The link's name from now on.
        link: LinkId,
        /// The host, as the member list has it.
        host: String,
        /// The port.
        port: u16,
    },
    /// Send to a peer.
    PeerSend {
        /// The link.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
        /// Tell by `PeerDrained` when all of it is with the system.
        tell: bool,
    },
    /// Close a link once what was sent is with the system.
    PeerClose(LinkId),
    /// Open our quorum port.
    Listen,
    /// Close our quorum port.
    StopListening,
    /// Execute on the disk.
    Disk(Batch),
    /// Hand in the process's facts: somebody asked.
    GatherFacts,
    /// Say something in the log.
    Log(Level, String),
    /// End the process.
    Exit {
        /// Its exit code.
        code: u8,
        /// Why; empty for an ordered stop.
        reason: String,
    },
}
