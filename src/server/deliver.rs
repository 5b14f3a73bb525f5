//! A decided txn: applied to tree and sessions, told to watchers, answered to its client.
//!
//! The order is the clients' guarantee: events are on a connection before any answer that shows the
//! change, the one to whoever made it included.

use super::Server;
use super::client::{Client, Stage};
use super::event::{Action, Level};
use crate::auth;
use crate::ids::{ConnId, SessionId};
use crate::pipeline::{After, answer};
use crate::time::Now;
use crate::tree::{DigestCheck, Trigger};
use crate::wire::opcode::OpCode;
use crate::wire::reply::put_event;
use crate::wire::txn::{Txn, TxnRecord};
use crate::zab::Proposal;
use std::collections::BTreeMap;

impl Server {
    pub(super) fn deliver(&mut self, now: Now, proposal: &Proposal, out: &mut Vec<Action>) {
        let record = match TxnRecord::decode(&proposal.bytes) {
            Ok(record) => record,
            Err(e) => return self.cannot_apply(&format!("{}: {e}", proposal.zxid), out),
        };
        let Server { tree, watches, clients, dirty, settings, stats, .. } = self;
        let mut hearers = Vec::new();
        let outcome = tree.apply(&record.header, &record.txn, record.digest, &mut |trigger| {
            watches.fire(trigger.kind, trigger.path, &mut hearers);
            if !hearers.is_empty() {
                stats.sent += tell(&trigger, &hearers, clients, dirty, &settings.rules);
                hearers.clear();
            }
        });
        self.sessions.apply(&record.header, &record.txn);
        if outcome.digest == DigestCheck::Mismatch {
            self.stats.digest_mismatches += 1;
            let zxid = proposal.zxid;
            out.push(Action::Log(
                Level::Warn,
                format!("the tree's digest behind {zxid} is not the leader's"),
            ));
        }
        let session = record.header.session;
        if let Some(reign) = &mut self.reign {
            reign.prepare.committed(proposal.zxid);
            match &record.txn {
                Txn::CreateSession { timeout_ms } => reign.tracker.track(session, *timeout_ms, now.mono),
                Txn::CloseSession { .. } => reign.tracker.remove(session),
                _ => {}
            }
        }
        let Some(conn) = self.by_session.get(&session).copied() else { return };
        match &record.txn {
            Txn::CreateSession { .. } => {
                self.finish_handshake(now, conn, true);
                self.take_up(now, conn, out);
                return;
            }
            _ => self.answer_write(now, conn, &record, &outcome, out),
        }
        if matches!(record.txn, Txn::CloseSession { .. }) {
            // Who has asked to go on with it learns now that it cannot.
            self.finish_handshake(now, conn, false);
            self.end_of_session(session, out);
        }
    }

    fn answer_write(
        &mut self,
        now: Now,
        conn: ConnId,
        record: &TxnRecord<'_>,
        outcome: &crate::tree::Outcome,
        out: &mut Vec<Action>,
    ) {
        let last = self.tree.last_zxid().wire();
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let xid = record.header.cxid;
        let Some(at) = client.under_way(xid) else { return };
        let op = client.pending[at].op;
        if !made_by(op, record.header.op) {
            return;
        }
        if at > 0 {
            let mut bytes = Vec::new();
            let after = answer(&mut bytes, xid, last, op, record, outcome);
            self.answer_at(conn, at, bytes, after);
            return;
        }
        let after = answer(&mut client.out, xid, last, op, record, outcome);
        client.sent += 1;
        if let Some(pending) = self.pop(conn) {
            self.stats.on_answer(pending.since, now.mono);
        }
        if after == After::Close {
            return self.close_client(conn, out);
        }
        self.advance(now, conn, out);
    }

    /// The session is over: whoever still holds it here is cut off.
    fn end_of_session(&mut self, session: SessionId, out: &mut Vec<Action>) {
        self.tenure.touches.forget(session);
        if let Some(conn) = self.by_session.get(&session).copied()
            && self.clients.get(&conn).is_some_and(|c| c.stage != Stage::Silent)
        {
            self.close_client(conn, out);
        }
    }
}

/// Whether a txn of type `txn` can have come from a request of `op`.
fn made_by(op: OpCode, txn: OpCode) -> bool {
    txn == op || txn == OpCode::Error || (op == OpCode::Reconfig && txn == OpCode::SetData)
}

/// Queues an event, serialised once, on every connection that may hear of it.
fn tell(
    trigger: &Trigger<'_>,
    hearers: &[ConnId],
    clients: &mut BTreeMap<ConnId, Client>,
    dirty: &mut Vec<ConnId>,
    rules: &auth::AuthRules,
) -> u64 {
    let mut event = Vec::new();
    put_event(&mut event, trigger.kind, trigger.path, trigger.zxid.wire());
    let mut told = 0;
    for conn in hearers {
        let Some(client) = clients.get_mut(conn) else { continue };
        if !auth::may_hear(rules, trigger.acl, &client.identities) {
            continue;
        }
        client.out.extend_from_slice(&event);
        told += 1;
        if !client.dirty {
            client.dirty = true;
            dirty.push(*conn);
        }
    }
    told
}
