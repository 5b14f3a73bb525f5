//! From an applied txn to the reply its client waits for.
//!
//! Deliberately absent: createSession's answer, which is no reply but a ConnectResponse (`server`).

use crate::jute;
use crate::tree::Outcome;
use crate::wire::errcode::ErrorCode;
use crate::wire::opcode::OpCode;
use crate::wire::reply::{self, ReplyFrame};
use crate::wire::txn::{Txn, TxnRecord};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays open.
    Keep,
    /// It is closed once what was written is sent.
    Close,
}

/// Writes the reply to a request of operation `op` whose txn is `record` as one frame behind `out`.
/// `last_zxid` is the tree's. Nothing is written for a session that has moved (the connection is closed,
/// so that the client looks anew), and for createSession.
pub fn answer(
    out: &mut Vec<u8>,
    xid: i32,
    last_zxid: i64,
    op: OpCode,
    record: &TxnRecord<'_>,
    outcome: &Outcome,
) -> After {
    let moved = |err: ErrorCode| err == ErrorCode::SESSIONMOVED;
    if op == OpCode::CreateSession {
        return After::Keep;
    }
    if moved(outcome.err) || outcome.subs.iter().any(|s| moved(s.err)) {
        return After::Close;
    }
    let frame = ReplyFrame::begin(out, xid);
    // A failed multi is told in its results; the header's error stays 0.
    let is_multi = matches!(record.txn, Txn::Multi(_));
    let err = if is_multi { ErrorCode::OK } else { outcome.err };
    if err.is_ok() {
        put_body(out, op, record, outcome);
    }
    frame.end(out, last_zxid, err);
    if op == OpCode::CloseSession { After::Close } else { After::Keep }
}

fn put_body(out: &mut Vec<u8>, op: OpCode, record: &TxnRecord<'_>, outcome: &Outcome) {
    match (&record.txn, op) {
        (Txn::Create(create), OpCode::Create) => jute::put_string(out, create.path),
        (Txn::Create(create), _) => {
            jute::put_string(out, create.path);
            outcome.stat.write(out);
        }
        (Txn::SetData { data, .. }, OpCode::Reconfig) => {
            jute::put_buffer_or_null(out, *data);
            outcome.stat.write(out);
        }
        (Txn::SetData { .. } | Txn::SetAcl { .. }, _) => outcome.stat.write(out),
        (Txn::Multi(multi), _) => {
            for ((_, txn), sub) in multi.iter().zip(&outcome.subs) {
                put_result(out, &txn, sub);
            }
            reply::put_multi_end(out);
        }
        _ => {}
    }
}

/// One result of a multi: type, error, body.
fn put_result(out: &mut Vec<u8>, txn: &Txn<'_>, sub: &crate::tree::SubOutcome) {
    let kind = match sub.op {
        OpCode::CreateContainer | OpCode::CreateTtl => OpCode::Create2,
        OpCode::DeleteContainer => OpCode::Delete,
        op => op,
    };
    let err = if kind == OpCode::Error { sub.err } else { ErrorCode::OK };
    reply::put_multi_header(out, kind.wire(), false, err);
    match (kind, txn) {
        (OpCode::Create, Txn::Create(create)) => jute::put_string(out, create.path),
        (OpCode::Create2, Txn::Create(create)) => {
            jute::put_string(out, create.path);
            sub.stat.write(out);
        }
        (OpCode::SetData, _) => sub.stat.write(out),
        (OpCode::Error, _) => jute::put_i32(out, sub.err.0),
        _ => {}
    }
}
