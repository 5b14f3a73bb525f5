//! Writes, syncs and sessions on their way to the leader, and what the leader does with them.

use super::client::State;
use super::clients::Verdict;
use super::event::{Action, Level};
use super::{Behind, Server, Service};
use crate::ids::{ConnId, LinkId, SessionId, Sid};
use crate::jute::{self, Reader};
use crate::mutants::{self, Mutant};
use crate::pipeline::{After, WriteRequest};
use crate::time::Now;
use crate::wire::opcode::OpCode;
use crate::wire::quorum::{self, AuthInfo};
use crate::zab::{Input, Message, Proposal};
use bytes::Bytes;

/// Expired sessions closed in one turn; a storm is cut into slices (ZOOKEEPER-1049).
const EXPIRIES_PER_TURN: usize = 200;

impl Server {
    /// Sends a write on its way.
    pub(super) fn submit(&mut self, now: Now, conn: ConnId, xid: i32, op: OpCode, body: &[u8]) -> Verdict {
        if self.reign.is_some() && self.refuses_writes() {
            self.refuse(conn, xid);
            return Verdict::Stay;
        }
        let Some(client) = self.clients.get_mut(&conn) else { return Verdict::Stay };
        let session = client.session;
        if self.reign.is_some() {
            // Lent for the call: a copy for each write would be most of its allocations.
            let identities = std::mem::take(&mut client.identities);
            let owner = self.settings.me;
            let request = WriteRequest { session, cxid: xid, op, body, identities: &identities, owner };
            let verdict = self.propose(now, &request);
            if let Some(client) = self.clients.get_mut(&conn) {
                client.identities = identities;
            }
            return verdict;
        }
        let Some(link) = self.tenure.link else { return Verdict::Close("there is no leader") };
        let message = Message::Request {
            session,
            cxid: xid,
            opcode: op.wire(),
            body: Bytes::copy_from_slice(body),
            auth: client.identities_wire.clone(),
        };
        self.links.send(link, &message);
        Verdict::Stay
    }

    /// Makes a txn of a request and proposes it.
    fn propose(&mut self, now: Now, request: &WriteRequest<'_>) -> Verdict {
        let Some(zxid) = self.zab.next_zxid(now.mono) else {
            self.zab.end_of_counter(now.mono, &mut self.zab_out);
            return Verdict::Close("a new epoch begins");
        };
        let Some(reign) = &mut self.reign else { return Verdict::Close("not leading") };
        let bytes = reign.prepare.prepare(&self.tree, &mut reign.tracker, request, zxid, now);
        self.stats.on_proposal(bytes.len());
        let proposal = Proposal { zxid, bytes: bytes.into() };
        self.zab.propose(now.mono, proposal, &mut self.zab_out);
        Verdict::Stay
    }

    pub(super) fn ask_for_session(&mut self, now: Now, conn: ConnId, session: SessionId, timeout_ms: i32) {
        let mut body = Vec::with_capacity(4);
        jute::put_i32(&mut body, timeout_ms);
        if self.reign.is_some() {
            let owner = self.settings.me;
            let op = OpCode::CreateSession;
            let request = WriteRequest { session, cxid: 0, op, body: &body, identities: &[], owner };
            self.propose(now, &request);
        } else if let (Some(link), Some(client)) = (self.tenure.link, self.clients.get(&conn)) {
            let message = Message::Request {
                session,
                cxid: 0,
                opcode: OpCode::CreateSession.wire(),
                body: body.into(),
                auth: client.identities_wire.clone(),
            };
            self.links.send(link, &message);
        }
    }

    /// May this session go on here? The leader knows.
    pub(super) fn revalidate(
        &mut self,
        now: Now,
        conn: ConnId,
        session: SessionId,
        timeout_ms: i32,
    ) -> Verdict {
        if self.reign.is_some() {
            if self.take_over(now, session, timeout_ms, self.settings.me) {
                return self.finish_handshake(now, conn, true);
            }
            if self.service == Service::Standalone {
                return self.refuse_alone(now, conn, session);
            }
            return match self.behind_barrier(now, Behind::Handshake { conn, session, timeout_ms }) {
                true => Verdict::Stay,
                false => Verdict::Close("not leading any more"),
            };
        }
        let Some(link) = self.tenure.link else { return Verdict::Close("there is no leader") };
        let mut body = Vec::with_capacity(12);
        jute::put_i64(&mut body, session.0);
        jute::put_i32(&mut body, timeout_ms);
        self.tenure.revalidations.insert(session, conn);
        self.links.send(link, &Message::Revalidate(body.into()));
        Verdict::Stay
    }

    /// Gives a session to `owner`, whose client shows it; false when it is unknown or closing.
    ///
    /// Only yes may be said at once. A leader that is cut off neither knows the sessions of its successor nor
    /// whether the closeSession that it has proposed will ever be decided: no is said behind a barrier, so that
    /// a session which a client was told is over is over. (The original answers from the leader's memory.)
    fn take_over(&mut self, now: Now, session: SessionId, timeout_ms: i32, owner: Sid) -> bool {
        let Some(reign) = &mut self.reign else { return false };
        let alive = reign.tracker.touch(session, timeout_ms, now.mono);
        if mutants::on(Mutant::ExpiredSessionTakenUp) {
            return true;
        }
        alive && reign.tracker.set_owner(session, owner).is_ok()
    }

    /// What a standalone server answers for a session that it does not give: it needs nobody's word, and a
    /// session that is closing is over with its closeSession (`deliver` tells its client).
    fn refuse_alone(&mut self, now: Now, conn: ConnId, session: SessionId) -> Verdict {
        match self.reign.as_ref().is_some_and(|r| r.tracker.is_tracked(session)) {
            true => Verdict::Stay,
            false => self.finish_handshake(now, conn, false),
        }
    }

    /// Says something when a quorum has confirmed this leader, behind all that is proposed; false when this
    /// is no leader.
    fn behind_barrier(&mut self, now: Now, what: Behind) -> bool {
        let Some(reign) = &mut self.reign else { return false };
        let Some(id) = self.zab.barrier(now.mono, &mut self.zab_out) else { return false };
        reign.barriers.insert(id, what);
        true
    }

    pub(super) fn submit_sync(&mut self, now: Now, conn: ConnId, xid: i32, body: &[u8]) -> Verdict {
        if self.reign.is_some() {
            return match self.behind_barrier(now, Behind::Sync(conn, xid)) {
                true => Verdict::Stay,
                false => Verdict::Close("not leading any more"),
            };
        }
        let (Some(link), Some(client)) = (self.tenure.link, self.clients.get(&conn)) else {
            return Verdict::Close("there is no leader");
        };
        let message = Message::Request {
            session: client.session,
            cxid: xid,
            opcode: OpCode::Sync.wire(),
            body: Bytes::copy_from_slice(body),
            auth: client.identities_wire.clone(),
        };
        self.tenure.syncs.push_back((conn, xid));
        self.links.send(link, &message);
        Verdict::Stay
    }

    pub(super) fn on_barrier(&mut self, now: Now, id: u64, out: &mut Vec<Action>) {
        match self.reign.as_mut().and_then(|r| r.barriers.remove(&id)) {
            Some(Behind::Sync(conn, xid)) => self.answer_sync(now, conn, xid, out),
            Some(Behind::LearnerSync(link)) => self.links.send(link, &Message::Sync(Bytes::new())),
            Some(Behind::Handshake { conn, session, timeout_ms }) => {
                let valid = self.take_over(now, session, timeout_ms, self.settings.me);
                self.on_revalidated(now, conn, valid, out);
            }
            Some(Behind::Revalidation { link, sid, session, timeout_ms }) => {
                let valid = self.take_over(now, session, timeout_ms, sid);
                self.answer_revalidation(link, session, valid);
            }
            None => {}
        }
    }

    /// How many syncs wait for the quorum.
    pub(super) fn pending_syncs(&self) -> u64 {
        self.reign.as_ref().map_or(0, |r| r.barriers.values().filter(|b| b.is_sync()).count() as u64)
    }

    /// It is known whether a client may go on with its session.
    fn on_revalidated(&mut self, now: Now, conn: ConnId, valid: bool, out: &mut Vec<Action>) {
        if let Verdict::Close(_) = self.finish_handshake(now, conn, valid) {
            self.close_client(conn, out);
        }
        self.take_up(now, conn, out);
    }

    fn answer_revalidation(&mut self, link: LinkId, session: SessionId, valid: bool) {
        let mut answer = Vec::with_capacity(9);
        jute::put_i64(&mut answer, session.0);
        jute::put_bool(&mut answer, valid);
        self.links.send(link, &Message::Revalidate(answer.into()));
    }

    fn answer_sync(&mut self, now: Now, conn: ConnId, xid: i32, out: &mut Vec<Action>) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(at) = client
            .pending
            .iter()
            .position(|p| p.xid == xid && p.op == OpCode::Sync && matches!(p.state, State::UnderWay))
        else {
            return;
        };
        // From here on it is a read at its turn.
        let body = std::mem::take(&mut client.pending[at].sync_body);
        client.pending[at].state = State::Waiting(body);
        self.advance(now, conn, out);
    }

    /// What learners and leader carry for each other's clients.
    pub(super) fn on_carried(
        &mut self,
        now: Now,
        link: LinkId,
        learner: Option<Sid>,
        message: Message,
        out: &mut Vec<Action>,
    ) {
        match (learner, message) {
            (Some(sid), Message::Request { session, cxid, opcode, body, auth }) => {
                self.on_learner_request(now, link, sid, (session, cxid, opcode), &body, &auth, out);
            }
            (Some(sid), Message::Revalidate(body)) => {
                let mut reader = Reader::new(&body);
                let (Ok(session), Ok(timeout_ms)) = (reader.i64(), reader.i32()) else { return };
                let session = SessionId(session);
                if self.take_over(now, session, timeout_ms, sid) {
                    self.answer_revalidation(link, session, true);
                } else {
                    self.behind_barrier(now, Behind::Revalidation { link, sid, session, timeout_ms });
                }
            }
            (Some(_), Message::Ping { touched, .. }) => self.on_touches(now, link, &touched),
            (None, Message::Ping { touched, .. }) => self.on_refused(&touched, out),
            (None, Message::Revalidate(body)) => {
                let mut reader = Reader::new(&body);
                let (Ok(session), Ok(valid)) = (reader.i64(), reader.bool()) else { return };
                let Some(conn) = self.tenure.revalidations.remove(&SessionId(session)) else { return };
                self.on_revalidated(now, conn, valid, out);
            }
            (None, Message::Sync(_)) => {
                if let Some((conn, xid)) = self.tenure.syncs.pop_front() {
                    self.answer_sync(now, conn, xid, out);
                }
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one packet")]
    fn on_learner_request(
        &mut self,
        now: Now,
        link: LinkId,
        sid: Sid,
        (session, cxid, opcode): (SessionId, i32, i32),
        body: &[u8],
        auth: &[u8],
        out: &mut Vec<Action>,
    ) {
        let identities: Vec<AuthInfo> = quorum::decode_auth(auth).unwrap_or_default();
        match OpCode::from_wire(opcode) {
            Some(OpCode::Sync) => {
                self.behind_barrier(now, Behind::LearnerSync(link));
            }
            Some(op) if self.refuses_writes() && (op.is_write() || op == OpCode::CreateSession) => {
                self.refuse_learner(now, link, session, cxid);
            }
            Some(op) if op.is_write() || op == OpCode::CreateSession => {
                let request = WriteRequest { session, cxid, op, body, identities: &identities, owner: sid };
                self.propose(now, &request);
            }
            _ => {
                let text = format!("learner {sid} forwards operation {opcode}, which is no write");
                out.push(Action::Log(Level::Warn, text));
            }
        }
    }

    fn on_touches(&mut self, now: Now, link: LinkId, touched: &[u8]) {
        if let Some(room) = Server::room_in(touched) {
            self.zab_input(now, Input::LearnerRoom { link, room });
        }
        let Some(reign) = &mut self.reign else { return };
        let mut reader = Reader::new(touched);
        while let (Ok(session), Ok(timeout_ms)) = (reader.i64(), reader.i32()) {
            reign.tracker.touch(SessionId(session), timeout_ms, now.mono);
        }
    }

    /// The leader closes the sessions whose time is up.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        if self.service == Service::Down || self.zab.refuses_writes() {
            return;
        }
        let Some(reign) = &mut self.reign else { return };
        for session in reign.tracker.expired(now.mono, EXPIRIES_PER_TURN) {
            self.stats.expired += 1;
            let request = WriteRequest {
                session,
                cxid: 0,
                op: OpCode::CloseSession,
                body: &[],
                identities: &[],
                owner: self.settings.me,
            };
            self.propose(now, &request);
        }
    }

    /// Keeps an answer until its turn, or writes it when that is now.
    pub(super) fn answer_at(&mut self, conn: ConnId, at: usize, bytes: Vec<u8>, after: After) {
        if let Some(pending) = self.clients.get_mut(&conn).and_then(|c| c.pending.get_mut(at)) {
            pending.state = State::Answered(bytes, after);
        }
    }
}
