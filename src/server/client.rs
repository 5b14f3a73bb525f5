//! One client connection: its bytes, its session, and its requests in order.

use crate::ids::SessionId;
use crate::pipeline::After;
use crate::time::Millis;
use crate::wire::opcode::OpCode;
use crate::wire::quorum::{self, AuthInfo};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Reads that may wait between two writes of a connection that are both being decided.
const WAITING_READS_MAX: usize = 64;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing understood yet: a word or a handshake.
    Silent,
    /// The session is being made or asked for.
    Opening,
    /// In session.
    Open,
    /// Nothing more is read.
    Closing,
}

/// Where a request stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// A write or sync under way.
    UnderWay,
    /// A read that waits for the writes before it.
    Waiting(Vec<u8>),
    /// A write behind a sync: it must not be decided before the reads between them are answered.
    Held(Vec<u8>),
    /// Answered, but not at its turn yet.
    Answered(Vec<u8>, After),
}

/// A request whose answer has not been written.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) xid: i32,
    pub(super) op: OpCode,
    pub(super) since: Millis,
    pub(super) state: State,
    /// A sync's path, which is its answer.
    pub(super) sync_body: Vec<u8>,
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    pub(super) stage: Stage,
    pub(super) opened: Millis,
    /// When it last gave a sign of life.
    pub(super) heard: Millis,
    /// Its answers stand so high that nothing more is answered until they are with the system.
    pub(super) paused: bool,
    pub(super) inbound: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) dirty: bool,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    /// Whether the client knows of read-only servers, and so wants the field in our answer.
    pub(super) read_only: Option<bool>,
    pub(super) identities: Vec<AuthInfo>,
    /// The identities as a REQUEST carries them.
    pub(super) identities_wire: Bytes,
    pub(super) pending: VecDeque<Pending>,
    /// How many of them count as in flight: none while it is the client that we wait for.
    pub(super) counted: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Client {
    pub(super) fn new(ip: IpAddr, port: u16, opened: Millis) -> Client {
        // A v4 client of a v6 socket is a v4 client.
        let ip = ip.to_canonical();
        let mut client = Client {
            ip,
            port,
            stage: Stage::Silent,
            opened,
            heard: opened,
            paused: false,
            inbound: Vec::new(),
            out: Vec::new(),
            dirty: false,
            session: SessionId(0),
            timeout_ms: 0,
            read_only: None,
            identities: crate::auth::identities_of(ip),
            identities_wire: Bytes::new(),
            pending: VecDeque::new(),
            counted: 0,
            received: 0,
            sent: 0,
        };
        client.encode_identities();
        client
    }

    /// After the identities have changed.
    pub(super) fn encode_identities(&mut self) {
        self.identities_wire = quorum::encode_auth(&self.identities).into();
    }

    /// Whether a write must wait before it is decided: it would overtake a sync, or so many reads that
    /// they may not all be answered at once when their turn comes.
    pub(super) fn must_hold(&self) -> bool {
        let mut reads = 0;
        self.pending.iter().any(|p| {
            reads += usize::from(matches!(p.state, State::Waiting(_)));
            p.op == OpCode::Sync || matches!(p.state, State::Held(_)) || reads > WAITING_READS_MAX
        })
    }

    /// Whether a write is being decided: the reads before it must be answered before it is applied.
    pub(super) fn has_write_under_way(&self) -> bool {
        self.pending.iter().any(|p| p.op.is_write() && matches!(p.state, State::UnderWay))
    }

    /// The first held write that nothing it must not overtake stands before any more: its place and body.
    pub(super) fn next_held(&mut self) -> Option<(i32, OpCode, Vec<u8>)> {
        let stops =
            |p: &Pending| p.op == OpCode::Sync || matches!(p.state, State::Held(_) | State::Waiting(_));
        let at = self.pending.iter().position(stops)?;
        let pending = &mut self.pending[at];
        let State::Held(body) = &mut pending.state else { return None };
        let body = std::mem::take(body);
        pending.state = State::UnderWay;
        Some((pending.xid, pending.op, body))
    }

    /// The request under way that a txn or an answer with this xid belongs to: the first such.
    pub(super) fn under_way(&mut self, xid: i32) -> Option<usize> {
        self.pending.iter().position(|p| p.xid == xid && matches!(p.state, State::UnderWay))
    }
}
