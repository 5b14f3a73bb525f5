//! Client connections: words and handshakes, frames, requests in order, ends.
//!
//! The original's order is kept by one rule: an answer is written only when everything the same
//! connection asked before has been answered. Reads behind a write wait; other connections do not.

use super::client::{Client, Pending, Stage, State};
use super::event::{Action, Intake, Level};
use super::{Server, Service};
use crate::ids::{ConnId, SessionId};
use crate::jute::Error;
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::pipeline::{After, ReadRequest, Reads};
use crate::session::password;
use crate::time::Now;
use crate::wire::connect::{ConnectRequest, ConnectResponse};
use crate::wire::errcode::ErrorCode;
use crate::wire::frame;
use crate::wire::opcode::{OpCode, xid};
use crate::wire::reply::{ReplyHeader, put_header_only};
use crate::wire::request::{AuthPacket, RequestHeader};
use std::net::IpAddr;

/// What a frame or a handshake came to.
pub(super) enum Verdict {
    /// Go on.
    Stay,
    /// Close, for this reason.
    Close(&'static str),
}

impl Server {
    pub(super) fn on_client_opened(
        &mut self,
        now: Now,
        conn: ConnId,
        ip: IpAddr,
        port: u16,
        out: &mut Vec<Action>,
    ) {
        let client = Client::new(ip, port, now.mono);
        let count = self.per_ip.entry(client.ip).or_default();
        *count += 1;
        let (per_ip, all) = (self.settings.connections_per_ip, self.settings.connections);
        let refused = (per_ip > 0 && *count > per_ip) || (all > 0 && self.clients.len() >= all);
        let ip = client.ip;
        self.clients.insert(conn, client);
        if refused || self.stopping {
            out.push(Action::Log(Level::Warn, format!("too many connections, {ip} is refused one")));
            self.close_client(conn, out);
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn forget_client(&mut self, conn: ConnId) {
        let Some(client) = self.clients.remove(&conn) else { return };
        self.outstanding -= client.counted;
        self.watches.remove_conn(conn);
        if self.by_session.get(&client.session) == Some(&conn) {
            self.by_session.remove(&client.session);
        }
        if let Some(count) = self.per_ip.get_mut(&client.ip) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&client.ip);
            }
        }
    }

    /// Closes a connection once what was written is sent.
    pub(super) fn close_client(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        if let Some(client) = self.clients.get_mut(&conn) {
            if !client.out.is_empty() {
                out.push(Action::ClientSend { conn, bytes: std::mem::take(&mut client.out), tell: false });
            }
            out.push(Action::ClientClose(conn));
            self.forget_client(conn);
        }
    }

    /// Every connection that has begun a session; those that only ask words stay.
    pub(super) fn close_clients(&mut self, out: &mut Vec<Action>) {
        let in_session = self.clients.iter().filter(|(_, c)| c.stage != Stage::Silent || self.stopping);
        for conn in in_session.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close_client(conn, out);
        }
    }

    /// Closes connections that never said who they are, and those that were silent for as long as their
    /// session may be: the client is gone, or has moved to another server, and its end never arrived.
    pub(super) fn sweep_clients(&mut self, now: Now, out: &mut Vec<Action>) {
        let limit = self.settings.sessionless_ms;
        let silent = self.clients.iter().filter(|(_, c)| match c.stage {
            Stage::Silent => now.mono - c.opened > limit,
            // Whom we do not read now may well have spoken.
            Stage::Open if c.paused || !c.pending.is_empty() => false,
            Stage::Open => now.mono - c.heard > c.timeout_ms as u64,
            Stage::Opening | Stage::Closing => false,
        });
        for conn in silent.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.close_client(conn, out);
        }
    }

    pub(super) fn mark_dirty(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(&conn)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty.push(conn);
        }
    }

    pub(super) fn flush_clients(&mut self, out: &mut Vec<Action>) {
        for conn in self.dirty.drain(..) {
            let Some(client) = self.clients.get_mut(&conn) else { continue };
            client.dirty = false;
            if !client.out.is_empty() {
                let bytes = std::mem::take(&mut client.out);
                out.push(Action::ClientSend { conn, bytes, tell: client.paused });
            }
        }
    }

    pub(super) fn on_client_bytes(&mut self, now: Now, conn: ConnId, bytes: &[u8], out: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if client.stage == Stage::Closing {
            return;
        }
        client.heard = now.mono;
        // Whole frames are used where they lie; only a rest is kept.
        let mut held = std::mem::take(&mut client.inbound);
        let input = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held[..]
        };
        let mut used = 0;
        let verdict = loop {
            let Some(client) = self.clients.get_mut(&conn) else { return };
            let stage = client.stage;
            if client.paused || client.out.len() > limits::CLIENT_OUT_BYTES_MAX {
                self.pause(conn);
                break Verdict::Stay;
            }
            let rest = &input[used..];
            if stage == Stage::Silent && rest.len() >= 4 && self.on_word(now, conn, rest, out) {
                return;
            }
            if stage == Stage::Opening || rest.is_empty() {
                break Verdict::Stay;
            }
            match frame::next(rest, self.settings.frame_max) {
                Ok((payload, n)) => {
                    used += n;
                    match self.on_frame(now, conn, payload, out) {
                        Verdict::Stay => {}
                        close => break close,
                    }
                }
                Err(Error::Short(_)) => break Verdict::Stay,
                Err(_) => break Verdict::Close("a frame of an impossible length"),
            }
        };
        self.mark_dirty(conn);
        match verdict {
            Verdict::Close(reason) => {
                out.push(Action::Log(Level::Debug, format!("client closed: {reason}")));
                self.close_client(conn, out);
            }
            Verdict::Stay => {
                let Some(client) = self.clients.get_mut(&conn) else { return };
                if !held.is_empty() {
                    if used > 0 {
                        held.drain(..used);
                    }
                    client.inbound = held;
                } else if used < bytes.len() {
                    client.inbound = bytes[used..].to_vec();
                }
            }
        }
        self.touch(now, conn);
    }

    /// The client gave a sign of life.
    fn touch(&mut self, now: Now, conn: ConnId) {
        let Some(client) = self.clients.get(&conn).filter(|c| c.stage == Stage::Open) else { return };
        match &mut self.reign {
            Some(reign) => {
                reign.tracker.touch(client.session, client.timeout_ms, now.mono);
            }
            None => self.tenure.touches.touch(client.session, client.timeout_ms),
        }
    }

    fn on_frame(&mut self, now: Now, conn: ConnId, payload: &[u8], out: &mut Vec<Action>) -> Verdict {
        match self.clients.get(&conn).map(|c| c.stage) {
            Some(Stage::Silent) => match ConnectRequest::decode(payload) {
                Ok(request) => self.on_connect(now, conn, &request, out),
                Err(_) => Verdict::Close("a handshake that is none"),
            },
            Some(Stage::Open) => match RequestHeader::split(payload) {
                Ok((header, body)) => self.on_request(now, conn, header, body),
                Err(_) => Verdict::Close("a request without a header"),
            },
            _ => Verdict::Stay,
        }
    }

    fn on_connect(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &ConnectRequest<'_>,
        out: &mut Vec<Action>,
    ) -> Verdict {
        let turned_away = matches!(self.service, Service::Leading(_)) && !self.settings.leader_serves;
        if self.service == Service::Down || turned_away {
            return Verdict::Close("not serving");
        }
        let ahead = request.last_zxid_seen > self.tree.last_zxid().wire();
        if ahead && !mutants::on(Mutant::AheadClientAccepted) {
            // It has seen a state that this server does not know yet (single system image).
            return Verdict::Close("the client is ahead of this server");
        }
        if request.session == 0 && self.refuses_writes() {
            return Verdict::Close("a new session would have to be written");
        }
        let (min, max) = self.settings.session_ms;
        let timeout_ms = request.timeout_ms.clamp(min, max);
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        client.stage = Stage::Opening;
        client.opened = now.mono;
        client.timeout_ms = timeout_ms;
        client.read_only = request.read_only.map(|_| false);
        if request.session == 0 {
            let session = self.session_ids.allocate();
            client.session = session;
            self.by_session.insert(session, conn);
            self.ask_for_session(now, conn, session, timeout_ms);
            return Verdict::Stay;
        }
        let session = SessionId(request.session);
        let is_right = password::is_right(session, request.password);
        if let Some(old) = self.by_session.get(&session).copied().filter(|old| *old != conn && is_right) {
            self.close_client(old, out);
        }
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        client.session = session;
        if !is_right {
            return self.finish_handshake(now, conn, false);
        }
        self.by_session.insert(session, conn);
        self.revalidate(now, conn, session, timeout_ms)
    }

    /// The session's answer is known: tell the client.
    pub(super) fn finish_handshake(&mut self, now: Now, conn: ConnId, valid: bool) -> Verdict {
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        if client.stage != Stage::Opening {
            return Verdict::Stay;
        }
        let response = if valid {
            ConnectResponse {
                timeout_ms: client.timeout_ms,
                session: client.session.0,
                password: password::of(client.session),
                read_only: client.read_only,
            }
        } else {
            ConnectResponse::expired(client.read_only)
        };
        let open = frame::begin(&mut client.out);
        response.encode(&mut client.out);
        open.end(&mut client.out);
        client.stage = if valid { Stage::Open } else { Stage::Closing };
        self.stats.on_answer(client.opened, now.mono);
        self.mark_dirty(conn);
        if valid { Verdict::Stay } else { Verdict::Close("the session is over") }
    }

    /// Whether a connection's bytes are taken now.
    pub fn intake(&self, conn: ConnId) -> Intake {
        let Some(client) = self.clients.get(&conn) else { return Intake::Open };
        let held_back = client.stage == Stage::Opening && client.inbound.len() > self.settings.frame_max;
        if client.paused || held_back {
            Intake::Paused
        } else if self.is_full() && !client.pending.is_empty() {
            // Only those who fill it wait, or nobody's pings would be heard (`shouldThrottle`).
            Intake::Full
        } else {
            Intake::Open
        }
    }

    /// What a connection was sent is with the system: answer on.
    pub(super) fn on_client_drained(&mut self, now: Now, conn: ConnId, out: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        if std::mem::take(&mut client.paused) {
            client.counted = client.pending.len();
            self.outstanding += client.counted;
            self.advance(now, conn, out);
            self.take_up(now, conn, out);
        }
    }

    /// Nothing more is answered until the system has what was: what waits for that fills no server.
    fn pause(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.paused = true;
            self.outstanding -= std::mem::take(&mut client.counted);
        }
    }

    /// Takes the request whose turn it is.
    pub(super) fn pop(&mut self, conn: ConnId) -> Option<Pending> {
        let client = self.clients.get_mut(&conn)?;
        let pending = client.pending.pop_front()?;
        if client.counted > 0 {
            client.counted -= 1;
            self.outstanding -= 1;
        }
        Some(pending)
    }

    /// Requests that arrived behind the handshake while it was being answered.
    pub(super) fn take_up(&mut self, now: Now, conn: ConnId, out: &mut Vec<Action>) {
        if self.clients.get(&conn).is_some_and(|c| !c.inbound.is_empty()) {
            self.on_client_bytes(now, conn, &[], out);
        }
    }

    fn on_request(&mut self, now: Now, conn: ConnId, header: RequestHeader, body: &[u8]) -> Verdict {
        self.stats.received += 1;
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        client.received += 1;
        let Some(op) = OpCode::from_wire(header.op) else {
            let zxid = self.tree.last_zxid().wire();
            put_header_only(
                &mut client.out,
                ReplyHeader { xid: header.xid, zxid, err: ErrorCode::UNIMPLEMENTED },
            );
            return Verdict::Close("an unknown operation");
        };
        match op {
            OpCode::Auth => self.on_auth(conn, header.xid, body),
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => {
                Verdict::Close("an operation that no client may ask for")
            }
            OpCode::Sasl | OpCode::DeleteContainer => {
                let failure = ReplyHeader {
                    xid: header.xid,
                    zxid: self.tree.last_zxid().wire(),
                    err: ErrorCode::UNIMPLEMENTED,
                };
                put_header_only(&mut client.out, failure);
                Verdict::Close("an operation that is not offered")
            }
            op if op.is_write() && client.must_hold() => {
                self.push(now, conn, header.xid, op, State::Held(body.to_vec()));
                Verdict::Stay
            }
            op if op.is_write() => {
                self.push(now, conn, header.xid, op, State::UnderWay);
                self.submit(now, conn, header.xid, op, body)
            }
            OpCode::Sync if self.service != Service::Standalone => {
                self.push(now, conn, header.xid, op, State::UnderWay);
                // Its body is the answer.
                if let Some(pending) = self.clients.get_mut(&conn).and_then(|c| c.pending.back_mut()) {
                    pending.sync_body = body.to_vec();
                }
                self.submit_sync(now, conn, header.xid, body)
            }
            op if client.pending.is_empty() || mutants::on(Mutant::ReadOvertakesWrite) => {
                let after = self.answer_read(conn, header.xid, op, body);
                self.stats.on_answer(now.mono, now.mono);
                closes(after)
            }
            op => {
                self.push(now, conn, header.xid, op, State::Waiting(body.to_vec()));
                Verdict::Stay
            }
        }
    }

    fn push(&mut self, now: Now, conn: ConnId, xid: i32, op: OpCode, state: State) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.pending.push_back(Pending { xid, op, since: now.mono, state, sync_body: Vec::new() });
            if !client.paused {
                client.counted += 1;
                self.outstanding += 1;
            }
        }
    }

    fn on_auth(&mut self, conn: ConnId, request_xid: i32, body: &[u8]) -> Verdict {
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        let Ok(packet) = AuthPacket::decode(body) else { return Verdict::Close("an addauth that is none") };
        let mut proven =
            self.settings.rules.add_auth(&mut client.identities, client.ip, packet.scheme, packet.auth);
        client.encode_identities();
        if client.identities_wire.len() > limits::IDENTITIES_BYTES_MAX {
            proven = Err(ErrorCode::AUTHFAILED);
        }
        let err = proven.err().unwrap_or(ErrorCode::OK);
        put_header_only(&mut client.out, ReplyHeader { xid: request_xid, zxid: 0, err });
        self.stats.sent += 1;
        if err.is_ok() { Verdict::Stay } else { Verdict::Close("addauth failed") }
    }

    /// Answers a read from the tree.
    pub(super) fn answer_read(&mut self, conn: ConnId, request_xid: i32, op: OpCode, body: &[u8]) -> After {
        let Some(client) = self.clients.get_mut(&conn) else { return After::Keep };
        client.sent += 1;
        let mut reads = Reads { tree: &self.tree, watches: &mut self.watches, rules: &self.settings.rules };
        let request = ReadRequest {
            xid: if op == OpCode::Ping { xid::PING } else { request_xid },
            op,
            body,
            session: client.session,
            conn,
            identities: &client.identities,
        };
        reads.answer(&request, &mut client.out)
    }

    /// Writes every answer whose turn has come.
    pub(super) fn advance(&mut self, now: Now, conn: ConnId, out: &mut Vec<Action>) {
        loop {
            let Some(client) = self.clients.get_mut(&conn) else { return };
            let due =
                client.pending.front().is_some_and(|p| !matches!(p.state, State::UnderWay | State::Held(_)));
            let enough = client.paused || client.out.len() > limits::CLIENT_OUT_BYTES_MAX;
            if due && enough && !client.has_write_under_way() {
                self.pause(conn);
                break;
            }
            if !due {
                break;
            }
            let Some(pending) = self.pop(conn) else { break };
            self.stats.on_answer(pending.since, now.mono);
            let after = match pending.state {
                State::UnderWay | State::Held(_) => After::Keep,
                State::Waiting(body) => self.answer_read(conn, pending.xid, pending.op, &body),
                State::Answered(mut bytes, after) => {
                    // It waited for answers with later zxids; to the client time must not go back.
                    if let Some(zxid) = bytes.get_mut(8..16) {
                        zxid.copy_from_slice(&self.tree.last_zxid().wire().to_be_bytes());
                    }
                    if let Some(client) = self.clients.get_mut(&conn) {
                        client.sent += 1;
                        client.out.extend_from_slice(&bytes);
                    }
                    after
                }
            };
            if after == After::Close {
                self.close_client(conn, out);
                return;
            }
        }
        while let Some((xid, op, body)) = self.clients.get_mut(&conn).and_then(Client::next_held) {
            if let Verdict::Close(_) = self.submit(now, conn, xid, op, &body) {
                return self.close_client(conn, out);
            }
        }
        self.mark_dirty(conn);
    }
}

fn closes(after: After) -> Verdict {
    match after {
        After::Keep => Verdict::Stay,
        After::Close => Verdict::Close("answered and done"),
    }
}
