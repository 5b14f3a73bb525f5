//! A disk that is almost full, as clients and operators see it: refused writes, and what is said of the room.
//!
//! A refused write was not proposed; its client hears OPERATIONTIMEOUT at the write's turn and stays connected.
//! Between zkctl servers two things travel in the pairs of PINGs, which hold touched sessions otherwise: a
//! learner's room under a session id that nobody has, and the writes that its leader refused.

use super::Server;
use super::client::{Stage, State};
use super::event::{Action, Level};
use crate::ids::{ConnId, LinkId, SessionId};
use crate::jute::{self, Reader};
use crate::pipeline::After;
use crate::storage::{RoomMarks, Space, Spaces};
use crate::time::Now;
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::OpCode;
use crate::wire::reply::{ReplyHeader, put_header_only};
use crate::zab::{Input, Room};

/// Not a session: every server's ids begin with a time. A leader that does not know it touches nothing.
const ROOM: SessionId = SessionId(i64::MIN);
/// What a znode takes in a snapshot beside path and data.
const ZNODE_BYTES: u64 = 96;

impl Server {
    /// Watches the disk's room by these marks.
    #[must_use]
    pub fn watching_room(mut self, marks: RoomMarks) -> Server {
        self.storage.watch_room(marks);
        self
    }

    /// What is left was measured.
    pub(super) fn on_measured(&mut self, now: Now, spaces: Spaces, out: &mut Vec<Action>) {
        self.spaces = Some(spaces);
        let snapshot = self.tree.data_size() + ZNODE_BYTES * self.tree.node_count() as u64;
        let before = self.zab.room();
        let room = self.storage.judge_room(&spaces, snapshot);
        if room == before {
            return;
        }
        let mb = |space: Space| format!("{} of {} MB", space.free >> 20, space.total >> 20);
        let log = if spaces.shared { String::new() } else { format!(", dataLogDir {}", mb(spaces.log)) };
        let text = format!("the disk's room is {}: free in dataDir {}{log}", room.text(), mb(spaces.data));
        out.push(Action::Log(if room < before { Level::Warn } else { Level::Info }, text));
        if room == Room::Full
            && let Some(cursor) = self.snapshot_cursor.take()
        {
            self.tree.close_cursor(cursor);
        }
        self.zab_input(now, Input::Room(room));
    }

    /// What our leader should know of our disk goes along with the touched sessions.
    pub(super) fn put_room(&self, body: &mut Vec<u8>) {
        jute::put_i64(body, ROOM.0);
        jute::put_i32(body, self.zab.room().wire());
    }

    /// Takes a learner's word about its disk out of the touched sessions; `None` when it said nothing.
    pub(super) fn room_in(touched: &[u8]) -> Option<Room> {
        let mut reader = Reader::new(touched);
        while let (Ok(session), Ok(value)) = (reader.i64(), reader.i32()) {
            if session == ROOM.0 {
                return Room::from_wire(value);
            }
        }
        None
    }

    /// Whether writes are answered with an error now.
    pub(super) fn refuses_writes(&self) -> bool {
        self.zab.refuses_writes() || self.storage.is_out_of_room()
    }

    /// Answers a write that was not proposed, at its turn. The connection stays; only an end of session that
    /// cannot be written ends it, so that the session can expire when there is room.
    pub(super) fn refuse(&mut self, conn: ConnId, xid: i32) {
        let zxid = self.tree.last_zxid().wire();
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let Some(at) = client.under_way(xid) else { return };
        let mut bytes = Vec::new();
        put_header_only(&mut bytes, ReplyHeader { xid, zxid, err: ErrorCode::OPERATIONTIMEOUT });
        let ends = client.pending[at].op == OpCode::CloseSession;
        let after = if ends { After::Close } else { After::Keep };
        client.pending[at].state = State::Answered(bytes, after);
        self.refused.push(conn);
        self.stats.refused += 1;
    }

    /// Writes the refusals whose turn has come.
    pub(super) fn answer_refused(&mut self, now: Now, out: &mut Vec<Action>) {
        while let Some(conn) = self.refused.pop() {
            self.advance(now, conn, out);
        }
    }

    /// Tells a learner that its client's write was not proposed. An Apache server could not read it, and would answer
    /// no later write of its clients before this one (`CommitProcessor`): it joins anew when writes are taken again.
    pub(super) fn refuse_learner(&mut self, now: Now, link: LinkId, session: SessionId, cxid: i32) {
        let mut body = Vec::with_capacity(12);
        jute::put_i64(&mut body, session.0);
        jute::put_i32(&mut body, cxid);
        if !self.zab.ping_with(now.mono, link, body.into(), &mut self.zab_out) {
            self.unanswered.insert(link);
        }
        self.stats.refused += 1;
    }

    /// What the room asks for at the end of a turn.
    pub(super) fn mind_room(&mut self, now: Now) {
        if !self.unanswered.is_empty() && !self.refuses_writes() {
            for link in std::mem::take(&mut self.unanswered) {
                let why = "writes are taken again, and it waits for one that was not";
                self.zab.send_away(now.mono, link, why, &mut self.zab_out);
            }
        }
        if self.storage.is_reserve_going() {
            self.zab.reserve_is_going(now.mono, &mut self.zab_out);
        }
    }

    /// Our leader has not proposed these.
    pub(super) fn on_refused(&mut self, refused: &[u8], out: &mut Vec<Action>) {
        let mut reader = Reader::new(refused);
        while let (Ok(session), Ok(xid)) = (reader.i64(), reader.i32()) {
            let Some(conn) = self.by_session.get(&SessionId(session)).copied() else { continue };
            match self.clients.get(&conn).map(|c| c.stage) {
                Some(Stage::Opening) => self.close_client(conn, out),
                _ => self.refuse(conn, xid),
            }
        }
    }
}
